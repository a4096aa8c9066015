#include "base/clock.h"

#include <time.h>

struct now clock_now(void)
{
	struct timespec mono, real;

	/* Neither call can fail with a valid clock id and pointer. */
	(void)clock_gettime(CLOCK_MONOTONIC, &mono);
	(void)clock_gettime(CLOCK_REALTIME, &real);
	return (struct now){
		.mono_ns = (uint64_t)mono.tv_sec * NSEC_PER_SEC + (uint64_t)mono.tv_nsec,
		.real_ns = (int64_t)real.tv_sec * (int64_t)NSEC_PER_SEC + real.tv_nsec,
	};
}

uint64_t clock_boot_ns(void)
{
	struct timespec boot;

	(void)clock_gettime(CLOCK_BOOTTIME, &boot);
	return (uint64_t)boot.tv_sec * NSEC_PER_SEC + (uint64_t)boot.tv_nsec;
}
