/*
 * The order of things between a ledger, PLEG and whoever hears events: what src/agent/hints.c does
 * and the simulator does after it, so it is here, once. Pure.
 *
 *	each of PLEG's events:  ledger_feed_event(), then that event itself
 *	each other input:       ledger_on_*(), then ledger_feed_drain()
 */
#pragma once

#include "ledger/ledger.h"

/* Called from inside ledger_feed_event() and ledger_feed_drain() only. */
struct ledger_feed_ops {
	/* An event for the sync loop, which takes it. */
	void (*tell)(void *userdata, struct event *event);
	/* pleg_wake(); the string is valid during the call. */
	void (*wake)(void *userdata, const char *container_id);
	/* After a round of the above, or when calm began or ended: send what was told, run PLEG's
	 * queues, pleg_on_hints(). It may come back with events of PLEG's. */
	void (*flush)(void *userdata);
};

/* In the caller's memory; nothing to be freed. */
struct ledger_feed {
	struct ledger *ledger;
	const struct ledger_feed_ops *ops;
	void *userdata;
	bool is_draining; /* what the ledger says to inputs from inside goes out at the end */
	bool has_told, has_woken, was_calm;
};

/* One of PLEG's events is about to be told: both what it says of the runtime's word, and what it
 * confirms. What the ledger has to tell before it is told from inside. */
void ledger_feed_event(struct ledger_feed *feed, const struct event *event, struct now now);

/* Tells, wakes and flushes until nothing is left. `sources_are_good`: every source of hints is alive;
 * together with ledger_is_calm() that is what PLEG is told, and a change of it is flushed, too: a
 * period that has been stretched must not outlive what it rested on. */
void ledger_feed_drain(struct ledger_feed *feed, bool sources_are_good);
