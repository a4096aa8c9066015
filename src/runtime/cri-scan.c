#include "runtime/cri-scan.h"

#include <errno.h>
#include <stdbool.h>

#include "base/mem.h"
#include "net/wire.h"

/* ---- validation ----------------------------------------------------------------------------- */

#define SHAPE_FIELDS 9

/* The fields of a message that we read. */
struct shape {
	struct {
		enum {
			SHAPE_ANY,
			SHAPE_VARINT,
			SHAPE_BYTES
		} is;
		const struct shape *inner; /* of a message */
	} fields[SHAPE_FIELDS];            /* by number */
};

static const struct shape shape_label = {
	.fields = { [1] = { SHAPE_BYTES }, [2] = { SHAPE_BYTES } },
};

static const struct shape shape_sandbox_metadata = {
	.fields = { [1] = { SHAPE_BYTES },
		[2] = { SHAPE_BYTES },
		[3] = { SHAPE_BYTES },
		[4] = { SHAPE_VARINT } },
};

static const struct shape shape_container_metadata = {
	.fields = { [1] = { SHAPE_BYTES }, [2] = { SHAPE_VARINT } },
};

enum {
	SANDBOX_ID = 1,
	SANDBOX_METADATA = 2,
	SANDBOX_STATE = 3,
	SANDBOX_CREATED_AT = 4,
	SANDBOX_LABELS = 5,
};

static const struct shape shape_sandbox = {
	.fields = { [SANDBOX_ID] = { SHAPE_BYTES },
		[SANDBOX_METADATA] = { SHAPE_BYTES, &shape_sandbox_metadata },
		[SANDBOX_STATE] = { SHAPE_VARINT },
		[SANDBOX_CREATED_AT] = { SHAPE_VARINT },
		[SANDBOX_LABELS] = { SHAPE_BYTES, &shape_label } },
};

enum {
	CONTAINER_ID = 1,
	CONTAINER_SANDBOX_ID = 2,
	CONTAINER_METADATA = 3,
	CONTAINER_STATE = 6,
	CONTAINER_CREATED_AT = 7,
	CONTAINER_LABELS = 8,
};

static const struct shape shape_container = {
	.fields = { [CONTAINER_ID] = { SHAPE_BYTES },
		[CONTAINER_SANDBOX_ID] = { SHAPE_BYTES },
		[CONTAINER_METADATA] = { SHAPE_BYTES, &shape_container_metadata },
		[CONTAINER_STATE] = { SHAPE_VARINT },
		[CONTAINER_CREATED_AT] = { SHAPE_VARINT },
		[CONTAINER_LABELS] = { SHAPE_BYTES, &shape_label } },
};

/* Recursion is as deep as the shapes above: three. */
static bool scan_validate(struct scan s, const struct shape *shape)
{
	struct field field;

	while (s.at < s.end) {
		if (!scan_field(&s, &field))
			return false;
		if (field.number >= SHAPE_FIELDS)
			continue;
		switch (shape->fields[field.number].is) {
		case SHAPE_ANY: break;
		case SHAPE_VARINT:
			if (field.wire != WIRE_VARINT)
				return false;
			break;
		case SHAPE_BYTES:
			if (field.wire != WIRE_BYTES)
				return false;
			if (shape->fields[field.number].inner &&
				!scan_validate(field.data, shape->fields[field.number].inner))
				return false;
			break;
		}
	}
	return true;
}

int cri_scan_validate(struct slice answer, enum container_kind kind, size_t *ret_entries)
{
	const struct shape *shape =
		kind == CONTAINER_KIND_SANDBOX ? &shape_sandbox : &shape_container;
	struct scan s = scan_of(answer);
	size_t entries = 0;
	struct field field;

	while (s.at < s.end) {
		if (!scan_field(&s, &field))
			return -EBADMSG;
		if (field.number != 1)
			continue;
		if (field.wire != WIRE_BYTES || !scan_validate(field.data, shape))
			return -EBADMSG;
		entries++;
	}
	*ret_entries = entries;
	return 0;
}

/* ---- iteration ------------------------------------------------------------------------------ */

/* Enums are 32 bits on the wire's 64: the upper half is cut off, as protobuf does. */
static enum container_state sandbox_state(uint64_t value)
{
	switch ((uint32_t)value) {
	case 0: return CONTAINER_RUNNING; /* SANDBOX_READY */
	case 1: return CONTAINER_EXITED;
	}
	return CONTAINER_UNKNOWN;
}

static enum container_state container_state(uint64_t value)
{
	switch ((uint32_t)value) {
	case 0: return CONTAINER_CREATED;
	case 1: return CONTAINER_RUNNING;
	case 2: return CONTAINER_EXITED;
	}
	return CONTAINER_UNKNOWN;
}

static void read_sandbox(struct scan s, struct list_entry *ret)
{
	struct field field;
	uint64_t state = 0;

	while (s.at < s.end && !NEVER(!scan_field(&s, &field))) {
		if (field.number == SANDBOX_ID)
			ret->id = slice_of(field.data);
		else if (field.number == SANDBOX_STATE)
			state = field.value;
	}
	ret->state = sandbox_state(state);
}

static void read_container(struct scan s, struct list_entry *ret)
{
	struct field field;
	uint64_t state = 0;

	while (s.at < s.end && !NEVER(!scan_field(&s, &field))) {
		if (field.number == CONTAINER_ID)
			ret->id = slice_of(field.data);
		else if (field.number == CONTAINER_SANDBOX_ID)
			ret->sandbox_id = slice_of(field.data);
		else if (field.number == CONTAINER_STATE)
			state = field.value;
	}
	ret->state = container_state(state);
}

/* Takes the next entry off the front of an answer. */
static bool take_entry(struct slice *rest, struct scan *ret)
{
	struct scan s = scan_of(*rest);
	struct field field;
	bool found = false;

	while (!found && s.at < s.end && !NEVER(!scan_field(&s, &field)))
		found = field.number == 1;
	*rest = slice_of(s);
	if (found)
		*ret = field.data;
	return found;
}

static bool cri_list_next(struct list_source *source, struct list_entry *ret)
{
	struct cri_list *list = (struct cri_list *)source;
	struct scan entry;

	if (take_entry(&list->sandboxes, &entry)) {
		*ret = (struct list_entry){ .kind = CONTAINER_KIND_SANDBOX,
			.raw = slice_of(entry) };
		read_sandbox(entry, ret);
		return true;
	}
	if (take_entry(&list->containers, &entry)) {
		*ret = (struct list_entry){ .kind = CONTAINER_KIND_CONTAINER,
			.raw = slice_of(entry) };
		read_container(entry, ret);
		return true;
	}
	return false;
}

/* ---- who an entry is ------------------------------------------------------------------------ */

struct pod_labels {
	struct slice pod, namespace, uid, container;
};

static void read_label(struct scan s, struct pod_labels *labels)
{
	struct slice key = { 0 }, value = { 0 };
	struct field field;

	while (s.at < s.end && !NEVER(!scan_field(&s, &field))) {
		if (field.number == 1)
			key = slice_of(field.data);
		else if (field.number == 2)
			value = slice_of(field.data);
	}
	if (slice_eq(key, SLICE("io.kubernetes.pod.name")))
		labels->pod = value;
	else if (slice_eq(key, SLICE("io.kubernetes.pod.namespace")))
		labels->namespace = value;
	else if (slice_eq(key, SLICE("io.kubernetes.pod.uid")))
		labels->uid = value;
	else if (slice_eq(key, SLICE("io.kubernetes.container.name")))
		labels->container = value;
}

static void read_sandbox_metadata(struct scan s, struct container_identity *ret)
{
	struct field field;

	while (s.at < s.end && !NEVER(!scan_field(&s, &field))) {
		if (field.number == 1)
			ret->pod = slice_of(field.data);
		else if (field.number == 2)
			ret->pod_uid = slice_of(field.data);
		else if (field.number == 3)
			ret->namespace = slice_of(field.data);
		else if (field.number == 4)
			ret->attempt = (uint32_t)field.value;
	}
}

static void read_container_metadata(struct scan s, struct container_identity *ret)
{
	struct field field;

	while (s.at < s.end && !NEVER(!scan_field(&s, &field))) {
		if (field.number == 1)
			ret->container = slice_of(field.data);
		else if (field.number == 2)
			ret->attempt = (uint32_t)field.value;
	}
}

static struct slice first_of(struct slice a, struct slice b)
{
	return a.len > 0 ? a : b;
}

static void describe_sandbox(struct scan s, struct container_identity *ret)
{
	struct pod_labels labels = { 0 };
	struct field field;

	while (s.at < s.end && !NEVER(!scan_field(&s, &field))) {
		if (field.number == SANDBOX_METADATA)
			read_sandbox_metadata(field.data, ret);
		else if (field.number == SANDBOX_CREATED_AT)
			ret->created_at_ns = (int64_t)field.value;
		else if (field.number == SANDBOX_LABELS)
			read_label(field.data, &labels);
	}
	ret->pod = first_of(ret->pod, labels.pod);
	ret->pod_uid = first_of(ret->pod_uid, labels.uid);
	ret->namespace = first_of(ret->namespace, labels.namespace);
}

static void describe_container(struct scan s, struct container_identity *ret)
{
	struct pod_labels labels = { 0 };
	struct field field;

	while (s.at < s.end && !NEVER(!scan_field(&s, &field))) {
		if (field.number == CONTAINER_METADATA)
			read_container_metadata(field.data, ret);
		else if (field.number == CONTAINER_CREATED_AT)
			ret->created_at_ns = (int64_t)field.value;
		else if (field.number == CONTAINER_LABELS)
			read_label(field.data, &labels);
	}
	ret->pod = labels.pod;
	ret->pod_uid = labels.uid;
	ret->namespace = labels.namespace;
	/* The kubelet takes the name from the metadata; the label is for runtimes without. */
	ret->container = first_of(ret->container, labels.container);
}

static void cri_list_describe(
	struct list_source *source, const struct list_entry *entry, struct container_identity *ret)
{
	*ret = (struct container_identity){ 0 };
	switch (entry->kind) {
	case CONTAINER_KIND_SANDBOX: describe_sandbox(scan_of(entry->raw), ret); break;
	case CONTAINER_KIND_CONTAINER: describe_container(scan_of(entry->raw), ret); break;
	}
}

void cri_list_init(struct cri_list *list, struct slice sandboxes, struct slice containers)
{
	*list = (struct cri_list){
		.source = { .next = cri_list_next, .describe = cri_list_describe },
		.sandboxes = sandboxes,
		.containers = containers,
	};
}
