/*
 * pleg-verdict: samples of this node, each judged, without an agent and without a command line around
 * it: what the doctor's two halves make of a node, for the lab and its tests.
 *
 *	pleg-verdict [--runtime ENDPOINT] [--probe FILE] [--samples N] [--pause MILLISECONDS]
 *	pleg-verdict --rules
 *
 * One line of JSON per sample: {"at":...,"tookSeconds":N,"findings":[FINDING]}. All samples share one
 * memory, so what is suspected in the first may be proven in a later one. --rules prints the table of
 * the rules instead, one line of JSON for each: the lab takes the times to its verdicts from there.
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
	bool only_rules;
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

static int print_line(struct buf *line, struct json_write *w)
{
	int r = json_write_result(w);

	if (r < 0)
		return r;
	(void)printf("%.*s\n", (int)line->len, line->data);
	return fflush(stdout) == 0 ? 0 : -EIO;
}

static int tell(struct tool *t, const struct evidence *e, const struct findings *findings)
{
	CLEAN(buf_done) struct buf line = BUF_INIT(LINE_BYTES_MAX);
	struct json_write w = JSON_WRITE_INIT(&line);

	json_write_object(&w, NULL);
	json_write_time(&w, "at", e->at_ns);
	json_write_seconds(&w, "tookSeconds", clock_now().mono_ns - t->began_ns);
	findings_json_write(&w, "findings", findings);
	json_write_object_end(&w);
	return print_line(&line, &w);
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

static int tell_rule(const struct rule *rule)
{
	CLEAN(buf_done) struct buf line = BUF_INIT(LINE_BYTES_MAX);
	struct json_write w = JSON_WRITE_INIT(&line);

	json_write_object(&w, NULL);
	json_write_text(&w, "cause", cause_text(rule->cause));
	json_write_text(&w, "layer", rule->layer);
	json_write_u64(&w, "samples", rule->samples);
	json_write_seconds(&w, "intervalSeconds", rule->interval_ns);
	json_write_seconds(&w, "heldSeconds", rule->held_ns);
	json_write_seconds(&w, "weakSeconds", rule->weak_ns);
	json_write_seconds(&w, "lateSeconds", rule->late_ns);
	json_write_seconds(&w, "verdictSeconds", rule->verdict_ns);
	json_write_text(&w, "why", rule->why);
	json_write_object_end(&w);
	return print_line(&line, &w);
}

static int tell_rules(void)
{
	int r = 0;

	for (int i = 0; i < CAUSES && r >= 0; i++)
		r = tell_rule(rule_of((enum cause)i));
	return r < 0 ? 1 : 0;
}

static int parse(int argc, char **argv, struct tool *t, const char **endpoint, const char **probe)
{
	static const struct option options[] = { { "runtime", required_argument, NULL, 'r' },
		{ "probe", required_argument, NULL, 'p' },
		{ "samples", required_argument, NULL, 'n' },
		{ "pause", required_argument, NULL, 'm' }, { "rules", no_argument, NULL, 'l' },
		{ 0 } };
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (c == 'r')
			*endpoint = optarg;
		else if (c == 'p')
			*probe = optarg;
		else if (c == 'l')
			t->only_rules = true;
		else if (c != 'n' && c != 'm')
			return -EINVAL;
		else if (str_to_u64(optarg, c == 'n' ? &t->samples : &t->pause_ms) < 0)
			return -EINVAL;
	return t->samples > 0 ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	struct tool t = { .samples = 1, .pause_ms = 2000 };
	const char *endpoint = NULL, *probe = NULL;
	struct err err = { 0 };
	int r = parse(argc, argv, &t, &endpoint, &probe);

	if (r < 0) {
		(void)fputs("usage: pleg-verdict [--runtime ENDPOINT] [--probe FILE] [--samples N] "
			    "[--pause MILLISECONDS]\n"
			    "       pleg-verdict --rules\n",
			stderr);
		return 2;
	}
	if (t.only_rules)
		return tell_rules();
	t.memory = rules_memory_new();
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
