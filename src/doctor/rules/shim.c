/*
 * The layer of shims. A stopped one answers nothing, and only for its own containers; one that is hung
 * by a container of its own that cannot die is that container's symptom.
 */
#include <errno.h>

#include "base/table.h"
#include "doctor/rules/judge.h"

static const char *shim_text(const struct judge *j, uint32_t shim, char out[NAME_MAX_BYTES])
{
	uint32_t first = j->shim_users.first[shim], count = 0;
	char name[NAME_MAX_BYTES];

	FOREACH_IN (c, &j->shim_users, shim)
		count++;
	if (count == 0)
		return str_format(out, NAME_MAX_BYTES, "unknown containers");
	return str_format(out, NAME_MAX_BYTES, "%.200s%s", container_name(j, first, name),
		count > 1 ? FMT(" and %u more", count - 1) : "");
}
#define SHIM_TEXT(j, shim) shim_text(j, shim, (char[NAME_MAX_BYTES]){ 0 })

static void tell_shim(struct judge *j, struct finding *f, uint32_t shim)
{
	const struct evidence_shim *s = &j->e->shims[shim];

	tell_process(j, f, s->process);
	if (s->state.answer != ANSWER_NOT_ASKED)
		tell(j, f, FMT("%.80s of the shim", s->state.method),
			*s->address ? s->address : s->bundle, "%s after %s%s%s",
			evidence_answer_text(s->state.answer), SECONDS(s->state.age_ns),
			*s->state.message ? ": " : "", s->state.message);
	else
		tell_gap(j, f, "an answer of the shim", "shim", "it was not asked");
	if (s->has_queue)
		tell(j, f, "connections that nobody accepts", s->address, "%u of %u",
			s->accept_queue, s->backlog);
}

/* ---- ShimStopped ------------------------------------------------------------------------- */

static void advise_shim(struct judge *j, struct finding *f, uint32_t shim)
{
	const struct evidence_shim *s = &j->e->shims[shim];
	const struct evidence_process *p = process_at(j, s->process);

	advise_waking(j, f, s->process, "the shim");
	if (!is_stopped(p) && !freezer_at(j, p->freezer))
		advise(j, f, RISK_NONE, "Have it dump its goroutines",
			"the stacks, in the log of containerd, say what it waits for; "
			"they are lost with the shim",
			"nothing", "pleg doctor --goroutines%s", PLEG_RUNTIME(j));
	advise(j, f, RISK_POD, "Kill the shim",
		"containerd notices, kills what it ran and cleans up; only if it cannot be made to "
		"go on",
		"all containers of this shim, which may be a whole pod; mounts may be left",
		"kill -9 %d", p->pid);
	avoid(j, f, "Do not restart containerd for it: the shim stays as it is");
}

/* Of a shim that does not answer and is not stopped: who is to blame instead. */
static struct finding *behind_shim(const struct judge *j, uint32_t shim)
{
	struct finding *cause = j->process_cause[j->e->shims[shim].process];

	FOREACH_IN (t, &j->threads, j->e->shims[shim].process)
		cause = first_cause(cause, j->thread_cause[t]);
	FOREACH_IN (c, &j->shim_users, shim)
		cause = first_cause(cause, j->container_cause[c]);
	return cause;
}

/* Its containerd: the runtime's daemon itself, or the one behind a dockerd. */
static bool is_daemon_stopped(const struct judge *j)
{
	bool is_docker = false, is_containerd = false, is_runtime = false;

	for (uint32_t i = 0; i < j->e->daemon_count; i++) {
		const struct evidence_daemon *d = &j->e->daemons[i];
		const struct evidence_process *p = process_at(j, d->process);
		bool stopped = p && (is_stopped(p) || freezer_at(j, p->freezer));

		is_docker = is_docker || (d->is_runtime && d->kind == DAEMON_DOCKERD);
		is_runtime = is_runtime || (d->is_runtime && stopped);
		is_containerd = is_containerd || (d->kind == DAEMON_CONTAINERD && stopped);
	}
	return is_docker ? is_containerd : is_runtime;
}

static void judge_one_stopped(struct judge *j, uint32_t shim)
{
	const struct evidence_shim *s = &j->e->shims[shim];
	const struct evidence_process *p = process_at(j, s->process);
	bool stopped, late = call_is_late(&s->state, j->rule->late_ns);
	bool doubt; /* it may only be busy */
	enum finding_confidence confidence;
	struct about about = ABOUT_NOTHING;
	struct finding *f, *parent = NULL;
	uint64_t held_ns;

	if (!p || s->state.answer == ANSWER_OK)
		return;
	stopped = is_stopped(p) || freezer_at(j, p->freezer);
	/* A shim tells its containerd of what happens, and waits for it to listen. */
	if (!stopped && (!late || is_daemon_stopped(j)))
		return;
	held_ns = stopped ? process_held_ns(j, p)
			  : call_held_ns(j, *s->address ? s->address : s->bundle, &s->state);
	confidence = confidence_after(j,
		stopped && late && p->state == 'T' ? j->rule->held_ns : held_ns, j->rule->held_ns);
	if (!stopped) {
		parent = behind_shim(j, shim);
		doubt = !process_is_idle(j, p) ||
			(!parent && (held_ns == 0 || j->starved) &&
				s->state.age_ns < j->rule->weak_ns);
		if (p->state == 'Z' || p->state == 'X')
			return; /* on its way out */
		if (doubt && !is_last_word(j, held_ns)) {
			memory_want(j->memory, j->rule->interval_ns);
			return;
		}
		confidence = doubt ? CONFIDENCE_SUSPECTED : confidence;
	} else if (p->freezer < j->e->freezer_count && j->process_cause[s->process]) {
		parent = j->process_cause[s->process];
	}
	f = judge_begin(j, SEVERITY_CRITICAL, confidence,
		j->e->at_ns - (int64_t)(held_ns > s->state.age_ns ? held_ns : s->state.age_ns),
		parent);
	about.process = s->process;
	about.container = j->shim_users.first[shim];
	about.place = *s->address ? s->address : s->bundle;
	tell_summary(j, f,
		"The shim (pid %d) of %s %s: nothing can be asked or done about its containers, "
		"which go on running",
		p->pid, SHIM_TEXT(j, shim),
		p->state == 't'         ? "is held by a tracer"
			: is_stopped(p) ? "is stopped"
			: stopped       ? "is frozen"
					: "does not answer");
	tell_subject(j, f, &about);
	tell_shim(j, f, shim);
	FOREACH_IN (t, &j->threads, s->process) {
		tell_thread(j, f, t);
		break;
	}
	advise_shim(j, f, shim);
	explain_process(j, s->process, f);
	explain_shim(j, shim, f);
}

void judge_shim_stopped(struct judge *j)
{
	for (uint32_t s = 0; s < j->e->shim_count; s++)
		judge_one_stopped(j, s);
}

/* ---- ShimDead ---------------------------------------------------------------------------- */

static bool init_lives(const struct judge *j, const struct evidence_container *c)
{
	const struct evidence_process *init = process_at(j, c->init);

	if (c->kernel_state == LEDGER_ALIVE || c->kernel_state == LEDGER_ZOMBIE_THREADS)
		return true;
	return c->kernel_state == LEDGER_NONE && init && init->state != 'X' &&
		!(init->state == 'Z' && init->thread_count <= 1);
}

/* A shim is the parent of its containers' inits for as long as it lives. */
static bool init_is_orphaned(const struct judge *j, const struct evidence_container *c)
{
	const struct evidence_process *init = process_at(j, c->init);

	return init && init->ppid == 1 && init_lives(j, c);
}

/* A container that lost its shim and is not simply ending: its init lives, or the runtime goes on to
 * say that it runs. */
static uint32_t orphan_of(const struct judge *j, uint32_t shim, bool *ret_lives)
{
	uint32_t found = EVIDENCE_NONE;

	*ret_lives = false;
	FOREACH_IN (i, &j->shim_users, shim) {
		const struct evidence_container *c = &j->e->containers[i];
		bool lives = init_lives(j, c);

		if (!lives && c->runtime_state != CONTAINER_RUNNING)
			continue;
		if (found == EVIDENCE_NONE || (lives && !*ret_lives))
			found = i;
		*ret_lives |= lives;
	}
	return found;
}

/* By whoever listed it: containerd itself has let go of the task when it lost the shim. */
static void advise_removing(struct judge *j, struct finding *f, const struct evidence_container *c)
{
	const struct evidence_daemon *d = daemon_at(j, c->daemon);
	bool is_docker = d && d->kind == DAEMON_DOCKERD;

	if (!d || c->by_kernel_only)
		return;
	if (!is_docker && c->kind == CONTAINER_KIND_SANDBOX)
		advise(j, f, RISK_POD, "Remove what the runtime keeps of it",
			"where it does not clean up by itself", "this pod",
			"%s stopp %s; %s rmp %s", CRICTL(d), QUOTED(c->id), CRICTL(d),
			QUOTED(c->id));
	else
		advise(j, f, RISK_POD, "Remove what the runtime keeps of it",
			"where it does not clean up by itself", "this container", "%s rm -f %s",
			is_docker ? DOCKER(d) : CRICTL(d), QUOTED(c->id));
}

static struct finding *tell_shim_dead(struct judge *j, uint32_t shim, uint32_t container,
	bool lives, enum finding_confidence confidence)
{
	const struct evidence_shim *s = &j->e->shims[shim];
	const struct evidence_container *c = &j->e->containers[container];
	const struct evidence_process *init = process_at(j, c->init);
	struct about about = ABOUT_NOTHING;
	struct finding *f = judge_begin(j, SEVERITY_CRITICAL, confidence, j->e->at_ns,
		first_cause(
			j->container_cause[container], init ? j->process_cause[c->init] : NULL));

	about.container = container;
	about.process = c->init;
	about.place = *s->address ? s->address : s->bundle;
	tell_summary(j, f, "The shim of %s is gone: %s", SHIM_TEXT(j, shim),
		lives ? "the container's processes run on without anybody to watch them, and their "
			"exit will be lost"
		      : "the container has ended with it, and the runtime still says that it runs");
	tell_subject(j, f, &about);
	tell_shim(j, f, shim);
	tell(j, f, "process of the shim", *s->bundle ? s->bundle : "/proc", "none");
	tell_process(j, f, c->init);
	tell(j, f, "the runtime's word", "list", "%s", container_state_text(c->runtime_state));
	advise(j, f, RISK_NONE, "Wait a few seconds",
		"containerd notices a dead shim by itself, kills what it ran and cleans up",
		"nothing", "%s", "");
	if (lives && init)
		advise(j, f, RISK_POD, "End what is left of the container",
			"its processes run outside of any runtime's reach", "this container",
			"kill -9 %d", init->pid);
	advise_removing(j, f, c);
	FOREACH_IN (i, &j->shim_users, shim)
		explain_container(j, i, f);
	explain_shim(j, shim, f);
	return f;
}

/* One shim serves a pod, and each container may have been told with one of its own: the second one of
 * the same pod is part of the first. */
static const char *pod_of(const struct evidence_container *c)
{
	return *c->sandbox_id ? c->sandbox_id : c->id;
}

static void judge_one_dead(
	struct judge *j, uint32_t shim, enum container_kind kind, struct table *pods)
{
	const struct evidence_shim *s = &j->e->shims[shim];
	bool lives, sure = s->state.answer == ANSWER_NO_SOCKET || s->state.answer == ANSWER_REFUSED;
	uint32_t container = orphan_of(j, shim, &lives);
	const struct evidence_container *c = container_at(j, container);
	enum finding_confidence confidence;
	struct finding *f;
	uint64_t held_ns;
	int r;

	if (!c || c->kind != kind)
		return;
	held_ns = call_held_ns(j, c->id, &s->state);
	/* A living init without its parent, or with a socket that nobody listens on, leaves no doubt; the
	 * rest may be a container that ends, or a shim that was not found. */
	sure |= init_is_orphaned(j, c);
	confidence =
		confidence_after(j, held_ns, lives && sure ? j->rule->held_ns : j->rule->weak_ns);
	if (!(lives && sure) && held_ns < j->rule->weak_ns)
		return;
	f = table_get_string(pods, pod_of(c));
	if (f) {
		tell_process(j, f, c->init);
		explain_shim(j, shim, f);
		return;
	}
	f = tell_shim_dead(j, shim, container, lives, sure ? confidence : CONFIDENCE_SUSPECTED);
	r = table_put_string(pods, pod_of(c), f);
	if (r < 0 && r != -EEXIST)
		j->r = r;
}

void judge_shim_dead(struct judge *j)
{
	static const enum container_kind kinds[] = { CONTAINER_KIND_CONTAINER,
		CONTAINER_KIND_SANDBOX };
	CLEAN(table_done) struct table pods = TABLE_INIT(j->e->shim_count + 1);

	for (size_t k = 0; k < ELEMENTS(kinds); k++)
		for (uint32_t i = 0; i < j->e->shim_count; i++) {
			const struct evidence_shim *s = &j->e->shims[i];

			if (!process_at(j, s->process) && s->state.answer != ANSWER_OK &&
				s->state.answer != ANSWER_LATE)
				judge_one_dead(j, i, kinds[k], &pods);
		}
}
