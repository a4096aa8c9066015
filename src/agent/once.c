/*
 * One look at a runtime without a daemon, for `pleg status --runtime` and `pleg pods --runtime`: the
 * same pump, PLEG and verdict on a loop of its own, until everything that was asked is answered,
 * failed or late. Runs in the command's process, so it may wait; how long is bounded by ONCE_NS.
 */
#include "agent/agent-internal.h"

#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

#define ONCE_NS         (10 * NSEC_PER_SEC) /* for all of it */
#define ONCE_REQUEST_NS (5 * NSEC_PER_SEC)  /* for a list, Status and Version */
#define ONCE_INSPECT_NS (3 * NSEC_PER_SEC)  /* after it a pod is in quarantine */
#define ONCE_TURN_US    50000

struct once {
	struct agent agent;
	bool has_relisted;
};

static void once_on_nothing(void *userdata)
{
	(void)userdata;
}

static void once_on_relist(void *userdata)
{
	((struct once *)userdata)->has_relisted = true;
}

/* Whatever could still be answered in time has been. */
static bool once_is_settled(const struct once *once)
{
	struct runtime_link link = { 0 };
	struct pump_state state;

	if (!once->has_relisted || kubelet_is_asking(once->agent.kubelet))
		return false;
	pump_state(once->agent.pump, &state);
	if (state.runtime)
		runtime_link(state.runtime, &link);
	return link.calls_open == link.calls_late;
}

static int once_make(struct once *once, const char *endpoint, struct err *reterr)
{
	struct agent *agent = &once->agent;
	struct config *c = &agent->config;
	struct pump_options options = {
		.lag = &agent->lag,
		.is_once = true,
		.request_timeout_ns = ONCE_REQUEST_NS,
		.on_events = once_on_nothing,
		.on_relist = once_on_relist,
		.on_verdict = once_on_nothing,
		.userdata = once,
	};
	char *full = NULL;
	int r;

	r = config_init(c);
	if (r >= 0)
		r = config_endpoint(endpoint, &full);
	if (r < 0)
		return err_set(reterr, r,
			"--runtime %s: must be a unix socket such as "
			"unix:///run/containerd/containerd.sock",
			endpoint);
	(void)mem_free(c->container_runtime_endpoint);
	c->container_runtime_endpoint = full;
	c->runtime_request_timeout_ns = ONCE_REQUEST_NS;
	c->inspect_timeout_ns = ONCE_INSPECT_NS;
	(void)snprintf(agent->endpoint, sizeof(agent->endpoint), "%s", full);
	agent_name(agent);
	r = sd_event_new(&agent->loop);
	if (r >= 0)
		r = agent_make_core(agent);
	if (r >= 0)
		r = kubelet_new(agent->loop, once_on_nothing, once, &agent->kubelet);
	if (r < 0)
		return r;
	options.loop = agent->loop;
	options.pleg = agent->pleg;
	options.events = agent->events;
	options.node = agent->node;
	options.kubelet = agent->kubelet;
	options.node_update_ns = c->node_status_update_frequency_ns;
	options.relist_threshold_ns = c->relist_threshold_ns;
	r = pump_new(&options, &agent->pump);
	if (r < 0)
		return r;
	return pump_set_runtime(agent->pump, full, reterr);
}

static int once_wait(struct once *once)
{
	uint64_t end_ns = time_add(clock_now().mono_ns, ONCE_NS);

	while (!once_is_settled(once) && clock_now().mono_ns < end_ns) {
		int r = sd_event_run(once->agent.loop, ONCE_TURN_US);

		if (r < 0)
			return r;
	}
	return 0;
}

/* An empty list of pods would say that there are none. */
static int once_check_listed(const struct once *once, struct err *reterr)
{
	struct pleg_health health;
	struct pump_state state;

	pleg_health(once->agent.pleg, clock_now(), &health);
	if (health.has_listed)
		return 0;
	pump_judge(once->agent.pump);
	pump_state(once->agent.pump, &state);
	return err_set(reterr, -EHOSTDOWN, "The pods cannot be listed: %s",
		state.link_failure[0] ? state.link_failure
			: state.answer_failure[0]
			? state.answer_failure
			: "the runtime fails or does not answer; 'pleg status "
			  "--runtime' says more");
}

static void once_done(struct once *once)
{
	struct agent *agent = &once->agent;

	agent->pump = pump_free(agent->pump);
	agent->kubelet = kubelet_free(agent->kubelet);
	agent->node = node_free(agent->node);
	agent->pleg = pleg_free(agent->pleg);
	agent->events = sync_loop_free(agent->events);
	agent->loop = sd_event_unref(agent->loop);
	config_done(&agent->config);
}

int agent_once(
	const char *endpoint, enum agent_document document, struct buf *out, struct err *reterr)
{
	CLEAN(mem_freep) struct once *once = mem_zalloc(sizeof(*once));
	int r;

	if (!once)
		return -ENOMEM;
	once->agent.web_exe_fd = -EBADF;
	once->agent.api_exe_fd = -EBADF;
	once->agent.probe_exe_fd = -EBADF;
	/* What the daemon would log stands in the document. */
	log_set_level(LOG_LEVEL_ERROR);
	r = once_make(once, endpoint, reterr);
	if (r >= 0)
		r = once_wait(once);
	if (r >= 0)
		switch (document) {
		case AGENT_STATUS:
			once->agent.epoch[0] = '\0'; /* There is no run that it could name. */
			r = documents_status(&once->agent, out);
			break;
		case AGENT_PODS:
			r = once_check_listed(once, reterr);
			if (r >= 0)
				r = documents_pods(&once->agent, out);
			break;
		}
	once_done(once);
	return r;
}
