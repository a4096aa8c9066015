/*
 * What one node writes to the API server, and when: its conditions, its taint, Events. Facts, happenings
 * and the time go in, requests come out, at most one about the node and one about an Event at a time;
 * whoever sends them gives the answers back. Pure.
 *
 *	facts ─▶ conditions ─┬▶ transitions ─▶ Events ─┐
 *	                     ├▶ taint                  ├─▶ budget, back-off ─▶ requests
 *	                     └▶ patch of the status ───┘
 *
 * Order: nothing is written before the node was read; the status goes before the taint, both before
 * Events. After failures the next try waits twice as long, up to RETRY_MAX_NS, half of it by chance;
 * when the API server is back after that, the rest begins within RETURN_NS by chance, so that many
 * nodes do not all come at once.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/time.h"
#include "kube/budget.h"
#include "kube/conditions.h"
#include "kube/events.h"
#include "kube/taint.h"

#define RETRY_FIRST_NS     NSEC_PER_SEC
#define RETRY_MAX_NS       (60 * NSEC_PER_SEC)
#define RETRY_AFTER_MAX_NS (300 * NSEC_PER_SEC) /* the most that a Retry-After is obeyed */
#define RETURN_NS          (10 * NSEC_PER_SEC)
#define AWAY_FAILURES      3u /* in a row: the API server is away */
#define REPORTER_BODY_MAX  (64u << 10)
#define REPORTER_PATH_MAX  1024u

struct reporter;

struct reporter_options {
	const char *node_name; /* copied */
	uint64_t seed;         /* differs from node to node, and from start to start */
	bool taint;            /* set it; one that pleg has set before is removed either way */
};

/* NULL when out of memory. */
struct reporter *reporter_new(const struct reporter_options *options);
struct reporter *reporter_free(struct reporter *reporter);
DEFINE_FREEP(struct reporter *, reporter_free)

/* The facts as they are now: after each change, and at least every second or so. */
void reporter_update(
	struct reporter *reporter, const struct condition_facts *facts, struct now now);
/* Something happened. 0 or -ENOMEM. */
int reporter_event(struct reporter *reporter, const struct kube_event *event);

enum reporter_slot {
	REPORTER_NODE,  /* of the node itself */
	REPORTER_EVENT, /* of one Event */
};
#define REPORTER_SLOTS (REPORTER_EVENT + 1)

enum reporter_want {
	REPORTER_READ_NODE, /* the answer carries `node` */
	REPORTER_WRITE,
	REPORTER_READ_EVENT, /* the answer carries `event_count`, `event_first_ns` */
};

/* Strings are valid until the answer of the same slot. */
struct reporter_request {
	enum reporter_slot slot;
	enum reporter_want want;
	const char *method;       /* "GET", "POST", "PATCH" */
	const char *path;         /* "/api/v1/nodes/a/status" */
	const char *content_type; /* NULL: no body */
	const char *body;         /* NULL for GET */
	size_t body_len;
};

/* The next request that may be sent now; false: none. Its slot is taken until reporter_answer(). */
bool reporter_next(struct reporter *reporter, struct now now, struct reporter_request *ret);

struct reporter_node {
	struct condition_seen conditions[CONDITIONS];
	struct taint_node taint;
};

struct reporter_answer {
	enum reporter_slot slot;
	unsigned http;           /* the status; 0: no answer, or none that could be understood */
	uint64_t retry_after_ns; /* 0: not told */
	const struct reporter_node *node; /* REPORTER_READ_NODE and 200 */
	uint32_t event_count;             /* REPORTER_READ_EVENT and 200 */
	int64_t event_first_ns;
};
void reporter_answer(
	struct reporter *reporter, const struct reporter_answer *answer, struct now now);

/* When reporter_next() has something if nothing else happens, or NSEC_NEVER. */
uint64_t reporter_due(const struct reporter *reporter, struct now now);

struct reporter_status {
	struct condition_view conditions[CONDITIONS];
	struct kube_events_stats events;
	bool is_adopted;     /* the node object was read */
	bool is_away;        /* AWAY_FAILURES in a row */
	bool is_tainted;     /* by pleg, as far as is known */
	bool is_overwritten; /* somebody else writes our conditions: another pleg of this name? */
	unsigned last_http;  /* of the last answer about the node; 0: none */
	uint64_t writes, failures, transitions_lost;
};
void reporter_status(const struct reporter *reporter, struct reporter_status *ret);
