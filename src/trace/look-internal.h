/* What look-*.c share: the table of processes, and the steps of one look. */
#pragma once

#include "trace/look.h"

#define LOOK_PROCESSES_MAX 65536u

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

/* Reads all of /proc/PID/stat. 0 or a negative errno. */
int look_scan_read(struct look_scan *scan);
void look_scan_done(struct look_scan *scan);
const struct look_entry *look_scan_find(const struct look_scan *scan, int32_t pid);
/* 0, -ESRCH or a negative errno. */
int look_process(const struct look_scan *scan, int32_t pid, struct trace_process *ret);

/* Threads of look->init into groups; those in trouble are looked at twice. */
void look_at_threads(const struct look_scan *scan, struct trace_look *look);
