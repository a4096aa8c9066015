/* File descriptors: close-on-exec at birth, -EBADF when there is none. */
#pragma once

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/mem.h"

/* Closes if valid; returns -EBADF, so that `fd = fd_close(fd)`. Keeps errno. */
int fd_close(int fd);

static inline void fd_closep(int *fd)
{
	*fd = fd_close(*fd);
}

#define CLEAN_FD CLEAN(fd_closep)

#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int *taken_at_ = &(fd);                                                            \
		int taken_ = *taken_at_;                                                           \
		*taken_at_ = -EBADF;                                                               \
		taken_;                                                                            \
	})

/* 0 or a negative errno. */
int fd_set_nonblocking(int fd);

/* Raises the soft limit of descriptors, doubling it: 0, or -EMFILE at the hard one. */
int fd_raise_limit(void);

/* One read(), again where a signal came between: how much, 0 at the end, or a negative errno. */
ssize_t fd_read_some(int fd, void *data, size_t len);
/* Reads on to the end or to `size` - 1 bytes, with a NUL behind: the length, or a negative errno. For
 * what comes in pieces: seq files give what fits into a page at a time. */
int fd_read_text(int fd, char *text, size_t size);
/* Reads on to the end: owned text with a NUL behind `*ret_len` bytes. -EFBIG over `max_bytes`. */
int fd_read_whole(int fd, size_t max_bytes, char **ret_text, size_t *ret_len);

/* Reads a small file whole (config, /proc); owned text with a NUL behind `*ret_len` bytes.
 * -EFBIG over `max_bytes`. May block as the file's filesystem does: see law 5, docs/internals/laws.md. */
int fd_read_file(const char *path, size_t max_bytes, char **ret_text, size_t *ret_len);

/* Reads a file of /proc or /sys, which gives its text in one read(), into `text`, cut at `size` - 1
 * bytes and with a NUL behind: the length, or a negative errno. `path` is relative to `dir_fd`, or
 * absolute. Law 5 holds here, too: a FIFO does not block it, a filesystem that hangs does. */
int fd_read_small(int dir_fd, const char *path, char *text, size_t size);

/* Such a file's first line as a number: 0, -EBADMSG if it is none, or a negative errno. */
int fd_read_u64(int dir_fd, const char *path, uint64_t *ret);

/* Writes all of it, waiting at most `timeout_ms` for room: 0, -ETIMEDOUT or the write's errno. */
int fd_write_all(int fd, const void *data, size_t len, unsigned timeout_ms);

/* A sealed memfd with this content (read-only for whoever gets it), or a negative errno. */
int fd_memfd_sealed(const char *name, const void *data, size_t len);
