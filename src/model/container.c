#include "model/container.h"

#include "base/mem.h"

const char *container_kind_text(enum container_kind kind)
{
	switch (kind) {
	case CONTAINER_KIND_CONTAINER: return "container";
	case CONTAINER_KIND_SANDBOX: return "sandbox";
	}
	return "invalid";
}

const char *container_state_text(enum container_state state)
{
	switch (state) {
	case CONTAINER_GONE: return "gone";
	case CONTAINER_CREATED: return "created";
	case CONTAINER_RUNNING: return "running";
	case CONTAINER_EXITED: return "exited";
	case CONTAINER_UNKNOWN: return "unknown";
	}
	return "invalid";
}

const char *container_detail_text(enum container_detail detail)
{
	switch (detail) {
	case CONTAINER_PLAIN: return "";
	case CONTAINER_PAUSED: return "paused";
	case CONTAINER_RESTARTING: return "restarting";
	case CONTAINER_REMOVING: return "removing";
	case CONTAINER_DEAD: return "dead";
	}
	return "invalid";
}

struct container_status *container_status_copy(const struct container_status *status)
{
	size_t ip_count =
		status->ip_count < CONTAINER_IPS_MAX ? status->ip_count : CONTAINER_IPS_MAX;
	size_t size = sizeof(*status) + ip_count * sizeof(char *) +
		strlen(str_or_empty(status->id)) + strlen(str_or_empty(status->reason)) +
		strlen(str_or_empty(status->message)) + strlen(str_or_empty(status->image)) + 4;
	struct container_status *copy;
	const char **ips;
	char *at;

	for (size_t i = 0; i < ip_count; i++)
		size += strlen(status->ips[i]) + 1;
	copy = mem_alloc(size);
	if (!copy)
		return NULL;
	*copy = *status;
	ips = (const char **)(copy + 1);
	at = (char *)(ips + ip_count);
	for (size_t i = 0; i < ip_count; i++)
		ips[i] = str_put(&at, status->ips[i]);
	copy->ips = ips;
	copy->ip_count = ip_count;
	copy->id = str_put(&at, status->id);
	copy->reason = str_put(&at, status->reason);
	copy->message = str_put(&at, status->message);
	copy->image = str_put(&at, status->image);
	return copy;
}
