/*
 * The agent's side of the probe role: questions whose answer may never come. Each has a deadline;
 * when one is missed the probe is given up (killed, or abandoned and counted where not even that
 * works) and a new one is started from memory, without a disk, while the question is answered with
 * -ETIMEDOUT. One question at a time is with the probe, so one that hangs makes only itself late;
 * the others wait here, at most PROBE_WAITING_MAX of them and for a bounded time.
 *
 * With PROBE_STUCK_MAX abandoned probes there is no new one until one of them is freed: questions
 * are then refused with -EBUSY and a text that says so.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/time.h"
#include "kernel/probe-protocol.h"
#include "kernel/proc.h"
#include "role/role.h"

#define PROBE_TIMEOUT_NS  NSEC_PER_SEC        /* of one question, unless it says otherwise */
#define PROBE_WAIT_NS     (10 * NSEC_PER_SEC) /* for its turn, and for a probe to be there */
#define PROBE_WAITING_MAX 64u
#define PROBE_STUCK_MAX   4u

struct probe;

/* `exe_fd` from role_exe_open(..., true, ...): borrowed, must outlive the probe. Starts it. */
int probe_new(sd_event *event, struct role_spawner *spawner, int exe_fd, struct probe **ret);
/* Forgets what was asked without calling back. Returns NULL. */
struct probe *probe_free(struct probe *p);
DEFINE_FREEP(struct probe *, probe_free)

struct probe_answer {
	const struct probe_result *result;
	const char *bytes; /* of a file; borrowed during the call; not NUL-terminated */
	size_t len;
	int fd; /* of a secret, a sealed memfd; borrowed; -EBADF: none */
};

/*
 * Exactly once per accepted question, from the loop; the probe must not be freed inside. r = 0 with
 * the answer, or no answer and `reason` for people:
 *	-ETIMEDOUT  it hangs in the kernel    -EAGAIN  no probe was free for it in time
 *	-EBUSY      too many probes hang      -EPIPE   the probe died over it
 *	-ESRCH      no such process any more  others   what the read itself gave
 */
typedef void (*probe_on_answer)(
	int r, const struct probe_answer *answer, const char *reason, void *userdata);

/* 0: asked. -EBUSY: too many are waiting, or all probes hang; -ENOMEM, -EINVAL. `timeout_ns` 0:
 * PROBE_TIMEOUT_NS. */
int probe_read(struct probe *p, struct proc_id id, enum probe_file file, uint64_t timeout_ns,
	probe_on_answer on_answer, void *userdata, struct err *reterr);
/* As lstat(2) and statfs(2); the path may lie on a filesystem that hangs. */
int probe_stat(struct probe *p, const char *path, uint64_t timeout_ns, probe_on_answer on_answer,
	void *userdata, struct err *reterr);
int probe_statfs(struct probe *p, const char *path, uint64_t timeout_ns, probe_on_answer on_answer,
	void *userdata, struct err *reterr);
/* The bytes of a regular file by its path, symbolic links at its end not followed. -EINVAL: it is no
 * regular file. */
int probe_file(struct probe *p, const char *path, uint64_t timeout_ns, probe_on_answer on_answer,
	void *userdata, struct err *reterr);
/* A regular file by its path, links followed, as a sealed memfd in the answer: for what is not to lie in
 * buffers on its way. -EFBIG: it is longer than PROBE_SECRET_MAX. */
int probe_secret(struct probe *p, const char *path, uint64_t timeout_ns, probe_on_answer on_answer,
	void *userdata, struct err *reterr);
/*
 * Of a file as a process sees it (probe-protocol.h). `path` is NULL where the place is a descriptor.
 * probe_find(): the newest regular file that fits; its name, without the directory, are the bytes.
 * probe_file_at(): its bytes from the place's offset on, PROBE_BYTES_MAX of them at most.
 * Both answer with what stat(2) says. -ENOENT: there is none; -EINVAL: it is no regular file.
 */
int probe_find(struct probe *p, const struct probe_place *place, const char *path,
	uint64_t timeout_ns, probe_on_answer on_answer, void *userdata, struct err *reterr);
int probe_file_at(struct probe *p, const struct probe_place *place, const char *path,
	uint64_t timeout_ns, probe_on_answer on_answer, void *userdata, struct err *reterr);
/* Questions with this userdata are not answered any more. */
void probe_forget(struct probe *p, void *userdata);

struct probe_status {
	struct role_status role;
	unsigned waiting;
	uint64_t answered, late, refused;
};
void probe_status(const struct probe *p, struct probe_status *ret);
