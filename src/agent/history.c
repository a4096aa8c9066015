/*
 * The journal in the agent: the role is started, hears of events and of differences between the
 * runtime's word and the kernel's, and is asked for old events by the control socket. Whatever is
 * wrong with it or with its disk is a warning and a state; nothing here waits for it, but the end of
 * the agent, which waits DRAIN_NS for what is not written yet.
 */
#include "agent/agent-internal.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/hints.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "base/table.h"
#include "base/time.h"
#include "store/journal-agent.h"

#define DRAIN_NS        (1 * NSEC_PER_SEC)
#define DIFFERENCES_MAX JOURNAL_DIFFERENCES_MAX /* open ones that are followed */

/* One that the journal was told to go on. */
struct difference {
	int64_t since_ns; /* wall clock; with the id its name in the journal */
	enum container_state runtime_state;
	enum ledger_state kernel_state;
	char id[]; /* the key */
};

struct history {
	struct journal *journal; /* NULL: off */
	int exe_fd;
	struct table differences;
	struct journal_query *past; /* for what earlier runs have left open */
	bool past_asked;
	bool owes_incidents; /* some had no room; the open ones are told again when it is well */
	char off[200];       /* why it is off */
	char note[400];      /* what people should know of it, last; "": nothing */
};

static void history_is_off(struct agent *agent, const char *why)
{
	struct history *h = agent->history;

	(void)snprintf(h->off, sizeof(h->off), "%s", why);
	agent_warn(agent, FMT("The journal is off: %.150s", why));
}

void history_open(struct agent *agent)
{
	struct history *h = mem_zalloc(sizeof(*h));
	struct err e = { 0 };
	int r;

	if (!h) {
		agent_warn(agent, "The journal is off: Out of memory");
		return;
	}
	h->exe_fd = -EBADF;
	h->differences = TABLE_INIT(DIFFERENCES_MAX);
	agent->history = h;
	if (agent->config.state_dir[0] == '\0') {
		history_is_off(agent, "stateDir is \"\", so nothing outlives the agent");
		return;
	}
	if (!agent->spawner) {
		history_is_off(agent, "no roles can be started");
		return;
	}
	r = agent_open_exe("store", "pleg-journal", false, &h->exe_fd, &e);
	if (r < 0) {
		h->exe_fd = -EBADF;
		history_is_off(agent, err_text(&e, r));
	}
}

/* ---- what it says ----------------------------------------------------------------------------- */

/* The ones that go on: what has ended meanwhile is in the log. */
static void history_tell_again(struct agent *agent)
{
	const struct incident *incident;
	size_t cursor = 0;

	if (!agent->history->owes_incidents || !agent->diagnosis)
		return;
	agent->history->owes_incidents = false;
	while ((incident = incidents_next_open(diagnosis_incidents(agent->diagnosis), &cursor)))
		history_incident(agent, incident);
}

/* ---- incidents of earlier runs ---------------------------------------------------------------- */

static enum incident_state state_of(const json_t *object, const char *key)
{
	const char *text = str_or_empty(json_string_value(json_object_get(object, key)));

	if (str_eq(text, incident_state_text(INCIDENT_SUSPECTED)))
		return INCIDENT_SUSPECTED;
	return str_eq(text, incident_state_text(INCIDENT_PROVEN)) ? INCIDENT_PROVEN
								  : INCIDENT_CLOSED;
}

static int64_t time_of(const json_t *object, const char *key)
{
	const char *text = str_or_empty(json_string_value(json_object_get(object, key)));
	int64_t at_ns;

	return time_parse_rfc3339(text, &at_ns) >= 0 ? at_ns : 0;
}

/* A version that knew a cause which this one does not know has left it: nobody looks for it. */
static void close_unknown(struct agent *agent, const json_t *line)
{
	json_t *document = json_object_get(line, "document");
	struct now now = clock_now();
	char *text;

	(void)json_object_set_new(document, "closedBecause",
		json_string("this version of pleg does not look for this cause"));
	text = json_dumps(document, JSON_COMPACT);
	if (!text)
		return;
	(void)journal_incident(agent->history->journal,
		&(struct journal_incident){
			.id = str_or_empty(json_string_value(json_object_get(line, "id"))),
			.cause = str_or_empty(json_string_value(json_object_get(line, "cause"))),
			.subject =
				str_or_empty(json_string_value(json_object_get(line, "subject"))),
			.state = incident_state_text(INCIDENT_CLOSED),
			.document = text,
			.opened_ns = time_of(line, "openedAt"),
			.changed_ns = now.real_ns,
			.closed_ns = now.real_ns,
		});
	free(text); /* allowed: jansson's own */
}

static void adopt(struct agent *agent, const json_t *line)
{
	json_t *document = json_object_get(line, "document"), *change;
	struct incident_change changes[INCIDENT_CHANGES_MAX];
	struct incident_past past = {
		.id = str_or_empty(json_string_value(json_object_get(line, "id"))),
		.subject = str_or_empty(json_string_value(json_object_get(line, "subject"))),
		.state = state_of(line, "state"),
		.opened_ns = time_of(line, "openedAt"),
		.changes = changes,
		.changes_left_out =
			(uint32_t)json_integer_value(json_object_get(document, "changesLeftOut")),
	};
	const char *cause = str_or_empty(json_string_value(json_object_get(line, "cause")));
	json_t *told = json_object_get(document, "finding");
	char *finding;
	size_t i;
	int r;

	if (cause_parse(cause, &past.cause) < 0) {
		close_unknown(agent, line);
		return;
	}
	json_array_foreach (json_object_get(document, "changes"), i, change) {
		if (past.change_count < ELEMENTS(changes))
			changes[past.change_count++] =
				(struct incident_change){ time_of(change, "at"),
					state_of(change, "state") };
	}
	past.summary = str_or_empty(json_string_value(json_object_get(told, "summary")));
	past.finding = finding = json_dumps(told, JSON_COMPACT);
	r = finding ? diagnosis_adopt(agent->diagnosis, &past) : -EINVAL;
	if (r < 0 && r != -EALREADY)
		log_warning("Incident of an earlier run stays open", "incident", past.id, "error",
			err_text(NULL, r), NULL);
	free(finding); /* allowed: jansson's own */
}

static void history_on_past(
	void *userdata, int r, const char *text, const void *lines, size_t len, bool done)
{
	struct agent *agent = userdata;
	struct history *h = agent->history;
	const char *at = lines, *end;
	struct err e = { 0 };

	for (; r >= 0 && len > 0 && (end = memchr(at, '\n', len)); at = end + 1) {
		json_t *line = json_loadb(at, (size_t)(end - at), 0, NULL);

		if (line)
			adopt(agent, line);
		json_decref(line);
		len -= (size_t)(end + 1 - at);
	}
	if (r >= 0 && !done) {
		r = journal_query_next(h->past, &e);
		text = err_text(&e, r);
	}
	if (r < 0)
		log_warning("Incidents of earlier runs are not known", "error", str_or_empty(text),
			NULL);
	if (r < 0 || done)
		h->past = journal_query_free(h->past);
}

/* Once, when the journal is well for the first time: all of them, with what was found. */
static void history_ask_past(struct agent *agent)
{
	const struct journal_incident_filter filter = { .id = "", .open = true };
	struct history *h = agent->history;
	struct err e = { 0 };
	int r;

	if (h->past_asked || !h->journal || !agent->diagnosis)
		return;
	r = journal_query_incidents(h->journal, &filter, history_on_past, agent, &h->past, &e);
	if (r < 0) {
		log_debug(
			"Incidents of earlier runs not asked for", "error", err_text(&e, r), NULL);
		return; /* The next look asks again. */
	}
	h->past_asked = true;
}

static void history_on_state(void *userdata, const char *state, const char *reason)
{
	if (str_eq(state, "ok")) {
		history_tell_again(userdata);
		history_ask_past(userdata);
	}
	if (str_eq(state, "ok") || str_eq(state, "starting"))
		log_info("Journal", "state", state, NULL);
	else
		log_warning("Journal", "state", state, "reason", reason, NULL);
}

static void history_on_note(void *userdata, const char *text)
{
	struct agent *agent = userdata;

	log_warning("Journal", "note", text, NULL);
	(void)snprintf(agent->history->note, sizeof(agent->history->note), "%s", text);
}

static const struct journal_ops history_ops = {
	.on_state = history_on_state,
	.on_note = history_on_note,
};

/* ---- life ------------------------------------------------------------------------------------- */

void history_start(struct agent *agent)
{
	struct history *h = agent->history;
	const struct journal_config config = {
		.state_dir = agent->config.state_dir,
		.max_age_ns = agent->config.journal_max_age_ns,
		.max_bytes = agent->config.journal_max_bytes,
		.exe_fd = h ? h->exe_fd : -EBADF,
	};
	struct err e = { 0 };
	int r;

	if (config.exe_fd < 0)
		return; /* Warned of when that was found. */
	r = journal_new(agent->loop, agent->spawner, agent->events, &config, &history_ops, agent,
		&h->journal, &e);
	if (r < 0)
		history_is_off(agent, err_text(&e, r));
}

void history_stop(struct agent *agent)
{
	struct history *h = agent->history;
	struct difference *d;

	if (!h)
		return;
	h->past = journal_query_free(h->past);
	h->journal = journal_free(h->journal);
	h->exe_fd = fd_close(h->exe_fd);
	TABLE_FOREACH (d, &h->differences)
		(void)mem_free(d);
	table_done(&h->differences);
	agent->history = mem_free(h);
}

void history_wake(struct agent *agent)
{
	if (agent->history && agent->history->journal)
		journal_wake(agent->history->journal);
}

bool history_drain(struct agent *agent, void (*on_drained)(void *userdata))
{
	struct journal *journal = agent->history ? agent->history->journal : NULL;
	struct journal_status status;

	if (!journal)
		return false;
	journal_status(journal, &status);
	/* In every other state nothing would be written in that time. */
	if (!str_eq(status.state, "ok") && !str_eq(status.state, "starting") &&
		!str_eq(status.state, "down"))
		return false;
	return journal_drain(journal, DRAIN_NS, on_drained, agent) >= 0;
}

void history_incident(void *userdata, const struct incident *incident)
{
	struct agent *agent = userdata;
	struct history *h = agent->history;
	const struct journal_incident row = {
		.id = incident->id,
		.cause = cause_text(incident->cause),
		.subject = str_or_empty(incident->subject),
		.state = incident_state_text(incident->state),
		.document = incident->document,
		.opened_ns = incident->opened_ns,
		.changed_ns = incident->changed_ns,
		.closed_ns = incident->closed_ns,
	};
	int r;

	if (!h || !h->journal)
		return;
	r = journal_incident(h->journal, &row);
	if (r >= 0)
		return;
	h->owes_incidents = h->owes_incidents || r == -ENOBUFS || r == -ENOMEM;
	log_warning("Incident is not in the journal", "incident", incident->id, "error",
		err_text(NULL, r), NULL);
}

/* ---- differences ------------------------------------------------------------------------------ */

/* False: there is no room now, and the next look tells it. */
static bool history_tell(const struct history *h, const struct difference *d, int64_t until_ns)
{
	return journal_difference(h->journal, d->id, container_state_text(d->runtime_state),
		       ledger_state_text(d->kernel_state), d->since_ns, until_ns) >= 0;
}

static void history_begin(struct history *h, const struct ledger_view *view, struct now now)
{
	CLEAN(mem_freep) struct difference *d = NULL;
	size_t size = strlen(view->container_id) + 1;

	d = mem_zalloc(sizeof(*d) + size);
	if (!d)
		return;
	memcpy(d->id, view->container_id, size);
	d->since_ns = now.real_ns - (int64_t)view->differs_for_ns;
	d->runtime_state = view->runtime_state;
	d->kernel_state = view->state;
	if (table_put_string(&h->differences, d->id, d) < 0)
		return;
	if (history_tell(h, d, 0))
		TAKE_PTR(d);
	else
		(void)table_remove_string(&h->differences, d->id);
}

static void history_go_on(
	const struct history *h, struct difference *d, const struct ledger_view *view)
{
	struct difference before = *d;

	if (d->runtime_state == view->runtime_state && d->kernel_state == view->state)
		return;
	d->runtime_state = view->runtime_state;
	d->kernel_state = view->state;
	if (!history_tell(h, d, 0)) {
		d->runtime_state = before.runtime_state;
		d->kernel_state = before.kernel_state;
	}
}

static void history_end(struct history *h, const struct ledger *ledger, struct now now)
{
	struct ledger_view view;
	struct difference *d;

	TABLE_FOREACH (d, &h->differences) {
		/* Within the lag it is the same one, though it does not count yet. */
		if (ledger_find(ledger, d->id, now, &view) && view.differs_for_ns > 0)
			continue;
		if (!history_tell(h, d, now.real_ns))
			continue;
		(void)table_remove_string(&h->differences, d->id);
		(void)mem_free(d);
	}
}

void history_look(struct agent *agent)
{
	struct history *h = agent->history;
	const struct ledger *ledger;
	struct now now = clock_now();
	struct pump_state pump;
	struct ledger_view view;
	size_t cursor = 0;

	if (!h || !h->journal)
		return;
	history_ask_past(agent);
	pump_state(agent->pump, &pump);
	ledger = hints_ledger(pump.hints);
	history_end(h, ledger, now);
	if (ledger_differences(ledger, now) == 0)
		return;
	while (ledger_next(ledger, &cursor, now, &view)) {
		struct difference *d = table_get_string(&h->differences, view.container_id);

		if (d)
			history_go_on(h, d, &view);
		else if (view.differs)
			history_begin(h, &view, now);
	}
}

/* ---- old events ------------------------------------------------------------------------------- */

int history_past(void *userdata, const struct control_request *request, control_past_fn on_part,
	void *reader, void **ret_past, struct err *reterr)
{
	const struct agent *agent = userdata;
	const struct history *h = agent->history;
	const struct journal_filter filter = {
		.since_ns = request->since_ns,
		.kubelet = request->kubelet,
		.namespace = request->namespace,
		.pod = request->pod,
		.container = request->container,
	};
	const struct journal_incident_filter incidents = {
		.id = request->id, .since_ns = request->since_ns, .open = request->open
	};
	struct journal_query *query = NULL;
	int r;

	if (!h || !h->journal)
		return err_set(reterr, -ENOENT, "The journal is off: %.150s",
			h ? h->off : "Out of memory");
	if (request->type == CONTROL_INCIDENTS)
		r = journal_query_incidents(
			h->journal, &incidents, on_part, reader, &query, reterr);
	else
		r = journal_query(h->journal, &filter, on_part, reader, &query, reterr);
	if (r >= 0)
		*ret_past = query;
	return r;
}

int history_past_next(void *past, struct err *reterr)
{
	return journal_query_next(past, reterr);
}

uint64_t history_past_covers(const void *past)
{
	return journal_query_covers(past);
}

void history_past_free(void *past)
{
	(void)journal_query_free(past);
}

/* ---- for documents ---------------------------------------------------------------------------- */

void history_status(const struct agent *agent, struct history_status *ret)
{
	const struct history *h = agent->history;
	struct journal_status status;

	*ret = (struct history_status){ .state = "off", .reason = "", .note = "" };
	if (!h)
		return;
	ret->reason = h->off;
	if (!h->journal)
		return;
	journal_status(h->journal, &status);
	*ret = (struct history_status){
		.state = status.state,
		.reason = status.reason,
		.note = h->note,
		.path = agent->config.state_dir,
		.waiting = status.waiting,
		.dropped = status.dropped,
		.written = status.written,
		.has_role = true,
		.role = status.role,
	};
}
