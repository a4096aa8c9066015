/* Between role.c and spawner.c: one started process. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "role/mechanism.h"

struct process;
struct role_spawner;

struct process_ops {
	/* It could not be started; `what` is the step. The process is dead and may be freed. */
	void (*on_unspawned)(struct process *p, int code, const char *what, void *userdata);
	/* It is dead and reaped; `status` as in waitpid(2), -1 if nobody knows. */
	void (*on_exited)(struct process *p, int status, void *userdata);
};

/* Asks the spawner. One of the callbacks comes, once and from the loop, unless it is freed before.
 * Both descriptors are borrowed. 0, -ENOTCONN without a spawner, or a negative errno. */
int process_new(struct role_spawner *s, const struct spawn_request *req, int channel_fd, int exe_fd,
	const struct process_ops *ops, void *userdata, struct process **ret);
/* 0 until the spawner has answered. */
pid_t process_pid(const struct process *p);
/* SIGKILL, also to one whose start has not been answered yet. */
void process_kill(struct process *p);
/* Forgets it; kill it first if it should not live. Returns NULL. */
struct process *process_free(struct process *p);
