#include "model/json-write.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/time.h"

static void json_write_raw(struct json_write *w, const char *data, size_t len)
{
	if (w->error >= 0)
		w->error = buf_append(w->out, data, len);
}

#define RAW(w, literal) json_write_raw(w, literal, sizeof(literal) - 1)

/* Bytes of the printable character at `s` that is not ASCII; 0 if there is none. */
static size_t json_character(const char *s, size_t len)
{
	for (size_t n = 2; n <= 4 && n <= len; n++)
		if (str_is_printable(s, n))
			return n;
	return 0;
}

static void json_write_escape(struct json_write *w, unsigned char c)
{
	char text[8];

	switch (c) {
	case '"': RAW(w, "\\\""); return;
	case '\\': RAW(w, "\\\\"); return;
	case '\n': RAW(w, "\\n"); return;
	case '\r': RAW(w, "\\r"); return;
	case '\t': RAW(w, "\\t"); return;
	default: break;
	}
	if (c >= 0x80) { /* A stray byte: U+FFFD, the replacement character. */
		RAW(w, "\\ufffd");
		return;
	}
	(void)snprintf(text, sizeof(text), "\\u%04x", c);
	json_write_raw(w, text, 6);
}

static void json_write_quoted(struct json_write *w, const char *text)
{
	size_t len = strlen(text), from = 0, i = 0;

	RAW(w, "\"");
	while (i < len) {
		unsigned char c = (unsigned char)text[i];
		size_t n = c >= 0x80 ? json_character(text + i, len - i)
				     : c >= 0x20 && c != 0x7f && c != '"' && c != '\\';

		if (n > 0) {
			i += n;
			continue;
		}
		json_write_raw(w, text + from, i - from);
		json_write_escape(w, c);
		from = ++i;
	}
	json_write_raw(w, text + from, len - from);
	RAW(w, "\"");
}

/* The comma and the key before a value. */
static void json_write_key(struct json_write *w, const char *key)
{
	if (w->needs_comma)
		RAW(w, ",");
	w->needs_comma = true;
	if (!key)
		return;
	RAW(w, "\"");
	json_write_raw(w, key, strlen(key));
	RAW(w, "\":");
}

void json_write_object(struct json_write *w, const char *key)
{
	json_write_key(w, key);
	RAW(w, "{");
	w->needs_comma = false;
}

void json_write_object_end(struct json_write *w)
{
	RAW(w, "}");
	w->needs_comma = true;
}

void json_write_array(struct json_write *w, const char *key)
{
	json_write_key(w, key);
	RAW(w, "[");
	w->needs_comma = false;
}

void json_write_array_end(struct json_write *w)
{
	RAW(w, "]");
	w->needs_comma = true;
}

void json_write_text(struct json_write *w, const char *key, const char *text)
{
	if (!text) {
		json_write_null(w, key);
		return;
	}
	json_write_key(w, key);
	json_write_quoted(w, text);
}

void json_write_text_or_null(struct json_write *w, const char *key, const char *text)
{
	json_write_text(w, key, *text ? text : NULL);
}

void json_write_u64(struct json_write *w, const char *key, uint64_t value)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)value);

	json_write_key(w, key);
	json_write_raw(w, text, (size_t)n);
}

void json_write_i64(struct json_write *w, const char *key, int64_t value)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%lld", (long long)value);

	json_write_key(w, key);
	json_write_raw(w, text, (size_t)n);
}

void json_write_bool(struct json_write *w, const char *key, bool value)
{
	json_write_key(w, key);
	if (value)
		RAW(w, "true");
	else
		RAW(w, "false");
}

void json_write_null(struct json_write *w, const char *key)
{
	json_write_key(w, key);
	RAW(w, "null");
}

void json_write_seconds(struct json_write *w, const char *key, uint64_t duration_ns)
{
	char text[40];
	int n = snprintf(text, sizeof(text), "%llu.%09llu",
		(unsigned long long)(duration_ns / NSEC_PER_SEC),
		(unsigned long long)(duration_ns % NSEC_PER_SEC));

	while (n > 1 && text[n - 1] == '0')
		n--;
	if (text[n - 1] == '.')
		n--;
	json_write_key(w, key);
	json_write_raw(w, text, (size_t)n);
}

void json_write_time(struct json_write *w, const char *key, int64_t real_ns)
{
	char text[TIME_TEXT_MAX];

	json_write_text(w, key, real_ns ? time_format_rfc3339(text, real_ns) : NULL);
}

int json_write_result(const struct json_write *w)
{
	return w->error;
}
