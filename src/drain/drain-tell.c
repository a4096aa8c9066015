/* Who is still there and why: drain/plan.h's words, with what the agent of this node has found. */
#include "drain/drain-internal.h"

#include <errno.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/control.h"
#include "kube/object.h"

#define TELL_EVERY_NS    (15 * NSEC_PER_SEC)
#define AGENT_TIMEOUT_MS UINT64_C(2000)
#define AGENT_LEAST_MS   UINT64_C(300) /* also at the end of it all: it knows why */

static void ask_agent(struct drain *d)
{
	uint64_t left_ms = command_left_ns(d->command) / NSEC_PER_MSEC;
	uint64_t wait_ms =
		left_ms < AGENT_LEAST_MS ? AGENT_LEAST_MS : time_min(left_ms, AGENT_TIMEOUT_MS);
	const struct control_client_options options = { .path = d->words->socket,
		.timeout_ms = (unsigned)wait_ms };
	const struct control_request request = CONTROL_REQUEST_INIT(CONTROL_STATUS);
	json_t *status = NULL;

	json_decref(d->findings);
	d->findings = NULL;
	if (!d->is_here || control_ask(&options, &request, &status, NULL, NULL) < 0)
		return;
	d->findings = json_incref(json_object_get(status, "findings"));
	json_decref(status);
}

/* The deepest finding that is of this pod: a cause goes before what hangs under it. */
static const json_t *find_cause(const json_t *findings, const struct pod *pod)
{
	for (size_t i = 0; i < json_array_size(findings); i++) {
		const json_t *one = json_array_get(findings, i);
		const char *ns = kube_string(one, "subject.namespace");
		const char *name = kube_string(one, "subject.pod");

		if ((ns && name && str_eq(ns, pod->ns) && str_eq(name, pod->name)) ||
			find_cause(json_object_get(one, "symptoms"), pod))
			return one;
	}
	return NULL;
}

/* What the whole node suffers from keeps each of its pods. */
static const json_t *find_node_cause(const json_t *findings)
{
	for (size_t i = 0; i < json_array_size(findings); i++) {
		const json_t *one = json_array_get(findings, i);
		const char *severity = kube_string(one, "severity");

		if (!kube_string(one, "subject.pod") && severity && str_eq(severity, "critical"))
			return one;
	}
	return NULL;
}

static struct drain_left left_of(const struct drain *d, const struct pod *pod)
{
	const json_t *cause = find_cause(d->findings, pod);

	if (!cause)
		cause = find_node_cause(d->findings);
	return (struct drain_left){ .namespace = pod->ns,
		.name = pod->name,
		.is_accepted = pod->is_accepted,
		.is_deletion = d->words->disable_eviction,
		.is_namespace_ending = pod->is_namespace_ending,
		.http = pod->http,
		.answer = pod->answer[0] ? pod->answer : NULL,
		.deadline_ns = pod->deadline_ns,
		.now_ns = clock_now().real_ns,
		.finalizer = pod->finalizer[0] ? pod->finalizer : NULL,
		.is_here = d->is_here,
		.cause = kube_string(cause, "cause"),
		.summary = kube_string(cause, "summary"),
		.force_refused = pod->force_refused[0] ? pod->force_refused : NULL };
}

void drain_tell_who_is_there(struct drain *d)
{
	CLEAN(buf_done) struct buf names = BUF_INIT(65536);
	size_t open = 0;
	int r = 0;

	if (drain_now_ns() < d->tell_due_ns)
		return;
	d->tell_due_ns = drain_now_ns() + TELL_EVERY_NS;
	ask_agent(d);
	for (size_t i = 0; i < d->count && r >= 0; i++) {
		const struct pod *pod = &d->pods[i];
		struct drain_left left;

		if (!pod_is_open(pod) || ++open > DRAIN_NAMES_MAX)
			continue;
		left = left_of(d, pod);
		r = buf_printf(&names, "%s%s/%s (%s)", open > 1 ? ", " : "", pod->ns, pod->name,
			drain_stay_name(drain_stay_of(&left)));
	}
	command_complain("Still waiting for %zu of %zu: %s%s", open, drain_count_taken(d),
		str_or_empty(buf_string(&names)), open > DRAIN_NAMES_MAX ? " ..." : "");
}

/* ---- the end ----------------------------------------------------------------------------- */

static int json_row(struct drain *d, const struct pod *pod, json_t *rows)
{
	static const char *const actions[] = { "evict", "skip", "refuse" };
	CLEAN(buf_done) struct buf what = BUF_INIT(8192);
	CLEAN(buf_done) struct buf advice = BUF_INIT(8192);
	struct drain_left left = left_of(d, pod);
	bool stays = pod_is_open(pod);
	json_t *row;

	if (stays && drain_explain(&left, &what, &advice) < 0)
		return -ENOMEM;
	row = json_pack("{ss ss ss ss sb so so so}", "namespace", pod->ns, "pod", pod->name,
		"podUID", pod->uid, "action", actions[pod->verdict.action], "gone", pod->is_gone,
		"reason", stays ? json_string(drain_stay_name(drain_stay_of(&left))) : json_null(),
		"message", stays ? json_string(str_or_empty(buf_string(&what))) : json_null(),
		"advice", stays ? json_string(str_or_empty(buf_string(&advice))) : json_null());
	return json_array_append_new(rows, row) < 0 ? -ENOMEM : 0;
}

static int print_json(struct drain *d, bool is_drained, bool is_late)
{
	json_t *rows = json_array();

	for (size_t i = 0; i < d->count; i++)
		if (json_row(d, &d->pods[i], rows) < 0) {
			json_decref(rows);
			return COMMAND_FAILED;
		}
	return command_print_json(json_pack("{ss sb sb sb sb so}", "node", d->words->node,
		"cordoned", d->is_cordoned, "drained", is_drained, "timedOut", is_late, "dryRun",
		d->words->dry_run != DRY_RUN_NONE, "pods", rows));
}

static void explain(struct drain *d, bool is_late)
{
	char text[TIME_TEXT_MAX];
	size_t open = drain_count_open(d);

	command_complain("%zu of %zu pods have not gone%s%s; node %s stays cordoned", open,
		drain_count_taken(d),
		d->command->is_interrupted ? ", interrupted"
			: is_late          ? " after "
					   : "",
		is_late ? time_format_go(text, d->words->timeout_ns) : "", d->words->node);
	for (size_t i = 0; i < d->count; i++) {
		CLEAN(buf_done) struct buf what = BUF_INIT(8192);
		CLEAN(buf_done) struct buf advice = BUF_INIT(8192);
		struct drain_left left = left_of(d, &d->pods[i]);

		if (!pod_is_open(&d->pods[i]) || drain_explain(&left, &what, &advice) < 0)
			continue;
		command_complain("%s/%s: %s. %s", left.namespace, left.name,
			str_or_empty(buf_string(&what)), str_or_empty(buf_string(&advice)));
	}
}

static bool has_refused(const struct drain *d)
{
	for (size_t i = 0; i < d->count; i++)
		if (d->pods[i].verdict.action == DRAIN_REFUSE)
			return true;
	return false;
}

int drain_finish(struct drain *d, bool is_late)
{
	bool is_drained = drain_count_open(d) == 0 && !has_refused(d);
	int code;

	if (!is_drained)
		ask_agent(d);
	code = d->words->json ? print_json(d, is_drained, is_late) : 0;
	if (!is_drained && !d->words->json)
		explain(d, is_late);
	if (is_drained)
		command_say(d->command, "node/%s drained%s", d->words->node,
			command_dry_text(d->command));
	return is_drained ? code : COMMAND_FAILED;
}
