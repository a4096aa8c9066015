/*
 * Control groups, v1, v2 and both at once: where they are mounted, where a process's group is, and
 * what its files say. Parsers are pure; readers work on a descriptor of the group's directory.
 *
 * A group can disappear at any time, also between opening a file and reading it (ENODEV). That is
 * no error here: readers return 0 for "not there" and 1 for "read".
 *
 * What is read here takes no lock that a stuck process holds. Files that make the kernel add up
 * statistics (memory.stat) or walk all processes are not among it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define CGROUP_PATH_MAX 1024
#define CGROUP_LEVELS   32 /* as deep as a path is looked at */

enum cgroup_mode {
	CGROUP_NONE,   /* no hierarchy is mounted that we can see */
	CGROUP_V1,     /* only v1 */
	CGROUP_V2,     /* only the unified hierarchy */
	CGROUP_HYBRID, /* v1 controllers and a unified hierarchy beside them */
};

const char *cgroup_mode_text(enum cgroup_mode mode); /* "none", "v1", "v2", "hybrid" */

/* The hierarchies we ask. Each has its own mount on v1; on v2 the unified one serves for all. */
enum cgroup_hierarchy {
	CGROUP_UNIFIED,
	CGROUP_MEMORY,
	CGROUP_FREEZER,
	CGROUP_PIDS,
	CGROUP_CPU,
};
#define CGROUP_HIERARCHIES 5

struct cgroup_mount {
	char path[256]; /* "" if it is not mounted */
	char root[256]; /* which part of the hierarchy is there: "/", or less in a container */
};

struct cgroup_mounts {
	enum cgroup_mode mode;
	struct cgroup_mount at[CGROUP_HIERARCHIES];
};

/* From mountinfo's text. Mounts with longer paths than there is room for are left out. 0, or
 * -EBADMSG for what the kernel would not have written. Pure. */
int cgroup_parse_mounts(const char *text, size_t len, struct cgroup_mounts *ret);
/* From /proc/self/mountinfo. 0 or a negative errno. */
int cgroup_read_mounts(struct cgroup_mounts *ret);

/* Where the group is in the filesystem, from /proc/PID/cgroup's text (of a living thread: a zombie
 * leader shows "/" on v1). A hierarchy that is not mounted by
 * itself is the unified one. 0; -ENOENT: not mounted, not
 * listed, or outside of what is mounted here; -ENAMETOOLONG. Pure. */
int cgroup_path(const struct cgroup_mounts *mounts, const char *text, size_t len,
	enum cgroup_hierarchy hierarchy, char path[CGROUP_PATH_MAX]);

/* ---- files: parsers return 0 or -EBADMSG ------------------------------------------------------ */

/* v2 cgroup.events. */
struct cgroup_events {
	bool populated;
	bool has_frozen, frozen; /* kernel 5.2 */
};
int cgroup_parse_events(const char *text, size_t len, struct cgroup_events *ret);

/* v2 memory.events, or v1 memory.oom_control. */
struct cgroup_oom {
	bool has_oom;
	uint64_t oom; /* v2: times the limit could not be kept without killing */
	bool has_oom_kill;
	uint64_t oom_kill; /* processes that were killed; v1 since 4.13 */
	bool kill_disabled;
	bool under_oom; /* v1: tasks wait now for memory */
};
int cgroup_parse_memory_events(const char *text, size_t len, struct cgroup_oom *ret);
int cgroup_parse_oom_control(const char *text, size_t len, struct cgroup_oom *ret);

enum cgroup_freezer_state {
	CGROUP_THAWED,
	CGROUP_FREEZING, /* asked for; some task does not stop, as one in uninterruptible sleep */
	CGROUP_FROZEN,
};
const char *cgroup_freezer_text(enum cgroup_freezer_state state);
int cgroup_parse_freezer(const char *text, size_t len, enum cgroup_freezer_state *ret);

/* The directory of a group, or a negative errno (-ENOENT: it is gone). */
int cgroup_open(const char *path);
/* 1: read, 0: no such file or group any more, or a negative errno. `text` ends with a NUL. */
int cgroup_read_text(int dir_fd, const char *file, char *text, size_t size, size_t *ret_len);
int cgroup_read_events(int dir_fd, struct cgroup_events *ret);
/* Whichever of the two files there is. */
int cgroup_read_oom(int dir_fd, struct cgroup_oom *ret);

/* One level of the way from the mount down to a group. */
struct cgroup_freezer_level {
	char path[CGROUP_PATH_MAX];
	enum cgroup_freezer_state state;
	bool self; /* this level itself was told to freeze, else it is so by one above */
};

/* All levels that can be frozen, from the outermost; thawing one does nothing for a level below
 * that froze itself, so whoever looks for a frozen task looks at each. `path` is the task's own
 * group of CGROUP_FREEZER. Their number (at most `max`, deeper ones are left out), 0 when the group
 * is gone, or a negative errno. */
int cgroup_read_freezer(const struct cgroup_mounts *mounts, const char *path,
	struct cgroup_freezer_level *ret_levels, unsigned max);
