/* What is told: the table of events, grouping, paths, and the recorded day of a kubelet. */
#include "pleg-harness.h"

#define S "p/s=r " /* the pod's sandbox, at rest */

/* Every row of the kubelet's table, for containers. */
static void table_of_events(void **state)
{
	static const struct {
		char old, new; /* '-': not in the list */
		const char *events;
	} rows[] = {
		{ '-', 'c', "" },
		{ '-', 'r', "c:Started" },
		{ '-', 'x', "c:Died=7" },
		{ '-', 'u', "" },
		{ 'c', 'c', "" },
		{ 'c', 'r', "c:Started" },
		{ 'c', 'x', "c:Died=7" },
		{ 'c', 'u', "" },
		{ 'c', '-', "c:Died c:Removed" },
		{ 'r', 'r', "" },
		{ 'r', 'c', "" },
		{ 'r', 'x', "c:Died=7" },
		{ 'r', 'u', "" },
		{ 'r', '-', "c:Died c:Removed" },
		{ 'x', 'x', "" },
		{ 'x', 'r', "c:Started" },
		{ 'x', 'u', "" },
		{ 'x', '-', "c:Removed" },
		{ 'u', 'u', "" },
		{ 'u', 'c', "" },
		{ 'u', 'r', "c:Started" },
		{ 'u', 'x', "c:Died=7" },
		{ 'u', '-', "c:Died c:Removed" },
		{ 'r', '?', "" },
		{ '?', 'x', "c:Died=7" },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		char old[32] = S, new[32] = S;
		struct h h;

		if (rows[i].old != '-')
			(void)snprintf(old, sizeof(old), S "p/s/c=%c", rows[i].old);
		if (rows[i].new != '-')
			(void)snprintf(new, sizeof(new), S "p/s/c=%c", rows[i].new);
		h_init(&h);
		H_RELIST(&h, S, "!s:Started");
		(void)h_relist(&h, old);
		(void)h_rule(&h, "c", 0, 7);
		H_RELIST(&h, new, rows[i].events);
		H_RELIST(&h, new, "");
		h_done(&h);
	}
}

static void sandboxes_are_containers(void **state)
{
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, "", "");
	H_RELIST(&h, "p/s=r", "s:Started");
	assert_int_equal(h.event->kind, CONTAINER_KIND_SANDBOX);
	assert_string_equal(h.event->sandbox_id, "s");
	H_RELIST(&h, "p/s=x", "s:Died");
	H_RELIST(&h, "", "s:Removed");
	h_done(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_of_events),
		cmocka_unit_test(sandboxes_are_containers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
