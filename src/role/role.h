/*
 * Starting and supervising roles, the agent's side. A role is a small executable of its own that
 * does what the agent must not do in its own process: block, parse strangers, write to disk.
 *
 * Order of use, early in main():
 *	log_start_pump();
 *	role_spawner_start(log_output_fd(), &spawner);   before any library has grown the process
 *	role_exe_open(...) for each role                  while the disk still answers
 *	sd_event_default(...); role_spawner_attach(spawner, event);
 *	role_new(...), role_set_start(...), role_start(...);
 *
 * The spawner is a tiny process that executes roles on request, so that a new role costs no fork of
 * the agent and, for an executable held in a sealed memfd, no disk. What it starts is a child of
 *the agent, not its own (CLONE_PARENT): the agent learns the exit status itself, and roles die with
 *the agent but not with the spawner. That is never restarted; without it running roles go on and no
 * new ones come. Nobody in the agent may wait for "any child" (waitpid(-1)).
 *
 * A role that ends, breaks the protocol or misses a deadline is started again after 100 ms,
 *doubling to 30 s; after 10 crashes within 5 minutes it is ROLE_FAILED and tried again every 5
 *minutes. One that misses a request's deadline is killed; if even that does not end it
 *(uninterruptible sleep) it is abandoned, counted, and another one takes its place, up to
 *`max_abandoned`.
 *
 * Nothing here blocks. Nothing calls back from inside role_start(), role_send(), role_request(),
 * role_stop() or role_free(), but on_state and the request callbacks may be called from the loop at
 * any other time; role_free() must not be called from inside one of them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/mem.h"
#include "role/channel.h"
#include "role/supervise.h"

typedef struct sd_event sd_event;
struct err;
struct role;
struct role_spawner;

/* --- the spawner --- */

/* Forks the spawner; `log_fd` becomes stdout and stderr of every role (borrowed). Call it once,
 * before the loop exists. 0 or a negative errno. */
int role_spawner_start(int log_fd, struct role_spawner **ret);
/* From here on the loop reads its answers. */
int role_spawner_attach(struct role_spawner *s, sd_event *event);
/* False once it is gone or does not answer; `*ret_reason` (may be NULL) says why, borrowed. */
bool role_spawner_is_alive(const struct role_spawner *s, const char **ret_reason);
pid_t role_spawner_pid(const struct role_spawner *s);
/* Ends it; free the roles first. Returns NULL. */
struct role_spawner *role_spawner_free(struct role_spawner *s);

/* Opens an executable now, so that later starts need no path. `in_memory`: copies it to a sealed
 * memfd, for static executables that must start while the disk hangs. May block as the disk does.
 */
int role_exe_open(const char *path, bool in_memory, int *ret_fd, struct err *reterr);

/* --- one role --- */

struct role_spec {
	const char *name; /* "web"; copied, at most 15 bytes */
	int exe_fd;       /* from role_exe_open(); borrowed, must outlive the role */
	uid_t uid;        /* 0: stays root; else ids are dropped and all capabilities with them */
	gid_t gid;
	uint32_t nofile;           /* RLIMIT_NOFILE; 0: 64 */
	uint64_t hello_timeout_ns; /* from start to ready; 0: 10 s */
	unsigned max_abandoned;    /* 0: 4 */
	unsigned max_requests;     /* outstanding role_request()s; 0: 64 */

	/* What it may send, beside the mechanism's own messages; borrowed. */
	const struct channel_type *accepts;
	size_t accept_count;

	/* A message that answers no request. Its id is the role's own, below 2^63: the upper half is
	 * for role_request(). Negative: the role broke the protocol and is replaced.
	 */
	int (*on_message)(struct role *role, struct channel_message *message, void *userdata);
	/* After each change; `reason` is "" or why it is not running. May be NULL. */
	void (*on_state)(struct role *role, enum role_state old_state, enum role_state new_state,
		const char *reason, void *userdata);
	void *userdata;
};

int role_new(sd_event *event, struct role_spawner *spawner, const struct role_spec *spec,
	struct role **ret);
/* What every start of the role gets: bytes and descriptors, copied and duplicated now. May be
 * called again at any time, for the starts that come. At most CHANNEL_PAYLOAD_MAX bytes. */
int role_set_start(
	struct role *role, const void *payload, size_t len, const int *fds, unsigned fd_count);
/* From now on it is wanted; 0 also when it is running already. */
int role_start(struct role *role);
/* No longer wanted: its channel is closed, which tells it to end; killed after `grace_ns`. */
void role_stop(struct role *role, uint64_t grace_ns);
/* Kills it, forgets its requests without calling back, releases everything. Returns NULL. */
struct role *role_free(struct role *role);

DEFINE_FREEP(struct role *, role_free)
DEFINE_FREEP(struct role_spawner *, role_spawner_free)

/* A message without an answer, or an answer (`id` of what on_message got). `fds` are borrowed.
 * -ENOTCONN unless ROLE_RUNNING, -ENOBUFS when its queue is full; else as channel_send(). */
int role_send(struct role *role, uint32_t type, uint64_t id, const void *payload, size_t len,
	const int *fds, unsigned fd_count);

/* Called exactly once per accepted request: r = 0 with the answer, whose payload is borrowed and
 * whose fds may be taken; -ETIMEDOUT: no answer by the deadline, the role is being replaced;
 * -EPIPE: it ended before it answered. */
typedef void (*role_answer_fn)(int r, struct channel_message *answer, void *userdata);

/* Sends and expects a message with the same id back within `timeout_ns`. 0 or a negative errno as
 * role_send(), also -EBUSY at max_requests; then nothing is called back. */
int role_request(struct role *role, uint32_t type, const void *payload, size_t len, const int *fds,
	unsigned fd_count, uint64_t timeout_ns, role_answer_fn on_answer, void *userdata);
/* Forgets the requests with this userdata, whose callback is then not called; their answers are
 * dropped and their deadlines still hold for the role. */
void role_forget(struct role *role, void *userdata);

struct role_status {
	const char *name; /* borrowed from the role */
	enum role_state state;
	const char *reason; /* why it is not running, or why it was restarted last; "" if neither */
	pid_t pid;          /* 0: none */
	uint64_t restarts;  /* starts after the first */
	uint64_t stuck;     /* times a deadline was missed and it was killed */
	unsigned abandoned; /* killed processes that are still there */
	unsigned requests;  /* outstanding */
	uint64_t memory_bytes; /* resident, from /proc/PID/statm, which never blocks; 0: unknown */
};
void role_status(const struct role *role, struct role_status *ret);
