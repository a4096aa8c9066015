/*
 * The queue of events. What belongs together is told all or not at all: the events are made first,
 * behind the end of the queue, and only when all of them exist the queue is moved.
 */
#include "ledger/ledger-internal.h"

#include <errno.h>

#include "base/mem.h"

#define EVENTS_CAP_KEPT 256 /* a drained queue that is larger gives its memory back */

static int tell_reserve(struct ledger *ledger, size_t count)
{
	size_t cap = ledger->event_cap ? ledger->event_cap : 16;
	struct event **events;

	while (cap < ledger->event_len + count)
		cap *= 2;
	if (cap == ledger->event_cap)
		return 0;
	events = mem_resize(ledger->events, cap, sizeof(*events));
	if (!events)
		return -ENOMEM;
	ledger->events = events;
	ledger->event_cap = cap;
	return 0;
}

/* Room was reserved; `made` counts what is behind the end. */
static int tell_add(
	struct ledger *ledger, const struct entry *entry, struct event fields, size_t *made)
{
	const struct event *identity = entry->identity;
	struct event *event;

	fields.container_id = entry->id;
	if (identity) {
		fields.kind = identity->kind;
		fields.attempt = identity->attempt;
		fields.namespace = identity->namespace;
		fields.pod = identity->pod;
		fields.pod_uid = identity->pod_uid;
		fields.container = identity->container;
		fields.sandbox_id = identity->sandbox_id;
	}
	event = event_new(&fields);
	if (!event)
		return -ENOMEM;
	ledger->events[ledger->event_len + (*made)++] = event;
	return 0;
}

static struct event tell_death(const struct life *life, bool confirmed, struct now now)
{
	return (struct event){
		.type = EVENT_CONTAINER_DIED,
		.source = ledger_state_is_dead(life->state) ? EVENT_SOURCE_KERNEL
							    : EVENT_SOURCE_STREAM,
		.confirmed = confirmed,
		.has_exit_code = life->exit.known,
		.exit_code = life->exit.known ? life->exit.code : 0,
		.has_signal = life->exit.known && life->exit.signal > 0,
		.signal = life->exit.known ? life->exit.signal : 0,
		.occurred_at_ns = life->exit.at_ns,
		.observed_at_ns = life->death_seen_ns ? life->death_seen_ns : now.real_ns,
	};
}

static struct event tell_start(const struct life *life, struct now now)
{
	return (struct event){
		.type = EVENT_CONTAINER_STARTED,
		.source = life->started ? EVENT_SOURCE_STREAM : EVENT_SOURCE_KERNEL,
		.confirmed = true,
		.occurred_at_ns = life->start_at_ns,
		.observed_at_ns = life->start_seen_ns ? life->start_seen_ns : now.real_ns,
	};
}

static void tell_undo(struct ledger *ledger, size_t made)
{
	while (made > 0)
		(void)event_free(ledger->events[ledger->event_len + --made]);
	ledger->stats.dropped++;
}

int ledger_tell_provisional(
	struct ledger *ledger, const struct entry *entry, const struct life *life, struct now now)
{
	size_t made = 0;
	int r = tell_reserve(ledger, 1);

	if (r >= 0)
		r = tell_add(ledger, entry, tell_death(life, false, now), &made);
	if (r < 0) {
		tell_undo(ledger, made);
		return r;
	}
	ledger->event_len += made;
	ledger->stats.provisional++;
	return 0;
}

int ledger_tell(struct ledger *ledger, const struct entry *entry, const struct life *life,
	unsigned what, struct now now)
{
	struct event removed = { .type = EVENT_CONTAINER_REMOVED,
		.source = EVENT_SOURCE_STREAM,
		.confirmed = true,
		.observed_at_ns = now.real_ns };
	size_t made = 0;
	int r = tell_reserve(ledger, 4);

	if (r >= 0 && (what & TELL_STARTED))
		r = tell_add(ledger, entry, tell_start(life, now), &made);
	if (r >= 0 && (what & TELL_DIED))
		r = tell_add(ledger, entry, tell_death(life, true, now), &made);
	if (r >= 0 && (what & TELL_REMOVED))
		r = tell_add(ledger, entry, removed, &made);
	if (r >= 0 && (what & TELL_RESTARTED))
		r = tell_add(ledger, entry, tell_start(&entry->now, now), &made);
	if (r < 0) {
		tell_undo(ledger, made);
		return r;
	}
	ledger->event_len += made;
	if (what & TELL_STARTED)
		ledger->stats.stream_starts++;
	if (what & TELL_RESTARTED)
		ledger->stats.stream_starts++;
	if (what & TELL_DIED)
		ledger->stats.concluded++;
	return 0;
}

struct event *ledger_next_event(struct ledger *ledger)
{
	if (ledger->event_head < ledger->event_len)
		return ledger->events[ledger->event_head++];
	ledger->event_head = ledger->event_len = 0;
	if (ledger->event_cap > EVENTS_CAP_KEPT) {
		ledger->events = mem_free(ledger->events);
		ledger->event_cap = 0;
	}
	return NULL;
}

void ledger_events_done(struct ledger *ledger)
{
	while (ledger->event_head < ledger->event_len)
		(void)event_free(ledger->events[ledger->event_head++]);
	ledger->events = mem_free(ledger->events);
}
