/* Objects of the API server, and what is made of their texts: a message is clean and short, a patch of the
 * taints is valid JSON with all of the others' taints. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <jansson.h>

#include "base/mem.h"
#include "base/str.h"
#include "kube/seen.h"
#include "kube/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void patch_taints(const struct taint_node *node, enum taint_step step)
{
	struct buf out = BUF_INIT(1u << 20);

	if (taint_patch(node, step, &out) >= 0) {
		json_t *patch = json_loadb((const char *)out.data, out.len, 0, NULL);
		json_t *list = json_object_get(json_object_get(patch, "spec"), "taints");

		assert(patch);
		assert(json_array_size(list) + 1 >= node->taint_count);
		json_decref(patch);
	}
	buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen_node *node = NULL;
	char message[KUBE_MESSAGE_MAX + 1], small[32];
	struct err e = { 0 };
	uint32_t count;
	int64_t first_ns;
	char *text = mem_strndup((const char *)data, size);

	assert(text);
	(void)kube_message(message, text);
	assert(strlen(message) <= KUBE_MESSAGE_MAX);
	assert(str_is_printable(message, strlen(message)));
	(void)mem_free(text);
	(void)seen_event_parse(data, size, &count, &first_ns, &e);
	(void)seen_status_message(data, size, small, sizeof(small));
	if (seen_node_parse(data, size, &node, &e) >= 0) {
		patch_taints(&seen_node_view(node)->taint, TAINT_ADD);
		patch_taints(&seen_node_view(node)->taint, TAINT_REMOVE);
		node = seen_node_free(node);
	} else {
		assert(e.text[0]);
	}
	return 0;
}
