/*
 * Details of the processes that were chosen, their parents and tracers. What has ended since the
 * sweep is left out; who has its pid by now is not taken for it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "doctor/collect-internal.h"

/* --- freezers --- */

static uint32_t add_freezer(struct collect *c, const struct cgroup_freezer_level *level, bool v2)
{
	struct evidence *e = c->evidence;
	char id[IDENTITY_ID_LEN + 1], file[CGROUP_PATH_MAX + 32];
	uint32_t i;

	for (i = 0; i < e->freezer_count; i++)
		if (e->freezers[i].v2 == v2 && str_eq(e->freezers[i].path, level->path))
			return i;
	i = evidence_add_freezer(e);
	if (i == EVIDENCE_NONE)
		return i;
	e->freezers[i].path = evidence_text(e, level->path);
	(void)str_format(
		file, sizeof(file), "%s/%s", level->path, v2 ? "cgroup.freeze" : "freezer.state");
	e->freezers[i].file = evidence_text(e, file);
	e->freezers[i].v2 = v2;
	e->freezers[i].freezing = level->state == CGROUP_FREEZING;
	e->freezers[i].self = level->self;
	if (identity_find_id(SLICE(level->path), id))
		e->freezers[i].container = collect_container(c, id);
	return i;
}

/* All levels above a group in one hierarchy: the one that has to be thawed for it to go on. */
static uint32_t look_at_levels(struct collect *c, const struct cgroup_mounts *mounts,
	const char *text, size_t len, bool v2, const char **ret_path)
{
	struct cgroup_freezer_level levels[CGROUP_LEVELS];
	uint32_t holds = EVIDENCE_NONE;
	char path[CGROUP_PATH_MAX];
	bool holds_self = false;
	int count;

	if (cgroup_path(mounts, text, len, v2 ? CGROUP_UNIFIED : CGROUP_FREEZER, path) < 0)
		return EVIDENCE_NONE;
	if ((*ret_path)[0] == '\0')
		*ret_path = evidence_text(c->evidence, path);
	count = cgroup_read_freezer(mounts, path, levels, ELEMENTS(levels));
	for (int i = 0; i < count; i++) {
		uint32_t index;

		if (levels[i].state == CGROUP_THAWED)
			continue;
		index = add_freezer(c, &levels[i], v2);
		/* The innermost that was told to; one that only follows does not count beside it. */
		if (index != EVIDENCE_NONE && (levels[i].self || !holds_self)) {
			holds = index;
			holds_self = levels[i].self;
		}
	}
	return holds;
}

uint32_t collect_freezer(
	struct collect *c, const char *text, size_t len, uint32_t container, const char **ret_path)
{
	bool has_v1 = c->cgroups.at[CGROUP_FREEZER].path[0] != '\0';
	uint32_t index = EVIDENCE_NONE;

	*ret_path = "";
	if (has_v1)
		index = look_at_levels(c, &c->cgroups, text, len, false, ret_path);
	if (index == EVIDENCE_NONE && c->cgroups.at[CGROUP_UNIFIED].path[0] != '\0') {
		struct cgroup_mounts unified = c->cgroups;

		unified.at[CGROUP_FREEZER].path[0] = '\0';
		index = look_at_levels(c, &unified, text, len, true, ret_path);
	}
	if (index != EVIDENCE_NONE && container != EVIDENCE_NONE)
		c->evidence->freezers[index].container = container;
	return index;
}

/* --- one process --- */

static uint64_t age_ns(const struct collect *c, uint64_t start_ticks)
{
	uint64_t start_ns = start_ticks / c->ticks_per_second * NSEC_PER_SEC +
		start_ticks % c->ticks_per_second * (NSEC_PER_SEC / c->ticks_per_second);

	return time_since(c->boot_ns, start_ns);
}

static void put_status(struct evidence_process *p, const struct proc_status *status)
{
	p->tracer_pid = status->tracer_pid;
	p->pending_shared = status->pending_shared;
	p->ignored = status->ignored;
	p->caught = status->caught;
	p->fd_size = status->fd_size;
	p->has_memory = status->has_memory;
	p->dumping_core = status->dumping_core;
	p->ns_level = status->ns_levels;
	p->ns_pid = status->ns_levels > 0 ? status->ns_pids[status->ns_levels - 1] : 0;
}

static void put_cgroup(struct collect *c, const struct seen *s, uint32_t index)
{
	char text[PROC_TEXT_MAX];
	int32_t tid = s->state == 'Z' ? s->live_tid : 0;
	const char *path = "";
	uint32_t freezer;
	int n = proc_read_text(c->proc_fd, s->pid, tid, PROC_CGROUP, text, sizeof(text));

	if (n <= 0)
		return;
	freezer = collect_freezer(c, text, (size_t)n, s->container, &path);
	c->evidence->processes[index].cgroup = path;
	c->evidence->processes[index].freezer = freezer;
}

/* Its freezer is one more reason to keep the leader: on v2 a frozen task is S and looks idle. */
static void keep_frozen_leader(struct collect *c, struct seen *s, uint32_t index)
{
	if (c->evidence->processes[index].freezer != EVIDENCE_NONE && s->candidates == 0 &&
		s->state != 'Z')
		(void)collect_add_candidate(c, s, s->pid, s->state);
}

uint32_t collect_add_process(struct collect *c, struct seen *s, uint32_t roles)
{
	struct evidence *e = c->evidence;
	struct proc_id id = { s->pid, s->start_ticks };
	struct proc_status status;
	uint32_t index = s->process;
	uint64_t ns = 0;
	int dead;

	s->roles |= roles;
	if (index != EVIDENCE_NONE && e->processes[index].ns_level > 0) {
		e->processes[index].roles |= roles;
		return index; /* was here */
	}
	if (proc_read_status(c->proc_fd, s->pid, 0, &status) < 0 || proc_verify(c->proc_fd, id) < 0)
		return EVIDENCE_NONE;
	dead = proc_is_dead(c->proc_fd, id);
	(void)proc_read_ns(c->proc_fd, s->pid, 0, PROC_NS_PID, &ns);
	if (s->container_id[0] != '\0')
		s->container = collect_container(c, s->container_id);
	if (index == EVIDENCE_NONE)
		index = evidence_add_process(e);
	if (index == EVIDENCE_NONE)
		return index;
	s->process = index;
	put_status(&e->processes[index], &status);
	e->processes[index].pid = s->pid;
	e->processes[index].start_ticks = s->start_ticks;
	e->processes[index].age_ns = age_ns(c, s->start_ticks);
	e->processes[index].comm = evidence_text(e, s->comm);
	e->processes[index].state = status.state;
	e->processes[index].ppid = s->ppid;
	e->processes[index].thread_count = status.threads;
	e->processes[index].cpu_ticks = s->cpu_ticks;
	e->processes[index].has_pidfd = dead >= 0;
	e->processes[index].pidfd_readable = dead > 0;
	e->processes[index].pid_namespace = ns;
	if (e->processes[index].container == EVIDENCE_NONE)
		e->processes[index].container = s->container;
	if (e->processes[index].ns_pid == 1 && status.ns_levels > 1)
		s->roles |= EVIDENCE_NS_INIT;
	e->processes[index].roles |= s->roles;
	put_cgroup(c, s, index);
	keep_frozen_leader(c, s, index);
	return index;
}

/* --- stages --- */

enum collect_step collect_processes(struct collect *c)
{
	struct seen *s;

	if (c->cursor == c->seen_count)
		return COLLECT_NEXT;
	s = &c->seen[c->cursor++];
	if (s->roles != 0)
		(void)collect_add_process(c, s, 0);
	return COLLECT_MORE;
}

/* The array grows while it is walked: who came only as a relative brings no more of them. */
enum collect_step collect_relatives(struct collect *c)
{
	struct evidence *e = c->evidence;
	const uint32_t only = EVIDENCE_PARENT | EVIDENCE_TRACER;
	uint32_t at = c->cursor;
	struct seen *s;

	if (at == e->process_count)
		return COLLECT_NEXT;
	c->cursor++;
	if ((e->processes[at].roles & ~only) == 0)
		return COLLECT_MORE;
	s = e->processes[at].ppid > 0 ? collect_seen_by_pid(c, e->processes[at].ppid) : NULL;
	if (s) {
		uint32_t parent = collect_add_process(c, s, EVIDENCE_PARENT);

		e->processes[at].parent = parent;
	}
	s = e->processes[at].tracer_pid > 0 ? collect_seen_by_pid(c, e->processes[at].tracer_pid)
					    : NULL;
	if (s)
		(void)collect_add_process(c, s, EVIDENCE_TRACER);
	return COLLECT_MORE;
}
