#include "kube/pod.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"

#define MINUTE_NS        (60 * (int64_t)NSEC_PER_SEC)
#define SCHEDULE_LATE_NS (7 * 24 * 60 * MINUTE_NS) /* a Job's first pod comes no later */

static const char *const phases[] = {
	[KUBE_PHASE_UNKNOWN] = "Unknown",
	[KUBE_PHASE_PENDING] = "Pending",
	[KUBE_PHASE_RUNNING] = "Running",
	[KUBE_PHASE_SUCCEEDED] = "Succeeded",
	[KUBE_PHASE_FAILED] = "Failed",
};

const char *kube_phase_text(enum kube_phase phase)
{
	return phases[phase];
}

enum kube_phase kube_phase_parse(const char *text)
{
	for (size_t i = 0; i < ELEMENTS(phases); i++)
		if (str_eq(phases[i], text))
			return (enum kube_phase)i;
	return KUBE_PHASE_UNKNOWN;
}

struct kube_pod *kube_pod_copy(const struct kube_pod *pod)
{
	size_t size = sizeof(*pod) + pod->container_count * sizeof(*pod->containers) +
		strlen(pod->namespace) + strlen(pod->name) + strlen(pod->uid) +
		strlen(pod->runtime_uid) + strlen(pod->owner) + 5;
	struct kube_pod_container *containers;
	struct kube_pod *copy;
	char *at;

	for (size_t i = 0; i < pod->container_count; i++)
		size += strlen(pod->containers[i].id) + 1;
	copy = mem_alloc(size);
	if (!copy)
		return NULL;
	*copy = *pod;
	containers = (struct kube_pod_container *)(copy + 1);
	at = (char *)(containers + pod->container_count);
	for (size_t i = 0; i < pod->container_count; i++)
		containers[i] = (struct kube_pod_container){ str_put(&at, pod->containers[i].id),
			pod->containers[i].state };
	copy->containers = containers;
	copy->namespace = str_put(&at, pod->namespace);
	copy->name = str_put(&at, pod->name);
	copy->uid = str_put(&at, pod->uid);
	copy->runtime_uid = str_put(&at, pod->runtime_uid);
	copy->owner = str_put(&at, pod->owner);
	return copy;
}

/* ---- owners ------------------------------------------------------------------------------------- */

/* What stands before "-SUFFIX", as a length; 0: it does not end so. */
static size_t length_before(const char *name, const char *suffix)
{
	size_t len = strlen(name), tail = strlen(suffix);

	if (tail == 0 || len < tail + 2 || name[len - tail - 1] != '-' ||
		!str_eq(name + len - tail, suffix))
		return 0;
	return len - tail - 1;
}

/* A CronJob names its Jobs after itself and the minute since the epoch that they were due at; nothing
 * else at a pod tells of it. A number that is not a minute shortly before the pod was made (a date, a
 * build) is part of the name of a Job of its own. */
static size_t length_of_cron_job(const char *job, int64_t created_ns)
{
	const char *digits = strrchr(job, '-');
	uint64_t minute;
	int64_t due_ns;

	if (!digits || digits == job || strlen(digits + 1) != 8 ||
		str_to_u64(digits + 1, &minute) < 0)
		return 0;
	due_ns = (int64_t)minute * MINUTE_NS;
	if (due_ns > created_ns + MINUTE_NS || due_ns < created_ns - SCHEDULE_LATE_NS)
		return 0;
	return (size_t)(digits - job);
}

/*
 * A Deployment's pods are controlled by a ReplicaSet, which no person ever made: they know the
 * Deployment, and that is what they have to mend. The Deployment's controller names the ReplicaSet
 * DEPLOYMENT-HASH and puts the same hash on the pods as a label, so the pod alone tells the name: no
 * request per owner, and no right to read ReplicaSets. A ReplicaSet that somebody made by hand lacks
 * the label, or the hash in its name, and stands for itself.
 */
const char *kube_owner_text(char out[KUBE_OWNER_MAX], const struct kube_owner *owner)
{
	const char *kind = str_or_empty(owner->kind), *name = str_or_empty(owner->name);
	size_t len;

	out[0] = '\0';
	if (!*kind || !*name)
		return out;
	if (str_eq(kind, "ReplicaSet") &&
		(len = length_before(name, str_or_empty(owner->template_hash))) > 0)
		kind = "Deployment";
	else if (str_eq(kind, "Job") && (len = length_of_cron_job(name, owner->created_ns)) > 0)
		kind = "CronJob";
	else
		len = strlen(name);
	return str_format(out, KUBE_OWNER_MAX, "%s/%.*s", kind, (int)len, name);
}
