/*
 * Two ledgers side by side (law 2): for each container what the runtime says and what the kernel
 * knows, their differences with an age, and the provisional events that come of them. Pure.
 *
 *	kernel and stream facts, the runtime's word -> ledger -> events for the sync loop, wakes for PLEG
 *
 * Rules (the table in docs/internals/ledger.md):
 *  - keyed by container id and the init's start time: a reused pid is another init;
 *  - at most one provisional ContainerDied per init, exactly one confirmed one later, from PLEG;
 *  - init dead and the runtime goes on saying running: the difference stays open, with its age;
 *  - a start that only the event stream saw is told as ContainerStarted with source stream, before
 *    the ContainerDied; if no list ever shows the container, its death is confirmed from the stream;
 *  - nothing here changes a PLEG record: it asks for inspections (wakes) and tells.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/time.h"
#include "model/event.h"
#include "model/ledger.h"

struct ledger;

/* At most `containers_max` entries; more are counted and left out. */
int ledger_new(uint32_t containers_max, struct ledger **ret);
struct ledger *ledger_free(struct ledger *ledger);

/* ---- what the kernel and the stream say --------------------------------------------------- */

/* The init of a container is known and verified (start time and cgroup). `start_ticks` is field 22
 * of /proc/PID/stat. Replaces an older init of the same id (Docker restarts). */
int ledger_on_init(struct ledger *ledger, const char *container_id, int32_t pid,
	uint64_t start_ticks, struct now now);

/* Its state as read from the kernel. Death only from a readable pidfd; `exit` may be unknown. */
void ledger_on_state(struct ledger *ledger, const char *container_id, uint64_t start_ticks,
	enum ledger_state state, const struct ledger_exit *exit, struct now now);

enum ledger_stream_event {
	LEDGER_STREAM_START,
	LEDGER_STREAM_EXIT,
	LEDGER_STREAM_DELETE,
	LEDGER_STREAM_OOM,
	LEDGER_STREAM_PAUSED,
	LEDGER_STREAM_RESUMED,
};

/* Of the init only; exits of exec'd processes are not for here. */
void ledger_on_stream(struct ledger *ledger, enum ledger_stream_event event,
	const char *container_id, int32_t pid, const struct ledger_exit *exit, struct now now);

/* ---- what the runtime says: after each change of PLEG's records ----------------------------- */

/* `identity` strings are copied once. State GONE: not in the list any more. */
void ledger_on_runtime(struct ledger *ledger, const struct event *identity,
	enum container_state state, struct now now);

/* A confirmed event was told by PLEG: closes what is open for it. */
void ledger_on_confirmed(struct ledger *ledger, const struct event *event, struct now now);

/* ---- out ------------------------------------------------------------------------------------ */

/* Events to tell before PLEG's next ones, owned by the caller; NULL when there is none. */
struct event *ledger_next_event(struct ledger *ledger);
/* Container ids to pleg_wake(); valid until the next input; NULL when there is none. */
const char *ledger_next_wake(struct ledger *ledger);
uint64_t ledger_next_due(const struct ledger *ledger);
void ledger_on_tick(struct ledger *ledger, struct now now);

struct ledger_view {
	const char *container_id;
	int32_t pid; /* 0: not known */
	uint64_t start_ticks;
	enum ledger_state state;
	struct ledger_exit exit;
	enum container_state runtime_state; /* the runtime's last word */
	bool paused, oom_killed;
	bool differs;            /* the two words do not agree, longer than the usual lag */
	uint64_t differs_for_ns; /* since the words have differed */
};

bool ledger_find(const struct ledger *ledger, const char *container_id, struct now now,
	struct ledger_view *ret);
bool ledger_next(
	const struct ledger *ledger, size_t *cursor, struct now now, struct ledger_view *ret);
uint32_t ledger_differences(const struct ledger *ledger, struct now now);
