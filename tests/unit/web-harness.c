/*
 * The agent's side of the web role with canned answers, for test-web.py.
 *	web-harness PLEG-WEB METRICS HTTP HOST TOKEN-FILE CERT KEY      ("-": none)
 * says `ports M H` or `error TEXT`, then `state WORD REASON` for each change, and obeys on stdin:
 * counts, pid, memory, unready, unhealthy, broken, big, lose, stall MS, quit.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/time.h"
#include "role/role.h"
#include "web/web-agent.h"

struct harness {
	struct web *web;
	sd_event *event;
	unsigned counts[WEB_SNAPSHOTS];
	bool unready, unhealthy, broken, big;
};

static bool lose_next;

/* `lose`: the next message or file is not written. */
bool fault_hit(enum fault_point point)
{
	bool hit = lose_next && point == FAULT_WRITE;

	lose_next = lose_next && !hit;
	return hit;
}

static int snapshot(
	void *userdata, enum web_snapshot kind, const struct web_query *query, struct buf *ret)
{
	struct harness *h = userdata;

	h->counts[kind]++;
	if (h->broken)
		return -ENODEV;
	switch (kind) {
	case WEB_METRICS:
		for (int i = 0; h->big && i < 400000; i++)
			if (buf_append_string(ret, "a_metric_that_is_long 12345\n") < 0)
				return -ENOMEM;
		return buf_printf(ret, "pleg_up %u\n", h->counts[kind]);
	case WEB_STATUS:
		return buf_append_string(ret,
			"{\"node\":{\"name\":\"<script>alert(1)</script>\",\"ready\":true},"
			"\"findings\":[],\"list\":[{\"a\":\"x & \\\"y\\\"\"}]}");
	case WEB_PODS: return buf_append_string(ret, "{\"pods\":[]}");
	case WEB_EVENTS:
		return buf_printf(ret, "{\"tail\":%ju,\"ns\":\"%s\"}\n{\"pod\":\"%s\"}\n",
			(uintmax_t)query->tail, query->ns, query->pod);
	}
	return -EINVAL;
}

static bool ready(void *userdata, char *reason, size_t size)
{
	struct harness *h = userdata;

	(void)snprintf(reason, size, "The first relist is not done");
	return !h->unready;
}

static bool healthy(void *userdata, char *reason, size_t size)
{
	struct harness *h = userdata;

	(void)snprintf(reason, size, "PLEG is not healthy");
	return !h->unhealthy;
}

static void on_state(void *userdata, const char *state, const char *reason)
{
	(void)printf("state %s %s\n", state, reason);
}

static const struct web_ops ops = { snapshot, ready, healthy, on_state };

static void obey(struct harness *h, const char *line)
{
	struct role_status status;
	const char *rest;
	uint64_t ms;

	web_status(h->web, &status);
	if (str_eq(line, "counts"))
		(void)printf("counts %u %u %u %u\n", h->counts[0], h->counts[1], h->counts[2],
			h->counts[3]);
	else if (str_eq(line, "pid"))
		(void)printf("pid %d\n", (int)status.pid);
	else if (str_eq(line, "memory"))
		(void)printf("memory %ju\n", (uintmax_t)status.memory_bytes);
	else if (str_eq(line, "unready"))
		h->unready = true;
	else if (str_eq(line, "unhealthy"))
		h->unhealthy = true;
	else if (str_eq(line, "broken"))
		h->broken = true;
	else if (str_eq(line, "big"))
		h->big = true;
	else if (str_eq(line, "lose"))
		lose_next = true;
	else if ((rest = str_after(line, "stall ")) && str_to_u64(rest, &ms) == 0) {
		(void)puts(line);
		(void)poll(NULL, 0, (int)ms); /* The loop does not turn. */
	} else if (str_eq(line, "quit"))
		(void)sd_event_exit(h->event, 0);
}

static int on_stdin(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct harness *h = userdata;
	char text[256];
	ssize_t n = read(fd, text, sizeof(text) - 1);

	if (n <= 0)
		return sd_event_exit(h->event, 0);
	text[n] = '\0';
	for (char *save = NULL, *line = strtok_r(text, "\n", &save); line;
		line = strtok_r(NULL, "\n", &save))
		obey(h, line);
	return 0;
}

static const char *argument(const char *text)
{
	return str_eq(text, "-") ? NULL : text;
}

int main(int argc, char **argv)
{
	struct role_spawner *spawner = NULL;
	struct harness h = { 0 };
	uint16_t metrics, http;
	struct err err = { 0 };
	int exe = -EBADF, r;

	if (argc != 8)
		return 2;
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	r = role_spawner_start(STDERR_FILENO, &spawner);
	if (r >= 0)
		r = role_exe_open(argv[1], false, &exe, &err);
	if (r >= 0)
		r = sd_event_new(&h.event);
	if (r >= 0)
		r = role_spawner_attach(spawner, h.event);
	if (r >= 0) {
		struct web_config config = {
			.metrics_address = argument(argv[2]),
			.http_address = argument(argv[3]),
			.host = argument(argv[4]),
			.token_file = argument(argv[5]),
			.cert_file = argument(argv[6]),
			.key_file = argument(argv[7]),
			.exe_fd = exe,
			.uid = 65534,
			.gid = 65534,
		};

		r = web_new(h.event, spawner, &config, &ops, &h, &h.web, &err);
	}
	if (r < 0) {
		(void)printf("error %s\n", err_text(&err, r));
	} else {
		web_ports(h.web, &metrics, &http);
		(void)printf("ports %u %u\n", metrics, http);
		(void)sd_event_add_io(h.event, NULL, STDIN_FILENO, EPOLLIN, on_stdin, &h);
		r = sd_event_loop(h.event);
	}
	h.web = web_free(h.web);
	spawner = role_spawner_free(spawner);
	h.event = sd_event_unref(h.event);
	(void)fd_close(exe);
	return r < 0;
}
