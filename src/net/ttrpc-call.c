/*
 * The driver of one call. Its sources are: `timer` (first dial, a retry after a full backlog, the
 * deadline) and `io` while there is a socket. on_late may cancel the call, so after it only
 * call_is_gone() may be looked at; the memory goes in call_leave().
 */
#include "net/ttrpc-call.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/time.h"
#include "net/dial.h"
#include "net/ttrpc.h"

#define READ_CHUNK          (16u * 1024)
#define READS_PER_TURN      8
#define TIMER_ACCURACY_USEC 1000

struct ttrpc_call {
	sd_event *loop;
	sd_event_source *timer, *io;
	int fd;
	struct dial_address address;
	uint64_t started_ns, due_ns, dial_ns, backoff_ns;
	bool is_queued, has_input, is_late;
	bool is_cancelled; /* the caller let go */
	bool is_over;      /* on_done was called */
	unsigned depth;
	int send_error;
	struct ttrpc engine;
	const struct ttrpc_callbacks *callbacks;
	void *userdata;
};

const char *ttrpc_outcome_text(enum ttrpc_outcome outcome)
{
	switch (outcome) {
	case TTRPC_ANSWERED: return "Answered";
	case TTRPC_NO_SOCKET: return "There is no socket";
	case TTRPC_REFUSED: return "Connection refused";
	case TTRPC_UNREACHABLE: return "Could not connect";
	case TTRPC_SILENT: return "The server never sent a byte";
	case TTRPC_LOST: return "Connection lost";
	case TTRPC_GARBAGE: return "Not ttrpc";
	}
	return "Unknown";
}

static struct ttrpc_call *call_free(struct ttrpc_call *call)
{
	if (!call)
		return NULL;
	call->timer = sd_event_source_disable_unref(call->timer);
	call->io = sd_event_source_disable_unref(call->io);
	call->fd = fd_close(call->fd);
	call->loop = sd_event_unref(call->loop);
	ttrpc_done(&call->engine);
	return mem_free(call);
}

DEFINE_FREEP(struct ttrpc_call *, call_free)

static bool call_is_gone(const struct ttrpc_call *call)
{
	return call->is_cancelled || call->is_over;
}

static void call_hang_up(struct ttrpc_call *call)
{
	call->io = sd_event_source_disable_unref(call->io);
	call->fd = fd_close(call->fd);
}

static void call_tell(struct ttrpc_call *call, struct ttrpc_result *result)
{
	result->elapsed_ns = time_since(clock_now().mono_ns, call->started_ns);
	result->was_late = call->is_late;
	call_hang_up(call);
	call->is_over = true;
	call->callbacks->on_done(call->userdata, result);
}

static void call_end(
	struct ttrpc_call *call, enum ttrpc_outcome outcome, int err_code, const char *text)
{
	struct ttrpc_result result = { .outcome = outcome, .err_code = err_code, .message = text };

	call_tell(call, &result);
}

static void call_lost(struct ttrpc_call *call, int err_code)
{
	if (!call->has_input)
		call_end(call, TTRPC_SILENT, -ETIMEDOUT,
			"It accepted the connection and ended it without a byte");
	else
		call_end(call, TTRPC_LOST, err_code == 0 ? -ECONNRESET : err_code,
			FMT("Connection lost: %s",
				err_code == 0 ? "end of file" : err_text(NULL, err_code)));
}

/* --- the answer --- */

static void call_take_answer(struct ttrpc_call *call, const struct ttrpc_answer *answer)
{
	struct ttrpc_result result = {
		.outcome = TTRPC_ANSWERED,
		.status = answer->status,
		.message = answer->message,
	};

	switch (answer->fate) {
	case TTRPC_OK: result.body = answer->body; break;
	case TTRPC_STATUS: break;
	case TTRPC_TOO_LARGE:
		call_end(call, TTRPC_GARBAGE, -EMSGSIZE, "The answer is over its limit");
		return;
	case TTRPC_MALFORMED:
		call_end(call, TTRPC_GARBAGE, -EPROTO, "The answer cannot be decoded");
		return;
	}
	call_tell(call, &result);
}

static void call_feed(struct ttrpc_call *call, const uint8_t *data, size_t len)
{
	struct ttrpc_answer answer;
	int r = ttrpc_next(&call->engine, &data, &len, &answer);

	/* There is one call: its answer is the end, whatever comes behind it. */
	if (r == TTRPC_ANSWER)
		call_take_answer(call, &answer);
	else if (r == -EPROTO)
		call_end(call, TTRPC_GARBAGE, r,
			FMT("It does not speak ttrpc: %s", call->engine.trouble));
	else if (r < 0)
		call_end(call, TTRPC_LOST, r, err_text(NULL, r));
}

static void call_read(struct ttrpc_call *call)
{
	uint8_t chunk[READ_CHUNK];

	for (unsigned i = 0; i < READS_PER_TURN && !call_is_gone(call); i++) {
		ssize_t n = fault_is_due(FAULT_READ) ? (errno = EIO, -1)
						     : recv(call->fd, chunk, sizeof(chunk), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			if (call->send_error < 0)
				call_lost(call, call->send_error);
			return;
		}
		if (n <= 0) {
			call_lost(call, n < 0 ? -errno : 0);
			return;
		}
		call->has_input = true;
		call_feed(call, chunk, (size_t)n);
	}
}

static void call_write(struct ttrpc_call *call)
{
	for (;;) {
		struct slice out = ttrpc_output(&call->engine);
		ssize_t n;

		if (out.len == 0 || call->send_error < 0)
			return;
		n = fault_is_due(FAULT_WRITE) ? (errno = EPIPE, -1)
					      : send(call->fd, out.data, out.len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			call->send_error = -errno; /* The answer may be there all the same. */
		else
			ttrpc_wrote(&call->engine, (size_t)n);
	}
}

/* --- dialling --- */

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata);

static void call_dial_failed(struct ttrpc_call *call, enum ttrpc_outcome outcome, int err_code)
{
	if (call->is_queued)
		call_end(call, TTRPC_SILENT, -ETIMEDOUT,
			"It accepted no connection and then went away");
	else
		call_end(call, outcome, err_code, FMT("Connect: %s", err_text(NULL, err_code)));
}

static void call_connected(struct ttrpc_call *call)
{
	int r = sd_event_add_io(call->loop, &call->io, call->fd, EPOLLIN, on_io, call);

	if (r < 0)
		call_end(call, TTRPC_UNREACHABLE, r, err_text(NULL, r));
	else
		call_write(call);
}

static void call_dial(struct ttrpc_call *call)
{
	int err_code = 0;
	enum dial_fate fate = dial_start(&call->address, &call->fd, &err_code);

	call->dial_ns = NSEC_NEVER;
	switch (fate) {
	case DIAL_CONNECTED:
	case DIAL_PENDING: /* never on a unix socket */ call_connected(call); return;
	case DIAL_NO_SOCKET: call_dial_failed(call, TTRPC_NO_SOCKET, err_code); return;
	case DIAL_REFUSED: call_dial_failed(call, TTRPC_REFUSED, err_code); return;
	case DIAL_UNREACHABLE: call_dial_failed(call, TTRPC_UNREACHABLE, err_code); return;
	case DIAL_BACKLOG_FULL:
		call->is_queued = true;
		call->dial_ns = time_add(clock_now().mono_ns, dial_backoff_next(&call->backoff_ns));
		return;
	}
}

/* --- the loop --- */

static void call_arm(struct ttrpc_call *call)
{
	uint64_t next_ns = call->is_late ? call->dial_ns : time_min(call->dial_ns, call->due_ns);
	bool has_output = ttrpc_output(&call->engine).len > 0 && call->send_error == 0;

	if (call->io)
		(void)sd_event_source_set_io_events(
			call->io, EPOLLIN | (has_output ? (uint32_t)EPOLLOUT : 0));
	if (next_ns == NSEC_NEVER) {
		(void)sd_event_source_set_enabled(call->timer, SD_EVENT_OFF);
		return;
	}
	(void)sd_event_source_set_time(call->timer, next_ns / NSEC_PER_USEC + 1);
	(void)sd_event_source_set_enabled(call->timer, SD_EVENT_ONESHOT);
}

static void call_leave(struct ttrpc_call *call)
{
	if (!call_is_gone(call))
		call_arm(call);
	if (--call->depth == 0 && call_is_gone(call))
		(void)call_free(call);
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct ttrpc_call *call = userdata;

	call->depth++;
	if (events & EPOLLOUT)
		call_write(call);
	call_read(call);
	call_leave(call);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct ttrpc_call *call = userdata;
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

static int parse_address(struct dial_address *ret, const char *address, struct err *reterr)
{
	const char *path = str_after(address, "unix://");

	if (!path && address[0] != '/')
		return dial_address_abstract(ret, address, reterr);
	return dial_address_unix(ret, path ?: address, reterr);
}

int ttrpc_call_start(sd_event *loop, const struct ttrpc_call_request *request,
	struct ttrpc_call **ret, struct err *reterr)
{
	CLEAN(call_freep) struct ttrpc_call *call = mem_zalloc(sizeof(*call));
	const struct ttrpc_request frame = {
		.service = request->service,
		.method = request->method,
		.body = request->body,
		.body_len = request->body_len,
		.timeout_ns = request->deadline_ns,
		.key = request->key,
		.value = request->value,
		.max_answer_bytes = request->max_answer_bytes,
	};
	int r;

	if (!call)
		return err_set(reterr, -ENOMEM, "Out of memory for a call");
	call->fd = -EBADF;
	ttrpc_init(&call->engine);
	call->loop = sd_event_ref(loop);
	call->callbacks = request->callbacks;
	call->userdata = request->userdata;
	call->started_ns = call->dial_ns = clock_now().mono_ns;
	call->due_ns = time_add(call->started_ns, request->deadline_ns);
	if (request->deadline_ns == 0)
		return err_set(reterr, -EINVAL, "A call without a deadline");
	r = parse_address(&call->address, request->address, reterr);
	if (r < 0)
		return r;
	r = ttrpc_start(&call->engine, &frame);
	if (r < 0)
		return err_set(reterr, r, "%s cannot be written", request->method);
	r = sd_event_add_time(
		loop, &call->timer, CLOCK_MONOTONIC, 0, TIMER_ACCURACY_USEC, on_timer, call);
	if (r < 0)
		return err_set(reterr, r, "Timer of a call: %s", err_text(NULL, r));
	(void)sd_event_source_set_description(call->timer, "ttrpc-timer");
	if (ret)
		*ret = call;
	call = NULL;
	return 0;
}

struct ttrpc_call *ttrpc_call_cancel(struct ttrpc_call *call)
{
	if (!call || call_is_gone(call))
		return NULL;
	call->is_cancelled = true;
	if (call->depth == 0)
		return call_free(call);
	/* Inside on_late: it goes when that returns. */
	call_hang_up(call);
	return NULL;
}

bool ttrpc_call_is_connected(const struct ttrpc_call *call)
{
	return call->fd >= 0;
}
