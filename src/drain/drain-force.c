/* --force-stuck: the object of a pod that its kubelet cannot end is deleted once nothing of it is left. */
#include "drain/drain-internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "drain/stuck.h"
#include "drain/volumes.h"
#include "kube/object.h"

#define FORCE_AFTER_NS (5 * NSEC_PER_SEC) /* over its time, then it is looked into */
#define FORCE_AGAIN_NS (10 * NSEC_PER_SEC)
#define ID_LEAST       12u /* what is shorter would match others */

/* One that cannot be looked for is never left out in silence. */
static void take_id(struct stuck_pod *stuck, const char *id)
{
	const char *bare = id ? strstr(id, "://") : NULL;

	if (!id || id[0] == '\0') /* it was never made */
		return;
	if (!bare || strlen(bare) < 3 + ID_LEAST || stuck->id_count == STUCK_IDS)
		stuck->is_cut = true;
	else
		stuck->ids[stuck->id_count++] = bare + 3;
}

static void take_ids(struct stuck_pod *stuck, const json_t *pod, const char *path)
{
	const json_t *list = kube_field(pod, path);

	for (size_t i = 0; i < json_array_size(list); i++) {
		take_id(stuck, kube_string(json_array_get(list, i), "containerID"));
		take_id(stuck,
			kube_string(json_array_get(list, i), "lastState.terminated.containerID"));
	}
}

static bool is_over(void *userdata)
{
	return command_is_over(userdata);
}

static int refuse_force(struct drain *d, struct pod *pod, const char *why)
{
	(void)snprintf(pod->force_refused, sizeof(pod->force_refused),
		"%s. To give the node up, power it off and then: kubectl taint nodes %s "
		"node.kubernetes.io/out-of-service=nodeshutdown:NoExecute",
		why, d->words->node);
	return 0;
}

static int force_one(struct drain *d, struct pod *pod)
{
	struct stuck_pod stuck = { .uid = pod->uid, .is_over = is_over, .userdata = d->command };
	const json_t *latest = pod->latest ? pod->latest : pod->object;
	char text[STUCK_TEXT], path[640], *body;
	struct err err = { 0 };
	json_t *options;
	int r;

	if (!d->is_here)
		return refuse_force(d, pod,
			"that nothing of it runs any more can be seen on its own node only");
	take_ids(&stuck, latest, "status.containerStatuses");
	take_ids(&stuck, latest, "status.initContainerStatuses");
	take_ids(&stuck, latest, "status.ephemeralContainerStatuses");
	if (stuck_look(&stuck, text) != STUCK_FREE)
		return refuse_force(d, pod, text);
	if (volumes_in_use(d->command, latest, text, sizeof(text)))
		return refuse_force(d, pod, text);
	options = drain_delete_options(d, pod, 0);
	body = options ? json_dumps(options, JSON_COMPACT) : NULL;
	json_decref(options);
	if (!body)
		return -ENOMEM;
	(void)snprintf(path, sizeof(path), "/api/v1/namespaces/%s/pods/%s", pod->ns, pod->name);
	r = command_ask(d->command,
		&(struct kube_request){ .method = "DELETE",
			.path = path,
			.body = body,
			.body_len = strlen(body),
			.tries = 1 },
		NULL, &err);
	free(body); /* allowed: jansson's own */
	if (r < 0 && r != -ENOENT && r != -EEXIST)
		return refuse_force(d, pod, err_text(&err, r));
	command_say(d->command, "pod/%s deleted by force: no thread of it lives on %s", pod->name,
		d->words->node);
	pod->is_forced = true;
	return 0;
}

int drain_force_due(struct drain *d)
{
	uint64_t now = drain_now_ns();
	int64_t late_ns = clock_now().real_ns - (int64_t)FORCE_AFTER_NS;
	int r = 0;

	for (size_t i = 0; i < d->count && r >= 0 && d->words->force_stuck; i++) {
		struct pod *pod = &d->pods[i];

		/* One that a finalizer keeps has ended, and force does not help it. */
		if (!pod_is_open(pod) || pod->deadline_ns == 0 || pod->deadline_ns > late_ns ||
			pod->finalizer[0] || now < pod->force_due_ns)
			continue;
		pod->force_due_ns = now + FORCE_AGAIN_NS;
		r = force_one(d, pod);
	}
	return r;
}
