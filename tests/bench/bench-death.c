/*
 * How long after an init's death a subscriber of the agent reads of it: the provisional event, and
 * the confirmed one. Beside it, in the same process for the same death, a bare pidfd waiter: what
 * the kernel and the scheduler cost before anybody could have done anything.
 *
 *	bench-death [--wait MILLISECONDS] CONTROL_SOCKET ID:PID ...
 *
 * Kills the inits one after the other and prints a line each: the nanoseconds from kill(2) to the
 * readable pidfd, to the provisional line, to the confirmed line; -1 for what did not come within 10 s,
 * or within the time given, where no confirmation is to come.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"

#define DEATH_TIMEOUT_NS (10 * NSEC_PER_SEC)
#define POLL_MS          10 /* how exactly the time to wait is kept; events end a poll at once */
#define REQUEST          "{\"protocol\":1,\"request\":\"events\",\"follow\":true}\n"

static char lines[1 << 20];
static size_t line_len;

static int subscribe(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		write(fd, REQUEST, strlen(REQUEST)) != (ssize_t)strlen(REQUEST)) {
		perror(path);
		return -1;
	}
	return fd;
}

/* Takes whole lines off the buffer; notes when this container's death was in one. */
static void read_lines(int fd, const char *id, uint64_t *provisional_ns, uint64_t *confirmed_ns)
{
	ssize_t n = read(fd, lines + line_len, sizeof(lines) - 1 - line_len);
	uint64_t now_ns = clock_now().mono_ns;
	char *start = lines, *end;

	if (n <= 0)
		return;
	line_len += (size_t)n;
	lines[line_len] = '\0';
	for (; (end = strchr(start, '\n')) != NULL; start = end + 1) {
		*end = '\0';
		if (!strstr(start, "\"ContainerDied\"") || !strstr(start, id))
			continue;
		if (strstr(start, "\"confirmed\":false"))
			*provisional_ns = now_ns;
		else
			*confirmed_ns = now_ns;
	}
	line_len = strlen(start);
	memmove(lines, start, line_len + 1);
}

static long long since(uint64_t at_ns, uint64_t start_ns)
{
	return at_ns ? (long long)(at_ns - start_ns) : -1;
}

static int one_death(int events, const char *id, pid_t pid, uint64_t timeout_ns)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	uint64_t start_ns, dead_ns = 0, provisional_ns = 0, confirmed_ns = 0;

	if (pidfd < 0)
		return -errno;
	start_ns = clock_now().mono_ns;
	if (kill(pid, SIGKILL) < 0)
		return -errno;
	while (!dead_ns || !confirmed_ns) {
		struct pollfd fds[] = { { .fd = events, .events = POLLIN },
			{ .fd = dead_ns ? -1 : pidfd, .events = POLLIN } };

		if (clock_now().mono_ns - start_ns > timeout_ns || poll(fds, 2, POLL_MS) < 0)
			break;
		if (fds[1].revents)
			dead_ns = clock_now().mono_ns;
		if (fds[0].revents)
			read_lines(events, id, &provisional_ns, &confirmed_ns);
	}
	(void)close(pidfd);
	printf("%lld %lld %lld\n", since(dead_ns, start_ns), since(provisional_ns, start_ns),
		since(confirmed_ns, start_ns));
	(void)fflush(stdout);
	return 0;
}

/* The arguments behind the option; NULL: it is no good. */
static char **parse(int argc, char **argv, uint64_t *timeout_ns)
{
	uint64_t ms;

	if (argc > 2 && str_eq(argv[1], "--wait")) {
		if (str_to_u64(argv[2], &ms) < 0 || ms == 0 || ms > 60000)
			return NULL;
		*timeout_ns = ms * NSEC_PER_MSEC;
		argv += 2;
		argc -= 2;
	}
	return argc < 3 ? NULL : argv + 1;
}

int main(int argc, char **argv)
{
	uint64_t none = 0, timeout_ns = DEATH_TIMEOUT_NS;
	char **arguments = parse(argc, argv, &timeout_ns);
	int events;

	if (!arguments) {
		(void)fprintf(stderr,
			"usage: bench-death [--wait MILLISECONDS] CONTROL_SOCKET ID:PID ...\n");
		return 2;
	}
	events = subscribe(arguments[0]);
	if (events < 0)
		return 1;
	(void)poll(&(struct pollfd){ .fd = events, .events = POLLIN }, 1, 5000);
	read_lines(events, "nobody", &none, &none);
	for (char **at = arguments + 1; *at; at++) {
		char *colon = strchr(*at, ':');
		uint64_t pid;

		if (!colon || str_to_u64(colon + 1, &pid) < 0) {
			(void)fprintf(stderr, "bench-death: '%s' is not ID:PID\n", *at);
			return 2;
		}
		*colon = '\0';
		if (one_death(events, *at, (pid_t)pid, timeout_ns) < 0)
			perror(*at);
	}
	(void)close(events);
	return 0;
}
