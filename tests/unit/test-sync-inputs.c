/* The typed inputs of node mode: per source, coalesced, ticks and housekeeping on a made-up clock. */
#include "unit.h"

#include "base/mem.h"
#include "sync/inputs.h"

#define SEC       NSEC_PER_SEC
#define FROM_FILE SYNC_SOURCE_FILE
#define FROM_API  SYNC_SOURCE_API
#define BOTH      (SYNC_SOURCE_BIT(SYNC_SOURCE_FILE) | SYNC_SOURCE_BIT(SYNC_SOURCE_API))

static const struct now start = { .mono_ns = 100 * SEC };

static struct sync_inputs *inputs_new(size_t pods_max, bool ready)
{
	struct sync_inputs *inputs = NULL;

	ASSERT_OK(sync_inputs_new(BOTH, pods_max, start, &inputs));
	if (ready) {
		sync_inputs_on_source_ready(inputs, FROM_FILE);
		sync_inputs_on_source_ready(inputs, FROM_API);
	}
	return inputs;
}

static void expect_pod(struct sync_inputs *inputs, const char *uid, unsigned reasons, bool present)
{
	struct sync_request request;

	assert_true(sync_inputs_next(inputs, &request));
	assert_int_equal(request.type, SYNC_REQUEST_POD);
	assert_string_equal(request.pod_uid, uid);
	assert_int_equal(request.reasons, reasons);
	assert_int_equal(request.present, present);
}

static void expect_housekeeping(struct sync_inputs *inputs)
{
	struct sync_request request;

	assert_true(sync_inputs_next(inputs, &request));
	assert_int_equal(request.type, SYNC_REQUEST_HOUSEKEEPING);
}

static void expect_nothing(struct sync_inputs *inputs)
{
	struct sync_request request;

	assert_false(sync_inputs_next(inputs, &request));
	assert_int_equal(request.type, SYNC_REQUEST_NONE);
}

static int tell(struct sync_inputs *inputs, enum event_type type, const char *uid, bool confirmed)
{
	struct event event = {
		.type = type,
		.confirmed = confirmed,
		.source = confirmed ? EVENT_SOURCE_RELIST : EVENT_SOURCE_KERNEL,
		.pod_uid = uid,
	};

	return sync_inputs_on_event(inputs, &event);
}

static void tick(struct sync_inputs *inputs, uint64_t after_ns)
{
	sync_inputs_on_tick(inputs, (struct now){ .mono_ns = start.mono_ns + after_ns });
}

static void operations(void **state)
{
	static const struct {
		enum sync_op op;
		unsigned reason;
		bool present;
	} rows[] = {
		{ SYNC_OP_ADD, SYNC_REASON_ADD, true },
		{ SYNC_OP_UPDATE, SYNC_REASON_UPDATE, true },
		{ SYNC_OP_RECONCILE, SYNC_REASON_RECONCILE, true },
		{ SYNC_OP_DELETE, SYNC_REASON_DELETE, true },
		{ SYNC_OP_REMOVE, SYNC_REASON_REMOVE, false },
	};
	struct sync_inputs *inputs = inputs_new(10, true);
	struct sync_inputs_stats stats;

	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		ASSERT_OK(sync_inputs_on_pod(inputs, FROM_FILE, rows[i].op, "u1"));
		expect_pod(inputs, "u1", rows[i].reason, rows[i].present);
		expect_nothing(inputs);
	}
	sync_inputs_stats(inputs, &stats);
	assert_int_equal(stats.pods, 0);
	assert_int_equal(stats.coalesced, 0);
	assert_null(sync_inputs_free(inputs));
	assert_null(sync_inputs_free(NULL));
}

static void refused(void **state)
{
	struct sync_inputs *inputs = inputs_new(2, true);
	struct sync_inputs *none = NULL;

	ASSERT_ERR(sync_inputs_new(0, 10, start, &none), EINVAL);
	ASSERT_ERR(sync_inputs_on_pod(inputs, SYNC_SOURCE_HTTP, SYNC_OP_ADD, "u1"), EINVAL);
	ASSERT_ERR(sync_inputs_on_pod(inputs, FROM_FILE, SYNC_OP_ADD, ""), EINVAL);
	ASSERT_ERR(sync_inputs_on_pod(inputs, FROM_FILE, SYNC_OP_UPDATE, "u1"), ENOENT);
	ASSERT_OK(sync_inputs_on_pod(inputs, FROM_FILE, SYNC_OP_ADD, "u1"));
	ASSERT_ERR(sync_inputs_on_pod(inputs, FROM_FILE, SYNC_OP_ADD, "u1"), EEXIST);
	ASSERT_ERR(sync_inputs_on_pod(inputs, FROM_API, SYNC_OP_ADD, "u1"), EEXIST);
	ASSERT_ERR(sync_inputs_on_pod(inputs, FROM_API, SYNC_OP_REMOVE, "u1"), ENOENT);
	ASSERT_OK(sync_inputs_on_pod(inputs, FROM_API, SYNC_OP_ADD, "u2"));
	ASSERT_ERR(sync_inputs_on_pod(inputs, FROM_API, SYNC_OP_ADD, "u3"), ENOSPC);
	expect_pod(inputs, "u1", SYNC_REASON_ADD, true);
	expect_pod(inputs, "u2", SYNC_REASON_ADD, true);
	expect_nothing(inputs);
	(void)sync_inputs_free(inputs);
}

static void requests_are_joined(void **state)
{
	struct sync_inputs *inputs = inputs_new(10, true);
	struct sync_inputs_stats stats;

	ASSERT_OK(sync_inputs_on_pod(inputs, FROM_API, SYNC_OP_ADD, "u1"));
	ASSERT_OK(sync_inputs_on_pod(inputs, FROM_API, SYNC_OP_ADD, "u2"));
	ASSERT_OK(sync_inputs_on_pod(inputs, FROM_API, SYNC_OP_UPDATE, "u1"));
	ASSERT_OK(tell(inputs, EVENT_CONTAINER_STARTED, "u1", true));
	ASSERT_OK(tell(inputs, EVENT_POD_SYNC, "u1", true));
	sync_inputs_stats(inputs, &stats);
	assert_int_equal(stats.queued, 2);
	assert_int_equal(stats.coalesced, 3);
	expect_pod(inputs, "u1", SYNC_REASON_ADD | SYNC_REASON_UPDATE | SYNC_REASON_PLEG, true);
	expect_pod(inputs, "u2", SYNC_REASON_ADD, true);

	/* Gone and back before anybody looked: both are told. */
	ASSERT_OK(sync_inputs_on_pod(inputs, FROM_API, SYNC_OP_REMOVE, "u1"));
	ASSERT_OK(sync_inputs_on_pod(inputs, FROM_API, SYNC_OP_ADD, "u1"));
	expect_pod(inputs, "u1", SYNC_REASON_REMOVE | SYNC_REASON_ADD, true);
	expect_nothing(inputs);
	(void)sync_inputs_free(inputs);
}

static void events(void **state)
{
	struct sync_inputs *inputs = inputs_new(10, true);
	struct sync_inputs_stats stats;

	ASSERT_OK(sync_inputs_on_pod(inputs, FROM_API, SYNC_OP_ADD, "u1"));
	expect_pod(inputs, "u1", SYNC_REASON_ADD, true);

	ASSERT_OK(tell(inputs, EVENT_CONTAINER_STARTED, "u1", true));
	expect_pod(inputs, "u1", SYNC_REASON_PLEG, true);
	ASSERT_OK(tell(inputs, EVENT_CONTAINER_DIED, "u1", true));
	expect_pod(inputs, "u1", SYNC_REASON_PLEG | SYNC_REASON_DELETE_CONTAINERS, true);

	/* Nothing to do: removed, provisional, changed, somebody else's pod, no pod at all. */
	ASSERT_OK(tell(inputs, EVENT_CONTAINER_REMOVED, "u1", true));
	ASSERT_OK(tell(inputs, EVENT_CONTAINER_DIED, "u1", false));
	ASSERT_OK(tell(inputs, EVENT_CONTAINER_CHANGED, "u1", true));
	ASSERT_OK(tell(inputs, EVENT_CONTAINER_STARTED, "stranger", true));
	ASSERT_OK(tell(inputs, EVENT_CONTAINER_DIED, "", true));
	expect_nothing(inputs);
	sync_inputs_stats(inputs, &stats);
	assert_int_equal(stats.ignored, 5);

	/* A dead container is cleaned up whoever's it was. */
	ASSERT_OK(tell(inputs, EVENT_CONTAINER_DIED, "stranger", true));
	expect_pod(inputs, "stranger", SYNC_REASON_DELETE_CONTAINERS, false);
	expect_nothing(inputs);
	sync_inputs_stats(inputs, &stats);
	assert_int_equal(stats.pods, 1);
	(void)sync_inputs_free(inputs);
}

static void strangers_are_bounded(void **state)
{
	struct sync_inputs *inputs = inputs_new(1, true);

	ASSERT_OK(tell(inputs, EVENT_CONTAINER_DIED, "s1", true));
	ASSERT_ERR(tell(inputs, EVENT_CONTAINER_DIED, "s2", true), ENOSPC);
	/* A source that adds the pod that waits takes it over. */
	ASSERT_OK(sync_inputs_on_pod(inputs, FROM_API, SYNC_OP_ADD, "s1"));
	expect_pod(inputs, "s1", SYNC_REASON_DELETE_CONTAINERS | SYNC_REASON_ADD, true);
	expect_nothing(inputs);
	(void)sync_inputs_free(inputs);
}

static void housekeeping_waits_for_all_sources(void **state)
{
	struct sync_inputs *inputs = inputs_new(10, false);

	assert_int_equal(sync_inputs_next_due(inputs), NSEC_NEVER);
	sync_inputs_on_source_ready(inputs, SYNC_SOURCE_HTTP); /* is not configured */
	sync_inputs_on_source_ready(inputs, FROM_FILE);
	assert_false(sync_inputs_all_ready(inputs));
	tick(inputs, 2 * SEC);
	expect_nothing(inputs);
	sync_inputs_on_source_ready(inputs, FROM_API);
	assert_true(sync_inputs_all_ready(inputs));
	assert_int_equal(sync_inputs_next_due(inputs), start.mono_ns + 4 * SEC);
	tick(inputs, 4 * SEC - 1);
	expect_nothing(inputs);
	tick(inputs, 4 * SEC);
	expect_housekeeping(inputs);
	expect_nothing(inputs);

	/* Ticks that were slept through are one, and the row goes on as it was. */
	tick(inputs, 11 * SEC);
	expect_housekeeping(inputs);
	expect_nothing(inputs);
	assert_int_equal(sync_inputs_next_due(inputs), start.mono_ns + 12 * SEC);
	(void)sync_inputs_free(inputs);
}

static void removal_before_all_sources_are_ready(void **state)
{
	struct sync_inputs *inputs = inputs_new(10, false);
	struct sync_inputs_stats stats;

	ASSERT_OK(sync_inputs_on_pod(inputs, FROM_FILE, SYNC_OP_ADD, "u1"));
	ASSERT_OK(sync_inputs_on_pod(inputs, FROM_FILE, SYNC_OP_ADD, "u2"));
	ASSERT_OK(sync_inputs_on_pod(inputs, FROM_FILE, SYNC_OP_REMOVE, "u1"));
	expect_pod(inputs, "u2", SYNC_REASON_ADD, true);
	expect_nothing(inputs);
	ASSERT_OK(sync_inputs_on_pod(inputs, FROM_FILE, SYNC_OP_REMOVE, "u2"));
	expect_nothing(inputs);
	sync_inputs_stats(inputs, &stats);
	assert_int_equal(stats.pods, 0);
	assert_int_equal(stats.queued, 0);
	(void)sync_inputs_free(inputs);
}

static void pods_that_are_due(void **state)
{
	struct sync_inputs *inputs = inputs_new(10, false);

	ASSERT_OK(sync_inputs_on_pod(inputs, FROM_FILE, SYNC_OP_ADD, "u1"));
	ASSERT_OK(sync_inputs_on_pod(inputs, FROM_FILE, SYNC_OP_ADD, "u2"));
	expect_pod(inputs, "u1", SYNC_REASON_ADD, true);
	expect_pod(inputs, "u2", SYNC_REASON_ADD, true);

	sync_inputs_requeue(inputs, "u1", start.mono_ns + 2500 * NSEC_PER_MSEC);
	sync_inputs_requeue(inputs, "u2", start.mono_ns + 4 * SEC);
	sync_inputs_requeue(inputs, "stranger", start.mono_ns);
	assert_int_equal(sync_inputs_next_due(inputs), start.mono_ns + 3 * SEC);
	tick(inputs, 2 * SEC);
	expect_nothing(inputs);
	/* Between two ticks nobody looks, though u1 is due. */
	tick(inputs, 2900 * NSEC_PER_MSEC);
	expect_nothing(inputs);
	tick(inputs, 3 * SEC);
	expect_pod(inputs, "u1", SYNC_REASON_TICK, true);
	expect_nothing(inputs);
	assert_int_equal(sync_inputs_next_due(inputs), start.mono_ns + 4 * SEC);

	/* The time named last counts. */
	sync_inputs_requeue(inputs, "u2", NSEC_NEVER);
	tick(inputs, 4 * SEC);
	expect_nothing(inputs);
	assert_int_equal(sync_inputs_next_due(inputs), NSEC_NEVER);

	/* A pod that is removed is not due any more. */
	sync_inputs_requeue(inputs, "u1", start.mono_ns + 5 * SEC);
	ASSERT_OK(sync_inputs_on_pod(inputs, FROM_FILE, SYNC_OP_REMOVE, "u1"));
	tick(inputs, 6 * SEC);
	expect_nothing(inputs);
	(void)sync_inputs_free(inputs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(operations),
		cmocka_unit_test(refused),
		cmocka_unit_test(requests_are_joined),
		cmocka_unit_test(events),
		cmocka_unit_test(strangers_are_bounded),
		cmocka_unit_test(housekeeping_waits_for_all_sources),
		cmocka_unit_test(removal_before_all_sources_are_ready),
		cmocka_unit_test(pods_that_are_due),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
