/*
 * What may hang is asked of the probe, one question after the other so that none is left there when
 * the sample ends:
 *
 *	where the shim that an init has lost was listening: the file `address` in its bundle
 *	how much room the directories of the runtimes have
 *	whether somebody holds a process's mmap_lock for ever: its cmdline, which is dropped. Only a
 *	process with a thread in uninterruptible sleep can be so; those whose stack speaks of mappings
 *	come first.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "doctor/collect-internal.h"
#include "kernel/probe-agent.h"
#include "runtime/shim.h"

#define LOCK_NS       (1100 * NSEC_PER_MSEC) /* the rule asks for a second of silence */
#define FILE_NS       (500 * NSEC_PER_MSEC)
#define GLANCE_NS     (250 * NSEC_PER_MSEC) /* after that it does not just take its time */
#define ACCURACY_USEC 1000u

struct collect_question {
	struct collect *c;
	uint32_t process; /* whose lock, or EVIDENCE_NONE */
	uint32_t orphan;  /* whose shim's address, in `orphans` */
	uint32_t space;   /* how much room, or EVIDENCE_NONE */
	uint64_t asked_ns;
	bool is_asked, is_answered;
};

static void ask_next(struct collect *c);

static struct collect_question *current(struct collect *c)
{
	for (uint32_t i = 0; i < c->question_count; i++)
		if (!c->questions[i].is_answered)
			return &c->questions[i];
	return NULL;
}

/* --- where the probe sleeps --- */

static int on_glance(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct collect *c = userdata;
	const struct collect_question *q = current(c);
	char wchan[PROC_WCHAN_MAX];
	struct probe_status s;

	(void)source;
	(void)usec;
	probe_status(c->options.probe, &s);
	if (q && q->process != EVIDENCE_NONE && s.role.pid > 0 &&
		proc_read_wchan(c->proc_fd, s.role.pid, 0, wchan) >= 0 && wchan[0] != '\0')
		c->evidence->processes[q->process].memory_wchan = evidence_text(c->evidence, wchan);
	return 0;
}

static void arm_glance(struct collect *c)
{
	if (!c->glance) {
		if (sd_event_add_time(c->options.loop, &c->glance, CLOCK_MONOTONIC, 0,
			    ACCURACY_USEC, on_glance, c) < 0)
			return;
	}
	if (sd_event_source_set_time_relative(c->glance, GLANCE_NS / NSEC_PER_USEC) >= 0)
		(void)sd_event_source_set_enabled(c->glance, SD_EVENT_ONESHOT);
}

/* --- answers --- */

static enum evidence_answer answer_of(int r)
{
	switch (r) {
	case 0: return ANSWER_OK;
	case -ETIMEDOUT: return ANSWER_LATE;
	case -ESRCH: return ANSWER_NOT_FOUND;
	case -EAGAIN:
	case -EBUSY:
	case -EPIPE: return ANSWER_NOT_ASKED;
	default: return ANSWER_ERROR;
	}
}

static void put_lock(struct collect_question *q, int r, const char *reason)
{
	struct evidence *e = q->c->evidence;
	struct evidence_process *p = &e->processes[q->process];

	p->memory.answer = answer_of(r);
	p->memory.age_ns = time_since(clock_now().mono_ns, q->asked_ns);
	p->memory.message = evidence_text(e, r < 0 ? reason : "");
	if (p->memory.answer != ANSWER_LATE)
		p->memory_wchan = "";
}

static void put_address(struct collect_question *q, int r, const struct probe_answer *answer)
{
	struct collect *c = q->c;
	uint32_t shim = c->orphans[q->orphan].shim;
	struct shim_address address;

	if (r < 0 || shim_parse_address(answer->bytes, answer->len, &address) < 0)
		return;
	c->evidence->shims[shim].address = evidence_text(c->evidence, address.text);
	(void)collect_ask_shim(c, shim);
}

static void put_space(
	struct collect_question *q, int r, const struct probe_answer *answer, const char *reason)
{
	struct evidence *e = q->c->evidence;
	struct evidence_space *s = &e->spaces[q->space];

	s->call.answer = r == -ENOENT ? ANSWER_NOT_FOUND : answer_of(r);
	s->call.age_ns = time_since(clock_now().mono_ns, q->asked_ns);
	s->call.message = evidence_text(e, r < 0 ? reason : "");
	if (r < 0)
		return;
	s->fs_type = answer->result->fs_type;
	s->total_bytes = answer->result->blocks * answer->result->block_bytes;
	s->free_bytes = answer->result->blocks_free * answer->result->block_bytes;
	s->available_bytes = answer->result->blocks_available * answer->result->block_bytes;
	s->files = answer->result->files;
	s->files_free = answer->result->files_free;
}

static void on_answer(int r, const struct probe_answer *answer, const char *reason, void *userdata)
{
	struct collect_question *q = userdata;
	struct collect *c = q->c;

	q->is_answered = true;
	if (q->space != EVIDENCE_NONE)
		put_space(q, r, answer, reason);
	else if (q->process != EVIDENCE_NONE)
		put_lock(q, r, reason);
	else
		put_address(q, r, answer);
	c->questions_open--;
	ask_next(c);
	collect_wake(c);
}

/* --- questions --- */

static int ask_space(struct collect_question *q)
{
	struct evidence *e = q->c->evidence;
	struct evidence_space *s = &e->spaces[q->space];
	const struct evidence_daemon *d =
		s->daemon < e->daemon_count ? &e->daemons[s->daemon] : NULL;
	char path[PROBE_PATH_MAX];

	s->call.method = "statfs";
	s->call.subject = s->path;
	if (d && d->process != EVIDENCE_NONE)
		(void)str_format(path, sizeof(path), "/proc/%d/root%s",
			e->processes[d->process].pid, s->path);
	else
		(void)str_format(path, sizeof(path), "%s", s->path);
	return probe_statfs(q->c->options.probe, path, FILE_NS, on_answer, q, NULL);
}

static int ask(struct collect_question *q)
{
	struct collect *c = q->c;
	const struct collect_orphan *o = &c->orphans[q->orphan];
	char path[PROC_LINK_MAX];

	if (q->space != EVIDENCE_NONE)
		return ask_space(q);
	if (q->process != EVIDENCE_NONE) {
		struct evidence_process *p = &c->evidence->processes[q->process];

		p->memory.method = "cmdline";
		return probe_read(c->options.probe, (struct proc_id){ p->pid, p->start_ticks },
			PROBE_CMDLINE, LOCK_NS, on_answer, q, NULL);
	}
	/* As the namespace has it that the bundle was seen in. */
	(void)str_format(path, sizeof(path), "/proc/%d/root%s/address", o->ns_pid,
		c->evidence->shims[o->shim].bundle);
	return probe_file(c->options.probe, path, FILE_NS, on_answer, q, NULL);
}

static void ask_next(struct collect *c)
{
	struct collect_question *q;

	while ((q = current(c)) != NULL) {
		q->is_asked = true;
		q->asked_ns = clock_now().mono_ns;
		if (ask(q) >= 0) {
			arm_glance(c);
			return;
		}
		evidence_add_gap(
			c->evidence, "locks of processes", "the probe takes no questions", "");
		q->is_answered = true;
		c->questions_open--;
	}
}

static void add_question(struct collect *c, uint32_t process, uint32_t orphan, uint32_t space)
{
	if (c->question_count == COLLECT_QUESTIONS_MAX) {
		c->evidence->left_out++;
		return;
	}
	for (uint32_t i = 0; i < c->question_count; i++)
		if (process != EVIDENCE_NONE && c->questions[i].process == process)
			return;
	c->questions[c->question_count++] = (struct collect_question){
		.c = c, .process = process, .orphan = orphan, .space = space
	};
	c->questions_open++;
}

static bool speaks_of_mappings(const char *stack)
{
	static const char *const words[] = { "mmap", "munmap", "mprotect", "brk", "madvise",
		"mremap", "page_fault", "rwsem_down", "exit_mm", "vm_" };

	for (size_t i = 0; i < ELEMENTS(words); i++)
		if (strstr(stack, words[i]))
			return true;
	return false;
}

/* In the first round those whose stack says it, in the second the others. */
static void add_locks(struct collect *c, bool likely)
{
	const struct evidence *e = c->evidence;

	for (uint32_t i = 0; i < e->thread_count; i++) {
		const struct evidence_thread *t = &e->threads[i];

		if (t->state == 'D' && t->process != EVIDENCE_NONE &&
			e->processes[t->process].has_memory &&
			speaks_of_mappings(t->stack) == likely)
			add_question(c, t->process, 0, EVIDENCE_NONE);
	}
}

enum collect_step collect_questions(struct collect *c)
{
	if (c->cursor < c->evidence->process_count) {
		collect_limits(c, c->cursor++);
		return COLLECT_MORE;
	}
	if (c->cursor2 == 0)
		collect_inotify_try(c);
	if (collect_inotify(c, c->cursor2++))
		return COLLECT_MORE;
	c->questions = mem_array(COLLECT_QUESTIONS_MAX, sizeof(*c->questions));
	if (!c->questions) {
		c->evidence->left_out++;
		return COLLECT_NEXT;
	}
	for (uint32_t i = 0; i < c->orphan_count; i++)
		if (c->orphans[i].ns_pid > 0)
			add_question(c, EVIDENCE_NONE, i, EVIDENCE_NONE);
	collect_spaces(c);
	for (uint32_t i = 0; i < c->evidence->space_count; i++)
		add_question(c, EVIDENCE_NONE, 0, i);
	add_locks(c, true);
	add_locks(c, false);
	if (c->question_count > 0 && !c->options.probe) {
		evidence_add_gap(c->evidence,
			"locks of processes, addresses of dead shims, room on disks",
			"there is no probe to ask what may hang", "");
		c->question_count = c->questions_open = 0;
	}
	ask_next(c);
	return COLLECT_NEXT;
}

void collect_questions_end(struct collect *c)
{
	for (uint32_t i = 0; i < c->question_count; i++)
		if (c->questions[i].is_asked && !c->questions[i].is_answered)
			probe_forget(c->options.probe, &c->questions[i]);
	if (c->glance)
		(void)sd_event_source_set_enabled(c->glance, SD_EVENT_OFF);
	c->questions = mem_free(c->questions);
	c->question_count = c->questions_open = 0;
}
