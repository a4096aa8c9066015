#include "kube/lines.h"

#include <string.h>

#define KEEP_BYTES (64u << 10) /* of memory, for the next line */

int kube_lines_add(struct kube_lines *l, const void *data, size_t len)
{
	buf_consume(&l->bytes, l->read);
	l->read = 0;
	return buf_append(&l->bytes, data, len);
}

static bool take_line(struct kube_lines *l, const char **ret, size_t *ret_len)
{
	size_t left = l->bytes.len - l->read;
	const char *start, *end;

	if (left == l->scanned)
		return false;
	start = (const char *)l->bytes.data + l->read;
	end = memchr(start + l->scanned, '\n', left - l->scanned);
	if (!end) {
		l->scanned = left;
		return false;
	}
	l->scanned = 0;
	*ret = start;
	*ret_len = (size_t)(end - start);
	l->read += *ret_len + 1;
	if (*ret_len > 0 && end[-1] == '\r')
		(*ret_len)--;
	return true;
}

bool kube_lines_next(struct kube_lines *l, const char **ret, size_t *ret_len)
{
	while (take_line(l, ret, ret_len))
		if (*ret_len > 0)
			return true;
	return false;
}

void kube_lines_reset(struct kube_lines *l)
{
	buf_clear(&l->bytes);
	buf_shrink(&l->bytes, KEEP_BYTES);
	l->read = l->scanned = 0;
}

void kube_lines_done(struct kube_lines *l)
{
	buf_done(&l->bytes);
	l->read = l->scanned = 0;
}
