/*
 * Files as another process sees them, for the probe: it may run in a root of its own, and what it has
 * open may have no name any more. Whoever writes there may be anybody, so a link on the way never
 * leads out of that root, and only a regular file is opened: anything else may do something.
 *
 * All of it may hang with the filesystem. libc only.
 */
#pragma once

#include <stddef.h>
#include <sys/stat.h>

#include "kernel/probe-protocol.h"

#define PROBE_ENTRIES_MAX 65536u /* of a directory that are looked at */

/*
 * The newest regular file that fits the place: its name without the directory ("" for a descriptor) and
 * what stat(2) says. 0; -ENOENT: none; -EINVAL: no regular file, or no path from the root;
 * -ESRCH: no such process, or another one; or a negative errno.
 */
int probe_place_find(int proc_fd, const struct probe_place *place, const char *path, char *ret_name,
	size_t size, struct stat *ret);
/* The file itself, no '*' in its name, opened for reading from the place's offset on; errors as above. */
int probe_place_open(int proc_fd, const struct probe_place *place, const char *path, int *ret_fd,
	struct stat *ret);

void probe_place_put(struct probe_result *result, const struct stat *st);
