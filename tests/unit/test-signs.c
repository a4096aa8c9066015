/* Signs: how many threads the kernel counted, out of two values of its load average. */
#include "unit.h"

#include "agent/signs.h"

/* As calc_load() of include/linux/sched/loadavg.h. */
static uint64_t calc_load(uint64_t load, uint64_t active)
{
	uint64_t sum = load * 1884 + active * 2048 * (2048 - 1884);

	return (active * 2048 >= load ? sum + 2047 : sum) / 2048;
}

static void each_count_comes_out(void **state)
{
	(void)state;
	for (uint64_t active = 0; active <= 300; active++)
		for (uint64_t load = 0; load < 400 * 2048; load += 977)
			assert_int_equal(signs_active(load, calc_load(load, active)), active);
}

static void nothing_is_nothing(void **state)
{
	(void)state;
	assert_int_equal(signs_active(0, 0), 0);
	assert_int_equal(signs_active(2048, 0), 0); /* cannot be; no underflow */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_count_comes_out),
		cmocka_unit_test(nothing_is_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
