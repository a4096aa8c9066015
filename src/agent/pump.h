/*
 * The pump between the pure rooms and the runtime: executes what pleg requests, feeds the answers
 * back, moves events into the sync loop, gathers the facts for the node's verdict, and says in the
 * log what has changed, once.
 *
 * It has the runtime, and keeps asking it Version (the keepalive: containerd takes no client PINGs)
 * and Status, each at most once at a time. Nothing here waits.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "agent/hints.h"
#include "agent/kubelet.h"
#include "agent/timer.h"
#include "base/err.h"
#include "base/mem.h"
#include "model/event.h"
#include "node/node.h"
#include "pleg/pleg.h"
#include "runtime/runtime.h"
#include "sync/sync.h"

#define PUMP_VERSION_PERIOD_NS (10 * NSEC_PER_SEC)
#define PUMP_STATUS_PERIOD_NS  (5 * NSEC_PER_SEC)

struct pump;

struct pump_options {
	sd_event *loop;
	struct pleg *pleg; /* these are borrowed */
	struct sync_loop *events;
	struct node *node;
	struct kubelet *kubelet;
	struct timer_lag *lag;
	uint64_t request_timeout_ns; /* of Version and Status */
	uint64_t node_update_ns;     /* the verdict is worked out at least so often */
	uint64_t relist_threshold_ns;
	uint32_t containers_max;            /* as PLEG's */
	bool is_once;                       /* no daemon: one look */
	void (*on_events)(void *userdata);  /* something was added to the sync loop */
	void (*on_relist)(void *userdata);  /* the first list has ended, well or badly */
	void (*on_verdict)(void *userdata); /* what a person would want to know has changed */
	void *userdata;
};

int pump_new(const struct pump_options *options, struct pump **ret);
/* Ends the connection; borrowed objects may go after this. */
struct pump *pump_free(struct pump *pump);
DEFINE_FREEP(struct pump *, pump_free)

/* From now on this runtime; the calls to an earlier one are lost, which pleg is told. */
int pump_set_runtime(struct pump *pump, const char *endpoint, struct err *reterr);
/* There is none, for this reason (borrowed until the next change): requests fail with it. */
void pump_set_no_runtime(struct pump *pump, const char *reason);

/* Soon: after something that the verdict depends on. */
void pump_judge_soon(struct pump *pump);
/* Now, so that ages in a document are fresh. */
void pump_judge(struct pump *pump);

struct pump_state {
	const struct runtime *runtime; /* NULL: none */
	const char *name, *version;    /* of the runtime; NULL until it has said */
	const char *link_failure;      /* "" if there is none */
	const char *answer_failure;    /* of the newest call that was answered badly; "" */
	bool has_latency, has_ever_answered;
	uint64_t latency_ns;                    /* of the last Version */
	uint64_t events[EVENT_POD_SYNC + 1][2]; /* by type, by confirmed */
	const struct hints *hints;
};

/* Strings live until the loop goes on. */
void pump_state(const struct pump *pump, struct pump_state *ret);
