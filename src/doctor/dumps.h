/*
 * Goroutine dumps of containerd, dockerd and shims: each is asked for one (SIGUSR1) and what it wrote is
 * read, one process after the other and all of it within a deadline.
 *
 *	look where it would write ─▶ SIGUSR1 ─▶ look again until it has ─▶ read, at most 4 MiB ─▶ parse
 *
 * A signal goes only to the very process of the sample, by pidfd, and only if it catches SIGUSR1, which ends
 * whoever does not. Nobody is asked who is stopped or frozen and so could not answer, whose dump would land on
 * a filesystem that hangs, or, being a shim, whose log nobody reads: a full pipe would hold it up.
 * All files are looked at by the probe. docs/internals/doctor.md has what is written where.
 */
#pragma once

#include <systemd/sd-event.h>

#include "base/mem.h"
#include "base/time.h"
#include "model/evidence.h"
#include "model/finding.h"
#include "model/goroutines.h"

struct dumps;
struct probe;

#define DUMPS_MAX       4u /* processes; what there are more is not asked */
#define DUMPS_NS        (4 * NSEC_PER_SEC)
#define DUMPS_BYTES_MAX (UINT32_C(4) << 20) /* of one dump */

/* `probe` NULL: nobody is asked, and each says why. Borrows both. */
int dumps_new(sd_event *loop, struct probe *probe, struct dumps **ret);
/* Forgets what is under way without calling back. Returns NULL. */
struct dumps *dumps_free(struct dumps *dumps);
DEFINE_FREEP(struct dumps *, dumps_free)

/*
 * Once. 0: `on_done` is called from the loop, exactly once, not later than `due_ns` (monotonic); or -ENOMEM.
 * The sample is borrowed until dumps_free(), the findings during the call.
 */
int dumps_start(struct dumps *dumps, const struct evidence *evidence,
	const struct findings *findings, uint64_t due_ns, void (*on_done)(void *userdata),
	void *userdata);

/* What became of each so far. */
const struct goroutine_dump *dumps_get(const struct dumps *dumps, uint32_t *ret_count);
