/*
 * What pleg asks of any container runtime, be it CRI or Docker. Asynchronous: every call ends with
 * exactly one on_done, never from inside the function that started it; a call that passes its
 * deadline is told on_late first and stays open and counted (law 5, net/grpc.h).
 *
 * At most one call per method and subject is open at a time: a second one is -EALREADY. Other
 * failures to start: -EINVAL (no id, no timeout), -ENAMETOOLONG, -EBUSY (too many open), -ESHUTDOWN
 * (from within runtime_free()), -ENOMEM.
 *
 * Labels, annotations and environments are never kept and never told: verbose answers are not asked
 * for, and of an answer only what stands below is taken.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "base/err.h"
#include "base/histogram.h"
#include "model/container.h"

struct runtime;

enum runtime_outcome {
	RUNTIME_OK,
	RUNTIME_NOT_FOUND, /* the subject does not exist */
	RUNTIME_ERROR,     /* answered with an error */
	RUNTIME_UNSUPPORTED, /* answers, but without CRI v1 (UNIMPLEMENTED), or a Docker Engine with no
				API version that we speak */
	RUNTIME_NO_SOCKET,
	RUNTIME_REFUSED,   /* nobody listens, or we are not let in: the message says which */
	RUNTIME_SILENT,    /* accepts, and never answered */
	RUNTIME_LOST,      /* the connection ended before the answer */
	RUNTIME_MALFORMED, /* an answer that cannot be decoded, or is over the limit */
	RUNTIME_CANCELLED, /* by us: the runtime goes away, or memory or room has run out */
};

const char *runtime_outcome_text(enum runtime_outcome outcome);

struct runtime_condition {
	const char *type; /* RuntimeReady, NetworkReady */
	bool status;
	const char *reason, *message;
};

struct runtime_result {
	enum runtime_outcome outcome;
	const char *message; /* for people, with method and subject; never NULL */
	bool was_late;
	uint64_t elapsed_ns;
	/* By method, valid during the callback: */
	struct list_source *list;              /* list */
	const struct container_status *status; /* inspect */
	const char *version_name, *version, *api_version;
	const struct runtime_condition *conditions; /* status */
	size_t condition_count;
	const char *id; /* run_sandbox, create, image_status if found */
	bool found;     /* image_status */
};

struct runtime_callbacks {
	void (*on_done)(void *userdata, const struct runtime_result *result);
	void (*on_late)(void *userdata); /* optional */
};

struct runtime_call_options {
	const struct runtime_callbacks *callbacks;
	void *userdata;
	uint64_t timeout_ns; /* the deadline after which it is late */
};

/*
 * `endpoint` is "unix:///path" (or a bare absolute path). Dials at once, from the loop. The runtime
 * is there even when nobody listens: each call then tells why.
 */
int runtime_open_cri(
	sd_event *loop, const char *endpoint, struct runtime **ret, struct err *reterr);
/* The same for a Docker Engine. It has no sandboxes but those that dockershim or cri-dockerd made;
 * docker-decode.h says what is a pod there. It starts, stops and removes containers, and no more. */
int runtime_open_docker(
	sd_event *loop, const char *endpoint, struct runtime **ret, struct err *reterr);

enum runtime_kind {
	RUNTIME_CRI,
	RUNTIME_DOCKER,
};

const char *runtime_kind_text(enum runtime_kind kind); /* "cri", "docker" */
int runtime_open(sd_event *loop, enum runtime_kind kind, const char *endpoint, struct runtime **ret,
	struct err *reterr);
enum runtime_kind runtime_kind(const struct runtime *runtime);
/* By the endpoint's name alone: .../docker.sock is Docker's, all else CRI's. */
enum runtime_kind runtime_guess(const char *endpoint);
/* An end that comes of asking a server of another kind, or of a sick one. */
bool runtime_is_other_kind(const struct runtime_result *result);

/* Ends all open calls with RUNTIME_CANCELLED, from inside. May be called from an on_done. Accepts
 * NULL, returns NULL. */
struct runtime *runtime_free(struct runtime *runtime);

const char *runtime_endpoint(const struct runtime *runtime);

int runtime_version(struct runtime *runtime, const struct runtime_call_options *options);
int runtime_status(struct runtime *runtime, const struct runtime_call_options *options);

/* Everything (both NULL), or one pod: by its UID label, or by sandbox id where it has no UID. The
 * deadline covers both calls, ListPodSandbox and then ListContainers. */
int runtime_list(struct runtime *runtime, const char *pod_uid, const char *sandbox_id,
	const struct runtime_call_options *options);

int runtime_inspect(struct runtime *runtime, enum container_kind kind, const char *id,
	const struct runtime_call_options *options);

/* ---- acting: the demo pods and the lab now, node mode later ------------------------------- */

struct runtime_sandbox_spec {
	const char *name, *namespace, *uid, *log_directory;
	uint32_t attempt;
	bool host_network;
	bool privileged;           /* needed if one of its containers is to be privileged */
	const char *cgroup_parent; /* "" for the runtime's default */
};

struct runtime_mount {
	const char *host_path, *container_path;
	bool readonly;
};

struct runtime_container_spec {
	const char *name, *image, *log_path;
	uint32_t attempt;
	const char *const *command;     /* NULL-terminated */
	const char *const *environment; /* "KEY=value", NULL-terminated, or NULL */
	const struct runtime_mount *mounts;
	size_t mount_count;
	bool privileged;
};

int runtime_run_sandbox(struct runtime *runtime, const struct runtime_sandbox_spec *spec,
	const struct runtime_call_options *options);
int runtime_stop_sandbox(
	struct runtime *runtime, const char *id, const struct runtime_call_options *options);
int runtime_remove_sandbox(
	struct runtime *runtime, const char *id, const struct runtime_call_options *options);
int runtime_create(struct runtime *runtime, const char *sandbox_id,
	const struct runtime_sandbox_spec *sandbox, const struct runtime_container_spec *spec,
	const struct runtime_call_options *options);
int runtime_start(
	struct runtime *runtime, const char *id, const struct runtime_call_options *options);
int runtime_stop(struct runtime *runtime, const char *id, uint32_t grace_seconds,
	const struct runtime_call_options *options);
int runtime_remove(
	struct runtime *runtime, const char *id, const struct runtime_call_options *options);
int runtime_image_status(
	struct runtime *runtime, const char *image, const struct runtime_call_options *options);

/* ---- what is going on --------------------------------------------------------------------- */

struct runtime_call_info {
	const char *method;  /* "ContainerStatus" */
	const char *subject; /* id, or "" */
	uint64_t age_ns;     /* of this method's request: a list is two, one after the other */
	bool late;           /* the whole call is past its deadline */
};

/* Open calls, in the order of their start; start with *cursor = 0; false at the end. */
bool runtime_next_call(const struct runtime *runtime, size_t *cursor, uint64_t now_mono_ns,
	struct runtime_call_info *ret);

/* One row per method called so far, under the kubelet's operation_type (list_podsandbox,
 * container_status ...): the names of its kubelet_runtime_operations_* metrics. */
struct runtime_operation {
	const char *type;
	uint64_t started, errors;
	struct histogram duration;
};

bool runtime_next_operation(
	const struct runtime *runtime, size_t *cursor, struct runtime_operation *ret);

struct runtime_link {
	bool up; /* connected, and the server has spoken */
	enum runtime_outcome last_failure;
	uint64_t connects, losses, calls_open, calls_late;
	uint64_t bytes_in, bytes_out;
	/* Who listens at the other end of our connection, as the kernel says; 0: not known. Where
	 * somebody else made the socket for the server (systemd), it is that one. */
	int32_t peer_pid;
	/* Not connected, and the last try found no socket or nobody who listens: open calls are with
	 * nobody, they wait for the next try. */
	bool absent;
	/* Not connected, and the last try was not let in (RUNTIME_REFUSED): who listens is not known. */
	bool denied;
};

void runtime_link(const struct runtime *runtime, struct runtime_link *ret);
