/* The journal's messages: what goes in comes out, and what is not one is refused. */
#include "unit.h"

#include "base/mem.h"
#include "store/batch.h"

static const struct event sample = {
	.sequence = 17,
	.confirms = 16,
	.type = EVENT_CONTAINER_DIED,
	.kind = CONTAINER_KIND_SANDBOX,
	.source = EVENT_SOURCE_KERNEL,
	.confirmed = true,
	.initial = true,
	.has_exit_code = true,
	.has_signal = true,
	.exit_code = -1,
	.signal = 9,
	.detail = CONTAINER_DEAD,
	.attempt = 4,
	.occurred_at_ns = 5,
	.observed_at_ns = 6,
	.namespace = "ns",
	.pod = "pod",
	.pod_uid = "uid",
	.container = "",
	.container_id = "cid",
	.sandbox_id = "sid",
};

static void there_and_back(void **state)
{
	const struct batch_difference difference = { "cid", "running", "gone", 7, 0 };
	CLEAN(buf_done) struct buf b = BATCH_INIT;
	struct batch_reader reader;
	struct batch_item item;

	ASSERT_OK(batch_begin(&b, "epoch"));
	ASSERT_OK(batch_add_event(&b, &sample));
	ASSERT_OK(batch_add_missed(&b, 18, 5, 9));
	ASSERT_OK(batch_add_difference(&b, &difference));
	ASSERT_OK(batch_open(&reader, b.data, b.len));
	assert_string_equal(reader.epoch, "epoch");

	assert_int_equal(batch_next(&reader, &item), 1);
	assert_int_equal(item.what, BATCH_EVENT);
	assert_int_equal(item.event.sequence, 17);
	assert_int_equal(item.event.confirms, 16);
	assert_int_equal(item.event.type, EVENT_CONTAINER_DIED);
	assert_int_equal(item.event.kind, CONTAINER_KIND_SANDBOX);
	assert_int_equal(item.event.source, EVENT_SOURCE_KERNEL);
	assert_true(item.event.confirmed && item.event.initial);
	assert_true(item.event.has_exit_code && item.event.has_signal);
	assert_int_equal(item.event.exit_code, -1);
	assert_int_equal(item.event.signal, 9);
	assert_int_equal(item.event.detail, CONTAINER_DEAD);
	assert_int_equal(item.event.attempt, 4);
	assert_int_equal(item.event.occurred_at_ns, 5);
	assert_int_equal(item.event.observed_at_ns, 6);
	assert_string_equal(item.event.namespace, "ns");
	assert_string_equal(item.event.pod, "pod");
	assert_string_equal(item.event.pod_uid, "uid");
	assert_string_equal(item.event.container, "");
	assert_string_equal(item.event.container_id, "cid");
	assert_string_equal(item.event.sandbox_id, "sid");

	assert_int_equal(batch_next(&reader, &item), 1);
	assert_int_equal(item.what, BATCH_MISSED);
	assert_int_equal(item.event.sequence, 18);
	assert_int_equal(item.missed, 5);
	assert_int_equal(item.event.observed_at_ns, 9);

	assert_int_equal(batch_next(&reader, &item), 1);
	assert_int_equal(item.what, BATCH_DIFFERENCE);
	assert_string_equal(item.difference.container_id, "cid");
	assert_string_equal(item.difference.runtime_word, "running");
	assert_string_equal(item.difference.kernel_word, "gone");
	assert_int_equal(item.difference.since_ns, 7);
	assert_int_equal(batch_next(&reader, &item), 0);
}

static void has_limits(void **state)
{
	CLEAN(buf_done) struct buf b = BATCH_INIT;
	char text[BATCH_RECORD_MAX + 2];
	struct event event = sample;
	size_t before;
	unsigned n = 0;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	ASSERT_ERR(batch_begin(&b, text), EINVAL);
	ASSERT_OK(batch_begin(&b, "epoch"));
	before = b.len;
	event.pod = text;
	ASSERT_ERR(batch_add_event(&b, &event), EMSGSIZE);
	assert_int_equal(b.len, before);
	for (; batch_has_room(&b); n++)
		ASSERT_OK(batch_add_event(&b, &sample));
	assert_true(n > 100);
	while (batch_add_event(&b, &sample) == 0)
		assert_true(b.len <= BATCH_MAX);
	assert_true(b.len <= BATCH_MAX && b.len > BATCH_MAX - BATCH_RECORD_MAX);
}

/* The longest there may be has room in a batch of its own; what would break a line has none at all. */
static void incidents(void **state)
{
	static const struct journal_incident one = { "i-1", "RuntimeHung", "containerd", "open",
		"{\"a\":1}", 5, 7, 0 };
	CLEAN(buf_done) struct buf b = BATCH_INIT;
	struct journal_incident bad[10];
	char text[JOURNAL_DOCUMENT_MAX + 1];
	struct batch_reader reader;
	struct batch_item item;

	memset(text, 'x', sizeof(text));
	text[0] = '{';
	text[JOURNAL_DOCUMENT_MAX - 2] = '}';
	text[JOURNAL_DOCUMENT_MAX - 1] = '\0';
	for (size_t i = 0; i < ELEMENTS(bad); i++)
		bad[i] = one;
	ASSERT_OK(batch_begin(&b, "e"));
	ASSERT_OK(batch_add_incident(&b, &one));
	bad[0].document = text;
	ASSERT_OK(batch_add_incident(&b, &bad[0]));
	ASSERT_ERR(batch_add_incident(&b, &bad[0]), EMSGSIZE);
	ASSERT_OK(batch_open(&reader, b.data, b.len));
	assert_int_equal(batch_next(&reader, &item), 1);
	assert_int_equal(item.what, BATCH_INCIDENT);
	assert_string_equal(item.incident.id, "i-1");
	assert_string_equal(item.incident.cause, "RuntimeHung");
	assert_string_equal(item.incident.subject, "containerd");
	assert_string_equal(item.incident.state, "open");
	assert_string_equal(item.incident.document, "{\"a\":1}");
	assert_int_equal(item.incident.opened_ns, 5);
	assert_int_equal(item.incident.changed_ns, 7);
	assert_int_equal(item.incident.closed_ns, 0);
	assert_int_equal(batch_next(&reader, &item), 1);
	assert_int_equal(strlen(item.incident.document), JOURNAL_DOCUMENT_MAX - 1);
	assert_int_equal(batch_next(&reader, &item), 0);

	text[JOURNAL_DOCUMENT_MAX - 2] = 'x';
	text[JOURNAL_DOCUMENT_MAX - 1] = '}';
	text[JOURNAL_DOCUMENT_MAX] = '\0';
	bad[1].id = "";
	bad[2].id = "a\nb";
	bad[3].id = "0123456789012345678901234567890123456789012345678901234567890123";
	bad[4].cause = "\033[1m";
	bad[5].document = "{\n}";
	bad[6].document = "[]";
	bad[7].opened_ns = 0;
	bad[8].closed_ns = -1;
	bad[9].subject = text + JOURNAL_DOCUMENT_MAX - JOURNAL_INCIDENT_TEXTS_MAX;
	for (size_t i = 0; i < ELEMENTS(bad); i++)
		ASSERT_ERR(batch_add_incident(&b, &bad[i]), EINVAL);
}

/* Every single byte set to a few other values: refused, or still within its bounds. */
static void bent_bytes(void **state)
{
	static const uint8_t values[] = { 0, 1, 0x7f, 0x80, 0xff };
	CLEAN(buf_done) struct buf b = BATCH_INIT;

	ASSERT_OK(batch_begin(&b, "e"));
	ASSERT_OK(batch_add_event(&b, &sample));
	ASSERT_OK(batch_add_missed(&b, 1, 1, 1));
	for (size_t at = 0; at < b.len; at++)
		for (size_t v = 0; v < ELEMENTS(values); v++) {
			uint8_t old = b.data[at];
			struct batch_reader reader;
			struct batch_item item;
			int records = 0, r;

			b.data[at] = values[v];
			r = batch_open(&reader, b.data, b.len);
			while (r >= 0 && (r = batch_next(&reader, &item)) > 0) {
				assert_true(strlen(item.event.pod ? item.event.pod : "") < b.len);
				records++;
			}
			assert_true(r == -EBADMSG || records == 2);
			b.data[at] = old;
		}
	for (size_t len = 0; len < b.len; len++) { /* Cut: never the whole of it. */
		struct batch_reader reader;
		struct batch_item item;
		int records = 0;

		if (batch_open(&reader, b.data, len) < 0)
			continue;
		while (batch_next(&reader, &item) > 0)
			records++;
		assert_true(records < 2);
	}
}

static void refuses_what_means_nothing(void **state)
{
	CLEAN(buf_done) struct buf b = BATCH_INIT;
	struct batch_difference difference = { "", "a", "b", 1, 2 };
	struct batch_reader reader;
	struct batch_item item;
	struct event event = sample;

	ASSERT_OK(batch_begin(&b, "e"));
	event.sequence = 0;
	ASSERT_OK(batch_add_event(&b, &event));
	ASSERT_OK(batch_open(&reader, b.data, b.len));
	ASSERT_ERR(batch_next(&reader, &item), EBADMSG);

	ASSERT_OK(batch_begin(&b, "e"));
	ASSERT_OK(batch_add_difference(&b, &difference));
	ASSERT_OK(batch_open(&reader, b.data, b.len));
	ASSERT_ERR(batch_next(&reader, &item), EBADMSG);

	ASSERT_OK(batch_begin(&b, ""));
	ASSERT_ERR(batch_open(&reader, b.data, b.len), EBADMSG);
	ASSERT_OK(batch_begin(&b, "a\nb"));
	ASSERT_ERR(batch_open(&reader, b.data, b.len), EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(has_limits),
		cmocka_unit_test(incidents),
		cmocka_unit_test(bent_bytes),
		cmocka_unit_test(refuses_what_means_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
