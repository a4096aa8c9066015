#include "kube/taint.h"

#include <errno.h>

#include "base/str.h"
#include "model/json-write.h"

/* Key and effect are what makes a taint; the value tells whose it is. */
static bool is_it(const struct taint_seen *taint)
{
	return str_eq(taint->key, TAINT_KEY) && str_eq(taint->effect, TAINT_EFFECT);
}

static bool is_ours(const struct taint_seen *taint)
{
	return is_it(taint) && str_eq(taint->value, TAINT_VALUE);
}

enum taint_step taint_plan(const struct taint_node *node, bool is_wanted)
{
	for (size_t i = 0; i < node->taint_count; i++)
		if (is_it(&node->taints[i]))
			return !is_wanted && is_ours(&node->taints[i]) ? TAINT_REMOVE : TAINT_NONE;
	return is_wanted ? TAINT_ADD : TAINT_NONE;
}

static int put_others(const struct taint_node *node, struct buf *out)
{
	const char *comma = "";
	int r = 0;

	for (size_t i = 0; i < node->taint_count && r >= 0; i++) {
		if (is_ours(&node->taints[i]))
			continue;
		r = buf_printf(out, "%s%s", comma, node->taints[i].json);
		comma = ",";
	}
	return r;
}

int taint_patch(const struct taint_node *node, enum taint_step step, struct buf *out)
{
	struct json_write w = JSON_WRITE_INIT(out);
	size_t before;
	int r;

	if (step == TAINT_NONE || str_or_empty(node->resource_version)[0] == '\0')
		return -EINVAL;
	json_write_object(&w, NULL);
	json_write_object(&w, "metadata");
	json_write_text(&w, "resourceVersion", node->resource_version);
	json_write_object_end(&w);
	json_write_object(&w, "spec");
	json_write_array(&w, "taints");
	r = json_write_result(&w);
	before = out->len;
	if (r >= 0)
		r = put_others(node, out);
	if (r < 0)
		return r;
	w.needs_comma = out->len > before;
	if (step == TAINT_ADD) {
		json_write_object(&w, NULL);
		json_write_text(&w, "key", TAINT_KEY);
		json_write_text(&w, "value", TAINT_VALUE);
		json_write_text(&w, "effect", TAINT_EFFECT);
		json_write_object_end(&w);
	}
	json_write_array_end(&w);
	json_write_object_end(&w);
	json_write_object_end(&w);
	return json_write_result(&w);
}
