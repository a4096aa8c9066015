/* The messages of the mechanism itself, below CHANNEL_TYPE_FIRST; roles have their own above it. */
#pragma once

#include <stdint.h>

#include "role/channel.h"

/* The channel stands here in every role. */
#define ROLE_CHANNEL_FD 3

#define ROLE_PROTOCOL 1u

enum role_mechanism {
	ROLE_MSG_START = 1, /* agent -> role: what role_set_start() was given */
	ROLE_MSG_READY,     /* role -> agent: struct role_ready; set up, and narrowed */
	ROLE_MSG_FAILED,    /* role -> agent: struct role_failure; could not start, will end */
	ROLE_MSG_SPAWN,     /* agent -> spawner: struct spawn_request; fds: channel, executable */
	ROLE_MSG_SPAWNED,   /* spawner -> agent: struct spawn_answer; fds: pidfd */
	ROLE_MSG_UNSPAWNED, /* spawner -> agent: struct role_failure */
};

struct role_ready {
	uint32_t protocol;
};

struct role_failure {
	int32_t code;   /* negative errno */
	char what[124]; /* what was tried; ends with a NUL */
};

struct spawn_request {
	uint32_t uid, gid;
	uint32_t nofile;
	char name[16];
};

struct spawn_answer {
	int32_t pid;
};
