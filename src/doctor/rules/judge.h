/*
 * What the rules of all layers share: the sample, who belongs to whom in it, what is explained so far,
 * and how a finding is begun.
 *
 * Indices of the sample are never trusted: every one passes an `..._at()`, which gives NULL for
 * EVIDENCE_NONE and for what is out of range. Every list here is built here, so a walk ends.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "base/time.h"
#include "doctor/rules/memory.h"
#include "doctor/rules/rules.h"

#define SIGNAL_KILL_BIT   (UINT64_C(1) << 8)
#define TOPS_OF_ONE_CAUSE 32u /* of one cause at the top level; what is more is counted */
#define NAMES_MAX         4u  /* examples that one sentence lists */

/* Lists by index: the first of an owner, and the next of each member. */
struct lists {
	uint32_t *first, *next;
};

struct pair {
	uint64_t key;
	uint32_t index;
};

struct judge {
	const struct evidence *e;
	struct findings *out;
	struct rules_memory *memory;
	const struct rule *rule;
	/* who belongs to whom */
	struct lists threads;       /* of a process */
	struct lists members;       /* processes of a container */
	struct lists frozen;        /* processes of a freezer */
	struct lists shim_users;    /* containers of a shim */
	struct lists mount_holders; /* holders of a mount */
	struct pair *by_pid;        /* processes, sorted */
	struct pair *by_namespace;  /* processes, sorted by pid namespace */
	uint32_t *same_device;      /* of a mount: the first mount of its device */
	uint32_t *fuse_of;          /* of a mount */
	/* for how long a thread has not run, and since when; the same for what is stopped or idle */
	uint64_t *thread_held_ns;
	int64_t *thread_since_ns;
	/* by whom something is explained; NULL: nobody so far */
	struct finding **thread_cause, **process_cause, **container_cause, **shim_cause,
		**daemon_cause;
	struct finding *clock_cause; /* the clock was set: NULL if not */
	uint32_t tops[CAUSES];
	struct finding untold; /* stands for one that there was no room for */
	bool starved;          /* the node is so busy that being late proves little */
	int r;
};

/* Builds everything above from `e`: 0 or -ENOMEM. judge_done() also after a failure. */
int judge_init(struct judge *j, const struct evidence *e, struct rules_memory *memory,
	struct findings *out);
void judge_done(struct judge *j);

/* ---- reading ----------------------------------------------------------------------------- */

#define DEFINE_AT(type, name, items, count)                                                        \
	static inline const struct type *name(const struct judge *j, uint32_t index)               \
	{                                                                                          \
		return index < j->e->count ? &j->e->items[index] : NULL;                           \
	}
DEFINE_AT(evidence_process, process_at, processes, process_count)
DEFINE_AT(evidence_thread, thread_at, threads, thread_count)
DEFINE_AT(evidence_mount, mount_at, mounts, mount_count)
DEFINE_AT(evidence_fuse, fuse_at, fuses, fuse_count)
DEFINE_AT(evidence_device, device_at, devices, device_count)
DEFINE_AT(evidence_freezer, freezer_at, freezers, freezer_count)
DEFINE_AT(evidence_daemon, daemon_at, daemons, daemon_count)
DEFINE_AT(evidence_shim, shim_at, shims, shim_count)
DEFINE_AT(evidence_container, container_at, containers, container_count)

#define FOREACH_IN(index, list, owner)                                                             \
	for (uint32_t index = (list)->first[owner]; index != EVIDENCE_NONE;                        \
		index = (list)->next[index])

/* The process of that pid, or EVIDENCE_NONE. */
uint32_t judge_process_of_pid(const struct judge *j, int32_t pid);
/* The first place in by_namespace with this namespace; `process_count` if there is none. */
uint32_t judge_namespace_start(const struct judge *j, uint64_t pid_namespace);

bool stack_has(const struct evidence_thread *t, const char *function); /* part of a name */
bool waits_in(const struct evidence_thread *t, const char *function);  /* stack or wchan */
bool kill_is_pending(const struct judge *j, const struct evidence_thread *t);
bool is_stopped(const struct evidence_process *p); /* T or t */
bool call_is_late(const struct evidence_call *call, uint64_t for_ns);
/* Of those that ask a daemon as a whole: the one that has been silent for the longest; NULL: none. */
const struct evidence_call *latest_call(const struct evidence_daemon *d);
bool shows_container(const struct evidence_process *p); /* of a container or its machinery */

/* For how long a process has had this state. */
uint64_t process_held_ns(struct judge *j, const struct evidence_process *p);
/* For how long this call of `who` has been seen unanswered. */
uint64_t call_held_ns(struct judge *j, const char *who, const struct evidence_call *call);
/* It used hardly any CPU since it was first seen: of an idle one, or one that waits. */
bool process_is_idle(struct judge *j, const struct evidence_process *p);

/* ---- deciding ---------------------------------------------------------------------------- */

/* Held long enough? If not, another sample is asked for. */
enum finding_confidence confidence_after(struct judge *j, uint64_t held_ns, uint64_t asked_ns);

/* Whether what has been silent for so long, and may only be busy, is to be suspected now: no later sample
 * will tell. */
bool is_last_word(const struct judge *j, uint64_t held_ns);

/* Begins a finding of the current rule under `parent` (NULL: top level). Never NULL: one without
 * room is `untold`, which the tell_...() ignore and which can be a parent. */
struct finding *judge_begin(struct judge *j, enum finding_severity severity,
	enum finding_confidence confidence, int64_t since_ns, struct finding *parent);
/* The first that is not NULL. */
static inline struct finding *first_cause(struct finding *a, struct finding *b)
{
	return a ? a : b;
}

/* Marks as explained by `f`; what is explained already stays so. */
void explain_thread(struct judge *j, uint32_t thread, struct finding *f); /* and its process */
void explain_process(struct judge *j, uint32_t process, struct finding *f);
void explain_container(struct judge *j, uint32_t container, struct finding *f);
void explain_shim(struct judge *j, uint32_t shim, struct finding *f); /* and its containers */
void explain_daemon(struct judge *j, uint32_t daemon, struct finding *f);

/* What explains this container, its shim, its init or its daemon; NULL: nothing so far. */
struct finding *behind_container(const struct judge *j, uint32_t container);

/* ---- telling ----------------------------------------------------------------------------- */

#define NAME_MAX_BYTES 256
/* "demo/prometheus/sidecar", a name, or the beginning of the id; "" for EVIDENCE_NONE. */
const char *container_name(const struct judge *j, uint32_t container, char out[NAME_MAX_BYTES]);
#define CONTAINER_NAME(j, container) container_name(j, container, (char[NAME_MAX_BYTES]){ 0 })
/* " of demo/prometheus" or "". */
const char *of_container(const struct judge *j, uint32_t container, char out[NAME_MAX_BYTES]);
#define OF_CONTAINER(j, container) of_container(j, container, (char[NAME_MAX_BYTES]){ 0 })
#define SECONDS(ns)                time_format_short((char[TIME_TEXT_MAX]){ 0 }, ns)

/* A word that a shell takes as it is: bare, '...', or $'...' where bytes cannot be shown. An empty
 * string if it does not fit. */
const char *shell_quote(char *out, size_t size, const char *word);
#define QUOTED(word)                                                                               \
	shell_quote((char[FINDING_COMMAND_MAX / 2]){ 0 }, FINDING_COMMAND_MAX / 2, word)

#define COMMAND_WORDS 384
/* "docker" and "crictl", with the option that leads to where this runtime listens if they would
 * not look there; " --runtime ENDPOINT" for pleg's own commands, or "". */
const char *docker_command(const struct evidence_daemon *d, char out[COMMAND_WORDS]);
const char *crictl_command(const struct evidence_daemon *d, char out[COMMAND_WORDS]);
const char *pleg_runtime(const struct judge *j, char out[COMMAND_WORDS]);
#define DOCKER(d)       docker_command(d, (char[COMMAND_WORDS]){ 0 })
#define CRICTL(d)       crictl_command(d, (char[COMMAND_WORDS]){ 0 })
#define PLEG_RUNTIME(j) pleg_runtime(j, (char[COMMAND_WORDS]){ 0 })

/* "umount OPTION -- PLACE" of a mount as it is in the namespace of `pid`; 0: ours. PLACE is quoted. */
const char *umount_command(
	int32_t pid, const char *option, const char *place, char out[FINDING_COMMAND_MAX]);
#define UMOUNT(pid, option, place)                                                                 \
	umount_command(pid, option, place, (char[FINDING_COMMAND_MAX]){ 0 })

#define UNIT_NAME 128
/* What systemd is to restart for this daemon: its own unit by its cgroup, else by its kind where its
 * socket is where a package puts it; "" where neither is so. */
const char *daemon_unit(
	const struct judge *j, const struct evidence_daemon *d, char out[UNIT_NAME]);
#define UNIT_OF(j, d) daemon_unit(j, d, (char[UNIT_NAME]){ 0 })

struct about { /* what a subject is made of; EVIDENCE_NONE and NULL for what does not apply */
	uint32_t container, process, thread, mount;
	const char *place, *device; /* in place of the mount's own */
};
#define ABOUT_NOTHING                                                                              \
	((struct about){ .container = EVIDENCE_NONE,                                               \
		.process = EVIDENCE_NONE,                                                          \
		.thread = EVIDENCE_NONE,                                                           \
		.mount = EVIDENCE_NONE })

void tell_subject(struct judge *j, struct finding *f, const struct about *about);
void tell(struct judge *j, struct finding *f, const char *what, const char *where,
	const char *format, ...) __attribute__((format(printf, 5, 6)));
void tell_summary(struct judge *j, struct finding *f, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void tell_thread(struct judge *j, struct finding *f, uint32_t thread);
void tell_process(struct judge *j, struct finding *f, uint32_t process);
void tell_call(
	struct judge *j, struct finding *f, const char *who, const struct evidence_call *call);
/* What a daemon that does not answer is at. */
void tell_posture(struct judge *j, struct finding *f, const struct evidence_daemon *d);
void tell_mount(struct judge *j, struct finding *f, uint32_t mount);
/* The pid to enter for it, of a mount that is not in the host's namespace; 0: it is, `*ret_known` false:
 * whose it is is not known. */
int32_t mount_entered_by(const struct judge *j, const struct evidence_mount *m, bool *ret_known);
/* "not looked at": with the reason of a gap whose text has `word`, else `otherwise`. */
void tell_gap(struct judge *j, struct finding *f, const char *what, const char *word,
	const char *otherwise);
void avoid(struct judge *j, struct finding *f, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* `command` is a format; "" for none. A command that would be cut is not given. */
void advise(struct judge *j, struct finding *f, enum finding_risk risk, const char *action,
	const char *why, const char *loses, const char *command, ...)
	__attribute__((format(printf, 7, 8)));
/* "echo THAWED > FILE" of one level, or "". */
const char *thaw_command(const struct evidence_freezer *z, char out[FINDING_COMMAND_MAX]);
/* What helps a process that is stopped, traced or frozen to go on. */
void advise_waking(struct judge *j, struct finding *f, uint32_t process, const char *name);

/* ---- the rules, deepest first ------------------------------------------------------------ */

void judge_filesystem_frozen(struct judge *j);
void judge_freezers_frozen(struct judge *j);
void judge_fuse(struct judge *j);
void judge_freezers_freezing(struct judge *j);
void judge_mmap_lock(struct judge *j);
void judge_shim_stopped(struct judge *j);
void judge_zombie_threads(struct judge *j);
void judge_zombie_parent(struct judge *j);
void judge_pid_namespace(struct judge *j);
void judge_shim_dead(struct judge *j);
void judge_socket_gone(struct judge *j);
void judge_daemon_stopped(struct judge *j);
void judge_container_lock(struct judge *j);
void judge_daemon_deadlock(struct judge *j);
void judge_mount_leak(struct judge *j);
void judge_lost_exit(struct judge *j);
void judge_crash_loop(struct judge *j);
void judge_space(struct judge *j);
void judge_descriptors(struct judge *j);
void judge_inotify(struct judge *j);
void judge_pids(struct judge *j);
void judge_throttled(struct judge *j);
void judge_relist(struct judge *j);
void judge_unknown(struct judge *j);
void judge_deleted_pods(struct judge *j);
void judge_pod_status(struct judge *j);
void judge_clock(struct judge *j);
void judge_credential(struct judge *j);
void judge_stale(struct judge *j);
void judge_api_server(struct judge *j);
