/*
 * Time as values. Nothing here reads a clock: pure rooms are handed a `struct now`, which the agent
 * takes once per turn of its loop (base/clock.h) and the simulator makes up.
 *
 * Durations and deadlines use the monotonic time, so a step of the wall clock moves nothing; the
 * wall clock only dates what people read.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define NSEC_PER_SEC  UINT64_C(1000000000)
#define NSEC_PER_MSEC UINT64_C(1000000)
#define NSEC_PER_USEC UINT64_C(1000)
#define NSEC_NEVER    UINT64_MAX /* a due time that does not come */

struct now {
	uint64_t mono_ns; /* CLOCK_MONOTONIC */
	int64_t real_ns;  /* CLOCK_REALTIME, since the epoch */
};

/* a - b, not below zero. */
static inline uint64_t time_since(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns > b_ns ? a_ns - b_ns : 0;
}

static inline uint64_t time_min(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns < b_ns ? a_ns : b_ns;
}

static inline uint64_t time_max(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns > b_ns ? a_ns : b_ns;
}

/* a + b, saturating, so that NSEC_NEVER stays never. */
static inline uint64_t time_add(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns > UINT64_MAX - b_ns ? UINT64_MAX : a_ns + b_ns;
}

static inline double time_seconds(uint64_t ns)
{
	return (double)ns / (double)NSEC_PER_SEC;
}

#define TIME_TEXT_MAX 56

/* Go's time.Duration.String(), which the kubelet's messages are made of: 3m5.25s, 1.5ms, 0s. */
const char *time_format_go(char text[TIME_TEXT_MAX], uint64_t duration_ns);

/* For people: 0.4s, 12s, 3m05s, 2h10m, 3d04h. */
const char *time_format_short(char text[TIME_TEXT_MAX], uint64_t duration_ns);

/* RFC 3339 in UTC with nine digits: 2026-11-23T15:33:52.477362000Z. */
const char *time_format_rfc3339(char text[TIME_TEXT_MAX], int64_t real_ns);

/* The reverse, any number of fraction digits, Z or an offset. 0 or -EINVAL. */
int time_parse_rfc3339(const char *text, int64_t *ret_real_ns);

/* Go's duration syntax: 1s, 2m30s, 1.5h, 250ms, 0. Not negative. 0, -EINVAL or -ERANGE. */
int time_parse_duration(const char *text, uint64_t *ret_ns);
/* The same with days of 24 hours: 7d, 1d12h. */
int time_parse_age(const char *text, uint64_t *ret_ns);
