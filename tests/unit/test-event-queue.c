/* The queue of events: order, all or nothing, how it grows and gives back, and memory that is out. */
#include "unit.h"

#include "base/fault.h"
#include "base/mem.h"
#include "base/str.h"
#include "model/event-queue.h"

static unsigned fault_at, fault_seen; /* which allocation fails; 0: none */

bool fault_hit(enum fault_point point)
{
	return point == FAULT_ALLOC && fault_at > 0 && ++fault_seen == fault_at;
}

static struct event fields_of(unsigned number)
{
	return (struct event){ .type = EVENT_CONTAINER_STARTED,
		.namespace = "demo",
		.pod = "web",
		.pod_uid = "u",
		.container = "app",
		.container_id = "abc",
		.sandbox_id = "box",
		.attempt = number };
}

static int make(struct event_queue *q, unsigned number)
{
	struct event fields = fields_of(number);

	return event_queue_make(q, &fields);
}

static void assert_next(struct event_queue *q, unsigned number)
{
	struct event *event = event_queue_next(q);

	assert_non_null(event);
	assert_int_equal(event->attempt, number);
	assert_string_equal(event->container_id, "abc");
	(void)event_free(event);
}

static void first_in_first_out(void **state)
{
	CLEAN(event_queue_done) struct event_queue q = { 0 };

	(void)state;
	assert_null(event_queue_next(&q));
	for (unsigned i = 0; i < 3; i++)
		ASSERT_OK(make(&q, i));
	assert_null(event_queue_next(&q)); /* made, not told */
	assert_int_equal(q.made, 3);
	assert_int_equal(event_queue_keep(&q), 3);
	assert_int_equal(event_queue_keep(&q), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_next(&q, i);
	assert_null(event_queue_next(&q));
}

static void all_or_nothing(void **state)
{
	CLEAN(event_queue_done) struct event_queue q = { 0 };

	(void)state;
	ASSERT_OK(make(&q, 1));
	assert_int_equal(event_queue_keep(&q), 1);
	ASSERT_OK(make(&q, 2));
	ASSERT_OK(make(&q, 3));
	event_queue_drop(&q);
	assert_int_equal(q.made, 0);
	ASSERT_OK(make(&q, 4));
	assert_int_equal(event_queue_keep(&q), 1);
	assert_next(&q, 1);
	assert_next(&q, 4);
	assert_null(event_queue_next(&q));
}

/* Neither told nor dropped, and told and not fetched: all of it goes with the queue. */
static void what_is_left_goes_with_it(void **state)
{
	struct event_queue q = { 0 };

	(void)state;
	for (unsigned i = 0; i < 40; i++)
		ASSERT_OK(make(&q, i));
	(void)event_queue_keep(&q);
	assert_next(&q, 0);
	ASSERT_OK(make(&q, 40));
	event_queue_done(&q);
	assert_null(q.events);
	assert_null(event_queue_next(&q));
}

/* Whoever fetches all of it before the next one comes needs no more room for it, however long. */
static void it_grows_with_what_waits_only(void **state)
{
	CLEAN(event_queue_done) struct event_queue q = { 0 };
	size_t cap;

	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		ASSERT_OK(make(&q, i));
		(void)event_queue_keep(&q);
	}
	cap = q.cap;
	for (unsigned i = 0; i < 10; i++)
		assert_next(&q, i);
	for (unsigned i = 0; i < 1000; i++) {
		ASSERT_OK(make(&q, i));
		(void)event_queue_keep(&q);
		assert_next(&q, i);
	}
	assert_int_equal(q.cap, cap);

	for (unsigned i = 0; i < 5000; i++) {
		ASSERT_OK(make(&q, i));
		(void)event_queue_keep(&q);
	}
	for (unsigned i = 0; i < 5000; i++)
		assert_next(&q, i);
	assert_true(q.cap >= 5000);
	assert_null(event_queue_next(&q));
	assert_int_equal(q.cap, 0);
	assert_null(q.events);
}

static void memory_that_is_out(void **state)
{
	(void)state;
	for (unsigned at = 1;; at++) {
		CLEAN(event_queue_done) struct event_queue q = { 0 };
		int r = 0;

		fault_seen = 0;
		fault_at = at;
		for (unsigned i = 0; i < 40 && r >= 0; i++)
			r = make(&q, i);
		fault_at = 0;
		if (fault_seen < at) {
			ASSERT_OK(r);
			assert_true(at > 42); /* 40 events, and room for them twice at least */
			break;
		}
		ASSERT_ERR(r, ENOMEM);
		event_queue_drop(&q);
		assert_null(event_queue_next(&q));
		/* It can be used as before. */
		ASSERT_OK(make(&q, 7));
		assert_int_equal(event_queue_keep(&q), 1);
		assert_next(&q, 7);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_in_first_out),
		cmocka_unit_test(all_or_nothing),
		cmocka_unit_test(what_is_left_goes_with_it),
		cmocka_unit_test(it_grows_with_what_waits_only),
		cmocka_unit_test(memory_that_is_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
