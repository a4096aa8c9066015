/*
 * What a trace found out, and what is made of it: facts are filled in by trace.c and look.c, judged
 * by judge.c and written down by document.c, both pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "kernel/cgroup.h"
#include "kernel/proc.h"
#include "model/container.h"
#include "model/evidence.h"
#include "runtime/shim.h"
#include "trace/trace.h"

#define TRACE_TEXT_MAX    240
#define TRACE_ID_MAX      HINT_ID_MAX
#define TRACE_GROUPS_MAX  48u /* of threads; more are counted together */
#define TRACE_TIDS_MAX    6u  /* named of each group */
#define TRACE_OCI_MAX     8u
#define TRACE_LEVELS_MAX  16u
#define TRACE_OCI_OLD_NS  (10 * NSEC_PER_SEC)
#define TRACE_THREADS_MAX 65536u
#define TRACE_ROOT_MAX    256
#define TRACE_STACK_MAX   160 /* the innermost functions of a kernel stack */
#define TRACE_MOUNT_MAX   160

/* ---- the kernel's part: filled by the child of look.c, in memory shared with it --------------- */

struct trace_process {
	int32_t pid; /* 0: there is none, or it was not looked for */
	int32_t ppid;
	char comm[PROC_COMM_MAX];
	char state;
	char wchan[PROC_WCHAN_MAX];
	uint64_t start_ticks, age_ns;
	uint32_t threads;
	int32_t tracer_pid;
};

/* Threads that are alike in all of this. */
struct trace_group {
	char state;
	bool is_killed;   /* SIGKILL is pending */
	bool is_stuck;    /* looked at twice: it did not run once in between */
	bool has_syscall; /* only asked where it is not plainly asleep */
	uint64_t syscall;
	char wchan[PROC_WCHAN_MAX];
	/* Of the mount that the call's descriptor lies on; "": it has none, or that could not be read. */
	char mount[TRACE_MOUNT_MAX], mount_type[32];
	char stack[TRACE_STACK_MAX]; /* of the first one: names, one a line; "": not read */
	uint32_t count;
	int32_t tids[TRACE_TIDS_MAX]; /* the first ones */
};

/* What runc has written down of its container. */
struct trace_oci_state {
	int32_t init_pid;
	uint64_t init_start_ticks; /* 0: not said */
	bool is_alive;             /* that very process is there, a zombie too */
	bool is_created;           /* created, and nobody has started it */
};

struct trace_level {
	char path[TRACE_TEXT_MAX];
	enum cgroup_freezer_state state;
	bool self;
};

/* How far the child has come: each stage may be read once it is passed. */
enum trace_stage {
	TRACE_STAGE_NONE,
	TRACE_STAGE_DAEMONS,
	TRACE_STAGE_INIT,
	TRACE_STAGE_SHIM,
	TRACE_STAGE_THREADS,
	TRACE_STAGE_OCI,
	TRACE_STAGE_END,
};

struct trace_look {
	/* asked */
	char id[TRACE_ID_MAX + 1];
	char socket[108]; /* of the runtime */
	bool is_docker;   /* that is Docker's; containerd has another */
	/* found */
	enum trace_stage stage;
	char doing[TRACE_TEXT_MAX];
	struct trace_process kubelet, daemon, containerd, init, shim;
	char containerd_socket[108]; /* beside the bundle's state directory; "" if not found */
	uint64_t init_pending;
	bool is_init_hidden; /* whether SIGKILL is pending, or where it waits, may not be seen */
	int scan_error;      /* 0, or why /proc could not be walked */
	/* of the shim */
	int shim_error; /* why its bundle could not be looked at; 0 */
	char bundle[SHIM_BUNDLE_MAX];
	char namespace[CONTAINERD_NAMESPACE_MAX + 1]; /* "": not known */
	bool has_address;
	struct shim_address address;
	/* of the init */
	struct trace_level levels[TRACE_LEVELS_MAX];
	uint32_t level_count;
	struct trace_group groups[TRACE_GROUPS_MAX];
	uint32_t group_count, thread_count, threads_left_out;
	/* of the OCI runtime */
	struct trace_process oci[TRACE_OCI_MAX];
	uint32_t oci_count;
	int state_file;     /* 1 there, 0 not, negative: not looked at */
	bool has_oci_state; /* it was read, and its pids are of our pid namespace */
	struct trace_oci_state oci_state;
};

/* ---- what was asked over sockets --------------------------------------------------------------- */

struct trace_call {
	const char *name; /* "Version"; NULL: not one of this trace */
	enum evidence_answer answer;
	bool is_open;        /* no answer and not late yet */
	uint64_t elapsed_ns; /* until the answer, or until it was late */
	char message[TRACE_TEXT_MAX];
};

struct trace_subject {
	char id[TRACE_ID_MAX + 1];
	char sandbox_id[TRACE_ID_MAX + 1];
	char namespace[128], pod[256], pod_uid[64], container[128];
	enum container_kind kind;
	enum container_state state; /* of the list */
	enum container_detail detail;
	bool is_listed; /* the runtime's list has it */
};

struct trace_facts {
	struct trace_subject subject;
	char endpoint[256];
	uint64_t elapsed_ns;
	bool is_docker; /* the runtime's hop is dockerd, and not CRI */
	bool is_root;   /* else a socket that refuses is one that we may not use */
	/* healthz, metrics */
	struct trace_call healthz, metrics;
	uint16_t kubelet_port, kubelet_read_port; /* with and without credentials; 0: off */
	/* CRI */
	struct trace_call cri_version, cri_status;
	char cri_name[128];
	bool has_status;
	enum container_state status;
	enum container_detail detail;
	bool has_exit_code;
	int32_t exit_code;
	/* containerd's own services */
	struct trace_call version, namespaces, task;
	char version_text[64];
	bool has_task;
	enum containerd_status task_status;
	int32_t task_pid;
	/* ttrpc */
	struct trace_call shim_state;
	bool has_shim_task;
	struct shim_task shim_task;
	/* the child */
	struct trace_look look;
	bool look_late;
};

/* ---- what is made of it ------------------------------------------------------------------------ */

/* From the top down: a hop in trouble is explained by one below it. */
enum trace_hop_name {
	TRACE_KUBELET,
	TRACE_CRI, /* or dockerd */
	TRACE_CONTAINERD,
	TRACE_SHIM,
	TRACE_OCI,
	TRACE_INIT,
};
#define TRACE_HOPS 6

enum trace_hop_status {
	TRACE_OK,
	TRACE_HANGS,   /* asked and silent, stopped, frozen, or it does not die */
	TRACE_FAILS,   /* answers with an error, or is not there and should be */
	TRACE_DIFFERS, /* says something else than the hop below it */
	TRACE_ABSENT,  /* not there, and need not be */
	TRACE_UNSEEN,  /* could not be looked at */
};

struct trace_hop {
	enum trace_hop_status status;
	bool is_own;      /* the trouble was seen in itself, and not only in its silence */
	int explained_by; /* a hop, or -1 */
	char message[3 * TRACE_TEXT_MAX];
};

struct trace_judgement {
	struct trace_hop hops[TRACE_HOPS];
	enum trace_verdict verdict;
	char summary[5 * TRACE_TEXT_MAX];
};

const char *trace_hop_text(enum trace_hop_name name, bool is_docker); /* "OCI runtime" */
/* Its text is a name of its own, and takes no article: containerd. */
bool trace_hop_has_name(enum trace_hop_name name);
const char *trace_hop_key(enum trace_hop_name name, bool is_docker); /* "oci" */
const char *trace_hop_status_text(enum trace_hop_status status);     /* "hangs" */
bool trace_is_trouble(enum trace_hop_status status);
/* runc's own word for what its state says: "created", "running" or "stopped". */
const char *trace_oci_status_text(const struct trace_oci_state *state);
/* Whether the process that it names is the init, by pid and start. */
bool trace_oci_is_same(const struct trace_look *look);

void trace_judge(const struct trace_facts *facts, struct trace_judgement *ret);
/* 0, -ENOMEM or -EMSGSIZE. */
int trace_document(
	const struct trace_facts *facts, const struct trace_judgement *judgement, struct buf *out);
