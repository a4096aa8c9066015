/*
 * What a kind of runtime (CRI, Docker) implements, and what runtime.c does for all of them: the
 * table of open calls, the statistics, and the promise of exactly one on_done per call.
 *
 * The life of a call: runtime.c makes it and enters it in the table; ops->start() sends the first
 * request. Each request to the runtime is one *leg* (a list has two): runtime_leg_begin(), and
 * runtime_leg_end() when it is over. runtime_call_late() at most once; at last
 * runtime_call_done(), after which call and runtime may both be gone.
 */
#pragma once

#include "base/table.h"
#include "runtime/runtime.h"

/* One leg. The names of CRI, which the other kinds of runtime answer to as well. */
enum runtime_method {
	RUNTIME_METHOD_VERSION,
	RUNTIME_METHOD_STATUS,
	RUNTIME_METHOD_LIST_SANDBOXES,
	RUNTIME_METHOD_LIST_CONTAINERS,
	RUNTIME_METHOD_SANDBOX_STATUS,
	RUNTIME_METHOD_CONTAINER_STATUS,
	RUNTIME_METHOD_RUN_SANDBOX,
	RUNTIME_METHOD_STOP_SANDBOX,
	RUNTIME_METHOD_REMOVE_SANDBOX,
	RUNTIME_METHOD_CREATE,
	RUNTIME_METHOD_START,
	RUNTIME_METHOD_STOP,
	RUNTIME_METHOD_REMOVE,
	RUNTIME_METHOD_IMAGE_STATUS,
};

#define RUNTIME_METHODS (RUNTIME_METHOD_IMAGE_STATUS + 1)

/* Calls that may be open at once, over all methods; beyond it a start is -EBUSY. */
#define RUNTIME_CALLS_MAX 4096
/* Of ids, names, image references. */
#define RUNTIME_SUBJECT_MAX 1024
#define RUNTIME_MESSAGE_MAX 480
/* Conditions of Status that are told; more are left out. */
#define RUNTIME_CONDITIONS_MAX 16

/* The arguments of one call; which ones are set depends on the method. Borrowed during start(). */
struct runtime_request {
	enum runtime_method method;
	const char *id;      /* of the container or sandbox; NULL if none */
	const char *pod_uid; /* filter of a list, or NULL; `id` is then the other filter */
	const char *image;
	const struct runtime_sandbox_spec *sandbox;
	const struct runtime_container_spec *container;
	uint32_t grace_seconds;
};

struct runtime_call {
	struct runtime *runtime;
	struct runtime_call *older, *newer;
	struct runtime_callbacks callbacks;
	void *userdata;
	uint64_t serial;
	uint64_t timeout_ns;       /* of the whole call */
	uint64_t started_ns;       /* monotonic */
	uint64_t leg_started_ns;   /* monotonic */
	enum runtime_method first; /* the method it was started with, part of its key */
	enum runtime_method leg;   /* the request that is under way */
	bool late;
	void *private; /* of the kind of runtime; released by ops->release() */
	size_t key_len;
	char key[]; /* one byte for the method, then the subject and a NUL */
};

struct runtime_ops {
	enum runtime_kind kind;
	/* Sends the first leg, and sets call->leg if that is not request->method. 0, or a negative errno
	 * and nothing was begun. */
	int (*start)(struct runtime_call *call, const struct runtime_request *request);
	/* Frees call->private; only called when it is not NULL. */
	void (*release)(struct runtime_call *call);
	/* up, last_failure, connects, losses, bytes; the rest is filled in by runtime.c. */
	void (*link)(const struct runtime *runtime, struct runtime_link *ret);
	/* Ends the connection and through it every open call with RUNTIME_CANCELLED. */
	void (*close)(struct runtime *runtime);
};

struct runtime_statistics {
	uint64_t started, errors;
	struct histogram duration;
};

struct runtime {
	const struct runtime_ops *ops;
	void *private; /* of the kind of runtime */
	char *endpoint;
	struct runtime_call *oldest, *newest;
	struct table calls; /* by key */
	bool closing;       /* runtime_free() runs: nothing new is begun */
	uint64_t last_serial;
	uint64_t calls_open, calls_late;
	struct runtime_statistics statistics[RUNTIME_METHODS];
};

/* For the kinds: a runtime without calls, owning `private` from now on (ops->close frees it). */
int runtime_new(const struct runtime_ops *ops, const char *endpoint, struct runtime **ret);

const char *runtime_method_name(enum runtime_method method);
const char *runtime_call_subject(const struct runtime_call *call);
/* Nanoseconds until the call is late; 0: it is, or it is about to be. */
uint64_t runtime_call_time_left(const struct runtime_call *call);

void runtime_leg_begin(struct runtime_call *call, enum runtime_method leg);
void runtime_leg_end(struct runtime_call *call, enum runtime_outcome outcome);
void runtime_call_late(struct runtime_call *call);

/* `result` needs outcome, message and what belongs to the method; the rest is filled in. The
 * message is put behind the method and the subject. */
void runtime_call_done(struct runtime_call *call, struct runtime_result *result);
