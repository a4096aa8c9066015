/*
 * A trace as a tree: each hop under the one that asks it, with its answer's time or what it hangs in,
 * and the threads, those alike in one line, under the init.
 */
#include "cli/render.h"

#include "base/mem.h"

#define LABEL_WIDTH   21
#define STATUS_WIDTH  9
#define LATENCY_WIDTH 8
#define TEXT_COLUMN   (LABEL_WIDTH + STATUS_WIDTH + LATENCY_WIDTH)
#define THREAD_COLUMN 12
#define WIDTH_MIN     60
#define TIDS_SHOWN    3

static const struct {
	const char *key, *name, *told; /* told: in a sentence */
	unsigned depth;
} hops[] = {
	{ "kubelet", "kubelet", "the kubelet", 0 },
	{ "dockerd", "dockerd", "dockerd", 1 },
	{ "cri", "CRI", "CRI", 1 },
	{ "containerd", "containerd", "containerd", 2 },
	{ "shim", "shim", "the shim", 3 },
	{ "oci", "OCI runtime", "the OCI runtime", 4 },
	{ "init", "init", "the init", 4 },
};

static unsigned screen_width(const struct page *p)
{
	if (p->looks->width == 0)
		return UINT32_MAX;
	return p->looks->width < WIDTH_MIN ? WIDTH_MIN : p->looks->width;
}

static const char *hop_name(const char *key)
{
	for (size_t i = 0; i < ELEMENTS(hops); i++)
		if (str_eq(hops[i].key, key))
			return hops[i].name;
	return key;
}

static const char *hop_told(const char *key)
{
	for (size_t i = 0; i < ELEMENTS(hops); i++)
		if (str_eq(hops[i].key, key))
			return hops[i].told;
	return key;
}

static unsigned hop_depth(const char *key)
{
	for (size_t i = 0; i < ELEMENTS(hops); i++)
		if (str_eq(hops[i].key, key))
			return hops[i].depth;
	return 0;
}

static const char *status_color(const char *status)
{
	if (str_eq(status, "ok"))
		return SGR_GREEN;
	if (str_eq(status, "absent"))
		return SGR_DIM;
	return str_eq(status, "unseen") ? SGR_YELLOW : SGR_ALARM;
}

static void put_padded(struct page *p, const char *sgr, const char *text, unsigned width)
{
	size_t columns = text_width(text);

	if (sgr)
		page_colored(p, sgr, text);
	else
		page_put(p, text);
	page_printf(p, "%*s", columns < width ? (int)(width - columns) : 1, "");
}

/* The runtime has said nothing of it: it knows none such, or does not answer. */
static const char *no_state(const json_t *document)
{
	const json_t *list = json_object_get(document, "hops"), *hop;
	size_t i;

	json_array_foreach (list, i, hop) {
		const char *key = DOC_TEXT(hop, "hop");

		if (str_eq(key, "cri") || str_eq(key, "dockerd"))
			return str_eq(DOC_TEXT(hop, "status"), "absent")
				? "not known to the runtime"
				: "state not told by the runtime";
	}
	return "state not known";
}

static void put_head(struct page *p, const json_t *document)
{
	const json_t *c = json_object_get(document, "container");
	const char *pod = DOC_TEXT(c, "pod"), *name = DOC_TEXT(c, "container");
	const char *state = DOC_TEXT(c, "state"), *owner = DOC_TEXT(c, "owner");
	char text[3 * PAGE_TEXT_MAX] = "";

	if (*pod)
		(void)str_format(text, sizeof(text), "%s/%s%s%s", DOC_TEXT(c, "namespace"), pod,
			*name ? "/" : "", *name ? name : " (sandbox)");
	page_colored(p, SGR_BOLD, text);
	page_printf(p, "%s%.12s  %s%s%s\n", *text ? "  " : "", DOC_TEXT(c, "containerID"),
		*state ? state : no_state(document), *owner ? ", of " : "", owner);
}

static void put_hop(struct page *p, const json_t *hop)
{
	const char *key = DOC_TEXT(hop, "hop"), *status = DOC_TEXT(hop, "status");
	const char *because = DOC_TEXT(hop, "explainedBy"), *message = DOC_TEXT(hop, "message");
	char text[2 * PAGE_TEXT_MAX];
	unsigned depth = hop_depth(key);
	double seconds;

	(void)str_format(text, sizeof(text), "%*s%s%s", depth ? (int)(2 * depth - 2) : 0, "",
		depth ? "`- " : "", hop_name(key));
	put_padded(p, NULL, text, LABEL_WIDTH);
	put_padded(p, status_color(status), status, STATUS_WIDTH);
	put_padded(p, NULL,
		doc_number(hop, "latencySeconds", &seconds)
			? seconds_text((char[SECONDS_TEXT_MAX]){ 0 }, seconds)
			: "",
		LATENCY_WIDTH);
	(void)str_format(text, sizeof(text), "%s%s%s%s", *because ? "(explained by " : "",
		*because ? hop_told(because) : "", *because ? ") " : "", message);
	page_wrap(p, TEXT_COLUMN, TEXT_COLUMN, screen_width(p), text);
}

/* " tid 1" or " tids 1, 2, 3, ..." */
static const char *tids_text(char out[PAGE_TEXT_MAX], const json_t *group)
{
	const json_t *tids = json_object_get(group, "tids");
	size_t count = (size_t)doc_integer(group, "count"), at, i;

	(void)str_format(out, PAGE_TEXT_MAX, count == 1 ? "tid" : "tids");
	for (i = 0; i < json_array_size(tids) && i < TIDS_SHOWN; i++) {
		at = strlen(out);
		(void)str_format(out + at, PAGE_TEXT_MAX - at, "%s %lld", i > 0 ? "," : "",
			(long long)json_integer_value(json_array_get(tids, i)));
	}
	at = strlen(out);
	(void)str_format(out + at, PAGE_TEXT_MAX - at, count > i ? ", ..." : "");
	return out;
}

/* "on /volume (fuse.sshfs), " and "stack a < b, ", each where it is known. */
static void put_wait(char *out, size_t size, const json_t *group)
{
	const json_t *mount = json_object_get(group, "mount");
	const json_t *stack = json_object_get(group, "stack"), *name;
	size_t i, at;

	out[0] = '\0';
	if (json_is_object(mount))
		(void)str_format(out, size, "on %s (%s), ", DOC_TEXT(mount, "point"),
			DOC_TEXT(mount, "type"));
	json_array_foreach (stack, i, name) {
		at = strlen(out);
		(void)str_format(out + at, size - at, "%s%s", i > 0 ? " < " : "stack ",
			json_string_value(name));
	}
	at = strlen(out);
	(void)str_format(out + at, size - at, "%s", i > 0 ? ", " : "");
}

static void put_group(struct page *p, const json_t *group)
{
	const json_t *call = json_object_get(group, "syscall");
	const char *wchan = DOC_TEXT(group, "wchan");
	long long count = doc_integer(group, "count");
	char head[PAGE_TEXT_MAX + 64], rest[4 * PAGE_TEXT_MAX], wait[2 * PAGE_TEXT_MAX];

	(void)str_format(head, sizeof(head), "%lld thread%s %s%s%s,", count, count == 1 ? "" : "s",
		DOC_TEXT(group, "state"), *wchan ? " " : "", wchan);
	put_wait(wait, sizeof(wait), group);
	(void)str_format(rest, sizeof(rest), "%s%s%s%s",
		doc_is_true(group, "killed") ? "SIGKILL pending, " : "",
		json_is_integer(call)
			? FMT("system call %lld, ", (long long)json_integer_value(call))
			: "",
		wait, tids_text((char[PAGE_TEXT_MAX]){ 0 }, group));
	page_printf(p, "%*s", THREAD_COLUMN, "");
	if (doc_is_true(group, "stuck"))
		page_colored(p, SGR_ALARM, head);
	else
		page_put(p, head);
	page_put(p, " ");
	page_wrap(p, THREAD_COLUMN + (unsigned)text_width(head) + 1, THREAD_COLUMN + 2,
		screen_width(p), rest);
}

static void put_levels(struct page *p, const json_t *levels)
{
	const json_t *level;
	size_t i;

	json_array_foreach (levels, i, level) {
		const char *state = DOC_TEXT(level, "state");

		if (!doc_is_true(level, "self"))
			continue;
		page_printf(p, "%*s%s: %s\n", THREAD_COLUMN, "", DOC_TEXT(level, "path"), state);
	}
}

static void put_init(struct page *p, const json_t *init)
{
	const json_t *groups = json_object_get(init, "threads"), *group;
	long long left_out = doc_integer(init, "threadsLeftOut");
	size_t i;

	put_levels(p, json_object_get(init, "freezer"));
	json_array_foreach (groups, i, group)
		put_group(p, group);
	if (left_out > 0)
		page_printf(
			p, "%*s%lld more threads in other waits\n", THREAD_COLUMN, "", left_out);
}

int render_trace(const json_t *document, const struct looks *looks, struct buf *out)
{
	const json_t *list = json_object_get(document, "hops"), *hop;
	const char *verdict = DOC_TEXT(document, "verdict");
	struct page page = { .out = out, .looks = looks };
	double seconds;
	size_t i;

	put_head(&page, document);
	json_array_foreach (list, i, hop) {
		put_hop(&page, hop);
		if (str_eq(DOC_TEXT(hop, "hop"), "init"))
			put_init(&page, hop);
	}
	page_put(&page, "\n");
	page_colored(&page,
		str_eq(verdict, "fine")              ? SGR_CALM
			: str_eq(verdict, "trouble") ? SGR_ALARM
						     : SGR_WARN,
		str_eq(verdict, "fine")              ? "Fine"
			: str_eq(verdict, "trouble") ? "Trouble"
						     : "Not all seen");
	(void)doc_number(document, "seconds", &seconds);
	page_put(&page, ": ");
	page_wrap(&page, 9, 0, screen_width(&page), DOC_TEXT(document, "summary"));
	page_printf(&page, "Looked for %s\n", seconds_text((char[SECONDS_TEXT_MAX]){ 0 }, seconds));
	return page.r;
}
