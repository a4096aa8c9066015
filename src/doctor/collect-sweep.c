/*
 * One look at every process and thread: stat, and the cgroup's path. Two files of a process, one of
 * a thread; where somebody waits for a FUSE server also the wait channel of those that sleep, since
 * such a wait is state S until a signal came.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "doctor/collect-internal.h"

#define BIT_SIGKILL (UINT64_C(1) << 8)

/* --- threads worth keeping --- */

int collect_add_candidate(struct collect *c, struct seen *s, int32_t tid, char state)
{
	if (s->candidates >= COLLECT_PER_PROCESS || c->candidate_count >= COLLECT_CANDIDATES_MAX) {
		c->evidence->left_out++;
		return -ENOSPC;
	}
	if (c->candidate_count == c->candidate_room) {
		uint32_t room = c->candidate_room ? c->candidate_room * 2 : 64;
		void *grown = mem_resize(c->candidates, room, sizeof(*c->candidates));

		if (!grown) {
			c->evidence->left_out++;
			return -ENOMEM;
		}
		c->candidates = grown;
		c->candidate_room = room;
	}
	c->candidates[c->candidate_count++] =
		(struct candidate){ .seen = (uint32_t)(s - c->seen), .tid = tid, .state = state };
	s->candidates++;
	return 0;
}

/* In a request to a FUSE server; its own threads that wait for requests are not. */
static bool waits_for_fuse(struct collect *c, const struct seen *s, int32_t tid)
{
	char wchan[PROC_WCHAN_MAX];

	if (proc_read_wchan(c->proc_fd, s->pid, tid, wchan) < 0)
		return false;
	return strstr(wchan, "request_wait_answer") ||
		(str_after(wchan, "fuse_") && !str_after(wchan, "fuse_dev"));
}

static bool is_worth_keeping(
	struct collect *c, const struct seen *s, const struct proc_stat *stat, int32_t tid)
{
	char state = stat->state;

	if (state == 'D' || state == 'T' || state == 't')
		return true;
	if (state == 'Z' || state == 'X')
		return false;
	if ((stat->pending & BIT_SIGKILL) != 0)
		return true;
	if (s->state == 'Z' && tid != s->pid)
		return true;
	if (!s->has_memory) /* a dying init, in its last wait */
		return true;
	return state == 'S' && c->fuse_waits && waits_for_fuse(c, s, tid);
}

static void look_at_thread(
	struct collect *c, struct seen *s, const struct proc_stat *stat, int32_t tid)
{
	if (stat->state != 'Z' && stat->state != 'X' && s->live_tid == 0)
		s->live_tid = tid;
	if (is_worth_keeping(c, s, stat, tid))
		(void)collect_add_candidate(c, s, tid, stat->state);
}

/* --- processes --- */

static struct seen *new_seen(struct collect *c)
{
	if (c->seen_count == COLLECT_SEEN_MAX) {
		c->evidence->left_out++;
		return NULL;
	}
	if (c->seen_count == c->seen_room) {
		uint32_t room = c->seen_room ? c->seen_room * 2 : 256;
		void *grown = mem_resize(c->seen, room, sizeof(*c->seen));

		if (!grown) {
			c->evidence->left_out++;
			return NULL;
		}
		c->seen = grown;
		c->seen_room = room;
	}
	return &c->seen[c->seen_count];
}

/* The container its cgroup names: by the form of the id, or by an id that the facts have. */
static void read_container(struct collect *c, struct seen *s, int32_t tid)
{
	char text[PROC_TEXT_MAX];
	struct proc_cgroup line;
	size_t at = 0;
	int n = proc_read_text(c->proc_fd, s->pid, tid, PROC_CGROUP, text, sizeof(text));

	if (n <= 0)
		return;
	while (proc_cgroup_next(text, (size_t)n, &at, &line) > 0) {
		const char *last = memrchr(line.path.data, '/', line.path.len);
		struct slice name;

		if (identity_find_id(line.path, s->container_id))
			return;
		if (!last)
			continue;
		name = (struct slice){ last + 1,
			line.path.len - (size_t)(last + 1 - line.path.data) };
		if (name.len > 0 && name.len < sizeof(s->container_id) &&
			table_get(&c->ids, name.data, name.len)) {
			memcpy(s->container_id, name.data, name.len);
			s->container_id[name.len] = '\0';
			return;
		}
	}
}

static void look_at_process(struct collect *c, int32_t pid)
{
	struct seen *s = new_seen(c);
	struct proc_stat stat;

	if (!s || proc_read_stat(c->proc_fd, pid, 0, &stat) < 0 ||
		(stat.flags & PROC_FLAG_KTHREAD) != 0)
		return;
	*s = (struct seen){
		.pid = pid,
		.ppid = stat.ppid,
		.start_ticks = stat.start_ticks,
		.cpu_ticks = stat.cpu_ticks,
		.state = stat.state,
		.flags = stat.flags,
		.threads = stat.threads,
		.has_memory = stat.virtual_bytes > 0,
		.container = EVIDENCE_NONE,
		.process = EVIDENCE_NONE,
	};
	memcpy(s->comm, stat.comm, sizeof(s->comm));
	c->seen_count++;
	read_container(c, s, 0);
	/* What runs in a container may call itself as it likes. */
	if (s->container_id[0] == '\0' || str_after(s->comm, "runc"))
		s->kind = identity_of_comm(s->comm, &s->daemon_kind);
	if (s->threads <= 1 && pid != c->self_pid)
		look_at_thread(c, s, &stat, pid);
	c->evidence->node.thread_count += stat.threads;
}

static int compare_seen(const void *a, const void *b)
{
	const struct seen *x = a, *y = b;

	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

enum collect_step collect_sweep(struct collect *c)
{
	int32_t pid;

	if (!c->walk_open) {
		if (proc_walk_init(&c->walk, c->proc_fd, PROC_WALK_PROCESSES, 0, 0) < 0) {
			evidence_add_gap(c->evidence, "processes", "/proc cannot be listed", "");
			return COLLECT_NEXT;
		}
		c->walk_open = true;
	}
	if (proc_walk_next(&c->walk, &pid)) {
		look_at_process(c, pid);
		return COLLECT_MORE;
	}
	proc_walk_done(&c->walk);
	c->walk_open = false;
	c->evidence->node.process_count = c->seen_count;
	return COLLECT_NEXT;
}

struct seen *collect_seen_by_pid(struct collect *c, int32_t pid)
{
	const struct seen key = { .pid = pid };

	if (c->seen_count == 0)
		return NULL;
	return bsearch(&key, c->seen, c->seen_count, sizeof(key), compare_seen);
}

/* --- threads --- */

/* A thread per step; a process may have ten thousand. */
enum collect_step collect_tasks(struct collect *c)
{
	struct proc_stat stat;
	struct seen *s;
	int32_t tid;

	if (c->cursor == c->seen_count)
		return COLLECT_NEXT;
	s = &c->seen[c->cursor];
	if (!c->tasks_open) {
		if (s->threads <= 1 || s->pid == c->self_pid ||
			proc_walk_init(&c->tasks, c->proc_fd, PROC_WALK_THREADS, s->pid, 0) < 0) {
			proc_walk_done(&c->tasks);
			c->cursor++;
			return COLLECT_MORE;
		}
		c->tasks_open = true;
	}
	if (proc_walk_next(&c->tasks, &tid)) {
		/* One that has ended meanwhile is no thread. */
		if (proc_read_stat(c->proc_fd, s->pid, tid, &stat) >= 0)
			look_at_thread(c, s, &stat, tid);
		return COLLECT_MORE;
	}
	proc_walk_done(&c->tasks);
	c->tasks_open = false;
	/* On v1 a dead leader has left its groups, its living threads have not. */
	if (s->container_id[0] == '\0' && s->state == 'Z' && s->live_tid > 0)
		read_container(c, s, s->live_tid);
	c->cursor++;
	return COLLECT_MORE;
}

/* --- who is worth a second look --- */

/* Sorted before anything refers to one by index; candidates do. */
static void sort_seen(struct collect *c)
{
	for (uint32_t i = 1; i < c->seen_count; i++)
		if (c->seen[i].pid < c->seen[i - 1].pid) {
			/* Never seen of /proc, which lists in order: then indices are made anew. */
			for (uint32_t k = 0; k < c->candidate_count; k++)
				c->candidates[k].seen =
					(uint32_t)c->seen[c->candidates[k].seen].pid;
			qsort(c->seen, c->seen_count, sizeof(*c->seen), compare_seen);
			for (uint32_t k = 0; k < c->candidate_count; k++)
				c->candidates[k].seen =
					(uint32_t)(collect_seen_by_pid(
							   c, (int32_t)c->candidates[k].seen) -
						c->seen);
			return;
		}
}

/* The first process of a container: what a shim has started, or what nobody of the same container
 * has. */
static bool is_init(struct collect *c, const struct seen *s)
{
	const struct seen *parent;

	if (s->container_id[0] == '\0' || s->kind == IDENTITY_OCI_RUNTIME)
		return false;
	parent = collect_seen_by_pid(c, s->ppid);
	return !parent || !str_eq(parent->container_id, s->container_id);
}

/* A runtime that no name tells: who listens at the other end of the connection to it. That it has the
 * socket is seen later. Pid 1 listens for others. */
static void choose_peers(struct collect *c)
{
	struct evidence *e = c->evidence;

	for (uint32_t i = 0; i < e->daemon_count; i++) {
		struct evidence_daemon *d = &e->daemons[i];
		struct seen *s;

		if (!c->has_facts && d->is_runtime)
			d->peer_pid = collect_runtime_peer(c);
		s = d->peer_pid > 1 && d->peer_pid != c->self_pid
			? collect_seen_by_pid(c, d->peer_pid)
			: NULL;
		if (!s || s->kind != IDENTITY_OTHER)
			continue;
		s->kind = IDENTITY_DAEMON;
		s->daemon_kind = d->kind;
	}
}

enum collect_step collect_choose(struct collect *c)
{
	const struct evidence *e = c->evidence;

	sort_seen(c);
	choose_peers(c);
	for (uint32_t i = 0; i < c->seen_count; i++) {
		struct seen *s = &c->seen[i];

		switch (s->kind) {
		case IDENTITY_SHIM: s->roles |= EVIDENCE_SHIM; break;
		case IDENTITY_OCI_RUNTIME: s->roles |= EVIDENCE_OCI_RUNTIME; break;
		case IDENTITY_DAEMON: s->roles |= EVIDENCE_DAEMON; break;
		case IDENTITY_OTHER: break;
		}
		if (is_init(c, s))
			s->roles |= EVIDENCE_INIT;
		else if (s->container_id[0] != '\0' && s->kind != IDENTITY_SHIM &&
			(s->candidates > 0 || s->state == 'Z'))
			s->roles |= EVIDENCE_IN_CONTAINER;
		if (s->roles == 0 && (s->candidates > 0 || s->state == 'Z'))
			s->roles |= EVIDENCE_STUCK;
	}
	/* The inits of the facts are processes of the sample already. */
	for (uint32_t i = 0; i < e->process_count; i++) {
		struct seen *s = collect_seen_by_pid(c, e->processes[i].pid);

		if (!s || s->start_ticks != e->processes[i].start_ticks)
			continue;
		s->process = i;
		s->roles |= e->processes[i].roles;
	}
	return COLLECT_NEXT;
}
