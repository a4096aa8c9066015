/* The hash table: keys as bytes, a maximum, tombstones, iteration. */
#include "unit.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/table.h"

#define KEYS 5000

static char names[KEYS][16];

static void name_keys(void)
{
	for (int i = 0; i < KEYS; i++)
		(void)snprintf(names[i], sizeof(names[i]), "key-%d", i);
}

static void put_get_remove(void **state)
{
	CLEAN(table_done) struct table t = TABLE_INIT(KEYS);

	assert_null(table_get_string(&t, "key-0"));
	assert_null(table_remove_string(&t, "key-0"));
	for (int i = 0; i < KEYS; i++)
		ASSERT_OK(table_put_string(&t, names[i], names[i]));
	assert_int_equal(t.used, KEYS);
	for (int i = 0; i < KEYS; i++)
		assert_ptr_equal(table_get_string(&t, names[i]), names[i]);
	assert_null(table_get_string(&t, "key-"));
	ASSERT_ERR(table_put_string(&t, "key-7", names), EEXIST);
	assert_ptr_equal(table_get_string(&t, "key-7"), names[7]);
	for (int i = 0; i < KEYS; i += 2)
		assert_ptr_equal(table_remove_string(&t, names[i]), names[i]);
	for (int i = 0; i < KEYS; i++)
		assert_ptr_equal(table_get_string(&t, names[i]), i % 2 ? names[i] : NULL);
	assert_int_equal(t.used, KEYS / 2);
}

static void keys_are_bytes(void **state)
{
	static const char key[4] = { 'a', '\0', 'b', '\0' };
	CLEAN(table_done) struct table t = TABLE_INIT(10);
	int values[4];

	for (size_t len = 0; len < 4; len++)
		ASSERT_OK(table_put(&t, key, len, &values[len]));
	for (size_t len = 0; len < 4; len++)
		assert_ptr_equal(table_get(&t, key, len), &values[len]);
	assert_ptr_equal(table_get_string(&t, ""), &values[0]);
	assert_ptr_equal(table_get_string(&t, "a"), &values[1]);
	assert_ptr_equal(table_remove(&t, key, 2), &values[2]);
	assert_null(table_get(&t, key, 2));
	assert_ptr_equal(table_get(&t, key, 3), &values[3]);
}

static void maximum(void **state)
{
	CLEAN(table_done) struct table t = TABLE_INIT(3);
	CLEAN(table_done) struct table none = TABLE_INIT(0);

	for (int i = 0; i < 3; i++)
		ASSERT_OK(table_put_string(&t, names[i], names[i]));
	ASSERT_ERR(table_put_string(&t, names[3], names[3]), ENOSPC);
	ASSERT_ERR(table_put_string(&t, names[2], names[2]), EEXIST); /* that comes first */
	assert_null(table_get_string(&t, names[3]));
	assert_ptr_equal(table_remove_string(&t, names[0]), names[0]);
	ASSERT_OK(table_put_string(&t, names[3], names[3]));
	ASSERT_ERR(table_put_string(&none, names[0], names[0]), ENOSPC);
}

/* One that lives and thousands that come and go: the table neither grows nor fills with tombstones. */
static void tombstones(void **state)
{
	CLEAN(table_done) struct table t = TABLE_INIT(KEYS);

	ASSERT_OK(table_put_string(&t, "stays", names));
	for (int i = 0; i < KEYS; i++) {
		ASSERT_OK(table_put_string(&t, names[i], names[i]));
		assert_ptr_equal(table_remove_string(&t, names[i]), names[i]);
		assert_null(table_get_string(&t, names[i]));
		assert_true((t.used + t.gone) * 4 <= t.slot_count * 3);
	}
	assert_int_equal(t.used, 1);
	assert_int_equal(t.slot_count, 16);
	assert_ptr_equal(table_get_string(&t, "stays"), names);
}

static void iteration_may_remove_what_is_at_hand(void **state)
{
	CLEAN(table_done) struct table t = TABLE_INIT(KEYS);
	size_t seen = 0;
	char *name;

	for (int i = 0; i < 100; i++)
		ASSERT_OK(table_put_string(&t, names[i], names[i]));
	TABLE_FOREACH (name, &t) {
		seen++;
		if (seen % 2)
			assert_ptr_equal(table_remove_string(&t, name), name);
	}
	assert_int_equal(seen, 100);
	seen = 0;
	TABLE_FOREACH (name, &t)
		seen++;
	assert_int_equal(seen, 50);
	table_done(&t);
	TABLE_FOREACH (name, &t)
		fail_msg("An empty table has %s", name);
	ASSERT_OK(table_put_string(&t, names[0], names[0])); /* usable again */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(put_get_remove),
		cmocka_unit_test(keys_are_bytes),
		cmocka_unit_test(maximum),
		cmocka_unit_test(tombstones),
		cmocka_unit_test(iteration_may_remove_what_is_at_hand),
	};

	name_keys();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
