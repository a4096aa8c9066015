/*
 * Findings for people: what it is, in one sentence; whom it concerns; what proves it; what it explains;
 * what helps, mildest first; what not to do. Commands are never broken over lines: they are to be
 * pasted.
 */
#include "cli/render.h"

#include "base/mem.h"

#define WIDTH_PIPE       100
#define WIDTH_MIN        40
#define WIDTH_MAX        120
#define INDENT           4
#define DEPTH_MAX        6 /* what hangs deeper is counted */
#define SYMPTOM_EVIDENCE 3 /* lines; the whole is in the JSON */
#define COMMAND_MAX      8193

/* of a goroutine dump; the JSON has more */
#define GROUPS_SHOWN 5
#define GROUP_FRAMES 3

/* of the short form, so that status stays one screen */
#define SHORT_MAX          3
#define SHORT_SYMPTOMS_MAX 2

static unsigned width_of(const struct page *p)
{
	unsigned width = p->looks->width ? p->looks->width : WIDTH_PIPE;

	return width < WIDTH_MIN ? WIDTH_MIN : width > WIDTH_MAX ? WIDTH_MAX : width;
}

static void indent(struct page *p, unsigned columns)
{
	page_printf(p, "%*s", (int)columns, "");
}

static void paragraph(struct page *p, unsigned column, const char *text)
{
	if (*text == '\0')
		return;
	indent(p, column);
	page_wrap(p, column, column, width_of(p), text);
}

static void label(struct page *p, unsigned column, const char *text)
{
	indent(p, column);
	page_colored(p, SGR_DIM, text);
	page_put(p, "\n");
}

static const char *severity_sgr(const char *severity)
{
	if (str_eq(severity, "critical"))
		return SGR_ALARM;
	return str_eq(severity, "warning") ? SGR_WARN : SGR_BOLD;
}

static void put_title(struct page *p, unsigned column, const json_t *finding)
{
	char age[SECONDS_TEXT_MAX] = "";
	int64_t since_ns;

	indent(p, column);
	page_colored(p, severity_sgr(DOC_TEXT(finding, "severity")), DOC_TEXT(finding, "cause"));
	if (doc_time(finding, "since", &since_ns) && since_ns < p->looks->now_ns)
		(void)seconds_text(age, (double)(p->looks->now_ns - since_ns) / 1e9);
	page_printf(p, "  %.20s, %.20s%s%s\n", DOC_TEXT(finding, "severity"),
		DOC_TEXT(finding, "confidence"), *age ? ", for " : "", age);
}

static void add_part(struct buf *line, const char *before, const char *text)
{
	if (*text)
		(void)buf_printf(line, "%s%s%s", line->len ? ", " : "", before, text);
}

static void put_subject(struct page *p, unsigned column, const json_t *subject)
{
	CLEAN(buf_done) struct buf line = BUF_INIT((size_t)PAGE_TEXT_MAX * 8);
	const char *namespace = DOC_TEXT(subject, "namespace"), *pod = DOC_TEXT(subject, "pod");
	long long pid = doc_integer(subject, "pid"), tid = doc_integer(subject, "tid");

	if (*pod)
		(void)buf_printf(&line, "pod %s%s%s", namespace, *namespace ? "/" : "", pod);
	add_part(&line, "of ", DOC_TEXT(subject, "owner"));
	add_part(&line, "container ", DOC_TEXT(subject, "container"));
	add_part(&line, "id ", FMT("%.12s", DOC_TEXT(subject, "containerID")));
	add_part(&line, "pid ", pid > 0 ? FMT("%lld", pid) : "");
	add_part(&line, "thread ", tid > 0 && tid != pid ? FMT("%lld", tid) : "");
	add_part(&line, "", DOC_TEXT(subject, "mount"));
	add_part(&line, "device ", DOC_TEXT(subject, "device"));
	if (line.len > 0 && buf_string(&line))
		paragraph(p, column, buf_string(&line));
}

static void put_evidence(struct page *p, unsigned column, const json_t *evidence, size_t max)
{
	json_t *item;
	size_t i;

	if (json_array_size(evidence) == 0)
		return;
	label(p, column, "Evidence");
	json_array_foreach (evidence, i, item) {
		char line[PAGE_TEXT_MAX * 3 + 16];

		if (i == max) {
			label(p, column + INDENT,
				FMT("and %zu more", json_array_size(evidence) - i));
			break;
		}
		(void)str_format(line, sizeof(line), "%s: %s (%s)", DOC_TEXT(item, "what"),
			DOC_TEXT(item, "value"), DOC_TEXT(item, "where"));
		indent(p, column + 2);
		page_put(p, "- ");
		page_wrap(p, column + INDENT, column + INDENT, width_of(p), line);
	}
}

static void put_command(struct page *p, unsigned column, const json_t *advice)
{
	const json_t *command = json_object_get(advice, "command");
	char text[COMMAND_MAX];

	if (!json_is_string(command) || json_string_length(command) == 0)
		return;
	(void)str_clean(
		text, sizeof(text), json_string_value(command), json_string_length(command));
	indent(p, column);
	page_put(p, p->looks->color ? "\033[1m" : "");
	page_put(p, text);
	page_put(p, p->looks->color ? "\033[0m\n" : "\n");
}

/* What is at stake, in words. */
static const char *risk_words(const char *risk)
{
	static const struct {
		const char *risk, *words;
	} rows[] = {
		{ "object", "only what is broken" },
		{ "pod", "its container or pod" },
		{ "runtime", "a daemon is restarted" },
		{ "node", "the whole node" },
		{ "reboot", "a reboot" },
	};

	for (size_t i = 0; i < ELEMENTS(rows); i++)
		if (str_eq(rows[i].risk, risk))
			return rows[i].words;
	return risk;
}

static void put_advice(struct page *p, unsigned column, const json_t *advice)
{
	json_t *item;
	size_t i;

	if (json_array_size(advice) == 0)
		return;
	label(p, column, "What helps, mildest first (commands are for a root shell)");
	json_array_foreach (advice, i, item) {
		char line[PAGE_TEXT_MAX * 4];
		const char *loses = DOC_TEXT(item, "loses"), *risk = DOC_TEXT(item, "risk");

		(void)str_format(line, sizeof(line), "%s: %s. Risk: %s%s%s",
			DOC_TEXT(item, "action"), DOC_TEXT(item, "why"), risk_words(risk),
			*loses && !str_eq(loses, "nothing") ? "; loses " : "",
			str_eq(loses, "nothing") ? "" : loses);
		indent(p, column + 1);
		page_printf(p, "%zu. ", i + 1);
		page_wrap(p, column + INDENT, column + INDENT, width_of(p), line);
		put_command(p, column + 2 * INDENT, item);
	}
}

static void put_avoid(struct page *p, unsigned column, const json_t *avoid)
{
	json_t *item;
	size_t i;

	json_array_foreach (avoid, i, item) {
		char clean[PAGE_TEXT_MAX];

		if (!json_is_string(item))
			continue;
		if (i == 0)
			label(p, column, "What not to do");
		indent(p, column + 2);
		page_put(p, "- ");
		page_wrap(p, column + INDENT, column + INDENT, width_of(p),
			str_clean(clean, sizeof(clean), json_string_value(item),
				json_string_length(item)));
	}
}

static void put_finding(struct page *p, unsigned depth, const json_t *finding)
{
	const json_t *symptoms = json_object_get(finding, "symptoms");
	unsigned column = depth * INDENT;
	long long left_out = doc_integer(finding, "symptomsLeftOut");
	json_t *symptom;
	size_t i;

	put_title(p, column, finding);
	column += 2;
	paragraph(p, column, DOC_TEXT(finding, "summary"));
	put_subject(p, column, json_object_get(finding, "subject"));
	put_evidence(p, column, json_object_get(finding, "evidence"),
		depth ? SYMPTOM_EVIDENCE : SIZE_MAX);
	if (json_array_size(symptoms) > 0)
		label(p, column, "It explains");
	json_array_foreach (symptoms, i, symptom) {
		if (depth + 1 == DEPTH_MAX) {
			left_out += (long long)json_array_size(symptoms);
			break;
		}
		put_finding(p, depth + 1, symptom);
	}
	if (left_out > 0)
		label(p, column + 2, FMT("and %lld more", left_out));
	if (depth > 0)
		return; /* what helps against the cause helps against it */
	put_advice(p, column, json_object_get(finding, "advice"));
	put_avoid(p, column, json_object_get(finding, "avoid"));
}

int render_findings(const json_t *findings, const struct looks *looks, struct buf *out)
{
	struct page page = { .out = out, .looks = looks };
	json_t *finding;
	size_t i;

	json_array_foreach (findings, i, finding) {
		if (i > 0)
			page_put(&page, "\n");
		put_finding(&page, 0, finding);
	}
	return page.r;
}

/* ---- on a screen with other things ------------------------------------------------------------- */

static void put_first_advice(struct page *p, unsigned column, const json_t *finding)
{
	const json_t *advice = json_array_get(json_object_get(finding, "advice"), 0);

	if (!advice)
		return;
	indent(p, column);
	page_colored(p, SGR_DIM, "What helps: ");
	page_wrap(p, column + 12, column + INDENT, width_of(p), DOC_TEXT(advice, "action"));
	put_command(p, column + INDENT, advice);
}

static void put_short(struct page *p, unsigned depth, const json_t *finding)
{
	const json_t *symptoms = json_object_get(finding, "symptoms");
	size_t count = json_array_size(symptoms), i;
	unsigned column = depth * INDENT;
	json_t *symptom;

	put_title(p, column, finding);
	paragraph(p, column + 2, DOC_TEXT(finding, "summary"));
	if (depth > 0)
		return;
	put_subject(p, column + 2, json_object_get(finding, "subject"));
	json_array_foreach (symptoms, i, symptom) {
		if (i == SHORT_SYMPTOMS_MAX)
			break;
		put_short(p, depth + 1, symptom);
	}
	if (count > SHORT_SYMPTOMS_MAX)
		label(p, column + INDENT, FMT("and %zu more", count - SHORT_SYMPTOMS_MAX));
	put_first_advice(p, column + 2, finding);
}

int render_findings_short(const json_t *findings, const struct looks *looks, struct buf *out)
{
	struct page page = { .out = out, .looks = looks };
	size_t count = json_array_size(findings), i;
	json_t *finding;

	json_array_foreach (findings, i, finding) {
		if (i == SHORT_MAX)
			break;
		put_short(&page, 0, finding);
	}
	if (count > SHORT_MAX)
		label(&page, 0, FMT("and %zu more findings", count - SHORT_MAX));
	if (count > 0)
		label(&page, 0,
			"All of it, with the evidence: pleg status -o json; looked at anew: pleg "
			"doctor");
	return page.r;
}

/* ---- pleg doctor ------------------------------------------------------------------------------- */

static void put_gaps(struct page *p, const json_t *gaps)
{
	json_t *gap;
	size_t i;

	json_array_foreach (gaps, i, gap) {
		char line[PAGE_TEXT_MAX * 3 + 16];
		const char *cure = DOC_TEXT(gap, "cure");

		if (i == 0)
			page_colored(p, SGR_WARN, "Not looked at\n");
		(void)str_format(line, sizeof(line), "%s: %s%s%s", DOC_TEXT(gap, "what"),
			DOC_TEXT(gap, "why"), *cure ? "; this would help: " : "", cure);
		page_put(p, "  - ");
		page_wrap(p, INDENT, INDENT, width_of(p), line);
	}
}

/* Of each process what it waits for, in short; a finding has the rest as its evidence. */
static void put_group(struct page *p, const json_t *group)
{
	const json_t *frames = json_object_get(group, "frames");
	char line[PAGE_TEXT_MAX * GROUP_FRAMES + 64];
	long long minutes = doc_integer(group, "longestMinutes");
	json_t *frame;
	size_t i, at;

	(void)str_format(line, sizeof(line), "%lld in %s", doc_integer(group, "count"),
		DOC_TEXT(group, "reason"));
	if (minutes > 0)
		(void)str_format(line + strlen(line), sizeof(line) - strlen(line),
			" for up to %lld min", minutes);
	json_array_foreach (frames, i, frame) {
		char clean[PAGE_TEXT_MAX];

		if (i == GROUP_FRAMES || !json_is_string(frame))
			break;
		at = strlen(line);
		(void)str_format(line + at, sizeof(line) - at, "%s%s", i ? " < " : ": ",
			str_clean(clean, sizeof(clean), json_string_value(frame),
				json_string_length(frame)));
	}
	page_put(p, "    - ");
	page_wrap(p, INDENT + 2, INDENT + 2, width_of(p), line);
}

static void put_dump(struct page *p, const json_t *dump)
{
	char line[PAGE_TEXT_MAX * 3 + 128];
	json_t *group;
	size_t i;

	(void)str_format(line, sizeof(line), "%s (pid %lld): ", DOC_TEXT(dump, "process"),
		doc_integer(dump, "pid"));
	if (json_is_integer(json_object_get(dump, "total")))
		(void)str_format(line + strlen(line), sizeof(line) - strlen(line),
			"%lld goroutines, %lld of them wait for a lock (%s)",
			doc_integer(dump, "total"), doc_integer(dump, "onLock"),
			DOC_TEXT(dump, "source"));
	else
		(void)str_format(line + strlen(line), sizeof(line) - strlen(line), "%s",
			DOC_TEXT(dump, "message"));
	page_put(p, "  ");
	page_wrap(p, 2, INDENT, width_of(p), line);
	json_array_foreach (json_object_get(dump, "groups"), i, group) {
		if (i == GROUPS_SHOWN)
			break;
		put_group(p, group);
	}
}

static void put_dumps(struct page *p, const json_t *dumps)
{
	json_t *dump;
	size_t i;

	if (!json_is_array(dumps))
		return;
	page_put(p, "\n");
	page_colored(p, SGR_BOLD, "Goroutines\n");
	if (json_array_size(dumps) == 0)
		page_put(p, "  no containerd, dockerd or shim was found that could be asked\n");
	json_array_foreach (dumps, i, dump)
		put_dump(p, dump);
}

/* What belongs to no finding: how much there is, and whether the node is short of something. */
static void put_node(struct page *p, const json_t *node)
{
	const json_t *pressure = json_object_get(node, "pressure");
	long long hung = doc_integer(node, "hungTasks");

	if (!json_is_object(node))
		return;
	page_wrap(p, 0, INDENT, width_of(p),
		FMT("The node: %lld containers run, %lld are dead%s%s",
			doc_integer(node, "containersLive"), doc_integer(node, "containersDead"),
			json_is_object(pressure)
				? FMT("; in the last 10 s short of cpu for %lld %%, of memory for "
				      "%lld %%, of disk for %lld %%",
					  doc_integer(pressure, "cpuSomePercent"),
					  doc_integer(pressure, "memoryFullPercent"),
					  doc_integer(pressure, "ioFullPercent"))
				: "",
			hung > 0 ? FMT("; %lld hung tasks since boot", hung) : ""));
}

int render_doctor(const json_t *document, const struct looks *looks, struct buf *out)
{
	struct page page = { .out = out, .looks = looks };
	const json_t *findings = json_object_get(document, "findings");
	const json_t *gaps = json_object_get(document, "gaps");
	const char *runtime = DOC_TEXT(document, "runtime");
	double took;

	page.r = render_findings(findings, looks, out);
	if (json_array_size(findings) == 0)
		page_colored(&page, json_array_size(gaps) ? SGR_BOLD : SGR_CALM, "Nothing found\n");
	put_dumps(&page, json_object_get(document, "goroutines"));
	if (json_array_size(gaps) > 0)
		page_put(&page, "\n");
	put_gaps(&page, gaps);
	page_put(&page, "\n");
	put_node(&page, json_object_get(document, "node"));
	if (doc_number(document, "tookSeconds", &took))
		page_wrap(&page, 0, INDENT, width_of(&page),
			FMT("Looked for %s%s%.250s",
				seconds_text((char[SECONDS_TEXT_MAX]){ 0 }, took),
				*runtime ? ", and asked " : "", runtime));
	return page.r;
}
