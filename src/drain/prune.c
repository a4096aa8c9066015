/*
 * What `pleg uninstall` has done to the node's object: conditions that begin with pleg.dev/, pleg's own
 * taint and the note of a cordon go, each by a write of its own, since who may do one need not be
 * allowed the next. What is somebody else's stays as it is. A cordon stays, and is told, unless it is to
 * go, too, and is pleg's. Events go by themselves.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "drain/command.h"
#include "kube/object.h"
#include "kube/taint.h"

#define OUR_PREFIX "pleg.dev/"
#define TRIES      5 /* the object may change between our reading and our writing */

static bool is_dry(const struct command *command)
{
	return command->words->dry_run == DRY_RUN_CLIENT;
}

static void say_removed(const struct command *command, const char *what, const char *name)
{
	command_say(command, "node/%s: %s%s removed%s", command->words->node, what, name,
		command_dry_text(command));
}

/* ---- conditions -------------------------------------------------------------------------- */

static int add_deletion(json_t *list, const char *type)
{
	json_t *one = json_pack("{ss ss}", "type", type, "$patch", "delete");

	return json_array_append_new(list, one) < 0 ? -ENOMEM : 0;
}

static int patch_conditions(struct command *command, json_t *list, struct err *err)
{
	json_t *patch = json_pack("{s{sO}}", "status", "conditions", list);
	char *body = patch ? json_dumps(patch, JSON_COMPACT) : NULL;
	int r = -ENOMEM;

	json_decref(patch);
	if (body)
		r = command_write_node(command, "/status", COMMAND_STRATEGIC, body, err);
	free(body); /* allowed: jansson's own */
	return r;
}

/* Merged by type: only those that are named change, so nobody's writes are in the way. */
static int prune_conditions(struct command *command, const json_t *node, struct err *err)
{
	const json_t *conditions = kube_field(node, "status.conditions");
	json_t *list = json_array();
	int r = list ? 0 : -ENOMEM;

	for (size_t i = 0; i < json_array_size(conditions) && r >= 0; i++) {
		const char *type = kube_string(json_array_get(conditions, i), "type");

		if (type && str_after(type, OUR_PREFIX))
			r = add_deletion(list, type);
	}
	if (r >= 0 && json_array_size(list) > 0 && !is_dry(command))
		r = patch_conditions(command, list, err);
	for (size_t i = 0; i < json_array_size(list) && r >= 0; i++)
		say_removed(command, "condition ",
			str_or_empty(kube_string(json_array_get(list, i), "type")));
	json_decref(list);
	return r;
}

/* ---- taint ------------------------------------------------------------------------------- */

/* One of that key with another value or effect is somebody else's. */
static bool is_our_taint(const json_t *taint)
{
	return str_eq(str_or_empty(kube_string(taint, "key")), TAINT_KEY) &&
		str_eq(str_or_empty(kube_string(taint, "value")), TAINT_VALUE) &&
		str_eq(str_or_empty(kube_string(taint, "effect")), TAINT_EFFECT);
}

static int prune_taint(struct command *command, const json_t *node, struct err *err)
{
	json_t *taints = json_deep_copy(kube_field(node, "spec.taints")), *patch;
	size_t count = json_array_size(taints);
	int r = 0;

	for (size_t i = count; i > 0; i--)
		if (is_our_taint(json_array_get(taints, i - 1)))
			(void)json_array_remove(taints, i - 1);
	if (json_array_size(taints) < count && !is_dry(command)) {
		patch = json_pack("{s{sO}}", "spec", "taints", taints);
		r = patch ? command_patch_node(command, node, patch, err) : -ENOMEM;
		json_decref(patch);
	}
	if (r >= 0 && json_array_size(taints) < count)
		say_removed(command, "taint ", TAINT_KEY);
	json_decref(taints);
	return r;
}

/* ---- cordon ------------------------------------------------------------------------------ */

static int prune_cordon(struct command *command, const json_t *node, struct err *err)
{
	const char *at = kube_annotation(node, CORDON_ANNOTATION), *other;
	bool is_ours = json_is_true(kube_field(node, "spec.unschedulable")) &&
		cordon_is_ours(node, &other);
	bool is_to_go = is_ours && command->words->uncordon;
	json_t *patch = json_pack("{s{s{sn}}}", "metadata", "annotations", CORDON_ANNOTATION);
	int r = patch ? 0 : -ENOMEM;

	if (r >= 0 && is_to_go)
		r = json_object_set_new(patch, "spec", json_pack("{sn}", "unschedulable"));
	if (r >= 0 && at && !is_dry(command))
		r = command_patch_node(command, node, patch, err);
	json_decref(patch);
	if (r < 0 || !at)
		return r;
	if (is_to_go)
		command_say(command, "node/%s uncordoned%s", command->words->node,
			command_dry_text(command));
	else if (is_ours)
		command_complain("node/%s is still cordoned, by pleg at %s; to end that: kubectl "
				 "uncordon %s",
			command->words->node, at, command->words->node);
	say_removed(command, "annotation ", CORDON_ANNOTATION);
	return 0;
}

/* ---- all of it --------------------------------------------------------------------------- */

typedef int (*prune_fn)(struct command *command, const json_t *node, struct err *err);

/* 0 also where there is no such node. */
static int prune(struct command *command, prune_fn step, struct err *err)
{
	int r = -EEXIST;

	for (unsigned i = 0; i < TRIES && r == -EEXIST; i++) {
		json_t *node = NULL;

		r = command_node(command, &node, err);
		if (r == -ENOENT)
			return 0;
		if (r >= 0)
			r = step(command, node, err);
		json_decref(node);
	}
	return r;
}

int prune_run(struct command *command)
{
	static const struct {
		const char *what;
		prune_fn step;
	} steps[] = {
		{ "conditions", prune_conditions },
		{ "taint", prune_taint },
		{ "note of a cordon", prune_cordon },
	};
	int code = 0;

	for (size_t i = 0; i < ELEMENTS(steps) && command_left_ns(command) > 0; i++) {
		struct err err = { 0 };
		int r = prune(command, steps[i].step, &err);

		if (r >= 0)
			continue;
		command_complain("node/%s: the %s cannot be removed: %s", command->words->node,
			steps[i].what, err_text(&err, r));
		code = COMMAND_FAILED;
		if (r == -ECOMM) /* nor would the next be heard */
			break;
	}
	return command_left_ns(command) > 0 ? code : COMMAND_FAILED;
}
