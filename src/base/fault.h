/*
 * The fault seam: where a test may make something fail that seldom fails by itself.
 *
 * A test program defines fault_hit(); no other program does, and there the weak symbol is null and
 * nothing fails. Calls are numbered by the test itself, which lets the first, the second, the
 * third ... of them fail until a run meets no fault (tests/fault).
 */
#pragma once

#include <stdbool.h>

enum fault_point {
	FAULT_ALLOC, /* any allocation of base/mem.h */
	FAULT_READ,  /* read, recv */
	FAULT_WRITE, /* write, send */
	FAULT_OPEN,  /* open, socket, memfd_create */
};

bool fault_hit(enum fault_point point) __attribute__((weak));

static inline bool fault_is_due(enum fault_point point)
{
	return fault_hit && fault_hit(point);
}
