#include "drain/plan.h"

#include "base/str.h"
#include "base/time.h"

#define BIT(why) (1u << (why))

static struct drain_verdict verdict(enum drain_action action, unsigned why)
{
	return (struct drain_verdict){ action, why };
}

struct drain_verdict drain_judge(const struct drain_pod *pod, const struct drain_flags *flags)
{
	unsigned why = 0, refused = 0;

	if (pod->is_mirror)
		return verdict(DRAIN_SKIP, 0);
	if (pod->is_finished)
		return verdict(DRAIN_TAKE, 0);
	if (pod->owner == DRAIN_OWNER_DAEMONSET)
		return verdict(flags->ignore_daemonsets ? DRAIN_SKIP : DRAIN_REFUSE,
			BIT(DRAIN_WHY_DAEMONSET));
	if (pod->owner == DRAIN_OWNER_DAEMONSET_GONE) {
		why |= BIT(DRAIN_WHY_DAEMONSET_GONE);
		refused |= flags->force ? 0 : BIT(DRAIN_WHY_DAEMONSET_GONE);
	}
	if (pod->has_empty_dir) {
		why |= BIT(DRAIN_WHY_LOCAL_DATA);
		refused |= flags->delete_emptydir_data ? 0 : BIT(DRAIN_WHY_LOCAL_DATA);
	}
	if (pod->owner == DRAIN_OWNER_NONE) {
		why |= BIT(DRAIN_WHY_UNMANAGED);
		refused |= flags->force ? 0 : BIT(DRAIN_WHY_UNMANAGED);
	}
	return refused ? verdict(DRAIN_REFUSE, refused) : verdict(DRAIN_TAKE, why);
}

const char *drain_warning(enum drain_why why)
{
	switch (why) {
	case DRAIN_WHY_DAEMONSET: return "ignoring DaemonSet-managed Pods";
	case DRAIN_WHY_DAEMONSET_GONE: return "deleting Pods whose DaemonSet is not found";
	case DRAIN_WHY_LOCAL_DATA: return "deleting Pods with local storage";
	case DRAIN_WHY_UNMANAGED: return "deleting Pods that declare no controller";
	case DRAIN_WHY_COUNT: break;
	}
	return "";
}

const char *drain_refusal(enum drain_why why)
{
	switch (why) {
	case DRAIN_WHY_DAEMONSET:
		return "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore)";
	case DRAIN_WHY_DAEMONSET_GONE:
		return "cannot delete Pods whose DaemonSet is not found (use --force to override)";
	case DRAIN_WHY_LOCAL_DATA:
		return "cannot delete Pods with local storage (use --delete-emptydir-data to "
		       "override)";
	case DRAIN_WHY_UNMANAGED:
		return "cannot delete Pods that declare no controller (use --force to override)";
	case DRAIN_WHY_COUNT: break;
	}
	return "";
}

/* ---- why it is still there --------------------------------------------------------------- */

enum drain_stay drain_stay_of(const struct drain_left *left)
{
	if (!left->is_accepted && left->deadline_ns == 0) {
		if (left->http == 429)
			return DRAIN_STAY_BUDGET;
		return left->answer ? DRAIN_STAY_REFUSED : DRAIN_STAY_UNASKED;
	}
	if (left->deadline_ns == 0 || left->now_ns < left->deadline_ns)
		return DRAIN_STAY_GRACE;
	if (left->cause)
		return DRAIN_STAY_STUCK;
	return left->finalizer ? DRAIN_STAY_FINALIZER : DRAIN_STAY_KUBELET;
}

const char *drain_stay_name(enum drain_stay stay)
{
	switch (stay) {
	case DRAIN_STAY_UNASKED: return "notAsked";
	case DRAIN_STAY_BUDGET: return "budget";
	case DRAIN_STAY_REFUSED: return "refused";
	case DRAIN_STAY_GRACE: return "gracePeriod";
	case DRAIN_STAY_STUCK: return "stuck";
	case DRAIN_STAY_FINALIZER: return "finalizer";
	case DRAIN_STAY_KUBELET: return "kubelet";
	}
	return "";
}

static int explain_wait(const struct drain_left *left, struct buf *what, struct buf *advice)
{
	char text[TIME_TEXT_MAX];
	int r;

	if (left->deadline_ns == 0)
		r = buf_append_string(what, "It is to be deleted, and is not marked so yet");
	else
		r = buf_printf(what, "It may use its grace period for another %s",
			time_format_short(text, (uint64_t)(left->deadline_ns - left->now_ns)));
	return r < 0 ? r : buf_append_string(advice, "Wait, or shorten it by --grace-period");
}

static int explain_overdue(
	const struct drain_left *left, enum drain_stay stay, struct buf *what, struct buf *advice)
{
	char text[TIME_TEXT_MAX];
	int r = 0;

	(void)time_format_short(text, (uint64_t)(left->now_ns - left->deadline_ns));
	if (stay == DRAIN_STAY_STUCK) {
		r = buf_printf(what, "It should have ended %s ago. %s: %s", text, left->cause,
			str_or_empty(left->summary));
		if (r >= 0)
			r = buf_append_string(
				advice, "pleg doctor has the remedies, mildest first");
	} else if (stay == DRAIN_STAY_FINALIZER) {
		r = buf_printf(what,
			"It should have gone %s ago; its finalizer %s has not been taken away",
			text, left->finalizer);
		if (r >= 0)
			r = buf_append_string(advice,
				"Look at the controller that this finalizer belongs to; without "
				"it what it guards is left behind");
	} else {
		r = buf_printf(what, "Its kubelet should have ended it %s ago and has not", text);
		if (r >= 0)
			r = buf_append_string(advice,
				left->is_here ? "pleg doctor says what hangs here; no agent has "
						"said so"
					      : "Run pleg doctor on its node");
	}
	if (r >= 0 && left->force_refused)
		r = buf_printf(what, ". It was not deleted by force: %s", left->force_refused);
	return r;
}

static int advise_refused(const struct drain_left *left, struct buf *advice)
{
	if (left->is_namespace_ending)
		return buf_printf(advice,
			"Its namespace is being deleted, and takes it along; if that does not end, "
			"look at the conditions in kubectl get namespace %s -o yaml",
			left->namespace);
	if (left->http == 403)
		return buf_append_string(advice,
			left->is_deletion ? "The kubeconfig's user needs delete on pods"
					  : "The kubeconfig's user needs create on pods/eviction");
	return buf_append_string(advice, "Try again when it answers otherwise");
}

int drain_explain(const struct drain_left *left, struct buf *what, struct buf *advice)
{
	enum drain_stay stay = drain_stay_of(left);
	int r = 0;

	switch (stay) {
	case DRAIN_STAY_UNASKED:
		r = buf_append_string(what, "Its eviction has not been answered");
		if (r >= 0)
			r = buf_append_string(advice, "Give it more --timeout");
		break;
	case DRAIN_STAY_BUDGET:
		r = buf_append_string(what, str_or_empty(left->answer));
		if (r >= 0)
			r = buf_printf(advice,
				"Look at kubectl get poddisruptionbudgets -n %s: wait until enough "
				"others are healthy, or start more; --disable-eviction asks no "
				"budget",
				left->namespace);
		break;
	case DRAIN_STAY_REFUSED:
		r = buf_printf(what, "The API server refuses: %s", left->answer);
		if (r >= 0)
			r = advise_refused(left, advice);
		break;
	case DRAIN_STAY_GRACE: r = explain_wait(left, what, advice); break;
	case DRAIN_STAY_STUCK:
	case DRAIN_STAY_FINALIZER:
	case DRAIN_STAY_KUBELET: r = explain_overdue(left, stay, what, advice); break;
	}
	return r;
}
