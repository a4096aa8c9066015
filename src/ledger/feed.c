#include "ledger/feed.h"

static bool event_to_word(enum event_type type, enum container_state *ret)
{
	switch (type) {
	case EVENT_CONTAINER_STARTED: *ret = CONTAINER_RUNNING; return true;
	case EVENT_CONTAINER_DIED: *ret = CONTAINER_EXITED; return true;
	case EVENT_CONTAINER_REMOVED: *ret = CONTAINER_GONE; return true;
	case EVENT_CONTAINER_CHANGED: *ret = CONTAINER_UNKNOWN; return true;
	case EVENT_POD_SYNC: return false;
	}
	return false;
}

static void feed_tell(struct ledger_feed *feed)
{
	struct event *event;

	while ((event = ledger_next_event(feed->ledger)) != NULL) {
		feed->ops->tell(feed->userdata, event);
		feed->has_told = true;
	}
}

void ledger_feed_event(struct ledger_feed *feed, const struct event *event, struct now now)
{
	enum container_state word;

	if (event_to_word(event->type, &word))
		ledger_on_runtime(feed->ledger, event, word, now);
	ledger_on_confirmed(feed->ledger, event, now);
	/* What a start lets the ledger tell is a death, which comes after it. */
	if (event->type != EVENT_CONTAINER_STARTED)
		feed_tell(feed);
}

void ledger_feed_drain(struct ledger_feed *feed, bool sources_are_good)
{
	const char *id;
	bool is_calm;

	if (feed->is_draining)
		return;
	feed->is_draining = true;
	do {
		feed_tell(feed);
		while ((id = ledger_next_wake(feed->ledger)) != NULL) {
			feed->ops->wake(feed->userdata, id);
			feed->has_woken = true;
		}
		is_calm = sources_are_good && ledger_is_calm(feed->ledger);
		if (!feed->has_told && !feed->has_woken && is_calm == feed->was_calm)
			break;
		feed->has_told = feed->has_woken = false;
		feed->was_calm = is_calm;
		/* Runs PLEG's queues, whose events are inputs again: what the ledger says to those is
		 * told by the next round. */
		feed->ops->flush(feed->userdata);
	} while (true);
	feed->is_draining = false;
}
