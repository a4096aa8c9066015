/*
 * Speaks HTTPS to one API server, on the loop: requests and watches. The only room that speaks to
 * libcurl; CURLcodes end here.
 *
 * Nothing blocks: names are resolved beside the loop, and giving up on a silent DNS server waits for
 * nobody (CURLOPT_QUICK_EXIT). HTTP/1.1 on purpose: one silent connection holds up one request, and
 * is not used again. Every request has one deadline over all its tries; between tries the wait doubles
 * from KUBE_RETRY_FIRST_NS to KUBE_RETRY_MAX_NS, half of it by chance, or is what Retry-After says.
 *
 * A GET is tried again after every failure that may pass. Any other method only where the server
 * has surely not acted: no connection, 429, or 5xx with a Retry-After. 409 is the caller's. After
 * a 401 the owner is asked for a newer credential, once per request, and the request waits for it.
 *
 * Callbacks come from the loop, never from inside a call. kube_client_free() must not be called from
 * inside one; everything else may.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/time.h"
#include "model/api-server.h"

typedef struct sd_event sd_event;
struct err;
struct kube_call;
struct kube_client;
struct kube_watch;

#define KUBE_RETRY_FIRST_NS (100 * NSEC_PER_MSEC)
#define KUBE_RETRY_MAX_NS   (10 * NSEC_PER_SEC)
#define KUBE_REOPEN_MAX_NS  (60 * NSEC_PER_SEC)  /* of a watch: nobody waits for it */
#define KUBE_AFTER_MAX_NS   (120 * NSEC_PER_SEC) /* the most that a Retry-After is obeyed */
#define KUBE_DEADLINE_NS    (30 * NSEC_PER_SEC)  /* unless the request says otherwise */
#define KUBE_CONNECT_NS     (10 * NSEC_PER_SEC)  /* name, TCP and TLS together, per try */
#define KUBE_SIZE_MAX       (16u << 20) /* of an answer, unless the request says otherwise */
#define KUBE_TRIES          4u
#define KUBE_CALLS_MAX      256u       /* at a time */
#define KUBE_LINE_MAX       (4u << 20) /* one object of a watch */
#define KUBE_TEXT           256u

/* How far it came. */
enum kube_error {
	KUBE_OK,         /* the server has answered; see `http` */
	KUBE_DNS,        /* its name could not be resolved, in time */
	KUBE_CONNECT,    /* no TCP connection */
	KUBE_TLS,        /* no trust, or no TLS at all */
	KUBE_TIMEOUT,    /* connected, and no answer, or not all of it, by the deadline */
	KUBE_RESET,      /* the connection broke on the way */
	KUBE_TOO_LARGE,  /* the answer was over the limit and was not read further */
	KUBE_CREDENTIAL, /* certificate or key are of no use */
	KUBE_OTHER,      /* see the text */
};
/* "dns", "connect", "tls", ...; "other" for what is none. In error.c, without libcurl. */
const char *kube_error_name(enum kube_error error);

struct kube_target {
	const char *server;          /* "https://host:port", perhaps with a path */
	const char *ca_pem;          /* NULL: the system's */
	const char *tls_server_name; /* NULL: that of `server` */
	const char *proxy_url;       /* NULL: as the environment says */
	bool insecure;
};

struct kube_client_options {
	struct kube_target target; /* copied */
	const char *user_agent;    /* copied */
	uint64_t seed;             /* of the jitter */
	uint64_t connect_ns;       /* 0: KUBE_CONNECT_NS */
	/* The server said 401. Give a newer one by kube_client_set_credential(), now or later.
	 * May be NULL. */
	void (*on_unauthorized)(struct kube_client *client, void *userdata);
	/* A connection was stale; what was as old as it is not used any more. The texts are borrowed.
	 * May be NULL. */
	void (*on_stale)(struct kube_client *client, const struct api_stale *stale, void *userdata);
	void *userdata;
};

struct kube_credential; /* kube/credential.h */

/* 0, -ENOMEM, -EINVAL. */
int kube_client_new(sd_event *event, const struct kube_client_options *options,
	struct kube_client **ret, struct err *reterr);
/* Ends what is under way without calling back. Returns NULL. */
struct kube_client *kube_client_free(struct kube_client *client);
DEFINE_FREEP(struct kube_client *, kube_client_free)

/* For tries that begin from now on; copied. Requests that wait after a 401 go on. 0 or -ENOMEM. */
int kube_client_set_credential(
	struct kube_client *client, const struct kube_credential *credential);

struct kube_request {
	const char *method;       /* NULL: GET */
	const char *path;         /* "/api/v1/nodes/a" */
	const char *query;        /* without '?', encoded; NULL: none */
	const char *content_type; /* NULL: application/json */
	const void *body;         /* NULL: none; copied */
	size_t body_len;
	uint64_t deadline_ns; /* a duration; 0: KUBE_DEADLINE_NS */
	size_t size_max;      /* 0: KUBE_SIZE_MAX */
	unsigned tries; /* at most; 0: KUBE_TRIES; 1: no retry (evictions: 429 is an answer) */
};

struct kube_answer {
	enum kube_error error;
	unsigned http;    /* 0 unless KUBE_OK */
	const char *body; /* ends with a NUL; "" if none. Borrowed for the time of the callback */
	size_t body_len;
	uint64_t retry_after_ns; /* 0: not told */
	struct api_timings timings;
	unsigned tries;
	const char *text; /* why, for people, if not KUBE_OK; borrowed */
};

typedef void (*kube_answer_fn)(const struct kube_answer *answer, void *userdata);

/* Called back exactly once unless cancelled or the client is freed. `ret` (may be NULL) is valid
 * until then. 0, -ENOMEM, -EBUSY (KUBE_CALLS_MAX). */
int kube_request(struct kube_client *client, const struct kube_request *request,
	kube_answer_fn on_answer, void *userdata, struct kube_call **ret);
/* No call back any more. Accepts NULL, returns NULL. */
struct kube_call *kube_call_cancel(struct kube_call *call);

enum kube_change {
	KUBE_ADDED,
	KUBE_MODIFIED,
	KUBE_DELETED,
	KUBE_BOOKMARK, /* only the resourceVersion has moved */
};

struct kube_watch_ops {
	/* One object, borrowed. */
	void (*on_change)(void *userdata, enum kube_change change, const json_t *object);
	/* The server has forgotten our resourceVersion (410): the watch rests; list again and free
	 * it. */
	void (*on_gone)(void *userdata);
	/* The stream broke or could not be had, with `http` (0: see the text); it is tried again by
	 * itself. May be NULL. */
	void (*on_trouble)(void *userdata, enum kube_error error, unsigned http, const char *text);
	/* A stream was opened; its changes follow. May be NULL. */
	void (*on_open)(void *userdata);
};

struct kube_watch_request {
	const char *path, *query;     /* as above; watch, bookmarks and timeout are added */
	const char *resource_version; /* of the list that came before */
	unsigned timeout_s; /* the server is asked to end it so; 0: 300 to 600 by chance */
};

/* 0, -ENOMEM, -EBUSY. `ops` is borrowed. Ended by kube_watch_free(). */
int kube_watch(struct kube_client *client, const struct kube_watch_request *request,
	const struct kube_watch_ops *ops, void *userdata, struct kube_watch **ret);
struct kube_watch *kube_watch_free(struct kube_watch *watch);
/* Nothing came for longer than there should be silence: its connection is given up, and looked at. It is
 * to be freed then. */
void kube_watch_doubt(struct kube_watch *watch);
DEFINE_FREEP(struct kube_watch *, kube_watch_free)

struct kube_client_stats {
	uint64_t requests, failures, retries, unauthorized, stale; /* stale: replaced connections */
};
void kube_client_stats(const struct kube_client *client, struct kube_client_stats *ret);
