#include "kube/object.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/time.h"

const json_t *kube_field(const json_t *object, const char *path)
{
	while (object && path) {
		const char *dot = strchr(path, '.');
		size_t len = dot ? (size_t)(dot - path) : strlen(path);
		char key[64];

		if (len >= sizeof(key))
			return NULL;
		memcpy(key, path, len);
		key[len] = '\0';
		object = json_object_get(object, key); /* NULL where it is no object */
		path = dot ? dot + 1 : NULL;
	}
	return object;
}

const char *kube_string(const json_t *object, const char *path)
{
	return json_string_value(kube_field(object, path));
}

const char *kube_name(const json_t *object)
{
	return kube_string(object, "metadata.name");
}

const char *kube_namespace(const json_t *object)
{
	return kube_string(object, "metadata.namespace");
}

const char *kube_uid(const json_t *object)
{
	return kube_string(object, "metadata.uid");
}

const char *kube_resource_version(const json_t *object)
{
	return kube_string(object, "metadata.resourceVersion");
}

const char *kube_annotation(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(kube_field(object, "metadata.annotations"), name));
}

const char *kube_label(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(kube_field(object, "metadata.labels"), name));
}

bool kube_is_deleting(const json_t *object)
{
	return kube_string(object, "metadata.deletionTimestamp") != NULL;
}

int64_t kube_deletion_ns(const json_t *object)
{
	const char *text = kube_string(object, "metadata.deletionTimestamp");
	int64_t ns;

	return text && time_parse_rfc3339(text, &ns) >= 0 ? ns : 0;
}

const json_t *kube_controller(const json_t *object)
{
	const json_t *owners = kube_field(object, "metadata.ownerReferences"), *owner;
	size_t i;

	json_array_foreach (owners, i, owner)
		if (json_is_true(json_object_get(owner, "controller")))
			return owner;
	return NULL;
}

size_t kube_finalizer_count(const json_t *object)
{
	return json_array_size(kube_field(object, "metadata.finalizers"));
}

const char *kube_finalizer(const json_t *object, size_t index)
{
	return json_string_value(json_array_get(kube_field(object, "metadata.finalizers"), index));
}

bool kube_status(const json_t *object, char text[KUBE_STATUS_TEXT], const char **ret_reason)
{
	const char *kind = kube_string(object, "kind"), *message, *reason;

	if (!kind || !str_eq(kind, "Status"))
		return false;
	reason = kube_string(object, "reason");
	message = kube_string(object, "message");
	if (!message || message[0] == '\0')
		message = str_or_empty(reason);
	(void)str_clean(text, KUBE_STATUS_TEXT, message, strlen(message));
	if (ret_reason)
		*ret_reason = reason;
	return true;
}

json_t *kube_parse(const char *text, size_t len)
{
	json_t *object = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);

	if (object && !json_is_object(object)) {
		json_decref(object);
		return NULL;
	}
	return object;
}
