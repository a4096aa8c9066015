#include "drain/volumes.h"

#include <errno.h>
#include <stdio.h>

#include "base/str.h"
#include "drain/command.h"
#include "kube/object.h"

#define UNIQUE_NAME_MAX 1024

/* Kinds that are attached to no node: nothing of them stands in volumesInUse. */
static const char *const unattached[] = { "emptyDir", "secret", "configMap", "projected",
	"downwardAPI", "hostPath", "nfs", "csi", "image", "gitRepo", "cephfs", "glusterfs",
	"local" };

static bool is_unattached(const json_t *source)
{
	for (size_t i = 0; i < ELEMENTS(unattached); i++)
		if (json_object_get(source, unattached[i]))
			return true;
	return false;
}

static bool is_listed(const json_t *in_use, const char *name)
{
	for (size_t i = 0; i < json_array_size(in_use); i++) {
		const char *one = json_string_value(json_array_get(in_use, i));

		if (one && str_eq(one, name))
			return true;
	}
	return false;
}

/* The volume behind a bound claim, owned. */
static int ask_volume(struct command *command, const char *ns, const char *claim_name, json_t **ret,
	struct err *err)
{
	json_t *claim = NULL;
	const char *name;
	int r = command_ask(command,
		&(struct kube_request){ .path = str_format((char[640]){ 0 }, 640,
						"/api/v1/namespaces/%s/persistentvolumeclaims/%s",
						ns, claim_name) },
		&claim, err);

	if (r < 0)
		return r;
	name = kube_string(claim, "spec.volumeName");
	if (!name || name[0] == '\0')
		r = err_set(err, -ENOENT, "it is bound to no volume");
	else
		r = command_ask(command,
			&(struct kube_request){ .path = str_format((char[320]){ 0 }, 320,
							"/api/v1/persistentvolumes/%s", name) },
			ret, err);
	json_decref(claim);
	return r;
}

static bool is_claim_in_use(struct command *command, const json_t *in_use, const char *ns,
	const char *claim, char *text, size_t size)
{
	char unique[UNIQUE_NAME_MAX];
	const char *driver, *handle;
	json_t *volume = NULL;
	struct err err = { 0 };
	bool used = true;
	int r = ask_volume(command, ns, claim, &volume, &err);

	if (r < 0) {
		(void)snprintf(text, size, "what is behind its claim %s cannot be known: %s", claim,
			err_text(&err, r));
		return true;
	}
	driver = kube_string(volume, "spec.csi.driver");
	handle = kube_string(volume, "spec.csi.volumeHandle");
	if (driver && handle) {
		/* How the kubelet names a CSI volume in its node's status. */
		(void)snprintf(unique, sizeof(unique), "kubernetes.io/csi/%s^%s", driver, handle);
		used = is_listed(in_use, unique);
		(void)snprintf(text, size, "volume %s of its claim %s is in use on the node",
			str_or_empty(kube_name(volume)), claim);
	} else {
		used = !is_unattached(kube_field(volume, "spec"));
		(void)snprintf(text, size,
			"whether volume %s of its claim %s is in use on the node cannot be known",
			str_or_empty(kube_name(volume)), claim);
	}
	json_decref(volume);
	return used;
}

static bool is_in_use(struct command *command, const json_t *in_use, const json_t *pod,
	const json_t *volume, char *text, size_t size)
{
	const json_t *claim = json_object_get(volume, "persistentVolumeClaim");
	const char *name = str_or_empty(kube_string(volume, "name"));
	char made[320];

	if (claim && json_is_true(json_object_get(claim, "readOnly")))
		return false;
	if (claim)
		return is_claim_in_use(command, in_use, kube_namespace(pod),
			str_or_empty(kube_string(claim, "claimName")), text, size);
	if (json_object_get(volume, "ephemeral")) {
		(void)snprintf(made, sizeof(made), "%s-%s", kube_name(pod), name);
		return is_claim_in_use(command, in_use, kube_namespace(pod), made, text, size);
	}
	(void)snprintf(text, size,
		"whether its volume %s is in use on the node cannot be known from its kind", name);
	return !is_unattached(volume);
}

bool volumes_in_use(struct command *command, const json_t *pod, char *text, size_t size)
{
	const json_t *volumes = kube_field(pod, "spec.volumes"), *in_use;
	struct err err = { 0 };
	json_t *node = NULL;
	bool used = false;
	int r = command_node(command, &node, &err);

	if (r < 0) {
		(void)snprintf(text, size, "the node's volumes in use cannot be known: %s",
			err_text(&err, r));
		return true;
	}
	in_use = kube_field(node, "status.volumesInUse");
	for (size_t i = 0; i < json_array_size(volumes) && json_array_size(in_use) > 0 && !used;
		i++)
		used = is_in_use(command, in_use, pod, json_array_get(volumes, i), text, size);
	json_decref(node);
	return used;
}
