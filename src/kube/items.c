#include "kube/items.h"

#include <errno.h>

static bool is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void take(struct slice *s, size_t len)
{
	s->data += len;
	s->len -= len;
}

static void skip_space(struct slice *s)
{
	while (s->len > 0 && is_space(s->data[0]))
		take(s, 1);
}

static bool take_char(struct slice *s, char c)
{
	skip_space(s);
	if (s->len == 0 || s->data[0] != c)
		return false;
	take(s, 1);
	return true;
}

/* Of a string that begins here, with its quotes; 0: it does not end. */
static size_t length_of_string(struct slice s)
{
	for (size_t i = 1; i < s.len; i++) {
		if (s.data[i] == '\\')
			i++;
		else if (s.data[i] == '"')
			return i + 1;
	}
	return 0;
}

/* Of an object or an array that begins here; 0: it does not end. Which bracket closes which is the
 * parser's business. */
static size_t length_of_nested(struct slice s)
{
	size_t depth = 0;

	for (size_t i = 0; i < s.len;) {
		char c = s.data[i];
		size_t len = 1;

		if (c == '"')
			len = length_of_string((struct slice){ s.data + i, s.len - i });
		else if (c == '{' || c == '[')
			depth++;
		else if (c == '}' || c == ']')
			depth--;
		if (len == 0)
			return 0;
		i += len;
		if (depth == 0)
			return i;
	}
	return 0;
}

static size_t length_of_word(struct slice s)
{
	size_t i = 0;

	while (i < s.len && !is_space(s.data[i]) && !strchr(",]}[{\":", s.data[i]))
		i++;
	return i;
}

/* Any value; false: there is none, or it does not end. */
static bool take_value(struct slice *s, struct slice *ret)
{
	size_t len;

	skip_space(s);
	if (s->len == 0)
		return false;
	if (s->data[0] == '"')
		len = length_of_string(*s);
	else if (s->data[0] == '{' || s->data[0] == '[')
		len = length_of_nested(*s);
	else
		len = length_of_word(*s);
	if (len == 0)
		return false;
	*ret = (struct slice){ s->data, len };
	take(s, len);
	return true;
}

int kube_items_find(struct slice text, struct slice *ret_items)
{
	struct slice key, value;

	if (!take_char(&text, '{'))
		return -EBADMSG;
	do {
		if (!take_value(&text, &key) || !take_char(&text, ':') ||
			!take_value(&text, &value))
			return -EBADMSG;
		if (!slice_eq(key, SLICE("\"items\"")))
			continue;
		if (slice_eq(value, SLICE("null")))
			value.len = 0;
		else if (value.data[0] != '[')
			return -EBADMSG;
		else
			value = (struct slice){ value.data + 1, value.len - 2 };
		*ret_items = value;
		return 0;
	} while (take_char(&text, ','));
	return -EBADMSG;
}

bool kube_items_next(struct slice *items, struct slice *ret)
{
	struct slice rest = *items;

	if (!take_value(&rest, ret))
		return false;
	if (!take_char(&rest, ',') && rest.len > 0)
		return false;
	skip_space(&rest);
	*items = rest;
	return true;
}
