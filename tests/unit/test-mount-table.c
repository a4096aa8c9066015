/* Mounts by number: in whatever order they stand, among lines that are none, 30,000, and out of memory. */
#include "unit.h"

#include "base/buf.h"
#include "base/fault.h"
#include "base/mem.h"
#include "kernel/mount-table.h"

#define MANY 30000u

static unsigned fault_at, fault_seen; /* which allocation fails; 0: none */

bool fault_hit(enum fault_point point)
{
	return point == FAULT_ALLOC && fault_at > 0 && ++fault_seen == fault_at;
}

static int take(struct mount_table *table, const void *text, size_t len)
{
	char *owned = mem_strndup(text, len);

	assert_non_null(owned);
	return mount_table_take(table, owned, len);
}

static void in_any_order(void **state)
{
	static const char text[] = "9 1 0:7 / /c rw - t s rw\n7 junk\n8 1 0:5 / /a\\040b rw - t s "
				   "rw\n2147483647 1 0:6 / /b rw - t s rw\n1 1 0:4 / /cut";
	CLEAN(mount_table_done) struct mount_table table = { 0 };

	(void)state;
	ASSERT_OK(take(&table, text, sizeof(text) - 1));
	assert_int_equal(table.row_count, 3);
	/* A line that is none hides nothing behind it. */
	assert_int_equal(mount_table_line(&table, mount_table_find(&table, 8)).minor, 5);
	assert_int_equal(mount_table_line(&table, mount_table_find(&table, 9)).minor, 7);
	assert_int_equal(mount_table_line(&table, mount_table_find(&table, INT32_MAX)).minor, 6);
	assert_true(slice_eq(
		mount_table_line(&table, mount_table_find(&table, 8)).point, SLICE("/a\\040b")));
	assert_null(mount_table_find(&table, 7));
	assert_null(mount_table_find(&table, 1));
	assert_null(mount_table_find(&table, 0));
	assert_null(mount_table_find(&table, INT32_MIN));
}

static void none(void **state)
{
	struct mount_table table = { 0 };

	(void)state;
	assert_null(mount_table_find(&table, 30));
	mount_table_done(&table);
	ASSERT_OK(take(&table, "", 0));
	assert_null(mount_table_find(&table, 30));
	mount_table_done(&table);
	assert_null(table.text);
	assert_null(mount_table_find(&table, 30));
}

static void notes_stay_with_their_mount(void **state)
{
	static const char text[] = "9 1 0:7 / /c rw - t s rw\n8 1 0:5 / /a rw - t s rw\n";
	CLEAN(mount_table_done) struct mount_table table = { 0 };

	(void)state;
	ASSERT_OK(take(&table, text, sizeof(text) - 1));
	assert_int_equal(mount_table_find(&table, 8)->note, MOUNT_NOTE_NONE);
	mount_table_find(&table, 8)->note = 3;
	assert_int_equal(mount_table_find(&table, 8)->note, 3);
	assert_int_equal(mount_table_find(&table, 9)->note, MOUNT_NOTE_NONE);
}

/* Ids go round and come back, so the kernel's order need not be theirs. */
static void thirty_thousand(void **state)
{
	CLEAN(mount_table_done) struct mount_table table = { 0 };
	CLEAN(buf_done) struct buf text = BUF_INIT(MOUNTINFO_MAX);

	(void)state;
	for (unsigned i = 0; i < MANY; i++)
		ASSERT_OK(buf_printf(&text,
			"%u 27 0:%u / /run/k8s/pods/%u/volumes/a\\040b rw,nosuid shared:%u - tmpfs "
			"tmpfs rw,size=64k\n",
			i * 7919 % MANY + 30, i + 50, i, i));
	ASSERT_OK(take(&table, text.data, text.len));
	assert_int_equal(table.row_count, MANY);
	for (unsigned i = 0; i < MANY; i++) {
		int32_t id = (int32_t)(i * 7919 % MANY + 30);
		const struct mount_row *row = mount_table_find(&table, id);

		assert_non_null(row);
		assert_int_equal(mount_table_line(&table, row).id, id);
		assert_int_equal(mount_table_line(&table, row).minor, i + 50);
	}
	assert_null(mount_table_find(&table, 29));
	assert_null(mount_table_find(&table, (int32_t)MANY + 30));
}

static void memory_that_is_out(void **state)
{
	CLEAN(buf_done) struct buf text = BUF_INIT(MOUNTINFO_MAX);

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		ASSERT_OK(buf_printf(&text, "%u 1 0:%u / /a rw - t s rw\n", i, i));
	for (unsigned at = 1;; at++) {
		char *owned = mem_strndup((const char *)text.data, text.len);
		struct mount_table table = { 0 };
		int r;

		assert_non_null(owned);
		fault_seen = 0;
		fault_at = at;
		r = mount_table_take(&table, owned, text.len);
		fault_at = 0;
		if (fault_seen < at) {
			ASSERT_OK(r);
			assert_int_equal(table.row_count, 1000);
			mount_table_done(&table);
			assert_true(at > 3);
			break;
		}
		ASSERT_ERR(r, ENOMEM);
		assert_null(table.text);
		assert_null(mount_table_find(&table, 0));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_any_order),
		cmocka_unit_test(none),
		cmocka_unit_test(notes_stay_with_their_mount),
		cmocka_unit_test(thirty_thousand),
		cmocka_unit_test(memory_that_is_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
