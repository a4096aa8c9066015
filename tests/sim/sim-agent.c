/*
 * Plays the agent: what src/agent does between the loop and the pure rooms, on a made-up clock.
 *
 * Everything that is still to come stands on a heap ordered by (time, sequence), so two runs of one
 * history are the same to the byte. After every input the queues of pleg are emptied into calls, the
 * sync loop and the oracle, in the order that pleg.h asks for.
 */
#include "sim.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define STATUS_PERIOD_NS (5 * NSEC_PER_SEC)
#define QUIET_NS         (150 * NSEC_PER_SEC)
#define TURNS_MAX        64 /* ticks at one moment before it counts as spinning */

void sim_fail(struct sim *sim, const char *rule, const char *format, ...)
{
	va_list args;

	if (sim->failed)
		return;
	sim->failed = true;
	(void)snprintf(sim->rule, sizeof(sim->rule), "%s", rule);
	va_start(args, format);
	(void)vsnprintf(sim->why, sizeof(sim->why), format, args);
	va_end(args);
	sim_trace(sim, "BROKEN %s: %s", rule, sim->why);
}

void sim_trace_line(struct sim *sim, const char *format, ...)
{
	va_list args;

	(void)printf("%12.6f  ", time_seconds(sim->now.mono_ns - NSEC_PER_SEC));
	va_start(args, format);
	(void)vprintf(format, args);
	va_end(args);
	(void)putchar('\n');
}

/* ---- the heap --------------------------------------------------------------------------------- */

static bool item_before(const struct sim_item *a, const struct sim_item *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->sequence < b->sequence;
}

void sim_schedule(
	struct sim *sim, uint64_t at_ns, enum sim_item_kind kind, uint32_t arg, uint64_t guard)
{
	struct sim_item item = { at_ns, ++sim->sequence, guard, kind, arg };
	uint32_t i;

	if (at_ns == NSEC_NEVER)
		return;
	if (sim->heap_count == sim->heap_cap) {
		uint32_t cap = sim->heap_cap ? sim->heap_cap * 2 : 256;
		void *grown = mem_resize(sim->heap, cap, sizeof(*sim->heap));

		assert(grown);
		sim->heap = grown;
		sim->heap_cap = cap;
	}
	for (i = sim->heap_count++; i > 0 && item_before(&item, &sim->heap[(i - 1) / 2]);
		i = (i - 1) / 2)
		sim->heap[i] = sim->heap[(i - 1) / 2];
	sim->heap[i] = item;
}

static struct sim_item sim_pop(struct sim *sim)
{
	struct sim_item top = sim->heap[0], last = sim->heap[--sim->heap_count];
	uint32_t i = 0, child;

	while ((child = 2 * i + 1) < sim->heap_count) {
		if (child + 1 < sim->heap_count &&
			item_before(&sim->heap[child + 1], &sim->heap[child]))
			child++;
		if (!item_before(&sim->heap[child], &last))
			break;
		sim->heap[i] = sim->heap[child];
		i = child;
	}
	sim->heap[i] = last;
	return top;
}

/* ---- calls -------------------------------------------------------------------------------------- */

static uint64_t sim_latency(const struct sim *sim, uint64_t hash)
{
	uint32_t class = sim->quiet ? 0 : sim->profile.latency;
	uint64_t ns;

	if (class == 3)
		class = (uint32_t)(hash >> 60) % 3;
	hash = rng_mix(hash + 7);
	switch (class) {
	case 0: ns = 200 * NSEC_PER_USEC + hash % (3 * NSEC_PER_MSEC); break;
	case 1: ns = 5 * NSEC_PER_MSEC + hash % (45 * NSEC_PER_MSEC); break;
	default: ns = 100 * NSEC_PER_MSEC + hash % (1400 * NSEC_PER_MSEC); break;
	}
	if (!sim->quiet && sim->now.mono_ns < sim->world.slow_until_ns)
		ns = ns * 7 + NSEC_PER_MSEC;
	return ns;
}

/* Until when the runtime does not answer this one; 0: it does. */
static uint64_t sim_call_hung_until(const struct sim *sim, const struct sim_call *call)
{
	const struct world *world = &sim->world;
	uint64_t until = world->all_hung_until_ns;

	if (call->type != PLEG_REQUEST_INSPECT)
		return until > world->list_hung_until_ns ? until : world->list_hung_until_ns;
	if (world->inspect_hung_until_ns > until)
		until = world->inspect_hung_until_ns;
	if (world->containers[call->container].hung_until_ns > until)
		until = world->containers[call->container].hung_until_ns;
	return until;
}

/* The first moment at or after `from_ns` at which it could be answered. */
uint64_t sim_call_answer_time(const struct sim *sim, const struct sim_call *call, uint64_t from_ns)
{
	uint64_t until = sim_call_hung_until(sim, call);

	return until > from_ns ? time_add(until, sim_latency(sim, call->hash)) : from_ns;
}

static void sim_call_schedule(struct sim *sim, uint32_t slot, uint64_t from_ns)
{
	struct sim_call *call = &sim->calls[slot];

	call->answer_ns = sim_call_answer_time(sim, call, from_ns);
	if (call->answer_ns != from_ns)
		oracle_on_hung(sim, call);
	call->guard = ++sim->sequence;
	sim_schedule(sim, call->answer_ns, ITEM_ANSWER, slot, call->guard);
}

void sim_reschedule(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->call_count; i++) {
		struct sim_call *call = &sim->calls[i];

		if (call->open &&
			sim_call_answer_time(sim, call, sim->now.mono_ns) < call->answer_ns)
			sim_call_schedule(sim, i, sim->now.mono_ns + sim_latency(sim, call->hash));
	}
	if (sim->status_open) {
		sim->status_guard = ++sim->sequence;
		sim_schedule(
			sim, sim->now.mono_ns + NSEC_PER_MSEC, ITEM_STATUS, 0, sim->status_guard);
	}
}

static uint32_t sim_find(const struct sim *sim, const char *id)
{
	uint32_t index = 0;

	for (const char *digit = id + 1; *digit >= '0' && *digit <= '9'; digit++)
		index = index * 10 + (uint32_t)(*digit - '0');
	if (index < sim->world.container_count && strcmp(sim->world.containers[index].id, id) == 0)
		return index;
	return SIM_NONE;
}

/* Now and then the list of one pod takes longer than lists of everything. */
static uint64_t sim_detour(const struct sim *sim, const struct sim_call *call)
{
	if (call->type != PLEG_REQUEST_LIST_POD || sim->quiet || (call->hash >> 20) % 6)
		return 0;
	return (call->hash >> 32) % (3 * NSEC_PER_SEC);
}

static void sim_call_start(struct sim *sim, const struct pleg_request *request)
{
	struct sim_call *call;
	uint32_t slot = 0;

	while (slot < sim->call_count && sim->calls[slot].open)
		slot++;
	if (slot == SIM_CALLS_MAX) {
		sim_fail(sim, "calls-bounded", "More than %u calls are open", SIM_CALLS_MAX);
		return;
	}
	if (slot == sim->call_count)
		sim->call_count++;
	call = &sim->calls[slot];
	*call = (struct sim_call){ .open = true,
		.type = request->type,
		.kind = request->kind,
		.token = request->token,
		.started_ns = sim->now.mono_ns,
		.container = SIM_NONE };
	(void)snprintf(call->pod_uid, sizeof(call->pod_uid), "%s", request->pod_uid);
	(void)snprintf(call->sandbox_id, sizeof(call->sandbox_id), "%s", request->sandbox_id);
	if (request->type == PLEG_REQUEST_INSPECT) {
		call->container = sim_find(sim, request->id);
		if (call->container == SIM_NONE) {
			sim_fail(sim, "request-sane", "Inspection of '%s', which never was",
				request->id);
			return;
		}
		call->hash = rng_mix(sim->seed ^ ((uint64_t)call->container << 32) ^
			sim->world.containers[call->container].calls++);
	} else {
		call->hash = rng_mix(sim->seed ^ (UINT64_C(0xffffff) << 32) ^ sim->world.lists++);
	}
	sim_trace(sim, "  request %s %s%s%s token %llu",
		request->type == PLEG_REQUEST_INSPECT        ? "inspect"
			: request->type == PLEG_REQUEST_LIST ? "list"
							     : "list-pod",
		request->id, call->pod_uid, call->sandbox_id, (unsigned long long)request->token);
	oracle_on_request(sim, request, call);
	if (sim->failed)
		return;
	sim_schedule(
		sim, time_add(sim->now.mono_ns, request->timeout_ns), ITEM_LATE, slot, call->token);
	sim_call_schedule(
		sim, slot, sim->now.mono_ns + sim_latency(sim, call->hash) + sim_detour(sim, call));
}

static void sim_call_fail(struct sim *sim, struct sim_call *call, enum pleg_failure failure)
{
	static const char *const messages[] = { "rpc error: code = Unknown", "not found", "lost" };

	sim_trace(sim, "failed token %llu: %s%s", (unsigned long long)call->token,
		messages[failure], call->late ? " (was late)" : "");
	call->open = false;
	if (call->late)
		sim_cover(sim, COVER_FAULT_LATE_FAILED);
	else if (failure != PLEG_FAILURE_NOT_FOUND)
		sim_cover(sim,
			call->type == PLEG_REQUEST_INSPECT ? COVER_FAULT_FAILED_INSPECT
							   : COVER_FAULT_FAILED_LIST);
	oracle_on_failed(sim, call, failure);
	pleg_on_failed(sim->pleg, call->token, failure, messages[failure], sim->now);
}

static void sim_answer_list(struct sim *sim, struct sim_call *call)
{
	struct sim_list list;

	if (sim->world.list_fail_left > 0 && !sim->quiet) {
		sim->world.list_fail_left--;
		sim_call_fail(sim, call, PLEG_FAILURE_ERROR);
		return;
	}
	if (call->type == PLEG_REQUEST_LIST_POD && (call->hash >> 24) % 10 == 0 && !sim->quiet) {
		sim_call_fail(sim, call, PLEG_FAILURE_ERROR);
		return;
	}
	world_list(sim, call, &list);
	sim_trace(sim, "%s answers token %llu: %u entries%s",
		call->type == PLEG_REQUEST_LIST ? "list" : "list-pod",
		(unsigned long long)call->token, list.count, call->late ? " (late)" : "");
	if (sim->verbose)
		for (uint32_t i = 0; i < list.count; i++)
			sim_trace(sim, "    %s %s",
				list.entries[i].container == SIM_NONE
					? "(no id)"
					: sim->world.containers[list.entries[i].container].id,
				container_state_text(list.entries[i].state));
	if (call->late)
		sim_cover(sim, COVER_FAULT_LATE_LIST);
	call->open = false;
	oracle_on_list(sim, call, &list);
	models_on_list(sim, call);
	pleg_on_list(sim->pleg, call->token, &list.source, sim->now);
	oracle_after_list(sim);
	/* What comes after its deadline PLEG does not believe: it is not in the records. */
	if (call->type != PLEG_REQUEST_LIST || call->late || !sim->ledger)
		return;
	hints_on_records(sim);
	sim->listed_ns = call->started_ns;
}

static void sim_answer_inspect(struct sim *sim, struct sim_call *call)
{
	struct world_container *c = &sim->world.containers[call->container];
	struct container_status status;

	if (c->fail_left > 0 && !sim->quiet) {
		c->fail_left--;
		sim_call_fail(sim, call, PLEG_FAILURE_ERROR);
		return;
	}
	if (c->not_found_left > 0 && !sim->quiet) {
		c->not_found_left--;
		sim_cover(sim, COVER_FAULT_NOT_FOUND);
		sim_call_fail(sim, call, PLEG_FAILURE_NOT_FOUND);
		return;
	}
	if (!world_inspect(sim, call, &status)) {
		sim_call_fail(sim, call, PLEG_FAILURE_NOT_FOUND);
		return;
	}
	sim_trace(sim, "inspect answers token %llu: %s %s code %d%s",
		(unsigned long long)call->token, c->id, container_state_text(status.state),
		status.exit_code, call->late ? " (late)" : "");
	if (call->late)
		sim_cover(sim, COVER_FAULT_LATE_INSPECT);
	call->open = false;
	oracle_on_inspect(sim, call, &status);
	pleg_on_inspect(sim->pleg, call->token, &status, sim->now);
	oracle_after_inspect(sim, call, &status);
}

static void sim_answer(struct sim *sim, uint32_t slot)
{
	struct sim_call *call = &sim->calls[slot];

	if (sim_call_hung_until(sim, call) > sim->now.mono_ns) {
		sim_cover(sim,
			call->type == PLEG_REQUEST_INSPECT &&
					sim->world.containers[call->container].hung_until_ns >
						sim->now.mono_ns
				? COVER_FAULT_HUNG_SUBJECT
				: COVER_FAULT_HUNG_ALL);
		sim_call_schedule(sim, slot, sim->now.mono_ns);
		return;
	}
	for (uint32_t i = 0; i < sim->call_count; i++)
		if (sim->calls[i].open && sim->calls[i].started_ns < call->started_ns) {
			sim_cover(sim, COVER_FAULT_REORDERED);
			break;
		}
	if (call->type == PLEG_REQUEST_INSPECT)
		sim_answer_inspect(sim, call);
	else
		sim_answer_list(sim, call);
	sim_after_input(sim);
}

/* The runtime goes away: every open call is told so. */
void sim_lose_calls(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->call_count; i++)
		if (sim->calls[i].open) {
			sim_cover(sim, COVER_FAULT_RESTART);
			sim_call_fail(sim, &sim->calls[i], PLEG_FAILURE_LOST);
			sim_after_input(sim);
		}
	if (sim->status_open) {
		sim->status_open = false;
		sim->status_guard = 0;
	}
}

/* ---- emptying the queues --------------------------------------------------------------------------- */

static bool sim_requests(struct sim *sim)
{
	struct pleg_request request;
	bool any = false;

	while (!sim->failed && pleg_next_request(sim->pleg, &request)) {
		any = true;
		sim_call_start(sim, &request);
	}
	return any;
}

static void sim_events(struct sim *sim)
{
	struct pleg_notice notice;
	struct event *event;

	while (!sim->failed && (event = pleg_next_event(sim->pleg))) {
		sim_trace(sim, "  event %s %s %s pod %s%s%s", event_type_text(event->type),
			container_kind_text(event->kind), event->container_id, event->pod_uid,
			event->has_exit_code ? FMT(" code %d", event->exit_code) : "",
			event->initial ? " initial" : "");
		oracle_on_event(sim, event);
		hints_on_event(sim, event);
		if (sim->on_event)
			sim->on_event(sim, event);
		models_on_event(sim, event);
	}
	while (!sim->failed && pleg_next_notice(sim->pleg, &notice))
		oracle_on_notice(sim, &notice);
}

void sim_turn(struct sim *sim)
{
	(void)sim_requests(sim);
	do {
		sim_events(sim);
		if (!sim->failed)
			hints_settle(sim);
	} while (sim_requests(sim));
}

void sim_after_input(struct sim *sim)
{
	uint64_t listed_ns;

	sim->steps++;
	sim_turn(sim);
	listed_ns = sim->listed_ns;
	sim->listed_ns = 0;
	if (listed_ns > 0 && !sim->failed)
		hints_on_list(sim, listed_ns);
	sim_after_hint(sim);
}

void sim_after_hint(struct sim *sim)
{
	if (sim->failed)
		return;
	oracle_check(sim);
	hints_check(sim);
	ledger_model_check(sim);
	models_step(sim);
	sim->due_ns = time_min(pleg_next_due(sim->pleg), node_next_due(sim->node));
	if (sim->ledger)
		sim->due_ns = time_min(sim->due_ns, ledger_next_due(sim->ledger));
}

static void sim_tick(struct sim *sim)
{
	hints_on_due(sim);
	if (sim->failed)
		return;
	pleg_on_tick(sim->pleg, sim->now);
	sim_after_input(sim);
}

/* ---- operations that are the agent's ------------------------------------------------------------------ */

/* A pod by its UID, or by what stands for one where the runtime has none. */
static void sim_pick_uid(const struct sim *sim, uint32_t random, bool known, char uid[16])
{
	const struct world *world = &sim->world;
	uint32_t n = random / 8;

	if (!known)
		(void)snprintf(uid, 16, "u%u", 900 + n % 9);
	else if (random % 8 < 2 && world->container_count > 0)
		(void)snprintf(uid, 16, "%s", world->containers[n % world->container_count].id);
	else
		(void)snprintf(uid, 16, "u%u", n % (world->pod_count + 1));
}

static void sim_op_subscribe(struct sim *sim, const struct sim_op *op)
{
	char uid[16];
	uint64_t newer, id;
	int r;

	sim_pick_uid(sim, op->a / 8, op->a % 8 != 0, uid);
	switch (op->b % 4) {
	case 0: newer = 0; break;
	case 1: newer = time_since(sim->now.mono_ns, op->c % (3 * NSEC_PER_SEC)); break;
	case 2: newer = sim->now.mono_ns; break;
	default: newer = sim->now.mono_ns + op->c % (2 * NSEC_PER_SEC); break;
	}
	r = pleg_subscribe(sim->pleg, uid, newer, sim->now, &id);
	if (r < 0) {
		sim_fail(sim, "subscribe", "pleg_subscribe: %d", r);
		return;
	}
	oracle_on_subscribe(sim, id, uid, newer);
	sim->subscriptions[sim->subscription_count++ % 64] = id;
}

static void sim_op_unsubscribe(struct sim *sim, const struct sim_op *op)
{
	uint64_t id;

	if (sim->subscription_count == 0)
		return;
	id = sim->subscriptions[op->a %
		(sim->subscription_count < 64 ? sim->subscription_count : 64)];
	oracle_on_unsubscribe(sim, id);
	pleg_unsubscribe(sim->pleg, id);
	sim_cover(sim, COVER_UNSUBSCRIBED);
}

static void sim_op_relist_pod(struct sim *sim, const struct sim_op *op)
{
	char uid[16];
	int r;

	sim_pick_uid(sim, op->a, op->kind == OP_RELIST_POD, uid);
	r = pleg_relist_pod(sim->pleg, uid, sim->now);
	sim_trace(sim, "  relist-pod %s: %d", uid, r);
	oracle_on_relist_pod(sim, uid, r);
}

void sim_apply(struct sim *sim, const struct sim_op *op)
{
	sim_trace(sim, "op %s %u %u %u", sim_op_text(op->kind), op->a, op->b, op->c);
	switch ((int)op->kind) { /* some of them */
	case OP_RESTART_RUNTIME:
		if (op->a % 2) /* what hung was in the process that is gone */
			world_heal(sim);
		sim_lose_calls(sim);
		kernel_apply(sim, op);
		break;
	case OP_OVERSLEEP:
		sim->oversleep_until_ns = sim->now.mono_ns +
			(op->a % 40 + 1) * 100 * NSEC_PER_MSEC * (op->b % 16 == 0 ? 50 : 1);
		sim->overslept_ns = sim->oversleep_until_ns;
		sim_cover(sim, COVER_FAULT_OVERSLEPT);
		return;
	case OP_WALL_STEP:
		sim->wall_offset_ns += (int64_t)(op->a % 7200) * (int64_t)NSEC_PER_SEC -
			3600 * (int64_t)NSEC_PER_SEC;
		sim->now.real_ns = (int64_t)sim->now.mono_ns + sim->wall_offset_ns;
		sim_cover(sim, COVER_FAULT_WALL_STEP);
		return;
	case OP_WAKE_UNKNOWN:
		sim_cover(sim, COVER_WAKE_UNKNOWN);
		oracle_on_wake(sim);
		pleg_wake(sim->pleg, "c-never-was", sim->now);
		break;
	case OP_HINTS:
		if (sim->ledger)
			return;
		oracle_on_hints(sim, op->a % 4 != 0);
		pleg_on_hints(sim->pleg, op->a % 4 != 0, sim->now);
		break;
	case OP_RELIST_POD:
	case OP_RELIST_POD_UNKNOWN: sim_op_relist_pod(sim, op); break;
	case OP_RELIST_NOW:
		sim_cover(sim, COVER_RELIST_NOW);
		oracle_on_relist_now(sim);
		pleg_relist_now(sim->pleg, sim->now);
		break;
	case OP_SUBSCRIBE: sim_op_subscribe(sim, op); break;
	case OP_UNSUBSCRIBE: sim_op_unsubscribe(sim, op); break;
	case OP_TICK: sim_tick(sim); return;
	case OP_READER_NEW:
	case OP_READER_READ:
	case OP_READER_FREE: models_reader(sim, op); return;
	case OP_PROVISIONAL:
		models_provisional(sim,
			sim->ledger ? sim->world.container_count
				    : op->a % (sim->world.container_count + 1));
		return;
	case OP_KILL:
	case OP_THREADS:
	case OP_STREAM_BREAK:
	case OP_STREAM_GAP:
	case OP_STREAM_LIE:
	case OP_STREAM_OOM:
	case OP_WATCH_FAIL:
		kernel_apply(sim, op);
		sim_after_hint(sim);
		return;
	default: world_apply(sim, op); return;
	}
	sim_after_input(sim);
}

/* ---- time ------------------------------------------------------------------------------------------------ */

static void sim_status_poll(struct sim *sim)
{
	uint64_t at = sim->now.mono_ns + NSEC_PER_MSEC;

	sim_schedule(sim, sim->now.mono_ns + STATUS_PERIOD_NS, ITEM_STATUS_POLL, 0, 0);
	if (sim->status_open)
		return;
	sim->status_open = true;
	sim->status_started_ns = sim->now.mono_ns;
	if (sim->world.all_hung_until_ns > at)
		at = time_add(sim->world.all_hung_until_ns, NSEC_PER_MSEC);
	sim->status_guard = ++sim->sequence;
	sim_schedule(sim, at, ITEM_STATUS, 0, sim->status_guard);
}

static void sim_item_run(struct sim *sim, const struct sim_item *item)
{
	struct sim_call *call = item->kind == ITEM_ANSWER || item->kind == ITEM_LATE
		? &sim->calls[item->arg]
		: NULL;

	switch (item->kind) {
	case ITEM_ANSWER:
		if (call->open && call->guard == item->guard)
			sim_answer(sim, item->arg);
		return;
	case ITEM_LATE:
		if (!call->open || call->token != item->guard)
			return;
		sim_trace(sim, "late token %llu", (unsigned long long)call->token);
		call->late = true;
		oracle_on_late(sim, call);
		pleg_on_late(sim->pleg, call->token, sim->now);
		break;
	case ITEM_WAKE:
		sim_trace(sim, "wake %s", sim->world.containers[item->arg].id);
		oracle_on_wake(sim);
		pleg_wake(sim->pleg, sim->world.containers[item->arg].id, sim->now);
		break;
	case ITEM_STATUS:
		if (!sim->status_open || sim->status_guard != item->guard)
			return;
		sim->status_open = false;
		sim->status_seen = true;
		sim->status_last_started_ns = sim->status_started_ns;
		sim->runtime_condition_ready = sim->world.runtime_ready;
		sim->network_condition_ready = sim->world.network_ready;
		models_step(sim);
		return;
	case ITEM_STATUS_POLL: sim_status_poll(sim); return;
	case ITEM_BORN:
	case ITEM_DIES:
	case ITEM_REAP:
	case ITEM_SHOWN:
	case ITEM_STREAM:
	case ITEM_STREAM_UP:
	case ITEM_TASKS: kernel_item(sim, item); return;
	}
	sim_after_input(sim);
}

static void sim_set_now(struct sim *sim, uint64_t mono_ns)
{
	if (mono_ns > sim->now.mono_ns)
		sim->turns_now = 0;
	sim->now.mono_ns = mono_ns;
	sim->now.real_ns = (int64_t)mono_ns + sim->wall_offset_ns;
}

void sim_advance(struct sim *sim, uint64_t until_ns)
{
	while (!sim->failed) {
		uint64_t item_ns = sim->heap_count ? sim->heap[0].at_ns : NSEC_NEVER;
		uint64_t tick_ns = sim->due_ns;

		if (tick_ns < sim->oversleep_until_ns)
			tick_ns = sim->oversleep_until_ns;
		if (item_ns > until_ns && tick_ns > until_ns)
			break;
		if (item_ns <= tick_ns) {
			struct sim_item item = sim_pop(sim);

			sim_set_now(
				sim, item.at_ns > sim->now.mono_ns ? item.at_ns : sim->now.mono_ns);
			sim_item_run(sim, &item);
			continue;
		}
		sim_set_now(sim, tick_ns > sim->now.mono_ns ? tick_ns : sim->now.mono_ns);
		if (++sim->turns_now > TURNS_MAX) {
			sim_fail(sim, "due-moves",
				"%u ticks at one moment: pleg due %llu, node due %llu, now %llu",
				sim->turns_now, (unsigned long long)pleg_next_due(sim->pleg),
				(unsigned long long)node_next_due(sim->node),
				(unsigned long long)sim->now.mono_ns);
			return;
		}
		sim_tick(sim);
	}
	if (!sim->failed && until_ns > sim->now.mono_ns)
		sim_set_now(sim, until_ns);
}

void sim_quiet(struct sim *sim)
{
	sim_trace(sim, "quiet: everything answers");
	sim->quiet = true;
	sim->oversleep_until_ns = 0;
	sim->world.runtime_ready = sim->world.network_ready = true;
	world_heal(sim);
	for (uint32_t i = 0; i < sim->world.container_count; i++) {
		struct world_container *c = &sim->world.containers[i];

		c->duplicated = false;
		/* Nothing that was still to come comes. */
		while (sim->world.versions[c->version].at_ns > sim->now.mono_ns &&
			sim->world.versions[c->version].older != SIM_NONE)
			c->version = sim->world.versions[c->version].older;
	}
	kernel_quiet(sim);
	sim_advance(sim, sim->now.mono_ns + QUIET_NS);
	/* What differs for good is looked at now and then. */
	for (int i = 0; i < 1000 && oracle_is_busy(sim) && !sim->failed; i++)
		sim_advance(sim, sim->now.mono_ns + NSEC_PER_MSEC);
	if (!sim->failed)
		oracle_check_final(sim);
	if (!sim->failed)
		ledger_model_check_final(sim);
	if (!sim->failed)
		models_check_final(sim);
}

/* ---- a history --------------------------------------------------------------------------------------------- */

bool sim_begin(struct sim *sim, uint64_t seed, const struct sim_profile *profile)
{
	sim->seed = seed;
	sim->profile = *profile;
	sim->failed = sim->quiet = false;
	sim->steps = 0;
	sim->heap_count = sim->call_count = sim->turns_now = sim->subscription_count = 0;
	sim->sequence = 0;
	sim->due_ns = 0;
	sim->oversleep_until_ns = sim->overslept_ns = 0;
	sim->status_open = sim->status_seen = false;
	sim->status_last_started_ns = 0;
	sim->runtime_condition_ready = sim->network_condition_ready = true;
	sim->wall_offset_ns = INT64_C(1760000000) * (int64_t)NSEC_PER_SEC;
	sim->now.mono_ns = 0;
	sim_set_now(sim, NSEC_PER_SEC);
	struct world_version *versions = sim->world.versions;
	uint32_t cap = sim->world.version_cap;

	sim->world.pod_count = sim->world.container_count = sim->world.version_count = 0;
	sim->world.list_hung_until_ns = sim->world.inspect_hung_until_ns = 0;
	sim->world.all_hung_until_ns = sim->world.slow_until_ns = 0;
	sim->world.list_fail_left = sim->world.list_lie_left = sim->world.malformed_left = 0;
	sim->world.lists = 0;
	sim->world.versions = versions;
	sim->world.version_free = SIM_NONE;
	sim->world.version_cap = cap;
	sim->world.runtime_ready = sim->world.network_ready = true;

	sim->listed_ns = 0;
	kernel_begin(sim);
	ledger_model_begin(sim);
	if (pleg_new(&profile->pleg, sim->now, &sim->pleg) < 0 || models_begin(sim) < 0 ||
		hints_begin(sim) < 0) {
		sim_fail(sim, "begin", "Cannot make the objects under test");
		return false;
	}
	sim->running = true;
	oracle_begin(sim);
	for (uint32_t i = 0; i < profile->pods; i++) {
		uint32_t pod = world_pod_new(sim, true, 3);

		for (uint32_t n = rng_mix(seed + i) % 3; n > 0; n--)
			(void)world_container_new(sim, pod, CONTAINER_RUNNING);
	}
	sim_set_now(sim, NSEC_PER_SEC + 10);
	sim_schedule(
		sim, sim->now.mono_ns + rng_mix(seed) % (2 * NSEC_PER_SEC), ITEM_STATUS_POLL, 0, 0);
	sim_tick(sim);
	return !sim->failed;
}

void sim_end(struct sim *sim)
{
	if (sim->running)
		models_end(sim);
	hints_end(sim);
	sim->pleg = pleg_free(sim->pleg);
	sim->running = false;
}

bool sim_run(
	struct sim *sim, uint64_t seed, const struct sim_op *ops, size_t count, const bool *keep)
{
	struct sim_profile profile;

	sim_make_profile(seed, &profile);
	if (sim_begin(sim, seed, &profile)) {
		for (size_t i = 0; i < count && !sim->failed; i++) {
			if (keep && !keep[i])
				continue;
			sim_advance(sim, NSEC_PER_SEC + ops[i].at_ns);
			if (!sim->failed)
				sim_apply(sim, &ops[i]);
		}
		if (!sim->failed)
			sim_quiet(sim);
	}
	sim_end(sim);
	return !sim->failed;
}

size_t sim_own_bytes(const struct sim *sim)
{
	return sim->world.version_cap * sizeof(*sim->world.versions) +
		sim->heap_cap * sizeof(*sim->heap) + oracle_own_bytes(sim) + models_own_bytes(sim);
}

struct sim *sim_new(uint64_t *coverage)
{
	struct sim *sim = mem_zalloc(sizeof(*sim));

	if (!sim)
		return NULL;
	sim->coverage = coverage;
	sim->oracle = oracle_new();
	sim->models = models_new();
	sim->ledger_model = ledger_model_new();
	return sim->oracle && sim->models && sim->ledger_model ? sim : sim_free(sim);
}

struct sim *sim_free(struct sim *sim)
{
	if (!sim)
		return NULL;
	oracle_free(sim->oracle);
	models_free(sim->models);
	ledger_model_free(sim->ledger_model);
	(void)mem_free(sim->world.versions);
	(void)mem_free(sim->heap);
	return mem_free(sim);
}
