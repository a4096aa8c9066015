/*
 * From what a person typed to a container: the runtime's list decides; where it does not answer, the
 * last list of an agent; and the ids that the kernel knows stand in for both, and for what no CRI has
 * made.
 */
#pragma once

#include <systemd/sd-event.h>

#include "runtime/runtime.h"
#include "trace/subject.h"

struct resolve {
	sd_event *loop;
	struct subject_query *query;
	const struct trace_options *options;
	uint64_t end_ns; /* monotonic: not waited for longer */
	/* its own */
	struct subject_match match;
	bool is_open, has_list;
	char failure[TRACE_TEXT_MAX]; /* why the runtime gave no list */
};

/* Runs the loop until it is known. `runtime` NULL: there is none, or it is known not to answer; its
 * late answer may still come to `s`, which has to outlive it. 0, or an error of trace_run(). */
int trace_resolve(
	struct resolve *s, struct runtime *runtime, struct trace_subject *ret, struct err *reterr);
