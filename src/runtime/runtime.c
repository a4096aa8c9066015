#include "runtime/runtime.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/runtime-internal.h"

static const struct {
	const char *name, *operation; /* CRI's, and the kubelet's operation_type */
} runtime_methods[RUNTIME_METHODS] = {
	[RUNTIME_METHOD_VERSION] = { "Version", "version" },
	[RUNTIME_METHOD_STATUS] = { "Status", "status" },
	[RUNTIME_METHOD_LIST_SANDBOXES] = { "ListPodSandbox", "list_podsandbox" },
	[RUNTIME_METHOD_LIST_CONTAINERS] = { "ListContainers", "list_containers" },
	[RUNTIME_METHOD_SANDBOX_STATUS] = { "PodSandboxStatus", "podsandbox_status" },
	[RUNTIME_METHOD_CONTAINER_STATUS] = { "ContainerStatus", "container_status" },
	[RUNTIME_METHOD_RUN_SANDBOX] = { "RunPodSandbox", "run_podsandbox" },
	[RUNTIME_METHOD_STOP_SANDBOX] = { "StopPodSandbox", "stop_podsandbox" },
	[RUNTIME_METHOD_REMOVE_SANDBOX] = { "RemovePodSandbox", "remove_podsandbox" },
	[RUNTIME_METHOD_CREATE] = { "CreateContainer", "create_container" },
	[RUNTIME_METHOD_START] = { "StartContainer", "start_container" },
	[RUNTIME_METHOD_STOP] = { "StopContainer", "stop_container" },
	[RUNTIME_METHOD_REMOVE] = { "RemoveContainer", "remove_container" },
	[RUNTIME_METHOD_IMAGE_STATUS] = { "ImageStatus", "image_status" },
};

const char *runtime_method_name(enum runtime_method method)
{
	return runtime_methods[method].name;
}

const char *runtime_outcome_text(enum runtime_outcome outcome)
{
	switch (outcome) {
	case RUNTIME_OK: return "ok";
	case RUNTIME_NOT_FOUND: return "not found";
	case RUNTIME_ERROR: return "error";
	case RUNTIME_UNSUPPORTED: return "unsupported";
	case RUNTIME_NO_SOCKET: return "no socket";
	case RUNTIME_REFUSED: return "refused";
	case RUNTIME_SILENT: return "silent";
	case RUNTIME_LOST: return "lost";
	case RUNTIME_MALFORMED: return "malformed";
	case RUNTIME_CANCELLED: return "cancelled";
	}
	return "invalid";
}

/* ---- the object ----------------------------------------------------------------------------- */

int runtime_new(const struct runtime_ops *ops, const char *endpoint, struct runtime **ret)
{
	CLEAN(mem_freep) struct runtime *runtime = mem_zalloc(sizeof(*runtime));
	CLEAN(mem_freep) char *copy = mem_strdup(endpoint);

	if (!runtime || !copy)
		return -ENOMEM;
	runtime->calls = TABLE_INIT(RUNTIME_CALLS_MAX);
	runtime->ops = ops;
	runtime->endpoint = TAKE_PTR(copy);
	for (size_t i = 0; i < RUNTIME_METHODS; i++)
		runtime->statistics[i].duration = HISTOGRAM_INIT(histogram_operation_buckets);
	*ret = TAKE_PTR(runtime);
	return 0;
}

struct runtime *runtime_free(struct runtime *runtime)
{
	if (!runtime)
		return NULL;
	runtime->closing = true;
	runtime->ops->close(runtime);
	table_done(&runtime->calls);
	(void)mem_free(runtime->endpoint);
	return mem_free(runtime);
}

enum runtime_kind runtime_kind(const struct runtime *runtime)
{
	return runtime->ops->kind;
}

const char *runtime_kind_text(enum runtime_kind kind)
{
	switch (kind) {
	case RUNTIME_CRI: return "cri";
	case RUNTIME_DOCKER: return "docker";
	}
	return "invalid";
}

enum runtime_kind runtime_guess(const char *endpoint)
{
	const char *name = strrchr(endpoint, '/');

	return name && str_eq(name, "/docker.sock") ? RUNTIME_DOCKER : RUNTIME_CRI;
}

int runtime_open(sd_event *loop, enum runtime_kind kind, const char *endpoint, struct runtime **ret,
	struct err *reterr)
{
	switch (kind) {
	case RUNTIME_CRI: return runtime_open_cri(loop, endpoint, ret, reterr);
	case RUNTIME_DOCKER: return runtime_open_docker(loop, endpoint, ret, reterr);
	}
	return -EINVAL;
}

bool runtime_is_other_kind(const struct runtime_result *result)
{
	switch (result->outcome) {
	case RUNTIME_UNSUPPORTED:
	case RUNTIME_SILENT:
	case RUNTIME_LOST:
	case RUNTIME_MALFORMED: return true;
	case RUNTIME_OK:
	case RUNTIME_NOT_FOUND:
	case RUNTIME_ERROR:
	case RUNTIME_NO_SOCKET:
	case RUNTIME_REFUSED:
	case RUNTIME_CANCELLED: break;
	}
	return false;
}

const char *runtime_endpoint(const struct runtime *runtime)
{
	return runtime->endpoint;
}

/* ---- the table of open calls ---------------------------------------------------------------- */

const char *runtime_call_subject(const struct runtime_call *call)
{
	return call->key + 1;
}

static struct runtime_call *call_new(struct runtime *runtime, enum runtime_method method,
	const char *subject, const struct runtime_call_options *options)
{
	size_t len = strlen(subject);
	struct runtime_call *call = mem_zalloc(sizeof(*call) + len + 2);

	if (!call)
		return NULL;
	call->runtime = runtime;
	call->callbacks = *options->callbacks;
	call->userdata = options->userdata;
	call->timeout_ns = options->timeout_ns;
	call->first = call->leg = method;
	call->key_len = len + 1;
	call->key[0] = (char)method;
	memcpy(call->key + 1, subject, len + 1);
	return call;
}

static int call_enter(struct runtime_call *call)
{
	struct runtime *runtime = call->runtime;
	int r = table_put(&runtime->calls, call->key, call->key_len, call);

	if (r == -EEXIST)
		return -EALREADY;
	if (r == -ENOSPC)
		return -EBUSY;
	if (r < 0)
		return r;
	call->serial = ++runtime->last_serial;
	call->started_ns = call->leg_started_ns = clock_now().mono_ns;
	call->older = runtime->newest;
	if (call->older)
		call->older->newer = call;
	else
		runtime->oldest = call;
	runtime->newest = call;
	runtime->calls_open++;
	return 0;
}

static void call_leave(struct runtime_call *call)
{
	struct runtime *runtime = call->runtime;

	(void)table_remove(&runtime->calls, call->key, call->key_len);
	if (call->older)
		call->older->newer = call->newer;
	else
		runtime->oldest = call->newer;
	if (call->newer)
		call->newer->older = call->older;
	else
		runtime->newest = call->older;
	runtime->calls_open--;
	if (call->late)
		runtime->calls_late--;
}

static void call_free(struct runtime_call *call, const struct runtime_ops *ops)
{
	if (call->private)
		ops->release(call);
	(void)mem_free(call);
}

static int call_begin(struct runtime *runtime, const struct runtime_request *request,
	const char *subject, const struct runtime_call_options *options)
{
	struct runtime_call *call;
	int r;

	if (runtime->closing)
		return -ESHUTDOWN;
	if (options->timeout_ns == 0)
		return -EINVAL;
	if (strlen(subject) > RUNTIME_SUBJECT_MAX)
		return -ENAMETOOLONG;
	call = call_new(runtime, request->method, subject, options);
	if (!call)
		return -ENOMEM;
	r = call_enter(call);
	if (r < 0) {
		(void)mem_free(call);
		return r;
	}
	r = runtime->ops->start(call, request);
	if (r < 0) {
		call_leave(call);
		call_free(call, runtime->ops);
		return r;
	}
	runtime_leg_begin(call, call->leg);
	return 0;
}

/* ---- what the kinds of runtime report ------------------------------------------------------- */

uint64_t runtime_call_time_left(const struct runtime_call *call)
{
	if (call->late)
		return 0;
	return time_since(call->timeout_ns, time_since(clock_now().mono_ns, call->started_ns));
}

void runtime_leg_begin(struct runtime_call *call, enum runtime_method leg)
{
	call->leg = leg;
	call->leg_started_ns = clock_now().mono_ns;
	call->runtime->statistics[leg].started++;
}

void runtime_leg_end(struct runtime_call *call, enum runtime_outcome outcome)
{
	struct runtime_statistics *s = &call->runtime->statistics[call->leg];

	if (outcome != RUNTIME_OK)
		s->errors++;
	histogram_observe(&s->duration, time_since(clock_now().mono_ns, call->leg_started_ns));
}

void runtime_call_late(struct runtime_call *call)
{
	if (call->late)
		return;
	call->late = true;
	call->runtime->calls_late++;
	if (call->callbacks.on_late)
		call->callbacks.on_late(call->userdata);
}

/* Ids are cut to the twelve characters that people use. */
static const char *subject_text(const char *subject, char out[RUNTIME_SUBJECT_MAX + 1])
{
	size_t len = strlen(subject);

	if (len >= 32 && strspn(subject, "0123456789abcdef") == len)
		len = 12;
	return str_clean(out, RUNTIME_SUBJECT_MAX + 1, subject, len);
}

static void call_message(
	const struct runtime_call *call, const char *what, char out[RUNTIME_MESSAGE_MAX])
{
	const char *subject = runtime_call_subject(call);
	char text[RUNTIME_SUBJECT_MAX + 1], clean[RUNTIME_MESSAGE_MAX];

	(void)str_clean(clean, sizeof(clean), what, strlen(what));
	(void)snprintf(out, RUNTIME_MESSAGE_MAX, "%s%s%s: %s", runtime_method_name(call->leg),
		subject[0] ? " of " : "", subject_text(subject, text), clean);
}

void runtime_call_done(struct runtime_call *call, struct runtime_result *result)
{
	const struct runtime_ops *ops = call->runtime->ops;
	char message[RUNTIME_MESSAGE_MAX];

	call_message(call, result->message, message);
	result->message = message;
	result->was_late = call->late;
	result->elapsed_ns = time_since(clock_now().mono_ns, call->started_ns);
	call_leave(call);
	/* The same call may be started again from in here, and the runtime may be freed. */
	call->callbacks.on_done(call->userdata, result);
	call_free(call, ops);
}

/* ---- what is going on ----------------------------------------------------------------------- */

bool runtime_next_call(const struct runtime *runtime, size_t *cursor, uint64_t now_mono_ns,
	struct runtime_call_info *ret)
{
	/* The cursor is the serial of the call told last, so calls may end between two steps. */
	for (const struct runtime_call *call = runtime->oldest; call; call = call->newer) {
		if (call->serial <= *cursor)
			continue;
		*cursor = call->serial;
		*ret = (struct runtime_call_info){
			.method = runtime_method_name(call->leg),
			.subject = runtime_call_subject(call),
			.age_ns = time_since(now_mono_ns, call->leg_started_ns),
			.late = call->late,
		};
		return true;
	}
	return false;
}

bool runtime_next_operation(
	const struct runtime *runtime, size_t *cursor, struct runtime_operation *ret)
{
	while (*cursor < RUNTIME_METHODS) {
		size_t i = (*cursor)++;
		const struct runtime_statistics *s = &runtime->statistics[i];

		if (s->started == 0)
			continue;
		*ret = (struct runtime_operation){
			.type = runtime_methods[i].operation,
			.started = s->started,
			.errors = s->errors,
			.duration = s->duration,
		};
		return true;
	}
	return false;
}

void runtime_link(const struct runtime *runtime, struct runtime_link *ret)
{
	*ret = (struct runtime_link){ 0 };
	runtime->ops->link(runtime, ret);
	ret->calls_open = runtime->calls_open;
	ret->calls_late = runtime->calls_late;
}

/* ---- the calls ------------------------------------------------------------------------------ */

static int begin_by_id(struct runtime *runtime, enum runtime_method method, const char *id,
	const struct runtime_call_options *options)
{
	if (!id || id[0] == '\0')
		return -EINVAL;
	return call_begin(
		runtime, &(struct runtime_request){ .method = method, .id = id }, id, options);
}

int runtime_version(struct runtime *runtime, const struct runtime_call_options *options)
{
	return call_begin(runtime, &(struct runtime_request){ .method = RUNTIME_METHOD_VERSION },
		"", options);
}

int runtime_status(struct runtime *runtime, const struct runtime_call_options *options)
{
	return call_begin(
		runtime, &(struct runtime_request){ .method = RUNTIME_METHOD_STATUS }, "", options);
}

int runtime_list(struct runtime *runtime, const char *pod_uid, const char *sandbox_id,
	const struct runtime_call_options *options)
{
	struct runtime_request request = { .method = RUNTIME_METHOD_LIST_SANDBOXES };

	if (pod_uid && pod_uid[0] != '\0')
		request.pod_uid = pod_uid;
	else if (sandbox_id && sandbox_id[0] != '\0')
		request.id = sandbox_id;
	return call_begin(runtime, &request,
		request.pod_uid ? request.pod_uid : str_or_empty(request.id), options);
}

int runtime_inspect(struct runtime *runtime, enum container_kind kind, const char *id,
	const struct runtime_call_options *options)
{
	return begin_by_id(runtime,
		kind == CONTAINER_KIND_SANDBOX ? RUNTIME_METHOD_SANDBOX_STATUS
					       : RUNTIME_METHOD_CONTAINER_STATUS,
		id, options);
}

int runtime_run_sandbox(struct runtime *runtime, const struct runtime_sandbox_spec *spec,
	const struct runtime_call_options *options)
{
	struct runtime_request request = { .method = RUNTIME_METHOD_RUN_SANDBOX, .sandbox = spec };
	char subject[RUNTIME_SUBJECT_MAX + 2];

	(void)snprintf(subject, sizeof(subject), "%s/%s", str_or_empty(spec->namespace),
		str_or_empty(spec->name));
	return call_begin(runtime, &request, subject, options);
}

int runtime_stop_sandbox(
	struct runtime *runtime, const char *id, const struct runtime_call_options *options)
{
	return begin_by_id(runtime, RUNTIME_METHOD_STOP_SANDBOX, id, options);
}

int runtime_remove_sandbox(
	struct runtime *runtime, const char *id, const struct runtime_call_options *options)
{
	return begin_by_id(runtime, RUNTIME_METHOD_REMOVE_SANDBOX, id, options);
}

int runtime_create(struct runtime *runtime, const char *sandbox_id,
	const struct runtime_sandbox_spec *sandbox, const struct runtime_container_spec *spec,
	const struct runtime_call_options *options)
{
	struct runtime_request request = {
		.method = RUNTIME_METHOD_CREATE,
		.id = sandbox_id,
		.sandbox = sandbox,
		.container = spec,
	};
	char subject[RUNTIME_SUBJECT_MAX + 2];

	if (!sandbox_id || sandbox_id[0] == '\0')
		return -EINVAL;
	(void)snprintf(subject, sizeof(subject), "%s in %s", str_or_empty(spec->name), sandbox_id);
	return call_begin(runtime, &request, subject, options);
}

int runtime_start(
	struct runtime *runtime, const char *id, const struct runtime_call_options *options)
{
	return begin_by_id(runtime, RUNTIME_METHOD_START, id, options);
}

int runtime_stop(struct runtime *runtime, const char *id, uint32_t grace_seconds,
	const struct runtime_call_options *options)
{
	struct runtime_request request = {
		.method = RUNTIME_METHOD_STOP,
		.id = id,
		.grace_seconds = grace_seconds,
	};
	struct runtime_call_options longer = *options;

	if (!id || id[0] == '\0')
		return -EINVAL;
	/* The runtime answers when the container has stopped: it is late only after that. */
	longer.timeout_ns = time_add(options->timeout_ns, grace_seconds * NSEC_PER_SEC);
	return call_begin(runtime, &request, id, &longer);
}

int runtime_remove(
	struct runtime *runtime, const char *id, const struct runtime_call_options *options)
{
	return begin_by_id(runtime, RUNTIME_METHOD_REMOVE, id, options);
}

int runtime_image_status(
	struct runtime *runtime, const char *image, const struct runtime_call_options *options)
{
	struct runtime_request request = { .method = RUNTIME_METHOD_IMAGE_STATUS, .image = image };

	if (!image || image[0] == '\0')
		return -EINVAL;
	return call_begin(runtime, &request, image, options);
}
