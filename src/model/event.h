/*
 * A pod lifecycle event, as the contract in docs/json.md has it. One allocation, immutable once
 * made; owned by whoever holds the pointer.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "model/container.h"

/* The kubelet's types (pkg/kubelet/pleg/pleg.go). */
enum event_type {
	EVENT_CONTAINER_STARTED,
	EVENT_CONTAINER_DIED,
	EVENT_CONTAINER_REMOVED,
	EVENT_CONTAINER_CHANGED, /* never part of the kubelet's stream */
	EVENT_POD_SYNC,
};

enum event_source {
	EVENT_SOURCE_RELIST, /* the runtime's list or inspection */
	EVENT_SOURCE_STREAM, /* only the runtime's event stream saw it: a start, seldom an end */
	EVENT_SOURCE_KERNEL, /* the kernel ledger: provisional, or a death the runtime never shows */
};

struct event {
	uint64_t sequence; /* given by the sync loop, from 1 without gaps within an epoch */
	uint64_t confirms; /* sequence of the provisional event this one confirms; 0: none */
	enum event_type type;
	enum container_kind kind;
	enum container_detail detail; /* of the container when it was observed */
	enum event_source source;
	bool confirmed; /* false: provisional, from the kernel ledger */
	bool initial;   /* found by the first relist after a start */
	bool has_exit_code, has_signal;
	int32_t exit_code, signal;
	uint32_t attempt;
	int64_t occurred_at_ns; /* wall clock; 0 if nobody knows */
	int64_t observed_at_ns; /* wall clock */
	/* Never NULL, "" where there is none. PodSync has neither container nor ids. */
	const char *namespace, *pod, *pod_uid, *container, *container_id, *sandbox_id;
};

/* Copies `fields` and its strings into one block; NULL when out of memory. */
struct event *event_new(const struct event *fields);
struct event *event_free(struct event *event);

/* Part of what a kubelet's PLEG would have sent: confirmed, from the authority, not Changed. */
bool event_is_kubelets(const struct event *event);

const char *event_type_text(enum event_type type);
const char *event_source_text(enum event_source source);
