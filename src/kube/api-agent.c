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
#include "kube/api-protocol.h"
#include "kube/client.h"
#include "kube/credential.h"
#include "kube/kubeconfig.h"
#include "kube/reporter.h"

#define API_NOFILE   256u
#define PING_TAG     (API_TAGS - 1u)     /* beyond the reporter's */
#define API_SLACK_NS (10 * NSEC_PER_SEC) /* beyond a request's deadline: then the role hangs */
#define API_READ_NS  (60 * NSEC_PER_SEC) /* between two looks at a credential that is about to end */
#define API_MESSAGE  (60u << 10)

struct waiting {
	struct api *api;
	uint64_t tag;
	bool is_used;
};

struct api {
	sd_event *event;
	sd_event_source *timer;
	struct role *role;
	const struct api_ops *ops;
	void *userdata;
	struct kubeconfig *config;
	struct kube_credential credential;
	struct kube_plugin *plugin;
	bool plugin_is_done;
	struct waiting waiting[API_TAGS];
	char *node_name; /* whose pods are watched; NULL: nobody's */
};

static const struct channel_type accepts[] = {
	{ API_MSG_ANSWER, sizeof(struct api_answer), CHANNEL_PAYLOAD_MAX, CHANNEL_FDS_ANY },
	{ API_MSG_UNAUTHORIZED, 0, 0, 0 },
	{ API_MSG_PODS, sizeof(struct api_pods_told), CHANNEL_PAYLOAD_MAX, 0 },
	{ API_MSG_POD, sizeof(struct api_pod), CHANNEL_PAYLOAD_MAX, 0 },
	{ API_MSG_POD_GONE, sizeof(struct api_text), CHANNEL_PAYLOAD_MAX, 0 },
};

/* ---- who we are --------------------------------------------------------------------------------- */

/* -ENOTCONN: the role does not run; it is sent when it does. */
static int send_credential(struct api *api)
{
	const struct kube_credential *c = &api->credential;
	const struct slice texts[] = { api_slice(c->bearer), api_slice(c->cert_pem),
		api_slice(c->key_pem) };
	struct api_credential fixed = { .expiry_ns = c->expiry_ns };
	struct buf out = BUF_INIT(API_MESSAGE);
	int r;

	for (size_t i = 0; i < ELEMENTS(texts); i++)
		fixed.lens[i] = (uint32_t)texts[i].len;
	r = api_pack(&out, &fixed, sizeof(fixed), texts, ELEMENTS(texts));
	if (r >= 0)
		r = role_send(api->role, API_MSG_CREDENTIAL, 0, out.data, out.len, NULL, 0);
	if (out.data)
		explicit_bzero(out.data, out.cap);
	buf_done(&out);
	return r;
}

/* Again in a minute, or a minute before it ends. */
static void look_again(struct api *api)
{
	int64_t left_ns = api->credential.expiry_ns - clock_now().real_ns - (int64_t)API_READ_NS;
	uint64_t wait_ns = left_ns > (int64_t)API_READ_NS ? (uint64_t)left_ns : API_READ_NS;
	bool ends = api->credential.expiry_ns > 0 || !api->credential.bearer;

	(void)sd_event_source_set_time_relative(api->timer, wait_ns / NSEC_PER_USEC);
	(void)sd_event_source_set_enabled(
		api->timer, ends && !api->credential.cert_pem ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
}

static void take_credential(struct api *api, struct kube_credential *credential)
{
	kube_credential_done(&api->credential);
	api->credential = *credential;
	*credential = (struct kube_credential){ 0 };
	(void)send_credential(api); /* Where it does not run, on_state() sends it. */
	look_again(api);
}

static void on_plugin(int r, struct kube_credential *credential, const char *text, void *userdata)
{
	struct api *api = userdata;

	api->plugin_is_done = true;
	if (r >= 0) {
		take_credential(api, credential);
		return;
	}
	log_warning("The credential plugin failed", "error", str_or_empty(text), NULL);
	look_again(api);
}

/* Reads files, or starts the plugin; one at a time. */
static void read_credential(struct api *api)
{
	struct kube_credential credential = { 0 };
	struct err e = { 0 };
	int r;

	if (api->plugin && !api->plugin_is_done)
		return;
	api->plugin = kube_plugin_free(api->plugin);
	r = kube_credential_read(api->config, &credential, &e);
	if (r >= 0) {
		take_credential(api, &credential);
		return;
	}
	if (r == -EAGAIN) {
		api->plugin_is_done = false;
		r = kube_plugin_start(api->event, api->config, 0, on_plugin, api, &api->plugin, &e);
	}
	if (r < 0) {
		log_warning(
			"Cannot read who we are to the API server", "error", err_text(&e, r), NULL);
		look_again(api);
	}
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	read_credential(userdata);
	return 0;
}

/* ---- pods --------------------------------------------------------------------------------------- */

static int tell_pods(struct api *api, const struct channel_message *m)
{
	struct api_pods_told fixed;
	const char *why;
	int r;

	memcpy(&fixed, m->payload, sizeof(fixed));
	r = api_unpack(m, sizeof(fixed), fixed.lens, 1, &why);
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

	memcpy(&fixed, m->payload, sizeof(fixed));
	r = api_unpack(m, sizeof(fixed), fixed.lens, 1, &uid);
	if (r < 0 || !uid)
		return -EBADMSG;
	api->ops->on_pod_gone(api->userdata, uid);
	return 0;
}

static int send_watch(struct api *api)
{
	struct slice name = api_slice(api->node_name);
	struct api_text fixed = { .lens = { (uint32_t)name.len } };
	struct buf out = BUF_INIT(API_MESSAGE);
	int r = api_pack(&out, &fixed, sizeof(fixed), &name, 1);

	if (r >= 0)
		r = role_send(api->role, API_MSG_WATCH_PODS, 0, out.data, out.len, NULL, 0);
	buf_done(&out);
	return r;
}

int api_watch_pods(struct api *api, const char *node_name)
{
	api->node_name = mem_strdup(node_name);
	if (!api->node_name)
		return -ENOMEM;
	(void)send_watch(api); /* Where it does not run, on_state() sends it. */
	return 0;
}

void api_pods_again(struct api *api)
{
	(void)role_send(api->role, API_MSG_PODS_AGAIN, 0, NULL, 0, NULL, 0);
}

/* ---- the role ----------------------------------------------------------------------------------- */

static int on_message(struct role *role, struct channel_message *m, void *userdata)
{
	struct api *api = userdata;

	(void)role;
	if (m->type == API_MSG_UNAUTHORIZED)
		read_credential(api);
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

	(void)role;
	(void)old_state;
	if (new_state == ROLE_RUNNING && (api->credential.bearer || api->credential.cert_pem))
		(void)send_credential(api);
	if (new_state == ROLE_RUNNING && api->node_name)
		(void)send_watch(api);
	else if (api->node_name)
		api->ops->on_pods(api->userdata, API_PODS_AWAY, 0,
			*reason ? reason : "The api role does not run");
	if (api->ops->on_state)
		api->ops->on_state(api->userdata, role_state_name(new_state), reason);
}

static int set_start(struct api *api, struct err *reterr)
{
	const struct kube_cluster *cluster = &api->config->cluster;
	CLEAN(mem_freep) char *ca = NULL;
	struct api_start fixed = { .insecure = cluster->insecure };
	struct buf out = BUF_INIT(API_MESSAGE);
	struct slice texts[ELEMENTS(fixed.lens)];
	sd_id128_t id;
	int r;

	r = kubeconfig_authority(api->config, &ca, reterr);
	if (r < 0)
		return r;
	r = sd_id128_randomize(&id);
	if (r < 0)
		return err_wrap(reterr, r, "Make a random number");
	fixed.seed = id.qwords[0];
	texts[0] = api_slice(cluster->server);
	texts[1] = api_slice(ca);
	texts[2] = api_slice(cluster->tls_server_name);
	texts[3] = api_slice(cluster->proxy_url);
	for (size_t i = 0; i < ELEMENTS(texts); i++)
		fixed.lens[i] = (uint32_t)texts[i].len;
	r = api_pack(&out, &fixed, sizeof(fixed), texts, ELEMENTS(texts));
	if (r >= 0)
		r = role_set_start(api->role, out.data, out.len, NULL, 0);
	buf_done(&out);
	return r < 0 ? err_wrap(reterr, r, "Start the api role") : 0;
}

/* ---- requests ----------------------------------------------------------------------------------- */

static void tell_call(struct api *api, const struct api_answer *a, const char *why)
{
	const struct api_call call = { .error = kube_error_name((enum kube_error)a->error),
		.http = a->http,
		.why = str_or_empty(why),
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

static void tell_answer(struct api *api, uint64_t tag, struct channel_message *m)
{
	const char *texts[2] = { NULL, NULL };
	const void *map = NULL;
	struct api_answer fixed;
	size_t map_len = 0;
	int r;

	memcpy(&fixed, m->payload, sizeof(fixed));
	r = api_unpack(m, sizeof(fixed), fixed.lens, ELEMENTS(fixed.lens), texts);
	if (r >= 0 && m->fd_count == 1)
		r = channel_map_sealed(m->fds[0], API_BODY_MAX, &map, &map_len);
	if (r < 0)
		give_answer(api, tag, 0, 0, "", 0, "The api role answered nonsense");
	else {
		tell_call(api, &fixed, texts[0]);
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
	const char *why = r == -ETIMEDOUT ? "The api role hangs" : "The api role has ended";

	waiting->is_used = false;
	if (r >= 0) {
		tell_answer(api, waiting->tag, m);
		return;
	}
	if (api->ops->on_call)
		api->ops->on_call(api->userdata, &(struct api_call){ .error = "role", .why = why });
	give_answer(api, waiting->tag, 0, 0, "", 0, why);
}

/* One try: the reporter knows better when to come again. */
int api_send(struct api *api, uint64_t tag, const struct reporter_request *request)
{
	const char *mark = strchr(request->path, '?');
	size_t path_len = mark ? (size_t)(mark - request->path) : strlen(request->path);
	const struct slice texts[] = { api_slice(request->method), { request->path, path_len },
		api_slice(mark ? mark + 1 : NULL), api_slice(request->content_type),
		{ request->body, request->body_len } };
	struct api_request fixed = { .deadline_ns = API_DEADLINE_NS, .tries = 1 };
	struct buf out = BUF_INIT(CHANNEL_PAYLOAD_MAX);
	int r;

	if (tag >= API_TAGS || api->waiting[tag].is_used)
		return -EBUSY;
	for (size_t i = 0; i < ELEMENTS(texts); i++)
		fixed.lens[i] = (uint32_t)texts[i].len;
	r = api_pack(&out, &fixed, sizeof(fixed), texts, ELEMENTS(texts));
	api->waiting[tag] = (struct waiting){ api, tag, true };
	if (r >= 0)
		r = role_request(api->role, API_MSG_REQUEST, out.data, out.len, NULL, 0,
			API_DEADLINE_NS + API_SLACK_NS, on_answer, &api->waiting[tag]);
	if (r < 0)
		api->waiting[tag].is_used = false;
	buf_done(&out);
	return r;
}

int api_ping(struct api *api)
{
	return api_send(
		api, PING_TAG, &(struct reporter_request){ .method = "GET", .path = "/livez" });
}

/* ---- life --------------------------------------------------------------------------------------- */

int api_new(sd_event *event, struct role_spawner *spawner, const struct api_config *config,
	const struct api_ops *ops, void *userdata, struct api **ret, struct err *reterr)
{
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
	int r;

	if (!api)
		return err_set(reterr, -ENOMEM, "Start the api role: out of memory");
	api->event = sd_event_ref(event);
	api->ops = ops;
	api->userdata = userdata;
	r = kubeconfig_load(config->kubeconfig, NULL, &api->config, reterr);
	if (r < 0)
		return r;
	if (api->config->warnings)
		log_warning("The kubeconfig has what is not used", "fields", api->config->warnings,
			NULL);
	r = sd_event_add_time_relative(event, &api->timer, CLOCK_MONOTONIC, 0,
		NSEC_PER_SEC / NSEC_PER_USEC, on_timer, api);
	if (r >= 0)
		r = role_new(event, spawner, &spec, &api->role);
	if (r < 0)
		return err_wrap(reterr, r, "Start the api role");
	r = set_start(api, reterr);
	if (r < 0)
		return r;
	r = role_start(api->role);
	if (r < 0)
		return err_wrap(reterr, r, "Start the api role");
	*ret = TAKE_PTR(api);
	return 0;
}

struct api *api_free(struct api *api)
{
	if (!api)
		return NULL;
	api->role = role_free(api->role);
	api->plugin = kube_plugin_free(api->plugin);
	api->timer = sd_event_source_disable_unref(api->timer);
	kube_credential_done(&api->credential);
	api->config = kubeconfig_free(api->config);
	api->node_name = mem_free(api->node_name);
	api->event = sd_event_unref(api->event);
	return mem_free(api);
}

const char *api_server(const struct api *api)
{
	return api->config->cluster.server;
}

int64_t api_credential_ends_ns(const struct api *api)
{
	return api->credential.expiry_ns;
}

void api_status(const struct api *api, struct role_status *ret)
{
	role_status(api->role, ret);
}
