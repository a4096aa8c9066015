#include "kube/api-agent.h"

#include <errno.h>
#include <string.h>

#include <systemd/sd-event.h>
#include <systemd/sd-id128.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "kube/api-files.h"
#include "kube/api-protocol.h"
#include "kube/client.h"
#include "kube/credential.h"
#include "kube/kubeconfig.h"
#include "kube/reporter.h"

#define API_NOFILE   256u
#define PING_TAG     (API_TAGS - 1u)     /* beyond the reporter's */
#define API_SLACK_NS (10 * NSEC_PER_SEC) /* beyond a request's deadline: then the role hangs */
#define API_MESSAGE  (60u << 10)

struct waiting {
	struct api *api;
	uint64_t tag;
	bool is_used;
};

struct api {
	struct role *role;
	struct api_files *files;
	const struct api_ops *ops;
	void *userdata;
	bool is_introduced; /* the role that runs has been told who we are; before that it asks nothing */
	bool is_known; /* its next start is told of the server there is */
	bool is_moving; /* the process that is there speaks to the server that was, and is being ended */
	struct waiting waiting[API_TAGS];
	char *node_name; /* whose pods are watched; NULL: nobody's */
};

static const struct channel_type accepts[] = {
	{ API_MSG_ANSWER, sizeof(struct api_answer), CHANNEL_PAYLOAD_MAX, CHANNEL_FDS_ANY },
	{ API_MSG_UNAUTHORIZED, 0, 0, 0 },
	{ API_MSG_PODS, sizeof(struct api_pods_told), CHANNEL_PAYLOAD_MAX, 0 },
	{ API_MSG_POD, sizeof(struct api_pod), CHANNEL_PAYLOAD_MAX, 0 },
	{ API_MSG_POD_GONE, sizeof(struct api_text), CHANNEL_PAYLOAD_MAX, 0 },
	{ API_MSG_STALE, sizeof(struct api_stale_told), CHANNEL_PAYLOAD_MAX, 0 },
};

/* ---- who we are --------------------------------------------------------------------------------- */

/* -ENOTCONN: the role does not run; it is sent when it does. */
static int send_credential(struct api *api, const struct kube_credential *c)
{
	const struct slice texts[] = { api_slice(c->bearer), api_slice(c->cert_pem),
		api_slice(c->key_pem) };
	struct api_credential fixed = { .expiry_ns = c->expiry_ns };
	struct buf out = BUF_INIT(API_MESSAGE);
	int r;

	r = texts_pack(&out, &fixed, sizeof(fixed), texts, ELEMENTS(texts));
	if (r >= 0)
		r = role_send(api->role, API_MSG_CREDENTIAL, 0, out.data, out.len, NULL, 0);
	if (out.data)
		explicit_bzero(out.data, out.cap);
	buf_done(&out);
	return r;
}

static int send_watch(struct api *api)
{
	struct slice name = api_slice(api->node_name);
	struct api_text fixed = { 0 };
	struct buf out = BUF_INIT(API_MESSAGE);
	int r = texts_pack(&out, &fixed, sizeof(fixed), &name, 1);

	if (r >= 0)
		r = role_send(api->role, API_MSG_WATCH_PODS, 0, out.data, out.len, NULL, 0);
	buf_done(&out);
	return r;
}

/* Nothing while the role does not run, or nothing is known: then later. Messages keep their order, so whatever
 * follows is asked as who we are, never as system:anonymous. */
static void introduce(struct api *api)
{
	const struct kube_credential *c = api_files_credential(api->files);
	bool was_introduced = api->is_introduced;

	if (!c || api->is_moving || send_credential(api, c) < 0)
		return;
	api->is_introduced = true;
	if (!was_introduced && api->node_name)
		(void)send_watch(api);
}

/* ---- pods --------------------------------------------------------------------------------------- */

static int tell_pods(struct api *api, const struct channel_message *m)
{
	struct api_pods_told fixed;
	const char *why;
	int r;

	r = texts_unpack(m, &fixed, sizeof(fixed), &why, 1);
	if (r < 0 || fixed.word >= API_PODS_WORDS)
		return -EBADMSG;
	api->ops->on_pods(
		api->userdata, (enum api_pods_word)fixed.word, fixed.http, str_or_empty(why));
	return 0;
}

static int tell_pod(struct api *api, const struct channel_message *m)
{
	struct kube_pod_container containers[KUBE_POD_CONTAINERS_MAX];
	struct kube_pod pod;
	int r = api_unpack_pod(m, &pod, containers);

	if (r >= 0)
		api->ops->on_pod(api->userdata, &pod);
	return r;
}

static int tell_gone(struct api *api, const struct channel_message *m)
{
	struct api_text fixed;
	const char *uid;
	int r;

	r = texts_unpack(m, &fixed, sizeof(fixed), &uid, 1);
	if (r < 0 || !uid)
		return -EBADMSG;
	api->ops->on_pod_gone(api->userdata, uid);
	return 0;
}

int api_watch_pods(struct api *api, const char *node_name)
{
	api->node_name = mem_strdup(node_name);
	if (!api->node_name)
		return -ENOMEM;
	if (api->is_introduced) /* else introduce() sends it */
		(void)send_watch(api);
	return 0;
}

void api_pods_again(struct api *api)
{
	(void)role_send(api->role, API_MSG_PODS_AGAIN, 0, NULL, 0, NULL, 0);
}

/* ---- the role ----------------------------------------------------------------------------------- */

static int tell_stale(struct api *api, const struct channel_message *m)
{
	struct api_stale stale;
	int r = api_unpack_stale(m, &stale);

	if (r >= 0 && api->ops->on_stale)
		api->ops->on_stale(api->userdata, &stale);
	return r;
}

static int on_message(struct role *role, struct channel_message *m, void *userdata)
{
	struct api *api = userdata;

	(void)role;
	if (m->type == API_MSG_UNAUTHORIZED)
		api_files_doubt(api->files);
	else if (m->type == API_MSG_STALE)
		return tell_stale(api, m);
	else if (!api->node_name)
		return -EBADMSG;
	else if (m->type == API_MSG_PODS)
		return tell_pods(api, m);
	else if (m->type == API_MSG_POD)
		return tell_pod(api, m);
	else if (m->type == API_MSG_POD_GONE)
		return tell_gone(api, m);
	else
		return -EBADMSG;
	return 0;
}

static void on_state(struct role *role, enum role_state old_state, enum role_state new_state,
	const char *reason, void *userdata)
{
	struct api *api = userdata;

	(void)old_state;
	api->is_introduced = false;
	if (new_state == ROLE_STOPPED) {
		api->is_moving = false;
		if (api->is_known)
			(void)role_start(role);
	}
	if (new_state == ROLE_RUNNING)
		introduce(api);
	else if (api->node_name)
		api->ops->on_pods(api->userdata, API_PODS_AWAY, 0,
			*reason ? reason : "The api role does not run");
	if (api->ops->on_state)
		api->ops->on_state(api->userdata, role_state_name(new_state), reason);
}

static int set_start(struct api *api, const struct kube_cluster *cluster, const char *ca)
{
	struct api_start fixed = { .insecure = cluster->insecure };
	struct buf out = BUF_INIT(API_MESSAGE);
	struct slice texts[ELEMENTS(fixed.lens)];
	sd_id128_t id;
	int r;

	r = sd_id128_randomize(&id);
	if (r < 0)
		return r;
	fixed.seed = id.qwords[0];
	texts[0] = api_slice(cluster->server);
	texts[1] = api_slice(ca);
	texts[2] = api_slice(cluster->tls_server_name);
	texts[3] = api_slice(cluster->proxy_url);
	r = texts_pack(&out, &fixed, sizeof(fixed), texts, ELEMENTS(texts));
	if (r >= 0)
		r = role_set_start(api->role, out.data, out.len, NULL, 0);
	buf_done(&out);
	return r;
}

/* ---- what the files say ------------------------------------------------------------------------- */

/* Another server is for another process: nothing of the one is left for the other. */
static void on_target(void *userdata, const struct kubeconfig *config, const char *ca)
{
	struct api *api = userdata;
	struct role_status s;
	int r = set_start(api, &config->cluster, ca);

	if (config->warnings)
		log_warning(
			"The kubeconfig has what is not used", "fields", config->warnings, NULL);
	if (r < 0)
		log_warning("The api role cannot be told of its server", "error", err_text(NULL, r),
			NULL);
	role_status(api->role, &s);
	api->is_introduced = false;
	api->is_known = r >= 0;
	api->is_moving = s.state != ROLE_STOPPED;
	if (api->is_moving)
		role_stop(api->role, 0); /* on_state() starts it again. */
	else if (api->is_known)
		(void)role_start(api->role);
}

static void on_credential(void *userdata, const struct kube_credential *credential)
{
	(void)credential;
	introduce(userdata); /* Where it does not run, on_state() does. */
}

static void on_trouble(void *userdata, const char *text)
{
	struct api *api = userdata;

	if (api->ops->on_trouble)
		api->ops->on_trouble(api->userdata, text);
}

/* ---- requests ----------------------------------------------------------------------------------- */

static void tell_call(struct api *api, uint64_t tag, const struct api_answer *a, const char *why)
{
	const struct api_call call = { .error = kube_error_name((enum kube_error)a->error),
		.http = a->http,
		.why = str_or_empty(why),
		.is_ping = tag == PING_TAG,
		.timings = a->timings };

	if (api->ops->on_call)
		api->ops->on_call(api->userdata, &call);
}

static void give_answer(struct api *api, uint64_t tag, unsigned http, uint64_t retry_after_ns,
	const void *body, size_t len, const char *why)
{
	if (tag != PING_TAG)
		api->ops->on_answer(api->userdata, tag, http, retry_after_ns, body, len, why);
}

/* What may be mended by what the files say by now: a rotated authority, a certificate that has ended (the
 * server breaks off then, or says so by an alert) or does not belong to its key. */
static bool is_doubtful(const struct api *api, enum kube_error error)
{
	const struct kube_credential *c = api_files_credential(api->files);

	return error == KUBE_TLS || error == KUBE_CREDENTIAL ||
		(error == KUBE_RESET && c && c->cert_pem);
}

static void tell_answer(struct api *api, uint64_t tag, struct channel_message *m)
{
	const char *texts[2] = { NULL, NULL };
	const void *map = NULL;
	struct api_answer fixed;
	size_t map_len = 0;
	int r;

	r = texts_unpack(m, &fixed, sizeof(fixed), texts, ELEMENTS(texts));
	if (r >= 0 && m->fd_count == 1)
		r = channel_map_sealed(m->fds[0], API_BODY_MAX, &map, &map_len);
	if (r < 0)
		give_answer(api, tag, 0, 0, "", 0, "The api role answered nonsense");
	else {
		if (is_doubtful(api, (enum kube_error)fixed.error))
			api_files_doubt(api->files);
		tell_call(api, tag, &fixed, texts[0]);
		give_answer(api, tag, fixed.http, fixed.retry_after_ns,
			map ? map : str_or_empty(texts[1]), map ? map_len : fixed.lens[1],
			texts[0]);
	}
	if (map)
		channel_unmap(map, map_len);
}

static void on_answer(int r, struct channel_message *m, void *userdata)
{
	struct waiting *waiting = userdata;
	struct api *api = waiting->api;
	const char *why = r == -ETIMEDOUT ? "The api role hangs"
		: api->is_moving          ? "There is another API server now"
					  : "The api role has ended";

	waiting->is_used = false;
	if (r >= 0) {
		tell_answer(api, waiting->tag, m);
		return;
	}
	if (api->ops->on_call && !api->is_moving)
		api->ops->on_call(api->userdata, &(struct api_call){ .error = "role", .why = why });
	give_answer(api, waiting->tag, 0, 0, "", 0, why);
}

/* One try: the reporter knows better when to come again. */
static int send_request(
	struct api *api, uint64_t tag, const struct reporter_request *request, uint64_t deadline_ns)
{
	const char *mark = strchr(request->path, '?');
	size_t path_len = mark ? (size_t)(mark - request->path) : strlen(request->path);
	const struct slice texts[] = { api_slice(request->method), { request->path, path_len },
		api_slice(mark ? mark + 1 : NULL), api_slice(request->content_type),
		{ request->body, request->body_len } };
	struct api_request fixed = { .deadline_ns = deadline_ns, .tries = 1 };
	struct buf out = BUF_INIT(CHANNEL_PAYLOAD_MAX);
	int r;

	if (tag >= API_TAGS || api->waiting[tag].is_used)
		return -EBUSY;
	if (!api->is_introduced)
		return -ENOTCONN;
	r = texts_pack(&out, &fixed, sizeof(fixed), texts, ELEMENTS(texts));
	api->waiting[tag] = (struct waiting){ api, tag, true };
	if (r >= 0)
		r = role_request(api->role, API_MSG_REQUEST, out.data, out.len, NULL, 0,
			deadline_ns + API_SLACK_NS, on_answer, &api->waiting[tag]);
	if (r < 0)
		api->waiting[tag].is_used = false;
	buf_done(&out);
	return r;
}

int api_send(struct api *api, uint64_t tag, const struct reporter_request *request)
{
	return send_request(api, tag, request, API_DEADLINE_NS);
}

/* Who we are cannot be had, so nothing is asked: that, too, is how the way to the server is. */
static void tell_no_credential(struct api *api)
{
	const char *trouble = api_files_trouble(api->files);

	if (api->ops->on_call && *trouble != '\0')
		api->ops->on_call(api->userdata,
			&(struct api_call){
				.error = kube_error_name(KUBE_CREDENTIAL), .why = trouble });
}

int api_ping(struct api *api)
{
	const struct reporter_request request = { .method = "GET", .path = "/livez" };

	if (!api_files_credential(api->files)) {
		tell_no_credential(api);
		return -EAGAIN;
	}
	return send_request(api, PING_TAG, &request, API_PING_NS);
}

/* ---- life --------------------------------------------------------------------------------------- */

int api_new(sd_event *event, struct role_spawner *spawner, const struct api_config *config,
	const struct api_ops *ops, void *userdata, struct api **ret, struct err *reterr)
{
	static const struct api_files_ops files_ops = {
		.on_target = on_target, .on_credential = on_credential, .on_trouble = on_trouble
	};
	CLEAN(api_freep) struct api *api = mem_zalloc(sizeof(*api));
	struct role_spec spec = { .name = "api",
		.exe_fd = config->exe_fd,
		.uid = config->uid,
		.gid = config->gid,
		.nofile = API_NOFILE,
		.accepts = accepts,
		.accept_count = ELEMENTS(accepts),
		.on_message = on_message,
		.on_state = on_state,
		.userdata = api };
	struct api_files_options files = { .event = event,
		.probe = config->probe,
		.kubeconfig = config->kubeconfig,
		.ops = &files_ops,
		.userdata = api };
	int r;

	if (!api)
		return err_set(reterr, -ENOMEM, "Start the api role: out of memory");
	api->ops = ops;
	api->userdata = userdata;
	r = role_new(event, spawner, &spec, &api->role);
	if (r >= 0)
		r = api_files_new(&files, &api->files);
	if (r < 0)
		return err_wrap(reterr, r, "Start the api role");
	*ret = TAKE_PTR(api);
	return 0;
}

struct api *api_free(struct api *api)
{
	if (!api)
		return NULL;
	api->files = api_files_free(api->files);
	api->role = role_free(api->role);
	api->node_name = mem_free(api->node_name);
	return mem_free(api);
}

const char *api_server(const struct api *api)
{
	const struct kubeconfig *config = api_files_config(api->files);

	return config ? config->cluster.server : NULL;
}

int64_t api_credential_ends_ns(const struct api *api)
{
	const struct kube_credential *c = api_files_credential(api->files);

	return c ? c->expiry_ns : 0;
}

const char *api_trouble(const struct api *api)
{
	return api_files_trouble(api->files);
}

void api_status(const struct api *api, struct role_status *ret)
{
	role_status(api->role, ret);
}
