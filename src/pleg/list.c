/*
 * A list answer against the records.
 *
 * Known ids cost one look-up and allocate nothing; only an id that was never seen is described. An
 * entry that cannot be taken in for lack of memory is left out, and the next list shows it again:
 * its record has not moved, so nothing is lost.
 *
 * What was observed after the list began is newer than the list: such a record (or, after a list of
 * the pod alone, such a pod) is left as it is, and the next list gets through.
 */
#include "pleg/pleg-internal.h"

#include <errno.h>

struct apply {
	struct pleg *pleg;
	uint64_t started_seq, started_ns;
	struct pod *only; /* of a list of one pod */
	bool initial;     /* first full list */
	bool incomplete;  /* something was left out for lack of memory */
	uint32_t seen;    /* records, not ghosts */
};

/* This list does not say how fresh the pod's state is. */
static void apply_exclude(struct apply *a, struct pod *pod)
{
	if (a->only)
		return;
	pleg_period_doubt(a->pleg);
	pod->observed_at_ns = pleg_cache_observed(a->pleg, pod);
	pod->excluded_ns = a->started_ns;
}

static void apply_state(struct apply *a, struct record *record, enum container_state state,
	enum container_detail detail)
{
	struct pod *pod = record->pod;
	bool changed;

	/* By far the most of all entries end here. */
	if (record->state == state && record->detail == detail &&
		record->observed_seq <= a->started_seq) {
		record->observed_seq = a->pleg->seq;
		return;
	}
	if (record->observed_seq > a->started_seq) {
		if (record->state != state)
			apply_exclude(a, pod);
		return;
	}
	changed = pleg_record_detail(record, detail);
	if (!pleg_record_observe(a->pleg, record, state, a->initial)) {
		if (changed)
			pleg_run_want(a->pleg, pod);
		return;
	}
	if (!a->only && !a->initial)
		pleg_period_observed(a->pleg, record);
	pleg_run_want(a->pleg, pod);
}

static void apply_refused(struct apply *a, int r)
{
	if (r == -EINVAL) {
		a->pleg->stats.entries_malformed++;
		return;
	}
	if (r == -ENOSPC)
		a->pleg->stats.entries_over_limit++;
	else
		a->incomplete = true;
}

/* NULL: nothing to be done with it. */
static struct record *apply_new(
	struct apply *a, struct list_source *source, const struct list_entry *entry)
{
	struct pleg *pleg = a->pleg;
	struct container_identity identity = { 0 };
	struct record *record;
	struct pod *pod;
	int r;

	if (pleg->records.used >= pleg->config.containers_max) {
		apply_refused(a, -ENOSPC);
		return NULL;
	}
	pleg->stats.entries_described++;
	source->describe(source, entry, &identity);
	pod = pleg_record_pod(pleg, entry, &identity);
	if (a->only && pod != a->only)
		return NULL;
	if (!a->only && pod && pod->listed_seq > a->started_seq) {
		pleg_period_doubt(pleg);
		return NULL; /* the pod's own list is newer and did not have it, or it is gone since */
	}
	r = pleg_record_add(pleg, entry, &identity, &record);
	if (r < 0) {
		apply_refused(a, r);
		return NULL;
	}
	return record;
}

static void apply_entry(struct apply *a, struct list_source *source, const struct list_entry *entry)
{
	struct pleg *pleg = a->pleg;
	struct record *record;

	if (entry->id.len == 0 || entry->id.len > ID_BYTES_MAX) {
		pleg->stats.entries_malformed++;
		return;
	}
	record = table_get(&pleg->records, entry->id.data, entry->id.len);
	if (!record) {
		record = apply_new(a, source, entry);
		if (!record)
			return;
	} else if (record->generation == pleg->generation) {
		pleg->stats.entries_malformed++;
		return;
	} else if (a->only && record->pod != a->only) {
		return;
	} else if (record->ghost) {
		if (record->observed_seq > a->started_seq ||
			record->pod->listed_seq > a->started_seq)
			return;
		if (pleg_record_revive(pleg, record) < 0) {
			a->incomplete = true;
			return;
		}
	}
	record->generation = pleg->generation;
	a->seen++;
	apply_state(a, record, pleg_state_known(entry->state), entry->detail);
}

/* A list by label has only what carries the label, one by sandbox only what is in the sandbox. */
static bool apply_must_have(const struct apply *a, const struct record *record)
{
	if (!a->only)
		return true;
	return a->only->has_uid ? record->labelled : str_eq(record->sandbox_id, a->only->key);
}

static void apply_gone(struct apply *a, struct pod *pod)
{
	for (uint32_t i = 0; i < pod->count; i++) {
		struct record *record = pod->records[i];

		if (record->generation != a->pleg->generation && apply_must_have(a, record))
			apply_state(a, record, CONTAINER_GONE, CONTAINER_PLAIN);
	}
	if (pod->live == 0 && pod->count > 0)
		pleg_run_empty(a->pleg, pod);
}

/* Pods that were asked for, and of which this list, begun after they were, tells as much. */
static void apply_requests(struct apply *a)
{
	struct pleg *pleg = a->pleg;
	struct pod *pod, *next;

	for (pod = TAILQ_FIRST(&pleg->requests); pod; pod = next) {
		next = TAILQ_NEXT(pod, request_link);
		if ((a->only && pod != a->only) || pod->requested_seq > a->started_seq)
			continue;
		TAILQ_REMOVE(&pleg->requests, pod, request_link);
		pod->requested = false;
		pleg->request_count--;
		if (pod->live == 0) {
			if (!a->only)
				pleg_pod_release(pleg, pod);
			continue;
		}
		pod->sync = true;
		pleg_run_want(pleg, pod);
	}
}

/* After a full list: what it is the occasion for. */
static void apply_everywhere(struct apply *a)
{
	struct pleg *pleg = a->pleg;
	bool some_gone = a->seen != pleg->shown; /* before telling of it drops records */

	for (size_t i = 0; i < pleg->pod_slots; i++) {
		struct pod *pod = pleg->pods[i];

		if (!pod)
			continue;
		if (some_gone)
			apply_gone(a, pod);
		if ((pod->reinspect || pod->doubtful) && pod->live > 0)
			pleg_run_want(pleg, pod);
		pleg_pod_release(pleg, pod); /* unless something needs it */
	}
}

void pleg_list_apply(
	struct pleg *pleg, const struct call *call, struct pod *only, struct list_source *source)
{
	struct apply a = {
		.pleg = pleg,
		.started_seq = call->started_seq,
		.started_ns = call->started_ns,
		.only = only,
		.initial = !only && !pleg->has_listed,
	};
	struct list_entry entry = { 0 };

	pleg->generation++;
	while (source->next(source, &entry)) {
		apply_entry(&a, source, &entry);
		entry = (struct list_entry){ 0 };
	}
	if (only) {
		apply_gone(&a, only);
		only->listed_seq = pleg->seq;
	} else {
		/* In an unchanged list every record was seen and there is nothing to look for. */
		if (a.seen != pleg->shown || pleg->unsettled > 0 || pleg->doubtful > 0 ||
			pleg->pod_count > pleg->visible)
			apply_everywhere(&a);
		pleg->listed_seq = pleg->seq;
	}
	apply_requests(&a);
	if (a.incomplete) {
		pleg_period_doubt(pleg);
		return;
	}
	if (!only)
		pleg->observed_ns = a.started_ns;
	pleg_cache_notify(pleg, only ? only->key : NULL, a.started_ns);
}
