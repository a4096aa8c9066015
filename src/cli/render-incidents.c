/* An incident of the journal: a line, or with all that it was told with. */
#include "cli/render.h"

#include <errno.h>
#include <time.h>

#include "base/mem.h"
#include "base/time.h"

#define CAUSE_WIDTH 30

/* YYYY-MM-DD HH:MM:SS in the local zone; "?" for what is no time. */
static const char *when_text(char out[32], int64_t when_ns)
{
	time_t t = (time_t)(when_ns / (int64_t)NSEC_PER_SEC);
	struct tm tm;

	if (!localtime_r(&t, &tm)) /* allowed: people read local time */
		return "?";
	return str_format(out, 32, "%04d-%02d-%02d %02d:%02d:%02d", tm.tm_year + 1900,
		tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static const char *state_color(const char *state)
{
	if (str_eq(state, "proven"))
		return SGR_ALARM;
	return str_eq(state, "suspected") ? SGR_WARN : SGR_DIM;
}

static void put_line(struct page *p, const json_t *incident)
{
	int64_t opened_ns = 0, closed_ns = 0, until_ns = p->looks->now_ns;
	char when[32], lasted[TIME_TEXT_MAX], state[PAGE_TEXT_MAX];
	bool is_open;

	(void)doc_time(incident, "openedAt", &opened_ns);
	is_open = !doc_time(incident, "closedAt", &closed_ns);
	if (!is_open)
		until_ns = closed_ns;
	(void)doc_text(state, incident, "state");
	page_printf(p, "%s  %-7s", when_text(when, opened_ns),
		time_format_short(
			lasted, until_ns > opened_ns ? (uint64_t)(until_ns - opened_ns) : 0));
	page_put(p, " ");
	page_put(p, DOC_TEXT(incident, "id"));
	page_put(p, "  ");
	page_colored(p, state_color(state), state);
	page_printf(p, "%*s", str_eq(state, "suspected") ? 1 : 4, "");
	page_printf(p, "%-*s %s\n", CAUSE_WIDTH, DOC_TEXT(incident, "cause"),
		DOC_TEXT(incident, "subject"));
}

static void put_changes(struct page *p, const json_t *document)
{
	const json_t *change;
	size_t i;

	json_array_foreach (json_object_get(document, "changes"), i, change) {
		int64_t at_ns = 0;
		char when[32];

		(void)doc_time(change, "at", &at_ns);
		page_printf(p, "  %s  %s\n", when_text(when, at_ns), DOC_TEXT(change, "state"));
	}
	if (json_is_string(json_object_get(document, "closedBecause")))
		page_printf(p, "  closed: %s\n", DOC_TEXT(document, "closedBecause"));
	if (json_is_string(json_object_get(document, "explainedBy")))
		page_printf(p, "  explained by %s since\n", DOC_TEXT(document, "explainedBy"));
}

int render_incident(const json_t *incident, const struct looks *looks, bool whole, struct buf *out)
{
	struct page page = { .out = out, .looks = looks };
	const json_t *document = json_object_get(incident, "document");
	const json_t *finding = json_object_get(document, "finding");
	struct looks then = *looks;
	json_t *findings;

	put_line(&page, incident);
	if (!whole || !document)
		return page.r;
	put_changes(&page, document);
	page_put(&page, "\n");
	if (doc_time(incident, "closedAt", &then.now_ns))
		page_put(&page,
			"It is over. Commands were for then; a pid may be somebody else's now:\n");
	findings = json_pack("[O]", finding);
	if (page.r >= 0)
		page.r = findings ? render_findings(findings, &then, out) : -ENOMEM;
	json_decref(findings);
	page_put(&page, "\n");
	return page.r;
}
