#include <errno.h>

#include "base/mem.h"
#include "cri.pb-c.h"
#include "runtime/cri-message.h"

static const ProtobufCMessageDescriptor *answer_descriptor(enum runtime_method leg)
{
	switch (leg) {
	case RUNTIME_METHOD_VERSION: return &runtime__v1__version_response__descriptor;
	case RUNTIME_METHOD_STATUS: return &runtime__v1__status_response__descriptor;
	case RUNTIME_METHOD_SANDBOX_STATUS:
		return &runtime__v1__pod_sandbox_status_response__descriptor;
	case RUNTIME_METHOD_CONTAINER_STATUS:
		return &runtime__v1__container_status_response__descriptor;
	case RUNTIME_METHOD_RUN_SANDBOX: return &runtime__v1__run_pod_sandbox_response__descriptor;
	case RUNTIME_METHOD_CREATE: return &runtime__v1__create_container_response__descriptor;
	case RUNTIME_METHOD_IMAGE_STATUS: return &runtime__v1__image_status_response__descriptor;
	case RUNTIME_METHOD_LIST_SANDBOXES:
	case RUNTIME_METHOD_LIST_CONTAINERS: return NULL; /* scanned, not decoded */
	case RUNTIME_METHOD_STOP_SANDBOX:
	case RUNTIME_METHOD_REMOVE_SANDBOX:
	case RUNTIME_METHOD_START:
	case RUNTIME_METHOD_STOP:
	case RUNTIME_METHOD_REMOVE: return NULL; /* nothing in it */
	}
	return NULL;
}

static int decode_status(
	const Runtime__V1__StatusResponse *answer, struct arena *arena, struct runtime_result *ret)
{
	size_t n = answer->status ? answer->status->n_conditions : 0;
	struct runtime_condition *conditions;

	if (n > RUNTIME_CONDITIONS_MAX)
		n = RUNTIME_CONDITIONS_MAX;
	conditions = arena_alloc(arena, n * sizeof(*conditions));
	if (!conditions)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const Runtime__V1__RuntimeCondition *from = answer->status->conditions[i];

		conditions[i] = (struct runtime_condition){
			.type = from->type,
			.status = from->status,
			.reason = from->reason,
			.message = from->message,
		};
	}
	ret->conditions = conditions;
	ret->condition_count = n;
	return 0;
}

static enum container_state container_state(Runtime__V1__ContainerState state)
{
	switch ((int)state) {
	case RUNTIME__V1__CONTAINER_STATE__CONTAINER_CREATED: return CONTAINER_CREATED;
	case RUNTIME__V1__CONTAINER_STATE__CONTAINER_RUNNING: return CONTAINER_RUNNING;
	case RUNTIME__V1__CONTAINER_STATE__CONTAINER_EXITED: return CONTAINER_EXITED;
	}
	return CONTAINER_UNKNOWN;
}

static enum container_state sandbox_state(Runtime__V1__PodSandboxState state)
{
	switch ((int)state) {
	case RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_READY: return CONTAINER_RUNNING;
	case RUNTIME__V1__POD_SANDBOX_STATE__SANDBOX_NOTREADY: return CONTAINER_EXITED;
	}
	return CONTAINER_UNKNOWN;
}

/* Runtimes take the beginning of an id for the id; an answer about another one is none. */
static bool is_about(const char *id, const char *subject, const char **ret_trouble)
{
	if (id[0] == '\0')
		*ret_trouble = "the answer has no id";
	else if (!str_after(id, subject))
		*ret_trouble = "the answer is about another id";
	else
		return true;
	return false;
}

static int decode_container(const Runtime__V1__ContainerStatusResponse *answer, const char *subject,
	struct arena *arena, struct runtime_result *ret, const char **ret_trouble)
{
	const Runtime__V1__ContainerStatus *from = answer->status;
	struct container_status *status;

	if (!from) {
		*ret_trouble = "the answer has no status";
		return -EBADMSG;
	}
	if (!is_about(from->id, subject, ret_trouble))
		return -EBADMSG;
	status = arena_alloc(arena, sizeof(*status));
	if (!status)
		return -ENOMEM;
	*status = (struct container_status){
		.kind = CONTAINER_KIND_CONTAINER,
		.state = container_state(from->state),
		.id = from->id,
		.created_at_ns = from->created_at,
		.started_at_ns = from->started_at,
		.finished_at_ns = from->finished_at,
		.reason = from->reason,
		.message = from->message,
		.image =
			from->image && from->image->image[0] ? from->image->image : from->image_ref,
	};
	if (status->state == CONTAINER_EXITED) {
		status->has_exit_code = true;
		status->exit_code = from->exit_code;
	}
	ret->status = status;
	return 0;
}

static int set_ips(const Runtime__V1__PodSandboxNetworkStatus *network, struct arena *arena,
	struct container_status *ret)
{
	const char **ips = arena_alloc(arena, CONTAINER_IPS_MAX * sizeof(*ips));
	size_t n = 0;

	if (!ips)
		return -ENOMEM;
	if (network->ip[0] != '\0')
		ips[n++] = network->ip;
	for (size_t i = 0; i < network->n_additional_ips && n < CONTAINER_IPS_MAX; i++)
		if (network->additional_ips[i]->ip[0] != '\0')
			ips[n++] = network->additional_ips[i]->ip;
	ret->ips = ips;
	ret->ip_count = n;
	return 0;
}

static int decode_sandbox(const Runtime__V1__PodSandboxStatusResponse *answer, const char *subject,
	struct arena *arena, struct runtime_result *ret, const char **ret_trouble)
{
	const Runtime__V1__PodSandboxStatus *from = answer->status;
	struct container_status *status;
	int r = 0;

	if (!from) {
		*ret_trouble = "the answer has no status";
		return -EBADMSG;
	}
	if (!is_about(from->id, subject, ret_trouble))
		return -EBADMSG;
	status = arena_alloc(arena, sizeof(*status));
	if (!status)
		return -ENOMEM;
	*status = (struct container_status){
		.kind = CONTAINER_KIND_SANDBOX,
		.state = sandbox_state(from->state),
		.id = from->id,
		.created_at_ns = from->created_at,
		.reason = "",
		.message = "",
		.image = "",
	};
	if (from->network)
		r = set_ips(from->network, arena, status);
	ret->status = status;
	return r;
}

static int decode_id(const char *id, struct runtime_result *ret, const char **ret_trouble)
{
	if (id[0] == '\0') {
		*ret_trouble = "the answer has no id";
		return -EBADMSG;
	}
	ret->id = id;
	return 0;
}

static int decode_message(enum runtime_method leg, const char *subject,
	const ProtobufCMessage *message, struct arena *arena, struct runtime_result *ret,
	const char **ret_trouble)
{
	/* The base is the first member of every message. */
	const void *answer = message;

	switch (leg) {
	case RUNTIME_METHOD_VERSION: {
		const Runtime__V1__VersionResponse *version = answer;

		ret->version_name = version->runtime_name;
		ret->version = version->runtime_version;
		ret->api_version = version->runtime_api_version;
		return 0;
	}
	case RUNTIME_METHOD_STATUS: return decode_status(answer, arena, ret);
	case RUNTIME_METHOD_SANDBOX_STATUS:
		return decode_sandbox(answer, subject, arena, ret, ret_trouble);
	case RUNTIME_METHOD_CONTAINER_STATUS:
		return decode_container(answer, subject, arena, ret, ret_trouble);
	case RUNTIME_METHOD_RUN_SANDBOX: {
		const Runtime__V1__RunPodSandboxResponse *run = answer;

		return decode_id(run->pod_sandbox_id, ret, ret_trouble);
	}
	case RUNTIME_METHOD_CREATE: {
		const Runtime__V1__CreateContainerResponse *create = answer;

		return decode_id(create->container_id, ret, ret_trouble);
	}
	case RUNTIME_METHOD_IMAGE_STATUS: {
		const Runtime__V1__ImageStatusResponse *image = answer;

		ret->found = image->image && image->image->id[0] != '\0';
		if (ret->found)
			ret->id = image->image->id;
		return 0;
	}
	case RUNTIME_METHOD_LIST_SANDBOXES:
	case RUNTIME_METHOD_LIST_CONTAINERS:
	case RUNTIME_METHOD_STOP_SANDBOX:
	case RUNTIME_METHOD_REMOVE_SANDBOX:
	case RUNTIME_METHOD_START:
	case RUNTIME_METHOD_STOP:
	case RUNTIME_METHOD_REMOVE: return 0;
	}
	return 0;
}

int cri_decode(enum runtime_method leg, const char *subject, struct slice answer,
	struct arena *arena, struct runtime_result *ret, const char **ret_trouble)
{
	const ProtobufCMessageDescriptor *descriptor = answer_descriptor(leg);
	ProtobufCAllocator allocator = arena_allocator(arena);
	const ProtobufCMessage *message;
	int r;

	if (!descriptor)
		return 0;
	*ret_trouble = "the answer cannot be decoded";
	message = protobuf_c_message_unpack(
		descriptor, &allocator, answer.len, (const uint8_t *)answer.data);
	r = message ? decode_message(leg, subject, message, arena, ret, ret_trouble) : -EBADMSG;
	if (r < 0 && arena->error < 0) {
		*ret_trouble = arena->error == -EMSGSIZE
			? "the answer takes too much memory to decode"
			: "out of memory for the answer";
		return arena->error;
	}
	return r;
}
