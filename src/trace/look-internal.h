/* What look-*.c share: the table of processes, and the steps of one look. */
#pragma once

#include "trace/look.h"

#define LOOK_PROCESSES_MAX 65536u
#define LOOK_PATH_MAX      (SHIM_BUNDLE_MAX + TRACE_ID_MAX + 64)

struct look_entry {
	int32_t pid, ppid;
	uint64_t start_ticks;
	char state;
	char comm[16];
	bool is_kernel; /* a kernel thread */
};

struct look_scan {
	int proc_fd;
	struct look_entry *entries;
	size_t count, room;
};

struct looker {
	struct trace_look *look;
	struct look_scan scan;
	void (*on_stage)(void *userdata);
	void *userdata;
};

bool look_is_oci_runtime(const struct look_entry *e);

/* A file of the bundle of `id` ("": of the shim's own), through the shim's working directory,
 * whatever mount namespace that is in. */
const char *look_bundle_file(
	char path[LOOK_PATH_MAX], int32_t shim, const char *id, const char *name);

/* What is done next and may hang, for who finds us hung in it. */
void look_doing(struct looker *l, const char *text);

/* Reads all of /proc/PID/stat; the entries are in the order of their pids. 0 or a negative errno. */
int look_scan_read(struct look_scan *scan);
void look_scan_done(struct look_scan *scan);
const struct look_entry *look_scan_find(const struct look_scan *scan, int32_t pid);
/* 0, -ESRCH (it has ended, whoever has its pid now) or a negative errno. */
int look_process(
	const struct look_scan *scan, const struct look_entry *e, struct trace_process *ret);

/* Threads of look->init into groups; those in trouble are looked at twice. */
void look_at_threads(const struct look_scan *scan, struct trace_look *look);

/* The runtime's processes of this container, and what its state says. May hang. */
void look_at_oci(struct looker *l);
