/*
 * Workloads, and the rules together: which cause is on top when one explains another, causes side by
 * side, random evidence, large evidence, memory that is out.
 */
#include "rules-harness.h"

#include <time.h>

#include "base/fault.h"

#define SECONDS_NS(n) ((n)*NSEC_PER_SEC)

static unsigned fault_at, fault_seen; /* which allocation fails; 0: none */

bool fault_hit(enum fault_point point)
{
	return point == FAULT_ALLOC && fault_at > 0 && ++fault_seen == fault_at;
}

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

/* ---- together ---------------------------------------------------------------------------- */

/* The founding incident: a thread hangs in FUSE, its leader is a zombie, the shim is well, dockerd holds
 * the container's lock, the volume is busy and the next incarnation crashes. */
static void founding(struct evidence *e, unsigned n)
{
	uint32_t d = a_daemon(e, DAEMON_DOCKERD, 30), c, old, victim, t, m, server;

	old = a_container(e, "prometheus", "sidecar", "0ld", d);
	c = a_container(e, "prometheus", "sidecar", "n3w", d);
	e->containers[c].attempt = 4;
	e->containers[c].recent_exits = 5;
	e->containers[c].same_exit_code = true;
	(void)a_shim(e, 300, old);
	server = a_process(e, 812, "stuckfs", 'S', EVIDENCE_FUSE_SERVER);
	victim = a_process(e, 4711, "prometheus", 'Z', EVIDENCE_INIT);
	e->processes[victim].thread_count = 2;
	e->processes[victim].container = old;
	e->containers[old].init = victim;
	e->containers[old].kernel_state = LEDGER_ZOMBIE_THREADS;
	e->containers[old].differs_ns = SECONDS_NS(5);
	an_answer(&e->containers[old].inspect, "GET json", ANSWER_LATE, SECONDS_NS(4 + 2 * n));
	m = a_mount(e, "fuse.stuckfs", "/data", 0, 39);
	(void)a_fuse(e, m, server, 1);
	t = a_thread(e, victim, 4713, 'D', "request_wait_answer",
		"request_wait_answer\nfuse_file_read_iter\n");
	e->threads[t].mount = m;
	e->threads[t].pending = KILL_BIT;
	t = evidence_add_busy(e);
	e->busies[t].path = "/data";
	e->busies[t].message = "device or resource busy";
	e->busies[t].mount = m;
	e->busies[t].container = old;
}

static void founding_and_shim_killed(struct evidence *e, unsigned n)
{
	founding(e, n);
	e->shims[0].process = NONE;
	an_answer(&e->shims[0].state, "State", ANSWER_REFUSED, 1);
	e->processes[e->containers[0].init].ppid = 1;
}

static void the_founding_incident(void **state)
{
	struct bench b = { 0 };
	const struct finding *f, *zombie;

	(void)state;
	bench_judge(&b, founding, 0);
	(void)only(&b, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_SUSPECTED);
	bench_judge(&b, founding, 1);
	f = only(&b, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_PROVEN);
	assert_int_equal(f->subject.tid, 4713);
	zombie = below(f, CAUSE_UNREAPABLE_ZOMBIE_THREAD_STUCK);
	assert_non_null(zombie);
	assert_int_equal(zombie->subject.pid, 4711);
	assert_int_equal(zombie->confidence, CONFIDENCE_PROVEN);
	assert_non_null(below(f, CAUSE_DOCKER_CONTAINER_LOCK_HELD));
	assert_non_null(below(f, CAUSE_CONTAINER_CRASH_LOOP));
	assert_non_null(below(f, CAUSE_MOUNT_LEAK_BUSY));
	assert_null(below(f, CAUSE_SHIM_DEAD));
	bench_done(&b);

	bench_judge(&b, founding_and_shim_killed, 0);
	bench_judge(&b, founding_and_shim_killed, 1);
	f = only(&b, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_PROVEN);
	assert_non_null(below(f, CAUSE_SHIM_DEAD));
	bench_done(&b);
}

/* A hung FUSE read holds a page, its mmap() holds the lock, ps hangs. */
static void fuse_and_mmap(struct evidence *e, unsigned n)
{
	uint32_t p = a_process(e, 60, "holder", 'S', EVIDENCE_INIT),
		 m = a_mount(e, "fuse.stuckfs", "/data", 0, 39), t;

	(void)n;
	(void)a_fuse(e, m, a_process(e, 812, "stuckfs", 'S', EVIDENCE_FUSE_SERVER), 1);
	t = a_thread(e, p, 61, 'D', "__folio_lock",
		"__folio_lock\ninvalidate_inode_pages2_range\nfuse_file_mmap\n__mmap_region\ndo_"
		"mmap\n");
	e->threads[t].mount = m;
	an_answer(&e->processes[p].memory, "cmdline", ANSWER_LATE, SECONDS_NS(2));
	e->processes[p].memory_wchan = "__access_remote_vm";
}

/* A shim is stopped and elsewhere a filesystem is frozen. */
static void two_causes(struct evidence *e, unsigned n)
{
	uint32_t d = a_daemon(e, DAEMON_CONTAINERD, 20), c = a_container(e, "web", "app", "abc", d),
		 s = a_shim(e, 300, c), t;
	uint32_t m = a_mount(e, "ext4", "/mnt", 7, 0),
		 p = a_process(e, 50, "writer", 'D', EVIDENCE_INIT);

	(void)n;
	e->processes[e->shims[s].process].state = 'T';
	an_answer(&e->shims[s].state, "State", ANSWER_LATE, SECONDS_NS(2));
	t = a_thread(e, p, 50, 'D', "percpu_rwsem_wait", "percpu_rwsem_wait\nmnt_want_write\n");
	e->threads[t].mount = m;
	an_answer(&e->containers[c].inspect, "ContainerStatus", ANSWER_LATE, SECONDS_NS(4));
}

/* Its FUSE server is frozen, with the container that it is in. */
static void frozen_fuse_server(struct evidence *e, unsigned n)
{
	uint32_t d = a_daemon(e, DAEMON_CONTAINERD, 20),
		 c = a_container(e, "csi", "driver", "abc", d), z = evidence_add_freezer(e);
	uint32_t server = a_process(e, 812, "stuckfs", 'D', EVIDENCE_FUSE_SERVER),
		 victim = a_process(e, 60, "reader", 'S', EVIDENCE_INIT), m, t;

	(void)n;
	e->freezers[z].path = "/kubepods/abc";
	e->freezers[z].self = true;
	e->freezers[z].container = c;
	e->containers[c].pause = PAUSE_NO;
	e->processes[server].container = c;
	e->processes[server].freezer = z;
	m = a_mount(e, "fuse.stuckfs", "/data", 0, 39);
	(void)a_fuse(e, m, server, 1);
	t = a_thread(e, victim, 60, 'S', "request_wait_answer", "request_wait_answer\n");
	e->threads[t].mount = m;
}

static void the_deepest_is_on_top(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	for (unsigned n = 0; n < 5; n++)
		bench_judge(&b, fuse_and_mmap, n);
	f = only(&b, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_PROVEN);
	f = below(f, CAUSE_MMAP_LOCK_HELD);
	assert_non_null(f);
	assert_int_equal(f->subject.tid, 61);
	bench_done(&b);

	bench_judge(&b, two_causes, 0);
	bench_judge(&b, two_causes, 1);
	assert_int_equal(findings_count(b.out), 2);
	f = top(&b, CAUSE_SHIM_STOPPED);
	assert_non_null(f);
	assert_true(says(f, "ContainerStatus"));
	f = top(&b, CAUSE_FILESYSTEM_FROZEN);
	assert_non_null(f);
	assert_int_equal(f->symptom_count, 0);
	bench_done(&b);

	bench_judge(&b, frozen_fuse_server, 0);
	bench_judge(&b, frozen_fuse_server, 1);
	f = only(&b, CAUSE_RUNC_INIT_FROZEN, CONFIDENCE_PROVEN);
	assert_non_null(below(f, CAUSE_FUSE_SERVER_HUNG));
	bench_done(&b);
}

/* An earlier sample that the memory did not see counts as well; one that goes back in time does not. */
static void the_sample_before(void **state)
{
	struct bench b = { 0 };
	struct evidence *before, *now;
	struct findings *out = findings_new();

	(void)state;
	bench_judge(&b, founding, 0);
	before = b.e;
	b.e = NULL;
	bench_judge(&b, founding, 1);
	now = b.e;
	(void)rules_memory_free(b.memory);
	b.memory = rules_memory_new();
	ASSERT_OK(doctor_judge(before, now, b.memory, out));
	assert_int_equal(findings_get(out, 0)->confidence, CONFIDENCE_PROVEN);
	(void)findings_free(out);
	out = findings_new();
	ASSERT_OK(doctor_judge(NULL, before, b.memory, out));
	assert_int_equal(findings_get(out, 0)->confidence, CONFIDENCE_SUSPECTED);
	(void)findings_free(out);
	(void)evidence_free(before);
	bench_done(&b);
}

/* ---- the API server's word --------------------------------------------------------------- */

static void deleted_pod(struct evidence *e, unsigned n)
{
	uint32_t d = a_daemon(e, DAEMON_CONTAINERD, 20), s = a_container(e, "web", "", "box", d),
		 c = a_container(e, "web", "app", "abc", d);

	(void)n;
	e->containers[s].kind = CONTAINER_KIND_SANDBOX;
	e->containers[c].sandbox_id = "box";
	e->containers[c].owner = e->containers[s].owner = "Deployment/web";
	e->containers[c].api = EVIDENCE_API_DELETED;
	e->containers[c].api_differs_ns = SECONDS_NS(40 + 2 * n);
	e->containers[c].api_says = "deleted; as of 3s ago";
}

static void overdue_pod(struct evidence *e, unsigned n)
{
	deleted_pod(e, n);
	e->containers[1].api = EVIDENCE_API_OVERDUE;
}

static void unknown_pod(struct evidence *e, unsigned n)
{
	deleted_pod(e, n);
	e->containers[1].api = EVIDENCE_API_UNKNOWN;
}

/* What keeps it is its shim. */
static void deleted_pod_of_a_stopped_shim(struct evidence *e, unsigned n)
{
	uint32_t s;

	deleted_pod(e, n);
	s = a_shim(e, 30, 1);
	e->processes[e->shims[s].process].state = 'T';
	an_answer(&e->shims[s].state, "State", ANSWER_LATE, SECONDS_NS(2));
}

static void a_deleted_pod(void **state)
{
	static const struct {
		make_fn *make;
		const char *words;
	} rows[] = {
		{ deleted_pod,
			"Pod demo/web (Deployment/web) was deleted from the API server 40s ago" },
		{ overdue_pod,
			"Pod demo/web (Deployment/web) was to end 40s ago, its grace is over" },
		{ unknown_pod,
			"Pod demo/web (Deployment/web) runs, and the API server has had no such" },
	};
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		bench_judge(&b, rows[i].make, 0);
		f = only(&b, CAUSE_DELETED_POD_REMAINS, CONFIDENCE_PROVEN);
		assert_non_null(strstr(f->summary, rows[i].words));
		assert_string_equal(f->subject.owner, "Deployment/web");
		assert_string_equal(f->subject.container_id, "abc");
		assert_true(has_command(f, "crictl stopp box; crictl rmp box"));
		assert_int_equal(f->avoid_count, 1);
		bench_done(&b);
	}
	bench_judge(&b, deleted_pod_of_a_stopped_shim, 0);
	bench_judge(&b, deleted_pod_of_a_stopped_shim, 1);
	f = only(&b, CAUSE_SHIM_STOPPED, CONFIDENCE_PROVEN);
	assert_string_equal(f->subject.owner, "Deployment/web");
	assert_non_null(below(f, CAUSE_DELETED_POD_REMAINS));
	bench_done(&b);
}

static void status_stale(struct evidence *e, unsigned n)
{
	deleted_pod(e, n);
	e->containers[1].runtime_state = CONTAINER_EXITED;
	e->containers[1].kernel_state = LEDGER_GONE;
	e->containers[1].api = EVIDENCE_API_RUNS;
	e->containers[1].api_says = "running; as of 3s ago";
}

/* The runtime does not know it either: that is why. */
static void status_stale_exit_lost(struct evidence *e, unsigned n)
{
	status_stale(e, n);
	e->containers[1].runtime_state = CONTAINER_RUNNING;
}

static void a_stale_status(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, status_stale, 0);
	f = only(&b, CAUSE_POD_STATUS_STALE, CONFIDENCE_PROVEN);
	assert_string_equal(f->subject.container_id, "abc");
	assert_non_null(strstr(f->summary, "demo/web/app is dead, and the API server"));
	bench_done(&b);

	for (unsigned n = 0; n < 4; n++)
		bench_judge(&b, status_stale_exit_lost, n);
	f = only(&b, CAUSE_LOST_EXIT_EVENT, CONFIDENCE_PROVEN);
	assert_non_null(below(f, CAUSE_POD_STATUS_STALE));
	bench_done(&b);
}

/* ---- too many containers ----------------------------------------------------------------- */

static uint64_t predicted_ms, serial_ms;
static bool beside_kubelet, through_docker;

static void predicted(struct evidence *e, unsigned n)
{
	(void)n;
	(void)a_container(e, "web", "app", "abc",
		a_daemon(e, through_docker ? DAEMON_DOCKERD : DAEMON_CONTAINERD, 20));
	if (beside_kubelet)
		e->daemons[a_daemon(e, DAEMON_KUBELET, 30)].is_runtime = false;
	e->node.predicted_list_ns = predicted_ms * NSEC_PER_MSEC;
	e->node.predicted_serial_ns = serial_ms * NSEC_PER_MSEC;
	e->node.inspect_ns = 300 * NSEC_PER_MSEC;
	e->node.inspections = 700;
	e->node.list_threshold_ns = SECONDS_NS(180);
	e->node.containers_live = 300;
	e->node.containers_dead = 99;
}

/* By whose way it is counted, and from where on it is told. */
static void too_many_containers(void **state)
{
	static const struct {
		uint64_t predicted_ms, serial_ms;
		bool beside_kubelet;
		int severity; /* -1: nothing */
	} rows[] = {
		{ 0, 0, false, -1 },
		{ 0, 0, true, -1 },
		{ 45000, 1000000, false, -1 },
		{ 45001, 1000000, false, SEVERITY_INFO },
		{ 135000, 1000000, false, SEVERITY_INFO },
		{ 135001, 1000000, false, SEVERITY_WARNING },
		{ 13000, 45000, true, -1 },
		{ 13000, 45001, true, SEVERITY_INFO },
		{ 13000, 210000, true, SEVERITY_WARNING },
	};
	const struct finding *f;

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct bench b = { 0 };

		predicted_ms = rows[i].predicted_ms;
		serial_ms = rows[i].serial_ms;
		beside_kubelet = rows[i].beside_kubelet;
		bench_judge(&b, predicted, 0);
		if (rows[i].severity < 0) {
			assert_int_equal(findings_count(b.out), 0);
		} else {
			f = only(&b, CAUSE_TOO_MANY_CONTAINERS,
				rows[i].severity == SEVERITY_WARNING ? CONFIDENCE_PROVEN
								     : CONFIDENCE_SUSPECTED);
			assert_int_equal(f->severity, rows[i].severity);
			assert_true(f->evidence_count >= 5 && f->advice_count >= 2);
		}
		bench_done(&b);
	}
}

/* A prediction that moves about a limit is not told anew each time. */
static void too_many_containers_on_the_brink(void **state)
{
	static const struct {
		uint64_t predicted_ms;
		int severity; /* -1: nothing */
	} rows[] = {
		{ 44000, -1 },
		{ 46000, SEVERITY_INFO },
		{ 37000, SEVERITY_INFO },
		{ 36000, -1 },
		{ 44000, -1 },
		{ 46000, SEVERITY_INFO },
		{ 134000, SEVERITY_INFO },
		{ 136000, SEVERITY_WARNING },
		{ 109000, SEVERITY_WARNING },
		{ 108000, SEVERITY_INFO },
		{ 134000, SEVERITY_INFO },
		{ 30000, -1 },
	};
	struct bench b = { 0 };

	(void)state;
	beside_kubelet = false;
	for (unsigned n = 0; n < ELEMENTS(rows); n++) {
		predicted_ms = rows[n].predicted_ms;
		bench_judge(&b, predicted, n);
		assert_int_equal(findings_count(b.out), rows[n].severity >= 0);
		if (rows[n].severity >= 0)
			assert_int_equal(findings_get(b.out, 0)->severity, rows[n].severity);
	}
	bench_done(&b);
}

static void too_many_containers_advice(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	predicted_ms = 150000;
	beside_kubelet = false;
	bench_judge(&b, predicted, 0);
	f = only(&b, CAUSE_TOO_MANY_CONTAINERS, CONFIDENCE_PROVEN);
	assert_non_null(strstr(f->summary, "a relist would take 2m30s"));
	/* The 99 that are dead are less than a quarter: they are not what it is about. */
	assert_int_equal(f->advice_count, 2);
	assert_string_equal(f->advice[0].command, "time crictl inspect abc >/dev/null");
	bench_done(&b);

	through_docker = true;
	bench_judge(&b, predicted, 0);
	f = only(&b, CAUSE_TOO_MANY_CONTAINERS, CONFIDENCE_PROVEN);
	assert_string_equal(f->advice[0].command, "time docker inspect abc >/dev/null");
	bench_done(&b);
	through_docker = false;
}

/* ---- the way to the API server ----------------------------------------------------------- */

static void api_server(struct evidence *e, const char *error, unsigned http, unsigned seconds)
{
	e->api_server = (struct api_server){ .server = "https://10.0.0.1:6443",
		.error = error,
		.why = "why",
		.http = http,
		.away_ns = SECONDS_NS(seconds),
		.failures = seconds >= 9 ? 2 : seconds > 0,
		.timings = { .connect_ns = NSEC_PER_MSEC, .total_ns = SECONDS_NS(10) } };
}

static void api_away(struct evidence *e, unsigned n)
{
	api_server(e, "timeout", 0, 2 * n);
}

static void api_failed_once(struct evidence *e, unsigned n)
{
	api_server(e, "timeout", 0, 60 + n);
	e->api_server.failures = 1;
}

static void token_over(struct evidence *e, unsigned n)
{
	api_server(e, "ok", 401, 9 + n);
	e->api_server.expiry_ns = e->at_ns - 5;
}

/* What a client certificate that has ended looks like, and what does not. */
static void certificate_over(struct evidence *e, unsigned n)
{
	static const char *const errors[] = { "reset", "tls", "connect", "timeout", "reset",
		"credential" };

	api_server(e, errors[n], 0, 9);
	e->api_server.expiry_ns = n == 4 ? e->at_ns + 5 : n == 5 ? 0 : e->at_ns - 5;
}

static void api_stale(struct evidence *e, unsigned n)
{
	api_server(e, "ok", 200, 0);
	e->api_server.stale_count = n < 2 ? 1 : 0;
	e->api_server.stale_ns = SECONDS_NS(3);
	e->api_server.stale = (struct api_stale){ .local = "10.0.0.7:41234",
		.remote = "10.0.0.1:6443",
		.what = "PATCH /api/v1/nodes/a/status",
		.age_ns = SECONDS_NS(300),
		.silent_ns = SECONDS_NS(10),
		.has_tcp = true,
		.unacked = 2,
		.retransmits = 5,
		.is_proven = n == 1,
		.fresh_http = 200,
		.fresh = { .connect_ns = NSEC_PER_MSEC } };
}

static void clock_set(struct evidence *e, unsigned n)
{
	api_server(e, n == 0 ? "tls" : "connect", 0, 9);
	e->clock = (struct evidence_clock){ .step_ns = -(int64_t)SECONDS_NS(28818),
		.at_ns = e->at_ns - 7 };
}

static void the_way_to_the_api_server(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, api_away, 0);
	nothing(&b, "it answers");
	bench_judge(&b, api_away, 1);
	nothing(&b, "a moment");
	bench_judge(&b, api_away, 2);
	(void)only(&b, CAUSE_API_UNREACHABLE, CONFIDENCE_SUSPECTED);
	bench_judge(&b, api_away, 5);
	f = only(&b, CAUSE_API_UNREACHABLE, CONFIDENCE_PROVEN);
	assert_string_equal(f->summary,
		"The API server https://10.0.0.1:6443 accepts the connection and does not answer; "
		"what runs here goes on");
	assert_int_equal(f->since_ns, b.e->at_ns - (int64_t)SECONDS_NS(10));
	bench_done(&b);
	/* However long ago: one request proves nothing. */
	bench_judge(&b, api_failed_once, 0);
	(void)only(&b, CAUSE_API_UNREACHABLE, CONFIDENCE_SUSPECTED);
	bench_done(&b);

	bench_judge(&b, api_stale, 0);
	f = only(&b, CAUSE_API_CONNECTION_STALE, CONFIDENCE_SUSPECTED);
	assert_int_equal(f->since_ns, b.e->at_ns - (int64_t)SECONDS_NS(13));
	bench_judge(&b, api_stale, 1);
	f = only(&b, CAUSE_API_CONNECTION_STALE, CONFIDENCE_PROVEN);
	assert_non_null(strstr(f->evidence[0].where, "10.0.0.7:41234 to 10.0.0.1:6443"));
	bench_judge(&b, api_stale, 2);
	nothing(&b, "none for a while");
	bench_done(&b);

	bench_judge(&b, token_over, 0);
	f = only(&b, CAUSE_CREDENTIAL_EXPIRED, CONFIDENCE_PROVEN);
	assert_non_null(strstr(f->summary, "it has expired"));
	bench_done(&b);

	for (unsigned n = 0; n < 6; n++) {
		bool is_ours = n < 2 || n == 5;

		bench_judge(&b, certificate_over, n);
		f = only(&b, is_ours ? CAUSE_CREDENTIAL_EXPIRED : CAUSE_API_UNREACHABLE,
			CONFIDENCE_PROVEN);
		if (is_ours)
			assert_non_null(strstr(f->summary, n == 5 ? "cannot be used" : "expired"));
		bench_done(&b);
	}

	/* A clock that was set explains what TLS says, not what cannot be connected to. */
	bench_judge(&b, clock_set, 0);
	f = only(&b, CAUSE_CLOCK_JUMP, CONFIDENCE_PROVEN);
	assert_string_equal(f->summary, "The wall clock of this node was set back by 8h00m");
	assert_non_null(below(f, CAUSE_API_UNREACHABLE));
	bench_judge(&b, clock_set, 1);
	assert_non_null(top(&b, CAUSE_CLOCK_JUMP));
	assert_non_null(top(&b, CAUSE_API_UNREACHABLE));
	bench_done(&b);
}

/* ---- random evidence --------------------------------------------------------------------- */

static uint64_t seed;

static uint32_t dice(uint32_t sides)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % sides;
}

static uint32_t any(uint32_t count)
{
	return dice(5) == 0 ? (dice(2) ? NONE : count + dice(3)) : dice(count + 1);
}

#define PICK(array) array[dice(ELEMENTS(array))]

static void random_call(struct evidence_call *call)
{
	an_answer(
		call, "call", (enum evidence_answer)dice(ANSWER_GARBAGE + 1), SECONDS_NS(dice(12)));
}

static void random_threads(struct evidence *e, uint32_t n)
{
	static const char *const stacks[] = { "", "request_wait_answer\nfuse_simple_request\n",
		"percpu_rwsem_wait\nmnt_want_write\n", "folio_wait_bit_common\nfilemap_read\n",
		"zap_pid_ns_processes\ndo_exit\n", "do_mmap\n__folio_lock\nfuse_file_mmap\n",
		"\n\n\n", "x" };

	for (uint32_t i = 0; i < n; i++) {
		uint32_t index = evidence_add_thread(e);
		struct evidence_thread *t = &e->threads[index];

		t->process = any(n);
		t->tid = (int32_t)dice(50);
		t->state = "RSDTtZXI?"[dice(9)];
		t->pending = dice(2) ? KILL_BIT : 0;
		t->stack = t->wchan = PICK(stacks);
		t->fd = (int32_t)dice(4) - 1;
		t->mount = any(n);
		t->switches = dice(2);
	}
}

static void random_processes(struct evidence *e, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t index =
			a_process(e, (int32_t)dice(40), "p\n'", "RSDTtZXI?"[dice(9)], dice(2048));
		struct evidence_process *p = &e->processes[index];

		p->parent = any(n);
		p->thread_count = dice(3);
		p->ppid = p->tracer_pid = (int32_t)dice(40);
		p->pending_shared = dice(4) ? 0 : KILL_BIT;
		p->has_memory = dice(2);
		p->has_pidfd = dice(2);
		p->pidfd_readable = dice(2);
		p->pid_namespace = dice(4);
		p->ns_level = 1 + dice(2);
		p->ns_pid = (int32_t)dice(3);
		p->freezer = any(n);
		p->container = any(n);
		p->fd_size = dice(2);
		p->cpu_ticks = dice(2) * 1000;
		random_call(&p->memory);
	}
}

static void random_room(struct evidence *e)
{
	uint32_t time = (uint32_t)((e->mono_ns - MONO_START) / (2 * NSEC_PER_SEC));

	if (dice(8) == 0) {
		e->processes[0].roles |= EVIDENCE_DAEMON;
		e->processes[0].cpu_path = "/q";
		e->processes[0].cpu_periods = 20 * (time + 1);
		e->processes[0].cpu_throttled = (10 + dice(10)) * (time + 1);
	}
	if (dice(8) == 0)
		e->inotify = (struct evidence_inotify){ .is_out = true,
			.lacks_watches = dice(2),
			.max = dice(9),
			.pid = (int32_t)dice(3),
			.comm = "eater",
			.of_one = dice(9) };
	for (uint32_t i = 0; i < e->process_count; i++)
		if (dice(20) == 0) {
			e->processes[i].fd_count = dice(64);
			e->processes[i].fd_limit = dice(64);
			e->processes[i].pids_path = dice(2) ? "/a" : "/b";
			e->processes[i].pids_current = dice(9);
			e->processes[i].pids_max = dice(9);
		}
	for (uint32_t n = dice(3); n > 0; n--) {
		uint32_t i = evidence_add_space(e);

		random_call(&e->spaces[i].call);
		e->spaces[i].of = (enum evidence_space_of)dice(SPACE_LOG + 1);
		e->spaces[i].daemon = any(4);
		e->spaces[i].path = dice(2) ? "/a b" : "/run";
		e->spaces[i].fs_type = dice(2) ? 0x01021994 : 0xef53;
		e->spaces[i].total_bytes = dice(3) * 1000000;
		e->spaces[i].free_bytes = dice(2) * 900000;
		e->spaces[i].available_bytes = dice(2) * 800000;
		e->spaces[i].files = dice(2) * 1000;
		e->spaces[i].files_free = dice(2) * 900;
	}
}

static void random_storage(struct evidence *e, uint32_t n)
{
	static const char *const types[] = { "ext4", "fuse.x", "overlay", "" };

	for (uint32_t i = 0; i < n; i++) {
		uint32_t m =
			a_mount(e, PICK(types), dice(2) ? "/a b" : "/x\n$(y)'", dice(2), dice(6));
		uint32_t f = evidence_add_fuse(e), d = evidence_add_device(e),
			 z = evidence_add_freezer(e);
		uint32_t h = evidence_add_holder(e), busy = evidence_add_busy(e);

		e->mounts[m].fuse = any(n);
		e->mounts[m].device = any(n);
		e->mounts[m].container = any(n);
		e->mounts[m].ns = dice(3);
		e->fuses[f] = (struct evidence_fuse){ .minor = dice(6),
			.has_waiting = dice(2),
			.waiting = dice(2),
			.server = any(n),
			.mount = any(n) };
		e->devices[d].in_flight = dice(2);
		e->freezers[z].path = dice(2) ? "/a" : "/a/b";
		e->freezers[z].file = dice(2) ? "" : "/sys/fs/x";
		e->freezers[z].self = dice(2);
		e->freezers[z].freezing = dice(2);
		e->freezers[z].on_purpose = dice(4) == 0;
		e->freezers[z].container = any(n);
		e->holders[h].mount = any(n);
		e->holders[h].hold = (enum evidence_hold)dice(HOLD_PIN + 1);
		e->holders[h].process = any(n);
		e->holders[h].path = dice(2) ? "" : "/p";
		e->busies[busy].mount = any(n);
		e->busies[busy].container = any(n);
		e->busies[busy].message = dice(2) ? "" : "busy";
	}
	random_room(e);
}

static void random_runtime(struct evidence *e, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t d = a_daemon(e, (enum evidence_daemon_kind)dice(DAEMON_OTHER + 1), 0),
			 s = a_shim(e, 0, NONE);
		uint32_t c = a_container(
			e, dice(2) ? "" : "pod", dice(2) ? "" : "c", dice(2) ? "" : "id", any(n));

		e->daemons[d].process = any(n);
		e->daemons[d].is_runtime = dice(2);
		random_call(&e->daemons[d].version);
		random_call(&e->daemons[d].list);
		random_call(&e->daemons[d].tasks);
		e->shims[s].process = any(n);
		random_call(&e->shims[s].state);
		random_call(&e->containers[c].inspect);
		e->containers[c].runtime_state = (enum container_state)dice(CONTAINER_UNKNOWN + 1);
		e->containers[c].kernel_state = (enum ledger_state)dice(LEDGER_GONE + 1);
		e->containers[c].differs_ns = SECONDS_NS(dice(9));
		e->containers[c].init = any(n);
		e->containers[c].shim = any(n);
		e->containers[c].attempt = dice(3);
		e->containers[c].recent_exits = dice(6);
		e->containers[c].same_exit_code = dice(2);
		e->containers[c].owner = dice(2) ? "" : "Deployment/x";
		e->containers[c].api = (enum evidence_api)dice(EVIDENCE_API_RUNS + 1);
		e->containers[c].api_differs_ns = SECONDS_NS(dice(99));
		e->containers[c].api_says = dice(2) ? "" : "deleted";
	}
}

static void random_evidence(struct evidence *e, unsigned n)
{
	uint32_t size = 1 + dice(24);

	(void)n;
	random_processes(e, size);
	random_threads(e, size);
	random_storage(e, size);
	random_runtime(e, size);
	if (dice(2))
		evidence_add_gap(e, "kernel stacks", "not permitted", "");
	e->node.has_pressure = dice(2);
	e->node.cpu_some = dice(100);
	if (dice(3) == 0)
		api_server(e, dice(2) ? "tls" : "dns", dice(2) ? 401 : 0, dice(20));
	e->node.list_threshold_ns = SECONDS_NS(180);
	if (dice(4) == 0)
		e->node.predicted_list_ns = e->node.predicted_serial_ns = SECONDS_NS(dice(200));
	if (dice(4) == 0)
		api_stale(e, dice(2));
	if (dice(6) == 0)
		e->clock.step_ns = (int64_t)SECONDS_NS(dice(200)) - (int64_t)SECONDS_NS(100);
}

/* bench_judge() asserts what has to hold. Every cause comes up, or the evidence is not random enough. */
static void random_evidence_is_judged(void **state)
{
	unsigned seen[CAUSES] = { 0 };

	(void)state;
	for (unsigned round = 0; round < 1500; round++) {
		struct bench b = { 0 };
		uint64_t start = round * 7919 + 1;

		for (unsigned n = 0; n < 4; n++) {
			seed = dice(3) ? start : start + n;
			bench_judge(&b, random_evidence, n);
			for (uint32_t i = 0; i < findings_count(b.out); i++)
				for (unsigned cause = 0; cause < CAUSES; cause++)
					seen[cause] += findings_get(b.out, i)->cause == cause ||
						below(findings_get(b.out, i), (enum cause)cause);
		}
		bench_done(&b);
	}
	for (unsigned cause = 0; cause < CAUSES; cause++)
		if (seen[cause] == 0)
			fail_msg("%s never came up", cause_text((enum cause)cause));
}

/* ---- large evidence ---------------------------------------------------------------------- */

static void large(struct evidence *e, unsigned n)
{
	uint32_t d = a_daemon(e, DAEMON_CONTAINERD, 20), m = a_mount(e, "fuse.x", "/data", 0, 39);

	(void)a_fuse(e, m, NONE, 9);
	for (uint32_t i = 1; i < EVIDENCE_CONTAINERS_MAX; i++) {
		uint32_t c = a_container(e, evidence_text(e, FMT("pod-%u", i / 2)), "app",
				 evidence_text(e, FMT("id-%u", i)), d),
			 p;

		e->containers[c].attempt = i % 2;
		e->containers[c].recent_exits = 5;
		an_answer(&e->containers[c].inspect, "ContainerStatus", ANSWER_LATE,
			SECONDS_NS(9 + 2 * n));
		(void)a_shim(e, 0, c);
		an_answer(&e->shims[i - 1].state, "State", ANSWER_REFUSED, 1);
		p = a_process(e, (int32_t)(100 + i), "app", 'Z', EVIDENCE_INIT | EVIDENCE_NS_INIT);
		e->processes[p].thread_count = 5;
		e->processes[p].container = c;
		e->processes[p].pid_namespace = 7;
		e->containers[c].init = p;
		for (uint32_t k = 0; k < 4 && e->thread_count < EVIDENCE_THREADS_MAX; k++) {
			uint32_t t = a_thread(e, p, (int32_t)(100000 + 4 * i + k), 'D',
				"request_wait_answer", "request_wait_answer\nfuse_x\n");

			e->threads[t].mount = m;
			e->threads[t].pending = KILL_BIT;
		}
	}
}

/* What is quadratic here would take minutes: 16,384 threads in 4,096 containers. */
static void large_evidence_is_judged_quickly(void **state)
{
	struct bench b = { 0 };
	clock_t start;

	(void)state;
	bench_judge(&b, large, 0);
	bench_judge(&b, large, 1);
	start = clock();
	(void)findings_free(b.out);
	b.out = findings_new();
	b.e->mono_ns += 1;
	ASSERT_OK(doctor_judge(NULL, b.e, b.memory, b.out));
	assert_true((clock() - start) / CLOCKS_PER_SEC < 3);
	print_message("%ld ms of CPU for one judgement\n",
		(long)((clock() - start) * 1000 / CLOCKS_PER_SEC));
	(void)only(&b, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_PROVEN);
	assert_true(findings_get(b.out, 0)->symptoms_left_out > 0);
	assert_true(findings_left_out(b.out) > 0);
	bench_done(&b);
}

/* ---- memory ------------------------------------------------------------------------------ */

static void memory_that_is_out(void **state)
{
	struct bench b = { 0 };

	(void)state;
	bench_judge(&b, founding, 0);
	bench_judge(&b, founding, 1);
	b.e->mono_ns += NSEC_PER_SEC;
	for (unsigned at = 1;; at++) {
		struct findings *out = findings_new();
		int r;

		fault_seen = 0;
		fault_at = at;
		r = doctor_judge(NULL, b.e, b.memory, out);
		fault_at = 0;
		if (fault_seen < at) {
			ASSERT_OK(r);
			assert_int_equal(findings_get(out, 0)->confidence, CONFIDENCE_PROVEN);
			(void)findings_free(out);
			assert_true(at > 10);
			break;
		}
		assert_int_equal(r, -ENOMEM);
		(void)findings_free(out);
	}
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

static void each_rule_says_what_it_asks(void **state)
{
	(void)state;
	for (unsigned i = 0; i < CAUSES; i++) {
		const struct rule *rule = rule_of((enum cause)i);

		assert_int_equal(rule->cause, i);
		assert_true(rule->samples >= 1 && rule->samples <= 2);
		assert_true(rule->interval_ns >= 2 * NSEC_PER_SEC &&
			rule->interval_ns <= 5 * NSEC_PER_SEC);
		assert_true(
			rule->held_ns <= rule->verdict_ns && rule->verdict_ns <= 10 * NSEC_PER_SEC);
		assert_true(strlen(rule->why) > 20 && *rule->layer);
		if (rule->samples == 1)
			assert_true(rule->verdict_ns < 5 * NSEC_PER_SEC);
	}
	assert_null(rule_of((enum cause)CAUSES));
}

static const char *seconds_of(uint64_t ns, char out[16])
{
	return ns == 0 ? "-" : str_format(out, 16, "%g s", (double)ns / NSEC_PER_SEC);
}

/* docs/internals/doctor.md shows the table as it is. */
static void each_rule_stands_in_the_docs(void **state)
{
	static char docs[65536];
	FILE *file = fopen(UNIT_DIR "/../../docs/internals/doctor.md", "re");
	unsigned missing = 0;

	(void)state;
	assert_non_null(file);
	docs[fread(docs, 1, sizeof(docs) - 1, file)] = '\0';
	(void)fclose(file);
	for (unsigned i = 0; i < CAUSES; i++) {
		const struct rule *rule = rule_of((enum cause)i);
		char row[1024], times[5][16];

		(void)snprintf(row, sizeof(row), "\n| %s | %u | %s | %s | %s | %s | %s | %s |\n",
			cause_text(rule->cause), rule->samples,
			seconds_of(rule->interval_ns, times[0]),
			seconds_of(rule->held_ns, times[1]), seconds_of(rule->weak_ns, times[2]),
			seconds_of(rule->late_ns, times[3]), seconds_of(rule->verdict_ns, times[4]),
			rule->why);
		if (strstr(docs, row))
			continue;
		print_message("%s", row + 1);
		missing++;
	}
	assert_int_equal(missing, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_lost_exit),
		cmocka_unit_test(a_crash_loop),
		cmocka_unit_test(a_crash_loop_without_an_agent),
		cmocka_unit_test(the_founding_incident),
		cmocka_unit_test(the_deepest_is_on_top),
		cmocka_unit_test(the_sample_before),
		cmocka_unit_test(a_deleted_pod),
		cmocka_unit_test(a_stale_status),
		cmocka_unit_test(too_many_containers),
		cmocka_unit_test(too_many_containers_on_the_brink),
		cmocka_unit_test(too_many_containers_advice),
		cmocka_unit_test(the_way_to_the_api_server),
		cmocka_unit_test(random_evidence_is_judged),
		cmocka_unit_test(large_evidence_is_judged_quickly),
		cmocka_unit_test(memory_that_is_out),
		cmocka_unit_test(what_only_looks_like_it),
		cmocka_unit_test(each_rule_says_what_it_asks),
		cmocka_unit_test(each_rule_stands_in_the_docs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
