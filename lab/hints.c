/*
 * pleg-hints: what a runtime's event stream tells, and containerd's own tasks, from a command line.
 * For the tests and the lab; not installed.
 *
 *	pleg-hints --runtime ENDPOINT [--namespace NS] watch     containerd's own stream
 *	pleg-hints --runtime ENDPOINT cri-watch                  CRI's GetContainerEvents
 *	pleg-hints --runtime ENDPOINT [--namespace NS] tasks     containerd's tasks
 *	pleg-hints --runtime ENDPOINT [--namespace NS] task ID
 *
 * One JSON object per line. A watch goes on until SIGTERM and ends with its statistics.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/mem.h"
#include "runtime/containerd.h"
#include "runtime/cri-events.h"

#define CALL_TIMEOUT_NS (60 * NSEC_PER_SEC)

static const char *arg_runtime, *arg_namespace = CONTAINERD_NAMESPACE_CRI;

static void print_line(json_t *line)
{
	(void)json_dumpf(line, stdout, JSON_COMPACT);
	(void)fputc('\n', stdout);
	(void)fflush(stdout);
	json_decref(line);
}

static json_t *code_json(bool is_known, int32_t code)
{
	return is_known ? json_integer(code) : json_null();
}

static void on_hint(void *userdata, const struct hint *hint)
{
	int64_t received_ns = clock_now().real_ns;

	print_line(json_pack("{s:s, s:s, s:b, s:i, s:o, s:I, s:I, s:I}", "hint",
		hint_type_text(hint->type), "containerID", hint->container_id, "isInit",
		hint->is_init, "pid", (int)hint->pid, "exitCode",
		code_json(hint->has_exit_code, hint->exit_code), "exitedAt",
		(json_int_t)hint->exited_at_ns, "sentAt", (json_int_t)hint->sent_at_ns,
		"receivedAt", (json_int_t)received_ns));
}

static const char *news_text(enum hint_news news)
{
	switch (news) {
	case HINT_STREAM_DOWN: return "down";
	case HINT_STREAM_UP: return "up";
	case HINT_STREAM_GAP: return "gap";
	case HINT_STREAM_ABSENT: return "absent";
	}
	return "invalid";
}

static void on_stream(void *userdata, enum hint_news news, const char *why)
{
	print_line(json_pack("{s:s, s:s}", "stream", news_text(news), "why", why));
}

static const struct hint_callbacks hint_callbacks = {
	.on_hint = on_hint,
	.on_stream = on_stream,
};

static void print_statistics(const struct hint_statistics *s, const char *version)
{
	print_line(json_pack("{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "isUp", s->is_up,
		"opened", (json_int_t)s->opened, "broken", (json_int_t)s->broken, "told",
		(json_int_t)s->told, "duplicates", (json_int_t)s->duplicates, "malformed",
		(json_int_t)s->malformed, "foreign", (json_int_t)s->foreign, "unknown",
		(json_int_t)s->unknown, "oversize", (json_int_t)s->oversize, "version", version));
}

static void on_tasks(void *userdata, const struct containerd_result *result)
{
	struct slice rest = result->tasks;
	struct containerd_task task;

	if (result->outcome != RUNTIME_OK)
		(void)fprintf(stderr, "pleg-hints: %s\n", result->message);
	while (containerd_next_task(&rest, &task))
		print_line(json_pack("{s:s, s:i, s:s, s:o, s:I}", "containerID", task.container_id,
			"pid", (int)task.pid, "status", containerd_status_text(task.status),
			"exitCode", code_json(task.has_exit_code, task.exit_code), "exitedAt",
			(json_int_t)task.exited_at_ns));
	(void)sd_event_exit(userdata, result->outcome == RUNTIME_OK ? 0 : -EIO);
}

static const struct containerd_callbacks task_callbacks = {
	.on_done = on_tasks,
};

static void on_no_hint(void *userdata, const struct hint *hint)
{
}

static void on_no_stream(void *userdata, enum hint_news news, const char *why)
{
}

static const struct hint_callbacks no_hints = {
	.on_hint = on_no_hint,
	.on_stream = on_no_stream,
};

/* ---- commands ------------------------------------------------------------------------------- */

static int watch(sd_event *loop, struct err *reterr)
{
	struct hint_statistics statistics;
	struct containerd *c;
	int r = containerd_open(
		loop, arg_runtime, arg_namespace, &hint_callbacks, NULL, &c, reterr);

	if (r < 0)
		return r;
	r = sd_event_loop(loop);
	containerd_statistics(c, &statistics);
	print_statistics(&statistics, containerd_version(c));
	(void)containerd_free(c);
	return r;
}

static int cri_watch(sd_event *loop, struct err *reterr)
{
	struct hint_statistics statistics;
	struct cri_events *events;
	int r = cri_events_open(loop, arg_runtime, &hint_callbacks, NULL, &events, reterr);

	if (r < 0)
		return r;
	r = sd_event_loop(loop);
	cri_events_statistics(events, &statistics);
	print_statistics(&statistics, "");
	(void)cri_events_free(events);
	return r;
}

static int tasks(sd_event *loop, const char *id, struct err *reterr)
{
	struct containerd *c;
	int r = containerd_open(loop, arg_runtime, arg_namespace, &no_hints, NULL, &c, reterr);

	if (r < 0)
		return r;
	if (id)
		r = containerd_get_task(c, id, &task_callbacks, loop, CALL_TIMEOUT_NS);
	else
		r = containerd_list_tasks(c, &task_callbacks, loop, CALL_TIMEOUT_NS);
	if (r >= 0)
		r = sd_event_loop(loop);
	(void)containerd_free(c);
	return r;
}

static int run(sd_event *loop, int count, char **words, struct err *reterr)
{
	if (count == 1 && str_eq(words[0], "watch"))
		return watch(loop, reterr);
	if (count == 1 && str_eq(words[0], "cri-watch"))
		return cri_watch(loop, reterr);
	if (count == 1 && str_eq(words[0], "tasks"))
		return tasks(loop, NULL, reterr);
	if (count == 2 && str_eq(words[0], "task"))
		return tasks(loop, words[1], reterr);
	return err_set(reterr, -EINVAL,
		"Usage: pleg-hints --runtime ENDPOINT [--namespace NS] "
		"watch|cri-watch|tasks|task ID");
}

static int block_signals(sd_event *loop)
{
	sigset_t set;
	int r;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	r = sd_event_add_signal(loop, NULL, SIGTERM, NULL, NULL);
	return r < 0 ? r : sd_event_add_signal(loop, NULL, SIGINT, NULL, NULL);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "runtime", required_argument, NULL, 'r' },
		{ "namespace", required_argument, NULL, 'n' },
		{ 0 },
	};
	struct err err = { 0 };
	sd_event *loop = NULL;
	int c, r;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'r')
			arg_runtime = optarg;
		else if (c == 'n')
			arg_namespace = optarg;
		else
			return EXIT_FAILURE;
	}
	r = sd_event_new(&loop);
	if (r >= 0)
		r = block_signals(loop);
	if (r >= 0)
		r = arg_runtime ? run(loop, argc - optind, argv + optind, &err)
				: err_set(&err, -EINVAL, "--runtime is missing");
	if (r < 0 && err.text[0] != '\0')
		(void)fprintf(stderr, "pleg-hints: %s\n", err.text);
	(void)sd_event_unref(loop);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
