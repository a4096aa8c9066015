/*
 * The node's conditions that are pleg's own: pleg.dev/PLEGUnhealthy, pleg.dev/RuntimeUnhealthy and
 * pleg.dev/ContainersStuck. True means trouble, as with node-problem-detector's. Pure: words and the
 * time go in, the body of a patch comes out, and when it is due.
 *
 *	open incidents, verdict ─▶ conditions_judge() ─▶ words ─▶ conditions_update() ─▶ published ─▶ patch
 *
 * A published status changes with the word, at once, and its transition has the wall clock's time of
 * that moment, however late it is written. Exceptions:
 *  - More than CONDITION_CHANGES_MAX changes of a word within CONDITION_FLAP_NS: it is held True, and
 *    its message counts, until the word has not changed for CONDITION_FLAP_NS.
 *  - CONDITION_UNKNOWN as a word changes nothing: whoever judges does not know (yet).
 * What the API server has from before a restart is taken over by conditions_adopt(); a status that
 * is the same keeps its transition time. Nothing is written before that, so none is ever overwritten
 * unseen. Only these three types are ever written.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/time.h"
#include "kube/text.h"
#include "model/finding.h"

#define CONDITION_REASON_MAX      64u
#define CONDITION_CHANGES_MAX     3u
#define CONDITION_FLAP_NS         (600 * NSEC_PER_SEC)
#define CONDITION_HEARTBEAT_NS    (300 * NSEC_PER_SEC)
#define CONDITION_REWORD_NS       (60 * NSEC_PER_SEC) /* until another topic alone is written */
#define CONDITION_SETTLE_NS       (15 * NSEC_PER_SEC) /* after the start: no news is no good news */
#define CONDITION_SUSPECTED_NS    (30 * NSEC_PER_SEC) /* a suspicion that stands for so long counts */
#define CONDITION_SILENT_NS       (10 * NSEC_PER_SEC) /* so does a runtime that does not answer */
#define CONDITION_TRANSITIONS_MAX 32u /* remembered until they are fetched; the oldest give way */

enum condition_type {
	CONDITION_PLEG,    /* pleg.dev/PLEGUnhealthy: the list of containers is not up to date */
	CONDITION_RUNTIME, /* pleg.dev/RuntimeUnhealthy: the runtime does not do its work */
	CONDITION_CONTAINERS, /* pleg.dev/ContainersStuck: some container cannot run, be asked or end */
};
#define CONDITIONS (CONDITION_CONTAINERS + 1)

enum condition_status {
	CONDITION_UNKNOWN, /* not judged yet; never written */
	CONDITION_FALSE,
	CONDITION_TRUE,
};

const char *condition_type_text(enum condition_type type);       /* "pleg.dev/PLEGUnhealthy" */
const char *condition_status_text(enum condition_status status); /* "True" */
/* 0, or -EINVAL: not one of ours. */
int condition_type_parse(const char *text, enum condition_type *ret);

/* ---- judging ------------------------------------------------------------------------------------ */

/* One open incident. Strings are read during the call only. */
struct condition_problem {
	enum cause cause;
	enum finding_severity severity;
	bool is_proven;
	bool is_of_container; /* its subject is a container or a pod */
	int64_t since_ns;     /* wall clock: open since */
	const char *subject;  /* for people */
	const char *summary;  /* one sentence */
};

struct condition_facts {
	const struct condition_problem *problems;
	size_t problem_count;
	bool is_sampled; /* the node was looked at at least once since the start */
	uint64_t age_ns; /* since the start of pleg */
	bool pleg_healthy;
	const char *pleg_message;   /* as the kubelet says it; NULL is "" */
	uint64_t runtime_silent_ns; /* for how long the runtime has not been responsive; 0: it is */
	const char *runtime_message; /* what is wrong with it */
};

struct condition_word {
	enum condition_status status;
	uint64_t
		topic; /* what the message is about: another one is worth a write, another age is not */
	char reason[CONDITION_REASON_MAX];
	char message[KUBE_MESSAGE_MAX + 1];
};

/* What holds now, by the facts alone. */
void conditions_judge(const struct condition_facts *facts, int64_t real_ns,
	struct condition_word ret[CONDITIONS]);

/* ---- what is published -------------------------------------------------------------------------- */

struct conditions;

/* NULL when out of memory. `seed` spreads the heartbeats of many nodes. */
struct conditions *conditions_new(uint64_t seed);
struct conditions *conditions_free(struct conditions *conditions);
DEFINE_FREEP(struct conditions *, conditions_free)

void conditions_update(struct conditions *conditions, const struct condition_word words[CONDITIONS],
	struct now now);

/* A condition of ours as the API server has it. */
struct condition_seen {
	enum condition_status status;        /* CONDITION_UNKNOWN: it has none of this type */
	int64_t transition_ns, heartbeat_ns; /* wall clock */
	const char *reason, *message;
};
/* The node object was read. Again after it was found gone, which conditions_forget() says. */
void conditions_adopt(struct conditions *conditions, const struct condition_seen seen[CONDITIONS],
	struct now now);
/* Whether somebody else has written ours since we did, though there was nothing new to be written. */
bool conditions_is_overwritten(
	const struct conditions *conditions, const struct condition_seen seen[CONDITIONS]);
/* The node object is not there: nothing is written until one is adopted. */
void conditions_forget(struct conditions *conditions);
bool conditions_is_adopted(const struct conditions *conditions);

struct condition_view {
	enum condition_status status;
	int64_t transition_ns; /* wall clock */
	bool is_held;
	uint32_t changes; /* while held */
	const char *reason, *message;
};
void conditions_view(
	const struct conditions *conditions, enum condition_type type, struct condition_view *ret);

/* When a patch is due (monotonic; what has passed: now), NSEC_NEVER while there is none to be written. */
uint64_t conditions_write_due(const struct conditions *conditions);
/* Status or reason differ from what was written: this is no heartbeat. */
bool conditions_is_urgent(const struct conditions *conditions);
/* When conditions_update() has something to do without a new word: a hold ends. */
uint64_t conditions_due(const struct conditions *conditions);

/* The body for PATCH nodes/NAME/status, strategic merge: all that are known, in one. Appended to `out`;
 * 0, -ENOMEM, -EMSGSIZE. What it holds counts as written once conditions_written() is called. */
int conditions_patch(struct conditions *conditions, struct now now, struct buf *out);
void conditions_written(struct conditions *conditions, struct now now);

/* A change of a published status, oldest first; false when all are told. The strings are valid until
 * the next call of anything here. */
struct condition_transition {
	enum condition_type type;
	enum condition_status status;
	int64_t at_ns; /* wall clock */
	const char *reason, *message;
};
bool conditions_next_transition(struct conditions *conditions, struct condition_transition *ret);
/* Transitions that gave way. */
uint64_t conditions_lost(const struct conditions *conditions);
