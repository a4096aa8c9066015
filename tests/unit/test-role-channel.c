/* The channel: what passes, what is refused, descriptors, the queue's limits, the end. */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "loop.h"
#include "role/channel.h"

#define TYPE_TEXT 64u /* 1..10 bytes */
#define TYPE_BIG  65u
#define TYPE_FD   66u /* exactly one descriptor */
#define TYPE_ANY  67u

static const struct channel_type types[] = {
	{ TYPE_TEXT, 1, 10, 0 },
	{ TYPE_BIG, 0, CHANNEL_PAYLOAD_MAX, 0 },
	{ TYPE_FD, 0, 0, 1 },
	{ TYPE_ANY, 0, 0, CHANNEL_FDS_ANY },
};

struct header {
	uint32_t type, len;
	uint64_t id;
};

struct fixture {
	struct channel *a, *b;
	int raw; /* a's descriptor, to write nonsense */
	int fds_before;
};

static int setup(void **state)
{
	static struct fixture f;
	int ends[2];

	f.fds_before = count_fds();
	ASSERT_OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
	f.raw = ends[0];
	ASSERT_OK(channel_new(ends[0], types, ELEMENTS(types), &f.a));
	ASSERT_OK(channel_new(ends[1], types, ELEMENTS(types), &f.b));
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->a = channel_free(f->a);
	f->b = channel_free(f->b);
	assert_int_equal(count_fds(), f->fds_before);
	return 0;
}

static void messages_pass(void **state)
{
	struct fixture *f = *state;
	struct channel_message m;

	assert_int_equal(channel_receive(f->b, &m), 0);
	ASSERT_OK(channel_send(f->a, TYPE_TEXT, 7, "hello", 5, NULL, 0));
	assert_int_equal(channel_receive(f->b, &m), 1);
	assert_int_equal(m.type, TYPE_TEXT);
	assert_int_equal(m.id, 7);
	assert_int_equal(m.len, 5);
	assert_memory_equal(m.payload, "hello", 5);
	assert_int_equal(m.fd_count, 0);
}

static void the_largest_passes_and_more_does_not(void **state)
{
	struct fixture *f = *state;
	struct channel_message m;
	uint8_t *data = mem_zalloc(CHANNEL_PAYLOAD_MAX + 1);

	data[CHANNEL_PAYLOAD_MAX - 1] = 9;
	ASSERT_OK(channel_send(f->a, TYPE_BIG, 1, data, CHANNEL_PAYLOAD_MAX, NULL, 0));
	assert_int_equal(channel_receive(f->b, &m), 1);
	assert_int_equal(m.len, CHANNEL_PAYLOAD_MAX);
	assert_int_equal(((const uint8_t *)m.payload)[CHANNEL_PAYLOAD_MAX - 1], 9);
	ASSERT_ERR(
		channel_send(f->a, TYPE_BIG, 1, data, CHANNEL_PAYLOAD_MAX + 1, NULL, 0), EMSGSIZE);
	(void)mem_free(data);
}

static void descriptors_pass(void **state)
{
	struct fixture *f = *state;
	struct channel_message m;
	int ends[2];
	char c;

	ASSERT_OK(pipe2(ends, O_CLOEXEC));
	ASSERT_OK(channel_send(f->a, TYPE_FD, 1, NULL, 0, &ends[1], 1));
	(void)fd_close(ends[1]);
	assert_int_equal(channel_receive(f->b, &m), 1);
	assert_int_equal(m.fd_count, 1);
	assert_int_equal(fcntl(m.fds[0], F_GETFD), FD_CLOEXEC);
	assert_int_equal(write(m.fds[0], "x", 1), 1);
	channel_message_done(&m);
	assert_int_equal(read(ends[0], &c, 1), 1);
	assert_int_equal(read(ends[0], &c, 1), 0); /* The only writer left is closed. */
	(void)fd_close(ends[0]);
}

static void nonsense_is_refused(void **state)
{
	static const struct {
		struct header h;
		size_t len, fds;
	} rows[] = {
		{ { TYPE_TEXT, 5, 1 }, 3, 0 },                         /* short of a header */
		{ { 99, 0, 1 }, sizeof(struct header), 0 },            /* unknown */
		{ { 0, 0, 1 }, sizeof(struct header), 0 },             /* unknown */
		{ { TYPE_TEXT, 4, 1 }, sizeof(struct header) + 5, 0 }, /* lies about its length */
		{ { TYPE_TEXT, UINT32_MAX, 1 }, sizeof(struct header), 0 },
		{ { TYPE_TEXT, 0, 1 }, sizeof(struct header), 0 },       /* under its minimum */
		{ { TYPE_TEXT, 11, 1 }, sizeof(struct header) + 11, 0 }, /* over its maximum */
		{ { TYPE_TEXT, 1, 1 }, sizeof(struct header) + 1, 1 },   /* a descriptor */
		{ { TYPE_FD, 0, 1 }, sizeof(struct header), 0 },         /* none */
		{ { TYPE_FD, 0, 1 }, sizeof(struct header), 2 },         /* too many */
		{ { TYPE_ANY, 0, 1 }, sizeof(struct header), 5 },        /* cut by the kernel */
		{ { TYPE_BIG, 70000, 1 }, sizeof(struct header) + 70000, 0 }, /* cut */
	};
	uint8_t *data = mem_zalloc(80000);
	struct fixture *f = *state;

	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		char control[CMSG_SPACE(sizeof(int) * 8)] = { 0 };
		struct iovec part = { data, rows[i].len };
		struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1 };
		struct channel_message m = { 0 };
		int before = count_fds();

		memcpy(data, &rows[i].h, sizeof(rows[i].h));
		if (rows[i].fds > 0) {
			struct cmsghdr *c;

			msg.msg_control = control;
			msg.msg_controllen = CMSG_SPACE(sizeof(int) * rows[i].fds);
			c = CMSG_FIRSTHDR(&msg);
			c->cmsg_level = SOL_SOCKET;
			c->cmsg_type = SCM_RIGHTS;
			c->cmsg_len = CMSG_LEN(sizeof(int) * rows[i].fds);
			memset(CMSG_DATA(c), 0, sizeof(int) * rows[i].fds); /* stdin, often */
		}
		assert_int_equal(sendmsg(f->raw, &msg, 0), (ssize_t)rows[i].len);
		ASSERT_ERR(channel_receive(f->b, &m), EBADMSG);
		assert_int_equal(count_fds(), before);
	}
	(void)mem_free(data);
}

static void a_full_queue_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct channel_message m;
	unsigned sent = 0, got = 0;
	int fd = 0, r;

	while ((r = channel_send(f->a, TYPE_ANY, sent + 1, NULL, 0, &fd, sent % 2)) == 0)
		assert_true(++sent < 100000);
	ASSERT_ERR(r, ENOBUFS);
	assert_true(sent > CHANNEL_QUEUE_MAX);
	assert_true(channel_events(f->a) & 4 /* POLLOUT */);

	/* In order, and none of those that were accepted is lost. */
	while (got < sent) {
		r = channel_receive(f->b, &m);
		ASSERT_OK(r);
		if (r == 0) {
			ASSERT_OK(channel_flush(f->a));
			continue;
		}
		assert_int_equal(m.id, ++got);
		assert_int_equal(m.fd_count, (m.id - 1) % 2);
		channel_message_done(&m);
	}
	assert_false(channel_events(f->a) & 4);
	ASSERT_OK(channel_send(f->a, TYPE_ANY, 1, NULL, 0, NULL, 0));
}

static void the_queue_is_limited_in_bytes(void **state)
{
	uint8_t *data = mem_zalloc(CHANNEL_PAYLOAD_MAX);
	struct fixture *f = *state;
	unsigned sent = 0;

	while (channel_send(f->a, TYPE_BIG, 1, data, CHANNEL_PAYLOAD_MAX, NULL, 0) == 0)
		sent++;
	assert_true(sent >= CHANNEL_QUEUE_BYTES / CHANNEL_PAYLOAD_MAX && sent < CHANNEL_QUEUE_MAX);
	(void)mem_free(data);
}

static void the_end_is_seen(void **state)
{
	struct fixture *f = *state;
	struct channel_message m;

	ASSERT_OK(channel_send(f->a, TYPE_TEXT, 1, "bye", 3, NULL, 0));
	channel_hang_up(f->a);
	assert_int_equal(channel_receive(f->b, &m), 1);
	ASSERT_ERR(channel_receive(f->b, &m), EPIPE);
	ASSERT_OK(channel_send(f->b, TYPE_TEXT, 1, "ok", 2, NULL, 0));
	assert_int_equal(channel_receive(f->a, &m), 1); /* One direction only. */
	f->a = channel_free(f->a);
	ASSERT_ERR(channel_send(f->b, TYPE_TEXT, 1, "ok", 2, NULL, 0), EPIPE);
}

static void last_words_are_heard(void **state)
{
	struct fixture *f = *state;
	struct channel_message m;

	ASSERT_OK(channel_send(f->b, TYPE_TEXT, 1, "unread", 6, NULL, 0));
	ASSERT_OK(channel_send(f->a, TYPE_TEXT, 2, "bye", 3, NULL, 0));
	f->a = channel_free(f->a);
	assert_int_equal(channel_receive(f->b, &m), 1);
	assert_int_equal(m.id, 2);
	ASSERT_ERR(channel_receive(f->b, &m), EPIPE);
}

static void only_sealed_memory_is_mapped(void **state)
{
	CLEAN_FD int good = fd_memfd_sealed("t", "content", 7);
	CLEAN_FD int empty = fd_memfd_sealed("t", "", 0);
	CLEAN_FD int open_memfd = memfd_create("t", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	CLEAN_FD int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	const void *data;
	size_t len;

	ASSERT_OK(channel_map_sealed(good, 7, &data, &len));
	assert_int_equal(len, 7);
	assert_memory_equal(data, "content", 7);
	channel_unmap(data, len);
	ASSERT_ERR(channel_map_sealed(good, 6, &data, &len), EBADMSG);
	ASSERT_OK(channel_map_sealed(empty, 7, &data, &len));
	assert_int_equal(len, 0);
	ASSERT_ERR(channel_map_sealed(open_memfd, 7, &data, &len), EBADMSG);
	ASSERT_ERR(channel_map_sealed(file, SIZE_MAX, &data, &len), EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(messages_pass, setup, teardown),
		cmocka_unit_test_setup_teardown(
			the_largest_passes_and_more_does_not, setup, teardown),
		cmocka_unit_test_setup_teardown(descriptors_pass, setup, teardown),
		cmocka_unit_test_setup_teardown(nonsense_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_full_queue_is_an_error, setup, teardown),
		cmocka_unit_test_setup_teardown(the_queue_is_limited_in_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(the_end_is_seen, setup, teardown),
		cmocka_unit_test_setup_teardown(last_words_are_heard, setup, teardown),
		cmocka_unit_test(only_sealed_memory_is_mapped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
