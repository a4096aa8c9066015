/*
 * How often one node may write to the API server, whatever happens on it: WRITES_MAX in any WRITES_NS,
 * counted exactly and not on average, failed attempts included. Conditions go before the taint and
 * both before Events, which leave WRITES_KEPT of them alone and come one a second. Pure.
 */
#pragma once

#include <stdint.h>

#include "base/time.h"

#define WRITES_MAX      6u
#define WRITES_NS       (62 * NSEC_PER_SEC) /* a minute also where one comes late and the next not */
#define WRITES_KEPT     2u                  /* that no Event may use */
#define WRITES_APART_NS NSEC_PER_SEC

enum write_class {
	WRITE_NODE, /* conditions and taint */
	WRITE_EVENT,
};

struct budget {
	uint64_t at_ns[WRITES_MAX]; /* a ring of the newest writes */
	uint64_t count;             /* ever */
};

/* When the next write of this kind may be made: `now_ns` or later. */
uint64_t budget_when(const struct budget *budget, enum write_class class, uint64_t now_ns);
/* One is made now; budget_when() has said so. */
void budget_spend(struct budget *budget, uint64_t now_ns);
