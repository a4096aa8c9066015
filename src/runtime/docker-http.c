#include "runtime/docker-http.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"

#define BODY_MIN_BYTES 4096

int docker_body_append(struct buf *body, const void *data, size_t len)
{
	struct buf larger = BUF_INIT(body->max_bytes);
	size_t want = body->cap ? body->cap * 2 : BODY_MIN_BYTES;
	int r;

	if (len > body->max_bytes - body->len)
		return -EMSGSIZE;
	if (len <= body->cap - body->len)
		return buf_append(body, data, len);
	if (want < body->len + len)
		want = body->len + len;
	if (want > body->max_bytes)
		want = body->max_bytes;
	r = buf_reserve(&larger, want);
	if (r >= 0)
		r = buf_append(&larger, body->data, body->len);
	if (r >= 0)
		r = buf_append(&larger, data, len);
	if (r < 0) {
		docker_body_done(&larger);
		return r;
	}
	docker_body_done(body);
	*body = larger;
	return 0;
}

void docker_body_done(struct buf *body)
{
	if (body->data)
		explicit_bzero(body->data, body->len);
	buf_done(body);
}

enum runtime_outcome docker_outcome(enum http1_outcome outcome)
{
	switch (outcome) {
	case HTTP1_ANSWERED: return RUNTIME_OK;
	case HTTP1_NO_SOCKET: return RUNTIME_NO_SOCKET;
	case HTTP1_REFUSED: return RUNTIME_REFUSED;
	case HTTP1_SILENT: return RUNTIME_SILENT;
	case HTTP1_UNREACHABLE: return RUNTIME_REFUSED; /* not allowed, not a socket */
	case HTTP1_LOST: return RUNTIME_LOST;
	case HTTP1_TOO_LARGE: return RUNTIME_MALFORMED;
	case HTTP1_MALFORMED: return RUNTIME_MALFORMED;
	}
	return RUNTIME_LOST;
}

const char *docker_advice(enum http1_outcome outcome)
{
	switch (outcome) {
	case HTTP1_NO_SOCKET: return "; is dockerd running, and is this its socket?";
	case HTTP1_REFUSED:
		return "; the socket is there and nobody listens: dockerd has died or was stopped";
	case HTTP1_SILENT:
		return "; it accepts connections and never answers: dockerd is stopped or stuck";
	case HTTP1_ANSWERED:
	case HTTP1_UNREACHABLE:
	case HTTP1_LOST:
	case HTTP1_TOO_LARGE:
	case HTTP1_MALFORMED: break;
	}
	return "";
}
