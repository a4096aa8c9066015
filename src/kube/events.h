/*
 * Kubernetes Events about the node and about the pods that an incident hits. The same reason about the
 * same subject is one Event: its count and lastTimestamp grow, its name follows from what it is, so that
 * a pleg that was restarted finds it again. Pure: what happened goes in, requests come out, one at a time.
 *
 *	new ──create──▶ sent ──again──▶ changed ──patch (EVENT_AGAIN_NS apart)──▶ sent
 *	 │ exists already: read, and its count is added      │ gone (the API forgets after an hour): create
 *	told by an earlier run: read ──▶ sent, without a write; or it is gone: new
 *
 * What is critical goes first, then warnings, then the rest, each in the order of its coming: with six
 * writes a minute a storm of warnings takes a quarter of an hour. Bounded: EVENTS_MAX are kept. What has
 * been sent and is old gives way first, then what is not a warning, then what is not critical, then the
 * oldest; what had not been sent is counted as lost.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/time.h"

#define EVENTS_MAX     256u
#define EVENT_AGAIN_NS (60 * NSEC_PER_SEC) /* between two patches of one Event */
#define EVENT_BODY_MAX (16u << 10)

struct kube_event {
	bool is_of_pod; /* else of the node itself, and the next three do not matter */
	const char *namespace, *pod, *pod_uid;
	bool is_warning, is_critical; /* who goes first when much is to be told */
	const char *reason;           /* CamelCase */
	const char *message;          /* cleaned and cut here: kube_message() */
	const char *key;              /* with reason and object: which Event it is */
	int64_t at_ns;                /* wall clock */
	bool is_of_before; /* an earlier run has told it: it is only told if the API has none */
};

struct kube_events;

/* NULL when out of memory. The name is copied. */
struct kube_events *kube_events_new(const char *node_name);
struct kube_events *kube_events_free(struct kube_events *events);
DEFINE_FREEP(struct kube_events *, kube_events_free)

/* 0 or -ENOMEM: then it is lost, and counted. */
int kube_events_add(struct kube_events *events, const struct kube_event *event);

enum kube_events_step {
	EVENT_CREATE, /* POST to the collection, with a body */
	EVENT_READ,   /* GET it: it exists, from before a restart */
	EVENT_PATCH,  /* strategic merge, with a body */
};

struct kube_events_request {
	enum kube_events_step step;
	const char *namespace, *name; /* valid until the answer */
};

/* When there is something to be sent (monotonic; 0: at once), or NSEC_NEVER. */
uint64_t kube_events_due(const struct kube_events *events);
/* The next one, with its body appended to `out`; true: it is under way until kube_events_answer(), false:
 * nothing is due, or no memory for the body. Never while one is under way. */
bool kube_events_next(struct kube_events *events, struct now now, struct kube_events_request *ret,
	struct buf *out);

enum kube_events_answer {
	EVENT_TAKEN,   /* done; for EVENT_READ: `count` and `first_ns` are its */
	EVENT_EXISTS,  /* EVENT_CREATE: there is one of that name */
	EVENT_GONE,    /* EVENT_READ, EVENT_PATCH: there is none */
	EVENT_REFUSED, /* never: it is dropped, and counted as lost */
	EVENT_FAILED,  /* to be tried again */
};
void kube_events_answer(struct kube_events *events, enum kube_events_answer answer, uint32_t count,
	int64_t first_ns, struct now now);

struct kube_events_stats {
	uint32_t kept, waiting; /* waiting: not sent yet, or changed since */
	uint64_t added, lost;
};
void kube_events_stats(const struct kube_events *events, struct kube_events_stats *ret);
