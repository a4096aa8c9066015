/* Who may ask: the Host header against DNS rebinding, the bearer token. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* `host` is the header's value, NULL if there is none. A listener on loopback is asked for by a
 * loopback name or address, or by `extra` ("": none). Elsewhere any address will do as well: an
 * address cannot be rebound, only a name can. */
bool guard_host_is_ours(const char *host, bool loopback, const char *extra);

/* `header` is the value of Authorization, NULL if there is none. Takes as long for a wrong token as
 * for the right one. */
bool guard_token_is_right(const char *header, const char *token, size_t token_len);
