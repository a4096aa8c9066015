/*
 * gRPC calls over a unix socket: one client is one endpoint, one connection at a time, and many
 * calls that each have their own fate.
 *
 * The law behind it (docs/internals/deadlines.md): a deadline does not free the server. When a call
 * passes its deadline the caller is told so once (on_late), while the stream stays open and counted
 * until the server answers or the connection dies; only then comes on_done. Nothing is redialled
 * and nothing is cancelled because of a deadline.
 *
 * A lost connection ends every call on it with on_done; the client then dials again by itself with
 * a back-off from 100 ms to 3 s, with jitter, as long as it lives. Calls made while there is no
 * connection wait for the dial that is due (their deadline runs), and end with its outcome.
 *
 * No client PINGs are sent: containerd answers more than two idle ones with GOAWAY
 * (ENHANCE_YOUR_CALM).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "base/err.h"

struct grpc_client;
struct grpc_call;

/* The outcomes of asking a runtime stay apart, since each is another fault with another remedy. */
enum grpc_outcome {
	GRPC_OK,        /* answered, status 0 */
	GRPC_STATUS,    /* answered with a non-zero grpc-status */
	GRPC_NO_SOCKET, /* connect: ENOENT (no daemon has made its socket) */
	GRPC_REFUSED,   /* connect: ECONNREFUSED (a stale socket file) */
	GRPC_SILENT, /* connected or queued (EAGAIN: the backlog is full), but never a byte back */
	GRPC_UNREACHABLE, /* connect failed otherwise: err_code says how */
	GRPC_LOST,        /* the connection ended before the answer: EOF, GOAWAY, RST_STREAM */
	GRPC_TOO_LARGE, /* a message over the call's maximum; this call ends, the connection stays */
	GRPC_MALFORMED, /* not HTTP/2 or not gRPC */
	GRPC_CANCELLED, /* by grpc_call_cancel() or by freeing the client */
};

/* Status codes of the gRPC protocol that somebody here tells apart. */
enum {
	GRPC_CODE_OK = 0,
	GRPC_CODE_UNKNOWN = 2,
	GRPC_CODE_DEADLINE_EXCEEDED = 4,
	GRPC_CODE_NOT_FOUND = 5,
	GRPC_CODE_RESOURCE_EXHAUSTED = 8,
	GRPC_CODE_UNIMPLEMENTED = 12,
	GRPC_CODE_UNAVAILABLE = 14,
};

struct grpc_result {
	enum grpc_outcome outcome;
	int err_code;        /* negative errno that fits the outcome; 0 with GRPC_OK */
	int status;          /* grpc-status, with GRPC_STATUS */
	const char *message; /* for people; never NULL; valid during the callback */
	const uint8_t *body; /* unary answer with GRPC_OK; valid during the callback */
	size_t body_len;
	uint64_t elapsed_ns; /* since grpc_call_start() */
	bool was_late;       /* on_late had been called */
};

struct grpc_callbacks {
	/* Exactly once, unless the start failed; never from inside grpc_call_start(). The call is
	 * gone when this returns. */
	void (*on_done)(void *userdata, const struct grpc_result *result);
	/* Optional: the deadline passed; the call stays open. At most once. */
	void (*on_late)(void *userdata);
	/* Server streaming only: one message. The window is given back after it returns. */
	void (*on_message)(void *userdata, const uint8_t *body, size_t len);
};

struct grpc_request {
	const char *path; /* "/runtime.v1.RuntimeService/Version"; must be a string literal */
	const void *body; /* protobuf, copied */
	size_t body_len;
	const struct grpc_callbacks *callbacks;
	void *userdata;
	uint64_t deadline_ns;     /* from now; 0: none (a stream) */
	size_t max_message_bytes; /* 0: GRPC_MESSAGE_MAX */
	bool is_stream;           /* on_message for each, no body in the result */
	/* Metadata "containerd-namespace: <value>", needed by containerd's own services; or NULL. */
	const char *containerd_namespace;
};

/* 16 MiB, as the kubelet and containerd have it. */
#define GRPC_MESSAGE_MAX (16u * 1024 * 1024)
/* Streams of our own that may be open at once on one connection (servers send no limit). */
#define GRPC_CALLS_MAX 256

/* `path` is the socket's file, absolute. Dials at once, from the loop; nothing blocks. -EINVAL or
 * -ENAMETOOLONG (over 107 bytes) for a path that no socket can have. */
int grpc_client_new(sd_event *loop, const char *path, struct grpc_client **ret, struct err *reterr);
/* Ends all calls with GRPC_CANCELLED, from inside. Allowed inside any callback of this client; what
 * that callback was given stays valid until it returns. Accepts NULL, returns NULL. */
struct grpc_client *grpc_client_free(struct grpc_client *client);

/* 0; -EBUSY at GRPC_CALLS_MAX, waiting ones included; -EMSGSIZE, -ENOMEM; -ESHUTDOWN while the client
 * is being freed. Allowed inside callbacks. `ret_call` may be NULL. */
int grpc_call_start(struct grpc_client *client, const struct grpc_request *request,
	struct grpc_call **ret_call);
/* RST_STREAM; on_done is not called. Only for calls the server loses nothing by (streams). Allowed
 * inside callbacks; the call is gone. */
void grpc_call_cancel(struct grpc_call *call);

enum grpc_link {
	GRPC_LINK_IDLE,       /* waits for its back-off */
	GRPC_LINK_CONNECTING, /* connect() is under way, or EAGAIN is retried */
	GRPC_LINK_OPENING,    /* connected, the server has not sent a byte yet */
	GRPC_LINK_UP,         /* the server speaks HTTP/2 */
};

struct grpc_client_stats {
	enum grpc_link link;
	enum grpc_outcome last_failure; /* of the last dial or connection; GRPC_OK if none */
	uint64_t connects, losses;      /* since the client was made */
	uint64_t calls_open;            /* not answered yet, waiting for a connection included */
	uint64_t calls_late;            /* of these, past their deadline */
	uint64_t bytes_in, bytes_out;
	int32_t peer_pid; /* who listens there (SO_PEERCRED), while connected; 0: not known */
};

void grpc_client_stats(const struct grpc_client *client, struct grpc_client_stats *ret);
const char *grpc_outcome_text(enum grpc_outcome outcome);
