#include "runtime/shim.h"

#include <errno.h>
#include <stdio.h>
#include <sys/queue.h>

#include <jansson.h>

#include "net/ttrpc-call.h"
#include "net/wire.h"
#include "runtime/containerd-decode.h"
#include "runtime/hint-stream.h"
#include "ttrpc.pb-c.h"

#define SHIM_MESSAGE_MAX  640
#define SHIM_ANSWER_MAX   16384
#define SHIM_REQUEST_MAX  256
#define SHIM_VERSION_LAST 3

/* grpc-status of a task that the shim does not know. */
#define STATUS_NOT_FOUND 5

struct shim_call {
	LIST_ENTRY(shim_call) all;
	struct shim_client *client;
	struct ttrpc_call *ttrpc;
	enum shim_method method;
	struct shim_callbacks callbacks;
	void *userdata;
	bool is_late;
	char address[SHIM_ADDRESS_MAX];
};

struct shim_client {
	sd_event *loop;
	LIST_HEAD(, shim_call) calls;
	unsigned open, late;
};

/* ---- where it is ---------------------------------------------------------------------------- */

static int set_address(struct slice text, unsigned version, struct shim_address *ret)
{
	if (text.len == 0 || text.len >= sizeof(ret->text) ||
		!str_is_printable(text.data, text.len))
		return -EBADMSG;
	*ret = (struct shim_address){ .version = version };
	memcpy(ret->text, text.data, text.len);
	return 0;
}

int shim_parse_address(const char *text, size_t len, struct shim_address *ret)
{
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ' '))
		len--;
	return set_address((struct slice){ text, len }, 2, ret);
}

static int read_bootstrap(const json_t *document, struct shim_address *ret)
{
	const json_t *address = json_object_get(document, "address");
	const json_t *protocol = json_object_get(document, "protocol");
	json_int_t version = json_integer_value(json_object_get(document, "version"));

	if (!json_is_string(address))
		return -EBADMSG;
	if (protocol && !str_eq(str_or_empty(json_string_value(protocol)), "ttrpc"))
		return -EPROTONOSUPPORT;
	if (version < 2 || version > SHIM_VERSION_LAST)
		return -EPROTONOSUPPORT;
	return set_address(
		(struct slice){ json_string_value(address), json_string_length(address) },
		(unsigned)version, ret);
}

int shim_parse_bootstrap(const char *text, size_t len, struct shim_address *ret)
{
	json_t *document = json_loadb(text, len, 0, NULL);
	int r = read_bootstrap(document, ret);

	json_decref(document);
	return r;
}

/* What a path's last part is; *ret_before is where the part begins. */
static struct slice last_part(const char *path, size_t len, size_t *ret_before)
{
	size_t at = len;

	while (at > 0 && path[at - 1] != '/')
		at--;
	*ret_before = at;
	return (struct slice){ path + at, len - at };
}

int shim_bundle(const char *shim_cwd, const char *id, char bundle[SHIM_BUNDLE_MAX],
	char namespace[CONTAINERD_NAMESPACE_MAX + 1])
{
	size_t len = strlen(shim_cwd), before, ns_before;
	struct slice own = last_part(shim_cwd, len, &before), ns;
	char out[SHIM_BUNDLE_MAX];

	if (shim_cwd[0] != '/' || own.len == 0 || before < 2)
		return -EINVAL;
	if (id[0] == '\0' || id[0] == '.' || strchr(id, '/'))
		return -EINVAL;
	ns = last_part(shim_cwd, before - 1, &ns_before);
	if (ns.len == 0 || ns.len > CONTAINERD_NAMESPACE_MAX || ns_before < 2)
		return -EINVAL;
	if ((size_t)snprintf(out, sizeof(out), "%.*s%s", (int)before, shim_cwd, id) >= sizeof(out))
		return -ENAMETOOLONG;
	memcpy(bundle, out, sizeof(out));
	memcpy(namespace, ns.data, ns.len);
	namespace[ns.len] = '\0';
	return 0;
}

/* ---- answers -------------------------------------------------------------------------------- */

static int32_t pid_of(uint64_t value)
{
	return value <= INT32_MAX ? (int32_t)value : 0;
}

enum {
	STATE_ID = 1,
	STATE_BUNDLE = 2,
	STATE_PID = 3,
	STATE_STATUS = 4,
	STATE_EXIT_STATUS = 9,
};

static bool take_state_field(const struct field *field, struct shim_task *out)
{
	enum wire_type wire = field->number <= STATE_BUNDLE ? WIRE_BYTES : WIRE_VARINT;
	struct slice text;

	switch (field->number) {
	case STATE_ID:
	case STATE_BUNDLE:
	case STATE_PID:
	case STATE_STATUS:
	case STATE_EXIT_STATUS:
		if (field->wire != wire)
			return false;
		break;
	default: return true;
	}
	text = slice_of(field->data);
	switch (field->number) {
	case STATE_ID: return text.len == 0 || hint_id_copy(text, out->id);
	case STATE_BUNDLE:
		(void)str_clean(out->bundle, sizeof(out->bundle), text.data, text.len);
		return true;
	case STATE_PID: out->pid = pid_of(field->value); return true;
	case STATE_STATUS: out->status = containerd_decode_status(field->value); return true;
	default:
		out->exit_code = (int32_t)(field->value & INT32_MAX);
		out->has_exit_code = field->value <= INT32_MAX;
		return true;
	}
}

int shim_decode_state(struct slice answer, struct shim_task *ret)
{
	struct scan s = scan_of(answer);
	struct shim_task out = { .has_exit_code = true }; /* proto3 leaves a 0 out */
	struct field field;

	while (s.at < s.end)
		if (!scan_field(&s, &field) || !take_state_field(&field, &out))
			return -EBADMSG;
	out.has_exit_code = out.has_exit_code && out.status == CONTAINERD_STOPPED;
	*ret = out;
	return 0;
}

int shim_decode_connect(struct slice answer, struct shim_task *ret)
{
	struct scan s = scan_of(answer);
	struct shim_task out = { 0 };
	struct field field;

	while (s.at < s.end) {
		if (!scan_field(&s, &field))
			return -EBADMSG;
		if (field.number <= 2 && field.wire != WIRE_VARINT)
			return -EBADMSG;
		if (field.number == 1)
			out.shim_pid = pid_of(field.value);
		else if (field.number == 2)
			out.pid = pid_of(field.value);
	}
	*ret = out;
	return 0;
}

static enum evidence_answer answer_of(const struct ttrpc_result *result)
{
	switch (result->outcome) {
	case TTRPC_ANSWERED:
		if (result->status == 0)
			return ANSWER_OK;
		return result->status == STATUS_NOT_FOUND ? ANSWER_NOT_FOUND : ANSWER_ERROR;
	case TTRPC_NO_SOCKET: return ANSWER_NO_SOCKET;
	case TTRPC_REFUSED:
	case TTRPC_UNREACHABLE: return ANSWER_REFUSED;
	case TTRPC_SILENT:
	case TTRPC_LOST: return ANSWER_ERROR;
	case TTRPC_GARBAGE: return ANSWER_GARBAGE;
	}
	return ANSWER_ERROR;
}

/* ---- calls ---------------------------------------------------------------------------------- */

static void call_leave(struct shim_call *call)
{
	LIST_REMOVE(call, all);
	call->client->open--;
	call->client->late -= call->is_late;
}

static void on_done(void *userdata, const struct ttrpc_result *result)
{
	CLEAN(mem_freep) struct shim_call *call = userdata;
	struct shim_task task;
	char message[SHIM_MESSAGE_MAX];
	struct shim_result told = {
		.answer = answer_of(result),
		.elapsed_ns = result->elapsed_ns,
		.was_late = result->was_late,
		.message = message,
	};
	const char *text = told.answer == ANSWER_OK ? "ok" : result->message;
	int r = 0;

	if (told.answer == ANSWER_OK)
		r = call->method == SHIM_STATE ? shim_decode_state(result->body, &task)
					       : shim_decode_connect(result->body, &task);
	if (r < 0) {
		told.answer = ANSWER_GARBAGE;
		text = "The answer cannot be decoded";
	} else if (told.answer == ANSWER_OK) {
		told.task = &task;
	}
	(void)snprintf(message, sizeof(message), "%s: %s",
		call->method == SHIM_STATE ? "State" : "Connect", text);
	call_leave(call);
	/* The same address may be asked again from in here. */
	call->callbacks.on_done(call->userdata, &told);
}

static void on_late(void *userdata)
{
	struct shim_call *call = userdata;

	call->is_late = true;
	call->client->late++;
	if (call->callbacks.on_late)
		call->callbacks.on_late(call->userdata);
}

static const struct ttrpc_callbacks call_callbacks = {
	.on_done = on_done,
	.on_late = on_late,
};

static bool has_call(const struct shim_client *client, const char *address)
{
	const struct shim_call *call;

	LIST_FOREACH (call, &client->calls, all)
		if (str_eq(call->address, address))
			return true;
	return false;
}

static size_t write_request(enum shim_method method, const char *id, uint8_t out[SHIM_REQUEST_MAX])
{
	Ttrpc__StateRequest state = TTRPC__STATE_REQUEST__INIT;
	Ttrpc__ConnectRequest connect = TTRPC__CONNECT_REQUEST__INIT;

	/* protobuf-c has no const; it only reads. */
	state.id = connect.id = (char *)(uintptr_t)id;
	return method == SHIM_STATE ? ttrpc__state_request__pack(&state, out)
				    : ttrpc__connect_request__pack(&connect, out);
}

static int call_start(struct shim_call *call, unsigned version, const char *namespace,
	const char *id, uint64_t timeout_ns)
{
	uint8_t body[SHIM_REQUEST_MAX];
	const struct ttrpc_call_request request = {
		.address = call->address,
		.service = version == 3 ? "containerd.task.v3.Task" : "containerd.task.v2.Task",
		.method = call->method == SHIM_STATE ? "State" : "Connect",
		.body = body,
		.body_len = write_request(call->method, id, body),
		.key = "containerd-namespace-ttrpc",
		.value = namespace,
		.max_answer_bytes = SHIM_ANSWER_MAX,
		.deadline_ns = timeout_ns,
		.callbacks = &call_callbacks,
		.userdata = call,
	};

	return ttrpc_call_start(call->client->loop, &request, &call->ttrpc, NULL);
}

int shim_client_ask(struct shim_client *client, enum shim_method method,
	const struct shim_address *address, const char *namespace, const char *container_id,
	uint64_t timeout_ns, const struct shim_callbacks *callbacks, void *userdata)
{
	CLEAN(mem_freep) struct shim_call *call = NULL;
	int r;

	if (container_id[0] == '\0' || timeout_ns == 0 || address->version < 2 ||
		address->version > SHIM_VERSION_LAST)
		return -EINVAL;
	if (strlen(container_id) > HINT_ID_MAX || strlen(namespace) > CONTAINERD_NAMESPACE_MAX)
		return -ENAMETOOLONG;
	if (has_call(client, address->text))
		return -EALREADY;
	if (client->open >= SHIM_CALLS_MAX)
		return -EBUSY;
	call = mem_zalloc(sizeof(*call));
	if (!call)
		return -ENOMEM;
	call->client = client;
	call->method = method;
	call->callbacks = *callbacks;
	call->userdata = userdata;
	memcpy(call->address, address->text, sizeof(call->address));
	r = call_start(call, address->version, namespace, container_id, timeout_ns);
	if (r < 0)
		return r;
	LIST_INSERT_HEAD(&client->calls, call, all);
	client->open++;
	call = NULL;
	return 0;
}

/* ---- the object ----------------------------------------------------------------------------- */

int shim_client_new(sd_event *loop, struct shim_client **ret)
{
	struct shim_client *client = mem_zalloc(sizeof(*client));

	if (!client)
		return -ENOMEM;
	LIST_INIT(&client->calls);
	client->loop = sd_event_ref(loop);
	*ret = client;
	return 0;
}

struct shim_client *shim_client_free(struct shim_client *client)
{
	struct shim_call *call;

	if (!client)
		return NULL;
	while ((call = LIST_FIRST(&client->calls)) != NULL) {
		LIST_REMOVE(call, all);
		call->ttrpc = ttrpc_call_cancel(call->ttrpc);
		(void)mem_free(call);
	}
	client->loop = sd_event_unref(client->loop);
	return mem_free(client);
}

void shim_client_count(const struct shim_client *client, unsigned *ret_open, unsigned *ret_late)
{
	*ret_open = client->open;
	*ret_late = client->late;
}
