#include "web/feed.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"

struct feed {
	uint64_t asked_id; /* 0: nothing under way */
	struct web_query asked_query;
	uint64_t next_ns; /* not asked again before */
	struct feed_answer *latest;
};

struct feeds {
	struct channel *channel; /* borrowed */
	uint64_t next_id;
	struct feed kinds[WEB_KINDS];
	TAILQ_HEAD(, feed_wait) waits;
};

void feed_answer_unref(struct feed_answer *a)
{
	if (!a || --a->refs > 0)
		return;
	channel_unmap(a->data, a->len);
	(void)mem_free(a);
}

int feeds_new(struct channel *channel, struct feeds **ret)
{
	struct feeds *f = mem_zalloc(sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->channel = channel;
	TAILQ_INIT(&f->waits);
	*ret = f;
	return 0;
}

struct feeds *feeds_free(struct feeds *f)
{
	if (!f)
		return NULL;
	for (size_t i = 0; i < WEB_KINDS; i++)
		feed_answer_unref(f->kinds[i].latest);
	return mem_free(f);
}

void feeds_cancel(struct feeds *f, struct feed_wait *wait)
{
	if (!wait->waiting)
		return;
	TAILQ_REMOVE(&f->waits, wait, entry);
	wait->waiting = false;
}

static void answer(struct feeds *f, struct feed_wait *wait, struct feed_answer *a)
{
	feeds_cancel(f, wait);
	wait->on_answer(wait, a);
}

void feeds_end(struct feeds *f)
{
	struct feed_wait *wait;

	while ((wait = TAILQ_FIRST(&f->waits)) != NULL)
		answer(f, wait, NULL);
}

static bool is_same(const struct web_query *a, const struct web_query *b)
{
	return memcmp(a, b, sizeof(*a)) == 0; /* Both are zeroed beyond their strings. */
}

static bool is_fresh(const struct feed *feed, const struct feed_wait *wait, uint64_t now_ns)
{
	return feed->latest && now_ns < feed->latest->until_ns &&
		is_same(&feed->latest->query, &wait->query);
}

static void ask(struct feeds *f, struct feed_wait *wait, uint64_t now_ns)
{
	struct feed *feed = &f->kinds[wait->kind];
	struct web_get get = { .kind = wait->kind, .query = wait->query };

	feed->next_ns = now_ns + FEED_SPACING_NS;
	if (channel_send(f->channel, WEB_MSG_GET, f->next_id + 1, &get, sizeof(get), NULL, 0) < 0)
		return; /* The wait ends by its deadline; a lost channel ends the role. */
	feed->asked_id = ++f->next_id;
	feed->asked_query = wait->query;
}

void feeds_ask(struct feeds *f, struct feed_wait *wait, uint64_t now_ns)
{
	wait->due_ns = now_ns + FEED_WAIT_NS;
	wait->waiting = true;
	TAILQ_INSERT_TAIL(&f->waits, wait, entry);
	feeds_run(f, now_ns);
}

static struct feed_wait *next_done(struct feeds *f, uint64_t now_ns)
{
	struct feed_wait *wait;

	TAILQ_FOREACH (wait, &f->waits, entry)
		if (is_fresh(&f->kinds[wait->kind], wait, now_ns) || wait->due_ns <= now_ns)
			return wait;
	return NULL;
}

/* A stale answer serves nobody and may hold megabytes. */
static void drop_stale(struct feeds *f, uint64_t now_ns)
{
	for (size_t i = 0; i < WEB_KINDS; i++) {
		struct feed *feed = &f->kinds[i];

		if (feed->latest && feed->latest->until_ns <= now_ns) {
			feed_answer_unref(feed->latest);
			feed->latest = NULL;
		}
	}
}

void feeds_run(struct feeds *f, uint64_t now_ns)
{
	struct feed_wait *wait;

	drop_stale(f, now_ns);

	while ((wait = next_done(f, now_ns)) != NULL) {
		struct feed *feed = &f->kinds[wait->kind];

		answer(f, wait, is_fresh(feed, wait, now_ns) ? feed->latest : NULL);
	}
	TAILQ_FOREACH (wait, &f->waits, entry) {
		const struct feed *feed = &f->kinds[wait->kind];

		if (feed->asked_id == 0 && feed->next_ns <= now_ns)
			ask(f, wait, now_ns);
	}
}

static int make_answer(const struct channel_message *m, const struct feed *feed, uint32_t kind,
	uint64_t now_ns, struct feed_answer **ret)
{
	struct feed_answer *a;
	struct web_got got;
	int r;

	memcpy(&got, m->payload, sizeof(got));
	if (got.text[sizeof(got.text) - 1] != '\0')
		return -EBADMSG;
	if ((m->type == WEB_MSG_GOT) != (kind < WEB_SNAPSHOTS && got.code == 0))
		return -EBADMSG;
	a = mem_zalloc(sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->refs = 1;
	a->code = got.code;
	memcpy(a->text, got.text, sizeof(a->text));
	a->query = feed->asked_query;
	a->until_ns = now_ns + FEED_SPACING_NS;
	if (m->type == WEB_MSG_GOT) {
		r = channel_map_sealed(m->fds[0], WEB_SNAPSHOT_MAX, &a->data, &a->len);
		if (r < 0) {
			(void)mem_free(a);
			return r;
		}
	}
	*ret = a;
	return 0;
}

int feeds_take(struct feeds *f, struct channel_message *m, uint64_t now_ns)
{
	uint32_t kind = 0;
	struct feed_answer *a;
	struct feed *feed;
	int r;

	while (kind < WEB_KINDS && (m->id == 0 || f->kinds[kind].asked_id != m->id))
		kind++;
	if (kind == WEB_KINDS)
		return -EBADMSG;
	feed = &f->kinds[kind];
	r = make_answer(m, feed, kind, now_ns, &a);
	if (r < 0)
		return r;
	feed->asked_id = 0;
	feed_answer_unref(feed->latest);
	feed->latest = a;
	feeds_run(f, now_ns);
	return 0;
}

uint64_t feeds_due(const struct feeds *f)
{
	uint64_t due_ns = NSEC_NEVER;
	const struct feed_wait *wait;

	TAILQ_FOREACH (wait, &f->waits, entry) {
		const struct feed *feed = &f->kinds[wait->kind];

		due_ns = time_min(due_ns, wait->due_ns);
		if (feed->asked_id == 0)
			due_ns = time_min(due_ns, feed->next_ns);
	}
	return due_ns;
}
