/* Between the files of the collector; see collect.h. */
#pragma once

#include <sys/types.h>

#include "base/table.h"
#include "doctor/collect.h"
#include "doctor/identity.h"
#include "kernel/cgroup.h"
#include "kernel/mount-table.h"
#include "kernel/proc-link.h"
#include "kernel/unix-sockets.h"

#define COLLECT_SEEN_MAX       65536u
#define COLLECT_CANDIDATES_MAX (EVIDENCE_THREADS_MAX)
#define COLLECT_PER_PROCESS    256u /* threads of one process: the others wait for the same */
#define COLLECT_LISTENERS_MAX  4096u
#define COLLECT_FUSES_MAX      256u
#define COLLECT_NAMESPACES_MAX 4096u
#define COLLECT_FDS_MAX        65536u /* of one process that are looked through */
#define COLLECT_QUESTIONS_MAX  24u    /* to the probe */
#define COLLECT_SPACES_MAX     8u     /* directories of runtimes */
#define COLLECT_ORPHANS_MAX    64u    /* inits without a shim whose former one is looked for */
#define COLLECT_WATCHED_MAX    64u    /* paths whose holders are looked for */
#define COLLECT_NETS_MAX       16u
#define COLLECT_PINS_MAX       64u
#define COLLECT_POSTURE_MAX    1024u /* threads of one daemon */
#define COLLECT_PATHS_MAX      64u   /* working directories of one namespace that are kept */
#define COLLECT_PAUSES_MAX     64u   /* frozen containers whose shim is asked; of more, these */
#define COLLECT_MOUNTS_BYTES   ((size_t)64 << 20) /* of all mountinfos of one sample */

/* A process as one look at its stat and cgroup has it. */
struct seen {
	int32_t pid, ppid;
	uint64_t start_ticks, cpu_ticks;
	char comm[PROC_COMM_MAX];
	char state;
	uint32_t flags, threads;
	bool has_memory;
	enum identity_kind kind;
	enum evidence_daemon_kind daemon_kind;
	uint32_t candidates; /* threads of it that are kept */
	int32_t live_tid;    /* a thread that is not a zombie, once one was met; else 0 */
	char container_id[IDENTITY_ID_LEN + 1];
	uint32_t container; /* in the sample, once linked */
	uint32_t process;   /* in the sample, once it is there */
	uint32_t roles;
	uint64_t mount_ns; /* 0: not read */
};

struct candidate {
	uint64_t mount_ns; /* 0: not read */
	uint32_t seen;
	int32_t tid;
	char state;
};

/* The mountinfo of one namespace, and what was found in it: threads that wait come one namespace after
 * the other, so each table is read once for them, however many wait. */
struct collect_table {
	struct mount_table mounts; /* noted of each: its mount in the sample, once it is there */
	uint64_t ns;
	bool waiting_known;
	uint32_t waiting; /* the only FUSE mount with requests waiting */
	struct {
		const char *path; /* of the sample, which keeps one text once */
		uint32_t mount;
	} paths[COLLECT_PATHS_MAX];
	uint32_t path_count;
};

/* One mount namespace: whose mountinfo stands for it. */
struct collect_ns {
	uint64_t inode;
	int32_t pid, tid;
	uint32_t seen;
	bool is_reference; /* the host's, a daemon's or a shim's: where mounts are made and unmade */
};

/* A mount namespace that a bind mount keeps alive. */
struct collect_pin {
	uint64_t inode;
	const char *path; /* of the sample */
};

/* An init without a shim: the bundle of its container, where the shim's address may stand. */
struct collect_orphan {
	uint32_t shim;  /* in the sample */
	int32_t ns_pid; /* in whose mount namespace the bundle lies; 0: not found */
};

/* A path whose holders are looked for: busy as the facts say, or if somebody is found. */
struct collect_watched {
	const char *path, *message; /* of the sample */
	uint32_t mount, busy;
};

/* What containerd says of a task; brought together with the processes at the end. */
struct collect_task {
	uint32_t container;
	int32_t pid;
};

/* A container that is frozen: its shim is asked whether it was paused. */
struct collect_pause {
	uint32_t container, shim;
	bool is_asked;
};

enum collect_stage {
	STAGE_NODE,      /* pressure, hung tasks, sockets, the host's mounts, FUSE connections */
	STAGE_SWEEP,     /* each process: stat and cgroup */
	STAGE_TASKS,     /* each thread of it: stat, and where it waits if that matters */
	STAGE_CHOOSE,    /* who is worth a second look */
	STAGE_PROCESSES, /* details of those */
	STAGE_THREADS,   /* details of the threads that wait */
	STAGE_RELATIVES, /* parents and tracers of those */
	STAGE_SOCKETS,   /* whose the listening sockets are */
	STAGE_SHIMS,     /* each shim is asked for its state */
	STAGE_MOUNTS,    /* one mountinfo of each mount namespace */
	STAGE_QUESTIONS, /* the probe is asked */
	STAGE_SERVERS,   /* who serves the FUSE connections that somebody waits for */
	STAGE_HOLDERS,   /* who holds what is busy */
	STAGE_PAUSES,    /* shims are asked whether who is frozen was paused */
	STAGE_WAIT,      /* for the runtime, the shims and the probe */
	STAGE_FINISH,
};
#define COLLECT_STAGES (STAGE_FINISH + 1)

struct collect_question; /* to the probe, collect-probe.c */
struct collect_call;     /* to a shim or a runtime: lives until it is answered, however late */
struct collect_runtime;  /* collect-runtime.c */

struct collect {
	struct collect_options options;
	char *endpoint;
	sd_event_source *turn, *deadline;
	int proc_fd;
	bool is_root;
	int32_t self_pid, probe_pid;
	uint64_t ticks_per_second;

	/* The sample under way; NULL between samples. */
	struct evidence *evidence;
	collect_on_done on_done;
	void *userdata;
	bool has_facts;
	uint64_t started_ns, boot_ns;

	enum collect_stage stage;
	uint32_t cursor, cursor2; /* where the stage stands */
	struct proc_walk walk, tasks;
	bool walk_open, tasks_open;

	struct seen *seen;
	uint32_t seen_count, seen_room;
	struct candidate *candidates;
	uint32_t candidate_count, candidate_room;
	struct table ids; /* container id -> index + 1 in the sample, as a pointer */
	struct cgroup_mounts cgroups;
	bool has_v2_beside_v1;

	struct unix_listener *listeners;
	uint32_t listener_count;
	uint64_t net_namespaces[COLLECT_NETS_MAX]; /* whose listeners are among them */
	uint32_t net_count;
	int fuse_fd;
	bool fuse_waits; /* somebody waits for a FUSE server, or nobody can tell */
	struct collect_ns
		*namespaces; /* COLLECT_NAMESPACES_MAX of them, so that they do not move */
	uint32_t namespace_count;
	struct table namespace_table;
	uint64_t *
		reference_devices; /* mounted in a reference namespace; sorted once all are known */
	uint32_t reference_count, reference_room;
	size_t mounts_read;   /* bytes of mountinfo so far */
	uint32_t told_busies; /* of the facts; those behind them were seen here */
	struct collect_watched watched[COLLECT_WATCHED_MAX];
	uint32_t watched_count;
	struct collect_orphan orphans[COLLECT_ORPHANS_MAX];
	uint32_t orphan_count;
	bool *has_process; /* by container in the sample, when mounts are looked at */
	uint32_t has_process_count;
	struct collect_pin pins[COLLECT_PINS_MAX];
	uint32_t pin_count;
	uint32_t fuse_holders, fuse_holder; /* processes with a /dev/fuse; the last, in `seen` */

	struct collect_table table; /* of the namespace whose threads are looked at */

	struct collect_question *questions;
	uint32_t question_count, questions_open;
	sd_event_source *glance; /* at where the probe sleeps */

	/* These outlive a sample: who has not answered is not asked again. */
	uint64_t sample; /* numbers them */
	struct shim_client *shims;
	struct collect_call *shim_calls;
	struct collect_pause pauses[COLLECT_PAUSES_MAX]; /* of this sample */
	uint32_t pause_count;
	uint32_t shims_open; /* asked for this sample, and neither answered nor late */
	struct collect_runtime *runtime;
	struct collect_task *tasks_told;
	uint32_t task_count;
	int64_t *
		finished_ns; /* wall clock, by container in the sample; 0: not ended, or not known */
};

enum collect_step {
	COLLECT_MORE, /* call the stage again */
	COLLECT_NEXT, /* it is done */
	COLLECT_HOLD, /* it waits for an answer; collect_wake() goes on */
};

/* Each does a bounded piece of its stage. */
enum collect_step collect_node(struct collect *c);
enum collect_step collect_sweep(struct collect *c);
enum collect_step collect_tasks(struct collect *c);
enum collect_step collect_choose(struct collect *c);
enum collect_step collect_processes(struct collect *c);
enum collect_step collect_threads(struct collect *c);
enum collect_step collect_relatives(struct collect *c);
enum collect_step collect_sockets(struct collect *c);
enum collect_step collect_shims(struct collect *c);
enum collect_step collect_pauses(struct collect *c);
enum collect_step collect_mounts(struct collect *c);
enum collect_step collect_servers(struct collect *c);
enum collect_step collect_holders(struct collect *c);
enum collect_step collect_questions(struct collect *c);
void collect_finish(struct collect *c);
/* What the threads of daemons are at that have not answered. */
void collect_postures(struct collect *c);

/* The runtime is asked beside all that. 0, or a negative errno: a gap says what. */
int collect_runtime_start(struct collect *c);
bool collect_runtime_is_done(const struct collect *c);
/* What is still open is told as late; then all is forgotten. */
/* Who listens at the other end of its connection; 0: not known. */
int32_t collect_runtime_peer(const struct collect *c);
void collect_runtime_end(struct collect *c);
void collect_runtime_free(struct collect *c);
void collect_shims_end(struct collect *c);
/* One more is asked, its address and bundle known: 0 or -EBUSY. */
int collect_ask_shim(struct collect *c, uint32_t shim);
void collect_shims_free(struct collect *c);
/* containerd's own word, beside Docker's or CRI's. */
void collect_runtime_tasks(struct collect *c, const char *endpoint, const char *namespace);
/* Has our user run out of inotify? Then its processes are looked through, one of `seen` per call: false at the end. */
void collect_inotify_try(struct collect *c);
bool collect_inotify(struct collect *c, uint32_t seen);
/* Of one process of the sample. */
void collect_limits(struct collect *c, uint32_t process);
/* The directories whose room the probe is asked for. */
void collect_spaces(struct collect *c);
void collect_questions_end(struct collect *c);

/* Something was answered. */
void collect_wake(struct collect *c);

/* ---- what they share -------------------------------------------------------------------------- */

struct seen *collect_seen_by_pid(struct collect *c, int32_t pid);
/* The process in the sample, with all that can be read of it, put there if it is not; EVIDENCE_NONE
 * if it has ended or there is no room. */
uint32_t collect_add_process(struct collect *c, struct seen *s, uint32_t roles);
/* The container of this id, added as one that only the kernel knows unless it is there. */
uint32_t collect_container(struct collect *c, const char *id);
uint32_t collect_find_container(const struct collect *c, const char *id);
int collect_add_candidate(struct collect *c, struct seen *s, int32_t tid, char state);
/* Of each container, among the processes that are in the sample. */
void collect_link_inits(struct collect *c);
/* The frozen level that holds the group of this thread, in the sample's freezers. */
uint32_t collect_freezer(struct collect *c, const char *cgroup_text, size_t len, uint32_t container,
	const char **ret_path);
/* The mountinfo of its namespace stands in c->table. False if it cannot be had. */
bool collect_load_mounts(struct collect *c, const struct seen *s, int32_t tid, uint64_t *ret_ns);
void collect_table_done(struct collect_table *table);
/* The line's mount in the sample. */
uint32_t collect_add_mount(
	struct collect *c, const struct mountinfo_line *line, uint64_t ns, int32_t pid);
uint32_t collect_mount_by_id(struct collect *c, uint64_t ns, int32_t pid, int32_t mount_id);
/* The mount that holds this path, by the longest mount point. */
uint32_t collect_mount_by_path(struct collect *c, uint64_t ns, int32_t pid, const char *path);
/* The only FUSE mount in the loaded mountinfo that has requests waiting. */
uint32_t collect_mount_waiting(struct collect *c, uint64_t ns, int32_t pid);
