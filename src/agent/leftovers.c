#include "agent/leftovers.h"

#include <errno.h>
#include <stdbool.h>

#include "base/fd.h"
#include "kernel/proc.h"

struct noted {
	int32_t pid;
	uint64_t at_ns;
};

struct leftovers {
	int proc_fd;
	struct noted noted[LEFTOVERS_MAX]; /* a ring, in the order of their exits */
	uint32_t first, count;
	int32_t kept[LEFTOVERS_KEPT_MAX];
	uint32_t kept_count;
};

int leftovers_new(struct leftovers **ret)
{
	CLEAN(leftovers_freep) struct leftovers *l = mem_zalloc(sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->proc_fd = proc_open();
	if (l->proc_fd < 0)
		return l->proc_fd;
	*ret = TAKE_PTR(l);
	return 0;
}

struct leftovers *leftovers_free(struct leftovers *l)
{
	if (!l)
		return NULL;
	l->proc_fd = fd_close(l->proc_fd);
	return mem_free(l);
}

static uint64_t next_look_ns(const struct leftovers *l, uint64_t now_ns)
{
	uint64_t due_ns = NSEC_NEVER;

	if (l->kept_count > 0)
		due_ns = time_add(now_ns, LEFTOVERS_EVERY_NS);
	if (l->count > 0)
		due_ns = time_min(due_ns, time_add(l->noted[l->first].at_ns, LEFTOVERS_WAIT_NS));
	return due_ns;
}

uint64_t leftovers_note(struct leftovers *l, int32_t pid, uint64_t now_ns)
{
	if (l->count < LEFTOVERS_MAX) {
		l->noted[(l->first + l->count) % LEFTOVERS_MAX] = (struct noted){ pid, now_ns };
		l->count++;
	}
	return next_look_ns(l, now_ns);
}

/* In a pid namespace below its parent's, and not its init, which is the shim's to reap. */
static bool is_foreign(const struct leftovers *l, int32_t pid, int32_t ppid)
{
	struct proc_status status, parent;

	return proc_read_status(l->proc_fd, pid, 0, &status) >= 0 && status.ns_levels > 1 &&
		status.ns_pids[status.ns_levels - 1] != 1 &&
		proc_read_status(l->proc_fd, ppid, 0, &parent) >= 0 && parent.ns_levels > 0 &&
		parent.ns_levels < status.ns_levels;
}

/* A pid that another process has by now is no zombie, or one that has just become it: no matter. */
static bool is_left(const struct leftovers *l, int32_t pid)
{
	struct proc_stat stat, parent;

	return proc_read_stat(l->proc_fd, pid, 0, &stat) >= 0 && stat.state == 'Z' &&
		stat.ppid > 0 && proc_read_stat(l->proc_fd, stat.ppid, 0, &parent) >= 0 &&
		(parent.state == 'T' || parent.state == 't' || is_foreign(l, pid, stat.ppid));
}

uint64_t leftovers_look(struct leftovers *l, uint64_t now_ns)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < l->kept_count; i++)
		if (is_left(l, l->kept[i]))
			l->kept[kept++] = l->kept[i];
	l->kept_count = kept;
	while (l->count > 0 && time_add(l->noted[l->first].at_ns, LEFTOVERS_WAIT_NS) <= now_ns) {
		int32_t pid = l->noted[l->first].pid;

		l->first = (l->first + 1) % LEFTOVERS_MAX;
		l->count--;
		if (l->kept_count < LEFTOVERS_KEPT_MAX && is_left(l, pid))
			l->kept[l->kept_count++] = pid;
	}
	/* Never sooner than that, whatever came in meanwhile. */
	return next_look_ns(l, now_ns) == NSEC_NEVER ? NSEC_NEVER
						     : time_add(now_ns, LEFTOVERS_EVERY_NS);
}

uint32_t leftovers_kept(const struct leftovers *l)
{
	return l->kept_count;
}
