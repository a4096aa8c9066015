#include "cli/columns.h"

#include <errno.h>

#include "base/mem.h"

#define GAP         2 /* between columns; 1 where room is short */
#define ELASTIC_MIN 6 /* narrower than that, a cell says nothing */

int columns_add(struct columns *t, const char *const *cells, const char *const *sgrs)
{
	char clean[PAGE_TEXT_MAX];

	if (t->rows == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 16;
		char **more = mem_resize(t->cells, cap * t->count, sizeof(*more));
		const char **more_sgrs;

		if (!more)
			return -ENOMEM;
		t->cells = more;
		more_sgrs = mem_resize(t->sgrs, cap * t->count, sizeof(*more_sgrs));
		if (!more_sgrs)
			return -ENOMEM;
		t->sgrs = more_sgrs;
		t->cap = cap;
	}
	for (size_t i = 0; i < t->count; i++) {
		size_t at = t->rows * t->count + i;

		(void)str_clean(clean, sizeof(clean), cells[i], strlen(cells[i]));
		t->sgrs[at] = sgrs ? sgrs[i] : NULL;
		t->cells[at] = mem_strdup(clean);
		if (!t->cells[at]) {
			while (i-- > 0)
				(void)mem_free(t->cells[t->rows * t->count + i]);
			return -ENOMEM;
		}
	}
	t->rows++;
	return 0;
}

void columns_done(struct columns *t)
{
	for (size_t i = 0; i < t->rows * t->count; i++)
		(void)mem_free(t->cells[i]);
	t->cells = mem_free(t->cells);
	t->sgrs = mem_free(t->sgrs);
	t->rows = t->cap = 0;
}

/* Bytes of the first `characters` characters. */
static size_t utf8_bytes(const char *text, size_t characters)
{
	size_t at = 0;

	while (text[at]) {
		if (((unsigned char)text[at] & 0xc0) != 0x80 && characters-- == 0)
			break;
		at++;
	}
	return at;
}

const char *columns_cut(char out[PAGE_TEXT_MAX], const char *text, size_t width)
{
	size_t have = text_width(text), head, tail, head_bytes;

	if (have <= width || width < 4)
		return str_clean(out, PAGE_TEXT_MAX, text, utf8_bytes(text, width));
	head = (width - 2 + 1) / 2;
	tail = width - 2 - head;
	head_bytes = utf8_bytes(text, head);
	return str_format(out, PAGE_TEXT_MAX, "%.*s..%s", (int)head_bytes, text,
		text + utf8_bytes(text, have - tail));
}

/* Natural widths, 0 for an optional column without a word in it. Returns the whole line's. */
static size_t measure(const struct columns *t, size_t gap, size_t widths[COLUMNS_MAX])
{
	size_t sum = 0, shown = 0;

	for (size_t i = 0; i < t->count; i++) {
		widths[i] = 0;
		for (size_t row = 0; row < t->rows; row++) {
			size_t width = text_width(t->cells[row * t->count + i]);

			if (width > widths[i])
				widths[i] = width;
		}
		if (widths[i] == 0 && t->columns[i].optional)
			continue;
		if (widths[i] < text_width(t->columns[i].title))
			widths[i] = text_width(t->columns[i].title);
		sum += widths[i];
		shown++;
	}
	return sum + (shown ? (shown - 1) * gap : 0);
}

/* Takes from the widest elastic column, one character at a time, until the line fits. */
static void squeeze(const struct columns *t, size_t widths[COLUMNS_MAX], size_t line, size_t limit)
{
	for (; line > limit; line--) {
		size_t widest = t->count;

		for (size_t i = 0; i < t->count; i++)
			if (t->columns[i].elastic && widths[i] > ELASTIC_MIN &&
				(widest == t->count || widths[i] > widths[widest]))
				widest = i;
		if (widest == t->count)
			return;
		widths[widest]--;
	}
}

static void print_row(const struct columns *t, const size_t widths[COLUMNS_MAX], size_t gap,
	const char *const *cells, const char *const *sgrs, struct page *p)
{
	size_t owed = 0; /* blanks before the next cell; none at the end of a line */

	for (size_t i = 0; i < t->count; i++) {
		char text[PAGE_TEXT_MAX];
		size_t width;

		if (widths[i] == 0)
			continue;
		(void)columns_cut(text, cells[i], widths[i]);
		width = text_width(text);
		if (t->columns[i].right)
			owed += widths[i] - width;
		if (*text) {
			page_printf(p, "%*s", (int)owed, "");
			page_colored(p, sgrs ? sgrs[i] : NULL, text);
			owed = 0;
		}
		owed += gap + (t->columns[i].right ? 0 : widths[i] - width);
	}
	page_put(p, "\n");
}

void columns_print(const struct columns *t, struct page *p)
{
	const char *titles[COLUMNS_MAX];
	size_t widths[COLUMNS_MAX];
	size_t limit = p->looks->width, gap = GAP;
	size_t line = measure(t, gap, widths);

	if (limit && line > limit) {
		gap = 1;
		squeeze(t, widths, measure(t, gap, widths), limit);
	}
	for (size_t i = 0; i < t->count; i++)
		titles[i] = t->columns[i].title;
	print_row(t, widths, gap, titles, NULL, p);
	for (size_t row = 0; row < t->rows; row++)
		print_row(t, widths, gap, (const char *const *)&t->cells[row * t->count],
			&t->sgrs[row * t->count], p);
}
