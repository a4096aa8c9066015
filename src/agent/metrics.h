/*
 * /metrics: Prometheus text 0.0.4. The kubelet's names where it has one, ours with the prefix pleg_
 * beside them. docs/internals/metrics.md says what each means, and why a job that scrapes the kubelet
 * must not scrape pleg under the same name.
 *
 * Pure: a view of values goes in, text comes out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/hints.h"
#include "base/buf.h"
#include "base/histogram.h"
#include "base/time.h"
#include "kube/pods-judge.h"
#include "model/api-server.h"
#include "model/event.h"
#include "node/node.h"
#include "pleg/pleg.h"
#include "runtime/runtime.h"

#define METRICS_EVENT_TYPES (EVENT_POD_SYNC + 1)

struct metrics_call {
	const char *method;  /* "ContainerStatus" */
	uint64_t max_age_ns; /* of its open calls */
};

struct metrics_role {
	const char *name;
	bool up;
	uint64_t restarts, memory_bytes;
};

struct findings;
struct reporter_status;

struct metrics_view {
	struct now now;
	const struct pleg_health *health;
	const struct pleg_prediction *prediction;
	const struct pleg_stats *stats;
	uint32_t running_pods; /* with a running sandbox */
	const struct node_status *node;
	const struct runtime_operation *operations;
	size_t operation_count;
	const struct metrics_call *calls; /* methods with open calls; the ones pleg lives by are
	                                     always told, with 0 */
	size_t call_count;
	uint64_t calls_open, calls_late;
	uint64_t events[METRICS_EVENT_TYPES][2]; /* [type][confirmed] */
	uint64_t events_dropped, events_missed;
	const struct hints_state *hints;
	const struct histogram *loop_lag;
	uint64_t loop_lag_max_ns;
	uint64_t control_clients, control_streams, control_refused; /* the last: since the start */
	const struct metrics_role *roles;
	size_t role_count;
	uint64_t probes_stuck; /* now; the others since the start */
	uint64_t probes_answered, probes_late, probes_refused;
	const struct findings *findings; /* NULL: nobody has looked yet */
	uint64_t incidents_opened, incidents_closed;
	uint64_t samples, samples_failed, sample_gaps; /* of evidence; gaps of the newest */
	uint64_t sample_ns, sample_cost_ns;            /* the newest */
	const char *journal_state;
	uint64_t journal_waiting, journal_dropped, journal_written;
	const struct reporter_status *cluster; /* NULL: nothing is told to an API server */
	const struct api_server *api_server;   /* NULL: none, or nothing was asked of it yet */
	const struct pods_judge *api;          /* NULL: nothing is asked of one */
	uint64_t agent_memory_bytes;
	uint64_t log_dropped;
};

/* Appends all of it: 0, -ENOMEM or -EMSGSIZE. */
int metrics_write(const struct metrics_view *view, struct buf *out);
