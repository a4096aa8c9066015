#include "role/texts.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "role/channel.h"

int texts_pack(struct buf *out, const void *fixed, size_t fixed_len, const struct slice *texts,
	size_t count)
{
	size_t lens_at = out->len;
	int r = buf_append(out, fixed, fixed_len);

	assert(fixed_len >= count * sizeof(uint32_t));
	for (size_t i = 0; i < count && r >= 0; i++) {
		uint32_t len = (uint32_t)texts[i].len;

		memcpy(out->data + lens_at + i * sizeof(len), &len, sizeof(len));
		if (len == 0)
			continue;
		r = buf_append(out, texts[i].data, len);
		if (r >= 0)
			r = buf_append(out, "", 1);
	}
	return r;
}

int texts_unpack(const struct channel_message *m, void *ret_fixed, size_t fixed_len,
	const char **ret_texts, size_t count)
{
	const char *payload = m->payload;
	size_t at = fixed_len;

	assert(fixed_len >= count * sizeof(uint32_t));
	if (m->len < fixed_len)
		return -EBADMSG;
	for (size_t i = 0; i < count; i++) {
		uint32_t len;

		memcpy(&len, payload + i * sizeof(len), sizeof(len));
		ret_texts[i] = NULL;
		if (len == 0)
			continue;
		if (len >= m->len - at || payload[at + len] != '\0')
			return -EBADMSG;
		ret_texts[i] = payload + at;
		at += (size_t)len + 1;
	}
	if (at != m->len)
		return -EBADMSG;
	memcpy(ret_fixed, payload, fixed_len);
	return 0;
}
