/* Inspections: failures, what hangs, bounds, answers that come late or cross, hints. */
#include "pleg-harness.h"

static void list_first_at_once_then_by_period(void **state)
{
	uint64_t token;
	struct h h;

	(void)state;
	h_init(&h);
	assert_int_equal(pleg_next_due(h.pleg), h.now.mono_ns);
	token = h_take(&h, PLEG_REQUEST_LIST, NULL);
	assert_int_equal(pleg_next_due(h.pleg), NSEC_NEVER);
	h_wait(&h, MSEC(300));
	h_end_list(&h, token, "");
	/* The period counts from the end. */
	assert_int_equal(pleg_next_due(h.pleg), h.now.mono_ns + SEC(1));
	h_wait(&h, MSEC(999));
	assert_int_equal(h_find(&h, PLEG_REQUEST_LIST, NULL), -1);
	h_wait(&h, MSEC(1));
	token = h_take(&h, PLEG_REQUEST_LIST, NULL);
	pleg_on_failed(h.pleg, token, PLEG_FAILURE_ERROR, "no", h.now);
	assert_int_equal(pleg_next_due(h.pleg), h.now.mono_ns + SEC(1));
	assert_int_equal(pleg_stats(h.pleg)->relists_failed, 1);
	pleg_relist_now(h.pleg, h.now);
	(void)h_take(&h, PLEG_REQUEST_LIST, NULL);
	pleg_relist_now(h.pleg, h.now);
	assert_int_equal(h_find(&h, PLEG_REQUEST_LIST, NULL), -1);
	h_done(&h);
}

static void late_list(void **state)
{
	uint64_t token;
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, "p/s=r", "!s:Started");
	token = h_begin_list(&h);
	h_wait(&h, SEC(120));
	pleg_on_late(h.pleg, token, h.now);
	pleg_on_late(h.pleg, token, h.now);
	assert_int_equal(pleg_stats(h.pleg)->relists_late, 1);
	/* It stays the only one, however long it takes. */
	h_wait(&h, SEC(3600));
	pleg_relist_now(h.pleg, h.now);
	pleg_wake(h.pleg, "nobody", h.now);
	assert_int_equal(h_find(&h, PLEG_REQUEST_LIST, NULL), -1);
	assert_int_equal(pleg_next_due(h.pleg), NSEC_NEVER);
	/* Its answer is not believed, but asks for another at once. */
	h_end_list(&h, token, "");
	H_EVENTS(&h, "");
	assert_int_equal(pleg_stats(h.pleg)->late_answers_ignored, 1);
	token = h_take(&h, PLEG_REQUEST_LIST, NULL);
	h_end_list(&h, token, "");
	H_EVENTS(&h, "s:Died s:Removed");
	/* One that fails late: the period. */
	token = h_begin_list(&h);
	pleg_on_late(h.pleg, token, h.now);
	pleg_on_failed(h.pleg, token, PLEG_FAILURE_LOST, "lost", h.now);
	assert_int_equal(pleg_next_due(h.pleg), h.now.mono_ns + SEC(1));
	/* Answers to nothing. */
	h_end_list(&h, token, "p/s=r");
	h_end_list(&h, 0, "p/s=r");
	h_end_list(&h, 12345, "p/s=r");
	pleg_on_late(h.pleg, 12345, h.now);
	pleg_on_failed(h.pleg, 12345, PLEG_FAILURE_ERROR, NULL, h.now);
	H_EVENTS(&h, "");
	h_done(&h);
}

static void failure_is_inspected_again(void **state)
{
	uint64_t at;
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, "p/s=r p/s/c=r q/t=r", "!s:Started !c:Started !t:Started");
	at = h_pod(&h, "p").status_at_ns;
	(void)h_rule(&h, "c", 'f', 0);
	H_RELIST(&h, "p/s=r p/s/c=x q/t=x", "t:Died");
	assert_string_equal(h_pod(&h, "p").inspect_error, "it hurts");
	assert_int_equal(h_pod(&h, "p").containers[1].state, CONTAINER_EXITED);
	assert_int_equal(h_status(&h, "p", "c")->state, CONTAINER_RUNNING);
	assert_true(h_pod(&h, "p").status_at_ns > at);
	/* Only after the next list. */
	h_wait(&h, MSEC(900));
	assert_int_equal(h_count(&h, PLEG_REQUEST_INSPECT), 0);
	H_RELIST(&h, "p/s=r p/s/c=x q/t=x", "");
	(void)h_rule(&h, "c", 0, 1);
	H_RELIST(&h, "p/s=r p/s/c=x q/t=x", "c:Died=1");
	assert_null(h_pod(&h, "p").inspect_error);
	h_done(&h);
}

static void reinspected_without_a_change(void **state)
{
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, "p/s=r p/s/c=r", "!s:Started !c:Started");
	pleg_wake(h.pleg, "c", h.now);
	h_wait(&h, MSEC(5));
	(void)h_rule(&h, "c", 'l', 0);
	h_inspect_all(&h);
	(void)h_rule(&h, "c", 0, 0);
	H_EVENTS(&h, "");
	H_RELIST(&h, "p/s=r p/s/c=r", "p:PodSync");
	assert_string_equal(h.event->container_id, "");
	h_wait(&h, SEC(1));
	H_RELIST(&h, "p/s=r p/s/c=r", "");
	h_done(&h);
}

static void not_found_is_an_answer(void **state)
{
	struct h h;

	(void)state;
	h_init(&h);
	(void)h_rule(&h, "c", 'n', 0);
	H_RELIST(&h, "p/s=r p/s/c=x", "!s:Started !c:Died");
	assert_null(h_status(&h, "p", "c"));
	assert_null(h_pod(&h, "p").inspect_error);
	H_RELIST(&h, "p/s=r", "c:Removed");
	h_done(&h);
}

/* An inspection that began after the list is an observation of its own. */
static void inspection_is_newer_than_the_list(void **state)
{
	uint64_t list, late;
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, "p/s=r", "!s:Started");
	(void)h_rule(&h, "c", 'x', 5);
	H_RELIST(&h, "p/s=r p/s/c=r", "c:Started c:Died=5");
	assert_int_equal(h_pod(&h, "p").containers[1].state, CONTAINER_EXITED);
	H_RELIST(&h, "p/s=r p/s/c=x", "");

	/* A list that began before the inspection ended knows less. */
	(void)h_rule(&h, "d", 'x', 6);
	list = h_begin_list(&h);
	h_end_list(&h, list, "p/s=r p/s/c=x p/s/d=r");
	h_wait(&h, SEC(1));
	late = h_begin_list(&h);
	h_inspect_all(&h);
	H_EVENTS(&h, "d:Started d:Died=6");
	h_end_list(&h, late, "p/s=r p/s/c=x p/s/d=r");
	h_inspect_all(&h);
	H_EVENTS(&h, "");
	/* The next one gets through. */
	(void)h_rule(&h, "d", 0, 0);
	H_RELIST(&h, "p/s=r p/s/c=x p/s/d=r", "d:Started");
	h_done(&h);
}

/* The list says exited while an inspection is under way that still answers running. */
static void answers_that_cross(void **state)
{
	uint64_t s, c;
	struct h h;

	(void)state;
	h_init(&h);
	h_end_list(&h, h_begin_list(&h), "p/s=r p/s/c=r");
	s = h_take(&h, PLEG_REQUEST_INSPECT, "s");
	c = h_take(&h, PLEG_REQUEST_INSPECT, "c");
	h_wait(&h, SEC(1));
	h_end_list(&h, h_begin_list(&h), "p/s=r p/s/c=x");
	(void)h_rule(&h, "c", 'r', 0);
	assert_true(h_inspect(&h, s, "s"));
	assert_true(h_inspect(&h, c, "c"));
	/* Nobody can say which is newer: nothing is told, another run decides. */
	H_EVENTS(&h, "");
	assert_null(h_status(&h, "p", "c"));
	(void)h_rule(&h, "c", 0, 2);
	h_inspect_all(&h);
	H_EVENTS(&h, "!s:Started !c:Started c:Died=2");
	assert_int_equal(h_status(&h, "p", "c")->state, CONTAINER_EXITED);
	h_done(&h);
}

/* What a list shows while a run is under way waits for a run of its own. */
static void a_run_tells_what_it_covers(void **state)
{
	struct h h;
	uint64_t a, s;

	(void)state;
	h_init(&h);
	H_RELIST(&h, "p/s=r p/s/a=r", "!s:Started !a:Started");
	h_end_list(&h, h_begin_list(&h), "p/s=r p/s/a=x");
	a = h_take(&h, PLEG_REQUEST_INSPECT, "a");
	s = h_take(&h, PLEG_REQUEST_INSPECT, "s");
	h_wait(&h, SEC(1));
	h_end_list(&h, h_begin_list(&h), "p/s=r p/s/a=x p/s/b=r");
	assert_true(h_inspect(&h, s, "s"));
	assert_true(h_inspect(&h, a, "a"));
	H_EVENTS(&h, "a:Died=0");
	assert_null(h_status(&h, "p", "b"));
	h_inspect_all(&h);
	H_EVENTS(&h, "b:Started");
	assert_non_null(h_status(&h, "p", "b"));
	h_done(&h);
}

/* A list that began before an inspection ended is older than it also where that showed no change. */
static void a_list_older_than_an_inspection(void **state)
{
	uint64_t list;
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, "p/s=r p/s/c=r", "!s:Started !c:Started");
	pleg_wake(h.pleg, "c", h.now);
	list = h_begin_list(&h);
	(void)h_rule(&h, "c", 'r', 0);
	h_inspect_all(&h);
	h_end_list(&h, list, "p/s=r p/s/c=x");
	assert_int_equal(h_pod(&h, "p").containers[1].state, CONTAINER_RUNNING);
	(void)h_rule(&h, "c", 0, 0);
	h_inspect_all(&h);
	H_EVENTS(&h, "");
	H_RELIST(&h, "p/s=r p/s/c=x", "c:Died=0");
	h_done(&h);
}

/* Gone by a list, and inspected by a run that had wanted it before: it stays gone. */
static void the_gone_stay_gone(void **state)
{
	struct pleg_config config = PLEG_CONFIG_DEFAULT;
	uint64_t s;
	struct h h;

	(void)state;
	config.inspections_max = 1;
	h_init_config(&h, &config);
	H_RELIST(&h, "p/s=r p/s/c=r", "!s:Started !c:Started");
	h_end_list(&h, h_begin_list(&h), "p/s=x p/s/c=r");
	s = h_take(&h, PLEG_REQUEST_INSPECT, "s");
	h_wait(&h, SEC(1));
	h_end_list(&h, h_begin_list(&h), "p/s=x");
	assert_true(h_inspect(&h, s, "s"));
	(void)h_rule(&h, "c", 'r', 0);
	h_inspect_all(&h);
	H_EVENTS(&h, "s:Died c:Died c:Removed");
	assert_int_equal(h_pod(&h, "p").container_count, 1);
	h_done(&h);
}

/* Steps fold under a run: it tells no more than what it covers. */
static void folding_under_a_run(void **state)
{
	uint64_t token;
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, "p/s=r p/s/c=r", "!s:Started !c:Started");
	(void)h_rule(&h, "s", 'f', 0);
	for (int i = 0; i < 6; i++)
		H_RELIST(&h, i % 2 ? "p/s=r p/s/c=r" : "p/s=r p/s/c=x", "");
	h_end_list(&h, h_begin_list(&h), "p/s=r p/s/c=x");
	token = h_take(&h, PLEG_REQUEST_INSPECT, "s");
	(void)h_rule(&h, "s", 0, 0);
	/* Seven steps are covered; with the ninth the first two go. */
	h_wait(&h, SEC(1));
	h_end_list(&h, h_begin_list(&h), "p/s=r p/s/c=r");
	h_wait(&h, SEC(1));
	h_end_list(&h, h_begin_list(&h), "p/s=r p/s/c=x");
	assert_int_equal(pleg_stats(h.pleg)->events_folded, 1);
	assert_true(h_inspect(&h, h_take(&h, PLEG_REQUEST_INSPECT, "c"), "c"));
	assert_true(h_inspect(&h, token, "s"));
	H_EVENTS(&h, "c:Died c:Started c:Died c:Started c:Died");
	h_inspect_all(&h);
	H_EVENTS(&h, "c:Started c:Died=0");
	h_done(&h);
}

/* An exit code is never that of another life. */
static void exit_code_of_an_earlier_life(void **state)
{
	struct h h;

	(void)state;
	h_init(&h);
	(void)h_rule(&h, "c", 0, 5);
	H_RELIST(&h, "p/s=r p/s/c=x", "!s:Started !c:Died=5");
	(void)h_rule(&h, "s", 'f', 0);
	H_RELIST(&h, "p/s=r p/s/c=r", "");
	(void)h_rule(&h, "c", 'n', 0);
	H_RELIST(&h, "p/s=r p/s/c=x", "");
	H_RELIST(&h, "", "s:Died s:Removed c:Started c:Died c:Removed");
	h_done(&h);
}

static void late_answer_leads_to_a_run_at_once(void **state)
{
	uint64_t token;
	struct h h;

	(void)state;
	h_init(&h);
	(void)h_rule(&h, "s", 'h', 0);
	H_RELIST(&h, "p/s=r", "");
	token = h_take(&h, PLEG_REQUEST_INSPECT, "s");
	pleg_on_late(h.pleg, token, h.now);
	(void)h_rule(&h, "s", 0, 0);
	assert_true(h_inspect(&h, token, "s"));
	assert_int_equal(h_count(&h, PLEG_REQUEST_INSPECT), 1);
	h_inspect_all(&h);
	H_EVENTS(&h, "!s:Started");
	h_done(&h);
}

/* With too many late ones a trial now and then, ever more seldom. */
static void trials_are_seldom(void **state)
{
	struct pleg_config config = PLEG_CONFIG_DEFAULT;
	uint64_t wait = SEC(10);
	struct h h;

	(void)state;
	config.late_max = 1;
	config.inspections_max = 1;
	h_init_config(&h, &config);
	h_end_list(&h, h_begin_list(&h), "a/1=r b/2=r c/3=r d/4=r e/5=r f/6=r");
	(void)h_begin_list(&h); /* in flight for ever, so only trials are due */
	pleg_on_late(h.pleg, h_take(&h, PLEG_REQUEST_INSPECT, NULL), h.now);
	for (int i = 0; i < 3; i++) {
		pleg_on_late(h.pleg, h_take(&h, PLEG_REQUEST_INSPECT, NULL), h.now);
		assert_int_equal(h_count(&h, PLEG_REQUEST_INSPECT), 0);
		if (i == 2)
			break;
		assert_int_equal(pleg_next_due(h.pleg), h.now.mono_ns + wait);
		h_wait(&h, wait);
		wait *= 2;
	}
	/* LATE_FACTOR times late_max are open: no more, whatever the time. */
	assert_int_equal(pleg_next_due(h.pleg), NSEC_NEVER);
	h_wait(&h, SEC(3600));
	assert_int_equal(h_count(&h, PLEG_REQUEST_INSPECT), 0);
	h_done(&h);
}

/* Inspections that always take longer than the period get through all the same. */
static void slow_inspections_get_through(void **state)
{
	uint64_t token;
	struct h h;

	(void)state;
	h_init(&h);
	h_end_list(&h, h_begin_list(&h), "p/s=r");
	for (int i = 0; i < 3; i++) {
		token = h_take(&h, PLEG_REQUEST_INSPECT, "s");
		h_wait(&h, SEC(1));
		h_end_list(&h, h_begin_list(&h), i % 2 ? "p/s=r" : "p/s=x");
		h_wait(&h, SEC(1));
		h_end_list(&h, h_begin_list(&h), i % 2 ? "p/s=r" : "p/s=x");
		(void)h_rule(&h, "s", i % 2 ? 'x' : 'r', 0);
		assert_true(h_inspect(&h, token, "s"));
	}
	assert_string_not_equal(h_events(&h), "");
	h_done(&h);
}

static void quarantine_of_one_pod(void **state)
{
	uint64_t token;
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, "p/s=r p/s/c=r q/t=r", "!s:Started !c:Started !t:Started");
	(void)h_rule(&h, "c", 'h', 0);
	/* The others are on time while it hangs ... */
	H_RELIST(&h, "p/s=r p/s/c=x q/t=r q/t/d=r", "d:Started");
	token = h_take(&h, PLEG_REQUEST_INSPECT, "c");
	h_wait(&h, SEC(10));
	pleg_on_late(h.pleg, token, h.now);
	assert_true(h_pod(&h, "p").quarantined);
	assert_int_equal(h_pod(&h, "p").quarantined_since_ns, h.now.mono_ns);
	assert_string_equal(h_pod(&h, "p").stuck_id, "c");
	assert_string_equal(
		h_pod(&h, "p").inspect_error, "Inspection of 'c' has no answer after 10s");
	/* ... and for ever after, and it has no second call. */
	for (int i = 0; i < 50; i++) {
		H_RELIST(&h, i % 2 ? "p/s=r p/s/c=x q/t=r q/t/d=r" : "p/s=r p/s/c=x q/t=r q/t/d=x",
			i % 2 ? "d:Started" : "d:Died=0");
		assert_int_equal(h_count(&h, PLEG_REQUEST_INSPECT), 0);
	}
	/* A late answer is not believed, and leads to a run at once that ends the quarantine. */
	(void)h_rule(&h, "c", 0, 8);
	assert_true(h_inspect(&h, token, "c"));
	H_EVENTS(&h, "");
	assert_true(h_pod(&h, "p").quarantined);
	assert_int_equal(pleg_stats(h.pleg)->late_answers_ignored, 1);
	h_inspect_all(&h);
	H_EVENTS(&h, "c:Died=8");
	assert_false(h_pod(&h, "p").quarantined);
	assert_null(h_pod(&h, "p").stuck_id);
	h_done(&h);
}

/* What hangs is removed: the pod is free again, and the call stays the only one of its subject. */
static void the_stuck_one_goes(void **state)
{
	struct pleg_health health;
	uint64_t token;
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, "p/s=r p/s/c=r", "!s:Started !c:Started");
	(void)h_rule(&h, "c", 'h', 0);
	H_RELIST(&h, "p/s=r p/s/c=x", "");
	token = h_take(&h, PLEG_REQUEST_INSPECT, "c");
	pleg_on_late(h.pleg, token, h.now);
	H_RELIST(&h, "p/s=r", "c:Died c:Removed");
	assert_false(h_pod(&h, "p").quarantined);
	assert_int_equal(h_pod(&h, "p").container_count, 1);
	/* It comes back, still without an answer. */
	H_RELIST(&h, "p/s=r p/s/c=r", "");
	assert_int_equal(h_count(&h, PLEG_REQUEST_INSPECT), 0);
	assert_true(h_pod(&h, "p").quarantined);
	/* The whole pod goes, then comes, then the call ends. */
	H_RELIST(&h, "", "s:Died s:Removed c:Started c:Died c:Removed");
	pleg_health(h.pleg, h.now, &health);
	assert_int_equal(health.pods, 0);
	assert_int_equal(health.quarantined, 0);
	(void)h_rule(&h, "c", 0, 0);
	H_RELIST(&h, "p/s=r p/s/c=r", "");
	pleg_on_failed(h.pleg, token, PLEG_FAILURE_LOST, "lost", h.now);
	h_inspect_all(&h);
	H_EVENTS(&h, "s:Started c:Started");
	h_done(&h);
}

static void calls_in_flight_are_bounded(void **state)
{
	struct h h;
	char list[1024];
	size_t len = 0;

	(void)state;
	for (int i = 0; i < 20; i++)
		len += (size_t)snprintf(
			list + len, sizeof(list) - len, "p%d/s%d=r p%d/s%d/c%d=r ", i, i, i, i, i);
	h_init(&h);
	h_end_list(&h, h_begin_list(&h), list);
	assert_int_equal(h_count(&h, PLEG_REQUEST_INSPECT), 16);
	for (int i = 0; i < 16; i++)
		pleg_on_late(h.pleg, h_take(&h, PLEG_REQUEST_INSPECT, NULL), h.now);
	/* Late ones leave their slots to others. */
	h_inspect_all(&h);
	assert_int_equal(pleg_stats(h.pleg)->inspections_late, 16);
	assert_string_not_equal(h_events(&h), "");
	h_done(&h);
}

/* A pod with very many containers has not more than its share of the calls. */
static void one_pod_has_a_share(void **state)
{
	struct h h;

	(void)state;
	h_init(&h);
	h_end_list(&h, h_begin_list(&h),
		"p/s=r p/s/a=r p/s/b=r p/s/c=r p/s/d=r p/s/e=r p/s/f=r q/t=r");
	assert_int_equal(h_count(&h, PLEG_REQUEST_INSPECT), 5);
	(void)h_take(&h, PLEG_REQUEST_INSPECT, "t");
	h_done(&h);
}

/* Everything hangs, for a day: what is open stays bounded, and recovery is noticed. */
static void everything_hangs_for_a_day(void **state)
{
	struct pleg_config config = PLEG_CONFIG_DEFAULT;
	struct pleg_health health;
	char list[2048];
	size_t len = 0;
	struct h h;

	(void)state;
	config.late_max = 4;
	for (int i = 0; i < 40; i++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, "p%d/s%d=r ", i, i);
	h_init_config(&h, &config);
	h_end_list(&h, h_begin_list(&h), list);
	for (uint64_t hour = 0; hour < 24; hour++) {
		for (int i = 0; i < 360; i++) {
			size_t open = h_count(&h, PLEG_REQUEST_INSPECT);

			h_end_list(&h, h_begin_list(&h), list);
			h_wait(&h, SEC(10));
			for (size_t k = 0; k < open; k++)
				pleg_on_late(h.pleg, h.open[k].token, h.now);
		}
	}
	assert_true(h_count(&h, PLEG_REQUEST_INSPECT) >= 16);
	assert_true(h_count(&h, PLEG_REQUEST_INSPECT) <= 20);
	pleg_health(h.pleg, h.now, &health);
	assert_true(health.inspections_starved);
	assert_true(health.healthy);
	H_EVENTS(&h, "");
	h_inspect_all(&h);
	h_wait(&h, SEC(600));
	(void)h_relist(&h, list);
	h_inspect_all(&h);
	pleg_health(h.pleg, h.now, &health);
	assert_int_equal(health.quarantined, 0);
	assert_false(health.inspections_starved);
	assert_int_equal(health.inspections_starved_age_ns, 0);
	h_done(&h);
}

/* One pod hangs on a quiet node for a day: one call is open, and the node does not starve. */
static void one_hangs_for_a_day(void **state)
{
	static const char *const list = "p/s=r p/s/c=x q/t=r";
	struct pleg_health health;
	uint64_t token;
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, "p/s=r p/s/c=r q/t=r", "!s:Started !c:Started !t:Started");
	(void)h_rule(&h, "c", 'h', 0);
	H_RELIST(&h, list, "");
	token = h.open[(size_t)h_find(&h, PLEG_REQUEST_INSPECT, "c")].token;
	h_wait(&h, SEC(10));
	pleg_on_late(h.pleg, token, h.now);
	for (int i = 0; i < 24 * 3600 / 10; i++) {
		h_wait(&h, SEC(9));
		H_RELIST(&h, list, "");
		assert_int_equal(h_count(&h, PLEG_REQUEST_INSPECT), 1);
		pleg_health(h.pleg, h.now, &health);
		assert_false(health.inspections_starved);
	}
	assert_int_equal(health.quarantined, 1);
	h_done(&h);
}

static void starved_without_a_sound_pod(void **state)
{
	struct pleg_health health;
	struct h h;

	(void)state;
	h_init(&h);
	(void)h_rule(&h, "s", 'f', 0);
	H_RELIST(&h, "p/s=r", "");
	h_wait(&h, SEC(180));
	pleg_health(h.pleg, h.now, &health);
	assert_false(health.inspections_starved);
	assert_int_equal(health.inspections_starved_age_ns, SEC(180));
	h_wait(&h, 1);
	pleg_health(h.pleg, h.now, &health);
	assert_true(health.inspections_starved);
	(void)h_rule(&h, "s", 0, 0);
	H_RELIST(&h, "p/s=r", "!s:Started");
	pleg_health(h.pleg, h.now, &health);
	assert_int_equal(health.inspections_starved_age_ns, 0);
	h_done(&h);
}

static void addresses_of_an_exited_pod_are_kept(void **state)
{
	struct h h;

	(void)state;
	h_init(&h);
	h_rule(&h, "s", 0, 0)->ip = "10.0.0.4";
	H_RELIST(&h, "p/s=r", "!s:Started");
	h_rule(&h, "s", 0, 0)->ip = NULL;
	H_RELIST(&h, "p/s=x", "s:Died");
	assert_int_equal(h_status(&h, "p", "s")->ip_count, 1);
	assert_string_equal(h_status(&h, "p", "s")->ips[0], "10.0.0.4");
	/* One that runs has those that it says it has. */
	H_RELIST(&h, "p/s=r", "s:Started");
	assert_int_equal(h_status(&h, "p", "s")->ip_count, 0);
	h_done(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(list_first_at_once_then_by_period),
		cmocka_unit_test(late_list),
		cmocka_unit_test(failure_is_inspected_again),
		cmocka_unit_test(reinspected_without_a_change),
		cmocka_unit_test(not_found_is_an_answer),
		cmocka_unit_test(inspection_is_newer_than_the_list),
		cmocka_unit_test(answers_that_cross),
		cmocka_unit_test(a_run_tells_what_it_covers),
		cmocka_unit_test(a_list_older_than_an_inspection),
		cmocka_unit_test(the_gone_stay_gone),
		cmocka_unit_test(folding_under_a_run),
		cmocka_unit_test(exit_code_of_an_earlier_life),
		cmocka_unit_test(late_answer_leads_to_a_run_at_once),
		cmocka_unit_test(trials_are_seldom),
		cmocka_unit_test(slow_inspections_get_through),
		cmocka_unit_test(quarantine_of_one_pod),
		cmocka_unit_test(the_stuck_one_goes),
		cmocka_unit_test(calls_in_flight_are_bounded),
		cmocka_unit_test(one_pod_has_a_share),
		cmocka_unit_test(everything_hangs_for_a_day),
		cmocka_unit_test(one_hangs_for_a_day),
		cmocka_unit_test(starved_without_a_sound_pod),
		cmocka_unit_test(addresses_of_an_exited_pod_are_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
