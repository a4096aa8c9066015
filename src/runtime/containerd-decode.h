/*
 * Messages of containerd's own API, read from their bytes: the envelopes of its event stream and
 * the processes of its tasks service. Pure, and nothing is allocated. Field numbers are those of
 * proto/containerd.proto.
 *
 * The bytes mean what protobuf says: fields in any order, unknown ones skipped, the last of a
 * repeated scalar counts, a repeated message is merged. A field of ours with another wire type is
 * malformed, as is an id that is empty, too long or not printable ASCII.
 */
#pragma once

#include <stddef.h>

#include "base/str.h"
#include "runtime/containerd.h"
#include "runtime/hint-stream.h"

/* One Envelope. Events of another namespace are HINT_FOREIGN, of other types HINT_UNKNOWN. */
enum hint_fate containerd_decode_envelope(
	struct slice message, struct slice namespace, struct hint *ret);

/* Looks through a ListTasksResponse (its `tasks`) or a GetResponse (its `process`): both have them
 * in field 1. 0 and how many there are, or -EBADMSG. Only then containerd_decode_next(). */
int containerd_decode_validate(struct slice answer, size_t *ret_count);
/* Takes the next process off a validated answer; false at the end. */
bool containerd_decode_next(struct slice *rest, struct containerd_task *ret);

/* Of containerd's own enum; what is not known is UNKNOWN. */
enum containerd_status containerd_decode_status(uint64_t value);

/* The version of a VersionResponse, cleaned; "" if there is none. */
const char *containerd_decode_version(struct slice answer, char *out, size_t out_size);
