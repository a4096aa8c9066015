/*
 * The shared guts of the PLEG: what the files of this room know of each other.
 *
 *	pleg.c     inputs and outputs, when to list
 *	record.c   pods and containers, grouping, paths of states that are not told yet
 *	list.c     a list answer against the records
 *	inspect.c  runs of inspections: fairness, bounds, quarantine, answers
 *	series.c   hints and the series of runs that each starts
 *	diff.c     the table of events
 *	period.c   when the next full list begins
 *	cache.c    statuses, what a reader sees, subscriptions
 *	health.c   the kubelet's words
 *	predict.c  what it would take to inspect everything
 *
 * Order of things is judged by `seq`, which grows with every input and every request, not by the
 * clock: a call is older than an observation exactly if its started_seq is smaller than the
 * observation's seq.
 */
#pragma once

#include <sys/queue.h>

#include "base/str.h"
#include "base/table.h"
#include "model/event-queue.h"
#include "pleg/pleg.h"

#define PATH_STATES        8   /* untold states per container; beyond, cycles are folded */
#define ID_BYTES_MAX       256 /* ids that are longer are malformed */
#define NAME_BYTES_MAX     256 /* names, UIDs, reasons, images: cut */
#define MESSAGE_BYTES_MAX  1024
#define REQUESTS_MAX       200 /* pods that wait for a list of their own (the kubelet's queue) */
#define POD_LISTS_MAX      4   /* of these, calls in flight that are not late */
#define SUBSCRIPTIONS_MAX  10000
#define LATE_FACTOR        4 /* hard cap of late inspections, in units of late_max */
#define TURN_SUBJECTS      4 /* subjects that a pod may send before it is another pod's turn */
#define CONTESTED_MAX      2 /* runs in a row that are thrown away for a contested state */
#define TRIAL_WAIT_MAX_NS  (300 * NSEC_PER_SEC)
#define PACES_MAX          64                   /* inspections whose durations are kept */
#define HINT_RELIST_GAP_NS (50 * NSEC_PER_MSEC) /* least calm before a list that a hint asked for */

struct call {
	uint64_t token; /* 0: no call is open; also the key in pleg.calls */
	uint64_t started_seq, started_ns;
	enum pleg_request_type type;
	bool late;
	bool suspect;          /* of a pod in quarantine */
	bool of_run;           /* the run that sent it still wants the answer */
	struct pod *pod;       /* LIST_POD, INSPECT */
	struct record *record; /* INSPECT */
};

/* A state that was observed and is not told yet. */
struct step {
	int64_t observed_at_ns; /* wall clock */
	uint8_t state;          /* enum container_state, as the kubelet's PLEG sees it */
	bool initial;
};

enum subject {
	SUBJECT_NONE,   /* not part of the run */
	SUBJECT_WANTED, /* to be sent */
	SUBJECT_SENT,   /* its call is open */
	SUBJECT_DONE,   /* answered */
};

struct record {
	/* What an unchanged list touches comes first: one cache line. */
	uint64_t generation;   /* last list that had it */
	uint64_t observed_seq; /* end of the last observation that was applied */
	struct pod *pod;
	enum container_state state;  /* the runtime's last word */
	uint8_t detail, told_detail; /* enum container_detail: its last word, and as it was told */
	bool ghost; /* told gone, kept for its open call only; not in pod->records */
	/* Cleaned, in this allocation. The id is the key in pleg.records. */
	const char *id, *sandbox_id, *name;
	enum container_kind kind;
	uint32_t attempt;
	uint32_t index; /* in pod->records and pod->views; unless ghost */
	int64_t created_at_ns;
	bool labelled;      /* carries the pod's UID as a label, so a list by label must have it */
	bool woken;         /* a hint's series waits for a change */
	uint64_t hinted_ns; /* the last hint, 0: never */
	enum container_state told; /* up to where events have told, as the kubelet's PLEG sees it */
	uint8_t path_len;
	uint8_t run_len; /* as much of the path as the run under way may tell */
	enum subject subject;
	struct step path[PATH_STATES];
	struct container_status *status; /* owned; the cache */
	struct container_status *answer; /* owned; of the run under way */
	struct call call;
};

TAILQ_HEAD(pod_queue, pod);

struct pod {
	/* Cleaned, in this allocation. The key is the UID label or, where the runtime has none, the
	 * sandbox's or container's id; it is the key in pleg.pods_by_key. */
	const char *key, *name, *namespace;
	bool has_uid;
	bool has_sandbox_key; /* without UID: the key is a sandbox's id */
	int64_t created_at_ns;
	uint64_t serial; /* order among equals */
	size_t slot;     /* in pleg->pods */
	/* Sandboxes first, then by creation; both arrays in step. */
	struct record **records;
	struct pleg_container *views;
	uint32_t count, cap, live; /* live: not gone by the last list */
	uint32_t ghosts;
	/* The cache entry. */
	char *error; /* owned, or the constant for out of memory */
	uint64_t status_at_ns, observed_at_ns;
	bool quarantined;
	uint64_t quarantined_since_ns;
	/* Inspection. */
	bool due;       /* a run is wanted, as soon as it may start */
	bool running;   /* a run is under way */
	bool reinspect; /* the last one failed: again after the next list */
	bool doubtful;  /* the last one and the list do not agree: again after the next list */
	bool sync;      /* the next run ends in PodSync if it has nothing else to tell */
	bool run_sync, run_trial;
	bool unsettled;    /* due, running or reinspect: the time of the lists is not this pod's */
	bool queued;       /* in pleg->run_queue */
	uint8_t contested; /* runs in a row that were thrown away */
	bool run_contested;
	bool run_missing;  /* a subject was not found */
	uint32_t run_left; /* subjects without an answer */
	uint32_t run_open; /* calls of this pod in flight, not late */
	uint32_t turn;     /* subjects sent since it came to the head of the queue */
	uint64_t run_started_ns;
	TAILQ_ENTRY(pod) queue_link;
	/* A list of its own. */
	bool requested;
	bool request_timed;
	uint64_t requested_seq, request_started_ns;
	struct call list_call;
	TAILQ_ENTRY(pod) request_link;
	uint64_t listed_seq;  /* end of the last one that was applied */
	uint64_t excluded_ns; /* start of the last full list that did not count for this pod */
	/* The series of a hint. */
	bool in_series;
	uint32_t series_step;
	uint64_t series_base_ns;
	TAILQ_ENTRY(pod) series_link;
};

struct subscription {
	uint64_t id, newer_than_ns;
	bool has_pod; /* of a notice */
	TAILQ_ENTRY(subscription) link;
	char pod_uid[];
};

TAILQ_HEAD(subscription_queue, subscription);

struct pleg {
	struct pleg_config config;
	struct now now; /* of the last input; the monotonic part never goes back */
	uint64_t seq, last_token, last_subscription, last_serial, generation;

	/* Lists. */
	struct call list;
	uint64_t list_due_ns, list_ended_ns, list_started_ns;
	bool list_again; /* an unknown id was hinted at while a list was under way */
	bool hinted;     /* a hint came since the last list began */
	bool hints_good, doubted;
	uint64_t period_ns, hint_list_ns, hint_unknown_ns;
	bool has_listed;
	uint64_t last_seen_ns, last_relist_ns;
	uint64_t listed_seq;  /* end of the last full list that was applied */
	uint64_t observed_ns; /* start of the last full list that was applied whole */
	struct pod_queue requests;
	uint32_t request_count, pod_lists_open;

	/* Records. */
	struct table records, pods_by_key, calls;
	struct pod **pods; /* by creation; holes are NULL */
	size_t pod_slots, pod_cap, pod_count;
	bool pods_unsorted;
	uint32_t visible; /* pods with at least one record */
	uint32_t shown;   /* records that are not ghosts */
	uint32_t counts[2][CONTAINER_UNKNOWN + 1];

	/* Inspections. */
	struct pod_queue run_queue, series;
	uint32_t open, open_suspect, late, runs, quarantined, unsettled, doubtful;
	uint64_t trial_wait_ns, trial_at_ns;
	bool starving;
	uint64_t starving_since_ns, proof_at_ns;
	size_t proof_cursor;
	uint64_t paces[PACES_MAX]; /* how long the last ones took; a ring */
	size_t pace_count;         /* since the start */

	/* What goes out. */
	struct event_queue events;
	struct subscription_queue subscriptions, notices, noticed;
	uint32_t subscription_count;
	struct pleg_stats stats;
};

/* ---- pleg.c ---- */

/* Enters the call in the table. 0 or -ENOMEM. */
int pleg_call_open(struct pleg *pleg, struct call *call);
void pleg_call_close(struct pleg *pleg, struct call *call);

void pleg_input_begin(struct pleg *pleg, struct now now);
void pleg_input_end(struct pleg *pleg);

/* ---- period.c ---- */

void pleg_period_list_started(struct pleg *pleg);
/* One way or another: sets when the next is due. */
void pleg_period_list_ended(struct pleg *pleg);
/* The hints may not be relied on: the short period for the next list. */
void pleg_period_doubt(struct pleg *pleg);
void pleg_period_turn(struct pleg *pleg);
/* A hint of this record; NULL: of an id that is not known. */
void pleg_period_hint(struct pleg *pleg, struct record *record);
/* A full list shows the record in another state. */
void pleg_period_observed(struct pleg *pleg, const struct record *record);

/* ---- record.c ---- */

/* As the kubelet's PLEG sees it: created is unknown. */
enum container_state pleg_state(enum container_state state);
/* What a runtime says, as one of the states that something present can have. */
enum container_state pleg_state_known(enum container_state state);

/* The record of an entry whose id is not known, in its pod, still without a state. -ENOMEM, -EINVAL
 * for an entry that cannot be (malformed id), -ENOSPC. */
int pleg_record_add(struct pleg *pleg, const struct list_entry *entry,
	const struct container_identity *identity, struct record **ret);
/* The pod that such an entry belongs to, or NULL. */
struct pod *pleg_record_pod(const struct pleg *pleg, const struct list_entry *entry,
	const struct container_identity *identity);
/* A ghost comes back. 0 or -ENOMEM. */
int pleg_record_revive(struct pleg *pleg, struct record *record);
/* Told gone: forgotten, or a ghost while its call is open. */
void pleg_record_drop(struct pleg *pleg, struct record *record);
/* The call of a ghost has ended. */
void pleg_record_lay(struct pleg *pleg, struct record *record);

/* What goes with the state was seen. True if it is not what it was. */
bool pleg_record_detail(struct record *record, enum container_detail detail);
/* Something was seen. True if there is one more step to tell. */
bool pleg_record_observe(
	struct pleg *pleg, struct record *record, enum container_state state, bool initial);
/* The first `count` steps were told. */
void pleg_record_told(struct record *record, uint8_t count);

/* Frees the pod if nothing needs it any more. */
void pleg_pod_release(struct pleg *pleg, struct pod *pod);
struct pod *pleg_pod_free(struct pod *pod);
/* Keeps pleg->pods in order and without too many holes; at the end of an input. */
void pleg_pods_tidy(struct pleg *pleg);

/* ---- list.c ---- */

void pleg_list_apply(
	struct pleg *pleg, const struct call *call, struct pod *only, struct list_source *source);

/* ---- inspect.c ---- */

/* A run of the pod is wanted as soon as it may start. */
void pleg_run_want(struct pleg *pleg, struct pod *pod);
/* Puts the pod back in the queue if it has something to do there. */
void pleg_run_requeue(struct pleg *pleg, struct pod *pod);
/* To be called after due, running or reinspect changed. */
void pleg_run_settle(struct pleg *pleg, struct pod *pod);
/* Leaves the queue, forgets the run and all that waits for one. */
void pleg_run_cancel(struct pleg *pleg, struct pod *pod);
bool pleg_run_next(struct pleg *pleg, struct pleg_request *ret);
void pleg_run_answer(struct pleg *pleg, struct call *call, const struct container_status *status);
void pleg_run_failure(
	struct pleg *pleg, struct call *call, enum pleg_failure failure, const char *message);
void pleg_run_late(struct pleg *pleg, struct call *call);
/* The pod has no container left: told at once, the cache entry goes. */
void pleg_run_empty(struct pleg *pleg, struct pod *pod);
/* When a trial run may start, if one waits. */
uint64_t pleg_run_due(const struct pleg *pleg);
/* Inspects a sound pod when those that are due have long had no answer. */
void pleg_run_prove(struct pleg *pleg);

/* ---- predict.c ---- */

/* An inspection has ended with an answer, or is late just now. */
void pleg_predict_note(struct pleg *pleg, const struct call *call);

/* ---- series.c ---- */

void pleg_series_start(struct pleg *pleg, struct record *record);
void pleg_series_stop(struct pleg *pleg, struct pod *pod);
/* Something of the record was told. */
void pleg_series_told(struct pleg *pleg, struct record *record);
void pleg_series_turn(struct pleg *pleg);
uint64_t pleg_series_due(const struct pleg *pleg);

/* ---- diff.c ---- */

/* Tells of the first run_len steps of every record of the pod, all or (-ENOMEM) nothing. Returns the
 * number of events. Records that are told gone are dropped. */
int pleg_diff_tell(struct pleg *pleg, struct pod *pod, bool sync);

/* ---- cache.c ---- */

/* A copy for the cache, cleaned and cut, with the addresses of `old` where an exited sandbox has none
 * of its own any more. NULL when out of memory. */
struct container_status *pleg_status_keep(
	const struct container_status *status, const struct container_status *old);
void pleg_cache_set(struct pleg *pleg, struct pod *pod, const char *error);
void pleg_cache_delete(struct pleg *pleg, struct pod *pod);
/* Start of the last observation that covers the pod. */
uint64_t pleg_cache_observed(const struct pleg *pleg, const struct pod *pod);
/* Notices for who waits for this pod (NULL: for any) after an observation that began then. */
void pleg_cache_notify(struct pleg *pleg, const char *key, uint64_t observed_ns);
void pleg_cache_forget_notices(struct pleg *pleg);
void pleg_cache_done(struct pleg *pleg);
