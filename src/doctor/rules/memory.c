#include "doctor/rules/memory.h"

#include <errno.h>
#include <stdlib.h>

#include "base/time.h"

struct marks {
	struct mark *items;
	size_t count, room;
};

struct rules_memory {
	struct marks old, new; /* `old` is sorted by key */
	struct mark spare;     /* what is handed out when there is no room */
	uint64_t mono_ns, old_mono_ns;
	int64_t real_ns;
	uint64_t wants_ns, old_wants_ns;
	bool is_last;
	int r;
};

struct rules_memory *rules_memory_new(void)
{
	return mem_zalloc(sizeof(struct rules_memory));
}

struct rules_memory *rules_memory_free(struct rules_memory *memory)
{
	if (!memory)
		return NULL;
	(void)mem_free(memory->old.items);
	(void)mem_free(memory->new.items);
	return mem_free(memory);
}

uint64_t rules_memory_wants_ns(const struct rules_memory *memory)
{
	return memory->wants_ns;
}

void rules_memory_set_last(struct rules_memory *memory, bool is_last)
{
	memory->is_last = is_last;
}

bool memory_is_last(const struct rules_memory *memory)
{
	return memory->is_last;
}

static uint64_t mix(uint64_t h, uint64_t word)
{
	h = (h ^ word) * 0x9e3779b97f4a7c15u;
	h ^= h >> 29;
	h *= 0xbf58476d1ce4e5b9u;
	return h ^ h >> 32;
}

uint64_t mark_hash(const char *text)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * 0x100000001b3u;
	return h;
}

void memory_begin(struct rules_memory *memory, uint64_t mono_ns, int64_t real_ns)
{
	memory->new.count = 0;
	memory->old_mono_ns = memory->mono_ns;
	memory->old_wants_ns = memory->wants_ns;
	if (mono_ns <= memory->mono_ns)
		memory->old.count = 0;
	memory->mono_ns = mono_ns;
	memory->real_ns = real_ns;
	memory->wants_ns = 0;
	memory->r = 0;
}

static int compare_marks(const void *a, const void *b)
{
	const struct mark *x = a, *y = b;

	return x->key < y->key ? -1 : x->key > y->key;
}

static struct mark *room_for_one(struct rules_memory *memory)
{
	struct marks *m = &memory->new;

	if (m->count == m->room && m->room < MARKS_MAX) {
		size_t room = m->room ? m->room * 2 : 64;
		struct mark *items = mem_resize(m->items, room, sizeof(*items));

		if (!items) {
			memory->r = -ENOMEM;
			return &memory->spare;
		}
		m->items = items;
		m->room = room;
	}
	return m->count < m->room ? &m->items[m->count++] : &memory->spare;
}

struct mark *memory_mark(struct rules_memory *memory, enum mark_kind kind, uint64_t a, uint64_t b,
	uint64_t c, uint64_t d, uint64_t value)
{
	struct mark fresh = { .key = mix(mix(mix(mix(mix(1, kind), a), b), c), d),
		.mono_ns = memory->mono_ns,
		.since_ns = memory->real_ns,
		.value = value };
	const struct mark *old = NULL;
	struct mark *mark;

	if (memory->old.count > 0)
		old = bsearch(
			&fresh, memory->old.items, memory->old.count, sizeof(fresh), compare_marks);
	mark = room_for_one(memory);
	*mark = old ? *old : fresh;
	return mark;
}

uint64_t memory_last_ns(const struct rules_memory *memory)
{
	return memory->mono_ns;
}

uint64_t memory_held_ns(const struct rules_memory *memory, const struct mark *mark)
{
	return time_since(memory->mono_ns, mark->mono_ns);
}

void memory_want(struct rules_memory *memory, uint64_t in_ns)
{
	if (memory->wants_ns == 0 || in_ns < memory->wants_ns)
		memory->wants_ns = in_ns;
}

int memory_end(struct rules_memory *memory, int r)
{
	struct marks old = memory->old;

	if (r >= 0)
		r = memory->r;
	if (r < 0) {
		memory->mono_ns = memory->old_mono_ns;
		memory->wants_ns = memory->old_wants_ns;
		return r;
	}
	memory->old = memory->new;
	memory->new = old;
	if (memory->old.count > 0)
		qsort(memory->old.items, memory->old.count, sizeof(struct mark), compare_marks);
	return 0;
}
