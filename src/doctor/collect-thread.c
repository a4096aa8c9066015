/*
 * Details of the threads that wait: where in the kernel, in which call, on which descriptor, and on
 * which mount that lies. A thread that has ended since the sweep is left out.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "doctor/collect-internal.h"
#include "doctor/syscall-fd.h"
#include "kernel/stack.h"

#define STACK_READ_MAX 4096

struct waiting {
	struct seen *seen;
	int32_t tid;
	uint32_t index; /* in the sample */
};

static void read_stack(struct collect *c, const struct waiting *w)
{
	char text[STACK_READ_MAX], names[STACK_TEXT_MAX];
	int n = proc_read_text(c->proc_fd, w->seen->pid, w->tid, PROC_STACK, text, sizeof(text));

	if (n == -EPERM || n == -EACCES)
		evidence_add_gap(c->evidence, "kernel stacks", "not permitted",
			"run as root, with CAP_SYS_ADMIN and CAP_SYS_PTRACE");
	else if (n == -ESRCH &&
		proc_read_text(c->proc_fd, c->self_pid, 0, PROC_STACK, text, sizeof(text)) ==
			-ESRCH)
		evidence_add_small_gap(
			c->evidence, "kernel stacks", "this kernel has no /proc/PID/stack", "");
	if (n <= 0)
		return;
	(void)stack_functions(text, (size_t)n, names, sizeof(names));
	c->evidence->threads[w->index].stack = evidence_text(c->evidence, names);
}

/* A descriptor's own mount, known by the number in its fdinfo. */
static uint32_t mount_of_fd(struct collect *c, const struct waiting *w, int32_t fd, uint64_t ns)
{
	char text[PROC_TEXT_MAX];
	int32_t id;
	int n = proc_read_fdinfo(c->proc_fd, w->seen->pid, w->tid, fd, text, sizeof(text));

	if (n <= 0 || proc_parse_fdinfo(text, (size_t)n, &id) < 0)
		return EVIDENCE_NONE;
	return collect_mount_by_id(c, ns, w->seen->pid, id);
}

static uint32_t mount_of_cwd(struct collect *c, const struct waiting *w, uint64_t ns)
{
	char path[PROC_LINK_MAX];

	if (proc_read_link(c->proc_fd, w->seen->pid, w->tid, PROC_LINK_CWD, path, sizeof(path)) <=
		0)
		return EVIDENCE_NONE;
	return collect_mount_by_path(c, ns, w->seen->pid, path);
}

static bool is_in_fuse(const struct evidence_thread *t)
{
	return strstr(t->wchan, "request_wait_answer") || strstr(t->stack, "fuse_");
}

static void find_mount(struct collect *c, const struct waiting *w, const struct proc_syscall *call)
{
	struct evidence_thread *t = &c->evidence->threads[w->index];
	uint32_t mount = EVIDENCE_NONE;
	bool is_path = false, inferred = false;
	int32_t fd = syscall_fd(call->number, call->args, &is_path);
	uint64_t ns;

	if (fd < 0 && !is_path && !is_in_fuse(t))
		return;
	if (!collect_load_mounts(c, w->seen, w->tid, &ns))
		return;
	if (fd >= 0)
		mount = mount_of_fd(c, w, fd, ns);
	if (is_in_fuse(t) &&
		(mount == EVIDENCE_NONE || c->evidence->mounts[mount].fuse == EVIDENCE_NONE)) {
		mount = collect_mount_waiting(c, ns, w->seen->pid);
		inferred = true;
	} else if (mount == EVIDENCE_NONE && is_path) {
		mount = mount_of_cwd(c, w, ns);
		inferred = true;
	}
	/* What was added has moved the arrays, perhaps. */
	t = &c->evidence->threads[w->index];
	t->fd = is_path ? -1 : fd;
	t->mount = mount;
	t->mount_inferred = mount != EVIDENCE_NONE && (inferred || is_path);
}

static void look_at(struct collect *c, struct waiting *w)
{
	struct evidence *e = c->evidence;
	struct proc_syscall call = { .kind = PROC_SYSCALL_NONE };
	char wchan[PROC_WCHAN_MAX] = "";
	struct proc_status status;
	struct proc_stat stat;

	if (proc_read_stat(c->proc_fd, w->seen->pid, w->tid, &stat) < 0 ||
		proc_read_status(c->proc_fd, w->seen->pid, w->tid, &status) < 0)
		return;
	w->index = evidence_add_thread(e);
	if (w->index == EVIDENCE_NONE)
		return;
	(void)proc_read_wchan(c->proc_fd, w->seen->pid, w->tid, wchan);
	e->threads[w->index].process = w->seen->process;
	e->threads[w->index].tid = w->tid;
	e->threads[w->index].comm = evidence_text(e, stat.comm);
	e->threads[w->index].state = status.state;
	e->threads[w->index].pending = status.pending_thread;
	e->threads[w->index].switches = status.switches;
	e->threads[w->index].wchan = evidence_text(e, wchan);
	read_stack(c, w);
	if (proc_read_syscall(c->proc_fd, w->seen->pid, w->tid, &call) == -EPERM)
		evidence_add_gap(
			e, "system calls", "not permitted", "run as root, with CAP_SYS_PTRACE");
	if (call.kind != PROC_SYSCALL_IN) {
		find_mount(c, w, &(struct proc_syscall){ .number = UINT64_MAX });
		return;
	}
	e->threads[w->index].in_syscall = true;
	e->threads[w->index].syscall = call.number;
	memcpy(e->threads[w->index].args, call.args, sizeof(e->threads[w->index].args));
	find_mount(c, w, &call);
}

/* Of the thread itself where its leader is dead, and has none any more. */
static void read_namespace(struct collect *c, struct candidate *k)
{
	const struct seen *s = &c->seen[k->seen];
	uint64_t ns;

	if (s->process != EVIDENCE_NONE &&
		proc_read_ns(c->proc_fd, s->pid, s->state == 'Z' ? k->tid : 0, PROC_NS_MNT, &ns) >=
			0)
		k->mount_ns = ns;
}

static int compare_candidates(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	if (x->mount_ns != y->mount_ns)
		return x->mount_ns < y->mount_ns ? -1 : 1;
	if (x->seen != y->seen)
		return x->seen < y->seen ? -1 : 1;
	return x->tid < y->tid ? -1 : x->tid > y->tid;
}

/* First whose namespace each is in, then one namespace after the other. */
enum collect_step collect_threads(struct collect *c)
{
	struct waiting w;

	if (c->cursor2 == 0 && c->cursor < c->candidate_count) {
		read_namespace(c, &c->candidates[c->cursor++]);
		return COLLECT_MORE;
	}
	if (c->cursor2 == 0) {
		if (c->candidate_count > 0)
			qsort(c->candidates, c->candidate_count, sizeof(*c->candidates),
				compare_candidates);
		c->cursor = 0;
		c->cursor2 = 1;
	}
	if (c->cursor == c->candidate_count)
		return COLLECT_NEXT;
	w = (struct waiting){ &c->seen[c->candidates[c->cursor].seen], c->candidates[c->cursor].tid,
		EVIDENCE_NONE };
	c->cursor++;
	if (w.seen->process != EVIDENCE_NONE)
		look_at(c, &w);
	return COLLECT_MORE;
}
