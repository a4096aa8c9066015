#include "runtime/containerd.h"

#include <errno.h>
#include <stdio.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "base/mem.h"
#include "containerd.pb-c.h"
#include "net/grpc.h"
#include "runtime/containerd-decode.h"
#include "runtime/hint-stream.h"
#include "runtime/remote.h"

#define CONTAINERD_MESSAGE_MAX 480
#define CONTAINERD_VERSION_MAX 64

/* One open call of the tasks service. */
struct task_call {
	LIST_ENTRY(task_call) all;
	struct containerd *containerd;
	struct containerd_callbacks callbacks;
	void *userdata;
	char container_id[]; /* "" for the list */
};

struct containerd {
	struct grpc_client *client;
	struct hint_stream *stream;
	LIST_HEAD(, task_call) calls;
	size_t gets_open;
	bool is_closing;
	char namespace[CONTAINERD_NAMESPACE_MAX + 1];
	char version[CONTAINERD_VERSION_MAX];
};

/* ---- the stream ----------------------------------------------------------------------------- */

/* The topics of the events that we read, the ones that matter most first: the server tries them in
 * this order. */
static const char *const stream_topics[] = {
	"/tasks/exit",
	"/tasks/start",
	"/tasks/oom",
	"/tasks/create",
	"/tasks/delete",
	"/tasks/paused",
	"/tasks/resumed",
};

#define TOPIC_MAX       32
#define FILTER_MAX      (CONTAINERD_NAMESPACE_MAX + TOPIC_MAX + sizeof("namespace==\"\",topic==\"\""))
#define SUBSCRIBE_MAX   4096
#define GET_REQUEST_MAX 256

static enum hint_fate decode(void *owner, struct slice message, struct hint *ret)
{
	const struct containerd *c = owner;

	return containerd_decode_envelope(message, SLICE(c->namespace), ret);
}

static void on_probe(void *owner, struct slice answer)
{
	struct containerd *c = owner;

	(void)containerd_decode_version(answer, c->version, sizeof(c->version));
}

static size_t write_subscribe(const char *namespace, uint8_t out[SUBSCRIBE_MAX])
{
	Containerd__SubscribeRequest request = CONTAINERD__SUBSCRIBE_REQUEST__INIT;
	char filters[ELEMENTS(stream_topics)][FILTER_MAX];
	char *list[ELEMENTS(stream_topics)];

	for (size_t i = 0; i < ELEMENTS(stream_topics); i++) {
		(void)snprintf(filters[i], sizeof(filters[i]), "topic==\"%s\",namespace==\"%s\"",
			stream_topics[i], namespace);
		list[i] = filters[i];
	}
	request.filters = list;
	request.n_filters = ELEMENTS(list);
	_Static_assert(
		ELEMENTS(stream_topics) * (FILTER_MAX + 8) <= SUBSCRIBE_MAX, "all filters fit");
	return containerd__subscribe_request__pack(&request, out);
}

static int open_stream(sd_event *loop, struct containerd *c, const struct hint_callbacks *callbacks,
	void *userdata)
{
	uint8_t request[SUBSCRIBE_MAX];
	const struct hint_source source = {
		.path = "/containerd.services.events.v1.Events/Subscribe",
		.probe_path = "/containerd.services.version.v1.Version/Version",
		.containerd_namespace = c->namespace,
		.request = request,
		.request_len = write_subscribe(c->namespace, request),
		.absent_text = "the server is not a containerd",
		.decode = decode,
		.on_probe = on_probe,
		.owner = c,
	};

	return hint_stream_new(loop, c->client, &source, callbacks, userdata, &c->stream);
}

/* ---- tasks ---------------------------------------------------------------------------------- */

static void call_leave(struct task_call *call)
{
	LIST_REMOVE(call, all);
	if (call->container_id[0] != '\0')
		call->containerd->gets_open--;
}

static enum runtime_outcome status_outcome(const struct grpc_result *result)
{
	if (result->status == GRPC_CODE_NOT_FOUND)
		return RUNTIME_NOT_FOUND;
	if (result->status == GRPC_CODE_UNIMPLEMENTED)
		return RUNTIME_UNSUPPORTED;
	return RUNTIME_ERROR;
}

/* What the answer to `call` is; tasks and count are set with RUNTIME_OK. */
static enum runtime_outcome read_answer(const struct task_call *call,
	const struct grpc_result *result, struct containerd_result *ret, const char **ret_text)
{
	struct slice answer = { (const char *)result->body, result->body_len };
	bool is_get = call->container_id[0] != '\0';

	*ret_text = result->message;
	if (result->outcome == GRPC_STATUS)
		return status_outcome(result);
	if (result->outcome != GRPC_OK)
		return remote_outcome(result->outcome);
	if (containerd_decode_validate(answer, &ret->task_count) < 0 ||
		(is_get && ret->task_count != 1)) {
		ret->task_count = 0;
		*ret_text = "the answer cannot be decoded";
		return RUNTIME_MALFORMED;
	}
	*ret_text = "ok";
	ret->tasks = answer;
	return RUNTIME_OK;
}

static void on_call_done(void *userdata, const struct grpc_result *result)
{
	CLEAN(mem_freep) struct task_call *call = userdata;
	bool is_get = call->container_id[0] != '\0';
	char message[CONTAINERD_MESSAGE_MAX], clean[CONTAINERD_MESSAGE_MAX];
	struct containerd_result told = {
		.was_late = result->was_late,
		.elapsed_ns = result->elapsed_ns,
	};
	const char *text;

	told.outcome = read_answer(call, result, &told, &text);
	(void)str_clean(clean, sizeof(clean), text, strlen(text));
	(void)snprintf(message, sizeof(message), "Tasks/%s%s%s: %s", is_get ? "Get" : "List",
		is_get ? " of " : "", call->container_id, clean);
	told.message = message;
	call_leave(call);
	/* The same call may be started again from in here, and the object may be freed. */
	call->callbacks.on_done(call->userdata, &told);
}

static void on_call_late(void *userdata)
{
	struct task_call *call = userdata;

	if (call->callbacks.on_late)
		call->callbacks.on_late(call->userdata);
}

static const struct grpc_callbacks call_callbacks = {
	.on_done = on_call_done,
	.on_late = on_call_late,
};

static struct task_call *find_call(struct containerd *c, const char *container_id)
{
	struct task_call *call;

	LIST_FOREACH (call, &c->calls, all)
		if (str_eq(call->container_id, container_id))
			break;
	return call;
}

static int call_start(struct task_call *call, const char *path, const void *body, size_t body_len,
	uint64_t timeout_ns)
{
	return grpc_call_start(call->containerd->client,
		&(struct grpc_request){
			.path = path,
			.body = body,
			.body_len = body_len,
			.callbacks = &call_callbacks,
			.userdata = call,
			.deadline_ns = timeout_ns,
			.containerd_namespace = call->containerd->namespace,
		},
		NULL);
}

/* `body` is the request; the id is "" for the list. */
static int call_begin(struct containerd *c, const char *container_id, const void *body,
	size_t body_len, const struct containerd_callbacks *callbacks, void *userdata,
	uint64_t timeout_ns)
{
	bool is_get = container_id[0] != '\0';
	CLEAN(mem_freep) struct task_call *call = NULL;
	int r;

	if (c->is_closing)
		return -ESHUTDOWN;
	if (timeout_ns == 0)
		return -EINVAL;
	if (find_call(c, container_id))
		return -EALREADY;
	if (is_get && c->gets_open >= CONTAINERD_GETS_MAX)
		return -EBUSY;
	call = mem_zalloc(sizeof(*call) + strlen(container_id) + 1);
	if (!call)
		return -ENOMEM;
	call->containerd = c;
	call->callbacks = *callbacks;
	call->userdata = userdata;
	memcpy(call->container_id, container_id, strlen(container_id));
	r = call_start(call,
		is_get ? "/containerd.services.tasks.v1.Tasks/Get"
		       : "/containerd.services.tasks.v1.Tasks/List",
		body, body_len, timeout_ns);
	if (r < 0)
		return r;
	LIST_INSERT_HEAD(&c->calls, call, all);
	c->gets_open += is_get;
	call = NULL;
	return 0;
}

int containerd_list_tasks(struct containerd *c, const struct containerd_callbacks *callbacks,
	void *userdata, uint64_t timeout_ns)
{
	return call_begin(c, "", NULL, 0, callbacks, userdata, timeout_ns);
}

int containerd_get_task(struct containerd *c, const char *container_id,
	const struct containerd_callbacks *callbacks, void *userdata, uint64_t timeout_ns)
{
	Containerd__GetRequest request = CONTAINERD__GET_REQUEST__INIT;
	uint8_t body[GET_REQUEST_MAX];

	if (!container_id || container_id[0] == '\0')
		return -EINVAL;
	if (strlen(container_id) > HINT_ID_MAX)
		return -ENAMETOOLONG;
	request.container_id = (char *)(uintptr_t)container_id;
	return call_begin(c, container_id, body, containerd__get_request__pack(&request, body),
		callbacks, userdata, timeout_ns);
}

bool containerd_next_task(struct slice *rest, struct containerd_task *ret)
{
	return containerd_decode_next(rest, ret);
}

/* ---- the object ----------------------------------------------------------------------------- */

/* Letters, digits and . _ - only: what needs no quoting in a filter. */
static bool is_namespace(const char *namespace)
{
	size_t len = strlen(namespace);

	return len > 0 && len <= CONTAINERD_NAMESPACE_MAX &&
		strspn(namespace,
			"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

DEFINE_FREEP(struct containerd *, containerd_free)

int containerd_open(sd_event *loop, const char *endpoint, const char *namespace,
	const struct hint_callbacks *callbacks, void *userdata, struct containerd **ret,
	struct err *reterr)
{
	CLEAN(containerd_freep) struct containerd *c = NULL;
	const char *path = remote_path(endpoint);
	int r;

	if (!path)
		return err_set(reterr, -EINVAL,
			"Runtime endpoint '%s' is not of the form unix:///path/of.sock", endpoint);
	if (!is_namespace(namespace))
		return err_set(reterr, -EINVAL, "'%s' is no namespace of containerd", namespace);
	c = mem_zalloc(sizeof(*c));
	if (!c)
		return err_set(reterr, -ENOMEM, "Out of memory for a runtime's events");
	LIST_INIT(&c->calls);
	memcpy(c->namespace, namespace, strlen(namespace));
	r = grpc_client_new(loop, path, &c->client, reterr);
	if (r < 0)
		return r;
	r = open_stream(loop, c, callbacks, userdata);
	if (r < 0)
		return err_set(reterr, r, "Out of memory for a runtime's events");
	*ret = TAKE_PTR(c);
	return 0;
}

struct containerd *containerd_free(struct containerd *c)
{
	if (!c || c->is_closing)
		return NULL;
	c->is_closing = true;
	if (c->stream)
		hint_stream_close(c->stream);
	c->client = grpc_client_free(c->client);
	c->stream = hint_stream_free(c->stream);
	return mem_free(c);
}

void containerd_statistics(const struct containerd *c, struct hint_statistics *ret)
{
	hint_stream_statistics(c->stream, ret);
}

const char *containerd_version(const struct containerd *c)
{
	return c->version;
}
