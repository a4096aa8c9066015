/*
 * Pages that stay (law 10): what the agent needs to go on working is in memory before the disk
 * hangs, and is not given back.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Locks all memory as it is touched, and reads in the code of our executable and of the libraries
 * that the loop needs. `*ret_bytes` is how much code that was. Without the privilege for it a
 * negative errno with a text; the agent then works as well, until its disk hangs. */
int resident_begin(size_t *ret_bytes, struct err *reterr);

/* Resident memory of this process from /proc/self/statm, which never blocks; 0: unknown. */
uint64_t resident_bytes(void);
