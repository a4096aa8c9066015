/* The walk through a certificate: never outside of it, and an end that is a time. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "base/time.h"
#include "kube/certificate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In base64 a fuzzer finds little: the bytes are put behind PEM's lines here. */
static char *as_pem(const uint8_t *data, size_t size)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	static const char begin[] = "-----BEGIN CERTIFICATE-----\n", end[] = "\n-----END";
	char *pem = mem_alloc(sizeof(begin) + sizeof(end) + (size + 2) / 3 * 4), *at = pem;

	if (!pem)
		return NULL;
	memcpy(at, begin, sizeof(begin) - 1);
	at += sizeof(begin) - 1;
	for (size_t i = 0; i < size; i += 3) {
		uint32_t bits = (uint32_t)data[i] << 16;

		bits |= i + 1 < size ? (uint32_t)data[i + 1] << 8 : 0;
		bits |= i + 2 < size ? data[i + 2] : 0;
		*at++ = digits[bits >> 18];
		*at++ = digits[bits >> 12 & 63];
		*at++ = i + 1 < size ? digits[bits >> 6 & 63] : '=';
		*at++ = i + 2 < size ? digits[bits & 63] : '=';
	}
	memcpy(at, end, sizeof(end));
	return pem;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEAN(mem_freep) char *text = mem_strndup((const char *)data, size);
	CLEAN(mem_freep) char *pem = as_pem(data, size);
	int64_t end_ns;

	if (!text || !pem)
		return 0;
	(void)certificate_end(text, &end_ns);
	if (certificate_end(pem, &end_ns) == 0) {
		char out[TIME_TEXT_MAX];
		int64_t again_ns;

		/* What it says is a time that goes through text and back. */
		(void)time_format_rfc3339(out, end_ns);
		assert(time_parse_rfc3339(out, &again_ns) == 0 && again_ns == end_ns);
	}
	return 0;
}
