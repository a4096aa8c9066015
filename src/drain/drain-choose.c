/* Which of the node's pods a drain takes: the list, and what drain/plan.h says of each. */
#include "drain/drain-internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "kube/object.h"

#define PODS_MAX 4096u
#define LIST_MAX (64u << 20) /* bytes */

static int put_encoded(struct buf *out, const char *text)
{
	int r = 0;

	for (; *text && r >= 0; text++) {
		bool plain = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
			(*text >= '0' && *text <= '9') || strchr("-._~", *text);

		r = plain ? buf_append(out, text, 1) : buf_printf(out, "%%%02X", (uint8_t)*text);
	}
	return r;
}

int drain_list(struct drain *d, bool is_chosen, json_t **ret, struct err *err)
{
	const char *selector = is_chosen ? d->words->pod_selector : NULL, *text;
	CLEAN(buf_done) struct buf query = BUF_INIT(8192);
	int r = buf_append_string(&query, "fieldSelector=spec.nodeName%3D");

	if (r >= 0)
		r = put_encoded(&query, d->words->node);
	if (r >= 0 && selector)
		r = buf_append_string(&query, "&labelSelector=");
	if (r >= 0 && selector)
		r = put_encoded(&query, selector);
	text = r >= 0 ? buf_string(&query) : NULL;
	if (!text)
		return err_set(err, -EINVAL, "The pod selector is too long");
	r = command_ask(d->command,
		&(struct kube_request){
			.path = "/api/v1/pods", .query = text, .size_max = LIST_MAX },
		ret, err);
	if (r >= 0 && !json_is_array(json_object_get(*ret, "items"))) {
		json_decref(*ret);
		return err_set(err, -EREMOTEIO, "The answer for the node's pods is no list");
	}
	return r;
}

static bool has_empty_dir(const json_t *pod)
{
	const json_t *volumes = kube_field(pod, "spec.volumes");

	for (size_t i = 0; i < json_array_size(volumes); i++)
		if (json_object_get(json_array_get(volumes, i), "emptyDir"))
			return true;
	return false;
}

/* Asked once for all pods of one DaemonSet, which come one behind the other only by chance: a node has
 * few of them, so the earlier pods are looked through. */
static int find_owner(struct drain *d, size_t index, enum drain_owner *ret, struct err *err)
{
	const struct pod *pod = &d->pods[index];
	const json_t *controller = kube_controller(pod->object);
	const char *kind = kube_string(controller, "kind"), *name = kube_string(controller, "name");
	int r;

	*ret = controller ? DRAIN_OWNER_OTHER : DRAIN_OWNER_NONE;
	if (!kind || !name || !str_eq(kind, "DaemonSet"))
		return 0;
	r = command_ask(d->command,
		&(struct kube_request){
			.path = str_format((char[640]){ 0 }, 640,
				"/apis/apps/v1/namespaces/%s/daemonsets/%s", pod->ns, name) },
		NULL, err);
	*ret = r == -ENOENT ? DRAIN_OWNER_DAEMONSET_GONE : DRAIN_OWNER_DAEMONSET;
	return r == -ENOENT ? 0 : r;
}

static int judge(struct drain *d, size_t index, struct err *err)
{
	const struct drain_flags flags = { d->words->ignore_daemonsets,
		d->words->delete_emptydir_data, d->words->force };
	struct pod *pod = &d->pods[index];
	const char *phase = str_or_empty(kube_string(pod->object, "status.phase"));
	struct drain_pod facts = { .is_finished =
					   str_eq(phase, "Succeeded") || str_eq(phase, "Failed"),
		.is_mirror = kube_annotation(pod->object, "kubernetes.io/config.mirror"),
		.has_empty_dir = has_empty_dir(pod->object) };
	int r = facts.is_mirror || facts.is_finished ? 0 : find_owner(d, index, &facts.owner, err);

	pod->verdict = drain_judge(&facts, &flags);
	return r;
}

static int take_pods(struct drain *d, const json_t *items, struct err *err)
{
	size_t count = json_array_size(items);
	int r = 0;

	if (count > PODS_MAX)
		return err_set(err, -E2BIG, "The node has over %u pods", PODS_MAX);
	d->pods = mem_array(count + 1, sizeof(*d->pods));
	if (!d->pods)
		return err_set(err, -ENOMEM, "Out of memory");
	for (size_t i = 0; i < count && r >= 0; i++) {
		json_t *object = json_array_get(items, i);
		struct pod *pod = &d->pods[d->count];

		*pod = (struct pod){ .ns = kube_namespace(object),
			.name = kube_name(object),
			.uid = kube_uid(object),
			.is_listed = true,
			.drain = d };
		if (!pod->ns || !pod->name || !pod->uid)
			return err_set(err, -EREMOTEIO,
				"The API server tells of a pod without a name or uid");
		pod->object = json_incref(object);
		r = judge(d, d->count++, err);
	}
	return r;
}

int drain_choose(struct drain *d, struct err *err)
{
	json_t *list = NULL;
	int r = drain_list(d, true, &list, err);

	if (r >= 0)
		r = take_pods(d, json_object_get(list, "items"), err);
	json_decref(list);
	return r;
}

/* "ns/a, ns/b and 3 more" of those for which it is so. */
static int put_names(struct buf *out, const struct drain *d, enum drain_action action, unsigned bit)
{
	size_t found = 0;
	int r = 0;

	for (size_t i = 0; i < d->count && r >= 0; i++) {
		const struct pod *pod = &d->pods[i];
		bool refused = pod->verdict.action == DRAIN_REFUSE;

		if (!(pod->verdict.why & bit) || refused != (action == DRAIN_REFUSE))
			continue;
		if (found++ < DRAIN_NAMES_MAX)
			r = buf_printf(out, "%s%s/%s", found > 1 ? ", " : " ", pod->ns, pod->name);
	}
	if (r >= 0 && found > DRAIN_NAMES_MAX)
		r = buf_printf(out, " and %zu more", found - DRAIN_NAMES_MAX);
	return r;
}

/* Warnings, or what forbids it; true: there was something. */
bool drain_tell_of(const struct drain *d, enum drain_action action)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(65536);
	int r = 0;

	for (enum drain_why why = 0; why < DRAIN_WHY_COUNT && r >= 0; why++) {
		CLEAN(buf_done) struct buf names = BUF_INIT(32768);

		r = put_names(&names, d, action, 1u << why);
		if (r < 0 || names.len == 0)
			continue;
		r = buf_printf(&out, "%s%s:%s", out.len > 0 ? "; " : "",
			action == DRAIN_REFUSE ? drain_refusal(why) : drain_warning(why),
			str_or_empty(buf_string(&names)));
	}
	if (out.len == 0)
		return false;
	if (action == DRAIN_REFUSE)
		command_complain("Unable to drain node \"%s\": %s", d->words->node,
			str_or_empty(buf_string(&out)));
	else
		command_complain("Warning: %s", str_or_empty(buf_string(&out)));
	return true;
}
