/* Steps of the wall clock. */
#include "unit.h"

#include "agent/clock-watch.h"

#define REAL   (INT64_C(1790000000) * (int64_t)NSEC_PER_SEC)
#define SECOND ((int64_t)NSEC_PER_SEC)

static void no_step(void **state)
{
	struct clock_watch w = { 0 };
	int64_t at;

	(void)state;
	/* The first reading is no step, whatever it says; a clock that runs 1 % wrong is none. */
	for (int64_t s = 0; s < 2000; s++) {
		clock_watch_note(&w, REAL + s * SECOND + s * SECOND / 100, (uint64_t)(s * SECOND));
		assert_int_equal(
			clock_watch_step(&w, REAL + s * SECOND, (uint64_t)(s * SECOND), &at), 0);
	}
	clock_watch_note(&w, REAL, 1);
	clock_watch_note(&w, REAL + 29 * SECOND, 2);
	assert_false(w.has_step && w.step_ns == 29 * SECOND);
}

static void a_step(void **state)
{
	struct clock_watch w = { 0 };
	int64_t at = 0;

	(void)state;
	clock_watch_note(&w, REAL, 100 * NSEC_PER_SEC);
	clock_watch_note(&w, REAL + 2 * SECOND - 3600 * SECOND, 102 * NSEC_PER_SEC);
	assert_int_equal(clock_watch_step(&w, REAL - 3500 * SECOND, 112 * NSEC_PER_SEC, &at),
		-3600 * SECOND);
	assert_int_equal(at, REAL - 3510 * SECOND);
	/* Set right again: together it is no step, which is not told. */
	clock_watch_note(&w, REAL + 20 * SECOND, 120 * NSEC_PER_SEC);
	assert_int_equal(clock_watch_step(&w, REAL + 20 * SECOND, 120 * NSEC_PER_SEC, &at), 0);
	/* And forward, told for ten minutes. */
	clock_watch_note(&w, REAL + 20 * SECOND + 40 * SECOND, 120 * NSEC_PER_SEC);
	assert_int_equal(
		clock_watch_step(&w, REAL + 60 * SECOND, 120 * NSEC_PER_SEC, &at), 40 * SECOND);
	assert_int_equal(clock_watch_step(&w, REAL + 660 * SECOND, 720 * NSEC_PER_SEC, &at), 0);
	clock_watch_note(&w, REAL + 660 * SECOND, 720 * NSEC_PER_SEC);
	assert_false(w.has_step);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_step),
		cmocka_unit_test(a_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
