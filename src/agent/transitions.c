#include "agent/transitions.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "base/table.h"

#define QUARANTINE_MAX      4096
#define FIRST_VERDICT_NS    (5 * NSEC_PER_SEC)
#define QUARANTINE_CHECK_NS NSEC_PER_SEC /* going through all pods costs */

struct quarantined {
	char *uid; /* owned, the key */
	char *name;
	uint64_t since_ns;
	bool is_seen;
};

struct transitions {
	bool has_status; /* there was a first verdict */
	uint64_t started_ns;
	bool ready, degraded, stalled;
	char stalled_in[160]; /* what hung, for the line that says it does no longer */
	char link[240];
	bool link_was_told;
	bool is_failing; /* answers that are of no use */
	enum node_kubelet kubelet;
	struct table quarantined; /* by UID */
	uint64_t checked_ns;
};

int transitions_new(struct transitions **ret)
{
	struct transitions *t = mem_zalloc(sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->quarantined = TABLE_INIT(QUARANTINE_MAX);
	*ret = t;
	return 0;
}

static void quarantined_free(struct quarantined *q)
{
	(void)mem_free(q->uid);
	(void)mem_free(q->name);
	(void)mem_free(q);
}

struct transitions *transitions_free(struct transitions *t)
{
	struct quarantined *q;

	if (!t)
		return NULL;
	TABLE_FOREACH (q, &t->quarantined)
		quarantined_free(q);
	table_done(&t->quarantined);
	return mem_free(t);
}

/* ---- quarantine ------------------------------------------------------------------------------ */

static void quarantine_begin(struct transitions *t, const struct pleg_pod *pod)
{
	struct quarantined *q = mem_zalloc(sizeof(*q));
	char name[520];

	(void)snprintf(name, sizeof(name), "%s/%s", pod->namespace, pod->name);
	if (q) {
		q->uid = mem_strdup(pod->uid);
		q->name = mem_strdup(name);
		q->since_ns = pod->quarantined_since_ns;
		q->is_seen = true;
	}
	/* Without room to remember it nothing is said: it would be said again and again. */
	if (!q || !q->uid || !q->name || table_put_string(&t->quarantined, q->uid, q) < 0) {
		if (q)
			quarantined_free(q);
		return;
	}
	log_warning("Pod is in quarantine", "pod", name, "podUID", pod->uid, "stuckID",
		pod->stuck_id, "error", pod->inspect_error, NULL);
}

static void transitions_quarantine(struct transitions *t, const struct pleg *pleg, struct now now)
{
	struct quarantined *q;
	struct pleg_pod pod;
	char text[TIME_TEXT_MAX];
	size_t cursor = 0;

	if (t->checked_ns && now.mono_ns < t->checked_ns + QUARANTINE_CHECK_NS)
		return;
	t->checked_ns = now.mono_ns;
	TABLE_FOREACH (q, &t->quarantined)
		q->is_seen = false;
	while (pleg_next_pod(pleg, &cursor, &pod)) {
		if (!pod.quarantined)
			continue;
		q = table_get_string(&t->quarantined, pod.uid);
		if (q)
			q->is_seen = true;
		else
			quarantine_begin(t, &pod);
	}
	TABLE_FOREACH (q, &t->quarantined) {
		if (q->is_seen)
			continue;
		(void)table_remove_string(&t->quarantined, q->uid);
		log_info("Pod is out of quarantine", "pod", q->name, "podUID", q->uid, "lasted",
			time_format_short(text, time_since(now.mono_ns, q->since_ns)), NULL);
		quarantined_free(q);
	}
}

/* ---- the verdict ------------------------------------------------------------------------------ */

static void transitions_verdict(struct transitions *t, const struct node_status *status)
{
	if (!t->has_status || t->ready != status->ready) {
		if (status->ready)
			log_info("Node is Ready", "message", status->message, "detail",
				status->detail, NULL);
		else
			log_warning("Node is not Ready", "message", status->message, "detail",
				status->detail, NULL);
	}
	if (t->degraded != status->degraded) {
		if (status->degraded)
			log_warning("Node is degraded", "detail", status->detail, NULL);
		else
			log_info("Node is no longer degraded", NULL);
	}
	t->has_status = true;
	t->ready = status->ready;
	t->degraded = status->degraded;
}

static void transitions_stall(
	struct transitions *t, const struct node_status *status, const struct node_facts *facts)
{
	char text[TIME_TEXT_MAX];

	if (t->stalled == status->stalled)
		return;
	t->stalled = status->stalled;
	if (status->stalled) {
		const struct node_call *call = facts->oldest_call;

		(void)snprintf(t->stalled_in, sizeof(t->stalled_in), "%s%s%s",
			call ? call->method : "", call && call->subject[0] ? " " : "",
			call ? call->subject : "");
		log_warning("Call to the runtime hangs", "call", t->stalled_in, "since",
			time_format_short(text, call ? call->age_ns : 0), NULL);
		return;
	}
	/* An inspection past its deadline puts its pod in quarantine, and is still open. */
	if (facts->quarantined > 0)
		log_info("Other calls to the runtime are answered", "call", t->stalled_in, NULL);
	else
		log_info("Calls to the runtime are answered again", "call", t->stalled_in, NULL);
}

static void transitions_link(struct transitions *t, const struct node_facts *facts)
{
	const char *failure = str_or_empty(facts->link_failure);

	if (str_eq(t->link, failure) && t->link_was_told)
		return;
	/* Before the first answer an empty text only means that nothing is known yet. */
	if (failure[0] == '\0' && !facts->status_seen)
		return;
	(void)snprintf(t->link, sizeof(t->link), "%s", failure);
	t->link_was_told = true;
	if (failure[0] == '\0')
		log_info("Connected to the runtime", NULL);
	else
		log_warning("No connection to the runtime", "reason", failure, NULL);
}

/* Begin and end only: the texts of a runtime in trouble may differ from call to call. */
static void transitions_answer(struct transitions *t, const struct node_facts *facts)
{
	const char *failure = str_or_empty(facts->answer_failure);

	if (t->is_failing == (failure[0] != '\0'))
		return;
	t->is_failing = failure[0] != '\0';
	if (t->is_failing)
		log_warning("The runtime fails", "reason", failure, NULL);
	else
		log_info("The runtime fails no longer", NULL);
}

static void transitions_kubelet(struct transitions *t, const struct node_facts *facts)
{
	if (t->kubelet == facts->kubelet)
		return;
	t->kubelet = facts->kubelet;
	if (facts->kubelet == NODE_KUBELET_OK || facts->kubelet == NODE_KUBELET_NONE)
		log_info("Kubelet beside us", "healthz", node_kubelet_text(facts->kubelet), NULL);
	else
		log_warning("Kubelet beside us", "healthz", node_kubelet_text(facts->kubelet),
			"message", facts->kubelet_message, NULL);
}

void transitions_log(struct transitions *t, const struct node *node, const struct node_facts *facts,
	const struct pleg *pleg, struct now now)
{
	struct node_status status;

	node_status(node, &status);
	transitions_link(t, facts);
	transitions_answer(t, facts);
	transitions_stall(t, &status, facts);
	/* In the first moments nothing is known yet: not ready then is no news. */
	if (t->started_ns == 0)
		t->started_ns = now.mono_ns;
	if (t->has_status || status.ready || t->link[0] != '\0' || t->stalled ||
		now.mono_ns >= t->started_ns + FIRST_VERDICT_NS)
		transitions_verdict(t, &status);
	transitions_kubelet(t, facts);
	if (facts->quarantined > 0 || t->quarantined.used > 0)
		transitions_quarantine(t, pleg, now);
}
