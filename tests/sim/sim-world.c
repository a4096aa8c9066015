/*
 * The made-up world: pods, sandboxes and containers, and a runtime that tells of them.
 *
 * Every container keeps all states it ever had with their times (world_version, newest first, also
 * some that are still to come), so an answer is made when it is delivered, from the moment between
 * its call and itself that the call's hash chose; a lie is a moment before the call.
 */
#include "sim.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define WALL_EPOCH_NS (INT64_C(1760000000) * (int64_t)NSEC_PER_SEC)

static int64_t world_wall(uint64_t mono_ns)
{
	return WALL_EPOCH_NS + (int64_t)mono_ns;
}

const struct world_version *world_at(const struct world *world, uint32_t container, uint64_t at_ns)
{
	uint32_t i = world->containers[container].version;

	while (i != SIM_NONE && world->versions[i].at_ns > at_ns)
		i = world->versions[i].older;
	return i == SIM_NONE ? NULL : &world->versions[i];
}

/* A place for one more. */
static uint32_t world_version_new(struct world *world)
{
	uint32_t at = world->version_free;

	if (at != SIM_NONE) {
		world->version_free = world->versions[at].older;
		return at;
	}
	if (world->version_count == world->version_cap) {
		uint32_t cap = world->version_cap ? world->version_cap * 2 : 4096;
		void *grown = mem_resize(world->versions, cap, sizeof(*world->versions));

		assert(grown);
		world->versions = grown;
		world->version_cap = cap;
	}
	return world->version_count++;
}

static void world_push(struct world *world, uint32_t container, struct world_version version)
{
	uint32_t at = world_version_new(world);

	version.older = world->containers[container].version;
	world->containers[container].version = at;
	world->versions[at] = version;
}

void world_set(struct sim *sim, uint32_t container, enum container_state state, uint64_t at_ns,
	int32_t exit_code)
{
	struct world *world = &sim->world;
	const struct world_container *c = &world->containers[container];
	struct world_version version = { .at_ns = at_ns, .state = state, .exit_code = exit_code };

	enum container_state before = CONTAINER_GONE;

	if (c->version != SIM_NONE) {
		const struct world_version *old = world_newest(world, container);

		before = old->state;
		if (before == state)
			return;
		if (version.at_ns <= old->at_ns)
			version.at_ns = old->at_ns + 1;
		version.started_at_ns = old->started_at_ns;
		version.finished_at_ns = old->finished_at_ns;
	}
	if (state == CONTAINER_RUNNING) {
		version.started_at_ns = world_wall(version.at_ns);
		version.finished_at_ns = 0;
	} else if (state == CONTAINER_EXITED) {
		version.finished_at_ns = world_wall(version.at_ns);
	}
	world_push(world, container, version);
	kernel_on_set(sim, container, before, state, version.at_ns, exit_code);
	sim_trace(sim, "  world: %s %s at +%.3f s%s", c->id, container_state_text(state),
		time_seconds(version.at_ns),
		state == CONTAINER_EXITED ? FMT(", code %d", exit_code) : "");
}

/* ---- making things -------------------------------------------------------------------------- */

static uint32_t world_add(struct sim *sim, enum container_kind kind, uint32_t pod,
	uint32_t label_pod, const char *sandbox_id, uint32_t name)
{
	struct world *world = &sim->world;
	uint32_t index = world->container_count;
	struct world_container *c = &world->containers[index];

	if (index == WORLD_CONTAINERS_MAX)
		return SIM_NONE;
	world->container_count++;
	*c = (struct world_container){ .kind = kind,
		.pod = pod,
		.label_pod = label_pod,
		.version = SIM_NONE,
		.created_at_ns = world_wall(sim->now.mono_ns) };
	(void)snprintf(
		c->id, sizeof(c->id), "%c%u", kind == CONTAINER_KIND_SANDBOX ? 's' : 'c', index);
	(void)snprintf(c->sandbox_id, sizeof(c->sandbox_id), "%s", sandbox_id);
	if (kind == CONTAINER_KIND_CONTAINER && name > 0)
		(void)snprintf(c->name, sizeof(c->name), "n%u", name);
	return index;
}

static uint32_t world_sandbox_new(struct sim *sim, uint32_t pod)
{
	struct world_pod *p = &sim->world.pods[pod];
	uint32_t index =
		world_add(sim, CONTAINER_KIND_SANDBOX, pod, p->labelled ? pod : SIM_NONE, "", 0);

	if (index == SIM_NONE)
		return index;
	sim->world.containers[index].attempt = p->sandboxes++;
	p->sandbox = index;
	(void)snprintf(sim->world.containers[index].ip, sizeof(sim->world.containers[index].ip),
		"10.9.%u.%u", index / 200, index % 200 + 1);
	world_set(sim, index, CONTAINER_RUNNING, sim->now.mono_ns, 0);
	return index;
}

uint32_t world_pod_new(struct sim *sim, bool labelled, uint32_t names)
{
	struct world *world = &sim->world;
	uint32_t index = world->pod_count;
	struct world_pod *pod = &world->pods[index];

	if (index == WORLD_PODS_MAX)
		return SIM_NONE;
	world->pod_count++;
	*pod = (struct world_pod){ .sandbox = SIM_NONE, .labelled = labelled };
	(void)snprintf(pod->uid, sizeof(pod->uid), "u%u", index);
	if (names & 1)
		(void)snprintf(pod->name, sizeof(pod->name), "p%u", index);
	if (names & 2)
		(void)snprintf(pod->namespace, sizeof(pod->namespace), "ns%u", index % 3);
	(void)world_sandbox_new(sim, index);
	return index;
}

/* A container in the pod's newest sandbox, or without one where the pod has none. */
uint32_t world_container_new(struct sim *sim, uint32_t pod, enum container_state state)
{
	struct world *world = &sim->world;
	struct world_pod *p = &world->pods[pod];
	uint32_t index = world_add(sim, CONTAINER_KIND_CONTAINER, pod, p->labelled ? pod : SIM_NONE,
		p->sandbox == SIM_NONE ? "" : world->containers[p->sandbox].id, ++p->names);

	if (index == SIM_NONE)
		return index;
	world_set(sim, index, CONTAINER_CREATED, sim->now.mono_ns, 0);
	if (state == CONTAINER_RUNNING)
		world_set(sim, index, CONTAINER_RUNNING, sim->now.mono_ns + 1, 0);
	return index;
}

void world_recycle(struct sim *sim, uint32_t container, uint32_t pod)
{
	struct world *world = &sim->world;
	struct world_container *c = &world->containers[container];
	uint32_t last = c->version;

	while (world->versions[last].older != SIM_NONE)
		last = world->versions[last].older;
	world->versions[last].older = world->version_free;
	world->version_free = c->version;
	*c = (struct world_container){ .kind = CONTAINER_KIND_CONTAINER,
		.pod = pod,
		.label_pod = pod,
		.version = SIM_NONE,
		.attempt = c->attempt + 1,
		.created_at_ns = world_wall(sim->now.mono_ns) };
	(void)snprintf(c->id, sizeof(c->id), "c%u.%u", container % 10000, c->attempt % 1000000);
	memcpy(c->sandbox_id, world->containers[world->pods[pod].sandbox].id,
		sizeof(c->sandbox_id));
	(void)snprintf(c->name, sizeof(c->name), "n%u", ++world->pods[pod].names);
	world_set(sim, container, CONTAINER_CREATED, sim->now.mono_ns, 0);
	world_set(sim, container, CONTAINER_RUNNING, sim->now.mono_ns + 1, 0);
}

/* ---- choosing -------------------------------------------------------------------------------- */

#define STATE(state) (1u << (state))
#define STATES_ALIVE                                                                               \
	(STATE(CONTAINER_CREATED) | STATE(CONTAINER_RUNNING) | STATE(CONTAINER_EXITED) |           \
		STATE(CONTAINER_UNKNOWN))

enum {
	KIND_ANY = 3,
	KIND_CONTAINER = 1,
	KIND_SANDBOX = 2
};

static uint32_t world_pick(const struct sim *sim, uint32_t random, uint32_t states, uint32_t kinds)
{
	const struct world *world = &sim->world;
	uint32_t fitting[WORLD_CONTAINERS_MAX], count = 0;

	for (uint32_t i = 0; i < world->container_count; i++)
		if ((kinds & (1u << world->containers[i].kind)) &&
			(states & STATE(world_newest(world, i)->state)))
			fitting[count++] = i;
	return count ? fitting[random % count] : SIM_NONE;
}

static uint32_t world_pick_pod(const struct sim *sim, uint32_t random)
{
	const struct world *world = &sim->world;
	uint32_t fitting[WORLD_PODS_MAX], count = 0;

	for (uint32_t i = 0; i < world->pod_count; i++)
		if (!world->pods[i].deleted)
			fitting[count++] = i;
	return count ? fitting[random % count] : SIM_NONE;
}

/* What a person or kubelet would do to all of a pod's containers. */
static void world_pod_each(
	struct sim *sim, uint32_t pod, enum container_state state, uint64_t at_ns)
{
	for (uint32_t i = 0; i < sim->world.container_count; i++) {
		enum container_state old = world_newest(&sim->world, i)->state;

		if (sim->world.containers[i].pod != pod || old == CONTAINER_GONE)
			continue;
		if (state == CONTAINER_EXITED && old == CONTAINER_CREATED)
			continue;
		world_set(sim, i, state, at_ns, 137);
	}
}

/* ---- operations ------------------------------------------------------------------------------- */

/* When the runtime's answers show what happens now. */
static uint64_t world_visible(const struct sim *sim, const struct sim_op *op)
{
	uint64_t lag = sim->profile.visible_lag_ns;

	return sim->now.mono_ns + (lag ? rng_mix(op->at_ns ^ op->a) % lag : 0);
}

/* The stream or the kernel hints at what happened. */
static void world_hint(struct sim *sim, const struct sim_op *op, uint32_t container)
{
	uint64_t h = rng_mix(op->at_ns + op->b + container);

	if (sim->ledger)
		return; /* they come of what happens */
	if (h % 100 < sim->profile.hints_percent)
		sim_schedule(sim, sim->now.mono_ns + 1 + (h >> 32) % (3 * NSEC_PER_MSEC), ITEM_WAKE,
			container, 0);
}

static void world_change(
	struct sim *sim, const struct sim_op *op, uint32_t container, enum container_state state)
{
	static const int32_t codes[] = { 0, 1, 2, 3, 126, 127, 137, 139, 143, 255, -1, 1 };

	if (container == SIM_NONE)
		return;
	world_set(sim, container, state, world_visible(sim, op), codes[op->c % 12]);
	world_hint(sim, op, container);
}

static void world_op_create(struct sim *sim, const struct sim_op *op)
{
	struct world *world = &sim->world;
	uint32_t pod = world_pick_pod(sim, op->a), c;

	if (pod == SIM_NONE)
		return;
	if (op->kind == OP_ORPHAN) {
		c = world_container_new(sim, pod, CONTAINER_RUNNING);
		if (c == SIM_NONE)
			return;
		(void)snprintf(world->containers[c].sandbox_id,
			sizeof(world->containers[c].sandbox_id), "%s", op->b % 2 ? "s-lost" : "");
		if (op->b % 3 == 0)
			world->containers[c].label_pod = SIM_NONE;
		return;
	}
	c = world_container_new(sim, pod, op->b % 3 ? CONTAINER_RUNNING : CONTAINER_CREATED);
	if (c == SIM_NONE)
		return;
	if (op->c % 12 == 0)
		world->containers[c].label_pod = SIM_NONE;
	else if (op->c % 12 == 1)
		world->containers[c].label_pod = world_pick_pod(sim, op->b / 3);
	if (op->c % 12 == 2)
		world->containers[c].name[0] = '\0';
	if (op->kind == OP_QUICK_LIFE) {
		world_set(sim, c, CONTAINER_RUNNING, sim->now.mono_ns + 2, 0);
		world_set(sim, c, CONTAINER_EXITED,
			sim->now.mono_ns + (op->b % 50 + 1) * NSEC_PER_MSEC, (int32_t)(op->b % 5));
		if (op->c % 2)
			world_set(sim, c, CONTAINER_GONE,
				sim->now.mono_ns + (op->b % 100 + 1) * NSEC_PER_MSEC, 0);
	}
	world_hint(sim, op, c);
}

/* Exits, and its next attempt starts beside it. */
static void world_op_crash(struct sim *sim, const struct sim_op *op)
{
	struct world *world = &sim->world;
	uint32_t c = world_pick(sim, op->a, STATE(CONTAINER_RUNNING), KIND_CONTAINER), next;

	if (c == SIM_NONE)
		return;
	world_change(sim, op, c, CONTAINER_EXITED);
	next = world_container_new(sim, world->containers[c].pod, CONTAINER_CREATED);
	if (next == SIM_NONE)
		return;
	world_set(sim, next, CONTAINER_RUNNING, world_visible(sim, op) + op->b % (2 * NSEC_PER_SEC),
		0);
	world->containers[next].attempt = world->containers[c].attempt + 1;
	memcpy(world->containers[next].name, world->containers[c].name,
		sizeof(world->containers[c].name));
	world->containers[next].label_pod = world->containers[c].label_pod;
}

static void world_op_flap(struct sim *sim, const struct sim_op *op)
{
	uint32_t c = world_pick(
		sim, op->a, STATE(CONTAINER_RUNNING) | STATE(CONTAINER_EXITED), KIND_CONTAINER);
	uint64_t at = sim->now.mono_ns, gap = (op->c % 8 + 1) * 250 * NSEC_PER_MSEC;

	if (c == SIM_NONE)
		return;
	for (uint32_t i = 0; i < op->b % 60 + 4; i++) {
		bool running = world_newest(&sim->world, c)->state == CONTAINER_RUNNING;

		at += gap;
		world_set(sim, c, running ? CONTAINER_EXITED : CONTAINER_RUNNING, at,
			(int32_t)(i % 7));
	}
}

static void world_op_pod(struct sim *sim, const struct sim_op *op)
{
	uint32_t pod = world_pick_pod(sim, op->a);
	uint64_t at = world_visible(sim, op);

	if (pod == SIM_NONE)
		return;
	sim->world.pods[pod].deleted = true;
	if (op->kind == OP_POD_DELETE)
		world_pod_each(sim, pod, CONTAINER_EXITED, at);
	world_pod_each(sim, pod, CONTAINER_GONE,
		at + (op->kind == OP_POD_DELETE ? 1 + op->b % (5 * NSEC_PER_SEC) : 0));
	if (sim->world.pods[pod].sandbox != SIM_NONE)
		world_hint(sim, op, sim->world.pods[pod].sandbox);
}

static void world_op_sandbox_new(struct sim *sim, const struct sim_op *op)
{
	uint32_t pod = world_pick_pod(sim, op->a);

	if (pod == SIM_NONE)
		return;
	if (op->b % 4)
		world_pod_each(sim, pod, CONTAINER_EXITED, sim->now.mono_ns);
	if (world_sandbox_new(sim, pod) != SIM_NONE && op->c % 2)
		(void)world_container_new(sim, pod, CONTAINER_RUNNING);
}

/* How long a fault lasts: mostly seconds, now and then minutes, now and then until the end. */
static uint64_t world_fault_end(const struct sim *sim, const struct sim_op *op)
{
	static const uint32_t seconds[16] = { 1, 1, 2, 3, 4, 6, 8, 11, 13, 17, 22, 35, 70, 130, 215,
		0 };
	uint32_t s = seconds[op->c % 16];

	if (s == 0)
		return op->c % 3 ? sim->now.mono_ns + 400 * NSEC_PER_SEC : NSEC_NEVER;
	return sim->now.mono_ns + s * NSEC_PER_SEC + op->b % NSEC_PER_SEC;
}

static void world_hang_pod(struct sim *sim, uint32_t pod, uint64_t until_ns)
{
	for (uint32_t i = 0; i < sim->world.container_count; i++)
		if (sim->world.containers[i].pod == pod)
			sim->world.containers[i].hung_until_ns = until_ns;
}

static void world_op_hang(struct sim *sim, const struct sim_op *op)
{
	struct world *world = &sim->world;
	uint64_t until = world_fault_end(sim, op);
	uint32_t i;

	switch ((int)op->kind) { /* some of them */
	case OP_HANG_SUBJECT:
		i = world_pick(sim, op->a, STATES_ALIVE, KIND_ANY);
		if (i != SIM_NONE)
			world->containers[i].hung_until_ns = until;
		/* Only a change makes anybody inspect it. */
		if (i != SIM_NONE && op->b % 2 &&
			world_newest(world, i)->state == CONTAINER_RUNNING)
			world_set(sim, i, CONTAINER_EXITED, world_visible(sim, op), 137);
		return;
	case OP_HANG_POD:
	case OP_HANG_MANY:
		for (uint32_t n = op->kind == OP_HANG_POD ? 1 : 2 + op->b % 12; n > 0; n--) {
			i = world_pick_pod(sim, op->a + n);
			if (i == SIM_NONE)
				return;
			world_hang_pod(sim, i, until);
			if (op->kind == OP_HANG_MANY)
				(void)world_container_new(sim, i, CONTAINER_RUNNING);
		}
		return;
	case OP_HANG_INSPECT: world->inspect_hung_until_ns = until; return;
	case OP_HANG_LIST: world->list_hung_until_ns = until; return;
	case OP_HANG_ALL: world->all_hung_until_ns = until; return;
	default: return;
	}
}

void world_heal(struct sim *sim)
{
	struct world *world = &sim->world;

	for (uint32_t i = 0; i < world->container_count; i++)
		world->containers[i].hung_until_ns = 0;
	world->list_hung_until_ns = world->inspect_hung_until_ns = world->all_hung_until_ns = 0;
	sim_reschedule(sim);
}

static void world_op_fault(struct sim *sim, const struct sim_op *op)
{
	struct world *world = &sim->world;
	uint32_t i = world_pick(sim, op->a, STATES_ALIVE, KIND_ANY), n = op->b % 6 + 1;

	switch ((int)op->kind) { /* some of them */
	case OP_SLOW: world->slow_until_ns = sim->now.mono_ns + n * 3 * NSEC_PER_SEC; return;
	case OP_FAIL_LIST: world->list_fail_left = n; return;
	case OP_LIE_LIST: world->list_lie_left = n % 3 + 1; return;
	case OP_MALFORMED: world->malformed_left = n; return;
	case OP_FAIL_SUBJECT:
		if (i != SIM_NONE)
			world->containers[i].fail_left = n;
		return;
	case OP_NOT_FOUND:
		if (i != SIM_NONE)
			world->containers[i].not_found_left = n;
		return;
	case OP_LIE_INSPECT:
		if (i != SIM_NONE)
			world->containers[i].lie_left = n;
		return;
	case OP_DUPLICATE:
		if (i != SIM_NONE)
			world->containers[i].duplicated = !world->containers[i].duplicated;
		return;
	case OP_CONDITION:
		if (op->a % 2)
			world->runtime_ready = !world->runtime_ready;
		else
			world->network_ready = !world->network_ready;
		return;
	default: return;
	}
}

/* A container that a hint is for: one that changes now, or one to which nothing happens. */
static void world_op_wake(struct sim *sim, const struct sim_op *op)
{
	uint32_t i = world_pick(sim, op->a, STATES_ALIVE, KIND_ANY);

	if (i == SIM_NONE)
		return;
	if (op->b % 2 && world_newest(&sim->world, i)->state == CONTAINER_RUNNING) {
		world_set(sim, i, CONTAINER_EXITED, world_visible(sim, op), (int32_t)(op->c % 9));
		sim_cover(sim, COVER_WAKE_TRUE);
	} else {
		sim_cover(sim, COVER_WAKE_FALSE);
	}
	sim_schedule(sim, sim->now.mono_ns, ITEM_WAKE, i, 0);
}

static void world_op_life(struct sim *sim, const struct sim_op *op)
{
	struct world *world = &sim->world;
	uint32_t i;

	switch ((int)op->kind) { /* some of them */
	case OP_START:
		i = world_pick(sim, op->a, STATE(CONTAINER_CREATED), KIND_CONTAINER);
		world_change(sim, op, i, CONTAINER_RUNNING);
		return;
	case OP_EXIT:
		i = world_pick(sim, op->a,
			STATE(CONTAINER_RUNNING) | STATE(CONTAINER_UNKNOWN) |
				(op->b % 4 ? 0 : STATE(CONTAINER_CREATED)),
			KIND_CONTAINER);
		world_change(sim, op, i, CONTAINER_EXITED);
		return;
	case OP_RESTART: /* as Docker does: the id stays */
		i = world_pick(sim, op->a, STATE(CONTAINER_RUNNING) | STATE(CONTAINER_EXITED),
			KIND_CONTAINER);
		world_change(sim, op, i, CONTAINER_EXITED);
		if (i != SIM_NONE)
			world_set(sim, i, CONTAINER_RUNNING,
				world_newest(world, i)->at_ns + 1 + op->b % (3 * NSEC_PER_SEC), 0);
		return;
	case OP_REMOVE:
		i = world_pick(
			sim, op->a, STATE(CONTAINER_EXITED), op->b % 3 ? KIND_CONTAINER : KIND_ANY);
		world_change(sim, op, i, CONTAINER_GONE);
		return;
	case OP_VANISH:
		i = world_pick(sim, op->a, STATES_ALIVE, KIND_ANY);
		if (i != SIM_NONE && op->c % 5 == 0)
			world->containers[i].leaks = true;
		world_change(sim, op, i, CONTAINER_GONE);
		return;
	case OP_SANDBOX_KILL:
		i = world_pick(sim, op->a, STATE(CONTAINER_RUNNING), KIND_SANDBOX);
		world_change(sim, op, i, CONTAINER_EXITED);
		return;
	case OP_UNKNOWN:
		i = world_pick(sim, op->a, STATES_ALIVE, KIND_CONTAINER);
		if (i != SIM_NONE && world_newest(world, i)->state == CONTAINER_UNKNOWN)
			world_change(sim, op, i, op->b % 2 ? CONTAINER_RUNNING : CONTAINER_EXITED);
		else
			world_change(sim, op, i, CONTAINER_UNKNOWN);
		return;
	default: return;
	}
}

void world_apply(struct sim *sim, const struct sim_op *op)
{
	switch ((int)op->kind) { /* some of them */
	case OP_POD_NEW: (void)world_pod_new(sim, true, 3); break;
	case OP_POD_BARE: (void)world_pod_new(sim, op->a % 3 == 0, op->b % 4); break;
	case OP_CREATE:
	case OP_ORPHAN:
	case OP_QUICK_LIFE: world_op_create(sim, op); break;
	case OP_CRASH: world_op_crash(sim, op); break;
	case OP_FLAP: world_op_flap(sim, op); break;
	case OP_POD_DELETE:
	case OP_POD_VANISH: world_op_pod(sim, op); break;
	case OP_SANDBOX_NEW: world_op_sandbox_new(sim, op); break;
	case OP_START:
	case OP_EXIT:
	case OP_RESTART:
	case OP_REMOVE:
	case OP_VANISH:
	case OP_SANDBOX_KILL:
	case OP_UNKNOWN: world_op_life(sim, op); break;
	case OP_HANG_SUBJECT:
	case OP_HANG_POD:
	case OP_HANG_MANY:
	case OP_HANG_INSPECT:
	case OP_HANG_LIST:
	case OP_HANG_ALL: world_op_hang(sim, op); break;
	case OP_HEAL: world_heal(sim); break;
	case OP_SLOW:
	case OP_FAIL_LIST:
	case OP_LIE_LIST:
	case OP_MALFORMED:
	case OP_FAIL_SUBJECT:
	case OP_NOT_FOUND:
	case OP_LIE_INSPECT:
	case OP_DUPLICATE:
	case OP_CONDITION: world_op_fault(sim, op); break;
	case OP_WAKE: world_op_wake(sim, op); break;
	default: break; /* the agent's */
	}
}

/* ---- what the runtime answers -------------------------------------------------------------------- */

static bool world_source_next(struct list_source *source, struct list_entry *ret)
{
	struct sim_list *list = (struct sim_list *)source;
	const struct world_container *c;

	if (list->at == list->count)
		return false;
	const struct sim_entry *entry = &list->entries[list->at++];

	if (entry->container == SIM_NONE) {
		*ret = (struct list_entry){ .kind = CONTAINER_KIND_CONTAINER,
			.state = entry->state,
			.raw = { (const char *)entry, 0 } };
		return true;
	}
	c = &list->world->containers[entry->container];
	*ret = (struct list_entry){ .kind = c->kind,
		.state = entry->state,
		.id = SLICE(c->id),
		.sandbox_id = SLICE(c->sandbox_id),
		.raw = { (const char *)c, sizeof(*c) } };
	return true;
}

static void world_source_describe(
	struct list_source *source, const struct list_entry *entry, struct container_identity *ret)
{
	struct sim_list *list = (struct sim_list *)source;
	const struct world_container *c = (const void *)entry->raw.data;

	*ret = (struct container_identity){ 0 };
	if (entry->raw.len == 0)
		return;
	list->described[c - list->world->containers]++;
	if (c->label_pod != SIM_NONE) {
		const struct world_pod *pod = &list->world->pods[c->label_pod];

		ret->namespace = SLICE(pod->namespace);
		ret->pod = SLICE(pod->name);
		ret->pod_uid = SLICE(pod->uid);
	}
	ret->container = SLICE(c->name);
	ret->attempt = c->attempt;
	ret->created_at_ns = c->created_at_ns;
}

static bool world_list_matches(
	const struct world *world, const struct sim_call *call, uint32_t index)
{
	const struct world_container *c = &world->containers[index];

	if (call->type == PLEG_REQUEST_LIST)
		return true;
	if (call->pod_uid[0])
		return c->label_pod != SIM_NONE &&
			strcmp(world->pods[c->label_pod].uid, call->pod_uid) == 0;
	return strcmp(c->kind == CONTAINER_KIND_SANDBOX ? c->id : c->sandbox_id,
		       call->sandbox_id) == 0;
}

/* A moment within [from, to]. */
static uint64_t world_moment(uint64_t hash, uint64_t from_ns, uint64_t to_ns)
{
	return from_ns + (to_ns > from_ns ? hash % (to_ns - from_ns + 1) : 0);
}

void world_list(struct sim *sim, const struct sim_call *call, struct sim_list *ret)
{
	struct world *world = &sim->world;
	uint64_t first = world_moment(rng_mix(call->hash + 1), call->started_ns, sim->now.mono_ns);
	uint64_t second = world_moment(rng_mix(call->hash + 2), first, sim->now.mono_ns);
	bool lies = world->list_lie_left > 0 && !sim->quiet;

	*ret = (struct sim_list){ .source = { world_source_next, world_source_describe },
		.world = world,
		.entries = sim->entries,
		.described = sim->described };
	if (lies) {
		world->list_lie_left--;
		first = second = time_since(first, call->hash % (8 * NSEC_PER_SEC));
		sim_cover(sim, COVER_FAULT_LIE_LIST);
	}
	for (int kind = CONTAINER_KIND_SANDBOX; kind >= CONTAINER_KIND_CONTAINER; kind--)
		for (uint32_t i = 0; i < world->container_count; i++) {
			const struct world_container *c = &world->containers[i];
			const struct world_version *v;

			if ((int)c->kind != kind)
				continue;
			v = world_at(world, i, kind == CONTAINER_KIND_SANDBOX ? first : second);
			if (!v || v->state == CONTAINER_GONE || !world_list_matches(world, call, i))
				continue;
			ret->entries[ret->count++] = (struct sim_entry){ i, v->state };
			if (c->duplicated) {
				ret->entries[ret->count++] = (struct sim_entry){ i,
					world_newest(world, i)->state == CONTAINER_GONE
						? CONTAINER_EXITED
						: world_newest(world, i)->state };
				sim_cover(sim, COVER_FAULT_DUPLICATE);
			}
		}
	if (world->malformed_left > 0 && !sim->quiet) {
		world->malformed_left--;
		ret->entries[ret->count++] = (struct sim_entry){ SIM_NONE, CONTAINER_RUNNING };
		sim_cover(sim, COVER_FAULT_MALFORMED);
	}
}

bool world_inspect(struct sim *sim, const struct sim_call *call, struct container_status *ret)
{
	struct world *world = &sim->world;
	struct world_container *c = &world->containers[call->container];
	uint64_t at = world_moment(rng_mix(call->hash + 1), call->started_ns, sim->now.mono_ns);
	static const char *ips[1];
	const struct world_version *v;

	if (c->lie_left > 0 && !sim->quiet) {
		c->lie_left--;
		at = time_since(at, call->hash % (8 * NSEC_PER_SEC));
		sim_cover(sim, COVER_FAULT_LIE_INSPECT);
	}
	v = world_at(world, call->container, at);
	if (!v || v->state == CONTAINER_GONE) {
		sim_cover(sim, COVER_FAULT_NOT_FOUND_GONE);
		return false;
	}
	*ret = (struct container_status){ .kind = c->kind,
		.state = v->state,
		.id = c->id,
		.created_at_ns = c->created_at_ns,
		.started_at_ns = v->started_at_ns,
		.finished_at_ns = v->finished_at_ns,
		.reason = "",
		.message = "",
		.image = "img" };
	if (c->kind == CONTAINER_KIND_CONTAINER && v->state == CONTAINER_EXITED) {
		ret->has_exit_code = true;
		ret->exit_code = v->exit_code;
	}
	if (c->kind == CONTAINER_KIND_SANDBOX && v->state == CONTAINER_RUNNING) {
		ips[0] = c->ip;
		ret->ips = ips;
		ret->ip_count = 1;
	}
	return true;
}
