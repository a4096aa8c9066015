/* Whose pods are: what an agent has from the API server, put into documents that were made without it. */
#include "base/str.h"
#include "cli/cli.h"

#define AGENT_TIMEOUT_MS 1500
#define NAME_MAX_BYTES   600u

static const char *text_of(const json_t *object, const char *key)
{
	return str_or_empty(json_string_value(json_object_get(object, key)));
}

/* "namespace/pod", or "" where there is none. */
static const char *pod_name(char out[NAME_MAX_BYTES], const json_t *object)
{
	const char *pod = text_of(object, "pod");

	return *pod ? str_format(out, NAME_MAX_BYTES, "%s/%s", text_of(object, "namespace"), pod)
		    : "";
}

/* By the containers' ids, and by names for what has no id. Keys and values are the pods'. */
static void note_pod(json_t *owners, const json_t *pod)
{
	json_t *owner = json_object_get(pod, "owner"), *container;
	char name[NAME_MAX_BYTES];
	size_t i;

	if (!json_is_string(owner) || !*pod_name(name, pod))
		return;
	(void)json_object_set(owners, name, owner);
	json_array_foreach (json_object_get(pod, "containers"), i, container)
		(void)json_object_set(owners, text_of(container, "containerID"), owner);
}

/* Every object that has room for an owner and says whom it is about. */
static void fill(json_t *value, const json_t *owners)
{
	char name[NAME_MAX_BYTES];
	const char *id;
	json_t *child, *owner;
	const char *key;
	size_t i;

	if (json_is_null(json_object_get(value, "owner"))) {
		id = text_of(value, "containerID");
		owner = json_object_get(owners, id);
		if (!owner)
			owner = json_object_get(owners, pod_name(name, value));
		if (owner)
			(void)json_object_set(value, "owner", owner);
	}
	json_object_foreach (value, key, child)
		fill(child, owners);
	json_array_foreach (value, i, child)
		fill(child, owners);
}

void cli_add_owners(const struct cli *cli, json_t *document)
{
	const struct control_client_options options = { .path = cli->socket_path,
		.timeout_ms = AGENT_TIMEOUT_MS };
	const struct control_request request = CONTROL_REQUEST_INIT(CONTROL_PODS);
	json_t *answer = NULL, *owners = json_object(), *pod;
	size_t i;

	if (owners && !cli->agent_is_silent &&
		control_ask(&options, &request, &answer, NULL, NULL) >= 0) {
		json_array_foreach (json_object_get(answer, "pods"), i, pod)
			note_pod(owners, pod);
		if (json_object_size(owners) > 0)
			fill(document, owners);
	}
	json_decref(answer);
	json_decref(owners);
}
