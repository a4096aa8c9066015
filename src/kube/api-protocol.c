#include "kube/api-protocol.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"

struct slice api_slice(const char *text)
{
	return SLICE(str_or_empty(text));
}

int api_pack_pod(struct buf *out, const struct kube_pod *pod)
{
	const struct kube_pod_container *c = pod->containers;
	struct slice texts[API_POD_TEXTS] = { api_slice(pod->namespace), api_slice(pod->name),
		api_slice(pod->uid), api_slice(pod->runtime_uid), api_slice(pod->owner) };
	struct api_pod fixed = { .deletion_ns = pod->deletion_ns,
		.grace_s = pod->grace_s,
		.phase = (uint8_t)pod->phase,
		.is_deleting = pod->is_deleting,
		.container_count = (uint8_t)pod->container_count };

	for (size_t i = 0; i < pod->container_count; i++) {
		texts[5 + i] = api_slice(c[i].id);
		fixed.states[i] = (uint8_t)c[i].state;
	}
	return texts_pack(out, &fixed, sizeof(fixed), texts, ELEMENTS(texts));
}

int api_unpack_pod(const struct channel_message *m, struct kube_pod *ret,
	struct kube_pod_container *containers)
{
	struct api_pod fixed;
	const char *texts[API_POD_TEXTS];
	int r;

	r = texts_unpack(m, &fixed, sizeof(fixed), texts, ELEMENTS(texts));
	if (r < 0)
		return r;
	for (size_t i = 0; i < ELEMENTS(texts); i++)
		if (texts[i] && strlen(texts[i]) != fixed.lens[i])
			return -EBADMSG;
	if (!texts[1] || !texts[2] || !texts[3] || fixed.phase > KUBE_PHASE_FAILED ||
		fixed.container_count > KUBE_POD_CONTAINERS_MAX)
		return -EBADMSG;
	for (size_t i = 0; i < fixed.container_count; i++) {
		if (!texts[5 + i] || fixed.states[i] >= KUBE_RUNS)
			return -EBADMSG;
		containers[i] =
			(struct kube_pod_container){ texts[5 + i], (enum kube_run)fixed.states[i] };
	}
	*ret = (struct kube_pod){ str_or_empty(texts[0]), texts[1], texts[2], texts[3],
		str_or_empty(texts[4]), (enum kube_phase)fixed.phase, fixed.is_deleting != 0,
		fixed.deletion_ns, fixed.grace_s, fixed.container_count, containers };
	return 0;
}

int api_pack_stale(struct buf *out, const struct api_stale *stale)
{
	const struct slice texts[] = { api_slice(stale->local), api_slice(stale->remote),
		api_slice(stale->what) };
	struct api_stale_told fixed = { .age_ns = stale->age_ns,
		.silent_ns = stale->silent_ns,
		.ack_ns = stale->ack_ns,
		.fresh = stale->fresh,
		.unacked = stale->unacked,
		.retransmits = stale->retransmits,
		.backoff = stale->backoff,
		.fresh_http = stale->fresh_http,
		.has_tcp = stale->has_tcp,
		.is_proven = stale->is_proven };

	return texts_pack(out, &fixed, sizeof(fixed), texts, ELEMENTS(texts));
}

int api_unpack_stale(const struct channel_message *m, struct api_stale *ret)
{
	struct api_stale_told fixed;
	const char *texts[ELEMENTS(fixed.lens)];
	int r;

	r = texts_unpack(m, &fixed, sizeof(fixed), texts, ELEMENTS(texts));
	if (r < 0)
		return r;
	*ret = (struct api_stale){ .local = str_or_empty(texts[0]),
		.remote = str_or_empty(texts[1]),
		.what = str_or_empty(texts[2]),
		.age_ns = fixed.age_ns,
		.silent_ns = fixed.silent_ns,
		.ack_ns = fixed.ack_ns,
		.unacked = fixed.unacked,
		.retransmits = fixed.retransmits,
		.backoff = fixed.backoff,
		.fresh_http = fixed.fresh_http,
		.fresh = fixed.fresh,
		.has_tcp = fixed.has_tcp != 0,
		.is_proven = fixed.is_proven != 0 };
	return 0;
}
