#include "base/table.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"

static const char table_gone[] = "";
#define TABLE_GONE table_gone

/* FNV-1a's two steps on eight bytes at a time, then the rest, with a mix that lets high bits come down;
 * the keys are ids that the local runtime made, not an attacker's. */
static uint64_t table_hash(const char *key, size_t len)
{
	uint64_t h = 0xcbf29ce484222325u ^ len, word;

	for (; len >= sizeof(word); key += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, key, sizeof(word));
		h = (h ^ word) * 0x9e3779b97f4a7c15u;
		h ^= h >> 32;
	}
	for (; len > 0; key++, len--)
		h = (h ^ (uint8_t)*key) * 0x100000001b3u;
	h *= 0x9e3779b97f4a7c15u;
	h ^= h >> 32;
	return h;
}

static struct table_slot *table_find(
	const struct table *t, const char *key, size_t len, uint64_t hash)
{
	size_t mask = t->slot_count - 1;

	if (t->slot_count == 0)
		return NULL;
	for (size_t i = hash & mask;; i = (i + 1) & mask) {
		struct table_slot *slot = &t->slots[i];

		if (!slot->key)
			return NULL;
		if (slot->key != TABLE_GONE && slot->hash == hash && slot->key_len == len &&
			memcmp(slot->key, key, len) == 0)
			return slot;
	}
}

static void table_insert(struct table_slot *slots, size_t slot_count, struct table_slot entry)
{
	size_t mask = slot_count - 1, i = entry.hash & mask;

	while (slots[i].key)
		i = (i + 1) & mask;
	slots[i] = entry;
}

/* At most three quarters of the slots are ever used, tombstones included, so a search ends. */
static int table_make_room(struct table *t)
{
	struct table_slot *slots;
	size_t count;

	if (t->used >= t->max_entries)
		return -ENOSPC;
	if (t->slot_count > 0 && (t->used + t->gone + 1) * 4 <= t->slot_count * 3)
		return 0;

	count = 16;
	while ((t->used + 1) * 2 > count)
		count *= 2;
	slots = mem_array(count, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < t->slot_count; i++)
		if (t->slots[i].key && t->slots[i].key != TABLE_GONE)
			table_insert(slots, count, t->slots[i]);
	(void)mem_free(t->slots);
	t->slots = slots;
	t->slot_count = count;
	t->gone = 0;
	return 0;
}

void table_done(struct table *t)
{
	t->slots = mem_free(t->slots);
	t->slot_count = t->used = t->gone = 0;
}

void *table_get(const struct table *t, const char *key, size_t key_len)
{
	struct table_slot *slot = table_find(t, key, key_len, table_hash(key, key_len));

	return slot ? slot->value : NULL;
}

void *table_get_string(const struct table *t, const char *key)
{
	return table_get(t, key, strlen(key));
}

int table_put(struct table *t, const char *key, size_t key_len, void *value)
{
	uint64_t hash = table_hash(key, key_len);
	int r;

	if (table_find(t, key, key_len, hash))
		return -EEXIST;
	r = table_make_room(t);
	if (r < 0)
		return r;
	table_insert(t->slots, t->slot_count,
		(struct table_slot){
			.hash = hash, .key = key, .key_len = key_len, .value = value });
	t->used++;
	return 0;
}

int table_put_string(struct table *t, const char *key, void *value)
{
	return table_put(t, key, strlen(key), value);
}

void *table_remove(struct table *t, const char *key, size_t key_len)
{
	struct table_slot *slot = table_find(t, key, key_len, table_hash(key, key_len));
	void *value;

	if (!slot)
		return NULL;
	value = slot->value;
	*slot = (struct table_slot){ .key = TABLE_GONE };
	t->used--;
	t->gone++;
	return value;
}

void *table_remove_string(struct table *t, const char *key)
{
	return table_remove(t, key, strlen(key));
}

void *table_next(const struct table *t, size_t *cursor)
{
	while (*cursor < t->slot_count) {
		struct table_slot *slot = &t->slots[(*cursor)++];

		if (slot->key && slot->key != TABLE_GONE)
			return slot->value;
	}
	return NULL;
}
