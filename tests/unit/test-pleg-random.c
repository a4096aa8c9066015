/*
 * A random runtime, honest but slow: every answer is true of some moment between the start of its call
 * and its end, calls cross, fail, hang and come late, pods and containers come and go, hints storm,
 * allocations fail. What must hold whatever happens:
 *
 *  - what is told of a container is a subsequence of what was true of it, and nothing is told twice;
 *  - at most one call is open per subject and method;
 *  - the time of a cache entry never goes back;
 *  - once the runtime behaves, what was told of every container ends in what is true.
 */
#include "pleg-harness.h"

#include "base/fault.h"

#define PODS       6
#define CONTAINERS 5 /* per pod, the first is the sandbox */
#define HISTORY    4096

struct thing {
	char id[16], pod[16];
	char truth[HISTORY]; /* 'r', 'x', '-' for gone */
	size_t len, told;    /* told: as far in the history as events have come */
	char told_state;
};

/* An open call, with the state of the world at the moment that its answer will be of. */
struct pending {
	struct pleg_request request;
	char id[16], pod[16];
	char snapshot[PODS][CONTAINERS];
	bool taken, late;
};

struct chaos {
	struct pleg *pleg;
	struct now now;
	uint64_t seed;
	struct thing things[PODS][CONTAINERS];
	struct pending pending[128];
	size_t pending_count;
	uint64_t status_at[PODS];
	bool calm;
};

static bool allocations_fail;
static uint64_t fault_seed = 1;

static uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

bool fault_hit(enum fault_point point)
{
	(void)point;
	return allocations_fail && next_random(&fault_seed) % 50 == 0;
}

static uint32_t pick(struct chaos *c, uint32_t below)
{
	return (uint32_t)(next_random(&c->seed) >> 16) % below;
}

static char thing_state(const struct thing *t)
{
	return t->truth[t->len - 1];
}

static void thing_set(struct thing *t, char state)
{
	assert_true(t->len < HISTORY);
	if (thing_state(t) != state)
		t->truth[t->len++] = state;
}

static void world_turn(struct chaos *c)
{
	static const char *const from_to[] = { "-r", "rx", "x-", "r-", "xr", "-r", "rx", "x-" };
	uint32_t p = pick(c, PODS), i = pick(c, CONTAINERS);
	struct thing *t = &c->things[p][i];
	const char *change = from_to[pick(c, ELEMENTS(from_to))];

	if (thing_state(t) == change[0])
		thing_set(t, change[1]);
	if (pick(c, 200) == 0)
		for (i = 0; i < CONTAINERS; i++)
			thing_set(&c->things[p][i], '-');
}

/* ---- answers ----------------------------------------------------------------------------- */

static void snapshot_take(struct chaos *c, struct pending *call)
{
	for (size_t p = 0; p < PODS; p++)
		for (size_t i = 0; i < CONTAINERS; i++)
			call->snapshot[p][i] = thing_state(&c->things[p][i]);
	call->taken = true;
}

static void list_print(struct chaos *c, const struct pending *call, char *out, size_t size)
{
	size_t len = 0;

	out[0] = '\0';
	/* Sandboxes first. */
	for (size_t i = 0; i < CONTAINERS; i++)
		for (size_t p = 0; p < PODS; p++) {
			const struct thing *t = &c->things[p][i];

			if (call->snapshot[p][i] == '-' ||
				(call->pod[0] && !str_eq(call->pod, t->pod)))
				continue;
			len += (size_t)snprintf(out + len, size - len,
				i == 0 ? "%s/%s%s=%c " : "%s/%s/%s=%c ", t->pod,
				i == 0 ? "" : c->things[p][0].id, t->id, call->snapshot[p][i]);
		}
}

static void answer_list(struct chaos *c, struct pending *call)
{
	struct h_source source;
	char text[2048];

	list_print(c, call, text, sizeof(text));
	h_parse(&source, text);
	source.backwards = false;
	pleg_on_list(c->pleg, call->request.token, &source.source, c->now);
}

static void answer_inspect(struct chaos *c, struct pending *call)
{
	struct container_status status = { .kind = call->request.kind, .id = call->id };
	char state = '-';

	for (size_t p = 0; p < PODS; p++)
		for (size_t i = 0; i < CONTAINERS; i++)
			if (str_eq(c->things[p][i].id, call->id))
				state = call->snapshot[p][i];
	if (state == '-') {
		pleg_on_failed(c->pleg, call->request.token, PLEG_FAILURE_NOT_FOUND, "", c->now);
		return;
	}
	status.state = h_state(state);
	pleg_on_inspect(c->pleg, call->request.token, &status, c->now);
}

static void call_end(struct chaos *c, size_t i)
{
	struct pending call = c->pending[i];

	c->pending[i] = c->pending[--c->pending_count];
	if (!call.taken)
		snapshot_take(c, &call);
	if (!c->calm && pick(c, 12) == 0)
		pleg_on_failed(c->pleg, call.request.token,
			pick(c, 2) ? PLEG_FAILURE_ERROR : PLEG_FAILURE_LOST, "no", c->now);
	else if (call.request.type == PLEG_REQUEST_INSPECT)
		answer_inspect(c, &call);
	else
		answer_list(c, &call);
}

static void calls_fetch(struct chaos *c)
{
	struct pleg_request request;

	while (pleg_next_request(c->pleg, &request)) {
		struct pending *call = &c->pending[c->pending_count];

		for (size_t i = 0; i < c->pending_count; i++)
			assert_false(c->pending[i].request.type == request.type &&
				str_eq(c->pending[i].id, request.id) &&
				str_eq(c->pending[i].pod,
					request.type == PLEG_REQUEST_LIST_POD ? request.pod_uid
									      : ""));
		assert_true(++c->pending_count < ELEMENTS(c->pending));
		*call = (struct pending){ .request = request };
		(void)snprintf(call->id, sizeof(call->id), "%s", request.id);
		if (request.type == PLEG_REQUEST_LIST_POD)
			(void)snprintf(call->pod, sizeof(call->pod), "%s", request.pod_uid);
	}
}

static void calls_turn(struct chaos *c)
{
	size_t i;

	if (c->pending_count == 0)
		return;
	i = pick(c, (uint32_t)c->pending_count);
	if (pick(c, 40) == 0 && !c->calm) {
		c->pending[i].late = true;
		pleg_on_late(c->pleg, c->pending[i].request.token, c->now);
	} else if (!c->pending[i].taken && pick(c, 2)) {
		snapshot_take(c, &c->pending[i]);
	} else if (c->calm || !c->pending[i].late || pick(c, 20) == 0) {
		call_end(c, i);
	}
}

/* ---- checks ------------------------------------------------------------------------------ */

static struct thing *thing_find(struct chaos *c, const char *id)
{
	for (size_t p = 0; p < PODS; p++)
		for (size_t i = 0; i < CONTAINERS; i++)
			if (str_eq(c->things[p][i].id, id))
				return &c->things[p][i];
	fail_msg("event of nothing: %s", id);
	return NULL;
}

/* The told state moves on to the next place in the history where it was true. */
static void thing_tell(struct thing *t, char state, const char *what)
{
	if (t->told_state == state)
		fail_msg("%s of %s twice", what, t->id);
	while (++t->told < t->len && t->truth[t->told] != state)
		;
	if (t->told >= t->len)
		fail_msg("%s of %s, which was not so: %s", what, t->id, t->truth);
	t->told_state = state;
}

static void events_check(struct chaos *c)
{
	struct event *event;

	while ((event = pleg_next_event(c->pleg))) {
		struct thing *t =
			event->type == EVENT_POD_SYNC ? NULL : thing_find(c, event->container_id);

		switch (event->type) {
		case EVENT_CONTAINER_STARTED: thing_tell(t, 'r', "start"); break;
		case EVENT_CONTAINER_DIED:
			/* From running to gone an end is told that no list has shown. */
			if (t->told_state == 'x')
				fail_msg("end of %s twice", t->id);
			t->told_state = 'x';
			break;
		case EVENT_CONTAINER_REMOVED:
			assert_int_equal(t->told_state, 'x');
			thing_tell(t, '-', "removal");
			break;
		case EVENT_CONTAINER_CHANGED: fail_msg("told of a change"); break;
		case EVENT_POD_SYNC: break;
		}
		(void)event_free(event);
	}
}

static void times_check(struct chaos *c)
{
	for (size_t p = 0; p < PODS; p++) {
		struct pleg_pod pod;

		if (!pleg_find_pod(c->pleg, c->things[p][0].pod, &pod)) {
			c->status_at[p] = 0;
			continue;
		}
		assert_true(pod.status_at_ns >= c->status_at[p] || pod.status_at_ns == 0);
		c->status_at[p] = pod.status_at_ns;
	}
}

static void turn(struct chaos *c)
{
	uint32_t p = pick(c, PODS);
	uint64_t step = pick(c, 30) ? pick(c, 20) * NSEC_PER_MSEC : NSEC_PER_SEC;

	c->now.mono_ns += step;
	c->now.real_ns += (int64_t)step;
	pleg_on_tick(c->pleg, c->now);
	if (!c->calm) {
		world_turn(c);
		if (pick(c, 10) == 0)
			pleg_wake(c->pleg, c->things[p][pick(c, CONTAINERS)].id, c->now);
		if (pick(c, 20) == 0)
			(void)pleg_relist_pod(c->pleg, c->things[p][0].pod, c->now);
	}
	calls_fetch(c);
	for (int i = 0; i < 3; i++)
		calls_turn(c);
	events_check(c);
	times_check(c);
}

static void live(uint64_t seed, bool faults)
{
	static struct chaos c;
	struct pleg_config config = PLEG_CONFIG_DEFAULT;
	struct pleg_health health;
	uint32_t things = 0;

	c = (struct chaos){ .seed = seed * 0x9e3779b97f4a7c15u + 1,
		.now = { .mono_ns = SEC(1000), .real_ns = (int64_t)SEC(5000) } };
	fault_seed = c.seed;
	config.late_max = 4;
	ASSERT_OK(pleg_new(&config, c.now, &c.pleg));
	for (size_t p = 0; p < PODS; p++)
		for (size_t i = 0; i < CONTAINERS; i++) {
			struct thing *t = &c.things[p][i];

			*t = (struct thing){ .truth = "-", .len = 1, .told_state = '-' };
			(void)snprintf(t->id, sizeof(t->id), "%c%zu", (char)('a' + i), p);
			(void)snprintf(t->pod, sizeof(t->pod), "p%zu", p);
		}
	allocations_fail = faults;
	for (int i = 0; i < 4000; i++)
		turn(&c);
	allocations_fail = false;
	c.calm = true;
	for (int i = 0; i < 4000; i++)
		turn(&c);
	for (size_t p = 0; p < PODS; p++)
		for (size_t i = 0; i < CONTAINERS; i++) {
			struct thing *t = &c.things[p][i];

			if (t->told_state != thing_state(t))
				fail_msg("seed %u: %s is %c, told %c", (unsigned)seed, t->id,
					thing_state(t), t->told_state);
			things += thing_state(t) != '-';
		}
	pleg_health(c.pleg, c.now, &health);
	assert_int_equal(health.containers + health.sandboxes, things);
	assert_int_equal(health.quarantined, 0);
	assert_true(health.healthy);
	c.pleg = pleg_free(c.pleg);
}

static void random_days(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 40; seed++)
		live(seed, false);
}

static void random_days_without_memory(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 40; seed++)
		live(seed, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_days),
		cmocka_unit_test(random_days_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
