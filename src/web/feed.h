/*
 * What the role gets from the agent: per kind at most one question under way, at most four a
 * second, and the last answer serves everybody for 250 ms. Who waits longer than 2 s is told so;
 * the question itself stays open until it is answered, since asking again would only pile up.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/time.h"
#include "web/web-protocol.h"

#define FEED_SPACING_NS (250 * NSEC_PER_MSEC)
#define FEED_WAIT_NS    (2 * NSEC_PER_SEC)

struct feeds;

struct feed_answer {
	unsigned refs;
	int code; /* 0: the bytes are there, or the answer is yes */
	char text[sizeof(((struct web_got *)NULL)->text)];
	const void *data; /* mapped; NULL when empty */
	size_t len;
	struct web_query query;
	uint64_t until_ns; /* serves others until then */
};

void feed_answer_unref(struct feed_answer *a);

/* Embedded in a request. */
struct feed_wait {
	TAILQ_ENTRY(feed_wait) entry;
	bool waiting;
	uint32_t kind;
	struct web_query query;
	uint64_t due_ns;
	/* Once, unless cancelled. `answer` is borrowed (ref it to keep it); NULL: none came in time.
	 * May come from inside feeds_ask(). */
	void (*on_answer)(struct feed_wait *wait, struct feed_answer *answer);
};

int feeds_new(struct channel *channel, struct feeds **ret);
/* Answers everybody who waits with NULL. */
void feeds_end(struct feeds *f);
struct feeds *feeds_free(struct feeds *f);

void feeds_ask(struct feeds *f, struct feed_wait *wait, uint64_t now_ns);
void feeds_cancel(struct feeds *f, struct feed_wait *wait);
/* Takes WEB_MSG_GOT and WEB_MSG_SAID. -EBADMSG: the agent does not keep to the protocol. */
int feeds_take(struct feeds *f, struct channel_message *m, uint64_t now_ns);
/* Sends what is due, ends what is late. */
void feeds_run(struct feeds *f, uint64_t now_ns);
/* When feeds_run() has something to do next; NSEC_NEVER. */
uint64_t feeds_due(const struct feeds *f);
