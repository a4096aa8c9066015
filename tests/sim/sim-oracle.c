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
#include "sim.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define QUEUE_KEPT   8  /* steps that PLEG must keep apart */
#define ANSWERS_KEPT 16 /* inspections remembered per container */
#define CONTESTED    2  /* contradictions after which an inspection is believed as it is */

struct step {
	enum container_state state; /* created counts as unknown */
	bool initial, by_inspect;
	uint64_t seq, ns; /* when it was shown */
	int64_t real_ns;
};

struct answer {
	enum container_state state;
	bool has_exit_code, late, not_found;
	int32_t exit_code;
	int64_t started_at_ns, finished_at_ns;
	uint64_t started_seq, ended_seq;
};

/* What the oracle knows of a container. */
struct seen {
	uint32_t pod; /* SIM_NONE: not recorded */
	enum container_state raw, shown, told;
	uint64_t maybe_seq; /* end of an inspection that counted or not: only PLEG knows */
	bool unclear;       /* a list whose turn depends on that has shown `unclear_state` */
	enum container_state unclear_state;
	bool removed_next; /* Died of a container that went was told, Removed comes next */
	uint64_t observed_seq, shown_seq, previous_running_seq; /* shown: the last step */
	uint32_t calls_open;
	struct step *steps;
	uint32_t head, count, cap;
	bool folding, fold_unknown; /* a step to unknown, of which nothing is told, is among them */
	uint32_t budget;            /* steps that may still be told while folding */
	uint64_t event_ns;          /* last event */
	struct answer answers[ANSWERS_KEPT];
	uint32_t answer_count;
	char ip[16]; /* of a sandbox, once the cache had it */
};

struct opod {
	char key[16];
	uint32_t steps;     /* waiting in all its containers, without those to unknown */
	uint32_t live;      /* containers shown */
	uint64_t listed_ns; /* start of the newest observation of this pod alone */
	uint64_t entry_ns;  /* start of the newest inspection that ended, be it with an error, which
	                          makes a new cache entry too, as the kubelet's does */
	uint64_t listed_seq; /* end of the last list of this pod alone */
	uint64_t failed_seq, maybe_failed_seq, trouble_ns;
	uint32_t calls_open, hung_calls, late_calls, contested, syncs_allowed;
	bool sync_wanted, quarantined;
	uint64_t status_at_ns, observed_at_ns;
};

struct wanted_notice {
	uint64_t id, newer_than_ns;
	char uid[16];
};

struct oracle {
	uint64_t seq;
	struct seen seen[WORLD_CONTAINERS_MAX];
	struct opod pods[WORLD_CONTAINERS_MAX];
	uint32_t pod_count, steps;
	uint32_t unclear, folding; /* containers, see there */
	bool listed;
	uint64_t listed_seq; /* end of the last full list */
	uint64_t list_started_ns, list_ended_ns;
	bool list_open;
	uint64_t left_out, last_token; /* steps that were not told, thanks to folding */
	uint32_t open, late;
	uint64_t full_ns, late_full_ns;
	struct wanted_notice notices[4096];
	uint32_t notice_count;
	uint64_t due_since_ns, last_success_ns;
	uint32_t raw_counts[2][CONTAINER_UNKNOWN + 1];
	uint32_t check_turn;
};

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

static struct seen *oracle_seen(struct sim *sim, uint32_t container)
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
	o->list_ended_ns = 0;
	o->left_out = o->last_token = 0;
	o->open = o->late = 0;
	o->full_ns = o->late_full_ns = 0;
	o->notice_count = 0;
	o->due_since_ns = NSEC_NEVER;
	o->last_success_ns = 0;
	memset(o->raw_counts, 0, sizeof(o->raw_counts));
}

static const char *id_of(const struct sim *sim, uint32_t container)
{
	return sim->world.containers[container].id;
}

static enum container_state as_pleg(enum container_state state)
{
	return state == CONTAINER_CREATED ? CONTAINER_UNKNOWN : state;
}

/* ---- pods: by sandbox first, by label second, else of its own ------------------------------------ */

static uint32_t pod_by_key(struct sim *sim, const char *key, bool make)
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

static uint32_t container_by_id(const struct sim *sim, const char *id)
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
		sandbox = container_by_id(sim, c->sandbox_id);
		if (sandbox != SIM_NONE && oracle_seen(sim, sandbox)->pod != SIM_NONE)
			return oracle_seen(sim, sandbox)->pod;
	}
	if (c->label_pod != SIM_NONE)
		return pod_by_key(sim, sim->world.pods[c->label_pod].uid, true);
	return pod_by_key(sim,
		c->kind == CONTAINER_KIND_CONTAINER && c->sandbox_id[0] ? c->sandbox_id : c->id,
		true);
}

static struct opod *pod_of(struct sim *sim, uint32_t container)
{
	uint32_t pod = oracle_seen(sim, container)->pod;

	return pod == SIM_NONE ? NULL : &sim->oracle->pods[pod];
}

/* All told of one that went, and no call open: PLEG may forget it. */
static void seen_forget(struct sim *sim, uint32_t container)
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
static void seen_unfold(struct sim *sim, struct seen *seen)
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
	struct opod *pod = pod_of(sim, container);
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
	if (as_pleg(state) == seen->shown)
		return;
	seen->shown = as_pleg(state);
	seen->shown_seq = o->seq;
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
				call->container == SIM_NONE ? "" : id_of(sim, call->container),
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
static void note_full(struct sim *sim)
{
	struct oracle *o = sim->oracle;

	if (o->open >= sim->profile.pleg.inspections_max || o->late >= sim->profile.pleg.late_max)
		o->full_ns = sim->now.mono_ns;
}

/* An INSPECT has ended, however. */
static void call_ended(struct sim *sim, struct sim_call *call)
{
	struct oracle *o = sim->oracle;
	struct opod *pod = pod_of(sim, call->container);

	note_full(sim);
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
	pod_of(sim, call->container)->hung_calls++;
}

/* Fails the run that the call is part of, unless it is an old one that was late already. */
static void pod_failed(struct sim *sim, const struct sim_call *call, bool of_run)
{
	struct opod *pod = pod_of(sim, call->container);

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

void oracle_on_late(struct sim *sim, struct sim_call *call)
{
	struct oracle *o = sim->oracle;

	o->seq++;
	if (call->type != PLEG_REQUEST_INSPECT)
		return;
	o->open--;
	o->late++;
	pod_of(sim, call->container)->late_calls++;
	pod_failed(sim, call, true);
	check_bounds(sim);
}

static void list_ended(struct sim *sim, const struct sim_call *call)
{
	if (call->type != PLEG_REQUEST_LIST)
		return;
	sim->oracle->list_open = false;
	sim->oracle->list_ended_ns = sim->now.mono_ns;
}

/* An answer of one of its containers in time. */
static void pod_observed(struct sim *sim, const struct sim_call *call)
{
	struct opod *pod = pod_of(sim, call->container);

	if (pod && call->started_ns > pod->listed_ns)
		pod->listed_ns = call->started_ns;
}

/* "Not found" of what the list has. If the next one has it too, it is inspected again. */
static void pod_missing(struct sim *sim, const struct sim_call *call)
{
	struct opod *pod = pod_of(sim, call->container);

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
	seen_forget(sim, call->container);
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

static const struct pleg_container *view_of(
	struct sim *sim, uint32_t container, struct pleg_pod *pod)
{
	const struct opod *opod = pod_of(sim, container);

	if (!opod || !pleg_find_pod(sim->pleg, opod->key, pod))
		return NULL;
	for (size_t i = 0; i < pod->container_count; i++)
		if (strcmp(pod->containers[i].id, id_of(sim, container)) == 0)
			return &pod->containers[i];
	return NULL;
}

void oracle_after_inspect(
	struct sim *sim, const struct sim_call *call, const struct container_status *status)
{
	struct seen *seen = oracle_seen(sim, call->container);
	struct opod *opod = pod_of(sim, call->container);
	const struct pleg_container *view;
	struct pleg_pod pod;
	bool stale = seen->observed_seq > call->started_seq;

	if (call->late || seen->raw == CONTAINER_GONE) {
		/* That it is gone only a list says, and that it is back too. But it was looked at. */
		if (!call->late)
			seen->maybe_seq = sim->oracle->seq;
		seen_forget(sim, call->container);
		return;
	}
	if (stale && status->state != seen->raw) {
		sim_cover(sim, COVER_STALE_INSPECT);
		opod->contested++;
		opod->trouble_ns = sim->now.mono_ns;
		opod->syncs_allowed++;
	}
	if (!stale && status->state != seen->raw) {
		/* The only reason to leave it out: the run that it was part of has failed. */
		view = view_of(sim, call->container, &pod);
		if (view && view->state == status->state)
			seen_observe(sim, call->container, status->state, true);
		else if (opod->failed_seq < call->started_seq &&
			opod->maybe_failed_seq < call->started_seq)
			sim_fail(sim, "shown-is-believed",
				"An inspection showed %s %s, and PLEG goes on with %s",
				id_of(sim, call->container), container_state_text(status->state),
				view ? container_state_text(view->state) : "nothing");
	} else if (!stale) {
		view = view_of(sim, call->container, &pod);
		/* Part of a run or not, nobody can tell from here; if it counted, it is the newest. */
		if (opod->failed_seq < call->started_seq &&
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
		!view_of(sim, container, &view);
}

static bool list_is_unclear(
	struct sim *sim, const struct sim_call *call, struct seen *seen, enum container_state state)
{
	if (seen->maybe_seq <= call->started_seq || seen->raw == state)
		return false;
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
		view = view_of(sim, i, &pod);
		if ((view ? view->state : CONTAINER_GONE) == seen->unclear_state)
			seen_observe(sim, i, seen->unclear_state, false);
	}
}

static void list_entry(
	struct sim *sim, const struct sim_call *call, uint32_t only, const struct sim_entry *entry)
{
	struct seen *seen = oracle_seen(sim, entry->container);
	bool recorded = seen->pod != SIM_NONE;
	uint32_t pod = recorded ? seen->pod : pod_of_new(sim, entry->container);

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
		only = pod_by_key(sim, call->pod_uid[0] ? call->pod_uid : call->sandbox_id, true);
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

/* ---- events ------------------------------------------------------------------------------------------------------ */

static const struct answer *answer_of(
	const struct seen *seen, const struct container_status *status)
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
	struct opod *opod = pod_of(sim, container);
	const struct pleg_container *view;
	const struct answer *answer;
	struct pleg_pod pod;

	if (!pleg_find_pod(sim->pleg, opod->key, &pod)) {
		if (opod->live > 0)
			sim_fail(sim, "cache-before-event", "Event of %s, and pod %s is not there",
				id_of(sim, container), opod->key);
		return;
	}
	if (opod->live == 0)
		return; /* nothing left to be inspected */
	if (step->by_inspect ? pod.status_at_ns == 0 : pod.status_at_ns < step->ns) {
		sim_fail(sim, "cache-before-event",
			"Event of %s shown at %llu, cache of %s is of %llu", id_of(sim, container),
			(unsigned long long)step->ns, opod->key,
			(unsigned long long)pod.status_at_ns);
		return;
	}
	if (pod.inspect_error)
		sim_fail(sim, "cache-before-event", "Event of %s with '%s' in the cache",
			id_of(sim, container), pod.inspect_error);
	/* A life that has ended with the container going cannot be inspected any more. */
	if (step->state == CONTAINER_GONE || seen->removed_next)
		return;
	for (uint32_t i = 0; i < seen->count; i++)
		if (seen->steps[seen->head + i].state == CONTAINER_GONE)
			return;
	if (not_found_since(seen, step->seq))
		return; /* the newest answer was that it is not there */
	view = view_of(sim, container, &pod);
	if (!view || !view->status) {
		sim_fail(sim, "cache-before-event", "Event of %s without a status in the cache",
			id_of(sim, container));
		return;
	}
	answer = answer_of(seen, view->status);
	if (!answer)
		sim_fail(sim, "cache-is-answered",
			"The cache has %s %s code %d, which no answer in time said",
			id_of(sim, container), container_state_text(view->status->state),
			view->status->exit_code);
	else if (!step->by_inspect && answer->started_seq < step->seq &&
		as_pleg(answer->state) != step->state && opod->contested < CONTESTED)
		sim_fail(sim, "cache-before-event",
			"Event of %s (%s) with an older %s in the cache", id_of(sim, container),
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
	view = view_of(sim, container, &pod);
	if (step->state == CONTAINER_EXITED && seen->count == 0 &&
		seen->shown == CONTAINER_EXITED && view && view->status &&
		view->status->has_exit_code && !not_found_since(seen, step->seq))
		sim_fail(sim, "exit-code", "%s died with code %d in the cache, told without",
			event->container_id, view->status->exit_code);
}

static void check_identity(struct sim *sim, uint32_t container, const struct event *event)
{
	const struct world_container *c = &sim->world.containers[container];
	const struct opod *pod = pod_of(sim, container);
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
	uint32_t i = pod_by_key(sim, event->pod_uid, false);

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
static void skip_changed(struct sim *sim, struct seen *seen)
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

	skip_changed(sim, seen);
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

static const char *next_text(const struct seen *seen)
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
	uint32_t container = container_by_id(sim, event->container_id);
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
			container_state_text(seen->told), next_text(seen), seen->count);
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
	seen_forget(sim, container);
}

/* ---- relists on demand, subscriptions ---------------------------------------------------------------------------- */

void oracle_on_relist_pod(struct sim *sim, const char *uid, int r)
{
	uint32_t i = pod_by_key(sim, uid, false);
	struct opod *pod = i == SIM_NONE ? NULL : &sim->oracle->pods[i];

	sim->oracle->seq++;
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
	pod = pod_by_key(sim, wanted.uid, false);
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
static void check_notices(struct sim *sim)
{
	struct oracle *o = sim->oracle;

	for (uint32_t i = 0; i < o->notice_count; i++) {
		const struct wanted_notice *wanted = &o->notices[i];
		uint32_t pod = pod_by_key(sim, wanted->uid, false);
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

/* ---- after every step ------------------------------------------------------------------------------------------------ */

/* Told to the end, and nothing of the pod has waited for long: it is over. */
static void check_unfold(struct sim *sim, uint32_t container)
{
	struct seen *seen = oracle_seen(sim, container);
	const struct opod *opod = &sim->oracle->pods[seen->pod];
	uint64_t calm_ns = seen->event_ns;
	struct pleg_pod pod;

	if (!seen->folding || seen->told != seen->shown || seen->event_ns == 0)
		return;
	if (seen->told == CONTAINER_GONE) {
		/* PLEG drops the record with the last step that is told. */
		if (view_of(sim, container, &pod))
			return;
		seen_unfold(sim, seen);
		seen_forget(sim, container);
		return;
	}

	if (opod->trouble_ns > calm_ns)
		calm_ns = opod->trouble_ns;
	if (sim->oracle->full_ns > calm_ns)
		calm_ns = sim->oracle->full_ns;
	if (opod->hung_calls > 0 || opod->late_calls > 0 ||
		sim->now.mono_ns < calm_ns + 30 * NSEC_PER_SEC ||
		!pleg_find_pod(sim->pleg, opod->key, &pod) || pod.inspect_error)
		return;
	seen_unfold(sim, seen);
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
static const struct step *first_sent(const struct seen *seen)
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

		step = first_sent(seen);
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
				id_of(sim, i), container_state_text(step->state),
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
	if (opod->late_calls > 0 && !pod->quarantined) {
		/* Of a container that is gone a late call says nothing of the pod. */
		for (uint32_t i = 0; i < sim->call_count; i++)
			if (sim->calls[i].open && sim->calls[i].late &&
				sim->calls[i].container != SIM_NONE &&
				pod_of(sim, sim->calls[i].container) == opod &&
				oracle_seen(sim, sim->calls[i].container)->raw != CONTAINER_GONE &&
				opod->steps == 0)
				sim_fail(sim, "quarantine",
					"%s has a late call and is not in quarantine", opod->key);
	}
	if (!pod->stuck_id)
		return;
	stuck = container_by_id(sim, pod->stuck_id);
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
		container = container_by_id(sim, view->id);
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

void oracle_check(struct sim *sim)
{
	struct oracle *o = sim->oracle;
	struct pleg_pod pod;
	size_t cursor = 0;
	bool due = false;

	while (pleg_next_pod(sim->pleg, &cursor, &pod)) {
		uint32_t i = pod_by_key(sim, pod.uid, false);

		if (i == SIM_NONE) {
			sim_fail(sim, "pods", "Pod '%s' is of no list", pod.uid);
			return;
		}
		check_pod_times(sim, &o->pods[i], &pod);
		check_quarantine(sim, &o->pods[i], &pod);
		check_ips(sim, &pod);
		due |= pod.inspect_error || o->pods[i].steps > 0;
	}
	for (uint32_t i = 0; !due && i < sim->call_count; i++)
		due = sim->calls[i].open && sim->calls[i].type == PLEG_REQUEST_INSPECT &&
			oracle_seen(sim, sim->calls[i].container)->raw != CONTAINER_GONE;
	for (uint32_t i = 0; i < o->pod_count; i++)
		if (o->pods[i].live == 0 && o->pods[i].steps == 0 &&
			!pleg_find_pod(sim->pleg, o->pods[i].key, &pod)) {
			o->pods[i].status_at_ns = o->pods[i].observed_at_ns = 0;
			o->pods[i].quarantined = false;
			o->pods[i].contested = 0;
		}
	if (!due || o->last_success_ns == sim->now.mono_ns)
		o->due_since_ns = due ? sim->now.mono_ns : NSEC_NEVER;
	else if (o->due_since_ns == NSEC_NEVER)
		o->due_since_ns = sim->now.mono_ns;
	if (!o->list_open && sim->now.mono_ns > sim->oversleep_until_ns &&
		sim->now.mono_ns >
			o->list_ended_ns + sim->profile.pleg.relist_period_ns + NSEC_PER_SEC &&
		o->list_ended_ns > 0)
		sim_fail(sim, "relist-period", "No list since %.3f s",
			time_seconds(sim->now.mono_ns - o->list_ended_ns));
	note_full(sim);
	for (uint32_t i = 0; o->folding > 0 && i < sim->world.container_count; i++)
		check_unfold(sim, i);
	if (o->steps > 0)
		check_isolation(sim);
	if (o->notice_count > 0)
		check_notices(sim);
}

void oracle_check_health(struct sim *sim, const struct pleg_health *health)
{
	struct oracle *o = sim->oracle;
	const uint32_t *counts = o->raw_counts[CONTAINER_KIND_CONTAINER];
	const uint32_t *sandboxes = o->raw_counts[CONTAINER_KIND_SANDBOX];
	uint64_t threshold = sim->profile.pleg.relist_threshold_ns;
	uint64_t age = o->due_since_ns == NSEC_NEVER ? 0 : sim->now.mono_ns - o->due_since_ns;

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
	if (!health->inspections_starved && age > threshold + 2 * NSEC_PER_SEC)
		sim_fail(sim, "starved",
			"Inspections are due for %.3f s without success, and it is not told",
			time_seconds(age));
}

/* ---- at the end: all is told, and all is as it is ---------------------------------------------------------------------- */

static void check_told(struct sim *sim, uint32_t container)
{
	struct seen *seen = oracle_seen(sim, container);
	const struct world_version *truth = world_newest(&sim->world, container);
	const struct pleg_container *view;
	const struct answer *answer;
	struct pleg_pod pod;

	skip_changed(sim, seen);
	/* What leads to unknown is never sent. */
	if (seen->folding && (seen->told == seen->shown || seen->shown == CONTAINER_UNKNOWN))
		seen_unfold(sim, seen);
	if (seen->count > 0 || seen->folding)
		sim_fail(sim, "event-missing", "%s: %u steps are not told, next is %s",
			id_of(sim, container), seen->count, next_text(seen));
	else if (seen->raw != truth->state)
		sim_fail(sim, "world", "%s is %s, and the last word is %s", id_of(sim, container),
			container_state_text(truth->state), container_state_text(seen->raw));
	if (truth->state == CONTAINER_GONE || sim->failed)
		return;
	view = view_of(sim, container, &pod);
	answer = view && view->status ? answer_of(seen, view->status) : NULL;
	/* Not: the newest life. One that ended and began between two looks is seen by nobody. */
	if (!answer || as_pleg(answer->state) != as_pleg(truth->state) ||
		answer->ended_seq < seen->shown_seq)
		sim_fail(sim, "cache-final", "%s is %s, and the cache has %s",
			id_of(sim, container), container_state_text(truth->state),
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
		uint32_t i = pod_by_key(sim, pod.uid, false);

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
