/*
 * Timers on the loop: monotonic, one shot, accurate to 1 ms (sd-event's own default is 250 ms). The
 * only way the agent makes timers, so that how late each one fires is measured here: that is the
 * loop's lag.
 */
#pragma once

#include <stdint.h>

#include <systemd/sd-event.h>

#include "base/histogram.h"
#include "base/mem.h"
#include "base/time.h"

struct timer;

/* How late timers fired. Written by all timers that were given it. */
struct timer_lag {
	struct histogram histogram;
	uint64_t last_ns, max_ns;
};

extern const double timer_lag_buckets[12];

/* Calls back once in `delay_ns` (NSEC_NEVER: not yet), from the loop. It may free or set the timer
 * again. */
int timer_new(sd_event *loop, uint64_t delay_ns, void (*on_due)(void *userdata), void *userdata,
	struct timer **ret);
struct timer *timer_free(struct timer *timer);
DEFINE_FREEP(struct timer *, timer_free)

/* Anew, at this monotonic time; NSEC_NEVER stops it. */
int timer_set(struct timer *timer, uint64_t due_ns);
/* Anew, in `delay_ns` from now. */
int timer_set_in(struct timer *timer, uint64_t delay_ns);
/* From now on its lateness is counted there; borrowed. */
void timer_measure(struct timer *timer, struct timer_lag *lag);
