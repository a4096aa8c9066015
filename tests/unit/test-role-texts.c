/* Messages with texts: there and back, what is refused, and every message that is cut, long or lies. */
#include "unit.h"

#include "base/buf.h"
#include "base/mem.h"
#include "role/channel.h"
#include "role/texts.h"

#define TEXTS 3

struct told {
	uint32_t lens[TEXTS];
	uint32_t number;
};

/* Of exactly so many bytes on the heap, so that a byte read behind them is noticed. */
static int unpack(const void *data, size_t len, struct told *ret_fixed,
	const char *ret_texts[TEXTS], void **ret)
{
	struct channel_message m = { .len = len };

	*ret = mem_alloc(len);
	assert_non_null(*ret);
	if (len > 0)
		memcpy(*ret, data, len);
	m.payload = *ret;
	return texts_unpack(&m, ret_fixed, sizeof(*ret_fixed), ret_texts, TEXTS);
}

static int judge(const void *data, size_t len)
{
	const char *texts[TEXTS];
	struct told fixed = { .number = 99 };
	void *copy;
	int r = unpack(data, len, &fixed, texts, &copy);

	if (r < 0)
		assert_int_equal(fixed.number, 99); /* Set only on success. */
	(void)mem_free(copy);
	return r;
}

static void pack(struct buf *out, const char *a, const char *b, const char *c)
{
	const struct slice texts[TEXTS] = { SLICE(a), SLICE(b), SLICE(c) };
	struct told fixed = { .lens = { 77, 77, 77 }, .number = 5 };

	ASSERT_OK(texts_pack(out, &fixed, sizeof(fixed), texts, TEXTS));
}

static void there_and_back(void **state)
{
	static const char *const rows[][TEXTS] = {
		{ "one", "", "three" },
		{ "", "", "" },
		{ "", "", "x" },
		{ "x", "y", "" },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		CLEAN(buf_done) struct buf out = BUF_INIT(4096);
		const char *texts[TEXTS];
		struct told fixed;
		void *copy;

		pack(&out, rows[i][0], rows[i][1], rows[i][2]);
		ASSERT_OK(unpack(out.data, out.len, &fixed, texts, &copy));
		assert_int_equal(fixed.number, 5);
		for (size_t k = 0; k < TEXTS; k++) {
			assert_int_equal(fixed.lens[k], strlen(rows[i][k]));
			if (fixed.lens[k] == 0)
				assert_null(texts[k]);
			else
				assert_string_equal(texts[k], rows[i][k]);
		}
		(void)mem_free(copy);
	}
}

/* The length says where a text ends, not the first NUL: a body may be anything. */
static void a_text_with_a_nul(void **state)
{
	const struct slice slices[TEXTS] = { { "a\0b", 3 }, { "", 0 }, { "c", 1 } };
	CLEAN(buf_done) struct buf out = BUF_INIT(4096);
	struct told fixed = { 0 };
	const char *texts[TEXTS];
	void *copy;

	(void)state;
	ASSERT_OK(texts_pack(&out, &fixed, sizeof(fixed), slices, TEXTS));
	ASSERT_OK(unpack(out.data, out.len, &fixed, texts, &copy));
	assert_int_equal(fixed.lens[0], 3);
	assert_memory_equal(texts[0], "a\0b", 4);
	assert_string_equal(texts[2], "c");
	(void)mem_free(copy);
}

static void a_message_that_is_cut_or_too_long(void **state)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(4096);

	(void)state;
	pack(&out, "one", "two", "three");
	for (size_t len = 0; len < out.len; len++)
		ASSERT_ERR(judge(out.data, len), EBADMSG);
	ASSERT_OK(judge(out.data, out.len));
	ASSERT_OK(buf_append(&out, "", 1));
	ASSERT_ERR(judge(out.data, out.len), EBADMSG);
}

static void lengths_that_lie(void **state)
{
	static const uint32_t wrong[] = { 0, 1, 2, 4, 5, 7, 11, 12, 13, 14, 15, 100, INT32_MAX,
		UINT32_MAX - 15, UINT32_MAX - 1, UINT32_MAX };
	CLEAN(buf_done) struct buf out = BUF_INIT(4096);

	(void)state;
	pack(&out, "one", "two", "six");
	for (size_t k = 0; k < TEXTS; k++)
		for (size_t i = 0; i < ELEMENTS(wrong); i++) {
			uint32_t right = 3;

			memcpy(out.data + k * sizeof(right), &wrong[i], sizeof(right));
			ASSERT_ERR(judge(out.data, out.len), EBADMSG);
			memcpy(out.data + k * sizeof(right), &right, sizeof(right));
		}
	ASSERT_OK(judge(out.data, out.len));
}

static void a_text_without_its_nul(void **state)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(4096);

	(void)state;
	pack(&out, "one", "two", "six");
	for (size_t k = 0; k < TEXTS; k++) {
		size_t end = sizeof(struct told) + (k + 1) * 4 - 1;

		assert_int_equal(out.data[end], 0);
		out.data[end] = 'x';
		ASSERT_ERR(judge(out.data, out.len), EBADMSG);
		out.data[end] = 0;
	}
	ASSERT_OK(judge(out.data, out.len));
}

static void more_than_the_buffer_may_hold(void **state)
{
	const struct slice texts[TEXTS] = { SLICE("one"), SLICE("two"), SLICE("six") };
	struct told fixed = { 0 };

	(void)state;
	for (size_t max = 0; max < sizeof(fixed) + sizeof(uint32_t) * TEXTS; max++) {
		CLEAN(buf_done) struct buf out = BUF_INIT(max);

		ASSERT_ERR(texts_pack(&out, &fixed, sizeof(fixed), texts, TEXTS), EMSGSIZE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(a_text_with_a_nul),
		cmocka_unit_test(a_message_that_is_cut_or_too_long),
		cmocka_unit_test(lengths_that_lie),
		cmocka_unit_test(a_text_without_its_nul),
		cmocka_unit_test(more_than_the_buffer_may_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
