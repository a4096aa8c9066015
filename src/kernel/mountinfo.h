/*
 * /proc/PID/mountinfo: one line at a time, pure, and a bounded reader. A node may have tens of
 * thousands of lines, so nothing is built up here; who reads keeps what it wants, and
 * who looks mounts up by their number has kernel/mount-table.h.
 *
 * A line names its filesystem by device number, which is how a mount is recognised in another
 * namespace, and asks nothing of the filesystem itself: reading it is safe whatever is mounted.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/* 30,000 lines are 4 to 5 MB. */
#define MOUNTINFO_MAX ((size_t)32 << 20)
/* Of a decoded path: the kernel writes no longer one. */
#define MOUNTINFO_PATH_MAX 4097

/* The slices are as the kernel wrote them, with blanks as \040: mountinfo_decode(). */
struct mountinfo_line {
	int32_t id, parent;
	uint32_t major, minor;
	struct slice root, point, options;
	struct slice type, source; /* "fuse.sshfs", "nfs4"; source may be empty */
};

/* The line at *at, which moves behind it: 1, 0 at the end, -EBADMSG (and *at behind that line, so a
 * reader may go on). Start with *at = 0. */
int mountinfo_next(const char *text, size_t len, size_t *at, struct mountinfo_line *ret);

/* Real bytes for \ooo, cut at `size` - 1. Its length. A NUL cannot come out. */
size_t mountinfo_decode(char *out, size_t size, struct slice s);

/* For a root of type nsfs, "mnt:[4026531841]": true and its inode. */
bool mountinfo_is_mount_namespace(struct slice root, uint64_t *ret_inode);

/* Owned text with a NUL behind `*ret_len` bytes; `tid` 0: the process. -EINVAL: a zombie leader,
 * ask one of its threads. -ESRCH, -EACCES, -EFBIG, -ENOMEM. */
int mountinfo_read(int proc_fd, int32_t pid, int32_t tid, char **ret_text, size_t *ret_len);
