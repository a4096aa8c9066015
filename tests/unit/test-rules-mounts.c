/* MountLeakBusy: a filesystem that another namespace or an open file keeps, and a container's own. */
#include "rules-harness.h"

static uint32_t leaked_mount(struct evidence *e, enum evidence_hold hold)
{
	uint32_t m = a_mount(e, "overlay", "/run/containerd/abc/rootfs", 0, 60),
		 busy = evidence_add_busy(e), h = evidence_add_holder(e);
	uint32_t c = a_container(e, "web", "app", "abc", NONE);

	e->containers[c].runtime_state = CONTAINER_EXITED;
	e->containers[c].kernel_state = LEDGER_GONE;
	e->busies[busy].path = "/run/containerd/abc/rootfs";
	e->busies[busy].message = "device or resource busy";
	e->busies[busy].mount = m;
	e->busies[busy].container = c;
	e->holders[h].mount = m;
	e->holders[h].hold = hold;
	e->holders[h].path = "/host/run/con tainerd/abc/rootfs";
	if (hold != HOLD_PIN)
		e->holders[h].process = a_process(e, 300, "nginx", 'S', EVIDENCE_HOLDER);
	return h;
}

static void leaked_namespace(struct evidence *e, unsigned n)
{
	(void)n;
	(void)leaked_mount(e, HOLD_NAMESPACE);
}

static void leaked_pin(struct evidence *e, unsigned n)
{
	(void)n;
	(void)leaked_mount(e, HOLD_PIN);
	e->holders[0].path = "/run/netns/pinned";
}

static void busy_without_holder(struct evidence *e, unsigned n)
{
	(void)n;
	(void)leaked_mount(e, HOLD_FD);
	e->holders[0].mount = NONE;
}

static void busy_by_its_own(struct evidence *e, unsigned n)
{
	uint32_t h = leaked_mount(e, HOLD_FD);

	(void)n;
	e->containers[0].kernel_state = LEDGER_ALIVE;
	e->processes[e->holders[h].process].container = 0;
}

static void a_leaked_mount(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, leaked_namespace, 0);
	(void)only(&b, CAUSE_MOUNT_LEAK_BUSY, CONFIDENCE_SUSPECTED);
	bench_judge(&b, leaked_namespace, 1);
	f = only(&b, CAUSE_MOUNT_LEAK_BUSY, CONFIDENCE_PROVEN);
	assert_int_equal(f->subject.pid, 300);
	assert_string_equal(f->subject.mount, "/run/containerd/abc/rootfs");
	assert_string_equal(f->subject.container_id, "abc");
	assert_string_equal(f->advice[0].command,
		"nsenter -t 300 -p umount -N 300 -- '/host/run/con tainerd/abc/rootfs'");
	bench_done(&b);

	bench_judge(&b, leaked_pin, 0);
	bench_judge(&b, leaked_pin, 1);
	f = only(&b, CAUSE_MOUNT_LEAK_BUSY, CONFIDENCE_PROVEN);
	assert_true(has_command(
		f, "nsenter --mount=/run/netns/pinned umount -- /run/containerd/abc/rootfs"));
	bench_done(&b);

	for (unsigned n = 0; n < 4; n++)
		bench_judge(&b, busy_without_holder, n);
	f = only(&b, CAUSE_MOUNT_LEAK_BUSY, CONFIDENCE_SUSPECTED);
	assert_true(says(f, "not looked at"));
	bench_done(&b);
}

static void what_only_looks_like_it(void **state)
{
	static const struct scenario rows[] = {
		{ "a container's own file", busy_by_its_own },
	};

	(void)state;
	look_alikes(rows, ELEMENTS(rows));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_leaked_mount),
		cmocka_unit_test(what_only_looks_like_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
