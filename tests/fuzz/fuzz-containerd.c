/*
 * Any bytes as an envelope of containerd's event stream, as a list of its tasks, as its version and
 * as an event of CRI. What is told must be readable, and where protobuf-c can decode it too, both
 * must have read the same.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "containerd.pb-c.h"
#include "runtime/containerd-decode.h"
#include "runtime/cri-events-decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool is_true)
{
	if (!is_true)
		abort();
}

static void check_hint(const struct hint *hint)
{
	size_t len = strnlen(hint->container_id, sizeof(hint->container_id));

	check(len > 0 && len <= HINT_ID_MAX);
	check(hint->pid >= 0);
	check(hint->has_exit_code || hint->exit_code == 0);
	check(strcmp(hint_type_text(hint->type), "invalid") != 0);
}

static void compare_exit(const struct hint *hint, const Containerd__Any *any)
{
	Containerd__TaskExit *event =
		containerd__task_exit__unpack(NULL, any->value.len, any->value.data);

	if (!event)
		return;
	check(strcmp(event->container_id, hint->container_id) == 0);
	check(hint->pid == (event->pid <= INT32_MAX ? (int32_t)event->pid : 0));
	check(hint->has_exit_code == (event->exit_status <= INT32_MAX));
	if (hint->has_exit_code)
		check(hint->exit_code == (int32_t)event->exit_status);
	/* protobuf-c's strings end at the first NUL. */
	if (!memchr(any->value.data, 0, any->value.len))
		check(hint->is_init ==
			(event->id[0] == '\0' || strcmp(event->id, event->container_id) == 0));
	containerd__task_exit__free_unpacked(event, NULL);
}

static void try_envelope(struct slice message)
{
	Containerd__Envelope *envelope;
	struct hint hint;

	if (containerd_decode_envelope(message, SLICE("k8s.io"), &hint) != HINT_TOLD)
		return;
	check_hint(&hint);
	envelope = containerd__envelope__unpack(NULL, message.len, (const uint8_t *)message.data);
	if (envelope && envelope->event && hint.type == HINT_EXIT)
		compare_exit(&hint, envelope->event);
	if (envelope)
		check(strcmp(envelope->namespace_, "k8s.io") == 0);
	containerd__envelope__free_unpacked(envelope, NULL);
}

static void try_tasks(struct slice answer)
{
	Containerd__ListTasksResponse *decoded;
	struct containerd_task task;
	size_t count, n = 0;

	if (containerd_decode_validate(answer, &count) < 0)
		return;
	decoded = containerd__list_tasks_response__unpack(
		NULL, answer.len, (const uint8_t *)answer.data);
	check(!decoded || decoded->n_tasks == count);
	for (; containerd_decode_next(&answer, &task); n++) {
		check(task.container_id[0] != '\0' && task.pid >= 0);
		if (decoded && decoded->tasks[n]->pid <= INT32_MAX)
			check((uint32_t)task.pid == decoded->tasks[n]->pid);
	}
	check(n == count);
	containerd__list_tasks_response__free_unpacked(decoded, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice message = { (const char *)data, size };
	char version[32];
	struct hint hint;

	try_envelope(message);
	try_tasks(message);
	check(strlen(containerd_decode_version(message, version, sizeof(version))) <
		sizeof(version));
	if (cri_events_decode(message, &hint) == HINT_TOLD)
		check(strnlen(hint.container_id, sizeof(hint.container_id)) <= HINT_ID_MAX);
	return 0;
}
