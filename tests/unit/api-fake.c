/*
 * An api role without a network: every answer says of which server and of whose credential it would be. A
 * path "/silent" gets none; "/401" and "/tls" get the one of that name.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "kube/api-protocol.h"
#include "kube/client.h"
#include "role/role-child.h"

static const struct channel_type accepts[] = {
	ROLE_START_TYPE,
	{ API_MSG_CREDENTIAL, sizeof(struct api_credential), CHANNEL_PAYLOAD_MAX, 0 },
	{ API_MSG_REQUEST, sizeof(struct api_request), CHANNEL_PAYLOAD_MAX, 0 },
	{ API_MSG_WATCH_PODS, sizeof(struct api_text), CHANNEL_PAYLOAD_MAX, 0 },
	{ API_MSG_PODS_AGAIN, 0, 0, 0 },
};

struct fake {
	struct channel *channel;
	char server[128], bearer[128];
};

static void keep(char out[128], const char *text)
{
	(void)snprintf(out, 128, "%s", text ? text : "");
}

static int take_start(struct fake *f, const struct channel_message *m)
{
	struct api_start fixed;
	const char *texts[ELEMENTS(fixed.lens)];

	if (texts_unpack(m, &fixed, sizeof(fixed), texts, ELEMENTS(texts)) < 0)
		return -EBADMSG;
	keep(f->server, texts[0]);
	keep(f->bearer, "nobody");
	return 0;
}

static int take_credential(struct fake *f, const struct channel_message *m)
{
	struct api_credential fixed;
	const char *texts[ELEMENTS(fixed.lens)];

	if (texts_unpack(m, &fixed, sizeof(fixed), texts, ELEMENTS(texts)) < 0)
		return -EBADMSG;
	keep(f->bearer, texts[0]);
	return 0;
}

static int send_answer(struct fake *f, uint64_t id, unsigned http, enum kube_error error)
{
	struct buf out = BUF_INIT(4096);
	struct slice texts[2];
	struct api_answer fixed = { .http = http, .error = error };
	char body[260];
	int r;

	(void)snprintf(body, sizeof(body), "%s|%s", f->server, f->bearer);
	texts[0] = api_slice(error == KUBE_OK ? NULL : "why");
	texts[1] = api_slice(body);
	r = texts_pack(&out, &fixed, sizeof(fixed), texts, ELEMENTS(texts));
	if (r >= 0)
		r = channel_send(f->channel, API_MSG_ANSWER, id, out.data, out.len, NULL, 0);
	buf_done(&out);
	return r;
}

static int take_request(struct fake *f, const struct channel_message *m)
{
	struct api_request fixed;
	const char *texts[ELEMENTS(fixed.lens)];
	int r;

	if (texts_unpack(m, &fixed, sizeof(fixed), texts, ELEMENTS(texts)) < 0)
		return -EBADMSG;
	if (str_eq(texts[1], "/silent"))
		return 0;
	if (str_eq(texts[1], "/tls"))
		return send_answer(f, m->id, 0, KUBE_TLS);
	if (!str_eq(texts[1], "/401"))
		return send_answer(f, m->id, 200, KUBE_OK);
	r = channel_send(f->channel, API_MSG_UNAUTHORIZED, 1, NULL, 0, NULL, 0);
	return r < 0 ? r : send_answer(f, m->id, 401, KUBE_OK);
}

static int take_watch(struct fake *f)
{
	struct buf out = BUF_INIT(4096);
	struct api_pods_told fixed = { .word = API_PODS_OPEN };
	struct slice why;
	char text[260];
	int r;

	(void)snprintf(text, sizeof(text), "%s|%s", f->server, f->bearer);
	why = api_slice(text);
	r = texts_pack(&out, &fixed, sizeof(fixed), &why, 1);
	if (r >= 0)
		r = channel_send(f->channel, API_MSG_PODS, 1, out.data, out.len, NULL, 0);
	buf_done(&out);
	return r;
}

static int serve(struct fake *f)
{
	for (;;) {
		struct channel_message m;
		int r;

		(void)poll(&(struct pollfd){ .fd = channel_fd(f->channel),
				   .events = channel_events(f->channel) },
			1, -1);
		(void)channel_flush(f->channel);
		r = channel_receive(f->channel, &m);
		if (r < 0)
			return 0;
		if (r == 0)
			continue;
		if (m.type == API_MSG_CREDENTIAL)
			r = take_credential(f, &m);
		else if (m.type == API_MSG_REQUEST)
			r = take_request(f, &m);
		else if (m.type == API_MSG_WATCH_PODS)
			r = take_watch(f);
		channel_message_done(&m);
		if (r < 0)
			return 7;
	}
}

int main(void)
{
	struct channel_message m;
	struct fake f = { 0 };
	int r;

	if (role_child_start("pleg-fake", accepts, ELEMENTS(accepts), &f.channel, &m) < 0)
		return 9;
	r = take_start(&f, &m);
	channel_message_done(&m);
	if (r < 0 || role_child_ready(f.channel) < 0)
		return 8;
	return serve(&f);
}
