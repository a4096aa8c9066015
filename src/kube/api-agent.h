/*
 * The api role from the agent's side: starts pleg-api, gives it the API server's address and who we are,
 * forwards requests. The kubeconfig and what it names are read here, as root: at the start, and anew when
 * the server no longer believes us or a token is about to end; a plugin runs under its deadline.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/mem.h"
#include "kube/api-protocol.h"
#include "role/role.h"

struct api;
struct err;
struct reporter_request;

#define API_DEADLINE_NS (10 * NSEC_PER_SEC)

struct api_config {
	const char *kubeconfig; /* a path; "in-cluster" is not one: see kubeconfig_in_cluster() */
	int exe_fd;             /* of pleg-api; borrowed, must outlive it */
	uid_t uid;
	gid_t gid;
};

/* How one request went. All is borrowed. */
struct api_call {
	const char *error; /* kube_error_name(), or "role": it did not get to the network */
	unsigned http;     /* 0: no answer */
	const char *why;   /* "" if there was one */
	struct api_timings timings;
};

struct api_ops {
	/* Before on_answer. May be NULL. */
	void (*on_call)(void *userdata, const struct api_call *call);
	/* The answer to a request, exactly once; http 0: there is none, and `why` says so. */
	void (*on_answer)(void *userdata, uint64_t tag, unsigned http, uint64_t retry_after_ns,
		const void *body, size_t len, const char *why);
	/* May be NULL. */
	void (*on_state)(void *userdata, const char *state, const char *reason);
	/* The pods that were asked for by api_watch_pods(): as the messages of api-protocol.h. Also
	 * API_PODS_AWAY while the role does not run. */
	void (*on_pods)(void *userdata, enum api_pods_word word, unsigned http, const char *why);
	void (*on_pod)(void *userdata, const struct kube_pod *pod); /* borrowed */
	void (*on_pod_gone)(void *userdata, const char *uid);
};

/* 0, or a negative errno with a text: the kubeconfig cannot be used, or no memory. */
int api_new(sd_event *event, struct role_spawner *spawner, const struct api_config *config,
	const struct api_ops *ops, void *userdata, struct api **ret, struct err *reterr);
/* Without answers to what is under way. Not from inside a callback. Returns NULL. */
struct api *api_free(struct api *api);
DEFINE_FREEP(struct api *, api_free)

/* Sends it; 0: on_answer comes with this tag (below API_TAGS). Negative: it was not sent. */
#define API_TAGS 8u
int api_send(struct api *api, uint64_t tag, const struct reporter_request *request);

/* Tells the pods of this node (copied), of which the callbacks then tell, from now on. 0, -ENOMEM. */
int api_watch_pods(struct api *api, const char *node_name);
/* Wants the list anew; nothing while the role does not run. */
void api_pods_again(struct api *api);

void api_status(const struct api *api, struct role_status *ret);
/* The server's URL; when who we are ends, on the wall clock (0: not known). */
const char *api_server(const struct api *api);
int64_t api_credential_ends_ns(const struct api *api);
/* A small question to the server, of which on_call tells; its answer goes nowhere else. 0; -EBUSY: one is
 * under way; or the role does not run. */
int api_ping(struct api *api);
