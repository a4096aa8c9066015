/* What test-role.c and its role say to each other. */
#pragma once

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>

#define TEST_ASK   64u
#define TEST_FACTS 65u

struct test_facts {
	uint32_t uid, gid, nofile, core, no_new_privs, death_signal;
	uint32_t open_fds, environment;
	int32_t pid, parent;
};

static inline bool fcntl_is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}
