#include "kernel/pressure.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "base/str.h"

/* "12.34", at most 100. */
static bool take_percent(const char *s, const char *end, double *ret)
{
	unsigned whole = 0, hundredths = 0, digits = 0;

	for (; s < end && isdigit((unsigned char)*s) && digits < 3; s++, digits++)
		whole = whole * 10 + (unsigned)(*s - '0');
	if (digits == 0 || end - s < 3 || s[0] != '.' || !isdigit((unsigned char)s[1]) ||
		!isdigit((unsigned char)s[2]))
		return false;
	hundredths = (unsigned)(s[1] - '0') * 10 + (unsigned)(s[2] - '0');
	*ret = (double)whole + (double)hundredths / 100;
	return *ret <= 100;
}

/* The avg10 of the line that starts with `kind`. 1, 0: no such line, -EBADMSG. */
static int find_line(const char *text, size_t len, const char *kind, double *ret)
{
	size_t kind_len = strlen(kind);

	while (len > 0) {
		const char *newline = memchr(text, '\n', len);
		size_t line = newline ? (size_t)(newline - text) : len;

		if (line > kind_len + 7 && memcmp(text, kind, kind_len) == 0 &&
			memcmp(text + kind_len, " avg10=", 7) == 0)
			return take_percent(text + kind_len + 7, text + line, ret) ? 1 : -EBADMSG;
		text += line + (newline ? 1 : 0);
		len -= line + (newline ? 1 : 0);
	}
	return 0;
}

int pressure_parse(const char *text, size_t len, struct pressure *ret)
{
	struct pressure out = { 0 };
	int r = find_line(text, len, "some", &out.some_avg10);

	if (r <= 0)
		return -EBADMSG;
	r = find_line(text, len, "full", &out.full_avg10);
	if (r < 0)
		return r;
	out.has_full = r > 0;
	*ret = out;
	return 0;
}

int pressure_read(int proc_fd, const char *resource, struct pressure *ret)
{
	char path[32], text[512];
	int n;

	(void)snprintf(path, sizeof(path), "pressure/%s", resource);
	n = fd_read_small(proc_fd, path, text, sizeof(text));
	return n < 0 ? n : pressure_parse(text, (size_t)n, ret);
}
