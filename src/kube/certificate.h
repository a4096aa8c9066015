/*
 * When a client certificate ends: the first of a PEM text, read as far as its validity and no further.
 * Whether it is one that anybody trusts is not asked here. Pure.
 */
#pragma once

#include <stdint.h>

/* Wall clock, since the epoch. 0; -EINVAL: there is none in it, or what is there is none; -ERANGE: it ends
 * at a time that no int64_t has (9999 is "never"); -ENOMEM. */
int certificate_end(const char *pem, int64_t *ret_end_ns);
