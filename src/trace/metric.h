/* One number out of a page of Prometheus text. Pure. */
#pragma once

#include <stdbool.h>

#include "base/str.h"

/* The sum over all rows of a metric, whatever their labels; false if there is none. */
bool trace_metric_sum(struct slice text, const char *name, double *ret);
