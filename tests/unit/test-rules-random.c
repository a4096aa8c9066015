/* Evidence that nobody wrote by hand: random, in which every cause comes up, and as much as there may be. */
#include "rules-harness.h"

#include <time.h>

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
		an_api_server(e, dice(2) ? "tls" : "dns", dice(2) ? 401 : 0, dice(20));
	e->node.list_threshold_ns = SECONDS_NS(180);
	if (dice(4) == 0)
		e->node.predicted_list_ns = e->node.predicted_serial_ns = SECONDS_NS(dice(200));
	if (dice(4) == 0)
		a_stale_connection(e, dice(2));
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_evidence_is_judged),
		cmocka_unit_test(large_evidence_is_judged_quickly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
