#include "kube/text.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/str.h"

/* Words whose value is nobody else's business; matched at the end of a name, in any case. */
static const char *const secret_words[] = { "password", "passwd", "passphrase", "pwd", "token",
	"secret", "apikey", "api_key", "api-key", "access_key", "credential", "credentials",
	"signature", "authorization" };

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		c == '_' || c == '-';
}

static bool ends_value(char c)
{
	return c == '\0' || strchr(" \t\n,;&'\")]}", c) != NULL;
}

/* Puts stars over text[from, to) and closes the gap; returns where the rest goes on. */
static size_t hide(char *text, size_t from, size_t to)
{
	static const char stars[] = "***";
	size_t len = to - from < 3 ? to - from : 3;

	memcpy(text + from, stars, len);
	memmove(text + from + len, text + to, strlen(text + to) + 1);
	return from + len;
}

/* "://user:password@": the length of what stands before the last '@' of the authority, or 0. */
static size_t user_part(const char *authority)
{
	size_t at = 0;

	for (size_t i = 0; !ends_value(authority[i]) && authority[i] != '/'; i++)
		if (authority[i] == '@')
			at = i;
	return at;
}

static bool names_secret(const char *text, size_t end)
{
	size_t from = end;

	while (from > 0 && is_word(text[from - 1]))
		from--;
	for (size_t i = 0; i < ELEMENTS(secret_words); i++) {
		size_t len = strlen(secret_words[i]);

		if (end - from >= len && strncasecmp(text + end - len, secret_words[i], len) == 0)
			return true;
	}
	return false;
}

/* Behind "name=" or "name: " at `at`, the separator: hides the value, returns where to go on. */
static size_t hide_value(char *text, size_t at)
{
	size_t from = at + 1, to;

	while (text[from] == ' ')
		from++;
	if (strncasecmp(text + from, "bearer ", 7) == 0 ||
		strncasecmp(text + from, "basic ", 6) == 0)
		return at + 1; /* The value is told by its own word. */
	if (text[from] == '"' || text[from] == '\'')
		from++;
	for (to = from; !ends_value(text[to]);)
		to++;
	return to > from ? hide(text, from, to) : at + 1;
}

static void hide_secrets(char *text)
{
	for (size_t i = 0; text[i];) {
		size_t to;

		if (strncmp(text + i, "://", 3) == 0) {
			i += 3;
			to = user_part(text + i);
			if (to > 0)
				i = hide(text, i, i + to);
		} else if ((text[i] == '=' || text[i] == ':') && names_secret(text, i)) {
			i = hide_value(text, i);
		} else if ((i == 0 || !is_word(text[i - 1])) &&
			(strncasecmp(text + i, "bearer ", 7) == 0 ||
				strncasecmp(text + i, "basic ", 6) == 0)) {
			i += text[i + 5] == ' ' ? 6 : 7;
			for (to = i; !ends_value(text[to]);)
				to++;
			/* "basic " is also a word of prose; what is encoded is not that short. */
			if (to - i >= 8)
				i = hide(text, i, to);
		} else {
			i++;
		}
	}
}

const char *kube_message(char out[KUBE_MESSAGE_MAX + 1], const char *text)
{
	char whole[4 * KUBE_MESSAGE_MAX];

	/* Hidden before it is cut: half a secret is one, too. */
	(void)str_clean(whole, sizeof(whole), text, strlen(text));
	hide_secrets(whole);
	return str_clean(out, KUBE_MESSAGE_MAX + 1, whole, strlen(whole));
}

const char *kube_time(char text[TIME_TEXT_MAX], int64_t real_ns)
{
	const size_t seconds_end = 19; /* of 2026-11-23T15:33:52.477362000Z */

	(void)time_format_rfc3339(text, real_ns);
	if (strlen(text) > seconds_end)
		memcpy(text + seconds_end, "Z", 2);
	return text;
}

const char *kube_path_part(char *out, size_t size, const char *text)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t n = 0;

	for (; *text && n + 4 <= size; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x80 && (is_word(*text) || c == '.' || c == '~')) {
			out[n++] = *text;
			continue;
		}
		out[n++] = '%';
		out[n++] = digits[c >> 4];
		out[n++] = digits[c & 15];
	}
	out[n] = '\0';
	return out;
}
