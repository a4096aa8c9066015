/* Evictions, or deletions where they were asked for: side by side, again while a budget refuses. */
#include "drain/drain-internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "kube/object.h"

#define EVICTIONS_MAX 16u
#define RETRY_NS      (5 * NSEC_PER_SEC) /* after a budget has refused */

/* As the API server words the cause of a refusal to make anything in a namespace that is being deleted,
 * evictions among it (k8s.io/api/core/v1, NamespaceTerminatingCause). */
#define NAMESPACE_ENDS "NamespaceTerminating"

/* The text behind the general one, which names the budget: details.causes of a Status. Without a full
 * stop: it becomes a part of a sentence. */
static void take_refusal(struct pod *pod, const struct kube_answer *answer, const char *text)
{
	json_t *status = kube_parse(answer->body, answer->body_len);
	const json_t *causes = kube_field(status, "details.causes");
	const char *cause = kube_string(json_array_get(causes, 0), "message"), *reason;
	size_t len;

	for (size_t i = 0; i < json_array_size(causes) && answer->http == 403; i++) {
		reason = kube_string(json_array_get(causes, i), "reason");
		pod->is_namespace_ending |= reason && str_eq(reason, NAMESPACE_ENDS);
	}
	if (pod->is_namespace_ending) /* the same once more */
		cause = NULL;
	(void)snprintf(pod->answer, sizeof(pod->answer), "%s%s%s", text, cause ? " " : "",
		str_or_empty(cause));
	len = strlen(pod->answer);
	if (len > 0 && pod->answer[len - 1] == '.')
		pod->answer[len - 1] = '\0';
	json_decref(status);
}

static void on_evicted(const struct kube_answer *answer, void *userdata)
{
	struct pod *pod = userdata;
	struct drain *d = pod->drain;
	const char *what = d->words->disable_eviction ? "delete" : "evict";
	struct err err = { 0 };

	pod->is_asking = false;
	pod->is_namespace_ending = false;
	d->asking--;
	pod->http = answer->http;
	pod->answer[0] = '\0';
	if (answer->error == KUBE_OK && answer->http >= 200 && answer->http <= 299) {
		pod->is_accepted = true;
		pod->is_gone = d->words->dry_run != DRY_RUN_NONE;
		return;
	}
	(void)command_refusal(d->command, answer, &err);
	take_refusal(pod, answer, err.text);
	if (answer->error == KUBE_OK && (answer->http == 404 || answer->http == 409)) {
		pod->is_gone = true; /* or replaced by one of the same name */
		command_say(d->command, "pod/%s -n %s gone", pod->name, pod->ns);
		return;
	}
	pod->due_ns = drain_now_ns() +
		(answer->retry_after_ns > RETRY_NS
				? time_min(answer->retry_after_ns, KUBE_AFTER_MAX_NS)
				: RETRY_NS);
	if (answer->error != KUBE_OK || answer->http >= 500)
		return;
	/* One that is marked already goes without being evicted; one that is not yet will be. */
	if (pod->is_namespace_ending && pod->deadline_ns > 0)
		pod->is_accepted = true;
	else if (answer->http == 429 || pod->is_namespace_ending)
		command_complain("Cannot %s %s/%s yet, again in %.0f s: %s", what, pod->ns,
			pod->name, time_seconds(pod->due_ns - drain_now_ns()), pod->answer);
	else {
		pod->has_failed = true;
		command_complain("Cannot %s %s/%s: %s", what, pod->ns, pod->name, pod->answer);
	}
}

json_t *drain_delete_options(const struct drain *d, const struct pod *pod, int64_t grace_s)
{
	json_t *options = json_pack("{s{ss}}", "preconditions", "uid", pod->uid);

	if (options && grace_s >= 0)
		(void)json_object_set_new(
			options, "gracePeriodSeconds", json_integer((json_int_t)grace_s));
	if (options && d->words->dry_run == DRY_RUN_SERVER)
		(void)json_object_set_new(options, "dryRun", json_pack("[s]", "All"));
	return options;
}

static int evict(struct drain *d, struct pod *pod)
{
	json_t *body = drain_delete_options(d, pod, d->words->grace_s);
	bool is_delete = d->words->disable_eviction;
	char path[640], *text;
	int r = -ENOMEM;

	if (!is_delete)
		body = json_pack("{ss ss s{ss ss} so}", "apiVersion", "policy/v1", "kind",
			"Eviction", "metadata", "name", pod->name, "namespace", pod->ns,
			"deleteOptions", body);
	text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	(void)snprintf(path, sizeof(path), "/api/v1/namespaces/%s/pods/%s%s", pod->ns, pod->name,
		is_delete ? "" : "/eviction");
	if (text)
		r = kube_request(d->command->client,
			&(struct kube_request){ .method = is_delete ? "DELETE" : "POST",
				.path = path,
				.body = text,
				.body_len = strlen(text),
				.tries = 1 },
			on_evicted, pod, NULL);
	free(text); /* allowed: jansson's own */
	json_decref(body);
	if (r >= 0) {
		pod->is_asking = true;
		d->asking++;
	}
	return r;
}

int drain_evict_due(struct drain *d)
{
	uint64_t now = drain_now_ns();
	int r = 0;

	for (size_t i = 0; i < d->count && r >= 0 && d->asking < EVICTIONS_MAX; i++) {
		struct pod *pod = &d->pods[i];

		if (!pod_is_open(pod) || pod->is_asking || pod->is_accepted || pod->has_failed ||
			now < pod->due_ns)
			continue;
		if (pod->due_ns == 0)
			command_say(d->command, "%s pod %s/%s%s",
				d->words->disable_eviction ? "deleting" : "evicting", pod->ns,
				pod->name, command_dry_text(d->command));
		if (d->words->dry_run == DRY_RUN_CLIENT)
			pod->is_gone = true;
		else
			r = evict(d, pod);
	}
	return r;
}
