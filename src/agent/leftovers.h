/*
 * Dead processes that nobody reaps: their parent is stopped, or it has started them in a pid namespace
 * that it is not in (nsenter, exec) and does not look after them, which keeps that namespace's init from
 * dying. Nothing of the runtime shows them, and none of them is in D; but each has exited, which the
 * process connector tells. Each exit that was heard of is looked at once, LEFTOVERS_WAIT_NS later, when
 * most have long been reaped: a read that fails. Such a one is kept, and looked at until it is gone.
 *
 * Bounded: of more exits than there is room for, the later ones are not looked at. Parents that are
 * stopped only after that are not seen here.
 */
#pragma once

#include <stdint.h>

#include "base/mem.h"
#include "base/time.h"

#define LEFTOVERS_MAX      64u /* that wait to be looked at */
#define LEFTOVERS_KEPT_MAX 16u
#define LEFTOVERS_WAIT_NS  (1500 * NSEC_PER_MSEC)
#define LEFTOVERS_EVERY_NS NSEC_PER_SEC /* looks: so at most some 64 and 16 reads in a second */

struct leftovers;

int leftovers_new(struct leftovers **ret);
/* Returns NULL. */
struct leftovers *leftovers_free(struct leftovers *leftovers);
DEFINE_FREEP(struct leftovers *, leftovers_free)

/* This process has exited. When to look: LEFTOVERS_WAIT_NS after the first of them. */
uint64_t leftovers_note(struct leftovers *leftovers, int32_t pid, uint64_t now_ns);
/* Looks at those whose time has come, and at the kept. When to look again; NSEC_NEVER: nothing is left. */
uint64_t leftovers_look(struct leftovers *leftovers, uint64_t now_ns);
/* Those that were kept at the last look. */
uint32_t leftovers_kept(const struct leftovers *leftovers);
