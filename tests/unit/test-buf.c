/* Bytes that grow up to a maximum. */
#include "unit.h"

#include "base/buf.h"
#include "base/mem.h"

static void grows_up_to_its_maximum(void **state)
{
	CLEAN(buf_done) struct buf b = BUF_INIT(100);
	char block[60];

	memset(block, 'x', sizeof(block));
	ASSERT_OK(buf_append(&b, block, sizeof(block)));
	ASSERT_ERR(buf_append(&b, block, 41), EMSGSIZE);
	assert_int_equal(b.len, 60);
	ASSERT_ERR(buf_reserve(&b, SIZE_MAX), EMSGSIZE);
	ASSERT_OK(buf_append(&b, block, 40));
	assert_int_equal(b.len, 100);
	ASSERT_ERR(buf_append(&b, "x", 1), EMSGSIZE);
	ASSERT_OK(buf_append(&b, NULL, 0));
	assert_true(b.cap <= 100);
	buf_clear(&b);
	assert_int_equal(b.len, 0);
	ASSERT_OK(buf_append(&b, "y", 1));
	assert_int_equal(b.data[0], 'y');
}

static void nothing_fits_into_nothing(void **state)
{
	CLEAN(buf_done) struct buf b = BUF_INIT(0);

	ASSERT_ERR(buf_append(&b, "x", 1), EMSGSIZE);
	assert_null(b.data);
	assert_string_equal(buf_string(&b), "");
}

static void prints(void **state)
{
	CLEAN(buf_done) struct buf b = BUF_INIT(12);

	ASSERT_OK(buf_append_string(&b, "a="));
	ASSERT_OK(buf_printf(&b, "%d,%s", 42, "bc"));
	assert_int_equal(b.len, 7);
	assert_string_equal(buf_string(&b), "a=42,bc");
	/* The NUL that printing writes needs room as well, but is no content. */
	ASSERT_ERR(buf_printf(&b, "%s", "12345"), EMSGSIZE);
	assert_string_equal(buf_string(&b), "a=42,bc");
	ASSERT_OK(buf_printf(&b, "%s", "1234"));
	assert_string_equal(buf_string(&b), "a=42,bc1234");
	assert_int_equal(b.len, 11);
}

/* The NUL of buf_string() may lie beyond the maximum, so a full buffer has a string, too. */
static void full_buffer_as_string(void **state)
{
	CLEAN(buf_done) struct buf b = BUF_INIT(64);
	char block[64];

	memset(block, 'z', sizeof(block));
	ASSERT_OK(buf_append(&b, block, sizeof(block)));
	assert_int_equal(strlen(buf_string(&b)), 64);
	ASSERT_ERR(buf_append(&b, "x", 1), EMSGSIZE);
	assert_int_equal(b.len, 64);
}

static void consumes(void **state)
{
	CLEAN(buf_done) struct buf b = BUF_INIT(100);

	ASSERT_OK(buf_append_string(&b, "hello world"));
	buf_consume(&b, 6);
	assert_string_equal(buf_string(&b), "world");
	buf_consume(&b, 0);
	assert_string_equal(buf_string(&b), "world");
	buf_consume(&b, 1000);
	assert_int_equal(b.len, 0);
	buf_consume(&b, 1);
	assert_int_equal(b.len, 0);
}

static void shrinks(void **state)
{
	CLEAN(buf_done) struct buf b = BUF_INIT(100000);

	ASSERT_OK(buf_reserve(&b, 50000));
	ASSERT_OK(buf_append_string(&b, "kept"));
	buf_shrink(&b, 3); /* less than what is in use: nothing happens */
	assert_true(b.cap >= 50000);
	buf_shrink(&b, 1000);
	assert_int_equal(b.cap, 1000);
	assert_string_equal(buf_string(&b), "kept");
	buf_clear(&b);
	buf_shrink(&b, 0);
	assert_int_equal(b.cap, 0);
	ASSERT_OK(buf_append_string(&b, "again"));
	assert_string_equal(buf_string(&b), "again");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_up_to_its_maximum),
		cmocka_unit_test(nothing_fits_into_nothing),
		cmocka_unit_test(prints),
		cmocka_unit_test(full_buffer_as_string),
		cmocka_unit_test(consumes),
		cmocka_unit_test(shrinks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
