/*
 * Any bytes as each of the answers of a Docker Engine. What json-scan takes for JSON jansson must take,
 * too, and what is told must be readable and within its bounds.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <jansson.h>

#include "base/mem.h"
#include "runtime/docker-decode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool is_true)
{
	if (!is_true)
		abort();
}

/* jansson is stricter about strings (UTF-8, NUL), about numbers it cannot hold, and takes more depth. */
static void compare(struct slice text)
{
	json_t *judge = json_loadb(text.data, text.len,
		JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
	struct slice value, element;
	struct json_scan scan;
	size_t count = 0;

	if (json_scan_check(text, &value) < 0) {
		json_decref(judge);
		return;
	}
	check(value.len > 0 && value.data >= text.data &&
		value.data + value.len <= text.data + text.len);
	for (scan = json_scan_array(value); json_scan_element(&scan, &element); count++)
		check(json_scan_check(element, &(struct slice){ 0 }) >= 0);
	check(!judge || !json_is_array(judge) || json_array_size(judge) == count);
	json_decref(judge);
}

static void check_text(struct slice s, volatile char *sink)
{
	for (size_t i = 0; i < s.len; i++)
		*sink = s.data[i];
}

static void try_list(struct slice answer, const char *sandbox_id)
{
	struct container_identity who;
	struct list_entry entry;
	struct docker_list list;
	size_t entries, count = 0;
	volatile char sink;

	if (docker_list_check(answer, &entries) < 0)
		return;
	docker_list_init(&list, answer, sandbox_id);
	for (; list.source.next(&list.source, &entry); count++) {
		check(entry.state != CONTAINER_GONE);
		list.source.describe(&list.source, &entry, &who);
		check_text(entry.id, &sink);
		check_text(entry.sandbox_id, &sink);
		check_text(who.namespace, &sink);
		check_text(who.pod, &sink);
		check_text(who.pod_uid, &sink);
		check_text(who.container, &sink);
	}
	check(sandbox_id[0] ? count <= entries : count == entries);
	docker_list_done(&list);
}

static void try_inspect(struct slice answer, enum container_kind kind)
{
	struct container_status status;
	const char *trouble;
	struct arena arena;

	arena_init(&arena, DOCKER_DECODE_MAX);
	if (docker_decode_inspect(answer, kind, "", &arena, &status, &trouble) >= 0) {
		struct container_status *copy = container_status_copy(&status);

		check(status.id && status.reason && status.message && status.image);
		check(status.init_pid >= 0 && status.ip_count <= CONTAINER_IPS_MAX);
		check(status.has_exit_code || status.exit_code == 0);
		(void)mem_free(copy);
	}
	arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = { (const char *)data, size };
	struct docker_version version;
	char out[160];
	const char *trouble;
	struct hint hint;

	compare(text);
	try_list(text, "");
	try_list(text, "a");
	try_inspect(text, CONTAINER_KIND_CONTAINER);
	try_inspect(text, CONTAINER_KIND_SANDBOX);
	if (docker_decode_version(text, &version, out, sizeof(out), &trouble) >= 0)
		check(version.api[0] == '1' && strlen(version.api) < sizeof(version.api));
	if (docker_decode_event(text, &hint) == HINT_TOLD)
		check(hint.container_id[0] != '\0' && (hint.has_exit_code || hint.exit_code == 0));
	check(strlen(docker_decode_error(text, out, sizeof(out))) < sizeof(out));
	return 0;
}
