/*
 * What the parts that speak to a Docker Engine share: bodies, which hold other people's secrets, and
 * what the end of a request means.
 */
#pragma once

#include "base/buf.h"
#include "net/http1.h"
#include "runtime/runtime.h"

/* Of /version. */
#define DOCKER_VERSION_BYTES_MAX (256u * 1024)

/* As buf_append(), but growing leaves nothing behind in freed memory. */
int docker_body_append(struct buf *body, const void *data, size_t len);
/* Wipes and frees it. */
void docker_body_done(struct buf *body);

/* Of a request that did not end as HTTP1_ANSWERED. */
enum runtime_outcome docker_outcome(enum http1_outcome outcome);
/* What to do about it, where that is known; "" else. */
const char *docker_advice(enum http1_outcome outcome);
