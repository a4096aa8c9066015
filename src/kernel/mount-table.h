/*
 * One mountinfo with its mounts by number: what a thread waits on is told by its descriptor's fdinfo
 * as the number of a mount. Made once for a namespace, then each lookup is a search of halves, however
 * many threads ask; what a reader has made of a mount it notes beside it. Pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernel/mountinfo.h"

#define MOUNT_NOTE_NONE UINT32_MAX

struct mount_row {
	int32_t id;
	uint32_t at;   /* where its line begins */
	uint32_t note; /* the reader's own; MOUNT_NOTE_NONE at first */
};

struct mount_table {
	char *text; /* of mountinfo_read(); NULL: none */
	size_t len;
	struct mount_row *rows; /* by id */
	uint32_t row_count;
};

/* Owns `text` from now on, also on failure; the table was { 0 }, and is then. -ENOMEM. A line that is
 * none has no row. */
int mount_table_take(struct mount_table *table, char *text, size_t len);
void mount_table_done(struct mount_table *table);

/* NULL: there is no such mount. Good until mount_table_done(). */
struct mount_row *mount_table_find(const struct mount_table *table, int32_t id);
/* The line of a row. */
struct mountinfo_line mount_table_line(
	const struct mount_table *table, const struct mount_row *row);
