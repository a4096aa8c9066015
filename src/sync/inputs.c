/*
 * One entry per pod, in a table by UID; those with reasons stand in a queue as well, once each, so
 * the queue cannot outgrow the table. An entry lives while a source has the pod or a request for it
 * waits; one that was handed out and is to go is freed by the next call.
 */
#include "sync/inputs.h"

#include <errno.h>
#include <string.h>
#include <sys/queue.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/table.h"

#define SYNC_TICK_NS    (1 * NSEC_PER_SEC)
#define HOUSEKEEPING_NS (2 * NSEC_PER_SEC)

struct pod {
	TAILQ_ENTRY(pod) entry; /* in the queue while reasons != 0 */
	unsigned reasons;
	bool has_source; /* a source has it now */
	enum sync_source source;
	uint64_t due_ns; /* a worker wants it then, or NSEC_NEVER */
	char uid[];      /* the key */
};

struct sync_inputs {
	unsigned sources, ready;
	struct table pods;
	TAILQ_HEAD(, pod) queue;
	size_t queued;
	bool housekeeping; /* asked for and not taken yet */
	uint64_t tick_ns;  /* next look for pods that are due */
	uint64_t housekeeping_ns;
	uint64_t earliest_ns; /* no pod is due before */
	uint64_t coalesced, ignored;
	struct pod *handed_out; /* freed by the next call */
};

int sync_inputs_new(unsigned sources, size_t pods_max, struct now now, struct sync_inputs **ret)
{
	struct sync_inputs *inputs;

	if (sources == 0)
		return -EINVAL;
	inputs = mem_zalloc(sizeof(*inputs));
	if (!inputs)
		return -ENOMEM;
	TAILQ_INIT(&inputs->queue);
	inputs->sources = sources;
	inputs->pods = TABLE_INIT(pods_max);
	inputs->tick_ns = time_add(now.mono_ns, SYNC_TICK_NS);
	inputs->housekeeping_ns = time_add(now.mono_ns, HOUSEKEEPING_NS);
	inputs->earliest_ns = NSEC_NEVER;
	*ret = inputs;
	return 0;
}

struct sync_inputs *sync_inputs_free(struct sync_inputs *inputs)
{
	struct pod *pod;

	if (!inputs)
		return NULL;
	TABLE_FOREACH (pod, &inputs->pods)
		(void)mem_free(pod);
	table_done(&inputs->pods);
	(void)mem_free(inputs->handed_out);
	return mem_free(inputs);
}

static int pod_add(struct sync_inputs *inputs, const char *uid, struct pod **ret)
{
	CLEAN(mem_freep) struct pod *pod = NULL;
	size_t size = strlen(uid) + 1;
	int r;

	pod = mem_zalloc(sizeof(*pod) + size);
	if (!pod)
		return -ENOMEM;
	memcpy(pod->uid, uid, size);
	pod->due_ns = NSEC_NEVER;
	r = table_put_string(&inputs->pods, pod->uid, pod);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(pod);
	return 0;
}

static void pod_ask(struct sync_inputs *inputs, struct pod *pod, unsigned reasons)
{
	if (pod->reasons == 0) {
		TAILQ_INSERT_TAIL(&inputs->queue, pod, entry);
		inputs->queued++;
	} else {
		inputs->coalesced++;
	}
	pod->reasons |= reasons;
}

static int on_add(struct sync_inputs *inputs, enum sync_source source, const char *uid)
{
	struct pod *pod = table_get_string(&inputs->pods, uid);

	if (pod && pod->has_source)
		return -EEXIST;
	if (!pod) {
		int r = pod_add(inputs, uid, &pod);

		if (r < 0)
			return r;
	}
	pod->has_source = true;
	pod->source = source;
	pod_ask(inputs, pod, SYNC_REASON_ADD);
	return 0;
}

static void on_remove(struct sync_inputs *inputs, struct pod *pod)
{
	pod->has_source = false;
	pod->due_ns = NSEC_NEVER;
	if (sync_inputs_all_ready(inputs)) {
		pod_ask(inputs, pod, SYNC_REASON_REMOVE);
		return;
	}
	if (pod->reasons != 0) {
		TAILQ_REMOVE(&inputs->queue, pod, entry);
		inputs->queued--;
	}
	(void)table_remove_string(&inputs->pods, pod->uid);
	(void)mem_free(pod);
}

int sync_inputs_on_pod(
	struct sync_inputs *inputs, enum sync_source source, enum sync_op op, const char *pod_uid)
{
	struct pod *pod = table_get_string(&inputs->pods, pod_uid);

	if (!(inputs->sources & SYNC_SOURCE_BIT(source)) || *pod_uid == '\0')
		return -EINVAL;
	if (op == SYNC_OP_ADD)
		return on_add(inputs, source, pod_uid);
	if (!pod || !pod->has_source || pod->source != source)
		return -ENOENT;

	switch (op) {
	case SYNC_OP_ADD: break; /* above */
	case SYNC_OP_UPDATE: pod_ask(inputs, pod, SYNC_REASON_UPDATE); break;
	case SYNC_OP_RECONCILE: pod_ask(inputs, pod, SYNC_REASON_RECONCILE); break;
	case SYNC_OP_DELETE: pod_ask(inputs, pod, SYNC_REASON_DELETE); break;
	case SYNC_OP_REMOVE: on_remove(inputs, pod); break;
	}
	return 0;
}

void sync_inputs_on_source_ready(struct sync_inputs *inputs, enum sync_source source)
{
	inputs->ready |= SYNC_SOURCE_BIT(source) & inputs->sources;
}

bool sync_inputs_all_ready(const struct sync_inputs *inputs)
{
	return inputs->ready == inputs->sources;
}

int sync_inputs_on_event(struct sync_inputs *inputs, const struct event *event)
{
	struct pod *pod = table_get_string(&inputs->pods, event->pod_uid);
	bool died = event->type == EVENT_CONTAINER_DIED;
	int r;

	if (!event_is_kubelets(event) || event->type == EVENT_CONTAINER_REMOVED ||
		*event->pod_uid == '\0' || (!died && (!pod || !pod->has_source))) {
		inputs->ignored++;
		return 0;
	}
	if (!pod) {
		r = pod_add(inputs, event->pod_uid, &pod);
		if (r < 0)
			return r;
	}
	pod_ask(inputs, pod,
		(pod->has_source ? SYNC_REASON_PLEG : 0u) |
			(died ? SYNC_REASON_DELETE_CONTAINERS : 0u));
	return 0;
}

void sync_inputs_requeue(struct sync_inputs *inputs, const char *pod_uid, uint64_t at_ns)
{
	struct pod *pod = table_get_string(&inputs->pods, pod_uid);

	if (!pod || !pod->has_source)
		return;
	pod->due_ns = at_ns;
	inputs->earliest_ns = time_min(inputs->earliest_ns, at_ns);
}

/* The first tick of this row after `now_ns`; ticks that were slept through are not made up for. */
static uint64_t tick_after(uint64_t tick_ns, uint64_t period_ns, uint64_t now_ns)
{
	return time_add(tick_ns, (time_since(now_ns, tick_ns) / period_ns + 1) * period_ns);
}

static void ask_due_pods(struct sync_inputs *inputs, uint64_t now_ns)
{
	struct pod *pod;

	inputs->earliest_ns = NSEC_NEVER;
	TABLE_FOREACH (pod, &inputs->pods) {
		if (pod->due_ns <= now_ns) {
			pod->due_ns = NSEC_NEVER;
			pod_ask(inputs, pod, SYNC_REASON_TICK);
		}
		inputs->earliest_ns = time_min(inputs->earliest_ns, pod->due_ns);
	}
}

void sync_inputs_on_tick(struct sync_inputs *inputs, struct now now)
{
	if (now.mono_ns >= inputs->tick_ns) {
		if (inputs->earliest_ns <= now.mono_ns)
			ask_due_pods(inputs, now.mono_ns);
		inputs->tick_ns = tick_after(inputs->tick_ns, SYNC_TICK_NS, now.mono_ns);
	}
	if (now.mono_ns >= inputs->housekeeping_ns) {
		inputs->housekeeping |= sync_inputs_all_ready(inputs);
		inputs->housekeeping_ns =
			tick_after(inputs->housekeeping_ns, HOUSEKEEPING_NS, now.mono_ns);
	}
}

uint64_t sync_inputs_next_due(const struct sync_inputs *inputs)
{
	uint64_t due_ns = NSEC_NEVER;

	if (inputs->earliest_ns <= inputs->tick_ns)
		due_ns = inputs->tick_ns;
	else if (inputs->earliest_ns != NSEC_NEVER)
		due_ns = tick_after(inputs->tick_ns, SYNC_TICK_NS, inputs->earliest_ns - 1);
	if (sync_inputs_all_ready(inputs))
		due_ns = time_min(due_ns, inputs->housekeeping_ns);
	return due_ns;
}

bool sync_inputs_next(struct sync_inputs *inputs, struct sync_request *ret)
{
	struct pod *pod = TAILQ_FIRST(&inputs->queue);

	inputs->handed_out = mem_free(inputs->handed_out);
	*ret = (struct sync_request){ .type = SYNC_REQUEST_NONE, .pod_uid = "" };
	if (!pod) {
		if (inputs->housekeeping)
			ret->type = SYNC_REQUEST_HOUSEKEEPING;
		inputs->housekeeping = false;
		return ret->type != SYNC_REQUEST_NONE;
	}

	TAILQ_REMOVE(&inputs->queue, pod, entry);
	inputs->queued--;
	*ret = (struct sync_request){
		.type = SYNC_REQUEST_POD,
		.reasons = pod->reasons,
		.present = pod->has_source,
		.pod_uid = pod->uid,
	};
	pod->reasons = 0;
	if (!pod->has_source) {
		(void)table_remove_string(&inputs->pods, pod->uid);
		inputs->handed_out = pod;
	}
	return true;
}

void sync_inputs_stats(const struct sync_inputs *inputs, struct sync_inputs_stats *ret)
{
	*ret = (struct sync_inputs_stats){
		.pods = inputs->pods.used,
		.queued = inputs->queued,
		.coalesced = inputs->coalesced,
		.ignored = inputs->ignored,
	};
}
