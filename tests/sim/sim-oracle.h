/* What the oracle's files know of each other; see sim-oracle.c. */
#pragma once

#include "sim.h"

#define QUEUE_KEPT   8  /* steps that PLEG must keep apart */
#define ANSWERS_KEPT 16 /* inspections remembered per container */
#define CONTESTED    2  /* contradictions after which an inspection is believed as it is */

struct step {
	enum container_state state; /* created counts as unknown */
	bool initial, by_inspect;
	uint64_t seq, ns; /* when it was shown */
	int64_t real_ns;
};

struct answer {
	enum container_state state;
	bool has_exit_code, late, not_found;
	int32_t exit_code;
	int64_t started_at_ns, finished_at_ns;
	uint64_t started_seq, ended_seq;
};

/* What the oracle knows of a container. */
struct seen {
	uint32_t pod; /* SIM_NONE: not recorded */
	enum container_state raw, shown, told;
	uint64_t maybe_seq; /* end of an inspection that counted or not: only PLEG knows */
	bool unclear;       /* a list whose turn depends on that has shown `unclear_state` */
	enum container_state unclear_state;
	bool removed_next; /* Died of a container that went was told, Removed comes next */
	uint64_t observed_seq, shown_seq, previous_running_seq; /* shown: the last step */
	uint32_t calls_open;
	struct step *steps;
	uint32_t head, count, cap;
	bool folding, fold_unknown; /* a step to unknown, of which nothing is told, is among them */
	uint32_t budget;            /* steps that may still be told while folding */
	uint64_t event_ns;          /* last event */
	uint64_t step_ns;           /* last step */
	struct answer answers[ANSWERS_KEPT];
	uint32_t answer_count;
	char ip[16]; /* of a sandbox, once the cache had it */
};

struct opod {
	char key[16];
	uint32_t steps;     /* waiting in all its containers, without those to unknown */
	uint32_t live;      /* containers shown */
	uint64_t listed_ns; /* start of the newest observation of this pod alone */
	uint64_t entry_ns;  /* start of the newest inspection that ended, be it with an error, which
	                          makes a new cache entry too, as the kubelet's does */
	uint64_t listed_seq; /* end of the last list of this pod alone */
	uint64_t failed_seq, maybe_failed_seq, trouble_ns;
	uint32_t calls_open, hung_calls, late_calls, contested, syncs_allowed;
	bool sync_wanted, quarantined, due, was_due;
	uint64_t status_at_ns, observed_at_ns;
};

struct wanted_notice {
	uint64_t id, newer_than_ns;
	char uid[16];
};

struct oracle {
	uint64_t seq;
	struct seen seen[WORLD_CONTAINERS_MAX];
	struct opod pods[WORLD_CONTAINERS_MAX];
	uint32_t pod_count, steps;
	uint32_t unclear, folding; /* containers, see there */
	bool listed;
	uint64_t listed_seq; /* end of the last full list */
	uint64_t list_started_ns, list_ended_ns;
	bool list_open;
	/* When the next list may begin, and must have. */
	uint64_t period_ns, wake_ns; /* wake: the first hint since the last list began, or 0 */
	bool hints_good, doubt, list_cause;
	uint64_t left_out, last_token; /* steps that were not told, thanks to folding */
	uint32_t open, late;
	uint64_t full_ns, late_full_ns;
	struct wanted_notice notices[4096];
	uint32_t notice_count;
	/* Surely: the same pod is due all the time; else one may have gone as another came due. */
	uint64_t due_since_ns, surely_due_since_ns, last_success_ns;
	uint32_t raw_counts[2][CONTAINER_UNKNOWN + 1];
};

/* ---- sim-oracle.c ---- */

struct seen *oracle_seen(struct sim *sim, uint32_t container);
const char *oracle_id(const struct sim *sim, uint32_t container);
/* As the kubelet's PLEG sees it: created is unknown. */
enum container_state oracle_state(enum container_state state);
/* SIM_NONE if there is none and none is to be made. */
uint32_t oracle_pod_by_key(struct sim *sim, const char *key, bool make);
uint32_t oracle_container(const struct sim *sim, const char *id);
struct opod *oracle_pod_of(struct sim *sim, uint32_t container);
/* What PLEG shows of it, in *pod, or NULL. */
const struct pleg_container *oracle_view(struct sim *sim, uint32_t container, struct pleg_pod *pod);
void oracle_forget(struct sim *sim, uint32_t container);
void oracle_unfold(struct sim *sim, struct seen *seen);
void oracle_note_full(struct sim *sim);

/* ---- sim-judge.c ---- */

/* The newest answer in time that is what the status says, or NULL. */
const struct answer *oracle_answer(const struct seen *seen, const struct container_status *status);
void oracle_skip_changed(struct sim *sim, struct seen *seen);
const char *oracle_next_text(const struct seen *seen);
void oracle_check_notices(struct sim *sim);

/* ---- sim-check.c ---- */

/* The first step that waits and is told by an event, or NULL. */
const struct step *oracle_first_sent(const struct seen *seen);
