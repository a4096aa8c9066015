/*
 * Events that wait to be fetched, first in first out. What belongs together is told all or not at all:
 * events are made behind the end, where nobody fetches them, and then all kept or all dropped.
 */
#pragma once

#include <stddef.h>

#include "model/event.h"

struct event_queue {
	struct event **events; /* owned, and what is in it from head */
	size_t head, len, cap;
	size_t made; /* behind len */
};

/* Makes one more behind the end: 0 or -ENOMEM. */
int event_queue_make(struct event_queue *queue, const struct event *fields);
/* What was made is told from now on: how many these are. */
size_t event_queue_keep(struct event_queue *queue);
void event_queue_drop(struct event_queue *queue);

/* The caller's from now on; NULL: none. Not while there are some that were made and neither kept nor
 * dropped. */
struct event *event_queue_next(struct event_queue *queue);
void event_queue_done(struct event_queue *queue);
