/*
 * The driver of one request. Its sources are: `timer` (first dial, a retry after a full backlog,
 * the deadline) and `io` while there is a socket. A callback may cancel the call, so after each one
 * only `is_cancelled` may be looked at before anything else; the memory goes in call_leave().
 */
#include "net/http1.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"
#include "net/dial.h"
#include "net/http1-parse.h"

#define HTTP1_READ_CHUNK          (16u * 1024)
#define HTTP1_READS_PER_TURN      8
#define HTTP1_TIMER_ACCURACY_USEC 1000

struct http1_call {
	sd_event *loop;
	sd_event_source *timer, *io;
	int fd;
	struct dial_address address;
	uint64_t started_ns, due_ns, dial_ns, backoff_ns;
	bool is_connected, is_queued, has_input;
	bool is_late;
	bool is_cancelled; /* the caller let go */
	bool is_over;      /* on_done was called */
	bool is_reused;    /* the connection came from the pool, and nothing has come from it yet */
	bool has_excess;   /* bytes behind the answer */
	bool has_told_head;
	unsigned depth;
	int send_error;

	struct http1_parser parser;
	struct buf out, body;
	size_t sent;
	size_t max_body_bytes;
	const struct http1_callbacks *callbacks;
	void *userdata;
	struct http1_pool *pool;
};

const char *http1_outcome_text(enum http1_outcome outcome)
{
	switch (outcome) {
	case HTTP1_ANSWERED: return "Answered";
	case HTTP1_NO_SOCKET: return "There is no socket";
	case HTTP1_REFUSED: return "Connection refused";
	case HTTP1_SILENT: return "The server never sent a byte";
	case HTTP1_UNREACHABLE: return "Could not connect";
	case HTTP1_LOST: return "Connection lost";
	case HTTP1_TOO_LARGE: return "Answer too large";
	case HTTP1_MALFORMED: return "Not HTTP/1";
	}
	return "Unknown";
}

/* --- connections that are kept --- */

void http1_pool_done(struct http1_pool *pool)
{
	while (pool->count > 0)
		(void)fd_close(pool->fds[--pool->count]);
}

/* One that is open and silent, as it should be; else -EBADF. */
static int pool_take(struct http1_pool *pool)
{
	while (pool && pool->count > 0) {
		int fd = pool->fds[--pool->count];
		char byte;

		if (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN) {
			pool->reuses++;
			return fd;
		}
		(void)fd_close(fd);
	}
	return -EBADF;
}

static void pool_put(struct http1_pool *pool, int fd)
{
	if (pool->count == HTTP1_POOL_MAX)
		(void)fd_close(fd);
	else
		pool->fds[pool->count++] = fd;
}

static struct http1_call *call_free(struct http1_call *call)
{
	if (!call)
		return NULL;
	call->timer = sd_event_source_disable_unref(call->timer);
	call->io = sd_event_source_disable_unref(call->io);
	call->fd = fd_close(call->fd);
	call->loop = sd_event_unref(call->loop);
	http1_parser_done(&call->parser);
	buf_done(&call->out);
	buf_done(&call->body);
	return mem_free(call);
}

DEFINE_FREEP(struct http1_call *, call_free)

static bool call_is_gone(const struct http1_call *call)
{
	return call->is_cancelled || call->is_over;
}

/* Nothing is under way on the connection any more, in neither direction. */
static bool call_is_clean(const struct http1_call *call)
{
	return call->fd >= 0 && !call->parser.is_last && !call->has_excess &&
		call->send_error == 0 && call->sent == call->out.len;
}

static void call_end(
	struct http1_call *call, enum http1_outcome outcome, int err_code, const char *text)
{
	struct http1_result result = {
		.outcome = outcome,
		.err_code = err_code,
		.status = call->parser.status,
		.message = text,
		.content_type = call->parser.content_type,
		.elapsed_ns = time_since(clock_now().mono_ns, call->started_ns),
		.was_late = call->is_late,
	};

	if (outcome == HTTP1_ANSWERED && !call->callbacks->on_body) {
		result.body = call->body.data;
		result.body_len = call->body.len;
	}
	call->io = sd_event_source_disable_unref(call->io);
	if (outcome == HTTP1_ANSWERED && call->pool && call_is_clean(call))
		pool_put(call->pool, TAKE_FD(call->fd));
	call->fd = fd_close(call->fd);
	call->is_over = true;
	call->callbacks->on_done(call->userdata, &result);
}

static void call_lost(struct http1_call *call, int err_code)
{
	char text[160];

	if (call->is_reused) {
		/* It was closed while it was kept: that says nothing about the server. */
		call->io = sd_event_source_disable_unref(call->io);
		call->fd = fd_close(call->fd);
		call->is_reused = call->is_connected = false;
		call->sent = 0;
		call->send_error = 0;
		call->dial_ns = clock_now().mono_ns;
		http1_pool_done(call->pool); /* the others there are no better */
		return;
	}
	if (!call->has_input) {
		call_end(call, HTTP1_SILENT, -ETIMEDOUT,
			"The server accepted the connection and ended it without a byte");
		return;
	}
	(void)snprintf(text, sizeof(text), "Connection lost: %s",
		err_code == 0 ? "end of file" : err_text(NULL, err_code));
	call_end(call, HTTP1_LOST, err_code == 0 ? -ECONNRESET : err_code, text);
}

/* --- the answer --- */

static void call_take_body(struct http1_call *call, const uint8_t *data, size_t len)
{
	int r;

	if (call->callbacks->on_body) {
		call->callbacks->on_body(call->userdata, call->parser.status, data, len);
		return;
	}
	r = buf_append(&call->body, data, len);
	if (r == -EMSGSIZE)
		call_end(call, HTTP1_TOO_LARGE, r,
			FMT("The body is larger than %zu bytes", call->max_body_bytes));
	else if (r < 0)
		call_end(call, HTTP1_LOST, r, "Out of memory for the answer");
}

static void call_feed(struct http1_call *call, const uint8_t *data, size_t len)
{
	while (!call_is_gone(call)) {
		const uint8_t *body;
		size_t body_len;
		int r = http1_parser_next(&call->parser, &data, &len, &body, &body_len);

		if (!call->has_told_head && call->parser.state >= HTTP1_BODY_LENGTH) {
			call->has_told_head = true;
			if (call->callbacks->on_head)
				call->callbacks->on_head(call->userdata, call->parser.status);
			if (call_is_gone(call))
				return;
		}
		call->has_excess = len > 0;
		switch (r) {
		case HTTP1_NEED: return;
		case HTTP1_BODY: call_take_body(call, body, body_len); break;
		case HTTP1_DONE: call_end(call, HTTP1_ANSWERED, 0, ""); return;
		case -EMSGSIZE: call_end(call, HTTP1_TOO_LARGE, r, call->parser.trouble); return;
		case -EPROTO: call_end(call, HTTP1_MALFORMED, r, call->parser.trouble); return;
		default: call_end(call, HTTP1_LOST, r, err_text(NULL, r)); return;
		}
	}
}

static void call_read(struct http1_call *call)
{
	uint8_t chunk[HTTP1_READ_CHUNK];

	for (unsigned i = 0; i < HTTP1_READS_PER_TURN && !call_is_gone(call) && call->io; i++) {
		ssize_t n = fault_is_due(FAULT_READ) ? (errno = EIO, -1)
						     : recv(call->fd, chunk, sizeof(chunk), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			if (call->send_error < 0)
				call_lost(call, call->send_error);
			return;
		}
		if (n == 0 && http1_parser_eof(&call->parser) == 0) {
			call_end(call, HTTP1_ANSWERED, 0, "");
			return;
		}
		if (n <= 0) {
			call_lost(call, n < 0 ? -errno : 0);
			return;
		}
		call->has_input = true;
		call->is_reused = false;
		call_feed(call, chunk, (size_t)n);
		explicit_bzero(chunk, (size_t)n);
	}
}

static void call_write(struct http1_call *call)
{
	while (call->sent < call->out.len && call->send_error == 0) {
		ssize_t n = fault_is_due(FAULT_WRITE)
			? (errno = EPIPE, -1)
			: send(call->fd, call->out.data + call->sent, call->out.len - call->sent,
				  MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			call->send_error = -errno; /* The answer may be there all the same. */
		else
			call->sent += (size_t)n;
	}
	/* On a kept connection it may have to be sent again. */
	if (call->sent == call->out.len && !call->is_reused) {
		buf_done(&call->out);
		call->sent = 0;
	}
}

/* --- dialling --- */

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata);

static void call_watch(struct http1_call *call)
{
	bool has_output = !call->is_connected || call->sent < call->out.len || call->send_error < 0;

	if (call->io)
		(void)sd_event_source_set_io_events(
			call->io, EPOLLIN | (has_output ? (uint32_t)EPOLLOUT : 0));
}

static void call_arm(struct http1_call *call)
{
	uint64_t next_ns = call->is_late ? call->dial_ns : time_min(call->dial_ns, call->due_ns);

	if (next_ns == NSEC_NEVER) {
		(void)sd_event_source_set_enabled(call->timer, SD_EVENT_OFF);
		return;
	}
	(void)sd_event_source_set_time(call->timer, next_ns / NSEC_PER_USEC + 1);
	(void)sd_event_source_set_enabled(call->timer, SD_EVENT_ONESHOT);
}

static void call_dial_failed(struct http1_call *call, enum http1_outcome outcome, int err_code)
{
	char text[160];

	if (call->is_queued) {
		call_end(call, HTTP1_SILENT, -ETIMEDOUT,
			"The server accepted no connection and then went away");
		return;
	}
	(void)snprintf(text, sizeof(text), "Connect: %s", err_text(NULL, err_code));
	call_end(call, outcome, err_code, text);
}

static void call_take_fate(struct http1_call *call, enum dial_fate fate, int err_code)
{
	switch (fate) {
	case DIAL_CONNECTED:
		call->is_connected = true;
		call_write(call);
		break;
	case DIAL_PENDING: break;
	case DIAL_NO_SOCKET: call_dial_failed(call, HTTP1_NO_SOCKET, err_code); break;
	case DIAL_REFUSED: call_dial_failed(call, HTTP1_REFUSED, err_code); break;
	case DIAL_UNREACHABLE: call_dial_failed(call, HTTP1_UNREACHABLE, err_code); break;
	case DIAL_BACKLOG_FULL:
		call->is_queued = true;
		call->dial_ns = time_add(clock_now().mono_ns, dial_backoff_next(&call->backoff_ns));
		break;
	}
}

static void call_dial(struct http1_call *call)
{
	enum dial_fate fate = DIAL_CONNECTED;
	int err_code = 0, r;

	call->dial_ns = NSEC_NEVER;
	call->fd = pool_take(call->pool);
	call->is_reused = call->fd >= 0;
	if (!call->is_reused)
		fate = dial_start(&call->address, &call->fd, &err_code);
	if (fate == DIAL_CONNECTED && !call->is_reused && call->pool)
		call->pool->dials++;
	if (fate == DIAL_CONNECTED || fate == DIAL_PENDING) {
		r = sd_event_add_io(
			call->loop, &call->io, call->fd, EPOLLIN | EPOLLOUT, on_io, call);
		if (r < 0) {
			call_end(call, HTTP1_UNREACHABLE, r, err_text(NULL, r));
			return;
		}
	}
	call_take_fate(call, fate, err_code);
}

/* --- the loop --- */

static void call_leave(struct http1_call *call)
{
	if (!call_is_gone(call)) {
		call_watch(call);
		call_arm(call);
	}
	if (--call->depth == 0 && call_is_gone(call))
		(void)call_free(call);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct http1_call *call = userdata;
	enum dial_fate fate;
	int err_code = 0;

	call->depth++;
	if (!call->is_connected) {
		fate = dial_finish(fd, &err_code);
		call_take_fate(call, fate, err_code);
	} else if (events & EPOLLOUT) {
		call_write(call);
	}
	if (!call_is_gone(call) && call->is_connected)
		call_read(call);
	call_leave(call);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct http1_call *call = userdata;
	uint64_t now_ns = clock_now().mono_ns;

	call->depth++;
	if (!call->is_late && now_ns >= call->due_ns) {
		call->is_late = true;
		if (call->callbacks->on_late)
			call->callbacks->on_late(call->userdata);
	}
	if (!call_is_gone(call) && now_ns >= call->dial_ns)
		call_dial(call);
	call_leave(call);
	return 0;
}

/* --- public --- */

static int call_set_up(
	struct http1_call *call, const struct http1_request *request, struct err *reterr)
{
	const char *method = request->method ? request->method : "GET";
	char host[64] = "localhost";
	int r;

	if (request->unix_path)
		r = dial_address_unix(&call->address, request->unix_path, reterr);
	else
		r = dial_address_loopback(
			&call->address, str_or_empty(request->host), request->port, reterr);
	if (r < 0)
		return r;
	if (!request->unix_path)
		(void)snprintf(host, sizeof(host), strchr(request->host, ':') ? "[%s]:%u" : "%s:%u",
			request->host, request->port);
	http1_parser_init(&call->parser, method);
	r = http1_write_request(&call->out, method, host, request->target, request->content_type,
		request->body, request->body_len, request->pool == NULL);
	if (r < 0)
		return err_set(
			reterr, r, "Request %s %s cannot be written", method, request->target);
	return 0;
}

int http1_start(sd_event *loop, const struct http1_request *request, struct http1_call **ret_call,
	struct err *reterr)
{
	CLEAN(call_freep) struct http1_call *call = mem_zalloc(sizeof(*call));
	int r;

	if (!call)
		return err_set(reterr, -ENOMEM, "Out of memory for a request");
	call->fd = -EBADF;
	call->loop = sd_event_ref(loop);
	call->callbacks = request->callbacks;
	call->userdata = request->userdata;
	call->pool = request->pool;
	call->max_body_bytes = request->max_body_bytes ? request->max_body_bytes : HTTP1_BODY_MAX;
	call->out = BUF_INIT(HTTP1_REQUEST_MAX);
	call->body = BUF_INIT(call->max_body_bytes);
	call->started_ns = call->dial_ns = clock_now().mono_ns;
	call->due_ns = request->deadline_ns ? time_add(call->started_ns, request->deadline_ns)
					    : NSEC_NEVER;
	r = call_set_up(call, request, reterr);
	if (r < 0)
		return r;
	r = sd_event_add_time(
		loop, &call->timer, CLOCK_MONOTONIC, 0, HTTP1_TIMER_ACCURACY_USEC, on_timer, call);
	if (r < 0)
		return err_set(reterr, r, "Timer of a request: %s", err_text(NULL, r));
	(void)sd_event_source_set_description(call->timer, "http1-timer");
	if (ret_call)
		*ret_call = call;
	call = NULL;
	return 0;
}

struct http1_call *http1_cancel(struct http1_call *call)
{
	if (!call || call_is_gone(call))
		return NULL;
	call->is_cancelled = true;
	if (call->depth == 0)
		return call_free(call);
	/* Inside a callback: the data it is looking at stays until it returns. */
	call->io = sd_event_source_disable_unref(call->io);
	call->fd = fd_close(call->fd);
	return NULL;
}
