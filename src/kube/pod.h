/*
 * A pod as the API server has it, as far as this node's pleg asks: who it is, whose it is, whether it
 * is to be gone, and what the API says of its containers. Plain, small, pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KUBE_POD_CONTAINERS_MAX 32u  /* of one pod, of all kinds; what is more is left out */
#define KUBE_POD_TEXT_MAX       253u /* bytes of a name, a uid, an id */
#define KUBE_POD_GRACE_MAX      (7u * 24 * 3600)
#define KUBE_OWNER_MAX          (2 * KUBE_POD_TEXT_MAX + 2)

enum kube_phase {
	KUBE_PHASE_UNKNOWN, /* none, or one that nobody knows */
	KUBE_PHASE_PENDING,
	KUBE_PHASE_RUNNING,
	KUBE_PHASE_SUCCEEDED,
	KUBE_PHASE_FAILED,
};

const char *kube_phase_text(enum kube_phase phase); /* "Running", as the API has it */
enum kube_phase kube_phase_parse(const char *text);

enum kube_run {
	KUBE_RUN_WAITING, /* or nothing is said */
	KUBE_RUN_RUNNING,
	KUBE_RUN_TERMINATED,
};
#define KUBE_RUNS (KUBE_RUN_TERMINATED + 1)

struct kube_pod_container {
	const char *id; /* as the runtime has it, without "containerd://"; never "" */
	enum kube_run state;
};

struct kube_pod {
	const char *namespace, *name, *uid;
	/* What the runtime has as its uid: of the mirror of a static pod the hash of that pod's file. */
	const char *runtime_uid;
	const char *owner; /* "Deployment/web"; "": nobody controls it */
	enum kube_phase phase;
	bool is_deleting;
	/* By when it should be gone, by the API server's clock; 0: not said. */
	int64_t deletion_ns;
	uint32_t grace_s; /* what its processes get to end by themselves */
	size_t container_count;
	const struct kube_pod_container *containers;
};

/* Deep copy in one allocation, to be freed with mem_free(); NULL when out of memory. */
struct kube_pod *kube_pod_copy(const struct kube_pod *pod);

struct kube_owner {
	const char *kind, *name;   /* of the reference that controls the pod */
	const char *template_hash; /* the pod's label pod-template-hash, or NULL */
	int64_t created_ns;        /* the pod's, 0: not said */
};

/* Whom people know as the pod's owner: "Deployment/web" for a pod of its ReplicaSet web-5d4f8, and
 * "CronJob/backup" for one of its Job. "" if nobody controls it. Returns `out`. */
const char *kube_owner_text(char out[KUBE_OWNER_MAX], const struct kube_owner *owner);
