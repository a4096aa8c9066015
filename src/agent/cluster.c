#include "agent/cluster.h"

#include <errno.h>
#include <string.h>

#include <systemd/sd-id128.h>

#include "agent/diagnosis.h"
#include "agent/timer.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "kube/seen.h"
#include "node/node.h"
#include "pleg/pleg.h"

#define RESOLVED "Resolved" /* behind the cause: the reason of an Event of an end */

#define UID_MAX 64u

/* An incident whose beginning was told. */
struct told {
	char id[INCIDENT_ID_MAX];
	char pod_uid[UID_MAX]; /* "": of no pod; the runtime may have let go of it when it ends */
};

struct cluster {
	struct cluster_options options;
	struct reporter *reporter;
	struct timer *timer;
	uint64_t started_ns, silent_since_ns;     /* monotonic; 0: the runtime answers */
	enum reporter_want wants[REPORTER_SLOTS]; /* of the requests under way */
	struct told told[INCIDENTS_MAX];
	uint32_t told_count;
	bool is_away, is_adopted, is_overwritten; /* as it was logged last */
};

/* ---- Events of incidents ---------------------------------------------------------------------- */

static struct told *find_told(struct cluster *cluster, const char *id)
{
	for (uint32_t i = 0; i < cluster->told_count; i++)
		if (str_eq(cluster->told[i].id, id))
			return &cluster->told[i];
	return NULL;
}

/* What the runtime has as the pod's uid, or "": a pod that it does not know needs no Event. */
static const char *uid_of(const struct cluster *cluster, const struct incident *incident)
{
	struct pleg_pod pod;
	size_t cursor = 0;

	if (!incident->pod[0] || !incident->namespace[0])
		return "";
	while (pleg_next_pod(cluster->options.pleg, &cursor, &pod))
		if (str_eq(pod.name, incident->pod) && str_eq(pod.namespace, incident->namespace))
			return str_or_empty(pod.uid);
	return "";
}

static void tell(
	struct cluster *cluster, const struct incident *incident, bool is_over, const char *pod_uid)
{
	char reason[96], message[2 * FINDING_TEXT_MAX], age[TIME_TEXT_MAX];
	int64_t at_ns = is_over ? incident->closed_ns : incident->opened_ns;
	struct kube_event event = { .is_warning = !is_over,
		.is_critical = !is_over && incident->severity == SEVERITY_CRITICAL,
		.reason = reason,
		.message = message,
		.key = incident->subject,
		.at_ns = at_ns,
		.is_of_before = incident->is_of_before && !is_over };

	(void)str_format(reason, sizeof(reason), "%s%s", cause_text(incident->cause),
		is_over ? RESOLVED : "");
	if (is_over)
		(void)str_format(message, sizeof(message), "Over after %s: %s",
			time_format_short(age,
				at_ns > incident->opened_ns
					? (uint64_t)(at_ns - incident->opened_ns)
					: 0),
			incident->summary);
	else
		(void)str_format(message, sizeof(message), "%s", incident->summary);
	(void)reporter_event(cluster->reporter, &event); /* A loss is counted there. */
	if (!*pod_uid)
		return;
	event.is_of_pod = true;
	event.namespace = incident->namespace;
	event.pod = incident->pod;
	event.pod_uid = pod_uid;
	(void)reporter_event(cluster->reporter, &event);
}

static bool counts(const struct incident *incident, struct now now)
{
	return incident->severity != SEVERITY_INFO &&
		(incident->state == INCIDENT_PROVEN ||
			now.real_ns - incident->opened_ns >= (int64_t)CONDITION_SUSPECTED_NS);
}

static void tell_once(struct cluster *cluster, const struct incident *incident, struct now now)
{
	struct told *told;

	if (!counts(incident, now) || find_told(cluster, incident->id) ||
		cluster->told_count == INCIDENTS_MAX)
		return;
	told = &cluster->told[cluster->told_count++];
	(void)str_format(told->id, sizeof(told->id), "%s", incident->id);
	(void)str_format(told->pod_uid, sizeof(told->pod_uid), "%s", uid_of(cluster, incident));
	tell(cluster, incident, false, told->pod_uid);
}

void cluster_incident(struct cluster *cluster, const struct incident *incident)
{
	struct told *told = find_told(cluster, incident->id);

	if (incident->state == INCIDENT_CLOSED && told) {
		tell(cluster, incident, true, told->pod_uid);
		*told = cluster->told[--cluster->told_count];
	} else if (incident->state == INCIDENT_CLOSED && incident->is_of_before) {
		tell(cluster, incident, true, ""); /* It has ended while pleg was away. */
	}
	cluster_wake(cluster);
}

/* ---- facts ------------------------------------------------------------------------------------ */

static size_t take_problems(struct cluster *cluster, const struct diagnosis *diagnosis,
	struct condition_problem problems[INCIDENTS_MAX], struct now now)
{
	const struct incident *incident;
	size_t cursor = 0, count = 0;

	while (count < INCIDENTS_MAX &&
		(incident = incidents_next_open(diagnosis_incidents(diagnosis), &cursor))) {
		tell_once(cluster, incident, now);
		problems[count++] = (struct condition_problem){
			.cause = incident->cause,
			.severity = incident->severity,
			.is_proven = incident->state == INCIDENT_PROVEN,
			.is_of_container = incident->is_of_container,
			.since_ns = incident->opened_ns,
			.subject = incident->subject,
			.summary = incident->summary,
		};
	}
	return count;
}

static void update(struct cluster *cluster, struct now now)
{
	struct condition_problem problems[INCIDENTS_MAX];
	struct condition_facts facts = { .problems = problems,
		.age_ns = time_since(now.mono_ns, cluster->started_ns) };
	const struct diagnosis *diagnosis = *cluster->options.diagnosis;
	struct diagnosis_stats stats = { 0 };
	struct pleg_health health;
	struct node_status node;

	if (diagnosis) {
		facts.problem_count = take_problems(cluster, diagnosis, problems, now);
		diagnosis_stats(diagnosis, &stats);
	}
	facts.is_sampled = stats.samples > stats.failed;
	pleg_health(cluster->options.pleg, now, &health);
	facts.pleg_healthy = health.healthy;
	facts.pleg_message = health.message;
	node_status(cluster->options.node, &node);
	if (node.responsive)
		cluster->silent_since_ns = 0;
	else if (cluster->silent_since_ns == 0)
		cluster->silent_since_ns = now.mono_ns;
	if (cluster->silent_since_ns > 0)
		facts.runtime_silent_ns = time_since(now.mono_ns, cluster->silent_since_ns) + 1;
	facts.runtime_message = node.detail[0] ? node.detail : node.message;
	reporter_update(cluster->reporter, &facts, now);
}

/* ---- requests and answers --------------------------------------------------------------------- */

/* The beginning and the end of what keeps the cluster from hearing of this node. */
static void log_changes(struct cluster *cluster, const char *why)
{
	struct reporter_status status;

	reporter_status(cluster->reporter, &status);
	if (status.is_adopted && !cluster->is_adopted)
		log_info("The node's object was read", "node", cluster->options.node_name, NULL);
	if (status.is_away && !cluster->is_away)
		log_warning("The API server does not take what this node has to say", "error",
			str_or_empty(why), NULL);
	if (!status.is_away && cluster->is_away)
		log_info("The API server takes it again", NULL);
	cluster->is_adopted = status.is_adopted;
	if (status.is_overwritten && !cluster->is_overwritten)
		log_warning(CLUSTER_OVERWRITTEN, "node", cluster->options.node_name, NULL);
	if (!status.is_overwritten && cluster->is_overwritten)
		log_info("Nobody else writes this node's conditions any more", NULL);
	cluster->is_overwritten = status.is_overwritten;
	cluster->is_away = status.is_away;
}

static void answer(struct cluster *cluster, const struct reporter_answer *answer, const char *why)
{
	reporter_answer(cluster->reporter, answer, clock_now());
	log_changes(cluster, why);
}

/* What is not sent fails as if nobody had answered: the reporter waits before it tries again. */
static void send_all(struct cluster *cluster, struct now now)
{
	struct reporter_request request;
	uint64_t due_ns;

	while (reporter_next(cluster->reporter, now, &request)) {
		int r = cluster->options.ops->send(cluster->options.userdata, &request);

		cluster->wants[request.slot] = request.want;
		if (r < 0)
			answer(cluster, &(struct reporter_answer){ .slot = request.slot },
				err_text(NULL, r));
	}
	due_ns = reporter_due(cluster->reporter, now);
	/* One that is due and did not come has met a lack of memory: not again at once. */
	if (due_ns <= now.mono_ns)
		due_ns = NSEC_NEVER;
	(void)timer_set(cluster->timer, time_min(due_ns, time_add(now.mono_ns, CLUSTER_LOOK_NS)));
}

static void on_due(void *userdata)
{
	struct cluster *cluster = userdata;
	struct now now = clock_now();

	update(cluster, now);
	send_all(cluster, now);
}

void cluster_wake(struct cluster *cluster)
{
	(void)timer_set_in(cluster->timer, 0);
}

/* An answer that cannot be understood is none. */
void cluster_answer(struct cluster *cluster, enum reporter_slot slot, unsigned http,
	uint64_t retry_after_ns, const void *body, size_t len, const char *why)
{
	struct reporter_answer a = { .slot = slot, .http = http, .retry_after_ns = retry_after_ns };
	CLEAN(seen_node_freep) struct seen_node *node = NULL;
	char message[256];
	struct err e = { 0 };
	int r = 0;

	if (http == 200 && cluster->wants[slot] == REPORTER_READ_NODE)
		r = seen_node_parse(body, len, &node, &e);
	else if (http == 200 && cluster->wants[slot] == REPORTER_READ_EVENT)
		r = seen_event_parse(body, len, &a.event_count, &a.event_first_ns, &e);
	else if (http >= 300 && (!why || !*why))
		why = seen_status_message(body, len, message, sizeof(message));
	if (r < 0) {
		a.http = 0;
		why = err_text(&e, r);
	}
	if (node)
		a.node = seen_node_view(node);
	if (a.http == 0 || a.http >= 300)
		log_debug("Answer of the API server", "status", FMT("%u", a.http), "error",
			str_or_empty(why), NULL);
	answer(cluster, &a, why);
	cluster_wake(cluster);
}

void cluster_status(const struct cluster *cluster, struct reporter_status *ret)
{
	reporter_status(cluster->reporter, ret);
}

/* ---- life ------------------------------------------------------------------------------------- */

int cluster_new(const struct cluster_options *options, struct cluster **ret, struct err *reterr)
{
	CLEAN(cluster_freep) struct cluster *cluster = mem_zalloc(sizeof(*cluster));
	struct reporter_options how = { .node_name = options->node_name, .taint = options->taint };
	sd_id128_t id;
	int r;

	if (!cluster)
		return -ENOMEM;
	r = sd_id128_randomize(&id);
	if (r < 0)
		return err_wrap(reterr, r, "Make a random number");
	how.seed = id.qwords[0];
	cluster->options = *options;
	cluster->started_ns = clock_now().mono_ns;
	cluster->reporter = reporter_new(&how);
	if (!cluster->reporter)
		return -ENOMEM;
	r = timer_new(options->loop, 0, on_due, cluster, &cluster->timer);
	if (r < 0)
		return err_wrap(reterr, r, "Make a timer");
	*ret = TAKE_PTR(cluster);
	return 0;
}

struct cluster *cluster_free(struct cluster *cluster)
{
	if (!cluster)
		return NULL;
	cluster->timer = timer_free(cluster->timer);
	cluster->reporter = reporter_free(cluster->reporter);
	return mem_free(cluster);
}
