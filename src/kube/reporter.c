/*
 * Invariants:
 *  - A slot that is busy[] has exactly one request without an answer.
 *  - Every write, also one that fails, is spent from the budget when it is handed out.
 *  - A taint's patch is made from the node as it was read for it, and for nothing later.
 */
#include "kube/reporter.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "kube/text.h"

#define STRATEGIC "application/strategic-merge-patch+json"
#define MERGE     "application/merge-patch+json"
#define JSON      "application/json"
#define MANAGER   "?fieldManager=pleg"

enum node_work {
	NODE_IDLE,
	NODE_READING,  /* GET */
	NODE_STATUS,   /* the conditions */
	NODE_TAINTING, /* the taint list */
};

struct retry {
	uint32_t failures; /* in a row */
	uint64_t until_ns; /* nothing of this slot before; monotonic */
};

struct reporter {
	bool may_taint;
	char node_path[REPORTER_PATH_MAX], path[REPORTER_SLOTS][REPORTER_PATH_MAX];
	struct buf body[REPORTER_SLOTS];
	bool busy[REPORTER_SLOTS];
	struct retry retry[REPORTER_SLOTS];
	enum node_work work;
	bool is_looked; /* at the node, since the last write */
	bool is_overwritten;
	struct conditions *conditions;
	struct kube_events *events;
	struct budget budget;
	uint64_t random;
	/* The taint */
	bool taint_checked; /* as it is wanted, for all that is known */
	bool taint_wanted, is_tainted;
	uint64_t taint_check_ns; /* monotonic: look again */
	struct buf taint_body;   /* made, and to be sent; empty: none */
	bool taint_adds;         /* what it does */
	unsigned last_http;
	uint64_t writes, failures;
};

struct reporter *reporter_new(const struct reporter_options *options)
{
	struct reporter *r = mem_zalloc(sizeof(*r));
	char name[REPORTER_PATH_MAX / 2];

	if (!r)
		return NULL;
	r->may_taint = options->taint;
	r->random = options->seed;
	(void)str_format(r->node_path, sizeof(r->node_path), "/api/v1/nodes/%s",
		kube_path_part(name, sizeof(name), options->node_name));
	r->body[REPORTER_NODE] = BUF_INIT(REPORTER_BODY_MAX);
	r->body[REPORTER_EVENT] = BUF_INIT(EVENT_BODY_MAX);
	r->taint_body = BUF_INIT(REPORTER_BODY_MAX);
	r->conditions = conditions_new(options->seed);
	r->events = kube_events_new(options->node_name);
	return r->conditions && r->events ? r : reporter_free(r);
}

struct reporter *reporter_free(struct reporter *r)
{
	if (!r)
		return NULL;
	r->conditions = conditions_free(r->conditions);
	r->events = kube_events_free(r->events);
	for (unsigned i = 0; i < REPORTER_SLOTS; i++)
		buf_done(&r->body[i]);
	buf_done(&r->taint_body);
	return mem_free(r);
}

/* splitmix64; `bound` is not 0. */
static uint64_t random_below(struct reporter *r, uint64_t bound)
{
	uint64_t z = r->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (z ^ (z >> 31)) % bound;
}

/* ---- what happens ------------------------------------------------------------------------------- */

int reporter_event(struct reporter *r, const struct kube_event *event)
{
	return kube_events_add(r->events, event);
}

/* In node-problem-detector's words. */
static void tell_transitions(struct reporter *r)
{
	struct condition_transition t;
	char message[2 * KUBE_MESSAGE_MAX], key[128];

	while (conditions_next_transition(r->conditions, &t)) {
		const struct kube_event event = {
			.reason = t.reason, .message = message, .key = key, .at_ns = t.at_ns
		};

		(void)str_format(message, sizeof(message),
			"Node condition %s is now: %s, reason: %s, message: \"%s\"",
			condition_type_text(t.type), condition_status_text(t.status), t.reason,
			t.message);
		(void)str_format(key, sizeof(key), "%s %s", condition_type_text(t.type),
			condition_status_text(t.status));
		(void)kube_events_add(r->events, &event); /* A loss is counted there. */
	}
}

/* Pods that come now would hang: the runtime or the list is not well. One stuck container keeps no
 * other from running. */
static bool wants_taint(const struct reporter *r)
{
	struct condition_view pleg, runtime;

	conditions_view(r->conditions, CONDITION_PLEG, &pleg);
	conditions_view(r->conditions, CONDITION_RUNTIME, &runtime);
	return r->may_taint && (pleg.status == CONDITION_TRUE || runtime.status == CONDITION_TRUE);
}

/* Where nothing is judged yet a taint of before stays. */
static bool knows_taint(const struct reporter *r)
{
	struct condition_view pleg, runtime;

	conditions_view(r->conditions, CONDITION_PLEG, &pleg);
	conditions_view(r->conditions, CONDITION_RUNTIME, &runtime);
	return !r->may_taint || wants_taint(r) ||
		(pleg.status != CONDITION_UNKNOWN && runtime.status != CONDITION_UNKNOWN);
}

static void judge_taint(struct reporter *r)
{
	bool is_wanted = wants_taint(r);

	if (is_wanted == r->taint_wanted)
		return;
	r->taint_wanted = is_wanted;
	r->taint_checked = false;
	buf_clear(&r->taint_body);
}

void reporter_update(struct reporter *r, const struct condition_facts *facts, struct now now)
{
	struct condition_word words[CONDITIONS];

	conditions_judge(facts, now.real_ns, words);
	conditions_update(r->conditions, words, now);
	tell_transitions(r);
	judge_taint(r);
}

/* ---- when --------------------------------------------------------------------------------------- */

static uint64_t later(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns > b_ns ? a_ns : b_ns;
}

/* What is to be done about the node next, and when it may be. */
static enum node_work next_work(const struct reporter *r, struct now now, uint64_t *ret_ns)
{
	uint64_t write_ns = budget_when(&r->budget, WRITE_NODE, now.mono_ns);
	uint64_t status_ns = conditions_write_due(r->conditions);
	uint64_t taint_ns = NSEC_NEVER;
	enum node_work work = NODE_STATUS;

	*ret_ns = r->retry[REPORTER_NODE].until_ns;
	if (!conditions_is_adopted(r->conditions))
		return NODE_READING;
	if (status_ns != NSEC_NEVER)
		status_ns = later(status_ns, write_ns);
	if (r->taint_body.len > 0)
		taint_ns = write_ns;
	else if (!r->taint_checked && knows_taint(r))
		taint_ns = now.mono_ns;
	else if (r->taint_checked && r->may_taint)
		taint_ns = r->taint_check_ns;
	if (taint_ns < status_ns)
		work = r->taint_body.len > 0 ? NODE_TAINTING : NODE_READING;
	/* Before a heartbeat: is what is there ours? */
	else if (!r->is_looked && !conditions_is_urgent(r->conditions))
		work = NODE_READING;
	*ret_ns = later(*ret_ns, time_min(status_ns, taint_ns));
	return work;
}

static uint64_t event_due(const struct reporter *r, struct now now)
{
	uint64_t due_ns = kube_events_due(r->events);

	if (due_ns == NSEC_NEVER || !conditions_is_adopted(r->conditions))
		return NSEC_NEVER;
	due_ns = later(due_ns, r->retry[REPORTER_EVENT].until_ns);
	return later(due_ns, budget_when(&r->budget, WRITE_EVENT, now.mono_ns));
}

uint64_t reporter_due(const struct reporter *r, struct now now)
{
	uint64_t due_ns = NSEC_NEVER, node_ns;

	if (!r->busy[REPORTER_NODE]) {
		(void)next_work(r, now, &node_ns);
		due_ns = node_ns;
	}
	if (!r->busy[REPORTER_EVENT])
		due_ns = time_min(due_ns, event_due(r, now));
	return due_ns;
}

/* ---- requests ----------------------------------------------------------------------------------- */

static void spend(struct reporter *r, struct now now)
{
	budget_spend(&r->budget, now.mono_ns);
	r->writes++;
}

static void set_request(struct reporter *r, enum reporter_slot slot, enum reporter_want want,
	const char *method, const char *content_type, struct reporter_request *ret)
{
	const struct buf *body = &r->body[slot];

	r->busy[slot] = true;
	*ret = (struct reporter_request){ slot, want, method, r->path[slot], content_type,
		content_type ? (const char *)body->data : NULL, content_type ? body->len : 0 };
}

static bool next_of_node(struct reporter *r, struct now now, struct reporter_request *ret)
{
	struct buf *body = &r->body[REPORTER_NODE];
	char *path = r->path[REPORTER_NODE];
	uint64_t due_ns;
	enum node_work work = next_work(r, now, &due_ns);

	if (due_ns > now.mono_ns)
		return false;
	buf_clear(body);
	switch (work) {
	case NODE_IDLE: return false;
	case NODE_READING:
		(void)str_format(path, REPORTER_PATH_MAX, "%s", r->node_path);
		set_request(r, REPORTER_NODE, REPORTER_READ_NODE, "GET", NULL, ret);
		break;
	case NODE_STATUS:
		if (conditions_patch(r->conditions, now, body) < 0)
			return false;
		(void)str_format(path, REPORTER_PATH_MAX, "%s/status" MANAGER, r->node_path);
		spend(r, now);
		set_request(r, REPORTER_NODE, REPORTER_WRITE, "PATCH", STRATEGIC, ret);
		break;
	case NODE_TAINTING:
		if (buf_append(body, r->taint_body.data, r->taint_body.len) < 0)
			return false;
		buf_clear(&r->taint_body);
		(void)str_format(path, REPORTER_PATH_MAX, "%s" MANAGER, r->node_path);
		spend(r, now);
		set_request(r, REPORTER_NODE, REPORTER_WRITE, "PATCH", MERGE, ret);
		break;
	}
	r->work = work;
	return true;
}

static bool next_of_event(struct reporter *r, struct now now, struct reporter_request *ret)
{
	char namespace[KUBE_NAME_MAX + 1], name[KUBE_NAME_MAX + 1];
	char *path = r->path[REPORTER_EVENT];
	struct kube_events_request request;

	if (event_due(r, now) > now.mono_ns)
		return false;
	buf_clear(&r->body[REPORTER_EVENT]);
	if (!kube_events_next(r->events, now, &request, &r->body[REPORTER_EVENT]))
		return false;
	(void)kube_path_part(namespace, sizeof(namespace), request.namespace);
	(void)kube_path_part(name, sizeof(name), request.name);
	switch (request.step) {
	case EVENT_CREATE:
		(void)str_format(
			path, REPORTER_PATH_MAX, "/api/v1/namespaces/%s/events" MANAGER, namespace);
		set_request(r, REPORTER_EVENT, REPORTER_WRITE, "POST", JSON, ret);
		break;
	case EVENT_READ:
		(void)str_format(path, REPORTER_PATH_MAX, "/api/v1/namespaces/%s/events/%s",
			namespace, name);
		set_request(r, REPORTER_EVENT, REPORTER_READ_EVENT, "GET", NULL, ret);
		return true;
	case EVENT_PATCH:
		(void)str_format(path, REPORTER_PATH_MAX, "/api/v1/namespaces/%s/events/%s" MANAGER,
			namespace, name);
		set_request(r, REPORTER_EVENT, REPORTER_WRITE, "PATCH", STRATEGIC, ret);
		break;
	}
	spend(r, now);
	return true;
}

bool reporter_next(struct reporter *r, struct now now, struct reporter_request *ret)
{
	if (!r->busy[REPORTER_NODE] && next_of_node(r, now, ret))
		return true;
	return !r->busy[REPORTER_EVENT] && next_of_event(r, now, ret);
}

/* ---- answers ------------------------------------------------------------------------------------ */

static void fail(struct reporter *r, const struct reporter_answer *answer, struct now now)
{
	struct retry *retry = &r->retry[answer->slot];
	uint64_t wait_ns = RETRY_FIRST_NS;

	for (uint32_t i = 0; i < retry->failures && wait_ns < RETRY_MAX_NS; i++)
		wait_ns *= 2;
	wait_ns = time_min(wait_ns, RETRY_MAX_NS);
	wait_ns = wait_ns / 2 + random_below(r, wait_ns / 2);
	if (answer->retry_after_ns > 0) {
		uint64_t told_ns = time_min(answer->retry_after_ns, RETRY_AFTER_MAX_NS);

		wait_ns = later(wait_ns, told_ns + random_below(r, told_ns / 4 + 1));
	}
	if (retry->failures < UINT32_MAX)
		retry->failures++;
	retry->until_ns = time_add(now.mono_ns, wait_ns);
	r->failures++;
}

/* The first that succeeds after the API server was away says so for all that waits. */
static void succeed(struct reporter *r, enum reporter_slot slot, struct now now)
{
	bool was_away = r->retry[slot].failures >= AWAY_FAILURES;

	r->retry[slot] = (struct retry){ 0 };
	if (!was_away)
		return;
	for (unsigned i = 0; i < REPORTER_SLOTS; i++) {
		uint64_t until_ns = time_add(now.mono_ns, random_below(r, RETURN_NS));

		if (i == slot || r->retry[i].until_ns > until_ns)
			r->retry[i].until_ns = until_ns;
	}
}

/* No memory for the patch: the next look makes it. */
static void check_taint(struct reporter *r, const struct taint_node *node, struct now now)
{
	enum taint_step step = taint_plan(node, r->taint_wanted);

	r->is_tainted = step == TAINT_REMOVE || taint_plan(node, false) == TAINT_REMOVE;
	buf_clear(&r->taint_body);
	r->taint_check_ns = time_add(now.mono_ns, CONDITION_HEARTBEAT_NS);
	r->taint_checked = step == TAINT_NONE;
	r->taint_adds = step == TAINT_ADD;
	if (step != TAINT_NONE && taint_patch(node, step, &r->taint_body) < 0) {
		buf_clear(&r->taint_body);
		r->taint_checked = true;
	}
}

static void on_node_read(struct reporter *r, const struct reporter_answer *answer, struct now now)
{
	if (answer->http != 200 || !answer->node) {
		if (answer->http == 404)
			conditions_forget(r->conditions);
		fail(r, answer, now);
		return;
	}
	r->is_looked = true;
	r->is_overwritten = conditions_is_overwritten(r->conditions, answer->node->conditions);
	if (!conditions_is_adopted(r->conditions) || r->is_overwritten)
		conditions_adopt(r->conditions, answer->node->conditions, now);
	tell_transitions(r);
	judge_taint(r);
	if (knows_taint(r))
		check_taint(r, &answer->node->taint, now);
	succeed(r, REPORTER_NODE, now);
}

static bool is_success(unsigned http)
{
	return http >= 200 && http < 300;
}

static void on_status_written(
	struct reporter *r, const struct reporter_answer *answer, struct now now)
{
	if (is_success(answer->http)) {
		conditions_written(r->conditions, now);
		r->is_looked = false;
		succeed(r, REPORTER_NODE, now);
		return;
	}
	if (answer->http == 404)
		conditions_forget(r->conditions);
	fail(r, answer, now);
}

/* After a conflict the node is read again. Where pleg may not taint, it tries again in five minutes. */
static void on_taint_written(
	struct reporter *r, const struct reporter_answer *answer, struct now now)
{
	if (is_success(answer->http)) {
		r->taint_checked = r->taint_adds == r->taint_wanted; /* another wish meanwhile */
		r->is_tainted = r->taint_adds;
		succeed(r, REPORTER_NODE, now);
		return;
	}
	if (answer->http == 403 || answer->http == 422) {
		r->taint_checked = true;
		r->failures++;
		return;
	}
	if (answer->http == 404)
		conditions_forget(r->conditions);
	fail(r, answer, now);
}

/* What is wrong with one Event never holds up the others; what is wrong with all of them does. */
static enum kube_events_answer event_answer(const struct reporter_answer *answer)
{
	if (is_success(answer->http))
		return EVENT_TAKEN;
	switch (answer->http) {
	case 409: return EVENT_EXISTS;
	case 404: return EVENT_GONE;
	case 400:
	case 403:
	case 413:
	case 422: return EVENT_REFUSED;
	default: return EVENT_FAILED;
	}
}

static void on_event(struct reporter *r, const struct reporter_answer *answer, struct now now)
{
	enum kube_events_answer what = event_answer(answer);
	bool is_post = strstr(r->path[REPORTER_EVENT], "/events?") != NULL;

	/* A namespace that is being deleted takes no more; the one of nodes is never: a right is missing. */
	if (answer->http == 403 && strstr(r->path[REPORTER_EVENT], "/default/"))
		what = EVENT_FAILED;
	if (what == EVENT_GONE && is_post)
		what = EVENT_REFUSED; /* Its namespace is gone. */
	if (what == EVENT_EXISTS && !is_post)
		what = EVENT_FAILED;
	kube_events_answer(r->events, what, answer->event_count, answer->event_first_ns, now);
	if (what == EVENT_FAILED)
		fail(r, answer, now);
	else
		succeed(r, REPORTER_EVENT, now);
}

void reporter_answer(struct reporter *r, const struct reporter_answer *answer, struct now now)
{
	enum node_work work = r->work;

	if (!r->busy[answer->slot])
		return;
	r->busy[answer->slot] = false;
	if (answer->slot == REPORTER_EVENT) {
		on_event(r, answer, now);
		return;
	}
	r->work = NODE_IDLE;
	r->last_http = answer->http;
	switch (work) {
	case NODE_IDLE: break;
	case NODE_READING: on_node_read(r, answer, now); break;
	case NODE_STATUS: on_status_written(r, answer, now); break;
	case NODE_TAINTING: on_taint_written(r, answer, now); break;
	}
}

void reporter_status(const struct reporter *r, struct reporter_status *ret)
{
	*ret = (struct reporter_status){
		.is_adopted = conditions_is_adopted(r->conditions),
		.is_away = r->retry[REPORTER_NODE].failures >= AWAY_FAILURES ||
			r->retry[REPORTER_EVENT].failures >= AWAY_FAILURES,
		.is_tainted = r->is_tainted,
		.is_overwritten = r->is_overwritten,
		.last_http = r->last_http,
		.writes = r->writes,
		.failures = r->failures,
		.transitions_lost = conditions_lost(r->conditions),
	};
	for (unsigned i = 0; i < CONDITIONS; i++)
		conditions_view(r->conditions, (enum condition_type)i, &ret->conditions[i]);
	kube_events_stats(r->events, &ret->events);
}
