/* The oracle's third part: what holds after every step, and at the end when all has answered. */
#include "sim-oracle.h"

#include <stdio.h>
#include <string.h>

/* ---- after every step ------------------------------------------------------------------------------------------------ */

/* Told to the end, and nothing of the pod has waited for long: it is over. */
static void check_unfold(struct sim *sim, uint32_t container)
{
	struct seen *seen = oracle_seen(sim, container);
	const struct opod *opod;
	uint64_t calm_ns = seen->event_ns;
	struct pleg_pod pod;

	if (!seen->folding || seen->told != seen->shown || seen->event_ns == 0)
		return;
	if (seen->told == CONTAINER_GONE) {
		/* PLEG drops the record with the last step that is told. */
		if (oracle_view(sim, container, &pod))
			return;
		oracle_unfold(sim, seen);
		oracle_forget(sim, container);
		return;
	}

	opod = &sim->oracle->pods[seen->pod];
	if (seen->step_ns > calm_ns)
		calm_ns = seen->step_ns;
	if (opod->trouble_ns > calm_ns)
		calm_ns = opod->trouble_ns;
	if (sim->oracle->full_ns > calm_ns)
		calm_ns = sim->oracle->full_ns;
	if (opod->hung_calls > 0 || opod->late_calls > 0 ||
		sim->now.mono_ns < calm_ns + 30 * NSEC_PER_SEC ||
		!pleg_find_pod(sim->pleg, opod->key, &pod) || pod.inspect_error)
		return;
	oracle_unfold(sim, seen);
}

/* Of an answer that does not hang, see sim_latency(). */
static uint64_t latency_max(const struct sim *sim, uint64_t from_ns)
{
	static const uint64_t max_ns[] = { 4 * NSEC_PER_MSEC, 50 * NSEC_PER_MSEC,
		1500 * NSEC_PER_MSEC, 1500 * NSEC_PER_MSEC };
	bool slow = sim->world.slow_until_ns + 12 * NSEC_PER_SEC > from_ns;

	return max_ns[sim->profile.latency] * (slow ? 8 : 1);
}

/* The first step that is told by an event; ContainerChanged is never sent. */
const struct step *oracle_first_sent(const struct seen *seen)
{
	for (uint32_t i = 0; i < seen->count; i++)
		if (seen->steps[seen->head + i].state != CONTAINER_UNKNOWN)
			return &seen->steps[seen->head + i];
	return NULL;
}

/* While one pod hangs, the others are on time: from when a step was shown, or from when there was
 * last no free slot, some rounds of inspection as slow as they ever are. */
static void check_isolation(struct sim *sim)
{
	struct oracle *o = sim->oracle;

	if (sim->profile.pleg.inspections_max < 16 || o->full_ns == sim->now.mono_ns)
		return;
	for (uint32_t i = 0; i < sim->world.container_count; i++) {
		struct seen *seen = &o->seen[i];
		const struct opod *pod;
		const struct step *step;
		uint64_t from, bound;

		step = oracle_first_sent(seen);
		if (!step)
			continue;
		pod = &o->pods[seen->pod];
		if (pod->hung_calls > 0 || pod->late_calls > 0 || pod->trouble_ns >= step->ns ||
			pod->quarantined || sim->now.mono_ns <= sim->oversleep_until_ns)
			continue;
		from = step->ns;
		if (o->full_ns > from)
			from = o->full_ns;
		if (sim->oversleep_until_ns > from)
			from = sim->oversleep_until_ns;
		bound = 3 * (pod->live / 4 + 2) * latency_max(sim, step->ns) + NSEC_PER_SEC / 2;
		if (sim->now.mono_ns > from + bound) {
			sim_fail(sim, "isolation",
				"%s was shown %s %.3f s ago, is not told, bound %.3f s (%u "
				"in flight, %u late)",
				oracle_id(sim, i), container_state_text(step->state),
				time_seconds(sim->now.mono_ns - step->ns), time_seconds(bound),
				o->open, o->late);
			return;
		}
	}
}

static void check_pod_times(struct sim *sim, struct opod *opod, const struct pleg_pod *pod)
{
	uint64_t newest = sim->oracle->listed ? sim->oracle->list_started_ns : 0;

	if (opod->listed_ns > newest)
		newest = opod->listed_ns;
	if (pod->status_at_ns < opod->status_at_ns || pod->observed_at_ns < opod->observed_at_ns)
		sim_fail(sim, "cache-times", "Times of %s went back: %llu -> %llu, %llu -> %llu",
			opod->key, (unsigned long long)opod->status_at_ns,
			(unsigned long long)pod->status_at_ns,
			(unsigned long long)opod->observed_at_ns,
			(unsigned long long)pod->observed_at_ns);
	if (pod->status_at_ns > sim->now.mono_ns || pod->observed_at_ns > newest)
		sim_fail(sim, "cache-times",
			"%s is observed at %llu, but the newest observation began at %llu",
			opod->key, (unsigned long long)pod->observed_at_ns,
			(unsigned long long)newest);
	if (pod->status_at_ns != opod->status_at_ns && !pod->inspect_error)
		sim->oracle->last_success_ns = sim->now.mono_ns;
	opod->status_at_ns = pod->status_at_ns;
	opod->observed_at_ns = pod->observed_at_ns;
}

static void check_quarantine(struct sim *sim, struct opod *opod, const struct pleg_pod *pod)
{
	uint32_t stuck;

	if (pod->quarantined != opod->quarantined)
		sim_cover(sim, pod->quarantined ? COVER_QUARANTINE_ENTER : COVER_QUARANTINE_LEAVE);
	if (pod->quarantined && !opod->quarantined && opod->late_calls == 0)
		sim_fail(sim, "quarantine", "%s entered quarantine without a late call", opod->key);
	if (opod->quarantined && !pod->quarantined)
		opod->trouble_ns = sim->now.mono_ns; /* it had to wait longer than others */
	opod->quarantined = pod->quarantined;
	/* One that was gone and came back is found out when its turn to be inspected comes. */
	if (opod->late_calls > 0 && !pod->quarantined &&
		sim->oracle->open < sim->profile.pleg.inspections_max) {
		/* Of a container that is gone a late call says nothing of the pod. */
		for (uint32_t i = 0; i < sim->call_count; i++)
			if (sim->calls[i].open && sim->calls[i].late &&
				sim->calls[i].container != SIM_NONE &&
				oracle_pod_of(sim, sim->calls[i].container) == opod &&
				oracle_seen(sim, sim->calls[i].container)->raw != CONTAINER_GONE &&
				opod->steps == 0)
				sim_fail(sim, "quarantine",
					"%s has a late call and is not in quarantine", opod->key);
	}
	if (!pod->stuck_id)
		return;
	stuck = oracle_container(sim, pod->stuck_id);
	if (stuck == SIM_NONE || oracle_seen(sim, stuck)->calls_open == 0)
		sim_fail(sim, "quarantine", "%s is stuck in '%s', which has no call open",
			opod->key, pod->stuck_id);
}

/* Addresses that the cache once had stay, also of a sandbox that has exited. */
static void check_ips(struct sim *sim, const struct pleg_pod *pod)
{
	for (size_t i = 0; i < pod->container_count; i++) {
		const struct pleg_container *view = &pod->containers[i];
		uint32_t container;
		struct seen *seen;

		if (view->kind != CONTAINER_KIND_SANDBOX)
			return; /* they come first */
		container = oracle_container(sim, view->id);
		if (!view->status || container == SIM_NONE)
			continue;
		seen = oracle_seen(sim, container);
		if (seen->ip[0] &&
			(view->status->ip_count != 1 ||
				strcmp(view->status->ips[0], seen->ip) != 0))
			sim_fail(sim, "cache-ips", "%s (%s) has lost its address %s", view->id,
				container_state_text(view->status->state), seen->ip);
		if (view->status->ip_count > 0)
			(void)snprintf(seen->ip, sizeof(seen->ip), "%s", view->status->ips[0]);
	}
}

/* From the end of a list to the start of the next; and from a hint no longer than the short period. */
static void check_period(struct sim *sim)
{
	struct oracle *o = sim->oracle;
	uint64_t now = sim->now.mono_ns, base = sim->profile.pleg.relist_period_ns;
	uint64_t present = pleg_stats(sim->pleg)->relist_period_ns;

	if (present > base)
		sim_cover(sim, COVER_PERIOD_GREW);
	if (o->list_open || o->list_ended_ns == 0 || now <= sim->oversleep_until_ns)
		return;
	/* What turned in this very step is done by the tick that follows at once. */
	if (pleg_next_due(sim->pleg) <= now && present <= o->period_ns)
		return;
	if (present > o->period_ns)
		sim_fail(sim, "relist-period", "The period is %.3f s and should be %.3f s at most",
			time_seconds(present), time_seconds(o->period_ns));
	else if (now > o->list_ended_ns + o->period_ns)
		sim_fail(sim, "relist-period", "No list since %.3f s, period %.3f s",
			time_seconds(now - o->list_ended_ns), time_seconds(o->period_ns));
	else if (o->wake_ns > 0 &&
		now > (o->wake_ns > o->list_ended_ns ? o->wake_ns : o->list_ended_ns) + base)
		sim_fail(sim, "relist-period", "No list since a hint %.3f s ago",
			time_seconds(now - o->wake_ns));
}

void oracle_check(struct sim *sim)
{
	struct oracle *o = sim->oracle;
	struct pleg_pod pod;
	size_t cursor = 0;
	bool due = false, still_due = false;

	for (uint32_t i = 0; i < o->pod_count; i++)
		o->pods[i].due = false;

	while (pleg_next_pod(sim->pleg, &cursor, &pod)) {
		uint32_t i = oracle_pod_by_key(sim, pod.uid, false);

		if (i == SIM_NONE) {
			sim_fail(sim, "pods", "Pod '%s' is of no list", pod.uid);
			return;
		}
		check_pod_times(sim, &o->pods[i], &pod);
		check_quarantine(sim, &o->pods[i], &pod);
		check_ips(sim, &pod);
		o->pods[i].due = pod.inspect_error || o->pods[i].steps > 0;
	}
	for (uint32_t i = 0; i < sim->call_count; i++)
		if (sim->calls[i].open && sim->calls[i].type == PLEG_REQUEST_INSPECT &&
			oracle_seen(sim, sim->calls[i].container)->raw != CONTAINER_GONE)
			oracle_pod_of(sim, sim->calls[i].container)->due = true;
	for (uint32_t i = 0; i < o->pod_count; i++) {
		due |= o->pods[i].due;
		/* What was due may have gone in the same step in which another came due. */
		still_due |= o->pods[i].due && o->pods[i].was_due;
		o->pods[i].was_due = o->pods[i].due;
		if (o->pods[i].live == 0 && o->pods[i].steps == 0 &&
			!pleg_find_pod(sim->pleg, o->pods[i].key, &pod)) {
			o->pods[i].status_at_ns = o->pods[i].observed_at_ns = 0;
			o->pods[i].quarantined = false;
			o->pods[i].contested = 0;
		}
	}
	if (!due || o->last_success_ns == sim->now.mono_ns)
		o->due_since_ns = due ? sim->now.mono_ns : NSEC_NEVER;
	else if (o->due_since_ns == NSEC_NEVER)
		o->due_since_ns = sim->now.mono_ns;
	if (!still_due || o->last_success_ns == sim->now.mono_ns)
		o->surely_due_since_ns = due ? sim->now.mono_ns : NSEC_NEVER;
	check_period(sim);
	oracle_note_full(sim);
	for (uint32_t i = 0; o->folding > 0 && i < sim->world.container_count; i++)
		check_unfold(sim, i);
	if (o->steps > 0)
		check_isolation(sim);
	if (o->notice_count > 0)
		oracle_check_notices(sim);
}

static uint64_t due_age(const struct sim *sim, uint64_t since_ns)
{
	return since_ns == NSEC_NEVER ? 0 : sim->now.mono_ns - since_ns;
}

void oracle_check_health(struct sim *sim, const struct pleg_health *health)
{
	struct oracle *o = sim->oracle;
	const uint32_t *counts = o->raw_counts[CONTAINER_KIND_CONTAINER];
	const uint32_t *sandboxes = o->raw_counts[CONTAINER_KIND_SANDBOX];
	uint64_t threshold = sim->profile.pleg.relist_threshold_ns;
	uint64_t age = due_age(sim, o->due_since_ns);
	uint64_t sure_age = due_age(sim, o->surely_due_since_ns);

	if (health->running != counts[CONTAINER_RUNNING] ||
		health->exited != counts[CONTAINER_EXITED] ||
		health->created != counts[CONTAINER_CREATED] ||
		health->unknown != counts[CONTAINER_UNKNOWN])
		sim_fail(sim, "health-counts",
			"running %u exited %u created %u unknown %u, but should be "
			"%u %u %u %u",
			health->running, health->exited, health->created, health->unknown,
			counts[CONTAINER_RUNNING], counts[CONTAINER_EXITED],
			counts[CONTAINER_CREATED], counts[CONTAINER_UNKNOWN]);
	if (health->sandboxes != sandboxes[CONTAINER_RUNNING] + sandboxes[CONTAINER_EXITED])
		sim_fail(sim, "health-counts", "%u sandboxes, but should be %u", health->sandboxes,
			sandboxes[CONTAINER_RUNNING] + sandboxes[CONTAINER_EXITED]);
	if (health->inspections_starved)
		sim_cover(sim, COVER_STARVED);
	/* What exactly is due only PLEG knows; from outside it is known with some slack. While all slots
	 * are taken, sound pods whose turn has come to be looked at wait too. */
	if (health->inspections_starved && o->full_ns + threshold < sim->now.mono_ns &&
		age + 2 * NSEC_PER_SEC < threshold)
		sim_fail(sim, "starved", "Starved, but inspections are due only for %.3f s",
			time_seconds(age));
	if (!health->inspections_starved && sure_age > threshold + 2 * NSEC_PER_SEC)
		sim_fail(sim, "starved",
			"Inspections are due for %.3f s without success, and it is not told",
			time_seconds(sure_age));
}

/* ---- at the end: all is told, and all is as it is ---------------------------------------------------------------------- */

static void check_told(struct sim *sim, uint32_t container)
{
	struct seen *seen = oracle_seen(sim, container);
	const struct world_version *truth = world_newest(&sim->world, container);
	const struct pleg_container *view;
	const struct answer *answer;
	struct pleg_pod pod;

	oracle_skip_changed(sim, seen);
	/* What leads to unknown is never sent. */
	if (seen->folding && (seen->told == seen->shown || seen->shown == CONTAINER_UNKNOWN))
		oracle_unfold(sim, seen);
	if (seen->count > 0 || seen->folding)
		sim_fail(sim, "event-missing", "%s: %u steps are not told, next is %s",
			oracle_id(sim, container), seen->count, oracle_next_text(seen));
	else if (seen->raw != truth->state)
		sim_fail(sim, "world", "%s is %s, and the last word is %s",
			oracle_id(sim, container), container_state_text(truth->state),
			container_state_text(seen->raw));
	if (truth->state == CONTAINER_GONE || sim->failed)
		return;
	view = oracle_view(sim, container, &pod);
	answer = view && view->status ? oracle_answer(seen, view->status) : NULL;
	/* Not: the newest life. One that ended and began between two looks is seen by nobody. */
	if (!answer || oracle_state(answer->state) != oracle_state(truth->state) ||
		answer->ended_seq < seen->shown_seq)
		sim_fail(sim, "cache-final", "%s is %s, and the cache has %s",
			oracle_id(sim, container), container_state_text(truth->state),
			!view                   ? "no such container"
				: !view->status ? "no status"
						: container_state_text(view->status->state));
}

void oracle_check_final(struct sim *sim)
{
	struct oracle *o = sim->oracle;
	struct pleg_pod pod;
	size_t cursor = 0;
	uint64_t folded;

	for (uint32_t i = 0; i < sim->world.container_count && !sim->failed; i++)
		check_told(sim, i);
	while (!sim->failed && pleg_next_pod(sim->pleg, &cursor, &pod)) {
		uint32_t i = oracle_pod_by_key(sim, pod.uid, false);

		if (pod.quarantined || pod.inspect_error || pod.stuck_id)
			sim_fail(sim, "final-well", "%s is still in trouble: quarantined %d, '%s'",
				pod.uid, pod.quarantined,
				pod.inspect_error ? pod.inspect_error : "");
		else if (o->pods[i].live == 0)
			sim_fail(sim, "final-well", "%s is still there", pod.uid);
		else if (o->pods[i].sync_wanted)
			sim_fail(sim, "pod-sync",
				"%s was to be relisted on demand, and nothing was told", pod.uid);
	}
	if (!sim->failed && (o->late > 0 || o->open > 0))
		sim_fail(sim, "final-well", "%u inspections open, %u late", o->open, o->late);
	if (!sim->failed && o->notice_count > 0)
		sim_fail(sim, "notice-missing", "%u subscriptions were never noticed, first %s",
			o->notice_count, o->notices[0].uid);
	folded = pleg_stats(sim->pleg)->events_folded;
	if (folded > 0)
		sim_cover(sim, COVER_FOLDED);
	if (!sim->failed && 2 * folded > o->left_out)
		sim_fail(sim, "folded", "%llu folds counted, but only %llu steps left out",
			(unsigned long long)folded, (unsigned long long)o->left_out);
}
