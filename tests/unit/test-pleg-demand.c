/* What others ask for: a relist of one pod, and the series that a hint starts. */
#include "pleg-harness.h"

#define QUIET "p/s=r p/s/c=r q/t=r"

static void h_quiet(struct h *h)
{
	h_init(h);
	H_RELIST(h, QUIET, "!s:Started !c:Started !t:Started");
}

static void end_pod_list(struct h *h, const char *subject, const char *list)
{
	uint64_t token = h_take(h, PLEG_REQUEST_LIST_POD, subject);

	h_end_list(h, token, list);
}

/* ---- on demand --------------------------------------------------------------------------- */

static void demand_without_a_change(void **state)
{
	struct h h;

	(void)state;
	h_quiet(&h);
	ASSERT_ERR(pleg_relist_pod(h.pleg, "nobody", h.now), ENOENT);
	ASSERT_OK(pleg_relist_pod(h.pleg, "p", h.now));
	ASSERT_OK(pleg_relist_pod(h.pleg, "p", h.now));
	end_pod_list(&h, "p", "p/s=r p/s/c=r");
	h_inspect_all(&h);
	H_EVENTS(&h, "p:PodSync");
	assert_int_equal(h_count(&h, PLEG_REQUEST_LIST_POD), 0);
	assert_int_equal(pleg_stats(h.pleg)->pod_relist_duration.total, 1);
	h_done(&h);
}

static void demand_with_a_change(void **state)
{
	struct h h;

	(void)state;
	h_quiet(&h);
	ASSERT_OK(pleg_relist_pod(h.pleg, "p", h.now));
	/* The other pod is not in the answer, which says nothing of it. */
	end_pod_list(&h, "p", "p/s=r p/s/d=r");
	h_inspect_all(&h);
	H_EVENTS(&h, "c:Died c:Removed d:Started");
	assert_int_equal(h_pod(&h, "q").container_count, 1);
	ASSERT_OK(pleg_relist_pod(h.pleg, "p", h.now));
	end_pod_list(&h, "p", "");
	H_EVENTS(&h, "s:Died s:Removed d:Died d:Removed");
	H_RELIST(&h, "q/t=r", "");
	h_done(&h);
}

static void demand_of_a_pod_without_uid(void **state)
{
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, "-/s=r -/s/c=r -//d=r", "!s:Started !c:Started !d:Started");
	ASSERT_OK(pleg_relist_pod(h.pleg, "s", h.now));
	end_pod_list(&h, "s", "-/s=r");
	h_inspect_all(&h);
	H_EVENTS(&h, "c:Died c:Removed");
	/* Neither label nor sandbox: only a full list can tell. */
	ASSERT_OK(pleg_relist_pod(h.pleg, "d", h.now));
	assert_int_equal(h_count(&h, PLEG_REQUEST_LIST_POD), 0);
	H_RELIST(&h, "-/s=r -//d=r", "d:PodSync");
	h_done(&h);
}

/* A list by label cannot show a container of the sandbox that has no label. */
static void demand_spares_the_unlabelled(void **state)
{
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, "p/s=r -/s/c=r", "!s:Started !c:Started");
	ASSERT_OK(pleg_relist_pod(h.pleg, "p", h.now));
	end_pod_list(&h, "p", "p/s=r");
	h_inspect_all(&h);
	H_EVENTS(&h, "p:PodSync");
	h_done(&h);
}

static void demand_has_a_limit(void **state)
{
	struct h h;
	char list[H_ENTRIES_MAX * 16], uid[16];
	int n = 0;

	(void)state;
	h_init(&h);
	list[0] = '\0';
	for (int i = 0; i < 201; i++)
		n += snprintf(list + n, sizeof(list) - (size_t)n, "p%d/s%d=r ", i, i);
	(void)h_relist(&h, list);
	for (int i = 0; i < 200; i++) {
		(void)snprintf(uid, sizeof(uid), "p%d", i);
		ASSERT_OK(pleg_relist_pod(h.pleg, uid, h.now));
	}
	ASSERT_ERR(pleg_relist_pod(h.pleg, "p200", h.now), ENOSPC);
	ASSERT_OK(pleg_relist_pod(h.pleg, "p7", h.now));
	assert_int_equal(h_count(&h, PLEG_REQUEST_LIST_POD), 4);
	/* A full list that began after they were asked for tells as much. */
	assert_non_null(strstr(h_relist(&h, list), "p199:PodSync"));
	for (int i = 0; i < 4; i++)
		h_end_list(&h, h_take(&h, PLEG_REQUEST_LIST_POD, NULL), "");
	h_inspect_all(&h);
	assert_int_equal(h_count(&h, PLEG_REQUEST_LIST_POD), 0);
	H_EVENTS(&h, "");
	assert_int_equal(h_pod(&h, "p7").container_count, 1);
	h_done(&h);
}

static void late_pod_list(void **state)
{
	uint64_t token;
	struct h h;

	(void)state;
	h_quiet(&h);
	ASSERT_OK(pleg_relist_pod(h.pleg, "p", h.now));
	token = h_take(&h, PLEG_REQUEST_LIST_POD, "p");
	pleg_on_late(h.pleg, token, h.now);
	ASSERT_OK(pleg_relist_pod(h.pleg, "p", h.now));
	assert_int_equal(h_count(&h, PLEG_REQUEST_LIST_POD), 0);
	h_end_list(&h, token, "");
	H_EVENTS(&h, "");
	end_pod_list(&h, "p", "p/s=r p/s/c=r");
	h_inspect_all(&h);
	H_EVENTS(&h, "p:PodSync");
	/* One that fails is made good by the next full list. */
	ASSERT_OK(pleg_relist_pod(h.pleg, "p", h.now));
	pleg_on_failed(
		h.pleg, h_take(&h, PLEG_REQUEST_LIST_POD, "p"), PLEG_FAILURE_ERROR, "no", h.now);
	H_RELIST(&h, QUIET, "p:PodSync");
	h_done(&h);
}

/* Answers of lists that cross: the one that began before the other ended changes nothing. */
static void lists_that_cross(void **state)
{
	uint64_t full, one;
	struct h h;

	(void)state;
	h_quiet(&h);
	full = h_begin_list(&h);
	ASSERT_OK(pleg_relist_pod(h.pleg, "p", h.now));
	end_pod_list(&h, "p", "p/s=r p/s/d=r");
	h_inspect_all(&h);
	H_EVENTS(&h, "c:Died c:Removed d:Started");
	/* The full list is older for this pod, and newer for the others. */
	h_end_list(&h, full, "p/s=r p/s/c=r q/t=x");
	h_inspect_all(&h);
	H_EVENTS(&h, "t:Died");
	assert_int_equal(h_pod(&h, "p").container_count, 2);
	H_RELIST(&h, "p/s=r p/s/d=r q/t=x", "");

	/* The same, where the pod has gone altogether. */
	full = h_begin_list(&h);
	ASSERT_OK(pleg_relist_pod(h.pleg, "p", h.now));
	end_pod_list(&h, "p", "");
	H_EVENTS(&h, "s:Died s:Removed d:Died d:Removed");
	h_end_list(&h, full, "p/s=r p/s/d=r q/t=x");
	h_inspect_all(&h);
	H_EVENTS(&h, "");
	H_RELIST(&h, "q/t=x p/s2=r", "s2:Started");

	/* The pod's list began first, and a full one ended since: asked again. */
	ASSERT_OK(pleg_relist_pod(h.pleg, "q", h.now));
	one = h_take(&h, PLEG_REQUEST_LIST_POD, "q");
	ASSERT_OK(pleg_relist_pod(h.pleg, "q", h.now));
	full = h_begin_list(&h);
	ASSERT_OK(pleg_relist_pod(h.pleg, "q", h.now));
	h_end_list(&h, full, "q/t=r p/s2=r");
	h_inspect_all(&h);
	H_EVENTS(&h, "t:Started");
	h_end_list(&h, one, "q/t=r q/t/z=r");
	h_inspect_all(&h);
	H_EVENTS(&h, "");
	end_pod_list(&h, "q", "q/t=r");
	h_inspect_all(&h);
	H_EVENTS(&h, "q:PodSync");
	h_done(&h);
}

/* ---- hints ------------------------------------------------------------------------------- */

static void series_until_the_change(void **state)
{
	struct h h;

	(void)state;
	h_quiet(&h);
	pleg_wake(h.pleg, "c", h.now);
	assert_int_equal(h_count(&h, PLEG_REQUEST_INSPECT), 0);
	assert_int_equal(pleg_next_due(h.pleg), h.now.mono_ns + MSEC(5));
	h_wait(&h, MSEC(5));
	assert_int_equal(h_count(&h, PLEG_REQUEST_INSPECT), 2);
	h_inspect_all(&h);
	H_EVENTS(&h, "");
	assert_int_equal(pleg_next_due(h.pleg), h.now.mono_ns + MSEC(15));
	h_wait(&h, MSEC(15));
	h_inspect_all(&h);
	H_EVENTS(&h, "");
	(void)h_rule(&h, "c", 'x', 137);
	h_wait(&h, MSEC(30));
	h_inspect_all(&h);
	H_EVENTS(&h, "c:Died=137");
	/* It is over. */
	assert_true(pleg_next_due(h.pleg) > h.now.mono_ns + MSEC(500));
	assert_int_equal(pleg_stats(h.pleg)->inspections, 3 + 6);
	H_RELIST(&h, "p/s=r p/s/c=x q/t=r", "");
	h_done(&h);
}

static void series_is_capped(void **state)
{
	struct h h;
	uint64_t before;

	(void)state;
	h_quiet(&h);
	before = pleg_stats(h.pleg)->inspections;
	pleg_wake(h.pleg, "c", h.now);
	for (int i = 0; i < 200; i++) {
		h_wait(&h, MSEC(5));
		if (h_find(&h, PLEG_REQUEST_LIST, NULL) >= 0)
			h_end_list(&h, h_take(&h, PLEG_REQUEST_LIST, NULL), QUIET);
		h_inspect_all(&h);
	}
	H_EVENTS(&h, "");
	assert_int_equal(pleg_stats(h.pleg)->inspections - before, 8 * 2);
	h_done(&h);
}

/* The clock leaps over several steps: one run. */
static void series_slept_through(void **state)
{
	struct h h;
	uint64_t before;

	(void)state;
	h_quiet(&h);
	before = pleg_stats(h.pleg)->inspections;
	pleg_wake(h.pleg, "c", h.now);
	h_wait(&h, MSEC(150));
	h_inspect_all(&h);
	assert_int_equal(pleg_stats(h.pleg)->inspections - before, 2);
	assert_int_equal(pleg_next_due(h.pleg), h.now.mono_ns + MSEC(50));
	h_wait(&h, SEC(3600));
	assert_int_equal(h_count(&h, PLEG_REQUEST_INSPECT), 2);
	h_done(&h);
}

/* A storm of hints for one pod costs a bounded number of runs, and does not put them off. */
static void series_in_a_storm(void **state)
{
	struct h h;
	uint64_t before;

	(void)state;
	h_quiet(&h);
	before = pleg_stats(h.pleg)->inspections;
	for (int i = 0; i < 900; i++) {
		pleg_wake(h.pleg, i % 2 ? "c" : "s", h.now);
		h_wait(&h, MSEC(1));
		h_inspect_all(&h);
	}
	assert_in_range((pleg_stats(h.pleg)->inspections - before) / 2, 18, 60);
	/* Both have a change to wait for: the series ends with the second. */
	(void)h_rule(&h, "c", 'x', 1);
	h_wait(&h, MSEC(50));
	h_inspect_all(&h);
	H_EVENTS(&h, "c:Died=1");
	assert_true(pleg_next_due(h.pleg) < h.now.mono_ns + MSEC(200));
	h_done(&h);
}

/* What the list shows meanwhile is told with the series' run, and ends it. */
static void series_ends_by_the_list(void **state)
{
	struct h h;

	(void)state;
	h_quiet(&h);
	h_wait(&h, MSEC(995));
	pleg_wake(h.pleg, "c", h.now);
	(void)h_rule(&h, "c", 0, 3);
	H_RELIST(&h, "p/s=r p/s/c=x q/t=r", "c:Died=3");
	assert_int_equal(pleg_next_due(h.pleg), h.now.mono_ns + SEC(1));
	h_done(&h);
}

static void unknown_ids_cause_a_list(void **state)
{
	uint64_t token;
	struct h h;

	(void)state;
	h_quiet(&h);
	h_wait(&h, MSEC(100));
	pleg_wake(h.pleg, "new", h.now);
	token = h_take(&h, PLEG_REQUEST_LIST, NULL);
	/* Not while one is in flight; then one more, a quarter of a second after it began. */
	pleg_wake(h.pleg, "newer", h.now);
	pleg_wake(h.pleg, "newest", h.now);
	assert_int_equal(h_count(&h, PLEG_REQUEST_LIST), 0);
	h_end_list(&h, token, QUIET);
	assert_int_equal(pleg_next_due(h.pleg), h.now.mono_ns + MSEC(250));
	pleg_wake(h.pleg, "new", h.now);
	assert_int_equal(h_count(&h, PLEG_REQUEST_LIST), 0);
	h_wait(&h, MSEC(250));
	h_end_list(&h, h_take(&h, PLEG_REQUEST_LIST, NULL), "p/s=r p/s/c=r p/s/new=r q/t=r");
	h_inspect_all(&h);
	H_EVENTS(&h, "new:Started");
	assert_int_equal(pleg_next_due(h.pleg), h.now.mono_ns + SEC(1));
	h_done(&h);
}

/* A hint for a pod that hangs asks nobody a second time. */
static void hint_in_quarantine(void **state)
{
	uint64_t token;
	struct h h;

	(void)state;
	h_quiet(&h);
	(void)h_rule(&h, "c", 'h', 0);
	pleg_wake(h.pleg, "c", h.now);
	h_wait(&h, MSEC(5));
	h_inspect_all(&h);
	token = h_take(&h, PLEG_REQUEST_INSPECT, "c");
	for (int i = 0; i < 20; i++) {
		h_wait(&h, MSEC(100));
		pleg_wake(h.pleg, "c", h.now);
		assert_int_equal(h_count(&h, PLEG_REQUEST_INSPECT), 0);
	}
	pleg_on_late(h.pleg, token, h.now);
	for (int i = 0; i < 20; i++) {
		h_wait(&h, MSEC(100));
		pleg_wake(h.pleg, "c", h.now);
		assert_int_equal(h_count(&h, PLEG_REQUEST_INSPECT), 0);
	}
	h_done(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(demand_without_a_change),
		cmocka_unit_test(demand_with_a_change),
		cmocka_unit_test(demand_of_a_pod_without_uid),
		cmocka_unit_test(demand_spares_the_unlabelled),
		cmocka_unit_test(demand_has_a_limit),
		cmocka_unit_test(late_pod_list),
		cmocka_unit_test(lists_that_cross),
		cmocka_unit_test(series_until_the_change),
		cmocka_unit_test(series_is_capped),
		cmocka_unit_test(series_slept_through),
		cmocka_unit_test(series_in_a_storm),
		cmocka_unit_test(series_ends_by_the_list),
		cmocka_unit_test(unknown_ids_cause_a_list),
		cmocka_unit_test(hint_in_quarantine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
