#include "base/str.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

const char *str_after(const char *s, const char *prefix)
{
	size_t len = strlen(prefix);

	return strncmp(s, prefix, len) == 0 ? s + len : NULL;
}

int str_to_u64(const char *s, uint64_t *ret)
{
	uint64_t value = 0;

	if (*s == '\0')
		return -EINVAL;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return -EINVAL;
		if (__builtin_mul_overflow(value, 10, &value) ||
			__builtin_add_overflow(value, (uint64_t)(*s - '0'), &value))
			return -ERANGE;
	}
	*ret = value;
	return 0;
}

/* Length of the printable character at `s`, 0 if there is none (RFC 3629, table 3-7 of Unicode). */
static size_t utf8_length(const uint8_t *s, size_t len)
{
	uint32_t code;
	size_t n;

	if (s[0] < 0x80)
		return s[0] >= 0x20 && s[0] != 0x7f ? 1 : 0;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		n = 2;
	else if ((s[0] & 0xf0) == 0xe0)
		n = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		n = 4;
	else
		return 0;
	if (n > len)
		return 0;
	code = s[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3f);
	}
	if ((n == 3 && code < 0x800) || (n == 4 && code < 0x10000))
		return 0;
	/* Separators of lines, and what turns the direction of text: it makes a name look like another. */
	if ((code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069))
		return 0;
	if ((code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff || (code >= 0x80 && code < 0xa0))
		return 0;
	return n;
}

bool str_is_printable(const char *s, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t n = utf8_length((const uint8_t *)s + i, len - i);

		if (n == 0)
			return false;
		i += n;
	}
	return true;
}

char *str_clean(char *out, size_t out_size, const char *s, size_t len)
{
	size_t used = 0;

	for (size_t i = 0; i < len;) {
		size_t n = utf8_length((const uint8_t *)s + i, len - i);

		if (used + (n ? n : 1) >= out_size)
			break;
		if (n == 0) {
			out[used++] = '?';
			i++;
			continue;
		}
		memcpy(out + used, s + i, n);
		used += n;
		i += n;
	}
	out[used] = '\0';
	return out;
}

const char *str_format(char *out, size_t size, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(out, size, format, ap);
	va_end(ap);
	return out;
}

const char *str_put(char **at, const char *s)
{
	char *start = *at;
	size_t size = strlen(str_or_empty(s)) + 1;

	memcpy(start, str_or_empty(s), size);
	*at += size;
	return start;
}
