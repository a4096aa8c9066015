/*
 * The agent's side of the control socket.
 *
 * A client is in one of four states: it sends its request, it reads old events (past.c), it reads a
 * stream, or what is in its buffer is all it gets. After every step interest is recomputed in one place. A stream is a cursor
 * of src/sync: its buffer is filled only while there is room in it, so a reader that stands still
 * holds stream_bytes of memory and, later, learns how many events it missed.
 *
 * Freeing a client is the last thing any function does with it; those that may do so return false.
 */
#include "control/control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/listen.h"
#include "control/server-internal.h"
#include "sync/sync.h"

#define ACCEPTS_PER_TURN  16
#define WRITE_PER_TURN    (1u << 20) /* a fast reader must not hold the loop */
#define EVENTS_PER_TURN   1024
#define ACCEPT_PAUSE_NS   NSEC_PER_SEC /* when the system is out of descriptors */
#define TIMER_ACCURACY_US 50000
#define KEEP_BYTES        65536 /* of an empty buffer */

/* ---- clients ----------------------------------------------------------------------------- */

static struct client *client_free(struct client *c)
{
	if (!c)
		return NULL;
	if (c->server) {
		TAILQ_REMOVE(&c->server->clients, c, link);
		c->server->stats.clients--;
		if (c->subscriber || c->past_only)
			c->server->stats.streams--;
	}
	(void)sd_event_source_disable_unref(c->io);
	(void)sd_event_source_disable_unref(c->timer);
	past_done(c);
	(void)sync_unsubscribe(c->subscriber);
	c->fd = fd_close(c->fd);
	buf_done(&c->in);
	buf_done(&c->out);
	return mem_free(c);
}
DEFINE_FREEP(struct client *, client_free)

static bool client_has_output(const struct client *c)
{
	return c->out.len > c->out_at;
}

static void client_arm_timer(struct client *c, uint64_t after_ns)
{
	if (after_ns == NSEC_NEVER) {
		(void)sd_event_source_set_enabled(c->timer, SD_EVENT_OFF);
		return;
	}
	(void)sd_event_source_set_time_relative(c->timer, after_ns / NSEC_PER_USEC);
	(void)sd_event_source_set_enabled(c->timer, SD_EVENT_ONESHOT);
}

void client_set_state(struct client *c, enum client_state state)
{
	c->state = state;
	switch (state) {
	case CLIENT_REQUEST: client_arm_timer(c, c->server->limits.request_timeout_ns); break;
	case CLIENT_PAST:
	case CLIENT_STREAM: client_arm_timer(c, NSEC_NEVER); break;
	case CLIENT_LAST: client_arm_timer(c, c->server->limits.stall_timeout_ns); break;
	}
}

static int append_json(const char *text, size_t len, void *out)
{
	return buf_append(out, text, len);
}

/* The error line; the client gets nothing behind it. */
void client_refuse(struct client *c, int code, const char *text)
{
	const char *name = strerrorname_np(-code);
	char clean[sizeof(((struct err *)0)->text)];
	json_t *line;

	(void)str_clean(clean, sizeof(clean), text, strlen(text));
	line = json_pack("{s:i, s:b, s:{s:s, s:s}}", "protocol", CONTROL_PROTOCOL, "ok", 0, "error",
		"code", name ? name : "EIO", "message", clean);
	if (line) {
		(void)json_dump_callback(line, append_json, &c->out, JSON_COMPACT);
		(void)buf_append_string(&c->out, "\n");
		json_decref(line);
	}
	client_set_state(c, CLIENT_LAST);
}

/* ---- streams ----------------------------------------------------------------------------- */

static int stream_put_event(struct client *c, const struct event *event)
{
	size_t before = c->out.len;
	int r = c->server->ops.event(event, sync_loop_epoch(c->server->events), &c->out);

	if (r >= 0)
		r = buf_append_string(&c->out, "\n");
	if (r < 0)
		c->out.len = before; /* No half line. */
	else
		c->server->stats.events_written++;
	return r;
}

static int stream_put_missed(struct client *c, uint64_t missed)
{
	c->server->stats.events_missed += missed;
	return buf_printf(&c->out, "{\"missed\":%llu,\"epoch\":\"%s\"}\n",
		(unsigned long long)missed, sync_loop_epoch(c->server->events));
}

/* Moves events into the buffer while there is room. True if more are to be had. */
static bool stream_fill(struct client *c)
{
	buf_consume(&c->out, c->out_at);
	c->out_at = 0;
	for (unsigned i = 0; i < EVENTS_PER_TURN; i++) {
		const struct event *event;
		uint64_t missed;
		int r = 0;

		if (c->out.len >= c->server->limits.stream_bytes)
			return true;
		switch (sync_next(c->subscriber, &event, &missed)) {
		case SYNC_NONE:
			if (!c->follow)
				client_set_state(c, CLIENT_LAST);
			return false;
		case SYNC_MISSED: r = stream_put_missed(c, missed); break;
		case SYNC_EVENT:
			if (!c->follow && event->sequence > c->end) {
				client_set_state(c, CLIENT_LAST);
				return false;
			}
			if (event->sequence <= c->end && event->observed_at_ns < c->since_ns)
				continue;
			r = stream_put_event(c, event);
			break;
		}
		if (r < 0) {
			/* The cursor has moved on: a stream with a hole in it is not gone on with.
			 */
			client_set_state(c, CLIENT_LAST);
			return false;
		}
	}
	return true;
}

static uint64_t stream_start(const struct control_server *s, const struct control_request *request,
	const struct sync_filter *filter)
{
	uint64_t from = 0;

	if (request->from != CONTROL_FROM_UNSET) {
		from = request->from > 0 ? request->from : 1;
		if (request->epoch && !str_eq(request->epoch, sync_loop_epoch(s->events)))
			from = 1; /* A number of another run: everything of this one is new. */
	}
	if (request->tail != CONTROL_TAIL_UNSET) {
		uint64_t next = sync_loop_last(s->events) + 1;
		uint64_t tail = request->tail ? sync_tail(s->events, filter, request->tail) : next;

		return tail > from ? tail : from;
	}
	return from > 0 || request->follow ? from : 1;
}

int client_begin_stream(struct client *c, const char *journal)
{
	const struct sync_loop *events = c->server->events;
	json_t *line = json_pack("{s:i, s:b, s:{s:s, s:I}}", "protocol", CONTROL_PROTOCOL, "ok", 1,
		"result", "epoch", sync_loop_epoch(events), "last", (json_int_t)c->end);
	int r = line ? 0 : -ENOMEM;

	if (line && (!journal || journal[0] != '\0'))
		(void)json_object_set_new(json_object_get(line, "result"), "journal",
			journal ? json_string(journal) : json_null());
	if (line && json_dump_callback(line, append_json, &c->out, JSON_COMPACT) < 0)
		r = -ENOMEM;
	json_decref(line);
	return r < 0 ? r : buf_append_string(&c->out, "\n");
}

/* Who has read some of this epoch goes on there; what is older was read before. */
static bool wants_past(const struct control_server *s, const struct control_request *request)
{
	return request->since_ns != 0 &&
		(request->from == CONTROL_FROM_UNSET ||
			!str_eq(str_or_empty(request->epoch), sync_loop_epoch(s->events)));
}

/* Incidents count, too: whoever does not read them keeps the journal's answers here. */
static bool refuse_over_limit(struct client *c)
{
	struct control_server *s = c->server;

	if (s->stats.streams < s->limits.streams_max)
		return false;
	s->stats.refused++;
	client_refuse(c, -EBUSY, FMT("%u streams are open already; close one", s->stats.streams));
	return true;
}

static void answer_events(struct client *c, const struct control_request *request)
{
	struct control_server *s = c->server;
	const struct sync_filter filter = { .kubelet_only = request->kubelet,
		.namespace = request->namespace,
		.pod = request->pod,
		.container = request->container };
	int r;

	if (refuse_over_limit(c))
		return;
	r = sync_subscribe(s->events, &filter, stream_start(s, request, &filter), &c->subscriber);
	if (r < 0) {
		client_refuse(c, r, FMT("Cannot subscribe: %s", strerror(-r)));
		return;
	}
	s->stats.streams++;
	c->follow = request->follow;
	c->end = sync_loop_last(s->events);
	if (wants_past(s, request)) {
		c->since_ns = request->since_ns;
		past_begin(c, request);
		return;
	}
	(void)client_begin_stream(c, "");
	client_set_state(c, CLIENT_STREAM);
}

static void answer_incidents(struct client *c, const struct control_request *request)
{
	if (refuse_over_limit(c))
		return;
	c->server->stats.streams++;
	c->past_only = true;
	past_begin(c, request);
}

/* ---- documents --------------------------------------------------------------------------- */

static int version_document(const struct control_server *s, struct buf *out)
{
	return buf_printf(out, "{\"version\":\"%s\",\"protocol\":%d,\"pid\":%d,\"epoch\":\"%s\"}",
		PLEG_VERSION, CONTROL_PROTOCOL, (int)getpid(), sync_loop_epoch(s->events));
}

static int fill_document(struct control_server *s, enum control_request_type type, struct buf *out)
{
	switch (type) {
	case CONTROL_STATUS: return s->ops.status(s->userdata, out);
	case CONTROL_PODS: return s->ops.pods(s->userdata, out);
	case CONTROL_VERSION: return version_document(s, out);
	case CONTROL_EVENTS:
	case CONTROL_INCIDENTS: break;
	}
	return -EINVAL;
}

static size_t output_waiting(const struct control_server *s)
{
	const struct client *c;
	size_t sum = 0;

	TAILQ_FOREACH (c, &s->clients, link)
		sum += c->out.len - c->out_at;
	return sum;
}

static void answer_document(struct client *c, enum control_request_type type)
{
	static const char tail[] = "}\n";
	int r;

	if (output_waiting(c->server) >= c->server->limits.output_bytes) {
		c->server->stats.refused++;
		client_refuse(c, -EBUSY, "Too much is waiting for slow readers; try again");
		return;
	}
	c->out.max_bytes = CONTROL_DOCUMENT_MAX - strlen(tail);
	r = buf_printf(&c->out, "{\"protocol\":%d,\"ok\":true,\"result\":", CONTROL_PROTOCOL);
	if (r >= 0)
		r = fill_document(c->server, type, &c->out);
	c->out.max_bytes = CONTROL_DOCUMENT_MAX;
	if (r >= 0)
		r = buf_append_string(&c->out, tail);
	if (r >= 0) {
		client_set_state(c, CLIENT_LAST);
		return;
	}
	buf_clear(&c->out);
	client_refuse(c, r,
		FMT("Cannot make the %s document: %s", control_request_text(type), strerror(-r)));
}

/* ---- requests ---------------------------------------------------------------------------- */

static void client_answer(struct client *c, const char *line, size_t len)
{
	struct control_request request;
	struct err err = { 0 };
	int r = control_request_parse(line, len, &request, &err);

	if (r < 0) {
		c->server->stats.malformed++;
		client_refuse(c, r, err_text(&err, r));
		return;
	}
	c->server->stats.requests++;
	if (request.type == CONTROL_EVENTS)
		answer_events(c, &request);
	else if (request.type == CONTROL_INCIDENTS)
		answer_incidents(c, &request);
	else
		answer_document(c, request.type);
	control_request_done(&request);
}

static ssize_t client_receive(struct client *c, void *data, size_t size)
{
	ssize_t n = fault_is_due(FAULT_READ) ? (errno = EIO, -1) : recv(c->fd, data, size, 0);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : -errno;
	if (n == 0)
		c->input_closed = true;
	return n;
}

/* False: the client is gone. */
static bool client_read_request(struct client *c)
{
	char data[4096];
	ssize_t n = client_receive(c, data, sizeof(data));
	const char *newline;

	if (n == -EAGAIN)
		return true;
	if (n < 0 || (n == 0 && c->in.len == 0)) {
		(void)client_free(
			c); /* Gone without a word, as who only wants to see if we live. */
		return false;
	}
	if (n == 0 || buf_append(&c->in, data, (size_t)n) < 0) {
		c->server->stats.malformed++;
		client_refuse(c, n == 0 ? -EBADMSG : -EMSGSIZE,
			n == 0 ? "The request ends without a newline"
			       : "The request is over 64 KiB");
		return true;
	}
	newline = memchr(c->in.data, '\n', c->in.len);
	if (newline) {
		client_answer(c, (const char *)c->in.data, (size_t)(newline - (char *)c->in.data));
		buf_done(&c->in);
	}
	return true;
}

/* What comes behind the request means nothing; it is taken so that our close is no reset. */
static bool client_discard(struct client *c)
{
	char data[4096];
	ssize_t n = client_receive(c, data, sizeof(data));

	if (n >= 0 || n == -EAGAIN)
		return true;
	(void)client_free(c);
	return false;
}

/* ---- writing ----------------------------------------------------------------------------- */

/* Bytes written, 0 if there is no room, or the errno of a client that is gone. */
static ssize_t client_write_some(struct client *c)
{
	ssize_t n = fault_is_due(FAULT_WRITE)
		? (errno = EPIPE, -1)
		: send(c->fd, c->out.data + c->out_at, c->out.len - c->out_at,
			  MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	c->out_at += (size_t)n;
	if (c->out_at == c->out.len) {
		buf_clear(&c->out);
		buf_shrink(&c->out, KEEP_BYTES);
		c->out_at = 0;
	}
	return n;
}

bool client_step(struct client *c)
{
	size_t written = 0;
	bool more = false;

	while (written < WRITE_PER_TURN) {
		ssize_t n;

		if (c->state == CLIENT_PAST && !client_has_output(c))
			past_go_on(c);
		if (c->state == CLIENT_STREAM)
			more = stream_fill(c);
		if (!client_has_output(c))
			break;
		n = client_write_some(c);
		if (n < 0) {
			(void)client_free(c);
			return false;
		}
		if (n == 0)
			break;
		written += (size_t)n;
		if (c->state == CLIENT_LAST)
			client_arm_timer(c, c->server->limits.stall_timeout_ns);
	}
	if (c->state == CLIENT_LAST && !client_has_output(c)) {
		(void)client_free(c);
		return false;
	}
	(void)sd_event_source_set_io_events(c->io,
		(c->input_closed ? 0 : EPOLLIN) | (client_has_output(c) || more ? EPOLLOUT : 0));
	return true;
}

static int client_on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct client *c = userdata;
	bool here = true;

	(void)source;
	(void)fd;
	if (revents & (EPOLLHUP | EPOLLERR)) {
		(void)client_free(c); /* Nobody is left to read. */
		return 0;
	}
	if (revents & EPOLLIN)
		here = c->state == CLIENT_REQUEST ? client_read_request(c) : client_discard(c);
	if (here)
		(void)client_step(c);
	return 0;
}

static int client_on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct client *c = userdata;

	(void)source;
	(void)usec;
	c->server->stats.timeouts++;
	if (c->state != CLIENT_REQUEST) {
		log_debug("Control client does not take its answer, closing it", NULL);
		(void)client_free(c);
		return 0;
	}
	client_refuse(c, -ETIMEDOUT, "No request came in time");
	(void)client_step(c);
	return 0;
}

/* ---- accepting --------------------------------------------------------------------------- */

static int client_new(struct control_server *s, int *fd, struct client **ret)
{
	CLEAN(client_freep) struct client *c = mem_zalloc(sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->fd = TAKE_FD(*fd);
	c->in = BUF_INIT(CONTROL_REQUEST_MAX);
	c->out = BUF_INIT(CONTROL_DOCUMENT_MAX);
	r = sd_event_add_io(s->loop, &c->io, c->fd, EPOLLIN, client_on_io, c);
	if (r >= 0)
		r = sd_event_add_time_relative(s->loop, &c->timer, CLOCK_MONOTONIC, 0,
			TIMER_ACCURACY_US, client_on_timer, c);
	if (r < 0)
		return r;
	c->server = s;
	TAILQ_INSERT_TAIL(&s->clients, c, link);
	s->stats.clients++;
	client_set_state(c, CLIENT_REQUEST);
	*ret = TAKE_PTR(c);
	return 0;
}

static bool peer_is_permitted(int fd, struct err *reterr)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) {
		(void)err_set(reterr, -EPERM, "Cannot tell who asks");
		return false;
	}
	if (peer.uid == 0 || peer.uid == geteuid())
		return true;
	(void)err_set(reterr, -EPERM, "User %u may not ask: only root and the agent's own user may",
		(unsigned)peer.uid);
	return false;
}

static void server_take_client(struct control_server *s, int accepted)
{
	CLEAN_FD int fd = accepted;
	struct err err = { 0 };
	struct client *c;
	int code = 0;

	if (s->stats.clients >= s->limits.clients_max)
		code = err_set(&err, -EBUSY, "%u clients are connected already; try again",
			s->stats.clients);
	else if (!peer_is_permitted(fd, &err))
		code = -EPERM;
	/* One over the limit lives as long as it takes to hand its refusal to the kernel. */
	if (client_new(s, &fd, &c) < 0) {
		s->stats.refused++;
		return;
	}
	if (code == 0)
		return;
	s->stats.refused++;
	client_refuse(c, code, err_text(&err, code));
	if (client_step(c))
		(void)client_free(c);
}

static int server_on_accept_again(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct control_server *s = userdata;

	(void)source;
	(void)usec;
	(void)sd_event_source_set_enabled(s->accept, SD_EVENT_ON);
	return 0;
}

static int server_on_accept(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct control_server *s = userdata;

	(void)revents;
	for (unsigned i = 0; i < ACCEPTS_PER_TURN; i++) {
		int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (peer >= 0) {
			server_take_client(s, peer);
			continue;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		if (errno != EAGAIN) {
			/* Out of descriptors or memory: the queue stays readable, so look away. */
			log_debug("Cannot accept, pausing", "error", strerror(errno), NULL);
			(void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
			(void)sd_event_source_set_time_relative(
				s->accept_again, ACCEPT_PAUSE_NS / NSEC_PER_USEC);
			(void)sd_event_source_set_enabled(s->accept_again, SD_EVENT_ONESHOT);
		}
		break;
	}
	return 0;
}

/* ---- the server -------------------------------------------------------------------------- */

DEFINE_FREEP(struct control_server *, control_server_free)

int control_server_new(
	const struct control_options *options, struct control_server **ret, struct err *reterr)
{
	CLEAN(control_server_freep) struct control_server *s = mem_zalloc(sizeof(*s));
	int r;

	if (!s)
		return err_set(reterr, -ENOMEM, "Out of memory");
	TAILQ_INIT(&s->clients);
	s->listen = CONTROL_LISTEN_INIT;
	s->limits = options->limits ? *options->limits : CONTROL_LIMITS_DEFAULT;
	s->ops = *options->ops;
	s->userdata = options->userdata;
	s->events = options->events;
	s->loop = sd_event_ref(options->loop);
	r = control_listen(
		options->path ? options->path : CONTROL_SOCKET_DEFAULT, &s->listen, reterr);
	if (r < 0)
		return r;
	r = sd_event_add_io(s->loop, &s->accept, s->listen.fd, EPOLLIN, server_on_accept, s);
	if (r >= 0)
		r = sd_event_add_time_relative(s->loop, &s->accept_again, CLOCK_MONOTONIC, 0,
			TIMER_ACCURACY_US, server_on_accept_again, s);
	if (r >= 0)
		r = sd_event_source_set_enabled(s->accept_again, SD_EVENT_OFF);
	if (r < 0)
		return err_set(reterr, r, "Cannot watch the control socket: %s", strerror(-r));
	*ret = TAKE_PTR(s);
	return 0;
}

struct control_server *control_server_free(struct control_server *server)
{
	struct client *c;

	if (!server)
		return NULL;
	while ((c = TAILQ_FIRST(&server->clients)) != NULL)
		(void)client_free(c);
	(void)sd_event_source_disable_unref(server->accept);
	(void)sd_event_source_disable_unref(server->accept_again);
	control_listen_done(&server->listen);
	(void)sd_event_unref(server->loop);
	return mem_free(server);
}

void control_server_wake(struct control_server *server)
{
	struct client *c, *next;

	for (c = TAILQ_FIRST(&server->clients); c; c = next) {
		next = TAILQ_NEXT(c, link);
		/* One with output waits for room; it fetches what is new when there is some. */
		if (c->state == CLIENT_STREAM && !client_has_output(c))
			(void)client_step(c);
	}
}

void control_server_stats(const struct control_server *server, struct control_stats *ret)
{
	*ret = server->stats;
	ret->output_bytes = output_waiting(server);
}
