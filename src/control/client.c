/*
 * The commands' side of the control socket: blocking, each wait with a deadline, each failure with
 * a text that says what to do.
 */
#include "control/control.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"

#define RECEIVE_BYTES 65536

struct control_client {
	int fd;
	struct buf in;
	size_t scanned; /* bytes of `in` known to hold no newline */
};

/* One wait of a request: its deadline, and when to say that it takes long. */
struct patience {
	const struct control_client_options *options;
	const char *path;
	uint64_t deadline_ns, slow_ns;
};

static struct patience patience_new(const struct control_client_options *options)
{
	uint64_t now_ns = clock_now().mono_ns;

	return (struct patience){ .options = options,
		.path = options->path ? options->path : CONTROL_SOCKET_DEFAULT,
		.deadline_ns = time_add(now_ns, options->timeout_ms * NSEC_PER_MSEC),
		.slow_ns = options->slow_ms && options->on_slow
			? time_add(now_ns, options->slow_ms * NSEC_PER_MSEC)
			: NSEC_NEVER };
}

/* Milliseconds until the next thing happens, at least 1; 0: the deadline is over. */
static int patience_left(struct patience *p)
{
	uint64_t now_ns = clock_now().mono_ns;
	uint64_t until_ns;

	if (now_ns >= p->slow_ns) {
		p->slow_ns = NSEC_NEVER;
		p->options->on_slow(p->options->userdata, p->path);
	}
	if (now_ns >= p->deadline_ns)
		return 0;
	until_ns = time_min(p->deadline_ns, p->slow_ns);
	return (int)(time_since(until_ns, now_ns) / NSEC_PER_MSEC + 1);
}

static int too_late(const struct patience *p, int fd, struct err *reterr)
{
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);
	char who[32] = "";

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && peer.pid > 0)
		(void)str_format(who, sizeof(who), " (pid %d)", (int)peer.pid);
	return err_set(reterr, -ETIMEDOUT,
		"The agent%s on %s is there but has not answered for %u s: it is stopped, stuck or "
		"overloaded",
		who, p->path, p->options->timeout_ms / 1000);
}

/* ---- connecting -------------------------------------------------------------------------- */

static int connect_failed(const struct patience *p, int code, struct err *reterr)
{
	switch (code) {
	case -ENOENT:
	case -ENOTDIR:
	case -ECONNREFUSED:
		return err_set(reterr, -ECONNREFUSED,
			"No agent answers on %s: %s; start one (systemctl start pleg, or pleg "
			"agent), "
			"or give --socket",
			p->path,
			code == -ECONNREFUSED ? "the socket is there but nobody listens"
					      : "there is no such socket");
	case -EACCES:
	case -EPERM:
		return err_set(reterr, -EACCES, "Not permitted to use %s: run as root", p->path);
	default: return err_set(reterr, code, "Cannot connect to %s: %s", p->path, strerror(-code));
	}
}

/* A full backlog lets a unix connect() wait only while blocking; the send timeout bounds that. */
static int connect_once(int fd, const struct sockaddr_un *address, int wait_ms)
{
	const struct timeval wait = { .tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000 };

	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		return -errno;
	return 0;
}

static int connect_to(struct patience *p, int *ret_fd, struct err *reterr)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	CLEAN_FD int fd = -EBADF;

	if (*p->path == '\0' || strlen(p->path) >= sizeof(address.sun_path))
		return err_set(reterr, -ENAMETOOLONG, "Socket path '%s' is %s", p->path,
			*p->path ? "too long" : "empty");
	memcpy(address.sun_path, p->path, strlen(p->path) + 1);
	if (fault_is_due(FAULT_OPEN))
		return err_set(reterr, -ENFILE, "Cannot make a socket");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(reterr, -errno, "Cannot make a socket: %s", strerror(errno));
	for (;;) {
		int left_ms = patience_left(p);
		int r;

		if (left_ms == 0)
			return err_set(reterr, -ETIMEDOUT,
				"The agent on %s has not taken our connection for %u s: it is "
				"stopped or "
				"stuck",
				p->path, p->options->timeout_ms / 1000);
		r = connect_once(fd, &address, left_ms);
		if (r >= 0)
			break;
		if (r != -EAGAIN && r != -EINTR)
			return connect_failed(p, r, reterr);
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* ---- lines ------------------------------------------------------------------------------- */

/* 1: *ret_len bytes of `in` are a line, its newline included; 0: not yet. */
static int line_scan(struct control_client *c, size_t *ret_len)
{
	const uint8_t *newline = NULL;

	if (c->in.len > c->scanned)
		newline = memchr(c->in.data + c->scanned, '\n', c->in.len - c->scanned);
	c->scanned = c->in.len;
	if (!newline)
		return 0;
	*ret_len = (size_t)(newline - c->in.data) + 1;
	return 1;
}

/* Bytes received, 0 at the end. */
static ssize_t receive_some(struct control_client *c)
{
	ssize_t n;
	int r = buf_reserve(&c->in, 1);

	if (r < 0)
		return r;
	(void)buf_reserve(&c->in, RECEIVE_BYTES);
	if (fault_is_due(FAULT_READ))
		return -EIO;
	do
		n = recv(c->fd, c->in.data + c->in.len, c->in.cap - c->in.len, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	c->in.len += (size_t)n;
	return n;
}

static int line_parse(struct control_client *c, size_t len, json_t **ret, struct err *reterr)
{
	json_error_t problem;
	json_t *object = json_loadb((const char *)c->in.data, len, 0, &problem);

	buf_consume(&c->in, len);
	c->scanned = 0;
	if (!json_is_object(object)) {
		json_decref(object);
		return err_set(
			reterr, -EPROTO, "What answers is not a pleg agent: no line of JSON");
	}
	*ret = object;
	return 1;
}

/* Waits for one line: 1, 0 at the end, -ETIMEDOUT without a text, or an error. */
static int line_next(struct control_client *c, struct patience *p, int timeout_ms, int watch_fd,
	json_t **ret, struct err *reterr)
{
	uint64_t end_ns = timeout_ms < 0
		? NSEC_NEVER
		: time_add(clock_now().mono_ns, (unsigned)timeout_ms * NSEC_PER_MSEC);

	for (;;) {
		struct pollfd fds[] = { { .fd = c->fd, .events = POLLIN }, { .fd = watch_fd } };
		int wait_ms = -1;
		ssize_t n;
		size_t len;

		if (line_scan(c, &len))
			return line_parse(c, len, ret, reterr);
		if (p) {
			wait_ms = patience_left(p);
			if (wait_ms == 0)
				return -ETIMEDOUT;
		} else if (end_ns != NSEC_NEVER) {
			uint64_t now_ns = clock_now().mono_ns;

			if (now_ns >= end_ns)
				return -ETIMEDOUT;
			wait_ms = (int)((end_ns - now_ns) / NSEC_PER_MSEC + 1);
		}
		if (poll(fds, ELEMENTS(fds), wait_ms) < 0) {
			if (errno == EINTR)
				continue;
			return err_set(reterr, -errno, "Cannot wait: %s", strerror(errno));
		}
		if (fds[1].revents & POLLERR)
			return -EPIPE;
		if (!fds[0].revents)
			continue;
		n = receive_some(c);
		if (n == -EMSGSIZE)
			return err_set(reterr, -EPROTO, "An answer is over %u MiB",
				CONTROL_DOCUMENT_MAX >> 20);
		if (n < 0)
			return err_set(reterr, (int)n, "Cannot read: %s", strerror((int)-n));
		if (n == 0)
			return c->in.len == 0
				? 0
				: err_set(reterr, -EPROTO, "The answer ends half-way");
	}
}

/* ---- requests ---------------------------------------------------------------------------- */

static int send_request(
	struct control_client *c, const struct control_request *request, struct err *reterr)
{
	CLEAN(buf_done) struct buf line = BUF_INIT(CONTROL_REQUEST_MAX);
	size_t at = 0;
	int r = control_request_format(request, &line);

	if (r < 0)
		return err_set(reterr, r, "Cannot write the request: %s",
			r == -EINVAL ? "a name in it is not UTF-8" : strerror(-r));
	while (at < line.len) {
		ssize_t n = fault_is_due(FAULT_WRITE)
			? (errno = EIO, -1)
			: send(c->fd, line.data + at, line.len - at, MSG_NOSIGNAL);

		if (n >= 0) {
			at += (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		/* An agent that refuses us says why and closes: the answer is still to be read. */
		if (errno == EPIPE || errno == ECONNRESET)
			return 0;
		return err_set(reterr, -errno, "Cannot send the request: %s", strerror(errno));
	}
	return 0;
}

/* Error names that an agent answers with and that somebody here tells apart. */
static int code_from_name(const char *name)
{
	static const int codes[] = { EINVAL, EPERM, EBUSY, EPROTONOSUPPORT, EBADMSG, EMSGSIZE,
		ENOMEM, ETIMEDOUT };

	for (size_t i = 0; i < ELEMENTS(codes); i++)
		if (str_eq(name, strerrorname_np(codes[i])))
			return codes[i] == EPERM ? -EACCES : -codes[i];
	return -EREMOTEIO;
}

static int take_result(json_t *envelope, json_t **ret_result, struct err *reterr)
{
	const json_t *error = json_object_get(envelope, "error");
	const char *code = json_string_value(json_object_get(error, "code"));
	const char *message = json_string_value(json_object_get(error, "message"));
	json_t *result = json_object_get(envelope, "result");
	char clean[400];

	if (json_is_true(json_object_get(envelope, "ok")) && json_is_object(result)) {
		*ret_result = json_incref(result);
		return 0;
	}
	if (!code || !message)
		return err_set(
			reterr, -EPROTO, "What answers is not a pleg agent: no result in it");
	return err_set(reterr, code_from_name(code), "The agent refuses: %s",
		str_clean(clean, sizeof(clean), message, strlen(message)));
}

int control_ask(const struct control_client_options *options, const struct control_request *request,
	json_t **ret_result, struct control_client **ret_client, struct err *reterr)
{
	CLEAN(control_client_freep) struct control_client *c = mem_zalloc(sizeof(*c));
	struct patience patience = patience_new(options);
	json_t *envelope = NULL;
	int r;

	if (!c)
		return err_set(reterr, -ENOMEM, "Out of memory");
	c->fd = -EBADF;
	c->in = BUF_INIT(CONTROL_DOCUMENT_MAX);
	r = connect_to(&patience, &c->fd, reterr);
	if (r >= 0)
		r = send_request(c, request, reterr);
	if (r < 0)
		return r;
	r = line_next(c, &patience, -1, -1, &envelope, reterr);
	if (r == -ETIMEDOUT)
		return too_late(&patience, c->fd, reterr);
	if (r < 0)
		return r;
	if (r == 0)
		return err_set(
			reterr, -EPROTO, "The agent on %s closed without an answer", patience.path);
	r = take_result(envelope, ret_result, reterr);
	json_decref(envelope);
	if (r >= 0 && ret_client)
		*ret_client = TAKE_PTR(c);
	return r;
}

int control_client_next(struct control_client *client, int timeout_ms, int watch_fd,
	json_t **ret_object, struct err *reterr)
{
	return line_next(client, NULL, timeout_ms, watch_fd, ret_object, reterr);
}

struct control_client *control_client_free(struct control_client *client)
{
	if (!client)
		return NULL;
	client->fd = fd_close(client->fd);
	buf_done(&client->in);
	return mem_free(client);
}
