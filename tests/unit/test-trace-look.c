/*
 * The table of processes that a trace looks things up in, and who is who in it: a process is a pid
 * and its start, so one that has only the pid is another.
 */
#include "unit.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "trace/look-internal.h"

/* The kernel's own table, read here. */
static void found_by_pid(void **state)
{
	struct look_scan scan = { .proc_fd = -EBADF };
	const struct look_entry *self, *parent;

	(void)state;
	ASSERT_OK(look_scan_read(&scan));
	assert_true(scan.count > 2);
	for (size_t i = 0; i < scan.count; i++)
		assert_ptr_equal(look_scan_find(&scan, scan.entries[i].pid), &scan.entries[i]);
	self = look_scan_find(&scan, getpid());
	assert_non_null(self);
	parent = look_scan_find(&scan, self->ppid);
	assert_non_null(parent);
	assert_int_equal(parent->pid, getppid());
	assert_null(look_scan_find(&scan, 0));
	assert_null(look_scan_find(&scan, -1));
	assert_null(look_scan_find(&scan, INT32_MAX));
	look_scan_done(&scan);
	assert_null(look_scan_find(&scan, getpid()));
}

/* As many as the budget of a trace speaks of, with gaps. */
static void found_among_ten_thousand(void **state)
{
	struct look_scan scan = { .proc_fd = -EBADF, .count = 10000 };

	(void)state;
	scan.entries = mem_array(scan.count, sizeof(*scan.entries));
	assert_non_null(scan.entries);
	for (size_t i = 0; i < scan.count; i++)
		scan.entries[i] = (struct look_entry){ .pid = (int32_t)(3 * i + 2) };
	for (int32_t pid = 0; pid < 30010; pid++) {
		const struct look_entry *e = look_scan_find(&scan, pid);

		if (pid % 3 == 2 && pid < 30000)
			assert_int_equal(e ? e->pid : -1, pid);
		else
			assert_null(e);
	}
	look_scan_done(&scan);
}

static void a_pid_that_was_given_away(void **state)
{
	struct look_scan scan = { .proc_fd = -EBADF };
	struct trace_process p = { .pid = -7 };
	struct look_entry other;
	pid_t child = fork();

	(void)state;
	assert_true(child >= 0);
	if (child == 0) {
		(void)pause();
		_exit(0);
	}
	ASSERT_OK(look_scan_read(&scan));
	assert_non_null(look_scan_find(&scan, child));
	other = *look_scan_find(&scan, child);
	ASSERT_OK(look_process(&scan, &other, &p));
	assert_int_equal(p.pid, child);
	assert_int_equal(p.ppid, getpid());
	assert_true(p.start_ticks == other.start_ticks);
	/* The same pid, seen before it was this process's. */
	other.start_ticks--;
	p.pid = -7;
	ASSERT_ERR(look_process(&scan, &other, &p), ESRCH);
	assert_int_equal(p.pid, -7);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	other.start_ticks++;
	ASSERT_ERR(look_process(&scan, &other, &p), ESRCH);
	look_scan_done(&scan);
}

/* Threads of a process are not told of another that has its pid. */
static void threads_of_the_one_that_was_seen(void **state)
{
	CLEAN(mem_freep) struct trace_look *look = mem_zalloc(sizeof(*look));
	struct look_scan scan = { .proc_fd = -EBADF };

	(void)state;
	assert_non_null(look);
	ASSERT_OK(look_scan_read(&scan));
	ASSERT_OK(look_process(&scan, look_scan_find(&scan, getpid()), &look->init));
	look_at_threads(&scan, look);
	assert_true(look->thread_count > 0 && look->group_count > 0);
	look->thread_count = look->group_count = 0;
	look->init.start_ticks++;
	look_at_threads(&scan, look);
	assert_int_equal(look->thread_count, 0);
	assert_int_equal(look->group_count, 0);
	look_scan_done(&scan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(found_by_pid),
		cmocka_unit_test(found_among_ten_thousand),
		cmocka_unit_test(a_pid_that_was_given_away),
		cmocka_unit_test(threads_of_the_one_that_was_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
