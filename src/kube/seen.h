/*
 * What the reporter needs of the API server's objects, out of their JSON: the node's conditions of
 * pleg's own, its taints, an Event's count. The text comes from outside: whatever is missing, of another
 * type or too long is an error or is left out, and a text that is not UTF-8 is not read at all.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "kube/reporter.h"

#define SEEN_BYTES_MAX  (4u << 20) /* a node with 50 images has some 30 KiB */
#define SEEN_TAINTS_MAX 64u        /* with more of them nothing is tainted */

struct seen_node;

/* -EBADMSG: no such object; -EMSGSIZE; -ENOMEM. */
int seen_node_parse(const void *text, size_t len, struct seen_node **ret, struct err *reterr);
struct seen_node *seen_node_free(struct seen_node *node);
DEFINE_FREEP(struct seen_node *, seen_node_free)
/* Valid as long as `node`. */
const struct reporter_node *seen_node_view(const struct seen_node *node);

/* 0, -EBADMSG, -EMSGSIZE; an Event without a count happened once. */
int seen_event_parse(const void *text, size_t len, uint32_t *ret_count, int64_t *ret_first_ns,
	struct err *reterr);

/* The message of a Status object, or "" where the text is none: for people, cut at `size`. */
const char *seen_status_message(const void *text, size_t len, char *out, size_t size);
