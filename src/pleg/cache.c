/*
 * The cache: what was last inspected of each pod, with error and time, and who waits for it to become
 * newer.
 *
 * Two times belong to a pod: that of its entry (start of the run, or of the run that failed), and the
 * start of the last list that covers it. The second is one value for all pods that have nothing
 * pending, so that an unchanged list costs nothing per pod. Neither goes back.
 */
#include "pleg/pleg-internal.h"

#include <errno.h>

#include "base/mem.h"

static char error_no_memory[] = "Out of memory";

/* ---- statuses ---------------------------------------------------------------------------- */

struct container_status *pleg_status_keep(
	const struct container_status *status, const struct container_status *old)
{
	char reason[NAME_BYTES_MAX + 1], message[MESSAGE_BYTES_MAX + 1], image[NAME_BYTES_MAX + 1];
	const char *s;
	struct container_status kept = *status;

	s = str_or_empty(status->reason);
	kept.reason = str_clean(reason, sizeof(reason), s, strlen(s));
	s = str_or_empty(status->message);
	kept.message = str_clean(message, sizeof(message), s, strlen(s));
	s = str_or_empty(status->image);
	kept.image = str_clean(image, sizeof(image), s, strlen(s));
	if (kept.kind == CONTAINER_KIND_SANDBOX && kept.state != CONTAINER_RUNNING &&
		kept.ip_count == 0 && old) {
		kept.ips = old->ips;
		kept.ip_count = old->ip_count;
	}
	return container_status_copy(&kept);
}

/* ---- entries ----------------------------------------------------------------------------- */

static void error_free(struct pod *pod)
{
	if (pod->error != error_no_memory)
		(void)mem_free(pod->error);
	pod->error = NULL;
}

void pleg_cache_set(struct pleg *pleg, struct pod *pod, const char *error)
{
	char text[MESSAGE_BYTES_MAX + 1];

	error_free(pod);
	if (error) {
		pod->error = mem_strdup(str_clean(text, sizeof(text), error, strlen(error)));
		if (!pod->error)
			pod->error = error_no_memory;
	}
	if (pod->status_at_ns < pod->run_started_ns)
		pod->status_at_ns = pod->run_started_ns;
}

void pleg_cache_delete(struct pleg *pleg, struct pod *pod)
{
	error_free(pod);
	pod->status_at_ns = 0;
}

uint64_t pleg_cache_observed(const struct pleg *pleg, const struct pod *pod)
{
	if (pod->unsettled || pleg->observed_ns <= pod->excluded_ns ||
		pod->observed_at_ns > pleg->observed_ns)
		return pod->observed_at_ns;
	return pleg->observed_ns;
}

/* ---- readers ----------------------------------------------------------------------------- */

static const char *pod_stuck_id(const struct pod *pod)
{
	if (!pod->quarantined)
		return NULL;
	for (uint32_t i = 0; i < pod->count; i++)
		if (pod->records[i]->call.late)
			return pod->records[i]->id;
	return NULL;
}

static void pod_show(const struct pleg *pleg, const struct pod *pod, struct pleg_pod *ret)
{
	*ret = (struct pleg_pod){
		.uid = pod->key,
		.name = pod->name,
		.namespace = pod->namespace,
		.quarantined = pod->quarantined,
		.quarantined_since_ns = pod->quarantined_since_ns,
		.inspect_error = pod->error,
		.stuck_id = pod_stuck_id(pod),
		.status_at_ns = pod->status_at_ns,
		.observed_at_ns = pleg_cache_observed(pleg, pod),
		.created_at_ns = pod->created_at_ns,
		.container_count = pod->count,
		.containers = pod->views,
	};
}

bool pleg_next_pod(const struct pleg *pleg, size_t *cursor, struct pleg_pod *ret)
{
	while (*cursor < pleg->pod_slots) {
		const struct pod *pod = pleg->pods[(*cursor)++];

		if (!pod || pod->count == 0)
			continue;
		pod_show(pleg, pod, ret);
		return true;
	}
	return false;
}

bool pleg_find_pod(const struct pleg *pleg, const char *uid, struct pleg_pod *ret)
{
	const struct pod *pod = table_get_string(&pleg->pods_by_key, uid);

	if (!pod || pod->count == 0)
		return false;
	pod_show(pleg, pod, ret);
	return true;
}

/* ---- subscriptions ----------------------------------------------------------------------- */

/* True if it is time for the notice; `observed_ns` is the start of the last observation that would
 * have shown the pod if it existed. */
static bool subscription_is_met(
	const struct pleg *pleg, struct subscription *s, uint64_t observed_ns)
{
	const struct pod *pod = table_get_string(&pleg->pods_by_key, s->pod_uid);

	s->has_pod = pod && pod->count > 0;
	if (!s->has_pod)
		return observed_ns > s->newer_than_ns;
	if (pod->status_at_ns > s->newer_than_ns)
		return true;
	return !pod->unsettled && pleg_cache_observed(pleg, pod) > s->newer_than_ns;
}

void pleg_cache_notify(struct pleg *pleg, const char *key, uint64_t observed_ns)
{
	struct subscription *s, *next;

	for (s = TAILQ_FIRST(&pleg->subscriptions); s; s = next) {
		next = TAILQ_NEXT(s, link);
		if (key && !str_eq(key, s->pod_uid))
			continue;
		if (!subscription_is_met(pleg, s, observed_ns))
			continue;
		TAILQ_REMOVE(&pleg->subscriptions, s, link);
		TAILQ_INSERT_TAIL(&pleg->notices, s, link);
	}
}

int pleg_subscribe(struct pleg *pleg, const char *pod_uid, uint64_t newer_than_ns, struct now now,
	uint64_t *ret_id)
{
	struct subscription *s;
	size_t len = strlen(pod_uid);

	(void)now; /* nothing about a subscription depends on when it is made */
	if (len > NAME_BYTES_MAX)
		return -EINVAL;
	if (pleg->subscription_count >= SUBSCRIPTIONS_MAX)
		return -ENOSPC;
	s = mem_zalloc(sizeof(*s) + len + 1);
	if (!s)
		return -ENOMEM;
	memcpy(s->pod_uid, pod_uid, len + 1);
	s->newer_than_ns = newer_than_ns;
	s->id = ++pleg->last_subscription;
	pleg->subscription_count++;
	if (subscription_is_met(pleg, s, pleg->observed_ns))
		TAILQ_INSERT_TAIL(&pleg->notices, s, link);
	else
		TAILQ_INSERT_TAIL(&pleg->subscriptions, s, link);
	*ret_id = s->id;
	return 0;
}

static void subscription_free(
	struct pleg *pleg, struct subscription_queue *queue, struct subscription *s)
{
	TAILQ_REMOVE(queue, s, link);
	if (queue != &pleg->noticed)
		pleg->subscription_count--;
	(void)mem_free(s);
}

void pleg_unsubscribe(struct pleg *pleg, uint64_t id)
{
	struct subscription_queue *const queues[] = { &pleg->subscriptions, &pleg->notices };
	struct subscription *s;

	for (size_t i = 0; i < ELEMENTS(queues); i++)
		TAILQ_FOREACH (s, queues[i], link) {
			if (s->id != id)
				continue;
			subscription_free(pleg, queues[i], s);
			return;
		}
}

bool pleg_next_notice(struct pleg *pleg, struct pleg_notice *ret)
{
	struct subscription *s = TAILQ_FIRST(&pleg->notices);

	if (!s)
		return false;
	TAILQ_REMOVE(&pleg->notices, s, link);
	TAILQ_INSERT_TAIL(&pleg->noticed, s, link); /* its text lives until the next input */
	pleg->subscription_count--;
	*ret = (struct pleg_notice){
		.subscription = s->id,
		.has_pod = s->has_pod,
		.pod_uid = s->pod_uid,
	};
	return true;
}

static void queue_done(struct pleg *pleg, struct subscription_queue *queue)
{
	while (!TAILQ_EMPTY(queue))
		subscription_free(pleg, queue, TAILQ_FIRST(queue));
}

void pleg_cache_forget_notices(struct pleg *pleg)
{
	queue_done(pleg, &pleg->noticed);
}

void pleg_cache_done(struct pleg *pleg)
{
	queue_done(pleg, &pleg->subscriptions);
	queue_done(pleg, &pleg->notices);
	queue_done(pleg, &pleg->noticed);
}
