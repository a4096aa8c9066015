/*
 * The verdict: the kubelet's texts to the letter, pleg's own rules, the damping and the due times,
 * all on a made-up clock. The wall clock jumps about in every test, since it must not matter.
 */
#include "unit.h"

#include <stdbool.h>

#include "base/mem.h"
#include "base/str.h"
#include "node/node.h"

#define SEC NSEC_PER_SEC

struct fixture {
	struct node *node;
	struct now now;
	struct node_facts facts;
	struct node_status status;
};

static const struct node_facts good_facts = {
	.pleg_healthy = true,
	.pleg_message = "",
	.pods = 12,
	.quarantined_names = "",
	.status_seen = true,
	.runtime_condition = true,
	.runtime_ready = true,
	.network_condition = true,
	.network_ready = true,
	.link_failure = "",
};

static void start(struct fixture *f)
{
	*f = (struct fixture){ .now = { .mono_ns = 1000 * SEC }, .facts = good_facts };
	ASSERT_OK(node_new(&NODE_CONFIG_DEFAULT, f->now, &f->node));
	node_status(f->node, &f->status);
}

static void stop(struct fixture *f)
{
	f->node = node_free(f->node);
}

/* Time passes, nobody looks. */
static void pass(struct fixture *f, uint64_t ns)
{
	f->now.mono_ns += ns;
	f->now.real_ns = f->now.real_ns > 0 ? -5 : INT64_MAX / 2;
}

static bool look(struct fixture *f)
{
	bool changed = node_update(f->node, &f->facts, f->now);

	node_status(f->node, &f->status);
	return changed;
}

static void be_bad(struct fixture *f)
{
	f->facts.pleg_healthy = false;
	f->facts.pleg_message = "pleg was last seen active 3m5.25s ago; threshold is 3m0s";
}

static void be_good(struct fixture *f)
{
	f->facts = good_facts;
}

static void before_the_first_answer(void **state)
{
	struct fixture f;

	start(&f);
	assert_false(f.status.ready);
	assert_false(f.status.responsive);
	assert_int_equal(f.status.transitions, 0);
	assert_string_equal(f.status.reason, "KubeletNotReady");
	assert_string_equal(f.status.message,
		"[container runtime status check may not have completed yet, "
		"PLEG is not healthy: pleg has yet to be successful, network state unknown]");
	assert_string_equal(f.status.detail, "");
	assert_int_equal(node_next_due(f.node), NSEC_NEVER);
	stop(&f);
}

static void first_ready_is_at_once(void **state)
{
	struct fixture f;

	start(&f);
	pass(&f, SEC);
	assert_true(look(&f));
	assert_true(f.status.ready);
	assert_true(f.status.responsive);
	assert_false(f.status.degraded);
	assert_string_equal(f.status.reason, "KubeletReady");
	assert_string_equal(f.status.message, "kubelet is posting ready status");
	assert_string_equal(f.status.detail, "");
	assert_int_equal(f.status.since_ns, f.now.mono_ns);
	assert_int_equal(f.status.calm_wanted_ns, 0);
	assert_int_equal(f.status.transitions, 1);
	assert_int_equal(f.status.flaps, 0);
	pass(&f, SEC);
	assert_false(look(&f));
	stop(&f);
}

static void kubelets_texts(void **state)
{
	static const struct {
		struct node_facts facts;
		const char *message;
	} rows[] = {
		{ { .pleg_healthy = true,
			  .status_seen = true,
			  .runtime_condition = true,
			  .runtime_reason = "ContainerdNotReady",
			  .runtime_message = "still starting",
			  .network_condition = true,
			  .network_ready = true },
			"container runtime not ready: RuntimeReady=false reason:ContainerdNotReady "
			"message:still starting" },
		{ { .pleg_healthy = true,
			  .status_seen = true,
			  .runtime_condition = true,
			  .runtime_ready = true,
			  .network_condition = true,
			  .network_reason = "NetworkPluginNotReady",
			  .network_message =
				  "Network plugin returns error: cni plugin not initialized" },
			"container runtime network not ready: NetworkReady=false "
			"reason:NetworkPluginNotReady message:Network plugin returns error: "
			"cni plugin not initialized" },
		{ { .pleg_healthy = true,
			  .status_seen = true,
			  .runtime_condition = true,
			  .runtime_ready = true },
			"container runtime network not ready: <nil>" },
		{ { .pleg_healthy = true,
			  .status_seen = true,
			  .network_condition = true,
			  .network_ready = true },
			"container runtime not ready: <nil>" },
		{ { .pleg_healthy = false,
			  .pleg_message = "pleg has yet to be successful",
			  .status_seen = true,
			  .runtime_condition = true,
			  .runtime_ready = true,
			  .network_condition = true,
			  .network_ready = true },
			"PLEG is not healthy: pleg has yet to be successful" },
		{ { .pleg_healthy = false,
			  .pleg_message =
				  "pleg was last seen active 3m5.25s ago; threshold is 3m0s",
			  .status_seen = true,
			  .runtime_condition = true,
			  .runtime_reason = "a\nb",
			  .runtime_message = NULL },
			"[PLEG is not healthy: pleg was last seen active 3m5.25s ago; threshold is "
			"3m0s, "
			"container runtime not ready: RuntimeReady=false reason:a?b message:, "
			"container runtime network not ready: <nil>]" },
	};

	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct fixture f;

		start(&f);
		(void)look(
			&f); /* good once, or the runtime's first sign of life would be missing */
		f.facts = rows[i].facts;
		assert_true(look(&f));
		assert_false(f.status.ready);
		assert_string_equal(f.status.reason, "KubeletNotReady");
		assert_string_equal(f.status.message, rows[i].message);
		stop(&f);
	}
}

static void status_that_grows_old(void **state)
{
	struct fixture f;

	start(&f);
	f.facts.status_age_ns = 2 * SEC;
	(void)look(&f);
	assert_int_equal(node_next_due(f.node), f.now.mono_ns + 28 * SEC);

	pass(&f, 28 * SEC - 1);
	f.facts.status_age_ns = 30 * SEC - 1;
	assert_false(look(&f));
	assert_true(f.status.ready);
	assert_true(f.status.responsive);
	assert_int_equal(node_next_due(f.node), f.now.mono_ns + 1);

	pass(&f, 1);
	f.facts.status_age_ns = 30 * SEC;
	assert_true(look(&f));
	assert_false(f.status.ready);
	assert_false(f.status.responsive);
	assert_string_equal(f.status.message, "container runtime is down");
	stop(&f);
}

/* As in the kubelet, a Status that says RuntimeReady=false is an answer, but no sign of life. */
static void not_ready_runtime_is_down_after_a_while(void **state)
{
	struct fixture f;

	start(&f);
	f.facts.runtime_ready = false;
	f.facts.runtime_reason = "R";
	f.facts.runtime_message = "M";
	(void)look(&f);
	assert_string_equal(f.status.message,
		"[container runtime status check may not have completed yet, "
		"container runtime not ready: RuntimeReady=false reason:R message:M]");
	be_good(&f);
	(void)look(&f);
	assert_true(f.status.ready);

	f.facts.runtime_ready = false;
	f.facts.runtime_reason = "R";
	f.facts.runtime_message = "M";
	pass(&f, 29 * SEC);
	(void)look(&f);
	assert_string_equal(f.status.message,
		"container runtime not ready: RuntimeReady=false reason:R message:M");
	assert_int_equal(node_next_due(f.node), f.now.mono_ns + SEC);
	pass(&f, SEC);
	assert_true(look(&f));
	assert_string_equal(f.status.message,
		"[container runtime is down, "
		"container runtime not ready: RuntimeReady=false reason:R message:M]");
	assert_true(f.status.responsive);
	stop(&f);
}

static void quarantine(void **state)
{
	static const struct {
		uint32_t pods, quarantined;
		bool ready;
	} rows[] = {
		{ 12, 0, true },
		{ 2, 2, true },  /* all of them, but fewer than 3 */
		{ 15, 3, true }, /* 20 %, not over it */
		{ 14, 3, false },
		{ 100, 20, true }, /* 20 % */
		{ 100, 21, false },
		{ 3, 3, false },
	};

	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct fixture f;

		start(&f);
		(void)look(&f);
		f.facts.pods = rows[i].pods;
		f.facts.quarantined = rows[i].quarantined;
		f.facts.quarantined_names = "ns/a, ns/b and more";
		(void)look(&f);
		assert_int_equal(f.status.ready, rows[i].ready);
		assert_int_equal(f.status.degraded, rows[i].ready && rows[i].quarantined > 0);
		stop(&f);
	}
}

static void our_texts(void **state)
{
	struct fixture f;

	start(&f);
	(void)look(&f);
	f.facts.quarantined = 1;
	f.facts.quarantined_names = "demo/stuck";
	assert_true(look(&f));
	assert_string_equal(f.status.message, "kubelet is posting ready status");
	assert_string_equal(f.status.detail, "1 of 12 pods does not answer: demo/stuck");

	f.facts.quarantined = 4;
	f.facts.quarantined_names = "ns/a, ns/b and 2 more";
	f.facts.inspections_starved = true;
	f.facts.inspections_starved_age_ns = 185250 * NSEC_PER_MSEC;
	assert_true(look(&f));
	assert_string_equal(f.status.message,
		"[container inspections are not healthy: 4 of 12 pods do not answer: ns/a, ns/b "
		"and 2 "
		"more, container inspections are not healthy: due for 3m5s and none has "
		"succeeded]");
	assert_false(f.status.degraded);
	assert_string_equal(f.status.detail, "4 of 12 pods do not answer: ns/a, ns/b and 2 more");

	be_good(&f);
	f.facts.link_failure = "no such socket /run/x.sock";
	f.facts.kubelet = NODE_KUBELET_GONE;
	(void)look(&f);
	assert_string_equal(f.status.detail,
		"the runtime cannot be reached: no such socket /run/x.sock; the kubelet is gone; "
		"before the calm: [container inspections are not healthy: 4 of 12 pods do not "
		"answer: "
		"ns/a, ns/b and 2 more, container inspections are not healthy: due for 3m5s and "
		"none "
		"has succeeded]");
	assert_false(f.status.responsive);
	stop(&f);
}

static void kubelet_beside(void **state)
{
	static const struct {
		enum node_kubelet kubelet;
		const char *name, *detail;
	} rows[] = {
		{ NODE_KUBELET_NONE, "none", "" },
		{ NODE_KUBELET_OK, "ok", "" },
		{ NODE_KUBELET_FAILING, "failing", "the kubelet's healthz fails: HTTP 500" },
		{ NODE_KUBELET_SLOW, "slow",
			"the kubelet's healthz does not answer in time: HTTP 500" },
		{ NODE_KUBELET_GONE, "gone", "the kubelet is gone: HTTP 500" },
	};

	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct fixture f;

		start(&f);
		(void)look(&f);
		f.facts.kubelet = rows[i].kubelet;
		f.facts.kubelet_message = "HTTP 500";
		assert_int_equal(look(&f), rows[i].detail[0] != '\0');
		assert_string_equal(node_kubelet_text(rows[i].kubelet), rows[i].name);
		assert_string_equal(f.status.detail, rows[i].detail);
		assert_true(f.status.ready); /* the kubelet's health is not the node's */
		stop(&f);
	}
}

static void link_failure_degrades(void **state)
{
	struct fixture f;

	start(&f);
	(void)look(&f);
	f.facts.link_failure = "connection refused";
	assert_true(look(&f));
	assert_true(f.status.ready);
	assert_true(f.status.degraded);
	assert_false(f.status.responsive);
	assert_string_equal(f.status.detail, "the runtime cannot be reached: connection refused");
	stop(&f);
}

/* Answers come, but are of no use: a link that is up is not enough. */
static void answer_failure_degrades(void **state)
{
	struct fixture f;

	start(&f);
	(void)look(&f);
	f.facts.answer_failure = "ListContainers: disk on fire";
	assert_true(look(&f));
	assert_true(f.status.ready);
	assert_true(f.status.degraded);
	assert_true(f.status.responsive);
	assert_string_equal(f.status.detail, "the runtime fails: ListContainers: disk on fire");
	assert_false(look(&f));
	f.facts.answer_failure = "";
	assert_true(look(&f));
	assert_false(f.status.degraded);
	assert_string_equal(f.status.detail, "");
	stop(&f);
}

static void stalls(void **state)
{
	struct node_call call = { .method = "ContainerStatus", .subject = "930ca3" };
	struct fixture f;

	start(&f);
	(void)look(&f);
	f.facts.oldest_call = &call;
	pass(&f, SEC);
	call.age_ns = SEC;
	assert_false(look(&f));
	assert_false(f.status.stalled);
	assert_int_equal(node_next_due(f.node), f.now.mono_ns + SEC);

	pass(&f, SEC);
	call.age_ns = 2 * SEC;
	assert_true(look(&f));
	assert_true(f.status.stalled);
	assert_true(f.status.degraded);
	assert_true(f.status.ready);
	assert_true(f.status.responsive); /* one container is not the runtime */
	assert_int_equal(f.status.stalled_since_ns, f.now.mono_ns - 2 * SEC);
	assert_int_equal(f.status.stall_total_ns, 2 * SEC);
	assert_string_equal(f.status.detail, "ContainerStatus of 930ca3 has not answered for 2.0s");

	/* That call answers, but one that began a second after it is still open: one stall. */
	pass(&f, 3 * SEC);
	call = (struct node_call){ .method = "ListContainers", .age_ns = 4 * SEC };
	assert_false(look(&f));
	assert_int_equal(f.status.stall_total_ns, 5 * SEC);
	assert_int_equal(f.status.stalled_since_ns, f.now.mono_ns - 5 * SEC);
	assert_string_equal(f.status.detail, "ListContainers has not answered for 4.0s");
	assert_false(f.status.responsive);

	pass(&f, SEC);
	f.facts.oldest_call = NULL;
	assert_true(look(&f));
	assert_false(f.status.stalled);
	assert_true(f.status.responsive);
	assert_int_equal(f.status.stalled_since_ns, 0);
	assert_int_equal(f.status.stall_total_ns, 6 * SEC);

	/* A call that began while the first stall lasted counts from the end of that stall. */
	pass(&f, SEC);
	call.age_ns = 3 * SEC;
	f.facts.oldest_call = &call;
	assert_true(look(&f));
	assert_int_equal(f.status.stall_total_ns, 7 * SEC);
	stop(&f);
}

/* Bad for a moment, then good; returns the calm that is asked for. */
static uint64_t flap(struct fixture *f)
{
	be_bad(f);
	assert_true(look(f));
	assert_false(f->status.ready);
	pass(f, SEC);
	be_good(f);
	assert_true(look(f));
	assert_false(f->status.ready);
	assert_true(f->status.ready_undamped);
	return f->status.calm_wanted_ns;
}

static void wait_for_ready(struct fixture *f)
{
	f->now.mono_ns = node_next_due(f->node);
	assert_true(look(f));
	assert_true(f->status.ready);
}

static void damping(void **state)
{
	static const uint64_t wanted_s[] = { 10, 20, 40, 80, 160, 300, 300 };
	struct fixture f;

	start(&f);
	(void)look(&f);
	for (size_t i = 0; i < ELEMENTS(wanted_s); i++) {
		assert_int_equal(flap(&f), wanted_s[i] * SEC);
		assert_int_equal(f.status.flaps, i + 1);
		/* One nanosecond short of the calm is not calm enough. */
		pass(&f, wanted_s[i] * SEC - 1);
		assert_false(look(&f));
		assert_false(f.status.ready);
		assert_int_equal(f.status.calm_so_far_ns, wanted_s[i] * SEC - 1);
		assert_int_equal(node_next_due(f.node), f.now.mono_ns + 1);
		pass(&f, 1);
		assert_true(look(&f));
		assert_true(f.status.ready);
		assert_int_equal(f.status.calm_wanted_ns, 0);
		assert_int_equal(f.status.transitions, 3 + 2 * i);
	}
	stop(&f);
}

static void held_texts(void **state)
{
	struct fixture f;

	start(&f);
	(void)look(&f);
	(void)flap(&f);
	pass(&f, 4 * SEC + 1);
	assert_false(look(&f));
	assert_string_equal(f.status.reason, "KubeletNotReady");
	assert_string_equal(f.status.message,
		"held NotReady: calm for 4s of 10s asked for after 1 flap within the hour");
	assert_string_equal(f.status.detail,
		"before the calm: PLEG is not healthy: pleg was last seen active 3m5.25s ago; "
		"threshold is 3m0s");
	assert_false(f.status.degraded);
	wait_for_ready(&f);
	assert_string_equal(f.status.message, "kubelet is posting ready status");
	assert_string_equal(f.status.detail, "");
	(void)flap(&f);
	pass(&f, 4 * SEC);
	(void)look(&f);
	assert_string_equal(f.status.message,
		"held NotReady: calm for 4s of 20s asked for after 2 flaps within the hour");
	stop(&f);
}

static void calm_must_be_uninterrupted(void **state)
{
	struct fixture f;

	start(&f);
	(void)look(&f);
	(void)flap(&f);
	pass(&f, 9 * SEC);
	be_bad(&f);
	assert_true(look(&f));
	be_good(&f);
	assert_true(look(&f));
	/* It was not Ready in between, so that was no flap; but the calm begins again. */
	assert_int_equal(f.status.flaps, 1);
	assert_int_equal(f.status.calm_wanted_ns, 10 * SEC);
	assert_int_equal(f.status.calm_so_far_ns, 0);
	pass(&f, 9 * SEC);
	(void)look(&f);
	assert_false(f.status.ready);
	pass(&f, SEC);
	(void)look(&f);
	assert_true(f.status.ready);
	stop(&f);
}

static void flaps_leave_the_hour(void **state)
{
	struct fixture f;
	uint64_t first_ns;

	start(&f);
	(void)look(&f);
	first_ns = f.now.mono_ns;
	(void)flap(&f);
	wait_for_ready(&f);
	(void)flap(&f);
	pass(&f, 20 * SEC);
	(void)look(&f);
	assert_true(f.status.ready);

	/* The third flap is 15 s before the first one is an hour old: 40 s are asked for, and when
	 * the first has left, 20 s are. */
	f.now.mono_ns = first_ns + 3600 * SEC - 15 * SEC;
	assert_int_equal(flap(&f), 40 * SEC);
	assert_int_equal(node_next_due(f.node), first_ns + 3600 * SEC);
	f.now.mono_ns = first_ns + 3600 * SEC - 1;
	(void)look(&f);
	assert_int_equal(f.status.flaps, 3);
	pass(&f, 1);
	(void)look(&f);
	assert_int_equal(f.status.flaps, 2);
	assert_int_equal(f.status.calm_wanted_ns, 20 * SEC);
	assert_int_equal(f.status.calm_so_far_ns, 14 * SEC);
	assert_int_equal(node_next_due(f.node), f.now.mono_ns + 6 * SEC);

	/* Bad for longer than an hour: no flap is left, the plain calm is asked for. */
	be_bad(&f);
	(void)look(&f);
	pass(&f, 3700 * SEC);
	be_good(&f);
	(void)look(&f);
	assert_int_equal(f.status.flaps, 0);
	assert_string_equal(f.status.message, "held NotReady: calm for 0s of 10s asked for");
	stop(&f);
}

static void more_flaps_than_are_remembered(void **state)
{
	struct node_config config = NODE_CONFIG_DEFAULT;
	struct fixture f;

	start(&f);
	f.node = node_free(f.node);
	config.ready_calm_ns = 1;
	config.ready_calm_max_ns = 1;
	ASSERT_OK(node_new(&config, f.now, &f.node));
	(void)look(&f);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(flap(&f), 1);
		wait_for_ready(&f);
	}
	assert_int_equal(f.status.flaps, 64);
	assert_int_equal(f.status.transitions, 201);
	stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(before_the_first_answer),
		cmocka_unit_test(first_ready_is_at_once),
		cmocka_unit_test(kubelets_texts),
		cmocka_unit_test(status_that_grows_old),
		cmocka_unit_test(not_ready_runtime_is_down_after_a_while),
		cmocka_unit_test(quarantine),
		cmocka_unit_test(our_texts),
		cmocka_unit_test(kubelet_beside),
		cmocka_unit_test(link_failure_degrades),
		cmocka_unit_test(answer_failure_degrades),
		cmocka_unit_test(stalls),
		cmocka_unit_test(damping),
		cmocka_unit_test(held_texts),
		cmocka_unit_test(calm_must_be_uninterrupted),
		cmocka_unit_test(flaps_leave_the_hour),
		cmocka_unit_test(more_flaps_than_are_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
