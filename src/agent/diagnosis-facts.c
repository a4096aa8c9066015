/*
 * What the agent knows already goes into a sample of evidence: the runtime and how it answers, each
 * container with both words, the call that is open for it, and how often its name has ended of late.
 */
#include "agent/diagnosis.h"

#include <string.h>

#include "agent/api-health.h"
#include "agent/api-pods.h"
#include "base/clock.h"
#include "base/str.h"
#include "base/table.h"
#include "runtime/runtime.h"

#define FACTS_RECENT_NS (10 * 60 * (int64_t)NSEC_PER_SEC)
#define FACTS_EXITS_MAX 4096u
/* A call that is open for longer is told as late, and a reason to look; a rule asks for more. */
#define FACTS_LATE_NS NSEC_PER_SEC

/* ---- ends of the same name in the same pod ---------------------------------------------------- */

struct exits {
	char *key; /* pod UID, a slash, the container's name; owned */
	uint32_t count;
	int32_t code;
	bool same;
};

static void exits_free(struct table *table)
{
	struct exits *exits;

	TABLE_FOREACH (exits, table) {
		exits->key = mem_free(exits->key);
		(void)mem_free(exits);
	}
	table_done(table);
}

static const char *exits_key(char *out, size_t size, const char *pod_uid, const char *container)
{
	return str_format(out, size, "%s/%s", pod_uid, container);
}

static void exits_note(struct table *table, const struct event *event)
{
	char key[512];
	struct exits *exits;

	(void)exits_key(key, sizeof(key), event->pod_uid, event->container);
	exits = table_get_string(table, key);
	if (!exits) {
		exits = mem_zalloc(sizeof(*exits));
		if (!exits)
			return;
		exits->key = mem_strdup(key);
		if (!exits->key || table_put_string(table, exits->key, exits) < 0) {
			exits->key = mem_free(exits->key);
			(void)mem_free(exits);
			return;
		}
		exits->same = true;
		exits->code = event->exit_code;
	}
	exits->same = exits->same && event->has_exit_code && exits->code == event->exit_code;
	exits->code = event->exit_code;
	exits->count++;
}

/* From the history of events, which is bounded; what the first list found is no exit of late. */
static void exits_gather(struct sync_loop *events, int64_t since_ns, struct table *table)
{
	struct sync_filter filter = { 0 };
	struct sync_subscriber *reader = NULL;
	const struct event *event;
	enum sync_next next;
	uint64_t missed;

	if (sync_subscribe(events, &filter, 1, &reader) < 0)
		return;
	while ((next = sync_next(reader, &event, &missed)) != SYNC_NONE)
		if (next == SYNC_EVENT && event->type == EVENT_CONTAINER_DIED && event->confirmed &&
			!event->initial && event->kind == CONTAINER_KIND_CONTAINER &&
			event->observed_at_ns >= since_ns)
			exits_note(table, event);
	reader = sync_unsubscribe(reader);
}

/* ---- calls ------------------------------------------------------------------------------------ */

static struct evidence_call open_call(struct evidence *e, const struct runtime_call_info *info)
{
	return (struct evidence_call){ .method = evidence_text(e, info->method),
		.subject = evidence_text(e, info->subject),
		.answer = info->age_ns >= FACTS_LATE_NS ? ANSWER_LATE : ANSWER_NOT_ASKED,
		.age_ns = info->age_ns,
		.message = "" };
}

/* Docker's calls bear the names that CRI gives them. */
static bool is_list(const char *method)
{
	return str_eq(method, "ListPodSandbox") || str_eq(method, "ListContainers");
}

/* The oldest call of a kind is the one that tells. */
static void keep_older(struct evidence_call *slot, struct evidence_call call)
{
	if (slot->answer != ANSWER_LATE || call.age_ns > slot->age_ns)
		*slot = call;
}

static void put_calls(const struct runtime *runtime, struct now now, struct evidence *e,
	struct evidence_daemon *daemon, const struct table *containers)
{
	struct runtime_call_info info;
	struct runtime_link link;
	size_t cursor = 0;

	runtime_link(runtime, &link);
	if (link.absent)
		return; /* Nobody has them: nobody is late. */
	while (runtime_next_call(runtime, &cursor, now.mono_ns, &info)) {
		struct evidence_call call = open_call(e, &info);

		if (is_list(info.method) && call.answer == ANSWER_LATE) {
			keep_older(&daemon->list, call);
		} else if (str_eq(info.method, "Version") && call.answer == ANSWER_LATE) {
			keep_older(&daemon->version, call);
		} else if (info.subject[0] != '\0') {
			uintptr_t index = (uintptr_t)table_get_string(containers, info.subject);

			if (index > 0)
				e->containers[index - 1].inspect = call;
		}
	}
	/* What it answered before it fell silent proves nothing about now. */
	if (daemon->list.answer == ANSWER_LATE && daemon->version.answer == ANSWER_OK)
		daemon->version.answer = ANSWER_NOT_ASKED;
}

static enum evidence_daemon_kind daemon_kind(const char *name, const char *endpoint)
{
	if (name && strstr(name, "docker"))
		return strstr(endpoint, "cri-dockerd") ? DAEMON_CRI_DOCKERD : DAEMON_DOCKERD;
	if ((name && str_eq(name, "containerd")) || strstr(endpoint, "containerd"))
		return DAEMON_CONTAINERD;
	if ((name && str_eq(name, "cri-o")) || strstr(endpoint, "crio"))
		return DAEMON_CRIO;
	if (strstr(endpoint, "cri-dockerd"))
		return DAEMON_CRI_DOCKERD;
	return strstr(endpoint, "docker") ? DAEMON_DOCKERD : DAEMON_OTHER;
}

/* Its link as it is; a call that is open for too long takes the place of that (put_calls()). */
static uint32_t put_daemon(
	const struct diagnosis_options *o, const struct pump_state *pump, struct evidence *e)
{
	uint32_t index = evidence_add_daemon(e);
	struct evidence_daemon *daemon;
	struct runtime_link link;

	if (index == EVIDENCE_NONE)
		return index;
	runtime_link(pump->runtime, &link);
	daemon = &e->daemons[index];
	daemon->kind = daemon_kind(pump->name, o->endpoint);
	daemon->is_runtime = true;
	daemon->peer_pid = link.peer_pid;
	daemon->endpoint = evidence_text(e, runtime_endpoint(pump->runtime));
	daemon->version.method = daemon->kind == DAEMON_DOCKERD ? "GET /version" : "Version";
	if (link.up) {
		daemon->version.answer = pump->has_latency ? ANSWER_OK : ANSWER_NOT_ASKED;
		daemon->version.age_ns = pump->latency_ns;
	} else if (link.absent || link.peer_pid == 0) {
		daemon->version.answer = collect_answer(link.last_failure, pump->link_failure);
		daemon->version.message = evidence_text(e, pump->link_failure);
	}
	return index;
}

/* ---- containers ------------------------------------------------------------------------------- */

static uint32_t put_init(struct evidence *e, const struct ledger_view *view, uint32_t container)
{
	uint32_t index;

	/* One that is reaped is no process that could hold anything. */
	if (view->pid <= 0 || view->start_ticks == 0 || view->state == LEDGER_GONE)
		return EVIDENCE_NONE;
	index = evidence_add_process(e);
	if (index == EVIDENCE_NONE)
		return index;
	e->processes[index].pid = view->pid;
	e->processes[index].start_ticks = view->start_ticks;
	e->processes[index].roles = EVIDENCE_INIT;
	e->processes[index].container = container;
	return index;
}

/* ---- the API server's word -------------------------------------------------------------------- */

static enum evidence_api api_of(enum pods_difference difference)
{
	switch (difference) {
	case PODS_DELETED: return EVIDENCE_API_DELETED;
	case PODS_OVERDUE: return EVIDENCE_API_OVERDUE;
	case PODS_UNKNOWN: return EVIDENCE_API_UNKNOWN;
	case PODS_DEAD: return EVIDENCE_API_RUNS;
	}
	return EVIDENCE_API_AGREES;
}

static const char *api_word(
	const struct pods_judge_view *v, const struct kube_pod_view *pod, char out[192])
{
	char when[TIME_TEXT_MAX];

	switch (v->difference) {
	case PODS_DELETED: return "deleted";
	case PODS_UNKNOWN: return "no pod of this uid";
	case PODS_DEAD: return "running";
	case PODS_OVERDUE: break;
	}
	if (!pod->pod || pod->pod->deletion_ns == 0)
		return "being deleted";
	return str_format(out, 192, "to be gone by %s, with a grace of %u s",
		time_format_rfc3339(when, pod->pod->deletion_ns), pod->pod->grace_s);
}

static void put_difference(struct evidence *e, struct evidence_container *to,
	const struct pods_judge *api, const struct kube_pod_view *pod, const char *key,
	struct now now)
{
	char word[192], says[320], age[TIME_TEXT_MAX];
	struct kube_pods_status list;
	struct pods_judge_view view;

	if (!pods_judge_find(api, key, now, &view))
		return;
	kube_pods_status(pods_judge_pods(api), &list);
	to->api = api_of(view.difference);
	to->api_differs_ns = view.for_ns;
	(void)str_format(says, sizeof(says), "%s; as of %s ago%s%s", api_word(&view, pod, word),
		time_format_short(age, time_since(now.mono_ns, list.as_of_ns)),
		list.state == KUBE_PODS_CURRENT ? "" : ", and old since: ", list.why);
	to->api_says = evidence_text(e, says);
}

/* The one that a pod's own difference is told of: what runs rather than the rest, containers rather
 * than the sandbox. */
static size_t bearer_of(const struct pleg_pod *pod)
{
	size_t best = 0;
	int best_worth = -1;

	for (size_t i = 0; i < pod->container_count; i++) {
		const struct pleg_container *c = &pod->containers[i];
		int worth =
			2 * (c->state == CONTAINER_RUNNING) + (c->kind == CONTAINER_KIND_CONTAINER);

		if (worth > best_worth) {
			best = i;
			best_worth = worth;
		}
	}
	return best;
}

/* `first` is where the pod's containers begin in `e`, which may lack the last ones of them. */
static void put_api(struct evidence *e, uint32_t first, const struct pleg_pod *pod,
	const struct pods_judge *api, struct now now)
{
	struct kube_pod_view view = { 0 };
	bool is_known = kube_pods_find(pods_judge_pods(api), pod->uid, &view);
	size_t bearer = bearer_of(pod);

	for (uint32_t i = first; i < e->container_count; i++) {
		struct evidence_container *to = &e->containers[i];

		if (is_known)
			to->owner = evidence_text(e, view.pod->owner);
		put_difference(e, to, api, &view, to->id, now);
		if (i - first == bearer && to->api == EVIDENCE_API_AGREES)
			put_difference(e, to, api, &view, pod->uid, now);
	}
}

/* ---- containers ------------------------------------------------------------------------------- */

static void put_container(struct evidence *e, const struct pleg_pod *pod,
	const struct pleg_container *from, const struct ledger *ledger, const struct table *exits,
	uint32_t daemon, struct now now)
{
	uint32_t index = evidence_add_container(e);
	struct evidence_container *to;
	struct ledger_view view;
	const struct exits *ends;
	char key[512];

	if (index == EVIDENCE_NONE)
		return;
	to = &e->containers[index];
	to->kind = from->kind;
	to->id = evidence_text(e, from->id);
	to->sandbox_id = evidence_text(e, from->sandbox_id);
	to->namespace = evidence_text(e, pod->namespace);
	to->pod = evidence_text(e, pod->name);
	to->pod_uid = evidence_text(e, pod->uid);
	to->container = evidence_text(e, from->name);
	to->attempt = from->attempt;
	to->runtime_state = from->state;
	to->runtime_detail = evidence_text(e, container_detail_text(from->detail));
	to->daemon = daemon;
	to->inspect.method =
		from->kind == CONTAINER_KIND_SANDBOX ? "PodSandboxStatus" : "ContainerStatus";
	to->inspect.subject = to->id;
	if (ledger_find(ledger, from->id, now, &view)) {
		to->kernel_state = view.state;
		to->pause =
			view.paused || from->detail == CONTAINER_PAUSED ? PAUSE_YES : PAUSE_UNKNOWN;
		to->differs_ns = view.differs ? view.differs_for_ns : 0;
		to->init = put_init(e, &view, index);
	}
	ends = from->kind == CONTAINER_KIND_CONTAINER
		? table_get_string(exits, exits_key(key, sizeof(key), pod->uid, from->name))
		: NULL;
	if (ends) {
		to->recent_exits = ends->count;
		to->last_exit_code = ends->code;
		to->same_exit_code = ends->same;
	}
}

static void put_node(const struct diagnosis_options *o, struct evidence *e, struct now now)
{
	struct pleg_prediction prediction;
	struct pleg_health health;

	pleg_health(o->pleg, now, &health);
	pleg_predict(o->pleg, now, &prediction);
	e->node.containers_live = health.running;
	e->node.containers_dead = health.exited;
	e->node.last_list_age_ns = health.has_listed ? health.last_relist_age_ns : 0;
	e->node.predicted_list_ns = prediction.relist_ns;
	e->node.predicted_serial_ns = prediction.serial_ns;
	e->node.list_ns = prediction.list_ns;
	e->node.inspect_ns = prediction.inspect_ns;
	e->node.inspections = prediction.inspections;
	e->node.list_threshold_ns = o->relist_threshold_ns;
}

/* ---- the way to the API server ---------------------------------------------------------------- */

/* False: none is configured, or it was not asked yet. */
static bool view_api_server(
	const struct diagnosis_options *o, struct now now, struct api_server *ret)
{
	return o->api_health && *o->api_health && api_health_view(*o->api_health, now, ret);
}

static void put_api_server(struct evidence *e, const struct diagnosis_options *o, struct now now)
{
	struct api_server view;

	if (!view_api_server(o, now, &view))
		return;
	view.server = evidence_text(e, view.server);
	view.error = evidence_text(e, view.error);
	view.why = evidence_text(e, view.why);
	if (view.stale_count > 0) {
		view.stale.local = evidence_text(e, view.stale.local);
		view.stale.remote = evidence_text(e, view.stale.remote);
		view.stale.what = evidence_text(e, view.stale.what);
	}
	e->api_server = view;
}

static void put_kubelet(struct evidence *e, const struct kubelet *kubelet)
{
	static const enum evidence_kubelet_state states[] = {
		[NODE_KUBELET_NONE] = EVIDENCE_KUBELET_NONE,
		[NODE_KUBELET_OK] = EVIDENCE_KUBELET_OK,
		[NODE_KUBELET_FAILING] = EVIDENCE_KUBELET_FAILING,
		[NODE_KUBELET_SLOW] = EVIDENCE_KUBELET_SLOW,
		[NODE_KUBELET_GONE] = EVIDENCE_KUBELET_GONE,
	};
	const char *message = "";

	if (!kubelet)
		return;
	e->kubelet.state = states[kubelet_state(kubelet, &message)];
	e->kubelet.message = evidence_text(e, message);
	e->kubelet.port = kubelet_port(kubelet);
}

void diagnosis_facts(const struct diagnosis_options *o, struct evidence *e)
{
	struct table exits = TABLE_INIT(FACTS_EXITS_MAX);
	struct table containers = TABLE_INIT(EVIDENCE_CONTAINERS_MAX);
	const struct pods_judge *api = o->api ? api_pods_judge(*o->api) : NULL;
	struct now now = clock_now();
	struct pump_state pump;
	struct pleg_pod pod;
	uint32_t daemon = EVIDENCE_NONE;
	size_t cursor = 0;

	pump_state(o->pump, &pump);
	if (pump.runtime)
		daemon = put_daemon(o, &pump, e);
	exits_gather(o->events, now.real_ns - FACTS_RECENT_NS, &exits);
	while (pleg_next_pod(o->pleg, &cursor, &pod)) {
		uint32_t first = e->container_count;

		for (size_t i = 0; i < pod.container_count; i++)
			put_container(e, &pod, &pod.containers[i], hints_ledger(pump.hints), &exits,
				daemon, now);
		if (api)
			put_api(e, first, &pod, api, now);
	}
	for (uint32_t i = 0; i < e->container_count; i++)
		(void)table_put_string(
			&containers, e->containers[i].id, (void *)(uintptr_t)(i + 1));
	if (daemon != EVIDENCE_NONE)
		put_calls(pump.runtime, now, e, &e->daemons[daemon], &containers);
	put_node(o, e, now);
	put_api_server(e, o, now);
	put_kubelet(e, o->kubelet);
	table_done(&containers);
	exits_free(&exits);
}

/* ---- the glance ------------------------------------------------------------------------------- */

static bool has_slow_call(const struct runtime *runtime, struct now now)
{
	struct runtime_call_info info;
	size_t cursor = 0;

	while (runtime_next_call(runtime, &cursor, now.mono_ns, &info))
		if (info.age_ns >= FACTS_LATE_NS)
			return true;
	return false;
}

/* An earlier incarnation of a name lives beside a later one. */
static bool is_outlived(const struct pleg_pod *pod, const struct pleg_container *c,
	const struct ledger *ledger, struct now now)
{
	struct ledger_view view;

	if (c->kind != CONTAINER_KIND_CONTAINER)
		return false;
	for (size_t i = 0; i < pod->container_count; i++)
		if (pod->containers[i].attempt > c->attempt &&
			pod->containers[i].kind == CONTAINER_KIND_CONTAINER &&
			str_eq(pod->containers[i].name, c->name))
			return ledger_find(ledger, c->id, now, &view) &&
				(view.state == LEDGER_ALIVE || view.state == LEDGER_ZOMBIE_THREADS);
	return false;
}

static bool has_overlap(const struct pleg *pleg, const struct ledger *ledger, struct now now)
{
	struct pleg_pod pod;
	size_t cursor = 0;

	while (pleg_next_pod(pleg, &cursor, &pod))
		for (size_t i = 0; pod.container_count > 2 && i < pod.container_count; i++)
			if (is_outlived(&pod, &pod.containers[i], ledger, now))
				return true;
	return false;
}

/* Of a stopped shim, or frozen (on v2, which tells) and not because somebody paused it. */
static bool is_stopped(const struct ledger_view *view)
{
	return view->state == LEDGER_ALIVE &&
		(view->shim.state > LEDGER_SHIM_ALIVE ||
			(view->group.has_frozen && view->group.frozen && !view->paused));
}

bool diagnosis_glance(const struct diagnosis_options *o)
{
	struct now now = clock_now();
	struct hints_state hints;
	struct api_server api;
	struct pump_state pump;
	struct runtime_link link;
	struct ledger_view view;
	size_t cursor = 0;

	pump_state(o->pump, &pump);
	hints_state(pump.hints, now, &hints);
	if (o->api && *o->api && pods_judge_count(api_pods_judge(*o->api)) > 0)
		return true;
	if (view_api_server(o, now, &api) && api.away_ns > 0)
		return true;
	if (hints.differences > 0 || hints.leftovers > 0 || hints.pidfds.zombie_threads > 0 ||
		hints.pidfds.stuck > 0)
		return true;
	if (pump.runtime) {
		runtime_link(pump.runtime, &link);
		if (!link.up || has_slow_call(pump.runtime, now))
			return true;
	}
	while (ledger_next(hints_ledger(pump.hints), &cursor, now, &view))
		if (is_stopped(&view))
			return true;
	return has_overlap(o->pleg, hints_ledger(pump.hints), now);
}
