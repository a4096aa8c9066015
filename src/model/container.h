/*
 * Containers and sandboxes as a runtime tells of them: the entry of a list and the answer of an
 * inspection. Sandboxes are treated as containers of another kind, as the kubelet's PLEG does.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum container_kind {
	CONTAINER_KIND_CONTAINER,
	CONTAINER_KIND_SANDBOX, /* the pod's own "pause" container */
};

/* The runtime's word. A sandbox is RUNNING when READY and EXITED when NOTREADY. */
enum container_state {
	CONTAINER_GONE,    /* not in the list: the kubelet's "non-existent" */
	CONTAINER_CREATED, /* exists, not started; the kubelet's PLEG takes it for unknown */
	CONTAINER_RUNNING,
	CONTAINER_EXITED,
	CONTAINER_UNKNOWN, /* the runtime says so, or said something we do not know */
};

/* What a runtime (Docker) adds to that word. */
enum container_detail {
	CONTAINER_PLAIN,
	CONTAINER_PAUSED,     /* running, and frozen on purpose */
	CONTAINER_RESTARTING, /* ended, and waits for its next life */
	CONTAINER_REMOVING,   /* ended, and being taken away */
	CONTAINER_DEAD,       /* ended, and could not be taken away */
};

const char *container_kind_text(enum container_kind kind);       /* "container", "sandbox" */
const char *container_state_text(enum container_state state);    /* "running", ... */
const char *container_detail_text(enum container_detail detail); /* "" if plain, "paused", ... */

/* One line of a list, found by a scan: everything points into the answer. */
struct list_entry {
	enum container_kind kind;
	enum container_state state;
	enum container_detail detail;
	struct slice id;
	struct slice sandbox_id; /* of a container; empty for a sandbox */
	struct slice raw;        /* the whole entry, for list_source.describe */
};

/* Who an entry is; decoded only for ids that were not known. Never changes for an id. */
struct container_identity {
	struct slice namespace;
	struct slice pod;
	struct slice pod_uid;   /* empty where the runtime has none */
	struct slice container; /* its name; empty for a sandbox */
	uint32_t attempt;
	int64_t created_at_ns; /* wall clock, 0 if unknown */
};

/*
 * A complete list answer: all sandboxes first, then all containers. It was validated before it is
 * handed out, so reading cannot fail half-way.
 */
struct list_source {
	/* false at the end. */
	bool (*next)(struct list_source *source, struct list_entry *ret);
	/* Slices of `ret` are valid as long as the source. Missing fields are empty. */
	void (*describe)(struct list_source *source, const struct list_entry *entry,
		struct container_identity *ret);
};

/* What an inspection (ContainerStatus, PodSandboxStatus) answered. */
struct container_status {
	enum container_kind kind;
	enum container_state state;
	enum container_detail detail;
	const char *id;
	int64_t created_at_ns, started_at_ns,
		finished_at_ns; /* wall clock, 0: not yet or unknown */
	int32_t exit_code;      /* meaningful when has_exit_code */
	bool has_exit_code;
	int32_t init_pid; /* of a running one, where the runtime tells it (Docker); 0 */
	/* How often it was started again under this id, and when the life before this one ended, where
	 * one id has several (Docker); 0. */
	uint32_t restarts;
	int64_t ended_before_ns;
	const char *reason, *message, *image; /* "" if none */
	const char *const *ips;               /* of a sandbox */
	size_t ip_count;
};

#define CONTAINER_IPS_MAX 16

/* Deep copy in one allocation, to be freed with mem_free(); NULL when out of memory. */
struct container_status *container_status_copy(const struct container_status *status);
