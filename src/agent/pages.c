/*
 * The web role from the agent's side: its executable, its start, and what it is answered. The pages
 * are off rather than the agent down when the role cannot be had, except for a configuration that
 * would be unsafe or cannot work, which ends the start.
 */
#include "agent/agent-internal.h"

#include <errno.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "web/web-agent.h"

#define PAGES_ID 65534 /* nobody, by number: asking for a name may block */

/* ---- the executable --------------------------------------------------------------------------- */

void pages_open(struct agent *agent)
{
	struct err e = { 0 };
	int r = agent_open_exe("web", "pleg-web", false, &agent->web_exe_fd, &e);

	if (r < 0) {
		agent->web_exe_fd = -EBADF;
		agent_warn(agent, FMT("The web pages are off: %.150s", err_text(&e, r)));
	}
}

/* ---- what it is answered ---------------------------------------------------------------------- */

static int pages_snapshot(
	void *userdata, enum web_snapshot kind, const struct web_query *query, struct buf *ret)
{
	switch (kind) {
	case WEB_METRICS: return documents_metrics(userdata, ret);
	case WEB_STATUS: return documents_status(userdata, ret);
	case WEB_PODS: return documents_pods(userdata, ret);
	case WEB_EVENTS: return documents_events(userdata, query->tail, query->ns, query->pod, ret);
	}
	return -EINVAL;
}

static bool pages_ready(void *userdata, char *reason, size_t reason_size)
{
	const struct agent *agent = userdata;
	struct pleg_health health;

	pleg_health(agent->pleg, clock_now(), &health);
	if (health.has_listed)
		return true;
	(void)snprintf(reason, reason_size, "%s", health.message);
	return false;
}

static bool pages_healthy(void *userdata, char *reason, size_t reason_size)
{
	struct agent *agent = userdata;
	struct node_status status;

	pump_judge(agent->pump);
	node_status(agent->node, &status);
	if (status.ready)
		return true;
	(void)snprintf(reason, reason_size, "%s", status.message);
	return false;
}

static void pages_on_state(void *userdata, const char *state, const char *reason)
{
	(void)userdata;
	if (reason[0] != '\0')
		log_warning("Web role", "state", state, "reason", reason, NULL);
	else
		log_info("Web role", "state", state, NULL);
}

static const struct web_ops pages_ops = {
	.snapshot = pages_snapshot,
	.ready = pages_ready,
	.healthy = pages_healthy,
	.on_state = pages_on_state,
};

/* ---- life -------------------------------------------------------------------------------------- */

static const char *pages_or_null(const char *text)
{
	return text[0] ? text : NULL;
}

int pages_start(struct agent *agent, struct err *reterr)
{
	const struct config *c = &agent->config;
	struct web_config config = {
		.metrics_address = pages_or_null(c->metrics_address),
		.http_address = pages_or_null(c->http_address),
		.host = pages_or_null(agent->node_name),
		.token_file = pages_or_null(c->http_token_file),
		.cert_file = pages_or_null(c->tls_cert_file),
		.key_file = pages_or_null(c->tls_private_key_file),
		.exe_fd = agent->web_exe_fd,
		.uid = PAGES_ID,
		.gid = PAGES_ID,
	};
	int r;

	if (!config.metrics_address && !config.http_address)
		return 0;
	if (agent->web_exe_fd < 0 || !agent->spawner)
		return 0; /* Warned of when that was found. */
	r = web_new(agent->loop, agent->spawner, &config, &pages_ops, agent, &agent->web, reterr);
	if (r == -EADDRINUSE || r == -EADDRNOTAVAIL) {
		agent_warn(agent, FMT("The web pages are off: %.150s", err_text(reterr, r)));
		return 0;
	}
	return r;
}

void pages_stop(struct agent *agent)
{
	agent->web = web_free(agent->web);
	agent->web_exe_fd = fd_close(agent->web_exe_fd);
}

bool pages_status(const struct agent *agent, struct role_status *ret)
{
	if (!agent->web)
		return false;
	web_status(agent->web, ret);
	return true;
}
