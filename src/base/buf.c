#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

void buf_done(struct buf *b)
{
	b->data = mem_free(b->data);
	b->len = b->cap = 0;
}

void buf_clear(struct buf *b)
{
	b->len = 0;
}

int buf_reserve(struct buf *b, size_t extra)
{
	size_t want, cap;
	uint8_t *data;

	if (extra > b->max_bytes || b->len > b->max_bytes - extra)
		return -EMSGSIZE;
	want = b->len + extra;
	if (want <= b->cap)
		return 0;

	cap = b->cap ? b->cap : 64;
	while (cap < want)
		cap = cap > b->max_bytes / 2 ? b->max_bytes : cap * 2;
	data = mem_resize(b->data, cap, 1);
	if (!data)
		return -ENOMEM;
	b->data = data;
	b->cap = cap;
	return 0;
}

int buf_append(struct buf *b, const void *data, size_t len)
{
	int r;

	if (len == 0)
		return 0;
	r = buf_reserve(b, len);
	if (r < 0)
		return r;
	memcpy(b->data + b->len, data, len);
	b->len += len;
	return 0;
}

int buf_append_string(struct buf *b, const char *s)
{
	return buf_append(b, s, strlen(s));
}

int buf_printf(struct buf *b, const char *format, ...)
{
	va_list ap, again;
	int n, r;

	va_start(ap, format);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, format, ap);
	va_end(ap);
	if (n < 0) {
		va_end(again);
		return -EINVAL;
	}
	/* vsnprintf() writes a NUL behind the text; it needs room, but is not content. */
	r = buf_reserve(b, (size_t)n + 1);
	if (r >= 0) {
		(void)vsnprintf((char *)b->data + b->len, (size_t)n + 1, format, again);
		b->len += (size_t)n;
	}
	va_end(again);
	return r;
}

void buf_consume(struct buf *b, size_t len)
{
	if (len >= b->len) {
		b->len = 0;
		return;
	}
	memmove(b->data, b->data + len, b->len - len);
	b->len -= len;
}

const char *buf_string(struct buf *b)
{
	if (b->len == b->cap) {
		uint8_t *data = mem_resize(b->data, b->len + 1, 1);

		if (!data)
			return NULL;
		b->data = data;
		b->cap = b->len + 1;
	}
	b->data[b->len] = '\0';
	return (const char *)b->data;
}

void buf_shrink(struct buf *b, size_t keep_bytes)
{
	uint8_t *data;

	if (b->cap <= keep_bytes || b->len > keep_bytes)
		return;
	data = mem_resize(b->data, keep_bytes, 1);
	if (!data)
		return; /* The larger block does as well. */
	b->data = data;
	b->cap = keep_bytes;
}
