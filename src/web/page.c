#include "web/page.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

#define PAGE_DEPTH_MAX 32u

struct reader {
	const char *p, *end;
	struct buf *out;
	unsigned depth;
	int r; /* the first error; -EBADMSG: no JSON */
};

static void put(struct reader *in, const char *text, size_t len)
{
	if (in->r >= 0)
		in->r = buf_append(in->out, text, len);
}

static void put_escaped(struct reader *in, char c)
{
	switch (c) {
	case '<': put(in, "&lt;", 4); break;
	case '>': put(in, "&gt;", 4); break;
	case '&': put(in, "&amp;", 5); break;
	case '"': put(in, "&quot;", 6); break;
	case '\'': put(in, "&#39;", 5); break;
	default:
		if ((unsigned char)c < 0x20 || c == 0x7f)
			c = ' ';
		put(in, &c, 1);
	}
}

static void new_line(struct reader *in)
{
	put(in, "\n", 1);
	for (unsigned i = 0; i < in->depth; i++)
		put(in, "  ", 2);
}

static void skip_blanks(struct reader *in)
{
	while (in->p < in->end && strchr(" \t\r\n", *in->p) && *in->p != '\0')
		in->p++;
}

static bool take(struct reader *in, char c)
{
	skip_blanks(in);
	if (in->p >= in->end || *in->p != c)
		return false;
	in->p++;
	return true;
}

/* Behind the opening quote. \u stays as it is: readable enough, and nothing can hide in it. */
static void string(struct reader *in)
{
	while (in->r >= 0) {
		char c;

		if (in->p >= in->end) {
			in->r = -EBADMSG;
			return;
		}
		c = *in->p++;
		if (c == '"')
			return;
		if (c == '\\' && in->p < in->end) {
			c = *in->p++;
			if (c == 'n' || c == 't' || c == 'r')
				c = ' ';
			else if (c == 'u')
				put_escaped(in, '\\');
		}
		put_escaped(in, c);
	}
}

static void word(struct reader *in)
{
	const char *start = in->p;

	while (in->p < in->end && !strchr(" \t\r\n,]}:", *in->p))
		put_escaped(in, *in->p++);
	if (in->p == start)
		in->r = -EBADMSG;
}

static void value(struct reader *in);

static void members(struct reader *in, bool is_object)
{
	char end = is_object ? '}' : ']';
	unsigned count = 0;

	if (++in->depth > PAGE_DEPTH_MAX)
		in->r = -EBADMSG;
	if (take(in, end)) {
		put(in, "-", 1);
		in->depth--;
		return;
	}
	while (in->r >= 0) {
		if (count++ > 0 || in->depth > 1)
			new_line(in);
		if (is_object) {
			if (!take(in, '"')) {
				in->r = -EBADMSG;
				return;
			}
			put(in, "<b>", 3);
			string(in);
			put(in, "</b>: ", 6);
			if (in->r >= 0 && !take(in, ':'))
				in->r = -EBADMSG;
		} else {
			put(in, "* ", 2);
		}
		value(in);
		if (in->r < 0 || take(in, end))
			break;
		if (!take(in, ','))
			in->r = -EBADMSG;
	}
	in->depth--;
}

static void value(struct reader *in)
{
	if (in->r < 0)
		return;
	if (take(in, '{'))
		members(in, true);
	else if (take(in, '['))
		members(in, false);
	else if (take(in, '"'))
		string(in);
	else
		word(in);
}

static const char page_head[] =
	"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>pleg</title>"
	"<meta http-equiv=\"refresh\" content=\"10\"></head>\n<body><h1>pleg</h1>\n"
	"<p><a href=\"/api/v1/status\">status</a> <a href=\"/api/v1/pods\">pods</a> "
	"<a href=\"/api/v1/events\">events</a></p>\n<pre>";
static const char page_tail[] = "</pre></body></html>\n";

int page_render(const void *json, size_t len, struct buf *out)
{
	struct reader in = { .p = json, .end = (const char *)json + len, .out = out };
	size_t start;

	put(&in, page_head, sizeof(page_head) - 1);
	start = out->len;
	value(&in);
	skip_blanks(&in);
	if (in.r == -EBADMSG || (in.r >= 0 && in.p != in.end)) {
		out->len = start; /* Half a document could have left a tag open. */
		in.r = buf_append_string(out, "The agent's answer could not be read");
	}
	put(&in, page_tail, sizeof(page_tail) - 1);
	return in.r;
}

int page_array_of_lines(const void *lines, size_t len, struct buf *out)
{
	const char *p = lines, *end = p + len;
	bool first = true;
	int r;

	r = buf_append(out, "[", 1);
	while (r >= 0 && p < end) {
		const char *stop = memchr(p, '\n', (size_t)(end - p)) ?: end;

		if (stop > p) {
			if (!first)
				r = buf_append(out, ",\n", 2);
			if (r >= 0)
				r = buf_append(out, p, (size_t)(stop - p));
			first = false;
		}
		p = stop + 1;
	}
	return r < 0 ? r : buf_append(out, "]\n", 2);
}

int page_put_json_string(struct buf *out, const char *text)
{
	int r = buf_append(out, "\"", 1);

	for (; r >= 0 && *text; text++) {
		if (*text == '"' || *text == '\\')
			r = buf_append(out, "\\", 1);
		if (r >= 0 && (unsigned char)*text < 0x20)
			r = buf_printf(out, "\\u%04x", (unsigned)*text);
		else if (r >= 0)
			r = buf_append(out, text, 1);
	}
	return r < 0 ? r : buf_append(out, "\"", 1);
}
