/*
 * Hints: something happened to a container, says a stream or the kernel. That changes nothing here;
 * it starts a series of runs of the pod, because what the runtime answers lags what happened by some
 * 50 ms. The series ends when the container's change has been told, or after its last step; then the
 * periodic list is soon enough.
 */
#include "pleg/pleg-internal.h"

#include "base/mem.h"

/* Since the hint. */
static const uint16_t series_ms[] = { 5, 20, 50, 70, 100, 200, 400, 800 };

/* A hint within this time of the one that began the series adds nothing: later steps cover it. So a
 * storm of hints costs some three runs per 50 ms and pod, at most. */
#define SERIES_RESTART_NS (50 * NSEC_PER_MSEC)

static uint64_t series_step_due(const struct pod *pod)
{
	return time_add(pod->series_base_ns, series_ms[pod->series_step] * NSEC_PER_MSEC);
}

void pleg_series_start(struct pleg *pleg, struct record *record)
{
	struct pod *pod = record->pod;
	uint64_t now = pleg->now.mono_ns;

	record->woken = true;
	if (pod->in_series && time_since(now, pod->series_base_ns) < SERIES_RESTART_NS)
		return;
	if (!pod->in_series)
		TAILQ_INSERT_TAIL(&pleg->series, pod, series_link);
	pod->in_series = true;
	pod->series_base_ns = now;
	pod->series_step = 0;
}

void pleg_series_stop(struct pleg *pleg, struct pod *pod)
{
	if (!pod->in_series)
		return;
	TAILQ_REMOVE(&pleg->series, pod, series_link);
	pod->in_series = false;
	for (uint32_t i = 0; i < pod->count; i++)
		pod->records[i]->woken = false;
}

void pleg_series_told(struct pleg *pleg, struct record *record)
{
	struct pod *pod = record->pod;

	if (!record->woken)
		return;
	record->woken = false;
	for (uint32_t i = 0; i < pod->count; i++)
		if (pod->records[i]->woken)
			return;
	pleg_series_stop(pleg, pod);
}

void pleg_series_turn(struct pleg *pleg)
{
	struct pod *pod, *next;

	for (pod = TAILQ_FIRST(&pleg->series); pod; pod = next) {
		next = TAILQ_NEXT(pod, series_link);
		if (series_step_due(pod) > pleg->now.mono_ns)
			continue;
		/* Steps that were slept through are one. */
		while (pod->series_step < ELEMENTS(series_ms) &&
			series_step_due(pod) <= pleg->now.mono_ns)
			pod->series_step++;
		pleg_run_want(pleg, pod);
		if (pod->series_step == ELEMENTS(series_ms))
			pleg_series_stop(pleg, pod);
	}
}

uint64_t pleg_series_due(const struct pleg *pleg)
{
	uint64_t due = NSEC_NEVER;
	const struct pod *pod;

	TAILQ_FOREACH (pod, &pleg->series, series_link)
		due = time_min(due, series_step_due(pod));
	return due;
}
