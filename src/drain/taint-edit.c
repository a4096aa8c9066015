#include "drain/taint-edit.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"

#define NAME_MAX_LEN   63
#define PREFIX_MAX_LEN 253

/* ASCII, whatever the locale says. */
static bool is_alphanumeric(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Of a key behind its prefix, and of a value: letters, digits, and "-_." within. */
static bool is_name(const char *s, size_t len)
{
	if (len == 0 || len > NAME_MAX_LEN || !is_alphanumeric(s[0]) ||
		!is_alphanumeric(s[len - 1]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_alphanumeric(s[i]) && !strchr("-_.", s[i]))
			return false;
	return true;
}

static bool is_subdomain(const char *s, size_t len)
{
	bool is_edge = true; /* a label begins or has just ended */

	if (len == 0 || len > PREFIX_MAX_LEN)
		return false;
	for (size_t i = 0; i < len; i++) {
		bool is_word = is_alphanumeric(s[i]) && !(s[i] >= 'A' && s[i] <= 'Z');

		if (!is_word && (is_edge || !strchr("-.", s[i])))
			return false;
		if (s[i] == '.' && s[i - 1] == '-')
			return false;
		is_edge = s[i] == '.';
	}
	return !is_edge && s[len - 1] != '-';
}

static bool is_key(const char *key)
{
	const char *slash = strchr(key, '/');

	if (!slash)
		return is_name(key, strlen(key));
	return is_subdomain(key, (size_t)(slash - key)) && is_name(slash + 1, strlen(slash + 1));
}

static bool is_effect(const char *effect)
{
	return str_eq(effect, "NoSchedule") || str_eq(effect, "PreferNoSchedule") ||
		str_eq(effect, "NoExecute");
}

/* `len` bytes into `out`; false: they do not fit. */
static bool take(char *out, size_t size, const char *text, size_t len)
{
	if (len >= size)
		return false;
	memcpy(out, text, len);
	out[len] = '\0';
	return true;
}

static int check(const char *text, const struct taint_edit *e, bool has_effect, struct err *reterr)
{
	if (!is_key(e->key))
		return err_set(reterr, -EINVAL, "Invalid taint '%s': '%s' is no key", text, e->key);
	if (e->value[0] && !is_name(e->value, strlen(e->value)))
		return err_set(
			reterr, -EINVAL, "Invalid taint '%s': '%s' is no value", text, e->value);
	if (!e->is_removal && !has_effect)
		return err_set(reterr, -EINVAL,
			"Invalid taint '%s': say KEY=VALUE:EFFECT or KEY:EFFECT, or KEY- to take "
			"one away",
			text);
	if (has_effect && !is_effect(e->effect))
		return err_set(reterr, -EINVAL,
			"Invalid taint '%s': the effect is one of NoSchedule, PreferNoSchedule, "
			"NoExecute, not '%s'",
			text, e->effect);
	return 0;
}

int taint_edit_parse(const char *text, struct taint_edit *ret, struct err *reterr)
{
	size_t len = strlen(text), key_len;
	const char *colon = strchr(text, ':'), *equals, *end = text + len;
	struct taint_edit e = { .is_removal = len > 0 && text[len - 1] == '-' };

	if (e.is_removal)
		end--;
	key_len = (size_t)((colon ? colon : end) - text);
	equals = memchr(text, '=', key_len);
	if (equals && e.is_removal)
		return err_set(reterr, -EINVAL,
			"Invalid taint '%s': one is taken away by KEY:EFFECT- or KEY-, without a "
			"value",
			text);
	if (equals) {
		if (!take(e.value, sizeof(e.value), equals + 1,
			    (size_t)(text + key_len - equals - 1)))
			return err_set(reterr, -EINVAL, "Invalid taint '%s': value too long", text);
		key_len = (size_t)(equals - text);
	}
	if (!take(e.key, sizeof(e.key), text, key_len))
		return err_set(reterr, -EINVAL, "Invalid taint '%s': key too long", text);
	if (colon && !take(e.effect, sizeof(e.effect), colon + 1, (size_t)(end - colon - 1)))
		return err_set(reterr, -EINVAL, "Invalid taint '%s': no such effect", text);
	if (check(text, &e, colon != NULL, reterr) < 0)
		return -EINVAL;
	*ret = e;
	return 0;
}

bool taint_edit_is_one(const char *word)
{
	size_t len = strlen(word);

	return strpbrk(word, ":=") || (len > 0 && word[len - 1] == '-');
}

bool taint_edit_is_node_name(const char *word)
{
	return is_subdomain(word, strlen(word));
}
