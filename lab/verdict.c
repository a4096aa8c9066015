/*
 * pleg-verdict: samples of this node, each judged, without an agent and without a command line around
 * it: what the doctor's two halves make of a node, for the lab and its tests.
 *
 *	pleg-verdict [--runtime ENDPOINT] [--probe FILE] [--samples N] [--pause MILLISECONDS]
 *
 * One line of JSON per sample: {"at":...,"tookSeconds":N,"findings":[FINDING]}. All samples share one
 * memory, so what is suspected in the first may be proven in a later one.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <sys/socket.h>

#include <systemd/sd-event.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "doctor/rules/rules.h"
#include "model/finding-json.h"
#include "sampler.h"

#define LINE_BYTES_MAX (16u << 20)

struct tool {
	struct sampler on;
	sd_event_source *timer;
	struct rules_memory *memory;
	uint64_t samples, pause_ms;
	uint64_t began_ns;
};

static void on_done(void *userdata, struct evidence *e);

static int begin(struct tool *t)
{
	t->began_ns = clock_now().mono_ns;
	return collect_start(t->on.collect, NULL, on_done, t);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	int r = begin(userdata);

	return r < 0 ? sd_event_exit(((struct tool *)userdata)->on.loop, r) : 0;
}

static int tell(struct tool *t, const struct evidence *e, const struct findings *findings)
{
	CLEAN(buf_done) struct buf line = BUF_INIT(LINE_BYTES_MAX);
	struct json_write w = JSON_WRITE_INIT(&line);
	int r;

	json_write_object(&w, NULL);
	json_write_time(&w, "at", e->at_ns);
	json_write_seconds(&w, "tookSeconds", clock_now().mono_ns - t->began_ns);
	findings_json_write(&w, "findings", findings);
	json_write_object_end(&w);
	r = json_write_result(&w);
	if (r < 0)
		return r;
	(void)printf("%.*s\n", (int)line.len, line.data);
	return fflush(stdout) == 0 ? 0 : -EIO;
}

static void on_done(void *userdata, struct evidence *e)
{
	struct tool *t = userdata;
	CLEAN(findings_freep) struct findings *findings = findings_new();
	int r = findings ? doctor_judge(NULL, e, t->memory, findings) : -ENOMEM;

	if (r >= 0)
		r = tell(t, e, findings);
	(void)evidence_free(e);
	if (r < 0 || --t->samples == 0) {
		(void)sd_event_exit(t->on.loop, r);
		return;
	}
	(void)sd_event_source_set_time_relative(t->timer, t->pause_ms * 1000);
	(void)sd_event_source_set_enabled(t->timer, SD_EVENT_ONESHOT);
}

static int parse(int argc, char **argv, struct tool *t, const char **endpoint, const char **probe)
{
	static const struct option options[] = { { "runtime", required_argument, NULL, 'r' },
		{ "probe", required_argument, NULL, 'p' },
		{ "samples", required_argument, NULL, 'n' },
		{ "pause", required_argument, NULL, 'm' }, { 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (c == 'r')
			*endpoint = optarg;
		else if (c == 'p')
			*probe = optarg;
		else if (c != 'n' && c != 'm')
			return -EINVAL;
		else if (str_to_u64(optarg, c == 'n' ? &t->samples : &t->pause_ms) < 0)
			return -EINVAL;
	return t->samples > 0 ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	struct tool t = { .samples = 1, .pause_ms = 2000, .memory = rules_memory_new() };
	const char *endpoint = NULL, *probe = NULL;
	struct err err = { 0 };
	int r = parse(argc, argv, &t, &endpoint, &probe);

	if (r < 0) {
		(void)fputs("usage: pleg-verdict [--runtime ENDPOINT] [--probe FILE] [--samples N] "
			    "[--pause MILLISECONDS]\n",
			stderr);
		return 2;
	}
	r = sampler_init(&t.on, endpoint, probe, &err);
	if (r >= 0 && !t.memory)
		r = -ENOMEM;
	if (r >= 0)
		r = sd_event_add_time_relative(
			t.on.loop, &t.timer, CLOCK_MONOTONIC, 0, 1, on_timer, &t);
	if (r >= 0)
		r = sd_event_loop(t.on.loop);
	if (r < 0)
		(void)fprintf(stderr, "pleg-verdict: %s\n", err_text(&err, r));
	t.timer = sd_event_source_disable_unref(t.timer);
	sampler_done(&t.on);
	t.memory = rules_memory_free(t.memory);
	return r < 0 ? 1 : 0;
}
