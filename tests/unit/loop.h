/*
 * A loop that is run until something holds, with a deadline so generous that no test depends on it,
 * and the count of descriptors, which must be the same at the end.
 */
#pragma once

#include "unit.h"

#include <dirent.h>
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "base/time.h"

#define WAIT_NS (20 * NSEC_PER_SEC)

/* `why` is a text that tells more, should it never hold. */
#define RUN_UNTIL_TELLING(event, condition, why)                                                   \
	do {                                                                                       \
		uint64_t end_ns_ = clock_now().mono_ns + WAIT_NS;                                  \
		while (!(condition)) {                                                             \
			if (clock_now().mono_ns > end_ns_)                                         \
				fail_msg("Never: %s %s", #condition, (why));                       \
			ASSERT_OK(sd_event_run((event), 100 * 1000));                              \
		}                                                                                  \
	} while (0)

#define RUN_UNTIL(event, condition) RUN_UNTIL_TELLING(event, condition, "")

/* Turns of the loop while nothing is expected. */
#define RUN_TURNS(event, turns)                                                                    \
	do {                                                                                       \
		for (int turn_ = 0; turn_ < (turns); turn_++)                                      \
			ASSERT_OK(sd_event_run((event), 10 * 1000));                               \
	} while (0)

static inline int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	(void)closedir(dir);
	return n;
}
