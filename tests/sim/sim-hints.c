/*
 * Plays src/agent/hints.c and its side of pump.c: the stream's hints, the tasks and the pidfds into the
 * ledger, in the order that ledger.h and ledger/feed.h ask for. Whatever decides something there is
 * the pure room's, and linked; what is here is only what moves facts about.
 */
#include "sim.h"

#include <stdio.h>
#include <string.h>

static const char *const ghost_ids[GHOSTS] = { "g0", "g1", "g2", "g3" };

const char *sim_subject_id(const struct sim *sim, uint32_t subject)
{
	return subject < WORLD_CONTAINERS_MAX ? sim->world.containers[subject].id
					      : ghost_ids[subject - WORLD_CONTAINERS_MAX];
}

uint32_t sim_subject(const struct sim *sim, const char *id)
{
	uint32_t index = 0;

	if (id[0] == 'g')
		return WORLD_CONTAINERS_MAX + (uint32_t)(id[1] - '0');
	for (const char *digit = id + (id[0] != '\0'); *digit >= '0' && *digit <= '9'; digit++)
		index = index * 10 + (uint32_t)(*digit - '0');
	if (index < sim->world.container_count && strcmp(sim->world.containers[index].id, id) == 0)
		return index;
	return SIM_NONE;
}

/* ---- what the ledger says ---------------------------------------------------------------------- */

static void hints_tell(void *userdata, struct event *event)
{
	struct sim *sim = userdata;

	sim_trace(sim, "  ledger %s%s %s/%s%s", event->confirmed ? "" : "?",
		event_type_text(event->type), event->container_id, event_source_text(event->source),
		event->has_exit_code ? FMT(" code %d", event->exit_code) : "");
	ledger_model_on_own(sim, event);
	if (sim->on_event)
		sim->on_event(sim, event);
	models_on_event(sim, event);
}

static void hints_wake(void *userdata, const char *container_id)
{
	struct sim *sim = userdata;

	sim_trace(sim, "  ledger wakes %s", container_id);
	ledger_model_on_wake(sim, container_id);
	oracle_on_wake(sim);
	pleg_wake(sim->pleg, container_id, sim->now);
}

static void hints_flush(void *userdata)
{
	sim_turn(userdata);
}

static const struct ledger_feed_ops feed_ops = { hints_tell, hints_wake, hints_flush };

static bool hints_sources_are_good(const struct sim *sim)
{
	return sim->kernel.stream_up && !sim->kernel.degraded;
}

void hints_settle(struct sim *sim)
{
	bool is_calm;

	if (!sim->ledger)
		return;
	ledger_feed_drain(&sim->feed, hints_sources_are_good(sim));
	is_calm = hints_sources_are_good(sim) && ledger_is_calm(sim->ledger);
	if (is_calm)
		sim_cover(sim, COVER_LEDGER_CALM);
	sim->told_calm = is_calm;
	oracle_on_hints(sim, is_calm);
	pleg_on_hints(sim->pleg, is_calm, sim->now);
}

void hints_check(struct sim *sim)
{
	if (!sim->ledger || !sim->told_calm ||
		(hints_sources_are_good(sim) && ledger_is_calm(sim->ledger)))
		return;
	sim_fail(sim, "calm-ended", "PLEG takes its time: stream %s, ledger %s",
		sim->kernel.stream_up ? "up" : "down",
		ledger_is_calm(sim->ledger) ? "calm" : "not calm");
}

void hints_on_due(struct sim *sim)
{
	if (!sim->ledger || ledger_next_due(sim->ledger) > sim->now.mono_ns)
		return;
	ledger_on_tick(sim->ledger, sim->now);
	ledger_feed_drain(&sim->feed, hints_sources_are_good(sim));
}

/* ---- inits --------------------------------------------------------------------------------------- */

static void hints_state(
	struct sim *sim, uint32_t container, const struct sim_init *init, enum ledger_state state)
{
	const struct ledger_exit *exit =
		state == LEDGER_ZOMBIE || state == LEDGER_GONE ? &init->exit : NULL;
	const char *id = sim_subject_id(sim, container);

	sim_trace(sim, "pidfd: %s start %llu %s", id, (unsigned long long)init->start_ticks,
		ledger_state_text(state));
	ledger_model_on_state(sim, container, init->start_ticks, state, exit);
	ledger_on_state(sim->ledger, id, init->start_ticks, state, exit, sim->now);
}

void hints_on_shown(
	struct sim *sim, uint32_t container, const struct sim_init *init, enum ledger_state state)
{
	hints_state(sim, container, init, state);
	if (state == LEDGER_GONE)
		sim->kernel.watched[container] = 0;
	ledger_feed_drain(&sim->feed, hints_sources_are_good(sim));
}

static void hints_watch(struct sim *sim, uint32_t subject, int32_t pid)
{
	struct sim_kernel *k = &sim->kernel;
	uint32_t number, owner = kernel_pid(sim, pid, &number);
	const struct sim_init *init;

	if (pid <= 0)
		return;
	if (subject < WORLD_CONTAINERS_MAX && k->watched[subject] > 0 &&
		k->inits[subject][k->watched[subject] % LIVES_KEPT].pid == pid)
		return;
	if (owner == SIM_NONE)
		return;         /* no such process */
	if (owner != subject) { /* in another cgroup than it should be */
		sim_cover(sim, COVER_PID_FOREIGN);
		return;
	}
	if (k->unwatchable_left > 0 ||
		rng_mix(sim->seed ^ ((uint64_t)subject << 20) ^ number) % 100 <
			sim->profile.unwatched) {
		k->unwatchable_left -= k->unwatchable_left > 0;
		sim_cover(sim, COVER_INIT_UNWATCHED);
		if (rng_mix(sim->seed + number) % 8 == 0)
			k->degraded = true;
		return;
	}
	init = &k->inits[subject][number % LIVES_KEPT];
	k->watched[subject] = number;
	sim_trace(sim, "pidfd: watches %s pid %d", sim_subject_id(sim, subject), pid);
	ledger_model_on_init(sim, subject, pid, init->start_ticks);
	if (ledger_on_init(sim->ledger, sim_subject_id(sim, subject), pid, init->start_ticks,
		    sim->now) < 0)
		sim_fail(sim, "ledger-init", "ledger_on_init failed");
	if (init->state == LEDGER_ALIVE) {
		hints_state(sim, subject, init, LEDGER_ALIVE);
		return;
	}
	/* Told from the loop, with its exit. */
	if (init->state == LEDGER_ZOMBIE)
		sim_cover(sim, COVER_INIT_ZOMBIE_FIRST);
	sim_schedule(sim, sim->now.mono_ns, ITEM_SHOWN, subject,
		(uint64_t)number << 8 | (uint64_t)init->state);
}

/* ---- the stream ------------------------------------------------------------------------------------ */

void hints_on_hint(struct sim *sim, uint32_t subject, const struct ledger_stream_fact *fact)
{
	ledger_on_stream(sim->ledger, fact, sim->now);
	if (fact->event == LEDGER_STREAM_START)
		hints_watch(sim, subject, fact->pid);
	ledger_feed_drain(&sim->feed, hints_sources_are_good(sim));
}

/* The list of tasks is what it was when it was made, and is answered some time later. */
static void hints_catch_up(struct sim *sim)
{
	struct sim_kernel *k = &sim->kernel;

	if (!k->tasks_open) {
		k->tasks_open = true;
		k->task_count = 0;
		for (uint32_t i = 0; i < sim->world.container_count; i++) {
			const struct sim_init *init = kernel_init(sim, i);

			if (!init || init->state == LEDGER_GONE)
				continue;
			k->tasks[k->task_count].container = i;
			k->tasks[k->task_count++].pid = init->pid;
		}
		sim_schedule(sim,
			sim->now.mono_ns + NSEC_PER_MSEC +
				rng_mix(sim->seed + sim->sequence) % (60 * NSEC_PER_MSEC),
			ITEM_TASKS, 0, 0);
	}
	oracle_on_relist_now(sim);
	pleg_relist_now(sim->pleg, sim->now);
	sim_turn(sim);
}

void hints_on_tasks(struct sim *sim)
{
	struct sim_kernel *k = &sim->kernel;

	k->tasks_open = false;
	for (uint32_t i = 0; i < k->task_count; i++) {
		const struct sim_init *init = kernel_init(sim, k->tasks[i].container);

		if (init && init->pid != k->tasks[i].pid)
			sim_cover(sim, COVER_TASKS_STALE);
		hints_watch(sim, k->tasks[i].container, k->tasks[i].pid);
	}
	ledger_feed_drain(&sim->feed, hints_sources_are_good(sim));
}

void hints_on_stream(struct sim *sim, bool up)
{
	if (up)
		hints_catch_up(sim);
	ledger_feed_drain(&sim->feed, hints_sources_are_good(sim));
}

void hints_on_gap(struct sim *sim)
{
	hints_catch_up(sim);
	ledger_feed_drain(&sim->feed, hints_sources_are_good(sim));
}

/* ---- what PLEG says -------------------------------------------------------------------------------- */

void hints_on_records(struct sim *sim)
{
	struct pleg_pod pod;
	size_t cursor = 0;

	if (!sim->ledger)
		return;
	while (pleg_next_pod(sim->pleg, &cursor, &pod))
		for (size_t i = 0; i < pod.container_count; i++) {
			const struct pleg_container *c = &pod.containers[i];
			struct event identity = {
				.kind = c->kind,
				.namespace = pod.namespace,
				.pod = pod.name,
				.pod_uid = pod.uid,
				.container = c->name,
				.container_id = c->id,
				.sandbox_id = c->sandbox_id,
				.attempt = c->attempt,
			};

			ledger_model_on_word(sim, sim_subject(sim, c->id), &identity, c->state);
			ledger_on_runtime(sim->ledger, &identity, c->state, sim->now);
		}
}

void hints_on_event(struct sim *sim, const struct event *event)
{
	if (!sim->ledger)
		return;
	if (event->type == EVENT_CONTAINER_STARTED || event->type == EVENT_CONTAINER_DIED ||
		event->type == EVENT_CONTAINER_REMOVED)
		ledger_model_on_word(sim, sim_subject(sim, event->container_id), event,
			event->type == EVENT_CONTAINER_STARTED        ? CONTAINER_RUNNING
				: event->type == EVENT_CONTAINER_DIED ? CONTAINER_EXITED
								      : CONTAINER_GONE);
	ledger_feed_event(&sim->feed, event, sim->now);
	/* What the ledger has told now comes before it. */
	ledger_model_on_pleg(sim, event);
}

void hints_on_list(struct sim *sim, uint64_t started_ns)
{
	ledger_model_on_list(sim, started_ns);
	ledger_on_list(sim->ledger, started_ns, sim->now);
	ledger_feed_drain(&sim->feed, hints_sources_are_good(sim));
}

/* ---- lifetime -------------------------------------------------------------------------------------- */

int hints_begin(struct sim *sim)
{
	int r;

	if (!sim->profile.ledger)
		return 0;
	sim->told_calm = false;
	r = ledger_new(SUBJECTS, &sim->ledger);
	if (r < 0)
		return r;
	sim->feed =
		(struct ledger_feed){ .ledger = sim->ledger, .ops = &feed_ops, .userdata = sim };
	if (!sim->profile.has_stream) {
		sim_cover(sim, COVER_STREAM_ABSENT);
		return 0;
	}
	sim->kernel.stream_guard = ++sim->sequence;
	sim_schedule(sim, sim->now.mono_ns + rng_mix(sim->seed + 5) % (2 * NSEC_PER_SEC),
		ITEM_STREAM_UP, 0, sim->kernel.stream_guard);
	return 0;
}

void hints_end(struct sim *sim)
{
	sim->ledger = ledger_free(sim->ledger);
}
