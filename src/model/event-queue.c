#include "model/event-queue.h"

#include <errno.h>

#include "base/mem.h"

#define CAP_FIRST 16
#define CAP_KEPT  1024 /* a drained queue that is larger gives its memory back */

static int make_room(struct event_queue *queue)
{
	size_t used = queue->len + queue->made, cap;
	struct event **events;

	if (queue->head > 0 && queue->head == used) {
		queue->head = queue->len = 0;
		used = 0;
	}
	if (used < queue->cap)
		return 0;
	cap = queue->cap ? queue->cap * 2 : CAP_FIRST;
	events = mem_resize(queue->events, cap, sizeof(*events));
	if (!events)
		return -ENOMEM;
	queue->events = events;
	queue->cap = cap;
	return 0;
}

int event_queue_make(struct event_queue *queue, const struct event *fields)
{
	struct event *event;
	int r = make_room(queue);

	if (r < 0)
		return r;
	event = event_new(fields);
	if (!event)
		return -ENOMEM;
	queue->events[queue->len + queue->made++] = event;
	return 0;
}

size_t event_queue_keep(struct event_queue *queue)
{
	size_t made = queue->made;

	queue->len += made;
	queue->made = 0;
	return made;
}

void event_queue_drop(struct event_queue *queue)
{
	while (queue->made > 0)
		(void)event_free(queue->events[queue->len + --queue->made]);
}

struct event *event_queue_next(struct event_queue *queue)
{
	if (queue->head < queue->len)
		return queue->events[queue->head++];
	queue->head = queue->len = 0;
	if (queue->cap > CAP_KEPT) {
		queue->events = mem_free(queue->events);
		queue->cap = 0;
	}
	return NULL;
}

void event_queue_done(struct event_queue *queue)
{
	event_queue_drop(queue);
	while (queue->head < queue->len)
		(void)event_free(queue->events[queue->head++]);
	queue->events = mem_free(queue->events);
	*queue = (struct event_queue){ 0 };
}
