/*
 * Error detail that a human or a remote peer will read.
 *
 * A function that can fail in a way worth explaining takes a `struct err *reterr` as its last
 * parameter, fills it only on failure and returns the same negative errno. Callers add context by
 * wrapping, outermost first: "read pod sandbox 'x': connect: no such file". NULL is accepted
 * everywhere and means that nobody wants the text.
 */
#pragma once

#include <stddef.h>

struct err {
	int code;       /* negative errno */
	char text[480]; /* starts with a capital, no full stop, never empty once set */
};

/* Sets the text and returns `code`, so that a caller can write `return err_set(...)`. */
int err_set(struct err *reterr, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before what is there; where nothing is there yet, after it comes the errno text. */
int err_wrap(struct err *reterr, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The text, or the errno's own name for a code without one. Never NULL. */
const char *err_text(const struct err *e, int code);
