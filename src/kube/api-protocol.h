/*
 * Between the agent and the api role: requests go there, answers come back under the id of their request.
 * Each message is one with texts, as role/texts.h has them, or empty.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kube/pod.h"
#include "model/api-server.h"
#include "role/channel.h"
#include "role/texts.h"

#define API_BODY_INLINE (48u << 10) /* a longer body comes as a sealed memfd */
#define API_BODY_MAX    (4u << 20)

enum api_message {
	API_MSG_CREDENTIAL = CHANNEL_TYPE_FIRST, /* agent -> role: struct api_credential */
	API_MSG_REQUEST,                         /* agent -> role: struct api_request */
	API_MSG_ANSWER,                          /* role -> agent: struct api_answer */
	API_MSG_UNAUTHORIZED, /* role -> agent, empty: a newer credential is wanted */
	API_MSG_WATCH_PODS,   /* agent -> role: struct api_text, the node's name; from then on: */
	API_MSG_PODS_AGAIN,   /* agent -> role, empty: list them anew */
	API_MSG_PODS,         /* role -> agent: struct api_pods_told */
	API_MSG_POD,          /* role -> agent: struct api_pod */
	API_MSG_POD_GONE,     /* role -> agent: struct api_text, its uid */
	API_MSG_STALE,        /* role -> agent: struct api_stale_told, unasked */
};

struct api_start { /* server, ca, tls_server_name, proxy */
	uint32_t lens[4];
	uint64_t seed;
	uint32_t insecure;
};

struct api_credential { /* bearer, cert, key */
	uint32_t lens[3];
	uint32_t unused;
	int64_t expiry_ns;
};

struct api_request { /* method, path, query, content type, body */
	uint32_t lens[5];
	uint32_t tries;
	uint64_t deadline_ns;
};

struct api_answer { /* why, body; or the body as a descriptor */
	uint32_t lens[2];
	uint32_t http;
	uint32_t error; /* enum kube_error */
	uint64_t retry_after_ns;
	struct api_timings timings;
};

/* As struct api_stale; local, remote, what */
struct api_stale_told {
	uint32_t lens[3];
	uint32_t unused;
	uint64_t age_ns, silent_ns, ack_ns;
	struct api_timings fresh;
	uint32_t unacked, retransmits, backoff, fresh_http;
	uint32_t has_tcp, is_proven;
};
/* As texts_pack(). */
int api_pack_stale(struct buf *out, const struct api_stale *stale);
/* All is borrowed. 0 or -EBADMSG. */
int api_unpack_stale(const struct channel_message *m, struct api_stale *ret);

struct api_text {
	uint32_t lens[1];
};

enum api_pods_word {
	API_PODS_BEGIN, /* of a list */
	API_PODS_END,
	API_PODS_OPEN,  /* the stream is open */
	API_PODS_HEARD, /* all that had changed until now was told */
	API_PODS_AWAY,  /* with a reason */
};
#define API_PODS_WORDS (API_PODS_AWAY + 1)

struct api_pods_told { /* reason */
	uint32_t lens[1];
	uint32_t word;
	uint32_t http;
};

#define API_POD_TEXTS (5 + KUBE_POD_CONTAINERS_MAX)
struct api_pod { /* namespace, name, uid, runtime's uid, owner; then the containers' ids */
	uint32_t lens[API_POD_TEXTS];
	uint32_t grace_s;
	int64_t deletion_ns;
	uint8_t phase, is_deleting, container_count, unused;
	uint8_t states[KUBE_POD_CONTAINERS_MAX];
};

/* As texts_pack(). */
int api_pack_pod(struct buf *out, const struct kube_pod *pod);
/* `containers` has room for KUBE_POD_CONTAINERS_MAX. All is borrowed. 0 or -EBADMSG. */
int api_unpack_pod(const struct channel_message *m, struct kube_pod *ret,
	struct kube_pod_container *containers);

/* NULL is none. */
struct slice api_slice(const char *text);
