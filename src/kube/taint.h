/*
 * The taint pleg.dev/unhealthy:NoSchedule, which pleg sets where it is told to. A node's taint list
 * is written as a whole, so a patch repeats what others have put there, byte for byte, and holds
 * only for the resourceVersion that it was read with. One that pleg set has the value "pleg"; only
 * such a one is removed. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

#define TAINT_KEY    "pleg.dev/unhealthy"
#define TAINT_VALUE  "pleg"
#define TAINT_EFFECT "NoSchedule"

/* One of the node's, as it was read. */
struct taint_seen {
	const char *key, *value, *effect; /* "" where there is none */
	const char *json;                 /* the whole object */
};

struct taint_node {
	const char *resource_version;
	const struct taint_seen *taints;
	size_t taint_count;
};

enum taint_step {
	TAINT_NONE, /* it is as it should be, or is somebody else's */
	TAINT_ADD,
	TAINT_REMOVE,
};

enum taint_step taint_plan(const struct taint_node *node, bool is_wanted);
/* The body for PATCH nodes/NAME, JSON merge patch, for one of the other two steps. Appended to `out`; 0,
 * -ENOMEM, -EMSGSIZE, -EINVAL without a resourceVersion. */
int taint_patch(const struct taint_node *node, enum taint_step step, struct buf *out);
