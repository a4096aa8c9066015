/*
 * The layer of daemons: containerd, dockerd and their like. That one is late is the least of proofs:
 * it may be stopped, wait for a shim or another daemon, or be starved. So what is below it is looked
 * at first, and CPU time it uses is a sign of life.
 */
#include <errno.h>

#include "doctor/rules/judge.h"
#include "doctor/rules/thresholds.h"

static bool is_runtime_daemon(const struct evidence_daemon *d)
{
	return d->kind != DAEMON_KUBELET && (d->kind != DAEMON_OTHER || d->is_runtime);
}

static const char *daemon_name(const struct judge *j, const struct evidence_daemon *d)
{
	const struct evidence_process *p = process_at(j, d->process);

	return d->kind == DAEMON_OTHER ? (p && *p->comm ? p->comm : "the runtime")
				       : evidence_daemon_text(d->kind);
}

static const char *restart_loses(const struct evidence_daemon *d, const char *unit)
{
	return d->kind == DAEMON_DOCKERD || str_eq(unit, "docker")
		? "every container, unless live-restore is on: docker info --format "
		  "'{{.LiveRestoreEnabled}}'"
		: "nothing that runs: containers survive it; exits meanwhile are told late";
}

static void advise_restart(
	struct judge *j, struct finding *f, const struct evidence_daemon *d, const char *why)
{
	const char *unit = UNIT_OF(j, d);

	advise(j, f, RISK_RUNTIME, FMT("Restart %.40s", daemon_name(j, d)), why,
		restart_loses(d, unit), *unit ? "systemctl restart %s" : "%s", unit);
}

const struct evidence_call *latest_call(const struct evidence_daemon *d)
{
	const struct evidence_call *calls[] = { &d->version, &d->list, &d->tasks }, *late = NULL;

	for (size_t i = 0; i < ELEMENTS(calls); i++)
		if (calls[i]->answer == ANSWER_LATE && (!late || calls[i]->age_ns > late->age_ns))
			late = calls[i];
	return late;
}

static void tell_daemon(struct judge *j, struct finding *f, const struct evidence_daemon *d)
{
	const struct evidence_call *calls[] = { &d->version, &d->list, &d->tasks };

	tell_process(j, f, d->process);
	for (size_t i = 0; i < ELEMENTS(calls); i++)
		if (calls[i]->answer != ANSWER_NOT_ASKED)
			tell_call(j, f, *d->endpoint ? d->endpoint : daemon_name(j, d), calls[i]);
	if (d->has_queue)
		tell(j, f, "connections that nobody accepts", d->endpoint, "%u of %u",
			d->accept_queue, d->backlog);
}

static struct about about_daemon(const struct evidence_daemon *d)
{
	struct about about = ABOUT_NOTHING;

	about.process = d->process;
	about.place = d->endpoint;
	return about;
}

/* ---- CriSocketGone ----------------------------------------------------------------------- */

static bool somebody_needs(const struct judge *j, const struct evidence_daemon *d)
{
	if (d->is_runtime)
		return true;
	for (uint32_t i = 0; i < j->e->daemon_count && d->kind == DAEMON_CONTAINERD; i++)
		if (j->e->daemons[i].is_runtime && j->e->daemons[i].kind == DAEMON_DOCKERD)
			return true;
	return false;
}

static void judge_one_socket(struct judge *j, uint32_t daemon)
{
	const struct evidence_daemon *d = &j->e->daemons[daemon];
	const struct evidence_process *p = process_at(j, d->process);
	bool gone = d->version.answer == ANSWER_NO_SOCKET;
	const char *name = daemon_name(j, d), *unit = UNIT_OF(j, d);
	struct about about = about_daemon(d);
	enum finding_confidence confidence;
	uint64_t held_ns;
	struct finding *f;

	if ((!gone && d->version.answer != ANSWER_REFUSED) || !somebody_needs(j, d))
		return;
	held_ns = call_held_ns(j, d->endpoint, &d->version);
	/* A daemon that has just been started has no socket yet. */
	confidence = confidence_after(j, held_ns,
		p && p->age_ns < j->rule->weak_ns ? j->rule->weak_ns : j->rule->held_ns);
	f = judge_begin(j, SEVERITY_CRITICAL, confidence, j->e->at_ns - (int64_t)held_ns, NULL);
	if (p)
		tell_summary(j, f,
			"The socket of %s is gone though it runs (pid %d): nobody can reach it",
			name, p->pid);
	else
		tell_summary(j, f, "%s does not run: %s", name,
			gone ? "its socket is not there"
			     : "its socket is left over and nobody listens");
	tell_subject(j, f, &about);
	tell(j, f, "connect", *d->endpoint ? d->endpoint : name, "%s%s%s",
		gone ? "no such file" : "connection refused", *d->version.message ? ": " : "",
		d->version.message);
	if (p)
		tell_process(j, f, d->process);
	else
		tell(j, f, "its process", "/proc", "none");
	if (p)
		advise_restart(j, f, d, "it makes its socket anew");
	else
		advise(j, f, RISK_NONE, FMT("Start %.40s", name),
			"containers that run go on; look into its log for why it ended", "nothing",
			*unit ? "systemctl start %s" : "%s", unit);
	explain_daemon(j, daemon, f);
	explain_process(j, d->process, f);
}

void judge_socket_gone(struct judge *j)
{
	for (uint32_t d = 0; d < j->e->daemon_count; d++)
		if (is_runtime_daemon(&j->e->daemons[d]))
			judge_one_socket(j, d);
}

/* ---- CriDaemonStopped -------------------------------------------------------------------- */

static void judge_one_daemon_stopped(struct judge *j, uint32_t daemon)
{
	const struct evidence_daemon *d = &j->e->daemons[daemon];
	const struct evidence_process *p = process_at(j, d->process);
	const char *name = daemon_name(j, d);
	struct about about = about_daemon(d);
	const struct evidence_call *late = latest_call(d);
	bool frozen = p && (d->is_paused_by_freezer || freezer_at(j, p->freezer));
	bool seen_late = late && late->age_ns >= j->rule->late_ns;
	uint64_t held_ns;
	struct finding *f;

	if (!p || (!is_stopped(p) && !frozen) || d->version.answer == ANSWER_OK)
		return;
	held_ns = process_held_ns(j, p);
	f = judge_begin(j, SEVERITY_CRITICAL,
		confidence_after(j, seen_late && p->state != 't' ? j->rule->held_ns : held_ns,
			j->rule->held_ns),
		j->e->at_ns - (int64_t)(late && late->age_ns > held_ns ? late->age_ns : held_ns),
		NULL);
	tell_summary(j, f, "%s (pid %d) is %s: it accepts connections and answers nothing", name,
		p->pid,
		p->state == 't'         ? "held by a tracer"
			: is_stopped(p) ? "stopped"
					: "frozen");
	tell_subject(j, f, &about);
	tell_daemon(j, f, d);
	FOREACH_IN (t, &j->threads, d->process) {
		tell_thread(j, f, t);
		break;
	}
	advise_waking(j, f, d->process, name);
	advise_restart(j, f, d, "only if it cannot be made to go on");
	avoid(j, f,
		"Do not restart the node or the kubelet for it: containers run on, and all goes on "
		"once %s does",
		name);
	explain_daemon(j, daemon, f);
	explain_process(j, d->process, f);
}

void judge_daemon_stopped(struct judge *j)
{
	for (uint32_t d = 0; d < j->e->daemon_count; d++)
		if (is_runtime_daemon(&j->e->daemons[d]))
			judge_one_daemon_stopped(j, d);
}

/* ---- DockerContainerLockHeld ------------------------------------------------------------- */

/* Of one daemon: inspections in this sample. An agent knows of those that are open and of no others. */
struct asked {
	uint32_t asked, late;
};

/* It has answered something else, so it is not the daemon as a whole. */
static bool answers_others(const struct evidence_daemon *d, const struct asked *asked)
{
	return d->version.answer == ANSWER_OK || d->list.answer == ANSWER_OK ||
		asked->late < asked->asked;
}

static bool inspect_is_late(const struct judge *j, const struct evidence_container *c)
{
	const struct evidence_daemon *d = daemon_at(j, c->daemon);

	return d && d->kind == DAEMON_DOCKERD && call_is_late(&c->inspect, j->rule->late_ns);
}

static void judge_one_lock(struct judge *j, uint32_t container, const struct asked *asked)
{
	const struct evidence_container *c = &j->e->containers[container];
	const struct evidence_daemon *d = daemon_at(j, c->daemon);
	struct finding *f,
		*parent = first_cause(j->container_cause[container],
			c->shim < j->e->shim_count ? j->shim_cause[c->shim] : NULL);
	const struct evidence_process *p = process_at(j, d->process);
	uint64_t held_ns = call_held_ns(j, c->id, &c->inspect);
	struct about about = ABOUT_NOTHING;
	enum finding_confidence confidence;
	bool working; /* or not known yet not to */
	bool doubt;   /* it may only be busy */

	if (j->daemon_cause[c->daemon] || d->version.answer == ANSWER_LATE)
		return;
	/* All of many, and what is asked of no container: that is the daemon. */
	if (!parent && asked->asked > 1 && asked->late == asked->asked && latest_call(d))
		return;
	/* A container that is being started has its lock held, and on a busy node that takes a while. */
	working = (p && !process_is_idle(j, p)) || held_ns == 0 || j->starved;
	doubt = !parent && working && c->inspect.age_ns < j->rule->weak_ns;
	if (doubt && !is_last_word(j, held_ns)) {
		memory_want(j->memory, j->rule->interval_ns);
		return;
	}
	confidence = confidence_after(j, held_ns, j->rule->held_ns);
	if (doubt || !answers_others(d, asked))
		confidence = CONFIDENCE_SUSPECTED;
	f = judge_begin(
		j, SEVERITY_CRITICAL, confidence, j->e->at_ns - (int64_t)c->inspect.age_ns, parent);
	about.container = container;
	about.process = d->process;
	tell_summary(j, f, "dockerd holds its lock of container %s: docker inspect of it hangs%s",
		CONTAINER_NAME(j, container), asked->late < asked->asked ? ", others answer" : "");
	tell_subject(j, f, &about);
	tell_call(j, f, "dockerd", &c->inspect);
	tell_call(j, f, "dockerd", &d->version);
	if (d->list.answer != ANSWER_NOT_ASKED)
		tell_call(j, f, "dockerd", &d->list);
	tell(j, f, "inspections", d->endpoint, "%u of %u hang that are known to be asked",
		asked->late, asked->asked);
	if (p)
		advise(j, f, RISK_NONE, "Have dockerd dump its goroutines",
			"the stack that holds the lock says what it waits for: a shim, containerd, "
			"a mount or a log",
			"nothing", "pleg doctor --goroutines%s", PLEG_RUNTIME(j));
	if (!parent)
		advise_restart(j, f, d,
			"only after what it waits for has been looked for: else it hangs again");
	avoid(j, f,
		"Do not loop over docker inspect, docker stop or docker rm: each call waits for "
		"the same lock and stays in dockerd");
	explain_container(j, container, f);
}

void judge_container_lock(struct judge *j)
{
	CLEAN(mem_freep) struct asked *asked = mem_array(j->e->daemon_count, sizeof(*asked));

	if (!asked) {
		j->r = -ENOMEM;
		return;
	}
	for (uint32_t i = 0; i < j->e->container_count; i++) {
		const struct evidence_container *c = &j->e->containers[i];

		if (!daemon_at(j, c->daemon) || c->inspect.answer == ANSWER_NOT_ASKED)
			continue;
		asked[c->daemon].asked++;
		asked[c->daemon].late += c->inspect.answer == ANSWER_LATE;
	}
	for (uint32_t i = 0; i < j->e->container_count; i++)
		if (inspect_is_late(j, &j->e->containers[i]))
			judge_one_lock(j, i, &asked[j->e->containers[i].daemon]);
}

/* ---- CriDaemonDeadlock ------------------------------------------------------------------- */

/* Another daemon that this one stands on and that is explained. */
static struct finding *below(const struct judge *j, const struct evidence_daemon *d)
{
	enum evidence_daemon_kind lower =
		d->kind == DAEMON_CRI_DOCKERD ? DAEMON_DOCKERD : DAEMON_CONTAINERD;

	for (uint32_t i = 0; i < j->e->daemon_count &&
		(d->kind == DAEMON_DOCKERD || d->kind == DAEMON_CRI_DOCKERD);
		i++)
		if (j->e->daemons[i].kind == lower && j->daemon_cause[i])
			return j->daemon_cause[i];
	return NULL;
}

/* The cheapest question is answered and a list is not: it may wait for a shim or a container. */
static struct finding *one_of_its_containers(const struct judge *j, uint32_t daemon)
{
	if (j->e->daemons[daemon].version.answer == ANSWER_LATE)
		return NULL;
	for (uint32_t i = 0; i < j->e->container_count; i++) {
		const struct evidence_container *c = &j->e->containers[i];

		if (c->daemon != daemon)
			continue;
		if (c->shim < j->e->shim_count && j->shim_cause[c->shim])
			return j->shim_cause[c->shim];
		if (c->inspect.answer == ANSWER_LATE && j->container_cause[i])
			return j->container_cause[i];
	}
	return NULL;
}

static struct finding *behind_daemon(const struct judge *j, uint32_t daemon)
{
	const struct evidence_daemon *d = &j->e->daemons[daemon];
	struct finding *cause = below(j, d);

	if (process_at(j, d->process))
		FOREACH_IN (t, &j->threads, d->process)
			cause = first_cause(cause, j->thread_cause[t]);
	return first_cause(cause, one_of_its_containers(j, daemon));
}

/* Nobody in it runs, and nobody waits for anything that is not its own. */
static bool is_asleep(const struct evidence_posture *posture)
{
	return posture->is_known && posture->waiting == posture->threads;
}

/* For how long all samples have found it so, with next to no CPU time used in between. */
static uint64_t asleep_for_ns(struct judge *j, const struct evidence_daemon *d)
{
	const struct evidence_process *p = process_at(j, d->process);
	const struct mark *m;
	uint64_t held_ns;

	if (!p || !is_asleep(&d->posture))
		return 0;
	m = memory_mark(
		j->memory, MARK_ASLEEP, (uint32_t)p->pid, p->start_ticks, 0, 0, p->cpu_ticks);
	held_ns = memory_held_ns(j->memory, m);
	return time_since(p->cpu_ticks, m->value) <= held_ns / NSEC_PER_SEC * CPU_ASLEEP_TICKS + 1
		? held_ns
		: 0;
}

void tell_posture(struct judge *j, struct finding *f, const struct evidence_daemon *d)
{
	const struct evidence_process *p = process_at(j, d->process);
	const struct evidence_posture *posture = &d->posture;

	if (!p)
		return;
	tell(j, f, "CPU time used so far", FMT("/proc/%d/stat", p->pid), "%llu ticks%s",
		(unsigned long long)p->cpu_ticks,
		process_is_idle(j, p) ? ", next to none since it was first seen to hang" : "");
	if (!posture->is_known)
		tell_gap(j, f, "what its threads wait for", "wchan",
			"not all of them could be looked at: it may wait for a disk");
	else
		tell(j, f, "its threads", FMT("/proc/%d/task", p->pid),
			"%u: %u wait for a lock, an event, a child or a time, %u run, %u are in D, "
			"%u wait for something else%s%s",
			posture->threads, posture->waiting, posture->running, posture->stuck,
			posture->elsewhere, *posture->where ? ": " : "", posture->where);
}

static void tell_deadlock(
	struct judge *j, uint32_t daemon, enum finding_confidence confidence, uint64_t age_ns)
{
	const struct evidence_daemon *d = &j->e->daemons[daemon];
	const struct evidence_process *p = process_at(j, d->process);
	struct about about = about_daemon(d);
	struct finding *f =
		judge_begin(j, SEVERITY_CRITICAL, confidence, j->e->at_ns - (int64_t)age_ns, NULL);

	tell_summary(j, f,
		"%s%s accepts connections and does not answer: it is not stopped, waits for no "
		"disk and uses no CPU, so it is deadlocked",
		daemon_name(j, d), p ? FMT(" (pid %d)", p->pid) : "");
	tell_subject(j, f, &about);
	tell_daemon(j, f, d);
	if (p)
		tell_posture(j, f, d);
	else
		tell_gap(j, f, "its process", "process",
			"which process listens there is not known: whether it is stopped or "
			"starved could not be told");
	if (p && (d->kind == DAEMON_CONTAINERD || d->kind == DAEMON_DOCKERD))
		advise(j, f, RISK_NONE, "Have it dump its goroutines first",
			"hundreds of them waiting for one lock for minutes prove the deadlock; the "
			"dump is lost with a restart",
			"nothing", "pleg doctor --goroutines%s", PLEG_RUNTIME(j));
	advise_restart(j, f, d, "a deadlock does not end by itself");
	avoid(j, f, "Do not call it again and again: each call stays open in it");
	explain_daemon(j, daemon, f);
	explain_process(j, d->process, f);
}

/* Stopped, dead, at work, or in the kernel for something that takes its time: no deadlock. */
static bool is_something_else(const struct evidence_daemon *d, const struct evidence_process *p)
{
	return is_stopped(p) || p->state == 'Z' || p->state == 'D' || d->posture.running > 0 ||
		d->posture.stuck > 0 || d->posture.stopped > 0;
}

static void judge_one_deadlock(struct judge *j, uint32_t daemon)
{
	const struct evidence_daemon *d = &j->e->daemons[daemon];
	const struct evidence_process *p = process_at(j, d->process);
	const struct evidence_call *late = latest_call(d);
	uint64_t held_ns, asleep_ns, asked_ns;
	enum finding_confidence confidence;
	struct finding *behind;
	bool idle;

	if (!late || late->age_ns < j->rule->late_ns || j->daemon_cause[daemon])
		return;
	behind = behind_daemon(j, daemon);
	if (behind) { /* not locked up by itself: the deeper one is told, and that this hangs with it */
		tell_call(j, behind, daemon_name(j, d), late);
		explain_daemon(j, daemon, behind);
		return;
	}
	held_ns = call_held_ns(j, d->endpoint, late);
	idle = !p || process_is_idle(j, p);
	asleep_ns = asleep_for_ns(j, d);
	if (p && is_something_else(d, p)) {
		memory_want(j->memory, j->rule->interval_ns);
		return;
	}
	/* One that works is slow, not locked; one that is starved cannot be told from it for a while. */
	asked_ns = j->starved ? j->rule->weak_ns : j->rule->held_ns;
	confidence = confidence_after(j, time_min(held_ns, asleep_ns), asked_ns);
	if (!idle || held_ns == 0)
		return;
	if (j->starved && late->age_ns < j->rule->weak_ns) {
		if (!is_last_word(j, held_ns))
			return;
		confidence = CONFIDENCE_SUSPECTED;
	}
	tell_deadlock(j, daemon, confidence, late->age_ns);
}

void judge_daemon_deadlock(struct judge *j)
{
	for (uint32_t d = 0; d < j->e->daemon_count; d++)
		if (is_runtime_daemon(&j->e->daemons[d]))
			judge_one_deadlock(j, d);
}
