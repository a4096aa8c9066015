/*
 * The api role in the agent: its executable, its start where there is a kubeconfig, and the way of the
 * reporter's requests through it. Whatever is wrong with it is a warning; nothing here waits for it.
 */
#include "agent/agent-internal.h"

#include <errno.h>

#include "agent/api-health.h"
#include "agent/api-pods.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "kube/api-agent.h"

#define API_ID 65534 /* nobody, by number: asking for a name may block */

void apis_open(struct agent *agent)
{
	struct err e = { 0 };
	int r;

	agent->api_exe_fd = -EBADF;
	if (agent->config.kubeconfig[0] == '\0' || !agent->spawner)
		return;
	r = agent_open_exe("kube", "pleg-api", false, &agent->api_exe_fd, &e);
	if (r < 0) {
		agent->api_exe_fd = -EBADF;
		agent_warn(agent, FMT("The API server is told nothing: %.120s", err_text(&e, r)));
	}
}

static int apis_send(void *userdata, const struct reporter_request *request)
{
	struct agent *agent = userdata;

	return api_send(agent->api, request->slot, request);
}

static void apis_on_answer(void *userdata, uint64_t tag, unsigned http, uint64_t retry_after_ns,
	const void *body, size_t len, const char *why)
{
	struct agent *agent = userdata;

	if (agent->cluster)
		cluster_answer(agent->cluster, (enum reporter_slot)tag, http, retry_after_ns, body,
			len, why);
}

static void apis_on_call(void *userdata, const struct api_call *call)
{
	struct agent *agent = userdata;

	if (agent->api_health)
		api_health_call(agent->api_health, call);
}

static void apis_on_trouble(void *userdata, const char *text)
{
	struct agent *agent = userdata;

	if (text[0] == '\0')
		log_info("The kubeconfig and what is behind it is in use", NULL);
	else
		log_warning(api_server(agent->api) ? "Who we are to the API server cannot be read"
						   : "The API server is told nothing",
			"reason", text, NULL);
}

static void apis_on_stale(void *userdata, const struct api_stale *stale)
{
	struct agent *agent = userdata;

	log_warning("A connection to the API server was stale", "connection",
		FMT("%s %s", stale->local, stale->remote), "unanswered", stale->what, NULL);
	if (agent->api_health)
		api_health_stale(agent->api_health, stale);
}

static void apis_on_state(void *userdata, const char *state, const char *reason)
{
	(void)userdata;
	if (reason[0] != '\0')
		log_warning("Api role", "state", state, "reason", reason, NULL);
	else
		log_info("Api role", "state", state, NULL);
}

/* ---- the node's pods ---------------------------------------------------------------------------- */

static void apis_on_pods(void *userdata, enum api_pods_word word, unsigned http, const char *why)
{
	struct agent *agent = userdata;

	api_pods_hear(agent->api_pods, word, http, why);
	if (word == API_PODS_AWAY && agent->api_health)
		api_health_doubt(agent->api_health);
}

static void apis_on_pod(void *userdata, const struct kube_pod *pod)
{
	struct agent *agent = userdata;

	api_pods_put(agent->api_pods, pod);
}

static void apis_on_pod_gone(void *userdata, const char *uid)
{
	struct agent *agent = userdata;

	api_pods_remove(agent->api_pods, uid);
}

static void apis_want_list(void *userdata)
{
	struct agent *agent = userdata;

	api_pods_again(agent->api);
}

static void apis_on_left_out(void *userdata)
{
	agent_warn(userdata,
		FMT("The API server has more than %u pods of this node: what it says of the others "
		    "is not known",
			KUBE_PODS_MAX));
}

static int apis_watch_pods(struct agent *agent, struct err *reterr)
{
	const struct api_pods_options options = { .loop = agent->loop,
		.pleg = agent->pleg,
		.pump = agent->pump,
		.kubelet = agent->kubelet,
		.want_list = apis_want_list,
		.on_left_out = apis_on_left_out,
		.userdata = agent };
	int r = api_pods_new(&options, &agent->api_pods);

	if (r >= 0)
		r = api_watch_pods(agent->api, agent->node_name);
	return r < 0 ? err_wrap(reterr, r, "Watch the node's pods") : 0;
}

void apis_start(struct agent *agent)
{
	static const struct cluster_ops to_api = { .send = apis_send };
	static const struct api_ops from_api = { .on_call = apis_on_call,
		.on_stale = apis_on_stale,
		.on_answer = apis_on_answer,
		.on_state = apis_on_state,
		.on_trouble = apis_on_trouble,
		.on_pods = apis_on_pods,
		.on_pod = apis_on_pod,
		.on_pod_gone = apis_on_pod_gone };
	const struct api_config config = { .kubeconfig = agent->config.kubeconfig,
		.probe = agent->probe,
		.exe_fd = agent->api_exe_fd,
		.uid = API_ID,
		.gid = API_ID };
	struct err e = { 0 };
	int r;

	if (agent->api_exe_fd < 0)
		return; /* Warned of when that was found. */
	r = api_new(agent->loop, agent->spawner, &config, &from_api, agent, &agent->api, &e);
	if (r >= 0)
		r = api_health_new(agent->loop, agent->api, &agent->api_health);
	if (r >= 0)
		r = apis_watch_pods(agent, &e);
	if (r >= 0)
		r = agent_make_cluster(agent, &to_api, agent, &e);
	if (r < 0)
		agent_warn(agent, FMT("The API server is told nothing: %.120s", err_text(&e, r)));
}

void apis_stop(struct agent *agent)
{
	agent->cluster = cluster_free(agent->cluster);
	agent->api_health = api_health_free(agent->api_health);
	agent->api = api_free(agent->api);
	agent->api_pods = api_pods_free(agent->api_pods);
	agent->api_exe_fd = fd_close(agent->api_exe_fd);
}

bool apis_status(const struct agent *agent, struct role_status *ret)
{
	if (!agent->api)
		return false;
	api_status(agent->api, ret);
	return true;
}
