/* Documents made of the agent's bytes: the plain page for people, the array of events. Pure. */
#pragma once

#include <stddef.h>

struct buf;

/* A JSON document as an HTML page of nested lines. Everything that comes from it is escaped; JSON
 * that is cut or no JSON gives a page that says so. 0, -ENOMEM or -EMSGSIZE. */
int page_render(const void *json, size_t len, struct buf *out);

/* One object per line -> one array. 0, -ENOMEM or -EMSGSIZE. */
int page_array_of_lines(const void *lines, size_t len, struct buf *out);

/* A JSON string with its quotes. */
int page_put_json_string(struct buf *out, const char *text);
