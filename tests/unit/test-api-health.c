/* When the API server is asked how it is, with stand-ins for the api role, the clock and the loop's timer. */
#include "unit.h"

#include <errno.h>

#include "agent/api-health.h"
#include "agent/timer.h"
#include "base/clock.h"
#include "base/str.h"

/* ---- stand-ins -------------------------------------------------------------------------------- */

struct timer {
	void (*on_due)(void *userdata);
	void *userdata;
	uint64_t due_ns;
};

static struct world {
	struct now now;
	struct timer timer;
	struct api_health *health;
	unsigned pings;
	int ping_result;
} world;

struct now clock_now(void)
{
	return world.now;
}

int timer_new(sd_event *loop, uint64_t delay_ns, void (*on_due)(void *), void *userdata,
	struct timer **ret)
{
	(void)loop;
	world.timer = (struct timer){ on_due, userdata, delay_ns };
	*ret = &world.timer;
	return 0;
}

struct timer *timer_free(struct timer *timer)
{
	(void)timer;
	return NULL;
}

int timer_set(struct timer *timer, uint64_t due_ns)
{
	timer->due_ns = due_ns;
	return 0;
}

int api_ping(struct api *api)
{
	(void)api;
	world.pings++;
	return world.ping_result;
}

const char *api_server(const struct api *api)
{
	(void)api;
	return "https://10.0.0.1:6443";
}

int64_t api_credential_ends_ns(const struct api *api)
{
	(void)api;
	return 0;
}

/* ---- a world ---------------------------------------------------------------------------------- */

static int set_up(void **state)
{
	(void)state;
	world = (struct world){ .now = { .mono_ns = 1000 * NSEC_PER_SEC } };
	return api_health_new(NULL, NULL, &world.health);
}

static int tear_down(void **state)
{
	(void)state;
	world.health = api_health_free(world.health);
	return 0;
}

static void answer(const char *error, unsigned http)
{
	api_health_call(
		world.health, &(struct api_call){ .error = error, .http = http, .why = "" });
}

/* To the next question; how long it took to come. */
static uint64_t next_question(void)
{
	uint64_t before_ns = world.now.mono_ns;
	unsigned pings = world.pings;

	assert_true(world.timer.due_ns >= before_ns && world.timer.due_ns != NSEC_NEVER);
	world.now.mono_ns = world.timer.due_ns;
	world.timer.on_due(world.timer.userdata);
	assert_int_equal(world.pings, pings + 1);
	return world.now.mono_ns - before_ns;
}

static struct api_server view(void)
{
	struct api_server s;

	(void)api_health_view(world.health, world.now, &s);
	return s;
}

/* One failure proves nothing: the next question comes at once, and what follows is counted. */
static void asked_again_at_once(void **state)
{
	uint64_t wait_ns;

	(void)state;
	answer("ok", 200);
	assert_int_equal(view().failures, 0);
	answer("timeout", 0);
	assert_int_equal(view().failures, 1);
	wait_ns = next_question();
	assert_in_range(wait_ns, NSEC_PER_SEC, 2 * NSEC_PER_SEC);
	answer("timeout", 0);
	assert_int_equal(view().failures, 2);
	assert_int_equal(view().away_ns, wait_ns + 1);
	/* Another kind of trouble has a time and a count of its own. */
	answer("ok", 401);
	assert_int_equal(view().failures, 1);
	assert_int_equal(view().away_ns, 1);
	assert_in_range(next_question(), NSEC_PER_SEC, 2 * NSEC_PER_SEC);
	answer("ok", 200);
	assert_int_equal(view().failures, 0);
	assert_int_equal(view().away_ns, 0);
	assert_int_equal(next_question(), API_HEALTH_CALM_NS);
}

/* Ten thousand nodes do not ask an API server that is away every ten seconds. */
static void seldom_in_the_end(void **state)
{
	uint64_t most_ns = API_HEALTH_FIRST_NS, begin_ns = world.now.mono_ns;
	unsigned in_an_hour;

	(void)state;
	answer("connect", 0);
	for (unsigned i = 0; i < 6; i++) {
		assert_in_range(next_question(), most_ns / 2, most_ns);
		answer("connect", 0);
		most_ns = time_min(2 * most_ns, API_HEALTH_MAX_NS);
	}
	while (world.now.mono_ns < begin_ns + 3600 * NSEC_PER_SEC) {
		assert_in_range(next_question(), API_HEALTH_MAX_NS / 2, API_HEALTH_MAX_NS);
		/* Silence is answered later than the next question is due. */
		if (world.pings % 2)
			answer("timeout", 0);
	}
	in_an_hour = world.pings;
	assert_in_range(in_an_hour, 60, 100);
	/* Back, and away again: from the beginning. */
	answer("ok", 200);
	answer("reset", 0);
	assert_in_range(next_question(), API_HEALTH_FIRST_NS / 2, API_HEALTH_FIRST_NS);
}

/* What cannot be sent has failed; what is under way has not. */
static void a_role_that_does_not_run(void **state)
{
	(void)state;
	world.ping_result = -ENOTCONN;
	(void)next_question();
	assert_int_equal(view().failures, 1);
	assert_string_equal(view().error, "role");
	(void)next_question();
	assert_int_equal(view().failures, 2);
	world.ping_result = -EBUSY;
	(void)next_question();
	assert_int_equal(view().failures, 2);
}

/* Until the next request but the small question shows whose trouble it was; told until there was none for
 * ten minutes. */
static void a_stale_connection(void **state)
{
	const struct api_stale stale = { .local = "10.0.0.7:41234",
		.remote = "10.0.0.1:6443",
		.what = "PATCH /api/v1/nodes/a/status",
		.silent_ns = API_DEADLINE_NS,
		.fresh_http = 200,
		.fresh = { .total_ns = NSEC_PER_MSEC } };

	(void)state;
	answer("timeout", 0);
	api_health_stale(world.health, &stale);
	assert_int_equal(view().away_ns, 0); /* it has answered */
	assert_int_equal(view().timings.total_ns, NSEC_PER_MSEC);
	assert_int_equal(view().stale_count, 1);
	assert_string_equal(view().stale.remote, stale.remote);
	assert_false(view().stale.is_proven);
	api_health_call(world.health,
		&(struct api_call){ .error = "ok", .http = 200, .why = "", .is_ping = true });
	assert_false(view().stale.is_proven);
	answer("ok", 200);
	assert_true(view().stale.is_proven);

	world.now.mono_ns += 60 * NSEC_PER_SEC;
	api_health_stale(world.health, &stale);
	assert_int_equal(view().stale_count, 2);
	assert_int_equal(view().stale_ns, 0);
	world.now.mono_ns += API_STALE_CALM_NS - 1;
	assert_int_equal(view().stale_count, 2);
	world.now.mono_ns += 1;
	assert_int_equal(view().stale_count, 0);

	/* What is as silent over a new one: it was the request. */
	api_health_stale(world.health, &stale);
	assert_int_equal(view().stale_count, 1);
	answer("timeout", 0);
	assert_int_equal(view().stale_count, 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(asked_again_at_once),
		TEST(seldom_in_the_end),
		TEST(a_role_that_does_not_run),
		TEST(a_stale_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
