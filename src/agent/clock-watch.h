/*
 * Steps of the wall clock: its distance from the time since boot, which no one sets. A slow correction
 * (slewing) is none; two readings are seconds apart. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/time.h"

#define CLOCK_STEP_NS (30 * NSEC_PER_SEC)  /* what leases and certificates notice */
#define CLOCK_TOLD_NS (600 * NSEC_PER_SEC) /* so long a step is told of */

struct clock_watch {
	bool has_offset, has_step;
	int64_t offset_ns;   /* wall clock less time since boot */
	int64_t step_ns;     /* all of late together */
	uint64_t stepped_ns; /* boot time of the last one */
};

/* A reading of both clocks at one moment. */
void clock_watch_note(struct clock_watch *watch, int64_t real_ns, uint64_t boot_ns);
/* 0: no step of late. *ret_at_ns: when the last one was, by the wall clock of now. */
int64_t clock_watch_step(
	const struct clock_watch *watch, int64_t real_ns, uint64_t boot_ns, int64_t *ret_at_ns);
