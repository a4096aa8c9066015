/*
 * Where the API server's word of this node's pods differs from what the runtime and the kernel say, for
 * long enough to be no lag. Pure.
 *
 * Every second or so: begin, each pod of the runtime with its containers, end. A difference is told
 * when it has lasted for what is usual and the list of the API server is known to be so *after* that
 * time; where it is not, pods_judge_wants_list() says that a new list would decide it. So no lag, no
 * silent stream and no API server that is away makes one:
 *
 *  - while the list is old nothing new is told. What was told of a pod that is to be gone stays, for a
 *    uid that was deleted never comes back; of a container it does not, for the API server may have
 *    heard of its end meanwhile;
 *  - a pod whose uid no API server gave (a static one, Docker's, one by hand) is none of its business.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/time.h"
#include "kube/pods.h"

/* Beyond the grace of a pod: for SIGKILL, the unmounts, the kubelet's way to tell of it. */
#define PODS_JUDGE_SETTLE_NS  (10 * NSEC_PER_SEC)
#define PODS_JUDGE_UNKNOWN_NS (40 * NSEC_PER_SEC) /* the usual grace of 30 s and that */
/* A kubelet tells of an end within a second or two. */
#define PODS_JUDGE_DEAD_NS (15 * NSEC_PER_SEC)
#define PODS_JUDGE_MAX     1024u /* differences, with those that are not told yet */

enum pods_difference {
	PODS_DELETED, /* the API server had the pod and has it no more; it lives on */
	PODS_OVERDUE, /* the API server wants it gone, and its time is over */
	PODS_UNKNOWN, /* the API server has no pod of this uid */
	PODS_DEAD,    /* the API server says that a container runs; it is dead */
};
const char *pods_difference_text(enum pods_difference difference); /* "deleted", "overdue", ... */

struct pods_judge;

/* `pods` is borrowed. NULL when out of memory. */
struct pods_judge *pods_judge_new(const struct kube_pods *pods);
struct pods_judge *pods_judge_free(struct pods_judge *judge);
DEFINE_FREEP(struct pods_judge *, pods_judge_free)

/* `kubelet_ns`: since when the kubelet has been at its work (kubelet_since() of the agent), 0 where it
 * is not known. One that has begun anew gives each pod its whole grace again. */
void pods_judge_begin(struct pods_judge *judge, uint64_t kubelet_ns, struct now now);
/* `is_live`: something of it runs, by the kernel, or by the runtime as it is now. `started_ns`: when the
 * last of that was started (monotonic; 0: not known). A pod that is deleted while it starts begins to
 * end only then. */
void pods_judge_pod(struct pods_judge *judge, const char *uid, bool is_live, uint64_t started_ns);
/* `is_dead`: by the kernel, or by the runtime as it is now. */
void pods_judge_container(struct pods_judge *judge, const char *uid, const char *id, bool is_dead);
void pods_judge_end(struct pods_judge *judge);

bool pods_judge_wants_list(const struct pods_judge *judge);
/* How many are told. */
uint32_t pods_judge_count(const struct pods_judge *judge);

struct pods_judge_view {
	enum pods_difference difference;
	uint64_t for_ns; /* since the two words have differed */
};
/* What was told of the pod with this uid, or of the container with this id. False: nothing. */
bool pods_judge_find(const struct pods_judge *judge, const char *key, struct now now,
	struct pods_judge_view *ret);
const struct kube_pods *pods_judge_pods(const struct pods_judge *judge);
