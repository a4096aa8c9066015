/*
 * Protobuf's wire format, read in place: for messages of which we want a few fields, without an
 * allocation. Bytes in, slices out.
 *
 *	while (s.at < s.end) {
 *		if (!scan_field(&s, &field))
 *			return -EBADMSG;
 *		...field.number, field.wire, then field.value or field.data
 *	}
 *
 * Whoever looks at value or data looks at `wire` first: the sender decides about it. Groups are
 * refused.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum wire_type {
	WIRE_VARINT = 0,
	WIRE_FIXED64 = 1,
	WIRE_BYTES = 2,   /* strings, messages */
	WIRE_FIXED32 = 5, /* 3 and 4 are groups, which nobody sends any more */
};

struct scan {
	const uint8_t *at, *end;
};

struct field {
	uint32_t number;
	enum wire_type wire;
	uint64_t value;   /* of a varint */
	struct scan data; /* of bytes */
};

static inline struct scan scan_of(struct slice s)
{
	const uint8_t *data = (const uint8_t *)s.data;

	/* An empty one may be NULL, to which C adds not even 0. */
	return (struct scan){ data, s.len > 0 ? data + s.len : data };
}

static inline struct slice slice_of(struct scan s)
{
	return (struct slice){ (const char *)s.at, (size_t)(s.end - s.at) };
}

static inline bool scan_long_varint(struct scan *s, uint64_t *ret)
{
	uint64_t value = 0;

	for (unsigned shift = 0; shift < 64 && s->at < s->end; shift += 7) {
		uint8_t byte = *s->at++;

		if (shift == 63 && byte > 1)
			return false; /* more than 64 bits */
		value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80) {
			*ret = value;
			return true;
		}
	}
	return false;
}

static inline bool scan_varint(struct scan *s, uint64_t *ret)
{
	if (s->at < s->end && *s->at < 0x80) {
		*ret = *s->at++;
		return true;
	}
	return scan_long_varint(s, ret);
}

static inline bool scan_skip(struct scan *s, uint64_t len)
{
	if (len > (uint64_t)(s->end - s->at))
		return false;
	s->at += len;
	return true;
}

/* The next field; false when it is malformed. The caller has seen that there are bytes left. */
static inline __attribute__((always_inline)) bool scan_field(struct scan *s, struct field *ret)
{
	uint64_t tag, len;

	if (!scan_varint(s, &tag) || tag > UINT32_MAX || tag < 8)
		return false;
	*ret = (struct field){ .number = (uint32_t)tag >> 3, .wire = (enum wire_type)(tag & 7) };
	/* Not a switch: nearly all fields are one of the first two, and a table of jumps costs. */
	if (ret->wire == WIRE_BYTES) {
		if (!scan_varint(s, &len))
			return false;
		ret->data.at = s->at;
		if (!scan_skip(s, len))
			return false;
		ret->data.end = s->at;
		return true;
	}
	if (ret->wire == WIRE_VARINT)
		return scan_varint(s, &ret->value);
	if (ret->wire == WIRE_FIXED64)
		return scan_skip(s, 8);
	return ret->wire == WIRE_FIXED32 && scan_skip(s, 4);
}
