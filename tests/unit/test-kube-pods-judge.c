/* Differences of the API server's word: told after what is usual and a list that is newer, else never. */
#include "unit.h"

#include "base/str.h"
#include "kube/pods-judge.h"

#define SEC(n) ((n)*NSEC_PER_SEC)
#define AT(s)  ((struct now){ SEC(s), (int64_t)SEC(1700000000 + (s)) })
#define UID    "0f2c1e9a-7b44-4c1d-9a55-3f6f0e1d2c3b"
#define HASH   "0f2c1e9a7b444c1d9a553f6f0e1d2c3b"

struct world {
	struct kube_pods *pods;
	struct pods_judge *judge;
	bool is_live, is_dead; /* the pod, its container */
	unsigned kubelet_s;    /* since when it is at its work */
	unsigned started_s;    /* the last container */
	const char *uid;
};

static void init(struct world *w)
{
	*w = (struct world){ .pods = kube_pods_new(), .uid = UID, .is_live = true };
	assert_non_null(w->pods);
	w->judge = pods_judge_new(w->pods);
	assert_non_null(w->judge);
}

static void done(struct world *w)
{
	w->judge = pods_judge_free(w->judge);
	w->pods = kube_pods_free(w->pods);
}

static void put(struct world *w, bool is_deleting, unsigned s)
{
	static const struct kube_pod_container runs = { "c1", KUBE_RUN_RUNNING };
	struct kube_pod pod = { "ns", "web", UID, w->uid, "", KUBE_PHASE_RUNNING, is_deleting, 0, 5,
		1, &runs };

	ASSERT_OK(kube_pods_put(w->pods, &pod, AT(s)));
}

/* A list that was asked for then and is whole at once. */
static void list(struct world *w, bool has_pod, unsigned s)
{
	kube_pods_begin(w->pods, AT(s));
	if (has_pod)
		put(w, false, s);
	kube_pods_end(w->pods, AT(s));
}

static uint32_t round_at(struct world *w, unsigned s)
{
	pods_judge_begin(w->judge, SEC(w->kubelet_s), AT(s));
	pods_judge_pod(w->judge, w->uid, w->is_live, SEC(w->started_s));
	pods_judge_container(w->judge, w->uid, "c1", w->is_dead);
	pods_judge_end(w->judge);
	return pods_judge_count(w->judge);
}

static void is_told(
	struct world *w, const char *key, enum pods_difference what, unsigned s, unsigned for_s)
{
	struct pods_judge_view v;

	assert_int_equal(pods_judge_count(w->judge), 1);
	assert_true(pods_judge_find(w->judge, key, AT(s), &v));
	assert_string_equal(pods_difference_text(v.difference), pods_difference_text(what));
	assert_int_equal(v.for_ns / NSEC_PER_SEC, for_s);
}

/* The pod has 5 s, and then 10 more. */
static void a_deleted_pod(void **state)
{
	struct world w;

	(void)state;
	init(&w);
	list(&w, true, 0);
	assert_int_equal(round_at(&w, 1), 0);
	kube_pods_remove(w.pods, UID, AT(10));
	assert_int_equal(round_at(&w, 11), 0);
	assert_int_equal(round_at(&w, 24), 0);
	assert_false(pods_judge_wants_list(w.judge));
	assert_int_equal(round_at(&w, 26), 1);
	is_told(&w, UID, PODS_DELETED, 26, 15);
	/* Away: what is told stays, for it cannot come back. */
	kube_pods_away(w.pods, "gone");
	assert_int_equal(round_at(&w, 30), 1);
	w.is_live = false;
	assert_int_equal(round_at(&w, 31), 0);
	w.is_live = true; /* and is not told anew while nobody knows */
	assert_int_equal(round_at(&w, 32), 0);
	assert_int_equal(round_at(&w, 90), 0);
	kube_pods_open(w.pods);
	assert_int_equal(round_at(&w, 91), 1);
	done(&w);
}

static void one_that_ends_in_time(void **state)
{
	struct world w;

	(void)state;
	init(&w);
	list(&w, true, 0);
	put(&w, true, 5);
	for (unsigned s = 5; s < 19; s++)
		assert_int_equal(round_at(&w, s), 0);
	kube_pods_remove(w.pods, UID, AT(19));
	w.is_live = false;
	for (unsigned s = 19; s < 99; s++)
		assert_int_equal(round_at(&w, s), 0);
	assert_false(pods_judge_wants_list(w.judge));
	done(&w);
}

/* It lets the whole grace pass again of whatever it finds that is to end. */
static void a_kubelet_that_began_again(void **state)
{
	struct world w;

	(void)state;
	init(&w);
	list(&w, true, 0);
	put(&w, true, 5);
	w.kubelet_s = 12;
	kube_pods_heard(w.pods, AT(26));
	assert_int_equal(round_at(&w, 26), 0);
	assert_false(pods_judge_wants_list(w.judge));
	kube_pods_heard(w.pods, AT(28));
	assert_int_equal(round_at(&w, 28), 1);
	is_told(&w, UID, PODS_OVERDUE, 28, 22);
	/* What is told stays so: it is not well again because the kubelet is. */
	w.kubelet_s = 29;
	assert_int_equal(round_at(&w, 30), 1);
	done(&w);
}

static void one_that_is_deleted_while_it_starts(void **state)
{
	struct world w;

	(void)state;
	init(&w);
	list(&w, true, 0);
	put(&w, true, 5);
	w.started_s = 20;
	kube_pods_heard(w.pods, AT(34));
	assert_int_equal(round_at(&w, 34), 0);
	kube_pods_heard(w.pods, AT(36));
	assert_int_equal(round_at(&w, 36), 1);
	is_told(&w, UID, PODS_OVERDUE, 36, 30);
	done(&w);
}

static void past_its_time(void **state)
{
	struct world w;

	(void)state;
	init(&w);
	list(&w, true, 0);
	put(&w, true, 5);
	assert_int_equal(round_at(&w, 19), 0);
	assert_int_equal(round_at(&w, 22), 0);
	assert_true(pods_judge_wants_list(
		w.judge)); /* it may be gone since, on a stream that is silent */
	kube_pods_heard(w.pods, AT(22));
	assert_int_equal(round_at(&w, 23), 1);
	assert_false(pods_judge_wants_list(w.judge));
	is_told(&w, UID, PODS_OVERDUE, 23, 17);
	kube_pods_remove(w.pods, UID, AT(24)); /* by force: goes on to be told */
	assert_int_equal(round_at(&w, 25), 1);
	is_told(&w, UID, PODS_DELETED, 25, 19);
	done(&w);
}

/* A pod that is made while the stream is silent is no ghost: the list that decides it has it. */
static void a_pod_that_nobody_has(void **state)
{
	struct world w;

	(void)state;
	init(&w);
	assert_int_equal(round_at(&w, 1), 0); /* no list yet */
	assert_int_equal(round_at(&w, 99), 0);
	list(&w, false, 99);
	assert_int_equal(round_at(&w, 100), 0);
	assert_int_equal(round_at(&w, 141), 0);
	assert_true(pods_judge_wants_list(w.judge));
	list(&w, true, 141);
	assert_int_equal(round_at(&w, 142), 0);
	assert_false(pods_judge_wants_list(w.judge));
	done(&w);

	init(&w);
	list(&w, false, 1);
	assert_int_equal(round_at(&w, 1), 0);
	list(&w, false, 42);
	assert_int_equal(round_at(&w, 43), 1);
	is_told(&w, UID, PODS_UNKNOWN, 43, 42);
	done(&w);
}

static void whom_it_does_not_judge(void **state)
{
	static const char *const uids[] = { HASH, "", "uid-web",
		"0f2c1e9a-7b44-4c1d-9a55-3f6f0e1d2c3", "0f2c1e9a-7b44-4c1d-9a55-3f6f0e1d2c3b0",
		"0f2c1e9a-7b44-4c1d-9a55-3f6f0e1d2c3g" };
	struct world w;

	(void)state;
	init(&w);
	list(&w, false, 1);
	for (size_t i = 0; i < ELEMENTS(uids); i++) {
		w.uid = uids[i];
		(void)round_at(&w, 1);
		list(&w, false, 100);
		assert_int_equal(round_at(&w, 101), 0);
		assert_false(pods_judge_wants_list(w.judge));
	}
	/* A mirror that is deleted, though its static pod runs. */
	w.uid = HASH;
	list(&w, true, 102);
	kube_pods_remove(w.pods, UID, AT(103));
	assert_int_equal(round_at(&w, 999), 0);
	done(&w);
}

/* With pods over the limit nobody can say which the API server does not have. */
static void more_pods_than_are_kept(void **state)
{
	struct kube_pod pod = { "ns", "x", "x", "x", "", KUBE_PHASE_RUNNING, false, 0, 30, 0,
		NULL };
	struct world w;

	(void)state;
	init(&w);
	for (unsigned s = 0; s < 200; s += 100) {
		kube_pods_begin(w.pods, AT(s));
		for (unsigned i = 0; i < KUBE_PODS_MAX + 1; i++) {
			pod.uid = pod.runtime_uid = FMT("p%u", i);
			(void)kube_pods_put(w.pods, &pod, AT(s));
		}
		kube_pods_end(w.pods, AT(s));
		assert_int_equal(round_at(&w, s), 0);
	}
	assert_int_equal(round_at(&w, 200), 0);
	assert_false(pods_judge_wants_list(w.judge));
	done(&w);
}

static void a_dead_container(void **state)
{
	struct world w;

	(void)state;
	init(&w);
	list(&w, true, 0);
	assert_int_equal(round_at(&w, 1), 0);
	w.is_dead = true;
	assert_int_equal(round_at(&w, 2), 0);
	assert_int_equal(round_at(&w, 16), 0);
	assert_false(pods_judge_wants_list(w.judge));
	assert_int_equal(round_at(&w, 17), 0);
	assert_true(pods_judge_wants_list(w.judge));
	list(&w, true, 17);
	assert_int_equal(round_at(&w, 18), 1);
	is_told(&w, "c1", PODS_DEAD, 18, 16);
	/* Away: it may have been told of meanwhile. */
	kube_pods_away(w.pods, "gone");
	assert_int_equal(round_at(&w, 19), 0);
	list(&w, true, 20);
	assert_int_equal(round_at(&w, 21), 1);
	put(&w, true, 22); /* being ended: told of at the end */
	assert_int_equal(round_at(&w, 23), 0);
	done(&w);
}

/* Restarted in time: another id lives, this one is waited for no longer. */
static void a_kubelet_that_tells_it(void **state)
{
	struct world w;

	(void)state;
	init(&w);
	list(&w, true, 0);
	w.is_dead = true;
	for (unsigned s = 1; s < 14; s++)
		assert_int_equal(round_at(&w, s), 0);
	w.is_dead = false;
	assert_int_equal(round_at(&w, 14), 0);
	w.is_dead = true; /* anew: the time begins again */
	kube_pods_heard(w.pods, AT(20));
	assert_int_equal(round_at(&w, 20), 0);
	kube_pods_heard(w.pods, AT(34));
	assert_int_equal(round_at(&w, 34), 0);
	kube_pods_heard(w.pods, AT(36));
	assert_int_equal(round_at(&w, 36), 1);
	done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_deleted_pod),
		cmocka_unit_test(one_that_ends_in_time),
		cmocka_unit_test(a_kubelet_that_began_again),
		cmocka_unit_test(one_that_is_deleted_while_it_starts),
		cmocka_unit_test(past_its_time),
		cmocka_unit_test(a_pod_that_nobody_has),
		cmocka_unit_test(whom_it_does_not_judge),
		cmocka_unit_test(more_pods_than_are_kept),
		cmocka_unit_test(a_dead_container),
		cmocka_unit_test(a_kubelet_that_tells_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
