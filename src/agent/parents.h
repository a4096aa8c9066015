/*
 * The shims of the containers that are watched: who they are, and whether they are alive. A shim is
 * the parent of an init, called containerd-shim*; one that is dead has no children any more, so it
 * has to be known before. Cheap: one stat when a container is first seen, and again at most every
 * SHIMS_FRESH_NS, since the containers of a pod share theirs.
 */
#pragma once

#include <stdint.h>

#include "base/mem.h"
#include "model/ledger.h"

#define SHIMS_FRESH_NS       (9 * UINT64_C(1000000000)) /* with 288 shims and more */
#define SHIMS_FRESH_LEAST_NS UINT64_C(900000000)

struct parents;
struct parent;

/* At most `parents_max`; more are not looked at. */
int parents_new(uint32_t parents_max, struct parents **ret);
/* Release the shims first. Returns NULL. */
struct parents *parents_free(struct parents *parents);
DEFINE_FREEP(struct parents *, parents_free)

/* The shim of this init, to be given back; NULL: it has none that can be known. */
struct parent *parents_of(struct parents *parents, int32_t init_pid);
/* Accepts NULL, returns NULL. */
struct parent *parent_release(struct parent *shim);
/* As of at most SHIMS_FRESH_NS ago. */
struct ledger_shim parent_look(struct parent *shim, uint64_t now_ns);
