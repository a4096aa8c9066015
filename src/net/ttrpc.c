#include "net/ttrpc.h"

#include <errno.h>

#include "base/mem.h"
#include "net/wire.h"
#include "ttrpc.pb-c.h"

enum {
	FRAME_REQUEST = 1,
	FRAME_RESPONSE = 2,
	FRAME_DATA = 3,
};

#define FRAME_FLAGS      0x07u /* remote closed, remote open, no data */
#define STREAM_LAST      (UINT32_MAX - 1)
#define TIMEOUT_NANO_MAX ((uint64_t)INT64_MAX)

void ttrpc_init(struct ttrpc *t)
{
	*t = (struct ttrpc){
		.next_stream = 1,
		.out = BUF_INIT(TTRPC_OUTPUT_MAX),
		.body = BUF_INIT(TTRPC_FRAME_MAX),
		.slot = -1,
		.trouble = "",
	};
}

void ttrpc_done(struct ttrpc *t)
{
	buf_done(&t->out);
	buf_done(&t->body);
}

/* --- out --- */

static void put_u32(uint8_t *at, uint32_t value)
{
	for (int i = 3; i >= 0; i--, value >>= 8)
		at[i] = (uint8_t)value;
}

static uint32_t get_u32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static int find_slot(const struct ttrpc *t, uint32_t stream)
{
	for (int i = 0; i < TTRPC_CALLS_MAX; i++)
		if (t->calls[i].stream == stream)
			return i;
	return -1;
}

static int put_frame(struct ttrpc *t, const Ttrpc__Request *message)
{
	size_t len = ttrpc__request__get_packed_size(message);
	uint8_t head[TTRPC_HEAD_BYTES] = { 0 };
	int r;

	if (len > TTRPC_REQUEST_MAX)
		return -EMSGSIZE;
	r = buf_reserve(&t->out, sizeof(head) + len);
	if (r < 0)
		return r;
	put_u32(head, (uint32_t)len);
	put_u32(head + 4, t->next_stream);
	head[8] = FRAME_REQUEST;
	(void)buf_append(&t->out, head, sizeof(head));
	/* There is room for it: reserved above. */
	t->out.len += ttrpc__request__pack(message, t->out.data + t->out.len);
	return 0;
}

/* protobuf-c has no const; it only reads. */
static char *as_text(const char *s)
{
	return (char *)(uintptr_t)s;
}

int ttrpc_start(struct ttrpc *t, const struct ttrpc_request *request)
{
	Ttrpc__Request message = TTRPC__REQUEST__INIT;
	Ttrpc__KeyValue pair = TTRPC__KEY_VALUE__INIT;
	Ttrpc__KeyValue *pairs[] = { &pair };
	int slot = find_slot(t, 0), r;

	if (slot < 0)
		return -EBUSY;
	if (t->next_stream >= STREAM_LAST)
		return -ESTALE;
	message.service = as_text(request->service);
	message.method = as_text(request->method);
	message.payload.data = (uint8_t *)(uintptr_t)request->body;
	message.payload.len = request->body_len;
	message.timeout_nano =
		request->timeout_ns < TIMEOUT_NANO_MAX ? (int64_t)request->timeout_ns : INT64_MAX;
	if (request->key) {
		pair.key = as_text(request->key);
		pair.value = as_text(request->value);
		message.metadata = pairs;
		message.n_metadata = 1;
	}
	r = put_frame(t, &message);
	if (r < 0)
		return r;
	t->calls[slot] = (struct ttrpc_call_slot){
		.stream = t->next_stream,
		.max_answer_bytes = request->max_answer_bytes ?: TTRPC_REQUEST_MAX,
		.userdata = request->userdata,
	};
	t->next_stream += 2;
	return 0;
}

struct slice ttrpc_output(const struct ttrpc *t)
{
	return (struct slice){ (const char *)t->out.data, t->out.len };
}

void ttrpc_wrote(struct ttrpc *t, size_t len)
{
	buf_consume(&t->out, len);
}

/* --- in --- */

static bool decode_status(struct ttrpc *t, struct scan s, struct ttrpc_answer *ret)
{
	struct field field;

	while (s.at < s.end) {
		if (!scan_field(&s, &field))
			return false;
		if (field.number == 1 && field.wire == WIRE_VARINT) {
			ret->status = (int32_t)field.value;
		} else if (field.number == 2 && field.wire == WIRE_BYTES) {
			struct slice text = slice_of(field.data);

			ret->message = str_clean(t->text, sizeof(t->text), text.data, text.len);
		} else if (field.number <= 2) {
			return false;
		}
	}
	return true;
}

static bool decode_response(struct ttrpc *t, struct ttrpc_answer *ret)
{
	struct scan s = scan_of((struct slice){ (const char *)t->body.data, t->body.len });
	struct field field;

	while (s.at < s.end) {
		if (!scan_field(&s, &field))
			return false;
		if (field.number <= 2 && field.wire != WIRE_BYTES)
			return false;
		if (field.number == 1 && !decode_status(t, field.data, ret))
			return false;
		if (field.number == 2)
			ret->body = slice_of(field.data);
	}
	return true;
}

static int end_frame(struct ttrpc *t, struct ttrpc_answer *ret)
{
	struct ttrpc_call_slot *call;

	t->head_len = 0;
	if (t->slot < 0)
		return TTRPC_NEED;
	call = &t->calls[t->slot];
	*ret = (struct ttrpc_answer){ .userdata = call->userdata, .message = "" };
	if (t->is_too_large)
		ret->fate = TTRPC_TOO_LARGE;
	else if (!decode_response(t, ret))
		ret->fate = TTRPC_MALFORMED;
	else
		ret->fate = ret->status == 0 ? TTRPC_OK : TTRPC_STATUS;
	t->body_told = true;
	*call = (struct ttrpc_call_slot){ 0 };
	return TTRPC_ANSWER;
}

static int break_off(struct ttrpc *t, const char *trouble)
{
	t->trouble = trouble;
	return -EPROTO;
}

static int take_head(struct ttrpc *t)
{
	uint32_t stream = get_u32(t->head + 4);
	uint8_t type = t->head[8], flags = t->head[9];

	t->left = get_u32(t->head);
	if (t->left > TTRPC_FRAME_MAX)
		return break_off(t, "the first bytes of a frame announce over 4 MiB");
	if (type < FRAME_REQUEST || type > FRAME_DATA)
		return break_off(t, "a frame has an unknown type");
	if ((flags & ~FRAME_FLAGS) != 0)
		return break_off(t, "a frame has unknown flags");
	t->is_too_large = false;
	t->slot = type == FRAME_RESPONSE && stream != 0 ? find_slot(t, stream) : -1;
	if (t->slot >= 0)
		t->is_too_large = t->left > t->calls[t->slot].max_answer_bytes;
	else if (++t->stray > TTRPC_STRAY_MAX)
		return break_off(t, "too many frames that nobody asked for");
	return 0;
}

static int take_body(struct ttrpc *t, const uint8_t **data, size_t *len)
{
	size_t take = *len < t->left ? *len : t->left;
	int r = 0;

	if (t->slot >= 0 && !t->is_too_large)
		r = buf_append(&t->body, *data, take);
	if (r < 0)
		return r;
	*data += take;
	*len -= take;
	t->left -= (uint32_t)take;
	return 0;
}

int ttrpc_next(struct ttrpc *t, const uint8_t **data, size_t *len, struct ttrpc_answer *ret)
{
	int r = 0;

	if (t->body_told) {
		buf_clear(&t->body);
		t->body_told = false;
	}
	while (*len > 0) {
		if (t->head_len < TTRPC_HEAD_BYTES) {
			t->head[t->head_len++] = *(*data)++;
			(*len)--;
			if (t->head_len < TTRPC_HEAD_BYTES)
				continue;
			r = take_head(t);
		} else {
			r = take_body(t, data, len);
		}
		if (r < 0)
			return r;
		if (t->left > 0)
			continue;
		r = end_frame(t, ret);
		if (r != TTRPC_NEED)
			return r;
	}
	return TTRPC_NEED;
}

size_t ttrpc_open_calls(const struct ttrpc *t)
{
	size_t count = 0;

	for (size_t i = 0; i < TTRPC_CALLS_MAX; i++)
		count += t->calls[i].stream != 0;
	return count;
}

bool ttrpc_is_between_frames(const struct ttrpc *t)
{
	return t->head_len == 0;
}
