/* DeletedPodRemains and PodStatusStale: the API server's word of a pod against what is here. */
#include "rules-harness.h"

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

/* Who would end it hangs. */
static void deleted_pod_beside_a_stopped_kubelet(struct evidence *e, unsigned n)
{
	deleted_pod(e, n);
	e->kubelet = (struct evidence_kubelet){ EVIDENCE_KUBELET_SLOW,
		"healthz has not answered within 5s", 4711 };
}

/* The shim goes on: now the pod ends, unless something else keeps it. */
static void deleted_pod_of_a_shim_that_goes_on(struct evidence *e, unsigned n)
{
	if (n < 2) {
		deleted_pod_of_a_stopped_shim(e, n);
		return;
	}
	/* It is told of another of its containers: the first has ended at once. */
	deleted_pod(e, n);
	e->containers[1].id = "def";
}

static void a_deleted_pod_that_was_freed(void **state)
{
	struct bench b = { 0 };
	unsigned n;

	(void)state;
	for (n = 0; n < 2; n++)
		bench_judge(&b, deleted_pod_of_a_shim_that_goes_on, n);
	assert_non_null(
		below(only(&b, CAUSE_SHIM_STOPPED, CONFIDENCE_PROVEN), CAUSE_DELETED_POD_REMAINS));
	for (; n < 21; n++) { /* 2 s each */
		bench_judge(&b, deleted_pod_of_a_shim_that_goes_on, n);
		nothing(&b, "it is about to end");
	}
	bench_judge(&b, deleted_pod_of_a_shim_that_goes_on, n);
	(void)only(&b, CAUSE_DELETED_POD_REMAINS, CONFIDENCE_PROVEN);
	bench_done(&b);
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
		assert_false(has_command(f, "systemctl restart kubelet"));
		bench_done(&b);
	}
	bench_judge(&b, deleted_pod_beside_a_stopped_kubelet, 0);
	f = only(&b, CAUSE_DELETED_POD_REMAINS, CONFIDENCE_PROVEN);
	assert_non_null(
		strstr(f->summary, "still has it: the kubelet, who would end it, does not answer"));
	assert_true(has_command(f, "systemctl restart kubelet"));
	bench_done(&b);
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

static void status_stale_beside_no_kubelet(struct evidence *e, unsigned n)
{
	status_stale(e, n);
	e->kubelet = (struct evidence_kubelet){ EVIDENCE_KUBELET_GONE,
		"healthz: Connect: Connection refused", 4711 };
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
	assert_non_null(strstr(f->summary, "nobody has told it"));
	assert_true(has_command(f, "curl -sS -m 5 http://127.0.0.1:10248/healthz"));
	bench_done(&b);

	bench_judge(&b, status_stale_beside_no_kubelet, 0);
	f = only(&b, CAUSE_POD_STATUS_STALE, CONFIDENCE_PROVEN);
	assert_non_null(strstr(f->summary, ": the kubelet, who would tell it, is gone"));
	assert_true(has_command(f, "curl -sS -m 5 http://127.0.0.1:4711/healthz"));
	bench_done(&b);

	for (unsigned n = 0; n < 4; n++)
		bench_judge(&b, status_stale_exit_lost, n);
	f = only(&b, CAUSE_LOST_EXIT_EVENT, CONFIDENCE_PROVEN);
	assert_non_null(below(f, CAUSE_POD_STATUS_STALE));
	bench_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_deleted_pod),
		cmocka_unit_test(a_deleted_pod_that_was_freed),
		cmocka_unit_test(a_stale_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
