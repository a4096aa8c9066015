#include "kernel/probe-agent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "base/clock.h"
#include "base/err.h"

#define PROBE_STUCK_TEXT "%u probes hang in the kernel; no more are started until one is freed"

struct question {
	TAILQ_ENTRY(question) entry;
	struct probe *probe;
	uint32_t type;
	uint64_t timeout_ns;
	uint64_t wait_until_ns;    /* while it waits for its turn */
	probe_on_answer on_answer; /* NULL: forgotten */
	void *userdata;
	size_t len;
	uint8_t payload[];
};

struct probe {
	sd_event *event;
	sd_event_source *turn;  /* runs give_turn() from the loop */
	sd_event_source *timer; /* of the questions that wait */
	struct role *role;
	TAILQ_HEAD(, question) waiting;
	unsigned waiting_count;
	struct question *asked; /* the one that the probe has, or NULL */
	uint64_t answered, late, refused;
};

static const struct channel_type accepts[] = {
	{ PROBE_MSG_ANSWER, sizeof(struct probe_result), CHANNEL_PAYLOAD_MAX, CHANNEL_FDS_ANY },
};

/* --- the end of a question --- */

static void question_end(
	struct question *q, int r, const struct probe_answer *answer, const char *reason)
{
	if (q->on_answer)
		q->on_answer(r, answer, reason, q->userdata);
	(void)mem_free(q);
}

static void leave_waiting(struct probe *p, struct question *q)
{
	TAILQ_REMOVE(&p->waiting, q, entry);
	p->waiting_count--;
}

/* True when no probe will come for some time, since too many hang. */
static bool is_full(const struct probe *p, unsigned *ret_stuck)
{
	struct role_status s;

	role_status(p->role, &s);
	*ret_stuck = s.abandoned;
	return s.state == ROLE_FAILED && s.abandoned >= PROBE_STUCK_MAX;
}

static void refuse_waiting(struct probe *p)
{
	struct question *q;
	unsigned stuck;

	/* Only those that are there now: a callback may ask anew, which is refused at once. */
	while (is_full(p, &stuck) && (q = TAILQ_FIRST(&p->waiting)) != NULL) {
		leave_waiting(p, q);
		p->refused++;
		question_end(q, -EBUSY, NULL, FMT(PROBE_STUCK_TEXT, stuck));
	}
}

static void end_overdue(struct probe *p)
{
	uint64_t now_ns = clock_now().mono_ns;
	struct question *q;

	while ((q = TAILQ_FIRST(&p->waiting)) != NULL && q->wait_until_ns <= now_ns) {
		struct role_status s;

		leave_waiting(p, q);
		p->refused++;
		role_status(p->role, &s);
		question_end(q, -EAGAIN, NULL,
			FMT("No probe was free in time (%s)",
				s.reason[0] ? s.reason : role_state_name(s.state)));
	}
}

/* --- asking --- */

static void schedule(struct probe *p)
{
	const struct question *q = TAILQ_FIRST(&p->waiting);

	if (!q) {
		(void)sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
		return;
	}
	/* They wait equally long, so the first is the first that is due. */
	(void)sd_event_source_set_time(p->timer, q->wait_until_ns / NSEC_PER_USEC + 1);
	(void)sd_event_source_set_enabled(p->timer, SD_EVENT_ONESHOT);
}

static void next_turn(struct probe *p)
{
	(void)sd_event_source_set_enabled(p->turn, SD_EVENT_ONESHOT);
}

static int judge_answer(const struct question *q, const struct channel_message *m,
	struct probe_result *result, struct probe_answer *ret)
{
	unsigned fds;

	memcpy(result, m->payload, sizeof(*result));
	if (result->code > 0 || result->code < -4095)
		return -EBADMSG;
	fds = q->type == PROBE_MSG_SECRET && result->code == 0 ? 1 : 0;
	if (m->fd_count != fds)
		return -EBADMSG;
	*ret = (struct probe_answer){
		.result = result,
		.bytes = (const char *)m->payload + sizeof(*result),
		.len = m->len - sizeof(*result),
		.fd = fds > 0 ? m->fds[0] : -EBADF,
	};
	return result->code;
}

static void on_role_answer(int r, struct channel_message *m, void *userdata)
{
	struct question *q = userdata;
	struct probe *p = q->probe;
	struct probe_answer answer;
	struct probe_result result;
	const char *reason = "";

	p->asked = NULL;
	next_turn(p);
	if (r == -ETIMEDOUT) {
		p->late++;
		reason = "The read hangs in the kernel";
	} else if (r < 0) {
		reason = "The probe ended before it answered";
	} else {
		r = m->type == PROBE_MSG_ANSWER ? judge_answer(q, m, &result, &answer) : -EBADMSG;
		p->answered++;
		if (r < 0)
			reason = strerrordesc_np(-r) ?: "Unknown error";
	}
	question_end(q, r, r < 0 ? NULL : &answer, reason);
}

/* Hands the next question to the probe, if that is free and there. */
static int on_turn(sd_event_source *source, void *userdata)
{
	struct probe *p = userdata;
	struct question *q;
	int r = 0;

	refuse_waiting(p);
	while (!p->asked && (q = TAILQ_FIRST(&p->waiting)) != NULL && r >= 0) {
		r = role_request(p->role, q->type, q->payload, q->len, NULL, 0, q->timeout_ns,
			on_role_answer, q);
		if (r < 0)
			break; /* It is not running; on_state gives the next turn. */
		leave_waiting(p, q);
		p->asked = q;
	}
	schedule(p);
	return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
	end_overdue(userdata);
	schedule(userdata);
	return 0;
}

static void on_state(struct role *role, enum role_state old_state, enum role_state new_state,
	const char *reason, void *userdata)
{
	next_turn(userdata);
}

static int ask(struct probe *p, uint32_t type, const void *payload, size_t len, uint64_t timeout_ns,
	probe_on_answer on_answer, void *userdata, struct err *reterr)
{
	struct question *q;
	unsigned stuck;

	if (is_full(p, &stuck)) {
		p->refused++;
		return err_set(reterr, -EBUSY, PROBE_STUCK_TEXT, stuck);
	}
	if (p->waiting_count >= PROBE_WAITING_MAX) {
		p->refused++;
		return err_set(reterr, -EBUSY, "%u questions wait for the probe already",
			p->waiting_count);
	}
	q = mem_zalloc(sizeof(*q) + len);
	if (!q)
		return err_set(reterr, -ENOMEM, "Out of memory");
	q->probe = p;
	q->type = type;
	q->timeout_ns = timeout_ns ?: PROBE_TIMEOUT_NS;
	q->wait_until_ns = time_add(clock_now().mono_ns, PROBE_WAIT_NS);
	q->on_answer = on_answer;
	q->userdata = userdata;
	q->len = len;
	memcpy(q->payload, payload, len);
	TAILQ_INSERT_TAIL(&p->waiting, q, entry);
	p->waiting_count++;
	next_turn(p);
	return 0;
}

int probe_read(struct probe *p, struct proc_id id, enum probe_file file, uint64_t timeout_ns,
	probe_on_answer on_answer, void *userdata, struct err *reterr)
{
	struct probe_read_request request = {
		.pid = id.pid,
		.file = (uint32_t)file,
		.start_ticks = id.start_ticks,
	};

	return ask(p, PROBE_MSG_READ, &request, sizeof(request), timeout_ns, on_answer, userdata,
		reterr);
}

static int ask_path(struct probe *p, uint32_t type, const char *path, uint64_t timeout_ns,
	probe_on_answer on_answer, void *userdata, struct err *reterr)
{
	size_t len = strlen(path);

	if (len == 0 || len >= PROBE_PATH_MAX)
		return err_set(reterr, -EINVAL, "A path of %zu bytes", len);
	return ask(p, type, path, len, timeout_ns, on_answer, userdata, reterr);
}

int probe_stat(struct probe *p, const char *path, uint64_t timeout_ns, probe_on_answer on_answer,
	void *userdata, struct err *reterr)
{
	return ask_path(p, PROBE_MSG_STAT, path, timeout_ns, on_answer, userdata, reterr);
}

int probe_statfs(struct probe *p, const char *path, uint64_t timeout_ns, probe_on_answer on_answer,
	void *userdata, struct err *reterr)
{
	return ask_path(p, PROBE_MSG_STATFS, path, timeout_ns, on_answer, userdata, reterr);
}

int probe_file(struct probe *p, const char *path, uint64_t timeout_ns, probe_on_answer on_answer,
	void *userdata, struct err *reterr)
{
	return ask_path(p, PROBE_MSG_FILE, path, timeout_ns, on_answer, userdata, reterr);
}

int probe_secret(struct probe *p, const char *path, uint64_t timeout_ns, probe_on_answer on_answer,
	void *userdata, struct err *reterr)
{
	return ask_path(p, PROBE_MSG_SECRET, path, timeout_ns, on_answer, userdata, reterr);
}

static int ask_place(struct probe *p, uint32_t type, const struct probe_place *place,
	const char *path, uint64_t timeout_ns, probe_on_answer on_answer, void *userdata,
	struct err *reterr)
{
	uint8_t request[sizeof(*place) + PROBE_PATH_MAX];
	size_t len = strlen(str_or_empty(path));

	if (len >= PROBE_PATH_MAX || (place->fd < 0) != (len > 0))
		return err_set(reterr, -EINVAL, "A path of %zu bytes", len);
	memcpy(request, place, sizeof(*place));
	memcpy(request + sizeof(*place), str_or_empty(path), len);
	return ask(p, type, request, sizeof(*place) + len, timeout_ns, on_answer, userdata, reterr);
}

int probe_find(struct probe *p, const struct probe_place *place, const char *path,
	uint64_t timeout_ns, probe_on_answer on_answer, void *userdata, struct err *reterr)
{
	return ask_place(p, PROBE_MSG_FIND, place, path, timeout_ns, on_answer, userdata, reterr);
}

int probe_file_at(struct probe *p, const struct probe_place *place, const char *path,
	uint64_t timeout_ns, probe_on_answer on_answer, void *userdata, struct err *reterr)
{
	return ask_place(
		p, PROBE_MSG_FILE_AT, place, path, timeout_ns, on_answer, userdata, reterr);
}

void probe_forget(struct probe *p, void *userdata)
{
	struct question *q;

	TAILQ_FOREACH (q, &p->waiting, entry)
		if (q->userdata == userdata)
			q->on_answer = NULL;
	if (p->asked && p->asked->userdata == userdata)
		p->asked->on_answer = NULL;
}

/* --- start and end --- */

static int add_sources(struct probe *p)
{
	int r;

	r = sd_event_add_defer(p->event, &p->turn, on_turn, p);
	if (r < 0)
		return r;
	(void)sd_event_source_set_enabled(p->turn, SD_EVENT_OFF);
	r = sd_event_add_time(p->event, &p->timer, CLOCK_MONOTONIC, 0, 1000, on_timer, p);
	if (r < 0)
		return r;
	return sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
}

int probe_new(sd_event *event, struct role_spawner *spawner, int exe_fd, struct probe **ret)
{
	CLEAN(probe_freep) struct probe *p = mem_zalloc(sizeof(*p));
	struct role_spec spec = {
		.name = "probe",
		.exe_fd = exe_fd,
		.max_abandoned = PROBE_STUCK_MAX,
		.max_requests = 1,
		.accepts = accepts,
		.accept_count = ELEMENTS(accepts),
		.on_state = on_state,
	};
	int r;

	if (!p)
		return -ENOMEM;
	TAILQ_INIT(&p->waiting);
	p->event = sd_event_ref(event);
	spec.userdata = p;
	r = add_sources(p);
	if (r >= 0)
		r = role_new(event, spawner, &spec, &p->role);
	if (r >= 0)
		r = role_start(p->role);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(p);
	return 0;
}

struct probe *probe_free(struct probe *p)
{
	struct question *q;

	if (!p)
		return NULL;
	p->role = role_free(p->role);
	while ((q = TAILQ_FIRST(&p->waiting)) != NULL) {
		leave_waiting(p, q);
		(void)mem_free(q);
	}
	p->asked = mem_free(p->asked);
	p->turn = sd_event_source_disable_unref(p->turn);
	p->timer = sd_event_source_disable_unref(p->timer);
	p->event = sd_event_unref(p->event);
	return mem_free(p);
}

void probe_status(const struct probe *p, struct probe_status *ret)
{
	*ret = (struct probe_status){
		.waiting = p->waiting_count,
		.answered = p->answered,
		.late = p->late,
		.refused = p->refused,
	};
	role_status(p->role, &ret->role);
}
