#include "cli/host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"

#define NAMES_MAX 4096 /* entries of a directory that are looked at */

int host_open(struct host *host, const char *root, struct err *reterr)
{
	struct stat own, other;
	int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_set(reterr, -errno, "Open root %s: %s", root, strerror(errno));
	*host = (struct host){ .root_fd = fd };
	host->is_own = stat("/", &own) == 0 && fstat(fd, &other) == 0 &&
		own.st_dev == other.st_dev && own.st_ino == other.st_ino;
	return 0;
}

void host_done(struct host *host)
{
	host->root_fd = fd_close(host->root_fd);
}

bool host_path_is_sane(const char *path)
{
	if (path[0] != '/' || path[1] == '\0' || !str_is_printable(path, strlen(path)))
		return false;
	for (const char *at = path; *at;) {
		size_t len = strcspn(++at, "/");

		if (len == 0 || (len == 1 && at[0] == '.') ||
			(len == 2 && at[0] == '.' && at[1] == '.'))
			return false;
		at += len;
	}
	return true;
}

/* Links resolve below the root (openat2, Linux 5.6). Without that call only our own root is safe. */
static int open_below(const struct host *host, const char *path, uint64_t flags)
{
	const struct open_how how = { .flags = flags | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	int fd = (int)syscall(SYS_openat2, host->root_fd, path, &how, sizeof(how));

	if (fd < 0 && errno == ENOSYS && host->is_own)
		fd = open(path, (int)flags | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* The directory that holds `path`, and the name in it. */
static int open_parent(const struct host *host, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	CLEAN(mem_freep) char *parent = NULL;

	if (!host_path_is_sane(path))
		return -EINVAL;
	parent = mem_strndup(path, slash == path ? 1 : (size_t)(slash - path));
	if (!parent)
		return -ENOMEM;
	*ret_name = slash + 1;
	return open_below(host, parent, O_PATH | O_DIRECTORY);
}

int host_read(const struct host *host, const char *path, size_t max_bytes, char **ret_text)
{
	CLEAN(mem_freep) char *text = NULL;
	CLEAN_FD int fd = open_below(host, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	size_t len = 0;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size > (off_t)max_bytes)
		return -EFBIG;
	text = mem_alloc(max_bytes + 1);
	if (!text)
		return -ENOMEM;
	while (len < max_bytes) {
		ssize_t n = read(fd, text + len, max_bytes - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	text[len] = '\0';
	*ret_text = TAKE_PTR(text);
	return 0;
}

int host_exists(const struct host *host, const char *path)
{
	const char *name = NULL;
	CLEAN_FD int fd = open_parent(host, path, &name);
	struct stat st;

	if (fd == -ENOENT || fd == -ENOTDIR)
		return 0;
	if (fd < 0)
		return fd;
	if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 1;
	return errno == ENOENT ? 0 : -errno;
}

int host_remove(const struct host *host, const char *path, bool directory)
{
	const char *name = NULL;
	CLEAN_FD int fd = open_parent(host, path, &name);

	if (fd < 0)
		return fd == -ENOTDIR ? -ENOENT : fd;
	return unlinkat(fd, name, directory ? AT_REMOVEDIR : 0) < 0 ? -errno : 0;
}

int host_list(const struct host *host, const char *path,
	int (*on_name)(void *userdata, const char *name), void *userdata)
{
	int fd = open_below(host, path, O_RDONLY | O_DIRECTORY);
	struct dirent *entry;
	DIR *dir;
	int r = 0;

	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (!dir) {
		r = -errno;
		(void)fd_close(fd);
		return r;
	}
	for (unsigned n = 0; r >= 0 && n < NAMES_MAX; n++) {
		entry = readdir(dir);
		if (!entry)
			break;
		if (!str_eq(entry->d_name, ".") && !str_eq(entry->d_name, ".."))
			r = on_name(userdata, entry->d_name);
	}
	(void)closedir(dir);
	return r < 0 ? r : 0;
}

int host_is_locked(const struct host *host, const char *path, int32_t *ret_pid)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	CLEAN_FD int fd = open_below(host, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	if (fcntl(fd, F_GETLK, &lock) < 0)
		return -errno;
	*ret_pid = lock.l_pid;
	return lock.l_type != F_UNLCK;
}

int host_node_name(const char *configured, char *out, size_t size)
{
	(void)snprintf(out, size, "%s", str_or_empty(configured));
	if (out[0] == '\0' && gethostname(out, size - 1) < 0)
		return -errno;
	out[size - 1] = '\0';
	for (char *c = out; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c - 'A' + 'a');
	return 0;
}

int host_run(const char *const *argv, unsigned timeout_ms)
{
	posix_spawn_file_actions_t actions;
	CLEAN_FD int pidfd = -EBADF;
	struct pollfd wait = { .events = POLLIN };
	int status, r;
	pid_t pid;

	if (posix_spawn_file_actions_init(&actions) != 0)
		return -ENOMEM;
	r = posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
	if (r == 0) /* The strings are not written to. */
		r = posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)argv, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	if (r != 0)
		return -r;
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	wait.fd = pidfd;
	/* Without pidfds (before 5.3) it is waited for as long as it takes. */
	r = pidfd < 0 ? 1 : poll(&wait, 1, (int)timeout_ms);
	if (r == 0)
		(void)kill(pid, SIGKILL); /* Our child, not reaped: nobody else's pid. */
	if (waitpid(pid, &status, 0) < 0)
		return -errno;
	if (r == 0)
		return -ETIMEDOUT;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}
