/*
 * A scripted gRPC server for tests, without I/O: bytes in, bytes out. What it answers is told by the
 * last part of the path; the rest of the path does not matter.
 *
 *	Echo      the request as the answer
 *	Space     the metadata containerd-namespace as the answer
 *	Error     trailers only: status 5, "no such pod ✓ 100%", percent-encoded
 *	Late      an error after a message: status 14
 *	Hold      nothing until peer_release()
 *	Reset     RST_STREAM
 *	Http404   HTTP status 404, not gRPC
 *	Html      HTTP status 200, text/html
 *	Bare      a message without grpc-status
 *	Zipped    a message with the compressed flag
 *	Cut       half a message, then status 0
 *	Two       two messages
 *	None      status 0 without a message
 *	Sized     a message of peer->sized_bytes
 *	Stream    peer->stream_count messages of peer->sized_bytes
 *	Word      a grpc-status that is not a number
 *	Unknown   trailers only: status 12, unimplemented
 *	Given     the body that the script gives
 *	Open      nothing, and the stream stays open: peer_push(), peer_end()
 *
 * A script has methods of other names answered as one of these.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nghttp2/nghttp2.h>

struct peer_stream;

/* The last one has no method. */
struct peer_script {
	const char *method; /* the last part of the path */
	const char *as;     /* one of the words above */
	const void *body;   /* of "Given" */
	size_t body_len;
};

struct peer {
	nghttp2_session *session;
	struct peer_stream *streams;
	size_t sized_bytes;
	size_t stream_count;
	const struct peer_script *script; /* or NULL */
	/* What was seen. */
	size_t requests, resets, pings, data_sent;
	size_t opened;           /* streams that were answered as "Open" */
	char last_space[64];     /* the metadata containerd-namespace of the last request */
	uint8_t last_open[1024]; /* the request of the last "Open", with its head */
	size_t last_open_len;
	uint32_t last_reset_code;
};

/* `max_streams`: SETTINGS_MAX_CONCURRENT_STREAMS, 0 for none. */
struct peer *peer_new(uint32_t max_streams);
struct peer *peer_free(struct peer *peer);
/* 0, or a negative nghttp2 code. */
int peer_feed(struct peer *peer, const uint8_t *data, size_t len);
/* Some bytes to send, valid until the next call; 0 if there are none. */
size_t peer_output(struct peer *peer, const uint8_t **ret);
/* Answers what is held, as Echo. */
void peer_release(struct peer *peer);
/* To every stream that is open: one message, or bytes as they are. */
void peer_push(struct peer *peer, const void *body, size_t len);
void peer_push_raw(struct peer *peer, const void *bytes, size_t len);
/* Ends every stream that is open; NULL: with RST_STREAM. */
void peer_end(struct peer *peer, const char *grpc_status);
void peer_goaway(struct peer *peer, uint32_t code, const char *text);
void peer_ping(struct peer *peer);
