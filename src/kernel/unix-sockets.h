/*
 * Listening unix sockets of our network namespace and how many connections wait to be accepted
 * (sock_diag). A server that is stopped goes on having its connections queued, up to its backlog:
 * the queue tells what a connect that succeeds does not.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UNIX_NAME_MAX 109 /* of a path: 108 bytes and a NUL */

struct unix_listener {
	uint32_t inode; /* as in the link "socket:[N]" of its descriptors */
	bool has_queue;
	uint32_t waiting, backlog; /* Recv-Q and Send-Q of ss -xl */
	char name[UNIX_NAME_MAX];  /* as it was bound; "@..." for an abstract one; "" for none */
};

/* One message of the dump's payload, a struct unix_diag_msg and its attributes. 0 or -EBADMSG. Pure;
 * `data` aligned for the struct. */
int unix_sockets_parse(const void *data, uint32_t len, struct unix_listener *ret);

/* Up to `max` of them; their number, or a negative errno (-ENOENT: the kernel cannot tell). More than
 * `max` are left out. Waits for nobody but the kernel, and at most UNIX_SOCKETS_MS for that. */
#define UNIX_SOCKETS_MS 200
int unix_sockets_read(struct unix_listener *ret, unsigned max);

/* The same of another network namespace, that of a process in it, from /proc/PID/net/unix: names and
 * inodes, no queues. Up to `max`; their number or a negative errno. */
int unix_sockets_read_of(int proc_fd, int32_t pid, struct unix_listener *ret, unsigned max);
/* One line of that file, without its newline: 1 a listening socket, 0 another or the heading. Pure. */
int unix_sockets_parse_line(const char *line, size_t len, struct unix_listener *ret);
