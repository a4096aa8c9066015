/*
 * Bringing together: which process is whose init, which shim is whose, what the kernel's word about a
 * container is. All of it from what was read; nothing is asked here but of the kernel, for the few
 * processes that only a runtime's answer has named.
 */
#include <errno.h>
#include <string.h>

#include "doctor/collect-internal.h"

#define RECENT_NS (600 * (int64_t)NSEC_PER_SEC) /* of evidence_container.recent_exits */

/* --- containers --- */

uint32_t collect_find_container(const struct collect *c, const char *id)
{
	uintptr_t at = (uintptr_t)table_get_string(&c->ids, id);

	return at > 0 ? (uint32_t)(at - 1) : EVIDENCE_NONE;
}

uint32_t collect_container(struct collect *c, const char *id)
{
	struct evidence *e = c->evidence;
	uint32_t i = collect_find_container(c, id);

	if (i != EVIDENCE_NONE)
		return i;
	i = evidence_add_container(e);
	if (i == EVIDENCE_NONE)
		return i;
	e->containers[i].id = evidence_text(e, id);
	e->containers[i].runtime_state = CONTAINER_UNKNOWN;
	e->containers[i].by_kernel_only = true;
	(void)table_put_string(&c->ids, e->containers[i].id, (void *)(uintptr_t)(i + 1));
	return i;
}

/* Told of, and not among those that were looked at: dead, or started only after that. */
static void put_missing(struct collect *c, uint32_t container, int32_t pid)
{
	struct evidence_container *k = &c->evidence->containers[container];
	struct proc_stat stat;

	if (k->runtime_state == CONTAINER_RUNNING && k->init == EVIDENCE_NONE &&
		proc_read_stat(c->proc_fd, pid, 0, &stat) == -ESRCH)
		k->kernel_state = LEDGER_GONE;
}

/* containerd names the pid; its process is in the sample from here on if it was not. */
static void link_tasks(struct collect *c)
{
	struct evidence *e = c->evidence;

	for (uint32_t k = 0; k < c->task_count; k++) {
		uint32_t container = c->tasks_told[k].container;
		struct seen *s = collect_seen_by_pid(c, c->tasks_told[k].pid);
		uint32_t process = s ? collect_add_process(c, s, EVIDENCE_INIT) : EVIDENCE_NONE;

		if (process == EVIDENCE_NONE) {
			put_missing(c, container, c->tasks_told[k].pid);
			continue;
		}
		e->containers[container].init = process;
		e->processes[process].container = container;
	}
}

static bool is_better_init(const struct evidence_process *a, const struct evidence_process *b)
{
	if ((a->ns_pid == 1) != (b->ns_pid == 1))
		return a->ns_pid == 1;
	return a->start_ticks < b->start_ticks;
}

/* What a shim has started in a container is its init, or was exec'd: the first is the oldest, and
 * mostly pid 1 of its own namespace. The facts know better. */
void collect_link_inits(struct collect *c)
{
	struct evidence *e = c->evidence;

	for (uint32_t i = 0; i < e->process_count; i++) {
		struct evidence_process *p = &e->processes[i];
		uint32_t *init, other = i;

		if ((p->roles & EVIDENCE_INIT) == 0 || p->container == EVIDENCE_NONE)
			continue;
		init = &e->containers[p->container].init;
		if (*init == i)
			continue;
		if (*init == EVIDENCE_NONE ||
			(!c->has_facts && is_better_init(p, &e->processes[*init]))) {
			other = *init;
			*init = i;
		}
		if (other == EVIDENCE_NONE)
			continue;
		e->processes[other].roles &= ~(uint32_t)EVIDENCE_INIT;
		e->processes[other].roles |= EVIDENCE_IN_CONTAINER;
	}
}

static enum ledger_state state_of(const struct evidence_process *p)
{
	if (p->state == 'X' || (p->has_pidfd && p->pidfd_readable && p->state != 'Z'))
		return LEDGER_GONE;
	if (p->state == 'Z')
		return p->thread_count > 1 && !p->pidfd_readable ? LEDGER_ZOMBIE_THREADS
								 : LEDGER_ZOMBIE;
	return p->state == '?' ? LEDGER_GONE : LEDGER_ALIVE;
}

static void put_kernel_states(struct evidence *e)
{
	for (uint32_t i = 0; i < e->container_count; i++) {
		struct evidence_container *k = &e->containers[i];

		if (k->init == EVIDENCE_NONE)
			continue;
		if (k->kernel_state == LEDGER_NONE)
			k->kernel_state = state_of(&e->processes[k->init]);
		if (k->freezer == EVIDENCE_NONE)
			k->freezer = e->processes[k->init].freezer;
		if (k->freezer != EVIDENCE_NONE && k->pause == PAUSE_YES)
			e->freezers[k->freezer].on_purpose = true;
	}
}

/* --- shims --- */

static uint32_t shim_of_process(const struct evidence *e, uint32_t process)
{
	for (uint32_t i = 0; process != EVIDENCE_NONE && i < e->shim_count; i++)
		if (e->shims[i].process == process)
			return i;
	return EVIDENCE_NONE;
}

/* The one that is asked, or the only one of its kind: with several nothing tells which. */
static uint32_t daemon_of_namespace(const struct evidence *e, struct slice namespace)
{
	bool is_docker = slice_eq(namespace, SLICE("moby"));
	uint32_t found = EVIDENCE_NONE, count = 0;

	for (uint32_t i = 0; i < e->daemon_count; i++) {
		if (e->daemons[i].kind != (is_docker ? DAEMON_DOCKERD : DAEMON_CONTAINERD))
			continue;
		if (e->daemons[i].is_runtime)
			return i;
		found = i;
		count++;
	}
	return count == 1 ? found : EVIDENCE_NONE;
}

/* What a shim's directory tells of a container that no runtime told of. */
static void complete_by_bundle(struct evidence *e, struct evidence_container *k)
{
	struct slice namespace, id;

	if (!identity_of_bundle(e->shims[k->shim].bundle, &namespace, &id))
		return;
	if (k->daemon == EVIDENCE_NONE)
		k->daemon = daemon_of_namespace(e, namespace);
	if (!k->by_kernel_only || slice_eq(namespace, SLICE("moby")))
		return;
	if (slice_eq(id, SLICE(k->id)))
		k->kind = CONTAINER_KIND_SANDBOX;
	else
		k->sandbox_id = evidence_copy(e, id.data, id.len);
}

/* A pod has one shim: those that its containers have lost are one when they had one address. */
static uint32_t first_shim_like(const struct evidence *e, uint32_t shim)
{
	const struct evidence_shim *s = &e->shims[shim];

	for (uint32_t i = 0; i < shim && s->process == EVIDENCE_NONE && s->address[0] != '\0'; i++)
		if (e->shims[i].process == EVIDENCE_NONE && str_eq(e->shims[i].address, s->address))
			return i;
	return shim;
}

static void link_shims(struct evidence *e)
{
	for (uint32_t i = 0; i < e->container_count; i++) {
		struct evidence_container *k = &e->containers[i];
		const struct evidence_process *p;

		if (k->init == EVIDENCE_NONE)
			continue;
		p = &e->processes[k->init];
		if (k->shim == EVIDENCE_NONE)
			k->shim = shim_of_process(e, p->parent);
		if (k->shim != EVIDENCE_NONE) {
			k->shim = first_shim_like(e, k->shim);
			complete_by_bundle(e, k);
			continue;
		}
		/* Its parent has gone and somebody else has it: the shim that was is dead. */
		if (p->ppid > 0 && p->state != '?' &&
			(p->parent == EVIDENCE_NONE ||
				(e->processes[p->parent].roles &
					(EVIDENCE_SHIM | EVIDENCE_OCI_RUNTIME | EVIDENCE_DAEMON)) ==
					0))
			k->shim = evidence_add_shim(e);
	}
}

/* --- the rest --- */

static void link_daemons(struct evidence *e)
{
	for (uint32_t i = 0; i < e->daemon_count; i++) {
		struct evidence_daemon *d = &e->daemons[i];

		if (d->process != EVIDENCE_NONE)
			d->is_paused_by_freezer = e->processes[d->process].freezer != EVIDENCE_NONE;
	}
	for (uint32_t i = 0; i < e->freezer_count; i++)
		for (uint32_t k = 0; k < e->container_count; k++)
			if (e->freezers[i].container == EVIDENCE_NONE &&
				e->containers[k].freezer == i)
				e->freezers[i].container = k;
}

/* Of that number and name, and there before it hung: numbers are given again. */
static bool is_hung(const struct evidence *e, const struct evidence_hung *h, uint32_t thread)
{
	const struct evidence_thread *t = &e->threads[thread];

	return t->tid == h->tid && str_eq(t->comm, h->comm) && t->process != EVIDENCE_NONE &&
		e->processes[t->process].age_ns / NSEC_PER_SEC >=
		h->age_ns / NSEC_PER_SEC + h->seconds;
}

static void link_hungs(struct evidence *e)
{
	for (uint32_t i = 0; i < e->hung_count; i++)
		for (uint32_t k = 0; k < e->thread_count; k++)
			if (is_hung(e, &e->hungs[i], k))
				e->hungs[i].thread = k;
}

static void count_containers(struct evidence *e)
{
	if (e->node.containers_live + e->node.containers_dead > 0)
		return;
	for (uint32_t i = 0; i < e->container_count; i++) {
		const struct evidence_container *k = &e->containers[i];

		if (k->kind == CONTAINER_KIND_SANDBOX)
			continue;
		if (k->runtime_state == CONTAINER_RUNNING || k->kernel_state == LEDGER_ALIVE)
			e->node.containers_live++;
		else
			e->node.containers_dead++;
	}
}

/* --- ends --- */

static bool is_same_name(const struct evidence_container *a, const struct evidence_container *b)
{
	return str_eq(a->pod_uid, b->pod_uid) && str_eq(a->namespace, b->namespace) &&
		str_eq(a->pod, b->pod) && str_eq(a->container, b->container);
}

/* Of all incarnations of this one's name that the runtime still has. */
static void count_exits_like(struct collect *c, uint32_t like)
{
	struct evidence *e = c->evidence;
	int64_t latest_ns = 0;
	uint32_t count = 0;
	int32_t code = 0;
	bool same = true;

	for (uint32_t i = 0; i < e->container_count; i++) {
		if (c->finished_ns[i] == 0 || e->at_ns - c->finished_ns[i] > RECENT_NS ||
			!is_same_name(&e->containers[i], &e->containers[like]))
			continue;
		same = same &&
			e->containers[i].last_exit_code == e->containers[like].last_exit_code;
		count++;
		if (c->finished_ns[i] >= latest_ns) {
			latest_ns = c->finished_ns[i];
			code = e->containers[i].last_exit_code;
		}
	}
	for (uint32_t i = 0; i < e->container_count; i++)
		if (is_same_name(&e->containers[i], &e->containers[like])) {
			e->containers[i].recent_exits = count;
			e->containers[i].same_exit_code = same;
			/* Its own stays with one that has ended. */
			if (c->finished_ns[i] == 0)
				e->containers[i].last_exit_code = code;
		}
}

/* Without an agent that has heard the events, what the runtime keeps of the dead is all there is. */
static void count_exits(struct collect *c)
{
	struct evidence *e = c->evidence;

	for (uint32_t i = 0; c->finished_ns && i < e->container_count; i++)
		if (c->finished_ns[i] > 0 && e->containers[i].recent_exits == 0 &&
			e->containers[i].kind == CONTAINER_KIND_CONTAINER &&
			e->containers[i].container[0] != '\0')
			count_exits_like(c, i);
}

/* How often that name was started again: Docker counts it for each container, and of CRI the number of
 * the attempt tells it. A pod's first sandbox is as old as the pod. */
static void count_restarts_of(struct collect *c, uint32_t container)
{
	struct evidence *e = c->evidence;
	struct evidence_container *k = &e->containers[container];
	uint32_t sandbox = collect_find_container(c, k->sandbox_id);

	if (k->restarts > 0) {
		k->restarts_in_ns = k->age_ns;
		return;
	}
	k->restarts = k->attempt;
	if (k->restarts > 0 && sandbox != EVIDENCE_NONE && e->containers[sandbox].attempt == 0)
		k->restarts_in_ns = e->containers[sandbox].age_ns;
	for (uint32_t i = 0; k->restarts > 0 && i < e->container_count; i++)
		if (e->containers[i].last_exit_ns > 0 &&
			(k->last_exit_ns == 0 || e->containers[i].last_exit_ns < k->last_exit_ns) &&
			is_same_name(&e->containers[i], k))
			k->last_exit_ns = e->containers[i].last_exit_ns;
}

static void count_restarts(struct collect *c)
{
	const struct evidence *e = c->evidence;

	for (uint32_t i = 0; !c->has_facts && i < e->container_count; i++)
		if (e->containers[i].kind == CONTAINER_KIND_CONTAINER &&
			!e->containers[i].by_kernel_only)
			count_restarts_of(c, i);
}

/* --- what is nobody's business --- */

/* A bundle of a container that no runtime tells of: left by a daemon that is gone altogether, or of
 * another one than was asked. Nobody tries to take it away. */
static bool is_foreign(const struct collect *c, const char *path)
{
	char id[IDENTITY_ID_LEN + 1];
	uint32_t container;

	if (!strstr(path, "/io.containerd.") || !identity_find_id(SLICE(path), id))
		return false;
	container = collect_find_container(c, id);
	return container == EVIDENCE_NONE || c->evidence->containers[container].by_kernel_only;
}

/* A runtime's list may come when the mounts have been looked at already. */
static void link_mounts(struct collect *c)
{
	struct evidence *e = c->evidence;
	char id[IDENTITY_ID_LEN + 1];

	for (uint32_t i = 0; i < e->mount_count; i++)
		if (e->mounts[i].container == EVIDENCE_NONE &&
			identity_find_id(SLICE(e->mounts[i].point), id))
			e->mounts[i].container = collect_find_container(c, id);
	for (uint32_t i = 0; i < e->busy_count; i++)
		if (e->busies[i].container == EVIDENCE_NONE && e->busies[i].mount < e->mount_count)
			e->busies[i].container = e->mounts[e->busies[i].mount].container;
}

static void drop_holders(struct evidence *e, uint32_t mount)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < e->holder_count; i++)
		if (e->holders[i].mount != mount)
			e->holders[kept++] = e->holders[i];
	e->holder_count = kept;
}

/* Those that were seen here, not told; known only now that the runtime has answered, or has not. */
static void drop_foreign(struct collect *c)
{
	struct evidence *e = c->evidence;
	uint32_t kept = c->told_busies;

	for (uint32_t i = kept; i < e->busy_count; i++) {
		if (is_foreign(c, e->busies[i].path))
			drop_holders(e, e->busies[i].mount);
		else
			e->busies[kept++] = e->busies[i];
	}
	e->busy_count = kept;
}

void collect_finish(struct collect *c)
{
	struct evidence *e = c->evidence;

	collect_link_inits(c);
	link_tasks(c);
	put_kernel_states(e);
	link_shims(e);
	link_daemons(e);
	collect_postures(c);
	link_hungs(e);
	count_containers(e);
	count_exits(c);
	count_restarts(c);
	link_mounts(c);
	drop_foreign(c);
}
