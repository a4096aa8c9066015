#include "net/grpc-frames.h"

#include <errno.h>

static uint32_t frame_length(const uint8_t *head)
{
	return (uint32_t)head[1] << 24 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 8 | head[4];
}

void grpc_frames_init(struct grpc_frames *frames, size_t max_message_bytes, size_t ahead_bytes)
{
	*frames = (struct grpc_frames){
		.bytes = BUF_INIT(max_message_bytes + GRPC_FRAME_HEAD_BYTES + ahead_bytes),
		.max_message_bytes = max_message_bytes,
	};
}

void grpc_frames_done(struct grpc_frames *frames)
{
	buf_done(&frames->bytes);
	frames->read = frames->scanned = 0;
}

int grpc_frames_add(struct grpc_frames *frames, const uint8_t *data, size_t len)
{
	struct buf *bytes = &frames->bytes;
	int r;

	if (frames->read > 0) {
		buf_consume(bytes, frames->read);
		frames->scanned -= frames->read;
		frames->read = 0;
	}
	r = buf_append(bytes, data, len);
	if (r < 0)
		return r;

	while (bytes->len - frames->scanned >= GRPC_FRAME_HEAD_BYTES) {
		const uint8_t *head = bytes->data + frames->scanned;
		size_t body_len = frame_length(head);

		if (head[0] != 0)
			return -EBADMSG;
		if (body_len > frames->max_message_bytes)
			return -EMSGSIZE;
		if (bytes->len - frames->scanned - GRPC_FRAME_HEAD_BYTES < body_len)
			break;
		frames->scanned += GRPC_FRAME_HEAD_BYTES + body_len;
		frames->count++;
	}
	return 0;
}

bool grpc_frames_next(struct grpc_frames *frames, const uint8_t **ret_body, size_t *ret_len)
{
	const uint8_t *head;

	if (frames->read == frames->scanned)
		return false;
	head = frames->bytes.data + frames->read;
	*ret_body = head + GRPC_FRAME_HEAD_BYTES;
	*ret_len = frame_length(head);
	frames->read += GRPC_FRAME_HEAD_BYTES + *ret_len;
	return true;
}

size_t grpc_frames_unread(const struct grpc_frames *frames)
{
	return frames->scanned - frames->read;
}

bool grpc_frames_is_cut(const struct grpc_frames *frames)
{
	return frames->bytes.len > frames->scanned;
}

int grpc_frames_write(struct buf *out, const void *body, size_t len)
{
	const uint8_t head[GRPC_FRAME_HEAD_BYTES] = {
		0,
		(uint8_t)(len >> 24),
		(uint8_t)(len >> 16),
		(uint8_t)(len >> 8),
		(uint8_t)len,
	};
	int r;

	if (len > UINT32_MAX)
		return -EMSGSIZE;
	r = buf_reserve(out, sizeof(head) + len);
	if (r < 0)
		return r;
	(void)buf_append(out, head, sizeof(head));
	return buf_append(out, body, len);
}
