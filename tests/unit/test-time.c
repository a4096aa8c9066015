/* Time as text: Go's durations, RFC 3339, and back. */
#include "unit.h"

#include "base/mem.h"
#include "base/time.h"

static void go_durations(void **state)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} rows[] = {
		{ 0, "0s" },
		{ 1, "1ns" },
		{ 1100, "1.1\302\265s" },
		{ 2200000, "2.2ms" },
		{ 3300000000, "3.3s" },
		{ 180000000000, "3m0s" },
		{ 185123456789, "3m5.123456789s" },
		{ 8 * 3600 * NSEC_PER_SEC, "8h0m0s" },
		{ 59999999999, "59.999999999s" },
		{ 100000000, "100ms" },
	};
	char text[TIME_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++)
		assert_string_equal(time_format_go(text, rows[i].ns), rows[i].text);
}

static void durations_parse(void **state)
{
	static const struct {
		const char *text;
		int r;
		uint64_t ns;
	} rows[] = {
		{ "1s", 0, NSEC_PER_SEC },
		{ "2m30s", 0, 150 * NSEC_PER_SEC },
		{ "1.5h", 0, 5400 * NSEC_PER_SEC },
		{ "250ms", 0, 250 * NSEC_PER_MSEC },
		{ "0", 0, 0 },
		{ "3m0s", 0, 180 * NSEC_PER_SEC },
		{ "", -EINVAL, 0 },
		{ "5", -EINVAL, 0 },
		{ "-5s", -EINVAL, 0 },
		{ "s", -EINVAL, 0 },
		{ "1x", -EINVAL, 0 },
		{ "99999999999999999999s", -ERANGE, 0 },
		{ "9999999999h", -ERANGE, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		uint64_t ns = 0;

		assert_int_equal(time_parse_duration(rows[i].text, &ns), rows[i].r);
		assert_int_equal(ns, rows[i].ns);
	}
}

static void ages_have_days(void **state)
{
	uint64_t ns = 0;

	(void)state;
	ASSERT_OK(time_parse_age("7d", &ns));
	assert_int_equal(ns, UINT64_C(7) * 86400 * NSEC_PER_SEC);
	ASSERT_OK(time_parse_age("1d12h0.5m", &ns));
	assert_int_equal(ns, UINT64_C(36) * 3600 * NSEC_PER_SEC + 30 * NSEC_PER_SEC);
	ASSERT_ERR(time_parse_age("7", &ns), EINVAL);
	ASSERT_ERR(time_parse_age("d", &ns), EINVAL);
	ASSERT_ERR(time_parse_age("999999999d", &ns), ERANGE);
	ASSERT_ERR(time_parse_duration("7d", &ns), EINVAL);
}

static void rfc3339_both_ways(void **state)
{
	char text[TIME_TEXT_MAX];
	int64_t ns = 0;

	(void)state;
	ASSERT_OK(time_parse_rfc3339("2026-11-23T15:33:52.477362Z", &ns));
	assert_string_equal(time_format_rfc3339(text, ns), "2026-11-23T15:33:52.477362000Z");
	ASSERT_OK(time_parse_rfc3339("1969-12-31T23:59:59.5Z", &ns));
	assert_string_equal(time_format_rfc3339(text, ns), "1969-12-31T23:59:59.500000000Z");
	ASSERT_OK(time_parse_rfc3339("2024-02-29T01:00:00+01:00", &ns));
	assert_string_equal(time_format_rfc3339(text, ns), "2024-02-29T00:00:00.000000000Z");
	ASSERT_ERR(time_parse_rfc3339("2024-02-29", &ns), EINVAL);
	ASSERT_ERR(time_parse_rfc3339("2024-13-01T00:00:00Z", &ns), EINVAL);
	ASSERT_ERR(time_parse_rfc3339("2024-02-29T01:00:00", &ns), EINVAL);
	ASSERT_ERR(time_parse_rfc3339("9999-02-28T01:00:00Z", &ns), EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(go_durations),
		cmocka_unit_test(durations_parse),
		cmocka_unit_test(ages_have_days),
		cmocka_unit_test(rfc3339_both_ways),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
