/* Texts as they go to the API server. Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/time.h"

#define KUBE_MESSAGE_MAX 1024u /* bytes of a message, as an Event's note is limited */
#define KUBE_NAME_MAX    253u  /* bytes of an object's name */

/* What may stand in a message: printable UTF-8, at most KUBE_MESSAGE_MAX bytes and cut at the end of
 * a character, and without what looks like a secret: the user part of a URL, the value behind
 * "password=", "token:", "Bearer " and their like give way to "***". Returns `out`. */
const char *kube_message(char out[KUBE_MESSAGE_MAX + 1], const char *text);

/* The API's Time: RFC 3339 in whole seconds, cut, not rounded, so that none lies in the future. */
const char *kube_time(char text[TIME_TEXT_MAX], int64_t real_ns);

/* For a path of a URL: all but letters, digits, '-', '.', '_' and '~' as %XX. Cut at `size`. */
const char *kube_path_part(char *out, size_t size, const char *text);
