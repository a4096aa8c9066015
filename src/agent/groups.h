/*
 * The cgroups of the containers that are watched: an OOM kill, processes that are left, a freeze.
 * What is read goes to whoever feeds the ledger; it is the kernel's word and no event.
 *
 * Bounded: each watch costs two or three descriptors and as many inotify watches, so there are at most
 * GROUPS_MAX of them, and no more than a part of the descriptors that this process may have, since a
 * pidfd is worth more. What could not be watched is counted, with the reason.
 */
#pragma once

#include <stdint.h>

#include <systemd/sd-event.h>

#include "base/mem.h"
#include "kernel/cgroup.h"
#include "model/ledger.h"

#define GROUPS_MAX 4096u

struct groups;

struct groups_options {
	sd_event *loop;
	uint32_t groups_max;                /* 0: GROUPS_MAX, or less where descriptors are few */
	const struct cgroup_mounts *mounts; /* borrowed */
	/* From groups_watch() too; must not free the groups. */
	void (*on_group)(
		void *userdata, const char *container_id, const struct ledger_group *group);
	void *userdata;
};

int groups_new(const struct groups_options *options, struct groups **ret);
struct groups *groups_free(struct groups *groups);
DEFINE_FREEP(struct groups *, groups_free)

/* From now on the container's group, found in the text of /proc/PID/cgroup of its init; in place of
 * the one that was watched for it. Fails quietly, for groups_state(). */
void groups_watch(struct groups *groups, const char *container_id, const char *text, size_t len);
/* Reads now: its init has died, and the group may be removed in a moment. */
void groups_look(struct groups *groups, const char *container_id);
void groups_forget(struct groups *groups, const char *container_id);

struct groups_state {
	uint32_t watches;
	uint64_t refused; /* that could not be watched, or only in part */
	const char *why;  /* the last reason; "" */
};
void groups_state(const struct groups *groups, struct groups_state *ret);
