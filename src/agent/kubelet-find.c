/*
 * The kubelet beside us is looked for when the doctor has seen another process of that name: it may be
 * started after us or again, with other ports, and where the endpoint is given by the configuration the
 * search for a runtime looks for no kubelet.
 */
#include "agent/agent-internal.h"

#include <errno.h>

#include "agent/kubelet-scan.h"
#include "base/log.h"
#include "base/str.h"

#define KUBELET_FIND_AGAIN_NS (10 * NSEC_PER_SEC)

void kubelet_take(struct agent *agent, const struct endpoint_result *result)
{
	const struct kubelet_scan *found = result->kubelet;

	/* What hangs says nothing of it. */
	if (!found && result->child_abandoned)
		return;
	kubelet_set(agent->kubelet, found);
	if (found)
		log_debug("Kubelet found", "pid", FMT("%d", found->pid), "healthz",
			FMT("%s:%u", found->healthz_address, found->healthz_port), "note",
			found->note, NULL);
	if (found && found->healthz_port != 0 && !kubelet_scan_healthz_host(found))
		agent_warn(agent,
			FMT("The kubelet's healthz listens on %.64s only and is not asked: it is "
			    "no loopback address",
				found->healthz_address));
}

static void on_found(void *userdata, const struct endpoint_result *result)
{
	struct agent *agent = userdata;

	kubelet_take(agent, result);
	if (result->child_abandoned)
		(void)timer_set_in(agent->kubelet_timer, KUBELET_FIND_AGAIN_NS);
}

static void on_due(void *userdata)
{
	struct agent *agent = userdata;
	const struct endpoint_options options = { .only_kubelet = true,
		.children = &agent->search_children,
		.on_done = on_found,
		.userdata = agent };
	struct err e = { 0 };
	int r;

	agent->kubelet_search = endpoint_search_free(agent->kubelet_search);
	r = endpoint_search_new(agent->loop, &options, &agent->kubelet_search, &e);
	if (r >= 0)
		return;
	log_debug("Not looking for the kubelet", "error", err_text(&e, r), NULL);
	(void)timer_set_in(agent->kubelet_timer, KUBELET_FIND_AGAIN_NS);
}

int kubelet_find_start(struct agent *agent)
{
	return timer_new(agent->loop, NSEC_NEVER, on_due, agent, &agent->kubelet_timer);
}

void kubelet_find_soon(struct agent *agent)
{
	(void)timer_set_in(agent->kubelet_timer, 0);
}

void kubelet_find_stop(struct agent *agent)
{
	agent->kubelet_search = endpoint_search_free(agent->kubelet_search);
	agent->kubelet_timer = timer_free(agent->kubelet_timer);
}
