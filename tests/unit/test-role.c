/*
 * Spawner and supervision with real processes. Waiting is for events with a deadline of 20 s; the
 * delays between restarts are the real ones, kept short by stopping after the first few.
 */
#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "loop.h"
#include "role-child.h"
#include "role/role.h"

static const char *arg_child;

static const struct channel_type accepts[] = {
	{ TEST_ASK, 0, CHANNEL_PAYLOAD_MAX, CHANNEL_FDS_ANY },
	{ TEST_FACTS, sizeof(struct test_facts), sizeof(struct test_facts), 0 },
};

struct fixture {
	struct role_spawner *spawner;
	sd_event *event;
	struct role *role;
	int exe, stray;
	unsigned entered[ROLE_STATES];
	char reason[256]; /* of the latest change */
	unsigned messages, answers;
	int answer_r;
	struct test_facts facts;
	char echoed[16];
	unsigned echoed_fds;
	int fds_before;
};

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));
	struct err err;

	f->fds_before = count_fds();
	/* Somebody forgot to set close-on-exec: no role may inherit it. */
	f->stray = fcntl(STDERR_FILENO, F_DUPFD, 50);
	ASSERT_OK(f->stray);
	ASSERT_OK(role_spawner_start(STDERR_FILENO, &f->spawner));
	ASSERT_OK(role_exe_open(arg_child, true, &f->exe, &err));
	ASSERT_OK(sd_event_new(&f->event));
	ASSERT_OK(role_spawner_attach(f->spawner, f->event));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->role = role_free(f->role);
	f->spawner = role_spawner_free(f->spawner);
	f->event = sd_event_unref(f->event);
	(void)fd_close(f->exe);
	(void)fd_close(f->stray);
	assert_int_equal(count_fds(), f->fds_before);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* No child is left, not even a zombie. */
	assert_int_equal(errno, ECHILD);
	(void)mem_free(f);
	return 0;
}

static void on_state(struct role *role, enum role_state old_state, enum role_state new_state,
	const char *reason, void *userdata)
{
	struct fixture *f = userdata;

	assert_int_not_equal(old_state, new_state);
	f->entered[new_state]++;
	(void)snprintf(f->reason, sizeof(f->reason), "%s", reason);
}

static int on_message(struct role *role, struct channel_message *m, void *userdata)
{
	((struct fixture *)userdata)->messages++;
	return 0;
}

static void on_answer(int r, struct channel_message *m, void *userdata)
{
	struct fixture *f = userdata;

	f->answers++;
	f->answer_r = r;
	if (r < 0)
		return;
	if (m->type == TEST_FACTS)
		memcpy(&f->facts, m->payload, sizeof(f->facts));
	else
		(void)snprintf(f->echoed, sizeof(f->echoed), "%.*s", (int)m->len,
			(const char *)m->payload);
	f->echoed_fds = m->fd_count;
}

static void make_role(struct fixture *f, const char *how, struct role_spec spec)
{
	spec.name = "test";
	spec.exe_fd = f->exe;
	spec.accepts = accepts;
	spec.accept_count = ELEMENTS(accepts);
	spec.on_message = on_message;
	spec.on_state = on_state;
	spec.userdata = f;
	ASSERT_OK(role_new(f->event, f->spawner, &spec, &f->role));
	ASSERT_OK(role_set_start(f->role, how, strlen(how), NULL, 0));
	ASSERT_OK(role_start(f->role));
	assert_int_equal(f->entered[ROLE_STARTING], 0); /* Nothing calls back from inside. */
}

#define RUN_ROLE_UNTIL(f, condition) RUN_UNTIL_TELLING((f)->event, condition, (f)->reason)

static enum role_state state_of(struct fixture *f)
{
	struct role_status s;

	role_status(f->role, &s);
	return s.state;
}

static void is_what_was_promised(void **state)
{
	struct fixture *f = *state;
	bool root = getuid() == 0;
	struct role_status s;

	make_role(f, "echo", (struct role_spec){ .uid = 65534, .gid = 65534, .nofile = 40 });
	RUN_ROLE_UNTIL(f, state_of(f) == ROLE_RUNNING);
	ASSERT_OK(role_request(f->role, TEST_FACTS, NULL, 0, NULL, 0, WAIT_NS, on_answer, f));
	RUN_ROLE_UNTIL(f, f->answers == 1);
	assert_int_equal(f->answer_r, 0);
	assert_int_equal(f->facts.uid, root ? 65534 : getuid());
	assert_int_equal(f->facts.gid, root ? 65534 : getgid());
	assert_int_equal(f->facts.nofile, 40);
	assert_int_equal(f->facts.core, 0);
	assert_int_equal(f->facts.no_new_privs, 1);
	assert_int_equal(f->facts.death_signal, SIGKILL);
	assert_int_equal(f->facts.open_fds, 4);
	assert_true(f->facts.environment <= (getenv("JOURNAL_STREAM") ? 1 : 0));
	assert_int_equal(f->facts.parent, getpid());
	role_status(f->role, &s);
	assert_int_equal(s.pid, f->facts.pid);
	assert_true(s.memory_bytes > 0);
	assert_int_equal(s.restarts, 0);
}

static void echoes_and_stops(void **state)
{
	struct fixture *f = *state;
	int fd = STDIN_FILENO;

	make_role(f, "echo", (struct role_spec){ 0 });
	ASSERT_ERR(role_send(f->role, TEST_ASK, 0, "x", 1, NULL, 0), ENOTCONN);
	RUN_ROLE_UNTIL(f, state_of(f) == ROLE_RUNNING);
	ASSERT_OK(role_request(f->role, TEST_ASK, "abc", 3, &fd, 1, WAIT_NS, on_answer, f));
	assert_int_equal(f->answers, 0);
	RUN_ROLE_UNTIL(f, f->answers == 1);
	assert_string_equal(f->echoed, "abc");
	assert_int_equal(f->echoed_fds, 1);
	ASSERT_OK(role_send(f->role, TEST_ASK, 0, "x", 1, NULL, 0));
	RUN_ROLE_UNTIL(f, f->messages == 1);

	role_stop(f->role, WAIT_NS);
	RUN_ROLE_UNTIL(f, state_of(f) == ROLE_STOPPED);
	assert_int_equal(f->entered[ROLE_STUCK], 0);
	ASSERT_OK(role_start(f->role));
	RUN_ROLE_UNTIL(f, state_of(f) == ROLE_RUNNING);
}

static void crashes_come_back(void **state)
{
	struct fixture *f = *state;
	struct role_status s;

	make_role(f, "crash", (struct role_spec){ 0 });
	RUN_ROLE_UNTIL(f, f->entered[ROLE_BACKOFF] == 3);
	assert_string_equal(f->reason, "Ended with exit code 3");
	assert_int_equal(f->entered[ROLE_RUNNING], 0);
	role_status(f->role, &s);
	assert_int_equal(s.restarts, 2);
	assert_int_equal(s.pid, 0);
}

static void a_signal_is_told(void **state)
{
	struct fixture *f = *state;

	make_role(f, "die", (struct role_spec){ 0 });
	RUN_ROLE_UNTIL(f, f->entered[ROLE_BACKOFF] == 2);
	assert_string_equal(f->reason, "Ended by signal 10 (USR1)");
	assert_int_equal(f->entered[ROLE_RUNNING], 2);
}

static void what_it_says_at_its_end_is_told(void **state)
{
	struct fixture *f = *state;

	make_role(f, "refuse", (struct role_spec){ 0 });
	RUN_ROLE_UNTIL(f, f->entered[ROLE_BACKOFF] == 1);
	assert_string_equal(f->reason, "Listen: Permission denied");
}

static void silence_at_start_is_noticed(void **state)
{
	struct fixture *f = *state;

	make_role(f, "silent", (struct role_spec){ .hello_timeout_ns = 50 * NSEC_PER_MSEC });
	RUN_ROLE_UNTIL(f, f->entered[ROLE_BACKOFF] == 2);
	assert_int_equal(f->entered[ROLE_STUCK], 2);
	assert_string_equal(f->reason, "Was not ready in time");
}

static void nonsense_replaces_it(void **state)
{
	struct fixture *f = *state;

	make_role(f, "garbage", (struct role_spec){ 0 });
	RUN_ROLE_UNTIL(f, f->entered[ROLE_BACKOFF] == 2);
	assert_string_equal(f->reason, "Broke the protocol");
}

static void speaking_too_early_replaces_it(void **state)
{
	struct fixture *f = *state;

	make_role(f, "early", (struct role_spec){ 0 });
	RUN_ROLE_UNTIL(f, f->entered[ROLE_BACKOFF] == 1);
	assert_string_equal(f->reason, "Broke the protocol");
	assert_int_equal(f->messages, 0);
}

static void a_flood_does_not_hold_the_loop(void **state)
{
	struct fixture *f = *state;
	unsigned turns = 0, before;

	make_role(f, "flood", (struct role_spec){ 0 });
	RUN_ROLE_UNTIL(f, f->messages > 1000);
	before = f->messages;
	while (turns < 100) {
		ASSERT_OK(sd_event_run(f->event, 100 * 1000));
		turns++;
	}
	assert_true(f->messages - before <= 100 * 16);
	role_stop(f->role, 0);
	RUN_ROLE_UNTIL(f, state_of(f) == ROLE_STOPPED);
}

static void a_missed_deadline_kills(void **state)
{
	struct fixture *f = *state;
	struct role_status s;

	make_role(f, "deaf", (struct role_spec){ 0 });
	RUN_ROLE_UNTIL(f, state_of(f) == ROLE_RUNNING);
	ASSERT_OK(
		role_request(f->role, TEST_ASK, "a", 1, NULL, 0, 30 * NSEC_PER_MSEC, on_answer, f));
	RUN_ROLE_UNTIL(f, f->answers == 1);
	assert_int_equal(f->answer_r, -ETIMEDOUT);
	RUN_ROLE_UNTIL(f, state_of(f) == ROLE_RUNNING);
	role_status(f->role, &s);
	assert_int_equal(s.stuck, 1);
	assert_int_equal(s.restarts, 1);
	assert_int_equal(s.abandoned, 0);
	assert_string_equal(s.reason, "Did not answer a request in time");
}

static void its_end_ends_the_requests(void **state)
{
	struct fixture *f = *state;
	struct role_status s;

	make_role(f, "deaf", (struct role_spec){ .max_requests = 1 });
	RUN_ROLE_UNTIL(f, state_of(f) == ROLE_RUNNING);
	ASSERT_OK(role_request(f->role, TEST_ASK, "a", 1, NULL, 0, WAIT_NS, on_answer, f));
	ASSERT_ERR(role_request(f->role, TEST_ASK, "a", 1, NULL, 0, WAIT_NS, on_answer, f), EBUSY);
	role_status(f->role, &s);
	assert_int_equal(kill(s.pid, SIGKILL), 0);
	RUN_ROLE_UNTIL(f, f->answers == 1);
	assert_int_equal(f->answer_r, -EPIPE);
}

static void deaf_to_the_end_is_killed(void **state)
{
	struct fixture *f = *state;

	make_role(f, "deaf", (struct role_spec){ 0 });
	RUN_ROLE_UNTIL(f, state_of(f) == ROLE_RUNNING);
	role_stop(f->role, 20 * NSEC_PER_MSEC);
	RUN_ROLE_UNTIL(f, state_of(f) == ROLE_STOPPED);
	assert_int_equal(f->entered[ROLE_STUCK], 1);
}

/* A tracer that wants to see the exit holds a killed process as a dead disk would; it lets go by
 * itself when this test ends. */
static void the_unkillable_is_abandoned(void **state)
{
	struct fixture *f = *state;
	struct role_status s;
	pid_t first;

	make_role(f, "deaf", (struct role_spec){ .max_abandoned = 1 });
	RUN_ROLE_UNTIL(f, state_of(f) == ROLE_RUNNING);
	role_status(f->role, &s);
	first = s.pid;
	if (ptrace(PTRACE_SEIZE, first, NULL, PTRACE_O_TRACEEXIT) < 0)
		skip();
	ASSERT_OK(
		role_request(f->role, TEST_ASK, "a", 1, NULL, 0, 30 * NSEC_PER_MSEC, on_answer, f));
	RUN_ROLE_UNTIL(f, f->entered[ROLE_RUNNING] == 2 || f->entered[ROLE_FAILED] == 1);
	assert_int_equal(f->entered[ROLE_FAILED], 1); /* One is the most. */
	assert_string_equal(f->reason, "1 of its processes are stuck and cannot be killed");
	role_status(f->role, &s);
	assert_int_equal(s.abandoned, 1);
	assert_int_equal(s.pid, 0);
	assert_int_equal(ptrace(PTRACE_DETACH, first, NULL, NULL), 0);
	RUN_ROLE_UNTIL(f, (role_status(f->role, &s), s.abandoned == 0));
}

static void a_dead_spawner_is_told_and_roles_go_on(void **state)
{
	struct fixture *f = *state;
	struct role_status s;
	const char *why;

	make_role(f, "echo", (struct role_spec){ 0 });
	RUN_ROLE_UNTIL(f, state_of(f) == ROLE_RUNNING);
	assert_true(role_spawner_is_alive(f->spawner, NULL));
	assert_int_equal(kill(role_spawner_pid(f->spawner), SIGKILL), 0);
	RUN_ROLE_UNTIL(f, !role_spawner_is_alive(f->spawner, &why));
	assert_string_equal(why, "The spawner is gone: no role can be started");
	ASSERT_OK(role_request(f->role, TEST_ASK, "abc", 3, NULL, 0, WAIT_NS, on_answer, f));
	RUN_ROLE_UNTIL(f, f->answers == 1);
	assert_int_equal(f->answer_r, 0);
	role_status(f->role, &s);
	assert_int_equal(kill(s.pid, SIGKILL), 0);
	RUN_ROLE_UNTIL(f, f->entered[ROLE_BACKOFF] == 2);
	assert_string_equal(f->reason, why);
}

static void a_late_spawner_is_noticed(void **state)
{
	struct fixture *f = *state;
	const char *why;
	pid_t spawner = role_spawner_pid(f->spawner);

	assert_int_equal(kill(spawner, SIGSTOP), 0); /* Ours; freed below or with the test. */
	make_role(f, "echo", (struct role_spec){ 0 });
	RUN_ROLE_UNTIL(f, !role_spawner_is_alive(f->spawner, &why));
	assert_non_null(strstr(why, "does not answer"));
	assert_int_equal(kill(spawner, SIGCONT), 0);
	RUN_ROLE_UNTIL(f, state_of(f) == ROLE_RUNNING);
	assert_true(role_spawner_is_alive(f->spawner, NULL));
}

static void no_executable_is_told(void **state)
{
	struct fixture *f = *state;
	struct err err = { 0 };
	int fd = -EBADF;

	ASSERT_ERR(role_exe_open("/nonexistent/pleg-x", false, &fd, &err), ENOENT);
	assert_non_null(strstr(err.text, "/nonexistent/pleg-x"));
	ASSERT_ERR(role_exe_open("/proc/self/status", true, &fd, &err), ENOEXEC);

	(void)fd_close(f->exe);
	f->exe = fd_memfd_sealed("x", "no program", 10);
	make_role(f, "echo", (struct role_spec){ 0 });
	RUN_ROLE_UNTIL(f, f->entered[ROLE_BACKOFF] == 1);
	assert_string_equal(f->reason, "Execute: Exec format error");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(is_what_was_promised, setup, teardown),
		cmocka_unit_test_setup_teardown(echoes_and_stops, setup, teardown),
		cmocka_unit_test_setup_teardown(crashes_come_back, setup, teardown),
		cmocka_unit_test_setup_teardown(a_signal_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(what_it_says_at_its_end_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(silence_at_start_is_noticed, setup, teardown),
		cmocka_unit_test_setup_teardown(nonsense_replaces_it, setup, teardown),
		cmocka_unit_test_setup_teardown(speaking_too_early_replaces_it, setup, teardown),
		cmocka_unit_test_setup_teardown(a_flood_does_not_hold_the_loop, setup, teardown),
		cmocka_unit_test_setup_teardown(a_missed_deadline_kills, setup, teardown),
		cmocka_unit_test_setup_teardown(its_end_ends_the_requests, setup, teardown),
		cmocka_unit_test_setup_teardown(deaf_to_the_end_is_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(the_unkillable_is_abandoned, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_dead_spawner_is_told_and_roles_go_on, setup, teardown),
		cmocka_unit_test_setup_teardown(a_late_spawner_is_noticed, setup, teardown),
		cmocka_unit_test_setup_teardown(no_executable_is_told, setup, teardown),
	};

	if (argc != 2)
		return 77; /* Without the role there is nothing to test. */
	arg_child = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
