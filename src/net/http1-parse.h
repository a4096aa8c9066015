/*
 * The HTTP/1.1 client engine: the bytes of one answer in, status and body out; no I/O.
 *
 * Strict where a lenient reader can be led astray: folded headers, two lengths, a length beside
 * chunks, or a coding other than chunked are malformed. A bare LF ends a line, as RFC 9112 allows.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define HTTP1_LINE_MAX    8192
#define HTTP1_HEADERS_MAX 128

enum http1_state {
	HTTP1_STATUS_LINE,
	HTTP1_HEADERS,
	HTTP1_BODY_LENGTH, /* `left` bytes are to come */
	HTTP1_BODY_CLOSE,  /* until the connection ends */
	HTTP1_CHUNK_SIZE,  /* the line with the size */
	HTTP1_CHUNK_DATA,  /* `left` bytes are to come */
	HTTP1_CHUNK_END,   /* the line end behind a chunk */
	HTTP1_TRAILERS,
	HTTP1_COMPLETE,
};

struct http1_parser {
	enum http1_state state;
	struct buf line;
	bool is_head;    /* the request was HEAD: no body */
	unsigned status; /* once past the headers */
	unsigned header_count;
	bool is_chunked, has_length;
	bool is_last; /* the server closes the connection behind this answer */
	uint64_t length, left;
	char content_type[96]; /* cut and cleaned; "" if none */
	const char *trouble;   /* after an error, for people */
};

enum http1_step {
	HTTP1_NEED, /* all input is used up */
	HTTP1_BODY, /* a piece of the body */
	HTTP1_DONE, /* the answer is complete; what is left of the input is not part of it */
};

void http1_parser_init(struct http1_parser *p, const char *method);
void http1_parser_done(struct http1_parser *p);
/* Takes from *data, advancing it, until there is something to tell; a piece of the body points into
 * the input. A step (>= 0); -EPROTO, -EMSGSIZE (head over its limits) or -ENOMEM. */
int http1_parser_next(struct http1_parser *p, const uint8_t **data, size_t *len,
	const uint8_t **ret_body, size_t *ret_body_len);
/* The connection ended: 0 if that completes the answer, -ECONNRESET if it cuts it. */
int http1_parser_eof(struct http1_parser *p);

/* Appends a request: -EINVAL if method, target or host have what would break the line. `is_last`: the
 * server is asked to close the connection behind its answer. */
int http1_write_request(struct buf *out, const char *method, const char *host, const char *target,
	const char *content_type, const void *body, size_t body_len, bool is_last);
