/* libcurl on the loop, and its codes translated. */
#include "kube/client-internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/str.h"

#define CONNECTIONS_MAX 8L /* kept when nobody uses them */
#define URL_MAX         4096u

/* A connection whose peer is silent is given up by the kernel: bytes that are not acknowledged, and
 * keepalive probes, KEEP_PROBES of them. */
#define USER_TIMEOUT_MS 20000
#define KEEP_IDLE_S     15L
#define KEEP_INTERVAL_S 5L

struct socket_source {
	struct kube_client *client;
	struct socket_source *next;
	sd_event_source *source;
	curl_socket_t fd;
};

static enum kube_error translate(
	const struct transfer *of, CURLcode code, const struct api_timings *t, bool is_tls)
{
	switch ((int)code) {
	case CURLE_OK: return KUBE_OK;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY: return KUBE_DNS;
	case CURLE_COULDNT_CONNECT: return KUBE_CONNECT;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_INVALIDCERTSTATUS:
	case CURLE_SSL_CIPHER: return KUBE_TLS;
	case CURLE_SSL_CERTPROBLEM: return KUBE_CREDENTIAL;
	case CURLE_OPERATION_TIMEDOUT:
		if (of->is_connected)
			return KUBE_TIMEOUT;
		if (t->connect_ns > 0)
			return is_tls ? KUBE_TLS : KUBE_TIMEOUT;
		return t->dns_ns > 0 ? KUBE_CONNECT : KUBE_DNS;
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_PARTIAL_FILE: return KUBE_RESET;
	case CURLE_WRITE_ERROR: return KUBE_TOO_LARGE;
	default: return KUBE_OTHER;
	}
}

static uint64_t time_of(CURL *easy, CURLINFO info)
{
	curl_off_t usec = 0;

	(void)curl_easy_getinfo(easy, info, &usec);
	return usec > 0 ? (uint64_t)usec * NSEC_PER_USEC : 0;
}

static void read_result(struct transfer *t, CURLcode code, struct transfer_result *ret)
{
	curl_off_t after = 0;
	long http = 0, connects = 0, header_len = 0;
	const char *text = t->text[0] != '\0' ? t->text : curl_easy_strerror(code);

	*ret = (struct transfer_result){
		.timings = {
			.dns_ns = time_of(t->easy, CURLINFO_NAMELOOKUP_TIME_T),
			.connect_ns = time_of(t->easy, CURLINFO_CONNECT_TIME_T),
			.tls_ns = time_of(t->easy, CURLINFO_APPCONNECT_TIME_T),
			.first_byte_ns = time_of(t->easy, CURLINFO_STARTTRANSFER_TIME_T),
			.total_ns = time_of(t->easy, CURLINFO_TOTAL_TIME_T),
		},
	};
	(void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &http);
	(void)curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &after);
	(void)curl_easy_getinfo(t->easy, CURLINFO_NUM_CONNECTS, &connects);
	/* libcurl tells the time of TCP only when TLS is done too. */
	if (ret->timings.connect_ns == 0 && t->handshake_ns > 0)
		ret->timings.connect_ns = time_since(t->handshake_ns, t->began_ns) + 1;
	(void)curl_easy_getinfo(t->easy, CURLINFO_HEADER_SIZE, &header_len);
	ret->is_reused = t->is_connected && connects == 0;
	ret->has_answered = header_len > 0;
	ret->error =
		translate(t, code, &ret->timings, str_after(t->client->base, "https:") != NULL);
	ret->http = http > 0 && ret->error == KUBE_OK ? (unsigned)http : 0;
	if (after > 0)
		ret->retry_after_ns = (uint64_t)(after < 86400 ? after : 86400) * NSEC_PER_SEC;
	if (ret->error != KUBE_OK)
		(void)str_clean(ret->text, sizeof(ret->text), text, strlen(text));
}

/* Tells of all that has ended. Each callback may start and stop others. */
static void take_done(struct kube_client *client)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(client->multi, &left))) {
		struct transfer_result result;
		struct transfer *t = NULL;

		if (m->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
		read_result(t, m->data.result, &result);
		transfer_stop(t);
		t->on_done(t, &result);
	}
}

static int on_socket_ready(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct socket_source *s = userdata;
	struct kube_client *client = s->client; /* `s` may go meanwhile */
	int mask = 0, running;

	if (events & EPOLLIN)
		mask |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		mask |= CURL_CSELECT_OUT;
	if (events & (EPOLLERR | EPOLLHUP))
		mask |= CURL_CSELECT_ERR;
	(void)curl_multi_socket_action(client->multi, fd, mask, &running);
	take_done(client);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct kube_client *client = userdata;
	int running;

	(void)curl_multi_socket_action(client->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	take_done(client);
	return 0;
}

static void drop_socket(struct kube_client *client, struct socket_source *s)
{
	for (struct socket_source **at = &client->sockets; *at; at = &(*at)->next) {
		if (*at == s) {
			*at = s->next;
			break;
		}
	}
	s->source = sd_event_source_disable_unref(s->source);
	(void)mem_free(s);
}

static int on_curl_socket(CURL *easy, curl_socket_t fd, int what, void *userdata, void *socket_data)
{
	struct kube_client *client = userdata;
	struct socket_source *s = socket_data;
	uint32_t events = 0;

	if (what == CURL_POLL_REMOVE) {
		if (s)
			drop_socket(client, s);
		return 0;
	}
	if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		events |= EPOLLIN;
	if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		events |= EPOLLOUT;
	if (s)
		return sd_event_source_set_io_events(s->source, events) < 0 ? -1 : 0;
	s = mem_zalloc(sizeof(*s));
	if (!s)
		return -1;
	s->client = client;
	s->fd = fd;
	if (sd_event_add_io(client->event, &s->source, fd, events, on_socket_ready, s) < 0) {
		(void)mem_free(s);
		return -1;
	}
	s->next = client->sockets;
	client->sockets = s;
	(void)curl_multi_assign(client->multi, fd, s);
	return 0;
}

static int on_curl_timer(CURLM *multi, long timeout_ms, void *userdata)
{
	struct kube_client *client = userdata;

	if (timeout_ms < 0)
		return sd_event_source_set_enabled(client->timer, SD_EVENT_OFF) < 0 ? -1 : 0;
	(void)sd_event_source_set_time_relative(client->timer, (uint64_t)timeout_ms * 1000);
	return sd_event_source_set_enabled(client->timer, SD_EVENT_ONESHOT) < 0 ? -1 : 0;
}

int client_open_multi(struct kube_client *client)
{
	int r;

	r = sd_event_add_time_relative(
		client->event, &client->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, client);
	if (r < 0)
		return r;
	(void)sd_event_source_set_enabled(client->timer, SD_EVENT_OFF);
	client->multi = curl_multi_init();
	if (!client->multi)
		return -ENOMEM;
	(void)curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
	(void)curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
	(void)curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
	(void)curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
	(void)curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_MAX);
	return 0;
}

void client_close_multi(struct kube_client *client)
{
	if (client->multi)
		(void)curl_multi_cleanup(client->multi);
	client->multi = NULL;
	while (client->sockets)
		drop_socket(client, client->sockets);
	client->timer = sd_event_source_disable_unref(client->timer);
}

/* --- one transfer --- */

static size_t on_write(char *data, size_t size, size_t count, void *userdata)
{
	struct transfer *t = userdata;
	long http = 0;

	(void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &http);
	if (t->on_bytes(t, (unsigned)http, data, size * count) < 0)
		return CURL_WRITEFUNC_ERROR;
	return size * count;
}

/* One line at a time; an empty one ends them. */
static size_t on_header(char *data, size_t size, size_t count, void *userdata)
{
	struct transfer *t = userdata;
	long http = 0;

	(void)curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &http);
	if (t->on_headers && size * count == 2 && data[0] == '\r')
		t->on_headers(t, (unsigned)http);
	return size * count;
}

static int on_new_socket(void *userdata, curl_socket_t fd, curlsocktype purpose)
{
	unsigned timeout_ms = USER_TIMEOUT_MS;

	connection_begin(userdata, fd);
	/* Where it is refused, keepalive does it, only later. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
	return CURL_SOCKOPT_OK;
}

static int on_close_socket(void *userdata, curl_socket_t fd)
{
	return connection_close(userdata, fd);
}

static void put_end(char out[TRANSFER_END_MAX], const char *ip, int port)
{
	bool is_6 = strchr(ip, ':') != NULL;

	(void)str_format(
		out, TRANSFER_END_MAX, "%s%s%s:%d", is_6 ? "[" : "", ip, is_6 ? "]" : "", port);
}

/* There is a connection, new or not, and the request goes out. */
static int on_connected(
	void *userdata, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
	struct transfer *t = userdata;

	t->is_connected = true;
	t->local_port = local_port > 0 ? (unsigned)local_port : 0;
	put_end(t->local, str_or_empty(local_ip), local_port);
	put_end(t->remote, str_or_empty(remote_ip), remote_port);
	return CURL_PREREQFUNC_OK;
}

/* Called when TCP is connected and TLS begins. */
static CURLcode on_handshake(CURL *easy, void *ssl_ctx, void *userdata)
{
	struct transfer *t = userdata;

	t->handshake_ns = clock_now().mono_ns;
	return CURLE_OK;
}

static bool add_header(struct transfer *t, const char *line)
{
	struct curl_slist *more = curl_slist_append(t->headers, line);

	if (more)
		t->headers = more;
	return more != NULL;
}

static CURLcode set_blob(CURL *easy, CURLoption option, char *pem)
{
	struct curl_blob blob = { pem, pem ? strlen(pem) : 0, CURL_BLOB_COPY };

	return pem ? curl_easy_setopt(easy, option, &blob) : CURLE_OK;
}

static int set_tls(struct transfer *t)
{
	const struct kube_client *c = t->client;
	CURL *e = t->easy;
	CURLcode code;

	(void)curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	(void)curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, c->insecure ? 0L : 1L);
	(void)curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, c->insecure ? 0L : 2L);
	(void)curl_easy_setopt(e, CURLOPT_SSL_CTX_FUNCTION, on_handshake);
	(void)curl_easy_setopt(e, CURLOPT_SSL_CTX_DATA, t);
	if (c->ca_pem) { /* and no other */
		(void)curl_easy_setopt(e, CURLOPT_CAPATH, NULL);
		(void)curl_easy_setopt(e, CURLOPT_CAINFO, NULL);
	}
	code = set_blob(e, CURLOPT_CAINFO_BLOB, c->ca_pem);
	if (code == CURLE_OK)
		code = set_blob(e, CURLOPT_SSLCERT_BLOB, c->cert_pem);
	if (code == CURLE_OK)
		code = set_blob(e, CURLOPT_SSLKEY_BLOB, c->key_pem);
	return code == CURLE_OK ? 0 : -ENOMEM;
}

static int set_headers(struct transfer *t, const struct transfer_spec *spec)
{
	char type[160];
	bool ok = add_header(t, "Accept: application/json") && add_header(t, "Expect:");

	if (ok && spec->body) {
		(void)snprintf(type, sizeof(type), "Content-Type: %s",
			spec->content_type ? spec->content_type : "application/json");
		ok = add_header(t, type);
	}
	if (ok && t->client->authorization)
		ok = add_header(t, t->client->authorization);
	if (ok)
		(void)curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
	return ok ? 0 : -ENOMEM;
}

/* What is as old as one that was silent is not used again; libcurl counts in seconds, and 0 is none. */
static void set_connection(struct transfer *t, const struct transfer_spec *spec)
{
	struct kube_client *c = t->client;
	CURL *e = t->easy;

	(void)curl_easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, on_new_socket);
	(void)curl_easy_setopt(e, CURLOPT_SOCKOPTDATA, c);
	(void)curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, on_close_socket);
	(void)curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, c);
	(void)curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_connected);
	(void)curl_easy_setopt(e, CURLOPT_PREREQDATA, t);
	(void)curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, spec->is_fresh ? 1L : 0L);
	if (c->suspect_ns > 0)
		(void)curl_easy_setopt(e, CURLOPT_MAXLIFETIME_CONN,
			(long)(time_since(t->began_ns, c->suspect_ns) / NSEC_PER_SEC) + 1);
}

static void set_limits(struct transfer *t, const struct transfer_spec *spec)
{
	uint64_t connect_ns = time_min(t->client->connect_ns, spec->timeout_ns);
	CURL *e = t->easy;

	(void)curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(e, CURLOPT_QUICK_EXIT, 1L);
	(void)curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	(void)curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
	(void)curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)(spec->timeout_ns / NSEC_PER_MSEC + 1));
	(void)curl_easy_setopt(
		e, CURLOPT_CONNECTTIMEOUT_MS, (long)(connect_ns / NSEC_PER_MSEC + 1));
	(void)curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
	(void)curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, KEEP_IDLE_S);
	(void)curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, KEEP_INTERVAL_S);
	set_connection(t, spec);
}

static int set_where(struct transfer *t, const struct transfer_spec *spec)
{
	const struct kube_client *c = t->client;
	char url[URL_MAX];

	if (snprintf(url, sizeof(url), "%s%s", c->base, spec->url) >= (int)sizeof(url))
		return -ENAMETOOLONG;
	if (curl_easy_setopt(t->easy, CURLOPT_URL, url) != CURLE_OK)
		return -ENOMEM;
	if (c->connect_to) {
		t->connect_to = curl_slist_append(NULL, c->connect_to);
		if (!t->connect_to)
			return -ENOMEM;
		(void)curl_easy_setopt(t->easy, CURLOPT_CONNECT_TO, t->connect_to);
	}
	if (c->proxy && curl_easy_setopt(t->easy, CURLOPT_PROXY, c->proxy) != CURLE_OK)
		return -ENOMEM;
	(void)curl_easy_setopt(t->easy, CURLOPT_USERAGENT, c->user_agent);
	(void)curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, spec->method);
	if (spec->body) {
		(void)curl_easy_setopt(
			t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)spec->body_len);
		(void)curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, spec->body);
	}
	return 0;
}

int transfer_start(struct transfer *t, const struct transfer_spec *spec)
{
	int r;

	t->easy = curl_easy_init();
	if (!t->easy)
		return -ENOMEM;
	t->text[0] = '\0';
	t->began_ns = clock_now().mono_ns;
	t->handshake_ns = 0;
	t->is_connected = false;
	t->local_port = 0;
	t->local[0] = t->remote[0] = '\0';
	(void)curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
	(void)curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->text);
	(void)curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_write);
	(void)curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
	(void)curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
	set_limits(t, spec);
	r = set_where(t, spec);
	if (r >= 0)
		r = set_headers(t, spec);
	if (r >= 0)
		r = set_tls(t);
	if (r >= 0 && curl_multi_add_handle(t->client->multi, t->easy) != CURLM_OK)
		r = -ENOMEM;
	if (r < 0)
		transfer_stop(t);
	return r;
}

void transfer_stop(struct transfer *t)
{
	if (!t->easy)
		return;
	(void)curl_multi_remove_handle(t->client->multi, t->easy);
	curl_easy_cleanup(t->easy);
	t->easy = NULL;
	curl_slist_free_all(t->headers);
	curl_slist_free_all(t->connect_to);
	t->headers = t->connect_to = NULL;
}
