/* How findings are worded: names, subjects, lines of evidence, commands that a shell takes. */
#include <stdarg.h>
#include <stdio.h>

#include "base/str.h"
#include "doctor/rules/judge.h"

#define SHORT_ID         12
#define STACK_FUNCTIONS  12u
#define STACK_TEXT_BYTES 768

/* NULL for what stands for no finding: the builders ignore it. */
static struct finding *real(const struct judge *j, struct finding *f)
{
	return f == &j->untold ? NULL : f;
}

const char *container_name(const struct judge *j, uint32_t container, char out[NAME_MAX_BYTES])
{
	const struct evidence_container *c = container_at(j, container);
	const char *name;

	if (!c)
		return "";
	name = c->kind == CONTAINER_KIND_SANDBOX && *c->pod ? "(sandbox)" : c->container;
	if (*c->pod)
		return str_format(out, NAME_MAX_BYTES, "%s%s%s%s%s", c->namespace,
			*c->namespace ? "/" : "", c->pod, *name ? "/" : "", name);
	if (*name)
		return str_format(out, NAME_MAX_BYTES, "%s", name);
	return str_format(out, NAME_MAX_BYTES, "%.*s", SHORT_ID, c->id);
}

const char *of_container(const struct judge *j, uint32_t container, char out[NAME_MAX_BYTES])
{
	char name[NAME_MAX_BYTES];

	return *container_name(j, container, name)
		? str_format(out, NAME_MAX_BYTES, " of %.*s", NAME_MAX_BYTES - 8, name)
		: "";
}

/* ---- commands ---------------------------------------------------------------------------- */

static bool is_bare(const char *word)
{
	static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				   "_/.,:=@%+-";

	return *word && *word != '-' && word[strspn(word, safe)] == '\0';
}

const char *shell_quote(char *out, size_t size, const char *word)
{
	bool shown = str_is_printable(word, strlen(word));
	size_t at;

	if (is_bare(word))
		return strlen(word) < size ? str_format(out, size, "%s", word) : "";
	at = (size_t)snprintf(out, size, "%s", shown ? "'" : "$'");
	for (; *word; word++) {
		char piece[8];
		size_t len;

		if (shown)
			(void)snprintf(piece, sizeof(piece), *word == '\'' ? "'\\''" : "%c", *word);
		else if (*word < ' ' || *word > '~' || *word == '\'' || *word == '\\')
			(void)snprintf(piece, sizeof(piece), "\\%03o", (uint8_t)*word);
		else
			(void)snprintf(piece, sizeof(piece), "%c", *word);
		len = strlen(piece);
		if (at + len + 2 > size)
			return "";
		memcpy(out + at, piece, len);
		at += len;
	}
	memcpy(out + at, "'", 2);
	return out;
}

void advise(struct judge *j, struct finding *f, enum finding_risk risk, const char *action,
	const char *why, const char *loses, const char *command, ...)
{
	char text[FINDING_COMMAND_MAX];
	va_list ap;
	int n;

	if (!real(j, f))
		return;
	va_start(ap, command);
	n = vsnprintf(text, sizeof(text), command, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(text))
		text[0] = '\0';
	finding_advise(j->out, f,
		&(struct finding_advice){ .action = action,
			.why = why,
			.risk = risk,
			.risk_text = loses,
			.command = text });
}

void avoid(struct judge *j, struct finding *f, const char *format, ...)
{
	char text[FINDING_TEXT_MAX];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	finding_avoid(j->out, real(j, f), "%s", text);
}

const char *thaw_command(const struct evidence_freezer *z, char out[FINDING_COMMAND_MAX])
{
	char file[FINDING_COMMAND_MAX / 2];

	if (*z->file == '\0' || *shell_quote(file, sizeof(file), z->file) == '\0')
		return "";
	return str_format(out, FINDING_COMMAND_MAX, "echo %s > %s", z->v2 ? "0" : "THAWED", file);
}

void advise_waking(struct judge *j, struct finding *f, uint32_t process, const char *name)
{
	const struct evidence_process *p = process_at(j, process);
	const struct evidence_freezer *z = p ? freezer_at(j, p->freezer) : NULL;
	char command[FINDING_COMMAND_MAX];

	if (!p)
		return;
	if (z)
		advise(j, f, RISK_NONE, FMT("Thaw %s", name),
			"its cgroup is frozen; thawing lets it go on where it was", "nothing", "%s",
			thaw_command(z, command));
	if (p->state == 't' && p->tracer_pid > 0)
		advise(j, f, RISK_OBJECT, FMT("End the tracer of %s", name),
			"a debugger or strace holds it; it goes on when that ends",
			"the debugging session", "kill %d", p->tracer_pid);
	else if (p->state == 'T')
		advise(j, f, RISK_NONE, FMT("Let %s go on", name),
			"it was stopped by a signal and continues where it was; then find out who "
			"stopped it",
			"nothing", "kill -CONT %d", p->pid);
}

/* ---- evidence ---------------------------------------------------------------------------- */

void tell(struct judge *j, struct finding *f, const char *what, const char *where,
	const char *format, ...)
{
	char text[FINDING_TEXT_MAX];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	finding_evidence_add(j->out, real(j, f), j->e->at_ns, what, *where ? where : "not known",
		"%s", *text ? text : "(empty)");
}

void tell_summary(struct judge *j, struct finding *f, const char *format, ...)
{
	char text[FINDING_TEXT_MAX];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	finding_say(j->out, real(j, f), "%s", text);
}

/* The time that a finding began is that of the first sample which told it. */
static void keep_since(struct judge *j, struct finding *f)
{
	char key[FINDING_KEY_MAX];
	struct mark *m = memory_mark(j->memory, MARK_FINDING, f->cause,
		mark_hash(finding_key(f, key, sizeof(key))), 0, 0, 0);

	if (memory_held_ns(j->memory, m) == 0)
		m->since_ns = f->since_ns;
	f->since_ns = m->since_ns;
}

void tell_subject(struct judge *j, struct finding *f, const struct about *about)
{
	const struct evidence_thread *t = thread_at(j, about->thread);
	const struct evidence_process *p = process_at(j, t ? t->process : about->process);
	const struct evidence_mount *m = mount_at(j, about->mount);
	uint32_t container = about->container != EVIDENCE_NONE ? about->container
		: p                                            ? p->container
							       : EVIDENCE_NONE;
	const struct evidence_container *c = container_at(j, container);
	struct finding_subject s = { .tid = t ? t->tid : 0, .mount = about->place };
	char device[32] = "";

	if (!real(j, f))
		return;
	if (c) {
		s.namespace = c->namespace;
		s.pod = c->pod;
		s.owner = c->owner;
		s.container = c->container;
		s.container_id = c->id;
	}
	if (p) {
		s.pid = p->pid;
		s.start_ticks = p->start_ticks;
	}
	if (m && !s.mount)
		s.mount = m->point;
	if (m)
		(void)str_format(device, sizeof(device), "%u:%u", m->major, m->minor);
	s.device = about->device ? about->device : device;
	finding_set_subject(j->out, f, &s);
	keep_since(j, f);
}

/* "a < b < c", innermost first. */
static const char *stack_line(const char *stack, char out[STACK_TEXT_BYTES])
{
	size_t at = 0;

	out[0] = '\0';
	for (uint32_t n = 0; *stack && n < STACK_FUNCTIONS; n++) {
		size_t len = strcspn(stack, "\n");
		int wrote = snprintf(
			out + at, STACK_TEXT_BYTES - at, "%s%.*s", n ? " < " : "", (int)len, stack);

		if (wrote < 0 || (size_t)wrote >= STACK_TEXT_BYTES - at)
			break;
		at += (size_t)wrote;
		stack += len + (stack[len] == '\n');
	}
	return out;
}

void tell_gap(struct judge *j, struct finding *f, const char *what, const char *word,
	const char *otherwise)
{
	for (uint32_t i = 0; i < j->e->gap_count; i++) {
		const struct evidence_gap *g = &j->e->gaps[i];

		if (!strstr(g->what, word) && !strstr(g->why, word))
			continue;
		tell(j, f, what, "not looked at", "%s: %s%s%s", g->what, g->why,
			*g->cure ? "; this would help: " : "", g->cure);
		return;
	}
	tell(j, f, what, "not looked at", "%s", otherwise);
}

/* The last line of the kernel's own detector about it. */
static void tell_hung(struct judge *j, struct finding *f, uint32_t thread)
{
	const struct evidence_hung *last = NULL;

	for (uint32_t i = 0; i < j->e->hung_count; i++) {
		const struct evidence_hung *h = &j->e->hungs[i];

		if (h->thread == thread && (!last || h->age_ns < last->age_ns))
			last = h;
	}
	if (last)
		tell(j, f, "hung-task detector", "/dev/kmsg",
			"blocked for more than %llu s, said the kernel %s ago",
			(unsigned long long)last->seconds, SECONDS(last->age_ns));
}

void tell_thread(struct judge *j, struct finding *f, uint32_t thread)
{
	const struct evidence_thread *t = thread_at(j, thread);
	const struct evidence_process *p = t ? process_at(j, t->process) : NULL;
	char where[64], stack[STACK_TEXT_BYTES];

	if (!p || !real(j, f))
		return;
	(void)str_format(where, sizeof(where), "/proc/%d/task/%d/", p->pid, t->tid);
	tell(j, f, "state of the thread", FMT("%sstatus", where),
		"%c%s; %s, %llu context switches so far", t->state,
		kill_is_pending(j, t) ? ", SIGKILL pending" : "",
		j->thread_held_ns[thread]
			? FMT("has not run for at least %s", SECONDS(j->thread_held_ns[thread]))
			: "seen once",
		(unsigned long long)t->switches);
	tell_hung(j, f, thread);
	if (*t->wchan)
		tell(j, f, "where it sleeps", FMT("%swchan", where), "%s", t->wchan);
	if (*t->stack)
		tell(j, f, "kernel stack", FMT("%sstack", where), "%s",
			stack_line(t->stack, stack));
	else
		tell_gap(j, f, "kernel stack", "stack", "it could not be read");
	if (t->fd >= 0)
		tell(j, f, "what it waits on", FMT("/proc/%d/fd/%d", p->pid, t->fd),
			"descriptor %d%s%s", t->fd, mount_at(j, t->mount) ? " on " : "",
			mount_at(j, t->mount) ? mount_at(j, t->mount)->point : "");
	else if (mount_at(j, t->mount))
		tell(j, f, "what it waits on", FMT("%ssyscall", where), "a path on %s%s",
			mount_at(j, t->mount)->point, t->mount_inferred ? " (inferred)" : "");
}

void tell_process(struct judge *j, struct finding *f, uint32_t process)
{
	const struct evidence_process *p = process_at(j, process);
	char where[64], started[TIME_TEXT_MAX];

	if (!p || !real(j, f))
		return;
	(void)str_format(where, sizeof(where), "/proc/%d/status", p->pid);
	tell(j, f, FMT("state of %.60s", p->comm), where, "%c, %u thread%s, parent %d%s%s%s%s",
		p->state, p->thread_count, p->thread_count == 1 ? "" : "s", p->ppid,
		p->pending_shared & SIGNAL_KILL_BIT ? ", SIGKILL pending" : "",
		p->tracer_pid > 0 ? FMT(", traced by %d", p->tracer_pid) : "",
		p->has_pidfd ? p->pidfd_readable ? ", pidfd readable" : ", pidfd not readable" : "",
		p->age_ns > 0 ? FMT(", started %s ago", time_format_short(started, p->age_ns))
			      : "");
}

void tell_call(
	struct judge *j, struct finding *f, const char *who, const struct evidence_call *call)
{
	tell(j, f, FMT("%.80s of %.60s", call->method, who), who, "%s after %s%s%s",
		evidence_answer_text(call->answer), SECONDS(call->age_ns),
		*call->message ? ": " : "", call->message);
}

int32_t mount_entered_by(const struct judge *j, const struct evidence_mount *m, bool *ret_known)
{
	uint32_t process = judge_process_of_pid(j, m->seen_by_pid);
	const struct evidence_process *p = process_at(j, process);

	*ret_known = true;
	if (m->ns != 0 && m->ns == j->e->node.mount_ns)
		return 0;
	*ret_known = m->seen_by_pid > 0;
	/* A dead leader has no namespaces any more; a thread of it that lives has. */
	if (p && p->state == 'Z')
		FOREACH_IN (t, &j->threads, process)
			if (j->e->threads[t].state != 'Z')
				return j->e->threads[t].tid;
	return m->seen_by_pid;
}

void tell_mount(struct judge *j, struct finding *f, uint32_t mount)
{
	const struct evidence_mount *m = mount_at(j, mount);

	if (m)
		tell(j, f, "mount", FMT("/proc/%d/mountinfo", m->seen_by_pid),
			"%s on %s, type %s, device %u:%u", m->source, m->point, m->type, m->major,
			m->minor);
}
