/* The small files: pressure, block devices, FUSE connections, kernel stacks, the hung-task lines of
 * the kernel's log. Recorded and hand-made text, then what this machine has. */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"
#include "kernel/block.h"
#include "kernel/fuse.h"
#include "kernel/inotify-room.h"
#include "kernel/kmsg.h"
#include "kernel/pressure.h"
#include "kernel/proc.h"
#include "kernel/stack.h"

/* --- how they are read --- */

static void small_files(void **state)
{
	static const struct {
		const char *text;
		int expected; /* of fd_read_u64(); 0: it is 42 */
	} files[] = { { "42\n", 0 }, { "42", 0 }, { "42\nmore\n", 0 }, { "", -EBADMSG },
		{ "\n", -EBADMSG }, { "4x\n", -EBADMSG }, { "99999999999999999999\n", -EBADMSG } };
	char folder[] = "/tmp/pleg-small-XXXXXX", text[3];
	CLEAN_FD int dir = -EBADF;
	uint64_t value;

	(void)state;
	assert_non_null(mkdtemp(folder));
	dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(dir >= 0);
	for (size_t i = 0; i < ELEMENTS(files); i++) {
		CLEAN_FD int fd =
			openat(dir, "file", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

		ASSERT_OK(fd_write_all(fd, files[i].text, strlen(files[i].text), 1000));
		value = 0;
		assert_int_equal(fd_read_u64(dir, "file", &value), files[i].expected);
		assert_int_equal(value, files[i].expected == 0 ? 42 : 0);
	}
	/* The last one is cut; a FIFO that nobody writes to is empty, and nobody waits for it. */
	assert_int_equal(fd_read_small(dir, "file", text, sizeof(text)), 2);
	assert_string_equal(text, "99");
	ASSERT_OK(unlinkat(dir, "file", 0));
	ASSERT_ERR(fd_read_small(dir, "file", text, sizeof(text)), ENOENT);
	ASSERT_ERR(fd_read_small(dir, ".", text, sizeof(text)), EISDIR);
	ASSERT_OK(mkfifoat(dir, "file", 0600));
	assert_int_equal(fd_read_small(dir, "file", text, sizeof(text)), 0);
	ASSERT_OK(unlinkat(dir, "file", 0));
	ASSERT_OK(rmdir(folder));
}

/* --- pressure --- */

#define IO                                                                                         \
	"some avg10=13.14 avg60=32.37 avg300=35.57 total=3025471686\n"                             \
	"full avg10=100.00 avg60=0.00 avg300=0.00 total=0\n"

static void pressure_text(void **state)
{
	static const char *const wrong[] = { "", "some", "some avg10=", "some avg10=x.00 a\n",
		"some avg10=1000.00 a\n", "some avg10=101.00 a\n", "some avg10=1.0 a\n",
		"full avg10=1.00\n", "some avg10=1.00 a\nfull avg10=z a\n" };
	struct pressure p;

	(void)state;
	ASSERT_OK(pressure_parse(IO, strlen(IO), &p));
	assert_true(p.some_avg10 > 13.13 && p.some_avg10 < 13.15);
	assert_true(p.has_full);
	assert_true(p.full_avg10 > 99.99);
	ASSERT_OK(pressure_parse("some avg10=0.05 avg60=0.00\n", 27, &p));
	assert_false(p.has_full);
	assert_true(p.some_avg10 > 0.04 && p.some_avg10 < 0.06);
	for (size_t i = 0; i < ELEMENTS(wrong); i++)
		ASSERT_ERR(pressure_parse(wrong[i], strlen(wrong[i]), &p), EBADMSG);
}

static void pressure_here(void **state)
{
	CLEAN_FD int proc_fd = proc_open();
	struct pressure p;
	int r = pressure_read(proc_fd, "cpu", &p);

	(void)state;
	if (r == -ENOENT || r == -EOPNOTSUPP)
		skip();
	ASSERT_OK(r);
	ASSERT_ERR(pressure_read(proc_fd, "none", &p), ENOENT);
}

/* --- block devices --- */

static void block_text(void **state)
{
	static const char full[] =
		"     120       3    4096      12      40       1     512       8 "
		"       2      16      20       7       0      56       1       9 "
		"      30\n";
	struct block_stat s;

	(void)state;
	ASSERT_OK(block_parse_stat(full, strlen(full), &s));
	assert_int_equal(s.in_flight, 2);
	assert_int_equal(s.completed, 120 + 40 + 7 + 9);
	ASSERT_OK(block_parse_stat("1 2 3 4 5 6 7 8 9 10 11\n", 24, &s));
	assert_int_equal(s.in_flight, 9);
	assert_int_equal(s.completed, 6);
	ASSERT_ERR(block_parse_stat("", 0, &s), EBADMSG);
	ASSERT_ERR(block_parse_stat("1 2 3 4 5 6 7 8 9 10\n", 21, &s), EBADMSG);
	ASSERT_ERR(block_parse_stat("1 2 x 4 5 6 7 8 9 10 11\n", 24, &s), EBADMSG);
	ASSERT_ERR(block_parse_stat("1 -2 3 4 5 6 7 8 9 10 11\n", 25, &s), EBADMSG);
}

static void block_here(void **state)
{
	struct block_device d;
	struct stat st;

	(void)state;
	ASSERT_ERR(block_read(0, 12345, &d), ENOENT);
	if (stat("/", &st) < 0 || major(st.st_dev) == 0)
		skip();
	ASSERT_OK(block_read(major(st.st_dev), minor(st.st_dev), &d));
	assert_true(d.name[0] != '\0');
}

/* --- FUSE --- */

static void fuse_types(void **state)
{
	(void)state;
	assert_true(fuse_is_type("fuse", 4));
	assert_true(fuse_is_type("fuse.sshfs", 10));
	assert_false(fuse_is_type("fuse.", 5));
	assert_false(fuse_is_type("fuseblk", 7));
	assert_false(fuse_is_type("fusectl", 7));
	assert_false(fuse_is_type("", 0));
}

static void fuse_fdinfo(void **state)
{
	static const char text[] = "pos:\t0\nflags:\t02100002\nmnt_id:\t24\nfuse_connection:\t39\n";
	uint32_t minor = 0;

	(void)state;
	assert_true(fuse_parse_fdinfo(text, strlen(text), &minor));
	assert_int_equal(minor, 39);
	assert_false(fuse_parse_fdinfo("mnt_id:\t24\n", 11, &minor));
	assert_false(fuse_parse_fdinfo("xfuse_connection:\t39\n", 21, &minor));
	assert_false(fuse_parse_fdinfo("fuse_connection:\t\n", 18, &minor));
	assert_false(fuse_parse_fdinfo("fuse_connection:\t99999999999\n", 29, &minor));
}

static void fuse_here(void **state)
{
	uint32_t minors[64];
	uint64_t waiting;
	bool mounted;
	CLEAN_FD int fd = fuse_open(&mounted);

	(void)state;
	if (fd < 0) {
		assert_true(fd == -EPERM || fd == -ENODEV || fd == -ENOSYS || fd == -EACCES);
		skip();
	}
	ASSERT_OK(fuse_list(fd, minors, ELEMENTS(minors)));
	ASSERT_ERR(fuse_read_waiting(fd, 4000000, &waiting), ENOENT);
}

/* --- stacks --- */

static void stack_text(void **state)
{
	static const char text[] = "[<0>] request_wait_answer+0x112/0x1f0 [fuse]\n"
				   "[<ffffffff8109a2b3>] fuse_file_read_iter.constprop.0+0x1/0x2\n"
				   "garbage\n[<0>]\n[<0>] +0x1\n"
				   "[<0>] do_syscall_64+0x5c/0x90\n";
	char out[STACK_TEXT_MAX], small[8];

	(void)state;
	assert_int_equal(stack_functions(text, strlen(text), out, sizeof(out)), 65);
	assert_string_equal(
		out, "request_wait_answer\nfuse_file_read_iter.constprop.0\ndo_syscall_64");
	assert_int_equal(stack_functions("", 0, out, sizeof(out)), 0);
	assert_string_equal(out, "");
	assert_int_equal(stack_functions("[<0>] abcdef+0x1\n[<0>] g+0x1\n", 29, small, 8), 6);
	assert_string_equal(small, "abcdef");
}

/* --- the kernel's log --- */

static void kmsg_text(void **state)
{
	static const char line[] = "3,1234,5678901,-;INFO: task jbd2/loop0-8:4711 blocked for more "
				   "than 122 seconds.\n SUBSYSTEM=x\n";
	static const char nasty[] = "3,1,2,-;INFO: task a: blocked for more than 9 seconds:12 "
				    "blocked for more than 120 seconds.\n";
	static const char *const wrong[] = { "", ";", "3,1,2,-;", "3,1,2,-;INFO: task ",
		"3,1,2,-;INFO: task a:1 blocked for more than x seconds.",
		"3,1,2,-;INFO: task a:0 blocked for more than 1 seconds.",
		"3,1,2,-;INFO: task a blocked for more than 1 seconds.",
		"x,1,2,-;INFO: task a:1 blocked for more than 1 seconds.",
		"INFO: task a:1 blocked for more than 1 seconds.",
		"3,1,2,-;xINFO: task a:1 blocked for more than 1 seconds." };
	struct kmsg_hung h;

	(void)state;
	assert_true(kmsg_parse_hung(line, strlen(line), &h));
	assert_string_equal(h.comm, "jbd2/loop0-8");
	assert_int_equal(h.tid, 4711);
	assert_int_equal(h.seconds, 122);
	assert_int_equal(h.at_boot_ns, UINT64_C(5678901000));
	assert_true(kmsg_parse_hung(nasty, strlen(nasty), &h));
	assert_int_equal(h.tid, 12);
	assert_int_equal(h.seconds, 120);
	assert_string_equal(h.comm, "a: blocked for more than 9 seconds");
	for (size_t i = 0; i < ELEMENTS(wrong); i++)
		assert_false(kmsg_parse_hung(wrong[i], strlen(wrong[i]), &h));
}

static void kmsg_here(void **state)
{
	struct kmsg_hung found[4];
	int n = kmsg_read_hung(found, ELEMENTS(found));

	(void)state;
	if (n == -EPERM || n == -EACCES || n == -ENOENT)
		skip();
	ASSERT_OK(n);
	assert_in_range(n, 0, ELEMENTS(found));
}

static void inotify_watches(void **state)
{
	static const char text[] = "pos:\t0\nflags:\t02004000\nmnt_id:\t15\nino:\t1058\n"
				   "inotify wd:2 ino:a1 sdev:8 mask:fce ignored_mask:0\n"
				   "inotify wd:1 ino:inotify wd:3 sdev:8\n";

	(void)state;
	assert_int_equal(inotify_count_watches(text, sizeof(text) - 1), 2);
	assert_int_equal(inotify_count_watches(text, 0), 0);
	assert_int_equal(inotify_count_watches("inotify wd:1", 12), 1);
}

/* As many descriptors as we may have: that is not what inotify lacks. */
static void inotify_here(void **state)
{
	struct rlimit before, few;

	(void)state;
	assert_int_equal(inotify_try(), INOTIFY_ENOUGH);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	for (few.rlim_cur = 3; few.rlim_cur < 6; few.rlim_cur++) {
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
		/* One for the other, one for it; what is open already has no gaps below 3. */
		if (inotify_try() != INOTIFY_ENOUGH)
			ASSERT_ERR(inotify_try(), EMFILE);
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_files),
		cmocka_unit_test(pressure_text),
		cmocka_unit_test(pressure_here),
		cmocka_unit_test(block_text),
		cmocka_unit_test(block_here),
		cmocka_unit_test(fuse_types),
		cmocka_unit_test(fuse_fdinfo),
		cmocka_unit_test(fuse_here),
		cmocka_unit_test(stack_text),
		cmocka_unit_test(inotify_watches),
		cmocka_unit_test(inotify_here),
		cmocka_unit_test(kmsg_text),
		cmocka_unit_test(kmsg_here),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
