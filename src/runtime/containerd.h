/*
 * containerd's own API, beside CRI: its event stream, which tells a death some 2 ms after it, and
 * the pids of its tasks, which CRI does not tell. For a runtime that is containerd, on the same
 * socket as its CRI but with a connection of its own, so that neither waits for the other.
 *
 * The stream has no deadline and looks after itself (hint.h tells what is told): it is opened again
 * for as long as this lives, with a back-off from 100 ms to 3 s. At each HINT_STREAM_UP list anew:
 * what happened in between comes late, out of order or not at all. A server that is not a
 * containerd is told once, as HINT_STREAM_ABSENT, and asked again every minute.
 *
 * Calls keep law 5 as all others do (net/grpc.h): one open call per subject, late is not ended.
 */
#pragma once

#include <systemd/sd-event.h>

#include "runtime/hint.h"
#include "runtime/runtime.h"

struct containerd;

#define CONTAINERD_NAMESPACE_CRI    "k8s.io"
#define CONTAINERD_NAMESPACE_DOCKER "moby"
/* Of a namespace: containerd's own limit. */
#define CONTAINERD_NAMESPACE_MAX 76
/* Calls of containerd_get_task() that may be open at once. */
#define CONTAINERD_GETS_MAX 64

/* `endpoint` as in runtime_open_cri(). -EINVAL also for a namespace that cannot be one. Dials at
 * once, from the loop; what fails then is told as HINT_STREAM_DOWN. */
int containerd_open(sd_event *loop, const char *endpoint, const char *namespace,
	const struct hint_callbacks *callbacks, void *userdata, struct containerd **ret,
	struct err *reterr);
/* Ends open calls with RUNTIME_CANCELLED, from inside; no news of the stream come any more. Allowed
 * inside every callback of it. Accepts NULL, returns NULL. */
struct containerd *containerd_free(struct containerd *containerd);

/* ---- tasks ---------------------------------------------------------------------------------- */

enum containerd_status {
	CONTAINERD_UNKNOWN, /* its shim did not answer */
	CONTAINERD_CREATED, /* runc has made it: the init waits, its pid is known */
	CONTAINERD_RUNNING,
	CONTAINERD_STOPPED, /* the init was reaped by its shim */
	CONTAINERD_PAUSED,
	CONTAINERD_PAUSING,
};

/* "running" and so on; never NULL. */
const char *containerd_status_text(enum containerd_status status);

struct containerd_task {
	char container_id[HINT_ID_MAX + 1];
	int32_t pid; /* of the init; 0 if there is none any more */
	enum containerd_status status;
	bool has_exit_code; /* when STOPPED */
	int32_t exit_code;
	int64_t exited_at_ns; /* wall clock, 0 if not told */
};

struct containerd_result {
	enum runtime_outcome outcome; /* NOT_FOUND: get_task, there is no such task */
	const char *message;          /* for people; never NULL; valid during the callback */
	bool was_late;
	uint64_t elapsed_ns;
	/* With RUNTIME_OK, during the callback: how many, and what containerd_next_task() reads. */
	size_t task_count;
	struct slice tasks;
};

struct containerd_callbacks {
	/* Exactly once, unless the start failed; never from inside the function that started it. */
	void (*on_done)(void *userdata, const struct containerd_result *result);
	void (*on_late)(void *userdata); /* optional; at most once */
};

/*
 * All tasks of the namespace. containerd asks every shim in turn; one that does not answer costs 2 s
 * per task and is told as UNKNOWN without a pid (1.6.20). So UNKNOWN is a hung shim, not a death;
 * and with n of them the answer takes 2n seconds, which the timeout does not shorten for containerd.
 *
 * 0; -EALREADY while one is open; -EINVAL without a timeout; -EBUSY, -ENOMEM, -ESHUTDOWN.
 */
int containerd_list_tasks(struct containerd *containerd,
	const struct containerd_callbacks *callbacks, void *userdata, uint64_t timeout_ns);
/* One task. -EALREADY while one is open for this id, -EBUSY at CONTAINERD_GETS_MAX. */
int containerd_get_task(struct containerd *containerd, const char *container_id,
	const struct containerd_callbacks *callbacks, void *userdata, uint64_t timeout_ns);
/* Start with *rest = result->tasks; false at the end. */
bool containerd_next_task(struct slice *rest, struct containerd_task *ret);

/* ---- what is going on ----------------------------------------------------------------------- */

void containerd_statistics(const struct containerd *containerd, struct hint_statistics *ret);
/* Of the daemon, as of the last time that the stream was opened; "" until then. */
const char *containerd_version(const struct containerd *containerd);
