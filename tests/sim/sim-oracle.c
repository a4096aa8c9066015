/*
 * The oracle: knows what each answer showed, when its call began and ended, and from that alone which
 * events must be told, in which order, with which exit code, and what the cache may hold meanwhile.
 *
 * Order is judged by a number of its own that grows with every input and request. An answer is an
 * observation of every container it covers, also of one that it does not have. Per container:
 *
 *  - An observation whose call began before a newer one of the same container ended is stale: it
 *    changes nothing.
 *  - Every other one that shows another state than the last adds a step. Steps wait in a queue until
 *    they are told; an event must be the next one in the queue of its container.
 *  - Over QUEUE_KEPT steps PLEG may fold ways round (from a state back to it), and which of them is its
 *    own matter. From then on the container is "folding": events must be legal from what was told
 *    last, be no more than the steps that were shown, and end where the last step did.
 *  - An inspection that shows a new state while its pod's run failed may be left out (the kubelet's
 *    rule: the first failure of a pod's inspection ends it). Whether it was is read from pleg's own
 *    view, and being left out is only accepted where such a failure was.
 *
 * Reasons for every leniency stand where it is.
 */
#include "sim-oracle.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

struct oracle *oracle_new(void)
{
	return mem_zalloc(sizeof(struct oracle));
}

struct oracle *oracle_free(struct oracle *oracle)
{
	if (!oracle)
		return NULL;
	for (uint32_t i = 0; i < WORLD_CONTAINERS_MAX; i++)
		(void)mem_free(oracle->seen[i].steps);
	return mem_free(oracle);
}

struct seen *oracle_seen(struct sim *sim, uint32_t container)
{
	return &sim->oracle->seen[container];
}

/* Containers of the world come and go; what is not used yet is made when it is first looked at. */
static void seen_reset(struct seen *seen)
{
	struct step *steps = seen->steps;
	uint32_t cap = seen->cap;

	*seen = (struct seen){ .pod = SIM_NONE, .steps = steps, .cap = cap };
}

void oracle_begin(struct sim *sim)
{
	struct oracle *o = sim->oracle;

	for (uint32_t i = 0; i < WORLD_CONTAINERS_MAX; i++) {
		if (i > 0 && o->seen[i].pod == 0 && o->seen[i].cap == 0)
			continue;
		seen_reset(&o->seen[i]);
	}
	for (uint32_t i = 0; i < WORLD_CONTAINERS_MAX; i++)
		o->seen[i].pod = SIM_NONE;
	o->seq = 1;
	o->pod_count = o->steps = o->unclear = o->folding = 0;
	o->listed = o->list_open = false;
	o->list_started_ns = o->listed_seq = 0;
	o->list_ended_ns = o->period_ns = o->wake_ns = 0;
	o->hints_good = o->list_cause = false;
	o->doubt = true;
	o->left_out = o->last_token = 0;
	o->open = o->late = 0;
	o->full_ns = o->late_full_ns = 0;
	o->notice_count = 0;
	o->due_since_ns = NSEC_NEVER;
	o->surely_due_since_ns = NSEC_NEVER;
	o->last_success_ns = 0;
	memset(o->raw_counts, 0, sizeof(o->raw_counts));
}

const char *oracle_id(const struct sim *sim, uint32_t container)
{
	return sim->world.containers[container].id;
}

enum container_state oracle_state(enum container_state state)
{
	return state == CONTAINER_CREATED ? CONTAINER_UNKNOWN : state;
}

/* ---- pods: by sandbox first, by label second, else of its own ------------------------------------ */

uint32_t oracle_pod_by_key(struct sim *sim, const char *key, bool make)
{
	struct oracle *o = sim->oracle;

	for (uint32_t i = 0; i < o->pod_count; i++)
		if (strcmp(o->pods[i].key, key) == 0)
			return i;
	if (!make || o->pod_count == WORLD_CONTAINERS_MAX)
		return SIM_NONE;
	o->pods[o->pod_count] = (struct opod){ .trouble_ns = 0 };
	(void)snprintf(o->pods[o->pod_count].key, sizeof(o->pods[0].key), "%s", key);
	return o->pod_count++;
}

uint32_t oracle_container(const struct sim *sim, const char *id)
{
	uint32_t index = 0;

	if (!id[0])
		return SIM_NONE;
	for (const char *digit = id + 1; *digit >= '0' && *digit <= '9'; digit++)
		index = index * 10 + (uint32_t)(*digit - '0');
	if (index < sim->world.container_count && strcmp(sim->world.containers[index].id, id) == 0)
		return index;
	return SIM_NONE;
}

static uint32_t pod_of_new(struct sim *sim, uint32_t container)
{
	const struct world_container *c = &sim->world.containers[container];
	uint32_t sandbox;

	if (c->kind == CONTAINER_KIND_CONTAINER) {
		sandbox = oracle_container(sim, c->sandbox_id);
		if (sandbox != SIM_NONE && oracle_seen(sim, sandbox)->pod != SIM_NONE)
			return oracle_seen(sim, sandbox)->pod;
	}
	if (c->label_pod != SIM_NONE)
		return oracle_pod_by_key(sim, sim->world.pods[c->label_pod].uid, true);
	return oracle_pod_by_key(sim,
		c->kind == CONTAINER_KIND_CONTAINER && c->sandbox_id[0] ? c->sandbox_id : c->id,
		true);
}

struct opod *oracle_pod_of(struct sim *sim, uint32_t container)
{
	uint32_t pod = oracle_seen(sim, container)->pod;

	return pod == SIM_NONE ? NULL : &sim->oracle->pods[pod];
}

/* All told of one that went, and no call open: PLEG may forget it. */
void oracle_forget(struct sim *sim, uint32_t container)
{
	struct seen *seen = oracle_seen(sim, container);

	if (seen->shown == CONTAINER_GONE && seen->count == 0 && !seen->folding &&
		seen->calls_open == 0)
		seen->pod = SIM_NONE;
}

/* ---- what was shown ---------------------------------------------------------------------------------- */

static void cover_transition(struct sim *sim, enum container_state old, enum container_state new)
{
	static const struct {
		enum container_state old, new;
		enum sim_coverage row;
	} rows[] = {
		{ CONTAINER_GONE, CONTAINER_RUNNING, COVER_GONE_RUNNING },
		{ CONTAINER_GONE, CONTAINER_EXITED, COVER_GONE_EXITED },
		{ CONTAINER_GONE, CONTAINER_CREATED, COVER_GONE_CREATED },
		{ CONTAINER_GONE, CONTAINER_UNKNOWN, COVER_GONE_UNKNOWN },
		{ CONTAINER_CREATED, CONTAINER_RUNNING, COVER_CREATED_RUNNING },
		{ CONTAINER_CREATED, CONTAINER_EXITED, COVER_CREATED_EXITED },
		{ CONTAINER_CREATED, CONTAINER_GONE, COVER_CREATED_GONE },
		{ CONTAINER_RUNNING, CONTAINER_EXITED, COVER_RUNNING_EXITED },
		{ CONTAINER_RUNNING, CONTAINER_UNKNOWN, COVER_RUNNING_UNKNOWN },
		{ CONTAINER_RUNNING, CONTAINER_GONE, COVER_RUNNING_GONE },
		{ CONTAINER_EXITED, CONTAINER_RUNNING, COVER_EXITED_RUNNING },
		{ CONTAINER_EXITED, CONTAINER_GONE, COVER_EXITED_GONE },
		{ CONTAINER_UNKNOWN, CONTAINER_RUNNING, COVER_UNKNOWN_RUNNING },
		{ CONTAINER_UNKNOWN, CONTAINER_EXITED, COVER_UNKNOWN_EXITED },
		{ CONTAINER_UNKNOWN, CONTAINER_GONE, COVER_UNKNOWN_GONE },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].old == old && rows[i].new == new)
			sim_cover(sim, rows[i].row);
}

static void seen_fold(struct sim *sim, struct seen *seen)
{
	struct oracle *o = sim->oracle;

	seen->folding = true;
	o->folding++;
	seen->fold_unknown = false;
	seen->event_ns = 0;
	seen->budget = seen->count;
	o->steps++;
	o->pods[seen->pod].steps++;
	for (uint32_t i = 0; i < seen->count; i++) {
		bool counted = seen->steps[seen->head + i].state != CONTAINER_UNKNOWN;

		seen->fold_unknown |= !counted;
		/* One that went may be told with two events. */
		seen->budget += seen->steps[seen->head + i].state == CONTAINER_GONE;
		o->steps -= counted;
		o->pods[seen->pod].steps -= counted;
	}
	seen->count = 0;
}

static void seen_push(struct sim *sim, struct seen *seen, struct step step)
{
	if (seen->folding) {
		seen->fold_unknown |= step.state == CONTAINER_UNKNOWN;
		seen->budget += step.state == CONTAINER_GONE ? 2 : 1;
		return;
	}
	if (seen->count == 0)
		seen->head = 0;
	if (seen->head + seen->count == seen->cap) {
		uint32_t cap = seen->cap ? seen->cap * 2 : 16;
		void *grown = mem_resize(seen->steps, cap, sizeof(*seen->steps));

		assert(grown);
		seen->steps = grown;
		seen->cap = cap;
	}
	seen->steps[seen->head + seen->count++] = step;
	if (step.state != CONTAINER_UNKNOWN) {
		sim->oracle->steps++;
		sim->oracle->pods[seen->pod].steps++;
	}
	if (seen->count > QUEUE_KEPT)
		seen_fold(sim, seen);
}

/* All is told that will be told: back to the strict rule. */
void oracle_unfold(struct sim *sim, struct seen *seen)
{
	seen->folding = false;
	sim->oracle->folding--;
	sim->oracle->left_out += seen->budget;
	sim->oracle->steps--;
	sim->oracle->pods[seen->pod].steps--;
}

/* The container was observed; not stale. */
static void seen_observe(
	struct sim *sim, uint32_t container, enum container_state state, bool by_inspect)
{
	struct oracle *o = sim->oracle;
	struct seen *seen = oracle_seen(sim, container);
	struct opod *pod = oracle_pod_of(sim, container);
	enum container_kind kind = sim->world.containers[container].kind;

	seen->observed_seq = o->seq;
	if (state == seen->raw)
		return;
	cover_transition(sim, seen->raw, state);
	if (by_inspect)
		sim_cover(sim, COVER_SHOWN_BY_INSPECT);
	if (seen->raw != CONTAINER_GONE)
		o->raw_counts[kind][seen->raw]--;
	else
		pod->live++;
	if (state != CONTAINER_GONE)
		o->raw_counts[kind][state]++;
	else
		pod->live--;
	seen->raw = state;
	if (oracle_state(state) == seen->shown)
		return;
	seen->shown = oracle_state(state);
	seen->shown_seq = o->seq;
	seen->step_ns = sim->now.mono_ns;
	seen_push(sim, seen,
		(struct step){ .state = seen->shown,
			.initial = !o->listed && !by_inspect,
			.by_inspect = by_inspect,
			.seq = o->seq,
			.ns = sim->now.mono_ns,
			.real_ns = sim->now.real_ns });
}

/* ---- calls ------------------------------------------------------------------------------------------------ */

static void check_one_per_subject(struct sim *sim, const struct sim_call *call)
{
	for (uint32_t i = 0; i < sim->call_count; i++) {
		const struct sim_call *other = &sim->calls[i];

		if (other == call || !other->open || other->type != call->type)
			continue;
		if (call->type == PLEG_REQUEST_INSPECT
				? other->container == call->container
				: strcmp(other->pod_uid, call->pod_uid) == 0 &&
					strcmp(other->sandbox_id, call->sandbox_id) == 0)
			sim_fail(sim, "one-call-per-subject",
				"A second call of type %d on '%s%s%s' while one is %s", call->type,
				call->container == SIM_NONE ? "" : oracle_id(sim, call->container),
				call->pod_uid, call->sandbox_id, other->late ? "late" : "open");
	}
}

static void check_bounds(struct sim *sim)
{
	struct oracle *o = sim->oracle;
	const struct pleg_config *config = &sim->profile.pleg;
	uint64_t trials;

	if (o->open > config->inspections_max)
		sim_fail(sim, "inspections-max", "%u inspections in flight", o->open);
	if (o->late < config->late_max) {
		o->late_full_ns = 0;
		return;
	}
	if (o->late_full_ns == 0)
		o->late_full_ns = sim->now.mono_ns;
	/* What was in flight when the bound was reached, one more call of each run that was under way
	 * (its first late one ends it), and one trial at a time. */
	trials = 1 + (sim->now.mono_ns - o->late_full_ns) / config->inspect_timeout_ns;
	if (trials > 3 * (uint64_t)config->late_max)
		trials = 3 * (uint64_t)config->late_max;
	if (o->late > config->late_max + 2 * config->inspections_max + trials)
		sim_fail(sim, "late-max", "%u late inspections with late_max %u", o->late,
			config->late_max);
}

void oracle_on_request(struct sim *sim, const struct pleg_request *request, struct sim_call *call)
{
	struct oracle *o = sim->oracle;
	struct seen *seen;

	call->started_seq = ++o->seq;
	if (request->token == 0 || request->token <= o->last_token)
		sim_fail(sim, "request-sane", "Token %llu after %llu",
			(unsigned long long)request->token, (unsigned long long)o->last_token);
	o->last_token = request->token;
	check_one_per_subject(sim, call);
	switch (request->type) {
	case PLEG_REQUEST_LIST:
		sim_cover(sim, COVER_REQUEST_LIST);
		o->list_open = true;
		if (o->list_ended_ns > 0 && !o->list_cause &&
			sim->now.mono_ns < o->list_ended_ns + sim->profile.pleg.relist_period_ns)
			sim_fail(sim, "relist-period", "A list %.3f s after the last one",
				time_seconds(sim->now.mono_ns - o->list_ended_ns));
		o->list_cause = false;
		o->wake_ns = 0;
		if (request->timeout_ns != sim->profile.pleg.list_timeout_ns)
			sim_fail(sim, "request-sane", "Timeout of a list");
		return;
	case PLEG_REQUEST_LIST_POD:
		sim_cover(sim,
			request->pod_uid[0] ? COVER_REQUEST_LIST_POD : COVER_REQUEST_LIST_SANDBOX);
		return;
	case PLEG_REQUEST_INSPECT: break;
	}
	sim_cover(sim,
		request->kind == CONTAINER_KIND_SANDBOX ? COVER_REQUEST_INSPECT_SANDBOX
							: COVER_REQUEST_INSPECT_CONTAINER);
	seen = oracle_seen(sim, call->container);
	if (request->kind != sim->world.containers[call->container].kind ||
		request->timeout_ns != sim->profile.pleg.inspect_timeout_ns)
		sim_fail(sim, "request-sane", "Inspection of '%s' as a %s", request->id,
			container_kind_text(request->kind));
	if (seen->pod == SIM_NONE) {
		sim_fail(sim, "request-sane", "Inspection of '%s', which is in no list",
			request->id);
		return;
	}
	seen->calls_open++;
	o->pods[seen->pod].calls_open++;
	o->open++;
	check_bounds(sim);
}

/* No slot is free, or only trials may start: whoever waits has to. */
void oracle_note_full(struct sim *sim)
{
	struct oracle *o = sim->oracle;

	if (o->open >= sim->profile.pleg.inspections_max || o->late >= sim->profile.pleg.late_max)
		o->full_ns = sim->now.mono_ns;
}

/* An INSPECT has ended, however. */
static void call_ended(struct sim *sim, struct sim_call *call)
{
	struct oracle *o = sim->oracle;
	struct opod *pod = oracle_pod_of(sim, call->container);

	oracle_note_full(sim);
	oracle_seen(sim, call->container)->calls_open--;
	if (call->late)
		o->late--;
	else
		o->open--;
	if (!pod)
		return;
	pod->calls_open--;
	if (call->late)
		pod->late_calls--;
	if (call->was_hung) {
		pod->hung_calls--;
		pod->trouble_ns = sim->now.mono_ns;
	}
}

void oracle_on_hung(struct sim *sim, struct sim_call *call)
{
	if (call->type != PLEG_REQUEST_INSPECT || call->was_hung)
		return;
	call->was_hung = true;
	oracle_pod_of(sim, call->container)->hung_calls++;
}

/* Fails the run that the call is part of, unless it is an old one that was late already. */
static void pod_failed(struct sim *sim, const struct sim_call *call, bool of_run)
{
	struct opod *pod = oracle_pod_of(sim, call->container);

	if (!pod)
		return;
	if (call->started_ns > pod->entry_ns)
		pod->entry_ns = call->started_ns;
	/* What is gone may have been part of the run, or be left over from an older one. */
	if (of_run && oracle_seen(sim, call->container)->raw == CONTAINER_GONE)
		pod->maybe_failed_seq = sim->oracle->seq;
	else if (of_run)
		pod->failed_seq = sim->oracle->seq;
	pod->trouble_ns = sim->now.mono_ns;
	pod->syncs_allowed++;
}

/* The period is short again, at once. */
static void period_back(struct sim *sim)
{
	struct oracle *o = sim->oracle;

	if (o->period_ns > sim->profile.pleg.relist_period_ns)
		sim_cover(sim, COVER_PERIOD_BACK);
	o->period_ns = sim->profile.pleg.relist_period_ns;
}

/* ... and stays so after the next list. */
static void doubt(struct sim *sim)
{
	sim->oracle->doubt = true;
	period_back(sim);
}

void oracle_on_wake(struct sim *sim)
{
	if (sim->oracle->wake_ns == 0)
		sim->oracle->wake_ns = sim->now.mono_ns;
	sim->oracle->list_cause = true;
}

void oracle_on_relist_now(struct sim *sim)
{
	sim->oracle->list_cause = true;
}

void oracle_on_hints(struct sim *sim, bool good)
{
	sim->oracle->hints_good = good;
	if (!good)
		period_back(sim);
}

bool oracle_recycle(struct sim *sim, uint32_t container)
{
	struct seen *seen = oracle_seen(sim, container);

	if (seen->pod != SIM_NONE || seen->raw != CONTAINER_GONE || seen->calls_open > 0 ||
		seen->unclear)
		return false;
	seen_reset(seen);
	return true;
}

size_t oracle_own_bytes(const struct sim *sim)
{
	size_t sum = 0;

	for (uint32_t i = 0; i < WORLD_CONTAINERS_MAX; i++)
		sum += sim->oracle->seen[i].cap * sizeof(struct step);
	return sum;
}

bool oracle_is_busy(const struct sim *sim)
{
	return sim->oracle->open > 0;
}

void oracle_on_late(struct sim *sim, struct sim_call *call)
{
	struct oracle *o = sim->oracle;

	o->seq++;
	doubt(sim);
	if (call->type != PLEG_REQUEST_INSPECT)
		return;
	o->open--;
	o->late++;
	oracle_pod_of(sim, call->container)->late_calls++;
	pod_failed(sim, call, true);
	check_bounds(sim);
}

static void list_ended(struct sim *sim, const struct sim_call *call)
{
	struct oracle *o = sim->oracle;
	const struct pleg_config *config = &sim->profile.pleg;

	if (call->type != PLEG_REQUEST_LIST)
		return;
	o->list_open = false;
	o->list_ended_ns = sim->now.mono_ns;
	if (call->late)
		o->list_cause = o->doubt = true;
	/* No longer than this: what else PLEG doubts is its own matter. */
	if (o->doubt || !o->hints_good || o->late > 0 || o->period_ns == 0 || !config->relist_auto)
		o->period_ns = config->relist_period_ns;
	else
		o->period_ns *= 2;
	if (o->period_ns > config->relist_period_max_ns)
		o->period_ns = config->relist_period_max_ns;
	if (o->period_ns < config->relist_period_ns)
		o->period_ns = config->relist_period_ns;
	o->doubt = false;
}

/* An answer of one of its containers in time. */
static void pod_observed(struct sim *sim, const struct sim_call *call)
{
	struct opod *pod = oracle_pod_of(sim, call->container);

	if (pod && call->started_ns > pod->listed_ns)
		pod->listed_ns = call->started_ns;
}

/* "Not found" of what the list has. If the next one has it too, it is inspected again. */
static void pod_missing(struct sim *sim, const struct sim_call *call)
{
	struct opod *pod = oracle_pod_of(sim, call->container);

	pod_observed(sim, call);
	if (!pod)
		return;
	pod->trouble_ns = sim->now.mono_ns;
}

void oracle_on_failed(struct sim *sim, struct sim_call *call, enum pleg_failure failure)
{
	struct oracle *o = sim->oracle;
	struct seen *seen;

	o->seq++;
	doubt(sim);
	list_ended(sim, call);
	if (call->type != PLEG_REQUEST_INSPECT)
		return;
	seen = oracle_seen(sim, call->container);
	call_ended(sim, call);
	/* "Not found" is an answer: what it was of went after the list. */
	if (failure != PLEG_FAILURE_NOT_FOUND || call->late)
		pod_failed(sim, call, !call->late);
	else
		pod_missing(sim, call);
	if (failure == PLEG_FAILURE_NOT_FOUND)
		seen->answers[seen->answer_count++ % ANSWERS_KEPT] =
			(struct answer){ .not_found = true,
				.late = call->late,
				.started_seq = call->started_seq,
				.ended_seq = o->seq };
	oracle_forget(sim, call->container);
}

void oracle_on_inspect(
	struct sim *sim, struct sim_call *call, const struct container_status *status)
{
	struct oracle *o = sim->oracle;
	struct seen *seen = oracle_seen(sim, call->container);

	o->seq++;
	call_ended(sim, call);
	seen->answers[seen->answer_count++ % ANSWERS_KEPT] =
		(struct answer){ .state = status->state,
			.has_exit_code = status->has_exit_code,
			.exit_code = status->exit_code,
			.started_at_ns = status->started_at_ns,
			.finished_at_ns = status->finished_at_ns,
			.late = call->late,
			.started_seq = call->started_seq,
			.ended_seq = o->seq };
	if (!call->late)
		pod_observed(sim, call);
	if (call->late)
		pod_failed(sim, call, false); /* "only causes a fresh inspection" */
}

const struct pleg_container *oracle_view(struct sim *sim, uint32_t container, struct pleg_pod *pod)
{
	const struct opod *opod = oracle_pod_of(sim, container);

	if (!opod || !pleg_find_pod(sim->pleg, opod->key, pod))
		return NULL;
	for (size_t i = 0; i < pod->container_count; i++)
		if (strcmp(pod->containers[i].id, oracle_id(sim, container)) == 0)
			return &pod->containers[i];
	return NULL;
}

void oracle_after_inspect(
	struct sim *sim, const struct sim_call *call, const struct container_status *status)
{
	struct seen *seen = oracle_seen(sim, call->container);
	struct opod *opod = oracle_pod_of(sim, call->container);
	const struct pleg_container *view;
	struct pleg_pod pod;
	bool stale = seen->observed_seq > call->started_seq;

	if (call->late || seen->raw == CONTAINER_GONE) {
		/* That it is gone only a list says, and that it is back too. But it was looked at. */
		if (!call->late)
			seen->maybe_seq = sim->oracle->seq;
		oracle_forget(sim, call->container);
		return;
	}
	if (!stale && seen->maybe_seq > call->started_seq && status->state != seen->raw) {
		view = oracle_view(sim, call->container, &pod);
		stale = view && view->state != status->state;
	}
	if (stale && status->state != seen->raw) {
		sim_cover(sim, COVER_STALE_INSPECT);
		opod->contested++;
		opod->trouble_ns = sim->now.mono_ns;
		opod->syncs_allowed++;
	}
	if (!stale && status->state != seen->raw) {
		/* The only reason to leave it out: the run that it was part of has failed. */
		view = oracle_view(sim, call->container, &pod);
		if (view && view->state == status->state)
			seen_observe(sim, call->container, status->state, true);
		else if (opod->failed_seq < call->started_seq &&
			opod->maybe_failed_seq < call->started_seq)
			sim_fail(sim, "shown-is-believed",
				"An inspection showed %s %s, and PLEG goes on with %s",
				oracle_id(sim, call->container),
				container_state_text(status->state),
				view ? container_state_text(view->state) : "nothing");
	} else if (!stale) {
		view = oracle_view(sim, call->container, &pod);
		/* Part of a run or not, nobody can tell from here; if it counted, it is the newest. */
		if (seen->maybe_seq > call->started_seq)
			seen->maybe_seq = sim->oracle->seq; /* nor if a newer list was the newest */
		else if (opod->failed_seq < call->started_seq &&
			opod->maybe_failed_seq < call->started_seq)
			seen->observed_seq = sim->oracle->seq;
		else if (opod->failed_seq < call->started_seq)
			seen->maybe_seq = sim->oracle->seq;
	}
}

/* ---- lists ---------------------------------------------------------------------------------------------------- */

static bool list_is_stale(
	struct sim *sim, const struct sim_call *call, uint32_t container, uint32_t pod)
{
	const struct seen *seen = oracle_seen(sim, container);
	struct pleg_pod view;

	if (seen->observed_seq > call->started_seq)
		return true;
	/* What is not known is as old as what is known of its pod; a known container that the pod's own
	 * list did not cover (by label) is not. */
	return call->type == PLEG_REQUEST_LIST && pod != SIM_NONE && seen->raw == CONTAINER_GONE &&
		sim->oracle->pods[pod].listed_seq > call->started_seq &&
		!oracle_view(sim, container, &view);
}

static bool list_is_unclear(
	struct sim *sim, const struct sim_call *call, struct seen *seen, enum container_state state)
{
	if (seen->maybe_seq <= call->started_seq)
		return false;
	if (seen->raw == state) { /* and so is whether it was observed now */
		seen->maybe_seq = sim->oracle->seq;
		return true;
	}
	seen->unclear = true;
	seen->unclear_state = state;
	sim->oracle->unclear++;
	return true;
}

void oracle_after_list(struct sim *sim)
{
	for (uint32_t i = 0; sim->oracle->unclear > 0; i++) {
		struct seen *seen = oracle_seen(sim, i);
		const struct pleg_container *view;
		struct pleg_pod pod;

		if (!seen->unclear)
			continue;
		seen->unclear = false;
		sim->oracle->unclear--;
		view = oracle_view(sim, i, &pod);
		if ((view ? view->state : CONTAINER_GONE) == seen->unclear_state)
			seen_observe(sim, i, seen->unclear_state, false);
		oracle_forget(sim, i);
	}
}

static void list_entry(
	struct sim *sim, const struct sim_call *call, uint32_t only, const struct sim_entry *entry)
{
	struct seen *seen = oracle_seen(sim, entry->container);
	const struct world_container *c = &sim->world.containers[entry->container];
	struct oracle *o = sim->oracle;
	bool recorded = seen->pod != SIM_NONE;
	uint32_t pod = recorded ? seen->pod : pod_of_new(sim, entry->container);

	/* Labelled as of one pod and in the sandbox of another, it may have been known, and forgotten,
	 * as the other's: no runtime does that, and PLEG may take it for new. */
	if (!recorded && c->label_pod != SIM_NONE && c->label_pod != c->pod &&
		seen->observed_seq > call->started_seq && (only == SIM_NONE || pod == only)) {
		seen->pod = pod;
		seen->maybe_seq = o->seq;
		(void)list_is_unclear(sim, call, seen, entry->state);
		return;
	}
	if (list_is_stale(sim, call, entry->container, pod)) {
		if (seen->raw != entry->state)
			sim_cover(sim, COVER_STALE_LIST);
		return;
	}
	/* A list by label may have what belongs to another pod by its sandbox: not this list's matter. */
	if (only != SIM_NONE && pod != only)
		return;
	seen->pod = pod;
	if (list_is_unclear(sim, call, seen, entry->state))
		return;
	seen_observe(sim, entry->container, entry->state, false);
}

/* Whether the list would have had it. */
static bool list_covers(
	struct sim *sim, const struct sim_call *call, uint32_t only, uint32_t container)
{
	const struct world_container *c = &sim->world.containers[container];
	struct seen *seen = oracle_seen(sim, container);

	if (call->type == PLEG_REQUEST_LIST)
		return true;
	if (seen->pod != only)
		return false; /* of what is not known, the pod's listed_seq tells */
	if (call->pod_uid[0])
		return c->label_pod != SIM_NONE &&
			strcmp(sim->world.pods[c->label_pod].uid, call->pod_uid) == 0;
	return strcmp(c->kind == CONTAINER_KIND_SANDBOX ? c->id : c->sandbox_id,
		       call->sandbox_id) == 0;
}

void oracle_on_list(struct sim *sim, struct sim_call *call, const struct sim_list *list)
{
	struct oracle *o = sim->oracle;
	uint32_t only = SIM_NONE;
	uint8_t in_list[WORLD_CONTAINERS_MAX] = { 0 };

	o->seq++;
	list_ended(sim, call);
	if (call->late)
		return;
	/* Begun before a newer list of everything ended: it shows nothing. */
	if (call->type == PLEG_REQUEST_LIST_POD && o->listed_seq > call->started_seq) {
		sim_cover(sim, COVER_STALE_LIST);
		return;
	}
	if (call->type == PLEG_REQUEST_LIST_POD)
		only = oracle_pod_by_key(
			sim, call->pod_uid[0] ? call->pod_uid : call->sandbox_id, true);
	for (uint32_t i = 0; i < list->count; i++) {
		const struct sim_entry *entry = &list->entries[i];

		if (entry->container == SIM_NONE || in_list[entry->container])
			continue;
		in_list[entry->container] = 1;
		list_entry(sim, call, only, entry);
	}
	for (uint32_t i = 0; i < sim->world.container_count; i++) {
		struct seen *seen = &o->seen[i];

		if (in_list[i] || !list_covers(sim, call, only, i))
			continue;
		if (list_is_stale(sim, call, i, seen->pod)) {
			if (seen->raw != CONTAINER_GONE)
				sim_cover(sim, COVER_STALE_LIST);
			continue;
		}
		if (seen->raw != CONTAINER_GONE && list_is_unclear(sim, call, seen, CONTAINER_GONE))
			continue;
		seen->observed_seq = o->seq;
		if (seen->raw != CONTAINER_GONE)
			seen_observe(sim, i, CONTAINER_GONE, false);
	}
	if (call->type == PLEG_REQUEST_LIST) {
		o->listed = true;
		o->listed_seq = o->seq;
		o->list_started_ns = call->started_ns;
	} else if (only != SIM_NONE) {
		o->pods[only].listed_seq = o->seq;
		if (call->started_ns > o->pods[only].listed_ns)
			o->pods[only].listed_ns = call->started_ns;
	}
}
