/*
 * PLEG, the ledger and the sync loop wired as the agent wires them, against a runtime that answers
 * CRI calls with a latency and lags behind what happens: storms of containers that live for 20 ms, told of
 * by a stream. Every start and every death must be told, in order, with the right exit code.
 */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "ledger/ledger.h"
#include "pleg/pleg.h"
#include "sync/sync.h"

#define MSEC(n)        ((n)*NSEC_PER_MSEC)
#define SEC(n)         ((n)*NSEC_PER_SEC)
#define CONTAINERS_MAX 1024
#define CALLS_MAX      64

struct thing {
	char id[16], pod[16];
	uint64_t created_ns, started_ns, ended_ns, removed_ns; /* NSEC_NEVER: not */
	uint64_t lag_ns; /* until the runtime shows what happened */
	bool has_pidfd, stream_started, stream_ended, stream_removed, kernel_born, kernel_died;
	/* Told. */
	int starts, provisional, deaths, removals;
	uint64_t started_at, died_at;
	int32_t exit_code;
	bool confirmed_by_name; /* the confirmed death named the provisional one */
	uint64_t provisional_sequence;
};

struct call {
	struct pleg_request request;
	char id[16];
	uint64_t answer_ns;
};

struct storm {
	struct pleg *pleg;
	struct ledger *ledger;
	struct sync_loop *sync;
	struct now now;
	struct thing things[CONTAINERS_MAX];
	size_t count;
	struct call calls[CALLS_MAX];
	size_t call_count;
	struct list_source source;
	size_t at;
	uint64_t list_started_ns[4096];
	size_t lists;
};

static struct thing *storm_find(struct storm *s, const char *id)
{
	uint64_t n;

	ASSERT_OK(str_to_u64(id + 1, &n));
	assert_true(n < s->count);
	return &s->things[n];
}

static enum container_state thing_state(const struct thing *t, uint64_t now)
{
	now = time_since(now, t->lag_ns);
	if (now < t->created_ns || now >= t->removed_ns)
		return CONTAINER_GONE;
	if (now >= t->ended_ns)
		return CONTAINER_EXITED;
	return now >= t->started_ns ? CONTAINER_RUNNING : CONTAINER_CREATED;
}

static int32_t thing_code(const struct storm *s, const struct thing *t)
{
	return (int32_t)((t - s->things) % 200 + 1);
}

/* ---- the runtime --------------------------------------------------------------------------- */

static bool storm_next(struct list_source *source, struct list_entry *ret)
{
	struct storm *s = (struct storm *)(void *)((char *)source - offsetof(struct storm, source));

	while (s->at < s->count) {
		struct thing *t = &s->things[s->at++];

		if (thing_state(t, s->now.mono_ns) == CONTAINER_GONE)
			continue;
		*ret = (struct list_entry){ .kind = CONTAINER_KIND_CONTAINER,
			.state = thing_state(t, s->now.mono_ns),
			.id = SLICE(t->id),
			.raw = { (const char *)t, sizeof(*t) } };
		return true;
	}
	return false;
}

static void storm_describe(
	struct list_source *source, const struct list_entry *entry, struct container_identity *ret)
{
	const struct thing *t = (const struct thing *)(const void *)entry->raw.data;

	(void)source;
	*ret = (struct container_identity){ .pod = SLICE(t->pod),
		.pod_uid = SLICE(t->pod),
		.namespace = SLICE("ns"),
		.container = SLICE("main"),
		.created_at_ns = (int64_t)t->created_ns };
}

static void storm_answer(struct storm *s, const struct call *call)
{
	struct thing *t;
	struct container_status status = { .kind = CONTAINER_KIND_CONTAINER };

	if (call->request.type == PLEG_REQUEST_LIST) {
		s->source = (struct list_source){ storm_next, storm_describe };
		s->at = 0;
		pleg_on_list(s->pleg, call->request.token, &s->source, s->now);
		return;
	}
	t = storm_find(s, call->id);
	status.id = t->id;
	status.state = thing_state(t, s->now.mono_ns);
	if (status.state == CONTAINER_GONE) {
		pleg_on_failed(
			s->pleg, call->request.token, PLEG_FAILURE_NOT_FOUND, "not found", s->now);
		return;
	}
	status.has_exit_code = status.state == CONTAINER_EXITED;
	status.exit_code = thing_code(s, t);
	pleg_on_inspect(s->pleg, call->request.token, &status, s->now);
}

/* ---- the agent ----------------------------------------------------------------------------- */

static void storm_add(struct storm *s, struct event *event)
{
	struct thing *t = storm_find(s, event->container_id);

	ASSERT_OK(sync_loop_add(s->sync, event));
	switch (event->type) {
	case EVENT_CONTAINER_STARTED:
		t->starts++;
		t->started_at = s->now.mono_ns;
		assert_int_equal(t->deaths, 0);
		return;
	case EVENT_CONTAINER_DIED:
		if (!event->confirmed) {
			t->provisional++;
			t->provisional_sequence = event->sequence;
			assert_true(s->now.mono_ns >= t->ended_ns);
			assert_int_equal(t->deaths, 0);
			return;
		}
		t->deaths++;
		t->died_at = s->now.mono_ns;
		t->exit_code = event->has_exit_code ? event->exit_code : -1;
		t->confirmed_by_name = t->provisional && event->confirms == t->provisional_sequence;
		assert_int_equal(t->starts, 1);
		return;
	case EVENT_CONTAINER_REMOVED:
		t->removals++;
		assert_int_equal(t->deaths, 1);
		return;
	case EVENT_CONTAINER_CHANGED:
	case EVENT_POD_SYNC: return;
	}
}

static void storm_ledger_events(struct storm *s)
{
	struct event *event;
	const char *id;

	while ((event = ledger_next_event(s->ledger)))
		storm_add(s, event);
	while ((id = ledger_next_wake(s->ledger)))
		pleg_wake(s->pleg, id, s->now);
}

static void storm_words(struct storm *s)
{
	struct pleg_pod pod;
	size_t cursor = 0;

	while (pleg_next_pod(s->pleg, &cursor, &pod))
		for (size_t i = 0; i < pod.container_count; i++) {
			const struct pleg_container *c = &pod.containers[i];
			const struct event identity = { .namespace = pod.namespace,
				.pod = pod.name,
				.pod_uid = pod.uid,
				.container = c->name,
				.container_id = c->id,
				.sandbox_id = c->sandbox_id,
				.attempt = c->attempt,
				.kind = c->kind };

			ledger_on_runtime(s->ledger, &identity, c->state, s->now);
		}
}

/* After an input of PLEG. */
static void storm_turn(struct storm *s)
{
	struct pleg_request request;
	struct event *event;

	storm_words(s);
	storm_ledger_events(s);
	while ((event = pleg_next_event(s->pleg))) {
		if (event->type == EVENT_POD_SYNC) {
			ASSERT_OK(sync_loop_add(s->sync, event));
			continue;
		}
		ledger_on_confirmed(s->ledger, event, s->now);
		if (event->type != EVENT_CONTAINER_STARTED)
			storm_ledger_events(s);
		storm_add(s, event);
		storm_ledger_events(s);
	}
	while (pleg_next_request(s->pleg, &request)) {
		struct call *call = &s->calls[s->call_count++];

		assert_true(s->call_count < CALLS_MAX);
		call->request = request;
		(void)snprintf(call->id, sizeof(call->id), "%s", request.id);
		call->answer_ns = s->now.mono_ns + MSEC(request.type == PLEG_REQUEST_LIST ? 3 : 1);
		if (request.type != PLEG_REQUEST_LIST)
			continue;
		assert_true(s->lists < ELEMENTS(s->list_started_ns));
		s->list_started_ns[s->lists++] = s->now.mono_ns;
	}
}

static void storm_calls(struct storm *s)
{
	for (size_t i = 0; i < s->call_count;) {
		struct call call = s->calls[i];

		if (call.answer_ns > s->now.mono_ns) {
			i++;
			continue;
		}
		s->calls[i] = s->calls[--s->call_count];
		storm_answer(s, &call);
		storm_turn(s);
		if (call.request.type == PLEG_REQUEST_LIST) {
			ledger_on_list(s->ledger, s->list_started_ns[s->lists - 1], s->now);
			storm_ledger_events(s);
		}
		i = 0;
	}
}

static void storm_stream(struct storm *s, struct thing *t, enum ledger_stream_event event,
	uint64_t at_ns, bool *seen)
{
	const struct ledger_exit exit = { .known = true, .code = thing_code(s, t) };

	if (*seen || s->now.mono_ns < at_ns)
		return;
	*seen = true;
	ledger_on_stream(s->ledger,
		&(struct ledger_stream_fact){ .event = event,
			.container_id = t->id,
			.pid = (int32_t)(t - s->things) + 100,
			.exit = event == LEDGER_STREAM_EXIT ? &exit : NULL },
		s->now);
}

static void storm_kernel(struct storm *s, struct thing *t)
{
	uint64_t ticks = 1000 + (uint64_t)(t - s->things);

	if (!t->has_pidfd)
		return;
	if (!t->kernel_born && s->now.mono_ns >= t->started_ns + MSEC(1)) {
		t->kernel_born = true;
		ASSERT_OK(ledger_on_init(
			s->ledger, t->id, (int32_t)(t - s->things) + 100, ticks, s->now));
		ledger_on_state(s->ledger, t->id, ticks, LEDGER_ALIVE, NULL, s->now);
	}
	if (t->kernel_born && !t->kernel_died && s->now.mono_ns >= t->ended_ns) {
		t->kernel_died = true;
		ledger_on_state(s->ledger, t->id, ticks, LEDGER_ZOMBIE,
			&(struct ledger_exit){ .known = true, .code = thing_code(s, t) }, s->now);
	}
}

static void storm_init(struct storm *s, bool relist_auto)
{
	struct pleg_config config = PLEG_CONFIG_DEFAULT;

	*s = (struct storm){ .now = { SEC(100), (int64_t)SEC(5000) } };
	config.relist_auto = relist_auto;
	ASSERT_OK(pleg_new(&config, s->now, &s->pleg));
	ASSERT_OK(ledger_new(10000, &s->ledger));
	ASSERT_OK(sync_loop_new("epoch", 10000, &s->sync));
}

static void storm_done(struct storm *s)
{
	s->pleg = pleg_free(s->pleg);
	s->ledger = ledger_free(s->ledger);
	s->sync = sync_loop_free(s->sync);
}

static void storm_run(struct storm *s, uint64_t duration_ns)
{
	uint64_t end = s->now.mono_ns + duration_ns;

	for (; s->now.mono_ns < end; s->now.mono_ns += MSEC(1), s->now.real_ns += 1000000) {
		for (size_t i = 0; i < s->count; i++) {
			struct thing *t = &s->things[i];

			storm_kernel(s, t);
			storm_stream(s, t, LEDGER_STREAM_START, t->started_ns + MSEC(2),
				&t->stream_started);
			storm_stream(
				s, t, LEDGER_STREAM_EXIT, t->ended_ns + MSEC(2), &t->stream_ended);
			if (t->removed_ns != NSEC_NEVER)
				storm_stream(s, t, LEDGER_STREAM_DELETE, t->removed_ns + MSEC(2),
					&t->stream_removed);
		}
		storm_ledger_events(s);
		pleg_on_hints(s->pleg, ledger_is_calm(s->ledger), s->now);
		if (ledger_next_due(s->ledger) <= s->now.mono_ns)
			ledger_on_tick(s->ledger, s->now);
		if (pleg_next_due(s->pleg) <= s->now.mono_ns)
			pleg_on_tick(s->pleg, s->now);
		storm_turn(s);
		storm_calls(s);
	}
}

/* `count` containers from now on, one every `every_ns`, each in a pod of its own or ten in one. */
static void storm_plan(struct storm *s, size_t count, uint64_t every_ns, uint64_t life_ns,
	uint64_t removed_after_ns, bool has_pidfd)
{
	assert_true(s->count + count <= CONTAINERS_MAX);
	for (size_t i = 0; i < count; i++) {
		struct thing *t = &s->things[s->count];
		uint64_t at = s->now.mono_ns + i * every_ns;

		(void)snprintf(t->id, sizeof(t->id), "c%zu", s->count);
		(void)snprintf(t->pod, sizeof(t->pod), "p%zu", i % 2 ? s->count : s->count / 20);
		t->created_ns = at;
		t->started_ns = at + MSEC(5);
		t->ended_ns = t->started_ns + life_ns;
		t->removed_ns = removed_after_ns == NSEC_NEVER ? NSEC_NEVER
							       : t->ended_ns + removed_after_ns;
		t->lag_ns = MSEC(i * 7 % 50);
		t->has_pidfd = has_pidfd;
		s->count++;
	}
}

/* Lists that began in any one second. */
static size_t lists_in_a_second(const struct storm *s)
{
	size_t most = 0;

	for (size_t i = 0, first = 0; i < s->lists; i++) {
		while (s->list_started_ns[i] - s->list_started_ns[first] >= SEC(1))
			first++;
		if (i - first + 1 > most)
			most = i - first + 1;
	}
	return most;
}

static void check_all(struct storm *s, bool provisional)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct thing *t = &s->things[i];

		if (t->starts != 1 || t->deaths != 1)
			fail_msg("%s: %d starts, %d deaths", t->id, t->starts, t->deaths);
		assert_int_equal(t->exit_code, thing_code(s, t));
		assert_int_equal(t->removals, t->removed_ns != NSEC_NEVER);
		assert_true(t->provisional <= 1);
		if (t->provisional) {
			assert_true(provisional);
			assert_true(t->confirmed_by_name);
		}
	}
}

static struct storm storm;

/* 1,000 containers of 20 ms, 50 a second; exited ones stay listed, as with a kubelet. */
static void storm_of_short_lives(void **state)
{
	struct ledger_stats stats;

	(void)state;
	storm_init(&storm, false);
	storm_run(&storm, SEC(2));
	storm_plan(&storm, 1000, MSEC(20), MSEC(20), NSEC_NEVER, false);
	storm_run(&storm, SEC(24));
	check_all(&storm, false);
	assert_true(lists_in_a_second(&storm) <= 6); /* 5 for hints and the periodic one */
	for (size_t i = 0; i < storm.count; i++)
		assert_true(storm.things[i].died_at - storm.things[i].ended_ns <= MSEC(400));
	ledger_stats(storm.ledger, &stats);
	assert_true(stats.stream_starts > 500); /* or this tests nothing */
	assert_true(ledger_is_calm(storm.ledger));
	print_message("%zu lists, %llu inspections, %llu starts that only the stream saw\n",
		storm.lists, (unsigned long long)pleg_stats(storm.pleg)->inspections,
		(unsigned long long)stats.stream_starts);
	storm_done(&storm);
}

/* All at once, with pidfds, and a period that has grown to 10 s before. */
static void burst_with_pidfds(void **state)
{
	struct ledger_stats stats;

	(void)state;
	storm_init(&storm, true);
	storm_run(&storm, SEC(40));
	assert_int_equal(pleg_stats(storm.pleg)->relist_period_ns, SEC(10));
	storm_plan(&storm, 1000, NSEC_PER_USEC, MSEC(20), NSEC_NEVER, true);
	storm_run(&storm, SEC(5));
	check_all(&storm, true);
	assert_true(lists_in_a_second(&storm) <= 6);
	ledger_stats(storm.ledger, &stats);
	assert_true(stats.stream_starts > 500); /* no list had shown them alive */
	assert_int_equal(stats.provisional_open, 0);
	storm_done(&storm);
}

/* Removed right after their end: most are in no list ever. Their exit code is the stream's. */
static void storm_of_removed(void **state)
{
	struct ledger_stats stats;

	(void)state;
	storm_init(&storm, true);
	storm_run(&storm, SEC(20));
	storm_plan(&storm, 300, MSEC(20), MSEC(20), MSEC(20), false);
	for (size_t i = 0; i < storm.count; i++)
		storm.things[i].lag_ns = 0;
	storm_run(&storm, SEC(12));
	for (size_t i = 0; i < storm.count; i++) {
		const struct thing *t = &storm.things[i];

		if (t->starts != 1 || t->deaths != 1 || t->removals != 1)
			fail_msg("%s: %d starts, %d deaths, %d removals", t->id, t->starts,
				t->deaths, t->removals);
	}
	ledger_stats(storm.ledger, &stats);
	assert_true(stats.concluded > 100);
	assert_int_equal(stats.entries, 0);
	storm_done(&storm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(storm_of_short_lives),
		cmocka_unit_test(burst_with_pidfds),
		cmocka_unit_test(storm_of_removed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
