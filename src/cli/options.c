/*
 * Options: from the tables to getopt_long(), and from a mistyped word to the one that was meant.
 */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"

#define OPTIONS_MAX   32
#define LONG_BASE     256 /* getopt's value of the n-th option, beyond every letter */
#define NEAREST_MAX   32  /* longest word that is compared */
#define COMPLAINT_MAX 1024

/* ---- complaints -------------------------------------------------------------------------- */

static void __attribute__((format(printf, 1, 0))) complain(const char *format, va_list ap)
{
	char text[COMPLAINT_MAX], clean[COMPLAINT_MAX];

	(void)vsnprintf(text, sizeof(text), format, ap);
	(void)fprintf(stderr, "pleg: %s\n", str_clean(clean, sizeof(clean), text, strlen(text)));
}

void cli_complain(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	complain(format, ap);
	va_end(ap);
}

int cli_usage_error(const struct cli_command *command, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	complain(format, ap);
	va_end(ap);
	(void)fprintf(stderr, "Try 'pleg %s%s--help'.\n", command ? command->name : "",
		command ? " " : "");
	return CLI_USAGE;
}

int cli_since(const struct cli_command *command, const char *text, int64_t *ret_ns)
{
	int64_t now_ns = clock_now().real_ns;
	uint64_t age_ns;
	char clean[64];

	if (time_parse_age(text, &age_ns) >= 0) {
		*ret_ns = age_ns < (uint64_t)now_ns ? now_ns - (int64_t)age_ns : 1;
		return 0;
	}
	if (time_parse_rfc3339(text, ret_ns) >= 0 && *ret_ns > 0)
		return 0;
	return cli_usage_error(command,
		"--since takes an age such as 30m, 2h or 7d, or a time such as "
		"2026-11-23T15:04:05Z, not '%s'",
		str_clean(clean, sizeof(clean), text, strlen(text)));
}

/* ---- what was meant ---------------------------------------------------------------------- */

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned least = a < b ? a : b;

	return least < c ? least : c;
}

/* Edits from one word to the other, a swap of neighbours being one (optimal string alignment). */
static unsigned distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	unsigned d[NEAREST_MAX + 1][NEAREST_MAX + 1];

	for (size_t i = 0; i <= a_len; i++)
		d[i][0] = (unsigned)i;
	for (size_t j = 0; j <= b_len; j++)
		d[0][j] = (unsigned)j;
	for (size_t i = 1; i <= a_len; i++)
		for (size_t j = 1; j <= b_len; j++) {
			unsigned change = a[i - 1] != b[j - 1];

			d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + change);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
				d[i - 2][j - 2] + 1 < d[i][j])
				d[i][j] = d[i - 2][j - 2] + 1;
		}
	return d[a_len][b_len];
}

const char *cli_nearest(const char *word, const char *const *candidates, size_t count)
{
	size_t len = strlen(word);
	/* A third of the word may be wrong; of one letter, none. */
	unsigned best = (unsigned)(len < 3 ? len / 2 : len / 3 + 1) + 1;
	const char *nearest = NULL;

	if (len == 0 || len > NEAREST_MAX)
		return NULL;
	for (size_t i = 0; i < count; i++) {
		size_t candidate_len = strlen(candidates[i]);
		unsigned edits;

		if (candidate_len > NEAREST_MAX)
			continue;
		edits = len > 1 && str_after(candidates[i], word)
			? 0 /* A beginning is what was typed so far. */
			: distance(word, len, candidates[i], candidate_len);
		if (edits < best) {
			best = edits;
			nearest = candidates[i];
		}
	}
	return nearest;
}

/* ---- parsing ----------------------------------------------------------------------------- */

/* The options of one command line: those of the command, then the global ones. */
struct option_set {
	const struct cli_command *command; /* NULL before the verb */
	const struct cli_option *options[OPTIONS_MAX];
	void *targets[OPTIONS_MAX];
	struct option longs[OPTIONS_MAX + 1];
	char letters[2 * OPTIONS_MAX + 3];
	size_t count;
};

static void set_add(struct option_set *set, const struct cli_option *table, void *target)
{
	size_t at = strlen(set->letters);

	for (; table && table->name && set->count < OPTIONS_MAX; table++) {
		size_t n = set->count++;

		set->options[n] = table;
		set->targets[n] = target;
		set->longs[n] = (struct option){ .name = table->name,
			.has_arg = table->type == CLI_FLAG ? no_argument
				: table->bare              ? optional_argument
							   : required_argument,
			.val = LONG_BASE + (int)n };
		if (table->letter) {
			set->letters[at++] = table->letter;
			if (table->type != CLI_FLAG)
				set->letters[at++] = ':';
		}
	}
}

static bool is_choice(const char *value, const char *choices)
{
	size_t len = strlen(value);

	for (const char *at = choices; *at;) {
		size_t n = strcspn(at, " ");

		if (n == len && memcmp(at, value, len) == 0)
			return true;
		at += n;
		at += strspn(at, " ");
	}
	return false;
}

static int set_value(const struct option_set *set, size_t n, const char *value)
{
	const struct cli_option *o = set->options[n];
	uint8_t *target = (uint8_t *)set->targets[n] + o->offset;
	uint64_t number;

	value = value ? value : o->bare;
	switch (o->type) {
	case CLI_FLAG: memcpy(target, &(bool){ true }, sizeof(bool)); return 0;
	case CLI_NUMBER:
		/* INT64_MAX is what JSON carries. */
		if (str_to_u64(value, &number) < 0 || number > INT64_MAX)
			return cli_usage_error(set->command, "--%s takes a whole number, not '%s'",
				o->name, value);
		memcpy(target, &number, sizeof(number));
		return 0;
	case CLI_CHOICE:
		if (!is_choice(value, o->choices))
			return cli_usage_error(set->command, "--%s takes one of %s, not '%s'",
				o->name, o->choices, value);
		break;
	case CLI_TEXT:
		if (*value == '\0')
			return cli_usage_error(
				set->command, "--%s takes a value that is not empty", o->name);
		break;
	}
	memcpy(target, &value, sizeof(value));
	return 0;
}

/* The option of a getopt value, or count. */
static size_t set_find(const struct option_set *set, int value)
{
	if (value >= LONG_BASE)
		return (size_t)(value - LONG_BASE);
	for (size_t i = 0; i < set->count; i++)
		if (set->options[i]->letter == value)
			return i;
	return set->count;
}

static int bad_option(const struct option_set *set, const char *word, bool lacks_value)
{
	const char *names[OPTIONS_MAX];
	const char *nearest = NULL;
	char name[NEAREST_MAX + 1] = "";

	if (lacks_value)
		return cli_usage_error(set->command, "%s needs a value", word);
	for (size_t i = 0; i < set->count; i++)
		names[i] = set->options[i]->name;
	if (word[0] == '-' && word[1] == '-') {
		size_t len = strcspn(word + 2, "=");

		for (size_t i = 0; i < set->count; i++)
			if (strlen(names[i]) == len && memcmp(word + 2, names[i], len) == 0)
				return cli_usage_error(
					set->command, "--%s takes no value", names[i]);
		if (len <= NEAREST_MAX)
			memcpy(name, word + 2, len);
		nearest = cli_nearest(name, names, set->count);
	}
	if (nearest)
		return cli_usage_error(
			set->command, "Unknown option %s; did you mean --%s?", word, nearest);
	return cli_usage_error(set->command, "Unknown option %s", word);
}

/* 0 and *ret_operand, or an exit code above 0. */
static int set_parse(struct option_set *set, int argc, char **argv, int *ret_operand)
{
	opterr = 0;
	optind = 0; /* glibc: start anew, also in the middle of an earlier scan */
	for (;;) {
		int value = getopt_long(argc, argv, set->letters, set->longs, NULL);
		size_t n;
		int r;

		if (value < 0)
			break;
		if (value == '?' || value == ':') {
			char letter[3] = { '-', (char)optopt, 0 };
			bool is_long = optopt == 0 || optopt >= LONG_BASE;

			return bad_option(set, is_long ? argv[optind - 1] : letter, value == ':');
		}
		n = set_find(set, value);
		if (NEVER(n == set->count))
			return CLI_USAGE;
		r = set_value(set, n, optarg);
		if (r != 0)
			return r;
	}
	*ret_operand = optind;
	return 0;
}

static int no_operand(const struct cli_command *command, const char *word)
{
	return cli_usage_error(command, "'pleg %s' takes no '%s'", command->name, word);
}

/* Before the verb only global options are known, and the scan stops there. */
int cli_parse(
	struct cli *cli, const struct cli_command *command, int argc, char **argv, void *arguments)
{
	struct option_set set = { .command = command };
	CLEAN(buf_done) struct buf help = BUF_INIT(65536);
	int operand = argc, r;

	(void)snprintf(set.letters, sizeof(set.letters), "%s:", command ? "" : "+");
	if (command)
		set_add(&set, command->options, arguments);
	set_add(&set, cli_globals, cli);
	r = set_parse(&set, argc, argv, &operand);
	if (r != 0)
		return CLI_END(r);
	cli_look_around(cli);
	if (cli->help && command) {
		r = cli_help_command(command, &help);
		return CLI_END(cli_finish(&help, r < 0 ? CLI_FAILED : CLI_OK));
	}
	if (command && !command->operands && operand < argc)
		return CLI_END(no_operand(command, argv[operand]));
	return operand;
}
