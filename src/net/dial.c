#include "net/dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>

#include "base/fault.h"
#include "base/fd.h"
#include "base/str.h"

int dial_address_unix(struct dial_address *ret, const char *path, struct err *reterr)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t len = strlen(path);

	if (path[0] != '/')
		return err_set(reterr, -EINVAL, "Socket path '%s' is not absolute", path);
	if (len >= sizeof(un.sun_path))
		return err_set(reterr, -ENAMETOOLONG,
			"Socket path '%s' has %zu bytes, the kernel takes at most %zu", path, len,
			sizeof(un.sun_path) - 1);
	memcpy(un.sun_path, path, len + 1);
	*ret = (struct dial_address){
		.un = un,
		.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1),
	};
	return 0;
}

int dial_address_abstract(struct dial_address *ret, const char *name, struct err *reterr)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t len = strlen(name);

	if (len == 0)
		return err_set(reterr, -EINVAL, "A socket without a name");
	if (len >= sizeof(un.sun_path))
		return err_set(reterr, -ENAMETOOLONG,
			"Socket name '%s' has %zu bytes, the kernel takes at most %zu", name, len,
			sizeof(un.sun_path) - 1);
	memcpy(un.sun_path + 1, name, len);
	*ret = (struct dial_address){
		.un = un,
		.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len),
	};
	return 0;
}

int dial_address_loopback(
	struct dial_address *ret, const char *host, uint16_t port, struct err *reterr)
{
	struct dial_address a = { 0 };

	if (str_eq(host, "localhost"))
		host = "127.0.0.1";
	if (inet_pton(AF_INET, host, &a.in.sin_addr) == 1) {
		if (ntohl(a.in.sin_addr.s_addr) >> 24 != 127)
			return err_set(reterr, -EINVAL, "Address '%s' is not loopback", host);
		a.in.sin_family = AF_INET;
		a.in.sin_port = htons(port);
		a.len = sizeof(a.in);
	} else if (inet_pton(AF_INET6, host, &a.in6.sin6_addr) == 1) {
		if (!IN6_IS_ADDR_LOOPBACK(&a.in6.sin6_addr))
			return err_set(reterr, -EINVAL, "Address '%s' is not loopback", host);
		a.in6.sin6_family = AF_INET6;
		a.in6.sin6_port = htons(port);
		a.len = sizeof(a.in6);
	} else {
		return err_set(reterr, -EINVAL, "'%s' is not an address", host);
	}
	*ret = a;
	return 0;
}

static enum dial_fate dial_fate_of(int error)
{
	switch (error) {
	case 0: return DIAL_CONNECTED;
	case EINPROGRESS: return DIAL_PENDING;
	case ENOENT: return DIAL_NO_SOCKET;
	case ECONNREFUSED: return DIAL_REFUSED;
	case EAGAIN: return DIAL_BACKLOG_FULL;
	default: return DIAL_UNREACHABLE;
	}
}

enum dial_fate dial_start(const struct dial_address *address, int *ret_fd, int *ret_err_code)
{
	CLEAN_FD int fd = -EBADF;
	enum dial_fate fate;
	int error = 0;

	if (fault_is_due(FAULT_OPEN))
		errno = ENFILE;
	else
		fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		*ret_err_code = -errno;
		return DIAL_UNREACHABLE;
	}
	/* A non-blocking connect cannot be interrupted, so EINTR needs no answer. */
	if (connect(fd, &address->any, address->len) < 0)
		error = errno;
	fate = dial_fate_of(error);
	*ret_err_code = -error;
	if (fate == DIAL_CONNECTED || fate == DIAL_PENDING)
		*ret_fd = TAKE_FD(fd);
	return fate;
}

enum dial_fate dial_finish(int fd, int *ret_err_code)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	*ret_err_code = -error;
	return dial_fate_of(error);
}

uint64_t dial_backoff_next(uint64_t *backoff_ns)
{
	uint32_t random = 0;

	*backoff_ns = *backoff_ns == 0 ? DIAL_BACKOFF_MIN_NS : *backoff_ns * 2;
	if (*backoff_ns > DIAL_BACKOFF_MAX_NS)
		*backoff_ns = DIAL_BACKOFF_MAX_NS;
	/* Without random bytes (early boot) there is no jitter, which does no harm. */
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = UINT32_MAX / 2;
	return *backoff_ns / 10 * 8 + (*backoff_ns / 10 * 4 >> 16) * (random >> 16);
}
