#include "drain/stuck.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"
#include "kernel/mountinfo.h"
#include "kernel/proc.h"

#define LOOK_NS    (10 * NSEC_PER_SEC)
#define TASKS_MAX  32768u /* of one process */
#define UID_LENGTH 64u
/* Each may have thousands of lines to read. */
#define NAMESPACES_MAX 1024u
#define POLL_MS        100
/* include/linux/proc_ns.h: the inodes of the first namespaces. */
#define HOST_PID_NAMESPACE    UINT64_C(0xEFFFFFFC)
#define HOST_CGROUP_NAMESPACE UINT64_C(0xEFFFFFFB)

struct look {
	const struct stuck_pod *pod;
	char uid[UID_LENGTH],
		slice_uid[UID_LENGTH]; /* as the cgroupfs and the systemd driver write it */
	int proc_fd;
	struct proc_task *tasks;
	uint64_t namespaces[NAMESPACES_MAX]; /* of mounts, by inode; 0: not to be known */
	size_t namespace_count;
	char *text;
};

/* ---- in the child ------------------------------------------------------------------------ */

static bool is_namespace(const char *path, uint64_t inode)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_ino == inode;
}

static bool is_of_pod(const struct look *look, const char *cgroups, size_t len)
{
	if (proc_cgroup_contains(cgroups, len, look->uid) ||
		proc_cgroup_contains(cgroups, len, look->slice_uid))
		return true;
	for (size_t i = 0; i < look->pod->id_count; i++)
		if (proc_cgroup_contains(cgroups, len, look->pod->ids[i]))
			return true;
	return false;
}

static enum stuck_verdict unsure(struct look *look, const char *what, int32_t id, int r)
{
	(void)snprintf(look->text, STUCK_TEXT, "%s %d: %s", what, id, strerror(-r));
	return STUCK_UNSURE;
}

/* What is to be known of each live thread. */
static enum stuck_verdict look_at_thread(
	struct look *look, int32_t pid, const struct proc_task *task)
{
	char cgroups[PROC_TEXT_MAX], comm[PROC_COMM_MAX] = "", clean[PROC_COMM_MAX];
	int len = proc_read_text(
		look->proc_fd, pid, task->tid, PROC_CGROUP, cgroups, sizeof(cgroups));

	if (len == -ESRCH)
		return STUCK_FREE;
	if (len == (int)sizeof(cgroups) - 1) /* and perhaps more, which was cut */
		len = -EOVERFLOW;
	if (len < 0)
		return unsure(look, "the cgroups of thread", task->tid, len);
	if (!is_of_pod(look, cgroups, (size_t)len))
		return STUCK_FREE;
	len = proc_read_text(look->proc_fd, pid, task->tid, PROC_COMM, comm, sizeof(comm));
	if (len > 0 && comm[len - 1] == '\n')
		len--;
	(void)str_clean(clean, sizeof(clean), comm, len > 0 ? (size_t)len : 0);
	(void)snprintf(look->text, STUCK_TEXT,
		"thread %d (%s, state %c) of process %d lives in its cgroup", task->tid, clean,
		task->state, pid);
	return STUCK_THREAD;
}

typedef enum stuck_verdict (*look_fn)(struct look *look, int32_t pid, const struct proc_task *task);

static enum stuck_verdict look_at_process(struct look *look, int32_t pid, look_fn fn)
{
	enum stuck_verdict verdict = STUCK_FREE;
	int count = proc_list_tasks(look->proc_fd, pid, look->tasks, TASKS_MAX);

	if (count == -ESRCH)
		return STUCK_FREE;
	if (count == (int)TASKS_MAX)
		count = -EOVERFLOW;
	if (count < 0)
		return unsure(look, "the threads of process", pid, count);
	for (int i = 0; i < count && verdict == STUCK_FREE; i++)
		if (!strchr("ZX", look->tasks[i].state))
			verdict = fn(look, pid, &look->tasks[i]);
	return verdict;
}

static enum stuck_verdict look_at_processes(struct look *look, look_fn fn)
{
	enum stuck_verdict verdict = STUCK_FREE;
	const struct dirent *entry;
	DIR *folder = opendir("/proc");
	int32_t last = 0;

	if (!folder)
		return unsure(look, "/proc, before process", 1, -errno);
	while (verdict == STUCK_FREE && (errno = 0, entry = readdir(folder))) {
		uint64_t pid;

		if (str_to_u64(entry->d_name, &pid) < 0 || pid > INT32_MAX)
			continue;
		last = (int32_t)pid;
		verdict = look_at_process(look, last, fn);
	}
	if (verdict == STUCK_FREE && errno != 0)
		verdict = unsure(look, "/proc, behind process", last, -errno);
	(void)closedir(folder);
	return verdict;
}

/* The path of a volume as the kubelet lays it out, with this pod's uid. */
static bool is_volume(const struct look *look, struct slice path)
{
	char text[MOUNTINFO_PATH_MAX];
	const char *at;

	(void)mountinfo_decode(text, sizeof(text), path);
	at = strstr(text, look->uid);
	return at && (strstr(at, "/volumes/") || strstr(at, "/volume-subpaths/"));
}

/* tmpfs holds secrets, tokens and in-memory emptyDirs: nothing there is shared with another node. What
 * is bound elsewhere from a folder of the pod has that folder for its root. */
static bool is_writable_volume(const struct look *look, const struct mountinfo_line *line)
{
	if (slice_eq(line->type, SLICE("tmpfs")) || line->options.len < 2 ||
		memcmp(line->options.data, "rw", 2) != 0)
		return false;
	return is_volume(look, line->point) || is_volume(look, line->root);
}

static enum stuck_verdict look_at_mounts(
	struct look *look, int32_t pid, const struct proc_task *task, bool *ret_seen)
{
	CLEAN(mem_freep) char *text = NULL;
	struct mountinfo_line line;
	size_t len, at = 0;
	int r = mountinfo_read(look->proc_fd, pid, task->tid, &text, &len);

	if (r == -ESRCH || r == -EINVAL) /* it has ended meanwhile */
		return STUCK_FREE;
	if (r < 0)
		return unsure(look, "the mounts of thread", task->tid, r);
	*ret_seen = true;
	while ((r = mountinfo_next(text, len, &at, &line)) != 0) {
		char point[256];

		if (r < 0)
			return unsure(look, "a mount of thread", task->tid, r);
		if (!is_writable_volume(look, &line))
			continue;
		(void)mountinfo_decode(point, sizeof(point), line.point);
		(void)snprintf(look->text, STUCK_TEXT,
			"its volume is mounted writable on %s, as process %d sees it", point, pid);
		return STUCK_MOUNT;
	}
	return STUCK_FREE;
}

/* Each mount namespace once; those of threads that may not be asked for theirs, each time. */
static enum stuck_verdict look_at_namespace(
	struct look *look, int32_t pid, const struct proc_task *task)
{
	char path[64];
	struct stat st = { 0 };
	bool is_known, seen = false;
	enum stuck_verdict verdict;

	(void)snprintf(path, sizeof(path), "%d/task/%d/ns/mnt", pid, task->tid);
	is_known = fstatat(look->proc_fd, path, &st, 0) == 0;
	if (!is_known && (errno == ENOENT || errno == ESRCH))
		return STUCK_FREE;
	for (size_t i = 0; i < look->namespace_count && is_known; i++)
		if (look->namespaces[i] == st.st_ino)
			return STUCK_FREE;
	if (look->namespace_count == NAMESPACES_MAX)
		return unsure(look, "the mount namespaces, at process", pid, -EOVERFLOW);
	verdict = look_at_mounts(look, pid, task, &seen);
	if (seen)
		look->namespaces[look->namespace_count++] = st.st_ino;
	return verdict;
}

static enum stuck_verdict look_here(const struct stuck_pod *pod, char text[STUCK_TEXT])
{
	struct look *look = mem_zalloc(sizeof(*look)); /* the child's: ends with it */
	enum stuck_verdict verdict;

	if (geteuid() != 0 || !is_namespace("/proc/self/ns/pid", HOST_PID_NAMESPACE) ||
		!is_namespace("/proc/self/ns/cgroup", HOST_CGROUP_NAMESPACE)) {
		(void)snprintf(text, STUCK_TEXT,
			"only root in the host's own pid and cgroup namespaces can see that "
			"nothing of it is left");
		return STUCK_UNSURE;
	}
	if (look) {
		look->pod = pod;
		look->text = text;
		look->proc_fd = proc_open();
		look->tasks = mem_array(TASKS_MAX, sizeof(*look->tasks));
	}
	if (!look || look->proc_fd < 0 || !look->tasks) {
		(void)snprintf(text, STUCK_TEXT, "/proc cannot be read");
		return STUCK_UNSURE;
	}
	(void)snprintf(look->uid, sizeof(look->uid), "%s", pod->uid);
	(void)snprintf(look->slice_uid, sizeof(look->slice_uid), "%s", pod->uid);
	for (char *c = look->slice_uid; *c; c++)
		if (*c == '-')
			*c = '_';
	verdict = look_at_processes(look, look_at_thread);
	if (verdict == STUCK_FREE)
		verdict = look_at_processes(look, look_at_namespace);
	if (verdict == STUCK_FREE)
		(void)snprintf(text, STUCK_TEXT, "no thread of it lives, no volume is mounted");
	return verdict;
}

static _Noreturn void child_run(const struct stuck_pod *pod, int fd)
{
	char answer[STUCK_TEXT + 1] = "";

	fd = child_begin("pleg-look", fd);
	answer[0] = (char)('0' + look_here(pod, answer + 1));
	(void)fd_write_all(fd, answer, strlen(answer), 1000);
	_exit(0);
}

/* ---- the parent -------------------------------------------------------------------------- */

/* Until the child has closed its end, the deadline, or that it is over. */
static size_t read_answer(const struct stuck_pod *pod, int fd, char *answer, size_t size)
{
	uint64_t end_ns = clock_now().mono_ns + LOOK_NS;
	size_t len = 0;

	for (;;) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };
		uint64_t left_ns = time_since(end_ns, clock_now().mono_ns);
		ssize_t n;

		if (left_ns == 0 || len == size - 1 ||
			(pod->is_over && pod->is_over(pod->userdata)))
			return len;
		if (poll(&wait, 1, POLL_MS) <= 0)
			continue;
		n = read(fd, answer + len, size - 1 - len);
		if (n <= 0)
			return len;
		len += (size_t)n;
	}
}

enum stuck_verdict stuck_look(const struct stuck_pod *pod, char text[STUCK_TEXT])
{
	char answer[STUCK_TEXT + 1] = "";
	CLEAN_FD int from = -EBADF;
	CLEAN_FD int to = -EBADF;
	int ends[2];
	pid_t pid;

	(void)snprintf(text, STUCK_TEXT, "looking for its threads took too long");
	/* A uid that is a part of others would match too much; an empty one everything. */
	if (strlen(pod->uid) < 8 || strlen(pod->uid) >= UID_LENGTH || pipe2(ends, O_CLOEXEC) < 0) {
		(void)snprintf(text, STUCK_TEXT, "its uid '%.40s' cannot be looked for", pod->uid);
		return STUCK_UNSURE;
	}
	from = ends[0];
	to = ends[1];
	if (pod->is_cut) {
		(void)snprintf(
			text, STUCK_TEXT, "it has containers whose threads cannot be looked for");
		return STUCK_UNSURE;
	}
	pid = fork();
	if (pid < 0)
		return STUCK_UNSURE;
	if (pid == 0)
		child_run(pod, to);
	to = fd_close(to);
	(void)read_answer(pod, from, answer, sizeof(answer));
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, WNOHANG); /* one that hangs is left behind, and ends with us */
	if (answer[0] < '0' || answer[0] > '0' + STUCK_UNSURE || answer[1] == '\0')
		return STUCK_UNSURE;
	(void)snprintf(text, STUCK_TEXT, "%s", answer + 1);
	return (enum stuck_verdict)(answer[0] - '0');
}
