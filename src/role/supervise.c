#include "role/supervise.h"

#include <assert.h>
#include <stddef.h>

#include "base/mem.h"

const char *role_state_name(enum role_state state)
{
	switch (state) {
	case ROLE_STOPPED: return "stopped";
	case ROLE_STARTING: return "starting";
	case ROLE_RUNNING: return "running";
	case ROLE_STOPPING: return "stopping";
	case ROLE_STUCK: return "stuck";
	case ROLE_BACKOFF: return "backoff";
	case ROLE_FAILED: return "failed";
	}
	return "unknown";
}

/* What an event does in a state; each is one small function below. */
enum step {
	STEP_STAY,    /* nothing to do */
	STEP_SPAWN,   /* -> starting */
	STEP_RUN,     /* -> running */
	STEP_HANG_UP, /* -> stopping */
	STEP_KILL,    /* -> stuck */
	STEP_CRASHED, /* it is dead and should not be -> backoff, failed */
	STEP_ENDED,   /* it is dead as it should -> stopped, or starting if it is wanted again */
	STEP_GIVE_UP, /* it does not die */
	STEP_STOP,    /* -> stopped, there is no process */
};

static const enum step steps[ROLE_STATES][SUPERVISE_EVENTS] = {
	/* WANT, UNWANT, READY, EXITED, BROKEN, LATE, DUE */
	[ROLE_STOPPED] = { STEP_SPAWN, STEP_STAY, STEP_STAY, STEP_STAY, STEP_STAY, STEP_STAY,
		STEP_STAY },
	[ROLE_STARTING] = { STEP_STAY, STEP_HANG_UP, STEP_RUN, STEP_CRASHED, STEP_KILL, STEP_KILL,
		STEP_KILL },
	[ROLE_RUNNING] = { STEP_STAY, STEP_HANG_UP, STEP_STAY, STEP_CRASHED, STEP_KILL, STEP_KILL,
		STEP_STAY },
	/* Its end of the channel closing is what was asked for, not a break. */
	[ROLE_STOPPING] = { STEP_STAY, STEP_STAY, STEP_STAY, STEP_ENDED, STEP_STAY, STEP_STAY,
		STEP_KILL },
	[ROLE_STUCK] = { STEP_STAY, STEP_STAY, STEP_STAY, STEP_CRASHED, STEP_STAY, STEP_STAY,
		STEP_GIVE_UP },
	[ROLE_BACKOFF] = { STEP_STAY, STEP_STOP, STEP_STAY, STEP_STAY, STEP_STAY, STEP_STAY,
		STEP_SPAWN },
	[ROLE_FAILED] = { STEP_STAY, STEP_STOP, STEP_STAY, STEP_STAY, STEP_STAY, STEP_STAY,
		STEP_SPAWN },
};

void supervise_init(struct supervise *s, uint64_t start_timeout_ns)
{
	*s = (struct supervise){
		.state = ROLE_STOPPED,
		.due_ns = NSEC_NEVER,
		.start_timeout_ns = start_timeout_ns,
		.backoff_ns = SUPERVISE_BACKOFF_MIN_NS,
	};
}

static void enter(struct supervise *s, enum role_state state, uint64_t due_ns)
{
	s->state = state;
	s->due_ns = due_ns;
}

static enum supervise_act spawn(struct supervise *s, uint64_t now_ns)
{
	s->for_room = s->full;
	if (s->full) { /* Nobody may pile up processes that cannot be killed. */
		enter(s, ROLE_FAILED, time_add(now_ns, SUPERVISE_RETRY_NS));
		return SUPERVISE_NOTHING;
	}
	s->starts++;
	s->started_ns = now_ns;
	s->was_late = false;
	enter(s, ROLE_STARTING, time_add(now_ns, s->start_timeout_ns));
	return SUPERVISE_SPAWN;
}

/* True when the crash at hand makes it SUPERVISE_CRASH_MAX of them within SUPERVISE_CRASH_NS. */
static bool crashes_too_often(struct supervise *s, uint64_t now_ns)
{
	uint64_t oldest_ns;

	s->crashes_ns[s->crash_count++ % SUPERVISE_CRASH_MAX] = now_ns;
	if (s->crash_count < SUPERVISE_CRASH_MAX)
		return false;
	oldest_ns = s->crashes_ns[s->crash_count % SUPERVISE_CRASH_MAX];
	return time_since(now_ns, oldest_ns) <= SUPERVISE_CRASH_NS;
}

/* Where it goes when its process is gone and somebody still wants it. */
static void come_back(struct supervise *s, uint64_t now_ns)
{
	uint64_t delay_ns;

	if (!s->wanted) {
		enter(s, ROLE_STOPPED, NSEC_NEVER);
		return;
	}
	/* What sticks over a foreign fault has done nothing wrong, and the deadline that it missed
	 * has spaced the attempts already; the number of abandoned ones is the limit there. */
	if (s->was_late) {
		enter(s, ROLE_BACKOFF, time_add(now_ns, SUPERVISE_BACKOFF_MIN_NS));
		return;
	}
	if (crashes_too_often(s, now_ns)) {
		enter(s, ROLE_FAILED, time_add(now_ns, SUPERVISE_RETRY_NS));
		return;
	}
	if (time_since(now_ns, s->started_ns) >= SUPERVISE_STEADY_NS)
		s->backoff_ns = SUPERVISE_BACKOFF_MIN_NS;
	delay_ns = s->backoff_ns;
	s->backoff_ns = time_min(s->backoff_ns * 2, SUPERVISE_BACKOFF_MAX_NS);
	enter(s, ROLE_BACKOFF, time_add(now_ns, delay_ns));
}

enum supervise_act supervise_step(struct supervise *s, enum supervise_event event, uint64_t now_ns)
{
	if (event == SUPERVISE_WANT)
		s->wanted = true;
	if (event == SUPERVISE_UNWANT)
		s->wanted = false;
	if (event == SUPERVISE_DUE && now_ns < s->due_ns)
		return SUPERVISE_NOTHING;

	switch (steps[s->state][event]) {
	case STEP_STAY: return SUPERVISE_NOTHING;
	case STEP_SPAWN: return spawn(s, now_ns);
	case STEP_RUN: enter(s, ROLE_RUNNING, NSEC_NEVER); return SUPERVISE_NOTHING;
	case STEP_HANG_UP:
		enter(s, ROLE_STOPPING, time_add(now_ns, s->grace_ns));
		return SUPERVISE_HANG_UP;
	case STEP_KILL:
		if (event == SUPERVISE_LATE) {
			s->was_late = true;
			s->stuck++;
		}
		enter(s, ROLE_STUCK, time_add(now_ns, SUPERVISE_KILL_NS));
		return SUPERVISE_KILL;
	case STEP_CRASHED: come_back(s, now_ns); return SUPERVISE_REAP;
	case STEP_ENDED:
		if (s->wanted) /* Asked for again meanwhile; an orderly end is no crash. */
			enter(s, ROLE_BACKOFF, now_ns);
		else
			enter(s, ROLE_STOPPED, NSEC_NEVER);
		return SUPERVISE_REAP;
	case STEP_GIVE_UP: come_back(s, now_ns); return SUPERVISE_ABANDON;
	case STEP_STOP: enter(s, ROLE_STOPPED, NSEC_NEVER); return SUPERVISE_NOTHING;
	}
	return SUPERVISE_NOTHING;
}

void supervise_room(struct supervise *s, uint64_t now_ns)
{
	s->full = false;
	if (s->state == ROLE_FAILED && s->for_room)
		enter(s, ROLE_FAILED, now_ns);
}
