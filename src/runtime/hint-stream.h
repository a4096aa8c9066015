/*
 * The life of one subscription, whatever it carries: open, prove that it is open, hand out what
 * comes, open again when it breaks. Internal to src/runtime.
 *
 * A server stream says nothing until it has something to say. So behind each subscription goes a
 * probe, a small call on the same connection, twice in a row: when the second is answered the
 * server has long begun to serve the subscription, and only then the stream is called up.
 *
 * When the connection is gone, the next subscription waits for the client's own dial, which backs
 * off. When it is not, the back-off is ours.
 */
#pragma once

#include "base/str.h"
#include "net/grpc.h"
#include "runtime/hint.h"

struct hint_stream;

enum hint_fate {
	HINT_TOLD,
	HINT_MALFORMED,
	HINT_FOREIGN,
	HINT_UNKNOWN,
};

/* What kind of stream it is. */
struct hint_source {
	const char *path, *probe_path;    /* string literals */
	const char *containerd_namespace; /* or NULL; copied */
	const void *request;              /* copied */
	size_t request_len;
	/* The end of a stream without a single message means that it is switched off. */
	bool silent_end_is_absent;
	const char *absent_text; /* why, for people; a string literal */
	/* Sets *ret with HINT_TOLD; allocates nothing. */
	enum hint_fate (*decode)(void *owner, struct slice message, struct hint *ret);
	void (*on_probe)(void *owner, struct slice answer); /* optional */
	void *owner;
};

/* A message over this ends the stream: the largest are creates with their mounts. */
#define HINT_MESSAGE_MAX (1024u * 1024)
/* How long until a server without this stream is asked again; it may have been replaced. */
#define HINT_ABSENT_RETRY_NS (60 * UINT64_C(1000000000))
/* A stream that was up this long begins its back-off anew. */
#define HINT_STEADY_NS (3 * UINT64_C(1000000000))

/* Subscribes at once, from the loop. The client is borrowed, and must be freed before the stream. */
int hint_stream_new(sd_event *loop, struct grpc_client *client, const struct hint_source *source,
	const struct hint_callbacks *callbacks, void *userdata, struct hint_stream **ret);
/* No callback comes after this, but the memory needs the client to be freed. */
void hint_stream_close(struct hint_stream *stream);
/* After grpc_client_free(). Accepts NULL, returns NULL. */
struct hint_stream *hint_stream_free(struct hint_stream *stream);

void hint_stream_statistics(const struct hint_stream *stream, struct hint_statistics *ret);
