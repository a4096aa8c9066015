/*
 * The agent's side of the journal with made-up events, for test_journal.py.
 *	journal-harness PLEG-JOURNAL STATE-DIR EPOCH ANSWER-MS CHECK-MS MAX-AGE-S MAX-BYTES
 * Says `state WORD REASON`, `note TEXT`, `written SEQUENCE` (acknowledged up to there), and obeys on
 * stdin:
 *	add N               N more events, from sequence 1 on
 *	flood N MS          so many each MS milliseconds, until `flood 0 0`
 *	difference ID RUNTIME KERNEL SINCE UNTIL
 *	incident ID STATE CHANGED CLOSED
 *	incidents ID        ("-": all), says rows as query does
 *	query SINCE UNTIL LIMIT NAMESPACE POD CONTAINER KUBELET     ("-": none)
 *	                    says `row JSON`... and `rows N COVERS`, or `no rows TEXT`
 *	status              one line of JSON
 *	drain MS            says `drained`
 *	quit
 * A timer of 10 ms measures how late the loop is; status tells the worst since the last one.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/str.h"
#include "base/time.h"
#include "store/journal-agent.h"
#include "sync/sync.h"

#define HISTORY   8192
#define TICK_US   10000
#define LINE_MAX_ 1024

struct harness {
	sd_event *event;
	sd_event_source *tick, *flood;
	struct sync_loop *events;
	struct journal *journal;
	struct journal_query *query;
	size_t rows;
	uint64_t flood_count, flood_ms;
	uint64_t tick_ns, lag_ns;
	uint64_t highest; /* written */
	char line[LINE_MAX_];
	size_t line_len;
};

static void add_events(struct harness *h, uint64_t count)
{
	for (uint64_t i = 0; i < count; i++) {
		uint64_t n = sync_loop_last(h->events) + 1;
		struct event event = {
			.type = n % 2 ? EVENT_CONTAINER_STARTED : EVENT_CONTAINER_DIED,
			.source = EVENT_SOURCE_RELIST,
			.confirmed = true,
			.observed_at_ns = clock_now().real_ns,
			.namespace = n % 3 ? "demo" : "kube-system",
			.pod = FMT("web-%llu", (unsigned long long)(n % 100)),
			.pod_uid = "5c4d17a4-8e1f-4f4d-9f5e-2a6f2a5a8c11",
			.container = "main",
			.container_id = FMT(
				"%016llx%048x", (unsigned long long)(n * 0x9e3779b97f4a7c15u), 7),
			.sandbox_id = "",
		};

		(void)sync_loop_add(h->events, event_new(&event));
	}
	journal_wake(h->journal);
}

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct harness *h = userdata;
	uint64_t now_ns = clock_now().mono_ns, late_ns;

	late_ns = time_since(now_ns, h->tick_ns + TICK_US * NSEC_PER_USEC);
	if (late_ns > h->lag_ns)
		h->lag_ns = late_ns;
	h->tick_ns = now_ns;
	(void)sd_event_source_set_time_relative(source, TICK_US);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int on_flood(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct harness *h = userdata;

	add_events(h, h->flood_count);
	(void)sd_event_source_set_time_relative(source, h->flood_ms * 1000);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

/* ---- what the journal tells ----------------------------------------------------------------- */

static void on_state(void *userdata, const char *state, const char *reason)
{
	(void)printf("state %s %s\n", state, reason);
}

static void on_note(void *userdata, const char *text)
{
	(void)printf("note %s\n", text);
}

static void on_progress(void *userdata)
{
	struct harness *h = userdata;
	struct journal_status status;

	journal_status(h->journal, &status);
	/* All in order and none dropped: then the number written is the last sequence. */
	(void)printf("written %ju\n", (uintmax_t)(status.written + status.dropped));
}

static const struct journal_ops ops = { on_state, on_note, on_progress };

static void on_drained(void *userdata)
{
	(void)printf("drained\n");
}

static void on_rows(
	void *userdata, int r, const char *text, const void *lines, size_t len, bool done)
{
	struct harness *h = userdata;
	struct err e = { 0 };
	const char *p = lines, *end = p + len;

	if (r < 0) {
		(void)printf("no rows %s\n", text);
		h->query = journal_query_free(h->query);
		return;
	}
	while (p < end) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));

		(void)printf("row %.*s\n", (int)(newline - p), p);
		p = newline + 1;
		h->rows++;
	}
	if (!done) {
		r = journal_query_next(h->query, &e);
		if (r >= 0)
			return;
		(void)printf("no rows %s\n", e.text);
	} else {
		(void)printf("rows %zu %ju\n", h->rows, (uintmax_t)journal_query_covers(h->query));
	}
	h->query = journal_query_free(h->query);
}

/* ---- commands ------------------------------------------------------------------------------- */

static void tell_status(struct harness *h)
{
	struct journal_status s;

	journal_status(h->journal, &s);
	(void)printf("status {\"state\":\"%s\",\"reason\":\"%s\",\"waiting\":%ju,\"dropped\":%ju,"
		     "\"written\":%ju,\"pid\":%d,\"memory\":%ju,\"role\":\"%s\",\"abandoned\":%u,"
		     "\"restarts\":%ju,\"last\":%ju,\"lagMs\":%.1f}\n",
		s.state, s.reason, (uintmax_t)s.waiting, (uintmax_t)s.dropped, (uintmax_t)s.written,
		(int)s.role.pid, (uintmax_t)s.role.memory_bytes, role_state_name(s.role.state),
		s.role.abandoned, (uintmax_t)s.role.restarts, (uintmax_t)sync_loop_last(h->events),
		(double)h->lag_ns / NSEC_PER_MSEC);
	h->lag_ns = 0;
}

static uint64_t number(const char *text)
{
	uint64_t n = 0;

	(void)str_to_u64(text, &n);
	return n;
}

static const char *word(const char *text)
{
	return str_eq(text, "-") ? NULL : text;
}

static void ask(struct harness *h, char *const words[])
{
	const struct journal_filter filter = {
		.since_ns = (int64_t)number(words[1]),
		.until_ns = (int64_t)number(words[2]),
		.limit = number(words[3]),
		.namespace = word(words[4]),
		.pod = word(words[5]),
		.container = word(words[6]),
		.kubelet = number(words[7]) != 0,
	};
	struct err e = { 0 };

	h->rows = 0;
	if (journal_query(h->journal, &filter, on_rows, h, &h->query, &e) < 0)
		(void)printf("no rows %s\n", e.text);
}

static void obey(struct harness *h, char *line)
{
	char *words[8] = { NULL }, *save = NULL;
	size_t n = 0;

	for (char *w = strtok_r(line, " ", &save); w && n < ELEMENTS(words);
		w = strtok_r(NULL, " ", &save))
		words[n++] = w;
	if (n == 0)
		return;
	if (str_eq(words[0], "add") && n == 2) {
		add_events(h, number(words[1]));
	} else if (str_eq(words[0], "flood") && n == 3) {
		h->flood_count = number(words[1]);
		h->flood_ms = number(words[2]);
		(void)sd_event_source_set_time_relative(h->flood, h->flood_ms * 1000);
		(void)sd_event_source_set_enabled(
			h->flood, h->flood_count ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
	} else if (str_eq(words[0], "difference") && n == 6) {
		(void)journal_difference(h->journal, words[1], words[2], words[3],
			(int64_t)number(words[4]), (int64_t)number(words[5]));
	} else if (str_eq(words[0], "incident") && n == 5) {
		const struct journal_incident incident = { words[1], "Cause", "subject", words[2],
			"{}", 1, (int64_t)number(words[3]), (int64_t)number(words[4]) };

		(void)journal_incident(h->journal, &incident);
	} else if (str_eq(words[0], "incidents") && n == 2) {
		const struct journal_incident_filter filter = { .id = word(words[1]) };
		struct err e = { 0 };

		h->rows = 0;
		if (journal_query_incidents(h->journal, &filter, on_rows, h, &h->query, &e) < 0)
			(void)printf("no rows %s\n", e.text);
	} else if (str_eq(words[0], "query") && n == 8) {
		ask(h, words);
	} else if (str_eq(words[0], "status")) {
		tell_status(h);
	} else if (str_eq(words[0], "drain") && n == 2) {
		(void)journal_drain(h->journal, number(words[1]) * NSEC_PER_MSEC, on_drained, h);
	} else if (str_eq(words[0], "quit")) {
		(void)sd_event_exit(h->event, 0);
	}
}

static int on_stdin(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct harness *h = userdata;
	ssize_t n = read(fd, h->line + h->line_len, sizeof(h->line) - h->line_len);
	char *newline;

	if (n <= 0)
		return sd_event_exit(h->event, 0);
	h->line_len += (size_t)n;
	while ((newline = memchr(h->line, '\n', h->line_len)) != NULL) {
		size_t len = (size_t)(newline - h->line) + 1;

		*newline = '\0';
		obey(h, h->line);
		memmove(h->line, h->line + len, h->line_len - len);
		h->line_len -= len;
	}
	return 0;
}

/* ---- life ----------------------------------------------------------------------------------- */

static int start(
	struct harness *h, struct role_spawner *spawner, int exe, char **argv, struct err *reterr)
{
	const struct journal_config config = {
		.state_dir = argv[2],
		.exe_fd = exe,
		.answer_timeout_ns = number(argv[4]) * NSEC_PER_MSEC,
		.check_ns = number(argv[5]) * NSEC_PER_MSEC,
		.max_age_ns = number(argv[6]) * NSEC_PER_SEC,
		.max_bytes = number(argv[7]),
	};
	int r;

	r = sd_event_new(&h->event);
	if (r >= 0)
		r = role_spawner_attach(spawner, h->event);
	if (r >= 0)
		r = sync_loop_new(argv[3], HISTORY, &h->events);
	if (r >= 0)
		r = sd_event_add_time_relative(
			h->event, &h->flood, CLOCK_MONOTONIC, 0, 1, on_flood, h);
	if (r >= 0)
		r = sd_event_source_set_enabled(h->flood, SD_EVENT_OFF);
	if (r >= 0)
		r = journal_new(
			h->event, spawner, h->events, &config, &ops, h, &h->journal, reterr);
	if (r >= 0)
		r = sd_event_add_io(h->event, NULL, STDIN_FILENO, EPOLLIN, on_stdin, h);
	h->tick_ns = clock_now().mono_ns;
	if (r >= 0)
		r = sd_event_add_time_relative(
			h->event, &h->tick, CLOCK_MONOTONIC, TICK_US, 1, on_tick, h);
	return r;
}

int main(int argc, char **argv)
{
	struct role_spawner *spawner = NULL;
	struct harness h = { 0 };
	struct err e = { 0 };
	int exe = -EBADF, r;

	if (argc != 8)
		return 2;
	(void)signal(SIGPIPE, SIG_IGN);
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	r = role_spawner_start(STDERR_FILENO, &spawner);
	if (r >= 0)
		r = role_exe_open(argv[1], false, &exe, &e);
	if (r >= 0)
		r = start(&h, spawner, exe, argv, &e);
	if (r < 0)
		(void)printf("error %s\n", err_text(&e, r));
	else
		r = sd_event_loop(h.event);
	h.query = journal_query_free(h.query);
	h.journal = journal_free(h.journal);
	h.events = sync_loop_free(h.events);
	h.tick = sd_event_source_disable_unref(h.tick);
	h.flood = sd_event_source_disable_unref(h.flood);
	spawner = role_spawner_free(spawner);
	h.event = sd_event_unref(h.event);
	(void)fd_close(exe);
	return r < 0;
}
