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
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nghttp2/nghttp2.h>

struct peer_stream;

struct peer {
	nghttp2_session *session;
	struct peer_stream *streams;
	size_t sized_bytes;
	size_t stream_count;
	/* What was seen. */
	size_t requests, resets, pings, data_sent;
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
void peer_goaway(struct peer *peer, uint32_t code, const char *text);
void peer_ping(struct peer *peer);
