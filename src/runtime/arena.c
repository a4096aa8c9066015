#include "runtime/arena.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"

#define ARENA_ALIGN     (_Alignof(max_align_t))
#define CHUNK_MIN_BYTES ((size_t)16 * 1024)

struct arena_chunk {
	struct arena_chunk *next;
	_Alignas(max_align_t) char data[];
};

void arena_init(struct arena *arena, size_t max_bytes)
{
	arena->chunks = NULL;
	arena->at = arena->first;
	arena->room = sizeof(arena->first);
	arena->total_bytes = 0;
	arena->max_bytes = max_bytes;
	arena->error = 0;
}

void arena_done(struct arena *arena)
{
	while (arena->chunks) {
		struct arena_chunk *chunk = arena->chunks;

		arena->chunks = chunk->next;
		(void)mem_free(chunk);
	}
	arena->room = 0;
}

/* Each chunk is as large as all before it, so there are few. */
static bool arena_grow(struct arena *arena, size_t size)
{
	size_t want = arena->total_bytes > CHUNK_MIN_BYTES ? arena->total_bytes : CHUNK_MIN_BYTES;
	size_t left = arena->max_bytes - arena->total_bytes;
	struct arena_chunk *chunk;

	if (size > left) {
		arena->error = -EMSGSIZE;
		return false;
	}
	if (want < size)
		want = size;
	if (want > left)
		want = left;
	chunk = mem_alloc(sizeof(*chunk) + want);
	if (!chunk) {
		arena->error = -ENOMEM;
		return false;
	}
	chunk->next = arena->chunks;
	arena->chunks = chunk;
	arena->total_bytes += want;
	arena->at = chunk->data;
	arena->room = want;
	return true;
}

void *arena_alloc(struct arena *arena, size_t size)
{
	void *p;

	if (size > SIZE_MAX - ARENA_ALIGN) {
		arena->error = -EMSGSIZE;
		return NULL;
	}
	size = (size + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
	if (arena->error < 0 || (size > arena->room && !arena_grow(arena, size)))
		return NULL;
	p = arena->at;
	arena->at += size;
	arena->room -= size;
	return p;
}

static void *allocator_alloc(void *userdata, size_t size)
{
	return arena_alloc(userdata, size);
}

static void allocator_free(void *userdata, void *p)
{
	(void)userdata;
	(void)p;
}

ProtobufCAllocator arena_allocator(struct arena *arena)
{
	return (ProtobufCAllocator){ allocator_alloc, allocator_free, arena };
}
