/*
 * Watches of real children: they exit, are killed, are zombies, die with a thread alive, are a
 * thousand at once. What a seccomp filter and a limit of descriptors forbid is tried in a child.
 * Skipped (77) only where the kernel has no pidfds.
 */
#include "unit.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/mem.h"
#include "kernel/cgroup.h"
#include "kernel/pidfd.h"
#include "loop.h"

#define CROWD 1000

static const char *arg_child;
static size_t allocations;

bool fault_hit(enum fault_point point)
{
	allocations += point == FAULT_ALLOC;
	return false;
}

struct fixture {
	sd_event *event;
	struct pidfd_set *set;
	struct pidfd_watch *watch;
	unsigned entered[LEDGER_GONE + 1];
	struct ledger_exit exit;
	bool free_inside;
	int fds_before;
};

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));

	f->fds_before = count_fds();
	ASSERT_OK(sd_event_new(&f->event));
	ASSERT_OK(pidfd_set_new(f->event, NULL, &f->set));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->watch = pidfd_watch_free(f->watch);
	f->set = pidfd_set_free(f->set);
	f->event = sd_event_unref(f->event);
	assert_int_equal(count_fds(), f->fds_before);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	(void)mem_free(f);
	return 0;
}

static void on_state(struct pidfd_watch *watch, enum ledger_state state,
	const struct ledger_exit *exit, void *userdata)
{
	struct fixture *f = userdata;

	assert_int_equal(pidfd_watch_state(watch), state);
	f->entered[state]++;
	f->exit = *exit;
	if (f->free_inside)
		f->watch = pidfd_watch_free(watch);
}

/* A child that waits until it is killed, or exits with `code` at once. */
static pid_t start_child(int code)
{
	pid_t pid = fork();

	ASSERT_OK(pid);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (code < 0)
			(void)pause();
		_exit(code);
	}
	return pid;
}

static void await_zombie(pid_t pid)
{
	siginfo_t info;

	ASSERT_OK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
}

static void reap(pid_t pid)
{
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static int watch(struct fixture *f, pid_t pid, uint64_t start_ticks, const char *container)
{
	struct err err = { 0 };
	int r = pidfd_watch_new(f->set,
		&(struct pidfd_spec){ .pid = pid,
			.start_ticks = start_ticks,
			.container = container,
			.on_state = on_state,
			.userdata = f },
		&f->watch, &err);

	if (r < 0)
		assert_true(err.text[0] >= 'A' && err.code == r);
	return r;
}

static uint64_t start_of(pid_t pid)
{
	CLEAN_FD int proc = proc_open();
	struct proc_stat stat;

	ASSERT_OK(proc_read_stat(proc, pid, 0, &stat));
	return stat.start_ticks;
}

/* Whether this kernel tells the status of one that was reaped (6.15). */
static bool kernel_tells_reaped(void)
{
	uint64_t info[8] = { 8 };
	pid_t pid = start_child(0);
	CLEAN_FD int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	reap(pid);
	return ioctl(fd, _IOWR(0xFF, 11, info), info) == 0 && (info[0] & 8) != 0;
}

static void exits(void **state)
{
	struct fixture *f = *state;
	pid_t pid = start_child(-1);
	struct pidfd_status s;

	ASSERT_OK(watch(f, pid, start_of(pid), NULL));
	assert_int_equal(pidfd_watch_id(f->watch).pid, pid);
	assert_int_equal(pidfd_watch_id(f->watch).start_ticks, start_of(pid));
	RUN_TURNS(f->event, 2);
	assert_int_equal(pidfd_watch_state(f->watch), LEDGER_ALIVE);
	ASSERT_OK(kill(pid, SIGKILL));
	RUN_UNTIL(f->event, f->entered[LEDGER_ZOMBIE] == 1);
	assert_true(f->exit.known);
	assert_int_equal(f->exit.code, 137);
	assert_int_equal(f->exit.signal, SIGKILL);
	assert_true(f->exit.at_ns > 0);
	reap(pid);
	RUN_UNTIL(f->event, f->entered[LEDGER_GONE] == 1);
	assert_int_equal(f->exit.code, 137);
	assert_int_equal(f->entered[LEDGER_ZOMBIE], 1);
	assert_int_equal(pidfd_watch_fd(f->watch), -EBADF);
	pidfd_status(f->set, &s);
	assert_int_equal(s.deaths, 1);
	RUN_TURNS(f->event, 2);
}

static void zombie_from_the_start(void **state)
{
	struct fixture *f = *state;
	pid_t pid = start_child(3);

	await_zombie(pid);
	ASSERT_OK(watch(f, pid, 0, NULL));
	assert_int_equal(f->entered[LEDGER_ZOMBIE], 0); /* Nothing calls back from inside. */
	RUN_UNTIL(f->event, f->entered[LEDGER_ZOMBIE] == 1);
	assert_true(f->exit.known);
	assert_int_equal(f->exit.code, 3);
	assert_int_equal(f->exit.signal, 0);
	assert_int_equal(f->exit.at_ns, 0); /* Nobody saw when. */
	reap(pid);
	RUN_UNTIL(f->event, f->entered[LEDGER_GONE] == 1);
}

/* Where the kernel does not tell of the reaping, the rotation does; here both may. */
static void reaped_is_found_by_rotation(void **state)
{
	struct fixture *f = *state;
	pid_t pid = start_child(0);

	await_zombie(pid);
	f->set = pidfd_set_free(f->set);
	ASSERT_OK(pidfd_set_new(
		f->event, &(struct pidfd_set_config){ .rotation_ns = NSEC_PER_MSEC }, &f->set));
	ASSERT_OK(watch(f, pid, 0, NULL));
	RUN_UNTIL(f->event, f->entered[LEDGER_ZOMBIE] == 1);
	assert_int_equal(f->exit.code, 0);
	assert_true(f->exit.known);
	RUN_TURNS(f->event, 20);
	assert_int_equal(f->entered[LEDGER_GONE], 0);
	reap(pid);
	RUN_UNTIL(f->event, f->entered[LEDGER_GONE] == 1);
	assert_int_equal(f->entered[LEDGER_ZOMBIE], 1);
}

static void reaped_before_anybody_looks(void **state)
{
	struct fixture *f = *state;
	bool told = kernel_tells_reaped();
	pid_t pid = start_child(-1);

	ASSERT_OK(watch(f, pid, 0, NULL));
	ASSERT_OK(kill(pid, SIGTERM));
	reap(pid);
	RUN_UNTIL(f->event, f->entered[LEDGER_GONE] == 1);
	assert_int_equal(f->entered[LEDGER_ZOMBIE], 0);
	assert_int_equal(f->exit.known, told);
	assert_int_equal(f->exit.code, told ? 128 + SIGTERM : 0);
}

static void freed_inside_its_callback(void **state)
{
	struct fixture *f = *state;
	pid_t pid = start_child(0);
	struct pidfd_status s;

	f->free_inside = true;
	await_zombie(pid);
	ASSERT_OK(watch(f, pid, 0, NULL));
	RUN_UNTIL(f->event, f->entered[LEDGER_ZOMBIE] == 1);
	assert_null(f->watch);
	pidfd_status(f->set, &s);
	assert_int_equal(s.watches, 0);
	reap(pid);
}

/* --- a dead leader with a living thread --- */

struct threaded {
	pid_t pid;
	int in; /* a byte here ends it */
};

/* Starts it and waits until its leader is a zombie. */
static struct threaded start_threaded(void)
{
	CLEAN_FD int proc = proc_open();
	struct proc_stat stat = { 0 };
	struct threaded t;
	int in[2], out[2];
	char byte;

	ASSERT_OK(pipe2(in, O_CLOEXEC));
	ASSERT_OK(pipe2(out, O_CLOEXEC));
	t.pid = fork();
	if (t.pid == 0) {
		(void)dup2(in[0], STDIN_FILENO);
		(void)dup2(out[1], STDOUT_FILENO);
		(void)execl(arg_child, "kernel-child", "leader-exits", NULL);
		_exit(127);
	}
	(void)close(in[0]);
	(void)close(out[1]);
	assert_int_equal(read(out[0], &byte, 1), 1);
	(void)close(out[0]);
	while (stat.state != 'Z')
		ASSERT_OK(proc_read_stat(proc, t.pid, 0, &stat));
	t.in = in[1];
	return t;
}

static void leader_dies_first(struct fixture *f)
{
	struct threaded t = start_threaded();
	struct pidfd_status s;
	uint64_t told_ns;

	ASSERT_OK(watch(f, t.pid, 0, NULL));
	RUN_UNTIL(f->event, f->entered[LEDGER_ZOMBIE_THREADS] == 1);
	assert_false(f->exit.known);
	pidfd_status(f->set, &s);
	assert_int_equal(s.zombie_threads, 1);
	pidfd_hint(f->set, t.pid);
	pidfd_rescan(f->set);
	RUN_TURNS(f->event, 10);
	assert_int_equal(f->entered[LEDGER_ZOMBIE_THREADS], 1); /* told once, and not dead: */
	assert_int_equal(f->entered[LEDGER_ZOMBIE] + f->entered[LEDGER_GONE], 0);

	assert_int_equal(write(t.in, "x", 1), 1);
	await_zombie(t.pid);
	told_ns = clock_now().mono_ns;
	RUN_UNTIL(f->event, f->entered[LEDGER_ZOMBIE] == 1);
	print_message("told %.2f ms after the last thread's end\n",
		(double)(clock_now().mono_ns - told_ns) / 1e6);
	/* The process's code, not the leader's, which was 0. */
	if (f->exit.known)
		assert_int_equal(f->exit.code, 5);
	assert_true(f->exit.known || !kernel_tells_reaped());
	pidfd_status(f->set, &s);
	assert_int_equal(s.zombie_threads, 0);
	reap(t.pid);
	RUN_UNTIL(f->event, f->entered[LEDGER_GONE] == 1);
	(void)close(t.in);
}

static void leader_is_dead_from_the_start(void **state)
{
	leader_dies_first(*state);
}

static void leader_found_dead(struct fixture *f, bool by_hint)
{
	int in[2], out[2];
	pid_t pid;
	char byte;

	ASSERT_OK(pipe2(in, O_CLOEXEC));
	ASSERT_OK(pipe2(out, O_CLOEXEC));
	pid = fork();
	if (pid == 0) {
		(void)dup2(in[0], STDIN_FILENO);
		(void)dup2(out[1], STDOUT_FILENO);
		(void)close(in[1]);
		(void)raise(SIGSTOP); /* until it is watched */
		(void)execl(arg_child, "kernel-child", "leader-exits", NULL);
		_exit(127);
	}
	ASSERT_OK(waitpid(pid, NULL, WUNTRACED));
	ASSERT_OK(watch(f, pid, 0, NULL));
	ASSERT_OK(kill(pid, SIGCONT));
	assert_int_equal(read(out[0], &byte, 1), 1);
	if (by_hint) /* as the connector would; again, since the first may be early */
		RUN_UNTIL(f->event,
			(pidfd_hint(f->set, pid), f->entered[LEDGER_ZOMBIE_THREADS] == 1));
	else
		RUN_UNTIL(f->event, f->entered[LEDGER_ZOMBIE_THREADS] == 1);
	assert_int_equal(f->entered[LEDGER_ZOMBIE], 0);
	ASSERT_OK(kill(pid, SIGKILL));
	RUN_UNTIL(f->event, f->entered[LEDGER_ZOMBIE] == 1);
	assert_true(f->exit.at_ns > 0);
	reap(pid);
	for (int i = 0; i < 2; i++) {
		(void)close(in[i]);
		(void)close(out[i]);
	}
}

static void leader_dies_and_a_hint_tells(void **state)
{
	struct fixture *f = *state;

	f->set = pidfd_set_free(f->set);
	ASSERT_OK(pidfd_set_new(f->event,
		&(struct pidfd_set_config){ .rotation_ns = 3600 * NSEC_PER_SEC }, &f->set));
	leader_found_dead(f, true);
}

static void leader_dies_and_the_rotation_finds_it(void **state)
{
	struct fixture *f = *state;

	f->set = pidfd_set_free(f->set);
	ASSERT_OK(pidfd_set_new(
		f->event, &(struct pidfd_set_config){ .rotation_ns = 5 * NSEC_PER_MSEC }, &f->set));
	leader_found_dead(f, false);
}

/* --- who it is --- */

static void another_process_is_refused(void **state)
{
	struct fixture *f = *state;
	pid_t pid = start_child(-1), dead = start_child(0);
	struct pidfd_status s;

	reap(dead);
	ASSERT_ERR(watch(f, pid, start_of(pid) + 1, NULL), ESRCH);
	ASSERT_ERR(watch(f, dead, 0, NULL), ESRCH);
	ASSERT_ERR(watch(f, pid, 0, "no-such-container"), EXDEV);
	pidfd_status(f->set, &s);
	assert_int_equal(s.watches, 0);
	assert_int_equal(s.refused, 3);
	assert_int_equal(s.refused_error, -EXDEV);
	pidfd_hint(f->set, pid); /* nobody's */
	ASSERT_OK(kill(pid, SIGKILL));
	reap(pid);
	RUN_TURNS(f->event, 1);
}

/* A child with this very pid: 0, or a negative errno. */
static int start_child_as(pid_t pid)
{
	struct clone_args args = {
		.exit_signal = SIGCHLD,
		.set_tid = (uint64_t)(uintptr_t)&pid,
		.set_tid_size = 1,
	};
	long r = syscall(SYS_clone3, &args, sizeof(args));

	if (r == 0)
		for (;;)
			(void)syscall(SYS_pause);
	return r < 0 ? -errno : 0;
}

/* Between the runtime's word and pidfd_open() the process ends and another one gets its pid. */
static void a_reused_pid_is_refused(void **state)
{
	struct fixture *f = *state;
	pid_t pid = start_child(0);
	uint64_t first, second = 0, end_ns = clock_now().mono_ns + WAIT_NS;
	int r;

	await_zombie(pid);
	first = start_of(pid);
	reap(pid);
	do { /* until a tick of the start time has gone by, 10 ms */
		assert_true(clock_now().mono_ns < end_ns);
		r = start_child_as(pid);
		if (r == -EPERM || r == -ENOSYS || r == -EEXIST || r == -EINVAL) {
			print_message("SKIPPED: pids cannot be chosen here: %d\n", r);
			skip();
		}
		ASSERT_OK(r);
		second = start_of(pid);
		if (second != first)
			break;
		ASSERT_OK(kill(pid, SIGKILL));
		reap(pid);
	} while (true);
	ASSERT_ERR(watch(f, pid, first, NULL), ESRCH);
	ASSERT_ERR(watch(f, pid, 0, "3f2a-of-the-first"), EXDEV);
	/* Neither of these two tells of its death, and a watch that knows the second does. */
	ASSERT_OK(watch(f, pid, second, NULL));
	ASSERT_OK(kill(pid, SIGKILL));
	RUN_UNTIL(f->event, f->entered[LEDGER_ZOMBIE] == 1);
	reap(pid);
}

/* stat's fields are found from the end of the name, whatever is in it. */
static void a_name_that_looks_like_stat(void **state)
{
	struct fixture *f = *state;
	int out[2];
	char byte;
	pid_t pid;

	ASSERT_OK(pipe2(out, O_CLOEXEC));
	pid = fork();
	ASSERT_OK(pid);
	if (pid == 0) {
		(void)prctl(PR_SET_NAME, ") Z (");
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (write(out[1], "r", 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	assert_int_equal(read(out[0], &byte, 1), 1);
	ASSERT_OK(watch(f, pid, 0, NULL));
	assert_int_equal(pidfd_watch_state(f->watch), LEDGER_ALIVE);
	pidfd_hint(f->set, pid);
	RUN_TURNS(f->event, 5);
	assert_int_equal(f->entered[LEDGER_ZOMBIE_THREADS] + f->entered[LEDGER_ZOMBIE], 0);
	ASSERT_OK(kill(pid, SIGTERM));
	RUN_UNTIL(f->event, f->entered[LEDGER_ZOMBIE] == 1);
	assert_int_equal(f->exit.signal, SIGTERM);
	reap(pid);
	(void)close(out[0]);
	(void)close(out[1]);
}

static bool move_into(pid_t pid, const char *folder)
{
	char path[CGROUP_PATH_MAX + 32];
	FILE *file;
	bool ok;

	(void)snprintf(path, sizeof(path), "%s/cgroup.procs", folder);
	file = fopen(path, "we");
	if (!file)
		return false;
	ok = fprintf(file, "%d\n", pid) > 0;
	return fclose(file) == 0 && ok;
}

static void its_cgroup_is_verified(void **state)
{
	struct fixture *f = *state;
	char folder[CGROUP_PATH_MAX], name[64];
	enum cgroup_hierarchy hierarchy;
	struct cgroup_mounts mounts;
	pid_t pid;

	ASSERT_OK(cgroup_read_mounts(&mounts));
	hierarchy = mounts.at[CGROUP_PIDS].path[0] ? CGROUP_PIDS : CGROUP_UNIFIED;
	(void)snprintf(name, sizeof(name), "pleg-unit-%d", getpid());
	(void)snprintf(folder, sizeof(folder), "%.200s/%s", mounts.at[hierarchy].path, name);
	if (mounts.mode == CGROUP_NONE || mkdir(folder, 0755) < 0) {
		print_message("SKIPPED: no cgroup can be made here\n");
		skip();
	}
	pid = start_child(-1);
	if (!move_into(pid, folder)) {
		(void)kill(pid, SIGKILL);
		reap(pid);
		(void)rmdir(folder);
		skip();
	}
	ASSERT_OK(watch(f, pid, 0, name));
	f->watch = pidfd_watch_free(f->watch);
	ASSERT_ERR(watch(f, pid, 0, "pleg-other"), EXDEV);
	ASSERT_OK(kill(pid, SIGKILL));
	await_zombie(pid);
	/* On v1 a zombie has left its group: only one whose start time is known is believed. */
	if (hierarchy == CGROUP_PIDS && mounts.mode == CGROUP_V1)
		ASSERT_ERR(watch(f, pid, 0, name), EAGAIN);
	if (watch(f, pid, start_of(pid), name) == 0)
		RUN_UNTIL(f->event, f->entered[LEDGER_ZOMBIE] == 1);
	reap(pid);
	ASSERT_OK(rmdir(folder) < 0 ? -errno : 0);
}

/* --- limits and degraded worlds --- */

static void own_limit(void **state)
{
	struct fixture *f = *state;
	pid_t pid = start_child(-1);
	struct pidfd_watch *first;

	f->set = pidfd_set_free(f->set);
	ASSERT_OK(pidfd_set_new(f->event, &(struct pidfd_set_config){ .watches_max = 1 }, &f->set));
	ASSERT_OK(watch(f, pid, 0, NULL));
	first = f->watch;
	ASSERT_ERR(watch(f, pid, 0, NULL), ENOSPC);
	f->watch = pidfd_watch_free(first);
	ASSERT_OK(watch(f, pid, 0, NULL));
	ASSERT_OK(kill(pid, SIGKILL));
	reap(pid);
}

static int forbid_pidfd_open(int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pidfd_open, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = ELEMENTS(code), .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0)
		return -errno;
	return 0;
}

static int expect_refusal(struct fixture *f, int error)
{
	struct pidfd_status s;
	struct err err = { 0 };
	int r = pidfd_watch_new(f->set,
		&(struct pidfd_spec){ .pid = getpid(), .on_state = on_state, .userdata = f },
		&f->watch, &err);

	pidfd_status(f->set, &s);
	if (r == -error && s.refused_error == r && s.watches == 0 && err.text[0])
		return 0;
	print_message("got %d (%s), wanted %d\n", r, err.text, -error);
	return 1;
}

/* Both limits lowered to what is open: nothing is left. Then only the soft one: it is raised. */
static int try_limits(struct fixture *f)
{
	struct rlimit old, tight;
	int lowest = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0), r;
	struct err err = { 0 };

	if (getrlimit(RLIMIT_NOFILE, &old) < 0 || lowest < 0)
		return 2;
	(void)close(lowest);
	tight = (struct rlimit){ .rlim_cur = (rlim_t)lowest, .rlim_max = old.rlim_max };
	if (setrlimit(RLIMIT_NOFILE, &tight) < 0)
		return 3;
	r = pidfd_watch_new(f->set,
		&(struct pidfd_spec){ .pid = getpid(), .on_state = on_state, .userdata = f },
		&f->watch, &err);
	if (r < 0) {
		print_message("%d: %s\n", r, err.text);
		return 4;
	}
	if (getrlimit(RLIMIT_NOFILE, &tight) < 0 || tight.rlim_cur <= (rlim_t)lowest ||
		tight.rlim_max != old.rlim_max)
		return 5;
	f->watch = pidfd_watch_free(f->watch);
	tight.rlim_cur = tight.rlim_max = (rlim_t)lowest;
	if (setrlimit(RLIMIT_NOFILE, &tight) < 0)
		return 6;
	return expect_refusal(f, EMFILE);
}

static void in_child(int (*try)(struct fixture *f))
{
	pid_t pid = fork();
	int status;

	ASSERT_OK(pid);
	if (pid == 0) { /* A loop does not live on in a child. */
		struct fixture own = { 0 };

		if (sd_event_new(&own.event) < 0 || pidfd_set_new(own.event, NULL, &own.set) < 0)
			_exit(10);
		_exit(try(&own));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static int try_no_kernel(struct fixture *f)
{
	return forbid_pidfd_open(ENOSYS) < 0 ? 9 : expect_refusal(f, ENOSYS);
}

static int try_no_permission(struct fixture *f)
{
	return forbid_pidfd_open(EPERM) < 0 ? 9 : expect_refusal(f, EPERM);
}

static void refusals_are_told_apart(void **state)
{
	in_child(try_no_kernel);
	in_child(try_no_permission);
	in_child(try_limits);
}

static void statuses(void **state)
{
	struct ledger_exit e = pidfd_exit_from_status(3 << 8, 7);

	assert_true(e.known && e.code == 3 && e.signal == 0 && e.at_ns == 7);
	e = pidfd_exit_from_status(9 | 0x80, 0); /* with a core dump */
	assert_true(e.known && e.code == 137 && e.signal == 9);
	e = pidfd_exit_from_status(0x137f, 0); /* stopped: no end at all */
	assert_false(e.known);
}

/* --- a thousand at once --- */

static void a_crowd_dies(void **state)
{
	struct fixture *f = *state;
	static struct pidfd_watch *watches[CROWD];
	static pid_t pids[CROWD];
	struct rusage before, after;
	uint64_t begin_ns;
	size_t allocated;
	double cpu_us;

	for (int i = 0; i < CROWD; i++) {
		pids[i] = start_child(-1);
		ASSERT_OK(watch(f, pids[i], 0, NULL));
		watches[i] = f->watch;
	}
	f->watch = NULL;
	for (int i = 0; i < CROWD; i++)
		ASSERT_OK(kill(pids[i], SIGKILL));
	for (int i = 0; i < CROWD; i++)
		await_zombie(pids[i]);
	allocated = allocations;
	begin_ns = clock_now().mono_ns;
	ASSERT_OK(getrusage(RUSAGE_SELF, &before));
	RUN_UNTIL(f->event, f->entered[LEDGER_ZOMBIE] == CROWD);
	ASSERT_OK(getrusage(RUSAGE_SELF, &after));
	assert_int_equal(allocations, allocated); /* None per death. */
	cpu_us = (double)(after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec -
			 before.ru_stime.tv_sec) *
			1e6 +
		(double)(after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec -
			before.ru_stime.tv_usec);
	print_message("%d deaths: %.1f ms, %.1f us of CPU each\n", CROWD,
		(double)(clock_now().mono_ns - begin_ns) / 1e6, cpu_us / CROWD);
	for (int i = 0; i < CROWD; i++)
		reap(pids[i]);
	pidfd_rescan(f->set); /* also where the kernel does not tell of the reaping */
	RUN_UNTIL(f->event, f->entered[LEDGER_GONE] == CROWD);
	for (int i = 0; i < CROWD; i++)
		watches[i] = pidfd_watch_free(watches[i]);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(exits, setup, teardown),
		cmocka_unit_test_setup_teardown(zombie_from_the_start, setup, teardown),
		cmocka_unit_test_setup_teardown(reaped_is_found_by_rotation, setup, teardown),
		cmocka_unit_test_setup_teardown(reaped_before_anybody_looks, setup, teardown),
		cmocka_unit_test_setup_teardown(freed_inside_its_callback, setup, teardown),
		cmocka_unit_test_setup_teardown(leader_is_dead_from_the_start, setup, teardown),
		cmocka_unit_test_setup_teardown(leader_dies_and_a_hint_tells, setup, teardown),
		cmocka_unit_test_setup_teardown(
			leader_dies_and_the_rotation_finds_it, setup, teardown),
		cmocka_unit_test_setup_teardown(another_process_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_reused_pid_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_name_that_looks_like_stat, setup, teardown),
		cmocka_unit_test_setup_teardown(its_cgroup_is_verified, setup, teardown),
		cmocka_unit_test_setup_teardown(own_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(refusals_are_told_apart, setup, teardown),
		cmocka_unit_test(statuses),
		cmocka_unit_test_setup_teardown(a_crowd_dies, setup, teardown),
	};
	CLEAN_FD int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	if (fd < 0) {
		print_message("SKIPPED: this kernel has no pidfds\n");
		return 77;
	}
	arg_child = argc > 1 ? argv[1] : "";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
