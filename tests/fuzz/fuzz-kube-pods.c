/*
 * Lists of pods: cut into items, each read, sent over the role's channel and read there again, the same;
 * and the same bytes as a message of the channel.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "kube/api-protocol.h"
#include "kube/items.h"
#include "kube/object.h"
#include "kube/pod-read.h"

#define LIST_MAX_BYTES 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void there_and_back(const struct kube_pod *pod)
{
	struct kube_pod_container containers[KUBE_POD_CONTAINERS_MAX];
	CLEAN(buf_done) struct buf out = BUF_INIT(CHANNEL_PAYLOAD_MAX);
	struct channel_message m = { 0 };
	struct kube_pod same;

	assert(api_pack_pod(&out, pod) >= 0);
	m.payload = out.data;
	m.len = out.len;
	assert(api_unpack_pod(&m, &same, containers) == 0);
	assert(str_eq(same.uid, pod->uid) && str_eq(same.runtime_uid, pod->runtime_uid));
	assert(str_eq(same.namespace, pod->namespace) && str_eq(same.owner, pod->owner));
	assert(same.container_count == pod->container_count && same.grace_s == pod->grace_s);
}

static void look(struct slice text)
{
	json_t *object = kube_parse(text.data, text.len);
	struct pod_read pod;

	if (object && pod_read(&pod, object) >= 0)
		there_and_back(&pod.pod);
	json_decref(object);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kube_pod_container containers[KUBE_POD_CONTAINERS_MAX];
	struct channel_message m = { .payload = data, .len = size };
	struct slice text = { (const char *)data, size }, items, item;
	struct kube_pod pod;
	size_t left;

	if (size == 0 || size > LIST_MAX_BYTES)
		return 0;
	if (api_unpack_pod(&m, &pod, containers) >= 0)
		there_and_back(&pod);
	if (kube_items_find(text, &items) < 0)
		return 0;
	for (left = items.len + 1; kube_items_next(&items, &item); left = items.len) {
		assert(items.len < left); /* It ends. */
		look(item);
	}
	return 0;
}
