#include "kube/api-protocol.h"

#include <errno.h>
#include <string.h>

struct slice api_slice(const char *text)
{
	return SLICE(str_or_empty(text));
}

int api_pack(struct buf *out, const void *fixed, size_t fixed_len, const struct slice *texts,
	size_t count)
{
	int r = buf_append(out, fixed, fixed_len);

	for (size_t i = 0; i < count && r >= 0; i++) {
		if (texts[i].len == 0)
			continue;
		r = buf_append(out, texts[i].data, texts[i].len);
		if (r >= 0)
			r = buf_append(out, "", 1);
	}
	return r;
}

int api_unpack(const struct channel_message *m, size_t fixed_len, const uint32_t *lens,
	size_t count, const char **ret_texts)
{
	const char *payload = m->payload;
	size_t at = fixed_len;

	for (size_t i = 0; i < count; i++) {
		ret_texts[i] = NULL;
		if (lens[i] == 0)
			continue;
		if (at > m->len || lens[i] >= m->len - at || payload[at + lens[i]] != '\0')
			return -EBADMSG;
		ret_texts[i] = payload + at;
		at += (size_t)lens[i] + 1;
	}
	return at == m->len ? 0 : -EBADMSG;
}
