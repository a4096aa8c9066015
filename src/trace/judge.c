/*
 * From facts to a verdict on each hop, and to who is to blame. Two passes: each hop by itself, then
 * what explains what. A hop that is only silent is explained by trouble below it, since it may be
 * waiting for that; one that is stopped, refuses or talks nonsense explains itself.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "trace/facts.h"

const char *trace_hop_text(enum trace_hop_name name, bool is_docker)
{
	switch (name) {
	case TRACE_KUBELET: return "kubelet";
	case TRACE_CRI: return is_docker ? "dockerd" : "CRI";
	case TRACE_CONTAINERD: return "containerd";
	case TRACE_SHIM: return "shim";
	case TRACE_OCI: return "OCI runtime";
	case TRACE_INIT: return "init";
	}
	return "";
}

bool trace_hop_has_name(enum trace_hop_name name)
{
	return name == TRACE_CRI || name == TRACE_CONTAINERD;
}

const char *trace_hop_key(enum trace_hop_name name, bool is_docker)
{
	switch (name) {
	case TRACE_KUBELET: return "kubelet";
	case TRACE_CRI: return is_docker ? "dockerd" : "cri";
	case TRACE_CONTAINERD: return "containerd";
	case TRACE_SHIM: return "shim";
	case TRACE_OCI: return "oci";
	case TRACE_INIT: return "init";
	}
	return "";
}

const char *trace_hop_status_text(enum trace_hop_status status)
{
	switch (status) {
	case TRACE_OK: return "ok";
	case TRACE_HANGS: return "hangs";
	case TRACE_FAILS: return "fails";
	case TRACE_DIFFERS: return "differs";
	case TRACE_ABSENT: return "absent";
	case TRACE_UNSEEN: return "unseen";
	}
	return "";
}

bool trace_is_trouble(enum trace_hop_status status)
{
	return status == TRACE_HANGS || status == TRACE_FAILS || status == TRACE_DIFFERS;
}

const char *trace_oci_status_text(const struct trace_oci_state *state)
{
	if (!state->is_alive)
		return "stopped";
	return state->is_created ? "created" : "running";
}

bool trace_oci_is_same(const struct trace_look *look)
{
	const struct trace_oci_state *s = &look->oci_state;

	return s->init_pid == look->init.pid &&
		(s->init_start_ticks == 0 || s->init_start_ticks == look->init.start_ticks);
}

/* ---- pieces ---------------------------------------------------------------------------------- */

static void say(struct trace_hop *hop, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void say(struct trace_hop *hop, const char *format, ...)
{
	size_t len = strlen(hop->message);
	va_list args;

	va_start(args, format);
	if (len > 0)
		len += (size_t)snprintf(hop->message + len, sizeof(hop->message) - len, "; ");
	if (len < sizeof(hop->message))
		(void)vsnprintf(hop->message + len, sizeof(hop->message) - len, format, args);
	va_end(args);
}

/* The worst that was said of a hop stays: what is seen in itself goes over silence. */
static void judge(struct trace_hop *hop, enum trace_hop_status status, bool is_own)
{
	if (trace_is_trouble(hop->status) && (hop->is_own || !is_own))
		return;
	hop->status = status;
	hop->is_own = is_own;
}

static void say_process(struct trace_hop *hop, const struct trace_process *p)
{
	if (p->pid == 0)
		return;
	if (p->wchan[0] != '\0')
		say(hop, "pid %d %s, %c in %s", p->pid, p->comm, p->state, p->wchan);
	else
		say(hop, "pid %d %s, %c", p->pid, p->comm, p->state);
}

/* Stopped or traced: trouble of its own. */
static bool judge_stopped(struct trace_hop *hop, const struct trace_process *p)
{
	if (p->pid == 0 || (p->state != 'T' && p->state != 't'))
		return false;
	judge(hop, TRACE_HANGS, true);
	if (p->state == 'T')
		say(hop, "pid %d %s is stopped (T)", p->pid, p->comm);
	else
		say(hop, "pid %d %s is held by its tracer, pid %d (t)", p->pid, p->comm,
			p->tracer_pid);
	return true;
}

/* A call that went wrong; true when there is nothing wrong with it. */
static bool judge_call(struct trace_hop *hop, const struct trace_facts *f,
	const struct trace_call *call, bool is_own)
{
	if (!call->name)
		return true;
	switch (call->answer) {
	case ANSWER_OK:
	case ANSWER_NOT_FOUND: return true;
	case ANSWER_NOT_ASKED:
		if (hop->status == TRACE_OK)
			hop->status = TRACE_UNSEEN;
		break;
	case ANSWER_LATE: judge(hop, TRACE_HANGS, is_own); break;
	case ANSWER_DENIED:
		if (hop->status == TRACE_OK)
			hop->status = TRACE_UNSEEN;
		break;
	case ANSWER_NO_SOCKET: judge(hop, TRACE_FAILS, true); break;
	case ANSWER_REFUSED:
		if (f->is_root)
			judge(hop, TRACE_FAILS, true);
		else if (hop->status == TRACE_OK)
			hop->status = TRACE_UNSEEN;
		break;
	case ANSWER_ERROR:
	case ANSWER_GARBAGE: judge(hop, TRACE_FAILS, is_own); break;
	}
	say(hop, "%s", call->message);
	return false;
}

/* What the runtime said last: a list may be older than what was asked afterwards. */
static bool says_running(const struct trace_facts *f)
{
	if (f->has_status)
		return f->status == CONTAINER_RUNNING;
	if (f->cri_status.answer == ANSWER_NOT_FOUND)
		return false;
	return f->subject.is_listed && f->subject.state == CONTAINER_RUNNING;
}

static bool is_paused(const struct trace_facts *f)
{
	if (f->has_status && f->detail == CONTAINER_PAUSED)
		return true;
	return (f->has_task &&
		       (f->task_status == CONTAINERD_PAUSED ||
			       f->task_status == CONTAINERD_PAUSING)) ||
		(f->has_shim_task &&
			(f->shim_task.status == CONTAINERD_PAUSED ||
				f->shim_task.status == CONTAINERD_PAUSING));
}

static bool is_alive(const struct trace_facts *f)
{
	return f->look.init.pid != 0 && f->look.init.state != 'Z';
}

static bool is_other_pid(const struct trace_facts *f, int32_t pid)
{
	return pid != 0 && f->look.init.pid != 0 && pid != f->look.init.pid;
}

/* The child did not get as far as `stage`: 1 it hangs in that very stage, -1 before, 0 it did. */
static int missed(const struct trace_facts *f, enum trace_stage stage)
{
	if (f->look.scan_error < 0)
		return -1;
	if (f->look.stage >= stage)
		return 0;
	return f->look_late && f->look.stage + 1 == (unsigned)stage ? 1 : -1;
}

static void judge_missed(struct trace_hop *hop, const struct trace_facts *f, int how)
{
	if (f->look.scan_error < 0) {
		say(hop, "/proc cannot be read: %s", err_text(NULL, f->look.scan_error));
	} else if (how > 0) {
		judge(hop, TRACE_HANGS, true);
		say(hop, "reading %s hangs", f->look.doing);
		return;
	} else {
		say(hop, "could not be looked at: reading %s hangs", f->look.doing);
	}
	if (hop->status == TRACE_OK)
		hop->status = TRACE_UNSEEN;
}

/* ---- the hops -------------------------------------------------------------------------------- */

static void judge_kubelet(const struct trace_facts *f, struct trace_hop *hop)
{
	bool answers = f->healthz.answer == ANSWER_OK;

	if (f->look.kubelet.pid == 0 && !answers) {
		hop->status = TRACE_ABSENT;
		say(hop, "there is no kubelet");
		return;
	}
	if (!judge_stopped(hop, &f->look.kubelet))
		say_process(hop, &f->look.kubelet);
	if (!f->healthz.name)
		say(hop, "its healthz is switched off");
	else if (judge_call(hop, f, &f->healthz, false))
		say(hop, "healthz ok");
	if (f->metrics.answer == ANSWER_OK)
		say(hop, "PLEG: %s", f->metrics.message[0] ? f->metrics.message : "no metrics");
	else if (f->metrics.answer == ANSWER_LATE)
		say(hop, "its metrics are late");
	else
		say(hop, "metrics not asked: port %u wants credentials, %s", f->kubelet_port,
			f->kubelet_read_port ? FMT("%u is off", f->kubelet_read_port)
					     : "and the one without is off");
}

static void judge_cri(const struct trace_facts *f, struct trace_hop *hop)
{
	bool is_alone = f->is_docker || !f->version.name;

	if (f->endpoint[0] == '\0') {
		hop->status = TRACE_UNSEEN;
		say(hop, "no container runtime was found");
		return;
	}
	/* Else it is a part of the next hop, in one process and on one socket. */
	if (is_alone && !judge_stopped(hop, &f->look.daemon))
		say_process(hop, &f->look.daemon);
	if (!judge_call(hop, f, &f->cri_version, false) ||
		!judge_call(hop, f, &f->cri_status, false)) {
		hop->is_own = hop->is_own && is_alone;
		return;
	}
	if (f->cri_name[0] != '\0')
		say(hop, "%s", f->cri_name);
	if (f->cri_status.answer == ANSWER_NOT_FOUND && !f->subject.is_listed) {
		if (hop->status == TRACE_OK)
			hop->status = TRACE_ABSENT;
		say(hop, "not one of its containers");
	} else if (f->cri_status.answer == ANSWER_NOT_FOUND) {
		say(hop, "%s: it has gone meanwhile", f->cri_status.name);
	} else if (f->has_status) {
		say(hop, "%s: %s%s%s", f->cri_status.name, container_state_text(f->status),
			f->detail != CONTAINER_PLAIN ? ", " : "", container_detail_text(f->detail));
	}
	if (says_running(f) && f->has_task && f->task_status == CONTAINERD_STOPPED) {
		judge(hop, TRACE_DIFFERS, false);
		say(hop, "its own tasks service says stopped");
	}
}

static void judge_task(const struct trace_facts *f, struct trace_hop *hop)
{
	if (!judge_call(hop, f, &f->task, false))
		return;
	if (f->task.answer == ANSWER_NOT_FOUND) {
		say(hop, "Tasks/Get: there is no task");
		if (is_alive(f) && f->cri_status.answer != ANSWER_NOT_FOUND)
			judge(hop, TRACE_DIFFERS, false);
	} else if (f->has_task && f->task_status == CONTAINERD_UNKNOWN) {
		judge(hop, TRACE_FAILS, false);
		say(hop, "Tasks/Get: unknown, the shim did not answer it");
	} else if (f->has_task) {
		say(hop, "Tasks/Get: %s, pid %d", containerd_status_text(f->task_status),
			f->task_pid);
		if (is_other_pid(f, f->task_pid)) {
			judge(hop, TRACE_DIFFERS, false);
			say(hop, "the kernel says pid %d", f->look.init.pid);
		}
	}
}

static void judge_no_containerd(const struct trace_facts *f, struct trace_hop *hop)
{
	if (f->endpoint[0] == '\0') {
		hop->status = TRACE_UNSEEN;
		say(hop, "no container runtime was found");
	} else if (!f->is_docker) {
		hop->status = TRACE_ABSENT;
		say(hop, "the runtime is not containerd");
	} else if (f->look.shim.pid == 0) {
		hop->status = TRACE_ABSENT;
		say(hop, "no shim that leads to it");
	} else {
		hop->status = TRACE_UNSEEN;
		say(hop, "its socket was not found beside %s", f->look.bundle);
	}
}

static void judge_containerd(const struct trace_facts *f, struct trace_hop *hop)
{
	const struct trace_process *p = f->is_docker ? &f->look.containerd : &f->look.daemon;

	if (!f->version.name) {
		judge_no_containerd(f, hop);
		return;
	}
	if (!judge_stopped(hop, p))
		say_process(hop, p);
	/* Once is enough: what does not answer this answers nothing. */
	if (!judge_call(hop, f, &f->version, true))
		return;
	if (f->version_text[0] != '\0')
		say(hop, "%s", f->version_text);
	(void)judge_call(hop, f, &f->namespaces, true);
	judge_task(f, hop);
}

/* There is no shim process. */
static void judge_no_shim(const struct trace_facts *f, struct trace_hop *hop)
{
	bool may_not = f->look.shim_error == -EACCES || f->look.shim_error == -EPERM;
	bool other = f->endpoint[0] != '\0' && !f->version.name && !f->is_docker;

	if (other) {
		hop->status = TRACE_ABSENT;
		say(hop, "the runtime is not containerd");
	} else if (f->look.init.pid == 0 && may_not) {
		hop->status = TRACE_UNSEEN;
		say(hop, "its process cannot be told from others: %s",
			err_text(NULL, f->look.shim_error));
	} else if (is_alive(f)) {
		judge(hop, TRACE_FAILS, true);
		say(hop, "there is none; the parent of the init is pid %d", f->look.init.ppid);
	} else if (says_running(f)) {
		judge(hop, TRACE_FAILS, true);
		say(hop, "there is none");
	} else if (f->look.init.pid != 0) {
		hop->status = TRACE_ABSENT;
		say(hop, "there is none any more; the parent of the init is pid %d",
			f->look.init.ppid);
	} else {
		hop->status = TRACE_ABSENT;
		say(hop, "there is none, and none is needed");
	}
}

static void judge_shim_task(const struct trace_facts *f, struct trace_hop *hop)
{
	if (f->shim_state.answer == ANSWER_NOT_FOUND) {
		say(hop, "State: it knows no such task");
		if (is_alive(f) || says_running(f))
			judge(hop, TRACE_DIFFERS, true);
		return;
	}
	if (!f->has_shim_task)
		return;
	say(hop, "State: %s, pid %d", containerd_status_text(f->shim_task.status),
		f->shim_task.pid);
	if (f->shim_task.status != CONTAINERD_STOPPED && is_other_pid(f, f->shim_task.pid)) {
		judge(hop, TRACE_DIFFERS, true);
		say(hop, "the kernel says pid %d", f->look.init.pid);
	} else if (f->shim_task.status == CONTAINERD_STOPPED && is_alive(f)) {
		judge(hop, TRACE_DIFFERS, true);
		say(hop, "and pid %d lives", f->look.init.pid);
	}
}

static void judge_shim(const struct trace_facts *f, struct trace_hop *hop)
{
	int how = missed(f, TRACE_STAGE_SHIM);

	if (f->look.shim.pid == 0 && how == 0) {
		judge_no_shim(f, hop);
		return;
	}
	if (!judge_stopped(hop, &f->look.shim))
		say_process(hop, &f->look.shim);
	if (how != 0) {
		judge_missed(hop, f, how);
	} else if (!f->shim_state.name) {
		if (hop->status == TRACE_OK)
			hop->status = TRACE_UNSEEN;
		say(hop, "where its socket is could not be read: %s",
			err_text(NULL, f->look.shim_error));
	} else if (judge_call(hop, f, &f->shim_state, false)) {
		judge_shim_task(f, hop);
	}
}

/* What runc has written down, against the kernel and against what the runtime makes of it. */
static void judge_oci_state(const struct trace_facts *f, struct trace_hop *hop)
{
	const struct trace_oci_state *s = &f->look.oci_state;
	const struct trace_process *init = &f->look.init;

	say(hop, "its state: %s, pid %d", trace_oci_status_text(s), s->init_pid);
	if (is_alive(f) && s->init_pid != init->pid) {
		judge(hop, TRACE_DIFFERS, true);
		say(hop, "the kernel says pid %d", init->pid);
	} else if (is_alive(f) && !trace_oci_is_same(&f->look)) {
		judge(hop, TRACE_DIFFERS, true);
		say(hop, "of another start than the pid %d there is", init->pid);
	} else if (is_alive(f) && s->is_created && says_running(f)) {
		judge(hop, TRACE_DIFFERS, true);
		say(hop, "it was never started, and the runtime says running");
	}
}

static void judge_oci(const struct trace_facts *f, struct trace_hop *hop)
{
	int how = missed(f, TRACE_STAGE_OCI);
	char text[TIME_TEXT_MAX];

	for (uint32_t i = 0; i < f->look.oci_count; i++) {
		const struct trace_process *p = &f->look.oci[i];

		if (!judge_stopped(hop, p))
			say_process(hop, p);
		say(hop, "for %s", time_format_short(text, p->age_ns));
		if (p->age_ns >= TRACE_OCI_OLD_NS)
			judge(hop, TRACE_HANGS, false);
	}
	if (how != 0) {
		judge_missed(hop, f, how);
		return;
	}
	if (f->look.oci_count == 0)
		say(hop, "no process of it");
	if (f->look.has_oci_state)
		judge_oci_state(f, hop);
	else if (f->look.state_file == 1)
		say(hop, "its state is there");
	else if (f->look.state_file == 0 && is_alive(f))
		say(hop, "its state is not where runc has it");
	else if (f->look.state_file == -EBADMSG)
		say(hop, "its state cannot be read: it is no JSON of runc's");
}

static const struct trace_level *frozen_level(const struct trace_look *look)
{
	for (uint32_t i = 0; i < look->level_count; i++)
		if (look->levels[i].self && look->levels[i].state != CGROUP_THAWED)
			return &look->levels[i];
	return NULL;
}

static void judge_threads(const struct trace_facts *f, struct trace_hop *hop)
{
	uint32_t live = 0;

	for (uint32_t i = 0; i < f->look.group_count; i++) {
		const struct trace_group *g = &f->look.groups[i];

		if (g->state != 'Z' && g->state != 'X')
			live += g->count;
		if (!g->is_stuck)
			continue;
		judge(hop, TRACE_HANGS, true);
		say(hop,
			g->is_killed ? "%u thread%s not die of SIGKILL, %c in %s%s%s: tid %d"
				     : "%u thread%s not run for a second, %c in %s%s%s: tid %d",
			g->count,
			g->is_killed            ? g->count == 1 ? " does" : "s do"
				: g->count == 1 ? " did"
						: "s did",
			g->state, g->wchan[0] ? g->wchan : "?",
			g->mount[0] ? ", on the mount " : "", g->mount, g->tids[0]);
	}
	if (f->look.init.state == 'Z' && live > 0) {
		judge(hop, TRACE_HANGS, true);
		say(hop, "its main thread has ended and %u live on", live);
	} else if (f->look.init.state == 'Z' && f->look.stage >= TRACE_STAGE_THREADS) {
		say(hop, "dead, and not reaped by its parent, pid %d", f->look.init.ppid);
		if (says_running(f))
			judge(hop, TRACE_DIFFERS, false);
	}
}

static void judge_no_init(const struct trace_facts *f, struct trace_hop *hop)
{
	if (says_running(f)) {
		judge(hop, TRACE_DIFFERS, false);
		say(hop, "no process of it lives, and the runtime says running");
		return;
	}
	hop->status = TRACE_ABSENT;
	if (f->has_status && f->status == CONTAINER_EXITED && f->has_exit_code)
		say(hop, "it has ended, with exit code %d", f->exit_code);
	else
		say(hop, "no process of it lives");
}

static void judge_init(const struct trace_facts *f, struct trace_hop *hop)
{
	const struct trace_level *frozen = frozen_level(&f->look);
	int how = missed(f, TRACE_STAGE_INIT);

	if (how != 0) {
		judge_missed(hop, f, how);
		return;
	}
	if (f->look.init.pid == 0) {
		judge_no_init(f, hop);
		return;
	}
	if (!judge_stopped(hop, &f->look.init))
		say_process(hop, &f->look.init);
	if (frozen && is_paused(f)) {
		say(hop, "paused on purpose");
	} else if (frozen) {
		judge(hop, TRACE_HANGS, true);
		say(hop, "%s by cgroup %s",
			frozen->state == CGROUP_FROZEN ? "frozen"
						       : "being frozen, which does not end,",
			frozen->path);
	}
	judge_threads(f, hop);
	if (f->look.thread_count > 0)
		say(hop, "%u thread%s", f->look.thread_count, f->look.thread_count == 1 ? "" : "s");
	if (f->look.is_init_hidden)
		say(hop, "where it waits may not be seen without CAP_SYS_PTRACE");
}

/* ---- who is to blame ------------------------------------------------------------------------- */

static int explain(const struct trace_judgement *j, int hop)
{
	const struct trace_hop *h = &j->hops[hop];

	if (!trace_is_trouble(h->status) || h->is_own)
		return -1;
	for (int below = hop + 1; below < TRACE_HOPS; below++)
		if (trace_is_trouble(j->hops[below].status) &&
			(j->hops[below].is_own || j->hops[below].status != TRACE_DIFFERS))
			return below;
	/* A shim that cannot get rid of its events waits for who does not take them. */
	if (hop == TRACE_SHIM && h->status == TRACE_HANGS &&
		j->hops[TRACE_CONTAINERD].status == TRACE_HANGS && j->hops[TRACE_CONTAINERD].is_own)
		return TRACE_CONTAINERD;
	/* A death that nobody has told of is the fault of who should have told. */
	for (int above = hop - 1; h->status == TRACE_DIFFERS && above >= TRACE_CRI; above--)
		if (trace_is_trouble(j->hops[above].status) && j->hops[above].is_own)
			return above;
	return -1;
}

static void sum_up(const struct trace_facts *f, struct trace_judgement *j)
{
	size_t len = 0;
	bool is_blind = f->look.is_init_hidden;

	for (int i = 0; i < TRACE_HOPS; i++) {
		const struct trace_hop *h = &j->hops[i];

		is_blind = is_blind || h->status == TRACE_UNSEEN;
		if (!trace_is_trouble(h->status))
			continue;
		j->verdict = TRACE_TROUBLE;
		if (h->explained_by < 0 && len < sizeof(j->summary))
			len += (size_t)snprintf(j->summary + len, sizeof(j->summary) - len,
				"%s%s%s %s: %s", len > 0 ? ". " : "",
				trace_hop_has_name(i) ? "" : "The ",
				trace_hop_text(i, f->is_docker), trace_hop_status_text(h->status),
				h->message);
	}
	if (j->verdict == TRACE_TROUBLE)
		return;
	j->verdict = is_blind ? TRACE_BLIND : TRACE_FINE;
	(void)snprintf(j->summary, sizeof(j->summary), "%s",
		is_blind ? "Nothing is wrong in what could be looked at, which is not all"
			 : "Nothing hangs");
}

void trace_judge(const struct trace_facts *facts, struct trace_judgement *ret)
{
	static void (*const judges[TRACE_HOPS])(
		const struct trace_facts *f, struct trace_hop *hop) = {
		[TRACE_KUBELET] = judge_kubelet,
		[TRACE_CRI] = judge_cri,
		[TRACE_CONTAINERD] = judge_containerd,
		[TRACE_SHIM] = judge_shim,
		[TRACE_OCI] = judge_oci,
		[TRACE_INIT] = judge_init,
	};

	*ret = (struct trace_judgement){ .verdict = TRACE_FINE };
	for (int i = 0; i < TRACE_HOPS; i++)
		judges[i](facts, &ret->hops[i]);
	for (int i = 0; i < TRACE_HOPS; i++)
		ret->hops[i].explained_by = explain(ret, i);
	sum_up(facts, ret);
}
