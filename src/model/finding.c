#include "model/finding.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/str.h"

#define CHUNK_BYTES 16384u

static const char *const causes[CAUSES] = {
	[CAUSE_FUSE_SERVER_HUNG] = "FuseServerHung",
	[CAUSE_UNREAPABLE_ZOMBIE_THREAD_STUCK] = "UnreapableZombieThreadStuck",
	[CAUSE_FILESYSTEM_FROZEN] = "FilesystemFrozen",
	[CAUSE_RUNC_INIT_FROZEN] = "RuncInitFrozen",
	[CAUSE_ZOMBIE_PARENT_STOPPED] = "ZombieParentStopped",
	[CAUSE_PID_NAMESPACE_DYING] = "PidNamespaceDying",
	[CAUSE_MMAP_LOCK_HELD] = "MmapLockHeld",
	[CAUSE_SHIM_STOPPED] = "ShimStopped",
	[CAUSE_SHIM_DEAD] = "ShimDead",
	[CAUSE_CRI_SOCKET_GONE] = "CriSocketGone",
	[CAUSE_CRI_DAEMON_STOPPED] = "CriDaemonStopped",
	[CAUSE_CRI_DAEMON_DEADLOCK] = "CriDaemonDeadlock",
	[CAUSE_DOCKER_CONTAINER_LOCK_HELD] = "DockerContainerLockHeld",
	[CAUSE_MOUNT_LEAK_BUSY] = "MountLeakBusy",
	[CAUSE_LOST_EXIT_EVENT] = "LostExitEvent",
	[CAUSE_CONTAINER_CRASH_LOOP] = "ContainerCrashLoop",
	[CAUSE_DELETED_POD_REMAINS] = "DeletedPodRemains",
	[CAUSE_POD_STATUS_STALE] = "PodStatusStale",
	[CAUSE_CLOCK_JUMP] = "ClockJump",
	[CAUSE_CREDENTIAL_EXPIRED] = "CredentialExpired",
	[CAUSE_API_CONNECTION_STALE] = "ApiConnectionStale",
	[CAUSE_API_UNREACHABLE] = "ApiUnreachable",
	[CAUSE_NODE_DISK_FULL] = "NodeDiskFull",
	[CAUSE_INODES_EXHAUSTED] = "InodesExhausted",
	[CAUSE_RUN_TMPFS_FULL] = "RunTmpfsFull",
	[CAUSE_FD_EXHAUSTED] = "FdExhausted",
	[CAUSE_INOTIFY_EXHAUSTED] = "InotifyExhausted",
	[CAUSE_PIDS_EXHAUSTED] = "PidsExhausted",
	[CAUSE_DAEMON_OR_KUBELET_CPU_STARVED] = "DaemonOrKubeletCpuStarved",
	[CAUSE_TOO_MANY_CONTAINERS] = "TooManyContainers",
	[CAUSE_UNKNOWN_BUT_HUNG] = "UnknownButHung",
};

const char *cause_text(enum cause cause)
{
	return (unsigned)cause < CAUSES ? causes[cause] : "invalid";
}

int cause_parse(const char *text, enum cause *ret)
{
	for (unsigned i = 0; i < CAUSES; i++)
		if (str_eq(causes[i], text)) {
			*ret = (enum cause)i;
			return 0;
		}
	return -EINVAL;
}

const char *finding_severity_text(enum finding_severity severity)
{
	switch (severity) {
	case SEVERITY_INFO: return "info";
	case SEVERITY_WARNING: return "warning";
	case SEVERITY_CRITICAL: return "critical";
	}
	return "invalid";
}

const char *finding_confidence_text(enum finding_confidence confidence)
{
	switch (confidence) {
	case CONFIDENCE_SUSPECTED: return "suspected";
	case CONFIDENCE_PROVEN: return "proven";
	}
	return "invalid";
}

const char *finding_risk_text(enum finding_risk risk)
{
	switch (risk) {
	case RISK_NONE: return "none";
	case RISK_OBJECT: return "object";
	case RISK_POD: return "pod";
	case RISK_RUNTIME: return "runtime";
	case RISK_NODE: return "node";
	case RISK_REBOOT: return "reboot";
	}
	return "invalid";
}

/* ---- the set ----------------------------------------------------------------------------- */

struct chunk {
	struct chunk *next;
	size_t used, size;
	_Alignas(max_align_t) char bytes[];
};

struct findings {
	struct chunk *chunks;
	size_t bytes;
	struct finding *top[FINDINGS_MAX];
	uint32_t top_count;
	uint32_t made; /* at the top level or below */
	uint32_t left_out;
	const char *node; /* of every subject; NULL: not told */
	int r;
};

struct findings *findings_new(void)
{
	return mem_zalloc(sizeof(struct findings));
}

struct findings *findings_free(struct findings *set)
{
	if (!set)
		return NULL;
	for (struct chunk *c = set->chunks, *next; c; c = next) {
		next = c->next;
		(void)mem_free(c);
	}
	return mem_free(set);
}

uint32_t findings_count(const struct findings *set)
{
	return set->top_count;
}

const struct finding *findings_get(const struct findings *set, uint32_t index)
{
	return index < set->top_count ? set->top[index] : NULL;
}

struct finding *findings_at(struct findings *set, uint32_t index)
{
	return index < set->top_count ? set->top[index] : NULL;
}

uint32_t findings_left_out(const struct findings *set)
{
	return set->left_out;
}

int findings_result(const struct findings *set)
{
	return set->r;
}

/* Zeroed; NULL at the maximum, or latched when out of memory. */
static void *set_alloc(struct findings *set, size_t size)
{
	struct chunk *c = set->chunks;
	size_t room = (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);

	if (!c || c->size - c->used < room) {
		size_t body = room > CHUNK_BYTES ? room : CHUNK_BYTES;

		if (set->bytes + body > FINDINGS_BYTES_MAX)
			return NULL;
		c = mem_zalloc(sizeof(*c) + body);
		if (!c) {
			set->r = -ENOMEM;
			return NULL;
		}
		c->size = body;
		c->next = set->chunks;
		set->chunks = c;
		set->bytes += body;
	}
	c->used += room;
	return c->bytes + c->used - room;
}

static const char *set_text(struct findings *set, const char *text, size_t max)
{
	size_t len = strlen(text);
	char *out;

	if (len == 0)
		return "";
	if (len >= max)
		len = max - 1;
	out = set_alloc(set, len + 1);
	return out ? str_clean(out, len + 1, text, len) : "";
}

__attribute__((format(printf, 2, 0))) static const char *set_format(
	struct findings *set, const char *format, va_list ap)
{
	char text[FINDING_TEXT_MAX];

	(void)vsnprintf(text, sizeof(text), format, ap);
	return set_text(set, text, sizeof(text));
}

void findings_set_node(struct findings *set, const char *node)
{
	set->node = set_text(set, str_or_empty(node), FINDING_TEXT_MAX);
}

struct finding *findings_add(struct findings *set, enum cause cause, enum finding_severity severity,
	enum finding_confidence confidence, int64_t since_ns)
{
	struct finding *f = NULL;

	if (set->made < FINDINGS_MAX)
		f = set_alloc(set, sizeof(*f));
	if (!f) {
		set->left_out++;
		return NULL;
	}
	*f = (struct finding){ .cause = cause,
		.severity = severity,
		.confidence = confidence,
		.since_ns = since_ns,
		.summary = "",
		.subject = { .node = str_or_empty(set->node),
			.namespace = "",
			.pod = "",
			.owner = "",
			.container = "",
			.container_id = "",
			.mount = "",
			.device = "" } };
	set->top[set->top_count++] = f;
	set->made++;
	return f;
}

static void take_from_top(struct findings *set, const struct finding *f)
{
	/* What is attached was mostly made last. */
	for (uint32_t i = set->top_count; i-- > 0;)
		if (set->top[i] == f) {
			memmove(&set->top[i], &set->top[i + 1],
				(set->top_count - i - 1) * sizeof(*set->top));
			set->top_count--;
			return;
		}
}

void findings_leave_out(struct findings *set, struct finding *parent)
{
	set->left_out++;
	if (parent)
		parent->symptoms_left_out++;
}

void findings_attach(struct findings *set, struct finding *parent, struct finding *child)
{
	if (!parent || !child || NEVER(parent == child))
		return;
	if (!parent->symptoms)
		parent->symptoms = set_alloc(set, FINDING_SYMPTOMS_MAX * sizeof(*parent->symptoms));
	take_from_top(set, child);
	if (!parent->symptoms || parent->symptom_count == FINDING_SYMPTOMS_MAX) {
		findings_leave_out(set, parent);
		return;
	}
	parent->symptoms[parent->symptom_count++] = child;
}

static bool comes_before(const struct finding *a, const struct finding *b)
{
	if (a->severity != b->severity)
		return a->severity > b->severity;
	return a->confidence > b->confidence;
}

void findings_sort(struct findings *set)
{
	for (uint32_t i = 1; i < set->top_count; i++) {
		struct finding *f = set->top[i];
		uint32_t at = i;

		for (; at > 0 && comes_before(f, set->top[at - 1]); at--)
			set->top[at] = set->top[at - 1];
		set->top[at] = f;
	}
}

/* ---- what a finding says ----------------------------------------------------------------- */

void finding_say(struct findings *set, struct finding *finding, const char *format, ...)
{
	va_list ap;

	if (!finding)
		return;
	va_start(ap, format);
	finding->summary = set_format(set, format, ap);
	va_end(ap);
}

void finding_set_subject(
	struct findings *set, struct finding *finding, const struct finding_subject *subject)
{
	struct finding_subject *s;

	if (!finding)
		return;
	s = &finding->subject;
	*s = *subject;
	s->node = !subject->node || subject->node[0] == '\0'
		? str_or_empty(set->node)
		: set_text(set, subject->node, FINDING_TEXT_MAX);
	s->namespace = set_text(set, str_or_empty(subject->namespace), FINDING_TEXT_MAX);
	s->pod = set_text(set, str_or_empty(subject->pod), FINDING_TEXT_MAX);
	s->owner = set_text(set, str_or_empty(subject->owner), FINDING_TEXT_MAX);
	s->container = set_text(set, str_or_empty(subject->container), FINDING_TEXT_MAX);
	s->container_id = set_text(set, str_or_empty(subject->container_id), FINDING_TEXT_MAX);
	s->mount = set_text(set, str_or_empty(subject->mount), FINDING_TEXT_MAX);
	s->device = set_text(set, str_or_empty(subject->device), FINDING_TEXT_MAX);
}

void finding_evidence_add(struct findings *set, struct finding *finding, int64_t at_ns,
	const char *what, const char *where, const char *format, ...)
{
	struct finding_evidence *e;
	va_list ap;

	if (!finding || finding->evidence_count == FINDING_EVIDENCE_MAX)
		return;
	if (!finding->evidence)
		finding->evidence =
			set_alloc(set, FINDING_EVIDENCE_MAX * sizeof(*finding->evidence));
	if (!finding->evidence)
		return;
	e = &finding->evidence[finding->evidence_count++];
	e->what = set_text(set, what, FINDING_TEXT_MAX);
	e->where = set_text(set, where, FINDING_TEXT_MAX);
	e->at_ns = at_ns;
	va_start(ap, format);
	e->value = set_format(set, format, ap);
	va_end(ap);
}

static const char *set_command(struct findings *set, const char *command)
{
	size_t len = strlen(command);

	if (len >= FINDING_COMMAND_MAX || !str_is_printable(command, len))
		return "";
	return set_text(set, command, FINDING_COMMAND_MAX);
}

void finding_advise(
	struct findings *set, struct finding *finding, const struct finding_advice *advice)
{
	uint32_t at;

	if (!finding || finding->advice_count == FINDING_ADVICE_MAX)
		return;
	if (!finding->advice)
		finding->advice = set_alloc(set, FINDING_ADVICE_MAX * sizeof(*finding->advice));
	if (!finding->advice)
		return;
	for (at = finding->advice_count; at > 0 && finding->advice[at - 1].risk > advice->risk;
		at--)
		finding->advice[at] = finding->advice[at - 1];
	finding->advice_count++;
	finding->advice[at] = (struct finding_advice){
		.action = set_text(set, str_or_empty(advice->action), FINDING_TEXT_MAX),
		.why = set_text(set, str_or_empty(advice->why), FINDING_TEXT_MAX),
		.risk = advice->risk,
		.risk_text = set_text(set, str_or_empty(advice->risk_text), FINDING_TEXT_MAX),
		.command = set_command(set, str_or_empty(advice->command)),
	};
}

void finding_avoid(struct findings *set, struct finding *finding, const char *format, ...)
{
	va_list ap;

	if (!finding || finding->avoid_count == FINDING_AVOID_MAX)
		return;
	if (!finding->avoid)
		finding->avoid = set_alloc(set, FINDING_AVOID_MAX * sizeof(*finding->avoid));
	if (!finding->avoid)
		return;
	va_start(ap, format);
	finding->avoid[finding->avoid_count++] = set_format(set, format, ap);
	va_end(ap);
}

/* What of a subject lasts while the fault does: the waiters of a mount come and go, and a container
 * that crashes has another id each time. */
const char *finding_key(const struct finding *finding, char *out, size_t size)
{
	const struct finding_subject *s = &finding->subject;
	const char *cause = cause_text(finding->cause);

	switch (finding->cause) {
	case CAUSE_FUSE_SERVER_HUNG:
	case CAUSE_FILESYSTEM_FROZEN:
	case CAUSE_MOUNT_LEAK_BUSY:
		if (*s->device || *s->mount)
			return str_format(out, size, "%s %s %s", cause, s->device,
				*s->device ? "" : s->mount);
		break;
	case CAUSE_CONTAINER_CRASH_LOOP:
		return str_format(
			out, size, "%s %s/%s/%s", cause, s->namespace, s->pod, s->container);
	case CAUSE_DELETED_POD_REMAINS:
		return str_format(out, size, "%s %s/%s", cause, s->namespace, s->pod);
	case CAUSE_POD_STATUS_STALE:
	case CAUSE_RUNC_INIT_FROZEN:
	case CAUSE_SHIM_DEAD:
	case CAUSE_DOCKER_CONTAINER_LOCK_HELD:
	case CAUSE_LOST_EXIT_EVENT:
		return str_format(out, size, "%s %s %s", cause, s->container_id,
			*s->container_id ? "" : s->mount);
	case CAUSE_CLOCK_JUMP:
	case CAUSE_CREDENTIAL_EXPIRED:
	case CAUSE_TOO_MANY_CONTAINERS:
	case CAUSE_API_CONNECTION_STALE:
	case CAUSE_API_UNREACHABLE: return str_format(out, size, "%s", cause);
	case CAUSE_CRI_SOCKET_GONE: return str_format(out, size, "%s %s", cause, s->mount);
	case CAUSE_UNREAPABLE_ZOMBIE_THREAD_STUCK:
	case CAUSE_ZOMBIE_PARENT_STOPPED:
	case CAUSE_PID_NAMESPACE_DYING:
	case CAUSE_MMAP_LOCK_HELD:
	case CAUSE_SHIM_STOPPED:
	case CAUSE_CRI_DAEMON_STOPPED:
	case CAUSE_CRI_DAEMON_DEADLOCK:
	case CAUSE_NODE_DISK_FULL:
	case CAUSE_INODES_EXHAUSTED:
	case CAUSE_RUN_TMPFS_FULL:
	case CAUSE_FD_EXHAUSTED:
	case CAUSE_INOTIFY_EXHAUSTED:
	case CAUSE_PIDS_EXHAUSTED:
	case CAUSE_DAEMON_OR_KUBELET_CPU_STARVED:
	case CAUSE_UNKNOWN_BUT_HUNG: break;
	}
	return str_format(out, size, "%s %s %s %d:%llu", cause, s->container_id, s->mount, s->pid,
		(unsigned long long)s->start_ticks);
}
