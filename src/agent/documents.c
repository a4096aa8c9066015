/*
 * Gathers what the documents are made of: views of plain values from the rooms of the agent. Called
 * when somebody asks; nothing here calls the runtime or a path that could hang.
 */
#include "agent/agent-internal.h"

#include <unistd.h>

#include "agent/api-health.h"
#include "agent/api-pods.h"
#include "agent/metrics.h"
#include "agent/report.h"
#include "agent/resident.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "model/event-json.h"

#define DOCUMENT_OPERATIONS_MAX 32
#define DOCUMENT_ROLES_MAX      5
#define DOCUMENT_EVENTS_MAX     AGENT_HISTORY_MAX

static struct control_stats documents_control(const struct agent *agent)
{
	struct control_stats stats = { 0 };

	if (agent->control)
		control_server_stats(agent->control, &stats);
	return stats;
}

/* All that were started; their number. */
static size_t documents_roles(
	const struct agent *agent, struct role_status roles[DOCUMENT_ROLES_MAX])
{
	struct history_status journal;
	struct probe_status probe;
	size_t count = 0;

	count += pages_status(agent, &roles[count]);
	count += apis_status(agent, &roles[count]);
	if (probing_status(agent, &probe))
		roles[count++] = probe.role;
	history_status(agent, &journal);
	if (journal.has_role)
		roles[count++] = journal.role;
	return count;
}

/* What works less than it could: since the start, and what goes when it is over. */
static size_t view_warnings(const struct agent *agent, const char *ret[AGENT_WARNINGS_MAX + 2])
{
	struct reporter_status cluster = { 0 };
	size_t count = agent->warning_count;

	for (size_t i = 0; i < count; i++)
		ret[i] = agent->warnings[i];
	if (agent->api && *api_trouble(agent->api) != '\0')
		ret[count++] = api_trouble(agent->api);
	if (agent->cluster)
		cluster_status(agent->cluster, &cluster);
	if (cluster.is_overwritten)
		ret[count++] = CLUSTER_OVERWRITTEN;
	return count;
}

/* NULL: none is configured, or it was not asked yet. */
static const struct api_server *view_api_server(
	const struct agent *agent, struct now now, struct api_server *ret)
{
	return agent->api_health && api_health_view(agent->api_health, now, ret) ? ret : NULL;
}

int documents_status(struct agent *agent, struct buf *out)
{
	const char *warnings[AGENT_WARNINGS_MAX + 2];
	struct report_view v = { 0 };
	struct api_server api_server;
	struct report_role report_roles[DOCUMENT_ROLES_MAX];
	struct role_status roles[DOCUMENT_ROLES_MAX];
	struct history_status journal;
	struct control_stats control;
	struct probe_status probe;
	struct sync_stats stats;
	struct pump_state pump;
	struct hints_state hints;

	pump_judge(agent->pump); /* Ages are those of now. */
	pump_state(agent->pump, &pump);
	v.now = clock_now();
	v.node_name = agent->node_name;
	node_status(agent->node, &v.node);
	v.kubelet = kubelet_state(agent->kubelet, &v.kubelet_message);
	v.pleg = agent->pleg;
	pleg_health(agent->pleg, v.now, &v.health);
	pleg_predict(agent->pleg, v.now, &v.prediction);
	v.relist_period_ns = pleg_stats(agent->pleg)->relist_period_ns;
	v.relist_threshold_ns = agent->config.relist_threshold_ns;
	v.runtime = pump.runtime;
	v.runtime_name = pump.name;
	v.runtime_version = pump.version;
	v.endpoint = agent->endpoint[0] ? agent->endpoint : NULL;
	v.link_failure = pump.link_failure;
	v.answer_failure = pump.answer_failure;
	v.has_latency = pump.has_latency;
	v.latency_ns = pump.latency_ns;
	hints_state(pump.hints, v.now, &hints);
	v.ledger = hints_ledger(pump.hints);
	v.api = api_pods_judge(agent->api_pods);
	v.api_server = view_api_server(agent, v.now, &api_server);
	v.stream = hints_stream_text(hints.stream);
	v.stream_why = hints.stream_why;
	v.stream_source = hints.stream_source;
	v.connector = connector_state_text(hints.connector.state);
	v.connector_why = hints.connector.reason;
	v.watch_why = hints.watch_why;
	v.cgroups = hints.groups.watches;
	v.cgroup_failures = hints.groups.refused;
	v.cgroups_why = hints.groups.why;
	v.watched = hints.pidfds.watches;
	v.watch_failures = hints.pidfds.refused;
	v.provisional_open = hints.ledger.provisional_open;
	if (agent->diagnosis)
		v.findings = diagnosis_findings(agent->diagnosis);
	v.epoch = agent->epoch[0] ? agent->epoch : NULL;
	v.pid = getpid();
	v.started_at_ns = agent->started_at_ns;
	sync_stats(agent->events, &stats);
	v.events = stats.events;
	v.loop_lag_ns = agent->lag.last_ns;
	v.roles = report_roles;
	v.role_count = documents_roles(agent, roles);
	for (size_t i = 0; i < v.role_count; i++)
		report_roles[i] = (struct report_role){
			.name = roles[i].name,
			.state = role_state_name(roles[i].state),
			.pid = roles[i].pid,
			.restarts = roles[i].restarts,
			.memory_bytes = roles[i].memory_bytes,
		};
	control = documents_control(agent);
	v.control_clients = control.clients;
	v.control_streams = control.streams;
	v.control_refused = control.refused;
	if (probing_status(agent, &probe)) {
		v.has_probe = true;
		v.probes_stuck = probe.role.abandoned;
		v.probes_late = probe.late;
		v.probes_refused = probe.refused;
	}
	history_status(agent, &journal);
	v.journal = (struct report_journal){ journal.state, journal.reason, journal.note,
		journal.path, journal.waiting, journal.dropped, journal.written };
	v.warnings = warnings;
	v.warning_count = view_warnings(agent, warnings);
	return report_status(&v, out);
}

int documents_pods(struct agent *agent, struct buf *out)
{
	struct pump_state pump;

	pump_state(agent->pump, &pump);
	return report_pods(agent->pleg, hints_ledger(pump.hints), api_pods_judge(agent->api_pods),
		clock_now(), out);
}

static uint32_t documents_running_pods(const struct pleg *pleg)
{
	struct pleg_pod pod;
	uint32_t count = 0;
	size_t cursor = 0;

	while (pleg_next_pod(pleg, &cursor, &pod))
		for (size_t i = 0; i < pod.container_count; i++)
			if (pod.containers[i].kind == CONTAINER_KIND_SANDBOX &&
				pod.containers[i].state == CONTAINER_RUNNING) {
				count++;
				break;
			}
	return count;
}

/* The oldest open call of each method. */
static size_t documents_calls(const struct runtime *runtime, struct now now,
	struct metrics_call calls[DOCUMENT_OPERATIONS_MAX])
{
	struct runtime_call_info info;
	size_t cursor = 0, count = 0;

	while (runtime_next_call(runtime, &cursor, now.mono_ns, &info)) {
		size_t i = 0;

		while (i < count && !str_eq(calls[i].method, info.method))
			i++;
		if (i == DOCUMENT_OPERATIONS_MAX)
			break;
		if (i == count)
			calls[count++] = (struct metrics_call){ info.method, info.age_ns };
		else if (info.age_ns > calls[i].max_age_ns)
			calls[i].max_age_ns = info.age_ns;
	}
	return count;
}

int documents_metrics(struct agent *agent, struct buf *out)
{
	struct runtime_operation operations[DOCUMENT_OPERATIONS_MAX];
	struct metrics_call calls[DOCUMENT_OPERATIONS_MAX];
	struct metrics_view v = { .operations = operations, .calls = calls };
	struct api_server api_server;
	struct role_status roles[DOCUMENT_ROLES_MAX];
	struct metrics_role metrics_roles[DOCUMENT_ROLES_MAX];
	struct history_status journal;
	struct probe_status probe = { 0 };
	struct control_stats control;
	struct runtime_link link = { 0 };
	struct node_status node;
	struct pleg_prediction prediction;
	struct pleg_health health;
	struct pump_state pump;
	struct hints_state hints;
	struct sync_stats stats;
	struct diagnosis_stats diagnosis;
	struct incidents_stats incidents;
	struct reporter_status cluster;
	size_t cursor = 0;

	pump_judge(agent->pump);
	pump_state(agent->pump, &pump);
	v.now = clock_now();
	pleg_health(agent->pleg, v.now, &health);
	pleg_predict(agent->pleg, v.now, &prediction);
	node_status(agent->node, &node);
	sync_stats(agent->events, &stats);
	v.health = &health;
	v.prediction = &prediction;
	v.stats = pleg_stats(agent->pleg);
	v.running_pods = documents_running_pods(agent->pleg);
	v.node = &node;
	if (pump.runtime) {
		while (v.operation_count < DOCUMENT_OPERATIONS_MAX &&
			runtime_next_operation(
				pump.runtime, &cursor, &operations[v.operation_count]))
			v.operation_count++;
		v.call_count = documents_calls(pump.runtime, v.now, calls);
		runtime_link(pump.runtime, &link);
	}
	v.calls_open = link.calls_open;
	v.calls_late = link.calls_late;
	memcpy(v.events, pump.events, sizeof(v.events));
	hints_state(pump.hints, v.now, &hints);
	v.hints = &hints;
	v.events_dropped = stats.dropped;
	v.events_missed = stats.missed;
	v.loop_lag = &agent->lag.histogram;
	v.loop_lag_max_ns = agent->lag.max_ns;
	v.roles = metrics_roles;
	v.role_count = documents_roles(agent, roles);
	for (size_t i = 0; i < v.role_count; i++)
		metrics_roles[i] = (struct metrics_role){
			.name = roles[i].name,
			.up = roles[i].state == ROLE_RUNNING,
			.restarts = roles[i].restarts,
			.memory_bytes = roles[i].memory_bytes,
		};
	control = documents_control(agent);
	v.control_clients = control.clients;
	v.control_streams = control.streams;
	v.control_refused = control.refused;
	(void)probing_status(agent, &probe);
	v.probes_stuck = probe.role.abandoned;
	v.probes_answered = probe.answered;
	v.probes_late = probe.late;
	v.probes_refused = probe.refused;
	if (agent->diagnosis) {
		v.findings = diagnosis_findings(agent->diagnosis);
		diagnosis_stats(agent->diagnosis, &diagnosis);
		incidents_stats(diagnosis_incidents(agent->diagnosis), &incidents);
		v.incidents_opened = incidents.opened;
		v.incidents_closed = incidents.closed;
		v.samples = diagnosis.samples;
		v.samples_failed = diagnosis.failed;
		v.sample_ns = diagnosis.last_ns;
		v.sample_cost_ns = diagnosis.cost_ns;
		v.sample_gaps = diagnosis.gaps;
	}
	history_status(agent, &journal);
	v.journal_state = journal.state;
	v.journal_waiting = journal.waiting;
	v.journal_dropped = journal.dropped;
	v.journal_written = journal.written;
	if (agent->cluster) {
		cluster_status(agent->cluster, &cluster);
		v.cluster = &cluster;
	}
	v.api = api_pods_judge(agent->api_pods);
	v.api_server = view_api_server(agent, v.now, &api_server);
	v.agent_memory_bytes = resident_bytes();
	v.log_dropped = log_dropped();
	return metrics_write(&v, out);
}

int documents_events(
	struct agent *agent, uint64_t tail, const char *namespace, const char *pod, struct buf *out)
{
	struct sync_filter filter = {
		.namespace = namespace[0] ? namespace : NULL,
		.pod = pod[0] ? pod : NULL,
	};
	struct sync_subscriber *subscriber = NULL;
	const struct event *event;
	uint64_t missed, from;
	enum sync_next next;
	int r;

	if (tail == 0)
		return 0;
	from = sync_tail(agent->events, &filter, tail);
	r = sync_subscribe(agent->events, &filter, from, &subscriber);
	if (r < 0)
		return r;
	for (size_t i = 0; i < DOCUMENT_EVENTS_MAX && r >= 0; i++) {
		next = sync_next(subscriber, &event, &missed);
		if (next == SYNC_NONE)
			break;
		if (next == SYNC_MISSED)
			continue;
		r = event_json(event, agent->epoch, out);
		if (r >= 0)
			r = buf_append(out, "\n", 1);
	}
	subscriber = sync_unsubscribe(subscriber);
	return r < 0 ? r : 0;
}
