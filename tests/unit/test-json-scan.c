/* JSON read in place: what is JSON, walks over it, numbers and escapes. jansson judges beside it. */
#include "unit.h"

#include <jansson.h>

#include "base/mem.h"
#include "runtime/json-scan.h"

static bool is_json(const char *text, size_t len)
{
	/* Its own block, so that a sanitizer sees a read behind the end. */
	char *copy = mem_alloc(len);
	struct slice value;
	int r;

	assert_non_null(copy);
	memcpy(copy, text, len);
	r = json_scan_check((struct slice){ copy, len }, &value);
	(void)mem_free(copy);
	return r >= 0;
}

static void what_is_json(void **state)
{
	static const struct {
		const char *text;
		bool is_good;
	} rows[] = {
		{ "{}", true },
		{ " [ ] ", true },
		{ "[[],{},[{}]]", true },
		{ "0", true },
		{ "-0.5e+7", true },
		{ "\"\"", true },
		{ "null", true },
		{ "{\"a\" : 1 , \"b\":[true,false,null,\"x\\u00e9\\n\\\"\"]}", true },
		{ "", false },
		{ " ", false },
		{ "{", false },
		{ "[1", false },
		{ "[1,", false },
		{ "[1,]", false },
		{ "[,1]", false },
		{ "{\"a\"}", false },
		{ "{\"a\":}", false },
		{ "{\"a\":1,}", false },
		{ "{a:1}", false },
		{ "{\"a\":1]", false },
		{ "[1}", false },
		{ "{} {}", false },
		{ "[]]", false },
		{ "01", false },
		{ "-", false },
		{ "1.", false },
		{ ".5", false },
		{ "1e", false },
		{ "+1", false },
		{ "nul", false },
		{ "nulll", false },
		{ "True", false },
		{ "\"a", false },
		{ "\"\\x\"", false },
		{ "\"\\u12g4\"", false },
		{ "\"\\u12\"", false },
		{ "\"\n\"", false },
		{ "\"\\\"", false },
		{ "{\"a\":1 \"b\":2}", false },
		{ "[1 2]", false },
		{ "{1:2}", false },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		json_t *judge = json_loads(rows[i].text, JSON_DECODE_ANY, NULL);

		if (is_json(rows[i].text, strlen(rows[i].text)) != rows[i].is_good)
			fail_msg("%s", rows[i].text);
		if ((judge != NULL) != rows[i].is_good)
			fail_msg("jansson thinks otherwise: %s", rows[i].text);
		json_decref(judge);
	}
}

/* Each beginning of a text is none, whatever is cut. */
static void cut_anywhere(void **state)
{
	static const char text[] =
		"{\"a\":[1,-2.5e3,{\"b\\u0041\":\"\\ud83d\\ude00\"}],\"c\":true}";

	(void)state;
	for (size_t len = 0; len < sizeof(text) - 1; len++)
		assert_false(is_json(text, len));
	assert_true(is_json(text, sizeof(text) - 1));
}

static void as_deep_as_allowed(void **state)
{
	char text[2 * (JSON_SCAN_DEPTH_MAX + 1)];

	(void)state;
	for (size_t depth = JSON_SCAN_DEPTH_MAX; depth <= JSON_SCAN_DEPTH_MAX + 1; depth++) {
		memset(text, '[', depth);
		memset(text + depth, ']', depth);
		assert_int_equal(is_json(text, 2 * depth), depth <= JSON_SCAN_DEPTH_MAX);
	}
}

static struct slice checked(const char *text)
{
	struct slice value;

	ASSERT_OK(json_scan_check(SLICE(text), &value));
	return value;
}

static void assert_slice(struct slice s, const char *text)
{
	if (!slice_eq(s, SLICE(text)))
		fail_msg("'%.*s' is not '%s'", (int)s.len, str_or_empty(s.data), text);
}

static void walks(void **state)
{
	struct slice object =
		checked(" {\"a\" : [ 1 , \"x]\\\"}\" ,{\"n\":{}}] , \"b\":-7, \"a2\": "
			"true,\"b\" : \"last\" } ");
	struct json_scan scan = json_scan_object(object);
	struct slice key, value;
	static const char *const members[][2] = { { "a", "[ 1 , \"x]\\\"}\" ,{\"n\":{}}]" },
		{ "b", "-7" }, { "a2", "true" }, { "b", "\"last\"" } };
	static const char *const elements[] = { "1", "\"x]\\\"}\"", "{\"n\":{}}" };

	(void)state;
	for (size_t i = 0; i < ELEMENTS(members); i++) {
		assert_true(json_scan_member(&scan, &key, &value));
		assert_slice(key, members[i][0]);
		assert_slice(value, members[i][1]);
	}
	assert_false(json_scan_member(&scan, &key, &value));
	scan = json_scan_array(json_scan_find(object, "a"));
	for (size_t i = 0; i < ELEMENTS(elements); i++) {
		assert_true(json_scan_element(&scan, &value));
		assert_slice(value, elements[i]);
	}
	assert_false(json_scan_element(&scan, &value));
	assert_slice(json_scan_find(object, "b"), "\"last\"");
	assert_slice(json_scan_find(object, "c"), "");
	assert_slice(json_scan_find(json_scan_find(object, "c"), "d"), "");
	assert_slice(json_scan_find(checked("[1]"), "d"), "");
	assert_true(json_scan_is_true(json_scan_find(object, "a2")));
	assert_false(json_scan_is_true(json_scan_find(object, "a")));
	scan = json_scan_object(checked("{}"));
	assert_false(json_scan_member(&scan, &key, &value));
	scan = json_scan_array(checked("[ ]"));
	assert_false(json_scan_element(&scan, &value));
	scan = json_scan_array(checked("{\"a\":1}"));
	assert_false(json_scan_element(&scan, &value));
}

static void numbers(void **state)
{
	static const struct {
		const char *text;
		int r;
		int64_t value;
	} rows[] = {
		{ "0", 0, 0 },
		{ "-1", 0, -1 },
		{ "9223372036854775807", 0, INT64_MAX },
		{ "-9223372036854775808", 0, INT64_MIN },
		{ "9223372036854775808", -ERANGE, 0 },
		{ "-9223372036854775809", -ERANGE, 0 },
		{ "1.0", -EINVAL, 0 },
		{ "1e3", -EINVAL, 0 },
		{ "\"1\"", -EINVAL, 0 },
		{ "true", -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		int64_t value = 0;

		assert_int_equal(json_scan_i64(checked(rows[i].text), &value), rows[i].r);
		assert_int_equal(value, rows[i].value);
	}
	assert_int_equal(json_scan_i64((struct slice){ 0 }, &(int64_t){ 0 }), -EINVAL);
}

static void escapes(void **state)
{
	static const struct {
		const char *text, *means;
	} rows[] = {
		{ "\"\"", "" },
		{ "\"a\\u0026b\\/\"", "a&b/" },
		{ "\"\\\"\\\\\\b\\f\\n\\r\\t\"", "\"\\\b\f\n\r\t" },
		{ "\"\\u00e9\\u20AC\\ud83d\\ude00\"", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
		{ "\"\\ud83d\"", "\xef\xbf\xbd" },
		{ "\"\\ude00x\"", "\xef\xbf\xbdx" },
		{ "\"\\ud83d\\u0041\"",
			"\xef\xbf\xbd"
			"A" },
		{ "\"\\u0000\"", "\xef\xbf\xbd" },
		{ "17", "" },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct slice raw = json_scan_raw(checked(rows[i].text));
		char *out = mem_alloc(raw.len);
		size_t len;

		assert_non_null(out);
		len = json_scan_unescape(raw, out);
		assert_slice((struct slice){ out, len }, rows[i].means);
		(void)mem_free(out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_json),
		cmocka_unit_test(cut_anywhere),
		cmocka_unit_test(as_deep_as_allowed),
		cmocka_unit_test(walks),
		cmocka_unit_test(numbers),
		cmocka_unit_test(escapes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
