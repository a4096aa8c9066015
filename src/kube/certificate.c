#include "kube/certificate.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"
#include "kube/kubeconfig.h"

#define PEM_BEGIN "-----BEGIN CERTIFICATE-----"
#define PEM_END   "-----END"

/* X.690: the tags on the way to the validity. */
enum der_tag {
	DER_UTC_TIME = 0x17,
	DER_GENERALIZED_TIME = 0x18,
	DER_SEQUENCE = 0x30,
	DER_VERSION = 0xa0, /* [0], of a certificate */
};

/* Takes the next element from `in`: its tag and what is inside. */
static int der_take(struct slice *in, unsigned *ret_tag, struct slice *ret)
{
	const uint8_t *at = (const uint8_t *)in->data;
	size_t head = 2, len;

	if (in->len < head || (at[0] & 0x1f) == 0x1f) /* a tag of more than a byte */
		return -EINVAL;
	len = at[1];
	if (len >= 0x80) {
		size_t count = len & 0x7f;

		if (count < 1 || count > 3 || in->len < head + count)
			return -EINVAL;
		len = 0;
		for (size_t i = 0; i < count; i++)
			len = len << 8 | at[head + i];
		head += count;
	}
	if (len > in->len - head)
		return -EINVAL;
	*ret_tag = at[0];
	*ret = (struct slice){ in->data + head, len };
	*in = (struct slice){ in->data + head + len, in->len - head - len };
	return 0;
}

/* As der_take(), of this tag. */
static int der_enter(struct slice *in, unsigned tag, struct slice *ret)
{
	unsigned found;
	int r = der_take(in, &found, ret);

	return r < 0 ? r : found == tag ? 0 : -EINVAL;
}

/* "YYMMDDHHMMSSZ" of 1950 to 2049, or "YYYYMMDDHHMMSSZ": all that RFC 5280 allows. */
static int der_time(unsigned tag, struct slice in, int64_t *ret_ns)
{
	size_t year = tag == DER_UTC_TIME ? 2 : 4;
	char text[TIME_TEXT_MAX];
	const char *d = in.data;

	if ((tag != DER_UTC_TIME && tag != DER_GENERALIZED_TIME) || in.len != year + 11)
		return -EINVAL;
	for (size_t i = 0; i + 1 < in.len; i++)
		if (d[i] < '0' || d[i] > '9')
			return -EINVAL;
	if (d[in.len - 1] != 'Z')
		return -EINVAL;
	if (year == 4 && memcmp(d, "2262", 4) >= 0)
		return -ERANGE;
	(void)str_format(text, sizeof(text), "%s%.*s-%.2s-%.2sT%.2s:%.2s:%.2sZ",
		year == 4            ? ""
			: d[0] < '5' ? "20"
				     : "19",
		(int)year, d, d + year, d + year + 2, d + year + 4, d + year + 6, d + year + 8);
	return time_parse_rfc3339(text, ret_ns);
}

/* Certificate -> tbsCertificate -> validity -> notAfter (RFC 5280, 4.1). */
static int der_not_after(struct slice in, int64_t *ret_ns)
{
	struct slice outer, tbs, validity, skipped;
	unsigned tag;
	int r;

	r = der_enter(&in, DER_SEQUENCE, &outer);
	if (r >= 0)
		r = der_enter(&outer, DER_SEQUENCE, &tbs);
	if (r >= 0)
		r = der_take(&tbs, &tag,
			&skipped); /* the version, which may be left out, or the number */
	if (r >= 0 && tag == DER_VERSION)
		r = der_take(&tbs, &tag, &skipped);
	for (int i = 0; r >= 0 && i < 2; i++) /* algorithm, issuer */
		r = der_enter(&tbs, DER_SEQUENCE, &skipped);
	if (r >= 0)
		r = der_enter(&tbs, DER_SEQUENCE, &validity);
	if (r >= 0)
		r = der_take(&validity, &tag, &skipped); /* notBefore */
	if (r >= 0)
		r = der_take(&validity, &tag, &skipped);
	return r < 0 ? r : der_time(tag, skipped, ret_ns);
}

int certificate_end(const char *pem, int64_t *ret_end_ns)
{
	CLEAN(mem_freep) char *text = NULL;
	CLEAN(mem_freep) char *der = NULL;
	const char *begin = strstr(pem, PEM_BEGIN), *end;
	size_t len;
	int r;

	if (!begin)
		return -EINVAL;
	begin += strlen(PEM_BEGIN);
	end = strstr(begin, PEM_END);
	if (!end)
		return -EINVAL;
	text = mem_strndup(begin, (size_t)(end - begin));
	if (!text)
		return -ENOMEM;
	r = kube_base64_decode(text, &der, &len);
	return r < 0 ? r : der_not_after((struct slice){ der, len }, ret_end_ns);
}
