/*
 * The start, the loop and the end of the agent.
 *
 * Order of the start, and why: the log pump and the spawner are forked while the process is small;
 * then signals are blocked, so that from here on SIGTERM is a request; the configuration; the control
 * socket, whose lock tells two agents apart, before anything else is visible from outside; the pages,
 * the probe and the journal; memory is locked; last the search for a runtime, which goes on in the loop. Whatever hangs there,
 * `pleg status` is answered.
 */
#include "agent/agent-internal.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/resident.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "model/event-json.h"

#define READY_WAIT_NS   (2 * NSEC_PER_SEC)  /* for the first list, before systemd is told */
#define LAST_LINES_MS   1000                /* for the log pump, at the end */
#define SEARCH_AGAIN_NS (10 * NSEC_PER_SEC) /* when no runtime was found, or none has answered */

void agent_warn(struct agent *agent, const char *text)
{
	log_warning("Works less than it could", "reason", text, NULL);
	for (size_t i = 0; i < agent->warning_count; i++)
		if (str_eq(agent->warnings[i], text))
			return;
	if (agent->warning_count < AGENT_WARNINGS_MAX)
		(void)snprintf(agent->warnings[agent->warning_count++], sizeof(agent->warnings[0]),
			"%s", text);
}

/* ---- what systemd sees ------------------------------------------------------------------------- */

static void agent_notify_status(struct agent *agent)
{
	char text[512], clean[300];
	struct node_status status;

	node_status(agent->node, &status);
	(void)str_clean(clean, sizeof(clean), status.message, strlen(status.message));
	(void)snprintf(text, sizeof(text), "STATUS=%s: %s%s%.100s",
		status.ready ? status.degraded ? "Ready, degraded" : "Ready" : "Not ready", clean,
		status.detail[0] ? "; " : "", status.detail);
	notify_send(agent->notify, text);
}

static void agent_tell_ready(struct agent *agent)
{
	if (agent->is_ready_told)
		return;
	agent->is_ready_told = true;
	agent->ready_timer = timer_free(agent->ready_timer);
	pump_judge(agent->pump);
	notify_send(agent->notify, "READY=1");
	agent_notify_status(agent);
}

static void agent_on_ready_due(void *userdata)
{
	agent_tell_ready(userdata);
}

/* ---- what the pump tells ------------------------------------------------------------------------ */

static void agent_on_events(void *userdata)
{
	struct agent *agent = userdata;

	control_server_wake(agent->control);
	history_wake(agent);
}

static void agent_on_relist(void *userdata)
{
	agent_tell_ready(userdata);
	history_look(userdata);
}

static void agent_on_verdict(void *userdata)
{
	struct agent *agent = userdata;

	agent_notify_status(agent);
	if (agent->diagnosis)
		diagnosis_wake(agent->diagnosis);
	if (agent->cluster)
		cluster_wake(agent->cluster);
}

static void agent_on_incident(void *userdata, const struct incident *incident)
{
	struct agent *agent = userdata;

	history_incident(agent, incident);
	if (agent->cluster)
		cluster_incident(agent->cluster, incident);
}

static void agent_on_kubelet(void *userdata)
{
	struct agent *agent = userdata;

	if (agent->pump)
		pump_judge_soon(agent->pump);
}

static void agent_on_other_kubelet(void *userdata)
{
	kubelet_find_soon(userdata);
}

static int agent_on_status(void *userdata, struct buf *out)
{
	return documents_status(userdata, out);
}

static int agent_on_pods(void *userdata, struct buf *out)
{
	return documents_pods(userdata, out);
}

static const struct control_ops control_ops = {
	.status = agent_on_status,
	.pods = agent_on_pods,
	.event = event_json,
	.past = history_past,
	.past_next = history_past_next,
	.past_covers = history_past_covers,
	.past_free = history_past_free,
};

/* ---- the runtime -------------------------------------------------------------------------------- */

static void agent_use(struct agent *agent, const char *endpoint, enum endpoint_source source)
{
	struct err e = { 0 };
	int r;

	agent->source = source;
	(void)snprintf(agent->endpoint, sizeof(agent->endpoint), "%s", endpoint);
	log_info("Using the runtime", "endpoint", endpoint, "because", endpoint_source_text(source),
		NULL);
	r = pump_set_runtime(agent->pump, endpoint, &e);
	if (r < 0) {
		(void)snprintf(agent->no_runtime, sizeof(agent->no_runtime), "%s", err_text(&e, r));
		log_error("Cannot use the runtime", "endpoint", endpoint, "error",
			agent->no_runtime, NULL);
		pump_set_no_runtime(agent->pump, agent->no_runtime);
	}
}

static void agent_log_search(const struct endpoint_result *result)
{
	for (size_t i = 0; i < result->row_count; i++)
		log_debug("Looked for a runtime", "name", result->rows[i].name, "endpoint",
			result->rows[i].endpoint, "result", result->rows[i].message, NULL);
	if (result->note[0] != '\0')
		log_info("Looked for a runtime", "note", result->note, NULL);
}

static void agent_on_found(void *userdata, const struct endpoint_result *result)
{
	struct agent *agent = userdata;
	struct pump_state state;
	bool is_first = agent->source == ENDPOINT_NONE && agent->no_runtime[0] == '\0';

	if (is_first)
		agent_log_search(result);
	kubelet_take(agent, result);
	pump_state(agent->pump, &state);
	if (result->source == ENDPOINT_NONE) {
		if (is_first) {
			(void)snprintf(agent->no_runtime, sizeof(agent->no_runtime),
				"no container runtime found: none of the %zu known sockets is "
				"there%s%s",
				result->row_count, result->note[0] ? "; " : "", result->note);
			log_warning("No container runtime found, looking again from time to time",
				"note", result->note, NULL);
			pump_set_no_runtime(agent->pump, agent->no_runtime);
		}
	} else if (!state.has_ever_answered && !str_eq(agent->endpoint, result->endpoint)) {
		agent_use(agent, result->endpoint, result->source);
	}
	(void)timer_set_in(agent->search_timer, SEARCH_AGAIN_NS);
}

/* Until some runtime has answered once: it may be started after us, or be another one. */
static void agent_on_search_due(void *userdata)
{
	struct agent *agent = userdata;
	struct endpoint_options options = {
		.children = &agent->search_children, .on_done = agent_on_found, .userdata = agent
	};
	struct err e = { 0 };
	struct pump_state state;
	int r;

	pump_state(agent->pump, &state);
	agent->search = endpoint_search_free(agent->search);
	if (state.has_ever_answered)
		return;
	r = endpoint_search_new(agent->loop, &options, &agent->search, &e);
	if (r < 0) {
		if (r == -EBUSY) /* Told when the first one was left behind; this may last. */
			log_debug("Not looking for a runtime: earlier searches hang", NULL);
		else
			log_warning("Cannot look for a runtime", "error", err_text(&e, r), NULL);
		(void)timer_set_in(agent->search_timer, SEARCH_AGAIN_NS);
	}
}

/* ---- signals ------------------------------------------------------------------------------------ */

static void agent_on_second_signal(int sig)
{
	(void)sig;
	_exit(1); /* The roles end with us: their channels close, and the spawner's does. */
}

static void agent_block_signals(int how)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)sigprocmask(how, &set, NULL);
}

static void agent_on_drained(void *userdata)
{
	struct agent *agent = userdata;

	(void)sd_event_exit(agent->loop, 0);
}

static int agent_on_signal(
	sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
	struct agent *agent = userdata;
	struct sigaction second = { .sa_handler = agent_on_second_signal };

	(void)source;
	if (info->ssi_signo == SIGHUP) {
		log_info("SIGHUP: there is nothing to read again, the configuration is read at the "
			 "start",
			NULL);
		return 0;
	}
	log_info("Stopping", "signal", info->ssi_signo == SIGINT ? "SIGINT" : "SIGTERM", NULL);
	agent->is_stopping = true;
	notify_send(agent->notify, "STOPPING=1");
	(void)sigaction(SIGTERM, &second, NULL);
	(void)sigaction(SIGINT, &second, NULL);
	for (size_t i = 0; i < ELEMENTS(agent->signals); i++)
		agent->signals[i] = sd_event_source_disable_unref(agent->signals[i]);
	agent_block_signals(SIG_UNBLOCK);
	return history_drain(agent, agent_on_drained) ? 0 : sd_event_exit(agent->loop, 0);
}

static int agent_watch_signals(struct agent *agent)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };

	for (size_t i = 0; i < ELEMENTS(signals); i++) {
		int r = sd_event_add_signal(
			agent->loop, &agent->signals[i], signals[i], agent_on_signal, agent);

		if (r < 0)
			return r;
		(void)sd_event_source_set_priority(agent->signals[i], SD_EVENT_PRIORITY_IMPORTANT);
	}
	return 0;
}

/* ---- start --------------------------------------------------------------------------------------- */

static int agent_configure(
	struct config *config, const struct agent_options *options, struct err *reterr)
{
	int r;

	r = config_init(config);
	if (r < 0)
		return r;
	r = config_load(config, options->config ? options->config : AGENT_CONFIG_PATH,
		options->config != NULL, reterr);
	if (r < 0)
		return r;
	if (options->runtime) {
		char *endpoint = NULL;

		r = config_endpoint(options->runtime, &endpoint);
		if (r < 0)
			return err_set(reterr, r,
				"--runtime %s: must be a unix socket such as "
				"unix:///run/containerd/containerd.sock",
				options->runtime);
		(void)mem_free(config->container_runtime_endpoint);
		config->container_runtime_endpoint = endpoint;
	}
	if (options->socket) {
		char *path = mem_strdup(options->socket);

		if (!path)
			return -ENOMEM;
		(void)mem_free(config->control_socket);
		config->control_socket = path;
	}
	if (options->log_level && log_level_from_string(options->log_level, &config->log_level) < 0)
		return err_set(reterr, -EINVAL,
			"--log-level %s: must be error, warning, info or debug",
			options->log_level);
	return 0;
}

/* The kubelet's default: the host name in lower case. */
void agent_name(struct agent *agent)
{
	if (agent->config.node_name[0] != '\0')
		(void)snprintf(
			agent->node_name, sizeof(agent->node_name), "%s", agent->config.node_name);
	else if (gethostname(agent->node_name, sizeof(agent->node_name) - 1) < 0)
		(void)snprintf(agent->node_name, sizeof(agent->node_name), "localhost");
	for (char *p = agent->node_name; *p; p++)
		*p = (char)tolower((unsigned char)*p);
}

int agent_make_core(struct agent *agent)
{
	const struct config *c = &agent->config;
	struct pleg_config pleg = PLEG_CONFIG_DEFAULT;
	struct node_config node = NODE_CONFIG_DEFAULT;
	struct now now = clock_now();
	sd_id128_t id;
	int r;

	r = sd_id128_randomize(&id);
	if (r < 0)
		return r;
	(void)sd_id128_to_string(id, agent->epoch);
	agent->started_at_ns = now.real_ns;
	agent->lag.histogram = HISTOGRAM_INIT(timer_lag_buckets);
	pleg.relist_period_ns = c->relist_period_ns;
	pleg.relist_auto = c->relist_auto;
	pleg.relist_threshold_ns = c->relist_threshold_ns;
	pleg.list_timeout_ns = c->runtime_request_timeout_ns;
	pleg.inspect_timeout_ns = c->inspect_timeout_ns;
	node.ready_calm_ns = c->ready_calm_ns;
	node.ready_calm_max_ns = c->ready_calm_max_ns;
	node.quarantined_percent = (uint32_t)c->max_quarantined_percent;

	r = sync_loop_new(agent->epoch, AGENT_HISTORY_MAX, &agent->events);
	if (r < 0)
		return r;
	r = pleg_new(&pleg, now, &agent->pleg);
	if (r < 0)
		return r;
	return node_new(&node, now, &agent->node);
}

static int agent_make_pump(struct agent *agent)
{
	struct pump_options options = {
		.loop = agent->loop,
		.pleg = agent->pleg,
		.events = agent->events,
		.node = agent->node,
		.lag = &agent->lag,
		.request_timeout_ns = agent->config.runtime_request_timeout_ns,
		.node_update_ns = agent->config.node_status_update_frequency_ns,
		.relist_threshold_ns = agent->config.relist_threshold_ns,
		.on_events = agent_on_events,
		.on_relist = agent_on_relist,
		.on_verdict = agent_on_verdict,
		.userdata = agent,
	};
	int r;

	r = kubelet_new(agent->loop, agent_on_kubelet, agent, &agent->kubelet);
	if (r < 0)
		return r;
	options.kubelet = agent->kubelet;
	return pump_new(&options, &agent->pump);
}

static int agent_make_control(struct agent *agent, struct err *reterr)
{
	struct control_options options = {
		.loop = agent->loop,
		.path = agent->config.control_socket,
		.events = agent->events,
		.ops = &control_ops,
		.userdata = agent,
	};

	return control_server_new(&options, &agent->control, reterr);
}

/* Without it the agent goes on: the status then knows no causes. */
static void agent_make_diagnosis(struct agent *agent)
{
	struct diagnosis_options options = {
		.loop = agent->loop,
		.pleg = agent->pleg,
		.pump = agent->pump,
		.events = agent->events,
		.probe = probing_probe(agent),
		.lag = &agent->lag,
		.endpoint = agent->endpoint,
		.epoch = agent->epoch,
		.node_name = agent->node_name,
		.relist_threshold_ns = agent->config.relist_threshold_ns,
		.calm_ns = agent->config.doctor_calm_ns,
		.api = &agent->api_pods,
		.api_health = &agent->api_health,
		.kubelet = agent->kubelet,
		.on_incident = agent_on_incident,
		.on_other_kubelet = agent_on_other_kubelet,
		.userdata = agent,
	};
	struct err e = { 0 };
	int r = diagnosis_new(&options, &agent->diagnosis, &e);

	if (r < 0)
		agent_warn(agent, FMT("The doctor is off: %.150s", err_text(&e, r)));
}

int agent_make_cluster(
	struct agent *agent, const struct cluster_ops *ops, void *userdata, struct err *reterr)
{
	const struct cluster_options options = {
		.loop = agent->loop,
		.pleg = agent->pleg,
		.node = agent->node,
		.diagnosis = &agent->diagnosis,
		.node_name = agent->node_name,
		.taint = agent->config.node_taint,
		.ops = ops,
		.userdata = userdata,
	};

	if (!agent->config.node_conditions)
		return 0;
	return cluster_new(&options, &agent->cluster, reterr);
}

/* Memory after all that is big was made, and before the loop: what comes later is locked as it is
 * touched. */
static void agent_lock_memory(struct agent *agent)
{
	struct err e = { 0 };
	size_t bytes = 0;
	int r = resident_begin(&bytes, &e);

	if (r < 0)
		agent_warn(agent,
			FMT("Memory is not locked, a hanging disk may stop the agent: %.90s",
				err_text(&e, r)));
	else
		log_debug("Memory is locked", "codeBytes", FMT("%zu", bytes), NULL);
}

static void agent_start_runtime(struct agent *agent)
{
	if (agent->config.container_runtime_endpoint[0] != '\0')
		agent_use(agent, agent->config.container_runtime_endpoint, ENDPOINT_GIVEN);
	else
		(void)timer_set_in(agent->search_timer, 0);
}

static int agent_start(struct agent *agent, struct err *reterr)
{
	int r;

	r = sd_event_new(&agent->loop);
	if (r < 0)
		return err_wrap(reterr, r, "Make the event loop");
	r = agent_watch_signals(agent);
	if (r >= 0 && agent->spawner)
		r = role_spawner_attach(agent->spawner, agent->loop);
	if (r >= 0)
		r = notify_new(agent->loop, &agent->notify);
	if (r >= 0)
		r = agent_make_core(agent);
	if (r < 0)
		return err_wrap(reterr, r, "Start");
	r = agent_make_control(agent, reterr);
	if (r < 0)
		return r;
	r = agent_make_pump(agent);
	if (r >= 0)
		r = timer_new(
			agent->loop, READY_WAIT_NS, agent_on_ready_due, agent, &agent->ready_timer);
	if (r >= 0)
		r = timer_new(
			agent->loop, NSEC_NEVER, agent_on_search_due, agent, &agent->search_timer);
	if (r >= 0)
		r = kubelet_find_start(agent);
	if (r < 0)
		return err_wrap(reterr, r, "Start");
	r = pages_start(agent, reterr);
	if (r < 0)
		return r;
	probing_start(agent);
	history_start(agent);
	agent_make_diagnosis(agent);
	apis_start(agent);
	agent_lock_memory(agent);
	agent_start_runtime(agent);
	return 0;
}

static void agent_stop(struct agent *agent)
{
	agent->search = endpoint_search_free(agent->search);
	agent->search_timer = timer_free(agent->search_timer);
	kubelet_find_stop(agent);
	agent->ready_timer = timer_free(agent->ready_timer);
	agent->control = control_server_free(agent->control);
	pages_stop(agent);
	apis_stop(agent);
	agent->diagnosis = diagnosis_free(agent->diagnosis);
	probing_stop(agent);
	history_stop(agent);
	agent->pump = pump_free(agent->pump);
	agent->kubelet = kubelet_free(agent->kubelet);
	agent->node = node_free(agent->node);
	agent->pleg = pleg_free(agent->pleg);
	agent->events = sync_loop_free(agent->events);
	agent->notify = notify_free(agent->notify);
	for (size_t i = 0; i < ELEMENTS(agent->signals); i++)
		agent->signals[i] = sd_event_source_disable_unref(agent->signals[i]);
	agent->spawner = role_spawner_free(agent->spawner);
	agent->loop = sd_event_unref(agent->loop);
	config_done(&agent->config);
}

static int agent_live(const struct agent_options *options)
{
	struct agent agent = { .web_exe_fd = -EBADF, .probe_exe_fd = -EBADF, .api_exe_fd = -EBADF };
	struct sigaction ignored = { .sa_handler = SIG_IGN };
	struct err e = { 0 };
	int r, pump_error, spawner_error;

	pump_error = log_start_pump();
	spawner_error = role_spawner_start(log_output_fd(), &agent.spawner);
	(void)sigaction(SIGPIPE, &ignored, NULL);
	agent_block_signals(SIG_BLOCK);

	r = agent_configure(&agent.config, options, &e);
	if (r < 0) {
		log_error("Cannot start", "error", err_text(&e, r), NULL);
		agent_stop(&agent);
		return 1;
	}
	log_set_level(agent.config.log_level);
	agent_name(&agent);
	log_info("Starting", "version", PLEG_VERSION, "node", agent.node_name, NULL);
	if (pump_error < 0)
		agent_warn(&agent, FMT("Logging may block: %s", err_text(NULL, pump_error)));
	if (spawner_error < 0)
		agent_warn(&agent,
			FMT("No roles can be started, the web pages and the probe are off: %.100s",
				err_text(NULL, spawner_error)));
	else {
		if (agent.config.metrics_address[0] || agent.config.http_address[0])
			pages_open(&agent);
		probing_open(&agent);
	}
	history_open(&agent);
	apis_open(&agent);

	r = agent_start(&agent, &e);
	if (r < 0)
		log_error("Cannot start", "error", err_text(&e, r), NULL);
	else
		r = sd_event_loop(agent.loop);
	if (r < 0 && agent.loop && !agent.is_stopping)
		log_debug("The loop has ended", "error", err_text(NULL, r), NULL);
	agent_stop(&agent);
	if (r >= 0)
		log_info("Stopped", NULL);
	return r < 0 ? 1 : 0;
}

int agent_run(const struct agent_options *options)
{
	int status = agent_live(options);

	/* Who started us may end what is left of us the moment we are gone. */
	log_end_pump(LAST_LINES_MS);
	return status;
}

/* ---- only the search ------------------------------------------------------------------------------ */

struct find {
	sd_event *loop;
	bool answers;
};

static void find_on_done(void *userdata, const struct endpoint_result *result)
{
	struct find *find = userdata;

	for (size_t i = 0; i < result->row_count; i++)
		(void)fprintf(stderr, "%-12s %s: %s\n", result->rows[i].name,
			result->rows[i].endpoint, result->rows[i].message);
	if (result->note[0] != '\0')
		(void)fprintf(stderr, "%s\n", result->note);
	find->answers = result->answers;
	if (result->answers)
		(void)printf("%s\n", result->endpoint);
	(void)sd_event_exit(find->loop, 0);
}

int agent_find_runtime(const struct agent_options *options)
{
	CLEAN(endpoint_search_freep) struct endpoint_search *search = NULL;
	CLEAN(config_done) struct config config = { 0 };
	struct find find = { 0 };
	struct endpoint_options how = { .on_done = find_on_done, .userdata = &find };
	struct err e = { 0 };
	int r;

	r = agent_configure(&config, options, &e);
	if (r >= 0)
		r = sd_event_new(&find.loop);
	if (r >= 0) {
		if (config.container_runtime_endpoint[0] != '\0')
			how.given = config.container_runtime_endpoint;
		r = endpoint_search_new(find.loop, &how, &search, &e);
	}
	if (r >= 0)
		r = sd_event_loop(find.loop);
	if (r < 0)
		(void)fprintf(stderr, "pleg: %s\n", err_text(&e, r));
	search = endpoint_search_free(search);
	find.loop = sd_event_unref(find.loop);
	return r >= 0 && find.answers ? 0 : 1;
}
