/*
 * pleg-sim: runs histories, each from its own seed, in one or more processes; on the first that
 * breaks a rule it takes operations away while the same rule stays broken, and prints what is left,
 * the trace and the command that replays it.
 *
 *	pleg-sim [--seed N] [--histories N] [--steps N] [--jobs N] [--only LIST] [--shrink=no]
 *		[--verbose] [--no-coverage] [--[no-]scenarios] | --hours N
 *
 * History i of a run has the seed that --seed N + i gives. A step is an operation; every one brings
 * several inputs (answers, ticks) with it, which the summary counts.
 */
#include "sim.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

#define JOBS_MAX  64
#define STEPS_MAX 100000

struct arguments {
	uint64_t seed, histories, steps, jobs;
	bool verbose, shrink, coverage, scenarios;
	const char *only;
};

/* What a job tells the driver. */
struct report {
	uint64_t coverage[COVER_COUNT];
	uint64_t histories, steps, inputs;
	bool failed;
	uint64_t failed_index; /* history of the run */
	char rule[48];
};

static const char *const coverage_texts[] = {
#define X(name, text) [COVER_##name] = text,
	SIM_COVERAGE(X)
#undef X
};

static uint64_t history_seed(uint64_t seed, uint64_t index)
{
	return rng_mix(seed + index * UINT64_C(0x9e3779b97f4a7c15) + 1);
}

/* ---- one history -------------------------------------------------------------------------------- */

struct shrinker {
	struct sim *sim;
	uint64_t seed;
	const struct sim_op *ops;
	size_t count;
	char rule[48];
	uint64_t runs;
};

static bool still_fails(struct shrinker *s, const bool *keep)
{
	s->runs++;
	return !sim_run(s->sim, s->seed, s->ops, s->count, keep) &&
		strcmp(s->sim->rule, s->rule) == 0;
}

/* Delta debugging: pieces of the list go while the same rule stays broken, in ever smaller pieces. */
static void shrink(struct shrinker *s, bool *keep)
{
	bool *trial = mem_array(s->count, sizeof(bool));

	for (size_t size = s->count / 2; trial && size > 0; size = size > 1 ? size / 2 : 0) {
		bool again = true;

		while (again) {
			again = false;
			for (size_t at = 0; at < s->count; at += size) {
				size_t end = at + size < s->count ? at + size : s->count;
				bool any = false;

				memcpy(trial, keep, s->count);
				for (size_t i = at; i < end; i++) {
					any |= trial[i];
					trial[i] = false;
				}
				if (!any || !still_fails(s, trial))
					continue;
				memcpy(keep, trial, s->count);
				again = size == 1;
			}
		}
	}
	(void)mem_free(trial);
}

static void print_only(const bool *keep, size_t count)
{
	const char *comma = "";

	for (size_t i = 0; i < count; i++) {
		size_t end = i;

		if (!keep[i])
			continue;
		while (end + 1 < count && keep[end + 1])
			end++;
		if (end > i)
			(void)printf("%s%zu-%zu", comma, i, end);
		else
			(void)printf("%s%zu", comma, i);
		comma = ",";
		i = end;
	}
}

/* "3,7-9" into keep; false if it is not that. */
static bool parse_only(const char *text, bool *keep, size_t count)
{
	while (*text) {
		char *end;
		unsigned long from = strtoul(text, &end, 10), to = from; /* a test's own argument */

		if (*end == '-')
			to = strtoul(end + 1, &end, 10);
		if (to >= count || from > to || (*end && *end != ','))
			return false;
		for (unsigned long i = from; i <= to; i++)
			keep[i] = true;
		text = *end ? end + 1 : end;
	}
	return true;
}

static void explain(struct sim *sim, const struct arguments *arguments, uint64_t index,
	const struct sim_op *ops)
{
	struct shrinker s = { .sim = sim,
		.seed = history_seed(arguments->seed, index),
		.ops = ops,
		.count = arguments->steps };
	bool *keep = mem_array(s.count + 1, sizeof(bool));

	if (!keep)
		return;
	memset(keep, 1, s.count);
	if (arguments->only) {
		memset(keep, 0, s.count);
		(void)parse_only(arguments->only, keep, s.count);
	}
	(void)snprintf(s.rule, sizeof(s.rule), "%s", sim->rule);
	(void)printf("\nBROKEN %s: %s\n", sim->rule, sim->why);
	if (arguments->shrink && !arguments->only)
		shrink(&s, keep);
	(void)printf("\nTrace (history %llu of seed %llu, shrunk in %llu runs):\n",
		(unsigned long long)index, (unsigned long long)arguments->seed,
		(unsigned long long)s.runs);
	sim->verbose = true;
	(void)sim_run(sim, s.seed, ops, s.count, keep);
	sim->verbose = false;
	(void)printf(
		"\nBROKEN %s: %s\nReplay: pleg-sim --seed %llu --histories 1 --steps %llu --only ",
		sim->rule, sim->why, (unsigned long long)(arguments->seed),
		(unsigned long long)s.count);
	print_only(keep, s.count);
	(void)printf(" --index %llu\n", (unsigned long long)index);
	(void)mem_free(keep);
}

/* Histories first, first + stride, ... below `end`. */
static void run_job(const struct arguments *arguments, uint64_t first, uint64_t stride,
	uint64_t end, struct report *report)
{
	struct sim *sim = sim_new(report->coverage);
	struct sim_op *ops = mem_array(arguments->steps, sizeof(*ops));
	bool *keep = mem_array(arguments->steps + 1, sizeof(bool));

	if (!sim || !ops || !keep)
		abort();
	if (arguments->only && !parse_only(arguments->only, keep, arguments->steps)) {
		(void)fprintf(stderr, "pleg-sim: --only takes numbers below --steps\n");
		exit(2);
	}
	sim->verbose = arguments->verbose;
	for (uint64_t i = first; i < end && !report->failed; i += stride) {
		uint64_t seed = history_seed(arguments->seed, i);

		sim_make_ops(seed, ops, arguments->steps);
		if (!sim_run(sim, seed, ops, arguments->steps, arguments->only ? keep : NULL)) {
			report->failed = true;
			report->failed_index = i;
			memcpy(report->rule, sim->rule, sizeof(report->rule));
		}
		report->histories++;
		report->steps += arguments->steps;
		report->inputs += sim->steps;
	}
	if (report->failed && !arguments->verbose)
		explain(sim, arguments, report->failed_index, ops);
	(void)mem_free(keep);
	(void)mem_free(ops);
	sim_free(sim);
}

/* ---- jobs -------------------------------------------------------------------------------------------- */

static bool read_all(int fd, void *data, size_t len)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = read(fd, (char *)data + got, len - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	return true;
}

static void add_report(struct report *sum, const struct report *one)
{
	for (int i = 0; i < COVER_COUNT; i++)
		sum->coverage[i] += one->coverage[i];
	sum->histories += one->histories;
	sum->steps += one->steps;
	sum->inputs += one->inputs;
	if (one->failed && (!sum->failed || one->failed_index < sum->failed_index)) {
		sum->failed = true;
		sum->failed_index = one->failed_index;
		memcpy(sum->rule, one->rule, sizeof(sum->rule));
	}
}

static void run_jobs(
	const struct arguments *arguments, uint64_t first, uint64_t end, struct report *sum)
{
	int fds[JOBS_MAX] = { 0 };
	pid_t children[JOBS_MAX];

	(void)fflush(stdout);
	for (uint64_t job = 0; job < arguments->jobs; job++) {
		int pair[2];

		if (pipe(pair) < 0)
			abort();
		children[job] = fork();
		if (children[job] < 0)
			abort();
		if (children[job] == 0) {
			static struct report report;

			run_job(arguments, first + job, arguments->jobs, end, &report);
			(void)fflush(stdout);
			_exit(write(pair[1], &report, sizeof(report)) == sizeof(report) ? 0 : 3);
		}
		(void)close(pair[1]);
		fds[job] = pair[0];
	}
	for (uint64_t job = 0; job < arguments->jobs; job++) {
		struct report report = { 0 };
		int status;

		if (!read_all(fds[job], &report, sizeof(report))) {
			report = (struct report){
				.failed = true, .failed_index = job, .rule = "crash"
			};
			(void)printf("\nBROKEN crash: job %llu of %llu died\n",
				(unsigned long long)job, (unsigned long long)arguments->jobs);
		}
		add_report(sum, &report);
		(void)close(fds[job]);
		(void)waitpid(children[job], &status, 0);
	}
}

static bool run_scenarios(struct report *report, bool verbose)
{
	for (size_t i = 0; i < sim_scenario_count; i++) {
		struct sim *sim = sim_new(report->coverage);
		bool ok;

		if (!sim)
			abort();
		sim->verbose = verbose;
		ok = sim_scenarios[i].run(sim);
		sim_end(sim);
		(void)printf("scenario %-24s %s %8llu inputs\n", sim_scenarios[i].name,
			ok ? "ok    " : "BROKEN", (unsigned long long)sim->steps);
		if (!ok) {
			(void)printf("BROKEN %s: %s\n", sim->rule, sim->why);
			report->failed = true;
			(void)snprintf(report->rule, sizeof(report->rule), "%s", sim->rule);
		}
		sim_free(sim);
		if (!ok)
			return false;
	}
	return true;
}

/* Days of one agent, instead of histories. */
static int run_hours(uint32_t hours)
{
	static uint64_t coverage[COVER_COUNT];
	struct sim *sim = sim_new(coverage);
	bool ok = sim && sim_hours(sim, hours);

	if (sim && !ok)
		(void)printf("BROKEN %s: %s\n", sim->rule, sim->why);
	(void)printf("%s\n", ok ? "ok" : "FAILED");
	if (sim)
		sim_end(sim);
	(void)sim_free(sim);
	return ok ? 0 : 1;
}

/* ---- the command line ----------------------------------------------------------------------------------- */

static bool print_coverage(const struct report *report)
{
	bool complete = true;

	(void)printf("\n%14s  covered\n", "count");
	for (int i = 0; i < COVER_COUNT; i++) {
		(void)printf("%14llu  %s%s\n", (unsigned long long)report->coverage[i],
			coverage_texts[i], report->coverage[i] ? "" : "   <-- NEVER");
		complete &= report->coverage[i] > 0;
	}
	return complete;
}

static uint64_t number(const char *text, uint64_t min, uint64_t max)
{
	uint64_t n;

	if (str_to_u64(text, &n) < 0 || n < min || n > max) {
		(void)fprintf(stderr, "pleg-sim: '%s' is not a number from %llu to %llu\n", text,
			(unsigned long long)min, (unsigned long long)max);
		exit(2);
	}
	return n;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", required_argument, NULL, 's' },
		{ "histories", required_argument, NULL, 'n' },
		{ "steps", required_argument, NULL, 't' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "only", required_argument, NULL, 'o' },
		{ "index", required_argument, NULL, 'i' },
		{ "shrink", optional_argument, NULL, 'k' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "no-coverage", no_argument, NULL, 'c' },
		{ "no-scenarios", no_argument, NULL, 'C' },
		{ "scenarios", no_argument, NULL, 'S' },
		{ "hours", required_argument, NULL, 'h' },
		{ 0 },
	};
	struct arguments arguments = { .seed = 1,
		.histories = 2000,
		.steps = 200,
		.jobs = 1,
		.shrink = true,
		.coverage = true,
		.scenarios = true };
	static struct report sum;
	bool scenarios_asked = false;
	uint64_t first = 0;
	struct timespec start, end;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's': arguments.seed = number(optarg, 0, UINT64_MAX); break;
		case 'n': arguments.histories = number(optarg, 1, 1000000000); break;
		case 't': arguments.steps = number(optarg, 1, STEPS_MAX); break;
		case 'j': arguments.jobs = number(optarg, 1, JOBS_MAX); break;
		case 'i': first = number(optarg, 0, 1000000000); break;
		case 'o': arguments.only = optarg; break;
		case 'k': arguments.shrink = !optarg || strcmp(optarg, "no") != 0; break;
		case 'v': arguments.verbose = true; break;
		case 'c': arguments.coverage = false; break;
		case 'C': arguments.scenarios = false; break;
		case 'S': scenarios_asked = true; break;
		case 'h': return run_hours((uint32_t)number(optarg, 1, 10000));
		default: return 2;
		}
	}
	if (arguments.only || arguments.histories == 1) {
		arguments.coverage = false;
		arguments.scenarios = scenarios_asked;
		arguments.histories = 1;
	}
	(void)printf("pleg-sim: seed %llu, %llu histories of %llu steps, %llu jobs\n",
		(unsigned long long)arguments.seed, (unsigned long long)arguments.histories,
		(unsigned long long)arguments.steps, (unsigned long long)arguments.jobs);
	(void)clock_gettime(CLOCK_MONOTONIC, &start);
	if (!arguments.scenarios || run_scenarios(&sum, arguments.verbose)) {
		if (arguments.jobs > 1)
			run_jobs(&arguments, first, first + arguments.histories, &sum);
		else
			run_job(&arguments, first, 1, first + arguments.histories, &sum);
	}
	(void)clock_gettime(CLOCK_MONOTONIC, &end);
	double seconds =
		(double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9;

	(void)printf(
		"\n%llu histories, %llu steps, %llu inputs in %.1f s (%.2f us a step, %.2f us an "
		"input)\n",
		(unsigned long long)sum.histories, (unsigned long long)sum.steps,
		(unsigned long long)sum.inputs, seconds,
		sum.steps ? seconds * 1e6 / (double)sum.steps : 0,
		sum.inputs ? seconds * 1e6 / (double)sum.inputs : 0);
	if (sum.failed) {
		(void)printf("FAILED: %s, found after %llu histories\n", sum.rule,
			(unsigned long long)(sum.histories ? sum.failed_index - first + 1 : 0));
		return 1;
	}
	if (arguments.coverage && !print_coverage(&sum)) {
		(void)printf("FAILED: coverage, something was never seen\n");
		return 1;
	}
	(void)printf("ok\n");
	return 0;
}
