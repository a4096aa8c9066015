/* JSON as it is written: commas, escapes, numbers, times, the error that sticks; events. */
#include "unit.h"

#include <jansson.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/time.h"
#include "model/event-json.h"
#include "model/json-write.h"

static void commas_and_nesting(void **state)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(4096);
	struct json_write w = JSON_WRITE_INIT(&out);

	(void)state;
	json_write_object(&w, NULL);
	json_write_array(&w, "a");
	json_write_array_end(&w);
	json_write_array(&w, "b");
	json_write_u64(&w, NULL, 1);
	json_write_object(&w, NULL);
	json_write_object_end(&w);
	json_write_null(&w, NULL);
	json_write_array_end(&w);
	json_write_bool(&w, "c", true);
	json_write_bool(&w, "d", false);
	json_write_i64(&w, "e", INT64_MIN);
	json_write_u64(&w, "f", UINT64_MAX);
	json_write_text(&w, "g", NULL);
	json_write_object_end(&w);
	ASSERT_OK(json_write_result(&w));
	assert_string_equal(buf_string(&out),
		"{\"a\":[],\"b\":[1,{},null],\"c\":true,\"d\":false,\"e\":-9223372036854775808,"
		"\"f\":18446744073709551615,\"g\":null}");
}

static void texts(void **state)
{
	static const struct {
		const char *text, *json;
	} rows[] = {
		{ "", "\"\"" },
		{ "plain", "\"plain\"" },
		{ "a\"b\\c/d", "\"a\\\"b\\\\c/d\"" },
		{ "1\n2\r3\t4", "\"1\\n2\\r3\\t4\"" },
		{ "\x01\x1b\x7f", "\"\\u0001\\u001b\\u007f\"" },
		{ "\xe2\x82\xac \xf0\x9f\x90\xa7", "\"\xe2\x82\xac \xf0\x9f\x90\xa7\"" },
		{ "x\xffy\xe2\x82", "\"x\\ufffdy\\ufffd\\ufffd\"" },
		{ "\xc0\xaf", "\"\\ufffd\\ufffd\"" },
		{ "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"" },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		CLEAN(buf_done) struct buf out = BUF_INIT(4096);
		struct json_write w = JSON_WRITE_INIT(&out);
		json_t *parsed;

		json_write_text(&w, NULL, rows[i].text);
		ASSERT_OK(json_write_result(&w));
		assert_string_equal(buf_string(&out), rows[i].json);
		parsed = json_loads(buf_string(&out), JSON_DECODE_ANY, NULL);
		assert_non_null(parsed);
		json_decref(parsed);
	}
}

static void seconds(void **state)
{
	static const struct {
		uint64_t ns;
		const char *json;
	} rows[] = {
		{ 0, "0" },
		{ 1, "0.000000001" },
		{ NSEC_PER_SEC, "1" },
		{ 10 * NSEC_PER_SEC, "10" },
		{ 1500 * NSEC_PER_MSEC, "1.5" },
		{ UINT64_MAX, "18446744073.709551615" },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		CLEAN(buf_done) struct buf out = BUF_INIT(4096);
		struct json_write w = JSON_WRITE_INIT(&out);

		json_write_seconds(&w, NULL, rows[i].ns);
		assert_string_equal(buf_string(&out), rows[i].json);
	}
}

static void the_first_error_sticks(void **state)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(8);
	struct json_write w = JSON_WRITE_INIT(&out);

	(void)state;
	json_write_text(&w, NULL, "longer than eight");
	ASSERT_ERR(json_write_result(&w), EMSGSIZE);
	buf_clear(&out);
	json_write_u64(&w, NULL, 1);
	ASSERT_ERR(json_write_result(&w), EMSGSIZE);
	assert_int_equal(out.len, 0);
}

static void an_event(void **state)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(4096);
	struct event event = {
		.sequence = 17,
		.type = EVENT_CONTAINER_DIED,
		.source = EVENT_SOURCE_RELIST,
		.confirmed = true,
		.has_exit_code = true,
		.exit_code = 3,
		.attempt = 3,
		.occurred_at_ns = INT64_C(1795448036600000000),
		.observed_at_ns = INT64_C(1795448036649160000),
		.namespace = "demo",
		.pod = "crash",
		.pod_uid = "u",
		.container = "bad",
		.container_id = "930",
		.sandbox_id = "2e9",
	};

	(void)state;
	ASSERT_OK(event_json(&event, "5f1c", &out));
	assert_string_equal(buf_string(&out),
		"{\"epoch\":\"5f1c\",\"sequence\":17,\"type\":\"ContainerDied\",\"kind\":"
		"\"container\","
		"\"namespace\":\"demo\",\"pod\":\"crash\",\"podUID\":\"u\",\"container\":\"bad\","
		"\"attempt\":3,\"containerID\":\"930\",\"sandboxID\":\"2e9\",\"exitCode\":3,"
		"\"signal\":null,\"source\":\"relist\",\"confirmed\":true,\"confirms\":null,"
		"\"initial\":false,\"occurredAt\":\"2026-11-23T15:33:56.600000000Z\","
		"\"observedAt\":\"2026-11-23T15:33:56.649160000Z\",\"detail\":null}");

	buf_clear(&out);
	event.has_exit_code = false;
	event.has_signal = true;
	event.signal = 9;
	event.confirmed = false;
	event.confirms = 4;
	event.occurred_at_ns = 0;
	ASSERT_OK(event_json(&event, "5f1c", &out));
	assert_non_null(strstr(buf_string(&out), "\"exitCode\":null,\"signal\":9"));
	assert_non_null(strstr(buf_string(&out), "\"confirmed\":false,\"confirms\":4"));
	assert_non_null(strstr(buf_string(&out), "\"occurredAt\":null"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commas_and_nesting),
		cmocka_unit_test(texts),
		cmocka_unit_test(seconds),
		cmocka_unit_test(the_first_error_sticks),
		cmocka_unit_test(an_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
