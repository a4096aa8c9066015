/* The scan over CRI lists: bytes made by hand, in every order protobuf allows and some it does not.
 */
#include "unit.h"

#include "base/buf.h"
#include "base/mem.h"
#include "runtime/cri-scan.h"

/* ---- making messages ------------------------------------------------------------------------ */

static void put_byte(struct buf *b, unsigned byte)
{
	ASSERT_OK(buf_append(b, &(uint8_t){ (uint8_t)byte }, 1));
}

static void put_varint(struct buf *b, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		put_byte(b, (unsigned)(value & 0x7f) | 0x80);
	put_byte(b, (unsigned)value);
}

static void put_number(struct buf *b, unsigned field, uint64_t value)
{
	put_varint(b, (uint64_t)field << 3);
	put_varint(b, value);
}

static void put_bytes(struct buf *b, unsigned field, const void *data, size_t len)
{
	put_varint(b, (uint64_t)field << 3 | 2);
	put_varint(b, len);
	ASSERT_OK(buf_append(b, data, len));
}

static void put_text(struct buf *b, unsigned field, const char *text)
{
	put_bytes(b, field, text, strlen(text));
}

/* Appends `inner` as a message and empties it. */
static void put_message(struct buf *b, unsigned field, struct buf *inner)
{
	put_bytes(b, field, inner->data, inner->len);
	buf_done(inner);
}

static struct buf new_buf(void)
{
	return BUF_INIT(1u << 20);
}

static void put_label(struct buf *b, unsigned field, const char *key, const char *value)
{
	struct buf label = new_buf();

	put_text(&label, 1, key);
	put_text(&label, 2, value);
	put_message(b, field, &label);
}

static struct slice slice_of(const struct buf *b)
{
	return (struct slice){ (const char *)b->data, b->len };
}

static void assert_slice(struct slice s, const char *expected)
{
	if (!slice_eq(s, SLICE(expected)))
		fail_msg("'%.*s', expected '%s'", (int)s.len, s.data, expected);
}

/* A sandbox entry as containerd sends it. */
static void put_sandbox(struct buf *list, const char *id, uint64_t state)
{
	struct buf entry = new_buf(), metadata = new_buf();

	put_text(&entry, 1, id);
	put_text(&metadata, 1, "web");
	put_text(&metadata, 2, "uid-1");
	put_text(&metadata, 3, "demo");
	put_number(&metadata, 4, 3);
	put_message(&entry, 2, &metadata);
	if (state != 0)
		put_number(&entry, 3, state);
	put_number(&entry, 4, 1700000000123456789u);
	put_label(&entry, 5, "io.kubernetes.pod.name", "label-name");
	put_label(&entry, 5, "app", "x");
	put_label(&entry, 6, "annotation", "io.kubernetes.pod.uid");
	put_message(list, 1, &entry);
}

static void put_container(struct buf *list, const char *id, const char *sandbox, uint64_t state)
{
	struct buf entry = new_buf(), inner = new_buf();

	put_text(&entry, 1, id);
	put_text(&entry, 2, sandbox);
	put_text(&inner, 1, "server");
	put_number(&inner, 2, 7);
	put_message(&entry, 3, &inner);
	put_text(&inner, 1, "sha256:abc");
	put_message(&entry, 4, &inner);
	put_text(&entry, 5, "sha256:abc");
	if (state != 0)
		put_number(&entry, 6, state);
	put_number(&entry, 7, 42);
	put_label(&entry, 8, "io.kubernetes.container.name", "label-server");
	put_label(&entry, 8, "io.kubernetes.pod.uid", "uid-1");
	put_label(&entry, 8, "io.kubernetes.pod.namespace", "demo");
	put_label(&entry, 8, "io.kubernetes.pod.name", "web");
	put_label(&entry, 9, "io.kubernetes.container.hash", "1234");
	put_message(list, 1, &entry);
}

/* ---- reading -------------------------------------------------------------------------------- */

static size_t validate(const struct buf *b, enum container_kind kind)
{
	size_t entries = 0;

	ASSERT_OK(cri_scan_validate(slice_of(b), kind, &entries));
	return entries;
}

static void assert_malformed(struct buf *b, enum container_kind kind)
{
	size_t entries;

	ASSERT_ERR(cri_scan_validate(slice_of(b), kind, &entries), EBADMSG);
	buf_done(b);
}

/* The only entry of a list of one kind, described; frees nothing. */
static struct list_entry only(
	const struct buf *b, enum container_kind kind, struct container_identity *ret)
{
	struct slice answer = slice_of(b), none = { 0 };
	struct cri_list list;
	struct list_entry entry, more;

	assert_int_equal(validate(b, kind), 1);
	if (kind == CONTAINER_KIND_SANDBOX)
		cri_list_init(&list, answer, none);
	else
		cri_list_init(&list, none, answer);
	assert_true(list.source.next(&list.source, &entry));
	assert_int_equal(entry.kind, kind);
	list.source.describe(&list.source, &entry, ret);
	assert_false(list.source.next(&list.source, &more));
	assert_false(list.source.next(&list.source, &more));
	return entry;
}

static void test_sandboxes_come_first(void **state)
{
	struct buf sandboxes = new_buf(), containers = new_buf();
	struct container_identity who;
	struct list_entry e;
	struct cri_list list;

	put_sandbox(&sandboxes, "s1", 0);
	put_sandbox(&sandboxes, "s2", 1);
	put_container(&containers, "c1", "s1", 1);
	put_container(&containers, "c2", "s1", 2);
	assert_int_equal(validate(&sandboxes, CONTAINER_KIND_SANDBOX), 2);
	assert_int_equal(validate(&containers, CONTAINER_KIND_CONTAINER), 2);
	cri_list_init(&list, slice_of(&sandboxes), slice_of(&containers));

	assert_true(list.source.next(&list.source, &e));
	assert_slice(e.id, "s1");
	assert_slice(e.sandbox_id, "");
	assert_int_equal(e.kind, CONTAINER_KIND_SANDBOX);
	assert_int_equal(e.state, CONTAINER_RUNNING);
	list.source.describe(&list.source, &e, &who);
	assert_slice(who.pod, "web");
	assert_slice(who.pod_uid, "uid-1");
	assert_slice(who.namespace, "demo");
	assert_slice(who.container, "");
	assert_int_equal(who.attempt, 3);
	assert_true(who.created_at_ns == 1700000000123456789);

	assert_true(list.source.next(&list.source, &e));
	assert_slice(e.id, "s2");
	assert_int_equal(e.state, CONTAINER_EXITED);

	assert_true(list.source.next(&list.source, &e));
	assert_slice(e.id, "c1");
	assert_slice(e.sandbox_id, "s1");
	assert_int_equal(e.kind, CONTAINER_KIND_CONTAINER);
	assert_int_equal(e.state, CONTAINER_RUNNING);
	list.source.describe(&list.source, &e, &who);
	assert_slice(who.pod, "web");
	assert_slice(who.pod_uid, "uid-1");
	assert_slice(who.namespace, "demo");
	assert_slice(who.container, "server");
	assert_int_equal(who.attempt, 7);
	assert_true(who.created_at_ns == 42);

	assert_true(list.source.next(&list.source, &e));
	assert_slice(e.id, "c2");
	assert_int_equal(e.state, CONTAINER_EXITED);
	assert_false(list.source.next(&list.source, &e));
	buf_done(&sandboxes);
	buf_done(&containers);
}

static void test_states(void **state)
{
	static const struct {
		enum container_kind kind;
		uint64_t wire;
		enum container_state expected;
	} cases[] = {
		{ CONTAINER_KIND_CONTAINER, 0, CONTAINER_CREATED },
		{ CONTAINER_KIND_CONTAINER, 1, CONTAINER_RUNNING },
		{ CONTAINER_KIND_CONTAINER, 2, CONTAINER_EXITED },
		{ CONTAINER_KIND_CONTAINER, 3, CONTAINER_UNKNOWN },
		{ CONTAINER_KIND_CONTAINER, 4, CONTAINER_UNKNOWN },
		{ CONTAINER_KIND_CONTAINER, UINT64_MAX, CONTAINER_UNKNOWN },
		{ CONTAINER_KIND_CONTAINER, (UINT64_C(1) << 32) + 1, CONTAINER_RUNNING },
		{ CONTAINER_KIND_SANDBOX, 0, CONTAINER_RUNNING },
		{ CONTAINER_KIND_SANDBOX, 1, CONTAINER_EXITED },
		{ CONTAINER_KIND_SANDBOX, 2, CONTAINER_UNKNOWN },
	};

	for (size_t i = 0; i < ELEMENTS(cases); i++) {
		struct buf list = new_buf();
		struct container_identity who;

		if (cases[i].kind == CONTAINER_KIND_SANDBOX)
			put_sandbox(&list, "s", cases[i].wire);
		else
			put_container(&list, "c", "s", cases[i].wire);
		assert_int_equal(only(&list, cases[i].kind, &who).state, cases[i].expected);
		buf_done(&list);
	}
}

static void test_nothing(void **state)
{
	struct buf list = new_buf(), empty = new_buf();
	struct container_identity who;
	struct list_entry e;

	assert_int_equal(validate(&list, CONTAINER_KIND_CONTAINER), 0);
	put_message(&list, 1, &empty);
	e = only(&list, CONTAINER_KIND_CONTAINER, &who);
	assert_int_equal(e.id.len, 0);
	assert_int_equal(e.sandbox_id.len, 0);
	assert_int_equal(e.state, CONTAINER_CREATED);
	assert_int_equal(who.pod.len + who.pod_uid.len + who.namespace.len + who.container.len, 0);
	assert_true(who.created_at_ns == 0);
	e = only(&list, CONTAINER_KIND_SANDBOX, &who);
	assert_int_equal(e.id.len, 0);
	assert_int_equal(e.state, CONTAINER_RUNNING);
	buf_done(&list);
}

/* Fields back to front, scalars twice, metadata in two parts, a label given twice, keys after
 * values, unknown fields of every type between them. */
static void test_any_order(void **state)
{
	struct buf list = new_buf(), entry = new_buf(), inner = new_buf();
	struct container_identity who;
	struct list_entry e;

	put_label(&entry, 8, "io.kubernetes.pod.uid", "old-uid");
	put_number(&entry, 6, 2);
	put_text(&inner, 2, "a-pod");
	put_text(&inner, 1, "app");
	put_text(&inner, 1, "io.kubernetes.pod.name");
	put_message(&entry, 8, &inner);
	put_number(&inner, 2, 5);
	put_message(&entry, 3, &inner);
	put_text(&entry, 1, "old");
	put_number(&entry, 100, 7);
	put_varint(&entry, 101 << 3 | 1);
	ASSERT_OK(buf_append(&entry, "12345678", 8));
	put_varint(&entry, 102 << 3 | 5);
	ASSERT_OK(buf_append(&entry, "\0\0\0\0", 4));
	put_text(&inner, 1, "first");
	put_message(&entry, 3, &inner);
	put_text(&entry, 2, "sandbox");
	put_text(&entry, 536870911, "the highest field number");
	put_label(&entry, 8, "io.kubernetes.pod.uid", "uid-2");
	put_text(&entry, 1, "new");
	put_number(&entry, 6, 1);
	put_number(&entry, 7, UINT64_MAX);
	put_number(&list, 9, 1);
	put_message(&list, 1, &entry);
	put_text(&list, 2, "not an entry");

	e = only(&list, CONTAINER_KIND_CONTAINER, &who);
	assert_slice(e.id, "new");
	assert_slice(e.sandbox_id, "sandbox");
	assert_int_equal(e.state, CONTAINER_RUNNING);
	assert_slice(who.container, "first");
	assert_int_equal(who.attempt, 5);
	assert_slice(who.pod_uid, "uid-2");
	assert_slice(who.pod, "a-pod");
	assert_slice(who.namespace, "");
	assert_true(who.created_at_ns == -1);
	buf_done(&list);
}

static void test_labels_stand_in(void **state)
{
	struct buf list = new_buf(), entry = new_buf();
	struct container_identity who;

	put_text(&entry, 1, "c");
	put_label(&entry, 8, "io.kubernetes.container.name", "by-label");
	put_message(&list, 1, &entry);
	(void)only(&list, CONTAINER_KIND_CONTAINER, &who);
	assert_slice(who.container, "by-label");
	buf_done(&list);

	put_text(&entry, 1, "s");
	put_label(&entry, 5, "io.kubernetes.pod.uid", "by-label");
	put_message(&list, 1, &entry);
	(void)only(&list, CONTAINER_KIND_SANDBOX, &who);
	assert_slice(who.pod_uid, "by-label");
	buf_done(&list);
}

static void test_bytes_that_are_not_text(void **state)
{
	struct buf list = new_buf();
	struct container_identity who;
	struct list_entry e;

	put_container(&list, "\xff\xfe\x01", "\xc0", 1);
	e = only(&list, CONTAINER_KIND_CONTAINER, &who);
	assert_slice(e.id, "\xff\xfe\x01");
	assert_slice(e.sandbox_id, "\xc0");
	buf_done(&list);
}

static void test_malformed(void **state)
{
	static const struct {
		const char *what;
		const char *bytes;
		size_t len;
	} cases[] = {
#define CASE(what, bytes) { what, bytes, sizeof(bytes) - 1 }
		CASE("length beyond the end", "\x0a\x02\x0a"),
		CASE("length near the end of the address space",
			"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x01"),
		CASE("varint of eleven bytes", "\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"),
		CASE("varint over 64 bits", "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
		CASE("varint without an end", "\x10\x80"),
		CASE("tag without a value", "\x10"),
		CASE("field number zero", "\x00\x01"),
		CASE("tag over 32 bits", "\x80\x80\x80\x80\x10\x01"),
		CASE("group", "\x13\x14"),
		CASE("end of a group", "\x14"),
		CASE("wire type 6", "\x16"),
		CASE("wire type 7", "\x17"),
		CASE("fixed64 cut", "\x11\x01\x02\x03\x04\x05\x06\x07"),
		CASE("fixed32 cut", "\x15\x01\x02\x03"),
		CASE("entries that are a number", "\x08\x01"),
		CASE("id that is a number", "\x0a\x02\x08\x01"),
		CASE("state that is bytes", "\x0a\x02\x32\x00"),
		CASE("inner length beyond the entry", "\x0a\x03\x0a\x02x\x0a\x01"),
		CASE("label key that is a number", "\x0a\x04\x42\x02\x08\x01"),
		CASE("metadata name cut", "\x0a\x04\x1a\x02\x0a\x05"),
#undef CASE
	};

	for (size_t i = 0; i < ELEMENTS(cases); i++) {
		struct buf list = new_buf();

		ASSERT_OK(buf_append(&list, cases[i].bytes, cases[i].len));
		print_message("%s\n", cases[i].what);
		assert_malformed(&list, CONTAINER_KIND_CONTAINER);
	}
}

static size_t read_all(struct slice sandboxes, struct slice containers)
{
	struct container_identity who;
	struct list_entry e;
	struct cri_list list;
	size_t n = 0;

	cri_list_init(&list, sandboxes, containers);
	while (list.source.next(&list.source, &e)) {
		list.source.describe(&list.source, &e, &who);
		n++;
	}
	return n;
}

/* Every beginning of a list, in a block of just that size so that ASan sees a byte too far; and
 * every byte of it replaced. What passes validation must be readable to the end. */
static void test_damage(void **state)
{
	static const uint8_t values[] = { 0x00, 0x01, 0x0a, 0x1a, 0x7f, 0x80, 0xff };
	struct slice none = { 0 };
	struct buf list = new_buf();
	size_t entries, whole = 0;

	put_container(&list, "c1", "s1", 1);
	put_container(&list, "c2", "s2", 2);
	for (size_t len = 0; len <= list.len; len++) {
		CLEAN(mem_freep) char *cut = mem_strndup((const char *)list.data, len);
		CLEAN(mem_freep) char *exact = mem_alloc(len);

		assert_non_null(exact);
		memcpy(exact, cut, len);
		for (int kind = 0; kind < 2; kind++) {
			struct slice s = { exact, len };

			if (cri_scan_validate(s, (enum container_kind)kind, &entries) < 0)
				continue;
			assert_int_equal(kind ? read_all(s, none) : read_all(none, s), entries);
			whole += kind == CONTAINER_KIND_CONTAINER;
		}
	}
	assert_int_equal(whole, 3); /* nothing, one entry, two */

	for (size_t at = 0; at < list.len; at++) {
		for (size_t v = 0; v < ELEMENTS(values); v++) {
			uint8_t was = list.data[at];

			list.data[at] = values[v];
			if (cri_scan_validate(
				    slice_of(&list), CONTAINER_KIND_CONTAINER, &entries) >= 0)
				assert_int_equal(read_all(none, slice_of(&list)), entries);
			list.data[at] = was;
		}
	}
	buf_done(&list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sandboxes_come_first),
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_any_order),
		cmocka_unit_test(test_labels_stand_in),
		cmocka_unit_test(test_bytes_that_are_not_text),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
