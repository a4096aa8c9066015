/*
 * Two ledgers side by side (law 2): for each container what the runtime says and what the kernel
 * knows, their differences with an age, and the events that come of them. Pure.
 *
 *	kernel and stream facts, the runtime's word -> ledger -> events for the sync loop, wakes for PLEG
 *
 * Rules (the table in docs/internals/ledger.md):
 *  - a container's inits are told apart by start time: a reused pid is another init;
 *  - death is what a readable pidfd says; an exit that only the stream tells of is a hint, so there
 *    is no provisional event without a pidfd;
 *  - at most one provisional ContainerDied per init, none after its death was confirmed, and exactly
 *    one confirmed one after it: PLEG's, or the ledger's own where PLEG cannot have seen that death;
 *  - init dead and the runtime goes on saying running: the difference stays open, with its age;
 *  - a start that only the event stream saw is told as ContainerStarted with source stream, before
 *    the confirmed ContainerDied; if no list ever shows the container, that one has source stream
 *    too, and a ContainerRemoved follows;
 *  - nothing here changes a PLEG record: it asks for inspections (wakes) and tells.
 *
 * The caller empties ledger_next_event() and ledger_next_wake() after every input. In this order:
 *
 *	input of PLEG -> ledger_on_runtime() for what it may have changed -> events, wakes
 *	each pleg_next_event(): ledger_on_confirmed(), the ledger's events, then that event itself;
 *	a ContainerStarted goes first, then the ledger's events
 *	a full list that was answered -> ledger_on_list(), after all of the above
 *
 * Strings passed in are copied. Out of memory makes a fact a lost hint; it is counted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/time.h"
#include "model/event.h"
#include "model/ledger.h"

struct ledger;

#define LEDGER_LAG_NS (2 * NSEC_PER_SEC) /* words that differ for less are only the usual lag */

/* At most `containers_max` entries; more are counted and left out. 0 or -ENOMEM. */
int ledger_new(uint32_t containers_max, struct ledger **ret);
struct ledger *ledger_free(struct ledger *ledger);
DEFINE_FREEP(struct ledger *, ledger_free)

/* ---- what the kernel and the stream say --------------------------------------------------- */

/* The init of a container is known and verified (start time and cgroup). `start_ticks` is field 22
 * of /proc/PID/stat. Replaces an older init of the same id (Docker restarts); an older one than is
 * known, or the same, changes nothing. 0, -EINVAL (no pid or start time), -ENOSPC or -ENOMEM. */
int ledger_on_init(struct ledger *ledger, const char *container_id, int32_t pid,
	uint64_t start_ticks, struct now now);

/* Its state as read from the kernel: death only from a readable pidfd, and for good. `exit` may be
 * unknown, or NULL, and may come later than the death. Of another init: ignored. */
void ledger_on_state(struct ledger *ledger, const char *container_id, uint64_t start_ticks,
	enum ledger_state state, const struct ledger_exit *exit, struct now now);

/* What else the kernel says, for the views; nothing comes of it. Of an id without entry, or of
 * another init: ignored. An OOM kill stays with the init that was there then. */
void ledger_on_shim(struct ledger *ledger, const char *container_id, uint64_t start_ticks,
	struct ledger_shim shim);
void ledger_on_group(
	struct ledger *ledger, const char *container_id, const struct ledger_group *group);

enum ledger_stream_event {
	LEDGER_STREAM_START,
	LEDGER_STREAM_EXIT,
	LEDGER_STREAM_DELETE,
	LEDGER_STREAM_OOM,
	LEDGER_STREAM_PAUSED,
	LEDGER_STREAM_RESUMED,
};

struct ledger_stream_fact {
	enum ledger_stream_event event;
	const char *container_id;
	int32_t pid;                    /* 0: the stream does not say (CRI's) */
	int64_t at_ns;                  /* wall clock; 0: the stream does not say */
	const struct ledger_exit *exit; /* of an EXIT; may be NULL */
};

/* Of the init only; exits of exec'd processes are not for here. Doubled, late, reordered ones and
 * those of another init are harmless. */
void ledger_on_stream(struct ledger *ledger, const struct ledger_stream_fact *fact, struct now now);

/* Who a container is, where something else than PLEG's records says so first (labels in an event of
 * the stream): for what is told of a container that no list ever shows. Of an id without entry:
 * ignored, so it comes after the START. */
void ledger_on_identity(
	struct ledger *ledger, const char *container_id, const struct event *identity);

/* ---- what the runtime says: after each input of PLEG, for the records it may have changed ---- */

/* `identity` strings are copied once. State GONE: not in the list any more. Cheap if unchanged. */
void ledger_on_runtime(struct ledger *ledger, const struct event *identity,
	enum container_state state, struct now now);

/* A confirmed event is about to be told by PLEG: closes what is open for it. What the ledger has to
 * tell after this call comes before the event; after a ContainerStarted it comes behind it. */
void ledger_on_confirmed(struct ledger *ledger, const struct event *event, struct now now);

/* A full list that was asked for at `started_ns` (monotonic) was answered and is in the records. */
void ledger_on_list(struct ledger *ledger, uint64_t started_ns, struct now now);

/* ---- out ------------------------------------------------------------------------------------ */

/* Events to tell before PLEG's next ones, owned by the caller; NULL when there is none. */
struct event *ledger_next_event(struct ledger *ledger);
/* Container ids to pleg_wake(); valid until the next input; NULL when there is none. */
const char *ledger_next_wake(struct ledger *ledger);
/* When ledger_on_tick() is wanted (monotonic), or NSEC_NEVER. */
uint64_t ledger_next_due(const struct ledger *ledger);
void ledger_on_tick(struct ledger *ledger, struct now now);

struct ledger_view {
	const char *container_id;
	int32_t pid; /* 0: not known */
	uint64_t start_ticks;
	enum ledger_state state;
	struct ledger_exit exit;
	enum container_state runtime_state; /* the runtime's last word; GONE: no list has it */
	bool paused, oom_killed;
	struct ledger_shim shim;
	struct ledger_group group;
	bool provisional_open; /* a death was told and is not confirmed */
	/* The two words do not agree for longer than the usual lag, and a list that was asked for
	 * after that has not changed it: a runtime that does not answer does not differ. */
	bool differs;
	uint64_t differs_for_ns; /* since the words have differed, lag included; 0: they agree */
};

/* What the views point to is valid until the next input. */
bool ledger_find(const struct ledger *ledger, const char *container_id, struct now now,
	struct ledger_view *ret);
/* In no particular order; start with *cursor = 0; false at the end. */
bool ledger_next(
	const struct ledger *ledger, size_t *cursor, struct now now, struct ledger_view *ret);
/* How many differ, as in the view. */
uint32_t ledger_differences(const struct ledger *ledger, struct now now);

/* Nothing differs, not even within the lag, and nothing waits for the next lists: PLEG may take its
 * time (pleg_on_hints()). */
bool ledger_is_calm(const struct ledger *ledger);

struct ledger_stats {
	uint32_t entries, provisional_open;
	uint64_t provisional;   /* told */
	uint64_t stream_starts; /* ContainerStarted told that no list showed */
	uint64_t concluded;     /* deaths confirmed here, since PLEG cannot have seen them */
	uint64_t stale;         /* facts of another init */
	uint64_t lives_merged;  /* inits whose death was never told: the next came too soon */
	uint64_t over_limit;    /* facts of containers beyond containers_max */
	uint64_t dropped;       /* facts and events lost for lack of memory */
};

void ledger_stats(const struct ledger *ledger, struct ledger_stats *ret);
