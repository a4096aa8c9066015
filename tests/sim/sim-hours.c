/*
 * Days of one agent: containers crash and are replaced, by the second, with every fault now and then,
 * and what the agent keeps must be no more at the end than in the middle.
 *
 * The places of the world's containers are used again, under new ids, once nobody can hear of the
 * old one any more.
 */
#include "sim.h"

#include <malloc.h>
#include <stdio.h>

#define PODS           60
#define MINUTE_NS      (60 * NSEC_PER_SEC)
#define REST_NS        (8 * MINUTE_NS) /* longer than any hint is late */
#define SETTLE_NS      (5 * MINUTE_NS)
#define EVENTS_AN_HOUR 13900
#define HEAP_SLACK     (96 * 1024) /* of the allocator's own rounding */

struct footprint {
	uint32_t entries, open, pods, containers;
	size_t history, heap;
};

static uint64_t quiet_moment(const struct sim *sim, uint32_t container)
{
	return world_newest(&sim->world, container)->at_ns + REST_NS;
}

/* A place whose container is long gone, or a new one; SIM_NONE: none. */
static uint32_t place(struct sim *sim, uint32_t pod, uint32_t *cursor)
{
	struct world *world = &sim->world;

	for (uint32_t n = 0; n < world->container_count; n++) {
		uint32_t i = (*cursor)++ % world->container_count;

		if (world->containers[i].kind == CONTAINER_KIND_SANDBOX ||
			world_newest(world, i)->state != CONTAINER_GONE ||
			sim->now.mono_ns < quiet_moment(sim, i) || !oracle_recycle(sim, i))
			continue;
		ledger_model_forget(sim, i);
		sim->kernel.watched[i] = 0;
		world_recycle(sim, i, pod);
		return i;
	}
	return world_container_new(sim, pod, CONTAINER_RUNNING);
}

/* What died of its own is removed after a while, as a kubelet does. */
static void clean(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->world.container_count; i++) {
		const struct world_version *newest = world_newest(&sim->world, i);

		if (sim->world.containers[i].kind == CONTAINER_KIND_CONTAINER &&
			newest->state == CONTAINER_EXITED &&
			newest->at_ns + MINUTE_NS < sim->now.mono_ns)
			world_set(sim, i, CONTAINER_GONE, sim->now.mono_ns + 1, 0);
	}
}

/* One of a pod's containers crashes, its successor starts, and it is removed. */
static void crash(struct sim *sim, struct rng *rng, uint32_t *cursor)
{
	struct world *world = &sim->world;
	uint32_t pod = rng_below(rng, PODS), first = rng_below(rng, world->container_count);
	uint64_t now = sim->now.mono_ns, at = now + rng_below(rng, 100) * NSEC_PER_MSEC + 1;

	for (uint32_t n = 0; n < world->container_count; n++) {
		uint32_t i = (first + n) % world->container_count;

		if (world->containers[i].pod != pod ||
			world->containers[i].kind == CONTAINER_KIND_SANDBOX ||
			world_newest(world, i)->state != CONTAINER_RUNNING ||
			world_newest(world, i)->at_ns > now)
			continue;
		world_set(sim, i, CONTAINER_EXITED, at, (int32_t)rng_below(rng, 140));
		world_set(sim, i, CONTAINER_GONE, at + (1 + rng_below(rng, 20)) * NSEC_PER_SEC, 0);
		(void)place(sim, pod, cursor);
		return;
	}
	(void)place(sim, pod, cursor);
}

static void trouble(struct sim *sim, struct rng *rng)
{
	static const enum sim_op_kind kinds[] = { OP_STREAM_BREAK, OP_STREAM_GAP, OP_SLOW,
		OP_FAIL_LIST, OP_FAIL_SUBJECT, OP_RESTART_RUNTIME, OP_THREADS, OP_KILL, OP_WAKE,
		OP_RELIST_NOW, OP_WALL_STEP };
	struct world *world = &sim->world;
	struct sim_op op = { .kind = kinds[rng_below(rng, sizeof(kinds) / sizeof(kinds[0]))],
		.at_ns = sim->now.mono_ns,
		.a = rng_below(rng, 1 << 20),
		.b = rng_below(rng, 1 << 20),
		.c = rng_below(rng, 1 << 20) };

	if (rng_chance(rng, 20))
		world->containers[rng_below(rng, world->container_count)].hung_until_ns =
			sim->now.mono_ns + rng_below(rng, 60) * NSEC_PER_SEC;
	if (rng_chance(rng, 5))
		world->all_hung_until_ns = sim->now.mono_ns + rng_below(rng, 40) * NSEC_PER_SEC;
	/* What the runtime never notices would stay so for days. */
	if (op.kind == OP_KILL)
		op.b %= 6;
	sim_apply(sim, &op);
}

static void measure(struct sim *sim, struct footprint *ret)
{
	struct mallinfo2 info = mallinfo2();
	struct ledger_stats ledger;
	struct sync_stats sync;
	struct pleg_health health;

	ledger_stats(sim->ledger, &ledger);
	sync_stats(sim->sync, &sync);
	pleg_health(sim->pleg, sim->now, &health);
	*ret = (struct footprint){ .entries = ledger.entries,
		.open = (uint32_t)sync.provisional_open,
		.pods = health.pods,
		.containers = health.containers,
		.history = sync.history,
		.heap = info.uordblks + info.hblkhd - sim_own_bytes(sim) };
	(void)printf("hour %3.0f: %llu events, %u pods, %u containers, %u in the ledger, %u open, "
		     "%zu KB\n",
		time_seconds(sim->now.mono_ns) / 3600, (unsigned long long)sync.events, ret->pods,
		ret->containers, ret->entries, ret->open, ret->heap / 1024);
	(void)fflush(stdout);
}

static void live(struct sim *sim, struct rng *rng, uint64_t until_ns)
{
	uint64_t trouble_ns = sim->now.mono_ns;
	uint32_t cursor = 0;

	while (sim->now.mono_ns < until_ns && !sim->failed) {
		crash(sim, rng, &cursor);
		if (sim->now.mono_ns >= trouble_ns) {
			clean(sim);
			trouble(sim, rng);
			trouble_ns += rng_below(rng, 120) * NSEC_PER_SEC;
		}
		sim_advance(sim, sim->now.mono_ns + rng_below(rng, 1850) * NSEC_PER_MSEC);
	}
	if (!sim->failed)
		world_heal(sim);
	sim_advance(sim, sim->now.mono_ns + SETTLE_NS);
}

bool sim_hours(struct sim *sim, uint32_t hours)
{
	struct sim_profile profile = { .pleg = PLEG_CONFIG_DEFAULT,
		.history_max = 10000,
		.ledger = true,
		.has_stream = true,
		.lost = 5,
		.late = 10,
		.twice = 10,
		.wrong = 2,
		.death_late = 5,
		.unwatched = 2,
		.codeless = 10 };
	struct footprint middle, end;
	struct sync_stats sync;
	struct rng rng = { hours };
	uint64_t all_ns = hours * 60 * MINUTE_NS;

	profile.pleg.relist_auto = true;
	if (!sim_begin(sim, hours, &profile))
		return false;
	for (uint32_t i = 0; i < PODS; i++) {
		uint32_t pod = world_pod_new(sim, true, 3);

		(void)world_container_new(sim, pod, CONTAINER_RUNNING);
		(void)world_container_new(sim, pod, CONTAINER_RUNNING);
	}
	live(sim, &rng, all_ns / 2);
	if (sim->failed)
		return false;
	measure(sim, &middle);
	live(sim, &rng, all_ns);
	if (!sim->failed)
		sim_quiet(sim);
	if (sim->failed)
		return false;
	measure(sim, &end);
	sync_stats(sim->sync, &sync);
	if (sync.events < (uint64_t)hours * EVENTS_AN_HOUR || sync.dropped > 0)
		sim_fail(sim, "hours-events", "%llu events, %llu dropped",
			(unsigned long long)sync.events, (unsigned long long)sync.dropped);
	else if (end.pods > middle.pods + 2 || end.containers > 2 * PODS + PODS ||
		end.entries > middle.entries + PODS || end.open > middle.open + PODS)
		sim_fail(sim, "hours-counts", "It has grown: %u pods, %u containers, %u entries",
			end.pods, end.containers, end.entries);
	else if (end.heap > middle.heap + middle.heap / 20 + HEAP_SLACK)
		sim_fail(sim, "hours-memory", "%zu KB in the middle, %zu KB at the end",
			middle.heap / 1024, end.heap / 1024);
	return !sim->failed;
}
