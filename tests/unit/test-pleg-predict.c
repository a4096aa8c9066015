/* What a relist would take in which every pod has changed, by what inspections took of late. */
#include "pleg-harness.h"

#define LIST "p/s=r p/s/a=r p/s/b=x q/t=r q/t/c=r"
#define ALL  5u /* containers and sandboxes of it */

static struct pleg_prediction predicted(const struct h *h)
{
	struct pleg_prediction p;

	pleg_predict(h->pleg, h->now, &p);
	return p;
}

/* A relist in which the list takes `list_ns` and each inspection `inspect_ns`. */
static void relist_that_takes(struct h *h, const char *list, uint64_t list_ns, uint64_t inspect_ns)
{
	uint64_t token = h_begin_list(h);

	h_wait(h, list_ns);
	h_end_list(h, token, list);
	while (h_count(h, PLEG_REQUEST_INSPECT) > 0) {
		h_wait(h, inspect_ns);
		h_inspect_all(h);
	}
	(void)h_events(h);
}

static void from_nothing(void **state)
{
	struct pleg_prediction p;
	struct h h;

	(void)state;
	h_init(&h);
	p = predicted(&h);
	assert_false(p.has_inspected);
	assert_int_equal(p.inspections, 0);
	assert_int_equal(p.relist_ns, 0);
	assert_int_equal(p.serial_ns, 0);
	assert_int_equal(p.threshold_ns, SEC(180));
	h_done(&h);
}

static void from_what_it_took(void **state)
{
	struct pleg_config config = PLEG_CONFIG_DEFAULT;
	struct pleg_prediction p;
	struct h h;

	(void)state;
	config.inspections_max = 2;
	h_init_config(&h, &config);
	/* h_inspect_all() answers those that follow at once: the median is of the first two. */
	relist_that_takes(&h, "p/s=r q/t=r", MSEC(300), MSEC(40));
	p = predicted(&h);
	assert_true(p.has_inspected);
	assert_int_equal(p.inspections, 2);
	assert_int_equal(p.list_ns, MSEC(300));
	assert_int_equal(p.inspect_ns, MSEC(40));
	assert_int_equal(p.relist_ns, MSEC(300) + MSEC(40));
	assert_int_equal(p.serial_ns, MSEC(300) + 2 * MSEC(40));
	/* A third does not fit beside two. */
	h_wait(&h, SEC(1));
	relist_that_takes(&h, "p/s=r q/t=r r/u=r", MSEC(10), MSEC(40));
	p = predicted(&h);
	assert_int_equal(p.inspections, 3);
	assert_int_equal(p.list_ns, MSEC(10));
	assert_int_equal(p.relist_ns, MSEC(10) + 2 * MSEC(40));
	assert_int_equal(p.serial_ns, MSEC(10) + 3 * MSEC(40));
	/* Nothing changes: nothing is inspected, and the prediction stays. */
	relist_that_takes(&h, "p/s=r q/t=r r/u=r", MSEC(10), MSEC(1));
	assert_int_equal(predicted(&h).serial_ns, p.serial_ns);
	/* What is gone need not be inspected. */
	relist_that_takes(&h, "p/s=r", MSEC(10), MSEC(40));
	assert_int_equal(predicted(&h).inspections, 1);
	h_done(&h);
}

/* A list that is open for longer than the last one took has cost that already. */
static void an_open_list(void **state)
{
	uint64_t token;
	struct h h;

	(void)state;
	h_init(&h);
	relist_that_takes(&h, LIST, MSEC(20), MSEC(5));
	token = h_begin_list(&h);
	assert_int_equal(predicted(&h).list_ns, MSEC(20));
	h_wait(&h, SEC(90));
	assert_int_equal(predicted(&h).list_ns, SEC(90));
	assert_int_equal(predicted(&h).relist_ns, SEC(90) + MSEC(5));
	h_end_list(&h, token, LIST);
	assert_int_equal(predicted(&h).list_ns, SEC(90));
	relist_that_takes(&h, LIST, MSEC(20), MSEC(5));
	assert_int_equal(predicted(&h).list_ns, MSEC(20));
	h_done(&h);
}

/* One pod that hangs is told as such; what the others take is not more for it. */
static void one_that_hangs(void **state)
{
	struct pleg_prediction p;
	uint64_t token;
	struct h h;

	(void)state;
	h_init(&h);
	(void)h_rule(&h, "c", 'h', 0);
	relist_that_takes(&h, "p/s=r p/s/a=r p/s/b=x q/t=r", MSEC(20), MSEC(5));
	h_end_list(&h, h_begin_list(&h), LIST);
	h_inspect_all(&h);
	token = h_take(&h, PLEG_REQUEST_INSPECT, "c");
	h_wait(&h, SEC(10));
	pleg_on_late(h.pleg, token, h.now);
	p = predicted(&h);
	assert_int_equal(p.inspections, ALL);
	assert_int_equal(p.inspect_ns, MSEC(5));
	/* Its answer, when it comes, is no measure of anything. */
	h_wait(&h, SEC(1000));
	(void)h_rule(&h, "c", 'r', 0);
	assert_true(h_inspect(&h, token, "c"));
	assert_int_equal(predicted(&h).inspect_ns, MSEC(5));
	h_done(&h);
}

/* All hang: that is what a relist would take. A connection that broke says nothing. */
static void all_that_hang(void **state)
{
	struct pleg_config config = PLEG_CONFIG_DEFAULT;
	struct pleg_prediction p;
	uint64_t token;
	struct h h;

	(void)state;
	config.late_max = 1;
	h_init_config(&h, &config);
	h_end_list(&h, h_begin_list(&h), "p/s=r");
	token = h_take(&h, PLEG_REQUEST_INSPECT, "s");
	pleg_on_failed(h.pleg, token, PLEG_FAILURE_LOST, "lost", h.now);
	assert_false(predicted(&h).has_inspected);
	h_end_list(&h, h_begin_list(&h), "p/s=r q/t=r r/u=r");
	token = h_take(&h, PLEG_REQUEST_INSPECT, "s");
	h_wait(&h, SEC(10));
	pleg_on_late(h.pleg, token, h.now);
	p = predicted(&h);
	assert_int_equal(p.inspect_ns, SEC(10));
	/* Runs are only tried, one at a time. */
	assert_int_equal(p.inspections, 3);
	assert_int_equal(p.relist_ns, p.serial_ns);
	assert_int_equal(p.serial_ns, p.list_ns + 3 * SEC(10));
	h_done(&h);
}

/* An error is an answer, and took its time. */
static void failures(void **state)
{
	struct h h;

	(void)state;
	h_init(&h);
	(void)h_rule(&h, "s", 'f', 0);
	relist_that_takes(&h, "p/s=r", MSEC(20), SEC(3));
	assert_int_equal(predicted(&h).inspect_ns, SEC(3));
	h_done(&h);
}

/* Only the last ones count: a runtime that was slow and is not any more. Slow is less than the period here, or the next list
 * would begin meanwhile. */
static void of_late(void **state)
{
	struct h h;

	(void)state;
	h_init(&h);
	for (int i = 0; i < 64; i++)
		relist_that_takes(&h, i % 2 ? "p/s=r" : "p/s=x", MSEC(20), MSEC(300));
	assert_int_equal(predicted(&h).inspect_ns, MSEC(300));
	for (int i = 0; i < 31; i++)
		relist_that_takes(&h, i % 2 ? "p/s=r" : "p/s=x", MSEC(20), MSEC(2));
	assert_int_equal(predicted(&h).inspect_ns, MSEC(300));
	for (int i = 31; i < 64; i++)
		relist_that_takes(&h, i % 2 ? "p/s=r" : "p/s=x", MSEC(20), MSEC(2));
	assert_int_equal(predicted(&h).inspect_ns, MSEC(2));
	h_done(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(from_nothing),
		cmocka_unit_test(from_what_it_took),
		cmocka_unit_test(an_open_list),
		cmocka_unit_test(one_that_hangs),
		cmocka_unit_test(all_that_hang),
		cmocka_unit_test(failures),
		cmocka_unit_test(of_late),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
