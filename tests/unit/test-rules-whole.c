/*
 * The rules together: which cause is on top when one explains another, causes side by side, the
 * sample before, memory that is out, and the table of what each rule asks for.
 */
#include "rules-harness.h"

#include "base/fault.h"

static unsigned fault_at, fault_seen; /* which allocation fails; 0: none */

bool fault_hit(enum fault_point point)
{
	return point == FAULT_ALLOC && fault_at > 0 && ++fault_seen == fault_at;
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

/* ---- the table --------------------------------------------------------------------------- */

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
		cmocka_unit_test(the_founding_incident),
		cmocka_unit_test(the_deepest_is_on_top),
		cmocka_unit_test(the_sample_before),
		cmocka_unit_test(memory_that_is_out),
		cmocka_unit_test(each_rule_says_what_it_asks),
		cmocka_unit_test(each_rule_stands_in_the_docs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
