/*
 * The HTTP/1.1 parser: the same answer whole and in pieces (the first byte says how large) must give
 * the same result.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "net/http1-parse.h"

#define BODY_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int parse(
	struct http1_parser *p, const uint8_t *data, size_t size, size_t piece, struct buf *body)
{
	while (size > 0) {
		size_t len = size < piece ? size : piece, left = len;
		int r;

		do {
			const uint8_t *part;
			size_t part_len;

			r = http1_parser_next(p, &data, &left, &part, &part_len);
			if (r < 0 || r == HTTP1_DONE)
				return r;
			if (r == HTTP1_BODY && buf_append(body, part, part_len) < 0)
				return 0;
		} while (r != HTTP1_NEED);
		size -= len;
	}
	return http1_parser_eof(p) < 0 ? -1 : HTTP1_DONE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf whole = BUF_INIT(BODY_MAX), cut = BUF_INIT(BODY_MAX);
	const char *method;
	struct http1_parser p, q;
	int a, b;

	if (size < 1)
		return 0;
	method = data[0] & 128 ? "HEAD" : "GET";
	http1_parser_init(&p, method);
	http1_parser_init(&q, method);
	a = parse(&p, data + 1, size - 1, SIZE_MAX, &whole);
	b = parse(&q, data + 1, size - 1, (size_t)(data[0] & 127) + 1, &cut);
	if (a != b || p.status != q.status || whole.len != cut.len ||
		(whole.len > 0 && memcmp(whole.data, cut.data, whole.len) != 0))
		__builtin_trap();
	http1_parser_done(&p);
	http1_parser_done(&q);
	buf_done(&whole);
	buf_done(&cut);
	return 0;
}
