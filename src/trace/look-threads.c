/*
 * The threads of one process, those alike as one group. Asleep is not trouble; what may be (D, or a
 * SIGKILL that does not work) is looked at again a second later, and counts when it has not run
 * once in between.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>

#include "kernel/proc-link.h"
#include "trace/look-internal.h"

#define SUSPECTS_MAX 64u
#define AGAIN_MS     1000

#define KILL_BIT (UINT64_C(1) << (SIGKILL - 1))

struct suspect {
	int32_t tid;
	uint32_t group;
	uint64_t switches;
};

struct suspects {
	struct suspect at[SUSPECTS_MAX];
	unsigned count;
};

static struct trace_group *find_group(struct trace_look *look, const struct trace_group *wanted)
{
	struct trace_group *g;

	for (uint32_t i = 0; i < look->group_count; i++) {
		g = &look->groups[i];
		if (g->state == wanted->state && g->is_killed == wanted->is_killed &&
			g->has_syscall == wanted->has_syscall && g->syscall == wanted->syscall &&
			str_eq(g->wchan, wanted->wchan))
			return g;
	}
	if (look->group_count == TRACE_GROUPS_MAX)
		return NULL;
	g = &look->groups[look->group_count++];
	*g = *wanted;
	return g;
}

static bool is_suspect(const struct trace_group *g)
{
	return g->state == 'D' || (g->is_killed && g->state != 'Z' && g->state != 'X');
}

static void take_thread(const struct look_scan *scan, struct trace_look *look, int32_t tid,
	struct suspects *suspects)
{
	int32_t pid = look->init.pid;
	struct trace_group seen = { 0 }, *g;
	struct proc_status status;
	struct proc_syscall call;
	struct proc_stat stat;

	if (proc_read_stat(scan->proc_fd, pid, tid, &stat) < 0)
		return;
	seen.state = stat.state;
	seen.is_killed = ((stat.pending | look->init_pending) & KILL_BIT) != 0;
	if (stat.state != 'Z' && stat.state != 'X' && stat.state != 'R')
		(void)proc_read_wchan(scan->proc_fd, pid, tid, seen.wchan);
	if (is_suspect(&seen) && proc_read_syscall(scan->proc_fd, pid, tid, &call) == 0 &&
		call.kind == PROC_SYSCALL_IN) {
		seen.has_syscall = true;
		seen.syscall = call.number;
	}
	look->thread_count++;
	g = find_group(look, &seen);
	if (!g) {
		look->threads_left_out++;
		return;
	}
	if (g->count < TRACE_TIDS_MAX)
		g->tids[g->count] = tid;
	g->count++;
	if (is_suspect(&seen) && suspects->count < SUSPECTS_MAX &&
		proc_read_status(scan->proc_fd, pid, tid, &status) == 0)
		suspects->at[suspects->count++] = (struct suspect){
			.tid = tid,
			.group = (uint32_t)(g - look->groups),
			.switches = status.switches,
		};
}

static void look_again(
	const struct look_scan *scan, struct trace_look *look, const struct suspects *suspects)
{
	if (suspects->count == 0)
		return;
	(void)poll(NULL, 0, AGAIN_MS);
	for (unsigned i = 0; i < suspects->count; i++) {
		const struct suspect *s = &suspects->at[i];
		struct trace_group *g = &look->groups[s->group];
		struct proc_status status;

		if (proc_read_status(scan->proc_fd, look->init.pid, s->tid, &status) == 0 &&
			status.state == g->state && status.switches == s->switches)
			g->is_stuck = true;
	}
}

/* A frozen thread does not run and need not: nothing is learnt from a second look. */
static bool is_frozen(const struct trace_look *look)
{
	for (uint32_t i = 0; i < look->level_count; i++)
		if (look->levels[i].state == CGROUP_FROZEN)
			return true;
	return false;
}

void look_at_threads(const struct look_scan *scan, struct trace_look *look)
{
	struct suspects suspects = { .count = 0 };
	struct proc_walk walk;
	int32_t tid;

	if (look->init.pid == 0)
		return;
	if (proc_walk_init(&walk, scan->proc_fd, PROC_WALK_THREADS, look->init.pid, 0) >= 0)
		while (look->thread_count < TRACE_THREADS_MAX && proc_walk_next(&walk, &tid))
			take_thread(scan, look, tid, &suspects);
	proc_walk_done(&walk);
	if (!is_frozen(look))
		look_again(scan, look, &suspects);
}
