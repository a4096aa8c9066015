/* An event as docs/json.md has it. Pure. */
#pragma once

#include "base/buf.h"
#include "model/event.h"

/* Appends one object without a newline: 0, -ENOMEM or -EMSGSIZE. After a failure the end of `out`
 * is undefined. */
int event_json(const struct event *event, const char *epoch, struct buf *out);
