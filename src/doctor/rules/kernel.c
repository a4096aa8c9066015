/*
 * The layer of processes: zombies that cannot be reaped, namespaces that cannot end, address spaces
 * that are locked. Mostly these are what a deeper cause looks like from above.
 */
#include <errno.h>

#include "doctor/rules/judge.h"

static const char *const not_these =
	"Do not kill the shim: the zombie goes to pid 1, which cannot reap it either, and the "
	"container's exit is lost";

/* ---- MmapLockHeld ------------------------------------------------------------------------ */

/* In D, within what takes mmap_lock to write. */
static bool may_hold_mmap_lock(const struct evidence_thread *t)
{
	static const char *const writers[] = { "mmap_region", "do_mmap", "vm_mmap", "munmap",
		"mprotect", "do_brk", "mremap", "madvise", "dup_mmap", "exit_mmap",
		"handle_mm_fault", "page_fault" };

	if (t->state != 'D')
		return false;
	for (size_t i = 0; i < ELEMENTS(writers); i++)
		if (stack_has(t, writers[i]))
			return true;
	return false;
}

static uint32_t mmap_holder(const struct judge *j, uint32_t process)
{
	uint32_t best = EVIDENCE_NONE;

	FOREACH_IN (t, &j->threads, process)
		if (may_hold_mmap_lock(&j->e->threads[t]) &&
			(best == EVIDENCE_NONE || j->thread_held_ns[t] > j->thread_held_ns[best]))
			best = t;
	return best;
}

static void judge_one_mmap_lock(struct judge *j, uint32_t process)
{
	const struct evidence_process *p = &j->e->processes[process];
	uint32_t holder = mmap_holder(j, process);
	const struct evidence_thread *t = thread_at(j, holder);
	uint64_t seen_ns = call_held_ns(
		j, FMT("%d %llu", p->pid, (unsigned long long)p->start_ticks), &p->memory);
	enum finding_confidence confidence =
		confidence_after(j, t ? j->thread_held_ns[holder] : seen_ns, j->rule->held_ns);
	struct about about = ABOUT_NOTHING;
	struct finding *f, *parent = t ? j->thread_cause[holder] : NULL;

	if (!t)
		confidence = CONFIDENCE_SUSPECTED;
	if (!t && j->starved && !is_last_word(j, seen_ns)) {
		memory_want(j->memory, j->rule->interval_ns);
		return;
	}
	f = judge_begin(j, SEVERITY_WARNING, confidence, j->e->at_ns - (int64_t)p->memory.age_ns,
		first_cause(parent, NULL));
	about.process = process;
	about.thread = holder;
	tell_summary(j, f,
		"The address space of %.40s (pid %d)%s is locked by %s: ps, top and whatever reads "
		"its command line hang",
		p->comm, p->pid, OF_CONTAINER(j, p->container),
		t ? FMT("its thread %d, which waits in the kernel", t->tid) : "one of its threads");
	tell_subject(j, f, &about);
	tell(j, f, "a read of its command line", FMT("/proc/%d/cmdline", p->pid),
		"%s after %s, in %s", evidence_answer_text(p->memory.answer),
		SECONDS(p->memory.age_ns),
		*p->memory_wchan ? p->memory_wchan : "a wait that is not known");
	if (t)
		tell_thread(j, f, holder);
	else
		tell_gap(j, f, "the thread that holds the lock", "stack",
			"none was found in D within mmap, munmap or a page fault");
	if (!parent)
		advise(j, f, RISK_POD, "End the process",
			"whoever reads it goes on when the lock is released; if the thread that "
			"holds it cannot die, what it waits for has to be released first",
			"the process", "kill -9 %d", p->pid);
	else
		advise(j, f, RISK_NONE, "Release what the thread waits for",
			"see the cause above: this goes with it", "nothing", "%s", "");
	avoid(j, f,
		"Do not run ps, top, pgrep or lsof meanwhile: each of them hangs until the lock is "
		"released, and can be killed");
	explain_process(j, process, f);
	explain_thread(j, holder, f);
}

void judge_mmap_lock(struct judge *j)
{
	for (uint32_t p = 0; p < j->e->process_count; p++)
		if (call_is_late(&j->e->processes[p].memory, j->rule->late_ns))
			judge_one_mmap_lock(j, p);
}

/* ---- UnreapableZombieThreadStuck --------------------------------------------------------- */

struct stuck {
	uint32_t thread;
	uint64_t held_ns;
	bool killed, any;
};

/* The thread that keeps a zombie leader: in D or on its way out, best with a kill that does not work. */
static struct stuck find_stuck(const struct judge *j, uint32_t process)
{
	struct stuck best = { .thread = EVIDENCE_NONE };

	FOREACH_IN (t, &j->threads, process) {
		const struct evidence_thread *thread = &j->e->threads[t];
		bool killed = kill_is_pending(j, thread);

		best.any = true;
		if (thread->state == 'Z' || thread->state == 'X' || thread->state == 'R' ||
			(thread->state != 'D' && !killed))
			continue;
		if (best.thread == EVIDENCE_NONE || (killed && !best.killed) ||
			(killed == best.killed && j->thread_held_ns[t] > best.held_ns)) {
			best.thread = t;
			best.held_ns = j->thread_held_ns[t];
			best.killed = killed;
		}
	}
	return best;
}

static void tell_zombie(struct judge *j, uint32_t process, const struct stuck *stuck,
	enum finding_confidence confidence, int64_t since_ns)
{
	const struct evidence_process *p = &j->e->processes[process];
	const struct evidence_thread *t = thread_at(j, stuck->thread);
	struct finding *parent = t
		? first_cause(j->thread_cause[stuck->thread], j->process_cause[process])
		: j->process_cause[process];
	struct finding *f =
		judge_begin(j, p->container == EVIDENCE_NONE ? SEVERITY_WARNING : SEVERITY_CRITICAL,
			confidence, since_ns, parent);
	struct about about = ABOUT_NOTHING;

	about.process = process;
	about.thread = stuck->thread;
	if (t)
		about.mount = t->mount;
	tell_summary(j, f,
		"%.40s (pid %d)%s is a zombie that nobody can reap: its thread %s is still in the "
		"kernel and does not go",
		p->comm, p->pid, OF_CONTAINER(j, p->container),
		t ? FMT("%d", t->tid) : "(not known which)");
	tell_subject(j, f, &about);
	tell_process(j, f, process);
	if (t)
		tell_thread(j, f, stuck->thread);
	else
		tell_gap(j, f, "its threads", "task", "none of its threads could be read");
	if (p->ppid == 1)
		tell(j, f, "its parent", FMT("/proc/%d/status", p->pid),
			"pid 1: its own parent is gone, and pid 1 cannot reap it before the thread "
			"is gone");
	advise(j, f, RISK_NONE, "Release what the thread waits for",
		parent ? "see the cause above; the zombie is then reaped by itself"
		       : "its kernel stack and its "
			 "mount say what that is; the zombie is then reaped by itself",
		"nothing", "%s", "");
	if (!parent && confidence == CONFIDENCE_PROVEN)
		advise(j, f, RISK_REBOOT,
			"If nobody can answer what it waits for: cordon, drain, reboot",
			"a plain reboot may hang in umount", "all pods of this node", "%s", "");
	avoid(j, f,
		"Do not kill -9 %d: it is dead already, and the signal of its thread is pending",
		p->pid);
	avoid(j, f, "%s", not_these);
	explain_thread(j, stuck->thread, f);
	explain_process(j, process, f);
}

static void judge_one_zombie(struct judge *j, uint32_t process)
{
	const struct evidence_process *p = &j->e->processes[process];
	struct stuck stuck = find_stuck(j, process);
	const struct evidence_container *c = container_at(j, p->container);
	uint64_t zombie_ns = process_held_ns(j, p);
	bool told_before =
		c && c->kernel_state == LEDGER_ZOMBIE_THREADS && c->differs_ns >= j->rule->held_ns;
	bool explained = thread_at(j, stuck.thread) && j->thread_cause[stuck.thread];
	enum finding_confidence confidence;
	int64_t since_ns = j->e->at_ns - (int64_t)(c ? c->differs_ns : 0);

	if (!stuck.killed && thread_at(j, stuck.thread)) {
		/* Its main thread ended by itself, which is allowed, and another one is in a wait that a
		 * signal may well end. */
		confidence = confidence_after(j, stuck.held_ns, j->rule->weak_ns);
		if (confidence != CONFIDENCE_PROVEN && !explained)
			return;
		tell_zombie(j, process, &stuck, CONFIDENCE_SUSPECTED, since_ns);
		return;
	}
	if (stuck.thread == EVIDENCE_NONE && stuck.any)
		return; /* its threads run, or wait as threads do */
	confidence = confidence_after(j, stuck.any ? stuck.held_ns : zombie_ns, j->rule->held_ns);
	/* Every process of many threads looks like this for an instant when it ends. */
	if (confidence != CONFIDENCE_PROVEN && !told_before && !explained)
		return;
	if (!stuck.any)
		confidence = CONFIDENCE_SUSPECTED;
	tell_zombie(j, process, &stuck, confidence, since_ns);
}

void judge_zombie_threads(struct judge *j)
{
	for (uint32_t i = 0; i < j->e->process_count; i++) {
		const struct evidence_process *p = &j->e->processes[i];

		if (p->state == 'Z' && p->thread_count >= 2 && !p->dumping_core &&
			!(p->has_pidfd && p->pidfd_readable))
			judge_one_zombie(j, i);
	}
}

/* ---- ZombieParentStopped ----------------------------------------------------------------- */

/* Who has to reap it: its tracer comes first. */
static uint32_t reaper_of(const struct judge *j, const struct evidence_process *p)
{
	if (p->tracer_pid > 0)
		return judge_process_of_pid(j, p->tracer_pid);
	return process_at(j, p->parent) ? p->parent : judge_process_of_pid(j, p->ppid);
}

static bool is_plain_zombie(const struct evidence_process *p)
{
	return p->state == 'Z' && p->thread_count <= 1 && (!p->has_pidfd || p->pidfd_readable);
}

static void tell_parent_stopped(
	struct judge *j, uint32_t zombie, uint32_t reaper, struct finding **told)
{
	const struct evidence_process *p = &j->e->processes[zombie],
				      *parent = &j->e->processes[reaper];
	struct about about = ABOUT_NOTHING;
	uint64_t held_ns = process_held_ns(j, parent);
	struct finding *f;

	if (told[reaper]) {
		tell_process(j, told[reaper], zombie);
		explain_process(j, zombie, told[reaper]);
		return;
	}
	f = judge_begin(j, SEVERITY_WARNING, confidence_after(j, held_ns, j->rule->held_ns),
		j->e->at_ns - (int64_t)held_ns,
		first_cause(j->process_cause[reaper], j->process_cause[zombie]));
	told[reaper] = f;
	about.process = reaper;
	about.container = p->container != EVIDENCE_NONE ? p->container : parent->container;
	tell_summary(j, f,
		"%.40s (pid %d)%s is dead and waits to be reaped by %.40s (pid %d), which is "
		"stopped",
		p->comm, p->pid, OF_CONTAINER(j, about.container), parent->comm, parent->pid);
	tell_subject(j, f, &about);
	tell_process(j, f, reaper);
	tell_process(j, f, zombie);
	FOREACH_IN (t, &j->threads, reaper) {
		tell_thread(j, f, t);
		break;
	}
	advise_waking(j, f, reaper, "the parent");
	advise(j, f, RISK_POD, "End the parent",
		"the zombie then goes to the next one up, which reaps it",
		"the parent, and what it does for its container", "kill -9 %d", parent->pid);
	avoid(j, f, "Do not kill -9 %d: it is dead already", p->pid);
	explain_process(j, zombie, f);
	explain_process(j, reaper, f);
}

void judge_zombie_parent(struct judge *j)
{
	CLEAN(mem_freep)
	struct finding **told = mem_array(j->e->process_count, sizeof(struct finding *));

	if (!told) {
		j->r = -ENOMEM;
		return;
	}
	for (uint32_t i = 0; i < j->e->process_count; i++) {
		const struct evidence_process *p = &j->e->processes[i];
		uint32_t reaper = is_plain_zombie(p) ? reaper_of(j, p) : EVIDENCE_NONE;
		const struct evidence_process *parent = process_at(j, reaper);

		if (!parent || reaper == i || !is_stopped(parent) ||
			(!shows_container(p) && !shows_container(parent)))
			continue;
		/* A stopped shim is told as that. */
		if ((parent->roles & EVIDENCE_SHIM) && j->process_cause[reaper]) {
			tell_process(j, j->process_cause[reaper], i);
			explain_process(j, i, j->process_cause[reaper]);
			continue;
		}
		tell_parent_stopped(j, i, reaper, told);
	}
}

/* ---- PidNamespaceDying ------------------------------------------------------------------- */

struct dying {
	uint32_t thread;  /* of the init, in zap_pid_ns_processes() */
	uint32_t culprit; /* who is still in the namespace */
	struct finding *cause;
	bool seen; /* in its stack or wait, not only guessed */
};

static void find_culprit(const struct judge *j, uint32_t init, struct dying *d)
{
	uint64_t ns = j->e->processes[init].pid_namespace;

	for (uint32_t at = ns ? judge_namespace_start(j, ns) : j->e->process_count;
		at < j->e->process_count && j->by_namespace[at].key == ns; at++) {
		uint32_t other = j->by_namespace[at].index;

		if (other == init)
			continue;
		if (d->culprit == EVIDENCE_NONE || (!d->cause && j->process_cause[other]))
			d->culprit = other;
		if (!d->cause)
			d->cause = j->process_cause[other];
	}
}

static bool looks_dying(const struct judge *j, uint32_t init, struct dying *d)
{
	const struct evidence_process *p = &j->e->processes[init];
	bool readable = false;

	*d = (struct dying){ .thread = EVIDENCE_NONE, .culprit = EVIDENCE_NONE };
	if (!(p->roles & EVIDENCE_NS_INIT) && !(p->ns_level > 1 && p->ns_pid == 1))
		return false;
	if (p->state == 'Z' || p->has_memory)
		return false;
	FOREACH_IN (t, &j->threads, init) {
		const struct evidence_thread *thread = &j->e->threads[t];

		readable |= *thread->stack != '\0';
		if (waits_in(thread, "zap_pid_ns_processes")) {
			d->thread = t;
			d->seen = true;
		} else if (!d->seen && d->thread == EVIDENCE_NONE && waits_in(thread, "do_wait")) {
			d->thread = t;
		}
	}
	return d->seen || (!readable && p->state == 'S' && p->fd_size == 0);
}

/* True: what helps against it could be told. */
static bool tell_culprit(struct judge *j, struct finding *f, uint32_t init, const struct dying *d)
{
	const struct evidence_process *c = process_at(j, d->culprit);
	const struct evidence_process *parent = c ? process_at(j, c->parent) : NULL;

	if (!c) {
		tell_gap(j, f, "who is still in it", "namespace",
			"no other process of this namespace was found");
		return false;
	}
	tell_process(j, f, d->culprit);
	FOREACH_IN (t, &j->threads, d->culprit) {
		if (j->e->threads[t].state == 'D' || kill_is_pending(j, &j->e->threads[t])) {
			tell_thread(j, f, t);
			break;
		}
	}
	if (c->state != 'Z' || c->ppid == j->e->processes[init].pid || !parent || d->cause)
		return false;
	tell_process(j, f, c->parent);
	advise(j, f, RISK_OBJECT,
		FMT("End %.40s (pid %d), which does not reap %d", parent->comm, parent->pid,
			c->pid),
		"it started that process in the container from outside; once it is gone, pid 1 "
		"reaps it and the "
		"namespace ends",
		"that exec or debugging session", "kill %d", parent->pid);
	return true;
}

static void judge_one_namespace(struct judge *j, uint32_t init)
{
	const struct evidence_process *p = &j->e->processes[init];
	struct about about = ABOUT_NOTHING;
	enum finding_confidence confidence;
	uint64_t held_ns;
	struct finding *f;
	struct dying d;

	if (!looks_dying(j, init, &d))
		return;
	find_culprit(j, init, &d);
	held_ns = d.thread != EVIDENCE_NONE ? j->thread_held_ns[d.thread] : process_held_ns(j, p);
	confidence = confidence_after(j, held_ns, j->rule->held_ns);
	if (confidence != CONFIDENCE_PROVEN && !d.cause)
		return; /* each container passes here when it ends */
	if (!d.seen)
		confidence = CONFIDENCE_SUSPECTED;
	f = judge_begin(j, SEVERITY_CRITICAL, confidence, j->e->at_ns - (int64_t)held_ns,
		first_cause(d.cause, j->process_cause[init]));
	about.process = init;
	about.thread = d.thread;
	tell_summary(j, f,
		"The init%s (pid %d) is dead but cannot leave: %s is still in its pid namespace",
		OF_CONTAINER(j, p->container), p->pid,
		process_at(j, d.culprit) ? FMT("%.40s (pid %d)", process_at(j, d.culprit)->comm,
						   process_at(j, d.culprit)->pid)
					 : "a process that was not found");
	tell_subject(j, f, &about);
	tell_process(j, f, init);
	if (d.thread != EVIDENCE_NONE)
		tell_thread(j, f, d.thread);
	if (!d.seen)
		tell_gap(j, f, "kernel stack of the init", "stack",
			"it could not be read; no memory, no descriptors and state S say so too");
	if (!tell_culprit(j, f, init, &d))
		advise(j, f, RISK_NONE, "Release that one process",
			d.cause ? "see the cause above: this goes with it"
				: "the namespace ends by itself then",
			"nothing", "%s", "");
	avoid(j, f, "Do not kill -9 %d: it is on its way out already", p->pid);
	avoid(j, f, "%s", not_these);
	explain_process(j, init, f);
}

void judge_pid_namespace(struct judge *j)
{
	for (uint32_t p = 0; p < j->e->process_count; p++)
		judge_one_namespace(j, p);
}
