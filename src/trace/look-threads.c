/*
 * The threads of one process, those alike as one group. Asleep is not trouble; what may be (D, or a
 * SIGKILL that does not work) is looked at again a second later, and counts when it has not run
 * once in between. Of those it is also told what they wait on: the mount of their call's descriptor,
 * and where in the kernel they are.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>

#include "doctor/syscall-fd.h"
#include "kernel/mount-table.h"
#include "kernel/proc-link.h"
#include "kernel/stack.h"
#include "trace/look-internal.h"

#define SUSPECTS_MAX   64u
#define AGAIN_MS       1000
#define MOUNTS_MAX     16u /* that threads wait on and that are told apart */
#define STACK_READ_MAX 4096

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

struct waited_mount {
	char point[TRACE_MOUNT_MAX], type[32];
};

/* The mounts of the process, read when the first thread waits on one; noted of each: which of those
 * that are waited on it is. */
struct waits {
	struct mount_table table;
	bool is_read;
	struct waited_mount mounts[MOUNTS_MAX];
	unsigned count;
};

static struct trace_group *find_group(struct trace_look *look, const struct trace_group *wanted)
{
	struct trace_group *g;

	for (uint32_t i = 0; i < look->group_count; i++) {
		g = &look->groups[i];
		if (g->state == wanted->state && g->is_killed == wanted->is_killed &&
			g->has_syscall == wanted->has_syscall && g->syscall == wanted->syscall &&
			str_eq(g->wchan, wanted->wchan) && str_eq(g->mount, wanted->mount))
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

/* ---- what they wait on ----------------------------------------------------------------------- */

static void decode(char *out, size_t size, struct slice s)
{
	char text[MOUNTINFO_PATH_MAX];
	size_t len = mountinfo_decode(text, sizeof(text), s);

	(void)str_clean(out, size, text, len);
}

static void read_mounts(const struct look_scan *scan, struct waits *waits, int32_t pid, int32_t tid)
{
	char *text;
	size_t len;

	waits->is_read = true;
	if (mountinfo_read(scan->proc_fd, pid, tid, &text, &len) == 0)
		(void)mount_table_take(&waits->table, text, len);
}

static const struct waited_mount *find_mount(
	const struct look_scan *scan, struct waits *waits, int32_t pid, int32_t tid, int32_t id)
{
	struct mountinfo_line line;
	struct waited_mount *m;
	struct mount_row *row;

	if (!waits->is_read)
		read_mounts(scan, waits, pid, tid);
	row = mount_table_find(&waits->table, id);
	if (!row)
		return NULL;
	if (row->note != MOUNT_NOTE_NONE)
		return &waits->mounts[row->note];
	if (waits->count == MOUNTS_MAX)
		return NULL;
	line = mount_table_line(&waits->table, row);
	row->note = waits->count++;
	m = &waits->mounts[row->note];
	decode(m->point, sizeof(m->point), line.point);
	decode(m->type, sizeof(m->type), line.type);
	return m;
}

static void look_at_wait(const struct look_scan *scan, struct waits *waits, int32_t pid,
	int32_t tid, struct trace_group *seen)
{
	const struct waited_mount *m;
	struct proc_syscall call;
	char text[PROC_TEXT_MAX];
	int32_t fd, id;
	bool is_path;
	int n;

	if (proc_read_syscall(scan->proc_fd, pid, tid, &call) < 0 || call.kind != PROC_SYSCALL_IN)
		return;
	seen->has_syscall = true;
	seen->syscall = call.number;
	/* Of a path nobody knows where it leads. */
	fd = syscall_fd(call.number, call.args, &is_path);
	if (fd < 0 || is_path)
		return;
	n = proc_read_fdinfo(scan->proc_fd, pid, tid, fd, text, sizeof(text));
	if (n <= 0 || proc_parse_fdinfo(text, (size_t)n, &id) < 0)
		return;
	m = find_mount(scan, waits, pid, tid, id);
	if (!m)
		return;
	memcpy(seen->mount, m->point, sizeof(seen->mount));
	memcpy(seen->mount_type, m->type, sizeof(seen->mount_type));
}

static void look_at_stack(
	const struct look_scan *scan, int32_t pid, int32_t tid, struct trace_group *g)
{
	char text[STACK_READ_MAX];
	int n = proc_read_text(scan->proc_fd, pid, tid, PROC_STACK, text, sizeof(text));

	if (n > 0)
		(void)stack_functions(text, (size_t)n, g->stack, sizeof(g->stack));
}

/* ---- threads --------------------------------------------------------------------------------- */

static void take_thread(const struct look_scan *scan, struct trace_look *look, int32_t tid,
	struct suspects *suspects, struct waits *waits)
{
	int32_t pid = look->init.pid;
	struct trace_group seen = { 0 }, *g;
	struct proc_status status;
	struct proc_stat stat;

	if (proc_read_stat(scan->proc_fd, pid, tid, &stat) < 0)
		return;
	seen.state = stat.state;
	seen.is_killed = ((stat.pending | look->init_pending) & KILL_BIT) != 0;
	if (stat.state != 'Z' && stat.state != 'X' && stat.state != 'R')
		(void)proc_read_wchan(scan->proc_fd, pid, tid, seen.wchan);
	if (is_suspect(&seen))
		look_at_wait(scan, waits, pid, tid, &seen);
	look->thread_count++;
	g = find_group(look, &seen);
	if (!g) {
		look->threads_left_out++;
		return;
	}
	if (g->count < TRACE_TIDS_MAX)
		g->tids[g->count] = tid;
	if (g->count == 0 && is_suspect(&seen))
		look_at_stack(scan, pid, tid, g);
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
	struct proc_id init = { look->init.pid, look->init.start_ticks };
	struct suspects suspects = { .count = 0 };
	struct waits waits = { .count = 0 };
	struct proc_walk walk;
	int32_t tid;

	if (look->init.pid == 0)
		return;
	if (proc_walk_init(&walk, scan->proc_fd, PROC_WALK_THREADS, look->init.pid, 0) >= 0)
		while (look->thread_count < TRACE_THREADS_MAX && proc_walk_next(&walk, &tid))
			take_thread(scan, look, tid, &suspects, &waits);
	proc_walk_done(&walk);
	mount_table_done(&waits.table);
	if (!is_frozen(look))
		look_again(scan, look, &suspects);
	/* It is gone, and what was read may be of whoever has its pid now. */
	if (proc_verify(scan->proc_fd, init) < 0)
		look->group_count = look->thread_count = look->threads_left_out = 0;
}
