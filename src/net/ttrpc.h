/*
 * The ttrpc client engine: bytes in, bytes out; no I/O, no clock, no callbacks. What containerd
 * speaks with its shims.
 *
 *	ttrpc_start() -> ttrpc_output() -> write, ttrpc_wrote(); read -> ttrpc_next() until NEED
 *
 * A frame is 10 bytes of head (length, stream, type, flags) and a protobuf message. Unary calls
 * only. Answers come in any order. Frames that are no answer to an open call are skipped, at most
 * TTRPC_STRAY_MAX of them. An answer over the call's maximum ends that call and is read over; a
 * head that no ttrpc server sends ends the connection, so that whatever else listens there is told
 * as what it is by its first ten bytes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

#define TTRPC_FRAME_MAX   (4u << 20) /* the protocol's own limit of a message */
#define TTRPC_REQUEST_MAX (64u << 10)
#define TTRPC_OUTPUT_MAX  (1u << 20)
#define TTRPC_CALLS_MAX   16 /* open at once on one connection */
#define TTRPC_STRAY_MAX   64
#define TTRPC_MESSAGE_MAX 480 /* of an error's text; cut there */
#define TTRPC_HEAD_BYTES  10

struct ttrpc_call_slot {
	uint32_t stream; /* odd; 0: free */
	size_t max_answer_bytes;
	void *userdata;
};

/* Caller's memory; fields are the engine's, but for reading `stray`. */
struct ttrpc {
	struct ttrpc_call_slot calls[TTRPC_CALLS_MAX];
	uint32_t next_stream;
	struct buf out, body;
	uint8_t head[TTRPC_HEAD_BYTES];
	size_t head_len;
	uint32_t left;       /* bytes of the frame's message that are to come */
	int slot;            /* whose answer it is, or -1: read over */
	bool is_too_large;   /* that call is to be told so at the frame's end */
	bool body_told;      /* `body` was handed out: dropped by the next ttrpc_next() */
	unsigned stray;      /* frames that were read over */
	const char *trouble; /* after an error, for people */
	char text[TTRPC_MESSAGE_MAX];
};

struct ttrpc_request {
	const char *service, *method;
	const void *body; /* protobuf, copied */
	size_t body_len;
	uint64_t timeout_ns;     /* told to the server; 0: none */
	const char *key, *value; /* one pair of metadata, or NULL */
	size_t max_answer_bytes; /* 0: TTRPC_REQUEST_MAX */
	void *userdata;
};

enum ttrpc_fate {
	TTRPC_OK,        /* `body` is the answer */
	TTRPC_STATUS,    /* `status` is not 0 */
	TTRPC_TOO_LARGE, /* over the call's maximum */
	TTRPC_MALFORMED, /* the frame was right, its message is not */
};

/* The end of one call. Pointers are valid until the next call on the engine. */
struct ttrpc_answer {
	void *userdata;
	enum ttrpc_fate fate;
	int32_t status;      /* grpc-status */
	const char *message; /* cleaned; "" if none */
	struct slice body;
};

enum ttrpc_step {
	TTRPC_NEED,   /* all input is used up */
	TTRPC_ANSWER, /* *ret is set; there may be more in the input */
};

void ttrpc_init(struct ttrpc *t);
void ttrpc_done(struct ttrpc *t);

/* 0; -EBUSY at TTRPC_CALLS_MAX, -ESTALE when the stream ids are used up, -EMSGSIZE for what is over
 * TTRPC_REQUEST_MAX or finds no room in the output, -ENOMEM. */
int ttrpc_start(struct ttrpc *t, const struct ttrpc_request *request);
/* What is to be written; valid until the next call on the engine. */
struct slice ttrpc_output(const struct ttrpc *t);
void ttrpc_wrote(struct ttrpc *t, size_t len);
/* Takes from *data, advancing it. A step (>= 0); -EPROTO: the peer does not speak ttrpc (`trouble`
 * says why); -ENOMEM. After an error nothing more may be fed. */
int ttrpc_next(struct ttrpc *t, const uint8_t **data, size_t *len, struct ttrpc_answer *ret);
/* Calls that have no answer yet. */
size_t ttrpc_open_calls(const struct ttrpc *t);
/* Nothing of a frame has come that is not complete. */
bool ttrpc_is_between_frames(const struct ttrpc *t);
