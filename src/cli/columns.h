/*
 * A table for people: natural widths, and where the terminal is too narrow for them the elastic
 * columns give way, cut in the middle, since names differ at both ends. Pure.
 */
#pragma once

#include "cli/page.h"

#define COLUMNS_MAX 12

struct column {
	const char *title;
	bool right;    /* numbers */
	bool elastic;  /* may be cut */
	bool optional; /* left out when every cell is empty */
};

struct columns {
	const struct column *columns;
	size_t count;
	char **cells;      /* owned, `count` per row */
	const char **sgrs; /* colour of each cell or NULL, borrowed */
	size_t rows, cap;
};

#define COLUMNS_INIT(c) ((struct columns){ .columns = (c), .count = ELEMENTS(c) })

/* Copies one row of `count` cells, cleaned. `sgrs` may be NULL. 0 or -ENOMEM. */
int columns_add(struct columns *t, const char *const *cells, const char *const *sgrs);
/* Titles and rows. */
void columns_print(const struct columns *t, struct page *p);
void columns_done(struct columns *t);

/* `text` in at most `width` characters, ".." in the middle of what was cut. */
const char *columns_cut(char out[PAGE_TEXT_MAX], const char *text, size_t width);
