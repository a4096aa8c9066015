/*
 * The process behind role_spawner_start(). It keeps no state: each request is one clone() and one
 * answer. Between clone() and exec the new process touches no file but descriptors that are open
 * already, so a dead disk cannot hold it (the executable's own pages can, unless it is in a memfd,
 * but then it holds that process and not the spawner).
 */
#include "role/spawner-child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "role/mechanism.h"

/* Where the spawner keeps its descriptors; 0 is /dev/null, 1 and 2 the log. */
#define SPAWNER_CHANNEL_FD 3
#define SPAWNER_FIRST_FREE 4

/* Where a role's executable stands until exec closes it. */
#define ROLE_EXE_FD 4

static const struct channel_type spawner_accepts[] = {
	{ ROLE_MSG_SPAWN, sizeof(struct spawn_request), sizeof(struct spawn_request), 2 },
};

/* In the new process: tells the agent over the role's own channel why there will be no role. */
static _Noreturn void give_up(const char *what)
{
	struct role_failure failure = { .code = -errno };
	struct channel *c;

	(void)snprintf(failure.what, sizeof(failure.what), "%s", what);
	if (channel_new(ROLE_CHANNEL_FD, NULL, 0, &c) == 0)
		(void)channel_send(c, ROLE_MSG_FAILED, 0, &failure, sizeof(failure), NULL, 0);
	_exit(127);
}

static void place_fds(int chan_fd, int exe_fd)
{
	/* Out of the way first: either may stand where the other belongs. */
	int channel = fcntl(chan_fd, F_DUPFD_CLOEXEC, 16);
	int exe = fcntl(exe_fd, F_DUPFD_CLOEXEC, 16);

	if (channel < 0 || dup2(channel, ROLE_CHANNEL_FD) < 0)
		_exit(127);
	if (exe < 0 || dup3(exe, ROLE_EXE_FD, O_CLOEXEC) < 0)
		give_up("Place descriptors");
	if (close_range(ROLE_EXE_FD + 1, ~0U, 0) < 0)
		give_up("Close descriptors");
}

static void reset_signals(void)
{
	sigset_t none;

	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	for (int sig = 1; sig < NSIG; sig++)
		if (sig != SIGKILL && sig != SIGSTOP)
			(void)signal(sig, SIG_DFL); /* libc keeps two for itself: ignoring */
}

static void set_limits(const struct spawn_request *req)
{
	struct rlimit files = { .rlim_cur = req->nofile, .rlim_max = req->nofile };
	struct rlimit core = { 0 };

	if (setrlimit(RLIMIT_NOFILE, &files) < 0 || setrlimit(RLIMIT_CORE, &core) < 0)
		give_up("Set limits");
}

static void drop_ids(const struct spawn_request *req)
{
	/* Leaving uid 0 for good also empties the permitted and effective capabilities. */
	if (req->uid != 0 && geteuid() == 0)
		if (setgroups(0, NULL) < 0 || setresgid(req->gid, req->gid, req->gid) < 0 ||
			setresuid(req->uid, req->uid, req->uid) < 0)
			give_up("Drop to an unprivileged user");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		give_up("Set no_new_privs");
}

static _Noreturn void become_role(
	const struct spawn_request *req, int chan_fd, int exe_fd, pid_t agent)
{
	char name[sizeof(req->name) + 8], journal[64];
	char *argv[] = { name, NULL };
	char *envp[] = { NULL, NULL };
	const char *stream = getenv("JOURNAL_STREAM");

	place_fds(chan_fd, exe_fd);
	reset_signals();
	set_limits(req);
	drop_ids(req);
	/* Only now, since a change of ids clears it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		give_up("Set the parent death signal");
	if (getppid() != agent)
		_exit(127); /* The agent died before that took hold. */

	(void)snprintf(name, sizeof(name), "pleg-%s", req->name);
	if (stream && strlen(stream) < sizeof(journal) - sizeof("JOURNAL_STREAM=")) {
		(void)snprintf(journal, sizeof(journal), "JOURNAL_STREAM=%s", stream);
		envp[0] = journal;
	}
	(void)syscall(SYS_execveat, ROLE_EXE_FD, "", argv, envp, AT_EMPTY_PATH);
	give_up("Execute");
}

/* A child of the agent, not of this process. The pid, 0 in the child, or a negative errno. */
static pid_t clone_for_agent(int *ret_pidfd)
{
	unsigned long flags = CLONE_PARENT | CLONE_PIDFD | SIGCHLD;
	int pidfd = -EBADF;
	long pid;

#ifdef __s390x__
	pid = syscall(SYS_clone, NULL, flags, &pidfd, NULL, NULL);
#else
	pid = syscall(SYS_clone, flags, NULL, &pidfd, NULL, NULL);
#endif
	if (pid < 0)
		return -errno;
	if (pid > 0)
		*ret_pidfd = pidfd;
	return (pid_t)pid;
}

static int answer_failure(struct channel *c, uint64_t id, int code, const char *what)
{
	struct role_failure failure = { .code = code };

	(void)snprintf(failure.what, sizeof(failure.what), "%s", what);
	return channel_send(c, ROLE_MSG_UNSPAWNED, id, &failure, sizeof(failure), NULL, 0);
}

static int serve(struct channel *c, struct channel_message *m, pid_t agent)
{
	struct spawn_answer answer = { 0 };
	struct spawn_request req;
	CLEAN_FD int pidfd = -EBADF;
	pid_t pid;

	memcpy(&req, m->payload, sizeof(req));
	req.name[sizeof(req.name) - 1] = '\0';
	pid = clone_for_agent(&pidfd);
	if (pid < 0)
		return answer_failure(c, m->id, (int)pid, "Fork");
	if (pid == 0)
		become_role(&req, m->fds[0], m->fds[1], agent);
	answer.pid = pid;
	return channel_send(c, ROLE_MSG_SPAWNED, m->id, &answer, sizeof(answer), &pidfd, 1);
}

static void prepare(int chan_fd, int log_fd, pid_t agent)
{
	int channel = fcntl(chan_fd, F_DUPFD_CLOEXEC, 16);
	int log = fcntl(log_fd, F_DUPFD_CLOEXEC, 16);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (channel < 0 || log < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 ||
		dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0 ||
		dup3(channel, SPAWNER_CHANNEL_FD, O_CLOEXEC) < 0 ||
		close_range(SPAWNER_FIRST_FREE, ~0U, 0) < 0 || chdir("/") < 0)
		_exit(1);
	(void)prctl(PR_SET_NAME, "pleg-spawner");
	/* Out of the terminal's reach: only the agent ends this process. */
	(void)setsid();
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != agent)
		_exit(0);
}

_Noreturn void spawner_run(int agent_fd, int log_fd, pid_t agent)
{
	struct channel *c;

	prepare(agent_fd, log_fd, agent);
	if (channel_new(SPAWNER_CHANNEL_FD, spawner_accepts, ELEMENTS(spawner_accepts), &c) < 0)
		_exit(1);
	for (;;) {
		struct channel_message m;
		int r;

		(void)poll(&(struct pollfd){ .fd = channel_fd(c), .events = channel_events(c) }, 1,
			-1);
		if (channel_flush(c) < 0)
			_exit(1);
		r = channel_receive(c, &m);
		if (r < 0)
			_exit(r == -EPIPE ? 0 : 1);
		if (r == 0)
			continue;
		r = serve(c, &m, agent);
		channel_message_done(&m);
		if (r < 0)
			_exit(1);
	}
}
