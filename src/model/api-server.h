/*
 * The way to the API server: how far a request to it came, what the last one found. The same words in
 * the role that asks, in the agent's status and metrics, and in the doctor's evidence.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Since the begin of a request's last try; 0: it did not come so far (or, for the first three, the
 * connection was there). */
struct api_timings {
	uint64_t dns_ns, connect_ns, tls_ns, first_byte_ns, total_ns;
};

/* A connection that was there, on which nothing came any more, while a new one was answered. */
struct api_stale {
	const char *local, *remote; /* its ends, "10.0.0.7:41234"; never NULL, as the next */
	const char *what;           /* what got no answer: "PATCH /api/v1/nodes/a/status" */
	uint64_t age_ns;            /* 0: not known */
	uint64_t silent_ns;         /* nothing came for so long */
	uint64_t ack_ns;            /* these four as TCP_INFO has them, where has_tcp */
	uint32_t unacked, retransmits, backoff;
	uint32_t fresh_http; /* the answer over the new connection */
	struct api_timings fresh;
	bool has_tcp;
	bool is_proven; /* the same question was answered, or nothing was acknowledged */
};

struct api_server {
	const char *server;         /* its URL; NULL: none is configured, or nobody has asked it */
	const char *error;          /* how far the last request came: "ok", "dns", "connect", ... */
	const char *why;            /* in words; "" */
	unsigned http;              /* its answer; 0: none */
	uint64_t away_ns;           /* nothing was answered as it should for so long; 0: it was */
	uint32_t failures;          /* in a row, each a request of its own; 0: it answers */
	struct api_timings timings; /* of the last request */
	int64_t expiry_ns;          /* of the credential, wall clock; 0: not known */
	uint32_t
		stale_count; /* stale connections since the start of the trouble; 0: none of late */
	uint64_t stale_ns;   /* since the last of them, which follows */
	struct api_stale stale;
};
