/*
 * A hash table from byte strings to pointers, with a maximum number of entries.
 *
 * Keys are borrowed: they must live as long as their entry, which is natural when the key is a
 * field of the value. A lookup allocates nothing. Removing while TABLE_FOREACH runs is allowed for
 * the entry at hand; adding is not.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table_slot {
	uint64_t hash;
	const char *key; /* NULL: never used; its own mark: removed */
	size_t key_len;
	void *value;
};

struct table {
	struct table_slot *slots;
	size_t slot_count; /* a power of two, or 0 */
	size_t used;       /* live entries */
	size_t gone;       /* tombstones */
	size_t max_entries;
};

#define TABLE_INIT(max) ((struct table){ .max_entries = (max) })

void table_done(struct table *t);
void *table_get(const struct table *t, const char *key, size_t key_len);
void *table_get_string(const struct table *t, const char *key);
/* -EEXIST if the key is there, -ENOSPC at the maximum, -ENOMEM. */
int table_put(struct table *t, const char *key, size_t key_len, void *value);
int table_put_string(struct table *t, const char *key, void *value);
/* The value that was there, or NULL. */
void *table_remove(struct table *t, const char *key, size_t key_len);
void *table_remove_string(struct table *t, const char *key);

/* Iteration in no particular order: start with *cursor = 0; NULL at the end. */
void *table_next(const struct table *t, size_t *cursor);

#define TABLE_FOREACH(value, table)                                                                \
	for (size_t cursor_##value = 0; ((value) = table_next((table), &cursor_##value));)
