/*
 * What keeps the journal small, in steps of some milliseconds each, so that the next batch never
 * waits for long; and what becomes of a damaged file.
 *
 * Deleting frees pages within the file; they are used again, and what is free beyond VACUUM_KEEP
 * goes back to the filesystem, VACUUM_PAGES at a time.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "store/store-internal.h"

#define AGE_PERIOD_NS (60 * NSEC_PER_SEC) /* how often the too old are looked for */
#define VACUUM_KEEP   256                 /* pages: 1 MiB */
#define VACUUM_PAGES  "128"

static int delete_oldest(struct store *s, struct err *reterr)
{
	(void)sqlite3_bind_int64(s->statements[STORE_DELETE_OLDEST], 1, STORE_DELETE_ROWS);
	return store_step(s, STORE_DELETE_OLDEST, NULL, reterr);
}

/* 1: there may be more of them. */
static int delete_old(struct store *s, struct now now, struct err *reterr)
{
	int64_t before_ns = now.real_ns - (int64_t)s->max_age_ns;
	int r;

	(void)sqlite3_bind_int64(s->statements[STORE_DELETE_OLD], 1, before_ns);
	(void)sqlite3_bind_int64(s->statements[STORE_DELETE_OLD], 2, STORE_DELETE_ROWS);
	r = store_step(s, STORE_DELETE_OLD, NULL, reterr);
	if (r < 0)
		return r;
	if (sqlite3_changes(s->db) >= (int)STORE_DELETE_ROWS)
		return 1;
	s->age_due_ns = time_add(now.mono_ns, AGE_PERIOD_NS);
	(void)sqlite3_bind_int64(s->statements[STORE_DELETE_DIFFERENCES], 1, before_ns);
	r = store_step(s, STORE_DELETE_DIFFERENCES, NULL, reterr);
	if (r < 0)
		return r;
	(void)sqlite3_bind_int64(s->statements[STORE_DELETE_INCIDENTS], 1, before_ns);
	r = store_step(s, STORE_DELETE_INCIDENTS, NULL, reterr);
	if (r < 0)
		return r;
	s->epoch[0] = '\0'; /* It may be among those that go. */
	return store_step(s, STORE_DELETE_EPOCHS, NULL, reterr);
}

static int give_back(struct store *s, int64_t free_before, struct err *reterr)
{
	int64_t free_after = free_before;
	int r;

	r = store_exec(s->db, "PRAGMA incremental_vacuum(" VACUUM_PAGES ")", reterr,
		"Make the journal smaller");
	if (r >= 0)
		r = store_step(s, STORE_FREE_PAGES, &free_after, reterr);
	/* A file that cannot shrink must not keep us busy. */
	s->vacuum_is_idle = free_after >= free_before;
	return r < 0 ? r : 1;
}

int store_maintain(struct store *s, struct now now, struct err *reterr)
{
	int64_t pages = 0, free_pages = 0;
	int r;

	if (s->log_bytes >= s->log_limit) {
		r = store_checkpoint(s, reterr);
		if (r < 0)
			return r;
	}
	/* In the same step, or a flood that fills the log each time would never be cut. */
	r = store_step(s, STORE_PAGES, &pages, reterr);
	if (r >= 0)
		r = store_step(s, STORE_FREE_PAGES, &free_pages, reterr);
	if (r < 0)
		return r;
	if ((uint64_t)(pages - free_pages) * s->page_bytes > s->file_limit) {
		r = delete_oldest(s, reterr);
		/* Nothing to delete: what is there is not events, and stays. */
		if (r < 0 || sqlite3_changes(s->db) > 0)
			return r < 0 ? r : 1;
	}
	if (now.mono_ns >= s->age_due_ns) {
		r = delete_old(s, now, reterr);
		return r < 0 ? r : 1;
	}
	if (free_pages > VACUUM_KEEP && !s->vacuum_is_idle)
		return give_back(s, free_pages, reterr);
	return 0;
}

/* ---- damaged files ------------------------------------------------------------------------- */

static const char aside_mark[] = ".damaged-";

/* With what belongs to it; the log first: a new file must never meet an old log. */
static int rename_all(const char *from, const char *to)
{
	static const char *const ends[] = { "-wal", "-shm", "" };
	char old[STORE_ASIDE_NAME + 8], new[STORE_ASIDE_NAME + 8];

	for (size_t i = 0; i < ELEMENTS(ends); i++) {
		(void)snprintf(old, sizeof(old), "%s%s", from, ends[i]);
		(void)snprintf(new, sizeof(new), "%s%s", to, ends[i]);
		if (rename(old, new) < 0 && errno != ENOENT)
			return -errno;
	}
	return 0;
}

/* The oldest set of files there is; true while there are more than STORE_ASIDE_MAX. */
static bool find_oldest(DIR *folder, const char *base, char *ret_name, size_t size)
{
	const struct dirent *entry;
	const char *rest;
	size_t count = 0;

	ret_name[0] = '\0';
	rewinddir(folder);
	while ((entry = readdir(folder)) != NULL) {
		rest = str_after(entry->d_name, base);
		rest = rest ? str_after(rest, aside_mark) : NULL;
		if (!rest || strlen(entry->d_name) >= size || strstr(rest, "-wal") ||
			strstr(rest, "-shm"))
			continue;
		count++;
		if (ret_name[0] == '\0' || strcmp(entry->d_name, ret_name) < 0)
			(void)snprintf(ret_name, size, "%s", entry->d_name);
	}
	return count > STORE_ASIDE_MAX;
}

static void remove_oldest(const char *path)
{
	static const char *const ends[] = { "-wal", "-shm", "" };
	const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
	char name[NAME_MAX + 1], whole[NAME_MAX + 8], parent[JOURNAL_PATH_MAX];
	DIR *folder;

	(void)snprintf(parent, sizeof(parent), "%.*s", slash ? (int)(slash - path) + 1 : 1,
		slash ? path : ".");
	folder = opendir(parent);
	if (!folder)
		return; /* It is only room that is not given back. */
	while (find_oldest(folder, base, name, sizeof(name))) {
		int r = 0;

		for (size_t i = 0; i < ELEMENTS(ends); i++) {
			(void)snprintf(whole, sizeof(whole), "%s%s", name, ends[i]);
			if (unlinkat(dirfd(folder), whole, 0) < 0 && errno != ENOENT)
				r = -errno;
		}
		if (r < 0)
			break;
	}
	(void)closedir(folder);
}

int store_set_aside(
	const char *path, int64_t real_ns, char ret_name[STORE_ASIDE_NAME], struct err *reterr)
{
	char text[TIME_TEXT_MAX], stamp[TIME_TEXT_MAX];
	size_t n = 0;
	int r;

	/* With the nanoseconds: a second one within the second must not overwrite the first. */
	(void)time_format_rfc3339(text, real_ns);
	for (const char *p = text; *p; p++)
		if (*p != '-' && *p != ':')
			stamp[n++] = *p;
	stamp[n] = '\0';
	(void)snprintf(ret_name, STORE_ASIDE_NAME, "%s%s%s", path, aside_mark, stamp);
	r = rename_all(path, ret_name);
	if (r < 0)
		return err_set(reterr, r, "Cannot set %s aside: %s", path, err_text(NULL, r));
	remove_oldest(path);
	return 0;
}
