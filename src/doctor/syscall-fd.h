/* Which argument of a system call is a descriptor that it may wait on. Pure; by the numbers of the
 * architecture this was built for. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define SYSCALL_FD_NONE (-1)

/* The descriptor, or SYSCALL_FD_NONE: none, or AT_FDCWD. `*ret_is_path` tells of calls that take a
 * path beside it or instead, which may lead elsewhere. */
int32_t syscall_fd(uint64_t number, const uint64_t args[6], bool *ret_is_path);
