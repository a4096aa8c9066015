/*
 * The freezer of cgroups: a container that is frozen though nobody paused it.
 *
 * A frozen task on v1 is in D with the wait it was in before, so this layer looks at freezers, never
 * at waits. A level that cannot finish freezing has a task that cannot be frozen: whatever holds that
 * one is deeper, which is why those are judged after the filesystems.
 */
#include <errno.h>

#include "doctor/rules/judge.h"

static bool is_machinery(const struct evidence_process *p)
{
	return (p->roles & (EVIDENCE_SHIM | EVIDENCE_DAEMON)) != 0;
}

/* A level above containers that was frozen: one of those below it, which say that it was above. */
static uint32_t container_below(const struct judge *j, const struct evidence_freezer *z)
{
	size_t len = strlen(z->path);

	for (uint32_t i = 0; i < j->e->freezer_count; i++) {
		const struct evidence_freezer *below = &j->e->freezers[i];

		if (!below->self && container_at(j, below->container) &&
			strncmp(below->path, z->path, len) == 0 && below->path[len] == '/')
			return below->container;
	}
	return EVIDENCE_NONE;
}

/* Whose freezer it is; NONE: of nothing that is a container's. */
static uint32_t frozen_container(const struct judge *j, uint32_t freezer)
{
	const struct evidence_freezer *z = &j->e->freezers[freezer];

	if (container_at(j, z->container))
		return z->container;
	FOREACH_IN (p, &j->frozen, freezer)
		if (container_at(j, j->e->processes[p].container) &&
			!is_machinery(&j->e->processes[p]))
			return j->e->processes[p].container;
	return container_below(j, z);
}

/* Freezing shims and daemons stops them, which is told in their own layer. */
static bool holds_machinery(const struct judge *j, uint32_t freezer)
{
	FOREACH_IN (p, &j->frozen, freezer)
		if (is_machinery(&j->e->processes[p]))
			return true;
	return false;
}

struct frozen_facts {
	uint32_t thread; /* one with a kill pending, or any */
	uint32_t runc;   /* an OCI runtime among the frozen */
	uint32_t tasks;
	bool killed;
	struct finding *holds; /* what keeps a task from being frozen */
};

static void look_at_process(const struct judge *j, uint32_t process, struct frozen_facts *facts)
{
	const struct evidence_process *p = &j->e->processes[process];

	facts->tasks++;
	if (p->roles & EVIDENCE_OCI_RUNTIME)
		facts->runc = process;
	facts->killed |= (p->pending_shared & SIGNAL_KILL_BIT) != 0;
	if (!facts->holds)
		facts->holds = j->process_cause[process];
	FOREACH_IN (t, &j->threads, process) {
		bool killed = kill_is_pending(j, &j->e->threads[t]);

		if (facts->thread == EVIDENCE_NONE || (killed && !facts->killed))
			facts->thread = t;
		facts->killed |= killed;
	}
}

static struct frozen_facts look_at_frozen(
	const struct judge *j, uint32_t freezer, uint32_t container)
{
	struct frozen_facts facts = { .thread = EVIDENCE_NONE, .runc = EVIDENCE_NONE };

	FOREACH_IN (p, &j->frozen, freezer)
		look_at_process(j, p, &facts);
	if (facts.tasks == 0 && container_at(j, container))
		FOREACH_IN (p, &j->members, container)
			look_at_process(j, p, &facts);
	return facts;
}

/* What a word says of a frozen container stays said until another word comes or it is thawed: one that
 * was paused on purpose is no finding while its shim is silent. */
static enum evidence_pause pause_of(
	struct judge *j, const struct evidence_freezer *z, const struct evidence_container *c)
{
	struct mark *said =
		memory_mark(j->memory, MARK_PAUSED, mark_hash(z->path), 0, 0, 0, PAUSE_UNKNOWN);

	if (z->on_purpose)
		said->value = PAUSE_YES;
	else if (c && c->pause != PAUSE_UNKNOWN)
		said->value = c->pause;
	return (enum evidence_pause)said->value;
}

/* Who is frozen in the end of being paused is; who is not, since one task cannot be, is hung. */
static bool is_on_purpose(enum evidence_pause pause, const struct evidence_freezer *z)
{
	return pause == PAUSE_YES || (pause == PAUSE_UNDERWAY && !z->freezing);
}

static void tell_freezer(struct judge *j, struct finding *f, const struct evidence_freezer *z)
{
	char command[FINDING_COMMAND_MAX];

	tell(j, f, "freezer", *z->file ? z->file : z->path, "%s%s",
		z->v2                 ? z->freezing ? "freeze 1, not yet frozen" : "frozen"
			: z->freezing ? "FREEZING"
				      : "FROZEN",
		z->self ? ", told so at this level" : ", by a level above");
	advise(j, f, RISK_NONE, FMT("Thaw %.150s", z->path),
		"pending kills take effect at once; do it at every level that was frozen by "
		"itself, "
		"the innermost too",
		"nothing, unless somebody paused it on purpose", "%s", thaw_command(z, command));
}

static struct finding *tell_frozen_container(struct judge *j, uint32_t freezer, uint32_t container,
	const struct frozen_facts *facts, bool nobody_knows, enum finding_confidence confidence,
	int64_t since_ns)
{
	const struct evidence_freezer *z = &j->e->freezers[freezer];
	struct about about = ABOUT_NOTHING;
	struct finding *f = judge_begin(
		j, SEVERITY_CRITICAL, confidence, since_ns, z->freezing ? facts->holds : NULL);

	about.container = container;
	about.place = z->path;
	about.process = facts->runc;
	if (facts->runc == EVIDENCE_NONE)
		about.thread = facts->thread;
	if (z->freezing)
		tell_summary(j, f,
			"Container %s is being frozen for ever: one of its tasks cannot be "
			"frozen, so the freezer never gets to its end",
			CONTAINER_NAME(j, container));
	else
		tell_summary(j, f, "Container %s is frozen, and %s: nothing in it runs%s",
			CONTAINER_NAME(j, container),
			nobody_knows ? "nobody answers whether it was paused" : "nobody paused it",
			facts->killed ? ", and a kill waits until it is thawed" : "");
	tell_subject(j, f, &about);
	tell_freezer(j, f, z);
	tell_thread(j, f, facts->thread);
	if (facts->runc != EVIDENCE_NONE)
		tell_process(j, f, facts->runc);
	if (nobody_knows)
		tell_gap(j, f, "paused on purpose?", "pause",
			"its shim did not answer whether it was paused on purpose");
	advise(j, f, RISK_RUNTIME, "Upgrade runc if it comes again",
		"some versions freeze for an update or a kill and do not get to thaw",
		"nothing that runs", "%s", "");
	avoid(j, f,
		"Do not kill -9 it again: the signal is pending and takes effect with the thaw");
	avoid(j, f, "A reboot is not needed");
	return f;
}

/* A frozen container explains the threads that it holds, whatever they seem to wait for. */
static void explain_frozen(struct judge *j, uint32_t freezer, uint32_t container, struct finding *f)
{
	FOREACH_IN (p, &j->frozen, freezer) {
		FOREACH_IN (t, &j->threads, p)
			explain_thread(j, t, f);
		explain_process(j, p, f);
	}
	if (container_at(j, container)) {
		FOREACH_IN (p, &j->members, container)
			if (!is_machinery(&j->e->processes[p])) {
				FOREACH_IN (t, &j->threads, p)
					explain_thread(j, t, f);
				explain_process(j, p, f);
			}
		explain_container(j, container, f);
	}
}

static void judge_one_freezer(struct judge *j, uint32_t freezer, struct finding **by_container)
{
	const struct evidence_freezer *z = &j->e->freezers[freezer];
	uint32_t container = frozen_container(j, freezer);
	struct frozen_facts facts = look_at_frozen(j, freezer, container);
	const struct evidence_container *c = container_at(j, container);
	enum finding_confidence confidence;
	enum evidence_pause pause;
	uint64_t asked_ns, held_ns;
	const struct mark *mark;
	struct finding *f;
	int64_t since_ns;
	bool nobody_knows;

	if (!c && facts.runc == EVIDENCE_NONE)
		return;
	pause = pause_of(j, z, c);
	if (is_on_purpose(pause, z) || holds_machinery(j, freezer) ||
		(c && facts.tasks == 0 && ledger_state_is_dead(c->kernel_state)))
		return;
	if (c && by_container[container]) { /* another level of the same one */
		tell_freezer(j, by_container[container], z);
		return;
	}
	mark = memory_mark(j->memory, MARK_FREEZER, mark_hash(z->path), z->freezing, 0, 0, 0);
	held_ns = memory_held_ns(j->memory, mark);
	since_ns = mark->since_ns;
	/* A runtime's own helper that is frozen was frozen by nobody's wish. */
	nobody_knows = c && pause == PAUSE_UNKNOWN && facts.runc == EVIDENCE_NONE;
	asked_ns = z->freezing || nobody_knows ? j->rule->weak_ns : j->rule->held_ns;
	confidence =
		confidence_after(j, held_ns, nobody_knows && j->starved ? 2 * asked_ns : asked_ns);
	/* Whoever is silent for long is in trouble himself; till then a pause is the likelier. */
	if (nobody_knows && confidence != CONFIDENCE_PROVEN)
		return;
	if (nobody_knows && !facts.killed)
		confidence = CONFIDENCE_SUSPECTED;
	/* runc freezes for an instant whenever it updates or kills. */
	if (held_ns == 0 && !facts.killed)
		return;
	f = tell_frozen_container(
		j, freezer, container, &facts, nobody_knows, confidence, since_ns);
	if (c)
		by_container[container] = f;
	explain_frozen(j, freezer, container, f);
}

static void judge_freezers(struct judge *j, bool freezing)
{
	CLEAN(mem_freep) struct finding **by_container = NULL;

	if (j->e->freezer_count == 0)
		return;
	by_container = mem_array(j->e->container_count, sizeof(struct finding *));
	if (!by_container) {
		j->r = -ENOMEM;
		return;
	}
	for (uint32_t z = 0; z < j->e->freezer_count; z++)
		if (j->e->freezers[z].self && j->e->freezers[z].freezing == freezing)
			judge_one_freezer(j, z, by_container);
}

void judge_freezers_frozen(struct judge *j)
{
	judge_freezers(j, false);
}

void judge_freezers_freezing(struct judge *j)
{
	judge_freezers(j, true);
}
