/* What a reader sees: order, times, subscriptions, health to the letter. */
#include "pleg-harness.h"

static void pods_by_creation(void **state)
{
	static const char *const uids[] = { "a", "b", "c", "e" };
	struct pleg_pod pod;
	size_t cursor = 0;
	struct h h;

	(void)state;
	h_init(&h);
	h_parse(&h.last, "a/s1=r b/s2=r c/s3=r d/s4=r");
	/* Created in the order of the text, listed backwards. */
	h.last.backwards = true;
	pleg_on_list(h.pleg, h_begin_list(&h), &h.last.source, h.now);
	h_inspect_all(&h);
	/* One goes, one comes. */
	(void)h_relist(&h, "a/s1=r b/s2=r c/s3=r b/s2/x=r e/s5=r");
	for (size_t i = 0; i < ELEMENTS(uids); i++) {
		assert_true(pleg_next_pod(h.pleg, &cursor, &pod));
		assert_string_equal(pod.uid, uids[i]);
	}
	assert_false(pleg_next_pod(h.pleg, &cursor, &pod));
	h_done(&h);
}

static void times_of_an_entry(void **state)
{
	uint64_t list_at, run_at;
	struct h h;

	(void)state;
	h_init(&h);
	h_end_list(&h, h_begin_list(&h), "p/s=r q/t=r");
	assert_int_equal(h_pod(&h, "p").status_at_ns, 0);
	assert_int_equal(h_pod(&h, "p").observed_at_ns, 0);
	h_wait(&h, MSEC(10));
	run_at = h.now.mono_ns;
	(void)h_count(&h, PLEG_REQUEST_INSPECT);
	h_wait(&h, MSEC(10));
	h_inspect_all(&h);
	/* The start of the run, not its end. */
	assert_int_equal(h_pod(&h, "p").status_at_ns, run_at);
	assert_int_equal(h_pod(&h, "p").observed_at_ns, run_at);
	/* An unchanged list moves only the time of observation: to its start. */
	h_wait(&h, SEC(1));
	list_at = h.now.mono_ns;
	(void)h_find(&h, PLEG_REQUEST_LIST, NULL);
	h_wait(&h, MSEC(10));
	(void)h_rule(&h, "t", 'h', 0);
	h_end_list(&h, h_take(&h, PLEG_REQUEST_LIST, NULL), "p/s=r q/t=x");
	assert_int_equal(h_pod(&h, "p").status_at_ns, run_at);
	assert_int_equal(h_pod(&h, "p").observed_at_ns, list_at);
	/* The one with something pending keeps its own. */
	assert_int_equal(h_pod(&h, "q").observed_at_ns, run_at);
	(void)h_relist(&h, "p/s=r q/t=x");
	assert_int_equal(h_pod(&h, "q").observed_at_ns, run_at);
	h_done(&h);
}

static bool noticed(struct h *h, uint64_t id, bool has_pod)
{
	struct pleg_notice notice;

	if (!pleg_next_notice(h->pleg, &notice))
		return false;
	assert_int_equal(notice.subscription, id);
	assert_int_equal(notice.has_pod, has_pod);
	return true;
}

static void subscriptions(void **state)
{
	struct pleg_notice notice;
	uint64_t id, other;
	struct h h;

	(void)state;
	h_init(&h);
	/* Before the first list nothing is known. */
	ASSERT_OK(pleg_subscribe(h.pleg, "p", 0, h.now, &id));
	ASSERT_OK(pleg_subscribe(h.pleg, "nobody", 0, h.now, &other));
	assert_false(pleg_next_notice(h.pleg, &notice));
	h_end_list(&h, h_begin_list(&h), "p/s=r");
	assert_true(noticed(&h, other, false));
	assert_false(pleg_next_notice(h.pleg, &notice));
	h_inspect_all(&h);
	assert_true(noticed(&h, id, true));
	assert_false(pleg_next_notice(h.pleg, &notice));

	/* Already true: at once, and once. */
	ASSERT_OK(pleg_subscribe(h.pleg, "p", h.now.mono_ns - 1, h.now, &id));
	assert_true(noticed(&h, id, true));
	assert_false(pleg_next_notice(h.pleg, &notice));

	/* Newer than now, and unchanged: by a list that begins later. */
	ASSERT_OK(pleg_subscribe(h.pleg, "p", h.now.mono_ns, h.now, &id));
	ASSERT_OK(pleg_subscribe(h.pleg, "nobody", h.now.mono_ns, h.now, &other));
	assert_false(pleg_next_notice(h.pleg, &notice));
	(void)h_relist(&h, "p/s=r");
	assert_true(noticed(&h, id, true));
	assert_true(noticed(&h, other, false));

	/* A list that began before does not count. */
	h_wait(&h, SEC(1));
	other = h_take(&h, PLEG_REQUEST_LIST, NULL);
	h_wait(&h, 1);
	ASSERT_OK(pleg_subscribe(h.pleg, "p", h.now.mono_ns, h.now, &id));
	h_end_list(&h, other, "p/s=r");
	assert_false(pleg_next_notice(h.pleg, &notice));
	/* Nor does one after which the pod has something pending; the failed run does. */
	(void)h_rule(&h, "s", 'f', 0);
	h_end_list(&h, h_begin_list(&h), "p/s=x");
	assert_false(pleg_next_notice(h.pleg, &notice));
	h_wait(&h, 1);
	h_inspect_all(&h);
	assert_true(noticed(&h, id, true));

	/* The pod goes. */
	ASSERT_OK(pleg_subscribe(h.pleg, "p", h.now.mono_ns, h.now, &id));
	ASSERT_OK(pleg_subscribe(h.pleg, "p", h.now.mono_ns, h.now, &other));
	pleg_unsubscribe(h.pleg, other);
	pleg_unsubscribe(h.pleg, 4711);
	(void)h_relist(&h, "");
	assert_true(noticed(&h, id, false));
	assert_false(pleg_next_notice(h.pleg, &notice));
	h_done(&h);
}

static void subscriptions_have_a_limit(void **state)
{
	uint64_t id;
	struct h h;

	(void)state;
	h_init(&h);
	for (int i = 0; i < 10000; i++)
		ASSERT_OK(pleg_subscribe(h.pleg, "p", 0, h.now, &id));
	ASSERT_ERR(pleg_subscribe(h.pleg, "p", 0, h.now, &id), ENOSPC);
	pleg_unsubscribe(h.pleg, id);
	ASSERT_OK(pleg_subscribe(h.pleg, "p", 0, h.now, &id));
	h_done(&h);
}

/* The kubelet's texts, by the age of the last list that succeeded. */
static void health_texts(void **state)
{
	struct pleg_health health;
	struct now later;
	uint64_t token;
	struct h h;

	(void)state;
	h_init(&h);
	pleg_health(h.pleg, h.now, &health);
	assert_false(health.healthy);
	assert_false(health.has_listed);
	assert_string_equal(health.message, "pleg has yet to be successful");

	token = h_begin_list(&h);
	h_wait(&h, MSEC(1500));
	h_end_list(&h, token, "p/s=r p/s/a=r p/s/b=x p/s/c=c p/s/d=u");
	/* Counted from its start, before any inspection. */
	pleg_health(h.pleg, h.now, &health);
	assert_true(health.healthy);
	assert_string_equal(health.message, "");
	assert_int_equal(health.last_relist_age_ns, MSEC(1500));
	assert_int_equal(health.last_relist_ns, MSEC(1500));
	assert_int_equal(health.pods, 1);
	assert_int_equal(health.containers, 4);
	assert_int_equal(health.sandboxes, 1);
	assert_int_equal(health.running, 1);
	assert_int_equal(health.exited, 1);
	assert_int_equal(health.created, 1);
	assert_int_equal(health.unknown, 1);

	later = h.now;
	later.mono_ns += SEC(180) - MSEC(1500);
	pleg_health(h.pleg, later, &health);
	assert_true(health.healthy);
	later.mono_ns += 1;
	pleg_health(h.pleg, later, &health);
	assert_false(health.healthy);
	assert_string_equal(
		health.message, "pleg was last seen active 3m0.000000001s ago; threshold is 3m0s");
	later.mono_ns += SEC(5) - 1;
	pleg_health(h.pleg, later, &health);
	assert_string_equal(
		health.message, "pleg was last seen active 3m5s ago; threshold is 3m0s");
	h_done(&h);
}

/* The wall clock is shown and decides nothing; a monotonic one that goes back is not believed. */
static void clocks_step(void **state)
{
	struct pleg_health health;
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, "p/s=r", "!s:Started");
	h.now.real_ns -= (int64_t)SEC(4000);
	H_RELIST(&h, "p/s=x", "s:Died");
	assert_int_equal(h.event->observed_at_ns, h.now.real_ns);
	pleg_on_tick(h.pleg, (struct now){ .mono_ns = 1, .real_ns = 1 });
	pleg_health(h.pleg, (struct now){ .mono_ns = 1, .real_ns = 1 }, &health);
	assert_true(health.healthy);
	assert_int_equal(health.last_relist_age_ns, 0);
	H_RELIST(&h, "p/s=x", "");
	h_done(&h);
}

static void texts_from_outside_are_cleaned(void **state)
{
	char longer[2000];
	struct container_status status = { .id = "s",
		.kind = CONTAINER_KIND_SANDBOX,
		.state = CONTAINER_RUNNING,
		.reason = "a\033[2J",
		.message = longer };
	struct h h;

	(void)state;
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	h_init(&h);
	h_end_list(&h, h_begin_list(&h), "p\001q/s=r");
	pleg_on_inspect(h.pleg, h_take(&h, PLEG_REQUEST_INSPECT, "s"), &status, h.now);
	assert_string_equal(h_pod(&h, "p?q").name, "p?q");
	assert_string_equal(h_status(&h, "p?q", "s")->reason, "a?[2J");
	assert_int_equal(strlen(h_status(&h, "p?q", "s")->message), 1024);
	assert_string_equal(h_status(&h, "p?q", "s")->image, "");
	H_EVENTS(&h, "!s:Started");
	h_done(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pods_by_creation),
		cmocka_unit_test(times_of_an_entry),
		cmocka_unit_test(subscriptions),
		cmocka_unit_test(subscriptions_have_a_limit),
		cmocka_unit_test(health_texts),
		cmocka_unit_test(clocks_step),
		cmocka_unit_test(texts_from_outside_are_cleaned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
