/*
 * HTTP/1.1: the parser with every answer cut at every place, and the driver against raw bytes from a
 * unix socket and a loopback port on the same loop.
 */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "loop.h"
#include "net/dial.h"
#include "net/http1-parse.h"
#include "net/http1.h"

/* --- the parser --- */

/* Feeds `answer` cut at `cut`, then the end of the connection. 0 or an error. */
static int parse(
	struct http1_parser *p, const char *answer, size_t len, size_t cut, struct buf *body)
{
	const uint8_t *at = (const uint8_t *)answer;
	const size_t parts[] = { cut, len - cut };

	for (size_t i = 0; i < 2; i++) {
		size_t left = parts[i];
		int r;

		do {
			const uint8_t *piece;
			size_t piece_len;

			r = http1_parser_next(p, &at, &left, &piece, &piece_len);
			if (r < 0)
				return r;
			if (r == HTTP1_BODY)
				ASSERT_OK(buf_append(body, piece, piece_len));
			if (r == HTTP1_DONE)
				return 0;
		} while (r != HTTP1_NEED);
	}
	return http1_parser_eof(p);
}

static void answers_in_any_cut(void **state)
{
	static const struct {
		const char *method, *answer;
		int r;
		unsigned status;
		const char *body, *type;
	} rows[] = {
		{ "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 0, 200, "ok", "" },
		{ "GET", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nokay", 0, 200, "ok", "" },
		{ "GET", "HTTP/1.0 503 Bad\ncontent-type:  text/plain \n\nno", 0, 503, "no",
			"text/plain" },
		{ "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0, 200, "", "" },
		{ "GET", "HTTP/1.1 204 No\r\n\r\n", 0, 204, "", "" },
		{ "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", 0, 200, "", "" },
		{ "GET",
			"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: "
			"1\r\n\r\nx",
			0, 200, "x", "" },
		{ "GET", "HTTP/1.1 101 Up\r\nUpgrade: tcp\r\n\r\nraw", 0, 101, "raw", "" },
		{ "GET",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
			"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n",
			0, 200, "abc0123456789", "" },
		{ "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", 0,
			200, "ok", "" },
		/* Cut by the end of the connection. */
		{ "GET", "", -ECONNRESET, 0, "", "" },
		{ "GET", "HTTP/1.1 200 OK\r\nConte", -ECONNRESET, 200, "", "" },
		{ "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", -ECONNRESET, 200, "ok",
			"" },
		{ "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
			-ECONNRESET, 200, "abc", "" },
		/* Not HTTP/1, or not to be trusted. */
		{ "GET", "SSH-2.0-OpenSSH_9.2p1\r\n", -EPROTO, 0, "", "" },
		{ "GET", "HTTP/2 200 OK\r\n", -EPROTO, 0, "", "" },
		{ "GET", "HTTP/1.1 2000 OK\r\n", -EPROTO, 0, "", "" },
		{ "GET", "HTTP/1.1 099 OK\r\n", -EPROTO, 0, "", "" },
		{ "GET", "HTTP/1.1 200 OK\r\n: x\r\n", -EPROTO, 200, "", "" },
		{ "GET", "HTTP/1.1 200 OK\r\nA: x\r\n folded\r\n", -EPROTO, 200, "", "" },
		{ "GET", "HTTP/1.1 200 OK\r\nA : x\r\n", -EPROTO, 200, "", "" },
		{ "GET", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n", -EPROTO, 200, "", "" },
		{ "GET", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n", -EPROTO,
			200, "", "" },
		{ "GET",
			"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: "
			"chunked\r\n\r\n",
			-EPROTO, 200, "", "" },
		{ "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n", -EPROTO, 200, "", "" },
		{ "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", -EPROTO, 200,
			"", "" },
		{ "GET",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: "
			"chunked\r\n\r\nfffffffffffffffff\r\n",
			-EPROTO, 200, "", "" },
		{ "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
			-EPROTO, 200, "a", "" },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		size_t len = strlen(rows[i].answer);

		for (size_t cut = 0; cut <= len; cut++) {
			struct buf body = BUF_INIT(1000);
			struct http1_parser p;
			int r;

			http1_parser_init(&p, rows[i].method);
			r = parse(&p, rows[i].answer, len, cut, &body);
			if (r != rows[i].r || p.status != rows[i].status ||
				!str_eq(buf_string(&body), rows[i].body))
				fail_msg("row %zu cut at %zu: %d, status %u, '%s'", i, cut, r,
					p.status, buf_string(&body));
			assert_int_equal(r == -EPROTO, p.trouble[0] != '\0');
			assert_string_equal(p.content_type, rows[i].type);
			http1_parser_done(&p);
			buf_done(&body);
		}
	}
}

static void heads_have_limits(void **state)
{
	struct buf answer = BUF_INIT(1 << 20), body = BUF_INIT(10);
	struct http1_parser p;

	(void)state;
	ASSERT_OK(buf_append_string(&answer, "HTTP/1.1 200 OK\r\n"));
	for (size_t i = 0; i <= HTTP1_HEADERS_MAX; i++)
		ASSERT_OK(buf_printf(&answer, "H%zu: x\r\n", i));
	http1_parser_init(&p, "GET");
	ASSERT_ERR(parse(&p, (char *)answer.data, answer.len, 0, &body), EMSGSIZE);
	http1_parser_done(&p);

	buf_clear(&answer);
	ASSERT_OK(buf_append_string(&answer, "HTTP/1.1 200 "));
	for (size_t i = 0; i < HTTP1_LINE_MAX; i++)
		ASSERT_OK(buf_append(&answer, "x", 1));
	http1_parser_init(&p, "GET");
	ASSERT_ERR(parse(&p, (char *)answer.data, answer.len, 5000, &body), EMSGSIZE);
	http1_parser_done(&p);
	buf_done(&answer);
	buf_done(&body);
}

static void requests_cannot_be_split(void **state)
{
	struct buf out = BUF_INIT(1000);

	(void)state;
	ASSERT_ERR(http1_write_request(&out, "GET", "h", "/a b", NULL, NULL, 0, true), EINVAL);
	ASSERT_ERR(http1_write_request(&out, "GET", "h", "/\r\nX: y", NULL, NULL, 0, true), EINVAL);
	ASSERT_ERR(http1_write_request(&out, "G T", "h", "/", NULL, NULL, 0, true), EINVAL);
	ASSERT_ERR(http1_write_request(&out, "GET", "h\n", "/", NULL, NULL, 0, true), EINVAL);
	ASSERT_ERR(http1_write_request(&out, "GET", "h", "", NULL, NULL, 0, true), EINVAL);
	assert_int_equal(out.len, 0);
	ASSERT_OK(http1_write_request(&out, "POST", "h", "/x", "application/json", "{}", 2, true));
	assert_string_equal(buf_string(&out),
		"POST /x HTTP/1.1\r\nHost: h\r\nUser-Agent: pleg/" PLEG_VERSION
		"\r\nAccept: */*\r\nConnection: close\r\nContent-Type: application/json\r\n"
		"Content-Length: 2\r\n\r\n{}");
	buf_done(&out);
}

/* --- the driver --- */

struct world {
	sd_event *loop;
	char dir[32], path[64];
	int fds_before, listen_fd, fd;
	uint16_t port;
	sd_event_source *listen_source, *source;
	/* The script. */
	const char *answer;
	bool closes, is_mute;
	char request[1024];
	/* What was told. */
	struct http1_call *call;
	unsigned done, late, pieces;
	enum http1_outcome outcome;
	unsigned status;
	int err_code;
	bool was_late, cancel_in_body, cancel_when_late;
	char text[256];
	struct http1_pool *pool;
	unsigned accepted, heads;
};

static void server_close(struct world *w)
{
	w->source = sd_event_source_disable_unref(w->source);
	w->fd = fd_close(w->fd);
}

static void server_answer(struct world *w)
{
	ASSERT_OK(fd_write_all(w->fd, w->answer, strlen(w->answer), 1000));
	if (w->closes)
		server_close(w);
}

static int on_request(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct world *w = userdata;
	ssize_t n = recv(fd, w->request, sizeof(w->request) - 1, MSG_DONTWAIT);

	if (n <= 0) {
		server_close(w);
		return 0;
	}
	w->request[n] = '\0';
	if (!w->is_mute)
		server_answer(w);
	return 0;
}

static int on_accept(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct world *w = userdata;

	server_close(w);
	w->accepted++;
	w->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	return sd_event_add_io(w->loop, &w->source, w->fd, EPOLLIN, on_request, w);
}

static void world_open(struct world *w)
{
	*w = (struct world){ .dir = "/tmp/test-http1-XXXXXX", .listen_fd = -EBADF, .fd = -EBADF };
	w->fds_before = count_fds();
	assert_non_null(mkdtemp(w->dir));
	(void)snprintf(w->path, sizeof(w->path), "%s/s", w->dir);
	ASSERT_OK(sd_event_new(&w->loop));
}

static void server_listen(struct world *w, bool is_tcp, int backlog)
{
	struct dial_address address;

	if (is_tcp)
		ASSERT_OK(dial_address_loopback(&address, "localhost", 0, NULL));
	else
		ASSERT_OK(dial_address_unix(&address, w->path, NULL));
	w->listen_fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ASSERT_OK(bind(w->listen_fd, &address.any, address.len));
	ASSERT_OK(getsockname(w->listen_fd, &address.any, &address.len));
	w->port = is_tcp ? ntohs(address.in.sin_port) : 0;
	ASSERT_OK(listen(w->listen_fd, backlog));
	ASSERT_OK(sd_event_add_io(w->loop, &w->listen_source, w->listen_fd, EPOLLIN, on_accept, w));
}

static void server_stop_listening(struct world *w)
{
	w->listen_source = sd_event_source_disable_unref(w->listen_source);
	w->listen_fd = fd_close(w->listen_fd);
}

static void world_close(struct world *w)
{
	server_close(w);
	server_stop_listening(w);
	(void)unlink(w->path);
	(void)rmdir(w->dir);
	assert_int_equal(sd_event_run(w->loop, 0), 0);
	w->loop = sd_event_unref(w->loop);
	assert_int_equal(count_fds(), w->fds_before);
}

static void on_done(void *userdata, const struct http1_result *result)
{
	struct world *w = userdata;

	w->done++;
	w->outcome = result->outcome;
	w->status = result->status;
	w->err_code = result->err_code;
	w->was_late = result->was_late;
	if (result->body)
		(void)str_clean(
			w->text, sizeof(w->text), (const char *)result->body, result->body_len);
	else if (w->text[0] == '\0')
		(void)snprintf(w->text, sizeof(w->text), "%s", result->message);
}

static void on_late(void *userdata)
{
	struct world *w = userdata;

	assert_int_equal(w->done, 0);
	w->late++;
	if (w->cancel_when_late)
		w->call = http1_cancel(w->call);
}

static void on_body(void *userdata, unsigned status, const uint8_t *data, size_t len)
{
	struct world *w = userdata;
	size_t have = strlen(w->text);

	assert_int_equal(status, 200);
	w->pieces++;
	if (w->cancel_in_body)
		w->call = http1_cancel(w->call);
	(void)str_clean(w->text + have, sizeof(w->text) - have, (const char *)data, len);
}

static const struct http1_callbacks whole = { .on_done = on_done, .on_late = on_late };
static const struct http1_callbacks pieces = {
	.on_done = on_done,
	.on_late = on_late,
	.on_body = on_body,
};

static void get(struct world *w, const struct http1_callbacks *callbacks, uint64_t deadline_ms)
{
	const struct http1_request request = {
		.unix_path = w->port ? NULL : w->path,
		.host = "127.0.0.1",
		.port = w->port,
		.target = "/healthz",
		.max_body_bytes = 100,
		.deadline_ns = deadline_ms * NSEC_PER_MSEC,
		.pool = w->pool,
		.callbacks = callbacks,
		.userdata = w,
	};
	struct err e = { 0 };

	w->text[0] = '\0';
	w->done = w->late = w->pieces = 0;
	if (http1_start(w->loop, &request, &w->call, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(w->done, 0);
}

static void outcomes(void **state)
{
	static const struct {
		const char *answer;
		bool closes;
		enum http1_outcome outcome;
		unsigned status;
		const char *text;
	} rows[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false, HTTP1_ANSWERED, 200,
			"ok" },
		{ "HTTP/1.1 500 Oh\r\n\r\nno", true, HTTP1_ANSWERED, 500, "no" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", true, HTTP1_LOST, 200,
			"Connection lost: end of file" },
		{ "", true, HTTP1_SILENT, 0,
			"The server accepted the connection and ended it without a byte" },
		{ "220 smtp.example ESMTP\r\n", false, HTTP1_MALFORMED, 0,
			"The status line is not HTTP/1" },
	};

	(void)state;
	for (int is_tcp = 0; is_tcp < 2; is_tcp++) {
		struct world w;

		world_open(&w);
		server_listen(&w, is_tcp, 10);
		for (size_t i = 0; i < ELEMENTS(rows); i++) {
			w.answer = rows[i].answer;
			w.closes = rows[i].closes;
			get(&w, &whole, 10000);
			RUN_UNTIL(w.loop, w.done);
			assert_int_equal(w.outcome, rows[i].outcome);
			assert_int_equal(w.status, rows[i].status);
			assert_int_equal(w.err_code == 0, w.outcome == HTTP1_ANSWERED);
			assert_string_equal(w.text, rows[i].text);
			assert_non_null(str_after(w.request, "GET /healthz HTTP/1.1\r\nHost: "));
		}
		server_stop_listening(&w);
		get(&w, &whole, 10000);
		RUN_UNTIL(w.loop, w.done);
		assert_int_equal(w.outcome, HTTP1_REFUSED);
		assert_int_equal(w.err_code, -ECONNREFUSED);
		assert_string_equal(w.text, "Connect: Connection refused");
		world_close(&w);
	}
}

static void no_socket(void **state)
{
	struct world w;

	(void)state;
	world_open(&w);
	get(&w, &whole, 10000);
	RUN_UNTIL(w.loop, w.done);
	assert_int_equal(w.outcome, HTTP1_NO_SOCKET);
	assert_int_equal(w.err_code, -ENOENT);
	world_close(&w);
}

static void body_over_its_maximum(void **state)
{
	struct world w;
	char answer[256] = "HTTP/1.1 200 OK\r\n\r\n";

	(void)state;
	world_open(&w);
	memset(answer + strlen(answer), 'x', 101);
	w.answer = answer;
	server_listen(&w, false, 10);
	get(&w, &whole, 10000);
	RUN_UNTIL(w.loop, w.done);
	assert_int_equal(w.outcome, HTTP1_TOO_LARGE);
	assert_int_equal(w.err_code, -EMSGSIZE);
	/* In pieces there is no maximum. */
	w.closes = true;
	get(&w, &pieces, 10000);
	RUN_UNTIL(w.loop, w.done);
	assert_int_equal(w.outcome, HTTP1_ANSWERED);
	assert_int_equal(strlen(w.text), 101);
	world_close(&w);
}

static void late_then_answered(void **state)
{
	struct world w;

	(void)state;
	world_open(&w);
	w.is_mute = true;
	w.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	server_listen(&w, true, 10);
	get(&w, &whole, 20);
	RUN_UNTIL(w.loop, w.late);
	assert_int_equal(w.done, 0);
	RUN_UNTIL(w.loop, w.request[0]);
	server_answer(&w);
	RUN_UNTIL(w.loop, w.done);
	assert_int_equal(w.outcome, HTTP1_ANSWERED);
	assert_true(w.was_late);
	world_close(&w);
}

static void cancelled(void **state)
{
	struct world w;

	(void)state;
	world_open(&w);
	server_listen(&w, false, 10);
	get(&w, &whole, 20); /* before it has connected */
	w.call = http1_cancel(w.call);
	w.is_mute = w.cancel_when_late = true;
	get(&w, &whole, 20);
	RUN_UNTIL(w.loop, w.late);
	assert_null(w.call);
	w.is_mute = false;
	w.cancel_in_body = true;
	w.answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n";
	get(&w, &pieces, 10000);
	RUN_UNTIL(w.loop, w.pieces);
	/* The server sees it go. */
	RUN_UNTIL(w.loop, w.fd < 0);
	assert_int_equal(w.pieces, 1);
	assert_string_equal(w.text, "a");
	assert_int_equal(w.done, 0);
	world_close(&w);
}

static void full_backlog(void **state)
{
	struct dial_address address;
	int fds[8], err_code;
	size_t n = 0;
	struct world w;

	(void)state;
	world_open(&w);
	w.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	server_listen(&w, false, 0);
	(void)sd_event_source_set_enabled(w.listen_source, SD_EVENT_OFF);
	ASSERT_OK(dial_address_unix(&address, w.path, NULL));
	while (dial_start(&address, &fds[n], &err_code) == DIAL_CONNECTED)
		assert_true(++n < ELEMENTS(fds));
	get(&w, &whole, 20);
	RUN_UNTIL(w.loop, w.late);
	assert_int_equal(w.done, 0);
	for (size_t i = 0; i < n; i++)
		(void)fd_close(fds[i]);
	(void)sd_event_source_set_enabled(w.listen_source, SD_EVENT_ON);
	RUN_UNTIL(w.loop, w.done);
	assert_int_equal(w.outcome, HTTP1_ANSWERED);
	assert_true(w.was_late);
	world_close(&w);
}

static void only_loopback(void **state)
{
	static const struct {
		const char *host;
		int r;
	} rows[] = {
		{ "127.0.0.1", 0 },
		{ "127.9.9.9", 0 },
		{ "::1", 0 },
		{ "localhost", 0 },
		{ "10.0.0.1", -EINVAL },
		{ "::2", -EINVAL },
		{ "example.com", -EINVAL },
		{ "", -EINVAL },
	};
	struct dial_address address;
	struct err e;

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++)
		assert_int_equal(dial_address_loopback(&address, rows[i].host, 80, &e), rows[i].r);
}

static void get_kept(struct world *w, unsigned accepted, unsigned kept)
{
	get(w, &whole, 10000);
	RUN_UNTIL(w->loop, w->done);
	assert_int_equal(w->outcome, HTTP1_ANSWERED);
	assert_string_equal(w->text, "ok");
	assert_int_equal(w->accepted, accepted);
	assert_int_equal(w->pool->count, kept);
}

static void connections_are_kept(void **state)
{
	static const char *const farewells[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
		"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok, and more",
	};
	static const char good[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
	struct http1_pool pool = { 0 };
	struct world w;

	(void)state;
	world_open(&w);
	w.pool = &pool;
	w.answer = good;
	server_listen(&w, false, 10);
	get_kept(&w, 1, 1);
	assert_null(strstr(w.request, "Connection:"));
	get_kept(&w, 1, 1);
	get_kept(&w, 1, 1);
	assert_int_equal(pool.dials, 1);
	assert_int_equal(pool.reuses, 2);
	/* It was closed while it was kept: dialled anew, and nobody is told. */
	server_close(&w);
	get_kept(&w, 2, 1);
	/* It is closed at the very request. */
	w.answer = "";
	w.closes = true;
	get(&w, &whole, 10000);
	RUN_UNTIL(w.loop, w.accepted == 3 || w.done);
	assert_int_equal(w.done, 0);
	RUN_UNTIL(w.loop, w.done);
	assert_int_equal(w.outcome, HTTP1_SILENT); /* the new one does the same: that is said */
	assert_int_equal(pool.count, 0);
	w.closes = false;
	for (size_t i = 0; i < ELEMENTS(farewells); i++) {
		w.answer = farewells[i];
		get_kept(&w, 4 + (unsigned)i, 0);
	}
	w.answer = good;
	get_kept(&w, 7, 1);
	http1_pool_done(&pool);
	world_close(&w);
}

static void on_head(void *userdata, unsigned status)
{
	struct world *w = userdata;

	w->heads++;
	w->status = status;
}

/* A stream: the head comes long before the first piece. */
static void the_head_is_told(void **state)
{
	static const struct http1_callbacks stream = {
		.on_done = on_done,
		.on_head = on_head,
		.on_body = on_body,
	};
	struct world w;

	(void)state;
	world_open(&w);
	server_listen(&w, false, 10);
	w.answer =
		"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
	get(&w, &stream, 10000);
	RUN_UNTIL(w.loop, w.heads);
	assert_int_equal(w.status, 200);
	assert_int_equal(w.pieces, 0);
	w.answer = "2\r\nok\r\n0\r\n\r\n";
	server_answer(&w);
	RUN_UNTIL(w.loop, w.done);
	assert_int_equal(w.heads, 1);
	assert_string_equal(w.text, "ok");
	world_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_in_any_cut),
		cmocka_unit_test(heads_have_limits),
		cmocka_unit_test(requests_cannot_be_split),
		cmocka_unit_test(outcomes),
		cmocka_unit_test(no_socket),
		cmocka_unit_test(body_over_its_maximum),
		cmocka_unit_test(late_then_answered),
		cmocka_unit_test(cancelled),
		cmocka_unit_test(full_backlog),
		cmocka_unit_test(only_loopback),
		cmocka_unit_test(connections_are_kept),
		cmocka_unit_test(the_head_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
