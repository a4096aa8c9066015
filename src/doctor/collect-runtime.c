/*
 * Without an agent's facts the runtime itself is asked: Version, the list, an inspection of each
 * container; and containerd, beside CRI or Docker, for its tasks. What a former sample asked and was
 * never told is not asked again (law 5): the age of that call is the answer.
 */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "doctor/collect-internal.h"
#include "runtime/containerd.h"
#include "runtime/runtime.h"

#define INSPECTS_OPEN_MAX 64u
#define COLLECT_TASKS_MAX (2 * EVIDENCE_CONTAINERS_MAX) /* of containerd and of Docker */

enum call_kind {
	CALL_VERSION,
	CALL_LIST,
	CALL_INSPECT,
	CALL_TASKS,
};

struct call {
	struct call *next;
	struct collect *c;
	enum call_kind kind;
	uint64_t sample; /* for which it was asked, or is waited for now; 0: for none */
	uint32_t index;  /* there: the container, or the daemon */
	uint64_t asked_ns;
	bool late;
	char id[HINT_ID_MAX + 1];
};

struct collect_runtime {
	struct runtime *runtime;
	struct containerd *containerd;
	char *tasks_endpoint;
	struct call *calls;
	uint32_t open;     /* of this sample, neither answered nor late */
	uint32_t inspects; /* of these */
	uint32_t daemon;   /* the runtime's, in the sample */
	uint32_t listed;   /* containers that the list told of; EVIDENCE_NONE: not yet */
	uint32_t next;     /* to be inspected */
};

/* --- words --- */

enum evidence_answer collect_answer(enum runtime_outcome outcome, const char *message)
{
	switch (outcome) {
	case RUNTIME_OK: return ANSWER_OK;
	case RUNTIME_NOT_FOUND: return ANSWER_NOT_FOUND;
	case RUNTIME_ERROR:
	case RUNTIME_UNSUPPORTED: return ANSWER_ERROR;
	case RUNTIME_NO_SOCKET: return ANSWER_NO_SOCKET;
	case RUNTIME_REFUSED:
		return strstr(message, "ermission") || strstr(message, "EACCES") ? ANSWER_DENIED
										 : ANSWER_REFUSED;
	case RUNTIME_SILENT: return ANSWER_LATE;
	case RUNTIME_LOST: return ANSWER_ERROR;
	case RUNTIME_MALFORMED: return ANSWER_GARBAGE;
	case RUNTIME_CANCELLED: return ANSWER_NOT_ASKED;
	}
	return ANSWER_ERROR;
}

static struct evidence_call *call_slot(struct call *call)
{
	struct evidence *e = call->c->evidence;

	if (!e || call->sample != call->c->sample)
		return NULL;
	switch (call->kind) {
	case CALL_VERSION: return &e->daemons[call->index].version;
	case CALL_LIST: return &e->daemons[call->index].list;
	case CALL_TASKS: return &e->daemons[call->index].tasks;
	case CALL_INSPECT: return &e->containers[call->index].inspect;
	}
	return NULL;
}

static const char *method_of(enum call_kind kind)
{
	switch (kind) {
	case CALL_VERSION: return "Version";
	case CALL_LIST: return "list";
	case CALL_TASKS: return "Tasks/List";
	case CALL_INSPECT: return "inspect";
	}
	return "";
}

/* --- calls --- */

static struct call *find_call(struct collect_runtime *r, enum call_kind kind, const char *id)
{
	struct call *call = r->calls;

	while (call && (call->kind != kind || !str_eq(call->id, id)))
		call = call->next;
	return call;
}

static void tell_late(struct call *call)
{
	const struct collect_runtime *r = call->c->runtime;
	struct evidence_call *slot = call_slot(call);
	struct runtime_link link = { 0 };

	if (!slot)
		return;
	if (call->kind != CALL_TASKS && r->runtime)
		runtime_link(r->runtime, &link);
	slot->answer = link.absent ? collect_answer(link.last_failure, "") : ANSWER_LATE;
	slot->age_ns = time_since(clock_now().mono_ns, call->asked_ns);
}

static void settle(struct call *call)
{
	struct collect_runtime *r = call->c->runtime;

	if (call->late || !call_slot(call))
		return;
	r->open--;
	if (call->kind == CALL_INSPECT)
		r->inspects--;
	collect_wake(call->c);
}

static void end_call(struct call *call)
{
	struct call **at = &call->c->runtime->calls;

	while (*at && *at != call)
		at = &(*at)->next;
	if (*at)
		*at = call->next;
	(void)mem_free(call);
}

static void put_answer(struct call *call, enum runtime_outcome outcome, const char *message)
{
	struct evidence_call *slot = call_slot(call);

	if (!slot)
		return;
	slot->answer = collect_answer(outcome, message);
	slot->age_ns = time_since(clock_now().mono_ns, call->asked_ns);
	slot->message = evidence_text(call->c->evidence, outcome == RUNTIME_OK ? "" : message);
}

static void on_late(void *userdata)
{
	struct call *call = userdata;

	tell_late(call);
	settle(call);
	call->late = true;
}

/* The call, counted; NULL when one is open already (told as late) or there is no memory. */
static struct call *new_call(struct collect *c, enum call_kind kind, const char *id, uint32_t index)
{
	struct collect_runtime *r = c->runtime;
	struct call *call = find_call(r, kind, id);
	struct evidence_call *slot;
	bool is_open = call != NULL;

	if (!call)
		call = mem_zalloc(sizeof(*call));
	if (!call)
		return NULL;
	call->c = c;
	call->kind = kind;
	call->sample = c->sample;
	call->index = index;
	slot = call_slot(call);
	slot->method = method_of(kind);
	slot->subject = evidence_text(c->evidence, id);
	if (is_open) {
		tell_late(call);
		return NULL;
	}
	(void)str_format(call->id, sizeof(call->id), "%s", id);
	call->asked_ns = clock_now().mono_ns;
	call->next = r->calls;
	r->calls = call;
	r->open++;
	if (kind == CALL_INSPECT)
		r->inspects++;
	return call;
}

/* It could not be asked: as if it never was. */
static void refuse_call(struct call *call, int error)
{
	struct evidence_call *slot = call_slot(call);

	if (slot) {
		slot->answer = ANSWER_NOT_ASKED;
		slot->message = evidence_text(call->c->evidence, err_text(NULL, error));
	}
	settle(call);
	end_call(call);
}

/* --- answers --- */

static void inspect_more(struct collect *c);

static void put_detail(
	struct evidence *e, struct evidence_container *k, enum container_detail detail)
{
	k->runtime_detail = evidence_text(e, container_detail_text(detail));
	if (detail == CONTAINER_PAUSED)
		k->pause = PAUSE_YES;
}

/* 0: not known, or yet to come by this clock. */
static uint64_t age_of(const struct evidence *e, int64_t at_ns)
{
	return at_ns > 0 && at_ns < e->at_ns ? (uint64_t)(e->at_ns - at_ns) : 0;
}

static void put_container(
	struct collect *c, struct list_source *list, const struct list_entry *entry)
{
	struct evidence *e = c->evidence;
	struct container_identity who = { 0 };
	uint32_t i;

	if (entry->id.len == 0)
		return;
	i = evidence_add_container(e);
	if (i == EVIDENCE_NONE)
		return;
	list->describe(list, entry, &who);
	e->containers[i].kind = entry->kind;
	e->containers[i].runtime_state = entry->state;
	put_detail(e, &e->containers[i], entry->detail);
	e->containers[i].id = evidence_copy(e, entry->id.data, entry->id.len);
	e->containers[i].sandbox_id =
		evidence_copy(e, entry->sandbox_id.data, entry->sandbox_id.len);
	e->containers[i].namespace = evidence_copy(e, who.namespace.data, who.namespace.len);
	e->containers[i].pod = evidence_copy(e, who.pod.data, who.pod.len);
	e->containers[i].pod_uid = evidence_copy(e, who.pod_uid.data, who.pod_uid.len);
	e->containers[i].container = evidence_copy(e, who.container.data, who.container.len);
	e->containers[i].attempt = who.attempt;
	e->containers[i].age_ns = age_of(e, who.created_at_ns);
	e->containers[i].daemon = c->runtime->daemon;
	(void)table_put_string(&c->ids, e->containers[i].id, (void *)(uintptr_t)(i + 1));
}

/* One that the sweep has met before the list came becomes the runtime's. */
static void put_or_complete(
	struct collect *c, struct list_source *list, const struct list_entry *entry)
{
	struct evidence *e = c->evidence;
	struct evidence_container kept;
	uint32_t known = (uint32_t)(uintptr_t)table_get(&c->ids, entry->id.data, entry->id.len);
	uint32_t added;

	if (known == 0) {
		put_container(c, list, entry);
		return;
	}
	known--;
	if (!e->containers[known].by_kernel_only)
		return;
	kept = e->containers[known];
	added = e->container_count;
	(void)table_remove_string(&c->ids, kept.id);
	put_container(c, list, entry);
	if (e->container_count == added) {
		(void)table_put_string(&c->ids, kept.id, (void *)(uintptr_t)(known + 1));
		return;
	}
	e->containers[known] = e->containers[--e->container_count];
	e->containers[known].init = kept.init;
	e->containers[known].shim = kept.shim;
	e->containers[known].freezer = kept.freezer;
	e->containers[known].pause = kept.pause;
	(void)table_remove_string(&c->ids, kept.id);
	(void)table_put_string(&c->ids, e->containers[known].id, (void *)(uintptr_t)(known + 1));
}

static void put_task_pid(struct collect *c, uint32_t container, int32_t pid)
{
	if (!c->tasks_told)
		c->tasks_told = mem_array(COLLECT_TASKS_MAX, sizeof(*c->tasks_told));
	if (c->tasks_told && c->task_count < COLLECT_TASKS_MAX)
		c->tasks_told[c->task_count++] = (struct collect_task){ container, pid };
}

static void on_version(void *userdata, const struct runtime_result *result)
{
	struct call *call = userdata;

	put_answer(call, result->outcome, result->message);
	settle(call);
	end_call(call);
}

static void on_list(void *userdata, const struct runtime_result *result)
{
	struct call *call = userdata;
	struct collect *c = call->c;
	bool is_ours = call_slot(call) != NULL;
	struct list_entry entry;

	put_answer(call, result->outcome, result->message);
	if (is_ours && result->outcome == RUNTIME_OK) {
		while (result->list->next(result->list, &entry))
			put_or_complete(c, result->list, &entry);
		c->runtime->listed = c->evidence->container_count;
		inspect_more(c);
	}
	settle(call);
	end_call(call);
}

/* Docker tells the pid itself; ends are counted when all are known. */
static void put_status(struct collect *c, uint32_t index, const struct container_status *status)
{
	struct evidence_container *k = &c->evidence->containers[index];

	if (status->has_exit_code)
		k->last_exit_code = status->exit_code;
	k->restarts = status->restarts;
	k->last_exit_ns = age_of(c->evidence,
		status->finished_at_ns > 0 ? status->finished_at_ns : status->ended_before_ns);
	if (status->created_at_ns > 0)
		k->age_ns = age_of(c->evidence, status->created_at_ns);
	if (!c->finished_ns)
		c->finished_ns = mem_array(EVIDENCE_CONTAINERS_MAX, sizeof(*c->finished_ns));
	if (c->finished_ns && status->state == CONTAINER_EXITED)
		c->finished_ns[index] = status->finished_at_ns;
	if (status->init_pid > 0)
		put_task_pid(c, index, status->init_pid);
}

static void on_inspect(void *userdata, const struct runtime_result *result)
{
	struct call *call = userdata;
	struct collect *c = call->c;
	bool is_ours = call_slot(call) != NULL;

	put_answer(call, result->outcome, result->message);
	if (is_ours && result->outcome == RUNTIME_OK && result->status) {
		struct evidence_container *k = &c->evidence->containers[call->index];

		k->runtime_state = result->status->state;
		put_detail(c->evidence, k, result->status->detail);
		put_status(c, call->index, result->status);
	}
	settle(call);
	end_call(call);
	if (is_ours)
		inspect_more(c);
}

static const struct runtime_callbacks version_callbacks = { on_version, on_late };
static const struct runtime_callbacks list_callbacks = { on_list, on_late };
static const struct runtime_callbacks inspect_callbacks = { on_inspect, on_late };

static void ask_runtime(struct collect *c, enum call_kind kind, uint32_t index, const char *id)
{
	struct runtime_call_options options = { .timeout_ns = COLLECT_ANSWER_NS };
	struct call *call = new_call(c, kind, id, index);
	int r = 0;

	if (!call)
		return;
	options.userdata = call;
	switch (kind) {
	case CALL_VERSION:
		options.callbacks = &version_callbacks;
		r = runtime_version(c->runtime->runtime, &options);
		break;
	case CALL_LIST:
		options.callbacks = &list_callbacks;
		r = runtime_list(c->runtime->runtime, NULL, NULL, &options);
		break;
	case CALL_INSPECT:
		options.callbacks = &inspect_callbacks;
		r = runtime_inspect(
			c->runtime->runtime, c->evidence->containers[index].kind, id, &options);
		break;
	case CALL_TASKS: break;
	}
	if (r < 0)
		refuse_call(call, r);
}

/* Those that are not gone yet and not of the kernel only, some at a time. */
static void inspect_more(struct collect *c)
{
	struct collect_runtime *r = c->runtime;

	while (c->evidence && r->listed != EVIDENCE_NONE && r->next < r->listed &&
		r->inspects < INSPECTS_OPEN_MAX) {
		uint32_t i = r->next++;

		if (!c->evidence->containers[i].by_kernel_only)
			ask_runtime(c, CALL_INSPECT, i, c->evidence->containers[i].id);
	}
}

/* --- containerd's tasks --- */

static void on_hint(void *userdata, const struct hint *hint)
{
	(void)userdata;
	(void)hint;
}

static void on_stream(void *userdata, enum hint_news news, const char *why)
{
	(void)userdata;
	(void)news;
	(void)why;
}

static const struct hint_callbacks no_hints = { on_hint, on_stream };

static enum container_state state_of(enum containerd_status status)
{
	switch (status) {
	case CONTAINERD_UNKNOWN: return CONTAINER_UNKNOWN;
	case CONTAINERD_CREATED: return CONTAINER_CREATED;
	case CONTAINERD_STOPPED: return CONTAINER_EXITED;
	case CONTAINERD_RUNNING:
	case CONTAINERD_PAUSED:
	case CONTAINERD_PAUSING: return CONTAINER_RUNNING;
	}
	return CONTAINER_UNKNOWN;
}

static void put_task(struct collect *c, const struct containerd_task *task)
{
	struct evidence *e = c->evidence;
	uint32_t i = collect_container(c, task->container_id);

	if (i == EVIDENCE_NONE)
		return;
	if (task->status == CONTAINERD_PAUSED)
		e->containers[i].pause = PAUSE_YES;
	if (e->containers[i].by_kernel_only)
		e->containers[i].runtime_state = state_of(task->status);
	if (task->pid > 0)
		put_task_pid(c, i, task->pid);
}

static void on_tasks(void *userdata, const struct containerd_result *result)
{
	struct call *call = userdata;
	struct collect *c = call->c;
	struct slice rest = result->tasks;
	struct containerd_task task;

	put_answer(call, result->outcome, result->message);
	if (call_slot(call) && result->outcome == RUNTIME_OK) {
		while (containerd_next_task(&rest, &task))
			put_task(c, &task);
	}
	settle(call);
	end_call(call);
}

static const struct containerd_callbacks tasks_callbacks = { on_tasks, on_late };

static int open_containerd(struct collect *c, const char *endpoint, const char *namespace)
{
	struct collect_runtime *r = c->runtime;

	if (r->containerd)
		return str_eq(r->tasks_endpoint, endpoint) ? 0 : -EBUSY;
	r->tasks_endpoint = mem_strdup(endpoint);
	if (!r->tasks_endpoint)
		return -ENOMEM;
	return containerd_open(
		c->options.loop, endpoint, namespace, &no_hints, NULL, &r->containerd, NULL);
}

void collect_runtime_tasks(struct collect *c, const char *endpoint, const char *namespace)
{
	uint32_t daemon = EVIDENCE_NONE;
	struct call *call;
	int r;

	if (!c->runtime)
		return;
	for (uint32_t i = 0; i < c->evidence->daemon_count; i++)
		if (identity_same_socket(c->evidence->daemons[i].endpoint, endpoint))
			daemon = i;
	if (daemon == EVIDENCE_NONE || open_containerd(c, endpoint, namespace) < 0)
		return;
	call = new_call(c, CALL_TASKS, "", daemon);
	if (!call)
		return;
	r = containerd_list_tasks(
		c->runtime->containerd, &tasks_callbacks, call, COLLECT_ANSWER_NS);
	if (r < 0)
		refuse_call(call, r);
}

/* --- a sample --- */

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static enum evidence_daemon_kind kind_of_endpoint(const char *endpoint)
{
	const char *name = base_name(endpoint);

	return str_eq(name, "containerd.sock")     ? DAEMON_CONTAINERD
		: str_eq(name, "docker.sock")      ? DAEMON_DOCKERD
		: str_eq(name, "crio.sock")        ? DAEMON_CRIO
		: str_eq(name, "cri-dockerd.sock") ? DAEMON_CRI_DOCKERD
						   : DAEMON_OTHER;
}

int collect_runtime_start(struct collect *c)
{
	struct collect_runtime *r = c->runtime;
	struct err err = { 0 };
	uint32_t daemon;
	int e = 0;

	if (c->endpoint[0] == '\0')
		return 0;
	if (!r) {
		r = mem_zalloc(sizeof(*r));
		if (!r)
			return -ENOMEM;
		c->runtime = r;
	}
	if (!r->runtime)
		e = runtime_open(c->options.loop, runtime_guess(c->endpoint), c->endpoint,
			&r->runtime, &err);
	daemon = evidence_add_daemon(c->evidence);
	if (e == -ENOMEM || daemon == EVIDENCE_NONE)
		return -ENOMEM;
	if (e < 0) {
		evidence_add_gap(c->evidence, "the runtime", err_text(&err, e), "");
		return 0;
	}
	r->open = r->inspects = r->next = 0;
	r->listed = EVIDENCE_NONE;
	r->daemon = daemon;
	c->evidence->daemons[daemon].kind = kind_of_endpoint(c->endpoint);
	c->evidence->daemons[daemon].is_runtime = true;
	c->evidence->daemons[daemon].endpoint = evidence_text(c->evidence, c->endpoint);
	ask_runtime(c, CALL_VERSION, daemon, "");
	ask_runtime(c, CALL_LIST, daemon, "");
	if (c->evidence->daemons[daemon].kind == DAEMON_CONTAINERD)
		collect_runtime_tasks(c, c->endpoint, CONTAINERD_NAMESPACE_CRI);
	return 0;
}

int32_t collect_runtime_peer(const struct collect *c)
{
	struct runtime_link link;

	if (!c->runtime || !c->runtime->runtime)
		return 0;
	runtime_link(c->runtime->runtime, &link);
	return link.peer_pid;
}

bool collect_runtime_is_done(const struct collect *c)
{
	const struct collect_runtime *r = c->runtime;

	return !r || r->open == 0;
}

/* Behind so many that did not answer these had no turn: whether they hang is not known. */
static void tell_not_inspected(struct collect *c)
{
	const struct collect_runtime *r = c->runtime;
	uint32_t left = 0;

	for (uint32_t i = r->next; r->listed != EVIDENCE_NONE && i < r->listed; i++)
		left += !c->evidence->containers[i].by_kernel_only;
	if (left > 0)
		evidence_add_gap(c->evidence, FMT("inspections of %u containers", left),
			"the runtime answers too slowly to be asked for all of them in one look",
			"");
}

void collect_runtime_end(struct collect *c)
{
	struct collect_runtime *r = c->runtime;

	if (!r)
		return;
	if (c->evidence)
		tell_not_inspected(c);
	for (struct call *call = r->calls; call; call = call->next) {
		tell_late(call);
		call->sample = 0;
		call->late = true;
	}
	r->open = r->inspects = 0;
	r->listed = EVIDENCE_NONE;
}

void collect_runtime_free(struct collect *c)
{
	struct collect_runtime *r = c->runtime;

	if (!r)
		return;
	/* Their ends come from inside, and take the calls with them. */
	r->runtime = runtime_free(r->runtime);
	r->containerd = containerd_free(r->containerd);
	r->tasks_endpoint = mem_free(r->tasks_endpoint);
	c->runtime = mem_free(r);
}
