/*
 * The agent's end of the spawner. A process is in the list from the request until it is reaped: one
 * that its role has freed before stays without `ops`, so that no zombie is left and an answer that
 * comes late finds what it belongs to.
 */
#include "role/spawner.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/time.h"
#include "role/role.h"
#include "role/spawner-child.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Linux 6.3; before, every memfd is executable */
#endif

/* A request that waits longer for its answer makes the spawner late. */
#define SPAWNER_ANSWER_NS (2 * NSEC_PER_SEC)

/* What a role needs from the loop can wait until what the node needs is done. */
#define SPAWNER_PRIORITY (SD_EVENT_PRIORITY_NORMAL + 20)

/* How long the end of everything waits for one killed process. */
#define SPAWNER_REAP_MS 1000

/* From the end of a dying process's channel to its death; spent once, when the spawner dies. */
#define SPAWNER_LAST_MS 20

#define SPAWNER_EXE_MAX (64u * 1024u * 1024u)

struct process {
	LIST_ENTRY(process) entry;
	struct role_spawner *spawner;
	const struct process_ops *ops; /* NULL: nobody wants to know any longer */
	void *userdata;
	uint64_t id;
	pid_t pid; /* 0: not answered yet */
	int pidfd;
	bool kill_asked, unspawned;
	sd_event_source *source; /* on the pidfd */
};

struct role_spawner {
	struct channel *channel; /* NULL once it is gone */
	pid_t pid;
	int pidfd;
	sd_event *event;
	sd_event_source *io, *timer;
	LIST_HEAD(, process) processes;
	uint64_t next_id;
	bool late;
	char reason[128];
};

static const struct channel_type agent_accepts[] = {
	{ ROLE_MSG_SPAWNED, sizeof(struct spawn_answer), sizeof(struct spawn_answer), 1 },
	{ ROLE_MSG_UNSPAWNED, sizeof(struct role_failure), sizeof(struct role_failure), 0 },
};

static void spawner_watch(struct role_spawner *s);

/* --- one process --- */

static struct process *process_destroy(struct process *p)
{
	LIST_REMOVE(p, entry);
	p->source = sd_event_source_disable_unref(p->source);
	p->pidfd = fd_close(p->pidfd);
	return mem_free(p);
}

/* -1 when nobody knows, as after a foreign waitpid(). */
static int reap(int pidfd)
{
	siginfo_t info = { 0 };

	if (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
		return -1;
	return info.si_code == CLD_EXITED ? W_EXITCODE(info.si_status, 0)
					  : W_EXITCODE(0, info.si_status);
}

static int on_pidfd(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct process *p = userdata;
	int status = reap(fd);

	if (!p->ops) {
		(void)process_destroy(p);
		return 0;
	}
	p->source = sd_event_source_disable_unref(p->source);
	p->pidfd = fd_close(p->pidfd);
	p->ops->on_exited(p, status, p->userdata);
	return 0;
}

static void send_kill(const struct process *p)
{
	if (p->pidfd >= 0)
		(void)syscall(SYS_pidfd_send_signal, p->pidfd, SIGKILL, NULL, 0);
}

void process_kill(struct process *p)
{
	p->kill_asked = true;
	send_kill(p);
}

pid_t process_pid(const struct process *p)
{
	return p->pid;
}

struct process *process_free(struct process *p)
{
	if (!p)
		return NULL;
	if (p->pidfd < 0 && (p->pid != 0 || p->unspawned))
		return process_destroy(p);
	p->ops = NULL;
	p->userdata = NULL;
	return NULL;
}

int process_new(struct role_spawner *s, const struct spawn_request *req, int channel_fd, int exe_fd,
	const struct process_ops *ops, void *userdata, struct process **ret)
{
	struct process *p;
	int r;

	if (!s->channel)
		return -ENOTCONN;
	p = mem_zalloc(sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->spawner = s;
	p->ops = ops;
	p->userdata = userdata;
	p->id = ++s->next_id;
	p->pidfd = -EBADF;
	r = channel_send(s->channel, ROLE_MSG_SPAWN, p->id, req, sizeof(*req),
		(const int[]){ channel_fd, exe_fd }, 2);
	if (r < 0) {
		(void)mem_free(p);
		return r;
	}
	LIST_INSERT_HEAD(&s->processes, p, entry);
	spawner_watch(s);
	*ret = p;
	return 0;
}

/* --- answers --- */

static void unspawned(struct process *p, int code, const char *what)
{
	p->unspawned = true;
	if (p->ops)
		p->ops->on_unspawned(p, code, what, p->userdata);
	else
		(void)process_destroy(p);
}

static void spawned(struct process *p, pid_t pid, int *pidfd)
{
	struct role_spawner *s = p->spawner;
	int r;

	p->pid = pid;
	p->pidfd = TAKE_FD(*pidfd);
	r = sd_event_add_io(s->event, &p->source, p->pidfd, EPOLLIN, on_pidfd, p);
	if (r >= 0)
		(void)sd_event_source_set_priority(p->source, SPAWNER_PRIORITY);
	if (r < 0 || p->kill_asked || !p->ops)
		send_kill(p);
	if (r < 0) { /* Nobody would notice its end. */
		p->pidfd = fd_close(p->pidfd);
		unspawned(p, r, "Watch the process");
	}
}

static bool is_pending(const struct process *p)
{
	return p->pid == 0 && !p->unspawned;
}

static struct process *find_process(const struct role_spawner *s, uint64_t id)
{
	struct process *p;

	LIST_FOREACH (p, &s->processes, entry)
		if (p->id == id && is_pending(p))
			return p;
	return NULL;
}

static int take_answer(struct role_spawner *s, struct channel_message *m)
{
	struct process *p = find_process(s, m->id);

	if (!p)
		return -EBADMSG;
	if (m->type == ROLE_MSG_SPAWNED) {
		struct spawn_answer answer;

		memcpy(&answer, m->payload, sizeof(answer));
		if (answer.pid <= 0)
			return -EBADMSG;
		spawned(p, answer.pid, &m->fds[0]);
	} else {
		struct role_failure failure;

		memcpy(&failure, m->payload, sizeof(failure));
		failure.what[sizeof(failure.what) - 1] = '\0';
		unspawned(p, failure.code, failure.what);
	}
	return 0;
}

/* --- the spawner's life --- */

static struct process *any_pending(const struct role_spawner *s)
{
	struct process *p;

	LIST_FOREACH (p, &s->processes, entry)
		if (is_pending(p))
			return p;
	return NULL;
}

/* Kills it, in case it is only stopped, and waits a moment so that no zombie is left. */
static void reap_spawner(struct role_spawner *s, int wait_ms)
{
	if (s->pidfd < 0)
		return;
	(void)syscall(SYS_pidfd_send_signal, s->pidfd, SIGKILL, NULL, 0);
	if (poll(&(struct pollfd){ .fd = s->pidfd, .events = POLLIN }, 1, wait_ms) <= 0)
		return;
	(void)reap(s->pidfd);
	s->pidfd = fd_close(s->pidfd);
}

/* It is gone for good; what waits for it is told. */
static void spawner_lose(struct role_spawner *s, const char *why)
{
	struct process *p;

	s->io = sd_event_source_disable_unref(s->io);
	s->timer = sd_event_source_disable_unref(s->timer);
	s->channel = channel_free(s->channel);
	reap_spawner(s, SPAWNER_LAST_MS);
	(void)snprintf(s->reason, sizeof(s->reason), "The spawner %s: no role can be started", why);
	log_debug("Spawner lost", "reason", s->reason, NULL);
	while ((p = any_pending(s)) != NULL)
		unspawned(p, -ENOTCONN, s->reason);
}

/* What to poll for and when the answer is late, recomputed after every step. */
static void spawner_watch(struct role_spawner *s)
{
	short events;

	if (!s->io)
		return;
	events = channel_events(s->channel);
	(void)sd_event_source_set_io_events(
		s->io, EPOLLIN | ((events & POLLOUT) != 0 ? EPOLLOUT : 0));
	if (!any_pending(s)) {
		(void)sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
		return;
	}
	if (sd_event_source_get_enabled(s->timer, NULL) == 0) {
		(void)sd_event_source_set_time_relative(
			s->timer, SPAWNER_ANSWER_NS / NSEC_PER_USEC);
		(void)sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
	}
}

static int on_late(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct role_spawner *s = userdata;

	s->late = true;
	(void)snprintf(s->reason, sizeof(s->reason),
		"The spawner (pid %d) does not answer: no role can be started", (int)s->pid);
	log_debug("Spawner late", "reason", s->reason, NULL);
	return 0;
}

static int on_answer(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct role_spawner *s = userdata;
	struct channel_message m;
	int r;

	r = channel_flush(s->channel);
	if (r >= 0)
		r = channel_receive(s->channel, &m);
	if (r > 0) {
		s->late = false;
		s->reason[0] = '\0';
		r = take_answer(s, &m);
		channel_message_done(&m);
	}
	if (r < 0)
		spawner_lose(s, r == -EBADMSG ? "sent nonsense" : "is gone");
	else
		spawner_watch(s);
	return 0;
}

int role_spawner_start(int log_fd, struct role_spawner **ret)
{
	CLEAN_FD int ours = -EBADF;
	CLEAN_FD int theirs = -EBADF;
	struct role_spawner *s;
	pid_t agent = getpid();
	int ends[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	ours = ends[0];
	theirs = ends[1];
	s = mem_zalloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	LIST_INIT(&s->processes);
	r = channel_new(TAKE_FD(ours), agent_accepts, ELEMENTS(agent_accepts), &s->channel);
	if (r < 0) {
		(void)mem_free(s);
		return r;
	}
	s->pid = fork();
	if (s->pid < 0) {
		r = -errno;
		(void)channel_free(s->channel);
		(void)mem_free(s);
		return r;
	}
	if (s->pid == 0)
		spawner_run(theirs, log_fd, agent);
	s->pidfd = (int)syscall(SYS_pidfd_open, s->pid, 0);
	*ret = s;
	return 0;
}

int role_spawner_attach(struct role_spawner *s, sd_event *event)
{
	int r;

	r = sd_event_add_io(event, &s->io, channel_fd(s->channel), EPOLLIN, on_answer, s);
	if (r < 0)
		return r;
	r = sd_event_add_time_relative(event, &s->timer, CLOCK_MONOTONIC, 0, 10 * 1000, on_late, s);
	if (r < 0)
		return r;
	(void)sd_event_source_set_priority(s->io, SPAWNER_PRIORITY);
	(void)sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
	s->event = sd_event_ref(event);
	return 0;
}

bool role_spawner_is_alive(const struct role_spawner *s, const char **ret_reason)
{
	if (ret_reason)
		*ret_reason = s->reason;
	return s->channel && !s->late;
}

pid_t role_spawner_pid(const struct role_spawner *s)
{
	return s->pid;
}

struct role_spawner *role_spawner_free(struct role_spawner *s)
{
	struct process *p;

	if (!s)
		return NULL;
	s->io = sd_event_source_disable_unref(s->io);
	s->timer = sd_event_source_disable_unref(s->timer);
	s->channel = channel_free(s->channel); /* Its end, unless it is stopped. */
	while ((p = LIST_FIRST(&s->processes)) != NULL) {
		send_kill(p);
		if (p->pidfd >= 0 &&
			poll(&(struct pollfd){ .fd = p->pidfd, .events = POLLIN }, 1,
				SPAWNER_REAP_MS) > 0)
			(void)reap(p->pidfd);
		(void)process_destroy(p);
	}
	reap_spawner(s, SPAWNER_REAP_MS);
	s->pidfd = fd_close(s->pidfd);
	s->event = sd_event_unref(s->event);
	return mem_free(s);
}

/* --- executables --- */

static int copy_to_memfd(int file, off_t size, const char *path, int *ret_fd)
{
	CLEAN_FD int fd = -EBADF;
	off_t at = 0;

	fd = memfd_create(path, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(path, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	while (at < size) {
		ssize_t n = sendfile(fd, file, &at, (size_t)(size - at));

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0)
			return -EIO; /* It shrank meanwhile. */
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int role_exe_open(const char *path, bool in_memory, int *ret_fd, struct err *reterr)
{
	CLEAN_FD int fd = -EBADF;
	struct stat st;
	int r;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(reterr, -errno, "Open role executable '%s': %s", path,
			err_text(NULL, -errno));
	if (!S_ISREG(st.st_mode) || (st.st_mode & 0111) == 0 || st.st_size > SPAWNER_EXE_MAX)
		return err_set(
			reterr, -ENOEXEC, "Role executable '%s' is no executable file", path);
	if (in_memory) {
		int memfd = -EBADF;

		r = copy_to_memfd(fd, st.st_size, "pleg-role", &memfd);
		if (r < 0)
			return err_set(reterr, r, "Copy role executable '%s' to memory: %s", path,
				err_text(NULL, r));
		(void)fd_close(fd);
		fd = memfd;
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}
