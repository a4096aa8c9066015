/* The kubelet's healthz, against a listener of the test's own on a loopback port: every state, and
 * that a program that is no kubelet of ours is none. */
#include "unit.h"

#include <netinet/in.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/kubelet-scan.h"
#include "agent/kubelet.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"

#define DEADLINE_US (20 * UINT64_C(1000000))

struct world {
	sd_event *loop;
	struct kubelet *kubelet;
	int listener;
	uint16_t port;
	sd_event_source *source;
	const char *answer; /* NULL: closes without one */
	unsigned changes, requests;
};

/* The client is in the same loop: nothing here may wait for it. */
static int on_request(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct world *w = userdata;
	char request[2048] = "";
	ssize_t n = read(fd, request, sizeof(request) - 1);

	(void)revents;
	if (n > 0) {
		assert_non_null(str_after(request, "GET /healthz HTTP/1.1\r\n"));
		w->requests++;
		if (w->answer)
			ASSERT_OK(fd_write_all(fd, w->answer, strlen(w->answer), 10000));
	}
	(void)sd_event_source_set_floating(source, false); /* Closes it. */
	return 0;
}

static int on_connect(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct world *w = userdata;
	sd_event_source *connection = NULL;
	int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

	(void)source, (void)revents;
	assert_true(client >= 0);
	ASSERT_OK(sd_event_add_io(w->loop, &connection, client, EPOLLIN, on_request, w));
	ASSERT_OK(sd_event_source_set_io_fd_own(connection, true));
	ASSERT_OK(sd_event_source_set_floating(connection, true));
	connection = sd_event_source_unref(connection);
	return 0;
}

static void on_change(void *userdata)
{
	struct world *w = userdata;

	w->changes++;
}

static void world_begin(struct world *w)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(address);

	*w = (struct world){ 0 };
	ASSERT_OK(sd_event_new(&w->loop));
	w->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(w->listener >= 0);
	assert_int_equal(bind(w->listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(getsockname(w->listener, (struct sockaddr *)&address, &len), 0);
	assert_int_equal(listen(w->listener, 8), 0);
	w->port = ntohs(address.sin_port);
	ASSERT_OK(sd_event_add_io(w->loop, &w->source, w->listener, EPOLLIN, on_connect, w));
	ASSERT_OK(kubelet_new(w->loop, on_change, w, &w->kubelet));
}

static void world_end(struct world *w)
{
	w->kubelet = kubelet_free(w->kubelet);
	w->source = sd_event_source_disable_unref(w->source);
	w->listener = fd_close(w->listener);
	w->loop = sd_event_unref(w->loop);
}

/* What a search has found; another process for each pid. */
static void set(struct world *w, int pid, uint16_t port)
{
	struct kubelet_scan found = KUBELET_SCAN_DEFAULT;

	found.pid = pid;
	found.start_ticks = (uint64_t)pid;
	found.healthz_port = port;
	kubelet_set(w->kubelet, &found);
}

static void run_until(struct world *w, unsigned changes)
{
	for (int turns = 0; w->changes < changes && turns < 1000; turns++)
		ASSERT_OK(sd_event_run(w->loop, DEADLINE_US));
	assert_int_equal(w->changes, changes);
}

static void expect(const struct world *w, enum node_kubelet state, const char *message)
{
	const char *text = "";

	assert_int_equal(kubelet_state(w->kubelet, &text), state);
	if (!text || !strstr(text, message))
		fail_msg("'%s' is not in '%s'", message, text ? text : "");
}

#define ANSWER(status, body) "HTTP/1.1 " status "\r\nContent-Length: 2\r\n\r\n" body

static void from_well_to_gone(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w);
	w.answer = ANSWER("200 OK", "ok");
	set(&w, 1, w.port);
	run_until(&w, 1);
	expect(&w, NODE_KUBELET_OK, "");

	w.answer = ANSWER("500 Oops", "\x1b!");
	kubelet_set(w.kubelet, NULL); /* Asks at once; it has answered, so it counts. */
	run_until(&w, 2);
	expect(&w, NODE_KUBELET_FAILING, "healthz answers 500: ?!");

	w.answer = NULL;
	set(&w, 2, w.port);
	run_until(&w, 3);
	expect(&w, NODE_KUBELET_FAILING, "healthz: ");

	w.source = sd_event_source_disable_unref(w.source);
	w.listener = fd_close(w.listener);
	kubelet_set(w.kubelet, NULL);
	run_until(&w, 4);
	expect(&w, NODE_KUBELET_GONE, "healthz: ");

	set(&w, 7, 0);
	run_until(&w, 5);
	expect(&w, NODE_KUBELET_NONE, "");
	world_end(&w);
}

/* The real deadline, which is the only wait of this test. */
static void a_silent_one_is_slow(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w);
	w.source =
		sd_event_source_disable_unref(w.source); /* The backlog takes it, nobody answers. */
	set(&w, 3, w.port);
	run_until(&w, 1);
	expect(&w, NODE_KUBELET_SLOW, "healthz has not answered within 5s");
	world_end(&w);
}

static void what_is_no_kubelet_is_none(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w);
	w.answer = ANSWER("404 Not Found", "no");
	set(&w, 0, w.port);
	for (int turns = 0; w.requests == 0 && turns < 1000; turns++)
		ASSERT_OK(sd_event_run(w.loop, DEADLINE_US));
	assert_int_equal(w.requests, 1);
	/* Until the loop has nothing more to do at once: the answer was taken. */
	for (int turns = 0; sd_event_run(w.loop, 500000) > 0; turns++)
		assert_true(turns < 1000);
	expect(&w, NODE_KUBELET_NONE, "");
	assert_int_equal(w.changes, 0);
	world_end(&w);
}

/* What it was at before it begins anew: when its process began, or when it came back. */
static void since_when_it_is_at_its_work(void **state)
{
	uint64_t before_ns;
	struct world w;

	(void)state;
	world_begin(&w);
	w.answer = ANSWER("200 OK", "ok");
	assert_int_equal(kubelet_since(w.kubelet), 0);
	set(&w, 1, w.port); /* It began with the machine. */
	run_until(&w, 1);
	expect(&w, NODE_KUBELET_OK, "");
	assert_true(kubelet_since(w.kubelet) < clock_now().mono_ns);
	before_ns = clock_now().mono_ns;
	w.answer = ANSWER("500 Oops", "no");
	set(&w, 2, w.port);
	run_until(&w, 2);
	assert_true(kubelet_since(w.kubelet) < before_ns);
	w.answer = ANSWER("200 OK", "ok");
	set(&w, 3, w.port);
	run_until(&w, 3);
	assert_true(kubelet_since(w.kubelet) >= before_ns);
	world_end(&w);
}

static void one_that_listens_elsewhere_is_not_asked(void **state)
{
	struct kubelet_scan found = KUBELET_SCAN_DEFAULT;
	struct world w;

	(void)state;
	world_begin(&w);
	found.pid = 1;
	found.healthz_port = w.port;
	(void)snprintf(found.healthz_address, sizeof(found.healthz_address), "192.0.2.7");
	kubelet_set(w.kubelet, &found);
	for (int turns = 0; sd_event_run(w.loop, 500000) > 0; turns++)
		assert_true(turns < 1000);
	assert_int_equal(w.requests, 0);
	expect(&w, NODE_KUBELET_NONE, "");
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(from_well_to_gone),
		cmocka_unit_test(a_silent_one_is_slow),
		cmocka_unit_test(what_is_no_kubelet_is_none),
		cmocka_unit_test(since_when_it_is_at_its_work),
		cmocka_unit_test(one_that_listens_elsewhere_is_not_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
