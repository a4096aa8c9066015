/*
 * The kernel's log: what its hung-task detector said. /dev/kmsg is read without waiting, from the
 * oldest record, a bounded number of them; nothing but these lines is kept.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Records that one reading looks at: more than a ring of a megabyte holds, or nearly. */
#define KMSG_RECORDS_MAX 16384u
#define KMSG_COMM_MAX    64

/* "INFO: task NAME:PID blocked for more than N seconds." */
struct kmsg_hung {
	char comm[KMSG_COMM_MAX]; /* as it is: str_clean() before showing */
	int32_t tid;
	uint64_t seconds;    /* at least that long when the kernel looked */
	uint64_t at_boot_ns; /* when that was, after the boot, by the kernel's own clock */
};

/* One record of /dev/kmsg, "6,1234,5678901,-;text\n KEY=value\n". Pure. */
bool kmsg_parse_hung(const char *record, size_t len, struct kmsg_hung *ret);

/* The latest `max` of them, oldest first: their number, or a negative errno (-EPERM, -EACCES,
 * -ENOENT: it cannot be read). */
int kmsg_read_hung(struct kmsg_hung *ret, unsigned max);
