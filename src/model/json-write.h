/*
 * JSON written straight into a buffer, without a tree: documents and events are made often and on a
 * sick node. Pure.
 *
 * The first error (out of memory, the buffer's maximum) sticks and everything after it is ignored,
 * so that only the end has to be checked. What is written is always valid JSON in valid UTF-8,
 * whatever the texts hold.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct json_write {
	struct buf *out;
	int error; /* 0, or the first negative errno */
	bool needs_comma;
};

#define JSON_WRITE_INIT(buffer) ((struct json_write){ .out = (buffer) })

/* `key` is NULL inside an array and for the outermost value; keys are constants of ours. */
void json_write_object(struct json_write *w, const char *key);
void json_write_object_end(struct json_write *w);
void json_write_array(struct json_write *w, const char *key);
void json_write_array_end(struct json_write *w);

void json_write_text(struct json_write *w, const char *key, const char *text); /* NULL: null */
void json_write_text_or_null(
	struct json_write *w, const char *key, const char *text); /* "": null */
void json_write_u64(struct json_write *w, const char *key, uint64_t value);
void json_write_i64(struct json_write *w, const char *key, int64_t value);
void json_write_bool(struct json_write *w, const char *key, bool value);
void json_write_null(struct json_write *w, const char *key);
/* Seconds as a number with as many digits as are needed, up to nine. */
void json_write_seconds(struct json_write *w, const char *key, uint64_t duration_ns);
/* RFC 3339, or null for 0. */
void json_write_time(struct json_write *w, const char *key, int64_t real_ns);

/* 0 or the first error. */
int json_write_result(const struct json_write *w);
