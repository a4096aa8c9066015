#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"

#define LOG_LINE_MAX 4096 /* PIPE_BUF: a line is written whole or not at all */

static enum log_level max_level = LOG_LEVEL_INFO;
static int log_fd = STDERR_FILENO;
static int pump_pidfd = -EBADF;
static uint64_t dropped;

static const char *const level_names[] = { "error", "warning", "info", "debug" };
/* syslog priorities, for a journal that reads our stderr (sd-daemon(3)). */
static const int level_priorities[] = { 3, 4, 6, 7 };

void log_set_level(enum log_level level)
{
	max_level = level;
}

int log_level_from_string(const char *name, enum log_level *ret)
{
	for (size_t i = 0; i < ELEMENTS(level_names); i++)
		if (str_eq(name, level_names[i])) {
			*ret = (enum log_level)i;
			return 0;
		}
	return -EINVAL;
}

int log_output_fd(void)
{
	return log_fd;
}

uint64_t log_dropped(void)
{
	return dropped;
}

static bool needs_quotes(const char *s)
{
	return *s == '\0' || strpbrk(s, " \"=\\") != NULL;
}

static void put_value(struct buf *line, const char *value)
{
	char clean[1024];

	(void)str_clean(clean, sizeof(clean), value, strlen(value));
	if (!needs_quotes(clean)) {
		(void)buf_append_string(line, clean);
		return;
	}
	(void)buf_append(line, "\"", 1);
	for (const char *p = clean; *p; p++) {
		if (*p == '"' || *p == '\\')
			(void)buf_append(line, "\\", 1);
		(void)buf_append(line, p, 1);
	}
	(void)buf_append(line, "\"", 1);
}

void log_write(enum log_level level, const char *message, ...)
{
	CLEAN(buf_done) struct buf line = BUF_INIT(LOG_LINE_MAX - 1);
	char when[TIME_TEXT_MAX];
	const char *key;
	va_list ap;

	if (level > max_level)
		return;

	if (getenv("JOURNAL_STREAM"))
		(void)buf_printf(&line, "<%d>", level_priorities[level]);
	(void)buf_printf(&line,
		"time=%s level=%s msg=", time_format_rfc3339(when, clock_now().real_ns),
		level_names[level]);
	put_value(&line, message);

	va_start(ap, message);
	while ((key = va_arg(ap, const char *)) != NULL) {
		const char *value = va_arg(ap, const char *);

		(void)buf_printf(&line, " %s=", key);
		put_value(&line, str_or_empty(value));
	}
	va_end(ap);

	line.max_bytes = LOG_LINE_MAX;
	(void)buf_append(&line, "\n", 1);
	if (write(log_fd, line.data, line.len) < 0 && log_fd != STDERR_FILENO)
		dropped++;
}

/* The pump owns stderr and may stick in a write for as long as it likes. */
static _Noreturn void pump_run(int from)
{
	char data[65536];

	(void)prctl(PR_SET_NAME, "pleg-log");
	for (int sig = 1; sig < 32; sig++)
		if (sig == SIGINT || sig == SIGTERM || sig == SIGHUP)
			(void)signal(sig, SIG_IGN); /* Ends at EOF, after the last line. */
	for (;;) {
		ssize_t n = read(from, data, sizeof(data));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			_exit(0);
		(void)fd_write_all(STDERR_FILENO, data, (size_t)n, 3600 * 1000);
	}
}

int log_start_pump(void)
{
	int ends[2];
	pid_t pid;

	if (log_fd != STDERR_FILENO)
		return 0;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid < 0) {
		int r = -errno;

		(void)fd_close(ends[0]);
		(void)fd_close(ends[1]);
		return r;
	}
	if (pid == 0) {
		(void)fd_close(ends[1]);
		pump_run(ends[0]);
	}
	(void)fd_close(ends[0]);
	log_fd = ends[1];
	pump_pidfd = pidfd_open(pid, 0); /* Without it the end does not wait. */
	return fd_set_nonblocking(log_fd);
}

void log_end_pump(unsigned timeout_ms)
{
	siginfo_t info = { 0 };

	if (log_fd == STDERR_FILENO)
		return;
	(void)fd_close(log_fd); /* It ends at the end of the pipe. */
	log_fd = STDERR_FILENO;
	if (pump_pidfd >= 0 &&
		poll(&(struct pollfd){ .fd = pump_pidfd, .events = POLLIN }, 1, (int)timeout_ms) >
			0)
		(void)waitid(P_PIDFD, (id_t)pump_pidfd, &info, WEXITED | WNOHANG);
	pump_pidfd = fd_close(pump_pidfd);
}
