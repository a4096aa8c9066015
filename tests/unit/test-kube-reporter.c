/*
 * What a node writes to the API server, as a whole: Events and taints by tables, and the reporter against
 * a small API server of the test's own, through random trouble, outages, conflicts and restarts.
 */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/str.h"
#include "kube/reporter.h"

#define T0_REAL INT64_C(1790000000000000000) /* 2026-09-21T14:13:20Z */
#define SECOND  ((int64_t)NSEC_PER_SEC)

/* ---- taints ------------------------------------------------------------------------------------- */

#define CORDON "{\"key\":\"node.kubernetes.io/unschedulable\",\"effect\":\"NoSchedule\"}"
#define OURS   "{\"key\":\"pleg.dev/unhealthy\",\"value\":\"pleg\",\"effect\":\"NoSchedule\"}"

static const struct taint_seen cordon = { "node.kubernetes.io/unschedulable", "", "NoSchedule",
	CORDON };
static const struct taint_seen ours = { "pleg.dev/unhealthy", "pleg", "NoSchedule", OURS };
static const struct taint_seen operators = { "pleg.dev/unhealthy", "", "NoSchedule", "{}" };
static const struct taint_seen evicting = { "pleg.dev/unhealthy", "pleg", "NoExecute",
	"{\"e\":1}" };

static void taints_of_others_stay(void **state)
{
	const struct {
		struct taint_seen taints[3];
		size_t count;
		bool is_wanted;
		enum taint_step step;
		const char *list;
	} rows[] = {
		{ { { 0 } }, 0, false, TAINT_NONE, NULL },
		{ { { 0 } }, 0, true, TAINT_ADD, OURS },
		{ { cordon }, 1, true, TAINT_ADD, CORDON "," OURS },
		{ { cordon, ours }, 2, true, TAINT_NONE, NULL },
		{ { cordon, ours }, 2, false, TAINT_REMOVE, CORDON },
		{ { ours }, 1, false, TAINT_REMOVE, "" },
		{ { operators }, 1, true, TAINT_NONE, NULL },
		{ { operators }, 1, false, TAINT_NONE, NULL },
		{ { evicting }, 1, false, TAINT_NONE, NULL },
		{ { evicting, cordon }, 2, true, TAINT_ADD, "{\"e\":1}," CORDON "," OURS },
		{ { ours, evicting }, 2, false, TAINT_REMOVE, "{\"e\":1}" },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		const struct taint_node node = { "41", rows[i].taints, rows[i].count };
		struct buf out = BUF_INIT(4096);
		char expected[512];

		assert_int_equal(taint_plan(&node, rows[i].is_wanted), rows[i].step);
		if (rows[i].list) {
			ASSERT_OK(taint_patch(&node, rows[i].step, &out));
			(void)snprintf(expected, sizeof(expected),
				"{\"metadata\":{\"resourceVersion\":\"41\"},\"spec\":{\"taints\":[%"
				"s]}}",
				rows[i].list);
			assert_string_equal(buf_string(&out), expected);
		} else {
			ASSERT_ERR(taint_patch(&node, rows[i].step, &out), EINVAL);
		}
		buf_done(&out);
	}
}

static void no_taint_without_a_precondition(void **state)
{
	const struct taint_node node = { "", NULL, 0 };
	struct buf out = BUF_INIT(4096);

	(void)state;
	ASSERT_ERR(taint_patch(&node, TAINT_ADD, &out), EINVAL);
	assert_int_equal(out.len, 0);
}

/* ---- Events ------------------------------------------------------------------------------------- */

static const struct kube_event of_pod = { .is_of_pod = true,
	.namespace = "shop",
	.pod = "cart-7",
	.pod_uid = "u-1",
	.is_warning = true,
	.reason = "ShimStopped",
	.message = "The shim is stopped",
	.key = "shim 42",
	.at_ns = T0_REAL };

static const char *next_event(struct kube_events *events, uint64_t mono_ns,
	enum kube_events_step step, struct buf *out, struct kube_events_request *ret)
{
	buf_clear(out);
	assert_true(kube_events_next(events, (struct now){ mono_ns, T0_REAL }, ret, out));
	assert_int_equal(ret->step, step);
	return buf_string(out);
}

static void answer_event(
	struct kube_events *events, enum kube_events_answer answer, uint64_t mono_ns)
{
	kube_events_answer(events, answer, 0, 0, (struct now){ mono_ns, T0_REAL });
}

static void the_same_is_one_event_with_a_count(void **state)
{
	struct kube_events *events = kube_events_new("node-a");
	struct kube_event again = of_pod;
	struct kube_events_request request;
	struct buf out = BUF_INIT(EVENT_BODY_MAX);
	char name[300], expected[1024];

	(void)state;
	assert_int_equal(kube_events_due(events), NSEC_NEVER);
	ASSERT_OK(kube_events_add(events, &of_pod));
	again.at_ns += 90 * SECOND;
	ASSERT_OK(kube_events_add(events, &again));
	assert_int_equal(kube_events_due(events), 0);
	(void)next_event(events, 100 * NSEC_PER_SEC, EVENT_CREATE, &out, &request);
	(void)snprintf(name, sizeof(name), "%s", request.name);
	assert_non_null(str_after(name, "cart-7."));
	(void)snprintf(expected, sizeof(expected),
		"{\"apiVersion\":\"v1\",\"kind\":\"Event\",\"metadata\":{\"name\":\"%s\","
		"\"namespace\":"
		"\"shop\"},\"involvedObject\":{\"apiVersion\":\"v1\",\"kind\":\"Pod\","
		"\"namespace\":"
		"\"shop\",\"name\":\"cart-7\",\"uid\":\"u-1\"},\"type\":\"Warning\",\"reason\":"
		"\"ShimStopped\",\"firstTimestamp\":\"2026-09-21T14:13:20Z\",\"source\":{"
		"\"component\":"
		"\"pleg\",\"host\":\"node-a\"},\"reportingComponent\":\"pleg\","
		"\"reportingInstance\":"
		"\"node-a\",\"message\":\"The shim is stopped\",\"count\":2,\"lastTimestamp\":"
		"\"2026-09-21T14:14:50Z\"}",
		name);
	assert_string_equal(buf_string(&out), expected);
	/* What happens while it is under way is not lost. */
	again.at_ns += SECOND;
	ASSERT_OK(kube_events_add(events, &again));
	answer_event(events, EVENT_TAKEN, 100 * NSEC_PER_SEC);
	assert_int_equal(kube_events_due(events), 100 * NSEC_PER_SEC + EVENT_AGAIN_NS);
	assert_string_equal(next_event(events, 160 * NSEC_PER_SEC, EVENT_PATCH, &out, &request),
		"{\"message\":\"The shim is stopped\",\"count\":3,\"lastTimestamp\":"
		"\"2026-09-21T14:14:51Z\"}");
	assert_string_equal(request.name, name);
	/* The API forgets Events after an hour. */
	answer_event(events, EVENT_GONE, 160 * NSEC_PER_SEC);
	assert_non_null(strstr(next_event(events, 160 * NSEC_PER_SEC, EVENT_CREATE, &out, &request),
		"\"count\":3"));
	answer_event(events, EVENT_TAKEN, 160 * NSEC_PER_SEC);
	assert_int_equal(kube_events_due(events), NSEC_NEVER);
	events = kube_events_free(events);
	buf_done(&out);
}

static void an_event_of_before_a_restart_goes_on(void **state)
{
	struct kube_events *first = kube_events_new("node-a"), *second = kube_events_new("node-a");
	struct kube_events_request request;
	struct buf out = BUF_INIT(EVENT_BODY_MAX);
	char name[300];

	(void)state;
	ASSERT_OK(kube_events_add(first, &of_pod));
	(void)next_event(first, 0, EVENT_CREATE, &out, &request);
	(void)snprintf(name, sizeof(name), "%s", request.name);
	ASSERT_OK(kube_events_add(second, &of_pod));
	(void)next_event(second, 0, EVENT_CREATE, &out, &request);
	assert_string_equal(request.name, name);
	answer_event(second, EVENT_EXISTS, 0);
	(void)next_event(second, 0, EVENT_READ, &out, &request);
	assert_int_equal(out.len, 0);
	kube_events_answer(
		second, EVENT_TAKEN, 4, T0_REAL - 3600 * SECOND, (struct now){ 0, T0_REAL });
	assert_non_null(strstr(
		next_event(second, EVENT_AGAIN_NS, EVENT_PATCH, &out, &request), "\"count\":5"));
	answer_event(second, EVENT_TAKEN, 0);
	assert_int_equal(kube_events_due(second), NSEC_NEVER);
	first = kube_events_free(first);
	second = kube_events_free(second);
	buf_done(&out);
}

static void events_are_bounded_and_warnings_stay(void **state)
{
	struct kube_events *events = kube_events_new("node-a");
	struct kube_events_request request;
	struct kube_events_stats stats;
	struct buf out = BUF_INIT(EVENT_BODY_MAX);
	char key[32];

	(void)state;
	for (unsigned i = 0; i < 3 * EVENTS_MAX; i++) {
		const struct kube_event event = { .is_warning = i % 4 == 0,
			.reason = "Reason",
			.message = "Text",
			.key = key,
			.at_ns = T0_REAL };

		(void)snprintf(key, sizeof(key), "%u", i);
		ASSERT_OK(kube_events_add(events, &event));
	}
	kube_events_stats(events, &stats);
	assert_int_equal(stats.kept, EVENTS_MAX);
	assert_int_equal(stats.waiting, EVENTS_MAX);
	assert_int_equal(stats.lost, 2 * EVENTS_MAX);
	/* A quarter of three times as many are warnings: all of them are still there, and go first. */
	for (unsigned i = 0; i < EVENTS_MAX; i++) {
		const char *body = next_event(events, 0, EVENT_CREATE, &out, &request);

		assert_int_equal(strstr(body, "Warning") != NULL, i < 3 * EVENTS_MAX / 4);
		answer_event(events, i == 0 ? EVENT_REFUSED : EVENT_TAKEN, 0);
	}
	kube_events_stats(events, &stats);
	assert_int_equal(stats.kept, EVENTS_MAX - 1);
	assert_int_equal(stats.waiting, 0);
	assert_int_equal(stats.lost, 2 * EVENTS_MAX + 1);
	events = kube_events_free(events);
	buf_done(&out);
}

static void what_is_critical_goes_first(void **state)
{
	static const char *const order[] = { "critical", "first", "second", "normal" };
	struct kube_event event = { .reason = "Reason", .message = "normal", .key = "normal" };
	struct kube_events *events = kube_events_new("node-a");
	struct kube_events_request request;
	struct kube_events_stats stats;
	struct buf out = BUF_INIT(EVENT_BODY_MAX);
	char key[32];

	(void)state;
	ASSERT_OK(kube_events_add(events, &event));
	event.is_warning = true;
	for (unsigned i = 1; i <= 3; i++) {
		event.key = event.message = order[i % 3];
		event.is_critical = i == 3;
		ASSERT_OK(kube_events_add(events, &event));
	}
	for (unsigned i = 0; i < ELEMENTS(order); i++) {
		assert_non_null(
			strstr(next_event(events, 0, EVENT_CREATE, &out, &request), order[i]));
		answer_event(events, EVENT_TAKEN, 0);
	}
	/* Nor does it give way to any number of warnings. */
	ASSERT_OK(kube_events_add(events,
		&(struct kube_event){ .is_warning = true,
			.is_critical = true,
			.reason = "Reason",
			.message = "worst",
			.key = "worst" }));
	for (unsigned i = 0; i < 2 * EVENTS_MAX; i++) {
		(void)snprintf(key, sizeof(key), "%u", i);
		ASSERT_OK(kube_events_add(events,
			&(struct kube_event){ .is_warning = true,
				.reason = "Reason",
				.message = "Text",
				.key = key }));
	}
	kube_events_stats(events, &stats);
	assert_int_equal(stats.waiting, EVENTS_MAX);
	assert_non_null(strstr(next_event(events, 0, EVENT_CREATE, &out, &request), "worst"));
	events = kube_events_free(events);
	buf_done(&out);
}

/* ---- an API server ------------------------------------------------------------------------------ */

#define KEPT_WRITES 64

struct api {
	bool is_away, is_silent; /* 503, or no answer at all */
	bool has_node;
	unsigned version;
	json_t *conditions; /* type -> object, ours and others' */
	json_t *taints;     /* array */
	json_t *events;     /* path -> object */
	uint64_t writes_ns[KEPT_WRITES], write_count, event_write_ns;
};

static void api_set_up(struct api *api)
{
	*api = (struct api){ .has_node = true, .version = 1 };
	api->conditions = json_object();
	api->events = json_object();
	api->taints = json_pack("[{s:s,s:s}]", "key", "other", "effect", "NoSchedule");
	json_object_set_new(api->conditions, "KernelDeadlock",
		json_pack("{s:s,s:s}", "type", "KernelDeadlock", "status", "False"));
}

static void api_tear_down(struct api *api)
{
	json_decref(api->conditions);
	json_decref(api->events);
	json_decref(api->taints);
}

static int64_t api_time(const json_t *object, const char *key)
{
	int64_t ns = 0;

	ASSERT_OK(time_parse_rfc3339(json_string_value(json_object_get(object, key)), &ns));
	return ns;
}

/* Six in any minute, and never two of Events within a second. */
static void api_count_write(struct api *api, enum reporter_slot slot, struct now now)
{
	if (api->write_count >= WRITES_MAX)
		assert_true(now.mono_ns -
				api->writes_ns[(api->write_count - WRITES_MAX) % KEPT_WRITES] >=
			WRITES_NS);
	if (slot == REPORTER_EVENT && api->write_count > 0)
		assert_true(now.mono_ns - api->writes_ns[(api->write_count - 1) % KEPT_WRITES] >=
			WRITES_APART_NS);
	api->writes_ns[api->write_count++ % KEPT_WRITES] = now.mono_ns;
}

static unsigned api_patch_status(struct api *api, const json_t *body)
{
	json_t *list = json_object_get(json_object_get(body, "status"), "conditions"), *one;
	size_t i;

	if (!api->has_node)
		return 404;
	assert_int_equal(json_object_size(body), 1);
	json_array_foreach (list, i, one) {
		const char *type = json_string_value(json_object_get(one, "type"));

		assert_non_null(str_after(type, "pleg.dev/"));
		assert_true(strlen(json_string_value(json_object_get(one, "message"))) <= 1024);
		json_object_set(api->conditions, type, one);
	}
	api->version++;
	return 200;
}

static unsigned api_patch_node(struct api *api, const json_t *body)
{
	const char *version = json_string_value(
		json_object_get(json_object_get(body, "metadata"), "resourceVersion"));

	if (!api->has_node)
		return 404;
	assert_non_null(version);
	if ((unsigned)strtoul(version, NULL, 10) != api->version)
		return 409;
	json_decref(api->taints);
	api->taints = json_incref(json_object_get(json_object_get(body, "spec"), "taints"));
	assert_true(json_is_array(api->taints));
	api->version++;
	return 200;
}

static unsigned api_event(struct api *api, const struct reporter_request *request, json_t *body,
	struct reporter_answer *answer)
{
	char path[512];
	json_t *event;

	(void)snprintf(path, sizeof(path), "%s", request->path);
	path[strcspn(path, "?")] = '\0';
	if (str_eq(request->method, "POST")) {
		size_t len = strlen(path);

		(void)snprintf(path + len, sizeof(path) - len, "/%s",
			json_string_value(
				json_object_get(json_object_get(body, "metadata"), "name")));
		if (json_object_get(api->events, path))
			return 409;
		json_object_set(api->events, path, body);
		return 201;
	}
	event = json_object_get(api->events, path);
	if (!event)
		return 404;
	if (str_eq(request->method, "PATCH")) {
		json_object_update(event, body);
		return 200;
	}
	answer->event_count = (uint32_t)json_integer_value(json_object_get(event, "count"));
	answer->event_first_ns = api_time(event, "firstTimestamp");
	return 200;
}

static void api_read_node(const struct api *api, struct reporter_node *node,
	struct taint_seen taints[8], char *texts[8])
{
	static char version[16];
	json_t *one;
	size_t i;

	*node = (struct reporter_node){ 0 };
	for (unsigned t = 0; t < CONDITIONS; t++) {
		one = json_object_get(api->conditions, condition_type_text((enum condition_type)t));
		if (!one)
			continue;
		node->conditions[t] = (struct condition_seen){
			str_eq(json_string_value(json_object_get(one, "status")), "True")
				? CONDITION_TRUE
				: CONDITION_FALSE,
			api_time(one, "lastTransitionTime"), api_time(one, "lastHeartbeatTime"),
			json_string_value(json_object_get(one, "reason")),
			json_string_value(json_object_get(one, "message"))
		};
	}
	json_array_foreach (api->taints, i, one) {
		json_t *value = json_object_get(one, "value");

		assert_true(i < 8);
		texts[i] = json_dumps(one, JSON_COMPACT);
		taints[i] = (struct taint_seen){ json_string_value(json_object_get(one, "key")),
			value ? json_string_value(value) : "",
			json_string_value(json_object_get(one, "effect")), texts[i] };
	}
	(void)snprintf(version, sizeof(version), "%u", api->version);
	node->taint = (struct taint_node){ version, taints, json_array_size(api->taints) };
}

/* Serves one request as the API server would. */
static void api_serve(struct api *api, struct reporter *reporter,
	const struct reporter_request *request, struct now now)
{
	struct reporter_answer answer = { .slot = request->slot };
	struct taint_seen taints[8];
	struct reporter_node node;
	char *texts[8] = { NULL };
	json_t *body = NULL;

	if (request->body) {
		body = json_loadb(request->body, request->body_len, 0, NULL);
		assert_non_null(body);
		api_count_write(api, request->slot, now);
	}
	if (api->is_away || api->is_silent) {
		answer.http = api->is_silent ? 0 : 503;
	} else if (request->slot == REPORTER_EVENT) {
		answer.http = api_event(api, request, body, &answer);
	} else if (request->want == REPORTER_READ_NODE) {
		assert_string_equal(request->path, "/api/v1/nodes/node-a");
		answer.http = api->has_node ? 200 : 404;
		api_read_node(api, &node, taints, texts);
		answer.node = api->has_node ? &node : NULL;
	} else if (str_eq(request->path, "/api/v1/nodes/node-a/status?fieldManager=pleg")) {
		answer.http = api_patch_status(api, body);
	} else {
		assert_string_equal(request->path, "/api/v1/nodes/node-a?fieldManager=pleg");
		answer.http = api_patch_node(api, body);
	}
	reporter_answer(reporter, &answer, now);
	json_decref(body);
	for (size_t i = 0; i < ELEMENTS(texts); i++)
		free(texts[i]);
}

/* ---- a node ------------------------------------------------------------------------------------- */

struct world {
	struct api api;
	struct reporter *reporter;
	struct now now;
	uint64_t started_ns;
	uint64_t random;
	bool may_taint;
	bool ill[CONDITIONS];
	int64_t changed_ns[CONDITIONS][4096]; /* when it became ill or well */
	unsigned change_count[CONDITIONS];
	unsigned happened; /* incidents told */
};

static uint64_t draw(struct world *w, uint64_t bound)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return w->random % bound;
}

static void start(struct world *w)
{
	const struct reporter_options options = { "node-a", draw(w, UINT64_MAX), w->may_taint };

	w->reporter = reporter_free(w->reporter);
	w->reporter = reporter_new(&options);
	assert_non_null(w->reporter);
	w->started_ns = w->now.mono_ns;
	w->api.write_count = 0; /* The budget is one of a run. */
}

static void set_up_world(struct world *w, uint64_t seed)
{
	*w = (struct world){ .random = seed, .may_taint = true };
	w->now = (struct now){ .mono_ns = 5000 * NSEC_PER_SEC, .real_ns = T0_REAL };
	api_set_up(&w->api);
	start(w);
}

static void tear_down_world(struct world *w)
{
	w->reporter = reporter_free(w->reporter);
	api_tear_down(&w->api);
}

static void update(struct world *w)
{
	const struct condition_problem all[CONDITIONS] = {
		[CONDITION_RUNTIME] = { CAUSE_CRI_DAEMON_STOPPED, SEVERITY_CRITICAL, true, false, 1,
			"containerd", "containerd is stopped" },
		[CONDITION_CONTAINERS] = { CAUSE_SHIM_STOPPED, SEVERITY_CRITICAL, true, true, 1,
			"shop/cart", "The shim of shop/cart is stopped" },
	};
	struct condition_problem problems[CONDITIONS];
	struct condition_facts facts = { .problems = problems,
		.is_sampled = true,
		.age_ns = w->now.mono_ns - w->started_ns,
		.pleg_healthy = !w->ill[CONDITION_PLEG] };

	for (unsigned i = CONDITION_RUNTIME; i < CONDITIONS; i++)
		if (w->ill[i])
			problems[facts.problem_count++] = all[i];
	reporter_update(w->reporter, &facts, w->now);
}

static void turn(struct world *w, enum condition_type type)
{
	w->ill[type] = !w->ill[type];
	assert_true(w->change_count[type] < ELEMENTS(w->changed_ns[0]));
	w->changed_ns[type][w->change_count[type]++] = w->now.real_ns;
	if (type == CONDITION_CONTAINERS && w->ill[type]) {
		struct kube_event event = of_pod;

		event.at_ns = w->now.real_ns;
		ASSERT_OK(reporter_event(w->reporter, &event));
		w->happened++;
	}
	update(w);
}

static void serve(struct world *w)
{
	struct reporter_request request;

	while (reporter_next(w->reporter, w->now, &request))
		api_serve(&w->api, w->reporter, &request, w->now);
	assert_true(reporter_due(w->reporter, w->now) > w->now.mono_ns);
}

static void pass(struct world *w, uint64_t ms)
{
	w->now.mono_ns += ms * NSEC_PER_MSEC;
	w->now.real_ns += (int64_t)(ms * NSEC_PER_MSEC);
	update(w);
	serve(w);
}

static void pass_seconds(struct world *w, unsigned seconds)
{
	for (unsigned i = 0; i < seconds; i++)
		pass(w, 1000);
}

static json_t *condition(const struct world *w, enum condition_type type)
{
	return json_object_get(w->api.conditions, condition_type_text(type));
}

static const char *status(const struct world *w, enum condition_type type)
{
	return str_or_empty(json_string_value(json_object_get(condition(w, type), "status")));
}

static bool is_tainted(const struct world *w)
{
	json_t *one;
	size_t i;
	bool has_other = false, has_ours = false;

	json_array_foreach (w->api.taints, i, one) {
		has_other |= str_eq(json_string_value(json_object_get(one, "key")), "other");
		has_ours |= str_eq(
			json_string_value(json_object_get(one, "key")), "pleg.dev/unhealthy");
	}
	assert_true(has_other);
	return has_ours;
}

/* ---- the reporter ------------------------------------------------------------------------------- */

static void a_change_is_written_at_once(void **state)
{
	struct world w;

	(void)state;
	set_up_world(&w, 1);
	pass_seconds(&w, 60);
	for (unsigned i = 0; i < CONDITIONS; i++)
		assert_string_equal(status(&w, (enum condition_type)i), "False");
	turn(&w, CONDITION_CONTAINERS);
	serve(&w);
	assert_string_equal(status(&w, CONDITION_CONTAINERS), "True");
	assert_false(is_tainted(&w)); /* others can run */
	assert_int_equal(
		api_time(condition(&w, CONDITION_CONTAINERS), "lastTransitionTime"), w.now.real_ns);
	pass_seconds(&w, 30);
	turn(&w, CONDITION_CONTAINERS);
	serve(&w);
	assert_string_equal(status(&w, CONDITION_CONTAINERS), "False");
	turn(&w, CONDITION_RUNTIME);
	serve(&w);
	assert_string_equal(status(&w, CONDITION_RUNTIME), "True");
	pass_seconds(&w, 60);
	assert_true(is_tainted(&w));
	turn(&w, CONDITION_RUNTIME);
	pass_seconds(&w, 60);
	assert_false(is_tainted(&w));
	/* node-problem-detector's is as it was. */
	assert_int_equal(json_object_size(json_object_get(w.api.conditions, "KernelDeadlock")), 2);
	tear_down_world(&w);
}

static bool is_overwritten(const struct world *w)
{
	struct reporter_status status;

	reporter_status(w->reporter, &status);
	return status.is_overwritten;
}

/* Two with one node's name: found out at the next heartbeat, put right once, and no war. */
static void somebody_else_writes(void **state)
{
	struct world w;
	char text[TIME_TEXT_MAX];
	uint64_t writes;

	(void)state;
	set_up_world(&w, 7);
	w.may_taint = false;
	start(&w);
	pass_seconds(&w, 60);
	turn(&w, CONDITION_CONTAINERS);
	pass_seconds(&w, 1000);
	assert_false(is_overwritten(&w)); /* by its own */
	writes = w.api.write_count;
	assert_non_null(time_format_rfc3339(text, w.now.real_ns + (int64_t)NSEC_PER_SEC));
	json_object_set_new(
		condition(&w, CONDITION_CONTAINERS), "lastHeartbeatTime", json_string(text));
	json_object_set_new(condition(&w, CONDITION_CONTAINERS), "status", json_string("False"));
	pass_seconds(&w, 300);
	assert_true(is_overwritten(&w));
	assert_string_equal(status(&w, CONDITION_CONTAINERS), "True");
	assert_in_range(w.api.write_count - writes, 1, 2);
	pass_seconds(&w, 700);
	assert_false(is_overwritten(&w));
	assert_in_range(w.api.write_count - writes, 3, 5); /* the heartbeats */
	tear_down_world(&w);
}

static void a_restart_writes_nothing_but_heartbeats(void **state)
{
	struct world w;
	int64_t at_ns[CONDITIONS];
	unsigned version;

	(void)state;
	set_up_world(&w, 2);
	pass_seconds(&w, 60);
	turn(&w, CONDITION_CONTAINERS);
	pass_seconds(&w, 100);
	for (unsigned i = 0; i < CONDITIONS; i++)
		at_ns[i] = api_time(condition(&w, (enum condition_type)i), "lastTransitionTime");
	version = w.api.version;
	for (int i = 0; i < 10; i++) {
		start(&w);
		pass_seconds(&w, 17); /* beyond the time in which nothing is believed */
	}
	assert_int_equal(w.api.version, version);
	pass_seconds(&w, 300);
	assert_true(w.api.version > version);
	for (unsigned i = 0; i < CONDITIONS; i++)
		assert_int_equal(at_ns[i],
			api_time(condition(&w, (enum condition_type)i), "lastTransitionTime"));
	tear_down_world(&w);
}

static void ten_minutes_without_the_api(void **state)
{
	struct world w;
	struct reporter_status s;
	const char *path;
	json_t *event;
	int64_t at_ns;
	unsigned found = 0;

	(void)state;
	set_up_world(&w, 3);
	pass_seconds(&w, 60);
	w.api.is_silent = true;
	pass_seconds(&w, 100);
	turn(&w, CONDITION_CONTAINERS);
	at_ns = w.now.real_ns;
	pass_seconds(&w, 200);
	turn(&w, CONDITION_CONTAINERS);
	pass_seconds(&w, 100);
	turn(&w, CONDITION_RUNTIME);
	pass_seconds(&w, 200);
	reporter_status(w.reporter, &s);
	assert_true(s.is_away);
	assert_string_equal(status(&w, CONDITION_RUNTIME), "False");
	w.api.is_silent = false;
	pass_seconds(&w, 75); /* the last try before was at most a minute ago */
	assert_string_equal(status(&w, CONDITION_RUNTIME), "True");
	assert_int_equal(api_time(condition(&w, CONDITION_RUNTIME), "lastTransitionTime"),
		at_ns + 300 * SECOND);
	assert_int_equal(api_time(condition(&w, CONDITION_CONTAINERS), "lastTransitionTime"),
		at_ns + 200 * SECOND);
	pass_seconds(&w, 120);
	reporter_status(w.reporter, &s);
	assert_int_equal(s.events.waiting, 0);
	assert_int_equal(s.events.lost, 0);
	assert_false(s.is_away);
	/* Both transitions that nobody saw are told with their times. */
	json_object_foreach (w.api.events, path, event) {
		int64_t first_ns = api_time(event, "firstTimestamp");
		const char *message = json_string_value(json_object_get(event, "message"));

		if (strstr(message, "ContainersStuck is now: True"))
			assert_int_equal(first_ns, at_ns);
		else if (strstr(message, "ContainersStuck is now: False"))
			assert_int_equal(first_ns, at_ns + 200 * SECOND);
		else
			continue;
		found++;
	}
	assert_int_equal(found, 2);
	tear_down_world(&w);
}

static void a_node_that_is_not_there_yet_or_no_longer(void **state)
{
	struct world w;
	int64_t at_ns;

	(void)state;
	set_up_world(&w, 4);
	w.api.has_node = false;
	turn(&w, CONDITION_CONTAINERS);
	at_ns = w.now.real_ns;
	pass_seconds(&w, 100);
	w.api.has_node = true;
	pass_seconds(&w, 70);
	assert_string_equal(status(&w, CONDITION_CONTAINERS), "True");
	/* Deleted and made anew: it is told again, with the old time. */
	json_object_clear(w.api.conditions);
	w.api.has_node = false;
	pass_seconds(&w, 400);
	w.api.has_node = true;
	pass_seconds(&w, 70);
	assert_int_equal(
		api_time(condition(&w, CONDITION_CONTAINERS), "lastTransitionTime"), at_ns);
	tear_down_world(&w);
}

static void a_taint_is_kept_where_somebody_else_writes(void **state)
{
	struct world w;

	(void)state;
	set_up_world(&w, 5);
	pass_seconds(&w, 60);
	turn(&w, CONDITION_RUNTIME);
	for (int i = 0; i < 200; i++) {
		struct reporter_request request;

		w.now.mono_ns += NSEC_PER_SEC;
		w.now.real_ns += SECOND;
		update(&w);
		while (reporter_next(w.reporter, w.now, &request)) {
			/* Somebody writes in between, the first times. */
			if (i < 60)
				w.api.version++;
			api_serve(&w.api, w.reporter, &request, w.now);
		}
		if (i < 60)
			assert_false(is_tainted(&w));
	}
	assert_true(is_tainted(&w));
	/* Told not to taint any more, it takes its own back. */
	w.may_taint = false;
	start(&w);
	pass_seconds(&w, 30);
	assert_false(is_tainted(&w));
	tear_down_world(&w);
}

static void a_retry_after_is_obeyed(void **state)
{
	struct world w;
	struct reporter_request request;
	struct reporter_answer answer = { .http = 429, .retry_after_ns = 30 * NSEC_PER_SEC };

	(void)state;
	set_up_world(&w, 6);
	assert_true(reporter_next(w.reporter, w.now, &request));
	answer.slot = request.slot;
	reporter_answer(w.reporter, &answer, w.now);
	assert_true(reporter_due(w.reporter, w.now) >= w.now.mono_ns + 30 * NSEC_PER_SEC);
	assert_true(reporter_due(w.reporter, w.now) <= w.now.mono_ns + 38 * NSEC_PER_SEC);
	answer.retry_after_ns = 1000000 * NSEC_PER_SEC;
	w.now.mono_ns += 40 * NSEC_PER_SEC;
	assert_true(reporter_next(w.reporter, w.now, &request));
	reporter_answer(w.reporter, &answer, w.now);
	assert_true(reporter_due(w.reporter, w.now) <= w.now.mono_ns + 400 * NSEC_PER_SEC);
	tear_down_world(&w);
}

/* ---- everything at once ------------------------------------------------------------------------- */

/* A time that was written is one at which something changed, a hold ended (ten minutes after a change), or
 * the first judgement of a run. */
static bool is_true_time(const struct world *w, enum condition_type type, int64_t at_ns,
	const int64_t *starts_ns, unsigned start_count)
{
	for (unsigned i = 0; i < w->change_count[type]; i++) {
		int64_t changed_ns = w->changed_ns[type][i];
		int64_t ended_ns = changed_ns + (int64_t)CONDITION_FLAP_NS;

		if (at_ns == changed_ns - changed_ns % SECOND)
			return true;
		if (at_ns >= ended_ns - SECOND && at_ns <= ended_ns + 5 * SECOND)
			return true;
	}
	for (unsigned i = 0; i < start_count; i++)
		if (at_ns >= starts_ns[i] - SECOND &&
			at_ns <= starts_ns[i] + (int64_t)CONDITION_FLAP_NS + 20 * SECOND)
			return true;
	return false;
}

static void random_trouble(struct world *w, unsigned steps)
{
	int64_t starts_ns[64] = { w->now.real_ns };
	unsigned start_count = 1;

	for (unsigned step = 0; step < steps; step++) {
		switch (draw(w, 40)) {
		case 0:
		case 1: turn(w, (enum condition_type)draw(w, CONDITIONS)); break;
		case 2: w->api.is_away = draw(w, 3) == 0; break;
		case 3: w->api.is_silent = draw(w, 3) == 0; break;
		case 4: w->api.version++; break;
		case 5:
			if (draw(w, 20) == 0 && start_count < ELEMENTS(starts_ns)) {
				start(w);
				starts_ns[start_count++] = w->now.real_ns;
			}
			break;
		default: break;
		}
		pass(w, 1 + draw(w, 4000));
		for (unsigned i = 0; i < CONDITIONS; i++) {
			json_t *one = condition(w, (enum condition_type)i);

			if (one &&
				!is_true_time(w, (enum condition_type)i,
					api_time(one, "lastTransitionTime"), starts_ns,
					start_count))
				fail_msg("step %u: %s has a time at which nothing happened", step,
					condition_type_text((enum condition_type)i));
		}
	}
}

static void whatever_happens(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 30; seed++) {
		struct world *w = mem_zalloc(sizeof(*w));
		struct reporter_status s;

		assert_non_null(w);
		set_up_world(w, seed * UINT64_C(0x9e3779b97f4a7c15));
		random_trouble(w, 1500);
		/* Calm: what is so is what the API says. */
		w->api.is_away = w->api.is_silent = false;
		pass_seconds(w, 1000);
		for (unsigned i = 0; i < CONDITIONS; i++)
			assert_string_equal(
				status(w, (enum condition_type)i), w->ill[i] ? "True" : "False");
		assert_int_equal(
			is_tainted(w), w->ill[CONDITION_PLEG] || w->ill[CONDITION_RUNTIME]);
		reporter_status(w->reporter, &s);
		assert_int_equal(s.events.waiting, 0);
		assert_int_equal(s.events.lost, 0);
		assert_false(s.is_away);
		tear_down_world(w);
		(void)mem_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(taints_of_others_stay),
		cmocka_unit_test(no_taint_without_a_precondition),
		cmocka_unit_test(the_same_is_one_event_with_a_count),
		cmocka_unit_test(an_event_of_before_a_restart_goes_on),
		cmocka_unit_test(events_are_bounded_and_warnings_stay),
		cmocka_unit_test(what_is_critical_goes_first),
		cmocka_unit_test(a_change_is_written_at_once),
		cmocka_unit_test(somebody_else_writes),
		cmocka_unit_test(a_restart_writes_nothing_but_heartbeats),
		cmocka_unit_test(ten_minutes_without_the_api),
		cmocka_unit_test(a_node_that_is_not_there_yet_or_no_longer),
		cmocka_unit_test(a_taint_is_kept_where_somebody_else_writes),
		cmocka_unit_test(a_retry_after_is_obeyed),
		cmocka_unit_test(whatever_happens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
