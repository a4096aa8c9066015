/* The way to the API server: away, stale connections, credentials that are over, a clock that was set. */
#include "rules-harness.h"

static void api_away(struct evidence *e, unsigned n)
{
	an_api_server(e, "timeout", 0, 2 * n);
}

static void api_failed_once(struct evidence *e, unsigned n)
{
	an_api_server(e, "timeout", 0, 60 + n);
	e->api_server.failures = 1;
}

static void token_over(struct evidence *e, unsigned n)
{
	an_api_server(e, "ok", 401, 9 + n);
	e->api_server.expiry_ns = e->at_ns - 5;
}

/* What a client certificate that has ended looks like, and what does not. */
static void certificate_over(struct evidence *e, unsigned n)
{
	static const char *const errors[] = { "reset", "tls", "connect", "timeout", "reset",
		"credential" };

	an_api_server(e, errors[n], 0, 9);
	e->api_server.expiry_ns = n == 4 ? e->at_ns + 5 : n == 5 ? 0 : e->at_ns - 5;
}

static void clock_set(struct evidence *e, unsigned n)
{
	an_api_server(e, n == 0 ? "tls" : "connect", 0, 9);
	e->clock = (struct evidence_clock){ .step_ns = -(int64_t)SECONDS_NS(28818),
		.at_ns = e->at_ns - 7 };
}

static void the_way_to_the_api_server(void **state)
{
	struct bench b = { 0 };
	const struct finding *f;

	(void)state;
	bench_judge(&b, api_away, 0);
	nothing(&b, "it answers");
	bench_judge(&b, api_away, 1);
	nothing(&b, "a moment");
	bench_judge(&b, api_away, 2);
	(void)only(&b, CAUSE_API_UNREACHABLE, CONFIDENCE_SUSPECTED);
	bench_judge(&b, api_away, 5);
	f = only(&b, CAUSE_API_UNREACHABLE, CONFIDENCE_PROVEN);
	assert_string_equal(f->summary,
		"The API server https://10.0.0.1:6443 accepts the connection and does not answer; "
		"what runs here goes on");
	assert_int_equal(f->since_ns, b.e->at_ns - (int64_t)SECONDS_NS(10));
	bench_done(&b);
	/* However long ago: one request proves nothing. */
	bench_judge(&b, api_failed_once, 0);
	(void)only(&b, CAUSE_API_UNREACHABLE, CONFIDENCE_SUSPECTED);
	bench_done(&b);

	bench_judge(&b, a_stale_connection, 0);
	f = only(&b, CAUSE_API_CONNECTION_STALE, CONFIDENCE_SUSPECTED);
	assert_int_equal(f->since_ns, b.e->at_ns - (int64_t)SECONDS_NS(13));
	bench_judge(&b, a_stale_connection, 1);
	f = only(&b, CAUSE_API_CONNECTION_STALE, CONFIDENCE_PROVEN);
	assert_non_null(strstr(f->evidence[0].where, "10.0.0.7:41234 to 10.0.0.1:6443"));
	bench_judge(&b, a_stale_connection, 2);
	nothing(&b, "none for a while");
	bench_done(&b);

	bench_judge(&b, token_over, 0);
	f = only(&b, CAUSE_CREDENTIAL_EXPIRED, CONFIDENCE_PROVEN);
	assert_non_null(strstr(f->summary, "it has expired"));
	bench_done(&b);

	for (unsigned n = 0; n < 6; n++) {
		bool is_ours = n < 2 || n == 5;

		bench_judge(&b, certificate_over, n);
		f = only(&b, is_ours ? CAUSE_CREDENTIAL_EXPIRED : CAUSE_API_UNREACHABLE,
			CONFIDENCE_PROVEN);
		if (is_ours)
			assert_non_null(strstr(f->summary, n == 5 ? "cannot be used" : "expired"));
		bench_done(&b);
	}

	/* A clock that was set explains what TLS says, not what cannot be connected to. */
	bench_judge(&b, clock_set, 0);
	f = only(&b, CAUSE_CLOCK_JUMP, CONFIDENCE_PROVEN);
	assert_string_equal(f->summary, "The wall clock of this node was set back by 8h00m");
	assert_non_null(below(f, CAUSE_API_UNREACHABLE));
	bench_judge(&b, clock_set, 1);
	assert_non_null(top(&b, CAUSE_CLOCK_JUMP));
	assert_non_null(top(&b, CAUSE_API_UNREACHABLE));
	bench_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_way_to_the_api_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
