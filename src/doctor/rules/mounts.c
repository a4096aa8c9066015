/* Filesystems that should be gone and are kept alive: a copy in another mount namespace, an open file. */
#include <errno.h>

#include "doctor/rules/judge.h"

struct leak {
	uint32_t mount, container,
		holder; /* the first holder that is not of the container itself */
	const char *path, *message;
	uint32_t holders;
	uint64_t held_ns;
	int64_t since_ns;
	struct finding *cause; /* what explains a holder, or the container */
};

static void add_holder(struct judge *j, struct leak *l, uint32_t holder)
{
	const struct evidence_holder *h = &j->e->holders[holder];
	const struct evidence_process *p = process_at(j, h->process);
	const struct mark *m;

	/* A container's own processes hold its mounts rightly, unless they cannot end. */
	if (p && p->container != EVIDENCE_NONE && p->container == l->container) {
		l->cause = first_cause(l->cause, j->process_cause[h->process]);
		return;
	}
	m = memory_mark(j->memory, MARK_HOLDER, mark_hash(h->path), p ? (uint32_t)p->pid : h->ns,
		p ? p->start_ticks : 0, h->hold, 0);
	if (l->holders++ > 0)
		return;
	l->holder = holder;
	l->held_ns = memory_held_ns(j->memory, m);
	l->since_ns = m->since_ns;
	if (p)
		l->cause = first_cause(l->cause, j->process_cause[h->process]);
}

static const char *hold_words(enum evidence_hold hold)
{
	switch (hold) {
	case HOLD_NAMESPACE: return "has a copy of it in its own mount namespace";
	case HOLD_FD: return "has a file on it open";
	case HOLD_CWD: return "has its working directory on it";
	case HOLD_ROOT: return "has its root on it";
	case HOLD_PIN: return "pins a mount namespace that has it";
	}
	return "holds it";
}

static void tell_holder(struct judge *j, struct finding *f, const struct evidence_holder *h)
{
	const struct evidence_process *p = process_at(j, h->process);

	if (p)
		tell(j, f, "holder",
			FMT("/proc/%d/%s", p->pid,
				h->hold == HOLD_NAMESPACE     ? "mountinfo"
					: h->hold == HOLD_FD  ? "fdinfo"
					: h->hold == HOLD_CWD ? "cwd"
							      : "root"),
			"%s (pid %d)%s %s: %s", p->comm, p->pid, OF_CONTAINER(j, p->container),
			hold_words(h->hold), h->path);
	else
		tell(j, f, "holder", h->hold == HOLD_PIN ? h->path : "/proc/*/mountinfo",
			"no process; mount namespace %llu %s", (unsigned long long)h->ns,
			hold_words(h->hold));
}

static void advise_holder(struct judge *j, struct finding *f, const struct evidence_holder *h,
	const struct evidence_mount *m, const char *point)
{
	const struct evidence_process *p = process_at(j, h->process);
	char path[FINDING_COMMAND_MAX / 2 - 64], place[FINDING_COMMAND_MAX / 2 - 64];
	bool known = true;
	int32_t pid = m ? mount_entered_by(j, m, &known) : 0;

	(void)shell_quote(path, sizeof(path), *h->path ? h->path : point);
	(void)shell_quote(place, sizeof(place), point);
	if (h->hold == HOLD_NAMESPACE && p && *path)
		advise(j, f, RISK_OBJECT, "Unmount the copy where it is held",
			"the filesystem is let go at once; the holder goes on without it",
			"what the holder may still need of it", "%s", UMOUNT(p->pid, "", path));
	if (h->hold == HOLD_PIN && *path && *place)
		advise(j, f, RISK_OBJECT, "Unmount the copy in the pinned namespace",
			"no process is in it; only its pin keeps it", "nothing that runs",
			"nsenter --mount=%s umount -- %s", path, place);
	if (p && p->container != EVIDENCE_NONE)
		advise(j, f, RISK_POD, "Restart the container of the holder",
			"its mounts end with it", "that container", "%s", "");
	else if (p && h->hold == HOLD_NAMESPACE)
		advise(j, f, RISK_POD, "Restart the holder", "what it holds ends with it",
			"what it does", "%s", "");
	else if (p)
		advise(j, f, RISK_POD, "Restart the holder", "what it holds ends with it",
			"what it does", "kill %d", p->pid);
	if (*place && known)
		advise(j, f, RISK_POD, "Detach the mount",
			"it goes out of sight at once, but lives on until the holder ends: do not "
			"detach or format its device before",
			"certainty of what is written", "%s", UMOUNT(pid, "-l ", place));
}

static void tell_leak(struct judge *j, const struct leak *l, struct finding **by_process)
{
	const struct evidence_mount *m = mount_at(j, l->mount);
	const struct evidence_holder *h = l->holders ? &j->e->holders[l->holder] : NULL;
	const struct evidence_process *p = h ? process_at(j, h->process) : NULL;
	const char *point = m ? m->point : l->path;
	enum finding_confidence confidence = confidence_after(j, l->held_ns, j->rule->held_ns);
	struct about about = ABOUT_NOTHING;
	struct finding *f;
	uint32_t told = 0;

	if (p && by_process[h->process] &&
		by_process[h->process]->subject.container_id[0] == '\0' &&
		!container_at(j, l->container)) { /* it holds more than one */
		tell_mount(j, by_process[h->process], l->mount);
		return;
	}
	if (!h)
		confidence = CONFIDENCE_SUSPECTED;
	f = judge_begin(j, SEVERITY_WARNING, confidence, h ? l->since_ns : j->e->at_ns, l->cause);
	about.mount = l->mount;
	about.container = l->container;
	about.process = p ? h->process : EVIDENCE_NONE;
	if (!m)
		about.place = l->path;
	tell_summary(j, f, "%s%s cannot be let go: %s", point, OF_CONTAINER(j, l->container),
		!h          ? "it is busy, and who holds it was not found"
			: p ? FMT("%.40s (pid %d)%.80s %s", p->comm, p->pid,
				      OF_CONTAINER(j, p->container), hold_words(h->hold))
			    : FMT("%.100s %s", h->path, hold_words(h->hold)));
	tell_subject(j, f, &about);
	if (*l->message)
		tell(j, f, "what was answered", *l->path ? l->path : point, "%s", l->message);
	tell_mount(j, f, l->mount);
	if (m)
		FOREACH_IN (i, &j->mount_holders, l->mount)
			if (told++ < NAMES_MAX)
				tell_holder(j, f, &j->e->holders[i]);
	if (!h)
		tell_gap(j, f, "who holds it", "hold",
			"no process and no pin was found; a descriptor of a mount namespace may "
			"keep it");
	else
		advise_holder(j, f, h, m, point);
	avoid(j, f,
		"Do not rm -rf what is under it: it may be mounted elsewhere still, and go with "
		"it");
	explain_container(j, l->container, f);
	if (p && !by_process[h->process] && f != &j->untold)
		by_process[h->process] = f;
}

static void judge_one_leak(struct judge *j, struct leak *l, struct finding **by_process)
{
	const struct evidence_container *c = container_at(j, l->container);

	if (mount_at(j, l->mount))
		FOREACH_IN (h, &j->mount_holders, l->mount)
			add_holder(j, l, h);
	if (c)
		l->cause = first_cause(l->cause, j->container_cause[l->container]);
	/* A container that runs holds what is its own. */
	if (c && !l->cause && c->kernel_state == LEDGER_ALIVE)
		return;
	if (l->holders == 0 && *l->message == '\0')
		return;
	tell_leak(j, l, by_process);
}

void judge_mount_leak(struct judge *j)
{
	CLEAN(mem_freep) bool *done = mem_array(j->e->mount_count, sizeof(*done));
	CLEAN(mem_freep)
	struct finding **by_process = mem_array(j->e->process_count, sizeof(struct finding *));

	if (!done || !by_process) {
		j->r = -ENOMEM;
		return;
	}
	for (uint32_t i = 0; i < j->e->busy_count; i++) {
		const struct evidence_busy *b = &j->e->busies[i];
		struct leak l = { .mount = b->mount,
			.container = b->container,
			.path = b->path,
			.message = b->message };

		if (mount_at(j, b->mount)) {
			if (done[b->mount])
				continue;
			done[b->mount] = true;
			if (!container_at(j, l.container))
				l.container = j->e->mounts[b->mount].container;
		}
		judge_one_leak(j, &l, by_process);
	}
	for (uint32_t i = 0; i < j->e->holder_count; i++) {
		struct leak l = { .mount = j->e->holders[i].mount, .path = "", .message = "" };

		if (!mount_at(j, l.mount) || done[l.mount])
			continue;
		done[l.mount] = true;
		l.container = j->e->mounts[l.mount].container;
		judge_one_leak(j, &l, by_process);
	}
}
