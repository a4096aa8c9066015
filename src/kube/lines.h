/*
 * Bytes of a watch cut into lines: one JSON object each. Pure. A line is given only when it is whole;
 * what is left when the stream breaks is dropped by kube_lines_reset(). A line longer than the maximum
 * is -EMSGSIZE, after which only a reset helps.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

struct kube_lines {
	struct buf bytes;
	size_t read;    /* of them were given */
	size_t scanned; /* behind `read` hold no newline */
};

#define KUBE_LINES_INIT(max) ((struct kube_lines){ .bytes = BUF_INIT(max) })

/* 0, -ENOMEM or -EMSGSIZE. */
int kube_lines_add(struct kube_lines *l, const void *data, size_t len);
/* The next whole line without its newline, never empty; valid until the next call with `l`. False:
 * there is none. */
bool kube_lines_next(struct kube_lines *l, const char **ret, size_t *ret_len);
void kube_lines_reset(struct kube_lines *l);
void kube_lines_done(struct kube_lines *l);
