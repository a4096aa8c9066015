/* What a role that has narrowed itself is refused, each tried in a process of its own. */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
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

static int narrowed_as(enum role_narrow how, int (*what)(void))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || role_child_narrow(how) < 0)
			_exit(9);
		_exit(what());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static int narrowed(int (*what)(void))
{
	return narrowed_as(ROLE_NARROW_SERVE, what);
}

/* --- the one that keeps files --- */

static int try_rename(void)
{
	return refused(rename("/nonexistent-a", "/nonexistent-b"));
}

static int try_keeping_files(void)
{
	if (open("/dev/null", O_RDONLY | O_CLOEXEC) < 0)
		return 1;
	return rename("/nonexistent-a", "/nonexistent-b") == -1 && errno == ENOENT &&
			unlink("/nonexistent-a") == -1 && errno == ENOENT
		? 0
		: 2;
}

static void a_store_keeps_files_and_nothing_else(void **state)
{
	int (*const tries[])(void) = { try_keeping_files, try_socket, try_exec, try_fork, try_kill,
		try_truncate, try_mkfifo, try_work };

	for (size_t i = 0; i < ELEMENTS(tries); i++)
		if (narrowed_as(ROLE_NARROW_STORE, tries[i]) != 0)
			fail_msg("try %zu: status 0x%x", i,
				(unsigned)narrowed_as(ROLE_NARROW_STORE, tries[i]));
	assert_int_equal(narrowed_as(ROLE_NARROW_LOOK, try_rename), 0);
	assert_int_equal(narrowed_as(ROLE_NARROW_SERVE, try_rename), 0);
}

/* What the journal does, in its order: root opens the folder, then is only its owner there. */
static int confined(const char *folder)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), inside, outside;

	if (fd < 0 || fchdir(fd) < 0 || role_child_drop(12345, 12346) < 0 ||
		role_child_confine(fd) < 0)
		return 1;
	if (geteuid() != 12345 || getegid() != 12346 || setuid(0) == 0)
		return 2;
	inside = open("file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	outside = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
	if (inside < 0 || rename("file", "other") < 0 || unlink("other") < 0)
		return 3;
	/* Everybody may read it; the confined may not. */
	return outside == -1 && errno != 0 ? 0 : 4;
}

static void confined_to_a_folder(void **state)
{
	char folder[] = "/tmp/pleg-confine-XXXXXX";
	int status;
	pid_t pid;

	if (geteuid() != 0 || syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 1)
		skip(); /* Not root, or a kernel without Landlock. */
	assert_non_null(mkdtemp(folder));
	assert_int_equal(chown(folder, 12345, 12346), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? 9 : confined(folder));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(rmdir(folder), 0);
}

static int drop_as_root(void)
{
	/* Root without capabilities may not change its ids any more, nor look past permissions. */
	if (role_child_drop(0, 0) < 0 || geteuid() != 0)
		return 1;
	return setresuid(1, 1, 1) == -1 && errno == EPERM ? 0 : 2;
}

static void root_without_capabilities(void **state)
{
	int status;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(drop_as_root());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
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
		cmocka_unit_test(a_store_keeps_files_and_nothing_else),
		cmocka_unit_test(confined_to_a_folder),
		cmocka_unit_test(root_without_capabilities),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
