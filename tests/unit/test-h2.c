/* The gRPC engine alone, against a scripted server session: no sockets, no loop, no clock. */
#include "unit.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "h2-peer.h"
#include "net/grpc-frames.h"
#include "net/h2.h"

#define MAX_MESSAGE (64u * 1024)

struct pair {
	struct h2 *h2;
	struct peer *peer;
	struct buf request;
	int broken; /* what h2_feed() said */
};

static void pair_open(struct pair *p, uint32_t max_streams)
{
	*p = (struct pair){ .peer = peer_new(max_streams), .request = BUF_INIT(1 << 20) };
	ASSERT_OK(h2_new(&p->h2));
	ASSERT_OK(grpc_frames_write(&p->request, "hello", 5));
}

static void pair_close(struct pair *p)
{
	p->h2 = h2_free(p->h2);
	p->peer = peer_free(p->peer);
	buf_done(&p->request);
}

/* Carries bytes both ways, in pieces of `piece`, until neither side has any. */
static void pair_turn(struct pair *p, size_t piece)
{
	bool moved = true;

	while (moved && p->broken == 0) {
		const uint8_t *data;
		size_t len;

		moved = false;
		ASSERT_OK(h2_output(p->h2, &data, &len));
		if (len > 0) {
			assert_int_equal(peer_feed(p->peer, data, len), 0);
			h2_wrote(p->h2, len);
			moved = true;
		}
		while (p->broken == 0 && (len = peer_output(p->peer, &data)) > 0) {
			for (size_t i = 0; i < len && p->broken == 0; i += piece)
				p->broken =
					h2_feed(p->h2, data + i, len - i < piece ? len - i : piece);
			moved = true;
		}
	}
}

static struct h2_stream *start(struct pair *p, const char *path, bool is_stream, void *userdata)
{
	struct h2_stream *s = NULL;
	const struct h2_request request = {
		.path = path,
		.frame = p->request.data,
		.frame_len = p->request.len,
		.max_message_bytes = MAX_MESSAGE,
		.is_stream = is_stream,
		.containerd_namespace = "k8s.io",
		.userdata = userdata,
	};

	ASSERT_OK(h2_start(p->h2, &request, &s));
	return s;
}

static void fates(void **state)
{
	static const struct {
		const char *path;
		enum grpc_outcome outcome;
		int status;
		const char *text; /* the body, or a part of the message */
	} rows[] = {
		{ "/t/Echo", GRPC_OK, 0, "hello" },
		{ "/t/Space", GRPC_OK, 0, "k8s.io" },
		{ "/t/Error", GRPC_STATUS, 5, "no such pod \342\234\223 100%" },
		{ "/t/Late", GRPC_STATUS, 14, "Status 14" },
		{ "/t/Reset", GRPC_LOST, 0, "RST_STREAM: INTERNAL_ERROR" },
		{ "/t/Http404", GRPC_STATUS, GRPC_CODE_UNIMPLEMENTED, "HTTP status 404" },
		{ "/t/Html", GRPC_MALFORMED, 0, "application/grpc" },
		{ "/t/Bare", GRPC_MALFORMED, 0, "no grpc-status" },
		{ "/t/Word", GRPC_MALFORMED, 0, "not a number" },
		{ "/t/Zipped", GRPC_MALFORMED, 0, "compressed" },
		{ "/t/Cut", GRPC_MALFORMED, 0, "ends inside" },
		{ "/t/Two", GRPC_MALFORMED, 0, "more than one" },
		{ "/t/None", GRPC_MALFORMED, 0, "no message" },
		{ "/t/Sized", GRPC_TOO_LARGE, 0, "larger than 65536" },
	};
	static const size_t pieces[] = { 1, 7, 100000 };

	(void)state;
	for (size_t k = 0; k < ELEMENTS(pieces); k++) {
		struct h2_event event;
		struct pair p;

		pair_open(&p, 0);
		p.peer->sized_bytes = MAX_MESSAGE + 1;
		for (size_t i = 0; i < ELEMENTS(rows); i++) {
			(void)start(&p, rows[i].path, false, &p);
			pair_turn(&p, pieces[k]);
			assert_true(h2_next_event(p.h2, &event));
			assert_int_equal(event.type, H2_EVENT_END);
			assert_ptr_equal(event.userdata, &p);
			if (event.outcome != rows[i].outcome)
				fail_msg("%s: %s", rows[i].path, grpc_outcome_text(event.outcome));
			assert_int_equal(event.status, rows[i].status);
			assert_int_equal(event.err_code == 0, event.outcome == GRPC_OK);
			if (event.outcome == GRPC_OK) {
				assert_int_equal(event.body_len, strlen(rows[i].text));
				assert_memory_equal(event.body, rows[i].text, event.body_len);
			} else {
				assert_non_null(strstr(event.message, rows[i].text));
			}
			assert_false(h2_next_event(p.h2, &event));
			assert_int_equal(h2_stream_count(p.h2), 0);
		}
		/* None of it hurt the connection. */
		assert_int_equal(p.broken, 0);
		assert_true(h2_is_up(p.h2));
		pair_close(&p);
	}
}

static void exact_maximum_passes(void **state)
{
	struct h2_event event;
	struct pair p;

	(void)state;
	pair_open(&p, 0);
	p.peer->sized_bytes = MAX_MESSAGE;
	(void)start(&p, "/t/Sized", false, NULL);
	pair_turn(&p, 4096);
	assert_true(h2_next_event(p.h2, &event));
	assert_int_equal(event.outcome, GRPC_OK);
	assert_int_equal(event.body_len, MAX_MESSAGE);
	pair_close(&p);
}

static void too_large_is_cancelled_at_the_server(void **state)
{
	struct h2_event event;
	struct pair p;

	(void)state;
	pair_open(&p, 0);
	p.peer->sized_bytes = 100 * 1024 * 1024;
	(void)start(&p, "/t/Sized", false, NULL);
	pair_turn(&p, 16384);
	assert_true(h2_next_event(p.h2, &event));
	assert_int_equal(event.outcome, GRPC_TOO_LARGE);
	assert_int_equal(p.peer->resets, 1);
	assert_int_equal(p.peer->last_reset_code, NGHTTP2_CANCEL);
	assert_true(p.peer->data_sent <= H2_STREAM_WINDOW);
	pair_close(&p);
}

static void slow_reader_stops_its_own_stream_only(void **state)
{
	size_t messages = 0, before;
	struct h2_event event;
	int slow, quick;
	struct pair p;

	(void)state;
	pair_open(&p, 0);
	p.peer->sized_bytes = 10000;
	p.peer->stream_count = 1000;
	(void)start(&p, "/t/Stream", true, &slow);
	pair_turn(&p, 16384);
	/* About one window came, and then it stopped. */
	assert_in_range(p.peer->data_sent, H2_STREAM_WINDOW / 2, H2_STREAM_WINDOW);
	before = p.peer->data_sent;
	for (size_t i = 0; i < 20; i++)
		(void)start(&p, "/t/Echo", false, &quick);
	pair_turn(&p, 16384);
	assert_int_equal(p.peer->data_sent, before + 20 * 10);

	for (bool is_over = false; !is_over; pair_turn(&p, 16384)) {
		while (h2_next_event(p.h2, &event)) {
			if (event.type == H2_EVENT_MESSAGE) {
				assert_ptr_equal(event.userdata, &slow);
				assert_int_equal(event.body_len, 10000);
				assert_int_equal(event.body[9999], 'x');
				messages++;
			} else {
				assert_int_equal(event.outcome, GRPC_OK);
				is_over = is_over || event.userdata == &slow;
			}
		}
	}
	assert_int_equal(messages, 1000);
	pair_close(&p);
}

static void more_streams_than_the_server_takes(void **state)
{
	struct h2_stream *streams[10];
	struct h2_event event;
	size_t ends = 0;
	struct pair p;

	(void)state;
	pair_open(&p, 2);
	pair_turn(&p, 16384);
	for (size_t i = 0; i < ELEMENTS(streams); i++)
		streams[i] = start(&p, "/t/Hold", false, NULL);
	pair_turn(&p, 16384);
	assert_int_equal(p.peer->requests, 2);
	h2_cancel(streams[0]); /* on the wire */
	h2_cancel(streams[9]); /* not yet */
	assert_int_equal(h2_stream_count(p.h2), 8);
	for (size_t i = 0; i < 8; i++) {
		pair_turn(&p, 16384);
		peer_release(p.peer);
		pair_turn(&p, 16384);
		for (; h2_next_event(p.h2, &event); ends++)
			assert_int_equal(event.outcome, GRPC_OK);
	}
	assert_int_equal(ends, 8);
	assert_int_equal(p.peer->requests, 9);
	pair_close(&p);
}

static void cancel_inside_an_event(void **state)
{
	struct h2_event event;
	struct h2_stream *s;
	struct pair p;

	(void)state;
	pair_open(&p, 0);
	p.peer->sized_bytes = 100;
	p.peer->stream_count = 5;
	s = start(&p, "/t/Stream", true, NULL);
	pair_turn(&p, 16384);
	assert_true(h2_next_event(p.h2, &event));
	h2_cancel(s);
	assert_int_equal(event.body[99], 'x'); /* still there */
	assert_false(h2_next_event(p.h2, &event));
	assert_int_equal(h2_stream_count(p.h2), 0);
	pair_close(&p);
}

static void goaway_lets_the_rest_finish(void **state)
{
	const struct h2_request request = { .path = "/t/Echo" };
	struct h2_stream *s;
	struct h2_event event;
	struct pair p;

	(void)state;
	pair_open(&p, 0);
	(void)start(&p, "/t/Hold", false, NULL);
	pair_turn(&p, 16384);
	peer_goaway(p.peer, NGHTTP2_ENHANCE_YOUR_CALM, "too_many_pings");
	/* This one crosses the GOAWAY on the wire: the server will not look at it. */
	(void)start(&p, "/t/Echo", false, &p);
	pair_turn(&p, 16384);
	assert_true(h2_is_leaving(p.h2));
	assert_string_equal(h2_trouble(p.h2), "GOAWAY: ENHANCE_YOUR_CALM: too_many_pings");
	ASSERT_ERR(h2_start(p.h2, &request, &s), ESTALE);
	assert_true(h2_next_event(p.h2, &event));
	assert_ptr_equal(event.userdata, &p);
	assert_int_equal(event.outcome, GRPC_LOST);
	assert_non_null(strstr(event.message, "too_many_pings"));
	peer_release(p.peer);
	pair_turn(&p, 16384);
	assert_true(h2_next_event(p.h2, &event));
	assert_int_equal(event.outcome, GRPC_OK);
	pair_close(&p);
}

static void pings_are_answered_and_never_sent(void **state)
{
	struct pair p;

	(void)state;
	pair_open(&p, 0);
	pair_turn(&p, 16384);
	for (size_t i = 0; i < 5; i++) {
		peer_ping(p.peer);
		pair_turn(&p, 16384);
	}
	assert_int_equal(p.peer->pings, 5);
	pair_close(&p);
}

static void garbage_breaks_the_connection(void **state)
{
	static const char *const garbage[] = {
		"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
		"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n",
		"\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377",
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(garbage); i++) {
		struct h2_event event;
		struct pair p;

		pair_open(&p, 0);
		(void)start(&p, "/t/Echo", false, NULL);
		ASSERT_ERR(h2_feed(p.h2, (const uint8_t *)garbage[i], strlen(garbage[i])), EPROTO);
		assert_false(h2_is_up(p.h2));
		assert_string_not_equal(h2_trouble(p.h2), "");
		h2_end_all(p.h2, GRPC_MALFORMED, -EPROTO, h2_trouble(p.h2));
		assert_true(h2_next_event(p.h2, &event));
		assert_int_equal(event.outcome, GRPC_MALFORMED);
		pair_close(&p);
	}
}

static void end_of_connection_ends_all(void **state)
{
	struct h2_event event;
	size_t ends = 0;
	struct pair p;

	(void)state;
	pair_open(&p, 0);
	for (size_t i = 0; i < 10; i++)
		(void)start(&p, "/t/Hold", i % 2, NULL);
	pair_turn(&p, 16384);
	h2_end_all(p.h2, GRPC_LOST, -ECONNRESET, "gone");
	for (; h2_next_event(p.h2, &event); ends++) {
		assert_int_equal(event.outcome, GRPC_LOST);
		assert_string_equal(event.message, "gone");
	}
	assert_int_equal(ends, 10);
	pair_close(&p);
}

static void frames_in_any_cut(void **state)
{
	static const uint8_t bytes[] = { 0, 0, 0, 0, 2, 'a', 'b', 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 };

	(void)state;
	for (size_t cut = 0; cut <= sizeof(bytes); cut++) {
		struct grpc_frames frames;
		const uint8_t *body;
		size_t len;

		grpc_frames_init(&frames, 2, 100);
		ASSERT_OK(grpc_frames_add(&frames, bytes, cut));
		if (cut >= 7) {
			assert_true(grpc_frames_next(&frames, &body, &len));
			assert_memory_equal(body, "ab", 2);
		}
		ASSERT_OK(grpc_frames_add(&frames, bytes + cut, sizeof(bytes) - cut));
		if (cut < 7)
			assert_true(grpc_frames_next(&frames, &body, &len));
		assert_true(grpc_frames_next(&frames, &body, &len));
		assert_int_equal(len, 0);
		assert_false(grpc_frames_next(&frames, &body, &len));
		assert_true(grpc_frames_is_cut(&frames));
		assert_int_equal(frames.count, 2);
		grpc_frames_done(&frames);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fates),
		cmocka_unit_test(exact_maximum_passes),
		cmocka_unit_test(too_large_is_cancelled_at_the_server),
		cmocka_unit_test(slow_reader_stops_its_own_stream_only),
		cmocka_unit_test(more_streams_than_the_server_takes),
		cmocka_unit_test(cancel_inside_an_event),
		cmocka_unit_test(goaway_lets_the_rest_finish),
		cmocka_unit_test(pings_are_answered_and_never_sent),
		cmocka_unit_test(garbage_breaks_the_connection),
		cmocka_unit_test(end_of_connection_ends_all),
		cmocka_unit_test(frames_in_any_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
