#include "doctor/rules/goroutines.h"

#include "base/str.h"

#define DEPTH_MAX    8 /* of symptoms under symptoms */
#define LOCKS_TOLD   3u
#define OLDEST_TOLD  3u
#define LARGEST_TOLD 5u
#define FRAMES_TOLD  4u
#define TOLD_BYTES   ((GOROUTINE_GROUPS_MAX + 7) / 8)

/* ---- who is asked ------------------------------------------------------------------------ */

uint32_t goroutines_shim_of(const struct evidence *e, uint32_t process)
{
	for (uint32_t i = 0; i < e->shim_count; i++)
		if (e->shims[i].process == process)
			return i;
	return EVIDENCE_NONE;
}

static const struct evidence_daemon *daemon_of(const struct evidence *e, uint32_t process)
{
	for (uint32_t i = 0; i < e->daemon_count; i++)
		if (e->daemons[i].process == process)
			return &e->daemons[i];
	return NULL;
}

static bool is_go_daemon(const struct evidence_daemon *d)
{
	return d && (d->kind == DAEMON_CONTAINERD || d->kind == DAEMON_DOCKERD);
}

/* conmon is none, and what runc starts does not stay. */
static bool is_go_shim(const struct evidence *e, uint32_t process)
{
	return goroutines_shim_of(e, process) != EVIDENCE_NONE &&
		str_after(e->processes[process].comm, "containerd-shim");
}

static bool is_late(const struct evidence *e, uint32_t process)
{
	const struct evidence_daemon *d = daemon_of(e, process);
	uint32_t shim = goroutines_shim_of(e, process);

	if (d &&
		(d->version.answer == ANSWER_LATE || d->list.answer == ANSWER_LATE ||
			d->tasks.answer == ANSWER_LATE))
		return true;
	return shim != EVIDENCE_NONE && e->shims[shim].state.answer == ANSWER_LATE;
}

static const struct evidence_container *container_of(const struct evidence *e, const char *id)
{
	for (uint32_t i = 0; *id && i < e->container_count; i++)
		if (str_eq(e->containers[i].id, id))
			return &e->containers[i];
	return NULL;
}

/* What a dump of this process says something about: it is the process itself, or what hangs is one of its
 * containers and nobody knows why. */
static bool is_about(const struct evidence *e, const struct finding *f, uint32_t process)
{
	const struct evidence_process *p = &e->processes[process];
	const struct evidence_container *c;

	if (f->subject.pid == p->pid &&
		(f->subject.start_ticks == 0 || f->subject.start_ticks == p->start_ticks))
		return true;
	if (f->cause != CAUSE_UNKNOWN_BUT_HUNG)
		return false;
	c = container_of(e, f->subject.container_id);
	if (!c)
		return false;
	return (c->shim < e->shim_count && e->shims[c->shim].process == process) ||
		(c->daemon < e->daemon_count && e->daemons[c->daemon].process == process);
}

static bool any_is_about(
	const struct evidence *e, const struct finding *f, uint32_t process, unsigned depth)
{
	if (is_about(e, f, process))
		return true;
	for (uint32_t i = 0; depth < DEPTH_MAX && i < f->symptom_count; i++)
		if (any_is_about(e, f->symptoms[i], process, depth + 1))
			return true;
	return false;
}

static bool is_wanted(const struct evidence *e, const struct findings *findings, uint32_t process)
{
	if (is_late(e, process))
		return true;
	for (uint32_t i = 0; i < findings_count(findings); i++)
		if (any_is_about(e, findings_get(findings, i), process, 0))
			return true;
	return false;
}

uint32_t goroutines_choose(
	const struct evidence *e, const struct findings *findings, uint32_t *ret, uint32_t max)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < e->daemon_count && count < max; i++)
		if (is_go_daemon(&e->daemons[i]) && e->daemons[i].process < e->process_count &&
			is_wanted(e, findings, e->daemons[i].process))
			ret[count++] = e->daemons[i].process;
	for (uint32_t i = 0; i < e->shim_count && count < max; i++)
		if (e->shims[i].process < e->process_count && is_go_shim(e, e->shims[i].process) &&
			is_wanted(e, findings, e->shims[i].process))
			ret[count++] = e->shims[i].process;
	if (count > 0)
		return count;
	for (uint32_t i = 0; i < e->daemon_count && count < max; i++)
		if (is_go_daemon(&e->daemons[i]) && e->daemons[i].process < e->process_count &&
			(e->daemons[i].is_runtime ||
				e->daemons[i].tasks.answer != ANSWER_NOT_ASKED))
			ret[count++] = e->daemons[i].process;
	return count;
}

/* ---- what is told ------------------------------------------------------------------------ */

static bool is_told_of(enum cause cause)
{
	return cause == CAUSE_DOCKER_CONTAINER_LOCK_HELD || cause == CAUSE_CRI_DAEMON_DEADLOCK ||
		cause == CAUSE_SHIM_STOPPED || cause == CAUSE_UNKNOWN_BUT_HUNG;
}

static const char *minutes_text(char out[48], uint32_t minutes)
{
	return minutes == 0
		? "for less than a minute"
		: str_format(out, 48, "for up to %u minute%s", minutes, minutes == 1 ? "" : "s");
}
#define MINUTES(minutes) minutes_text((char[48]){ 0 }, minutes)

struct telling {
	struct findings *findings;
	struct finding *f;
	const struct goroutine_dump *dump;
	uint8_t told[TOLD_BYTES]; /* groups, by bit */
};

static void tell_group(struct telling *t, uint32_t index, const char *what)
{
	const struct goroutine_group *g = &t->dump->goroutines->groups[index];
	char where[FRAMES_TOLD * (GOROUTINE_NAME_MAX + 4)] = "";
	size_t at = 0;

	if (t->told[index / 8] & (1u << (index % 8)))
		return;
	t->told[index / 8] |= (uint8_t)(1u << (index % 8));
	for (uint32_t i = 0; i < g->frame_count && i < FRAMES_TOLD && at < sizeof(where) - 1; i++) {
		(void)str_format(
			where + at, sizeof(where) - at, "%s%s", i ? " < " : ": ", g->frames[i]);
		at = strlen(where);
	}
	finding_evidence_add(t->findings, t->f, t->dump->at_ns, what, t->dump->source,
		"%u in %s %s%s", g->count, g->reason, MINUTES(g->longest_minutes), where);
}

/* The group that has waited longest of those that were not told. */
static uint32_t oldest(const struct telling *t)
{
	const struct goroutines *g = t->dump->goroutines;
	uint32_t found = EVIDENCE_NONE;

	for (uint32_t i = 0; i < g->group_count; i++)
		if (g->groups[i].longest_minutes > 0 && !(t->told[i / 8] & (1u << (i % 8))) &&
			(found == EVIDENCE_NONE ||
				g->groups[i].longest_minutes > g->groups[found].longest_minutes))
			found = i;
	return found;
}

static void tell_groups(struct telling *t)
{
	const struct goroutines *g = t->dump->goroutines;
	uint32_t told = 0;

	for (uint32_t i = 0; i < g->group_count && told < LOCKS_TOLD; i++)
		if (g->groups[i].on_lock) {
			tell_group(t, i, "goroutines that wait for a lock");
			told++;
		}
	for (uint32_t i = 0; i < OLDEST_TOLD; i++) {
		uint32_t index = oldest(t);

		if (index != EVIDENCE_NONE)
			tell_group(t, index, "goroutines that have waited longest");
	}
	for (uint32_t i = 0; i < g->group_count && i < LARGEST_TOLD; i++)
		tell_group(t, i, "goroutines, the largest groups");
}

static void tell_dump(
	struct findings *findings, struct finding *f, const struct goroutine_dump *dump)
{
	struct telling t = { .findings = findings, .f = f, .dump = dump };
	const struct goroutines *g = dump->goroutines;

	finding_evidence_add(findings, f, dump->at_ns, FMT("goroutines of %.80s", dump->process),
		dump->source, "%u%s, %u of them wait for a lock; the longest wait %s", g->total,
		dump->is_cut ? " in the part that was read" : "", g->on_lock,
		MINUTES(g->longest_minutes));
	tell_groups(&t);
}

static void tell_below(const struct evidence *e, const struct goroutine_dump *dump,
	uint32_t process, struct findings *findings, struct finding *f, unsigned depth)
{
	if (is_told_of(f->cause) && is_about(e, f, process))
		tell_dump(findings, f, dump);
	for (uint32_t i = 0; depth < DEPTH_MAX && i < f->symptom_count; i++)
		tell_below(e, dump, process, findings, f->symptoms[i], depth + 1);
}

static uint32_t process_of(const struct evidence *e, int32_t pid)
{
	for (uint32_t i = 0; i < e->process_count; i++)
		if (e->processes[i].pid == pid)
			return i;
	return EVIDENCE_NONE;
}

void goroutines_tell(const struct evidence *e, const struct goroutine_dump *dumps, uint32_t count,
	struct findings *findings)
{
	for (uint32_t d = 0; d < count; d++) {
		uint32_t process = process_of(e, dumps[d].pid);

		if (process == EVIDENCE_NONE || !dumps[d].goroutines)
			continue;
		for (uint32_t i = 0; i < findings_count(findings); i++)
			tell_below(e, &dumps[d], process, findings, findings_at(findings, i), 0);
	}
}
