/*
 * Whether a pod that its kubelet does not end may be declared gone: nothing of it runs on this node,
 * and nothing of it can write to a volume here. Looked up in /proc by a child with a deadline, by root in
 * the host's own pid and cgroup namespaces only, in the mount namespaces of all threads; what cannot be
 * seen for sure counts as there. A mount namespace that no thread is in is not seen.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define STUCK_TEXT 400u
#define STUCK_IDS  64u

enum stuck_verdict {
	STUCK_FREE,   /* no thread, no mount */
	STUCK_THREAD, /* a thread lives in one of its cgroups */
	STUCK_MOUNT,  /* a volume of it is mounted writable */
	STUCK_UNSURE, /* it could not be looked up */
};

struct stuck_pod {
	const char *uid;
	const char *ids[STUCK_IDS]; /* its containers', without "containerd://" */
	size_t id_count;
	bool is_cut; /* there are ids that are not among these: never STUCK_FREE */
	bool (*is_over)(void *userdata); /* asked while it waits: give up? */
	void *userdata;
};

/* Waits 10 seconds at most. `text` says what was found. */
enum stuck_verdict stuck_look(const struct stuck_pod *pod, char text[STUCK_TEXT]);
