/* What the agent and the probe role say to each other, beside the mechanism's own messages. */
#pragma once

#include <stdint.h>

#include "role/channel.h"

#define PROBE_PATH_MAX   4096u
#define PROBE_SECRET_MAX (1u << 20)

enum probe_message {
	PROBE_MSG_READ = CHANNEL_TYPE_FIRST, /* struct probe_read_request */
	PROBE_MSG_STAT,                      /* a path, not empty, without a NUL */
	PROBE_MSG_STATFS,                    /* a path, as above */
	PROBE_MSG_FILE,                      /* a path, as above: the bytes of that regular file */
	PROBE_MSG_FIND,    /* struct probe_place, a path: the newest regular file that fits it */
	PROBE_MSG_FILE_AT, /* struct probe_place, a path: bytes of that regular file */
	PROBE_MSG_ANSWER,  /* struct probe_result, bytes of the file behind it */
	PROBE_MSG_SECRET,  /* a path, as above: that file, links followed, as a sealed memfd */
};

/* What of /proc/PID the probe reads, the files that can block among it. */
enum probe_file {
	PROBE_CMDLINE,      /* waits for mmap_lock */
	PROBE_SMAPS_ROLLUP, /* waits for mmap_lock */
	PROBE_MAPS,         /* waits for mmap_lock before 6.18, or so */
	PROBE_LIMITS,
	PROBE_IO, /* waits for an exec under way */
	PROBE_MOUNTINFO,
	PROBE_STACK,
	PROBE_STATUS,
};
#define PROBE_FILES 8

struct probe_read_request {
	int32_t pid;
	uint32_t file; /* enum probe_file */
	uint64_t start_ticks;
};

/*
 * A file as a process sees it: what one of its descriptors leads to, or a path from its root, which
 * stands behind this struct. Links on the way lead nowhere outside of that root, and none is followed
 * at the end. For PROBE_MSG_FIND the last part of the path may have one '*'.
 */
struct probe_place {
	int32_t pid;
	int32_t fd; /* -1: by the path; else there is none */
	uint64_t start_ticks;
	uint64_t offset; /* of PROBE_MSG_FILE_AT: where to begin */
};

/* The numbers are 0 where they do not belong to the request. */
struct probe_result {
	int32_t code;    /* 0 or a negative errno; nothing else counts then */
	uint32_t is_cut; /* there was more than fits */
	/* stat, and of a place */
	uint64_t device, inode, size_bytes;
	int64_t modified_ns; /* wall clock */
	uint32_t mode, uid;
	/* statfs */
	uint64_t fs_type, block_bytes, blocks, blocks_free, blocks_available, files, files_free;
};

#define PROBE_BYTES_MAX (CHANNEL_PAYLOAD_MAX - (uint32_t)sizeof(struct probe_result))
