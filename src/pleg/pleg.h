/*
 * The pod lifecycle event generator: relist, diff, inspect, cache, events, health; as the kubelet
 * defines them (pkg/kubelet/pleg/generic.go, Kubernetes 1.36), and without its known faults.
 *
 * Pure: it does no I/O and reads no clock. Answers and the time go in; requests, events and notices
 * come out of queues that the caller empties after every input:
 *
 *	input (tick, list, inspect, late, failed, wake) -> pleg_next_request() until none,
 *	pleg_next_event() until none, pleg_next_notice() until none, pleg_next_due() for the timer.
 *
 * Invariants, each held by tests/sim:
 *  - Only what the runtime answered to list and inspect changes a record or the cache.
 *  - Order within a pod: record, inspection, cache entry, events; no event is told before the cache
 *    holds a status at least as new as the state the event tells of.
 *  - A transition that a list or an inspection showed is told exactly once, in order per container,
 *    also when many happen while an inspection is outstanding (they are kept per container up to a
 *    fixed number, beyond which whole died/started pairs are folded and counted).
 *  - An answer whose call started before a newer observation of the same pod ended changes nothing.
 *  - At most one outstanding call per subject and method; a late call occupies its slot until it
 *    answers or fails, and its answer is not believed: it only causes a fresh inspection.
 *  - One pod that hangs (quarantine) delays no other pod's events.
 *  - Times in the cache never go back.
 *
 * docs/internals/pleg.md explains the whole.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/histogram.h"
#include "base/time.h"
#include "model/container.h"
#include "model/event.h"

struct pleg;

struct pleg_config {
	uint64_t relist_period_ns;    /* from the end of one list to the start of the next: 1 s */
	uint64_t relist_threshold_ns; /* unhealthy beyond: 3 min */
	uint64_t list_timeout_ns;     /* deadline of a list call: the kubelet's 2 min */
	uint64_t inspect_timeout_ns;  /* deadline of one inspection call: 10 s */
	uint32_t inspections_max; /* calls in flight at once that are not late: 16; of one pod at
	                                 most a quarter */
	uint32_t late_max;        /* late inspections from which on runs are tried one at a time,
	                                 ever more seldom while they hang; four times as many: none */
	uint32_t containers_max;  /* records in all; more are counted and left out: 100,000 */
	/* `relistPeriod: auto`: the period grows to its maximum while hints can be relied on. */
	bool relist_auto;
	uint64_t relist_period_max_ns; /* 10 s */
};

#define PLEG_CONFIG_DEFAULT                                                                        \
	((struct pleg_config){                                                                     \
		.relist_period_ns = 1 * NSEC_PER_SEC,                                              \
		.relist_threshold_ns = 180 * NSEC_PER_SEC,                                         \
		.list_timeout_ns = 120 * NSEC_PER_SEC,                                             \
		.inspect_timeout_ns = 10 * NSEC_PER_SEC,                                           \
		.inspections_max = 16,                                                             \
		.late_max = 64,                                                                    \
		.containers_max = 100000,                                                          \
		.relist_period_max_ns = 10 * NSEC_PER_SEC,                                         \
	})

int pleg_new(const struct pleg_config *config, struct now now, struct pleg **ret);
struct pleg *pleg_free(struct pleg *pleg);

/* ---- what goes out: calls to make -------------------------------------------------------- */

enum pleg_request_type {
	PLEG_REQUEST_LIST,     /* ListPodSandbox, then ListContainers, of everything */
	PLEG_REQUEST_LIST_POD, /* the same for one pod: by label `pod_uid`, or where it has none by
	                          `sandbox_id` */
	PLEG_REQUEST_INSPECT,  /* ContainerStatus or PodSandboxStatus of `id` */
};

struct pleg_request {
	enum pleg_request_type type;
	uint64_t token; /* names the call in every answer; never 0, never used twice */
	enum container_kind kind;
	const char *id, *pod_uid, *sandbox_id; /* "" if none; valid until the next input */
	uint64_t timeout_ns;
};

bool pleg_next_request(struct pleg *pleg, struct pleg_request *ret);

/* ---- what comes in ----------------------------------------------------------------------- */

/* The time has come to pleg_next_due(), or simply passes. */
void pleg_on_tick(struct pleg *pleg, struct now now);

/* Answer of a LIST or LIST_POD. The source is read during the call only. An unknown or late token
 * is handled (law 5), not an error. */
void pleg_on_list(struct pleg *pleg, uint64_t token, struct list_source *source, struct now now);

/* Answer of an INSPECT. */
void pleg_on_inspect(
	struct pleg *pleg, uint64_t token, const struct container_status *status, struct now now);

enum pleg_failure {
	PLEG_FAILURE_ERROR,     /* the runtime answered with an error */
	PLEG_FAILURE_NOT_FOUND, /* ... that it has no such container: gone since the list */
	PLEG_FAILURE_LOST,      /* no answer and none will come: connection lost, not sent */
};

/* The call ended without an answer that can be used. `message` is kept in the cache entry. */
void pleg_on_failed(struct pleg *pleg, uint64_t token, enum pleg_failure failure,
	const char *message, struct now now);

/* The call passed its deadline and stays open; a later answer or failure has the same token. */
void pleg_on_late(struct pleg *pleg, uint64_t token, struct now now);

/* A hint (law 1): something happened to this container. Starts a series of inspections of its pod
 * (5, 20, 50, 70, 100 ms ... capped) that ends when an inspection shows a change of the container's
 * state or the series is over. Unknown ids cause a relist, 4 a second at most. The next list comes
 * within relist_period_ns in any case. */
void pleg_wake(struct pleg *pleg, const char *container_id, struct now now);

/* Relist on demand of one pod (the kubelet's PLEGOnDemandRelist): LIST_POD, then its inspection even
 * if nothing changed, which is told as PodSync. -ENOENT, -ENOSPC with 200 requests queued. */
int pleg_relist_pod(struct pleg *pleg, const char *pod_uid, struct now now);

/* Whether every source of hints is alive, and the kernel's word agrees with the runtime's about all
 * containers; false until said. With relist_auto the period doubles with every list while that holds
 * and nothing speaks against it, and falls back to relist_period_ns at the first doubt: false here, a
 * call that fails or is late, a quarantine, a list that shows what no hint announced. */
void pleg_on_hints(struct pleg *pleg, bool all_alive_and_agreeing, struct now now);

/* Full relist now instead of at the end of the period; nothing if one is under way. */
void pleg_relist_now(struct pleg *pleg, struct now now);

/* ---- what else goes out ------------------------------------------------------------------ */

/* The next event, owned by the caller, without sequence; NULL when there is none. */
struct event *pleg_next_event(struct pleg *pleg);

/* When pleg_on_tick() is wanted next (monotonic), or NSEC_NEVER. */
uint64_t pleg_next_due(const struct pleg *pleg);

/* ---- health ------------------------------------------------------------------------------ */

struct pleg_health {
	bool healthy;
	/* The kubelet's words without its prefix "PLEG is not healthy: ": "pleg was last seen active
	 * 3m5s ago; threshold is 3m0s", "pleg has yet to be successful"; "" when healthy. */
	char message[160];
	bool has_listed;             /* one full list has succeeded */
	uint64_t last_relist_age_ns; /* since the start of the last successful list */
	uint64_t last_relist_ns;     /* how long that took */
	uint32_t pods, containers, sandboxes;
	uint32_t running, exited, created,
		unknown; /* containers only, by the runtime's last word */
	uint32_t quarantined;
	/* Inspections were due for longer than the threshold and none has succeeded. */
	bool inspections_starved;
	uint64_t inspections_starved_age_ns; /* since the first due one after the last success; 0 */
};

void pleg_health(const struct pleg *pleg, struct now now, struct pleg_health *ret);

/* A relist in which every pod has changed, as long before it happens as can be. */
struct pleg_prediction {
	uint64_t
		list_ns; /* what the list costs now: the last one, or one that is open for longer */
	bool has_inspected;   /* else there is nothing to predict from */
	uint64_t inspect_ns;  /* one inspection, as they have been of late */
	uint32_t inspections; /* of all containers and sandboxes there are */
	uint64_t relist_ns;   /* all of it, as pleg does it: several side by side */
	uint64_t serial_ns;   /* the same one after another, as a kubelet does it */
	uint64_t threshold_ns;
};

void pleg_predict(const struct pleg *pleg, struct now now, struct pleg_prediction *ret);

struct pleg_stats {
	uint64_t relists, relists_failed, relists_late;
	uint64_t inspections, inspections_failed, inspections_late;
	uint64_t events, events_folded; /* folded: died/started pairs, see above */
	uint64_t entries_described;     /* full decodes of list entries: new ids only */
	uint64_t entries_malformed;     /* no id, duplicate id */
	uint64_t entries_over_limit;
	uint64_t late_answers_ignored;
	uint64_t relist_period_ns; /* at present */
	struct histogram relist_duration, relist_interval, pod_relist_duration;
};

const struct pleg_stats *pleg_stats(const struct pleg *pleg);

/* ---- records and cache ------------------------------------------------------------------- */

struct pleg_container {
	const char *id, *sandbox_id, *name;
	enum container_kind kind;
	enum container_state state;   /* the runtime's last word */
	enum container_detail detail; /* the same */
	uint32_t attempt;
	int64_t created_at_ns;
	const struct container_status *status; /* last inspection, or NULL */
};

struct pleg_pod {
	/* `uid`: the label, or where the runtime has none the id of the sandbox or container that is
	 * the pod; events and every pod_uid below name the pod the same way. */
	const char *uid, *name, *namespace;
	bool quarantined;
	uint64_t quarantined_since_ns; /* monotonic */
	const char *inspect_error;     /* of the last inspection; NULL if it succeeded */
	const char *stuck_id;          /* subject of the call it hangs in, or NULL */
	uint64_t status_at_ns;         /* monotonic time of the cache entry; 0: none yet */
	uint64_t observed_at_ns;       /* start of the last list or inspection that covers it */
	int64_t created_at_ns;
	size_t container_count;
	const struct pleg_container *containers; /* sandboxes first, then by creation */
};

/* Iteration in order of creation; start with *cursor = 0. What it points to is valid until the next
 * input. false at the end. */
bool pleg_next_pod(const struct pleg *pleg, size_t *cursor, struct pleg_pod *ret);
bool pleg_find_pod(const struct pleg *pleg, const char *uid, struct pleg_pod *ret);

/*
 * "Newer than t" as a subscription, not as a block (the kubelet's GetNewerThan): a notice comes when
 * the pod's cache entry is newer than `newer_than_ns`, or the pod is known to be unchanged (or not to
 * exist) by a list that started after it. Each id is noticed once. -ENOSPC at 10,000.
 */
int pleg_subscribe(struct pleg *pleg, const char *pod_uid, uint64_t newer_than_ns, struct now now,
	uint64_t *ret_id);
void pleg_unsubscribe(struct pleg *pleg, uint64_t id);

struct pleg_notice {
	uint64_t subscription;
	bool has_pod;        /* false: the pod does not exist */
	const char *pod_uid; /* valid until the next input */
};

bool pleg_next_notice(struct pleg *pleg, struct pleg_notice *ret);
