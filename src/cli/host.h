/*
 * The files of a host that may be somewhere else than at "/": below a scratch folder, or where a
 * container has the host's root mounted. Paths are absolute as the host sees them, and so are the
 * symbolic links on the way: none of them leads out of that root.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct host {
	int root_fd;
	bool is_own; /* the root is this process's own */
};

/* `root`: a directory. 0 or negative errno; host_done() only after success. */
int host_open(struct host *host, const char *root, struct err *reterr);
void host_done(struct host *host);

/* An absolute path without "." and ".." that names something below the root. */
bool host_path_is_sane(const char *path);

/* The whole of a regular file of at most `max_bytes`, owned. -ENOENT, -EFBIG ... */
int host_read(const struct host *host, const char *path, size_t max_bytes, char **ret_text);

/* 1 when something has that name (a dangling link, too), 0 when not, or negative errno. */
int host_exists(const struct host *host, const char *path);

/* Removes a file, link or socket; with `directory`, an empty directory. -ENOENT, -ENOTEMPTY ... */
int host_remove(const struct host *host, const char *path, bool directory);

/* Calls `on_name` for each entry but "." and ".."; it may remove them. 0, negative errno, or the
 * first value below 0 of the callback. */
int host_list(const struct host *host, const char *path,
	int (*on_name)(void *userdata, const char *name), void *userdata);

/* 1 when another process holds the record lock of that file, 0 when nobody, or negative errno. */
int host_is_locked(const struct host *host, const char *path, int32_t *ret_pid);

/* The name of the node that this host is: as it was configured (may be NULL or ""), else `hostname`, in
 * small letters as a kubelet registers it. 0 or negative errno. */
int host_node_name(const char *configured, char *out, size_t size);

/*
 * Runs a program found in PATH, with what it says going to stderr, for `timeout_ms` at most; then it
 * is killed. Its exit code, -ETIMEDOUT, -ECHILD when a signal ended it, or negative errno.
 */
int host_run(const char *const *argv, unsigned timeout_ms);
