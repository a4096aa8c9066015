#include "web/guard.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

#define GUARD_NAME_MAX 256

/* The name without port, brackets and final dot; false if it is none. */
static bool split_host(const char *host, char name[GUARD_NAME_MAX], bool *ret_v6)
{
	const char *end, *rest;
	uint64_t port;
	size_t len;

	*ret_v6 = host[0] == '[';
	if (*ret_v6) {
		host++;
		end = strchr(host, ']');
		if (!end)
			return false;
		rest = end + 1;
	} else {
		end = host + strcspn(host, ":");
		rest = end;
	}
	if (*rest == ':' && (str_to_u64(rest + 1, &port) < 0 || port > UINT16_MAX))
		return false;
	if (*rest != ':' && *rest != '\0')
		return false;
	len = (size_t)(end - host);
	if (len > 0 && !*ret_v6 && host[len - 1] == '.')
		len--;
	if (len == 0 || len >= GUARD_NAME_MAX)
		return false;
	(void)snprintf(name, GUARD_NAME_MAX, "%.*s", (int)len, host);
	return true;
}

bool guard_host_is_ours(const char *host, bool loopback, const char *extra)
{
	char name[GUARD_NAME_MAX];
	struct in6_addr v6;
	struct in_addr v4;
	bool is_v6;

	if (!host || !split_host(host, name, &is_v6))
		return false;
	if (is_v6) {
		if (inet_pton(AF_INET6, name, &v6) != 1)
			return false;
		return !loopback || IN6_IS_ADDR_LOOPBACK(&v6);
	}
	if (inet_pton(AF_INET, name, &v4) == 1)
		return !loopback || (ntohl(v4.s_addr) >> 24) == 127;
	return strcasecmp(name, "localhost") == 0 ||
		(extra[0] != '\0' && strcasecmp(name, extra) == 0);
}

bool guard_token_is_right(const char *header, const char *token, size_t token_len)
{
	const char *given;
	unsigned wrong;
	size_t len;

	if (!header || strncasecmp(header, "Bearer ", 7) != 0)
		return false;
	given = header + 7;
	given += strspn(given, " ");
	len = strlen(given);
	/* Every byte of what was given is looked at, whatever it is. */
	wrong = len != token_len || token_len == 0;
	for (size_t i = 0; i < len; i++)
		wrong |= (unsigned char)given[i] ^
			(unsigned char)(token_len > 0 ? token[i % token_len] : 0);
	return wrong == 0;
}
