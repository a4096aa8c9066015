/* The supervision table: back-off, the crash limit, stopping, what cannot be killed. No real time. */
#include "unit.h"

#include "base/mem.h"
#include "role/supervise.h"

#define HELLO_NS (10 * NSEC_PER_SEC)

static void start(struct supervise *s, uint64_t now_ns)
{
	supervise_init(s, HELLO_NS);
	assert_int_equal(supervise_step(s, SUPERVISE_WANT, now_ns), SUPERVISE_SPAWN);
	assert_int_equal(s->state, ROLE_STARTING);
	assert_int_equal(supervise_step(s, SUPERVISE_READY, now_ns), SUPERVISE_NOTHING);
	assert_int_equal(s->state, ROLE_RUNNING);
}

static void backoff_doubles_up_to_its_cap(void **state)
{
	/* Crashes far enough apart not to be a failure: the delay alone is looked at. */
	uint64_t now_ns = NSEC_PER_SEC, wanted_ns = SUPERVISE_BACKOFF_MIN_NS;
	struct supervise s;

	start(&s, now_ns);
	for (int i = 0; i < 15; i++) {
		now_ns += 35 * NSEC_PER_SEC;
		assert_int_equal(supervise_step(&s, SUPERVISE_EXITED, now_ns), SUPERVISE_REAP);
		assert_int_equal(s.state, ROLE_BACKOFF);
		assert_int_equal(s.due_ns - now_ns, wanted_ns);
		wanted_ns = time_min(wanted_ns * 2, SUPERVISE_BACKOFF_MAX_NS);
		assert_int_equal(
			supervise_step(&s, SUPERVISE_DUE, s.due_ns - 1), SUPERVISE_NOTHING);
		now_ns = s.due_ns;
		assert_int_equal(supervise_step(&s, SUPERVISE_DUE, now_ns), SUPERVISE_SPAWN);
		(void)supervise_step(&s, SUPERVISE_READY, now_ns);
	}
	assert_int_equal(wanted_ns, SUPERVISE_BACKOFF_MAX_NS);
	assert_int_equal(s.starts, 16);

	now_ns += SUPERVISE_STEADY_NS;
	(void)supervise_step(&s, SUPERVISE_EXITED, now_ns);
	assert_int_equal(s.due_ns - now_ns, SUPERVISE_BACKOFF_MIN_NS);
}

static void ten_crashes_are_a_failure(void **state)
{
	uint64_t now_ns = NSEC_PER_SEC;
	struct supervise s;

	start(&s, now_ns);
	for (unsigned i = 0; i < SUPERVISE_CRASH_MAX; i++) {
		assert_int_not_equal(s.state, ROLE_FAILED);
		(void)supervise_step(&s, SUPERVISE_EXITED, now_ns);
		if (s.state != ROLE_BACKOFF)
			break;
		now_ns = s.due_ns;
		(void)supervise_step(&s, SUPERVISE_DUE, now_ns);
	}
	assert_int_equal(s.state, ROLE_FAILED);
	assert_int_equal(s.crash_count, SUPERVISE_CRASH_MAX);
	assert_int_equal(s.due_ns - now_ns, SUPERVISE_RETRY_NS);

	/* One more try, and a crash of it leads back only when it is again the tenth in time. */
	now_ns = s.due_ns;
	assert_int_equal(supervise_step(&s, SUPERVISE_DUE, now_ns), SUPERVISE_SPAWN);
	(void)supervise_step(&s, SUPERVISE_EXITED, now_ns + 1);
	assert_int_equal(s.state, ROLE_BACKOFF);
}

static void silent_at_start_is_killed_and_counts(void **state)
{
	struct supervise s;

	supervise_init(&s, HELLO_NS);
	(void)supervise_step(&s, SUPERVISE_WANT, 5);
	assert_int_equal(s.due_ns, 5 + HELLO_NS);
	assert_int_equal(supervise_step(&s, SUPERVISE_DUE, 5 + HELLO_NS), SUPERVISE_KILL);
	assert_int_equal(s.state, ROLE_STUCK);
	assert_int_equal(supervise_step(&s, SUPERVISE_EXITED, 6 + HELLO_NS), SUPERVISE_REAP);
	assert_int_equal(s.state, ROLE_BACKOFF);
	assert_int_equal(s.crash_count, 1);
}

static void unkillable_is_abandoned_up_to_the_cap(void **state)
{
	uint64_t now_ns = NSEC_PER_SEC;
	struct supervise s;

	start(&s, now_ns);
	assert_int_equal(supervise_step(&s, SUPERVISE_LATE, now_ns), SUPERVISE_KILL);
	assert_int_equal(s.state, ROLE_STUCK);
	assert_int_equal(s.stuck, 1);
	now_ns = s.due_ns;
	assert_int_equal(supervise_step(&s, SUPERVISE_DUE, now_ns), SUPERVISE_ABANDON);
	assert_int_equal(s.state, ROLE_BACKOFF);
	assert_int_equal(s.due_ns - now_ns, SUPERVISE_BACKOFF_MIN_NS);
	assert_int_equal(s.crash_count, 0); /* Nothing it did wrong. */

	s.full = true;
	assert_int_equal(supervise_step(&s, SUPERVISE_DUE, s.due_ns), SUPERVISE_NOTHING);
	assert_int_equal(s.state, ROLE_FAILED);
	/* As soon as one of them is dead after all, not with the next try in five minutes. */
	supervise_room(&s, now_ns + 7);
	assert_int_equal(s.due_ns, now_ns + 7);
	assert_int_equal(supervise_step(&s, SUPERVISE_DUE, s.due_ns), SUPERVISE_SPAWN);

	/* One that failed by its own fault waits all the same. */
	s.state = ROLE_FAILED;
	s.due_ns = 1000 * NSEC_PER_SEC;
	supervise_room(&s, now_ns);
	assert_int_equal(s.due_ns, 1000 * NSEC_PER_SEC);
}

static void stopping(void **state)
{
	struct supervise s;

	start(&s, 1);
	s.grace_ns = 7;
	assert_int_equal(supervise_step(&s, SUPERVISE_UNWANT, 10), SUPERVISE_HANG_UP);
	assert_int_equal(s.due_ns, 17);
	assert_int_equal(supervise_step(&s, SUPERVISE_BROKEN, 11), SUPERVISE_NOTHING);
	assert_int_equal(supervise_step(&s, SUPERVISE_EXITED, 12), SUPERVISE_REAP);
	assert_int_equal(s.state, ROLE_STOPPED);

	start(&s, 20);
	s.grace_ns = 7;
	(void)supervise_step(&s, SUPERVISE_UNWANT, 30);
	assert_int_equal(supervise_step(&s, SUPERVISE_DUE, 37), SUPERVISE_KILL);
	assert_int_equal(supervise_step(&s, SUPERVISE_EXITED, 38), SUPERVISE_REAP);
	assert_int_equal(s.state, ROLE_STOPPED);

	/* Wanted again while it ends: comes back at once, and that is no crash. */
	start(&s, 50);
	(void)supervise_step(&s, SUPERVISE_UNWANT, 60);
	(void)supervise_step(&s, SUPERVISE_WANT, 61);
	(void)supervise_step(&s, SUPERVISE_EXITED, 62);
	assert_int_equal(s.state, ROLE_BACKOFF);
	assert_int_equal(s.due_ns, 62);
	assert_int_equal(s.crash_count, 0);

	assert_int_equal(supervise_step(&s, SUPERVISE_UNWANT, 62), SUPERVISE_NOTHING);
	assert_int_equal(s.state, ROLE_STOPPED);
	assert_int_equal(s.due_ns, NSEC_NEVER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(backoff_doubles_up_to_its_cap),
		cmocka_unit_test(ten_crashes_are_a_failure),
		cmocka_unit_test(silent_at_start_is_killed_and_counts),
		cmocka_unit_test(unkillable_is_abandoned_up_to_the_cap),
		cmocka_unit_test(stopping),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
