/*
 * The table of events (the kubelet's generateEvents).
 *
 *	any -> running               ContainerStarted
 *	any -> exited                ContainerDied
 *	exited -> gone               ContainerRemoved
 *	running or unknown -> gone   ContainerDied, ContainerRemoved
 *	any -> unknown               ContainerChanged, which is never sent: left out here
 *	paused, restarting ...       ContainerChanged with that detail, where the state stays as it
 *	                             was; not part of the kubelet's stream
 *
 * Telling is all or nothing for a pod: only when all events exist they are queued and the records
 * advance.
 */
#include "pleg/pleg-internal.h"

struct tell {
	struct pleg *pleg;
	struct pod *pod;
	size_t changed; /* of those made, what a kubelet's stream does not have */
};

static int tell_add(struct tell *tell, struct event *fields)
{
	fields->source = EVENT_SOURCE_RELIST;
	fields->confirmed = true;
	fields->namespace = tell->pod->namespace;
	fields->pod = tell->pod->name;
	fields->pod_uid = tell->pod->key;
	return event_queue_make(&tell->pleg->events, fields);
}

static int tell_container(struct tell *tell, enum event_type type, const struct record *record,
	const struct step *step, bool dated)
{
	bool is_last = step == &record->path[record->path_len - 1];
	const struct container_status *status = dated ? record->status : NULL;
	struct event fields = {
		.type = type,
		.kind = record->kind,
		.detail = is_last ? (enum container_detail)record->detail : CONTAINER_PLAIN,
		.initial = step->initial,
		.attempt = record->attempt,
		.observed_at_ns = step->observed_at_ns,
		.container = record->name,
		.container_id = record->id,
		.sandbox_id = record->sandbox_id,
	};

	if (status && type == EVENT_CONTAINER_STARTED)
		fields.occurred_at_ns = status->started_at_ns;
	if (status && type == EVENT_CONTAINER_DIED && status->state == CONTAINER_EXITED) {
		fields.occurred_at_ns = status->finished_at_ns;
		fields.has_exit_code = status->has_exit_code;
		fields.exit_code = status->has_exit_code ? status->exit_code : 0;
	}
	return tell_add(tell, &fields);
}

static int tell_step(struct tell *tell, const struct record *record, enum container_state old,
	const struct step *step, bool dated)
{
	int r = 0;

	switch ((enum container_state)step->state) {
	case CONTAINER_RUNNING:
		return tell_container(tell, EVENT_CONTAINER_STARTED, record, step, dated);
	case CONTAINER_EXITED:
		return tell_container(tell, EVENT_CONTAINER_DIED, record, step, dated);
	case CONTAINER_GONE:
		if (old != CONTAINER_EXITED)
			r = tell_container(tell, EVENT_CONTAINER_DIED, record, step, false);
		if (r < 0)
			return r;
		return tell_container(tell, EVENT_CONTAINER_REMOVED, record, step, false);
	case CONTAINER_CREATED:
	case CONTAINER_UNKNOWN: return 0; /* ContainerChanged */
	}
	return 0;
}

/*
 * True if the status may date the step: it was answered in this very run, and it is of the latest
 * life of the container, so of several starts or ends only the last is meant.
 */
static bool step_is_dated(const struct record *record, uint8_t i)
{
	if (record->subject != SUBJECT_DONE || !record->status)
		return false;
	for (uint8_t k = i + 1; k < record->path_len; k++)
		if (record->path[k].state == record->path[i].state)
			return false;
	return true;
}

/* The end of the path is told, and with it what goes with its state. */
static bool tells_detail(const struct record *record)
{
	return record->run_len == record->path_len && record->detail != record->told_detail;
}

static int tell_changed(struct tell *tell, const struct record *record)
{
	struct event fields = {
		.type = EVENT_CONTAINER_CHANGED,
		.kind = record->kind,
		.detail = (enum container_detail)record->detail,
		.attempt = record->attempt,
		.observed_at_ns = tell->pleg->now.real_ns,
		.container = record->name,
		.container_id = record->id,
		.sandbox_id = record->sandbox_id,
	};

	tell->changed++;
	return tell_add(tell, &fields);
}

static int tell_record(struct tell *tell, const struct record *record)
{
	enum container_state old = record->told;

	for (uint8_t i = 0; i < record->run_len; i++) {
		int r = tell_step(tell, record, old, &record->path[i], step_is_dated(record, i));

		if (r < 0)
			return r;
		old = record->path[i].state;
	}
	if (record->run_len == 0 && record->told != CONTAINER_GONE && tells_detail(record))
		return tell_changed(tell, record);
	return 0;
}

static int tell_sync(struct tell *tell)
{
	struct event fields = {
		.type = EVENT_POD_SYNC,
		.kind = CONTAINER_KIND_SANDBOX,
		.observed_at_ns = tell->pleg->now.real_ns,
	};

	return tell_add(tell, &fields);
}

int pleg_diff_tell(struct pleg *pleg, struct pod *pod, bool sync)
{
	struct tell tell = { .pleg = pleg, .pod = pod };
	size_t made;
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < pod->count; i++)
		r = tell_record(&tell, pod->records[i]);
	if (r >= 0 && sync && pleg->events.made == tell.changed)
		r = tell_sync(&tell);
	if (r < 0) {
		event_queue_drop(&pleg->events);
		return r;
	}
	made = event_queue_keep(&pleg->events);
	pleg->stats.events += made;
	for (uint32_t i = pod->count; i-- > 0;) {
		struct record *record = pod->records[i];

		if (tells_detail(record)) {
			record->told_detail = record->detail;
			pleg_series_told(pleg, record);
		}
		if (record->run_len == 0)
			continue;
		pleg_record_told(record, record->run_len);
		pleg_series_told(pleg, record);
		if (record->told == CONTAINER_GONE && record->path_len == 0)
			pleg_record_drop(pleg, record);
	}
	return (int)made;
}

struct event *pleg_next_event(struct pleg *pleg)
{
	return event_queue_next(&pleg->events);
}
