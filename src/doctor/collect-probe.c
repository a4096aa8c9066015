/*
 * Whether somebody holds a process's mmap_lock for ever: its cmdline is read by the probe, which then
 * hangs instead of us. Only processes with a thread in uninterruptible sleep can be so; those whose
 * stack speaks of mappings come first. What was read is dropped.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "doctor/collect-internal.h"
#include "kernel/probe-agent.h"

#define QUESTION_NS   (600 * NSEC_PER_MSEC)
#define GLANCE_NS     (250 * NSEC_PER_MSEC) /* after that it does not just take its time */
#define ACCURACY_USEC 1000u

struct collect_question {
	struct collect *c;
	uint32_t process;
	uint64_t asked_ns;
	bool answered;
};

static int32_t probe_pid(const struct collect *c)
{
	struct probe_status s;

	probe_status(c->options.probe, &s);
	return s.role.pid;
}

/* The question that the probe has now: the first that is not answered. */
static struct collect_question *current(struct collect *c)
{
	for (uint32_t i = 0; i < c->question_count; i++)
		if (!c->questions[i].answered)
			return &c->questions[i];
	return NULL;
}

static void arm_glance(struct collect *c)
{
	if (c->glance &&
		sd_event_source_set_time_relative(c->glance, GLANCE_NS / NSEC_PER_USEC) >= 0)
		(void)sd_event_source_set_enabled(c->glance, SD_EVENT_ONESHOT);
}

/* Where the probe sleeps says what it waits for. */
static int on_glance(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct collect *c = userdata;
	struct collect_question *q = current(c);
	char wchan[PROC_WCHAN_MAX];
	int32_t pid = probe_pid(c);

	(void)source;
	(void)usec;
	if (q && pid > 0 && proc_read_wchan(c->proc_fd, pid, 0, wchan) >= 0 && wchan[0] != '\0')
		c->evidence->processes[q->process].memory_wchan = evidence_text(c->evidence, wchan);
	return 0;
}

static void on_answer(int r, const struct probe_answer *answer, const char *reason, void *userdata)
{
	struct collect_question *q = userdata;
	struct collect *c = q->c;
	struct evidence_process *p = &c->evidence->processes[q->process];

	(void)answer; /* Arguments: not for us. */
	q->answered = true;
	p->memory.age_ns = time_since(clock_now().mono_ns, q->asked_ns);
	p->memory.answer = r == -ETIMEDOUT                   ? ANSWER_LATE
		: r == -ESRCH                                ? ANSWER_NOT_FOUND
		: r == -EAGAIN || r == -EBUSY || r == -EPIPE ? ANSWER_NOT_ASKED
		: r < 0                                      ? ANSWER_ERROR
							     : ANSWER_OK;
	p->memory.message = evidence_text(c->evidence, r < 0 ? reason : "");
	if (p->memory.answer != ANSWER_LATE)
		p->memory_wchan = "";
	/* The next one is with the probe from now on. */
	q = current(c);
	if (q) {
		q->asked_ns = clock_now().mono_ns;
		arm_glance(c);
	}
	if (--c->questions_open == 0)
		collect_wake(c);
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

static void ask(struct collect *c, uint32_t process)
{
	struct evidence *e = c->evidence;
	struct evidence_process *p = &e->processes[process];
	struct collect_question *q = &c->questions[c->question_count];
	struct proc_id id = { p->pid, p->start_ticks };

	if (c->question_count == COLLECT_QUESTIONS_MAX) {
		e->left_out++;
		return;
	}
	for (uint32_t i = 0; i < c->question_count; i++)
		if (c->questions[i].process == process)
			return;
	*q = (struct collect_question){ c, process, clock_now().mono_ns, false };
	if (probe_read(c->options.probe, id, PROBE_CMDLINE, QUESTION_NS, on_answer, q, NULL) < 0) {
		evidence_add_gap(e, "locks of processes", "the probe takes no more questions", "");
		return;
	}
	p->memory.method = "cmdline";
	c->question_count++;
	c->questions_open++;
}

/* In the first round those whose stack says it, in the second the others. */
static void ask_round(struct collect *c, bool likely)
{
	const struct evidence *e = c->evidence;

	for (uint32_t i = 0; i < e->thread_count; i++) {
		const struct evidence_thread *t = &e->threads[i];

		if (t->state == 'D' && t->process != EVIDENCE_NONE &&
			e->processes[t->process].has_memory &&
			speaks_of_mappings(t->stack) == likely)
			ask(c, t->process);
	}
}

enum collect_step collect_questions(struct collect *c)
{
	bool wanted = false;

	for (uint32_t i = 0; i < c->evidence->thread_count; i++)
		wanted = wanted || c->evidence->threads[i].state == 'D';
	if (!wanted)
		return COLLECT_NEXT;
	if (!c->options.probe) {
		evidence_add_gap(c->evidence, "locks of processes",
			"there is no probe to ask what may hang", "");
		return COLLECT_NEXT;
	}
	c->questions = mem_array(COLLECT_QUESTIONS_MAX, sizeof(*c->questions));
	if (!c->questions)
		return COLLECT_NEXT;
	if (!c->glance &&
		sd_event_add_time(c->options.loop, &c->glance, CLOCK_MONOTONIC, 0, ACCURACY_USEC,
			on_glance, c) >= 0)
		(void)sd_event_source_set_enabled(c->glance, SD_EVENT_OFF);
	ask_round(c, true);
	ask_round(c, false);
	arm_glance(c);
	return COLLECT_NEXT;
}

void collect_questions_end(struct collect *c)
{
	if (!c->questions)
		return;
	for (uint32_t i = 0; i < c->question_count; i++) {
		struct collect_question *q = &c->questions[i];

		if (!q->answered && c->evidence)
			c->evidence->processes[q->process].memory.answer = ANSWER_NOT_ASKED;
		probe_forget(c->options.probe, q);
	}
	if (c->glance)
		(void)sd_event_source_set_enabled(c->glance, SD_EVENT_OFF);
	c->questions = mem_free(c->questions);
	c->question_count = c->questions_open = 0;
}
