/*
 * Any bytes as an answer to ListPodSandbox and to ListContainers. What passes validation must be
 * readable to the end, and where protobuf-c can decode it too, both must have read the same.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cri.pb-c.h"
#include "runtime/cri-scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool is_true)
{
	if (!is_true)
		abort();
}

/* protobuf-c's strings end at the first NUL. */
static bool same_text(struct slice s, const char *text)
{
	return strnlen(s.data ? s.data : "", s.len) == strlen(text) &&
		(text[0] == '\0' || memcmp(s.data, text, strlen(text)) == 0);
}

static void compare_sandbox(const struct list_entry *e, const struct container_identity *who,
	const Runtime__V1__PodSandbox *decoded)
{
	check(same_text(e->id, decoded->id));
	check(who->created_at_ns == decoded->created_at);
	check((e->state == CONTAINER_RUNNING) == (decoded->state == 0));
	check((e->state == CONTAINER_EXITED) == (decoded->state == 1));
}

static void compare_container(const struct list_entry *e, const struct container_identity *who,
	const Runtime__V1__Container *decoded)
{
	check(same_text(e->id, decoded->id));
	check(same_text(e->sandbox_id, decoded->pod_sandbox_id));
	check(who->created_at_ns == decoded->created_at);
	check((e->state == CONTAINER_CREATED) == (decoded->state == 0));
	check((e->state == CONTAINER_RUNNING) == (decoded->state == 1));
	check((e->state == CONTAINER_EXITED) == (decoded->state == 2));
}

static void try_sandboxes(struct slice answer)
{
	Runtime__V1__ListPodSandboxResponse *decoded;
	struct container_identity who;
	struct list_entry e;
	struct cri_list list;
	size_t entries, n = 0;

	if (cri_scan_validate(answer, CONTAINER_KIND_SANDBOX, &entries) < 0)
		return;
	decoded = runtime__v1__list_pod_sandbox_response__unpack(
		NULL, answer.len, (const uint8_t *)answer.data);
	check(!decoded || decoded->n_items == entries);
	cri_list_init(&list, answer, (struct slice){ 0 });
	for (; list.source.next(&list.source, &e); n++) {
		list.source.describe(&list.source, &e, &who);
		if (decoded)
			compare_sandbox(&e, &who, decoded->items[n]);
	}
	check(n == entries);
	runtime__v1__list_pod_sandbox_response__free_unpacked(decoded, NULL);
}

static void try_containers(struct slice answer)
{
	Runtime__V1__ListContainersResponse *decoded;
	struct container_identity who;
	struct list_entry e;
	struct cri_list list;
	size_t entries, n = 0;

	if (cri_scan_validate(answer, CONTAINER_KIND_CONTAINER, &entries) < 0)
		return;
	decoded = runtime__v1__list_containers_response__unpack(
		NULL, answer.len, (const uint8_t *)answer.data);
	check(!decoded || decoded->n_containers == entries);
	cri_list_init(&list, (struct slice){ 0 }, answer);
	for (; list.source.next(&list.source, &e); n++) {
		list.source.describe(&list.source, &e, &who);
		if (decoded)
			compare_container(&e, &who, decoded->containers[n]);
	}
	check(n == entries);
	runtime__v1__list_containers_response__free_unpacked(decoded, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice answer = { (const char *)data, size };

	try_sandboxes(answer);
	try_containers(answer);
	return 0;
}
