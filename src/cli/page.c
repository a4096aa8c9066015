#include "cli/page.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/time.h"

void page_put(struct page *p, const char *text)
{
	if (p->r >= 0)
		p->r = buf_append_string(p->out, text);
}

void page_printf(struct page *p, const char *format, ...)
{
	char text[4 * PAGE_TEXT_MAX];
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	page_put(p, text);
}

void page_colored(struct page *p, const char *sgr, const char *text)
{
	if (!p->looks->color || !sgr) {
		page_put(p, text);
		return;
	}
	page_printf(p, "\033[%sm%s\033[0m", sgr, text);
}

size_t text_width(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

void page_wrap(struct page *p, unsigned column, unsigned indent, unsigned width, const char *text)
{
	bool fresh = true; /* nothing in this line yet */

	for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
		char word[PAGE_TEXT_MAX];
		size_t len = strcspn(text, " ");
		unsigned columns;

		(void)str_clean(word, sizeof(word), text, len);
		columns = (unsigned)text_width(word);
		if (!fresh && column + 1 + columns > width) {
			page_printf(p, "\n%*s", (int)indent, "");
			column = indent;
			fresh = true;
		}
		page_printf(p, "%s%s", fresh ? "" : " ", word);
		column += columns + !fresh;
		fresh = false;
		text += len;
	}
	page_put(p, "\n");
}

const char *doc_text(char out[PAGE_TEXT_MAX], const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_string(value))
		return "";
	return str_clean(out, PAGE_TEXT_MAX, json_string_value(value), json_string_length(value));
}

bool doc_is_true(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

bool doc_is_false(const json_t *object, const char *key)
{
	return json_is_false(json_object_get(object, key));
}

bool doc_number(const json_t *object, const char *key, double *ret)
{
	const json_t *value = json_object_get(object, key);

	*ret = json_number_value(value);
	return json_is_number(value);
}

long long doc_integer(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

bool doc_time(const json_t *object, const char *key, int64_t *ret_real_ns)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text && time_parse_rfc3339(text, ret_real_ns) >= 0;
}

const char *seconds_text(char out[SECONDS_TEXT_MAX], double seconds)
{
	char text[TIME_TEXT_MAX];

	if (!(seconds >= 0))
		return "-";
	if (seconds < 0.1)
		return str_format(out, SECONDS_TEXT_MAX, "%.3gms", seconds * 1000);
	if (seconds > 1e9)
		seconds = 1e9; /* 31 years: not a duration that anybody waited for */
	(void)time_format_short(text, (uint64_t)(seconds * 1e9 + 0.5));
	if (strlen(text) > 3 && str_eq(text + strlen(text) - 3, ".0s"))
		return str_format(out, SECONDS_TEXT_MAX, "%.*ss", (int)strlen(text) - 3, text);
	return str_format(out, SECONDS_TEXT_MAX, "%s", text);
}
