#include <errno.h>

#include "base/mem.h"
#include "cri.pb-c.h"
#include "runtime/cri-message.h"

#define LABELS_MAX 4

/* protobuf-c's structs have no const; packing only reads. */
static char *text(const char *s)
{
	return (char *)str_or_empty(s);
}

static int pack(const ProtobufCMessage *message, struct buf *ret)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	int r = buf_reserve(ret, len);

	if (r < 0)
		return r;
	ret->len += protobuf_c_message_pack(message, ret->data ? ret->data + ret->len : NULL);
	return 0;
}

/* ---- lists ---------------------------------------------------------------------------------- */

static int encode_list_sandboxes(const struct runtime_request *request, struct buf *ret)
{
	Runtime__V1__ListPodSandboxRequest list = RUNTIME__V1__LIST_POD_SANDBOX_REQUEST__INIT;
	Runtime__V1__PodSandboxFilter filter = RUNTIME__V1__POD_SANDBOX_FILTER__INIT;
	Runtime__V1__PodSandboxFilter__LabelSelectorEntry label =
		RUNTIME__V1__POD_SANDBOX_FILTER__LABEL_SELECTOR_ENTRY__INIT;
	Runtime__V1__PodSandboxFilter__LabelSelectorEntry *labels[] = { &label };

	if (request->pod_uid) {
		label.key = text("io.kubernetes.pod.uid");
		label.value = text(request->pod_uid);
		filter.label_selector = labels;
		filter.n_label_selector = 1;
		list.filter = &filter;
	} else if (request->id) {
		filter.id = text(request->id);
		list.filter = &filter;
	}
	return pack(&list.base, ret);
}

static int encode_list_containers(const struct runtime_request *request, struct buf *ret)
{
	Runtime__V1__ListContainersRequest list = RUNTIME__V1__LIST_CONTAINERS_REQUEST__INIT;
	Runtime__V1__ContainerFilter filter = RUNTIME__V1__CONTAINER_FILTER__INIT;
	Runtime__V1__ContainerFilter__LabelSelectorEntry label =
		RUNTIME__V1__CONTAINER_FILTER__LABEL_SELECTOR_ENTRY__INIT;
	Runtime__V1__ContainerFilter__LabelSelectorEntry *labels[] = { &label };

	if (request->pod_uid) {
		label.key = text("io.kubernetes.pod.uid");
		label.value = text(request->pod_uid);
		filter.label_selector = labels;
		filter.n_label_selector = 1;
		list.filter = &filter;
	} else if (request->id) {
		filter.pod_sandbox_id = text(request->id);
		list.filter = &filter;
	}
	return pack(&list.base, ret);
}

/* ---- pods and containers -------------------------------------------------------------------- */

/* A PodSandboxConfig and all that it points to; not to be moved once set. */
struct sandbox_config {
	Runtime__V1__PodSandboxConfig config;
	Runtime__V1__PodSandboxMetadata metadata;
	Runtime__V1__LinuxPodSandboxConfig linux;
	Runtime__V1__LinuxSandboxSecurityContext security;
	Runtime__V1__NamespaceOption namespaces;
	Runtime__V1__PodSandboxConfig__LabelsEntry labels[LABELS_MAX];
	Runtime__V1__PodSandboxConfig__LabelsEntry *label_list[LABELS_MAX];
};

static void set_namespaces(
	Runtime__V1__NamespaceOption *namespaces, const struct runtime_sandbox_spec *spec)
{
	runtime__v1__namespace_option__init(namespaces);
	namespaces->network = spec->host_network ? RUNTIME__V1__NAMESPACE_MODE__NODE
						 : RUNTIME__V1__NAMESPACE_MODE__POD;
	/* The zero value would share the process ids among all containers of the pod. */
	namespaces->pid = RUNTIME__V1__NAMESPACE_MODE__CONTAINER;
	namespaces->ipc = RUNTIME__V1__NAMESPACE_MODE__POD;
}

static void sandbox_label(struct sandbox_config *c, const char *key, const char *value)
{
	size_t i = c->config.n_labels++;

	runtime__v1__pod_sandbox_config__labels_entry__init(&c->labels[i]);
	c->labels[i].key = text(key);
	c->labels[i].value = text(value);
	c->label_list[i] = &c->labels[i];
}

static void sandbox_config_set(struct sandbox_config *c, const struct runtime_sandbox_spec *spec)
{
	runtime__v1__pod_sandbox_metadata__init(&c->metadata);
	c->metadata.name = text(spec->name);
	c->metadata.uid = text(spec->uid);
	c->metadata.namespace_ = text(spec->namespace);
	c->metadata.attempt = spec->attempt;

	set_namespaces(&c->namespaces, spec);
	runtime__v1__linux_sandbox_security_context__init(&c->security);
	c->security.namespace_options = &c->namespaces;
	c->security.privileged = spec->privileged;
	runtime__v1__linux_pod_sandbox_config__init(&c->linux);
	c->linux.cgroup_parent = text(spec->cgroup_parent);
	c->linux.security_context = &c->security;

	runtime__v1__pod_sandbox_config__init(&c->config);
	c->config.metadata = &c->metadata;
	/* In the node's network the host's name stays. */
	c->config.hostname = text(spec->host_network ? "" : spec->name);
	c->config.log_directory = text(spec->log_directory);
	c->config.labels = c->label_list;
	c->config.linux = &c->linux;
	sandbox_label(c, "io.kubernetes.pod.name", spec->name);
	sandbox_label(c, "io.kubernetes.pod.namespace", spec->namespace);
	sandbox_label(c, "io.kubernetes.pod.uid", spec->uid);
}

static int encode_run_sandbox(const struct runtime_request *request, struct buf *ret)
{
	Runtime__V1__RunPodSandboxRequest run = RUNTIME__V1__RUN_POD_SANDBOX_REQUEST__INIT;
	struct sandbox_config config;

	sandbox_config_set(&config, request->sandbox);
	run.config = &config.config;
	return pack(&run.base, ret);
}

static size_t count(const char *const *list)
{
	size_t n = 0;

	while (list && list[n])
		n++;
	return n;
}

static int set_environment(
	Runtime__V1__ContainerConfig *config, const char *const *environment, struct arena *arena)
{
	size_t n = count(environment);
	Runtime__V1__KeyValue *pairs;

	if (n > CRI_ITEMS_MAX)
		return -E2BIG;
	pairs = arena_alloc(arena, n * sizeof(*pairs));
	config->envs = arena_alloc(arena, n * sizeof(*config->envs));
	if (!pairs || !config->envs)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const char *equals = strchr(environment[i], '=');
		char *key;

		if (!equals || equals == environment[i])
			return -EINVAL;
		key = arena_alloc(arena, (size_t)(equals - environment[i]) + 1);
		if (!key)
			return -ENOMEM;
		*(char *)mempcpy(key, environment[i], (size_t)(equals - environment[i])) = '\0';
		runtime__v1__key_value__init(&pairs[i]);
		pairs[i].key = key;
		pairs[i].value = text(equals + 1);
		config->envs[i] = &pairs[i];
	}
	config->n_envs = n;
	return 0;
}

static int set_mounts(Runtime__V1__ContainerConfig *config,
	const struct runtime_container_spec *spec, struct arena *arena)
{
	Runtime__V1__Mount *mounts;

	if (spec->mount_count > CRI_ITEMS_MAX)
		return -E2BIG;
	mounts = arena_alloc(arena, spec->mount_count * sizeof(*mounts));
	config->mounts = arena_alloc(arena, spec->mount_count * sizeof(*config->mounts));
	if (!mounts || !config->mounts)
		return -ENOMEM;
	for (size_t i = 0; i < spec->mount_count; i++) {
		runtime__v1__mount__init(&mounts[i]);
		mounts[i].host_path = text(spec->mounts[i].host_path);
		mounts[i].container_path = text(spec->mounts[i].container_path);
		mounts[i].readonly = spec->mounts[i].readonly;
		config->mounts[i] = &mounts[i];
	}
	config->n_mounts = spec->mount_count;
	return 0;
}

static int set_labels(Runtime__V1__ContainerConfig *config, const struct runtime_request *request,
	struct arena *arena)
{
	const struct {
		const char *key, *value;
	} wanted[LABELS_MAX] = {
		{ "io.kubernetes.pod.name", request->sandbox->name },
		{ "io.kubernetes.pod.namespace", request->sandbox->namespace },
		{ "io.kubernetes.pod.uid", request->sandbox->uid },
		{ "io.kubernetes.container.name", request->container->name },
	};
	Runtime__V1__ContainerConfig__LabelsEntry *labels;

	labels = arena_alloc(arena, LABELS_MAX * sizeof(*labels));
	config->labels = arena_alloc(arena, LABELS_MAX * sizeof(*config->labels));
	if (!labels || !config->labels)
		return -ENOMEM;
	for (size_t i = 0; i < LABELS_MAX; i++) {
		runtime__v1__container_config__labels_entry__init(&labels[i]);
		labels[i].key = text(wanted[i].key);
		labels[i].value = text(wanted[i].value);
		config->labels[i] = &labels[i];
	}
	config->n_labels = LABELS_MAX;
	return 0;
}

static int encode_create_in(
	const struct runtime_request *request, struct arena *arena, struct buf *ret)
{
	const struct runtime_container_spec *spec = request->container;
	Runtime__V1__CreateContainerRequest create = RUNTIME__V1__CREATE_CONTAINER_REQUEST__INIT;
	Runtime__V1__ContainerConfig config = RUNTIME__V1__CONTAINER_CONFIG__INIT;
	Runtime__V1__ContainerMetadata metadata = RUNTIME__V1__CONTAINER_METADATA__INIT;
	Runtime__V1__ImageSpec image = RUNTIME__V1__IMAGE_SPEC__INIT;
	Runtime__V1__LinuxContainerConfig linux = RUNTIME__V1__LINUX_CONTAINER_CONFIG__INIT;
	Runtime__V1__LinuxContainerSecurityContext security =
		RUNTIME__V1__LINUX_CONTAINER_SECURITY_CONTEXT__INIT;
	Runtime__V1__NamespaceOption namespaces;
	struct sandbox_config sandbox;
	int r;

	metadata.name = text(spec->name);
	metadata.attempt = spec->attempt;
	image.image = text(spec->image);
	config.metadata = &metadata;
	config.image = &image;
	config.log_path = text(spec->log_path);
	config.command = (char **)spec->command;
	config.n_command = count(spec->command);
	if (config.n_command > CRI_ITEMS_MAX)
		return -E2BIG;
	r = set_environment(&config, spec->environment, arena);
	if (r >= 0)
		r = set_mounts(&config, spec, arena);
	if (r >= 0)
		r = set_labels(&config, request, arena);
	if (r < 0)
		return r;
	set_namespaces(&namespaces, request->sandbox);
	security.namespace_options = &namespaces;
	security.privileged = spec->privileged;
	linux.security_context = &security;
	config.linux = &linux;

	sandbox_config_set(&sandbox, request->sandbox);
	create.pod_sandbox_id = text(request->id);
	create.config = &config;
	create.sandbox_config = &sandbox.config;
	return pack(&create.base, ret);
}

static int encode_create(const struct runtime_request *request, struct buf *ret)
{
	struct arena arena;
	int r;

	arena_init(&arena, CRI_REQUEST_MAX);
	r = encode_create_in(request, &arena, ret);
	arena_done(&arena);
	return r;
}

/* ---- all ------------------------------------------------------------------------------------ */

static int encode_image_status(const struct runtime_request *request, struct buf *ret)
{
	Runtime__V1__ImageStatusRequest status = RUNTIME__V1__IMAGE_STATUS_REQUEST__INIT;
	Runtime__V1__ImageSpec image = RUNTIME__V1__IMAGE_SPEC__INIT;

	image.image = text(request->image);
	status.image = &image;
	return pack(&status.base, ret);
}

static int encode_stop(const struct runtime_request *request, struct buf *ret)
{
	Runtime__V1__StopContainerRequest stop = RUNTIME__V1__STOP_CONTAINER_REQUEST__INIT;

	stop.container_id = text(request->id);
	stop.timeout = request->grace_seconds;
	return pack(&stop.base, ret);
}

/* Requests that are an id and nothing else; the id is field 1 of all of them. */
static int encode_id(const char *id, struct buf *ret)
{
	Runtime__V1__StartContainerRequest request = RUNTIME__V1__START_CONTAINER_REQUEST__INIT;

	request.container_id = text(id);
	return pack(&request.base, ret);
}

static int encode_version(struct buf *ret)
{
	Runtime__V1__VersionRequest request = RUNTIME__V1__VERSION_REQUEST__INIT;

	request.version = text("0.1.0"); /* of the kubelet's API, for ever */
	return pack(&request.base, ret);
}

int cri_encode(enum runtime_method leg, const struct runtime_request *request, struct buf *ret)
{
	switch (leg) {
	case RUNTIME_METHOD_VERSION: return encode_version(ret);
	case RUNTIME_METHOD_STATUS: return 0; /* not verbose: an empty message */
	case RUNTIME_METHOD_LIST_SANDBOXES: return encode_list_sandboxes(request, ret);
	case RUNTIME_METHOD_LIST_CONTAINERS: return encode_list_containers(request, ret);
	case RUNTIME_METHOD_RUN_SANDBOX: return encode_run_sandbox(request, ret);
	case RUNTIME_METHOD_CREATE: return encode_create(request, ret);
	case RUNTIME_METHOD_STOP: return encode_stop(request, ret);
	case RUNTIME_METHOD_IMAGE_STATUS: return encode_image_status(request, ret);
	case RUNTIME_METHOD_SANDBOX_STATUS:
	case RUNTIME_METHOD_CONTAINER_STATUS:
	case RUNTIME_METHOD_STOP_SANDBOX:
	case RUNTIME_METHOD_REMOVE_SANDBOX:
	case RUNTIME_METHOD_START:
	case RUNTIME_METHOD_REMOVE: return encode_id(request->id, ret);
	}
	return -EINVAL;
}
