/*
 * The commands: what an argument line means, what a mistyped word was meant to be, and the screens,
 * which are compared with the texts under golden/. To accept a new look, run the test with
 * GOLDEN_UPDATE=1 in the environment and read the difference.
 */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"
#include "cli/cli.h"
#include "cli/columns.h"
#include "cli/render.h"

#define GOLDEN_MAX 65536

static json_t *load(const char *name)
{
	json_error_t problem;
	json_t *document = json_load_file(FMT("%s/golden/%s", UNIT_DIR, name), 0, &problem);

	if (!document)
		fail_msg("%s: line %d: %s", name, problem.line, problem.text);
	return document;
}

static void check_golden(const char *name, struct buf *out)
{
	CLEAN(mem_freep) char *text = NULL;
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/golden/%s", UNIT_DIR, name);
	if (getenv("GOLDEN_UPDATE")) {
		FILE *file = fopen(path, "we");

		assert_non_null(file);
		(void)fwrite(out->data, 1, out->len, file);
		(void)fclose(file);
	}
	ASSERT_OK(fd_read_file(path, GOLDEN_MAX, &text, NULL));
	if (!str_eq(text, buf_string(out)))
		fail_msg("%s: got\n%s\nexpected\n%s", name, buf_string(out), text);
}

static size_t widest_line(struct buf *out)
{
	size_t widest = 0, width = 0;

	for (size_t i = 0; i < out->len; i++) {
		width = out->data[i] == '\n' ? 0 : width + 1;
		widest = width > widest ? width : widest;
	}
	return widest;
}

static struct looks looks_at(unsigned width, bool color)
{
	struct looks looks = { .width = width, .color = color };

	ASSERT_OK(time_parse_rfc3339("2026-11-23T15:30:00Z", &looks.now_ns));
	return looks;
}

/* ---- screens ----------------------------------------------------------------------------- */

static void doctor_screens(void **state)
{
	static const struct {
		const char *golden;
		unsigned width;
		bool color;
	} rows[] = {
		{ "doctor.txt", 0, false },
		{ "doctor-60.txt", 60, false },
		{ "doctor-color.txt", 100, true },
	};
	CLEAN(buf_done) struct buf empty = BUF_INIT(GOLDEN_MAX);
	json_t *document = load("doctor.json");
	struct looks looks = looks_at(80, false);

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		CLEAN(buf_done) struct buf out = BUF_INIT(GOLDEN_MAX);

		looks = looks_at(rows[i].width, rows[i].color);
		ASSERT_OK(render_doctor(document, &looks, &out));
		check_golden(rows[i].golden, &out);
		/* A command is one line, whatever the width, and no byte of a document is obeyed. */
		assert_non_null(
			strstr(buf_string(&out), "echo 1 > /sys/fs/fuse/connections/39/abort"));
		assert_null(strstr(buf_string(&out), "1\033[31m"));
	}
	json_decref(document);

	document = json_loads("{\"findings\":[],\"gaps\":[]}", 0, NULL);
	ASSERT_OK(render_doctor(document, &looks, &empty));
	assert_non_null(strstr(buf_string(&empty), "Nothing found"));
	json_decref(document);
}

static void goroutines_screen(void **state)
{
	static const char dumps[] =
		"{'findings':[],'gaps':[],'goroutines':["
		"{'process':'dockerd','pid':7,'asked':true,'message':null,'source':'/run/d/x.log',"
		"'total':45,'onLock':3,'groups':[{'reason':'semacquire','count':3,"
		"'longestMinutes':12,'frames':['a.b/c.D','e','f','g']},{'reason':'select',"
		"'count':1,'longestMinutes':0,'frames':[]}]},"
		"{'process':'containerd','pid':8,'asked':false,'message':'not asked: it is "
		"\\u001b[31mstopped','total':null,'groups':[]}]}";
	CLEAN(buf_done) struct buf out = BUF_INIT(GOLDEN_MAX), none = BUF_INIT(GOLDEN_MAX);
	const struct looks looks = looks_at(80, false);
	char text[sizeof(dumps)];
	json_t *document;

	(void)state;
	for (size_t i = 0; i < sizeof(dumps); i++)
		text[i] = dumps[i] == '\'' ? '"' : dumps[i];
	document = json_loads(text, 0, NULL);
	ASSERT_OK(render_doctor(document, &looks, &out));
	json_decref(document);
	assert_non_null(strstr(buf_string(&out),
		"Goroutines\n"
		"  dockerd (pid 7): 45 goroutines, 3 of them wait for a lock (/run/d/x.log)\n"
		"    - 3 in semacquire for up to 12 min: a.b/c.D < e < f\n"
		"    - 1 in select\n"
		"  containerd (pid 8): not asked: it is ?[31mstopped\n"));
	document = json_loads("{\"findings\":[],\"gaps\":[],\"goroutines\":[]}", 0, NULL);
	ASSERT_OK(render_doctor(document, &looks, &none));
	json_decref(document);
	assert_non_null(strstr(buf_string(&none), "no containerd, dockerd or shim was found"));
}

/* One that is over lasted until it ended, and its commands are not for now. */
static void an_incident_that_is_over(void **state)
{
	static const char text[] =
		"{\"id\":\"abcd1234\",\"cause\":\"ShimStopped\",\"subject\":\"demo/web\","
		"\"state\":\"closed\",\"openedAt\":\"2026-11-23T15:00:00Z\","
		"\"closedAt\":\"2026-11-23T15:00:16Z\",\"document\":{\"finding\":{"
		"\"cause\":\"ShimStopped\",\"severity\":\"critical\",\"confidence\":\"proven\","
		"\"since\":\"2026-11-23T15:00:00Z\",\"summary\":\"It is stopped\"},"
		"\"changes\":[],\"closedBecause\":\"not seen any more\"}}";
	const struct looks looks = looks_at(0, false);
	CLEAN(buf_done) struct buf out = BUF_INIT(GOLDEN_MAX);
	json_t *incident = json_loads(text, 0, NULL);

	(void)state;
	assert_non_null(incident);
	ASSERT_OK(render_incident(incident, &looks, true, &out));
	assert_non_null(strstr(buf_string(&out), "critical, proven, for 16s\n"));
	assert_non_null(strstr(buf_string(&out), "It is over"));
	buf_clear(&out);
	json_object_set_new(incident, "closedAt", json_null());
	ASSERT_OK(render_incident(incident, &looks, true, &out));
	assert_non_null(strstr(buf_string(&out), "for 30m00s\n"));
	assert_null(strstr(buf_string(&out), "It is over"));
	json_decref(incident);
}

static void status_screens(void **state)
{
	static const struct {
		const char *document, *golden;
		unsigned width;
		bool color;
	} rows[] = {
		{ "status-ready.json", "status-ready.txt", 0, false },
		{ "status-ready.json", "status-ready-color.txt", 80, true },
		{ "status-not-ready.json", "status-not-ready.txt", 200, false },
		{ "status-not-ready.json", "status-not-ready-60.txt", 60, false },
		{ "status-empty.json", "status-empty.txt", 0, false },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		CLEAN(buf_done) struct buf out = BUF_INIT(GOLDEN_MAX);
		const struct looks looks = looks_at(rows[i].width, rows[i].color);
		json_t *document = load(rows[i].document);

		ASSERT_OK(render_status(document, &looks, &out));
		check_golden(rows[i].golden, &out);
		assert_true(rows[i].color || widest_line(&out) <= 80);
		json_decref(document);
	}
}

static void pods_tables(void **state)
{
	static const struct {
		const char *document, *golden;
		unsigned width;
		bool all, color;
	} rows[] = {
		{ "pods.json", "pods.txt", 0, false, false },
		{ "pods.json", "pods-80.txt", 80, false, false },
		{ "pods.json", "pods-all.txt", 0, true, false },
		{ "pods.json", "pods-color.txt", 80, false, true },
		{ "pods-api.json", "pods-api.txt", 0, false, false },
		{ "pods-api.json", "pods-api-80.txt", 80, false, false },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		CLEAN(buf_done) struct buf out = BUF_INIT(GOLDEN_MAX);
		const struct looks looks = looks_at(rows[i].width, rows[i].color);
		json_t *document = load(rows[i].document);

		ASSERT_OK(render_pods(document, &looks, rows[i].all, &out));
		check_golden(rows[i].golden, &out);
		assert_true(rows[i].width == 0 || rows[i].color || widest_line(&out) <= 80);
		json_decref(document);
	}
}

static void event_lines(void **state)
{
	CLEAN(buf_done) struct buf people = BUF_INIT(GOLDEN_MAX);
	CLEAN(buf_done) struct buf kubelet = BUF_INIT(GOLDEN_MAX);
	const struct looks looks = looks_at(0, false);
	json_t *events = load("events.json"), *event;
	size_t i;

	(void)state;
	json_array_foreach (events, i, event) {
		ASSERT_OK(render_event(event, &looks, &people));
		ASSERT_OK(render_event_kubelet(event, &kubelet));
	}
	check_golden("events.txt", &people);
	check_golden("events-kubelet.txt", &kubelet);
	json_decref(events);
}

static void pages_report_their_limit(void **state)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(100);
	const struct looks looks = looks_at(0, false);
	json_t *document = load("status-ready.json");

	(void)state;
	ASSERT_ERR(render_status(document, &looks, &out), EMSGSIZE);
	json_decref(document);
}

static void cut_in_the_middle(void **state)
{
	static const struct {
		const char *text;
		size_t width;
		const char *cut;
	} rows[] = {
		{ "coredns", 7, "coredns" },
		{ "coredns-8kx2v", 8, "cor..x2v" },
		{ "coredns-8kx2v", 9, "core..x2v" },
		{ "\303\244\303\266\303\274\303\244\303\266\303\274", 5,
			"\303\244\303\266..\303\274" },
		{ "abcdef", 3, "abc" },
		{ "", 5, "" },
	};
	char out[PAGE_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++)
		assert_string_equal(columns_cut(out, rows[i].text, rows[i].width), rows[i].cut);
}

static void seconds(void **state)
{
	static const struct {
		double seconds;
		const char *text;
	} rows[] = { { -1, "-" }, { 0, "0ms" }, { 0.0001, "0.1ms" }, { 0.0123, "12.3ms" },
		{ 0.4, "0.4s" }, { 4.1, "4.1s" }, { 5, "5s" }, { 192.5, "3m12s" },
		{ 1e300, "11574d01h" } };
	char out[SECONDS_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++)
		assert_string_equal(seconds_text(out, rows[i].seconds), rows[i].text);
}

/* ---- words ------------------------------------------------------------------------------- */

static void nearest_word(void **state)
{
	static const char *const commands[] = { "status", "pods", "events", "agent", "version",
		"completion", "help" };
	static const struct {
		const char *word, *nearest;
	} rows[] = {
		{ "statsu", "status" },
		{ "stat", "status" },
		{ "staus", "status" },
		{ "evnts", "events" },
		{ "pod", "pods" },
		{ "podz", "pods" },
		{ "verison", "version" },
		{ "comp", "completion" },
		{ "hlep", "help" },
		{ "deploy", NULL },
		{ "x", NULL },
		{ "", NULL },
		{ "status-of-the-whole-cluster-and-more", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		const char *nearest = cli_nearest(rows[i].word, commands, ELEMENTS(commands));

		if (!str_eq(str_or_empty(nearest), str_or_empty(rows[i].nearest)))
			fail_msg("%s: %s", rows[i].word, str_or_empty(nearest));
	}
}

/* ---- argument lines ---------------------------------------------------------------------- */

struct arguments {
	const char *text, *choice;
	uint64_t number;
	bool flag;
};

static const struct cli_option options[] = {
	{ .name = "text",
		.letter = 't',
		.argument = "T",
		.help = "-",
		.type = CLI_TEXT,
		.offset = offsetof(struct arguments, text) },
	{ .name = "number",
		.argument = "N",
		.help = "-",
		.type = CLI_NUMBER,
		.offset = offsetof(struct arguments, number) },
	{ .name = "choice",
		.argument = "C",
		.help = "-",
		.choices = "one two",
		.type = CLI_CHOICE,
		.offset = offsetof(struct arguments, choice) },
	{ .name = "flag",
		.letter = 'f',
		.help = "-",
		.type = CLI_FLAG,
		.offset = offsetof(struct arguments, flag) },
	{ 0 },
};

static const struct cli_command command = {
	.name = "test",
	.synopsis = "",
	.description = "-",
	.exit_codes = "",
	.example = "",
	.options = options,
};

#define ARGUMENTS_MAX 16

struct parsed {
	struct cli cli;
	struct arguments arguments;
	char line[256];
	int r;
};

/* Words separated by blanks, the verb first. What it complains of goes to *ret_error. */
static void parse(
	const struct cli_command *c, const char *line, struct parsed *ret, char error[512])
{
	char *argv[ARGUMENTS_MAX + 1] = { 0 }, *save = NULL;
	int argc = 0, saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	int fd = memfd_create("stderr", MFD_CLOEXEC);
	ssize_t n;

	*ret = (struct parsed){ .cli.output = "text", .arguments.number = 77 };
	(void)snprintf(ret->line, sizeof(ret->line), "%s", line);
	for (char *word = strtok_r(ret->line, " ", &save); word; word = strtok_r(NULL, " ", &save))
		argv[argc++] = word;
	assert_true(argc <= ARGUMENTS_MAX);
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	ret->r = cli_parse(&ret->cli, c, argc, argv, &ret->arguments);
	(void)fflush(stderr);
	assert_int_equal(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	n = pread(fd, error, 511, 0);
	error[n > 0 ? n : 0] = '\0';
	(void)fd_close(fd);
	(void)fd_close(saved);
}

static void good_lines(void **state)
{
	char error[512];
	struct parsed p;

	(void)state;
	parse(&command, "test", &p, error);
	assert_int_equal(p.r, 1);
	assert_int_equal(p.arguments.number, 77);
	assert_false(p.arguments.flag || p.cli.json);
	parse(&command, "test -t a --number=5 --choice two -f -o json --socket /s", &p, error);
	assert_int_equal(p.r, 11);
	assert_string_equal(p.arguments.text, "a");
	assert_string_equal(p.arguments.choice, "two");
	assert_string_equal(p.cli.socket_path, "/s");
	assert_int_equal(p.arguments.number, 5);
	assert_true(p.arguments.flag && p.cli.json);
	parse(&command, "test -ft a", &p, error);
	assert_true(p.arguments.flag);
	assert_string_equal(p.arguments.text, "a");
	/* Before the verb the scan ends at the verb, so that its options are left for it. */
	parse(NULL, "pleg --no-color events -f", &p, error);
	assert_int_equal(p.r, 2);
	assert_true(p.cli.no_color);
	assert_string_equal(error, "");
}

static void bad_lines(void **state)
{
	static const struct {
		const char *line, *error;
	} rows[] = {
		{ "test --flga", "Unknown option --flga; did you mean --flag?" },
		{ "test --nubmer=5", "Unknown option --nubmer=5; did you mean --number?" },
		{ "test --xyzzy", "Unknown option --xyzzy\n" },
		{ "test -x", "Unknown option -x\n" },
		{ "test -fx", "Unknown option -x\n" },
		{ "test --flag=1", "--flag takes no value" },
		{ "test --number", "--number needs a value" },
		{ "test -t", "-t needs a value" },
		{ "test --number -1", "--number takes a whole number, not '-1'" },
		{ "test --number 5x", "not '5x'" },
		{ "test --number 99999999999999999999", "takes a whole number" },
		{ "test --choice on", "--choice takes one of one two, not 'on'" },
		{ "test --text=", "--text takes a value that is not empty" },
		{ "test word", "'pleg test' takes no 'word'" },
		{ "test -o yaml", "--output takes one of text json" },
		{ "test --\033[31m", "Unknown option --?[31m" },
	};
	char error[512];
	struct parsed p;

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		parse(&command, rows[i].line, &p, error);
		assert_int_equal(p.r, CLI_END(CLI_USAGE));
		if (!strstr(error, rows[i].error) || !strstr(error, "Try 'pleg test --help'"))
			fail_msg("%s: %s", rows[i].line, error);
	}
}

/* ---- help and completion ----------------------------------------------------------------- */

/* The usage error goes to stderr; the system tests read it there. */
static void since(void **state)
{
	int64_t ns = 0, now_ns = clock_now().real_ns;

	(void)state;
	ASSERT_OK(cli_since(&cmd_events, "2h", &ns));
	assert_in_range(ns, now_ns - 7200 * (int64_t)NSEC_PER_SEC, clock_now().real_ns);
	ASSERT_OK(cli_since(&cmd_events, "100000d", &ns)); /* older than the clock */
	assert_int_equal(ns, 1);
	ASSERT_OK(cli_since(&cmd_incidents, "1970-01-01T00:00:05Z", &ns));
	assert_int_equal(ns, 5 * NSEC_PER_SEC);
	assert_int_equal(cli_since(&cmd_incidents, "1970-01-01T00:00:00Z", &ns), CLI_USAGE);
	assert_int_equal(cli_since(&cmd_incidents, "yesterday", &ns), CLI_USAGE);
}

static void help_of_every_command(void **state)
{
	(void)state;
	for (size_t i = 0; cli_commands[i]; i++) {
		CLEAN(buf_done) struct buf out = BUF_INIT(65536);

		ASSERT_OK(cli_help_command(cli_commands[i], &out));
		if (widest_line(&out) > 80)
			fail_msg("%s is too wide:\n%s", cli_commands[i]->name, buf_string(&out));
		for (const struct cli_option *o = cli_commands[i]->options; o && o->name; o++)
			assert_non_null(strstr(buf_string(&out), FMT("--%s", o->name)));
		assert_non_null(strstr(buf_string(&out), "--socket PATH"));
		assert_non_null(strstr(buf_string(&out), "Exit status:"));
		assert_non_null(strstr(cmd_help.operands, cli_commands[i]->name));
	}
}

static void completion_names_all(void **state)
{
	static const char *const shells[] = { "bash", "zsh", "fish" };

	(void)state;
	for (size_t s = 0; s < ELEMENTS(shells); s++) {
		CLEAN(buf_done) struct buf out = BUF_INIT(1u << 20);

		ASSERT_OK(cli_completion(shells[s], &out));
		for (size_t i = 0; cli_commands[i]; i++) {
			assert_non_null(strstr(buf_string(&out), cli_commands[i]->name));
			for (const struct cli_option *o = cli_commands[i]->options; o && o->name;
				o++)
				assert_non_null(strstr(buf_string(&out), o->name));
		}
	}
	ASSERT_ERR(cli_completion("tcsh", &(struct buf){ 0 }), EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(status_screens),
		cmocka_unit_test(doctor_screens),
		cmocka_unit_test(goroutines_screen),
		cmocka_unit_test(pods_tables),
		cmocka_unit_test(event_lines),
		cmocka_unit_test(pages_report_their_limit),
		cmocka_unit_test(cut_in_the_middle),
		cmocka_unit_test(seconds),
		cmocka_unit_test(nearest_word),
		cmocka_unit_test(good_lines),
		cmocka_unit_test(bad_lines),
		cmocka_unit_test(since),
		cmocka_unit_test(an_incident_that_is_over),
		cmocka_unit_test(help_of_every_command),
		cmocka_unit_test(completion_names_all),
	};

	(void)setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
