/*
 * What the child of a trace does, in the order of what matters most: the daemons, the init, the shim
 * and where its socket is, the threads, and last what may hang, the command lines of OCI runtimes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "kernel/proc-link.h"
#include "net/dial.h"
#include "trace/look-internal.h"

#define SHIM_COMM       "containerd-shim" /* as the kernel cuts it */
#define CGROUP_TEXT_MAX 8192

static void pass(struct looker *l, enum trace_stage stage)
{
	l->look->stage = stage;
	l->on_stage(l->userdata);
}

void look_doing(struct looker *l, const char *text)
{
	(void)snprintf(l->look->doing, sizeof(l->look->doing), "%s", text);
}

/* ---- processes ------------------------------------------------------------------------------- */

static int scan_add(struct look_scan *scan, int32_t pid)
{
	struct look_entry *entry;
	struct proc_stat stat;

	if (proc_read_stat(scan->proc_fd, pid, 0, &stat) < 0)
		return 0;
	/* The kernel goes through the pids upwards, and look_scan_find() counts on it. */
	if (scan->count > 0 && NEVER(pid <= scan->entries[scan->count - 1].pid))
		return -EBADMSG;
	if (scan->count == scan->room) {
		size_t room = scan->room ? scan->room * 2 : 1024;
		struct look_entry *more = mem_resize(scan->entries, room, sizeof(*scan->entries));

		if (!more)
			return -ENOMEM;
		scan->entries = more;
		scan->room = room;
	}
	entry = &scan->entries[scan->count++];
	*entry = (struct look_entry){
		.pid = pid,
		.ppid = stat.ppid,
		.start_ticks = stat.start_ticks,
		.state = stat.state,
		.is_kernel = (stat.flags & PROC_FLAG_KTHREAD) != 0,
	};
	(void)snprintf(entry->comm, sizeof(entry->comm), "%s", stat.comm);
	return 0;
}

int look_scan_read(struct look_scan *scan)
{
	struct proc_walk walk = { 0 };
	int32_t pid;
	int r;

	scan->proc_fd = proc_open();
	if (scan->proc_fd < 0)
		return scan->proc_fd;
	r = proc_walk_init(&walk, scan->proc_fd, PROC_WALK_PROCESSES, 0, 0);
	while (r >= 0 && scan->count < LOOK_PROCESSES_MAX && proc_walk_next(&walk, &pid))
		r = scan_add(scan, pid);
	proc_walk_done(&walk);
	return r < 0 ? r : 0;
}

void look_scan_done(struct look_scan *scan)
{
	scan->proc_fd = fd_close(scan->proc_fd);
	scan->entries = mem_free(scan->entries);
	scan->count = scan->room = 0;
}

const struct look_entry *look_scan_find(const struct look_scan *scan, int32_t pid)
{
	size_t from = 0, to = scan->count;

	while (from < to) {
		size_t at = from + (to - from) / 2;

		if (scan->entries[at].pid == pid)
			return &scan->entries[at];
		if (scan->entries[at].pid < pid)
			from = at + 1;
		else
			to = at;
	}
	return NULL;
}

static uint64_t age_of(uint64_t start_ticks)
{
	uint64_t per_second = (uint64_t)sysconf(_SC_CLK_TCK), started_ns;
	struct timespec now;

	(void)clock_gettime(CLOCK_BOOTTIME, &now);
	started_ns = start_ticks / per_second * NSEC_PER_SEC +
		start_ticks % per_second * (NSEC_PER_SEC / per_second);
	return time_since((uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec, started_ns);
}

int look_process(
	const struct look_scan *scan, const struct look_entry *e, struct trace_process *ret)
{
	struct trace_process out = { .pid = e->pid };
	struct proc_status status;
	struct proc_stat stat;
	int r = proc_read_stat(scan->proc_fd, e->pid, 0, &stat);

	if (r < 0)
		return r;
	if (stat.start_ticks != e->start_ticks)
		return -ESRCH;
	out.ppid = stat.ppid;
	out.state = stat.state;
	out.start_ticks = stat.start_ticks;
	out.age_ns = age_of(stat.start_ticks);
	out.threads = stat.threads;
	(void)str_clean(out.comm, sizeof(out.comm), stat.comm, strlen(stat.comm));
	(void)proc_read_wchan(scan->proc_fd, e->pid, 0, out.wchan);
	if (proc_read_status(scan->proc_fd, e->pid, 0, &status) == 0)
		out.tracer_pid = status.tracer_pid;
	*ret = out;
	return 0;
}

/* ---- the daemons ----------------------------------------------------------------------------- */

/* Who listens on the runtime's socket, as the kernel knows; a stopped one is found as well. */
static int32_t socket_owner(const char *path)
{
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);
	struct dial_address address;
	int error;
	CLEAN_FD int fd = -EBADF;

	if (path[0] == '\0' || dial_address_unix(&address, path, NULL) < 0)
		return 0;
	if (dial_start(&address, &fd, &error) != DIAL_CONNECTED)
		return 0;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return 0;
	return peer.pid;
}

static void look_at_owner(struct looker *l, const char *socket, struct trace_process *ret)
{
	const struct look_entry *e = look_scan_find(&l->scan, socket_owner(socket));

	if (e)
		(void)look_process(&l->scan, e, ret);
}

static void look_at_daemons(struct looker *l)
{
	look_doing(l, "the runtime's socket");
	look_at_owner(l, l->look->socket, &l->look->daemon);
	for (size_t i = 0; i < l->scan.count; i++)
		if (str_eq(l->scan.entries[i].comm, "kubelet")) {
			(void)look_process(&l->scan, &l->scan.entries[i], &l->look->kubelet);
			break;
		}
	pass(l, TRACE_STAGE_DAEMONS);
}

/* ---- the init -------------------------------------------------------------------------------- */

static bool is_shim(const struct look_entry *e)
{
	return str_eq(e->comm, SHIM_COMM);
}

bool look_is_oci_runtime(const struct look_entry *e)
{
	return str_eq(e->comm, "runc") || str_eq(e->comm, "crun") || str_eq(e->comm, "youki") ||
		str_eq(e->comm, "runsc") || str_after(e->comm, "runc:[");
}

/* Of those in the container's cgroup the one that was started first. */
static void prefer(struct looker *l, const struct look_entry *e, const struct look_entry **best)
{
	if (e->is_kernel || look_is_oci_runtime(e))
		return;
	if (*best &&
		((*best)->start_ticks < e->start_ticks ||
			((*best)->start_ticks == e->start_ticks && (*best)->pid < e->pid)))
		return;
	if (proc_is_in_cgroup(l->scan.proc_fd, e->pid, l->look->id) == 1)
		*best = e;
}

static const struct look_entry *find_init(struct looker *l)
{
	const struct look_entry *best = NULL;

	for (size_t i = 0; i < l->scan.count; i++) {
		const struct look_entry *e = &l->scan.entries[i];
		const struct look_entry *parent = look_scan_find(&l->scan, e->ppid);

		if (parent && is_shim(parent))
			prefer(l, e, &best);
	}
	/* Where the shim has died, its children are somebody else's. */
	if (best)
		return best;
	for (size_t i = 0; i < l->scan.count; i++)
		prefer(l, &l->scan.entries[i], &best);
	return best;
}

static void look_at_freezer(struct looker *l)
{
	struct cgroup_freezer_level levels[TRACE_LEVELS_MAX];
	char text[CGROUP_TEXT_MAX], path[CGROUP_PATH_MAX];
	struct cgroup_mounts mounts;
	int n;

	n = proc_read_text(l->scan.proc_fd, l->look->init.pid, 0, PROC_CGROUP, text, sizeof(text));
	if (n < 0 || cgroup_read_mounts(&mounts) < 0)
		return;
	if (cgroup_path(&mounts, text, (size_t)n, CGROUP_FREEZER, path) < 0)
		return;
	n = cgroup_read_freezer(&mounts, path, levels, TRACE_LEVELS_MAX);
	for (int i = 0; i < n; i++) {
		struct trace_level *to = &l->look->levels[l->look->level_count++];

		(void)str_clean(to->path, sizeof(to->path), levels[i].path, strlen(levels[i].path));
		to->state = levels[i].state;
		to->self = levels[i].self;
	}
}

static void take_init(struct looker *l, const struct look_entry *e)
{
	struct trace_look *look = l->look;
	struct proc_status status;

	if (look_process(&l->scan, e, &look->init) < 0)
		return;
	look->is_init_hidden = !proc_may_look(l->scan.proc_fd, e->pid) && look->init.state != 'Z';
	if (proc_read_status(l->scan.proc_fd, e->pid, 0, &status) == 0)
		look->init_pending = status.pending_shared;
	look_at_freezer(l);
	/* It ended meanwhile: what was read may be somebody else's. */
	if (proc_verify(l->scan.proc_fd, (struct proc_id){ e->pid, e->start_ticks }) < 0) {
		look->init = (struct trace_process){ 0 };
		look->is_init_hidden = false;
		look->init_pending = 0;
		look->level_count = 0;
	}
}

/* ---- the shim -------------------------------------------------------------------------------- */

const char *look_bundle_file(
	char path[LOOK_PATH_MAX], int32_t shim, const char *id, const char *name)
{
	return str_format(path, LOOK_PATH_MAX, "/proc/%d/cwd/%s%s%s%s", shim, *id ? "../" : "", id,
		*id ? "/" : "", name);
}

static int read_address(struct looker *l, int32_t shim, const char *id, struct shim_address *ret)
{
	char path[LOOK_PATH_MAX], text[SHIM_FILE_MAX];
	int n;

	(void)look_bundle_file(path, shim, id, "bootstrap.json");
	n = fd_read_small(AT_FDCWD, path, text, sizeof(text));
	if (n >= 0)
		return shim_parse_bootstrap(text, (size_t)n, ret);
	(void)look_bundle_file(path, shim, id, "address");
	n = fd_read_small(AT_FDCWD, path, text, sizeof(text));
	return n < 0 ? n : shim_parse_address(text, (size_t)n, ret);
}

/* Whether it serves the container: its bundle is there, and has this shim's own address. */
static bool shim_serves(struct looker *l, const struct look_entry *e)
{
	struct shim_address own, of;
	char cwd[PROC_LINK_MAX];
	int n = proc_read_link(l->scan.proc_fd, e->pid, 0, PROC_LINK_CWD, cwd, sizeof(cwd));
	size_t id_len = strlen(l->look->id);

	if (n < 0) {
		l->look->shim_error = n;
		return false;
	}
	if ((size_t)n > id_len && cwd[(size_t)n - id_len - 1] == '/' &&
		str_eq(cwd + (size_t)n - id_len, l->look->id))
		return true;
	look_doing(l, FMT("the bundle beside the one of shim %d", e->pid));
	return read_address(l, e->pid, l->look->id, &of) == 0 &&
		read_address(l, e->pid, "", &own) == 0 && str_eq(own.text, of.text);
}

static const struct look_entry *find_shim(struct looker *l)
{
	const struct look_entry *parent = look_scan_find(&l->scan, l->look->init.ppid);

	if (l->look->init.pid != 0 && parent && is_shim(parent))
		return parent;
	for (size_t i = 0; i < l->scan.count; i++)
		if (is_shim(&l->scan.entries[i]) && shim_serves(l, &l->scan.entries[i]))
			return &l->scan.entries[i];
	return NULL;
}

/* containerd's own socket, where Docker has one: as it is by default, in or beside the directory of
 * its state, which the bundle stands in. */
static void look_at_containerd(struct looker *l)
{
	static const char *const places[] = { "containerd.sock", "../containerd.sock" };
	struct trace_look *look = l->look;
	const char *end = strstr(look->bundle, "/io.containerd.");
	char path[LOOK_PATH_MAX];
	struct stat st;

	if (!look->is_docker || !end)
		return;
	look_doing(l, "the socket of containerd");
	for (size_t i = 0; i < ELEMENTS(places); i++) {
		(void)str_format(path, sizeof(path), "%.*s/%s", (int)(end - look->bundle),
			look->bundle, places[i]);
		if (strlen(path) >= sizeof(look->containerd_socket) || stat(path, &st) < 0 ||
			!S_ISSOCK(st.st_mode))
			continue;
		(void)str_format(
			look->containerd_socket, sizeof(look->containerd_socket), "%s", path);
		look_at_owner(l, path, &look->containerd);
		return;
	}
}

static void look_at_shim(struct looker *l)
{
	const struct look_entry *shim = find_shim(l);
	struct trace_look *look = l->look;
	char cwd[PROC_LINK_MAX];
	int r;

	if (shim && look_process(&l->scan, shim, &look->shim) == 0) {
		r = proc_read_link(l->scan.proc_fd, shim->pid, 0, PROC_LINK_CWD, cwd, sizeof(cwd));
		if (r >= 0)
			r = shim_bundle(cwd, look->id, look->bundle, look->namespace);
		look_doing(l, FMT("the bundle of the container, beside shim %d", shim->pid));
		if (r >= 0)
			r = read_address(l, shim->pid, look->id, &look->address);
		if (proc_verify(l->scan.proc_fd, (struct proc_id){ shim->pid, shim->start_ticks }) <
			0) {
			look->shim = (struct trace_process){ 0 };
			r = -ESRCH;
		}
		look->has_address = r >= 0;
		look->shim_error = r < 0 ? r : 0;
		look_at_containerd(l);
	}
	pass(l, TRACE_STAGE_SHIM);
}

/* A container that has ended, or whose init has left its cgroup: its bundle has noted the pid. */
static void init_of_bundle(struct looker *l)
{
	char path[LOOK_PATH_MAX], text[32];
	uint64_t pid;

	if (l->look->init.pid != 0 || l->look->shim.pid == 0)
		return;
	(void)look_bundle_file(path, l->look->shim.pid, l->look->id, "init.pid");
	if (fd_read_small(AT_FDCWD, path, text, sizeof(text)) < 0)
		return;
	text[strcspn(text, "\n")] = '\0';
	/* A bare pid may be somebody else's by now: only a child of this shim is believed. */
	if (str_to_u64(text, &pid) == 0 && pid > 0 && pid <= INT32_MAX) {
		const struct look_entry *e = look_scan_find(&l->scan, (int32_t)pid);

		if (e && e->ppid == l->look->shim.pid)
			take_init(l, e);
	}
}

/* ---- all of it ------------------------------------------------------------------------------- */

void look_at(struct trace_look *look, void (*on_stage)(void *userdata), void *userdata)
{
	struct looker l = {
		.look = look,
		.scan = { .proc_fd = -EBADF },
		.on_stage = on_stage,
		.userdata = userdata,
	};
	const struct look_entry *init;

	look_doing(&l, "the table of processes");
	look->scan_error = look_scan_read(&l.scan);
	if (look->scan_error >= 0) {
		look_at_daemons(&l);
		look_doing(&l, "the init process");
		init = find_init(&l);
		if (init)
			take_init(&l, init);
		pass(&l, TRACE_STAGE_INIT);
		look_at_shim(&l);
		init_of_bundle(&l);
		look_doing(&l, "the threads");
		look_at_threads(&l.scan, look);
		pass(&l, TRACE_STAGE_THREADS);
		look_at_oci(&l);
		pass(&l, TRACE_STAGE_OCI);
	}
	look_doing(&l, "");
	look_scan_done(&l.scan);
	pass(&l, TRACE_STAGE_END);
}

/* ---- ids ------------------------------------------------------------------------------------- */

#define ID_LEN 64

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* The last run of exactly 64 hexadecimal digits in a path, as runtimes name their cgroups. */
static bool id_in(struct slice path, char id[TRACE_ID_MAX + 1])
{
	for (size_t end = path.len; end >= ID_LEN; end--) {
		size_t run = 0;

		while (run < end && is_hex(path.data[end - 1 - run]))
			run++;
		if (run == ID_LEN && (end == path.len || !is_hex(path.data[end]))) {
			memcpy(id, path.data + end - ID_LEN, ID_LEN);
			id[ID_LEN] = '\0';
			return true;
		}
	}
	return false;
}

static unsigned add_ids(const char *text, size_t len, const char *prefix,
	char (*ids)[TRACE_ID_MAX + 1], unsigned count, unsigned max)
{
	struct proc_cgroup line;
	char id[TRACE_ID_MAX + 1];
	size_t at = 0;

	while (proc_cgroup_next(text, len, &at, &line) > 0) {
		bool is_known = false;

		if (!id_in(line.path, id) || !str_after(id, prefix))
			continue;
		for (unsigned i = 0; i < count; i++)
			is_known = is_known || str_eq(ids[i], id);
		if (!is_known && count < max)
			memcpy(ids[count++], id, sizeof(id));
	}
	return count;
}

unsigned look_ids(const char *prefix, char (*ret_ids)[TRACE_ID_MAX + 1], unsigned max)
{
	CLEAN_FD int proc_fd = proc_open();
	struct proc_walk walk = { 0 };
	char text[CGROUP_TEXT_MAX];
	unsigned count = 0;
	int32_t pid;
	int n;

	if (proc_fd < 0)
		return 0;
	if (proc_walk_init(&walk, proc_fd, PROC_WALK_PROCESSES, 0, 0) >= 0)
		while (proc_walk_next(&walk, &pid)) {
			n = proc_read_text(proc_fd, pid, 0, PROC_CGROUP, text, sizeof(text));
			if (n > 0)
				count = add_ids(text, (size_t)n, prefix, ret_ids, count, max);
		}
	proc_walk_done(&walk);
	return count;
}
