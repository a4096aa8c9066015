/*
 * Inputs and outputs of the PLEG, and when to list. See pleg.h for the contract and
 * docs/internals/pleg.md for the whole.
 *
 * Every input begins with pleg_input_begin(), which takes the time and numbers it, and ends with
 * pleg_input_end(), which does what the passing of time alone asks for.
 */
#include "pleg/pleg.h"

#include <errno.h>

#include "base/mem.h"
#include "pleg/pleg-internal.h"

/* ---- life -------------------------------------------------------------------------------- */

int pleg_new(const struct pleg_config *config, struct now now, struct pleg **ret)
{
	struct pleg *pleg = mem_zalloc(sizeof(*pleg));

	if (!pleg)
		return -ENOMEM;
	pleg->config = *config;
	pleg->now = now;
	pleg->list_due_ns = now.mono_ns;
	pleg->list.type = PLEG_REQUEST_LIST;
	pleg->records = TABLE_INIT(config->containers_max);
	pleg->pods_by_key = TABLE_INIT(config->containers_max);
	pleg->calls = TABLE_INIT(config->containers_max + (size_t)REQUESTS_MAX);
	TAILQ_INIT(&pleg->requests);
	TAILQ_INIT(&pleg->run_queue);
	TAILQ_INIT(&pleg->series);
	TAILQ_INIT(&pleg->subscriptions);
	TAILQ_INIT(&pleg->notices);
	TAILQ_INIT(&pleg->noticed);
	pleg->stats.relist_duration = HISTOGRAM_INIT(histogram_def_buckets);
	pleg->stats.relist_interval = HISTOGRAM_INIT(histogram_def_buckets);
	pleg->stats.pod_relist_duration = HISTOGRAM_INIT(histogram_def_buckets);
	*ret = pleg;
	return 0;
}

struct pleg *pleg_free(struct pleg *pleg)
{
	struct record *record;

	if (!pleg)
		return NULL;
	TABLE_FOREACH (record, &pleg->records) {
		(void)mem_free(record->status);
		(void)mem_free(record->answer);
		(void)mem_free(record);
	}
	for (size_t i = 0; i < pleg->pod_slots; i++) {
		if (!pleg->pods[i])
			continue;
		pleg_cache_delete(pleg, pleg->pods[i]);
		(void)pleg_pod_free(pleg->pods[i]);
	}
	(void)mem_free(pleg->pods);
	table_done(&pleg->records);
	table_done(&pleg->pods_by_key);
	table_done(&pleg->calls);
	event_queue_done(&pleg->events);
	pleg_cache_done(pleg);
	return mem_free(pleg);
}

void pleg_input_begin(struct pleg *pleg, struct now now)
{
	if (now.mono_ns < pleg->now.mono_ns)
		now.mono_ns = pleg->now.mono_ns;
	pleg->now = now;
	pleg->seq++;
	pleg_cache_forget_notices(pleg);
}

void pleg_input_end(struct pleg *pleg)
{
	pleg_period_turn(pleg);
	pleg_series_turn(pleg);
	pleg_run_prove(pleg);
	pleg_pods_tidy(pleg);
}

/* ---- calls ------------------------------------------------------------------------------- */

static void call_begin(struct pleg *pleg, struct call *call)
{
	call->token = ++pleg->last_token;
	call->started_seq = ++pleg->seq;
	call->started_ns = pleg->now.mono_ns;
	call->late = false;
}

int pleg_call_open(struct pleg *pleg, struct call *call)
{
	int r;

	call_begin(pleg, call);
	r = table_put(&pleg->calls, (const char *)&call->token, sizeof(call->token), call);
	if (r < 0)
		call->token = 0;
	return r;
}

void pleg_call_close(struct pleg *pleg, struct call *call)
{
	(void)table_remove(&pleg->calls, (const char *)&call->token, sizeof(call->token));
	call->token = 0;
}

/* NULL: none of ours, or ended already. */
static struct call *call_find(struct pleg *pleg, uint64_t token)
{
	if (token == 0)
		return NULL;
	if (token == pleg->list.token)
		return &pleg->list;
	return table_get(&pleg->calls, (const char *)&token, sizeof(token));
}

/* ---- full lists -------------------------------------------------------------------------- */

static bool list_next(struct pleg *pleg, struct pleg_request *ret)
{
	if (pleg->list.token || pleg->now.mono_ns < pleg->list_due_ns)
		return false;
	if (pleg->list_started_ns)
		histogram_observe(&pleg->stats.relist_interval,
			time_since(pleg->now.mono_ns, pleg->list_started_ns));
	/* Not in the table of calls: an unchanged list allocates nothing. */
	call_begin(pleg, &pleg->list);
	pleg->list_started_ns = pleg->now.mono_ns;
	pleg_period_list_started(pleg);
	pleg->stats.relists++;
	*ret = (struct pleg_request){
		.type = PLEG_REQUEST_LIST,
		.token = pleg->list.token,
		.id = "",
		.pod_uid = "",
		.sandbox_id = "",
		.timeout_ns = pleg->config.list_timeout_ns,
	};
	return true;
}

/* The list has ended, one way or another: the period counts from here. */
static struct call list_end(struct pleg *pleg)
{
	struct call call = pleg->list;

	pleg->list.token = 0;
	pleg->list.late = false;
	pleg_period_list_ended(pleg);
	return call;
}

static void list_answered(struct pleg *pleg, struct list_source *source)
{
	struct call call = list_end(pleg);

	if (call.late) {
		pleg->stats.late_answers_ignored++;
		pleg->list_due_ns = pleg->now.mono_ns;
		return;
	}
	pleg->last_relist_ns = time_since(pleg->now.mono_ns, call.started_ns);
	histogram_observe(&pleg->stats.relist_duration, pleg->last_relist_ns);
	pleg->last_seen_ns = call.started_ns;
	pleg_list_apply(pleg, &call, NULL, source);
	pleg->has_listed = true;
}

static void list_failed(struct pleg *pleg)
{
	(void)list_end(pleg);
	pleg->stats.relists_failed++;
}

void pleg_relist_now(struct pleg *pleg, struct now now)
{
	pleg_input_begin(pleg, now);
	if (!pleg->list.token)
		pleg->list_due_ns = time_min(pleg->list_due_ns, pleg->now.mono_ns);
	pleg_input_end(pleg);
}

/* ---- lists of one pod -------------------------------------------------------------------- */

static bool pod_is_listable(const struct pod *pod)
{
	return pod->has_uid || pod->has_sandbox_key;
}

static void pod_request(struct pleg *pleg, struct pod *pod)
{
	pod->requested_seq = pleg->seq;
	if (pod->requested)
		return;
	pod->requested = true;
	pleg->request_count++;
	TAILQ_INSERT_TAIL(&pleg->requests, pod, request_link);
}

static void pod_request_drop(struct pleg *pleg, struct pod *pod)
{
	if (!pod->requested)
		return;
	TAILQ_REMOVE(&pleg->requests, pod, request_link);
	pod->requested = false;
	pleg->request_count--;
}

int pleg_relist_pod(struct pleg *pleg, const char *pod_uid, struct now now)
{
	struct pod *pod = table_get_string(&pleg->pods_by_key, pod_uid);

	if (!pod || pod->count == 0)
		return -ENOENT;
	if (!pod->requested && pleg->request_count >= REQUESTS_MAX)
		return -ENOSPC;
	pleg_input_begin(pleg, now);
	pod_request(pleg, pod);
	if (!pod_is_listable(pod))
		pleg_period_hint(pleg, NULL);
	pleg_input_end(pleg);
	return 0;
}

static bool pod_list_next(struct pleg *pleg, struct pleg_request *ret)
{
	struct pod *pod;

	if (pleg->pod_lists_open >= POD_LISTS_MAX)
		return false;
	TAILQ_FOREACH (pod, &pleg->requests, request_link)
		if (!pod->list_call.token && pod_is_listable(pod))
			break;
	if (!pod)
		return false;
	pod->list_call.type = PLEG_REQUEST_LIST_POD;
	pod->list_call.pod = pod;
	if (pleg_call_open(pleg, &pod->list_call) < 0)
		return false;
	pod->request_started_ns = pleg->now.mono_ns;
	pod->request_timed = true;
	pleg->pod_lists_open++;
	*ret = (struct pleg_request){
		.type = PLEG_REQUEST_LIST_POD,
		.token = pod->list_call.token,
		.id = "",
		.pod_uid = pod->has_uid ? pod->key : "",
		.sandbox_id = pod->has_uid ? "" : pod->key,
		.timeout_ns = pleg->config.list_timeout_ns,
	};
	return true;
}

static struct call pod_list_end(struct pleg *pleg, struct pod *pod)
{
	struct call call = pod->list_call;

	if (!call.late)
		pleg->pod_lists_open--;
	pleg_call_close(pleg, &pod->list_call);
	pod->list_call.late = false;
	return call;
}

/* While the request stands, an answer that cannot be used leads to another call. */
static void pod_list_answered(struct pleg *pleg, struct pod *pod, struct list_source *source)
{
	struct call call = pod_list_end(pleg, pod);

	if (call.late)
		pleg->stats.late_answers_ignored++;
	else if (pleg->listed_seq <= call.started_seq)
		pleg_list_apply(pleg, &call, pod, source);
	pleg_pod_release(pleg, pod);
}

static void pod_list_failed(struct pleg *pleg, struct pod *pod)
{
	bool wanted = pod->requested; /* or a full list has told meanwhile */

	(void)pod_list_end(pleg, pod);
	pod_request_drop(pleg, pod);
	if (wanted && pod->live > 0) {
		/* The next full list tells what this one should have. */
		pod->reinspect = true;
		pleg_run_settle(pleg, pod);
	}
	pleg_pod_release(pleg, pod);
}

/* ---- inputs ------------------------------------------------------------------------------ */

void pleg_on_tick(struct pleg *pleg, struct now now)
{
	pleg_input_begin(pleg, now);
	pleg_input_end(pleg);
}

void pleg_on_list(struct pleg *pleg, uint64_t token, struct list_source *source, struct now now)
{
	struct call *call = call_find(pleg, token);

	pleg_input_begin(pleg, now);
	if (call)
		switch (call->type) {
		case PLEG_REQUEST_LIST: list_answered(pleg, source); break;
		case PLEG_REQUEST_LIST_POD: pod_list_answered(pleg, call->pod, source); break;
		case PLEG_REQUEST_INSPECT: break;
		}
	pleg_input_end(pleg);
}

void pleg_on_inspect(
	struct pleg *pleg, uint64_t token, const struct container_status *status, struct now now)
{
	struct call *call = call_find(pleg, token);

	pleg_input_begin(pleg, now);
	if (call && call->type == PLEG_REQUEST_INSPECT)
		pleg_run_answer(pleg, call, status);
	pleg_input_end(pleg);
}

void pleg_on_failed(struct pleg *pleg, uint64_t token, enum pleg_failure failure,
	const char *message, struct now now)
{
	struct call *call = call_find(pleg, token);

	pleg_input_begin(pleg, now);
	pleg_period_doubt(pleg);
	if (call)
		switch (call->type) {
		case PLEG_REQUEST_LIST: list_failed(pleg); break;
		case PLEG_REQUEST_LIST_POD: pod_list_failed(pleg, call->pod); break;
		case PLEG_REQUEST_INSPECT:
			pleg_run_failure(pleg, call, failure, str_or_empty(message));
			break;
		}
	pleg_input_end(pleg);
}

static void call_late(struct pleg *pleg, struct call *call)
{
	switch (call->type) {
	case PLEG_REQUEST_LIST:
		if (!call->late)
			pleg->stats.relists_late++;
		break;
	case PLEG_REQUEST_LIST_POD:
		if (!call->late)
			pleg->pod_lists_open--;
		break;
	case PLEG_REQUEST_INSPECT: pleg_run_late(pleg, call); return;
	}
	call->late = true;
}

void pleg_on_late(struct pleg *pleg, uint64_t token, struct now now)
{
	struct call *call = call_find(pleg, token);

	pleg_input_begin(pleg, now);
	pleg_period_doubt(pleg);
	if (call)
		call_late(pleg, call);
	pleg_input_end(pleg);
}

void pleg_wake(struct pleg *pleg, const char *container_id, struct now now)
{
	struct record *record = table_get_string(&pleg->records, container_id);

	pleg_input_begin(pleg, now);
	if (record && record->ghost)
		record = NULL;
	if (record)
		pleg_series_start(pleg, record);
	pleg_period_hint(pleg, record);
	pleg_input_end(pleg);
}

/* ---- outputs ----------------------------------------------------------------------------- */

bool pleg_next_request(struct pleg *pleg, struct pleg_request *ret)
{
	return list_next(pleg, ret) || pod_list_next(pleg, ret) || pleg_run_next(pleg, ret);
}

uint64_t pleg_next_due(const struct pleg *pleg)
{
	uint64_t due = pleg->list.token ? NSEC_NEVER : pleg->list_due_ns;

	due = time_min(due, pleg_series_due(pleg));
	return time_min(due, pleg_run_due(pleg));
}
