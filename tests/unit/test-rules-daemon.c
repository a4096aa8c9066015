/* Shims and daemons: stopped, dead, deadlocked, a container's lock; a busy node is none of it. */
#include "rules-harness.h"

/* ---- shims ------------------------------------------------------------------------------- */

static void shim_world(struct evidence *e)
{
	uint32_t d = a_daemon(e, DAEMON_CONTAINERD, 20), c = a_container(e, "web", "app", "abc", d),
		 s = a_shim(e, 300, c);
	uint32_t init = a_process(e, 301, "app", 'S', EVIDENCE_INIT);

	(void)s;
	e->processes[init].container = c;
	e->processes[init].ppid = 300;
	e->containers[c].init = init;
}

static void shim_stopped_asked(struct evidence *e, unsigned n)
{
	(void)n;
	shim_world(e);
	e->processes[e->shims[0].process].state = 'T';
	an_answer(&e->shims[0].state, "State", ANSWER_LATE, SECONDS_NS(2));
}

static void shim_stopped_not_asked(struct evidence *e, unsigned n)
{
	(void)n;
	shim_world(e);
	e->processes[e->shims[0].process].state = 'T';
	an_answer(&e->shims[0].state, "State", ANSWER_NOT_ASKED, 0);
}

static void shim_hung(struct evidence *e, unsigned n)
{
	shim_world(e);
	an_answer(&e->shims[0].state, "State", ANSWER_LATE, SECONDS_NS(2 + 2 * n));
}

/* It waits for its containerd, which takes no event of it (of every exec probe there are two). */
static void shim_hung_of_a_stopped_daemon(struct evidence *e, unsigned n)
{
	shim_hung(e, n);
	e->processes[e->daemons[0].process].state = 'T';
	an_answer(&e->daemons[0].version, "Version", ANSWER_LATE, SECONDS_NS(10));
}

static void shim_and_daemon_stopped(struct evidence *e, unsigned n)
{
	shim_hung_of_a_stopped_daemon(e, n);
	e->processes[e->shims[0].process].state = 'T';
}

static void shim_traced(struct evidence *e, unsigned n)
{
	shim_stopped_asked(e, n);
	e->processes[e->shims[0].process].state = 't';
	e->processes[e->shims[0].process].tracer_pid = 999;
}

static void shim_slow(struct evidence *e, unsigned n)
{
	shim_hung(e, 0);
	e->processes[e->shims[0].process].cpu_ticks = 100 * n;
	e->node.has_pressure = true;
	e->node.cpu_some = 95;
}

static void shim_works(struct evidence *e, unsigned n)
{
	shim_slow(e, n);
	e->node.has_pressure = false;
}

static void shim_answers_stopped_before(struct evidence *e, unsigned n)
{
	shim_stopped_asked(e, n);
	an_answer(&e->shims[0].state, "State", ANSWER_OK, 1);
}

static void a_stopped_shim(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, shim_stopped_asked, 0);
	f = only(&b, CAUSE_SHIM_STOPPED, CONFIDENCE_PROVEN);
	assert_int_equal(f->subject.pid, 300);
	assert_string_equal(f->subject.container_id, "abc");
	assert_string_equal(f->advice[0].command, "kill -CONT 300");
	bench_done(&b);

	bench_judge(&b, shim_stopped_not_asked, 0);
	(void)only(&b, CAUSE_SHIM_STOPPED, CONFIDENCE_SUSPECTED);
	bench_judge(&b, shim_stopped_not_asked, 1);
	(void)only(&b, CAUSE_SHIM_STOPPED, CONFIDENCE_PROVEN);
	bench_done(&b);

	bench_judge(&b, shim_hung, 0);
	nothing(&b, "a shim that is late once");
	bench_judge(&b, shim_hung, 1);
	f = only(&b, CAUSE_SHIM_STOPPED, CONFIDENCE_PROVEN);
	assert_string_equal(f->advice[0].command, "pleg doctor --goroutines");
	bench_done(&b);

	for (unsigned n = 0; n < 8; n++)
		bench_judge(&b, shim_hung_of_a_stopped_daemon, n);
	(void)only(&b, CAUSE_CRI_DAEMON_STOPPED, CONFIDENCE_PROVEN);
	bench_done(&b);
	for (unsigned n = 0; n < 2; n++)
		bench_judge(&b, shim_and_daemon_stopped, n);
	assert_int_equal(findings_count(b.out), 2);
	bench_done(&b);

	bench_judge(&b, shim_traced, 0);
	(void)only(&b, CAUSE_SHIM_STOPPED, CONFIDENCE_SUSPECTED);
	bench_judge(&b, shim_traced, 1);
	assert_true(has_command(only(&b, CAUSE_SHIM_STOPPED, CONFIDENCE_PROVEN), "kill 999"));
	bench_done(&b);
}

static void shim_dead(struct evidence *e, unsigned n)
{
	(void)n;
	shim_world(e);
	e->shims[0].process = NONE;
	an_answer(&e->shims[0].state, "State", ANSWER_REFUSED, 1);
}

static void shim_and_init_dead(struct evidence *e, unsigned n)
{
	shim_dead(e, n);
	e->containers[0].kernel_state = LEDGER_GONE;
	e->containers[0].init = NONE;
}

static void shim_not_found(struct evidence *e, unsigned n)
{
	shim_dead(e, n);
	an_answer(&e->shims[0].state, "State", ANSWER_NOT_ASKED, 0);
}

/* What remains of the bundle has no address any more, but the init was taken over by pid 1. */
static void shim_dead_and_sandbox(struct evidence *e, unsigned n)
{
	uint32_t c, p;

	shim_not_found(e, n);
	e->containers[0].sandbox_id = "pod-id";
	c = a_container(e, "web", "", "pod-id", 0);
	e->containers[c].kind = CONTAINER_KIND_SANDBOX;
	(void)a_shim(e, 0, c);
	an_answer(&e->shims[1].state, "State", ANSWER_NOT_ASKED, 0);
	p = a_process(e, 302, "pause", 'S', EVIDENCE_INIT);
	e->processes[p].container = c;
	e->containers[c].init = p;
	for (uint32_t i = 0; i < e->process_count; i++)
		if (e->processes[i].roles & EVIDENCE_INIT)
			e->processes[i].ppid = 1;
}

static void container_that_ends(struct evidence *e, unsigned n)
{
	shim_and_init_dead(e, n);
	if (n > 0)
		e->containers[0].runtime_state = CONTAINER_EXITED;
}

static void a_dead_shim(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, shim_dead, 0);
	f = only(&b, CAUSE_SHIM_DEAD, CONFIDENCE_PROVEN);
	assert_string_equal(f->subject.container_id, "abc");
	assert_int_equal(f->subject.pid, 301);
	assert_true(has_command(f, "crictl rm -f abc"));
	bench_done(&b);

	bench_judge(&b, shim_dead_and_sandbox, 0);
	f = only(&b, CAUSE_SHIM_DEAD, CONFIDENCE_PROVEN);
	assert_int_equal(f->subject.pid, 301);
	assert_true(says(f, "/proc/302/status"));
	bench_done(&b);

	bench_judge(&b, shim_and_init_dead, 0);
	nothing(&b, "a container that ends");
	bench_judge(&b, shim_and_init_dead, 1);
	bench_judge(&b, shim_and_init_dead, 2);
	f = only(&b, CAUSE_SHIM_DEAD, CONFIDENCE_PROVEN);
	/* That its exit got lost is a symptom. */
	assert_non_null(below(f, CAUSE_LOST_EXIT_EVENT));
	bench_done(&b);

	for (unsigned n = 0; n < 5; n++)
		bench_judge(&b, shim_not_found, n);
	(void)only(&b, CAUSE_SHIM_DEAD, CONFIDENCE_SUSPECTED);
	bench_done(&b);
}

/* ---- daemons ----------------------------------------------------------------------------- */

static void socket_gone(struct evidence *e, unsigned n)
{
	uint32_t d = a_daemon(e, DAEMON_CONTAINERD, 0);

	(void)n;
	an_answer(&e->daemons[d].version, "Version", ANSWER_NO_SOCKET, 0);
}

static void socket_left_over(struct evidence *e, unsigned n)
{
	uint32_t d = a_daemon(e, DAEMON_CONTAINERD, 0);

	(void)n;
	an_answer(&e->daemons[d].version, "Version", ANSWER_REFUSED, 0);
}

static void socket_of_a_young_one(struct evidence *e, unsigned n)
{
	uint32_t d = a_daemon(e, DAEMON_CONTAINERD, 20);

	an_answer(&e->daemons[d].version, "Version", ANSWER_NO_SOCKET, 0);
	e->processes[0].age_ns = SECONDS_NS(1 + 2 * n);
}

static void socket_not_ours(struct evidence *e, unsigned n)
{
	socket_gone(e, n);
	e->daemons[0].version.answer = ANSWER_DENIED;
}

static void socket_of_one_that_nobody_uses(struct evidence *e, unsigned n)
{
	socket_gone(e, n);
	e->daemons[0].kind = DAEMON_DOCKERD;
	e->daemons[0].is_runtime = false;
}

static void a_socket_that_is_gone(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, socket_gone, 0);
	f = only(&b, CAUSE_CRI_SOCKET_GONE, CONFIDENCE_PROVEN);
	assert_string_equal(f->subject.mount, "unix:///run/containerd/containerd.sock");
	assert_string_equal(f->advice[0].command, "systemctl start containerd");
	bench_done(&b);
	bench_judge(&b, socket_left_over, 0);
	assert_true(says(only(&b, CAUSE_CRI_SOCKET_GONE, CONFIDENCE_PROVEN), "connection refused"));
	bench_done(&b);
	bench_judge(&b, socket_of_a_young_one, 0);
	(void)only(&b, CAUSE_CRI_SOCKET_GONE, CONFIDENCE_SUSPECTED);
	bench_done(&b);
}

static void daemon_stopped(struct evidence *e, unsigned n)
{
	uint32_t d = a_daemon(e, DAEMON_CONTAINERD, 20), c = a_container(e, "web", "app", "abc", d);

	(void)n;
	e->processes[0].state = 'T';
	an_answer(&e->daemons[d].version, "Version", ANSWER_LATE, SECONDS_NS(2));
	an_answer(&e->daemons[d].list, "List", ANSWER_LATE, SECONDS_NS(2));
	an_answer(&e->containers[c].inspect, "ContainerStatus", ANSWER_LATE, SECONDS_NS(4));
}

static void daemon_stopped_not_asked(struct evidence *e, unsigned n)
{
	daemon_stopped(e, n);
	an_answer(&e->daemons[0].version, "Version", ANSWER_NOT_ASKED, 0);
	an_answer(&e->daemons[0].list, "List", ANSWER_NOT_ASKED, 0);
	an_answer(&e->containers[0].inspect, "ContainerStatus", ANSWER_NOT_ASKED, 0);
}

static void docker_above_stopped(struct evidence *e, unsigned n)
{
	uint32_t d;

	daemon_stopped(e, n);
	d = a_daemon(e, DAEMON_DOCKERD, 30);
	an_answer(&e->daemons[d].list, "GET /containers/json", ANSWER_LATE, SECONDS_NS(3));
}

static void two_stopped(struct evidence *e, unsigned n)
{
	docker_above_stopped(e, n);
	e->processes[e->daemons[1].process].state = 'T';
	an_answer(&e->daemons[1].version, "GET /version", ANSWER_LATE, SECONDS_NS(3));
}

/* A containerd that is k3s's own, as its cgroup tells, and one of which nobody knows who starts it. */
static void k3s_stopped(struct evidence *e, unsigned n)
{
	daemon_stopped(e, n);
	e->daemons[0].endpoint = "unix:///run/k3s/containerd/containerd.sock";
	e->processes[0].cgroup = "/system.slice/k3s.service";
}

static void somebodys_stopped(struct evidence *e, unsigned n)
{
	k3s_stopped(e, n);
	e->daemons[0].endpoint = "unix:///srv/my lab/containerd.sock";
	e->processes[0].cgroup = "/system.slice/cron.service";
}

static void what_docker_started(struct evidence *e, unsigned n)
{
	k3s_stopped(e, n);
	e->processes[0].cgroup = "/system.slice/docker.service/init";
}

static void a_stopped_daemon(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, daemon_stopped, 0);
	f = only(&b, CAUSE_CRI_DAEMON_STOPPED, CONFIDENCE_PROVEN);
	assert_int_equal(f->subject.pid, 20);
	assert_string_equal(f->advice[0].command, "kill -CONT 20");
	assert_int_equal(f->since_ns, REAL_START - (int64_t)SECONDS_NS(2));
	bench_done(&b);

	bench_judge(&b, daemon_stopped_not_asked, 0);
	(void)only(&b, CAUSE_CRI_DAEMON_STOPPED, CONFIDENCE_SUSPECTED);
	bench_judge(&b, daemon_stopped_not_asked, 1);
	(void)only(&b, CAUSE_CRI_DAEMON_STOPPED, CONFIDENCE_PROVEN);
	bench_done(&b);

	bench_judge(&b, docker_above_stopped, 0);
	f = only(&b, CAUSE_CRI_DAEMON_STOPPED, CONFIDENCE_PROVEN);
	assert_int_equal(f->subject.pid, 20);
	assert_true(says(f, "GET /containers/json of dockerd"));
	bench_done(&b);

	bench_judge(&b, two_stopped, 0);
	assert_int_equal(findings_count(b.out), 2);
	assert_int_equal(findings_get(b.out, 0)->cause, CAUSE_CRI_DAEMON_STOPPED);
	assert_int_equal(findings_get(b.out, 1)->cause, CAUSE_CRI_DAEMON_STOPPED);
	bench_done(&b);
}

static void asleep(struct evidence *e, uint32_t daemon)
{
	e->daemons[daemon].posture = (struct evidence_posture){
		.is_known = true, .threads = 12, .waiting = 12, .where = ""
	};
}

static void daemon_silent(struct evidence *e, unsigned n)
{
	uint32_t d = a_daemon(e, DAEMON_CONTAINERD, 20);

	an_answer(&e->daemons[d].list, "List", ANSWER_LATE, SECONDS_NS(3 + 2 * n));
	asleep(e, d);
}

static void daemon_silent_unread(struct evidence *e, unsigned n)
{
	daemon_silent(e, n);
	e->daemons[0].posture =
		(struct evidence_posture){ .where = "", .threads = 3, .waiting = 3 };
}

static void daemon_silent_elsewhere(struct evidence *e, unsigned n)
{
	daemon_silent(e, n);
	e->daemons[0].posture.waiting--;
	e->daemons[0].posture.elsewhere++;
	e->daemons[0].posture.where = "pipe_read";
}

/* It wakes up between the samples and works a little. */
static void daemon_silent_ticking(struct evidence *e, unsigned n)
{
	daemon_silent(e, n);
	e->processes[0].cpu_ticks = 1000 + 10 * n;
}

/* Its leader sleeps, and another thread is in the kernel for a disk. */
static void daemon_waits_for_a_disk(struct evidence *e, unsigned n)
{
	daemon_silent(e, 0);
	(void)n;
	e->daemons[0].posture.waiting--;
	e->daemons[0].posture.stuck++;
	e->daemons[0].posture.where = "folio_wait_bit_common";
}

static void a_thread_of_it_runs(struct evidence *e, unsigned n)
{
	daemon_silent(e, 0);
	(void)n;
	e->daemons[0].posture.waiting--;
	e->daemons[0].posture.running++;
}

static void daemon_silent_unknown(struct evidence *e, unsigned n)
{
	daemon_silent(e, n);
	e->daemons[0].process = NONE;
	e->process_count = 0;
}

static void daemon_works(struct evidence *e, unsigned n)
{
	daemon_silent(e, 0);
	e->processes[0].cpu_ticks = 1000 + 150 * n;
	e->processes[0].state = 'R';
}

static void daemon_starved(struct evidence *e, unsigned n)
{
	daemon_silent(e, 0);
	e->node.has_pressure = true;
	e->node.cpu_some = 90;
	(void)n;
}

static void tasks_wait_for_a_shim(struct evidence *e, unsigned n)
{
	shim_stopped_asked(e, n);
	an_answer(&e->daemons[0].tasks, "Tasks", ANSWER_LATE, SECONDS_NS(4));
}

static void somebodys_silent(struct evidence *e, unsigned n)
{
	daemon_silent(e, n);
	e->daemons[0].endpoint = "unix:///srv/my lab/containerd.sock";
}

static void whom_a_command_reaches(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, daemon_stopped, 0);
	f = only(&b, CAUSE_CRI_DAEMON_STOPPED, CONFIDENCE_PROVEN);
	assert_true(has_command(f, "systemctl restart containerd"));
	bench_done(&b);
	bench_judge(&b, k3s_stopped, 0);
	f = only(&b, CAUSE_CRI_DAEMON_STOPPED, CONFIDENCE_PROVEN);
	assert_true(has_command(f, "systemctl restart k3s"));
	assert_null(strstr(f->advice[1].risk_text, "live-restore"));
	bench_done(&b);
	bench_judge(&b, what_docker_started, 0);
	f = only(&b, CAUSE_CRI_DAEMON_STOPPED, CONFIDENCE_PROVEN);
	assert_true(has_command(f, "systemctl restart docker"));
	assert_non_null(strstr(f->advice[1].risk_text, "live-restore"));
	bench_done(&b);
	bench_judge(&b, somebodys_stopped, 0);
	f = only(&b, CAUSE_CRI_DAEMON_STOPPED, CONFIDENCE_PROVEN);
	assert_string_equal(f->advice[1].command, "");
	bench_done(&b);

	for (unsigned n = 0; n < 3; n++)
		bench_judge(&b, somebodys_silent, n);
	f = only(&b, CAUSE_CRI_DAEMON_DEADLOCK, CONFIDENCE_PROVEN);
	assert_string_equal(f->advice[0].command,
		"pleg doctor --goroutines --runtime 'unix:///srv/my lab/containerd.sock'");
	bench_done(&b);
}

static void a_deadlocked_daemon(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, daemon_silent, 0);
	nothing(&b, "a daemon that is late once");
	assert_true(rules_memory_wants_ns(b.memory) > 0);
	bench_judge(&b, daemon_silent, 1);
	(void)only(&b, CAUSE_CRI_DAEMON_DEADLOCK, CONFIDENCE_SUSPECTED);
	bench_judge(&b, daemon_silent, 2);
	f = only(&b, CAUSE_CRI_DAEMON_DEADLOCK, CONFIDENCE_PROVEN);
	assert_int_equal(f->subject.pid, 20);
	assert_true(says(f, "next to none"));
	assert_true(says(f, "12: 12 wait for a lock"));
	assert_string_equal(f->advice[0].command, "pleg doctor --goroutines");
	bench_done(&b);

	for (unsigned n = 0; n < 5; n++)
		bench_judge(&b, daemon_silent_unknown, n);
	f = only(&b, CAUSE_CRI_DAEMON_DEADLOCK, CONFIDENCE_SUSPECTED);
	assert_true(says(f, "not looked at"));
	bench_done(&b);

	for (unsigned n = 0; n < 5; n++)
		bench_judge(&b, daemon_silent_unread, n);
	f = only(&b, CAUSE_CRI_DAEMON_DEADLOCK, CONFIDENCE_SUSPECTED);
	assert_true(says(f, "may wait for a disk"));
	bench_done(&b);
	for (unsigned n = 0; n < 5; n++)
		bench_judge(&b, daemon_silent_elsewhere, n);
	f = only(&b, CAUSE_CRI_DAEMON_DEADLOCK, CONFIDENCE_SUSPECTED);
	assert_true(says(f, "pipe_read"));
	bench_done(&b);
	for (unsigned n = 0; n < 5; n++)
		bench_judge(&b, daemon_silent_ticking, n);
	(void)only(&b, CAUSE_CRI_DAEMON_DEADLOCK, CONFIDENCE_SUSPECTED);
	bench_done(&b);

	/* In the kernel for long: it hangs, and is not deadlocked. */
	for (unsigned n = 0; n < 5; n++)
		bench_judge(&b, daemon_waits_for_a_disk, n);
	f = only(&b, CAUSE_UNKNOWN_BUT_HUNG, CONFIDENCE_PROVEN);
	assert_true(says(f, "1 are in D"));
	bench_done(&b);
	for (unsigned n = 0; n < 5; n++)
		bench_judge(&b, a_thread_of_it_runs, n);
	(void)only(&b, CAUSE_UNKNOWN_BUT_HUNG, CONFIDENCE_PROVEN);
	bench_done(&b);

	/* A list that waits for a stopped shim is the shim's. */
	bench_judge(&b, tasks_wait_for_a_shim, 0);
	f = only(&b, CAUSE_SHIM_STOPPED, CONFIDENCE_PROVEN);
	assert_true(says(f, "Tasks of containerd"));
	bench_done(&b);
}

static void lock_world(struct evidence *e, unsigned n)
{
	uint32_t d = a_daemon(e, DAEMON_DOCKERD, 30);

	(void)a_container(e, "", "good", "111", d);
	(void)a_container(e, "", "bad", "222", d);
	(void)a_container(e, "", "fine", "333", d);
	an_answer(&e->containers[1].inspect, "GET /containers/222/json", ANSWER_LATE,
		SECONDS_NS(3 + 2 * n));
}

static void lock_of_all(struct evidence *e, unsigned n)
{
	lock_world(e, n);
	for (uint32_t i = 0; i < 3; i++)
		an_answer(
			&e->containers[i].inspect, "GET json", ANSWER_LATE, SECONDS_NS(3 + 2 * n));
	an_answer(&e->daemons[0].list, "GET /containers/json", ANSWER_LATE, SECONDS_NS(3 + 2 * n));
	asleep(e, 0);
}

static void lock_and_list(struct evidence *e, unsigned n)
{
	lock_world(e, n);
	an_answer(&e->daemons[0].list, "GET /containers/json", ANSWER_LATE, SECONDS_NS(3 + 2 * n));
}

/* As an agent has it, which knows of the calls that are open and of no others. */
static void two_locks(struct evidence *e, unsigned n)
{
	lock_world(e, n);
	an_answer(&e->containers[0].inspect, "ContainerStatus", ANSWER_LATE, SECONDS_NS(3 + 2 * n));
	e->containers[2].inspect.answer = ANSWER_NOT_ASKED;
	e->daemons[0].list.answer = ANSWER_NOT_ASKED;
}

static void two_locks_and_no_other_word(struct evidence *e, unsigned n)
{
	two_locks(e, n);
	e->daemons[0].version.answer = ANSWER_NOT_ASKED;
	e->daemons[0].tasks.answer = ANSWER_NOT_ASKED;
}

static void lock_of_a_start(struct evidence *e, unsigned n)
{
	lock_world(e, 0);
	e->processes[0].cpu_ticks = 1000 + 100 * n;
}

static void a_container_lock(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, lock_world, 0);
	nothing(&b, "a container that may be starting");
	bench_judge(&b, lock_world, 1);
	f = only(&b, CAUSE_DOCKER_CONTAINER_LOCK_HELD, CONFIDENCE_PROVEN);
	assert_string_equal(f->subject.container_id, "222");
	assert_true(says(f, "1 of 3 hang"));
	bench_done(&b);

	/* A list that waits for the same lock is a symptom; where all hang it is the daemon. */
	bench_judge(&b, lock_and_list, 0);
	bench_judge(&b, lock_and_list, 1);
	(void)only(&b, CAUSE_DOCKER_CONTAINER_LOCK_HELD, CONFIDENCE_PROVEN);
	bench_done(&b);
	/* Each that is known to be asked hangs, but the daemon answers: two containers are locked. */
	bench_judge(&b, two_locks, 0);
	bench_judge(&b, two_locks, 1);
	assert_int_equal(findings_count(b.out), 2);
	for (uint32_t i = 0; i < 2; i++) {
		f = findings_get(b.out, i);
		assert_int_equal(f->cause, CAUSE_DOCKER_CONTAINER_LOCK_HELD);
		assert_int_equal(f->confidence, CONFIDENCE_PROVEN);
		assert_true(says(f, "2 of 2 hang"));
		assert_null(strstr(f->summary, "others answer"));
	}
	bench_done(&b);
	for (unsigned n = 0; n < 4; n++)
		bench_judge(&b, two_locks_and_no_other_word, n);
	assert_int_equal(findings_count(b.out), 2);
	f = findings_get(b.out, 0);
	assert_int_equal(f->cause, CAUSE_DOCKER_CONTAINER_LOCK_HELD);
	assert_int_equal(f->confidence, CONFIDENCE_SUSPECTED);
	bench_done(&b);

	for (unsigned n = 0; n < 3; n++)
		bench_judge(&b, lock_of_all, n);
	(void)only(&b, CAUSE_CRI_DAEMON_DEADLOCK, CONFIDENCE_PROVEN);
	bench_done(&b);
}

/* ---- UnknownButHung ---------------------------------------------------------------------- */

static void inspect_hangs(struct evidence *e, unsigned n)
{
	uint32_t d = a_daemon(e, DAEMON_CONTAINERD, 20), c = a_container(e, "web", "app", "abc", d);

	an_answer(&e->containers[c].inspect, "ContainerStatus", ANSWER_LATE, SECONDS_NS(3 + 2 * n));
}

static void thread_does_not_die(struct evidence *e, unsigned n)
{
	uint32_t p = a_process(e, 55, "qemu", 'D', EVIDENCE_STUCK),
		 t = a_thread(e, p, 55, 'D', "rpc_wait_bit", "nfs_wait_on_request\n");

	(void)n;
	e->threads[t].pending = KILL_BIT;
}

static void kubelet_stopped(struct evidence *e, unsigned n)
{
	uint32_t d = a_daemon(e, DAEMON_KUBELET, 40);

	e->processes[0].state = 'T';
	an_answer(&e->daemons[d].version, "GET /healthz", ANSWER_LATE, SECONDS_NS(3 + 2 * n));
}

static void inspect_slow_on_a_busy_node(struct evidence *e, unsigned n)
{
	inspect_hangs(e, 0);
	(void)n;
	e->node.has_pressure = true;
	e->node.io_full = 80;
}

static void shim_of_garbage(struct evidence *e, unsigned n)
{
	(void)n;
	shim_world(e);
	an_answer(&e->shims[0].state, "State", ANSWER_GARBAGE, NSEC_PER_MSEC);
	e->shims[0].state.message = "It does not speak ttrpc";
}

static void shim_of_garbage_and_a_late_inspection(struct evidence *e, unsigned n)
{
	shim_of_garbage(e, n);
	an_answer(&e->containers[0].inspect, "ContainerStatus", ANSWER_LATE, SECONDS_NS(3 + 2 * n));
}

static void shim_of_another_api(struct evidence *e, unsigned n)
{
	(void)n;
	shim_world(e);
	an_answer(&e->shims[0].state, "State", ANSWER_ERROR, NSEC_PER_MSEC);
	e->shims[0].state.message = "service containerd.task.v2.Task: unimplemented";
}

static void shim_that_lost_one(struct evidence *e, unsigned n)
{
	shim_world(e);
	an_answer(&e->shims[0].state, "State", n % 2 ? ANSWER_ERROR : ANSWER_OK, NSEC_PER_MSEC);
}

static void daemon_of_errors(struct evidence *e, unsigned n)
{
	uint32_t d = a_daemon(e, DAEMON_DOCKERD, 30);

	(void)n;
	an_answer(&e->daemons[d].list, "list", ANSWER_ERROR, NSEC_PER_MSEC);
	e->daemons[d].list.message = "500 Internal Server Error";
}

/* A stopped shim explains whatever comes from its socket. */
static void stopped_shim_with_an_error(struct evidence *e, unsigned n)
{
	shim_stopped_asked(e, n);
	an_answer(&e->shims[0].state, "State", n == 0 ? ANSWER_LATE : ANSWER_ERROR, SECONDS_NS(2));
}

static void thread_on_its_way_out(struct evidence *e, unsigned n)
{
	thread_does_not_die(e, n);
	e->threads[0].switches = n;
}

static void what_nobody_explains(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, inspect_hangs, 0);
	nothing(&b, "an inspection that is late once");
	assert_true(rules_memory_wants_ns(b.memory) > 0);
	bench_judge(&b, inspect_hangs, 1);
	f = only(&b, CAUSE_UNKNOWN_BUT_HUNG, CONFIDENCE_PROVEN);
	assert_string_equal(f->subject.container_id, "abc");
	bench_done(&b);

	bench_judge(&b, thread_does_not_die, 0);
	nothing(&b, "a thread on its way out");
	bench_judge(&b, thread_does_not_die, 1);
	f = only(&b, CAUSE_UNKNOWN_BUT_HUNG, CONFIDENCE_PROVEN);
	assert_int_equal(f->subject.tid, 55);
	assert_true(says(f, "nfs_wait_on_request"));
	assert_true(has_command(f, "head -n 50 /proc/55/task/*/stack"));
	bench_done(&b);

	bench_judge(&b, kubelet_stopped, 0);
	bench_judge(&b, kubelet_stopped, 1);
	f = only(&b, CAUSE_UNKNOWN_BUT_HUNG, CONFIDENCE_PROVEN);
	assert_true(has_command(f, "kill -CONT 40"));
	bench_done(&b);
}

static void what_answers_wrongly(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, shim_of_garbage, 0);
	nothing(&b, "an answer of a moment");
	assert_true(rules_memory_wants_ns(b.memory) > 0);
	for (unsigned n = 1; n < 5; n++)
		bench_judge(&b, shim_of_garbage, n);
	f = only(&b, CAUSE_UNKNOWN_BUT_HUNG, CONFIDENCE_SUSPECTED);
	assert_int_equal(f->severity, SEVERITY_WARNING);
	assert_int_equal(f->subject.pid, 300);
	assert_string_equal(f->subject.container_id, "abc");
	assert_non_null(strstr(f->summary, "what is not of its protocol"));
	assert_true(says(f, "It does not speak ttrpc"));
	assert_true(has_command(f, "ss -xlp | grep -F -- /run/containerd/s/abc"));
	bench_done(&b);

	bench_judge(&b, shim_of_garbage_and_a_late_inspection, 0);
	bench_judge(&b, shim_of_garbage_and_a_late_inspection, 1);
	f = only(&b, CAUSE_UNKNOWN_BUT_HUNG, CONFIDENCE_SUSPECTED);
	assert_int_equal(f->subject.pid, 300);
	assert_true(says(f, "ContainerStatus of containerd"));
	bench_done(&b);

	bench_judge(&b, daemon_of_errors, 0);
	bench_judge(&b, daemon_of_errors, 1);
	f = only(&b, CAUSE_UNKNOWN_BUT_HUNG, CONFIDENCE_SUSPECTED);
	assert_int_equal(f->subject.pid, 30);
	assert_true(says(f, "500 Internal Server Error"));
	bench_done(&b);

	bench_judge(&b, stopped_shim_with_an_error, 0);
	bench_judge(&b, stopped_shim_with_an_error, 1);
	(void)only(&b, CAUSE_SHIM_STOPPED, CONFIDENCE_PROVEN);
	bench_done(&b);
}

/* The kernel's own detector has said so, twice, and of another thread. */
static void thread_that_the_kernel_told_of(struct evidence *e, unsigned n)
{
	static const struct evidence_hung lines[] = {
		{ "qemu", 55, 120, SECONDS_NS(300), 0 },
		{ "qemu", 55, 241, SECONDS_NS(180), 0 },
		{ "other", 56, 500, SECONDS_NS(1), NONE },
	};

	thread_does_not_die(e, n);
	for (size_t i = 0; i < ELEMENTS(lines); i++) {
		uint32_t at = evidence_add_hung(e);

		e->hungs[at] = lines[i];
	}
}

static void what_the_kernel_told(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, thread_that_the_kernel_told_of, 0);
	bench_judge(&b, thread_that_the_kernel_told_of, 1);
	f = only(&b, CAUSE_UNKNOWN_BUT_HUNG, CONFIDENCE_PROVEN);
	assert_true(says(f, "blocked for more than 241 s, said the kernel 3m00s ago"));
	assert_false(says(f, "blocked for more than 120 s"));
	assert_false(says(f, "blocked for more than 500 s"));
	bench_done(&b);
}

static void all_is_well(struct evidence *e, unsigned n)
{
	(void)n;
	shim_world(e);
}

static void what_only_looks_like_it(void **state)
{
	static const struct scenario rows[] = {
		{ "a shim on a busy node", shim_slow },
		{ "a shim that works", shim_works },
		{ "a shim that answered", shim_answers_stopped_before },
		{ "a container that ends", container_that_ends },
		{ "a socket that we may not use", socket_not_ours },
		{ "a daemon that nobody uses", socket_of_one_that_nobody_uses },
		{ "a daemon that works", daemon_works },
		{ "a daemon that is starved", daemon_starved },
		{ "a slow inspection on a busy node", inspect_slow_on_a_busy_node },
		{ "containers that are started", lock_of_a_start },
		{ "a thread on its way out", thread_on_its_way_out },
		{ "a shim of another API", shim_of_another_api },
		{ "a shim that lost a connection", shim_that_lost_one },
		{ "all is well", all_is_well },
	};

	(void)state;
	look_alikes(rows, ELEMENTS(rows));
}

/* A look that ends says what it would else have waited for. */
static void the_last_word(void **state)
{
	static const struct {
		make_fn *make;
		enum cause cause;
	} rows[] = {
		{ shim_slow, CAUSE_SHIM_STOPPED },
		{ daemon_starved, CAUSE_CRI_DAEMON_DEADLOCK },
		{ daemon_works, CAUSE_UNKNOWN_BUT_HUNG },
		{ lock_of_a_start, CAUSE_DOCKER_CONTAINER_LOCK_HELD },
		{ inspect_slow_on_a_busy_node, CAUSE_UNKNOWN_BUT_HUNG },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct bench b = { 0 };

		bench_judge(&b, rows[i].make, 0);
		nothing(&b, "silence in one sample");
		rules_memory_set_last(b.memory, true);
		bench_judge(&b, rows[i].make, 1);
		(void)only(&b, rows[i].cause, CONFIDENCE_SUSPECTED);
		rules_memory_set_last(b.memory, false);
		bench_judge(&b, rows[i].make, 1);
		nothing(&b, "silence that is waited for");
		assert_true(rules_memory_wants_ns(b.memory) > 0);
		bench_done(&b);
		b.memory = rules_memory_new();
		assert_non_null(b.memory);
		rules_memory_set_last(b.memory, true);
		bench_judge(&b, rows[i].make, 0);
		nothing(&b, "silence in the only sample");
		bench_judge(&b, all_is_well, 1);
		nothing(&b, "silence that ended");
		bench_done(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_stopped_shim),
		cmocka_unit_test(a_dead_shim),
		cmocka_unit_test(a_socket_that_is_gone),
		cmocka_unit_test(a_stopped_daemon),
		cmocka_unit_test(whom_a_command_reaches),
		cmocka_unit_test(a_deadlocked_daemon),
		cmocka_unit_test(a_container_lock),
		cmocka_unit_test(what_nobody_explains),
		cmocka_unit_test(what_answers_wrongly),
		cmocka_unit_test(what_the_kernel_told),
		cmocka_unit_test(what_only_looks_like_it),
		cmocka_unit_test(the_last_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
