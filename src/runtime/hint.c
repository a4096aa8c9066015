#include "runtime/hint.h"

#include <string.h>

const char *hint_type_text(enum hint_type type)
{
	switch (type) {
	case HINT_CREATE: return "create";
	case HINT_START: return "start";
	case HINT_EXIT: return "exit";
	case HINT_DELETE: return "delete";
	case HINT_OOM: return "oom";
	case HINT_PAUSED: return "paused";
	case HINT_RESUMED: return "resumed";
	}
	return "invalid";
}

bool hint_id_copy(struct slice id, char out[HINT_ID_MAX + 1])
{
	if (id.len == 0 || id.len > HINT_ID_MAX)
		return false;
	for (size_t i = 0; i < id.len; i++)
		if (id.data[i] <= ' ' || id.data[i] > '~')
			return false;
	memcpy(out, id.data, id.len);
	out[id.len] = '\0';
	return true;
}

static uint64_t hash_add(uint64_t hash, const void *data, size_t len)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
	return hash;
}

/* All that a hint says, its time included: what is sent twice is the same to the nanosecond. */
static uint64_t hint_hash(const struct hint *hint)
{
	const int64_t numbers[] = { hint->type, hint->is_init, hint->pid, hint->has_exit_code,
		hint->exit_code, hint->exited_at_ns, hint->sent_at_ns };
	uint64_t hash = hash_add(UINT64_C(0xcbf29ce484222325), numbers, sizeof(numbers));

	return hash_add(hash, hint->container_id, strlen(hint->container_id));
}

bool hint_is_known(struct hint_recent *recent, const struct hint *hint)
{
	size_t filled = recent->count < HINT_RECENT ? recent->count : HINT_RECENT;
	uint64_t hash;

	if (hint->sent_at_ns == 0)
		return false; /* nothing tells one from the next */
	hash = hint_hash(hint);
	for (size_t i = 0; i < filled; i++)
		if (recent->hashes[i] == hash)
			return true;
	recent->hashes[recent->count++ % HINT_RECENT] = hash;
	return false;
}
