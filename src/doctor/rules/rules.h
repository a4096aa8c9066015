/*
 * The judging half of the doctor: what was read of a node goes in, findings come out. Pure.
 *
 * Rules run from the deepest layer up. Each marks what it explains (threads, processes, containers,
 * shims, daemons), and a rule whose subject is already explained hangs its finding under the one that
 * explains it, or says nothing of its own: so the deepest cause is at the top level, and causes that
 * do not explain each other stand side by side. docs/internals/doctor.md has the whole.
 *
 * A finding is `suspected` until what proves it has stood unchanged for as long as its rule's row asks
 * for. "Unchanged" is judged by the memory: a thread is the same only while its count of context
 * switches is, a process only while its start time is.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "model/evidence.h"
#include "model/finding.h"

/* What a rule asks for before it speaks, and why; what is no time stands in thresholds.h. */
struct rule {
	enum cause cause;
	const char *layer;    /* "storage", "kernel", "shim", "daemon", "workload", "none" */
	uint32_t samples;     /* at least so many before it may be proven */
	uint64_t interval_ns; /* between them */
	uint64_t held_ns;     /* how long strong facts must stand unchanged; 0: one look proves */
	uint64_t
		weak_ns; /* ... and weaker ones, which a slow node shows as well; 0: there are none */
	uint64_t late_ns;    /* how long a call must have been silent to count; 0: asks nothing */
	uint64_t verdict_ns; /* from when it is there to `proven` by strong facts, by an agent on a
			      * small node; by weaker ones weak_ns - held_ns more */
	const char *why;     /* the reasons for these numbers */
};

const struct rule *rule_of(enum cause cause);

/* What was seen in earlier samples; one per series of samples. */
struct rules_memory;

struct rules_memory *rules_memory_new(void); /* NULL: out of memory */
struct rules_memory *rules_memory_free(struct rules_memory *memory);
DEFINE_FREEP(struct rules_memory *, rules_memory_free)

/* After a judgement: in how many nanoseconds another sample would say more; 0 if none would. */
uint64_t rules_memory_wants_ns(const struct rules_memory *memory);
/* Whether the next judgement is the last there is: what was silent in two samples, and may only be busy,
 * is then suspected, since nobody waits for the sample that would tell. */
void rules_memory_set_last(struct rules_memory *memory, bool is_last);

/*
 * Judges `now` and adds to `out` what it finds, most severe first. `before` is an earlier sample that
 * the memory may not have seen, or NULL. Samples of one memory go forward in time; one that does not
 * is judged as if it were the first.
 * 0; -ENOMEM: nothing in `out` is complete, and the memory has not changed.
 */
int doctor_judge(const struct evidence *before, const struct evidence *now,
	struct rules_memory *memory, struct findings *out);
