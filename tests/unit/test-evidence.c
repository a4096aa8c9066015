/* The store of a sample: limits, texts that are kept once, empty elements that refer to nothing. */
#include "unit.h"

#include <limits.h>

#include "base/fault.h"
#include "base/str.h"
#include "model/evidence.h"

static unsigned allocations_left = UINT_MAX;

bool fault_hit(enum fault_point point)
{
	if (point != FAULT_ALLOC || allocations_left == UINT_MAX)
		return false;
	if (allocations_left == 0)
		return true;
	allocations_left--;
	return false;
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(evidence_answer_text(ANSWER_NOT_ASKED), "not asked");
	assert_string_equal(evidence_answer_text(ANSWER_LATE), "late");
	assert_string_equal(evidence_answer_text(ANSWER_GARBAGE), "garbage");
	assert_string_equal(evidence_daemon_text(DAEMON_CONTAINERD), "containerd");
	assert_string_equal(evidence_daemon_text(DAEMON_OTHER), "other");
	assert_string_equal(evidence_hold_text(HOLD_PIN), "pin");
}

/* That nothing is found means something only where nothing could hide. */
static void test_whole(void **state)
{
	CLEAN(evidence_freep) struct evidence *e = evidence_new();

	(void)state;
	assert_non_null(e);
	assert_true(evidence_is_whole(e));
	evidence_add_small_gap(e, "pressure", "this kernel does not keep it", "boot with psi=1");
	assert_int_equal(e->gap_count, 1);
	assert_true(evidence_is_whole(e));
	e->cut_short = true;
	assert_false(evidence_is_whole(e));
	e->cut_short = false;
	evidence_add_gap(e, "kernel stacks", "not permitted", "");
	assert_false(evidence_is_whole(e));
}

static void test_empty_elements(void **state)
{
	struct evidence *e = evidence_new();
	uint32_t p, t, m, c;

	(void)state;
	assert_non_null(e);
	p = evidence_add_process(e);
	t = evidence_add_thread(e);
	m = evidence_add_mount(e);
	c = evidence_add_container(e);
	assert_int_equal(p, 0);
	assert_int_equal(e->processes[p].parent, EVIDENCE_NONE);
	assert_int_equal(e->processes[p].container, EVIDENCE_NONE);
	assert_string_equal(e->processes[p].comm, "");
	assert_string_equal(e->processes[p].memory.message, "");
	assert_int_equal(e->threads[t].fd, -1);
	assert_int_equal(e->threads[t].mount, EVIDENCE_NONE);
	assert_string_equal(e->threads[t].stack, "");
	assert_int_equal(e->mounts[m].fuse, EVIDENCE_NONE);
	assert_string_equal(e->containers[c].inspect.method, "");
	assert_int_equal(e->shims ? 1 : 0, 0);
	assert_int_equal(evidence_add_fuse(e), 0);
	assert_int_equal(e->fuses[0].server, EVIDENCE_NONE);
	assert_int_equal(evidence_add_device(e), 0);
	assert_int_equal(evidence_add_freezer(e), 0);
	assert_int_equal(evidence_add_holder(e), 0);
	assert_int_equal(evidence_add_busy(e), 0);
	assert_int_equal(evidence_add_daemon(e), 0);
	assert_int_equal(evidence_add_shim(e), 0);
	assert_string_equal(e->daemons[0].tasks.subject, "");
	assert_int_equal(e->left_out, 0);
	(void)evidence_free(e);
	assert_null(evidence_free(NULL));
}

static void test_limits(void **state)
{
	struct evidence *e = evidence_new();

	(void)state;
	for (unsigned i = 0; i < EVIDENCE_PROCESSES_MAX; i++)
		assert_int_equal(evidence_add_process(e), i);
	assert_int_equal(evidence_add_process(e), EVIDENCE_NONE);
	assert_int_equal(evidence_add_process(e), EVIDENCE_NONE);
	assert_int_equal(e->process_count, EVIDENCE_PROCESSES_MAX);
	assert_int_equal(e->left_out, 2);
	for (unsigned i = 0; i < EVIDENCE_THREADS_MAX; i++)
		assert_int_equal(evidence_add_thread(e), i);
	assert_int_equal(evidence_add_thread(e), EVIDENCE_NONE);
	assert_int_equal(e->left_out, 3);
	(void)evidence_free(e);
}

static void test_texts(void **state)
{
	struct evidence *e = evidence_new();
	const char *a = evidence_text(e, "do_wait"), *b, *first = a;
	CLEAN(mem_freep) char *large = mem_alloc(EVIDENCE_TEXT_MAX);
	char name[32];

	(void)state;
	assert_string_equal(evidence_text(e, NULL), "");
	assert_ptr_equal(evidence_copy(e, "do_wait4", 7), a);
	b = evidence_copy(e, "a\nb", 3);
	assert_string_equal(b, "a\nb");
	for (unsigned i = 0; i < 50000; i++) {
		(void)str_format(name, sizeof(name), "text %u", i);
		assert_string_equal(evidence_text(e, name), name);
	}
	assert_string_equal(first, "do_wait");
	assert_int_equal(e->left_out, 0);
	/* What does not fit is "", and what fits is still taken. */
	memset(large, 'x', EVIDENCE_TEXT_MAX);
	assert_string_equal(evidence_copy(e, large, EVIDENCE_TEXT_MAX), "");
	assert_int_equal(e->left_out, 1);
	assert_int_equal(strlen(evidence_copy(e, large, 1u << 20)), 1u << 20);
	assert_string_equal(evidence_text(e, "more"), "more");
	(void)evidence_free(e);
}

static void test_gaps_once(void **state)
{
	struct evidence *e = evidence_new();

	(void)state;
	evidence_add_gap(e, "stacks", "not permitted", "CAP_SYS_ADMIN");
	evidence_add_gap(e, "stacks", "not permitted", "CAP_SYS_ADMIN");
	evidence_add_gap(e, "stacks", "no such file", NULL);
	assert_int_equal(e->gap_count, 2);
	assert_string_equal(e->gaps[0].cure, "CAP_SYS_ADMIN");
	assert_string_equal(e->gaps[1].cure, "");
	(void)evidence_free(e);
}

static void test_calls(void **state)
{
	struct evidence *e = evidence_new();
	char method[] = "State", subject[] = "abc";
	struct evidence_call call = { method, subject, ANSWER_LATE, 5, NULL }, copy;

	(void)state;
	copy = evidence_call_copy(e, &call);
	memset(method, 'x', sizeof(method) - 1);
	memset(subject, 'x', sizeof(subject) - 1);
	assert_string_equal(copy.method, "State");
	assert_string_equal(copy.subject, "abc");
	assert_string_equal(copy.message, "");
	assert_int_equal(copy.answer, ANSWER_LATE);
	assert_int_equal(copy.age_ns, 5);
	(void)evidence_free(e);
}

/* Without memory things are missing and counted, and nothing else happens. */
static void test_no_memory(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 12; n++) {
		struct evidence *e;

		allocations_left = n;
		e = evidence_new();
		if (e) {
			uint32_t p = evidence_add_process(e);

			if (p != EVIDENCE_NONE)
				e->processes[p].comm = evidence_text(e, "comm");
			(void)evidence_text(e, "other");
			(void)evidence_add_mount(e);
			evidence_add_gap(e, "what", "why", "cure");
			if (n == 2)
				assert_true(e->left_out >= 3);
		}
		allocations_left = UINT_MAX;
		(void)evidence_free(e);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_empty_elements),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_gaps_once),
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
