#include "model/goroutines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define MINUTES_MAX 9999999u

static const char begin_mark[] = "=== BEGIN goroutine stack dump ===";
static const char end_mark[] = "=== END goroutine stack dump ===";

/* ---- lines ------------------------------------------------------------------------------- */

struct lines {
	const char *at, *end;
	bool quoted; /* into one line of a log: a line ends with a backslash and an n */
};

static bool next_line(struct lines *l, struct slice *ret)
{
	const char *end;

	if (l->at >= l->end)
		return false;
	end = l->quoted ? memmem(l->at, (size_t)(l->end - l->at), "\\n", 2)
			: memchr(l->at, '\n', (size_t)(l->end - l->at));
	*ret = (struct slice){ l->at, (size_t)((end ? end : l->end) - l->at) };
	l->at = end ? end + (l->quoted ? 2 : 1) : l->end;
	return true;
}

static const char *last_of(struct slice text, const char *word, size_t len)
{
	const char *at = text.data, *last = NULL;

	while ((at = memmem(at, (size_t)(text.data + text.len - at), word, len)) != NULL)
		last = at++;
	return last;
}

/* The dump within a log; the whole text where none is marked. */
static struct lines lines_of(struct slice text)
{
	const char *begin = last_of(text, begin_mark, sizeof(begin_mark) - 1), *end;
	struct lines l = { .at = text.data, .end = text.data + text.len };

	if (!begin)
		return l;
	l.at = begin + sizeof(begin_mark) - 1;
	l.quoted = l.end - l.at >= 2 && l.at[0] == '\\' && l.at[1] == 'n';
	end = memmem(l.at, (size_t)(l.end - l.at), end_mark, sizeof(end_mark) - 1);
	l.end = end ? end : l.end;
	return l;
}

bool goroutines_log_is_whole(const char *text, size_t len)
{
	const char *begin =
		last_of((struct slice){ text, len }, begin_mark, sizeof(begin_mark) - 1);

	return begin && memmem(begin, (size_t)(text + len - begin), end_mark, sizeof(end_mark) - 1);
}

/* ---- one line ---------------------------------------------------------------------------- */

static bool begins(struct slice s, const char *word)
{
	size_t len = strlen(word);

	return s.len >= len && memcmp(s.data, word, len) == 0;
}

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		(uint8_t)c >= 0x80;
}

static bool is_made_of(struct slice s, const char *more)
{
	for (size_t i = 0; i < s.len; i++)
		if (!is_word(s.data[i]) && (s.data[i] == '\0' || !strchr(more, s.data[i])))
			return false;
	return s.len > 0;
}

/* ", 12 minutes" among what stands in the brackets. */
static uint32_t minutes_in(struct slice s)
{
	static const char unit[] = " minutes";
	const char *at = memmem(s.data, s.len, unit, sizeof(unit) - 1);
	uint32_t value = 0, place = 1;

	for (; at && at > s.data && at[-1] >= '0' && at[-1] <= '9' && place <= MINUTES_MAX; at--) {
		value += (uint32_t)(at[-1] - '0') * place;
		place *= 10;
	}
	return value;
}

/* "goroutine 41 [semacquire, 12 minutes, locked to thread]:"; there may be more before the bracket. */
static bool is_header(struct slice line, struct goroutine_group *ret)
{
	const char *open, *close, *end;
	struct slice inside, reason;

	if (!begins(line, "goroutine ") || line.len < 2 || line.data[line.len - 1] != ':' ||
		line.data[line.len - 2] != ']')
		return false;
	open = memchr(line.data, '[', line.len);
	if (!open)
		return false;
	close = line.data + line.len - 2;
	inside = (struct slice){ open + 1, (size_t)(close - open - 1) };
	end = memchr(inside.data, ',', inside.len);
	reason = (struct slice){ inside.data, end ? (size_t)(end - inside.data) : inside.len };
	end = memmem(reason.data, reason.len, " (", 2); /* "(scan)": the collector is at it */
	if (end &&
		begins((struct slice){ end, (size_t)(reason.data + reason.len - end) }, " (scan)"))
		reason.len = (size_t)(end - reason.data);
	if (!is_made_of(reason, " ._()-"))
		return false;
	*ret = (struct goroutine_group){ .count = 1, .longest_minutes = minutes_in(inside) };
	(void)str_clean(ret->reason, sizeof(ret->reason), reason.data, reason.len);
	return true;
}

/* The function's name in front of its arguments. */
static bool is_frame(struct slice line, struct slice *ret)
{
	const char *open = memrchr(line.data, '(', line.len);

	if (!open || line.data[line.len - 1] != ')')
		return false;
	*ret = (struct slice){ line.data, (size_t)(open - line.data) };
	return is_made_of(*ret, "_./*()-[],~$%+@");
}

/* Of Go's own library: innermost in every wait, where it says no more than the reason. Packages of others
 * begin with the name of a site. */
static bool is_of_go(struct slice name)
{
	const char *slash = memchr(name.data, '/', name.len);

	if (!slash)
		return !begins(name, "main.");
	return !memchr(name.data, '.', (size_t)(slash - name.data));
}

/* ---- groups ------------------------------------------------------------------------------ */

static bool is_lock(const char *reason)
{
	static const char *const reasons[] = { "semacquire", "sync.Mutex.Lock", "sync.RWMutex.Lock",
		"sync.RWMutex.RLock" };

	for (size_t i = 0; i < ELEMENTS(reasons); i++)
		if (str_eq(reason, reasons[i]))
			return true;
	return false;
}

static void put_frame(struct goroutine_group *g, uint32_t at, struct slice name)
{
	(void)str_clean(g->frames[at], GOROUTINE_NAME_MAX, name.data, name.len);
}

static void read_frames(struct lines *l, struct goroutine_group *g)
{
	bool is_group = false, only_go = true;
	struct slice line, name;

	while (next_line(l, &line) && line.len > 0 && !begins(line, "created by ")) {
		/* The next one begins without a line between, in a dump that was cut. */
		if (begins(line, "goroutine ") && line.data[line.len - 1] == ':') {
			l->at = line.data;
			break;
		}
		if (!is_frame(line, &name))
			continue;
		is_group = is_group || begins(name, "sync.(*WaitGroup)");
		/* Where there is nothing else, the outermost of them says most. */
		if (only_go && is_of_go(name)) {
			put_frame(g, 0, name);
			continue;
		}
		only_go = false;
		if (g->frame_count < GOROUTINE_FRAMES_MAX)
			put_frame(g, g->frame_count++, name);
	}
	if (only_go && g->frames[0][0] != '\0')
		g->frame_count = 1;
	g->on_lock = is_lock(g->reason) && !is_group;
}

static bool is_same(const struct goroutine_group *a, const struct goroutine_group *b)
{
	if (a->frame_count != b->frame_count || a->on_lock != b->on_lock ||
		!str_eq(a->reason, b->reason))
		return false;
	for (uint32_t i = 0; i < a->frame_count; i++)
		if (!str_eq(a->frames[i], b->frames[i]))
			return false;
	return true;
}

static void add(struct goroutines *all, const struct goroutine_group *one)
{
	uint32_t i;

	all->total++;
	all->on_lock += one->on_lock;
	if (one->longest_minutes > all->longest_minutes)
		all->longest_minutes = one->longest_minutes;
	for (i = 0; i < all->group_count && !is_same(&all->groups[i], one); i++)
		;
	if (i == GOROUTINE_GROUPS_MAX) {
		all->left_out++;
		return;
	}
	if (i == all->group_count) {
		all->groups[all->group_count++] = *one;
		return;
	}
	all->groups[i].count++;
	if (one->longest_minutes > all->groups[i].longest_minutes)
		all->groups[i].longest_minutes = one->longest_minutes;
}

static int compare(const void *a, const void *b)
{
	const struct goroutine_group *x = a, *y = b;

	if (x->count != y->count)
		return x->count > y->count ? -1 : 1;
	if (x->longest_minutes != y->longest_minutes)
		return x->longest_minutes > y->longest_minutes ? -1 : 1;
	return strcmp(x->frames[0], y->frames[0]);
}

int goroutines_parse(const char *text, size_t len, struct goroutines **ret)
{
	CLEAN(mem_freep) struct goroutines *all = mem_zalloc(sizeof(*all));
	struct lines l = lines_of((struct slice){ text, len });
	struct goroutine_group one;
	struct slice line;

	if (!all)
		return -ENOMEM;
	while (next_line(&l, &line)) {
		if (!is_header(line, &one))
			continue;
		read_frames(&l, &one);
		add(all, &one);
	}
	if (all->total == 0)
		return -EBADMSG;
	qsort(all->groups, all->group_count, sizeof(all->groups[0]), compare);
	*ret = TAKE_PTR(all);
	return 0;
}
