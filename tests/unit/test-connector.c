/*
 * The process connector of this kernel: leaders' exits come, threads' do not; a flood switches it
 * off. Where it does not work (no CAP_NET_ADMIN, a namespace) only the parser and the refusals are
 * tested, and the rest is skipped (77) with the reason.
 */
#include "unit.h"

#include <fcntl.h>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/netlink.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "kernel/connector.h"
#include "loop.h"

#define OVERFLOW_EXITS 2000 /* the socket holds some 800 */

static const char *arg_child;

struct fixture {
	sd_event *event;
	struct connector *connector;
	pid_t wanted;
	unsigned hints_of_wanted, rescans;
	unsigned entered[CONNECTOR_UNAVAILABLE + 1];
	char reason[200];
	int fds_before;
};

static void on_exit_hint(int32_t pid, void *userdata)
{
	struct fixture *f = userdata;

	assert_true(pid > 0);
	f->hints_of_wanted += pid == f->wanted;
}

static void on_rescan(void *userdata)
{
	((struct fixture *)userdata)->rescans++;
}

static void on_state(enum connector_state state, const char *reason, void *userdata)
{
	struct fixture *f = userdata;

	f->entered[state]++;
	(void)snprintf(f->reason, sizeof(f->reason), "%s", reason);
}

static int make(struct fixture *f, uint32_t rate_max, uint64_t retry_ns)
{
	ASSERT_OK(connector_new(f->event,
		&(struct connector_config){ .rate_max = rate_max,
			.retry_ns = retry_ns,
			.on_exit_hint = on_exit_hint,
			.on_rescan = on_rescan,
			.on_state = on_state,
			.userdata = f },
		&f->connector));
	return connector_start(f->connector);
}

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));

	f->fds_before = count_fds();
	ASSERT_OK(sd_event_new(&f->event));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->connector = connector_free(f->connector);
	f->event = sd_event_unref(f->event);
	assert_int_equal(count_fds(), f->fds_before);
	(void)mem_free(f);
	return 0;
}

static pid_t start_child(int code)
{
	pid_t pid = fork();

	ASSERT_OK(pid);
	if (pid == 0)
		_exit(code);
	return pid;
}

/* --- the parser --- */

/* As the kernel lays it out: cn_msg ends with a flexible array, so it cannot stand inside a struct. */
struct datagram {
	struct nlmsghdr header;
	uint8_t message[sizeof(struct cn_msg)];
	uint8_t event[sizeof(struct proc_event)];
} __attribute__((packed));

static struct datagram datagram_of(uint32_t what, int32_t pid, int32_t tgid)
{
	struct datagram d = { .header = { .nlmsg_len = sizeof(d), .nlmsg_type = NLMSG_DONE } };
	struct cn_msg m = { .id = { CN_IDX_PROC, CN_VAL_PROC }, .len = sizeof(struct proc_event) };
	struct proc_event e = { .what = what };

	e.event_data.exit.process_pid = pid;
	e.event_data.exit.process_tgid = tgid;
	memcpy(d.message, &m, sizeof(m));
	memcpy(d.event, &e, sizeof(e));
	return d;
}

static void set_message(struct datagram *d, uint32_t idx, uint16_t len)
{
	struct cn_msg m = { .id = { idx, CN_VAL_PROC }, .len = len };

	memcpy(d->message, &m, sizeof(m));
}

static void judges_datagrams(void **state)
{
	struct datagram d = datagram_of(PROC_EVENT_EXIT, 77, 77);
	int32_t value = 0;

	assert_int_equal(connector_parse(&d, sizeof(d), &value), CONNECTOR_WORD_EXIT);
	assert_int_equal(value, 77);
	/* Cut anywhere it is nothing: the lengths in it do not fit any more. */
	for (size_t len = 0; len < sizeof(d); len++)
		assert_int_equal(connector_parse(&d, len, &value), CONNECTOR_WORD_OTHER);
	d = datagram_of(PROC_EVENT_EXIT, 78, 77); /* a thread */
	assert_int_equal(connector_parse(&d, sizeof(d), &value), CONNECTOR_WORD_OTHER);
	d = datagram_of(PROC_EVENT_EXIT, -1, -1);
	assert_int_equal(connector_parse(&d, sizeof(d), &value), CONNECTOR_WORD_OTHER);
	d = datagram_of(PROC_EVENT_FORK, 77, 77);
	assert_int_equal(connector_parse(&d, sizeof(d), &value), CONNECTOR_WORD_OTHER);
	d = datagram_of(PROC_EVENT_NONE, 1, 0); /* ack.err stands first */
	assert_int_equal(connector_parse(&d, sizeof(d), &value), CONNECTOR_WORD_ACK);
	assert_int_equal(value, 1);
	set_message(&d, 9, sizeof(struct proc_event));
	assert_int_equal(connector_parse(&d, sizeof(d), &value), CONNECTOR_WORD_OTHER);
	d = datagram_of(PROC_EVENT_EXIT, 77, 77);
	set_message(&d, CN_IDX_PROC, 16); /* ends before the event's own part */
	assert_int_equal(connector_parse(&d, sizeof(d), &value), CONNECTOR_WORD_OTHER);
}

/* --- the real one --- */

static void hints_of_leaders(void **state)
{
	struct fixture *f = *state;
	pid_t pid;

	ASSERT_OK(make(f, 0, 0));
	RUN_UNTIL(f->event, f->entered[CONNECTOR_ON] == 1);
	assert_int_equal(f->rescans, 1); /* What was before nobody told. */
	pid = fork();
	if (pid == 0) {
		(void)raise(SIGSTOP); /* until its pid is waited for */
		_exit(0);
	}
	f->wanted = pid;
	ASSERT_OK(waitpid(pid, NULL, WUNTRACED));
	ASSERT_OK(kill(pid, SIGCONT));
	RUN_UNTIL(f->event, f->hints_of_wanted == 1);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* A leader that ends before its thread: one hint, though the process lives. */
static void one_hint_per_leader(void **state)
{
	struct fixture *f = *state;
	int in[2], out[2];
	char byte;

	ASSERT_OK(make(f, 0, 0));
	RUN_UNTIL(f->event, f->entered[CONNECTOR_ON] == 1);
	ASSERT_OK(pipe2(in, O_CLOEXEC));
	ASSERT_OK(pipe2(out, O_CLOEXEC));
	f->wanted = fork();
	if (f->wanted == 0) {
		(void)dup2(in[0], STDIN_FILENO);
		(void)dup2(out[1], STDOUT_FILENO);
		(void)execl(arg_child, "kernel-child", "leader-exits", NULL);
		_exit(127);
	}
	assert_int_equal(read(out[0], &byte, 1), 1);
	RUN_UNTIL(f->event, f->hints_of_wanted == 1);
	assert_int_equal(waitpid(f->wanted, NULL, WNOHANG), 0); /* it lives */
	assert_int_equal(write(in[1], "x", 1), 1);
	assert_int_equal(waitpid(f->wanted, NULL, 0), f->wanted);
	RUN_TURNS(f->event, 5);
	assert_int_equal(f->hints_of_wanted, 1); /* its thread's own exit was filtered out */
	for (int i = 0; i < 2; i++) {
		(void)close(in[i]);
		(void)close(out[i]);
	}
}

static void flood_switches_it_off(void **state)
{
	struct fixture *f = *state;
	struct connector_status s;

	ASSERT_OK(make(f, 5, NSEC_PER_MSEC));
	RUN_UNTIL(f->event, f->entered[CONNECTOR_ON] == 1);
	for (int i = 0; i < 20; i++) {
		pid_t pid = start_child(0);

		assert_int_equal(waitpid(pid, NULL, 0), pid);
	}
	RUN_UNTIL(f->event, f->entered[CONNECTOR_FLOODED] == 1);
	assert_non_null(strstr(f->reason, "More than 5 exits in a second; tried again in "));
	connector_status(f->connector, &s);
	assert_int_equal(s.floods, 1);
	assert_int_equal(s.hints, 6);
	assert_true(f->rescans >= 2);
	RUN_UNTIL(f->event, f->entered[CONNECTOR_ON] == 2); /* tried again */
}

/* More exits than the socket holds while nobody reads: said once, and it goes on. */
static void overflow_is_told(void **state)
{
	struct fixture *f = *state;
	struct connector_status s;
	unsigned rescans;
	pid_t pid;

	ASSERT_OK(make(f, UINT32_MAX, 0));
	RUN_UNTIL(f->event, f->entered[CONNECTOR_ON] == 1);
	rescans = f->rescans;
	for (int i = 0; i < OVERFLOW_EXITS; i++) {
		pid = start_child(0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
	}
	RUN_UNTIL(f->event, f->rescans > rescans);
	connector_status(f->connector, &s);
	assert_true(s.losses >= 1);
	assert_int_equal(s.state, CONNECTOR_ON);
	RUN_TURNS(f->event, 40); /* what the socket still holds; 64 a turn */
	f->wanted = start_child(0);
	RUN_UNTIL(f->event, f->hints_of_wanted == 1);
	assert_int_equal(waitpid(f->wanted, NULL, 0), f->wanted);
	assert_int_equal(f->entered[CONNECTOR_FLOODED], 0);
}

/* In a network namespace of its own: a clear word, not silence for ever. */
static void refused_in_a_namespace(void **state)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct fixture f = { 0 };
		struct connector_status s;
		int r;

		if (unshare(CLONE_NEWNET) < 0)
			_exit(77);
		if (sd_event_new(&f.event) < 0)
			_exit(2);
		r = make(&f, 0, 0);
		connector_status(f.connector, &s);
		print_message("%d %s: %s\n", r, connector_state_text(s.state), s.reason);
		_exit(r < 0 && s.state == CONNECTOR_UNAVAILABLE && s.reason[0] &&
					f.entered[CONNECTOR_UNAVAILABLE] == 0
				? 0
				: 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

/* Whether it works here at all; else why not. */
static bool works(char *reason, size_t size)
{
	struct fixture f = { 0 };
	bool on;

	(void)sd_event_new(&f.event);
	if (make(&f, 0, 0) >= 0)
		while (f.entered[CONNECTOR_ON] + f.entered[CONNECTOR_UNAVAILABLE] == 0)
			(void)sd_event_run(f.event, 100 * 1000);
	else {
		struct connector_status s;

		connector_status(f.connector, &s);
		(void)snprintf(f.reason, sizeof(f.reason), "%s", s.reason);
	}
	on = f.entered[CONNECTOR_ON] > 0;
	(void)snprintf(reason, size, "%s", f.reason);
	(void)connector_free(f.connector);
	(void)sd_event_unref(f.event);
	return on;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest pure[] = {
		cmocka_unit_test(judges_datagrams),
		cmocka_unit_test(refused_in_a_namespace),
	};
	const struct CMUnitTest real[] = {
		cmocka_unit_test_setup_teardown(hints_of_leaders, setup, teardown),
		cmocka_unit_test_setup_teardown(one_hint_per_leader, setup, teardown),
		cmocka_unit_test_setup_teardown(flood_switches_it_off, setup, teardown),
		cmocka_unit_test_setup_teardown(overflow_is_told, setup, teardown),
	};
	char reason[200];
	int failed;

	arg_child = argc > 1 ? argv[1] : "";
	failed = cmocka_run_group_tests(pure, NULL, NULL);
	if (!works(reason, sizeof(reason))) {
		print_message("SKIPPED: the process connector does not work here: %s\n", reason);
		return failed ? failed : 77;
	}
	return failed + cmocka_run_group_tests(real, NULL, NULL);
}
