/*
 * The Docker Engine API over HTTP/1.1: which request is sent when, and what an outcome means. How the
 * answers look is in docker-decode.h.
 *
 * HTTP/1.1 has one answer at a time, so each open call has a connection of its own: one that hangs
 * (dockerd holds that container's lock) delays nobody, and keeps its connection until it is answered.
 * What was used up to the end is kept for the next call; in all there are at most
 * DOCKER_CONNECTIONS_MAX. A call is made of one leg, before it one of /version while it is not known
 * which API the Engine speaks; that is asked anew whenever the Engine may be another one.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/dial.h"
#include "net/http1.h"
#include "runtime/docker-decode.h"
#include "runtime/docker-http.h"
#include "runtime/remote.h"
#include "runtime/runtime-internal.h"

/* Inspections that are late (PLEG stops at 256), those that are not, and the rest. */
#define DOCKER_CONNECTIONS_MAX 288

#define DOCKER_LIST_BYTES_MAX    (32u * 1024 * 1024)
#define DOCKER_INSPECT_BYTES_MAX (4u * 1024 * 1024)
#define DOCKER_PING_BYTES_MAX    4096u

#define DOCKER_TARGET_MAX (3 * RUNTIME_SUBJECT_MAX + 256)

struct docker {
	sd_event *loop;
	char *path;
	char api[DOCKER_API_MAX]; /* "1.24"; "": not known, /version is asked first */
	struct http1_pool pool;
	size_t connections;
	bool up;
	enum runtime_outcome last_failure;
	bool is_denied; /* ... because we were not let in */
	uint64_t losses, bytes_in, bytes_out;
};

struct docker_call {
	struct docker *docker;
	struct http1_call *http; /* the leg that is under way */
	struct buf body;
	int body_error; /* of the first piece that was not taken */
	enum runtime_method wanted;
	char sandbox_id[RUNTIME_SUBJECT_MAX + 1]; /* of a list: only what is in it */
	char target[];                            /* behind the version */
};

static const struct http1_callbacks docker_callbacks;

/* ---- targets -------------------------------------------------------------------------------- */

/* Everything but what RFC 3986 leaves as it is. */
static int append_quoted(struct buf *out, const char *s)
{
	int r = 0;

	for (; *s && r >= 0; s++) {
		unsigned char c = (unsigned char)*s;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			c == '-' || c == '.' || c == '_' || c == '~')
			r = buf_append(out, s, 1);
		else
			r = buf_printf(out, "%%%02X", c);
	}
	return r;
}

/* {"label":["KEY=VALUE"]}; the value is quoted for JSON, too. */
static int append_label_filter(struct buf *out, const char *key, const char *value)
{
	struct buf json = BUF_INIT(6 * RUNTIME_SUBJECT_MAX + 256);
	int r = buf_printf(&json, "{\"label\":[\"%s=", key);

	for (; *value && r >= 0; value++) {
		unsigned char c = (unsigned char)*value;

		if (c < 0x20 || c == '"' || c == '\\')
			r = buf_printf(&json, "\\u%04x", c);
		else
			r = buf_append(&json, value, 1);
	}
	if (r >= 0)
		r = buf_append_string(&json, "\"]}");
	if (r >= 0)
		r = buf_append_string(out, "&filters=");
	if (r >= 0)
		r = buf_string(&json) ? append_quoted(out, buf_string(&json)) : -ENOMEM;
	buf_done(&json);
	return r;
}

static int append_list_target(struct buf *out, const struct runtime_request *request)
{
	const char *project =
		request->pod_uid ? str_after(request->pod_uid, DOCKER_COMPOSE_UID) : NULL;
	int r = buf_append_string(out, "/containers/json?all=1");

	if (r < 0 || !request->pod_uid)
		return r;
	if (project)
		return append_label_filter(out, "com.docker.compose.project", project);
	return append_label_filter(out, "io.kubernetes.pod.uid", request->pod_uid);
}

static int append_container_target(struct buf *out, const char *id, const char *rest)
{
	int r = buf_append_string(out, "/containers/");

	if (r >= 0)
		r = append_quoted(out, id);
	if (r >= 0)
		r = buf_append_string(out, rest);
	return r;
}

/* -EOPNOTSUPP: an Engine has no such thing. */
static int append_target(struct buf *out, const struct runtime_request *request)
{
	switch (request->method) {
	case RUNTIME_METHOD_VERSION: return buf_append_string(out, "/version");
	case RUNTIME_METHOD_STATUS: return buf_append_string(out, "/_ping");
	case RUNTIME_METHOD_LIST_SANDBOXES:
	case RUNTIME_METHOD_LIST_CONTAINERS: return append_list_target(out, request);
	case RUNTIME_METHOD_SANDBOX_STATUS:
	case RUNTIME_METHOD_CONTAINER_STATUS:
		return append_container_target(out, request->id, "/json");
	case RUNTIME_METHOD_START: return append_container_target(out, request->id, "/start");
	case RUNTIME_METHOD_STOP:
		return append_container_target(
			out, request->id, FMT("/stop?t=%u", request->grace_seconds));
	case RUNTIME_METHOD_REMOVE: return append_container_target(out, request->id, "");
	case RUNTIME_METHOD_RUN_SANDBOX:
	case RUNTIME_METHOD_STOP_SANDBOX:
	case RUNTIME_METHOD_REMOVE_SANDBOX:
	case RUNTIME_METHOD_CREATE:
	case RUNTIME_METHOD_IMAGE_STATUS: break;
	}
	return -EOPNOTSUPP;
}

static const char *http_method(enum runtime_method method)
{
	switch (method) {
	case RUNTIME_METHOD_START:
	case RUNTIME_METHOD_STOP: return "POST";
	case RUNTIME_METHOD_REMOVE: return "DELETE";
	case RUNTIME_METHOD_VERSION:
	case RUNTIME_METHOD_STATUS:
	case RUNTIME_METHOD_LIST_SANDBOXES:
	case RUNTIME_METHOD_LIST_CONTAINERS:
	case RUNTIME_METHOD_SANDBOX_STATUS:
	case RUNTIME_METHOD_CONTAINER_STATUS:
	case RUNTIME_METHOD_RUN_SANDBOX:
	case RUNTIME_METHOD_STOP_SANDBOX:
	case RUNTIME_METHOD_REMOVE_SANDBOX:
	case RUNTIME_METHOD_CREATE:
	case RUNTIME_METHOD_IMAGE_STATUS: break;
	}
	return "GET";
}

static size_t body_max(enum runtime_method leg)
{
	switch (leg) {
	case RUNTIME_METHOD_LIST_SANDBOXES:
	case RUNTIME_METHOD_LIST_CONTAINERS: return DOCKER_LIST_BYTES_MAX;
	case RUNTIME_METHOD_SANDBOX_STATUS:
	case RUNTIME_METHOD_CONTAINER_STATUS: return DOCKER_INSPECT_BYTES_MAX;
	case RUNTIME_METHOD_STATUS: return DOCKER_PING_BYTES_MAX;
	case RUNTIME_METHOD_VERSION:
	case RUNTIME_METHOD_RUN_SANDBOX:
	case RUNTIME_METHOD_STOP_SANDBOX:
	case RUNTIME_METHOD_REMOVE_SANDBOX:
	case RUNTIME_METHOD_CREATE:
	case RUNTIME_METHOD_START:
	case RUNTIME_METHOD_STOP:
	case RUNTIME_METHOD_REMOVE:
	case RUNTIME_METHOD_IMAGE_STATUS: break;
	}
	return DOCKER_VERSION_BYTES_MAX;
}

/* ---- calls ---------------------------------------------------------------------------------- */

static void docker_release(struct runtime_call *call)
{
	struct docker_call *private = call->private;

	docker_body_done(&private->body);
	(void)mem_free(private);
}

/* These two are asked without a version, as nobody knows it yet. */
static bool is_versioned(enum runtime_method leg)
{
	return leg != RUNTIME_METHOD_VERSION && leg != RUNTIME_METHOD_STATUS;
}

static int docker_send(struct runtime_call *call, enum runtime_method leg)
{
	struct docker_call *private = call->private;
	struct docker *docker = private->docker;
	uint64_t left_ns = runtime_call_time_left(call);
	const char *method = http_method(leg);
	char target[DOCKER_TARGET_MAX + DOCKER_API_MAX + 4];
	int r;

	if (is_versioned(leg))
		(void)snprintf(target, sizeof(target), "/v%s%s", docker->api, private->target);
	else
		(void)snprintf(target, sizeof(target), "%s",
			leg == RUNTIME_METHOD_VERSION ? "/version" : private->target);
	docker_body_done(&private->body);
	private->body = BUF_INIT(body_max(leg));
	private->body_error = 0;
	r = http1_start(docker->loop,
		&(struct http1_request){
			.unix_path = docker->path,
			.method = method,
			.target = target,
			/* A call that is late already is told so once only. */
			.deadline_ns = call->late ? 0
				: left_ns > 0     ? left_ns
						  : 1,
			.pool = str_eq(method, "GET") ? &docker->pool : NULL,
			.callbacks = &docker_callbacks,
			.userdata = call,
		},
		&private->http, NULL);
	if (r < 0)
		return r;
	docker->connections++;
	docker->bytes_out += strlen(target);
	return 0;
}

static int docker_start(struct runtime_call *call, const struct runtime_request *request)
{
	struct docker *docker = call->runtime->private;
	struct buf target = BUF_INIT(DOCKER_TARGET_MAX);
	struct docker_call *private;
	const char *text;
	int r = append_target(&target, request);

	text = buf_string(&target);
	if (r >= 0 && !text)
		r = -ENOMEM;
	if (r >= 0 && docker->connections >= DOCKER_CONNECTIONS_MAX)
		r = -EBUSY;
	if (r < 0) {
		buf_done(&target);
		return r == -EMSGSIZE ? -ENAMETOOLONG : r;
	}
	private = mem_zalloc(sizeof(*private) + target.len + 1);
	if (!private) {
		buf_done(&target);
		return -ENOMEM;
	}
	memcpy(private->target, text, target.len + 1);
	buf_done(&target);
	private->docker = docker;
	private->wanted = request->method;
	if (request->method == RUNTIME_METHOD_LIST_SANDBOXES) {
		/* One answer has both kinds. */
		private->wanted = RUNTIME_METHOD_LIST_CONTAINERS;
		(void)snprintf(private->sandbox_id, sizeof(private->sandbox_id), "%s",
			str_or_empty(request->id));
	}
	call->private = private;
	call->leg = is_versioned(private->wanted) && docker->api[0] == '\0' ? RUNTIME_METHOD_VERSION
									    : private->wanted;
	return docker_send(call, call->leg);
}

/* Ends the leg and with it the call. */
static void docker_end(struct runtime_call *call, enum runtime_outcome outcome, const char *message,
	struct runtime_result *result)
{
	result->outcome = outcome;
	result->message = message;
	runtime_leg_end(call, outcome);
	runtime_call_done(call, result);
}

static void docker_fail(
	struct runtime_call *call, enum runtime_outcome outcome, const char *message)
{
	docker_end(call, outcome, message, &(struct runtime_result){ 0 });
}

/* ---- answers -------------------------------------------------------------------------------- */

/* Either what was asked for, or what had to be known before that can be asked. */
static void on_version(struct runtime_call *call, struct slice answer)
{
	struct docker_call *private = call->private;
	struct docker *docker = private->docker;
	struct docker_version version;
	char text[RUNTIME_MESSAGE_MAX];
	const char *trouble;
	int r = docker_decode_version(answer, &version, text, sizeof(text), &trouble);

	if (r < 0) {
		docker->api[0] = '\0';
		docker_fail(call, r == -EBADMSG ? RUNTIME_MALFORMED : RUNTIME_UNSUPPORTED, trouble);
		return;
	}
	(void)snprintf(docker->api, sizeof(docker->api), "%s", version.api);
	if (private->wanted == RUNTIME_METHOD_VERSION) {
		docker_end(call, RUNTIME_OK, "ok",
			&(struct runtime_result){ .version_name = "docker",
				.version = version.version,
				.api_version = version.api });
		return;
	}
	runtime_leg_end(call, RUNTIME_OK);
	r = docker_send(call, private->wanted);
	runtime_leg_begin(call, private->wanted);
	if (r < 0)
		docker_fail(call, RUNTIME_CANCELLED, FMT("not asked: %s", err_text(NULL, r)));
}

/* An Engine that answers is ready, and brings its network with it. */
static void on_ping(struct runtime_call *call)
{
	static const struct runtime_condition conditions[] = {
		{ "RuntimeReady", true, "", "" },
		{ "NetworkReady", true, "", "" },
	};

	docker_end(call, RUNTIME_OK, "ok",
		&(struct runtime_result){
			.conditions = conditions, .condition_count = ELEMENTS(conditions) });
}

static void on_list(struct runtime_call *call, struct slice answer)
{
	struct docker_call *private = call->private;
	struct runtime_result result = { 0 };
	struct docker_list list;
	size_t entries;

	if (docker_list_check(answer, &entries) < 0) {
		docker_fail(call, RUNTIME_MALFORMED, "the answer cannot be decoded");
		return;
	}
	docker_list_init(&list, answer, private->sandbox_id);
	result.list = &list.source;
	docker_end(call, RUNTIME_OK, "ok", &result);
	docker_list_done(&list);
}

static void on_inspect(struct runtime_call *call, struct slice answer)
{
	bool is_sandbox = call->leg == RUNTIME_METHOD_SANDBOX_STATUS;
	struct runtime_result result = { 0 };
	struct container_status status;
	const char *trouble;
	struct arena arena;
	int r;

	arena_init(&arena, DOCKER_DECODE_MAX);
	r = docker_decode_inspect(answer,
		is_sandbox ? CONTAINER_KIND_SANDBOX : CONTAINER_KIND_CONTAINER,
		runtime_call_subject(call), &arena, &status, &trouble);
	result.status = &status;
	if (r == -ENOMEM)
		docker_fail(call, RUNTIME_CANCELLED, trouble);
	else if (r < 0)
		docker_fail(call, RUNTIME_MALFORMED, trouble);
	else
		docker_end(call, RUNTIME_OK, "ok", &result);
	arena_done(&arena);
}

static void on_good_answer(struct runtime_call *call, struct slice answer)
{
	switch (call->leg) {
	case RUNTIME_METHOD_VERSION: on_version(call, answer); return;
	case RUNTIME_METHOD_STATUS: on_ping(call); return;
	case RUNTIME_METHOD_LIST_SANDBOXES:
	case RUNTIME_METHOD_LIST_CONTAINERS: on_list(call, answer); return;
	case RUNTIME_METHOD_SANDBOX_STATUS:
	case RUNTIME_METHOD_CONTAINER_STATUS: on_inspect(call, answer); return;
	case RUNTIME_METHOD_RUN_SANDBOX:
	case RUNTIME_METHOD_STOP_SANDBOX:
	case RUNTIME_METHOD_REMOVE_SANDBOX:
	case RUNTIME_METHOD_CREATE:
	case RUNTIME_METHOD_START:
	case RUNTIME_METHOD_STOP:
	case RUNTIME_METHOD_REMOVE:
	case RUNTIME_METHOD_IMAGE_STATUS: break;
	}
	docker_fail(call, RUNTIME_OK, "ok");
}

/* Errors have {"message": ...}; whatever else answers has no /version either. */
static void on_bad_answer(struct runtime_call *call, unsigned status, struct slice answer)
{
	struct docker *docker = call->runtime->private;
	enum runtime_outcome outcome = RUNTIME_ERROR;
	char said[RUNTIME_MESSAGE_MAX - 32], text[RUNTIME_MESSAGE_MAX];

	(void)docker_decode_error(answer, said, sizeof(said));
	if (call->leg == RUNTIME_METHOD_VERSION || call->leg == RUNTIME_METHOD_STATUS)
		outcome = status == 404 ? RUNTIME_UNSUPPORTED : RUNTIME_ERROR;
	else if (status == 404)
		outcome = said[0] ? RUNTIME_NOT_FOUND : RUNTIME_ERROR;
	/* "client version 1.24 is too old": the Engine is not the one that was asked. */
	if (status == 400)
		docker->api[0] = '\0';
	docker_fail(call, outcome,
		str_format(text, sizeof(text), "HTTP status %u%s%s", status, said[0] ? ": " : "",
			said));
}

/* An Engine that is there, and ended the connection inside its answer. */
static bool was_cut(const struct http1_result *result)
{
	return result->outcome == HTTP1_LOST && result->status != 0;
}

/* What a request's end says of the Engine as a whole. */
static void note_link(struct docker *docker, const struct http1_result *result)
{
	docker->connections--;
	if (result->outcome == HTTP1_ANSWERED || was_cut(result)) {
		docker->up = true;
		docker->last_failure = RUNTIME_OK;
		return;
	}
	docker->losses += docker->up;
	docker->up = false;
	docker->last_failure = docker_outcome(result->outcome);
	docker->is_denied = result->outcome == HTTP1_UNREACHABLE;
	docker->api[0] = '\0';
}

static void docker_on_done(void *userdata, const struct http1_result *result)
{
	struct runtime_call *call = userdata;
	struct docker_call *private = call->private;
	struct slice answer = { (const char *)private->body.data, private->body.len };
	char text[RUNTIME_MESSAGE_MAX];

	private->http = NULL;
	note_link(private->docker, result);
	if (was_cut(result))
		docker_fail(call, RUNTIME_MALFORMED,
			str_format(text, sizeof(text), "the answer was cut: %s", result->message));
	else if (result->outcome != HTTP1_ANSWERED)
		docker_fail(call, docker_outcome(result->outcome),
			str_format(text, sizeof(text), "%s%s", result->message,
				docker_advice(result->outcome)));
	else if (private->body_error == -EMSGSIZE)
		docker_fail(call, RUNTIME_MALFORMED,
			str_format(text, sizeof(text), "the answer is larger than %zu bytes",
				private->body.max_bytes));
	else if (private->body_error < 0)
		docker_fail(call, RUNTIME_CANCELLED, "out of memory for the answer");
	/* 304: it is so already. */
	else if ((result->status >= 200 && result->status < 300) || result->status == 304)
		on_good_answer(call, answer);
	else
		on_bad_answer(call, result->status, answer);
}

static void docker_on_late(void *userdata)
{
	runtime_call_late(userdata);
}

static void docker_on_body(void *userdata, unsigned status, const uint8_t *data, size_t len)
{
	struct runtime_call *call = userdata;
	struct docker_call *private = call->private;

	private->docker->bytes_in += len;
	/* What is over the maximum is read to its end and dropped: the Engine is not disturbed. */
	if (private->body_error == 0)
	private->body_error = docker_body_append(&private->body, data, len);
	if (private->body_error < 0) {
		size_t max = private->body.max_bytes;

		docker_body_done(&private->body);
		private->body = BUF_INIT(max);
	}
}

static const struct http1_callbacks docker_callbacks = {
	.on_done = docker_on_done,
	.on_late = docker_on_late,
	.on_body = docker_on_body,
};

/* ---- the object ----------------------------------------------------------------------------- */

static void docker_link(const struct runtime *runtime, struct runtime_link *ret)
{
	const struct docker *docker = runtime->private;

	ret->up = docker->up;
	ret->last_failure = docker->last_failure;
	ret->denied = !ret->up && docker->is_denied;
	ret->connects = docker->pool.dials;
	ret->losses = docker->losses;
	ret->bytes_in = docker->bytes_in;
	ret->bytes_out = docker->bytes_out;
}

static struct docker *docker_free(struct docker *docker)
{
	if (!docker)
		return NULL;
	http1_pool_done(&docker->pool);
	docker->loop = sd_event_unref(docker->loop);
	docker->path = mem_free(docker->path);
	return mem_free(docker);
}

DEFINE_FREEP(struct docker *, docker_free)

static void docker_close(struct runtime *runtime)
{
	struct runtime_call *call;

	while ((call = runtime->oldest) != NULL) {
		struct docker_call *private = call->private;

		private->http = http1_cancel(private->http);
		docker_fail(call, RUNTIME_CANCELLED, "the runtime is closed");
	}
	runtime->private = docker_free(runtime->private);
}

static const struct runtime_ops docker_ops = {
	.kind = RUNTIME_DOCKER,
	.start = docker_start,
	.release = docker_release,
	.link = docker_link,
	.close = docker_close,
};

int runtime_open_docker(
	sd_event *loop, const char *endpoint, struct runtime **ret, struct err *reterr)
{
	CLEAN(docker_freep) struct docker *docker = mem_zalloc(sizeof(*docker));
	const char *path = remote_path(endpoint);
	struct dial_address address;
	int r;

	if (!path)
		return err_set(reterr, -EINVAL,
			"Runtime endpoint '%s' is not of the form unix:///path/of.sock", endpoint);
	r = dial_address_unix(&address, path, reterr);
	if (r < 0)
		return r;
	if (!docker)
		return err_set(reterr, -ENOMEM, "Out of memory for a runtime");
	docker->loop = sd_event_ref(loop);
	docker->path = mem_strdup(path);
	r = docker->path ? runtime_new(&docker_ops, endpoint, ret) : -ENOMEM;
	if (r < 0)
		return err_set(reterr, r, "Out of memory for a runtime");
	(*ret)->private = TAKE_PTR(docker);
	return 0;
}
