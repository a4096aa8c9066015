/*
 * Non-blocking connects to a unix socket or to a TCP port on this machine, with the ways they fail
 * kept apart: each is another fault of the server with another remedy.
 */
#pragma once

#include <stdint.h>

#include <sys/socket.h>
#include <sys/un.h>

#include <netinet/in.h>

#include "base/err.h"

struct dial_address {
	union {
		struct sockaddr any;
		struct sockaddr_un un;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	};
	socklen_t len;
};

enum dial_fate {
	DIAL_CONNECTED,
	DIAL_PENDING,      /* TCP: ask dial_finish() when writable */
	DIAL_NO_SOCKET,    /* ENOENT */
	DIAL_REFUSED,      /* ECONNREFUSED: nobody listens */
	DIAL_BACKLOG_FULL, /* EAGAIN: somebody listens and does not accept; try again later */
	DIAL_UNREACHABLE,  /* anything else */
};

/* -ENAMETOOLONG for what does not fit sun_path, -EINVAL for an empty or relative path. */
int dial_address_unix(struct dial_address *ret, const char *path, struct err *reterr);
/* A name of the abstract namespace, without the NUL in front. As above, but for "". */
int dial_address_abstract(struct dial_address *ret, const char *name, struct err *reterr);
/* `host`: an IPv4 or IPv6 loopback address, or "localhost" (127.0.0.1). -EINVAL for all else, as
 * what goes through here is not encrypted. */
int dial_address_loopback(
	struct dial_address *ret, const char *host, uint16_t port, struct err *reterr);

/* On CONNECTED and PENDING the caller owns *ret_fd; else *ret_err_code says why. */
enum dial_fate dial_start(const struct dial_address *address, int *ret_fd, int *ret_err_code);
/* The fate of a PENDING dial that became writable; the fd stays the caller's. */
enum dial_fate dial_finish(int fd, int *ret_err_code);

/* How long to wait before the next try, and the doubling of the base for the one after it. */
#define DIAL_BACKOFF_MIN_NS (100 * UINT64_C(1000000))
#define DIAL_BACKOFF_MAX_NS (3 * UINT64_C(1000000000))
/* `*backoff_ns` (0 at first) becomes the new base; the result has 20 % of jitter either way. */
uint64_t dial_backoff_next(uint64_t *backoff_ns);
