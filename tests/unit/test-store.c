/*
 * The journal's file, in a folder of its own: schema, migrations, writing twice, queries against a
 * plain loop over what was written, the clean-up, and what it makes of files that are not well.
 */
#include "unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "store/batch.h"
#include "store/store-internal.h"

#define DAY_NS (UINT64_C(86400) * NSEC_PER_SEC)
#define MIB    (UINT64_C(1) << 20)
#define T0     INT64_C(1800000000000000000)

struct folder {
	char path[64], file[80];
	struct store_options options;
};

static int set_up(void **state)
{
	struct folder *f = mem_zalloc(sizeof(*f));

	assert_non_null(f);
	(void)snprintf(f->path, sizeof(f->path), "/tmp/pleg-store-XXXXXX");
	assert_non_null(mkdtemp(f->path));
	(void)snprintf(f->file, sizeof(f->file), "%s/journal.db", f->path);
	f->options = (struct store_options){
		.path = f->file,
		.max_age_ns = 7 * DAY_NS,
		.max_bytes = 64 * MIB,
		.check_timeout_ns = 10 * NSEC_PER_SEC,
	};
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct folder *f = *state;
	char command[96];

	(void)snprintf(command, sizeof(command), "rm -rf %s", f->path);
	assert_int_equal(system(command), 0);
	(void)mem_free(f);
	return 0;
}

static struct store *open_store(struct folder *f)
{
	struct store *s = NULL;
	struct err e = { 0 };

	if (store_open(&f->options, &s, &e) < 0)
		fail_msg("%s", e.text);
	return s;
}

static struct event make_event(uint64_t sequence)
{
	static const char *const pods[] = { "web-0", "web-1", "db-0" };
	static char ids[8][72];
	char *id = ids[sequence % ELEMENTS(ids)];

	(void)snprintf(id, sizeof(ids[0]), "%064llx",
		(unsigned long long)(sequence * 0x9e3779b97f4a7c15u));
	/* The digits that tell them apart in front. */
	memmove(id, id + 48, 16);
	return (struct event){
		.sequence = sequence,
		.type = (enum event_type)(sequence % 5),
		.kind = CONTAINER_KIND_CONTAINER,
		.source = sequence % 7 == 0 ? EVENT_SOURCE_KERNEL : EVENT_SOURCE_RELIST,
		.confirmed = sequence % 7 != 0,
		.observed_at_ns = T0 + (int64_t)(sequence * NSEC_PER_SEC),
		.namespace = sequence % 2 ? "demo" : "kube-system",
		.pod = pods[sequence % ELEMENTS(pods)],
		.pod_uid = sequence % 3 ? "11111111-2222" : "33333333-4444",
		.container = sequence % 5 ? "main" : "sidecar",
		.container_id = id,
		.sandbox_id = "",
	};
}

static void write_events(struct store *s, const char *epoch, uint64_t first, uint64_t last)
{
	CLEAN(buf_done) struct buf b = BATCH_INIT;
	uint64_t highest = 0;
	struct err e = { 0 };

	for (uint64_t i = first; i <= last;) {
		ASSERT_OK(batch_begin(&b, epoch));
		for (; i <= last && batch_has_room(&b); i++) {
			struct event event = make_event(i);

			ASSERT_OK(batch_add_event(&b, &event));
		}
		if (store_write(s, b.data, b.len, &highest, &e) < 0)
			fail_msg("%s", e.text);
		assert_int_equal(highest, i - 1);
	}
}

static int64_t number(struct store *s, const char *sql)
{
	int64_t n = -1;

	ASSERT_OK(store_number(s->db, sql, &n, NULL));
	return n;
}

/* ---- schema -------------------------------------------------------------------------------- */

static void a_new_one(void **state)
{
	struct store *s = open_store(*state);

	assert_int_equal(number(s, "PRAGMA user_version"), STORE_VERSION);
	assert_int_equal(number(s, "PRAGMA application_id"), 0x706c6567);
	assert_int_equal(number(s, "PRAGMA auto_vacuum"), 2);
	assert_int_equal(number(s, "PRAGMA synchronous"), 1);
	for (size_t i = 0; i < 5; i++) {
		static const char *const tables[] = { "epochs", "events", "differences",
			"incidents", "plans" };

		assert_int_equal(number(s, FMT("SELECT count(*) FROM %s", tables[i])), 0);
	}
	s = store_close(s, false);
	s = open_store(*state); /* And again, from what is there. */
	assert_int_equal(number(s, "PRAGMA user_version"), STORE_VERSION);
	s = store_close(s, false);
}

static void migrations(void **state)
{
	static const char *const steps[] = { "CREATE TABLE a (x)", "CREATE TABLE b (x)",
		"CREATE TABLE c (x); CREATE TABLE c (x)" };
	struct err e = { 0 };
	int64_t n = -1;
	sqlite3 *db;

	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	ASSERT_OK(store_migrate(db, steps, 1, &e));
	ASSERT_OK(store_migrate(db, steps, 2, &e)); /* Only the second is run. */
	ASSERT_OK(store_number(db, "PRAGMA user_version", &n, NULL));
	assert_int_equal(n, 2);
	/* One that fails half-way leaves no half. */
	assert_true(store_migrate(db, steps, 3, &e) < 0);
	ASSERT_OK(store_number(db, "PRAGMA user_version", &n, NULL));
	assert_int_equal(n, 2);
	ASSERT_OK(
		store_number(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'c'", &n, NULL));
	assert_int_equal(n, 0);
	assert_int_equal(sqlite3_get_autocommit(db), 1);
	ASSERT_ERR(store_migrate(db, steps, 1, &e), EPROTONOSUPPORT);
	assert_non_null(strstr(e.text, "version 2"));
	(void)sqlite3_close(db);
}

/* ---- writing ------------------------------------------------------------------------------- */

static void twice_is_once(void **state)
{
	struct store *s = open_store(*state);

	write_events(s, "e1", 1, 1000);
	write_events(s, "e1", 500, 1200);
	write_events(s, "e2", 1, 10); /* Another run has numbers of its own. */
	assert_int_equal(number(s, "SELECT count(*) FROM events"), 1210);
	assert_int_equal(number(s, "SELECT count(*) FROM epochs"), 2);
	s = store_close(s, false);
	s = open_store(*state);
	write_events(s, "e1", 1, 1300);
	assert_int_equal(number(s, "SELECT count(*) FROM events"), 1310);
	assert_int_equal(number(s, "SELECT count(*) FROM epochs"), 2);
	s = store_close(s, false);
}

static void all_of_a_batch_or_nothing(void **state)
{
	CLEAN(buf_done) struct buf b = BATCH_INIT;
	struct store *s = open_store(*state);
	struct event event = make_event(1);
	uint64_t highest = 77;

	ASSERT_OK(batch_begin(&b, "e"));
	ASSERT_OK(batch_add_event(&b, &event));
	ASSERT_OK(buf_append(&b, "nonsense", 8));
	ASSERT_ERR(store_write(s, b.data, b.len, &highest, NULL), EBADMSG);
	assert_int_equal(highest, 77);
	assert_int_equal(number(s, "SELECT count(*) FROM events"), 0);
	/* What was rolled back was the epoch too. */
	write_events(s, "e", 1, 1);
	assert_int_equal(number(s,
				 "SELECT count(*) FROM events JOIN epochs ON "
				 "events.epoch = epochs.id AND epochs.epoch = 'e'"),
		1);
	s = store_close(s, false);
}

static void differences_begin_and_end(void **state)
{
	const struct batch_difference begins = { "cid", "running", "zombie", 5, 0 };
	const struct batch_difference ends = { "cid", "running", "gone", 5, 9 };
	CLEAN(buf_done) struct buf b = BATCH_INIT;
	struct store *s = open_store(*state);
	uint64_t highest;

	ASSERT_OK(batch_begin(&b, "e"));
	ASSERT_OK(batch_add_difference(&b, &begins));
	ASSERT_OK(store_write(s, b.data, b.len, &highest, NULL));
	assert_int_equal(highest, 0);
	assert_int_equal(number(s, "SELECT count(*) FROM differences WHERE until IS NULL"), 1);
	ASSERT_OK(batch_begin(&b, "e"));
	ASSERT_OK(batch_add_difference(&b, &ends));
	ASSERT_OK(store_write(s, b.data, b.len, &highest, NULL));
	assert_int_equal(number(s, "SELECT until FROM differences WHERE kernel = 'gone'"), 9);
	assert_int_equal(number(s, "SELECT count(*) FROM differences"), 1);
	s = store_close(s, false);
}

/* ---- incidents ----------------------------------------------------------------------------- */

static struct journal_incident make_incident(const char *id, int64_t changed_ns, int64_t closed_ns)
{
	return (struct journal_incident){ id, "RuntimeHung", "containerd",
		closed_ns ? "closed" : "open", "{\"deep\":[1]}", 5, changed_ns, closed_ns };
}

static void write_incident(struct store *s, const struct journal_incident *incident)
{
	CLEAN(buf_done) struct buf b = BATCH_INIT;
	uint64_t highest;
	struct err e = { 0 };

	ASSERT_OK(batch_begin(&b, "e"));
	ASSERT_OK(batch_add_incident(&b, incident));
	if (store_write(s, b.data, b.len, &highest, &e) < 0)
		fail_msg("%s", e.text);
}

/* All parts of the answer, in memory of the caller's. */
static const char *ask_incidents(struct store *s, struct journal_ask ask, struct buf *out)
{
	CLEAN(buf_done) struct buf part = BUF_INIT(MIB);
	struct journal_rows rows = { 0 };
	struct err e = { 0 };

	buf_clear(out);
	for (int parts = 0; !rows.done; parts++) {
		assert_true(parts < 1000);
		buf_clear(&part);
		if (store_query(s, &ask, &rows, &part, &e) < 0)
			fail_msg("%s", e.text);
		assert_true(part.len <= STORE_PART_BYTES + 65536);
		ASSERT_OK(buf_append(out, part.data, part.len));
		ask.position = rows.position;
	}
	return buf_string(out);
}

static void incidents_change_and_end(void **state)
{
	const struct journal_incident told[] = { make_incident("a1", 10, 0),
		make_incident("b1", 20, 0), make_incident("a1", 30, 30),
		make_incident("b1", 15, 15) /* late: what is known is newer */ };
	const struct journal_ask all = { .what = JOURNAL_INCIDENTS };
	struct journal_ask one = { .what = JOURNAL_INCIDENT, .id = "a" };
	struct journal_ask open = { .what = JOURNAL_INCIDENTS, .open = 1 };
	struct journal_ask last = { .what = JOURNAL_INCIDENTS, .limit = 1 };
	struct journal_ask since = { .what = JOURNAL_INCIDENTS, .since_ns = 31 };
	CLEAN(buf_done) struct buf out = BUF_INIT(MIB);
	struct store *s = open_store(*state);

#define A1                                                                                         \
	"{\"id\":\"a1\",\"cause\":\"RuntimeHung\",\"subject\":\"containerd\",\"state\":"           \
	"\"closed\","                                                                              \
	"\"openedAt\":\"1970-01-01T00:00:00.000000005Z\","                                         \
	"\"changedAt\":\"1970-01-01T00:00:00.000000030Z\","                                        \
	"\"closedAt\":\"1970-01-01T00:00:00.000000030Z\""
#define B1                                                                                         \
	"{\"id\":\"b1\",\"cause\":\"RuntimeHung\",\"subject\":\"containerd\",\"state\":\"open\","  \
	"\"openedAt\":\"1970-01-01T00:00:00.000000005Z\","                                         \
	"\"changedAt\":\"1970-01-01T00:00:00.000000020Z\",\"closedAt\":null"
	assert_string_equal(ask_incidents(s, all, &out), "");
	for (size_t i = 0; i < ELEMENTS(told); i++)
		write_incident(s, &told[i]);
	assert_string_equal(ask_incidents(s, all, &out), A1 "}\n" B1 "}\n");
	assert_string_equal(ask_incidents(s, one, &out), A1 ",\"document\":{\"deep\":[1]}}\n");
	assert_string_equal(ask_incidents(s, open, &out), B1 "}\n");
	assert_string_equal(ask_incidents(s, last, &out), B1 "}\n");
	assert_string_equal(ask_incidents(s, since, &out), B1 "}\n");
	(void)snprintf(one.id, sizeof(one.id), "a11");
	assert_string_equal(ask_incidents(s, one, &out), "");
	s = store_close(s, false);
	s = open_store(*state);
	assert_string_equal(ask_incidents(s, all, &out), A1 "}\n" B1 "}\n");
	s = store_close(s, false);
}

/* Too many, and all as long as may be: those that go on are the last to go, and events stay. */
static void incidents_have_limits(void **state)
{
	struct folder *f = *state;
	const struct journal_ask all = { .what = JOURNAL_INCIDENT };
	CLEAN(buf_done) struct buf out = BUF_INIT(16 * MIB);
	struct journal_incident incident;
	char document[JOURNAL_DOCUMENT_MAX];
	struct now now = { .mono_ns = 1, .real_ns = T0 };
	struct store *s;
	const char *p;
	size_t lines = 0;

	memset(document, ' ', sizeof(document));
	document[0] = '{';
	document[sizeof(document) - 2] = '}';
	document[sizeof(document) - 1] = '\0';
	f->options.max_bytes = 4 * MIB;
	s = open_store(f);
	write_events(s, "e", 1, 100);
	for (int64_t i = 0; i < 100; i++) {
		incident = make_incident(FMT("%03d", (int)i), T0 + i, i < 5 ? 0 : T0 + i);
		incident.document = document;
		write_incident(s, &incident);
		ASSERT_OK(store_maintain(s, now, NULL));
	}
	assert_int_equal(number(s, "SELECT count(*) FROM incidents"), 8);
	assert_int_equal(number(s, "SELECT count(*) FROM incidents WHERE closed IS NULL"), 5);
	assert_int_equal(number(s, "SELECT max(changed) FROM incidents") - T0, 99);
	assert_int_equal(number(s, "SELECT count(*) FROM events"), 100);
	p = ask_incidents(s, all, &out);
	while ((p = strchr(p, '\n')) != NULL && p++)
		lines++;
	assert_int_equal(lines, 8);
	/* By age go the ended ones. */
	now = (struct now){ 120 * NSEC_PER_SEC, T0 + (int64_t)(8 * DAY_NS) };
	while (store_maintain(s, now, NULL) > 0)
		continue;
	assert_int_equal(number(s, "SELECT count(*) FROM incidents"), 5);
	s = store_close(s, false);
}

/* A file as the first version made it, with what stood in it. */
static void from_version_1(void **state)
{
	struct folder *f = *state;
	const struct journal_ask all = { .what = JOURNAL_INCIDENT };
	const struct journal_incident incident = make_incident("new", 10, 0);
	CLEAN(buf_done) struct buf out = BUF_INIT(MIB);
	struct store *s = open_store(f);
	struct err e = { 0 };
	sqlite3 *db;

	s = store_close(s, false);
	ASSERT_OK(unlink(f->file));
	assert_int_equal(sqlite3_open(f->file, &db), SQLITE_OK);
	ASSERT_OK(store_migrate(db, store_migrations, 1, &e));
	ASSERT_OK(store_exec(db,
		"PRAGMA application_id = 1886152039;"
		"INSERT INTO epochs VALUES (1, 'old', 5);"
		"INSERT INTO events (epoch, sequence, time, type, kubelet, json)"
		" VALUES (1, 7, 5, 'ContainerDied', 1, '{\"old\":7}');"
		"INSERT INTO incidents VALUES ('i', 1, 2, NULL, 'Old', '{\"d\":1}')",
		&e, "Make an old one"));
	(void)sqlite3_close(db);

	s = open_store(f);
	assert_int_equal(number(s, "PRAGMA user_version"), STORE_VERSION);
	assert_int_equal(number(s, "SELECT count(*) FROM events WHERE sequence = 7"), 1);
	write_events(s, "e", 1, 10);
	write_incident(s, &incident);
	assert_non_null(strstr(
		ask_incidents(s, all, &out), "\"cause\":\"Old\",\"subject\":\"\",\"state\":\"\""));
	assert_non_null(strstr(ask_incidents(s, all, &out), "\"id\":\"new\""));
	s = store_close(s, false);
}

/* ---- queries ------------------------------------------------------------------------------- */

static bool matches(const struct journal_ask *ask, const struct event *event)
{
	if ((ask->since_ns && event->observed_at_ns < ask->since_ns) ||
		(ask->until_ns && event->observed_at_ns > ask->until_ns))
		return false;
	if (ask->kubelet && !event_is_kubelets(event))
		return false;
	if (ask->ns[0] && !str_eq(ask->ns, event->namespace))
		return false;
	if (ask->pod[0] && !str_eq(ask->pod, event->pod) && !str_eq(ask->pod, event->pod_uid))
		return false;
	return !ask->container[0] || str_eq(ask->container, event->container) ||
		(strlen(ask->container) >= 8 && str_after(event->container_id, ask->container));
}

/* All parts of an answer; the number of lines and the sequence of the first. */
static size_t ask_all(
	struct store *s, struct journal_ask ask, uint64_t *ret_first, size_t *ret_parts)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(64 * MIB);
	struct journal_rows rows = { 0 };
	size_t lines = 0, parts = 0;
	const char *first;
	struct err e = { 0 };

	do {
		CLEAN(buf_done) struct buf part = BUF_INIT(MIB);

		if (store_query(s, &ask, &rows, &part, &e) < 0)
			fail_msg("%s", e.text);
		assert_true(part.len <= STORE_PART_BYTES + 65536);
		ASSERT_OK(buf_append(&out, part.data, part.len));
		ask.position = rows.position;
		assert_true(++parts < 10000);
	} while (!rows.done);
	for (size_t i = 0; i < out.len; i++)
		lines += out.data[i] == '\n';
	if (ret_first) {
		first = strstr(buf_string(&out), "\"sequence\":");
		*ret_first = first ? strtoull(first + 11, NULL, 10) : 0;
	}
	if (ret_parts)
		*ret_parts = parts;
	return lines;
}

#define EVENTS 20000u

static void filters(void **state)
{
	static const struct journal_ask asks[] = {
		{ 0 },
		{ .since_ns = T0 + INT64_C(15000) * 1000000000 },
		{ .until_ns = T0 + INT64_C(777) * 1000000000 },
		{ .since_ns = T0 + INT64_C(100) * 1000000000,
			.until_ns = T0 + INT64_C(200) * 1000000000 },
		{ .kubelet = 1 },
		{ .ns = "demo" },
		{ .ns = "nobody" },
		{ .pod = "web-1" },
		{ .pod = "33333333-4444" },
		{ .ns = "demo", .pod = "db-0", .container = "sidecar" },
		{ .container = "sidecar" },
		{ .container = "mai" }, /* no prefix of a name */
		{ .limit = 10 },
		{ .limit = 9000 },
		{ .limit = 10, .pod = "web-0", .kubelet = 1 },
		{ .limit = 1000000 },
		{ .limit = 5, .since_ns = T0 + INT64_C(30000) * 1000000000 }, /* beyond the last */
		{ .limit = 5, .until_ns = T0 },
	};
	struct store *s = open_store(*state);
	size_t parts;

	write_events(s, "e", 1, EVENTS);
	for (size_t i = 0; i < ELEMENTS(asks); i++) {
		const struct journal_ask ask = asks[i];
		uint64_t wanted_first = 0, got_first;
		size_t wanted = 0, got;

		for (uint64_t n = EVENTS; n >= 1; n--) {
			struct event event = make_event(n);

			if (!matches(&ask, &event))
				continue;
			if (ask.limit && wanted == ask.limit)
				break;
			wanted++;
			wanted_first = n;
		}
		got = ask_all(s, ask, &got_first, &parts);
		if (got != wanted || got_first != wanted_first)
			fail_msg("ask %zu: %zu lines from %llu, expected %zu from %llu", i, got,
				(unsigned long long)got_first, wanted,
				(unsigned long long)wanted_first);
	}
	assert_int_equal(ask_all(s, asks[0], NULL, &parts), EVENTS);
	assert_true(parts > 10); /* It does come in parts. */
	s = store_close(s, false);
}

static void by_beginning_of_an_id(void **state)
{
	struct store *s = open_store(*state);
	struct journal_ask ask = { 0 };
	struct event event;
	uint64_t first;

	write_events(s, "e", 1, 500);
	event = make_event(123);
	(void)snprintf(ask.container, sizeof(ask.container), "%.12s", event.container_id);
	assert_int_equal(ask_all(s, ask, &first, NULL), 1);
	assert_int_equal(first, 123);
	(void)snprintf(ask.container, sizeof(ask.container), "%.7s", event.container_id);
	assert_int_equal(ask_all(s, ask, NULL, NULL), 0);
	s = store_close(s, false);
}

static void a_gap_passes_every_filter(void **state)
{
	const struct journal_ask ask = { .ns = "demo", .pod = "nobody", .kubelet = 1 };
	CLEAN(buf_done) struct buf b = BATCH_INIT, out = BUF_INIT(MIB);
	struct store *s = open_store(*state);
	struct journal_rows rows;
	uint64_t highest;

	write_events(s, "e", 1, 10);
	ASSERT_OK(batch_begin(&b, "e"));
	ASSERT_OK(batch_add_missed(&b, 11, 32, T0));
	ASSERT_OK(store_write(s, b.data, b.len, &highest, NULL));
	assert_int_equal(highest, 42);
	ASSERT_OK(store_query(s, &ask, &rows, &out, NULL));
	assert_true(rows.done);
	assert_string_equal(buf_string(&out), "{\"missed\":32,\"epoch\":\"e\"}\n");
	s = store_close(s, false);
}

/* Positions that were never given out end; they do not go round for ever. */
static void strange_positions(void **state)
{
	static const struct journal_position positions[] = {
		{ .phase = STORE_QUERY_READ, .at = UINT64_MAX },
		{ .phase = STORE_QUERY_READ, .low = 1, .upto = UINT64_MAX, .at = UINT64_MAX - 1 },
		{ .phase = STORE_QUERY_COUNT },
		{ .phase = STORE_QUERY_COUNT, .low = 1, .upto = 1, .at = 0 },
		{ .phase = STORE_QUERY_COUNT, .low = 5, .upto = 1, .at = 1 },
	};
	struct store *s = open_store(*state);

	write_events(s, "e", 1, 10);
	for (size_t i = 0; i < ELEMENTS(positions); i++) {
		struct journal_ask ask = { .limit = 3, .position = positions[i] };

		(void)ask_all(s, ask, NULL, NULL);
	}
	s = store_close(s, false);
}

/* What is written while a query goes on is not part of it, and does not hold it up. */
static void a_query_sees_what_was_there(void **state)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(MIB);
	struct store *s = open_store(*state);
	struct journal_ask ask = { 0 };
	struct journal_rows rows = { 0 };
	size_t lines = 0;

	write_events(s, "e", 1, 5000);
	for (uint64_t next = 5001; !rows.done; next += 100) {
		buf_clear(&out);
		ASSERT_OK(store_query(s, &ask, &rows, &out, NULL));
		ask.position = rows.position;
		for (size_t i = 0; i < out.len; i++)
			lines += out.data[i] == '\n';
		write_events(s, "e", next, next + 99);
		ASSERT_OK(store_checkpoint(s, NULL));
		assert_true(next < 100000);
	}
	assert_int_equal(lines, 5000);
	s = store_close(s, false);
}

/* ---- the clean-up -------------------------------------------------------------------------- */

static uint64_t bytes_of(const char *path, const char *end)
{
	char whole[128];
	struct stat st;

	(void)snprintf(whole, sizeof(whole), "%s%s", path, end);
	return stat(whole, &st) < 0 ? 0 : (uint64_t)st.st_size;
}

static void maintain(struct store *s, struct now now, unsigned *ret_steps)
{
	struct err e = { 0 };
	unsigned steps = 0;
	int r;

	while ((r = store_maintain(s, now, &e)) > 0)
		assert_true(++steps < 100000);
	if (r < 0)
		fail_msg("%s", e.text);
	if (ret_steps)
		*ret_steps = steps;
}

static void by_size(void **state)
{
	struct folder *f = *state;
	struct now now = { .mono_ns = 1, .real_ns = T0 };
	struct store *s;
	uint64_t last = 0;

	f->options.max_bytes = 8 * MIB;
	s = open_store(f);
	for (int i = 0; i < 200; i++, last += 200) {
		write_events(s, "e", last + 1, last + 200);
		/* As the role does it: a step after each batch is enough to keep up. */
		ASSERT_OK(store_maintain(s, now, NULL));
		assert_true(bytes_of(f->file, "") + bytes_of(f->file, "-wal") <= 8 * MIB);
	}
	maintain(s, now, NULL);
	assert_true(number(s, "SELECT count(*) FROM events") > 3000);
	assert_true(number(s, "SELECT count(*) FROM events") < 20000);
	assert_int_equal(number(s, "SELECT max(sequence) FROM events"), (int64_t)last);
	/* The oldest have gone, without holes. */
	assert_int_equal(number(s,
				 "SELECT max(sequence) - min(sequence) + 1 - count(*) FROM "
				 "events"),
		0);
	s = store_close(s, false);
}

static void by_age(void **state)
{
	struct folder *f = *state;
	struct store *s = open_store(f);
	struct now now = { .mono_ns = 1, .real_ns = T0 + (int64_t)(10001 * NSEC_PER_SEC) };
	uint64_t full;
	unsigned steps;

	write_events(s, "e1", 1, 20000);
	write_events(s, "e2", 20001, 20001);
	maintain(s, now, NULL);
	assert_int_equal(number(s, "SELECT count(*) FROM events"), 20001);
	full = bytes_of(f->file, "");

	now.real_ns += (int64_t)(7 * DAY_NS);
	maintain(s, now, &steps);
	/* Looked for once a minute, not at every step. */
	assert_int_equal(number(s, "SELECT count(*) FROM events"), 20001);
	now.mono_ns += 61 * NSEC_PER_SEC;
	maintain(s, now, &steps);
	assert_true(steps >= 10000 / STORE_DELETE_ROWS);
	assert_int_equal(number(s, "SELECT min(sequence) FROM events"), 10001);
	assert_int_equal(number(s, "SELECT count(*) FROM epochs"), 2);

	now.real_ns += (int64_t)DAY_NS;
	now.mono_ns += 61 * NSEC_PER_SEC;
	maintain(s, now, NULL);
	assert_int_equal(number(s, "SELECT count(*) FROM events"), 0);
	assert_int_equal(number(s, "SELECT count(*) FROM epochs"), 0);
	ASSERT_OK(store_checkpoint(s, NULL));
	/* The room goes back to the filesystem. */
	assert_true(bytes_of(f->file, "") < full / 4);
	/* An epoch that was cleaned away comes back with its next event. */
	write_events(s, "e2", 20002, 20002);
	assert_int_equal(number(s,
				 "SELECT count(*) FROM events JOIN epochs ON "
				 "events.epoch = epochs.id"),
		1);
	s = store_close(s, false);
}

/* ---- files that are not well --------------------------------------------------------------- */

static void put_bytes(const char *path, off_t at, const void *data, size_t len)
{
	CLEAN_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, data, len, at), (ssize_t)len);
}

static void damaged(void **state)
{
	struct folder *f = *state;
	char name[STORE_ASIDE_NAME], junk[4096];
	struct store *s = open_store(f);
	struct err e = { 0 };

	write_events(s, "e", 1, 2000);
	s = store_close(s, false);
	memset(junk, 0x5a, sizeof(junk));
	for (off_t page = 3; page < 200; page++)
		put_bytes(f->file, page * 4096, junk, sizeof(junk));
	ASSERT_ERR(store_open(&f->options, &s, &e), EUCLEAN);
	assert_non_null(strstr(e.text, "damaged"));
	ASSERT_OK(store_set_aside(f->file, T0, name, &e));
	assert_non_null(strstr(name, "journal.db.damaged-20270115T080000.000000000Z"));
	assert_int_equal(access(name, F_OK), 0);
	s = open_store(f);
	assert_int_equal(number(s, "SELECT count(*) FROM events"), 0);
	s = store_close(s, false);
}

static void not_a_database(void **state)
{
	struct folder *f = *state;
	struct store *s;
	struct err e = { 0 };
	sqlite3 *db;

	put_bytes(f->file, 0, "this is no database, but a text of some length.....................",
		64);
	ASSERT_ERR(store_open(&f->options, &s, &e), EUCLEAN);
	ASSERT_OK(unlink(f->file));
	/* A database, but somebody else's. */
	assert_int_equal(sqlite3_open(f->file, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "CREATE TABLE t (x)", NULL, NULL, NULL), SQLITE_OK);
	(void)sqlite3_close(db);
	ASSERT_ERR(store_open(&f->options, &s, &e), EUCLEAN);
	assert_non_null(strstr(e.text, "not a journal of pleg"));
}

static void newer(void **state)
{
	struct folder *f = *state;
	CLEAN(mem_freep) char *before = NULL, *after = NULL;
	struct store *s = open_store(f);
	size_t before_len, after_len;
	struct err e = { 0 };

	write_events(s, "e", 1, 10);
	ASSERT_OK(store_exec(s->db, "PRAGMA user_version = 99", NULL, ""));
	s = store_close(s, false);
	ASSERT_OK(fd_read_file(f->file, 16 * MIB, &before, &before_len));
	ASSERT_ERR(store_open(&f->options, &s, &e), EPROTONOSUPPORT);
	assert_non_null(strstr(e.text, "version 99"));
	ASSERT_OK(fd_read_file(f->file, 16 * MIB, &after, &after_len));
	assert_int_equal(before_len, after_len);
	assert_memory_equal(before, after, after_len);
}

/* Also when the newer version stands in a log that was never moved into the file. */
static void newer_in_its_log(void **state)
{
	struct folder *f = *state;
	CLEAN(mem_freep) char *before = NULL, *after = NULL;
	CLEAN(mem_freep) char *log_before = NULL, *log_after = NULL;
	struct store *s = open_store(f);
	size_t before_len, after_len, log_before_len, log_after_len;
	struct err e = { 0 };

	ASSERT_OK(store_exec(s->db, "PRAGMA user_version = 99", NULL, ""));
	ASSERT_OK(fd_read_file(f->file, 16 * MIB, &before, &before_len));
	ASSERT_OK(fd_read_file(s->log_path, 16 * MIB, &log_before, &log_before_len));
	s = store_close(s, true);
	ASSERT_ERR(store_open(&f->options, &s, &e), EPROTONOSUPPORT);
	ASSERT_OK(fd_read_file(f->file, 16 * MIB, &after, &after_len));
	assert_int_equal(before_len, after_len);
	assert_memory_equal(before, after, after_len);
	ASSERT_OK(fd_read_file(FMT("%s-wal", f->file), 16 * MIB, &log_after, &log_after_len));
	assert_int_equal(log_before_len, log_after_len);
	assert_memory_equal(log_before, log_after, log_after_len);
}

static void only_one_at_a_time(void **state)
{
	struct folder *f = *state;
	struct store *s = open_store(f), *other = NULL;
	struct err e = { 0 };

	write_events(s, "e", 1, 1);
	ASSERT_ERR(store_open(&f->options, &other, &e), EBUSY);
	write_events(s, "e", 2, 2); /* The first is none the worse for it. */
	s = store_close(s, false);
	s = open_store(f);
	assert_int_equal(number(s, "SELECT count(*) FROM events"), 2);
	s = store_close(s, false);
}

static void pulled_away(void **state)
{
	struct folder *f = *state;
	char moved[96], log[96];
	struct store *s = open_store(f);
	struct err e = { 0 };

	write_events(s, "e", 1, 2000);
	ASSERT_OK(store_check(s, &e));
	ASSERT_OK(store_checkpoint(s, &e));
	ASSERT_OK(store_check(s, &e));
	write_events(s, "e", 2001, 2100);

	/* The log deleted: we still have it, and nothing is lost. */
	(void)snprintf(log, sizeof(log), "%s-wal", f->file);
	ASSERT_OK(unlink(log));
	ASSERT_ERR(store_check(s, &e), ESTALE);
	s = store_close(s, true);
	s = open_store(f);
	assert_int_equal(number(s, "SELECT count(*) FROM events"), 2100);

	/* The file moved away takes its log with it. */
	write_events(s, "e", 2101, 2200);
	(void)snprintf(moved, sizeof(moved), "%s/moved", f->path);
	ASSERT_OK(rename(f->file, moved));
	ASSERT_ERR(store_check(s, &e), ESTALE);
	assert_non_null(strstr(e.text, "deleted"));
	assert_int_equal(bytes_of(f->file, "-wal"), 0);
	s = store_close(s, true);
	s = open_store(f);
	assert_int_equal(number(s, "SELECT count(*) FROM events"), 0);
	write_events(s, "other", 1, 10);
	ASSERT_OK(rename(moved, f->file));
	ASSERT_ERR(store_check(s, &e), ESTALE);
	assert_non_null(strstr(e.text, "replaced"));
	s = store_close(s, true);
	s = open_store(f);
	assert_int_equal(number(s, "SELECT count(*) FROM events"), 2200);

	ASSERT_OK(truncate(f->file, 8192));
	ASSERT_ERR(store_check(s, &e), EUCLEAN);
	assert_non_null(strstr(e.text, "cut"));
	s = store_close(s, true);
}

static void a_cut_log(void **state)
{
	struct folder *f = *state;
	struct store *s = open_store(f);
	struct err e = { 0 };

	write_events(s, "e", 1, 200);
	ASSERT_OK(store_check(s, &e));
	ASSERT_OK(truncate(FMT("%s-wal", f->file), 32));
	ASSERT_ERR(store_check(s, &e), EUCLEAN);
	s = store_close(s, true);
}

static void set_aside_keeps_three(void **state)
{
	struct folder *f = *state;
	char name[STORE_ASIDE_NAME];
	char whole[STORE_ASIDE_NAME + 8];

	for (int i = 0; i < 6; i++) {
		put_bytes(f->file, 0, "x", 1);
		put_bytes(FMT("%s-wal", f->file), 0, "y", 1);
		ASSERT_OK(store_set_aside(f->file, T0 + i, name, NULL));
		(void)snprintf(whole, sizeof(whole), "%s-wal", name);
		assert_int_equal(access(whole, F_OK), 0);
		assert_int_equal(access(f->file, F_OK), -1);
	}
	assert_int_equal(access(name, F_OK), 0); /* The newest is among them. */
	assert_int_equal(access(FMT("%s.damaged-20270115T080000.000000000Z", f->file), F_OK), -1);
	(void)snprintf(whole, sizeof(whole), "test $(ls %s | wc -l) = 6", f->path);
	assert_int_equal(system(whole), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_new_one),
		TEST(migrations),
		TEST(twice_is_once),
		TEST(all_of_a_batch_or_nothing),
		TEST(differences_begin_and_end),
		TEST(incidents_change_and_end),
		TEST(incidents_have_limits),
		TEST(from_version_1),
		TEST(filters),
		TEST(by_beginning_of_an_id),
		TEST(a_gap_passes_every_filter),
		TEST(strange_positions),
		TEST(a_query_sees_what_was_there),
		TEST(by_size),
		TEST(by_age),
		TEST(damaged),
		TEST(not_a_database),
		TEST(newer),
		TEST(newer_in_its_log),
		TEST(only_one_at_a_time),
		TEST(pulled_away),
		TEST(a_cut_log),
		TEST(set_aside_keeps_three),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
