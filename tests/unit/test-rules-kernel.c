/* Zombies, dying namespaces, locked address spaces: positive, and what only looks like it. */
#include "rules-harness.h"

/* ---- UnreapableZombieThreadStuck --------------------------------------------------------- */

#define STRANGE_STACK "nv_wait\nnv_close\n__fput\n"

/* A leader that is a zombie, and a thread in a wait that no other rule knows. */
static uint32_t zombie_world(struct evidence *e, char thread_state, bool killed)
{
	uint32_t p = a_process(e, 4711, "prometheus", 'Z', EVIDENCE_INIT), t;

	e->processes[p].thread_count = 2;
	e->processes[p].has_pidfd = true;
	e->processes[p].ppid = 300;
	t = a_thread(e, p, 4713, thread_state, "nv_wait", STRANGE_STACK);
	e->threads[t].pending = killed ? KILL_BIT : 0;
	e->processes[p].container = a_container(e, "prometheus", "prometheus", "930ca3", NONE);
	e->containers[0].init = p;
	e->containers[0].kernel_state = LEDGER_ZOMBIE_THREADS;
	return t;
}

static void zombie_killed(struct evidence *e, unsigned n)
{
	(void)n;
	(void)zombie_world(e, 'D', true);
}

static void zombie_differs(struct evidence *e, unsigned n)
{
	(void)n;
	(void)zombie_world(e, 'D', true);
	e->containers[0].differs_ns = 3 * NSEC_PER_SEC;
}

static void zombie_under_init(struct evidence *e, unsigned n)
{
	(void)n;
	(void)zombie_world(e, 'D', true);
	e->processes[0].ppid = 1;
}

static void zombie_not_killed(struct evidence *e, unsigned n)
{
	(void)n;
	(void)zombie_world(e, 'D', false);
}

static void zombie_unread(struct evidence *e, unsigned n)
{
	(void)n;
	(void)zombie_world(e, 'D', true);
	e->thread_count = 0;
}

/* main() called pthread_exit(): allowed, and everything works. */
static void leader_left(struct evidence *e, unsigned n)
{
	(void)n;
	(void)zombie_world(e, 'S', false);
	e->threads[0].wchan = "futex_wait_queue";
}

static void ending_process(struct evidence *e, unsigned n)
{
	uint32_t t = zombie_world(e, 'D', true);

	e->threads[t].switches = 100 + n;
}

/* The kernel's own word: it has ended, whatever was read of its threads before. */
static void ended_meanwhile(struct evidence *e, unsigned n)
{
	(void)n;
	(void)zombie_world(e, 'D', true);
	e->processes[0].pidfd_readable = true;
}

static void core_dump(struct evidence *e, unsigned n)
{
	(void)n;
	(void)zombie_world(e, 'D', true);
	e->processes[0].dumping_core = true;
}

static void another_each_time(struct evidence *e, unsigned n)
{
	(void)zombie_world(e, 'D', true);
	e->processes[0].start_ticks = 1000 + n;
}

static void a_zombie_with_a_thread(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, zombie_killed, 0);
	nothing(&b, "an end of this moment");
	assert_true(rules_memory_wants_ns(b.memory) > 0);
	bench_judge(&b, zombie_killed, 1);
	f = only(&b, CAUSE_UNREAPABLE_ZOMBIE_THREAD_STUCK, CONFIDENCE_PROVEN);
	assert_int_equal(f->subject.pid, 4711);
	assert_int_equal(f->subject.tid, 4713);
	assert_string_equal(f->subject.container_id, "930ca3");
	assert_true(says(f, "nv_wait < nv_close"));
	assert_true(says(f, "SIGKILL pending"));
	assert_true(f->avoid_count >= 2);
	assert_non_null(strstr(f->avoid[0], "kill -9 4711"));
	assert_int_equal(f->advice[f->advice_count - 1].risk, RISK_REBOOT);
	bench_done(&b);

	/* The ledgers have differed for a while: suspected at once. */
	bench_judge(&b, zombie_differs, 0);
	(void)only(&b, CAUSE_UNREAPABLE_ZOMBIE_THREAD_STUCK, CONFIDENCE_SUSPECTED);
	bench_judge(&b, zombie_differs, 1);
	(void)only(&b, CAUSE_UNREAPABLE_ZOMBIE_THREAD_STUCK, CONFIDENCE_PROVEN);
	bench_done(&b);

	bench_judge(&b, zombie_under_init, 0);
	bench_judge(&b, zombie_under_init, 1);
	assert_true(
		says(only(&b, CAUSE_UNREAPABLE_ZOMBIE_THREAD_STUCK, CONFIDENCE_PROVEN), "pid 1"));
	bench_done(&b);

	for (unsigned n = 0; n < 4; n++) {
		bench_judge(&b, zombie_not_killed, n);
		nothing(&b, "a wait that may be killable");
	}
	bench_judge(&b, zombie_not_killed, 4);
	(void)only(&b, CAUSE_UNREAPABLE_ZOMBIE_THREAD_STUCK, CONFIDENCE_SUSPECTED);
	bench_done(&b);

	for (unsigned n = 0; n < 4; n++)
		bench_judge(&b, zombie_unread, n);
	f = only(&b, CAUSE_UNREAPABLE_ZOMBIE_THREAD_STUCK, CONFIDENCE_SUSPECTED);
	assert_true(says(f, "not looked at"));
	for (uint32_t i = 0; i < f->advice_count; i++)
		assert_int_equal(f->advice[i].risk, RISK_NONE);
	bench_done(&b);
}

/* ---- ZombieParentStopped ----------------------------------------------------------------- */

static void parent_world(struct evidence *e, char parent_state)
{
	uint32_t c = a_container(e, "web", "app", "abc", NONE);
	uint32_t parent = a_process(e, 80, "sh", parent_state, EVIDENCE_INIT | EVIDENCE_PARENT);
	uint32_t child = a_process(e, 81, "worker", 'Z', EVIDENCE_IN_CONTAINER);

	e->processes[parent].container = e->processes[child].container = c;
	e->processes[child].parent = parent;
	e->processes[child].ppid = 80;
	e->processes[child].has_pidfd = e->processes[child].pidfd_readable = true;
}

static void parent_stopped(struct evidence *e, unsigned n)
{
	(void)n;
	parent_world(e, 'T');
}

static void tracer_stopped(struct evidence *e, unsigned n)
{
	(void)n;
	parent_world(e, 'S');
	e->processes[1].tracer_pid = 500;
	(void)a_process(e, 500, "gdb", 'T', EVIDENCE_TRACER);
}

static void plain_zombie(struct evidence *e, unsigned n)
{
	parent_world(e, 'S');
	if (n > 0)
		e->process_count--; /* reaped */
}

static void zombie_of_a_shell_job(struct evidence *e, unsigned n)
{
	parent_stopped(e, n);
	e->processes[0].container = e->processes[1].container = NONE;
	e->processes[0].roles = e->processes[1].roles = 0;
}

static void a_stopped_parent(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, parent_stopped, 0);
	(void)only(&b, CAUSE_ZOMBIE_PARENT_STOPPED, CONFIDENCE_SUSPECTED);
	bench_judge(&b, parent_stopped, 1);
	f = only(&b, CAUSE_ZOMBIE_PARENT_STOPPED, CONFIDENCE_PROVEN);
	assert_int_equal(f->subject.pid, 80);
	assert_string_equal(f->subject.container_id, "abc");
	assert_true(has_command(f, "kill -CONT 80"));
	assert_string_equal(f->advice[0].command, "kill -CONT 80");
	assert_true(says(f, "/proc/81/status"));
	bench_done(&b);

	bench_judge(&b, tracer_stopped, 0);
	bench_judge(&b, tracer_stopped, 1);
	f = only(&b, CAUSE_ZOMBIE_PARENT_STOPPED, CONFIDENCE_PROVEN);
	assert_int_equal(f->subject.pid, 500);
	bench_done(&b);
}

/* ---- PidNamespaceDying ------------------------------------------------------------------- */

static void namespace_world(struct evidence *e)
{
	uint32_t c = a_container(e, "web", "app", "abc", NONE);
	uint32_t init = a_process(e, 90, "init", 'S', EVIDENCE_INIT | EVIDENCE_NS_INIT), outside,
		 child;

	e->processes[init].has_memory = false;
	e->processes[init].fd_size = 0;
	e->processes[init].pid_namespace = 4026532;
	e->processes[init].ns_level = 2;
	e->processes[init].ns_pid = 1;
	e->processes[init].container = c;
	e->containers[c].init = init;
	(void)a_thread(e, init, 90, 'S', "zap_pid_ns_processes", "zap_pid_ns_processes\ndo_exit\n");
	outside = a_process(e, 700, "nsenter", 'S', EVIDENCE_PARENT);
	child = a_process(e, 701, "sh", 'Z', EVIDENCE_IN_CONTAINER);
	e->processes[child].pid_namespace = 4026532;
	e->processes[child].ns_level = 2;
	e->processes[child].parent = outside;
	e->processes[child].ppid = 700;
}

static void foreign_exec(struct evidence *e, unsigned n)
{
	(void)n;
	namespace_world(e);
}

static void foreign_exec_stopped(struct evidence *e, unsigned n)
{
	(void)n;
	namespace_world(e);
	e->processes[1].state = 'T';
}

static void dying_unread(struct evidence *e, unsigned n)
{
	(void)n;
	namespace_world(e);
	e->thread_count = 0;
}

static void namespace_that_ends(struct evidence *e, unsigned n)
{
	namespace_world(e);
	e->threads[0].switches = 100 + n;
}

static void living_init(struct evidence *e, unsigned n)
{
	(void)n;
	namespace_world(e);
	e->processes[0].has_memory = true;
	e->threads[0].wchan = e->threads[0].stack = "do_wait\n";
	e->process_count = 1;
}

static void living_init_unread(struct evidence *e, unsigned n)
{
	living_init(e, n);
	e->thread_count = 0;
}

static void a_dying_namespace(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, foreign_exec, 0);
	nothing(&b, "an end of this moment");
	bench_judge(&b, foreign_exec, 1);
	f = only(&b, CAUSE_PID_NAMESPACE_DYING, CONFIDENCE_PROVEN);
	assert_non_null(str_after(f->advice[0].command, "kill ")); /* no vague word before it */
	assert_int_equal(f->subject.pid, 90);
	assert_string_equal(f->subject.container_id, "abc");
	assert_true(has_command(f, "kill 700"));
	assert_non_null(strstr(f->summary, "sh (pid 701)"));
	bench_done(&b);

	/* The stopped parent outside is deeper. */
	bench_judge(&b, foreign_exec_stopped, 0);
	bench_judge(&b, foreign_exec_stopped, 1);
	f = only(&b, CAUSE_ZOMBIE_PARENT_STOPPED, CONFIDENCE_PROVEN);
	assert_int_equal(f->subject.pid, 700);
	f = below(f, CAUSE_PID_NAMESPACE_DYING);
	assert_non_null(f);
	assert_int_equal(f->subject.pid, 90);
	bench_done(&b);

	for (unsigned n = 0; n < 4; n++)
		bench_judge(&b, dying_unread, n);
	(void)only(&b, CAUSE_PID_NAMESPACE_DYING, CONFIDENCE_SUSPECTED);
	bench_done(&b);
}

/* ---- MmapLockHeld ------------------------------------------------------------------------ */

static void mmap_world(struct evidence *e)
{
	uint32_t p = a_process(e, 60, "java", 'S', EVIDENCE_INIT);

	an_answer(&e->processes[p].memory, "cmdline", ANSWER_LATE, 1500 * NSEC_PER_MSEC);
	e->processes[p].memory_wchan = "__access_remote_vm";
	e->processes[p].container = a_container(e, "web", "java", "abc", NONE);
	(void)a_thread(e, p, 61, 'D', "__folio_lock",
		"__folio_lock\ninvalidate_inode_pages2_range\nxyz_file_mmap\n__mmap_region\ndo_"
		"mmap\n");
}

static void mmap_held(struct evidence *e, unsigned n)
{
	(void)n;
	mmap_world(e);
}

static void mmap_held_by_nobody_seen(struct evidence *e, unsigned n)
{
	(void)n;
	mmap_world(e);
	e->thread_count = 0;
	evidence_add_gap(e, "kernel stacks", "not permitted", "");
}

static void mmap_quick(struct evidence *e, unsigned n)
{
	(void)n;
	mmap_world(e);
	e->processes[0].memory.age_ns = 300 * NSEC_PER_MSEC;
}

static void a_locked_address_space(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, mmap_held, 0);
	(void)only(&b, CAUSE_MMAP_LOCK_HELD, CONFIDENCE_SUSPECTED);
	bench_judge(&b, mmap_held, 1);
	f = only(&b, CAUSE_MMAP_LOCK_HELD, CONFIDENCE_PROVEN);
	assert_int_equal(f->subject.pid, 60);
	assert_int_equal(f->subject.tid, 61);
	assert_true(says(f, "__access_remote_vm"));
	bench_done(&b);

	for (unsigned n = 0; n < 4; n++)
		bench_judge(&b, mmap_held_by_nobody_seen, n);
	f = only(&b, CAUSE_MMAP_LOCK_HELD, CONFIDENCE_SUSPECTED);
	assert_true(says(f, "not permitted"));
	bench_done(&b);
}

static void what_only_looks_like_it(void **state)
{
	static const struct scenario rows[] = {
		{ "a leader that left by pthread_exit()", leader_left },
		{ "threads that end one after the other", ending_process },
		{ "one that ended meanwhile", ended_meanwhile },
		{ "a core dump", core_dump },
		{ "a pid that came back each time", another_each_time },
		{ "a zombie that is reaped a second later", plain_zombie },
		{ "a suspended job of a shell", zombie_of_a_shell_job },
		{ "a namespace that ends", namespace_that_ends },
		{ "an init that waits for its children", living_init },
		{ "an init of which no stack was read", living_init_unread },
		{ "a read of 0.3 s", mmap_quick },
	};

	(void)state;
	look_alikes(rows, ELEMENTS(rows));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_zombie_with_a_thread),
		cmocka_unit_test(a_stopped_parent),
		cmocka_unit_test(a_dying_namespace),
		cmocka_unit_test(a_locked_address_space),
		cmocka_unit_test(what_only_looks_like_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
