#include "net/http1-parse.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/str.h"

static int malformed(struct http1_parser *p, const char *trouble)
{
	p->trouble = trouble;
	return -EPROTO;
}

void http1_parser_init(struct http1_parser *p, const char *method)
{
	*p = (struct http1_parser){
		.state = HTTP1_STATUS_LINE,
		.line = BUF_INIT(HTTP1_LINE_MAX + 1), /* and a NUL */
		.is_head = str_eq(method, "HEAD"),
		.trouble = "",
	};
}

void http1_parser_done(struct http1_parser *p)
{
	buf_done(&p->line);
}

/* --- lines --- */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200 OK"; the reason may be missing. */
static int take_status_line(struct http1_parser *p, const char *line)
{
	const char *s = str_after(line, "HTTP/1.");

	if (!s || !is_digit(s[0]) || s[1] != ' ' || !is_digit(s[2]) || !is_digit(s[3]) ||
		!is_digit(s[4]) || (s[5] != '\0' && s[5] != ' ') || s[2] == '0')
		return malformed(p, "The status line is not HTTP/1");
	p->status =
		(unsigned)(s[2] - '0') * 100 + (unsigned)(s[3] - '0') * 10 + (unsigned)(s[4] - '0');
	p->state = HTTP1_HEADERS;
	p->header_count = 0;
	p->is_chunked = p->has_length = false;
	p->is_last = s[0] == '0';
	p->content_type[0] = '\0';
	return 0;
}

static int begin_body(struct http1_parser *p)
{
	bool is_upgrade = p->status == 101;

	if (p->status < 200 && !is_upgrade) {
		p->state = HTTP1_STATUS_LINE; /* An interim answer; the real one follows. */
		return 0;
	}
	if (p->is_chunked && p->has_length)
		return malformed(p, "The body is chunked and has a length");
	p->left = 0;
	if (p->is_head || p->status == 204 || p->status == 304)
		p->state = HTTP1_COMPLETE;
	else if (is_upgrade)
		p->state = HTTP1_BODY_CLOSE;
	else if (p->is_chunked)
		p->state = HTTP1_CHUNK_SIZE;
	else if (!p->has_length)
		p->state = HTTP1_BODY_CLOSE;
	else if (p->length == 0)
		p->state = HTTP1_COMPLETE;
	else
		p->state = HTTP1_BODY_LENGTH;
	if (p->state == HTTP1_BODY_LENGTH)
		p->left = p->length;
	p->is_last |= p->state == HTTP1_BODY_CLOSE;
	return 0;
}

static bool is_token(const char *s, size_t len)
{
	if (len == 0)
		return false;
	for (size_t i = 0; i < len; i++)
		if (s[i] <= ' ' || s[i] == 0x7f || strchr("\"(),/:;<=>?@[\\]{}", s[i]))
			return false;
	return true;
}

static int take_header(struct http1_parser *p, char *line)
{
	char *colon = strchr(line, ':'), *value, *end;
	uint64_t length;

	if (!colon || !is_token(line, (size_t)(colon - line)))
		return malformed(p, "A header line has no name");
	*colon = '\0';
	value = colon + 1 + strspn(colon + 1, " \t");
	end = value + strlen(value);
	while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
		*--end = '\0';

	if (strcasecmp(line, "content-length") == 0) {
		if (str_to_u64(value, &length) < 0)
			return malformed(p, "Content-Length is not a number");
		if (p->has_length && length != p->length)
			return malformed(p, "There are two lengths");
		p->has_length = true;
		p->length = length;
	} else if (strcasecmp(line, "transfer-encoding") == 0) {
		if (p->is_chunked || strcasecmp(value, "chunked") != 0)
			return malformed(p, "The transfer coding is not chunked");
		p->is_chunked = true;
	} else if (strcasecmp(line, "connection") == 0) {
		/* A list that has more than that one word in it is read as a farewell, too. */
		p->is_last |= strcasecmp(value, "keep-alive") != 0;
	} else if (strcasecmp(line, "content-type") == 0) {
		(void)str_clean(p->content_type, sizeof(p->content_type), value, strlen(value));
	}
	return 0;
}

static int take_chunk_size(struct http1_parser *p, const char *line)
{
	uint64_t size = 0;
	size_t n = 0;

	for (; line[n]; n++) {
		char c = line[n];
		unsigned digit;

		if (is_digit(c))
			digit = (unsigned)(c - '0');
		else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
			digit = (unsigned)((c | 0x20) - 'a') + 10;
		else
			break;
		if (size >> 56)
			return malformed(p, "A chunk is larger than can be");
		size = size << 4 | digit;
	}
	if (n == 0 || (line[n] != '\0' && line[n] != ';' && line[n] != ' ' && line[n] != '\t'))
		return malformed(p, "A chunk has no size");
	p->left = size;
	p->header_count = 0;
	p->state = size ? HTTP1_CHUNK_DATA : HTTP1_TRAILERS;
	return 0;
}

static int take_line(struct http1_parser *p, char *line)
{
	switch (p->state) {
	case HTTP1_STATUS_LINE: return take_status_line(p, line);
	case HTTP1_HEADERS:
	case HTTP1_TRAILERS:
		if (line[0] == '\0' && p->state == HTTP1_HEADERS)
			return begin_body(p);
		if (line[0] == '\0') {
			p->state = HTTP1_COMPLETE;
			return 0;
		}
		if (++p->header_count > HTTP1_HEADERS_MAX) {
			p->trouble = "Too many headers";
			return -EMSGSIZE;
		}
		/* Trailers decide nothing any more. */
		return p->state == HTTP1_HEADERS ? take_header(p, line) : 0;
	case HTTP1_CHUNK_SIZE: return take_chunk_size(p, line);
	case HTTP1_CHUNK_END:
		if (line[0] != '\0')
			return malformed(p, "A chunk is longer than its size");
		p->state = HTTP1_CHUNK_SIZE;
		return 0;
	case HTTP1_BODY_LENGTH:
	case HTTP1_BODY_CLOSE:
	case HTTP1_CHUNK_DATA:
	case HTTP1_COMPLETE: break;
	}
	return malformed(p, "Out of order");
}

/* Collects up to the end of a line and, if it is there, handles it. */
static int feed_line(struct http1_parser *p, const uint8_t **data, size_t *len)
{
	const uint8_t *newline = memchr(*data, '\n', *len);
	size_t n = newline ? (size_t)(newline - *data) : *len;
	char *line;
	int r;

	if (p->line.len + n > HTTP1_LINE_MAX) {
		p->trouble = "A line of the head is too long";
		return -EMSGSIZE;
	}
	r = buf_append(&p->line, *data, n);
	if (r < 0)
		return r;
	n += newline ? 1 : 0;
	*data += n;
	*len -= n;
	if (!newline)
		return 0;
	if (p->line.len > 0 && p->line.data[p->line.len - 1] == '\r')
		p->line.len--;
	line = (char *)(uintptr_t)buf_string(&p->line);
	if (!line)
		return -ENOMEM;
	if (memchr(line, '\0', p->line.len))
		return malformed(p, "A NUL in the head");
	r = take_line(p, line);
	buf_clear(&p->line);
	return r;
}

static void feed_body(struct http1_parser *p, const uint8_t **data, size_t *len,
	const uint8_t **ret_body, size_t *ret_body_len)
{
	size_t n = *len;

	if (p->state != HTTP1_BODY_CLOSE) {
		if (n > p->left)
			n = (size_t)p->left;
		p->left -= n;
		if (p->left == 0)
			p->state = p->state == HTTP1_CHUNK_DATA ? HTTP1_CHUNK_END : HTTP1_COMPLETE;
	}
	*ret_body = *data;
	*ret_body_len = n;
	*data += n;
	*len -= n;
}

int http1_parser_next(struct http1_parser *p, const uint8_t **data, size_t *len,
	const uint8_t **ret_body, size_t *ret_body_len)
{
	while (p->state != HTTP1_COMPLETE) {
		int r;

		if (*len == 0)
			return HTTP1_NEED;
		switch (p->state) {
		case HTTP1_BODY_LENGTH:
		case HTTP1_BODY_CLOSE:
		case HTTP1_CHUNK_DATA:
			feed_body(p, data, len, ret_body, ret_body_len);
			return HTTP1_BODY;
		case HTTP1_STATUS_LINE:
		case HTTP1_HEADERS:
		case HTTP1_CHUNK_SIZE:
		case HTTP1_CHUNK_END:
		case HTTP1_TRAILERS:
		case HTTP1_COMPLETE: break;
		}
		r = feed_line(p, data, len);
		if (r < 0)
			return r;
	}
	return HTTP1_DONE;
}

int http1_parser_eof(struct http1_parser *p)
{
	if (p->state == HTTP1_BODY_CLOSE)
		p->state = HTTP1_COMPLETE;
	return p->state == HTTP1_COMPLETE ? 0 : -ECONNRESET;
}

/* Visible ASCII only, so nothing can end the line early. */
static bool is_visible(const char *s)
{
	if (*s == '\0')
		return false;
	for (; *s; s++)
		if (*s <= ' ' || *s >= 0x7f)
			return false;
	return true;
}

int http1_write_request(struct buf *out, const char *method, const char *host, const char *target,
	const char *content_type, const void *body, size_t body_len, bool is_last)
{
	int r;

	if (!is_token(method, strlen(method)) || !is_visible(host) || !is_visible(target) ||
		(content_type && !is_visible(content_type)))
		return -EINVAL;
	r = buf_printf(out,
		"%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: pleg/" PLEG_VERSION
		"\r\nAccept: */*\r\n%s",
		method, target, host, is_last ? "Connection: close\r\n" : "");
	if (r >= 0 && content_type)
		r = buf_printf(out, "Content-Type: %s\r\n", content_type);
	if (r >= 0 && (body_len > 0 || content_type))
		r = buf_printf(out, "Content-Length: %zu\r\n", body_len);
	if (r >= 0)
		r = buf_append_string(out, "\r\n");
	if (r >= 0)
		r = buf_append(out, body, body_len);
	return r;
}
