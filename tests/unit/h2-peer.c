#include "h2-peer.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/grpc-frames.h"

struct peer_stream {
	struct peer_stream *next;
	int32_t id;
	char path[128], space[64];
	struct buf in, out;
	size_t sent;
	bool is_held;
	bool is_open;            /* more may come */
	bool has_headers;        /* of an open stream */
	const char *grpc_status; /* NULL: none */
};

#define NV(name_, value_)                                                                          \
	((nghttp2_nv){ .name = (uint8_t *)(uintptr_t)(name_),                                      \
		.value = (uint8_t *)(uintptr_t)(value_),                                           \
		.namelen = strlen(name_),                                                          \
		.valuelen = strlen(value_) })

static struct peer_stream *stream_free(struct peer_stream *s)
{
	buf_done(&s->in);
	buf_done(&s->out);
	return mem_free(s);
}

static ssize_t read_answer(nghttp2_session *session, int32_t id, uint8_t *data, size_t size,
	uint32_t *flags, nghttp2_data_source *source, void *userdata)
{
	struct peer_stream *s = source->ptr;
	struct peer *peer = userdata;
	size_t n = s->out.len - s->sent;

	if (n > size)
		n = size;
	if (n > 0)
		memcpy(data, s->out.data + s->sent, n);
	s->sent += n;
	peer->data_sent += n;
	if (s->is_open && n == 0)
		return NGHTTP2_ERR_DEFERRED;
	if (s->sent == s->out.len && !s->is_open) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (s->grpc_status) {
			nghttp2_nv trailer = NV("grpc-status", s->grpc_status);

			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			(void)nghttp2_submit_trailer(session, id, &trailer, 1);
		}
	}
	return (ssize_t)n;
}

static void respond(struct peer *peer, struct peer_stream *s, const char *http_status,
	const char *type, const char *grpc_status)
{
	nghttp2_nv headers[] = { NV(":status", http_status), NV("content-type", type) };
	nghttp2_data_provider body = { .source.ptr = s, .read_callback = read_answer };

	s->grpc_status = grpc_status;
	(void)nghttp2_submit_response(peer->session, s->id, headers, 2, &body);
}

static void respond_error(
	struct peer *peer, struct peer_stream *s, const char *status, const char *text)
{
	nghttp2_nv headers[] = {
		NV(":status", "200"),
		NV("content-type", "application/grpc"),
		NV("grpc-status", status),
		NV("grpc-message", text),
	};

	(void)nghttp2_submit_response(peer->session, s->id, headers, 4, NULL);
}

static void echo(struct peer *peer, struct peer_stream *s)
{
	(void)buf_append(&s->out, s->in.data, s->in.len);
	respond(peer, s, "200", "application/grpc", "0");
}

static void add_sized(struct peer *peer, struct peer_stream *s)
{
	uint8_t *body = mem_zalloc(peer->sized_bytes);

	memset(body, 'x', peer->sized_bytes);
	(void)grpc_frames_write(&s->out, body, peer->sized_bytes);
	(void)mem_free(body);
}

static void open_stream(struct peer *peer, struct peer_stream *s)
{
	size_t len = s->in.len < sizeof(peer->last_open) ? s->in.len : sizeof(peer->last_open);

	s->is_open = true;
	peer->opened++;
	memcpy(peer->last_open, s->in.data, len);
	peer->last_open_len = len;
}

static const struct peer_script *find_script(const struct peer *peer, const char *method)
{
	static const struct peer_script none;

	for (const struct peer_script *at = peer->script; at && at->method; at++)
		if (str_eq(at->method, method))
			return at;
	return &none;
}

static void answer(struct peer *peer, struct peer_stream *s)
{
	const char *what = strrchr(s->path, '/') + 1;
	const struct peer_script *script = find_script(peer, what);
	const char *type = "application/grpc+proto", *status = "0", *http = "200";

	if (script->as)
		what = script->as;
	(void)str_clean(peer->last_space, sizeof(peer->last_space), s->space, strlen(s->space));
	if (str_eq(what, "Open")) {
		open_stream(peer, s);
		return;
	}
	if (str_eq(what, "Unknown")) {
		respond_error(peer, s, "12", "unknown service");
		return;
	}

	if (str_eq(what, "Hold")) {
		s->is_held = true;
		return;
	}
	if (str_eq(what, "Reset")) {
		(void)nghttp2_submit_rst_stream(peer->session, 0, s->id, NGHTTP2_INTERNAL_ERROR);
		return;
	}
	if (str_eq(what, "Error")) {
		respond_error(peer, s, "5", "no such pod %E2%9C%93 100%");
		return;
	}
	if (str_eq(what, "Space")) {
		(void)grpc_frames_write(&s->out, s->space, strlen(s->space));
	} else if (str_eq(what, "Given")) {
		(void)grpc_frames_write(&s->out, script->body, script->body_len);
	} else if (str_eq(what, "Http404")) {
		http = "404";
		type = "text/plain";
		status = NULL;
	} else if (str_eq(what, "Html")) {
		type = "text/html";
		status = NULL;
	} else if (str_eq(what, "Sized")) {
		add_sized(peer, s);
	} else if (str_eq(what, "Stream")) {
		for (size_t i = 0; i < peer->stream_count; i++)
			add_sized(peer, s);
	} else if (!str_eq(what, "None")) {
		(void)buf_append(&s->out, s->in.data, s->in.len);
	}
	if (str_eq(what, "Bare"))
		status = NULL;
	else if (str_eq(what, "Late"))
		status = "14";
	else if (str_eq(what, "Word"))
		status = "fine";
	else if (str_eq(what, "Zipped"))
		s->out.data[0] = 1;
	else if (str_eq(what, "Cut"))
		s->out.len--;
	else if (str_eq(what, "Two"))
		(void)buf_append(&s->out, s->in.data, s->in.len);
	respond(peer, s, http, type, status);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *userdata)
{
	struct peer *peer = userdata;
	struct peer_stream *s = mem_zalloc(sizeof(*s));

	s->id = frame->hd.stream_id;
	s->in = s->out = BUF_INIT(256u * 1024 * 1024);
	s->next = peer->streams;
	peer->streams = s;
	return nghttp2_session_set_stream_user_data(session, s->id, s);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
	size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *userdata)
{
	struct peer_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	if (str_eq((const char *)name, ":path"))
		(void)str_clean(s->path, sizeof(s->path), (const char *)value, value_len);
	else if (str_eq((const char *)name, "containerd-namespace"))
		(void)str_clean(s->space, sizeof(s->space), (const char *)value, value_len);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
	size_t len, void *userdata)
{
	struct peer_stream *s = nghttp2_session_get_stream_user_data(session, id);

	return buf_append(&s->in, data, len);
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *userdata)
{
	struct peer *peer = userdata;
	struct peer_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	if (frame->hd.type == NGHTTP2_PING && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
		peer->pings += 1000; /* One from the client, which must never be. */
	else if (frame->hd.type == NGHTTP2_PING)
		peer->pings++;
	if (frame->hd.type == NGHTTP2_RST_STREAM) {
		peer->resets++;
		peer->last_reset_code = frame->rst_stream.error_code;
	}
	if (s && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
		(frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS)) {
		peer->requests++;
		answer(peer, s);
	}
	return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *userdata)
{
	struct peer *peer = userdata;

	for (struct peer_stream **at = &peer->streams; *at; at = &(*at)->next) {
		struct peer_stream *s = *at;

		if (s->id != id)
			continue;
		*at = s->next;
		(void)stream_free(s);
		break;
	}
	return 0;
}

struct peer *peer_new(uint32_t max_streams)
{
	nghttp2_settings_entry settings = { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, max_streams };
	struct peer *peer = mem_zalloc(sizeof(*peer));
	nghttp2_session_callbacks *callbacks;

	(void)nghttp2_session_callbacks_new(&callbacks);
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	(void)nghttp2_session_server_new(&peer->session, callbacks, peer);
	nghttp2_session_callbacks_del(callbacks);
	(void)nghttp2_submit_settings(peer->session, 0, &settings, max_streams ? 1 : 0);
	return peer;
}

struct peer *peer_free(struct peer *peer)
{
	if (!peer)
		return NULL;
	nghttp2_session_del(peer->session);
	while (peer->streams) {
		struct peer_stream *s = peer->streams;

		peer->streams = s->next;
		(void)stream_free(s);
	}
	return mem_free(peer);
}

int peer_feed(struct peer *peer, const uint8_t *data, size_t len)
{
	return (int)nghttp2_session_mem_recv(peer->session, data, len) < 0 ? -1 : 0;
}

size_t peer_output(struct peer *peer, const uint8_t **ret)
{
	ssize_t n = nghttp2_session_mem_send(peer->session, ret);

	return n > 0 ? (size_t)n : 0;
}

void peer_release(struct peer *peer)
{
	for (struct peer_stream *s = peer->streams; s; s = s->next) {
		if (!s->is_held)
			continue;
		s->is_held = false;
		echo(peer, s);
	}
}

static void more(struct peer *peer, struct peer_stream *s)
{
	if (s->has_headers)
		(void)nghttp2_session_resume_data(peer->session, s->id);
	else
		respond(peer, s, "200", "application/grpc", NULL);
	s->has_headers = true;
}

void peer_push(struct peer *peer, const void *body, size_t len)
{
	for (struct peer_stream *s = peer->streams; s; s = s->next) {
		if (!s->is_open)
			continue;
		(void)grpc_frames_write(&s->out, body, len);
		more(peer, s);
	}
}

void peer_push_raw(struct peer *peer, const void *bytes, size_t len)
{
	for (struct peer_stream *s = peer->streams; s; s = s->next) {
		if (!s->is_open)
			continue;
		(void)buf_append(&s->out, bytes, len);
		more(peer, s);
	}
}

void peer_end(struct peer *peer, const char *grpc_status)
{
	for (struct peer_stream *s = peer->streams; s; s = s->next) {
		if (!s->is_open)
			continue;
		s->is_open = false;
		if (!grpc_status) {
			(void)nghttp2_submit_rst_stream(
				peer->session, 0, s->id, NGHTTP2_INTERNAL_ERROR);
		} else if (s->has_headers) {
			s->grpc_status = grpc_status;
			(void)nghttp2_session_resume_data(peer->session, s->id);
		} else {
			respond_error(peer, s, grpc_status, "ended");
		}
	}
}

void peer_goaway(struct peer *peer, uint32_t code, const char *text)
{
	(void)nghttp2_submit_goaway(peer->session, 0,
		nghttp2_session_get_last_proc_stream_id(peer->session), code, (const uint8_t *)text,
		strlen(text));
}

void peer_ping(struct peer *peer)
{
	(void)nghttp2_submit_ping(peer->session, 0, NULL);
}
