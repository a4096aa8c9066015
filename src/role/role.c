/*
 * One role: joins its supervision (pure), its process and its channel. All changes of state pass
 * through role_step(), which does what supervise_step() decides, fails what was asked of a process
 * that is no more, and tells the owner last.
 */
#include "role/role.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "base/time.h"
#include "role/spawner.h"

#define ROLE_NOFILE            64u
#define ROLE_HELLO_NS          (10 * NSEC_PER_SEC)
#define ROLE_ABANDONED_DEFAULT 4u
#define ROLE_ABANDONED_MAX     16u
#define ROLE_REQUESTS_DEFAULT  64u
#define ROLE_NAME_MAX          15u

/* Messages that one turn of the loop takes from one role, so that a flood is only the flooder's. */
#define ROLE_MESSAGES_PER_TURN 16u

/* In the ids of the agent's requests, so that a role's own numbers never look like answers. */
#define ROLE_REQUEST_BIT (UINT64_C(1) << 63)

/* Below everything that the node itself waits for. */
#define ROLE_PRIORITY (SD_EVENT_PRIORITY_NORMAL + 20)

struct role_request_entry {
	TAILQ_ENTRY(role_request_entry) entry;
	uint64_t id;
	uint64_t due_ns;
	role_answer_fn on_answer; /* NULL: forgotten, only the deadline counts */
	void *userdata;
};

struct role {
	struct role_spec spec;
	char name[ROLE_NAME_MAX + 1];
	struct channel_type *types; /* the mechanism's, then the spec's */
	size_t type_count;
	sd_event *event;
	struct role_spawner *spawner;
	struct supervise supervise;

	struct process *process; /* NULL: none */
	struct channel *channel; /* NULL: none, or hung up on */
	sd_event_source *io, *timer, *wish;

	bool wish_start; /* what `wish` will ask for */
	uint64_t wish_grace_ns;

	void *start_payload;
	size_t start_len;
	int start_fds[CHANNEL_FDS_MAX];
	unsigned start_fd_count;

	TAILQ_HEAD(, role_request_entry) requests;
	unsigned request_count;
	uint64_t next_id;

	struct process *abandoned[ROLE_ABANDONED_MAX];
	unsigned abandoned_count;
	char reason[224];
	bool killed;    /* the process at hand was sent SIGKILL from here */
	bool has_blame; /* `reason` says what was wrong with the process at hand */
};

static void role_step(struct role *role, enum supervise_event event);

/* --- requests --- */

static void request_free(struct role *role, struct role_request_entry *q)
{
	TAILQ_REMOVE(&role->requests, q, entry);
	role->request_count--;
	(void)mem_free(q);
}

/* Ends one with an error; those that are late get -ETIMEDOUT. */
static void request_fail(struct role *role, struct role_request_entry *q, uint64_t now_ns)
{
	role_answer_fn on_answer = q->on_answer;
	void *userdata = q->userdata;
	int r = q->due_ns <= now_ns ? -ETIMEDOUT : -EPIPE;

	request_free(role, q);
	if (on_answer)
		on_answer(r, NULL, userdata);
}

/* Only those that are there now: what a callback asks next is for the next process. */
static void fail_requests(struct role *role, uint64_t now_ns)
{
	uint64_t last_id = ROLE_REQUEST_BIT | role->next_id;
	struct role_request_entry *q;

	while ((q = TAILQ_FIRST(&role->requests)) != NULL && q->id <= last_id)
		request_fail(role, q, now_ns);
}

static void fail_late_requests(struct role *role, uint64_t now_ns)
{
	struct role_request_entry *q;

	for (;;) {
		TAILQ_FOREACH (q, &role->requests, entry)
			if (q->due_ns <= now_ns)
				break;
		if (!q)
			return;
		request_fail(role, q, now_ns);
	}
}

static struct role_request_entry *find_request(const struct role *role, uint64_t id)
{
	struct role_request_entry *q;

	TAILQ_FOREACH (q, &role->requests, entry)
		if (q->id == id)
			return q;
	return NULL;
}

static uint64_t requests_due(const struct role *role)
{
	const struct role_request_entry *q;
	uint64_t due_ns = NSEC_NEVER;

	TAILQ_FOREACH (q, &role->requests, entry)
		due_ns = time_min(due_ns, q->due_ns);
	return due_ns;
}

/* --- sources --- */

/* The one place that says what the role waits for. */
static void role_watch(struct role *role)
{
	uint64_t due_ns = time_min(role->supervise.due_ns, requests_due(role));

	if (role->io) {
		short events = channel_events(role->channel);

		(void)sd_event_source_set_io_events(
			role->io, EPOLLIN | ((events & POLLOUT) != 0 ? EPOLLOUT : 0));
	}
	if (due_ns == NSEC_NEVER) {
		(void)sd_event_source_set_enabled(role->timer, SD_EVENT_OFF);
		return;
	}
	/* Rounded up: a timer that comes early would find nothing due. */
	(void)sd_event_source_set_time(role->timer, due_ns / NSEC_PER_USEC + 1);
	(void)sd_event_source_set_enabled(role->timer, SD_EVENT_ONESHOT);
}

static void drop_channel(struct role *role)
{
	role->io = sd_event_source_disable_unref(role->io);
	role->channel = channel_free(role->channel);
}

/* --- messages --- */

static void take_answer(struct role *role, struct channel_message *m)
{
	struct role_request_entry *q = find_request(role, m->id);
	role_answer_fn on_answer;
	void *userdata;

	if (!q)
		return; /* Too late, from one that is stopping. */
	on_answer = q->on_answer;
	userdata = q->userdata;
	request_free(role, q);
	if (on_answer)
		on_answer(0, m, userdata);
}

static void take_failure(struct role *role, const struct channel_message *m)
{
	struct role_failure failure;
	char what[sizeof(failure.what)];

	memcpy(&failure, m->payload, sizeof(failure));
	(void)str_clean(
		what, sizeof(what), failure.what, strnlen(failure.what, sizeof(failure.what)));
	(void)snprintf(role->reason, sizeof(role->reason), "%s: %s", what,
		strerrordesc_np(-failure.code) ?: "Unknown error");
	role->has_blame = true;
}

/* 0, or -EBADMSG when it does not keep to the protocol. */
static int take_message(struct role *role, struct channel_message *m)
{
	if (m->type == ROLE_MSG_FAILED) {
		take_failure(role, m);
		return 0;
	}
	if (m->type == ROLE_MSG_READY) {
		struct role_ready ready;

		memcpy(&ready, m->payload, sizeof(ready));
		if (role->supervise.state != ROLE_STARTING || ready.protocol != ROLE_PROTOCOL)
			return -EBADMSG;
		role_step(role, SUPERVISE_READY);
		return 0;
	}
	/* Before it is ready a role has nothing to say; while it ends, it may still answer. */
	if (role->supervise.state == ROLE_STARTING)
		return -EBADMSG;
	if ((m->id & ROLE_REQUEST_BIT) != 0) {
		take_answer(role, m);
		return 0;
	}
	if (!role->spec.on_message || role->spec.on_message(role, m, role->spec.userdata) < 0)
		return -EBADMSG;
	return 0;
}

static int receive_some(struct role *role)
{
	for (unsigned i = 0; i < ROLE_MESSAGES_PER_TURN && role->channel; i++) {
		struct channel_message m;
		int r;

		r = channel_receive(role->channel, &m);
		if (r <= 0)
			return r;
		r = take_message(role, &m);
		channel_message_done(&m);
		if (r < 0)
			return r;
	}
	return 0;
}

static int on_channel(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct role *role = userdata;
	int r;

	r = channel_flush(role->channel);
	if (r >= 0 || r == -EPIPE) /* What it said before it went is still to be read. */
		r = receive_some(role);
	if (r >= 0) {
		role_watch(role);
		return 0;
	}
	if (!role->has_blame)
		(void)snprintf(role->reason, sizeof(role->reason), "%s",
			r == -EPIPE ? "Closed its channel or was killed" : "Broke the protocol");
	role->has_blame = role->has_blame || r != -EPIPE;
	drop_channel(role);
	role_step(role, SUPERVISE_BROKEN);
	return 0;
}

/* --- processes --- */

static void describe_status(struct role *role, int status)
{
	if (role->has_blame || status == -1)
		return;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && role->killed)
		return; /* That was us, and the reason is there. */
	if (WIFSIGNALED(status))
		(void)snprintf(role->reason, sizeof(role->reason), "Ended by signal %d (%s)",
			WTERMSIG(status), sigabbrev_np(WTERMSIG(status)) ?: "?");
	else
		(void)snprintf(role->reason, sizeof(role->reason), "Ended with exit code %d",
			WEXITSTATUS(status));
}

static void note_abandoned(struct role *role)
{
	role->supervise.full = role->abandoned_count >= role->spec.max_abandoned;
}

static void on_exited(struct process *p, int status, void *userdata)
{
	struct role *role = userdata;

	for (unsigned i = 0; i < role->abandoned_count; i++)
		if (role->abandoned[i] == p) {
			role->abandoned[i] = role->abandoned[--role->abandoned_count];
			(void)process_free(p);
			note_abandoned(role);
			if (!role->supervise.full)
				supervise_room(&role->supervise, clock_now().mono_ns);
			role_watch(role);
			return;
		}
	/* Its last words may still stand in the channel. */
	if (role->channel && receive_some(role) < 0)
		drop_channel(role);
	describe_status(role, status);
	role_step(role, SUPERVISE_EXITED);
}

static void on_unspawned(struct process *p, int code, const char *what, void *userdata)
{
	struct role *role = userdata;

	(void)snprintf(role->reason, sizeof(role->reason), "%s: %s", what,
		strerrordesc_np(-code) ?: "Unknown error");
	role->has_blame = true;
	role_step(role, SUPERVISE_EXITED);
}

static const struct process_ops process_ops = {
	.on_unspawned = on_unspawned,
	.on_exited = on_exited,
};

static int spawn(struct role *role)
{
	struct spawn_request req = {
		.uid = role->spec.uid, .gid = role->spec.gid, .nofile = role->spec.nofile
	};
	CLEAN_FD int theirs = -EBADF;
	int ends[2], r;

	(void)snprintf(req.name, sizeof(req.name), "%s", role->name);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	theirs = ends[1];
	r = channel_new(ends[0], role->types, role->type_count, &role->channel);
	if (r < 0)
		return r;
	/* It stands in the socket before the process exists. */
	r = channel_send(role->channel, ROLE_MSG_START, 0, role->start_payload, role->start_len,
		role->start_fds, role->start_fd_count);
	if (r < 0)
		return r;
	r = sd_event_add_io(
		role->event, &role->io, channel_fd(role->channel), EPOLLIN, on_channel, role);
	if (r < 0)
		return r;
	(void)sd_event_source_set_priority(role->io, ROLE_PRIORITY);
	return process_new(
		role->spawner, &req, theirs, role->spec.exe_fd, &process_ops, role, &role->process);
}

static void abandon(struct role *role)
{
	if (role->abandoned_count < ROLE_ABANDONED_MAX)
		role->abandoned[role->abandoned_count++] = role->process;
	else
		(void)process_free(role->process); /* It stays watched, only not counted. */
	role->process = NULL;
	note_abandoned(role);
}

/* --- state --- */

static void act(struct role *role, enum supervise_act what)
{
	int r;

	switch (what) {
	case SUPERVISE_NOTHING: break;
	case SUPERVISE_SPAWN:
		role->has_blame = role->killed = false;
		r = spawn(role);
		if (r >= 0)
			break;
		(void)snprintf(role->reason, sizeof(role->reason), "Start: %s",
			strerrordesc_np(-r) ?: "Unknown error");
		if (r == -ENOTCONN) {
			const char *why = "";

			(void)role_spawner_is_alive(role->spawner, &why);
			(void)snprintf(role->reason, sizeof(role->reason), "%s", why);
		}
		role->has_blame = true;
		role_step(role, SUPERVISE_EXITED);
		break;
	case SUPERVISE_HANG_UP:
		/* Half: it sees the end of the channel and may still answer. */
		if (role->channel)
			channel_hang_up(role->channel);
		break;
	case SUPERVISE_KILL:
		drop_channel(role);
		role->killed = true;
		if (role->process)
			process_kill(role->process);
		break;
	case SUPERVISE_REAP:
		drop_channel(role);
		role->process = process_free(role->process);
		break;
	case SUPERVISE_ABANDON:
		drop_channel(role);
		if (role->process)
			abandon(role);
		break;
	}
}

/* What the state itself says about why it is not running. */
static void add_reason(struct role *role, enum supervise_event event)
{
	char inner[sizeof(role->reason)];

	if (event == SUPERVISE_DUE && role->supervise.state == ROLE_STUCK && !role->has_blame) {
		(void)snprintf(role->reason, sizeof(role->reason), "Was not ready in time");
		role->has_blame = true;
	}
	if (role->supervise.state != ROLE_FAILED)
		return;
	(void)snprintf(inner, sizeof(inner), "%s", role->reason);
	if (role->supervise.full)
		(void)snprintf(role->reason, sizeof(role->reason),
			"%u of its processes are stuck and cannot be killed",
			role->abandoned_count);
	else
		(void)snprintf(role->reason, sizeof(role->reason),
			"%u crashes within 5 minutes, tried again every 5 minutes; the last: "
			"%.128s",
			SUPERVISE_CRASH_MAX, inner);
}

static void role_step(struct role *role, enum supervise_event event)
{
	enum role_state old = role->supervise.state, new;
	uint64_t now_ns = clock_now().mono_ns;
	enum supervise_act what;

	if (event == SUPERVISE_UNWANT)
		role->supervise.grace_ns = role->wish_grace_ns;
	what = supervise_step(&role->supervise, event, now_ns);
	new = role->supervise.state;
	if (new != old) {
		log_debug("Role changed state", "role", role->name, "from", role_state_name(old),
			"to", role_state_name(new), NULL);
		add_reason(role, event);
		if (new == ROLE_STOPPED)
			role->reason[0] = '\0';
	}
	/* Told before acting, since a start that fails at once is a step of its own. */
	if (new != old && role->spec.on_state &&what == SUPERVISE_SPAWN)
		role->spec.on_state(role, old, new, role->reason, role->spec.userdata);
	act(role, what);
	if (what == SUPERVISE_SPAWN) {
		role_watch(role);
		return;
	}
	if (what == SUPERVISE_KILL || what == SUPERVISE_REAP || what == SUPERVISE_ABANDON)
		fail_requests(role, now_ns);
	role_watch(role);
	if (new != old && role->spec.on_state)
		role->spec.on_state(role, old, new, role->reason, role->spec.userdata);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct role *role = userdata;
	uint64_t now_ns = clock_now().mono_ns;

	if (requests_due(role) <= now_ns) {
		(void)snprintf(
			role->reason, sizeof(role->reason), "Did not answer a request in time");
		role->has_blame = true;
		role_step(role, SUPERVISE_LATE);
		fail_late_requests(role, now_ns); /* Those of one that is stopping anyway. */
	} else if (role->supervise.due_ns <= now_ns) {
		role_step(role, SUPERVISE_DUE);
	}
	role_watch(role);
	return 0;
}

static int on_wish(sd_event_source *source, void *userdata)
{
	struct role *role = userdata;

	role_step(role, role->wish_start ? SUPERVISE_WANT : SUPERVISE_UNWANT);
	return 0;
}

/* --- the public side --- */

static const struct channel_type mechanism_types[] = {
	{ ROLE_MSG_READY, sizeof(struct role_ready), sizeof(struct role_ready), 0 },
	{ ROLE_MSG_FAILED, sizeof(struct role_failure), sizeof(struct role_failure), 0 },
};

static int copy_spec(struct role *role, const struct role_spec *spec)
{
	if (strlen(spec->name) > ROLE_NAME_MAX || spec->max_abandoned > ROLE_ABANDONED_MAX)
		return -EINVAL;
	role->types =
		mem_array(ELEMENTS(mechanism_types) + spec->accept_count, sizeof(*role->types));
	if (!role->types)
		return -ENOMEM;
	memcpy(role->types, mechanism_types, sizeof(mechanism_types));
	if (spec->accept_count > 0)
		memcpy(role->types + ELEMENTS(mechanism_types), spec->accepts,
			spec->accept_count * sizeof(*role->types));
	role->type_count = ELEMENTS(mechanism_types) + spec->accept_count;
	role->spec = *spec;
	(void)snprintf(role->name, sizeof(role->name), "%s", spec->name);
	role->spec.name = role->name;
	if (spec->nofile == 0)
		role->spec.nofile = ROLE_NOFILE;
	if (spec->max_abandoned == 0)
		role->spec.max_abandoned = ROLE_ABANDONED_DEFAULT;
	if (spec->max_requests == 0)
		role->spec.max_requests = ROLE_REQUESTS_DEFAULT;
	return 0;
}

static int add_sources(struct role *role)
{
	int r;

	r = sd_event_add_time(role->event, &role->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, role);
	if (r < 0)
		return r;
	(void)sd_event_source_set_priority(role->timer, ROLE_PRIORITY);
	r = sd_event_add_defer(role->event, &role->wish, on_wish, role);
	if (r < 0)
		return r;
	(void)sd_event_source_set_enabled(role->timer, SD_EVENT_OFF);
	(void)sd_event_source_set_enabled(role->wish, SD_EVENT_OFF);
	return 0;
}

int role_new(sd_event *event, struct role_spawner *spawner, const struct role_spec *spec,
	struct role **ret)
{
	CLEAN(role_freep) struct role *role = mem_zalloc(sizeof(*role));
	int r;

	if (!role)
		return -ENOMEM;
	TAILQ_INIT(&role->requests);
	role->event = sd_event_ref(event);
	role->spawner = spawner;
	supervise_init(&role->supervise, spec->hello_timeout_ns ?: ROLE_HELLO_NS);
	r = copy_spec(role, spec);
	if (r >= 0)
		r = add_sources(role);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(role);
	return 0;
}

static void drop_start(struct role *role)
{
	for (unsigned i = 0; i < role->start_fd_count; i++)
		role->start_fds[i] = fd_close(role->start_fds[i]);
	role->start_fd_count = 0;
	role->start_payload = mem_free(role->start_payload);
	role->start_len = 0;
}

int role_set_start(
	struct role *role, const void *payload, size_t len, const int *fds, unsigned fd_count)
{
	CLEAN(mem_freep) void *copy = NULL;

	if (len > CHANNEL_PAYLOAD_MAX || fd_count > CHANNEL_FDS_MAX)
		return -EINVAL;
	copy = mem_alloc(len);
	if (!copy)
		return -ENOMEM;
	if (len > 0)
		memcpy(copy, payload, len);
	drop_start(role);
	for (unsigned i = 0; i < fd_count; i++) {
		int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);

		if (fd < 0) {
			int r = -errno;

			drop_start(role);
			return r;
		}
		role->start_fds[role->start_fd_count++] = fd;
	}
	role->start_payload = TAKE_PTR(copy);
	role->start_len = len;
	return 0;
}

int role_start(struct role *role)
{
	role->wish_start = true;
	return sd_event_source_set_enabled(role->wish, SD_EVENT_ONESHOT);
}

void role_stop(struct role *role, uint64_t grace_ns)
{
	role->wish_start = false;
	role->wish_grace_ns = grace_ns;
	(void)sd_event_source_set_enabled(role->wish, SD_EVENT_ONESHOT);
}

struct role *role_free(struct role *role)
{
	struct role_request_entry *q;

	if (!role)
		return NULL;
	role->timer = sd_event_source_disable_unref(role->timer);
	role->wish = sd_event_source_disable_unref(role->wish);
	drop_channel(role);
	while ((q = TAILQ_FIRST(&role->requests)) != NULL)
		request_free(role, q);
	if (role->process)
		process_kill(role->process);
	role->process = process_free(role->process);
	while (role->abandoned_count > 0)
		(void)process_free(role->abandoned[--role->abandoned_count]);
	drop_start(role);
	role->types = mem_free(role->types);
	role->event = sd_event_unref(role->event);
	return mem_free(role);
}

int role_send(struct role *role, uint32_t type, uint64_t id, const void *payload, size_t len,
	const int *fds, unsigned fd_count)
{
	int r;

	if (role->supervise.state != ROLE_RUNNING || !role->channel)
		return -ENOTCONN;
	r = channel_send(role->channel, type, id, payload, len, fds, fd_count);
	role_watch(role);
	return r;
}

int role_request(struct role *role, uint32_t type, const void *payload, size_t len, const int *fds,
	unsigned fd_count, uint64_t timeout_ns, role_answer_fn on_answer, void *userdata)
{
	struct role_request_entry *q;
	int r;

	if (role->request_count >= role->spec.max_requests)
		return -EBUSY;
	q = mem_zalloc(sizeof(*q));
	if (!q)
		return -ENOMEM;
	q->id = ROLE_REQUEST_BIT | ++role->next_id;
	q->due_ns = time_add(clock_now().mono_ns, timeout_ns);
	q->on_answer = on_answer;
	q->userdata = userdata;
	r = role_send(role, type, q->id, payload, len, fds, fd_count);
	if (r < 0) {
		(void)mem_free(q);
		return r;
	}
	TAILQ_INSERT_TAIL(&role->requests, q, entry);
	role->request_count++;
	role_watch(role);
	return 0;
}

void role_forget(struct role *role, void *userdata)
{
	struct role_request_entry *q;

	TAILQ_FOREACH (q, &role->requests, entry)
		if (q->userdata == userdata)
			q->on_answer = NULL;
}

/* statm is made of counters and takes no lock of the process (smaps_rollup may block). */
static uint64_t read_memory(pid_t pid)
{
	char path[48], text[128], *space;
	uint64_t pages;

	(void)snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
	if (fd_read_small(AT_FDCWD, path, text, sizeof(text)) <= 0)
		return 0;
	space = strchr(text, ' ');
	if (!space)
		return 0;
	space[1 + strcspn(space + 1, " \n")] = '\0';
	return str_to_u64(space + 1, &pages) < 0 ? 0 : pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

void role_status(const struct role *role, struct role_status *ret)
{
	pid_t pid = role->process ? process_pid(role->process) : 0;

	*ret = (struct role_status){
		.name = role->name,
		.state = role->supervise.state,
		.reason = role->reason,
		.pid = pid,
		.restarts = role->supervise.starts > 0 ? role->supervise.starts - 1 : 0,
		.stuck = role->supervise.stuck,
		.abandoned = role->abandoned_count,
		.requests = role->request_count,
		.memory_bytes = pid > 0 ? read_memory(pid) : 0,
	};
}
