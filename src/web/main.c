/*
 * pleg-web, the web role. It speaks to strangers, so it is a process of its own that runs as an
 * unprivileged user, was given two listeners and the credentials, opens no file and no socket
 * (seccomp refuses it), and knows only what the agent hands it as sealed snapshots. It ends when
 * the agent closes the channel.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "role/role-child.h"
#include "role/texts.h"
#include "web/feed.h"
#include "web/serve.h"

static const struct channel_type accepts[] = {
	ROLE_START_TYPE,
	{ WEB_MSG_GOT, sizeof(struct web_got), sizeof(struct web_got), 1 },
	{ WEB_MSG_SAID, sizeof(struct web_got), sizeof(struct web_got), 0 },
	{ WEB_MSG_PING, 0, 0, 0 },
};

struct web_role {
	struct channel *channel;
	struct feeds *feeds;
	struct serve *serve;
	char *token, *host, *cert, *key;
};

/* A text of the start message, which goes, as one of ours; an empty one for none. */
static int keep_text(const char *text, size_t len, size_t max, char **ret)
{
	if (len > max)
		return -EBADMSG;
	*ret = mem_strndup(str_or_empty(text), len);
	return *ret ? 0 : -ENOMEM;
}

static int take_start(struct web_role *w, struct channel_message *m, struct serve_config *ret)
{
	struct web_start start;
	const char *texts[ELEMENTS(start.lens)];
	unsigned next_fd = 0;
	int r;

	r = texts_unpack(m, &start, sizeof(start), texts, ELEMENTS(texts));
	if (r < 0)
		return r;
	if (m->fd_count != (start.has_metrics != 0) + (unsigned)(start.has_http != 0))
		return -EBADMSG;
	r = keep_text(texts[0], start.lens[0], WEB_TOKEN_MAX, &w->token);
	if (r >= 0)
		r = keep_text(texts[1], start.lens[1], WEB_HOST_MAX, &w->host);
	if (r >= 0)
		r = keep_text(texts[2], start.lens[2], WEB_CERT_MAX, &w->cert);
	if (r >= 0)
		r = keep_text(texts[3], start.lens[3], WEB_KEY_MAX, &w->key);
	if (r < 0)
		return r;
	*ret = (struct serve_config){
		.metrics_fd = start.has_metrics ? TAKE_FD(m->fds[next_fd++]) : -EBADF,
		.http_fd = start.has_http ? TAKE_FD(m->fds[next_fd++]) : -EBADF,
		.metrics_loopback = start.metrics_loopback != 0,
		.http_loopback = start.http_loopback != 0,
		.token = w->token,
		.token_len = start.lens[0],
		.host = w->host,
		.cert = w->cert,
		.key = w->key,
	};
	return 0;
}

/* 0, -EPIPE when it is time to end, or an error. */
static int take_messages(struct web_role *w)
{
	for (;;) {
		struct channel_message m;
		int r;

		r = channel_receive(w->channel, &m);
		if (r <= 0)
			return r;
		if (m.type == WEB_MSG_PING)
			r = channel_send(w->channel, WEB_MSG_PONG, m.id, NULL, 0, NULL, 0);
		else if (m.type == WEB_MSG_GOT || m.type == WEB_MSG_SAID)
			r = feeds_take(w->feeds, &m, clock_now().mono_ns);
		else
			r = -EBADMSG;
		channel_message_done(&m);
		if (r < 0)
			return r;
	}
}

static int wait_ms(const struct web_role *w)
{
	uint64_t due_ns = feeds_due(w->feeds), now_ns = clock_now().mono_ns;
	int timeout_ms = serve_timeout_ms(w->serve);

	if (due_ns != NSEC_NEVER) {
		uint64_t feed_ms = time_since(due_ns, now_ns) / NSEC_PER_MSEC + 1;

		if (timeout_ms < 0 || feed_ms < (uint64_t)timeout_ms)
			timeout_ms = (int)time_min(feed_ms, 10000);
	}
	return timeout_ms;
}

static int loop(struct web_role *w)
{
	struct pollfd fds[3] = { { .fd = channel_fd(w->channel) } };
	int epoll_fds[2], r;
	unsigned n;

	n = serve_fds(w->serve, epoll_fds);
	for (unsigned i = 0; i < n; i++)
		fds[i + 1] = (struct pollfd){ .fd = epoll_fds[i], .events = POLLIN };
	for (;;) {
		fds[0].events = channel_events(w->channel);
		(void)poll(fds, n + 1, wait_ms(w));
		r = channel_flush(w->channel);
		if (r >= 0)
			r = take_messages(w);
		if (r < 0)
			return r;
		feeds_run(w->feeds, clock_now().mono_ns);
		serve_run(w->serve, clock_now().mono_ns);
	}
}

static int set_up(struct web_role *w, struct channel_message *m, const char **ret_what)
{
	struct serve_config config;
	int r;

	*ret_what = "Read the start message";
	r = take_start(w, m, &config);
	if (r < 0)
		return r;
	*ret_what = "Serve";
	r = feeds_new(w->channel, &w->feeds);
	if (r >= 0)
		r = serve_new(&config, w->feeds, &w->serve);
	if (r == -EPERM)
		*ret_what = "An address beyond loopback needs TLS and a token";
	if (r == -EIO)
		*ret_what = "Start the HTTP server (are certificate and key good?)";
	if (r < 0)
		return r;
	*ret_what = "Narrow";
	r = role_child_narrow(ROLE_NARROW_SERVE);
	return r < 0 ? r : role_child_ready(w->channel);
}

int main(void)
{
	struct channel_message start = { 0 };
	struct web_role w = { 0 };
	const char *what = "";
	int r;

	(void)signal(SIGPIPE, SIG_IGN);
	r = role_child_start("pleg-web", accepts, ELEMENTS(accepts), &w.channel, &start);
	if (r < 0) {
		(void)fprintf(stderr, "pleg-web is started by the pleg agent only\n");
		return 1;
	}
	r = set_up(&w, &start, &what);
	channel_message_done(&start);
	r = r < 0 ? role_child_fail(w.channel, r, what) : loop(&w);

	w.serve = serve_free(w.serve);
	w.feeds = feeds_free(w.feeds);
	w.channel = channel_free(w.channel);
	(void)mem_free(w.token);
	(void)mem_free(w.host);
	(void)mem_free(w.cert);
	(void)mem_free(w.key);
	return r == -EPIPE ? 0 : 1;
}
