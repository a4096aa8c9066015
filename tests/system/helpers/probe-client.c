/*
 * Asks the probe, and reads what is safe by itself, as the agent does. One order a line on stdin, one
 * line of JSON to each when it is answered:
 *	cmdline PID | smaps_rollup PID | statfs PATH | safe PID | status
 * Its argument is the probe's executable. Questions have a deadline of 500 ms.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/fd.h"
#include "kernel/probe-agent.h"

#define DEADLINE_NS (500 * NSEC_PER_MSEC)

struct client {
	sd_event *event;
	struct probe *probe;
	int proc_fd;
};

struct order {
	char what[16];
	uint64_t asked_ns;
};

static void tell(const char *what, int r, uint64_t since_ns, size_t len, const char *reason)
{
	(void)printf(
		"{\"what\": \"%s\", \"r\": %d, \"ms\": %.2f, \"len\": %zu, \"reason\": \"%s\"}\n",
		what, r, (double)(clock_now().mono_ns - since_ns) / 1e6, len, reason);
	(void)fflush(stdout);
}

static void on_answer(int r, const struct probe_answer *answer, const char *reason, void *userdata)
{
	struct order *o = userdata;

	tell(o->what, r, o->asked_ns, answer ? answer->len : 0, reason);
	(void)mem_free(o);
}

/* Every file of the safe list, of the process and of its threads. */
static void read_safe(struct client *c, int32_t pid)
{
	uint64_t begin_ns = clock_now().mono_ns;
	struct proc_task tasks[16];
	static char text[65536];
	int count = proc_list_tasks(c->proc_fd, pid, tasks, ELEMENTS(tasks)), worst = count;
	size_t len = 0;

	for (int i = -1; i < count; i++)
		for (unsigned file = PROC_COMM; file <= PROC_MOUNTINFO; file++) {
			int n = proc_read_text(c->proc_fd, pid, i < 0 ? 0 : tasks[i].tid,
				(enum proc_file)file, text, sizeof(text));

			worst = n < 0 ? n : worst;
			len += n > 0 ? (size_t)n : 0;
		}
	tell("safe", worst < 0 ? worst : 0, begin_ns, len, "");
}

static void tell_status(struct client *c)
{
	struct probe_status s;

	probe_status(c->probe, &s);
	(void)printf(
		"{\"what\": \"status\", \"stuck\": %lu, \"abandoned\": %u, \"state\": \"%s\"}\n",
		(unsigned long)s.role.stuck, s.role.abandoned, role_state_name(s.role.state));
	(void)fflush(stdout);
}

static int ask(struct client *c, const char *what, const char *argument)
{
	struct order *o = mem_zalloc(sizeof(*o));
	struct proc_id id = { .pid = (int32_t)strtol(argument, NULL, 10) };
	struct proc_stat stat;
	struct err err = { 0 };
	int r;

	(void)snprintf(o->what, sizeof(o->what), "%s", what);
	o->asked_ns = clock_now().mono_ns;
	if (strcmp(what, "statfs") == 0) {
		r = probe_statfs(c->probe, argument, DEADLINE_NS, on_answer, o, &err);
	} else {
		if (proc_read_stat(c->proc_fd, id.pid, 0, &stat) >= 0)
			id.start_ticks = stat.start_ticks;
		r = probe_read(c->probe, id,
			strcmp(what, "cmdline") == 0 ? PROBE_CMDLINE : PROBE_SMAPS_ROLLUP,
			DEADLINE_NS, on_answer, o, &err);
	}
	if (r < 0) {
		tell(what, r, o->asked_ns, 0, err.text);
		(void)mem_free(o);
	}
	return r;
}

static int on_stdin(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	char line[512], what[16], argument[400] = "";
	struct client *c = userdata;
	ssize_t n = 0;

	do /* bytewise: a line must not stay behind in a buffer */
		if (read(fd, line + n, 1) != 1)
			return sd_event_exit(c->event, 0);
	while (line[n] != '\n' && ++n < (ssize_t)sizeof(line) - 1);
	line[n] = '\0';
	if (sscanf(line, "%15s %399s", what, argument) < 1)
		return 0;
	if (strcmp(what, "safe") == 0)
		read_safe(c, (int32_t)strtol(argument, NULL, 10));
	else if (strcmp(what, "status") == 0)
		tell_status(c);
	else
		(void)ask(c, what, argument);
	return 0;
}

int main(int argc, char **argv)
{
	struct client c = { .proc_fd = proc_open() };
	struct role_spawner *spawner;
	struct err err = { 0 };
	int exe;

	if (argc != 2 || role_spawner_start(STDERR_FILENO, &spawner) < 0)
		return 1;
	if (role_exe_open(argv[1], true, &exe, &err) < 0 || sd_event_new(&c.event) < 0 ||
		role_spawner_attach(spawner, c.event) < 0 ||
		probe_new(c.event, spawner, exe, &c.probe) < 0 ||
		sd_event_add_io(c.event, NULL, STDIN_FILENO, EPOLLIN, on_stdin, &c) < 0) {
		(void)fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	(void)sd_event_loop(c.event);
	c.probe = probe_free(c.probe);
	spawner = role_spawner_free(spawner);
	c.event = sd_event_unref(c.event);
	(void)fd_close(exe);
	(void)fd_close(c.proc_fd);
	return 0;
}
