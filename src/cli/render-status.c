/*
 * The status screen. Read at night by someone in a hurry: the verdict and its reason come first,
 * what is all right takes one line, and no list is longer than a screen bears.
 */
#include "cli/render.h"

#include "base/mem.h"
#include "base/time.h"

#define SCREEN_WIDTH     80
#define SCREEN_MIN       40
#define LABEL_WIDTH      13
#define CALLS_MAX        6
#define NAMES_MAX        8
#define WARNINGS_MAX     5
#define HOPS_MAX         5
#define PREDICTION_SHARE 4   /* of the threshold */
#define HANGING_FROM     1.0 /* seconds; younger calls are everyday */
#define READY_MESSAGE    "kubelet is posting ready status"

static unsigned screen_width(const struct page *p)
{
	unsigned width = p->looks->width;

	if (width == 0 || width > SCREEN_WIDTH)
		return SCREEN_WIDTH;
	return width < SCREEN_MIN ? SCREEN_MIN : width;
}

static void sentence(struct page *p, const char *text)
{
	if (*text)
		page_wrap(p, 0, 0, screen_width(p), text);
}

/* "Label        text ...", the label only in the first line of several. */
static void field(struct page *p, const char *label, const char *sgr, const char *text)
{
	char padded[LABEL_WIDTH + 1];

	(void)str_format(padded, sizeof(padded), "%-*s", LABEL_WIDTH, label);
	page_colored(p, sgr ? sgr : SGR_DIM, padded);
	page_wrap(p, LABEL_WIDTH, LABEL_WIDTH, screen_width(p), *text ? text : "-");
}

static const char *age_text(char out[SECONDS_TEXT_MAX], const json_t *object, const char *key)
{
	double seconds;

	return seconds_text(out, doc_number(object, key, &seconds) ? seconds : -1);
}
#define AGE_TEXT(object, key) age_text((char[SECONDS_TEXT_MAX]){ 0 }, object, key)

/* "3m05s" since a time of the wall clock, or "". */
static const char *since_text(
	char out[SECONDS_TEXT_MAX], const struct page *p, const json_t *object, const char *key)
{
	int64_t since_ns;

	if (!doc_time(object, key, &since_ns))
		return "";
	return seconds_text(
		out, since_ns < p->looks->now_ns ? (double)(p->looks->now_ns - since_ns) / 1e9 : 0);
}
#define SINCE_TEXT(p, object, key) since_text((char[SECONDS_TEXT_MAX]){ 0 }, p, object, key)

/* ---- the verdict ------------------------------------------------------------------------- */

static void put_verdict(struct page *p, const json_t *node, bool has_agent)
{
	const char *message = DOC_TEXT(node, "message");
	const char *name = DOC_TEXT(node, "name");
	/* One look without an agent knows of no time before it. */
	const char *since = has_agent ? SINCE_TEXT(p, node, "since") : "";
	bool ready = doc_is_true(node, "ready");
	double wanted, calm;

	if (!ready)
		page_colored(p, SGR_ALARM, "NOT READY");
	else if (doc_is_true(node, "degraded"))
		page_colored(p, SGR_WARN, "Ready, degraded");
	else
		page_colored(p, SGR_CALM, "Ready");
	page_printf(p, "%s%s%s%s\n", *name ? "  node " : "", name, *since ? ", for " : "", since);
	if (!ready || !str_eq(message, READY_MESSAGE))
		sentence(p, message);
	sentence(p, DOC_TEXT(node, "detail"));
	if (!ready && doc_number(node, "calmWantedSeconds", &wanted) && wanted > 0) {
		(void)doc_number(node, "calmSeconds", &calm);
		sentence(p,
			FMT("Held back after %lld flaps: calm for %s of the %s asked for",
				doc_integer(node, "flaps"),
				seconds_text((char[SECONDS_TEXT_MAX]){ 0 }, calm),
				seconds_text((char[SECONDS_TEXT_MAX]){ 0 }, wanted)));
	}
	page_put(p, "\n");
}

/* ---- what hangs -------------------------------------------------------------------------- */

static void put_calls(struct page *p, const json_t *calls)
{
	size_t shown = 0, hanging = 0, i;
	json_t *call;

	json_array_foreach (calls, i, call) {
		const char *subject = DOC_TEXT(call, "subject");
		double seconds;

		if (!doc_number(call, "ageSeconds", &seconds) || seconds < HANGING_FROM)
			continue;
		if (++hanging > CALLS_MAX)
			continue;
		field(p, shown++ ? "" : "Hanging", SGR_ALARM,
			FMT("%.60s%s%.12s for %s", DOC_TEXT(call, "call"), *subject ? " of " : "",
				subject, AGE_TEXT(call, "ageSeconds")));
	}
	if (hanging > shown)
		field(p, "", NULL, FMT("and %zu more", hanging - shown));
	if (hanging == 0)
		field(p, "Hanging", NULL, "no call");
}

static void put_names(struct page *p, const char *label, const char *sgr, const json_t *names)
{
	CLEAN(buf_done) struct buf line = BUF_INIT(PAGE_TEXT_MAX * NAMES_MAX * 2);
	const char *text;
	json_t *name;
	size_t i;

	json_array_foreach (names, i, name) {
		char clean[PAGE_TEXT_MAX];

		if (i == NAMES_MAX) {
			(void)buf_printf(&line, " and %zu more", json_array_size(names) - i);
			break;
		}
		if (json_is_string(name))
			(void)buf_printf(&line, "%s%s", i ? ", " : "",
				str_clean(clean, sizeof(clean), json_string_value(name),
					json_string_length(name)));
	}
	text = buf_string(&line);
	if (text && *text)
		field(p, label, sgr, text);
}

/* ---- the parts --------------------------------------------------------------------------- */

static void put_kubelet(struct page *p, const json_t *node)
{
	const char *healthz = DOC_TEXT(node, "kubeletHealthz");
	const char *message = DOC_TEXT(node, "kubeletMessage");
	const char *posts = "";

	if (doc_is_true(node, "kubeletReady"))
		posts = "; it posts Ready";
	else if (doc_is_false(node, "kubeletReady"))
		posts = "; it posts NotReady";
	if (*healthz == '\0' || str_eq(healthz, "none")) {
		field(p, "Kubelet", NULL, FMT("none beside pleg%s", posts));
		return;
	}
	field(p, "Kubelet", str_eq(healthz, "ok") ? NULL : SGR_ALARM,
		str_format((char[PAGE_TEXT_MAX * 2]){ 0 }, PAGE_TEXT_MAX * 2, "healthz %s%s%s%s",
			healthz, *message ? ": " : "", message, posts));
}

static void put_runtime(struct page *p, const json_t *runtime)
{
	bool responsive = doc_is_true(runtime, "responsive");
	const char *name = DOC_TEXT(runtime, "name");
	const char *version = DOC_TEXT(runtime, "version");
	const char *endpoint = DOC_TEXT(runtime, "endpoint");
	const json_t *hops = json_object_get(runtime, "hops");
	json_t *hop;
	size_t i;

	field(p, "Runtime", responsive ? NULL : SGR_ALARM,
		str_format((char[PAGE_TEXT_MAX * 3]){ 0 }, PAGE_TEXT_MAX * 3, "%s%s%s %s%s%s",
			*name ? name : "(unknown)", *version ? " " : "", version,
			responsive ? "answers" : "DOES NOT ANSWER", *endpoint ? " on " : "",
			endpoint));
	json_array_foreach (hops, i, hop) {
		const char *message = DOC_TEXT(hop, "message");
		bool ok = doc_is_true(hop, "ok");
		bool timed = json_is_number(json_object_get(hop, "latencySeconds"));

		if (i == HOPS_MAX)
			break;
		field(p, "", NULL,
			str_format((char[PAGE_TEXT_MAX * 2]){ 0 }, PAGE_TEXT_MAX * 2,
				"%.40s %s%s%s%s%s", DOC_TEXT(hop, "hop"), ok ? "ok" : "FAILS",
				timed ? ", " : "", timed ? AGE_TEXT(hop, "latencySeconds") : "",
				*message ? ": " : "", message));
	}
}

/* Only where it is worth a line: over a quarter of the threshold, by whoever relists here. */
static void put_prediction(struct page *p, const json_t *pleg, bool has_kubelet)
{
	const json_t *all = json_object_get(pleg, "prediction");
	const char *key = has_kubelet ? "serialSeconds" : "relistSeconds";
	double seconds, threshold;

	if (!doc_number(all, key, &seconds) ||
		!doc_number(pleg, "relistThresholdSeconds", &threshold) ||
		seconds <= threshold / PREDICTION_SHARE)
		return;
	field(p, "Prediction", SGR_WARN,
		str_format((char[PAGE_TEXT_MAX * 2]){ 0 }, PAGE_TEXT_MAX * 2,
			"a relist in which every pod has changed would take %s%s: %lld inspections "
			"of %s",
			AGE_TEXT(all, key), has_kubelet ? " in the kubelet" : "",
			doc_integer(all, "inspections"), AGE_TEXT(all, "inspectSeconds")));
}

static bool has_kubelet(const json_t *node)
{
	const char *healthz = DOC_TEXT(node, "kubeletHealthz");

	return *healthz && !str_eq(healthz, "none");
}

static void put_pleg(struct page *p, const json_t *pleg)
{
	bool healthy = doc_is_true(pleg, "healthy");
	const char *message = DOC_TEXT(pleg, "message");
	char relist[256];
	double seconds;

	if (doc_number(pleg, "lastRelistAgeSeconds", &seconds))
		(void)str_format(relist, sizeof(relist), "last relist %s ago, took %s",
			AGE_TEXT(pleg, "lastRelistAgeSeconds"),
			AGE_TEXT(pleg, "lastRelistSeconds"));
	else
		(void)str_format(relist, sizeof(relist), "no relist has succeeded yet");
	field(p, "PLEG", healthy ? NULL : SGR_ALARM,
		str_format((char[PAGE_TEXT_MAX * 2]){ 0 }, PAGE_TEXT_MAX * 2,
			"%s%s%s; %s (every %s, threshold %s)", healthy ? "healthy" : "UNHEALTHY",
			*message ? ": " : "", message, relist,
			AGE_TEXT(pleg, "relistPeriodSeconds"),
			AGE_TEXT(pleg, "relistThresholdSeconds")));
	put_names(p, "Quarantined", SGR_WARN, json_object_get(pleg, "quarantined"));
}

static void put_api_server(struct page *p, const json_t *api)
{
	const char *message = DOC_TEXT(api, "message");
	bool ok = doc_is_true(api, "ok");

	if (!json_is_object(api))
		return;
	field(p, "API server", ok ? NULL : SGR_WARN,
		str_format((char[PAGE_TEXT_MAX * 3]){ 0 }, PAGE_TEXT_MAX * 3,
			"%s on %s, %s%s%s%s%s", ok ? "answers" : "DOES NOT ANSWER",
			DOC_TEXT(api, "server"), AGE_TEXT(api, "latencySeconds"),
			ok ? "" : "; for ", ok ? "" : AGE_TEXT(api, "awaySeconds"),
			*message && !ok ? ": " : "", ok ? "" : message));
}

/* Nothing where the API server is not asked, or agrees. */
static void put_api_pods(struct page *p, const json_t *api)
{
	const char *state = DOC_TEXT(api, "state"), *message = DOC_TEXT(api, "message");
	long long differences = doc_integer(api, "differences");
	long long left_out = doc_integer(api, "leftOut");
	char text[PAGE_TEXT_MAX * 2];

	if (*state && !str_eq(state, "current")) {
		(void)str_format(text, sizeof(text), "its list of the pods here %s%s%s%s",
			str_eq(state, "old") ? "is old, as of " : "has not come yet",
			str_eq(state, "old") ? AGE_TEXT(api, "ageSeconds") : "",
			str_eq(state, "old") ? " ago" : "", *message ? ": " : "");
		(void)str_format(text + strlen(text), sizeof(text) - strlen(text), "%s", message);
		field(p, "API server", SGR_WARN, text);
	}
	if (differences > 0)
		field(p, "Differences", SGR_WARN,
			FMT("%lld between the API server's word and what runs here", differences));
	if (left_out > 0)
		field(p, "API server", SGR_WARN,
			FMT("%lld of its pods here are not looked at: there are too many",
				left_out));
}

static void put_counts(struct page *p, const json_t *document)
{
	const json_t *containers = json_object_get(document, "containers");
	long long differences = doc_integer(document, "differences");

	field(p, "Pods", NULL,
		FMT("%lld; containers: %lld running, %lld exited, %lld created, %lld unknown",
			doc_integer(document, "pods"), doc_integer(containers, "running"),
			doc_integer(containers, "exited"), doc_integer(containers, "created"),
			doc_integer(containers, "unknown")));
	if (differences > 0)
		field(p, "Differences", SGR_WARN,
			FMT("%lld between the runtime's word and the kernel's", differences));
	put_api_server(p, json_object_get(document, "apiServer"));
	put_api_pods(p, json_object_get(document, "apiPods"));
}

/* As pleg doctor shows them, shortened. */
static void put_findings(struct page *p, const json_t *findings)
{
	const struct looks narrow = {
		.width = screen_width(p), .color = p->looks->color, .now_ns = p->looks->now_ns
	};

	if (json_array_size(findings) == 0)
		return;
	if (p->r >= 0)
		p->r = render_findings_short(findings, &narrow, p->out);
	page_put(p, "\n");
}

static void put_role(struct buf *line, const json_t *role)
{
	long long restarts = doc_integer(role, "restarts");
	long long pid = doc_integer(role, "pid");
	double bytes;

	(void)buf_printf(line, "%s%.20s %.20s", line->len ? "; " : "", DOC_TEXT(role, "role"),
		DOC_TEXT(role, "state"));
	if (pid > 0)
		(void)buf_printf(line, " (pid %lld", pid);
	if (pid > 0 && doc_number(role, "memoryBytes", &bytes) && bytes > 0)
		(void)buf_printf(line, ", %.1f MB", bytes / 1e6);
	if (pid > 0)
		(void)buf_append_string(line, ")");
	if (restarts > 0)
		(void)buf_printf(line, ", %lld restart%s", restarts, restarts == 1 ? "" : "s");
}

/* Nothing while it is on, as it is nearly everywhere. */
static const char *connector_text(char out[PAGE_TEXT_MAX], const json_t *hints)
{
	const char *state = DOC_TEXT(hints, "connector"),
		   *why = DOC_TEXT(hints, "connectorMessage");

	if (*state == '\0' || str_eq(state, "on"))
		return "";
	return str_format(out, PAGE_TEXT_MAX, "; process connector %.20s%s%.100s", state,
		*why ? ": " : "", why);
}

/* How deaths reach pleg before the next list. */
static void put_hints(struct page *p, const json_t *hints)
{
	const char *stream = DOC_TEXT(hints, "stream"), *why = DOC_TEXT(hints, "streamMessage");
	const char *refused = DOC_TEXT(hints, "watchMessage");
	long long failures = doc_integer(hints, "watchFailures");
	long long open = doc_integer(hints, "provisionalOpen");
	const char *cgroups = DOC_TEXT(hints, "cgroupMessage");

	if (*stream == '\0')
		return;
	field(p, "Hints", str_eq(stream, "up") && *refused == '\0' ? NULL : SGR_WARN,
		str_format((char[PAGE_TEXT_MAX * 4]){ 0 }, PAGE_TEXT_MAX * 4,
			"event stream %.20s%s%.100s; %lld init%s watched by pidfd%s%s%s%s", stream,
			*why ? ": " : "", why, doc_integer(hints, "watched"),
			doc_integer(hints, "watched") == 1 ? "" : "s",
			failures ? FMT(", %lld refused%s%.120s", failures, *refused ? ": " : "",
					   refused)
				 : "",
			connector_text((char[PAGE_TEXT_MAX]){ 0 }, hints),
			*cgroups ? FMT("; %lld cgroups not watched: %.120s",
					   doc_integer(hints, "cgroupFailures"), cgroups)
				 : "",
			open ? FMT("; %lld death%s not confirmed", open, open == 1 ? "" : "s")
			     : ""));
}

/* Nothing while all is well: the probe stands among the roles. */
static void put_probes(struct page *p, const json_t *probes)
{
	long long stuck = doc_integer(probes, "stuck"), refused = doc_integer(probes, "refused");

	if (stuck > 0)
		field(p, "Probes", SGR_ALARM,
			FMT("%lld hang%s in the kernel and cannot be killed; %lld read%s given up, "
			    "%lld refused",
				stuck, stuck == 1 ? "s" : "", doc_integer(probes, "late"),
				doc_integer(probes, "late") == 1 ? "" : "s", refused));
}

/* Only where there is something to say. */
static void put_journal(struct page *p, const json_t *journal)
{
	const char *state = DOC_TEXT(journal, "state"), *reason = DOC_TEXT(journal, "reason");
	const char *note = DOC_TEXT(journal, "note"), *path = DOC_TEXT(journal, "path");
	long long waiting = doc_integer(journal, "waiting");
	long long dropped = doc_integer(journal, "dropped");
	bool is_well = *state == '\0' || str_eq(state, "ok") || str_eq(state, "starting");

	if (str_eq(state, "off")) /* A warning says so. */
		return;
	if (is_well && dropped == 0 && *note == '\0')
		return;
	field(p, "Journal", SGR_WARN,
		str_format((char[PAGE_TEXT_MAX * 3]){ 0 }, PAGE_TEXT_MAX * 3, "%.20s%s%s%s%s%s%s",
			state, *path ? " in " : "", path, *reason ? ": " : "", reason,
			waiting > 0 && !is_well
				? FMT("; %lld event%s wait%s", waiting, waiting == 1 ? "" : "s",
					  waiting == 1 ? "s" : "")
				: "",
			dropped > 0 ? FMT("; %lld dropped", dropped) : ""));
	if (*note)
		field(p, "", NULL, note);
}

static void put_agent(struct page *p, const json_t *agent)
{
	CLEAN(buf_done) struct buf line = BUF_INIT(PAGE_TEXT_MAX * 4);
	const char *up = SINCE_TEXT(p, agent, "startedAt");
	const json_t *warnings = json_object_get(agent, "warnings");
	json_t *item;
	size_t i;

	field(p, "Agent", NULL,
		FMT("pleg %.30s, pid %lld%s%s, %lld events, loop lag %s",
			DOC_TEXT(agent, "version"), doc_integer(agent, "pid"), *up ? ", up " : "",
			up, doc_integer(agent, "events"), AGE_TEXT(agent, "loopLagSeconds")));
	put_hints(p, json_object_get(agent, "hints"));
	json_array_foreach (json_object_get(agent, "roles"), i, item) {
		put_role(&line, item);
	}
	if (line.len > 0 && buf_string(&line))
		field(p, "Roles", NULL, buf_string(&line));
	put_probes(p, json_object_get(agent, "probes"));
	put_journal(p, json_object_get(agent, "journal"));
	json_array_foreach (warnings, i, item) {
		char clean[PAGE_TEXT_MAX];

		if (i == WARNINGS_MAX) {
			field(p, "", NULL, FMT("and %zu more", json_array_size(warnings) - i));
			break;
		}
		if (json_is_string(item))
			field(p, i ? "" : "Warnings", SGR_WARN,
				str_clean(clean, sizeof(clean), json_string_value(item),
					json_string_length(item)));
	}
}

int render_status(const json_t *document, const struct looks *looks, struct buf *out)
{
	struct page page = { .out = out, .looks = looks };
	const json_t *pleg = json_object_get(document, "pleg");
	const json_t *node = json_object_get(document, "node");

	put_verdict(&page, node, json_is_object(json_object_get(document, "agent")));
	put_findings(&page, json_object_get(document, "findings"));
	put_calls(&page, json_object_get(pleg, "inFlight"));
	put_kubelet(&page, node);
	put_runtime(&page, json_object_get(document, "runtime"));
	put_pleg(&page, pleg);
	put_prediction(&page, pleg, has_kubelet(json_object_get(document, "node")));
	put_counts(&page, document);
	if (json_is_object(json_object_get(document, "agent")))
		put_agent(&page, json_object_get(document, "agent"));
	return page.r;
}
