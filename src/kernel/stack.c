#include "kernel/stack.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

static bool is_of_name(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '.' || c == '$';
}

size_t stack_functions(const char *text, size_t len, char *out, size_t size)
{
	size_t used = 0;

	while (len > 0) {
		const char *newline = memchr(text, '\n', len);
		size_t line = newline ? (size_t)(newline - text) : len, name = 0;
		const char *close = memchr(text, ']', line);

		if (close && text[0] == '[' && close + 2 < text + line && close[1] == ' ') {
			const char *s = close + 2;

			while (s + name < text + line && is_of_name(s[name]))
				name++;
			if (name > 0 && used + name + 2 <= size) {
				if (used > 0)
					out[used++] = '\n';
				memcpy(out + used, s, name);
				used += name;
			}
		}
		text += line + (newline ? 1 : 0);
		len -= line + (newline ? 1 : 0);
	}
	out[used] = '\0';
	return used;
}
