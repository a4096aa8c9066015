#include "agent/report.h"

#include <stdio.h>

#include "base/str.h"
#include "model/finding-json.h"
#include "model/json-write.h"

#define REPORT_NAME_MAX 520 /* namespace, slash, pod */

static const char *report_pod_name(const struct pleg_pod *pod, char *out, size_t size)
{
	(void)snprintf(out, size, "%s/%s", pod->namespace, pod->name);
	return out;
}

/* ---- status --------------------------------------------------------------------------------- */

static void report_node(struct json_write *w, const struct report_view *v)
{
	json_write_object(w, "node");
	json_write_text(w, "name", v->node_name);
	json_write_bool(w, "ready", v->node.ready);
	json_write_bool(w, "degraded", v->node.degraded);
	json_write_text(w, "reason", v->node.reason);
	json_write_text(w, "message", v->node.message);
	json_write_null(w, "kubeletReady"); /* Only the API server knows. */
	json_write_text(w, "detail", v->node.detail);
	json_write_time(
		w, "since", v->now.real_ns - (int64_t)time_since(v->now.mono_ns, v->node.since_ns));
	json_write_u64(w, "flaps", v->node.flaps);
	json_write_seconds(w, "calmWantedSeconds", v->node.calm_wanted_ns);
	json_write_seconds(w, "calmSeconds", v->node.calm_so_far_ns);
	json_write_text(w, "kubeletHealthz", node_kubelet_text(v->kubelet));
	json_write_text(w, "kubeletMessage", str_or_empty(v->kubelet_message));
	json_write_object_end(w);
}

/* What a relist would take if every pod changed; nothing is known before one was inspected. */
static void report_prediction(struct json_write *w, const struct pleg_prediction *p)
{
	if (!p->has_inspected) {
		json_write_null(w, "prediction");
		return;
	}
	json_write_object(w, "prediction");
	json_write_seconds(w, "relistSeconds", p->relist_ns);
	json_write_seconds(w, "serialSeconds", p->serial_ns);
	json_write_seconds(w, "listSeconds", p->list_ns);
	json_write_seconds(w, "inspectSeconds", p->inspect_ns);
	json_write_u64(w, "inspections", p->inspections);
	json_write_object_end(w);
}

static void report_pleg(struct json_write *w, const struct report_view *v)
{
	struct runtime_call_info call;
	char name[REPORT_NAME_MAX];
	size_t cursor = 0, count = 0;
	struct pleg_pod pod;

	json_write_object(w, "pleg");
	json_write_bool(w, "healthy", v->health.healthy);
	json_write_text(w, "message", v->health.message);
	if (v->health.has_listed) {
		json_write_seconds(w, "lastRelistAgeSeconds", v->health.last_relist_age_ns);
		json_write_seconds(w, "lastRelistSeconds", v->health.last_relist_ns);
	} else {
		json_write_null(w, "lastRelistAgeSeconds");
		json_write_null(w, "lastRelistSeconds");
	}
	json_write_array(w, "quarantined");
	while (v->health.quarantined > 0 && count < REPORT_QUARANTINED_MAX &&
		pleg_next_pod(v->pleg, &cursor, &pod))
		if (pod.quarantined) {
			json_write_text(w, NULL, report_pod_name(&pod, name, sizeof(name)));
			count++;
		}
	json_write_array_end(w);
	json_write_array(w, "inFlight");
	cursor = count = 0;
	while (v->runtime && count++ < REPORT_CALLS_MAX &&
		runtime_next_call(v->runtime, &cursor, v->now.mono_ns, &call)) {
		json_write_object(w, NULL);
		json_write_text(w, "call", call.method);
		json_write_text(w, "subject", call.subject);
		json_write_seconds(w, "ageSeconds", call.age_ns);
		json_write_object_end(w);
	}
	json_write_array_end(w);
	report_prediction(w, &v->prediction);
	json_write_seconds(w, "relistPeriodSeconds", v->relist_period_ns);
	json_write_seconds(w, "relistThresholdSeconds", v->relist_threshold_ns);
	json_write_object_end(w);
}

static void report_runtime(struct json_write *w, const struct report_view *v)
{
	const char *failure =
		v->link_failure[0] != '\0' ? v->link_failure : str_or_empty(v->answer_failure);

	json_write_object(w, "runtime");
	json_write_text(w, "name", v->runtime_name);
	json_write_text(w, "version", v->runtime_version);
	json_write_text(w, "endpoint", v->endpoint);
	json_write_bool(w, "responsive", v->runtime && v->node.responsive);
	json_write_array(w, "hops");
	json_write_object(w, NULL);
	json_write_text(w, "hop", v->runtime ? runtime_kind_text(runtime_kind(v->runtime)) : "cri");
	json_write_bool(w, "ok", v->runtime && v->node.responsive && failure[0] == '\0');
	if (v->has_latency)
		json_write_seconds(w, "latencySeconds", v->latency_ns);
	else
		json_write_null(w, "latencySeconds");
	json_write_text(w, "message", failure);
	json_write_object_end(w);
	json_write_array_end(w);
	json_write_object_end(w);
}

static void report_hints(struct json_write *w, const struct report_view *v)
{
	json_write_object(w, "hints");
	json_write_text(w, "stream", v->stream);
	json_write_text(w, "streamMessage", str_or_empty(v->stream_why));
	json_write_text(w, "streamSource", v->stream_source);
	json_write_text(w, "connector", str_or_empty(v->connector));
	json_write_text(w, "connectorMessage", str_or_empty(v->connector_why));
	json_write_u64(w, "watched", v->watched);
	json_write_u64(w, "watchFailures", v->watch_failures);
	json_write_text(w, "watchMessage", str_or_empty(v->watch_why));
	json_write_u64(w, "cgroups", v->cgroups);
	json_write_u64(w, "cgroupFailures", v->cgroup_failures);
	json_write_text(w, "cgroupMessage", str_or_empty(v->cgroups_why));
	json_write_u64(w, "provisionalOpen", v->provisional_open);
	json_write_object_end(w);
}

static void report_journal(struct json_write *w, const struct report_journal *j)
{
	json_write_object(w, "journal");
	json_write_text(w, "state", j->state);
	json_write_text(w, "reason", str_or_empty(j->reason));
	json_write_text(w, "note", str_or_empty(j->note));
	json_write_text(w, "path", j->path);
	json_write_u64(w, "waiting", j->waiting);
	json_write_u64(w, "dropped", j->dropped);
	json_write_u64(w, "written", j->written);
	json_write_object_end(w);
}

static void report_agent(struct json_write *w, const struct report_view *v)
{
	if (!v->epoch) {
		json_write_null(w, "agent");
		return;
	}
	json_write_object(w, "agent");
	json_write_text(w, "version", PLEG_VERSION);
	json_write_i64(w, "pid", v->pid);
	json_write_text(w, "epoch", v->epoch);
	json_write_time(w, "startedAt", v->started_at_ns);
	json_write_u64(w, "events", v->events);
	json_write_seconds(w, "loopLagSeconds", v->loop_lag_ns);
	report_hints(w, v);
	json_write_array(w, "roles");
	for (size_t i = 0; i < v->role_count; i++) {
		const struct report_role *role = &v->roles[i];

		json_write_object(w, NULL);
		json_write_text(w, "role", role->name);
		if (role->pid > 0)
			json_write_i64(w, "pid", role->pid);
		else
			json_write_null(w, "pid");
		json_write_text(w, "state", role->state);
		json_write_u64(w, "restarts", role->restarts);
		if (role->memory_bytes > 0)
			json_write_u64(w, "memoryBytes", role->memory_bytes);
		else
			json_write_null(w, "memoryBytes");
		json_write_object_end(w);
	}
	json_write_array_end(w);
	json_write_object(w, "control");
	json_write_u64(w, "clients", v->control_clients);
	json_write_u64(w, "streams", v->control_streams);
	json_write_u64(w, "refused", v->control_refused);
	json_write_object_end(w);
	if (v->has_probe) {
		json_write_object(w, "probes");
		json_write_u64(w, "stuck", v->probes_stuck);
		json_write_u64(w, "late", v->probes_late);
		json_write_u64(w, "refused", v->probes_refused);
		json_write_object_end(w);
	} else {
		json_write_null(w, "probes");
	}
	report_journal(w, &v->journal);
	json_write_array(w, "warnings");
	for (size_t i = 0; i < v->warning_count; i++)
		json_write_text(w, NULL, v->warnings[i]);
	json_write_array_end(w);
	json_write_object_end(w);
}

/* Of the list of pods as a whole. */
static void report_api_pods(struct json_write *w, const struct pods_judge *api, struct now now)
{
	struct kube_pods_status status;

	if (!api) {
		json_write_null(w, "apiPods");
		return;
	}
	kube_pods_status(pods_judge_pods(api), &status);
	json_write_object(w, "apiPods");
	json_write_text(w, "state", kube_pods_state_text(status.state));
	json_write_u64(w, "pods", status.count);
	json_write_u64(w, "leftOut", status.left_out);
	if (status.as_of_ns)
		json_write_seconds(w, "ageSeconds", time_since(now.mono_ns, status.as_of_ns));
	else
		json_write_null(w, "ageSeconds");
	json_write_text(w, "message", status.why);
	json_write_u64(w, "differences", pods_judge_count(api));
	json_write_object_end(w);
}

/* null for 0 */
static void put_seconds(struct json_write *w, const char *key, uint64_t ns)
{
	if (ns > 0)
		json_write_seconds(w, key, ns);
	else
		json_write_null(w, key);
}

static void report_api_server(struct json_write *w, const struct api_server *s)
{
	if (!s) {
		json_write_null(w, "apiServer");
		return;
	}
	json_write_object(w, "apiServer");
	json_write_text(w, "server", s->server);
	json_write_bool(w, "ok", s->away_ns == 0);
	json_write_text(w, "error", s->error);
	json_write_u64(w, "http", s->http);
	json_write_text(w, "message", s->why);
	put_seconds(w, "awaySeconds", s->away_ns);
	put_seconds(w, "latencySeconds", s->timings.total_ns);
	put_seconds(w, "dnsSeconds", s->timings.dns_ns);
	put_seconds(w, "connectSeconds", s->timings.connect_ns);
	put_seconds(w, "tlsSeconds", s->timings.tls_ns);
	put_seconds(w, "firstByteSeconds", s->timings.first_byte_ns);
	json_write_object_end(w);
}

/* Of a pod by its uid, or of a container by its id. */
static void report_api_differs(
	struct json_write *w, const struct pods_judge *api, const char *key, struct now now)
{
	struct pods_judge_view view;
	bool differs = api && pods_judge_find(api, key, now, &view);

	json_write_text(w, "apiDiffers", differs ? pods_difference_text(view.difference) : NULL);
	if (differs)
		json_write_seconds(w, "apiDiffersSeconds", view.for_ns);
	else
		json_write_null(w, "apiDiffersSeconds");
}

int report_status(const struct report_view *v, struct buf *out)
{
	struct json_write w = JSON_WRITE_INIT(out);

	json_write_object(&w, NULL);
	report_node(&w, v);
	report_pleg(&w, v);
	report_runtime(&w, v);
	json_write_u64(&w, "pods", v->health.pods);
	report_api_server(&w, v->api_server);
	report_api_pods(&w, v->api, v->now);
	json_write_object(&w, "containers");
	json_write_u64(&w, "running", v->health.running);
	json_write_u64(&w, "exited", v->health.exited);
	json_write_u64(&w, "created", v->health.created);
	json_write_u64(&w, "unknown", v->health.unknown);
	json_write_object_end(&w);
	json_write_u64(&w, "differences", v->ledger ? ledger_differences(v->ledger, v->now) : 0);
	findings_json_write(&w, "findings", v->findings);
	report_agent(&w, v);
	json_write_object_end(&w);
	return json_write_result(&w);
}

/* ---- pods ----------------------------------------------------------------------------------- */

static void report_bool(struct json_write *w, const char *key, bool is_known, bool value)
{
	if (is_known)
		json_write_bool(w, key, value);
	else
		json_write_null(w, key);
}

static void report_group(struct json_write *w, const struct ledger_group *group)
{
	if (group->has_oom_kills)
		json_write_u64(w, "oomKills", group->oom_kills);
	else
		json_write_null(w, "oomKills");
	report_bool(w, "populated", group->has_populated, group->populated);
	report_bool(w, "frozen", group->has_frozen, group->frozen);
}

static void report_shim(struct json_write *w, const struct ledger_shim *shim)
{
	if (shim->state == LEDGER_SHIM_NONE) {
		json_write_null(w, "shim");
		return;
	}
	json_write_object(w, "shim");
	json_write_i64(w, "pid", shim->pid);
	json_write_text(w, "state", ledger_shim_text(shim->state));
	json_write_object_end(w);
}

/* The kernel's word beside the runtime's. */
static void report_kernel(
	struct json_write *w, const struct ledger *ledger, const char *id, struct now now)
{
	struct ledger_view view;

	if (!ledger || !ledger_find(ledger, id, now, &view) || view.state == LEDGER_NONE) {
		json_write_null(w, "kernel");
		return;
	}
	json_write_object(w, "kernel");
	json_write_text(w, "state", ledger_state_text(view.state));
	json_write_i64(w, "pid", view.pid);
	if (view.exit.known)
		json_write_i64(w, "exitCode", view.exit.code);
	else
		json_write_null(w, "exitCode");
	if (view.exit.known && view.exit.signal)
		json_write_i64(w, "signal", view.exit.signal);
	else
		json_write_null(w, "signal");
	json_write_bool(w, "paused", view.paused);
	json_write_bool(w, "oomKilled", view.oom_killed);
	report_group(w, &view.group);
	report_shim(w, &view.shim);
	json_write_bool(w, "differs", view.differs);
	if (view.differs_for_ns)
		json_write_seconds(w, "differsSeconds", view.differs_for_ns);
	else
		json_write_null(w, "differsSeconds");
	json_write_object_end(w);
}

static void report_container(struct json_write *w, const struct pleg_container *c,
	const struct ledger *ledger, const struct pods_judge *api, struct now now)
{
	const struct container_status *status = c->status;

	json_write_object(w, NULL);
	json_write_text(w, "kind", container_kind_text(c->kind));
	json_write_text(w, "container", str_or_empty(c->name));
	json_write_text(w, "containerID", c->id);
	json_write_text(w, "sandboxID", c->kind == CONTAINER_KIND_SANDBOX ? c->id : c->sandbox_id);
	json_write_u64(w, "attempt", c->attempt);
	json_write_text(w, "state", container_state_text(c->state));
	if (c->detail != CONTAINER_PLAIN)
		json_write_text(w, "detail", container_detail_text(c->detail));
	else
		json_write_null(w, "detail");
	json_write_text(w, "reason", status ? str_or_empty(status->reason) : "");
	json_write_text(w, "message", status ? str_or_empty(status->message) : "");
	json_write_text(w, "image", status ? str_or_empty(status->image) : "");
	if (status && status->has_exit_code)
		json_write_i64(w, "exitCode", status->exit_code);
	else
		json_write_null(w, "exitCode");
	json_write_time(w, "createdAt", c->created_at_ns);
	json_write_time(w, "startedAt", status ? status->started_at_ns : 0);
	json_write_time(w, "finishedAt", status ? status->finished_at_ns : 0);
	report_kernel(w, ledger, c->id, now);
	report_api_differs(w, api, c->id, now);
	json_write_object_end(w);
}

/* Those of the newest sandbox that has any: an exited pod's are kept, as the kubelet does. */
static void report_ips(struct json_write *w, const struct pleg_pod *pod)
{
	const struct container_status *last = NULL;

	for (size_t i = 0; i < pod->container_count; i++) {
		const struct pleg_container *c = &pod->containers[i];

		if (c->kind == CONTAINER_KIND_SANDBOX && c->status && c->status->ip_count > 0)
			last = c->status;
	}
	json_write_array(w, "ips");
	for (size_t i = 0; last && i < last->ip_count; i++)
		json_write_text(w, NULL, last->ips[i]);
	json_write_array_end(w);
}

/* The API server's word of one pod. */
static void report_api(struct json_write *w, const struct pods_judge *api, const char *uid)
{
	struct kube_pod_view view;

	if (!api || !kube_pods_find(pods_judge_pods(api), uid, &view)) {
		json_write_null(w, "owner");
		json_write_null(w, "api");
		return;
	}
	json_write_text(w, "owner", *view.pod->owner ? view.pod->owner : NULL);
	json_write_object(w, "api");
	json_write_text(w, "phase", kube_phase_text(view.pod->phase));
	json_write_bool(w, "deleting", view.deleting_ns || view.gone_ns);
	json_write_time(w, "deletionTimestamp", view.pod->deletion_ns);
	json_write_bool(w, "deleted", view.gone_ns > 0);
	json_write_object_end(w);
}

static void report_pod(struct json_write *w, const struct pleg_pod *pod,
	const struct ledger *ledger, const struct pods_judge *api, struct now now)
{
	json_write_object(w, NULL);
	json_write_text(w, "namespace", pod->namespace);
	json_write_text(w, "pod", pod->name);
	json_write_text(w, "podUID", pod->uid);
	report_api(w, api, pod->uid);
	report_api_differs(w, api, pod->uid, now);
	json_write_time(w, "createdAt", pod->created_at_ns);
	json_write_bool(w, "quarantined", pod->quarantined);
	if (pod->quarantined)
		json_write_seconds(w, "quarantinedSeconds",
			time_since(now.mono_ns, pod->quarantined_since_ns));
	else
		json_write_null(w, "quarantinedSeconds");
	json_write_text(w, "stuckID", pod->stuck_id);
	json_write_text(w, "error", pod->inspect_error);
	if (pod->status_at_ns)
		json_write_seconds(
			w, "statusAgeSeconds", time_since(now.mono_ns, pod->status_at_ns));
	else
		json_write_null(w, "statusAgeSeconds");
	report_ips(w, pod);
	json_write_array(w, "containers");
	for (size_t i = 0; i < pod->container_count; i++)
		report_container(w, &pod->containers[i], ledger, api, now);
	json_write_array_end(w);
	json_write_object_end(w);
}

int report_pods(const struct pleg *pleg, const struct ledger *ledger, const struct pods_judge *api,
	struct now now, struct buf *out)
{
	struct json_write w = JSON_WRITE_INIT(out);
	struct pleg_pod pod;
	size_t cursor = 0;

	json_write_object(&w, NULL);
	json_write_array(&w, "pods");
	while (pleg_next_pod(pleg, &cursor, &pod))
		report_pod(&w, &pod, ledger, api, now);
	json_write_array_end(&w);
	report_api_pods(&w, api, now);
	json_write_object_end(&w);
	return json_write_result(&w);
}

/* ---- one line ------------------------------------------------------------------------------- */

const char *report_quarantined(const struct pleg *pleg, char *out, size_t out_size)
{
	char name[REPORT_NAME_MAX];
	size_t cursor = 0, named = 0, count = 0, used = 0;
	struct pleg_pod pod;

	out[0] = '\0';
	while (pleg_next_pod(pleg, &cursor, &pod)) {
		if (!pod.quarantined)
			continue;
		count++;
		if (named >= 3)
			continue;
		(void)report_pod_name(&pod, name, sizeof(name));
		if (used + strlen(name) + 32 > out_size) /* Room for ", " and "and N more". */
			continue;
		used += (size_t)snprintf(
			out + used, out_size - used, "%s%s", named ? ", " : "", name);
		named++;
	}
	if (count > named)
		(void)snprintf(out + used, out_size - used, "%s%zu more", named ? " and " : "",
			count - named);
	return out;
}
