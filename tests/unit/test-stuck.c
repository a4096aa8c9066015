/*
 * Whether anything of a pod is left: what cannot be read must never count as "nothing". The real /proc,
 * except for one read at a time that fails. Needs root in the host's pid and cgroup namespaces.
 */
#include "unit.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "drain/stuck.h"
#include "kernel/mountinfo.h"
#include "kernel/proc.h"

#define UID_TEXT "0f9c2c7e-5b0a-4c1d-9d8e-3a2b1c0d9e8f"

/* What fails for the process `victim`, and how; inherited by the child that looks. */
static struct {
	pid_t victim;
	int tasks, cgroup, mounts;
	bool many_tasks;
} fail;

int __real_proc_list_tasks(int proc_fd, int32_t pid, struct proc_task *ret_tasks, unsigned max);
int __wrap_proc_list_tasks(int proc_fd, int32_t pid, struct proc_task *ret_tasks, unsigned max);
int __real_proc_read_text(
	int proc_fd, int32_t pid, int32_t tid, enum proc_file file, char *text, size_t size);
int __wrap_proc_read_text(
	int proc_fd, int32_t pid, int32_t tid, enum proc_file file, char *text, size_t size);
int __real_mountinfo_read(int proc_fd, int32_t pid, int32_t tid, char **ret_text, size_t *ret_len);
int __wrap_mountinfo_read(int proc_fd, int32_t pid, int32_t tid, char **ret_text, size_t *ret_len);

int __wrap_proc_list_tasks(int proc_fd, int32_t pid, struct proc_task *ret_tasks, unsigned max)
{
	if (pid == fail.victim && fail.many_tasks)
		return (int)max;
	if (pid == fail.victim && fail.tasks < 0)
		return fail.tasks;
	return __real_proc_list_tasks(proc_fd, pid, ret_tasks, max);
}

int __wrap_proc_read_text(
	int proc_fd, int32_t pid, int32_t tid, enum proc_file file, char *text, size_t size)
{
	if (pid == fail.victim && file == PROC_CGROUP && fail.cgroup < 0)
		return fail.cgroup;
	return __real_proc_read_text(proc_fd, pid, tid, file, text, size);
}

int __wrap_mountinfo_read(int proc_fd, int32_t pid, int32_t tid, char **ret_text, size_t *ret_len)
{
	if (fail.mounts < 0)
		return fail.mounts;
	return __real_mountinfo_read(proc_fd, pid, tid, ret_text, ret_len);
}

static enum stuck_verdict look(const struct stuck_pod *pod, char text[STUCK_TEXT])
{
	enum stuck_verdict verdict = stuck_look(pod, text);

	if (strstr(text, "only root in the host's own")) {
		print_message("not in the host's namespaces: %s\n", text);
		skip();
	}
	return verdict;
}

static enum stuck_verdict look_plainly(char text[STUCK_TEXT])
{
	const struct stuck_pod pod = { .uid = UID_TEXT };

	return look(&pod, text);
}

static void nothing_is_left(void **state)
{
	char text[STUCK_TEXT];

	(void)state;
	if (look_plainly(text) != STUCK_FREE)
		fail_msg("%s", text);
}

static void what_cannot_be_read_is_not_nothing(void **state)
{
	char text[STUCK_TEXT];

	(void)state;
	fail.tasks = -EACCES;
	assert_int_equal(look_plainly(text), STUCK_UNSURE);
	assert_non_null(strstr(text, "Permission denied"));
	fail.tasks = -ENOMEM;
	assert_int_equal(look_plainly(text), STUCK_UNSURE);
	fail.tasks = -ESRCH; /* it has ended meanwhile */
	assert_int_equal(look_plainly(text), STUCK_FREE);
	fail.tasks = 0;
	fail.many_tasks = true;
	assert_int_equal(look_plainly(text), STUCK_UNSURE);
	fail.many_tasks = false;
	fail.cgroup = -EIO;
	assert_int_equal(look_plainly(text), STUCK_UNSURE);
	fail.cgroup = -ESRCH;
	assert_int_equal(look_plainly(text), STUCK_FREE);
	fail.cgroup = 0;
	fail.mounts = -EFBIG;
	assert_int_equal(look_plainly(text), STUCK_UNSURE);
	fail.mounts = 0;
}

static void ids_that_are_left_out(void **state)
{
	struct stuck_pod pod = { .uid = UID_TEXT, .is_cut = true };
	char text[STUCK_TEXT];

	(void)state;
	assert_int_equal(stuck_look(&pod, text), STUCK_UNSURE);
	pod = (struct stuck_pod){ .uid = "short" };
	assert_int_equal(stuck_look(&pod, text), STUCK_UNSURE);
}

static bool at_once(void *userdata)
{
	*(unsigned *)userdata += 1;
	return true;
}

static void gives_up_when_told(void **state)
{
	unsigned asked = 0;
	struct stuck_pod pod = { .uid = UID_TEXT, .is_over = at_once, .userdata = &asked };
	char text[STUCK_TEXT];

	(void)state;
	assert_int_equal(stuck_look(&pod, text), STUCK_UNSURE);
	assert_int_equal(asked, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_left),
		cmocka_unit_test(what_cannot_be_read_is_not_nothing),
		cmocka_unit_test(ids_that_are_left_out),
		cmocka_unit_test(gives_up_when_told),
	};
	int r;

	/* Someone else's process, so that it is not the child that looks. */
	fail.victim = fork();
	if (fail.victim == 0) {
		(void)alarm(60);
		(void)pause();
		_exit(0);
	}
	r = cmocka_run_group_tests(tests, NULL, NULL);
	(void)kill(fail.victim, SIGKILL);
	(void)waitpid(fail.victim, NULL, 0);
	return r;
}
