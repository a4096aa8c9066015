/*
 * The client against a server in the same loop that answers each request with the next line of a
 * script: well, slowly, not at all, broken off in the middle, too much.
 */
#include "unit.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/str.h"
#include "kube/client.h"
#include "kube/credential.h"
#include "kube/object.h"

#define REQUESTS  16
#define SILENT    ""  /* accepts and never answers */
#define HANG_UP   "!" /* closes at once */
#define KEEP      "~" /* before an answer: and the connection stays */
#define DEAF      "#" /* before that: and the kernel drops what comes on it from now on */
#define OK(body)  "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" body
#define SAY(line) "HTTP/1.1 " line "\r\nContent-Length: 0\r\n\r\n"

struct peer {
	struct peer *next;
	sd_event_source *source;
	struct server *server;
	char request[4096];
	size_t len;
	int fd;
};

struct server {
	sd_event *event;
	sd_event_source *source;
	struct kube_client *client;
	struct peer *peers;
	const char *const *script; /* ends with NULL; then 500 */
	char requests[REQUESTS][4096];
	unsigned count;
	int fd;
	char url[64];
	/* what was called back */
	struct kube_answer answer;
	char body[256], text[KUBE_TEXT], changes[256];
	unsigned answers, gone, troubles, unauthorized, accepted, stales;
	struct api_stale stale;
	char stale_what[64], stale_local[64];
	bool renew;
};

/* No segment gets to the socket any more, so none is acknowledged: as behind a firewall that forgot it. */
static void deafen(int fd)
{
	struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = { 1, &drop };

	assert_int_equal(
		setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)), 0);
}

static void answer(struct peer *p, const char *what)
{
	bool is_deaf = *what == *DEAF;

	what += is_deaf;
	if (*what == *KEEP) {
		ASSERT_OK(fd_write_all(p->fd, what + 1, strlen(what + 1), 10000));
		if (is_deaf)
			deafen(p->fd);
		return;
	}
	if (str_eq(what, SILENT))
		return;
	if (!str_eq(what, HANG_UP))
		ASSERT_OK(fd_write_all(p->fd, what, strlen(what), 10000));
	p->source = sd_event_source_disable_unref(p->source);
	p->fd = fd_close(p->fd);
}

static int on_peer(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct peer *p = userdata;
	struct server *s = p->server;
	ssize_t n = read(fd, p->request + p->len, sizeof(p->request) - 1 - p->len);

	if (n <= 0) {
		p->source = sd_event_source_disable_unref(p->source);
		p->fd = fd_close(p->fd);
		return 0;
	}
	p->len += (size_t)n;
	p->request[p->len] = '\0';
	if (!strstr(p->request, "\r\n\r\n"))
		return 0;
	assert_true(s->count < REQUESTS);
	memcpy(s->requests[s->count++], p->request, p->len + 1);
	p->len = 0;
	answer(p, *s->script ? *s->script++ : SAY("500 No"));
	return 0;
}

static int on_accept(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct server *s = userdata;
	struct peer *p = mem_zalloc(sizeof(*p));

	assert_non_null(p);
	p->server = s;
	p->next = s->peers;
	s->peers = p;
	p->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(p->fd >= 0);
	s->accepted++;
	ASSERT_OK(sd_event_add_io(s->event, &p->source, p->fd, EPOLLIN, on_peer, p));
	return 0;
}

static void on_unauthorized(struct kube_client *client, void *userdata)
{
	struct server *s = userdata;

	s->unauthorized++;
	if (s->renew)
		ASSERT_OK(kube_client_set_credential(
			client, &(struct kube_credential){ .bearer = (char *)"new" }));
}

static void on_stale(struct kube_client *client, const struct api_stale *stale, void *userdata)
{
	struct server *s = userdata;

	s->stales++;
	s->stale = *stale;
	(void)snprintf(s->stale_what, sizeof(s->stale_what), "%s", stale->what);
	(void)snprintf(s->stale_local, sizeof(s->stale_local), "%s", stale->local);
	assert_string_equal(stale->remote, str_after(s->url, "http://"));
}

static void server_init(struct server *s, const char *const *script)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);

	*s = (struct server){ .script = script };
	ASSERT_OK(sd_event_new(&s->event));
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(s->fd, 16), 0);
	assert_int_equal(getsockname(s->fd, (struct sockaddr *)&a, &len), 0);
	ASSERT_OK(sd_event_add_io(s->event, &s->source, s->fd, EPOLLIN, on_accept, s));
	(void)snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u", ntohs(a.sin_port));
	ASSERT_OK(kube_client_new(s->event,
		&(struct kube_client_options){
			.target = { .server = s->url, .proxy_url = "" },
			.seed = 42,
			.on_unauthorized = on_unauthorized,
			.on_stale = on_stale,
			.userdata = s,
		},
		&s->client, NULL));
}

static void server_done(struct server *s)
{
	s->client = kube_client_free(s->client);
	while (s->peers) {
		struct peer *p = s->peers;

		s->peers = p->next;
		(void)sd_event_source_disable_unref(p->source);
		(void)fd_close(p->fd);
		(void)mem_free(p);
	}
	s->source = sd_event_source_disable_unref(s->source);
	s->fd = fd_close(s->fd);
	s->event = sd_event_unref(s->event);
}

static void on_answer(const struct kube_answer *a, void *userdata)
{
	struct server *s = userdata;

	s->answers++;
	s->answer = *a;
	(void)snprintf(s->body, sizeof(s->body), "%s", a->body);
	(void)snprintf(s->text, sizeof(s->text), "%s", a->text);
}

static void run_until(struct server *s, const unsigned *counter, unsigned wanted)
{
	for (unsigned i = 0; i < 2000 && *counter < wanted; i++)
		ASSERT_OK(sd_event_run(s->event, 10 * 1000 * 1000));
	assert_int_equal(*counter, wanted);
}

static void ask(struct server *s, const struct kube_request *request)
{
	ASSERT_OK(kube_request(s->client, request, on_answer, s, NULL));
	assert_int_equal(s->answers, 0); /* never from inside */
	run_until(s, &s->answers, 1);
}

static void answers(void **state)
{
	static const struct {
		const char *method, *script[4];
		enum kube_error error;
		unsigned http, tries;
	} cases[] = {
		{ "GET", { OK("{}") }, KUBE_OK, 200, 1 },
		{ "GET", { HANG_UP, SAY("503 Busy"), OK("{}") }, KUBE_OK, 200, 3 },
		{ "GET", { "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", OK("{}") }, KUBE_OK,
			200, 2 },
		{ "GET", { SAY("404 None") }, KUBE_OK, 404, 1 },
		{ "PATCH", { SAY("409 Conflict") }, KUBE_OK, 409, 1 },
		{ "POST", { HANG_UP, OK("{}") }, KUBE_RESET, 0, 1 },
		{ "POST", { SAY("500 No"), OK("{}") }, KUBE_OK, 500, 1 },
		{ "POST", { SAY("429 Slow"), OK("{}") }, KUBE_OK, 200, 2 },
		{ "PATCH",
			{ "HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
				OK("{}") },
			KUBE_OK, 200, 2 },
		{ "GET", { SAY("500 1"), SAY("500 2"), SAY("500 3") }, KUBE_OK, 500, 4 },
	};

	for (size_t i = 0; i < ELEMENTS(cases); i++) {
		const char *script[5] = { 0 };
		struct server s;

		memcpy(script, cases[i].script, sizeof(cases[i].script));
		server_init(&s, script);
		ask(&s,
			&(struct kube_request){ .method = cases[i].method,
				.path = "/api/x",
				.query = "a=b",
				.body = str_eq(cases[i].method, "GET") ? NULL : "{}",
				.body_len = 2 });
		assert_int_equal(s.answer.error, cases[i].error);
		assert_int_equal(s.answer.http, cases[i].http);
		assert_int_equal(s.answer.tries, cases[i].tries);
		assert_int_equal(s.count, cases[i].tries);
		assert_non_null(strstr(s.requests[0], " /api/x?a=b HTTP/1.1\r\n"));
		assert_true(s.answer.timings.connect_ns > 0);
		server_done(&s);
	}
}

static void silent(void **state)
{
	static const char *const script[] = { SILENT, OK("{}"), NULL };
	struct server s;

	server_init(&s, script);
	ask(&s, &(struct kube_request){ .path = "/", .deadline_ns = 200 * NSEC_PER_MSEC });
	assert_int_equal(s.answer.error, KUBE_TIMEOUT);
	assert_string_equal(kube_error_name(s.answer.error), "timeout");
	s.answers = 0;
	ask(&s, &(struct kube_request){ .path = "/" }); /* on a new connection */
	assert_int_equal(s.answer.http, 200);
	server_done(&s);
}

static void nobody(void **state)
{
	static const char *const script[] = { NULL };
	struct server s;

	server_init(&s, script);
	s.source = sd_event_source_disable_unref(s.source);
	s.fd = fd_close(s.fd);
	ask(&s, &(struct kube_request){ .path = "/", .tries = 2 });
	assert_int_equal(s.answer.error, KUBE_CONNECT);
	assert_int_equal(s.answer.tries, 2);
	assert_true(s.text[0] != '\0');
	server_done(&s);
}

/* What answers a connection but not the handshake is told apart from what answers no request. */
static void no_tls(void **state)
{
	static const char *const script[] = { NULL };
	struct server s;
	char url[80];

	server_init(&s, script);
	s.client = kube_client_free(s.client);
	(void)snprintf(url, sizeof(url), "https%s", s.url + strlen("http"));
	ASSERT_OK(kube_client_new(s.event,
		&(struct kube_client_options){ .target = { .server = url, .proxy_url = "" } },
		&s.client, NULL));
	ask(&s, &(struct kube_request){ .path = "/", .deadline_ns = 300 * NSEC_PER_MSEC });
	assert_int_equal(s.answer.error, KUBE_TLS);
	assert_true(s.answer.timings.connect_ns > 0);
	assert_true(s.answer.timings.tls_ns == 0);
	server_done(&s);
}

static void too_large(void **state)
{
	static const char *const script[] = { OK("0123456789"), OK("0123456789"), NULL };
	struct server s;

	server_init(&s, script);
	ask(&s, &(struct kube_request){ .path = "/", .size_max = 9 });
	assert_int_equal(s.answer.error, KUBE_TOO_LARGE);
	assert_string_equal(s.text, "The answer is larger than 9 bytes");
	assert_int_equal(s.answer.tries, 1);
	s.answers = 0;
	ask(&s, &(struct kube_request){ .path = "/", .size_max = 10 });
	assert_string_equal(s.body, "0123456789");
	server_done(&s);
}

static void unauthorized(void **state)
{
	static const char *const script[] = { SAY("401 Who"), OK("{}"), SAY("401 Who"),
		SAY("401 Who"), NULL };
	struct server s;

	server_init(&s, script);
	ASSERT_OK(kube_client_set_credential(
		s.client, &(struct kube_credential){ .bearer = (char *)"old" }));
	s.renew = true;
	ask(&s, &(struct kube_request){ .path = "/" });
	assert_int_equal(s.answer.http, 200);
	assert_non_null(strstr(s.requests[0], "Authorization: Bearer old\r\n"));
	assert_non_null(strstr(s.requests[1], "Authorization: Bearer new\r\n"));
	s.answers = 0;
	ask(&s, &(struct kube_request){ .path = "/" });
	assert_int_equal(s.answer.http, 401); /* asked for once only */
	assert_int_equal(s.unauthorized, 2);
	assert_int_equal(s.count, 4);
	server_done(&s);
}

static void cancelled(void **state)
{
	static const char *const script[] = { SILENT, NULL };
	struct server s;
	struct kube_call *call;

	server_init(&s, script);
	ASSERT_OK(kube_request(
		s.client, &(struct kube_request){ .path = "/" }, on_answer, &s, &call));
	run_until(&s, &s.count, 1);
	assert_null(kube_call_cancel(call));
	ASSERT_OK(kube_request(
		s.client, &(struct kube_request){ .path = "/" }, on_answer, &s, &call));
	server_done(&s); /* with one under way */
	assert_int_equal(s.answers, 0);
}

/* --- watches --- */

static void on_change(void *userdata, enum kube_change change, const json_t *object)
{
	struct server *s = userdata;
	size_t len = strlen(s->changes);

	(void)snprintf(s->changes + len, sizeof(s->changes) - len, "%c%s ", "AMDB"[change],
		str_or_empty(kube_resource_version(object)));
}

static void on_gone(void *userdata)
{
	((struct server *)userdata)->gone++;
}

static void on_trouble(void *userdata, enum kube_error error, unsigned http, const char *text)
{
	((struct server *)userdata)->troubles++;
}

static const struct kube_watch_ops watch_ops = { on_change, on_gone, on_trouble };

#define LINE(type, version)                                                                        \
	"{\"type\":\"" type "\",\"object\":{\"metadata\":{\"resourceVersion\":\"" version "\"}}}"  \
	"\n"

static void watching(void **state)
{
	static const char *const script[] = {
		OK(LINE("ADDED", "2") LINE("MODIFIED", "3")), /* as it should be */
		"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" LINE(
			"ADDED", "4") "{\"type\":\"ADD", /* reset */
		OK(LINE("BOOKMARK", "9")),
		OK(LINE("ADDED", "10") "{\"type\":\"ADDED\",\"object\":\"\xc3\"}\n" LINE(
			"ADDED", "11")),
		OK("{\"type\":\"ADDED\",\"object\":{}}\n"), /* no metadata */
		SAY("503 Busy"),
		OK(LINE("DELETED", "12") "{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\","
					 "\"code\":410}}\n"),
		NULL,
	};
	static const char *const from[] = { "1", "3", "4", "9", "10", "10", "10" };
	struct kube_watch *w = NULL;
	struct server s;

	server_init(&s, script);
	ASSERT_OK(kube_watch(s.client,
		&(struct kube_watch_request){
			.path = "/p", .query = "q=1", .resource_version = "1", .timeout_s = 60 },
		&watch_ops, &s, &w));
	run_until(&s, &s.gone, 1);
	assert_string_equal(s.changes, "A2 M3 A4 B9 A10 D12 ");
	assert_int_equal(s.count, ELEMENTS(from));
	assert_int_equal(s.troubles, 4);
	for (size_t i = 0; i < ELEMENTS(from); i++) {
		char wanted[160];

		(void)snprintf(wanted, sizeof(wanted),
			"GET /p?q=1&watch=true&allowWatchBookmarks=true&timeoutSeconds=60&"
			"resourceVersion=%s HTTP/1.1\r\n",
			from[i]);
		assert_non_null(strstr(s.requests[i], wanted));
	}
	w = kube_watch_free(w);
	server_done(&s);
}

static void watch_gone(void **state)
{
	static const char *const script[] = { SAY("410 Gone"), NULL };
	struct kube_watch *w = NULL;
	struct server s;

	server_init(&s, script);
	ASSERT_OK(kube_watch(s.client,
		&(struct kube_watch_request){ .path = "/p", .resource_version = "1" }, &watch_ops,
		&s, &w));
	run_until(&s, &s.gone, 1);
	assert_int_equal(s.troubles, 0);
	server_done(&s); /* frees the watch */
}

/* A proxy that ends every stream at once, and well: asked ever less often. */
static void watch_ended_at_once(void **state)
{
	static const char *const script[] = { OK(""), OK(""), OK(LINE("BOOKMARK", "2")), OK(""),
		OK(""), NULL };
	uint64_t begin_ns = clock_now().mono_ns;
	struct kube_watch *w = NULL;
	struct server s;

	server_init(&s, script);
	ASSERT_OK(kube_watch(s.client,
		&(struct kube_watch_request){ .path = "/p", .resource_version = "1" }, &watch_ops,
		&s, &w));
	run_until(&s, &s.count, 5);
	/* At least half of 100, 200, 400 and 800 ms. */
	assert_true(clock_now().mono_ns - begin_ns >= 750 * NSEC_PER_MSEC);
	assert_int_equal(s.troubles, 0);
	server_done(&s);
}

/* --- stale connections --- */

#define SHORT_REQUEST(how, where)                                                                  \
	(&(struct kube_request){                                                                   \
		.method = how, .path = where, .deadline_ns = 300 * NSEC_PER_MSEC, .tries = 1 })

/* One that was there gives no answer, a new one does, to the same question. */
static void stale(void **state)
{
	static const char *const script[] = { KEEP SAY("200 OK"), SILENT, KEEP SAY("200 OK"),
		KEEP SAY("200 OK"), NULL };
	struct server s;

	server_init(&s, script);
	ask(&s, SHORT_REQUEST("GET", "/a"));
	s.answers = 0;
	ask(&s, SHORT_REQUEST("GET", "/a?b=c"));
	assert_int_equal(s.answer.error, KUBE_TIMEOUT); /* and not that it has no name */
	assert_int_equal(s.accepted, 1);
	run_until(&s, &s.stales, 1);
	assert_int_equal(s.accepted, 2);
	assert_non_null(strstr(s.requests[2], "GET /a?b=c "));
	assert_string_equal(s.stale_what, "GET /a");
	assert_non_null(str_after(s.stale_local, "127.0.0.1:"));
	assert_true(s.stale.is_proven && s.stale.has_tcp);
	assert_int_equal(s.stale.unacked, 0); /* the peer's kernel works */
	assert_true(s.stale.silent_ns >= 300 * NSEC_PER_MSEC);
	assert_true(s.stale.age_ns >= s.stale.silent_ns);
	assert_true(s.stale.fresh.connect_ns > 0 && s.stale.fresh_http == 200);
	s.answers = 0;
	ask(&s, SHORT_REQUEST("GET", "/a"));
	assert_int_equal(s.accepted, 2); /* the new one is used */
	server_done(&s);
}

/* What is slow over a new one as well, or a server that is away, is another trouble. */
static void not_stale(void **state)
{
	static const char *const script[] = { KEEP SAY("200 OK"), SILENT, HANG_UP,
		KEEP SAY("200 OK"), HANG_UP, KEEP SAY("200 OK"), NULL };
	struct server s;

	server_init(&s, script);
	ask(&s, SHORT_REQUEST("GET", "/a"));
	s.answers = 0;
	ask(&s, SHORT_REQUEST("GET", "/a"));
	run_until(&s, &s.count, 3);
	s.answers = 0;
	ask(&s, SHORT_REQUEST("GET", "/a"));
	assert_int_equal(s.answer.http, 200);
	/* Closed while it was idle: libcurl takes another, and nobody is told. */
	s.answers = 0;
	ask(&s, SHORT_REQUEST("GET", "/a"));
	assert_int_equal(s.answer.http, 200);
	assert_int_equal(s.stales, 0);
	server_done(&s);
}

/* What is no GET is not sent twice: another question is asked, which proves less. */
static void stale_and_not_a_get(void **state)
{
	static const char *const script[] = { KEEP SAY("200 OK"), SILENT, OK("ok"), NULL };
	struct server s;

	server_init(&s, script);
	ask(&s, SHORT_REQUEST("PATCH", "/a"));
	s.answers = 0;
	ask(&s, SHORT_REQUEST("PATCH", "/a"));
	assert_int_equal(s.answer.error, KUBE_TIMEOUT);
	run_until(&s, &s.stales, 1);
	assert_non_null(strstr(s.requests[2], "GET /livez "));
	assert_false(s.stale.is_proven);
	server_done(&s);
}

/* Unless the kernel says that nothing gets there any more. And what was silent as long is opened anew. */
static void stale_by_tcp(void **state)
{
	static const char *const script[] = { KEEP "HTTP/1.1 200 OK\r\n\r\n",
		DEAF KEEP SAY("200 OK"), OK("ok"), KEEP "HTTP/1.1 200 OK\r\n\r\n", NULL };
	struct kube_watch *w;
	struct server s;

	server_init(&s, script);
	ASSERT_OK(kube_watch(s.client,
		&(struct kube_watch_request){ .path = "/p", .resource_version = "7" }, &watch_ops,
		&s, &w));
	run_until(&s, &s.count, 1);
	ask(&s, SHORT_REQUEST("PATCH", "/a"));
	s.answers = 0;
	ask(&s,
		&(struct kube_request){ .method = "PATCH",
			.path = "/a",
			.deadline_ns = 2 * NSEC_PER_SEC,
			.tries = 1 });
	assert_int_equal(s.answer.error, KUBE_TIMEOUT);
	run_until(&s, &s.stales, 1);
	assert_true(s.stale.is_proven);
	assert_true(s.stale.unacked > 0 && s.stale.retransmits > 0);
	run_until(&s, &s.count, 4);
	assert_non_null(strstr(s.requests[3], "/p?watch=true"));
	assert_int_equal(s.troubles, 0);
	server_done(&s); /* frees the watch */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers),
		cmocka_unit_test(silent),
		cmocka_unit_test(nobody),
		cmocka_unit_test(no_tls),
		cmocka_unit_test(too_large),
		cmocka_unit_test(unauthorized),
		cmocka_unit_test(cancelled),
		cmocka_unit_test(watching),
		cmocka_unit_test(watch_gone),
		cmocka_unit_test(watch_ended_at_once),
		cmocka_unit_test(stale),
		cmocka_unit_test(not_stale),
		cmocka_unit_test(stale_and_not_a_get),
		cmocka_unit_test(stale_by_tcp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
