/* What the three conditions are by the facts alone: which incident belongs to which, and its words. */
#include "kube/conditions.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"

static const struct condition_kind {
	const char *type;           /* as the API has it */
	const char *reason;         /* of trouble without a cause */
	const char *healthy_reason; /* as node-problem-detector names them */
	const char *healthy_message;
} kinds[CONDITIONS] = {
	[CONDITION_PLEG] = { "pleg.dev/PLEGUnhealthy", "PLEGUnhealthy", "PLEGIsHealthy",
		"PLEG is healthy" },
	[CONDITION_RUNTIME] = { "pleg.dev/RuntimeUnhealthy", "RuntimeUnhealthy", "RuntimeIsHealthy",
		"The container runtime is healthy" },
	[CONDITION_CONTAINERS] = { "pleg.dev/ContainersStuck", "ContainersStuck",
		"NoContainersStuck", "No container of this node is stuck" },
};

const char *condition_type_text(enum condition_type type)
{
	return kinds[type].type;
}

const char *condition_status_text(enum condition_status status)
{
	switch (status) {
	case CONDITION_UNKNOWN: return "Unknown";
	case CONDITION_FALSE: return "False";
	case CONDITION_TRUE: return "True";
	}
	return "Unknown";
}

int condition_type_parse(const char *text, enum condition_type *ret)
{
	for (unsigned i = 0; i < CONDITIONS; i++)
		if (str_eq(kinds[i].type, text)) {
			*ret = (enum condition_type)i;
			return 0;
		}
	return -EINVAL;
}

/* No condition of ours is about it. */
#define CONDITION_NONE CONDITIONS

static unsigned type_of(const struct condition_problem *problem)
{
	switch (problem->cause) {
	case CAUSE_CRI_SOCKET_GONE:
	case CAUSE_CRI_DAEMON_STOPPED:
	case CAUSE_NODE_DISK_FULL:
	case CAUSE_INODES_EXHAUSTED:
	case CAUSE_RUN_TMPFS_FULL:
	case CAUSE_FD_EXHAUSTED:
	case CAUSE_INOTIFY_EXHAUSTED:
	case CAUSE_DAEMON_OR_KUBELET_CPU_STARVED:
	case CAUSE_CRI_DAEMON_DEADLOCK: return CONDITION_RUNTIME;
	case CAUSE_UNKNOWN_BUT_HUNG:
		return problem->is_of_container ? CONDITION_CONTAINERS : CONDITION_RUNTIME;
	/* Nothing is wrong yet. */
	case CAUSE_TOO_MANY_CONTAINERS: return CONDITION_NONE;
	/* The way to whoever reads this; they are told by Events, and once it is free again. */
	case CAUSE_CLOCK_JUMP:
	case CAUSE_CREDENTIAL_EXPIRED:
	case CAUSE_API_CONNECTION_STALE:
	case CAUSE_API_UNREACHABLE: return CONDITION_NONE;
	case CAUSE_PIDS_EXHAUSTED:
	case CAUSE_FUSE_SERVER_HUNG:
	case CAUSE_UNREAPABLE_ZOMBIE_THREAD_STUCK:
	case CAUSE_FILESYSTEM_FROZEN:
	case CAUSE_RUNC_INIT_FROZEN:
	case CAUSE_ZOMBIE_PARENT_STOPPED:
	case CAUSE_PID_NAMESPACE_DYING:
	case CAUSE_MMAP_LOCK_HELD:
	case CAUSE_SHIM_STOPPED:
	case CAUSE_SHIM_DEAD:
	case CAUSE_DOCKER_CONTAINER_LOCK_HELD:
	case CAUSE_MOUNT_LEAK_BUSY:
	case CAUSE_LOST_EXIT_EVENT:
	case CAUSE_DELETED_POD_REMAINS:
	case CAUSE_POD_STATUS_STALE:
	case CAUSE_CONTAINER_CRASH_LOOP: return CONDITION_CONTAINERS;
	}
	return CONDITION_CONTAINERS;
}

/* What was found of one type. */
struct found {
	const struct condition_problem *top; /* the worst of those that count, then the oldest */
	uint32_t count;                      /* that count */
	bool is_suspected;                   /* there are others, which do not count yet */
};

static bool is_worse(const struct condition_problem *a, const struct condition_problem *b)
{
	if (a->severity != b->severity)
		return a->severity > b->severity;
	if (a->is_proven != b->is_proven)
		return a->is_proven;
	return a->since_ns < b->since_ns;
}

static bool counts(const struct condition_problem *problem, int64_t real_ns)
{
	return problem->is_proven || real_ns - problem->since_ns >= (int64_t)CONDITION_SUSPECTED_NS;
}

static void sort_out(
	const struct condition_facts *facts, int64_t real_ns, struct found found[CONDITIONS])
{
	for (size_t i = 0; i < facts->problem_count; i++) {
		const struct condition_problem *problem = &facts->problems[i];
		unsigned type = type_of(problem);
		struct found *f;

		if (problem->severity == SEVERITY_INFO || type == CONDITION_NONE)
			continue;
		f = &found[type];
		if (!counts(problem, real_ns)) {
			f->is_suspected = true;
			continue;
		}
		f->count++;
		if (!f->top || is_worse(problem, f->top))
			f->top = problem;
	}
}

static uint64_t hash(uint64_t seed, const char *text)
{
	for (; *text; text++)
		seed = (seed ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
	return seed;
}

/* "<before><summary> (subject) and 2 more": the summary names who, or else its subject is added. */
static void tell(struct condition_word *word, const char *before, const struct found *found,
	const char *reason)
{
	const struct condition_problem *top = found->top;
	const char *subject = top ? str_or_empty(top->subject) : "";
	const char *summary = top ? str_or_empty(top->summary) : "";
	char more[48] = "", raw[2 * KUBE_MESSAGE_MAX];
	bool is_named = !*subject || strstr(summary, subject);

	if (found->count > 1)
		(void)str_format(more, sizeof(more), "; and %u more", found->count - 1);
	(void)str_format(raw, sizeof(raw), "%s%s%s%s%s%s%s", before,
		*before && *summary ? ": " : "", summary, is_named ? "" : " (",
		is_named ? "" : subject, is_named ? "" : ")", more);
	(void)kube_message(word->message, raw);
	(void)str_format(
		word->reason, sizeof(word->reason), "%s", top ? cause_text(top->cause) : reason);
	word->status = CONDITION_TRUE;
	word->topic = hash(hash(hash(UINT64_C(0xcbf29ce484222325), word->reason), summary), more);
}

static void judge_pleg(const struct condition_facts *facts, const struct found found[CONDITIONS],
	struct condition_word *word)
{
	const char *message = str_or_empty(facts->pleg_message);
	struct found why =
		found[found[CONDITION_RUNTIME].top ? CONDITION_RUNTIME : CONDITION_CONTAINERS];
	char before[KUBE_MESSAGE_MAX / 2];

	if (facts->pleg_healthy || facts->age_ns < CONDITION_SETTLE_NS)
		return;
	why.count = 0; /* The others have conditions of their own. */
	(void)str_format(
		before, sizeof(before), "PLEG is not healthy%s%s", *message ? ": " : "", message);
	tell(word, before, &why, kinds[CONDITION_PLEG].reason);
}

static void judge_runtime(
	const struct condition_facts *facts, const struct found *found, struct condition_word *word)
{
	const char *message = str_or_empty(facts->runtime_message);

	if (found->top)
		tell(word, "", found, "");
	else if (facts->runtime_silent_ns >= CONDITION_SILENT_NS &&
		facts->age_ns >= CONDITION_SETTLE_NS)
		tell(word, *message ? message : "The container runtime does not answer", found,
			kinds[CONDITION_RUNTIME].reason);
	else if (facts->runtime_silent_ns > 0)
		word->status =
			CONDITION_UNKNOWN; /* It is well again when it answers, not before. */
}

void conditions_judge(
	const struct condition_facts *facts, int64_t real_ns, struct condition_word ret[CONDITIONS])
{
	struct found found[CONDITIONS] = { 0 };
	bool is_settled = facts->is_sampled && facts->age_ns >= CONDITION_SETTLE_NS;

	sort_out(facts, real_ns, found);
	for (unsigned i = 0; i < CONDITIONS; i++) {
		struct condition_word *word = &ret[i];

		*word = (struct condition_word){ .status = CONDITION_UNKNOWN };
		if (is_settled && !found[i].is_suspected)
			word->status = CONDITION_FALSE;
	}
	judge_pleg(facts, found, &ret[CONDITION_PLEG]);
	judge_runtime(facts, &found[CONDITION_RUNTIME], &ret[CONDITION_RUNTIME]);
	if (found[CONDITION_CONTAINERS].top)
		tell(&ret[CONDITION_CONTAINERS], "", &found[CONDITION_CONTAINERS], "");
	for (unsigned i = 0; i < CONDITIONS; i++) {
		if (ret[i].status != CONDITION_FALSE)
			continue;
		(void)str_format(
			ret[i].reason, sizeof(ret[i].reason), "%s", kinds[i].healthy_reason);
		(void)kube_message(ret[i].message, kinds[i].healthy_message);
	}
}
