/* The layer of containers as the runtime tells of them: exits that got lost, loops of crashes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "doctor/rules/judge.h"
#include "doctor/rules/thresholds.h"

/* ---- LostExitEvent ----------------------------------------------------------------------- */

struct finding *behind_container(const struct judge *j, uint32_t container)
{
	const struct evidence_container *c = &j->e->containers[container];
	struct finding *cause = c->shim < j->e->shim_count ? j->shim_cause[c->shim] : NULL;

	cause = first_cause(cause, j->container_cause[container]);
	if (c->init < j->e->process_count)
		cause = first_cause(cause, j->process_cause[c->init]);
	if (c->daemon < j->e->daemon_count)
		cause = first_cause(cause, j->daemon_cause[c->daemon]);
	return cause;
}

static void tell_lost_exit(struct judge *j, uint32_t container, enum finding_confidence confidence,
	uint64_t differs_ns)
{
	const struct evidence_container *c = &j->e->containers[container];
	const struct evidence_daemon *d = daemon_at(j, c->daemon);
	const char *unit = d ? UNIT_OF(j, d) : "";
	struct about about = ABOUT_NOTHING;
	struct finding *f = judge_begin(j, SEVERITY_CRITICAL, confidence,
		j->e->at_ns - (int64_t)differs_ns, behind_container(j, container));

	about.container = container;
	about.process = c->init;
	tell_summary(j, f,
		"%s is dead, and the runtime has gone on to say that it runs for %s: its exit got "
		"lost on the way",
		CONTAINER_NAME(j, container), SECONDS(differs_ns));
	tell_subject(j, f, &about);
	tell(j, f, "the kernel's word", "pidfd and /proc of the init", "%s",
		ledger_state_text(c->kernel_state));
	tell(j, f, "the runtime's word", d && *d->endpoint ? d->endpoint : "list", "%s%s%s",
		container_state_text(c->runtime_state), *c->runtime_detail ? ", " : "",
		c->runtime_detail);
	tell_process(j, f, c->init);
	if (c->inspect.answer != ANSWER_NOT_ASKED)
		tell_call(j, f, d ? evidence_daemon_text(d->kind) : "the runtime", &c->inspect);
	advise(j, f, RISK_NONE, "Wait for two minutes",
		"containerd repeats the handling of an exit with growing pauses", "nothing", "%s",
		"");
	if (d && d->kind == DAEMON_DOCKERD)
		advise(j, f, RISK_OBJECT, "Remove the container by force", "it is dead already",
			"its record", "%s rm -f %s", DOCKER(d), QUOTED(c->id));
	else
		advise(j, f, RISK_OBJECT, "Stop and remove the container", "it is dead already",
			"its record", "%s stop %s; %s rm -f %s", CRICTL(d), QUOTED(c->id),
			CRICTL(d), QUOTED(c->id));
	advise(j, f, RISK_RUNTIME, "Restart the runtime's daemon",
		"it asks its shims anew when it starts",
		d && d->kind == DAEMON_DOCKERD ? "every container, unless live-restore is on"
					       : "nothing that runs",
		*unit ? "systemctl restart %s" : "%s", unit);
	explain_container(j, container, f);
}

void judge_lost_exit(struct judge *j)
{
	for (uint32_t i = 0; i < j->e->container_count; i++) {
		const struct evidence_container *c = &j->e->containers[i];
		const struct evidence_process *init = process_at(j, c->init);
		const struct mark *m;
		enum finding_confidence confidence;
		uint64_t held_ns, differs_ns;
		bool doubt; /* it may only be busy */

		if (c->runtime_state != CONTAINER_RUNNING || !ledger_state_is_dead(c->kernel_state))
			continue;
		m = memory_mark(j->memory, MARK_LEDGER, mark_hash(c->id),
			init ? (uint32_t)init->pid : 0, c->kernel_state, 0, 0);
		held_ns = memory_held_ns(j->memory, m);
		differs_ns = c->differs_ns > held_ns ? c->differs_ns : held_ns;
		/* An exit takes its way through shim and daemon; a busy daemon takes seconds for it. */
		if (confidence_after(j, differs_ns, j->rule->held_ns) != CONFIDENCE_PROVEN)
			continue;
		doubt = behind_container(j, i) == NULL && j->starved &&
			differs_ns < 2 * j->rule->weak_ns;
		if (doubt && !is_last_word(j, held_ns)) {
			memory_want(j->memory, j->rule->interval_ns);
			continue;
		}
		confidence = confidence_after(j, differs_ns, j->rule->weak_ns);
		tell_lost_exit(j, i, held_ns == 0 || doubt ? CONFIDENCE_SUSPECTED : confidence,
			differs_ns);
	}
}

/* ---- ContainerCrashLoop ------------------------------------------------------------------ */

/* Attempts of one container of one pod stand together, the earliest first. */
static int compare_attempts(const void *a, const void *b, const struct evidence *e)
{
	const struct evidence_container *x = &e->containers[*(const uint32_t *)a],
					*y = &e->containers[*(const uint32_t *)b];
	int order = strcmp(x->pod_uid, y->pod_uid);

	order = order ? order : strcmp(x->namespace, y->namespace);
	order = order ? order : strcmp(x->pod, y->pod);
	order = order ? order : strcmp(x->container, y->container);
	if (order)
		return order;
	return x->attempt < y->attempt ? -1 : x->attempt > y->attempt;
}

static bool is_same_name(const struct evidence_container *x, const struct evidence_container *y)
{
	return str_eq(x->pod_uid, y->pod_uid) && str_eq(x->namespace, y->namespace) &&
		str_eq(x->pod, y->pod) && str_eq(x->container, y->container);
}

/* A heap sort: qsort() hands no context, and there is no mutable global here. */
static void sort_attempts(uint32_t *order, uint32_t count, const struct evidence *e)
{
	for (uint32_t end = count, start = count / 2; end > 1;) {
		uint32_t root, value;

		if (start > 0) {
			start--;
		} else {
			end--;
			value = order[0];
			order[0] = order[end];
			order[end] = value;
		}
		value = order[start];
		for (root = start; 2 * root + 1 < end;) {
			uint32_t child = 2 * root + 1;

			if (child + 1 < end &&
				compare_attempts(&order[child], &order[child + 1], e) < 0)
				child++;
			if (compare_attempts(&value, &order[child], e) >= 0)
				break;
			order[root] = order[child];
			root = child;
		}
		order[root] = value;
	}
}

struct attempts {
	uint32_t last;  /* the latest one */
	uint32_t stuck; /* an earlier one whose init is still there; NONE */
	uint32_t exits;
	bool same_code;
};

static struct attempts look_at_attempts(
	const struct judge *j, const uint32_t *order, uint32_t count)
{
	struct attempts a = { .last = order[count - 1], .stuck = EVIDENCE_NONE };

	for (uint32_t i = 0; i < count; i++) {
		const struct evidence_container *c = &j->e->containers[order[i]];

		if (c->recent_exits > a.exits) {
			a.exits = c->recent_exits;
			a.same_code = c->same_exit_code;
		}
		if (order[i] != a.last && c->attempt < j->e->containers[a.last].attempt &&
			(c->kernel_state == LEDGER_ALIVE ||
				c->kernel_state == LEDGER_ZOMBIE_THREADS))
			a.stuck = order[i];
	}
	return a;
}

static void tell_overlap(struct judge *j, struct finding *f, const struct attempts *a)
{
	const struct evidence_container *old = &j->e->containers[a->stuck];

	tell(j, f, "earlier incarnation", "the kernel's word of its init",
		"attempt %u (%.12s) is still there: %s", old->attempt, old->id,
		ledger_state_text(old->kernel_state));
	tell_process(j, f, old->init);
}

/* What hangs in it is why it crashes, if anything is; that its daemon hangs now is not. */
static struct finding *behind_latest(const struct judge *j, uint32_t container)
{
	const struct evidence_container *c = &j->e->containers[container];
	struct finding *cause = j->container_cause[container];

	if (c->init < j->e->process_count)
		cause = first_cause(cause, j->process_cause[c->init]);
	return cause;
}

static void advise_log(struct judge *j, struct finding *f, const struct evidence_container *c)
{
	const struct evidence_daemon *d = daemon_at(j, c->daemon);

	advise(j, f, RISK_NONE, "Read the log of its last run",
		"why it ends is said there, not by the node", "nothing",
		d && d->kind == DAEMON_DOCKERD                  ? "%s logs --tail 100 %s"
			: c->runtime_state == CONTAINER_RUNNING ? "%s logs --previous %s"
								: "%s logs --tail 100 %s",
		d && d->kind == DAEMON_DOCKERD ? DOCKER(d) : CRICTL(d), QUOTED(c->id));
}

static void tell_crash_loop(
	struct judge *j, const struct attempts *a, enum finding_confidence confidence)
{
	const struct evidence_container *c = &j->e->containers[a->last];
	bool overlap = a->stuck != EVIDENCE_NONE;
	struct finding *parent =
		overlap ? behind_container(j, a->stuck) : behind_latest(j, a->last);
	struct finding *f = judge_begin(
		j, overlap ? SEVERITY_WARNING : SEVERITY_INFO, confidence, j->e->at_ns, parent);
	struct about about = ABOUT_NOTHING;

	about.container = a->last;
	about.process = overlap ? j->e->containers[a->stuck].init : c->init;
	tell_summary(j, f, "%s crashes again and again (%u exits in 10 minutes)%s",
		CONTAINER_NAME(j, a->last), a->exits,
		overlap ? FMT(", and attempt %u is still there beside attempt %u",
				  j->e->containers[a->stuck].attempt, c->attempt)
			: "");
	tell_subject(j, f, &about);
	tell(j, f, "exits within 10 minutes", "the runtime's list and events", "%u%s", a->exits,
		a->same_code ? FMT(", each with code %d", c->last_exit_code)
			     : ", with different codes");
	tell(j, f, "latest incarnation", "the runtime's list", "attempt %u (%.12s), %s", c->attempt,
		c->id, container_state_text(c->runtime_state));
	if (overlap)
		tell_overlap(j, f, a);
	if (overlap)
		advise(j, f, RISK_NONE, "First free the earlier incarnation",
			parent ? "see the cause above: what it holds may be what the new one lacks"
			       : "what it holds (a lock, a port, a volume) may be what the new one "
				 "lacks",
			"nothing", "%s", "");
	advise_log(j, f, c);
	explain_container(j, a->last, f);
}

/* ---- ... by the runtime's count ---------------------------------------------------------- */

/* Without an agent the ends themselves are not known, since a runtime keeps few of the dead: only how
 * often it was started again, and in what time. `*ret_seen`: once more since the first look. */
static bool restarts_often(struct judge *j, const struct evidence_container *c, bool *ret_seen)
{
	const struct mark *m;

	if (c->restarts < CRASHES_FROM || c->last_exit_ns == 0 || c->last_exit_ns > CRASHES_IN_NS)
		return false;
	m = memory_mark(j->memory, MARK_RESTARTS, mark_hash(*c->pod_uid ? c->pod_uid : c->id),
		mark_hash(c->container), 0, 0, c->restarts);
	*ret_seen = c->restarts > m->value;
	return *ret_seen ||
		(c->restarts_in_ns > 0 && c->restarts_in_ns / c->restarts <= CRASHES_IN_NS);
}

static void tell_restarts(struct judge *j, uint32_t container, bool seen)
{
	const struct evidence_container *c = &j->e->containers[container];
	bool known = c->restarts_in_ns > 0 && c->restarts_in_ns <= CRASHES_IN_NS;
	/* How many of a longer time were of late cannot be told from the count. */
	enum finding_confidence confidence =
		known && seen ? CONFIDENCE_PROVEN : CONFIDENCE_SUSPECTED;
	struct finding *f = judge_begin(j, SEVERITY_INFO, confidence,
		j->e->at_ns - (int64_t)c->last_exit_ns, behind_latest(j, container));
	struct about about = ABOUT_NOTHING;

	about.container = container;
	about.process = c->init;
	if (confidence != CONFIDENCE_PROVEN)
		memory_want(j->memory, j->rule->interval_ns);
	tell_summary(j, f, "%s was started again %u times%s, and ended last %s ago",
		CONTAINER_NAME(j, container), c->restarts,
		c->restarts_in_ns > 0 ? FMT(" in %s", SECONDS(c->restarts_in_ns)) : "",
		SECONDS(c->last_exit_ns));
	tell_subject(j, f, &about);
	tell(j, f, "restarts so far", "the runtime's inspection", "%u%s", c->restarts,
		seen ? ", one of them while it was looked at" : "");
	if (!known)
		tell(j, f, "exits within 10 minutes", "not looked at",
			"a runtime keeps few of the dead; an agent counts them");
	tell(j, f, "latest incarnation", "the runtime's list", "attempt %u (%.12s), %s", c->attempt,
		c->id, container_state_text(c->runtime_state));
	advise_log(j, f, c);
	explain_container(j, container, f);
}

/* ------------------------------------------------------------------------------------------ */

/* Once it is one it lasts until ten minutes pass without an end: the kubelet's back-off goes up to five
 * minutes, and leaves fewer ends in ten than make a loop. */
static bool is_loop(struct judge *j, const struct attempts *a)
{
	const struct evidence_container *c = &j->e->containers[a->last];
	struct mark *m;

	if (a->exits == 0 || !a->same_code)
		return false;
	m = memory_mark(j->memory, MARK_LOOP, mark_hash(*c->pod_uid ? c->pod_uid : c->id),
		mark_hash(c->container), 0, 0, 0);
	if (a->exits >= CRASHES_FROM)
		m->value = 1;
	return m->value != 0;
}

static void judge_attempts(struct judge *j, const uint32_t *order, uint32_t count)
{
	struct attempts a = look_at_attempts(j, order, count);
	bool loop = is_loop(j, &a);
	enum finding_confidence confidence = CONFIDENCE_PROVEN;
	bool seen = false;

	if (a.stuck != EVIDENCE_NONE && a.exits > 0) {
		const struct mark *m = memory_mark(j->memory, MARK_OVERLAP,
			mark_hash(j->e->containers[a.stuck].id),
			mark_hash(j->e->containers[a.last].id), 0, 0, 0);

		/* One that ends while the next begins overlaps for a moment. */
		confidence = confidence_after(j, memory_held_ns(j->memory, m), j->rule->held_ns);
		if (confidence != CONFIDENCE_PROVEN && !behind_container(j, a.stuck))
			a.stuck = EVIDENCE_NONE;
	} else {
		a.stuck = EVIDENCE_NONE;
	}
	if (loop || a.stuck != EVIDENCE_NONE)
		tell_crash_loop(j, &a, a.stuck == EVIDENCE_NONE ? CONFIDENCE_PROVEN : confidence);
	else if (restarts_often(j, &j->e->containers[a.last], &seen))
		tell_restarts(j, a.last, seen);
}

void judge_crash_loop(struct judge *j)
{
	CLEAN(mem_freep) uint32_t *order = mem_array(j->e->container_count, sizeof(*order));
	uint32_t count = 0;

	if (!order) {
		j->r = -ENOMEM;
		return;
	}
	for (uint32_t i = 0; i < j->e->container_count; i++)
		if (j->e->containers[i].kind == CONTAINER_KIND_CONTAINER &&
			*j->e->containers[i].container && !j->e->containers[i].by_kernel_only)
			order[count++] = i;
	sort_attempts(order, count, j->e);
	for (uint32_t from = 0, to; from < count; from = to) {
		for (to = from + 1; to < count &&
			is_same_name(&j->e->containers[order[from]], &j->e->containers[order[to]]);)
			to++;
		judge_attempts(j, order + from, to - from);
	}
}
