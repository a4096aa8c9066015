/*
 * Who a process is, from what its name and its cgroup's path say. Pure.
 *
 * Names are anybody's to choose: they are a first sieve, and whoever uses them looks at the rest.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "model/evidence.h"

#define IDENTITY_ID_LEN 64 /* of the ids that containerd's CRI, Docker and CRI-O make */

enum identity_kind {
	IDENTITY_OTHER,
	IDENTITY_SHIM,        /* containerd-shim*, conmon */
	IDENTITY_OCI_RUNTIME, /* runc, crun, their init stage */
	IDENTITY_DAEMON,
};

/* `comm` as the kernel cuts it, at 15 bytes. `*ret_daemon` is set for a daemon. */
enum identity_kind identity_of_comm(const char *comm, enum evidence_daemon_kind *ret_daemon);

/* The first run of exactly 64 hexadecimal digits in a cgroup path or a directory: the container that
 * the node's runtime knows (one inside it comes later). False if there is none. */
bool identity_find_id(struct slice path, char ret[IDENTITY_ID_LEN + 1]);

/* From a shim's working directory, ".../io.containerd.runtime.v2.task/NAMESPACE/ID": its own last
 * two names. False for another kind of directory. */
bool identity_of_bundle(const char *cwd, struct slice *ret_namespace, struct slice *ret_id);

/* True for a path of a runtime's or kubelet's storage: a root filesystem, a volume, a container's
 * shm. Mounts there are made and unmade by them, so one that is left over is a leak. */
bool identity_is_storage_path(const char *path);

/* A kernel function (wchan) in which threads sleep that have nothing to do: they wait for a lock of
 * their own program, an event, a child, a signal or a time. */
bool identity_wait_is_idle(const char *wchan);

/* The same socket: /var/run is /run. Either may be "unix://...". */
bool identity_same_socket(const char *a, const char *b);
