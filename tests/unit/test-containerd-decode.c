/*
 * The decoders of hints: what protobuf-c encodes must be read as it was meant, and what is cut,
 * torn or foreign must be told apart from what is new. Envelopes recorded from a real containerd
 * are in tests/fuzz/corpus/containerd.
 */
#include "unit.h"

#include "base/mem.h"
#include "containerd.pb-c.h"
#include "cri.pb-c.h"
#include "runtime/containerd-decode.h"
#include "runtime/cri-events-decode.h"

#define ID "4a4519cbd6cf7d6cb33a59eec9e71e4b498981ca79eda3238f94c04a49800ab4"

struct bytes {
	uint8_t data[4096];
	size_t len;
};

static struct slice slice_of_bytes(const struct bytes *b)
{
	return (struct slice){ (const char *)b->data, b->len };
}

static void pack(struct bytes *ret, const void *message)
{
	assert_true(protobuf_c_message_get_packed_size(message) <= sizeof(ret->data));
	ret->len = protobuf_c_message_pack(message, ret->data);
}

static void pack_envelope(
	struct bytes *ret, const char *namespace, const char *type, const void *event)
{
	Containerd__Timestamp at = CONTAINERD__TIMESTAMP__INIT;
	Containerd__Envelope envelope = CONTAINERD__ENVELOPE__INIT;
	Containerd__Any any = CONTAINERD__ANY__INIT;
	struct bytes value;

	pack(&value, event);
	at.seconds = 1795462899;
	at.nanos = 388489529;
	any.type_url = (char *)(uintptr_t)type;
	any.value = (ProtobufCBinaryData){ value.len, value.data };
	envelope.timestamp = &at;
	envelope.namespace_ = (char *)(uintptr_t) namespace;
	envelope.topic = (char *)(uintptr_t) "/tasks/some";
	envelope.event = &any;
	pack(ret, &envelope);
}

static enum hint_fate decode(const struct bytes *b, struct hint *ret)
{
	return containerd_decode_envelope(slice_of_bytes(b), SLICE("k8s.io"), ret);
}

static void pack_exit(struct bytes *ret, const char *container_id, const char *id, uint32_t pid,
	uint32_t exit_status)
{
	Containerd__TaskExit event = CONTAINERD__TASK_EXIT__INIT;
	Containerd__Timestamp at = CONTAINERD__TIMESTAMP__INIT;

	at.seconds = 1795462898;
	at.nanos = 5;
	event.container_id = (char *)(uintptr_t)container_id;
	event.id = (char *)(uintptr_t)id;
	event.pid = pid;
	event.exit_status = exit_status;
	event.exited_at = &at;
	pack_envelope(ret, "k8s.io", "containerd.events.TaskExit", &event);
}

static void test_exit(void **state)
{
	struct bytes b;
	struct hint hint;

	pack_exit(&b, ID, ID, 29054, 137);
	assert_int_equal(decode(&b, &hint), HINT_TOLD);
	assert_int_equal(hint.type, HINT_EXIT);
	assert_string_equal(hint.container_id, ID);
	assert_true(hint.is_init);
	assert_int_equal(hint.pid, 29054);
	assert_true(hint.has_exit_code);
	assert_int_equal(hint.exit_code, 137);
	assert_true(hint.exited_at_ns == INT64_C(1795462898000000005));
	assert_true(hint.sent_at_ns == INT64_C(1795462899388489529));
}

static void test_exec_is_not_init(void **state)
{
	struct bytes b;
	struct hint hint;

	pack_exit(&b, ID, "probe-1", 7, 0);
	assert_int_equal(decode(&b, &hint), HINT_TOLD);
	assert_false(hint.is_init);
	assert_true(hint.has_exit_code);
	assert_int_equal(hint.exit_code, 0);

	pack_exit(&b, ID, "", 7, 0);
	assert_int_equal(decode(&b, &hint), HINT_TOLD);
	assert_true(hint.is_init);
}

static void test_other_types(void **state)
{
	Containerd__TaskCreate create = CONTAINERD__TASK_CREATE__INIT;
	Containerd__TaskStart start = CONTAINERD__TASK_START__INIT;
	Containerd__TaskDelete gone = CONTAINERD__TASK_DELETE__INIT;
	Containerd__TaskOOM oom = CONTAINERD__TASK_OOM__INIT;
	Containerd__TaskPaused paused = CONTAINERD__TASK_PAUSED__INIT;
	Containerd__TaskResumed resumed = CONTAINERD__TASK_RESUMED__INIT;
	char *id = (char *)(uintptr_t) "c1";
	const struct {
		const char *type;
		const void *event;
		enum hint_type expected;
		int32_t pid;
		bool has_exit_code;
	} cases[] = {
		{ "containerd.events.TaskCreate", &create, HINT_CREATE, 11, false },
		{ "containerd.events.TaskStart", &start, HINT_START, 12, false },
		{ "containerd.events.TaskDelete", &gone, HINT_DELETE, 13, true },
		{ "containerd.events.TaskOOM", &oom, HINT_OOM, 0, false },
		{ "containerd.events.TaskPaused", &paused, HINT_PAUSED, 0, false },
		{ "containerd.events.TaskResumed", &resumed, HINT_RESUMED, 0, false },
		{ "type.googleapis.com/containerd.events.TaskStart", &start, HINT_START, 12,
			false },
	};

	create.container_id = start.container_id = gone.container_id = oom.container_id =
		paused.container_id = resumed.container_id = id;
	create.bundle = (char *)(uintptr_t) "/run/b";
	create.pid = 11;
	start.pid = 12;
	gone.pid = 13;
	gone.exit_status = 2;
	for (size_t i = 0; i < ELEMENTS(cases); i++) {
		struct bytes b;
		struct hint hint;

		pack_envelope(&b, "k8s.io", cases[i].type, cases[i].event);
		assert_int_equal(decode(&b, &hint), HINT_TOLD);
		assert_int_equal(hint.type, cases[i].expected);
		assert_string_equal(hint.container_id, "c1");
		assert_true(hint.is_init);
		assert_int_equal(hint.pid, cases[i].pid);
		assert_int_equal(hint.has_exit_code, cases[i].has_exit_code);
		assert_int_equal(hint.exit_code, cases[i].has_exit_code ? 2 : 0);
	}
}

static void test_foreign_and_unknown(void **state)
{
	Containerd__TaskPaused event = CONTAINERD__TASK_PAUSED__INIT;
	struct bytes b;
	struct hint hint;

	event.container_id = (char *)(uintptr_t) "c1";
	pack_envelope(&b, "moby", "containerd.events.TaskPaused", &event);
	assert_int_equal(decode(&b, &hint), HINT_FOREIGN);
	pack_envelope(&b, "k8s.i", "containerd.events.TaskPaused", &event);
	assert_int_equal(decode(&b, &hint), HINT_FOREIGN);
	pack_envelope(&b, "k8s.io", "containerd.events.TaskExecAdded", &event);
	assert_int_equal(decode(&b, &hint), HINT_UNKNOWN);
	pack_envelope(&b, "k8s.io", "containerd.events.TaskPaused2", &event);
	assert_int_equal(decode(&b, &hint), HINT_UNKNOWN);
	pack_envelope(&b, "k8s.io", "", &event);
	assert_int_equal(decode(&b, &hint), HINT_UNKNOWN);
	b.len = 0;
	assert_int_equal(decode(&b, &hint), HINT_FOREIGN);
}

/* Half a message must never be taken for a whole one that says something else. */
static void test_cut(void **state)
{
	struct bytes whole, part;
	struct hint hint;
	unsigned malformed = 0;

	pack_exit(&whole, ID, ID, 29054, 137);
	for (size_t len = 0; len < whole.len; len++) {
		memcpy(part.data, whole.data, len);
		part.len = len;
		switch (decode(&part, &hint)) {
		case HINT_TOLD: fail_msg("told from %zu of %zu bytes", len, whole.len); break;
		case HINT_MALFORMED: malformed++; break;
		case HINT_FOREIGN:        /* ends right before the namespace */
		case HINT_UNKNOWN: break; /* or right before the event */
		}
	}
	assert_true(malformed >= whole.len - 4);
}

static void test_ids(void **state)
{
	char longest[HINT_ID_MAX + 1], longer[HINT_ID_MAX + 2];
	struct bytes b;
	struct hint hint;
	const char *bad[] = { "", "a b", "a\nb", "caf\xc3\xa9", longer };

	memset(longest, 'x', sizeof(longest));
	memset(longer, 'x', sizeof(longer));
	longest[sizeof(longest) - 1] = longer[sizeof(longer) - 1] = '\0';
	pack_exit(&b, longest, "", 1, 0);
	assert_int_equal(decode(&b, &hint), HINT_TOLD);
	assert_string_equal(hint.container_id, longest);
	for (size_t i = 0; i < ELEMENTS(bad); i++) {
		pack_exit(&b, bad[i], "", 1, 0);
		assert_int_equal(decode(&b, &hint), HINT_MALFORMED);
	}
}

static void test_numbers_out_of_range(void **state)
{
	struct bytes b;
	struct hint hint;

	pack_exit(&b, "c1", "", UINT32_MAX, UINT32_MAX);
	assert_int_equal(decode(&b, &hint), HINT_TOLD);
	assert_int_equal(hint.pid, 0);
	assert_false(hint.has_exit_code);
}

/* Go's zero time is the year 1, and a sender may have any idea of nanoseconds. */
static void test_times(void **state)
{
	const struct {
		int64_t seconds;
		int32_t nanos;
		int64_t expected;
	} cases[] = {
		{ 0, 0, 0 },
		{ 1, 999999999, INT64_C(1999999999) },
		{ -62135596800, 0, 0 },
		{ INT64_MAX, 0, 0 },
		{ 9223372036, 854775807, INT64_MAX },
		{ 9223372036, 854775808, 0 },
		{ 5, 1000000000, 0 },
		{ 5, -1, 0 },
	};

	for (size_t i = 0; i < ELEMENTS(cases); i++) {
		Containerd__Timestamp at = CONTAINERD__TIMESTAMP__INIT;
		Containerd__TaskExit event = CONTAINERD__TASK_EXIT__INIT;
		struct bytes b;
		struct hint hint;

		at.seconds = cases[i].seconds;
		at.nanos = cases[i].nanos;
		event.container_id = (char *)(uintptr_t) "c1";
		event.exited_at = &at;
		pack_envelope(&b, "k8s.io", "containerd.events.TaskExit", &event);
		assert_int_equal(decode(&b, &hint), HINT_TOLD);
		assert_true(hint.exited_at_ns == cases[i].expected);
	}
}

static void test_wire_types(void **state)
{
	/* Field 1 of the envelope as a number, field 2 as a number, an unknown group. */
	static const struct bytes cases[] = {
		{ "\x08\x01", 2 }, { "\x10\x01", 2 }, { "\x20\x01", 2 }, { "\x9b\x06\x9c\x06", 4 },
		{ "\x0a\x02\x0a\x00", 4 }, /* seconds as bytes */
	};
	struct hint hint;

	for (size_t i = 0; i < ELEMENTS(cases); i++)
		assert_int_equal(decode(&cases[i], &hint), HINT_MALFORMED);
}

/* ---- tasks ---------------------------------------------------------------------------------- */

static void test_tasks(void **state)
{
	Containerd__ListTasksResponse answer = CONTAINERD__LIST_TASKS_RESPONSE__INIT;
	Containerd__Process processes[7];
	Containerd__Timestamp at = CONTAINERD__TIMESTAMP__INIT;
	Containerd__Process *list[ELEMENTS(processes)];
	struct containerd_task task;
	struct slice rest;
	struct bytes b;
	size_t count;

	at.seconds = 3;
	for (size_t i = 0; i < ELEMENTS(processes); i++) {
		list[i] = &processes[i];
		containerd__process__init(list[i]);
		/* As 1.6 does it: only `id`. */
		list[i]->id = (char *)(uintptr_t) "from-id";
		list[i]->pid = 100 + (uint32_t)i;
		list[i]->status = (Containerd__Status)i;
		list[i]->exit_status = 9;
		list[i]->exited_at = &at;
	}
	processes[2].container_id = (char *)(uintptr_t) "from-container-id";
	answer.tasks = list;
	answer.n_tasks = ELEMENTS(list);
	pack(&b, &answer);
	rest = slice_of_bytes(&b);
	ASSERT_OK(containerd_decode_validate(rest, &count));
	assert_int_equal(count, ELEMENTS(processes));
	for (size_t i = 0; i < count; i++) {
		assert_true(containerd_decode_next(&rest, &task));
		assert_string_equal(task.container_id, i == 2 ? "from-container-id" : "from-id");
		assert_int_equal(task.pid, 100 + i);
		assert_int_equal(task.status, i < 6 ? i : CONTAINERD_UNKNOWN);
		assert_int_equal(task.has_exit_code, task.status == CONTAINERD_STOPPED);
		assert_int_equal(task.exit_code, task.has_exit_code ? 9 : 0);
		assert_true(task.exited_at_ns == INT64_C(3000000000));
	}
	assert_false(containerd_decode_next(&rest, &task));

	b.len--;
	ASSERT_ERR(containerd_decode_validate(slice_of_bytes(&b), &count), EBADMSG);
	ASSERT_OK(containerd_decode_validate((struct slice){ 0 }, &count));
	assert_int_equal(count, 0);
	/* A process without any id, and one that is no message. */
	ASSERT_ERR(containerd_decode_validate(SLICE("\x0a\x02\x18\x05"), &count), EBADMSG);
	ASSERT_ERR(containerd_decode_validate(SLICE("\x08\x02"), &count), EBADMSG);
}

static void test_version(void **state)
{
	char text[8];

	assert_string_equal(containerd_decode_version(SLICE("\x0a\x05"
							    "1.6.2"),
				    text, sizeof(text)),
		"1.6.2");
	assert_string_equal(containerd_decode_version(SLICE("\x0a\x0a"
							    "123456789\n"),
				    text, sizeof(text)),
		"1234567");
	assert_string_equal(containerd_decode_version((struct slice){ 0 }, text, sizeof(text)), "");
	assert_string_equal(containerd_decode_version(SLICE("\xff\xff"), text, sizeof(text)), "");
}

/* ---- CRI's events --------------------------------------------------------------------------- */

static void pack_cri(struct bytes *ret, const char *id, int type, const char *status_id, int state)
{
	Runtime__V1__ContainerEventResponse event = RUNTIME__V1__CONTAINER_EVENT_RESPONSE__INIT;
	Runtime__V1__ContainerStatus status = RUNTIME__V1__CONTAINER_STATUS__INIT;
	Runtime__V1__ContainerStatus *list[] = { &status };

	status.id = (char *)(uintptr_t)status_id;
	status.state = (Runtime__V1__ContainerState)state;
	status.finished_at = 77;
	status.exit_code = -5;
	event.container_id = (char *)(uintptr_t)id;
	event.container_event_type = (Runtime__V1__ContainerEventType)type;
	event.created_at = 88;
	event.containers_statuses = list;
	event.n_containers_statuses = 1;
	pack(ret, &event);
}

static void test_cri_events(void **state)
{
	static const enum hint_type types[] = { HINT_CREATE, HINT_START, HINT_EXIT, HINT_DELETE };
	struct bytes b;
	struct hint hint;

	for (int i = 0; i < (int)ELEMENTS(types); i++) {
		bool ends = types[i] == HINT_EXIT || types[i] == HINT_DELETE;

		pack_cri(&b, "c1", i, "c1", 2);
		assert_int_equal(cri_events_decode(slice_of_bytes(&b), &hint), HINT_TOLD);
		assert_int_equal(hint.type, types[i]);
		assert_string_equal(hint.container_id, "c1");
		assert_true(hint.is_init);
		assert_true(hint.sent_at_ns == 88);
		assert_int_equal(hint.has_exit_code, ends);
		assert_int_equal(hint.exit_code, ends ? -5 : 0);
		assert_true(hint.exited_at_ns == (ends ? 77 : 0));
	}
	pack_cri(&b, "c1", 4, "c1", 2);
	assert_int_equal(cri_events_decode(slice_of_bytes(&b), &hint), HINT_UNKNOWN);
	/* The status of another one, or of one that is not over, is no exit code. */
	pack_cri(&b, "c1", 2, "c2", 2);
	assert_int_equal(cri_events_decode(slice_of_bytes(&b), &hint), HINT_TOLD);
	assert_false(hint.has_exit_code);
	pack_cri(&b, "c1", 2, "c1", 1);
	assert_int_equal(cri_events_decode(slice_of_bytes(&b), &hint), HINT_TOLD);
	assert_false(hint.has_exit_code);
	b.len--;
	assert_int_equal(cri_events_decode(slice_of_bytes(&b), &hint), HINT_MALFORMED);
	b.len = 0;
	assert_int_equal(cri_events_decode(slice_of_bytes(&b), &hint), HINT_MALFORMED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exit),
		cmocka_unit_test(test_exec_is_not_init),
		cmocka_unit_test(test_other_types),
		cmocka_unit_test(test_foreign_and_unknown),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_numbers_out_of_range),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_wire_types),
		cmocka_unit_test(test_tasks),
		cmocka_unit_test(test_version),
		cmocka_unit_test(test_cri_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
