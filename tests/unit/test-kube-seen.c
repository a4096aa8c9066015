/* Node and Event objects as an API server gives them, and as it should not. */
#include "unit.h"

#include <string.h>

#include "base/str.h"
#include "kube/seen.h"

static const char node_text[] =
	"{\"kind\":\"Node\",\"apiVersion\":\"v1\",\"metadata\":{\"name\":\"a\",\"resourceVersion\":"
	"\"812\"},\"spec\":{\"taints\":[{\"key\":\"k\",\"effect\":\"NoExecute\",\"timeAdded\":"
	"\"2026-01-01T00:00:00Z\"},{\"key\":\"pleg.dev/unhealthy\",\"value\":\"pleg\",\"effect\":"
	"\"NoSchedule\"}]},\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"},"
	"{\"type\":\"pleg.dev/ContainersStuck\",\"status\":\"True\",\"lastHeartbeatTime\":"
	"\"2026-09-21T14:14:20Z\",\"lastTransitionTime\":\"2026-09-21T14:13:20Z\",\"reason\":"
	"\"ShimStopped\",\"message\":\"The shim is stopped\"},{\"type\":\"pleg.dev/PLEGUnhealthy\","
	"\"status\":\"Maybe\",\"lastTransitionTime\":7}]}}";

static void a_node(void **state)
{
	struct seen_node *node = NULL;
	const struct reporter_node *view;

	(void)state;
	ASSERT_OK(seen_node_parse(node_text, strlen(node_text), &node, NULL));
	view = seen_node_view(node);
	assert_int_equal(view->conditions[CONDITION_CONTAINERS].status, CONDITION_TRUE);
	assert_int_equal(
		view->conditions[CONDITION_CONTAINERS].transition_ns, INT64_C(1790000000000000000));
	assert_int_equal(
		view->conditions[CONDITION_CONTAINERS].heartbeat_ns, INT64_C(1790000060000000000));
	assert_string_equal(view->conditions[CONDITION_CONTAINERS].reason, "ShimStopped");
	assert_int_equal(view->conditions[CONDITION_PLEG].status, CONDITION_UNKNOWN);
	assert_int_equal(view->conditions[CONDITION_PLEG].transition_ns, 0);
	assert_int_equal(view->conditions[CONDITION_RUNTIME].status, CONDITION_UNKNOWN);
	assert_string_equal(view->taint.resource_version, "812");
	assert_int_equal(view->taint.taint_count, 2);
	assert_string_equal(view->taint.taints[0].json,
		"{\"key\":\"k\",\"effect\":\"NoExecute\",\"timeAdded\":\"2026-01-01T00:00:00Z\"}");
	assert_string_equal(view->taint.taints[0].value, "");
	assert_string_equal(view->taint.taints[1].value, "pleg");
	node = seen_node_free(node);
}

static void what_is_no_node(void **state)
{
	static const char *const rows[][2] = {
		{ "", "Not JSON" },
		{ "[1]", "The object has no metadata" },
		{ "{\"kind\":\"Node\"}", "The object has no metadata" },
		{ "{\"kind\":\"Node\",\"metadata\":[]}", "The object has no metadata" },
		{ "{\"kind\":\"Pod\",\"metadata\":{}}", "The object is no Node" },
		{ "{\"kind\":\"Node\",\"metadata\":{\"name\":\"\xe2\x82\"}}", "Not JSON" },
		{ "{\"kind\":\"Node\",\"metadata\":{}", "Not JSON" },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct seen_node *node = NULL;
		struct err e = { 0 };

		ASSERT_ERR(seen_node_parse(rows[i][0], strlen(rows[i][0]), &node, &e), EBADMSG);
		assert_non_null(str_after(e.text, rows[i][1]));
		assert_null(node);
	}
}

/* Of every field a value of every other type: read, without it. */
static void fields_of_a_wrong_type(void **state)
{
	static const char *const values[] = { "7", "null", "\"x\"", "[]", "[null,7,\"x\",[[]]]",
		"{}", "true" };
	static const char *const shapes[] = {
		"{\"kind\":\"Node\",\"metadata\":{\"resourceVersion\":%s}}",
		"{\"kind\":\"Node\",\"metadata\":{},\"status\":%s,\"spec\":%s}",
		"{\"kind\":\"Node\",\"metadata\":{},\"status\":{\"conditions\":%s}}",
		"{\"kind\":\"Node\",\"metadata\":{\"resourceVersion\":\"1\"},\"spec\":{\"taints\":%"
		"s}}",
		"{\"kind\":\"Node\",\"metadata\":{},\"status\":{\"conditions\":[{\"type\":"
		"\"pleg.dev/PLEGUnhealthy\",\"status\":%s,\"reason\":%s}]}}",
	};

	(void)state;
	for (size_t s = 0; s < ELEMENTS(shapes); s++)
		for (size_t v = 0; v < ELEMENTS(values); v++) {
			struct seen_node *node = NULL;
			struct buf text = BUF_INIT(1024);

			for (const char *p = shapes[s]; *p; p++)
				if (p[0] == '%' && p[1] == 's') {
					ASSERT_OK(buf_append_string(&text, values[v]));
					p++;
				} else {
					ASSERT_OK(buf_append(&text, p, 1));
				}
			ASSERT_OK(seen_node_parse(text.data, text.len, &node, NULL));
			assert_int_equal(seen_node_view(node)->conditions[CONDITION_PLEG].status,
				CONDITION_UNKNOWN);
			node = seen_node_free(node);
			buf_done(&text);
		}
}

static void too_many_taints_are_not_written_back(void **state)
{
	struct buf text = BUF_INIT(64u << 10);
	struct seen_node *node = NULL;

	(void)state;
	ASSERT_OK(buf_append_string(&text,
		"{\"kind\":\"Node\",\"metadata\":{\"resourceVersion\":"
		"\"1\"},\"spec\":{\"taints\":[{}"));
	for (unsigned i = 0; i < SEEN_TAINTS_MAX; i++)
		ASSERT_OK(buf_append_string(&text, ",{}"));
	ASSERT_OK(buf_append_string(&text, "]}}"));
	ASSERT_OK(seen_node_parse(text.data, text.len, &node, NULL));
	assert_string_equal(seen_node_view(node)->taint.resource_version, "");
	node = seen_node_free(node);
	buf_done(&text);
}

static void an_event_and_a_status(void **state)
{
	static const char event[] = "{\"kind\":\"Event\",\"metadata\":{},\"count\":12,"
				    "\"firstTimestamp\":\"2026-09-21T14:13:20Z\"}";
	static const char strange[] = "{\"metadata\":{},\"count\":-5,\"firstTimestamp\":null}";
	static const char status[] =
		"{\"kind\":\"Status\",\"message\":\"nodes \\\"a\\\" not found\"}";
	char text[64];
	uint32_t count = 0;
	int64_t first_ns = 1;

	(void)state;
	ASSERT_OK(seen_event_parse(event, strlen(event), &count, &first_ns, NULL));
	assert_int_equal(count, 12);
	assert_int_equal(first_ns, INT64_C(1790000000000000000));
	ASSERT_OK(seen_event_parse(strange, strlen(strange), &count, &first_ns, NULL));
	assert_int_equal(count, 1);
	assert_int_equal(first_ns, 0);
	ASSERT_ERR(seen_event_parse("x", 1, &count, &first_ns, NULL), EBADMSG);
	assert_string_equal(seen_status_message(status, strlen(status), text, sizeof(text)),
		"nodes \"a\" not found");
	assert_string_equal(seen_status_message("<html>", 6, text, sizeof(text)), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node),
		cmocka_unit_test(what_is_no_node),
		cmocka_unit_test(fields_of_a_wrong_type),
		cmocka_unit_test(too_many_taints_are_not_written_back),
		cmocka_unit_test(an_event_and_a_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
