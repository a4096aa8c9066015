#include "kube/seen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/str.h"

struct seen_node {
	struct reporter_node view;
	struct taint_seen taints[SEEN_TAINTS_MAX];
	char *texts[SEEN_TAINTS_MAX]; /* jansson's */
	json_t *root;
};

static const char *text_of(const json_t *object, const char *key)
{
	return str_or_empty(json_string_value(json_object_get(object, key)));
}

static int load(const void *text, size_t len, json_t **ret, struct err *reterr)
{
	json_error_t error;
	json_t *root;

	if (len > SEEN_BYTES_MAX)
		return err_set(reterr, -EMSGSIZE, "The object has over %u bytes", SEEN_BYTES_MAX);
	root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	if (!root)
		return err_set(reterr, -EBADMSG, "Not JSON: line %d: %s", error.line, error.text);
	if (!json_is_object(json_object_get(root, "metadata"))) {
		json_decref(root);
		return err_set(reterr, -EBADMSG, "The object has no metadata");
	}
	*ret = root;
	return 0;
}

/* An absent or unreadable time is none: it is not adopted. */
static int64_t time_of(const json_t *object, const char *key)
{
	int64_t ns = 0;

	return time_parse_rfc3339(text_of(object, key), &ns) < 0 ? 0 : ns;
}

static enum condition_status status_of(const char *text)
{
	if (str_eq(text, "True"))
		return CONDITION_TRUE;
	return str_eq(text, "False") ? CONDITION_FALSE : CONDITION_UNKNOWN;
}

static void take_conditions(struct seen_node *node)
{
	const json_t *list = json_object_get(json_object_get(node->root, "status"), "conditions");

	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *one = json_array_get(list, i);
		enum condition_type type;

		if (condition_type_parse(text_of(one, "type"), &type) < 0)
			continue;
		node->view.conditions[type] = (struct condition_seen){
			.status = status_of(text_of(one, "status")),
			.transition_ns = time_of(one, "lastTransitionTime"),
			.heartbeat_ns = time_of(one, "lastHeartbeatTime"),
			.reason = text_of(one, "reason"),
			.message = text_of(one, "message"),
		};
	}
}

/* All or nothing: a list of which something is left out must not be written back. */
static int take_taints(struct seen_node *node, struct err *reterr)
{
	const json_t *list = json_object_get(json_object_get(node->root, "spec"), "taints");
	size_t count = json_array_size(list);

	node->view.taint = (struct taint_node){ "", node->taints, 0 };
	if (count > SEEN_TAINTS_MAX || (list && !json_is_array(list) && !json_is_null(list)))
		return 0; /* Without a resourceVersion no patch is made. */
	for (size_t i = 0; i < count; i++) {
		const json_t *one = json_array_get(list, i);

		node->texts[i] = json_dumps(one, JSON_COMPACT | JSON_ENCODE_ANY);
		if (!node->texts[i])
			return err_set(reterr, -ENOMEM, "Out of memory");
		node->taints[i] = (struct taint_seen){ text_of(one, "key"), text_of(one, "value"),
			text_of(one, "effect"), node->texts[i] };
	}
	node->view.taint.taint_count = count;
	node->view.taint.resource_version =
		text_of(json_object_get(node->root, "metadata"), "resourceVersion");
	return 0;
}

int seen_node_parse(const void *text, size_t len, struct seen_node **ret, struct err *reterr)
{
	CLEAN(seen_node_freep) struct seen_node *node = mem_zalloc(sizeof(*node));
	int r;

	if (!node)
		return err_set(reterr, -ENOMEM, "Out of memory");
	r = load(text, len, &node->root, reterr);
	if (r < 0)
		return r;
	if (!str_eq(text_of(node->root, "kind"), "Node"))
		return err_set(reterr, -EBADMSG, "The object is no Node");
	take_conditions(node);
	r = take_taints(node, reterr);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(node);
	return 0;
}

struct seen_node *seen_node_free(struct seen_node *node)
{
	if (!node)
		return NULL;
	for (size_t i = 0; i < SEEN_TAINTS_MAX; i++)
		free(node->texts[i]); /* allowed: jansson's own */
	json_decref(node->root);
	return mem_free(node);
}

const struct reporter_node *seen_node_view(const struct seen_node *node)
{
	return &node->view;
}

int seen_event_parse(const void *text, size_t len, uint32_t *ret_count, int64_t *ret_first_ns,
	struct err *reterr)
{
	json_int_t count;
	json_t *root;
	int r = load(text, len, &root, reterr);

	if (r < 0)
		return r;
	count = json_integer_value(json_object_get(root, "count"));
	*ret_count = count < 1 ? 1 : count > INT32_MAX ? INT32_MAX : (uint32_t)count;
	*ret_first_ns = time_of(root, "firstTimestamp");
	json_decref(root);
	return 0;
}

const char *seen_status_message(const void *text, size_t len, char *out, size_t size)
{
	json_t *root = len > SEEN_BYTES_MAX ? NULL : json_loadb(text, len, 0, NULL);
	const char *message = "";

	if (str_eq(text_of(root, "kind"), "Status"))
		message = text_of(root, "message");
	(void)str_clean(out, size, message, strlen(message));
	json_decref(root);
	return out;
}
