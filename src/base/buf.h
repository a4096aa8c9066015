/*
 * Bytes that grow up to a maximum fixed at birth. Going over it is -EMSGSIZE and changes nothing,
 * so whatever grows with foreign input has a limit by construction.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data; /* owned; NULL while empty and never grown */
	size_t len;
	size_t cap;
	size_t max_bytes;
};

#define BUF_INIT(max) ((struct buf){ .max_bytes = (max) })

void buf_done(struct buf *b);
/* Forgets the content, keeps the memory. */
void buf_clear(struct buf *b);
/* Room for `extra` more bytes: 0, -ENOMEM or -EMSGSIZE. */
int buf_reserve(struct buf *b, size_t extra);
int buf_append(struct buf *b, const void *data, size_t len);
int buf_append_string(struct buf *b, const char *s);
int buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Drops the first `len` bytes (at most all). */
void buf_consume(struct buf *b, size_t len);
/* The content as a C string, owned by the buffer and valid until it changes; NULL if out of memory. */
const char *buf_string(struct buf *b);
/* Gives memory back that is far beyond what is in use (after one huge message). */
void buf_shrink(struct buf *b, size_t keep_bytes);
