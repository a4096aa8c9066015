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
/* include/linux/proc_ns.h: the inodes of the first namespaces. */
#define HOST_PID_NAMESPACE    UINT64_C(0xEFFFFFFC)
#define HOST_CGROUP_NAMESPACE UINT64_C(0xEFFFFFFB)

struct look {
	const struct stuck_pod *pod;
	char uid[UID_LENGTH],
		slice_uid[UID_LENGTH]; /* as the cgroupfs and the systemd driver write it */
	int proc_fd;
	struct proc_task *tasks;
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

static enum stuck_verdict look_at_process(struct look *look, int32_t pid)
{
	int count = proc_list_tasks(look->proc_fd, pid, look->tasks, TASKS_MAX);

	if (count == (int)TASKS_MAX) {
		(void)snprintf(look->text, STUCK_TEXT, "process %d has too many threads", pid);
		return STUCK_UNSURE;
	}
	for (int i = 0; i < count; i++) {
		char cgroups[PROC_TEXT_MAX], comm[PROC_COMM_MAX] = "", clean[PROC_COMM_MAX];
		const struct proc_task *task = &look->tasks[i];
		int len;

		if (strchr("ZX", task->state))
			continue;
		len = proc_read_text(
			look->proc_fd, pid, task->tid, PROC_CGROUP, cgroups, sizeof(cgroups));
		if (len == -ESRCH)
			continue;
		if (len < 0) {
			(void)snprintf(look->text, STUCK_TEXT, "the cgroup of thread %d: %s",
				task->tid, strerror(-len));
			return STUCK_UNSURE;
		}
		if (!is_of_pod(look, cgroups, (size_t)len))
			continue;
		len = proc_read_text(look->proc_fd, pid, task->tid, PROC_COMM, comm, sizeof(comm));
		if (len > 0 && comm[len - 1] == '\n')
			len--;
		(void)str_clean(clean, sizeof(clean), comm, len > 0 ? (size_t)len : 0);
		(void)snprintf(look->text, STUCK_TEXT,
			"thread %d (%s, state %c) of process %d lives in its cgroup", task->tid,
			clean, task->state, pid);
		return STUCK_THREAD;
	}
	return STUCK_FREE;
}

static enum stuck_verdict look_at_processes(struct look *look)
{
	enum stuck_verdict verdict = STUCK_FREE;
	DIR *folder = opendir("/proc");
	const struct dirent *entry;

	if (!folder) {
		(void)snprintf(look->text, STUCK_TEXT, "/proc: %s", strerror(errno));
		return STUCK_UNSURE;
	}
	while (verdict == STUCK_FREE && (entry = readdir(folder))) {
		uint64_t pid;

		if (str_to_u64(entry->d_name, &pid) == 0 && pid <= INT32_MAX)
			verdict = look_at_process(look, (int32_t)pid);
	}
	(void)closedir(folder);
	return verdict;
}

/* tmpfs holds secrets, tokens and in-memory emptyDirs: nothing there is shared with another node. */
static bool is_writable_volume(const struct look *look, const struct mountinfo_line *line)
{
	char point[MOUNTINFO_PATH_MAX];
	const char *at;

	if (slice_eq(line->type, SLICE("tmpfs")) || line->options.len < 2 ||
		memcmp(line->options.data, "rw", 2) != 0)
		return false;
	(void)mountinfo_decode(point, sizeof(point), line->point);
	at = strstr(point, look->uid);
	return at && (strstr(at, "/volumes/") || strstr(at, "/volume-subpaths/"));
}

static enum stuck_verdict look_at_mounts(struct look *look)
{
	CLEAN(mem_freep) char *text = NULL;
	struct mountinfo_line line;
	size_t len, at = 0;
	int r = mountinfo_read(look->proc_fd, 1, 0, &text, &len);

	if (r < 0) {
		(void)snprintf(look->text, STUCK_TEXT, "the host's mounts: %s", strerror(-r));
		return STUCK_UNSURE;
	}
	while ((r = mountinfo_next(text, len, &at, &line)) != 0) {
		char point[256];

		if (r < 0 || !is_writable_volume(look, &line))
			continue;
		(void)mountinfo_decode(point, sizeof(point), line.point);
		(void)snprintf(
			look->text, STUCK_TEXT, "its volume is mounted writable on %s", point);
		return STUCK_MOUNT;
	}
	return STUCK_FREE;
}

static enum stuck_verdict look_here(const struct stuck_pod *pod, char text[STUCK_TEXT])
{
	struct look look = { .pod = pod, .proc_fd = -EBADF, .text = text };
	enum stuck_verdict verdict;

	(void)snprintf(look.uid, sizeof(look.uid), "%s", pod->uid);
	(void)snprintf(look.slice_uid, sizeof(look.slice_uid), "%s", pod->uid);
	for (char *c = look.slice_uid; *c; c++)
		if (*c == '-')
			*c = '_';
	if (geteuid() != 0 || !is_namespace("/proc/self/ns/pid", HOST_PID_NAMESPACE) ||
		!is_namespace("/proc/self/ns/cgroup", HOST_CGROUP_NAMESPACE)) {
		(void)snprintf(text, STUCK_TEXT,
			"only root in the host's own pid and cgroup namespaces can see that "
			"nothing of it is left");
		return STUCK_UNSURE;
	}
	look.proc_fd = proc_open();
	look.tasks = mem_array(TASKS_MAX, sizeof(*look.tasks));
	if (look.proc_fd < 0 || !look.tasks) {
		(void)snprintf(text, STUCK_TEXT, "/proc cannot be read");
		return STUCK_UNSURE;
	}
	verdict = look_at_processes(&look);
	if (verdict == STUCK_FREE)
		verdict = look_at_mounts(&look);
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

/* Until the child has closed its end, or the deadline. */
static size_t read_answer(int fd, char *answer, size_t size)
{
	uint64_t end_ns = clock_now().mono_ns + LOOK_NS;
	size_t len = 0;

	for (;;) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };
		uint64_t left_ns = time_since(end_ns, clock_now().mono_ns);
		ssize_t n;

		if (left_ns == 0 || len == size - 1)
			return len;
		if (poll(&wait, 1, (int)(left_ns / NSEC_PER_MSEC) + 1) <= 0)
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
	pid = fork();
	if (pid < 0)
		return STUCK_UNSURE;
	if (pid == 0)
		child_run(pod, to);
	to = fd_close(to);
	(void)read_answer(from, answer, sizeof(answer));
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, NULL, WNOHANG); /* one that hangs is left behind, and ends with us */
	if (answer[0] < '0' || answer[0] > '0' + STUCK_UNSURE || answer[1] == '\0')
		return STUCK_UNSURE;
	(void)snprintf(text, STUCK_TEXT, "%s", answer + 1);
	return (enum stuck_verdict)(answer[0] - '0');
}
