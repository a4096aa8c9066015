/*
 * The driver: one unix socket, one engine (net/h2.h) while it is connected, one timer.
 *
 * Every way in from the loop goes client_enter() ... client_leave(). Leaving delivers the engine's
 * events, writes what is to be written and recomputes interest and timer; it is the only place that
 * does. The public functions only note what they want and switch the `work` source on, so they
 * never call back (grpc_client_free() excepted).
 *
 * A callback may free the client or cancel any call: so after every callback only `is_freed` may be
 * looked at before anything else, and the memory goes when the outermost client_leave() returns.
 *
 * A call is on `calls` in order of its start, and, until it is late, on `due` in order of deadline.
 * It waits for a connection while `stream` is NULL.
 */
#include "net/grpc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/dial.h"
#include "net/grpc-frames.h"
#include "net/h2.h"

#define GRPC_READ_CHUNK     (32u * 1024)
#define GRPC_READS_PER_TURN 8
/* How long a server that said GOAWAY may take to finish the calls it has. */
#define GRPC_LEAVING_MAX_NS (3 * NSEC_PER_SEC)
/* sd-event may shift a timer by this much to save wakeups; its default is 250 ms. */
#define GRPC_TIMER_ACCURACY_USEC 1000

struct grpc_call {
	struct grpc_client *client;
	struct h2_stream *stream; /* NULL: waits for a connection */
	TAILQ_ENTRY(grpc_call) all, by_due;
	uint64_t number; /* of the client's calls, ascending */
	bool is_due;     /* on client->due */
	bool is_late;
	bool is_queued; /* waited while the server's backlog was full */
	bool is_done;   /* on_done is running */

	const char *path;
	const struct grpc_callbacks *callbacks;
	void *userdata;
	struct buf frame; /* the request as it goes out */
	size_t max_message_bytes;
	bool is_stream;
	char *containerd_namespace;
	uint64_t started_ns, due_ns;
};

TAILQ_HEAD(grpc_call_list, grpc_call);

struct grpc_client {
	sd_event *loop;
	sd_event_source *work;  /* runs at once: something was started or is to be written */
	sd_event_source *timer; /* the earliest of deadline, dial and end of leaving */
	sd_event_source *io;    /* while connected */
	uint32_t interest;      /* of io */
	uint64_t armed_ns;      /* of timer; NSEC_NEVER while it is off */
	char *path;
	struct dial_address address;
	int fd;
	int32_t peer_pid; /* 0: not known */
	struct h2 *h2;

	enum grpc_link link;
	uint64_t dial_ns;    /* when to dial next; NSEC_NEVER while connected */
	uint64_t leaving_ns; /* when a connection that got GOAWAY is closed; else NSEC_NEVER */
	uint64_t backoff_ns;
	bool is_blocked; /* the socket took no more: wait for EPOLLOUT */
	int send_error;  /* negative errno; reading goes on, there may be answers left */
	bool has_input;  /* the server sent at least one byte on this connection */
	unsigned depth;  /* entered and not left */
	bool is_freed;   /* by its owner; the memory goes at depth 0 */

	struct grpc_call_list calls, due;
	uint64_t call_count, late_count, next_number;
	enum grpc_outcome last_failure;
	uint64_t connects, losses, bytes_in, bytes_out;
};

static void client_lost(
	struct grpc_client *c, enum grpc_outcome outcome, int err_code, const char *text);

const char *grpc_outcome_text(enum grpc_outcome outcome)
{
	switch (outcome) {
	case GRPC_OK: return "Answered";
	case GRPC_STATUS: return "Answered with an error";
	case GRPC_NO_SOCKET: return "There is no socket";
	case GRPC_REFUSED: return "Connection refused";
	case GRPC_SILENT: return "The server never sent a byte";
	case GRPC_UNREACHABLE: return "Could not connect";
	case GRPC_LOST: return "Connection lost";
	case GRPC_TOO_LARGE: return "Message too large";
	case GRPC_MALFORMED: return "Not HTTP/2 or not gRPC";
	case GRPC_CANCELLED: return "Cancelled";
	}
	return "Unknown";
}

static const char *link_text(enum grpc_link link)
{
	switch (link) {
	case GRPC_LINK_IDLE: return "idle";
	case GRPC_LINK_CONNECTING: return "connecting";
	case GRPC_LINK_OPENING: return "opening";
	case GRPC_LINK_UP: return "up";
	}
	return "unknown";
}

static void client_set_link(struct grpc_client *c, enum grpc_link link)
{
	if (c->link == link)
		return;
	log_debug("gRPC link", "endpoint", c->path, "from", link_text(c->link), "to",
		link_text(link), NULL);
	c->link = link;
}

/* --- calls --- */

static struct grpc_call *call_free(struct grpc_call *call)
{
	if (!call)
		return NULL;
	buf_done(&call->frame);
	call->containerd_namespace = mem_free(call->containerd_namespace);
	return mem_free(call);
}

DEFINE_FREEP(struct grpc_call *, call_free)

static void call_link(struct grpc_call *call)
{
	struct grpc_client *c = call->client;
	struct grpc_call *before;

	TAILQ_INSERT_TAIL(&c->calls, call, all);
	c->call_count++;
	if (call->due_ns == NSEC_NEVER)
		return;
	/* Deadlines are mostly alike, so the place is at or near the end. */
	TAILQ_FOREACH_REVERSE(before, &c->due, grpc_call_list, by_due)
	if (before->due_ns <= call->due_ns)
		break;
	if (before)
		TAILQ_INSERT_AFTER(&c->due, before, call, by_due);
	else
		TAILQ_INSERT_HEAD(&c->due, call, by_due);
	call->is_due = true;
}

static void call_leave_due(struct grpc_call *call)
{
	if (!call->is_due)
		return;
	TAILQ_REMOVE(&call->client->due, call, by_due);
	call->is_due = false;
}

static void call_unlink(struct grpc_call *call)
{
	struct grpc_client *c = call->client;

	call_leave_due(call);
	TAILQ_REMOVE(&c->calls, call, all);
	c->call_count--;
	if (call->is_late)
		c->late_count--;
}

/* Tells the end; the call is gone afterwards, and the client may be doomed. */
static void call_finish(struct grpc_call *call, const struct h2_event *end)
{
	struct grpc_result result = {
		.outcome = end->outcome,
		.err_code = end->err_code,
		.status = end->status,
		.message = end->message,
		.body = end->body,
		.body_len = end->body_len,
		.elapsed_ns = time_since(clock_now().mono_ns, call->started_ns),
		.was_late = call->is_late,
	};

	call_unlink(call);
	call->is_done = true;
	call->callbacks->on_done(call->userdata, &result);
	(void)call_free(call);
}

static void call_fail(
	struct grpc_call *call, enum grpc_outcome outcome, int err_code, const char *text)
{
	const struct h2_event end = {
		.outcome = outcome,
		.err_code = err_code,
		.message = text,
	};

	call_finish(call, &end);
}

/* Puts the call on the connection: 0, -ENOMEM, or -ESTALE when it has to wait for the next one. */
static int call_submit(struct grpc_call *call)
{
	const struct h2_request request = {
		.path = call->path,
		.frame = call->frame.data,
		.frame_len = call->frame.len,
		.max_message_bytes = call->max_message_bytes,
		.is_stream = call->is_stream,
		.containerd_namespace = call->containerd_namespace,
		.userdata = call,
	};

	return h2_start(call->client->h2, &request, &call->stream);
}

/* Delivers what the engine has to tell. `h2` is not always c->h2: a lost one tells its ends too. */
static void client_deliver(struct grpc_client *c, struct h2 *h2)
{
	struct h2_event event;

	while (!c->is_freed && h2_next_event(h2, &event)) {
		struct grpc_call *call = event.userdata;

		switch (event.type) {
		case H2_EVENT_MESSAGE:
			if (call->callbacks->on_message)
				call->callbacks->on_message(
					call->userdata, event.body, event.body_len);
			break;
		case H2_EVENT_END:
			call->stream = NULL;
			call_finish(call, &event);
			break;
		}
	}
}

/* Ends the calls that wait for a connection; those that callbacks start now wait for the next. */
static void client_fail_waiting(
	struct grpc_client *c, enum grpc_outcome outcome, int err_code, const char *text)
{
	uint64_t limit = c->next_number;
	struct grpc_call *call;

	while (!c->is_freed && (call = TAILQ_FIRST(&c->calls)) && call->number < limit) {
		if (call->is_queued)
			call_fail(call, GRPC_SILENT, -ETIMEDOUT,
				"The server accepted no connection and then went away");
		else
			call_fail(call, outcome, err_code, text);
	}
}

/* --- the connection --- */

static void client_close(struct grpc_client *c)
{
	c->io = sd_event_source_disable_unref(c->io);
	c->fd = fd_close(c->fd);
	c->interest = 0;
	c->is_blocked = c->has_input = false;
	c->send_error = 0;
	c->leaving_ns = NSEC_NEVER;
}

static void client_dial_later(struct grpc_client *c)
{
	c->dial_ns = time_add(clock_now().mono_ns, dial_backoff_next(&c->backoff_ns));
}

/* The connection is over; its calls end. May free the client through a callback. */
static void client_lost(
	struct grpc_client *c, enum grpc_outcome outcome, int err_code, const char *text)
{
	struct h2 *h2 = TAKE_PTR(c->h2);

	client_close(c);
	c->losses++;
	c->last_failure = outcome;
	client_set_link(c, GRPC_LINK_IDLE);
	client_dial_later(c);
	h2_end_all(h2, outcome, err_code, text);
	client_deliver(c, h2);
	(void)h2_free(h2);
}

static void client_lost_by_error(struct grpc_client *c, int err_code)
{
	const char *trouble = h2_trouble(c->h2);
	char text[192];

	if (!c->has_input) {
		client_lost(c, GRPC_SILENT, -ETIMEDOUT,
			"The server accepted the connection and ended it without a byte");
		return;
	}
	(void)snprintf(text, sizeof(text), "Connection lost: %s%s%s",
		err_code == 0 ? "end of file" : err_text(NULL, err_code), trouble[0] ? "; " : "",
		trouble);
	client_lost(c, GRPC_LOST, err_code == 0 ? -ECONNRESET : err_code, text);
}

static void client_lost_by_engine(struct grpc_client *c, int r)
{
	char text[192];

	if (r != -EPROTO) {
		client_lost(c, GRPC_LOST, r, err_text(NULL, r));
		return;
	}
	(void)snprintf(text, sizeof(text), "Not HTTP/2: %s", h2_trouble(c->h2));
	client_lost(c, GRPC_MALFORMED, -EPROTO, text);
}

/* Bytes read, 0 at the end of the connection, or a negative errno. */
static ssize_t client_recv(struct grpc_client *c, uint8_t *chunk, size_t size)
{
	ssize_t n;

	if (fault_is_due(FAULT_READ))
		return -EIO;
	do
		n = recv(c->fd, chunk, size, 0);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Reads a bounded amount, so that one busy connection cannot keep the loop from the others. */
static void client_read(struct grpc_client *c)
{
	uint8_t chunk[GRPC_READ_CHUNK];

	for (unsigned i = 0; i < GRPC_READS_PER_TURN; i++) {
		ssize_t n = client_recv(c, chunk, sizeof(chunk));
		int r;

		if (n == -EAGAIN) {
			/* Nothing is left to read and nothing can be written: it is over. */
			if (c->send_error < 0)
				client_lost_by_error(c, c->send_error);
			return;
		}
		if (n <= 0) {
			client_lost_by_error(c, (int)n);
			return;
		}
		c->has_input = true;
		c->bytes_in += (uint64_t)n;
		r = h2_feed(c->h2, chunk, (size_t)n);
		if (r < 0) {
			client_lost_by_engine(c, r);
			return;
		}
		if (h2_is_up(c->h2) && c->link == GRPC_LINK_OPENING) {
			client_set_link(c, GRPC_LINK_UP);
			c->backoff_ns = 0;
		}
		client_deliver(c, c->h2);
		if (c->is_freed || ((size_t)n < sizeof(chunk) && c->send_error == 0))
			return;
	}
}

static void client_write(struct grpc_client *c)
{
	while (!c->is_blocked && c->send_error == 0) {
		const uint8_t *data;
		size_t len;
		ssize_t n;
		int r = h2_output(c->h2, &data, &len);

		if (r < 0) {
			client_lost_by_engine(c, r);
			return;
		}
		if (len == 0)
			return;
		n = fault_is_due(FAULT_WRITE) ? (errno = EPIPE, -1)
					      : send(c->fd, data, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			c->is_blocked = true;
		} else if (n < 0) {
			c->send_error = -errno;
			client_read(c);
			return;
		} else {
			c->bytes_out += (uint64_t)n;
			h2_wrote(c->h2, (size_t)n);
		}
	}
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata);

static void client_submit_waiting(struct grpc_client *c)
{
	uint64_t limit = c->next_number;
	struct grpc_call *call, *next;

	for (call = TAILQ_FIRST(&c->calls); call && call->number < limit; call = next) {
		int r = call_submit(call);

		call->is_queued = false;
		next = TAILQ_NEXT(call, all);
		if (r == -ESTALE)
			return;
		if (r < 0) {
			/* Its callback may cancel or free any other; begin anew behind it. */
			uint64_t number = call->number;

			call_fail(call, GRPC_LOST, r, err_text(NULL, r));
			if (c->is_freed)
				return;
			TAILQ_FOREACH (next, &c->calls, all)
				if (next->number > number)
					break;
		}
	}
}

static int32_t peer_of(int fd)
{
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 ? peer.pid : 0;
}

static void client_connected(struct grpc_client *c, int fd)
{
	int r;

	c->fd = fd;
	c->peer_pid = peer_of(fd);
	r = h2_new(&c->h2);
	if (r >= 0) {
		c->interest = EPOLLIN;
		r = sd_event_add_io(c->loop, &c->io, fd, c->interest, on_io, c);
	}
	if (r < 0) {
		c->h2 = h2_free(c->h2);
		client_close(c);
		c->last_failure = GRPC_UNREACHABLE;
		client_set_link(c, GRPC_LINK_IDLE);
		client_dial_later(c);
		client_fail_waiting(c, GRPC_UNREACHABLE, r, err_text(NULL, r));
		return;
	}
	(void)sd_event_source_set_description(c->io, "grpc-io");
	c->dial_ns = NSEC_NEVER;
	c->connects++;
	client_set_link(c, GRPC_LINK_OPENING);
	client_submit_waiting(c);
}

static void client_dial_failed(struct grpc_client *c, enum grpc_outcome outcome, int err_code)
{
	char text[192];

	c->last_failure = outcome;
	client_set_link(c, GRPC_LINK_IDLE);
	(void)snprintf(text, sizeof(text), "Connect to %s: %s", c->path, err_text(NULL, err_code));
	client_fail_waiting(c, outcome, err_code, text);
}

static void client_dial(struct grpc_client *c)
{
	struct grpc_call *call;
	int err_code = 0, fd = -EBADF;

	client_set_link(c, GRPC_LINK_CONNECTING);
	client_dial_later(c);
	switch (dial_start(&c->address, &fd, &err_code)) {
	case DIAL_CONNECTED:
	case DIAL_PENDING: /* Never on a unix socket; if so, it is writable in a moment. */
		client_connected(c, fd);
		break;
	case DIAL_NO_SOCKET: client_dial_failed(c, GRPC_NO_SOCKET, err_code); break;
	case DIAL_REFUSED: client_dial_failed(c, GRPC_REFUSED, err_code); break;
	case DIAL_UNREACHABLE: client_dial_failed(c, GRPC_UNREACHABLE, err_code); break;
	case DIAL_BACKLOG_FULL:
		/* Somebody has the socket and does not accept: the calls wait on, and get late. */
		c->last_failure = GRPC_SILENT;
		TAILQ_FOREACH (call, &c->calls, all)
			call->is_queued = true;
		break;
	}
}

/* --- the loop --- */

static void client_enter(struct grpc_client *c)
{
	c->depth++;
}

static struct grpc_client *client_release(struct grpc_client *c)
{
	c->h2 = h2_free(c->h2);
	c->path = mem_free(c->path);
	return mem_free(c);
}

static void client_watch(struct grpc_client *c)
{
	uint32_t interest = EPOLLIN;

	/* After a failed write the next turn must come, even if nothing is left to read. */
	if (c->is_blocked || c->send_error < 0)
		interest |= EPOLLOUT;
	if (!c->io || interest == c->interest)
		return;
	if (sd_event_source_set_io_events(c->io, interest) >= 0)
		c->interest = interest;
}

/* Only moves the timer forward in time: a wakeup too many now and then is cheaper than setting it
 * for each call that ends. */
static void client_arm(struct grpc_client *c)
{
	struct grpc_call *first = TAILQ_FIRST(&c->due);
	uint64_t next_ns = time_min(c->dial_ns, c->leaving_ns);

	if (first)
		next_ns = time_min(next_ns, first->due_ns);
	if (next_ns >= c->armed_ns)
		return;
	if (sd_event_source_set_time(c->timer, next_ns / NSEC_PER_USEC + 1) >= 0 &&
		sd_event_source_set_enabled(c->timer, SD_EVENT_ONESHOT) >= 0)
		c->armed_ns = next_ns;
}

/* A connection that got GOAWAY is left when its calls have ended, or after a while. */
static void client_check_leaving(struct grpc_client *c)
{
	char text[192];

	if (!h2_is_leaving(c->h2))
		return;
	if (h2_stream_count(c->h2) == 0 || clock_now().mono_ns >= c->leaving_ns) {
		(void)snprintf(text, sizeof(text), "Connection given up: %s", h2_trouble(c->h2));
		client_lost(c, GRPC_LOST, -ECONNRESET, text);
	} else if (c->leaving_ns == NSEC_NEVER) {
		c->leaving_ns = time_add(clock_now().mono_ns, GRPC_LEAVING_MAX_NS);
	}
}

/* The one place where events are delivered, output is written and interest is recomputed. */
static void client_leave(struct grpc_client *c)
{
	while (!c->is_freed && c->h2) {
		client_deliver(c, c->h2);
		if (!c->is_freed)
			client_write(c);
		if (!c->is_freed && c->h2)
			client_check_leaving(c);
		if (c->is_freed || !c->h2 || !h2_has_event(c->h2))
			break;
	}
	if (!c->is_freed) {
		client_watch(c);
		client_arm(c);
	}
	if (--c->depth == 0 && c->is_freed)
		(void)client_release(c);
}

static void client_wake(struct grpc_client *c)
{
	/* From inside, client_leave() is still to come. */
	if (c->depth == 0)
		(void)sd_event_source_set_enabled(c->work, SD_EVENT_ONESHOT);
}

static int on_work(sd_event_source *source, void *userdata)
{
	struct grpc_client *c = userdata;

	client_enter(c);
	if (clock_now().mono_ns >= c->dial_ns)
		client_dial(c);
	client_leave(c);
	return 0;
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct grpc_client *c = userdata;

	client_enter(c);
	if (events & EPOLLOUT)
		c->is_blocked = false;
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) || c->send_error < 0)
		client_read(c);
	client_leave(c);
	return 0;
}

static void client_tell_late(struct grpc_client *c, uint64_t now_ns)
{
	struct grpc_call *call;

	while (!c->is_freed && (call = TAILQ_FIRST(&c->due)) && call->due_ns <= now_ns) {
		call_leave_due(call);
		call->is_late = true;
		c->late_count++;
		if (call->callbacks->on_late)
			call->callbacks->on_late(call->userdata);
	}
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct grpc_client *c = userdata;
	uint64_t now_ns = clock_now().mono_ns;

	client_enter(c);
	c->armed_ns = NSEC_NEVER;
	client_tell_late(c, now_ns);
	if (!c->is_freed && now_ns >= c->dial_ns)
		client_dial(c);
	client_leave(c);
	return 0;
}

/* --- public --- */

static int client_add_sources(struct grpc_client *c)
{
	int r = sd_event_add_defer(c->loop, &c->work, on_work, c);

	if (r < 0)
		return r;
	(void)sd_event_source_set_description(c->work, "grpc-work");
	r = sd_event_add_time(c->loop, &c->timer, CLOCK_MONOTONIC, UINT64_MAX,
		GRPC_TIMER_ACCURACY_USEC, on_timer, c);
	if (r < 0)
		return r;
	(void)sd_event_source_set_description(c->timer, "grpc-timer");
	return sd_event_source_set_enabled(c->timer, SD_EVENT_OFF);
}

int grpc_client_new(sd_event *loop, const char *path, struct grpc_client **ret, struct err *reterr)
{
	struct dial_address address;
	struct grpc_client *c;
	int r = dial_address_unix(&address, path, reterr);

	if (r < 0)
		return r;
	c = mem_zalloc(sizeof(*c));
	if (!c)
		return err_set(reterr, -ENOMEM, "Out of memory for a client of %s", path);
	TAILQ_INIT(&c->calls);
	TAILQ_INIT(&c->due);
	c->fd = -EBADF;
	c->loop = sd_event_ref(loop);
	c->address = address;
	c->armed_ns = c->leaving_ns = NSEC_NEVER;
	c->path = mem_strdup(path);
	r = c->path ? client_add_sources(c) : -ENOMEM;
	if (r < 0) {
		(void)grpc_client_free(c);
		return err_wrap(reterr, r, "Make a client of %s", path);
	}
	*ret = c;
	return 0;
}

struct grpc_client *grpc_client_free(struct grpc_client *c)
{
	struct grpc_call *call;

	if (!c || c->is_freed)
		return NULL;
	c->is_freed = true;
	c->depth++;
	c->work = sd_event_source_disable_unref(c->work);
	c->timer = sd_event_source_disable_unref(c->timer);
	client_close(c);
	while ((call = TAILQ_FIRST(&c->calls)))
		call_fail(call, GRPC_CANCELLED, -ECANCELED, "The client was closed");
	c->loop = sd_event_unref(c->loop);
	if (--c->depth == 0)
		(void)client_release(c);
	return NULL;
}

static int call_new(
	struct grpc_client *c, const struct grpc_request *request, struct grpc_call **ret)
{
	CLEAN(call_freep) struct grpc_call *call = mem_zalloc(sizeof(*call));
	int r;

	if (!call)
		return -ENOMEM;
	call->client = c;
	call->path = request->path;
	call->callbacks = request->callbacks;
	call->userdata = request->userdata;
	call->max_message_bytes =
		request->max_message_bytes ? request->max_message_bytes : GRPC_MESSAGE_MAX;
	call->is_stream = request->is_stream;
	call->started_ns = clock_now().mono_ns;
	call->due_ns = request->deadline_ns ? time_add(call->started_ns, request->deadline_ns)
					    : NSEC_NEVER;
	call->frame = BUF_INIT(GRPC_FRAME_HEAD_BYTES + GRPC_MESSAGE_MAX);
	r = grpc_frames_write(&call->frame, request->body, request->body_len);
	if (r < 0)
		return r;
	if (request->containerd_namespace) {
		call->containerd_namespace = mem_strdup(request->containerd_namespace);
		if (!call->containerd_namespace)
			return -ENOMEM;
	}
	*ret = TAKE_PTR(call);
	return 0;
}

int grpc_call_start(
	struct grpc_client *c, const struct grpc_request *request, struct grpc_call **ret_call)
{
	CLEAN(call_freep) struct grpc_call *call = NULL;
	int r;

	if (c->is_freed)
		return -ESHUTDOWN;
	if (c->call_count >= GRPC_CALLS_MAX)
		return -EBUSY;
	r = call_new(c, request, &call);
	if (r < 0)
		return r;
	if (c->h2) {
		r = call_submit(call);
		if (r < 0 && r != -ESTALE)
			return r;
	}
	call->number = c->next_number++;
	call_link(call);
	client_wake(c);
	if (ret_call)
		*ret_call = call;
	call = NULL;
	return 0;
}

void grpc_call_cancel(struct grpc_call *call)
{
	struct grpc_client *c;

	if (!call || call->is_done)
		return;
	c = call->client;
	if (call->stream)
		h2_cancel(call->stream);
	call_unlink(call);
	(void)call_free(call);
	if (!c->is_freed)
		client_wake(c);
}

void grpc_client_stats(const struct grpc_client *c, struct grpc_client_stats *ret)
{
	*ret = (struct grpc_client_stats){
		.link = c->link,
		.last_failure = c->last_failure,
		.connects = c->connects,
		.losses = c->losses,
		.calls_open = c->call_count,
		.calls_late = c->late_count,
		.bytes_in = c->bytes_in,
		.bytes_out = c->bytes_out,
		.peer_pid = c->fd >= 0 ? c->peer_pid : 0,
	};
}
