/* The documents against docs/json.md itself: the examples there and what is written must have the same
 * fields of the same types, and the values must be those that went in. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "agent/report.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "pleg-harness.h"

/* The first ```json block behind the line that begins with `heading`. */
static json_t *documented(const char *heading)
{
	CLEAN(mem_freep) char *text = NULL;
	char *at, *end;
	json_error_t e;
	json_t *json;

	ASSERT_OK(fd_read_file(UNIT_DIR "/../../docs/json.md", 1u << 20, &text, NULL));
	at = strstr(text, heading);
	assert_non_null(at);
	at = strstr(at, "```json\n");
	assert_non_null(at);
	at += strlen("```json\n");
	end = strstr(at, "```");
	assert_non_null(end);
	json = json_loadb(at, (size_t)(end - at), 0, &e);
	if (!json)
		fail_msg("%s: line %d: %s", heading, e.line, e.text);
	return json;
}

/* Whoever documents null or writes it leaves the type open; true and false are one type. */
static bool same_type(const json_t *a, const json_t *b)
{
	if (json_is_null(a) || json_is_null(b))
		return true;
	if (json_is_number(a) && json_is_number(b))
		return true;
	if (json_is_boolean(a) && json_is_boolean(b))
		return true;
	return json_typeof(a) == json_typeof(b);
}

static void check_shape(const json_t *documented_, const json_t *written, const char *where)
{
	const char *key;
	json_t *value;

	if (!same_type(documented_, written))
		fail_msg("%s is of another type", where);
	if (json_is_array(written) && json_array_size(documented_) > 0)
		for (size_t i = 0; i < json_array_size(written); i++)
			check_shape(json_array_get(documented_, 0), json_array_get(written, i),
				FMT("%s[]", where));
	if (!json_is_object(written) || !json_is_object(documented_))
		return;
	json_object_foreach ((json_t *)documented_, key, value) {
		if (!json_object_get(written, key))
			fail_msg("%s.%s is not written", where, key);
		check_shape(value, json_object_get(written, key), FMT("%s.%s", where, key));
	}
	json_object_foreach ((json_t *)written, key, value)
		if (!json_object_get(documented_, key))
			fail_msg("%s.%s is not documented", where, key);
}

static json_t *parsed(struct buf *text)
{
	json_error_t e;
	json_t *json = json_loadb((const char *)text->data, text->len, 0, &e);

	if (!json)
		fail_msg("%s: %s", e.text, buf_string(text));
	return json;
}

static const char *text_at(const json_t *json, const char *a, const char *b)
{
	return json_string_value(json_object_get(json_object_get(json, a), b));
}

/* ---- status --------------------------------------------------------------------------------- */

static void fill(struct report_view *v, struct h *h)
{
	static const struct report_role roles[] = {
		{ "web", "running", 4243, 2, 2097152 },
		{ "journal", "backoff", 0, 0, 0 },
	};
	static const char *const warnings[] = { "The journal is \"off\"\n" };

	*v = (struct report_view){
		.now = h->now,
		.node_name = "n1",
		.node = { .ready = true,
			.degraded = true,
			.responsive = true,
			.reason = "KubeletReady",
			.message = "kubelet is posting ready status",
			.detail = "1 of 2 pods does not answer: ns/p1",
			.since_ns = h->now.mono_ns - SEC(10),
			.flaps = 2,
			.calm_wanted_ns = MSEC(1500) },
		.kubelet = NODE_KUBELET_SLOW,
		.kubelet_message = "late",
		.pleg = h->pleg,
		.relist_period_ns = SEC(1),
		.relist_threshold_ns = SEC(180),
		.runtime_name = "containerd",
		.runtime_version = "1.6.20",
		.endpoint = "unix:///run/c.sock",
		.link_failure = "",
		.has_latency = true,
		.latency_ns = MSEC(1),
		.epoch = "5f1c",
		.pid = 4242,
		.started_at_ns = (int64_t)SEC(4000),
		.events = 17,
		.loop_lag_ns = 100000,
		.roles = roles,
		.role_count = 2,
		.control_clients = 3,
		.control_streams = 1,
		.control_refused = 5,
		.has_probe = true,
		.probes_stuck = 1,
		.probes_late = 3,
		.journal = { "full", "No space", "", "/s", 3, 2, 1 },
		.warnings = warnings,
		.warning_count = 1,
	};
	pleg_health(h->pleg, h->now, &v->health);
}

static void status_as_documented(void **state)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(1u << 20);
	json_t *doc = documented("## Status"), *json, *roles;
	struct report_view v;
	struct h h;

	(void)state;
	h_init(&h);
	(void)h_relist(&h, "p1/s1=r p1/s1/c1=x p2/s2=r");
	fill(&v, &h);
	ASSERT_OK(report_status(&v, &out));
	json = parsed(&out);
	check_shape(doc, json, "status");

	assert_string_equal(text_at(json, "node", "name"), "n1");
	assert_string_equal(text_at(json, "node", "kubeletHealthz"), "slow");
	assert_string_equal(text_at(json, "node", "since"), "1970-01-01T01:23:10.000000000Z");
	assert_true(json_is_null(json_object_get(json_object_get(json, "node"), "kubeletReady")));
	assert_true(json_number_value(json_object_get(
			    json_object_get(json, "node"), "calmWantedSeconds")) == 1.5);
	assert_int_equal(json_integer_value(json_object_get(json, "pods")), 2);
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(json, "containers"), "exited")),
		1);
	roles = json_object_get(json_object_get(json, "agent"), "roles");
	assert_string_equal(text_at(json_object_get(json, "agent"), "journal", "state"), "full");
	assert_string_equal(text_at(json_object_get(json, "agent"), "journal", "path"), "/s");
	assert_true(json_is_null(json_object_get(json_array_get(roles, 1), "pid")));
	assert_string_equal(
		json_string_value(json_array_get(
			json_object_get(json_object_get(json, "agent"), "warnings"), 0)),
		"The journal is \"off\"\n");
	json_decref(json);
	json_decref(doc);
	h_done(&h);
}

/* Before the first list and without a runtime: nulls, not guesses. */
static void status_of_the_first_moment(void **state)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(1u << 20);
	json_t *doc = documented("## Status"), *json, *hop;
	struct report_view v;
	struct h h;

	(void)state;
	h_init(&h);
	fill(&v, &h);
	v.node.responsive = true;
	v.runtime_name = v.runtime_version = v.endpoint = NULL;
	v.link_failure = "no container runtime found";
	v.has_latency = false;
	ASSERT_OK(report_status(&v, &out));
	json = parsed(&out);
	check_shape(doc, json, "status");
	assert_true(json_is_null(
		json_object_get(json_object_get(json, "pleg"), "lastRelistAgeSeconds")));
	assert_true(json_is_null(json_object_get(json_object_get(json, "runtime"), "endpoint")));
	assert_true(json_is_false(json_object_get(json_object_get(json, "runtime"), "responsive")));
	hop = json_array_get(json_object_get(json_object_get(json, "runtime"), "hops"), 0);
	assert_true(json_is_false(json_object_get(hop, "ok")));
	assert_true(json_is_null(json_object_get(hop, "latencySeconds")));
	json_decref(json);
	json_decref(doc);
	h_done(&h);
}

/* The link is up and the answers are of no use: the hop says why. */
static void status_of_a_runtime_that_fails(void **state)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(1u << 20);
	struct report_view v;
	json_t *json, *hop;
	struct h h;

	(void)state;
	h_init(&h);
	fill(&v, &h);
	v.answer_failure = "ListContainers: disk on fire";
	ASSERT_OK(report_status(&v, &out));
	json = parsed(&out);
	hop = json_array_get(json_object_get(json_object_get(json, "runtime"), "hops"), 0);
	assert_true(json_is_false(json_object_get(hop, "ok")));
	assert_string_equal(
		json_string_value(json_object_get(hop, "message")), "ListContainers: disk on fire");
	json_decref(json);
	h_done(&h);
}

/* ---- pods ----------------------------------------------------------------------------------- */

static json_t *container_of(const json_t *pod, const char *id)
{
	json_t *c;
	size_t i;

	json_array_foreach (json_object_get(pod, "containers"), i, c)
		if (str_eq(json_string_value(json_object_get(c, "containerID")), id))
			return c;
	fail_msg("no container %s", id);
	return NULL;
}

static void pods_as_documented(void **state)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(1u << 20);
	json_t *doc = documented("## Pods"), *json, *pod, *dead, *box;
	struct h h;

	(void)state;
	h_init(&h);
	h_rule(&h, "c1", 'x', 3);
	h_rule(&h, "s1", 'r', 0)->ip = "10.0.0.4";
	(void)h_relist(&h, "p1/s1=r p1/s1/c1=x");
	ASSERT_OK(report_pods(h.pleg, NULL, NULL, h.now, &out));
	json = parsed(&out);
	check_shape(doc, json, "pods");
	assert_true(json_is_null(json_object_get(json, "apiPods")));

	pod = json_array_get(json_object_get(json, "pods"), 0);
	assert_string_equal(json_string_value(json_object_get(pod, "podUID")), "p1");
	assert_true(json_is_false(json_object_get(pod, "quarantined")));
	assert_true(json_is_null(json_object_get(pod, "stuckID")));
	assert_true(json_is_null(json_object_get(pod, "error")));
	assert_string_equal(
		json_string_value(json_array_get(json_object_get(pod, "ips"), 0)), "10.0.0.4");
	dead = container_of(pod, "c1");
	assert_string_equal(json_string_value(json_object_get(dead, "state")), "exited");
	assert_int_equal(json_integer_value(json_object_get(dead, "exitCode")), 3);
	assert_string_equal(json_string_value(json_object_get(dead, "sandboxID")), "s1");
	assert_true(json_is_string(json_object_get(dead, "finishedAt")));
	box = container_of(pod, "s1");
	assert_string_equal(json_string_value(json_object_get(box, "kind")), "sandbox");
	assert_string_equal(json_string_value(json_object_get(box, "sandboxID")), "s1");
	assert_true(json_is_null(json_object_get(box, "finishedAt")));
	assert_true(json_is_null(json_object_get(box, "exitCode")));
	json_decref(json);
	json_decref(doc);
	h_done(&h);
}

/* With the API server's word beside it: of the pod, and of the whole list. */
static void pods_with_the_api(void **state)
{
	static const struct kube_pod POD = { "ns", "p1", "p1", "p1", "Deployment/web",
		KUBE_PHASE_RUNNING, true, 1700000000000000000, 1, 0, NULL };
	CLEAN(kube_pods_freep) struct kube_pods *pods = kube_pods_new();
	CLEAN(pods_judge_freep) struct pods_judge *judge = pods_judge_new(pods);
	CLEAN(buf_done) struct buf out = BUF_INIT(1u << 20);
	json_t *doc = documented("## Pods"), *json, *pod, *api;
	struct h h;

	(void)state;
	h_init(&h);
	(void)h_relist(&h, "p1/s1=r p2/s2=r");
	kube_pods_begin(pods, h.now);
	ASSERT_OK(kube_pods_put(pods, &POD, h.now));
	kube_pods_end(pods, h.now);
	ASSERT_OK(report_pods(h.pleg, NULL, judge, h.now, &out));
	json = parsed(&out);
	check_shape(doc, json, "pods");
	pod = json_array_get(json_object_get(json, "pods"), 0);
	api = json_object_get(pod, "api");
	assert_string_equal(json_string_value(json_object_get(pod, "owner")), "Deployment/web");
	assert_string_equal(json_string_value(json_object_get(api, "phase")), "Running");
	assert_true(json_is_true(json_object_get(api, "deleting")));
	assert_true(json_is_false(json_object_get(api, "deleted")));
	assert_string_equal(json_string_value(json_object_get(api, "deletionTimestamp")),
		"2023-11-14T22:13:20.000000000Z");
	assert_true(json_is_null(json_object_get(pod, "apiDiffers")));
	pod = json_array_get(json_object_get(json, "pods"), 1);
	assert_true(json_is_null(json_object_get(pod, "owner")));
	assert_true(json_is_null(json_object_get(pod, "api")));
	api = json_object_get(json, "apiPods");
	assert_string_equal(json_string_value(json_object_get(api, "state")), "current");
	assert_int_equal(json_integer_value(json_object_get(api, "pods")), 1);
	json_decref(json);
	json_decref(doc);
	h_done(&h);
}

/* Five pods that hang: all in the documents, three by name in the line. */
static void quarantine_is_named(void **state)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(1u << 20);
	struct report_view v;
	json_t *json, *pod;
	char line[400];
	struct h h;

	(void)state;
	h_init(&h);
	assert_string_equal(report_quarantined(h.pleg, line, sizeof(line)), "");
	for (int i = 1; i <= 5; i++)
		h_rule(&h, FMT("s%d", i), 'h', 0);
	(void)h_relist(&h, "p1/s1=r p2/s2=r p3/s3=r p4/s4=r p5/s5=r p6/s6=r");
	for (int i = 1; i <= 5; i++)
		pleg_on_late(h.pleg, h_take(&h, PLEG_REQUEST_INSPECT, FMT("s%d", i)), h.now);
	h_wait(&h, SEC(4));
	fill(&v, &h);
	assert_int_equal(v.health.quarantined, 5);
	assert_string_equal(
		report_quarantined(h.pleg, line, sizeof(line)), "ns/p1, ns/p2, ns/p3 and 2 more");
	assert_string_equal(report_quarantined(h.pleg, line, 40), "ns/p1 and 4 more");

	ASSERT_OK(report_status(&v, &out));
	json = parsed(&out);
	assert_int_equal(
		json_array_size(json_object_get(json_object_get(json, "pleg"), "quarantined")), 5);
	json_decref(json);
	buf_clear(&out);
	ASSERT_OK(report_pods(h.pleg, NULL, NULL, h.now, &out));
	json = parsed(&out);
	pod = json_array_get(json_object_get(json, "pods"), 0);
	assert_true(json_is_true(json_object_get(pod, "quarantined")));
	assert_true(json_number_value(json_object_get(pod, "quarantinedSeconds")) == 4);
	assert_string_equal(json_string_value(json_object_get(pod, "stuckID")), "s1");
	json_decref(json);
	h_done(&h);
}

static void a_full_buffer_is_an_error(void **state)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(100);
	struct report_view v;
	struct h h;

	(void)state;
	h_init(&h);
	fill(&v, &h);
	ASSERT_ERR(report_status(&v, &out), EMSGSIZE);
	h_done(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(status_as_documented),
		cmocka_unit_test(status_of_a_runtime_that_fails),
		cmocka_unit_test(status_of_the_first_moment),
		cmocka_unit_test(pods_as_documented),
		cmocka_unit_test(pods_with_the_api),
		cmocka_unit_test(quarantine_is_named),
		cmocka_unit_test(a_full_buffer_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
