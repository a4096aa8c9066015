/*
 * The gRPC driver against a server inside this process: a listening unix socket on the same loop,
 * served by scripted HTTP/2 sessions (h2-peer.h), by raw bytes, or not at all. Each fault of a
 * server that the outcomes keep apart is made for real. Every test ends without a leaked fd.
 */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "h2-peer.h"
#include "loop.h"
#include "net/dial.h"
#include "net/grpc.h"

#define CONNECTIONS_MAX 16

struct world;

struct connection {
	struct world *world;
	int fd;
	sd_event_source *source;
	struct peer *peer;
};

/* What was told about one call. */
struct told {
	struct world *world;
	unsigned done, late, messages;
	enum grpc_outcome outcome;
	int err_code, status;
	bool was_late;
	uint64_t elapsed_ns;
	size_t body_len;
	char text[256]; /* message, or the start of the body */
	struct grpc_call *call;
	enum {
		THEN_NOTHING,
		THEN_FREE_CLIENT,
		THEN_START_AGAIN,
		THEN_CANCEL_OTHER,
		THEN_CANCEL_SELF,
	} then;
	struct told *other;
};

struct world {
	sd_event *loop;
	struct grpc_client *client;
	char dir[32], path[64];
	int fds_before, listen_fd;
	sd_event_source *listen_source;
	struct connection connections[CONNECTIONS_MAX];
	size_t accepted;
	/* The script. */
	const char *raw; /* send these bytes instead of speaking HTTP/2 */
	size_t raw_len;
	bool is_mute;    /* accept, read nothing, say nothing */
	bool raw_closes; /* close behind `raw` */
	uint32_t max_streams;
	size_t sized_bytes, stream_count;
};

/* --- the server --- */

static void connection_close(struct connection *conn)
{
	conn->source = sd_event_source_disable_unref(conn->source);
	conn->fd = fd_close(conn->fd);
	conn->peer = peer_free(conn->peer);
}

static void connection_flush(struct connection *conn)
{
	const uint8_t *data;
	size_t len;

	while (conn->peer && (len = peer_output(conn->peer, &data)) > 0)
		if (fd_write_all(conn->fd, data, len, 0) < 0)
			break;
}

static int on_connection(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct connection *conn = userdata;
	struct world *w = conn->world;
	uint8_t data[65536];
	ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);

	if (n < 0)
		return 0;
	if (n == 0) {
		connection_close(conn);
		return 0;
	}
	if (conn->peer) {
		assert_int_equal(peer_feed(conn->peer, data, (size_t)n), 0);
		connection_flush(conn);
	} else if (w->raw) {
		(void)fd_write_all(fd, w->raw, w->raw_len, 1000);
		if (w->raw_closes)
			connection_close(conn);
	}
	return 0;
}

static int on_accept(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct world *w = userdata;
	struct connection *conn = &w->connections[w->accepted++];

	assert_true(w->accepted < CONNECTIONS_MAX);
	conn->world = w;
	conn->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	/* A test server may block for a moment: what it sends at once has to fit the socket. */
	(void)setsockopt(conn->fd, SOL_SOCKET, SO_SNDBUF, &(int){ 8 << 20 }, sizeof(int));
	if (w->is_mute)
		return 0;
	if (!w->raw) {
		conn->peer = peer_new(w->max_streams);
		conn->peer->sized_bytes = w->sized_bytes;
		conn->peer->stream_count = w->stream_count;
	}
	return sd_event_add_io(w->loop, &conn->source, conn->fd, EPOLLIN, on_connection, conn);
}

static void server_listen(struct world *w, int backlog)
{
	struct dial_address address;

	ASSERT_OK(dial_address_unix(&address, w->path, NULL));
	w->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ASSERT_OK(bind(w->listen_fd, &address.any, address.len));
	ASSERT_OK(listen(w->listen_fd, backlog));
	ASSERT_OK(sd_event_add_io(w->loop, &w->listen_source, w->listen_fd, EPOLLIN, on_accept, w));
}

static void server_stop_listening(struct world *w)
{
	w->listen_source = sd_event_source_disable_unref(w->listen_source);
	w->listen_fd = fd_close(w->listen_fd);
}

static struct connection *newest(struct world *w)
{
	assert_true(w->accepted > 0);
	return &w->connections[w->accepted - 1];
}

/* --- the world --- */

static void world_open(struct world *w)
{
	*w = (struct world){ .dir = "/tmp/test-grpc-XXXXXX", .listen_fd = -EBADF };
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		w->connections[i].fd = -EBADF;
	w->fds_before = count_fds();
	assert_non_null(mkdtemp(w->dir));
	(void)snprintf(w->path, sizeof(w->path), "%s/s", w->dir);
	ASSERT_OK(sd_event_new(&w->loop));
}

static void world_connect(struct world *w)
{
	struct err e = { 0 };

	ASSERT_OK(grpc_client_new(w->loop, w->path, &w->client, &e));
}

static void world_close(struct world *w)
{
	w->client = grpc_client_free(w->client);
	server_stop_listening(w);
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		connection_close(&w->connections[i]);
	(void)unlink(w->path);
	(void)rmdir(w->dir);
	/* Nothing that the driver made is left on the loop. */
	assert_int_equal(sd_event_run(w->loop, 0), 0);
	w->loop = sd_event_unref(w->loop);
	assert_int_equal(count_fds(), w->fds_before);
}

static struct grpc_client_stats stats(struct world *w)
{
	struct grpc_client_stats s;

	grpc_client_stats(w->client, &s);
	return s;
}

static int start(struct told *t, const char *path, uint64_t deadline_ms, bool is_stream);

static void then(struct told *t)
{
	switch (t->then) {
	case THEN_NOTHING: break;
	case THEN_FREE_CLIENT: t->world->client = grpc_client_free(t->world->client); break;
	case THEN_START_AGAIN: ASSERT_OK(start(t->other, "/t/Echo", 0, false)); break;
	case THEN_CANCEL_OTHER: grpc_call_cancel(t->other->call); break;
	case THEN_CANCEL_SELF: grpc_call_cancel(t->call); break;
	}
}

static void on_done(void *userdata, const struct grpc_result *result)
{
	struct told *t = userdata;
	const char *text = result->message;

	t->done++;
	t->outcome = result->outcome;
	t->err_code = result->err_code;
	t->status = result->status;
	t->was_late = result->was_late;
	t->elapsed_ns = result->elapsed_ns;
	t->body_len = result->body_len;
	then(t);
	/* Whatever then() did, the result is still valid. */
	if (result->body)
		(void)str_clean(
			t->text, sizeof(t->text), (const char *)result->body, result->body_len);
	else
		(void)snprintf(t->text, sizeof(t->text), "%s", text);
}

static void on_late(void *userdata)
{
	struct told *t = userdata;

	assert_int_equal(t->done, 0);
	t->late++;
	then(t);
}

static void on_message(void *userdata, const uint8_t *body, size_t len)
{
	struct told *t = userdata;

	assert_int_equal(len, t->world->sized_bytes);
	t->messages++;
	then(t);
	assert_int_equal(body[len - 1], 'x');
}

static int start(struct told *t, const char *path, uint64_t deadline_ms, bool is_stream)
{
	static const struct grpc_callbacks callbacks = {
		.on_done = on_done,
		.on_late = on_late,
		.on_message = on_message,
	};
	unsigned before = t->done;
	int r = grpc_call_start(t->world->client,
		&(struct grpc_request){
			.path = path,
			.body = "hello",
			.body_len = 5,
			.callbacks = &callbacks,
			.userdata = t,
			.deadline_ns = deadline_ms * NSEC_PER_MSEC,
			.max_message_bytes = 32u << 20,
			.is_stream = is_stream,
			.containerd_namespace = "k8s.io",
		},
		&t->call);

	assert_int_equal(t->done, before); /* never from inside */
	return r;
}

#define OPEN_WORLD(w, t)                                                                           \
	struct world w;                                                                            \
	struct told t = { .world = &w };                                                           \
	(void)state;                                                                               \
	world_open(&w)

/* --- tests --- */

static void answers(void **state)
{
	struct told e;
	OPEN_WORLD(w, t);

	e = t;
	server_listen(&w, 10);
	world_connect(&w);
	ASSERT_OK(start(&t, "/t/Echo", 10000, false));
	assert_int_equal(stats(&w).calls_open, 1);
	ASSERT_OK(start(&e, "/t/Error", 10000, false));
	RUN_UNTIL(w.loop, t.done && e.done);
	assert_int_equal(t.outcome, GRPC_OK);
	assert_int_equal(t.err_code, 0);
	assert_string_equal(t.text, "hello");
	assert_true(t.elapsed_ns > 0);
	assert_false(t.was_late);
	assert_int_equal(e.outcome, GRPC_STATUS);
	assert_int_equal(e.status, GRPC_CODE_NOT_FOUND);
	assert_string_equal(e.text, "no such pod \342\234\223 100%");
	assert_int_equal(stats(&w).link, GRPC_LINK_UP);
	assert_int_equal(stats(&w).connects, 1);
	assert_int_equal(stats(&w).calls_open, 0);
	assert_int_equal(stats(&w).last_failure, GRPC_OK);
	world_close(&w);
}

static void late_then_answered(void **state)
{
	OPEN_WORLD(w, t);

	server_listen(&w, 10);
	world_connect(&w);
	ASSERT_OK(start(&t, "/t/Hold", 20, false));
	RUN_UNTIL(w.loop, t.late);
	assert_int_equal(t.done, 0);
	assert_int_equal(stats(&w).calls_open, 1);
	assert_int_equal(stats(&w).calls_late, 1);
	/* Nothing was done about it. */
	assert_int_equal(stats(&w).connects, 1);
	assert_int_equal(newest(&w)->peer->resets, 0);
	peer_release(newest(&w)->peer);
	connection_flush(newest(&w));
	RUN_UNTIL(w.loop, t.done);
	assert_int_equal(t.outcome, GRPC_OK);
	assert_true(t.was_late);
	assert_int_equal(t.late, 1);
	assert_true(t.elapsed_ns >= 20 * NSEC_PER_MSEC);
	assert_int_equal(stats(&w).calls_late, 0);
	assert_int_equal(newest(&w)->peer->pings, 0);
	world_close(&w);
}

static void deadlines_in_any_order(void **state)
{
	static const uint64_t ms[] = { 30, 10, 50, 20, 0, 40, 10 };
	struct told calls[ELEMENTS(ms)];
	OPEN_WORLD(w, t);

	server_listen(&w, 10);
	world_connect(&w);
	for (size_t i = 0; i < ELEMENTS(ms); i++) {
		calls[i] = t;
		ASSERT_OK(start(&calls[i], "/t/Hold", ms[i], false));
	}
	for (size_t k = 1; k <= 5; k++) {
		for (size_t i = 0; i < ELEMENTS(ms); i++)
			if (ms[i] == k * 10)
				RUN_UNTIL(w.loop, calls[i].late);
		/* Whoever is late had an earlier deadline than whoever is not. */
		for (size_t i = 0; i < ELEMENTS(ms); i++)
			for (size_t j = 0; j < ELEMENTS(ms); j++)
				if (calls[i].late && ms[j] > 0 && ms[j] < ms[i])
					assert_int_equal(calls[j].late, 1);
	}
	assert_int_equal(stats(&w).calls_late, ELEMENTS(ms) - 1);
	assert_int_equal(calls[4].late, 0);
	world_close(&w);
	for (size_t i = 0; i < ELEMENTS(ms); i++)
		assert_int_equal(calls[i].outcome, GRPC_CANCELLED);
}

static void late_then_lost(void **state)
{
	OPEN_WORLD(w, t);

	server_listen(&w, 10);
	world_connect(&w);
	ASSERT_OK(start(&t, "/t/Hold", 20, false));
	RUN_UNTIL(w.loop, t.late);
	connection_close(newest(&w));
	RUN_UNTIL(w.loop, t.done);
	assert_int_equal(t.outcome, GRPC_LOST);
	assert_int_equal(t.err_code, -ECONNRESET);
	assert_true(t.was_late);
	assert_int_equal(stats(&w).losses, 1);
	assert_int_equal(stats(&w).last_failure, GRPC_LOST);
	assert_int_equal(stats(&w).calls_late, 0);
	/* And it comes back by itself. */
	RUN_UNTIL(w.loop, stats(&w).link == GRPC_LINK_UP);
	assert_int_equal(stats(&w).connects, 2);
	world_close(&w);
}

static void mute_server_stays_opening(void **state)
{
	OPEN_WORLD(w, t);

	w.is_mute = true;
	server_listen(&w, 10);
	world_connect(&w);
	ASSERT_OK(start(&t, "/t/Echo", 20, false));
	RUN_UNTIL(w.loop, t.late);
	assert_int_equal(stats(&w).link, GRPC_LINK_OPENING);
	assert_int_equal(stats(&w).connects, 1);
	assert_int_equal(t.done, 0);
	RUN_UNTIL(w.loop, w.accepted == 1);
	connection_close(newest(&w));
	RUN_UNTIL(w.loop, t.done);
	assert_int_equal(t.outcome, GRPC_SILENT);
	world_close(&w);
}

static void no_socket_then_there_is_one(void **state)
{
	struct told again;
	OPEN_WORLD(w, t);

	again = t;
	world_connect(&w);
	ASSERT_OK(start(&t, "/t/Echo", 10000, false));
	RUN_UNTIL(w.loop, t.done);
	assert_int_equal(t.outcome, GRPC_NO_SOCKET);
	assert_int_equal(t.err_code, -ENOENT);
	assert_int_equal(stats(&w).link, GRPC_LINK_IDLE);
	assert_int_equal(stats(&w).last_failure, GRPC_NO_SOCKET);
	assert_int_equal(stats(&w).losses, 0);
	server_listen(&w, 10);
	ASSERT_OK(start(&again, "/t/Echo", 10000, false));
	RUN_UNTIL(w.loop, again.done);
	assert_int_equal(again.outcome, GRPC_OK);
	assert_int_equal(stats(&w).connects, 1);
	world_close(&w);
}

static void refused_by_a_stale_socket(void **state)
{
	OPEN_WORLD(w, t);

	server_listen(&w, 10);
	server_stop_listening(&w);
	world_connect(&w);
	ASSERT_OK(start(&t, "/t/Echo", 10000, false));
	RUN_UNTIL(w.loop, t.done);
	assert_int_equal(t.outcome, GRPC_REFUSED);
	assert_int_equal(t.err_code, -ECONNREFUSED);
	world_close(&w);
}

static void unreachable_tells_errno(void **state)
{
	OPEN_WORLD(w, t);

	/* A file where the socket's folder should be. */
	(void)snprintf(w.path, sizeof(w.path), "%s", "/proc/self/stat/s");
	world_connect(&w);
	ASSERT_OK(start(&t, "/t/Echo", 10000, false));
	RUN_UNTIL(w.loop, t.done);
	assert_int_equal(t.outcome, GRPC_UNREACHABLE);
	assert_int_equal(t.err_code, -ENOTDIR);
	world_close(&w);
}

static void bad_paths_are_said(void **state)
{
	char path[200];
	struct err e = { 0 };
	OPEN_WORLD(w, t);

	(void)t;
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[108] = '\0';
	ASSERT_ERR(grpc_client_new(w.loop, path, &w.client, &e), ENAMETOOLONG);
	assert_non_null(strstr(e.text, "has 108 bytes, the kernel takes at most 107"));
	ASSERT_ERR(grpc_client_new(w.loop, "run/s", &w.client, &e), EINVAL);
	assert_null(w.client);
	world_close(&w);
}

/* Connects until the backlog is full; returns how many. */
static size_t fill_backlog(struct world *w, int *fds, size_t max)
{
	struct dial_address address;
	int err_code;

	ASSERT_OK(dial_address_unix(&address, w->path, NULL));
	for (size_t n = 0; n < max; n++) {
		enum dial_fate fate = dial_start(&address, &fds[n], &err_code);

		if (fate == DIAL_BACKLOG_FULL)
			return n;
		assert_int_equal(fate, DIAL_CONNECTED);
	}
	fail_msg("the backlog never fills");
	return 0;
}

static void full_backlog_waits(void **state)
{
	int fds[8];
	size_t n;
	OPEN_WORLD(w, t);

	server_listen(&w, 0);
	(void)sd_event_source_set_enabled(w.listen_source, SD_EVENT_OFF);
	n = fill_backlog(&w, fds, ELEMENTS(fds));
	world_connect(&w);
	ASSERT_OK(start(&t, "/t/Echo", 20, false));
	RUN_UNTIL(w.loop, t.late);
	assert_int_equal(stats(&w).link, GRPC_LINK_CONNECTING);
	assert_int_equal(stats(&w).last_failure, GRPC_SILENT);
	assert_int_equal(stats(&w).connects, 0);
	assert_int_equal(t.done, 0);
	for (size_t i = 0; i < n; i++)
		(void)fd_close(fds[i]);
	(void)sd_event_source_set_enabled(w.listen_source, SD_EVENT_ON);
	RUN_UNTIL(w.loop, t.done);
	assert_int_equal(t.outcome, GRPC_OK);
	assert_true(t.was_late);
	world_close(&w);
}

static void full_backlog_then_dead(void **state)
{
	struct told after;
	int fds[8];
	size_t n;
	OPEN_WORLD(w, t);

	after = t;
	server_listen(&w, 0);
	(void)sd_event_source_set_enabled(w.listen_source, SD_EVENT_OFF);
	n = fill_backlog(&w, fds, ELEMENTS(fds));
	world_connect(&w);
	ASSERT_OK(start(&t, "/t/Echo", 20, false));
	RUN_UNTIL(w.loop, t.late);
	server_stop_listening(&w);
	for (size_t i = 0; i < n; i++)
		(void)fd_close(fds[i]);
	RUN_UNTIL(w.loop, t.done);
	assert_int_equal(t.outcome, GRPC_SILENT);
	ASSERT_OK(start(&after, "/t/Echo", 10000, false));
	RUN_UNTIL(w.loop, after.done);
	assert_int_equal(after.outcome, GRPC_REFUSED);
	world_close(&w);
}

static void raw_peer(const char *raw, size_t len, bool closes, enum grpc_outcome outcome)
{
	void *nothing = NULL, **state = &nothing;
	OPEN_WORLD(w, t);

	w.raw = raw;
	w.raw_len = len;
	w.raw_closes = closes;
	server_listen(&w, 10);
	world_connect(&w);
	ASSERT_OK(start(&t, "/t/Echo", 10000, false));
	RUN_UNTIL(w.loop, t.done);
	if (t.outcome != outcome)
		fail_msg("%s: %s", grpc_outcome_text(t.outcome), t.text);
	assert_int_equal(stats(&w).link, GRPC_LINK_IDLE);
	assert_int_equal(stats(&w).last_failure, outcome);
	world_close(&w);
}

static void garbage(void **state)
{
	static const char http1[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
	static const char half[] = "\0\0\6\4\0\0\0\0\0\0\3";
	static const char settings[] = "\0\0\0\4\0\0\0\0\0";

	(void)state;
	raw_peer(http1, sizeof(http1) - 1, true, GRPC_MALFORMED);
	raw_peer(http1, sizeof(http1) - 1, false, GRPC_MALFORMED);
	raw_peer(half, sizeof(half) - 1, true, GRPC_LOST);
	raw_peer(settings, sizeof(settings) - 1, true, GRPC_LOST);
	raw_peer("", 0, true, GRPC_SILENT);
}

static void goaway_and_end(void **state)
{
	struct told held;
	OPEN_WORLD(w, t);

	held = t;
	server_listen(&w, 10);
	world_connect(&w);
	ASSERT_OK(start(&held, "/t/Hold", 10000, false));
	RUN_UNTIL(w.loop, w.accepted == 1 && newest(&w)->peer->requests == 1);
	peer_goaway(newest(&w)->peer, NGHTTP2_NO_ERROR, "restart");
	connection_flush(newest(&w));
	connection_close(newest(&w));
	RUN_UNTIL(w.loop, held.done);
	assert_int_equal(held.outcome, GRPC_LOST);
	assert_non_null(strstr(held.text, "GOAWAY: NO_ERROR: restart"));
	ASSERT_OK(start(&t, "/t/Echo", 10000, false));
	RUN_UNTIL(w.loop, t.done);
	assert_int_equal(t.outcome, GRPC_OK);
	world_close(&w);
}

static void goaway_without_end(void **state)
{
	struct told held, stuck;
	struct connection *first;
	OPEN_WORLD(w, t);

	held = stuck = t;
	server_listen(&w, 10);
	world_connect(&w);
	ASSERT_OK(start(&held, "/t/Hold", 10000, false));
	RUN_UNTIL(w.loop, w.accepted == 1 && newest(&w)->peer->requests == 1);
	first = newest(&w);
	peer_goaway(first->peer, NGHTTP2_NO_ERROR, "");
	connection_flush(first);
	ASSERT_OK(sd_event_run(w.loop, 1000000));
	/* A new call waits for the next connection, the old one may end. */
	ASSERT_OK(start(&t, "/t/Echo", 10000, false));
	ASSERT_OK(sd_event_run(w.loop, 0));
	assert_int_equal(stats(&w).connects, 1);
	peer_release(first->peer);
	connection_flush(first);
	RUN_UNTIL(w.loop, held.done && t.done);
	assert_int_equal(held.outcome, GRPC_OK);
	assert_int_equal(t.outcome, GRPC_OK);
	assert_int_equal(stats(&w).connects, 2);
	/* One that does not end is not waited for for ever. */
	ASSERT_OK(start(&stuck, "/t/Hold", 0, false));
	RUN_UNTIL(w.loop, newest(&w)->peer->requests == 2);
	peer_goaway(newest(&w)->peer, NGHTTP2_INTERNAL_ERROR, "");
	connection_flush(newest(&w));
	RUN_UNTIL(w.loop, stuck.done);
	assert_int_equal(stuck.outcome, GRPC_LOST);
	RUN_UNTIL(w.loop, stats(&w).link == GRPC_LINK_UP);
	world_close(&w);
}

static void cap_of_calls(void **state)
{
	static struct told calls[300];
	size_t started = 0, busy = 0, done = 0;
	OPEN_WORLD(w, t);

	server_listen(&w, 10);
	world_connect(&w);
	for (size_t i = 0; i < ELEMENTS(calls); i++) {
		int r;

		calls[i] = t;
		r = start(&calls[i], "/t/Hold", 10000, false);
		if (r == -EBUSY) {
			busy++;
			continue;
		}
		ASSERT_OK(r);
		started++;
	}
	assert_int_equal(started, GRPC_CALLS_MAX);
	assert_int_equal(busy, 300 - GRPC_CALLS_MAX);
	RUN_UNTIL(w.loop, w.accepted == 1 && newest(&w)->peer->requests == GRPC_CALLS_MAX);
	peer_release(newest(&w)->peer);
	connection_flush(newest(&w));
	RUN_UNTIL(w.loop, stats(&w).calls_open == 0);
	for (size_t i = 0; i < ELEMENTS(calls); i++)
		done += calls[i].done == 1 && calls[i].outcome == GRPC_OK;
	assert_int_equal(done, GRPC_CALLS_MAX);
	/* There is room again. */
	ASSERT_OK(start(&t, "/t/Echo", 10000, false));
	RUN_UNTIL(w.loop, t.done);
	assert_int_equal(stats(&w).connects, 1);
	world_close(&w);
}

/* One thread is both ends: after each write the client gets its turn. */
static void pump(struct world *w)
{
	struct connection *conn = newest(w);
	const uint8_t *data;
	size_t len;

	while (conn->peer && (len = peer_output(conn->peer, &data)) > 0) {
		ASSERT_OK(fd_write_all(conn->fd, data, len, 1000));
		ASSERT_OK(sd_event_run(w->loop, 0));
	}
}

static void streams_more_than_the_windows(void **state)
{
	OPEN_WORLD(w, t);

	w.sized_bytes = 100000;
	w.stream_count = 200; /* 20 MB */
	server_listen(&w, 10);
	world_connect(&w);
	ASSERT_OK(start(&t, "/t/Stream", 0, true));
	RUN_UNTIL(w.loop, w.accepted == 1);
	while (!t.done) {
		pump(&w);
		ASSERT_OK(sd_event_run(w.loop, 10000));
	}
	assert_int_equal(t.outcome, GRPC_OK);
	assert_int_equal(t.messages, 200);
	assert_int_equal(t.body_len, 0);
	assert_true(stats(&w).bytes_in > 20000000);
	world_close(&w);
}

static void big_and_too_big(void **state)
{
	struct told big;
	OPEN_WORLD(w, t);

	big = t;
	server_listen(&w, 10);
	world_connect(&w);
	ASSERT_OK(start(&t, "/t/Echo", 0, false));
	RUN_UNTIL(w.loop, t.done);
	newest(&w)->peer->sized_bytes = 16u << 20;
	ASSERT_OK(start(&big, "/t/Sized", 0, false));
	while (!big.done) {
		pump(&w);
		ASSERT_OK(sd_event_run(w.loop, 10000));
	}
	assert_int_equal(big.outcome, GRPC_OK);
	assert_int_equal(big.body_len, 16u << 20);

	newest(&w)->peer->sized_bytes = (32u << 20) + 1;
	big.done = t.done = 0;
	ASSERT_OK(start(&big, "/t/Sized", 0, false));
	ASSERT_OK(start(&t, "/t/Echo", 0, false));
	while (!big.done || !t.done) {
		pump(&w);
		ASSERT_OK(sd_event_run(w.loop, 10000));
	}
	assert_int_equal(big.outcome, GRPC_TOO_LARGE);
	assert_int_equal(big.err_code, -EMSGSIZE);
	assert_int_equal(t.outcome, GRPC_OK);
	assert_int_equal(stats(&w).connects, 1);
	assert_int_equal(stats(&w).losses, 0);
	world_close(&w);
}

static void reset_ends_one_call(void **state)
{
	struct told other;
	OPEN_WORLD(w, t);

	other = t;
	server_listen(&w, 10);
	world_connect(&w);
	ASSERT_OK(start(&t, "/t/Reset", 10000, false));
	ASSERT_OK(start(&other, "/t/Echo", 10000, false));
	RUN_UNTIL(w.loop, t.done && other.done);
	assert_int_equal(t.outcome, GRPC_LOST);
	assert_int_equal(other.outcome, GRPC_OK);
	assert_int_equal(stats(&w).losses, 0);
	world_close(&w);
}

static void cancel_resets_and_says_nothing(void **state)
{
	struct told waiting;
	OPEN_WORLD(w, t);

	waiting = t;
	server_listen(&w, 10);
	world_connect(&w);
	ASSERT_OK(start(&waiting, "/t/Echo", 10000, false));
	grpc_call_cancel(waiting.call); /* before there is a connection */
	ASSERT_OK(start(&t, "/t/Hold", 10000, true));
	RUN_UNTIL(w.loop, w.accepted == 1 && newest(&w)->peer->requests == 1);
	grpc_call_cancel(t.call);
	assert_int_equal(stats(&w).calls_open, 0);
	RUN_UNTIL(w.loop, newest(&w)->peer->resets == 1);
	assert_int_equal(newest(&w)->peer->last_reset_code, NGHTTP2_CANCEL);
	assert_int_equal(t.done + waiting.done, 0);
	world_close(&w);
}

static void free_client_inside(const char *path, uint64_t deadline_ms, bool is_stream, bool lose)
{
	void *nothing = NULL, **state = &nothing;
	struct told other;
	OPEN_WORLD(w, t);

	other = t;
	t.then = THEN_FREE_CLIENT;
	w.sized_bytes = 1000;
	w.stream_count = 3;
	server_listen(&w, 10);
	world_connect(&w);
	ASSERT_OK(start(&t, path, deadline_ms, is_stream));
	ASSERT_OK(start(&other, "/t/Hold", 0, false));
	if (lose) {
		RUN_UNTIL(w.loop, w.accepted == 1 && newest(&w)->peer->requests == 2);
		connection_close(newest(&w));
	}
	RUN_UNTIL(w.loop, !w.client);
	assert_int_equal(t.done, 1);
	assert_int_equal(other.done, 1);
	assert_int_equal(other.outcome, GRPC_CANCELLED);
	if (str_eq(path, "/t/Echo")) {
		assert_int_equal(t.outcome, GRPC_OK);
		assert_string_equal(t.text, "hello");
	}
	world_close(&w);
}

static void free_client_inside_callbacks(void **state)
{
	(void)state;
	free_client_inside("/t/Echo", 0, false, false);  /* on_done */
	free_client_inside("/t/Hold", 10, false, false); /* on_late */
	free_client_inside("/t/Stream", 0, true, false); /* on_message */
	free_client_inside("/t/Hold", 0, false, true);   /* on_done of a lost connection */
}

static void free_client_while_it_fails_to_connect(void **state)
{
	struct told other;
	OPEN_WORLD(w, t);

	other = t;
	t.then = THEN_FREE_CLIENT;
	world_connect(&w);
	ASSERT_OK(start(&t, "/t/Echo", 0, false));
	ASSERT_OK(start(&other, "/t/Echo", 0, false));
	RUN_UNTIL(w.loop, !w.client);
	assert_int_equal(t.outcome, GRPC_NO_SOCKET);
	assert_int_equal(other.outcome, GRPC_CANCELLED);
	world_close(&w);
}

static void start_inside_callbacks(void **state)
{
	struct told other, third;
	OPEN_WORLD(w, t);

	other = third = t;
	t.then = other.then = THEN_START_AGAIN;
	t.other = &other;
	other.other = &third;
	world_connect(&w);
	ASSERT_OK(start(&t, "/t/Echo", 0, false));
	/* The first fails for want of a socket and starts one that waits for the next dial. */
	RUN_UNTIL(w.loop, t.done);
	assert_int_equal(other.done, 0);
	server_listen(&w, 10);
	RUN_UNTIL(w.loop, third.done);
	assert_int_equal(other.outcome, GRPC_OK);
	assert_int_equal(third.outcome, GRPC_OK);
	world_close(&w);
}

static void cancel_inside_callbacks(void **state)
{
	struct told other, stream;
	OPEN_WORLD(w, t);

	other = stream = t;
	t.then = THEN_CANCEL_OTHER;
	t.other = &other;
	stream.then = THEN_CANCEL_SELF;
	w.sized_bytes = 100;
	w.stream_count = 5;
	server_listen(&w, 10);
	world_connect(&w);
	ASSERT_OK(start(&t, "/t/Echo", 0, false));
	ASSERT_OK(start(&other, "/t/Echo", 0, false));
	ASSERT_OK(start(&stream, "/t/Stream", 0, true));
	RUN_UNTIL(w.loop, stats(&w).calls_open == 0);
	assert_int_equal(t.outcome, GRPC_OK);
	assert_int_equal(other.done, 0);
	assert_int_equal(stream.done, 0);
	assert_int_equal(stream.messages, 1);
	world_close(&w);
}

static void backoff_doubles_to_its_end(void **state)
{
	uint64_t base = 0, want = DIAL_BACKOFF_MIN_NS;

	(void)state;
	for (size_t i = 0; i < 20; i++) {
		uint64_t ns = dial_backoff_next(&base);

		assert_int_equal(base, want);
		assert_in_range(ns, want / 10 * 8, want / 10 * 12);
		want = want * 2 > DIAL_BACKOFF_MAX_NS ? DIAL_BACKOFF_MAX_NS : want * 2;
	}
	assert_int_equal(base, DIAL_BACKOFF_MAX_NS);
}

static void server_that_does_not_read(void **state)
{
	OPEN_WORLD(w, t);

	w.is_mute = true;
	server_listen(&w, 10);
	world_connect(&w);
	for (size_t i = 0; i < 200; i++) {
		ASSERT_OK(start(&t, "/t/Echo", 30, false));
		ASSERT_OK(sd_event_run(w.loop, 0));
	}
	RUN_UNTIL(w.loop, t.late == 200);
	assert_int_equal(stats(&w).calls_open, 200);
	assert_int_equal(stats(&w).connects, 1);
	world_close(&w);
	assert_int_equal(t.done, 200);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers),
		cmocka_unit_test(late_then_answered),
		cmocka_unit_test(deadlines_in_any_order),
		cmocka_unit_test(late_then_lost),
		cmocka_unit_test(mute_server_stays_opening),
		cmocka_unit_test(no_socket_then_there_is_one),
		cmocka_unit_test(refused_by_a_stale_socket),
		cmocka_unit_test(unreachable_tells_errno),
		cmocka_unit_test(bad_paths_are_said),
		cmocka_unit_test(full_backlog_waits),
		cmocka_unit_test(full_backlog_then_dead),
		cmocka_unit_test(garbage),
		cmocka_unit_test(goaway_and_end),
		cmocka_unit_test(goaway_without_end),
		cmocka_unit_test(cap_of_calls),
		cmocka_unit_test(streams_more_than_the_windows),
		cmocka_unit_test(big_and_too_big),
		cmocka_unit_test(reset_ends_one_call),
		cmocka_unit_test(cancel_resets_and_says_nothing),
		cmocka_unit_test(free_client_inside_callbacks),
		cmocka_unit_test(free_client_while_it_fails_to_connect),
		cmocka_unit_test(start_inside_callbacks),
		cmocka_unit_test(cancel_inside_callbacks),
		cmocka_unit_test(backoff_doubles_to_its_end),
		cmocka_unit_test(server_that_does_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
