#include "runtime/docker-decode.h"

#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/time.h"
#include "runtime/json-scan.h"

/* Of one string that becomes a C string: ids, names, images, messages, times. */
#define DOCKER_TEXT_MAX 4096

static const char label_type[] = "io.kubernetes.docker.type";
static const char label_sandbox_id[] = "io.kubernetes.sandbox.id";
static const char label_pod[] = "io.kubernetes.pod.name";
static const char label_namespace[] = "io.kubernetes.pod.namespace";
static const char label_uid[] = "io.kubernetes.pod.uid";
static const char label_container[] = "io.kubernetes.container.name";
static const char label_project[] = "com.docker.compose.project";
static const char label_service[] = "com.docker.compose.service";
static const char label_number[] = "com.docker.compose.container-number";

/* ---- texts ---------------------------------------------------------------------------------- */

/* Where it has no escapes it is told as it stands in the answer. Empty when out of memory. */
static struct slice text_of(struct slice value, struct arena *arena)
{
	struct slice raw = json_scan_raw(value);
	char *out;

	if (raw.len == 0 || !memchr(raw.data, '\\', raw.len))
		return raw;
	out = arena_alloc(arena, raw.len);
	if (!out)
		return (struct slice){ 0 };
	return (struct slice){ out, json_scan_unescape(raw, out) };
}

/* A C string; "" for what is no string, cut where it is very long. NULL when out of memory. */
static const char *string_of(struct slice value, struct arena *arena)
{
	struct slice raw = json_scan_raw(value);
	size_t len = 0;
	char *out;

	if (raw.len == 0)
		return "";
	out = arena_alloc(arena, raw.len + 1);
	if (!out)
		return NULL;
	len = json_scan_unescape(raw, out);
	out[len < DOCKER_TEXT_MAX ? len : DOCKER_TEXT_MAX] = '\0';
	return out;
}

/* A time as Docker writes it; its zero time is year 1. */
static int64_t time_of(struct slice value)
{
	struct slice raw = json_scan_raw(value);
	char text[TIME_TEXT_MAX];
	int64_t ns;

	if (raw.len == 0 || raw.len >= sizeof(text))
		return 0;
	memcpy(text, raw.data, raw.len);
	text[raw.len] = '\0';
	return str_after(text, "0001-01-01") || time_parse_rfc3339(text, &ns) < 0 ? 0 : ns;
}

/* ---- versions ------------------------------------------------------------------------------- */

/* "1.41" is 41; there is no other major version. */
static bool read_api(struct slice value, unsigned *ret)
{
	struct slice raw = json_scan_raw(value);
	unsigned minor = 0;

	if (raw.len < 3 || raw.len > 5 || raw.data[0] != '1' || raw.data[1] != '.')
		return false;
	for (size_t i = 2; i < raw.len; i++) {
		if (raw.data[i] < '0' || raw.data[i] > '9')
			return false;
		minor = minor * 10 + (unsigned)(raw.data[i] - '0');
	}
	*ret = minor;
	return true;
}

int docker_decode_version(struct slice answer, struct docker_version *ret, char *text,
	size_t text_size, const char **ret_trouble)
{
	unsigned newest, oldest, speak;
	struct slice object, version, min;

	if (json_scan_check(answer, &object) < 0 || object.data[0] != '{') {
		*ret_trouble = "the answer to /version cannot be decoded";
		return -EBADMSG;
	}
	if (!read_api(json_scan_find(object, "ApiVersion"), &newest)) {
		*ret_trouble = "the answer to /version has no ApiVersion that we know: "
			       "is this a Docker Engine?";
		return -EBADMSG;
	}
	min = json_scan_find(object, "MinAPIVersion");
	if (!read_api(min, &oldest))
		oldest = newest; /* before Docker 1.13 there was but one */
	speak = oldest > DOCKER_API_OLDEST ? oldest : DOCKER_API_OLDEST;
	if (speak > newest || speak > DOCKER_API_NEWEST) {
		*ret_trouble = str_format(text, text_size,
			"the Docker Engine speaks API 1.%u to 1.%u, pleg speaks 1.%d to 1.%d",
			oldest, newest, DOCKER_API_OLDEST, DOCKER_API_NEWEST);
		return -EPROTONOSUPPORT;
	}
	version = json_scan_raw(json_scan_find(object, "Version"));
	(void)str_clean(
		ret->version, sizeof(ret->version), str_or_empty(version.data), version.len);
	(void)snprintf(ret->api, sizeof(ret->api), "1.%u", speak);
	return 0;
}

/* ---- what stands in both, list and inspection ------------------------------------------------ */

/*
 * "restarting" waits for its next life: the last one is over. "removing" and "dead" come after the
 * end, and a container that never ran is shown as one that ended while it is removed.
 */
static enum container_state state_of(struct slice value, enum container_detail *ret_detail)
{
	static const struct {
		const char *text;
		enum container_state state;
		enum container_detail detail;
	} states[] = {
		{ "running", CONTAINER_RUNNING, CONTAINER_PLAIN },
		{ "exited", CONTAINER_EXITED, CONTAINER_PLAIN },
		{ "created", CONTAINER_CREATED, CONTAINER_PLAIN },
		{ "paused", CONTAINER_RUNNING, CONTAINER_PAUSED },
		{ "restarting", CONTAINER_EXITED, CONTAINER_RESTARTING },
		{ "removing", CONTAINER_EXITED, CONTAINER_REMOVING },
		{ "dead", CONTAINER_EXITED, CONTAINER_DEAD },
	};
	struct slice raw = json_scan_raw(value);

	*ret_detail = CONTAINER_PLAIN;
	for (size_t i = 0; i < ELEMENTS(states); i++)
		if (slice_eq(raw, SLICE(states[i].text))) {
			*ret_detail = states[i].detail;
			return states[i].state;
		}
	return CONTAINER_UNKNOWN;
}

/* The kubelet's sandboxes are ready or not, and nothing else. */
static enum container_state state_of_kind(enum container_kind kind, enum container_state state)
{
	if (kind == CONTAINER_KIND_CONTAINER || state == CONTAINER_RUNNING)
		return state;
	return state == CONTAINER_UNKNOWN ? CONTAINER_UNKNOWN : CONTAINER_EXITED;
}

/* ---- lists ---------------------------------------------------------------------------------- */

int docker_list_check(struct slice answer, size_t *ret_entries)
{
	struct json_scan scan;
	struct slice array, entry;
	size_t count = 0;

	if (json_scan_check(answer, &array) < 0)
		return -EBADMSG;
	/* Old Engines say null where there is nothing. */
	if (array.data[0] != '[' && !slice_eq(array, SLICE("null")))
		return -EBADMSG;
	for (scan = json_scan_array(array); json_scan_element(&scan, &entry); count++)
		if (entry.data[0] != '{')
			return -EBADMSG;
	*ret_entries = count;
	return 0;
}

static bool list_wants(const struct docker_list *list, const struct list_entry *entry)
{
	if (list->sandbox_id.len == 0)
		return true;
	return slice_eq(list->sandbox_id,
		entry->kind == CONTAINER_KIND_SANDBOX ? entry->id : entry->sandbox_id);
}

/* Ids are hexadecimal: nothing in them needs an escape, and one that has some stays as it is. */
static void read_entry(struct slice raw, struct list_entry *ret)
{
	struct json_scan scan = json_scan_object(raw);
	struct slice key, value, labels = { 0 };

	*ret = (struct list_entry){
		.kind = CONTAINER_KIND_CONTAINER, .state = CONTAINER_UNKNOWN, .raw = raw
	};
	while (json_scan_member(&scan, &key, &value)) {
		if (slice_eq(key, SLICE("Id")))
			ret->id = json_scan_raw(value);
		else if (slice_eq(key, SLICE("State")))
			ret->state = state_of(value, &ret->detail);
		else if (slice_eq(key, SLICE("Labels")))
			labels = value;
	}
	if (slice_eq(json_scan_raw(json_scan_find(labels, label_type)), SLICE("podsandbox")))
		ret->kind = CONTAINER_KIND_SANDBOX;
	else
		ret->sandbox_id = json_scan_raw(json_scan_find(labels, label_sandbox_id));
	ret->state = state_of_kind(ret->kind, ret->state);
}

static void list_begin(struct docker_list *list, enum container_kind pass)
{
	list->pass = pass;
	list->rest = json_scan_array(list->answer);
}

static bool list_next(struct list_source *source, struct list_entry *ret)
{
	struct docker_list *list = (void *)source; /* the first member, and aligned as it is */
	struct slice raw;

	for (;;) {
		while (json_scan_element(&list->rest, &raw)) {
			read_entry(raw, ret);
			if (ret->kind == list->pass && list_wants(list, ret))
				return true;
		}
		if (list->pass == CONTAINER_KIND_CONTAINER)
			return false;
		list_begin(list, CONTAINER_KIND_CONTAINER);
	}
}

/* "/name": links from other containers stand there as well, as "/other/alias". */
static struct slice name_of(struct slice names, struct arena *arena)
{
	struct json_scan scan = json_scan_array(names);
	struct slice value, name;

	while (json_scan_element(&scan, &value)) {
		name = text_of(value, arena);
		if (name.len > 1 && name.data[0] == '/' &&
			!memchr(name.data + 1, '/', name.len - 1))
			return (struct slice){ name.data + 1, name.len - 1 };
	}
	return (struct slice){ 0 };
}

/* "k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT", to which a random part may have been added. None of
 * the fields before it can have an underscore. */
static uint32_t attempt_of(struct slice name)
{
	unsigned fields = 0;
	uint64_t attempt = 0;

	if (name.len < 4 || memcmp(name.data, "k8s_", 4) != 0)
		return 0;
	for (size_t i = 0; i < name.len; i++) {
		char c = name.data[i];

		if (c == '_')
			fields++;
		else if (fields == 5 && (c < '0' || c > '9'))
			return 0;
		else if (fields == 5)
			attempt = attempt * 10 + (uint64_t)(c - '0');
		if (fields > 5)
			break;
		if (attempt > UINT32_MAX)
			return 0;
	}
	return fields >= 5 ? (uint32_t)attempt : 0;
}

/* Empty when out of memory. */
static struct slice join(struct slice a, const char *between, struct slice b, struct arena *arena)
{
	size_t between_len = strlen(between), len = a.len + between_len + b.len;
	char *out = arena_alloc(arena, len + 1);

	if (!out)
		return (struct slice){ 0 };
	if (a.len > 0)
		memcpy(out, a.data, a.len);
	memcpy(out + a.len, between, between_len);
	memcpy(out + a.len + between_len, b.data, b.len);
	return (struct slice){ out, len };
}

/* The service with the number that tells its containers apart: "web-2". */
static struct slice compose_container(struct slice labels, struct slice name, struct arena *arena)
{
	struct slice service = text_of(json_scan_find(labels, label_service), arena);
	struct slice number = text_of(json_scan_find(labels, label_number), arena);

	if (service.len == 0)
		return name;
	return number.len > 0 ? join(service, "-", number, arena) : service;
}

static void list_describe(
	struct list_source *source, const struct list_entry *entry, struct container_identity *ret)
{
	struct docker_list *list = (void *)source; /* the first member, and aligned as it is */
	struct arena *arena = &list->arena;
	struct slice labels = json_scan_find(entry->raw, "Labels");
	struct slice name = name_of(json_scan_find(entry->raw, "Names"), arena);
	struct slice project;
	int64_t created_s = 0;

	*ret = (struct container_identity){
		.namespace = text_of(json_scan_find(labels, label_namespace), arena),
		.pod = text_of(json_scan_find(labels, label_pod), arena),
		.pod_uid = text_of(json_scan_find(labels, label_uid), arena),
	};
	if (json_scan_i64(json_scan_find(entry->raw, "Created"), &created_s) >= 0 &&
		__builtin_mul_overflow(created_s, (int64_t)NSEC_PER_SEC, &ret->created_at_ns))
		ret->created_at_ns = 0;
	if (ret->pod.len > 0 || ret->pod_uid.len > 0) {
		ret->attempt = attempt_of(name);
		if (entry->kind == CONTAINER_KIND_CONTAINER)
			ret->container = text_of(json_scan_find(labels, label_container), arena);
		return;
	}
	project = text_of(json_scan_find(labels, label_project), arena);
	if (project.len == 0) {
		ret->namespace = SLICE("docker");
		ret->pod = ret->container = name;
		return;
	}
	ret->namespace = SLICE("compose");
	ret->pod = project;
	ret->pod_uid = join((struct slice){ 0 }, DOCKER_COMPOSE_UID, project, arena);
	ret->container = compose_container(labels, name, arena);
}

void docker_list_init(struct docker_list *list, struct slice answer, const char *sandbox_id)
{
	list->source = (struct list_source){ list_next, list_describe };
	list->sandbox_id = SLICE(sandbox_id);
	(void)json_scan_check(answer, &list->answer); /* without the blanks around it */
	list_begin(list, CONTAINER_KIND_SANDBOX);
	arena_init(&list->arena, DOCKER_DECODE_MAX);
}

void docker_list_done(struct docker_list *list)
{
	arena_done(&list->arena);
}

/* ---- inspections ---------------------------------------------------------------------------- */

static void add_ip(struct slice network, const char *name, struct arena *arena,
	const char *ips[CONTAINER_IPS_MAX], size_t *count)
{
	const char *ip = string_of(json_scan_find(network, name), arena);

	if (!ip || ip[0] == '\0' || *count == CONTAINER_IPS_MAX)
		return;
	for (size_t i = 0; i < *count; i++)
		if (str_eq(ips[i], ip))
			return;
	ips[(*count)++] = ip;
}

static int set_ips(struct slice settings, struct arena *arena, struct container_status *ret)
{
	const char **ips = arena_alloc(arena, CONTAINER_IPS_MAX * sizeof(*ips));
	struct json_scan scan = json_scan_object(json_scan_find(settings, "Networks"));
	struct slice key, network;
	size_t count = 0;

	if (!ips)
		return -ENOMEM;
	/* Of the default network; newer Engines tell it among the others only. */
	add_ip(settings, "IPAddress", arena, ips, &count);
	add_ip(settings, "GlobalIPv6Address", arena, ips, &count);
	while (json_scan_member(&scan, &key, &network)) {
		add_ip(network, "IPAddress", arena, ips, &count);
		add_ip(network, "GlobalIPv6Address", arena, ips, &count);
	}
	ret->ips = ips;
	ret->ip_count = count;
	return 0;
}

/* The words that the kubelet had for it. */
static const char *reason_of(const struct container_status *status, struct slice state)
{
	int64_t code = 0;

	if (status->state == CONTAINER_CREATED)
		return json_scan_i64(json_scan_find(state, "ExitCode"), &code) >= 0 && code != 0
			? "ContainerCannotRun"
			: "";
	if (!status->has_exit_code)
		return "";
	if (json_scan_is_true(json_scan_find(state, "OOMKilled")))
		return "OOMKilled";
	return status->exit_code == 0 ? "Completed" : "Error";
}

/* What State says; `kind` is that of the status. */
static void set_state(struct slice state, struct container_status *ret)
{
	int64_t number;

	ret->state =
		state_of_kind(ret->kind, state_of(json_scan_find(state, "Status"), &ret->detail));
	ret->started_at_ns = time_of(json_scan_find(state, "StartedAt"));
	ret->finished_at_ns = time_of(json_scan_find(state, "FinishedAt"));
	if (json_scan_i64(json_scan_find(state, "Pid"), &number) >= 0 && number > 0 &&
		number <= INT32_MAX)
		ret->init_pid = (int32_t)number;
	if (ret->state == CONTAINER_RUNNING) { /* it is of the life before */
		ret->ended_before_ns = ret->finished_at_ns;
		ret->finished_at_ns = 0;
	}
	if (ret->state == CONTAINER_EXITED && ret->started_at_ns != 0 &&
		json_scan_i64(json_scan_find(state, "ExitCode"), &number) >= 0 &&
		number >= INT32_MIN && number <= INT32_MAX) {
		ret->has_exit_code = true;
		ret->exit_code = (int32_t)number;
	}
	ret->reason = reason_of(ret, state);
}

static int decode_status(struct slice object, struct arena *arena, struct container_status *ret)
{
	struct slice state = json_scan_find(object, "State");
	struct slice config = json_scan_find(object, "Config");
	int64_t restarts;
	int r = 0;

	set_state(state, ret);
	if (json_scan_i64(json_scan_find(object, "RestartCount"), &restarts) >= 0 && restarts > 0)
		ret->restarts = restarts < UINT32_MAX ? (uint32_t)restarts : UINT32_MAX;
	ret->created_at_ns = time_of(json_scan_find(object, "Created"));
	ret->message = string_of(json_scan_find(state, "Error"), arena);
	/* What it was called when the container was made; else the image's id. */
	ret->image = string_of(json_scan_find(config, "Image"), arena);
	if (ret->image && ret->image[0] == '\0')
		ret->image = string_of(json_scan_find(object, "Image"), arena);
	if (ret->kind == CONTAINER_KIND_SANDBOX) {
		ret->reason = ret->message = ret->image = "";
		r = set_ips(json_scan_find(object, "NetworkSettings"), arena, ret);
	}
	return r < 0 || arena->error < 0 ? -ENOMEM : 0;
}

int docker_decode_inspect(struct slice answer, enum container_kind kind, const char *id,
	struct arena *arena, struct container_status *ret, const char **ret_trouble)
{
	struct container_status status = { .kind = kind };
	struct slice object;

	*ret_trouble = "the answer cannot be decoded";
	if (json_scan_check(answer, &object) < 0 || object.data[0] != '{' ||
		json_scan_object(json_scan_find(object, "State")).at == NULL)
		return -EBADMSG;
	status.id = string_of(json_scan_find(object, "Id"), arena);
	if (!status.id || decode_status(object, arena, &status) < 0) {
		*ret_trouble = "out of memory for the answer";
		return -ENOMEM;
	}
	/* The Engine takes a name or the beginning of an id for the id. */
	if (!str_after(status.id, id)) {
		*ret_trouble = status.id[0] == '\0' ? "the answer has no id"
						    : "the answer is about another id";
		return -EBADMSG;
	}
	*ret = status;
	return 0;
}

/* ---- events --------------------------------------------------------------------------------- */

static bool event_type(struct slice action, enum hint_type *ret)
{
	static const struct {
		const char *action;
		enum hint_type type;
	} types[] = {
		{ "create", HINT_CREATE },
		{ "start", HINT_START },
		{ "die", HINT_EXIT },
		{ "destroy", HINT_DELETE },
		{ "oom", HINT_OOM },
		{ "pause", HINT_PAUSED },
		{ "unpause", HINT_RESUMED },
	};

	for (size_t i = 0; i < ELEMENTS(types); i++)
		if (slice_eq(action, SLICE(types[i].action))) {
			*ret = types[i].type;
			return true;
		}
	return false;
}

/* Docker's attributes are texts, numbers too. */
static void set_exit(struct slice attributes, struct hint *hint)
{
	struct slice code = json_scan_raw(json_scan_find(attributes, "exitCode"));
	int64_t number;

	hint->exited_at_ns = hint->sent_at_ns;
	if (json_scan_i64(code, &number) < 0 || number < INT32_MIN || number > INT32_MAX)
		return;
	hint->has_exit_code = true;
	hint->exit_code = (int32_t)number;
}

enum hint_fate docker_decode_event(struct slice line, struct hint *ret)
{
	struct slice object, actor;

	*ret = (struct hint){ .is_init = true };
	if (json_scan_check(line, &object) < 0 || object.data[0] != '{')
		return HINT_MALFORMED;
	if (!slice_eq(json_scan_raw(json_scan_find(object, "Type")), SLICE("container")))
		return HINT_FOREIGN;
	if (!event_type(json_scan_raw(json_scan_find(object, "Action")), &ret->type))
		return HINT_UNKNOWN;
	actor = json_scan_find(object, "Actor");
	if (!hint_id_copy(json_scan_raw(json_scan_find(actor, "ID")), ret->container_id))
		return HINT_MALFORMED;
	(void)json_scan_i64(json_scan_find(object, "timeNano"), &ret->sent_at_ns);
	if (ret->type == HINT_EXIT)
		set_exit(json_scan_find(actor, "Attributes"), ret);
	return HINT_TOLD;
}

/* ---- errors --------------------------------------------------------------------------------- */

const char *docker_decode_error(struct slice answer, char *out, size_t out_size)
{
	struct slice object, raw;
	struct arena arena;

	out[0] = '\0';
	if (json_scan_check(answer, &object) < 0)
		return out;
	arena_init(&arena, DOCKER_DECODE_MAX);
	raw = text_of(json_scan_find(object, "message"), &arena);
	if (raw.len > 0)
		(void)str_clean(out, out_size, raw.data, raw.len);
	arena_done(&arena);
	return out;
}
