/*
 * A Docker Engine's /events: hints. The Engine is asked for the events of containers that are read
 * here and for no others: those of exec'd processes carry their command lines.
 *
 * The stream is opened again for as long as this lives, with a back-off from 100 ms to 3 s. It is
 * subscribed from the time of the last event on (at first from now on), so that what happened in a
 * gap comes too, as far as the Engine remembers it (256 events, and none over its own restart).
 *
 * It tells no pids: those come with inspections (container_status.init_pid). Of one container the
 * events come in order.
 */
#pragma once

#include <systemd/sd-event.h>

#include "base/err.h"
#include "runtime/hint.h"

struct docker_events;

/* `endpoint` as in runtime_open_docker(). Dials at once, from the loop; what fails then is told as
 * HINT_STREAM_DOWN, a server that is no Docker Engine as HINT_STREAM_ABSENT. */
int docker_events_open(sd_event *loop, const char *endpoint, const struct hint_callbacks *callbacks,
	void *userdata, struct docker_events **ret, struct err *reterr);
/* Allowed inside its callbacks. Accepts NULL, returns NULL. */
struct docker_events *docker_events_free(struct docker_events *events);

void docker_events_statistics(const struct docker_events *events, struct hint_statistics *ret);
