#include "agent/pump.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/report.h"
#include "agent/transitions.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"

/* Requests that one turn starts; pleg has bounds of its own, this one is against a fault in them. */
#define PUMP_TURN_MAX 100000
/* A runtime that failed as both kinds is taken for what its name says, for so long. */
#define PUMP_KIND_AGAIN_NS (60 * NSEC_PER_SEC)

struct pump_call {
	struct pump *pump;
	struct pump_call *next, **back; /* all that are open */
	enum pleg_request_type type;
	uint64_t token, started_ns;
};

struct pump_condition {
	bool is_there, status;
	char reason[128], message[400];
};

/* What is asked again and again, in the order in which a failure is told. */
enum pump_question {
	PUMP_LIST,
	PUMP_STATUS,
	PUMP_VERSION,
	PUMP_QUESTIONS,
};

/* A call that is repeated for as long as there is a runtime. */
struct pump_beat {
	struct timer *timer;
	uint64_t period_ns, started_ns;
	bool is_open;
};

struct pump {
	struct pump_options options;
	struct runtime *runtime;
	const char *no_runtime; /* why there is none; NULL: not looked for to the end yet */
	bool is_changing;       /* the runtime is being closed: its calls end from inside */
	bool is_freed;
	uint64_t kind_tried_ns; /* when it was last taken for the other kind; 0: never */
	struct pump_call *calls;
	struct timer *pleg_timer, *node_timer;
	sd_event_source *judge_source;
	struct pump_beat version, status;
	/* What the last Status said */
	bool status_seen;
	uint64_t status_started_ns;
	struct pump_condition ready, network;
	/* What the last Version said */
	bool has_latency, has_ever_answered;
	uint64_t latency_ns;
	char name[64], version_text[64];
	char link_failure[240];
	char answer_failures[PUMP_QUESTIONS][400]; /* of the last answer to each; "": it was good */
	bool has_relisted;                         /* on_relist was called */
	struct transitions *transitions;
	struct hints *hints;
	uint64_t events[EVENT_POD_SYNC + 1][2];
};

static void pump_turn(struct pump *pump);
static bool pump_try_other_kind(struct pump *pump, const struct runtime_result *result);

/* ---- calls of pleg --------------------------------------------------------------------------- */

static void call_free(struct pump_call *call)
{
	*call->back = call->next;
	if (call->next)
		call->next->back = call->back;
	(void)mem_free(call);
}

static enum pleg_failure call_failure(enum runtime_outcome outcome)
{
	switch (outcome) {
	case RUNTIME_NOT_FOUND: return PLEG_FAILURE_NOT_FOUND;
	case RUNTIME_OK: /* Without what was asked for: as good as an error. */
	case RUNTIME_ERROR:
	case RUNTIME_UNSUPPORTED:
	case RUNTIME_MALFORMED: return PLEG_FAILURE_ERROR;
	case RUNTIME_NO_SOCKET:
	case RUNTIME_REFUSED:
	case RUNTIME_SILENT:
	case RUNTIME_LOST:
	case RUNTIME_CANCELLED: return PLEG_FAILURE_LOST;
	}
	return PLEG_FAILURE_ERROR;
}

/* Keeps why the runtime's answer was of no use. That there was none is the link's to tell. */
static void pump_note_answer(
	struct pump *pump, enum pump_question question, const struct runtime_result *result)
{
	char *text = pump->answer_failures[question];

	switch (result->outcome) {
	case RUNTIME_NOT_FOUND:
	case RUNTIME_ERROR:
	case RUNTIME_UNSUPPORTED:
	case RUNTIME_MALFORMED:
		(void)str_format(
			text, sizeof(pump->answer_failures[question]), "%s", result->message);
		return;
	case RUNTIME_OK:
	case RUNTIME_NO_SOCKET:
	case RUNTIME_REFUSED:
	case RUNTIME_SILENT:
	case RUNTIME_LOST: text[0] = '\0'; return;
	case RUNTIME_CANCELLED: return; /* By us: says nothing about the runtime. */
	}
}

static const char *pump_answer_failure(const struct pump *pump)
{
	for (size_t i = 0; i < PUMP_QUESTIONS; i++)
		if (pump->answer_failures[i][0] != '\0')
			return pump->answer_failures[i];
	return "";
}

static void pump_say_relisted(struct pump *pump, enum pleg_request_type type)
{
	if (type != PLEG_REQUEST_LIST || pump->has_relisted)
		return;
	pump->has_relisted = true;
	pump->options.on_relist(pump->options.userdata);
}

static void call_on_done(void *userdata, const struct runtime_result *result)
{
	struct pump_call *call = userdata;
	struct pump *pump = call->pump;
	enum pleg_request_type type = call->type;
	uint64_t token = call->token, started_ns = call->started_ns;
	/* What comes after its deadline PLEG does not believe: it is not in the records. */
	bool has_listed =
		type == PLEG_REQUEST_LIST && result->outcome == RUNTIME_OK && !result->was_late;
	struct now now = clock_now();

	call_free(call);
	if (pump->is_freed)
		return;
	if (pump_try_other_kind(pump, result)) {
		pleg_on_failed(pump->options.pleg, token, PLEG_FAILURE_LOST, result->message, now);
		pleg_relist_now(pump->options.pleg, now);
		pump_turn(pump);
		return;
	}
	if (type == PLEG_REQUEST_LIST)
		pump_note_answer(pump, PUMP_LIST, result);
	if (result->outcome == RUNTIME_OK && type == PLEG_REQUEST_INSPECT && result->status) {
		hints_on_status(pump->hints, result->status);
		pleg_on_inspect(pump->options.pleg, token, result->status, now);
	} else if (result->outcome == RUNTIME_OK && type != PLEG_REQUEST_INSPECT && result->list)
		pleg_on_list(pump->options.pleg, token, result->list, now);
	else {
		log_debug("Call failed", "message", result->message, NULL);
		pleg_on_failed(pump->options.pleg, token, call_failure(result->outcome),
			result->message, now);
	}
	if (pump->is_changing)
		return;
	if (has_listed)
		hints_on_records(pump->hints, pump->options.pleg, now);
	pump_turn(pump);
	if (has_listed)
		hints_on_list(pump->hints, started_ns, now);
	pump_say_relisted(pump, type);
}

static void call_on_late(void *userdata)
{
	struct pump_call *call = userdata;
	struct pump *pump = call->pump;

	pleg_on_late(pump->options.pleg, call->token, clock_now());
	pump_turn(pump);
	pump_say_relisted(pump, call->type);
}

static const struct runtime_callbacks call_callbacks = {
	.on_done = call_on_done,
	.on_late = call_on_late,
};

static int call_start(struct pump *pump, const struct pleg_request *request)
{
	struct runtime_call_options options = { .callbacks = &call_callbacks,
		.timeout_ns = request->timeout_ns };
	struct pump_call *call = mem_zalloc(sizeof(*call));
	int r = -EINVAL;

	if (!call)
		return -ENOMEM;
	*call = (struct pump_call){ .pump = pump,
		.type = request->type,
		.token = request->token,
		.started_ns = clock_now().mono_ns,
		.next = pump->calls,
		.back = &pump->calls };
	if (call->next)
		call->next->back = &call->next;
	pump->calls = call;
	options.userdata = call;

	switch (request->type) {
	case PLEG_REQUEST_LIST: r = runtime_list(pump->runtime, NULL, NULL, &options); break;
	case PLEG_REQUEST_LIST_POD:
		if (request->pod_uid[0] != '\0')
			r = runtime_list(pump->runtime, request->pod_uid, NULL, &options);
		else
			r = runtime_list(pump->runtime, NULL, request->sandbox_id, &options);
		break;
	case PLEG_REQUEST_INSPECT:
		r = runtime_inspect(pump->runtime, request->kind, request->id, &options);
		break;
	}
	if (r < 0)
		call_free(call);
	return r;
}

/* ---- one turn: everything pleg has to say, then the timer -------------------------------------- */

/* True if there were any. */
static bool pump_requests(struct pump *pump)
{
	struct pleg_request request;
	bool has_listed_badly = false, has_any = false;

	/* While a runtime is looked for, what is asked for stays where it is. */
	if (!pump->runtime && !pump->no_runtime)
		return false;
	for (int i = 0; i < PUMP_TURN_MAX && pleg_next_request(pump->options.pleg, &request); i++) {
		const char *why = pump->no_runtime;
		uint64_t token = request.token;
		int r = -ENOTCONN;

		has_any = true;
		if (pump->runtime) {
			r = call_start(pump, &request);
			why = err_text(NULL, r);
		}
		if (r >= 0)
			continue;
		has_listed_badly |= request.type == PLEG_REQUEST_LIST;
		pleg_on_failed(pump->options.pleg, token, PLEG_FAILURE_LOST, why, clock_now());
	}
	if (has_listed_badly)
		pump_say_relisted(pump, PLEG_REQUEST_LIST);
	return has_any;
}

static void pump_tell(void *userdata, struct event *event)
{
	struct pump *pump = userdata;
	enum event_type type = event->type;
	bool confirmed = event->confirmed;

	/* Out of memory: the sequence shows the gap, and sync_stats() counts it. */
	if (sync_loop_add(pump->options.events, event) >= 0)
		pump->events[type][confirmed]++;
}

static void pump_events(struct pump *pump)
{
	struct pleg_notice notice;
	struct event *event;
	bool has_any = false;

	while ((event = pleg_next_event(pump->options.pleg)) != NULL) {
		hints_on_event(pump->hints, event, clock_now());
		pump_tell(pump, event);
		has_any = true;
	}
	/* Subscriptions are node mode's; there is nobody yet who makes one. */
	while (pleg_next_notice(pump->options.pleg, &notice))
		;
	if (has_any)
		pump->options.on_events(pump->options.userdata);
}

static void pump_turn(struct pump *pump)
{
	(void)pump_requests(pump);
	do {
		pump_events(pump);
		hints_settle(pump->hints);
		pleg_on_hints(pump->options.pleg, hints_are_calm(pump->hints), clock_now());
		/* The first doubt makes a list due at once, and what waits in the queue is due no more:
		 * nobody would come for it. */
	} while (pump_requests(pump));
	(void)timer_set(pump->pleg_timer, pleg_next_due(pump->options.pleg));
	pump_judge_soon(pump);
}

static void pump_on_due(void *userdata)
{
	struct pump *pump = userdata;

	pleg_on_tick(pump->options.pleg, clock_now());
	pump_turn(pump);
}

/* ---- hints ------------------------------------------------------------------------------------- */

static void pump_wake(void *userdata, const char *container_id)
{
	struct pump *pump = userdata;

	pleg_wake(pump->options.pleg, container_id, clock_now());
}

static void pump_relist(void *userdata)
{
	struct pump *pump = userdata;

	pleg_relist_now(pump->options.pleg, clock_now());
	pump_turn(pump);
}

/* Subscribers first: a death is told before anything is asked about it. */
static void pump_flush(void *userdata)
{
	struct pump *pump = userdata;

	pump->options.on_events(pump->options.userdata);
	pump_turn(pump);
}

static const struct hints_ops hints_ops = {
	.tell = pump_tell,
	.wake = pump_wake,
	.relist = pump_relist,
	.flush = pump_flush,
};

/* ---- the keepalive and Status ------------------------------------------------------------------ */

static void beat_end(struct pump_beat *beat)
{
	beat->is_open = false;
	(void)timer_set(beat->timer,
		time_add(beat->started_ns, beat->period_ns) > clock_now().mono_ns
			? time_add(beat->started_ns, beat->period_ns)
			: time_add(clock_now().mono_ns, beat->period_ns));
}

static void version_on_done(void *userdata, const struct runtime_result *result)
{
	struct pump *pump = userdata;
	const char *name = str_or_empty(result->version_name);
	const char *version = str_or_empty(result->version);

	if (pump->is_freed || pump_try_other_kind(pump, result))
		return;
	beat_end(&pump->version);
	pump_note_answer(pump, PUMP_VERSION, result);
	if (result->outcome == RUNTIME_OK) {
		pump->has_latency = pump->has_ever_answered = true;
		pump->latency_ns = result->elapsed_ns;
		(void)str_clean(pump->name, sizeof(pump->name), name, strlen(name));
		(void)str_clean(
			pump->version_text, sizeof(pump->version_text), version, strlen(version));
		hints_set_runtime(pump->hints, runtime_kind(pump->runtime),
			runtime_endpoint(pump->runtime), pump->name, pump->version_text);
	} else {
		log_debug("Keepalive failed", "message", result->message, NULL);
	}
	pump_judge_soon(pump);
}

static void condition_copy(struct pump_condition *to, const struct runtime_condition *from)
{
	const char *reason = str_or_empty(from->reason), *message = str_or_empty(from->message);

	to->is_there = true;
	to->status = from->status;
	(void)str_clean(to->reason, sizeof(to->reason), reason, strlen(reason));
	(void)str_clean(to->message, sizeof(to->message), message, strlen(message));
}

static void status_on_done(void *userdata, const struct runtime_result *result)
{
	struct pump *pump = userdata;

	if (pump->is_freed || pump_try_other_kind(pump, result))
		return;
	beat_end(&pump->status);
	pump_note_answer(pump, PUMP_STATUS, result);
	if (result->outcome == RUNTIME_OK) {
		pump->status_seen = pump->has_ever_answered = true;
		pump->status_started_ns = pump->status.started_ns;
		pump->ready.is_there = pump->network.is_there = false;
		for (size_t i = 0; i < result->condition_count; i++) {
			const struct runtime_condition *condition = &result->conditions[i];

			if (str_eq(condition->type, "RuntimeReady"))
				condition_copy(&pump->ready, condition);
			else if (str_eq(condition->type, "NetworkReady"))
				condition_copy(&pump->network, condition);
		}
	} else {
		log_debug("Status failed", "message", result->message, NULL);
	}
	pump_judge_soon(pump);
}

/* Past its deadline it stays open; the age in flight tells the rest. */
static const struct runtime_callbacks version_callbacks = { .on_done = version_on_done };
static const struct runtime_callbacks status_callbacks = { .on_done = status_on_done };

static void beat_start(struct pump *pump, struct pump_beat *beat,
	int (*call)(struct runtime *, const struct runtime_call_options *),
	const struct runtime_callbacks *callbacks)
{
	struct runtime_call_options options = { .callbacks = callbacks,
		.userdata = pump,
		.timeout_ns = pump->options.request_timeout_ns };

	if (!pump->runtime || beat->is_open)
		return;
	beat->started_ns = clock_now().mono_ns;
	beat->is_open = call(pump->runtime, &options) >= 0;
	if (!beat->is_open)
		beat_end(beat);
}

static void version_on_due(void *userdata)
{
	struct pump *pump = userdata;

	beat_start(pump, &pump->version, runtime_version, &version_callbacks);
}

static void status_on_due(void *userdata)
{
	struct pump *pump = userdata;

	beat_start(pump, &pump->status, runtime_status, &status_callbacks);
}

/* ---- the verdict ------------------------------------------------------------------------------- */

static const char *pump_link_failure(struct pump *pump)
{
	char *out = pump->link_failure;
	size_t size = sizeof(pump->link_failure);
	struct runtime_link link;
	const char *path;

	out[0] = '\0';
	if (!pump->runtime)
		return str_format(out, size, "%s", str_or_empty(pump->no_runtime));
	runtime_link(pump->runtime, &link);
	if (link.up)
		return out;
	path = runtime_endpoint(pump->runtime);
	switch (link.last_failure) {
	case RUNTIME_OK:
	case RUNTIME_CANCELLED: return out; /* The first dial is under way. */
	case RUNTIME_NO_SOCKET: return str_format(out, size, "no such socket %s", path);
	case RUNTIME_REFUSED:
		return str_format(out, size,
			link.denied ? "no permission to connect to %s: run pleg as root"
				    : "connection refused by %s",
			path);
	case RUNTIME_SILENT:
		return str_format(out, size, "%s accepts connections and never answers", path);
	case RUNTIME_LOST: return str_format(out, size, "connection to %s was lost", path);
	case RUNTIME_NOT_FOUND:
	case RUNTIME_ERROR:
	case RUNTIME_UNSUPPORTED:
	case RUNTIME_MALFORMED:
		return str_format(out, size, "%s does not speak %s (%s)", path,
			runtime_kind(pump->runtime) == RUNTIME_CRI ? "CRI" : "Docker's Engine API",
			runtime_outcome_text(link.last_failure));
	}
	return out;
}

static void pump_facts_of_status(const struct pump *pump, struct now now, struct node_facts *facts)
{
	facts->status_seen = pump->status_seen;
	facts->status_age_ns = time_since(now.mono_ns, pump->status_started_ns);
	facts->runtime_condition = pump->ready.is_there;
	facts->runtime_ready = pump->ready.status;
	facts->runtime_reason = pump->ready.reason;
	facts->runtime_message = pump->ready.message;
	facts->network_condition = pump->network.is_there;
	facts->network_ready = pump->network.status;
	facts->network_reason = pump->network.reason;
	facts->network_message = pump->network.message;
}

/* The oldest call that tells of the runtime: one that hangs and asks for no container before all others.
 * An inspection past its deadline tells of one pod, which is in quarantine for it; the runtime may well
 * be fine beside it. */
static bool pump_oldest_call(const struct pump *pump, struct now now, struct node_call *ret)
{
	struct runtime_call_info info;
	struct runtime_link link;
	size_t cursor = 0;
	bool has_any = false, has_whole = false, is_whole;

	if (!pump->runtime)
		return false;
	/* Where nobody listens nothing hangs: the calls wait for the next dial. */
	runtime_link(pump->runtime, &link);
	if (!link.up &&
		(link.last_failure == RUNTIME_NO_SOCKET || link.last_failure == RUNTIME_REFUSED))
		return false;
	while (runtime_next_call(pump->runtime, &cursor, now.mono_ns, &info)) {
		if (info.late &&
			(str_eq(info.method, "ContainerStatus") ||
				str_eq(info.method, "PodSandboxStatus")))
			continue;
		is_whole = *str_or_empty(info.subject) == '\0' && info.age_ns >= NODE_STALLED_NS;
		if (has_any &&
			(has_whole > is_whole ||
				(has_whole == is_whole && info.age_ns <= ret->age_ns)))
			continue;
		has_whole = is_whole;
		*ret = (struct node_call){ info.method, info.subject, info.age_ns };
		has_any = true;
	}
	return has_any;
}

/* The next moment at which the passing of time alone changes the verdict. */
static uint64_t pump_verdict_due(
	const struct pump *pump, const struct pleg_health *health, struct now now)
{
	uint64_t due = time_add(now.mono_ns, pump->options.node_update_ns);

	due = time_min(due, node_next_due(pump->options.node));
	if (health->has_listed && health->healthy)
		due = time_min(due,
			time_add(time_since(now.mono_ns, health->last_relist_age_ns),
				pump->options.relist_threshold_ns + NSEC_PER_MSEC));
	return due;
}

void pump_judge(struct pump *pump)
{
	struct now now = clock_now();
	struct node_call oldest;
	struct pleg_health health;
	struct node_facts facts = { 0 };
	char quarantined[400];
	bool has_changed;

	pleg_health(pump->options.pleg, now, &health);
	facts.pleg_healthy = health.healthy;
	facts.pleg_message = health.message;
	facts.pods = health.pods;
	facts.quarantined = health.quarantined;
	facts.inspections_starved = health.inspections_starved;
	facts.inspections_starved_age_ns = health.inspections_starved_age_ns;
	facts.quarantined_names = "";
	if (health.quarantined > 0)
		facts.quarantined_names =
			report_quarantined(pump->options.pleg, quarantined, sizeof(quarantined));
	pump_facts_of_status(pump, now, &facts);
	facts.link_failure = pump_link_failure(pump);
	facts.answer_failure = pump_answer_failure(pump);
	if (pump_oldest_call(pump, now, &oldest))
		facts.oldest_call = &oldest;
	facts.kubelet = kubelet_state(pump->options.kubelet, &facts.kubelet_message);

	has_changed = node_update(pump->options.node, &facts, now);
	transitions_log(pump->transitions, pump->options.node, &facts, pump->options.pleg, now);
	(void)timer_set(pump->node_timer, pump_verdict_due(pump, &health, now));
	if (has_changed)
		pump->options.on_verdict(pump->options.userdata);
}

static void pump_on_node_due(void *userdata)
{
	pump_judge(userdata);
}

static int pump_on_judge(sd_event_source *source, void *userdata)
{
	(void)source;
	pump_judge(userdata);
	return 0;
}

void pump_judge_soon(struct pump *pump)
{
	(void)sd_event_source_set_enabled(pump->judge_source, SD_EVENT_ONESHOT);
}

/* ---- the runtime ------------------------------------------------------------------------------- */

static void pump_close_runtime(struct pump *pump)
{
	if (!pump->runtime)
		return;
	hints_set_runtime(pump->hints, RUNTIME_CRI, NULL, NULL, NULL);
	pump->is_changing = true;
	pump->runtime = runtime_free(pump->runtime);
	pump->is_changing = false;
	pump->version.is_open = pump->status.is_open = false;
	pump->has_latency = pump->status_seen = pump->has_ever_answered = false;
	pump->name[0] = pump->version_text[0] = '\0';
	memset(pump->answer_failures, 0, sizeof(pump->answer_failures));
}

static int pump_open_runtime(
	struct pump *pump, enum runtime_kind kind, const char *endpoint, struct err *reterr)
{
	int r = runtime_open(pump->options.loop, kind, endpoint, &pump->runtime, reterr);

	if (r < 0) {
		pump->runtime = NULL;
		return r;
	}
	pump->no_runtime = NULL;
	(void)timer_set_in(pump->version.timer, 0);
	(void)timer_set_in(pump->status.timer, 0);
	return 0;
}

int pump_set_runtime(struct pump *pump, const char *endpoint, struct err *reterr)
{
	int r;

	pump_close_runtime(pump);
	pump->kind_tried_ns = 0;
	r = pump_open_runtime(pump, runtime_guess(endpoint), endpoint, reterr);
	if (r >= 0)
		pump_turn(pump);
	return r;
}

/*
 * A socket's name only says what probably listens there. As long as nothing was answered well, what
 * looks like a server of another kind is asked as one; if it is none of that either, it is what its
 * name says, and sick. True: the runtime is another object now.
 */
static bool pump_try_other_kind(struct pump *pump, const struct runtime_result *result)
{
	uint64_t now_ns = clock_now().mono_ns;
	enum runtime_kind guess, kind;
	char endpoint[256];

	if (pump->is_changing || pump->has_ever_answered || result->outcome == RUNTIME_OK ||
		result->outcome == RUNTIME_CANCELLED)
		return false;
	kind = runtime_kind(pump->runtime);
	guess = runtime_guess(runtime_endpoint(pump->runtime));
	if (kind == guess &&
		(!runtime_is_other_kind(result) ||
			(pump->kind_tried_ns > 0 &&
				time_since(now_ns, pump->kind_tried_ns) < PUMP_KIND_AGAIN_NS)))
		return false;
	if (kind == guess)
		pump->kind_tried_ns = now_ns;
	(void)str_format(endpoint, sizeof(endpoint), "%s", runtime_endpoint(pump->runtime));
	kind = kind == RUNTIME_CRI ? RUNTIME_DOCKER : RUNTIME_CRI;
	log_debug("Asking the runtime in another way", "endpoint", endpoint, "as",
		runtime_kind_text(kind), "because", result->message, NULL);
	pump_close_runtime(pump);
	/* The path was good enough for the first one: what can fail is memory, and then so be it. */
	if (pump_open_runtime(pump, kind, endpoint, NULL) < 0)
		pump->no_runtime = "out of memory for a runtime";
	return true;
}

void pump_set_no_runtime(struct pump *pump, const char *reason)
{
	pump_close_runtime(pump);
	pump->no_runtime = reason;
	pump_turn(pump);
}

/* ---- lifetime ---------------------------------------------------------------------------------- */

static int pump_start(struct pump *pump)
{
	sd_event *loop = pump->options.loop;
	struct hints_options hints = {
		.loop = loop,
		.containers_max = PLEG_CONFIG_DEFAULT.containers_max,
		.is_once = pump->options.is_once,
		.ops = &hints_ops,
		.userdata = pump,
	};
	int r;

	r = transitions_new(&pump->transitions);
	if (r < 0)
		return r;
	r = hints_new(&hints, &pump->hints);
	if (r < 0)
		return r;
	r = timer_new(loop, 0, pump_on_due, pump, &pump->pleg_timer);
	if (r < 0)
		return r;
	timer_measure(pump->pleg_timer, pump->options.lag);
	r = timer_new(loop, 0, pump_on_node_due, pump, &pump->node_timer);
	if (r < 0)
		return r;
	timer_measure(pump->node_timer, pump->options.lag);
	r = timer_new(loop, NSEC_NEVER, version_on_due, pump, &pump->version.timer);
	if (r < 0)
		return r;
	r = timer_new(loop, NSEC_NEVER, status_on_due, pump, &pump->status.timer);
	if (r < 0)
		return r;
	r = sd_event_add_defer(loop, &pump->judge_source, pump_on_judge, pump);
	if (r < 0)
		return r;
	/* After what else the same turn of the loop brings, so that it is worked out once. */
	return sd_event_source_set_priority(pump->judge_source, SD_EVENT_PRIORITY_IDLE);
}

int pump_new(const struct pump_options *options, struct pump **ret)
{
	CLEAN(pump_freep) struct pump *pump = mem_zalloc(sizeof(*pump));
	int r;

	if (!pump)
		return -ENOMEM;
	pump->options = *options;
	pump->version.period_ns = PUMP_VERSION_PERIOD_NS;
	pump->status.period_ns = PUMP_STATUS_PERIOD_NS;
	r = pump_start(pump);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(pump);
	return 0;
}

struct pump *pump_free(struct pump *pump)
{
	if (!pump)
		return NULL;
	pump->is_freed = true;
	pump->hints = hints_free(pump->hints);
	pump->runtime = runtime_free(pump->runtime);
	pump->judge_source = sd_event_source_disable_unref(pump->judge_source);
	pump->pleg_timer = timer_free(pump->pleg_timer);
	pump->node_timer = timer_free(pump->node_timer);
	pump->version.timer = timer_free(pump->version.timer);
	pump->status.timer = timer_free(pump->status.timer);
	pump->transitions = transitions_free(pump->transitions);
	return mem_free(pump);
}

void pump_state(const struct pump *pump, struct pump_state *ret)
{
	*ret = (struct pump_state){
		.runtime = pump->runtime,
		.name = pump->name[0] ? pump->name : NULL,
		.version = pump->version_text[0] ? pump->version_text : NULL,
		.link_failure = pump->link_failure,
		.answer_failure = pump_answer_failure(pump),
		.has_latency = pump->has_latency,
		.has_ever_answered = pump->has_ever_answered,
		.latency_ns = pump->latency_ns,
		.hints = pump->hints,
	};
	memcpy(ret->events, pump->events, sizeof(ret->events));
}
