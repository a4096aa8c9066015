/*
 * The fault matrix of the pure rooms: each scenario below is run with its first allocation failing,
 * then its second, its third ... until a run meets no fault, and then once more with all allocations
 * failing from the n-th on. Each time it must end with 0 or -ENOMEM, keep what it promises on the way,
 * and leave no memory behind: libc's allocator is wrapped at link time to count the live blocks.
 */
#include "../unit/unit.h"

#include <stdbool.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/table.h"
#include "kube/reporter.h"
#include "model/container.h"
#include "node/node.h"
#include "sync/inputs.h"
#include "sync/sync.h"

#define FAULTS_MAX 10000 /* a scenario that still meets faults then does not end by itself */

static struct {
	size_t calls, fail_at; /* fail_at 0: none */
	bool persistent;       /* all from fail_at on */
	bool met;
} plan;

bool fault_hit(enum fault_point point)
{
	if (point != FAULT_ALLOC)
		return false;
	plan.calls++;
	if (plan.fail_at == 0 || plan.calls < plan.fail_at ||
		(plan.calls > plan.fail_at && !plan.persistent))
		return false;
	plan.met = true;
	return true;
}

static long live_blocks;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_reallocarray(void *old, size_t count, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);
void __wrap_free(void *p);

void *__wrap_malloc(size_t size)
{
	live_blocks++;
	return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
	live_blocks++;
	return __real_calloc(count, size);
}

void *__wrap_reallocarray(void *old, size_t count, size_t size)
{
	live_blocks += old == NULL;
	return __real_reallocarray(old, count, size);
}

void __wrap_free(void *p)
{
	live_blocks -= p != NULL;
	__real_free(p);
}

static int run_buf(void)
{
	CLEAN(buf_done) struct buf b = BUF_INIT(1000);
	int r;

	for (int i = 0; i < 20; i++) {
		size_t before = b.len;

		r = buf_printf(&b, "line %d of twenty\n", i);
		if (r < 0) {
			assert_int_equal(b.len, before);
			return r;
		}
	}
	r = buf_append(&b, "end", 3);
	if (r < 0)
		return r;
	buf_shrink(&b, b.len); /* out of memory is benign here */
	if (!buf_string(&b))
		return -ENOMEM;
	assert_string_equal(buf_string(&b) + b.len - 3, "end");
	return 0;
}

static int run_table(void)
{
	CLEAN(table_done) struct table t = TABLE_INIT(100);
	char keys[60][8];

	for (size_t i = 0; i < ELEMENTS(keys); i++) {
		int r;

		(void)snprintf(keys[i], sizeof(keys[i]), "k%zu", i);
		r = table_put_string(&t, keys[i], keys[i]);
		/* What was in before is still in, and nothing else. */
		assert_int_equal(t.used, r < 0 ? i : i + 1);
		for (size_t j = 0; j < t.used; j++)
			assert_ptr_equal(table_get_string(&t, keys[j]), keys[j]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int run_model(void)
{
	const char *ips[] = { "10.0.0.1", "fd00::1" };
	const struct container_status status = { .id = "c1", .ips = ips, .ip_count = 2 };
	CLEAN(mem_freep) struct container_status *copy = container_status_copy(&status);
	CLEAN(mem_freep) struct event *event = NULL;

	if (!copy)
		return -ENOMEM;
	event = event_new(&(struct event){ .pod = "p" });
	return event ? 0 : -ENOMEM;
}

static int run_node(void)
{
	const struct now now = { .mono_ns = 5 };
	struct node *node = NULL;
	int r = node_new(&NODE_CONFIG_DEFAULT, now, &node);

	if (r < 0) {
		assert_null(node);
		return r;
	}
	/* A verdict needs no memory: it must come out where everything else fails. */
	(void)node_update(node, &(struct node_facts){ .pleg_healthy = true }, now);
	(void)node_free(node);
	return 0;
}

/* Reads all there is; sequence numbers told and missed have no hole between them. */
static uint64_t read_all(struct sync_subscriber *subscriber)
{
	const struct event *event;
	uint64_t at = 0, missed;

	for (;;) {
		switch (sync_next(subscriber, &event, &missed)) {
		case SYNC_NONE: return at;
		case SYNC_MISSED: at += missed; break;
		case SYNC_EVENT: assert_int_equal(event->sequence, ++at); break;
		}
	}
}

static int run_sync_loop(struct sync_loop *loop)
{
	struct sync_subscriber *subscriber = NULL;
	int r = sync_subscribe(loop, &(struct sync_filter){ .pod = NULL }, 1, &subscriber);

	if (r < 0)
		return r;
	for (int i = 0; i < 12; i++) {
		char id[16];
		int added;

		(void)snprintf(id, sizeof(id), "id-%d", i / 2);
		/* Provisional, then confirmed; out of memory is counted and told, not fatal. */
		added = sync_loop_add(loop,
			event_new(&(struct event){ .type = EVENT_CONTAINER_DIED,
				.confirmed = i % 2 == 1,
				.container_id = id }));
		if (added < 0)
			r = added;
		assert_int_equal(sync_loop_last(loop), i + 1);
	}
	assert_int_equal(read_all(subscriber), 12);
	(void)sync_unsubscribe(subscriber);
	return r;
}

static int run_sync(void)
{
	struct sync_loop *loop = NULL;
	int r = sync_loop_new("epoch", 8, &loop);

	if (r < 0) {
		assert_null(loop);
		return r;
	}
	r = run_sync_loop(loop);
	(void)sync_loop_free(loop);
	return r;
}

static int run_inputs(void)
{
	const struct now now = { .mono_ns = 5 };
	struct sync_inputs *inputs = NULL;
	struct sync_request request;
	size_t asked = 0, told = 0;
	int r = sync_inputs_new(SYNC_SOURCE_BIT(SYNC_SOURCE_API), 100, now, &inputs);

	if (r < 0)
		return r;
	sync_inputs_on_source_ready(inputs, SYNC_SOURCE_API);
	for (int i = 0; i < 30; i++) {
		char uid[16];
		int added;

		(void)snprintf(uid, sizeof(uid), "uid-%d", i);
		added = i % 3 == 0 ? sync_inputs_on_event(inputs,
					     &(struct event){ .type = EVENT_CONTAINER_DIED,
						     .confirmed = true,
						     .pod_uid = uid })
				   : sync_inputs_on_pod(inputs, SYNC_SOURCE_API, SYNC_OP_ADD, uid);
		if (added < 0)
			r = added;
		else
			asked++;
	}
	while (sync_inputs_next(inputs, &request))
		told++;
	assert_int_equal(told, asked);
	(void)sync_inputs_free(inputs);
	return r;
}

/* A stopped shim, told to an API server that takes everything. One allocation that fails costs an Event
 * at most, which is counted: the condition comes through. */
static int run_reporter_for_a_minute(struct reporter *reporter)
{
	static const struct condition_problem shim = { CAUSE_SHIM_STOPPED, SEVERITY_CRITICAL, true,
		true, 1, "shop/cart", "The shim of shop/cart is stopped" };
	static const struct condition_facts facts = { .problems = &shim,
		.problem_count = 1,
		.is_sampled = true,
		.age_ns = 60 * NSEC_PER_SEC,
		.pleg_healthy = true };
	static const struct reporter_node node = { .taint = { "1", NULL, 0 } };
	struct now now = { 1000 * NSEC_PER_SEC, INT64_C(1790000000000000000) };
	struct reporter_request request;
	struct reporter_status status;
	unsigned conditions = 0, events = 0;

	for (int i = 0; i < 60; i++) {
		now.mono_ns += NSEC_PER_SEC;
		now.real_ns += (int64_t)NSEC_PER_SEC;
		reporter_update(reporter, &facts, now);
		while (reporter_next(reporter, now, &request)) {
			const struct reporter_answer answer = {
				.slot = request.slot, .http = 200, .node = &node
			};

			conditions +=
				request.want == REPORTER_WRITE && request.slot == REPORTER_NODE;
			events += request.want == REPORTER_WRITE && request.slot == REPORTER_EVENT;
			reporter_answer(reporter, &answer, now);
		}
	}
	reporter_status(reporter, &status);
	if (!plan.persistent) {
		assert_int_equal(conditions, 1);
		assert_int_equal(events + status.events.lost + status.transitions_lost, 1);
	}
	return events == 1 && conditions == 1 ? 0 : -ENOMEM;
}

static int run_reporter(void)
{
	const struct reporter_options options = { "node-a", 7, false };
	struct reporter *reporter = reporter_new(&options);
	int r;

	if (!reporter)
		return -ENOMEM;
	r = run_reporter_for_a_minute(reporter);
	(void)reporter_free(reporter);
	return r;
}

/* Runs it with one plan and says whether a fault was met. */
static bool run_once(int (*scenario)(void), size_t fail_at, bool persistent)
{
	long before = live_blocks;
	int r;

	memset(&plan, 0, sizeof(plan));
	plan.fail_at = fail_at;
	plan.persistent = persistent;
	r = scenario();
	if (r != 0 && r != -ENOMEM)
		fail_msg("Fault %zu: ended with %d", fail_at, r);
	if (r != 0 && !plan.met)
		fail_msg("Failed without a fault: %d", r);
	if (live_blocks != before)
		fail_msg("Fault %zu%s: %ld blocks were left behind", fail_at,
			persistent ? " and on" : "", live_blocks - before);
	return plan.met;
}

static void run_matrix(void **state)
{
	int (*scenario)(void) = *(int (**)(void)) * state;
	size_t faults = 0;

	assert_false(run_once(scenario, 0, false));
	assert_true(plan.calls > 0); /* or there is nothing to test */
	for (int persistent = 0; persistent < 2; persistent++) {
		size_t n = 1;

		while (run_once(scenario, n, persistent == 1)) {
			assert_true(++n < FAULTS_MAX);
			faults++;
		}
	}
	print_message("%zu faults\n", faults);
}

#define MATRIX(name)                                                                               \
	{                                                                                          \
#name, run_matrix, NULL, NULL, &(int (*)(void))                                    \
		{                                                                                  \
			run_##name                                                                 \
		}                                                                                  \
	}

int main(void)
{
	const struct CMUnitTest tests[] = {
		MATRIX(buf),
		MATRIX(table),
		MATRIX(model),
		MATRIX(node),
		MATRIX(sync),
		MATRIX(inputs),
		MATRIX(reporter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
