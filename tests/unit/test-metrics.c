/* The exposition format, checked by a small parser of its rules, and the values in it. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "agent/metrics.h"
#include "base/mem.h"
#include "base/str.h"
#include "kube/reporter.h"

#define SERIES_MAX 1024

/* ---- the parser ----------------------------------------------------------------------------- */

struct family {
	char name[96], type[16];
	bool has_samples, is_over; /* all samples of a family stand together */
};

struct sample {
	char name[96], labels[160];
	double value;
};

struct page {
	struct family families[128];
	size_t family_count;
	struct sample samples[SERIES_MAX];
	size_t sample_count;
};

static bool is_name(const char *s, size_t len)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:";

	return len > 0 && (s[0] < '0' || s[0] > '9') && strspn(s, allowed) >= len;
}

static struct family *family_of(struct page *page, const char *name, size_t len)
{
	for (size_t i = 0; i < page->family_count; i++)
		if (strlen(page->families[i].name) == len &&
			memcmp(page->families[i].name, name, len) == 0)
			return &page->families[i];
	return NULL;
}

/* The family of a sample: its name, or for a histogram its name without the suffix. */
static struct family *family_of_sample(struct page *page, const char *name, size_t len)
{
	static const char *const suffixes[] = { "_bucket", "_sum", "_count" };
	struct family *family = family_of(page, name, len);

	for (size_t i = 0; !family && i < ELEMENTS(suffixes); i++) {
		size_t cut = strlen(suffixes[i]);

		if (len <= cut || memcmp(name + len - cut, suffixes[i], cut) != 0)
			continue;
		family = family_of(page, name, len - cut);
		if (family && !str_eq(family->type, "histogram"))
			family = NULL;
	}
	return family;
}

/* Returns what is behind the closing brace; a value escapes only \\, \" and \n. */
static const char *parse_labels(const char *s)
{
	for (s++;; s++) {
		size_t len = strcspn(s, "=");

		assert_true(is_name(s, len));
		s += len;
		assert_true(s[0] == '=' && s[1] == '"');
		for (s += 2; *s != '"'; s++) {
			assert_true(*s != '\0');
			if (*s == '\\') {
				s++;
				assert_true(*s == '\\' || *s == '"' || *s == 'n');
			}
		}
		s++;
		if (*s == '}')
			return s + 1;
		assert_true(*s == ',');
	}
}

/* HELP, then TYPE, once each, before the samples. */
static void parse_comment(struct page *page, const char *line)
{
	const char *name = line + strlen("# HELP ");
	size_t len = strcspn(name, " ");
	struct family *family = family_of(page, name, len);

	assert_true(is_name(name, len) && len < sizeof(family->name));
	assert_true(strlen(name + len) > 2);
	if (str_after(line, "# HELP ")) {
		assert_null(family);
		for (size_t i = 0; i < page->family_count; i++) {
			page->families[i].is_over = true;
			assert_true(page->families[i].type[0] != '\0');
		}
		assert_true(page->family_count < ELEMENTS(page->families));
		memcpy(page->families[page->family_count++].name, name, len);
		return;
	}
	assert_non_null(str_after(line, "# TYPE "));
	assert_non_null(family);
	assert_true(family->type[0] == '\0' && !family->has_samples);
	(void)snprintf(family->type, sizeof(family->type), "%s", name + len + 1);
	assert_true(str_eq(family->type, "counter") || str_eq(family->type, "gauge") ||
		str_eq(family->type, "histogram"));
}

static void parse_sample(struct page *page, const char *line)
{
	size_t len = strcspn(line, "{ ");
	struct family *family = family_of_sample(page, line, len);
	struct sample *sample = &page->samples[page->sample_count++];
	const char *value = line + len;
	char *end;

	assert_true(page->sample_count < SERIES_MAX);
	assert_true(is_name(line, len) && len < sizeof(sample->name));
	if (!family)
		fail_msg("no family for %s", line);
	assert_false(family->is_over);
	family->has_samples = true;
	memcpy(sample->name, line, len);
	if (*value == '{') {
		value = parse_labels(value);
		assert_true((size_t)(value - line) - len < sizeof(sample->labels));
		memcpy(sample->labels, line + len, (size_t)(value - line) - len);
	}
	assert_true(*value == ' ');
	sample->value = strtod(value + 1, &end);
	assert_true(end > value + 1 && *end == '\0');
	for (size_t i = 0; i + 1 < page->sample_count; i++)
		assert_false(str_eq(page->samples[i].name, sample->name) &&
			str_eq(page->samples[i].labels, sample->labels));
}

static void parse(struct page *page, struct buf *text)
{
	char *line, *rest = NULL;

	*page = (struct page){ 0 };
	assert_true(text->len > 0 && text->data[text->len - 1] == '\n');
	assert_non_null(buf_string(text));
	for (line = strtok_r((char *)text->data, "\n", &rest); line;
		line = strtok_r(NULL, "\n", &rest)) {
		if (*line == '#')
			parse_comment(page, line);
		else
			parse_sample(page, line);
	}
}

static double value_of(const struct page *page, const char *name, const char *labels)
{
	for (size_t i = 0; i < page->sample_count; i++)
		if (str_eq(page->samples[i].name, name) && str_eq(page->samples[i].labels, labels))
			return page->samples[i].value;
	fail_msg("no sample %s%s", name, labels);
	return 0;
}

/* Buckets ascend, are cumulative, end with +Inf, and that is the count. Returns the last one. */
static const struct sample *check_histogram(const struct page *page, const struct sample *s)
{
	char name[128], labels[160];
	double last = -1, last_bound = -1;
	const struct sample *at = s;
	const char *le;

	for (;; at++) {
		double bound;

		assert_string_equal(at->name, s->name);
		le = strstr(at->labels, "le=\"");
		assert_non_null(le);
		bound = strtod(le + 4, NULL);
		assert_true(bound > last_bound);
		assert_true(at->value >= last);
		last_bound = bound;
		last = at->value;
		if (strstr(at->labels, "le=\"+Inf\""))
			break;
	}
	/* The same labels without `le`, in _count. */
	(void)snprintf(name, sizeof(name), "%.*s_count", (int)(strlen(s->name) - strlen("_bucket")),
		s->name);
	(void)snprintf(labels, sizeof(labels), "%.*s", (int)(le - at->labels), at->labels);
	if (labels[strlen(labels) - 1] == ',')
		labels[strlen(labels) - 1] = '}';
	else
		labels[0] = '\0';
	assert_true(value_of(page, name, labels) == last);
	return at;
}

static void check_histograms(const struct page *page, size_t count)
{
	const struct sample *end = page->samples + page->sample_count;
	size_t checked = 0;

	for (const struct sample *s = page->samples; s < end; s++)
		if (strstr(s->name, "_bucket")) {
			s = check_histogram(page, s);
			checked++;
		}
	assert_int_equal(checked, count);
}

/* ---- what it is fed with --------------------------------------------------------------------- */

struct world {
	struct reporter_status cluster;
	struct metrics_view v;
	struct pleg_health health;
	struct pleg_prediction prediction;
	struct pleg_stats stats;
	struct node_status node;
	struct histogram lag;
	struct hints_state hints;
};

static void fill(struct world *w)
{
	w->health = (struct pleg_health){
		.has_listed = true,
		.last_relist_age_ns = 500 * NSEC_PER_MSEC,
		.running = 6,
		.exited = 2,
		.quarantined = 1,
	};
	w->prediction = (struct pleg_prediction){
		.relist_ns = 2500 * NSEC_PER_MSEC,
		.serial_ns = 40 * NSEC_PER_SEC,
	};
	w->stats = (struct pleg_stats){
		.relist_duration = HISTOGRAM_INIT(histogram_def_buckets),
		.relist_interval = HISTOGRAM_INIT(histogram_def_buckets),
		.pod_relist_duration = HISTOGRAM_INIT(histogram_def_buckets),
	};
	histogram_observe(&w->stats.relist_duration, 4 * NSEC_PER_MSEC);
	histogram_observe(&w->stats.relist_duration, 30 * NSEC_PER_MSEC);
	histogram_observe(&w->stats.relist_duration, 60 * NSEC_PER_SEC);
	w->node = (struct node_status){
		.ready = true,
		.degraded = true,
		.stall_total_ns = 1500 * NSEC_PER_MSEC,
	};
	w->lag = HISTOGRAM_INIT(histogram_def_buckets);
	w->hints = (struct hints_state){
		.stream = HINTS_STREAM_UP,
		.hints.told = 12,
		.pidfds = { .watches = 8, .zombie_threads = 1, .refused = 2 },
		.differences = 3,
		.connector = { .state = CONNECTOR_FLOODED, .hints = 21, .floods = 2 },
	};
	w->v = (struct metrics_view){
		.now = { .mono_ns = 9 * NSEC_PER_SEC, .real_ns = INT64_C(1795448036600000000) },
		.health = &w->health,
		.prediction = &w->prediction,
		.stats = &w->stats,
		.node = &w->node,
		.running_pods = 5,
		.loop_lag = &w->lag,
		.hints = &w->hints,
		.control_clients = 3,
		.control_streams = 1,
		.control_refused = 5,
		.probes_stuck = 2,
		.probes_answered = 9,
		.probes_late = 4,
		.journal_state = "stuck",
		.journal_waiting = 7,
		.journal_written = 5,
		.journal_dropped = 3,
	};
	w->cluster = (struct reporter_status){
		.conditions = { [CONDITION_PLEG] = { .status = CONDITION_FALSE },
			[CONDITION_CONTAINERS] = { .status = CONDITION_TRUE } },
		.events = { .waiting = 13, .lost = 14 },
		.is_away = true,
		.writes = 15,
		.failures = 16,
	};
	w->v.cluster = &w->cluster;
}

static void with_everything(void **state)
{
	static const struct {
		const char *name, *labels;
		double value;
	} rows[] = {
		{ "kubelet_pleg_relist_duration_seconds_bucket", "{le=\"0.005\"}", 1 },
		{ "kubelet_pleg_relist_duration_seconds_bucket", "{le=\"0.05\"}", 2 },
		{ "kubelet_pleg_relist_duration_seconds_bucket", "{le=\"10\"}", 2 },
		{ "kubelet_pleg_relist_duration_seconds_count", "", 3 },
		{ "kubelet_pleg_last_seen_seconds", "", 1795448036.1 },
		{ "kubelet_running_pods", "", 5 },
		{ "kubelet_running_containers", "{container_state=\"running\"}", 6 },
		{ "kubelet_running_containers", "{container_state=\"exited\"}", 2 },
		{ "kubelet_runtime_operations_total", "{operation_type=\"list_podsandbox\"}", 7 },
		{ "kubelet_runtime_operations_errors_total", "{operation_type=\"list_podsandbox\"}",
			1 },
		{ "kubelet_runtime_operations_total", "{operation_type=\"odd\\\"\\\\\\nname\"}",
			0 },
		{ "kubelet_runtime_operations_duration_seconds_bucket",
			"{operation_type=\"list_podsandbox\",le=\"0.0125\"}", 0 },
		{ "pleg_call_in_flight_seconds", "{method=\"ContainerStatus\"}", 4.1 },
		{ "pleg_call_in_flight_seconds", "{method=\"RunPodSandbox\"}", 1 },
		{ "pleg_call_in_flight_seconds", "{method=\"ListContainers\"}", 0 },
		{ "pleg_calls_in_flight", "", 2 },
		{ "pleg_stall_seconds_total", "", 1.5 },
		{ "pleg_node_ready", "", 1 },
		{ "pleg_node_degraded", "", 1 },
		{ "pleg_predicted_relist_seconds", "", 2.5 },
		{ "pleg_predicted_relist_serial_seconds", "", 40 },
		{ "pleg_quarantined_pods", "", 1 },
		{ "pleg_events_total", "{type=\"ContainerDied\",confirmed=\"true\"}", 9 },
		{ "pleg_events_total", "{type=\"PodSync\",confirmed=\"false\"}", 0 },
		{ "pleg_stream_up", "", 1 },
		{ "pleg_journal_state", "{state=\"ok\"}", 0 },
		{ "pleg_journal_state", "{state=\"stuck\"}", 1 },
		{ "pleg_journal_waiting", "", 7 },
		{ "pleg_journal_written_total", "", 5 },
		{ "pleg_journal_dropped_total", "", 3 },
		{ "pleg_node_condition", "{type=\"pleg.dev/PLEGUnhealthy\"}", 0 },
		{ "pleg_node_condition", "{type=\"pleg.dev/ContainersStuck\"}", 1 },
		{ "pleg_api_away", "", 1 },
		{ "pleg_api_overwritten", "", 0 },
		{ "pleg_api_writes_total", "", 15 },
		{ "pleg_api_failures_total", "", 16 },
		{ "pleg_api_events_waiting", "", 13 },
		{ "pleg_api_events_lost_total", "", 14 },
		{ "pleg_api_pods_current", "", 1 },
		{ "pleg_api_pods", "", 1 },
		{ "pleg_api_pods_age_seconds", "", 7 },
		{ "pleg_api_differences", "", 0 },
		{ "pleg_stream_hints_total", "", 12 },
		{ "pleg_connector_up", "", 0 },
		{ "pleg_connector_hints_total", "", 21 },
		{ "pleg_connector_floods_total", "", 2 },
		{ "pleg_inits_watched", "", 8 },
		{ "pleg_inits_zombie_with_threads", "", 1 },
		{ "pleg_inits_refused_total", "", 2 },
		{ "pleg_ledger_differences", "", 3 },
		{ "pleg_role_up", "{role=\"web\"}", 1 },
		{ "pleg_role_restarts_total", "{role=\"web\"}", 3 },
		{ "pleg_role_memory_bytes", "{role=\"web\"}", 2097152 },
		{ "pleg_control_clients", "", 3 },
		{ "pleg_control_streams", "", 1 },
		{ "pleg_control_refused_total", "", 5 },
		{ "pleg_probes_stuck", "", 2 },
		{ "pleg_probe_reads_total", "", 9 },
		{ "pleg_probe_late_total", "", 4 },
		{ "pleg_probe_refused_total", "", 0 },
		{ "pleg_build_info", "{version=\"" PLEG_VERSION "\"}", 1 },
	};
	CLEAN(buf_done) struct buf out = BUF_INIT(1u << 20);
	struct runtime_operation operations[2] = {
		{ .type = "list_podsandbox",
			.started = 7,
			.errors = 1,
			.duration = HISTOGRAM_INIT(histogram_operation_buckets) },
		{ .type = "odd\"\\\nname",
			.duration = HISTOGRAM_INIT(histogram_operation_buckets) },
	};
	struct metrics_call calls[] = {
		{ "ContainerStatus", 4100 * NSEC_PER_MSEC },
		{ "RunPodSandbox", NSEC_PER_SEC },
	};
	struct metrics_role role = { "web", true, 3, 2097152 };
	static const struct kube_pod pod = { "ns", "a", "u", "u", "", KUBE_PHASE_RUNNING, false, 0,
		30, 0, NULL };
	CLEAN(kube_pods_freep) struct kube_pods *pods = kube_pods_new();
	CLEAN(pods_judge_freep) struct pods_judge *api = pods_judge_new(pods);
	static struct page page;
	struct world w;

	(void)state;
	fill(&w);
	kube_pods_begin(pods, w.v.now);
	ASSERT_OK(kube_pods_put(pods, &pod, w.v.now));
	kube_pods_end(pods, w.v.now);
	w.v.now.mono_ns += 7 * NSEC_PER_SEC;
	w.v.api = api;
	histogram_observe(&operations[0].duration, NSEC_PER_SEC);
	w.v.operations = operations;
	w.v.operation_count = 2;
	w.v.calls = calls;
	w.v.call_count = 2;
	w.v.calls_open = 2;
	w.v.roles = &role;
	w.v.role_count = 1;
	w.v.events[EVENT_CONTAINER_DIED][true] = 9;
	ASSERT_OK(metrics_write(&w.v, &out));
	parse(&page, &out);
	check_histograms(&page, 7);
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		double value = value_of(&page, rows[i].name, rows[i].labels);

		if (value != rows[i].value)
			fail_msg("%s%s is %f", rows[i].name, rows[i].labels, value);
	}
}

/* The names and types that dashboards and alerts of a kubelet look for. */
static void the_kubelets_names(void **state)
{
	static const struct {
		const char *name, *type;
	} rows[] = {
		{ "kubelet_pleg_relist_duration_seconds", "histogram" },
		{ "kubelet_pleg_relist_interval_seconds", "histogram" },
		{ "kubelet_pleg_pod_relist_duration_seconds", "histogram" },
		{ "kubelet_pleg_discard_events", "counter" },
		{ "kubelet_pleg_last_seen_seconds", "gauge" },
		{ "kubelet_evented_pleg_connection_error_count", "counter" },
		{ "kubelet_evented_pleg_connection_success_count", "counter" },
		{ "kubelet_evented_pleg_connection_latency_seconds", "histogram" },
		{ "kubelet_running_pods", "gauge" },
		{ "kubelet_running_containers", "gauge" },
		{ "kubelet_runtime_operations_total", "counter" },
		{ "kubelet_runtime_operations_errors_total", "counter" },
		{ "kubelet_runtime_operations_duration_seconds", "histogram" },
	};
	CLEAN(buf_done) struct buf out = BUF_INIT(1u << 20);
	static struct page page;
	struct world w;

	(void)state;
	fill(&w);
	w.health.has_listed = false;
	ASSERT_OK(metrics_write(&w.v, &out));
	parse(&page, &out);
	assert_true(value_of(&page, "kubelet_pleg_last_seen_seconds", "") == 0);
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		const struct family *family = family_of(&page, rows[i].name, strlen(rows[i].name));

		if (!family)
			fail_msg("no family %s", rows[i].name);
		assert_string_equal(family->type, rows[i].type);
	}
}

static void a_full_buffer_is_an_error(void **state)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(2000);
	struct world w;

	(void)state;
	fill(&w);
	ASSERT_ERR(metrics_write(&w.v, &out), EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(with_everything),
		cmocka_unit_test(the_kubelets_names),
		cmocka_unit_test(a_full_buffer_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
