/*
 * What the goroutines of a Go process wait for, from the dump that it writes when asked (SIGUSR1):
 * those that wait for the same in the same place are one group. Pure.
 *
 * Of a dump only names of functions, reasons and minutes are kept: the values of arguments and the
 * addresses may be secrets. A dump is believed by nobody: it may be cut, and whoever may write where it
 * lies may have written it.
 *
 *	goroutine 41 [semacquire, 12 minutes]:
 *	sync.runtime_SemacquireMutex(0xc0001a4d2c?, 0x40?, 0x1?)
 *		runtime/sema.go:77 +0x25
 *	github.com/docker/docker/daemon.(*Daemon).ContainerInspect(...)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

#define GOROUTINE_REASON_MAX 40u
#define GOROUTINE_NAME_MAX   120u
#define GOROUTINE_FRAMES_MAX 6u
#define GOROUTINE_GROUPS_MAX 256u

struct goroutine_group {
	char reason[GOROUTINE_REASON_MAX]; /* as Go calls it: "semacquire", "chan receive" */
	uint32_t count;
	uint32_t longest_minutes; /* 0: less than one */
	bool on_lock;             /* a mutex; not a WaitGroup, which waits the same way */
	uint32_t frame_count;
	/* Innermost first, without those of Go's own that every such wait has. */
	char frames[GOROUTINE_FRAMES_MAX][GOROUTINE_NAME_MAX];
};

struct goroutines {
	uint32_t total, on_lock;
	uint32_t longest_minutes;
	uint32_t
		left_out; /* goroutines of groups that there was no room for; counted above all the same */
	uint32_t group_count;
	struct goroutine_group groups[GOROUTINE_GROUPS_MAX]; /* the largest first */
};

/* A dump as such, or a log with one in it, as text of its own or quoted into one line ("\n"); of several
 * the last. 0; -EBADMSG: there is no goroutine in it; -ENOMEM. The caller owns it: mem_free(). */
int goroutines_parse(const char *text, size_t len, struct goroutines **ret);

/* Whether a log has a dump from its first line to its last. Pure text search. */
bool goroutines_log_is_whole(const char *text, size_t len);

/* What became of asking one process. */
struct goroutine_dump {
	int32_t pid;
	const char *process; /* "containerd" */
	bool signalled;
	const char *why;               /* there is none, or where it went, in words; "" */
	const char *source;            /* the file it was read from; "" */
	int64_t at_ns;                 /* wall clock, when it was asked */
	bool is_cut;                   /* it was longer than what was read */
	struct goroutines *goroutines; /* NULL: none */
};
