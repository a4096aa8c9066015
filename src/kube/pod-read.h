/* A pod out of what the API server sends. Foreign input: whatever is not as it should be is left out. */
#pragma once

#include <jansson.h>

#include "kube/pod.h"

struct pod_read {
	struct kube_pod pod; /* points into the object and into this */
	struct kube_pod_container containers[KUBE_POD_CONTAINERS_MAX];
	char owner[KUBE_OWNER_MAX];
};

/* 0, or -EBADMSG: no name, no uid, or a text that is too long to be one. `object` must outlive what
 * is read. */
int pod_read(struct pod_read *ret, const json_t *object);
