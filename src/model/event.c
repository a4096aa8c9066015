#include "model/event.h"

#include "base/mem.h"

struct event *event_new(const struct event *fields)
{
	const char *const strings[] = { str_or_empty(fields->namespace), str_or_empty(fields->pod),
		str_or_empty(fields->pod_uid), str_or_empty(fields->container),
		str_or_empty(fields->container_id), str_or_empty(fields->sandbox_id) };
	size_t size = sizeof(struct event);
	struct event *event;
	char *at;

	for (size_t i = 0; i < ELEMENTS(strings); i++)
		size += strlen(strings[i]) + 1;
	event = mem_alloc(size);
	if (!event)
		return NULL;
	*event = *fields;
	at = (char *)(event + 1);
	event->namespace = str_put(&at, fields->namespace);
	event->pod = str_put(&at, fields->pod);
	event->pod_uid = str_put(&at, fields->pod_uid);
	event->container = str_put(&at, fields->container);
	event->container_id = str_put(&at, fields->container_id);
	event->sandbox_id = str_put(&at, fields->sandbox_id);
	return event;
}

struct event *event_free(struct event *event)
{
	return mem_free(event);
}

bool event_is_kubelets(const struct event *event)
{
	return event->confirmed && event->source == EVENT_SOURCE_RELIST &&
		event->type != EVENT_CONTAINER_CHANGED;
}

const char *event_type_text(enum event_type type)
{
	switch (type) {
	case EVENT_CONTAINER_STARTED: return "ContainerStarted";
	case EVENT_CONTAINER_DIED: return "ContainerDied";
	case EVENT_CONTAINER_REMOVED: return "ContainerRemoved";
	case EVENT_CONTAINER_CHANGED: return "ContainerChanged";
	case EVENT_POD_SYNC: return "PodSync";
	}
	return "invalid";
}

const char *event_source_text(enum event_source source)
{
	switch (source) {
	case EVENT_SOURCE_RELIST: return "relist";
	case EVENT_SOURCE_STREAM: return "stream";
	case EVENT_SOURCE_KERNEL: return "kernel";
	}
	return "invalid";
}
