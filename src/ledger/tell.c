/* What the ledger tells. What belongs together is told all or not at all. */
#include "ledger/ledger-internal.h"

static int tell_add(struct ledger *ledger, const struct entry *entry, struct event fields)
{
	const struct event *identity = entry->identity;

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
	return event_queue_make(&ledger->events, &fields);
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

/* All or nothing: `r` is what the last of them came to. */
static int tell_end(struct ledger *ledger, int r)
{
	if (r >= 0) {
		(void)event_queue_keep(&ledger->events);
		return 0;
	}
	event_queue_drop(&ledger->events);
	ledger->stats.dropped++;
	return r;
}

int ledger_tell_provisional(
	struct ledger *ledger, const struct entry *entry, const struct life *life, struct now now)
{
	int r = tell_end(ledger, tell_add(ledger, entry, tell_death(life, false, now)));

	if (r >= 0)
		ledger->stats.provisional++;
	return r;
}

int ledger_tell(struct ledger *ledger, const struct entry *entry, const struct life *life,
	unsigned what, struct now now)
{
	struct event removed = { .type = EVENT_CONTAINER_REMOVED,
		.source = EVENT_SOURCE_STREAM,
		.confirmed = true,
		.observed_at_ns = now.real_ns };
	int r = 0;

	if (what & TELL_STARTED)
		r = tell_add(ledger, entry, tell_start(life, now));
	if (r >= 0 && (what & TELL_DIED))
		r = tell_add(ledger, entry, tell_death(life, true, now));
	if (r >= 0 && (what & TELL_REMOVED))
		r = tell_add(ledger, entry, removed);
	if (r >= 0 && (what & TELL_RESTARTED))
		r = tell_add(ledger, entry, tell_start(&entry->now, now));
	r = tell_end(ledger, r);
	if (r < 0)
		return r;
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
	return event_queue_next(&ledger->events);
}
