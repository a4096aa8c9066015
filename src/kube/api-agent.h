/*
 * The api role from the agent's side: starts pleg-api when it is known which server there is, tells it who
 * we are, forwards requests. What the kubeconfig and its files say comes from kube/api-files.h, also later
 * and anew; for another server there is another process. Nothing is asked before it is known who asks.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/mem.h"
#include "kube/api-protocol.h"
#include "role/role.h"

struct api;
struct err;
struct probe;
struct reporter_request;

#define API_DEADLINE_NS (10 * NSEC_PER_SEC)
#define API_PING_NS     (5 * NSEC_PER_SEC) /* the deadline of api_ping() */

struct api_config {
	const char *kubeconfig; /* a path, or API_FILES_IN_CLUSTER */
	struct probe *probe;    /* reads the files; borrowed, must outlive it; NULL: nobody can */
	int exe_fd;             /* of pleg-api; borrowed, must outlive it */
	uid_t uid;
	gid_t gid;
};

/* How one request went. All is borrowed. */
struct api_call {
	const char *error; /* kube_error_name(), or "role": it did not get to the network */
	unsigned http;     /* 0: no answer */
	const char *why;   /* "" if there was one */
	bool is_ping;      /* by api_ping() */
	struct api_timings timings;
};

struct api_ops {
	/* Before on_answer. May be NULL. */
	void (*on_call)(void *userdata, const struct api_call *call);
	/* A connection was stale, and replaced; after the on_call of what got no answer on it. May be
	 * NULL. */
	void (*on_stale)(void *userdata, const struct api_stale *stale);
	/* The answer to a request, exactly once; http 0: there is none, and `why` says so. */
	void (*on_answer)(void *userdata, uint64_t tag, unsigned http, uint64_t retry_after_ns,
		const void *body, size_t len, const char *why);
	/* May be NULL. */
	void (*on_state)(void *userdata, const char *state, const char *reason);
	/* What is wrong with the kubeconfig or the files behind it, when that changes; "": nothing. May
	 * be NULL. */
	void (*on_trouble)(void *userdata, const char *text);
	/* The pods that were asked for by api_watch_pods(): as the messages of api-protocol.h. Also
	 * API_PODS_AWAY while the role does not run. */
	void (*on_pods)(void *userdata, enum api_pods_word word, unsigned http, const char *why);
	void (*on_pod)(void *userdata, const struct kube_pod *pod); /* borrowed */
	void (*on_pod_gone)(void *userdata, const char *uid);
};

/* 0, or a negative errno with a text: no memory. Whatever is wrong with the kubeconfig is on_trouble's. */
int api_new(sd_event *event, struct role_spawner *spawner, const struct api_config *config,
	const struct api_ops *ops, void *userdata, struct api **ret, struct err *reterr);
/* Without answers to what is under way. Not from inside a callback. Returns NULL. */
struct api *api_free(struct api *api);
DEFINE_FREEP(struct api *, api_free)

/* Sends it; 0: on_answer comes with this tag (below API_TAGS). Negative: it was not sent; -ENOTCONN: the
 * role does not run, or it is not known yet who we are. */
#define API_TAGS 8u
int api_send(struct api *api, uint64_t tag, const struct reporter_request *request);

/* Tells the pods of this node (copied), of which the callbacks then tell, from now on. 0, -ENOMEM. */
int api_watch_pods(struct api *api, const char *node_name);
/* Wants the list anew; nothing while the role does not run. */
void api_pods_again(struct api *api);

void api_status(const struct api *api, struct role_status *ret);
/* As on_trouble. Borrowed. */
const char *api_trouble(const struct api *api);
/* The server's URL (NULL: not known yet); when who we are ends, on the wall clock (0: not known). */
const char *api_server(const struct api *api);
int64_t api_credential_ends_ns(const struct api *api);
/* A small question to the server, of which on_call tells; its answer goes nowhere else. 0; -EBUSY: one is
 * under way; -EAGAIN: who we are is not known yet, or cannot be had, which on_call tells from inside; or the
 * role does not run. */
int api_ping(struct api *api);
