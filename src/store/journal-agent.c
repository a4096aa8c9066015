#include "store/journal-agent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "store/batch.h"
#include "store/journal-protocol.h"
#include "sync/sync.h"

#define LINGER_NS    (100 * NSEC_PER_MSEC) /* a write of one event costs as much as one of fifty */
#define SLOW_NS      (5 * NSEC_PER_SEC)
#define PING_NS      (10 * NSEC_PER_SEC)
#define ANSWER_NS    (30 * NSEC_PER_SEC)
#define QUERY_NS     (5 * NSEC_PER_SEC)
#define CHECK_NS     (5 * NSEC_PER_SEC)
#define RETRY_MIN_NS (1 * NSEC_PER_SEC)
#define RETRY_MAX_NS (30 * NSEC_PER_SEC)
#define ROWS_MAX     (1u << 20)
#define ROLE_FILES   32u
#define TIMER_EXACT  1000 /* us */
#define TIMER_ROUGH  100000
#define PRIORITY     (SD_EVENT_PRIORITY_NORMAL + 20) /* as the role's */

/* What does not stand in the sync loop's history: differences and incidents, in order. */
struct waiting {
	TAILQ_ENTRY(waiting) entry;
	bool is_incident;
	bool is_in_batch; /* those in front, of the batch under way */
	union {
		struct batch_difference difference;
		struct journal_incident incident;
	};
	char strings[];
};

struct journal {
	sd_event *event;
	struct role *role;
	struct sync_loop *events;
	struct sync_subscriber *subscriber;
	const struct journal_ops *ops;
	void *userdata;
	uint64_t answer_timeout_ns;

	/* One timer each: when to send what waits; when to look whether it still lives; when what is
	 * under way is called slow; the end of a drain. */
	sd_event_source *send_timer, *ping_timer, *slow_timer, *drain_timer;

	struct buf batch;      /* under way, or to be sent again; empty: none */
	uint64_t batch_events; /* in it */
	uint64_t batch_last;   /* sequence that it ends with */
	bool is_sent;          /* and no answer yet */
	bool is_slow;
	uint64_t taken; /* last sequence that was taken from the history */
	uint64_t acked; /* last sequence that is written */
	uint64_t written, dropped;
	uint64_t retry_ns;

	TAILQ_HEAD(, waiting) waiting;
	size_t difference_count, incident_count; /* that wait */

	enum journal_condition condition; /* the role's last word */
	char reason[JOURNAL_TEXT_MAX];
	char told[16]; /* the state that on_state was called with last */

	void (*on_drained)(void *userdata);
	void *drain_userdata;

	TAILQ_HEAD(, journal_query) queries;
	unsigned query_count;
};

struct journal_query {
	TAILQ_ENTRY(journal_query) entry;
	struct journal *j; /* NULL: the journal is gone */
	sd_event_source *timer;
	journal_rows_fn on_rows;
	void *userdata;
	struct journal_ask ask;
	uint64_t covers;
	bool is_asked;               /* and no answer yet */
	bool is_calling, is_dropped; /* freed from inside the callback */
};

static const struct channel_type accepts[] = {
	{ JOURNAL_MSG_ACK, sizeof(struct journal_ack), sizeof(struct journal_ack), 0 },
	{ JOURNAL_MSG_ROWS, sizeof(struct journal_rows), sizeof(struct journal_rows), 1 },
	{ JOURNAL_MSG_NO_ROWS, sizeof(struct journal_rows), sizeof(struct journal_rows), 0 },
	{ JOURNAL_MSG_PONG, 0, 0, 0 },
	{ JOURNAL_MSG_STATE, sizeof(struct journal_word), sizeof(struct journal_word), 0 },
	{ JOURNAL_MSG_NOTE, sizeof(struct journal_word), sizeof(struct journal_word), 0 },
};

static void set_timer(sd_event_source *timer, uint64_t after_ns)
{
	if (after_ns == NSEC_NEVER) {
		(void)sd_event_source_set_enabled(timer, SD_EVENT_OFF);
		return;
	}
	(void)sd_event_source_set_time_relative(timer, after_ns / NSEC_PER_USEC);
	(void)sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

/* ---- state --------------------------------------------------------------------------------- */

static const char *condition_text(enum journal_condition condition)
{
	switch (condition) {
	case JOURNAL_OPENING: return "starting";
	case JOURNAL_OK: return "ok";
	case JOURNAL_FULL: return "full";
	case JOURNAL_READ_ONLY: return "read-only";
	case JOURNAL_DENIED: return "denied";
	case JOURNAL_NEWER: return "newer";
	case JOURNAL_LOCKED: return "locked";
	case JOURNAL_FAILED: return "failed";
	}
	return "failed";
}

static const char *state_text(
	const struct journal *j, const struct role_status *role, const char **ret_reason)
{
	*ret_reason = "";
	switch (role->state) {
	case ROLE_STOPPED:
	case ROLE_STARTING: return "starting";
	case ROLE_STUCK:
	case ROLE_STOPPING:
	case ROLE_BACKOFF:
	case ROLE_FAILED: break;
	case ROLE_RUNNING:
		if (j->is_slow) {
			*ret_reason = "A write takes long: the disk is slow or hangs";
			return "slow";
		}
		*ret_reason = j->reason;
		return condition_text(j->condition);
	}
	if (role->abandoned > 0) {
		*ret_reason = "The disk under the state directory hangs: a write neither ends nor "
			      "can be ended; goes on by itself when the disk answers";
		return "stuck";
	}
	*ret_reason = role->reason;
	return role->state == ROLE_STUCK ? "stuck" : "down";
}

void journal_status(const struct journal *j, struct journal_status *ret)
{
	uint64_t behind = sync_loop_last(j->events) - j->taken;
	struct sync_stats stats;

	*ret = (struct journal_status){ .written = j->written, .dropped = j->dropped };
	role_status(j->role, &ret->role);
	sync_stats(j->events, &stats);
	/* What the history has lost is lost, though the subscriber has yet to be told. */
	if (behind > stats.history) {
		ret->dropped += behind - stats.history;
		behind = stats.history;
	}
	ret->waiting = behind + j->batch_events;
	ret->state = state_text(j, &ret->role, &ret->reason);
}

static void tell_state(struct journal *j)
{
	struct journal_status status;

	journal_status(j, &status);
	if (str_eq(status.state, j->told))
		return;
	(void)snprintf(j->told, sizeof(j->told), "%s", status.state);
	if (j->ops->on_state)
		j->ops->on_state(j->userdata, status.state, status.reason);
}

static void tell_progress(struct journal *j)
{
	if (j->ops->on_progress)
		j->ops->on_progress(j->userdata);
}

/* ---- batches ------------------------------------------------------------------------------- */

static void count_missed(struct journal *j, uint64_t first, uint64_t count)
{
	j->dropped += count;
	/* There is always room: it is shorter than what the callers keep free. */
	(void)batch_add_missed(&j->batch, first, count, clock_now().real_ns);
}

static void fill_events(struct journal *j)
{
	while (batch_has_room(&j->batch)) {
		const struct event *event;
		uint64_t missed;

		switch (sync_next(j->subscriber, &event, &missed)) {
		case SYNC_NONE: return;
		case SYNC_MISSED:
			count_missed(j, j->taken + 1, missed);
			j->taken += missed;
			break;
		case SYNC_EVENT:
			if (batch_add_event(&j->batch, event) >= 0)
				j->batch_events++;
			else
				count_missed(j, event->sequence, 1);
			j->taken = event->sequence;
			break;
		}
		j->batch_last = j->taken;
	}
}

static void fill_waiting(struct journal *j)
{
	struct waiting *w;
	int r;

	TAILQ_FOREACH (w, &j->waiting, entry) {
		if (!batch_has_room(&j->batch))
			return;
		r = w->is_incident ? batch_add_incident(&j->batch, &w->incident)
				   : batch_add_difference(&j->batch, &w->difference);
		if (r < 0)
			return; /* No room for a long one: it is the first of the next. */
		w->is_in_batch = true;
	}
}

/* False: there is nothing to be written. */
static bool fill_batch(struct journal *j)
{
	size_t empty;

	if (j->batch.len > 0)
		return true;
	if (TAILQ_EMPTY(&j->waiting) && j->taken == sync_loop_last(j->events))
		return false;
	if (batch_begin(&j->batch, sync_loop_epoch(j->events)) < 0) {
		buf_clear(&j->batch);
		return false;
	}
	empty = j->batch.len;
	/* First what is seldom: with a flood of events there would be no room for it. */
	fill_waiting(j);
	fill_events(j);
	if (j->batch.len == empty)
		buf_clear(&j->batch);
	return j->batch.len > 0;
}

static void waiting_free(struct journal *j, struct waiting *w)
{
	TAILQ_REMOVE(&j->waiting, w, entry);
	if (w->is_incident)
		j->incident_count--;
	else
		j->difference_count--;
	(void)mem_free(w);
}

static void drop_batch(struct journal *j)
{
	struct waiting *w;

	while ((w = TAILQ_FIRST(&j->waiting)) != NULL && w->is_in_batch)
		waiting_free(j, w);
	buf_clear(&j->batch);
	buf_shrink(&j->batch, BATCH_RECORD_MAX);
	j->batch_events = 0;
}

static void end_drain(struct journal *j)
{
	void (*on_drained)(void *userdata) = j->on_drained;

	if (!on_drained)
		return;
	j->on_drained = NULL;
	set_timer(j->drain_timer, NSEC_NEVER);
	on_drained(j->drain_userdata);
}

static void send_batch(struct journal *j);

static void on_ack(int r, struct channel_message *m, void *userdata)
{
	struct journal *j = userdata;
	struct journal_ack ack = { .code = r };

	j->is_sent = false;
	j->is_slow = false;
	set_timer(j->slow_timer, NSEC_NEVER);
	if (r == 0 && m->type == JOURNAL_MSG_ACK)
		memcpy(&ack, m->payload, sizeof(ack));
	if (r < 0)
		return; /* The next process gets it, when on_state() says that there is one. */
	if (ack.code < 0 || m->type != JOURNAL_MSG_ACK) {
		set_timer(j->send_timer, j->retry_ns);
		j->retry_ns = time_min(j->retry_ns * 2, RETRY_MAX_NS);
		tell_state(j);
		return;
	}
	j->retry_ns = RETRY_MIN_NS;
	j->written += j->batch_events;
	j->acked = j->batch_last;
	drop_batch(j);
	tell_state(j);
	tell_progress(j);
	send_batch(j);
}

/* One at a time: what comes meanwhile goes with the next, all together. */
static void send_batch(struct journal *j)
{
	struct role_status status;

	if (j->is_sent)
		return;
	if (!fill_batch(j)) {
		end_drain(j);
		return;
	}
	role_status(j->role, &status);
	if (status.state != ROLE_RUNNING)
		return; /* on_message() sends it when there is one that is ready to write. */
	if (role_request(j->role, JOURNAL_MSG_BATCH, j->batch.data, j->batch.len, NULL, 0,
		    j->answer_timeout_ns, on_ack, j) < 0) {
		set_timer(j->send_timer, j->retry_ns);
		return;
	}
	j->is_sent = true;
	set_timer(j->slow_timer, SLOW_NS);
}

static int on_send_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	send_batch(userdata);
	return 0;
}

static int on_slow_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct journal *j = userdata;

	j->is_slow = j->is_sent;
	tell_state(j);
	return 0;
}

static int on_drain_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	end_drain(userdata);
	return 0;
}

void journal_wake(struct journal *j)
{
	int is_on = 0;

	if (j->is_sent || j->batch.len > 0)
		return; /* The answer, or the next try, sends what is new too. */
	(void)sd_event_source_get_enabled(j->send_timer, &is_on);
	if (is_on == SD_EVENT_OFF)
		set_timer(j->send_timer, LINGER_NS);
}

int journal_drain(
	struct journal *j, uint64_t timeout_ns, void (*on_drained)(void *userdata), void *userdata)
{
	if (j->on_drained)
		return -EBUSY;
	j->on_drained = on_drained;
	j->drain_userdata = userdata;
	set_timer(j->drain_timer, timeout_ns);
	if (!j->is_sent)
		set_timer(j->send_timer, 0);
	return 0;
}

int journal_difference(struct journal *j, const char *container_id, const char *runtime_word,
	const char *kernel_word, int64_t since_ns, int64_t until_ns)
{
	size_t size = strlen(container_id) + strlen(runtime_word) + strlen(kernel_word) + 3;
	struct waiting *w;
	char *at;

	if (size > BATCH_RECORD_MAX / 2 || container_id[0] == '\0')
		return -EINVAL;
	if (j->difference_count >= JOURNAL_DIFFERENCES_MAX) {
		j->dropped++;
		return -ENOBUFS;
	}
	w = mem_zalloc(sizeof(*w) + size);
	if (!w)
		return -ENOMEM;
	at = w->strings;
	w->difference = (struct batch_difference){ .since_ns = since_ns, .until_ns = until_ns };
	w->difference.container_id = str_put(&at, container_id);
	w->difference.runtime_word = str_put(&at, runtime_word);
	w->difference.kernel_word = str_put(&at, kernel_word);
	TAILQ_INSERT_TAIL(&j->waiting, w, entry);
	j->difference_count++;
	journal_wake(j);
	return 0;
}

/* The one of that id which is not on its way yet. */
static struct waiting *find_incident(struct journal *j, const char *id)
{
	struct waiting *w;

	TAILQ_FOREACH (w, &j->waiting, entry)
		if (w->is_incident && !w->is_in_batch && str_eq(w->incident.id, id))
			return w;
	return NULL;
}

static struct waiting *copy_incident(const struct journal_incident *incident)
{
	size_t size = strlen(incident->id) + strlen(incident->cause) + strlen(incident->subject) +
		strlen(incident->state) + strlen(incident->document) + 5;
	struct waiting *w = mem_zalloc(sizeof(*w) + size);
	char *at;

	if (!w)
		return NULL;
	at = w->strings;
	w->is_incident = true;
	w->incident = *incident;
	w->incident.id = str_put(&at, incident->id);
	w->incident.cause = str_put(&at, incident->cause);
	w->incident.subject = str_put(&at, incident->subject);
	w->incident.state = str_put(&at, incident->state);
	w->incident.document = str_put(&at, incident->document);
	return w;
}

int journal_incident(struct journal *j, const struct journal_incident *incident)
{
	struct waiting *before, *w;

	if (!incident_is_valid(incident))
		return -EINVAL;
	before = find_incident(j, incident->id);
	if (!before && j->incident_count >= JOURNAL_INCIDENTS_MAX)
		return -ENOBUFS;
	w = copy_incident(incident);
	if (!w)
		return -ENOMEM;
	if (before)
		waiting_free(j, before);
	TAILQ_INSERT_TAIL(&j->waiting, w, entry);
	j->incident_count++;
	journal_wake(j);
	return 0;
}

/* ---- the role ------------------------------------------------------------------------------ */

static void on_pong(int r, struct channel_message *m, void *userdata)
{
	/* What matters is done by the deadline of the request. */
}

static int on_ping(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct journal *j = userdata;

	if (role_request(j->role, JOURNAL_MSG_PING, NULL, 0, NULL, 0, j->answer_timeout_ns, on_pong,
		    j) < 0)
		log_debug("Journal role could not be asked for a sign of life", NULL);
	set_timer(source, PING_NS);
	return 0;
}

static int on_message(struct role *role, struct channel_message *m, void *userdata)
{
	struct journal *j = userdata;
	struct journal_word word;
	char text[sizeof(word.text)];

	if (m->type != JOURNAL_MSG_STATE && m->type != JOURNAL_MSG_NOTE)
		return -EBADMSG;
	memcpy(&word, m->payload, sizeof(word));
	if (word.condition >= JOURNAL_CONDITIONS)
		return -EBADMSG;
	(void)str_clean(text, sizeof(text), word.text, strnlen(word.text, sizeof(word.text)));
	if (m->type == JOURNAL_MSG_NOTE) {
		if (j->ops->on_note)
			j->ops->on_note(j->userdata, text);
		return 0;
	}
	j->condition = (enum journal_condition)word.condition;
	(void)snprintf(j->reason, sizeof(j->reason), "%s", text);
	tell_state(j);
	if (j->condition == JOURNAL_OK)
		send_batch(j);
	return 0;
}

static void on_state(struct role *role, enum role_state old_state, enum role_state new_state,
	const char *reason, void *userdata)
{
	struct journal *j = userdata;

	if (new_state == ROLE_RUNNING) {
		j->condition = JOURNAL_OPENING;
		j->reason[0] = '\0';
		j->retry_ns = RETRY_MIN_NS;
		/* At once: its opening of the file is to be under a deadline. */
		(void)role_request(
			role, JOURNAL_MSG_PING, NULL, 0, NULL, 0, j->answer_timeout_ns, on_pong, j);
	}
	set_timer(j->ping_timer, new_state == ROLE_RUNNING ? PING_NS : NSEC_NEVER);
	tell_state(j);
}

/* ---- queries ------------------------------------------------------------------------------- */

static void query_unlink(struct journal_query *q)
{
	if (!q->j)
		return;
	role_forget(q->j->role, q);
	TAILQ_REMOVE(&q->j->queries, q, entry);
	q->j->query_count--;
	q->j = NULL;
}

struct journal_query *journal_query_free(struct journal_query *q)
{
	if (!q)
		return NULL;
	query_unlink(q);
	q->timer = sd_event_source_disable_unref(q->timer);
	if (q->is_calling) {
		q->is_dropped = true;
		return NULL;
	}
	return mem_free(q);
}

static void query_tell(
	struct journal_query *q, int r, const char *text, const void *lines, size_t len, bool done)
{
	q->is_asked = false;
	if (q->timer)
		set_timer(q->timer, NSEC_NEVER);
	q->is_calling = true;
	q->on_rows(q->userdata, r, text, lines, len, done);
	q->is_calling = false;
	if (q->is_dropped)
		(void)mem_free(q);
}

static const char *why_down(const struct journal *j)
{
	struct journal_status status;

	journal_status(j, &status);
	return status.reason[0] ? status.reason : status.state;
}

static void take_rows(struct journal_query *q, struct channel_message *m)
{
	struct journal_rows rows;
	const void *lines = NULL;
	char text[sizeof(rows.text)];
	size_t len = 0;
	int r;

	memcpy(&rows, m->payload, sizeof(rows));
	(void)str_clean(text, sizeof(text), rows.text, strnlen(rows.text, sizeof(rows.text)));
	if (m->type == JOURNAL_MSG_NO_ROWS) {
		query_tell(q, rows.code < 0 ? rows.code : -EIO, text, NULL, 0, true);
		return;
	}
	r = channel_map_sealed(m->fds[0], ROWS_MAX, &lines, &len);
	if (r < 0) {
		query_tell(q, r, "The journal's answer cannot be read", NULL, 0, true);
		return;
	}
	/* The channel keeps the order, so what is acknowledged now is what the answer was made of. */
	if (q->ask.position.phase == STORE_QUERY_START || q->ask.position.phase == STORE_QUERY_MORE)
		q->covers = q->j->acked;
	q->ask.position = rows.position;
	if (rows.done)
		q->ask.position.phase = STORE_QUERY_MORE;
	query_tell(q, 0, "", lines, len, rows.done != 0);
	channel_unmap(lines, len);
}

static void on_rows(int r, struct channel_message *m, void *userdata)
{
	struct journal_query *q = userdata;

	if (r == 0 &&
		(m->type == JOURNAL_MSG_NO_ROWS ||
			(m->type == JOURNAL_MSG_ROWS && m->fd_count == 1))) {
		take_rows(q, m);
		return;
	}
	query_tell(
		q, r < 0 ? r : -EBADMSG, "The journal ended before it had answered", NULL, 0, true);
}

static int on_query_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct journal_query *q = userdata;

	if (!q->j || !q->is_asked)
		return 0;
	role_forget(q->j->role, q);
	query_tell(q, -ETIMEDOUT, "The journal has not answered for 5 s: the disk is slow or hangs",
		NULL, 0, true);
	return 0;
}

int journal_query_next(struct journal_query *q, struct err *reterr)
{
	int r;

	if (!q->j)
		return err_set(reterr, -ENOTCONN, "The journal is gone");
	r = role_request(q->j->role, JOURNAL_MSG_ASK, &q->ask, sizeof(q->ask), NULL, 0,
		q->j->answer_timeout_ns, on_rows, q);
	if (r < 0)
		return err_set(reterr, r, "The journal does not answer: %s", why_down(q->j));
	q->is_asked = true;
	set_timer(q->timer, QUERY_NS);
	return 0;
}

uint64_t journal_query_covers(const struct journal_query *q)
{
	return q->covers;
}

static int copy_text(char *out, size_t size, const char *text)
{
	if (strlen(str_or_empty(text)) >= size)
		return -EINVAL;
	(void)snprintf(out, size, "%s", str_or_empty(text));
	return 0;
}

static int make_ask(const struct journal_filter *filter, struct journal_ask *ret)
{
	*ret = (struct journal_ask){
		.since_ns = filter->since_ns,
		.until_ns = filter->until_ns,
		.limit = filter->limit,
		.kubelet = filter->kubelet,
	};
	if (copy_text(ret->ns, sizeof(ret->ns), filter->namespace) < 0 ||
		copy_text(ret->pod, sizeof(ret->pod), filter->pod) < 0 ||
		copy_text(ret->container, sizeof(ret->container), filter->container) < 0)
		return -EINVAL;
	return 0;
}

static int ask(struct journal *j, const struct journal_ask *what, journal_rows_fn on_rows_,
	void *userdata, struct journal_query **ret, struct err *reterr)
{
	CLEAN(mem_freep) struct journal_query *q = mem_zalloc(sizeof(*q));
	int r;

	if (!q)
		return err_set(reterr, -ENOMEM, "Out of memory");
	if (j->query_count >= JOURNAL_QUERIES_MAX)
		return err_set(reterr, -EBUSY, "%u others are reading the journal; try again",
			j->query_count);
	q->ask = *what;
	r = sd_event_add_time_relative(
		j->event, &q->timer, CLOCK_MONOTONIC, 0, TIMER_ROUGH, on_query_timer, q);
	if (r < 0)
		return err_set(reterr, r, "Ask the journal: %s", err_text(NULL, r));
	set_timer(q->timer, NSEC_NEVER);
	q->on_rows = on_rows_;
	q->userdata = userdata;
	q->j = j;
	TAILQ_INSERT_TAIL(&j->queries, q, entry);
	j->query_count++;
	r = journal_query_next(q, reterr);
	if (r < 0) {
		(void)journal_query_free(TAKE_PTR(q));
		return r;
	}
	*ret = TAKE_PTR(q);
	return 0;
}

int journal_query(struct journal *j, const struct journal_filter *filter, journal_rows_fn on_rows_,
	void *userdata, struct journal_query **ret, struct err *reterr)
{
	struct journal_ask what;

	if (make_ask(filter, &what) < 0)
		return err_set(reterr, -EINVAL, "A name is too long");
	return ask(j, &what, on_rows_, userdata, ret, reterr);
}

int journal_query_incidents(struct journal *j, const struct journal_incident_filter *filter,
	journal_rows_fn on_rows_, void *userdata, struct journal_query **ret, struct err *reterr)
{
	struct journal_ask what = {
		.what = filter->id ? JOURNAL_INCIDENT : JOURNAL_INCIDENTS,
		.since_ns = filter->since_ns,
		.limit = filter->limit,
		.open = filter->open,
	};

	if (copy_text(what.id, sizeof(what.id), filter->id) < 0)
		return err_set(reterr, -EINVAL, "No incident has an id as long as that");
	return ask(j, &what, on_rows_, userdata, ret, reterr);
}

/* ---- life ---------------------------------------------------------------------------------- */

static int add_timer(struct journal *j, sd_event_source **ret, uint64_t accuracy_us,
	sd_event_time_handler_t on_due)
{
	int r = sd_event_add_time_relative(
		j->event, ret, CLOCK_MONOTONIC, 0, accuracy_us, on_due, j);

	if (r < 0)
		return r;
	(void)sd_event_source_set_priority(*ret, PRIORITY);
	return sd_event_source_set_enabled(*ret, SD_EVENT_OFF);
}

static int make_role(
	struct journal *j, struct role_spawner *spawner, const struct journal_config *config)
{
	const struct role_spec spec = {
		.name = "journal",
		.exe_fd = config->exe_fd,
		.nofile = ROLE_FILES,
		.max_abandoned = 1, /* The one writer is the one that hangs. */
		.accepts = accepts,
		.accept_count = ELEMENTS(accepts),
		.on_message = on_message,
		.on_state = on_state,
		.userdata = j,
	};
	const struct journal_start start = {
		.max_age_ns = config->max_age_ns ?: JOURNAL_MAX_AGE_DEFAULT_NS,
		.max_bytes = config->max_bytes ?: JOURNAL_MAX_BYTES_DEFAULT,
		.check_ns = config->check_ns ?: CHECK_NS,
	};
	CLEAN(buf_done) struct buf b = BUF_INIT(sizeof(start) + JOURNAL_PATH_MAX);
	int r;

	r = role_new(j->event, spawner, &spec, &j->role);
	if (r >= 0)
		r = buf_append(&b, &start, sizeof(start));
	if (r >= 0)
		r = buf_append_string(&b, config->state_dir);
	if (r >= 0)
		r = role_set_start(j->role, b.data, b.len, NULL, 0);
	return r < 0 ? r : role_start(j->role);
}

static int make_sources(struct journal *j)
{
	int r = add_timer(j, &j->send_timer, TIMER_EXACT, on_send_timer);

	if (r >= 0)
		r = add_timer(j, &j->ping_timer, TIMER_ROUGH, on_ping);
	if (r >= 0)
		r = add_timer(j, &j->slow_timer, TIMER_ROUGH, on_slow_timer);
	if (r >= 0)
		r = add_timer(j, &j->drain_timer, TIMER_EXACT, on_drain_timer);
	if (r >= 0)
		r = sync_subscribe(j->events, &(struct sync_filter){ 0 }, 1, &j->subscriber);
	return r;
}

int journal_new(sd_event *event, struct role_spawner *spawner, struct sync_loop *events,
	const struct journal_config *config, const struct journal_ops *ops, void *userdata,
	struct journal **ret, struct err *reterr)
{
	CLEAN(journal_freep) struct journal *j = NULL;
	int r;

	if (config->state_dir[0] != '/' || strlen(config->state_dir) >= JOURNAL_PATH_MAX)
		return err_set(reterr, -EINVAL, "stateDir is not an absolute path");
	if (config->max_bytes != 0 && config->max_bytes < JOURNAL_MAX_BYTES_LEAST)
		return err_set(reterr, -EINVAL, "journalMaxBytes is to be at least 4 MiB");
	j = mem_zalloc(sizeof(*j));
	if (!j)
		return err_set(reterr, -ENOMEM, "Out of memory");
	TAILQ_INIT(&j->waiting);
	TAILQ_INIT(&j->queries);
	j->event = sd_event_ref(event);
	j->events = events;
	j->ops = ops;
	j->userdata = userdata;
	j->batch = BATCH_INIT;
	j->retry_ns = RETRY_MIN_NS;
	j->answer_timeout_ns = config->answer_timeout_ns ?: ANSWER_NS;
	r = make_sources(j);
	if (r >= 0)
		r = make_role(j, spawner, config);
	if (r < 0)
		return err_set(reterr, r, "Start the journal: %s", err_text(NULL, r));
	*ret = TAKE_PTR(j);
	return 0;
}

struct journal *journal_free(struct journal *j)
{
	struct journal_query *q;
	struct waiting *w;

	if (!j)
		return NULL;
	while ((q = TAILQ_FIRST(&j->queries)) != NULL)
		query_unlink(q);
	j->role = role_free(j->role);
	j->send_timer = sd_event_source_disable_unref(j->send_timer);
	j->ping_timer = sd_event_source_disable_unref(j->ping_timer);
	j->slow_timer = sd_event_source_disable_unref(j->slow_timer);
	j->drain_timer = sd_event_source_disable_unref(j->drain_timer);
	j->subscriber = sync_unsubscribe(j->subscriber);
	while ((w = TAILQ_FIRST(&j->waiting)) != NULL)
		waiting_free(j, w);
	buf_done(&j->batch);
	j->event = sd_event_unref(j->event);
	return mem_free(j);
}
