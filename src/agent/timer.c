#include "agent/timer.h"

#include <errno.h>
#include <time.h>

#include "base/clock.h"

#define TIMER_ACCURACY_US 1000

const double timer_lag_buckets[12] = { 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1,
	5, 30 };

struct timer {
	sd_event_source *source;
	void (*on_due)(void *userdata);
	void *userdata;
	uint64_t due_ns;
	struct timer_lag *lag;
};

static int timer_on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct timer *timer = userdata;

	(void)source, (void)usec;
	if (timer->lag) {
		struct timer_lag *lag = timer->lag;

		/* The accuracy is slack that was asked for, no lag. */
		lag->last_ns = time_since(
			clock_now().mono_ns, timer->due_ns + TIMER_ACCURACY_US * NSEC_PER_USEC);
		if (lag->last_ns > lag->max_ns)
			lag->max_ns = lag->last_ns;
		histogram_observe(&lag->histogram, lag->last_ns);
	}
	timer->on_due(timer->userdata);
	return 0;
}

int timer_new(sd_event *loop, uint64_t delay_ns, void (*on_due)(void *userdata), void *userdata,
	struct timer **ret)
{
	CLEAN(timer_freep) struct timer *timer = mem_zalloc(sizeof(*timer));
	int r;

	if (!timer)
		return -ENOMEM;
	timer->on_due = on_due;
	timer->userdata = userdata;
	r = sd_event_add_time(
		loop, &timer->source, CLOCK_MONOTONIC, 0, TIMER_ACCURACY_US, timer_on_time, timer);
	if (r < 0)
		return r;
	r = timer_set_in(timer, delay_ns);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(timer);
	return 0;
}

struct timer *timer_free(struct timer *timer)
{
	if (!timer)
		return NULL;
	timer->source = sd_event_source_disable_unref(timer->source);
	return mem_free(timer);
}

int timer_set(struct timer *timer, uint64_t due_ns)
{
	int r;

	if (due_ns == NSEC_NEVER)
		return sd_event_source_set_enabled(timer->source, SD_EVENT_OFF);
	timer->due_ns = due_ns;
	/* Rounded up: what is due is never asked for too early, which would only spin. */
	r = sd_event_source_set_time(
		timer->source, due_ns / NSEC_PER_USEC + (due_ns % NSEC_PER_USEC != 0));
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(timer->source, SD_EVENT_ONESHOT);
}

int timer_set_in(struct timer *timer, uint64_t delay_ns)
{
	return timer_set(timer, time_add(clock_now().mono_ns, delay_ns));
}

void timer_measure(struct timer *timer, struct timer_lag *lag)
{
	timer->lag = lag;
}
