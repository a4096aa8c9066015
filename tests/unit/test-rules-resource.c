/* No room, no descriptors, no inotify instances, no processes, no CPU time: and what is only scarce. */
#include "rules-harness.h"

/* ---- room -------------------------------------------------------------------------------- */

static struct evidence_space *a_space(
	struct evidence *e, enum evidence_space_of of, const char *path, uint64_t free_bytes)
{
	uint32_t i = evidence_add_space(e);
	struct evidence_space *s = &e->spaces[i];

	*s = (struct evidence_space){ .of = of,
		.path = path,
		.daemon = EVIDENCE_NONE,
		.fs_type = 0xef53,
		.total_bytes = UINT64_C(10) << 30,
		.free_bytes = free_bytes,
		.available_bytes = free_bytes,
		.files = 1000000,
		.files_free = 500000 };
	an_answer(&s->call, "statfs", ANSWER_OK, 1000);
	return s;
}

static void disk_full(struct evidence *e, unsigned n)
{
	(void)n;
	(void)a_space(e, SPACE_ROOT, "/var/lib/containerd", 4096);
	/* On the same filesystem: one finding. */
	(void)a_space(e, SPACE_LOG, "/var/log/pods", 4096);
}

static void disk_full_but_for_root(struct evidence *e, unsigned n)
{
	(void)n;
	a_space(e, SPACE_ROOT, "/var/lib/containerd", UINT64_C(500) << 20)->available_bytes = 0;
}

static void inodes_out(struct evidence *e, unsigned n)
{
	(void)n;
	a_space(e, SPACE_ROOT, "/var/lib/docker", UINT64_C(5) << 30)->files_free = 3;
}

static void run_full(struct evidence *e, unsigned n)
{
	(void)n;
	a_space(e, SPACE_STATE, "/run/containerd", 0)->fs_type = 0x01021994;
}

static void nearly_full(struct evidence *e, unsigned n)
{
	(void)n;
	/* Under a hundredth, but room for much; and a filesystem that counts no inodes. */
	a_space(e, SPACE_ROOT, "/var/lib/containerd", UINT64_C(80) << 20)->files = 0;
	e->spaces[0].files_free = 0;
}

static void fds_out(struct evidence *e, unsigned n)
{
	uint32_t d = a_daemon(e, DAEMON_CONTAINERD, 300);

	(void)n;
	e->processes[e->daemons[d].process].fd_count = 1022;
	e->processes[e->daemons[d].process].fd_limit = 1024;
	/* It is why the daemon does not answer. */
	an_answer(&e->daemons[d].version, "Version", ANSWER_LATE, 60 * NSEC_PER_SEC);
}

static void inotify_out(struct evidence *e, unsigned n)
{
	(void)n;
	e->inotify = (struct evidence_inotify){ .is_out = true,
		.uid = 0,
		.used = 128,
		.max = 128,
		.processes = 9,
		.pid = 4711,
		.comm = "promtail",
		.of_one = 90,
		.is_whole = true };
}

static void watches_out(struct evidence *e, unsigned n)
{
	inotify_out(e, n);
	e->inotify.lacks_watches = true;
	e->inotify.max = 8192;
	e->inotify.is_whole = false;
}

static void fds_are_many(struct evidence *e, unsigned n)
{
	uint32_t d = a_daemon(e, DAEMON_CONTAINERD, 300);

	(void)n;
	e->processes[e->daemons[d].process].fd_count = 900;
	e->processes[e->daemons[d].process].fd_limit = 1024;
}

/* 95 of a hundred, of a limit that is no round number: 973 of 1024. */
static void fds_nearly_out(struct evidence *e, unsigned n)
{
	fds_are_many(e, n);
	e->processes[0].fd_count = 973;
}

static void fds_just_below(struct evidence *e, unsigned n)
{
	fds_are_many(e, n);
	e->processes[0].fd_count = 972;
}

static void fds_of_no_limit(struct evidence *e, unsigned n)
{
	fds_are_many(e, n);
	e->processes[0].fd_limit = UINT64_MAX;
}

static void pids_out(struct evidence *e, unsigned n)
{
	uint32_t p = a_process(e, 900, "app", 'S', EVIDENCE_INIT),
		 other = a_process(e, 901, "app2", 'S', EVIDENCE_INIT);

	(void)n;
	e->processes[p].container = a_container(e, "shop", "app", "930ca3", NONE);
	e->processes[p].pids_path = e->processes[other].pids_path = "/sys/fs/cgroup/pids/pod";
	e->processes[p].pids_current = e->processes[other].pids_current = 64;
	e->processes[p].pids_max = e->processes[other].pids_max = 64;
}

static void full_for_an_instant(struct evidence *e, unsigned n)
{
	(void)a_space(e, SPACE_ROOT, "/var/lib/containerd", n % 2 ? 4096 : UINT64_C(5) << 30);
}

static void hangs_when_asked(struct evidence *e, unsigned n)
{
	(void)n;
	a_space(e, SPACE_ROOT, "/var/lib/containerd", 0)->call.answer = ANSWER_LATE;
}

static void no_room(void **state)
{
	static const struct {
		make_fn *make;
		enum cause cause;
		enum finding_severity severity;
		const char *path, *says;
	} rows[] = {
		{ disk_full, CAUSE_NODE_DISK_FULL, SEVERITY_CRITICAL, "/var/lib/containerd",
			"no room left:" },
		{ disk_full_but_for_root, CAUSE_NODE_DISK_FULL, SEVERITY_WARNING,
			"/var/lib/containerd", "no room left but for root:" },
		{ inodes_out, CAUSE_INODES_EXHAUSTED, SEVERITY_CRITICAL, "/var/lib/docker",
			"no inodes left:" },
		{ run_full, CAUSE_RUN_TMPFS_FULL, SEVERITY_CRITICAL, "/run/containerd",
			"no room left:" },
		{ fds_out, CAUSE_FD_EXHAUSTED, SEVERITY_CRITICAL, "", "1022 of 1024 descriptors" },
		{ inotify_out, CAUSE_INOTIFY_EXHAUSTED, SEVERITY_CRITICAL,
			"/proc/sys/fs/inotify/max_user_instances", "no inotify instances left" },
		{ watches_out, CAUSE_INOTIFY_EXHAUSTED, SEVERITY_CRITICAL,
			"/proc/sys/fs/inotify/max_user_watches", "no inotify watches left" },
		{ fds_nearly_out, CAUSE_FD_EXHAUSTED, SEVERITY_CRITICAL, "",
			"973 of 1024 descriptors" },
		{ pids_out, CAUSE_PIDS_EXHAUSTED, SEVERITY_WARNING, "/sys/fs/cgroup/pids/pod",
			"64 of 64 processes" },
	};
	struct bench b = { 0 };

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		const struct finding *f;

		bench_judge(&b, rows[i].make, 0);
		(void)only(&b, rows[i].cause, CONFIDENCE_SUSPECTED);
		bench_judge(&b, rows[i].make, 1);
		f = only(&b, rows[i].cause, CONFIDENCE_PROVEN);
		assert_int_equal(f->severity, rows[i].severity);
		assert_string_equal(f->subject.mount, rows[i].path);
		assert_non_null(strstr(f->summary, rows[i].says));
		bench_done(&b);
	}
	for (unsigned n = 0; n < 4; n++) {
		bench_judge(&b, full_for_an_instant, n);
		for (uint32_t i = 0; i < findings_count(b.out); i++)
			assert_int_equal(findings_get(b.out, i)->confidence, CONFIDENCE_SUSPECTED);
	}
	bench_done(&b);
}

static void inotify_tells_who(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;
	bool has_eater = false;

	(void)state;
	bench_judge(&b, inotify_out, 0);
	bench_judge(&b, inotify_out, 1);
	f = only(&b, CAUSE_INOTIFY_EXHAUSTED, CONFIDENCE_PROVEN);
	for (uint32_t i = 0; i < f->evidence_count; i++)
		has_eater = has_eater || str_eq(f->evidence[i].value, "promtail (pid 4711): 90");
	assert_true(has_eater);
	assert_string_equal(f->advice[0].command, "sysctl -w fs.inotify.max_user_instances=512");
	assert_int_equal(f->advice[0].risk, RISK_NONE);
	bench_done(&b);
}

/* ---- a quota ----------------------------------------------------------------------------- */

/* A quota of a tenth of a second; `waits` of the 20 periods between two samples are spent waiting. */
static void quota(struct evidence *e, unsigned n, unsigned waits)
{
	uint32_t d = a_daemon(e, DAEMON_CONTAINERD, 300);
	struct evidence_process *p = &e->processes[e->daemons[d].process];

	p->roles |= EVIDENCE_DAEMON;
	p->cpu_path = "/sys/fs/cgroup/cpu/system.slice";
	p->cpu_periods = 1000 + 20 * n;
	p->cpu_throttled = 900 + waits;
	p->cpu_throttled_ns = 80 * NSEC_PER_SEC;
}

static void waits_always(struct evidence *e, unsigned n)
{
	quota(e, n, 20 * n);
}

/* Of the 5 periods that there have been one was spent waiting: a fifth. */
static void waits_in_few_periods(struct evidence *e, unsigned n)
{
	quota(e, n, n);
	e->processes[0].cpu_periods = 1000 + 5 * n;
}

static void waits_seldom(struct evidence *e, unsigned n)
{
	quota(e, n, 4 * n);
}

static void starved(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, waits_always, 0);
	nothing(&b, "one look says nothing of now");
	for (unsigned n = 1; n < 4; n++) {
		bench_judge(&b, waits_always, n);
		(void)only(&b, CAUSE_DAEMON_OR_KUBELET_CPU_STARVED, CONFIDENCE_SUSPECTED);
	}
	bench_judge(&b, waits_always, 4);
	f = only(&b, CAUSE_DAEMON_OR_KUBELET_CPU_STARVED, CONFIDENCE_PROVEN);
	assert_non_null(strstr(f->summary, "waits in 20 of 20 periods"));
	assert_string_equal(f->subject.mount, "/sys/fs/cgroup/cpu/system.slice");
	bench_done(&b);
}

static void what_only_looks_like_it(void **state)
{
	static const struct scenario rows[] = {
		{ "many descriptors", fds_are_many },
		{ "a little less than 95 of a hundred", fds_just_below },
		{ "descriptors without a limit", fds_of_no_limit },
		{ "a quota that is nearly used up", waits_seldom },
		{ "a quota that is used up in a fifth of few periods", waits_in_few_periods },
		{ "a disk that is nearly full", nearly_full },
		{ "a disk that does not answer", hangs_when_asked },
	};

	(void)state;
	look_alikes(rows, ELEMENTS(rows));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(inotify_tells_who),
		cmocka_unit_test(no_room),
		cmocka_unit_test(starved),
		cmocka_unit_test(what_only_looks_like_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
