/*
 * FUSE connections as the kernel counts them: how many requests each has sent to its server and not
 * got back (/sys/fs/fuse/connections/N/waiting). N is the minor number of the mount's device.
 *
 * The files are of fusectl, which asks no server, so reading them is safe. Where nobody has mounted
 * it, it is mounted for us alone, attached to no tree: nobody else sees it and it ends with its
 * descriptor (kernel 5.2, CAP_SYS_ADMIN).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A descriptor of the directory, or a negative errno (-ENOSYS, -EPERM: not mounted, and we may not;
 * -ENODEV: no FUSE in this kernel). `*ret_mounted` tells whether others have it at its usual place;
 * it is set in any case. */
int fuse_open(bool *ret_mounted);
/* 0; -ENOENT: there is no such connection (any more); -EBADMSG; or a negative errno. */
int fuse_read_waiting(int dir_fd, uint32_t minor, uint64_t *ret);
/* The minor numbers of up to `max` connections; how many there are of them, or a negative errno. */
int fuse_list(int dir_fd, uint32_t *ret, unsigned max);

/* "fuse" and "fuse.*", not "fuseblk" (its device is a real one) nor "fusectl". */
bool fuse_is_type(const char *type, size_t len);

/* From the text of /proc/PID/fdinfo/FD of a /dev/fuse descriptor: the connection it serves. False
 * before about 6.10, which does not tell. Pure. */
bool fuse_parse_fdinfo(const char *text, size_t len, uint32_t *ret);
