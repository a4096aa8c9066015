/* What a list and an inspection, or two lists, do not agree on. Each was found by tests/sim. */
#include "pleg-harness.h"

/* The list has it, and its inspection says that it is not there. When the next list has it too, it
 * still has no status of its new state. */
static void not_found_but_listed(void **state)
{
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, "p/s=r p/s/c=r", "!s:Started !c:Started");
	(void)h_rule(&h, "c", 'n', 0);
	H_RELIST(&h, "p/s=r p/s/c=x", "c:Died");
	assert_int_equal(h_status(&h, "p", "c")->state, CONTAINER_RUNNING);
	(void)h_rule(&h, "c", 0, 7);
	/* Once more after the next list, and no PodSync for it. */
	H_RELIST(&h, "p/s=r p/s/c=x", "");
	assert_int_equal(h_status(&h, "p", "c")->state, CONTAINER_EXITED);
	assert_int_equal(h_status(&h, "p", "c")->exit_code, 7);
	H_RELIST(&h, "p/s=r p/s/c=x", "");
	h_done(&h);
}

/* It was gone indeed: nothing is inspected for it again. */
static void not_found_and_gone(void **state)
{
	uint64_t inspections;
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, "p/s=r p/s/c=r", "!s:Started !c:Started");
	(void)h_rule(&h, "c", 'n', 0);
	H_RELIST(&h, "p/s=r p/s/c=x", "c:Died");
	H_RELIST(&h, "p/s=r", "c:Removed");
	inspections = pleg_stats(h.pleg)->inspections;
	H_RELIST(&h, "p/s=r", "");
	assert_int_equal(pleg_stats(h.pleg)->inspections, inspections);
	h_done(&h);
}

/* Inspections that are slower than lists, and say the opposite each time: the third is believed, but
 * not for ever. */
static void contested_to_the_end(void **state)
{
	uint64_t token;
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, "p/s=r p/s/c=r", "!s:Started !c:Started");
	(void)h_rule(&h, "c", 'r', 0);
	h_end_list(&h, h_begin_list(&h), "p/s=r p/s/c=x");
	for (int i = 0; i < 3; i++) {
		(void)h_fetch(&h);
		token = h_begin_list(&h);
		h_wait(&h, MSEC(1));
		h_end_list(&h, token, "p/s=r p/s/c=x");
		h_inspect(&h, h_take(&h, PLEG_REQUEST_INSPECT, "s"), "s");
		h_inspect(&h, h_take(&h, PLEG_REQUEST_INSPECT, "c"), "c");
	}
	H_EVENTS(&h, "c:Died");
	assert_int_equal(h_status(&h, "p", "c")->state, CONTAINER_RUNNING);
	(void)h_rule(&h, "c", 0, 5);
	H_RELIST(&h, "p/s=r p/s/c=x", "");
	assert_int_equal(h_status(&h, "p", "c")->state, CONTAINER_EXITED);
	h_done(&h);
}

/* A list that is older than what a pod's own list showed has as many entries as records are left when
 * that pod's have been dropped: the pod that is gone with it must not be overlooked. */
static void gone_beside_an_older_entry(void **state)
{
	uint64_t token;
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, "p/s=r -/s/c=r q/t=r r/u=r", "!s:Started !c:Started !t:Started !u:Started");
	token = h_begin_list(&h);
	ASSERT_OK(pleg_relist_pod(h.pleg, "p", h.now));
	h_end_list(&h, h_take(&h, PLEG_REQUEST_LIST_POD, "p"), "");
	/* s is old news, c and q's t are gone: two entries, and two records when p's are dropped. */
	h_end_list(&h, token, "p/s=r r/u=r");
	H_EVENTS(&h, "s:Died s:Removed c:Died c:Removed t:Died t:Removed");
	h_done(&h);
}

/* A full list has answered what the pod's own list was asked for; that this fails then is nobody's
 * loss, and no reason for another PodSync. */
static void demand_answered_by_a_full_list(void **state)
{
	uint64_t token;
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, "p/s=r", "!s:Started");
	ASSERT_OK(pleg_relist_pod(h.pleg, "p", h.now));
	token = h_take(&h, PLEG_REQUEST_LIST_POD, "p");
	H_RELIST(&h, "p/s=r", "p:PodSync");
	pleg_on_failed(h.pleg, token, PLEG_FAILURE_ERROR, "no", h.now);
	H_RELIST(&h, "p/s=r", "");
	H_RELIST(&h, "p/s=r", "");
	h_done(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(not_found_but_listed),
		cmocka_unit_test(not_found_and_gone),
		cmocka_unit_test(contested_to_the_end),
		cmocka_unit_test(gone_beside_an_older_entry),
		cmocka_unit_test(demand_answered_by_a_full_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
