/* A batch as the journal reads it: every text lies within it and ends there, and what was read can be
 * written again and reads the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "store/batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void within(const char *text, const uint8_t *data, size_t size)
{
	const uint8_t *at = (const uint8_t *)text;

	if (at < data || at >= data + size || !memchr(at, '\0', (size_t)(data + size - at)))
		abort();
}

static int write_again(struct buf *b, const struct batch_item *item)
{
	switch (item->what) {
	case BATCH_EVENT: return batch_add_event(b, &item->event);
	case BATCH_MISSED:
		return batch_add_missed(
			b, item->event.sequence, item->missed, item->event.observed_at_ns);
	case BATCH_DIFFERENCE: return batch_add_difference(b, &item->difference);
	case BATCH_INCIDENT: return batch_add_incident(b, &item->incident);
	}
	abort();
}

static void check_texts(const struct batch_item *item, const uint8_t *data, size_t size)
{
	if (item->what == BATCH_EVENT) {
		within(item->event.namespace, data, size);
		within(item->event.pod, data, size);
		within(item->event.pod_uid, data, size);
		within(item->event.container, data, size);
		within(item->event.container_id, data, size);
		within(item->event.sandbox_id, data, size);
	} else if (item->what == BATCH_DIFFERENCE) {
		within(item->difference.container_id, data, size);
		within(item->difference.runtime_word, data, size);
		within(item->difference.kernel_word, data, size);
	} else if (item->what == BATCH_INCIDENT) {
		within(item->incident.id, data, size);
		within(item->incident.cause, data, size);
		within(item->incident.subject, data, size);
		within(item->incident.state, data, size);
		within(item->incident.document, data, size);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEAN(buf_done) struct buf again = BATCH_INIT;
	struct batch_reader reader, second;
	struct batch_item item;
	size_t count = 0;
	int r;

	if (batch_open(&reader, data, size) < 0)
		return 0;
	within(reader.epoch, data, size);
	if (batch_begin(&again, reader.epoch) < 0)
		abort();
	while ((r = batch_next(&reader, &item)) > 0) {
		check_texts(&item, data, size);
		if (write_again(&again, &item) < 0)
			abort();
		count++;
	}
	if (batch_open(&second, again.data, again.len) < 0)
		abort();
	while (batch_next(&second, &item) > 0)
		count--;
	if (count != 0)
		abort();
	return 0;
}
