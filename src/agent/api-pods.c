#include "agent/api-pods.h"

#include <errno.h>

#include "agent/hints.h"
#include "agent/kubelet.h"
#include "agent/pump.h"
#include "agent/timer.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "ledger/ledger.h"
#include "pleg/pleg.h"

struct api_pods {
	struct api_pods_options options;
	struct kube_pods *pods;
	struct pods_judge *judge;
	struct timer *timer;
	uint64_t asked_ns; /* monotonic: the last list that was asked for; 0: none */
};

/* ---- what the role tells ------------------------------------------------------------------------ */

void api_pods_hear(struct api_pods *ap, enum api_pods_word word, unsigned http, const char *why)
{
	struct kube_pods_status before, after;
	struct now now = clock_now();

	kube_pods_status(ap->pods, &before);
	switch (word) {
	case API_PODS_BEGIN: kube_pods_begin(ap->pods, now); break;
	case API_PODS_END: kube_pods_end(ap->pods, now); break;
	case API_PODS_OPEN: kube_pods_open(ap->pods); break;
	case API_PODS_HEARD: kube_pods_heard(ap->pods, now); break;
	case API_PODS_AWAY:
		kube_pods_away(
			ap->pods, http > 0 ? FMT("%u %.160s", http, why) : FMT("%.160s", why));
		break;
	}
	kube_pods_status(ap->pods, &after);
	if (before.state != after.state)
		log_info("The node's pods from the API server", "state",
			kube_pods_state_text(after.state), "pods", FMT("%u", after.count), "reason",
			after.why, NULL);
	if (after.left_out > before.left_out)
		ap->options.on_left_out(ap->options.userdata);
}

/* What does not fit is counted there; what finds no memory comes with the next list. */
void api_pods_put(struct api_pods *ap, const struct kube_pod *pod)
{
	(void)kube_pods_put(ap->pods, pod, clock_now());
}

void api_pods_remove(struct api_pods *ap, const char *uid)
{
	kube_pods_remove(ap->pods, uid, clock_now());
}

/* ---- against the others ------------------------------------------------------------------------- */

/* The words of the kernel and of the runtime about one container. */
struct word {
	bool is_live, is_dead;
};

/* Where the kernel's is missing the runtime's is taken, if it is new. */
static struct word word_of(
	const struct ledger *ledger, const struct pleg_container *c, bool is_fresh, struct now now)
{
	enum ledger_state kernel = LEDGER_NONE;
	struct ledger_view view;

	if (ledger && ledger_find(ledger, c->id, now, &view))
		kernel = view.state;
	return (struct word){
		.is_live = kernel == LEDGER_ALIVE || kernel == LEDGER_ZOMBIE_THREADS ||
			(is_fresh && c->state == CONTAINER_RUNNING),
		.is_dead = ledger_state_is_dead(kernel) ||
			(kernel == LEDGER_NONE && is_fresh && c->state == CONTAINER_EXITED),
	};
}

/* Monotonic; by the runtime's clock, which is ours. 0: not known. */
static uint64_t started_ns(const struct pleg_container *c, struct now now)
{
	int64_t at_ns = c->status && c->status->started_at_ns > c->created_at_ns
		? c->status->started_at_ns
		: c->created_at_ns;

	/* In the future: the clock was set back. */
	if (at_ns <= 0 || at_ns > now.real_ns)
		return 0;
	return time_since(now.mono_ns, (uint64_t)(now.real_ns - at_ns));
}

static void judge_pod(struct api_pods *ap, const struct pleg_pod *pod, const struct ledger *ledger,
	bool is_fresh, struct now now)
{
	uint64_t last_ns = 0;
	bool is_live = false;

	for (size_t i = 0; i < pod->container_count; i++) {
		const struct pleg_container *c = &pod->containers[i];
		struct word word = word_of(ledger, c, is_fresh, now);

		is_live = is_live || word.is_live;
		if (word.is_live)
			last_ns = time_max(last_ns, started_ns(c, now));
		if (c->kind == CONTAINER_KIND_CONTAINER)
			pods_judge_container(ap->judge, pod->uid, c->id, word.is_dead);
	}
	pods_judge_pod(ap->judge, pod->uid, is_live, last_ns);
}

/* Deleted, and the runtime has it no more: nobody will ask for it. */
static void forget_gone(struct api_pods *ap)
{
	struct kube_pod_view view;
	struct pleg_pod pod;
	size_t cursor = 0;

	while (kube_pods_next(ap->pods, &cursor, &view))
		if (view.gone_ns && !pleg_find_pod(ap->options.pleg, view.pod->runtime_uid, &pod))
			kube_pods_forget(ap->pods, view.pod->runtime_uid);
}

static void want_list(struct api_pods *ap, struct now now)
{
	if (ap->asked_ns && time_since(now.mono_ns, ap->asked_ns) < API_PODS_AGAIN_NS)
		return;
	ap->asked_ns = now.mono_ns;
	ap->options.want_list(ap->options.userdata);
}

static void on_look(void *userdata)
{
	struct api_pods *ap = userdata;
	struct now now = clock_now();
	struct pleg_health health;
	struct pump_state pump;
	struct pleg_pod pod;
	size_t cursor = 0;
	bool is_fresh;

	pump_state(ap->options.pump, &pump);
	pleg_health(ap->options.pleg, now, &health);
	is_fresh = health.has_listed && health.last_relist_age_ns < API_PODS_FRESH_NS;
	pods_judge_begin(
		ap->judge, ap->options.kubelet ? kubelet_since(ap->options.kubelet) : 0, now);
	while (pleg_next_pod(ap->options.pleg, &cursor, &pod))
		judge_pod(ap, &pod, hints_ledger(pump.hints), is_fresh, now);
	pods_judge_end(ap->judge);
	if (is_fresh)
		forget_gone(ap);
	if (pods_judge_wants_list(ap->judge))
		want_list(ap, now);
	(void)timer_set_in(ap->timer, API_PODS_LOOK_NS);
}

/* ---- life --------------------------------------------------------------------------------------- */

int api_pods_new(const struct api_pods_options *options, struct api_pods **ret)
{
	CLEAN(api_pods_freep) struct api_pods *ap = mem_zalloc(sizeof(*ap));
	int r;

	if (!ap)
		return -ENOMEM;
	ap->options = *options;
	ap->pods = kube_pods_new();
	ap->judge = ap->pods ? pods_judge_new(ap->pods) : NULL;
	if (!ap->judge)
		return -ENOMEM;
	r = timer_new(options->loop, API_PODS_LOOK_NS, on_look, ap, &ap->timer);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(ap);
	return 0;
}

struct api_pods *api_pods_free(struct api_pods *ap)
{
	if (!ap)
		return NULL;
	ap->timer = timer_free(ap->timer);
	ap->judge = pods_judge_free(ap->judge);
	ap->pods = kube_pods_free(ap->pods);
	return mem_free(ap);
}

const struct pods_judge *api_pods_judge(const struct api_pods *ap)
{
	return ap ? ap->judge : NULL;
}
