/*
 * What the log says of the verdict: each change once, with what is known about it, at the level that
 * fits. A state that lasts is not repeated.
 */
#pragma once

#include "base/mem.h"
#include "base/time.h"
#include "node/node.h"
#include "pleg/pleg.h"

struct transitions;

int transitions_new(struct transitions **ret);
struct transitions *transitions_free(struct transitions *t);
DEFINE_FREEP(struct transitions *, transitions_free)

/* After each node_update(), with the facts it was given. */
void transitions_log(struct transitions *t, const struct node *node, const struct node_facts *facts,
	const struct pleg *pleg, struct now now);
