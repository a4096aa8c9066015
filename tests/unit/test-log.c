/*
 * The log's lines as they arrive on stderr, which is a pipe here: quoting, cleaning, levels, and the
 * pump that keeps a stuck stderr from the caller.
 */
#include "unit.h"

#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

#define DEADLINE_NS (20 * NSEC_PER_SEC)

static int log_end = -EBADF; /* what was written to stderr comes out here */
static int pipe_end = -EBADF, real_stderr = -EBADF;

/* Around each test, so that cmocka's own words reach the real one. */
static int stderr_into_pipe(void **state)
{
	return dup2(pipe_end, STDERR_FILENO) < 0 ? -1 : 0;
}

static int stderr_back(void **state)
{
	return dup2(real_stderr, STDERR_FILENO) < 0 ? -1 : 0;
}

static int open_pipe(void **state)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	log_end = ends[0];
	pipe_end = ends[1];
	real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	return unsetenv("JOURNAL_STREAM");
}

/* Reads on until `text` holds this many lines. */
static void read_lines(struct buf *text, size_t lines)
{
	uint64_t deadline_ns = clock_now().mono_ns + DEADLINE_NS;
	size_t seen = 0;

	while (seen < lines) {
		struct pollfd wait = { .fd = log_end, .events = POLLIN };
		char some[4096];
		ssize_t n;

		if (clock_now().mono_ns > deadline_ns)
			fail_msg("%zu of %zu lines", seen, lines);
		if (poll(&wait, 1, 100) <= 0)
			continue;
		n = read(log_end, some, sizeof(some));
		assert_true(n > 0);
		ASSERT_OK(buf_append(text, some, (size_t)n));
		for (ssize_t i = 0; i < n; i++)
			seen += some[i] == '\n';
	}
}

/* One line without its time, whose shape is checked. */
static const char *one_line(struct buf *text)
{
	char *line, *rest;
	int64_t when;

	buf_clear(text);
	read_lines(text, 1);
	text->len--; /* the newline */
	line = (char *)(uintptr_t)buf_string(text);
	assert_memory_equal(line, "time=", 5);
	rest = strchr(line, ' ');
	assert_non_null(rest);
	*rest = '\0';
	ASSERT_OK(time_parse_rfc3339(line + 5, &when));
	return rest + 1;
}

static void lines(void **state)
{
	CLEAN(buf_done) struct buf text = BUF_INIT(100000);
	char huge[3000];

	log_info("Runtime answers again", "endpoint", "unix:///x", "n", FMT("%d", 5), NULL);
	assert_string_equal(
		one_line(&text), "level=info msg=\"Runtime answers again\" endpoint=unix:///x n=5");
	log_error("Gone", "empty", "", "null", (const char *)NULL, NULL);
	assert_string_equal(one_line(&text), "level=error msg=Gone empty=\"\" null=\"\"");
	log_warning("Odd", "equals", "a=b", "quote", "say \"x\"", "back", "c:\\d", NULL);
	assert_string_equal(one_line(&text),
		"level=warning msg=Odd equals=\"a=b\" quote=\"say \\\"x\\\"\" back=\"c:\\\\d\"");
	/* What comes from outside can neither begin a line of its own nor move the cursor. */
	log_info("Said", "text", "a\nlevel=error\x1b[2J", "bad", "\xff\xc3\xa9", NULL);
	assert_string_equal(
		one_line(&text), "level=info msg=Said text=\"a?level=error?[2J\" bad=?\xc3\xa9");

	memset(huge, 'h', sizeof(huge));
	huge[sizeof(huge) - 1] = '\0';
	log_info("Long", "value", huge, NULL);
	assert_int_equal(strlen(one_line(&text)), strlen("level=info msg=Long value=") + 1023);
	/* Six of them do not fit into a line that is written whole; it ends in a newline all the same. */
	log_info("Longer", "a", huge, "b", huge, "c", huge, "d", huge, "e", huge, NULL);
	assert_true(strlen(one_line(&text)) < 4096);
}

static void levels(void **state)
{
	CLEAN(buf_done) struct buf text = BUF_INIT(100000);
	static const char *const names[] = { "error", "warning", "info", "debug" };
	enum log_level level = LOG_LEVEL_INFO;

	for (size_t i = 0; i < ELEMENTS(names); i++) {
		ASSERT_OK(log_level_from_string(names[i], &level));
		assert_int_equal(level, i);
	}
	level = LOG_LEVEL_WARNING;
	ASSERT_ERR(log_level_from_string("Error", &level), EINVAL);
	ASSERT_ERR(log_level_from_string("", &level), EINVAL);
	assert_int_equal(level, LOG_LEVEL_WARNING);

	log_debug("Not shown", NULL);
	log_info("Shown", NULL);
	assert_string_equal(one_line(&text), "level=info msg=Shown");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("Shown", NULL);
	assert_string_equal(one_line(&text), "level=debug msg=Shown");
	log_set_level(LOG_LEVEL_ERROR);
	log_warning("Not shown", NULL);
	log_error("Shown", NULL);
	assert_string_equal(one_line(&text), "level=error msg=Shown");
	log_set_level(LOG_LEVEL_INFO);
}

static void priorities_for_the_journal(void **state)
{
	CLEAN(buf_done) struct buf text = BUF_INIT(100000);

	assert_int_equal(setenv("JOURNAL_STREAM", "1:2", 1), 0);
	log_warning("Hot", NULL);
	assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
	read_lines(&text, 1);
	assert_memory_equal(text.data, "<4>time=", 8);
}

/* Nobody reads stderr: the caller goes on, lines are lost and counted, none is torn. */
static void pump(void **state)
{
	CLEAN(buf_done) struct buf text = BUF_INIT(4 << 20);
	const size_t written =
		20000; /* some 90 bytes each: more than two pipes and a buffer hold */
	size_t arrived = 0;
	char *save = NULL;

	ASSERT_OK(log_start_pump());
	ASSERT_OK(log_start_pump()); /* once is enough */
	assert_int_equal(log_dropped(), 0);
	for (size_t i = 0; i < written; i++)
		log_info("Nobody reads this", "i", FMT("%zu", i), NULL);
	assert_true(log_dropped() > 0);
	assert_true(log_dropped() < written);

	read_lines(&text, written - log_dropped());
	assert_int_equal(text.data[text.len - 1], '\n');
	for (char *line = strtok_r((char *)(uintptr_t)buf_string(&text), "\n", &save); line;
		line = strtok_r(NULL, "\n", &save)) {
		assert_memory_equal(line, "time=", 5);
		assert_non_null(strstr(line, " level=info msg=\"Nobody reads this\" i="));
		arrived++;
	}
	assert_int_equal(arrived, written - log_dropped());
	buf_clear(&text);
	log_info("Flows again", NULL);
	assert_string_equal(one_line(&text), "level=info msg=\"Flows again\"");
}

/* When the process goes on to its end, the last line has arrived. */
static void end_of_the_pump(void **state)
{
	char some[4096];
	ssize_t n;

	log_info("The last line", NULL);
	log_end_pump(20000);
	log_end_pump(0); /* once is enough */
	assert_int_equal(log_output_fd(), STDERR_FILENO);
	ASSERT_OK(fd_set_nonblocking(log_end));
	n = read(log_end, some, sizeof(some) - 1);
	assert_true(n > 0);
	some[n] = '\0';
	assert_non_null(strstr(some, "msg=\"The last line\""));
}

#define LOG_TEST(test) cmocka_unit_test_setup_teardown(test, stderr_into_pipe, stderr_back)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOG_TEST(lines),
		LOG_TEST(levels),
		LOG_TEST(priorities_for_the_journal),
		LOG_TEST(pump), /* from then on the pump has stderr */
		LOG_TEST(end_of_the_pump),
	};

	return cmocka_run_group_tests(tests, open_pipe, NULL);
}
