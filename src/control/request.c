/*
 * The request line: parsing what a stranger sent, and writing what we send. Does no I/O.
 *
 * Unknown fields are ignored, so that an older agent understands a newer command; a known field of
 * the wrong type is an error, since guessing at it would answer another question.
 */
#include "control/control.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

static const char *const type_names[] = {
	[CONTROL_STATUS] = "status",
	[CONTROL_PODS] = "pods",
	[CONTROL_VERSION] = "version",
	[CONTROL_EVENTS] = "events",
	[CONTROL_INCIDENTS] = "incidents",
};

const char *control_request_text(enum control_request_type type)
{
	return type_names[type];
}

static int get_bool(const json_t *object, const char *key, bool *ret, struct err *reterr)
{
	const json_t *value = json_object_get(object, key);

	if (!value || json_is_null(value))
		return 0;
	if (!json_is_boolean(value))
		return err_set(reterr, -EINVAL, "'%s' is to be true or false", key);
	*ret = json_is_true(value);
	return 0;
}

static int get_count(const json_t *object, const char *key, uint64_t *ret, struct err *reterr)
{
	const json_t *value = json_object_get(object, key);

	if (!value || json_is_null(value))
		return 0;
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return err_set(reterr, -EINVAL, "'%s' is to be a whole number, 0 or more", key);
	*ret = (uint64_t)json_integer_value(value);
	return 0;
}

static int get_text(const json_t *object, const char *key, const char **ret, struct err *reterr)
{
	const json_t *value = json_object_get(object, key);

	if (!value || json_is_null(value))
		return 0;
	if (!json_is_string(value))
		return err_set(reterr, -EINVAL, "'%s' is to be a text", key);
	*ret = json_string_value(value);
	return 0;
}

static int get_time(const json_t *object, const char *key, int64_t *ret, struct err *reterr)
{
	const char *text = NULL;
	int r = get_text(object, key, &text, reterr);

	if (r < 0 || !text)
		return r;
	if (time_parse_rfc3339(text, ret) < 0 || *ret <= 0)
		return err_set(
			reterr, -EINVAL, "'%s' is to be a time such as 2026-11-23T15:04:05Z", key);
	return 0;
}

static int check(const struct control_request *request, struct err *reterr)
{
	if (request->since_ns && request->tail != CONTROL_TAIL_UNSET)
		return err_set(reterr, -EINVAL, "'since' and 'tail': only one of them");
	if (request->since_ns && request->from != CONTROL_FROM_UNSET && !request->epoch)
		return err_set(reterr, -EINVAL, "'since' and 'from': that needs 'epoch'");
	return 0;
}

static int get_type(const json_t *object, enum control_request_type *ret, struct err *reterr)
{
	const json_t *value = json_object_get(object, "request");
	char clean[64];

	if (!json_is_string(value))
		return err_set(reterr, -EINVAL, "'request' is missing");
	for (size_t i = 0; i < ELEMENTS(type_names); i++)
		if (str_eq(json_string_value(value), type_names[i])) {
			*ret = (enum control_request_type)i;
			return 0;
		}
	return err_set(reterr, -EINVAL,
		"Unknown request '%s'; known are status, pods, version, events and incidents",
		str_clean(
			clean, sizeof(clean), json_string_value(value), json_string_length(value)));
}

static int parse_fields(const json_t *object, struct control_request *request, struct err *reterr)
{
	const json_t *protocol = json_object_get(object, "protocol");
	int r;

	if (!json_is_integer(protocol))
		return err_set(reterr, -EINVAL, "'protocol' is missing; this agent speaks %d",
			CONTROL_PROTOCOL);
	if (json_integer_value(protocol) != CONTROL_PROTOCOL)
		return err_set(reterr, -EPROTONOSUPPORT,
			"Protocol %lld is not known; this agent speaks %d",
			(long long)json_integer_value(protocol), CONTROL_PROTOCOL);
	r = get_type(object, &request->type, reterr);
	if (r >= 0)
		r = get_bool(object, "follow", &request->follow, reterr);
	if (r >= 0)
		r = get_bool(object, "kubelet", &request->kubelet, reterr);
	if (r >= 0)
		r = get_count(object, "from", &request->from, reterr);
	if (r >= 0)
		r = get_count(object, "tail", &request->tail, reterr);
	if (r >= 0)
		r = get_text(object, "epoch", &request->epoch, reterr);
	if (r >= 0)
		r = get_time(object, "since", &request->since_ns, reterr);
	if (r >= 0)
		r = get_text(object, "namespace", &request->namespace, reterr);
	if (r >= 0)
		r = get_text(object, "pod", &request->pod, reterr);
	if (r >= 0)
		r = get_text(object, "container", &request->container, reterr);
	if (r >= 0)
		r = get_text(object, "id", &request->id, reterr);
	if (r >= 0)
		r = get_bool(object, "open", &request->open, reterr);
	return r < 0 ? r : check(request, reterr);
}

int control_request_parse(
	const char *line, size_t len, struct control_request *ret, struct err *reterr)
{
	struct control_request request = CONTROL_REQUEST_INIT(CONTROL_STATUS);
	json_error_t problem;
	char clean[128];
	int r;

	/* jansson bounds the depth, refuses \u0000 and text behind the object by itself. */
	request.json = json_loadb(line, len, JSON_REJECT_DUPLICATES, &problem);
	if (!request.json)
		return err_set(reterr, -EBADMSG, "Not a line of JSON: column %d: %s",
			problem.column,
			str_clean(clean, sizeof(clean), problem.text, strlen(problem.text)));
	if (!json_is_object(request.json))
		r = err_set(reterr, -EBADMSG, "A request is a JSON object");
	else
		r = parse_fields(request.json, &request, reterr);
	if (r < 0) {
		control_request_done(&request);
		return r;
	}
	*ret = request;
	return 0;
}

void control_request_done(struct control_request *request)
{
	json_decref(request->json);
	*request = CONTROL_REQUEST_INIT(request->type);
}

static void set_count(json_t *object, const char *key, uint64_t value, uint64_t unset)
{
	(void)json_object_set_new(object, key,
		value == unset || value > INT64_MAX ? json_null()
						    : json_integer((json_int_t)value));
}

static void set_text(json_t *object, const char *key, const char *value)
{
	(void)json_object_set_new(object, key, value ? json_string(value) : json_null());
}

static int append_json(const char *text, size_t len, void *out)
{
	return buf_append(out, text, len);
}

int control_request_format(const struct control_request *request, struct buf *out)
{
	json_t *object = json_pack(
		"{s:i, s:s}", "protocol", CONTROL_PROTOCOL, "request", type_names[request->type]);
	char since[TIME_TEXT_MAX];
	int r;

	if (!object)
		return -ENOMEM;
	if (request->type == CONTROL_EVENTS) {
		(void)json_object_set_new(object, "follow", json_boolean(request->follow));
		(void)json_object_set_new(object, "kubelet", json_boolean(request->kubelet));
		set_count(object, "from", request->from, CONTROL_FROM_UNSET);
		set_count(object, "tail", request->tail, CONTROL_TAIL_UNSET);
		set_text(object, "epoch", request->epoch);
		set_text(object, "since",
			request->since_ns ? time_format_rfc3339(since, request->since_ns) : NULL);
		set_text(object, "namespace", request->namespace);
		set_text(object, "pod", request->pod);
		set_text(object, "container", request->container);
		/* A text that is not UTF-8, or no memory, leaves its field out: another question.
		 */
		if (json_object_size(object) != 11) {
			json_decref(object);
			return -EINVAL;
		}
	}
	if (request->type == CONTROL_INCIDENTS) {
		(void)json_object_set_new(object, "open", json_boolean(request->open));
		set_text(object, "id", request->id);
		set_text(object, "since",
			request->since_ns ? time_format_rfc3339(since, request->since_ns) : NULL);
		if (json_object_size(object) != 5) {
			json_decref(object);
			return -EINVAL;
		}
	}
	r = json_dump_callback(object, append_json, out, JSON_COMPACT) < 0 ? -ENOMEM : 0;
	json_decref(object);
	return r < 0 ? r : buf_append_string(out, "\n");
}
