/*
 * The ledger: every row of the table in docs/internals/ledger.md, on a made-up clock. The sync loop
 * stands behind it, so that pairs are what a subscriber would get.
 *
 * What was told is text: "?c1:Died/kernel=137" is provisional, without "?" confirmed; a confirmed
 * death that names a provisional one ends in "!".
 */
#include "unit.h"

#include <stdio.h>

#include "base/fault.h"
#include "ledger/feed.h"
#include "ledger/ledger.h"
#include "sync/sync.h"

#define MSEC(n) ((n)*NSEC_PER_MSEC)
#define SEC(n)  ((n)*NSEC_PER_SEC)

static struct {
	size_t calls, fail_at;
	bool persistent, met;
} plan;

bool fault_hit(enum fault_point point)
{
	if (point != FAULT_ALLOC || plan.fail_at == 0)
		return false;
	plan.calls++;
	if (plan.calls < plan.fail_at || (plan.calls > plan.fail_at && !plan.persistent))
		return false;
	plan.met = true;
	return true;
}

struct l {
	struct ledger *ledger;
	struct sync_loop *sync;
	struct now now;
	char told[4096], woken[4096];
	struct event last;
};

static void l_init(struct l *l)
{
	*l = (struct l){ .now = { SEC(100), (int64_t)SEC(5000) } };
	ASSERT_OK(ledger_new(1000, &l->ledger));
	ASSERT_OK(sync_loop_new("epoch", 1000, &l->sync));
}

static void l_done(struct l *l)
{
	l->ledger = ledger_free(l->ledger);
	l->sync = sync_loop_free(l->sync);
}

static void l_add(struct l *l, struct event *event)
{
	size_t len = strlen(l->told);

	ASSERT_OK(sync_loop_add(l->sync, event));
	assert_true(event->observed_at_ns > 0);
	len += (size_t)snprintf(l->told + len, sizeof(l->told) - len, "%s%s%s:%s/%s",
		len ? " " : "", event->confirmed ? "" : "?", event->container_id,
		event_type_text(event->type) + strlen("Container"),
		event_source_text(event->source));
	if (event->has_exit_code)
		len += (size_t)snprintf(
			l->told + len, sizeof(l->told) - len, "=%d", event->exit_code);
	if (event->confirms)
		(void)snprintf(l->told + len, sizeof(l->told) - len, "!");
	l->last = *event;
}

static void l_drain(struct l *l)
{
	struct event *event;
	const char *id;

	while ((event = ledger_next_event(l->ledger)))
		l_add(l, event);
	while ((id = ledger_next_wake(l->ledger))) {
		size_t len = strlen(l->woken);

		(void)snprintf(l->woken + len, sizeof(l->woken) - len, "%s%s", len ? " " : "", id);
	}
}

static const char *l_told(struct l *l)
{
	static char text[sizeof(l->told)];

	l_drain(l);
	memcpy(text, l->told, sizeof(text));
	l->told[0] = '\0';
	return text;
}

static const char *l_woken(struct l *l)
{
	static char text[sizeof(l->woken)];

	l_drain(l);
	memcpy(text, l->woken, sizeof(text));
	l->woken[0] = '\0';
	return text;
}

#define TOLD(l, text)  assert_string_equal(l_told(l), text)
#define WOKEN(l, text) assert_string_equal(l_woken(l), text)

static void l_wait(struct l *l, uint64_t ns)
{
	l->now.mono_ns += ns;
	l->now.real_ns += (int64_t)ns;
	if (ledger_next_due(l->ledger) <= l->now.mono_ns)
		ledger_on_tick(l->ledger, l->now);
	l_drain(l);
}

static void l_word(struct l *l, const char *id, enum container_state state)
{
	const struct event identity = { .kind = CONTAINER_KIND_CONTAINER,
		.namespace = "ns",
		.pod = "pod",
		.pod_uid = "uid",
		.container = "main",
		.container_id = id,
		.sandbox_id = "s1",
		.attempt = 3 };

	ledger_on_runtime(l->ledger, &identity, state, l->now);
	l_drain(l);
}

/* PLEG tells; `code` of a death, -1: none. */
static void l_pleg(struct l *l, const char *id, enum event_type type, int32_t code)
{
	struct event *event = event_new(&(struct event){ .type = type,
		.confirmed = true,
		.source = EVENT_SOURCE_RELIST,
		.container_id = id,
		.container = "main",
		.has_exit_code = code >= 0,
		.exit_code = code >= 0 ? code : 0,
		.observed_at_ns = l->now.real_ns });

	assert_non_null(event);
	ledger_on_confirmed(l->ledger, event, l->now);
	if (type != EVENT_CONTAINER_STARTED) /* as the header says */
		l_drain(l);
	l_add(l, event);
	l_drain(l);
}

static void l_list(struct l *l)
{
	uint64_t started;

	l_wait(l, 1);
	started = l->now.mono_ns;
	l_wait(l, MSEC(5) - 1);
	ledger_on_list(l->ledger, started, l->now);
	l_drain(l);
}

static void l_state(
	struct l *l, const char *id, uint64_t ticks, enum ledger_state state, int32_t code)
{
	const struct ledger_exit exit = { .known = code >= 0,
		.code = code,
		.signal = code > 128 ? code - 128 : 0,
		.at_ns = l->now.real_ns };

	ledger_on_state(
		l->ledger, id, ticks, state, ledger_state_is_dead(state) ? &exit : NULL, l->now);
	l_drain(l);
}

static void l_init_alive(struct l *l, const char *id, int32_t pid, uint64_t ticks)
{
	ASSERT_OK(ledger_on_init(l->ledger, id, pid, ticks, l->now));
	l_state(l, id, ticks, LEDGER_ALIVE, -1);
}

static void l_stream(
	struct l *l, const char *id, enum ledger_stream_event event, int32_t pid, int32_t code)
{
	const struct ledger_exit exit = { .known = code >= 0, .code = code };

	ledger_on_stream(l->ledger,
		&(struct ledger_stream_fact){ .event = event,
			.container_id = id,
			.pid = pid,
			.at_ns = l->now.real_ns,
			.exit = code >= 0 ? &exit : NULL },
		l->now);
	l_drain(l);
}

static struct ledger_view l_view(struct l *l, const char *id)
{
	struct ledger_view view;

	if (!ledger_find(l->ledger, id, l->now, &view))
		fail_msg("No entry %s", id);
	return view;
}

static bool l_has(struct l *l, const char *id)
{
	struct ledger_view view;

	return ledger_find(l->ledger, id, l->now, &view);
}

static struct ledger_stats l_stats(const struct l *l)
{
	struct ledger_stats stats;

	ledger_stats(l->ledger, &stats);
	return stats;
}

/* Listed, told as started, its init alive. */
static void l_running(struct l *l, const char *id, int32_t pid, uint64_t ticks)
{
	l_word(l, id, CONTAINER_RUNNING);
	l_pleg(l, id, EVENT_CONTAINER_STARTED, -1);
	l_init_alive(l, id, pid, ticks);
	(void)l_told(l);
	(void)l_woken(l);
}

/* ---- the rows ------------------------------------------------------------------------------ */

static void dead_then_exited(void **state)
{
	struct l l;

	l_init(&l);
	l_running(&l, "c1", 10, 100);
	assert_true(ledger_is_calm(l.ledger));
	l_state(&l, "c1", 100, LEDGER_ZOMBIE, 137);
	TOLD(&l, "?c1:Died/kernel=137");
	WOKEN(&l, "c1");
	assert_string_equal(l.last.pod, "pod");
	l_state(&l, "c1", 100, LEDGER_GONE, 137);
	l_wait(&l, MSEC(60));
	assert_true(l_view(&l, "c1").provisional_open);
	assert_int_equal(l_stats(&l).provisional_open, 1);
	assert_false(ledger_is_calm(l.ledger));
	l_word(&l, "c1", CONTAINER_EXITED);
	TOLD(&l, "");
	assert_true(ledger_is_calm(l.ledger));
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, 3); /* the runtime's code wins */
	TOLD(&l, "c1:Died/relist=3!");
	assert_false(l_view(&l, "c1").provisional_open);
	assert_int_equal(l_view(&l, "c1").exit.code, 137);
	l_wait(&l, SEC(100));
	TOLD(&l, "");
	WOKEN(&l, "");
	l_pleg(&l, "c1", EVENT_CONTAINER_REMOVED, -1);
	TOLD(&l, "c1:Removed/relist");
	assert_false(l_has(&l, "c1"));
	l_done(&l);
}

static void provisional_says_who(void **state)
{
	struct event *event;
	struct l l;

	l_init(&l);
	l_running(&l, "c1", 10, 100);
	ledger_on_state(l.ledger, "c1", 100, LEDGER_GONE,
		&(struct ledger_exit){ .known = true, .code = 139, .signal = 11, .at_ns = 77 },
		l.now);
	event = ledger_next_event(l.ledger);
	assert_non_null(event);
	assert_null(ledger_next_event(l.ledger));
	assert_false(event->confirmed);
	assert_false(event_is_kubelets(event));
	assert_int_equal(event->source, EVENT_SOURCE_KERNEL);
	assert_string_equal(event->namespace, "ns");
	assert_string_equal(event->pod, "pod");
	assert_string_equal(event->pod_uid, "uid");
	assert_string_equal(event->container, "main");
	assert_string_equal(event->sandbox_id, "s1");
	assert_int_equal(event->attempt, 3);
	assert_true(event->has_exit_code && event->has_signal);
	assert_int_equal(event->exit_code, 139);
	assert_int_equal(event->signal, 11);
	assert_int_equal(event->occurred_at_ns, 77);
	assert_int_equal(event->observed_at_ns, l.now.real_ns);
	(void)event_free(event);
	l_done(&l);
}

static void exit_code_is_never_a_guess(void **state)
{
	struct l l;

	l_init(&l);
	l_running(&l, "c1", 10, 100);
	ledger_on_state(l.ledger, "c1", 100, LEDGER_GONE, NULL, l.now);
	TOLD(&l, "?c1:Died/kernel");
	/* The stream's is third best; the kernel's may come late and is kept. */
	l_stream(&l, "c1", LEDGER_STREAM_EXIT, 10, 4);
	assert_int_equal(l_view(&l, "c1").exit.code, 4);
	l_state(&l, "c1", 100, LEDGER_GONE, 5);
	assert_int_equal(l_view(&l, "c1").exit.code, 5);
	TOLD(&l, "");
	l_running(&l, "c2", 20, 200);
	l_stream(&l, "c2", LEDGER_STREAM_EXIT, 20, 6);
	ledger_on_state(l.ledger, "c2", 200, LEDGER_ZOMBIE, NULL, l.now);
	TOLD(&l, "?c2:Died/kernel=6");
	l_done(&l);
}

static void dead_and_said_running(void **state)
{
	static const unsigned waits[] = { 2, 4, 8, 16, 32, 60, 60 };
	struct l l;

	l_init(&l);
	l_running(&l, "c1", 10, 100);
	l_state(&l, "c1", 100, LEDGER_ZOMBIE, 0);
	TOLD(&l, "?c1:Died/kernel=0");
	WOKEN(&l, "c1");
	l_list(&l);
	assert_false(l_view(&l, "c1").differs); /* the usual lag */
	assert_int_equal(l_view(&l, "c1").differs_for_ns, MSEC(5));
	assert_int_equal(ledger_differences(l.ledger, l.now), 0);
	for (size_t i = 0; i < ELEMENTS(waits); i++) {
		uint64_t due = ledger_next_due(l.ledger);

		l_wait(&l, due - l.now.mono_ns - 1);
		WOKEN(&l, "");
		l_wait(&l, 1);
		WOKEN(&l, "c1");
		assert_int_equal(ledger_next_due(l.ledger),
			l.now.mono_ns + SEC(i + 1 < ELEMENTS(waits) ? waits[i + 1] : 60));
	}
	assert_true(l_view(&l, "c1").differs);
	assert_int_equal(l_view(&l, "c1").differs_for_ns, SEC(182));
	assert_int_equal(ledger_differences(l.ledger, l.now), 1);
	assert_true(l_view(&l, "c1").provisional_open);
	TOLD(&l, "");
	l_word(&l, "c1", CONTAINER_EXITED);
	assert_int_equal(ledger_next_due(l.ledger), NSEC_NEVER);
	assert_int_equal(ledger_differences(l.ledger, l.now), 0);
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, 0);
	TOLD(&l, "c1:Died/relist=0!");
	l_done(&l);
}

/* A runtime that does not answer at all does not say running. */
static void silence_is_no_difference(void **state)
{
	struct l l;

	l_init(&l);
	l_running(&l, "c1", 10, 100);
	l_list(&l);
	l_state(&l, "c1", 100, LEDGER_ZOMBIE, 0);
	l_wait(&l, SEC(30));
	assert_false(l_view(&l, "c1").differs);
	assert_int_equal(l_view(&l, "c1").differs_for_ns, SEC(30));
	l_list(&l);
	assert_true(l_view(&l, "c1").differs);
	l_done(&l);
}

static void removed_meanwhile(void **state)
{
	struct l l;

	l_init(&l);
	l_running(&l, "c1", 10, 100);
	l_state(&l, "c1", 100, LEDGER_GONE, 9);
	l_word(&l, "c1", CONTAINER_GONE);
	l_list(&l);
	l_list(&l);
	TOLD(&l, "?c1:Died/kernel=9");
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, -1);
	l_pleg(&l, "c1", EVENT_CONTAINER_REMOVED, -1);
	l_list(&l);
	l_list(&l);
	TOLD(&l, "c1:Died/relist! c1:Removed/relist");
	assert_false(l_has(&l, "c1"));
	assert_int_equal(l_stats(&l).entries, 0);
	l_done(&l);
}

static void nothing_seen(void **state)
{
	struct l l;

	l_init(&l);
	l_word(&l, "c1", CONTAINER_RUNNING);
	l_pleg(&l, "c1", EVENT_CONTAINER_STARTED, -1);
	l_word(&l, "c1", CONTAINER_EXITED);
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, 2);
	TOLD(&l, "c1:Started/relist c1:Died/relist=2");
	l_word(&l, "c1", CONTAINER_GONE);
	l_pleg(&l, "c1", EVENT_CONTAINER_REMOVED, -1);
	TOLD(&l, "c1:Removed/relist");
	assert_int_equal(l_stats(&l).entries, 0);
	assert_true(ledger_is_calm(l.ledger));
	l_done(&l);
}

static void confirmed_first(void **state)
{
	struct l l;

	l_init(&l);
	l_running(&l, "c1", 10, 100);
	l_word(&l, "c1", CONTAINER_EXITED);
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, 1);
	l_state(&l, "c1", 100, LEDGER_ZOMBIE, 1);
	l_state(&l, "c1", 100, LEDGER_GONE, 1);
	TOLD(&l, "c1:Died/relist=1");
	/* Known only after the fact. */
	l_word(&l, "c2", CONTAINER_RUNNING);
	l_pleg(&l, "c2", EVENT_CONTAINER_STARTED, -1);
	l_word(&l, "c2", CONTAINER_EXITED);
	l_pleg(&l, "c2", EVENT_CONTAINER_DIED, 1);
	(void)l_told(&l);
	l_init_alive(&l, "c2", 20, 200);
	l_state(&l, "c2", 200, LEDGER_GONE, 1);
	TOLD(&l, "");
	/* Said exited, not told yet: the kernel's word comes between. */
	l_running(&l, "c3", 30, 300);
	l_word(&l, "c3", CONTAINER_EXITED);
	l_state(&l, "c3", 300, LEDGER_GONE, 1);
	l_pleg(&l, "c3", EVENT_CONTAINER_DIED, 1);
	TOLD(&l, "?c3:Died/kernel=1 c3:Died/relist=1!");
	l_done(&l);
}

/* ---- starts that only the stream saw ----------------------------------------------------------- */

static void stream_start_then_listed_exited(void **state)
{
	struct l l;

	l_init(&l);
	l_stream(&l, "c1", LEDGER_STREAM_START, 10, -1);
	WOKEN(&l, "c1");
	l_wait(&l, MSEC(20));
	l_stream(&l, "c1", LEDGER_STREAM_EXIT, 10, 7);
	WOKEN(&l, "c1");
	l_wait(&l, MSEC(50));
	l_word(&l, "c1", CONTAINER_EXITED);
	l_list(&l);
	TOLD(&l, ""); /* no pidfd, nothing provisional */
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, 7);
	TOLD(&l, "c1:Started/stream c1:Died/relist=7");
	for (int i = 0; i < 4; i++)
		l_list(&l);
	TOLD(&l, "");
	/* With the kernel's word, and without the stream's exit. */
	l_stream(&l, "c2", LEDGER_STREAM_START, 20, -1);
	l_init_alive(&l, "c2", 20, 200);
	l_state(&l, "c2", 200, LEDGER_GONE, 8);
	TOLD(&l, ""); /* nobody knows yet what it is */
	l_word(&l, "c2", CONTAINER_EXITED);
	TOLD(&l, ""); /* and its start was not told: no death before that */
	l_pleg(&l, "c2", EVENT_CONTAINER_DIED, 8);
	TOLD(&l, "c2:Started/stream c2:Died/relist=8");
	assert_false(event_is_kubelets(&(struct event){ .confirmed = true,
		.source = EVENT_SOURCE_STREAM,
		.type = EVENT_CONTAINER_STARTED }));
	l_done(&l);
}

static void relist_start_is_enough(void **state)
{
	struct l l;

	l_init(&l);
	l_stream(&l, "c1", LEDGER_STREAM_START, 10, -1);
	l_word(&l, "c1", CONTAINER_RUNNING);
	l_pleg(&l, "c1", EVENT_CONTAINER_STARTED, -1);
	l_stream(&l, "c1", LEDGER_STREAM_EXIT, 10, 0);
	l_word(&l, "c1", CONTAINER_EXITED);
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, 0);
	TOLD(&l, "c1:Started/relist c1:Died/relist=0");
	l_done(&l);
}

static void never_listed(void **state)
{
	const struct event identity = { .pod = "p", .kind = CONTAINER_KIND_SANDBOX };
	struct l l;
	uint64_t before;

	l_init(&l);
	l_stream(&l, "c1", LEDGER_STREAM_START, 10, -1);
	ledger_on_identity(l.ledger, "c1", &identity);
	l_list(&l);
	l_list(&l);
	l_stream(&l, "c1", LEDGER_STREAM_EXIT, 10, 7);
	l_list(&l);
	before = l.now.mono_ns;
	l_wait(&l, MSEC(1));
	l_stream(&l, "c1", LEDGER_STREAM_DELETE, 0, -1);
	assert_false(ledger_is_calm(l.ledger));
	ledger_on_list(l.ledger, before, l.now); /* it began before the news */
	l_list(&l);
	TOLD(&l, "");
	l_list(&l);
	TOLD(&l, "c1:Started/stream c1:Died/stream=7 c1:Removed/stream");
	assert_string_equal(l.last.container_id, "c1");
	assert_false(l_has(&l, "c1"));
	assert_true(ledger_is_calm(l.ledger));
	/* Doubled and late ones are known. */
	l_stream(&l, "c1", LEDGER_STREAM_START, 10, -1);
	l_stream(&l, "c1", LEDGER_STREAM_EXIT, 10, 7);
	l_stream(&l, "c1", LEDGER_STREAM_DELETE, 0, -1);
	for (int i = 0; i < 4; i++)
		l_list(&l);
	TOLD(&l, "");
	assert_int_equal(l_stats(&l).entries, 0);
	l_done(&l);
}

static void never_listed_with_a_pidfd(void **state)
{
	struct l l;

	l_init(&l);
	l_stream(&l, "c1", LEDGER_STREAM_START, 10, -1);
	l_init_alive(&l, "c1", 10, 100);
	l_list(&l);
	l_list(&l);
	TOLD(&l, "");
	l_state(&l, "c1", 100, LEDGER_GONE, 7);
	l_list(&l);
	TOLD(&l, "");
	l_list(&l);
	TOLD(&l, "c1:Started/stream c1:Died/kernel=7 c1:Removed/stream");
	/* Without a start from the stream nothing was promised. */
	l_init_alive(&l, "c2", 20, 200);
	l_state(&l, "c2", 200, LEDGER_GONE, 7);
	l_list(&l);
	l_list(&l);
	TOLD(&l, "");
	assert_int_equal(l_stats(&l).entries, 0);
	l_done(&l);
}

static void start_without_an_end_is_forgotten(void **state)
{
	struct l l;

	l_init(&l);
	l_stream(&l, "c1", LEDGER_STREAM_START, 10, -1);
	l_list(&l);
	l_list(&l);
	assert_true(l_has(&l, "c1"));
	l_wait(&l, SEC(61));
	l_list(&l);
	assert_false(l_has(&l, "c1"));
	TOLD(&l, "");
	l_done(&l);
}

/* A stream that never says a pid: one life per id. */
static void stream_without_pids(void **state)
{
	struct l l;

	l_init(&l);
	l_stream(&l, "c1", LEDGER_STREAM_START, 0, -1);
	l_stream(&l, "c1", LEDGER_STREAM_EXIT, 0, 7);
	l_word(&l, "c1", CONTAINER_EXITED);
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, 7);
	TOLD(&l, "c1:Started/stream c1:Died/relist=7");
	(void)l_woken(&l);
	l_stream(&l, "c1", LEDGER_STREAM_START, 0, -1);
	l_stream(&l, "c1", LEDGER_STREAM_EXIT, 0, 7);
	WOKEN(&l, "c1 c1"); /* may be news, so PLEG looks */
	for (int i = 0; i < 4; i++)
		l_list(&l);
	TOLD(&l, "");
	l_done(&l);
}

/* ---- zombies and lies ---------------------------------------------------------------------- */

static void zombie_with_threads_is_no_death(void **state)
{
	struct l l;

	l_init(&l);
	l_running(&l, "c1", 10, 100);
	l_state(&l, "c1", 100, LEDGER_ZOMBIE_THREADS, -1);
	TOLD(&l, "");
	assert_int_equal(l_view(&l, "c1").state, LEDGER_ZOMBIE_THREADS);
	assert_false(l_view(&l, "c1").differs);
	l_wait(&l, SEC(1));
	l_list(&l);
	assert_int_equal(ledger_differences(l.ledger, l.now), 0);
	l_wait(&l, SEC(1));
	assert_true(l_view(&l, "c1").differs);
	/* The runtime's stream may believe it. */
	l_stream(&l, "c1", LEDGER_STREAM_EXIT, 10, 0);
	TOLD(&l, "");
	l_state(&l, "c1", 100, LEDGER_ZOMBIE, 3);
	TOLD(&l, "?c1:Died/kernel=3");
	l_word(&l, "c1", CONTAINER_EXITED);
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, 3);
	TOLD(&l, "c1:Died/relist=3!");
	/* A leader that is replaced by exec in another thread lives again. */
	l_running(&l, "c2", 20, 200);
	l_state(&l, "c2", 200, LEDGER_ZOMBIE_THREADS, -1);
	l_state(&l, "c2", 200, LEDGER_ALIVE, -1);
	assert_int_equal(l_view(&l, "c2").differs_for_ns, 0);
	l_done(&l);
}

static void alive_and_said_exited(void **state)
{
	struct l l;

	l_init(&l);
	l_running(&l, "c1", 10, 100);
	l_word(&l, "c1", CONTAINER_EXITED);
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, 0);
	l_wait(&l, SEC(3));
	l_list(&l);
	assert_true(l_view(&l, "c1").differs);
	WOKEN(&l, "c1");
	/* It is not told twice, when it dies after all. */
	l_state(&l, "c1", 100, LEDGER_GONE, 0);
	for (int i = 0; i < 3; i++)
		l_list(&l);
	TOLD(&l, "c1:Died/relist=0");
	assert_false(l_view(&l, "c1").differs);
	l_done(&l);
}

static void the_runtime_takes_it_back(void **state)
{
	struct l l;

	l_init(&l);
	l_running(&l, "c1", 10, 100);
	l_word(&l, "c1", CONTAINER_EXITED);
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, 0);
	l_word(&l, "c1", CONTAINER_RUNNING);
	(void)l_told(&l);
	l_state(&l, "c1", 100, LEDGER_GONE, 0);
	l_pleg(&l, "c1", EVENT_CONTAINER_STARTED, -1);
	l_word(&l, "c1", CONTAINER_EXITED);
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, 0);
	TOLD(&l, "c1:Started/relist ?c1:Died/kernel=0 c1:Died/relist=0!");
	l_done(&l);
}

static void alive_and_said_gone(void **state)
{
	struct l l;

	l_init(&l);
	l_running(&l, "c1", 10, 100);
	l_word(&l, "c1", CONTAINER_GONE);
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, -1);
	l_pleg(&l, "c1", EVENT_CONTAINER_REMOVED, -1);
	l_wait(&l, SEC(3));
	l_list(&l);
	assert_true(l_view(&l, "c1").differs); /* it lives, and nobody runs it */
	l_state(&l, "c1", 100, LEDGER_GONE, 0);
	TOLD(&l, "c1:Died/relist c1:Removed/relist");
	assert_false(l_has(&l, "c1"));
	/* Found only after it was forgotten. */
	l_init_alive(&l, "c1", 11, 110);
	l_list(&l);
	l_list(&l);
	l_wait(&l, SEC(3));
	l_list(&l);
	assert_true(l_view(&l, "c1").differs);
	l_state(&l, "c1", 110, LEDGER_GONE, 0);
	l_list(&l);
	l_list(&l);
	TOLD(&l, "");
	assert_false(l_has(&l, "c1"));
	l_done(&l);
}

/* ---- another init of the same id ------------------------------------------------------------ */

static void restart_that_pleg_sees(void **state)
{
	struct l l;

	l_init(&l);
	l_running(&l, "c1", 10, 100);
	l_state(&l, "c1", 100, LEDGER_GONE, 1);
	l_word(&l, "c1", CONTAINER_EXITED);
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, 1);
	l_init_alive(&l, "c1", 11, 110);
	l_word(&l, "c1", CONTAINER_RUNNING);
	l_pleg(&l, "c1", EVENT_CONTAINER_STARTED, -1);
	(void)l_told(&l);
	/* Late facts of the first one. */
	l_state(&l, "c1", 100, LEDGER_GONE, 1);
	ASSERT_OK(ledger_on_init(l.ledger, "c1", 10, 100, l.now));
	l_stream(&l, "c1", LEDGER_STREAM_EXIT, 10, 1);
	l_stream(&l, "c1", LEDGER_STREAM_START, 10, -1);
	TOLD(&l, "");
	assert_int_equal(l_view(&l, "c1").pid, 11);
	assert_int_equal(l_view(&l, "c1").state, LEDGER_ALIVE);
	assert_int_equal(l_stats(&l).stale, 4);
	l_state(&l, "c1", 110, LEDGER_GONE, 2);
	l_word(&l, "c1", CONTAINER_EXITED);
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, 2);
	TOLD(&l, "?c1:Died/kernel=2 c1:Died/relist=2!");
	l_done(&l);
}

/* The next init is known before PLEG has told the end of the one before. */
static void restart_ahead_of_pleg(void **state)
{
	struct l l;

	l_init(&l);
	l_running(&l, "c1", 10, 100);
	l_state(&l, "c1", 100, LEDGER_GONE, 1);
	l_word(&l, "c1", CONTAINER_EXITED);
	l_init_alive(&l, "c1", 11, 110);
	l_word(&l, "c1", CONTAINER_RUNNING);
	for (int i = 0; i < 3; i++)
		l_list(&l);
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, 1);
	l_pleg(&l, "c1", EVENT_CONTAINER_STARTED, -1);
	TOLD(&l, "?c1:Died/kernel=1 c1:Died/relist=1! c1:Started/relist");
	l_state(&l, "c1", 110, LEDGER_GONE, 2);
	TOLD(&l, "?c1:Died/kernel=2");
	l_done(&l);
}

/* No list and no inspection ever showed the first one exited. */
static void restart_that_pleg_misses(void **state)
{
	struct l l;

	l_init(&l);
	l_running(&l, "c1", 10, 100);
	l_state(&l, "c1", 100, LEDGER_GONE, 1);
	l_stream(&l, "c1", LEDGER_STREAM_START, 11, -1);
	l_init_alive(&l, "c1", 11, 110);
	l_list(&l);
	TOLD(&l, "?c1:Died/kernel=1");
	l_list(&l);
	TOLD(&l, "c1:Died/kernel=1! c1:Started/stream");
	assert_true(ledger_is_calm(l.ledger));
	l_state(&l, "c1", 110, LEDGER_GONE, 2);
	l_word(&l, "c1", CONTAINER_EXITED);
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, 2);
	TOLD(&l, "?c1:Died/kernel=2 c1:Died/relist=2!");
	l_done(&l);
}

/* Two deaths, of which PLEG sees one: one provisional, one confirmation. */
static void two_deaths_seen_as_one(void **state)
{
	struct l l;

	l_init(&l);
	l_running(&l, "c1", 10, 100);
	l_state(&l, "c1", 100, LEDGER_GONE, 1);
	l_init_alive(&l, "c1", 11, 110);
	l_state(&l, "c1", 110, LEDGER_GONE, 2);
	l_word(&l, "c1", CONTAINER_EXITED);
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, 2);
	for (int i = 0; i < 3; i++)
		l_list(&l);
	TOLD(&l, "?c1:Died/kernel=1 c1:Died/relist=2!");
	l_done(&l);
}

/* A life between two lists that both show the end of the one before. */
static void life_between_lists(void **state)
{
	struct l l;

	l_init(&l);
	l_running(&l, "c1", 10, 100);
	l_word(&l, "c1", CONTAINER_EXITED);
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, 0);
	l_state(&l, "c1", 100, LEDGER_GONE, 0);
	(void)l_told(&l);
	l_stream(&l, "c1", LEDGER_STREAM_START, 11, -1);
	l_stream(&l, "c1", LEDGER_STREAM_EXIT, 11, 5);
	l_list(&l);
	TOLD(&l, "");
	l_list(&l);
	TOLD(&l, "c1:Started/stream c1:Died/stream=5");
	/* Again, with a pidfd. */
	l_stream(&l, "c1", LEDGER_STREAM_START, 12, -1);
	l_init_alive(&l, "c1", 12, 120);
	l_state(&l, "c1", 120, LEDGER_GONE, 6);
	TOLD(&l, "");
	l_list(&l);
	l_list(&l);
	TOLD(&l, "c1:Started/stream c1:Died/kernel=6");
	/* The list shows it running when it is dead already: first the start, then the death. */
	l_word(&l, "c1", CONTAINER_RUNNING);
	l_init_alive(&l, "c1", 13, 130);
	l_state(&l, "c1", 130, LEDGER_GONE, 9);
	TOLD(&l, "");
	l_pleg(&l, "c1", EVENT_CONTAINER_STARTED, -1);
	TOLD(&l, "c1:Started/relist ?c1:Died/kernel=9");
	l_word(&l, "c1", CONTAINER_EXITED);
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, 9);
	TOLD(&l, "c1:Died/relist=9!");
	for (int i = 0; i < 3; i++)
		l_list(&l);
	TOLD(&l, "");
	l_done(&l);
}

static void reused_pid_is_another_init(void **state)
{
	struct l l;

	l_init(&l);
	l_running(&l, "c1", 10, 100);
	l_running(&l, "c2", 11, 110);
	l_state(&l, "c1", 999, LEDGER_GONE, 1); /* pid 10 of another start time */
	l_state(&l, "c2", 100, LEDGER_GONE, 1);
	TOLD(&l, "");
	assert_int_equal(l_view(&l, "c1").state, LEDGER_ALIVE);
	assert_int_equal(l_stats(&l).stale, 2);
	l_state(&l, "c1", 100, LEDGER_GONE, 1);
	TOLD(&l, "?c1:Died/kernel=1");
	l_done(&l);
}

/* ---- a bad stream ---------------------------------------------------------------------------- */

static void exit_before_start(void **state)
{
	struct l l;

	l_init(&l);
	l_stream(&l, "c1", LEDGER_STREAM_EXIT, 10, 7);
	l_stream(&l, "c1", LEDGER_STREAM_START, 10, -1);
	l_word(&l, "c1", CONTAINER_EXITED);
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, 7);
	TOLD(&l, "c1:Started/stream c1:Died/relist=7");
	l_stream(&l, "c2", LEDGER_STREAM_DELETE, 0, -1);
	assert_false(l_has(&l, "c2"));
	l_stream(&l, "c2", LEDGER_STREAM_EXIT, 20, 8);
	l_stream(&l, "c2", LEDGER_STREAM_START, 20, -1);
	l_list(&l);
	l_list(&l);
	TOLD(&l, "c2:Started/stream c2:Died/stream=8 c2:Removed/stream");
	l_done(&l);
}

static void doubled_and_late(void **state)
{
	struct l l;

	l_init(&l);
	for (int i = 0; i < 3; i++)
		l_stream(&l, "c1", LEDGER_STREAM_START, 10, -1);
	WOKEN(&l, "c1");
	for (int i = 0; i < 3; i++)
		l_stream(&l, "c1", LEDGER_STREAM_EXIT, 10, 7);
	WOKEN(&l, "c1");
	l_word(&l, "c1", CONTAINER_EXITED);
	l_pleg(&l, "c1", EVENT_CONTAINER_DIED, 7);
	l_stream(&l, "c1", LEDGER_STREAM_START, 10, -1);
	l_stream(&l, "c1", LEDGER_STREAM_EXIT, 10, 7);
	for (int i = 0; i < 3; i++)
		l_list(&l);
	TOLD(&l, "c1:Started/stream c1:Died/relist=7");
	l_word(&l, "c1", CONTAINER_GONE);
	l_pleg(&l, "c1", EVENT_CONTAINER_REMOVED, -1);
	l_stream(&l, "c1", LEDGER_STREAM_START, 10, -1);
	l_stream(&l, "c1", LEDGER_STREAM_EXIT, 10, 7);
	l_stream(&l, "c1", LEDGER_STREAM_DELETE, 0, -1);
	for (int i = 0; i < 3; i++)
		l_list(&l);
	TOLD(&l, "c1:Removed/relist");
	l_done(&l);
}

/* Exits of one that lives, and starts of another while one lives: hints, no more. */
static void lying_stream(void **state)
{
	struct l l;

	l_init(&l);
	l_running(&l, "c1", 10, 100);
	l_stream(&l, "c1", LEDGER_STREAM_EXIT, 10, 0);
	WOKEN(&l, "c1");
	l_stream(&l, "c1", LEDGER_STREAM_START, 11, -1);
	l_stream(&l, "c1", LEDGER_STREAM_EXIT, 11, 0);
	for (int i = 0; i < 4; i++)
		l_list(&l);
	TOLD(&l, "");
	assert_int_equal(l_view(&l, "c1").pid, 10);
	/* Nobody watches this one: the runtime's list decides. */
	l_word(&l, "c2", CONTAINER_RUNNING);
	l_pleg(&l, "c2", EVENT_CONTAINER_STARTED, -1);
	l_stream(&l, "c2", LEDGER_STREAM_EXIT, 20, 0);
	l_stream(&l, "c2", LEDGER_STREAM_START, 21, -1);
	for (int i = 0; i < 4; i++)
		l_list(&l);
	TOLD(&l, "c2:Started/relist");
	assert_true(ledger_is_calm(l.ledger));
	l_done(&l);
}

static void pause_and_oom(void **state)
{
	struct l l;

	l_init(&l);
	l_stream(&l, "c0", LEDGER_STREAM_PAUSED, 0, -1);
	l_stream(&l, "c0", LEDGER_STREAM_OOM, 0, -1);
	assert_false(l_has(&l, "c0"));
	l_running(&l, "c1", 10, 100);
	l_stream(&l, "c1", LEDGER_STREAM_PAUSED, 0, -1);
	assert_true(l_view(&l, "c1").paused);
	l_stream(&l, "c1", LEDGER_STREAM_RESUMED, 0, -1);
	assert_false(l_view(&l, "c1").paused);
	l_stream(&l, "c1", LEDGER_STREAM_PAUSED, 0, -1);
	l_stream(&l, "c1", LEDGER_STREAM_OOM, 0, -1);
	l_state(&l, "c1", 100, LEDGER_GONE, 137);
	assert_true(l_view(&l, "c1").oom_killed);
	assert_false(l_view(&l, "c1").paused);
	ASSERT_OK(ledger_on_init(l.ledger, "c1", 11, 110, l.now));
	assert_false(l_view(&l, "c1").oom_killed);
	l_done(&l);
}

/* What has no consequence: it is shown, belongs to one init, and wakes nobody. */
static void group_and_shim(void **state)
{
	const struct ledger_group quiet = {
		.has_populated = true, .populated = true, .has_oom_kills = true
	};
	const struct ledger_group killed = { .has_oom_kills = true, .oom_kills = 2 };
	const struct ledger_shim stopped = { .pid = 9, .state = LEDGER_SHIM_STOPPED };
	struct ledger_view view;
	struct l l;

	l_init(&l);
	ledger_on_group(l.ledger, "c0", &killed);
	ledger_on_shim(l.ledger, "c0", 100, stopped);
	assert_false(l_has(&l, "c0"));
	l_running(&l, "c1", 10, 100);
	ledger_on_group(l.ledger, "c1", &quiet);
	assert_false(l_view(&l, "c1").oom_killed);
	assert_true(l_view(&l, "c1").group.populated);
	ledger_on_group(l.ledger, "c1", &killed);
	ledger_on_shim(l.ledger, "c1", 99, stopped); /* of another init */
	view = l_view(&l, "c1");
	assert_true(view.oom_killed);
	assert_int_equal(view.group.oom_kills, 2);
	assert_int_equal(view.shim.state, LEDGER_SHIM_NONE);
	ledger_on_shim(l.ledger, "c1", 100, stopped);
	view = l_view(&l, "c1");
	assert_int_equal(view.shim.pid, 9);
	assert_int_equal(view.shim.state, LEDGER_SHIM_STOPPED);
	assert_null(ledger_next_wake(l.ledger));
	assert_null(ledger_next_event(l.ledger));
	l_state(&l, "c1", 100, LEDGER_GONE, 137);
	ASSERT_OK(ledger_on_init(l.ledger, "c1", 11, 110, l.now));
	view = l_view(&l, "c1");
	assert_false(view.oom_killed || view.group.has_oom_kills || view.shim.pid != 0);
	l_done(&l);
}

/* ---- bounds ---------------------------------------------------------------------------------- */

static void limits(void **state)
{
	struct ledger_view view;
	size_t cursor = 0, count = 0;
	char id[16];
	struct l l;

	l_init(&l);
	for (int i = 0; i < 1100; i++)
		l_word(&l, str_format(id, sizeof(id), "c%d", i), CONTAINER_RUNNING);
	assert_int_equal(l_stats(&l).entries, 1000);
	assert_int_equal(l_stats(&l).over_limit, 100);
	ASSERT_ERR(ledger_on_init(l.ledger, "cx", 1, 1, l.now), ENOSPC);
	ASSERT_ERR(ledger_on_init(l.ledger, "c0", 0, 1, l.now), EINVAL);
	ASSERT_ERR(ledger_on_init(l.ledger, "c0", 1, 0, l.now), EINVAL);
	while (ledger_next(l.ledger, &cursor, l.now, &view)) {
		assert_int_equal(view.runtime_state, CONTAINER_RUNNING);
		count++;
	}
	assert_int_equal(count, 1000);
	/* Ids that are over are remembered up to a number, and cost no entry. */
	for (int i = 0; i < 9000; i++) {
		str_format(id, sizeof(id), "c%d", i);
		l_word(&l, id, CONTAINER_RUNNING);
		l_pleg(&l, id, EVENT_CONTAINER_REMOVED, -1);
		(void)l_told(&l);
	}
	assert_int_equal(l_stats(&l).entries, 0);
	cursor = 0;
	assert_false(ledger_next(l.ledger, &cursor, l.now, &view));
	l_stream(&l, "c8999", LEDGER_STREAM_START, 5, -1);
	assert_false(l_has(&l, "c8999"));
	l_stream(&l, "c100", LEDGER_STREAM_START, 5, -1);
	assert_true(l_has(&l, "c100"));
	l_done(&l);
}

/* A storm of deaths with a runtime that is stuck: the work per tick is bounded by what is due. */
static void many_differ(void **state)
{
	char id[16];
	struct l l;

	l_init(&l);
	for (int i = 0; i < 200; i++)
		l_running(&l, str_format(id, sizeof(id), "c%d", i), 10 + i, 100 + (uint64_t)i);
	for (int i = 0; i < 200; i++) {
		l_state(&l, str_format(id, sizeof(id), "c%d", i), 100 + (uint64_t)i, LEDGER_ZOMBIE,
			1);
		(void)l_told(&l);
		(void)l_woken(&l);
		l_wait(&l, MSEC(1));
	}
	l_list(&l);
	(void)l_woken(&l);
	for (int seconds = 0, wakes = 0; seconds < 600; seconds++) {
		l_wait(&l, SEC(1));
		for (const char *at = l_woken(&l); *at; at++)
			wakes += *at == 'c';
		if (seconds == 599)
			assert_in_range(wakes, 200 * 13, 200 * 15);
	}
	assert_int_equal(ledger_differences(l.ledger, l.now), 200);
	TOLD(&l, "");
	l_done(&l);
}

static void time_does_not_go_back(void **state)
{
	struct l l;

	l_init(&l);
	l_running(&l, "c1", 10, 100);
	l_wait(&l, SEC(10));
	l_state(&l, "c1", 100, LEDGER_GONE, 1);
	l.now.mono_ns -= SEC(5);
	l_list(&l);
	assert_int_equal(l_view(&l, "c1").differs_for_ns, 0);
	assert_false(l_view(&l, "c1").differs);
	assert_int_equal(ledger_next_due(l.ledger), SEC(112));
	l_done(&l);
}

/* ---- out of memory --------------------------------------------------------------------------- */

/* One of each kind of thing that allocates; returns how often something was lost. */
static uint64_t memory_scenario(void)
{
	struct ledger_stats stats = { 0 };
	struct l l = { .now = { SEC(100), (int64_t)SEC(5000) } };
	struct event *event;
	size_t fail_at = plan.fail_at, provisional = 0, confirmed = 0;

	plan.fail_at = 0;
	ASSERT_OK(sync_loop_new("epoch", 1000, &l.sync));
	plan.fail_at = fail_at;
	if (ledger_new(1000, &l.ledger) < 0) {
		assert_null(l.ledger);
		plan.fail_at = 0;
		l.sync = sync_loop_free(l.sync);
		return 1;
	}
	for (int i = 0; i < 3; i++) {
		const struct event identity = { .pod = "pod", .container_id = i ? "c2" : "c1" };
		const struct event told = { .type = EVENT_CONTAINER_STARTED,
			.confirmed = true,
			.container_id = identity.container_id };
		const struct ledger_stream_fact start = {
			.event = LEDGER_STREAM_START, .container_id = "c3", .pid = 30
		};

		ledger_on_runtime(l.ledger, &identity, CONTAINER_RUNNING, l.now);
		ledger_on_confirmed(l.ledger, &told, l.now);
		(void)ledger_on_init(
			l.ledger, identity.container_id, 10 + i, 100 + (uint64_t)i, l.now);
		ledger_on_stream(l.ledger, &start, l.now);
	}
	ledger_on_state(l.ledger, "c1", 100, LEDGER_GONE, NULL, l.now);
	for (int i = 0; i < 4; i++) {
		const struct event identity = { .pod = "pod", .container_id = "c1" };

		l.now.mono_ns += SEC(3);
		ledger_on_runtime(l.ledger, &identity, CONTAINER_RUNNING, l.now);
		ledger_on_tick(l.ledger, l.now);
		while ((event = ledger_next_event(l.ledger))) {
			provisional += !event->confirmed;
			(void)event_free(event);
		}
	}
	assert_in_range(provisional, 0, 1);
	if (ledger_next_due(l.ledger) != NSEC_NEVER)
		assert_true(provisional == 1 || plan.persistent);
	ledger_on_stream(l.ledger,
		&(struct ledger_stream_fact){
			.event = LEDGER_STREAM_EXIT, .container_id = "c3", .pid = 30 },
		l.now);
	for (int i = 0; i < 5; i++) {
		l.now.mono_ns += SEC(1);
		ledger_on_list(l.ledger, l.now.mono_ns, l.now);
	}
	while ((event = ledger_next_event(l.ledger))) {
		assert_int_equal(event->type, (int)confirmed); /* started, died, removed */
		assert_true(event->confirmed);
		confirmed++;
		(void)event_free(event);
	}
	assert_true(confirmed == 0 || confirmed == 3);
	ledger_stats(l.ledger, &stats);
	assert_true(confirmed == 3 || stats.dropped > 0);
	plan.fail_at = 0;
	l_done(&l);
	return stats.dropped;
}

static void out_of_memory(void **state)
{
	size_t faults = 0;

	for (int persistent = 0; persistent < 2; persistent++) {
		for (size_t n = 1;; n++) {
			plan.calls = 0;
			plan.fail_at = n;
			plan.persistent = persistent == 1;
			plan.met = false;
			if (memory_scenario() > 0)
				assert_true(plan.met);
			if (!plan.met)
				break;
			faults++;
			assert_true(n < 1000);
		}
	}
	plan.fail_at = 0;
	assert_in_range(faults, 20, 1000);
}

/* ---- the feed -------------------------------------------------------------------------------- */

struct fed {
	struct l *l;
	struct ledger_feed feed;
	unsigned flushes, rounds_with_event;
	char woken[64];
};

static void fed_tell(void *userdata, struct event *event)
{
	l_add(((struct fed *)userdata)->l, event);
}

static void fed_wake(void *userdata, const char *id)
{
	(void)snprintf(((struct fed *)userdata)->woken, 64, "%s", id);
}

/* PLEG's queues bring an event of their own in the first rounds. */
static void fed_flush(void *userdata)
{
	struct fed *fed = userdata;
	const struct event died = { .type = EVENT_CONTAINER_DIED,
		.confirmed = true,
		.container_id = "c1",
		.observed_at_ns = 1,
		.namespace = "",
		.pod = "",
		.pod_uid = "",
		.container = "",
		.sandbox_id = "" };

	fed->flushes++;
	if (fed->rounds_with_event > 0) {
		fed->rounds_with_event--;
		ledger_feed_event(&fed->feed, &died, fed->l->now);
		l_add(fed->l, event_new(&died));
	}
	ledger_feed_drain(&fed->feed, true); /* from inside: nothing, the loop goes on anyway */
}

static const struct ledger_feed_ops fed_ops = { fed_tell, fed_wake, fed_flush };

static void fed_in_order(void **state)
{
	struct l l;
	struct fed fed = { .l = &l };
	struct event started = { .type = EVENT_CONTAINER_STARTED,
		.confirmed = true,
		.container_id = "c1",
		.namespace = "",
		.pod = "",
		.pod_uid = "",
		.container = "",
		.sandbox_id = "" };

	l_init(&l);
	fed.feed = (struct ledger_feed){ .ledger = l.ledger, .ops = &fed_ops, .userdata = &fed };
	/* The first calm is news, the same again is not; nor is what stays bad. */
	ledger_feed_drain(&fed.feed, false);
	assert_int_equal(fed.flushes, 0);
	ledger_feed_drain(&fed.feed, true);
	ledger_feed_drain(&fed.feed, true);
	assert_int_equal(fed.flushes, 1);
	/* A source that goes must be heard of at once: it is what the period rests on. */
	ledger_feed_drain(&fed.feed, false);
	assert_int_equal(fed.flushes, 2);
	ledger_feed_drain(&fed.feed, true);
	assert_int_equal(fed.flushes, 3);
	/* So must a difference of which nobody is told and nobody woken. */
	ASSERT_OK(ledger_on_init(l.ledger, "c1", 10, 100, l.now));
	ledger_feed_event(&fed.feed, &started, l.now);
	ledger_on_list(l.ledger, ++l.now.mono_ns, l.now);
	ledger_feed_drain(&fed.feed, true);
	fed.flushes = 0;
	ledger_on_state(l.ledger, "c1", 100, LEDGER_ZOMBIE_THREADS, NULL, l.now);
	ledger_feed_drain(&fed.feed, true);
	assert_int_equal(fed.flushes, 1);
	/* Told, woken, flushed; what comes back from inside is told, too. */
	fed.flushes = 0;
	fed.rounds_with_event = 1;
	ledger_on_state(l.ledger, "c1", 100, LEDGER_GONE, NULL, l.now);
	ledger_feed_drain(&fed.feed, true);
	assert_string_equal(fed.woken, "c1");
	assert_int_equal(fed.flushes, 2);
	TOLD(&l, "?c1:Died/kernel c1:Died/relist!");
	l_done(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dead_then_exited),
		cmocka_unit_test(provisional_says_who),
		cmocka_unit_test(exit_code_is_never_a_guess),
		cmocka_unit_test(dead_and_said_running),
		cmocka_unit_test(silence_is_no_difference),
		cmocka_unit_test(removed_meanwhile),
		cmocka_unit_test(nothing_seen),
		cmocka_unit_test(confirmed_first),
		cmocka_unit_test(stream_start_then_listed_exited),
		cmocka_unit_test(relist_start_is_enough),
		cmocka_unit_test(never_listed),
		cmocka_unit_test(never_listed_with_a_pidfd),
		cmocka_unit_test(start_without_an_end_is_forgotten),
		cmocka_unit_test(stream_without_pids),
		cmocka_unit_test(zombie_with_threads_is_no_death),
		cmocka_unit_test(alive_and_said_exited),
		cmocka_unit_test(the_runtime_takes_it_back),
		cmocka_unit_test(alive_and_said_gone),
		cmocka_unit_test(restart_that_pleg_sees),
		cmocka_unit_test(restart_ahead_of_pleg),
		cmocka_unit_test(restart_that_pleg_misses),
		cmocka_unit_test(two_deaths_seen_as_one),
		cmocka_unit_test(life_between_lists),
		cmocka_unit_test(reused_pid_is_another_init),
		cmocka_unit_test(exit_before_start),
		cmocka_unit_test(doubled_and_late),
		cmocka_unit_test(lying_stream),
		cmocka_unit_test(pause_and_oom),
		cmocka_unit_test(group_and_shim),
		cmocka_unit_test(limits),
		cmocka_unit_test(many_differ),
		cmocka_unit_test(time_does_not_go_back),
		cmocka_unit_test(fed_in_order),
		cmocka_unit_test(out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
