/* Strings: numbers, what is printable, and cleaning of what is not. */
#include "unit.h"

#include <stdbool.h>

#include "base/mem.h"
#include "base/str.h"

static void prefixes(void **state)
{
	assert_string_equal(str_after("unix:///run/x", "unix://"), "/run/x");
	assert_string_equal(str_after("abc", "abc"), "");
	assert_string_equal(str_after("abc", ""), "abc");
	assert_null(str_after("ab", "abc"));
	assert_null(str_after("xabc", "abc"));
	assert_string_equal(str_or_empty(NULL), "");
	assert_string_equal(str_or_empty("x"), "x");
}

static void numbers(void **state)
{
	static const struct {
		const char *text;
		int r;
		uint64_t value;
	} rows[] = {
		{ "0", 0, 0 },
		{ "007", 0, 7 },
		{ "18446744073709551615", 0, UINT64_MAX },
		{ "18446744073709551616", -ERANGE, 77 },
		{ "99999999999999999999999", -ERANGE, 77 },
		{ "", -EINVAL, 77 },
		{ " 1", -EINVAL, 77 },
		{ "1 ", -EINVAL, 77 },
		{ "+1", -EINVAL, 77 },
		{ "-1", -EINVAL, 77 },
		{ "0x10", -EINVAL, 77 },
		{ "1e3", -EINVAL, 77 },
	};

	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		uint64_t value = 77;

		assert_int_equal(str_to_u64(rows[i].text, &value), rows[i].r);
		assert_int_equal(value, rows[i].value);
	}
}

/* Well-formed UTF-8, Unicode's table 3-7, each border from both sides. */
static const struct {
	const char *bytes;
	bool printable;
	const char *clean;
} utf8_rows[] = {
	{ "", true, "" },
	{ "plain ~", true, "plain ~" },
	{ "tab\there", false, "tab?here" },
	{ "\x1b[31mred", false, "?[31mred" },
	{ "\x7f", false, "?" },
	{ "\xc2\x80", false, "??" }, /* U+0080, a control character */
	{ "\xc2\x9f", false, "??" },
	{ "\xc2\xa0", true, "\xc2\xa0" },
	{ "\xc3\xa9", true, "\xc3\xa9" },
	{ "\xc0\xaf", false, "??" },      /* overlong '/' */
	{ "\xc1\xbf", false, "??" },      /* overlong U+007F */
	{ "\xdf\xbf", true, "\xdf\xbf" }, /* U+07FF */
	{ "\xe0\x9f\xbf", false, "???" }, /* overlong U+07FF */
	{ "\xe0\xa0\x80", true, "\xe0\xa0\x80" },
	{ "\xe2\x80\xa7", true, "\xe2\x80\xa7" }, /* U+2027 */
	{ "\xe2\x80\xa8", false, "???" },         /* U+2028, line separator */
	{ "\xe2\x80\xae", false, "???" },         /* U+202E, right to left */
	{ "\xe2\x80\xaf", true, "\xe2\x80\xaf" },
	{ "\xe2\x81\xa5", true, "\xe2\x81\xa5" }, /* U+2065 */
	{ "\xe2\x81\xa6", false, "???" },         /* U+2066, isolate */
	{ "\xe2\x81\xa9", false, "???" },
	{ "\xe2\x81\xaa", true, "\xe2\x81\xaa" },
	{ "\xe2\x82\xac", true, "\xe2\x82\xac" },
	{ "\xed\x9f\xbf", true, "\xed\x9f\xbf" }, /* U+D7FF */
	{ "\xed\xa0\x80", false, "???" },         /* U+D800, a surrogate */
	{ "\xed\xbf\xbf", false, "???" },         /* U+DFFF */
	{ "\xee\x80\x80", true, "\xee\x80\x80" },
	{ "\xef\xbf\xbf", true, "\xef\xbf\xbf" },
	{ "\xf0\x8f\xbf\xbf", false, "????" }, /* overlong U+FFFF */
	{ "\xf0\x90\x80\x80", true, "\xf0\x90\x80\x80" },
	{ "\xf4\x8f\xbf\xbf", true, "\xf4\x8f\xbf\xbf" }, /* U+10FFFF */
	{ "\xf4\x90\x80\x80", false, "????" },
	{ "\xf5\x80\x80\x80", false, "????" },
	{ "\xff", false, "?" },
	{ "\x80", false, "?" },
	{ "a\xc3", false, "a?" }, /* ends too early */
	{ "\xe2\x82", false, "??" },
	{ "\xe2\x82x", false, "??x" },
	{ "\xc3\xc3\xa9", false, "?\xc3\xa9" },
};

static void utf8(void **state)
{
	char out[32];

	for (size_t i = 0; i < ELEMENTS(utf8_rows); i++) {
		size_t len = strlen(utf8_rows[i].bytes);

		if (str_is_printable(utf8_rows[i].bytes, len) != utf8_rows[i].printable)
			fail_msg("Row %zu", i);
		assert_string_equal(
			str_clean(out, sizeof(out), utf8_rows[i].bytes, len), utf8_rows[i].clean);
		assert_true(str_is_printable(out, strlen(out)));
	}
	assert_false(str_is_printable("a\0b", 3));
	assert_string_equal(str_clean(out, sizeof(out), "a\0b", 3), "a?b");
}

static void cleaning_cuts_at_a_character(void **state)
{
	char out[6];

	assert_string_equal(str_clean(out, 6, "abcdef", 6), "abcde");
	assert_string_equal(str_clean(out, 6, "abcd\xc3\xa9", 6), "abcd");
	assert_string_equal(str_clean(out, 6, "abc\xc3\xa9xx", 7), "abc\xc3\xa9");
	assert_string_equal(str_clean(out, 1, "abc", 3), "");
}

static void put_and_format(void **state)
{
	char block[16], *at = block;
	const char *a = str_put(&at, "one"), *b = str_put(&at, NULL), *c = str_put(&at, "two");

	assert_ptr_equal(a, block);
	assert_string_equal(a, "one");
	assert_string_equal(b, "");
	assert_string_equal(c, "two");
	assert_ptr_equal(at, block + 9);
	assert_string_equal(FMT("%d-%s", 5, "x"), "5-x");
	assert_int_equal(strlen(FMT("%500d", 1)), 191); /* cut, not overrun */
}

static void slices(void **state)
{
	assert_true(slice_eq(SLICE("ab"), (struct slice){ "abc", 2 }));
	assert_false(slice_eq(SLICE("ab"), SLICE("abc")));
	assert_false(slice_eq(SLICE("ab"), SLICE("ac")));
	assert_true(slice_eq((struct slice){ NULL, 0 }, SLICE("")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prefixes),
		cmocka_unit_test(numbers),
		cmocka_unit_test(utf8),
		cmocka_unit_test(cleaning_cuts_at_a_character),
		cmocka_unit_test(put_and_format),
		cmocka_unit_test(slices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
