/*
 * One HTTP/1.1 request over a unix socket or a loopback port: the kubelet's /healthz, the Docker
 * Engine. While it is open its connection is its own, so one that hangs delays no other; what was
 * used up to the end may be kept for the next request (http1_pool).
 *
 * What comes is wiped from here as soon as it was handed on: it may hold other people's secrets.
 *
 * Deadlines follow the law of net/grpc.h: past it the caller is told once (on_late) and the request
 * stays open until it is answered or the connection dies. Here the caller may also cancel it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "base/err.h"

struct http1_call;

enum http1_outcome {
	HTTP1_ANSWERED,    /* with any status */
	HTTP1_NO_SOCKET,   /* connect: ENOENT */
	HTTP1_REFUSED,     /* connect: ECONNREFUSED */
	HTTP1_SILENT,      /* connected or queued, and then the server went away without a byte */
	HTTP1_UNREACHABLE, /* connect failed otherwise: err_code says how */
	HTTP1_LOST,        /* the connection ended inside the answer */
	HTTP1_TOO_LARGE,   /* the head, or a body over the request's maximum */
	HTTP1_MALFORMED,   /* not HTTP/1 */
};

struct http1_result {
	enum http1_outcome outcome;
	int err_code;        /* negative errno that fits the outcome; 0 with ANSWERED */
	unsigned status;     /* 200 ...; 0 before there is one */
	const char *message; /* for people; never NULL */
	const char *content_type;
	const uint8_t *body; /* with ANSWERED, unless on_body took it */
	size_t body_len;
	uint64_t elapsed_ns;
	bool was_late;
};

struct http1_callbacks {
	/* Exactly once, unless the start failed or it was cancelled; never from inside
	 * http1_start(). What `result` points to is valid during the callback; the call is gone
	 * afterwards. */
	void (*on_done)(void *userdata, const struct http1_result *result);
	/* Optional: the deadline passed; the request stays open. At most once. */
	void (*on_late)(void *userdata);
	/* Optional: the head has come, the body is about to. */
	void (*on_head)(void *userdata, unsigned status);
	/* Optional: the body piece by piece as it comes, and not in the result. Errors' bodies too:
	 * look at `status`. */
	void (*on_body)(void *userdata, unsigned status, const uint8_t *data, size_t len);
};

/* Connections to one address on which nothing is open. Zero is an empty one. */
#define HTTP1_POOL_MAX 8

struct http1_pool {
	int fds[HTTP1_POOL_MAX]; /* the first `count` */
	unsigned count;
	uint64_t dials, reuses; /* requests that began on a new connection, on a kept one */
};

void http1_pool_done(struct http1_pool *pool);

struct http1_request {
	const char *unix_path; /* or NULL, then host and port */
	const char *host;      /* "127.0.0.1", "::1", "localhost"; loopback only */
	uint16_t port;
	const char *method;       /* NULL: GET */
	const char *target;       /* "/healthz" */
	const char *content_type; /* of the body, or NULL */
	const void *body;
	size_t body_len;
	size_t max_body_bytes; /* of the answer, without on_body; 0: HTTP1_BODY_MAX */
	uint64_t deadline_ns;  /* from now; 0: none */
	/* Where to take a connection from and to leave it; NULL: neither. Borrowed, for one address, and
	 * for what may be sent twice: a kept connection that turns out to be closed is dialled anew. */
	struct http1_pool *pool;
	const struct http1_callbacks *callbacks;
	void *userdata;
};

#define HTTP1_BODY_MAX    (16u * 1024 * 1024)
#define HTTP1_REQUEST_MAX (16u * 1024 * 1024)

/* Everything of `request` is copied but the callbacks. -EINVAL for a bad address or target,
 * -ENAMETOOLONG, -EMSGSIZE, -ENOMEM. Connects from the loop. */
int http1_start(sd_event *loop, const struct http1_request *request, struct http1_call **ret_call,
	struct err *reterr);
/* Closes the connection; no callback comes any more. Accepts NULL, returns NULL; allowed from
 * inside a callback, but not in or after on_done. */
struct http1_call *http1_cancel(struct http1_call *call);
const char *http1_outcome_text(enum http1_outcome outcome);
