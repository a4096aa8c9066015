/* What is told: the table of events, grouping, paths, and the recorded day of a kubelet. */
#include "pleg-harness.h"
#include "pleg-recorded.h"

#include <stdlib.h>

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

/* What Docker adds to a state: told with the event of the state, else as a change. */
static void details_are_told(void **state)
{
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, S "p/s/c=p", "!s:Started !c:Started(paused)");
	H_RELIST(&h, S "p/s/c=p", "");
	H_RELIST(&h, S "p/s/c=r", "c:Changed");
	H_RELIST(&h, S "p/s/c=p", "c:Changed(paused)");
	H_RELIST(&h, S "p/s/c=r", "c:Changed");
	(void)h_rule(&h, "c", 0, 4);
	H_RELIST(&h, S "p/s/c=t", "c:Died=4(restarting)");
	H_RELIST(&h, S "p/s/c=r", "c:Started");
	H_RELIST(&h, S "p/s/c=x", "c:Died=4");
	H_RELIST(&h, S "p/s/c=m", "c:Changed(removing)");
	assert_int_equal(h.event->kind, CONTAINER_KIND_CONTAINER);
	assert_string_equal(h.event->container, "c");
	assert_string_equal(h.event->pod_uid, "p");
	H_RELIST(&h, S "p/s/c=d", "c:Changed(dead)");
	H_RELIST(&h, S, "c:Removed");
	/* An inspection knows better than a list that is older. */
	(void)h_rule(&h, "e", 'p', 0);
	H_RELIST(&h, S "p/s/e=r", "e:Started(paused)");
	h_done(&h);
}

/* While its pod cannot be inspected a detail waits, and what came and went is not told. */
static void details_wait_for_the_inspection(void **state)
{
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, S "p/s/c=r", "!s:Started !c:Started");
	(void)h_rule(&h, "c", 'f', 0);
	H_RELIST(&h, S "p/s/c=p", "");
	h.rule_count = 0;
	H_RELIST(&h, S "p/s/c=p", "c:Changed(paused) p:PodSync");
	h_done(&h);
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

static void first_list_is_initial(void **state)
{
	struct h h;

	(void)state;
	h_init(&h);
	(void)h_rule(&h, "c", 'f', 0);
	(void)h_rule(&h, "d", 0, 3);
	H_RELIST(&h, "p/s=r p/s/c=r q/t=r q/t/d=x", "!t:Started !d:Died=3");
	(void)h_rule(&h, "c", 0, 0);
	/* What the first list found is initial also when it is told late; what is new is not. */
	H_RELIST(&h, "p/s=r p/s/c=r q/t=r q/t/d=x q/t/e=r", "e:Started !s:Started !c:Started");
	h_done(&h);
}

static void changes_between_two_lists(void **state)
{
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, S "p/s/a=r", "!s:Started !a:Started");
	/* A crash loop: the old one goes, a new one is there. */
	(void)h_rule(&h, "a", 0, 137);
	H_RELIST(&h, S "p/s/a=x p/s/b=r", "a:Died=137 b:Started");
	H_RELIST(&h, S "p/s/b=r", "a:Removed");
	assert_int_equal(h_pod(&h, "p").container_count, 2);
	/* The whole pod at once, without an inspection. */
	h_end_list(&h, h_begin_list(&h), "");
	assert_int_equal(h_count(&h, PLEG_REQUEST_INSPECT), 0);
	H_EVENTS(&h, "s:Died s:Removed b:Died b:Removed");
	h_done(&h);
}

static void event_fields(void **state)
{
	struct h h;

	(void)state;
	h_init(&h);
	(void)h_rule(&h, "c", 0, 9);
	(void)h_relist(&h, S "p/s/c=r");
	H_RELIST(&h, S "p/s/c=x", "c:Died=9");
	assert_string_equal(h.event->namespace, "ns");
	assert_string_equal(h.event->pod, "p");
	assert_string_equal(h.event->pod_uid, "p");
	assert_string_equal(h.event->container, "c");
	assert_string_equal(h.event->sandbox_id, "s");
	assert_int_equal(h.event->occurred_at_ns, 200);
	assert_int_equal(h.event->observed_at_ns, h.now.real_ns);
	assert_int_equal(h.event->sequence, 0);
	assert_int_equal(h.event->kind, CONTAINER_KIND_CONTAINER);
	H_RELIST(&h, S, "c:Removed");
	assert_int_equal(h.event->occurred_at_ns, 0);
	h_done(&h);
}

/* By sandbox first, by label second, and what has neither is alone. */
static void grouping(void **state)
{
	struct h h;
	struct pleg_pod pod;

	(void)state;
	h_init(&h);
	(void)h_relist(&h,
		"p/s=r -/s/a=r other/s/b=r q/gone/c=r -/t=r -/t/d=r -/away/e=r -//f=r "
		"-//g=r");
	pod = h_pod(&h, "p");
	assert_int_equal(pod.container_count, 3);
	assert_string_equal(pod.containers[0].id, "s");
	assert_string_equal(pod.containers[1].id, "a");
	assert_string_equal(pod.containers[2].id, "b");
	assert_false(pleg_find_pod(h.pleg, "other", &pod));
	assert_int_equal(h_pod(&h, "q").container_count, 1);
	assert_int_equal(h_pod(&h, "t").container_count, 2);
	assert_int_equal(h_pod(&h, "away").container_count, 1);
	assert_int_equal(h_pod(&h, "f").container_count, 1);
	assert_int_equal(h_pod(&h, "g").container_count, 1);
	h_done(&h);
}

static void order_of_a_list_does_not_matter(void **state)
{
	static const char *const list = "p/s=r p/s/a=r p/s/b=x q/t=r q/t/c=r";
	struct pleg_pod pod;
	size_t cursor = 0;
	struct h h;

	(void)state;
	h_init(&h);
	h_parse(&h.last, list);
	h.last.backwards = true;
	pleg_on_list(h.pleg, h_begin_list(&h), &h.last.source, h.now);
	h_inspect_all(&h);
	(void)h_events(&h);
	H_RELIST(&h, list, "");
	assert_true(pleg_next_pod(h.pleg, &cursor, &pod));
	assert_string_equal(pod.uid, "p");
	assert_string_equal(pod.containers[0].id, "s");
	assert_string_equal(pod.containers[1].id, "a");
	assert_true(pleg_next_pod(h.pleg, &cursor, &pod));
	assert_string_equal(pod.uid, "q");
	assert_false(pleg_next_pod(h.pleg, &cursor, &pod));
	h_done(&h);
}

static void malformed_entries(void **state)
{
	struct pleg_health health;
	struct h h;

	(void)state;
	h_init(&h);
	/* No id; twice the same id, which counts once and with its first state; a control character. */
	H_RELIST(&h, "p/s=r p/s/.=r p/s/a=r p/s/a=x p/s/\001=r", "!s:Started !a:Started");
	assert_int_equal(pleg_stats(h.pleg)->entries_malformed, 3);
	pleg_health(h.pleg, h.now, &health);
	assert_int_equal(health.containers, 1);
	assert_int_equal(health.sandboxes, 1);
	assert_int_equal(health.running, 1);
	h_done(&h);
}

static void records_have_a_limit(void **state)
{
	struct pleg_config config = PLEG_CONFIG_DEFAULT;
	struct h h;

	(void)state;
	config.containers_max = 2;
	h_init_config(&h, &config);
	H_RELIST(&h, "p/s=r p/s/a=r p/s/b=r", "!s:Started !a:Started");
	assert_int_equal(pleg_stats(h.pleg)->entries_over_limit, 1);
	H_RELIST(&h, "p/s=r p/s/b=r", "a:Died a:Removed");
	H_RELIST(&h, "p/s=r p/s/b=r", "b:Started");
	h_done(&h);
}

/* While an inspection is outstanding every change is kept, in order, and told when it may be. */
static void path_is_kept(void **state)
{
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, S "p/s/c=r", "!s:Started !c:Started");
	(void)h_rule(&h, "s", 'f', 0);
	H_RELIST(&h, S "p/s/c=x", "");
	H_RELIST(&h, S "p/s/c=r", "");
	(void)h_rule(&h, "s", 0, 0);
	(void)h_rule(&h, "c", 0, 4);
	/* The exit code is of the last of the two ends: that of the first nobody knows. */
	H_RELIST(&h, S "p/s/c=x", "c:Died c:Started c:Died=4");
	assert_int_equal(pleg_stats(h.pleg)->events_folded, 0);
	h_done(&h);
}

static void long_paths_fold(void **state)
{
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, S "p/s/c=r", "!s:Started !c:Started");
	(void)h_rule(&h, "s", 'f', 0);
	for (int i = 0; i < 20; i++)
		H_RELIST(&h, i % 2 ? S "p/s/c=r" : S "p/s/c=x", "");
	H_RELIST(&h, S, "");
	(void)h_rule(&h, "s", 0, 0);
	/* 21 steps; 7 pairs went, 7 steps are left. */
	H_RELIST(&h, S, "c:Died c:Started c:Died c:Started c:Died c:Started c:Died c:Removed");
	assert_int_equal(pleg_stats(h.pleg)->events_folded, 7);
	h_done(&h);
}

/* An id that goes and comes back is one container with two lives. */
static void id_comes_back(void **state)
{
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, S "p/s/c=r", "!s:Started !c:Started");
	(void)h_rule(&h, "s", 'f', 0);
	H_RELIST(&h, S, "");
	H_RELIST(&h, S "p/s/c=r", "");
	(void)h_rule(&h, "s", 0, 0);
	H_RELIST(&h, S "p/s/c=r", "c:Died c:Removed c:Started");
	H_RELIST(&h, S, "c:Died c:Removed");
	H_RELIST(&h, S "p/s/c=r", "c:Started");
	h_done(&h);
}

/* ---- the recorded day ---- */

static int word_compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* The words of a text, in alphabetical order: the order between pods of one list is random. */
static void words_sorted(const char *text, char *out, size_t size)
{
	char words[32][32];
	size_t count = 0, len = 0;
	int used;

	while (count < ELEMENTS(words) && sscanf(text, " %31s%n", words[count], &used) == 1) {
		text += used;
		count++;
	}
	qsort(words, count, sizeof(words[0]), word_compare);
	out[0] = '\0';
	for (size_t i = 0; i < count; i++)
		len += (size_t)snprintf(out + len, size - len, "%s ", words[i]);
}

/* False if an earlier line was of the same container. */
static bool world_has(size_t upto, size_t i, char *ret_state)
{
	*ret_state = 'r';
	for (size_t k = 0; k < upto; k++) {
		if (!str_eq(recorded[k].id, recorded[i].id))
			continue;
		if (k < i)
			return false;
		*ret_state = str_eq(recorded[k].type, "Started") ? 'r' : 'x';
	}
	return true;
}

/* What the kubelet's lists must have shown after its first `upto` lines. */
static void world_after(size_t upto, char *out, size_t size)
{
	size_t len = 0;
	char state;

	out[0] = '\0';
	for (size_t i = 0; i < upto; i++)
		if (world_has(upto, i, &state))
			len += (size_t)snprintf(out + len, size - len, "%s/%s-sandbox/%s=%c ",
				recorded[i].pod, recorded[i].pod, recorded[i].id, state);
}

static void recorded_day(void **state)
{
	char world[4096], told[2048], expected[2048], sorted[2048];
	size_t from = 0, upto = 0;
	struct h h;

	(void)state;
	h_init(&h);
	H_RELIST(&h, "", "");
	while (from < ELEMENTS(recorded)) {
		size_t len = 0;

		for (; upto < ELEMENTS(recorded) && recorded[upto].ms < recorded[from].ms + 500;
			upto++)
			len += (size_t)snprintf(expected + len, sizeof(expected) - len, "%s:%s ",
				recorded[upto].id, recorded[upto].type);
		world_after(upto, world, sizeof(world));
		(void)snprintf(told, sizeof(told), "%s", h_relist(&h, world));
		for (char *code = told; (code = strstr(code, "=0"));)
			memmove(code, code + 2, strlen(code + 2) + 1);
		words_sorted(told, sorted, sizeof(sorted));
		words_sorted(expected, told, sizeof(told));
		assert_string_equal(sorted, told);
		H_RELIST(&h, world, "");
		from = upto;
	}
	h_done(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_of_events),
		cmocka_unit_test(details_are_told),
		cmocka_unit_test(details_wait_for_the_inspection),
		cmocka_unit_test(sandboxes_are_containers),
		cmocka_unit_test(first_list_is_initial),
		cmocka_unit_test(changes_between_two_lists),
		cmocka_unit_test(event_fields),
		cmocka_unit_test(grouping),
		cmocka_unit_test(order_of_a_list_does_not_matter),
		cmocka_unit_test(malformed_entries),
		cmocka_unit_test(records_have_a_limit),
		cmocka_unit_test(path_is_kept),
		cmocka_unit_test(long_paths_fold),
		cmocka_unit_test(id_comes_back),
		cmocka_unit_test(recorded_day),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
