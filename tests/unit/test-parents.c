/* The shim of an init: a parent of that name, and what becomes of it. The pretended one starts an init
 * and waits to be told what next by signals. */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/parents.h"
#include "loop.h"

#define FRESH SHIMS_FRESH_NS

static pid_t start_shim(const char *name, pid_t *ret_init)
{
	int out[2];
	pid_t pid;

	ASSERT_OK(pipe2(out, O_CLOEXEC));
	pid = fork();
	ASSERT_OK(pid);
	if (pid == 0) {
		pid_t init, self = getpid();

		(void)prctl(PR_SET_NAME, name);
		init = fork();
		if (init == 0) {
			(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
			while (getppid() == self) /* else it has died before */
				(void)pause();
			_exit(0);
		}
		if (write(out[1], &init, sizeof(init)) != sizeof(init))
			_exit(1);
		for (;;)
			(void)pause();
	}
	assert_int_equal(read(out[0], ret_init, sizeof(*ret_init)), sizeof(*ret_init));
	(void)close(out[0]);
	(void)close(out[1]);
	return pid;
}

static void end_shim(pid_t shim, pid_t init)
{
	ASSERT_OK(kill(init, SIGKILL));
	ASSERT_OK(kill(shim, SIGKILL));
	assert_int_equal(waitpid(shim, NULL, 0), shim);
}

static void what_becomes_of_it(void **state)
{
	int fds = count_fds();
	struct parents *parents;
	struct parent *one, *two;
	struct ledger_shim s;
	pid_t init, shim;

	(void)state;
	shim = start_shim("containerd-shim", &init);
	ASSERT_OK(parents_new(8, &parents));
	one = parents_of(parents, init);
	two = parents_of(parents, init);
	assert_non_null(one);
	assert_ptr_equal(one, two); /* as the containers of a pod */
	s = parent_look(one, 1);
	assert_int_equal(s.pid, shim);
	assert_int_equal(s.state, LEDGER_SHIM_ALIVE);
	assert_string_equal(ledger_shim_text(s.state), "alive");

	ASSERT_OK(kill(shim, SIGSTOP));
	assert_int_equal(waitpid(shim, NULL, WUNTRACED), shim);
	assert_int_equal(
		parent_look(one, 2).state, LEDGER_SHIM_ALIVE); /* not looked at again yet */
	assert_int_equal(parent_look(one, 1 + FRESH).state, LEDGER_SHIM_STOPPED);
	ASSERT_OK(kill(shim, SIGCONT));
	assert_int_equal(waitpid(shim, NULL, WCONTINUED), shim);
	assert_int_equal(parent_look(two, 1 + 2 * FRESH).state, LEDGER_SHIM_ALIVE);

	ASSERT_OK(kill(shim, SIGKILL));
	assert_int_equal(waitid(P_PID, (id_t)shim, &(siginfo_t){ 0 }, WEXITED | WNOWAIT), 0);
	assert_int_equal(parent_look(one, 1 + 3 * FRESH).state, LEDGER_SHIM_ZOMBIE);
	assert_int_equal(waitpid(shim, NULL, 0), shim);
	assert_int_equal(parent_look(one, 1 + 4 * FRESH).state, LEDGER_SHIM_GONE);
	(void)parent_release(one);
	(void)parent_release(two);
	parents = parents_free(parents);
	assert_int_equal(count_fds(), fds);
}

static void only_a_shim_is_one(void **state)
{
	struct parents *parents;
	struct parent *first;
	pid_t init, shim, second_init, second;

	(void)state;
	ASSERT_OK(parents_new(1, &parents));
	shim = start_shim("not-a-shim", &init);
	assert_null(parents_of(parents, init));
	assert_null(parents_of(parents, 1));       /* whose parent is the kernel */
	assert_null(parents_of(parents, 1 << 30)); /* no such process */
	end_shim(shim, init);
	shim = start_shim("containerd-shim-runc-v2", &init); /* cut to 15 bytes by the kernel */
	second = start_shim("containerd-shim", &second_init);
	first = parents_of(parents, init);
	assert_non_null(first);
	assert_null(parents_of(parents, second_init)); /* the most there may be */
	(void)parent_release(first);
	end_shim(shim, init);
	end_shim(second, second_init);
	assert_null(parent_release(NULL));
	parents = parents_free(parents);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_becomes_of_it),
		cmocka_unit_test(only_a_shim_is_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
