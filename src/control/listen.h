/* The listening socket and the lock that says whose it is. */
#pragma once

#include "base/err.h"

struct control_listen {
	int fd;      /* listening, non-blocking */
	int lock_fd; /* holds the lock on PATH.lock */
	char *path;
};

#define CONTROL_LISTEN_INIT ((struct control_listen){ .fd = -EBADF, .lock_fd = -EBADF })

/* Errors as of control_server_new(). */
int control_listen(const char *path, struct control_listen *ret, struct err *reterr);

/* Closes and removes the socket. */
void control_listen_done(struct control_listen *l);
