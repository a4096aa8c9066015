/*
 * Messages with texts: a fixed struct, which begins with the texts' lengths (uint32_t lens[count]), then
 * the texts, each with a NUL behind it. A length of 0 is no text. Here such a message is written and
 * read, whatever it says; what its fixed part and its texts may be is for whoever takes it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

struct channel_message;

/* Appends a message; what stands in the lens of `fixed` does not matter. 0, -ENOMEM, -EMSGSIZE: more
 * than the buffer may hold. */
int texts_pack(struct buf *out, const void *fixed, size_t fixed_len, const struct slice *texts,
	size_t count);

/* The fixed part, copied, and `count` texts, borrowed from the message; NULL for length 0. A text may
 * have a NUL in it. -EBADMSG unless the message is exactly that. */
int texts_unpack(const struct channel_message *m, void *ret_fixed, size_t fixed_len,
	const char **ret_texts, size_t count);
