/*
 * Asking a process for its goroutines, with the real probe and with one that never answers. The processes are
 * children of this test that catch SIGUSR1, stand-ins for a containerd: one writes a dump where that would, one
 * writes nothing. Real daemons are asked in tests/system/test_goroutines.py.
 */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "doctor/dumps.h"
#include "kernel/probe-agent.h"
#include "kernel/proc.h"
#include "loop.h"

static const char *arg_probe, *arg_silent;

struct fixture {
	struct role_spawner *spawner;
	sd_event *event;
	struct probe *probe;
	int exe, hold[2], fds_before;
	pid_t child;
	struct evidence *evidence;
	struct findings *findings;
	struct dumps *dumps;
	unsigned done;
};

/* ---- the one that is asked --------------------------------------------------------------- */

static volatile sig_atomic_t caught;

static void on_usr1(int signal)
{
	(void)signal;
	caught++;
}

static void put_path(char path[64], pid_t pid)
{
	(void)snprintf(path, 64, "/tmp/containerd.%d.stacks.log", pid);
}

static void write_dump(const char *path)
{
	static const char text[] = "goroutine 1 [semacquire, 5 minutes]:\n"
				   "sync.(*Mutex).Lock(0xc000)\n\tsync/mutex.go:1\n"
				   "example.org/daemon.(*D).List(0xc000, {0x1, 0x2})\n\td.go:7\n";
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, text, sizeof(text) - 1) < 0)
		_exit(1);
	(void)close(fd);
}

/* Ends with the pipe, with the number of signals. Its standard error is no file. */
static pid_t start_child(int hold[2], bool writes)
{
	int ready[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);
	pid_t pid;
	char c, path[64];

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(hold, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		const struct sigaction action = { .sa_handler = on_usr1 };
		int told = 0;

		put_path(path, getpid());
		(void)close(hold[1]);
		(void)dup3(null, STDERR_FILENO, 0);
		(void)sigaction(SIGUSR1, &action, NULL);
		(void)!write(ready[1], "", 1);
		while (read(hold[0], &c, 1) < 0)
			if (writes && told++ == 0)
				write_dump(path);
		_exit(caught);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	(void)close(ready[0]);
	(void)close(ready[1]);
	(void)close(null);
	(void)close(hold[0]);
	return pid;
}

/* How many signals it got. */
static int end_child(struct fixture *f)
{
	int status;
	char path[64];

	(void)close(f->hold[1]);
	assert_int_equal(waitpid(f->child, &status, 0), f->child);
	put_path(path, f->child);
	(void)unlink(path);
	f->child = 0;
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* ---- fixture ----------------------------------------------------------------------------- */

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));

	f->fds_before = count_fds();
	f->exe = -EBADF;
	ASSERT_OK(role_spawner_start(STDERR_FILENO, &f->spawner));
	ASSERT_OK(sd_event_new(&f->event));
	ASSERT_OK(role_spawner_attach(f->spawner, f->event));
	f->evidence = evidence_new();
	f->findings = findings_new();
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->child > 0)
		(void)end_child(f);
	f->dumps = dumps_free(f->dumps);
	f->probe = probe_free(f->probe);
	f->spawner = role_spawner_free(f->spawner);
	f->event = sd_event_unref(f->event);
	f->exe = fd_close(f->exe);
	f->evidence = evidence_free(f->evidence);
	f->findings = findings_free(f->findings);
	assert_int_equal(count_fds(), f->fds_before);
	(void)mem_free(f);
	return 0;
}

static void open_probe(struct fixture *f, const char *path)
{
	ASSERT_OK(role_exe_open(path, true, &f->exe, NULL));
	ASSERT_OK(probe_new(f->event, f->spawner, f->exe, &f->probe));
}

static void a_containerd(struct fixture *f, bool writes)
{
	CLEAN_FD int proc_fd = proc_open();
	struct evidence *e = f->evidence;
	uint32_t p = evidence_add_process(e), d = evidence_add_daemon(e);
	struct proc_stat stat;

	f->child = start_child(f->hold, writes);
	ASSERT_OK(proc_read_stat(proc_fd, f->child, 0, &stat));
	e->processes[p].pid = f->child;
	e->processes[p].start_ticks = stat.start_ticks;
	e->processes[p].comm = "containerd";
	e->daemons[d].kind = DAEMON_CONTAINERD;
	e->daemons[d].is_runtime = true;
	e->daemons[d].process = p;
}

static void on_done(void *userdata)
{
	struct fixture *f = userdata;

	f->done++;
}

static const struct goroutine_dump *ask(struct fixture *f, uint64_t within_ns)
{
	const struct goroutine_dump *dumps;
	uint32_t count = 0;

	ASSERT_OK(dumps_new(f->event, f->probe, &f->dumps));
	ASSERT_OK(dumps_start(
		f->dumps, f->evidence, f->findings, clock_now().mono_ns + within_ns, on_done, f));
	assert_int_equal(f->done, 0);
	RUN_UNTIL(f->event, f->done > 0);
	RUN_TURNS(f->event, 5);
	assert_int_equal(f->done, 1);
	dumps = dumps_get(f->dumps, &count);
	assert_int_equal(count, 1);
	assert_int_equal(dumps->pid, f->child);
	return dumps;
}

/* ---- tests ------------------------------------------------------------------------------- */

static void one_that_writes(void **state)
{
	struct fixture *f = *state;
	const struct goroutine_dump *dump;
	char path[64];

	a_containerd(f, true);
	open_probe(f, arg_probe);
	dump = ask(f, WAIT_NS);
	put_path(path, f->child);
	assert_string_equal(dump->why, "");
	assert_string_equal(dump->source, path);
	assert_true(dump->signalled && dump->at_ns > 0);
	assert_non_null(dump->goroutines);
	assert_int_equal(dump->goroutines->on_lock, 1);
	assert_int_equal(dump->goroutines->longest_minutes, 5);
	assert_int_equal(end_child(f), 1);
}

static void one_that_writes_nothing(void **state)
{
	struct fixture *f = *state;
	const struct goroutine_dump *dump;

	a_containerd(f, false);
	open_probe(f, arg_probe);
	dump = ask(f, WAIT_NS);
	assert_string_equal(dump->why, "asked, and it has written no dump where it was looked for");
	assert_true(dump->signalled);
	assert_null(dump->goroutines);
	assert_int_equal(end_child(f), 1);
}

static void without_a_probe(void **state)
{
	struct fixture *f = *state;
	const struct goroutine_dump *dump;

	a_containerd(f, true);
	dump = ask(f, WAIT_NS);
	assert_non_null(strstr(dump->why, "there is no probe"));
	assert_false(dump->signalled);
	assert_int_equal(end_child(f), 0);
}

/* A filesystem that hangs: its dump could not be read, so it is not asked for. */
static void places_that_hang(void **state)
{
	struct fixture *f = *state;
	const struct goroutine_dump *dump;

	a_containerd(f, true);
	open_probe(f, arg_silent);
	dump = ask(f, WAIT_NS);
	assert_string_equal(dump->why,
		"not asked: where it would write cannot be looked at: The read hangs in the "
		"kernel");
	assert_false(dump->signalled);
	assert_int_equal(end_child(f), 0);
}

static void no_time_left(void **state)
{
	struct fixture *f = *state;
	const struct goroutine_dump *dump;

	a_containerd(f, true);
	open_probe(f, arg_silent);
	dump = ask(f, 50 * NSEC_PER_MSEC);
	assert_string_equal(dump->why, "there was no time left");
	assert_int_equal(end_child(f), 0);
}

static void another_process_by_now(void **state)
{
	struct fixture *f = *state;
	const struct goroutine_dump *dump;

	a_containerd(f, true);
	f->evidence->processes[0].start_ticks++;
	open_probe(f, arg_probe);
	dump = ask(f, WAIT_NS);
	assert_string_equal(dump->why, "not asked: it has ended");
	assert_int_equal(end_child(f), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_that_writes, setup, teardown),
		cmocka_unit_test_setup_teardown(one_that_writes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(without_a_probe, setup, teardown),
		cmocka_unit_test_setup_teardown(places_that_hang, setup, teardown),
		cmocka_unit_test_setup_teardown(no_time_left, setup, teardown),
		cmocka_unit_test_setup_teardown(another_process_by_now, setup, teardown),
	};

	if (argc != 3)
		return 1;
	arg_probe = argv[1];
	arg_silent = argv[2];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
