/* One event, one line. */
#include "cli/render.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/time.h"

#define WHO_WIDTH 34
#define SHORT_ID  12

/* HH:MM:SS and `digits` of a second, in the local zone. */
static const char *clock_text(char out[32], const json_t *event, unsigned digits)
{
	int64_t when_ns, second;
	uint32_t micros;
	struct tm tm;
	time_t t;

	if (!doc_time(event, "observedAt", &when_ns))
		return digits == 3 ? "--:--:--.---" : "--:--:--.------";
	second = when_ns / (int64_t)NSEC_PER_SEC - (when_ns % (int64_t)NSEC_PER_SEC < 0);
	micros = (uint32_t)((when_ns - second * (int64_t)NSEC_PER_SEC) / (int64_t)NSEC_PER_USEC);
	t = (time_t)second;
	if (!localtime_r(&t, &tm)) /* allowed: people read local time */
		return "?";
	return str_format(out, 32, "%02d:%02d:%02d.%0*u", tm.tm_hour, tm.tm_min, tm.tm_sec,
		(int)digits, digits == 3 ? micros / 1000 : micros);
}

static const char *type_color(const json_t *event, const char *type)
{
	if (str_eq(type, "ContainerStarted"))
		return SGR_GREEN;
	if (str_eq(type, "ContainerDied"))
		return doc_integer(event, "exitCode") != 0 ? SGR_RED : SGR_YELLOW;
	return SGR_DIM;
}

/* The id in the short form that every tool prints. */
static const char *id_of(char out[SHORT_ID + 1], const json_t *event)
{
	const char *container = DOC_TEXT(event, "containerID"),
		   *id = *container ? container : DOC_TEXT(event, "sandboxID");

	return str_clean(out, SHORT_ID + 1, id, strlen(id));
}
#define ID_OF(event) id_of((char[SHORT_ID + 1]){ 0 }, event)

static void put_who(struct page *p, const json_t *event)
{
	const char *container = DOC_TEXT(event, "container");
	char who[PAGE_TEXT_MAX * 3];

	(void)str_format(who, sizeof(who), "%s/%s%s%s", DOC_TEXT(event, "namespace"),
		DOC_TEXT(event, "pod"), *container ? "/" : "", container);
	page_put(p, who);
	if (text_width(who) < WHO_WIDTH)
		page_printf(p, "%*s", (int)(WHO_WIDTH - text_width(who)), "");
}

static void put_exit(struct page *p, const json_t *event)
{
	long long number = doc_integer(event, "signal");

	if (json_is_integer(json_object_get(event, "exitCode")))
		page_printf(p, "  exit %lld", doc_integer(event, "exitCode"));
	if (json_is_integer(json_object_get(event, "signal"))) {
		const char *name = number > 0 && number < 65 ? sigabbrev_np((int)number) : NULL;

		page_printf(p, "  signal %lld%s%s%s", number, name ? " (" : "", str_or_empty(name),
			name ? ")" : "");
	}
}

int render_event(const json_t *event, const struct looks *looks, struct buf *out)
{
	struct page page = { .out = out, .looks = looks };
	const char *type = DOC_TEXT(event, "type");

	page_printf(&page, "%s  ", clock_text((char[32]){ 0 }, event, 3));
	page_colored(&page, type_color(event, type), FMT("%-16s", type));
	page_put(&page, "  ");
	put_who(&page, event);
	page_printf(&page, "  %s", ID_OF(event));
	put_exit(&page, event);
	if (json_is_string(json_object_get(event, "detail")))
		page_printf(&page, "  %s", doc_text((char[PAGE_TEXT_MAX]){ 0 }, event, "detail"));
	else if (str_eq(type, "ContainerChanged"))
		page_put(&page, "  as before");
	if (str_eq(DOC_TEXT(event, "kind"), "sandbox") && !str_eq(type, "PodSync"))
		page_put(&page, "  sandbox");
	if (doc_is_false(event, "confirmed"))
		page_colored(&page, SGR_YELLOW, "  provisional");
	if (json_is_integer(json_object_get(event, "confirms")))
		page_put(&page, "  confirmed");
	if (str_eq(DOC_TEXT(event, "source"), "stream"))
		page_put(&page, "  seen by the stream only");
	if (doc_is_true(event, "initial"))
		page_colored(&page, SGR_DIM, "  initial");
	page_put(&page, "\n");
	return page.r;
}

int render_event_kubelet(const json_t *event, struct buf *out)
{
	return buf_printf(out, "%s %s %s %s\n", clock_text((char[32]){ 0 }, event, 6),
		DOC_TEXT(event, "pod"), DOC_TEXT(event, "type"), ID_OF(event));
}
