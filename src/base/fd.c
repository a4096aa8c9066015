#include "base/fd.h"

#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/str.h"

#define NUMBER_TEXT 32u
#define NOFILE_MIN  1024u /* what a soft limit is raised to first */

int fd_close(int fd)
{
	int saved = errno;

	if (fd >= 0)
		(void)close(fd); /* On Linux the descriptor is gone even after EINTR. */
	errno = saved;
	return -EBADF;
}

int fd_set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

int fd_raise_limit(void)
{
	struct rlimit limit;
	rlim_t wanted;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= limit.rlim_max)
		return -EMFILE;
	wanted = limit.rlim_cur < NOFILE_MIN ? NOFILE_MIN : limit.rlim_cur * 2;
	limit.rlim_cur = wanted > limit.rlim_max ? limit.rlim_max : wanted;
	return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? -EMFILE : 0;
}

ssize_t fd_read_some(int fd, void *data, size_t len)
{
	ssize_t n;

	if (fault_is_due(FAULT_READ))
		return -EIO;
	do
		n = read(fd, data, len);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

int fd_read_text(int fd, char *text, size_t size)
{
	size_t len = 0;

	while (len < size - 1) {
		ssize_t n = fd_read_some(fd, text + len, size - 1 - len);

		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	text[len] = '\0';
	return (int)len;
}

int fd_read_whole(int fd, size_t max_bytes, char **ret_text, size_t *ret_len)
{
	CLEAN(mem_freep) char *text = NULL;
	size_t cap = 0, len = 0;

	for (;;) {
		ssize_t n;

		if (len + 1 >= cap) {
			char *more;

			if (cap > max_bytes + 1)
				return -EFBIG;
			cap = cap ? cap * 2 : 4096;
			if (cap > max_bytes + 2) /* Room for one too many, and the NUL. */
				cap = max_bytes + 2;
			more = mem_resize(text, cap, 1);
			if (!more)
				return -ENOMEM;
			text = more;
		}
		n = fd_read_some(fd, text + len, cap - len - 1);
		if (n < 0)
			return (int)n;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	text[len] = '\0';
	*ret_text = TAKE_PTR(text);
	if (ret_len)
		*ret_len = len;
	return 0;
}

int fd_read_file(const char *path, size_t max_bytes, char **ret_text, size_t *ret_len)
{
	CLEAN_FD int fd = -EBADF;

	if (fault_is_due(FAULT_OPEN))
		return -EIO;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;
	return fd_read_whole(fd, max_bytes, ret_text, ret_len);
}

int fd_read_small(int dir_fd, const char *path, char *text, size_t size)
{
	CLEAN_FD int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	return (int)n;
}

int fd_read_u64(int dir_fd, const char *path, uint64_t *ret)
{
	char text[NUMBER_TEXT];
	int n = fd_read_small(dir_fd, path, text, sizeof(text));

	if (n < 0)
		return n;
	text[strcspn(text, "\n")] = '\0';
	return str_to_u64(text, ret) < 0 ? -EBADMSG : 0;
}

int fd_write_all(int fd, const void *data, size_t len, unsigned timeout_ms)
{
	uint64_t deadline_ns = clock_now().mono_ns + timeout_ms * NSEC_PER_MSEC;
	const uint8_t *p = data;

	while (len > 0) {
		ssize_t n = fault_is_due(FAULT_WRITE) ? (errno = EIO, -1) : write(fd, p, len);
		uint64_t now_ns;

		if (n >= 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		now_ns = clock_now().mono_ns;
		if (now_ns >= deadline_ns)
			return -ETIMEDOUT;
		(void)poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1,
			(int)((deadline_ns - now_ns) / NSEC_PER_MSEC + 1));
	}
	return 0;
}

int fd_memfd_sealed(const char *name, const void *data, size_t len)
{
	CLEAN_FD int fd = -EBADF;
	int r;

	if (fault_is_due(FAULT_OPEN))
		return -ENFILE;
	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, data, len, 1000);
	if (r < 0)
		return r;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		return -errno;
	return TAKE_FD(fd);
}
