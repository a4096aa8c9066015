/*
 * What hangs, or answers what it should not, and is explained by no rule. It is told, with the layer that stopped answering and the
 * stacks there are, and nothing is advised that could lose anything: whoever does not know the cause
 * has no business restarting things.
 */
#include "doctor/rules/judge.h"

static void advise_looking(struct judge *j, struct finding *f, const struct evidence_process *p)
{
	if (p)
		advise(j, f, RISK_NONE, "Keep the kernel stacks of all its threads",
			"they say what it waits for, and are lost with whatever is done next",
			"nothing", "head -n 50 /proc/%d/task/*/stack", p->pid);
	advise(j, f, RISK_NONE, "Keep the kernel's log",
		"hung tasks, disks and drivers speak there", "nothing", "dmesg -T | tail -n 200");
	avoid(j, f,
		"Do not reboot, kill or restart anything before the stacks are kept: the cause is "
		"not known");
}

/* ---- threads that do not die ------------------------------------------------------------- */

/* Who is frozen dies when it is thawed. Its freezer was judged; if nothing was told of it, it was
 * paused, or nobody knows yet. */
static bool is_frozen(const struct judge *j, const struct evidence_process *p)
{
	const struct evidence_freezer *z = freezer_at(j, p->freezer);

	return z && !z->freezing;
}

static void judge_thread(struct judge *j, uint32_t thread)
{
	const struct evidence_thread *t = &j->e->threads[thread];
	const struct evidence_process *p = process_at(j, t->process);
	struct about about = ABOUT_NOTHING;
	struct finding *f;

	if (!p || t->state != 'D' || !kill_is_pending(j, t) || j->thread_cause[thread] ||
		j->process_cause[t->process] || p->dumping_core || is_frozen(j, p) ||
		(p->has_pidfd && p->pidfd_readable))
		return;
	/* On its way out every thread is here for an instant. */
	if (confidence_after(j, j->thread_held_ns[thread], j->rule->held_ns) != CONFIDENCE_PROVEN)
		return;
	f = judge_begin(j, SEVERITY_CRITICAL, CONFIDENCE_PROVEN, j->thread_since_ns[thread], NULL);
	about.thread = thread;
	about.mount = t->mount;
	tell_summary(j, f,
		"%.40s (pid %d)%s cannot be killed: its thread %d has been in the kernel for at "
		"least %s, and no cause that pleg knows explains it",
		p->comm, p->pid, OF_CONTAINER(j, p->container), t->tid,
		SECONDS(j->thread_held_ns[thread]));
	tell_subject(j, f, &about);
	tell_process(j, f, t->process);
	tell_thread(j, f, thread);
	tell_mount(j, f, t->mount);
	if (mount_at(j, t->mount) && device_at(j, j->e->mounts[t->mount].device)) {
		const struct evidence_device *d = device_at(j, j->e->mounts[t->mount].device);

		tell(j, f, "requests in flight", FMT("/sys/block/%.60s/inflight", d->name),
			"%llu, %llu completed so far", (unsigned long long)d->in_flight,
			(unsigned long long)d->completed);
	}
	advise_looking(j, f, p);
	explain_thread(j, thread, f);
}

/* ---- what does not answer ---------------------------------------------------------------- */

/* Late, and not because it works, or for want of CPU: which the first look cannot tell. */
static bool hangs(struct judge *j, const char *who, const struct evidence_call *call,
	const struct evidence_process *p, enum finding_confidence *ret_confidence)
{
	uint64_t held_ns = call_held_ns(j, who, call);
	bool stopped = p && is_stopped(p);
	bool working = (p && !process_is_idle(j, p)) || held_ns == 0 || j->starved;
	bool doubt = !stopped && working && call->age_ns < j->rule->weak_ns;

	*ret_confidence =
		confidence_after(j, held_ns, j->starved ? j->rule->weak_ns : j->rule->held_ns);
	if (doubt) {
		memory_want(j->memory, j->rule->interval_ns);
		*ret_confidence = CONFIDENCE_SUSPECTED;
	}
	return !doubt || is_last_word(j, held_ns);
}

static const struct evidence_call *late_call(const struct evidence_daemon *d, uint64_t late_ns)
{
	if (call_is_late(&d->version, late_ns))
		return &d->version;
	if (call_is_late(&d->list, late_ns))
		return &d->list;
	return call_is_late(&d->tasks, late_ns) ? &d->tasks : NULL;
}

static void judge_daemon(struct judge *j, uint32_t daemon)
{
	const struct evidence_daemon *d = &j->e->daemons[daemon];
	const struct evidence_call *call = late_call(d, j->rule->late_ns);
	const struct evidence_process *p = process_at(j, d->process);
	enum finding_confidence confidence;
	struct about about = ABOUT_NOTHING;
	struct finding *f;

	if (!call || j->daemon_cause[daemon] || !hangs(j, d->endpoint, call, p, &confidence))
		return;
	f = judge_begin(j, SEVERITY_CRITICAL, confidence, j->e->at_ns - (int64_t)call->age_ns,
		p ? j->process_cause[d->process] : NULL);
	about.process = d->process;
	about.place = d->endpoint;
	tell_summary(j, f, "%s%s has not answered %s for %s%s",
		d->kind == DAEMON_OTHER && p ? p->comm : evidence_daemon_text(d->kind),
		p ? FMT(" (pid %d)", p->pid) : "", call->method, SECONDS(call->age_ns),
		p && is_stopped(p) ? ": its process is stopped"
				   : ", and no cause that pleg knows explains it");
	tell_subject(j, f, &about);
	tell_call(j, f, *d->endpoint ? d->endpoint : "it", call);
	tell_process(j, f, d->process);
	tell_posture(j, f, d);
	if (p && p->state == 'T')
		advise_waking(j, f, d->process, "it");
	advise_looking(j, f, p);
	explain_daemon(j, daemon, f);
}

static void judge_container(struct judge *j, uint32_t container)
{
	const struct evidence_container *c = &j->e->containers[container];
	const struct evidence_daemon *d = daemon_at(j, c->daemon);
	struct finding *cause = j->container_cause[container];
	enum finding_confidence confidence;
	struct about about = ABOUT_NOTHING;
	struct finding *f;

	if (!call_is_late(&c->inspect, j->rule->late_ns))
		return;
	if (c->shim < j->e->shim_count)
		cause = first_cause(cause, j->shim_cause[c->shim]);
	if (d)
		cause = first_cause(cause, j->daemon_cause[c->daemon]);
	if (cause) { /* the deeper one is told, and that this hangs with it */
		if (cause != &j->untold && cause->cause != CAUSE_DOCKER_CONTAINER_LOCK_HELD &&
			cause->evidence_count < FINDING_EVIDENCE_MAX / 2)
			tell_call(j, cause, d ? evidence_daemon_text(d->kind) : "the runtime",
				&c->inspect);
		return;
	}
	if (!hangs(j, c->id, &c->inspect, d ? process_at(j, d->process) : NULL, &confidence))
		return;
	f = judge_begin(
		j, SEVERITY_CRITICAL, confidence, j->e->at_ns - (int64_t)c->inspect.age_ns, NULL);
	about.container = container;
	about.process = c->init;
	tell_summary(j, f,
		"The runtime has not answered %s of %s for %s, and no cause that pleg knows "
		"explains it",
		c->inspect.method, CONTAINER_NAME(j, container), SECONDS(c->inspect.age_ns));
	tell_subject(j, f, &about);
	tell_call(j, f, d ? evidence_daemon_text(d->kind) : "the runtime", &c->inspect);
	tell_process(j, f, c->init);
	advise_looking(j, f, process_at(j, c->init));
	explain_container(j, container, f);
}

/* ---- what answers, and not as it should ------------------------------------------------------- */

/* That it does not know the question is no trouble of its own. */
static bool is_wrong(const struct evidence_call *call)
{
	return call->answer == ANSWER_GARBAGE ||
		(call->answer == ANSWER_ERROR && !strstr(call->message, "nimplemented") &&
			!strstr(call->message, "not implemented") &&
			!strstr(call->message, "unknown service"));
}

/* A single one may be of a moment: of a start, an end, a connection that was lost. */
static bool stays_wrong(struct judge *j, const char *who, const struct evidence_call *call)
{
	const struct mark *m;

	if (!is_wrong(call))
		return false;
	m = memory_mark(
		j->memory, MARK_WRONG, mark_hash(who), mark_hash(call->method), call->answer, 0, 0);
	return confidence_after(j, memory_held_ns(j->memory, m), j->rule->held_ns) ==
		CONFIDENCE_PROVEN;
}

/* What was asked of whom, at `place`: never proven, since nothing says why. */
static struct finding *tell_wrong(struct judge *j, const char *who, const struct about *about,
	const char *place, const struct evidence_call *call)
{
	const struct evidence_process *p = process_at(j, about->process);
	struct finding *f =
		judge_begin(j, SEVERITY_WARNING, CONFIDENCE_SUSPECTED, j->e->at_ns, NULL);

	tell_summary(j, f, "%s%s answers %s with %s, and no cause that pleg knows explains it", who,
		p ? FMT(" (pid %d)", p->pid) : "", call->method,
		call->answer == ANSWER_GARBAGE ? "what is not of its protocol" : "an error");
	tell_subject(j, f, about);
	tell_call(j, f, *place ? place : who, call);
	tell_process(j, f, about->process);
	if (*place)
		advise(j, f, RISK_NONE, "See who listens there",
			"another program, or another version of it, may have its socket", "nothing",
			"ss -xlp | grep -F -- %s", QUOTED(str_after(place, "unix://") ?: place));
	advise_looking(j, f, p);
	return f;
}

static void judge_shim_answer(struct judge *j, uint32_t shim)
{
	const struct evidence_shim *s = &j->e->shims[shim];
	struct about about = ABOUT_NOTHING;

	if (!stays_wrong(j, s->address, &s->state) || j->shim_cause[shim] ||
		(s->process < j->e->process_count && j->process_cause[s->process]))
		return;
	about.container = j->shim_users.first[shim];
	about.process = s->process;
	explain_shim(j, shim,
		tell_wrong(j, FMT("The shim%.120s", OF_CONTAINER(j, about.container)), &about,
			s->address, &s->state));
}

/* Its list is wrong where its version is too: once is enough. */
static void judge_daemon_answer(struct judge *j, uint32_t daemon)
{
	const struct evidence_daemon *d = &j->e->daemons[daemon];
	const struct evidence_call *calls[] = { &d->version, &d->list, &d->tasks }, *wrong = NULL;
	const struct evidence_process *p = process_at(j, d->process);
	struct about about = ABOUT_NOTHING;

	for (size_t i = 0; i < ELEMENTS(calls); i++)
		if (stays_wrong(j, d->endpoint, calls[i]))
			wrong = wrong ? wrong : calls[i];
	if (!wrong || j->daemon_cause[daemon])
		return;
	about.process = d->process;
	about.place = d->endpoint;
	explain_daemon(j, daemon,
		tell_wrong(j,
			d->kind != DAEMON_OTHER ? evidence_daemon_text(d->kind)
				: p && *p->comm ? p->comm
						: "The runtime",
			&about, d->endpoint, wrong));
}

void judge_unknown(struct judge *j)
{
	for (uint32_t s = 0; s < j->e->shim_count; s++)
		judge_shim_answer(j, s);
	for (uint32_t d = 0; d < j->e->daemon_count; d++)
		judge_daemon_answer(j, d);
	for (uint32_t t = 0; t < j->e->thread_count; t++)
		judge_thread(j, t);
	for (uint32_t d = 0; d < j->e->daemon_count; d++)
		judge_daemon(j, d);
	for (uint32_t c = 0; c < j->e->container_count; c++)
		judge_container(j, c);
}
