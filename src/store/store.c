#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "model/event-json.h"
#include "store/batch.h"
#include "store/store-internal.h"

#define STORE_APPLICATION     0x706c6567 /* "pleg", in the header of the file */
#define STORE_BUSY_MS         2000
#define STORE_CHECK_STEPS     10000 /* of SQLite's machine, between looks at the clock */
#define STORE_JSON_MAX        (64u << 10)
#define STORE_LOG_MIN         (1u << 20)
#define STORE_LOG_MAX         (4u << 20)
#define STORE_LOG_SHARE       8u /* of max_bytes */
#define STORE_INCIDENTS_SHARE 4u /* of the file's limit, for those that are as long as may be */
#define STORE_INCIDENTS_MIN   4u
#define STORE_LOG_EXCESS      3u /* times its limit: what one batch and one step of deleting add to it */

/* A missed row has no type; it says that events are missing there, and passes every filter. */
const char *const store_migrations[STORE_VERSION] = {
	"CREATE TABLE epochs (id INTEGER PRIMARY KEY, epoch TEXT NOT NULL UNIQUE,"
	" first_seen INTEGER NOT NULL);"
	"CREATE TABLE events (id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL,"
	" sequence INTEGER NOT NULL, time INTEGER NOT NULL, type TEXT, kubelet INTEGER NOT NULL,"
	" namespace TEXT, pod TEXT, pod_uid TEXT, container TEXT, container_id TEXT,"
	" json TEXT NOT NULL, UNIQUE (epoch, sequence));"
	"CREATE INDEX events_time ON events (time);"
	"CREATE INDEX events_pod ON events (namespace, pod);"
	"CREATE INDEX events_container ON events (container_id);"
	"CREATE INDEX events_type ON events (type);"
	"CREATE TABLE differences (container_id TEXT NOT NULL, since INTEGER NOT NULL,"
	" until INTEGER, runtime TEXT NOT NULL, kernel TEXT NOT NULL,"
	" PRIMARY KEY (container_id, since)) WITHOUT ROWID;"
	"CREATE INDEX differences_since ON differences (since);"
	"CREATE TABLE incidents (id TEXT PRIMARY KEY, opened INTEGER NOT NULL,"
	" changed INTEGER NOT NULL, closed INTEGER, cause TEXT NOT NULL, document TEXT NOT NULL);"
	"CREATE INDEX incidents_opened ON incidents (opened);"
	"CREATE TABLE plans (id TEXT PRIMARY KEY, opened INTEGER NOT NULL,"
	" changed INTEGER NOT NULL, closed INTEGER, cause TEXT NOT NULL, document TEXT NOT NULL);"
	"CREATE INDEX plans_opened ON plans (opened);",
	"ALTER TABLE incidents ADD COLUMN subject TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE incidents ADD COLUMN state TEXT NOT NULL DEFAULT '';"
	"CREATE INDEX incidents_changed ON incidents (changed);",
};

static const char *const statement_texts[STORE_STATEMENTS] = {
	[STORE_BEGIN] = "BEGIN IMMEDIATE",
	[STORE_COMMIT] = "COMMIT",
	[STORE_ROLLBACK] = "ROLLBACK",
	[STORE_PUT_EPOCH] = "INSERT INTO epochs (epoch, first_seen) VALUES (?1, ?2)"
			    " ON CONFLICT (epoch) DO NOTHING",
	[STORE_GET_EPOCH] = "SELECT id FROM epochs WHERE epoch = ?1",
	[STORE_PUT_EVENT] = "INSERT INTO events (epoch, sequence, time, type, kubelet, namespace,"
			    " pod, pod_uid, container, container_id, json)"
			    " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
			    " ON CONFLICT (epoch, sequence) DO NOTHING",
	[STORE_PUT_DIFFERENCE] =
		"INSERT INTO differences (container_id, since, until, runtime, kernel)"
		" VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (container_id, since) DO UPDATE SET"
		" until = excluded.until, runtime = excluded.runtime, kernel = excluded.kernel",
	[STORE_PUT_INCIDENT] =
		"INSERT INTO incidents (id, opened, changed, closed, cause, subject, state,"
		" document) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO UPDATE SET"
		" opened = excluded.opened, changed = excluded.changed, closed = excluded.closed,"
		" cause = excluded.cause, subject = excluded.subject, state = excluded.state,"
		" document = excluded.document WHERE excluded.changed >= incidents.changed",
	[STORE_CUT_INCIDENTS] = "DELETE FROM incidents WHERE rowid IN (SELECT rowid FROM incidents"
				" ORDER BY closed IS NULL DESC, changed DESC LIMIT -1 OFFSET ?1)",
	[STORE_PAGES] = "PRAGMA page_count",
	[STORE_FREE_PAGES] = "PRAGMA freelist_count",
	[STORE_DELETE_OLDEST] = "DELETE FROM events WHERE id IN"
				" (SELECT id FROM events ORDER BY id LIMIT ?1)",
	[STORE_DELETE_OLD] = "DELETE FROM events WHERE id IN"
			     " (SELECT id FROM events WHERE time < ?1 ORDER BY time LIMIT ?2)",
	[STORE_DELETE_DIFFERENCES] = "DELETE FROM differences WHERE since < ?1",
	[STORE_DELETE_INCIDENTS] =
		"DELETE FROM incidents WHERE closed IS NOT NULL AND changed < ?1",
	[STORE_DELETE_EPOCHS] = "DELETE FROM epochs WHERE NOT EXISTS"
				" (SELECT 1 FROM events WHERE events.epoch = epochs.id)",
};

/* ---- errors -------------------------------------------------------------------------------- */

static int code_from_errno(int system_errno, int otherwise)
{
	switch (system_errno) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG: return -ENOSPC;
	case EROFS: return -EROFS;
	case EACCES:
	case EPERM: return -EACCES;
	case ENOENT:
	case ENOTDIR:
	case EISDIR:
	case ELOOP:
	case ENOMEM:
	case EMFILE:
	case ENFILE: return -system_errno;
	default: return otherwise;
	}
}

static int code_from_sqlite(sqlite3 *db, int code)
{
	int system_errno = db ? sqlite3_system_errno(db) : 0;

	if (code == SQLITE_READONLY_DBMOVED)
		return -ESTALE;
	if (code == SQLITE_IOERR_SHORT_READ)
		return -EUCLEAN;
	switch (code & 0xff) {
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB: return -EUCLEAN;
	case SQLITE_FULL: return -ENOSPC;
	case SQLITE_BUSY:
	case SQLITE_LOCKED: return -EBUSY;
	case SQLITE_NOMEM: return -ENOMEM;
	case SQLITE_INTERRUPT: return -ETIMEDOUT;
	case SQLITE_TOOBIG: return -EMSGSIZE;
	case SQLITE_PERM:
	case SQLITE_AUTH: return -EACCES;
	case SQLITE_READONLY: return code_from_errno(system_errno, -EROFS);
	default: return code_from_errno(system_errno, -EIO);
	}
}

int store_fail(sqlite3 *db, int code, struct err *reterr, const char *what)
{
	int system_errno = db ? sqlite3_system_errno(db) : 0;
	int r = code_from_sqlite(db, code);

	if (system_errno != 0 &&
		((code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN))
		return err_set(reterr, r, "%s: %s (%s)", what, sqlite3_errstr(code),
			strerrordesc_np(system_errno) ?: "?");
	return err_set(reterr, r, "%s: %s", what, db ? sqlite3_errmsg(db) : sqlite3_errstr(code));
}

/* ---- small steps --------------------------------------------------------------------------- */

int store_exec(sqlite3 *db, const char *sql, struct err *reterr, const char *what)
{
	int code = sqlite3_exec(db, sql, NULL, NULL, NULL);

	return code == SQLITE_OK ? 0 : store_fail(db, code, reterr, what);
}

int store_number(sqlite3 *db, const char *sql, int64_t *ret, struct err *reterr)
{
	sqlite3_stmt *statement = NULL;
	int code, r = 0;

	code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_step(statement);
	if (code == SQLITE_ROW && sqlite3_column_type(statement, 0) != SQLITE_NULL) {
		*ret = sqlite3_column_int64(statement, 0);
		r = 1;
	} else if (code != SQLITE_ROW && code != SQLITE_DONE) {
		r = store_fail(db, code, reterr, sql);
	}
	(void)sqlite3_finalize(statement);
	return r;
}

int store_step(struct store *s, enum store_statement which, int64_t *ret, struct err *reterr)
{
	sqlite3_stmt *statement = s->statements[which];
	int code = sqlite3_step(statement), r = 0;

	if (code == SQLITE_ROW) {
		if (ret)
			*ret = sqlite3_column_int64(statement, 0);
		r = 1;
	} else if (code != SQLITE_DONE) {
		r = store_fail(s->db, code, reterr, "Use the journal");
	}
	(void)sqlite3_reset(statement);
	(void)sqlite3_clear_bindings(statement);
	return r;
}

/* ---- the files ----------------------------------------------------------------------------- */

static struct store_file file_now(const char *path, off_t *ret_size)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return (struct store_file){ 0 };
	if (ret_size)
		*ret_size = st.st_size;
	return (struct store_file){ .known = true, .dev = st.st_dev, .ino = st.st_ino };
}

static void note_files(struct store *s)
{
	s->file = file_now(s->path, &s->file_size);
	s->log = file_now(s->log_path, NULL);
}

static bool is_same(struct store_file a, struct store_file b)
{
	return a.known == b.known && a.dev == b.dev && a.ino == b.ino;
}

int store_check(struct store *s, struct err *reterr)
{
	off_t size = 0, log_size = 0;
	struct store_file file = file_now(s->path, &size);
	struct store_file log = file_now(s->log_path, &log_size), old_log = s->log;

	if (s->file.known && !is_same(file, s->file)) {
		/* The old file gets what is its own; no other may ever meet its log. */
		(void)store_checkpoint(s, NULL);
		if (log.known && is_same(log, old_log))
			(void)unlink(s->log_path);
		return err_set(reterr, -ESTALE, "%s was %s while it was in use", s->path,
			file.known ? "replaced by another file" : "deleted");
	}
	if (size < s->file_size)
		return err_set(reterr, -EUCLEAN, "%s was cut from %lld to %lld bytes", s->path,
			(long long)s->file_size, (long long)size);
	if (!s->log.known) { /* It comes with the first write. */
		s->log = log;
		return 0;
	}
	if (!is_same(log, s->log)) {
		/* We have it open still: all of it goes into the file, and nothing is lost. */
		(void)store_checkpoint(s, NULL);
		return err_set(reterr, -ESTALE, "%s was %s while it was in use", s->log_path,
			log.known ? "replaced by another file" : "deleted");
	}
	if ((uint64_t)log_size < s->log_bytes)
		return err_set(reterr, -EUCLEAN, "%s was cut to %lld bytes", s->log_path,
			(long long)log_size);
	return 0;
}

int store_checkpoint(struct store *s, struct err *reterr)
{
	int frames = 0, done = 0;
	int code =
		sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &frames, &done);

	if (code != SQLITE_OK)
		return store_fail(s->db, code, reterr, "Move the log into the journal");
	if (done >= frames)
		s->log_bytes = 0;
	note_files(s);
	return 0;
}

static int on_commit(void *userdata, sqlite3 *db, const char *name, int frames)
{
	struct store *s = userdata;

	/* The format of the log: a header of 32 bytes, one of 24 before each page. */
	s->log_bytes = 32 + (uint64_t)frames * (s->page_bytes + 24);
	return SQLITE_OK;
}

/* ---- opening ------------------------------------------------------------------------------- */

static uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int is_newer(int64_t version, int known, struct err *reterr)
{
	return err_set(reterr, -EPROTONOSUPPORT,
		"It has version %lld and this pleg knows %d: a newer pleg wrote it",
		(long long)version, known);
}

int store_migrate(sqlite3 *db, const char *const *steps, int count, struct err *reterr)
{
	int64_t version = 0;
	int r = store_number(db, "PRAGMA user_version", &version, reterr);

	if (r < 0)
		return r;
	if (version > count)
		return is_newer(version, count, reterr);
	for (int64_t i = version; i < count; i++) {
		char mark[64];

		(void)snprintf(mark, sizeof(mark), "PRAGMA user_version = %lld", (long long)i + 1);
		r = store_exec(db, "BEGIN IMMEDIATE", reterr, "Begin a migration");
		if (r >= 0)
			r = store_exec(db, steps[i], reterr, "Migrate the journal");
		if (r >= 0)
			r = store_exec(db, mark, reterr, "Migrate the journal");
		if (r >= 0)
			r = store_exec(db, "COMMIT", reterr, "Migrate the journal");
		if (r < 0) {
			(void)sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
			return r;
		}
	}
	return 0;
}

static int on_progress(void *userdata)
{
	const uint64_t *deadline_ns = userdata;

	return clock_now().mono_ns >= *deadline_ns;
}

/* quick_check reads all of the file, so it ends without a verdict when it takes too long. */
static int check_content(sqlite3 *db, uint64_t timeout_ns, struct err *reterr)
{
	uint64_t deadline_ns = time_add(clock_now().mono_ns, timeout_ns);
	sqlite3_stmt *statement = NULL;
	const char *said;
	int code, r = 0;

	sqlite3_progress_handler(db, STORE_CHECK_STEPS, on_progress, &deadline_ns);
	code = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &statement, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_step(statement);
	if (code == SQLITE_ROW) {
		said = str_or_empty((const char *)sqlite3_column_text(statement, 0));
		if (!str_eq(said, "ok"))
			r = err_set(reterr, -EUCLEAN, "Its content is damaged: %.200s", said);
	} else if ((code & 0xff) != SQLITE_INTERRUPT) {
		r = store_fail(db, code, reterr, "Check the journal");
	}
	(void)sqlite3_finalize(statement);
	sqlite3_progress_handler(db, 0, NULL, NULL);
	return r;
}

/* SQLite opens for reading what it may not write; then even the lock could not be had. */
static int may_write(struct store *s, struct err *reterr)
{
	CLEAN_FD int fd = -EBADF;

	if (sqlite3_db_readonly(s->db, NULL) != 1)
		return 0;
	/* Not access(): an ext4 that has found an error refuses to open and says yes there. */
	fd = open(s->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == EROFS)
		return err_set(reterr, -EROFS, "%s: its filesystem is read-only", s->path);
	return err_set(
		reterr, -EACCES, "%s: Permission denied to user %u", s->path, (unsigned)geteuid());
}

/* Where SQLite may not make a file, it tries to read one, and only says that there is none. */
static int why_not_open(const struct store *s, int code, struct err *reterr)
{
	CLEAN_FD int fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0 && (errno == EROFS || errno == EACCES || errno == ENOSPC))
		return err_set(reterr, -errno, "%s: %s", s->path,
			errno == EROFS ? "its filesystem is read-only" : strerrordesc_np(errno));
	return store_fail(s->db, code, reterr, "Open it");
}

/* Where the header alone says that it is a newer one, SQLite need not even open it: that would make
 * a log beside it. What it cannot tell is left to SQLite. */
static int look_at_header(const struct store *s, struct err *reterr)
{
	static const char magic[16] = "SQLite format 3";
	uint8_t header[100];
	CLEAN_FD int fd = open(s->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	uint32_t version, application;

	if (fd < 0 || pread(fd, header, sizeof(header), 0) != (ssize_t)sizeof(header) ||
		memcmp(header, magic, sizeof(magic)) != 0)
		return 0;
	version = get_u32(header + 60);
	application = get_u32(header + 68);
	return application == STORE_APPLICATION && version > STORE_VERSION
		? is_newer(version, STORE_VERSION, reterr)
		: 0;
}

/* Before anything is written: is it ours, and of a version that we know? */
static int look(
	struct store *s, const struct store_options *options, bool *ret_new, struct err *reterr)
{
	int64_t pages = 0, version = 0, application = 0;
	int r;

	/* The first access, which also takes the lock. */
	r = store_number(s->db, "PRAGMA page_count", &pages, reterr);
	if (r >= 0)
		r = store_number(s->db, "PRAGMA user_version", &version, reterr);
	if (r >= 0)
		r = store_number(s->db, "PRAGMA application_id", &application, reterr);
	if (r < 0)
		return r;
	*ret_new = pages == 0;
	if (!*ret_new && application != STORE_APPLICATION)
		return err_set(reterr, -EUCLEAN, "It is not a journal of pleg");
	if (version > STORE_VERSION)
		return store_migrate(s->db, store_migrations, STORE_VERSION, reterr);
	return *ret_new ? 0 : check_content(s->db, options->check_timeout_ns, reterr);
}

static int set_pragmas(struct store *s, bool is_new, struct err *reterr)
{
	char text[160];
	sqlite3_stmt *statement = NULL;
	int code, r = 0;

	if (is_new) {
		r = store_exec(s->db, "PRAGMA auto_vacuum = INCREMENTAL", reterr, "Set it up");
		if (r < 0)
			return r;
	}
	/* WAL is a property of the file; elsewhere (some network filesystems) it stays "delete". */
	code = sqlite3_prepare_v2(s->db, "PRAGMA journal_mode = WAL", -1, &statement, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_step(statement);
	if (code != SQLITE_ROW)
		r = store_fail(s->db, code, reterr, "Set up the log");
	else if (!str_eq(str_or_empty((const char *)sqlite3_column_text(statement, 0)), "wal"))
		r = err_set(reterr, -EOPNOTSUPP, "Its filesystem cannot have a write-ahead log");
	(void)sqlite3_finalize(statement);
	if (r < 0)
		return r;
	(void)snprintf(text, sizeof(text),
		"PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0;"
		"PRAGMA cache_size = -1024; PRAGMA temp_store = MEMORY;"
		"PRAGMA journal_size_limit = %llu",
		(unsigned long long)s->log_limit);
	return store_exec(s->db, text, reterr, "Set it up");
}

static int prepare(struct store *s, struct err *reterr)
{
	int64_t bytes = 0;
	int r = store_number(s->db, "PRAGMA page_size", &bytes, reterr);

	if (r < 0)
		return r;
	s->page_bytes = (uint64_t)bytes;
	for (size_t i = 0; i < STORE_STATEMENTS; i++) {
		int code = sqlite3_prepare_v3(s->db, statement_texts[i], -1,
			SQLITE_PREPARE_PERSISTENT, &s->statements[i], NULL);

		if (code != SQLITE_OK)
			return store_fail(s->db, code, reterr, "Set it up");
	}
	(void)sqlite3_wal_hook(s->db, on_commit, s);
	return 0;
}

static int connect_file(struct store *s, struct err *reterr)
{
	int code, r;

	r = look_at_header(s, reterr);
	if (r < 0)
		return r;
	code = sqlite3_open_v2(s->path, &s->db,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, s->vfs);
	if (code != SQLITE_OK)
		return why_not_open(s, code, reterr);
	(void)sqlite3_extended_result_codes(s->db, 1);
	(void)sqlite3_busy_timeout(s->db, STORE_BUSY_MS);
	(void)sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	(void)sqlite3_db_config(s->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	/* Until it is known to be ours, closing it must not change it. */
	(void)sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	r = may_write(s, reterr);
	return r < 0 ? r : store_exec(s->db, "PRAGMA locking_mode = EXCLUSIVE", reterr, "Open it");
}

static int set_up(struct store *s, const struct store_options *options, struct err *reterr)
{
	char mark[64];
	bool is_new;
	int r;

	r = connect_file(s, reterr);
	if (r >= 0)
		r = look(s, options, &is_new, reterr);
	if (r >= 0)
		r = set_pragmas(s, is_new, reterr);
	if (r < 0)
		return r;
	if (is_new) {
		(void)snprintf(mark, sizeof(mark), "PRAGMA application_id = %d", STORE_APPLICATION);
		r = store_exec(s->db, mark, reterr, "Set it up");
	}
	if (r >= 0)
		r = store_migrate(s->db, store_migrations, STORE_VERSION, reterr);
	if (r >= 0)
		r = prepare(s, reterr);
	if (r >= 0)
		r = store_checkpoint(s, reterr);
	return r;
}

int store_open(const struct store_options *options, struct store **ret, struct err *reterr)
{
	struct store *s = mem_zalloc(sizeof(*s));
	struct buf name = BUF_INIT(JOURNAL_PATH_MAX + 16);
	int r;

	if (!s)
		return err_set(reterr, -ENOMEM, "Out of memory");
	s->json = BUF_INIT(STORE_JSON_MAX);
	s->max_age_ns = options->max_age_ns;
	s->max_bytes = options->max_bytes;
	s->log_limit = s->max_bytes / STORE_LOG_SHARE;
	if (s->log_limit < STORE_LOG_MIN)
		s->log_limit = STORE_LOG_MIN;
	if (s->log_limit > STORE_LOG_MAX)
		s->log_limit = STORE_LOG_MAX;
	s->file_limit = time_since(s->max_bytes, STORE_LOG_EXCESS * s->log_limit);
	s->incidents_max = s->file_limit / STORE_INCIDENTS_SHARE / JOURNAL_DOCUMENT_MAX;
	if (s->incidents_max < STORE_INCIDENTS_MIN)
		s->incidents_max = STORE_INCIDENTS_MIN;
	s->path = mem_strdup(options->path);
	s->vfs = options->vfs ? mem_strdup(options->vfs) : NULL;
	if (buf_printf(&name, "%s-wal", options->path) >= 0)
		s->log_path = mem_strndup((const char *)name.data, name.len);
	buf_done(&name);
	if (!s->path || !s->log_path || (options->vfs && !s->vfs))
		r = err_set(reterr, -ENOMEM, "Out of memory");
	else
		r = set_up(s, options, reterr);
	if (r < 0) {
		(void)store_close(s, true);
		return r;
	}
	(void)sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
	*ret = s;
	return 0;
}

struct store *store_close(struct store *s, bool keep_log)
{
	if (!s)
		return NULL;
	if (s->db && keep_log)
		(void)sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	for (size_t i = 0; i < STORE_STATEMENTS; i++)
		(void)sqlite3_finalize(s->statements[i]);
	(void)sqlite3_close_v2(s->db);
	buf_done(&s->json);
	(void)mem_free(s->path);
	(void)mem_free(s->log_path);
	(void)mem_free(s->vfs);
	return mem_free(s);
}

/* ---- writing ------------------------------------------------------------------------------- */

static void bind_text(sqlite3_stmt *statement, int at, const char *text)
{
	(void)sqlite3_bind_text(statement, at, text, -1, SQLITE_STATIC);
}

static int find_epoch(struct store *s, const char *epoch, struct err *reterr)
{
	int r;

	if (str_eq(epoch, s->epoch))
		return 0;
	bind_text(s->statements[STORE_PUT_EPOCH], 1, epoch);
	(void)sqlite3_bind_int64(s->statements[STORE_PUT_EPOCH], 2, clock_now().real_ns);
	r = store_step(s, STORE_PUT_EPOCH, NULL, reterr);
	if (r < 0)
		return r;
	bind_text(s->statements[STORE_GET_EPOCH], 1, epoch);
	r = store_step(s, STORE_GET_EPOCH, &s->epoch_id, reterr);
	if (r < 0)
		return r;
	(void)snprintf(s->epoch, sizeof(s->epoch), "%s", epoch);
	return 0;
}

static int put_event(struct store *s, const struct event *event, struct err *reterr)
{
	sqlite3_stmt *statement = s->statements[STORE_PUT_EVENT];
	int r;

	buf_clear(&s->json);
	r = event_json(event, s->epoch, &s->json);
	if (r < 0)
		return err_set(reterr, r, "Write an event as JSON: %s", err_text(NULL, r));
	(void)sqlite3_bind_int64(statement, 1, s->epoch_id);
	(void)sqlite3_bind_int64(statement, 2, (int64_t)event->sequence);
	(void)sqlite3_bind_int64(statement, 3, event->observed_at_ns);
	bind_text(statement, 4, event_type_text(event->type));
	(void)sqlite3_bind_int(statement, 5, event_is_kubelets(event));
	bind_text(statement, 6, event->namespace);
	bind_text(statement, 7, event->pod);
	bind_text(statement, 8, event->pod_uid);
	bind_text(statement, 9, event->container);
	bind_text(statement, 10, event->container_id);
	(void)sqlite3_bind_text(
		statement, 11, (const char *)s->json.data, (int)s->json.len, SQLITE_STATIC);
	return store_step(s, STORE_PUT_EVENT, NULL, reterr);
}

static int put_missed(struct store *s, const struct batch_item *item, struct err *reterr)
{
	sqlite3_stmt *statement = s->statements[STORE_PUT_EVENT];
	char json[128];

	(void)snprintf(json, sizeof(json), "{\"missed\":%llu,\"epoch\":\"%s\"}",
		(unsigned long long)item->missed, s->epoch);
	(void)sqlite3_bind_int64(statement, 1, s->epoch_id);
	(void)sqlite3_bind_int64(statement, 2, (int64_t)item->event.sequence);
	(void)sqlite3_bind_int64(statement, 3, item->event.observed_at_ns);
	(void)sqlite3_bind_int(statement, 5, 0);
	bind_text(statement, 11, json);
	return store_step(s, STORE_PUT_EVENT, NULL, reterr);
}

static int put_difference(
	struct store *s, const struct batch_difference *difference, struct err *reterr)
{
	sqlite3_stmt *statement = s->statements[STORE_PUT_DIFFERENCE];

	bind_text(statement, 1, difference->container_id);
	(void)sqlite3_bind_int64(statement, 2, difference->since_ns);
	if (difference->until_ns != 0) /* Else NULL: it goes on. */
		(void)sqlite3_bind_int64(statement, 3, difference->until_ns);
	bind_text(statement, 4, difference->runtime_word);
	bind_text(statement, 5, difference->kernel_word);
	return store_step(s, STORE_PUT_DIFFERENCE, NULL, reterr);
}

static int put_incident(
	struct store *s, const struct journal_incident *incident, struct err *reterr)
{
	sqlite3_stmt *statement = s->statements[STORE_PUT_INCIDENT];
	int r;

	bind_text(statement, 1, incident->id);
	(void)sqlite3_bind_int64(statement, 2, incident->opened_ns);
	(void)sqlite3_bind_int64(statement, 3, incident->changed_ns);
	if (incident->closed_ns != 0) /* Else NULL: it goes on. */
		(void)sqlite3_bind_int64(statement, 4, incident->closed_ns);
	bind_text(statement, 5, incident->cause);
	bind_text(statement, 6, incident->subject);
	bind_text(statement, 7, incident->state);
	bind_text(statement, 8, incident->document);
	r = store_step(s, STORE_PUT_INCIDENT, NULL, reterr);
	if (r < 0)
		return r;
	/* At once: a flood of them must not be the reason that events go. */
	(void)sqlite3_bind_int64(s->statements[STORE_CUT_INCIDENTS], 1, (int64_t)s->incidents_max);
	return store_step(s, STORE_CUT_INCIDENTS, NULL, reterr);
}

static int put_items(
	struct store *s, struct batch_reader *reader, uint64_t *ret_highest, struct err *reterr)
{
	struct batch_item item;
	int r;

	*ret_highest = 0;
	r = find_epoch(s, reader->epoch, reterr);
	while (r >= 0) {
		r = batch_next(reader, &item);
		if (r < 0)
			return err_set(reterr, r, "The batch is not one");
		if (r == 0)
			return 0;
		switch (item.what) {
		case BATCH_EVENT:
			*ret_highest = item.event.sequence;
			r = put_event(s, &item.event, reterr);
			break;
		case BATCH_MISSED:
			*ret_highest = item.event.sequence + item.missed - 1;
			r = put_missed(s, &item, reterr);
			break;
		case BATCH_DIFFERENCE: r = put_difference(s, &item.difference, reterr); break;
		case BATCH_INCIDENT: r = put_incident(s, &item.incident, reterr); break;
		}
	}
	return r;
}

int store_write(
	struct store *s, const void *batch, size_t len, uint64_t *ret_highest, struct err *reterr)
{
	struct batch_reader reader;
	uint64_t highest = 0;
	int r;

	r = batch_open(&reader, batch, len);
	if (r < 0)
		return err_set(reterr, r, "The batch is not one");
	r = store_step(s, STORE_BEGIN, NULL, reterr);
	if (r >= 0)
		r = put_items(s, &reader, &highest, reterr);
	if (r >= 0)
		r = store_step(s, STORE_COMMIT, NULL, reterr);
	if (r < 0) {
		s->epoch[0] = '\0'; /* What was known of it may have been rolled back. */
		if (!sqlite3_get_autocommit(s->db))
			(void)store_step(s, STORE_ROLLBACK, NULL, NULL);
		return r;
	}
	*ret_highest = highest;
	return 0;
}
