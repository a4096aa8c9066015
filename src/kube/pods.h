/*
 * The pods of this node as the API server has told them: by a list, then by what changes. Pure.
 *
 *	begin, put..., end      a list: what it does not hold is gone
 *	put, remove             what has changed since
 *	heard                   all that had changed until now was told
 *	away, open              the server does not tell any more: all of it is old; it does again
 *
 * A pod that is deleted is kept, marked, for as long as the runtime may have it: its owner and its
 * grace are still asked for. At most KUBE_PODS_MAX are kept, KUBE_PODS_GONE_MAX of the deleted ones.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/time.h"
#include "kube/pod.h"

#define KUBE_PODS_MAX      500u
#define KUBE_PODS_GONE_MAX 64u

struct kube_pods;

struct kube_pods *kube_pods_new(void); /* NULL when out of memory */
struct kube_pods *kube_pods_free(struct kube_pods *pods);
DEFINE_FREEP(struct kube_pods *, kube_pods_free)

/* A list is asked for now: what it will say is as of now. */
void kube_pods_begin(struct kube_pods *pods, struct now now);
/* 0, -ENOMEM, or -ENOSPC: one too many, counted. Copied. */
int kube_pods_put(struct kube_pods *pods, const struct kube_pod *pod, struct now now);
void kube_pods_remove(struct kube_pods *pods, const char *uid, struct now now);
void kube_pods_end(struct kube_pods *pods, struct now now);
/* The server has said that there is nothing else up to now: a bookmark. */
void kube_pods_heard(struct kube_pods *pods, struct now now);
/* `why` is for people, copied. */
void kube_pods_away(struct kube_pods *pods, const char *why);
/* It tells again from where it was; what has changed meanwhile may be still to come. */
void kube_pods_open(struct kube_pods *pods);

struct kube_pod_view {
	const struct kube_pod *pod;
	uint64_t gone_ns;     /* monotonic: when its deletion was told; 0: the API server has it */
	uint64_t deleting_ns; /* monotonic: when it was first told that it is to go; 0: it is not */
};

/* By what the runtime has as its uid; valid until the next change. False: never heard of. */
bool kube_pods_find(
	const struct kube_pods *pods, const char *runtime_uid, struct kube_pod_view *ret);
/* In no particular order; start with *cursor = 0. */
bool kube_pods_next(const struct kube_pods *pods, size_t *cursor, struct kube_pod_view *ret);
/* Nobody asks for this one any more: drops it if it is deleted. */
void kube_pods_forget(struct kube_pods *pods, const char *runtime_uid);

enum kube_pods_state {
	KUBE_PODS_NONE, /* no list has come to its end yet */
	KUBE_PODS_CURRENT,
	KUBE_PODS_OLD, /* as they were at `as_of_ns` */
};
const char *kube_pods_state_text(enum kube_pods_state state); /* "none", "current", "old" */

struct kube_pods_status {
	enum kube_pods_state state;
	const char *why; /* why it is not current; "" */
	uint32_t count;  /* that the API server has */
	uint32_t left_out;
	uint64_t as_of_ns; /* monotonic: when all of it was so for sure; 0: never */
};
void kube_pods_status(const struct kube_pods *pods, struct kube_pods_status *ret);
