/* Dead children of a stopped parent: kept until they are reaped; those of a parent that is well are not. */
#include "unit.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/leftovers.h"

#define START (100 * NSEC_PER_SEC)

/* A parent that has one child, which exits when told to by its end of a pipe. */
static pid_t start_parent(pid_t *ret_child, int *ret_gate)
{
	int out[2], gate[2];
	pid_t pid;

	ASSERT_OK(pipe(out));
	ASSERT_OK(pipe(gate));
	pid = fork();
	ASSERT_OK(pid);
	if (pid == 0) {
		pid_t child;

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)close(gate[1]);
		child = fork();
		if (child == 0) {
			char c;

			_exit((int)read(gate[0], &c, 1));
		}
		if (write(out[1], &child, sizeof(child)) != sizeof(child))
			_exit(1);
		for (;;)
			(void)pause();
	}
	(void)close(gate[0]);
	assert_int_equal(read(out[0], ret_child, sizeof(*ret_child)), sizeof(*ret_child));
	(void)close(out[0]);
	(void)close(out[1]);
	*ret_gate = gate[1];
	return pid;
}

/* Dead, and not reaped: its pidfd is readable. */
static void wait_for_zombie(pid_t pid)
{
	struct pollfd fd = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };

	ASSERT_OK(fd.fd);
	assert_int_equal(poll(&fd, 1, 10000), 1);
	(void)close(fd.fd);
}

static void a_child_of_a_stopped_parent(void **state)
{
	struct leftovers *l;
	pid_t parent, child;
	siginfo_t info;
	int gate;

	(void)state;
	ASSERT_OK(leftovers_new(&l));
	parent = start_parent(&child, &gate);
	(void)close(gate);
	wait_for_zombie(child);

	/* Not reaped by one that is well: that is its own business. */
	assert_int_equal(leftovers_note(l, child, START), START + LEFTOVERS_WAIT_NS);
	assert_int_equal(leftovers_look(l, START + LEFTOVERS_WAIT_NS), NSEC_NEVER);
	assert_int_equal(leftovers_kept(l), 0);

	ASSERT_OK(kill(parent, SIGSTOP));
	ASSERT_OK(waitid(P_PID, (id_t)parent, &info, WSTOPPED | WNOWAIT));
	(void)leftovers_note(l, child, START);
	assert_int_equal(leftovers_look(l, START + LEFTOVERS_WAIT_NS - 1),
		START + LEFTOVERS_WAIT_NS - 1 + LEFTOVERS_EVERY_NS);
	assert_int_equal(leftovers_kept(l), 0); /* not yet */
	(void)leftovers_look(l, START + LEFTOVERS_WAIT_NS);
	assert_int_equal(leftovers_kept(l), 1);
	assert_int_equal(leftovers_look(l, 2 * START), 2 * START + LEFTOVERS_EVERY_NS);
	assert_int_equal(leftovers_kept(l), 1);

	ASSERT_OK(kill(parent, SIGKILL));
	assert_int_equal(waitpid(parent, NULL, 0), parent);
	assert_int_equal(leftovers_look(l, 3 * START), NSEC_NEVER);
	assert_int_equal(leftovers_kept(l), 0);
	l = leftovers_free(l);
}

/* Starts the init of a pid namespace and then one more in it, which ends at once; reaps neither. */
static pid_t start_outside(pid_t ret[2])
{
	int out[2];
	pid_t pid;

	ASSERT_OK(pipe(out));
	pid = fork();
	ASSERT_OK(pid);
	if (pid == 0) {
		pid_t children[2] = { 0 };

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (unshare(CLONE_NEWPID) == 0) {
			children[0] = fork();
			if (children[0] == 0)
				for (;;)
					(void)pause();
			children[1] = fork();
			if (children[1] == 0)
				_exit(0);
		}
		if (write(out[1], children, sizeof(children)) != sizeof(children))
			_exit(1);
		for (;;)
			(void)pause();
	}
	assert_int_equal(read(out[0], ret, 2 * sizeof(*ret)), 2 * sizeof(*ret));
	(void)close(out[0]);
	(void)close(out[1]);
	return pid;
}

static void a_dead_one_from_outside(void **state)
{
	struct leftovers *l;
	pid_t outside, children[2];

	(void)state;
	outside = start_outside(children);
	if (children[1] <= 0) {
		ASSERT_OK(kill(outside, SIGKILL));
		assert_int_equal(waitpid(outside, NULL, 0), outside);
		skip();
	}
	ASSERT_OK(leftovers_new(&l));
	wait_for_zombie(children[1]);
	(void)leftovers_note(l, children[1], START);
	(void)leftovers_look(l, 2 * START);
	assert_int_equal(leftovers_kept(l), 1);

	/* The init itself is its parent's business, as a container's is its shim's; but it cannot even
	 * become a zombie as long as the other one is there. */
	ASSERT_OK(kill(children[0], SIGKILL));
	(void)leftovers_note(l, children[0], 2 * START);
	(void)leftovers_look(l, 3 * START);
	assert_int_equal(leftovers_kept(l), 1);

	ASSERT_OK(kill(outside, SIGKILL));
	assert_int_equal(waitpid(outside, NULL, 0), outside);
	l = leftovers_free(l);
}

static void a_storm_of_exits(void **state)
{
	struct leftovers *l;

	(void)state;
	ASSERT_OK(leftovers_new(&l));
	for (unsigned i = 0; i < 3 * LEFTOVERS_MAX; i++)
		assert_int_equal(
			leftovers_note(l, INT32_MAX, START + i), START + LEFTOVERS_WAIT_NS);
	assert_int_equal(leftovers_look(l, 2 * START), NSEC_NEVER);
	assert_int_equal(leftovers_kept(l), 0);
	l = leftovers_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_child_of_a_stopped_parent),
		cmocka_unit_test(a_dead_one_from_outside),
		cmocka_unit_test(a_storm_of_exits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
