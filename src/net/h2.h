/*
 * The gRPC client engine over nghttp2: bytes in, bytes out, no I/O, no clock, no callbacks.
 *
 *	h2_feed(bytes read) -> h2_next_event() until it says false -> h2_output() -> write,
 *h2_wrote()
 *
 * Since results are pulled and never pushed, whoever handles an event may start and cancel streams
 * freely. Only h2_free() must wait until the event at hand is no longer looked at.
 *
 * Flow control: the connection's window is given back as bytes arrive, a stream's window when its
 * messages have been handed out. So a reader that does not keep up stops its own stream after
 * H2_STREAM_WINDOW bytes, and never the others.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/grpc.h"

struct h2;
struct h2_stream;

#define H2_STREAM_WINDOW     (1u << 20)
#define H2_CONNECTION_WINDOW (4u << 20)

struct h2_request {
	const char *path;     /* must be a string literal */
	const uint8_t *frame; /* the message with its head; must stay until the stream has ended */
	size_t frame_len;
	size_t max_message_bytes;
	bool is_stream;
	const char *containerd_namespace; /* or NULL; copied */
	void *userdata;
};

enum h2_event_type {
	H2_EVENT_MESSAGE, /* one message of a server stream */
	H2_EVENT_END,     /* the stream has ended; its handle is gone after this event */
};

struct h2_event {
	enum h2_event_type type;
	void *userdata;
	/* All below is valid until the next h2_next_event() or h2_free(). */
	const uint8_t *body; /* the message; with END the answer of a unary call */
	size_t body_len;
	enum grpc_outcome outcome;
	int err_code;
	int status;
	const char *message;
};

int h2_new(struct h2 **ret);
/* Drops all streams without a word. Accepts NULL, returns NULL. */
struct h2 *h2_free(struct h2 *h2);

/* 0, -ENOMEM, or -ESTALE when this connection takes no more streams (GOAWAY, ids used up). */
int h2_start(struct h2 *h2, const struct h2_request *request, struct h2_stream **ret);
/* RST_STREAM; no event will name this stream again. */
void h2_cancel(struct h2_stream *stream);

/* 0; -EPROTO when the peer broke HTTP/2 (h2_trouble() says how) or -ENOMEM: then the connection
 * must be given up with h2_end_all(). */
int h2_feed(struct h2 *h2, const uint8_t *data, size_t len);
/* What is to be written, at most about 64 KiB at a time; valid until the next call on `h2`. Length
 * 0 if there is nothing. 0, -ENOMEM or -EPROTO. */
int h2_output(struct h2 *h2, const uint8_t **ret_data, size_t *ret_len);
void h2_wrote(struct h2 *h2, size_t len);
/* The connection is over: each stream that has not ended yet ends with this. The text is copied. */
void h2_end_all(struct h2 *h2, enum grpc_outcome outcome, int err_code, const char *text);

/* False when there is none. */
bool h2_next_event(struct h2 *h2, struct h2_event *ret);
bool h2_has_event(const struct h2 *h2);

/* The server's SETTINGS have come. */
bool h2_is_up(const struct h2 *h2);
/* No new streams: the server sent GOAWAY, or the ids are used up. */
bool h2_is_leaving(const struct h2 *h2);
/* Streams that were started and have not been told as ended. */
size_t h2_stream_count(const struct h2 *h2);
/* What is known of the connection's trouble, for people; "" if nothing. */
const char *h2_trouble(const struct h2 *h2);
