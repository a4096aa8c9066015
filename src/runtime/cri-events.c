#include "runtime/cri-events.h"

#include <errno.h>

#include "base/mem.h"
#include "net/grpc.h"
#include "net/wire.h"
#include "runtime/cri-events-decode.h"
#include "runtime/hint-stream.h"
#include "runtime/remote.h"

struct cri_events {
	struct grpc_client *client;
	struct hint_stream *stream;
	bool is_closing;
};

/* ---- may it be asked ------------------------------------------------------------------------ */

bool cri_events_is_safe(
	const char *runtime_name, const char *runtime_version, bool kubelet_is_beside)
{
	char major[8] = "";
	uint64_t number;
	size_t len;

	if (!kubelet_is_beside || !str_eq(runtime_name, "containerd"))
		return true;
	if (runtime_version[0] == 'v')
		runtime_version++;
	len = strspn(runtime_version, "0123456789");
	if (len == 0 || len >= sizeof(major) || runtime_version[len] != '.')
		return false;
	memcpy(major, runtime_version, len);
	return str_to_u64(major, &number) >= 0 && number >= 2;
}

/* ---- what comes ----------------------------------------------------------------------------- */

/* Numbers of ContainerEventResponse and ContainerStatus in proto/cri.proto. */
enum {
	EVENT_CONTAINER_ID = 1,
	EVENT_TYPE = 2,
	EVENT_CREATED_AT = 3,
	EVENT_CONTAINERS = 5,
	STATUS_ID = 1,
	STATUS_STATE = 3,
	STATUS_FINISHED_AT = 6,
	STATUS_EXIT_CODE = 7,
};

#define STATUS_STATE_EXITED 2

struct event_status {
	struct slice id;
	uint64_t state, finished_at, exit_code;
};

static bool read_status(struct scan s, struct event_status *ret)
{
	struct field field;

	*ret = (struct event_status){ 0 };
	while (s.at < s.end) {
		uint64_t *number = NULL;

		if (!scan_field(&s, &field))
			return false;
		switch (field.number) {
		case STATUS_ID:
			if (field.wire != WIRE_BYTES)
				return false;
			ret->id = slice_of(field.data);
			break;
		case STATUS_STATE: number = &ret->state; break;
		case STATUS_FINISHED_AT: number = &ret->finished_at; break;
		case STATUS_EXIT_CODE: number = &ret->exit_code; break;
		}
		if (number && field.wire != WIRE_VARINT)
			return false;
		if (number)
			*number = field.value;
	}
	return true;
}

/* Looks for the exit code of the container that the event is about. */
static bool read_exit(struct slice message, struct hint *hint)
{
	struct scan s = scan_of(message);
	struct event_status status;
	struct field field;

	while (s.at < s.end) {
		if (!scan_field(&s, &field))
			return false;
		if (field.number != EVENT_CONTAINERS)
			continue;
		if (field.wire != WIRE_BYTES || !read_status(field.data, &status))
			return false;
		if ((uint32_t)status.state != STATUS_STATE_EXITED ||
			!slice_eq(status.id, SLICE(hint->container_id)))
			continue;
		hint->has_exit_code = true;
		hint->exit_code = (int32_t)(uint32_t)status.exit_code;
		hint->exited_at_ns = (int64_t)status.finished_at;
	}
	return true;
}

static bool read_id(const struct field *field, struct hint *hint)
{
	return field->wire == WIRE_BYTES && hint_id_copy(slice_of(field->data), hint->container_id);
}

/* Enums are 32 bits on the wire's 64: the upper half is cut off, as protobuf does. */
static bool set_type(uint64_t value, struct hint *hint)
{
	static const enum hint_type types[] = { HINT_CREATE, HINT_START, HINT_EXIT, HINT_DELETE };

	if ((uint32_t)value >= ELEMENTS(types))
		return false;
	hint->type = types[(uint32_t)value];
	return true;
}

enum hint_fate cri_events_decode(struct slice message, struct hint *ret)
{
	struct scan s = scan_of(message);
	struct field field;
	uint64_t type = 0;

	*ret = (struct hint){ .is_init = true };
	while (s.at < s.end) {
		if (!scan_field(&s, &field))
			return HINT_MALFORMED;
		if (field.number == EVENT_CONTAINER_ID && !read_id(&field, ret))
			return HINT_MALFORMED;
		if ((field.number == EVENT_TYPE || field.number == EVENT_CREATED_AT) &&
			field.wire != WIRE_VARINT)
			return HINT_MALFORMED;
		if (field.number == EVENT_TYPE)
			type = field.value;
		else if (field.number == EVENT_CREATED_AT)
			ret->sent_at_ns = (int64_t)field.value;
	}
	if (ret->container_id[0] == '\0')
		return HINT_MALFORMED;
	if (!set_type(type, ret))
		return HINT_UNKNOWN;
	if ((ret->type == HINT_EXIT || ret->type == HINT_DELETE) && !read_exit(message, ret))
		return HINT_MALFORMED;
	return HINT_TOLD;
}

/* ---- the object ----------------------------------------------------------------------------- */

static enum hint_fate decode(void *owner, struct slice message, struct hint *ret)
{
	return cri_events_decode(message, ret);
}

DEFINE_FREEP(struct cri_events *, cri_events_free)

int cri_events_open(sd_event *loop, const char *endpoint, const struct hint_callbacks *callbacks,
	void *userdata, struct cri_events **ret, struct err *reterr)
{
	static const struct hint_source source = {
		.path = "/runtime.v1.RuntimeService/GetContainerEvents",
		.probe_path = "/runtime.v1.RuntimeService/Version",
		/* CRI-O ends the stream at once where it is switched off. */
		.silent_end_is_absent = true,
		.absent_text = "the runtime has no container events, or has them switched off",
		.decode = decode,
	};
	CLEAN(cri_events_freep) struct cri_events *events = NULL;
	const char *path = remote_path(endpoint);
	int r;

	if (!path)
		return err_set(reterr, -EINVAL,
			"Runtime endpoint '%s' is not of the form unix:///path/of.sock", endpoint);
	events = mem_zalloc(sizeof(*events));
	if (!events)
		return err_set(reterr, -ENOMEM, "Out of memory for a runtime's events");
	r = grpc_client_new(loop, path, &events->client, reterr);
	if (r < 0)
		return r;
	r = hint_stream_new(loop, events->client, &source, callbacks, userdata, &events->stream);
	if (r < 0)
		return err_set(reterr, r, "Out of memory for a runtime's events");
	*ret = TAKE_PTR(events);
	return 0;
}

struct cri_events *cri_events_free(struct cri_events *events)
{
	if (!events || events->is_closing)
		return NULL;
	events->is_closing = true;
	if (events->stream)
		hint_stream_close(events->stream);
	events->client = grpc_client_free(events->client);
	events->stream = hint_stream_free(events->stream);
	return mem_free(events);
}

void cri_events_statistics(const struct cri_events *events, struct hint_statistics *ret)
{
	hint_stream_statistics(events->stream, ret);
}
