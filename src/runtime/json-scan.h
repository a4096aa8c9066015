/*
 * JSON read in place: bytes in, slices out, nothing is allocated and nothing is copied but the texts
 * that are asked for. What a Docker Engine answers holds environments and command lines; read like
 * this they are stepped over and stay nowhere.
 *
 * Order of use: json_scan_check() a whole text, once; only then walk it. What was checked cannot fail
 * half-way; what was not checked must never be walked.
 *
 * A value is a slice without blanks around it; its first byte says of what kind it is. Of doubled
 * members each is told; strings are bytes, UTF-8 or not.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

#define JSON_SCAN_DEPTH_MAX 64

/* One JSON value (RFC 8259) with nothing but blanks around it, nested no deeper than the maximum:
 * 0 and the value, or -EBADMSG. */
int json_scan_check(struct slice text, struct slice *ret_value);

/* What is left to walk of an object or an array. */
struct json_scan {
	const char *at, *end;
};

/* Of anything else than the wanted kind, also of an empty slice, there is nothing to walk. */
struct json_scan json_scan_object(struct slice value);
struct json_scan json_scan_array(struct slice value);
/* false at the end. The key is told as it stands between its quotes, escapes and all. */
bool json_scan_member(struct json_scan *scan, struct slice *ret_key, struct slice *ret_value);
bool json_scan_element(struct json_scan *scan, struct slice *ret_value);

/* The last member of that name, which must need no escapes; empty: there is none, or no object. */
struct slice json_scan_find(struct slice object, const char *name);

bool json_scan_is_true(struct slice value);
/* An integer without fraction or exponent: 0; -EINVAL for anything else, -ERANGE. */
int json_scan_i64(struct slice value, int64_t *ret);
/* What stands between the quotes; empty for anything but a string. */
struct slice json_scan_raw(struct slice value);
/* Undoes the escapes of what json_scan_raw() gave; `out` has room for raw.len bytes. Half of a
 * surrogate pair becomes U+FFFD, and so does a NUL. Returns the length. */
size_t json_scan_unescape(struct slice raw, char *out);
