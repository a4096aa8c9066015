/*
 * The sync loop's ear: every event, in order, to every subscriber. Pure.
 *
 * Events get their sequence number here and go into one bounded history. A subscriber is a cursor
 * into it: a slow one holds up nobody, costs nothing, and when the history has moved past its cursor
 * it is told how many it missed, and goes on with the oldest there is.
 *
 * The typed inputs of node mode (pod sources, sync tick, housekeeping) enter here as well; see
 * sync/inputs.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/time.h"
#include "model/event.h"

struct sync_loop;
struct sync_subscriber;

/* `epoch` names this run of the agent (events of another epoch have other sequence numbers);
 * `history_max` events are kept. 0, -ENOMEM or -EINVAL (no history at all). */
int sync_loop_new(const char *epoch, size_t history_max, struct sync_loop **ret);
/* Subscribers may outlive it: they hear nothing more and are still to be unsubscribed. */
struct sync_loop *sync_loop_free(struct sync_loop *loop);

const char *sync_loop_epoch(const struct sync_loop *loop);

/*
 * Takes the event, gives it the next sequence number and tells it to everybody. A provisional
 * ContainerDied opens a difference for its container id, a confirmed one closes it and has
 * `confirms` filled in; a container that is removed has none open. NULL stands for an event that
 * could not be made, as in sync_loop_add(loop, event_new(...)): it is counted as dropped, its
 * sequence number is used up, so that subscribers see the gap, and -ENOMEM is returned; else 0.
 */
int sync_loop_add(struct sync_loop *loop, struct event *event);

uint64_t sync_loop_last(const struct sync_loop *loop); /* last sequence given, 0: none yet */

struct sync_filter {
	bool kubelet_only; /* event_is_kubelets(); `initial` ones pass, a kubelet tells them too */
	const char *namespace; /* NULL: all */
	const char *pod;       /* name or UID; NULL: all */
	const char *container; /* name or id prefix of 8 characters and more; NULL: all */
};

/* `from`: the first sequence wanted; 0: only what comes from now on; one that is not even next can
 * only be of another epoch, and is answered with all there is. Copies the filter. 0 or -ENOMEM. */
int sync_subscribe(struct sync_loop *loop, const struct sync_filter *filter, uint64_t from,
	struct sync_subscriber **ret);
struct sync_subscriber *sync_unsubscribe(struct sync_subscriber *subscriber);

/* Goes on with this sequence; as `from` of sync_subscribe(). */
void sync_seek(struct sync_subscriber *subscriber, uint64_t from);

/* The oldest sequence that the history still has; what comes next if it has none. */
uint64_t sync_oldest(const struct sync_loop *loop);

/* Sequence from which the last `count` events that pass the filter start; what comes next if there
 * is none. */
uint64_t sync_tail(const struct sync_loop *loop, const struct sync_filter *filter, size_t count);

enum sync_next {
	SYNC_NONE,   /* up to date */
	SYNC_EVENT,  /* *ret_event, borrowed until the next sync_loop_add() */
	SYNC_MISSED, /* *ret_missed events were pushed out before this subscriber came for them, or
	                dropped: all of them, since nobody knows which had passed the filter */
};

enum sync_next sync_next(
	struct sync_subscriber *subscriber, const struct event **ret_event, uint64_t *ret_missed);

struct sync_stats {
	uint64_t events, dropped, missed;
	uint64_t unpaired; /* provisional: a newer one of the same id, no memory, over 10,000 */
	size_t subscribers, history, provisional_open;
};

void sync_stats(const struct sync_loop *loop, struct sync_stats *ret);
