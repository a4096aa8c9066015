#include "kernel/mount-table.h"

#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"

#define ROWS_FIRST 64u

static int compare_rows(const void *a, const void *b)
{
	const struct mount_row *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static int add_row(struct mount_table *table, uint32_t *room, int32_t id, size_t at)
{
	if (table->row_count == *room) {
		uint32_t more = *room ? *room * 2 : ROWS_FIRST;
		void *grown = mem_resize(table->rows, more, sizeof(*table->rows));

		if (!grown)
			return -ENOMEM;
		table->rows = grown;
		*room = more;
	}
	table->rows[table->row_count++] = (struct mount_row){ id, (uint32_t)at, MOUNT_NOTE_NONE };
	return 0;
}

int mount_table_take(struct mount_table *table, char *text, size_t len)
{
	struct mountinfo_line line;
	uint32_t room = 0;
	size_t at = 0, from = 0;
	int r;

	*table = (struct mount_table){ .text = text, .len = len };
	for (; (r = mountinfo_next(text, len, &at, &line)) != 0; from = at)
		if (r > 0 && add_row(table, &room, line.id, from) < 0) {
			mount_table_done(table);
			return -ENOMEM;
		}
	if (table->row_count > 0)
		qsort(table->rows, table->row_count, sizeof(*table->rows), compare_rows);
	return 0;
}

void mount_table_done(struct mount_table *table)
{
	(void)mem_free(table->text);
	(void)mem_free(table->rows);
	*table = (struct mount_table){ 0 };
}

struct mount_row *mount_table_find(const struct mount_table *table, int32_t id)
{
	const struct mount_row key = { .id = id };

	return table->row_count == 0
		? NULL
		: bsearch(&key, table->rows, table->row_count, sizeof(key), compare_rows);
}

struct mountinfo_line mount_table_line(const struct mount_table *table, const struct mount_row *row)
{
	struct mountinfo_line line = { 0 };
	size_t at = row->at;

	(void)mountinfo_next(table->text, table->len, &at, &line); /* It was one when it came. */
	return line;
}
