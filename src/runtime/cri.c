/*
 * CRI v1 over gRPC: which request is sent when, and what an outcome means. How the messages look is
 * in cri-message.h and cri-scan.h.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/grpc.h"
#include "runtime/cri-message.h"
#include "runtime/cri-scan.h"
#include "runtime/remote.h"
#include "runtime/runtime-internal.h"

struct cri {
	struct grpc_client *client;
};

/* What a list keeps between its two requests. */
struct cri_list_call {
	struct buf second;    /* the request for ListContainers */
	struct buf sandboxes; /* the answer to ListPodSandbox */
};

static const char *method_path(enum runtime_method method)
{
	switch (method) {
	case RUNTIME_METHOD_VERSION: return "/runtime.v1.RuntimeService/Version";
	case RUNTIME_METHOD_STATUS: return "/runtime.v1.RuntimeService/Status";
	case RUNTIME_METHOD_LIST_SANDBOXES: return "/runtime.v1.RuntimeService/ListPodSandbox";
	case RUNTIME_METHOD_LIST_CONTAINERS: return "/runtime.v1.RuntimeService/ListContainers";
	case RUNTIME_METHOD_SANDBOX_STATUS: return "/runtime.v1.RuntimeService/PodSandboxStatus";
	case RUNTIME_METHOD_CONTAINER_STATUS: return "/runtime.v1.RuntimeService/ContainerStatus";
	case RUNTIME_METHOD_RUN_SANDBOX: return "/runtime.v1.RuntimeService/RunPodSandbox";
	case RUNTIME_METHOD_STOP_SANDBOX: return "/runtime.v1.RuntimeService/StopPodSandbox";
	case RUNTIME_METHOD_REMOVE_SANDBOX: return "/runtime.v1.RuntimeService/RemovePodSandbox";
	case RUNTIME_METHOD_CREATE: return "/runtime.v1.RuntimeService/CreateContainer";
	case RUNTIME_METHOD_START: return "/runtime.v1.RuntimeService/StartContainer";
	case RUNTIME_METHOD_STOP: return "/runtime.v1.RuntimeService/StopContainer";
	case RUNTIME_METHOD_REMOVE: return "/runtime.v1.RuntimeService/RemoveContainer";
	case RUNTIME_METHOD_IMAGE_STATUS: return "/runtime.v1.ImageService/ImageStatus";
	}
	return NULL;
}

/* ---- what an outcome means ------------------------------------------------------------------ */

static bool ends_with(const char *s, const char *end)
{
	size_t len = strlen(s), end_len = strlen(end);

	return len >= end_len && str_eq(s + len - end_len, end);
}

/* Some runtimes wrap "no such container" into an unknown error. Believed only where nothing but the
 * subject can be missing: StartContainer also says "not found" of an executable. */
static bool says_not_found(enum runtime_method method, const char *message)
{
	if (method != RUNTIME_METHOD_CONTAINER_STATUS && method != RUNTIME_METHOD_SANDBOX_STATUS)
		return false;
	return ends_with(message, "not found") || ends_with(message, "does not exist") ||
		strstr(message, "could not find container") ||
		strstr(message, "could not find pod");
}

static enum runtime_outcome status_outcome(
	enum runtime_method method, const struct grpc_result *result)
{
	switch (result->status) {
	case GRPC_CODE_NOT_FOUND: return RUNTIME_NOT_FOUND;
	case GRPC_CODE_UNIMPLEMENTED: return RUNTIME_UNSUPPORTED;
	case GRPC_CODE_UNKNOWN:
		return says_not_found(method, result->message) ? RUNTIME_NOT_FOUND : RUNTIME_ERROR;
	default: return RUNTIME_ERROR;
	}
}

/* What to do about it, where that is known. */
static const char *outcome_advice(enum grpc_outcome outcome, enum runtime_outcome means)
{
	if (means == RUNTIME_UNSUPPORTED)
		return "; the runtime does not speak CRI v1: is its cri plugin disabled, or is it "
		       "too old?";
	if (outcome == GRPC_NO_SOCKET)
		return "; is the runtime running, and is this its socket?";
	if (outcome == GRPC_REFUSED)
		return "; the socket is there and nobody listens: the runtime has died or was "
		       "stopped";
	if (outcome == GRPC_SILENT)
		return "; the runtime accepts connections and never answers: it is stopped or "
		       "stuck";
	return "";
}

/* ---- calls ---------------------------------------------------------------------------------- */

static const struct grpc_callbacks cri_callbacks;

static struct cri_list_call *cri_list_call_free(struct cri_list_call *list)
{
	if (list) {
		buf_done(&list->second);
		buf_done(&list->sandboxes);
	}
	return mem_free(list);
}

DEFINE_FREEP(struct cri_list_call *, cri_list_call_free)

static void cri_release(struct runtime_call *call)
{
	(void)cri_list_call_free(call->private);
}

static int cri_send(struct runtime_call *call, enum runtime_method leg, const struct buf *body)
{
	struct cri *cri = call->runtime->private;
	uint64_t left_ns = runtime_call_time_left(call);
	struct grpc_call *handle;

	return grpc_call_start(cri->client,
		&(struct grpc_request){
			.path = method_path(leg),
			.body = body->data,
			.body_len = body->len,
			.callbacks = &cri_callbacks,
			.userdata = call,
			/* A call that is late already is told so once only. */
			.deadline_ns = call->late ? 0
				: left_ns > 0     ? left_ns
						  : 1,
		},
		&handle);
}

static int cri_start(struct runtime_call *call, const struct runtime_request *request)
{
	struct buf body = BUF_INIT(CRI_REQUEST_MAX);
	int r;

	if (request->method == RUNTIME_METHOD_LIST_SANDBOXES) {
		CLEAN(cri_list_call_freep) struct cri_list_call *list = mem_zalloc(sizeof(*list));

		if (!list)
			return -ENOMEM;
		list->second.max_bytes = CRI_REQUEST_MAX;
		list->sandboxes.max_bytes = GRPC_MESSAGE_MAX;
		r = cri_encode(RUNTIME_METHOD_LIST_CONTAINERS, request, &list->second);
		if (r < 0)
			return r;
		call->private = TAKE_PTR(list);
	}
	r = cri_encode(request->method, request, &body);
	if (r >= 0)
		r = cri_send(call, request->method, &body);
	buf_done(&body);
	return r;
}

/* Ends the leg and with it the call. */
static void cri_end(struct runtime_call *call, enum runtime_outcome outcome, const char *message,
	struct runtime_result *result)
{
	result->outcome = outcome;
	result->message = message;
	runtime_leg_end(call, outcome);
	runtime_call_done(call, result);
}

static void cri_end_malformed(struct runtime_call *call, const char *trouble)
{
	cri_end(call, RUNTIME_MALFORMED, trouble, &(struct runtime_result){ 0 });
}

/* ListPodSandbox has answered: keep it and ask for the containers. */
static void cri_on_sandboxes(struct runtime_call *call, struct slice answer)
{
	struct cri_list_call *list = call->private;
	size_t entries;
	int r;

	if (cri_scan_validate(answer, CONTAINER_KIND_SANDBOX, &entries) < 0) {
		cri_end_malformed(call, "the answer cannot be decoded");
		return;
	}
	r = buf_append(&list->sandboxes, answer.data, answer.len);
	if (r >= 0) {
		runtime_leg_end(call, RUNTIME_OK);
		r = cri_send(call, RUNTIME_METHOD_LIST_CONTAINERS, &list->second);
		runtime_leg_begin(call, RUNTIME_METHOD_LIST_CONTAINERS);
	}
	if (r < 0)
		cri_end(call, RUNTIME_CANCELLED, FMT("not asked: %s", err_text(NULL, r)),
			&(struct runtime_result){ 0 });
}

static void cri_on_containers(struct runtime_call *call, struct slice answer)
{
	const struct cri_list_call *list = call->private;
	struct runtime_result result = { 0 };
	struct cri_list both;
	size_t entries;

	if (cri_scan_validate(answer, CONTAINER_KIND_CONTAINER, &entries) < 0) {
		cri_end_malformed(call, "the answer cannot be decoded");
		return;
	}
	cri_list_init(&both,
		(struct slice){ (const char *)list->sandboxes.data, list->sandboxes.len }, answer);
	result.list = &both.source;
	cri_end(call, RUNTIME_OK, "ok", &result);
}

static void cri_on_answer(struct runtime_call *call, struct slice answer)
{
	struct runtime_result result = { 0 };
	const char *trouble = NULL;
	struct arena arena;
	int r;

	arena_init(&arena, CRI_DECODE_MAX);
	r = cri_decode(call->leg, runtime_call_subject(call), answer, &arena, &result, &trouble);
	if (r == -ENOMEM)
		cri_end(call, RUNTIME_CANCELLED, trouble, &(struct runtime_result){ 0 });
	else if (r < 0)
		cri_end_malformed(call, trouble);
	else
		cri_end(call, RUNTIME_OK, "ok", &result);
	arena_done(&arena);
}

static void cri_on_done(void *userdata, const struct grpc_result *result)
{
	struct runtime_call *call = userdata;
	struct slice answer = { (const char *)result->body, result->body_len };
	enum runtime_outcome outcome;

	if (result->outcome != GRPC_OK) {
		outcome = result->outcome == GRPC_STATUS ? status_outcome(call->leg, result)
							 : remote_outcome(result->outcome);
		cri_end(call, outcome,
			str_format((char[RUNTIME_MESSAGE_MAX]){ 0 }, RUNTIME_MESSAGE_MAX, "%s%s",
				result->message, outcome_advice(result->outcome, outcome)),
			&(struct runtime_result){ 0 });
	} else if (call->leg == RUNTIME_METHOD_LIST_SANDBOXES) {
		cri_on_sandboxes(call, answer);
	} else if (call->leg == RUNTIME_METHOD_LIST_CONTAINERS) {
		cri_on_containers(call, answer);
	} else {
		cri_on_answer(call, answer);
	}
}

static void cri_on_late(void *userdata)
{
	runtime_call_late(userdata);
}

static const struct grpc_callbacks cri_callbacks = {
	.on_done = cri_on_done,
	.on_late = cri_on_late,
};

/* ---- the object ----------------------------------------------------------------------------- */

static void cri_link(const struct runtime *runtime, struct runtime_link *ret)
{
	const struct cri *cri = runtime->private;
	struct grpc_client_stats stats;

	grpc_client_stats(cri->client, &stats);
	ret->up = stats.link == GRPC_LINK_UP;
	ret->last_failure = remote_outcome(stats.last_failure);
	ret->denied = !ret->up && stats.last_failure == GRPC_UNREACHABLE;
	ret->connects = stats.connects;
	ret->losses = stats.losses;
	ret->bytes_in = stats.bytes_in;
	ret->bytes_out = stats.bytes_out;
	ret->peer_pid = stats.peer_pid;
	ret->absent = stats.peer_pid == 0 && stats.link != GRPC_LINK_UP &&
		(stats.last_failure == GRPC_NO_SOCKET || stats.last_failure == GRPC_REFUSED);
}

static void cri_close(struct runtime *runtime)
{
	struct cri *cri = runtime->private;

	cri->client = grpc_client_free(cri->client);
	runtime->private = mem_free(cri);
}

static const struct runtime_ops cri_ops = {
	.kind = RUNTIME_CRI,
	.start = cri_start,
	.release = cri_release,
	.link = cri_link,
	.close = cri_close,
};

int runtime_open_cri(sd_event *loop, const char *endpoint, struct runtime **ret, struct err *reterr)
{
	CLEAN(mem_freep) struct cri *cri = mem_zalloc(sizeof(*cri));
	const char *path = remote_path(endpoint);
	int r;

	if (!path)
		return err_set(reterr, -EINVAL,
			"Runtime endpoint '%s' is not of the form unix:///path/of.sock", endpoint);
	if (!cri)
		return err_set(reterr, -ENOMEM, "Out of memory for a runtime");
	r = grpc_client_new(loop, path, &cri->client, reterr);
	if (r < 0)
		return r;
	r = runtime_new(&cri_ops, endpoint, ret);
	if (r < 0) {
		cri->client = grpc_client_free(cri->client);
		return err_set(reterr, r, "Out of memory for a runtime");
	}
	(*ret)->private = TAKE_PTR(cri);
	return 0;
}
