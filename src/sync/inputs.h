/*
 * The typed inputs of node mode: what the kubelet's sync loop selects on, as a queue of requests,
 * one per pod at most. It is the ear; pod workers, in a room of their own, take the requests.
 *
 * What comes in: pods of each source (file, http, api) with ADD, UPDATE, REMOVE, RECONCILE, DELETE;
 * PLEG's events; times at which a worker wants its pod again; the time. What goes out: which pod to
 * sync and all the reasons that came together since it was last taken, and when to clean up.
 *
 * Rules, the kubelet's:
 *  - A pod belongs to the source that added it, and is keyed by UID.
 *  - Housekeeping comes every 2 s, but only once every configured source has delivered; before that
 * a REMOVE asks for nothing either (who is missing may just not have been read yet): housekeeping
 *    finds the pod later.
 *  - Pods that are due are looked for once a second, not before.
 *  - Confirmed events only. ContainerRemoved asks for nothing; ContainerDied also asks for the
 *    container's deletion, and that even of a pod that no source knows.
 *
 * Pure; the caller empties the queue after every input. See docs/internals/sync.md.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/time.h"
#include "model/event.h"

struct sync_inputs;

enum sync_source {
	SYNC_SOURCE_FILE, /* static pods from a directory */
	SYNC_SOURCE_HTTP, /* static pods from a URL */
	SYNC_SOURCE_API,  /* the API server */
};

#define SYNC_SOURCE_BIT(source) (1u << (source))

/* The kubelet's operations (pkg/kubelet/types/pod_update.go). */
enum sync_op {
	SYNC_OP_ADD,       /* new */
	SYNC_OP_UPDATE,    /* its specification changed */
	SYNC_OP_REMOVE,    /* gone from its source: kill what runs */
	SYNC_OP_RECONCILE, /* only the status the source holds differs from ours */
	SYNC_OP_DELETE,    /* has been asked to end gracefully: an update to a worker */
};

/* Reasons of a request, a set; each names what came in. */
enum sync_reason {
	SYNC_REASON_ADD = 1 << 0,
	SYNC_REASON_UPDATE = 1 << 1,
	SYNC_REASON_REMOVE = 1 << 2, /* with `present`: and was added again */
	SYNC_REASON_RECONCILE = 1 << 3,
	SYNC_REASON_DELETE = 1 << 4,
	SYNC_REASON_PLEG = 1 << 5, /* an event of the pod */
	SYNC_REASON_TICK = 1 << 6, /* a worker asked for this time */
	SYNC_REASON_DELETE_CONTAINERS = 1
		<< 7, /* a container died: delete dead ones over the limit;
			 alone: no sync, and the pod may be unknown */
};

/* `sources`: SYNC_SOURCE_BIT()s of those that are configured. `pods_max`: pods held at once. 0,
 * -EINVAL without a source, -ENOMEM. */
int sync_inputs_new(unsigned sources, size_t pods_max, struct now now, struct sync_inputs **ret);
struct sync_inputs *sync_inputs_free(struct sync_inputs *inputs);

/* One pod of one source. -EEXIST: ADD of a UID that is there; -ENOENT: any other operation on a UID
 * that is not there, or is another source's; -ENOSPC over pods_max; -EINVAL: a source that is not
 * configured, an empty UID; -ENOMEM. After an error nothing has changed. */
int sync_inputs_on_pod(
	struct sync_inputs *inputs, enum sync_source source, enum sync_op op, const char *pod_uid);

/* The source has delivered its first complete set, be it empty. */
void sync_inputs_on_source_ready(struct sync_inputs *inputs, enum sync_source source);
bool sync_inputs_all_ready(const struct sync_inputs *inputs);

/* An event of the PLEG. Returns 0 also for what asks for nothing; -ENOSPC or -ENOMEM if the
 * deletion of an unknown pod's container could not be kept, which housekeeping makes good. */
int sync_inputs_on_event(struct sync_inputs *inputs, const struct event *event);

/* A worker wants this pod again at `at_ns` (monotonic), instead of the time it named before;
 * NSEC_NEVER: not at all. Unknown pods are left alone: they were removed meanwhile. */
void sync_inputs_requeue(struct sync_inputs *inputs, const char *pod_uid, uint64_t at_ns);

void sync_inputs_on_tick(struct sync_inputs *inputs, struct now now);

/* When sync_inputs_on_tick() is wanted next, or NSEC_NEVER. */
uint64_t sync_inputs_next_due(const struct sync_inputs *inputs);

enum sync_request_type {
	SYNC_REQUEST_NONE,         /* the queue is empty */
	SYNC_REQUEST_POD,          /* sync `pod_uid` for `reasons` */
	SYNC_REQUEST_HOUSEKEEPING, /* compare everything with everything */
};

struct sync_request {
	enum sync_request_type type;
	unsigned reasons;    /* of SYNC_REASON_* */
	bool present;        /* its source has it now */
	const char *pod_uid; /* valid until the next call that changes the inputs */
};

/* Takes the next request: pods in the order of their first reason, housekeeping behind them.
 * Returns false, with type NONE, when there is none. */
bool sync_inputs_next(struct sync_inputs *inputs, struct sync_request *ret);

struct sync_inputs_stats {
	size_t pods, queued; /* queued: pods with a request */
	uint64_t coalesced;  /* inputs that joined a request that was waiting */
	uint64_t ignored;    /* events that ask for nothing */
};

void sync_inputs_stats(const struct sync_inputs *inputs, struct sync_inputs_stats *ret);
