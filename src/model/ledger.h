/* The kernel's word about a container's init, beside the runtime's. Plain structs. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "model/container.h"

enum ledger_state {
	LEDGER_NONE, /* nobody watches it: no pid known, or it was never found alive */
	LEDGER_ALIVE,
	LEDGER_ZOMBIE,         /* dead, not reaped: its pidfd is readable */
	LEDGER_ZOMBIE_THREADS, /* the leader is a zombie and a thread lives: not dead, cannot be reaped */
	LEDGER_GONE,           /* dead and reaped */
};

const char *ledger_state_text(enum ledger_state state); /* "none", "alive", "zombie", ... */

/* Dead is what a readable pidfd says, nothing else. */
static inline bool ledger_state_is_dead(enum ledger_state state)
{
	return state == LEDGER_ZOMBIE || state == LEDGER_GONE;
}

/* The process that started an init and reaps it. */
enum ledger_shim_state {
	LEDGER_SHIM_NONE, /* none is known */
	LEDGER_SHIM_ALIVE,
	LEDGER_SHIM_STOPPED, /* by a signal or a debugger: it reaps and answers nothing */
	LEDGER_SHIM_ZOMBIE,
	LEDGER_SHIM_GONE,
};

const char *ledger_shim_text(enum ledger_shim_state state); /* "none", "alive", "stopped", ... */

struct ledger_shim {
	int32_t pid;
	enum ledger_shim_state state;
};

/* A container's control group, as far as the kernel tells. */
struct ledger_group {
	bool has_populated, populated; /* v2: some process lives in it */
	bool has_frozen, frozen;       /* v2 */
	bool has_oom_kills;
	uint64_t oom_kills; /* processes of it that were killed for its memory limit */
};

enum ledger_source {
	LEDGER_SOURCE_PIDFD,  /* a pidfd was readable */
	LEDGER_SOURCE_STREAM, /* the runtime's event stream */
};

/* How an init ended. Law 3: PIDFD_GET_INFO, field 52 of its stat while a zombie, the runtime's event;
 * else unknown. */
struct ledger_exit {
	bool known;
	int32_t code;   /* as a shell has it: 128 + signal for a signal */
	int32_t signal; /* 0: not by a signal */
	int64_t at_ns;  /* wall clock; 0 if nobody knows */
};
