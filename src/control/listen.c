/*
 * Taking the control socket: for one agent only, and never from one that lives.
 *
 * The lock is a record lock of fcntl(2) on PATH.lock: it dies with the process and is not inherited
 * by the children we fork, as one of flock(2) would be. The file stays when we go, since removing
 * it would let two agents lock two files of the same name. Behind the lock the socket itself is
 * asked too: somebody who listens there without our lock is not pushed aside either.
 */
#include "control/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"

#define CONTROL_BACKLOG 64

static int make_directory(const char *path, struct err *reterr)
{
	const char *slash = strrchr(path, '/');
	CLEAN(mem_freep) char *directory = NULL;

	if (!slash || slash == path)
		return 0;
	directory = mem_strndup(path, (size_t)(slash - path));
	if (!directory)
		return -ENOMEM;
	if (mkdir(directory, 0755) < 0 && errno != EEXIST)
		return err_set(
			reterr, -errno, "Cannot make directory %s: %s", directory, strerror(errno));
	return 0;
}

/* Who listens there: 1 somebody (pid in *ret_pid, 0 if it cannot be told), 0 nobody. */
static int ask_listener(const struct sockaddr_un *address, pid_t *ret_pid)
{
	CLEAN_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);

	*ret_pid = 0;
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0) {
		if (errno == ECONNREFUSED || errno == ENOENT)
			return 0;
		/* A full backlog is somebody who has stopped accepting: alive, and not ours to end.
		 */
		return errno == EAGAIN ? 1 : -errno;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0)
		*ret_pid = peer.pid;
	return 1;
}

static int in_use(const struct sockaddr_un *address, pid_t holder, struct err *reterr)
{
	pid_t listener;

	if (ask_listener(address, &listener) == 1 && listener > 0)
		holder = listener;
	if (holder <= 0)
		return err_set(reterr, -EADDRINUSE, "Another agent holds %s", address->sun_path);
	return err_set(reterr, -EADDRINUSE, "Another agent, pid %d, holds %s", (int)holder,
		address->sun_path);
}

static int take_lock(const struct sockaddr_un *address, int *ret_fd, struct err *reterr)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	char path[sizeof(address->sun_path) + 8];
	CLEAN_FD int fd = -EBADF;

	(void)snprintf(path, sizeof(path), "%s.lock", address->sun_path);
	if (fault_is_due(FAULT_OPEN))
		return -EIO;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (fd < 0)
		return err_set(reterr, -errno, "Cannot open %s: %s", path, strerror(errno));
	if (fcntl(fd, F_SETLK, &lock) < 0) {
		if (errno != EACCES && errno != EAGAIN)
			return err_set(reterr, -errno, "Cannot lock %s: %s", path, strerror(errno));
		if (fcntl(fd, F_GETLK, &lock) < 0 || lock.l_type == F_UNLCK)
			lock.l_pid = 0;
		return in_use(address, lock.l_pid, reterr);
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Makes room at the path; only for who has the lock. */
static int remove_stale(const struct sockaddr_un *address, struct err *reterr)
{
	struct stat st;
	pid_t pid;
	int r;

	if (lstat(address->sun_path, &st) < 0)
		return errno == ENOENT ? 0
				       : err_set(reterr, -errno, "Cannot look at %s: %s",
						 address->sun_path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return err_set(reterr, -EEXIST, "%s is there and is not a socket; not replacing it",
			address->sun_path);
	r = ask_listener(address, &pid);
	if (r < 0)
		return err_set(
			reterr, r, "Cannot tell who holds %s: %s", address->sun_path, strerror(-r));
	if (r == 1)
		return in_use(address, pid, reterr);
	if (unlink(address->sun_path) < 0 && errno != ENOENT)
		return err_set(reterr, -errno, "Cannot remove the old socket %s: %s",
			address->sun_path, strerror(errno));
	return 0;
}

static int bind_socket(const struct sockaddr_un *address, int *ret_fd, struct err *reterr)
{
	CLEAN_FD int fd = -EBADF;

	if (fault_is_due(FAULT_OPEN))
		return -ENFILE;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* The mode that bind() then gives the file; a chmod() after it would leave a gap. */
	if (fchmod(fd, 0600) < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		return err_set(
			reterr, -errno, "Cannot bind %s: %s", address->sun_path, strerror(errno));
	if (listen(fd, CONTROL_BACKLOG) < 0) {
		int r = err_set(reterr, -errno, "Cannot listen on %s: %s", address->sun_path,
			strerror(errno));

		(void)unlink(address->sun_path);
		return r;
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int control_listen(const char *path, struct control_listen *ret, struct err *reterr)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	CLEAN(mem_freep) char *copy = mem_strdup(path);
	CLEAN_FD int fd = -EBADF;
	CLEAN_FD int lock_fd = -EBADF;
	int r;

	if (!copy)
		return err_set(reterr, -ENOMEM, "Out of memory");
	if (*path == '\0' || strlen(path) >= sizeof(address.sun_path))
		return err_set(reterr, -ENAMETOOLONG, "Socket path '%s' is %s", path,
			*path ? "too long" : "empty");
	memcpy(address.sun_path, path, strlen(path) + 1);
	r = make_directory(path, reterr);
	if (r >= 0)
		r = take_lock(&address, &lock_fd, reterr);
	if (r >= 0)
		r = remove_stale(&address, reterr);
	if (r >= 0)
		r = bind_socket(&address, &fd, reterr);
	if (r < 0)
		return r;
	*ret = (struct control_listen){
		.fd = TAKE_FD(fd), .lock_fd = TAKE_FD(lock_fd), .path = TAKE_PTR(copy)
	};
	return 0;
}

void control_listen_done(struct control_listen *l)
{
	if (l->path && l->fd >= 0)
		(void)unlink(l->path); /* Before the lock goes, so never another agent's. */
	l->fd = fd_close(l->fd);
	l->lock_fd = fd_close(l->lock_fd);
	l->path = mem_free(l->path);
}
