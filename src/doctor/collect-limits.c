/*
 * What daemons, shims and containers have left of what they may have: descriptors against their
 * limit, processes of their cgroup against its. Without one more they can accept nobody and start
 * nothing, and say so in their log only.
 */
#include <errno.h>
#include <string.h>

#include "base/fd.h"
#include "doctor/collect-internal.h"

static void put_fds(struct collect *c, struct evidence_process *p)
{
	uint64_t count, limit;

	if (proc_read_fd_limit(p->pid, &limit) < 0 ||
		proc_count_fds(c->proc_fd, p->pid, &count) < 0 ||
		proc_verify(c->proc_fd, (struct proc_id){ p->pid, p->start_ticks }) < 0)
		return;
	p->fd_count = count;
	p->fd_limit = limit;
}

/* The number in a file of a group; "max" is none. */
static bool read_number(int dir, const char *file, uint64_t *ret)
{
	char text[32];
	size_t len;

	if (cgroup_read_text(dir, file, text, sizeof(text), &len) != 1)
		return false;
	while (len > 0 && text[len - 1] == '\n')
		text[--len] = '\0';
	return str_to_u64(text, ret) == 0;
}

/* Of this level, if it has a limit and less left than one that was seen before. */
static void put_level(struct collect *c, struct evidence_process *p, const char *path)
{
	CLEAN_FD int dir = cgroup_open(path);
	uint64_t current, max;

	if (dir < 0 || !read_number(dir, "pids.max", &max) ||
		!read_number(dir, "pids.current", &current))
		return;
	/* One that was moved there may be over the limit. */
	if (current > max)
		current = max;
	if (p->pids_path[0] != '\0' && max - current >= p->pids_max - p->pids_current)
		return;
	p->pids_current = current;
	p->pids_max = max;
	p->pids_path = evidence_text(c->evidence, path);
}

/* Its own group and the one around it: of a container that is its pod's. */
static void put_pids(struct collect *c, struct evidence_process *p)
{
	char text[PROC_TEXT_MAX], path[CGROUP_PATH_MAX], *end;
	int n = proc_read_text(c->proc_fd, p->pid, 0, PROC_CGROUP, text, sizeof(text));

	if (n <= 0 || cgroup_path(&c->cgroups, text, (size_t)n, CGROUP_PIDS, path) < 0)
		return;
	put_level(c, p, path);
	end = strrchr(path, '/');
	if (!end || end == path)
		return;
	*end = '\0';
	put_level(c, p, path);
}

void collect_limits(struct collect *c, uint32_t process)
{
	struct evidence_process *p = &c->evidence->processes[process];

	if ((p->roles & (EVIDENCE_DAEMON | EVIDENCE_SHIM)) != 0)
		put_fds(c, p);
	if ((p->roles & (EVIDENCE_DAEMON | EVIDENCE_SHIM | EVIDENCE_INIT)) != 0 && p->state != 'Z')
		put_pids(c, p);
}
