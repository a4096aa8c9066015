#include "base/histogram.h"

#include "base/time.h"

const double histogram_def_buckets[11] = { 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5,
	10 };

const double histogram_operation_buckets[14] = { 0.005, 0.0125, 0.03125, 0.078125, 0.1953125,
	0.48828125, 1.220703125, 3.0517578125, 7.62939453125, 19.073486328125, 47.6837158203125,
	119.20928955078125, 298.0232238769531, 745.0580596923828 };

const double histogram_stall_buckets[12] = { 0.1, 0.5, 1, 2, 5, 10, 30, 60, 180, 600, 1800, 3600 };

void histogram_observe(struct histogram *h, uint64_t duration_ns)
{
	double seconds = time_seconds(duration_ns);
	size_t i = 0;

	while (i < h->bound_count && seconds > h->bounds[i])
		i++;
	h->counts[i]++;
	h->total++;
	h->sum_seconds += seconds;
}
