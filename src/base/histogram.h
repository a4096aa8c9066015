/* A histogram as Prometheus wants it: cumulative at output, one count per bucket here. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_BUCKETS_MAX 24

struct histogram {
	const double *bounds; /* ascending upper bounds in seconds, borrowed; +Inf is implied */
	size_t bound_count;   /* at most HISTOGRAM_BUCKETS_MAX */
	uint64_t counts[HISTOGRAM_BUCKETS_MAX + 1];
	uint64_t total;
	double sum_seconds;
};

/* client_golang's DefBuckets: 5 ms to 10 s, what the kubelet's PLEG histograms use. */
extern const double histogram_def_buckets[11];
/* 0.005 * 2.5^n, 14 buckets: kubelet_runtime_operations_duration_seconds. */
extern const double histogram_operation_buckets[14];
/* Up to an hour: what the kubelet's cannot show, the length of a stall. */
extern const double histogram_stall_buckets[12];

#define HISTOGRAM_INIT(b)                                                                          \
	((struct histogram){ .bounds = (b), .bound_count = sizeof(b) / sizeof((b)[0]) })

void histogram_observe(struct histogram *h, uint64_t duration_ns);
