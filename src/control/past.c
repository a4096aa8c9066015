/*
 * Old events for one client: from who keeps them, part by part, each asked for when the one before is
 * written, so that a slow reader costs nothing; then over to the stream, behind the last event that
 * the answer covered. Where the history has lost that place meanwhile, what has come since is asked
 * for as well.
 *
 * When there is no answer, or no more of it, the client is told why and gets what the history has
 * behind the last event that it was given.
 */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "control/server-internal.h"
#include "sync/sync.h"

void past_done(struct client *c)
{
	if (c->past.query)
		c->server->ops.past_free(c->past.query);
	c->past = (struct past){ 0 };
}

static int append_json(const char *text, size_t len, void *out)
{
	return buf_append(out, text, len);
}

/* In the middle of a stream. */
static int put_note(struct client *c, const char *why)
{
	json_t *line = json_pack(
		"{s:s, s:s}", "journal", why, "epoch", sync_loop_epoch(c->server->events));
	int r = line ? 0 : -ENOMEM;

	if (line && json_dump_callback(line, append_json, &c->out, JSON_COMPACT) < 0)
		r = -ENOMEM;
	json_decref(line);
	return r < 0 ? r : buf_append_string(&c->out, "\n");
}

/* There is no stream behind it. */
static void past_end_only(struct client *c, const char *why)
{
	bool has_begun = c->past.has_begun;
	char clean[256] = "";

	if (why)
		(void)str_clean(clean, sizeof(clean), why, strlen(why));
	past_done(c);
	client_set_state(c, CLIENT_LAST);
	if (why && !has_begun)
		client_refuse(c, -EIO, clean);
	else if (why)
		(void)put_note(c, clean);
	else if (!has_begun)
		(void)client_begin_stream(c, "");
}

/* From here on out of the history. `why`: NULL if the past is complete. */
static void past_end(struct client *c, const char *why)
{
	const struct sync_loop *events = c->server->events;
	uint64_t from = c->past.next > 1 ? c->past.next : 1;
	bool has_begun = c->past.has_begun;
	char clean[256];
	int r = 0;

	if (c->past_only) {
		past_end_only(c, why);
		return;
	}
	if (why) /* It may be the query's own. */
		(void)str_clean(clean, sizeof(clean), why, strlen(why));
	/* What is complete leaves no gap untold; without it there is only what there is. */
	if (!why)
		from = c->past.covers + 1;
	else if (from < sync_oldest(events))
		from = sync_oldest(events);
	past_done(c);
	sync_seek(c->subscriber, from);
	client_set_state(c, CLIENT_STREAM);
	if (!has_begun)
		r = client_begin_stream(c, why ? clean : NULL);
	else if (why)
		r = put_note(c, clean);
	if (r < 0)
		client_set_state(c, CLIENT_LAST); /* No memory: nothing that could be told. */
}

/* The sequence of the last line that is an event of this epoch; 0: none is. */
static uint64_t last_sequence(const struct client *c, const char *lines, size_t len)
{
	char begin[128], digits[24];
	size_t begin_len, at = len;
	uint64_t sequence;

	(void)str_format(begin, sizeof(begin),
		"{\"epoch\":\"%s\",\"sequence\":", sync_loop_epoch(c->server->events));
	begin_len = strlen(begin);
	while (at > 0) {
		size_t end = at, n = 0;
		const char *newline = memrchr(lines, '\n', end - 1);

		at = newline ? (size_t)(newline - lines) + 1 : 0;
		if (end - at <= begin_len || memcmp(lines + at, begin, begin_len) != 0)
			continue;
		for (const char *p = lines + at + begin_len;
			p < lines + end && *p >= '0' && *p <= '9' && n < sizeof(digits) - 1; p++)
			digits[n++] = *p;
		digits[n] = '\0';
		if (str_to_u64(digits, &sequence) >= 0)
			return sequence;
	}
	return 0;
}

static void past_on_part(
	void *reader, int r, const char *text, const void *lines, size_t len, bool done)
{
	struct client *c = reader;
	uint64_t last;

	c->past.is_asked = false;
	if (r < 0) {
		past_end(c, text);
		(void)client_step(c);
		return;
	}
	r = c->past.has_begun ? 0 : client_begin_stream(c, c->past_only ? "" : NULL);
	c->past.has_begun = true;
	if (r >= 0 && len > 0) {
		last = c->past_only ? 0 : last_sequence(c, lines, len);
		if (last > 0)
			c->past.next = last + 1;
		r = buf_append(&c->out, lines, len);
	}
	c->past.is_done = done;
	if (r < 0) /* No memory: a stream with a hole in it is not gone on with. */
		client_set_state(c, CLIENT_LAST);
	(void)client_step(c);
}

static void past_ask(struct client *c)
{
	struct err e = { 0 };
	int r;

	c->past.is_done = false;
	r = c->server->ops.past_next(c->past.query, &e);
	if (r < 0)
		past_end(c, err_text(&e, r));
	else
		c->past.is_asked = true;
}

void past_go_on(struct client *c)
{
	uint64_t covers;

	if (c->past.is_asked)
		return;
	if (!c->past.is_done) {
		past_ask(c);
		return;
	}
	if (c->past_only) {
		past_end(c, NULL);
		return;
	}
	covers = c->server->ops.past_covers(c->past.query);
	/* Once more only if that brings us on: who keeps them may be behind as well. */
	if (covers + 1 < sync_oldest(c->server->events) &&
		(!c->past.has_more || covers > c->past.covers)) {
		c->past.has_more = true;
		c->past.covers = covers;
		past_ask(c);
		return;
	}
	c->past.covers = covers;
	past_end(c, NULL);
}

void past_begin(struct client *c, const struct control_request *request)
{
	const struct control_ops *ops = &c->server->ops;
	struct err e = { 0 };
	int r;

	client_set_state(c, CLIENT_PAST);
	if (!ops->past) {
		past_end(c, "There is no journal");
		return;
	}
	r = ops->past(c->server->userdata, request, past_on_part, c, &c->past.query, &e);
	if (r < 0)
		past_end(c, err_text(&e, r));
	else
		c->past.is_asked = true;
}
