/*
 * ttrpc: the engine with every answer cut at every place, out of order, unasked for and too large.
 */
#include "unit.h"

#include "base/mem.h"
#include "net/ttrpc.h"

/* A frame: its head, then `body`. */
static void put_frame(struct buf *out, uint32_t len, uint32_t stream, uint8_t type, uint8_t flags,
	const char *body)
{
	const uint8_t head[] = { (uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
		(uint8_t)len, (uint8_t)(stream >> 24), (uint8_t)(stream >> 16),
		(uint8_t)(stream >> 8), (uint8_t)stream, type, flags };

	ASSERT_OK(buf_append(out, head, sizeof(head)));
	ASSERT_OK(buf_append(out, body, len));
}

#define PUT(out, stream, body) put_frame(out, sizeof(body) - 1, stream, 2, 0, body)

static void start(struct ttrpc *t, size_t max_answer_bytes, int *userdata)
{
	ASSERT_OK(ttrpc_start(t,
		&(struct ttrpc_request){ .service = "s",
			.method = "m",
			.body = "xy",
			.body_len = 2,
			.max_answer_bytes = max_answer_bytes,
			.userdata = userdata }));
}

struct told {
	struct ttrpc_answer last;
	char message[64], body[64];
	unsigned count;
	int order[8];
};

static int feed(struct ttrpc *t, const uint8_t *data, size_t len, struct told *told)
{
	for (;;) {
		struct ttrpc_answer answer;
		int r = ttrpc_next(t, &data, &len, &answer);

		if (r != TTRPC_ANSWER) {
			assert_true(r < 0 || len == 0);
			return r;
		}
		told->last = answer;
		told->order[told->count++ % ELEMENTS(told->order)] = *(int *)answer.userdata;
		(void)str_clean(told->message, sizeof(told->message), answer.message,
			strlen(answer.message));
		(void)str_clean(told->body, sizeof(told->body), answer.body.data, answer.body.len);
	}
}

static void requests_are_framed(void **state)
{
	static const char expected[] = "\0\0\0\x18\0\0\0\1\1\0"
				       "\x0a\1s\x12\1m\x1a\2xy\x20\x80\x94\xeb\xdc\x03"
				       "\x2a\6\x0a\1k\x12\1v";
	struct ttrpc t;
	struct slice out;

	(void)state;
	ttrpc_init(&t);
	ASSERT_OK(ttrpc_start(&t,
		&(struct ttrpc_request){ .service = "s",
			.method = "m",
			.body = "xy",
			.body_len = 2,
			.timeout_ns = 1000000000,
			.key = "k",
			.value = "v" }));
	out = ttrpc_output(&t);
	assert_int_equal(out.len, sizeof(expected) - 1);
	assert_memory_equal(out.data, expected, out.len);
	ttrpc_wrote(&t, 10);
	assert_int_equal(ttrpc_output(&t).data[0], '\x0a');
	ttrpc_wrote(&t, out.len - 10);
	assert_int_equal(ttrpc_output(&t).len, 0);
	assert_int_equal(ttrpc_open_calls(&t), 1);
	ttrpc_done(&t);
}

static void answers_in_any_cut(void **state)
{
	static const struct {
		const char *body;
		size_t len;
		enum ttrpc_fate fate;
		int32_t status;
		const char *message, *answer;
	} rows[] = {
		{ "\x12\2ok", 4, TTRPC_OK, 0, "", "ok" },
		{ "", 0, TTRPC_OK, 0, "", "" },
		{ "\x0a\0\x12\2ok", 6, TTRPC_OK, 0, "", "ok" },
		/* Unknown fields, also a fixed one. */
		{ "\x18\7\x25"
		  "abcd\x12\2ok",
			11, TTRPC_OK, 0, "", "ok" },
		{ "\x0a\7\x08\5\x12\3no\n", 9, TTRPC_STATUS, 5, "no?", "" },
		/* A negative code takes ten bytes. */
		{ "\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 13, TTRPC_STATUS, -1, "",
			"" },
		{ "\x12\5ok", 4, TTRPC_MALFORMED, 0, "", "" },
		{ "\x10\5", 2, TTRPC_MALFORMED, 0, "", "" },
		{ "\x0a\2\x0a\0", 4, TTRPC_MALFORMED, 0, "", "" },
		{ "\xff\xff\xff", 3, TTRPC_MALFORMED, 0, "", "" },
	};
	int one = 1;

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++)
		for (size_t cut = 0; cut <= rows[i].len + TTRPC_HEAD_BYTES; cut++) {
			struct buf in = BUF_INIT(1000);
			struct told told = { 0 };
			struct ttrpc t;

			ttrpc_init(&t);
			start(&t, 0, &one);
			put_frame(&in, (uint32_t)rows[i].len, 1, 2, 0, rows[i].body);
			assert_int_equal(feed(&t, in.data, cut, &told), TTRPC_NEED);
			assert_int_equal(ttrpc_is_between_frames(&t), cut == 0 || cut == in.len);
			assert_int_equal(feed(&t, in.data + cut, in.len - cut, &told), TTRPC_NEED);
			assert_int_equal(told.count, 1);
			if (told.last.fate != rows[i].fate || told.last.status != rows[i].status)
				fail_msg("row %zu: fate %d, status %d", i, told.last.fate,
					told.last.status);
			if (told.last.fate != TTRPC_MALFORMED) {
				assert_string_equal(told.message, rows[i].message);
				assert_string_equal(told.body, rows[i].answer);
			}
			assert_int_equal(ttrpc_open_calls(&t), 0);
			assert_true(ttrpc_is_between_frames(&t));
			ttrpc_done(&t);
			buf_done(&in);
		}
}

static void answers_come_in_any_order(void **state)
{
	int names[] = { 10, 20, 30 };
	struct buf in = BUF_INIT(1000);
	struct told told = { 0 };
	struct ttrpc t;

	(void)state;
	ttrpc_init(&t);
	for (size_t i = 0; i < 3; i++)
		start(&t, 0, &names[i]);
	PUT(&in, 5,
		"\x12\1"
		"c");
	PUT(&in, 1,
		"\x12\1"
		"a");
	PUT(&in, 1,
		"\x12\1"
		"a"); /* twice: nobody's any more */
	PUT(&in, 3,
		"\x12\1"
		"b");
	assert_int_equal(feed(&t, in.data, in.len, &told), TTRPC_NEED);
	assert_int_equal(told.count, 3);
	assert_int_equal(told.order[0], 30);
	assert_int_equal(told.order[1], 10);
	assert_int_equal(told.order[2], 20);
	assert_string_equal(told.body, "b");
	assert_int_equal(t.stray, 1);
	/* The streams' numbers go on. */
	start(&t, 0, &names[0]);
	buf_clear(&in);
	PUT(&in, 7, "");
	assert_int_equal(feed(&t, in.data, in.len, &told), TTRPC_NEED);
	assert_int_equal(told.count, 4);
	ttrpc_done(&t);
	buf_done(&in);
}

static void strays_are_read_over_and_counted(void **state)
{
	int one = 1;
	struct buf in = BUF_INIT(1 << 20);
	struct told told = { 0 };
	struct ttrpc t;

	(void)state;
	ttrpc_init(&t);
	start(&t, 0, &one);
	put_frame(&in, 3, 1, 1, 0, "abc"); /* a request to us */
	put_frame(&in, 3, 1, 3, 5, "abc"); /* data of a stream */
	put_frame(&in, 0, 2, 2, 0, "");    /* an answer to what we never asked */
	put_frame(&in, 0, 0, 2, 0, "");
	PUT(&in, 1, "\x12\2ok");
	assert_int_equal(feed(&t, in.data, in.len, &told), TTRPC_NEED);
	assert_string_equal(told.body, "ok");
	assert_int_equal(t.stray, 4);
	buf_clear(&in);
	for (unsigned i = 0; i <= TTRPC_STRAY_MAX - 4; i++)
		put_frame(&in, 0, 9, 2, 0, "");
	ASSERT_ERR(feed(&t, in.data, in.len, &told), EPROTO);
	assert_string_not_equal(t.trouble, "");
	ttrpc_done(&t);
	buf_done(&in);
}

static void too_large_ends_one_call(void **state)
{
	int names[] = { 1, 2 };
	struct buf in = BUF_INIT(1000);
	struct told told = { 0 };
	struct ttrpc t;

	(void)state;
	ttrpc_init(&t);
	start(&t, 3, &names[0]);
	start(&t, 4, &names[1]);
	PUT(&in, 1, "\x12\2ok");
	assert_int_equal(feed(&t, in.data, in.len, &told), TTRPC_NEED);
	assert_int_equal(told.count, 1);
	assert_int_equal(told.last.fate, TTRPC_TOO_LARGE);
	buf_clear(&in);
	PUT(&in, 3, "\x12\2ok");
	assert_int_equal(feed(&t, in.data, in.len, &told), TTRPC_NEED);
	assert_int_equal(told.count, 2);
	assert_int_equal(told.last.fate, TTRPC_OK);
	assert_string_equal(told.body, "ok");
	ttrpc_done(&t);
	buf_done(&in);
}

static void others_are_told_by_ten_bytes(void **state)
{
	static const char *const heads[] = {
		"HTTP/1.1 4",             /* over 4 MiB */
		"\0\0\0\2\0\0\0\1\4\0",   /* type 4 */
		"\0\0\0\2\0\0\0\1\0\0",   /* type 0 */
		"\0\0\0\2\0\0\0\1\2\x10", /* flags */
		"\0\x40\0\1\0\0\0\1\2\0", /* a byte over 4 MiB */
		"SSH-2.0-xx",
	};
	int one = 1;

	(void)state;
	for (size_t i = 0; i < ELEMENTS(heads); i++) {
		struct told told = { 0 };
		struct ttrpc t;

		ttrpc_init(&t);
		start(&t, 0, &one);
		assert_int_equal(feed(&t, (const uint8_t *)heads[i], 9, &told), TTRPC_NEED);
		ASSERT_ERR(feed(&t, (const uint8_t *)heads[i] + 9, 1, &told), EPROTO);
		assert_string_not_equal(t.trouble, "");
		assert_int_equal(told.count, 0);
		ttrpc_done(&t);
	}
}

static void calls_have_limits(void **state)
{
	struct ttrpc_request request = { .service = "s", .method = "m" };
	static char large[TTRPC_REQUEST_MAX];
	struct ttrpc t;

	(void)state;
	ttrpc_init(&t);
	request.body = large;
	request.body_len = sizeof(large);
	ASSERT_ERR(ttrpc_start(&t, &request), EMSGSIZE);
	assert_int_equal(ttrpc_output(&t).len, 0);
	assert_int_equal(ttrpc_open_calls(&t), 0);
	request.body_len = 0;
	for (unsigned i = 0; i < TTRPC_CALLS_MAX; i++)
		ASSERT_OK(ttrpc_start(&t, &request));
	ASSERT_ERR(ttrpc_start(&t, &request), EBUSY);
	ttrpc_done(&t);

	ttrpc_init(&t);
	t.next_stream = UINT32_MAX - 2; /* the last odd one is left out */
	ASSERT_OK(ttrpc_start(&t, &request));
	ASSERT_ERR(ttrpc_start(&t, &request), ESTALE);
	ttrpc_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_framed),
		cmocka_unit_test(answers_in_any_cut),
		cmocka_unit_test(answers_come_in_any_order),
		cmocka_unit_test(strays_are_read_over_and_counted),
		cmocka_unit_test(too_large_ends_one_call),
		cmocka_unit_test(others_are_told_by_ten_bytes),
		cmocka_unit_test(calls_have_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
