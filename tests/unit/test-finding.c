/* Findings: names, building within limits, what hangs under what, their JSON, memory that is out. */
#include "unit.h"

#include <stdio.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/fault.h"
#include "base/mem.h"
#include "base/str.h"
#include "model/finding-json.h"

static unsigned fault_at, fault_seen; /* which allocation fails; 0: none */

bool fault_hit(enum fault_point point)
{
	return point == FAULT_ALLOC && fault_at > 0 && ++fault_seen == fault_at;
}

static struct finding *add(struct findings *set, enum cause cause)
{
	return findings_add(
		set, cause, SEVERITY_CRITICAL, CONFIDENCE_PROVEN, INT64_C(1795448036600000000));
}

static void names(void **state)
{
	enum cause cause;

	(void)state;
	for (unsigned i = 0; i < CAUSES; i++) {
		ASSERT_OK(cause_parse(cause_text((enum cause)i), &cause));
		assert_int_equal(cause, i);
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(
				cause_text((enum cause)i), cause_text((enum cause)k));
	}
	assert_string_equal(cause_text(CAUSE_RUNC_INIT_FROZEN), "RuncInitFrozen");
	ASSERT_ERR(cause_parse("Fuse", &cause), EINVAL);
	ASSERT_ERR(cause_parse("", &cause), EINVAL);
}

static void each_names_its_node(void **state)
{
	CLEAN(findings_freep) struct findings *set = findings_new();
	const struct finding_subject silent = { .pid = 7 }, other = { .node = "b" };
	struct finding *f;

	(void)state;
	findings_set_node(set, "a");
	f = add(set, CAUSE_FUSE_SERVER_HUNG);
	assert_string_equal(f->subject.node, "a");
	finding_set_subject(set, f, &silent);
	assert_string_equal(f->subject.node, "a");
	finding_set_subject(set, f, &other);
	assert_string_equal(f->subject.node, "b");
}

static void texts_are_copied_and_clean(void **state)
{
	CLEAN(findings_freep) struct findings *set = findings_new();
	struct finding *f = add(set, CAUSE_FUSE_SERVER_HUNG);
	char long_text[3000], mount[] = "/a\nb";
	struct finding_subject subject = { .mount = mount, .pid = 7 };

	(void)state;
	finding_set_subject(set, f, &subject);
	mount[1] = 'X';
	assert_string_equal(f->subject.mount, "/a?b");
	assert_string_equal(f->subject.pod, "");
	assert_string_equal(f->subject.node, "");
	assert_int_equal(f->subject.pid, 7);
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	finding_say(set, f, "%s", long_text);
	assert_int_equal(strlen(f->summary), FINDING_TEXT_MAX - 1);
	finding_evidence_add(set, f, 5, "a", "b\033[31m", "%d", 17);
	assert_string_equal(f->evidence[0].where, "b?[31m");
	assert_string_equal(f->evidence[0].value, "17");
	for (int i = 0; i < 40; i++)
		finding_evidence_add(set, f, 5, "a", "b", "%d", i);
	assert_int_equal(f->evidence_count, FINDING_EVIDENCE_MAX);
	finding_evidence_add(set, NULL, 5, "a", "b", "c");
	ASSERT_OK(findings_result(set));
}

static void advice_goes_from_mild_to_last(void **state)
{
	CLEAN(findings_freep) struct findings *set = findings_new();
	struct finding *f = add(set, CAUSE_FUSE_SERVER_HUNG);
	static const enum finding_risk risks[] = { RISK_POD, RISK_NONE, RISK_REBOOT, RISK_NONE,
		RISK_OBJECT };
	CLEAN(mem_freep) char *long_command = mem_zalloc(FINDING_COMMAND_MAX + 10);

	(void)state;
	for (size_t i = 0; i < ELEMENTS(risks); i++)
		finding_advise(set, f,
			&(struct finding_advice){
				.risk = risks[i], .action = FMT("%zu", i), .command = "true" });
	assert_int_equal(f->advice_count, 5);
	assert_string_equal(f->advice[0].action, "1");
	assert_string_equal(f->advice[1].action, "3");
	assert_string_equal(f->advice[2].action, "4");
	assert_string_equal(f->advice[3].action, "0");
	assert_string_equal(f->advice[4].action, "2");

	/* A command that would not be what it was is not given. */
	f = add(set, CAUSE_FUSE_SERVER_HUNG);
	memset(long_command, 'x', FINDING_COMMAND_MAX + 5);
	finding_advise(set, f, &(struct finding_advice){ .command = long_command });
	finding_advise(set, f, &(struct finding_advice){ .command = "umount /a\nb" });
	finding_advise(set, f, &(struct finding_advice){ .command = "umount /ok" });
	assert_string_equal(f->advice[0].command, "");
	assert_string_equal(f->advice[1].command, "");
	assert_string_equal(f->advice[2].command, "umount /ok");
	for (int i = 0; i < 20; i++) {
		finding_advise(set, f, &(struct finding_advice){ .command = "true" });
		finding_avoid(set, f, "no %d", i);
	}
	assert_int_equal(f->advice_count, FINDING_ADVICE_MAX);
	assert_int_equal(f->avoid_count, FINDING_AVOID_MAX);
}

static void symptoms_hang_under_their_cause(void **state)
{
	CLEAN(findings_freep) struct findings *set = findings_new();
	struct finding *a = add(set, CAUSE_FUSE_SERVER_HUNG), *b = add(set, CAUSE_SHIM_STOPPED),
		       *c = add(set, CAUSE_CRI_SOCKET_GONE);

	(void)state;
	findings_attach(set, a, b);
	assert_int_equal(findings_count(set), 2);
	assert_ptr_equal(findings_get(set, 0), a);
	assert_ptr_equal(findings_get(set, 1), c);
	assert_null(findings_get(set, 2));
	assert_int_equal(a->symptom_count, 1);
	assert_ptr_equal(a->symptoms[0], b);
	for (unsigned i = 0; i < FINDING_SYMPTOMS_MAX; i++)
		findings_attach(set, a, add(set, CAUSE_UNKNOWN_BUT_HUNG));
	assert_int_equal(a->symptom_count, FINDING_SYMPTOMS_MAX);
	assert_int_equal(a->symptoms_left_out, 1);
	assert_int_equal(findings_left_out(set), 1);
	assert_int_equal(findings_count(set), 2);
}

static void a_set_has_a_maximum(void **state)
{
	CLEAN(findings_freep) struct findings *set = findings_new();
	unsigned made = 0;

	(void)state;
	for (unsigned i = 0; i < FINDINGS_MAX + 9; i++) {
		struct finding *f = add(set, CAUSE_SHIM_DEAD);

		made += f != NULL;
		for (unsigned k = 0; k < 3; k++)
			finding_evidence_add(set, f, 1, "what", "where", "%900u", k);
		finding_advise(set, f, &(struct finding_advice){ .action = "a" });
	}
	assert_int_equal(made, FINDINGS_MAX);
	assert_int_equal(findings_count(set), FINDINGS_MAX);
	assert_int_equal(findings_left_out(set), 9);
	ASSERT_OK(findings_result(set));
}

static void who_it_is(void **state)
{
	CLEAN(findings_freep) struct findings *set = findings_new();
	struct finding *a = add(set, CAUSE_FUSE_SERVER_HUNG), *b = add(set, CAUSE_FUSE_SERVER_HUNG);
	struct finding_subject subject = { .device = "0:39", .mount = "/a", .pid = 5, .tid = 6 };
	char key[FINDING_KEY_MAX], other[FINDING_KEY_MAX];

	(void)state;
	finding_set_subject(set, a, &subject);
	subject.pid = 9;
	finding_set_subject(set, b, &subject);
	assert_string_equal(finding_key(a, key, sizeof(key)), finding_key(b, other, sizeof(other)));
	subject.device = "0:40";
	finding_set_subject(set, b, &subject);
	assert_string_not_equal(
		finding_key(a, key, sizeof(key)), finding_key(b, other, sizeof(other)));

	/* A pid that came back is somebody else. */
	a = add(set, CAUSE_SHIM_STOPPED);
	b = add(set, CAUSE_SHIM_STOPPED);
	subject = (struct finding_subject){ .pid = 5, .start_ticks = 100 };
	finding_set_subject(set, a, &subject);
	subject.start_ticks = 101;
	finding_set_subject(set, b, &subject);
	assert_string_not_equal(
		finding_key(a, key, sizeof(key)), finding_key(b, other, sizeof(other)));
}

static struct findings *three_levels(void)
{
	struct findings *set = findings_new();
	struct finding *a, *b, *c;

	if (!set)
		return NULL;
	a = add(set, CAUSE_FUSE_SERVER_HUNG);
	b = add(set, CAUSE_UNREAPABLE_ZOMBIE_THREAD_STUCK);
	c = findings_add(
		set, CAUSE_CONTAINER_CRASH_LOOP, SEVERITY_WARNING, CONFIDENCE_SUSPECTED, 0);
	finding_say(set, a, "It \"hangs\"");
	finding_set_subject(set, a,
		&(struct finding_subject){ .namespace = "demo", .pid = 4, .device = "0:39" });
	finding_evidence_add(set, a, INT64_C(1795448036600000000), "waiting",
		"/sys/fs/fuse/connections/39/waiting", "%d", 1);
	finding_advise(set, a,
		&(struct finding_advice){ .action = "Abort",
			.why = "it frees all",
			.risk = RISK_OBJECT,
			.risk_text = "writes",
			.command = "echo 1 > /x" });
	finding_avoid(set, a, "Do not");
	findings_attach(set, b, c);
	findings_attach(set, a, b);
	return set;
}

static void as_json(void **state)
{
	CLEAN(findings_freep) struct findings *set = three_levels();
	CLEAN(buf_done) struct buf out = BUF_INIT(65536);
	struct json_write w = JSON_WRITE_INIT(&out);
	json_t *parsed;

	(void)state;
	findings_json_write(&w, NULL, set);
	ASSERT_OK(json_write_result(&w));
	assert_string_equal(buf_string(&out),
		"[{\"cause\":\"FuseServerHung\",\"severity\":\"critical\",\"confidence\":"
		"\"proven\","
		"\"since\":\"2026-11-23T15:33:56.600000000Z\",\"summary\":\"It \\\"hangs\\\"\","
		"\"subject\":{\"node\":null,\"namespace\":\"demo\",\"pod\":null,\"owner\":null,"
		"\"container\":null,"
		"\"containerID\":null,\"pid\":4,\"tid\":null,\"mount\":null,\"device\":\"0:39\"},"
		"\"evidence\":[{\"what\":\"waiting\",\"where\":"
		"\"/sys/fs/fuse/connections/39/waiting\",\"value\":\"1\","
		"\"time\":\"2026-11-23T15:33:56.600000000Z\"}],"
		"\"symptoms\":[{\"cause\":\"UnreapableZombieThreadStuck\",\"severity\":"
		"\"critical\","
		"\"confidence\":\"proven\",\"since\":\"2026-11-23T15:33:56.600000000Z\","
		"\"summary\":\"\","
		"\"subject\":{\"node\":null,\"namespace\":null,\"pod\":null,\"owner\":null,"
		"\"container\":null,"
		"\"containerID\":null,\"pid\":null,\"tid\":null,\"mount\":null,\"device\":null},"
		"\"evidence\":[],"
		"\"symptoms\":[{\"cause\":\"ContainerCrashLoop\",\"severity\":\"warning\","
		"\"confidence\":\"suspected\",\"since\":null,\"summary\":\"\","
		"\"subject\":{\"node\":null,\"namespace\":null,\"pod\":null,\"owner\":null,"
		"\"container\":null,"
		"\"containerID\":null,\"pid\":null,\"tid\":null,\"mount\":null,\"device\":null},"
		"\"evidence\":[],\"symptoms\":[],\"symptomsLeftOut\":0,\"advice\":[],\"avoid\":[]}]"
		","
		"\"symptomsLeftOut\":0,\"advice\":[],\"avoid\":[]}],"
		"\"symptomsLeftOut\":0,\"advice\":[{\"action\":\"Abort\",\"why\":\"it frees all\","
		"\"risk\":\"object\",\"loses\":\"writes\",\"command\":\"echo 1 > /x\"}],"
		"\"avoid\":[\"Do not\"]}]");
	parsed = json_loads(buf_string(&out), 0, NULL);
	assert_non_null(parsed);
	json_decref(parsed);

	buf_clear(&out);
	w = JSON_WRITE_INIT(&out);
	findings_json_write(&w, NULL, NULL);
	assert_string_equal(buf_string(&out), "[]");
}

static void memory_that_is_out_is_said(void **state)
{
	(void)state;
	for (fault_at = 1;; fault_at++) {
		struct findings *set;

		fault_seen = 0;
		set = three_levels();
		if (set && fault_seen >= fault_at)
			ASSERT_ERR(findings_result(set), ENOMEM);
		(void)findings_free(set);
		if (fault_seen < fault_at)
			break;
	}
	assert_true(fault_at > 2);
	fault_at = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names),
		cmocka_unit_test(each_names_its_node),
		cmocka_unit_test(texts_are_copied_and_clean),
		cmocka_unit_test(advice_goes_from_mild_to_last),
		cmocka_unit_test(symptoms_hang_under_their_cause),
		cmocka_unit_test(a_set_has_a_maximum),
		cmocka_unit_test(who_it_is),
		cmocka_unit_test(as_json),
		cmocka_unit_test(memory_that_is_out_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
