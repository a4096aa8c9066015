/*
 * A verdict with its evidence: FINDING of docs/json.md. Made by the rules, owned by a set; strings
 * belong to it, are never NULL, and are clean enough to be shown (str_clean()).
 *
 * A set has a maximum: of findings, of what hangs under one, of bytes. What does not fit is left out
 * and counted. Out of memory is latched, so that whoever builds a finding checks once, at the end
 * (findings_result()); the builders ignore a NULL finding. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

#define FINDING_EVIDENCE_MAX 24u
#define FINDING_SYMPTOMS_MAX 64u
#define FINDING_ADVICE_MAX   8u
#define FINDING_AVOID_MAX    4u
#define FINDING_TEXT_MAX     1024u /* a sentence or a value; longer ones are cut */
#define FINDING_COMMAND_MAX  8192u /* a command; one that is longer is not given at all */
#define FINDINGS_MAX         256u
#define FINDINGS_BYTES_MAX   (4u << 20)

/* The catalogue; the text of each is its name without the prefix, as in the enum. */
enum cause {
	CAUSE_FUSE_SERVER_HUNG,
	CAUSE_UNREAPABLE_ZOMBIE_THREAD_STUCK,
	CAUSE_FILESYSTEM_FROZEN,
	CAUSE_RUNC_INIT_FROZEN,
	CAUSE_ZOMBIE_PARENT_STOPPED,
	CAUSE_PID_NAMESPACE_DYING,
	CAUSE_MMAP_LOCK_HELD,
	CAUSE_SHIM_STOPPED,
	CAUSE_SHIM_DEAD,
	CAUSE_CRI_SOCKET_GONE,
	CAUSE_CRI_DAEMON_STOPPED,
	CAUSE_CRI_DAEMON_DEADLOCK,
	CAUSE_DOCKER_CONTAINER_LOCK_HELD,
	CAUSE_MOUNT_LEAK_BUSY,
	CAUSE_LOST_EXIT_EVENT,
	CAUSE_CONTAINER_CRASH_LOOP,
	CAUSE_DELETED_POD_REMAINS,
	CAUSE_POD_STATUS_STALE,
	CAUSE_CLOCK_JUMP,
	CAUSE_CREDENTIAL_EXPIRED,
	CAUSE_API_CONNECTION_STALE,
	CAUSE_API_UNREACHABLE,
	CAUSE_NODE_DISK_FULL,
	CAUSE_INODES_EXHAUSTED,
	CAUSE_RUN_TMPFS_FULL,
	CAUSE_FD_EXHAUSTED,
	CAUSE_INOTIFY_EXHAUSTED,
	CAUSE_PIDS_EXHAUSTED,
	CAUSE_DAEMON_OR_KUBELET_CPU_STARVED,
	CAUSE_TOO_MANY_CONTAINERS,
	CAUSE_UNKNOWN_BUT_HUNG,
};
#define CAUSES (CAUSE_UNKNOWN_BUT_HUNG + 1)

const char *cause_text(enum cause cause); /* "FuseServerHung" */
/* 0, or -EINVAL: no such name. */
int cause_parse(const char *text, enum cause *ret);

enum finding_severity {
	SEVERITY_INFO,
	SEVERITY_WARNING,  /* something does not work as it should; the node does */
	SEVERITY_CRITICAL, /* the node, or a pod, cannot go on without somebody acting */
};

enum finding_confidence {
	CONFIDENCE_SUSPECTED, /* needs another sample, or something could not be looked at */
	CONFIDENCE_PROVEN,
};

const char *finding_severity_text(enum finding_severity severity);       /* "critical" */
const char *finding_confidence_text(enum finding_confidence confidence); /* "proven" */

/* "" and 0 for what does not apply. */
struct finding_subject {
	const char *node, *namespace, *pod, *owner, *container, *container_id;
	int32_t pid, tid;
	uint64_t start_ticks; /* of the pid; not part of the JSON */
	const char *mount;    /* mount point, socket or cgroup path */
	const char *device;   /* "0:39", "loop0" */
};

struct finding_evidence {
	const char *what;  /* "state of the thread", "kernel stack" */
	const char *where; /* the file or call it is from */
	const char *value;
	int64_t at_ns; /* wall clock */
};

/* How much an action may cost, mildest first: the ladder of the advice. */
enum finding_risk {
	RISK_NONE,    /* loses nothing */
	RISK_OBJECT,  /* loses the broken thing itself */
	RISK_POD,     /* loses one pod */
	RISK_RUNTIME, /* restarts a daemon */
	RISK_NODE,    /* moves the node's pods away */
	RISK_REBOOT,
};

const char *finding_risk_text(enum finding_risk risk); /* "none", "object", "pod", ... */

struct finding_advice {
	const char *action; /* "Abort the FUSE connection" */
	const char *why;
	enum finding_risk risk;
	const char *risk_text; /* what is lost, in a few words */
	const char *command;   /* exact, to be pasted; "" where there is none */
};

struct finding {
	enum cause cause;
	enum finding_severity severity;
	enum finding_confidence confidence;
	int64_t since_ns;    /* wall clock; when it began as far as anything shows */
	const char *summary; /* one sentence that a tired person understands */
	struct finding_subject subject;
	struct finding_evidence *evidence;
	struct finding_advice *advice; /* mildest first */
	const char **avoid;            /* what not to do, though it is often done: sentences */
	struct finding **symptoms;     /* what this one explains */
	uint32_t evidence_count, advice_count, avoid_count, symptom_count;
	uint32_t symptoms_left_out; /* explained as well, and over a maximum */
};

struct findings;

/* NULL when out of memory. */
struct findings *findings_new(void);
/* The node of every finding that is added from here on and names no other. Copied. */
void findings_set_node(struct findings *set, const char *node);
struct findings *findings_free(struct findings *set);
DEFINE_FREEP(struct findings *, findings_free)

/* The top level, in the order of their making; what was attached is under its parent. */
uint32_t findings_count(const struct findings *set);
const struct finding *findings_get(const struct findings *set, uint32_t index);
/* As above, to add to it. */
struct finding *findings_at(struct findings *set, uint32_t index);
/* How many did not fit, at the top level or below. */
uint32_t findings_left_out(const struct findings *set);
/* 0, or -ENOMEM if anything could not be built: the set is then not complete. */
int findings_result(const struct findings *set);

/* A new one at the top level; NULL if it does not fit or memory is out. */
struct finding *findings_add(struct findings *set, enum cause cause, enum finding_severity severity,
	enum finding_confidence confidence, int64_t since_ns);
/* `child`, at the top level so far, goes under `parent`; left out and counted where that is full. */
void findings_attach(struct findings *set, struct finding *parent, struct finding *child);
/* The top level in the order of severity, then of confidence; else as they were made. */
void findings_sort(struct findings *set);
/* One more that `parent` (NULL: nobody) explains and for which there is no room. */
void findings_leave_out(struct findings *set, struct finding *parent);

/* All of these copy and clean. */
void finding_say(struct findings *set, struct finding *finding, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* NULL in a text is "". */
void finding_set_subject(
	struct findings *set, struct finding *finding, const struct finding_subject *subject);
void finding_evidence_add(struct findings *set, struct finding *finding, int64_t at_ns,
	const char *what, const char *where, const char *format, ...)
	__attribute__((format(printf, 6, 7)));
/* Keeps the order of risk, and of their coming within one. A command with a character that cannot be
 * shown, or over the maximum, is not given: one that is not exact is worse than none. */
void finding_advise(
	struct findings *set, struct finding *finding, const struct finding_advice *advice);
void finding_avoid(struct findings *set, struct finding *finding, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Who it is, for comparing sets of different samples: the cause, and that part of the subject that
 * lasts as long as the fault does. Cut at `size`, which FINDING_KEY_MAX bytes are enough for. */
#define FINDING_KEY_MAX 1024u
const char *finding_key(const struct finding *finding, char *out, size_t size);
