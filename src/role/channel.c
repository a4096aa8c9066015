#include "role/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "base/fault.h"
#include "base/fd.h"
#include "base/mem.h"

/* Host byte order: both ends are on one machine and of one build. */
struct channel_header {
	uint32_t type;
	uint32_t len; /* of the payload: a second opinion beside the packet's own length */
	uint64_t id;
};

#define CHANNEL_PACKET_MAX (sizeof(struct channel_header) + CHANNEL_PAYLOAD_MAX)

struct channel_queued {
	TAILQ_ENTRY(channel_queued) entry;
	int fds[CHANNEL_FDS_MAX]; /* owned */
	unsigned fd_count;
	struct channel_header header;
	uint8_t payload[];
};

struct channel {
	int fd;
	const struct channel_type *types;
	size_t type_count;
	TAILQ_HEAD(, channel_queued) queue;
	size_t queue_len, queue_bytes;
	uint8_t *packet; /* CHANNEL_PACKET_MAX; pages never touched cost nothing */
};

static void close_fds(int *fds, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		fds[i] = fd_close(fds[i]);
}

static void queued_free(struct channel_queued *q)
{
	close_fds(q->fds, q->fd_count);
	(void)mem_free(q);
}

int channel_new(int fd, const struct channel_type *types, size_t type_count, struct channel **ret)
{
	CLEAN_FD int owned = fd;
	struct channel *c;
	int r;

	r = fd_set_nonblocking(owned);
	if (r < 0)
		return r;
	c = mem_zalloc(sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->packet = mem_alloc(CHANNEL_PACKET_MAX);
	if (!c->packet) {
		(void)mem_free(c);
		return -ENOMEM;
	}
	c->fd = TAKE_FD(owned);
	c->types = types;
	c->type_count = type_count;
	TAILQ_INIT(&c->queue);
	*ret = c;
	return 0;
}

static void drop_queue(struct channel *c)
{
	struct channel_queued *q;

	while ((q = TAILQ_FIRST(&c->queue)) != NULL) {
		TAILQ_REMOVE(&c->queue, q, entry);
		queued_free(q);
	}
	c->queue_len = c->queue_bytes = 0;
}

struct channel *channel_free(struct channel *c)
{
	if (!c)
		return NULL;
	drop_queue(c);
	(void)fd_close(c->fd);
	(void)mem_free(c->packet);
	return mem_free(c);
}

int channel_fd(const struct channel *c)
{
	return c->fd;
}

short channel_events(const struct channel *c)
{
	return TAILQ_EMPTY(&c->queue) ? POLLIN : POLLIN | POLLOUT;
}

/* --- sending --- */

static int send_packet(int fd, const struct channel_header *header, const void *payload,
	const int *fds, unsigned fd_count)
{
	union {
		char room[CMSG_SPACE(sizeof(int) * CHANNEL_FDS_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec parts[] = {
		{ .iov_base = (void *)header, .iov_len = sizeof(*header) },
		{ .iov_base = (void *)payload, .iov_len = header->len },
	};
	struct msghdr m = { .msg_iov = parts, .msg_iovlen = header->len > 0 ? 2 : 1 };
	ssize_t n;

	if (fault_is_due(FAULT_WRITE))
		return -EIO;
	if (fd_count > 0) {
		struct cmsghdr *cmsg;

		memset(&control, 0, sizeof(control));
		m.msg_control = control.room;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
		cmsg = CMSG_FIRSTHDR(&m);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * fd_count);
	}
	do
		n = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return 0;
	if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN || errno == ECONNREFUSED)
		return -EPIPE;
	return -errno;
}

static int queue_packet(struct channel *c, const struct channel_header *header, const void *payload,
	const int *fds, unsigned fd_count)
{
	struct channel_queued *q;

	if (c->queue_len >= CHANNEL_QUEUE_MAX || c->queue_bytes + header->len > CHANNEL_QUEUE_BYTES)
		return -ENOBUFS;
	q = mem_alloc(sizeof(*q) + header->len);
	if (!q)
		return -ENOMEM;
	q->header = *header;
	q->fd_count = 0;
	if (header->len > 0)
		memcpy(q->payload, payload, header->len);
	for (; q->fd_count < fd_count; q->fd_count++) {
		int fd = fcntl(fds[q->fd_count], F_DUPFD_CLOEXEC, 3);

		if (fd < 0) {
			int r = -errno;

			queued_free(q);
			return r;
		}
		q->fds[q->fd_count] = fd;
	}
	TAILQ_INSERT_TAIL(&c->queue, q, entry);
	c->queue_len++;
	c->queue_bytes += header->len;
	return 0;
}

int channel_send(struct channel *c, uint32_t type, uint64_t id, const void *payload, size_t len,
	const int *fds, unsigned fd_count)
{
	struct channel_header header = { .type = type, .len = (uint32_t)len, .id = id };
	int r;

	if (len > CHANNEL_PAYLOAD_MAX)
		return -EMSGSIZE;
	if (fd_count > CHANNEL_FDS_MAX)
		return -EINVAL;
	if (TAILQ_EMPTY(&c->queue)) {
		r = send_packet(c->fd, &header, payload, fds, fd_count);
		if (r != -EAGAIN)
			return r;
	}
	return queue_packet(c, &header, payload, fds, fd_count);
}

int channel_flush(struct channel *c)
{
	struct channel_queued *q;

	while ((q = TAILQ_FIRST(&c->queue)) != NULL) {
		int r = send_packet(c->fd, &q->header, q->payload, q->fds, q->fd_count);

		if (r == -EAGAIN)
			return 0;
		if (r < 0)
			return r;
		TAILQ_REMOVE(&c->queue, q, entry);
		c->queue_len--;
		c->queue_bytes -= q->header.len;
		queued_free(q);
	}
	return 0;
}

void channel_hang_up(struct channel *c)
{
	drop_queue(c);
	(void)shutdown(c->fd, SHUT_WR);
}

/* --- receiving --- */

static const struct channel_type *find_type(
	const struct channel_type *types, size_t type_count, uint32_t type)
{
	for (size_t i = 0; i < type_count; i++)
		if (types[i].type == type)
			return &types[i];
	return NULL;
}

int channel_parse(const struct channel_type *types, size_t type_count, const void *data, size_t len,
	unsigned fd_count, struct channel_message *ret)
{
	struct channel_header header;
	const struct channel_type *type;

	if (len < sizeof(header) || len > CHANNEL_PACKET_MAX)
		return -EBADMSG;
	memcpy(&header, data, sizeof(header));
	if (header.len != len - sizeof(header))
		return -EBADMSG;
	type = find_type(types, type_count, header.type);
	if (!type || header.len < type->min_payload || header.len > type->max_payload)
		return -EBADMSG;
	if (type->fds == CHANNEL_FDS_ANY ? fd_count > CHANNEL_FDS_MAX : fd_count != type->fds)
		return -EBADMSG;
	ret->type = header.type;
	ret->id = header.id;
	ret->payload = (const uint8_t *)data + sizeof(header);
	ret->len = header.len;
	return 0;
}

void channel_message_done(struct channel_message *m)
{
	close_fds(m->fds, m->fd_count);
	m->fd_count = 0;
}

static void take_fds(struct msghdr *m, int fds[CHANNEL_FDS_MAX], unsigned *ret_count)
{
	unsigned count = 0;

	for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(m); cmsg; cmsg = CMSG_NXTHDR(m, cmsg)) {
		size_t bytes;

		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		bytes = cmsg->cmsg_len - CMSG_LEN(0);
		for (size_t at = 0; at + sizeof(int) <= bytes; at += sizeof(int)) {
			int fd;

			memcpy(&fd, CMSG_DATA(cmsg) + at, sizeof(fd));
			if (count < CHANNEL_FDS_MAX)
				fds[count++] = fd;
			else
				(void)fd_close(fd);
		}
	}
	*ret_count = count;
}

int channel_receive(struct channel *c, struct channel_message *ret)
{
	union {
		char room[CMSG_SPACE(sizeof(int) * CHANNEL_FDS_MAX)];
		struct cmsghdr align;
	} control;
	struct iovec part = { .iov_base = c->packet, .iov_len = CHANNEL_PACKET_MAX };
	struct msghdr m = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control.room,
		.msg_controllen = sizeof(control.room),
	};
	struct channel_message got = { 0 };
	int reset = 0;
	ssize_t n;

	if (fault_is_due(FAULT_READ))
		return -EIO;
	/* A peer that closed without reading all it was sent gives ECONNRESET once, before its last
	 * words (unix_release_sock() in the kernel). */
	do
		n = recvmsg(c->fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 && (errno == EINTR || (errno == ECONNRESET && !reset++)));
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n < 0)
		return errno == ECONNRESET ? -EPIPE : -errno;

	take_fds(&m, got.fds, &got.fd_count);
	if (n == 0 && got.fd_count == 0)
		return -EPIPE; /* The end, or an empty packet, which is no message either. */
	if ((m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ||
		channel_parse(c->types, c->type_count, c->packet, (size_t)n, got.fd_count, &got) <
			0) {
		channel_message_done(&got);
		return -EBADMSG;
	}
	*ret = got;
	return 1;
}

/* --- memfds --- */

int channel_map_sealed(int fd, size_t max_bytes, const void **ret_data, size_t *ret_len)
{
	const int wanted = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
	struct stat st;
	void *data;
	int seals;

	/* Only memfds have seals, so this also refuses files, pipes and sockets. */
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & wanted) != wanted || fstat(fd, &st) < 0)
		return -EBADMSG;
	if (st.st_size < 0 || (uintmax_t)st.st_size > max_bytes)
		return -EBADMSG;
	if (st.st_size == 0) {
		*ret_data = NULL;
		*ret_len = 0;
		return 0;
	}
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		return -errno;
	*ret_data = data;
	*ret_len = (size_t)st.st_size;
	return 0;
}

void channel_unmap(const void *data, size_t len)
{
	if (data)
		(void)munmap((void *)data, len);
}
