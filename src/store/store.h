/*
 * The journal's file: SQLite in WAL mode, one writer, one connection with an exclusive lock (so
 * there is no -shm to be pulled away, and two agents on one state directory notice each other).
 *
 * A write is one transaction and is there, once it has returned, whatever happens to this process;
 * synchronous=NORMAL means that a power cut may take the last seconds but never damages the file
 * (https://www.sqlite.org/wal.html). Writing the same events again changes nothing.
 *
 * Every function may block as the disk does: for the journal role only. Errors are negative errnos,
 * of which these say what is to be done:
 *	-EUCLEAN          the file is damaged or not ours: close it, set it aside, begin a new one
 *	-EPROTONOSUPPORT  written by a newer pleg: leave it alone
 *	-ESTALE           deleted or replaced under us: close it and open what is there now
 *	-ENOSPC, -EROFS, -EACCES, -EBUSY (another process has it), -EIO, ...
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/time.h"
#include "store/journal-protocol.h"

#define STORE_VERSION     2            /* of the schema, in user_version */
#define STORE_PART_BYTES  (256u << 10) /* of a query's rows; then the next part is asked for */
#define STORE_SLICE_NS    (50 * NSEC_PER_MSEC) /* a part ends after this time as well */
#define STORE_DELETE_ROWS 500u                 /* in one step of the clean-up */

struct store;

struct store_options {
	const char *path; /* copied */
	const char *vfs;  /* of SQLite; NULL: the default. Copied. */
	uint64_t max_age_ns, max_bytes;
	uint64_t check_timeout_ns; /* the check at the start ends after that, without a verdict */
};

int store_open(const struct store_options *options, struct store **ret, struct err *reterr);
/* `keep_log`: what stands in the write-ahead log stays there, the main file is not touched. */
struct store *store_close(struct store *s, bool keep_log);
static inline struct store *store_free(struct store *s)
{
	return store_close(s, false);
}
DEFINE_FREEP(struct store *, store_free)

/* All of a batch (store/batch.h) or nothing of it. -EBADMSG: not a batch. */
int store_write(
	struct store *s, const void *batch, size_t len, uint64_t *ret_highest, struct err *reterr);

/* One bounded step of what has to be done from time to time: the log into the file, too old and too
 * much deleted, room given back. 1: there is more, 0: nothing now. */
int store_maintain(struct store *s, struct now now, struct err *reterr);

/* Are the files still ours and as long as they were? 0, or -ESTALE or -EUCLEAN, after which it can
 * only be closed: what we have still open of the log went where it belongs. */
int store_check(struct store *s, struct err *reterr);

/* The next part of an answer: lines of JSON are put into `out`, which is empty before, and `ret`
 * says where to go on. */
int store_query(struct store *s, const struct journal_ask *ask, struct journal_rows *ret,
	struct buf *out, struct err *reterr);

/* Moves a damaged file and what belongs to it out of the way, as PATH.damaged-20261123T153352.477362000Z, and
 * removes the oldest of those over STORE_ASIDE_MAX. `ret_name` is the new path. */
#define STORE_ASIDE_MAX  3u
#define STORE_ASIDE_NAME (JOURNAL_PATH_MAX + 64u)
int store_set_aside(
	const char *path, int64_t real_ns, char ret_name[STORE_ASIDE_NAME], struct err *reterr);
