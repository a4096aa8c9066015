/* What daemons and shims have left of what they may have: descriptors against their limit. Without
 * one more they can accept nobody, start nothing, and say so in their log only. */
#include "doctor/collect-internal.h"

void collect_limits(struct collect *c)
{
	struct evidence *e = c->evidence;

	for (uint32_t i = 0; i < e->process_count; i++) {
		struct evidence_process *p = &e->processes[i];
		uint64_t count, limit;

		if ((p->roles & (EVIDENCE_DAEMON | EVIDENCE_SHIM)) == 0 ||
			proc_read_fd_limit(p->pid, &limit) < 0 ||
			proc_count_fds(c->proc_fd, p->pid, &count) < 0 ||
			proc_verify(c->proc_fd, (struct proc_id){ p->pid, p->start_ticks }) < 0)
			continue;
		p->fd_count = count;
		p->fd_limit = limit;
	}
}
