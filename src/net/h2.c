/*
 * A stream is on h2->streams from h2_start() until its END event has been consumed, and on
 * h2->ready while it may have something to tell. Its fate is decided once, in stream_end(): by the
 * frame with END_STREAM, by RST_STREAM, by a limit of ours, or by the end of the connection. From
 * then on nghttp2 no longer knows it (its stream user data is NULL).
 *
 * The only GOAWAY that we ever send is the one nghttp2 sends because the peer broke the protocol,
 * which is how that is noticed.
 */
#include "net/h2.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include <nghttp2/nghttp2.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/grpc-frames.h"

/* Longest grpc-message that is kept. */
#define H2_MESSAGE_TEXT_MAX 2048
/* Output is collected up to about this much per write. */
#define H2_OUTPUT_CHUNK (64u * 1024)
#define H2_OUTPUT_MAX   (1024u * 1024)
/* The reassembly buffer kept for the next call, and after how many calls it is measured anew. */
#define H2_SPARE_KEEP_MAX (1024u * 1024)
#define H2_SPARE_PERIOD   64

struct h2_stream {
	struct h2 *h2;
	int32_t id;
	TAILQ_ENTRY(h2_stream) all;
	TAILQ_ENTRY(h2_stream) ready;
	bool is_ready;  /* on h2->ready */
	bool is_ended;  /* the fate below is decided */
	bool is_told;   /* END was handed out, or it was cancelled: to be freed */
	bool is_stream; /* server streaming */

	const uint8_t *frame; /* of the caller */
	size_t frame_len, frame_sent;
	char *containerd_namespace;
	void *userdata;

	unsigned http_status;
	bool is_grpc;          /* content-type */
	int grpc_status;       /* -1: none yet */
	char *grpc_message;    /* decoded and clean, or NULL */
	bool is_reset_by_peer; /* RST_STREAM came */
	uint32_t reset_code;
	struct grpc_frames in;
	size_t window_owed; /* bytes received whose stream window was not given back */

	enum grpc_outcome outcome;
	int err_code;
	char text[192]; /* for people, where grpc_message is not it */
};

TAILQ_HEAD(h2_stream_list, h2_stream);

struct h2 {
	nghttp2_session *session;
	struct h2_stream_list streams, ready;
	size_t stream_count;       /* not told as ended */
	struct h2_stream *current; /* whose event is being looked at */
	struct buf out;
	bool is_up, is_leaving;
	bool is_broken; /* nghttp2 gave the connection up */
	char trouble[192];

	struct buf spare; /* for the next unary answer */
	size_t spare_peak;
	unsigned spare_uses;
};

/* --- memory for nghttp2 --- */

static void *mem_for_nghttp2_alloc(size_t size, void *userdata)
{
	return mem_alloc(size);
}

static void mem_for_nghttp2_free(void *p, void *userdata)
{
	(void)mem_free(p);
}

static void *mem_for_nghttp2_array(size_t count, size_t size, void *userdata)
{
	return mem_array(count, size);
}

static void *mem_for_nghttp2_resize(void *p, size_t size, void *userdata)
{
	return mem_resize(p, size, 1);
}

static int errno_from_nghttp2(int r)
{
	return r == NGHTTP2_ERR_NOMEM || r == NGHTTP2_ERR_CALLBACK_FAILURE ? -ENOMEM : -EPROTO;
}

/* --- streams --- */

static void stream_take_spare(struct h2_stream *s)
{
	struct buf *spare = &s->h2->spare;

	if (s->is_stream || s->in.bytes.data || !spare->data)
		return;
	s->in.bytes.data = TAKE_PTR(spare->data);
	s->in.bytes.cap = spare->cap;
	spare->cap = 0;
}

/* A list of 250 pods is about 500 KB each second: its buffer is kept. One huge answer is not. */
static void stream_give_spare(struct h2_stream *s)
{
	struct h2 *h2 = s->h2;
	struct buf *bytes = &s->in.bytes;

	if (s->is_stream || !bytes->data)
		return;
	if (bytes->len > h2->spare_peak)
		h2->spare_peak = bytes->len;
	if (bytes->cap > h2->spare.cap) {
		uint8_t *data = TAKE_PTR(bytes->data);
		size_t cap = bytes->cap;

		bytes->data = h2->spare.data;
		h2->spare = (struct buf){ .data = data, .cap = cap, .max_bytes = SIZE_MAX };
	}
	buf_shrink(&h2->spare, H2_SPARE_KEEP_MAX);
	if (++h2->spare_uses >= H2_SPARE_PERIOD) {
		buf_shrink(&h2->spare, h2->spare_peak);
		h2->spare_uses = 0;
		h2->spare_peak = 0;
	}
}

static struct h2_stream *stream_free(struct h2_stream *s)
{
	if (!s)
		return NULL;
	if (s->is_ready)
		TAILQ_REMOVE(&s->h2->ready, s, ready);
	TAILQ_REMOVE(&s->h2->streams, s, all);
	stream_give_spare(s);
	grpc_frames_done(&s->in);
	s->containerd_namespace = mem_free(s->containerd_namespace);
	s->grpc_message = mem_free(s->grpc_message);
	return mem_free(s);
}

static void stream_set_ready(struct h2_stream *s)
{
	if (s->is_ready || s->is_told)
		return;
	s->is_ready = true;
	TAILQ_INSERT_TAIL(&s->h2->ready, s, ready);
}

static void stream_forget(struct h2_stream *s)
{
	/* Fails when nghttp2 has already closed it, which is as good. */
	(void)nghttp2_session_set_stream_user_data(s->h2->session, s->id, NULL);
}

static void stream_reset(struct h2_stream *s)
{
	/* Fails for want of memory only: then the server goes on sending and is ignored. */
	(void)nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_CANCEL);
}

static void stream_end(
	struct h2_stream *s, enum grpc_outcome outcome, int err_code, const char *text)
{
	if (s->is_ended)
		return;
	s->is_ended = true;
	s->outcome = outcome;
	s->err_code = err_code;
	(void)snprintf(s->text, sizeof(s->text), "%s", text);
	stream_forget(s);
	stream_set_ready(s);
}

static void stream_malformed(struct h2_stream *s, const char *text)
{
	stream_end(s, GRPC_MALFORMED, -EPROTO, text);
}

/* The mapping of the gRPC specification for answers of something that is not gRPC. */
static int status_from_http(unsigned http_status)
{
	switch (http_status) {
	case 400: return 13;
	case 401: return 16;
	case 403: return 7;
	case 404: return GRPC_CODE_UNIMPLEMENTED;
	case 429:
	case 502:
	case 503:
	case 504: return GRPC_CODE_UNAVAILABLE;
	default: return GRPC_CODE_UNKNOWN;
	}
}

/* The server has said all it will say. */
static void stream_answered(struct h2_stream *s)
{
	if (s->grpc_status < 0 && s->http_status != 200) {
		s->grpc_status = status_from_http(s->http_status);
		stream_end(s, GRPC_STATUS, -EREMOTEIO, FMT("HTTP status %u", s->http_status));
	} else if (!s->is_grpc) {
		stream_malformed(s, "The answer is not of the type application/grpc");
	} else if (s->grpc_status < 0) {
		stream_malformed(s, "The answer has no grpc-status");
	} else if (s->grpc_status != 0) {
		stream_end(s, GRPC_STATUS, -EREMOTEIO, FMT("Status %d", s->grpc_status));
	} else if (grpc_frames_is_cut(&s->in)) {
		stream_malformed(s, "The answer ends inside a message");
	} else if (!s->is_stream && s->in.count == 0) {
		stream_malformed(s, "The answer has no message");
	} else {
		stream_end(s, GRPC_OK, 0, "");
	}
}

static void stream_give_window(struct h2_stream *s)
{
	size_t held = s->is_stream ? grpc_frames_unread(&s->in) : 0;
	size_t give = s->window_owed > held ? s->window_owed - held : 0;

	if (give == 0 || s->is_ended)
		return;
	s->window_owed -= give;
	(void)nghttp2_session_consume_stream(s->h2->session, s->id, give);
}

/* --- header fields --- */

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* grpc-message: percent-encoded; what is not well-formed is taken as it stands. */
static void stream_set_message(struct h2_stream *s, const uint8_t *value, size_t len)
{
	char plain[H2_MESSAGE_TEXT_MAX];
	size_t n = 0;
	char *text;

	for (size_t i = 0; i < len && n < sizeof(plain); i++) {
		int high = value[i] == '%' && i + 2 < len ? hex_value(value[i + 1]) : -1;
		int low = high >= 0 ? hex_value(value[i + 2]) : -1;

		if (low >= 0) {
			plain[n++] = (char)(high << 4 | low);
			i += 2;
		} else {
			plain[n++] = (char)value[i];
		}
	}
	text = mem_alloc(n + 1);
	if (!text)
		return; /* The status alone has to do. */
	(void)str_clean(text, n + 1, plain, n);
	(void)mem_free(s->grpc_message);
	s->grpc_message = text;
}

static bool is_grpc_type(const uint8_t *value, size_t len)
{
	static const char type[] = "application/grpc";
	size_t n = sizeof(type) - 1;

	return len >= n && memcmp(value, type, n) == 0 &&
		(len == n || value[n] == '+' || value[n] == ';');
}

static bool name_is(const uint8_t *name, size_t len, const char *want)
{
	return len == strlen(want) && memcmp(name, want, len) == 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
	size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *userdata)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	char number[12];
	uint64_t n;

	if (!s)
		return 0;
	(void)snprintf(number, sizeof(number), "%.*s", (int)(value_len < 11 ? value_len : 11),
		(const char *)value);
	if (name_is(name, name_len, ":status")) {
		/* nghttp2 has checked that it is a number. An interim 1xx is replaced by what
		 * follows. */
		s->http_status = str_to_u64(number, &n) < 0 ? 0 : (unsigned)n;
	} else if (name_is(name, name_len, "content-type")) {
		s->is_grpc = is_grpc_type(value, value_len);
	} else if (name_is(name, name_len, "grpc-status")) {
		if (str_to_u64(number, &n) < 0 || n > INT16_MAX) {
			stream_malformed(s, "grpc-status is not a number");
			stream_reset(s);
		} else {
			s->grpc_status = (int)n;
		}
	} else if (name_is(name, name_len, "grpc-message")) {
		stream_set_message(s, value, value_len);
	}
	return 0;
}

/* --- the other callbacks of nghttp2 --- */

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id,
	const uint8_t *data, size_t len, void *userdata)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, stream_id);
	int r;

	r = nghttp2_session_consume_connection(session, len);
	if (r < 0 && nghttp2_is_fatal(r))
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	if (!s)
		return 0;

	stream_take_spare(s);
	s->window_owed += len;
	r = grpc_frames_add(&s->in, data, len);
	if (r == -EMSGSIZE)
		stream_end(s, GRPC_TOO_LARGE, r,
			FMT("A message is larger than %zu bytes", s->in.max_message_bytes));
	else if (r == -EBADMSG)
		stream_malformed(s, "A message is compressed");
	else if (r < 0)
		stream_end(s, GRPC_LOST, r, "Out of memory for the answer");
	else if (!s->is_stream && s->in.count + grpc_frames_is_cut(&s->in) > 1)
		stream_malformed(s, "A unary answer has more than one message");
	if (s->is_ended) {
		stream_reset(s);
		return 0;
	}
	stream_give_window(s);
	if (s->is_stream && grpc_frames_unread(&s->in) > 0)
		stream_set_ready(s);
	return 0;
}

static void on_goaway(struct h2 *h2, const nghttp2_goaway *goaway)
{
	char text[96];

	h2->is_leaving = true;
	(void)str_clean(
		text, sizeof(text), (const char *)goaway->opaque_data, goaway->opaque_data_len);
	(void)snprintf(h2->trouble, sizeof(h2->trouble), "GOAWAY: %s%s%s",
		nghttp2_http2_strerror(goaway->error_code), text[0] ? ": " : "", text);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *userdata)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	struct h2 *h2 = userdata;

	switch (frame->hd.type) {
	case NGHTTP2_SETTINGS: h2->is_up = true; break;
	case NGHTTP2_GOAWAY: on_goaway(h2, &frame->goaway); break;
	case NGHTTP2_RST_STREAM:
		if (s) {
			s->is_reset_by_peer = true;
			s->reset_code = frame->rst_stream.error_code;
		}
		break;
	case NGHTTP2_HEADERS:
	case NGHTTP2_DATA:
		if (!s || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
			break;
		stream_answered(s);
		/* It answered before it had our whole request: do not send the rest. */
		if (s->frame_sent < s->frame_len)
			stream_reset(s);
		break;
	default: break;
	}
	return 0;
}

static int on_stream_close(
	nghttp2_session *session, int32_t stream_id, uint32_t code, void *userdata)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, stream_id);
	struct h2 *h2 = userdata;

	if (!s)
		return 0;
	if (s->is_reset_by_peer)
		stream_end(s, GRPC_LOST, -ECONNRESET,
			FMT("RST_STREAM: %s", nghttp2_http2_strerror(s->reset_code)));
	else if (h2->is_leaving && code == NGHTTP2_REFUSED_STREAM)
		stream_end(s, GRPC_LOST, -ECONNRESET, h2->trouble);
	else
		stream_malformed(s, FMT("Broken HTTP/2 stream: %s", nghttp2_http2_strerror(code)));
	return 0;
}

static int on_frame_not_send(
	nghttp2_session *session, const nghttp2_frame *frame, int lib_code, void *userdata)
{
	struct h2 *h2 = userdata;
	struct h2_stream *s;

	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	/* When it is nghttp2 that gives the connection up, h2_end_all() is about to say why. */
	if (!h2->is_leaving &&
		(lib_code == NGHTTP2_ERR_SESSION_CLOSING ||
			lib_code == NGHTTP2_ERR_START_STREAM_NOT_ALLOWED))
		return 0;
	/* A request that never became a stream has no user data to ask for; this is rare. */
	TAILQ_FOREACH (s, &h2->streams, all)
		if (s->id == frame->hd.stream_id && !s->is_told)
			stream_end(s, GRPC_LOST, -ECONNRESET,
				h2->is_leaving ? h2->trouble : nghttp2_strerror(lib_code));
	return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *userdata)
{
	struct h2 *h2 = userdata;

	if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)
		h2->is_broken = true;
	return 0;
}

static int on_error(
	nghttp2_session *session, int lib_code, const char *text, size_t len, void *userdata)
{
	struct h2 *h2 = userdata;

	(void)str_clean(h2->trouble, sizeof(h2->trouble), text, len);
	return 0;
}

static ssize_t read_request(nghttp2_session *session, int32_t stream_id, uint8_t *data, size_t size,
	uint32_t *flags, nghttp2_data_source *source, void *userdata)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, stream_id);
	size_t n;

	if (!s)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	n = s->frame_len - s->frame_sent;
	if (n > size)
		n = size;
	memcpy(data, s->frame + s->frame_sent, n);
	s->frame_sent += n;
	if (s->frame_sent == s->frame_len)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

/* --- the connection --- */

static int session_new(struct h2 *h2)
{
	static const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_STREAM_WINDOW },
	};
	nghttp2_mem mem = { NULL, mem_for_nghttp2_alloc, mem_for_nghttp2_free,
		mem_for_nghttp2_array, mem_for_nghttp2_resize };
	nghttp2_session_callbacks *callbacks = NULL;
	nghttp2_option *option = NULL;
	int r;

	r = nghttp2_session_callbacks_new(&callbacks);
	if (r == 0)
		r = nghttp2_option_new(&option);
	if (r == 0) {
		nghttp2_option_set_no_auto_window_update(option, 1);
		nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
		nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
		nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
		nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
		nghttp2_session_callbacks_set_on_frame_not_send_callback(
			callbacks, on_frame_not_send);
		nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
		nghttp2_session_callbacks_set_error_callback2(callbacks, on_error);
		r = nghttp2_session_client_new3(&h2->session, callbacks, h2, option, &mem);
	}
	nghttp2_option_del(option);
	nghttp2_session_callbacks_del(callbacks);
	if (r == 0)
		r = nghttp2_submit_settings(
			h2->session, NGHTTP2_FLAG_NONE, settings, ELEMENTS(settings));
	if (r == 0)
		r = nghttp2_session_set_local_window_size(
			h2->session, NGHTTP2_FLAG_NONE, 0, H2_CONNECTION_WINDOW);
	return r == 0 ? 0 : errno_from_nghttp2(r);
}

int h2_new(struct h2 **ret)
{
	struct h2 *h2 = mem_zalloc(sizeof(*h2));
	int r;

	if (!h2)
		return -ENOMEM;
	h2->out = BUF_INIT(H2_OUTPUT_MAX);
	TAILQ_INIT(&h2->streams);
	TAILQ_INIT(&h2->ready);
	r = session_new(h2);
	if (r < 0) {
		(void)h2_free(h2);
		return r;
	}
	*ret = h2;
	return 0;
}

struct h2 *h2_free(struct h2 *h2)
{
	struct h2_stream *s;

	if (!h2)
		return NULL;
	nghttp2_session_del(h2->session);
	while ((s = TAILQ_FIRST(&h2->streams)))
		(void)stream_free(s);
	buf_done(&h2->out);
	buf_done(&h2->spare);
	return mem_free(h2);
}

#define HEADER(name_, value_, flags_)                                                              \
	((nghttp2_nv){ .name = (uint8_t *)(uintptr_t)(name_),                                      \
		.namelen = strlen(name_),                                                          \
		.value = (uint8_t *)(uintptr_t)(value_),                                           \
		.valuelen = strlen(value_),                                                        \
		.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | (flags_) })
#define HEADER_LITERAL(name_, value_) HEADER(name_, value_, NGHTTP2_NV_FLAG_NO_COPY_VALUE)

static int stream_submit(struct h2_stream *s, const struct h2_request *request)
{
	/* There is no grpc-timeout on purpose: a deadline of ours does not end the server's work,
	 * and what it is still doing must stay visible (docs/internals/deadlines.md). */
	nghttp2_nv headers[8] = {
		HEADER_LITERAL(":method", "POST"),
		HEADER_LITERAL(":scheme", "http"),
		HEADER_LITERAL(":path", request->path),
		HEADER_LITERAL(":authority", "localhost"),
		HEADER_LITERAL("content-type", "application/grpc"),
		HEADER_LITERAL("te", "trailers"),
		HEADER_LITERAL("user-agent", "pleg/" PLEG_VERSION),
	};
	nghttp2_data_provider body = { .read_callback = read_request };
	size_t count = 7;
	int32_t id;

	if (request->containerd_namespace)
		headers[count++] = HEADER("containerd-namespace", request->containerd_namespace, 0);
	id = nghttp2_submit_request(s->h2->session, NULL, headers, count, &body, s);
	if (id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE) {
		s->h2->is_leaving = true;
		return -ESTALE;
	}
	if (id < 0)
		return errno_from_nghttp2(id);
	s->id = id;
	return 0;
}

int h2_start(struct h2 *h2, const struct h2_request *request, struct h2_stream **ret)
{
	struct h2_stream *s;
	int r;

	if (h2->is_leaving || h2->is_broken)
		return -ESTALE;
	s = mem_zalloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->h2 = h2;
	s->frame = request->frame;
	s->frame_len = request->frame_len;
	s->is_stream = request->is_stream;
	s->userdata = request->userdata;
	s->grpc_status = -1;
	grpc_frames_init(&s->in, request->max_message_bytes, 2 * (size_t)H2_STREAM_WINDOW);
	r = stream_submit(s, request);
	if (r < 0) {
		(void)mem_free(s);
		return r;
	}
	TAILQ_INSERT_TAIL(&h2->streams, s, all);
	h2->stream_count++;
	*ret = s;
	return 0;
}

void h2_cancel(struct h2_stream *s)
{
	struct h2 *h2 = s->h2;

	if (s->is_told)
		return;
	s->is_told = true;
	h2->stream_count--;
	if (!s->is_ended) {
		stream_forget(s);
		stream_reset(s);
	}
	if (s->is_ready) {
		TAILQ_REMOVE(&h2->ready, s, ready);
		s->is_ready = false;
	}
	if (h2->current != s)
		(void)stream_free(s);
}

/* Serializes what nghttp2 has to send, up to the chunk size. */
static int h2_collect_output(struct h2 *h2)
{
	while (h2->out.len < H2_OUTPUT_CHUNK) {
		const uint8_t *data;
		ssize_t n = nghttp2_session_mem_send(h2->session, &data);

		if (n < 0)
			return errno_from_nghttp2((int)n);
		if (n == 0)
			return 0;
		if (buf_append(&h2->out, data, (size_t)n) < 0)
			return -ENOMEM;
	}
	return 0;
}

int h2_feed(struct h2 *h2, const uint8_t *data, size_t len)
{
	ssize_t n;
	int r;

	if (h2->is_broken)
		return -EPROTO;
	n = nghttp2_session_mem_recv(h2->session, data, len);
	if (n < 0) {
		h2->is_broken = true;
		if (h2->trouble[0] == '\0')
			(void)snprintf(
				h2->trouble, sizeof(h2->trouble), "%s", nghttp2_strerror((int)n));
		return errno_from_nghttp2((int)n);
	}
	/* A broken protocol shows as the GOAWAY that nghttp2 now wants to send. */
	r = h2_collect_output(h2);
	if (r < 0)
		return r;
	return h2->is_broken ? -EPROTO : 0;
}

int h2_output(struct h2 *h2, const uint8_t **ret_data, size_t *ret_len)
{
	int r = h2_collect_output(h2);

	if (r < 0)
		return r;
	if (h2->is_broken)
		return -EPROTO;
	*ret_data = h2->out.data;
	*ret_len = h2->out.len;
	return 0;
}

void h2_wrote(struct h2 *h2, size_t len)
{
	buf_consume(&h2->out, len);
	if (h2->out.len == 0 && h2->out.cap > H2_OUTPUT_CHUNK)
		buf_shrink(&h2->out, H2_OUTPUT_CHUNK);
}

void h2_end_all(struct h2 *h2, enum grpc_outcome outcome, int err_code, const char *text)
{
	struct h2_stream *s;

	h2->is_broken = true;
	TAILQ_FOREACH (s, &h2->streams, all)
		if (!s->is_told)
			stream_end(s, outcome, err_code, text);
}

/* --- events --- */

static void event_release(struct h2 *h2)
{
	struct h2_stream *s = TAKE_PTR(h2->current);

	if (!s)
		return;
	if (s->is_told)
		(void)stream_free(s);
	else
		stream_give_window(s);
}

static void event_fill_end(struct h2_stream *s, struct h2_event *ret)
{
	*ret = (struct h2_event){
		.type = H2_EVENT_END,
		.userdata = s->userdata,
		.outcome = s->outcome,
		.err_code = s->err_code,
		.status = s->outcome == GRPC_STATUS ? s->grpc_status : 0,
		.message = s->text,
	};
	if (s->outcome == GRPC_STATUS && s->grpc_message && s->grpc_message[0] != '\0')
		ret->message = s->grpc_message;
	if (s->outcome == GRPC_OK && !s->is_stream)
		(void)grpc_frames_next(&s->in, &ret->body, &ret->body_len);
}

bool h2_next_event(struct h2 *h2, struct h2_event *ret)
{
	struct h2_stream *s;

	event_release(h2);
	while ((s = TAILQ_FIRST(&h2->ready))) {
		*ret = (struct h2_event){ .type = H2_EVENT_MESSAGE, .userdata = s->userdata };
		if (s->is_stream && grpc_frames_next(&s->in, &ret->body, &ret->body_len)) {
			h2->current = s;
			ret->message = "";
			return true;
		}
		TAILQ_REMOVE(&h2->ready, s, ready);
		s->is_ready = false;
		if (!s->is_ended)
			continue;
		event_fill_end(s, ret);
		s->is_told = true;
		h2->stream_count--;
		h2->current = s;
		return true;
	}
	return false;
}

bool h2_has_event(const struct h2 *h2)
{
	return !TAILQ_EMPTY(&h2->ready);
}

bool h2_is_up(const struct h2 *h2)
{
	return h2->is_up;
}

bool h2_is_leaving(const struct h2 *h2)
{
	return h2->is_leaving;
}

size_t h2_stream_count(const struct h2 *h2)
{
	return h2->stream_count;
}

const char *h2_trouble(const struct h2 *h2)
{
	return h2->trouble;
}
