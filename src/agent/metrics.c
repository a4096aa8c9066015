#include "agent/metrics.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/str.h"
#include "kube/reporter.h"
#include "model/finding.h"

struct metrics {
	struct buf *out;
	int error; /* the first one; everything after it is ignored */
};

/* ---- the format ------------------------------------------------------------------------------ */

static void metrics_raw(struct metrics *m, const char *text)
{
	if (m->error >= 0)
		m->error = buf_append_string(m->out, text);
}

/* Backslash, quote and newline are escaped, as the format wants it. */
static void metrics_label_value(struct metrics *m, const char *value)
{
	for (const char *p = value; *p; p++) {
		char one[2] = { *p, '\0' };

		if (*p == '\\')
			metrics_raw(m, "\\\\");
		else if (*p == '"')
			metrics_raw(m, "\\\"");
		else if (*p == '\n')
			metrics_raw(m, "\\n");
		else
			metrics_raw(m, one);
	}
}

static void metrics_head(struct metrics *m, const char *name, const char *type, const char *help)
{
	metrics_raw(m, "# HELP ");
	metrics_raw(m, name);
	metrics_raw(m, " ");
	metrics_raw(m, help);
	metrics_raw(m, "\n# TYPE ");
	metrics_raw(m, name);
	metrics_raw(m, " ");
	metrics_raw(m, type);
	metrics_raw(m, "\n");
}

struct metrics_label {
	const char *name, *value;
};

/* NAME SUFFIX {labels} VALUE; `count` labels. */
static void metrics_line(struct metrics *m, const char *name, const char *suffix,
	const struct metrics_label *labels, size_t count, const char *value)
{
	metrics_raw(m, name);
	metrics_raw(m, suffix);
	for (size_t i = 0; i < count; i++) {
		metrics_raw(m, i == 0 ? "{" : ",");
		metrics_raw(m, labels[i].name);
		metrics_raw(m, "=\"");
		metrics_label_value(m, labels[i].value);
		metrics_raw(m, "\"");
	}
	metrics_raw(m, count > 0 ? "} " : " ");
	metrics_raw(m, value);
	metrics_raw(m, "\n");
}

static const char *metrics_u64(char text[32], uint64_t value)
{
	(void)snprintf(text, 32, "%llu", (unsigned long long)value);
	return text;
}

/* Fractions exactly, without going through a double. */
static const char *metrics_seconds(char text[32], uint64_t ns)
{
	(void)snprintf(text, 32, "%llu.%09llu", (unsigned long long)(ns / NSEC_PER_SEC),
		(unsigned long long)(ns % NSEC_PER_SEC));
	return text;
}

static void metrics_plain(
	struct metrics *m, const char *name, const char *type, const char *help, uint64_t value)
{
	char text[32];

	metrics_head(m, name, type, help);
	metrics_line(m, name, "", NULL, 0, metrics_u64(text, value));
}

static void metrics_plain_seconds(
	struct metrics *m, const char *name, const char *type, const char *help, uint64_t ns)
{
	char text[32];

	metrics_head(m, name, type, help);
	metrics_line(m, name, "", NULL, 0, metrics_seconds(text, ns));
}

/* One histogram's lines; its head stands once for all with the same name. */
static void metrics_histogram(struct metrics *m, const char *name,
	const struct metrics_label *label, const struct histogram *h)
{
	struct metrics_label labels[2];
	size_t count = 0;
	uint64_t sum = 0;
	char text[32], bound[32];

	if (label)
		labels[count++] = *label;
	for (size_t i = 0; i <= h->bound_count; i++) {
		sum += h->counts[i];
		if (i < h->bound_count)
			(void)snprintf(bound, sizeof(bound), "%.16g", h->bounds[i]);
		else
			(void)snprintf(bound, sizeof(bound), "+Inf");
		labels[count] = (struct metrics_label){ "le", bound };
		metrics_line(m, name, "_bucket", labels, count + 1, metrics_u64(text, sum));
	}
	(void)snprintf(text, sizeof(text), "%.9f", h->sum_seconds);
	metrics_line(m, name, "_sum", labels, count, text);
	metrics_line(m, name, "_count", labels, count, metrics_u64(text, sum));
}

/* ---- the kubelet's --------------------------------------------------------------------------- */

static void metrics_kubelet_pleg(struct metrics *m, const struct metrics_view *v)
{
	const struct histogram none = HISTOGRAM_INIT(histogram_def_buckets);
	struct hint_statistics cri = { 0 };
	uint64_t seen_ns = 0;

	metrics_head(m, "kubelet_pleg_relist_duration_seconds", "histogram",
		"Duration in seconds for relisting pods in PLEG.");
	metrics_histogram(
		m, "kubelet_pleg_relist_duration_seconds", NULL, &v->stats->relist_duration);
	metrics_head(m, "kubelet_pleg_relist_interval_seconds", "histogram",
		"Interval in seconds between relisting in PLEG.");
	metrics_histogram(
		m, "kubelet_pleg_relist_interval_seconds", NULL, &v->stats->relist_interval);
	metrics_head(m, "kubelet_pleg_pod_relist_duration_seconds", "histogram",
		"Duration in seconds for relisting one pod on demand in PLEG.");
	metrics_histogram(m, "kubelet_pleg_pod_relist_duration_seconds", NULL,
		&v->stats->pod_relist_duration);
	metrics_plain(m, "kubelet_pleg_discard_events", "counter",
		"The number of discarded events in PLEG: only memory that ran out discards any.",
		v->events_dropped);
	if (v->health->has_listed)
		seen_ns = (uint64_t)v->now.real_ns - v->health->last_relist_age_ns;
	metrics_plain_seconds(m, "kubelet_pleg_last_seen_seconds", "gauge",
		"Timestamp in seconds when PLEG was last seen active.", seen_ns);
	if (v->hints->stream_is_cri)
		cri = v->hints->hints;
	metrics_plain(m, "kubelet_evented_pleg_connection_error_count", "counter",
		"The number of times that CRI's event stream has ended.", cri.broken);
	metrics_plain(m, "kubelet_evented_pleg_connection_success_count", "counter",
		"The number of times that CRI's event stream was up.", cri.broken + cri.is_up);
	metrics_head(m, "kubelet_evented_pleg_connection_latency_seconds", "histogram",
		"The latency of CRI's event stream: not measured.");
	metrics_histogram(m, "kubelet_evented_pleg_connection_latency_seconds", NULL, &none);
}

static void metrics_kubelet_counts(struct metrics *m, const struct metrics_view *v)
{
	const struct {
		const char *state;
		uint32_t count;
	} rows[] = {
		{ "created", v->health->created },
		{ "exited", v->health->exited },
		{ "running", v->health->running },
		{ "unknown", v->health->unknown },
	};

	metrics_plain(m, "kubelet_running_pods", "gauge",
		"Number of pods that have a running pod sandbox", v->running_pods);
	metrics_head(m, "kubelet_running_containers", "gauge",
		"Number of containers by the state that the runtime tells");
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct metrics_label label = { "container_state", rows[i].state };
		char text[32];

		metrics_line(m, "kubelet_running_containers", "", &label, 1,
			metrics_u64(text, rows[i].count));
	}
}

static void metrics_kubelet_operations(struct metrics *m, const struct metrics_view *v)
{
	struct metrics_label label = { .name = "operation_type" };
	char text[32];

	/* A family without a line is legal, and tells that there were no calls. */
	metrics_head(m, "kubelet_runtime_operations_total", "counter",
		"Cumulative number of runtime operations by operation type.");
	for (size_t i = 0; i < v->operation_count; i++) {
		label.value = v->operations[i].type;
		metrics_line(m, "kubelet_runtime_operations_total", "", &label, 1,
			metrics_u64(text, v->operations[i].started));
	}
	metrics_head(m, "kubelet_runtime_operations_errors_total", "counter",
		"Cumulative number of runtime operation errors by operation type.");
	for (size_t i = 0; i < v->operation_count; i++) {
		label.value = v->operations[i].type;
		metrics_line(m, "kubelet_runtime_operations_errors_total", "", &label, 1,
			metrics_u64(text, v->operations[i].errors));
	}
	metrics_head(m, "kubelet_runtime_operations_duration_seconds", "histogram",
		"Duration in seconds of runtime operations. Broken down by operation type.");
	for (size_t i = 0; i < v->operation_count; i++) {
		label.value = v->operations[i].type;
		metrics_histogram(m, "kubelet_runtime_operations_duration_seconds", &label,
			&v->operations[i].duration);
	}
}

/* ---- ours ------------------------------------------------------------------------------------ */

static void metrics_calls(struct metrics *m, const struct metrics_view *v)
{
	static const char name[] = "pleg_call_in_flight_seconds";
	static const char *const always[] = { "Version", "Status", "ListPodSandbox",
		"ListContainers", "PodSandboxStatus", "ContainerStatus" };
	char text[32];

	metrics_head(m, name, "gauge",
		"Age of the oldest call that the runtime has not answered, by method; 0 without "
		"one.");
	for (size_t i = 0; i < ELEMENTS(always); i++) {
		struct metrics_label label = { "method", always[i] };
		uint64_t age_ns = 0;

		for (size_t j = 0; j < v->call_count; j++)
			if (str_eq(v->calls[j].method, always[i]))
				age_ns = v->calls[j].max_age_ns;
		metrics_line(m, name, "", &label, 1, metrics_seconds(text, age_ns));
	}
	for (size_t j = 0; j < v->call_count; j++) {
		struct metrics_label label = { "method", v->calls[j].method };
		bool was_told = false;

		for (size_t i = 0; i < ELEMENTS(always); i++)
			was_told = was_told || str_eq(v->calls[j].method, always[i]);
		if (!was_told)
			metrics_line(m, name, "", &label, 1,
				metrics_seconds(text, v->calls[j].max_age_ns));
	}
	metrics_plain(m, "pleg_calls_in_flight", "gauge",
		"Calls that the runtime has not answered.", v->calls_open);
	metrics_plain(m, "pleg_calls_late", "gauge",
		"Calls in flight that are past their deadline.", v->calls_late);
}

static void metrics_verdict(struct metrics *m, const struct metrics_view *v)
{
	metrics_plain_seconds(m, "pleg_stall_seconds_total", "counter",
		"Time during which some call was in flight for longer than 2 s.",
		v->node->stall_total_ns);
	metrics_plain_seconds(m, "pleg_predicted_relist_seconds", "gauge",
		"What a relist would take if every pod changed at once.", v->prediction->relist_ns);
	metrics_plain_seconds(m, "pleg_predicted_relist_serial_seconds", "gauge",
		"The same with one inspection after another, as a kubelet does it.",
		v->prediction->serial_ns);
	metrics_plain(m, "pleg_quarantined_pods", "gauge",
		"Pods whose inspection hangs or fails while the others go on.",
		v->health->quarantined);
	metrics_plain(m, "pleg_node_ready", "gauge", "1 if pleg's verdict on the node is Ready.",
		v->node->ready);
	metrics_plain(m, "pleg_node_degraded", "gauge",
		"1 if the node is Ready although something is quarantined or stalled.",
		v->node->degraded);
}

static void metrics_events(struct metrics *m, const struct metrics_view *v)
{
	char text[32];

	metrics_head(m, "pleg_events_total", "counter",
		"Pod lifecycle events by type, and whether the runtime or only the kernel told.");
	for (size_t type = 0; type < METRICS_EVENT_TYPES; type++)
		for (size_t confirmed = 0; confirmed < 2; confirmed++) {
			struct metrics_label labels[] = {
				{ "type", event_type_text((enum event_type)type) },
				{ "confirmed", confirmed ? "true" : "false" },
			};

			metrics_line(m, "pleg_events_total", "", labels, 2,
				metrics_u64(text, v->events[type][confirmed]));
		}
	metrics_plain(m, "pleg_events_missed_total", "counter",
		"Events that were pushed out of the history before a subscriber had read them.",
		v->events_missed);
}

static void metrics_hints(struct metrics *m, const struct metrics_view *v)
{
	const struct hints_state *h = v->hints;

	metrics_plain(m, "pleg_stream_up", "gauge",
		"1 if the runtime's event stream is subscribed.", h->stream == HINTS_STREAM_UP);
	metrics_plain(m, "pleg_stream_broken_total", "counter",
		"How often the runtime's event stream has ended.", h->hints.broken);
	metrics_plain(m, "pleg_stream_hints_total", "counter",
		"Hints that the runtime's event stream gave.", h->hints.told);
	metrics_plain(m, "pleg_connector_up", "gauge",
		"1 if the kernel's process connector gives hints.",
		h->connector.state == CONNECTOR_ON);
	metrics_plain(m, "pleg_connector_hints_total", "counter",
		"Exits that the process connector told of.", h->connector.hints);
	metrics_plain(m, "pleg_connector_floods_total", "counter",
		"How often the process connector was switched off for too many exits.",
		h->connector.floods);
	metrics_plain(m, "pleg_connector_losses_total", "counter",
		"How often the kernel had to drop exits.", h->connector.losses);
	metrics_plain(m, "pleg_inits_watched", "gauge",
		"Inits of containers and sandboxes whose death a pidfd tells.", h->pidfds.watches);
	metrics_plain(m, "pleg_inits_zombie_with_threads", "gauge",
		"Inits whose leader is a zombie while a thread lives: not dead, cannot be reaped.",
		h->pidfds.zombie_threads);
	metrics_plain(m, "pleg_inits_refused_total", "counter", "Inits that could not be watched.",
		h->pidfds.refused);
	metrics_plain(m, "pleg_cgroups_watched", "gauge",
		"Cgroups of containers and sandboxes that are watched.", h->groups.watches);
	metrics_plain(m, "pleg_cgroups_refused_total", "counter",
		"Cgroups that could not be watched, or only in part.", h->groups.refused);
	metrics_plain(m, "pleg_provisional_open", "gauge",
		"Deaths that the kernel told and the runtime has not confirmed.",
		h->ledger.provisional_open);
	metrics_plain(m, "pleg_ledger_differences", "gauge",
		"Containers about which the runtime's word and the kernel's differ.",
		h->differences);
}

static void metrics_roles(struct metrics *m, const struct metrics_view *v)
{
	static const struct {
		const char *name, *type, *help;
	} families[] = {
		{ "pleg_role_up", "gauge", "1 if the role's process runs and is ready." },
		{ "pleg_role_restarts_total", "counter", "Starts of the role after the first." },
		{ "pleg_role_memory_bytes", "gauge", "Resident memory of the role's process." },
	};
	char text[32];

	for (size_t f = 0; f < ELEMENTS(families); f++) {
		metrics_head(m, families[f].name, families[f].type, families[f].help);
		for (size_t i = 0; i < v->role_count; i++) {
			const struct metrics_role *role = &v->roles[i];
			const uint64_t values[] = { role->up, role->restarts, role->memory_bytes };
			struct metrics_label label = { "role", role->name };

			metrics_line(
				m, families[f].name, "", &label, 1, metrics_u64(text, values[f]));
		}
	}
}

static void metrics_probes(struct metrics *m, const struct metrics_view *v)
{
	metrics_plain(m, "pleg_probes_stuck", "gauge",
		"Probes that hang in the kernel and cannot be killed.", v->probes_stuck);
	metrics_plain(m, "pleg_probe_reads_total", "counter", "Reads that the probe answered.",
		v->probes_answered);
	metrics_plain(m, "pleg_probe_late_total", "counter",
		"Reads that hung: the probe was given up and replaced.", v->probes_late);
	metrics_plain(m, "pleg_probe_refused_total", "counter", "Reads that no probe was free for.",
		v->probes_refused);
}

static void metrics_finding(
	struct metrics *m, enum cause cause, int severity, int confidence, uint32_t count)
{
	struct metrics_label labels[] = {
		{ "cause", cause_text(cause) },
		{ "severity", finding_severity_text((enum finding_severity)severity) },
		{ "confidence", finding_confidence_text((enum finding_confidence)confidence) },
	};
	char text[32];

	metrics_line(m, "pleg_findings", "", labels, ELEMENTS(labels), metrics_u64(text, count));
}

/* A row for each cause, severity and confidence that is there; symptoms are not counted. */
static void metrics_findings(struct metrics *m, const struct metrics_view *v)
{
	uint32_t counts[CAUSES][SEVERITY_CRITICAL + 1][CONFIDENCE_PROVEN + 1] = { 0 };

	for (uint32_t i = 0; v->findings && i < findings_count(v->findings); i++) {
		const struct finding *f = findings_get(v->findings, i);

		counts[f->cause][f->severity][f->confidence]++;
	}
	metrics_head(m, "pleg_findings", "gauge", "What the doctor finds now, by cause.");
	for (int c = 0; c < CAUSES; c++)
		for (int s = 0; s <= SEVERITY_CRITICAL; s++)
			for (int k = 0; k <= CONFIDENCE_PROVEN; k++)
				if (counts[c][s][k] > 0)
					metrics_finding(m, c, s, k, counts[c][s][k]);
	metrics_plain(m, "pleg_incidents_opened_total", "counter",
		"Incidents opened since the start.", v->incidents_opened);
	metrics_plain(m, "pleg_incidents_closed_total", "counter",
		"Incidents closed since the start.", v->incidents_closed);
	metrics_plain(m, "pleg_doctor_samples_total", "counter", "Samples of evidence taken.",
		v->samples);
	metrics_plain(m, "pleg_doctor_samples_failed_total", "counter",
		"Samples that could not be taken or judged.", v->samples_failed);
	metrics_plain(m, "pleg_doctor_gaps", "gauge", "What the newest sample could not look at.",
		v->sample_gaps);
	metrics_plain_seconds(m, "pleg_doctor_sample_seconds", "gauge",
		"How long the newest sample took.", v->sample_ns);
	metrics_plain_seconds(m, "pleg_doctor_sample_cpu_seconds", "gauge",
		"CPU time of the agent while the newest sample was taken.", v->sample_cost_ns);
}

static void metrics_journal(struct metrics *m, const struct metrics_view *v)
{
	static const char *const states[] = { "off", "starting", "ok", "slow", "stuck", "down",
		"full", "read-only", "denied", "newer", "locked", "failed" };

	metrics_head(m, "pleg_journal_state", "gauge",
		"1 for the state that the journal is in, 0 for the others.");
	for (size_t i = 0; i < ELEMENTS(states); i++) {
		struct metrics_label label = { "state", states[i] };

		metrics_line(m, "pleg_journal_state", "", &label, 1,
			str_eq(v->journal_state, states[i]) ? "1" : "0");
	}
	metrics_plain(m, "pleg_journal_waiting", "gauge",
		"Events that the journal has not written yet.", v->journal_waiting);
	metrics_plain(m, "pleg_journal_written_total", "counter",
		"Events that the journal has written.", v->journal_written);
	metrics_plain(m, "pleg_journal_dropped_total", "counter",
		"Events that were pushed out of the history before the journal could write them.",
		v->journal_dropped);
}

/* A condition that is not judged yet has no value. */
static void metrics_conditions(struct metrics *m, const struct reporter_status *cluster)
{
	metrics_head(m, "pleg_node_condition", "gauge",
		"1 for a condition of the node that pleg publishes as True, which is trouble.");
	for (unsigned i = 0; i < CONDITIONS; i++) {
		struct metrics_label label = { "type",
			condition_type_text((enum condition_type)i) };

		if (cluster->conditions[i].status != CONDITION_UNKNOWN)
			metrics_line(m, "pleg_node_condition", "", &label, 1,
				cluster->conditions[i].status == CONDITION_TRUE ? "1" : "0");
	}
}

static void metrics_cluster(struct metrics *m, const struct reporter_status *cluster)
{
	if (!cluster)
		return;
	metrics_conditions(m, cluster);
	metrics_plain(m, "pleg_api_away", "gauge",
		"1 while the API server takes nothing of what this node has to say.",
		cluster->is_away);
	metrics_plain(m, "pleg_api_overwritten", "gauge",
		"1 while somebody else, another pleg perhaps, writes this node's conditions.",
		cluster->is_overwritten);
	metrics_plain(m, "pleg_api_writes_total", "counter",
		"Writes of the node's status, taint and Events that were tried.", cluster->writes);
	metrics_plain(m, "pleg_api_failures_total", "counter",
		"Requests to the API server that failed and are tried again.", cluster->failures);
	metrics_plain(m, "pleg_api_events_waiting", "gauge",
		"Kubernetes Events that are not sent yet, or have happened again since.",
		cluster->events.waiting);
	metrics_plain(m, "pleg_api_events_lost_total", "counter",
		"Kubernetes Events that gave way to others or were refused.", cluster->events.lost);
}

/* Before the first list there is neither a number nor an age. */
static void metrics_api_pods(struct metrics *m, const struct pods_judge *api, struct now now)
{
	struct kube_pods_status status;

	if (!api)
		return;
	kube_pods_status(pods_judge_pods(api), &status);
	metrics_plain(m, "pleg_api_pods_current", "gauge",
		"1 while the API server tells of the pods of this node.",
		status.state == KUBE_PODS_CURRENT);
	if (status.state != KUBE_PODS_NONE) {
		metrics_plain(m, "pleg_api_pods", "gauge",
			"Pods of this node that the API server has.", status.count);
		metrics_plain_seconds(m, "pleg_api_pods_age_seconds", "gauge",
			"How long ago all that is known of them was so for sure.",
			time_since(now.mono_ns, status.as_of_ns));
	}
	metrics_plain(m, "pleg_api_differences", "gauge",
		"Pods and containers of which the API server says what is not so.",
		pods_judge_count(api));
}

static void metrics_agent(struct metrics *m, const struct metrics_view *v)
{
	struct metrics_label version = { "version", PLEG_VERSION };

	metrics_head(m, "pleg_loop_lag_seconds", "histogram",
		"How late the agent's timers fired: the time its loop was busy or not scheduled.");
	metrics_histogram(m, "pleg_loop_lag_seconds", NULL, v->loop_lag);
	metrics_plain_seconds(m, "pleg_loop_lag_max_seconds", "gauge",
		"The latest that a timer has fired since the start.", v->loop_lag_max_ns);
	metrics_plain(m, "pleg_control_clients", "gauge",
		"Connections to the control socket; 64 are the most.", v->control_clients);
	metrics_plain(m, "pleg_control_streams", "gauge",
		"Those of them that follow events or incidents; 48 are the most.",
		v->control_streams);
	metrics_plain(m, "pleg_control_refused_total", "counter",
		"Refused by it: beyond a limit, or not permitted.", v->control_refused);
	metrics_roles(m, v);
	metrics_probes(m, v);
	metrics_plain(m, "pleg_agent_memory_bytes", "gauge", "Resident memory of the agent.",
		v->agent_memory_bytes);
	metrics_plain(m, "pleg_log_dropped_total", "counter",
		"Log lines lost because nobody took them in time.", v->log_dropped);
	metrics_head(m, "pleg_build_info", "gauge", "Always 1; the label says which pleg this is.");
	metrics_line(m, "pleg_build_info", "", &version, 1, "1");
}

int metrics_write(const struct metrics_view *view, struct buf *out)
{
	struct metrics m = { .out = out };

	metrics_kubelet_pleg(&m, view);
	metrics_kubelet_counts(&m, view);
	metrics_kubelet_operations(&m, view);
	metrics_calls(&m, view);
	metrics_verdict(&m, view);
	metrics_events(&m, view);
	metrics_hints(&m, view);
	metrics_findings(&m, view);
	metrics_journal(&m, view);
	metrics_cluster(&m, view->cluster);
	metrics_api_pods(&m, view->api, view->now);
	if (view->api_server) {
		metrics_plain_seconds(&m, "pleg_api_latency_seconds", "gauge",
			"How long the last request to the API server took, failed or not.",
			view->api_server->timings.total_ns);
		metrics_plain_seconds(&m, "pleg_api_away_seconds", "gauge",
			"For how long the API server has not answered as it should; 0: it does.",
			view->api_server->away_ns);
	}
	metrics_agent(&m, view);
	return m.error;
}
