/* pleg cordon, uncordon and taint: changes of the node's object. */
#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "base/time.h"
#include "drain/command.h"
#include "drain/taint-edit.h"
#include "kube/object.h"

#define TRIES 5 /* the object may change between our reading and our writing */
/* As the requests say, and as the name that older ones had from the User-Agent. */
#define MANAGER "pleg"

static int fail(const struct err *err, int r)
{
	command_complain("%s", err_text(err, r));
	return COMMAND_FAILED;
}

/* ---- cordon and uncordon ----------------------------------------------------------------- */

bool cordon_is_ours(const json_t *node, const char **ret_other)
{
	const json_t *entries = kube_field(node, "metadata.managedFields");

	*ret_other = NULL;
	for (size_t i = 0; i < json_array_size(entries); i++) {
		const json_t *one = json_array_get(entries, i);
		const char *manager = str_or_empty(kube_string(one, "manager"));

		if (kube_field(one, "fieldsV1.f:spec.f:unschedulable") && !str_eq(manager, MANAGER))
			*ret_other = manager;
	}
	/* Where nobody is known for it, as after managedFields were cleared, the annotation decides. */
	return !*ret_other && kube_annotation(node, CORDON_ANNOTATION);
}

static int set_unschedulable(struct command *command, const json_t *node, bool on, struct err *err)
{
	char at[TIME_TEXT_MAX];
	json_t *when = on ? json_string(time_format_rfc3339(at, clock_now().real_ns)) : json_null();
	json_t *patch = json_pack("{s{s{so}} s{so}}", "metadata", "annotations", CORDON_ANNOTATION,
		when, "spec", "unschedulable", on ? json_true() : json_null());
	int r = patch ? command_patch_node(command, node, patch, err) : -ENOMEM;

	json_decref(patch);
	return r;
}

int cordon_node(struct command *command, bool *ret_changed, struct err *reterr)
{
	int r = -EEXIST;

	*ret_changed = false;
	for (unsigned i = 0; i < TRIES && r == -EEXIST; i++) {
		json_t *node = NULL;

		r = command_node(command, &node, reterr);
		if (r < 0)
			return r;
		if (json_is_true(kube_field(node, "spec.unschedulable")))
			r = 0;
		else {
			*ret_changed = true;
			if (command->words->dry_run != DRY_RUN_CLIENT)
				r = set_unschedulable(command, node, true, reterr);
		}
		json_decref(node);
	}
	return r;
}

static int report(struct command *command, const char *action, bool changed)
{
	const char *node = command->words->node;

	command_say(command, "node/%s %s%s%s", node, changed ? "" : "already ", action,
		changed ? command_dry_text(command) : "");
	if (!command->words->json)
		return 0;
	return command_print_json(json_pack("{ss ss sb sb}", "node", node, "action", action,
		"changed", changed, "dryRun", command->words->dry_run != DRY_RUN_NONE));
}

int cordon_run(struct command *command)
{
	struct err err = { 0 };
	bool changed;
	int r = cordon_node(command, &changed, &err);

	return r < 0 ? fail(&err, r) : report(command, "cordoned", changed);
}

int uncordon_run(struct command *command)
{
	struct err err = { 0 };
	bool changed = false;
	int r = -EEXIST;

	for (unsigned i = 0; i < TRIES && r == -EEXIST; i++) {
		json_t *node = NULL;
		const char *other;

		r = command_node(command, &node, &err);
		if (r < 0)
			break;
		changed = json_is_true(kube_field(node, "spec.unschedulable"));
		if (changed && !command->words->any && !cordon_is_ours(node, &other))
			r = err_set(&err, -EPERM,
				"Node %s was cordoned by somebody else than pleg%s%s%s; --any "
				"uncordons it all the same",
				command->words->node, other ? " (" : "", str_or_empty(other),
				other ? ")" : "");
		else if (changed && command->words->dry_run != DRY_RUN_CLIENT)
			r = set_unschedulable(command, node, false, &err);
		json_decref(node);
	}
	return r < 0 ? fail(&err, r) : report(command, "uncordoned", changed);
}

/* ---- taint ------------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *key)
{
	return str_or_empty(json_string_value(json_object_get(object, key)));
}

static bool is_of(const json_t *taint, const struct taint_edit *e)
{
	return str_eq(text_of(taint, "key"), e->key) &&
		(e->effect[0] == '\0' || str_eq(text_of(taint, "effect"), e->effect));
}

/* Those that it is about are taken out; their number. */
static size_t take_out(json_t *taints, const struct taint_edit *e)
{
	size_t found = 0;

	for (size_t i = json_array_size(taints); i > 0; i--)
		if (is_of(json_array_get(taints, i - 1), e)) {
			(void)json_array_remove(taints, i - 1);
			found++;
		}
	return found;
}

static int put_in(json_t *taints, const struct taint_edit *e)
{
	json_t *taint = json_pack("{ss ss}", "key", e->key, "effect", e->effect);

	if (taint && e->value[0] &&
		json_object_set_new(taint, "value", json_string(e->value)) < 0) {
		json_decref(taint);
		return -ENOMEM;
	}
	return json_array_append_new(taints, taint) < 0 ? -ENOMEM : 0;
}

/* All edits, or none: those of others stay as they are, in their order. */
static int edit(
	struct command *command, json_t *taints, const struct taint_edit *edits, struct err *err)
{
	const char *node = command->words->node;

	for (size_t i = 0; i < command->words->taint_count; i++) {
		const struct taint_edit *e = &edits[i];
		size_t found = take_out(taints, e);

		if (e->is_removal && found == 0)
			return err_set(err, -ENOENT, "Node %s: taint \"%s%s%s\" not found", node,
				e->key, e->effect[0] ? ":" : "", e->effect);
		if (!e->is_removal && found > 0 && !command->words->overwrite)
			return err_set(err, -EPERM,
				"Node %s already has %s taint(s) with same effect(s) and "
				"--overwrite is false",
				node, e->key);
		if (!e->is_removal && put_in(taints, e) < 0)
			return err_set(err, -ENOMEM, "Out of memory");
	}
	return 0;
}

static int write_taints(struct command *command, const json_t *node, const struct taint_edit *edits,
	json_t **ret_taints, struct err *err)
{
	const json_t *old = kube_field(node, "spec.taints");
	json_t *taints = json_is_array(old) ? json_deep_copy(old) : json_array(), *patch;
	int r;

	if (!taints)
		return err_set(err, -ENOMEM, "Out of memory");
	r = edit(command, taints, edits, err);
	if (r >= 0 && command->words->dry_run != DRY_RUN_CLIENT) {
		patch = json_pack("{s{sO}}", "spec", "taints", taints);
		r = patch ? command_patch_node(command, node, patch, err) : -ENOMEM;
		json_decref(patch);
	}
	if (r >= 0)
		*ret_taints = taints;
	else
		json_decref(taints);
	return r;
}

int taint_run(struct command *command)
{
	const struct command_words *words = command->words;
	struct taint_edit edits[COMMAND_TAINTS];
	json_t *taints = NULL;
	struct err err = { 0 };
	size_t removals = 0;
	int r = -EEXIST;

	for (size_t i = 0; i < words->taint_count; i++) {
		if (taint_edit_parse(words->taints[i], &edits[i], &err) < 0) {
			command_complain("%s", err.text);
			return COMMAND_USAGE;
		}
		removals += edits[i].is_removal;
	}
	for (unsigned i = 0; i < TRIES && r == -EEXIST; i++) {
		json_t *node = NULL;

		r = command_node(command, &node, &err);
		if (r >= 0)
			r = write_taints(command, node, edits, &taints, &err);
		json_decref(node);
	}
	if (r < 0)
		return fail(&err, r);
	command_say(command, "node/%s %s%s", words->node,
		removals == 0                            ? "tainted"
			: removals == words->taint_count ? "untainted"
							 : "modified",
		command_dry_text(command));
	if (!words->json) {
		json_decref(taints);
		return 0;
	}
	return command_print_json(json_pack("{ss so sb}", "node", words->node, "taints", taints,
		"dryRun", words->dry_run != DRY_RUN_NONE));
}
