/*
 * Marks: what holds in this sample, and since which sample it has held without a gap. A mark is a
 * kind and up to four numbers; what may not change while it is held is part of it (the context switches
 * of a thread), so a change starts it anew. Marks that are not set again are forgotten.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "doctor/rules/rules.h"

enum mark_kind {
	MARK_THREAD,  /* pid, start, tid, switches */
	MARK_PROCESS, /* pid, start, state */
	MARK_CPU,     /* pid, start; value: ticks */
	MARK_ASLEEP,  /* pid, start: no thread of it does anything; value: ticks */
	MARK_CALL,    /* who (a hash), method (a hash) */
	MARK_FUSE,    /* minor: requests without an answer */
	MARK_DEVICE,  /* major, minor; value: requests completed, of the last sample */
	MARK_FREEZER, /* path (a hash), freezing */
	MARK_PAUSED,  /* path (a hash); value: the last word on whether it was paused */
	MARK_HOLDER,  /* mount, process or namespace */
	MARK_LEDGER,  /* container (a hash), init's pid */
	MARK_OVERLAP, /* container (a hash) */
	MARK_LOOP,    /* pod or container, its name (hashes): it ends; value: that was a loop */
	MARK_RESTARTS, /* pod or container, its name (hashes); value: how often, at the first sample */
	MARK_WRONG,    /* who, method (hashes), answer: it answers, and not as it should */
	MARK_SPACE,    /* path (a hash), what it lacks */
	MARK_LIMIT,    /* pid, start: it has no descriptors left */
	MARK_INOTIFY,   /* uid, what it lacks */
	MARK_PIDS,      /* path (a hash) */
	MARK_PERIODS,   /* pid, start; value: of the last sample, not of the first */
	MARK_WAITS,     /* pid, start; value: as above, of periods in which it had to wait */
	MARK_STARVED,   /* pid, start */
	MARK_RELIST,    /* nothing, there is one; value: what was told of it last */
	MARK_EXPLAINED, /* pod (a hash); value: when its symptom had a cause last */
	MARK_FINDING,   /* cause, key (a hash): since when it is told */
};

struct mark {
	uint64_t key;
	uint64_t mono_ns; /* of the first sample */
	int64_t since_ns; /* wall clock of the first sample, or earlier if something told so */
	uint64_t value;   /* at the first sample */
};

#define MARKS_MAX 65536u

uint64_t mark_hash(const char *text);

/* Opens a sample. A sample that is not later than the last one forgets everything. */
void memory_begin(struct rules_memory *memory, uint64_t mono_ns, int64_t real_ns);
/* Sets a mark and returns it as it stands since its first sample; the pointer is valid until the next
 * call. Over the maximum, or out of memory, it is one of this moment. */
struct mark *memory_mark(struct rules_memory *memory, enum mark_kind kind, uint64_t a, uint64_t b,
	uint64_t c, uint64_t d, uint64_t value);
/* When the last sample was taken; 0: there was none. */
uint64_t memory_last_ns(const struct rules_memory *memory);
/* For how long it has held. */
uint64_t memory_held_ns(const struct rules_memory *memory, const struct mark *mark);
bool memory_is_last(const struct rules_memory *memory);
void memory_want(struct rules_memory *memory, uint64_t in_ns);
/* Closes it: 0, or -ENOMEM and everything is as before the sample. */
int memory_end(struct rules_memory *memory, int r);
