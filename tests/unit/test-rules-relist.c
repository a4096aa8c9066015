/* TooManyContainers: from where on it is told, on the brink of a limit, and what is advised. */
#include "rules-harness.h"

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

/* What the open list takes then is the daemon's doing. */
static void predicted_of_a_stopped_daemon(struct evidence *e, unsigned n)
{
	predicted(e, n);
	e->processes[0].state = 'T';
	an_answer(&e->daemons[0].version, "Version", ANSWER_LATE, SECONDS_NS(80));
}

static void too_many_containers_of_a_daemon_that_hangs(void **state)
{
	struct bench b = { 0 };

	(void)state;
	predicted_ms = serial_ms = 80000;
	beside_kubelet = true;
	for (unsigned n = 0; n < 2; n++)
		bench_judge(&b, predicted_of_a_stopped_daemon, n);
	(void)only(&b, CAUSE_CRI_DAEMON_STOPPED, CONFIDENCE_PROVEN);
	bench_done(&b);
	beside_kubelet = false;
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(too_many_containers),
		cmocka_unit_test(too_many_containers_on_the_brink),
		cmocka_unit_test(too_many_containers_of_a_daemon_that_hangs),
		cmocka_unit_test(too_many_containers_advice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
