/*
 * One ttrpc call over a unix socket, on a connection of its own: the driver of net/ttrpc.h.
 *
 * Deadlines follow the law of net/grpc.h: past it the caller is told once (on_late) and the call
 * stays open until it is answered or the connection dies, unless the caller cancels it. Nothing is
 * tried again, but for a full backlog, which is no connection yet.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

struct ttrpc_call;

enum ttrpc_outcome {
	TTRPC_ANSWERED,    /* with `status`, 0 or not */
	TTRPC_NO_SOCKET,   /* connect: ENOENT */
	TTRPC_REFUSED,     /* connect: ECONNREFUSED */
	TTRPC_UNREACHABLE, /* connect failed otherwise: err_code says how */
	TTRPC_SILENT,      /* connected or queued, and then the server went away without a byte */
	TTRPC_LOST,        /* the connection ended inside the answer */
	TTRPC_GARBAGE,     /* not ttrpc, or an answer that is over its limit or cannot be read */
};

struct ttrpc_result {
	enum ttrpc_outcome outcome;
	int err_code;        /* negative errno that fits the outcome; 0 with ANSWERED */
	int32_t status;      /* grpc-status, with ANSWERED */
	const char *message; /* for people; never NULL */
	struct slice body;   /* with ANSWERED and status 0 */
	uint64_t elapsed_ns; /* since ttrpc_call_start() */
	bool was_late;
};

struct ttrpc_callbacks {
	/* Exactly once, unless the start failed or it was cancelled; never from inside the start.
	 * What `result` points to is valid during the callback; the call is gone afterwards. */
	void (*on_done)(void *userdata, const struct ttrpc_result *result);
	/* Optional: the deadline passed; the call stays open. At most once. */
	void (*on_late)(void *userdata);
};

struct ttrpc_call_request {
	/* "unix:///path", "/path", or a name without either: an abstract socket, as containerd
	 * before 1.4 had them. */
	const char *address;
	const char *service, *method;
	const void *body;
	size_t body_len;
	const char *key, *value; /* one pair of metadata, or NULL */
	size_t max_answer_bytes; /* 0: 64 KiB */
	uint64_t deadline_ns;    /* from now, not 0; also told to the server */
	const struct ttrpc_callbacks *callbacks;
	void *userdata;
};

/* All of `request` is copied but the callbacks. Connects from the loop. -EINVAL for an address that
 * cannot be one or without a deadline, -ENAMETOOLONG, -EMSGSIZE, -ENOMEM. `ret` may be NULL. */
int ttrpc_call_start(sd_event *loop, const struct ttrpc_call_request *request,
	struct ttrpc_call **ret, struct err *reterr);
/* Closes the connection; no callback comes any more. Accepts NULL, returns NULL; allowed inside
 * on_late, but not in or after on_done. */
struct ttrpc_call *ttrpc_call_cancel(struct ttrpc_call *call);
/* The server has accepted the connection, or at least its backlog has. */
bool ttrpc_call_is_connected(const struct ttrpc_call *call);
const char *ttrpc_outcome_text(enum ttrpc_outcome outcome);
