/*
 * gRPC's framing of messages in a byte stream: one byte of flags, four of length, the message.
 *
 * Bytes go in as they arrive; whole messages come out in place, without a copy. What is buffered
 * is bounded by the call's maximum plus what the peer may send ahead of the reader.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define GRPC_FRAME_HEAD_BYTES 5

struct grpc_frames {
	struct buf bytes;
	size_t read;    /* where the first message that was not handed out begins */
	size_t scanned; /* where the first message that is not complete begins */
	size_t count;   /* whole messages since the beginning */
	size_t max_message_bytes;
};

/* `ahead_bytes`: how much may wait unread beside one message of the maximum size. */
void grpc_frames_init(struct grpc_frames *frames, size_t max_message_bytes, size_t ahead_bytes);
void grpc_frames_done(struct grpc_frames *frames);

/* 0; -EMSGSIZE as soon as a head announces more than the maximum; -EBADMSG for a compressed message
 * (we never ask for compression); -ENOMEM. After an error only whole messages can be read. */
int grpc_frames_add(struct grpc_frames *frames, const uint8_t *data, size_t len);

/* The next whole message, valid until the next call on `frames`. */
bool grpc_frames_next(struct grpc_frames *frames, const uint8_t **ret_body, size_t *ret_len);

/* Bytes of whole messages (heads included) that were not handed out. */
size_t grpc_frames_unread(const struct grpc_frames *frames);
/* True if the bytes end inside a message. */
bool grpc_frames_is_cut(const struct grpc_frames *frames);

/* Appends one framed message: 0, -EMSGSIZE or -ENOMEM. */
int grpc_frames_write(struct buf *out, const void *body, size_t len);
