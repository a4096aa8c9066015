/*
 * The shim's client: its files, its answers, and the ways a socket can be answered: not there,
 * refused, silent, mute, garbage, an error, late and then answered. The server is raw bytes on the
 * same loop.
 */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/time.h"
#include "loop.h"
#include "net/dial.h"
#include "runtime/shim.h"

#define TIMEOUT_NS (10 * NSEC_PER_SEC)
#define SHORT_NS   (20 * NSEC_PER_MSEC)

/* ---- its files ------------------------------------------------------------------------------ */

static void files_are_parsed(void **state)
{
	static const struct {
		const char *text;
		int r;
		unsigned version;
	} rows[] = {
		{ "{\"version\":2,\"address\":\"unix:///run/s\",\"protocol\":\"ttrpc\"}", 0, 2 },
		{ "{\"version\":3,\"address\":\"unix:///run/s\",\"protocol\":\"ttrpc\",\"x\":1}", 0,
			3 },
		{ "{\"version\":3,\"address\":\"unix:///run/s\",\"protocol\":\"grpc\"}",
			-EPROTONOSUPPORT, 0 },
		{ "{\"version\":4,\"address\":\"unix:///run/s\",\"protocol\":\"ttrpc\"}",
			-EPROTONOSUPPORT, 0 },
		{ "{\"version\":3,\"address\":\"\",\"protocol\":\"ttrpc\"}", -EBADMSG, 0 },
		{ "{\"version\":3,\"address\":\"a\\nb\",\"protocol\":\"ttrpc\"}", -EBADMSG, 0 },
		{ "{\"version\":3,\"address\":7,\"protocol\":\"ttrpc\"}", -EBADMSG, 0 },
		{ "{\"version\":3}", -EBADMSG, 0 },
		{ "[]", -EBADMSG, 0 },
		{ "{\"version\":3,\"addr", -EBADMSG, 0 },
		{ "", -EBADMSG, 0 },
	};
	struct shim_address a;
	char large[SHIM_ADDRESS_MAX + 1];

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		int r = shim_parse_bootstrap(rows[i].text, strlen(rows[i].text), &a);

		if (r != rows[i].r)
			fail_msg("row %zu: %d", i, r);
		if (r == 0) {
			assert_int_equal(a.version, rows[i].version);
			assert_string_equal(a.text, "unix:///run/s");
		}
	}
	ASSERT_OK(shim_parse_address("unix:///run/s", 13, &a));
	assert_int_equal(a.version, 2);
	ASSERT_OK(shim_parse_address("unix:///run/s\n", 14, &a));
	assert_string_equal(a.text, "unix:///run/s");
	ASSERT_ERR(shim_parse_address("", 0, &a), EBADMSG);
	ASSERT_ERR(shim_parse_address("\n", 1, &a), EBADMSG);
	ASSERT_ERR(shim_parse_address("a\0b", 3, &a), EBADMSG);
	memset(large, 'x', sizeof(large));
	ASSERT_ERR(shim_parse_address(large, sizeof(large), &a), EBADMSG);
}

static void bundles_are_siblings(void **state)
{
	char bundle[SHIM_BUNDLE_MAX], namespace[CONTAINERD_NAMESPACE_MAX + 1];
	static const char *const bad[] = { "", "/", "/a", "/a/b", "relative/a/b", "/a/b/",
		"/a//b" };

	(void)state;
	ASSERT_OK(shim_bundle("/run/c/v2.task/k8s.io/sandbox", "app", bundle, namespace));
	assert_string_equal(bundle, "/run/c/v2.task/k8s.io/app");
	assert_string_equal(namespace, "k8s.io");
	for (size_t i = 0; i < ELEMENTS(bad); i++)
		if (shim_bundle(bad[i], "app", bundle, namespace) != -EINVAL)
			fail_msg("'%s' was taken", bad[i]);
	ASSERT_ERR(shim_bundle("/run/ns/x", "../y", bundle, namespace), EINVAL);
	ASSERT_ERR(shim_bundle("/run/ns/x", "..", bundle, namespace), EINVAL);
	ASSERT_ERR(shim_bundle("/run/ns/x", "", bundle, namespace), EINVAL);
}

/* ---- its answers ---------------------------------------------------------------------------- */

static struct slice text_slice(const char *text, size_t len)
{
	return (struct slice){ text, len };
}
#define ANSWER(text) text_slice(text, sizeof(text) - 1)

static void states_are_decoded(void **state)
{
	struct shim_task t;

	(void)state;
	ASSERT_OK(shim_decode_state(
		ANSWER("\x0a\3abc\x12\4/b/c\x18\xd2\x09\x20\2\x2a\1x\x40\1"), &t));
	assert_string_equal(t.id, "abc");
	assert_string_equal(t.bundle, "/b/c");
	assert_int_equal(t.pid, 1234);
	assert_int_equal(t.status, CONTAINERD_RUNNING);
	assert_false(t.has_exit_code);
	ASSERT_OK(shim_decode_state(ANSWER("\x0a\3abc\x20\3\x48\x89\1"), &t));
	assert_int_equal(t.status, CONTAINERD_STOPPED);
	assert_true(t.has_exit_code);
	assert_int_equal(t.exit_code, 137);
	ASSERT_OK(shim_decode_state(ANSWER("\x20\3"), &t));
	assert_true(t.has_exit_code);
	assert_int_equal(t.exit_code, 0);
	ASSERT_OK(shim_decode_state(ANSWER("\x20\x63"), &t));
	assert_int_equal(t.status, CONTAINERD_UNKNOWN);
	ASSERT_ERR(shim_decode_state(ANSWER("\x0a\3ab"), &t), EBADMSG);
	ASSERT_ERR(shim_decode_state(ANSWER("\x0a\2\1b"), &t), EBADMSG); /* no id */
	ASSERT_ERR(shim_decode_state(ANSWER("\x1a\1x"), &t), EBADMSG);   /* pid as bytes */
	ASSERT_OK(shim_decode_connect(ANSWER("\x08\5\x10\6\x1a\1x"), &t));
	assert_int_equal(t.shim_pid, 5);
	assert_int_equal(t.pid, 6);
	ASSERT_ERR(shim_decode_connect(ANSWER("\x0a\1x"), &t), EBADMSG);
}

/* ---- its socket ----------------------------------------------------------------------------- */

struct world {
	sd_event *loop;
	struct shim_client *shims;
	char dir[32], path[64];
	struct shim_address address;
	int fds_before, listen_fd, fd;
	sd_event_source *listen_source, *source;
	/* The script. */
	struct slice answer; /* NULL: mute */
	bool closes;
	size_t request_len;
	char request[512];
	/* What was told. */
	unsigned done, late;
	enum evidence_answer outcome;
	bool was_late;
	int32_t pid;
	char text[256];
};

static void server_close(struct world *w)
{
	w->source = sd_event_source_disable_unref(w->source);
	w->fd = fd_close(w->fd);
}

static void server_answer(struct world *w)
{
	if (w->answer.data)
		ASSERT_OK(fd_write_all(w->fd, w->answer.data, w->answer.len, 1000));
	if (w->closes)
		server_close(w);
}

static int on_request(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct world *w = userdata;
	ssize_t n = recv(fd, w->request, sizeof(w->request), MSG_DONTWAIT);

	if (n <= 0) {
		server_close(w);
		return 0;
	}
	w->request_len = (size_t)n;
	server_answer(w);
	return 0;
}

static int on_accept(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct world *w = userdata;

	server_close(w);
	w->fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	return sd_event_add_io(w->loop, &w->source, w->fd, EPOLLIN, on_request, w);
}

static void world_open(struct world *w, bool listens)
{
	struct dial_address address;

	*w = (struct world){ .dir = "/tmp/test-shim-XXXXXX", .listen_fd = -EBADF, .fd = -EBADF };
	w->fds_before = count_fds();
	assert_non_null(mkdtemp(w->dir));
	(void)snprintf(w->path, sizeof(w->path), "%s/s", w->dir);
	(void)snprintf(w->address.text, sizeof(w->address.text), "unix://%s", w->path);
	w->address.version = 2;
	ASSERT_OK(sd_event_new(&w->loop));
	ASSERT_OK(shim_client_new(w->loop, &w->shims));
	if (!listens)
		return;
	ASSERT_OK(dial_address_unix(&address, w->path, NULL));
	w->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ASSERT_OK(bind(w->listen_fd, &address.any, address.len));
	ASSERT_OK(listen(w->listen_fd, 0));
	ASSERT_OK(sd_event_add_io(w->loop, &w->listen_source, w->listen_fd, EPOLLIN, on_accept, w));
}

static void world_close(struct world *w)
{
	w->shims = shim_client_free(w->shims);
	server_close(w);
	w->listen_source = sd_event_source_disable_unref(w->listen_source);
	w->listen_fd = fd_close(w->listen_fd);
	(void)unlink(w->path);
	(void)rmdir(w->dir);
	assert_int_equal(sd_event_run(w->loop, 0), 0);
	w->loop = sd_event_unref(w->loop);
	assert_int_equal(count_fds(), w->fds_before);
}

static void on_done(void *userdata, const struct shim_result *result)
{
	struct world *w = userdata;

	w->done++;
	w->outcome = result->answer;
	w->was_late = result->was_late;
	w->pid = result->task ? result->task->pid : -1;
	(void)snprintf(w->text, sizeof(w->text), "%s", result->message);
}

static void on_late(void *userdata)
{
	((struct world *)userdata)->late++;
}

static const struct shim_callbacks callbacks = { .on_done = on_done, .on_late = on_late };

static int ask(struct world *w, const char *id, uint64_t timeout_ns)
{
	return shim_client_ask(
		w->shims, SHIM_STATE, &w->address, "ns", id, timeout_ns, &callbacks, w);
}

static void sockets_answer_in_many_ways(void **state)
{
	static const struct {
		const char *name;
		struct slice answer;
		bool closes, listens;
		enum evidence_answer outcome;
		int32_t pid;
		const char *text;
	} rows[] = {
		{ "ok", { "\0\0\0\x07\0\0\0\1\2\0\x12\5\x18\xd2\x09\x20\2", 17 }, false, true,
			ANSWER_OK, 1234, "State: ok" },
		{ "not found", { "\0\0\0\x08\0\0\0\1\2\0\x0a\6\x08\5\x12\2no", 18 }, false, true,
			ANSWER_NOT_FOUND, -1, "State: no" },
		{ "error", { "\0\0\0\x08\0\0\0\1\2\0\x0a\6\x08\2\x12\2no", 18 }, false, true,
			ANSWER_ERROR, -1, "State: no" },
		{ "garbage", { "HTTP/1.1 400 Bad\r\n", 18 }, false, true, ANSWER_GARBAGE, -1,
			"not speak ttrpc" },
		{ "garbage in a frame", { "\0\0\0\2\0\0\0\1\2\0\xff\xff", 12 }, false, true,
			ANSWER_GARBAGE, -1, "cannot be decoded" },
		{ "garbage in an answer", { "\0\0\0\4\0\0\0\1\2\0\x12\2\xff\xff", 14 }, false, true,
			ANSWER_GARBAGE, -1, "cannot be decoded" },
		{ "too large", { "\0\1\0\0\0\0\0\1\2\0", 10 }, true, true, ANSWER_ERROR, -1,
			"Connection lost" },
		{ "half a frame", { "\0\0\0\4\0\0\0\1\2\0\x12", 11 }, true, true, ANSWER_ERROR, -1,
			"end of file" },
		{ "hangs up", { NULL, 0 }, true, true, ANSWER_ERROR, -1, "without a byte" },
		{ "no socket", { NULL, 0 }, false, false, ANSWER_NO_SOCKET, -1, "No such file" },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct world w;

		world_open(&w, rows[i].listens);
		w.answer = rows[i].answer;
		w.closes = rows[i].closes;
		ASSERT_OK(ask(&w, "id", TIMEOUT_NS));
		assert_int_equal(w.done, 0);
		RUN_UNTIL(w.loop, w.done == 1);
		if (w.outcome != rows[i].outcome || w.pid != rows[i].pid ||
			!strstr(w.text, rows[i].text))
			fail_msg("%s: %d, pid %d, '%s'", rows[i].name, w.outcome, w.pid, w.text);
		assert_int_equal(w.late, 0);
		world_close(&w);
	}
}

static void a_file_that_nobody_listens_on_refuses(void **state)
{
	struct world w;

	(void)state;
	world_open(&w, true);
	w.listen_source = sd_event_source_disable_unref(w.listen_source);
	w.listen_fd = fd_close(w.listen_fd);
	ASSERT_OK(ask(&w, "id", TIMEOUT_NS));
	RUN_UNTIL(w.loop, w.done == 1);
	assert_int_equal(w.outcome, ANSWER_REFUSED);
	world_close(&w);
}

static void late_is_told_once_and_stays_open(void **state)
{
	struct world w;
	unsigned open, late;

	(void)state;
	world_open(&w, true);
	ASSERT_OK(ask(&w, "id", SHORT_NS));
	ASSERT_ERR(ask(&w, "other", TIMEOUT_NS), EALREADY);
	RUN_UNTIL(w.loop, w.late == 1 && w.request_len > 0);
	assert_int_equal(w.done, 0);
	shim_client_count(w.shims, &open, &late);
	assert_int_equal(open, 1);
	assert_int_equal(late, 1);
	ASSERT_ERR(ask(&w, "id", TIMEOUT_NS), EALREADY);
	/* Its call has come whole, for this id and with the namespace. */
	assert_non_null(memmem(w.request, w.request_len, "containerd.task.v2.Task", 23));
	assert_non_null(memmem(w.request, w.request_len, "\x1a\4\x0a\2id", 6));
	assert_non_null(memmem(w.request, w.request_len, "\x12\2ns", 4));
	w.answer = (struct slice){ "\0\0\0\4\0\0\0\1\2\0\x12\2\x18\7", 14 };
	server_answer(&w);
	RUN_UNTIL(w.loop, w.done == 1);
	assert_int_equal(w.outcome, ANSWER_OK);
	assert_int_equal(w.pid, 7);
	assert_true(w.was_late);
	assert_int_equal(w.late, 1);
	shim_client_count(w.shims, &open, &late);
	assert_int_equal(open, 0);
	assert_int_equal(late, 0);
	/* Answered: the next one may be asked, of version 3 here. */
	w.address.version = 3;
	ASSERT_OK(ask(&w, "id", TIMEOUT_NS));
	RUN_UNTIL(w.loop, w.done == 2);
	assert_non_null(memmem(w.request, w.request_len, "containerd.task.v3.Task", 23));
	world_close(&w);
}

static void a_full_backlog_is_late_and_not_refused(void **state)
{
	struct world w;
	struct dial_address address;
	int fillers[3] = { -EBADF, -EBADF, -EBADF }, error;

	(void)state;
	world_open(&w, true);
	/* It does not accept: what is behind the backlog gets EAGAIN. */
	w.listen_source = sd_event_source_disable_unref(w.listen_source);
	ASSERT_OK(dial_address_unix(&address, w.path, NULL));
	for (size_t i = 0; i < ELEMENTS(fillers); i++)
		if (dial_start(&address, &fillers[i], &error) != DIAL_CONNECTED)
			break;
	ASSERT_OK(ask(&w, "id", SHORT_NS));
	RUN_UNTIL(w.loop, w.late == 1);
	assert_int_equal(w.done, 0);
	for (size_t i = 0; i < ELEMENTS(fillers); i++)
		fillers[i] = fd_close(fillers[i]);
	world_close(&w);
	assert_int_equal(w.done, 0);
}

static void bad_arguments_start_nothing(void **state)
{
	char id[HINT_ID_MAX + 2];
	struct world w;

	(void)state;
	world_open(&w, true);
	memset(id, 'x', sizeof(id) - 1);
	id[sizeof(id) - 1] = '\0';
	ASSERT_ERR(ask(&w, "", TIMEOUT_NS), EINVAL);
	ASSERT_ERR(ask(&w, "id", 0), EINVAL);
	ASSERT_ERR(ask(&w, id, TIMEOUT_NS), ENAMETOOLONG);
	w.address.version = 4;
	ASSERT_ERR(ask(&w, "id", TIMEOUT_NS), EINVAL);
	w.address.version = 2;
	memset(w.address.text, '/', sizeof(w.address.text) - 1);
	ASSERT_ERR(ask(&w, "id", TIMEOUT_NS), ENAMETOOLONG);
	assert_null(shim_client_free(NULL));
	world_close(&w);
	assert_int_equal(w.done, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_are_parsed),
		cmocka_unit_test(bundles_are_siblings),
		cmocka_unit_test(states_are_decoded),
		cmocka_unit_test(sockets_answer_in_many_ways),
		cmocka_unit_test(a_file_that_nobody_listens_on_refuses),
		cmocka_unit_test(late_is_told_once_and_stays_open),
		cmocka_unit_test(a_full_backlog_is_late_and_not_refused),
		cmocka_unit_test(bad_arguments_start_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
