#include "kernel/proc-link.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fd.h"

#define PATH_BYTES 80

static const char *task_path(char path[PATH_BYTES], int32_t pid, int32_t tid, const char *rest)
{
	if (tid > 0)
		(void)snprintf(path, PATH_BYTES, "%d/task/%d/%s", pid, tid, rest);
	else
		(void)snprintf(path, PATH_BYTES, "%d/%s", pid, rest);
	return path;
}

static int gone_or(int error)
{
	return error == ENOENT ? -ESRCH : -error;
}

/* --- links --- */

static int read_link(int proc_fd, const char *path, char *ret, size_t size)
{
	ssize_t n = readlinkat(proc_fd, path, ret, size - 1);

	if (n < 0)
		return gone_or(errno);
	ret[n] = '\0';
	return (int)n;
}

static const char *link_name(enum proc_link link)
{
	switch (link) {
	case PROC_LINK_EXE: return "exe";
	case PROC_LINK_CWD: return "cwd";
	case PROC_LINK_ROOT: return "root";
	}
	return "exe";
}

int proc_read_link(
	int proc_fd, int32_t pid, int32_t tid, enum proc_link link, char *ret, size_t size)
{
	char path[PATH_BYTES];

	return read_link(proc_fd, task_path(path, pid, tid, link_name(link)), ret, size);
}

int proc_read_fd_link(int proc_fd, int32_t pid, int32_t tid, int32_t fd, char *ret, size_t size)
{
	char path[PATH_BYTES], name[16];

	(void)snprintf(name, sizeof(name), "fd/%d", fd);
	return read_link(proc_fd, task_path(path, pid, tid, name), ret, size);
}

/* "mnt:[4026531841]" and "socket:[123]". */
static bool number_in_brackets(const char *text, const char *prefix, uint64_t *ret)
{
	const char *digits = str_after(text, prefix);
	char copy[24];
	size_t len;

	if (!digits)
		return false;
	len = strlen(digits);
	if (len < 2 || len > sizeof(copy) || digits[len - 1] != ']')
		return false;
	memcpy(copy, digits, len - 1);
	copy[len - 1] = '\0';
	return str_to_u64(copy, ret) == 0;
}

static const char *ns_name(enum proc_ns ns)
{
	switch (ns) {
	case PROC_NS_MNT: return "mnt";
	case PROC_NS_PID: return "pid";
	case PROC_NS_NET: return "net";
	}
	return "mnt";
}

int proc_read_ns(int proc_fd, int32_t pid, int32_t tid, enum proc_ns ns, uint64_t *ret)
{
	char path[PATH_BYTES], target[64], file[16], prefix[16];
	int n;

	(void)snprintf(file, sizeof(file), "ns/%s", ns_name(ns));
	(void)snprintf(prefix, sizeof(prefix), "%s:[", ns_name(ns));
	n = read_link(proc_fd, task_path(path, pid, tid, file), target, sizeof(target));
	if (n < 0)
		return n;
	return number_in_brackets(target, prefix, ret) ? 0 : -EBADMSG;
}

bool proc_link_is_socket(const char *link, uint64_t *ret_inode)
{
	return number_in_brackets(link, "socket:[", ret_inode);
}

/* --- fdinfo --- */

int proc_parse_fdinfo(const char *text, size_t len, int32_t *ret_mount_id)
{
	static const char field[] = "mnt_id:";
	char digits[16];
	const char *at = memmem(text, len, field, sizeof(field) - 1), *end = text + len;
	uint64_t value;
	size_t n = 0;

	if (!at || (at > text && at[-1] != '\n'))
		return -EBADMSG;
	for (at += sizeof(field) - 1; at < end && (*at == ' ' || *at == '\t');)
		at++;
	while (at < end && *at >= '0' && *at <= '9' && n < sizeof(digits) - 1)
		digits[n++] = *at++;
	digits[n] = '\0';
	if (at == end || *at != '\n' || str_to_u64(digits, &value) < 0 || value > INT32_MAX)
		return -EBADMSG;
	*ret_mount_id = (int32_t)value;
	return 0;
}

int proc_read_fdinfo(int proc_fd, int32_t pid, int32_t tid, int32_t fd, char *text, size_t size)
{
	char path[PATH_BYTES], name[24];
	int n;

	(void)snprintf(name, sizeof(name), "fdinfo/%d", fd);
	n = fd_read_small(proc_fd, task_path(path, pid, tid, name), text, size);
	return n < 0 ? gone_or(-n) : n;
}

int proc_read_fifo_unread(int proc_fd, int32_t pid, int32_t fd, uint64_t *ret)
{
	const char *path = FMT("%d/fd/%d", pid, fd);
	CLEAN_FD int fifo = -EBADF;
	struct stat st;
	int count;

	if (fstatat(proc_fd, path, &st, 0) < 0)
		return gone_or(errno);
	if (!S_ISFIFO(st.st_mode))
		return -EINVAL;
	fifo = openat(proc_fd, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (fifo < 0 || ioctl(fifo, FIONREAD, &count) < 0)
		return gone_or(errno);
	*ret = (uint64_t)count;
	return 0;
}

/* --- walks --- */

int proc_walk_init(
	struct proc_walk *walk, int proc_fd, enum proc_walk_of of, int32_t pid, int32_t tid)
{
	char path[PATH_BYTES];
	const char *name = ".";
	int fd;

	walk->dir = NULL;
	switch (of) {
	case PROC_WALK_PROCESSES: break;
	case PROC_WALK_THREADS: name = task_path(path, pid, 0, "task"); break;
	case PROC_WALK_FDS: name = task_path(path, pid, tid, "fd"); break;
	}
	fd = fault_is_due(FAULT_OPEN) ? (errno = EMFILE, -1)
				      : openat(proc_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return gone_or(errno);
	walk->dir = fdopendir(fd);
	if (!walk->dir) {
		(void)fd_close(fd);
		return -ENOMEM;
	}
	return 0;
}

bool proc_walk_next(struct proc_walk *walk, int32_t *ret)
{
	const struct dirent *entry;

	while (walk->dir && (entry = readdir(walk->dir)) != NULL) {
		uint64_t value;

		if (str_to_u64(entry->d_name, &value) == 0 && value <= INT32_MAX) {
			*ret = (int32_t)value;
			return true;
		}
	}
	return false;
}

void proc_walk_done(struct proc_walk *walk)
{
	if (walk->dir)
		(void)closedir(walk->dir);
	walk->dir = NULL;
}

/* --- how many --- */

int proc_count_fds(int proc_fd, int32_t pid, uint64_t *ret)
{
	struct proc_walk walk;
	struct stat st;
	uint64_t count = 0;
	int32_t fd;
	int r;

	if (fstatat(proc_fd, FMT("%d/fd", pid), &st, 0) < 0)
		return errno == ENOENT ? -ESRCH : -errno;
	if (st.st_size > 0) {
		*ret = (uint64_t)st.st_size;
		return 0;
	}
	r = proc_walk_init(&walk, proc_fd, PROC_WALK_FDS, pid, 0);
	while (r >= 0 && proc_walk_next(&walk, &fd))
		count++;
	proc_walk_done(&walk);
	if (r < 0)
		return r;
	*ret = count;
	return 0;
}

int proc_read_fd_limit(int32_t pid, uint64_t *ret)
{
	struct rlimit limit;

	if (prlimit(pid, RLIMIT_NOFILE, NULL, &limit) < 0)
		return -errno;
	*ret = limit.rlim_cur;
	return 0;
}

/* --- death --- */

int proc_is_dead(int proc_fd, struct proc_id id)
{
	CLEAN_FD int fd = (int)syscall(SYS_pidfd_open, id.pid, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int r;

	if (fd < 0)
		return -errno;
	r = proc_verify(proc_fd, id);
	if (r < 0)
		return r;
	r = poll(&p, 1, 0);
	return r < 0 ? -errno : r > 0 && (p.revents & POLLIN) != 0;
}

/* --- signals --- */

int proc_would_catch(int proc_fd, struct proc_id id, int signal)
{
	struct proc_status status;
	int r = proc_read_status(proc_fd, id.pid, 0, &status);

	if (r >= 0)
		r = proc_verify(proc_fd, id);
	if (r < 0)
		return r;
	if (strchr("TtZXx", status.state))
		return -EAGAIN;
	return (status.caught & (UINT64_C(1) << (signal - 1))) != 0 ? 0 : -EOPNOTSUPP;
}

int proc_signal_caught(int proc_fd, struct proc_id id, int signal)
{
	CLEAN_FD int fd = (int)syscall(SYS_pidfd_open, id.pid, 0);
	int r;

	if (fd < 0)
		return -errno;
	r = proc_would_catch(proc_fd, id, signal);
	if (r < 0)
		return r;
	return syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0) < 0 ? -errno : 0;
}
