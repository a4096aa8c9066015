/* Any bytes as the answer of every method of CRI that is decoded; the first byte says which. */
#include <stdlib.h>

#include "runtime/cri-message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_status(const struct container_status *status)
{
	if (strlen(status->id) + strlen(status->reason) + strlen(status->message) +
			strlen(status->image) ==
		SIZE_MAX)
		abort();
	for (size_t i = 0; i < status->ip_count; i++)
		if (status->ips[i][0] == '\0')
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct runtime_result result = { 0 };
	const char *trouble = NULL;
	struct arena arena;
	int r;

	if (size == 0)
		return 0;
	arena_init(&arena, CRI_DECODE_MAX);
	r = cri_decode((enum runtime_method)(data[0] % RUNTIME_METHODS), "",
		(struct slice){ (const char *)data + 1, size - 1 }, &arena, &result, &trouble);
	if (r < 0 && !trouble)
		abort();
	if (r >= 0 && result.status)
		read_status(result.status);
	for (size_t i = 0; r >= 0 && i < result.condition_count; i++)
		if (!result.conditions[i].type || !result.conditions[i].message)
			abort();
	arena_done(&arena);
	return 0;
}
