/*
 * Which pods of a node a drain takes, and why one that was to go has not gone. Pure: who asks the
 * API server is drain/drain.c.
 *
 * The order and meaning of the first part are kubectl's, and so are its short messages, which people
 * search for: what belongs to a DaemonSet, what has no controller and what keeps data in an emptyDir
 * is not touched unless told; mirror pods never; a pod that has finished always.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* Who controls a pod, as far as a drain cares. */
enum drain_owner {
	DRAIN_OWNER_NONE,
	DRAIN_OWNER_OTHER,
	DRAIN_OWNER_DAEMONSET,
	DRAIN_OWNER_DAEMONSET_GONE, /* named, but not there */
};

struct drain_pod {
	enum drain_owner owner;
	bool is_mirror;     /* of a static pod: the kubelet's own, the API server cannot end it */
	bool is_finished;   /* Succeeded or Failed */
	bool has_empty_dir; /* data that goes with it */
};

struct drain_flags {
	bool ignore_daemonsets, delete_emptydir_data, force;
};

enum drain_action {
	DRAIN_TAKE,
	DRAIN_SKIP,
	DRAIN_REFUSE, /* nothing is drained until the flag is given */
};

/* Why; several may hold of a pod that is taken. */
enum drain_why {
	DRAIN_WHY_DAEMONSET,
	DRAIN_WHY_DAEMONSET_GONE,
	DRAIN_WHY_LOCAL_DATA,
	DRAIN_WHY_UNMANAGED,
	DRAIN_WHY_COUNT,
};

struct drain_verdict {
	enum drain_action action;
	unsigned why; /* bits: 1u << enum drain_why */
};

struct drain_verdict drain_judge(const struct drain_pod *pod, const struct drain_flags *flags);
/* What stands before the list of pods: a warning where they are taken or skipped, else the error. */
const char *drain_warning(enum drain_why why);
const char *drain_refusal(enum drain_why why);

/* ---- why it is still there --------------------------------------------------------------- */

enum drain_stay {
	DRAIN_STAY_UNASKED,   /* its turn has not come */
	DRAIN_STAY_BUDGET,    /* a disruption budget refuses (429) */
	DRAIN_STAY_REFUSED,   /* the API server refuses for another reason */
	DRAIN_STAY_GRACE,     /* it may still use its grace period */
	DRAIN_STAY_STUCK,     /* the doctor of this node has a finding on it */
	DRAIN_STAY_FINALIZER, /* ended, and somebody's finalizer keeps the object */
	DRAIN_STAY_KUBELET,   /* over its time, nothing more is known here */
};

struct drain_left {
	const char *namespace, *name;
	bool is_accepted;         /* its eviction was */
	bool is_deletion;         /* it was deleted, not evicted */
	bool is_namespace_ending; /* so it is refused; the namespace's deletion takes it */
	unsigned http;            /* last answer to it; 0: none */
	const char *answer;       /* its text; NULL: none */
	int64_t deadline_ns;   /* deletionTimestamp, grace period included; 0: not being deleted */
	int64_t now_ns;        /* the same clock */
	const char *finalizer; /* the first one; NULL: none */
	bool is_here;          /* we stand on its node */
	const char *cause, *summary; /* of a finding; NULL: none */
	const char *force_refused;   /* why --force-stuck did not; NULL: it was not tried */
};

enum drain_stay drain_stay_of(const struct drain_left *left);
const char *drain_stay_name(enum drain_stay stay); /* "budget", "finalizer", ... */
/* What is the matter, one sentence, and what to do. 0, -ENOMEM, -EMSGSIZE. */
int drain_explain(const struct drain_left *left, struct buf *what, struct buf *advice);
