/*
 * The doctor without an agent, for `pleg doctor`: looks for the runtime, takes samples of evidence on
 * a loop of its own, and has them judged, until no rule wants another sample or the time is over.
 * Whatever hangs, it ends within LOOK_NS; with `watch` it goes on for LOOK_WATCH_NS at most.
 */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/time.h"

#define LOOK_NS       (9300 * NSEC_PER_MSEC)
#define LOOK_WATCH_NS (120 * NSEC_PER_SEC)

struct look_options {
	const char *endpoint; /* NULL: look for the runtime */
	bool watch;           /* until all that is suspected is proven, or gone */
	bool goroutines;      /* have daemons and shims dump theirs, after the last sample */
	/* What is going on, for people: a few times a second. May be NULL. */
	void (*on_progress)(void *userdata, unsigned percent, const char *what);
	void *userdata;
};

struct look_result {
	unsigned samples;
	uint32_t findings;
	bool is_whole; /* all was looked at that could show something */
};

/*
 * Appends the document of docs/json.md. Waits. 0; -EINVAL: a bad endpoint; -ENODATA: not one sample
 * could be taken; both with a text. Else a negative errno.
 */
int look_run(const struct look_options *options, struct buf *out, struct look_result *ret,
	struct err *reterr);
