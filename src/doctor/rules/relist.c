/*
 * Too much to look at: a relist in which every pod has changed would take long, measured against the
 * threshold beyond which a PLEG is not healthy. Nothing hangs and nothing is late yet; this is told
 * long before, while there is time.
 */
#include "doctor/rules/judge.h"
#include "doctor/rules/thresholds.h"

enum level {
	LEVEL_NONE,
	LEVEL_NOTABLE,
	LEVEL_NEAR,
};

static bool has_kubelet(const struct judge *j)
{
	for (uint32_t i = 0; i < j->e->daemon_count; i++)
		if (j->e->daemons[i].kind == DAEMON_KUBELET)
			return true;
	return false;
}

/* While the daemon hangs, its list takes as long as that. */
static bool is_runtime_hung(const struct judge *j)
{
	for (uint32_t i = 0; i < j->e->daemon_count; i++)
		if (j->e->daemons[i].is_runtime && j->daemon_cause[i])
			return true;
	return false;
}

static void advise_fewer(struct judge *j, struct finding *f)
{
	const struct evidence_node *n = &j->e->node;
	const struct evidence_container *c = container_at(j, 0);
	const struct evidence_daemon *d = daemon_at(j, c ? c->daemon : EVIDENCE_NONE);
	bool is_docker = d && d->kind == DAEMON_DOCKERD;
	const char *tool = is_docker ? DOCKER(d) : CRICTL(d);

	if (c)
		advise(j, f, RISK_NONE, "See how long one inspection takes by itself",
			"if that is long on an idle node, the runtime or its disk is slow, and not "
			"the containers too many",
			"nothing",
			!is_docker && c->kind == CONTAINER_KIND_SANDBOX
				? "time %s inspectp %s >/dev/null"
				: "time %s inspect %s >/dev/null",
			tool, QUOTED(c->id));
	if (n->containers_dead > (n->containers_live + n->containers_dead) / DEAD_SHARE)
		advise(j, f, RISK_OBJECT, "Remove exited containers",
			"they are inspected as the others are", "their logs",
			is_docker ? "%s container prune -f" : "%s rm $(%s ps -aq --state Exited)",
			tool, tool);
	advise(j, f, RISK_POD, "Run fewer pods here", "each costs its part of every relist",
		"the pods that move away", "%s", "");
	avoid(j, f,
		"Do not restart the runtime or the kubelet to speed it up: after a restart every "
		"pod "
		"has changed");
}

/* What is told stays until it is a fifth below where it began, so that it does not come and go. */
static bool is_over(uint64_t all_ns, uint64_t limit_ns, bool was_told)
{
	return all_ns > (was_told ? limit_ns / CALM_SHARE * (CALM_SHARE - 1) : limit_ns);
}

static enum level level_of(uint64_t all_ns, uint64_t threshold_ns, enum level told)
{
	if (is_over(all_ns, threshold_ns / 100 * NEAR_PERCENT, told == LEVEL_NEAR))
		return LEVEL_NEAR;
	if (is_over(all_ns, threshold_ns / 100 * NOTABLE_PERCENT, told >= LEVEL_NOTABLE))
		return LEVEL_NOTABLE;
	return LEVEL_NONE;
}

void judge_relist(struct judge *j)
{
	const struct evidence_node *n = &j->e->node;
	uint64_t all_ns = has_kubelet(j) ? n->predicted_serial_ns : n->predicted_list_ns;
	struct about about = ABOUT_NOTHING;
	struct finding *f;
	struct mark *mark;

	if (n->list_threshold_ns == 0 || is_runtime_hung(j) ||
		level_of(all_ns, n->list_threshold_ns, LEVEL_NEAR) == LEVEL_NONE)
		return;
	mark = memory_mark(j->memory, MARK_RELIST, 0, 0, 0, 0, LEVEL_NONE);
	mark->value = level_of(all_ns, n->list_threshold_ns, (enum level)mark->value);
	if (mark->value == LEVEL_NONE)
		return;
	f = judge_begin(j, mark->value == LEVEL_NEAR ? SEVERITY_WARNING : SEVERITY_INFO,
		mark->value == LEVEL_NEAR ? CONFIDENCE_PROVEN : CONFIDENCE_SUSPECTED,
		mark->since_ns, NULL);
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
