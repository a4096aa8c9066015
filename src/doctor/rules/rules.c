/*
 * The rules: what each asks for, in which order they run, and the judgement itself.
 *
 * The order is that of dominance: a rule may hang its findings under those of rules above it here.
 * `verdict_ns` is counted from the moment at which it is there, for an agent on a small node: what gives
 * a hint is looked at within a second, anything else with the sample every 4 s; then every 2 s. Those
 * that one sample proves are below 5 s, all are within 10 s. It holds where strong facts are; where
 * there are only weak ones it takes weak_ns - held_ns longer. Beside something that is silent a sample
 * itself takes 2.5 s, so two of them take up to 7 s. The lab takes its limits from here.
 */
#include "doctor/rules/rules.h"

#include <errno.h>

#include "doctor/rules/judge.h"
#include "doctor/rules/thresholds.h"

#define SECOND NSEC_PER_SEC

static const struct rule rules[CAUSES] = {
	[CAUSE_FUSE_SERVER_HUNG] = { .cause = CAUSE_FUSE_SERVER_HUNG,
		.layer = "storage",
		.samples = 2,
		.interval_ns = 2 * SECOND,
		.held_ns = 2 * SECOND,
		.weak_ns = 8 * SECOND,
		.verdict_ns = 10 * SECOND,
		.why = "A thread that SIGKILL did not end, or a server that is stopped, leaves the "
		       "doubt of an instant: 2 s. A living server may need "
		       "seconds for one request, from a remote store for example: 8 s without any "
		       "switch of the waiter." },
	[CAUSE_UNREAPABLE_ZOMBIE_THREAD_STUCK] = { .cause = CAUSE_UNREAPABLE_ZOMBIE_THREAD_STUCK,
		.layer = "kernel",
		.samples = 2,
		.interval_ns = 2 * SECOND,
		.held_ns = 2 * SECOND,
		.weak_ns = 8 * SECOND,
		.verdict_ns = 7 * SECOND,
		.why = "Each process of many threads is a zombie with threads for an instant when "
		       "it ends: 2 s without a switch. Without a pending "
		       "kill the wait may be killable, so it stays suspected, and only after 8 "
		       "s." },
	[CAUSE_FILESYSTEM_FROZEN] = { .cause = CAUSE_FILESYSTEM_FROZEN,
		.layer = "storage",
		.samples = 2,
		.interval_ns = 2 * SECOND,
		.held_ns = 2 * SECOND,
		.verdict_ns = 7 * SECOND,
		.why = "A snapshot freezes for less than a second if nothing is wrong." },
	[CAUSE_RUNC_INIT_FROZEN] = { .cause = CAUSE_RUNC_INIT_FROZEN,
		.layer = "freezer",
		.samples = 2,
		.interval_ns = 2 * SECOND,
		.held_ns = 2 * SECOND,
		.weak_ns = 5 * SECOND,
		.verdict_ns = 10 * SECOND,
		.why = "runc freezes for milliseconds for an update or a kill: 2 s. FREEZING may "
		       "last while a task finishes its disk read: 5 s." },
	[CAUSE_ZOMBIE_PARENT_STOPPED] = { .cause = CAUSE_ZOMBIE_PARENT_STOPPED,
		.layer = "kernel",
		.samples = 2,
		.interval_ns = 2 * SECOND,
		.held_ns = 2 * SECOND,
		.verdict_ns = 6 * SECOND,
		.why = "Debuggers stop a process for moments." },
	[CAUSE_PID_NAMESPACE_DYING] = { .cause = CAUSE_PID_NAMESPACE_DYING,
		.layer = "kernel",
		.samples = 2,
		.interval_ns = 2 * SECOND,
		.held_ns = 2 * SECOND,
		.verdict_ns = 7 * SECOND,
		.why = "Each container passes there when it ends, for as long as its processes "
		       "need to die: 2 s without a switch." },
	[CAUSE_MMAP_LOCK_HELD] = { .cause = CAUSE_MMAP_LOCK_HELD,
		.layer = "kernel",
		.samples = 2,
		.interval_ns = 2 * SECOND,
		.held_ns = 2 * SECOND,
		.late_ns = 900 * NSEC_PER_MSEC,
		.verdict_ns = 8 * SECOND,
		.why = "Unmapping much memory takes the lock for up to a second, in R; the holder "
		       "must be in D and not run for 2 s." },
	[CAUSE_SHIM_STOPPED] = { .cause = CAUSE_SHIM_STOPPED,
		.layer = "shim",
		.samples = 1,
		.interval_ns = 2 * SECOND,
		.held_ns = 2 * SECOND,
		.weak_ns = 10 * SECOND,
		.late_ns = 900 * NSEC_PER_MSEC,
		.verdict_ns = 4900 * NSEC_PER_MSEC,
		.why = "In T and silent for a second: one look proves it, the second was the "
		       "other. Not in T it may be slow: a second sample with no CPU "
		       "used; on a starved node 10 s of silence." },
	[CAUSE_SHIM_DEAD] = { .cause = CAUSE_SHIM_DEAD,
		.layer = "shim",
		.samples = 1,
		.interval_ns = 2 * SECOND,
		.held_ns = 0,
		.weak_ns = 4 * SECOND,
		.verdict_ns = 4 * SECOND,
		.why = "A living init and a socket that nobody listens on leave no doubt, and "
		       "containerd may heal it within seconds. If the init is dead too, "
		       "the exit may be on its way: 4 s." },
	[CAUSE_CRI_SOCKET_GONE] = { .cause = CAUSE_CRI_SOCKET_GONE,
		.layer = "daemon",
		.samples = 1,
		.interval_ns = 2 * SECOND,
		.held_ns = 0,
		.weak_ns = 10 * SECOND,
		.verdict_ns = 3 * SECOND,
		.why = "There is nothing to wait for: no socket is no socket. A daemon that was "
		       "started less than 10 s ago may still be making it." },
	[CAUSE_CRI_DAEMON_STOPPED] = { .cause = CAUSE_CRI_DAEMON_STOPPED,
		.layer = "daemon",
		.samples = 1,
		.interval_ns = 2 * SECOND,
		.held_ns = 2 * SECOND,
		.late_ns = 900 * NSEC_PER_MSEC,
		.verdict_ns = 4900 * NSEC_PER_MSEC,
		.why = "In T and silent for a second: one look proves it. Not asked, it must be in "
		       "T twice." },
	[CAUSE_CRI_DAEMON_DEADLOCK] = { .cause = CAUSE_CRI_DAEMON_DEADLOCK,
		.layer = "daemon",
		.samples = 2,
		.interval_ns = 3 * SECOND,
		.held_ns = 3 * SECOND,
		.weak_ns = 10 * SECOND,
		.late_ns = LATE_NS,
		.verdict_ns = 8 * SECOND,
		.why = "Lists of busy nodes take up to 2 s. In two samples 3 s apart none of its "
		       "threads may run or wait for a disk, and it may use next to no CPU "
		       "between them; on a starved node it must be so for 10 s." },
	[CAUSE_DOCKER_CONTAINER_LOCK_HELD] = { .cause = CAUSE_DOCKER_CONTAINER_LOCK_HELD,
		.layer = "daemon",
		.samples = 2,
		.interval_ns = 2 * SECOND,
		.held_ns = 2 * SECOND,
		.weak_ns = 10 * SECOND,
		.late_ns = LATE_NS,
		.verdict_ns = 6 * SECOND,
		.why = "Starting and stopping hold the lock for up to a second or two; twice "
		       "silent, 2 s apart, on top of 2 s of silence." },
	[CAUSE_MOUNT_LEAK_BUSY] = { .cause = CAUSE_MOUNT_LEAK_BUSY,
		.layer = "storage",
		.samples = 2,
		.interval_ns = 2 * SECOND,
		.held_ns = 2 * SECOND,
		.verdict_ns = 7 * SECOND,
		.why = "A holder may be on its way out: the same one twice." },
	[CAUSE_LOST_EXIT_EVENT] = { .cause = CAUSE_LOST_EXIT_EVENT,
		.layer = "workload",
		.samples = 2,
		.interval_ns = 2 * SECOND,
		.held_ns = 2 * SECOND,
		.weak_ns = 5 * SECOND,
		.verdict_ns = 8 * SECOND,
		.why = "An exit takes 50 ms to the runtime's list, on a busy node seconds: "
		       "suspected after 2 s, proven after 5." },
	[CAUSE_CONTAINER_CRASH_LOOP] = { .cause = CAUSE_CONTAINER_CRASH_LOOP,
		.layer = "workload",
		.samples = 1,
		.interval_ns = 2 * SECOND,
		.held_ns = 2 * SECOND,
		.verdict_ns = 4 * SECOND,
		.why = "More than 3 exits with one code in 10 minutes are a loop. Incarnations "
		       "overlap for a moment when one ends as the next begins: 2 s. Of a mere "
		       "count "
		       "of restarts it is proven only by one more." },
	[CAUSE_DELETED_POD_REMAINS] = { .cause = CAUSE_DELETED_POD_REMAINS,
		.layer = "cluster",
		.samples = 1,
		.interval_ns = 2 * SECOND,
		.held_ns = 0,
		.verdict_ns = 2 * SECOND,
		.why = "The three words were compared for the pod's grace and 10 s more, and "
		       "against a "
		       "list of the API server that is newer than that." },
	[CAUSE_POD_STATUS_STALE] = { .cause = CAUSE_POD_STATUS_STALE,
		.layer = "cluster",
		.samples = 1,
		.interval_ns = 2 * SECOND,
		.held_ns = 0,
		.verdict_ns = 2 * SECOND,
		.why = "A kubelet tells of an end within a second or two; they were compared for "
		       "15 "
		       "s, and against a list that is newer than that." },
	[CAUSE_CLOCK_JUMP] = { .cause = CAUSE_CLOCK_JUMP,
		.layer = "network",
		.samples = 1,
		.interval_ns = 2 * SECOND,
		.held_ns = 0,
		.verdict_ns = 4 * SECOND,
		.why = "The time since boot does not step: a step of the wall clock beside it is "
		       "one." },
	[CAUSE_CREDENTIAL_EXPIRED] = { .cause = CAUSE_CREDENTIAL_EXPIRED,
		.layer = "network",
		.samples = 2,
		.interval_ns = 2 * SECOND,
		.held_ns = 0,
		.verdict_ns = 10 * SECOND,
		.late_ns = 8 * SECOND,
		.why = "A token that was rotated is read anew after the first 401, which takes a "
		       "second." },
	[CAUSE_API_CONNECTION_STALE] = { .cause = CAUSE_API_CONNECTION_STALE,
		.layer = "network",
		.samples = 1,
		.interval_ns = 2 * SECOND,
		.held_ns = 0,
		.verdict_ns = 4 * SECOND,
		.why = "Two connections were compared: the old one gave no answer for the whole "
		       "deadline of a request, the new one did within 5 s." },
	[CAUSE_API_UNREACHABLE] = { .cause = CAUSE_API_UNREACHABLE,
		.layer = "network",
		.samples = 2,
		.interval_ns = 2 * SECOND,
		.held_ns = 0,
		.verdict_ns = 10 * SECOND,
		.late_ns = 8 * SECOND,
		.why = "An API server that is restarted behind an address of its own is away for "
		       "some seconds; a lease is missed after 40 s." },
	[CAUSE_NODE_DISK_FULL] = { .cause = CAUSE_NODE_DISK_FULL,
		.layer = "resource",
		.samples = 2,
		.interval_ns = 2 * SECOND,
		.held_ns = 2 * SECOND,
		.verdict_ns = 4 * SECOND,
		.why = "A pull that fails fills a disk for a moment and gives its room back." },
	[CAUSE_INODES_EXHAUSTED] = { .cause = CAUSE_INODES_EXHAUSTED,
		.layer = "resource",
		.samples = 2,
		.interval_ns = 2 * SECOND,
		.held_ns = 2 * SECOND,
		.verdict_ns = 4 * SECOND,
		.why = "As a full disk: an archive that is unpacked and taken away again." },
	[CAUSE_RUN_TMPFS_FULL] = { .cause = CAUSE_RUN_TMPFS_FULL,
		.layer = "resource",
		.samples = 2,
		.interval_ns = 2 * SECOND,
		.held_ns = 2 * SECOND,
		.verdict_ns = 4 * SECOND,
		.why = "As a full disk: what is made in it is often taken away at once." },
	[CAUSE_FD_EXHAUSTED] = { .cause = CAUSE_FD_EXHAUSTED,
		.layer = "resource",
		.samples = 2,
		.interval_ns = 2 * SECOND,
		.held_ns = 2 * SECOND,
		.verdict_ns = 4 * SECOND,
		.why = "Many clients at once take descriptors for moments and give them back." },
	[CAUSE_INOTIFY_EXHAUSTED] = { .cause = CAUSE_INOTIFY_EXHAUSTED,
		.layer = "resource",
		.samples = 2,
		.interval_ns = 2 * SECOND,
		.held_ns = 2 * SECOND,
		.verdict_ns = 4 * SECOND,
		.why = "Who watches many files for a moment takes instances and gives them "
		       "back." },
	[CAUSE_PIDS_EXHAUSTED] = { .cause = CAUSE_PIDS_EXHAUSTED,
		.layer = "resource",
		.samples = 2,
		.interval_ns = 2 * SECOND,
		.held_ns = 2 * SECOND,
		.verdict_ns = 4 * SECOND,
		.why = "A build or a test forks to its limit for a moment and goes on." },
	[CAUSE_DAEMON_OR_KUBELET_CPU_STARVED] = { .cause = CAUSE_DAEMON_OR_KUBELET_CPU_STARVED,
		.layer = "resource",
		.samples = 2,
		.interval_ns = 2 * SECOND,
		.held_ns = 6 * SECOND,
		.verdict_ns = 10 * SECOND,
		.why = "A burst may use up its quota for a second or two: in every interval of 6 "
		       "s it had to wait in a quarter of the periods or more." },
	[CAUSE_TOO_MANY_CONTAINERS] = { .cause = CAUSE_TOO_MANY_CONTAINERS,
		.layer = "runtime",
		.samples = 1,
		.interval_ns = 2 * SECOND,
		.held_ns = 0,
		.verdict_ns = 4900 * NSEC_PER_MSEC,
		.why = "A median of many inspections does not mislead for a moment. Over a quarter "
		       "of the threshold it is suspected, for it leaves time to act; over three "
		       "quarters the next restart of a daemon may be too much." },
	[CAUSE_UNKNOWN_BUT_HUNG] = { .cause = CAUSE_UNKNOWN_BUT_HUNG,
		.layer = "none",
		.samples = 2,
		.interval_ns = 2 * SECOND,
		.held_ns = 2 * SECOND,
		.weak_ns = 10 * SECOND,
		.late_ns = LATE_NS,
		.verdict_ns = 6 * SECOND,
		.why = "2 s of silence, twice; on a starved node, or of a process that works, 10 "
		       "s. A wrong answer may be of a start or an end: the same one for 2 s, and "
		       "suspected for good." },
};

static const struct {
	enum cause cause;
	void (*judge)(struct judge *j);
} steps[] = {
	{ CAUSE_FILESYSTEM_FROZEN, judge_filesystem_frozen },
	{ CAUSE_RUNC_INIT_FROZEN, judge_freezers_frozen },
	{ CAUSE_FUSE_SERVER_HUNG, judge_fuse },
	{ CAUSE_RUNC_INIT_FROZEN, judge_freezers_freezing },
	{ CAUSE_MMAP_LOCK_HELD, judge_mmap_lock },
	{ CAUSE_UNREAPABLE_ZOMBIE_THREAD_STUCK, judge_zombie_threads },
	{ CAUSE_SHIM_STOPPED, judge_shim_stopped },
	{ CAUSE_ZOMBIE_PARENT_STOPPED, judge_zombie_parent },
	{ CAUSE_PID_NAMESPACE_DYING, judge_pid_namespace },
	{ CAUSE_SHIM_DEAD, judge_shim_dead },
	{ CAUSE_FD_EXHAUSTED, judge_descriptors },
	{ CAUSE_INOTIFY_EXHAUSTED, judge_inotify },
	{ CAUSE_DAEMON_OR_KUBELET_CPU_STARVED, judge_throttled },
	{ CAUSE_CRI_SOCKET_GONE, judge_socket_gone },
	{ CAUSE_CRI_DAEMON_STOPPED, judge_daemon_stopped },
	{ CAUSE_DOCKER_CONTAINER_LOCK_HELD, judge_container_lock },
	{ CAUSE_CRI_DAEMON_DEADLOCK, judge_daemon_deadlock },
	{ CAUSE_MOUNT_LEAK_BUSY, judge_mount_leak },
	{ CAUSE_LOST_EXIT_EVENT, judge_lost_exit },
	{ CAUSE_CONTAINER_CRASH_LOOP, judge_crash_loop },
	{ CAUSE_NODE_DISK_FULL, judge_space },
	{ CAUSE_INODES_EXHAUSTED, judge_space },
	{ CAUSE_RUN_TMPFS_FULL, judge_space },
	{ CAUSE_PIDS_EXHAUSTED, judge_pids },
	{ CAUSE_TOO_MANY_CONTAINERS, judge_relist },
	{ CAUSE_UNKNOWN_BUT_HUNG, judge_unknown },
	{ CAUSE_DELETED_POD_REMAINS, judge_deleted_pods },
	{ CAUSE_POD_STATUS_STALE, judge_pod_status },
	{ CAUSE_CLOCK_JUMP, judge_clock },
	{ CAUSE_CREDENTIAL_EXPIRED, judge_credential },
	{ CAUSE_API_CONNECTION_STALE, judge_stale },
	{ CAUSE_API_UNREACHABLE, judge_api_server },
};

const struct rule *rule_of(enum cause cause)
{
	return (unsigned)cause < CAUSES ? &rules[cause] : NULL;
}

static int judge_sample(const struct evidence *e, struct rules_memory *memory, struct findings *out)
{
	struct judge j;
	int r;

	memory_begin(memory, e->mono_ns, e->at_ns);
	r = judge_init(&j, e, memory, out);
	for (size_t i = 0; r >= 0 && i < ELEMENTS(steps); i++) {
		j.rule = &rules[steps[i].cause];
		steps[i].judge(&j);
		r = j.r;
	}
	judge_done(&j);
	if (r >= 0)
		r = findings_result(out);
	return memory_end(memory, r);
}

int doctor_judge(const struct evidence *before, const struct evidence *now,
	struct rules_memory *memory, struct findings *out)
{
	int r;

	if (before && before->mono_ns > memory_last_ns(memory) && before->mono_ns < now->mono_ns) {
		CLEAN(findings_freep) struct findings *unused = findings_new();

		if (!unused)
			return -ENOMEM;
		r = judge_sample(before, memory, unused);
		if (r < 0)
			return r;
	}
	r = judge_sample(now, memory, out);
	findings_sort(out);
	return r;
}
