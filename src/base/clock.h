/* The one place that reads the clock. Pure rooms cannot link it; they are handed a struct now. */
#pragma once

#include "base/time.h"

struct now clock_now(void);
/* Since boot, suspended time included: what the wall clock is held against. */
uint64_t clock_boot_ns(void);
