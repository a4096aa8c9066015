/*
 * What was read of a node at one moment: processes and threads, mounts, FUSE connections, freezers,
 * block devices, sockets, shims, containers. Facts only, no judgement; collect (src/doctor/collect)
 * fills it, rules (src/doctor/rules) read it, tests write it by hand.
 *
 * Plain arrays that refer to each other by index, EVIDENCE_NONE for nothing. A process is always a
 * pid and its start time, so two samples can be compared. Strings are never NULL and belong to the
 * sample; they hold no arguments and no environment, and were not cleaned: whoever shows them does.
 *
 * What could not be looked at is a fact too: see struct evidence_gap.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "model/api-server.h"
#include "model/container.h"
#include "model/ledger.h"

#define EVIDENCE_NONE UINT32_MAX

#define EVIDENCE_PROCESSES_MAX  4096u  /* those of interest, not all of a node */
#define EVIDENCE_THREADS_MAX    16384u /* threads that wait for something worth keeping */
#define EVIDENCE_CONTAINERS_MAX 4096u
#define EVIDENCE_OTHERS_MAX     4096u /* of each other array */
#define EVIDENCE_TEXT_MAX       (16u << 20)

/* How something answered that was asked under a deadline. */
enum evidence_answer {
	ANSWER_NOT_ASKED,
	ANSWER_OK,
	ANSWER_ERROR,     /* it answers, with an error: `message` says which */
	ANSWER_NOT_FOUND, /* it answers that the subject does not exist */
	ANSWER_LATE,      /* asked, and silent for `age_ns` */
	ANSWER_NO_SOCKET, /* ENOENT */
	ANSWER_REFUSED,   /* a socket file without a listener */
	ANSWER_DENIED,    /* no right to ask: says nothing of the one who was to answer */
	ANSWER_GARBAGE,   /* something that is not of the protocol */
};

const char *evidence_answer_text(enum evidence_answer answer); /* "not asked", "ok", "late", ... */

/* One question and how it went. */
struct evidence_call {
	const char *method;  /* "ListContainers", "GET /containers/json", "State", "cmdline" */
	const char *subject; /* id, or "" */
	enum evidence_answer answer;
	uint64_t age_ns; /* until the answer, or so far */
	const char *message;
};

enum evidence_role {                    /* why a process is in the sample; a set of bits */
	EVIDENCE_INIT = 1 << 0,         /* the init of a container or sandbox */
	EVIDENCE_IN_CONTAINER = 1 << 1, /* another process of one */
	EVIDENCE_SHIM = 1 << 2,
	EVIDENCE_OCI_RUNTIME = 1 << 3, /* runc, crun, or their init stage */
	EVIDENCE_DAEMON = 1 << 4,      /* containerd, dockerd, cri-o, kubelet: see `daemons` */
	EVIDENCE_FUSE_SERVER = 1 << 5, /* holds a /dev/fuse descriptor */
	EVIDENCE_PARENT = 1 << 6,      /* of one of the others */
	EVIDENCE_TRACER = 1 << 7,
	EVIDENCE_HOLDER = 1 << 8,   /* holds a mount, see `holders` */
	EVIDENCE_STUCK = 1 << 9,    /* of nobody we know, with a thread that does not go */
	EVIDENCE_NS_INIT = 1 << 10, /* the first process of a pid namespace */
};

struct evidence_process {
	int32_t pid;
	uint64_t start_ticks;
	uint64_t age_ns; /* since it was started */
	uint32_t roles;  /* of enum evidence_role */
	const char *comm;
	char state; /* of the leader: R S D T t Z X I */
	int32_t ppid;
	uint32_t parent;       /* in `processes` */
	uint32_t thread_count; /* as the kernel counts */
	int32_t tracer_pid;
	uint64_t pending_shared;     /* ShdPnd: bit N - 1 is signal N */
	uint64_t ignored, caught;    /* SigIgn, SigCgt */
	uint64_t fd_count, fd_limit; /* of daemons and shims; limit 0: not read */
	uint32_t fd_size;
	/* Of its cgroup, or the one around it: the one with the least left. Max 0: no limit, or not read. */
	const char *pids_path;
	uint64_t pids_current, pids_max;
	/* Of a daemon's cgroup or one above it with a quota of processor time: the one that was kept
	 * waiting most, counted since it was made. Periods 0: there is no quota, or it was not read. */
	const char *cpu_path;
	uint64_t cpu_periods, cpu_throttled, cpu_throttled_ns;
	bool has_memory; /* an address space; false for zombies, kernel threads, dying inits */
	bool dumping_core;
	bool has_pidfd, pidfd_readable; /* looked at, and dead */
	uint64_t pid_namespace;         /* inode of ns/pid; 0: not known */
	uint32_t ns_level;              /* how many pid namespaces it is in; 1: the host's */
	int32_t ns_pid;                 /* its pid in the innermost */
	const char *cgroup;             /* path in the freezer's hierarchy or the unified one */
	uint32_t freezer;               /* the frozen level that holds it, in `freezers` */
	uint32_t container;             /* in `containers` */
	struct evidence_call memory; /* cmdline read by a probe: ANSWER_LATE if mmap_lock is held */
	const char *memory_wchan;    /* where that probe sleeps; "" */
	uint64_t cpu_ticks;          /* used so far, user and system */
};

/* A thread worth keeping: in D, T or t; with SIGKILL pending; of a zombie leader; or in a wait that
 * a rule knows though its state is S. */
struct evidence_thread {
	uint32_t process;
	int32_t tid;
	const char *comm;
	char state;
	uint64_t pending;  /* SigPnd */
	const char *wchan; /* "" if unknown */
	const char *stack; /* function names, one per line, without offsets; "" if not permitted */
	bool in_syscall;
	uint64_t syscall, args[3];
	int32_t fd;          /* the descriptor it waits on, or -1 */
	uint32_t mount;      /* where that descriptor, or the path it is known to wait on, lies */
	bool mount_inferred; /* not from a descriptor: the only hung FUSE mount it has, or its cwd's */
	uint64_t switches; /* context switches so far: unchanged = it did not run at all */
};

struct evidence_mount { /* by device and mount point, as the namespace it was read in has it */
	int32_t mount_id;
	uint32_t major, minor;
	const char *type, *source, *point; /* decoded: real bytes, not \040 */
	uint64_t ns;                       /* inode of the mount namespace */
	int32_t seen_by_pid;               /* whose mountinfo it stands in */
	uint32_t fuse;                     /* in `fuses` */
	uint32_t device;                   /* in `devices` */
	uint32_t container;                /* whose root or volume it is, if known */
};

struct evidence_fuse {
	uint32_t minor; /* its name under /sys/fs/fuse/connections */
	bool has_waiting;
	uint64_t waiting; /* requests without an answer */
	uint32_t server;  /* in `processes`; NONE: no holder found, or not looked for (waiting 0) */
	bool server_inferred; /* the kernel does not tell; it is the only holder of a /dev/fuse */
	uint32_t mount;
};

struct evidence_device {
	uint32_t major, minor;
	const char *name; /* "loop0" */
	uint64_t in_flight, completed;
	const char *state; /* of /sys/block/X/device/state; "" */
};

struct evidence_freezer { /* a level that is not thawed */
	const char *path; /* as a process's `cgroup` */
	const char *file; /* absolute: the freezer.state or cgroup.freeze that thaws this level */
	bool v2;
	bool freezing; /* v1 FREEZING; v2: freeze 1 and frozen 0 */
	bool self;     /* this level was told to, else one above */
	uint32_t container;
	bool on_purpose; /* the runtime says PAUSED */
};

/* Who keeps a filesystem alive, or a mount busy. */
enum evidence_hold {
	HOLD_NAMESPACE, /* a copy of the mount in the process's mount namespace */
	HOLD_FD,
	HOLD_CWD,
	HOLD_ROOT,
	HOLD_PIN, /* a namespace pinned by a bind mount (nsfs) and no process */
};

const char *evidence_hold_text(enum evidence_hold hold); /* "namespace", "fd", "cwd", ... */

struct evidence_holder {
	uint32_t mount; /* the one that is busy or should be gone */
	enum evidence_hold hold;
	uint32_t process;
	uint64_t ns;
	const char *path; /* the mount point as the holder has it, or the pin's path */
};

/* Somebody could not remove or unmount something: what the runtime said, or what was seen. */
struct evidence_busy {
	const char *path, *message;
	uint32_t mount, container;
};

enum evidence_daemon_kind {
	DAEMON_CONTAINERD,
	DAEMON_DOCKERD,
	DAEMON_CRIO,
	DAEMON_CRI_DOCKERD,
	DAEMON_KUBELET,
	DAEMON_OTHER,
};

const char *evidence_daemon_text(enum evidence_daemon_kind kind); /* "containerd", "dockerd" */

/* What all threads of a process were at, one after the other at one moment. */
struct evidence_posture {
	bool is_known; /* all of them could be looked at */
	uint32_t threads;
	uint32_t running, stuck, stopped; /* R, D, T or t */
	uint32_t waiting;   /* for a lock, an event, a child or a time, as the idle do */
	uint32_t elsewhere; /* asleep in something else */
	const char *where;  /* what one of the stuck, else of those elsewhere, sleeps in; "" */
};

struct evidence_daemon {
	enum evidence_daemon_kind kind;
	bool is_runtime;      /* the one that the agent's endpoint leads to */
	const char *endpoint; /* "unix:///..." or "" */
	const char *run_dir;  /* dockerd's, as its sockets tell; "" */
	int32_t peer_pid;     /* at the other end of our own connection; 0: not known */
	uint32_t process;
	struct evidence_posture posture; /* read when a call is late */
	bool has_queue;
	uint32_t accept_queue, backlog; /* Recv-Q and Send-Q of its listening socket */
	struct evidence_call version;   /* the cheapest question */
	struct evidence_call list;      /* all containers */
	struct evidence_call tasks;     /* containerd's Tasks/List, beside CRI */
	bool is_paused_by_freezer;
};

struct evidence_shim {
	uint32_t process; /* NONE: dead, or not found */
	const char *address, *bundle;
	struct evidence_call state; /* ttrpc Task/State, or the connect before it */
	bool has_queue;
	uint32_t accept_queue, backlog;
};

/* Was it paused on purpose? What its runtime says, or its shim, which is whom the runtime asks. */
enum evidence_pause {
	PAUSE_UNKNOWN,  /* nobody was asked, or nobody has answered */
	PAUSE_NO,       /* asked after its freezer was read, and not paused */
	PAUSE_UNDERWAY, /* being paused */
	PAUSE_YES,
};

const char *evidence_pause_text(enum evidence_pause pause); /* "unknown", "no", ... */

/* How the API server's word of a pod differs from what is, for long enough to be no lag. */
enum evidence_api {
	EVIDENCE_API_AGREES, /* or nobody asks it */
	EVIDENCE_API_DELETED,
	EVIDENCE_API_OVERDUE, /* to be gone, and its time is over */
	EVIDENCE_API_UNKNOWN, /* it has no such pod */
	EVIDENCE_API_RUNS,    /* the container runs, it says */
};

struct evidence_container {
	enum container_kind kind;
	const char *id, *sandbox_id, *namespace, *pod, *pod_uid, *container;
	uint32_t attempt;
	enum container_state runtime_state;
	enum evidence_pause pause;
	const char *runtime_detail; /* "Dead", "Removal In Progress" of Docker; "" */
	struct evidence_call inspect;
	enum ledger_state kernel_state;
	uint64_t differs_ns; /* for how long the two words have differed; 0: they agree */
	uint32_t init;       /* in `processes` */
	uint32_t shim;       /* in `shims` */
	uint32_t daemon;     /* in `daemons`: whose container it is */
	/* Ends of earlier incarnations of this name in this pod that are known. */
	uint32_t recent_exits; /* within the last 10 minutes */
	int32_t last_exit_code;
	bool same_exit_code; /* all of them */
	/* As the runtime counts, which keeps few of the dead: how often this name was started again, in
	 * how long, and how long ago it ended last. 0: not known; an agent knows the exits themselves. */
	uint32_t restarts;
	uint64_t restarts_in_ns, last_exit_ns;
	uint64_t age_ns;       /* since it was made; 0: not known */
	bool by_kernel_only;   /* no runtime told of it: found by its cgroup, its name is unknown */
	uint32_t freezer;      /* the frozen level of its cgroup, in `freezers` */
	const char *owner;     /* of its pod, by the API server: "Deployment/web"; "" */
	enum evidence_api api; /* about the pod: at one of its containers only */
	uint64_t api_differs_ns;
	const char *api_says; /* in words, and as of when; "" */
};

enum evidence_space_of { /* a directory that a runtime writes to */
	SPACE_ROOT,
	SPACE_STATE,
	SPACE_LOG,
};

struct evidence_space {
	enum evidence_space_of of;
	uint32_t daemon; /* whose, in whose mount namespace; NONE: as the host has it */
	const char *path;
	struct evidence_call call; /* statfs, by a probe; nothing below counts unless it is OK */
	uint64_t fs_type;
	uint64_t total_bytes, free_bytes, available_bytes; /* available: not for root alone */
	uint64_t files, files_free;                        /* 0 and 0: it makes them as needed */
};

/* A line of the kernel's hung-task detector. */
struct evidence_hung {
	const char *comm;
	int32_t tid;
	uint64_t seconds; /* how long it had hung, at least, when the kernel said so ... */
	uint64_t age_ns;  /* ... so long ago */
	uint32_t thread;  /* in `threads`, if it is still there */
};

/* What our own user has of inotify, whose limits are a user's: counted only where it has run out. */
struct evidence_inotify {
	bool is_out, lacks_watches; /* no instance more, or no watch more */
	uint32_t uid;
	uint64_t used, max; /* of the one that it lacks; max 0: not read */
	uint32_t processes; /* that have one */
	/* Who has most. */
	int32_t pid; /* 0: nobody was found */
	const char *comm;
	uint64_t of_one;
	bool is_whole; /* all of its processes could be looked at */
};

/* What could not be looked at, and why: "no fusectl is mounted", "not permitted". */
struct evidence_gap {
	const char *what, *why;
	const char *cure; /* a command or capability that would help; "" */
	bool is_small;    /* it would have helped to prove: nothing is hidden behind it */
};

/* Load and limits: 0 and false where not read. */
struct evidence_node {
	bool has_pressure;
	double cpu_some, memory_full, io_full; /* avg10, percent */
	uint64_t mount_count;                  /* lines of the host's mountinfo */
	uint64_t thread_count;                 /* of the node */
	uint64_t hung_tasks;                   /* kernel.hung_task_detect_count */
	uint64_t process_count;                /* without the kernel's own */
	uint64_t mount_ns;    /* of the host, as far as we see: pid 1's, else our own */
	bool fusectl_mounted; /* /sys/fs/fuse/connections is there for others too */
	uint32_t containers_live, containers_dead;
	uint64_t last_list_age_ns; /* of the agent's PLEG; 0 without one */
	/* Of the agent's PLEG: if every pod changed at once; 0 without one. */
	uint64_t predicted_list_ns;   /* several inspections side by side */
	uint64_t predicted_serial_ns; /* one after another, as a kubelet does it */
	uint64_t list_ns, inspect_ns; /* what these are made of */
	uint32_t inspections;
	uint64_t list_threshold_ns;
};

/* The wall clock against the time since boot. */
/* As its healthz tells the agent. */
enum evidence_kubelet_state {
	EVIDENCE_KUBELET_NONE, /* there is none, or nobody has asked */
	EVIDENCE_KUBELET_OK,
	EVIDENCE_KUBELET_FAILING, /* answers that it is not well */
	EVIDENCE_KUBELET_SLOW,    /* does not answer in time */
	EVIDENCE_KUBELET_GONE,    /* it was there, and is no more */
};

struct evidence_kubelet {
	enum evidence_kubelet_state state;
	const char *message; /* "" where it is well */
	uint16_t port;       /* of its healthz */
};

struct evidence_clock {
	int64_t step_ns; /* by so much it was set of late, forward; 0: it was not */
	int64_t at_ns;   /* when, by the clock as it is now */
};

struct evidence {
	int64_t at_ns; /* wall clock */
	uint64_t mono_ns;
	struct evidence_node node;
	struct api_server api_server; /* as the agent's own requests have it */
	struct evidence_kubelet kubelet;
	struct evidence_clock clock;
	struct evidence_inotify inotify;
	struct evidence_process *processes;
	struct evidence_thread *threads;
	struct evidence_mount *mounts;
	struct evidence_fuse *fuses;
	struct evidence_device *devices;
	struct evidence_freezer *freezers;
	struct evidence_holder *holders;
	struct evidence_busy *busies;
	struct evidence_daemon *daemons;
	struct evidence_shim *shims;
	struct evidence_container *containers;
	struct evidence_gap *gaps;
	struct evidence_hung *hungs;
	struct evidence_space *spaces;
	uint32_t process_count, thread_count, mount_count, fuse_count, device_count, freezer_count,
		holder_count, busy_count, daemon_count, shim_count, container_count, gap_count,
		hung_count, space_count;
	uint32_t left_out; /* things over a limit */
	bool cut_short;    /* by the deadline: what is not here may be there all the same */
	struct evidence_store
		*store; /* what owns all of it; NULL: written by hand, owned by nobody */
};

/* ---- making one ------------------------------------------------------------------------------ */

/* An empty sample, or NULL when out of memory. */
struct evidence *evidence_new(void);
/* Of evidence_new() only: one that was written by hand is left alone. Accepts NULL, returns NULL. */
struct evidence *evidence_free(struct evidence *evidence);
DEFINE_FREEP(struct evidence *, evidence_free)

/*
 * Texts that live as long as the sample; NULL is "". The same text is kept once. Never fails: what
 * finds no room (EVIDENCE_TEXT_MAX, memory) is "" and counted in `left_out`.
 */
const char *evidence_copy(struct evidence *evidence, const char *text, size_t len);
const char *evidence_text(struct evidence *evidence, const char *text);
struct evidence_call evidence_call_copy(
	struct evidence *evidence, const struct evidence_call *call);

/*
 * Each adds an empty element (texts "", references EVIDENCE_NONE, state '?') and returns its index,
 * or EVIDENCE_NONE at its limit or without memory, counted in `left_out`. The arrays move as they
 * grow: keep indices, not pointers.
 */
uint32_t evidence_add_process(struct evidence *evidence);
uint32_t evidence_add_thread(struct evidence *evidence);
uint32_t evidence_add_mount(struct evidence *evidence);
uint32_t evidence_add_fuse(struct evidence *evidence);
uint32_t evidence_add_device(struct evidence *evidence);
uint32_t evidence_add_freezer(struct evidence *evidence);
uint32_t evidence_add_holder(struct evidence *evidence);
uint32_t evidence_add_busy(struct evidence *evidence);
uint32_t evidence_add_daemon(struct evidence *evidence);
uint32_t evidence_add_shim(struct evidence *evidence);
uint32_t evidence_add_container(struct evidence *evidence);
uint32_t evidence_add_space(struct evidence *evidence);
uint32_t evidence_add_hung(struct evidence *evidence);
/* Once for each pair of `what` and `why`. */
void evidence_add_gap(
	struct evidence *evidence, const char *what, const char *why, const char *cure);
void evidence_add_small_gap(
	struct evidence *evidence, const char *what, const char *why, const char *cure);
/* All that rules ask for could be looked at: that nothing is found means something. */
bool evidence_is_whole(const struct evidence *evidence);
