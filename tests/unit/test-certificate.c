/* When certificates end: such as openssl makes, and such as nobody makes. */
#include "unit.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/time.h"
#include "kube/certificate.h"

#define BEGIN "-----BEGIN CERTIFICATE-----\n"
#define END   "-----END CERTIFICATE-----\n"

/* From 2024 to 2026-01-02 03:04:05: UTCTime. */
#define UTC                                                                                        \
	"MIIBAzCBqgIBATAKBggqhkjOPQQDAjANMQswCQYDVQQDDAJjYTAeFw0yNDAxMDEw\n"                       \
	"MDAwMDBaFw0yNjAxMDIwMzA0MDVaMA8xDTALBgNVBAMMBG5vZGUwWTATBgcqhkjO\n"                       \
	"PQIBBggqhkjOPQMBBwNCAATU1khUH+wpg4nt/bdXvH85OLhW0zXPmEq2jqWW7w9y\n"                       \
	"xkolmeYk09CC8FzjB4arrKpZ7rzYm7Kha3Sy2RLcDxltMAoGCCqGSM49BAMCA0gA\n"                       \
	"MEUCIBZ5jR8alzShwYcCpBvpIdsfmV8tXJVtQFQNguw5wDH2AiEA5sp62lBr64mn\n"                       \
	"Jc+4PKfqq/ETMfTTSg1M3/IQzbSE/hY=\n"

/* To 2051: GeneralizedTime. What follows the validity is not read. */
#define GENERAL                                                                                    \
	"MIIBBTCBrAIBAjAKBggqhkjOPQQDAjANMQswCQYDVQQDDAJjYTAgFw0yNDAxMDEw\n"                       \
	"MDAwMDBaGA8yMDUxMDEwMjAzMDQwNVowDzENMAsGA1UEAwwEbm9kZTBZMBMGByqG\n"                       \
	"SM49AgEGCCqGSM49AwEHA0IABNTWSFQf7CmDie39t1e8fzk4uFbTNc+YSraOpZbv\n"                       \
	"D3LGSiWZ5iTT0ILwXOMHhqusqlnuvNibsqFrdLLZEtwPGW0wCgYIKoZIzj0EAwID\n"                       \
	"SAAwRQIgGWN8VP9++fQ9qiHWFW5qOw+Ar8Nyr6gI2PLxdMXqjFYCIQCcFBL6Nn+7\n"                       \
	"7npDoQijqE8gF+8wf4PcnLs9Wjk/Wu870Q==\n"

/* To 9999-12-31 23:59:59, as RFC 5280 writes "no end". */
#define NEVER_ENDS                                                                                 \
	"MIIBBTCBrAIBAzAKBggqhkjOPQQDAjANMQswCQYDVQQDDAJjYTAgFw0yNDAxMDEw\n"                       \
	"MDAwMDBaGA85OTk5MTIzMTIzNTk1OVowDzENMAsGA1UEAwwEbm9kZTBZMBMGByqG\n"                       \
	"SM49AgEGCCqGSM49AwEHA0IABNTWSFQf7CmDie39t1e8fzk4uFbTNc+YSraOpZbv\n"                       \
	"D3LGSiWZ5iTT0ILwXOMHhqusqlnuvNibsqFrdLLZEtwPGW0wCgYIKoZIzj0EAwID\n"                       \
	"SAAwRQIgEZntdqRoHxLyaya0xP7KRm8SAP2xe/xmw6lCklLZdYACIQDR66ssn1gI\n"                       \
	"xXE2+wo7+3gQ1V0op00D2RQyEAR80f84MQ==\n"

static void ends(void **state)
{
	static const struct {
		const char *pem, *end; /* NULL: `code` */
		int code;
	} cases[] = {
		{ BEGIN UTC END, "2026-01-02T03:04:05.000000000Z", 0 },
		{ BEGIN GENERAL END, "2051-01-02T03:04:05.000000000Z", 0 },
		{ BEGIN NEVER_ENDS END, NULL, -ERANGE },
		{ "what openssl prints\n" BEGIN UTC END BEGIN GENERAL END,
			"2026-01-02T03:04:05.000000000Z", 0 }, /* the first is ours */
		{ "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n" BEGIN
				GENERAL END,
			"2051-01-02T03:04:05.000000000Z", 0 },
		{ BEGIN UTC, NULL, -EINVAL }, /* no end of it */
		{ BEGIN END, NULL, -EINVAL },
		{ BEGIN "MIIBAzCBqgIBATAKBggqhkjOPQQDAjANMQswCQYDVQQDDAJjYTAe\n" END, NULL,
			-EINVAL }, /* cut */
		{ BEGIN "*\n" END, NULL, -EINVAL },
		{ BEGIN "MIAAAA==\n" END, NULL, -EINVAL }, /* an indefinite length */
		{ BEGIN "MIT/////\n" END, NULL, -EINVAL }, /* of four bytes */
		{ BEGIN "MIP///8A\n" END, NULL, -EINVAL }, /* longer than all */
		{ BEGIN "H4EBAAAA\n" END, NULL, -EINVAL }, /* a long tag */
		{ "-----BEGIN PUBLIC KEY-----\n" UTC, NULL, -EINVAL },
		{ "", NULL, -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(cases); i++) {
		char text[TIME_TEXT_MAX];
		int64_t end_ns = 0;
		int r = certificate_end(cases[i].pem, &end_ns);

		assert_int_equal(r, cases[i].code);
		if (cases[i].end)
			assert_string_equal(time_format_rfc3339(text, end_ns), cases[i].end);
		else
			assert_true(end_ns == 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
