/*
 * The agent's side of what the cluster is told, with stand-ins for the doctor, PLEG, the verdict, the clock
 * and timers of the loop: what becomes of incidents, and of answers that make no sense.
 */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "agent/cluster.h"
#include "agent/diagnosis.h"
#include "agent/timer.h"
#include "base/clock.h"
#include "base/str.h"
#include "node/node.h"
#include "pleg/pleg.h"

#define T0_REAL INT64_C(1790000000000000000) /* 2026-09-21T14:13:20Z */

/* ---- stand-ins -------------------------------------------------------------------------------- */

struct timer {
	void (*on_due)(void *userdata);
	void *userdata;
	uint64_t due_ns;
};

/* One at a time, since the functions that are stood in for take no world. */
static struct world {
	struct now now;
	struct timer timer;
	struct incidents *incidents;
	struct cluster *cluster;
	struct reporter_request sent[REPORTER_SLOTS]; /* under way */
	char path[REPORTER_SLOTS][256], body[REPORTER_SLOTS][8192];
	bool busy[REPORTER_SLOTS];
	int send_result;
	unsigned sends;
	bool is_silent, is_pod_gone;
} * world;

struct now clock_now(void)
{
	return world->now;
}

int timer_new(sd_event *loop, uint64_t delay_ns, void (*on_due)(void *), void *userdata,
	struct timer **ret)
{
	(void)loop;
	world->timer = (struct timer){ on_due, userdata, world->now.mono_ns + delay_ns };
	*ret = &world->timer;
	return 0;
}

struct timer *timer_free(struct timer *timer)
{
	if (timer)
		timer->due_ns = NSEC_NEVER;
	return NULL;
}

int timer_set(struct timer *timer, uint64_t due_ns)
{
	timer->due_ns = due_ns;
	return 0;
}

int timer_set_in(struct timer *timer, uint64_t delay_ns)
{
	return timer_set(timer, time_add(world->now.mono_ns, delay_ns));
}

const struct incidents *diagnosis_incidents(const struct diagnosis *diagnosis)
{
	(void)diagnosis;
	return world->incidents;
}

void diagnosis_stats(const struct diagnosis *diagnosis, struct diagnosis_stats *ret)
{
	(void)diagnosis;
	*ret = (struct diagnosis_stats){ .samples = 1 };
}

void pleg_health(const struct pleg *pleg, struct now now, struct pleg_health *ret)
{
	(void)pleg;
	(void)now;
	*ret = (struct pleg_health){ .healthy = true };
}

bool pleg_next_pod(const struct pleg *pleg, size_t *cursor, struct pleg_pod *ret)
{
	static const struct pleg_pod pods[] = {
		{ .uid = "u-0", .name = "cart", .namespace = "test" },
		{ .uid = "u-1", .name = "cart", .namespace = "shop" }
	};

	(void)pleg;
	if (*cursor >= ELEMENTS(pods) || world->is_pod_gone)
		return false;
	*ret = pods[(*cursor)++];
	return true;
}

void node_status(const struct node *node, struct node_status *ret)
{
	(void)node;
	*ret = (struct node_status){ .ready = true,
		.responsive = !world->is_silent,
		.message = "kubelet is posting ready status",
		.detail = world->is_silent ? "ListContainers has not answered for 12s" : "" };
}

/* ---- a world ---------------------------------------------------------------------------------- */

static int send_request(void *userdata, const struct reporter_request *request)
{
	(void)userdata;
	world->sends++;
	if (world->send_result < 0)
		return world->send_result;
	assert_false(world->busy[request->slot]);
	world->busy[request->slot] = true;
	world->sent[request->slot] = *request;
	(void)snprintf(world->path[request->slot], sizeof(world->path[0]), "%s %s", request->method,
		request->path);
	(void)snprintf(world->body[request->slot], sizeof(world->body[0]), "%.*s",
		(int)request->body_len, str_or_empty(request->body));
	return 0;
}

static int set_up(void **state)
{
	static const struct cluster_ops ops = { .send = send_request };
	static struct diagnosis *doctor = (struct diagnosis *)&ops; /* never looked into */
	const struct cluster_options options = {
		.diagnosis = &doctor, .node_name = "node-a", .ops = &ops
	};

	world = mem_zalloc(sizeof(*world));
	assert_non_null(world);
	world->now = (struct now){ 1000 * NSEC_PER_SEC, T0_REAL };
	world->incidents = incidents_new("epoch");
	ASSERT_OK(cluster_new(&options, &world->cluster, NULL));
	assert_int_equal(world->sends, 0);
	*state = world;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	world->cluster = cluster_free(world->cluster);
	world->incidents = incidents_free(world->incidents);
	world = mem_free(world);
	return 0;
}

/* Time goes on by `ms`; timers that come due meanwhile are served in their order. */
static void pass(uint64_t ms)
{
	uint64_t end_ns = world->now.mono_ns + ms * NSEC_PER_MSEC;

	for (unsigned i = 0; world->timer.due_ns <= end_ns; i++) {
		uint64_t due_ns = world->timer.due_ns;

		assert_true(i < 100000); /* it does not spin */
		if (due_ns > world->now.mono_ns) {
			world->now.real_ns += (int64_t)(due_ns - world->now.mono_ns);
			world->now.mono_ns = due_ns;
		}
		world->timer.due_ns = NSEC_NEVER;
		world->timer.on_due(world->timer.userdata);
	}
	world->now.real_ns += (int64_t)(end_ns - world->now.mono_ns);
	world->now.mono_ns = end_ns;
}

static void answer(enum reporter_slot slot, unsigned http, const char *body)
{
	assert_true(world->busy[slot]);
	world->busy[slot] = false;
	cluster_answer(world->cluster, slot, http, 0, body, strlen(body), NULL);
}

#define EMPTY_NODE "{\"kind\":\"Node\",\"metadata\":{\"resourceVersion\":\"1\"}}"

static void adopt(void)
{
	pass(0);
	assert_string_equal(world->path[REPORTER_NODE], "GET /api/v1/nodes/node-a");
	answer(REPORTER_NODE, 200, EMPTY_NODE);
	pass(20000);
	assert_string_equal(
		world->path[REPORTER_NODE], "PATCH /api/v1/nodes/node-a/status?fieldManager=pleg");
	assert_null(strstr(world->body[REPORTER_NODE], "True"));
	answer(REPORTER_NODE, 200, "{}");
	pass(60000);
}

/* A sample that shows one stopped shim of shop/cart, or nothing. */
static void sample(bool is_found)
{
	const struct finding_subject subject = {
		.namespace = "shop", .pod = "cart", .container = "db", .container_id = "c1"
	};
	struct findings *set = findings_new();
	const struct incident *incident;

	if (is_found) {
		struct finding *finding = findings_add(set, CAUSE_SHIM_STOPPED, SEVERITY_CRITICAL,
			CONFIDENCE_PROVEN, world->now.real_ns);

		finding_set_subject(set, finding, &subject);
		finding_say(set, finding, "The shim of shop/cart is stopped");
	}
	ASSERT_OK(incidents_update(world->incidents, set, true, world->now));
	while ((incident = incidents_next_change(world->incidents)))
		cluster_incident(world->cluster, incident);
	set = findings_free(set);
}

/* ---- tests ------------------------------------------------------------------------------------ */

static void an_incident_from_its_beginning_to_its_end(void **state)
{
	(void)state;
	adopt();
	sample(true);
	pass(0); /* at once */
	assert_string_equal(
		world->path[REPORTER_NODE], "PATCH /api/v1/nodes/node-a/status?fieldManager=pleg");
	assert_non_null(strstr(world->body[REPORTER_NODE],
		"\"type\":\"pleg.dev/ContainersStuck\",\"status\":\"True\""));
	assert_non_null(strstr(world->body[REPORTER_NODE], "\"reason\":\"ShimStopped\""));
	answer(REPORTER_NODE, 200, "{}");

	pass(1000);
	assert_string_equal(world->path[REPORTER_EVENT],
		"POST /api/v1/namespaces/default/events?fieldManager=pleg");
	assert_non_null(strstr(world->body[REPORTER_EVENT], "\"uid\":\"node-a\""));
	assert_non_null(strstr(
		world->body[REPORTER_EVENT], "\"message\":\"The shim of shop/cart is stopped\""));
	answer(REPORTER_EVENT, 201, "{}");
	pass(1000);
	assert_string_equal(world->path[REPORTER_EVENT],
		"POST /api/v1/namespaces/shop/events?fieldManager=pleg");
	assert_non_null(strstr(world->body[REPORTER_EVENT], "\"uid\":\"u-1\""));
	answer(REPORTER_EVENT, 201, "{}");
	pass(1000);
	assert_non_null(strstr(world->body[REPORTER_EVENT],
		"Node condition pleg.dev/ContainersStuck is now: True, reason: ShimStopped"));
	answer(REPORTER_EVENT, 201, "{}");
	pass(120000);
	assert_false(world->busy[REPORTER_EVENT]); /* told once, however long it goes on */

	sample(false);
	pass(60000);
	assert_false(world->busy[REPORTER_NODE]); /* one sample proves no absence */
	world->is_pod_gone = true;                /* Its end is told all the same. */
	sample(false);
	pass(0);
	assert_non_null(strstr(world->body[REPORTER_NODE], "\"reason\":\"NoContainersStuck\""));
	answer(REPORTER_NODE, 200, "{}");
	for (int i = 0; i < 2; i++) { /* the node's and the pod's */
		pass(1000);
		assert_non_null(
			strstr(world->body[REPORTER_EVENT], "\"reason\":\"ShimStoppedResolved\""));
		assert_non_null(strstr(world->body[REPORTER_EVENT],
			"Over after 3m03s: The shim of shop/cart is stopped"));
		answer(REPORTER_EVENT, 201, "{}");
	}
	pass(1000);
	assert_non_null(strstr(world->body[REPORTER_EVENT], "ContainersStuck is now: False"));
	answer(REPORTER_EVENT, 201, "{}");
	pass(60000);
	assert_false(world->busy[REPORTER_EVENT]);
}

/* As the journal has it from the run before. */
static void leave_open(void)
{
	const struct incident_past past = { .id = "old1",
		.subject = "shop/cart, container db",
		.summary = "The shim of shop/cart is stopped",
		.finding = "{}",
		.cause = CAUSE_SHIM_STOPPED,
		.state = INCIDENT_PROVEN,
		.opened_ns = T0_REAL - 3600 * (int64_t)NSEC_PER_SEC };

	ASSERT_OK(incidents_adopt(world->incidents, &past, world->now));
}

/* What was told before a restart costs no write: the six a minute are for what is new. */
static void a_restart_tells_nothing_twice(void **state)
{
	(void)state;
	adopt();
	leave_open();
	sample(true);
	pass(1000);
	answer(REPORTER_NODE, 200, "{}");
	assert_non_null(strstr(
		world->path[REPORTER_EVENT], "GET /api/v1/namespaces/default/events/node-a."));
	answer(REPORTER_EVENT, 200, "{\"metadata\":{},\"count\":3}");
	pass(1000);
	assert_non_null(
		strstr(world->path[REPORTER_EVENT], "GET /api/v1/namespaces/shop/events/cart."));
	answer(REPORTER_EVENT, 404, "{}"); /* The API forgets after an hour. */
	pass(1000);
	assert_string_equal(world->path[REPORTER_EVENT],
		"POST /api/v1/namespaces/shop/events?fieldManager=pleg");
	assert_non_null(strstr(world->body[REPORTER_EVENT], "\"count\":1"));
	answer(REPORTER_EVENT, 201, "{}");
	pass(1000);
	assert_non_null(strstr(world->body[REPORTER_EVENT], "ContainersStuck is now: True"));
	answer(REPORTER_EVENT, 201, "{}");
	pass(120000);
	assert_false(world->busy[REPORTER_EVENT]);
}

static void what_ended_while_pleg_was_away_is_told(void **state)
{
	(void)state;
	adopt();
	leave_open();
	for (int i = 0; i < 3; i++) {
		pass(10000);
		sample(false);
	}
	pass(1000);
	assert_non_null(strstr(world->body[REPORTER_EVENT], "\"reason\":\"ShimStoppedResolved\""));
	assert_non_null(
		strstr(world->body[REPORTER_EVENT], ": The shim of shop/cart is stopped\""));
	answer(REPORTER_EVENT, 201, "{}");
	pass(120000);
	assert_false(world->busy[REPORTER_EVENT]);
}

static void answers_without_sense(void **state)
{
	static const struct {
		unsigned http;
		const char *body;
	} rows[] = { { 0, "" }, { 200, "" }, { 200, "[]" }, { 200, "{\"kind\":\"Node\"}" },
		{ 200, "{\"kind\":\"Pod\",\"metadata\":{}}" }, { 404, "{\"kind\":\"Status\"}" },
		{ 500, "<html>" }, { 999, "\xff" }, { 204, EMPTY_NODE } };
	struct reporter_status status;

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		pass(61000);
		assert_string_equal(world->path[REPORTER_NODE], "GET /api/v1/nodes/node-a");
		answer(REPORTER_NODE, rows[i].http, rows[i].body);
		pass(0);
		assert_false(world->busy[REPORTER_NODE]); /* not again at once */
	}
	cluster_status(world->cluster, &status);
	assert_true(status.is_away);
	assert_false(status.is_adopted);
	assert_int_equal(status.writes, 0);
	pass(61000);
	answer(REPORTER_NODE, 200, EMPTY_NODE);
	cluster_status(world->cluster, &status);
	assert_false(status.is_away);
	assert_true(status.is_adopted);
}

static void a_sender_that_is_gone(void **state)
{
	unsigned sends;

	(void)state;
	world->send_result = -ENOTCONN;
	pass(600000);
	assert_in_range(world->sends, 10, 40); /* it backs off */
	sends = world->sends;
	world->send_result = 0;
	pass(61000);
	assert_int_equal(world->sends, sends + 1);
	answer(REPORTER_NODE, 200, EMPTY_NODE);
}

static void a_runtime_that_says_nothing(void **state)
{
	(void)state;
	adopt();
	world->is_silent = true;
	pass(9000);
	assert_false(world->busy[REPORTER_NODE]);
	pass(3000);
	assert_true(world->busy[REPORTER_NODE]);
	assert_non_null(strstr(world->body[REPORTER_NODE],
		"\"type\":\"pleg.dev/RuntimeUnhealthy\",\"status\":\"True\""));
	assert_non_null(
		strstr(world->body[REPORTER_NODE], "ListContainers has not answered for 12s"));
	answer(REPORTER_NODE, 200, "{}");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_incident_from_its_beginning_to_its_end),
		TEST(a_restart_tells_nothing_twice),
		TEST(what_ended_while_pleg_was_away_is_told),
		TEST(answers_without_sense),
		TEST(a_sender_that_is_gone),
		TEST(a_runtime_that_says_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
