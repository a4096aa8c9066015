/* Planted: what tools/check-pure must refuse. */
#include "base/clock.h"

#include <time.h>

struct now clock_now(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (struct now){ .mono_ns = (uint64_t)t.tv_nsec };
}
