#include "trace/resolve.h"

#include <errno.h>
#include <stdio.h>

#include <jansson.h>

#include "base/clock.h"
#include "trace/look.h"

#define TURN_USEC 100000
#define IDS_MAX   8u

/* ---- the runtime's list ---------------------------------------------------------------------- */

static void on_done(void *userdata, const struct runtime_result *result)
{
	struct resolve *s = userdata;

	if (!s->is_open)
		return; /* It was late. */
	s->is_open = false;
	if (result->outcome == RUNTIME_OK) {
		subject_match(s->query, result->list, &s->match);
		s->has_list = true;
	} else {
		(void)str_clean(
			s->failure, sizeof(s->failure), result->message, strlen(result->message));
	}
}

static void on_late(void *userdata)
{
	struct resolve *s = userdata;
	char text[TIME_TEXT_MAX];

	s->is_open = false;
	(void)snprintf(s->failure, sizeof(s->failure), "the runtime has not answered within %s",
		time_format_go(text, TRACE_CALL_NS));
}

static const struct runtime_callbacks callbacks = { .on_done = on_done, .on_late = on_late };

static int ask_runtime(struct resolve *s, struct runtime *runtime)
{
	const struct runtime_call_options options = {
		.callbacks = &callbacks,
		.userdata = s,
		.timeout_ns = TRACE_CALL_NS,
	};
	int r = runtime_list(runtime, NULL, NULL, &options);

	s->is_open = r >= 0;
	while (r >= 0 && s->is_open && clock_now().mono_ns < s->end_ns)
		r = sd_event_run(s->loop, TURN_USEC);
	return r;
}

/* ---- an agent's list ------------------------------------------------------------------------- */

struct agent_list {
	struct list_source source;
	const json_t *pods;
	size_t pod, container;
};

static struct slice text_of(const json_t *object, const char *key)
{
	const json_t *text = json_object_get(object, key);

	return (struct slice){ json_is_string(text) ? json_string_value(text) : "",
		json_string_length(text) };
}

static enum container_state state_of(struct slice text)
{
	static const enum container_state states[] = { CONTAINER_CREATED, CONTAINER_RUNNING,
		CONTAINER_EXITED };

	for (size_t i = 0; i < ELEMENTS(states); i++) {
		const char *name = container_state_text(states[i]);

		if (slice_eq(text, (struct slice){ name, strlen(name) }))
			return states[i];
	}
	return CONTAINER_UNKNOWN;
}

/* The entry that next() told last. */
static const json_t *agent_entry(const struct agent_list *list, const json_t **ret_pod)
{
	const json_t *pod = json_array_get(list->pods, list->pod);

	*ret_pod = pod;
	return json_array_get(json_object_get(pod, "containers"), list->container - 1);
}

static bool agent_next(struct list_source *source, struct list_entry *ret)
{
	struct agent_list *list = (struct agent_list *)source;
	const json_t *entry = NULL, *pod;

	while (list->pod < json_array_size(list->pods)) {
		list->container++;
		entry = agent_entry(list, &pod);
		if (entry)
			break;
		list->pod++;
		list->container = 0;
	}
	if (!entry)
		return false;
	*ret = (struct list_entry){
		.kind = slice_eq(text_of(entry, "kind"), SLICE("sandbox"))
			? CONTAINER_KIND_SANDBOX
			: CONTAINER_KIND_CONTAINER,
		.state = state_of(text_of(entry, "state")),
		.id = text_of(entry, "containerID"),
		.sandbox_id = text_of(entry, "sandboxID"),
	};
	return true;
}

static void agent_describe(
	struct list_source *source, const struct list_entry *entry, struct container_identity *ret)
{
	const json_t *pod, *c = agent_entry((struct agent_list *)source, &pod);
	json_int_t attempt = json_integer_value(json_object_get(c, "attempt"));

	(void)entry;
	*ret = (struct container_identity){
		.namespace = text_of(pod, "namespace"),
		.pod = text_of(pod, "pod"),
		.pod_uid = text_of(pod, "podUID"),
		.container = text_of(c, "container"),
		.attempt = attempt > 0 && attempt <= UINT32_MAX ? (uint32_t)attempt : 0,
	};
}

static void ask_agent(struct resolve *s)
{
	const struct trace_options *options = s->options;
	struct agent_list list = {
		.source = { .next = agent_next, .describe = agent_describe },
	};
	json_t *document;

	if (!options->pods || options->pods(options->userdata, &document) < 0)
		return;
	list.pods = json_object_get(document, "pods");
	subject_match(s->query, &list.source, &s->match);
	s->has_list = true;
	json_decref(document);
}

/* ---- the kernel's ids ------------------------------------------------------------------------ */

/* `r` is what the list said, with its text. */
static int ask_kernel(struct resolve *s, int r, struct trace_subject *ret, struct err *reterr)
{
	const struct subject_query *query = s->query;
	char ids[IDS_MAX][TRACE_ID_MAX + 1];
	unsigned count = 0;

	if (query->may_be_id && strlen(query->container) >= SUBJECT_PREFIX_MIN)
		count = look_ids(query->container, ids, IDS_MAX);
	if (count > 1)
		return err_set(reterr, -ENOTUNIQ, "'%.100s' fits %u containers: %.12s, %.12s%s",
			query->text, count, ids[0], ids[1], count > 2 ? ", ..." : "");
	if (count == 1) {
		memcpy(ret->id, ids[0], sizeof(ids[0]));
		return 0;
	}
	if (s->has_list)
		return r;
	return err_set(reterr, -EHOSTDOWN,
		"'%.100s' cannot be resolved: %s. An id of a running container would do",
		query->text, s->failure[0] ? s->failure : "no container runtime answers");
}

int trace_resolve(
	struct resolve *s, struct runtime *runtime, struct trace_subject *ret, struct err *reterr)
{
	int r = 0;

	if (runtime)
		r = ask_runtime(s, runtime);
	if (r < 0)
		return r;
	if (!s->has_list)
		ask_agent(s);
	if (s->has_list) {
		r = subject_result(s->query, &s->match, reterr);
		if (r >= 0)
			*ret = s->match.best;
		if (r != -ENOENT)
			return r;
	}
	return ask_kernel(s, r, ret, reterr);
}
