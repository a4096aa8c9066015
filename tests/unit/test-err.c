/* Error detail: set, wrapped, cut, and nobody who wants it. */
#include "unit.h"

#include "base/err.h"

static void set_and_wrap(void **state)
{
	struct err e = { 0 };

	assert_int_equal(err_set(&e, -ENOENT, "Cannot open '%s'", "/x"), -ENOENT);
	assert_int_equal(e.code, -ENOENT);
	assert_string_equal(e.text, "Cannot open '/x'");
	assert_int_equal(err_wrap(&e, -EIO, "Read pod sandbox '%s'", "s1"), -EIO);
	assert_int_equal(e.code, -EIO);
	assert_string_equal(e.text, "Read pod sandbox 's1': Cannot open '/x'");
	assert_string_equal(err_text(&e, -EPERM), "Read pod sandbox 's1': Cannot open '/x'");
}

static void wrap_where_nothing_is(void **state)
{
	struct err e = { 0 };

	assert_int_equal(err_wrap(&e, -ECONNREFUSED, "Connect"), -ECONNREFUSED);
	assert_string_equal(e.text, "Connect: Connection refused");
}

static void nobody_wants_it(void **state)
{
	assert_int_equal(err_set(NULL, -EIO, "x"), -EIO);
	assert_int_equal(err_wrap(NULL, -EIO, "x"), -EIO);
	assert_string_equal(err_text(NULL, -ENOENT), "No such file or directory");
	assert_string_equal(err_text(NULL, ENOENT), "No such file or directory");
	assert_string_equal(err_text(NULL, -99999), "Unknown error");
}

static void long_texts_are_cut(void **state)
{
	struct err e = { 0 };

	(void)err_set(&e, -EIO, "%*s", 1000, "end");
	assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
	(void)err_wrap(&e, -EIO, "Outer");
	assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
	assert_memory_equal(e.text, "Outer: ", 7);
	(void)err_wrap(&e, -EIO, "%*s", 1000, "x");
	assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_and_wrap),
		cmocka_unit_test(wrap_where_nothing_is),
		cmocka_unit_test(nobody_wants_it),
		cmocka_unit_test(long_texts_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
