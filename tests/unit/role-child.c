/*
 * A role for the tests of the mechanism. The start payload says how it misbehaves:
 *	echo     answers TEST_ASK with the same bytes and descriptors, TEST_FACTS with what it is
 *	crash    ends at once            die      ends after it was ready
 *	silent   never says ready        deaf     never answers, ignores SIGTERM and the channel's end
 *	garbage  sends nonsense          early    speaks before it is ready
 *	flood    sends without end       refuse   says why it cannot start
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "role-child.h"
#include "role/role-child.h"

static const struct channel_type types[] = {
	ROLE_START_TYPE,
	{ TEST_ASK, 0, CHANNEL_PAYLOAD_MAX, CHANNEL_FDS_ANY },
	{ TEST_FACTS, 0, 0, 0 },
};

/* What the mechanism promises about this process. */
static void tell_facts(struct channel *c, uint64_t id)
{
	struct test_facts f = { .uid = getuid(), .gid = getgid(), .pid = getpid() };
	struct rlimit files = { 0 }, core = { .rlim_cur = 1 };
	int sig = 0;

	for (int fd = 0; fd < 1024; fd++)
		if (fcntl_is_open(fd))
			f.open_fds++;
	for (char **e = environ; *e; e++)
		f.environment++;
	(void)getrlimit(RLIMIT_NOFILE, &files);
	(void)getrlimit(RLIMIT_CORE, &core);
	(void)prctl(PR_GET_PDEATHSIG, &sig);
	f.nofile = (uint32_t)files.rlim_cur;
	f.core = (uint32_t)core.rlim_cur;
	f.no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
	f.death_signal = (uint32_t)sig;
	f.parent = getppid();
	(void)channel_send(c, TEST_FACTS, id, &f, sizeof(f), NULL, 0);
}

static void hang(void)
{
	for (;;)
		(void)pause();
}

static int serve(struct channel *c)
{
	for (;;) {
		struct channel_message m;
		int r;

		(void)poll(&(struct pollfd){ .fd = channel_fd(c), .events = channel_events(c) }, 1,
			-1);
		(void)channel_flush(c);
		r = channel_receive(c, &m);
		if (r < 0)
			return r == -EPIPE ? 0 : 1;
		if (r > 0) {
			if (m.type == TEST_FACTS)
				tell_facts(c, m.id);
			else
				(void)channel_send(
					c, TEST_ASK, m.id, m.payload, m.len, m.fds, m.fd_count);
			channel_message_done(&m);
		}
	}
}

static void flood(struct channel *c)
{
	for (;;)
		if (channel_send(c, TEST_ASK, 0, "x", 1, NULL, 0) == -ENOBUFS) {
			(void)poll(
				&(struct pollfd){ .fd = channel_fd(c), .events = POLLOUT }, 1, -1);
			(void)channel_flush(c);
		}
}

int main(void)
{
	struct channel_message start;
	struct channel *c;
	char how[32];
	int r;

	if (role_child_start("pleg-test", types, sizeof(types) / sizeof(types[0]), &c, &start) < 0)
		return 9;
	(void)snprintf(how, sizeof(how), "%.*s", (int)start.len, (const char *)start.payload);
	channel_message_done(&start);

	if (strcmp(how, "crash") == 0)
		_exit(3);
	if (strcmp(how, "refuse") == 0)
		_exit(role_child_fail(c, -EACCES, "Listen"));
	if (strcmp(how, "silent") == 0)
		hang();
	if (strcmp(how, "early") == 0) {
		(void)channel_send(c, TEST_ASK, 0, "x", 1, NULL, 0);
		hang();
	}
	if (role_child_ready(c) < 0)
		return 8;
	if (strcmp(how, "die") == 0)
		(void)raise(SIGUSR1);
	if (strcmp(how, "deaf") == 0) {
		(void)signal(SIGTERM, SIG_IGN);
		hang();
	}
	if (strcmp(how, "garbage") == 0) {
		(void)send(channel_fd(c), "garbage", 7, 0);
		hang();
	}
	if (strcmp(how, "flood") == 0)
		flood(c);
	r = serve(c);
	(void)channel_free(c);
	return r;
}
