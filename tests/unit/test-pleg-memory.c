/*
 * Memory: every allocation of a busy day fails once, and nothing is lost; an unchanged list allocates
 * nothing and describes nothing; ten thousand containers stay small and fast enough to be counted.
 */
#include "pleg-harness.h"

#include <malloc.h>

#include "base/fault.h"

static uint64_t allocations, fail_at; /* 0: none fails */
static bool met_fault;

bool fault_hit(enum fault_point point)
{
	if (point != FAULT_ALLOC || ++allocations != fail_at)
		return false;
	met_fault = true;
	return true;
}

/* ---- every allocation fails once --------------------------------------------------------- */

/* Each list comes twice, so what one left out the next takes in; the inspections of the first are
 * answered before the second begins. */
static const char *const day[] = {
	"p/s=r p/s/a=r p/s/b=c",
	"p/s=r p/s/a=x p/s/b=r q/t=r q/t/c=r -/u=r",
	"p/s=r p/s/b=r q/t=r q/t/c=x q/t/d=r -/u=x",
	"p/s=x p/s/b=x q/t=r q/t/d=r",
	"q/t=r q/t/d=r q/t/e=r r/v=r r/v/f=r r/v/g=r r/v/h=r r/v/i=r",
	"",
};

#define DAY_EVENTS 512

struct history {
	char words[DAY_EVENTS][32];
	size_t count;
};

static void history_add(struct history *history, const char *events)
{
	int used;

	while (sscanf(events, " %31s%n", history->words[history->count], &used) == 1) {
		/* Only the first list's are initial, and it may be the one that left them out. */
		char *word = history->words[history->count];

		if (*word == '!')
			memmove(word, word + 1, strlen(word));
		events += used;
		history->count++;
		assert_true(history->count < DAY_EVENTS);
	}
}

/* By container. */
static bool word_is_before(const char *a, const char *b)
{
	size_t n = strcspn(a, ":"), m = strcspn(b, ":");
	int r = memcmp(a, b, n < m ? n : m);

	return r < 0 || (r == 0 && n < m);
}

/* The words by container, in order within one; PodSync, which only repeats, left out. */
static void history_print(const struct history *history, char *out, size_t size)
{
	struct history sorted = { 0 };
	size_t len = 0;

	for (size_t i = 0; i < history->count; i++)
		if (!strstr(history->words[i], "PodSync"))
			memcpy(sorted.words[sorted.count++], history->words[i], 32);
	/* Insertion keeps the order of equal ones. */
	for (size_t i = 1; i < sorted.count; i++)
		for (size_t k = i; k > 0 && word_is_before(sorted.words[k], sorted.words[k - 1]);
			k--) {
			char word[32];

			memcpy(word, sorted.words[k], 32);
			memcpy(sorted.words[k], sorted.words[k - 1], 32);
			memcpy(sorted.words[k - 1], word, 32);
		}
	out[0] = '\0';
	for (size_t i = 0; i < sorted.count; i++)
		len += (size_t)snprintf(out + len, size - len, "%s ", sorted.words[i]);
}

static void live_a_day(struct history *history)
{
	uint64_t id;
	struct h h = { .now = { .mono_ns = SEC(1000), .real_ns = (int64_t)SEC(5000) } };
	struct pleg_config config = PLEG_CONFIG_DEFAULT;

	*history = (struct history){ 0 };
	if (pleg_new(&config, h.now, &h.pleg) < 0)
		ASSERT_OK(pleg_new(&config, h.now, &h.pleg));
	for (size_t i = 0; i < ELEMENTS(day); i++) {
		if (pleg_subscribe(h.pleg, "q", h.now.mono_ns, h.now, &id) >= 0)
			pleg_unsubscribe(h.pleg, id);
		for (int twice = 0; twice < 3; twice++)
			history_add(history, h_relist(&h, day[i]));
		if (pleg_relist_pod(h.pleg, "q", h.now) < 0)
			continue;
		if (h_find(&h, PLEG_REQUEST_LIST_POD, "q") < 0)
			continue; /* failed to go out; a full list does as well */
		pleg_on_failed(h.pleg, h_take(&h, PLEG_REQUEST_LIST_POD, "q"), PLEG_FAILURE_LOST,
			"lost", h.now);
	}
	h_done(&h);
}

static void every_allocation_fails_once(void **state)
{
	static struct history history;
	static char expected[16384], told[16384];
	uint64_t n = 0;

	(void)state;
	fail_at = 0;
	live_a_day(&history);
	history_print(&history, expected, sizeof(expected));
	assert_non_null(strstr(expected, "a:Started a:Died=0 a:Removed "));
	do {
		allocations = 0;
		met_fault = false;
		fail_at = ++n;
		live_a_day(&history);
		history_print(&history, told, sizeof(told));
		if (!str_eq(told, expected))
			print_error("allocation %d\n", (int)n);
		assert_string_equal(told, expected);
	} while (met_fault);
	fail_at = 0;
	assert_true(n > 100);
}

/* ---- many containers --------------------------------------------------------------------- */

#define MANY 10000

struct many {
	struct list_source source;
	uint32_t at, count, step; /* the order is shuffled by a step that is coprime with count */
	uint32_t exited;          /* the first so many are */
	char id[65], sandbox[65];
};

static const char *many_id(char id[65], char kind, uint32_t i)
{
	(void)snprintf(id, 65, "%08x%c%055x", i * 2654435761u, kind, i);
	return id;
}

/* Pods of one sandbox and one container. */
static bool many_next(struct list_source *source, struct list_entry *ret)
{
	struct many *m = (struct many *)source;
	uint32_t pod;

	if (m->at == m->count)
		return false;
	pod = (uint32_t)((uint64_t)m->at++ * m->step % (m->count / 2));
	*ret = (struct list_entry){ .state = CONTAINER_RUNNING };
	if (m->at <= m->count / 2) {
		ret->kind = CONTAINER_KIND_SANDBOX;
		ret->id = SLICE(many_id(m->id, 's', pod));
	} else {
		ret->kind = CONTAINER_KIND_CONTAINER;
		ret->id = SLICE(many_id(m->id, 'c', pod));
		ret->sandbox_id = SLICE(many_id(m->sandbox, 's', pod));
		if (pod < m->exited)
			ret->state = CONTAINER_EXITED;
	}
	return true;
}

static void many_describe(
	struct list_source *source, const struct list_entry *entry, struct container_identity *ret)
{
	(void)source;
	*ret = (struct container_identity){
		.namespace = SLICE("default"),
		.pod = SLICE("a-deployment-5d7f9c7d9b-abcde"),
		.pod_uid = { entry->kind == CONTAINER_KIND_SANDBOX ? entry->id.data
								   : entry->sandbox_id.data,
			36 },
		.container = SLICE("worker"),
		.created_at_ns = 1700000000 * (int64_t)NSEC_PER_SEC + entry->id.data[3],
	};
}

static void many_answer(struct h *h)
{
	struct pleg_request request;
	struct container_status status = { .created_at_ns = 1,
		.started_at_ns = 2,
		.image = "registry.example/team/worker@sha256:0123456789abcdef" };

	while (pleg_next_request(h->pleg, &request)) {
		assert_int_equal(request.type, PLEG_REQUEST_INSPECT);
		status.id = request.id;
		status.kind = request.kind;
		status.state = CONTAINER_RUNNING;
		pleg_on_inspect(h->pleg, request.token, &status, h->now);
	}
}

static size_t many_drain(struct h *h)
{
	struct event *event;
	size_t n = 0;

	while ((event = pleg_next_event(h->pleg))) {
		n++;
		(void)event_free(event);
	}
	return n;
}

static void many_list(struct h *h, struct many *m)
{
	uint64_t token = h_begin_list(h);

	m->at = 0;
	pleg_on_list(h->pleg, token, &m->source, h->now);
}

static void fill(struct h *h, struct many *m, uint32_t count)
{
	h_init(h);
	*m = (struct many){ { many_next, many_describe }, .count = count, .step = 7 };
	many_list(h, m);
	assert_int_equal(pleg_stats(h->pleg)->entries_described, count);
	many_answer(h);
	assert_int_equal(many_drain(h), count);
}

static void unchanged_list_costs_nothing(void **state)
{
	uint64_t before;
	struct many m;
	struct h h;

	(void)state;
	fill(&h, &m, MANY);
	before = allocations;
	for (uint32_t i = 0; i < 50; i++) {
		m.step = i % 2 ? 7 : 3;
		many_list(&h, &m);
		assert_int_equal(many_drain(&h), 0);
	}
	assert_int_equal(allocations, before);
	assert_int_equal(pleg_stats(h.pleg)->entries_described, MANY);
	assert_int_equal(pleg_stats(h.pleg)->inspections, MANY);
	assert_int_equal(pleg_stats(h.pleg)->entries_malformed, 0);
	h_done(&h);
}

/* In use by malloc's own account; sanitizers replace malloc and have none. */
static size_t in_use(void)
{
	return mallinfo2().uordblks + mallinfo2().hblkhd;
}

static void memory_of(uint32_t count, size_t most)
{
	size_t before = in_use();
	struct many m;
	struct h h;

	fill(&h, &m, count);
	if (before > 0 && in_use() - before > most)
		fail_msg("%u records take %zu bytes", count, in_use() - before);
	print_message("%u records take %zu bytes\n", count, in_use() - before);
	h_done(&h);
	assert_true(before == 0 || in_use() <= before + 65536);
}

static void memory_is_small(void **state)
{
	(void)state;
	memory_of(500, 1 << 20);
	memory_of(MANY, 20 << 20);
}

/* All end at once: everything is told, the pods go, nothing stays. */
static void many_end_at_once(void **state)
{
	struct pleg_health health;
	struct many m;
	struct h h;

	(void)state;
	fill(&h, &m, MANY);
	m.count = 0;
	many_list(&h, &m);
	assert_int_equal(many_drain(&h), 2 * MANY);
	pleg_health(h.pleg, h.now, &health);
	assert_int_equal(health.pods, 0);
	assert_int_equal(health.containers + health.sandboxes, 0);
	h_done(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_allocation_fails_once),
		cmocka_unit_test(unchanged_list_costs_nothing),
		cmocka_unit_test(memory_is_small),
		cmocka_unit_test(many_end_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
