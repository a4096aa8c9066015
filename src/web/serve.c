#include "web/serve.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "web/guard.h"
#include "web/page.h"

#define SERVE_TLS "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

/* How often slow connections are looked for. */
#define SERVE_SWEEP_MS 1000

#define SERVE_SMALL_MAX 4096u

enum form {
	FORM_METRICS, /* bytes as they are, Prometheus */
	FORM_JSON,    /* bytes as they are */
	FORM_EVENTS,  /* lines, or an array of them */
	FORM_PAGE,    /* HTML */
	FORM_SAID,    /* ok, or 503 with the reason */
};

struct path {
	const char *path;
	bool metrics; /* on which of the two listeners */
	uint32_t kind;
	enum form form;
};

static const struct path paths[] = {
	{ "/metrics", true, WEB_METRICS, FORM_METRICS },
	{ "/livez", true, WEB_ASK_LIVE, FORM_SAID },
	{ "/readyz", true, WEB_ASK_READY, FORM_SAID },
	{ "/healthz", true, WEB_ASK_HEALTHY, FORM_SAID },
	{ "/", false, WEB_STATUS, FORM_PAGE },
	{ "/api/v1/status", false, WEB_STATUS, FORM_JSON },
	{ "/api/v1/pods", false, WEB_PODS, FORM_JSON },
	{ "/api/v1/events", false, WEB_EVENTS, FORM_EVENTS },
};

struct listener {
	struct serve *serve;
	struct MHD_Daemon *daemon; /* NULL: none */
	bool metrics, loopback, needs_token;
};

struct connection {
	TAILQ_ENTRY(connection) entry;
	int fd;            /* MHD's */
	uint64_t since_ns; /* when it began, or its last request ended */
	bool cut;
};

struct request {
	struct feed_wait wait; /* first: the callback gets its address */
	struct serve *serve;
	struct MHD_Connection *mhd;
	const struct path *path;
	bool lines;                 /* events one per line */
	bool asked, suspended;      /* of the agent; while it is waited for */
	bool done;                  /* the answer is in, or is known not to come */
	struct feed_answer *answer; /* NULL once done: none in time */
};

struct serve {
	struct serve_config config;
	struct feeds *feeds;
	struct listener listeners[2];
	TAILQ_HEAD(, connection) connections;
	bool ending; /* no request is taken any more */
};

/* --- responses --- */

static enum MHD_Result queue(
	struct MHD_Connection *c, unsigned status, struct MHD_Response *r, const char *type)
{
	enum MHD_Result result = MHD_NO;

	if (!r)
		return MHD_NO;
	if (MHD_add_response_header(r, "Content-Type", type) == MHD_YES &&
		MHD_add_response_header(r, "Cache-Control", "no-store") == MHD_YES &&
		MHD_add_response_header(r, "X-Content-Type-Options", "nosniff") == MHD_YES &&
		MHD_add_response_header(r, "X-Frame-Options", "DENY") == MHD_YES &&
		MHD_add_response_header(r, "Referrer-Policy", "no-referrer") == MHD_YES &&
		MHD_add_response_header(r, "Content-Security-Policy",
			"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; "
			"form-action 'none'") == MHD_YES &&
		(status != 405 || MHD_add_response_header(r, "Allow", "GET, HEAD") == MHD_YES) &&
		(status != 401 ||
			MHD_add_response_header(r, "WWW-Authenticate", "Bearer") == MHD_YES))
		result = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return result;
}

static enum MHD_Result queue_copy(
	struct MHD_Connection *c, unsigned status, const struct buf *b, const char *type)
{
	return queue(c, status,
		MHD_create_response_from_buffer(b->len, b->data, MHD_RESPMEM_MUST_COPY), type);
}

static enum MHD_Result refuse(struct MHD_Connection *c, unsigned status, const char *message)
{
	CLEAN(buf_done) struct buf b = BUF_INIT(SERVE_SMALL_MAX);

	if (buf_printf(&b, "{\"error\":{\"code\":%u,\"message\":", status) < 0 ||
		page_put_json_string(&b, message) < 0 || buf_append_string(&b, "}}\n") < 0)
		return MHD_NO;
	return queue_copy(c, status, &b, "application/json");
}

static enum MHD_Result respond_text(struct MHD_Connection *c, unsigned status, const char *text)
{
	CLEAN(buf_done) struct buf b = BUF_INIT(SERVE_SMALL_MAX);

	if (buf_printf(&b, "%s\n", text) < 0)
		return MHD_NO;
	return queue_copy(c, status, &b, "text/plain; charset=utf-8");
}

static void unref_answer(void *answer)
{
	feed_answer_unref(answer);
}

/* Straight from the mapping; it stays as long as somebody still reads it. */
static enum MHD_Result respond_bytes(
	struct MHD_Connection *c, struct feed_answer *a, const char *type)
{
	struct MHD_Response *r;

	r = MHD_create_response_from_buffer_with_free_callback_cls(
		a->len, a->len > 0 ? (void *)a->data : (void *)"", unref_answer, a);
	if (r)
		a->refs++;
	return queue(c, 200, r, type);
}

static enum MHD_Result respond_made(
	struct MHD_Connection *c, const struct feed_answer *a, enum form form)
{
	CLEAN(buf_done) struct buf b = BUF_INIT(WEB_SNAPSHOT_MAX);
	int r = form == FORM_PAGE ? page_render(a->data, a->len, &b)
				  : page_array_of_lines(a->data, a->len, &b);

	if (r < 0)
		return refuse(c, 503, "The document is too large");
	return queue_copy(
		c, 200, &b, form == FORM_PAGE ? "text/html; charset=utf-8" : "application/json");
}

static enum MHD_Result respond(struct request *q)
{
	struct feed_answer *a = q->answer;

	if (q->path->form == FORM_SAID) {
		if (!a)
			return respond_text(
				q->mhd, 503, "The agent's loop did not answer within 2 s");
		return respond_text(
			q->mhd, a->code == 0 ? 200 : 503, a->code == 0 ? "ok" : a->text);
	}
	if (!a)
		return refuse(q->mhd, 503, "The agent did not answer within 2 s");
	if (a->code < 0)
		return refuse(q->mhd, 503, a->text);
	switch (q->path->form) {
	case FORM_METRICS:
		return respond_bytes(q->mhd, a, "text/plain; version=0.0.4; charset=utf-8");
	case FORM_JSON: return respond_bytes(q->mhd, a, "application/json");
	case FORM_EVENTS:
		if (q->lines)
			return respond_bytes(q->mhd, a, "application/x-ndjson");
		return respond_made(q->mhd, a, FORM_EVENTS);
	case FORM_PAGE: return respond_made(q->mhd, a, FORM_PAGE);
	case FORM_SAID: break;
	}
	return MHD_NO;
}

/* --- requests --- */

static const char *header(struct MHD_Connection *c, const char *name)
{
	return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

/* Copies an argument; false if it is too long. */
static bool take_name(struct MHD_Connection *c, const char *name, char *out, size_t size)
{
	const char *given = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, name);

	if (!given)
		return true;
	if (strlen(given) >= size)
		return false;
	(void)snprintf(out, size, "%s", given);
	return true;
}

static bool take_query(struct request *q)
{
	const char *tail = MHD_lookup_connection_value(q->mhd, MHD_GET_ARGUMENT_KIND, "tail");
	const char *format = MHD_lookup_connection_value(q->mhd, MHD_GET_ARGUMENT_KIND, "format");
	const char *accept = header(q->mhd, "Accept");

	if (q->path->form != FORM_EVENTS)
		return true;
	q->wait.query.tail = WEB_EVENTS_TAIL;
	if (tail && str_to_u64(tail, &q->wait.query.tail) < 0)
		return false;
	if (format && !str_eq(format, "ndjson") && !str_eq(format, "json"))
		return false;
	q->lines = format ? str_eq(format, "ndjson")
			  : accept && str_eq(accept, "application/x-ndjson");
	return take_name(q->mhd, "namespace", q->wait.query.ns, sizeof(q->wait.query.ns)) &&
		take_name(q->mhd, "pod", q->wait.query.pod, sizeof(q->wait.query.pod));
}

static const struct path *find_path(const struct listener *l, const char *url)
{
	for (size_t i = 0; i < ELEMENTS(paths); i++)
		if (paths[i].metrics == l->metrics && str_eq(paths[i].path, url))
			return &paths[i];
	return NULL;
}

static void on_answer(struct feed_wait *wait, struct feed_answer *answer)
{
	struct request *q = (struct request *)wait;

	q->done = true;
	q->answer = answer;
	if (answer)
		answer->refs++;
	if (q->suspended) {
		q->suspended = false;
		MHD_resume_connection(q->mhd);
	}
}

/* Judges a request; MHD_YES with *ret_ok says that the agent may be asked. */
static enum MHD_Result judge(
	struct listener *l, struct request *q, const char *url, const char *method, bool *ret_ok)
{
	const struct serve_config *config = &l->serve->config;

	*ret_ok = false;
	if (!guard_host_is_ours(header(q->mhd, "Host"), l->loopback, config->host))
		return refuse(q->mhd, 421, "Host is not one that is served here");
	if (l->needs_token &&
		!guard_token_is_right(
			header(q->mhd, "Authorization"), config->token, config->token_len))
		return refuse(q->mhd, 401, "A bearer token is needed");
	q->path = find_path(l, url);
	if (!q->path)
		return refuse(q->mhd, 404, "No such page");
	if (!str_eq(method, "GET") && !str_eq(method, "HEAD"))
		return refuse(q->mhd, 405, "Only GET and HEAD; nothing is changed over HTTP");
	q->wait.kind = q->path->kind;
	if (!take_query(q))
		return refuse(
			q->mhd, 400, "Bad query: tail=N, namespace=, pod=, format=json|ndjson");
	*ret_ok = true;
	return MHD_YES;
}

static enum MHD_Result on_request(void *userdata, struct MHD_Connection *c, const char *url,
	const char *method, const char *version, const char *upload, size_t *upload_len,
	void **con_cls)
{
	struct listener *l = userdata;
	struct request *q = *con_cls;
	enum MHD_Result r;
	bool ok;

	if (l->serve->ending)
		return MHD_NO;
	if (!q) {
		q = mem_zalloc(sizeof(*q));
		if (!q)
			return MHD_NO;
		q->serve = l->serve;
		q->mhd = c;
		*con_cls = q;
		/* A body is not waited for: whoever sends one is refused, and cut if it is long. */
		r = judge(l, q, url, method, &ok);
		if (!ok)
			q->done = true;
		return r;
	}
	if (!q->path || (q->done && !q->asked)) {
		*upload_len = 0; /* Refused already; the rest is not looked at. */
		return MHD_YES;
	}
	if (*upload_len > 0) {
		*upload_len = 0;
		return MHD_YES;
	}
	if (!q->asked) {
		q->asked = true;
		q->wait.on_answer = on_answer;
		feeds_ask(q->serve->feeds, &q->wait, clock_now().mono_ns);
	}
	if (!q->done) {
		if (!q->suspended) {
			q->suspended = true;
			MHD_suspend_connection(c);
		}
		return MHD_YES;
	}
	return respond(q);
}

static struct connection *find_connection(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static void on_completed(void *userdata, struct MHD_Connection *c, void **con_cls,
	enum MHD_RequestTerminationCode code)
{
	struct connection *connection = find_connection(c);
	struct request *q = *con_cls;

	if (connection)
		connection->since_ns = clock_now().mono_ns;
	if (!q)
		return;
	*con_cls = NULL;
	feeds_cancel(q->serve->feeds, &q->wait);
	feed_answer_unref(q->answer);
	(void)mem_free(q);
}

static void on_connection(void *userdata, struct MHD_Connection *c, void **context,
	enum MHD_ConnectionNotificationCode code)
{
	struct serve *s = userdata;
	struct connection *connection = *context;

	if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (!connection)
			return;
		TAILQ_REMOVE(&s->connections, connection, entry);
		*context = mem_free(connection);
		return;
	}
	connection = mem_zalloc(sizeof(*connection));
	if (!connection)
		return; /* Then only the idle timeout holds. */
	connection->fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
	connection->since_ns = clock_now().mono_ns;
	TAILQ_INSERT_TAIL(&s->connections, connection, entry);
	*context = connection;
}

static void cut_slow(struct serve *s, uint64_t now_ns)
{
	struct connection *c;

	TAILQ_FOREACH (c, &s->connections, entry)
		if (!c->cut && time_since(now_ns, c->since_ns) > SERVE_REQUEST_NS) {
			c->cut = true;
			(void)shutdown(c->fd, SHUT_RDWR); /* MHD sees its end and closes. */
		}
}

/* --- life --- */

static int listen_on(struct serve *s, struct listener *l, int *fd)
{
	struct MHD_OptionItem tls[] = {
		{ MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)s->config.cert },
		{ MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)s->config.key },
		{ MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)SERVE_TLS },
		{ MHD_OPTION_END, 0, NULL },
	};
	const struct MHD_OptionItem none[] = { { MHD_OPTION_END, 0, NULL } };
	bool with_tls = !l->loopback;

	if (*fd < 0)
		return 0;
	if (with_tls && (s->config.token_len == 0 || s->config.cert[0] == '\0'))
		return -EPERM;
	l->serve = s;
	l->needs_token = s->config.token_len > 0 && (!l->metrics || !l->loopback);
	l->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | (with_tls ? MHD_USE_TLS : 0), 0, NULL,
		NULL, on_request, l, MHD_OPTION_LISTEN_SOCKET, *fd, MHD_OPTION_CONNECTION_LIMIT,
		SERVE_CONNECTIONS_MAX, MHD_OPTION_PER_IP_CONNECTION_LIMIT, SERVE_CONNECTIONS_PER_IP,
		MHD_OPTION_CONNECTION_TIMEOUT, SERVE_IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)SERVE_CONNECTION_BYTES, MHD_OPTION_STRICT_FOR_CLIENT, 1,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_NOTIFY_CONNECTION,
		on_connection, s, MHD_OPTION_ARRAY, with_tls ? tls : none, MHD_OPTION_END);
	if (!l->daemon)
		return -EIO;
	(void)TAKE_FD(*fd); /* MHD closes it. */
	return 0;
}

int serve_new(const struct serve_config *config, struct feeds *feeds, struct serve **ret)
{
	struct serve *s = mem_zalloc(sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->config = *config;
	s->feeds = feeds;
	TAILQ_INIT(&s->connections);
	s->listeners[0].metrics = true;
	s->listeners[0].loopback = config->metrics_loopback;
	s->listeners[1].loopback = config->http_loopback;
	r = listen_on(s, &s->listeners[0], &s->config.metrics_fd);
	if (r >= 0)
		r = listen_on(s, &s->listeners[1], &s->config.http_fd);
	if (r < 0) {
		(void)serve_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

struct serve *serve_free(struct serve *s)
{
	if (!s)
		return NULL;
	/* MHD does not stop while a connection is suspended. */
	s->ending = true;
	feeds_end(s->feeds);
	serve_run(s, 0);
	for (size_t i = 0; i < ELEMENTS(s->listeners); i++)
		if (s->listeners[i].daemon)
			MHD_stop_daemon(s->listeners[i].daemon);
	(void)fd_close(s->config.metrics_fd);
	(void)fd_close(s->config.http_fd);
	return mem_free(s);
}

unsigned serve_fds(const struct serve *s, int ret_fds[2])
{
	unsigned n = 0;

	for (size_t i = 0; i < ELEMENTS(s->listeners); i++)
		if (s->listeners[i].daemon)
			ret_fds[n++] = MHD_get_daemon_info(
				s->listeners[i].daemon, MHD_DAEMON_INFO_EPOLL_FD)
					       ->epoll_fd;
	return n;
}

int serve_timeout_ms(const struct serve *s)
{
	int timeout_ms = TAILQ_EMPTY(&s->connections) ? -1 : SERVE_SWEEP_MS;

	for (size_t i = 0; i < ELEMENTS(s->listeners); i++) {
		MHD_UNSIGNED_LONG_LONG wait_ms;

		if (!s->listeners[i].daemon ||
			MHD_get_timeout(s->listeners[i].daemon, &wait_ms) != MHD_YES)
			continue;
		if (timeout_ms < 0 || wait_ms < (MHD_UNSIGNED_LONG_LONG)timeout_ms)
			timeout_ms = (int)(wait_ms < SERVE_SWEEP_MS ? wait_ms : SERVE_SWEEP_MS);
	}
	return timeout_ms;
}

void serve_run(struct serve *s, uint64_t now_ns)
{
	cut_slow(s, now_ns);
	for (size_t i = 0; i < ELEMENTS(s->listeners); i++)
		if (s->listeners[i].daemon)
			(void)MHD_run(s->listeners[i].daemon);
}
