#include "runtime/containerd-decode.h"

#include <errno.h>

#include "base/mem.h"
#include "base/time.h"
#include "net/wire.h"

/* ---- pieces --------------------------------------------------------------------------------- */

struct stamp {
	int64_t seconds;
	int32_t nanos;
};

/* Each of these reads one field into *ret; false when it is malformed. */

static bool read_number(const struct field *field, uint64_t *ret)
{
	*ret = field->value;
	return field->wire == WIRE_VARINT;
}

static bool read_bytes(const struct field *field, struct slice *ret)
{
	if (field->wire != WIRE_BYTES)
		return false;
	*ret = slice_of(field->data);
	return true;
}

static bool read_stamp(const struct field *field, struct stamp *ret)
{
	struct scan s = field->data;
	struct field part;

	if (field->wire != WIRE_BYTES)
		return false;
	while (s.at < s.end) {
		if (!scan_field(&s, &part))
			return false;
		if (part.number > 2)
			continue;
		if (part.wire != WIRE_VARINT)
			return false;
		if (part.number == 1)
			ret->seconds = (int64_t)part.value;
		else
			ret->nanos = (int32_t)(uint32_t)part.value;
	}
	return true;
}

/* Wall clock in nanoseconds; 0 for what does not fit, as Go's zero time (the year 1). */
static int64_t stamp_ns(struct stamp stamp)
{
	int64_t ns;

	if (stamp.nanos < 0 || stamp.nanos >= (int32_t)NSEC_PER_SEC ||
		__builtin_mul_overflow(stamp.seconds, (int64_t)NSEC_PER_SEC, &ns) ||
		__builtin_add_overflow(ns, (int64_t)stamp.nanos, &ns))
		return 0;
	return ns;
}

/* uint32 on the wire; 0 for what no pid can be. */
static int32_t pid_of(uint64_t value)
{
	uint32_t pid = (uint32_t)value;

	return pid <= INT32_MAX ? (int32_t)pid : 0;
}

static bool exit_code_of(uint64_t value, int32_t *ret)
{
	uint32_t code = (uint32_t)value;

	if (code > INT32_MAX)
		return false;
	*ret = (int32_t)code;
	return true;
}

/* ---- events --------------------------------------------------------------------------------- */

/* What a type of event is, and where it has what; 0: it has none. container_id is always 1. */
static const struct event_shape {
	const char *type_url;
	enum hint_type type;
	uint8_t exec_id, pid, exit_status, exited_at;
} event_shapes[] = {
	{ "containerd.events.TaskExit", HINT_EXIT, 2, 3, 4, 5 },
	{ "containerd.events.TaskStart", HINT_START, 0, 2, 0, 0 },
	{ "containerd.events.TaskCreate", HINT_CREATE, 0, 6, 0, 0 },
	{ "containerd.events.TaskDelete", HINT_DELETE, 5, 2, 3, 4 },
	{ "containerd.events.TaskOOM", HINT_OOM, 0, 0, 0, 0 },
	{ "containerd.events.TaskPaused", HINT_PAUSED, 0, 0, 0, 0 },
	{ "containerd.events.TaskResumed", HINT_RESUMED, 0, 0, 0, 0 },
};

struct envelope {
	struct stamp timestamp;
	struct slice namespace, type_url, event;
};

static bool read_any(const struct field *field, struct envelope *ret)
{
	struct scan s = field->data;
	struct field part;
	bool ok = field->wire == WIRE_BYTES;

	while (ok && s.at < s.end) {
		ok = scan_field(&s, &part);
		if (ok && part.number == 1)
			ok = read_bytes(&part, &ret->type_url);
		else if (ok && part.number == 2)
			ok = read_bytes(&part, &ret->event);
	}
	return ok;
}

static bool read_envelope(struct slice message, struct envelope *ret)
{
	struct scan s = scan_of(message);
	struct field field;
	bool ok = true;

	while (ok && s.at < s.end) {
		ok = scan_field(&s, &field);
		if (ok && field.number == 1)
			ok = read_stamp(&field, &ret->timestamp);
		else if (ok && field.number == 2)
			ok = read_bytes(&field, &ret->namespace);
		else if (ok && field.number == 4)
			ok = read_any(&field, ret);
	}
	return ok;
}

/* containerd writes no "type.googleapis.com/" in front; others may. */
static const struct event_shape *find_shape(struct slice type_url)
{
	const char *slash = type_url.len > 0 ? memrchr(type_url.data, '/', type_url.len) : NULL;

	if (slash) {
		type_url.len -= (size_t)(slash + 1 - type_url.data);
		type_url.data = slash + 1;
	}
	for (size_t i = 0; i < ELEMENTS(event_shapes); i++)
		if (slice_eq(type_url, SLICE(event_shapes[i].type_url)))
			return &event_shapes[i];
	return NULL;
}

static bool read_event(struct slice event, const struct event_shape *shape, struct hint *ret)
{
	struct slice container_id = { 0 }, exec_id = { 0 };
	uint64_t pid = 0, exit_status = 0;
	struct stamp exited_at = { 0 };
	struct scan s = scan_of(event);
	struct field field;
	bool ok = true;

	while (ok && s.at < s.end) {
		ok = scan_field(&s, &field);
		if (!ok)
			break;
		if (field.number == 1)
			ok = read_bytes(&field, &container_id);
		else if (field.number == shape->exec_id)
			ok = read_bytes(&field, &exec_id);
		else if (field.number == shape->pid)
			ok = read_number(&field, &pid);
		else if (field.number == shape->exit_status)
			ok = read_number(&field, &exit_status);
		else if (field.number == shape->exited_at)
			ok = read_stamp(&field, &exited_at);
	}
	if (!ok || !hint_id_copy(container_id, ret->container_id))
		return false;
	ret->is_init = exec_id.len == 0 || slice_eq(exec_id, container_id);
	ret->pid = pid_of(pid);
	ret->has_exit_code = shape->exit_status != 0 && exit_code_of(exit_status, &ret->exit_code);
	ret->exited_at_ns = stamp_ns(exited_at);
	return true;
}

enum hint_fate containerd_decode_envelope(
	struct slice message, struct slice namespace, struct hint *ret)
{
	struct envelope envelope = { 0 };
	const struct event_shape *shape;

	if (!read_envelope(message, &envelope))
		return HINT_MALFORMED;
	if (!slice_eq(envelope.namespace, namespace))
		return HINT_FOREIGN;
	shape = find_shape(envelope.type_url);
	if (!shape)
		return HINT_UNKNOWN;
	*ret = (struct hint){
		.type = shape->type,
		.sent_at_ns = stamp_ns(envelope.timestamp),
	};
	return read_event(envelope.event, shape, ret) ? HINT_TOLD : HINT_MALFORMED;
}

/* ---- tasks ---------------------------------------------------------------------------------- */

enum {
	PROCESS_CONTAINER_ID = 1,
	PROCESS_ID = 2,
	PROCESS_PID = 3,
	PROCESS_STATUS = 4,
	PROCESS_EXIT_STATUS = 9,
	PROCESS_EXITED_AT = 10,
};

enum containerd_status containerd_decode_status(uint64_t value)
{
	switch ((uint32_t)value) {
	case 1: return CONTAINERD_CREATED;
	case 2: return CONTAINERD_RUNNING;
	case 3: return CONTAINERD_STOPPED;
	case 4: return CONTAINERD_PAUSED;
	case 5: return CONTAINERD_PAUSING;
	}
	return CONTAINERD_UNKNOWN;
}

static bool read_process(struct scan s, struct containerd_task *ret)
{
	uint64_t pid = 0, status = 0, exit_status = 0;
	struct slice container_id = { 0 }, id = { 0 };
	struct stamp exited_at = { 0 };
	struct field field;
	bool ok = true;

	while (ok && s.at < s.end) {
		ok = scan_field(&s, &field);
		if (!ok)
			break;
		if (field.number == PROCESS_CONTAINER_ID)
			ok = read_bytes(&field, &container_id);
		else if (field.number == PROCESS_ID)
			ok = read_bytes(&field, &id);
		else if (field.number == PROCESS_PID)
			ok = read_number(&field, &pid);
		else if (field.number == PROCESS_STATUS)
			ok = read_number(&field, &status);
		else if (field.number == PROCESS_EXIT_STATUS)
			ok = read_number(&field, &exit_status);
		else if (field.number == PROCESS_EXITED_AT)
			ok = read_stamp(&field, &exited_at);
	}
	*ret = (struct containerd_task){
		.pid = pid_of(pid),
		.status = containerd_decode_status(status),
		.exited_at_ns = stamp_ns(exited_at),
	};
	ret->has_exit_code =
		ret->status == CONTAINERD_STOPPED && exit_code_of(exit_status, &ret->exit_code);
	return ok && hint_id_copy(container_id.len > 0 ? container_id : id, ret->container_id);
}

/* Takes the next field 1 off the front: 1, 0 at the end, -EBADMSG. */
static int take_process(struct slice *rest, struct scan *ret)
{
	struct scan s = scan_of(*rest);
	struct field field;

	while (s.at < s.end) {
		if (!scan_field(&s, &field))
			return -EBADMSG;
		if (field.number != 1)
			continue;
		if (field.wire != WIRE_BYTES)
			return -EBADMSG;
		*ret = field.data;
		*rest = slice_of(s);
		return 1;
	}
	return 0;
}

int containerd_decode_validate(struct slice answer, size_t *ret_count)
{
	struct containerd_task task;
	struct scan process;
	size_t count = 0;
	int r;

	while ((r = take_process(&answer, &process)) > 0) {
		if (!read_process(process, &task))
			return -EBADMSG;
		count++;
	}
	if (r < 0)
		return r;
	*ret_count = count;
	return 0;
}

bool containerd_decode_next(struct slice *rest, struct containerd_task *ret)
{
	struct scan process;

	return take_process(rest, &process) > 0 && !NEVER(!read_process(process, ret));
}

const char *containerd_decode_version(struct slice answer, char *out, size_t out_size)
{
	struct scan s = scan_of(answer);
	struct slice version = { "", 0 };
	struct field field;

	while (s.at < s.end && scan_field(&s, &field))
		if (field.number == 1 && field.wire == WIRE_BYTES)
			version = slice_of(field.data);
	return str_clean(out, out_size, version.data, version.len);
}

const char *containerd_status_text(enum containerd_status status)
{
	switch (status) {
	case CONTAINERD_UNKNOWN: return "unknown";
	case CONTAINERD_CREATED: return "created";
	case CONTAINERD_RUNNING: return "running";
	case CONTAINERD_STOPPED: return "stopped";
	case CONTAINERD_PAUSED: return "paused";
	case CONTAINERD_PAUSING: return "pausing";
	}
	return "unknown";
}
