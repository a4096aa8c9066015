/*
 * Reading the evidence: one struct evidence from a running node, within a deadline whatever hangs.
 *
 *	facts (the agent's, or the runtime asked here) ─┐
 *	every process and thread, one look each ────────┼─▶ who is worth a second look ─▶ details ─▶ sample
 *	mounts, FUSE, freezers, sockets, pressure ──────┘       └─▶ probe, shims: answers or "late"
 *
 * Everything runs on the loop in slices of about a millisecond, below everybody else's priority, so
 * an agent goes on meanwhile. What may block is asked of the probe (law 5). What was not finished by
 * the deadline is left as it is, and a gap says so.
 *
 * No environment and no process argument is read, but by the probe, to see whether it can be; what it
 * read is dropped. docs/internals/doctor.md tells what is read where.
 */
#pragma once

#include <systemd/sd-event.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/time.h"
#include "model/evidence.h"
#include "runtime/runtime.h"

struct collect;
struct probe;
struct shims;

#define COLLECT_TIMEOUT_NS (2500 * NSEC_PER_MSEC) /* of a whole sample */
#define COLLECT_ANSWER_NS  (2000 * NSEC_PER_MSEC) /* of one question to a runtime or a shim */

/* What the caller knows already. It puts into the sample, with the functions of model/evidence.h:
 * containers (their `init` a process with pid and start_ticks), daemons with the calls that were made
 * of them (their `process` is found here), busies, and of `node` what is PLEG's. Called from
 * collect_start(). */
typedef void (*collect_facts_fn)(void *userdata, struct evidence *evidence);

struct collect_options {
	sd_event *loop;
	struct probe *probe;  /* borrowed; NULL: what may block is not looked at, a gap says so */
	const char *endpoint; /* of the runtime, copied; NULL or "": unknown */
	/* Ask that runtime for its containers, when there are no facts from the caller. */
	bool ask_runtime;
};

/* 0, or a negative errno: -ENOMEM, or no /proc. */
int collect_new(const struct collect_options *options, struct collect **ret, struct err *reterr);
/* Forgets a sample under way. Not from inside on_done. Returns NULL. */
struct collect *collect_free(struct collect *collect);
DEFINE_FREEP(struct collect *, collect_free)

/* Exactly once for each start that succeeded, from the loop. The sample is the callee's. */
typedef void (*collect_on_done)(void *userdata, struct evidence *evidence);

/* One sample: 0, -EALREADY while one is under way, -ENOMEM. `facts` may be NULL. */
int collect_start(
	struct collect *collect, collect_facts_fn facts, collect_on_done on_done, void *userdata);

/* 0 to 100, and what is being looked at, for a progress line; valid until the next turn. */
unsigned collect_progress(const struct collect *collect, const char **ret_what);

/* How a call of a runtime ended, in the words of evidence: `message`, which is not NULL, tells a
 * permission that is missing from a peer that is. */
enum evidence_answer collect_answer(enum runtime_outcome outcome, const char *message);
