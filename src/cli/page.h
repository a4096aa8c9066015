/*
 * Text for people, made piece by piece; and what reads a JSON document for it.
 *
 * A page latches its first error, so that what fills it reads as a list of what it says. Everything
 * that comes out of a document passes str_clean(). Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/str.h"

#define PAGE_TEXT_MAX 1024

/* What is asked of the looks, and the time that ages are counted from. */
struct looks {
	unsigned width; /* 0: as wide as it takes */
	bool color;
	int64_t now_ns; /* wall clock */
};

struct page {
	struct buf *out;
	const struct looks *looks;
	int r; /* first error */
};

#define SGR_BOLD   "1"
#define SGR_DIM    "2"
#define SGR_RED    "31"
#define SGR_GREEN  "32"
#define SGR_YELLOW "33"
#define SGR_ALARM  "1;31"
#define SGR_WARN   "1;33"
#define SGR_CALM   "1;32"

/* As it is: for texts of our own and cleaned ones. */
void page_put(struct page *p, const char *text);
void page_printf(struct page *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* In colour, where colour is wanted. */
void page_colored(struct page *p, const char *sgr, const char *text);
/* Words, broken at `width` columns; the following lines start at `indent`. The first one is taken
 * to start at `column`. Ends with a newline. */
void page_wrap(struct page *p, unsigned column, unsigned indent, unsigned width, const char *text);

/* Characters, as a terminal counts them (wide ones are taken for one). */
size_t text_width(const char *text);

/* "" for what is missing or no text. Cleaned into `out`. */
const char *doc_text(char out[PAGE_TEXT_MAX], const json_t *object, const char *key);
#define DOC_TEXT(object, key) doc_text((char[PAGE_TEXT_MAX]){ 0 }, object, key)
bool doc_is_true(const json_t *object, const char *key);
bool doc_is_false(const json_t *object, const char *key);
/* False (and 0) for null and what is missing. */
bool doc_number(const json_t *object, const char *key, double *ret);
long long doc_integer(const json_t *object, const char *key); /* 0 */
/* An RFC 3339 time; false for null and garbage. */
bool doc_time(const json_t *object, const char *key, int64_t *ret_real_ns);

/* A duration in seconds: "4ms", "0.4s", "3m05s"; "-" for a negative one. */
#define SECONDS_TEXT_MAX 64
const char *seconds_text(char out[SECONDS_TEXT_MAX], double seconds);
