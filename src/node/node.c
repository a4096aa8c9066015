/*
 * How the verdict is made, in this order:
 *
 *  1. The kubelet's rules (runtimeState.runtimeErrors() and networkErrors()), with its texts and in
 *     its order, then ours. Each broken rule is one reason; no reason means ready.
 *  2. Damping: NotReady counts at once, Ready only after the calm asked for.
 *  3. The message: the reasons printed as the kubelet's aggregate prints them.
 *
 * Only the monotonic time is used. Between two calls of node_update() nothing changes; what would
 * change by time alone is computed with the verdict and handed out by node_next_due().
 */
#include "node/node.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

#define FLAP_WINDOW_NS (3600 * NSEC_PER_SEC)
#define FLAPS_MAX      64 /* remembered; the calm is at its maximum long before */
#define REASON_MAX     512
#define TEXT_MAX       2048

/* What a verdict is made of; a change of the set is worth telling, a change of an age is not. */
enum verdict_bit {
	VERDICT_NO_STATUS,  /* the runtime's Status has not been good yet, or not lately */
	VERDICT_PLEG,       /* PLEG is not healthy */
	VERDICT_RUNTIME,    /* RuntimeReady is false or missing */
	VERDICT_NETWORK,    /* NetworkReady is false, missing or not known yet */
	VERDICT_QUARANTINE, /* too many pods in quarantine */
	VERDICT_STARVED,    /* inspections due and none succeeds */
	VERDICT_HELD,       /* nothing is wrong, but there is not calm enough yet */
	VERDICT_LINK,       /* told in the detail: no connection */
	VERDICT_ANSWER,     /* told in the detail: answers that are of no use */
	VERDICT_KUBELET,    /* told in the detail: the kubelet beside us is not well */
	VERDICT_REASON_COUNT = VERDICT_HELD, /* bits below are reasons for NotReady */
};

struct reasons {
	size_t count;
	uint32_t bits;
	char text[VERDICT_REASON_COUNT][REASON_MAX];
};

struct node {
	struct node_config config;
	/* The kubelet's lastBaseRuntimeSync: the last Status that said RuntimeReady=true. */
	bool synced;
	uint64_t synced_at_ns;
	/* Damping */
	bool ready, ready_undamped, was_ready;
	uint64_t since_ns, calm_since_ns;
	uint64_t flaps_at_ns[FLAPS_MAX]; /* a ring */
	uint64_t flap_count;             /* ever */
	uint64_t transitions;
	/* Stall */
	bool stalled;
	uint64_t stalled_since_ns, stall_ended_ns, stall_total_ns;
	/* Verdict */
	bool degraded, responsive;
	uint32_t bits, flaps;
	uint64_t calm_wanted_ns, calm_so_far_ns;
	uint64_t updated_ns, due_ns;
	char message[TEXT_MAX], last_reasons[TEXT_MAX], detail[TEXT_MAX];
};

const char *node_kubelet_text(enum node_kubelet kubelet)
{
	switch (kubelet) {
	case NODE_KUBELET_NONE: return "none";
	case NODE_KUBELET_OK: return "ok";
	case NODE_KUBELET_FAILING: return "failing";
	case NODE_KUBELET_SLOW: return "slow";
	case NODE_KUBELET_GONE: return "gone";
	}
	return "invalid";
}

/* A duration for a sentence: whole seconds, as Go prints them. */
static const char *whole_seconds(char text[TIME_TEXT_MAX], uint64_t ns)
{
	return time_format_go(text, ns - ns % NSEC_PER_SEC);
}

/* The kubelet's aggregate tells equal texts once; here no two rules can have the same text. */
__attribute__((format(printf, 3, 4))) static void reason_add(
	struct reasons *reasons, enum verdict_bit bit, const char *format, ...)
{
	char raw[REASON_MAX], *text = reasons->text[reasons->count];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(raw, sizeof(raw), format, ap);
	va_end(ap);
	(void)str_clean(text, REASON_MAX, raw, strlen(raw));

	reasons->bits |= 1u << bit;
	reasons->count++;
}

/* RuntimeCondition.String(); a condition that is missing is a nil pointer there, which prints so.
 */
static const char *condition_text(char text[REASON_MAX], bool present, const char *type,
	const char *reason, const char *message)
{
	if (!present)
		return "<nil>";
	return str_format(text, REASON_MAX, "%s=false reason:%s message:%s", type,
		str_or_empty(reason), str_or_empty(message));
}

static void kubelets_rules(
	struct node *node, const struct node_facts *facts, struct now now, struct reasons *reasons)
{
	char text[REASON_MAX];

	/* As in updateRuntimeUp(): a Status without RuntimeReady=true is no sign of life. */
	if (facts->status_seen && facts->runtime_condition && facts->runtime_ready) {
		node->synced = true;
		node->synced_at_ns = time_since(now.mono_ns, facts->status_age_ns);
	}
	if (!node->synced)
		reason_add(reasons, VERDICT_NO_STATUS,
			"container runtime status check may not have completed yet");
	else if (time_since(now.mono_ns, node->synced_at_ns) >= node->config.runtime_stale_ns)
		reason_add(reasons, VERDICT_NO_STATUS, "container runtime is down");

	if (!facts->pleg_healthy)
		reason_add(reasons, VERDICT_PLEG, "PLEG is not healthy: %s",
			str_or_empty(facts->pleg_message));

	if (!facts->status_seen) {
		reason_add(reasons, VERDICT_NETWORK, "network state unknown");
		return;
	}
	if (!facts->runtime_condition || !facts->runtime_ready)
		reason_add(reasons, VERDICT_RUNTIME, "container runtime not ready: %s",
			condition_text(text, facts->runtime_condition, "RuntimeReady",
				facts->runtime_reason, facts->runtime_message));
	if (!facts->network_condition || !facts->network_ready)
		reason_add(reasons, VERDICT_NETWORK, "container runtime network not ready: %s",
			condition_text(text, facts->network_condition, "NetworkReady",
				facts->network_reason, facts->network_message));
}

static const char *quarantine_text(char text[REASON_MAX], const struct node_facts *facts)
{
	const char *names = str_or_empty(facts->quarantined_names);

	return str_format(text, REASON_MAX, "%u of %u pods %s not answer%s%s", facts->quarantined,
		facts->pods, facts->quarantined == 1 ? "does" : "do", *names ? ": " : "", names);
}

static void our_rules(
	const struct node *node, const struct node_facts *facts, struct reasons *reasons)
{
	char text[REASON_MAX], age[TIME_TEXT_MAX];

	if (facts->quarantined > 0 && facts->quarantined >= node->config.quarantined_min &&
		(uint64_t)facts->quarantined * 100 >
			(uint64_t)facts->pods * node->config.quarantined_percent)
		reason_add(reasons, VERDICT_QUARANTINE, "container inspections are not healthy: %s",
			quarantine_text(text, facts));
	if (facts->inspections_starved)
		reason_add(reasons, VERDICT_STARVED,
			"container inspections are not healthy: due for %s and none has succeeded",
			whole_seconds(age, facts->inspections_starved_age_ns));
}

/* utilerrors.aggregate.Error(): one bare, several as [a, b]. */
static void print_reasons(char text[TEXT_MAX], const struct reasons *reasons)
{
	size_t used = 0;

	if (reasons->count == 1) {
		(void)str_format(text, TEXT_MAX, "%s", reasons->text[0]);
		return;
	}
	for (size_t i = 0; i < reasons->count && used < TEXT_MAX - 2; i++) {
		(void)snprintf(text + used, TEXT_MAX - 1 - used, "%s%s", i == 0 ? "[" : ", ",
			reasons->text[i]);
		used += strlen(text + used);
	}
	(void)snprintf(text + used, TEXT_MAX - used, "]");
}

static uint64_t flap_at(const struct node *node, uint64_t index)
{
	return node->flaps_at_ns[index % FLAPS_MAX];
}

/* Flaps within the last hour, and when the oldest of them will be out of it. */
static uint32_t count_flaps(const struct node *node, struct now now, uint64_t *ret_expires_ns)
{
	uint64_t first = node->flap_count > FLAPS_MAX ? node->flap_count - FLAPS_MAX : 0;

	while (first < node->flap_count &&
		time_since(now.mono_ns, flap_at(node, first)) >= FLAP_WINDOW_NS)
		first++;
	*ret_expires_ns = first < node->flap_count ? time_add(flap_at(node, first), FLAP_WINDOW_NS)
						   : NSEC_NEVER;
	return (uint32_t)(node->flap_count - first);
}

/* The first flap asks for ready_calm, each further one for twice as much. */
static uint64_t calm_wanted(const struct node_config *config, uint32_t flaps)
{
	uint64_t wanted = config->ready_calm_ns;

	for (uint32_t i = 1; i < flaps && wanted < config->ready_calm_max_ns; i++)
		wanted = time_add(wanted, wanted);
	return time_min(wanted, config->ready_calm_max_ns);
}

static void node_set_ready(struct node *node, bool ready, struct now now)
{
	if (node->ready == ready)
		return;
	if (!ready)
		node->flaps_at_ns[node->flap_count++ % FLAPS_MAX] = now.mono_ns;
	node->ready = ready;
	node->was_ready |= ready;
	node->since_ns = now.mono_ns;
	node->transitions++;
}

/* Returns when the damping alone could change the verdict. */
static uint64_t damp(struct node *node, bool ready_undamped, struct now now)
{
	uint64_t expires_ns;

	if (ready_undamped && !node->ready_undamped)
		node->calm_since_ns = now.mono_ns;
	node->ready_undamped = ready_undamped;
	node->calm_wanted_ns = node->calm_so_far_ns = 0;

	if (!ready_undamped || node->ready || !node->was_ready) {
		node_set_ready(node, ready_undamped, now);
		node->flaps = count_flaps(node, now, &expires_ns);
		return NSEC_NEVER;
	}

	node->flaps = count_flaps(node, now, &expires_ns);
	node->calm_wanted_ns = calm_wanted(&node->config, node->flaps);
	node->calm_so_far_ns = time_since(now.mono_ns, node->calm_since_ns);
	if (node->calm_so_far_ns < node->calm_wanted_ns)
		return time_min(expires_ns, time_add(node->calm_since_ns, node->calm_wanted_ns));
	node_set_ready(node, true, now);
	node->calm_wanted_ns = node->calm_so_far_ns = 0;
	return NSEC_NEVER;
}

/* A stall lasts from the start of the call that hangs, but no moment is counted twice. */
static void update_stall(struct node *node, const struct node_call *call, struct now now)
{
	bool stalled = call && call->age_ns >= node->config.stalled_ns;

	if (node->stalled) {
		node->stall_total_ns += time_since(now.mono_ns, node->updated_ns);
		if (!stalled)
			node->stall_ended_ns = now.mono_ns;
	} else if (stalled) {
		node->stalled_since_ns = time_since(now.mono_ns, call->age_ns);
		if (node->stalled_since_ns < node->stall_ended_ns)
			node->stalled_since_ns = node->stall_ended_ns;
		node->stall_total_ns += time_since(now.mono_ns, node->stalled_since_ns);
	}
	if (!stalled)
		node->stalled_since_ns = 0;
	node->stalled = stalled;
}

static void hold_text(const struct node *node, char text[TEXT_MAX])
{
	char so_far[TIME_TEXT_MAX], wanted[TIME_TEXT_MAX];

	(void)whole_seconds(so_far, node->calm_so_far_ns);
	(void)time_format_go(wanted, node->calm_wanted_ns);
	if (node->flaps == 0)
		(void)str_format(text, TEXT_MAX, "held NotReady: calm for %s of %s asked for",
			so_far, wanted);
	else
		(void)str_format(text, TEXT_MAX,
			"held NotReady: calm for %s of %s asked for after %u flap%s within the "
			"hour",
			so_far, wanted, node->flaps, node->flaps == 1 ? "" : "s");
}

static void print_message(struct node *node, const struct reasons *reasons)
{
	if (reasons->count > 0) {
		print_reasons(node->message, reasons);
		memcpy(node->last_reasons, node->message, sizeof(node->last_reasons));
	} else if (node->ready) {
		(void)str_format(node->message, TEXT_MAX, "kubelet is posting ready status");
	} else {
		hold_text(node, node->message);
	}
}

/* Appends one sentence of the detail behind "; ". */
__attribute__((format(printf, 2, 3))) static void detail_add(
	struct node *node, const char *format, ...)
{
	char raw[TEXT_MAX];
	size_t used = strlen(node->detail);
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(raw, sizeof(raw), format, ap);
	va_end(ap);
	if (used > 0 && used < TEXT_MAX - 3) {
		memcpy(node->detail + used, "; ", 3);
		used += 2;
	}
	(void)str_clean(node->detail + used, TEXT_MAX - used, raw, strlen(raw));
}

static void detail_add_kubelet(struct node *node, const struct node_facts *facts)
{
	const char *message = str_or_empty(facts->kubelet_message);
	const char *what = NULL;

	switch (facts->kubelet) {
	case NODE_KUBELET_NONE:
	case NODE_KUBELET_OK: return;
	case NODE_KUBELET_FAILING: what = "the kubelet's healthz fails"; break;
	case NODE_KUBELET_SLOW: what = "the kubelet's healthz does not answer in time"; break;
	case NODE_KUBELET_GONE: what = "the kubelet is gone"; break;
	}
	detail_add(node, "%s%s%s", str_or_empty(what), *message ? ": " : "", message);
}

static void print_detail(struct node *node, const struct node_facts *facts)
{
	const char *link_failure = str_or_empty(facts->link_failure);
	const char *answer_failure = str_or_empty(facts->answer_failure);
	char text[REASON_MAX], age[TIME_TEXT_MAX];

	node->detail[0] = '\0';
	if (node->stalled) {
		const char *subject = str_or_empty(facts->oldest_call->subject);

		detail_add(node, "%s%s%s has not answered for %s",
			str_or_empty(facts->oldest_call->method), *subject ? " of " : "", subject,
			time_format_short(age, facts->oldest_call->age_ns));
	}
	if (*link_failure)
		detail_add(node, "the runtime cannot be reached: %s", link_failure);
	if (*answer_failure)
		detail_add(node, "the runtime fails: %s", answer_failure);
	if (facts->quarantined > 0)
		detail_add(node, "%s", quarantine_text(text, facts));
	detail_add_kubelet(node, facts);
	if (node->ready_undamped && !node->ready)
		detail_add(node, "before the calm: %s", node->last_reasons);
}

/* The next moment at which these facts, grown older, would be judged differently. */
static uint64_t facts_due(const struct node *node, const struct node_facts *facts, struct now now)
{
	uint64_t due_ns = NSEC_NEVER, stale_ns = node->config.runtime_stale_ns;

	if (node->synced && time_since(now.mono_ns, node->synced_at_ns) < stale_ns)
		due_ns = time_add(node->synced_at_ns, stale_ns);
	if (facts->status_seen && facts->status_age_ns < stale_ns)
		due_ns = time_min(due_ns, time_add(now.mono_ns, stale_ns - facts->status_age_ns));
	if (facts->oldest_call && !node->stalled)
		due_ns = time_min(due_ns,
			time_add(
				now.mono_ns, node->config.stalled_ns - facts->oldest_call->age_ns));
	return due_ns;
}

bool node_update(struct node *node, const struct node_facts *facts, struct now now)
{
	bool was_ready = node->ready, was_degraded = node->degraded, was_stalled = node->stalled;
	bool has_link_failure = *str_or_empty(facts->link_failure) != '\0';
	bool has_answer_failure = *str_or_empty(facts->answer_failure) != '\0';
	struct reasons reasons = { 0 };
	uint32_t old_bits = node->bits;
	uint64_t damping_due_ns;

	kubelets_rules(node, facts, now, &reasons);
	our_rules(node, facts, &reasons);
	damping_due_ns = damp(node, reasons.count == 0, now);
	update_stall(node, facts->oldest_call, now);

	/* One container that hangs is not the runtime. */
	node->responsive = !(node->stalled && *str_or_empty(facts->oldest_call->subject) == '\0') &&
		!has_link_failure && facts->status_seen &&
		facts->status_age_ns < node->config.runtime_stale_ns;
	node->degraded = node->ready &&
		(facts->quarantined > 0 || node->stalled || has_link_failure || has_answer_failure);

	node->bits = reasons.bits;
	if (node->ready_undamped && !node->ready)
		node->bits |= 1u << VERDICT_HELD;
	if (has_link_failure)
		node->bits |= 1u << VERDICT_LINK;
	if (has_answer_failure)
		node->bits |= 1u << VERDICT_ANSWER;
	if (facts->kubelet != NODE_KUBELET_NONE && facts->kubelet != NODE_KUBELET_OK)
		node->bits |= 1u << VERDICT_KUBELET;

	print_message(node, &reasons);
	print_detail(node, facts);
	node->updated_ns = now.mono_ns;
	node->due_ns = time_min(damping_due_ns, facts_due(node, facts, now));
	return node->ready != was_ready || node->degraded != was_degraded ||
		node->stalled != was_stalled || node->bits != old_bits;
}

int node_new(const struct node_config *config, struct now now, struct node **ret)
{
	struct node *node = mem_zalloc(sizeof(*node));

	if (!node)
		return -ENOMEM;
	node->config = *config;
	node->since_ns = now.mono_ns;
	/* What a kubelet says before anything has answered. */
	(void)node_update(
		node, &(struct node_facts){ .pleg_message = "pleg has yet to be successful" }, now);
	*ret = node;
	return 0;
}

struct node *node_free(struct node *node)
{
	return mem_free(node);
}

void node_status(const struct node *node, struct node_status *ret)
{
	*ret = (struct node_status){
		.ready = node->ready,
		.ready_undamped = node->ready_undamped,
		.degraded = node->degraded,
		.stalled = node->stalled,
		.responsive = node->responsive,
		.reason = node->ready ? "KubeletReady" : "KubeletNotReady",
		.message = node->message,
		.detail = node->detail,
		.since_ns = node->since_ns,
		.stalled_since_ns = node->stalled_since_ns,
		.calm_wanted_ns = node->calm_wanted_ns,
		.calm_so_far_ns = node->calm_so_far_ns,
		.flaps = node->flaps,
		.transitions = node->transitions,
		.stall_total_ns = node->stall_total_ns,
	};
}

uint64_t node_next_due(const struct node *node)
{
	return node->due_ns;
}
