/*
 * Event streams and task calls over a real socket, against a server inside this process that is
 * scripted (h2-peer.h): each way in which a stream can break, lie, repeat itself or not be there.
 * Every test ends with an empty loop and without a leaked fd.
 */
#include "unit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/fd.h"
#include "base/mem.h"
#include "containerd.pb-c.h"
#include "h2-peer.h"
#include "loop.h"
#include "net/dial.h"
#include "runtime/containerd.h"
#include "runtime/cri-events.h"
#include "runtime/hint-stream.h"

#define CONNECTIONS_MAX 32
#define NEWS_MAX        16

struct world;

struct connection {
	struct world *world;
	int fd;
	sd_event_source *source;
	struct peer *peer;
};

struct world {
	sd_event *loop;
	struct containerd *containerd;
	struct cri_events *events;
	char dir[32], path[64];
	int fds_before, listen_fd;
	sd_event_source *listen_source;
	struct connection connections[CONNECTIONS_MAX];
	size_t accepted;
	const struct peer_script *script;
	bool is_mute;
	/* What was told. */
	enum hint_news news[NEWS_MAX];
	size_t news_count;
	char why[128];
	unsigned hints, done, late;
	struct hint hint;
	enum runtime_outcome outcome;
	char message[256];
	size_t task_count;
	struct containerd_task task;
	bool was_late;
	enum {
		FREE_NEVER,
		FREE_IN_HINT,
		FREE_IN_NEWS,
		FREE_IN_DONE,
	} free_in;
};

static struct {
	size_t calls, fail_at;
	bool is_paused; /* the scripted server allocates, too */
} plan;

bool fault_hit(enum fault_point point)
{
	return point == FAULT_ALLOC && !plan.is_paused && ++plan.calls == plan.fail_at;
}

/* ---- the server ----------------------------------------------------------------------------- */

/* "1.6.20" as VersionResponse, and one task as ListTasksResponse and GetResponse. */
static const char version_answer[] = "\x0a\x06"
				     "1.6.20";
static const char task_answer[] = "\x0a\x08\x12\x02"
				  "c1"
				  "\x18\x07\x20\x02";

static const struct peer_script containerd_script[] = {
	{ "Subscribe", "Open" },
	{ "GetContainerEvents", "Open" },
	{ "Version", "Given", version_answer, sizeof(version_answer) - 1 },
	{ "List", "Given", task_answer, sizeof(task_answer) - 1 },
	{ "Get", "Error" },
	{ 0 },
};

static const struct peer_script foreign_script[] = {
	{ "Subscribe", "Unknown" },
	{ "GetContainerEvents", "None" },
	{ "Version", "Unknown" },
	{ "List", "Unknown" },
	{ 0 },
};

static void connection_close(struct connection *conn)
{
	conn->source = sd_event_source_disable_unref(conn->source);
	conn->fd = fd_close(conn->fd);
	conn->peer = peer_free(conn->peer);
}

static void connection_flush(struct connection *conn)
{
	const uint8_t *data;
	size_t len;

	while (conn->peer && (len = peer_output(conn->peer, &data)) > 0)
		if (fd_write_all(conn->fd, data, len, 0) < 0)
			break;
}

static int on_connection(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct connection *conn = userdata;
	uint8_t data[65536];
	ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);

	if (n < 0)
		return 0;
	if (n == 0) {
		connection_close(conn);
		return 0;
	}
	plan.is_paused = true;
	assert_int_equal(peer_feed(conn->peer, data, (size_t)n), 0);
	connection_flush(conn);
	plan.is_paused = false;
	return 0;
}

static int on_accept(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct world *w = userdata;
	struct connection *conn = &w->connections[w->accepted++];

	assert_true(w->accepted < CONNECTIONS_MAX);
	conn->world = w;
	conn->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	if (w->is_mute)
		return 0;
	plan.is_paused = true;
	conn->peer = peer_new(0);
	plan.is_paused = false;
	conn->peer->script = w->script;
	return sd_event_add_io(w->loop, &conn->source, conn->fd, EPOLLIN, on_connection, conn);
}

static void server_listen(struct world *w)
{
	struct dial_address address;

	ASSERT_OK(dial_address_unix(&address, w->path, NULL));
	w->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ASSERT_OK(bind(w->listen_fd, &address.any, address.len));
	ASSERT_OK(listen(w->listen_fd, 16));
	ASSERT_OK(sd_event_add_io(w->loop, &w->listen_source, w->listen_fd, EPOLLIN, on_accept, w));
}

static void server_stop(struct world *w)
{
	w->listen_source = sd_event_source_disable_unref(w->listen_source);
	w->listen_fd = fd_close(w->listen_fd);
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		connection_close(&w->connections[i]);
	(void)unlink(w->path);
}

static struct connection *newest(struct world *w)
{
	assert_true(w->accepted > 0);
	return &w->connections[w->accepted - 1];
}

static void push(struct world *w, const void *message, size_t len)
{
	peer_push(newest(w)->peer, message, len);
	connection_flush(newest(w));
}

static void end_stream(struct world *w, const char *grpc_status)
{
	peer_end(newest(w)->peer, grpc_status);
	connection_flush(newest(w));
}

/* ---- the client ----------------------------------------------------------------------------- */

static void free_client(struct world *w)
{
	w->containerd = containerd_free(w->containerd);
	w->events = cri_events_free(w->events);
}

static void on_hint(void *userdata, const struct hint *hint)
{
	struct world *w = userdata;

	w->hints++;
	w->hint = *hint;
	if (w->free_in == FREE_IN_HINT)
		free_client(w);
}

static void on_stream(void *userdata, enum hint_news news, const char *why)
{
	struct world *w = userdata;

	assert_true(w->news_count < NEWS_MAX);
	w->news[w->news_count++] = news;
	if (w->free_in == FREE_IN_NEWS)
		free_client(w);
	(void)snprintf(w->why, sizeof(w->why), "%s", why);
}

static const struct hint_callbacks hint_callbacks = { on_hint, on_stream };

static void on_done(void *userdata, const struct containerd_result *result)
{
	struct world *w = userdata;
	struct slice rest = result->tasks;

	w->done++;
	w->outcome = result->outcome;
	w->was_late = result->was_late;
	w->task_count = result->task_count;
	(void)snprintf(w->message, sizeof(w->message), "%s", result->message);
	if (result->task_count > 0)
		assert_true(containerd_next_task(&rest, &w->task));
	if (w->free_in == FREE_IN_DONE)
		free_client(w);
}

static void on_late(void *userdata)
{
	((struct world *)userdata)->late++;
}

static const struct containerd_callbacks call_callbacks = { on_done, on_late };

static void world_open(struct world *w)
{
	*w = (struct world){
		.dir = "/tmp/test-hint-XXXXXX",
		.listen_fd = -EBADF,
		.script = containerd_script,
	};
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		w->connections[i].fd = -EBADF;
	w->fds_before = count_fds();
	assert_non_null(mkdtemp(w->dir));
	(void)snprintf(w->path, sizeof(w->path), "%s/s", w->dir);
	ASSERT_OK(sd_event_new(&w->loop));
}

static void open_containerd(struct world *w)
{
	struct err err = { 0 };

	ASSERT_OK(containerd_open(
		w->loop, w->path, "k8s.io", &hint_callbacks, w, &w->containerd, &err));
}

static void open_events(struct world *w)
{
	struct err err = { 0 };

	ASSERT_OK(cri_events_open(w->loop, w->path, &hint_callbacks, w, &w->events, &err));
}

static void world_close(struct world *w)
{
	free_client(w);
	server_stop(w);
	(void)rmdir(w->dir);
	assert_int_equal(sd_event_run(w->loop, 0), 0);
	w->loop = sd_event_unref(w->loop);
	assert_int_equal(count_fds(), w->fds_before);
}

static struct hint_statistics statistics(const struct world *w)
{
	struct hint_statistics s;

	if (w->containerd)
		containerd_statistics(w->containerd, &s);
	else
		cri_events_statistics(w->events, &s);
	return s;
}

/* Runs until the n-th news and says what it was. */
static enum hint_news news_at(struct world *w, size_t n)
{
	RUN_UNTIL(w->loop, w->news_count > n);
	return w->news[n];
}

static void open_up(struct world *w)
{
	server_listen(w);
	open_containerd(w);
	assert_int_equal(news_at(w, 0), HINT_STREAM_UP);
}

struct envelope {
	uint8_t data[512];
	size_t len;
};

static struct envelope envelope_of(const char *namespace, const char *type, int64_t at)
{
	Containerd__Timestamp stamp = CONTAINERD__TIMESTAMP__INIT;
	Containerd__TaskExit event = CONTAINERD__TASK_EXIT__INIT;
	Containerd__Envelope envelope = CONTAINERD__ENVELOPE__INIT;
	Containerd__Any any = CONTAINERD__ANY__INIT;
	struct envelope ret;
	uint8_t value[256];

	stamp.seconds = at;
	event.container_id = event.id = (char *)(uintptr_t) "c1";
	event.pid = 42;
	event.exit_status = 137;
	any.type_url = (char *)(uintptr_t)type;
	any.value = (ProtobufCBinaryData){ containerd__task_exit__pack(&event, value), value };
	envelope.timestamp = &stamp;
	envelope.namespace_ = (char *)(uintptr_t) namespace;
	envelope.event = &any;
	ret.len = containerd__envelope__pack(&envelope, ret.data);
	return ret;
}

static void push_exit(struct world *w, int64_t at)
{
	struct envelope e = envelope_of("k8s.io", "containerd.events.TaskExit", at);

	push(w, e.data, e.len);
}

/* ---- a stream that works -------------------------------------------------------------------- */

static void test_up(void **state)
{
	static const char wanted[] = "topic==\"/tasks/exit\",namespace==\"k8s.io\"";
	struct world w;
	struct peer *peer;

	world_open(&w);
	open_up(&w);
	peer = newest(&w)->peer;
	assert_int_equal(peer->opened, 1);
	assert_int_equal(peer->requests, 3); /* and two probes */
	assert_string_equal(peer->last_space, "k8s.io");
	assert_non_null(memmem(peer->last_open, peer->last_open_len, wanted, strlen(wanted)));
	assert_string_equal(containerd_version(w.containerd), "1.6.20");
	assert_true(statistics(&w).is_up);
	assert_int_equal(statistics(&w).opened, 1);
	world_close(&w);
}

static void test_hint(void **state)
{
	struct world w;

	world_open(&w);
	open_up(&w);
	push_exit(&w, 1000);
	RUN_UNTIL(w.loop, w.hints == 1);
	assert_int_equal(w.hint.type, HINT_EXIT);
	assert_string_equal(w.hint.container_id, "c1");
	assert_true(w.hint.is_init);
	assert_int_equal(w.hint.pid, 42);
	assert_int_equal(w.hint.exit_code, 137);
	assert_true(w.hint.sent_at_ns == INT64_C(1000000000000));
	assert_true(statistics(&w).last_ns > 0);
	assert_int_equal(w.news_count, 1);
	world_close(&w);
}

static void test_twice_is_once(void **state)
{
	struct world w;

	world_open(&w);
	open_up(&w);
	for (unsigned i = 0; i < 3; i++) {
		push_exit(&w, 1000);
		push_exit(&w, 1001);
	}
	RUN_UNTIL(w.loop, statistics(&w).duplicates == 4);
	assert_int_equal(w.hints, 2);
	/* What is long ago is not remembered: the memory has an end. */
	for (int64_t i = 0; i < HINT_RECENT; i++)
		push_exit(&w, 2000 + i);
	push_exit(&w, 1000);
	RUN_UNTIL(w.loop, w.hints == 2 + HINT_RECENT + 1);
	assert_int_equal(statistics(&w).duplicates, 4);
	/* Without a time two are two. */
	push_exit(&w, 0);
	push_exit(&w, 0);
	RUN_UNTIL(w.loop, w.hints == 2 + HINT_RECENT + 3);
	world_close(&w);
}

static void test_foreign_unknown_malformed(void **state)
{
	struct envelope foreign = envelope_of("moby", "containerd.events.TaskExit", 1);
	struct envelope unknown = envelope_of("k8s.io", "containerd.events.TaskLike", 1);
	struct envelope half = envelope_of("k8s.io", "containerd.events.TaskExit", 1);
	struct hint_statistics s;
	struct world w;

	world_open(&w);
	open_up(&w);
	push(&w, foreign.data, foreign.len);
	push(&w, unknown.data, unknown.len);
	push(&w, unknown.data, unknown.len);
	push(&w, half.data, half.len - 3);
	push_exit(&w, 1);
	RUN_UNTIL(w.loop, w.hints == 1);
	s = statistics(&w);
	assert_int_equal(s.foreign, 1);
	assert_int_equal(s.unknown, 2);
	assert_int_equal(s.malformed, 1);
	assert_int_equal(s.told, 1);
	assert_true(s.is_up);
	/* Something was missed, and that is said; the stream goes on. */
	assert_int_equal(w.news_count, 2);
	assert_int_equal(w.news[1], HINT_STREAM_GAP);
	push(&w, half.data, half.len - 3);
	assert_int_equal(news_at(&w, 2), HINT_STREAM_GAP);
	assert_int_equal(s.opened, 1);
	world_close(&w);
}

/* ---- a stream that breaks ------------------------------------------------------------------- */

static void break_by_status(struct world *w)
{
	end_stream(w, "14");
}

static void break_by_end(struct world *w)
{
	end_stream(w, "0");
}

static void break_by_reset(struct world *w)
{
	end_stream(w, NULL);
}

static void break_by_close(struct world *w)
{
	connection_close(newest(w));
}

static void break_by_goaway(struct world *w)
{
	peer_goaway(newest(w)->peer, 0, "bye");
	peer_end(newest(w)->peer, "14");
	connection_flush(newest(w));
}

static void break_in_a_message(struct world *w)
{
	peer_push_raw(newest(w)->peer, "\0\0\0\0\x10half", 9);
	peer_end(newest(w)->peer, "0");
	connection_flush(newest(w));
}

static void break_by_size(struct world *w)
{
	peer_push_raw(newest(w)->peer, "\0\0\x20\0\0", 5);
	connection_flush(newest(w));
}

static void break_by_compression(struct world *w)
{
	peer_push_raw(newest(w)->peer, "\1\0\0\0\1x", 6);
	connection_flush(newest(w));
}

static void check_break(void (*do_break)(struct world *w), uint64_t oversize)
{
	struct world w;

	world_open(&w);
	open_up(&w);
	push_exit(&w, 1);
	RUN_UNTIL(w.loop, w.hints == 1);
	do_break(&w);
	assert_int_equal(news_at(&w, 1), HINT_STREAM_DOWN);
	assert_true(w.why[0] != '\0');
	assert_false(statistics(&w).is_up);
	assert_int_equal(news_at(&w, 2), HINT_STREAM_UP);
	push_exit(&w, 2);
	RUN_UNTIL(w.loop, w.hints == 2);
	assert_int_equal(statistics(&w).broken, 1);
	assert_int_equal(statistics(&w).opened, 2);
	assert_int_equal(statistics(&w).oversize, oversize);
	assert_int_equal(w.news_count, 3);
	world_close(&w);
}

static void test_breaks(void **state)
{
	check_break(break_by_status, 0);
	check_break(break_by_end, 0);
	check_break(break_by_reset, 0);
	check_break(break_by_close, 0);
	check_break(break_by_goaway, 0);
	check_break(break_in_a_message, 0);
	check_break(break_by_size, 1);
	check_break(break_by_compression, 0);
}

/* A restart of the daemon: no socket for a while. It is told once that it is down. */
static void test_restart(void **state)
{
	struct world w;

	world_open(&w);
	open_up(&w);
	server_stop(&w);
	RUN_UNTIL(w.loop, statistics(&w).opened >= 3);
	assert_int_equal(w.news_count, 2);
	assert_int_equal(w.news[1], HINT_STREAM_DOWN);
	server_listen(&w);
	assert_int_equal(news_at(&w, 2), HINT_STREAM_UP);
	assert_int_equal(statistics(&w).broken, 1);
	world_close(&w);
}

static void test_no_server_at_first(void **state)
{
	struct world w;

	world_open(&w);
	open_containerd(&w);
	assert_int_equal(news_at(&w, 0), HINT_STREAM_DOWN);
	server_listen(&w);
	assert_int_equal(news_at(&w, 1), HINT_STREAM_UP);
	assert_int_equal(statistics(&w).broken, 0);
	world_close(&w);
}

/* Accepts and says nothing, as a stopped daemon does: it is neither up nor down. */
static void test_mute(void **state)
{
	struct world w;

	world_open(&w);
	w.is_mute = true;
	server_listen(&w);
	open_containerd(&w);
	ASSERT_OK(containerd_list_tasks(w.containerd, &call_callbacks, &w, NSEC_PER_MSEC));
	RUN_UNTIL(w.loop, w.late == 1);
	assert_int_equal(w.news_count, 0);
	assert_int_equal(statistics(&w).opened, 1);
	assert_int_equal(w.done, 0);
	free_client(&w);
	assert_int_equal(w.done, 1);
	assert_int_equal(w.outcome, RUNTIME_CANCELLED);
	assert_true(w.was_late);
	world_close(&w);
}

/* A server that takes the subscription and hangs on the probe is not called up. */
static void test_probe_hangs(void **state)
{
	static const struct peer_script script[] = {
		{ "Subscribe", "Open" },
		{ "Version", "Hold" },
		{ "List", "Given", task_answer, sizeof(task_answer) - 1 },
		{ 0 },
	};
	struct world w;

	world_open(&w);
	w.script = script;
	server_listen(&w);
	open_containerd(&w);
	ASSERT_OK(containerd_list_tasks(w.containerd, &call_callbacks, &w, 10 * NSEC_PER_SEC));
	RUN_UNTIL(w.loop, w.done == 1);
	assert_int_equal(w.news_count, 0);
	/* What comes is told all the same. */
	push_exit(&w, 1);
	RUN_UNTIL(w.loop, w.hints == 1);
	/* The stream breaks under the hanging probe: no second probe is sent until it answers. */
	end_stream(&w, "14");
	assert_int_equal(news_at(&w, 0), HINT_STREAM_DOWN);
	RUN_UNTIL(w.loop, newest(&w)->peer->opened == 2);
	assert_int_equal(newest(&w)->peer->requests, 4);
	newest(&w)->peer->script = containerd_script;
	peer_release(newest(&w)->peer);
	connection_flush(newest(&w));
	assert_int_equal(news_at(&w, 1), HINT_STREAM_UP);
	/* The old answer proved nothing: two more were asked for. */
	assert_int_equal(newest(&w)->peer->requests, 6);
	world_close(&w);
}

static void test_probe_fails(void **state)
{
	static const struct peer_script script[] = {
		{ "Subscribe", "Open" },
		{ "Version", "Reset" },
		{ 0 },
	};
	struct world w;

	world_open(&w);
	w.script = script;
	server_listen(&w);
	open_containerd(&w);
	assert_int_equal(news_at(&w, 0), HINT_STREAM_DOWN);
	newest(&w)->peer->script = containerd_script;
	assert_int_equal(news_at(&w, 1), HINT_STREAM_UP);
	assert_int_equal(w.news_count, 2);
	world_close(&w);
}

static void test_absent(void **state)
{
	struct world w;

	world_open(&w);
	w.script = foreign_script;
	server_listen(&w);
	open_containerd(&w);
	assert_int_equal(news_at(&w, 0), HINT_STREAM_ABSENT);
	assert_string_equal(w.why, "the server is not a containerd");
	assert_true(statistics(&w).is_absent);
	ASSERT_OK(containerd_list_tasks(w.containerd, &call_callbacks, &w, 10 * NSEC_PER_SEC));
	RUN_UNTIL(w.loop, w.done == 1);
	assert_int_equal(w.outcome, RUNTIME_UNSUPPORTED);
	assert_int_equal(w.news_count, 1);
	assert_int_equal(statistics(&w).opened, 1);
	assert_string_equal(containerd_version(w.containerd), "");
	world_close(&w);
}

/* ---- CRI's stream --------------------------------------------------------------------------- */

static void test_cri_stream(void **state)
{
	static const char stopped[] = "\x0a\x02"
				      "c7"
				      "\x10\x02\x18\x05";
	struct world w;

	world_open(&w);
	server_listen(&w);
	open_events(&w);
	assert_int_equal(news_at(&w, 0), HINT_STREAM_UP);
	assert_string_equal(newest(&w)->peer->last_space, "");
	push(&w, stopped, sizeof(stopped) - 1);
	RUN_UNTIL(w.loop, w.hints == 1);
	assert_int_equal(w.hint.type, HINT_EXIT);
	assert_string_equal(w.hint.container_id, "c7");
	/* It had something to say, so its end is a break. */
	end_stream(&w, "0");
	assert_int_equal(news_at(&w, 1), HINT_STREAM_DOWN);
	assert_int_equal(news_at(&w, 2), HINT_STREAM_UP);
	world_close(&w);
}

/* CRI-O ends the stream without a word where events are switched off. */
static void test_cri_switched_off(void **state)
{
	struct world w;

	world_open(&w);
	w.script = foreign_script;
	server_listen(&w);
	open_events(&w);
	assert_int_equal(news_at(&w, 0), HINT_STREAM_ABSENT);
	assert_true(statistics(&w).is_absent);
	world_close(&w);
}

static void test_cri_is_safe(void **state)
{
	static const struct {
		const char *name, *version;
		bool safe_beside;
	} cases[] = {
		{ "containerd", "v1.7.2", false },
		{ "containerd", "1.6.20~ds1", false },
		{ "containerd", "2.0.0", true },
		{ "containerd", "v2.1.4-k3s1", true },
		{ "containerd", "12.0", true },
		{ "containerd", "", false },
		{ "containerd", "2", false },
		{ "containerd", "main", false },
		{ "containerd", "99999999999999999999.0", false },
		{ "cri-o", "1.30.0", true },
		{ "docker", "20.10", true },
	};

	for (size_t i = 0; i < ELEMENTS(cases); i++) {
		assert_int_equal(cri_events_is_safe(cases[i].name, cases[i].version, true),
			cases[i].safe_beside);
		assert_true(cri_events_is_safe(cases[i].name, cases[i].version, false));
	}
}

/* ---- tasks ---------------------------------------------------------------------------------- */

static void test_tasks(void **state)
{
	struct world w;

	world_open(&w);
	open_up(&w);
	ASSERT_ERR(containerd_list_tasks(w.containerd, &call_callbacks, &w, 0), EINVAL);
	ASSERT_OK(containerd_list_tasks(w.containerd, &call_callbacks, &w, 10 * NSEC_PER_SEC));
	ASSERT_ERR(containerd_list_tasks(w.containerd, &call_callbacks, &w, 1), EALREADY);
	RUN_UNTIL(w.loop, w.done == 1);
	assert_int_equal(w.outcome, RUNTIME_OK);
	assert_int_equal(w.task_count, 1);
	assert_string_equal(w.task.container_id, "c1");
	assert_int_equal(w.task.pid, 7);
	assert_int_equal(w.task.status, CONTAINERD_RUNNING);
	assert_string_equal(newest(&w)->peer->last_space, "k8s.io");
	ASSERT_OK(containerd_list_tasks(w.containerd, &call_callbacks, &w, 10 * NSEC_PER_SEC));
	RUN_UNTIL(w.loop, w.done == 2);
	world_close(&w);
}

static void test_get(void **state)
{
	char id[8], long_id[HINT_ID_MAX + 2];
	struct world w;

	memset(long_id, 'x', sizeof(long_id));
	long_id[sizeof(long_id) - 1] = '\0';
	world_open(&w);
	open_up(&w);
	ASSERT_ERR(containerd_get_task(w.containerd, "", &call_callbacks, &w, 1), EINVAL);
	ASSERT_ERR(
		containerd_get_task(w.containerd, long_id, &call_callbacks, &w, 1), ENAMETOOLONG);
	ASSERT_OK(containerd_get_task(w.containerd, "c0", &call_callbacks, &w, NSEC_NEVER));
	ASSERT_ERR(containerd_get_task(w.containerd, "c0", &call_callbacks, &w, 1), EALREADY);
	for (unsigned i = 1; i < CONTAINERD_GETS_MAX; i++) {
		(void)snprintf(id, sizeof(id), "c%u", i);
		ASSERT_OK(containerd_get_task(w.containerd, id, &call_callbacks, &w, NSEC_NEVER));
	}
	ASSERT_ERR(containerd_get_task(w.containerd, "more", &call_callbacks, &w, 1), EBUSY);
	ASSERT_OK(containerd_list_tasks(w.containerd, &call_callbacks, &w, NSEC_NEVER));
	RUN_UNTIL(w.loop, w.done == CONTAINERD_GETS_MAX + 1);
	ASSERT_OK(containerd_get_task(w.containerd, "c0", &call_callbacks, &w, NSEC_NEVER));
	RUN_UNTIL(w.loop, w.done == CONTAINERD_GETS_MAX + 2);
	assert_int_equal(w.outcome, RUNTIME_NOT_FOUND);
	assert_non_null(strstr(w.message, "Tasks/Get of c0: no such pod"));
	world_close(&w);
}

static void check_answer(
	const char *as, const void *body, size_t body_len, enum runtime_outcome expected)
{
	const struct peer_script script[] = {
		{ "Subscribe", "Open" },
		{ "Version", "Given", version_answer, sizeof(version_answer) - 1 },
		{ "Get", as, body, body_len },
		{ 0 },
	};
	struct world w;

	world_open(&w);
	w.script = script;
	open_up(&w);
	ASSERT_OK(containerd_get_task(w.containerd, "c1", &call_callbacks, &w, NSEC_NEVER));
	RUN_UNTIL(w.loop, w.done == 1);
	assert_int_equal(w.outcome, expected);
	assert_int_equal(w.task_count, expected == RUNTIME_OK ? 1 : 0);
	world_close(&w);
}

static void test_answers(void **state)
{
	check_answer("Given", task_answer, sizeof(task_answer) - 1, RUNTIME_OK);
	check_answer("Given", task_answer, sizeof(task_answer) - 2, RUNTIME_MALFORMED);
	check_answer("Given", NULL, 0, RUNTIME_MALFORMED); /* no process */
	check_answer("Given", "\x08\x01", 2, RUNTIME_MALFORMED);
	check_answer("Error", NULL, 0, RUNTIME_NOT_FOUND);
	check_answer("Late", NULL, 0, RUNTIME_ERROR);
	check_answer("Unknown", NULL, 0, RUNTIME_UNSUPPORTED);
	check_answer("Reset", NULL, 0, RUNTIME_LOST);
	check_answer("Bare", NULL, 0, RUNTIME_MALFORMED);
}

static void test_late(void **state)
{
	static const struct peer_script script[] = {
		{ "Subscribe", "Open" },
		{ "Version", "Given", version_answer, sizeof(version_answer) - 1 },
		{ "List", "Hold" },
		{ 0 },
	};
	struct world w;

	world_open(&w);
	w.script = script;
	open_up(&w);
	ASSERT_OK(containerd_list_tasks(w.containerd, &call_callbacks, &w, NSEC_PER_MSEC));
	RUN_UNTIL(w.loop, w.late == 1);
	ASSERT_ERR(containerd_list_tasks(w.containerd, &call_callbacks, &w, 1), EALREADY);
	peer_release(newest(&w)->peer);
	connection_flush(newest(&w));
	RUN_UNTIL(w.loop, w.done == 1);
	assert_true(w.was_late);
	assert_int_equal(w.outcome, RUNTIME_OK);
	assert_int_equal(w.task_count, 0);
	assert_int_equal(w.late, 1);
	world_close(&w);
}

/* ---- the object ----------------------------------------------------------------------------- */

static void test_freed_inside(void **state)
{
	struct world w;

	world_open(&w);
	open_up(&w);
	w.free_in = FREE_IN_HINT;
	push_exit(&w, 1);
	push_exit(&w, 2);
	RUN_UNTIL(w.loop, !w.containerd);
	assert_int_equal(w.hints, 1);
	world_close(&w);

	world_open(&w);
	w.free_in = FREE_IN_NEWS;
	server_listen(&w);
	open_containerd(&w);
	RUN_UNTIL(w.loop, !w.containerd);
	assert_int_equal(w.news_count, 1);
	world_close(&w);

	world_open(&w);
	open_up(&w);
	w.free_in = FREE_IN_NEWS;
	end_stream(&w, "14");
	RUN_UNTIL(w.loop, !w.containerd);
	assert_string_equal(w.why, "ended");
	world_close(&w);

	world_open(&w);
	open_up(&w);
	w.free_in = FREE_IN_DONE;
	ASSERT_OK(containerd_list_tasks(w.containerd, &call_callbacks, &w, NSEC_NEVER));
	ASSERT_OK(containerd_get_task(w.containerd, "c1", &call_callbacks, &w, NSEC_NEVER));
	RUN_UNTIL(w.loop, !w.containerd);
	assert_int_equal(w.done, 2);
	world_close(&w);
}

static void test_refused_arguments(void **state)
{
	static const char *const namespaces[] = { "", "a b", "a\"", "a,b",
		"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" };
	struct err err;
	struct world w;

	world_open(&w);
	for (size_t i = 0; i < ELEMENTS(namespaces); i++) {
		err = (struct err){ 0 };
		ASSERT_ERR(containerd_open(w.loop, w.path, namespaces[i], &hint_callbacks, &w,
				   &w.containerd, &err),
			EINVAL);
		assert_true(err.text[0] != '\0');
	}
	ASSERT_ERR(containerd_open(
			   w.loop, "tcp://x", "k8s.io", &hint_callbacks, &w, &w.containerd, &err),
		EINVAL);
	ASSERT_ERR(cri_events_open(w.loop, "x", &hint_callbacks, &w, &w.events, &err), EINVAL);
	assert_null(w.containerd);
	world_close(&w);
}

/* Each allocation fails once, from the opening to the first hint. */
static void test_out_of_memory(void **state)
{
	bool met = true;

	for (size_t n = 1; met; n++) {
		struct err err = { 0 };
		struct world w;
		int r;

		assert_true(n < 10000);
		world_open(&w);
		server_listen(&w);
		plan.calls = 0;
		plan.fail_at = n;
		r = containerd_open(
			w.loop, w.path, "k8s.io", &hint_callbacks, &w, &w.containerd, &err);
		if (r >= 0)
			RUN_UNTIL(w.loop, statistics(&w).is_up);
		else
			assert_int_equal(r, -ENOMEM);
		met = plan.calls >= n;
		plan.fail_at = 0;
		if (r >= 0) {
			push_exit(&w, 1);
			RUN_UNTIL(w.loop, w.hints == 1);
		}
		world_close(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_up),
		cmocka_unit_test(test_hint),
		cmocka_unit_test(test_twice_is_once),
		cmocka_unit_test(test_foreign_unknown_malformed),
		cmocka_unit_test(test_breaks),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_no_server_at_first),
		cmocka_unit_test(test_mute),
		cmocka_unit_test(test_probe_hangs),
		cmocka_unit_test(test_probe_fails),
		cmocka_unit_test(test_absent),
		cmocka_unit_test(test_cri_stream),
		cmocka_unit_test(test_cri_switched_off),
		cmocka_unit_test(test_cri_is_safe),
		cmocka_unit_test(test_tasks),
		cmocka_unit_test(test_get),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_late),
		cmocka_unit_test(test_freed_inside),
		cmocka_unit_test(test_refused_arguments),
		cmocka_unit_test(test_out_of_memory),
	};

	/* The scripted server writes to a client that has just gone. */
	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
