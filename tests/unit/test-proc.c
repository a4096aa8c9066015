/* Parsers of /proc against recorded and hand-made text; readers against this very process and its
 * children. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "kernel/proc.h"

#define TAIL                                                                                       \
	" S 8193 8193 29266 0 -1 4194304 100 0 0 0 0 0 0 0 20 0 3 0 427952 3133440 416 "           \
	"18446744073709551615 1 2 3 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 4 5 6 7 8 9 10 "

static void stat_of_a_thread_that_was_killed(void **state)
{
	static const char text[] =
		"31 (x) D 1 31 31 0 -1 4195332 100 0 0 0 7 5 0 0 20 0 3 0 427952 3133440 416 "
		"18446744073709551615 1 2 3 4 5 256 0 0 0 0 0 0 17 1 0 0 0 0 0 4 5 6 7 8 9 10 0\n";
	struct proc_stat s;

	(void)state;
	ASSERT_OK(proc_parse_stat(text, strlen(text), &s));
	assert_int_equal(s.pending, 256);
	assert_int_equal(s.cpu_ticks, 12);
	assert_int_equal(s.virtual_bytes, 3133440);
	assert_true((s.flags & PROC_FLAG_EXITING) != 0);
	assert_true((s.flags & PROC_FLAG_KTHREAD) == 0);
}

static void stat_of_every_name(void **state)
{
	static const char *const names[] = { "cat", "", "a b", ") Z (", "x) Z 1 (", "((", "))",
		"new\nline", "\xff\xfe", "kworker/0:1-mm_percpu_wq_with_a_long_name" };

	for (size_t i = 0; i < ELEMENTS(names); i++) {
		char text[512];
		struct proc_stat s;
		int n = snprintf(text, sizeof(text), "8203 (%s)" TAIL "1792\n", names[i]);

		ASSERT_OK(proc_parse_stat(text, (size_t)n, &s));
		assert_string_equal(s.comm, names[i]);
		assert_int_equal(s.pid, 8203);
		assert_int_equal(s.state, 'S');
		assert_int_equal(s.ppid, 8193);
		assert_int_equal(s.threads, 3);
		assert_int_equal(s.start_ticks, 427952);
		assert_true(s.has_exit_status);
		assert_int_equal(s.exit_status, 1792);
	}
}

static void stat_recorded(void **state)
{
	/* Kernel 6.18: a zombie that was killed; a leader that died while a thread lives. */
	static const char zombie[] =
		"8170 (t) Z 8102 8039 29266 0 -1 4194372 31 0 0 0 0 0 0 0 20 0 1 0 424001 0 0 "
		"18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 9\n";
	static const char old[] = /* 3.2: 44 fields */
		"1 (init) S 0 1 1 0 -1 4202752 5 0 0 0 0 0 0 0 20 0 1 0 7 10 2 "
		"18446744073709551615 1 1 0 0 0 0 0 0 0 1 0 0 0 0 0 0 0 0 0\n";
	struct proc_stat s;

	ASSERT_OK(proc_parse_stat(zombie, sizeof(zombie) - 1, &s));
	assert_int_equal(s.state, 'Z');
	assert_int_equal(s.threads, 1);
	assert_int_equal(s.exit_status, 9);
	ASSERT_OK(proc_parse_stat(old, sizeof(old) - 1, &s));
	assert_int_equal(s.start_ticks, 7);
	assert_false(s.has_exit_status);
}

static void stat_cut_anywhere(void **state)
{
	static const char text[] = "8203 (cat)" TAIL "1792\n";
	const char *start = strstr(text, " 427952 ");
	struct proc_stat s;

	for (size_t len = 0; len < sizeof(text) - 1; len++) {
		int r = proc_parse_stat(text, len, &s);

		/* Whatever is believed is whole. */
		if (r == 0) {
			assert_int_equal(s.start_ticks, 427952);
			assert_true(len > (size_t)(start - text));
			assert_false(s.has_exit_status);
		}
	}
}

static void stat_nonsense(void **state)
{
	static const char *const bad[] = { "", "1", "1 ", "1 (", "1 (a", "1 (a)", "1 (a) ",
		"1 (a) S", "1 (a) S ", "0 (a)" TAIL "0\n", "-4 (a)" TAIL "0\n", "x (a)" TAIL "0\n",
		"99999999999 (a)" TAIL "0\n", "1 (a) S 1 2 3 x 5\n", "1 (a) 5" TAIL,
		"1 (a) S 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 99999999999999999999999 1 1\n" };
	struct proc_stat s;

	for (size_t i = 0; i < ELEMENTS(bad); i++)
		ASSERT_ERR(proc_parse_stat(bad[i], strlen(bad[i]), &s), EBADMSG);
}

static const char recorded_status[] =
	"Name:\tcat\nUmask:\t0022\nState:\tD (disk sleep)\nTgid:\t8205\nNgid:\t0\nPid:\t8205\n"
	"PPid:\t8193\nTracerPid:\t77\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nFDSize:\t256\nGroups:\t "
	"\n"
	"NStgid:\t8205\t12\t1\nNSpid:\t8205\t12\t1\nNSpgid:\t8193\t12\t1\nKthread:\t0\n"
	"VmPeak:\t    3060 kB\nVmSize:\t    3060 kB\nCoreDumping:\t1\nTHP_enabled:\t1\n"
	"Threads:\t2\nSigQ:\t1/96365\nSigPnd:\t0000000000000100\nShdPnd:\t0000000000004000\n"
	"SigBlk:\t0000000000000000\n";

static void status_recorded(void **state)
{
	static const char zombie[] =
		"Name:\tz\nState:\tZ (zombie)\nTracerPid:\t0\nFDSize:\t0\n"
		"Threads:\t2\nSigPnd:\t0000000000000100\nShdPnd:\t0000000000000100\n";
	struct proc_status s;

	ASSERT_OK(proc_parse_status(recorded_status, sizeof(recorded_status) - 1, &s));
	assert_int_equal(s.state, 'D');
	assert_int_equal(s.threads, 2);
	assert_int_equal(s.tracer_pid, 77);
	assert_int_equal(s.fd_size, 256);
	assert_int_equal(s.ns_levels, 3);
	assert_int_equal(s.ns_pids[1], 12);
	assert_int_equal(s.ns_pids[2], 1);
	assert_int_equal(s.pending_thread, 0x100);
	assert_int_equal(s.pending_shared, 0x4000);
	assert_true(s.has_memory);
	assert_true(s.dumping_core);

	ASSERT_OK(proc_parse_status(zombie, sizeof(zombie) - 1, &s));
	assert_int_equal(s.state, 'Z');
	assert_int_equal(s.fd_size, 0);
	assert_false(s.has_memory);
	assert_int_equal(s.ns_levels, 0);
}

static void status_cut_anywhere(void **state)
{
	size_t needed = (size_t)(strstr(recorded_status, "SigBlk") - recorded_status);
	struct proc_status s;

	for (size_t len = 0; len < needed; len++)
		ASSERT_ERR(proc_parse_status(recorded_status, len, &s), EBADMSG);
	ASSERT_OK(proc_parse_status(recorded_status, needed, &s));
}

static void syscall_lines(void **state)
{
	static const char in[] = "0 0x3 0x7ffe 0x20000 0x22 0xffffffffffffffff 0x0 0x7ffe 0x7f12\n";
	struct proc_syscall s;

	ASSERT_OK(proc_parse_syscall(in, sizeof(in) - 1, &s));
	assert_int_equal(s.kind, PROC_SYSCALL_IN);
	assert_int_equal(s.number, 0);
	assert_int_equal(s.args[0], 3);
	assert_true(s.args[4] == UINT64_MAX);
	ASSERT_OK(proc_parse_syscall("running\n", 8, &s));
	assert_int_equal(s.kind, PROC_SYSCALL_RUNNING);
	ASSERT_OK(proc_parse_syscall("-1 0x0 0x0\n", 11, &s));
	assert_int_equal(s.kind, PROC_SYSCALL_NONE);
	ASSERT_ERR(proc_parse_syscall("", 0, &s), EBADMSG);
	ASSERT_ERR(proc_parse_syscall(in, 20, &s), EBADMSG);
}

#define ID "3f2a7c9e0d1b"

static void cgroup_lines(void **state)
{
	static const char v1[] =
		"12:name=systemd:/\n4:memory:/kubepods/pod1/" ID "\n1:cpu,cpuacct:/a:b\n";
	static const char v2[] = "0::/kubepods.slice/cri-containerd-" ID ".scope (deleted)\n";
	static const char left[] = "9:name=systemd:/\n4:memory:/\n0::/x\n";
	struct proc_cgroup line;
	size_t at = 0;

	assert_int_equal(proc_cgroup_next(v1, sizeof(v1) - 1, &at, &line), 1);
	assert_true(slice_eq(line.controllers, SLICE("name=systemd")));
	assert_int_equal(proc_cgroup_next(v1, sizeof(v1) - 1, &at, &line), 1);
	assert_int_equal(proc_cgroup_next(v1, sizeof(v1) - 1, &at, &line), 1);
	assert_true(slice_eq(line.controllers, SLICE("cpu,cpuacct")));
	assert_true(slice_eq(line.path, SLICE("/a:b")));
	assert_int_equal(proc_cgroup_next(v1, sizeof(v1) - 1, &at, &line), 0);
	assert_true(proc_cgroup_contains(v1, sizeof(v1) - 1, ID));
	assert_false(proc_cgroup_contains(v1, sizeof(v1) - 1, "3f2a7c9e0d1c"));
	assert_false(proc_cgroup_contains(v1, sizeof(v1) - 1, "systemd")); /* a name, no path */
	assert_false(proc_cgroup_contains(v1, sizeof(v1) - 1, ""));
	assert_false(proc_cgroup_left_v1(v1, sizeof(v1) - 1));

	at = 0;
	assert_int_equal(proc_cgroup_next(v2, sizeof(v2) - 1, &at, &line), 1);
	assert_true(line.deleted);
	assert_true(slice_eq(line.path, SLICE("/kubepods.slice/cri-containerd-" ID ".scope")));
	assert_true(proc_cgroup_contains(v2, sizeof(v2) - 1, ID));
	assert_false(proc_cgroup_left_v1(v2, sizeof(v2) - 1));
	assert_true(proc_cgroup_left_v1(left, sizeof(left) - 1));

	at = 0;
	assert_int_equal(proc_cgroup_next("x\n", 2, &at, &line), -EBADMSG);
	assert_int_equal(proc_cgroup_next("1:a:b\n", 6, &at, &line), -EBADMSG);
	assert_int_equal(proc_cgroup_next("1:a:/b", 6, &at, &line), -EBADMSG); /* cut */
}

static void reads_itself(void **state)
{
	CLEAN_FD int proc = proc_open();
	struct proc_task tasks[4];
	struct proc_status status;
	struct proc_stat stat;
	char text[PROC_TEXT_MAX], name[16] = { 0 };

	ASSERT_OK(proc);
	ASSERT_OK(prctl(PR_SET_NAME, ") Z (\n"));
	ASSERT_OK(proc_read_stat(proc, getpid(), 0, &stat));
	assert_string_equal(stat.comm, ") Z (\n");
	assert_int_equal(stat.pid, getpid());
	assert_int_equal(stat.ppid, getppid());
	assert_int_equal(stat.state, 'R');
	assert_int_equal(stat.threads, 1);
	ASSERT_OK(proc_read_status(proc, getpid(), getpid(), &status));
	assert_int_equal(status.threads, 1);
	assert_true(status.has_memory);
	assert_int_equal(proc_list_tasks(proc, getpid(), tasks, ELEMENTS(tasks)), 1);
	assert_int_equal(tasks[0].tid, getpid());
	assert_int_equal(proc_list_tasks(proc, getpid(), tasks, 0), 0);
	ASSERT_OK(proc_read_text(proc, getpid(), 0, PROC_COMM, name, sizeof(name)));
	assert_string_equal(name, ") Z (\n\n");
	ASSERT_OK(proc_read_text(proc, getpid(), 0, PROC_CGROUP, text, sizeof(text)));
	assert_non_null(strchr(text, '/'));
	ASSERT_OK(proc_verify(proc, (struct proc_id){ getpid(), stat.start_ticks }));
	ASSERT_ERR(proc_verify(proc, (struct proc_id){ getpid(), stat.start_ticks + 1 }), ESRCH);
	ASSERT_ERR(proc_verify(proc, (struct proc_id){ INT32_MAX, 1 }), ESRCH);
	assert_true(proc_may_look(proc, getpid()));
	assert_int_equal(proc_read_text(proc, getpid(), 0, PROC_STATUS, text, 8), 7); /* cut */
	assert_int_equal(strlen(text), 7);
}

static void reads_a_sleeper_and_a_zombie(void **state)
{
	CLEAN_FD int proc = proc_open();
	struct proc_syscall call;
	struct proc_stat stat;
	char wchan[PROC_WCHAN_MAX];
	int pipes[2], status;
	siginfo_t info;
	pid_t pid;

	ASSERT_OK(proc);
	ASSERT_OK(pipe(pipes));
	pid = fork();
	if (pid == 0) {
		char byte;

		(void)close(pipes[1]);
		_exit(read(pipes[0], &byte, 1) == 0 ? 3 : 4);
	}
	do /* until it sleeps in read() */
		ASSERT_OK(proc_read_syscall(proc, pid, 0, &call));
	while (call.kind != PROC_SYSCALL_IN || call.args[0] != (uint64_t)pipes[0]);
	ASSERT_OK(proc_read_stat(proc, pid, 0, &stat));
	assert_int_equal(stat.state, 'S');
	ASSERT_OK(proc_read_wchan(proc, pid, 0, wchan));
	assert_non_null(strstr(wchan, "pipe"));

	(void)close(pipes[1]);
	ASSERT_OK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
	ASSERT_OK(proc_read_stat(proc, pid, 0, &stat));
	assert_int_equal(stat.state, 'Z');
	assert_int_equal(stat.exit_status, 3 << 8);
	ASSERT_OK(proc_read_wchan(proc, pid, 0, wchan));
	assert_string_equal(wchan, "");
	ASSERT_OK(proc_read_syscall(proc, pid, 0, &call));
	assert_int_equal(call.kind, PROC_SYSCALL_NONE);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	ASSERT_ERR(proc_read_stat(proc, pid, 0, &stat), ESRCH);
	ASSERT_ERR(proc_list_tasks(proc, pid, NULL, 0), ESRCH);
	(void)close(pipes[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stat_of_a_thread_that_was_killed),
		cmocka_unit_test(stat_of_every_name),
		cmocka_unit_test(stat_recorded),
		cmocka_unit_test(stat_cut_anywhere),
		cmocka_unit_test(stat_nonsense),
		cmocka_unit_test(status_recorded),
		cmocka_unit_test(status_cut_anywhere),
		cmocka_unit_test(syscall_lines),
		cmocka_unit_test(cgroup_lines),
		cmocka_unit_test(reads_itself),
		cmocka_unit_test(reads_a_sleeper_and_a_zombie),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
