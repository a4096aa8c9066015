/* Between the files of the store: store.c opens and writes, store-query.c reads, store-clean.c
 * bounds. */
#pragma once

#include <sqlite3.h>
#include <sys/types.h>

#include "store/store.h"

enum store_statement {
	STORE_BEGIN,
	STORE_COMMIT,
	STORE_ROLLBACK,
	STORE_PUT_EPOCH,
	STORE_GET_EPOCH,
	STORE_PUT_EVENT,
	STORE_PUT_DIFFERENCE,
	STORE_PUT_INCIDENT,
	STORE_CUT_INCIDENTS,
	STORE_PAGES,
	STORE_FREE_PAGES,
	STORE_DELETE_OLDEST,
	STORE_DELETE_OLD,
	STORE_DELETE_DIFFERENCES,
	STORE_DELETE_INCIDENTS,
	STORE_DELETE_EPOCHS,
	STORE_STATEMENTS,
};

/* Which file we mean when we say a name. */
struct store_file {
	bool known;
	dev_t dev;
	ino_t ino;
};

struct store {
	sqlite3 *db;
	sqlite3_stmt *statements[STORE_STATEMENTS];
	char *path, *log_path, *vfs;
	uint64_t max_age_ns, max_bytes;
	uint64_t log_limit, file_limit; /* bytes, together at most max_bytes */
	uint64_t page_bytes;
	uint64_t incidents_max; /* so that their documents are at most a quarter of file_limit */

	char epoch[JOURNAL_EPOCH_MAX]; /* that epoch_id is of; "": none known */
	int64_t epoch_id;
	struct buf json;

	uint64_t log_bytes; /* of frames that are not in the file yet */
	struct store_file file, log;
	off_t file_size; /* after the last checkpoint: it does not shrink by itself */

	uint64_t age_due_ns; /* monotonic */
	bool vacuum_is_idle; /* the last try gave nothing back */
};

/* Turns SQLite's code into an errno with a text. */
int store_fail(sqlite3 *db, int code, struct err *reterr, const char *what);
/* Steps a statement that gives at most one number and resets it: 1 with *ret (may be NULL), 0. */
int store_step(struct store *s, enum store_statement which, int64_t *ret, struct err *reterr);
int store_exec(sqlite3 *db, const char *sql, struct err *reterr, const char *what);
/* A number from a statement of one's own. 1, 0: no row or NULL. */
int store_number(sqlite3 *db, const char *sql, int64_t *ret, struct err *reterr);
/* All of the log into the file. */
int store_checkpoint(struct store *s, struct err *reterr);

/* store_query() for incidents. */
int store_query_incidents(struct store *s, const struct journal_ask *ask, struct journal_rows *ret,
	struct buf *out, struct err *reterr);

/* What makes version N + 1 of version N. */
extern const char *const store_migrations[STORE_VERSION];

/* Brings an open file from its version to `count`, a step at a time, each in its own transaction.
 * -EPROTONOSUPPORT if it is newer. */
int store_migrate(sqlite3 *db, const char *const *steps, int count, struct err *reterr);
