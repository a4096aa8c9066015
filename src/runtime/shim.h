/*
 * A containerd shim, asked directly: ttrpc State on its own socket, past containerd. It answers in
 * some 50 us where it is well, whatever its container does; so one that is silent is stopped or
 * hung itself.
 *
 * Where the socket is stands in the container's bundle directory: in the file `bootstrap.json`
 * (containerd 1.7 and later) or `address` (before, and beside it). Reading those files is the
 * caller's, who does it where it may hang; here they are only parsed. The bundle directories of a
 * runtime's containers are siblings, and the working directory of a shim is one: its own, or that
 * of the first container of its pod.
 *
 * At most one call per address is open, also when it is late: a shim that hangs is not asked again
 * until it has answered, its connection has died, or the object is freed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "base/err.h"
#include "base/mem.h"
#include "model/evidence.h"
#include "runtime/containerd.h"

#define SHIM_ADDRESS_MAX 128
#define SHIM_FILE_MAX    4096 /* of `address` and bootstrap.json; more is none of them */
#define SHIM_BUNDLE_MAX  512
#define SHIM_CALLS_MAX   256 /* open at once */

struct shim_address {
	char text[SHIM_ADDRESS_MAX]; /* "unix:///run/containerd/s/..." */
	unsigned version;            /* of the task service: 2 or 3 */
};

/* The file `address`. 0, or -EBADMSG. Pure. */
int shim_parse_address(const char *text, size_t len, struct shim_address *ret);
/* The file bootstrap.json. 0, -EBADMSG, -EPROTONOSUPPORT for a shim that speaks something else than
 * ttrpc, or a version that we do not know. Pure. */
int shim_parse_bootstrap(const char *text, size_t len, struct shim_address *ret);
/* The bundle of container `id`, and its containerd namespace, from the working directory of its shim
 * ("/run/containerd/io.containerd.runtime.v2.task/k8s.io/ID"). 0; -EINVAL for another kind of
 * directory or id, -ENAMETOOLONG. Pure. */
int shim_bundle(const char *shim_cwd, const char *id, char bundle[SHIM_BUNDLE_MAX],
	char namespace[CONTAINERD_NAMESPACE_MAX + 1]);

enum shim_method {
	SHIM_STATE,   /* of one container: all of struct shim_task, but for shim_pid */
	SHIM_CONNECT, /* takes no lock in the shim: shim_pid, and pid of the init */
};

struct shim_task {
	char id[HINT_ID_MAX + 1]; /* "" where the shim does not repeat it */
	char bundle[SHIM_BUNDLE_MAX];
	int32_t pid; /* of the init; 0: it has none any more */
	int32_t shim_pid;
	enum containerd_status status;
	bool has_exit_code; /* when STOPPED */
	int32_t exit_code;
};

struct shim_result {
	enum evidence_answer answer; /* never NOT_ASKED or LATE */
	const char *message;         /* for people; never NULL; valid during the callback */
	uint64_t elapsed_ns;
	bool was_late;
	const struct shim_task *task; /* with ANSWER_OK, during the callback */
};

struct shim_callbacks {
	/* Exactly once, unless the start failed or shim_client_free() came first; never from inside the
	 * start. The same address may be asked again from in here; the object must not be freed. */
	void (*on_done)(void *userdata, const struct shim_result *result);
	/* Optional: the timeout passed, the call stays open. At most once. */
	void (*on_late)(void *userdata);
};

struct shim_client;

int shim_client_new(sd_event *loop, struct shim_client **ret);
/* Hangs up; nobody is called back any more. Not from inside a callback. Returns NULL. */
struct shim_client *shim_client_free(struct shim_client *client);
DEFINE_FREEP(struct shim_client *, shim_client_free)

/* 0; -EALREADY while this address has an open call; -EBUSY at SHIM_CALLS_MAX; -EINVAL, -ENAMETOOLONG
 * for an id, address or timeout that cannot be one; -ENOMEM. */
int shim_client_ask(struct shim_client *client, enum shim_method method,
	const struct shim_address *address, const char *namespace, const char *container_id,
	uint64_t timeout_ns, const struct shim_callbacks *callbacks, void *userdata);
/* Calls that are open, and of them those past their timeout. */
void shim_client_count(const struct shim_client *client, unsigned *ret_open, unsigned *ret_late);

/* One answer's message. 0 or -EBADMSG. Pure; for tests too. */
int shim_decode_state(struct slice answer, struct shim_task *ret);
int shim_decode_connect(struct slice answer, struct shim_task *ret);
