/*
 * Reading, a part at a time. A query is cut into windows of row numbers, so that a part ends in
 * time whether anything matches or not, and no read keeps the log from being moved into the file.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "store/store-internal.h"

#define QUERY_WINDOW  4096 /* rows */
#define ID_PREFIX_MIN 8    /* as everywhere: less is no prefix of an id */

/* Places of the parameters. */
enum {
	P_ABOVE = 1,
	P_UPTO,
	P_SINCE,
	P_UNTIL,
	P_NAMESPACE,
	P_POD,
	P_CONTAINER,
	P_CONTAINER_END,
};

#define RANGE " FROM events WHERE id > ?1 AND id <= ?2 AND time >= ?3 AND time <= ?4"

/* What matches, and the gaps, which match always. */
static int prepare(struct store *s, const struct journal_ask *ask, bool backwards,
	sqlite3_stmt **ret, struct err *reterr)
{
	const char *columns = backwards ? "SELECT id" : "SELECT id, json";
	bool has_prefix = strlen(ask->container) >= ID_PREFIX_MIN;
	CLEAN(buf_done) struct buf sql = BUF_INIT(2048);
	char prefix_end[sizeof(ask->container) + 1];
	sqlite3_stmt *statement = NULL;
	int code, r;

	r = buf_printf(&sql,
		"%s" RANGE "%s%s%s%s AND type IS NOT NULL UNION ALL %s" RANGE
		" AND type IS NULL ORDER BY id%s",
		columns, ask->kubelet ? " AND kubelet = 1" : "",
		ask->ns[0] ? " AND namespace = ?5" : "",
		ask->pod[0] ? " AND (pod = ?6 OR pod_uid = ?6)" : "",
		!ask->container[0] ? ""
			: has_prefix
			? " AND (container = ?7 OR (container_id >= ?7 AND container_id < ?8))"
			: " AND container = ?7",
		columns, backwards ? " DESC" : "");
	if (r < 0)
		return err_set(reterr, r, "Ask the journal: out of memory");
	code = sqlite3_prepare_v2(s->db, (const char *)sql.data, (int)sql.len, &statement, NULL);
	if (code != SQLITE_OK)
		return store_fail(s->db, code, reterr, "Ask the journal");
	(void)sqlite3_bind_int64(statement, P_SINCE, ask->since_ns ? ask->since_ns : INT64_MIN);
	(void)sqlite3_bind_int64(statement, P_UNTIL, ask->until_ns ? ask->until_ns : INT64_MAX);
	(void)sqlite3_bind_text(statement, P_NAMESPACE, ask->ns, -1, SQLITE_STATIC);
	(void)sqlite3_bind_text(statement, P_POD, ask->pod, -1, SQLITE_STATIC);
	(void)sqlite3_bind_text(statement, P_CONTAINER, ask->container, -1, SQLITE_STATIC);
	/* 0xff stands in no UTF-8, so this is behind everything with that beginning. */
	(void)snprintf(prefix_end, sizeof(prefix_end), "%s\xff", ask->container);
	(void)sqlite3_bind_text(statement, P_CONTAINER_END, prefix_end, -1, SQLITE_TRANSIENT);
	*ret = statement;
	return 0;
}

static void bind_window(sqlite3_stmt *statement, uint64_t above, uint64_t upto)
{
	(void)sqlite3_reset(statement);
	(void)sqlite3_bind_int64(statement, P_ABOVE, (int64_t)above);
	(void)sqlite3_bind_int64(statement, P_UPTO, (int64_t)upto);
}

/* The rows that there are when the query begins; what comes later is not part of it. */
static int start(struct store *s, const struct journal_ask *ask, struct journal_position *p,
	struct err *reterr)
{
	int64_t upto = 0, low = 0;
	char sql[96];
	int r;

	r = store_number(s->db, "SELECT max(id) FROM events", &upto, reterr);
	if (r < 0)
		return r;
	(void)snprintf(sql, sizeof(sql), "SELECT min(id) FROM events WHERE time >= %lld",
		(long long)(ask->since_ns ? ask->since_ns : INT64_MIN));
	r = store_number(s->db, sql, &low, reterr);
	if (r < 0)
		return r;
	if (r == 0)
		low = upto + 1;
	*p = (struct journal_position){
		.phase = ask->limit > 0 ? STORE_QUERY_COUNT : STORE_QUERY_READ,
		.upto = (uint64_t)upto,
		.low = (uint64_t)low,
		.at = ask->limit > 0 ? (uint64_t)upto : (uint64_t)low - 1,
	};
	return 0;
}

/* Behind the last row that was there then. */
static int start_more(struct store *s, struct journal_position *p, struct err *reterr)
{
	int64_t upto = 0;
	int r = store_number(s->db, "SELECT max(id) FROM events", &upto, reterr);

	if (r < 0)
		return r;
	*p = (struct journal_position){
		.phase = STORE_QUERY_READ,
		.at = p->upto,
		.low = 1,
		.upto = (uint64_t)upto > p->upto ? (uint64_t)upto : p->upto,
	};
	return 0;
}

static void begin_reading(struct journal_position *p)
{
	p->phase = STORE_QUERY_READ;
	p->at = p->low - 1;
}

/* Backwards over one window, up to the row that is the limit's last. */
static int count_window(struct store *s, sqlite3_stmt *statement, uint64_t limit,
	struct journal_position *p, struct err *reterr)
{
	uint64_t above = time_since(p->at, QUERY_WINDOW);
	int code;

	if (above < p->low - 1)
		above = p->low - 1;
	bind_window(statement, above, p->at);
	while ((code = sqlite3_step(statement)) == SQLITE_ROW)
		if (++p->counted >= limit) {
			p->low = (uint64_t)sqlite3_column_int64(statement, 0);
			begin_reading(p);
			return 0;
		}
	if (code != SQLITE_DONE)
		return store_fail(s->db, code, reterr, "Ask the journal");
	p->at = above;
	if (p->at < p->low)
		begin_reading(p);
	return 0;
}

static int read_window(struct store *s, sqlite3_stmt *statement, struct journal_position *p,
	struct buf *out, struct err *reterr)
{
	uint64_t upto = p->upto - p->at > QUERY_WINDOW ? p->at + QUERY_WINDOW : p->upto;
	int code, r = 0;

	bind_window(statement, p->at, upto);
	while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
		r = buf_append(out, sqlite3_column_text(statement, 1),
			(size_t)sqlite3_column_bytes(statement, 1));
		if (r >= 0)
			r = buf_append(out, "\n", 1);
		if (r < 0)
			return err_set(reterr, r, "Ask the journal: %s", err_text(NULL, r));
		p->at = (uint64_t)sqlite3_column_int64(statement, 0);
		if (out->len >= STORE_PART_BYTES)
			return 0;
	}
	if (code != SQLITE_DONE)
		return store_fail(s->db, code, reterr, "Ask the journal");
	p->at = upto;
	return 0;
}

static int read_part(struct store *s, const struct journal_ask *ask, struct journal_position *p,
	struct buf *out, struct err *reterr)
{
	uint64_t end_ns = time_add(clock_now().mono_ns, STORE_SLICE_NS);
	enum store_phase phase = (enum store_phase)p->phase;
	sqlite3_stmt *statement = NULL;
	int r;

	r = prepare(s, ask, phase == STORE_QUERY_COUNT, &statement, reterr);
	while (r >= 0 && p->phase == phase && (phase == STORE_QUERY_COUNT || p->at < p->upto) &&
		out->len < STORE_PART_BYTES && clock_now().mono_ns < end_ns)
		r = phase == STORE_QUERY_COUNT ? count_window(s, statement, ask->limit, p, reterr)
					       : read_window(s, statement, p, out, reterr);
	(void)sqlite3_finalize(statement);
	return r;
}

int store_query(struct store *s, const struct journal_ask *ask, struct journal_rows *ret,
	struct buf *out, struct err *reterr)
{
	struct journal_position p = ask->position;
	int r = 0;

	if (ask->what != JOURNAL_EVENTS)
		return store_query_incidents(s, ask, ret, out, reterr);
	if (p.phase == STORE_QUERY_START)
		r = start(s, ask, &p, reterr);
	else if (p.phase == STORE_QUERY_MORE && p.upto <= INT64_MAX)
		r = start_more(s, &p, reterr);
	if (p.at > p.upto || p.low > p.upto || p.low == 0) {
		p.phase = STORE_QUERY_READ;
		p.at = p.upto; /* Nothing there, or a position that we never gave out. */
	}
	if (r >= 0 && (p.phase == STORE_QUERY_COUNT || p.at < p.upto))
		r = read_part(s, ask, &p, out, reterr);
	if (r < 0)
		return r;
	*ret = (struct journal_rows){
		.position = p,
		.done = p.phase == STORE_QUERY_READ && p.at >= p.upto,
	};
	return 0;
}
