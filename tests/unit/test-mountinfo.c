/* mountinfo line by line: names of every kind, garbage, 30,000 lines; and this process's own. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "kernel/mountinfo.h"
#include "kernel/proc.h"

static struct mountinfo_line one(const char *text)
{
	struct mountinfo_line m;
	size_t at = 0;

	assert_int_equal(mountinfo_next(text, strlen(text), &at, &m), 1);
	assert_int_equal(at, strlen(text));
	return m;
}

static void assert_decoded(struct slice s, const char *expected)
{
	char text[MOUNTINFO_PATH_MAX];

	assert_int_equal(mountinfo_decode(text, sizeof(text), s), strlen(expected));
	assert_string_equal(text, expected);
}

static void lines_as_they_are(void **state)
{
	struct mountinfo_line m;

	(void)state;
	m = one("27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n");
	assert_int_equal(m.id, 27);
	assert_int_equal(m.parent, 1);
	assert_int_equal(m.major, 254);
	assert_int_equal(m.minor, 0);
	assert_decoded(m.point, "/");
	assert_decoded(m.type, "ext4");
	assert_decoded(m.source, "/dev/vda");
	m = one("512 27 0:39 / /a\\040b\\012c\\134d\\011 rw shared:3 master:1 - fuse.x y\\0409 "
		"rw\n");
	assert_decoded(m.point, "/a b\nc\\d\t");
	assert_decoded(m.source, "y 9");
	assert_int_equal(m.minor, 39);
}

static void names_that_look_like_escapes(void **state)
{
	(void)state;
	assert_decoded(SLICE("\\04"), "\\04");
	assert_decoded(SLICE("\\"), "\\");
	assert_decoded(SLICE("\\999"), "\\999");
	assert_decoded(SLICE("\\134040"), "\\040"); /* a path that has \040 in it */
	assert_decoded(SLICE("a\\000b"), "a\\000b");
	assert_decoded(SLICE("\\303\\251"), "\xc3\xa9");
	assert_decoded(SLICE(""), "");
}

static void a_path_that_does_not_fit_is_cut(void **state)
{
	char small[4];

	(void)state;
	assert_int_equal(mountinfo_decode(small, sizeof(small), SLICE("\\040\\040\\040\\040")), 3);
	assert_string_equal(small, "   ");
}

static void nonsense_is_left_out(void **state)
{
	static const char *const wrong[] = { "\n", "x\n", "27 1 254:0 / / rw", "a b c\n",
		"27 1 254 / / rw - ext4 x rw\n", "27 1 254:0 / / rw ext4 /dev/vda rw\n",
		"27 1 254:-1 / / rw - ext4 x rw\n", "99999999999 1 1:1 / / rw - e x rw\n",
		"27 1 :1 / / rw - ext4 x rw\n", "27 1 1: / / rw - ext4 x rw\n" };

	(void)state;
	for (size_t i = 0; i < ELEMENTS(wrong); i++) {
		struct mountinfo_line m;
		size_t at = 0;

		ASSERT_ERR(mountinfo_next(wrong[i], strlen(wrong[i]), &at, &m), EBADMSG);
		assert_int_equal(at, strlen(wrong[i]));
		assert_int_equal(mountinfo_next(wrong[i], strlen(wrong[i]), &at, &m), 0);
	}
}

static void thirty_thousand(void **state)
{
	CLEAN(buf_done) struct buf text = BUF_INIT(MOUNTINFO_MAX);
	struct mountinfo_line m;
	unsigned count = 0;
	size_t at = 0;

	(void)state;
	for (unsigned i = 0; i < 30000; i++)
		ASSERT_OK(buf_printf(&text,
			"%u 27 0:%u / /run/k8s/pods/%u/volumes/a\\040b rw,nosuid shared:%u - tmpfs "
			"tmpfs rw,size=64k\n",
			i + 30, i + 50, i, i));
	while (mountinfo_next((const char *)text.data, text.len, &at, &m) > 0) {
		assert_int_equal(m.minor, count + 50);
		count++;
	}
	assert_int_equal(count, 30000);
}

static void namespaces(void **state)
{
	uint64_t inode = 0;

	(void)state;
	assert_true(mountinfo_is_mount_namespace(SLICE("mnt:[4026531841]"), &inode));
	assert_int_equal(inode, 4026531841);
	assert_false(mountinfo_is_mount_namespace(SLICE("net:[4026531841]"), &inode));
	assert_false(mountinfo_is_mount_namespace(SLICE("mnt:[]"), &inode));
	assert_false(mountinfo_is_mount_namespace(SLICE("mnt:[99999999999999999999999]"), &inode));
	assert_false(mountinfo_is_mount_namespace(SLICE("/"), &inode));
}

static void our_own(void **state)
{
	CLEAN_FD int proc_fd = proc_open();
	CLEAN(mem_freep) char *text = NULL;
	struct mountinfo_line m;
	bool has_proc = false;
	size_t len = 0, at = 0;
	int r;

	(void)state;
	ASSERT_OK(mountinfo_read(proc_fd, getpid(), 0, &text, &len));
	assert_int_equal(strlen(text), len);
	while ((r = mountinfo_next(text, len, &at, &m)) > 0)
		has_proc = has_proc || slice_eq(m.point, SLICE("/proc"));
	ASSERT_OK(r);
	assert_true(has_proc);
	text = mem_free(text);
	ASSERT_OK(mountinfo_read(proc_fd, getpid(), getpid(), &text, &len));
	text = mem_free(text);
	ASSERT_ERR(mountinfo_read(proc_fd, INT32_MAX, 0, &text, &len), ESRCH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_as_they_are),
		cmocka_unit_test(names_that_look_like_escapes),
		cmocka_unit_test(a_path_that_does_not_fit_is_cut),
		cmocka_unit_test(nonsense_is_left_out),
		cmocka_unit_test(thirty_thousand),
		cmocka_unit_test(namespaces),
		cmocka_unit_test(our_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
