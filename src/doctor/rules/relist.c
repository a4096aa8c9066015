/*
 * Too much to look at: a relist in which every pod has changed would take long, measured against the
 * threshold beyond which a PLEG is not healthy. Nothing hangs and nothing is late yet; this is told
 * long before, while there is time.
 */
#include "doctor/rules/judge.h"

#define NOTABLE_SHARE 4u /* over a quarter of the threshold */
#define NEAR_PERCENT  75u

/* Exited containers are inspected as well, and can be taken away. */
#define DEAD_SHARE 4u

static bool has_kubelet(const struct judge *j)
{
	for (uint32_t i = 0; i < j->e->daemon_count; i++)
		if (j->e->daemons[i].kind == DAEMON_KUBELET)
			return true;
	return false;
}

static void advise_fewer(struct judge *j, struct finding *f)
{
	const struct evidence_node *n = &j->e->node;
	const struct evidence_container *c = container_at(j, 0);
	const struct evidence_daemon *d = daemon_at(j, c ? c->daemon : EVIDENCE_NONE);
	bool is_docker = d && d->kind == DAEMON_DOCKERD;

	if (c)
		advise(j, f, RISK_NONE, "See how long one inspection takes by itself",
			"if that is long on an idle node, the runtime or its disk is slow, and not "
			"the containers too many",
			"nothing",
			is_docker ? "time docker inspect %s >/dev/null"
				: c->kind == CONTAINER_KIND_SANDBOX
				? "time crictl inspectp %s >/dev/null"
				: "time crictl inspect %s >/dev/null",
			QUOTED(c->id));
	if (n->containers_dead > (n->containers_live + n->containers_dead) / DEAD_SHARE)
		advise(j, f, RISK_OBJECT, "Remove exited containers",
			"they are inspected as the others are", "their logs",
			is_docker ? "docker container prune -f"
				  : "crictl rm $(crictl ps -aq --state Exited)");
	advise(j, f, RISK_POD, "Run fewer pods here", "each costs its part of every relist",
		"the pods that move away", "");
	avoid(j, f,
		"Do not restart the runtime or the kubelet to speed it up: after a restart every "
		"pod "
		"has changed");
}

void judge_relist(struct judge *j)
{
	const struct evidence_node *n = &j->e->node;
	bool is_serial = has_kubelet(j), is_near;
	uint64_t all_ns = is_serial ? n->predicted_serial_ns : n->predicted_list_ns;
	struct about about = ABOUT_NOTHING;
	const struct mark *mark;
	struct finding *f;

	if (n->list_threshold_ns == 0 || all_ns <= n->list_threshold_ns / NOTABLE_SHARE)
		return;
	is_near = all_ns > n->list_threshold_ns / 100 * NEAR_PERCENT;
	mark = memory_mark(j->memory, MARK_RELIST, 0, 0, 0, 0, 0);
	f = judge_begin(j, is_near ? SEVERITY_WARNING : SEVERITY_INFO,
		is_near ? CONFIDENCE_PROVEN : CONFIDENCE_SUSPECTED, mark->since_ns, NULL);
	tell_summary(j, f,
		"If every pod changed at once, a relist would take %s; not healthy is what takes "
		"longer than %s",
		SECONDS(all_ns), SECONDS(n->list_threshold_ns));
	tell_subject(j, f, &about);
	tell(j, f, "the list", "the last one, or the one that is open", "%s", SECONDS(n->list_ns));
	tell(j, f, "inspections", "containers and sandboxes in the list", "%u, each %s",
		n->inspections, SECONDS(n->inspect_ns));
	tell(j, f, "predicted relist", "some inspections side by side, as pleg does", "%s",
		SECONDS(n->predicted_list_ns));
	tell(j, f, "predicted relist, in series", "one after another, as a kubelet does", "%s",
		SECONDS(n->predicted_serial_ns));
	tell(j, f, "containers", "list", "%u live, %u dead", n->containers_live,
		n->containers_dead);
	advise_fewer(j, f);
}
