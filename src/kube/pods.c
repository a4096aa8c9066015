/*
 * Invariants: every entry is in the table, by its pod's runtime_uid; `count` and `gone_count` are
 * those of the entries without and with gone_ns. While a list comes in, what it has not told yet has an
 * older `round`.
 */
#include "kube/pods.h"

#include <errno.h>

#include "base/str.h"
#include "base/table.h"

struct entry {
	struct kube_pod *pod; /* owned; the table's key is in it */
	uint64_t gone_ns, deleting_ns;
	uint32_t round;
};

struct kube_pods {
	struct table entries;
	uint32_t count, gone_count, round;
	uint32_t left_out, left_out_before; /* of the list under way, of the one before */
	uint64_t begun_ns;                  /* monotonic: when the list under way was asked for */
	uint64_t as_of_ns;
	bool is_listing, is_listed, is_away;
	char why[200];
};

struct kube_pods *kube_pods_new(void)
{
	struct kube_pods *p = mem_zalloc(sizeof(*p));

	if (p)
		p->entries = TABLE_INIT(KUBE_PODS_MAX + KUBE_PODS_GONE_MAX);
	return p;
}

static void drop(struct kube_pods *p, struct entry *e)
{
	(void)table_remove_string(&p->entries, e->pod->runtime_uid);
	if (e->gone_ns)
		p->gone_count--;
	else
		p->count--;
	(void)mem_free(e->pod);
	(void)mem_free(e);
}

struct kube_pods *kube_pods_free(struct kube_pods *p)
{
	struct entry *e;

	if (!p)
		return NULL;
	TABLE_FOREACH (e, &p->entries)
		drop(p, e);
	table_done(&p->entries);
	return mem_free(p);
}

const char *kube_pods_state_text(enum kube_pods_state state)
{
	switch (state) {
	case KUBE_PODS_NONE: return "none";
	case KUBE_PODS_CURRENT: return "current";
	case KUBE_PODS_OLD: return "old";
	}
	return "none";
}

/* ---- what the server says ----------------------------------------------------------------------- */

static struct entry *oldest_gone(const struct kube_pods *p)
{
	struct entry *e, *oldest = NULL;

	TABLE_FOREACH (e, &p->entries)
		if (e->gone_ns && (!oldest || e->gone_ns < oldest->gone_ns))
			oldest = e;
	return oldest;
}

static void mark_gone(struct kube_pods *p, struct entry *e, struct now now)
{
	if (e->gone_ns)
		return;
	if (p->gone_count == KUBE_PODS_GONE_MAX)
		drop(p, oldest_gone(p));
	e->gone_ns = now.mono_ns + 1; /* never 0 */
	p->count--;
	p->gone_count++;
}

static int add(struct kube_pods *p, struct kube_pod *pod, struct now now)
{
	struct entry *e;
	int r;

	if (p->count == KUBE_PODS_MAX) {
		/* Between lists the same one may come again and again. */
		if (p->is_listing || p->left_out == 0)
			p->left_out++;
		return -ENOSPC;
	}
	e = mem_zalloc(sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->pod = pod;
	e->round = p->round;
	e->deleting_ns = pod->is_deleting ? now.mono_ns + 1 : 0;
	r = table_put_string(&p->entries, pod->runtime_uid, e);
	if (r < 0) {
		(void)mem_free(e);
		return r;
	}
	p->count++;
	return 0;
}

/* A static pod's mirror may be deleted and made again: another uid, the same pod to the runtime. */
int kube_pods_put(struct kube_pods *p, const struct kube_pod *pod, struct now now)
{
	CLEAN(mem_freep) struct kube_pod *copy = kube_pod_copy(pod);
	struct entry *old = table_get_string(&p->entries, pod->runtime_uid);
	uint64_t deleting_ns = old && str_eq(old->pod->uid, pod->uid) ? old->deleting_ns : 0;
	int r;

	if (!copy)
		return -ENOMEM;
	if (old)
		drop(p, old);
	r = add(p, copy, now);
	if (r < 0)
		return r;
	old = table_get_string(&p->entries, copy->runtime_uid);
	if (deleting_ns && copy->is_deleting)
		old->deleting_ns = deleting_ns;
	copy = NULL;
	return 0;
}

void kube_pods_remove(struct kube_pods *p, const char *uid, struct now now)
{
	struct entry *e;

	TABLE_FOREACH (e, &p->entries)
		if (str_eq(e->pod->uid, uid)) {
			mark_gone(p, e, now);
			return;
		}
}

void kube_pods_begin(struct kube_pods *p, struct now now)
{
	p->is_listing = true;
	p->begun_ns = now.mono_ns;
	p->round++;
	p->left_out_before = p->left_out;
	p->left_out = 0;
}

void kube_pods_end(struct kube_pods *p, struct now now)
{
	struct entry *e;

	if (!p->is_listing)
		return;
	TABLE_FOREACH (e, &p->entries)
		if (!e->gone_ns && e->round != p->round)
			mark_gone(p, e, now);
	p->is_listed = true;
	p->is_away = false;
	p->why[0] = '\0';
	p->as_of_ns = p->begun_ns;
	p->is_listing = false;
}

/* Until a list is whole it says nothing of what it does not hold. */
void kube_pods_open(struct kube_pods *p)
{
	if (p->is_listing || !p->is_listed)
		return;
	p->is_away = false;
	p->why[0] = '\0';
}

void kube_pods_heard(struct kube_pods *p, struct now now)
{
	kube_pods_open(p);
	if (!p->is_listing && p->is_listed)
		p->as_of_ns = now.mono_ns;
}

void kube_pods_away(struct kube_pods *p, const char *why)
{
	if (p->is_listing) {
		p->is_listing = false;
		if (p->left_out < p->left_out_before)
			p->left_out = p->left_out_before;
	}
	p->is_away = true;
	(void)str_format(p->why, sizeof(p->why), "%s", str_or_empty(why));
}

/* ---- what is known ------------------------------------------------------------------------------ */

static void view(const struct entry *e, struct kube_pod_view *ret)
{
	*ret = (struct kube_pod_view){ e->pod, e->gone_ns, e->deleting_ns };
}

bool kube_pods_find(const struct kube_pods *p, const char *runtime_uid, struct kube_pod_view *ret)
{
	const struct entry *e = table_get_string(&p->entries, runtime_uid);

	if (e)
		view(e, ret);
	return e != NULL;
}

bool kube_pods_next(const struct kube_pods *p, size_t *cursor, struct kube_pod_view *ret)
{
	const struct entry *e = table_next(&p->entries, cursor);

	if (e)
		view(e, ret);
	return e != NULL;
}

void kube_pods_forget(struct kube_pods *p, const char *runtime_uid)
{
	struct entry *e = table_get_string(&p->entries, runtime_uid);

	if (e && e->gone_ns)
		drop(p, e);
}

void kube_pods_status(const struct kube_pods *p, struct kube_pods_status *ret)
{
	*ret = (struct kube_pods_status){ .state = !p->is_listed ? KUBE_PODS_NONE
			: p->is_away                             ? KUBE_PODS_OLD
								 : KUBE_PODS_CURRENT,
		.why = p->why,
		.count = p->count,
		.left_out = p->is_listing ? p->left_out_before : p->left_out,
		.as_of_ns = p->as_of_ns };
}
