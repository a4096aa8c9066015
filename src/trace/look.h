/*
 * The kernel's part of a trace, in a child of this process: it looks at /proc and at the bundle, and
 * writes what it finds into memory that both share, stage by stage. When it hangs it is killed and
 * left behind, and what it was at is known.
 */
#pragma once

#include <systemd/sd-event.h>

#include "trace/facts.h"

#define TRACE_LOOK_NS (3 * NSEC_PER_SEC)

struct look;

struct look_callbacks {
	/* A stage was passed, or several. Not called any more after on_end. */
	void (*on_stage)(void *userdata, const struct trace_look *look);
	/* Exactly once: it has ended, or `is_late` and it was left behind. */
	void (*on_end)(void *userdata, const struct trace_look *look, bool is_late);
};

/* `socket` is the runtime's, or "". -ENOMEM or the errno of fork(). */
int look_new(sd_event *loop, const char *id, const char *socket, bool is_docker,
	const struct look_callbacks *callbacks, void *userdata, struct look **ret);
struct look *look_free(struct look *look);
DEFINE_FREEP(struct look *, look_free)

/* What the child does. For tests. */
void look_at(struct trace_look *look, void (*on_stage)(void *userdata), void *userdata);

/* Container ids that begin with `prefix`, as the cgroups of running processes name them: up to
 * `max`, each once, and their number. Reads only what answers at once. */
unsigned look_ids(const char *prefix, char (*ret_ids)[TRACE_ID_MAX + 1], unsigned max);
