/*
 * What a relist would take in which every pod has changed: the list as it is now, and an inspection
 * of everything there is at the pace of late. On a quiet node nothing of that shows in the last
 * relist's duration, until the day on which a daemon is restarted and all of it changes at once.
 *
 * The pace is the median of the last inspections: a few that hang are quarantine's business, and move
 * it no further than they are. One that is late counts with the time that it was waited for; one
 * whose connection broke says nothing.
 */
#include "pleg/pleg-internal.h"

#include <stdlib.h>

void pleg_predict_note(struct pleg *pleg, const struct call *call)
{
	pleg->paces[pleg->pace_count++ % PACES_MAX] =
		time_since(pleg->now.mono_ns, call->started_ns);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t median(const struct pleg *pleg)
{
	size_t count = pleg->pace_count < PACES_MAX ? pleg->pace_count : PACES_MAX;
	uint64_t sorted[PACES_MAX];

	if (count == 0)
		return 0;
	memcpy(sorted, pleg->paces, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), compare);
	return sorted[count / 2];
}

/* How many inspections go on side by side: one while so many are late that runs are only tried. */
static uint32_t width(const struct pleg *pleg)
{
	if (pleg->config.inspections_max == 0 || pleg->late >= pleg->config.late_max)
		return 1;
	return pleg->config.inspections_max;
}

static uint64_t times(uint64_t ns, uint64_t n)
{
	return n > 0 && ns > UINT64_MAX / n ? UINT64_MAX : ns * n;
}

void pleg_predict(const struct pleg *pleg, struct now now, struct pleg_prediction *ret)
{
	struct pleg_prediction out = {
		.threshold_ns = pleg->config.relist_threshold_ns,
		.has_inspected = pleg->pace_count > 0,
	};
	uint64_t open_ns = pleg->list.token ? time_since(now.mono_ns, pleg->list.started_ns) : 0;
	uint32_t side_by_side = width(pleg);

	for (int state = CONTAINER_CREATED; state <= CONTAINER_UNKNOWN; state++)
		out.inspections += pleg->counts[CONTAINER_KIND_CONTAINER][state] +
			pleg->counts[CONTAINER_KIND_SANDBOX][state];
	/* A list that is still open has cost at least that much already. */
	out.list_ns = pleg->last_relist_ns > open_ns ? pleg->last_relist_ns : open_ns;
	out.inspect_ns = median(pleg);
	out.relist_ns = time_add(out.list_ns,
		times(out.inspect_ns,
			(out.inspections + (uint64_t)side_by_side - 1) / side_by_side));
	out.serial_ns = time_add(out.list_ns, times(out.inspect_ns, out.inspections));
	*ret = out;
}
