/*
 * CRI messages to and from structs: requests are encoded, answers decoded. Pure: bytes and structs
 * only. Lists are not decoded here but scanned (cri-scan.h).
 */
#pragma once

#include "base/buf.h"
#include "base/str.h"
#include "runtime/arena.h"
#include "runtime/runtime-internal.h"

/* Of a request of ours; it is our own configuration, so it is never near this. */
#define CRI_REQUEST_MAX (1024u * 1024)
/* What decoding one answer may take in memory beyond the answer itself. */
#define CRI_DECODE_MAX ((size_t)8 * 1024 * 1024)
/* Arguments, environment, mounts: of each at most. */
#define CRI_ITEMS_MAX 1024

/* Encodes the request of one leg into an empty buffer: 0, -ENOMEM, -E2BIG, -EMSGSIZE, or -EINVAL
 * where an environment entry has no '='. */
int cri_encode(enum runtime_method leg, const struct runtime_request *request, struct buf *ret);

/*
 * Decodes an answer, sets the fields of `ret` that belong to the method; what they point to lives
 * in the arena and in the answer. 0, -ENOMEM, -EMSGSIZE (over the arena's limit), or -EBADMSG; then
 * *ret_trouble (a constant) says for people what is wrong.
 */
int cri_decode(enum runtime_method leg, const char *subject, struct slice answer,
	struct arena *arena, struct runtime_result *ret, const char **ret_trouble);
