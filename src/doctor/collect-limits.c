/*
 * What daemons, shims and containers have left of what they may have: descriptors against their
 * limit, processes of their cgroup against its. Without one more they can accept nobody and start
 * nothing, and say so in their log only. And inotify, whose limits are a user's: whether ours has one
 * more is tried, and only if not who has them is looked for, in all processes of that user.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "doctor/collect-internal.h"
#include "kernel/inotify-room.h"

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

/* ---- processor time ------------------------------------------------------------------------ */

#define CPU_LEVELS 5 /* a slice within a slice within a pod: a quota may be on any of them */

/* On v2 cpu.stat makes the kernel add up what all processors know of the group: only asked for where
 * there is a quota. */
static bool has_quota(int dir)
{
	char text[64];
	size_t len;

	if (cgroup_read_text(dir, "cpu.max", text, sizeof(text), &len) == 1)
		return !str_after(text, "max");
	return cgroup_read_text(dir, "cpu.cfs_quota_us", text, sizeof(text), &len) == 1 &&
		text[0] != '-';
}

/* The number behind a word at the beginning of a line; 0: there is none. */
static uint64_t number_of(const char *text, const char *word)
{
	char digits[24];
	uint64_t value;

	while (text && *text) {
		const char *at = str_after(text, word);

		if (at && *at == ' ') {
			(void)str_format(
				digits, sizeof(digits), "%.*s", (int)strcspn(at + 1, "\n"), at + 1);
			return str_to_u64(digits, &value) == 0 ? value : 0;
		}
		text = strchr(text, '\n');
		text = text ? text + 1 : NULL;
	}
	return 0;
}

static void put_quota(struct collect *c, struct evidence_process *p, const char *path)
{
	CLEAN_FD int dir = cgroup_open(path);
	char text[1024];
	uint64_t waited;
	size_t len;

	if (dir < 0 || !has_quota(dir) ||
		cgroup_read_text(dir, "cpu.stat", text, sizeof(text), &len) != 1)
		return;
	waited = number_of(text, "nr_throttled");
	if (p->cpu_periods > 0 && waited <= p->cpu_throttled)
		return;
	p->cpu_path = evidence_text(c->evidence, path);
	p->cpu_periods = number_of(text, "nr_periods");
	p->cpu_throttled = waited;
	p->cpu_throttled_ns =
		number_of(text, "throttled_time") + number_of(text, "throttled_usec") * 1000;
}

/* Its own group and those around it, up to the hierarchy's root. */
static void put_cpu(struct collect *c, struct evidence_process *p)
{
	char text[PROC_TEXT_MAX], path[CGROUP_PATH_MAX];
	int n = proc_read_text(c->proc_fd, p->pid, 0, PROC_CGROUP, text, sizeof(text));

	if (n <= 0 || cgroup_path(&c->cgroups, text, (size_t)n, CGROUP_CPU, path) < 0)
		return;
	for (unsigned level = 0; level < CPU_LEVELS; level++) {
		char *end = strrchr(path, '/');

		put_quota(c, p, path);
		if (!end || end == path || str_eq(path, c->cgroups.at[CGROUP_CPU].path))
			break;
		*end = '\0';
	}
}

/* ---- inotify ------------------------------------------------------------------------------- */

#define WATCHES_TEXT ((size_t)1 << 20) /* of one instance: some 10,000 watches */

void collect_inotify_try(struct collect *c)
{
	struct evidence_inotify *n = &c->evidence->inotify;
	int r = inotify_try();

	if (r < 0) {
		evidence_add_gap(c->evidence, "inotify",
			r == -EMFILE || r == -ENFILE ? "no descriptors are left to try it with"
						     : "one more cannot be tried",
			"");
		return;
	}
	n->is_out = r != INOTIFY_ENOUGH;
	n->lacks_watches = r == INOTIFY_NO_WATCHES;
	n->uid = geteuid();
	n->comm = "";
	n->is_whole = true;
	if (n->is_out)
		(void)fd_read_u64(AT_FDCWD,
			n->lacks_watches ? "/proc/sys/fs/inotify/max_user_watches"
					 : "/proc/sys/fs/inotify/max_user_instances",
			&n->max);
}

static uint64_t count_of(struct collect *c, int32_t pid, int32_t fd, char *text)
{
	char link[sizeof(INOTIFY_LINK) + 1];
	int n = proc_read_fd_link(c->proc_fd, pid, 0, fd, link, sizeof(link));

	if (n == -EACCES || n == -EPERM)
		c->evidence->inotify.is_whole = false;
	if (n < 0 || !str_eq(link, INOTIFY_LINK))
		return 0;
	if (!text)
		return 1;
	n = proc_read_fdinfo(c->proc_fd, pid, 0, fd, text, WATCHES_TEXT);
	return n > 0 ? inotify_count_watches(text, (size_t)n) : 0;
}

static void look_through(struct collect *c, const struct seen *s)
{
	struct evidence_inotify *n = &c->evidence->inotify;
	CLEAN(mem_freep) char *text = n->lacks_watches ? mem_alloc(WATCHES_TEXT) : NULL;
	struct proc_walk walk;
	uint64_t count = 0;
	unsigned seen = 0;
	int32_t fd;

	if (n->lacks_watches && !text)
		return;
	if (proc_walk_init(&walk, c->proc_fd, PROC_WALK_FDS, s->pid, 0) < 0)
		n->is_whole = false;
	else
		while (seen++ < COLLECT_FDS_MAX && proc_walk_next(&walk, &fd))
			count += count_of(c, s->pid, fd, text);
	proc_walk_done(&walk);
	n->used += count;
	n->processes += count > 0;
	if (count <= n->of_one)
		return;
	n->of_one = count;
	n->pid = s->pid;
	n->comm = evidence_text(c->evidence, s->comm);
}

bool collect_inotify(struct collect *c, uint32_t seen)
{
	struct stat st;

	if (!c->evidence->inotify.is_out || seen >= c->seen_count)
		return false;
	/* The owner is who it runs as, but for one that may not be dumped. */
	if (fstatat(c->proc_fd, FMT("%d", c->seen[seen].pid), &st, 0) == 0 &&
		st.st_uid == c->evidence->inotify.uid)
		look_through(c, &c->seen[seen]);
	return true;
}

void collect_limits(struct collect *c, uint32_t process)
{
	struct evidence_process *p = &c->evidence->processes[process];

	if ((p->roles & (EVIDENCE_DAEMON | EVIDENCE_SHIM)) != 0)
		put_fds(c, p);
	if ((p->roles & EVIDENCE_DAEMON) != 0)
		put_cpu(c, p);
	if ((p->roles & (EVIDENCE_DAEMON | EVIDENCE_SHIM | EVIDENCE_INIT)) != 0 && p->state != 'Z')
		put_pids(c, p);
}
