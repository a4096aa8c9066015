/*
 * The `pleg` program itself (argv[1]) against a server in this process: exit codes, documents as
 * they come out of a pipe, a follower that outlives its agent, a reader that leaves.
 */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/control.h"
#include "model/event.h"
#include "sync/sync.h"

#define PATIENCE_NS   (30 * NSEC_PER_SEC)
#define OUTPUT_MAX    65536
#define ARGUMENTS_MAX 16

static const char *program;

struct fixture {
	char dir[64], path[96];
	sd_event *loop;
	struct sync_loop *events;
	struct control_server *server;
	const char *status, *pods;
};

struct child {
	pid_t pid;
	int out; /* reading end of its stdout and stderr */
	struct buf text;
};

static int status_document(void *userdata, struct buf *out)
{
	return buf_append_string(out, ((struct fixture *)userdata)->status);
}

static int pods_document(void *userdata, struct buf *out)
{
	return buf_append_string(out, ((struct fixture *)userdata)->pods);
}

static int event_line(const struct event *event, const char *epoch, struct buf *out)
{
	return buf_printf(out,
		"{\"epoch\":\"%s\",\"sequence\":%llu,\"type\":\"%s\",\"pod\":\"%s\","
		"\"containerID\":"
		"\"0123456789abcdef\",\"observedAt\":\"2026-11-23T15:33:52.477362000Z\"}",
		epoch, (unsigned long long)event->sequence, event_type_text(event->type),
		event->pod);
}

static void serve(struct fixture *f, const char *epoch)
{
	static const struct control_ops ops = {
		.status = status_document, .pods = pods_document, .event = event_line
	};
	const struct control_options options = {
		.loop = f->loop, .path = f->path, .ops = &ops, .userdata = f
	};
	struct control_options all = options;

	ASSERT_OK(sync_loop_new(epoch, 64, &f->events));
	all.events = f->events;
	ASSERT_OK(control_server_new(&all, &f->server, NULL));
}

static void stop_serving(struct fixture *f)
{
	f->server = control_server_free(f->server);
	f->events = sync_loop_free(f->events);
}

static int setup(void **state)
{
	struct fixture *f = mem_zalloc(sizeof(*f));

	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/pleg-commands-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->path, sizeof(f->path), "%s/pleg.sock", f->dir);
	f->status = "{\"node\":{\"ready\":true}}";
	f->pods = "{\"pods\":[{\"namespace\":\"a\",\"pod\":\"one\",\"statusAgeSeconds\":0.4},"
		  "{\"namespace\":\"b\",\"pod\":\"two\"}]}";
	ASSERT_OK(sd_event_new(&f->loop));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	stop_serving(f);
	(void)sd_event_unref(f->loop);
	(void)unlink(FMT("%s.lock", f->path));
	assert_int_equal(rmdir(f->dir), 0);
	(void)mem_free(f);
	return 0;
}

static void add_event(struct fixture *f, const char *pod)
{
	const struct event fields = { .type = EVENT_CONTAINER_DIED, .confirmed = true, .pod = pod };

	ASSERT_OK(sync_loop_add(f->events, event_new(&fields)));
	control_server_wake(f->server);
}

/* `line`: words separated by blanks, without the program's name and --socket. */
static void start(const struct fixture *f, const char *line, struct child *ret)
{
	const char *argv[ARGUMENTS_MAX + 4] = { "pleg" };
	char words[256], *save = NULL;
	posix_spawn_file_actions_t actions;
	int ends[2], argc = 1;

	(void)snprintf(words, sizeof(words), "%s", line);
	for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	argv[argc++] = "--socket";
	argv[argc++] = f->path;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
	assert_int_equal(posix_spawn_file_actions_adddup2(&actions, ends[1], 1), 0);
	assert_int_equal(posix_spawn_file_actions_adddup2(&actions, ends[1], 2), 0);
	*ret = (struct child){ .out = ends[0], .text = BUF_INIT(OUTPUT_MAX) };
	assert_int_equal(posix_spawn(&ret->pid, program, &actions, NULL,
				 (char *const *)(uintptr_t)argv, environ),
		0);
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)fd_close(ends[1]);
	ASSERT_OK(fd_set_nonblocking(ret->out));
}

/* Serves until `wanted` was printed (NULL: until the child ends; then its exit code). */
static int watch(struct fixture *f, struct child *c, const char *wanted)
{
	uint64_t end_ns = clock_now().mono_ns + PATIENCE_NS;
	char data[4096];
	int status;

	for (;;) {
		bool ended = waitpid(c->pid, &status, WNOHANG) == c->pid;
		ssize_t n;

		while (c->out >= 0 && (n = read(c->out, data, sizeof(data))) > 0)
			ASSERT_OK(buf_append(&c->text, data, (size_t)n));
		if (wanted && strstr(buf_string(&c->text), wanted))
			return 0;
		if (ended && wanted)
			fail_msg("ended without '%s': %s", wanted, buf_string(&c->text));
		if (ended)
			return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
		if (clock_now().mono_ns > end_ns) {
			(void)kill(c->pid, SIGKILL);
			fail_msg("waiting for '%s': %s", wanted, buf_string(&c->text));
		}
		ASSERT_OK(sd_event_run(f->loop, 5000));
	}
}

static void child_done(struct child *c)
{
	c->out = fd_close(c->out);
	buf_done(&c->text);
}

static void expect(struct fixture *f, const char *line, int code, const char *text)
{
	CLEAN(child_done) struct child c;
	int got;

	start(f, line, &c);
	got = watch(f, &c, NULL);
	if (got != code || !strstr(buf_string(&c.text), text))
		fail_msg("%s: %d, expected %d and '%s': %s", line, got, code, text,
			buf_string(&c.text));
}

static void exit_codes(void **state)
{
	struct fixture *f = *state;

	expect(f, "status", 2, "No agent answers on ");
	expect(f, "pods", 2, "No agent answers on ");
	expect(f, "events", 2, "No agent answers on ");
	expect(f, "events -f", 2, "No agent answers on ");
	expect(f, "version", 0, "No agent answers on ");
	expect(f, "version -o json", 0, "\"agent\":null}\n");
	serve(f, "e1");
	expect(f, "status", 0, "Ready");
	expect(f, "version", 0, "agent " PLEG_VERSION);
	f->status = "{\"node\":{\"ready\":true,\"degraded\":true}}";
	expect(f, "status", 0, "Ready, degraded");
	f->status = "{\"node\":{\"ready\":false}}";
	expect(f, "status", 1, "NOT READY");
	expect(f, "status -o json", 1, "{\"node\":{\"ready\":false}}\n");
	f->status = "{}";
	expect(f, "status", 1, "NOT READY");
	expect(f, "status -x", 2, "Unknown option -x");
	expect(f, "stats", 2, "did you mean 'status'?");
	expect(f, "help stats", 2, "did you mean 'status'?");
	expect(f, "help events", 0, "--since-sequence N");
	expect(f, "completion", 2, "bash, zsh or fish");
	expect(f, "completion tcsh", 2, "No completion for 'tcsh'");
}

static void pods_are_filtered(void **state)
{
	struct fixture *f = *state;

	serve(f, "e1");
	expect(f, "pods -o json", 0,
		"{\"pods\":[{\"namespace\":\"a\",\"pod\":\"one\",\"statusAgeSeconds\":0.4},"
		"{\"namespace\":\"b\",\"pod\":\"two\"}]}\n");
	expect(f, "pods -o json -n b", 0, "{\"pods\":[{\"namespace\":\"b\",\"pod\":\"two\"}]}\n");
	expect(f, "pods -o json --pod three", 0, "{\"pods\":[]}\n");
	expect(f, "pods --pod three", 0, "No pods");
}

static void events_end_without_follow(void **state)
{
	struct fixture *f = *state;

	serve(f, "e1");
	add_event(f, "a");
	add_event(f, "b");
	expect(f, "events --tail 1 -o json", 0, "{\"epoch\":\"e1\",\"sequence\":2,");
	expect(f, "events --since-sequence 2", 0, "ContainerDied");
	expect(f, "events --kubelet", 0, ".477362 a ContainerDied 0123456789ab\n");
}

static void follower_outlives_its_agent(void **state)
{
	struct fixture *f = *state;
	CLEAN(child_done) struct child c;

	serve(f, "e1");
	add_event(f, "first");
	start(f, "events -f -o json", &c);
	(void)watch(f, &c, "\"pod\":\"first\"");
	add_event(f, "second");
	(void)watch(f, &c, "\"pod\":\"second\"");
	stop_serving(f);
	(void)watch(f, &c, "The agent has gone");
	serve(f, "e2");
	add_event(f, "third");
	(void)watch(f, &c, "The agent was restarted");
	(void)watch(f, &c, "{\"epoch\":\"e2\",\"sequence\":1,");
	add_event(f, "fourth");
	(void)watch(f, &c, "\"pod\":\"fourth\"");
	assert_null(strstr(strstr(buf_string(&c.text), "\"first\"") + 1, "\"first\""));
	/* Nobody reads any more: it ends by itself, also while nothing happens. */
	c.out = fd_close(c.out);
	assert_int_equal(watch(f, &c, NULL), 0);
}

static void missed_events_are_told(void **state)
{
	struct fixture *f = *state;

	serve(f, "e1");
	for (int i = 0; i < 100; i++)
		add_event(f, "p");
	expect(f, "events --since-sequence 1", 0, "# 36 events were missed here\n");
	expect(f, "events --since-sequence 1 -o json", 0, "{\"missed\":36,\"epoch\":\"e1\"}\n");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(exit_codes),
		T(pods_are_filtered),
		T(events_end_without_follow),
		T(follower_outlives_its_agent),
		T(missed_events_are_told),
	};

	if (argc != 2)
		return 77;
	program = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
