/* `relistPeriod: auto`: how the period grows and what takes it back; how often hints cause a list. */
#include "pleg-harness.h"

#define QUIET "p/s=r p/s/c=r q/t=r"

static void auto_init(struct h *h)
{
	struct pleg_config config = PLEG_CONFIG_DEFAULT;

	config.relist_auto = true;
	h_init_config(h, &config);
	pleg_on_hints(h->pleg, true, h->now);
	H_RELIST(h, QUIET, "!s:Started !c:Started !t:Started");
}

/* Time from the end of the last list to the start of the next. */
static uint64_t period(const struct h *h)
{
	return pleg_next_due(h->pleg) - h->now.mono_ns;
}

static void stretch(struct h *h)
{
	for (int i = 0; i < 6; i++)
		H_RELIST(h, QUIET, "");
	assert_int_equal(period(h), SEC(10));
}

static void it_grows_in_steps(void **state)
{
	static const unsigned seconds[] = { 2, 4, 8, 10, 10, 10 };
	struct h h;

	(void)state;
	auto_init(&h);
	assert_int_equal(period(&h), SEC(1));
	for (size_t i = 0; i < ELEMENTS(seconds); i++) {
		H_RELIST(&h, QUIET, "");
		assert_int_equal(period(&h), SEC(seconds[i]));
		assert_int_equal(pleg_stats(h.pleg)->relist_period_ns, SEC(seconds[i]));
	}
	h_done(&h);
}

static void it_is_off_unless_asked_for(void **state)
{
	struct h h;

	(void)state;
	h_init(&h);
	pleg_on_hints(h.pleg, true, h.now);
	(void)h_relist(&h, QUIET);
	for (int i = 0; i < 5; i++) {
		H_RELIST(&h, QUIET, "");
		assert_int_equal(period(&h), SEC(1));
	}
	h_done(&h);
}

static void nobody_vouches(void **state)
{
	struct pleg_config config = PLEG_CONFIG_DEFAULT;
	struct h h;

	(void)state;
	config.relist_auto = true;
	h_init_config(&h, &config);
	(void)h_relist(&h, QUIET);
	for (int i = 0; i < 5; i++) {
		H_RELIST(&h, QUIET, "");
		assert_int_equal(period(&h), SEC(1));
	}
	pleg_on_hints(h.pleg, true, h.now);
	H_RELIST(&h, QUIET, "");
	assert_int_equal(period(&h), SEC(2));
	h_done(&h);
}

static void a_source_is_lost(void **state)
{
	uint64_t ended;
	struct h h;

	(void)state;
	auto_init(&h);
	stretch(&h);
	ended = h.now.mono_ns;
	h_wait(&h, MSEC(300));
	pleg_on_hints(h.pleg, false, h.now);
	assert_int_equal(pleg_next_due(h.pleg), ended + SEC(1));
	H_RELIST(&h, QUIET, "");
	assert_int_equal(period(&h), SEC(1));
	/* And after more than a second: at once. */
	pleg_on_hints(h.pleg, true, h.now);
	stretch(&h);
	h_wait(&h, SEC(5));
	pleg_on_hints(h.pleg, false, h.now);
	assert_int_equal(h_count(&h, PLEG_REQUEST_LIST), 1);
	pleg_on_hints(h.pleg, false, h.now);
	h_end_list(&h, h_take(&h, PLEG_REQUEST_LIST, NULL), QUIET);
	assert_int_equal(period(&h), SEC(1));
	h_done(&h);
}

static void a_list_fails(void **state)
{
	struct h h;

	(void)state;
	auto_init(&h);
	stretch(&h);
	pleg_on_failed(h.pleg, h_begin_list(&h), PLEG_FAILURE_ERROR, "no", h.now);
	assert_int_equal(period(&h), SEC(1));
	H_RELIST(&h, QUIET, "");
	assert_int_equal(period(&h), SEC(2));
	h_done(&h);
}

static void a_list_is_late(void **state)
{
	uint64_t token;
	struct h h;

	(void)state;
	auto_init(&h);
	stretch(&h);
	token = h_begin_list(&h);
	pleg_on_late(h.pleg, token, h.now);
	h_wait(&h, SEC(30));
	h_end_list(&h, token, QUIET);
	assert_int_equal(period(&h), 0);
	H_RELIST(&h, QUIET, "");
	assert_int_equal(period(&h), SEC(2));
	h_done(&h);
}

static void an_inspection_fails(void **state)
{
	uint64_t ended;
	struct h h;

	(void)state;
	auto_init(&h);
	stretch(&h);
	ended = h.now.mono_ns;
	(void)h_rule(&h, "c", 'f', 0);
	pleg_wake(h.pleg, "c", h.now);
	h_wait(&h, MSEC(5));
	h_inspect_all(&h);
	assert_true(pleg_next_due(h.pleg) <= ended + SEC(1));
	h_done(&h);
}

static void a_pod_is_in_quarantine(void **state)
{
	uint64_t token;
	struct h h;

	(void)state;
	auto_init(&h);
	stretch(&h);
	(void)h_rule(&h, "c", 'h', 0);
	pleg_wake(h.pleg, "c", h.now);
	h_wait(&h, MSEC(5));
	h_inspect_all(&h);
	token = h_take(&h, PLEG_REQUEST_INSPECT, "c");
	pleg_on_late(h.pleg, token, h.now);
	for (int i = 0; i < 4; i++) {
		H_RELIST(&h, QUIET, "");
		h_wait(&h, MSEC(900)); /* past the series */
		assert_int_equal(pleg_stats(h.pleg)->relist_period_ns, SEC(1));
	}
	(void)h_rule(&h, "c", 0, 0);
	pleg_on_failed(h.pleg, token, PLEG_FAILURE_LOST, "lost", h.now);
	(void)h_relist(&h, QUIET);
	(void)h_relist(&h, QUIET);
	assert_true(pleg_stats(h.pleg)->relist_period_ns > SEC(1));
	h_done(&h);
}

static void a_change_that_no_hint_announced(void **state)
{
	struct h h;

	(void)state;
	auto_init(&h);
	stretch(&h);
	H_RELIST(&h, "p/s=r p/s/c=x q/t=r", "c:Died=0");
	assert_int_equal(period(&h), SEC(1));
	H_RELIST(&h, QUIET, "c:Started");
	stretch(&h);
	H_RELIST(&h, "p/s=r p/s/c=r", "t:Died t:Removed");
	assert_int_equal(period(&h), SEC(1));
	h_done(&h);
}

static void a_new_id_that_no_hint_announced(void **state)
{
	struct h h;

	(void)state;
	auto_init(&h);
	stretch(&h);
	H_RELIST(&h, QUIET " q/t/d=r", "d:Started");
	assert_int_equal(period(&h), SEC(1));
	h_done(&h);
}

static void what_hints_announced_is_no_doubt(void **state)
{
	struct h h;

	(void)state;
	auto_init(&h);
	stretch(&h);
	/* A death: told by the series, no list needed; but the next one comes within the second. */
	(void)h_rule(&h, "c", 'x', 3);
	h_wait(&h, MSEC(100));
	pleg_wake(h.pleg, "c", h.now);
	h_wait(&h, MSEC(5));
	h_inspect_all(&h);
	H_EVENTS(&h, "c:Died=3");
	assert_int_equal(period(&h), MSEC(995));
	H_RELIST(&h, "p/s=r p/s/c=x q/t=r", "");
	assert_int_equal(period(&h), SEC(10));
	/* A removal: only a list can tell. */
	pleg_wake(h.pleg, "c", h.now);
	h_wait(&h, SEC(1));
	H_RELIST(&h, "p/s=r q/t=r", "c:Removed");
	assert_int_equal(period(&h), SEC(10));
	/* A start. */
	h_wait(&h, SEC(1));
	pleg_wake(h.pleg, "d", h.now);
	assert_int_equal(period(&h), 0);
	H_RELIST(&h, "p/s=r q/t=r q/t/d=r", "d:Started");
	assert_int_equal(period(&h), SEC(10));
	/* A hint from long ago announces nothing. */
	pleg_wake(h.pleg, "d", h.now);
	h_wait(&h, SEC(1));
	H_RELIST(&h, "p/s=r q/t=r q/t/d=r", "");
	h_wait(&h, SEC(6));
	H_RELIST(&h, "p/s=r q/t=r", "d:Died d:Removed");
	assert_int_equal(period(&h), SEC(1));
	h_done(&h);
}

/* The list under way when the hint came may be too old to show what it was about. */
static void a_hint_during_a_list(void **state)
{
	uint64_t token;
	struct h h;

	(void)state;
	auto_init(&h);
	stretch(&h);
	token = h_begin_list(&h);
	pleg_wake(h.pleg, "c", h.now);
	h_end_list(&h, token, QUIET);
	assert_true(pleg_next_due(h.pleg) <= h.now.mono_ns + SEC(1));
	h_wait(&h, SEC(1));
	h_inspect_all(&h);
	H_RELIST(&h, QUIET, "");
	assert_int_equal(period(&h), SEC(10));
	h_done(&h);
}

/* What a list could not tell since something newer is known: the next one does, and soon. */
static void a_list_not_believed(void **state)
{
	uint64_t token;
	struct h h;

	(void)state;
	auto_init(&h);
	stretch(&h);
	(void)h_rule(&h, "c", 'x', 0);
	pleg_wake(h.pleg, "c", h.now);
	token = h_begin_list(&h);
	h_inspect_all(&h);
	H_EVENTS(&h, "c:Died=0");
	h_end_list(&h, token, "p/s=r p/s/c=r q/t=r");
	assert_int_equal(period(&h), SEC(1));
	h_done(&h);
}

/* Lists per second under a storm of ids that nobody knows. */
static void hints_cause_few_lists(void **state)
{
	uint64_t starts[64], last = 0;
	size_t count = 0;
	struct h h;

	(void)state;
	h_init(&h);
	(void)h_relist(&h, QUIET);
	for (int ms = 0; ms < 10000; ms++) {
		h_wait(&h, MSEC(1));
		pleg_wake(h.pleg, FMT("new-%d", ms), h.now);
		if (h_find(&h, PLEG_REQUEST_LIST, NULL) < 0)
			continue;
		assert_true(count < ELEMENTS(starts));
		starts[count++] = h.now.mono_ns;
		h_end_list(&h, h_take(&h, PLEG_REQUEST_LIST, NULL), QUIET);
	}
	assert_in_range(count, 38, 42);
	for (size_t i = 0; i < count; i++) {
		assert_true(last == 0 || starts[i] - last >= MSEC(250));
		last = starts[i];
	}
	h_done(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_grows_in_steps),
		cmocka_unit_test(it_is_off_unless_asked_for),
		cmocka_unit_test(nobody_vouches),
		cmocka_unit_test(a_source_is_lost),
		cmocka_unit_test(a_list_fails),
		cmocka_unit_test(a_list_is_late),
		cmocka_unit_test(an_inspection_fails),
		cmocka_unit_test(a_pod_is_in_quarantine),
		cmocka_unit_test(a_change_that_no_hint_announced),
		cmocka_unit_test(a_new_id_that_no_hint_announced),
		cmocka_unit_test(what_hints_announced_is_no_doubt),
		cmocka_unit_test(a_hint_during_a_list),
		cmocka_unit_test(a_list_not_believed),
		cmocka_unit_test(hints_cause_few_lists),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
