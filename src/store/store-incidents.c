/*
 * Reading incidents: all in one line each without their documents, or those of one id with them.
 * There are few (store.c keeps at most incidents_max), so a part goes by row numbers alone; they are
 * in the order in which the incidents were first written.
 */
#include <stdio.h>
#include <string.h>

#include "model/json-write.h"
#include "store/batch.h"
#include "store/store-internal.h"

/* Places of the parameters. */
enum {
	P_ABOVE = 1,
	P_UPTO,
	P_SINCE,
	P_OPEN,
	P_ID,
	P_ID_END,
	P_LIMIT,
};

enum {
	C_ROW,
	C_ID,
	C_OPENED,
	C_CHANGED,
	C_CLOSED,
	C_CAUSE,
	C_SUBJECT,
	C_STATE,
	C_DOCUMENT,
};

#define FROM                                                                                       \
	" FROM incidents WHERE rowid > ?1 AND rowid <= ?2 AND (closed IS NULL OR changed >= ?3)"   \
	" AND (?4 = 0 OR closed IS NULL) AND id >= ?5 AND id < ?6"

static int prepare(struct store *s, const struct journal_ask *ask, const char *sql,
	sqlite3_stmt **ret, struct err *reterr)
{
	char id_end[sizeof(ask->id) + 1];
	sqlite3_stmt *statement = NULL;
	int code = sqlite3_prepare_v2(s->db, sql, -1, &statement, NULL);

	if (code != SQLITE_OK)
		return store_fail(s->db, code, reterr, "Ask the journal");
	(void)sqlite3_bind_int64(statement, P_ABOVE, 0);
	(void)sqlite3_bind_int64(statement, P_UPTO, INT64_MAX);
	(void)sqlite3_bind_int64(statement, P_SINCE, ask->since_ns ? ask->since_ns : INT64_MIN);
	(void)sqlite3_bind_int(statement, P_OPEN, ask->open != 0);
	(void)sqlite3_bind_text(statement, P_ID, ask->id, -1, SQLITE_STATIC);
	/* 0xff stands in no UTF-8, so this is behind everything with that beginning. */
	(void)snprintf(id_end, sizeof(id_end), "%s\xff", ask->id);
	(void)sqlite3_bind_text(statement, P_ID_END, id_end, -1, SQLITE_TRANSIENT);
	*ret = statement;
	return 0;
}

/* Which rows there are, and with which of them the newest `limit` begin. */
static int start(struct store *s, const struct journal_ask *ask, struct journal_position *ret,
	struct err *reterr)
{
	struct journal_position p = { .phase = STORE_QUERY_READ, .low = 1 };
	sqlite3_stmt *statement = NULL;
	int code, r;

	r = prepare(
		s, ask, "SELECT rowid" FROM " ORDER BY rowid DESC LIMIT ?7", &statement, reterr);
	if (r < 0)
		return r;
	(void)sqlite3_bind_int64(statement, P_LIMIT,
		ask->limit > 0 && ask->limit <= INT64_MAX ? (int64_t)ask->limit : -1);
	while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
		p.low = (uint64_t)sqlite3_column_int64(statement, 0);
		if (p.upto == 0)
			p.upto = p.low;
	}
	(void)sqlite3_finalize(statement);
	if (code != SQLITE_DONE)
		return store_fail(s->db, code, reterr, "Ask the journal");
	p.at = p.low - 1;
	*ret = p;
	return 0;
}

static void write_time(struct json_write *w, const char *key, sqlite3_stmt *statement, int column)
{
	json_write_time(w, key, sqlite3_column_int64(statement, column)); /* Of NULL: 0. */
}

static void write_text(struct json_write *w, const char *key, sqlite3_stmt *statement, int column)
{
	json_write_text(w, key, (const char *)sqlite3_column_text(statement, column));
}

static int put_line(sqlite3_stmt *statement, bool with_document, struct buf *out)
{
	struct json_write w = JSON_WRITE_INIT(out);
	int r;

	json_write_object(&w, NULL);
	write_text(&w, "id", statement, C_ID);
	write_text(&w, "cause", statement, C_CAUSE);
	write_text(&w, "subject", statement, C_SUBJECT);
	write_text(&w, "state", statement, C_STATE);
	write_time(&w, "openedAt", statement, C_OPENED);
	write_time(&w, "changedAt", statement, C_CHANGED);
	write_time(&w, "closedAt", statement, C_CLOSED);
	r = json_write_result(&w);
	if (r >= 0 && with_document) {
		r = buf_append_string(out, ",\"document\":");
		if (r >= 0)
			r = buf_append(out, sqlite3_column_text(statement, C_DOCUMENT),
				(size_t)sqlite3_column_bytes(statement, C_DOCUMENT));
	}
	return r < 0 ? r : buf_append_string(out, "}\n");
}

static int read_part(struct store *s, const struct journal_ask *ask, struct journal_position *p,
	struct buf *out, struct err *reterr)
{
	bool with_document = ask->what == JOURNAL_INCIDENT;
	sqlite3_stmt *statement = NULL;
	int code, r;

	r = prepare(s, ask,
		"SELECT rowid, id, opened, changed, closed, cause, subject, state, document" FROM
		" ORDER BY rowid",
		&statement, reterr);
	if (r < 0)
		return r;
	(void)sqlite3_bind_int64(statement, P_ABOVE, (int64_t)p->at);
	(void)sqlite3_bind_int64(statement, P_UPTO, (int64_t)p->upto);
	while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
		r = put_line(statement, with_document, out);
		if (r < 0) {
			(void)err_set(reterr, r, "Ask the journal: %s", err_text(NULL, r));
			break;
		}
		p->at = (uint64_t)sqlite3_column_int64(statement, C_ROW);
		if (out->len >= STORE_PART_BYTES)
			break;
	}
	if (code == SQLITE_DONE)
		p->at = p->upto;
	else if (code != SQLITE_ROW)
		r = store_fail(s->db, code, reterr, "Ask the journal");
	(void)sqlite3_finalize(statement);
	return r;
}

int store_query_incidents(struct store *s, const struct journal_ask *ask, struct journal_rows *ret,
	struct buf *out, struct err *reterr)
{
	struct journal_position p = ask->position;
	int r = 0;

	if (p.phase == STORE_QUERY_START)
		r = start(s, ask, &p, reterr);
	if (p.upto > INT64_MAX || p.at > p.upto)
		p.at = p.upto = 0; /* A position that we never gave out. */
	if (r >= 0 && p.at < p.upto)
		r = read_part(s, ask, &p, out, reterr);
	if (r < 0)
		return r;
	p.phase = STORE_QUERY_READ;
	*ret = (struct journal_rows){ .position = p, .done = p.at >= p.upto };
	return 0;
}
