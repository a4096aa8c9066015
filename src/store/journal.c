/*
 * pleg-journal, the journal role. It writes to a disk that may be sick, so it is a process of its
 * own that may hang. It is started as the agent is (root), opens or makes the state directory, and
 * then becomes that directory's owner, without capabilities, confined to it (Landlock) and without
 * sockets and processes (seccomp); only then it looks at a file there. It ends when the agent closes
 * the channel.
 *
 * It is ready before it has touched the disk: what hangs later hangs under the deadline of what the
 * agent asked for. What goes wrong with the file is a condition that is told and tried again, with a
 * back-off; only a state directory that is gone ends the process, since making it needs root.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "role/role-child.h"
#include "store/batch.h"
#include "store/journal-protocol.h"
#include "store/store.h"

#define FILE_NAME        "journal.db"
#define VFS_NAME         "pleg"
#define RETRY_MIN_NS     (1 * NSEC_PER_SEC)
#define RETRY_MAX_NS     (30 * NSEC_PER_SEC)
#define CHECK_TIMEOUT_NS (5 * NSEC_PER_SEC)
#define CLEAN_PERIOD_NS  (60 * NSEC_PER_SEC)
#define OUT_KEEP_BYTES   (16u << 10)
#define OUT_MAX          (STORE_PART_BYTES + (64u << 10))

static const struct channel_type accepts[] = {
	ROLE_START_TYPE,
	{ JOURNAL_MSG_BATCH, 1, BATCH_MAX, 0 },
	{ JOURNAL_MSG_ASK, sizeof(struct journal_ask), sizeof(struct journal_ask), 0 },
	{ JOURNAL_MSG_PING, 0, 0, 0 },
};

struct journal_role {
	struct channel *channel;
	struct journal_start start;
	char folder[JOURNAL_PATH_MAX];
	sqlite3_vfs vfs;
	int folder_fd; /* the working directory too, from the moment it is there */

	struct store *store; /* NULL: not open */
	enum journal_condition condition;
	char reason[JOURNAL_TEXT_MAX];
	uint64_t retry_ns;     /* the next delay */
	uint64_t retry_due_ns; /* while it is not open */
	uint64_t check_due_ns;
	uint64_t clean_due_ns;
	struct buf out;
};

/* ---- telling ------------------------------------------------------------------------------- */

static int tell(struct journal_role *j, uint32_t type, const char *text)
{
	struct journal_word word = { .condition = j->condition };

	(void)str_clean(word.text, sizeof(word.text), text, strlen(text));
	return channel_send(j->channel, type, 0, &word, sizeof(word), NULL, 0);
}

static int set_condition(
	struct journal_role *j, enum journal_condition condition, const char *reason)
{
	if (j->condition == condition && str_eq(j->reason, reason))
		return 0;
	j->condition = condition;
	(void)snprintf(j->reason, sizeof(j->reason), "%s", reason);
	return tell(j, JOURNAL_MSG_STATE, j->reason);
}

/* ---- the state directory ------------------------------------------------------------------- */

/* Each part that is missing; the last one is for its owner only. */
static int make_folder(const char *path)
{
	char part[JOURNAL_PATH_MAX];
	struct stat st;

	if (stat(path, &st) == 0)
		return 0;
	for (const char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		(void)snprintf(part, sizeof(part), "%.*s", (int)(p - path), path);
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return -errno;
	}
	return mkdir(path, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

/* Opens it, moves there and gives up everything else. */
static int enter_folder(struct journal_role *j, struct err *reterr)
{
	CLEAN_FD int fd = -EBADF;
	struct stat st;
	int r;

	r = make_folder(j->folder);
	if (r >= 0)
		fd = open(j->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r < 0 || fd < 0 || fstat(fd, &st) < 0 || fchdir(fd) < 0) {
		r = r < 0 ? r : -errno;
		return err_set(
			reterr, r, "State directory %.200s: %s", j->folder, err_text(NULL, r));
	}
	r = role_child_drop(st.st_uid, st.st_gid);
	if (r >= 0)
		r = role_child_confine(fd);
	if (r >= 0)
		r = role_child_narrow(ROLE_NARROW_STORE);
	if (r < 0) /* Half narrow is no state to go on from. */
		_exit(1);
	j->folder_fd = TAKE_FD(fd);
	return 0;
}

/* Deleted, moved, or covered by a mount: only the next process can begin anew. */
static bool folder_is_gone(const struct journal_role *j)
{
	struct stat ours, there;

	if (fstat(j->folder_fd, &ours) < 0)
		return false;
	if (stat(j->folder, &there) < 0)
		return errno == ENOENT || ours.st_nlink == 0;
	return ours.st_dev != there.st_dev || ours.st_ino != there.st_ino;
}

/* ---- SQLite by file name alone ------------------------------------------------------------- */

/* The working directory is the state directory. SQLite would make an absolute path of the name,
 * which need not be reachable for the owner of the directory, and may lead elsewhere tomorrow. */
static int same_name(sqlite3_vfs *vfs, const char *name, int size, char *ret)
{
	return snprintf(ret, (size_t)size, "%s", name) < size ? SQLITE_OK : SQLITE_CANTOPEN;
}

static int prepare_sqlite(struct journal_role *j)
{
	const sqlite3_vfs *unix_vfs;
	unsigned char seed;

	if (sqlite3_initialize() != SQLITE_OK)
		return -ENOMEM;
	unix_vfs = sqlite3_vfs_find("unix");
	if (!unix_vfs)
		return -ENOSYS;
	j->vfs = *unix_vfs;
	j->vfs.pNext = NULL;
	j->vfs.zName = VFS_NAME;
	j->vfs.xFullPathname = same_name;
	if (sqlite3_vfs_register(&j->vfs, 0) != SQLITE_OK)
		return -ENOMEM;
	sqlite3_randomness(1, &seed); /* While /dev/urandom can be opened. */
	return 0;
}

/* ---- the file ------------------------------------------------------------------------------ */

static enum journal_condition condition_of(int code)
{
	switch (code) {
	case -ENOSPC: return JOURNAL_FULL;
	case -EROFS: return JOURNAL_READ_ONLY;
	case -EACCES:
	case -EPERM: return JOURNAL_DENIED;
	case -EPROTONOSUPPORT: return JOURNAL_NEWER;
	case -EBUSY: return JOURNAL_LOCKED;
	default: return JOURNAL_FAILED;
	}
}

/* A file that is not open is tried again later, and later still; one that is, whenever the agent has
 * something to write. */
static int fail(struct journal_role *j, int code, const struct err *e)
{
	char text[JOURNAL_TEXT_MAX];
	uint64_t now_ns = clock_now().mono_ns;

	(void)snprintf(text, sizeof(text), "%s%.*s", err_text(e, code),
		code == -EPROTONOSUPPORT ? 240 : 0,
		"; run that pleg again, or move " FILE_NAME
		" out of the state directory to begin a new one. Nothing in it was changed");
	j->retry_due_ns = time_add(now_ns, j->retry_ns);
	j->retry_ns = time_min(j->retry_ns * 2, RETRY_MAX_NS);
	return set_condition(j, condition_of(code), text);
}

static int open_file(struct journal_role *j, struct err *reterr)
{
	const struct store_options options = {
		.path = FILE_NAME,
		.vfs = VFS_NAME,
		.max_age_ns = j->start.max_age_ns,
		.max_bytes = j->start.max_bytes,
		.check_timeout_ns = CHECK_TIMEOUT_NS,
	};

	return store_open(&options, &j->store, reterr);
}

/* Out of the way with it, and people are told once. */
static int set_aside(struct journal_role *j, const struct err *why, struct err *reterr)
{
	char name[STORE_ASIDE_NAME], text[JOURNAL_TEXT_MAX];
	int r;

	r = store_set_aside(FILE_NAME, clock_now().real_ns, name, reterr);
	if (r < 0)
		return r;
	(void)snprintf(text, sizeof(text),
		"The journal was damaged and is set aside as %s; a new one is begun. %.200s", name,
		why->text);
	return tell(j, JOURNAL_MSG_NOTE, text);
}

static int try_open(struct journal_role *j)
{
	struct err e = { 0 }, again = { 0 };
	int r = 0;

	if (j->folder_fd < 0)
		r = enter_folder(j, &e);
	if (r >= 0)
		r = open_file(j, &e);
	if (r == -EUCLEAN) {
		r = set_aside(j, &e, &again);
		if (r >= 0)
			r = open_file(j, &again);
		e = again;
	}
	if (r < 0)
		return fail(j, r, &e);
	j->retry_ns = RETRY_MIN_NS;
	j->clean_due_ns = 0;
	j->check_due_ns = time_add(clock_now().mono_ns, j->start.check_ns);
	return set_condition(j, JOURNAL_OK, "");
}

/* After an error of the store: what is left of it, and what comes next. */
static int recover(struct journal_role *j, int code, const struct err *e)
{
	struct err aside = { 0 };
	int r = 0;

	switch (code) {
	case -ENOSPC:
	case -EBUSY:
	case -ENOMEM: return fail(j, code, e); /* The connection is as good as it was. */
	case -EUCLEAN:
		j->store = store_close(j->store, true);
		r = set_aside(j, e, &aside);
		if (r < 0)
			return fail(j, r, &aside);
		return try_open(j);
	case -ESTALE:
		j->store = store_close(j->store, true);
		r = tell(j, JOURNAL_MSG_NOTE,
			FMT("%.120s; the journal goes on in a new file", e->text));
		return r < 0 ? r : try_open(j);
	default: j->store = store_close(j->store, true); return fail(j, code, e);
	}
}

/* ---- requests ------------------------------------------------------------------------------ */

static int take_batch(struct journal_role *j, const struct channel_message *m)
{
	struct journal_ack ack = { .code = -ENODEV };
	struct err e = { 0 };
	int r = 0;

	if (j->store) {
		ack.code = store_write(j->store, m->payload, m->len, &ack.highest, &e);
		if (ack.code == -EBADMSG)
			return -EBADMSG;
		if (ack.code == 0)
			r = set_condition(j, JOURNAL_OK, "");
	}
	/* The state first, so that the agent knows why when it reads the refusal. */
	if (j->store && ack.code < 0)
		r = recover(j, ack.code, &e);
	if (r >= 0)
		r = channel_send(j->channel, JOURNAL_MSG_ACK, m->id, &ack, sizeof(ack), NULL, 0);
	return r;
}

static bool ask_is_valid(const struct journal_ask *ask)
{
	return ask->what < JOURNAL_WHATS && memchr(ask->id, '\0', sizeof(ask->id)) &&
		ask->position.phase < STORE_PHASES && memchr(ask->ns, '\0', sizeof(ask->ns)) &&
		memchr(ask->pod, '\0', sizeof(ask->pod)) &&
		memchr(ask->container, '\0', sizeof(ask->container));
}

static int take_ask(struct journal_role *j, const struct channel_message *m)
{
	struct journal_rows rows = { 0 };
	CLEAN_FD int fd = -EBADF;
	struct journal_ask ask;
	struct err e = { 0 };
	int r = -ENODEV;

	memcpy(&ask, m->payload, sizeof(ask));
	if (!ask_is_valid(&ask))
		return -EBADMSG;
	buf_clear(&j->out);
	if (j->store)
		r = store_query(j->store, &ask, &rows, &j->out, &e);
	else
		(void)err_set(&e, r, "%s", j->reason[0] ? j->reason : "It is not open yet");
	if (r >= 0)
		r = fd = fd_memfd_sealed("pleg-rows", j->out.data, j->out.len);
	buf_clear(&j->out);
	buf_shrink(&j->out, OUT_KEEP_BYTES);
	if (r >= 0)
		return channel_send(
			j->channel, JOURNAL_MSG_ROWS, m->id, &rows, sizeof(rows), &fd, 1);
	rows = (struct journal_rows){ .code = r, .done = 1 };
	(void)snprintf(rows.text, sizeof(rows.text), "%s", err_text(&e, r));
	if (j->store && (r == -EUCLEAN || r == -ESTALE || r == -EIO)) {
		int code = r;

		r = recover(j, code, &e);
		if (r < 0)
			return r;
	}
	return channel_send(j->channel, JOURNAL_MSG_NO_ROWS, m->id, &rows, sizeof(rows), NULL, 0);
}

/* One message, so that the clean-up keeps up with a flood. 0, -EPIPE when it is time to end. */
static int take_message(struct journal_role *j)
{
	struct channel_message m;
	int r;

	r = channel_receive(j->channel, &m);
	if (r <= 0)
		return r;
	if (m.type == JOURNAL_MSG_PING)
		r = channel_send(j->channel, JOURNAL_MSG_PONG, m.id, NULL, 0, NULL, 0);
	else if (m.type == JOURNAL_MSG_BATCH)
		r = take_batch(j, &m);
	else if (m.type == JOURNAL_MSG_ASK)
		r = take_ask(j, &m);
	else
		r = -EBADMSG;
	channel_message_done(&m);
	if (m.type == JOURNAL_MSG_BATCH)
		j->clean_due_ns = 0;
	return r;
}

/* ---- the loop ------------------------------------------------------------------------------ */

static int check(struct journal_role *j, uint64_t now_ns)
{
	struct err e = { 0 };
	int r;

	j->check_due_ns = time_add(now_ns, j->start.check_ns);
	if (folder_is_gone(j)) {
		(void)tell(j, JOURNAL_MSG_NOTE,
			"The state directory was deleted or replaced; the journal begins anew");
		return -ENOENT;
	}
	r = j->store ? store_check(j->store, &e) : 0;
	return r < 0 ? recover(j, r, &e) : 0;
}

static int clean(struct journal_role *j, struct now now)
{
	struct err e = { 0 };
	int r;

	r = store_maintain(j->store, now, &e);
	if (r < 0)
		return recover(j, r, &e);
	j->clean_due_ns = r > 0 ? 0 : time_add(now.mono_ns, CLEAN_PERIOD_NS);
	return 0;
}

static int do_what_is_due(struct journal_role *j)
{
	struct now now = clock_now();

	if (!j->store && now.mono_ns >= j->retry_due_ns)
		return try_open(j);
	if (j->folder_fd >= 0 && now.mono_ns >= j->check_due_ns)
		return check(j, now.mono_ns);
	if (j->store && j->condition == JOURNAL_OK && now.mono_ns >= j->clean_due_ns)
		return clean(j, now);
	return 0;
}

static int wait_ms(const struct journal_role *j)
{
	uint64_t due_ns = j->store ? NSEC_NEVER : j->retry_due_ns;
	uint64_t now_ns = clock_now().mono_ns;

	if (j->folder_fd >= 0)
		due_ns = time_min(due_ns, j->check_due_ns);
	if (j->store && j->condition == JOURNAL_OK)
		due_ns = time_min(due_ns, j->clean_due_ns);
	if (due_ns <= now_ns)
		return 0;
	return (int)time_min((due_ns - now_ns) / NSEC_PER_MSEC + 1, 60000);
}

static int loop(struct journal_role *j)
{
	for (;;) {
		struct pollfd channel = { .fd = channel_fd(j->channel),
			.events = channel_events(j->channel) };
		int r;

		(void)poll(&channel, 1, wait_ms(j));
		r = channel_flush(j->channel);
		if (r >= 0 && channel.revents != 0)
			r = take_message(j);
		if (r >= 0)
			r = do_what_is_due(j);
		if (r < 0)
			return r;
	}
}

static int take_start(struct journal_role *j, const struct channel_message *m)
{
	size_t len = m->len - sizeof(j->start);

	if (m->len < sizeof(j->start) || len == 0 || len >= sizeof(j->folder))
		return -EBADMSG;
	memcpy(&j->start, m->payload, sizeof(j->start));
	memcpy(j->folder, (const char *)m->payload + sizeof(j->start), len);
	if (j->folder[0] != '/' || strlen(j->folder) != len || j->start.check_ns == 0)
		return -EBADMSG;
	return 0;
}

int main(void)
{
	struct journal_role j = { .folder_fd = -EBADF, .retry_ns = RETRY_MIN_NS };
	struct channel_message start = { 0 };
	int r;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)umask(077);
	r = role_child_start("pleg-journal", accepts, ELEMENTS(accepts), &j.channel, &start);
	if (r < 0) {
		(void)fprintf(stderr, "pleg-journal is started by the pleg agent only\n");
		return 1;
	}
	j.out = BUF_INIT(OUT_MAX);
	r = take_start(&j, &start);
	channel_message_done(&start);
	if (r >= 0)
		r = prepare_sqlite(&j);
	r = r < 0 ? role_child_fail(j.channel, r, "Read the start message")
		  : role_child_ready(j.channel);
	if (r == 0)
		r = loop(&j); /* Its first turn opens the file. */

	j.store = store_close(j.store, false);
	buf_done(&j.out);
	j.folder_fd = fd_close(j.folder_fd);
	j.channel = channel_free(j.channel);
	return r == -EPIPE ? 0 : 1;
}
