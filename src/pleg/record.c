/*
 * Records: pods, their containers and sandboxes, and for each the path of states that were observed
 * and are not told yet.
 *
 * A record belongs to one pod for its life. Ids are matched as raw bytes; everything that is shown
 * was cleaned and cut when the record was made. What is allocated is allocated before anything is
 * linked, so out of memory leaves no trace.
 */
#include "pleg/pleg-internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"

enum container_state pleg_state(enum container_state state)
{
	return state == CONTAINER_CREATED ? CONTAINER_UNKNOWN : state;
}

enum container_state pleg_state_known(enum container_state state)
{
	switch (state) {
	case CONTAINER_CREATED:
	case CONTAINER_RUNNING:
	case CONTAINER_EXITED:
	case CONTAINER_UNKNOWN: return state;
	case CONTAINER_GONE: break; /* nothing that is told of is gone */
	}
	return CONTAINER_UNKNOWN;
}

/* ---- pods -------------------------------------------------------------------------------- */

static int pod_compare(const void *a, const void *b)
{
	const struct pod *const *x = a, *const *y = b;

	if ((*x)->created_at_ns != (*y)->created_at_ns)
		return (*x)->created_at_ns < (*y)->created_at_ns ? -1 : 1;
	return (*x)->serial < (*y)->serial ? -1 : 1;
}

void pleg_pods_tidy(struct pleg *pleg)
{
	size_t holes = pleg->pod_slots - pleg->pod_count, kept = 0;

	if (!pleg->pods_unsorted && (holes == 0 || holes * 2 < pleg->pod_slots))
		return;
	for (size_t i = 0; i < pleg->pod_slots; i++)
		if (pleg->pods[i])
			pleg->pods[kept++] = pleg->pods[i];
	pleg->pod_slots = kept;
	if (pleg->pods_unsorted)
		qsort(pleg->pods, kept, sizeof(*pleg->pods), pod_compare);
	for (size_t i = 0; i < kept; i++)
		pleg->pods[i]->slot = i;
	pleg->pods_unsorted = false;
}

struct pod *pleg_pod_free(struct pod *pod)
{
	if (!pod)
		return NULL;
	(void)mem_free(pod->records);
	(void)mem_free(pod->views);
	return mem_free(pod);
}

/* Who a pod is, cleaned. */
struct pod_name {
	char key[NAME_BYTES_MAX + 1], name[NAME_BYTES_MAX + 1], namespace[NAME_BYTES_MAX + 1];
	bool has_uid, has_sandbox_key;
};

static void pod_name_key(struct pod_name *name, struct slice key)
{
	(void)str_clean(name->key, sizeof(name->key), key.data, key.len);
}

/* By sandbox first, by label second, and what has neither is a pod of its own. */
static struct pod *pod_of_entry(const struct pleg *pleg, const struct list_entry *entry,
	const struct container_identity *identity, struct pod_name *name)
{
	bool is_sandbox = entry->kind == CONTAINER_KIND_SANDBOX;
	struct slice sandbox = is_sandbox ? entry->id : entry->sandbox_id;
	const struct record *record;

	if (!is_sandbox && sandbox.len > 0) {
		record = table_get(&pleg->records, sandbox.data, sandbox.len);
		if (record && record->kind == CONTAINER_KIND_SANDBOX)
			return record->pod;
	}
	if (identity->pod_uid.len > 0) {
		name->has_uid = true;
		pod_name_key(name, identity->pod_uid);
	} else if (sandbox.len > 0) {
		name->has_sandbox_key = true;
		pod_name_key(name, sandbox);
	} else {
		pod_name_key(name, entry->id);
	}
	return table_get_string(&pleg->pods_by_key, name->key);
}

struct pod *pleg_record_pod(const struct pleg *pleg, const struct list_entry *entry,
	const struct container_identity *identity)
{
	struct pod_name name = { 0 };

	return pod_of_entry(pleg, entry, identity, &name);
}

static int pods_reserve(struct pleg *pleg)
{
	size_t cap = pleg->pod_cap ? pleg->pod_cap * 2 : 16;
	struct pod **pods;

	if (pleg->pod_slots < pleg->pod_cap)
		return 0;
	pods = mem_resize(pleg->pods, cap, sizeof(*pods));
	if (!pods)
		return -ENOMEM;
	pleg->pods = pods;
	pleg->pod_cap = cap;
	return 0;
}

static int pod_new(
	struct pleg *pleg, const struct pod_name *name, int64_t created_at_ns, struct pod **ret)
{
	struct pod *pod;
	char *at;
	int r;

	r = pods_reserve(pleg);
	if (r < 0)
		return r;
	pod = mem_zalloc(sizeof(*pod) + strlen(name->key) + strlen(name->name) +
		strlen(name->namespace) + 3);
	if (!pod)
		return -ENOMEM;
	at = (char *)(pod + 1);
	pod->key = str_put(&at, name->key);
	pod->name = str_put(&at, name->name);
	pod->namespace = str_put(&at, name->namespace);
	pod->has_uid = name->has_uid;
	pod->has_sandbox_key = name->has_sandbox_key;
	pod->created_at_ns = created_at_ns;
	pod->serial = ++pleg->last_serial;
	r = table_put_string(&pleg->pods_by_key, pod->key, pod);
	if (r < 0) {
		(void)pleg_pod_free(pod);
		return r;
	}
	pod->slot = pleg->pod_slots++;
	pleg->pods[pod->slot] = pod;
	pleg->pod_count++;
	/* In a steady state the newest pod comes last and there is nothing to sort. */
	for (size_t i = pod->slot; i-- > 0;) {
		if (!pleg->pods[i])
			continue;
		if (pod_compare(&pleg->pods[i], &pod) > 0)
			pleg->pods_unsorted = true;
		break;
	}
	*ret = pod;
	return 0;
}

void pleg_pod_release(struct pleg *pleg, struct pod *pod)
{
	/* A list that began before this pod's own list ended must find it here, or it would believe
	 * that what is gone is new. */
	bool guard = pleg->list.token && pod->listed_seq > pleg->list.started_seq;

	if (pod->count > 0 || pod->ghosts > 0 || pod->list_call.token || pod->requested || guard)
		return;
	pleg_run_cancel(pleg, pod);
	pleg_series_stop(pleg, pod);
	pleg_cache_delete(pleg, pod);
	(void)table_remove_string(&pleg->pods_by_key, pod->key);
	pleg->pods[pod->slot] = NULL;
	pleg->pod_count--;
	(void)pleg_pod_free(pod);
}

/* ---- containers in their pod --------------------------------------------------------------- */

static int pod_reserve(struct pod *pod)
{
	uint32_t cap = pod->cap ? pod->cap * 2 : 2;
	struct record **records;
	struct pleg_container *views;

	if (pod->count < pod->cap)
		return 0;
	records = mem_resize(pod->records, cap, sizeof(*records));
	if (!records)
		return -ENOMEM;
	pod->records = records;
	views = mem_resize(pod->views, cap, sizeof(*views));
	if (!views)
		return -ENOMEM;
	pod->views = views;
	pod->cap = cap;
	return 0;
}

static bool record_is_before(const struct record *a, const struct record *b)
{
	if (a->kind != b->kind)
		return a->kind == CONTAINER_KIND_SANDBOX;
	return a->created_at_ns < b->created_at_ns;
}

/* There is room: pod_reserve(). */
static void pod_insert(struct pleg *pleg, struct pod *pod, struct record *record)
{
	uint32_t at = pod->count;

	while (at > 0 && record_is_before(record, pod->records[at - 1])) {
		pod->records[at] = pod->records[at - 1];
		pod->views[at] = pod->views[at - 1];
		pod->records[at]->index = at;
		at--;
	}
	pod->records[at] = record;
	pod->views[at] = (struct pleg_container){
		.id = record->id,
		.sandbox_id = record->sandbox_id,
		.name = record->name,
		.kind = record->kind,
		.state = record->state,
		.detail = (enum container_detail)record->detail,
		.attempt = record->attempt,
		.created_at_ns = record->created_at_ns,
		.status = record->status,
	};
	record->index = at;
	if (pod->count++ == 0)
		pleg->visible++;
	pleg->shown++;
}

static void pod_remove(struct pleg *pleg, struct pod *pod, struct record *record)
{
	pod->count--;
	for (uint32_t i = record->index; i < pod->count; i++) {
		pod->records[i] = pod->records[i + 1];
		pod->views[i] = pod->views[i + 1];
		pod->records[i]->index = i;
	}
	if (pod->count == 0)
		pleg->visible--;
	pleg->shown--;
}

static struct record *record_new(
	const struct list_entry *entry, const struct container_identity *identity)
{
	char sandbox[NAME_BYTES_MAX + 1], name[NAME_BYTES_MAX + 1];
	struct record *record;
	char *at;

	(void)str_clean(sandbox, sizeof(sandbox), entry->sandbox_id.data, entry->sandbox_id.len);
	(void)str_clean(name, sizeof(name), identity->container.data, identity->container.len);
	record = mem_zalloc(sizeof(*record) + entry->id.len + strlen(sandbox) + strlen(name) + 3);
	if (!record)
		return NULL;
	at = (char *)(record + 1);
	memcpy(at, entry->id.data, entry->id.len);
	record->id = at;
	at += entry->id.len + 1;
	/* A sandbox is its own. */
	record->sandbox_id =
		entry->kind == CONTAINER_KIND_SANDBOX ? record->id : str_put(&at, sandbox);
	record->name = str_put(&at, name);
	record->kind = entry->kind;
	record->attempt = identity->attempt;
	record->created_at_ns = identity->created_at_ns;
	return record;
}

int pleg_record_add(struct pleg *pleg, const struct list_entry *entry,
	const struct container_identity *identity, struct record **ret)
{
	CLEAN(mem_freep) struct record *record = NULL;
	struct pod_name name = { 0 };
	struct pod *pod;
	int r;

	if (!str_is_printable(entry->id.data, entry->id.len))
		return -EINVAL;
	record = record_new(entry, identity);
	if (!record)
		return -ENOMEM;
	pod = pod_of_entry(pleg, entry, identity, &name);
	if (!pod) {
		(void)str_clean(
			name.name, sizeof(name.name), identity->pod.data, identity->pod.len);
		(void)str_clean(name.namespace, sizeof(name.namespace), identity->namespace.data,
			identity->namespace.len);
		r = pod_new(pleg, &name, identity->created_at_ns, &pod);
		if (r < 0)
			return r;
	}
	r = pod_reserve(pod);
	if (r >= 0)
		r = table_put_string(&pleg->records, record->id, record);
	if (r < 0) {
		pleg_pod_release(pleg, pod);
		return r;
	}
	if (identity->pod_uid.len > 0) {
		(void)str_clean(
			name.key, sizeof(name.key), identity->pod_uid.data, identity->pod_uid.len);
		record->labelled = pod->has_uid && str_eq(name.key, pod->key);
	}
	record->pod = pod;
	record->call = (struct call){ .pod = pod, .record = record };
	pod_insert(pleg, pod, record);
	*ret = TAKE_PTR(record);
	return 0;
}

int pleg_record_revive(struct pleg *pleg, struct record *record)
{
	int r = pod_reserve(record->pod);

	if (r < 0)
		return r;
	record->ghost = false;
	record->pod->ghosts--;
	pod_insert(pleg, record->pod, record);
	return 0;
}

static void record_free(struct pleg *pleg, struct record *record)
{
	(void)table_remove_string(&pleg->records, record->id);
	(void)mem_free(record->status);
	(void)mem_free(record->answer);
	(void)mem_free(record);
}

void pleg_record_drop(struct pleg *pleg, struct record *record)
{
	struct pod *pod = record->pod;

	assert(record->state == CONTAINER_GONE && !record->ghost);
	pod_remove(pleg, pod, record);
	record->woken = false;
	if (!record->call.token) {
		record_free(pleg, record);
		return;
	}
	record->status = mem_free(record->status);
	record->answer = mem_free(record->answer);
	record->subject = SUBJECT_NONE;
	record->call.of_run = false;
	record->ghost = true;
	pod->ghosts++;
}

void pleg_record_lay(struct pleg *pleg, struct record *record)
{
	struct pod *pod = record->pod;

	pod->ghosts--;
	record_free(pleg, record);
	pleg_pod_release(pleg, pod);
}

/* ---- paths ------------------------------------------------------------------------------- */

/*
 * Makes room on a full path by leaving out the shortest way round: steps that lead back to the state
 * they started from. Nine states (the told one and eight steps) of four kinds always hold one.
 */
static void path_fold(struct pleg *pleg, struct record *record)
{
	for (uint8_t len = 2; len <= PATH_STATES; len++) {
		for (uint8_t i = 0; i + len <= record->path_len; i++) {
			enum container_state before = i ? record->path[i - 1].state : record->told;

			if (record->path[i + len - 1].state != before)
				continue;
			memmove(&record->path[i], &record->path[i + len],
				(size_t)(record->path_len - i - len) * sizeof(*record->path));
			record->path_len -= len;
			/* What the run may tell: nothing that it has not covered. */
			if (record->run_len >= i + len)
				record->run_len -= len;
			else if (record->run_len > i)
				record->run_len = i;
			pleg->stats.events_folded++;
			return;
		}
	}
}

bool pleg_record_detail(struct record *record, enum container_detail detail)
{
	if (record->detail == detail)
		return false;
	record->detail = (uint8_t)detail;
	record->pod->views[record->index].detail = detail;
	return true;
}

bool pleg_record_observe(
	struct pleg *pleg, struct record *record, enum container_state state, bool initial)
{
	enum container_state before = record->path_len > 0
		? (enum container_state)record->path[record->path_len - 1].state
		: record->told;

	record->observed_seq = pleg->seq;
	if (record->state != state) {
		if (record->state != CONTAINER_GONE)
			pleg->counts[record->kind][record->state]--;
		else
			record->pod->live++;
		if (state != CONTAINER_GONE)
			pleg->counts[record->kind][state]++;
		else
			record->pod->live--;
		record->state = state;
		record->pod->views[record->index].state = state;
	}
	if (pleg_state(state) == before)
		return false;
	if (record->path_len == PATH_STATES)
		path_fold(pleg, record);
	if (NEVER(record->path_len == PATH_STATES))
		return true;
	/* A fold may have led back to this very state only if the step before it was the same, which
	 * a path never has. */
	record->path[record->path_len++] = (struct step){
		.observed_at_ns = pleg->now.real_ns,
		.state = (uint8_t)pleg_state(state),
		.initial = initial,
	};
	return true;
}

void pleg_record_told(struct record *record, uint8_t count)
{
	if (count == 0)
		return;
	record->told = record->path[count - 1].state;
	record->path_len -= count;
	memmove(record->path, record->path + count, record->path_len * sizeof(*record->path));
	record->run_len = 0;
}
