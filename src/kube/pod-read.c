#include "kube/pod-read.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "base/time.h"
#include "kube/object.h"

#define GRACE_DEFAULT_S 30 /* the API server's own */

/* The kubelet's mark on the mirror of a static pod: the hash that the runtime has as its uid. */
#define MIRROR "kubernetes.io/config.mirror"

static bool is_short(const char *text)
{
	return text && strlen(text) <= KUBE_POD_TEXT_MAX;
}

/* "containerd://ID" gives ID. */
static const char *bare_id(const json_t *status)
{
	const char *id = json_string_value(json_object_get(status, "containerID"));
	const char *bare = id ? strstr(id, "://") : NULL;

	bare = bare ? bare + 3 : id;
	return is_short(bare) && *bare ? bare : NULL;
}

static void read_containers(struct pod_read *r, const json_t *statuses)
{
	const json_t *status, *state;
	size_t i;

	json_array_foreach (statuses, i, status) {
		const char *id = bare_id(status);
		struct kube_pod_container *c = &r->containers[r->pod.container_count];

		if (!id || r->pod.container_count == KUBE_POD_CONTAINERS_MAX)
			continue;
		state = json_object_get(status, "state");
		c->id = id;
		c->state = json_object_get(state, "running")   ? KUBE_RUN_RUNNING
			: json_object_get(state, "terminated") ? KUBE_RUN_TERMINATED
							       : KUBE_RUN_WAITING;
		r->pod.container_count++;
	}
}

/* Of one that is deleted by force the API server says 0, and the kubelet gives its processes what its
 * spec says all the same. */
static uint32_t grace_of(const json_t *object)
{
	json_int_t s =
		json_integer_value(kube_field(object, "metadata.deletionGracePeriodSeconds"));
	const json_t *spec = kube_field(object, "spec.terminationGracePeriodSeconds");

	if (s <= 0)
		s = json_is_integer(spec) ? json_integer_value(spec) : GRACE_DEFAULT_S;
	if (s < 0)
		return 0;
	return s > KUBE_POD_GRACE_MAX ? KUBE_POD_GRACE_MAX : (uint32_t)s;
}

static void read_owner(struct pod_read *r, const json_t *object)
{
	const json_t *controller = kube_controller(object);
	const char *created = kube_string(object, "metadata.creationTimestamp");
	struct kube_owner owner = { .kind = kube_string(controller, "kind"),
		.name = kube_string(controller, "name"),
		.template_hash = kube_label(object, "pod-template-hash") };

	r->owner[0] = '\0';
	if (!is_short(owner.kind) || !is_short(owner.name))
		return;
	if (created && time_parse_rfc3339(created, &owner.created_ns) < 0)
		owner.created_ns = 0;
	(void)kube_owner_text(r->owner, &owner);
}

int pod_read(struct pod_read *r, const json_t *object)
{
	const char *mirror = kube_annotation(object, MIRROR);
	struct kube_pod *pod = &r->pod;

	*pod = (struct kube_pod){ .namespace = kube_namespace(object),
		.name = kube_name(object),
		.uid = kube_uid(object),
		.owner = r->owner,
		.phase = kube_phase_parse(str_or_empty(kube_string(object, "status.phase"))),
		.is_deleting = kube_is_deleting(object),
		.deletion_ns = kube_deletion_ns(object),
		.grace_s = grace_of(object),
		.containers = r->containers };
	if (!is_short(pod->namespace) || !is_short(pod->name) || !is_short(pod->uid) ||
		!*pod->name || !*pod->uid)
		return -EBADMSG;
	pod->runtime_uid = is_short(mirror) && *mirror ? mirror : pod->uid;
	read_owner(r, object);
	read_containers(r, kube_field(object, "status.containerStatuses"));
	read_containers(r, kube_field(object, "status.initContainerStatuses"));
	read_containers(r, kube_field(object, "status.ephemeralContainerStatuses"));
	return 0;
}
