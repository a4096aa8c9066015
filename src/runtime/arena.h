/*
 * A bounded arena: allocations that all end together. protobuf-c has none of its own and makes an
 * allocation per field, the unknown ones included; with this the answer of a runtime costs a known
 * maximum of memory and is forgotten in one step.
 */
#pragma once

#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

/* Most answers fit into this much, and it is on the stack. */
#define ARENA_INLINE_BYTES 4096

struct arena_chunk;

struct arena {
	struct arena_chunk *chunks; /* newest first */
	char *at;                   /* free room of the newest chunk */
	size_t room;
	size_t total_bytes, max_bytes; /* of the chunks */
	int error; /* of the first allocation that failed: -ENOMEM, or -EMSGSIZE over the limit */
	_Alignas(max_align_t) char first[ARENA_INLINE_BYTES];
};

void arena_init(struct arena *arena, size_t max_bytes);
void arena_done(struct arena *arena);
/* Uninitialised; NULL when out of memory or over the limit, and ever after. */
void *arena_alloc(struct arena *arena, size_t size) __attribute__((warn_unused_result));
/* Its free() does nothing. Valid as long as the arena. */
ProtobufCAllocator arena_allocator(struct arena *arena);
