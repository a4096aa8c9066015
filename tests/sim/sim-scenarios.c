/* Scripted histories: what random ones are too short or too small for. */
#include "sim.h"

#include <stdio.h>
#include <string.h>

#define HOUR_NS (3600 * NSEC_PER_SEC)

static bool scenario_begin(struct sim *sim, uint32_t pods, uint32_t containers)
{
	struct sim_profile profile = { .pleg = PLEG_CONFIG_DEFAULT, .history_max = 1000 };

	if (!sim_begin(sim, 42, &profile))
		return false;
	for (uint32_t i = 0; i < pods; i++) {
		uint32_t pod = world_pod_new(sim, true, 3);

		for (uint32_t n = 0; n < containers; n++)
			(void)world_container_new(sim, pod, CONTAINER_RUNNING);
	}
	sim_advance(sim, sim->now.mono_ns + 10 * NSEC_PER_SEC);
	return !sim->failed;
}

static bool scenario_end(struct sim *sim)
{
	if (!sim->failed)
		sim_quiet(sim);
	return !sim->failed;
}

/* The n-th container (not sandbox) of a pod. */
static uint32_t nth_container(const struct sim *sim, uint32_t pod, uint32_t n)
{
	for (uint32_t i = 0; i < sim->world.container_count; i++)
		if (sim->world.containers[i].pod == pod &&
			sim->world.containers[i].kind == CONTAINER_KIND_CONTAINER && n-- == 0)
			return i;
	return SIM_NONE;
}

static void restart_one(struct sim *sim, uint32_t container, int32_t code)
{
	world_set(sim, container, CONTAINER_EXITED, sim->now.mono_ns + 1, code);
	world_set(sim, container, CONTAINER_RUNNING, sim->now.mono_ns + 3 * NSEC_PER_SEC, 0);
}

static uint32_t calls_of(const struct sim *sim, uint32_t container)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < sim->call_count; i++)
		count += sim->calls[i].open && sim->calls[i].type == PLEG_REQUEST_INSPECT &&
			(container == SIM_NONE || sim->calls[i].container == container);
	return count;
}

/* One subject hangs for a day while others live: one call is open for it, never a second. */
static bool hung_for_a_day(struct sim *sim)
{
	uint32_t hung, calls;

	if (!scenario_begin(sim, 10, 2))
		return false;
	hung = nth_container(sim, 0, 0);
	sim->world.containers[hung].hung_until_ns = NSEC_NEVER;
	restart_one(sim, hung, 1);
	calls = sim->world.containers[hung].calls;
	for (int hour = 0; hour < 24 && !sim->failed; hour++) {
		for (uint32_t pod = 1; pod < 10; pod++)
			restart_one(sim, nth_container(sim, pod, (uint32_t)hour % 2), hour);
		restart_one(sim, hung, hour);
		sim_advance(sim, sim->now.mono_ns + HOUR_NS);
		if (!sim->failed && (calls_of(sim, SIM_NONE) != 1 || calls_of(sim, hung) != 1))
			sim_fail(sim, "hung-costs-one-call",
				"%u inspections are open, %u of the hung one",
				calls_of(sim, SIM_NONE), calls_of(sim, hung));
	}
	if (!sim->failed && sim->world.containers[hung].calls != calls + 1)
		sim_fail(sim, "hung-costs-one-call", "It was called %u times in a day",
			sim->world.containers[hung].calls - calls);
	return scenario_end(sim);
}

struct times {
	uint64_t told_ns[WORLD_CONTAINERS_MAX]; /* of the last event of each container */
};

static void note_time(struct sim *sim, const struct event *event)
{
	struct times *times = sim->userdata;
	uint32_t index = 0;

	for (const char *s = event->container_id; *s; s++)
		if (*s >= '0' && *s <= '9')
			index = index * 10 + (uint32_t)(*s - '0');
	if (event->container_id[0])
		times->told_ns[index] = sim->now.mono_ns;
}

static bool isolation_run(struct sim *sim, bool hang, struct times *times)
{
	sim->on_event = note_time;
	sim->userdata = times;
	if (!scenario_begin(sim, 30, 2))
		return false;
	for (uint32_t i = 0; hang && i < sim->world.container_count; i++)
		if (sim->world.containers[i].pod == 0)
			sim->world.containers[i].hung_until_ns = NSEC_NEVER;
	for (uint32_t pod = 0; pod < 30 && !sim->failed; pod++) {
		world_set(
			sim, nth_container(sim, pod, 0), CONTAINER_EXITED, sim->now.mono_ns + 1, 3);
		sim_advance(sim, sim->now.mono_ns + 700 * NSEC_PER_MSEC);
	}
	sim_advance(sim, sim->now.mono_ns + 30 * NSEC_PER_SEC);
	sim->on_event = NULL;
	return scenario_end(sim);
}

/* The events of 29 pods come when they would have come if the 30th did not hang. */
static bool isolation(struct sim *sim)
{
	static struct times well, hung;
	uint64_t worst = 0;

	memset(&well, 0, sizeof(well));
	memset(&hung, 0, sizeof(hung));
	if (!isolation_run(sim, false, &well))
		return false;
	sim_end(sim);
	if (!isolation_run(sim, true, &hung))
		return false;
	for (uint32_t i = 0; i < sim->world.container_count; i++) {
		uint64_t later = time_since(hung.told_ns[i], well.told_ns[i]);

		if (sim->world.containers[i].pod != 0 && later > worst)
			worst = later;
	}
	if (worst > 20 * NSEC_PER_MSEC)
		sim_fail(sim, "isolation", "An event of another pod came %.3f s later",
			time_seconds(worst));
	return !sim->failed;
}

/* Far more pods hang than late calls are allowed: the number of open calls stays bounded, sound pods
 * are told of again as soon as there is room, and nothing is lost. */
static bool everything_hangs(struct sim *sim)
{
	uint32_t worst = 0;

	if (!scenario_begin(sim, 150, 2))
		return false;
	sim->world.inspect_hung_until_ns = NSEC_NEVER;
	for (int minute = 0; minute < 30 && !sim->failed; minute++) {
		for (uint32_t pod = 0; pod < 150; pod++)
			if (pod % 5 == (uint32_t)minute % 5)
				restart_one(sim, nth_container(sim, pod, 0), minute);
		sim_advance(sim, sim->now.mono_ns + 60 * NSEC_PER_SEC);
		if (calls_of(sim, SIM_NONE) > worst)
			worst = calls_of(sim, SIM_NONE);
	}
	if (!sim->failed && worst > 64 * 2 + 16)
		sim_fail(sim, "late-max", "%u inspections were open at once", worst);
	return scenario_end(sim);
}

/* The runtime does not answer for ten minutes, loses every call, and a third of the pods is gone. */
static bool runtime_dies(struct sim *sim)
{
	if (!scenario_begin(sim, 100, 3))
		return false;
	sim->world.all_hung_until_ns = NSEC_NEVER;
	for (uint32_t i = 0; i < sim->world.container_count; i++)
		if (sim->world.containers[i].pod % 3 == 0)
			world_set(sim, i, CONTAINER_GONE, sim->now.mono_ns + 1, 0);
	sim_advance(sim, sim->now.mono_ns + 600 * NSEC_PER_SEC);
	if (!sim->failed) {
		world_heal(sim);
		sim_lose_calls(sim);
	}
	sim_advance(sim, sim->now.mono_ns + 30 * NSEC_PER_SEC);
	return scenario_end(sim);
}

/* Two pods that hang: the kubelet's node flaps, this one stays Ready, and says degraded. */
static bool two_hang_no_flap(struct sim *sim)
{
	struct node_status status;

	if (!scenario_begin(sim, 20, 1))
		return false;
	for (uint32_t pod = 0; pod < 2; pod++) {
		uint32_t c = nth_container(sim, pod, 0);

		sim->world.containers[c].hung_until_ns = NSEC_NEVER;
		world_set(sim, c, CONTAINER_EXITED, sim->now.mono_ns + 1, 1);
	}
	sim_advance(sim, sim->now.mono_ns + 20 * NSEC_PER_SEC);
	for (int minute = 0; minute < 60 && !sim->failed; minute++) {
		sim_advance(sim, sim->now.mono_ns + 60 * NSEC_PER_SEC);
		node_status(sim->node, &status);
		if (!status.ready || !status.degraded || status.transitions != 1)
			sim_fail(sim, "two-hang",
				"Minute %d: ready %d, degraded %d, %llu transitions, %s", minute,
				status.ready, status.degraded,
				(unsigned long long)status.transitions, status.message);
	}
	return scenario_end(sim);
}

/* The runtime goes down for a minute every ten, for three hours, then for two minutes every 50: the
 * calm grows with the flaps of an hour, and shrinks when they are an hour old. */
static bool flaps(struct sim *sim)
{
	if (!scenario_begin(sim, 3, 1))
		return false;
	for (int i = 0; i < 24 && !sim->failed; i++) {
		uint64_t period = (i < 18 ? 10 : 50) * 60 * NSEC_PER_SEC;

		sim->world.all_hung_until_ns =
			sim->now.mono_ns + (i < 18 ? 60 : 120) * NSEC_PER_SEC;
		sim_advance(sim, sim->now.mono_ns + period);
	}
	return scenario_end(sim);
}

/* Lists of everything and of one pod cross while both pods go, one of them with a container that
 * carries no label, in every order that chance brings. */
static bool crossing_round(struct sim *sim, struct rng *rng)
{
	uint32_t a = world_pod_new(sim, true, 3), b = world_pod_new(sim, true, 3);
	uint32_t bare = world_container_new(sim, a, CONTAINER_RUNNING);
	uint64_t start;

	sim->world.containers[bare].label_pod = SIM_NONE;
	sim_advance(sim, sim->now.mono_ns + 3 * NSEC_PER_SEC);
	if (sim->failed)
		return false;
	pleg_relist_now(sim->pleg, sim->now);
	oracle_on_relist_now(sim);
	sim_after_input(sim);
	start = sim->now.mono_ns;
	for (uint64_t at = start; at < start + 300 * NSEC_PER_MSEC && !sim->failed;) {
		switch (rng_below(rng, 4)) {
		case 0: world_set(sim, bare, CONTAINER_GONE, at, 0); break;
		case 1: world_set(sim, sim->world.pods[a].sandbox, CONTAINER_GONE, at, 0); break;
		case 2: world_set(sim, sim->world.pods[b].sandbox, CONTAINER_GONE, at, 0); break;
		default:
			oracle_on_relist_pod(sim, sim->world.pods[a].uid,
				pleg_relist_pod(sim->pleg, sim->world.pods[a].uid, sim->now));
			sim_after_input(sim);
			break;
		}
		at += rng_below(rng, 40) * NSEC_PER_MSEC;
		sim_advance(sim, at);
	}
	return !sim->failed;
}

static bool crossing_lists(struct sim *sim)
{
	struct sim_profile profile = {
		.pleg = PLEG_CONFIG_DEFAULT,
		.history_max = 1000,
		.latency = 1,
	};
	struct rng rng = { 99 };

	for (int run = 0; run < 20; run++) {
		if (!sim_begin(sim, (uint64_t)run, &profile))
			return false;
		sim->world.slow_until_ns = sim->now.mono_ns + 24 * HOUR_NS;
		(void)world_pod_new(sim, true, 3);
		for (int round = 0; round < 75; round++)
			if (!crossing_round(sim, &rng))
				return false;
		if (!scenario_end(sim))
			return false;
		sim_end(sim);
	}
	return true;
}

const struct sim_scenario sim_scenarios[] = {
	{ "hung-for-a-day", hung_for_a_day },
	{ "isolation", isolation },
	{ "everything-hangs", everything_hangs },
	{ "runtime-dies", runtime_dies },
	{ "two-hang-no-flap", two_hang_no_flap },
	{ "flaps", flaps },
	{ "crossing-lists", crossing_lists },
};

const size_t sim_scenario_count = sizeof(sim_scenarios) / sizeof(sim_scenarios[0]);
