/* RuncInitFrozen: frozen by nobody, and what is paused on purpose or frozen for a moment. */
#include "rules-harness.h"

static uint32_t frozen_container(struct evidence *e, bool killed)
{
	uint32_t d = a_daemon(e, DAEMON_CONTAINERD, 20), c = a_container(e, "web", "app", "abc", d),
		 z = evidence_add_freezer(e);
	uint32_t p = a_process(e, 70, "app", 'D', EVIDENCE_INIT);

	e->freezers[z].path = "/kubepods/podx/abc";
	e->freezers[z].file = "/sys/fs/cgroup/freezer/kubepods/podx/abc/freezer.state";
	e->freezers[z].self = true;
	e->freezers[z].container = c;
	e->processes[p].container = c;
	e->processes[p].freezer = z;
	e->containers[c].init = p;
	e->containers[c].freezer = z;
	e->containers[c].pause = PAUSE_NO;
	(void)a_thread(e, p, 70, 'D', "hrtimer_nanosleep", "hrtimer_nanosleep\n");
	e->processes[p].pending_shared = killed ? KILL_BIT : 0;
	return z;
}

static void frozen_by_nobody(struct evidence *e, unsigned n)
{
	(void)n;
	(void)frozen_container(e, false);
}

static void frozen_and_killed(struct evidence *e, unsigned n)
{
	(void)n;
	(void)frozen_container(e, true);
}

static void frozen_on_purpose(struct evidence *e, unsigned n)
{
	(void)n;
	(void)frozen_container(e, false);
	e->freezers[0].on_purpose = true;
}

static void frozen_for_an_instant(struct evidence *e, unsigned n)
{
	if (n % 2 == 0)
		(void)frozen_container(e, false);
}

static void paused_on_purpose(struct evidence *e, unsigned n)
{
	(void)n;
	(void)frozen_container(e, false);
	e->containers[0].pause = PAUSE_YES;
}

/* Its shim is silent in the first samples, as on a busy node. */
static void paused_and_told_late(struct evidence *e, unsigned n)
{
	(void)frozen_container(e, true);
	e->containers[0].pause = n < 2 ? PAUSE_UNKNOWN : PAUSE_YES;
}

static void paused_and_then_silent(struct evidence *e, unsigned n)
{
	(void)frozen_container(e, true);
	e->containers[0].pause = n == 0 ? PAUSE_YES : PAUSE_UNKNOWN;
}

static void just_being_paused(struct evidence *e, unsigned n)
{
	(void)n;
	(void)frozen_container(e, false);
	e->containers[0].pause = PAUSE_UNDERWAY;
}

static void paused_for_ever(struct evidence *e, unsigned n)
{
	uint32_t z = frozen_container(e, false);

	(void)n;
	e->freezers[z].freezing = true;
	e->containers[0].pause = PAUSE_UNDERWAY;
}

static void frozen_runtime_silent(struct evidence *e, unsigned n)
{
	(void)n;
	(void)frozen_container(e, false);
	e->containers[0].pause = PAUSE_UNKNOWN;
}

static void killed_runtime_silent(struct evidence *e, unsigned n)
{
	(void)n;
	(void)frozen_container(e, true);
	e->containers[0].pause = PAUSE_UNKNOWN;
}

static void silent_on_a_starved_node(struct evidence *e, unsigned n)
{
	killed_runtime_silent(e, n);
	e->node.has_pressure = true;
	e->node.cpu_some = 90;
}

static void frozen_twice(struct evidence *e, unsigned n)
{
	uint32_t z;

	(void)n;
	(void)frozen_container(e, true);
	z = evidence_add_freezer(e);
	e->freezers[z].path = "/kubepods/podx/abc/inner";
	e->freezers[z].file = "/sys/fs/cgroup/freezer/kubepods/podx/abc/inner/freezer.state";
	e->freezers[z].self = true;
	e->freezers[z].container = 0;
}

static void frozen_user_slice(struct evidence *e, unsigned n)
{
	uint32_t z = evidence_add_freezer(e), p = a_process(e, 90, "job", 'D', 0);

	(void)n;
	e->freezers[z].path = "/user.slice/job";
	e->freezers[z].self = true;
	e->processes[p].freezer = z;
	(void)a_thread(e, p, 90, 'D', "refrigerator", "__refrigerator\n");
}

static void freezing_for_ever(struct evidence *e, unsigned n)
{
	uint32_t z = frozen_container(e, false);
	struct fuse_world w = fuse_world(e, 'S', 'D', true);

	(void)n;
	e->freezers[z].freezing = true;
	e->processes[w.victim].container = 0;
	e->processes[w.victim].freezer = z;
}

static void a_frozen_container(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, frozen_by_nobody, 0);
	nothing(&b, "a freeze of this moment");
	bench_judge(&b, frozen_by_nobody, 1);
	f = only(&b, CAUSE_RUNC_INIT_FROZEN, CONFIDENCE_PROVEN);
	assert_string_equal(f->subject.container_id, "abc");
	assert_string_equal(f->subject.mount, "/kubepods/podx/abc");
	assert_string_equal(f->advice[0].command,
		"echo THAWED > /sys/fs/cgroup/freezer/kubepods/podx/abc/freezer.state");
	bench_done(&b);

	bench_judge(&b, frozen_and_killed, 0);
	(void)only(&b, CAUSE_RUNC_INIT_FROZEN, CONFIDENCE_SUSPECTED);
	bench_judge(&b, frozen_and_killed, 1);
	(void)only(&b, CAUSE_RUNC_INIT_FROZEN, CONFIDENCE_PROVEN);
	bench_done(&b);

	bench_judge(&b, frozen_twice, 0);
	bench_judge(&b, frozen_twice, 1);
	f = only(&b, CAUSE_RUNC_INIT_FROZEN, CONFIDENCE_PROVEN);
	assert_true(has_command(
		f, "echo THAWED > /sys/fs/cgroup/freezer/kubepods/podx/abc/inner/freezer.state"));
	assert_true(has_command(
		f, "echo THAWED > /sys/fs/cgroup/freezer/kubepods/podx/abc/freezer.state"));
	bench_done(&b);

	/* As long as nobody has said that it was not paused, nothing is told: only when that has taken
	 * so long that it is trouble, too. */
	for (unsigned n = 0; n < 3; n++) {
		bench_judge(&b, frozen_runtime_silent, n);
		nothing(&b, "one of which nobody knows whether it was paused");
	}
	assert_true(rules_memory_wants_ns(b.memory) > 0);
	bench_judge(&b, frozen_runtime_silent, 3);
	f = only(&b, CAUSE_RUNC_INIT_FROZEN, CONFIDENCE_SUSPECTED);
	assert_true(says(f, "paused on purpose"));
	bench_done(&b);

	for (unsigned n = 0; n < 3; n++) {
		bench_judge(&b, killed_runtime_silent, n);
		nothing(&b, "a killed one of which nobody knows whether it was paused");
	}
	bench_judge(&b, killed_runtime_silent, 3);
	(void)only(&b, CAUSE_RUNC_INIT_FROZEN, CONFIDENCE_PROVEN);
	bench_done(&b);

	for (unsigned n = 0; n < 5; n++) {
		bench_judge(&b, silent_on_a_starved_node, n);
		nothing(&b, "silence on a starved node");
	}
	bench_judge(&b, silent_on_a_starved_node, 5);
	(void)only(&b, CAUSE_RUNC_INIT_FROZEN, CONFIDENCE_PROVEN);
	bench_done(&b);

	for (unsigned n = 0; n < 4; n++)
		bench_judge(&b, paused_for_ever, n);
	(void)only(&b, CAUSE_RUNC_INIT_FROZEN, CONFIDENCE_PROVEN);
	bench_done(&b);

	/* What cannot be frozen is deeper than the freezing. */
	for (unsigned n = 0; n < 4; n++)
		bench_judge(&b, freezing_for_ever, n);
	f = only(&b, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_PROVEN);
	assert_non_null(below(f, CAUSE_RUNC_INIT_FROZEN));
	bench_done(&b);
}

static void what_only_looks_like_it(void **state)
{
	static const struct scenario rows[] = {
		{ "docker pause", frozen_on_purpose },
		{ "ctr task pause", paused_on_purpose },
		{ "a pause that is told late", paused_and_told_late },
		{ "a pause that is told once", paused_and_then_silent },
		{ "a pause that is just being made", just_being_paused },
		{ "runc update", frozen_for_an_instant },
		{ "a frozen job of a user", frozen_user_slice },
	};

	(void)state;
	look_alikes(rows, ELEMENTS(rows));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_frozen_container),
		cmocka_unit_test(what_only_looks_like_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
