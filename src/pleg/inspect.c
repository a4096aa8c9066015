/*
 * Runs: the inspection of a pod, one call per container and sandbox that exists by the last list.
 *
 * A run begins with its first call and succeeds when every subject is answered, be it with "not
 * found". Only then the cache entry is set and the events are told, and of each container only the
 * states that were known when the run began, plus what the inspection itself showed. The first
 * failure ends it (the kubelet's rule): the entry gets the error, nothing is told, and the pod is
 * inspected again after the next list.
 *
 * Bounds. inspections_max calls are in flight that are not late; a pod has at most a quarter of them,
 * pods in quarantine together at most half, one each. A late call puts its pod into quarantine,
 * leaves its slot to others, and stays open: the pod has no new run before it has ended. From
 * late_max late calls on only one run at a time is tried, ever more seldom while that hangs too, and
 * at LATE_FACTOR times as many none, until one of them ends.
 */
#include "pleg/pleg-internal.h"

#include <errno.h>
#include <stdio.h>

#include "base/mem.h"

static uint32_t at_least_one(uint32_t n)
{
	return n > 0 ? n : 1;
}

/* ---- what waits -------------------------------------------------------------------------- */

/* Keeps the count of pods that wait, and with it since when nothing succeeds. */
void pleg_run_settle(struct pleg *pleg, struct pod *pod)
{
	bool unsettled = pod->due || pod->running || pod->reinspect;

	if (unsettled == pod->unsettled)
		return;
	if (unsettled) {
		pod->observed_at_ns = pleg_cache_observed(pleg, pod);
		pleg->unsettled++;
		if (!pleg->starving) {
			pleg->starving = true;
			pleg->starving_since_ns = pleg->now.mono_ns;
		}
	} else {
		pleg->unsettled--;
		if (pleg->unsettled == 0)
			pleg->starving = false;
	}
	pod->unsettled = unsettled;
}

static void queue_remove(struct pleg *pleg, struct pod *pod)
{
	if (!pod->queued)
		return;
	TAILQ_REMOVE(&pleg->run_queue, pod, queue_link);
	pod->queued = false;
}

static bool pod_has_wanted(const struct pod *pod)
{
	for (uint32_t i = 0; i < pod->count; i++)
		if (pod->records[i]->subject == SUBJECT_WANTED)
			return true;
	return false;
}

void pleg_run_requeue(struct pleg *pleg, struct pod *pod)
{
	if (pod->queued || !(pod->running ? pod_has_wanted(pod) : pod->due))
		return;
	TAILQ_INSERT_TAIL(&pleg->run_queue, pod, queue_link);
	pod->queued = true;
	pod->turn = 0;
}

void pleg_run_want(struct pleg *pleg, struct pod *pod)
{
	pod->due = true;
	pleg_run_settle(pleg, pod);
	pleg_run_requeue(pleg, pod);
}

/* ---- the end of a run -------------------------------------------------------------------- */

static void run_close(struct pleg *pleg, struct pod *pod)
{
	if (!pod->running)
		return;
	pod->running = false;
	pleg->runs--;
	queue_remove(pleg, pod);
	for (uint32_t i = 0; i < pod->count; i++) {
		struct record *record = pod->records[i];

		record->answer = mem_free(record->answer);
		record->subject = SUBJECT_NONE;
		record->call.of_run = false;
		record->run_len = 0;
	}
}

static void pod_set_quarantined(struct pleg *pleg, struct pod *pod, bool quarantined)
{
	if (quarantined == pod->quarantined)
		return;
	pod->quarantined = quarantined;
	pod->quarantined_since_ns = quarantined ? pleg->now.mono_ns : 0;
	if (quarantined)
		pleg->quarantined++;
	else
		pleg->quarantined--;
}

/* The run was believed, but the next list has to agree: a subject was not found, or its state was
 * contested to the end. Nothing is due before that list, so the pod is not unsettled. */
static void pod_set_doubtful(struct pleg *pleg, struct pod *pod, bool doubtful)
{
	pleg->doubtful += doubtful;
	pleg->doubtful -= pod->doubtful;
	pod->doubtful = doubtful;
}

/* Nothing is told; the records stay where they are. */
static void run_fail(struct pleg *pleg, struct pod *pod, const char *error)
{
	run_close(pleg, pod);
	pod->reinspect = true;
	pod->contested = 0;
	pleg_run_settle(pleg, pod);
	pleg_cache_set(pleg, pod, error);
	pleg_run_requeue(pleg, pod);
	pleg_cache_notify(pleg, pod->key, 0);
}

/* An inspection overlapped with a list that showed another state: which of the two is newer nobody
 * can say, so another one decides. */
static void run_repeat(struct pleg *pleg, struct pod *pod)
{
	pod->contested++;
	pod->reinspect = pod->reinspect || pod->run_sync;
	run_close(pleg, pod);
	pleg_run_want(pleg, pod);
}

static void run_succeed(struct pleg *pleg, struct pod *pod)
{
	uint64_t started_ns = pod->run_started_ns;
	int r;

	for (uint32_t i = 0; i < pod->count; i++) {
		struct record *record = pod->records[i];

		if (!record->answer)
			continue;
		(void)mem_free(record->status);
		record->status = TAKE_PTR(record->answer);
		pod->views[i].status = record->status;
	}
	pleg_cache_set(pleg, pod, NULL);
	r = pleg_diff_tell(pleg, pod, pod->run_sync);
	if (r < 0) {
		run_fail(pleg, pod, "Out of memory");
		return;
	}
	run_close(pleg, pod);
	pod_set_quarantined(pleg, pod, false);
	pod->contested = 0;
	pleg->trial_wait_ns = pleg->trial_at_ns = 0;
	pleg->starving_since_ns = pleg->now.mono_ns;
	if (pod->request_timed)
		histogram_observe(&pleg->stats.pod_relist_duration,
			time_since(pleg->now.mono_ns, pod->request_started_ns));
	pod->request_timed = false;
	pod_set_doubtful(pleg, pod, pod->run_missing || pod->run_contested);
	pleg_run_settle(pleg, pod);
	if (pod->observed_at_ns < started_ns)
		pod->observed_at_ns = started_ns;
	pleg_run_requeue(pleg, pod);
	pleg_cache_notify(pleg, pod->key, started_ns);
}

static void run_finish(struct pleg *pleg, struct pod *pod)
{
	if (pod->run_contested && pod->contested < CONTESTED_MAX)
		run_repeat(pleg, pod);
	else
		run_succeed(pleg, pod);
}

void pleg_run_cancel(struct pleg *pleg, struct pod *pod)
{
	run_close(pleg, pod);
	queue_remove(pleg, pod);
	pod->due = pod->reinspect = pod->sync = pod->request_timed = false;
	pod_set_doubtful(pleg, pod, false);
	pod->contested = 0;
	pleg_run_settle(pleg, pod);
	pod_set_quarantined(pleg, pod, false);
}

void pleg_run_empty(struct pleg *pleg, struct pod *pod)
{
	pleg_run_cancel(pleg, pod);
	for (uint32_t i = 0; i < pod->count; i++)
		pod->records[i]->run_len = pod->records[i]->path_len;
	if (pleg_diff_tell(pleg, pod, false) >= 0) {
		pleg_cache_delete(pleg, pod);
		pleg_series_stop(pleg, pod);
		return;
	}
	for (uint32_t i = 0; i < pod->count; i++)
		pod->records[i]->run_len = 0;
	pod->reinspect = true; /* the next list comes here again */
	pleg_run_settle(pleg, pod);
}

/* ---- the way out ------------------------------------------------------------------------- */

/* No subject of the pod has a call open, late or not. */
static bool pod_is_free(const struct pod *pod)
{
	for (uint32_t i = 0; i < pod->count; i++)
		if (pod->records[i]->state != CONTAINER_GONE && pod->records[i]->call.token)
			return false;
	return pod->live > 0;
}

/* One of its calls is late: of a container that had gone and came back, else known long since. */
static bool pod_is_late(const struct pod *pod)
{
	for (uint32_t i = 0; i < pod->count; i++)
		if (pod->records[i]->call.late)
			return true;
	return false;
}

static bool run_is_trial(const struct pleg *pleg)
{
	return pleg->late >= pleg->config.late_max;
}

static bool trial_may_start(const struct pleg *pleg)
{
	return pleg->runs == 0 && pleg->now.mono_ns >= pleg->trial_at_ns &&
		pleg->late < (uint64_t)pleg->config.late_max * LATE_FACTOR;
}

static void run_start(struct pleg *pleg, struct pod *pod)
{
	pod->running = true;
	pod->run_trial = run_is_trial(pleg);
	pod->run_sync = pod->sync || pod->reinspect;
	pod->run_contested = pod->run_missing = false;
	pod->due = pod->sync = pod->reinspect = false;
	pod_set_doubtful(pleg, pod, false);
	pod->run_started_ns = pleg->now.mono_ns;
	pod->run_left = 0;
	pleg->runs++;
	for (uint32_t i = 0; i < pod->count; i++) {
		struct record *record = pod->records[i];

		record->run_len = record->path_len;
		record->subject = SUBJECT_NONE;
		if (record->state == CONTAINER_GONE)
			continue;
		record->subject = SUBJECT_WANTED;
		pod->run_left++;
	}
	pleg_run_settle(pleg, pod);
}

static struct record *run_subject(const struct pod *pod)
{
	for (uint32_t i = 0; i < pod->count; i++)
		if (pod->records[i]->subject == SUBJECT_WANTED)
			return pod->records[i];
	return NULL;
}

static bool run_send(
	struct pleg *pleg, struct pod *pod, struct record *record, struct pleg_request *ret)
{
	record->call.type = PLEG_REQUEST_INSPECT;
	if (pleg_call_open(pleg, &record->call) < 0)
		return false;
	record->call.of_run = true;
	record->call.suspect = pod->quarantined;
	record->subject = SUBJECT_SENT;
	pod->run_open++;
	pod->turn++;
	pleg->open++;
	if (record->call.suspect)
		pleg->open_suspect++;
	pleg->stats.inspections++;
	*ret = (struct pleg_request){
		.type = PLEG_REQUEST_INSPECT,
		.token = record->call.token,
		.kind = record->kind,
		.id = record->id,
		.pod_uid = pod->has_uid ? pod->key : "",
		.sandbox_id = record->sandbox_id,
		.timeout_ns = pleg->config.inspect_timeout_ns,
	};
	return true;
}

/* How many calls the pod may have in flight. */
static bool pod_has_slot(const struct pleg *pleg, const struct pod *pod)
{
	if (pod->running && pod->run_trial)
		return pod->run_open == 0;
	if (pod->quarantined)
		return pod->run_open == 0 &&
			pleg->open_suspect < at_least_one(pleg->config.inspections_max / 2);
	return pod->run_open < at_least_one(pleg->config.inspections_max / 4);
}

static bool run_may_start(const struct pleg *pleg)
{
	return !run_is_trial(pleg) || trial_may_start(pleg);
}

bool pleg_run_next(struct pleg *pleg, struct pleg_request *ret)
{
	struct pod *pod, *next;

	for (pod = TAILQ_FIRST(&pleg->run_queue); pod; pod = next) {
		struct record *record;

		next = TAILQ_NEXT(pod, queue_link);
		if (pleg->open >= at_least_one(pleg->config.inspections_max))
			return false;
		if (!pod->running && !pod_is_free(pod)) {
			queue_remove(pleg, pod); /* comes back when its call ends */
			if (pod_is_late(pod))
				pod_set_quarantined(pleg, pod, true);
			continue;
		}
		if (!pod_has_slot(pleg, pod) || (!pod->running && !run_may_start(pleg)))
			continue;
		if (!pod->running)
			run_start(pleg, pod);
		record = run_subject(pod);
		if (NEVER(!record)) {
			queue_remove(pleg, pod);
			continue;
		}
		if (!run_send(pleg, pod, record, ret))
			return false;
		if (!pod_has_wanted(pod)) {
			queue_remove(pleg, pod);
		} else if (pod->turn >= TURN_SUBJECTS) {
			queue_remove(pleg, pod);
			pleg_run_requeue(pleg, pod);
		}
		return true;
	}
	return false;
}

uint64_t pleg_run_due(const struct pleg *pleg)
{
	if (TAILQ_EMPTY(&pleg->run_queue) || !run_is_trial(pleg) || pleg->runs > 0 ||
		pleg->trial_at_ns <= pleg->now.mono_ns ||
		pleg->late >= (uint64_t)pleg->config.late_max * LATE_FACTOR)
		return NSEC_NEVER;
	return pleg->trial_at_ns;
}

/* ---- answers ----------------------------------------------------------------------------- */

/* The call is over. True if its run still wants the answer. */
static bool call_end(struct pleg *pleg, struct call *call)
{
	struct pod *pod = call->pod;
	bool wanted = call->of_run;

	if (call->late) {
		pleg->late--;
	} else {
		pleg->open--;
		pod->run_open--;
		if (call->suspect)
			pleg->open_suspect--;
	}
	pleg_call_close(pleg, call);
	call->late = call->suspect = call->of_run = false;
	return wanted;
}

static void run_step(struct pleg *pleg, struct pod *pod)
{
	if (--pod->run_left == 0)
		run_finish(pleg, pod);
	else
		pleg_run_requeue(pleg, pod);
}

/* An answer shows a state, and what goes with it. If it began after all else that is known of the container it is an
 * observation of its own, and it is covered by itself, so it may be told with this run. */
static void answer_observe(struct pleg *pleg, struct record *record, uint64_t started_seq,
	enum container_state state, enum container_detail detail)
{
	bool covered = record->run_len == record->path_len;

	if (record->state == CONTAINER_GONE)
		return; /* by the list: the next list says */
	if (record->observed_seq <= started_seq)
		(void)pleg_record_detail(record, detail);
	if (state == record->state)
		return;
	if (record->observed_seq > started_seq) {
		record->pod->run_contested = true;
		return;
	}
	if (!pleg_record_observe(pleg, record, state, false))
		return;
	if (covered)
		record->run_len = record->path_len;
	else
		pleg_run_want(pleg, record->pod);
}

void pleg_run_answer(struct pleg *pleg, struct call *call, const struct container_status *status)
{
	struct record *record = call->record;
	struct pod *pod = call->pod;
	uint64_t started_seq = call->started_seq;
	enum container_state state = pleg_state_known(status->state);
	bool was_late = call->late;

	if (was_late)
		pleg->stats.late_answers_ignored++;
	else
		pleg_predict_note(pleg, call);
	if (!call_end(pleg, call)) {
		if (record->ghost)
			pleg_record_lay(pleg, record);
		else if (was_late)
			pleg_run_want(pleg, pod);
		else
			pleg_run_requeue(pleg, pod);
		return;
	}
	record->answer = pleg_status_keep(status, record->status);
	if (!record->answer) {
		pleg->stats.inspections_failed++;
		run_fail(pleg, pod, "Out of memory");
		return;
	}
	record->answer->state = state;
	record->subject = SUBJECT_DONE;
	answer_observe(pleg, record, started_seq, state, status->detail);
	if (record->observed_seq <= started_seq)
		record->observed_seq = pleg->seq;
	run_step(pleg, pod);
}

void pleg_run_failure(
	struct pleg *pleg, struct call *call, enum pleg_failure failure, const char *message)
{
	struct record *record = call->record;
	struct pod *pod = call->pod;
	bool was_late = call->late;

	if (failure != PLEG_FAILURE_NOT_FOUND)
		pleg->stats.inspections_failed++;
	if (was_late && failure != PLEG_FAILURE_LOST)
		pleg->stats.late_answers_ignored++;
	if (!was_late && failure != PLEG_FAILURE_LOST)
		pleg_predict_note(pleg, call);
	if (!call_end(pleg, call)) {
		if (record->ghost)
			pleg_record_lay(pleg, record);
		else if (was_late && failure != PLEG_FAILURE_LOST)
			pleg_run_want(pleg, pod);
		else
			pleg_run_requeue(pleg, pod);
		return;
	}
	if (failure == PLEG_FAILURE_NOT_FOUND) {
		record->subject = SUBJECT_NONE;
		pod->run_missing = true;
		run_step(pleg, pod);
		return;
	}
	run_fail(pleg, pod, message);
}

static void trial_failed(struct pleg *pleg)
{
	uint64_t wait =
		pleg->trial_wait_ns ? pleg->trial_wait_ns * 2 : pleg->config.inspect_timeout_ns;

	pleg->trial_wait_ns = time_min(wait, TRIAL_WAIT_MAX_NS);
	pleg->trial_at_ns = time_add(pleg->now.mono_ns, pleg->trial_wait_ns);
}

void pleg_run_late(struct pleg *pleg, struct call *call)
{
	struct pod *pod = call->pod;
	char text[ID_BYTES_MAX + TIME_TEXT_MAX + 64], timeout[TIME_TEXT_MAX];
	bool of_run = call->of_run;

	if (call->late)
		return;
	call->late = true;
	call->of_run = false;
	pleg_predict_note(pleg, call);
	pleg->stats.inspections_late++;
	pleg->open--;
	pleg->late++;
	pod->run_open--;
	if (call->suspect)
		pleg->open_suspect--;
	if (call->record->ghost)
		return;
	pod_set_quarantined(pleg, pod, true);
	if (!of_run)
		return;
	if (pod->run_trial)
		trial_failed(pleg);
	(void)snprintf(text, sizeof(text), "Inspection of '%s' has no answer after %s",
		call->record->id, time_format_go(timeout, pleg->config.inspect_timeout_ns));
	run_fail(pleg, pod, text);
}

/* ---- proof ------------------------------------------------------------------------------- */

/*
 * With one pod in quarantine and nothing else changing, every inspection that is due hangs, and the
 * node would look as if none could succeed. A sound pod is inspected to tell the two apart.
 */
void pleg_run_prove(struct pleg *pleg)
{
	uint64_t calm = pleg->config.relist_threshold_ns / 2;

	if (!pleg->starving || pleg->quarantined == 0 || pleg->pod_slots == 0 ||
		time_since(pleg->now.mono_ns, pleg->starving_since_ns) < calm ||
		time_since(pleg->now.mono_ns, pleg->proof_at_ns) < calm)
		return;
	for (size_t i = 0; i < pleg->pod_slots; i++) {
		struct pod *pod = pleg->pods[pleg->proof_cursor++ % pleg->pod_slots];

		if (!pod || pod->unsettled || pod->live == 0)
			continue;
		pleg->proof_at_ns = pleg->now.mono_ns;
		pleg_run_want(pleg, pod);
		return;
	}
}
