/*
 * The gRPC engine fed with what a broken or hostile server might send. The first byte says how the
 * input is cut into pieces and when a stream is cancelled; the rest is what the server says.
 */
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "net/h2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void drain(struct h2 *h2)
{
	const uint8_t *out;
	struct h2_event event;
	volatile uint8_t sink = 0;
	size_t len = 0;

	while (h2_next_event(h2, &event)) {
		if (!event.message)
			__builtin_trap();
		for (size_t i = 0; i < event.body_len; i++)
			sink = sink ^ event.body[i];
	}
	if (h2_output(h2, &out, &len) >= 0)
		h2_wrote(h2, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t frame[] = { 0, 0, 0, 0, 1, 'x' };
	struct h2_stream *streams[4] = { NULL };
	size_t piece, cancel_at;
	struct h2 *h2;

	if (size < 1 || h2_new(&h2) < 0)
		return 0;
	piece = (size_t)1 << (data[0] & 15);
	cancel_at = data[0] >> 4;
	for (size_t i = 0; i < ELEMENTS(streams); i++) {
		const struct h2_request request = {
			.path = "/f/F",
			.frame = frame,
			.frame_len = sizeof(frame),
			.max_message_bytes = 64,
			.is_stream = i % 2,
		};

		if (h2_start(h2, &request, &streams[i]) < 0)
			break;
	}
	drain(h2);
	for (size_t at = 1, n = 0; at < size; at += piece, n++) {
		if (h2_feed(h2, data + at, size - at < piece ? size - at : piece) < 0)
			break;
		/* Before its end can have been told: that would be the caller's mistake. */
		if (n == 0 && cancel_at < ELEMENTS(streams) && streams[cancel_at])
			h2_cancel(streams[cancel_at]);
		drain(h2);
	}
	h2_end_all(h2, GRPC_LOST, -1, "end");
	drain(h2);
	if (h2_stream_count(h2) != 0)
		__builtin_trap();
	(void)h2_free(h2);
	return 0;
}
