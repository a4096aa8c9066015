/*
 * Goroutines and findings: who is to be asked for a dump after the last sample, and what a dump adds to
 * a finding. Pure; it judges nothing and changes no confidence: a dump is one look, at one moment.
 */
#pragma once

#include "model/evidence.h"
#include "model/finding.h"
#include "model/goroutines.h"

/*
 * Go processes that a finding is about or that have not answered, daemons first; where there are none, the
 * daemons of the runtime. Indices of processes, at most `max`; the number.
 */
uint32_t goroutines_choose(
	const struct evidence *e, const struct findings *findings, uint32_t *ret, uint32_t max);

/* The shim of this process, in `shims`; EVIDENCE_NONE: it is none. */
uint32_t goroutines_shim_of(const struct evidence *e, uint32_t process);

/* Adds lines of evidence to the findings that a dump says something about: a lock of dockerd, a deadlock, a
 * shim that does not answer, and what nobody can explain. */
void goroutines_tell(const struct evidence *e, const struct goroutine_dump *dumps, uint32_t count,
	struct findings *findings);
