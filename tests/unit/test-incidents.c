/* Findings of one sample after the other, and what they are told as. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "doctor/incidents/incidents.h"

struct world {
	struct incidents *incidents;
	struct now now;
};

static int set_up(void **state)
{
	struct world *w = mem_zalloc(sizeof(*w));

	assert_non_null(w);
	w->incidents = incidents_new("epoch");
	assert_non_null(w->incidents);
	w->now = (struct now){ .mono_ns = 100 * NSEC_PER_SEC, .real_ns = 1000000000 };
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	w->incidents = incidents_free(w->incidents);
	(void)mem_free(w);
	return 0;
}

static struct finding *add(
	struct findings *set, enum cause cause, enum finding_confidence confidence, int32_t pid)
{
	const struct finding_subject subject = { .pid = pid, .start_ticks = 7 };
	struct finding *finding =
		findings_add(set, cause, SEVERITY_CRITICAL, confidence, 900000000);

	assert_non_null(finding);
	finding_set_subject(set, finding, &subject);
	finding_say(set, finding, "Process %d hangs", pid);
	return finding;
}

static void see(struct world *w, const struct findings *set, bool complete)
{
	w->now.mono_ns += 2 * NSEC_PER_SEC;
	w->now.real_ns += 2 * (int64_t)NSEC_PER_SEC;
	assert_int_equal(incidents_update(w->incidents, set, complete, w->now), 0);
}

static const struct incident *told(struct world *w, enum incident_state state)
{
	const struct incident *incident = incidents_next_change(w->incidents);

	assert_non_null(incident);
	assert_int_equal(incident->state, state);
	return incident;
}

static void nothing_told(struct world *w)
{
	assert_null(incidents_next_change(w->incidents));
}

static void opened_proven_closed(void **state)
{
	struct world *w = *state;
	struct findings *suspected = findings_new(), *proven = findings_new(),
			*none = findings_new();
	const struct incident *incident;
	char id[INCIDENT_ID_MAX];

	(void)add(suspected, CAUSE_SHIM_STOPPED, CONFIDENCE_SUSPECTED, 42);
	(void)add(proven, CAUSE_SHIM_STOPPED, CONFIDENCE_PROVEN, 42);
	see(w, suspected, true);
	incident = told(w, INCIDENT_SUSPECTED);
	assert_string_equal(incident->subject, "process 42");
	assert_string_equal(incident->pod, "");
	assert_false(incident->is_of_container);
	assert_string_equal(incident->summary, "Process 42 hangs");
	(void)snprintf(id, sizeof(id), "%s", incident->id);
	nothing_told(w);
	see(w, suspected, true);
	nothing_told(w);
	see(w, proven, true);
	assert_string_equal(told(w, INCIDENT_PROVEN)->id, id);
	/* What was proven is not suspected again. */
	see(w, suspected, true);
	nothing_told(w);
	see(w, none, true);
	nothing_told(w); /* one sample proves no absence */
	see(w, none, true);
	incident = told(w, INCIDENT_CLOSED);
	assert_string_equal(incident->id, id);
	assert_int_equal(incident->closed_ns, w->now.real_ns);
	assert_non_null(strstr(incident->document, "\"state\":\"suspected\""));
	assert_non_null(strstr(incident->document, "\"state\":\"closed\""));
	assert_non_null(strstr(incident->document, "Process 42 hangs"));
	nothing_told(w);
	/* The same again is another incident. */
	see(w, proven, true);
	assert_string_not_equal(told(w, INCIDENT_PROVEN)->id, id);
	suspected = findings_free(suspected);
	proven = findings_free(proven);
	none = findings_free(none);
}

static void a_sample_cut_short_closes_nothing(void **state)
{
	struct world *w = *state;
	struct findings *proven = findings_new(), *none = findings_new();

	(void)add(proven, CAUSE_SHIM_STOPPED, CONFIDENCE_PROVEN, 42);
	see(w, proven, true);
	(void)told(w, INCIDENT_PROVEN);
	for (int i = 0; i < 5; i++)
		see(w, none, false);
	nothing_told(w);
	see(w, none, true);
	see(w, none, true);
	(void)told(w, INCIDENT_CLOSED);
	proven = findings_free(proven);
	none = findings_free(none);
}

static void explained_by_a_deeper_cause(void **state)
{
	struct world *w = *state;
	struct findings *first = findings_new(), *deeper = findings_new();
	struct incidents_stats stats;
	struct finding *top;

	(void)add(first, CAUSE_SHIM_STOPPED, CONFIDENCE_PROVEN, 42);
	see(w, first, true);
	(void)told(w, INCIDENT_PROVEN);
	top = add(deeper, CAUSE_FUSE_SERVER_HUNG, CONFIDENCE_PROVEN, 43);
	findings_attach(deeper, top, add(deeper, CAUSE_SHIM_STOPPED, CONFIDENCE_PROVEN, 42));
	see(w, deeper, true);
	assert_non_null(
		strstr(told(w, INCIDENT_CLOSED)->document, "\"explainedBy\":\"FuseServerHung\""));
	assert_int_equal(told(w, INCIDENT_PROVEN)->cause, CAUSE_FUSE_SERVER_HUNG);
	nothing_told(w);
	incidents_stats(w->incidents, &stats);
	assert_int_equal(stats.open, 1);
	assert_int_equal(stats.opened, 2);
	assert_int_equal(stats.closed, 1);
	first = findings_free(first);
	deeper = findings_free(deeper);
}

static void another_process_is_another_incident(void **state)
{
	struct world *w = *state;
	struct findings *set = findings_new();
	const struct incident *incident;
	char id[INCIDENT_ID_MAX];
	size_t cursor = 0;

	(void)add(set, CAUSE_SHIM_STOPPED, CONFIDENCE_PROVEN, 42);
	(void)add(set, CAUSE_SHIM_STOPPED, CONFIDENCE_PROVEN, 43);
	see(w, set, true);
	(void)snprintf(id, sizeof(id), "%s", told(w, INCIDENT_PROVEN)->id);
	assert_string_not_equal(told(w, INCIDENT_PROVEN)->id, id);
	nothing_told(w);
	incident = incidents_next_open(w->incidents, &cursor);
	assert_string_equal(incident->id, id);
	assert_non_null(incidents_next_open(w->incidents, &cursor));
	assert_null(incidents_next_open(w->incidents, &cursor));
	set = findings_free(set);
}

/* ---- what an earlier run has left ------------------------------------------------------------ */

static int adopt(struct world *w, const char *id, enum cause cause, const char *subject)
{
	static const struct incident_change changes[] = {
		{ 500000000, INCIDENT_SUSPECTED },
		{ 600000000, INCIDENT_PROVEN },
	};
	const struct incident_past past = { .id = id,
		.subject = subject,
		.summary = "The shim was stopped",
		.finding = "{\"cause\":\"old\"}",
		.cause = cause,
		.state = INCIDENT_PROVEN,
		.opened_ns = 500000000,
		.changes = changes,
		.change_count = ELEMENTS(changes) };

	return incidents_adopt(w->incidents, &past, w->now);
}

static void past_one_goes_on(void **state)
{
	struct world *w = *state;
	struct findings *set = findings_new();
	const struct incident *incident;
	struct incidents_stats stats;
	size_t cursor = 0;

	(void)add(set, CAUSE_SHIM_STOPPED, CONFIDENCE_SUSPECTED, 42);
	ASSERT_OK(adopt(w, "old1", CAUSE_SHIM_STOPPED, "process 42"));
	ASSERT_ERR(adopt(w, "old1", CAUSE_SHIM_STOPPED, "process 42"), EALREADY);
	ASSERT_ERR(adopt(w, "", CAUSE_SHIM_STOPPED, "process 42"), EINVAL);
	nothing_told(w);
	assert_null(incidents_next_open(w->incidents, &cursor));
	incidents_stats(w->incidents, &stats);
	assert_int_equal(stats.open, 0);
	assert_int_equal(stats.past, 1);
	see(w, set, true);
	/* What was proven stays so; there is no new one. */
	incident = told(w, INCIDENT_PROVEN);
	assert_string_equal(incident->id, "old1");
	assert_string_equal(incident->summary, "Process 42 hangs");
	assert_true(incident->is_of_before);
	assert_true(incident->opened_ns == 500000000);
	assert_non_null(strstr(incident->document, "Process 42 hangs"));
	assert_non_null(strstr(incident->document, "\"at\":\"1970-01-01T00:00:00.600000000Z\""));
	nothing_told(w);
	/* One that comes to light late is the same. */
	ASSERT_OK(adopt(w, "old2", CAUSE_SHIM_STOPPED, "process 42"));
	see(w, set, true);
	incident = told(w, INCIDENT_CLOSED);
	assert_string_equal(incident->id, "old2");
	assert_false(incident->is_of_before); /* it is not over: the other one is it */
	assert_non_null(
		strstr(incident->document, "\"closedBecause\":\"goes on as incident old1\""));
	nothing_told(w);
	incidents_stats(w->incidents, &stats);
	assert_int_equal(stats.open, 1);
	assert_int_equal(stats.opened, 0);
	set = findings_free(set);
}

static void past_one_is_closed(void **state)
{
	struct world *w = *state;
	struct findings *other = findings_new(), *none = findings_new();
	const struct incident *incident;

	(void)add(other, CAUSE_SHIM_STOPPED, CONFIDENCE_PROVEN, 43);
	ASSERT_OK(adopt(w, "old1", CAUSE_SHIM_STOPPED, "process 42"));
	ASSERT_OK(adopt(w, "loop1", CAUSE_CONTAINER_CRASH_LOOP, "shop/cart"));
	see(w, other, true);
	(void)told(w, INCIDENT_PROVEN);
	nothing_told(w);
	for (unsigned i = 0; i < 6; i++) {
		see(w, other, i > 0);
		nothing_told(w);
	}
	see(w, other, true);
	incident = told(w, INCIDENT_CLOSED);
	assert_string_equal(incident->id, "old1");
	assert_string_equal(incident->summary, "The shim was stopped");
	assert_true(incident->is_of_before);
	assert_true(incident->closed_ns == w->now.real_ns);
	assert_non_null(strstr(incident->document, "{\"finding\":{\"cause\":\"old\"}"));
	assert_non_null(strstr(incident->document,
		"\"closedBecause\":\"not seen any more after a restart of pleg\""));
	nothing_told(w);
	/* A loop is not over because it did not turn for a minute. */
	w->now.mono_ns += 600 * NSEC_PER_SEC;
	see(w, other, true);
	nothing_told(w);
	w->now.mono_ns += 60 * NSEC_PER_SEC;
	see(w, other, true);
	assert_string_equal(told(w, INCIDENT_CLOSED)->id, "loop1");
	/* One of this run is closed with another word. */
	see(w, none, true);
	see(w, none, true);
	incident = told(w, INCIDENT_CLOSED);
	assert_non_null(strstr(incident->document, "\"closedBecause\":\"not seen any more\"}"));
	other = findings_free(other);
	none = findings_free(none);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(opened_proven_closed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(past_one_goes_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(past_one_is_closed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_sample_cut_short_closes_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(explained_by_a_deeper_cause, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			another_process_is_another_incident, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
