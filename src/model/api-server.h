/*
 * The way to the API server: how far a request to it came, what the last one found. The same words in
 * the role that asks, in the agent's status and metrics, and in the doctor's evidence.
 */
#pragma once

#include <stdint.h>

/* Since the begin of a request's last try; 0: it did not come so far (or, for the first three, the
 * connection was there). */
struct api_timings {
	uint64_t dns_ns, connect_ns, tls_ns, first_byte_ns, total_ns;
};

struct api_server {
	const char *server;         /* its URL; NULL: none is configured, or nobody has asked it */
	const char *error;          /* how far the last request came: "ok", "dns", "connect", ... */
	const char *why;            /* in words; "" */
	unsigned http;              /* its answer; 0: none */
	uint64_t away_ns;           /* nothing was answered as it should for so long; 0: it was */
	struct api_timings timings; /* of the last request */
	int64_t expiry_ns;          /* of the credential, wall clock; 0: not known */
};
