/*
 * HTTP: two listeners, a fixed list of paths, GET and HEAD. It reads, it never changes anything.
 *
 * A request is judged in this order: Host (421), token (401), path (404), method (405), query
 * (400); only then the agent is asked, while the connection is suspended. A connection that has
 * not brought a request to its end within SERVE_REQUEST_NS is cut, so whoever sends or reads
 * slowly holds a slot for so long and nobody else.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/time.h"
#include "web/feed.h"

#define SERVE_CONNECTIONS_MAX    64u
#define SERVE_CONNECTIONS_PER_IP 16u
#define SERVE_IDLE_S             10u
#define SERVE_REQUEST_NS         (20 * NSEC_PER_SEC)
#define SERVE_CONNECTION_BYTES   16384u /* request line and headers, and MHD's own */

struct serve_config {
	int metrics_fd, http_fd; /* listeners, -EBADF: none; owned by the server once it is made */
	bool metrics_loopback, http_loopback;
	const char *token; /* "": none; all strings are borrowed and must outlive the server */
	size_t token_len;
	const char *host;
	const char *cert, *key; /* PEM; "": no TLS */
};

struct serve;

/* -EPERM: a listener beyond loopback without TLS and token. */
int serve_new(const struct serve_config *config, struct feeds *feeds, struct serve **ret);
struct serve *serve_free(struct serve *s);

/* The descriptors to poll for input; returns their number, at most 2. */
unsigned serve_fds(const struct serve *s, int ret_fds[2]);
/* Milliseconds until serve_run() has something to do by itself; -1: never. */
int serve_timeout_ms(const struct serve *s);
/* Does what can be done now. */
void serve_run(struct serve *s, uint64_t now_ns);
