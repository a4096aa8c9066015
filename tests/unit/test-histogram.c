/* Buckets: a value on a bound belongs below it, as Prometheus' "le" says. */
#include "unit.h"

#include "base/histogram.h"
#include "base/mem.h"
#include "base/time.h"

static void buckets(void **state)
{
	static const struct {
		uint64_t ns;
		size_t bucket;
	} rows[] = {
		{ 0, 0 },
		{ 5 * NSEC_PER_MSEC, 0 },
		{ 5 * NSEC_PER_MSEC + 1, 1 },
		{ NSEC_PER_SEC, 7 },
		{ 10 * NSEC_PER_SEC, 10 },
		{ 10 * NSEC_PER_SEC + 1, 11 }, /* +Inf */
		{ 3600 * NSEC_PER_SEC, 11 },
	};
	struct histogram h = HISTOGRAM_INIT(histogram_def_buckets);
	double sum = 0;

	assert_int_equal(h.bound_count, 11);
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		uint64_t before = h.counts[rows[i].bucket];

		histogram_observe(&h, rows[i].ns);
		assert_int_equal(h.counts[rows[i].bucket], before + 1);
		assert_int_equal(h.total, i + 1);
		sum += time_seconds(rows[i].ns);
	}
	assert_true(h.sum_seconds == sum);
}

static void bounds_fit_and_ascend(void **state)
{
	const struct histogram all[] = {
		HISTOGRAM_INIT(histogram_def_buckets),
		HISTOGRAM_INIT(histogram_operation_buckets),
		HISTOGRAM_INIT(histogram_stall_buckets),
	};
	double bound = 0.005;

	for (size_t i = 0; i < ELEMENTS(all); i++) {
		assert_true(all[i].bound_count <= HISTOGRAM_BUCKETS_MAX);
		for (size_t j = 1; j < all[i].bound_count; j++)
			assert_true(all[i].bounds[j - 1] < all[i].bounds[j]);
	}
	/* The kubelet's: 0.005 * 2.5^n. */
	for (size_t j = 0; j < ELEMENTS(histogram_operation_buckets); j++, bound *= 2.5) {
		assert_true(histogram_operation_buckets[j] > bound * 0.999999999);
		assert_true(histogram_operation_buckets[j] < bound * 1.000000001);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(buckets),
		cmocka_unit_test(bounds_fit_and_ascend),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
