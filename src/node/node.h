/*
 * Node status: what the kubelet's rules say of this node, what pleg says, and how long it has to be
 * calm before Ready is believed again. Pure: facts and the time go in, a verdict comes out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/time.h"

struct node;

struct node_config {
	uint64_t runtime_stale_ns;    /* no Status answered for: the kubelet's 30 s */
	uint64_t stalled_ns;          /* a call in flight for longer is told at once: 2 s */
	uint64_t ready_calm_ns;       /* calm asked for before Ready comes back: 10 s */
	uint64_t ready_calm_max_ns;   /* doubled by each flap within the hour up to: 5 min */
	uint32_t quarantined_percent; /* maxQuarantinedShare: 20 */
	uint32_t quarantined_min;     /* ... and at least: 3 */
};

#define NODE_STALLED_NS (2 * NSEC_PER_SEC)

#define NODE_CONFIG_DEFAULT                                                                        \
	((struct node_config){                                                                     \
		.runtime_stale_ns = 30 * NSEC_PER_SEC,                                             \
		.stalled_ns = NODE_STALLED_NS,                                                     \
		.ready_calm_ns = 10 * NSEC_PER_SEC,                                                \
		.ready_calm_max_ns = 300 * NSEC_PER_SEC,                                           \
		.quarantined_percent = 20,                                                         \
		.quarantined_min = 3,                                                              \
	})

/* One call of ours that has not been answered. */
struct node_call {
	const char *method, *subject;
	uint64_t age_ns;
};

enum node_kubelet {
	NODE_KUBELET_NONE,    /* no kubelet beside us */
	NODE_KUBELET_OK,      /* its healthz answered 200 */
	NODE_KUBELET_FAILING, /* ... something else */
	NODE_KUBELET_SLOW,    /* ... only after the deadline, or not yet */
	NODE_KUBELET_GONE,    /* it was there and refuses connections now */
};

const char *node_kubelet_text(enum node_kubelet kubelet);

/* Everything the verdict is made of; strings are read during the call only, NULL is "". The age and
 * the conditions are those of the last Status that was answered, also while the next one hangs. */
struct node_facts {
	/* PLEG */
	bool pleg_healthy;
	const char *pleg_message; /* without "PLEG is not healthy: " */
	uint32_t pods, quarantined;
	bool inspections_starved;
	uint64_t inspections_starved_age_ns;
	const char *quarantined_names; /* "ns/a, ns/b and 3 more", or "" */
	/* Runtime: its Status method */
	bool status_seen;       /* answered at least once */
	uint64_t status_age_ns; /* since the start of the last one that was answered */
	bool runtime_condition; /* has a RuntimeReady condition */
	bool runtime_ready;
	const char *runtime_reason, *runtime_message;
	bool network_condition;
	bool network_ready;
	const char *network_reason, *network_message;
	/* Why there is no answer: "no such socket /run/...", or "" */
	const char *link_failure;
	/* Why an answer was of no use: "ListContainers: ...", or "" once the same call succeeds */
	const char *answer_failure;
	/* The oldest open call, or NULL; one of the runtime as a whole that hangs goes before those of
	 * containers */
	const struct node_call *oldest_call;
	enum node_kubelet kubelet;
	const char *kubelet_message;
};

/* Times are monotonic. Strings live in the node and change at the next node_update(); they are clean
 * (base/str.h) and cut at 2 KiB. */
struct node_status {
	bool ready;          /* after damping: what pleg says */
	bool ready_undamped; /* the rules alone, now */
	bool degraded;   /* Ready, but something is in quarantine, stalled, unreachable or fails */
	bool stalled;    /* a call is in flight for over stalled_ns */
	bool responsive; /* the runtime answers: no stall, a fresh Status, a link */
	const char *reason;  /* KubeletReady / KubeletNotReady */
	const char *message; /* the kubelet's text where it has one */
	const char *detail; /* ours: what hangs and since when, who is quarantined; "" if nothing */
	uint64_t since_ns;  /* of `ready` */
	uint64_t stalled_since_ns; /* start of the call that hangs; 0: not stalled */
	uint64_t calm_wanted_ns;   /* how long Ready is being held back for in all; 0: not */
	uint64_t calm_so_far_ns;
	uint32_t flaps;          /* ready -> not ready, within the last hour, at most 64 */
	uint64_t transitions;    /* of `ready`, both ways, since the start */
	uint64_t stall_total_ns; /* spent stalled up to the last update, for a counter */
};

/* NotReady until the first node_update(), with what a kubelet says at that time. 0 or -ENOMEM. */
int node_new(const struct node_config *config, struct now now, struct node **ret);
struct node *node_free(struct node *node);

/* Judges the facts. Returns true if something a person would want to be told of changed (ready,
 * degraded, stalled, message class), which the caller then logs. */
bool node_update(struct node *node, const struct node_facts *facts, struct now now);

void node_status(const struct node *node, struct node_status *ret);

/* When the verdict could change by the passing of time alone (a Status or a call grows too old, the
 * calm is over, a flap leaves the hour), or NSEC_NEVER. Of PLEG's threshold pleg_next_due() knows. */
uint64_t node_next_due(const struct node *node);
