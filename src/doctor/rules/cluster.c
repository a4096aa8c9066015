/*
 * The layer of the cluster: where what the API server says of a pod is not so. The comparison, and how
 * long it must last, is kube/pods-judge's; here it becomes a finding, under whatever explains why the
 * pod does not end.
 */
#include "doctor/rules/judge.h"
#include "doctor/rules/thresholds.h"

#define API_LIST "GET /api/v1/pods, and the watch behind it"

/* What is wrong with who ends pods and tells of them; NULL: nothing that is known. */
static const char *kubelet_trouble(const struct judge *j)
{
	switch (j->e->kubelet.state) {
	case EVIDENCE_KUBELET_NONE:
	case EVIDENCE_KUBELET_OK: return NULL;
	case EVIDENCE_KUBELET_FAILING: return "is not well";
	case EVIDENCE_KUBELET_SLOW: return "does not answer";
	case EVIDENCE_KUBELET_GONE: return "is gone";
	}
	return NULL;
}

static void advise_kubelet(struct judge *j, struct finding *f, const char *loses)
{
	advise(j, f, RISK_RUNTIME, "Restart the kubelet", "it looks at all its pods when it starts",
		loses, "%s", "systemctl restart kubelet");
}

static const char *pod_name(const struct evidence_container *c, char out[NAME_MAX_BYTES])
{
	return str_format(out, NAME_MAX_BYTES, "%s%s%s%s%s%s", c->namespace,
		*c->namespace ? "/" : "", *c->pod ? c->pod : c->id, *c->owner ? " (" : "", c->owner,
		*c->owner ? ")" : "");
}

static void tell_words(struct judge *j, struct finding *f, const struct evidence_container *c)
{
	const struct evidence_daemon *d = daemon_at(j, c->daemon);

	tell(j, f, "the API server's word", API_LIST, "%s", c->api_says);
	tell(j, f, "the runtime's word", d && *d->endpoint ? d->endpoint : "list", "%s: %s%s%s",
		*c->container ? c->container : "sandbox", container_state_text(c->runtime_state),
		*c->runtime_detail ? ", " : "", c->runtime_detail);
	tell(j, f, "the kernel's word", "pidfd and /proc of the init", "%s",
		ledger_state_text(c->kernel_state));
	if (j->e->kubelet.state != EVIDENCE_KUBELET_NONE)
		tell(j, f, "the kubelet's health",
			FMT("http://127.0.0.1:%u/healthz", j->e->kubelet.port), "%s",
			j->e->kubelet.state == EVIDENCE_KUBELET_OK
				? "ok"
				: str_or_empty(j->e->kubelet.message));
	tell_process(j, f, c->init);
}

/* ---- DeletedPodRemains ------------------------------------------------------------------- */

static void advise_ending(
	struct judge *j, struct finding *f, const struct evidence_container *c, bool is_explained)
{
	const struct evidence_daemon *d = daemon_at(j, c->daemon);
	const char *sandbox = c->kind == CONTAINER_KIND_SANDBOX ? c->id : c->sandbox_id;
	const char *loses = "what of it still runs; the cluster counts it as gone";

	if (is_explained)
		advise(j, f, RISK_NONE, "First what keeps it",
			"see the cause above: it does not end before that is gone", "nothing", "%s",
			"");
	else
		advise(j, f, RISK_NONE, "Look at what keeps it",
			"every hop of the container, timed", "nothing", "pleg trace%s %s",
			PLEG_RUNTIME(j), QUOTED(c->id));
	if (!is_explained && kubelet_trouble(j))
		advise_kubelet(j, f, "nothing that runs; it ends what is to end");
	if (d && d->kind == DAEMON_DOCKERD)
		advise(j, f, RISK_POD, "End it in the runtime", "nobody else will", loses,
			"%s rm -f %s", DOCKER(d), QUOTED(c->id));
	else if (*sandbox)
		advise(j, f, RISK_POD, "End it in the runtime", "nobody else will", loses,
			"%s stopp %s; %s rmp %s", CRICTL(d), QUOTED(sandbox), CRICTL(d),
			QUOTED(sandbox));
	avoid(j, f,
		"Do not delete the pod by force, again or at all: that takes the object from the "
		"API "
		"server, and what runs here goes on, maybe beside its successor and on the same "
		"volume.");
}

/* What kept it has just gone: now it ends, which takes a moment. */
static bool is_just_freed(struct judge *j, const struct evidence_container *c, bool is_explained)
{
	/* Of the pod: now it may be told of another of its containers. */
	struct mark *m = memory_mark(
		j->memory, MARK_EXPLAINED, mark_hash(*c->pod_uid ? c->pod_uid : c->id), 0, 0, 0, 0);

	if (is_explained)
		m->value = j->e->mono_ns;
	return !is_explained && m->value != 0 && time_since(j->e->mono_ns, m->value) < FREED_IN_NS;
}

static void tell_deleted(struct judge *j, uint32_t container)
{
	const struct evidence_container *c = &j->e->containers[container];
	struct finding *parent = behind_container(j, container);
	struct about about = ABOUT_NOTHING;
	struct finding *f;
	char name[NAME_MAX_BYTES], why[80] = "";

	if (is_just_freed(j, c, parent != NULL))
		return;
	f = judge_begin(j, SEVERITY_WARNING, CONFIDENCE_PROVEN,
		j->e->at_ns - (int64_t)c->api_differs_ns, parent);
	about.container = container;
	about.process = c->init;
	(void)pod_name(c, name);
	if (!parent && kubelet_trouble(j))
		(void)str_format(why, sizeof(why), ": the kubelet, who would end it, %s",
			kubelet_trouble(j));
	if (c->api == EVIDENCE_API_DELETED)
		tell_summary(j, f,
			"Pod %s was deleted from the API server %s ago, and the runtime still has "
			"it%s",
			name, SECONDS(c->api_differs_ns), why);
	else if (c->api == EVIDENCE_API_OVERDUE)
		tell_summary(j, f,
			"Pod %s was to end %s ago, its grace is over, and the runtime still has "
			"it%s",
			name, SECONDS(c->api_differs_ns), why);
	else
		tell_summary(j, f, "Pod %s runs, and the API server has had no such pod for %s%s",
			name, SECONDS(c->api_differs_ns), why);
	tell_subject(j, f, &about);
	tell_words(j, f, c);
	advise_ending(j, f, c, parent != NULL);
}

void judge_deleted_pods(struct judge *j)
{
	for (uint32_t i = 0; i < j->e->container_count; i++) {
		enum evidence_api api = j->e->containers[i].api;

		if (api == EVIDENCE_API_DELETED || api == EVIDENCE_API_OVERDUE ||
			api == EVIDENCE_API_UNKNOWN)
			tell_deleted(j, i);
	}
}

/* ---- PodStatusStale ---------------------------------------------------------------------- */

static void tell_stale(struct judge *j, uint32_t container)
{
	const struct evidence_container *c = &j->e->containers[container];
	struct finding *parent = behind_container(j, container);
	struct about about = ABOUT_NOTHING;
	struct finding *f = judge_begin(j, SEVERITY_WARNING, CONFIDENCE_PROVEN,
		j->e->at_ns - (int64_t)c->api_differs_ns, parent);
	const char *trouble = parent ? NULL : kubelet_trouble(j);

	about.container = container;
	about.process = c->init;
	tell_summary(j, f,
		"%s is dead, and the API server has gone on to say that it runs for %s: %s%s",
		CONTAINER_NAME(j, container), SECONDS(c->api_differs_ns),
		trouble ? "the kubelet, who would tell it, " : "nobody has told it",
		str_or_empty(trouble));
	tell_subject(j, f, &about);
	tell_words(j, f, c);
	advise(j, f, RISK_NONE, "Ask the kubelet",
		"it is the one who tells the API server; it hangs, does not run, or has no "
		"connection",
		"nothing", "curl -sS -m 5 http://127.0.0.1:%u/healthz",
		j->e->kubelet.port ? j->e->kubelet.port : 10248u);
	advise_kubelet(j, f, "nothing that runs");
}

void judge_pod_status(struct judge *j)
{
	for (uint32_t i = 0; i < j->e->container_count; i++)
		if (j->e->containers[i].api == EVIDENCE_API_RUNS)
			tell_stale(j, i);
}
