/*
 * Watching container inits by pidfd (law 3): readable is dead, nothing else is. One set
 * (struct pidfd_set) holds what the watches share: limits, the slow rotation that looks for leaders
 * that died while a thread of theirs lives, and the one that learns when a zombie was reaped where
 * the kernel does not say.
 *
 *	alive -> zombie-threads -> zombie -> gone     any of the middle ones may be left out
 *
 * A pidfd is opened first and the start time and cgroup of the pid read after it, and then the pidfd
 * is asked whether it still has a process: so what was read belongs to it, and a reused pid is never
 * believed. Nothing waits; a death costs one ioctl, at most one read of stat, and no allocation. One
 * turn of the loop handles one death, so a thousand of them hold up nobody else.
 *
 * Without pidfds (kernel before 5.3, a seccomp filter, no descriptors left) there is no watch, and
 * whoever wanted one is told which of them it was: nothing else is taken for death instead.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "kernel/proc.h"
#include "model/ledger.h"

typedef struct sd_event sd_event;
struct err;
struct pidfd_set;
struct pidfd_watch;

#define PIDFD_WATCHES_MAX 12000u /* a limit of our own, unless another is given */

struct pidfd_set_config {
	uint32_t watches_max;       /* 0: PIDFD_WATCHES_MAX */
	uint64_t rotation_ns;       /* each watch is looked at once in this time; 0: 10 s */
	uint32_t looks_per_tick;    /* but at most so many in one turn; 0: 128 */
	uint64_t zombie_confirm_ns; /* a dead leader with threads is told when it is still so after
				       this time: each killed process passes through; 0: 50 ms */
	int64_t priority;           /* of the pidfds in the loop; the rotation runs below it */
};

/* `config` NULL: as if all were 0. */
int pidfd_set_new(sd_event *event, const struct pidfd_set_config *config, struct pidfd_set **ret);
/* Free the watches first. Returns NULL. */
struct pidfd_set *pidfd_set_free(struct pidfd_set *set);
DEFINE_FREEP(struct pidfd_set *, pidfd_set_free)

/* From the loop, never from inside a call. LEDGER_ZOMBIE_THREADS: `exit` is unknown. LEDGER_ZOMBIE
 * or LEDGER_GONE: dead. LEDGER_GONE after LEDGER_ZOMBIE: reaped; same exit. Each at most once, in
 * that order. Any watch may be freed from inside, the set may not. */
typedef void (*pidfd_on_state)(struct pidfd_watch *watch, enum ledger_state state,
	const struct ledger_exit *exit, void *userdata);

struct pidfd_spec {
	int32_t pid;
	uint64_t start_ticks;  /* 0: not known yet, taken from what is found */
	const char *container; /* what its cgroup path must contain; NULL: not verified */
	pidfd_on_state on_state;
	/* Its turn in the rotation, while it is not gone; frees no watch. Or NULL. */
	void (*on_look)(void *userdata);
	void *userdata;
};

/*
 * 0 and a watch, also for a zombie (its death is told from the loop). Otherwise:
 *	-ESRCH   no such process, or another one has its pid by now
 *	-EXDEV   it is in another cgroup than it should
 *	-EAGAIN  a zombie whose start time nobody knew and whose cgroup is not to be known any more
 *	-ENOSYS  the kernel has no pidfds        -EPERM  something forbids them
 *	-EMFILE, -ENFILE  no descriptors left, though the soft limit was raised
 *	-ENOSPC  `watches_max`                   -ENOMEM
 */
int pidfd_watch_new(struct pidfd_set *set, const struct pidfd_spec *spec, struct pidfd_watch **ret,
	struct err *reterr);
struct pidfd_watch *pidfd_watch_free(struct pidfd_watch *watch);
DEFINE_FREEP(struct pidfd_watch *, pidfd_watch_free)

struct proc_id pidfd_watch_id(const struct pidfd_watch *watch);
enum ledger_state pidfd_watch_state(const struct pidfd_watch *watch);
/* Borrowed; -EBADF once it is gone. For pidfd_send_signal() and setns(). */
int pidfd_watch_fd(const struct pidfd_watch *watch);

/* Somebody heard that this pid exited (kernel/connector.h): it is looked at soon if it is watched.
 * A hint proves nothing. */
void pidfd_hint(struct pidfd_set *set, int32_t pid);
/* All that are watched are looked at as fast as the limits allow: hints were lost. */
void pidfd_rescan(struct pidfd_set *set);

struct pidfd_status {
	uint32_t watches;
	uint32_t zombie_threads; /* of these: leaders that died while a thread lives */
	uint32_t stuck; /* of these: in D, or dying and not dead, when the rotation last came by */
	uint64_t refused;  /* watches that could not be had, for whatever reason ... */
	int refused_error; /* ... and the last one, a negative errno; 0: none */
	uint64_t deaths, looks;
};
void pidfd_status(const struct pidfd_set *set, struct pidfd_status *ret);

/* waitpid(2)'s status as the ledger has it: a signal is code 128 + signal. */
struct ledger_exit pidfd_exit_from_status(int32_t status, int64_t at_ns);
