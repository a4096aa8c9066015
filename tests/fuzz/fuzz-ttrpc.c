/*
 * What comes from a shim: the frames, whole and in pieces (the first byte says how large, and how
 * many calls are open), must give the same answers; and every answer goes through both decoders.
 * The same bytes are taken for the files of a bundle too.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "net/ttrpc.h"
#include "runtime/shim.h"

#define ANSWER_MAX 512

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void open_calls(struct ttrpc *t, unsigned count)
{
	static const struct ttrpc_request request = {
		.service = "s", .method = "m", .max_answer_bytes = ANSWER_MAX
	};

	ttrpc_init(t);
	for (unsigned i = 0; i < count; i++)
		if (ttrpc_start(t, &request) < 0)
			__builtin_trap();
}

/* A number for all that was told. */
static uint64_t sum_of(const struct ttrpc_answer *answer)
{
	uint64_t sum = 14695981039346656037u;

	for (size_t i = 0; i < answer->body.len; i++)
		sum = (sum ^ (uint8_t)answer->body.data[i]) * 1099511628211u;
	return (sum ^ (uint64_t)answer->fate ^ (uint64_t)answer->status) + strlen(answer->message);
}

static int parse(struct ttrpc *t, const uint8_t *data, size_t size, size_t piece, uint64_t *sum)
{
	while (size > 0) {
		size_t len = size < piece ? size : piece, left = len;
		struct ttrpc_answer answer;
		struct shim_task task;
		int r;

		while ((r = ttrpc_next(t, &data, &left, &answer)) == TTRPC_ANSWER) {
			*sum = *sum * 31 + sum_of(&answer);
			(void)shim_decode_state(answer.body, &task);
			(void)shim_decode_connect(answer.body, &task);
		}
		if (r < 0)
			return r;
		size -= len;
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct shim_address address;
	uint64_t a_sum = 0, b_sum = 0;
	struct ttrpc a, b;
	int a_end, b_end;

	if (size < 1)
		return 0;
	open_calls(&a, data[0] & 7);
	open_calls(&b, data[0] & 7);
	a_end = parse(&a, data + 1, size - 1, SIZE_MAX, &a_sum);
	b_end = parse(&b, data + 1, size - 1, (size_t)(data[0] >> 3) + 1, &b_sum);
	if (a_end != b_end || a_sum != b_sum || a.stray != b.stray)
		__builtin_trap();
	ttrpc_done(&a);
	ttrpc_done(&b);
	(void)shim_parse_address((const char *)data + 1, size - 1, &address);
	(void)shim_parse_bootstrap((const char *)data + 1, size - 1, &address);
	return 0;
}
