/*
 * Block devices: what is in flight and what was done so far, from /sys/dev/block/MAJ:MIN. Counters of
 * the kernel's; no device is asked. Standing still with something in flight is what a stalled one
 * looks like.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define BLOCK_NAME_MAX  64
#define BLOCK_STATE_MAX 32

struct block_stat {
	uint64_t completed; /* reads, writes, discards and flushes */
	uint64_t in_flight;
};

/* The file `stat`: 11 fields (before 4.18), 15 or 17. 0 or -EBADMSG. Pure. */
int block_parse_stat(const char *text, size_t len, struct block_stat *ret);

struct block_device {
	char name[BLOCK_NAME_MAX];   /* "loop0", "sda1" */
	char state[BLOCK_STATE_MAX]; /* of its SCSI device: "running", "blocked", "offline"; "" */
	struct block_stat stat;
};

/* 0; -ENOENT: no such device (an anonymous one, as of overlay or FUSE); or a negative errno. */
int block_read(uint32_t major, uint32_t minor, struct block_device *ret);
