/* A loop with a deadline, children, and what must be left at the end: nothing. */
#pragma once

#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

#define WAIT_NS (20 * NSEC_PER_SEC)

#define RUN_UNTIL(event, condition)                                                                \
	do {                                                                                       \
		uint64_t end_ns_ = clock_now().mono_ns + WAIT_NS;                                  \
		while (!(condition)) {                                                             \
			if (clock_now().mono_ns > end_ns_)                                         \
				fail_msg("Never: %s", #condition);                                 \
			ASSERT_OK(sd_event_run((event), 100 * 1000));                              \
		}                                                                                  \
	} while (0)

/* Turns of the loop while nothing is expected. */
#define RUN_TURNS(event, turns)                                                                    \
	do {                                                                                       \
		for (int turn_ = 0; turn_ < (turns); turn_++)                                      \
			ASSERT_OK(sd_event_run((event), 10 * 1000));                               \
	} while (0)

static inline unsigned harness_count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	(void)closedir(dir);
	return n;
}
