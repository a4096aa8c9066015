/*
 * The api role. It speaks TLS, DNS and HTTP with whoever the kubeconfig names, so it is a process of its own
 * that runs as an unprivileged user and opens no credential: the agent hands it an address, an authority and
 * who we are, and forwards requests. It ends when the agent closes the channel.
 */
#include "kube/role.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-event.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/mem.h"
#include "kube/api-protocol.h"
#include "kube/client.h"
#include "kube/credential.h"
#include "kube/pod-watch.h"
#include "role/role-child.h"

static const struct channel_type accepts[] = {
	ROLE_START_TYPE,
	{ API_MSG_CREDENTIAL, sizeof(struct api_credential), CHANNEL_PAYLOAD_MAX, 0 },
	{ API_MSG_REQUEST, sizeof(struct api_request), CHANNEL_PAYLOAD_MAX, 0 },
	{ API_MSG_WATCH_PODS, sizeof(struct api_text), CHANNEL_PAYLOAD_MAX, 0 },
	{ API_MSG_PODS_AGAIN, 0, 0, 0 },
};

struct api_role {
	sd_event *event;
	sd_event_source *io;
	struct channel *channel;
	struct kube_client *client;
	struct pod_watch *pods; /* NULL: nobody has asked for them */
	uint64_t seed;
};

/* One request under way. */
struct call {
	struct api_role *role;
	uint64_t id;
};

/* Interest is worked out anew after everything that sends. */
static void watch(struct api_role *role)
{
	(void)sd_event_source_set_io_events(role->io, (uint32_t)channel_events(role->channel));
}

/* The agent is gone, or does not read: it ends us, and starts another one. */
static void leave(struct api_role *role)
{
	(void)sd_event_exit(role->event, 0);
}

/* ---- answers ------------------------------------------------------------------------------------ */

static int send_answer(struct api_role *role, uint64_t id, const struct kube_answer *answer)
{
	struct api_answer fixed = { .http = answer->http,
		.error = answer->error,
		.retry_after_ns = answer->retry_after_ns,
		.timings = answer->timings };
	struct buf out = BUF_INIT(CHANNEL_PAYLOAD_MAX);
	struct slice texts[] = { api_slice(answer->text), { answer->body, answer->body_len } };
	CLEAN_FD int fd = -EBADF;
	int r;

	if (answer->body_len > API_BODY_INLINE) {
		fd = fd_memfd_sealed("pleg-answer", answer->body, answer->body_len);
		if (fd < 0)
			fixed.http = 0;
		texts[1].len = 0;
	}
	r = texts_pack(&out, &fixed, sizeof(fixed), texts, ELEMENTS(texts));
	if (r >= 0)
		r = channel_send(
			role->channel, API_MSG_ANSWER, id, out.data, out.len, &fd, fd >= 0 ? 1 : 0);
	buf_done(&out);
	return r;
}

static void on_answer(const struct kube_answer *answer, void *userdata)
{
	CLEAN(mem_freep) struct call *call = userdata;

	if (send_answer(call->role, call->id, answer) < 0)
		leave(call->role);
	else
		watch(call->role);
}

static void on_unauthorized(struct kube_client *client, void *userdata)
{
	struct api_role *role = userdata;

	(void)client;
	if (channel_send(role->channel, API_MSG_UNAUTHORIZED, 1, NULL, 0, NULL, 0) < 0)
		leave(role);
	else
		watch(role);
}

/* A full queue loses it: what is stale is replaced all the same. */
static void on_stale(struct kube_client *client, const struct api_stale *stale, void *userdata)
{
	struct api_role *role = userdata;
	struct buf out = BUF_INIT(CHANNEL_PAYLOAD_MAX);
	int r = api_pack_stale(&out, stale);

	(void)client;
	if (r >= 0)
		r = channel_send(role->channel, API_MSG_STALE, 1, out.data, out.len, NULL, 0);
	buf_done(&out);
	if (r < 0 && r != -ENOBUFS)
		leave(role);
	else
		watch(role);
}

/* ---- pods --------------------------------------------------------------------------------------- */

/* A full queue is the watch's to mend: it lists anew. */
static int send_pods(struct api_role *role, enum api_message type, const struct buf *out)
{
	int r = channel_send(role->channel, type, 1, out->data, out->len, NULL, 0);

	if (r < 0 && r != -ENOBUFS)
		leave(role);
	watch(role);
	return r;
}

static int tell_pods(
	struct api_role *role, enum api_pods_word word, unsigned http, const char *text)
{
	struct buf out = BUF_INIT(CHANNEL_PAYLOAD_MAX);
	struct slice why = api_slice(text);
	struct api_pods_told fixed = { .word = word, .http = http };
	int r = texts_pack(&out, &fixed, sizeof(fixed), &why, 1);

	if (r >= 0)
		r = send_pods(role, API_MSG_PODS, &out);
	buf_done(&out);
	return r;
}

static int on_pods_begin(void *userdata)
{
	return tell_pods(userdata, API_PODS_BEGIN, 0, "");
}

static int on_pods_end(void *userdata)
{
	return tell_pods(userdata, API_PODS_END, 0, "");
}

static int on_pods_open(void *userdata)
{
	return tell_pods(userdata, API_PODS_OPEN, 0, "");
}

static int on_pods_heard(void *userdata)
{
	return tell_pods(userdata, API_PODS_HEARD, 0, "");
}

static int on_pods_away(void *userdata, unsigned http, const char *text)
{
	return tell_pods(userdata, API_PODS_AWAY, http, text);
}

static int on_pod(void *userdata, const struct kube_pod *pod)
{
	struct buf out = BUF_INIT(CHANNEL_PAYLOAD_MAX);
	int r = api_pack_pod(&out, pod);

	if (r >= 0)
		r = send_pods(userdata, API_MSG_POD, &out);
	buf_done(&out);
	return r;
}

static int on_pod_gone(void *userdata, const char *uid)
{
	struct buf out = BUF_INIT(CHANNEL_PAYLOAD_MAX);
	struct slice text = api_slice(uid);
	struct api_text fixed = { 0 };
	int r = texts_pack(&out, &fixed, sizeof(fixed), &text, 1);

	if (r >= 0)
		r = send_pods(userdata, API_MSG_POD_GONE, &out);
	buf_done(&out);
	return r;
}

static const struct pod_watch_ops pods_ops = { .on_begin = on_pods_begin,
	.on_pod = on_pod,
	.on_gone = on_pod_gone,
	.on_end = on_pods_end,
	.on_open = on_pods_open,
	.on_heard = on_pods_heard,
	.on_away = on_pods_away };

static int take_watch(struct api_role *role, const struct channel_message *m)
{
	struct api_text fixed;
	const char *node_name;
	int r;

	r = texts_unpack(m, &fixed, sizeof(fixed), &node_name, 1);
	if (r < 0 || !node_name || role->pods)
		return -EBADMSG;
	return pod_watch_new(
		role->event, role->client, node_name, role->seed, &pods_ops, role, &role->pods);
}

/* ---- messages ----------------------------------------------------------------------------------- */

static int take_credential(struct api_role *role, const struct channel_message *m)
{
	struct api_credential fixed;
	const char *texts[ELEMENTS(fixed.lens)];
	int r;

	r = texts_unpack(m, &fixed, sizeof(fixed), texts, ELEMENTS(texts));
	if (r < 0)
		return r;
	/* Copied by the client. */
	return kube_client_set_credential(role->client,
		&(struct kube_credential){
			(char *)texts[0], (char *)texts[1], (char *)texts[2], fixed.expiry_ns });
}

static int take_request(struct api_role *role, const struct channel_message *m)
{
	CLEAN(mem_freep) struct call *call = mem_zalloc(sizeof(*call));
	struct api_request fixed;
	const char *texts[ELEMENTS(fixed.lens)];
	int r;

	if (!call)
		return -ENOMEM;
	r = texts_unpack(m, &fixed, sizeof(fixed), texts, ELEMENTS(texts));
	if (r < 0)
		return r;
	*call = (struct call){ role, m->id };
	r = kube_request(role->client,
		&(struct kube_request){
			.method = texts[0],
			.path = texts[1],
			.query = texts[2],
			.content_type = texts[3],
			.body = texts[4],
			.body_len = fixed.lens[4],
			.deadline_ns = fixed.deadline_ns,
			.size_max = API_BODY_MAX,
			.tries = fixed.tries,
		},
		on_answer, call, NULL);
	if (r >= 0)
		call = NULL;
	else
		r = send_answer(role, m->id,
			&(struct kube_answer){ .error = KUBE_OTHER, .text = "Too many requests" });
	return r;
}

static int take_messages(struct api_role *role)
{
	for (;;) {
		struct channel_message m;
		int r = channel_receive(role->channel, &m);

		if (r <= 0)
			return r;
		if (m.type == API_MSG_CREDENTIAL)
			r = take_credential(role, &m);
		else if (m.type == API_MSG_REQUEST)
			r = take_request(role, &m);
		else if (m.type == API_MSG_WATCH_PODS)
			r = take_watch(role, &m);
		else if (m.type == API_MSG_PODS_AGAIN)
			pod_watch_again(role->pods);
		else
			r = -EBADMSG;
		channel_message_done(&m);
		if (r < 0)
			return r;
	}
}

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct api_role *role = userdata;
	int r = channel_flush(role->channel);

	(void)source;
	(void)fd;
	(void)events;
	if (r >= 0)
		r = take_messages(role);
	if (r < 0)
		leave(role);
	else
		watch(role);
	return 0;
}

/* ---- life --------------------------------------------------------------------------------------- */

static int set_up(struct api_role *role, const struct channel_message *m, struct err *reterr)
{
	struct api_start fixed;
	const char *texts[ELEMENTS(fixed.lens)];
	struct kube_client_options options = { .user_agent = "pleg/" PLEG_VERSION,
		.on_unauthorized = on_unauthorized,
		.on_stale = on_stale,
		.userdata = role };
	int r;

	r = texts_unpack(m, &fixed, sizeof(fixed), texts, ELEMENTS(texts));
	if (r < 0)
		return r;
	options.seed = role->seed = fixed.seed;
	options.target =
		(struct kube_target){ texts[0], texts[1], texts[2], texts[3], fixed.insecure != 0 };
	r = sd_event_new(&role->event);
	if (r >= 0)
		r = sd_event_add_io(role->event, &role->io, channel_fd(role->channel),
			(uint32_t)channel_events(role->channel), on_io, role);
	if (r < 0)
		return r;
	return kube_client_new(role->event, &options, &role->client, reterr);
}

/* No way to narrow it further: it makes sockets and reads the resolver's files for as long as it lives. */
int api_role_run(void)
{
	struct api_role role = { 0 };
	struct channel_message start = { 0 };
	struct err e = { 0 };
	int r;

	(void)signal(SIGPIPE, SIG_IGN);
	r = role_child_start("pleg-api", accepts, ELEMENTS(accepts), &role.channel, &start);
	if (r < 0)
		return EXIT_FAILURE;
	r = set_up(&role, &start, &e);
	channel_message_done(&start);
	if (r < 0)
		return role_child_fail(role.channel, r, err_text(&e, r));
	r = role_child_ready(role.channel);
	if (r >= 0)
		r = sd_event_loop(role.event);
	role.pods = pod_watch_free(role.pods);
	role.client = kube_client_free(role.client);
	role.io = sd_event_source_disable_unref(role.io);
	role.event = sd_event_unref(role.event);
	role.channel = channel_free(role.channel);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
