/*
 * The supervision of one role as a table of states and events. It decides, role.c acts; it reads
 * no clock, so tests walk through hours of crashes at once.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/time.h"

#define SUPERVISE_BACKOFF_MIN_NS (100 * NSEC_PER_MSEC)
#define SUPERVISE_BACKOFF_MAX_NS (30 * NSEC_PER_SEC)
#define SUPERVISE_STEADY_NS      (60 * NSEC_PER_SEC)  /* ran so long: the back-off starts anew */
#define SUPERVISE_CRASH_MAX      10u                  /* so many crashes ... */
#define SUPERVISE_CRASH_NS       (300 * NSEC_PER_SEC) /* ... within this time are a failure */
#define SUPERVISE_RETRY_NS       (300 * NSEC_PER_SEC) /* a failed one is tried again so often */
#define SUPERVISE_KILL_NS        (1 * NSEC_PER_SEC) /* what survives SIGKILL so long is abandoned */

enum role_state {
	ROLE_STOPPED,  /* not wanted, no process */
	ROLE_STARTING, /* asked for; has not said that it is ready */
	ROLE_RUNNING,  /* ready */
	ROLE_STOPPING, /* told to end, may take its grace */
	ROLE_STUCK,    /* killed for silence or nonsense; its death is awaited */
	ROLE_BACKOFF,  /* ended; will be started when the delay is over */
	ROLE_FAILED,   /* ended too often; tried again much later */
};
#define ROLE_STATES 7

/* "stopped", "starting", ...: the words of status and metrics. */
const char *role_state_name(enum role_state state);

enum supervise_event {
	SUPERVISE_WANT,   /* somebody wants it running */
	SUPERVISE_UNWANT, /* nobody does any longer */
	SUPERVISE_READY,  /* it said that it is ready */
	SUPERVISE_EXITED, /* its process is dead */
	SUPERVISE_BROKEN, /* it broke the protocol or closed its channel */
	SUPERVISE_LATE,   /* a request's deadline passed */
	SUPERVISE_DUE,    /* the time at `due_ns` has come */
};
#define SUPERVISE_EVENTS 7

enum supervise_act {
	SUPERVISE_NOTHING,
	SUPERVISE_SPAWN,   /* start a process */
	SUPERVISE_HANG_UP, /* close the channel, which tells it to end */
	SUPERVISE_KILL,    /* SIGKILL, close the channel */
	SUPERVISE_REAP,    /* forget the dead process */
	SUPERVISE_ABANDON, /* forget the process that does not die, keep count of it */
};

struct supervise {
	enum role_state state;
	bool wanted;
	uint64_t due_ns; /* NSEC_NEVER: nothing is waited for */

	uint64_t start_timeout_ns; /* set by the owner */
	uint64_t grace_ns;         /* set by the owner before SUPERVISE_UNWANT */
	bool full;                 /* set by the owner: no room for one more abandoned process */
	bool for_room;             /* failed only for want of that room */

	uint64_t starts, stuck;
	uint64_t backoff_ns; /* the next delay */
	uint64_t started_ns; /* of the latest start */
	bool was_late;       /* the process at hand is being killed for a missed deadline */
	uint64_t crashes_ns[SUPERVISE_CRASH_MAX]; /* a ring of the latest */
	uint64_t crash_count;
};

void supervise_init(struct supervise *s, uint64_t start_timeout_ns);
/* One step; what the owner has to do now. After SUPERVISE_SPAWN fails, feed SUPERVISE_EXITED. */
enum supervise_act supervise_step(struct supervise *s, enum supervise_event event, uint64_t now_ns);
/* The owner has room again for one more abandoned process: what failed only for that is due now. */
void supervise_room(struct supervise *s, uint64_t now_ns);
