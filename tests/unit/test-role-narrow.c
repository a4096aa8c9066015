/* What a role that has narrowed itself is refused, each tried in a process of its own. */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "role/role-child.h"

/* The narrowed process's answers: 0 if the call was refused with EPERM. */
static int refused(long r)
{
	return r == -1 && errno == EPERM ? 0 : 1;
}

static int try_open(void)
{
	return refused(open("/dev/null", O_RDONLY | O_CLOEXEC));
}

static int try_socket(void)
{
	return refused(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int try_exec(void)
{
	return refused(execl("/bin/true", "true", (char *)NULL));
}

static int try_fork(void)
{
	return refused(fork());
}

static int try_kill(void)
{
	return refused(kill(getppid(), 0));
}

static int try_truncate(void)
{
	return refused(truncate("/nonexistent", 0));
}

static int try_mkfifo(void)
{
	return refused(mknod("/tmp/pleg-narrow-fifo", S_IFIFO | 0600, 0));
}

/* What it may go on doing. */
static int try_work(void)
{
	return getpid() > 0 && close(STDIN_FILENO) == 0 ? 0 : 1;
}

#ifdef __x86_64__
/* The same call by its x32 number, which has the same architecture in the filter. */
static int try_x32(void)
{
	return (int)syscall(__X32_SYSCALL_BIT + SYS_getpid) == -1 ? 2 : 3;
}
#endif

static int narrowed(int (*what)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
			role_child_narrow(ROLE_NARROW_SERVE) < 0)
			_exit(9);
		_exit(what());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void calls_are_refused(void **state)
{
	int (*const tries[])(void) = { try_open, try_socket, try_exec, try_fork, try_kill,
		try_truncate, try_mkfifo, try_work };

	for (size_t i = 0; i < ELEMENTS(tries); i++)
		if (narrowed(tries[i]) != 0)
			fail_msg("try %zu: status 0x%x", i, (unsigned)narrowed(tries[i]));
}

static void a_foreign_number_ends_it(void **state)
{
#ifdef __x86_64__
	int status = narrowed(try_x32);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
#else
	skip();
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_are_refused),
		cmocka_unit_test(a_foreign_number_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
