/*
 * One container's cgroup watched: empty or not, frozen or not, out of memory, gone. Where the kernel
 * can tell, it does (inotify on v2's event files, and on the parent directory for its removal; an
 * eventfd for v1's memory.oom_control); v1's freezer and emptiness it does not tell, whoever wants
 * them reads (cgroup.h) when there is a reason.
 *
 * Facts are read after each notice and told when they differ from the last ones told, so a storm
 * of notices costs reads and no more. A group without any of the files is an error at the start.
 */
#pragma once

#include <stdbool.h>

#include "base/mem.h"
#include "kernel/cgroup.h"

typedef struct sd_event sd_event;
struct cgroup_watch;

struct cgroup_facts {
	bool has_events; /* v2 */
	struct cgroup_events events;
	bool has_oom; /* a memory controller */
	struct cgroup_oom oom;
	bool gone; /* it is removed; nothing more will be told, and the rest is what was known last */
};

/* From the loop or cgroup_watch_look(). The watch may be freed from inside. */
typedef void (*cgroup_on_change)(
	struct cgroup_watch *watch, const struct cgroup_facts *facts, void *userdata);

struct cgroup_watch_spec {
	const char *unified; /* path of the group in the v2 hierarchy, or NULL */
	const char *memory;  /* its path where memory is counted, v1 or v2, or NULL */
	int64_t priority;
	cgroup_on_change on_change;
	void *userdata;
};

/* 0 and a watch, whose facts are known (cgroup_watch_facts()); -ENOENT: no such group; -ENOSPC,
 * -EMFILE: no inotify watches or instances left; or another negative errno. */
int cgroup_watch_new(
	sd_event *event, const struct cgroup_watch_spec *spec, struct cgroup_watch **ret);
struct cgroup_watch *cgroup_watch_free(struct cgroup_watch *w);
DEFINE_FREEP(struct cgroup_watch *, cgroup_watch_free)

/* Reads now, as after a notice; may call on_change from inside, so that the watch is gone. */
void cgroup_watch_look(struct cgroup_watch *w);
const struct cgroup_facts *cgroup_watch_facts(const struct cgroup_watch *w);
