/* A role's message as the agent judges it: what passes keeps to the table. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "role/channel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct channel_type types[] = {
	{ 2, 4, 4, 0 },
	{ 64, 0, CHANNEL_PAYLOAD_MAX, 0 },
	{ 65, 8, 520, 1 },
	{ 66, 0, 0, CHANNEL_FDS_ANY },
};

/* The first byte is the number of descriptors, the rest the packet. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct channel_message m = { 0 };
	unsigned fds;

	if (size < 1)
		return 0;
	fds = data[0];
	if (channel_parse(types, sizeof(types) / sizeof(types[0]), data + 1, size - 1, fds, &m) < 0)
		return 0;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		if (types[i].type != m.type)
			continue;
		if (m.len < types[i].min_payload || m.len > types[i].max_payload)
			abort();
		if (types[i].fds == CHANNEL_FDS_ANY ? fds > CHANNEL_FDS_MAX : fds != types[i].fds)
			abort();
		if ((const uint8_t *)m.payload + m.len != data + size)
			abort();
		return 0;
	}
	abort();
}
