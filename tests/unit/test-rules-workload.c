/* LostExitEvent and ContainerCrashLoop: positive, and what only looks like it. */
#include "rules-harness.h"

/* ---- LostExitEvent ----------------------------------------------------------------------- */

static void exit_lost(struct evidence *e, unsigned n)
{
	uint32_t d = a_daemon(e, DAEMON_CONTAINERD, 20), c = a_container(e, "web", "app", "abc", d);

	(void)n;
	e->containers[c].kernel_state = LEDGER_GONE;
}

static void exit_lost_by_the_ledger(struct evidence *e, unsigned n)
{
	exit_lost(e, n);
	e->containers[0].differs_ns = SECONDS_NS(7 + 2 * n);
}

static void exit_lost_daemon_stopped(struct evidence *e, unsigned n)
{
	exit_lost(e, n);
	e->processes[0].state = 'T';
	an_answer(&e->daemons[0].version, "Version", ANSWER_LATE, SECONDS_NS(3));
}

static void exit_lost_on_a_starved_node(struct evidence *e, unsigned n)
{
	exit_lost(e, n);
	e->node.has_pressure = true;
	e->node.cpu_some = 90;
}

static void exit_on_its_way(struct evidence *e, unsigned n)
{
	exit_lost(e, n);
	if (n > 0)
		e->containers[0].runtime_state = CONTAINER_EXITED;
}

static void a_lost_exit(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, exit_lost, 0);
	nothing(&b, "an exit on its way");
	bench_judge(&b, exit_lost, 1);
	(void)only(&b, CAUSE_LOST_EXIT_EVENT, CONFIDENCE_SUSPECTED);
	bench_judge(&b, exit_lost, 2);
	bench_judge(&b, exit_lost, 3);
	f = only(&b, CAUSE_LOST_EXIT_EVENT, CONFIDENCE_PROVEN);
	assert_string_equal(f->subject.container_id, "abc");
	assert_true(has_command(f, "crictl stop abc; crictl rm -f abc"));
	bench_done(&b);

	/* The ledger's word of how long counts, and is still looked at twice. */
	bench_judge(&b, exit_lost_by_the_ledger, 0);
	(void)only(&b, CAUSE_LOST_EXIT_EVENT, CONFIDENCE_SUSPECTED);
	bench_judge(&b, exit_lost_by_the_ledger, 1);
	(void)only(&b, CAUSE_LOST_EXIT_EVENT, CONFIDENCE_PROVEN);
	bench_done(&b);

	/* On a starved node it is waited for, for as long as somebody goes on looking. */
	for (unsigned n = 0; n < 4; n++) {
		bench_judge(&b, exit_lost_on_a_starved_node, n);
		nothing(&b, "an exit on a starved node");
		assert_true(rules_memory_wants_ns(b.memory) > 0);
	}
	rules_memory_set_last(b.memory, true);
	bench_judge(&b, exit_lost_on_a_starved_node, 4);
	(void)only(&b, CAUSE_LOST_EXIT_EVENT, CONFIDENCE_SUSPECTED);
	bench_done(&b);

	bench_judge(&b, exit_lost_daemon_stopped, 0);
	bench_judge(&b, exit_lost_daemon_stopped, 1);
	f = only(&b, CAUSE_CRI_DAEMON_STOPPED, CONFIDENCE_PROVEN);
	assert_non_null(below(f, CAUSE_LOST_EXIT_EVENT));
	bench_done(&b);
}

/* ---- ContainerCrashLoop ------------------------------------------------------------------ */

static void crash_loop(struct evidence *e, unsigned n)
{
	uint32_t c = a_container(e, "web", "app", "abc", NONE);

	(void)n;
	e->containers[c].attempt = 5;
	e->containers[c].recent_exits = 4;
	e->containers[c].same_exit_code = true;
	e->containers[c].last_exit_code = 3;
}

static void crash_loop_that_ended(struct evidence *e, unsigned n)
{
	crash_loop(e, n);
	e->containers[0].runtime_state = CONTAINER_EXITED;
}

static void crash_overlap(struct evidence *e, unsigned n)
{
	uint32_t c;

	crash_loop(e, n);
	c = a_container(e, "web", "app", "old", NONE);
	e->containers[c].attempt = 2;
	e->containers[c].init = a_process(e, 66, "app", 'S', EVIDENCE_INIT);
	e->processes[0].container = c;
}

static void one_restart(struct evidence *e, unsigned n)
{
	crash_loop(e, n);
	e->containers[0].recent_exits = 1;
}

static void another_pod(struct evidence *e, unsigned n)
{
	one_restart(e, n);
	(void)a_container(e, "web-2", "app", "old", NONE);
}

static void overlap_of_a_moment(struct evidence *e, unsigned n)
{
	crash_overlap(e, n);
	e->containers[0].recent_exits = 1;
	if (n > 0) {
		e->containers[1].kernel_state = LEDGER_GONE;
		e->containers[1].runtime_state = CONTAINER_EXITED;
	}
}

/* Docker has no crictl, and keeps the log of all runs under the one id. */
static void crash_loop_of_docker(struct evidence *e, unsigned n)
{
	crash_loop(e, n);
	e->containers[0].daemon = a_daemon(e, DAEMON_DOCKERD, 30);
}

/* As it is without an agent: the runtime has one dead at most, and a count. */
static void restarts(struct evidence *e, unsigned n, unsigned count, uint64_t in_ns)
{
	crash_loop(e, n);
	e->containers[0].recent_exits = 1;
	e->containers[0].restarts = count;
	e->containers[0].restarts_in_ns = in_ns;
	e->containers[0].last_exit_ns = SECONDS_NS(40);
}

static void restarts_of_late(struct evidence *e, unsigned n)
{
	restarts(e, n, 5, SECONDS_NS(300 + 2 * n));
}

static void restarts_while_looked_at(struct evidence *e, unsigned n)
{
	restarts(e, n, 5 + n, SECONDS_NS(300 + 2 * n));
}

static void restarts_for_hours(struct evidence *e, unsigned n)
{
	restarts(e, n, 30 + n, SECONDS_NS(4 * 3600));
}

static void restarts_for_months(struct evidence *e, unsigned n)
{
	(void)n;
	restarts(e, n, 5, SECONDS_NS(100 * 86400));
}

static void restarts_for_months_and_now(struct evidence *e, unsigned n)
{
	restarts(e, n, 5 + n, SECONDS_NS(100 * 86400));
}

static void restarts_of_an_unknown_time(struct evidence *e, unsigned n)
{
	restarts(e, n, 50, 0);
}

static void restarts_of_yesterday(struct evidence *e, unsigned n)
{
	restarts_of_late(e, n);
	e->containers[0].restarts = 50;
	e->containers[0].last_exit_ns = SECONDS_NS(86400);
}

static void few_restarts(struct evidence *e, unsigned n)
{
	restarts_of_late(e, n);
	e->containers[0].restarts = 3;
}

static void different_codes(struct evidence *e, unsigned n)
{
	crash_loop(e, n);
	e->containers[0].same_exit_code = false;
}

static void a_crash_loop(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, crash_loop, 0);
	f = only(&b, CAUSE_CONTAINER_CRASH_LOOP, CONFIDENCE_PROVEN);
	assert_int_equal(f->severity, SEVERITY_INFO);
	assert_true(says(f, "each with code 3"));
	assert_true(has_command(f, "crictl logs --previous abc"));
	bench_done(&b);
	bench_judge(&b, crash_loop_that_ended, 0);
	f = only(&b, CAUSE_CONTAINER_CRASH_LOOP, CONFIDENCE_PROVEN);
	assert_true(has_command(f, "crictl logs --tail 100 abc"));
	bench_done(&b);

	bench_judge(&b, crash_loop_of_docker, 0);
	f = only(&b, CAUSE_CONTAINER_CRASH_LOOP, CONFIDENCE_PROVEN);
	assert_true(has_command(f, "docker logs --tail 100 abc"));
	bench_done(&b);

	bench_judge(&b, crash_overlap, 0);
	bench_judge(&b, crash_overlap, 1);
	f = only(&b, CAUSE_CONTAINER_CRASH_LOOP, CONFIDENCE_PROVEN);
	assert_int_equal(f->severity, SEVERITY_WARNING);
	assert_non_null(strstr(f->summary, "attempt 2 is still there beside attempt 5"));
	assert_string_equal(f->subject.container_id, "abc");
	bench_done(&b);
}

/* At its longest the kubelet's back-off leaves two ends in ten minutes. */
static void crash_loop_that_backs_off(struct evidence *e, unsigned n)
{
	static const uint32_t exits[] = { 4, 3, 2, 1, 0, 2 };

	crash_loop(e, n);
	e->containers[0].recent_exits = exits[n];
}

static void crash_loop_with_another_end(struct evidence *e, unsigned n)
{
	crash_loop_that_backs_off(e, n);
	e->containers[0].same_exit_code = n == 0;
}

static void a_crash_loop_lasts_until_it_is_over(void **state)
{
	struct bench b = { 0 };

	(void)state;
	for (unsigned n = 0; n < 4; n++) {
		bench_judge(&b, crash_loop_that_backs_off, n);
		(void)only(&b, CAUSE_CONTAINER_CRASH_LOOP, CONFIDENCE_PROVEN);
	}
	bench_judge(&b, crash_loop_that_backs_off, 4);
	nothing(&b, "no end for ten minutes");
	bench_judge(&b, crash_loop_that_backs_off, 5);
	nothing(&b, "what was is forgotten");
	bench_done(&b);

	bench_judge(&b, crash_loop_with_another_end, 0);
	bench_judge(&b, crash_loop_with_another_end, 1);
	nothing(&b, "it ends in other ways");
	bench_done(&b);
}

static void a_crash_loop_without_an_agent(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, restarts_of_late, 0);
	f = only(&b, CAUSE_CONTAINER_CRASH_LOOP, CONFIDENCE_SUSPECTED);
	assert_non_null(strstr(f->summary, "was started again 5 times in 5m00s"));
	assert_true(rules_memory_wants_ns(b.memory) > 0);
	bench_judge(&b, restarts_of_late, 1);
	(void)only(&b, CAUSE_CONTAINER_CRASH_LOOP, CONFIDENCE_SUSPECTED);
	bench_done(&b);

	bench_judge(&b, restarts_while_looked_at, 0);
	(void)only(&b, CAUSE_CONTAINER_CRASH_LOOP, CONFIDENCE_SUSPECTED);
	bench_judge(&b, restarts_while_looked_at, 1);
	f = only(&b, CAUSE_CONTAINER_CRASH_LOOP, CONFIDENCE_PROVEN);
	assert_true(says(f, "while it was looked at"));
	bench_done(&b);

	/* It goes on, and how often of late is still not known. */
	for (unsigned n = 0; n < 4; n++)
		bench_judge(&b, restarts_for_hours, n);
	f = only(&b, CAUSE_CONTAINER_CRASH_LOOP, CONFIDENCE_SUSPECTED);
	assert_true(says(f, "an agent counts them"));
	bench_done(&b);

	bench_judge(&b, restarts_for_months_and_now, 0);
	nothing(&b, "some restarts in months");
	bench_judge(&b, restarts_for_months_and_now, 1);
	(void)only(&b, CAUSE_CONTAINER_CRASH_LOOP, CONFIDENCE_SUSPECTED);
	bench_done(&b);
}

static void what_only_looks_like_it(void **state)
{
	static const struct scenario rows[] = {
		{ "an exit on its way", exit_on_its_way },
		{ "one restart", one_restart },
		{ "a rolling update", another_pod },
		{ "an overlap of a moment", overlap_of_a_moment },
		{ "exits of different kinds", different_codes },
		{ "restarts of months", restarts_for_months },
		{ "restarts of nobody knows when", restarts_of_an_unknown_time },
		{ "restarts of yesterday", restarts_of_yesterday },
		{ "few restarts", few_restarts },
	};

	(void)state;
	look_alikes(rows, ELEMENTS(rows));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_lost_exit),
		cmocka_unit_test(a_crash_loop),
		cmocka_unit_test(a_crash_loop_lasts_until_it_is_over),
		cmocka_unit_test(a_crash_loop_without_an_agent),
		cmocka_unit_test(what_only_looks_like_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
