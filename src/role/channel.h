/*
 * The channel between the agent and one role: whole messages over a SOCK_SEQPACKET socket, with
 * file descriptors beside them. Both ends use this file, so it needs libc only.
 *
 * Nothing here waits. A message that cannot leave at once joins a queue with a limit in messages
 * and bytes; over the limit the sender gets -ENOBUFS and the message is not sent. What comes in is
 * judged against a table of the types that this end accepts; anything else (short, unknown, too
 * long, cut, descriptors that nobody expects) is -EBADMSG, after which the caller closes the
 * channel: a peer that sends nonsense is not read any further.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define CHANNEL_PAYLOAD_MAX 65536u /* longer things go as a sealed memfd */
#define CHANNEL_FDS_MAX     4u
#define CHANNEL_QUEUE_MAX   64u             /* messages that wait for room in the socket */
#define CHANNEL_QUEUE_BYTES (1024u * 1024u) /* and their bytes */

/* Types below this one belong to the mechanism (hello, start, ...), the others to each role. */
#define CHANNEL_TYPE_FIRST 64u

struct channel;

/* One row of what an end accepts. */
struct channel_type {
	uint32_t type;
	uint32_t min_payload;
	uint32_t max_payload; /* at most CHANNEL_PAYLOAD_MAX */
	uint32_t fds;         /* exactly so many; CHANNEL_FDS_ANY: up to CHANNEL_FDS_MAX */
};
#define CHANNEL_FDS_ANY UINT32_MAX

struct channel_message {
	uint32_t type;
	uint64_t id;         /* the sender's number; an answer carries that of its request */
	const void *payload; /* borrowed, valid until the next receive */
	size_t len;
	int fds[CHANNEL_FDS_MAX]; /* owned; taken with TAKE_FD(), which leaves -EBADF */
	unsigned fd_count;
};

/* Owns `fd` from now on, also on failure. `types` is borrowed and must outlive the channel. */
int channel_new(int fd, const struct channel_type *types, size_t type_count, struct channel **ret);
/* Closes; what is queued is lost. Returns NULL. */
struct channel *channel_free(struct channel *c);

int channel_fd(const struct channel *c);
/* What to poll for: POLLIN, and POLLOUT while something is queued. */
short channel_events(const struct channel *c);

/* Sends or queues. The payload is copied, `fds` are borrowed (duplicated if they must wait).
 * -ENOBUFS: the queue is full. -EMSGSIZE, -EINVAL: the caller's mistake. -EPIPE: the peer is gone.
 */
int channel_send(struct channel *c, uint32_t type, uint64_t id, const void *payload, size_t len,
	const int *fds, unsigned fd_count);
/* No more will be sent, which the peer sees as the end; what it still says can be received. */
void channel_hang_up(struct channel *c);
/* Sends what is queued as far as it goes: 0 or a negative errno (-EPIPE: the peer is gone). */
int channel_flush(struct channel *c);

/* 1: a message, to be given to channel_message_done(). 0: nothing there now. -EPIPE: the peer is
 * gone. -EBADMSG: nonsense. Any error ends the channel's use. */
int channel_receive(struct channel *c, struct channel_message *ret);
/* Closes the descriptors that nobody took. */
void channel_message_done(struct channel_message *m);

/* Judges a raw message (header and payload) as channel_receive() does; 0 or -EBADMSG. Pure. */
int channel_parse(const struct channel_type *types, size_t type_count, const void *data, size_t len,
	unsigned fd_count, struct channel_message *ret);

/* Maps a memfd that a peer sent, read-only. It must be sealed against change and at most
 * `max_bytes` long, so nothing can pull the ground away later: -EBADMSG otherwise. An empty one
 * gives NULL. Unmap with channel_unmap(). */
int channel_map_sealed(int fd, size_t max_bytes, const void **ret_data, size_t *ret_len);
void channel_unmap(const void *data, size_t len);
