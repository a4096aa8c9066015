#include "doctor/rules/judge.h"

#include <errno.h>
#include <stdlib.h>

#include "doctor/rules/thresholds.h"

/* ---- who belongs to whom ----------------------------------------------------------------- */

static void *array(struct judge *j, size_t count, size_t size)
{
	void *a = mem_array(count, size);

	if (!a)
		j->r = -ENOMEM;
	return a;
}

static void make_lists(struct judge *j, struct lists *l, uint32_t owners, uint32_t members)
{
	l->first = array(j, owners, sizeof(*l->first));
	l->next = array(j, members, sizeof(*l->next));
	for (uint32_t i = 0; l->first && i < owners; i++)
		l->first[i] = EVIDENCE_NONE;
}

static void put(struct lists *l, uint32_t owners, uint32_t owner, uint32_t member)
{
	if (owner >= owners)
		return;
	l->next[member] = l->first[owner];
	l->first[owner] = member;
}

static int compare_pairs(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;

	if (x->key != y->key)
		return x->key < y->key ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

static struct pair *make_pairs(
	struct judge *j, uint32_t count, uint64_t (*key)(const struct judge *j, uint32_t index))
{
	struct pair *pairs = array(j, count, sizeof(*pairs));

	for (uint32_t i = 0; pairs && i < count; i++)
		pairs[i] = (struct pair){ .key = key(j, i), .index = i };
	if (pairs && count > 0)
		qsort(pairs, count, sizeof(*pairs), compare_pairs);
	return pairs;
}

static uint64_t pid_of(const struct judge *j, uint32_t p)
{
	return (uint32_t)j->e->processes[p].pid;
}

static uint64_t namespace_of(const struct judge *j, uint32_t p)
{
	return j->e->processes[p].pid_namespace;
}

static uint64_t device_of(const struct judge *j, uint32_t m)
{
	return (uint64_t)j->e->mounts[m].major << 32 | j->e->mounts[m].minor;
}

static uint32_t pairs_start(const struct pair *pairs, uint32_t count, uint64_t key)
{
	uint32_t low = 0, high = count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (pairs[middle].key < key)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && pairs[low].key == key ? low : count;
}

uint32_t judge_process_of_pid(const struct judge *j, int32_t pid)
{
	uint32_t at = pairs_start(j->by_pid, j->e->process_count, (uint32_t)pid);

	return at < j->e->process_count ? j->by_pid[at].index : EVIDENCE_NONE;
}

uint32_t judge_namespace_start(const struct judge *j, uint64_t pid_namespace)
{
	return pairs_start(j->by_namespace, j->e->process_count, pid_namespace);
}

/* A mount of a FUSE type without its connection gets it from another mount of the device, or by minor. */
static void link_mounts(struct judge *j)
{
	const struct evidence *e = j->e;
	CLEAN(mem_freep) struct pair *devices = make_pairs(j, e->mount_count, device_of);
	uint32_t first = 0;

	j->same_device = array(j, e->mount_count, sizeof(*j->same_device));
	j->fuse_of = array(j, e->mount_count, sizeof(*j->fuse_of));
	if (j->r < 0)
		return;
	for (uint32_t i = 0; i < e->mount_count; i++) {
		if (i == 0 || devices[i].key != devices[first].key)
			first = i;
		j->same_device[devices[i].index] = devices[first].index;
		j->fuse_of[i] = EVIDENCE_NONE;
	}
	for (uint32_t i = 0; i < e->mount_count; i++)
		if (e->mounts[i].fuse < e->fuse_count)
			j->fuse_of[j->same_device[i]] = e->mounts[i].fuse;
	for (uint32_t f = 0; f < e->fuse_count; f++) {
		uint32_t at = pairs_start(devices, e->mount_count, e->fuses[f].minor);

		if (e->fuses[f].mount < e->mount_count)
			j->fuse_of[j->same_device[e->fuses[f].mount]] = f;
		else if (at < e->mount_count &&
			str_after(e->mounts[devices[at].index].type, "fuse"))
			j->fuse_of[devices[at].index] = f;
	}
	for (uint32_t i = 0; i < e->mount_count; i++)
		j->fuse_of[i] = j->fuse_of[j->same_device[i]];
}

static void link_all(struct judge *j)
{
	const struct evidence *e = j->e;

	for (uint32_t i = e->thread_count; i-- > 0;)
		put(&j->threads, e->process_count, e->threads[i].process, i);
	for (uint32_t i = e->process_count; i-- > 0;) {
		put(&j->members, e->container_count, e->processes[i].container, i);
		put(&j->frozen, e->freezer_count, e->processes[i].freezer, i);
	}
	for (uint32_t i = e->container_count; i-- > 0;)
		put(&j->shim_users, e->shim_count, e->containers[i].shim, i);
	for (uint32_t i = e->holder_count; i-- > 0;)
		put(&j->mount_holders, e->mount_count, e->holders[i].mount, i);
}

static void mark_threads(struct judge *j)
{
	for (uint32_t i = 0; i < j->e->thread_count; i++) {
		const struct evidence_thread *t = &j->e->threads[i];
		const struct evidence_process *p = process_at(j, t->process);
		const struct mark *m;

		if (!p || t->state == 'R')
			continue;
		m = memory_mark(j->memory, MARK_THREAD, (uint32_t)p->pid, p->start_ticks,
			(uint32_t)t->tid, t->switches, 0);
		j->thread_held_ns[i] = memory_held_ns(j->memory, m);
		j->thread_since_ns[i] = m->since_ns;
	}
}

int judge_init(struct judge *j, const struct evidence *e, struct rules_memory *memory,
	struct findings *out)
{
	*j = (struct judge){ .e = e, .memory = memory, .out = out };
	j->starved = e->node.has_pressure &&
		(e->node.cpu_some >= STARVED_CPU_SOME || e->node.io_full >= STARVED_IO_FULL);
	make_lists(j, &j->threads, e->process_count, e->thread_count);
	make_lists(j, &j->members, e->container_count, e->process_count);
	make_lists(j, &j->frozen, e->freezer_count, e->process_count);
	make_lists(j, &j->shim_users, e->shim_count, e->container_count);
	make_lists(j, &j->mount_holders, e->mount_count, e->holder_count);
	j->by_pid = make_pairs(j, e->process_count, pid_of);
	j->by_namespace = make_pairs(j, e->process_count, namespace_of);
	j->thread_held_ns = array(j, e->thread_count, sizeof(*j->thread_held_ns));
	j->thread_since_ns = array(j, e->thread_count, sizeof(*j->thread_since_ns));
	j->thread_cause = array(j, e->thread_count, sizeof(struct finding *));
	j->process_cause = array(j, e->process_count, sizeof(struct finding *));
	j->container_cause = array(j, e->container_count, sizeof(struct finding *));
	j->shim_cause = array(j, e->shim_count, sizeof(struct finding *));
	j->daemon_cause = array(j, e->daemon_count, sizeof(struct finding *));
	link_mounts(j);
	if (j->r < 0)
		return j->r;
	link_all(j);
	mark_threads(j);
	return 0;
}

static void lists_done(struct lists *l)
{
	(void)mem_free(l->first);
	(void)mem_free(l->next);
}

void judge_done(struct judge *j)
{
	lists_done(&j->threads);
	lists_done(&j->members);
	lists_done(&j->frozen);
	lists_done(&j->shim_users);
	lists_done(&j->mount_holders);
	(void)mem_free(j->by_pid);
	(void)mem_free(j->by_namespace);
	(void)mem_free(j->same_device);
	(void)mem_free(j->fuse_of);
	(void)mem_free(j->thread_held_ns);
	(void)mem_free(j->thread_since_ns);
	(void)mem_free(j->thread_cause);
	(void)mem_free(j->process_cause);
	(void)mem_free(j->container_cause);
	(void)mem_free(j->shim_cause);
	(void)mem_free(j->daemon_cause);
}

/* ---- reading ----------------------------------------------------------------------------- */

bool stack_has(const struct evidence_thread *t, const char *function)
{
	return strstr(t->stack, function) != NULL;
}

bool waits_in(const struct evidence_thread *t, const char *function)
{
	return stack_has(t, function) || strstr(t->wchan, function) != NULL;
}

bool kill_is_pending(const struct judge *j, const struct evidence_thread *t)
{
	const struct evidence_process *p = process_at(j, t->process);

	return ((t->pending | (p ? p->pending_shared : 0)) & SIGNAL_KILL_BIT) != 0;
}

bool is_stopped(const struct evidence_process *p)
{
	return p->state == 'T' || p->state == 't';
}

bool call_is_late(const struct evidence_call *call, uint64_t for_ns)
{
	return call->answer == ANSWER_LATE && call->age_ns >= for_ns;
}

bool shows_container(const struct evidence_process *p)
{
	const uint32_t machinery = EVIDENCE_INIT | EVIDENCE_IN_CONTAINER | EVIDENCE_SHIM |
		EVIDENCE_OCI_RUNTIME | EVIDENCE_DAEMON | EVIDENCE_NS_INIT | EVIDENCE_STUCK;

	return p->container != EVIDENCE_NONE || p->ns_level > 1 || (p->roles & machinery);
}

uint64_t process_held_ns(struct judge *j, const struct evidence_process *p)
{
	return memory_held_ns(j->memory,
		memory_mark(j->memory, MARK_PROCESS, (uint32_t)p->pid, p->start_ticks,
			(uint8_t)p->state, 0, 0));
}

uint64_t call_held_ns(struct judge *j, const char *who, const struct evidence_call *call)
{
	return memory_held_ns(j->memory,
		memory_mark(
			j->memory, MARK_CALL, mark_hash(who), mark_hash(call->method), 0, 0, 0));
}

bool process_is_idle(struct judge *j, const struct evidence_process *p)
{
	const struct mark *m = memory_mark(
		j->memory, MARK_CPU, (uint32_t)p->pid, p->start_ticks, 0, 0, p->cpu_ticks);
	uint64_t held_ms = memory_held_ns(j->memory, m) / NSEC_PER_MSEC;
	uint64_t used = p->cpu_ticks > m->value ? p->cpu_ticks - m->value : 0;

	return used <= (held_ms * CPU_IDLE_TICKS) / 1000 + 1;
}

/* ---- deciding ---------------------------------------------------------------------------- */

enum finding_confidence confidence_after(struct judge *j, uint64_t held_ns, uint64_t asked_ns)
{
	if (held_ns >= asked_ns)
		return CONFIDENCE_PROVEN;
	memory_want(j->memory,
		asked_ns - held_ns < j->rule->interval_ns ? asked_ns - held_ns
							  : j->rule->interval_ns);
	return CONFIDENCE_SUSPECTED;
}

bool is_last_word(const struct judge *j, uint64_t held_ns)
{
	return held_ns > 0 && memory_is_last(j->memory);
}

struct finding *judge_begin(struct judge *j, enum finding_severity severity,
	enum finding_confidence confidence, int64_t since_ns, struct finding *parent)
{
	enum cause cause = j->rule->cause;
	struct finding *f;

	if (parent ? parent == &j->untold || parent->symptom_count == FINDING_SYMPTOMS_MAX
		   : j->tops[cause] == TOPS_OF_ONE_CAUSE) {
		findings_leave_out(j->out, parent == &j->untold ? NULL : parent);
		return &j->untold;
	}
	f = findings_add(j->out, cause, severity, confidence, since_ns);
	if (!f)
		return &j->untold;
	if (parent)
		findings_attach(j->out, parent, f);
	else
		j->tops[cause]++;
	return f;
}

static void explain(struct finding **cause, uint32_t count, uint32_t index, struct finding *f)
{
	if (index < count && !cause[index])
		cause[index] = f;
}

void explain_container(struct judge *j, uint32_t container, struct finding *f)
{
	explain(j->container_cause, j->e->container_count, container, f);
}

void explain_process(struct judge *j, uint32_t process, struct finding *f)
{
	const struct evidence_process *p = process_at(j, process);

	explain(j->process_cause, j->e->process_count, process, f);
	if (p && !(p->roles & EVIDENCE_SHIM))
		explain_container(j, p->container, f);
}

void explain_thread(struct judge *j, uint32_t thread, struct finding *f)
{
	explain(j->thread_cause, j->e->thread_count, thread, f);
	if (thread < j->e->thread_count)
		explain_process(j, j->e->threads[thread].process, f);
}

void explain_shim(struct judge *j, uint32_t shim, struct finding *f)
{
	explain(j->shim_cause, j->e->shim_count, shim, f);
	if (shim < j->e->shim_count)
		FOREACH_IN (c, &j->shim_users, shim)
			explain_container(j, c, f);
}

void explain_daemon(struct judge *j, uint32_t daemon, struct finding *f)
{
	explain(j->daemon_cause, j->e->daemon_count, daemon, f);
}
