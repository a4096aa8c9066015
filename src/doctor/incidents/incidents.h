/*
 * Incidents: what was found, as a history. Each judgement gives a set of findings; here the same
 * fault of successive sets (finding_key()) is one incident, which is opened, changes and is closed,
 * each told once. Pure.
 *
 * Only what stands at the top level of a set becomes an incident; what hangs under it is part of its
 * evidence. One that is missing is closed when INCIDENT_CLOSE_SAMPLES complete samples in a row, over
 * at least INCIDENT_CLOSE_NS, did not show it: a sample that was cut short proves no absence. One that
 * another explains from now on is closed at once, with that one's name in `explainedBy`.
 *
 * What an earlier run has left open goes on under its id if the same fault is found again, and is
 * closed if it is not. The fault's key is not known of such a one: it is the same if cause and subject
 * are.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/time.h"
#include "model/finding.h"

#define INCIDENTS_MAX          128u /* open at a time; more are counted */
#define INCIDENT_ID_MAX        24u
#define INCIDENT_CHANGES_MAX   16u /* kept in the document; the first and the newest */
#define INCIDENT_DOCUMENT_MAX  (30u << 10)
#define INCIDENT_CLOSE_SAMPLES 2u
#define INCIDENT_CLOSE_NS      (3 * NSEC_PER_SEC)
/* Of an earlier run's: longer than any rule takes for its verdict; and a crash loop is only seen again
 * when it has crashed again, after a back-off of up to five minutes. */
#define INCIDENT_PAST_NS      (15 * NSEC_PER_SEC)
#define INCIDENT_PAST_LOOP_NS (660 * NSEC_PER_SEC)

enum incident_state {
	INCIDENT_SUSPECTED, /* open, and not proven */
	INCIDENT_PROVEN,    /* open */
	INCIDENT_CLOSED,
};

const char *incident_state_text(enum incident_state state); /* "suspected", ... */

struct incident {
	const char *id; /* short, made of letters and digits; the same for as long as it is open */
	enum cause cause;
	enum finding_severity severity;
	enum incident_state state;
	const char *subject; /* for people: "shop/cart, container db", "process 4711", a path */
	const char *summary;
	const char *namespace, *pod; /* whose it is, or "" */
	bool is_of_container;        /* of a container or a pod, and not of the whole node */
	bool is_of_before;           /* an earlier run had proven it, and told of it */
	const char *
		document; /* {"finding":FINDING,"changes":[{"at","state"}],"changesLeftOut","explainedBy","closedBecause"} on one line */
	int64_t opened_ns, changed_ns, closed_ns; /* wall clock; closed 0: it is open */
};

struct incidents;

/* `epoch` makes ids of different runs differ. NULL when out of memory. */
struct incidents *incidents_new(const char *epoch);
struct incidents *incidents_free(struct incidents *incidents);
DEFINE_FREEP(struct incidents *, incidents_free)

/* The findings of one sample; `complete`: nothing that was to be looked at was left out for lack of
 * time. 0, or -ENOMEM: part of it is told only with the next set. */
int incidents_update(
	struct incidents *incidents, const struct findings *set, bool complete, struct now now);

struct incident_change {
	int64_t at_ns; /* wall clock */
	enum incident_state state;
};

/* One that an earlier run has left open. Strings are copied. */
struct incident_past {
	const char *id, *subject;
	const char *summary;
	const char *finding; /* the FINDING of its document, on one line */
	enum cause cause;
	enum incident_state state; /* not closed */
	int64_t opened_ns;
	const struct incident_change *changes; /* oldest first; those over the limit are left out */
	uint32_t change_count, changes_left_out;
};

/* It is told, and counts as open, once it is found again. 0; -EALREADY: this run has that one;
 * -ENOSPC: INCIDENTS_MAX; -EINVAL: no such incident; -ENOMEM. */
int incidents_adopt(struct incidents *incidents, const struct incident_past *past, struct now now);

/* What has happened, oldest first; valid until the next call of this or of incidents_update();
 * NULL when all is told. */
const struct incident *incidents_next_change(struct incidents *incidents);

/* The open ones, in the order of their beginning; start with *cursor = 0; NULL at the end. */
const struct incident *incidents_next_open(const struct incidents *incidents, size_t *cursor);

struct incidents_stats {
	uint32_t open;
	uint32_t past; /* of an earlier run, not found again and not closed yet */
	uint64_t opened, closed, left_out;
};
void incidents_stats(const struct incidents *incidents, struct incidents_stats *ret);
