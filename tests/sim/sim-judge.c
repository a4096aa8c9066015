/* The oracle's second part: what is told, against what was shown; events, relists on demand, notices. */
#include "sim-oracle.h"

#include <stdio.h>
#include <string.h>

/* ---- events ------------------------------------------------------------------------------------------------------ */

const struct answer *oracle_answer(const struct seen *seen, const struct container_status *status)
{
	for (uint32_t n = 0; n < ANSWERS_KEPT && n < seen->answer_count; n++) {
		const struct answer *a =
			&seen->answers[(seen->answer_count - 1 - n) % ANSWERS_KEPT];

		if (!a->not_found && !a->late && a->state == status->state &&
			a->has_exit_code == status->has_exit_code &&
			a->exit_code == status->exit_code &&
			a->started_at_ns == status->started_at_ns &&
			a->finished_at_ns == status->finished_at_ns)
			return a;
	}
	return NULL;
}

static bool not_found_since(const struct seen *seen, uint64_t seq)
{
	for (uint32_t n = 0; n < ANSWERS_KEPT && n < seen->answer_count; n++) {
		const struct answer *a = &seen->answers[n];

		if (a->not_found && a->ended_seq > seq)
			return true;
	}
	return false;
}

/* The cache holds what is at least as new as the state that the event tells of. */
static void check_cache(struct sim *sim, uint32_t container, const struct step *step)
{
	struct seen *seen = oracle_seen(sim, container);
	struct opod *opod = oracle_pod_of(sim, container);
	const struct pleg_container *view;
	const struct answer *answer;
	struct pleg_pod pod;

	if (!pleg_find_pod(sim->pleg, opod->key, &pod)) {
		if (opod->live > 0)
			sim_fail(sim, "cache-before-event", "Event of %s, and pod %s is not there",
				oracle_id(sim, container), opod->key);
		return;
	}
	if (opod->live == 0)
		return; /* nothing left to be inspected */
	if (step->by_inspect ? pod.status_at_ns == 0 : pod.status_at_ns < step->ns) {
		sim_fail(sim, "cache-before-event",
			"Event of %s shown at %llu, cache of %s is of %llu",
			oracle_id(sim, container), (unsigned long long)step->ns, opod->key,
			(unsigned long long)pod.status_at_ns);
		return;
	}
	if (pod.inspect_error)
		sim_fail(sim, "cache-before-event", "Event of %s with '%s' in the cache",
			oracle_id(sim, container), pod.inspect_error);
	/* A life that has ended with the container going cannot be inspected any more. */
	if (step->state == CONTAINER_GONE || seen->removed_next)
		return;
	for (uint32_t i = 0; i < seen->count; i++)
		if (seen->steps[seen->head + i].state == CONTAINER_GONE)
			return;
	if (not_found_since(seen, step->seq))
		return; /* the newest answer was that it is not there */
	view = oracle_view(sim, container, &pod);
	if (!view || !view->status) {
		sim_fail(sim, "cache-before-event", "Event of %s without a status in the cache",
			oracle_id(sim, container));
		return;
	}
	answer = oracle_answer(seen, view->status);
	if (!answer)
		sim_fail(sim, "cache-is-answered",
			"The cache has %s %s code %d, which no answer in time said",
			oracle_id(sim, container), container_state_text(view->status->state),
			view->status->exit_code);
	else if (!step->by_inspect && answer->started_seq < step->seq &&
		oracle_state(answer->state) != step->state && opod->contested < CONTESTED)
		sim_fail(sim, "cache-before-event",
			"Event of %s (%s) with an older %s in the cache", oracle_id(sim, container),
			container_state_text(step->state), container_state_text(answer->state));
}

/* An exit code must be of the life that ended, as an inspection showed it, and be told if so. */
static void check_exit_code(
	struct sim *sim, uint32_t container, const struct event *event, const struct step *step)
{
	struct seen *seen = oracle_seen(sim, container);
	const struct pleg_container *view;
	const struct answer *answer = NULL;
	struct pleg_pod pod;

	if (event->type != EVENT_CONTAINER_DIED) {
		if (event->has_exit_code)
			sim_fail(sim, "exit-code", "%s of %s has an exit code",
				event_type_text(event->type), event->container_id);
		return;
	}
	for (uint32_t n = 0; n < ANSWERS_KEPT && n < seen->answer_count && !answer; n++) {
		const struct answer *a =
			&seen->answers[(seen->answer_count - 1 - n) % ANSWERS_KEPT];

		if (a->has_exit_code && !a->late && event->has_exit_code &&
			a->exit_code == event->exit_code &&
			a->ended_seq > seen->previous_running_seq)
			answer = a;
	}
	if (event->has_exit_code) {
		sim_cover(sim, COVER_EXIT_CODE);
		if (!answer)
			sim_fail(sim, "exit-code",
				"%s died with code %d, which no inspection of that life showed",
				event->container_id, event->exit_code);
		return;
	}
	view = oracle_view(sim, container, &pod);
	if (step->state == CONTAINER_EXITED && seen->count == 0 &&
		seen->shown == CONTAINER_EXITED && view && view->status &&
		view->status->has_exit_code && !not_found_since(seen, step->seq))
		sim_fail(sim, "exit-code", "%s died with code %d in the cache, told without",
			event->container_id, view->status->exit_code);
}

static void check_identity(struct sim *sim, uint32_t container, const struct event *event)
{
	const struct world_container *c = &sim->world.containers[container];
	const struct opod *pod = oracle_pod_of(sim, container);
	bool sandbox = c->kind == CONTAINER_KIND_SANDBOX;

	if (event->kind != c->kind || event->attempt != c->attempt || !event->confirmed ||
		event->confirms != 0 || event->sequence != 0 || event->has_signal ||
		event->source != EVENT_SOURCE_RELIST || strcmp(event->container, c->name) != 0 ||
		strcmp(event->sandbox_id, sandbox ? c->id : c->sandbox_id) != 0)
		sim_fail(sim, "event-identity",
			"Event of %s says kind %s, attempt %u, name '%s', sandbox '%s'", c->id,
			container_kind_text(event->kind), event->attempt, event->container,
			event->sandbox_id);
	if (strcmp(event->pod_uid, pod->key) != 0)
		sim_fail(sim, "event-pod", "Event of %s says pod '%s', but it is of '%s'", c->id,
			event->pod_uid, pod->key);
}

static void cover_event(struct sim *sim, const struct event *event)
{
	bool sandbox = event->kind == CONTAINER_KIND_SANDBOX;

	if (event->initial)
		sim_cover(sim, COVER_INITIAL);
	switch (event->type) {
	case EVENT_CONTAINER_STARTED:
		sim_cover(sim, sandbox ? COVER_SANDBOX_STARTED : COVER_CONTAINER_STARTED);
		return;
	case EVENT_CONTAINER_DIED:
		sim_cover(sim, sandbox ? COVER_SANDBOX_DIED : COVER_CONTAINER_DIED);
		return;
	case EVENT_CONTAINER_REMOVED:
		sim_cover(sim, sandbox ? COVER_SANDBOX_REMOVED : COVER_CONTAINER_REMOVED);
		return;
	case EVENT_CONTAINER_CHANGED: return;
	case EVENT_POD_SYNC: sim_cover(sim, COVER_POD_SYNC); return;
	}
}

static void pod_sync(struct sim *sim, const struct event *event)
{
	uint32_t i = oracle_pod_by_key(sim, event->pod_uid, false);

	if (i == SIM_NONE || event->container_id[0] || event->sandbox_id[0] ||
		event->has_exit_code) {
		sim_fail(sim, "event-identity", "PodSync of '%s' with container '%s'",
			event->pod_uid, event->container_id);
		return;
	}
	sim->oracle->pods[i].sync_wanted = false;
	if (sim->oracle->pods[i].syncs_allowed == 0)
		sim_fail(sim, "pod-sync", "PodSync of %s that nothing asked for", event->pod_uid);
	else
		sim->oracle->pods[i].syncs_allowed--;
}

/* What steps to unknown lead to is made and filtered, never sent. */
void oracle_skip_changed(struct sim *sim, struct seen *seen)
{
	while (seen->count > 0 && seen->steps[seen->head].state == CONTAINER_UNKNOWN) {
		seen->told = CONTAINER_UNKNOWN;
		seen->head++;
		seen->count--;
	}
}

static void step_done(struct sim *sim, uint32_t container, struct seen *seen)
{
	struct opod *pod = &sim->oracle->pods[seen->pod];

	seen->told = seen->steps[seen->head].state;
	if (seen->told == CONTAINER_RUNNING)
		seen->previous_running_seq = seen->steps[seen->head].seq;
	seen->head++;
	seen->count--;
	seen->removed_next = false;
	sim->oracle->steps--;
	pod->steps--;
	pod->sync_wanted = false;
}

/* Finds the step that the event may tell of; NULL: none. */
static struct step *step_for(struct sim *sim, struct seen *seen, enum event_type type)
{
	struct step *step;

	oracle_skip_changed(sim, seen);
	if (seen->count == 0)
		return NULL;
	step = &seen->steps[seen->head];
	switch (type) {
	case EVENT_CONTAINER_STARTED: return step->state == CONTAINER_RUNNING ? step : NULL;
	case EVENT_CONTAINER_DIED:
		if (step->state == CONTAINER_EXITED)
			return step;
		return step->state == CONTAINER_GONE && seen->told != CONTAINER_EXITED &&
				!seen->removed_next
			? step
			: NULL;
	case EVENT_CONTAINER_REMOVED:
		return step->state == CONTAINER_GONE &&
				(seen->told == CONTAINER_EXITED || seen->removed_next)
			? step
			: NULL;
	case EVENT_CONTAINER_CHANGED:
	case EVENT_POD_SYNC: return NULL;
	}
	return NULL;
}

const char *oracle_next_text(const struct seen *seen)
{
	return seen->count ? container_state_text(seen->steps[seen->head].state) : "nothing";
}

/* Any legal event, as long as there were as many steps. */
static void event_while_folding(struct sim *sim, uint32_t container, const struct event *event)
{
	struct seen *seen = oracle_seen(sim, container);
	bool legal = false;

	switch (event->type) {
	case EVENT_CONTAINER_STARTED:
		legal = seen->told != CONTAINER_RUNNING || seen->fold_unknown;
		seen->told = CONTAINER_RUNNING;
		break;
	case EVENT_CONTAINER_DIED:
		legal = seen->told != CONTAINER_EXITED || seen->fold_unknown;
		seen->told = CONTAINER_EXITED;
		break;
	case EVENT_CONTAINER_REMOVED:
		legal = seen->told == CONTAINER_EXITED;
		seen->told = CONTAINER_GONE;
		break;
	case EVENT_CONTAINER_CHANGED:
	case EVENT_POD_SYNC: break;
	}
	if (!legal || seen->budget == 0)
		sim_fail(sim, "event-order", "%s of %s while folding, %u steps left",
			event_type_text(event->type), event->container_id, seen->budget);
	seen->budget -= seen->budget > 0;
	sim->oracle->pods[seen->pod].sync_wanted = false;
}

void oracle_on_event(struct sim *sim, const struct event *event)
{
	uint32_t container = oracle_container(sim, event->container_id);
	struct seen *seen;
	struct step *step;
	bool half;

	cover_event(sim, event);
	if (event->type == EVENT_POD_SYNC) {
		pod_sync(sim, event);
		return;
	}
	if (event->type == EVENT_CONTAINER_CHANGED || container == SIM_NONE) {
		sim_fail(sim, "event-legal", "%s of '%s'", event_type_text(event->type),
			event->container_id);
		return;
	}
	seen = oracle_seen(sim, container);
	if (seen->pod == SIM_NONE) {
		sim_fail(sim, "event-invented", "%s of %s, which is in no list",
			event_type_text(event->type), event->container_id);
		return;
	}
	check_identity(sim, container, event);
	if (event->type == EVENT_CONTAINER_REMOVED)
		seen->ip[0] = '\0';
	seen->event_ns = sim->now.mono_ns;
	if (seen->folding) {
		event_while_folding(sim, container, event);
		return;
	}
	step = step_for(sim, seen, event->type);
	if (!step) {
		sim_fail(sim, "event-order", "%s of %s, told %s before, and next is %s of %u",
			event_type_text(event->type), event->container_id,
			container_state_text(seen->told), oracle_next_text(seen), seen->count);
		return;
	}
	if (event->initial != step->initial)
		sim_fail(sim, "event-initial", "%s of %s has initial %d",
			event_type_text(event->type), event->container_id, event->initial);
	if (event->observed_at_ns != step->real_ns)
		sim_fail(sim, "event-identity",
			"%s of %s is observed at %lld, but was shown at %lld",
			event_type_text(event->type), event->container_id,
			(long long)event->observed_at_ns, (long long)step->real_ns);
	struct step copy = *step;

	half = event->type == EVENT_CONTAINER_DIED && copy.state == CONTAINER_GONE;
	if (half) {
		seen->removed_next = true;
	} else {
		step_done(sim, container, seen);
	}
	check_cache(sim, container, &copy);
	check_exit_code(sim, container, event, &copy);
	oracle_forget(sim, container);
}

/* ---- relists on demand, subscriptions ---------------------------------------------------------------------------- */

void oracle_on_relist_pod(struct sim *sim, const char *uid, int r)
{
	uint32_t i = oracle_pod_by_key(sim, uid, false);
	struct opod *pod = i == SIM_NONE ? NULL : &sim->oracle->pods[i];

	sim->oracle->seq++;
	sim->oracle->list_cause = true; /* of a pod without label or sandbox */
	if (pod && pod->live > 0 && r < 0)
		sim_fail(sim, "relist-pod", "pleg_relist_pod of %s, which is there: %d", uid, r);
	else if (!pod && r != -2)
		sim_fail(sim, "relist-pod", "pleg_relist_pod of %s, which never was: %d", uid, r);
	sim_cover(sim, r == 0 ? COVER_RELIST_POD : COVER_RELIST_POD_UNKNOWN);
	if (r != 0 || !pod)
		return;
	pod->syncs_allowed++;
	pod->sync_wanted = true;
}

void oracle_on_subscribe(struct sim *sim, uint64_t id, const char *uid, uint64_t newer_than_ns)
{
	struct oracle *o = sim->oracle;
	struct wanted_notice *notice;

	if (o->notice_count == sizeof(o->notices) / sizeof(o->notices[0]))
		return;
	notice = &o->notices[o->notice_count++];
	*notice = (struct wanted_notice){ .id = id, .newer_than_ns = newer_than_ns };
	(void)snprintf(notice->uid, sizeof(notice->uid), "%s", uid);
}

void oracle_on_unsubscribe(struct sim *sim, uint64_t id)
{
	struct oracle *o = sim->oracle;

	for (uint32_t i = 0; i < o->notice_count; i++)
		if (o->notices[i].id == id) {
			o->notices[i] = o->notices[--o->notice_count];
			return;
		}
}

/* While a change that was shown waits for its inspection, only a newer cache entry is news. */
static bool notice_is_hasty(struct sim *sim, uint32_t pod, const struct wanted_notice *wanted)
{
	bool waits = false;
	struct pleg_pod view;

	for (uint32_t i = 0; pod != SIM_NONE && i < sim->world.container_count && !waits; i++) {
		const struct seen *seen = oracle_seen(sim, i);

		waits = seen->pod == pod && oracle_first_sent(seen);
	}
	return waits && sim->oracle->pods[pod].live > 0 &&
		pleg_find_pod(sim->pleg, wanted->uid, &view) &&
		view.status_at_ns <= wanted->newer_than_ns;
}

void oracle_on_notice(struct sim *sim, const struct pleg_notice *notice)
{
	struct oracle *o = sim->oracle;
	uint32_t i = 0, pod;
	uint64_t newest = o->listed ? o->list_started_ns : 0;
	struct wanted_notice wanted;

	while (i < o->notice_count && o->notices[i].id != notice->subscription)
		i++;
	if (i == o->notice_count) {
		sim_fail(sim, "notice-once", "Notice for subscription %llu, which is not open",
			(unsigned long long)notice->subscription);
		return;
	}
	wanted = o->notices[i];
	o->notices[i] = o->notices[--o->notice_count];
	pod = oracle_pod_by_key(sim, wanted.uid, false);
	if (pod != SIM_NONE && o->pods[pod].listed_ns > newest)
		newest = o->pods[pod].listed_ns;
	if (pod != SIM_NONE && o->pods[pod].entry_ns > newest)
		newest = o->pods[pod].entry_ns;
	sim_trace(sim, "  notice %s has_pod %d", wanted.uid, notice->has_pod);
	if (strcmp(notice->pod_uid, wanted.uid) != 0)
		sim_fail(sim, "notice-once", "Notice for '%s' says '%s'", wanted.uid,
			notice->pod_uid);
	else if (newest <= wanted.newer_than_ns)
		sim_fail(sim, "notice-early",
			"Noticed %s newer than %llu, newest observation began at %llu", wanted.uid,
			(unsigned long long)wanted.newer_than_ns, (unsigned long long)newest);
	else if (notice_is_hasty(sim, pod, &wanted))
		sim_fail(sim, "notice-early",
			"Noticed %s newer than %llu while what a list showed of it is not "
			"inspected",
			wanted.uid, (unsigned long long)wanted.newer_than_ns);
	else if (pod != SIM_NONE && o->pods[pod].live > 0 && !notice->has_pod)
		sim_fail(sim, "notice-pod", "Notice says that %s does not exist", wanted.uid);
	else if (notice->has_pod &&
		(pod == SIM_NONE || (o->pods[pod].live == 0 && o->pods[pod].steps == 0)))
		sim_fail(sim, "notice-pod", "Notice says that %s exists", wanted.uid);
	sim_cover(sim, notice->has_pod ? COVER_NOTICE_POD : COVER_NOTICE_NO_POD);
}

/* An inspection is under way or wanted, so there will be a newer entry soon: the notice may wait. */
static bool pod_is_busy(const struct sim *sim, const struct opod *pod)
{
	uint64_t lately = time_since(sim->now.mono_ns, 10 * NSEC_PER_SEC);

	return pod->calls_open > 0 || pod->hung_calls > 0 || pod->late_calls > 0 ||
		pod->steps > 0 || pod->sync_wanted || pod->trouble_ns > lately ||
		sim->oracle->full_ns > lately;
}

/* Who must have been noticed by now: a full list began after, and nothing of the pod waits. */
void oracle_check_notices(struct sim *sim)
{
	struct oracle *o = sim->oracle;

	for (uint32_t i = 0; i < o->notice_count; i++) {
		const struct wanted_notice *wanted = &o->notices[i];
		uint32_t pod = oracle_pod_by_key(sim, wanted->uid, false);
		struct pleg_pod view;

		if (!o->listed || o->list_started_ns <= wanted->newer_than_ns)
			continue;
		if (pod != SIM_NONE && (o->pods[pod].live > 0 || o->pods[pod].steps > 0) &&
			(!pleg_find_pod(sim->pleg, wanted->uid, &view) ||
				view.observed_at_ns <= wanted->newer_than_ns ||
				pod_is_busy(sim, &o->pods[pod])))
			continue;
		sim_fail(sim, "notice-missing",
			"%s newer than %llu was not noticed, a list began at %llu", wanted->uid,
			(unsigned long long)wanted->newer_than_ns,
			(unsigned long long)o->list_started_ns);
		return;
	}
}
