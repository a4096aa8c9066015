/*
 * The made-up kernel: each container has its inits, one after the other, each with a pid (small
 * numbers, so that they are used again soon), a start time and an end; and the runtime's event
 * stream, which tells of them as well as such streams do.
 *
 * The kernel is ahead of the runtime: whenever the world plans a turn of the runtime's word, the init
 * is born or dies up to some 100 ms before. It can also die alone (OP_KILL), outlive its own leader
 * (OP_THREADS), or outlive its container (`leaks`).
 */
#include "sim.h"

#include <string.h>

#define PID_FIRST     2
#define TICK_NS       (10 * NSEC_PER_MSEC)
#define TICKS_AT_BOOT 1000
#define LIVES_APART   (30 * NSEC_PER_MSEC) /* so that two inits of one id have two start times */
#define WALL_EPOCH_NS (INT64_C(1760000000) * (int64_t)NSEC_PER_SEC)

static uint64_t kernel_draw(struct sim *sim)
{
	return rng_mix(sim->seed + rng_mix(++sim->kernel.draws + 77));
}

static bool kernel_chance(struct sim *sim, uint8_t percent)
{
	return !sim->quiet && percent > 0 && kernel_draw(sim) % 100 < percent;
}

void kernel_begin(struct sim *sim)
{
	struct sim_kernel *k = &sim->kernel;

	memset(k->numbers, 0, sizeof(k->numbers));
	memset(k->watched, 0, sizeof(k->watched));
	for (uint32_t i = 0; i < k->pid_span; i++)
		k->pids[i].number = 0;
	k->pid_next = 0;
	k->pid_span = 24 + rng_mix(sim->seed + 3) % 200;
	for (uint32_t i = 0; i < k->pid_span; i++)
		k->pids[i].number = 0;
	k->draws = 0;
	sim->stream_in_order =
		sim->profile.late == 0 && sim->profile.twice == 0 && sim->profile.lost == 0;
	k->stream_up = k->degraded = k->tasks_open = false;
	k->stream_guard = k->stream_back_ns = 0;
	k->unwatchable_left = k->task_count = 0;
}

const struct sim_init *kernel_init(const struct sim *sim, uint32_t container)
{
	uint32_t number = sim->kernel.numbers[container];

	return number ? &sim->kernel.inits[container][number % LIVES_KEPT] : NULL;
}

static struct sim_init *init_of(struct sim *sim, uint32_t container, uint32_t number)
{
	struct sim_init *init = &sim->kernel.inits[container][number % LIVES_KEPT];

	return number > 0 && init->number == number ? init : NULL;
}

static bool init_lives(const struct sim_init *init)
{
	return init && (init->state == LEDGER_ALIVE || init->state == LEDGER_ZOMBIE_THREADS);
}

uint32_t kernel_pid(const struct sim *sim, int32_t pid, uint32_t *ret_number)
{
	const struct sim_kernel *k = &sim->kernel;
	uint32_t i = (uint32_t)(pid - PID_FIRST);

	if (pid < PID_FIRST || i >= k->pid_span || k->pids[i].number == 0)
		return SIM_NONE;
	*ret_number = k->pids[i].number;
	return k->pids[i].container;
}

static int32_t pid_take(struct sim *sim, uint32_t container, uint32_t number)
{
	struct sim_kernel *k = &sim->kernel;

	for (uint32_t n = 0;; n++) {
		uint32_t i = k->pid_next++ % k->pid_span;

		if (n == k->pid_span) { /* all taken: there are more */
			uint32_t more = k->pid_span * 2 < PIDS ? k->pid_span * 2 : PIDS;

			for (uint32_t j = k->pid_span; j < more; j++)
				k->pids[j].number = 0;
			k->pid_next = k->pid_span;
			k->pid_span = more;
			n = 0;
			continue;
		}
		if (k->pids[i].number != 0)
			continue;
		if (k->pid_next > k->pid_span)
			sim_cover(sim, COVER_PID_REUSED);
		k->pids[i].container = container;
		k->pids[i].number = number;
		return (int32_t)i + PID_FIRST;
	}
}

/* ---- the stream's hints ------------------------------------------------------------------------- */

/* All of a hint in one number, as an item has room for it. */
static uint64_t hint_pack(const struct ledger_stream_fact *fact, uint64_t mono_ns, bool is_true)
{
	return (uint64_t)fact->event | (uint64_t)(uint32_t)fact->pid << 3 |
		(uint64_t)(fact->exit != NULL) << 17 |
		(uint64_t)(fact->exit ? (uint32_t)(fact->exit->code + 512) : 0) << 18 |
		(uint64_t)is_true << 30 | mono_ns / NSEC_PER_MSEC << 31;
}

static bool hint_unpack(
	uint64_t packed, struct ledger_stream_fact *ret_fact, struct ledger_exit *ret_exit)
{
	int64_t at_ns = WALL_EPOCH_NS + (int64_t)((packed >> 31) * NSEC_PER_MSEC);

	*ret_exit = (struct ledger_exit){
		.known = true, .code = (int32_t)(packed >> 18 & 0xfff) - 512, .at_ns = at_ns
	};
	*ret_fact = (struct ledger_stream_fact){ .event = (enum ledger_stream_event)(packed & 7),
		.pid = (int32_t)(packed >> 3 & 0x3fff),
		.at_ns = at_ns,
		.exit = packed >> 17 & 1 ? ret_exit : NULL };
	return packed >> 30 & 1;
}

static void hint_send(struct sim *sim, uint32_t subject, enum ledger_stream_event event,
	int32_t pid, const int32_t *code, uint64_t after_ns, bool is_true)
{
	struct ledger_exit exit = { .known = true, .code = code ? *code : 0 };
	struct ledger_stream_fact fact = {
		.event = event, .pid = pid, .exit = code ? &exit : NULL
	};
	uint64_t now = sim->now.mono_ns, at = now + after_ns;
	struct sim_kernel *k = &sim->kernel;

	if (!sim->profile.has_stream)
		return;
	if (!k->stream_up) { /* of what happens meanwhile some comes late, and in any order */
		if (k->stream_back_ns == 0 || kernel_draw(sim) % 2)
			return;
		at = k->stream_back_ns + kernel_draw(sim) % (2 * NSEC_PER_SEC);
	}
	if (kernel_chance(sim, sim->profile.lost)) {
		sim_cover(sim, COVER_STREAM_LOST);
		return;
	}
	if (kernel_chance(sim, sim->profile.late)) {
		sim_cover(sim, COVER_STREAM_LATE);
		at += kernel_draw(sim) %
			(kernel_draw(sim) % 2 ? 200 * NSEC_PER_MSEC : 6 * NSEC_PER_SEC);
	}
	if (code && kernel_chance(sim, sim->profile.wrong)) {
		sim_cover(sim, COVER_STREAM_WRONG_CODE);
		exit.code = (exit.code + 1) & 0xff;
	}
	sim_schedule(sim, at, ITEM_STREAM, subject, hint_pack(&fact, now, is_true));
	if (kernel_chance(sim, sim->profile.twice)) {
		sim_cover(sim, COVER_STREAM_TWICE);
		sim_schedule(sim, at + kernel_draw(sim) % (3 * NSEC_PER_SEC), ITEM_STREAM, subject,
			hint_pack(&fact, now, is_true));
	}
}

static void hint_arrive(struct sim *sim, const struct sim_item *item)
{
	struct ledger_stream_fact fact;
	struct ledger_exit exit;
	bool is_true;

	/* A stopped daemon leaves the stream up; what there was to say comes when it goes on. */
	if (sim->world.all_hung_until_ns > sim->now.mono_ns) {
		sim->stream_in_order = false;
		sim_schedule(sim,
			time_add(sim->world.all_hung_until_ns, item->guard % (20 * NSEC_PER_MSEC)),
			ITEM_STREAM, item->arg, item->guard);
		return;
	}
	if (!sim->kernel.stream_up)
		return;
	is_true = hint_unpack(item->guard, &fact, &exit);
	fact.container_id = sim_subject_id(sim, item->arg);
	sim_trace(sim, "stream: %d of %s pid %d%s%s", fact.event, fact.container_id, fact.pid,
		fact.exit ? FMT(" code %d", fact.exit->code) : "", is_true ? "" : " (a lie)");
	if (fact.event == LEDGER_STREAM_START || fact.event == LEDGER_STREAM_EXIT || !is_true)
		ledger_model_on_stream(sim, item->arg, &fact, is_true);
	else
		ledger_model_on_stream(sim, item->arg, &fact, true);
	hints_on_hint(sim, item->arg, &fact);
	sim_after_hint(sim);
}

static void stream_break(struct sim *sim, uint64_t for_ns)
{
	struct sim_kernel *k = &sim->kernel;

	if (!sim->profile.has_stream)
		return;
	k->stream_back_ns = sim->now.mono_ns + for_ns;
	k->stream_guard = ++sim->sequence;
	sim_schedule(sim, k->stream_back_ns, ITEM_STREAM_UP, 0, k->stream_guard);
	if (!k->stream_up)
		return;
	sim->stream_in_order = false;
	sim_cover(sim, COVER_STREAM_BROKE);
	sim_trace(sim, "stream: down");
	k->stream_up = false;
	hints_on_stream(sim, false);
}

static void stream_back(struct sim *sim)
{
	if (sim->world.all_hung_until_ns > sim->now.mono_ns) {
		sim_schedule(sim, sim->now.mono_ns + 3 * NSEC_PER_SEC, ITEM_STREAM_UP, 0,
			sim->kernel.stream_guard);
		return;
	}
	sim_cover(sim, COVER_STREAM_BACK);
	sim_trace(sim, "stream: up");
	sim->kernel.stream_up = true;
	hints_on_stream(sim, true);
	sim_after_hint(sim);
}

/* ---- lives ---------------------------------------------------------------------------------------- */

static void init_show(struct sim *sim, uint32_t container, const struct sim_init *init,
	enum ledger_state state, uint64_t after_ns)
{
	sim_schedule(sim, sim->now.mono_ns + after_ns, ITEM_SHOWN, container,
		(uint64_t)init->number << 8 | (uint64_t)state);
}

static void init_born(struct sim *sim, uint32_t container)
{
	struct sim_kernel *k = &sim->kernel;
	uint32_t number = ++k->numbers[container];
	struct sim_init *init = &k->inits[container][number % LIVES_KEPT];

	*init = (struct sim_init){ .number = number,
		.pid = pid_take(sim, container, number),
		.start_ticks = TICKS_AT_BOOT + sim->now.mono_ns / TICK_NS,
		.state = LEDGER_ALIVE };
	sim_trace(sim, "kernel: %s born, pid %d, start %llu", sim_subject_id(sim, container),
		init->pid, (unsigned long long)init->start_ticks);
	hint_send(sim, container, LEDGER_STREAM_START, init->pid, NULL,
		NSEC_PER_MSEC + kernel_draw(sim) % (2 * NSEC_PER_MSEC), true);
}

static void init_dies(struct sim *sim, uint32_t container, int32_t code)
{
	struct world_container *c = &sim->world.containers[container];
	struct sim_init *init = init_of(sim, container, sim->kernel.numbers[container]);
	uint64_t seen_ns = kernel_draw(sim) % NSEC_PER_MSEC;

	if (!init_lives(init))
		return;
	code &= 0xff;
	if (c->threads_until_ns > sim->now.mono_ns) {
		if (init->state == LEDGER_ZOMBIE_THREADS)
			return;
		init->state = LEDGER_ZOMBIE_THREADS;
		sim_trace(sim, "kernel: the leader of %s died, a thread lives", c->id);
		init_show(sim, container, init, init->state, kernel_draw(sim) % NSEC_PER_SEC);
		sim_schedule(sim, c->threads_until_ns, ITEM_DIES, container, (uint64_t)code);
		return;
	}
	init->state = LEDGER_ZOMBIE;
	init->code = code;
	init->exit = (struct ledger_exit){ .at_ns = sim->now.real_ns };
	if (!kernel_chance(sim, sim->profile.codeless))
		init->exit = (struct ledger_exit){ .known = true,
			.code = code,
			.signal = code > 128 && code < 160 ? code - 128 : 0,
			.at_ns = sim->now.real_ns };
	sim_trace(sim, "kernel: %s died, pid %d, code %d%s", c->id, init->pid, code,
		init->exit.known ? "" : " (nobody can read it)");
	if (kernel_chance(sim, sim->profile.death_late)) {
		sim_cover(sim, COVER_INIT_DEAD_LATE);
		seen_ns = kernel_draw(sim) % (3 * NSEC_PER_SEC);
	}
	init_show(sim, container, init, LEDGER_ZOMBIE, seen_ns);
	sim_schedule(sim, sim->now.mono_ns + kernel_draw(sim) % (40 * NSEC_PER_MSEC), ITEM_REAP,
		container, init->number);
	if (code == 137 && kernel_draw(sim) % 2)
		hint_send(sim, container, LEDGER_STREAM_OOM, 0, NULL, 0, true);
	hint_send(sim, container, LEDGER_STREAM_EXIT, init->pid, &code,
		NSEC_PER_MSEC + kernel_draw(sim) % (2 * NSEC_PER_MSEC), true);
	if (kernel_draw(sim) % 4)
		hint_send(sim, container, LEDGER_STREAM_DELETE, 0, NULL,
			4 * NSEC_PER_MSEC + kernel_draw(sim) % (40 * NSEC_PER_MSEC), true);
}

static void init_reaped(struct sim *sim, uint32_t container, uint32_t number)
{
	struct sim_init *init = init_of(sim, container, number);

	if (!init || init->state != LEDGER_ZOMBIE)
		return;
	init->state = LEDGER_GONE;
	sim->kernel.pids[init->pid - PID_FIRST].number = 0;
	init_show(sim, container, init, LEDGER_GONE, kernel_draw(sim) % NSEC_PER_SEC);
}

static void init_shown(struct sim *sim, uint32_t container, uint64_t guard)
{
	struct sim_init *init = init_of(sim, container, (uint32_t)(guard >> 8));

	if (!init || sim->kernel.watched[container] != init->number)
		return;
	hints_on_shown(sim, container, init, (enum ledger_state)(guard & 0xff));
	sim_after_hint(sim);
}

static uint64_t kernel_plan(
	struct sim *sim, uint32_t container, uint64_t at_ns, uint64_t lead_ns, uint64_t apart_ns)
{
	struct world_container *c = &sim->world.containers[container];
	uint64_t at = time_since(at_ns, lead_ns);

	if (at < sim->now.mono_ns)
		at = sim->now.mono_ns;
	if (at < c->kernel_ns + apart_ns)
		at = c->kernel_ns + apart_ns;
	c->kernel_ns = at;
	return at;
}

void kernel_on_set(struct sim *sim, uint32_t container, enum container_state before,
	enum container_state after, uint64_t at_ns, int32_t code)
{
	uint64_t h = kernel_draw(sim);

	if (!sim->ledger || after == CONTAINER_CREATED || after == CONTAINER_UNKNOWN)
		return;
	if (after == CONTAINER_RUNNING) {
		if (before == CONTAINER_UNKNOWN)
			return;
		at_ns = kernel_plan(sim, container, at_ns, h % (20 * NSEC_PER_MSEC), LIVES_APART);
		sim_schedule(sim, at_ns, ITEM_BORN, container, 0);
		return;
	}
	if (before == CONTAINER_EXITED || sim->world.containers[container].leaks)
		return;
	at_ns = kernel_plan(sim, container, at_ns, h % (90 * NSEC_PER_MSEC), 1);
	sim_schedule(sim, at_ns, ITEM_DIES, container, (uint64_t)(code & 0xff));
}

/* ---- items and operations --------------------------------------------------------------------------- */

void kernel_item(struct sim *sim, const struct sim_item *item)
{
	struct sim_kernel *k = &sim->kernel;

	switch ((int)item->kind) { /* some of them */
	case ITEM_BORN:
		/* What was planned is taken back when everything comes to rest. */
		if (!sim->quiet && !init_lives(kernel_init(sim, item->arg)))
			init_born(sim, item->arg);
		return;
	case ITEM_DIES:
		if (!sim->quiet)
			init_dies(sim, item->arg, (int32_t)item->guard);
		return;
	case ITEM_REAP: init_reaped(sim, item->arg, (uint32_t)item->guard); return;
	case ITEM_SHOWN: init_shown(sim, item->arg, item->guard); return;
	case ITEM_STREAM: hint_arrive(sim, item); return;
	case ITEM_STREAM_UP:
		if (!k->stream_up && item->guard == k->stream_guard)
			stream_back(sim);
		return;
	case ITEM_TASKS:
		if (sim->world.all_hung_until_ns > sim->now.mono_ns) {
			sim_schedule(sim, sim->now.mono_ns + NSEC_PER_SEC, ITEM_TASKS, 0, 0);
			return;
		}
		sim_trace(sim, "tasks: %u", k->task_count);
		hints_on_tasks(sim);
		sim_after_hint(sim);
		return;
	default: return;
	}
}

static uint32_t pick_alive(const struct sim *sim, uint32_t random)
{
	const struct world *world = &sim->world;

	for (uint32_t n = 0; n < world->container_count; n++) {
		uint32_t i = (random + n) % world->container_count;

		if (init_lives(kernel_init(sim, i)))
			return i;
	}
	return SIM_NONE;
}

static void op_lie(struct sim *sim, const struct sim_op *op)
{
	uint32_t ghost = WORLD_CONTAINERS_MAX + op->b % GHOSTS, i = pick_alive(sim, op->b);
	int32_t pid = (int32_t)(op->c % 60) + PID_FIRST, code = (int32_t)(op->c % 7);
	uint64_t soon = op->c % (20 * NSEC_PER_MSEC);

	if (op->a % 6 >= 4) {
		sim_cover(sim, COVER_STREAM_GHOST);
		hint_send(sim, ghost, LEDGER_STREAM_START, pid, NULL, soon, false);
		if (op->a % 6 == 5)
			hint_send(sim, ghost, LEDGER_STREAM_EXIT, pid, &code, 2 * soon, false);
		return;
	}
	if (i == SIM_NONE)
		return;
	switch (op->a % 6) {
	case 0:
		sim_cover(sim, COVER_STREAM_LIE_EXIT);
		hint_send(sim, i, LEDGER_STREAM_EXIT, kernel_init(sim, i)->pid, &code, soon, false);
		return;
	case 1: hint_send(sim, i, LEDGER_STREAM_EXIT, pid, &code, soon, false); return;
	case 2:
		sim_cover(sim, COVER_STREAM_LIE_PID);
		hint_send(sim, i, LEDGER_STREAM_START, pid, NULL, soon, false);
		return;
	default: hint_send(sim, i, LEDGER_STREAM_DELETE, 0, NULL, soon, false); return;
	}
}

/* An init dies; the runtime says so after a while, or never. */
static void op_kill(struct sim *sim, const struct sim_op *op)
{
	static const uint32_t lags_ms[] = { 20, 60, 300, 1500, 4000, 12000, 90000, 0 };
	uint32_t i = pick_alive(sim, op->a), lag_ms = lags_ms[op->b % 8];
	static const int32_t codes[] = { 137, 139, 143, 0, 1, 255 };

	if (i == SIM_NONE)
		return;
	sim_schedule(sim, sim->now.mono_ns, ITEM_DIES, i, (uint64_t)codes[op->c % 6]);
	if (lag_ms > 0 && world_newest(&sim->world, i)->state == CONTAINER_RUNNING)
		world_set(sim, i, CONTAINER_EXITED, sim->now.mono_ns + lag_ms * NSEC_PER_MSEC,
			op->c % 12 == 0 ? 77 : codes[op->c % 6]);
}

void kernel_apply(struct sim *sim, const struct sim_op *op)
{
	uint32_t i = pick_alive(sim, op->a);

	if (!sim->ledger)
		return;
	switch ((int)op->kind) { /* some of them */
	case OP_KILL: op_kill(sim, op); return;
	case OP_THREADS:
		if (i == SIM_NONE)
			return;
		sim->world.containers[i].threads_until_ns =
			sim->now.mono_ns + (op->b % 20 + 1) * 500 * NSEC_PER_MSEC;
		if (op->c % 2)
			sim_schedule(sim, sim->now.mono_ns, ITEM_DIES, i, op->c % 9);
		else if (world_newest(&sim->world, i)->state == CONTAINER_RUNNING)
			world_set(sim, i, CONTAINER_EXITED, sim->now.mono_ns + 1, 137);
		return;
	case OP_STREAM_BREAK:
		stream_break(sim,
			(op->b % 4 ? 100 * NSEC_PER_MSEC : 8 * NSEC_PER_SEC) * (op->a % 10 + 1));
		return;
	case OP_STREAM_GAP:
		if (!sim->kernel.stream_up)
			return;
		sim_cover(sim, COVER_STREAM_GAP);
		hints_on_gap(sim);
		return;
	case OP_STREAM_LIE: op_lie(sim, op); return;
	case OP_STREAM_OOM:
		if (i != SIM_NONE)
			hint_send(sim, i,
				op->b % 3 == 0           ? LEDGER_STREAM_OOM
					: op->b % 3 == 1 ? LEDGER_STREAM_PAUSED
							 : LEDGER_STREAM_RESUMED,
				0, NULL, op->c % NSEC_PER_MSEC, true);
		return;
	case OP_WATCH_FAIL: sim->kernel.unwatchable_left += op->a % 4 + 1; return;
	case OP_RESTART_RUNTIME: stream_break(sim, (op->b % 30 + 1) * 100 * NSEC_PER_MSEC); return;
	default: return;
	}
}

void kernel_quiet(struct sim *sim)
{
	sim->kernel.unwatchable_left = 0;
	if (!sim->ledger || !sim->profile.has_stream || sim->kernel.stream_up)
		return;
	sim->kernel.stream_guard = ++sim->sequence;
	sim_schedule(
		sim, sim->now.mono_ns + NSEC_PER_MSEC, ITEM_STREAM_UP, 0, sim->kernel.stream_guard);
}
