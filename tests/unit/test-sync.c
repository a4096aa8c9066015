/* The sync loop: sequence, history, subscribers as cursors, filters, pairing of the two kinds. */
#include "unit.h"

#include <stdio.h>

#include "base/mem.h"
#include "sync/sync.h"

static struct sync_loop *loop_new(size_t history_max)
{
	struct sync_loop *loop = NULL;

	ASSERT_OK(sync_loop_new("e1", history_max, &loop));
	return loop;
}

/* A confirmed ContainerStarted from the list, unless `fields` says more. */
static void add(struct sync_loop *loop, struct event fields)
{
	ASSERT_OK(sync_loop_add(loop, event_new(&fields)));
}

static void add_many(struct sync_loop *loop, size_t count)
{
	for (size_t i = 0; i < count; i++)
		add(loop, (struct event){ .confirmed = true });
}

static struct sync_subscriber *subscribe(
	struct sync_loop *loop, struct sync_filter filter, uint64_t from)
{
	struct sync_subscriber *subscriber = NULL;

	ASSERT_OK(sync_subscribe(loop, &filter, from, &subscriber));
	return subscriber;
}

static void expect_event(struct sync_subscriber *subscriber, uint64_t sequence)
{
	const struct event *event = NULL;
	uint64_t missed = 0;

	assert_int_equal(sync_next(subscriber, &event, &missed), SYNC_EVENT);
	assert_int_equal(event->sequence, sequence);
}

static void expect_missed(struct sync_subscriber *subscriber, uint64_t count)
{
	const struct event *event = NULL;
	uint64_t missed = 0;

	assert_int_equal(sync_next(subscriber, &event, &missed), SYNC_MISSED);
	assert_int_equal(missed, count);
	assert_null(event);
}

static void expect_none(struct sync_subscriber *subscriber)
{
	const struct event *event = NULL;
	uint64_t missed = 0;

	assert_int_equal(sync_next(subscriber, &event, &missed), SYNC_NONE);
}

static void in_order_to_everybody(void **state)
{
	struct sync_loop *loop = loop_new(10);
	struct sync_subscriber *early = subscribe(loop, (struct sync_filter){ 0 }, 0), *late;
	struct sync_stats stats;

	assert_string_equal(sync_loop_epoch(loop), "e1");
	assert_int_equal(sync_loop_last(loop), 0);
	expect_none(early);
	add_many(loop, 2);
	late = subscribe(loop, (struct sync_filter){ 0 }, 0);
	add_many(loop, 1);
	assert_int_equal(sync_loop_last(loop), 3);
	expect_event(early, 1);
	expect_event(early, 2);
	expect_event(early, 3);
	expect_none(early);
	expect_event(late, 3);
	expect_none(late);
	sync_stats(loop, &stats);
	assert_int_equal(stats.events, 3);
	assert_int_equal(stats.history, 3);
	assert_int_equal(stats.subscribers, 2);
	assert_int_equal(stats.missed, 0);
	assert_null(sync_unsubscribe(early));
	sync_stats(loop, &stats);
	assert_int_equal(stats.subscribers, 1);

	/* Who outlives the loop hears nothing more. */
	assert_null(sync_loop_free(loop));
	expect_none(late);
	assert_null(sync_unsubscribe(late));
	assert_null(sync_unsubscribe(NULL));
	assert_null(sync_loop_free(NULL));
}

static void no_history_is_refused(void **state)
{
	struct sync_loop *loop = NULL;

	ASSERT_ERR(sync_loop_new("e1", 0, &loop), EINVAL);
	assert_null(loop);
}

static void slow_subscriber(void **state)
{
	struct sync_loop *loop = loop_new(4);
	struct sync_subscriber *slow = subscribe(loop, (struct sync_filter){ 0 }, 0);
	struct sync_subscriber *quick = subscribe(loop, (struct sync_filter){ 0 }, 0);
	struct sync_stats stats;

	add_many(loop, 2);
	expect_event(slow, 1);
	for (uint64_t s = 1; s <= 10; s++) {
		if (s > 2)
			add_many(loop, 1);
		expect_event(quick, s);
	}
	/* 7 to 10 are still there. */
	expect_missed(slow, 5);
	expect_event(slow, 7);
	add_many(loop, 2);
	expect_missed(slow, 1);
	for (uint64_t s = 9; s <= 12; s++)
		expect_event(slow, s);
	expect_none(slow);
	sync_stats(loop, &stats);
	assert_int_equal(stats.missed, 6);
	assert_int_equal(stats.history, 4);
	(void)sync_unsubscribe(slow);
	(void)sync_unsubscribe(quick);
	(void)sync_loop_free(loop);
}

static void from_a_sequence(void **state)
{
	static const struct {
		uint64_t from, missed, first;
	} rows[] = {
		{ 8, 0, 8 },
		{ 7, 0, 7 },
		{ 6, 1, 7 },
		{ 1, 6, 7 },
		{ 10, 0, 10 },
		{ 11, 0, 0 },
		{ 12, 6, 7 }, /* of another epoch: all there is */
		{ 5000, 6, 7 },
	};
	struct sync_loop *loop = loop_new(4);

	add_many(loop, 10);
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct sync_subscriber *s =
			subscribe(loop, (struct sync_filter){ 0 }, rows[i].from);

		if (rows[i].missed > 0)
			expect_missed(s, rows[i].missed);
		if (rows[i].first > 0)
			expect_event(s, rows[i].first);
		else
			expect_none(s);
		(void)sync_unsubscribe(s);
	}
	(void)sync_loop_free(loop);
}

static void event_that_could_not_be_made(void **state)
{
	struct sync_loop *loop = loop_new(4);
	struct sync_subscriber *all = subscribe(loop, (struct sync_filter){ 0 }, 0);
	struct sync_subscriber *some = subscribe(loop, (struct sync_filter){ .pod = "other" }, 0);
	struct sync_stats stats;

	add_many(loop, 1);
	ASSERT_ERR(sync_loop_add(loop, NULL), ENOMEM);
	add_many(loop, 1);
	expect_event(all, 1);
	expect_missed(all, 1);
	expect_event(all, 3);
	expect_none(all);
	expect_missed(some, 1);
	expect_none(some);
	sync_stats(loop, &stats);
	assert_int_equal(stats.dropped, 1);
	assert_int_equal(stats.events, 3);
	(void)sync_unsubscribe(all);
	(void)sync_unsubscribe(some);
	(void)sync_loop_free(loop);
}

static const struct event samples[] = {
	{ .confirmed = true,
		.initial = true,
		.namespace = "a",
		.pod = "web",
		.pod_uid = "u1",
		.container = "nginx",
		.container_id = "0123456789abcdef" },
	{ .confirmed = true,
		.type = EVENT_CONTAINER_CHANGED,
		.namespace = "a",
		.pod = "web",
		.pod_uid = "u1",
		.container = "nginx",
		.container_id = "0123456789abcdef" },
	{ .confirmed = false,
		.type = EVENT_CONTAINER_DIED,
		.source = EVENT_SOURCE_KERNEL,
		.namespace = "b",
		.pod = "web",
		.pod_uid = "u2",
		.container = "nginx",
		.container_id = "fedcba9876543210" },
	{ .confirmed = true,
		.source = EVENT_SOURCE_STREAM,
		.namespace = "b",
		.pod = "db",
		.pod_uid = "u3",
		.container = "sql",
		.container_id = "0123456700000000" },
	{ .confirmed = true,
		.type = EVENT_POD_SYNC,
		.namespace = "b",
		.pod = "db",
		.pod_uid = "u3" },
};

static const struct {
	struct sync_filter filter;
	uint64_t passes[6]; /* ends with 0 */
} filter_rows[] = {
	{ { 0 }, { 1, 2, 3, 4, 5 } },
	{ { .kubelet_only = true }, { 1, 5 } },
	{ { .namespace = "b" }, { 3, 4, 5 } },
	{ { .pod = "web" }, { 1, 2, 3 } },
	{ { .pod = "u3" }, { 4, 5 } },
	{ { .pod = "u" }, { 0 } },
	{ { .container = "nginx" }, { 1, 2, 3 } },
	{ { .container = "01234567" }, { 1, 2, 4 } },
	{ { .container = "0123456" }, { 0 } }, /* too short for an id */
	{ { .container = "0123456789abcdef" }, { 1, 2 } },
	{ { .container = "0123456789abcdef0" }, { 0 } },
	{ { .namespace = "b", .pod = "web", .container = "nginx" }, { 3 } },
	{ { .kubelet_only = true, .namespace = "b", .pod = "db" }, { 5 } },
};

static void filters(void **state)
{
	struct sync_loop *loop = loop_new(10);

	for (size_t i = 0; i < ELEMENTS(samples); i++)
		add(loop, samples[i]);
	for (size_t i = 0; i < ELEMENTS(filter_rows); i++) {
		struct sync_subscriber *s = subscribe(loop, filter_rows[i].filter, 1);

		for (size_t j = 0; filter_rows[i].passes[j] > 0; j++)
			expect_event(s, filter_rows[i].passes[j]);
		expect_none(s);
		(void)sync_unsubscribe(s);
	}
	(void)sync_loop_free(loop);
}

static void filter_is_copied(void **state)
{
	struct sync_loop *loop = loop_new(10);
	char namespace[] = "a", pod[] = "web", container[] = "nginx";
	struct sync_subscriber *s = subscribe(loop,
		(struct sync_filter){ .namespace = namespace, .pod = pod, .container = container },
		0);

	namespace[0] = pod[0] = container[0] = 'X';
	add(loop, samples[0]);
	expect_event(s, 1);
	(void)sync_unsubscribe(s);
	(void)sync_loop_free(loop);
}

/* A filtered subscriber is told how many were pushed out in all: nobody knows whether they were its. */
static void filtered_subscriber_that_is_slow(void **state)
{
	struct sync_loop *loop = loop_new(3);
	struct sync_subscriber *s = subscribe(loop, (struct sync_filter){ .namespace = "a" }, 0);

	add_many(loop, 5);
	add(loop, samples[0]);
	expect_missed(s, 3);
	expect_event(s, 6);
	expect_none(s);
	(void)sync_unsubscribe(s);
	(void)sync_loop_free(loop);
}

static void tail(void **state)
{
	struct sync_loop *loop = loop_new(10);
	const struct sync_filter all = { 0 }, web = { .pod = "web" }, none = { .pod = "x" };

	assert_int_equal(sync_tail(loop, &all, 5), 1);
	for (size_t i = 0; i < ELEMENTS(samples); i++)
		add(loop, samples[i]);
	assert_int_equal(sync_tail(loop, &all, 0), 6);
	assert_int_equal(sync_tail(loop, &all, 1), 5);
	assert_int_equal(sync_oldest(loop), 1);
	assert_int_equal(sync_tail(loop, &all, 5), 1);
	assert_int_equal(sync_tail(loop, &all, 100), 1);
	assert_int_equal(sync_tail(loop, &web, 1), 3);
	assert_int_equal(sync_tail(loop, &web, 2), 2);
	assert_int_equal(sync_tail(loop, &web, 9), 1);
	assert_int_equal(sync_tail(loop, &none, 9), 6);
	/* What was pushed out is not asked for again. */
	add_many(loop, 8);
	assert_int_equal(sync_tail(loop, &all, 100), 4);
	assert_int_equal(sync_tail(loop, &web, 9), 14);
	(void)sync_loop_free(loop);
}

static struct event death(const char *id, bool confirmed)
{
	return (struct event){
		.type = EVENT_CONTAINER_DIED,
		.confirmed = confirmed,
		.source = confirmed ? EVENT_SOURCE_RELIST : EVENT_SOURCE_KERNEL,
		.container_id = id,
	};
}

/* Reads the next event and says what it confirms. */
static uint64_t next_confirms(struct sync_subscriber *subscriber)
{
	const struct event *event = NULL;
	uint64_t missed = 0;

	assert_int_equal(sync_next(subscriber, &event, &missed), SYNC_EVENT);
	return event->confirms;
}

static size_t open_deaths(const struct sync_loop *loop)
{
	struct sync_stats stats;

	sync_stats(loop, &stats);
	return stats.provisional_open;
}

static void pairs(void **state)
{
	struct sync_loop *loop = loop_new(20);
	struct sync_subscriber *s = subscribe(loop, (struct sync_filter){ 0 }, 0);
	struct event removed = {
		.type = EVENT_CONTAINER_REMOVED, .confirmed = true, .container_id = "b"
	};
	struct event started = { .confirmed = true, .container_id = "a" };
	struct event lying = death("c", true);

	add(loop, death("a", false)); /* 1 */
	add(loop, death("b", false)); /* 2 */
	assert_int_equal(open_deaths(loop), 2);
	add(loop, started); /* 3: the runtime goes on saying running */
	assert_int_equal(open_deaths(loop), 2);
	add(loop, death("a", true)); /* 4 */
	assert_int_equal(open_deaths(loop), 1);
	add(loop, death("a", true)); /* 5: nothing is left to confirm */
	add(loop, removed);          /* 6 */
	assert_int_equal(open_deaths(loop), 0);
	add(loop, death("b", true)); /* 7 */
	lying.confirms = 99;
	add(loop, lying); /* 8: nobody else fills it in */

	assert_int_equal(next_confirms(s), 0);
	assert_int_equal(next_confirms(s), 0);
	assert_int_equal(next_confirms(s), 0);
	assert_int_equal(next_confirms(s), 1);
	for (int i = 5; i <= 8; i++)
		assert_int_equal(next_confirms(s), 0);
	expect_none(s);
	(void)sync_unsubscribe(s);
	(void)sync_loop_free(loop);
}

static void newer_death_of_the_same_container(void **state)
{
	struct sync_loop *loop = loop_new(20);
	struct sync_subscriber *s = subscribe(loop, (struct sync_filter){ 0 }, 3);
	struct sync_stats stats;

	add(loop, death("a", false));
	add(loop, death("a", false));
	assert_int_equal(open_deaths(loop), 1);
	(void)sync_unsubscribe(s);
	s = subscribe(loop, (struct sync_filter){ 0 }, 0);
	add(loop, death("a", true));
	assert_int_equal(next_confirms(s), 2);
	sync_stats(loop, &stats);
	assert_int_equal(stats.unpaired, 1);
	(void)sync_unsubscribe(s);
	(void)sync_loop_free(loop);
}

/* The pairing does not depend on the history, and is bounded by itself. */
static void open_deaths_are_bounded(void **state)
{
	struct sync_loop *loop = loop_new(2);
	struct sync_subscriber *s;
	struct sync_stats stats;
	char id[16];

	for (int i = 0; i < 10001; i++) {
		(void)snprintf(id, sizeof(id), "id-%d", i);
		add(loop, death(id, false));
	}
	sync_stats(loop, &stats);
	assert_int_equal(stats.provisional_open, 10000);
	assert_int_equal(stats.unpaired, 1);
	s = subscribe(loop, (struct sync_filter){ 0 }, 0);
	add(loop, death("id-10000", true));
	add(loop, death("id-17", true));
	assert_int_equal(next_confirms(s), 0);
	assert_int_equal(next_confirms(s), 18);
	(void)sync_unsubscribe(s);
	(void)sync_loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order_to_everybody),
		cmocka_unit_test(no_history_is_refused),
		cmocka_unit_test(slow_subscriber),
		cmocka_unit_test(from_a_sequence),
		cmocka_unit_test(event_that_could_not_be_made),
		cmocka_unit_test(filters),
		cmocka_unit_test(filter_is_copied),
		cmocka_unit_test(filtered_subscriber_that_is_slow),
		cmocka_unit_test(tail),
		cmocka_unit_test(pairs),
		cmocka_unit_test(newer_death_of_the_same_container),
		cmocka_unit_test(open_deaths_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
