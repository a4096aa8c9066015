#include "runtime/json-scan.h"

#include <errno.h>

#define REPLACEMENT 0xfffdu

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static const char *skip_blanks(const char *at, const char *end)
{
	while (at < end && is_blank(*at))
		at++;
	return at;
}

/* ---- is it JSON ----------------------------------------------------------------------------- */

/* 16 and more: no such digit. */
static unsigned hex_digit(char c)
{
	if (is_digit(c))
		return (unsigned)(c - '0');
	if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
		return (unsigned)((c | 0x20) - 'a') + 10;
	return 16;
}

/* `at` stands behind the backslash; behind the escape, or NULL. */
static const char *check_escape(const char *at, const char *end)
{
	if (at == end)
		return NULL;
	if (*at != 'u')
		return memchr("\"\\/bfnrt", *at, 8) ? at + 1 : NULL;
	if (end - at < 5)
		return NULL;
	for (int i = 1; i <= 4; i++)
		if (hex_digit(at[i]) > 15)
			return NULL;
	return at + 5;
}

/* `at` stands on the opening quote. Behind the closing one, or NULL. */
static const char *check_string(const char *at, const char *end)
{
	for (at++; at && at < end;) {
		if (*at == '"')
			return at + 1;
		if ((unsigned char)*at < 0x20)
			return NULL;
		at = *at == '\\' ? check_escape(at + 1, end) : at + 1;
	}
	return NULL;
}

static const char *check_digits(const char *at, const char *end)
{
	if (at == end || !is_digit(*at))
		return NULL;
	while (at < end && is_digit(*at))
		at++;
	return at;
}

static const char *check_number(const char *at, const char *end)
{
	at += *at == '-';
	if (at < end && *at == '0')
		at++;
	else
		at = check_digits(at, end);
	if (at && at < end && *at == '.')
		at = check_digits(at + 1, end);
	if (at && at < end && (*at | 0x20) == 'e') {
		at++;
		at += at < end && (*at == '+' || *at == '-');
		at = check_digits(at, end);
	}
	return at;
}

static const char *check_word(const char *at, const char *end, const char *word)
{
	size_t len = strlen(word);

	return (size_t)(end - at) >= len && memcmp(at, word, len) == 0 ? at + len : NULL;
}

/* Anything but an object or an array. */
static const char *check_scalar(const char *at, const char *end)
{
	switch (*at) {
	case '"': return check_string(at, end);
	case 't': return check_word(at, end, "true");
	case 'f': return check_word(at, end, "false");
	case 'n': return check_word(at, end, "null");
	default: return check_number(at, end);
	}
}

/* Up to the value of a member: the key and its colon. */
static const char *check_key(const char *at, const char *end)
{
	at = skip_blanks(at, end);
	if (at == end || *at != '"')
		return NULL;
	at = check_string(at, end);
	if (!at)
		return NULL;
	at = skip_blanks(at, end);
	return at < end && *at == ':' ? skip_blanks(at + 1, end) : NULL;
}

/* Closes what ends here and steps over a comma: up to the next value or, with *depth 0, behind all.
 * One bit of `objects` for each level says that it is an object. */
static const char *check_after(
	const char *at, const char *end, const uint64_t *objects, unsigned *depth)
{
	while (*depth > 0) {
		bool is_object = *objects >> (*depth - 1) & 1;

		at = skip_blanks(at, end);
		if (at == end)
			return NULL;
		if (*at == ',')
			return is_object ? check_key(at + 1, end) : skip_blanks(at + 1, end);
		if (*at != (is_object ? '}' : ']'))
			return NULL;
		at++;
		(*depth)--;
	}
	return at;
}

/* Behind the value that begins at `at`, or NULL. */
static const char *check_value(const char *at, const char *end)
{
	uint64_t objects = 0;
	unsigned depth = 0;

	do {
		bool is_object;

		if (!at || at == end)
			return NULL;
		if (*at != '{' && *at != '[') {
			at = check_scalar(at, end);
			at = at ? check_after(at, end, &objects, &depth) : NULL;
			continue;
		}
		if (depth == JSON_SCAN_DEPTH_MAX)
			return NULL;
		is_object = *at == '{';
		objects = (objects & ~(UINT64_C(1) << depth)) | (uint64_t)is_object << depth;
		depth++;
		at = skip_blanks(at + 1, end);
		if (at < end && *at == (is_object ? '}' : ']'))
			at = check_after(at, end, &objects, &depth);
		else if (is_object)
			at = check_key(at, end);
	} while (depth > 0);
	return at;
}

int json_scan_check(struct slice text, struct slice *ret_value)
{
	const char *at, *end, *behind;

	if (text.len == 0)
		return -EBADMSG;
	end = text.data + text.len;
	at = skip_blanks(text.data, end);
	behind = check_value(at, end);
	if (!behind || skip_blanks(behind, end) != end)
		return -EBADMSG;
	*ret_value = (struct slice){ at, (size_t)(behind - at) };
	return 0;
}

/* ---- the walk: over what was checked ---------------------------------------------------------- */

static const char *skip_string(const char *at)
{
	for (at++; *at != '"'; at++)
		at += *at == '\\';
	return at + 1;
}

static const char *skip_value(const char *at, const char *end)
{
	unsigned depth = 0;

	do {
		switch (*at) {
		case '"': at = skip_string(at); break;
		case '{':
		case '[':
			depth++;
			at++;
			break;
		case '}':
		case ']':
			depth--;
			at++;
			break;
		default: at++; break;
		}
		if (depth > 0)
			continue;
		/* A number or a word goes on. */
		if (at == end || *at == ',' || *at == '}' || *at == ']' || is_blank(*at))
			return at;
	} while (at < end);
	return end;
}

static struct json_scan scan_of_kind(struct slice value, char kind)
{
	if (value.len < 2 || value.data[0] != kind)
		return (struct json_scan){ NULL, NULL };
	/* Without the brackets. */
	return (struct json_scan){ value.data + 1, value.data + value.len - 1 };
}

struct json_scan json_scan_object(struct slice value)
{
	return scan_of_kind(value, '{');
}

struct json_scan json_scan_array(struct slice value)
{
	return scan_of_kind(value, '[');
}

bool json_scan_element(struct json_scan *scan, struct slice *ret_value)
{
	const char *at = skip_blanks(scan->at, scan->end), *behind;

	if (at == scan->end)
		return false;
	behind = skip_value(at, scan->end);
	*ret_value = (struct slice){ at, (size_t)(behind - at) };
	at = skip_blanks(behind, scan->end);
	scan->at = at < scan->end ? at + 1 : at; /* over the comma */
	return true;
}

bool json_scan_member(struct json_scan *scan, struct slice *ret_key, struct slice *ret_value)
{
	const char *at = skip_blanks(scan->at, scan->end), *behind;

	if (at == scan->end)
		return false;
	behind = skip_string(at);
	*ret_key = (struct slice){ at + 1, (size_t)(behind - at) - 2 };
	scan->at = skip_blanks(behind, scan->end) + 1; /* over the colon */
	return json_scan_element(scan, ret_value);
}

struct slice json_scan_find(struct slice object, const char *name)
{
	struct json_scan scan = json_scan_object(object);
	struct slice key, value, found = { 0 }, wanted = SLICE(name);

	while (json_scan_member(&scan, &key, &value))
		if (slice_eq(key, wanted))
			found = value;
	return found;
}

/* ---- scalars -------------------------------------------------------------------------------- */

bool json_scan_is_true(struct slice value)
{
	return slice_eq(value, SLICE("true"));
}

int json_scan_i64(struct slice value, int64_t *ret)
{
	bool is_negative = value.len > 0 && value.data[0] == '-';
	int64_t number = 0;
	size_t i = is_negative;

	if (i == value.len)
		return -EINVAL;
	for (; i < value.len; i++) {
		int digit = value.data[i] - '0';

		if (!is_digit(value.data[i]))
			return -EINVAL;
		/* Downwards, where there is one more. */
		if (__builtin_mul_overflow(number, 10, &number) ||
			__builtin_sub_overflow(number, digit, &number))
			return -ERANGE;
	}
	if (!is_negative && number == INT64_MIN)
		return -ERANGE;
	*ret = is_negative ? number : -number;
	return 0;
}

struct slice json_scan_raw(struct slice value)
{
	if (value.len < 2 || value.data[0] != '"')
		return (struct slice){ 0 };
	return (struct slice){ value.data + 1, value.len - 2 };
}

static unsigned read_unit(const char *at)
{
	return hex_digit(at[0]) << 12 | hex_digit(at[1]) << 8 | hex_digit(at[2]) << 4 |
		hex_digit(at[3]);
}

/* The code point of the \u escape whose digits begin at *at, with its other half where it has one. */
static uint32_t read_point(const char **at, const char *end)
{
	uint32_t point = read_unit(*at), low;

	*at += 4;
	if (point == 0 || (point >= 0xdc00 && point < 0xe000))
		return REPLACEMENT;
	if (point < 0xd800 || point >= 0xe000)
		return point;
	if (end - *at < 6 || (*at)[0] != '\\' || (*at)[1] != 'u')
		return REPLACEMENT;
	low = read_unit(*at + 2);
	if (low < 0xdc00 || low >= 0xe000)
		return REPLACEMENT;
	*at += 6;
	return 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
}

static size_t put_utf8(char *out, uint32_t point)
{
	if (point < 0x80) {
		out[0] = (char)point;
		return 1;
	}
	if (point < 0x800) {
		out[0] = (char)(0xc0 | point >> 6);
		out[1] = (char)(0x80 | (point & 0x3f));
		return 2;
	}
	if (point < 0x10000) {
		out[0] = (char)(0xe0 | point >> 12);
		out[1] = (char)(0x80 | (point >> 6 & 0x3f));
		out[2] = (char)(0x80 | (point & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | point >> 18);
	out[1] = (char)(0x80 | (point >> 12 & 0x3f));
	out[2] = (char)(0x80 | (point >> 6 & 0x3f));
	out[3] = (char)(0x80 | (point & 0x3f));
	return 4;
}

static char unescaped(char c)
{
	switch (c) {
	case 'b': return '\b';
	case 'f': return '\f';
	case 'n': return '\n';
	case 'r': return '\r';
	case 't': return '\t';
	default: return c;
	}
}

size_t json_scan_unescape(struct slice raw, char *out)
{
	const char *at = raw.data, *end;
	size_t len = 0;

	if (raw.len == 0)
		return 0;
	end = raw.data + raw.len;
	while (at < end) {
		if (*at != '\\') {
			out[len++] = *at++;
			continue;
		}
		at += 2;
		if (at[-1] == 'u')
			len += put_utf8(out + len, read_point(&at, end));
		else
			out[len++] = unescaped(at[-1]);
	}
	return len;
}
