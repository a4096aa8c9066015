/*
 * pleg events: the stream of lifecycle events, by name of the kubelet's, once each and in order.
 *
 * A follower outlives the agent: it connects again, with a back-off, and goes on behind the last
 * event it has seen; the agent itself knows whether that number is of its own run. With --since it goes
 * on in the journal, from the time of that event; what it has printed of that time already is left out.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/render.h"

#define TAIL_DEFAULT   20
#define RETRY_FIRST_MS 200
#define RETRY_MOST_MS  5000
#define EVENT_LINE_MAX 65536
#define EPOCH_MAX      128
#define TIME_MAX       64
#define SINCE_UNSET    UINT64_MAX
#define TAIL_UNSET     UINT64_MAX

struct events_arguments {
	const char *namespace, *pod, *container, *since_text;
	int64_t since_ns; /* of since_text; 0: not given */
	uint64_t tail, since;
	bool follow, kubelet;
};

static const struct cli_option events_options[] = {
	{ .name = "follow",
		.letter = 'f',
		.help = "go on with what comes, also beyond a restart of the agent",
		.type = CLI_FLAG,
		.offset = offsetof(struct events_arguments, follow) },
	{ .name = "tail",
		.argument = "N",
		.help = "begin with the last N events (default 20)",
		.type = CLI_NUMBER,
		.offset = offsetof(struct events_arguments, tail) },
	{ .name = "since",
		.argument = "TIME",
		.help = "begin there, from the journal: 30m, 2h, 7d or RFC 3339",
		.type = CLI_TEXT,
		.offset = offsetof(struct events_arguments, since_text) },
	{ .name = "since-sequence",
		.argument = "N",
		.help = "begin with event number N instead",
		.type = CLI_NUMBER,
		.offset = offsetof(struct events_arguments, since) },
	{ .name = "kubelet",
		.help = "only what a kubelet's PLEG would have sent, a line as: time pod type id",
		.type = CLI_FLAG,
		.offset = offsetof(struct events_arguments, kubelet) },
	{ .name = "namespace",
		.letter = 'n',
		.argument = "NS",
		.help = "only events of this namespace",
		.type = CLI_TEXT,
		.offset = offsetof(struct events_arguments, namespace) },
	{ .name = "pod",
		.argument = "POD",
		.help = "only this pod, by name or UID",
		.type = CLI_TEXT,
		.offset = offsetof(struct events_arguments, pod) },
	{ .name = "container",
		.argument = "CONTAINER",
		.help = "only this container, by name or by 8 and more characters of its id",
		.type = CLI_TEXT,
		.offset = offsetof(struct events_arguments, container) },
	{ 0 },
};

struct follower {
	struct cli *cli;
	const struct events_arguments *arguments;
	char epoch[EPOCH_MAX]; /* of the run that `next` is of; "" before the first answer */
	uint64_t next;         /* first sequence that was not seen */
	/* With --since: the last event that was printed; "" before the first. */
	char last_time[TIME_MAX], last_epoch[EPOCH_MAX];
	uint64_t last_sequence;
	unsigned retry_ms;
};

/* ---- printing ---------------------------------------------------------------------------- */

static int print_missed(struct follower *f, const json_t *object)
{
	long long missed = json_integer_value(json_object_get(object, "missed"));
	char line[64];

	/* The kubelet's stream has no line for it; elsewhere the gap is part of what is kept. */
	if (f->arguments->kubelet) {
		cli_complain("%lld events were missed", missed);
		return 0;
	}
	(void)str_format(line, sizeof(line), "# %lld events were missed here\n", missed);
	return cli_print(line, strlen(line));
}

/* The journal has failed in the middle of it. */
static int print_trouble(const json_t *object)
{
	cli_complain("The journal failed: %s. Events are missing here; what the agent still has in "
		     "memory follows",
		str_or_empty(json_string_value(json_object_get(object, "journal"))));
	return 0;
}

static int print_object(struct follower *f, const json_t *object)
{
	const struct looks looks = { .color = f->cli->color };
	CLEAN(buf_done) struct buf line = BUF_INIT(EVENT_LINE_MAX);
	int r;

	if (f->cli->json)
		return cli_print_json(f->cli, object, true);
	if (json_object_get(object, "missed"))
		return print_missed(f, object);
	if (json_object_get(object, "journal"))
		return print_trouble(object);
	if (f->arguments->kubelet)
		r = render_event_kubelet(object, &line);
	else
		r = render_event(object, &looks, &line);
	return r < 0 ? r : cli_print((const char *)line.data, line.len);
}

/* ---- the connection ---------------------------------------------------------------------- */

static struct control_request make_request(const struct follower *f)
{
	const struct events_arguments *a = f->arguments;
	struct control_request request = CONTROL_REQUEST_INIT(CONTROL_EVENTS);

	request.follow = a->follow;
	request.kubelet = a->kubelet;
	request.namespace = a->namespace;
	request.pod = a->pod;
	request.container = a->container;
	if (a->since_ns) {
		request.since_ns = a->since_ns;
		if (*f->last_epoch) {
			(void)time_parse_rfc3339(f->last_time, &request.since_ns);
			request.epoch = f->last_epoch;
			request.from = f->last_sequence + 1;
		}
	} else if (*f->epoch) {
		request.epoch = f->epoch;
		request.from = f->next;
	} else if (a->since != SINCE_UNSET) {
		request.from = a->since;
		request.tail = a->tail == TAIL_UNSET ? CONTROL_TAIL_UNSET : a->tail;
	} else {
		request.tail = a->tail == TAIL_UNSET ? TAIL_DEFAULT : a->tail;
	}
	return request;
}

static int connect_again(struct follower *f, struct control_client **ret, struct err *reterr)
{
	const struct control_request request = make_request(f);
	const json_t *journal;
	const char *epoch;
	json_t *result = NULL;
	int r = cli_ask(f->cli, &request, &result, ret, reterr);

	if (r < 0)
		return r;
	journal = json_object_get(result, "journal");
	epoch = str_or_empty(json_string_value(json_object_get(result, "epoch")));
	if (*f->epoch)
		cli_complain("%s",
			str_eq(epoch, f->epoch)
				? "The agent answers again"
				: "The agent was restarted; its events from here on");
	if (json_is_string(journal))
		cli_complain("%s. Only what the agent has in memory is shown%s",
			json_string_value(journal), f->arguments->follow ? ", and what comes" : "");
	if (!str_eq(epoch, f->epoch)) {
		(void)str_format(f->epoch, sizeof(f->epoch), "%s", epoch);
		f->next = (uint64_t)json_integer_value(json_object_get(result, "last")) + 1;
		if (request.epoch)
			f->next = 1; /* Of the new run all is told. */
	}
	f->retry_ms = RETRY_FIRST_MS;
	json_decref(result);
	return 0;
}

/* Printed already, before the connection was lost. */
static bool is_known(const struct follower *f, const json_t *object)
{
	const char *epoch = str_or_empty(json_string_value(json_object_get(object, "epoch")));
	const char *at = str_or_empty(json_string_value(json_object_get(object, "observedAt")));
	const json_t *sequence = json_object_get(object, "sequence");

	return *f->last_epoch && sequence && str_eq(at, f->last_time) &&
		str_eq(epoch, f->last_epoch) &&
		(uint64_t)json_integer_value(sequence) <= f->last_sequence;
}

static void remember(struct follower *f, const json_t *object)
{
	const json_t *sequence = json_object_get(object, "sequence");
	const char *epoch = json_string_value(json_object_get(object, "epoch"));
	const char *at = json_string_value(json_object_get(object, "observedAt"));

	if (!sequence || !epoch || !at || strlen(epoch) >= sizeof(f->last_epoch) ||
		strlen(at) >= sizeof(f->last_time))
		return;
	f->next = (uint64_t)json_integer_value(sequence) + 1;
	f->last_sequence = (uint64_t)json_integer_value(sequence);
	(void)str_format(f->last_epoch, sizeof(f->last_epoch), "%s", epoch);
	(void)str_format(f->last_time, sizeof(f->last_time), "%s", at);
}

/* Until the stream ends: 0, or -EPIPE when nobody reads us, or what went wrong. */
static int read_stream(struct follower *f, struct control_client *client, struct err *reterr)
{
	for (;;) {
		json_t *object = NULL;
		int r = control_client_next(client, -1, STDOUT_FILENO, &object, reterr);

		if (r <= 0)
			return r;
		if (!is_known(f, object)) {
			remember(f, object);
			r = print_object(f, object);
		}
		json_decref(object);
		if (r == -EPIPE)
			return r;
		if (r < 0)
			return err_set(reterr, -EIO, "Cannot write: %s", err_text(NULL, r));
	}
}

/* An agent may come back from these; not from what it has against us. */
static bool is_worth_a_retry(int code)
{
	return code != -EACCES && code != -EINVAL && code != -EPROTONOSUPPORT && code != -EIO &&
		code != -ENOMEM && code != -ENAMETOOLONG;
}

/* False: the reader of our output has gone meanwhile. */
static bool pause_before_retry(struct follower *f)
{
	struct pollfd reader = { .fd = STDOUT_FILENO };
	bool here = poll(&reader, 1, (int)f->retry_ms) <= 0;

	f->retry_ms = f->retry_ms * 2 < RETRY_MOST_MS ? f->retry_ms * 2 : RETRY_MOST_MS;
	return here;
}

static int follow(struct follower *f)
{
	bool told = false;

	/* As long as somebody reads: a follower is left running over night. */
	for (;;) {
		CLEAN(control_client_freep) struct control_client *client = NULL;
		struct err err = { 0 };
		bool first = *f->epoch == '\0';
		int r = connect_again(f, &client, &err);

		if (r < 0 && (first || !is_worth_a_retry(r))) {
			cli_complain("%s", err_text(&err, r));
			return r == -ECONNREFUSED ? CLI_USAGE : CLI_FAILED;
		}
		if (r >= 0) {
			told = false;
			r = read_stream(f, client, &err);
			if (r == -EPIPE || (r == 0 && !f->arguments->follow))
				return CLI_OK;
			if (!f->arguments->follow || !is_worth_a_retry(r < 0 ? r : -ECONNREFUSED)) {
				cli_complain("%s", err_text(&err, r));
				return CLI_FAILED;
			}
		}
		if (!told)
			cli_complain("The agent has gone; waiting for it to come back");
		told = true;
		if (!pause_before_retry(f))
			return CLI_OK;
	}
}

static int find_since(struct events_arguments *a)
{
	int64_t now_ns = clock_now().real_ns;

	if (cli_since(&cmd_events, a->since_text, &a->since_ns) != 0)
		return CLI_USAGE;
	if (a->since_ns > now_ns)
		return cli_usage_error(&cmd_events, "--since lies in the future");
	if (a->tail != TAIL_UNSET || a->since != SINCE_UNSET)
		return cli_usage_error(&cmd_events,
			"--since goes with neither --tail nor "
			"--since-sequence");
	return 0;
}

static int run(struct cli *cli, int argc, char **argv)
{
	struct events_arguments arguments = { .tail = TAIL_UNSET, .since = SINCE_UNSET };
	struct follower follower = {
		.cli = cli, .arguments = &arguments, .retry_ms = RETRY_FIRST_MS
	};
	int r = cli_parse(cli, &cmd_events, argc, argv, &arguments);

	if (r < 0)
		return CLI_END(r);
	if (arguments.since_text && find_since(&arguments) != 0)
		return CLI_USAGE;
	if (cli->json && arguments.kubelet)
		cli_complain("With -o json, --kubelet chooses the events and not their form");
	return follow(&follower);
}

const struct cli_command cmd_events = {
	.name = "events",
	.summary = "lifecycle events of pods and containers",
	.synopsis = "[-f] [--since TIME | --tail N | --since-sequence N]\n"
		    "                   [--kubelet] [-n NS] [--pod POD] [--container CONTAINER]",
	.description =
		"Prints what happened to the containers of this node, one event a line: the time "
		"at "
		"which pleg learned of it, the kubelet's type of event, namespace/pod/container, "
		"the "
		"id and the exit code. A provisional event comes from the kernel at once and is "
		"confirmed by a second one as soon as the runtime agrees; an initial one was found "
		"when the agent started and says what was there already. Where events were missed, "
		"a line that begins with # says how many. With --since they come from the journal, "
		"also those "
		"of earlier runs of the agent, which are told apart by `epoch` in the JSON; where "
		"the "
		"journal does not answer, what is in memory is shown, and stderr says why.",
	.exit_codes = "0    all there is was printed, or the reader has gone\n1    failed\n"
		      "2    no agent answers, or a usage error\n130  ended with Ctrl-C\n",
	.example = "pleg events -f\npleg events --since 2h --pod web-0\npleg events --tail 100 -n "
		   "demo\npleg events -f --kubelet\n"
		   "pleg events -f -o json | jq 'select(.type == \"ContainerDied\")'\n",
	.options = events_options,
	.run = run,
};
