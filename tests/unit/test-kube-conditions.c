/* What the node's conditions are, how they are published, damped, adopted after a restart and written. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "kube/budget.h"
#include "kube/conditions.h"
#include "kube/text.h"

#define T0_REAL INT64_C(1790000000000000000) /* 2026-09-21T14:13:20Z */
#define SECOND  ((int64_t)NSEC_PER_SEC)

struct world {
	struct conditions *conditions;
	struct now now;
	struct buf out;
};

static int set_up(void **state)
{
	struct world *w = mem_zalloc(sizeof(*w));

	assert_non_null(w);
	w->conditions = conditions_new(1);
	assert_non_null(w->conditions);
	w->now = (struct now){ .mono_ns = 1000 * NSEC_PER_SEC, .real_ns = T0_REAL };
	w->out = BUF_INIT(64u << 10);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	w->conditions = conditions_free(w->conditions);
	buf_done(&w->out);
	(void)mem_free(w);
	return 0;
}

static void pass(struct world *w, uint64_t seconds)
{
	w->now.mono_ns += seconds * NSEC_PER_SEC;
	w->now.real_ns += (int64_t)(seconds * NSEC_PER_SEC);
}

/* The word of one type changes, the others are well. */
static void say(struct world *w, enum condition_type type, enum condition_status status)
{
	struct condition_word words[CONDITIONS];

	for (unsigned i = 0; i < CONDITIONS; i++) {
		words[i] = (struct condition_word){ .status = CONDITION_FALSE };
		(void)snprintf(words[i].reason, sizeof(words[i].reason), "Well");
	}
	words[type].status = status;
	if (status == CONDITION_TRUE) {
		(void)snprintf(words[type].reason, sizeof(words[type].reason), "ShimStopped");
		(void)snprintf(
			words[type].message, sizeof(words[type].message), "Shim 42 is stopped");
		words[type].topic = 7;
	}
	conditions_update(w->conditions, words, w->now);
}

static struct condition_view view(const struct world *w, enum condition_type type)
{
	struct condition_view v;

	conditions_view(w->conditions, type, &v);
	return v;
}

static void adopt_none(struct world *w)
{
	const struct condition_seen none[CONDITIONS] = { 0 };

	conditions_adopt(w->conditions, none, w->now);
}

static const char *patch(struct world *w)
{
	buf_clear(&w->out);
	ASSERT_OK(conditions_patch(w->conditions, w->now, &w->out));
	conditions_written(w->conditions, w->now);
	return buf_string(&w->out);
}

/* ---- judging ------------------------------------------------------------------------------------ */

static const struct condition_facts well = {
	.is_sampled = true,
	.age_ns = 3600 * NSEC_PER_SEC,
	.pleg_healthy = true,
};

static void judged_by_the_facts(void **state)
{
	static const struct {
		const char *name;
		struct condition_problem problem; /* none where its summary is NULL */
		bool pleg_sick, is_young;
		uint64_t silent_ns;
		enum condition_status status[CONDITIONS];
		const char *reason[CONDITIONS];
	} rows[] = {
		{ "well", { 0 }, false, false, 0,
			{ CONDITION_FALSE, CONDITION_FALSE, CONDITION_FALSE },
			{ "PLEGIsHealthy", "RuntimeIsHealthy", "NoContainersStuck" } },
		{ "just started", { 0 }, true, true, 20 * NSEC_PER_SEC, { 0 }, { "", "", "" } },
		{ "a shim",
			{ CAUSE_SHIM_STOPPED, SEVERITY_CRITICAL, true, true, T0_REAL, "shop/cart",
				"S" },
			false, false, 0, { CONDITION_FALSE, CONDITION_FALSE, CONDITION_TRUE },
			{ "PLEGIsHealthy", "RuntimeIsHealthy", "ShimStopped" } },
		{ "a shim at the start",
			{ CAUSE_SHIM_STOPPED, SEVERITY_CRITICAL, true, true, T0_REAL, "shop/cart",
				"S" },
			true, true, 0, { CONDITION_UNKNOWN, CONDITION_UNKNOWN, CONDITION_TRUE },
			{ "", "", "ShimStopped" } },
		{ "suspected for 29 s",
			{ CAUSE_SHIM_STOPPED, SEVERITY_CRITICAL, false, true, T0_REAL - 29 * SECOND,
				"", "S" },
			false, false, 0, { CONDITION_FALSE, CONDITION_FALSE, CONDITION_UNKNOWN },
			{ "PLEGIsHealthy", "RuntimeIsHealthy", "" } },
		{ "suspected for 30 s",
			{ CAUSE_SHIM_STOPPED, SEVERITY_CRITICAL, false, true, T0_REAL - 30 * SECOND,
				"", "S" },
			false, false, 0, { CONDITION_FALSE, CONDITION_FALSE, CONDITION_TRUE },
			{ "PLEGIsHealthy", "RuntimeIsHealthy", "ShimStopped" } },
		{ "information",
			{ CAUSE_CONTAINER_CRASH_LOOP, SEVERITY_INFO, true, true, T0_REAL, "", "S" },
			false, false, 0, { CONDITION_FALSE, CONDITION_FALSE, CONDITION_FALSE },
			{ "PLEGIsHealthy", "RuntimeIsHealthy", "NoContainersStuck" } },
		{ "containerd, and PLEG with it",
			{ CAUSE_CRI_DAEMON_STOPPED, SEVERITY_CRITICAL, true, false, T0_REAL, "",
				"S" },
			true, false, 200 * NSEC_PER_SEC,
			{ CONDITION_TRUE, CONDITION_TRUE, CONDITION_FALSE },
			{ "CriDaemonStopped", "CriDaemonStopped", "NoContainersStuck" } },
		{ "silence without a cause", { 0 }, true, false, 10 * NSEC_PER_SEC,
			{ CONDITION_TRUE, CONDITION_TRUE, CONDITION_FALSE },
			{ "PLEGUnhealthy", "RuntimeUnhealthy", "NoContainersStuck" } },
		{ "a short silence", { 0 }, false, false, 9 * NSEC_PER_SEC,
			{ CONDITION_FALSE, CONDITION_UNKNOWN, CONDITION_FALSE },
			{ "PLEGIsHealthy", "", "NoContainersStuck" } },
		{ "unknown, of the runtime",
			{ CAUSE_UNKNOWN_BUT_HUNG, SEVERITY_CRITICAL, true, false, T0_REAL, "",
				"S" },
			false, false, 0, { CONDITION_FALSE, CONDITION_TRUE, CONDITION_FALSE },
			{ "PLEGIsHealthy", "UnknownButHung", "NoContainersStuck" } },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct condition_facts facts = well;
		struct condition_word words[CONDITIONS];

		facts.problems = &rows[i].problem;
		facts.problem_count = rows[i].problem.summary ? 1 : 0;
		facts.pleg_healthy = !rows[i].pleg_sick;
		facts.runtime_silent_ns = rows[i].silent_ns;
		if (rows[i].is_young)
			facts.age_ns = CONDITION_SETTLE_NS - 1;
		conditions_judge(&facts, T0_REAL, words);
		for (unsigned t = 0; t < CONDITIONS; t++)
			if (words[t].status != rows[i].status[t] ||
				!str_eq(words[t].reason, rows[i].reason[t]))
				fail_msg("%s: %s is %s, %s", rows[i].name,
					condition_type_text((enum condition_type)t),
					condition_status_text(words[t].status), words[t].reason);
	}
}

static void the_worst_and_oldest_speaks(void **state)
{
	const struct condition_problem problems[] = {
		{ CAUSE_MOUNT_LEAK_BUSY, SEVERITY_WARNING, true, true, T0_REAL - 90, "a/b",
			"Busy" },
		{ CAUSE_SHIM_STOPPED, SEVERITY_CRITICAL, true, true, T0_REAL - 10, "c/d",
			"Younger" },
		{ CAUSE_SHIM_STOPPED, SEVERITY_CRITICAL, true, true, T0_REAL - 50, "e/f",
			"Shim hangs" },
	};
	struct condition_facts facts = well;
	struct condition_word words[CONDITIONS];

	(void)state;
	facts.problems = problems;
	facts.problem_count = ELEMENTS(problems);
	conditions_judge(&facts, T0_REAL, words);
	assert_string_equal(words[CONDITION_CONTAINERS].message, "Shim hangs (e/f); and 2 more");
	facts.pleg_healthy = false;
	facts.pleg_message = "pleg was last seen active 3m5s ago; threshold is 3m0s";
	conditions_judge(&facts, T0_REAL, words);
	assert_string_equal(words[CONDITION_PLEG].message,
		"PLEG is not healthy: pleg was last seen active 3m5s ago; threshold is 3m0s: Shim "
		"hangs (e/f)");
}

/* ---- publishing --------------------------------------------------------------------------------- */

static void a_change_is_due_at_once_and_dated(void **state)
{
	struct world *w = *state;
	struct condition_transition told;

	say(w, CONDITION_CONTAINERS, CONDITION_FALSE);
	assert_int_equal(conditions_write_due(w->conditions), NSEC_NEVER); /* not read yet */
	adopt_none(w);
	assert_int_equal(conditions_write_due(w->conditions), 0);
	(void)patch(w);
	assert_true(conditions_write_due(w->conditions) > w->now.mono_ns);
	assert_false(conditions_next_transition(w->conditions, &told)); /* all well is no news */

	pass(w, 7);
	say(w, CONDITION_CONTAINERS, CONDITION_TRUE);
	assert_int_equal(conditions_write_due(w->conditions), 0);
	pass(w, 600); /* written late, dated truly */
	assert_string_equal(patch(w),
		"{\"status\":{\"conditions\":["
		"{\"type\":\"pleg.dev/PLEGUnhealthy\",\"status\":\"False\","
		"\"lastHeartbeatTime\":\"2026-09-21T14:23:27Z\",\"lastTransitionTime\":"
		"\"2026-09-21T14:13:20Z\",\"reason\":\"Well\",\"message\":\"\"},"
		"{\"type\":\"pleg.dev/RuntimeUnhealthy\",\"status\":\"False\","
		"\"lastHeartbeatTime\":\"2026-09-21T14:23:27Z\",\"lastTransitionTime\":"
		"\"2026-09-21T14:13:20Z\",\"reason\":\"Well\",\"message\":\"\"},"
		"{\"type\":\"pleg.dev/ContainersStuck\",\"status\":\"True\","
		"\"lastHeartbeatTime\":\"2026-09-21T14:23:27Z\",\"lastTransitionTime\":"
		"\"2026-09-21T14:13:27Z\",\"reason\":\"ShimStopped\",\"message\":"
		"\"Shim 42 is stopped\"}]}}");
	assert_true(conditions_next_transition(w->conditions, &told));
	assert_int_equal(told.type, CONDITION_CONTAINERS);
	assert_int_equal(told.status, CONDITION_TRUE);
	assert_int_equal(told.at_ns, T0_REAL + 7 * SECOND);
	assert_string_equal(told.reason, "ShimStopped");
	assert_false(conditions_next_transition(w->conditions, &told));
}

static void a_heartbeat_every_five_minutes(void **state)
{
	struct world *w = *state;
	uint64_t due_ns;

	say(w, CONDITION_PLEG, CONDITION_FALSE);
	adopt_none(w);
	for (int i = 0; i < 20; i++) {
		(void)patch(w);
		due_ns = conditions_write_due(w->conditions);
		assert_true(due_ns <= w->now.mono_ns + CONDITION_HEARTBEAT_NS);
		assert_true(due_ns > w->now.mono_ns + CONDITION_HEARTBEAT_NS / 10 * 9 - 1);
		w->now.mono_ns = due_ns;
	}
	assert_false(conditions_is_urgent(w->conditions));
}

static void a_change_while_a_patch_is_under_way_is_written_next(void **state)
{
	struct world *w = *state;

	say(w, CONDITION_PLEG, CONDITION_FALSE);
	adopt_none(w);
	buf_clear(&w->out);
	ASSERT_OK(conditions_patch(w->conditions, w->now, &w->out));
	say(w, CONDITION_PLEG, CONDITION_TRUE);
	conditions_written(w->conditions, w->now);
	assert_true(conditions_is_urgent(w->conditions));
	(void)patch(w);
	assert_false(conditions_is_urgent(w->conditions));
}

/* containerd is stopped and continued ten times in ten minutes. */
static void flapping_is_held_and_counted(void **state)
{
	struct world *w = *state;
	struct condition_transition told;
	struct condition_view v;
	int transitions = 0;

	say(w, CONDITION_RUNTIME, CONDITION_FALSE);
	adopt_none(w);
	for (int i = 0; i < 10; i++) {
		pass(w, 30);
		say(w, CONDITION_RUNTIME, CONDITION_TRUE);
		pass(w, 30);
		say(w, CONDITION_RUNTIME, CONDITION_FALSE);
	}
	v = view(w, CONDITION_RUNTIME);
	assert_int_equal(v.status, CONDITION_TRUE);
	assert_true(v.is_held);
	assert_int_equal(v.changes, 20);
	assert_non_null(
		strstr(v.message, "Held True: 20 changes, the last at 2026-09-21T14:23:20Z"));
	assert_non_null(strstr(v.message, "now well; Shim 42 is stopped"));
	assert_string_equal(v.reason, "ShimStopped");
	assert_int_equal(
		v.transition_ns, T0_REAL + 90 * SECOND); /* the third change, and no more */
	while (conditions_next_transition(w->conditions, &told))
		transitions++;
	assert_int_equal(transitions, 3);

	assert_int_equal(conditions_due(w->conditions), w->now.mono_ns + CONDITION_FLAP_NS);
	pass(w, 599);
	say(w, CONDITION_RUNTIME, CONDITION_FALSE);
	assert_int_equal(view(w, CONDITION_RUNTIME).status, CONDITION_TRUE);
	pass(w, 1);
	say(w, CONDITION_RUNTIME, CONDITION_FALSE);
	v = view(w, CONDITION_RUNTIME);
	assert_int_equal(v.status, CONDITION_FALSE);
	assert_false(v.is_held);
	assert_int_equal(v.transition_ns, w->now.real_ns);
	assert_int_equal(conditions_due(w->conditions), NSEC_NEVER);
}

static void three_changes_are_not_damped(void **state)
{
	struct world *w = *state;

	say(w, CONDITION_PLEG, CONDITION_FALSE);
	for (int i = 0; i < 40; i++) { /* never four within ten minutes */
		pass(w, 201);
		say(w, CONDITION_PLEG, i % 2 ? CONDITION_FALSE : CONDITION_TRUE);
		assert_false(view(w, CONDITION_PLEG).is_held);
		assert_int_equal(view(w, CONDITION_PLEG).transition_ns, w->now.real_ns);
	}
}

/* ---- restarts ----------------------------------------------------------------------------------- */

static void restart(struct world *w, struct condition_seen seen[CONDITIONS])
{
	static char reasons[CONDITIONS][CONDITION_REASON_MAX];
	static char messages[CONDITIONS][KUBE_MESSAGE_MAX + 1];

	for (unsigned i = 0; i < CONDITIONS; i++) {
		struct condition_view v = view(w, (enum condition_type)i);

		(void)snprintf(reasons[i], sizeof(reasons[i]), "%s", v.reason);
		(void)snprintf(messages[i], sizeof(messages[i]), "%s", v.message);
		seen[i] = (struct condition_seen){ v.status,
			v.transition_ns - v.transition_ns % SECOND, w->now.real_ns, reasons[i],
			messages[i] };
	}
	w->conditions = conditions_free(w->conditions);
	w->conditions = conditions_new(2);
	assert_non_null(w->conditions);
	w->now.mono_ns = 50 * NSEC_PER_SEC; /* after a reboot even that clock is another one */
}

static void a_restart_changes_no_transition_time(void **state)
{
	struct world *w = *state;
	struct condition_seen seen[CONDITIONS];
	struct condition_transition told;
	const int64_t at_ns = T0_REAL + 5 * SECOND;

	for (int read_first = 0; read_first < 2; read_first++) {
		w->conditions = conditions_free(w->conditions);
		w->conditions = conditions_new(3);
		w->now.real_ns = T0_REAL;
		say(w, CONDITION_CONTAINERS, CONDITION_FALSE);
		pass(w, 5);
		say(w, CONDITION_CONTAINERS, CONDITION_TRUE);
		pass(w, 60);
		restart(w, seen);
		pass(w, 3);
		if (read_first) {
			conditions_adopt(w->conditions, seen, w->now);
			say(w, CONDITION_CONTAINERS, CONDITION_UNKNOWN);
		}
		pass(w, 3);
		say(w, CONDITION_CONTAINERS, CONDITION_TRUE);
		if (!read_first)
			conditions_adopt(w->conditions, seen, w->now);
		assert_int_equal(view(w, CONDITION_CONTAINERS).transition_ns, at_ns);
		assert_int_equal(view(w, CONDITION_PLEG).transition_ns, T0_REAL);
		assert_false(conditions_next_transition(w->conditions, &told));
		/* Nothing new: the next write is the heartbeat of before. */
		assert_false(conditions_is_urgent(w->conditions));
		assert_true(
			conditions_write_due(w->conditions) > w->now.mono_ns + 290 * NSEC_PER_SEC);
	}
}

static void what_changed_while_pleg_was_away_is_told(void **state)
{
	struct world *w = *state;
	struct condition_seen seen[CONDITIONS];
	struct condition_transition told;

	say(w, CONDITION_CONTAINERS, CONDITION_TRUE);
	pass(w, 60);
	restart(w, seen);
	pass(w, 20);
	say(w, CONDITION_CONTAINERS, CONDITION_FALSE);
	conditions_adopt(w->conditions, seen, w->now);
	assert_int_equal(view(w, CONDITION_CONTAINERS).transition_ns, w->now.real_ns);
	assert_true(conditions_next_transition(w->conditions, &told));
	assert_int_equal(told.status, CONDITION_FALSE);
	assert_false(conditions_next_transition(w->conditions, &told));
	assert_true(conditions_is_urgent(w->conditions));
}

/* Seven changes, the last one `is_well` or not; then a restart. */
static void hold_and_restart(struct world *w, bool is_well, struct condition_seen seen[CONDITIONS])
{
	say(w, CONDITION_PLEG, is_well ? CONDITION_TRUE : CONDITION_FALSE);
	for (int i = 0; i < 7; i++) {
		pass(w, 10);
		say(w, CONDITION_PLEG, (i % 2 == 1) != is_well ? CONDITION_FALSE : CONDITION_TRUE);
	}
	pass(w, 20);
	restart(w, seen);
	w->now.mono_ns = 5000 * NSEC_PER_SEC;
}

static void a_hold_outlives_a_restart(void **state)
{
	struct world *w = *state;
	struct condition_seen seen[CONDITIONS];
	struct condition_view v;

	hold_and_restart(w, false, seen);
	conditions_adopt(w->conditions, seen, w->now);
	pass(w, 20);
	say(w, CONDITION_PLEG, CONDITION_FALSE);
	v = view(w, CONDITION_PLEG);
	assert_int_equal(v.status, CONDITION_TRUE);
	assert_true(v.is_held);
	assert_int_equal(v.changes, 8);
	assert_int_equal(v.transition_ns, seen[CONDITION_PLEG].transition_ns);
	pass(w, 600);
	say(w, CONDITION_PLEG, CONDITION_FALSE);
	assert_int_equal(view(w, CONDITION_PLEG).status, CONDITION_FALSE);
}

/* Neither a change nor ten more minutes: the calm is counted from the last change. */
static void a_restart_makes_no_hold_longer(void **state)
{
	struct world *w = *state;
	struct condition_seen seen[CONDITIONS];
	struct condition_view v;

	for (int read_first = 0; read_first < 2; read_first++) {
		w->conditions = conditions_free(w->conditions);
		w->conditions = conditions_new(3);
		hold_and_restart(w, true, seen);
		pass(w, 20); /* 40 s since the last change */
		if (read_first)
			conditions_adopt(w->conditions, seen, w->now);
		say(w, CONDITION_PLEG, CONDITION_FALSE);
		if (!read_first)
			conditions_adopt(w->conditions, seen, w->now);
		v = view(w, CONDITION_PLEG);
		assert_int_equal(v.status, CONDITION_TRUE);
		assert_true(v.is_held);
		assert_int_equal(v.changes, 7);
		assert_int_equal(v.transition_ns, seen[CONDITION_PLEG].transition_ns);
		pass(w, 559);
		say(w, CONDITION_PLEG, CONDITION_FALSE);
		assert_true(view(w, CONDITION_PLEG).is_held);
		pass(w, 1);
		say(w, CONDITION_PLEG, CONDITION_FALSE);
		assert_false(view(w, CONDITION_PLEG).is_held);
		assert_int_equal(view(w, CONDITION_PLEG).status, CONDITION_FALSE);
	}
}

static void a_hold_that_is_over_is_none(void **state)
{
	struct world *w = *state;
	struct condition_seen seen[CONDITIONS];

	hold_and_restart(w, true, seen);
	pass(w, 580);
	say(w, CONDITION_PLEG, CONDITION_FALSE);
	conditions_adopt(w->conditions, seen, w->now);
	assert_false(view(w, CONDITION_PLEG).is_held);
	assert_int_equal(view(w, CONDITION_PLEG).status, CONDITION_FALSE);
	assert_int_equal(view(w, CONDITION_PLEG).transition_ns, w->now.real_ns);
}

static void transitions_are_bounded(void **state)
{
	struct world *w = *state;
	struct condition_transition told;
	unsigned count = 0;

	say(w, CONDITION_PLEG, CONDITION_FALSE);
	for (unsigned i = 0; i < CONDITION_TRANSITIONS_MAX + 10; i++) {
		pass(w, 300);
		say(w, CONDITION_PLEG, i % 2 ? CONDITION_FALSE : CONDITION_TRUE);
	}
	assert_int_equal(conditions_lost(w->conditions), 10);
	while (conditions_next_transition(w->conditions, &told))
		assert_int_equal(told.at_ns, T0_REAL + (11 + (int64_t)count++) * 300 * SECOND);
	assert_int_equal(count, CONDITION_TRANSITIONS_MAX);
}

/* ---- texts and the budget ----------------------------------------------------------------------- */

static void nothing_secret_in_a_message(void **state)
{
	static const char *const rows[][2] = {
		{ "Shim 42 is stopped", "Shim 42 is stopped" },
		{ "mount https://joe:pass@word@host/x hangs", "mount https://***@host/x hangs" },
		{ "s3fs -o passwd=abcdef,uid=0", "s3fs -o passwd=***,uid=0" },
		{ "AWS_SECRET_ACCESS_KEY=abcdef x", "AWS_SECRET_ACCESS_KEY=*** x" },
		{ "Token: \"abcdef\", next", "Token: \"***\", next" },
		{ "Authorization: Bearer abcdefghij end", "Authorization: Bearer *** end" },
		{ "the basic test of tokens", "the basic test of tokens" },
		{ "https://host/a@b", "https://host/a@b" },
		{ "line\nbreak \xff\xe2\x80\xae", "line?break ????" },
	};
	char text[KUBE_MESSAGE_MAX + 1], huge[4000];

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++)
		assert_string_equal(kube_message(text, rows[i][0]), rows[i][1]);
	for (size_t i = 0; i + 3 < sizeof(huge); i += 3)
		memcpy(huge + i, "\xe2\x82\xac", 4);
	assert_int_equal(
		strlen(kube_message(text, huge)), KUBE_MESSAGE_MAX - 1); /* whole characters */
	assert_true(str_is_printable(text, strlen(text)));
}

static void parts_of_a_path(void **state)
{
	char text[64];

	(void)state;
	assert_string_equal(kube_path_part(text, sizeof(text), "node-1.x_y"), "node-1.x_y");
	assert_string_equal(kube_path_part(text, sizeof(text), "../a b?\xc3"), "..%2Fa%20b%3F%C3");
	assert_string_equal(kube_path_part(text, 4, "a/bcd"), "a");
}

static void six_writes_a_minute(void **state)
{
	struct budget budget = { 0 };
	uint64_t now_ns = 1000 * NSEC_PER_SEC;

	(void)state;
	for (int i = 0; i < 4; i++) {
		uint64_t when_ns = budget_when(&budget, WRITE_EVENT, now_ns);

		assert_int_equal(when_ns, i == 0 ? now_ns : now_ns + WRITES_APART_NS);
		now_ns = when_ns;
		budget_spend(&budget, now_ns);
	}
	/* The rest is for conditions, at once. */
	assert_int_equal(
		budget_when(&budget, WRITE_EVENT, now_ns), 1000 * NSEC_PER_SEC + WRITES_NS);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(budget_when(&budget, WRITE_NODE, now_ns), now_ns);
		budget_spend(&budget, now_ns);
	}
	assert_int_equal(budget_when(&budget, WRITE_NODE, now_ns), 1000 * NSEC_PER_SEC + WRITES_NS);
	/* The four newest are those of 1002, 1003, 1003 and 1003. */
	assert_int_equal(
		budget_when(&budget, WRITE_EVENT, now_ns), 1002 * NSEC_PER_SEC + WRITES_NS);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(judged_by_the_facts),
		cmocka_unit_test(the_worst_and_oldest_speaks),
		TEST(a_change_is_due_at_once_and_dated),
		TEST(a_heartbeat_every_five_minutes),
		TEST(a_change_while_a_patch_is_under_way_is_written_next),
		TEST(flapping_is_held_and_counted),
		TEST(three_changes_are_not_damped),
		TEST(a_restart_changes_no_transition_time),
		TEST(what_changed_while_pleg_was_away_is_told),
		TEST(a_hold_outlives_a_restart),
		TEST(a_restart_makes_no_hold_longer),
		TEST(a_hold_that_is_over_is_none),
		TEST(transitions_are_bounded),
		cmocka_unit_test(nothing_secret_in_a_message),
		cmocka_unit_test(parts_of_a_path),
		cmocka_unit_test(six_writes_a_minute),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
