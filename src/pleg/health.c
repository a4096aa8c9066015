/*
 * Health in the kubelet's words (GenericPLEG.Healthy), and counts. Judged by the start of the last
 * list that succeeded, which is noted before any inspection, and by the monotonic time.
 */
#include "pleg/pleg-internal.h"

#include <stdio.h>

static void health_text(const struct pleg *pleg, uint64_t age_ns, struct pleg_health *ret)
{
	char age[TIME_TEXT_MAX], threshold[TIME_TEXT_MAX];

	if (!pleg->has_listed) {
		(void)snprintf(ret->message, sizeof(ret->message), "pleg has yet to be successful");
		return;
	}
	ret->healthy = age_ns <= pleg->config.relist_threshold_ns;
	if (ret->healthy)
		return;
	(void)snprintf(ret->message, sizeof(ret->message),
		"pleg was last seen active %s ago; threshold is %s", time_format_go(age, age_ns),
		time_format_go(threshold, pleg->config.relist_threshold_ns));
}

void pleg_health(const struct pleg *pleg, struct now now, struct pleg_health *ret)
{
	const uint32_t *containers = pleg->counts[CONTAINER_KIND_CONTAINER];
	const uint32_t *sandboxes = pleg->counts[CONTAINER_KIND_SANDBOX];

	*ret = (struct pleg_health){
		.has_listed = pleg->has_listed,
		.last_relist_ns = pleg->last_relist_ns,
		.pods = pleg->visible,
		.running = containers[CONTAINER_RUNNING],
		.exited = containers[CONTAINER_EXITED],
		.created = containers[CONTAINER_CREATED],
		.unknown = containers[CONTAINER_UNKNOWN],
		.quarantined = pleg->quarantined,
	};
	for (int state = CONTAINER_CREATED; state <= CONTAINER_UNKNOWN; state++) {
		ret->containers += containers[state];
		ret->sandboxes += sandboxes[state];
	}
	if (pleg->has_listed)
		ret->last_relist_age_ns = time_since(now.mono_ns, pleg->last_seen_ns);
	if (pleg->starving)
		ret->inspections_starved_age_ns = time_since(now.mono_ns, pleg->starving_since_ns);
	ret->inspections_starved =
		ret->inspections_starved_age_ns > pleg->config.relist_threshold_ns;
	health_text(pleg, ret->last_relist_age_ns, ret);
}

const struct pleg_stats *pleg_stats(const struct pleg *pleg)
{
	return &pleg->stats;
}
