/* The table of pods and containers, the runtime's word beside the kernel's. */
#include "cli/render.h"

#include <errno.h>

#include "base/mem.h"
#include "base/time.h"
#include "cli/columns.h"

#define OWNER_WIDTH 110 /* on a screen that is narrower names would be cut for it */

enum pods_column {
	POD_MARK, /* "!" where something is wrong with the pod; explained below the table */
	POD_NAMESPACE,
	POD_NAME,
	POD_OWNER, /* only where the API server tells */
	POD_CONTAINER,
	POD_STATE,
	POD_KERNEL, /* only where there is a ledger */
	POD_ATTEMPT,
	POD_AGE,
	POD_ID,
	POD_EXIT,
	POD_COLUMNS,
};

static const struct column pods_columns[POD_COLUMNS] = {
	[POD_MARK] = { .title = "", .optional = true },
	[POD_NAMESPACE] = { .title = "NAMESPACE", .elastic = true },
	[POD_NAME] = { .title = "POD", .elastic = true },
	[POD_OWNER] = { .title = "OWNER", .elastic = true, .optional = true },
	[POD_CONTAINER] = { .title = "CONTAINER", .elastic = true },
	[POD_STATE] = { .title = "STATE" },
	[POD_KERNEL] = { .title = "KERNEL", .optional = true },
	[POD_ATTEMPT] = { .title = "ATTEMPT", .right = true },
	[POD_AGE] = { .title = "AGE", .right = true },
	[POD_ID] = { .title = "ID" },
	[POD_EXIT] = { .title = "EXIT", .right = true, .optional = true },
};

static const char *state_color(const char *state)
{
	if (str_eq(state, "running"))
		return SGR_GREEN;
	if (str_eq(state, "unknown") || str_eq(state, "dead"))
		return SGR_RED;
	if (str_eq(state, "paused"))
		return SGR_WARN;
	return SGR_DIM;
}

static bool is_sandbox(const json_t *container)
{
	return str_eq(DOC_TEXT(container, "kind"), "sandbox");
}

/* NULL: nothing is the matter with it, or nobody knows. */
static const json_t *sick_shim(const json_t *container)
{
	const json_t *kernel = json_object_get(container, "kernel");
	const json_t *shim = json_object_get(kernel, "shim");
	const char *state = DOC_TEXT(shim, "state");

	return *state == '\0' || str_eq(state, "alive") ? NULL : shim;
}

static bool is_in_trouble(const json_t *pod)
{
	return doc_is_true(pod, "quarantined") || json_is_string(json_object_get(pod, "error"));
}

static bool has_trouble(const json_t *pod)
{
	json_t *container;
	size_t i;

	json_array_foreach (json_object_get(pod, "containers"), i, container) {
		if (sick_shim(container) || *DOC_TEXT(container, "apiDiffers"))
			return true;
	}
	return is_in_trouble(pod) || *DOC_TEXT(pod, "apiDiffers");
}

/* What the ledger says: "alive", "gone, OOM". */
static const char *kernel_text(char out[PAGE_TEXT_MAX], const json_t *container)
{
	const json_t *kernel = json_object_get(container, "kernel");

	if (!json_is_object(kernel))
		return doc_text(out, container, "kernel");
	return str_format(out, PAGE_TEXT_MAX, "%.40s%s", DOC_TEXT(kernel, "state"),
		doc_is_true(kernel, "oomKilled") ? ", OOM" : "");
}

static const char *age_of(char out[SECONDS_TEXT_MAX], const json_t *container, int64_t now_ns)
{
	int64_t created_ns;

	if (!doc_time(container, "createdAt", &created_ns))
		return "-";
	return seconds_text(out, created_ns < now_ns ? (double)(now_ns - created_ns) / 1e9 : 0);
}

/* Docker's own word where it says more: "paused" for "running". */
static const char *state_text(char out[PAGE_TEXT_MAX], const json_t *container)
{
	return *doc_text(out, container, "detail") ? out : doc_text(out, container, "state");
}

static int add_container(
	struct columns *t, const struct looks *looks, const json_t *pod, const json_t *container)
{
	const char *state = state_text((char[PAGE_TEXT_MAX]){ 0 }, container);
	const char *kernel = kernel_text((char[PAGE_TEXT_MAX]){ 0 }, container);
	const char *cells[POD_COLUMNS] = {
		[POD_MARK] = has_trouble(pod) ? "!" : "",
		[POD_NAMESPACE] = DOC_TEXT(pod, "namespace"),
		[POD_NAME] = DOC_TEXT(pod, "pod"),
		[POD_OWNER] = looks->width == 0 || looks->width >= OWNER_WIDTH
			? DOC_TEXT(pod, "owner")
			: "",
		[POD_CONTAINER] =
			is_sandbox(container) ? "(sandbox)" : DOC_TEXT(container, "container"),
		[POD_STATE] = state,
		[POD_KERNEL] = kernel,
		[POD_ATTEMPT] = FMT("%lld", doc_integer(container, "attempt")),
		[POD_AGE] = age_of((char[SECONDS_TEXT_MAX]){ 0 }, container, looks->now_ns),
		[POD_ID] = FMT("%.12s", DOC_TEXT(container, "containerID")),
		[POD_EXIT] = json_is_integer(json_object_get(container, "exitCode"))
			? FMT("%lld", doc_integer(container, "exitCode"))
			: "",
	};
	const char *sgrs[POD_COLUMNS] = {
		[POD_MARK] = SGR_ALARM,
		[POD_STATE] = state_color(state),
		[POD_KERNEL] = *kernel && !str_eq(kernel, "alive") ? SGR_WARN : NULL,
		[POD_EXIT] = doc_integer(container, "exitCode") != 0 ? SGR_RED : NULL,
	};

	return columns_add(t, cells, sgrs);
}

static int add_pod(struct columns *t, const struct looks *looks, const json_t *pod, bool all)
{
	const json_t *containers = json_object_get(pod, "containers");
	bool alone = true; /* a pod of sandboxes only is shown by them */
	json_t *container;
	size_t i;
	int r;

	json_array_foreach (containers, i, container) {
		if (!is_sandbox(container))
			alone = false;
	}
	json_array_foreach (containers, i, container) {
		if (is_sandbox(container) && !all && !alone)
			continue;
		r = add_container(t, looks, pod, container);
		if (r < 0)
			return r;
	}
	return 0;
}

static void put_trouble(struct page *p, const json_t *pod)
{
	const char *error = DOC_TEXT(pod, "error");
	const char *stuck = DOC_TEXT(pod, "stuckID");
	unsigned width = p->looks->width ? p->looks->width : UINT32_MAX;
	char text[PAGE_TEXT_MAX * 3];
	double seconds;
	size_t at;

	(void)str_format(
		text, sizeof(text), "%s/%s: ", DOC_TEXT(pod, "namespace"), DOC_TEXT(pod, "pod"));
	at = strlen(text);
	if (doc_is_true(pod, "quarantined")) {
		(void)doc_number(pod, "quarantinedSeconds", &seconds);
		(void)str_format(text + at, sizeof(text) - at, "in quarantine for %s%s%.12s%s",
			seconds_text((char[SECONDS_TEXT_MAX]){ 0 }, seconds),
			*stuck ? ", hangs in " : "", stuck, *error ? "; " : "");
		at = strlen(text);
	}
	(void)str_format(text + at, sizeof(text) - at, "%s", error);
	page_colored(p, SGR_ALARM, "!");
	page_put(p, " ");
	page_wrap(p, 2, 2, width, text);
}

/* A pod has one shim, so the first container that has it tells of it. */
static void put_shim(struct page *p, const json_t *pod)
{
	unsigned width = p->looks->width ? p->looks->width : UINT32_MAX;
	char text[PAGE_TEXT_MAX * 3];
	const json_t *shim = NULL;
	json_t *container;
	size_t i;

	json_array_foreach (json_object_get(pod, "containers"), i, container) {
		shim = shim ? shim : sick_shim(container);
	}
	if (!shim)
		return;
	(void)str_format(text, sizeof(text), "%s/%s: its shim (pid %lld) is %.20s",
		DOC_TEXT(pod, "namespace"), DOC_TEXT(pod, "pod"), doc_integer(shim, "pid"),
		DOC_TEXT(shim, "state"));
	page_colored(p, SGR_ALARM, "!");
	page_put(p, " ");
	page_wrap(p, 2, 2, width, text);
}

static const char *api_text(char out[PAGE_TEXT_MAX], const json_t *object)
{
	const char *what = DOC_TEXT(object, "apiDiffers");
	char age[SECONDS_TEXT_MAX];
	double seconds = 0;

	(void)doc_number(object, "apiDiffersSeconds", &seconds);
	(void)seconds_text(age, seconds);
	if (str_eq(what, "deleted"))
		return str_format(out, PAGE_TEXT_MAX,
			"deleted from the API server %s ago, and the runtime still has it", age);
	if (str_eq(what, "overdue"))
		return str_format(out, PAGE_TEXT_MAX,
			"was to end %s ago by the API server, its grace is over, and the runtime "
			"still has it",
			age);
	if (str_eq(what, "unknown"))
		return str_format(
			out, PAGE_TEXT_MAX, "the API server has had no such pod for %s", age);
	return str_format(out, PAGE_TEXT_MAX,
		"dead, and the API server has gone on to say that it runs for %s", age);
}

static void put_difference(struct page *p, const json_t *pod, const json_t *container)
{
	unsigned width = p->looks->width ? p->looks->width : UINT32_MAX;
	const json_t *subject = container ? container : pod;
	char text[PAGE_TEXT_MAX * 4];

	if (*DOC_TEXT(subject, "apiDiffers") == '\0')
		return;
	(void)str_format(text, sizeof(text), "%s/%s%s%s: %s", DOC_TEXT(pod, "namespace"),
		DOC_TEXT(pod, "pod"), container ? "/" : "",
		container ? DOC_TEXT(container, "container") : "",
		api_text((char[PAGE_TEXT_MAX]){ 0 }, subject));
	page_colored(p, SGR_ALARM, "!");
	page_put(p, " ");
	page_wrap(p, 2, 2, width, text);
}

static void put_differences(struct page *p, const json_t *pod)
{
	json_t *container;
	size_t i;

	put_difference(p, pod, NULL);
	json_array_foreach (json_object_get(pod, "containers"), i, container) {
		put_difference(p, pod, container);
	}
}

int render_pods(const json_t *document, const struct looks *looks, bool all, struct buf *out)
{
	CLEAN(columns_done) struct columns table = COLUMNS_INIT(pods_columns);
	const json_t *pods = json_object_get(document, "pods");
	struct page page = { .out = out, .looks = looks };
	json_t *pod;
	size_t i;

	json_array_foreach (pods, i, pod) {
		int r = add_pod(&table, looks, pod, all);

		if (r < 0)
			return r;
	}
	columns_print(&table, &page);
	json_array_foreach (pods, i, pod) {
		if (is_in_trouble(pod))
			put_trouble(&page, pod);
		put_shim(&page, pod);
		put_differences(&page, pod);
	}
	return page.r;
}
