#include "store/batch.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "store/journal-protocol.h"

enum batch_flag {
	FLAG_CONFIRMED = 1,
	FLAG_INITIAL = 2,
	FLAG_EXIT_CODE = 4,
	FLAG_SIGNAL = 8,
	FLAG_DETAIL_SHIFT = 4, /* three bits of enum container_detail above these */
	FLAG_DETAIL_MASK = 7,
	FLAGS_MAX = CONTAINER_DEAD << FLAG_DETAIL_SHIFT | 15,
};

#define STRINGS             6
#define INCIDENT_RECORD_MAX (JOURNAL_DOCUMENT_MAX + BATCH_RECORD_MAX)

/* Host byte order: both ends are on one machine and of one build. Behind it the strings, each with
 * its NUL. */
struct record {
	uint32_t len; /* with this header and the strings */
	uint8_t what, type, kind, source;
	uint32_t flags;
	uint32_t attempt;
	int32_t exit_code, signal;
	uint64_t sequence;
	uint64_t number; /* of an event: confirms; a gap: how many; an incident: changed */
	int64_t first_ns, second_ns; /* occurred and observed; since and until; opened and closed */
	uint16_t lens[STRINGS];      /* without the NUL */
	uint32_t reserved;
};

struct batch_header {
	char epoch[JOURNAL_EPOCH_MAX];
};

/* ---- writing ------------------------------------------------------------------------------- */

int batch_begin(struct buf *b, const char *epoch)
{
	struct batch_header header = { 0 };

	if (strlen(epoch) >= sizeof(header.epoch))
		return -EINVAL;
	memcpy(header.epoch, epoch, strlen(epoch));
	buf_clear(b);
	return buf_append(b, &header, sizeof(header));
}

bool batch_has_room(const struct buf *b)
{
	return b->max_bytes - b->len >= BATCH_RECORD_MAX;
}

static size_t record_max(uint8_t what)
{
	return what == BATCH_INCIDENT ? INCIDENT_RECORD_MAX : BATCH_RECORD_MAX;
}

static int add(struct buf *b, struct record *record, const char *const strings[STRINGS])
{
	size_t len = sizeof(*record), max = record_max(record->what);
	int r;

	for (size_t i = 0; i < STRINGS; i++) {
		size_t n = strlen(str_or_empty(strings[i]));

		if (n > max)
			return -EMSGSIZE;
		record->lens[i] = (uint16_t)n;
		len += n + 1;
	}
	if (len > max)
		return -EMSGSIZE;
	record->len = (uint32_t)len;
	r = buf_reserve(b, len);
	if (r < 0)
		return r;
	(void)buf_append(b, record, sizeof(*record));
	for (size_t i = 0; i < STRINGS; i++)
		(void)buf_append(b, str_or_empty(strings[i]), record->lens[i] + 1u);
	return 0;
}

int batch_add_event(struct buf *b, const struct event *event)
{
	const char *const strings[STRINGS] = { event->namespace, event->pod, event->pod_uid,
		event->container, event->container_id, event->sandbox_id };
	struct record record = {
		.what = BATCH_EVENT,
		.type = (uint8_t)event->type,
		.kind = (uint8_t)event->kind,
		.source = (uint8_t)event->source,
		.flags = (event->confirmed ? FLAG_CONFIRMED : 0u) |
			(event->initial ? FLAG_INITIAL : 0u) |
			(event->has_exit_code ? FLAG_EXIT_CODE : 0u) |
			(event->has_signal ? FLAG_SIGNAL : 0u) |
			((uint32_t)event->detail << FLAG_DETAIL_SHIFT),
		.attempt = event->attempt,
		.exit_code = event->exit_code,
		.signal = event->signal,
		.sequence = event->sequence,
		.number = event->confirms,
		.first_ns = event->occurred_at_ns,
		.second_ns = event->observed_at_ns,
	};

	return add(b, &record, strings);
}

int batch_add_missed(struct buf *b, uint64_t first, uint64_t count, int64_t now_ns)
{
	const char *const strings[STRINGS] = { NULL };
	struct record record = {
		.what = BATCH_MISSED, .sequence = first, .number = count, .second_ns = now_ns
	};

	return add(b, &record, strings);
}

int batch_add_difference(struct buf *b, const struct batch_difference *difference)
{
	const char *const strings[STRINGS] = { difference->container_id, difference->runtime_word,
		difference->kernel_word };
	struct record record = {
		.what = BATCH_DIFFERENCE,
		.first_ns = difference->since_ns,
		.second_ns = difference->until_ns,
	};

	return add(b, &record, strings);
}

bool incident_is_valid(const struct journal_incident *incident)
{
	const char *const texts[] = { incident->cause, incident->subject, incident->state };
	size_t document_len = strlen(incident->document), len = strlen(incident->id);
	size_t all = len;

	if (len == 0 || len >= JOURNAL_INCIDENT_ID_MAX || !str_is_printable(incident->id, len))
		return false;
	for (size_t i = 0; i < ELEMENTS(texts); i++) {
		len = strlen(texts[i]);
		all += len;
		if (!str_is_printable(texts[i], len))
			return false;
	}
	/* The document goes out as it is; that it is an object is its owner's word. */
	return all <= JOURNAL_INCIDENT_TEXTS_MAX && document_len >= 2 &&
		document_len < JOURNAL_DOCUMENT_MAX && incident->document[0] == '{' &&
		incident->document[document_len - 1] == '}' &&
		!memchr(incident->document, '\n', document_len) && incident->opened_ns > 0 &&
		incident->changed_ns > 0 && incident->closed_ns >= 0;
}

int batch_add_incident(struct buf *b, const struct journal_incident *incident)
{
	const char *const strings[STRINGS] = { incident->id, incident->cause, incident->subject,
		incident->state, incident->document };
	struct record record = {
		.what = BATCH_INCIDENT,
		.number = (uint64_t)incident->changed_ns,
		.first_ns = incident->opened_ns,
		.second_ns = incident->closed_ns,
	};

	return incident_is_valid(incident) ? add(b, &record, strings) : -EINVAL;
}

/* ---- reading ------------------------------------------------------------------------------- */

int batch_open(struct batch_reader *r, const void *data, size_t len)
{
	const struct batch_header *header = data;

	if (len < sizeof(*header) || len > BATCH_MAX ||
		!memchr(header->epoch, '\0', sizeof(header->epoch)) || header->epoch[0] == '\0' ||
		!str_is_printable(header->epoch, strlen(header->epoch)))
		return -EBADMSG;
	*r = (struct batch_reader){
		.epoch = header->epoch,
		.at = (const uint8_t *)data + sizeof(*header),
		.end = (const uint8_t *)data + len,
	};
	return 0;
}

/* Each is as long as it says, and has no NUL before its last byte. */
static int take_strings(
	const struct record *record, const uint8_t *at, const char *strings[STRINGS])
{
	const uint8_t *end = at + record->len;

	at += sizeof(*record);
	for (size_t i = 0; i < STRINGS; i++) {
		size_t n = record->lens[i];

		if ((size_t)(end - at) < n + 1 || memchr(at, '\0', n + 1) != at + n)
			return -EBADMSG;
		strings[i] = (const char *)at;
		at += n + 1;
	}
	return at == end ? 0 : -EBADMSG;
}

static bool event_is_valid(const struct record *record)
{
	return record->type <= EVENT_POD_SYNC && record->kind <= CONTAINER_KIND_SANDBOX &&
		record->source <= EVENT_SOURCE_KERNEL && record->flags <= FLAGS_MAX &&
		record->number <= INT64_MAX;
}

static void fill_event(
	const struct record *record, const char *const strings[STRINGS], struct event *ret)
{
	*ret = (struct event){
		.sequence = record->sequence,
		.confirms = record->number,
		.type = (enum event_type)record->type,
		.kind = (enum container_kind)record->kind,
		.source = (enum event_source)record->source,
		.detail = (enum container_detail)(
			(record->flags >> FLAG_DETAIL_SHIFT) & FLAG_DETAIL_MASK),
		.confirmed = (record->flags & FLAG_CONFIRMED) != 0,
		.initial = (record->flags & FLAG_INITIAL) != 0,
		.has_exit_code = (record->flags & FLAG_EXIT_CODE) != 0,
		.has_signal = (record->flags & FLAG_SIGNAL) != 0,
		.exit_code = record->exit_code,
		.signal = record->signal,
		.attempt = record->attempt,
		.occurred_at_ns = record->first_ns,
		.observed_at_ns = record->second_ns,
		.namespace = strings[0],
		.pod = strings[1],
		.pod_uid = strings[2],
		.container = strings[3],
		.container_id = strings[4],
		.sandbox_id = strings[5],
	};
}

int batch_next(struct batch_reader *r, struct batch_item *ret)
{
	const char *strings[STRINGS] = { 0 };
	struct record record;

	if (r->at == r->end)
		return 0;
	if ((size_t)(r->end - r->at) < sizeof(record))
		return -EBADMSG;
	memcpy(&record, r->at, sizeof(record)); /* It stands anywhere. */
	if (record.len < sizeof(record) || record.len > record_max(record.what) ||
		record.len > (size_t)(r->end - r->at) || take_strings(&record, r->at, strings) < 0)
		return -EBADMSG;
	*ret = (struct batch_item){ .what = (enum batch_what)record.what };
	switch (record.what) {
	case BATCH_EVENT:
		if (!event_is_valid(&record))
			return -EBADMSG;
		fill_event(&record, strings, &ret->event);
		break;
	case BATCH_MISSED:
		ret->missed = record.number;
		ret->event.sequence = record.sequence;
		ret->event.observed_at_ns = record.second_ns;
		if (record.number == 0 || record.number > INT64_MAX)
			return -EBADMSG;
		break;
	case BATCH_DIFFERENCE:
		ret->difference = (struct batch_difference){ strings[0], strings[1], strings[2],
			record.first_ns, record.second_ns };
		if (strings[0][0] == '\0')
			return -EBADMSG;
		break;
	case BATCH_INCIDENT:
		if (record.number > INT64_MAX)
			return -EBADMSG;
		ret->incident = (struct journal_incident){ strings[0], strings[1], strings[2],
			strings[3], strings[4], record.first_ns, (int64_t)record.number,
			record.second_ns };
		if (!incident_is_valid(&ret->incident))
			return -EBADMSG;
		break;
	default: return -EBADMSG;
	}
	if ((record.what == BATCH_EVENT || record.what == BATCH_MISSED) &&
		(record.sequence == 0 || record.sequence > INT64_MAX))
		return -EBADMSG;
	r->at += record.len;
	return 1;
}
