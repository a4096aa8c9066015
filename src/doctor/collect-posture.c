/*
 * What all threads of a daemon are at, when it has not answered: one that is deadlocked has nobody who
 * runs and nobody who waits for a disk. Read at the end of a sample, when it is known who is late.
 */
#include <errno.h>
#include <string.h>

#include "doctor/collect-internal.h"

static void put_where(struct collect *c, struct evidence_posture *posture, const char *wchan)
{
	posture->where = evidence_text(c->evidence, wchan);
}

/* False if it cannot be told what it is at. */
static bool put_thread(
	struct collect *c, struct evidence_posture *posture, int32_t pid, int32_t tid, char state)
{
	char wchan[PROC_WCHAN_MAX] = "";

	posture->threads++;
	switch (state) {
	case 'R': posture->running++; return true;
	case 'T':
	case 't': posture->stopped++; return true;
	case 'Z':
	case 'X': posture->threads--; return true;
	default: break;
	}
	(void)proc_read_wchan(c->proc_fd, pid, tid, wchan);
	if (state == 'D') {
		posture->stuck++;
		put_where(c, posture, wchan);
		return true;
	}
	if (wchan[0] == '\0')
		return false;
	if (identity_wait_is_idle(wchan)) {
		posture->waiting++;
		return true;
	}
	posture->elsewhere++;
	if (posture->stuck == 0)
		put_where(c, posture, wchan);
	return true;
}

static void look_at(
	struct collect *c, const struct evidence_process *p, struct evidence_posture *ret)
{
	struct proc_walk walk;
	bool is_whole = true;
	int32_t tid;

	if (proc_walk_init(&walk, c->proc_fd, PROC_WALK_THREADS, p->pid, 0) < 0)
		return;
	while (is_whole && proc_walk_next(&walk, &tid)) {
		struct proc_stat stat;

		if (ret->threads == COLLECT_POSTURE_MAX)
			is_whole = false;
		else if (proc_read_stat(c->proc_fd, p->pid, tid, &stat) >= 0)
			is_whole = put_thread(c, ret, p->pid, tid, stat.state);
	}
	proc_walk_done(&walk);
	ret->is_known = is_whole && ret->threads > 0 &&
		proc_verify(c->proc_fd, (struct proc_id){ p->pid, p->start_ticks }) >= 0;
}

void collect_postures(struct collect *c)
{
	struct evidence *e = c->evidence;

	for (uint32_t i = 0; i < e->daemon_count; i++) {
		struct evidence_daemon *d = &e->daemons[i];

		if (d->process != EVIDENCE_NONE &&
			(d->version.answer == ANSWER_LATE || d->list.answer == ANSWER_LATE ||
				d->tasks.answer == ANSWER_LATE))
			look_at(c, &e->processes[d->process], &d->posture);
	}
}
