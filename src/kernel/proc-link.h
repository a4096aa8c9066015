/*
 * What a process has open, where it stands and which namespaces it is in: the links of /proc/PID.
 * Only the links' text is read, never what they lead to, so a path on a dead mount is as good as any.
 *
 * `tid` 0 is the process; a zombie leader has none of this any more, but its living threads have.
 * All need the right to look (proc_may_look()); who has it not gets -EACCES.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel/proc.h"

#define PROC_LINK_MAX 4097

enum proc_link {
	PROC_LINK_EXE,
	PROC_LINK_CWD,
	PROC_LINK_ROOT,
};

/* The length of the text, always with a NUL; -ESRCH: no process or no such link; or another negative
 * errno. A deleted file's name ends in " (deleted)". */
int proc_read_link(
	int proc_fd, int32_t pid, int32_t tid, enum proc_link link, char *ret, size_t size);
int proc_read_fd_link(int proc_fd, int32_t pid, int32_t tid, int32_t fd, char *ret, size_t size);

enum proc_ns {
	PROC_NS_MNT,
	PROC_NS_PID,
	PROC_NS_NET,
};

/* The namespace's inode, which names it. 0 or a negative errno. */
int proc_read_ns(int proc_fd, int32_t pid, int32_t tid, enum proc_ns ns, uint64_t *ret);

/* From the text of fdinfo/FD: mnt_id, the number of the mount in mountinfo. 0 or -EBADMSG. Pure. */
int proc_parse_fdinfo(const char *text, size_t len, int32_t *ret_mount_id);
/* The text of fdinfo/FD, cut at `size` - 1; its length or a negative errno. */
int proc_read_fdinfo(int proc_fd, int32_t pid, int32_t tid, int32_t fd, char *text, size_t size);

/* How many descriptors it has open: 0 or a negative errno. A look at each before kernel 6.2. */
int proc_count_fds(int proc_fd, int32_t pid, uint64_t *ret);
/* How many it may have, by its soft limit: 0 or a negative errno. */
int proc_read_fd_limit(int32_t pid, uint64_t *ret);

/* How many bytes wait in the FIFO that this descriptor leads to: 0; -EINVAL: it is none; or a negative errno. */
int proc_read_fifo_unread(int proc_fd, int32_t pid, int32_t fd, uint64_t *ret);

/* "socket:[N]": true and N. Pure. */
bool proc_link_is_socket(const char *link, uint64_t *ret_inode);

/* Numbers that stand in a directory of /proc: the processes (pid 0), the threads or the descriptors
 * of one. One that ends meanwhile may or may not be told. */
struct proc_walk {
	void *dir;
};
enum proc_walk_of {
	PROC_WALK_PROCESSES,
	PROC_WALK_THREADS,
	PROC_WALK_FDS,
};
/* 0, -ESRCH or a negative errno; proc_walk_done() in any case. */
int proc_walk_init(
	struct proc_walk *walk, int proc_fd, enum proc_walk_of of, int32_t pid, int32_t tid);
/* False at the end. */
bool proc_walk_next(struct proc_walk *walk, int32_t *ret);
void proc_walk_done(struct proc_walk *walk);

/* Whether a process is dead, which is what a readable pidfd says (law 3): 1 dead, 0 not, -ESRCH
 * there is none, or it is another one; or a negative errno. Does not wait. */
int proc_is_dead(int proc_fd, struct proc_id id);

/*
 * Whether this very process would catch a signal now: 0; -EOPNOTSUPP: it does not catch it, so that it might
 * end it; -EAGAIN: it is stopped or dying and would not see it; -ESRCH as above; or a negative errno.
 */
int proc_would_catch(int proc_fd, struct proc_id id, int signal);
/* Sends it, by pidfd and after the same checks: 0, or as above; -ENOSYS: the kernel has no pidfds. */
int proc_signal_caught(int proc_fd, struct proc_id id, int signal);
