/*
 * The control socket: the server against every kind of client, driven in one process by its own
 * loop; the client against servers that do not answer as they should; who may have the socket.
 */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/control.h"
#include "loop.h"
#include "model/event.h"
#include "sync/sync.h"

#define HISTORY 64

struct fixture {
	char dir[64], path[96];
	sd_event *loop;
	struct sync_loop *events;
	struct control_server *server;
	struct control_limits limits;
	size_t document_bytes; /* size of the status document's filling */
	int document_error;
	int fds_before;
	struct {
		control_past_fn on_part; /* of the part that was asked for; NULL: none */
		void *reader;
		uint64_t covers;
		int64_t since_ns;
		int error; /* of the next question */
		unsigned asked, freed;
		control_past_fn fn;
	} past;
};

static int status_document(void *userdata, struct buf *out)
{
	struct fixture *f = userdata;
	int r = buf_append_string(out, "{\"fill\":\"");

	if (f->document_error)
		return f->document_error;
	for (size_t i = 0; i < f->document_bytes && r >= 0; i += 8)
		r = buf_append_string(out, "xxxxxxxx");
	return r < 0 ? r : buf_append_string(out, "\"}");
}

static int pods_document(void *userdata, struct buf *out)
{
	(void)userdata;
	return buf_append_string(out, "{\"pods\":[]}");
}

static int event_line(const struct event *event, const char *epoch, struct buf *out)
{
	return buf_printf(out, "{\"epoch\":\"%s\",\"sequence\":%llu,\"pod\":\"%s\"}", epoch,
		(unsigned long long)event->sequence, event->pod);
}

static int past_ask(void *past, struct err *reterr)
{
	struct fixture *f = past;

	assert_null(f->past.on_part);
	if (f->past.error)
		return err_set(reterr, f->past.error, "the disk \"hangs\"\n");
	f->past.on_part = f->past.fn;
	f->past.asked++;
	return 0;
}

static int past_new(void *userdata, const struct control_request *request, control_past_fn on_part,
	void *reader, void **ret_past, struct err *reterr)
{
	struct fixture *f = userdata;
	int r;

	f->past.fn = on_part;
	f->past.reader = reader;
	f->past.since_ns = request->since_ns;
	r = past_ask(f, reterr);
	if (r >= 0)
		*ret_past = f;
	return r;
}

static uint64_t past_covers(const void *past)
{
	const struct fixture *f = past;

	return f->past.covers;
}

static void past_free(void *past)
{
	struct fixture *f = past;

	f->past.freed++;
	f->past.on_part = NULL;
}

static const struct control_ops ops = {
	.status = status_document,
	.pods = pods_document,
	.event = event_line,
	.past = past_new,
	.past_next = past_ask,
	.past_covers = past_covers,
	.past_free = past_free,
};

/* The answer to what was asked. */
static void past_give(struct fixture *f, int r, const char *text, bool done)
{
	control_past_fn on_part = f->past.on_part;
	uint64_t end_ns = clock_now().mono_ns + WAIT_NS;

	while (!on_part && clock_now().mono_ns < end_ns) {
		ASSERT_OK(sd_event_run(f->loop, 5000));
		on_part = f->past.on_part;
	}
	assert_non_null(on_part);
	f->past.on_part = NULL;
	if (r < 0)
		on_part(f->past.reader, r, text, NULL, 0, true);
	else
		on_part(f->past.reader, 0, "", text, strlen(text), done);
}

static int start(struct fixture *f, struct control_server **ret, struct err *err)
{
	const struct control_options options = { .loop = f->loop,
		.path = f->path,
		.events = f->events,
		.ops = &ops,
		.userdata = f,
		.limits = &f->limits };

	return control_server_new(&options, ret, err);
}

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));

	f->fds_before = count_fds();
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/pleg-control-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->path, sizeof(f->path), "%s/run/pleg.sock", f->dir);
	f->limits = CONTROL_LIMITS_DEFAULT;
	ASSERT_OK(sd_event_new(&f->loop));
	ASSERT_OK(sync_loop_new("e1", HISTORY, &f->events));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char command[2][128];

	(void)control_server_free(f->server);
	(void)sync_loop_free(f->events);
	(void)sd_event_unref(f->loop);
	assert_int_equal(access(f->path, F_OK), -1); /* The socket goes with the server. */
	assert_int_equal(count_fds(), f->fds_before);
	(void)snprintf(command[0], sizeof(command[0]), "%s.lock", f->path);
	(void)unlink(command[0]);
	(void)snprintf(command[1], sizeof(command[1]), "%s/run", f->dir);
	(void)rmdir(command[1]);
	assert_int_equal(rmdir(f->dir), 0);
	(void)mem_free(f);
	return 0;
}

static void serve(struct fixture *f)
{
	struct err err = { 0 };
	int r = start(f, &f->server, &err);

	if (r < 0)
		fail_msg("%s", err_text(&err, r));
}

static int dial(const struct fixture *f)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void turn(struct fixture *f)
{
	ASSERT_OK(sd_event_run(f->loop, 5000));
}

static void send_all(struct fixture *f, int fd, const char *data, size_t len)
{
	uint64_t end_ns = clock_now().mono_ns + WAIT_NS;

	while (len > 0 && clock_now().mono_ns < end_ns) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			return; /* The server has closed: some tests want just that. */
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
		turn(f);
	}
}

/* All there is until the server closes, or until `lines` lines are there (0: until it closes). */
static char *receive(struct fixture *f, int fd, size_t lines, struct buf *in)
{
	uint64_t end_ns = clock_now().mono_ns + WAIT_NS;
	char data[4096];
	size_t seen = 0;

	for (;;) {
		ssize_t n = recv(fd, data, sizeof(data), 0);

		if (n == 0 || (n < 0 && errno != EAGAIN))
			break;
		for (ssize_t i = 0; i < n; i++)
			seen += data[i] == '\n';
		if (n > 0)
			ASSERT_OK(buf_append(in, data, (size_t)n));
		if (lines > 0 && seen >= lines)
			break;
		if (n < 0)
			turn(f);
		if (clock_now().mono_ns > end_ns)
			fail_msg("nothing came; so far: %s", buf_string(in));
	}
	return (char *)(uintptr_t)buf_string(in);
}

/* Sends `request` and gives what came back until the server closed. */
static void expect(struct fixture *f, const char *request, size_t len, const char *answer)
{
	CLEAN(buf_done) struct buf in = BUF_INIT(1u << 20);
	CLEAN_FD int fd = dial(f);
	const char *text;

	send_all(f, fd, request, len);
	text = receive(f, fd, 0, &in);
	if (!strstr(text, answer))
		fail_msg("%.60s: answered %s instead of %s", request, text, answer);
}

static void wait_clients(struct fixture *f, uint32_t clients)
{
	uint64_t end_ns = clock_now().mono_ns + WAIT_NS;
	struct control_stats stats;

	do {
		turn(f);
		control_server_stats(f->server, &stats);
		if (clock_now().mono_ns > end_ns)
			fail_msg("%u clients instead of %u", stats.clients, clients);
	} while (stats.clients != clients);
}

static void add_event(struct fixture *f, const char *pod)
{
	const struct event fields = { .type = EVENT_CONTAINER_STARTED,
		.confirmed = true,
		.namespace = "n",
		.pod = pod,
		.container_id = "0123456789ab" };

	ASSERT_OK(sync_loop_add(f->events, event_new(&fields)));
}

#define TEXT(s) s, strlen(s)

/* ---- documents and errors ---------------------------------------------------------------- */

static void documents(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	serve(f);
	assert_int_equal(stat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	expect(f, TEXT("{\"protocol\":1,\"request\":\"status\"}\n"),
		"{\"protocol\":1,\"ok\":true,\"result\":{\"fill\":\"\"}}\n");
	expect(f, TEXT("{\"protocol\":1,\"request\":\"pods\",\"new\":[1]}\n"),
		"{\"protocol\":1,\"ok\":true,\"result\":{\"pods\":[]}}\n");
	expect(f, TEXT("{\"protocol\":1,\"request\":\"version\"}\nmore"),
		"\"result\":{\"version\":\"" PLEG_VERSION "\",\"protocol\":1,\"pid\":");
	f->document_bytes = 3u << 20; /* far more than a socket holds */
	expect(f, TEXT("{\"protocol\":1,\"request\":\"pods\"}\n"), "\"pods\"");
	f->document_bytes = CONTROL_DOCUMENT_MAX;
	expect(f, TEXT("{\"protocol\":1,\"request\":\"status\"}\n"), "\"EMSGSIZE\"");
	f->document_error = -ENOMEM;
	expect(f, TEXT("{\"protocol\":1,\"request\":\"status\"}\n"), "\"ENOMEM\"");
}

static void bad_requests(void **state)
{
	struct fixture *f = *state;
	static char deep[20000], huge[CONTROL_REQUEST_MAX + 10];
	static const char nul[] = "{\"protocol\":1,\0\"request\":\"status\"}\n";
	struct control_stats stats;
	static const struct {
		const char *request, *answer;
	} rows[] = {
		{ "hello\n", "\"EBADMSG\"" },
		{ "\n", "\"EBADMSG\"" },
		{ "[]\n", "A request is a JSON object" },
		{ "{}\n", "'protocol' is missing" },
		{ "{\"protocol\":2,\"request\":\"status\"}\n", "\"EPROTONOSUPPORT\"" },
		{ "{\"protocol\":1}\n", "'request' is missing" },
		{ "{\"protocol\":1,\"request\":\"stat\\u001bus\"}\n",
			"Unknown request 'stat?us'; known are status, pods, version, events and "
			"incidents" },
		{ "{\"protocol\":1,\"request\":\"events\",\"from\":-1}\n", "'from' is to be" },
		{ "{\"protocol\":1,\"request\":\"events\",\"tail\":1.5}\n", "'tail' is to be" },
		{ "{\"protocol\":1,\"request\":\"events\",\"follow\":1}\n", "'follow' is to be" },
		{ "{\"protocol\":1,\"request\":\"events\",\"pod\":[]}\n", "'pod' is to be" },
		{ "{\"protocol\":1,\"protocol\":1,\"request\":\"status\"}\n", "\"EBADMSG\"" },
		{ "{\"protocol\":1,\"request\":\"\377\"}\n", "\"EBADMSG\"" },
	};

	serve(f);
	for (size_t i = 0; i < ELEMENTS(rows); i++)
		expect(f, TEXT(rows[i].request), rows[i].answer);
	expect(f, nul, sizeof(nul) - 1, "\"EBADMSG\"");
	memset(deep, '[', sizeof(deep) - 1);
	deep[sizeof(deep) - 2] = '\n';
	expect(f, TEXT(deep), "\"EBADMSG\"");
	memset(huge, 'x', sizeof(huge) - 1);
	expect(f, TEXT(huge), "The request is over 64 KiB");
	control_server_stats(f->server, &stats);
	assert_int_equal(stats.malformed, ELEMENTS(rows) + 3);
	assert_int_equal(stats.requests, 0);
	wait_clients(f, 0);
}

static void half_lines(void **state)
{
	struct fixture *f = *state;
	CLEAN(buf_done) struct buf in = BUF_INIT(65536);
	CLEAN_FD int fd = -EBADF;

	serve(f);
	fd = dial(f);
	send_all(f, fd, TEXT("{\"protocol\":1,"));
	wait_clients(f, 1);
	fd = fd_close(fd); /* gone in the middle of it */
	wait_clients(f, 0);
	fd = dial(f);
	send_all(f, fd, TEXT("{\"protocol\":1,"));
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_non_null(strstr(receive(f, fd, 0, &in), "ends without a newline"));
	fd = fd_close(fd);
	/* In pieces, and with the write side closed behind it, as `nc -N` does. */
	buf_clear(&in);
	fd = dial(f);
	send_all(f, fd, TEXT("{\"protocol\":1,"));
	send_all(f, fd, TEXT("\"request\":\"pods\"}\n"));
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_non_null(strstr(receive(f, fd, 0, &in), "\"ok\":true"));
}

/* ---- clients that take their time -------------------------------------------------------- */

static void silent_client(void **state)
{
	struct fixture *f = *state;
	CLEAN(buf_done) struct buf in = BUF_INIT(65536);
	CLEAN_FD int fd = -EBADF;
	struct control_stats stats;

	f->limits.request_timeout_ns = 20 * NSEC_PER_MSEC;
	serve(f);
	fd = dial(f);
	assert_non_null(strstr(receive(f, fd, 0, &in), "\"ETIMEDOUT\""));
	control_server_stats(f->server, &stats);
	assert_int_equal(stats.timeouts, 1);
}

static void slow_reader_of_a_document(void **state)
{
	struct fixture *f = *state;
	CLEAN_FD int fd = -EBADF;
	struct control_stats stats;

	f->limits.stall_timeout_ns = 20 * NSEC_PER_MSEC;
	f->document_bytes = 4u << 20;
	serve(f);
	fd = dial(f);
	send_all(f, fd, TEXT("{\"protocol\":1,\"request\":\"status\"}\n"));
	wait_clients(f, 0);
	control_server_stats(f->server, &stats);
	assert_int_equal(stats.timeouts, 1);
}

static void output_is_bounded_in_all(void **state)
{
	struct fixture *f = *state;
	CLEAN_FD int fd = -EBADF;

	f->limits.output_bytes = 1u << 20;
	f->document_bytes = 4u << 20;
	serve(f);
	fd = dial(f);
	send_all(f, fd, TEXT("{\"protocol\":1,\"request\":\"status\"}\n"));
	turn(f);
	expect(f, TEXT("{\"protocol\":1,\"request\":\"status\"}\n"), "\"EBUSY\"");
}

static void too_many_clients(void **state)
{
	struct fixture *f = *state;
	CLEAN_FD int one = -EBADF;
	CLEAN_FD int two = -EBADF;

	f->limits.clients_max = 2;
	serve(f);
	one = dial(f);
	two = dial(f);
	wait_clients(f, 2);
	expect(f, "", 0, "\"EBUSY\"");
	two = fd_close(two);
	wait_clients(f, 1);
	expect(f, TEXT("{\"protocol\":1,\"request\":\"pods\"}\n"), "\"ok\":true");
}

static void streams_leave_room_for_others(void **state)
{
	static const char follow[] = "{\"protocol\":1,\"request\":\"events\",\"follow\":true}\n";
	struct fixture *f = *state;
	CLEAN(buf_done) struct buf in = BUF_INIT(65536);
	CLEAN_FD int fd = -EBADF;

	f->limits.streams_max = 1;
	serve(f);
	fd = dial(f);
	send_all(f, fd, TEXT(follow));
	(void)receive(f, fd, 1, &in);
	expect(f, TEXT(follow), "\"EBUSY\"");
	expect(f, TEXT("{\"protocol\":1,\"request\":\"status\"}\n"), "\"ok\":true");
	fd = fd_close(fd);
	wait_clients(f, 0);
	fd = dial(f);
	send_all(f, fd, TEXT(follow));
	buf_clear(&in);
	assert_non_null(strstr(receive(f, fd, 1, &in), "\"ok\":true"));
}

/* ---- streams ----------------------------------------------------------------------------- */

static void stream_from_where(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *fields, *events; /* pods in order */
	} rows[] = {
		{ "", "a b c d " },
		{ ",\"tail\":2", "c d " },
		{ ",\"tail\":0", "" },
		{ ",\"tail\":99", "a b c d " },
		{ ",\"from\":3", "c d " },
		{ ",\"from\":0", "a b c d " },
		{ ",\"from\":5", "" },
		{ ",\"from\":9", "a b c d " }, /* not even next: of another run */
		{ ",\"from\":2,\"tail\":2", "c d " },
		{ ",\"from\":4,\"tail\":3", "d " },
		{ ",\"from\":4,\"epoch\":\"e1\"", "d " },
		{ ",\"from\":4,\"epoch\":\"e0\"", "a b c d " },
		{ ",\"pod\":\"b\"", "b " },
		{ ",\"namespace\":\"other\"", "" },
		{ ",\"follow\":false,\"pod\":null", "a b c d " },
	};

	serve(f);
	for (const char *pod = "a\0b\0c\0d\0"; *pod; pod += 2)
		add_event(f, pod);
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		CLEAN(buf_done) struct buf in = BUF_INIT(65536);
		CLEAN_FD int fd = dial(f);
		char got[64] = "", line[256];
		const char *at;

		(void)snprintf(line, sizeof(line), "{\"protocol\":1,\"request\":\"events\"%s}\n",
			rows[i].fields);
		send_all(f, fd, TEXT(line));
		at = receive(f, fd, 0, &in);
		assert_non_null(strstr(at, "\"result\":{\"epoch\":\"e1\",\"last\":4}"));
		while ((at = strstr(at, "\"pod\":\"")) != NULL) {
			at += strlen("\"pod\":\"");
			(void)strncat(got, (char[]){ *at, ' ', 0 }, 2);
		}
		if (!str_eq(got, rows[i].events))
			fail_msg("%s: '%s', expected '%s'", line, got, rows[i].events);
	}
}

#define SINCE ",\"since\":\"1970-01-01T00:00:05Z\""

static void ask_since(struct fixture *f, int fd, const char *more)
{
	char line[256];

	(void)snprintf(
		line, sizeof(line), "{\"protocol\":1,\"request\":\"events\"%s%s}\n", SINCE, more);
	send_all(f, fd, TEXT(line));
}

/* `count` events of which the first is observed 1 s after 1970. */
static void add_timed(struct fixture *f, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		const struct event fields = { .type = EVENT_CONTAINER_STARTED,
			.confirmed = true,
			.observed_at_ns = (int64_t)((i + 1) * NSEC_PER_SEC),
			.namespace = "n",
			.pod = "p",
			.container_id = "0123456789ab" };

		ASSERT_OK(sync_loop_add(f->events, event_new(&fields)));
	}
}

static void past_then_history(void **state)
{
	struct fixture *f = *state;
	CLEAN(buf_done) struct buf in = BUF_INIT(65536);
	CLEAN_FD int fd = -EBADF;

	serve(f);
	add_timed(f, 10);
	fd = dial(f);
	ask_since(f, fd, "");
	past_give(f, 0, "{\"epoch\":\"e0\",\"sequence\":7,\"pod\":\"old\"}\n", false);
	assert_int_equal(f->past.since_ns, 5 * NSEC_PER_SEC);
	f->past.covers = 3;
	past_give(f, 0, "{\"epoch\":\"e1\",\"sequence\":3,\"pod\":\"p\"}\n", true);
	assert_string_equal(receive(f, fd, 0, &in),
		"{\"protocol\":1,\"ok\":true,\"result\":{\"epoch\":\"e1\",\"last\":10,\"journal\":"
		"null}}\n"
		"{\"epoch\":\"e0\",\"sequence\":7,\"pod\":\"old\"}\n"
		"{\"epoch\":\"e1\",\"sequence\":3,\"pod\":\"p\"}\n"
		"{\"epoch\":\"e1\",\"sequence\":5,\"pod\":\"p\"}\n" /* 4 is older */
		"{\"epoch\":\"e1\",\"sequence\":6,\"pod\":\"p\"}\n"
		"{\"epoch\":\"e1\",\"sequence\":7,\"pod\":\"p\"}\n"
		"{\"epoch\":\"e1\",\"sequence\":8,\"pod\":\"p\"}\n"
		"{\"epoch\":\"e1\",\"sequence\":9,\"pod\":\"p\"}\n"
		"{\"epoch\":\"e1\",\"sequence\":10,\"pod\":\"p\"}\n");
	assert_int_equal(f->past.asked, 2);
	assert_int_equal(f->past.freed, 1);

	/* Who goes on in this run needs no past; of another run it does. */
	fd = fd_close(fd);
	buf_clear(&in);
	fd = dial(f);
	ask_since(f, fd, ",\"epoch\":\"e1\",\"from\":10");
	assert_non_null(
		strstr(receive(f, fd, 0, &in), "\"last\":10}}\n{\"epoch\":\"e1\",\"sequence\":10"));
	assert_int_equal(f->past.asked, 2);
	fd = fd_close(fd);
	fd = dial(f);
	ask_since(f, fd, ",\"epoch\":\"e0\",\"from\":10");
	past_give(f, 0, "", true);
	assert_int_equal(f->past.asked, 3);
	fd = fd_close(fd);
	expect(f, TEXT("{\"protocol\":1,\"request\":\"events\",\"since\":\"yesterday\"}\n"),
		"'since' is to be a time such as");
	expect(f, TEXT("{\"protocol\":1,\"request\":\"events\",\"since\":5}\n"),
		"'since' is to be");
	expect(f, TEXT("{\"protocol\":1,\"request\":\"events\"" SINCE ",\"tail\":5}\n"),
		"'since' and 'tail'");
	wait_clients(f, 0);
}

static void incidents_count_as_streams(void **state)
{
	static const char follow[] = "{\"protocol\":1,\"request\":\"events\",\"follow\":true}\n";
	static const char incidents[] = "{\"protocol\":1,\"request\":\"incidents\"}\n";
	struct fixture *f = *state;
	CLEAN(buf_done) struct buf in = BUF_INIT(65536);
	CLEAN_FD int fd = -EBADF;
	struct control_stats stats;

	f->limits.streams_max = 1;
	serve(f);
	fd = dial(f);
	send_all(f, fd, TEXT(incidents));
	RUN_UNTIL(f->loop, f->past.on_part);
	expect(f, TEXT(follow), "\"EBUSY\"");
	expect(f, TEXT(incidents), "\"EBUSY\"");
	expect(f, TEXT("{\"protocol\":1,\"request\":\"status\"}\n"), "\"ok\":true");
	control_server_stats(f->server, &stats);
	assert_int_equal(stats.streams, 1);
	assert_int_equal(stats.refused, 2);
	past_give(f, 0, "{\"incident\":1}\n", true);
	assert_non_null(strstr(receive(f, fd, 0, &in), "{\"incident\":1}\n"));
	fd = fd_close(fd);
	wait_clients(f, 0);
	control_server_stats(f->server, &stats);
	assert_int_equal(stats.streams, 0);
	/* Its place is free again; so is that of one who goes away before he is answered. */
	fd = dial(f);
	send_all(f, fd, TEXT(incidents));
	RUN_UNTIL(f->loop, f->past.on_part);
	fd = fd_close(fd);
	wait_clients(f, 0);
	fd = dial(f);
	send_all(f, fd, TEXT(follow));
	buf_clear(&in);
	assert_non_null(strstr(receive(f, fd, 1, &in), "\"ok\":true"));
}

/* Nothing is asked for while the reader has not taken what there is. */
static void past_waits_for_its_reader(void **state)
{
	struct fixture *f = *state;
	CLEAN(buf_done) struct buf in = BUF_INIT(16u << 20), part = BUF_INIT(1u << 20);
	CLEAN_FD int fd = -EBADF;
	struct control_stats stats;
	unsigned asked;

	while (part.len < 300000)
		ASSERT_OK(buf_append_string(&part, "{\"epoch\":\"e0\",\"sequence\":1}\n"));
	serve(f);
	fd = dial(f);
	ask_since(f, fd, ",\"follow\":true");
	for (int i = 0; i < 3; i++) {
		if (i > 0 && !f->past.on_part)
			break;
		past_give(f, 0, buf_string(&part), false);
	}
	for (int i = 0; i < 10; i++)
		ASSERT_OK(sd_event_run(f->loop, 1000));
	asked = f->past.asked;
	assert_true(asked <= 3);
	assert_null(f->past.on_part);
	control_server_stats(f->server, &stats);
	assert_true(stats.output_bytes > 0 && stats.output_bytes <= part.len);
	/* Events do not go in between. */
	add_timed(f, 1);
	control_server_wake(f->server);
	(void)receive(f, fd, asked * (part.len / 31), &in);
	while (!f->past.on_part)
		turn(f);
	assert_null(strstr(buf_string(&in), "\"e1\",\"sequence\""));
	past_give(f, 0, "", true);
	buf_clear(&in);
	/* All in memory is newer than what was covered, and as old as it is: before `end` it counts. */
	add_timed(f, 1);
	control_server_wake(f->server);
	assert_non_null(strstr(receive(f, fd, 1, &in), "\"sequence\":"));
	fd = fd_close(fd);
	wait_clients(f, 0);
	assert_int_equal(f->past.freed, 1);
}

static void past_fails(void **state)
{
	struct fixture *f = *state;
	CLEAN(buf_done) struct buf in = BUF_INIT(65536);
	CLEAN_FD int fd = -EBADF;

	serve(f);
	add_timed(f, 6);
	/* At once, and with its first part: the reader is told first. */
	f->past.error = -EIO;
	fd = dial(f);
	ask_since(f, fd, "");
	assert_string_equal(receive(f, fd, 0, &in),
		"{\"protocol\":1,\"ok\":true,\"result\":{\"epoch\":\"e1\",\"last\":6,\"journal\":"
		"\"the disk \\\"hangs\\\"?\"}}\n"
		"{\"epoch\":\"e1\",\"sequence\":5,\"pod\":\"p\"}\n"
		"{\"epoch\":\"e1\",\"sequence\":6,\"pod\":\"p\"}\n");
	fd = fd_close(fd);
	f->past.error = 0;
	buf_clear(&in);
	fd = dial(f);
	ask_since(f, fd, "");
	past_give(f, -ETIMEDOUT, "late", true);
	assert_non_null(strstr(receive(f, fd, 0, &in),
		"\"journal\":\"late\"}}\n{\"epoch\":\"e1\",\"sequence\":5"));
	fd = fd_close(fd);
	/* In the middle: goes on behind what was told, with a word between. */
	buf_clear(&in);
	fd = dial(f);
	ask_since(f, fd, "");
	past_give(f, 0, "{\"epoch\":\"e1\",\"sequence\":5,\"pod\":\"p\"}\n{\"missed\":1}\n", false);
	past_give(f, -EIO, "late", true);
	assert_non_null(strstr(receive(f, fd, 0, &in),
		"\"sequence\":5,\"pod\":\"p\"}\n{\"missed\":1}\n{\"journal\":\"late\",\"epoch\":"
		"\"e1\"}\n"
		"{\"epoch\":\"e1\",\"sequence\":6,"));
	wait_clients(f, 0);
}

/* The history has lost what comes behind the answer: what came since is asked for, and where that
 * brings nothing the gap is told. A reader that goes away meanwhile leaves nothing behind. */
static void past_is_overtaken(void **state)
{
	struct fixture *f = *state;
	CLEAN(buf_done) struct buf in = BUF_INIT(65536);
	CLEAN_FD int fd = -EBADF;

	serve(f);
	add_timed(f, HISTORY + 40);
	fd = dial(f);
	ask_since(f, fd, "");
	f->past.covers = 10;
	past_give(f, 0, "", true);
	f->past.covers = 20;
	past_give(f, 0, "{\"epoch\":\"e1\",\"sequence\":20,\"pod\":\"p\"}\n", true);
	past_give(f, 0, "", true); /* No more: it is behind as well. */
	assert_non_null(strstr(receive(f, fd, 0, &in),
		"\"sequence\":20,\"pod\":\"p\"}\n{\"missed\":20,\"epoch\":\"e1\"}\n"
		"{\"epoch\":\"e1\",\"sequence\":41,"));
	assert_int_equal(f->past.asked, 3);
	fd = fd_close(fd);
	wait_clients(f, 0);
	fd = dial(f);
	ask_since(f, fd, ",\"follow\":true");
	while (!f->past.on_part)
		turn(f);
	fd = fd_close(fd);
	wait_clients(f, 0);
	assert_int_equal(f->past.freed, 2);
	assert_null(f->past.on_part);
}

static void stream_follows(void **state)
{
	struct fixture *f = *state;
	CLEAN(buf_done) struct buf in = BUF_INIT(65536);
	CLEAN_FD int fd = -EBADF;

	serve(f);
	add_event(f, "before");
	fd = dial(f);
	send_all(f, fd, TEXT("{\"protocol\":1,\"request\":\"events\",\"follow\":true}\n"));
	assert_null(strstr(receive(f, fd, 1, &in), "before"));
	buf_clear(&in);
	for (int i = 0; i < 3; i++)
		add_event(f, "after");
	control_server_wake(f->server); /* Written at once, without a turn of the loop. */
	buf_clear(&in);
	assert_true(buf_reserve(&in, 4096) >= 0);
	in.len = (size_t)recv(fd, in.data, in.cap, 0);
	assert_string_equal(buf_string(&in),
		"{\"epoch\":\"e1\",\"sequence\":2,\"pod\":\"after\"}\n"
		"{\"epoch\":\"e1\",\"sequence\":3,\"pod\":\"after\"}\n"
		"{\"epoch\":\"e1\",\"sequence\":4,\"pod\":\"after\"}\n");
	fd = fd_close(fd);
	wait_clients(f, 0);
	control_server_wake(f->server);
}

static void slow_reader_of_a_stream(void **state)
{
	enum {
		EVENTS = 20000
	};
	struct fixture *f = *state;
	CLEAN(buf_done) struct buf in = BUF_INIT(16u << 20);
	CLEAN_FD int fd = -EBADF;
	uint64_t next = 1, missed_events = 0, end_ns = clock_now().mono_ns + WAIT_NS;
	struct control_stats stats;

	f->limits.stream_bytes = 4096;
	serve(f);
	fd = dial(f);
	send_all(f, fd, TEXT("{\"protocol\":1,\"request\":\"events\",\"follow\":true}\n"));
	(void)receive(f, fd, 1, &in);
	buf_clear(&in);
	for (int i = 0; i < EVENTS; i++) {
		add_event(f, "p");
		control_server_wake(f->server);
	}
	control_server_stats(f->server, &stats);
	assert_true(stats.events_written < EVENTS);
	assert_int_equal(stats.clients, 1); /* Slow is not a reason to be closed. */
	while (next <= EVENTS) {
		char *newline, *line = receive(f, fd, 1, &in);

		while ((newline = strchr(line, '\n')) != NULL) {
			unsigned long long n;

			*newline = '\0';
			if (sscanf(line, "{\"missed\":%llu,", &n) == 1) {
				missed_events += n;
				next += n;
			} else {
				assert_int_equal(
					sscanf(line, "{\"epoch\":\"e1\",\"sequence\":%llu,", &n),
					1);
				assert_int_equal(n, next);
				next++;
			}
			line = newline + 1;
		}
		buf_consume(&in, (size_t)(line - (char *)in.data));
		assert_true(clock_now().mono_ns < end_ns);
	}
	assert_true(missed_events > 0);
	assert_int_equal(next, EVENTS + 1);
}

static void stream_buffer_is_bounded(void **state)
{
	struct fixture *f = *state;
	CLEAN(buf_done) struct buf in = BUF_INIT(65536);
	CLEAN_FD int fd = -EBADF;
	struct control_stats stats = { 0 };

	f->limits.stream_bytes = 256;
	serve(f);
	fd = dial(f);
	send_all(f, fd, TEXT("{\"protocol\":1,\"request\":\"events\",\"follow\":true}\n"));
	(void)receive(f, fd, 1, &in);
	for (int turns = 0; stats.output_bytes == 0 && turns < 10000; turns++) {
		for (int i = 0; i < HISTORY; i++) /* far more than the buffer takes */
			add_event(f, "p");
		control_server_wake(f->server);
		control_server_stats(f->server, &stats);
	}
	assert_true(stats.output_bytes > 0);
	assert_true(stats.output_bytes < 256 + 100); /* one event may stand across the limit */
}

/* ---- whose socket ------------------------------------------------------------------------ */

/* Runs `body` in a child; its exit status. */
static int in_child(struct fixture *f, int (*body)(struct fixture *f))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(body(f));
	while (waitpid(pid, &status, WNOHANG) == 0)
		turn(f); /* it may want our server to answer */
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int second_server(struct fixture *f)
{
	struct control_server *other;
	struct err err = { 0 };
	char holder[32];

	(void)snprintf(holder, sizeof(holder), "pid %d, ", (int)getppid());
	if (start(f, &other, &err) != -EADDRINUSE)
		return 1;
	return strstr(err.text, holder) ? 0 : 2;
}

/* Without the lock: somebody else listens there. */
static int second_server_without_lock(struct fixture *f)
{
	char lock[128];

	(void)snprintf(lock, sizeof(lock), "%s.lock", f->path);
	return unlink(lock) < 0 ? 3 : second_server(f);
}

static void two_servers(void **state)
{
	struct fixture *f = *state;

	serve(f);
	assert_int_equal(in_child(f, second_server), 0);
	assert_int_equal(in_child(f, second_server_without_lock), 0);
	expect(f, TEXT("{\"protocol\":1,\"request\":\"pods\"}\n"), "\"ok\":true");
}

static int server_that_dies(struct fixture *f)
{
	struct control_server *other;

	if (sd_event_new(&f->loop) < 0) /* The parent's cannot be used behind a fork(). */
		return 2;
	return start(f, &other, NULL) < 0 ? 1 : 0; /* no control_server_free(): as by kill -9 */
}

static void stale_socket(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in_child(f, server_that_dies), 0);
	assert_int_equal(access(f->path, F_OK), 0);
	serve(f);
	expect(f, TEXT("{\"protocol\":1,\"request\":\"pods\"}\n"), "\"ok\":true");
}

static void not_a_socket(void **state)
{
	struct fixture *f = *state;
	struct err err = { 0 };
	int fd;

	(void)snprintf(f->path, sizeof(f->path), "%s/file", f->dir);
	fd = open(f->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	fd = fd_close(fd);
	ASSERT_ERR(start(f, &f->server, &err), EEXIST);
	assert_non_null(strstr(err.text, "not a socket"));
	assert_int_equal(unlink(f->path), 0);
	f->path[0] = '\0';
	ASSERT_ERR(start(f, &f->server, &err), ENAMETOOLONG);
	(void)snprintf(f->path, sizeof(f->path), "%s/file", f->dir);
}

static int stranger(struct fixture *f)
{
	const struct control_client_options options = { .path = f->path, .timeout_ms = 20000 };
	const struct control_request request = CONTROL_REQUEST_INIT(CONTROL_STATUS);
	struct err err = { 0 };
	json_t *result;

	if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
		return 3;
	if (control_ask(&options, &request, &result, NULL, &err) != -EACCES)
		return 1;
	return strstr(err.text, "User 65534 may not ask") ? 0 : 2;
}

static void strangers_are_refused(void **state)
{
	struct fixture *f = *state;

	if (geteuid() != 0)
		skip();
	serve(f);
	assert_int_equal(chmod(f->dir, 0755), 0);
	assert_int_equal(chmod(f->path, 0666), 0);
	assert_int_equal(in_child(f, stranger), 0);
}

/* ---- the client -------------------------------------------------------------------------- */

static int asks_everything(struct fixture *f)
{
	const struct control_client_options options = { .path = f->path, .timeout_ms = 20000 };
	struct control_request request = CONTROL_REQUEST_INIT(CONTROL_STATUS);
	struct control_client *client = NULL;
	json_t *result = NULL;
	struct err err = { 0 };

	if (control_ask(&options, &request, &result, NULL, &err) < 0)
		return 1;
	json_decref(result);
	request.type = CONTROL_EVENTS;
	request.pod = "b";
	if (control_ask(&options, &request, &result, &client, &err) < 0)
		return 2;
	json_decref(result);
	if (control_client_next(client, 20000, -1, &result, &err) != 1)
		return 3;
	if (!str_eq(json_string_value(json_object_get(result, "pod")), "b"))
		return 4;
	json_decref(result);
	if (control_client_next(client, 20000, -1, &result, &err) != 0)
		return 5; /* without follow it ends */
	(void)control_client_free(client);
	request.pod = "\377";
	return control_ask(&options, &request, &result, NULL, &err) == -EINVAL ? 0 : 6;
}

static void client_asks(void **state)
{
	struct fixture *f = *state;

	f->document_bytes = 3u << 20;
	serve(f);
	add_event(f, "a");
	add_event(f, "b");
	assert_int_equal(in_child(f, asks_everything), 0);
}

static void no_agent(void **state)
{
	struct fixture *f = *state;
	const struct control_client_options options = { .path = f->path, .timeout_ms = 10000 };
	const struct control_request request = CONTROL_REQUEST_INIT(CONTROL_STATUS);
	struct err err = { 0 };
	json_t *result;

	ASSERT_ERR(control_ask(&options, &request, &result, NULL, &err), ECONNREFUSED);
	assert_non_null(strstr(err.text, "No agent answers on "));
	assert_non_null(strstr(err.text, "there is no such socket"));
	assert_int_equal(in_child(f, server_that_dies), 0);
	ASSERT_ERR(control_ask(&options, &request, &result, NULL, &err), ECONNREFUSED);
	assert_non_null(strstr(err.text, "nobody listens"));
	assert_int_equal(unlink(f->path), 0);
}

static void count_slow(void *userdata, const char *path)
{
	(void)path;
	(*(int *)userdata)++;
}

/* A listener of our own that sends `answer` to whoever comes, or nothing; the client's verdict. */
static int ask_stand_in(struct fixture *f, const char *answer, struct err *err, int *slow)
{
	const struct control_client_options options = { .path = f->path,
		.timeout_ms = answer ? 20000 : 60,
		.slow_ms = answer ? 0 : 10,
		.on_slow = count_slow,
		.userdata = slow };
	const struct control_request request = CONTROL_REQUEST_INIT(CONTROL_STATUS);
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	json_t *result = NULL;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;
	pid_t pid;

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	pid = fork();
	if (pid == 0) {
		int peer = accept(fd, NULL, NULL);

		if (answer)
			(void)send(peer, answer, strlen(answer), MSG_NOSIGNAL);
		else
			(void)recv(peer, (char[4096]){ 0 }, 4096, MSG_WAITALL); /* till they go */
		_exit(0);
	}
	r = control_ask(&options, &request, &result, NULL, err);
	fd = fd_close(fd);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(unlink(f->path), 0);
	json_decref(result);
	return r;
}

static void odd_agents(void **state)
{
	struct fixture *f = *state;
	struct err err = { 0 };
	int slow = 0;

	(void)snprintf(f->path, sizeof(f->path), "%s/odd.sock", f->dir);
	ASSERT_ERR(ask_stand_in(f, NULL, &err, &slow), ETIMEDOUT);
	assert_int_equal(slow, 1);
	assert_non_null(strstr(err.text, "has not answered"));
	ASSERT_ERR(ask_stand_in(f, "HTTP/1.1 400 Bad Request\r\n\r\n", &err, &slow), EPROTO);
	assert_non_null(strstr(err.text, "not a pleg agent"));
	ASSERT_ERR(ask_stand_in(f, "{\"a\":1}\n", &err, &slow), EPROTO);
	ASSERT_ERR(ask_stand_in(f, "{\"protocol\":1,\"ok\":tr", &err, &slow), EPROTO);
	assert_non_null(strstr(err.text, "half-way"));
	ASSERT_ERR(ask_stand_in(f, "", &err, &slow), EPROTO);
	ASSERT_ERR(ask_stand_in(f,
			   "{\"protocol\":2,\"ok\":false,\"error\":{\"code\":\"EPROTONOSUPPORT\","
			   "\"message\":\"no\\u001b[31m\"}}\n",
			   &err, &slow),
		EPROTONOSUPPORT);
	assert_non_null(strstr(err.text, "no?[31m"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(documents),
		T(bad_requests),
		T(half_lines),
		T(silent_client),
		T(slow_reader_of_a_document),
		T(output_is_bounded_in_all),
		T(too_many_clients),
		T(streams_leave_room_for_others),
		T(stream_from_where),
		T(past_then_history),
		T(incidents_count_as_streams),
		T(past_waits_for_its_reader),
		T(past_fails),
		T(past_is_overtaken),
		T(stream_follows),
		T(slow_reader_of_a_stream),
		T(stream_buffer_is_bounded),
		T(two_servers),
		T(stale_socket),
		T(not_a_socket),
		T(strangers_are_refused),
		T(client_asks),
		T(no_agent),
		T(odd_agents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
