/* Strings: comparison, checked numbers, text that is safe to show. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline bool str_eq(const char *a, const char *b)
{
	return strcmp(a, b) == 0;
}

/* "" for NULL. */
static inline const char *str_or_empty(const char *s)
{
	return s ? s : "";
}

/* If `s` begins with `prefix`, what comes after it, else NULL. */
const char *str_after(const char *s, const char *prefix);

/* Decimal, no sign, no blanks, all of the string. 0, -EINVAL or -ERANGE. */
int str_to_u64(const char *s, uint64_t *ret);

/* True for well-formed UTF-8 without control characters (C0, U+007F, C1), line separators and what
 * turns the direction of text (U+202A..U+202E, U+2066..U+2069). */
bool str_is_printable(const char *s, size_t len);

/* Copies `len` bytes into `out` (always NUL-terminated), every byte that is not printable UTF-8 as
 * '?', cut at the end of a character. What comes from outside and goes to a terminal or into JSON
 * passes here. Returns out. */
char *str_clean(char *out, size_t out_size, const char *s, size_t len);

/* Copies `s` (NULL as "") with its NUL to *at, moves *at behind it and returns where it stands: for
 * blocks that hold a struct and its strings in one allocation. The caller has counted the room. */
const char *str_put(char **at, const char *s);

/* snprintf() into a caller's array that returns it; FMT() is one that lives to the end
 * of the block it stands in, and the body of an if is one: do not carry it out of there. */
const char *str_format(char *out, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
#define FMT(...) str_format((char[192]){ 0 }, 192, __VA_ARGS__)

/* Borrowed bytes, not NUL-terminated: what a scan over a message points at. */
struct slice {
	const char *data;
	size_t len;
};

#define SLICE(string) ((struct slice){ (string), strlen(string) })

static inline bool slice_eq(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}
