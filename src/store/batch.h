/*
 * What one message to the journal holds: an epoch, then records one behind the other. A record is an
 * event, a gap in the events, a difference between the runtime's word and the kernel's, or an incident.
 * Pure: the agent writes, the role reads, and believes nothing that it has not checked.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "model/event.h"

#define BATCH_MAX        65536u /* CHANNEL_PAYLOAD_MAX */
#define BATCH_RECORD_MAX 8192u  /* longer ones are refused: events are some 300 bytes */

#define JOURNAL_INCIDENT_ID_MAX    64u    /* with its NUL */
#define JOURNAL_INCIDENT_TEXTS_MAX 4096u  /* id, cause, subject and state together */
#define JOURNAL_DOCUMENT_MAX       32768u /* of an incident, with its NUL */

/* The kernel and the runtime did not agree about a container. */
struct batch_difference {
	const char *container_id;
	const char *runtime_word, *kernel_word; /* "running", "zombie", ... */
	int64_t since_ns, until_ns;             /* wall clock; until 0: it goes on */
};

/* What was found, as it stands now: a later one of the same id takes the place of the earlier. */
struct journal_incident {
	const char *id;                           /* no control characters; not "" */
	const char *cause;                        /* "RuntimeHung", ... */
	const char *subject;                      /* whom it befalls, for people; may be "" */
	const char *state;                        /* a word of its owner's: "open", "closed", ... */
	const char *document;                     /* a JSON object on one line: the evidence */
	int64_t opened_ns, changed_ns, closed_ns; /* wall clock; closed 0: it goes on */
};

/* ---- writing ------------------------------------------------------------------------------- */

#define BATCH_INIT BUF_INIT(BATCH_MAX)

/* Empties it and begins anew. 0, -ENOMEM, or -EINVAL for an epoch that is too long. */
int batch_begin(struct buf *b, const char *epoch);
/* Any record has room. */
bool batch_has_room(const struct buf *b);
/* -EMSGSIZE: over BATCH_RECORD_MAX, or no room; then nothing was added. -ENOMEM. */
int batch_add_event(struct buf *b, const struct event *event);
/* `count` events from sequence `first` on are not to be had any more. */
int batch_add_missed(struct buf *b, uint64_t first, uint64_t count, int64_t now_ns);
int batch_add_difference(struct buf *b, const struct batch_difference *difference);
/* It may be longer than BATCH_RECORD_MAX. -EINVAL: not one, see incident_is_valid(). */
int batch_add_incident(struct buf *b, const struct journal_incident *incident);

/* Texts within their limits, fit to stand in a line of JSON; times that make sense. */
bool incident_is_valid(const struct journal_incident *incident);

/* ---- reading ------------------------------------------------------------------------------- */

enum batch_what {
	BATCH_EVENT = 1,
	BATCH_MISSED,
	BATCH_DIFFERENCE,
	BATCH_INCIDENT,
};

struct batch_item {
	enum batch_what what;
	struct event event; /* of BATCH_MISSED only sequence and observed_at_ns */
	uint64_t missed;
	struct batch_difference difference;
	struct journal_incident incident;
};

struct batch_reader {
	const char *epoch;
	const uint8_t *at, *end;
};

/* The bytes are borrowed, and everything that comes out points into them. 0 or -EBADMSG. */
int batch_open(struct batch_reader *r, const void *data, size_t len);
/* 1: a record, 0: the end, -EBADMSG. */
int batch_next(struct batch_reader *r, struct batch_item *ret);
