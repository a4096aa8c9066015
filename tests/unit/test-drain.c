/* Which pods a drain takes, why one stays, and the operands of pleg taint. */
#include "unit.h"

#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/time.h"
#include "drain/plan.h"
#include "drain/taint-edit.h"

#define NOW (INT64_C(1790000000) * (int64_t)NSEC_PER_SEC)

static const struct drain_flags none, all = { true, true, true };

static void who_is_taken(void **state)
{
	struct drain_pod pod = { .owner = DRAIN_OWNER_OTHER };
	struct drain_verdict v = drain_judge(&pod, &none);

	(void)state;
	assert_int_equal(v.action, DRAIN_TAKE);
	assert_int_equal(v.why, 0);

	pod.owner = DRAIN_OWNER_DAEMONSET;
	assert_int_equal(drain_judge(&pod, &none).action, DRAIN_REFUSE);
	v = drain_judge(&pod, &all);
	assert_int_equal(v.action, DRAIN_SKIP);
	assert_int_equal(v.why, 1u << DRAIN_WHY_DAEMONSET);

	pod.owner = DRAIN_OWNER_DAEMONSET_GONE;
	assert_int_equal(drain_judge(&pod, &none).action, DRAIN_REFUSE);
	assert_int_equal(drain_judge(&pod, &all).action, DRAIN_TAKE);

	pod = (struct drain_pod){ .owner = DRAIN_OWNER_NONE, .has_empty_dir = true };
	v = drain_judge(&pod, &none);
	assert_int_equal(v.action, DRAIN_REFUSE);
	assert_int_equal(v.why, 1u << DRAIN_WHY_LOCAL_DATA | 1u << DRAIN_WHY_UNMANAGED);
	/* Only what is still in the way is told. */
	v = drain_judge(&pod, &(struct drain_flags){ .force = true });
	assert_int_equal(v.action, DRAIN_REFUSE);
	assert_int_equal(v.why, 1u << DRAIN_WHY_LOCAL_DATA);
	assert_int_equal(drain_judge(&pod, &all).action, DRAIN_TAKE);
}

static void finished_and_mirror(void **state)
{
	struct drain_pod pod = { .owner = DRAIN_OWNER_NONE, .is_finished = true };

	(void)state;
	pod.has_empty_dir = true;
	assert_int_equal(drain_judge(&pod, &none).action, DRAIN_TAKE);
	assert_int_equal(drain_judge(&pod, &none).why, 0);
	pod.is_mirror = true;
	assert_int_equal(drain_judge(&pod, &all).action, DRAIN_SKIP);
	for (enum drain_why why = 0; why < DRAIN_WHY_COUNT; why++) {
		assert_true(drain_warning(why)[0] != '\0');
		assert_non_null(strstr(drain_refusal(why), "--"));
	}
}

static void explained(const struct drain_left *left, enum drain_stay stay, const char *part)
{
	struct buf what = BUF_INIT(4096), advice = BUF_INIT(4096);

	assert_int_equal(drain_stay_of(left), stay);
	ASSERT_OK(drain_explain(left, &what, &advice));
	if (!strstr(buf_string(&what), part))
		fail_msg("'%s' is not in '%s'", part, buf_string(&what));
	assert_true(advice.len > 0);
	buf_done(&what);
	buf_done(&advice);
}

static void advised(const struct drain_left *left, const char *part)
{
	struct buf what = BUF_INIT(4096), advice = BUF_INIT(4096);

	ASSERT_OK(drain_explain(left, &what, &advice));
	if (!strstr(buf_string(&advice), part))
		fail_msg("'%s' is not in '%s'", part, buf_string(&advice));
	buf_done(&what);
	buf_done(&advice);
}

static void why_it_stays(void **state)
{
	struct drain_left left = { .namespace = "a", .name = "b", .now_ns = NOW };

	(void)state;
	explained(&left, DRAIN_STAY_UNASKED, "not been answered");
	left.http = 429;
	left.answer = "budget x";
	explained(&left, DRAIN_STAY_BUDGET, "budget x");
	left.http = 403;
	explained(&left, DRAIN_STAY_REFUSED, "budget x");
	advised(&left, "create on pods/eviction");
	left.is_deletion = true;
	advised(&left, "delete on pods");
	left.is_namespace_ending = true;
	advised(&left, "kubectl get namespace a -o yaml");
	left.is_accepted = true;
	explained(&left, DRAIN_STAY_GRACE, "not marked");
	left.deadline_ns = NOW + 12 * (int64_t)NSEC_PER_SEC;
	left.cause = "ShimStopped";
	explained(&left, DRAIN_STAY_GRACE, "12s");
	left.deadline_ns = NOW - 65 * (int64_t)NSEC_PER_SEC;
	left.finalizer = "x/y";
	explained(&left, DRAIN_STAY_STUCK, "ShimStopped");
	left.cause = NULL;
	explained(&left, DRAIN_STAY_FINALIZER, "x/y");
	left.finalizer = NULL;
	left.force_refused = "thread 7 lives";
	explained(&left, DRAIN_STAY_KUBELET, "thread 7 lives");
	explained(&left, DRAIN_STAY_KUBELET, "1m05s ago");
}

static void is_taint(
	const char *text, const char *key, const char *value, const char *effect, bool removal)
{
	struct taint_edit e;

	ASSERT_OK(taint_edit_parse(text, &e, NULL));
	assert_string_equal(e.key, key);
	assert_string_equal(e.value, value);
	assert_string_equal(e.effect, effect);
	assert_int_equal(e.is_removal, removal);
}

static void taints(void **state)
{
	(void)state;
	is_taint("a=b:NoSchedule", "a", "b", "NoSchedule", false);
	is_taint("example.com/a_B.c:NoExecute", "example.com/a_B.c", "", "NoExecute", false);
	is_taint("a=:PreferNoSchedule", "a", "", "PreferNoSchedule", false);
	is_taint("a:NoSchedule-", "a", "", "NoSchedule", true);
	is_taint("a-", "a", "", "", true);
	is_taint("x/a-b-", "x/a-b", "", "", true);
}

static void no_taints(void **state)
{
	static const char *const bad[] = { "", "-", "a", "a=b", ":NoSchedule", "a:", "a:-", "a=b-",
		"a=b:NoSchedule-", "a:noschedule", "-a:NoSchedule", "a b:NoSchedule",
		"a=b c:NoSchedule", "/a:NoSchedule", "X/a:NoSchedule", "x/:NoSchedule",
		"x//a:NoSchedule", "a=-:NoSchedule", "a:NoScheduleNoScheduleNoScheduleNoSchedule",
		"x.-y/a:NoSchedule", "a\n:NoSchedule" };
	char longest[80] = "a=";
	struct taint_edit e;

	(void)state;
	for (size_t i = 0; i < ELEMENTS(bad); i++) {
		struct err err = { 0 };

		if (taint_edit_parse(bad[i], &e, &err) != -EINVAL)
			fail_msg("'%s' was taken", bad[i]);
		assert_true(err.text[0] != '\0');
	}
	memset(longest + 2, 'v', 63);
	memcpy(longest + 65, ":NoSchedule", sizeof(":NoSchedule"));
	ASSERT_OK(taint_edit_parse(longest, &e, NULL));
	memset(longest + 2, 'v', 64);
	memcpy(longest + 66, ":NoExecute", sizeof(":NoExecute"));
	ASSERT_ERR(taint_edit_parse(longest, &e, NULL), EINVAL);
}

static void names(void **state)
{
	(void)state;
	assert_true(taint_edit_is_one("a-"));
	assert_true(taint_edit_is_one("a:b"));
	assert_true(taint_edit_is_one("a=b"));
	assert_false(taint_edit_is_one("worker-3.example"));
	assert_true(taint_edit_is_node_name("worker-3.example"));
	assert_true(taint_edit_is_node_name("10.0.0.1"));
	assert_false(taint_edit_is_node_name("Worker"));
	assert_false(taint_edit_is_node_name("../pods"));
	assert_false(taint_edit_is_node_name("a..b"));
	assert_false(taint_edit_is_node_name(".a"));
	assert_false(taint_edit_is_node_name("a."));
	assert_false(taint_edit_is_node_name("a-.b"));
	assert_false(taint_edit_is_node_name(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_is_taken),
		cmocka_unit_test(finished_and_mirror),
		cmocka_unit_test(why_it_stays),
		cmocka_unit_test(taints),
		cmocka_unit_test(no_taints),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
