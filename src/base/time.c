#include "base/time.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Writes "S.fff" without trailing zeros, for `value` counted in units of 10^-digits. */
static int format_fraction(char *out, size_t size, uint64_t value, unsigned digits)
{
	uint64_t unit = 1, rest;
	int n;

	for (unsigned i = 0; i < digits; i++)
		unit *= 10;
	rest = value % unit;
	if (rest == 0)
		return snprintf(out, size, "%" PRIu64, value / unit);
	while (rest % 10 == 0) {
		rest /= 10;
		digits--;
	}
	n = snprintf(out, size, "%" PRIu64 ".%0*" PRIu64, value / unit, (int)digits, rest);
	return n;
}

const char *time_format_go(char text[TIME_TEXT_MAX], uint64_t ns)
{
	uint64_t seconds = ns / NSEC_PER_SEC, hours = seconds / 3600, minutes = seconds / 60 % 60;
	const char *suffix = "s";
	size_t n = 0;

	if (ns == 0)
		return strcpy(text, "0s"); /* allowed: fits by its length */
	if (ns < NSEC_PER_USEC) {
		n = (size_t)snprintf(text, TIME_TEXT_MAX, "%" PRIu64, ns);
		suffix = "ns";
	} else if (ns < NSEC_PER_MSEC) {
		n = (size_t)format_fraction(text, TIME_TEXT_MAX, ns, 3);
		suffix = "\302\265s"; /* U+00B5, as Go writes it */
	} else if (ns < NSEC_PER_SEC) {
		n = (size_t)format_fraction(text, TIME_TEXT_MAX, ns, 6);
		suffix = "ms";
	} else {
		if (hours > 0)
			n = (size_t)snprintf(text, TIME_TEXT_MAX, "%" PRIu64 "h", hours);
		if (hours > 0 || minutes > 0)
			n += (size_t)snprintf(text + n, TIME_TEXT_MAX - n, "%" PRIu64 "m", minutes);
		n += (size_t)format_fraction(
			text + n, TIME_TEXT_MAX - n, ns % (60 * NSEC_PER_SEC), 9);
	}
	(void)snprintf(text + n, TIME_TEXT_MAX - n, "%s", suffix);
	return text;
}

const char *time_format_short(char text[TIME_TEXT_MAX], uint64_t ns)
{
	uint64_t s = ns / NSEC_PER_SEC;

	if (s < 10)
		(void)snprintf(
			text, TIME_TEXT_MAX, "%.1fs", time_seconds(ns - ns % (NSEC_PER_SEC / 10)));
	else if (s < 60)
		(void)snprintf(text, TIME_TEXT_MAX, "%" PRIu64 "s", s);
	else if (s < 3600)
		(void)snprintf(text, TIME_TEXT_MAX, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
	else if (s < 86400)
		(void)snprintf(
			text, TIME_TEXT_MAX, "%" PRIu64 "h%02" PRIu64 "m", s / 3600, s / 60 % 60);
	else
		(void)snprintf(text, TIME_TEXT_MAX, "%" PRIu64 "d%02" PRIu64 "h", s / 86400,
			s / 3600 % 24);
	return text;
}

/*
 * Days since 1970-01-01 <-> civil date in the proleptic Gregorian calendar. gmtime_r() is not used:
 * it reads the time zone database, and this library touches no file.
 */
static int64_t days_from_civil(int64_t y, int64_t m, int64_t d)
{
	int64_t era, yoe, doy;

	y -= m <= 2;
	era = (y >= 0 ? y : y - 399) / 400;
	yoe = y - era * 400;
	doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void civil_from_days(int64_t z, int64_t *y, int64_t *m, int64_t *d)
{
	int64_t era, doe, yoe, doy, mp;

	z += 719468;
	era = (z >= 0 ? z : z - 146096) / 146097;
	doe = z - era * 146097;
	yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	mp = (5 * doy + 2) / 153;
	*d = doy - (153 * mp + 2) / 5 + 1;
	*m = mp < 10 ? mp + 3 : mp - 9;
	*y = yoe + era * 400 + (*m <= 2);
}

const char *time_format_rfc3339(char text[TIME_TEXT_MAX], int64_t real_ns)
{
	int64_t seconds = real_ns / (int64_t)NSEC_PER_SEC, ns = real_ns % (int64_t)NSEC_PER_SEC;
	int64_t days, y, m, d;

	if (ns < 0) {
		ns += (int64_t)NSEC_PER_SEC;
		seconds--;
	}
	days = (seconds >= 0 ? seconds : seconds - 86399) / 86400;
	seconds -= days * 86400;
	civil_from_days(days, &y, &m, &d);
	(void)snprintf(text, TIME_TEXT_MAX,
		"%04" PRId64 "-%02" PRId64 "-%02" PRId64 "T%02" PRId64 ":%02" PRId64 ":%02" PRId64
		".%09" PRId64 "Z",
		y, m, d, seconds / 3600, seconds / 60 % 60, seconds % 60, ns);
	return text;
}

/* Exactly `count` digits. */
static bool take_digits(const char **p, unsigned count, int64_t *ret)
{
	int64_t value = 0;

	for (unsigned i = 0; i < count; i++, (*p)++) {
		if (**p < '0' || **p > '9')
			return false;
		value = value * 10 + (**p - '0');
	}
	*ret = value;
	return true;
}

static bool take_char(const char **p, char c)
{
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

static bool take_fraction(const char **p, int64_t *ret_ns)
{
	int64_t unit = (int64_t)NSEC_PER_SEC / 10, ns = 0;
	const char *start = *p;

	for (; **p >= '0' && **p <= '9'; (*p)++, unit /= 10)
		ns += (**p - '0') * unit;
	*ret_ns = ns;
	return *p > start;
}

static bool take_offset(const char **p, int64_t *ret_seconds)
{
	int64_t h, m, sign = **p == '-' ? -1 : 1;

	if (take_char(p, 'Z') || take_char(p, 'z')) {
		*ret_seconds = 0;
		return true;
	}
	if (!take_char(p, '+') && !take_char(p, '-'))
		return false;
	if (!take_digits(p, 2, &h) || !take_char(p, ':') || !take_digits(p, 2, &m) || h > 23 ||
		m > 59)
		return false;
	*ret_seconds = sign * (h * 3600 + m * 60);
	return true;
}

int time_parse_rfc3339(const char *text, int64_t *ret_real_ns)
{
	int64_t y, mo, d, h, mi, s, ns = 0, offset;
	const char *p = text;

	if (!take_digits(&p, 4, &y) || !take_char(&p, '-') || !take_digits(&p, 2, &mo) ||
		!take_char(&p, '-') || !take_digits(&p, 2, &d))
		return -EINVAL;
	if (!take_char(&p, 'T') && !take_char(&p, 't') && !take_char(&p, ' '))
		return -EINVAL;
	if (!take_digits(&p, 2, &h) || !take_char(&p, ':') || !take_digits(&p, 2, &mi) ||
		!take_char(&p, ':') || !take_digits(&p, 2, &s))
		return -EINVAL;
	if (take_char(&p, '.') && !take_fraction(&p, &ns))
		return -EINVAL;
	if (!take_offset(&p, &offset) || *p != '\0')
		return -EINVAL;
	if (mo < 1 || mo > 12 || d < 1 || d > 31 || h > 23 || mi > 59 || s > 60)
		return -EINVAL;
	/* What does not fit into 64-bit nanoseconds lies outside 1678 to 2262. */
	if (y < 1678 || y > 2261)
		return -EINVAL;
	*ret_real_ns = (days_from_civil(y, mo, d) * 86400 + h * 3600 + mi * 60 + s - offset) *
			(int64_t)NSEC_PER_SEC +
		ns;
	return 0;
}

static uint64_t duration_unit(const char **p, bool with_days)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {
		{ "ns", 1 },
		{ "us", NSEC_PER_USEC },
		{ "\302\265s", NSEC_PER_USEC },
		{ "ms", NSEC_PER_MSEC },
		{ "s", NSEC_PER_SEC },
		{ "m", 60 * NSEC_PER_SEC },
		{ "h", 3600 * NSEC_PER_SEC },
		{ "d", 86400 * NSEC_PER_SEC },
	};
	size_t count = sizeof(units) / sizeof(units[0]) - (with_days ? 0 : 1);

	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(units[i].name);

		if (strncmp(*p, units[i].name, len) == 0) {
			*p += len;
			return units[i].ns;
		}
	}
	return 0;
}

static int parse_duration(const char *text, bool with_days, uint64_t *ret_ns)
{
	const char *p = text;
	uint64_t total = 0;

	if (strcmp(text, "0") == 0) {
		*ret_ns = 0;
		return 0;
	}
	if (*p == '\0')
		return -EINVAL;
	while (*p) {
		uint64_t whole = 0, unit, fraction_ns;
		int64_t billionths = 0;
		const char *start = p;

		for (; *p >= '0' && *p <= '9'; p++)
			if (__builtin_mul_overflow(whole, 10, &whole) ||
				__builtin_add_overflow(whole, (uint64_t)(*p - '0'), &whole))
				return -ERANGE;
		if (take_char(&p, '.') && !take_fraction(&p, &billionths))
			return -EINVAL;
		if (p == start)
			return -EINVAL;
		unit = duration_unit(&p, with_days);
		if (unit == 0)
			return -EINVAL;
		fraction_ns = (uint64_t)((double)billionths / 1e9 * (double)unit + 0.5);
		if (__builtin_mul_overflow(whole, unit, &whole) ||
			__builtin_add_overflow(whole, fraction_ns, &whole) ||
			__builtin_add_overflow(total, whole, &total))
			return -ERANGE;
	}
	*ret_ns = total;
	return 0;
}

int time_parse_duration(const char *text, uint64_t *ret_ns)
{
	return parse_duration(text, false, ret_ns);
}

int time_parse_age(const char *text, uint64_t *ret_ns)
{
	return parse_duration(text, true, ret_ns);
}
