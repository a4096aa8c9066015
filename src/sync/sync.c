/*
 * One ring of events, in which the event with sequence s lives at (s - 1) % history_max; an empty
 * place is a sequence number that was used up by an event that could not be made.
 *
 * A provisional death is kept open by container id until the confirmed one (which then names it) or
 * until the container is removed. A second one for the same id takes the place of the first: the
 * runtime can only confirm what it has seen last.
 */
#include "sync/sync.h"

#include <errno.h>
#include <string.h>
#include <sys/queue.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/table.h"

#define PROVISIONAL_MAX 10000 /* open at once; more are told, but not paired */
#define ID_PREFIX_MIN   8

struct sync_subscriber {
	LIST_ENTRY(sync_subscriber) entry;
	struct sync_loop *loop; /* NULL: the loop is gone */
	uint64_t next;          /* sequence that comes next */
	struct sync_filter filter;
	char strings[]; /* of the filter */
};

/* An open provisional death. */
struct open_death {
	uint64_t sequence;
	char container_id[]; /* the key */
};

struct sync_loop {
	char *epoch;
	struct event **ring;
	size_t ring_size;
	uint64_t last; /* last sequence given */
	struct table deaths;
	LIST_HEAD(, sync_subscriber) subscribers;
	size_t subscriber_count;
	uint64_t dropped, missed, unpaired;
};

int sync_loop_new(const char *epoch, size_t history_max, struct sync_loop **ret)
{
	struct sync_loop *loop;

	if (history_max == 0)
		return -EINVAL;
	loop = mem_zalloc(sizeof(*loop));
	if (!loop)
		return -ENOMEM;
	LIST_INIT(&loop->subscribers);
	loop->deaths = TABLE_INIT(PROVISIONAL_MAX);
	loop->ring_size = history_max;
	loop->epoch = mem_strdup(epoch);
	loop->ring = mem_array(history_max, sizeof(struct event *));
	if (!loop->epoch || !loop->ring) {
		(void)sync_loop_free(loop);
		return -ENOMEM;
	}
	*ret = loop;
	return 0;
}

struct sync_loop *sync_loop_free(struct sync_loop *loop)
{
	struct sync_subscriber *subscriber;
	struct open_death *death;

	if (!loop)
		return NULL;
	LIST_FOREACH (subscriber, &loop->subscribers, entry)
		subscriber->loop = NULL;
	TABLE_FOREACH (death, &loop->deaths)
		(void)mem_free(death);
	table_done(&loop->deaths);
	for (size_t i = 0; loop->ring && i < loop->ring_size; i++)
		(void)event_free(loop->ring[i]);
	(void)mem_free(loop->ring);
	(void)mem_free(loop->epoch);
	return mem_free(loop);
}

const char *sync_loop_epoch(const struct sync_loop *loop)
{
	return loop->epoch;
}

uint64_t sync_loop_last(const struct sync_loop *loop)
{
	return loop->last;
}

static struct event **ring_at(const struct sync_loop *loop, uint64_t sequence)
{
	return &loop->ring[(sequence - 1) % loop->ring_size];
}

/* The oldest sequence that is still there; one more than the last if there is none. */
static uint64_t ring_oldest(const struct sync_loop *loop)
{
	return loop->last > loop->ring_size ? loop->last - loop->ring_size + 1 : 1;
}

/* Sequence of the death that was open for this container, 0 if there was none. */
static uint64_t death_close(struct sync_loop *loop, const char *container_id)
{
	struct open_death *death = table_remove_string(&loop->deaths, container_id);
	uint64_t sequence = death ? death->sequence : 0;

	(void)mem_free(death);
	return sequence;
}

static void death_open(struct sync_loop *loop, const struct event *event)
{
	CLEAN(mem_freep) struct open_death *death = NULL;
	size_t size = strlen(event->container_id) + 1;

	if (death_close(loop, event->container_id) > 0)
		loop->unpaired++;
	death = mem_alloc(sizeof(*death) + size);
	if (death) {
		death->sequence = event->sequence;
		memcpy(death->container_id, event->container_id, size);
		if (table_put_string(&loop->deaths, death->container_id, death) >= 0) {
			TAKE_PTR(death);
			return;
		}
	}
	/* The event itself is told all the same; its confirmation will not name it. */
	loop->unpaired++;
}

static void pair(struct sync_loop *loop, struct event *event)
{
	event->confirms = 0;
	switch (event->type) {
	case EVENT_CONTAINER_DIED:
		if (event->confirmed)
			event->confirms = death_close(loop, event->container_id);
		else
			death_open(loop, event);
		return;
	case EVENT_CONTAINER_REMOVED:
		if (event->confirmed)
			(void)death_close(loop, event->container_id);
		return;
	case EVENT_CONTAINER_STARTED:
	case EVENT_CONTAINER_CHANGED:
	case EVENT_POD_SYNC: return;
	}
}

int sync_loop_add(struct sync_loop *loop, struct event *event)
{
	struct event **place = ring_at(loop, ++loop->last);

	(void)event_free(*place);
	*place = event;
	if (!event) {
		loop->dropped++;
		return -ENOMEM;
	}
	event->sequence = loop->last;
	pair(loop, event);
	return 0;
}

static bool filter_passes(const struct sync_filter *filter, const struct event *event)
{
	if (filter->kubelet_only && !event_is_kubelets(event))
		return false;
	if (filter->namespace && !str_eq(filter->namespace, event->namespace))
		return false;
	if (filter->pod && !str_eq(filter->pod, event->pod) && !str_eq(filter->pod, event->pod_uid))
		return false;
	if (filter->container && !str_eq(filter->container, event->container) &&
		(strlen(filter->container) < ID_PREFIX_MIN ||
			!str_after(event->container_id, filter->container)))
		return false;
	return true;
}

/* Room for an optional string and its NUL. */
static size_t optional_size(const char *s)
{
	return s ? strlen(s) + 1 : 0;
}

void sync_seek(struct sync_subscriber *subscriber, uint64_t from)
{
	const struct sync_loop *loop = subscriber->loop;

	if (!loop)
		return;
	if (from == 0)
		subscriber->next = loop->last + 1;
	else
		subscriber->next = from > loop->last + 1 ? 1 : from;
}

uint64_t sync_oldest(const struct sync_loop *loop)
{
	return ring_oldest(loop);
}

int sync_subscribe(struct sync_loop *loop, const struct sync_filter *filter, uint64_t from,
	struct sync_subscriber **ret)
{
	struct sync_subscriber *subscriber;
	char *at;

	subscriber = mem_zalloc(sizeof(*subscriber) + optional_size(filter->namespace) +
		optional_size(filter->pod) + optional_size(filter->container));
	if (!subscriber)
		return -ENOMEM;
	at = subscriber->strings;
	subscriber->filter = (struct sync_filter){
		.kubelet_only = filter->kubelet_only,
		.namespace = filter->namespace ? str_put(&at, filter->namespace) : NULL,
		.pod = filter->pod ? str_put(&at, filter->pod) : NULL,
		.container = filter->container ? str_put(&at, filter->container) : NULL,
	};
	subscriber->loop = loop;
	sync_seek(subscriber, from);
	LIST_INSERT_HEAD(&loop->subscribers, subscriber, entry);
	loop->subscriber_count++;
	*ret = subscriber;
	return 0;
}

struct sync_subscriber *sync_unsubscribe(struct sync_subscriber *subscriber)
{
	if (subscriber && subscriber->loop) {
		LIST_REMOVE(subscriber, entry);
		subscriber->loop->subscriber_count--;
	}
	return mem_free(subscriber);
}

uint64_t sync_tail(const struct sync_loop *loop, const struct sync_filter *filter, size_t count)
{
	uint64_t start = loop->last + 1, oldest = ring_oldest(loop);

	for (uint64_t s = loop->last; count > 0 && s >= oldest; s--) {
		const struct event *event = *ring_at(loop, s);

		if (!event || !filter_passes(filter, event))
			continue;
		start = s;
		count--;
	}
	return start;
}

enum sync_next sync_next(
	struct sync_subscriber *subscriber, const struct event **ret_event, uint64_t *ret_missed)
{
	struct sync_loop *loop = subscriber->loop;
	uint64_t missed = 0, oldest;

	if (!loop)
		return SYNC_NONE;
	oldest = ring_oldest(loop);
	if (subscriber->next < oldest) {
		missed = oldest - subscriber->next;
		subscriber->next = oldest;
	}
	for (; subscriber->next <= loop->last; subscriber->next++) {
		const struct event *event = *ring_at(loop, subscriber->next);

		if (!event) {
			missed++;
			continue;
		}
		if (!filter_passes(&subscriber->filter, event))
			continue;
		if (missed > 0)
			break; /* What was lost is told first. */
		subscriber->next++;
		*ret_event = event;
		return SYNC_EVENT;
	}
	if (missed == 0)
		return SYNC_NONE;
	loop->missed += missed;
	*ret_missed = missed;
	return SYNC_MISSED;
}

void sync_stats(const struct sync_loop *loop, struct sync_stats *ret)
{
	*ret = (struct sync_stats){
		.events = loop->last,
		.dropped = loop->dropped,
		.missed = loop->missed,
		.subscribers = loop->subscriber_count,
		.history = (size_t)(loop->last + 1 - ring_oldest(loop)),
		.provisional_open = loop->deaths.used,
		.unpaired = loop->unpaired,
	};
}
