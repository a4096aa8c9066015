/*
 * Processes as /proc shows them: pure parsers (bytes in, struct out) and thin readers on a
 * descriptor of /proc.
 *
 * Only files that answer at once whatever state the process is in are read here (enum proc_file).
 * cmdline, environ, smaps* and map_files wait for the process's mmap_lock, which a thread in
 * uninterruptible sleep may hold for ever: those are for the probe role, probe.h.
 *
 * A process is a pid and its start time (struct proc_id). A bare pid proves nothing: it may have
 * been given to another process since.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/* Enough for every file of enum proc_file but mountinfo. */
#define PROC_TEXT_MAX  4096
#define PROC_COMM_MAX  64 /* the kernel cuts at 15 bytes, or 63 for its own workers */
#define PROC_WCHAN_MAX 64
#define PROC_NS_LEVELS 32 /* as deep as the kernel nests pid namespaces */

#define PROC_FLAG_EXITING UINT32_C(0x4)
#define PROC_FLAG_KTHREAD UINT32_C(0x200000)

struct proc_id {
	int32_t pid;
	uint64_t start_ticks; /* field 22 of stat, in clock ticks since boot */
};

struct proc_stat {
	int32_t pid;
	char comm
		[PROC_COMM_MAX]; /* as it is, also control characters: str_clean() before showing */
	char state;              /* R S D T t Z X I ... */
	int32_t ppid;
	uint32_t flags;     /* PROC_FLAG_* */
	uint32_t threads;   /* 0: it is being taken apart just now */
	uint64_t cpu_ticks; /* used so far, user and system */
	uint64_t start_ticks;
	uint64_t
		virtual_bytes; /* 0: no address space, as a zombie, a kernel thread, a dying init */
	uint64_t pending;      /* SigPnd of this thread, signals 1 to 31: bit N - 1 is signal N */
	bool has_exit_status;  /* field 52 is there (kernel 3.5) */
	int32_t exit_status;   /* as in waitpid(2); means something for a zombie only, and reads 0
				 for who may not know it */
};

struct proc_status {
	char state;
	uint32_t threads;
	uint64_t pending_thread, pending_shared; /* SigPnd, ShdPnd: bit N - 1 is signal N */
	uint64_t ignored, caught;                /* SigIgn, SigCgt */
	uint64_t switches;                       /* context switches of this thread */
	int32_t tracer_pid;                      /* 0: nobody traces it */
	uint32_t fd_size;                        /* 0: it has no descriptor table any more */
	int32_t ns_pids[PROC_NS_LEVELS];         /* NSpid, outermost first */
	uint32_t ns_levels;                      /* 0: an old kernel (before 4.1) does not say */
	bool has_memory;                         /* a VmSize line: it still has an address space */
	bool dumping_core;
};

/* One thread, from task/TID/stat. */
struct proc_task {
	int32_t tid;
	char state;
};

/* One line of /proc/PID/cgroup; the slices point into the text. */
struct proc_cgroup {
	struct slice controllers; /* "memory", "cpu,cpuacct", "name=systemd"; empty: v2 */
	struct slice path;        /* "/kubepods/...", without " (deleted)" */
	bool deleted;
};

enum proc_syscall_kind {
	PROC_SYSCALL_RUNNING, /* on a processor: nothing to show */
	PROC_SYSCALL_NONE,    /* blocked outside any system call, or dead (-1) */
	PROC_SYSCALL_IN,      /* in `number` with `args` */
};

struct proc_syscall {
	enum proc_syscall_kind kind;
	uint64_t number;
	uint64_t args[6];
};

/* ---- parsers: 0, or -EBADMSG for what the kernel would not have written ---------------------- */

int proc_parse_stat(const char *text, size_t len, struct proc_stat *ret);
int proc_parse_status(const char *text, size_t len, struct proc_status *ret);
int proc_parse_syscall(const char *text, size_t len, struct proc_syscall *ret);
/* The line at *at, which moves behind it: 1, 0 at the end, -EBADMSG. Start with *at = 0. */
int proc_cgroup_next(const char *text, size_t len, size_t *at, struct proc_cgroup *ret);
/* Whether some line's path contains `fragment` (a container's id), not empty. */
bool proc_cgroup_contains(const char *text, size_t len, const char *fragment);
/* Whether there are v1 lines and all say "/": what a zombie leader shows, wherever it lived. */
bool proc_cgroup_left_v1(const char *text, size_t len);

/* ---- readers: none waits; `proc_fd` is a descriptor of /proc, from proc_open() --------------- */

/* The descriptor, or a negative errno. */
int proc_open(void);

/* The files that are safe to read whatever state the process is in. */
enum proc_file {
	PROC_COMM,
	PROC_STAT,
	PROC_STATUS,
	PROC_WCHAN,
	PROC_STACK, /* needs CAP_SYS_ADMIN */
	PROC_SYSCALL,
	PROC_CGROUP,
	PROC_MOUNTINFO, /* -EINVAL for a zombie leader: ask one of its threads */
};

/* Reads at most `size` - 1 bytes and a NUL; cut there without saying so. `tid` 0: the process, else
 * one of its threads. The length, -ESRCH when there is no such process, or a negative errno. */
int proc_read_text(
	int proc_fd, int32_t pid, int32_t tid, enum proc_file file, char *text, size_t size);
int proc_read_stat(int proc_fd, int32_t pid, int32_t tid, struct proc_stat *ret);
int proc_read_status(int proc_fd, int32_t pid, int32_t tid, struct proc_status *ret);
int proc_read_syscall(int proc_fd, int32_t pid, int32_t tid, struct proc_syscall *ret);
/* Where it sleeps in the kernel; "" when it does not, or nobody may know. */
int proc_read_wchan(int proc_fd, int32_t pid, int32_t tid, char wchan[PROC_WCHAN_MAX]);
/* Up to `max` threads with their states; their number, which says nothing about how many more there
 * are, or a negative errno. A thread that ends meanwhile is left out. */
int proc_list_tasks(int proc_fd, int32_t pid, struct proc_task *ret_tasks, unsigned max);

/* 0: this very process is there, alive or a zombie. -ESRCH: it is not. */
int proc_verify(int proc_fd, struct proc_id id);
/* 1: its cgroup path contains `fragment`; 0: it has another one; -EAGAIN: a zombie that does not
 * say any more, on v1, and has no living thread to ask. At most a few threads are asked. */
int proc_is_in_cgroup(int proc_fd, int32_t pid, const char *fragment);
/* Whether we may see what the kernel hides from others, as a zombie's field 52 (which then reads 0,
 * a lie). Follows no path outside /proc. */
bool proc_may_look(int proc_fd, int32_t pid);
