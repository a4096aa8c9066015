/* Invariant: every difference is in the table by its key, which it owns; after an end all are of that
 * round. */
#include "kube/pods-judge.h"

#include <string.h>

#include "base/str.h"
#include "base/table.h"

#define UUID_LENGTH 36u

struct difference {
	char *key; /* a pod's uid, or a container's id */
	enum pods_difference what;
	uint64_t since_ns; /* monotonic */
	uint32_t round;
	bool is_told;
};

struct pods_judge {
	const struct kube_pods *pods;
	struct table differences;
	struct kube_pods_status list; /* of this round */
	uint64_t now_ns, kubelet_ns;
	uint64_t begun_ns; /* of what is judged: before that its time did not count */
	uint32_t round, told;
	bool wants_list;
};

const char *pods_difference_text(enum pods_difference difference)
{
	switch (difference) {
	case PODS_DELETED: return "deleted";
	case PODS_OVERDUE: return "overdue";
	case PODS_UNKNOWN: return "unknown";
	case PODS_DEAD: return "dead";
	}
	return "unknown";
}

struct pods_judge *pods_judge_new(const struct kube_pods *pods)
{
	struct pods_judge *j = mem_zalloc(sizeof(*j));

	if (!j)
		return NULL;
	j->pods = pods;
	j->differences = TABLE_INIT(PODS_JUDGE_MAX);
	return j;
}

static void drop(struct pods_judge *j, struct difference *d)
{
	(void)table_remove_string(&j->differences, d->key);
	d->key = mem_free(d->key);
	(void)mem_free(d);
}

struct pods_judge *pods_judge_free(struct pods_judge *j)
{
	struct difference *d;

	if (!j)
		return NULL;
	TABLE_FOREACH (d, &j->differences)
		drop(j, d);
	table_done(&j->differences);
	return mem_free(j);
}

/* ---- one round ---------------------------------------------------------------------------------- */

void pods_judge_begin(struct pods_judge *j, uint64_t kubelet_ns, struct now now)
{
	j->round++;
	j->now_ns = now.mono_ns;
	j->kubelet_ns = kubelet_ns;
	j->wants_list = false;
	kube_pods_status(j->pods, &j->list);
}

/* NULL: no memory or no room, and so nothing to tell. */
static struct difference *make(struct pods_judge *j, const char *key)
{
	struct difference *d = mem_zalloc(sizeof(*d));

	if (!d)
		return NULL;
	d->key = mem_strdup(key);
	if (d->key && table_put_string(&j->differences, d->key, d) >= 0)
		return d;
	d->key = mem_free(d->key);
	return mem_free(d);
}

/* It differs, since then; and so much of that is usual. */
static void note(struct pods_judge *j, const char *key, enum pods_difference what,
	uint64_t since_ns, uint64_t usual_ns)
{
	struct difference *d = table_get_string(&j->differences, key);
	uint64_t due_ns = time_add(time_max(since_ns, j->begun_ns), usual_ns);
	bool is_current = j->list.state == KUBE_PODS_CURRENT;

	if (!d)
		d = make(j, key);
	if (!d)
		return;
	/* A pod that was overdue and is deleted now goes on to be told. */
	d->what = what;
	if (!d->is_told || since_ns < d->since_ns)
		d->since_ns = since_ns;
	d->round = j->round;
	if (d->is_told) {
		d->is_told = is_current || what != PODS_DEAD;
		return;
	}
	if (!is_current || j->now_ns < due_ns)
		return;
	/* One that was seen to be deleted is, whatever the list says later. */
	if (what == PODS_DELETED || j->list.as_of_ns >= due_ns)
		d->is_told = true;
	else
		j->wants_list = true;
}

/* As long as it was noted in the round before: since then. */
static uint64_t since(const struct pods_judge *j, const char *key)
{
	const struct difference *d = table_get_string(&j->differences, key);

	return d ? d->since_ns : j->now_ns;
}

/* An API server makes UUIDs. The kubelet gives a static pod the hash of its file, 32 digits; others
 * have labels of their own making, or none. */
static bool is_of_api(const char *uid)
{
	for (size_t i = 0; i < UUID_LENGTH; i++) {
		bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (is_dash ? uid[i] != '-' : !strchr("0123456789abcdef", uid[i]) || !uid[i])
			return false;
	}
	return uid[UUID_LENGTH] == '\0';
}

void pods_judge_pod(struct pods_judge *j, const char *uid, bool is_live, uint64_t started_ns)
{
	struct kube_pod_view view;
	uint64_t grace_ns;

	if (!is_live || !is_of_api(uid) || j->list.state == KUBE_PODS_NONE)
		return;
	j->begun_ns = time_max(j->kubelet_ns, started_ns);
	if (!kube_pods_find(j->pods, uid, &view)) {
		if (j->list.left_out == 0)
			note(j, uid, PODS_UNKNOWN, since(j, uid), PODS_JUDGE_UNKNOWN_NS);
		return;
	}
	grace_ns = view.pod->grace_s * NSEC_PER_SEC + PODS_JUDGE_SETTLE_NS;
	if (view.gone_ns)
		note(j, uid, PODS_DELETED, view.gone_ns, grace_ns);
	else if (view.deleting_ns)
		note(j, uid, PODS_OVERDUE, view.deleting_ns, grace_ns);
}

static bool runs_by_api(const struct kube_pod *pod, const char *id)
{
	for (size_t i = 0; i < pod->container_count; i++)
		if (str_eq(pod->containers[i].id, id))
			return pod->containers[i].state == KUBE_RUN_RUNNING;
	return false;
}

/* While a pod is being ended its containers are told of at the end only. */
void pods_judge_container(struct pods_judge *j, const char *uid, const char *id, bool is_dead)
{
	struct kube_pod_view view;

	if (!is_dead || j->list.state == KUBE_PODS_NONE || !kube_pods_find(j->pods, uid, &view))
		return;
	j->begun_ns = j->kubelet_ns;
	if (!view.gone_ns && !view.deleting_ns && runs_by_api(view.pod, id))
		note(j, id, PODS_DEAD, since(j, id), PODS_JUDGE_DEAD_NS);
}

void pods_judge_end(struct pods_judge *j)
{
	struct difference *d;

	j->told = 0;
	TABLE_FOREACH (d, &j->differences) {
		if (d->round != j->round)
			drop(j, d);
		else
			j->told += d->is_told;
	}
}

/* ---- what came of it ---------------------------------------------------------------------------- */

bool pods_judge_wants_list(const struct pods_judge *j)
{
	return j->wants_list;
}

uint32_t pods_judge_count(const struct pods_judge *j)
{
	return j->told;
}

bool pods_judge_find(
	const struct pods_judge *j, const char *key, struct now now, struct pods_judge_view *ret)
{
	const struct difference *d = table_get_string(&j->differences, key);

	if (!d || !d->is_told)
		return false;
	*ret = (struct pods_judge_view){ d->what, time_since(now.mono_ns, d->since_ns) };
	return true;
}

const struct kube_pods *pods_judge_pods(const struct pods_judge *j)
{
	return j->pods;
}
