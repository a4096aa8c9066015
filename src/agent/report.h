/*
 * The documents of docs/json.md: status and pods. Made from a view of plain values, so that a test
 * can make one up; nothing here calls anything that could take long.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/time.h"
#include "kube/pods-judge.h"
#include "ledger/ledger.h"
#include "model/api-server.h"
#include "node/node.h"
#include "pleg/pleg.h"
#include "runtime/runtime.h"

#define REPORT_CALLS_MAX       64  /* oldest first; a status is for people */
#define REPORT_QUARANTINED_MAX 256 /* names */

struct report_role {
	const char *name, *state;
	pid_t pid; /* 0: none */
	uint64_t restarts, memory_bytes;
};

struct findings;

struct report_journal {
	const char *state, *reason, *note; /* "" if there is none */
	const char *path;                  /* NULL: off */
	uint64_t waiting, dropped, written;
};

struct report_view {
	struct now now;
	/* node */
	const char *node_name;
	struct node_status node;
	enum node_kubelet kubelet;
	const char *kubelet_message;
	/* pleg */
	const struct pleg *pleg;
	struct pleg_health health;
	struct pleg_prediction prediction;
	uint64_t relist_period_ns, relist_threshold_ns;
	/* runtime */
	const struct runtime *runtime;              /* NULL while none is chosen */
	const char *runtime_name, *runtime_version; /* NULL: not known yet */
	const char *endpoint;                       /* NULL: none */
	const char *link_failure;                   /* "" if there is none */
	const char *answer_failure;                 /* "" if there is none */
	bool has_latency;
	uint64_t latency_ns; /* of the last keepalive that was answered */
	/* hints */
	const struct ledger *ledger;         /* NULL: none */
	const struct pods_judge *api;        /* NULL: the API server is not asked */
	const struct api_server *api_server; /* NULL: none is configured, or not asked yet */
	const char *stream, *stream_why;
	const char *stream_source;             /* NULL: none */
	const char *connector, *connector_why; /* the state of the kernel's */
	uint64_t cgroups, cgroup_failures;
	const char *cgroups_why; /* "" or why cgroups could not be watched */
	const char *watch_why;   /* "" or why inits could not be watched */
	uint64_t watched, watch_failures, provisional_open;
	/* doctor */
	const struct findings *findings; /* NULL: nobody has looked yet */
	/* agent */
	const char *epoch; /* NULL: there is no agent */
	pid_t pid;
	int64_t started_at_ns; /* wall clock */
	uint64_t events;
	uint64_t loop_lag_ns;
	const struct report_role *roles;
	size_t role_count;
	/* the control socket: connections and streams among them now, refused since the start */
	uint64_t control_clients, control_streams, control_refused;
	bool has_probe;
	uint64_t probes_stuck, probes_late, probes_refused;
	struct report_journal journal;
	const char *const *warnings;
	size_t warning_count;
};

/* Append one object: 0, -ENOMEM or -EMSGSIZE. */
int report_status(const struct report_view *view, struct buf *out);
/* `ledger` may be NULL: then the kernel has no word; `api`, too: nobody asks the API server. */
int report_pods(const struct pleg *pleg, const struct ledger *ledger, const struct pods_judge *api,
	struct now now, struct buf *out);

/* "ns/a, ns/b and 3 more": whom a person would look at first; "" if nobody. */
const char *report_quarantined(const struct pleg *pleg, char *out, size_t out_size);
