/*
 * YAML as a flat row of items with their places, for our own configuration and the kubelet's. The
 * only file that speaks to libfyaml.
 *
 * Not a tree on purpose: a tree folds duplicate keys, expands aliases and forgets places. One
 * document per text; aliases, tags, directives and bytes that are not printable UTF-8 are errors.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"

struct yaml;

enum yaml_type {
	YAML_MAPPING_START,
	YAML_MAPPING_END,
	YAML_SEQUENCE_START,
	YAML_SEQUENCE_END,
	YAML_SCALAR, /* a key or a value: who reads knows which comes next */
	YAML_END,    /* of the document; the last item */
};

/* Places count from 1. `text` ends with a NUL that `len` does not count, holds no other one, and is
 * valid until the next yaml_next(). */
struct yaml_item {
	enum yaml_type type;
	unsigned line, column;
	const char *text;
	size_t len;
	bool is_plain; /* not quoted, so that null, true and 5 are not texts */
};

/* `name` is what errors call the file; it and `text` are borrowed for the life of the reader. */
int yaml_new(const char *name, const char *text, size_t len, struct yaml **ret, struct err *reterr);
struct yaml *yaml_free(struct yaml *yaml);
DEFINE_FREEP(struct yaml *, yaml_free)

/* 0 or -EINVAL with "FILE:LINE:COLUMN: what". After YAML_END it goes on giving YAML_END. */
int yaml_next(struct yaml *yaml, struct yaml_item *ret, struct err *reterr);

/* Goes behind the end of the mapping or sequence that `item`, just read, has begun; nothing for a
 * scalar. */
int yaml_skip(struct yaml *yaml, const struct yaml_item *item, struct err *reterr);
