/*
 * The control socket: one request line in, JSON lines out (docs/json.md has the protocol). Both
 * sides live here: the server in the agent's loop, the client in the commands.
 *
 * What the server promises:
 *  - It never blocks and never waits on a client. A client that does not send its request, or does
 *    not take its document, is closed after a deadline; one that does not take its events costs a
 *    bounded buffer and is told how many it missed.
 *  - Everything is bounded: clients, streams among them, bytes per request, per client and in all.
 *    What is over a bound is refused with an answer that says so.
 *  - A socket whose agent lives is never taken over; one that a dead agent left is replaced.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <systemd/sd-event.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/time.h"

struct event;
struct sync_loop;

#define CONTROL_PROTOCOL       1
#define CONTROL_SOCKET_DEFAULT "/run/pleg/pleg.sock"
#define CONTROL_REQUEST_MAX    65536       /* bytes of a request line, its newline included */
#define CONTROL_DOCUMENT_MAX   (16u << 20) /* bytes of one answer line */

/* ---- server ------------------------------------------------------------------------------ */

struct control_server;

/*
 * Who fills the documents. Each appends one JSON object, without a newline, and returns 0 or a
 * negative errno, which the client is told; -EMSGSIZE is what the buffer says at 16 MiB. They are
 * called from the loop, must not block, and must not free the server.
 */
struct control_request;

/* A part of the answer: r = 0 with lines of JSON, oldest first (borrowed, possibly none); `done`: that
 * was all. Negative: it failed, `text` says why, and there is no more. */
typedef void (*control_past_fn)(
	void *reader, int r, const char *text, const void *lines, size_t len, bool done);

struct control_ops {
	int (*status)(void *userdata, struct buf *out);
	int (*pods)(void *userdata, struct buf *out);
	/* One event of the stream; `epoch` is sync_loop_epoch(). */
	int (*event)(const struct event *event, const char *epoch, struct buf *out);

	/*
	 * Events of before, for requests with `since`, and incidents; `past` may be NULL: there are none. The first
	 * part is asked for by past(), each further one by past_next(), which after the last one asks
	 * for what has come since. `on_part` is called once for each, never from inside these, and not
	 * after past_free(). Errors have a text, and then nothing is called.
	 */
	int (*past)(void *userdata, const struct control_request *request, control_past_fn on_part,
		void *reader, void **ret_past, struct err *reterr);
	int (*past_next)(void *past, struct err *reterr);
	/* The last sequence of this epoch that the answer covers, once a part was there. */
	uint64_t (*past_covers)(const void *past);
	void (*past_free)(void *past);
};

struct control_limits {
	uint32_t clients_max; /* connections at once */
	/* Streams of events and of incidents among them, so that `pleg status` always gets in. */
	uint32_t streams_max;
	size_t stream_bytes; /* events waiting for one client before its cursor stands still */
	size_t output_bytes; /* documents waiting for all clients, before new ones are refused */
	uint64_t request_timeout_ns; /* to send the request line */
	uint64_t stall_timeout_ns;   /* without progress of a document */
};

#define CONTROL_LIMITS_DEFAULT                                                                     \
	((struct control_limits){                                                                  \
		.clients_max = 64,                                                                 \
		.streams_max = 48,                                                                 \
		.stream_bytes = 256u << 10,                                                        \
		.output_bytes = 64u << 20,                                                         \
		.request_timeout_ns = 10 * NSEC_PER_SEC,                                           \
		.stall_timeout_ns = 30 * NSEC_PER_SEC,                                             \
	})

struct control_options {
	sd_event *loop;
	const char *path;         /* NULL: CONTROL_SOCKET_DEFAULT */
	struct sync_loop *events; /* borrowed, outlives the server */
	const struct control_ops *ops;
	void *userdata;                      /* of status, pods and past */
	const struct control_limits *limits; /* NULL: CONTROL_LIMITS_DEFAULT */
};

/*
 * Listens. Makes the socket's directory (0755) if it is missing. -EADDRINUSE if another agent
 * holds the socket, with its pid in the text; -ENAMETOOLONG, -EEXIST (something else than a socket
 * is there), or what the system said. Call it once per process and path: the lock beside the socket
 * (PATH.lock) is one of fcntl(2), which a process does not hold against itself.
 */
int control_server_new(
	const struct control_options *options, struct control_server **ret, struct err *reterr);

/* Closes all clients and removes the socket (never the lock). NULL is fine. Returns NULL. */
struct control_server *control_server_free(struct control_server *server);

/* To be called after sync_loop_add(): writes what is new to every stream that has room, at once. */
void control_server_wake(struct control_server *server);

struct control_stats {
	uint32_t clients, streams;
	uint64_t requests, refused, malformed, timeouts;
	uint64_t events_written, events_missed;
	size_t output_bytes; /* waiting for slow readers, now */
};

void control_server_stats(const struct control_server *server, struct control_stats *ret);

/* ---- requests ---------------------------------------------------------------------------- */

enum control_request_type {
	CONTROL_STATUS,    /* the status document */
	CONTROL_PODS,      /* the pods document */
	CONTROL_VERSION,   /* version, protocol, pid, epoch */
	CONTROL_EVENTS,    /* the stream of events */
	CONTROL_INCIDENTS, /* those of the journal, a line each */
};

#define CONTROL_FROM_UNSET UINT64_MAX
#define CONTROL_TAIL_UNSET UINT64_MAX

struct control_request {
	enum control_request_type type;
	/* Of events only: */
	bool follow, kubelet;
	uint64_t from;     /* first sequence wanted, or CONTROL_FROM_UNSET */
	uint64_t tail;     /* number of last events wanted, or CONTROL_TAIL_UNSET */
	const char *epoch; /* that `from` is of; NULL: whichever there is */
	int64_t since_ns;  /* wall clock; 0: no such limit, and the past is not asked */
	/* Of incidents only, `since` is theirs too: */
	const char *id;                          /* the beginning of one; NULL: all */
	bool open;                               /* only those that go on */
	const char *namespace, *pod, *container; /* NULL: all */
	json_t *json;                            /* owns the strings of a parsed request */
};

#define CONTROL_REQUEST_INIT(t)                                                                    \
	((struct control_request){                                                                 \
		.type = (t), .from = CONTROL_FROM_UNSET, .tail = CONTROL_TAIL_UNSET })

/* Parses one line (without its newline). On success the caller ends with control_request_done(). */
int control_request_parse(
	const char *line, size_t len, struct control_request *ret, struct err *reterr);
void control_request_done(struct control_request *request);

/* The line, with its newline. */
int control_request_format(const struct control_request *request, struct buf *out);

const char *control_request_text(enum control_request_type type); /* "status", ... */

/* ---- client ------------------------------------------------------------------------------ */

/* Blocking, with deadlines: for commands, never for the agent. */
struct control_client;

struct control_client_options {
	const char *path;    /* NULL: CONTROL_SOCKET_DEFAULT */
	unsigned timeout_ms; /* for the first answer, connecting included */
	unsigned slow_ms;    /* on_slow is called once if it takes longer; 0: never */
	void (*on_slow)(void *userdata, const char *path);
	void *userdata;
};

/*
 * Connects, sends the request, waits for the answer and gives out its "result". Errors, all with a
 * text for the person at the terminal: -ECONNREFUSED (no agent: no socket, or nobody behind it),
 * -EACCES, -ETIMEDOUT (an agent that is silent), -EPROTO (not a pleg agent, or ended half-way),
 * -EPROTONOSUPPORT, and what the agent itself answered. `*ret_client` (may be NULL for a document)
 * is for the stream that follows.
 */
int control_ask(const struct control_client_options *options, const struct control_request *request,
	json_t **ret_result, struct control_client **ret_client, struct err *reterr);

/*
 * The next object of a stream. 1: *ret_object, owned by the caller; 0: the stream has ended;
 * -ETIMEDOUT after `timeout_ms` (-1: never); -EPIPE if `watch_fd` (-1: none; usually stdout) has
 * lost its reader; or an error.
 */
int control_client_next(struct control_client *client, int timeout_ms, int watch_fd,
	json_t **ret_object, struct err *reterr);

struct control_client *control_client_free(struct control_client *client);
DEFINE_FREEP(struct control_client *, control_client_free)
