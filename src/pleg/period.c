/*
 * When the next full list begins: after the period, or sooner for a hint.
 *
 * With relist_auto the period doubles with every list, up to its maximum, for as long as the caller
 * vouches for its hints (pleg_on_hints()) and nothing speaks against them. The first doubt takes it
 * back: a call that failed or is late, a pod in quarantine, a list that could not be believed in
 * whole, or that showed what no hint had announced. A hint itself is no doubt; it brings the next list
 * forward to one short period from now, for what the series of inspections cannot show (a removal).
 */
#include "pleg/pleg-internal.h"

#define HINT_FRESH_NS      (5 * NSEC_PER_SEC) /* a change later than this is not what the hint meant */
#define HINT_LIST_APART_NS (250 * NSEC_PER_MSEC) /* starts of two lists for the sake of hints */

static uint64_t period_max(const struct pleg *pleg)
{
	uint64_t base = pleg->config.relist_period_ns, max = pleg->config.relist_period_max_ns;

	return pleg->config.relist_auto && max > base ? max : base;
}

static bool period_is_in_doubt(const struct pleg *pleg)
{
	return !pleg->hints_good || pleg->doubted || pleg->quarantined > 0 || pleg->late > 0 ||
		pleg->list.late;
}

/* The soonest start of a list for a hint's sake: not at once after another list, and not too often. */
static uint64_t hint_earliest(const struct pleg *pleg)
{
	uint64_t earliest = pleg->now.mono_ns;

	if (pleg->list_ended_ns && time_add(pleg->list_ended_ns, HINT_RELIST_GAP_NS) > earliest)
		earliest = time_add(pleg->list_ended_ns, HINT_RELIST_GAP_NS);
	if (pleg->hint_list_ns && time_add(pleg->hint_list_ns, HINT_LIST_APART_NS) > earliest)
		earliest = time_add(pleg->hint_list_ns, HINT_LIST_APART_NS);
	return earliest;
}

void pleg_period_list_started(struct pleg *pleg)
{
	if (pleg->list_ended_ns &&
		pleg->now.mono_ns < time_add(pleg->list_ended_ns, pleg->config.relist_period_ns))
		pleg->hint_list_ns = pleg->now.mono_ns;
	pleg->list_again = pleg->hinted = false;
}

void pleg_period_list_ended(struct pleg *pleg)
{
	uint64_t base = pleg->config.relist_period_ns, period;

	pleg->list_ended_ns = pleg->now.mono_ns;
	if (period_is_in_doubt(pleg) || pleg->period_ns < base)
		pleg->period_ns = base;
	else
		pleg->period_ns =
			time_min(time_add(pleg->period_ns, pleg->period_ns), period_max(pleg));
	pleg->doubted = false;
	pleg->stats.relist_period_ns = pleg->period_ns;
	period = pleg->hinted ? base : pleg->period_ns;
	pleg->list_due_ns = time_add(pleg->now.mono_ns, period);
	if (pleg->list_again)
		pleg->list_due_ns = time_min(pleg->list_due_ns, hint_earliest(pleg));
}

void pleg_period_doubt(struct pleg *pleg)
{
	pleg->doubted = true;
}

void pleg_period_turn(struct pleg *pleg)
{
	uint64_t base = pleg->config.relist_period_ns;

	if (pleg->period_ns <= base || !period_is_in_doubt(pleg))
		return;
	pleg->period_ns = pleg->stats.relist_period_ns = base;
	pleg->list_due_ns = time_min(pleg->list_due_ns, time_add(pleg->list_ended_ns, base));
}

void pleg_period_hint(struct pleg *pleg, struct record *record)
{
	uint64_t base = pleg->config.relist_period_ns;

	pleg->hinted = true; /* the list under way, if there is one, may be too old to tell */
	pleg->list_due_ns = time_min(pleg->list_due_ns, time_add(pleg->now.mono_ns, base));
	if (record) {
		record->hinted_ns = pleg->now.mono_ns;
		return;
	}
	/* An unknown id: it will be in the next list, so that comes soon, but not for every hint. */
	pleg->hint_unknown_ns = pleg->now.mono_ns;
	if (pleg->list.token)
		pleg->list_again = true;
	else
		pleg->list_due_ns = time_min(pleg->list_due_ns, hint_earliest(pleg));
}

void pleg_period_observed(struct pleg *pleg, const struct record *record)
{
	uint64_t hinted = record->hinted_ns;

	if (record->told == CONTAINER_GONE && pleg->hint_unknown_ns > hinted)
		hinted = pleg->hint_unknown_ns;
	if (hinted == 0 || time_since(pleg->now.mono_ns, hinted) > HINT_FRESH_NS)
		pleg_period_doubt(pleg);
}

void pleg_on_hints(struct pleg *pleg, bool all_alive_and_agreeing, struct now now)
{
	pleg_input_begin(pleg, now);
	pleg->hints_good = all_alive_and_agreeing;
	pleg_input_end(pleg);
}
