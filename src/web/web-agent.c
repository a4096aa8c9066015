#include "web/web-agent.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "role/role.h"
#include "role/texts.h"
#include "web/web-protocol.h"

#define WEB_BACKLOG 64

/* Of the role: 64 connections on each of two listeners, and a snapshot for each kind. */
#define WEB_NOFILE 256u

/* The role is asked for a sign of life so often, and replaced when it gives none for as long. */
#define WEB_PING_NS (10 * NSEC_PER_SEC)

/* What the role may ask for within a second and kind; it holds itself to four. */
#define WEB_ASKS_MAX 6u

/* What a snapshot leaves allocated for the next one. */
#define WEB_KEEP_BYTES (64u * 1024u)

struct web {
	sd_event *event;
	sd_event_source *ping;
	struct role *role;
	const struct web_ops *ops;
	void *userdata;
	int metrics_fd, http_fd; /* kept, so that a new role gets the same listeners */
	uint16_t metrics_port, http_port;
	struct buf page;
	uint64_t window_ns[WEB_KINDS]; /* where the current second began */
	unsigned asks[WEB_KINDS];      /* within it */
};

static const struct channel_type accepts[] = {
	{ WEB_MSG_GET, sizeof(struct web_get), sizeof(struct web_get), 0 },
	{ WEB_MSG_PONG, 0, 0, 0 },
};

/* --- listeners --- */

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* "127.0.0.1:80", "[::1]:80". No names: resolving one could block. */
static int parse_address(const char *text, union address *ret, socklen_t *ret_len)
{
	const char *colon = strrchr(text, ':');
	char host[64];
	uint64_t port;
	size_t len;

	if (!colon || str_to_u64(colon + 1, &port) < 0 || port > UINT16_MAX)
		return -EINVAL;
	len = (size_t)(colon - text);
	if (len == 0 || len >= sizeof(host))
		return -EINVAL;
	memset(ret, 0, sizeof(*ret));
	if (text[0] == '[' && text[len - 1] == ']') {
		(void)snprintf(host, sizeof(host), "%.*s", (int)len - 2, text + 1);
		ret->v6.sin6_family = AF_INET6;
		ret->v6.sin6_port = htons((uint16_t)port);
		*ret_len = sizeof(ret->v6);
		return inet_pton(AF_INET6, host, &ret->v6.sin6_addr) == 1 ? 0 : -EINVAL;
	}
	(void)snprintf(host, sizeof(host), "%.*s", (int)len, text);
	ret->v4.sin_family = AF_INET;
	ret->v4.sin_port = htons((uint16_t)port);
	*ret_len = sizeof(ret->v4);
	return inet_pton(AF_INET, host, &ret->v4.sin_addr) == 1 ? 0 : -EINVAL;
}

static bool is_loopback(const union address *a)
{
	if (a->any.sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr);
	return (ntohl(a->v4.sin_addr.s_addr) >> 24) == 127;
}

static int bind_to(const union address *a, socklen_t len, int *ret_fd, uint16_t *ret_port)
{
	union address bound;
	socklen_t bound_len = sizeof(bound);
	CLEAN_FD int fd = -EBADF;
	const int on = 1;

	fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -errno;
	if (a->any.sa_family == AF_INET6 &&
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		return -errno;
	if (bind(fd, &a->any, len) < 0 || listen(fd, WEB_BACKLOG) < 0 ||
		getsockname(fd, &bound.any, &bound_len) < 0)
		return -errno;
	*ret_port = ntohs(bound.any.sa_family == AF_INET6 ? bound.v6.sin6_port : bound.v4.sin_port);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* `key` is the configuration's, for the message. */
static int open_listener(const char *key, const char *text, bool guarded, int *ret_fd,
	uint16_t *ret_port, uint32_t *ret_loopback, struct err *reterr)
{
	union address address;
	socklen_t len;
	int r;

	if (!text || text[0] == '\0')
		return 0;
	if (parse_address(text, &address, &len) < 0)
		return err_set(reterr, -EINVAL,
			"%s '%s' is not an address with a port, like 127.0.0.1:10270 or "
			"[::1]:10270",
			key, text);
	*ret_loopback = is_loopback(&address);
	if (!*ret_loopback && !guarded)
		return err_set(reterr, -EPERM,
			"%s '%s' is not loopback and needs httpTokenFile, tlsCertFile and "
			"tlsPrivateKeyFile",
			key, text);
	r = bind_to(&address, len, ret_fd, ret_port);
	if (r < 0)
		return err_set(reterr, r, "%s '%s': %s", key, text, err_text(NULL, r));
	return 0;
}

/* --- the start message --- */

struct secrets {
	char *token, *cert, *key; /* NULL: none */
	size_t token_len, cert_len, key_len;
};

static void forget(char *text, size_t len)
{
	if (text)
		explicit_bzero(text, len);
	(void)mem_free(text);
}

static void secrets_done(struct secrets *s)
{
	forget(s->token, s->token_len);
	forget(s->cert, s->cert_len);
	forget(s->key, s->key_len);
}

static int read_secret(const char *key, const char *path, size_t max, char **ret, size_t *ret_len,
	struct err *reterr)
{
	int r;

	if (!path || path[0] == '\0')
		return 0;
	r = fd_read_file(path, max, ret, ret_len);
	if (r < 0)
		return err_set(reterr, r, "%s '%s': %s", key, path, err_text(NULL, r));
	if (*ret_len == 0)
		return err_set(reterr, -EINVAL, "%s '%s' is empty", key, path);
	return 0;
}

static int check_token(struct secrets *s, const char *path, struct err *reterr)
{
	if (!s->token)
		return 0;
	while (s->token_len > 0 && strchr(" \t\r\n", s->token[s->token_len - 1]))
		s->token[--s->token_len] = '\0';
	if (s->token_len < WEB_TOKEN_MIN)
		return err_set(reterr, -EINVAL, "httpTokenFile '%s': fewer than %u characters",
			path, WEB_TOKEN_MIN);
	for (size_t i = 0; i < s->token_len; i++)
		if (s->token[i] <= ' ' || s->token[i] > '~')
			return err_set(reterr, -EINVAL,
				"httpTokenFile '%s' holds more than one line of printable ASCII",
				path);
	return 0;
}

static int read_secrets(const struct web_config *config, struct secrets *s, struct err *reterr)
{
	int r;

	r = read_secret("httpTokenFile", config->token_file, WEB_TOKEN_MAX, &s->token,
		&s->token_len, reterr);
	if (r >= 0)
		r = check_token(s, config->token_file, reterr);
	if (r >= 0)
		r = read_secret("tlsCertFile", config->cert_file, WEB_CERT_MAX, &s->cert,
			&s->cert_len, reterr);
	if (r >= 0)
		r = read_secret("tlsPrivateKeyFile", config->key_file, WEB_KEY_MAX, &s->key,
			&s->key_len, reterr);
	if (r >= 0 && !s->cert != !s->key)
		return err_set(reterr, -EINVAL, "tlsCertFile and tlsPrivateKeyFile go together");
	return r;
}

static int set_start(
	struct web *web, struct web_start *start, const char *host, const struct secrets *s)
{
	const struct slice texts[] = { { s->token, s->token_len }, SLICE(host),
		{ s->cert, s->cert_len }, { s->key, s->key_len } };
	CLEAN(buf_done) struct buf b = BUF_INIT(CHANNEL_PAYLOAD_MAX);
	int fds[2], r;
	unsigned n = 0;

	start->has_metrics = web->metrics_fd >= 0;
	start->has_http = web->http_fd >= 0;
	if (web->metrics_fd >= 0)
		fds[n++] = web->metrics_fd;
	if (web->http_fd >= 0)
		fds[n++] = web->http_fd;
	r = texts_pack(&b, start, sizeof(*start), texts, ELEMENTS(texts));
	if (r >= 0)
		r = role_set_start(web->role, b.data, b.len, fds, n);
	if (b.data)
		explicit_bzero(b.data, b.len);
	return r;
}

/* --- questions --- */

static bool asks_too_often(struct web *web, uint32_t kind)
{
	uint64_t now_ns = clock_now().mono_ns;

	if (time_since(now_ns, web->window_ns[kind]) >= NSEC_PER_SEC) {
		web->window_ns[kind] = now_ns;
		web->asks[kind] = 0;
	}
	return ++web->asks[kind] > WEB_ASKS_MAX;
}

static void put_text(struct web_got *got, int code, const char *text)
{
	got->code = code;
	(void)str_clean(got->text, sizeof(got->text), text, strlen(text));
}

/* The snapshot as a descriptor, or a negative errno with its text in `got`. */
static int make_snapshot(struct web *web, const struct web_get *get, struct web_got *got)
{
	int r;

	buf_clear(&web->page);
	r = web->ops->snapshot(
		web->userdata, (enum web_snapshot)get->kind, &get->query, &web->page);
	if (r >= 0)
		r = fd_memfd_sealed("pleg-snapshot", web->page.data, web->page.len);
	buf_clear(&web->page);
	buf_shrink(&web->page, WEB_KEEP_BYTES);
	if (r < 0)
		put_text(got, r, FMT("The agent could not make it: %s", err_text(NULL, r)));
	return r;
}

static void answer_verdict(struct web *web, uint32_t kind, struct web_got *got)
{
	char reason[sizeof(got->text)] = "";
	bool yes = true;

	if (kind == WEB_ASK_READY)
		yes = web->ops->ready(web->userdata, reason, sizeof(reason));
	if (kind == WEB_ASK_HEALTHY)
		yes = web->ops->healthy(web->userdata, reason, sizeof(reason));
	/* WEB_ASK_LIVE: that this runs is the answer. */
	if (!yes)
		put_text(got, -EAGAIN, reason[0] != '\0' ? reason : "Not yet");
}

static int on_message(struct role *role, struct channel_message *m, void *userdata)
{
	struct web *web = userdata;
	struct web_got got = { 0 };
	CLEAN_FD int fd = -EBADF;
	struct web_get get;
	int r;

	if (m->type != WEB_MSG_GET || m->id == 0)
		return -EBADMSG;
	memcpy(&get, m->payload, sizeof(get));
	if (get.kind >= WEB_KINDS || !memchr(get.query.ns, '\0', sizeof(get.query.ns)) ||
		!memchr(get.query.pod, '\0', sizeof(get.query.pod)))
		return -EBADMSG;
	if (asks_too_often(web, get.kind)) {
		put_text(&got, -EBUSY, "Asked for too often");
	} else if (get.kind < WEB_SNAPSHOTS) {
		r = make_snapshot(web, &get, &got);
		if (r >= 0)
			fd = r;
	} else {
		answer_verdict(web, get.kind, &got);
	}
	r = role_send(role, fd >= 0 ? WEB_MSG_GOT : WEB_MSG_SAID, m->id, &got, sizeof(got), &fd,
		fd >= 0 ? 1 : 0);
	/* It waits for each answer before it asks for that kind again: one that does not read, or
	 * whose answer is lost, is replaced. */
	return r == -EPIPE || r == -ENOTCONN ? 0 : r;
}

static void on_state(struct role *role, enum role_state old_state, enum role_state new_state,
	const char *reason, void *userdata)
{
	struct web *web = userdata;

	(void)sd_event_source_set_enabled(
		web->ping, new_state == ROLE_RUNNING ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
	(void)sd_event_source_set_time_relative(web->ping, WEB_PING_NS / NSEC_PER_USEC);
	if (web->ops->on_state)
		web->ops->on_state(web->userdata, role_state_name(new_state), reason);
}

static void on_pong(int r, struct channel_message *m, void *userdata)
{
	/* What matters is done by the deadline of the request. */
}

static int on_ping(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct web *web = userdata;

	if (role_request(web->role, WEB_MSG_PING, NULL, 0, NULL, 0, WEB_PING_NS, on_pong, web) < 0)
		log_debug("Web role could not be asked for a sign of life", NULL);
	(void)sd_event_source_set_time_relative(source, WEB_PING_NS / NSEC_PER_USEC);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* --- life --- */

static int make_role(struct web *web, struct role_spawner *spawner, const struct web_config *config)
{
	const struct role_spec spec = {
		.name = "web",
		.exe_fd = config->exe_fd,
		.uid = config->uid,
		.gid = config->gid,
		.nofile = WEB_NOFILE,
		.accepts = accepts,
		.accept_count = ELEMENTS(accepts),
		.on_message = on_message,
		.on_state = on_state,
		.userdata = web,
	};
	int r;

	/* One second: the pings of all roles and nodes need not be exact. */
	r = sd_event_add_time_relative(
		web->event, &web->ping, CLOCK_MONOTONIC, 0, 1000 * 1000, on_ping, web);
	if (r < 0)
		return r;
	(void)sd_event_source_set_priority(web->ping, SD_EVENT_PRIORITY_NORMAL + 20);
	(void)sd_event_source_set_enabled(web->ping, SD_EVENT_OFF);
	return role_new(web->event, spawner, &spec, &web->role);
}

int web_new(sd_event *event, struct role_spawner *spawner, const struct web_config *config,
	const struct web_ops *ops, void *userdata, struct web **ret, struct err *reterr)
{
	CLEAN(web_freep) struct web *web = mem_zalloc(sizeof(*web));
	CLEAN(secrets_done) struct secrets secrets = { 0 };
	const char *host = str_or_empty(config->host);
	struct web_start start = { 0 };
	bool guarded;
	int r;

	if (!web)
		return err_set(reterr, -ENOMEM, "Start the web role: out of memory");
	web->event = sd_event_ref(event);
	web->ops = ops;
	web->userdata = userdata;
	web->metrics_fd = web->http_fd = -EBADF;
	web->page = BUF_INIT(WEB_SNAPSHOT_MAX);
	if (strlen(host) > WEB_HOST_MAX - 1)
		return err_set(
			reterr, -EINVAL, "The name of this host is too long for a Host header");
	r = read_secrets(config, &secrets, reterr);
	if (r < 0)
		return r;
	guarded = secrets.token && secrets.cert;
	r = open_listener("metricsAddress", config->metrics_address, guarded, &web->metrics_fd,
		&web->metrics_port, &start.metrics_loopback, reterr);
	if (r >= 0)
		r = open_listener("httpAddress", config->http_address, guarded, &web->http_fd,
			&web->http_port, &start.http_loopback, reterr);
	if (r < 0)
		return r;
	r = make_role(web, spawner, config);
	if (r >= 0)
		r = set_start(web, &start, host, &secrets);
	if (r >= 0)
		r = role_start(web->role);
	if (r < 0)
		return err_set(reterr, r, "Start the web role: %s", err_text(NULL, r));
	*ret = TAKE_PTR(web);
	return 0;
}

struct web *web_free(struct web *web)
{
	if (!web)
		return NULL;
	web->role = role_free(web->role);
	web->ping = sd_event_source_disable_unref(web->ping);
	web->metrics_fd = fd_close(web->metrics_fd);
	web->http_fd = fd_close(web->http_fd);
	buf_done(&web->page);
	web->event = sd_event_unref(web->event);
	return mem_free(web);
}

void web_status(const struct web *web, struct role_status *ret)
{
	role_status(web->role, ret);
}

void web_ports(const struct web *web, uint16_t *ret_metrics, uint16_t *ret_http)
{
	*ret_metrics = web->metrics_port;
	*ret_http = web->http_port;
}
