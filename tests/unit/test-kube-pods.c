/* Pods as the API server has them: read out of its JSON, whose they are, on the role's channel, kept. */
#include "unit.h"

#include <jansson.h>

#include "base/mem.h"
#include "base/str.h"
#include "kube/api-protocol.h"
#include "kube/items.h"
#include "kube/object.h"
#include "kube/pod-read.h"
#include "kube/pods.h"

#define SEC(n) ((n)*NSEC_PER_SEC)
#define AT(s)  ((struct now){ SEC(s), (int64_t)SEC(1700000000 + (s)) })

/* ---- owners ------------------------------------------------------------------------------------- */

static void owners(void **state)
{
	/* 29401234 minutes after the epoch: 2025-11-25T20:34Z. */
	const int64_t created_ns = (int64_t)SEC(INT64_C(29401234) * 60 + 2);
	static const struct {
		const char *kind, *name, *hash, *expected;
	} rows[] = {
		{ "ReplicaSet", "web-5d4f8", "5d4f8", "Deployment/web" },
		{ "ReplicaSet", "web-v2-5d4f8", "5d4f8", "Deployment/web-v2" },
		{ "ReplicaSet", "by-hand", NULL, "ReplicaSet/by-hand" },
		{ "ReplicaSet", "by-hand", "5d4f8", "ReplicaSet/by-hand" },
		{ "ReplicaSet", "web5d4f8", "5d4f8", "ReplicaSet/web5d4f8" },
		{ "ReplicaSet", "-5d4f8", "5d4f8", "ReplicaSet/-5d4f8" },
		{ "ReplicaSet", "web-", "", "ReplicaSet/web-" },
		{ "DaemonSet", "agent", "5d4f8", "DaemonSet/agent" },
		{ "StatefulSet", "db", NULL, "StatefulSet/db" },
		{ "Node", "n1", NULL, "Node/n1" },
		{ "Job", "migrate", NULL, "Job/migrate" },
		{ "Job", "backup-29401234", NULL, "CronJob/backup" },
		{ "Job", "load-20251125", NULL, "Job/load-20251125" },
		{ "Job", "backup-29401236", NULL, "Job/backup-29401236" }, /* due later than made */
		{ "Job", "backup-1234", NULL, "Job/backup-1234" },
		{ "Job", "-29401234", NULL, "Job/-29401234" },
		{ NULL, NULL, "5d4f8", "" },
	};
	char out[KUBE_OWNER_MAX];

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++)
		assert_string_equal(kube_owner_text(out,
					    &(struct kube_owner){ rows[i].kind, rows[i].name,
						    rows[i].hash, created_ns }),
			rows[i].expected);
}

/* ---- JSON --------------------------------------------------------------------------------------- */

static const char WHOLE[] =
	"{\"metadata\":{\"name\":\"web-5d4f8-x\",\"namespace\":\"shop\",\"uid\":\"u1\","
	"\"labels\":{\"pod-template-hash\":\"5d4f8\"},\"creationTimestamp\":\"2026-01-01T00:00:"
	"00Z\","
	"\"deletionTimestamp\":\"2026-01-01T00:01:00Z\",\"deletionGracePeriodSeconds\":20,"
	"\"ownerReferences\":[{\"kind\":\"Other\",\"name\":\"no\"},"
	"{\"kind\":\"ReplicaSet\",\"name\":\"web-5d4f8\",\"controller\":true}]},"
	"\"status\":{\"phase\":\"Running\",\"containerStatuses\":["
	"{\"name\":\"a\",\"containerID\":\"containerd://c1\",\"state\":{\"running\":{}}},"
	"{\"name\":\"b\",\"state\":{\"waiting\":{}}},"
	"{\"name\":\"c\",\"containerID\":\"c3\",\"state\":{\"terminated\":{}}}],"
	"\"initContainerStatuses\":[{\"containerID\":\"cri-o://c4\",\"state\":{}}]}}";

static json_t *parsed(const char *text)
{
	json_t *object = kube_parse(text, strlen(text));

	assert_non_null(object);
	return object;
}

static void a_whole_pod(void **state)
{
	json_t *object = parsed(WHOLE);
	struct pod_read r;

	(void)state;
	ASSERT_OK(pod_read(&r, object));
	assert_string_equal(r.pod.namespace, "shop");
	assert_string_equal(r.pod.uid, "u1");
	assert_string_equal(r.pod.runtime_uid, "u1");
	assert_string_equal(r.pod.owner, "Deployment/web");
	assert_int_equal(r.pod.phase, KUBE_PHASE_RUNNING);
	assert_true(r.pod.is_deleting);
	assert_int_equal(r.pod.deletion_ns, SEC(INT64_C(1767225660)));
	assert_int_equal(r.pod.grace_s, 20);
	assert_int_equal(r.pod.container_count, 3);
	assert_string_equal(r.pod.containers[0].id, "c1");
	assert_int_equal(r.pod.containers[0].state, KUBE_RUN_RUNNING);
	assert_string_equal(r.pod.containers[1].id, "c3");
	assert_int_equal(r.pod.containers[1].state, KUBE_RUN_TERMINATED);
	assert_string_equal(r.pod.containers[2].id, "c4");
	assert_int_equal(r.pod.containers[2].state, KUBE_RUN_WAITING);
	json_decref(object);
}

static void odd_pods(void **state)
{
	static const struct {
		const char *text;
		int r;
		const char *runtime_uid;
		uint32_t grace_s;
	} rows[] = {
		{ "{}", -EBADMSG, NULL, 0 },
		{ "{\"metadata\":null}", -EBADMSG, NULL, 0 },
		{ "{\"metadata\":{\"name\":\"a\",\"namespace\":\"b\"}}", -EBADMSG, NULL, 0 },
		{ "{\"metadata\":{\"name\":\"a\",\"namespace\":\"b\",\"uid\":7}}", -EBADMSG, NULL,
			0 },
		{ "{\"metadata\":{\"name\":\"a\",\"namespace\":\"b\",\"uid\":\"\"}}", -EBADMSG,
			NULL, 0 },
		/* the mirror of a static pod */
		{ "{\"metadata\":{\"name\":\"a\",\"namespace\":\"b\",\"uid\":\"u\",\"annotations\":"
		  "{\"kubernetes.io/"
		  "config.mirror\":\"abc\"}},\"spec\":{\"terminationGracePeriodSeconds\":5}}",
			0, "abc", 5 },
		/* by force: the spec's */
		{ "{\"metadata\":{\"name\":\"a\",\"namespace\":\"b\",\"uid\":\"u\","
		  "\"deletionGracePeriodSeconds\":0},\"spec\":{\"terminationGracePeriodSeconds\":9}"
		  "}",
			0, "u", 9 },
		{ "{\"metadata\":{\"name\":\"a\",\"namespace\":\"b\",\"uid\":\"u\"},"
		  "\"spec\":{\"terminationGracePeriodSeconds\":-1},\"status\":{"
		  "\"containerStatuses\":"
		  "[1,{\"containerID\":\"\"},{\"containerID\":{}}]}}",
			0, "u", 0 },
		{ "{\"metadata\":{\"name\":\"a\",\"namespace\":\"b\",\"uid\":\"u\"},"
		  "\"spec\":{\"terminationGracePeriodSeconds\":99999999999}}",
			0, "u", KUBE_POD_GRACE_MAX },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		json_t *object = parsed(rows[i].text);
		struct pod_read r;
		int got = pod_read(&r, object);

		if (got != rows[i].r)
			fail_msg("row %zu: %d", i, got);
		if (got >= 0) {
			assert_string_equal(r.pod.runtime_uid, rows[i].runtime_uid);
			assert_int_equal(r.pod.grace_s, rows[i].grace_s);
			assert_int_equal(r.pod.container_count, 0);
		}
		json_decref(object);
	}
}

/* One container too many is left out; a name that no server takes is no pod. */
static void too_much(void **state)
{
	json_t *object = parsed(WHOLE), *list = json_array();
	char name[KUBE_POD_TEXT_MAX + 2];
	struct pod_read r;

	(void)state;
	for (unsigned i = 0; i < KUBE_POD_CONTAINERS_MAX + 5; i++)
		(void)json_array_append_new(
			list, json_pack("{s:s++}", "containerID", "c", FMT("%u", i), ""));
	(void)json_object_set_new(json_object_get(object, "status"), "containerStatuses", list);
	ASSERT_OK(pod_read(&r, object));
	assert_int_equal(r.pod.container_count, KUBE_POD_CONTAINERS_MAX);
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	(void)json_object_set_new(json_object_get(object, "metadata"), "name", json_string(name));
	ASSERT_ERR(pod_read(&r, object), EBADMSG);
	json_decref(object);
}

/* ---- lists -------------------------------------------------------------------------------------- */

static void items_of_lists(void **state)
{
	static const struct {
		const char *text, *found[3]; /* NULL at first: no list */
		bool has_rest;
	} rows[] = {
		{ "{\"kind\":\"PodList\",\"items\":[{\"a\":1},{\"b\":[2,3]}],\"z\":0}",
			{ "{\"a\":1}", "{\"b\":[2,3]}" }, false },
		{ " { \"metadata\" : { \"items\" : [ 1 ] } , \"items\" : [ 7 , \"x\" ] } ",
			{ "7", "\"x\"" }, false },
		{ "{\"items\":[\"]}\\\"\",{\"q\":\"\\\\\"}]}", { "\"]}\\\"\"", "{\"q\":\"\\\\\"}" },
			false },
		{ "{\"items\":[]}", { "" }, false },
		{ "{\"items\":null}", { "" }, false },
		{ "{\"items\":[,]}", { "" }, true },
		{ "{\"items\":[1 2]}", { "" }, true },
		{ "{\"items\":7}", { NULL }, false },
		{ "{\"items\":[1", { NULL }, false },
		{ "{\"items\":[\"1]}", { NULL }, false },
		{ "{\"items\":", { NULL }, false },
		{ "{\"items\"", { NULL }, false },
		{ "{\"item", { NULL }, false },
		{ "{\"a\":1}", { NULL }, false },
		{ "{\"a\":1,}", { NULL }, false },
		{ "[{\"items\":[1]}]", { NULL }, false },
		{ "{}", { NULL }, false },
		{ "", { NULL }, false },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct slice items, item;
		int r = kube_items_find(SLICE(rows[i].text), &items);

		if ((r >= 0) != (rows[i].found[0] != NULL))
			fail_msg("%s: %d", rows[i].text, r);
		for (size_t k = 0; r >= 0 && k < 3 && rows[i].found[k] && *rows[i].found[k]; k++) {
			assert_true(kube_items_next(&items, &item));
			assert_true(slice_eq(item, SLICE(rows[i].found[k])));
		}
		if (r >= 0) {
			assert_false(kube_items_next(&items, &item));
			assert_true((items.len > 0) == rows[i].has_rest);
		}
	}
}

/* Every beginning of a list is read without harm, and so is every list with one byte changed. */
static void items_of_nonsense(void **state)
{
	static const char good[] =
		"{\"metadata\":{\"continue\":\"x\"},\"items\":[{\"a\":\"\\\"\"},[1,{}],null, 3 ]}";
	char text[sizeof(good)];
	struct slice items, item;

	(void)state;
	for (size_t len = 0; len < sizeof(good) - 2; len++)
		ASSERT_ERR(kube_items_find((struct slice){ good, len }, &items), EBADMSG);
	for (size_t at = 0; at < sizeof(good) - 1; at++) {
		for (const char *c = "{}[]\",:\\x "; *c; c++) {
			unsigned n = 0;

			memcpy(text, good, sizeof(good));
			text[at] = *c;
			if (kube_items_find((struct slice){ text, sizeof(good) - 1 }, &items) < 0)
				continue;
			while (kube_items_next(&items, &item))
				assert_true(++n < sizeof(good));
		}
	}
}

/* ---- the channel -------------------------------------------------------------------------------- */

static const struct kube_pod_container some[] = { { "c1", KUBE_RUN_RUNNING },
	{ "c2", KUBE_RUN_TERMINATED } };
static const struct kube_pod POD = { "shop", "web", "u1", "r1", "Deployment/web",
	KUBE_PHASE_RUNNING, true, 12345, 20, 2, some };

static void there_and_back(void **state)
{
	struct kube_pod_container containers[KUBE_POD_CONTAINERS_MAX];
	CLEAN(buf_done) struct buf out = BUF_INIT(4096);
	struct channel_message m = { 0 };
	struct kube_pod pod;

	(void)state;
	ASSERT_OK(api_pack_pod(&out, &POD));
	m.payload = out.data;
	m.len = out.len;
	ASSERT_OK(api_unpack_pod(&m, &pod, containers));
	assert_string_equal(pod.namespace, "shop");
	assert_string_equal(pod.name, "web");
	assert_string_equal(pod.uid, "u1");
	assert_string_equal(pod.runtime_uid, "r1");
	assert_string_equal(pod.owner, "Deployment/web");
	assert_int_equal(pod.phase, KUBE_PHASE_RUNNING);
	assert_true(pod.is_deleting);
	assert_int_equal(pod.deletion_ns, 12345);
	assert_int_equal(pod.grace_s, 20);
	assert_int_equal(pod.container_count, 2);
	assert_string_equal(pod.containers[1].id, "c2");
	assert_int_equal(pod.containers[1].state, KUBE_RUN_TERMINATED);
	m.len--;
	ASSERT_ERR(api_unpack_pod(&m, &pod, containers), EBADMSG);
}

static void nonsense(void **state)
{
	struct kube_pod_container containers[KUBE_POD_CONTAINERS_MAX];
	CLEAN(buf_done) struct buf out = BUF_INIT(4096);
	struct channel_message m = { 0 };
	struct api_pod *fixed;
	struct kube_pod pod;

	(void)state;
	ASSERT_OK(api_pack_pod(&out, &POD));
	fixed = (struct api_pod *)(void *)out.data;
	m.payload = out.data;
	m.len = out.len;
	fixed->phase = 200;
	ASSERT_ERR(api_unpack_pod(&m, &pod, containers), EBADMSG);
	fixed->phase = 0;
	fixed->container_count = 3; /* the third has no id */
	ASSERT_ERR(api_unpack_pod(&m, &pod, containers), EBADMSG);
	fixed->container_count = KUBE_POD_CONTAINERS_MAX + 1;
	ASSERT_ERR(api_unpack_pod(&m, &pod, containers), EBADMSG);
	fixed->container_count = 2;
	fixed->states[1] = 9;
	ASSERT_ERR(api_unpack_pod(&m, &pod, containers), EBADMSG);
	fixed->states[1] = 0;
	ASSERT_OK(api_unpack_pod(&m, &pod, containers));
}

/* ---- kept --------------------------------------------------------------------------------------- */

static void put(struct kube_pods *p, const char *uid, unsigned s)
{
	struct kube_pod pod = { "ns", uid, uid, uid, "", KUBE_PHASE_RUNNING, false, 0, 30, 0,
		NULL };

	ASSERT_OK(kube_pods_put(p, &pod, AT(s)));
}

static void state_is(const struct kube_pods *p, enum kube_pods_state state, uint32_t count,
	uint64_t as_of_s, const char *why)
{
	struct kube_pods_status s;

	kube_pods_status(p, &s);
	assert_string_equal(kube_pods_state_text(s.state), kube_pods_state_text(state));
	assert_int_equal(s.count, count);
	assert_int_equal(s.as_of_ns / NSEC_PER_SEC, as_of_s);
	assert_string_equal(s.why, why);
}

static void a_list_and_what_follows(void **state)
{
	CLEAN(kube_pods_freep) struct kube_pods *p = kube_pods_new();
	struct kube_pod_view v;

	(void)state;
	state_is(p, KUBE_PODS_NONE, 0, 0, "");
	kube_pods_begin(p, AT(1));
	put(p, "a", 2);
	put(p, "b", 2);
	kube_pods_heard(p, AT(2)); /* not while a list comes in */
	state_is(p, KUBE_PODS_NONE, 2, 0, "");
	kube_pods_end(p, AT(3));
	state_is(p, KUBE_PODS_CURRENT, 2, 1, "");
	put(p, "c", 4);
	state_is(p, KUBE_PODS_CURRENT, 3, 1, ""); /* others may be on their way */
	kube_pods_heard(p, AT(5));
	state_is(p, KUBE_PODS_CURRENT, 3, 5, "");
	kube_pods_remove(p, "a", AT(6));
	kube_pods_remove(p, "nobody", AT(6));
	assert_true(kube_pods_find(p, "a", &v));
	assert_int_equal(v.gone_ns / NSEC_PER_SEC, 6);
	state_is(p, KUBE_PODS_CURRENT, 2, 5, "");
	/* Away in the middle of a list: nothing of it is believed to be gone. */
	kube_pods_begin(p, AT(7));
	put(p, "b", 7);
	kube_pods_away(p, "reset");
	kube_pods_end(p, AT(8));
	state_is(p, KUBE_PODS_OLD, 2, 5, "reset");
	assert_true(kube_pods_find(p, "c", &v));
	assert_int_equal(v.gone_ns, 0);
	kube_pods_open(p);
	state_is(p, KUBE_PODS_CURRENT, 2, 5, "");
	/* The next list does not have it. */
	kube_pods_begin(p, AT(9));
	put(p, "b", 9);
	kube_pods_end(p, AT(10));
	assert_true(kube_pods_find(p, "c", &v));
	assert_int_equal(v.gone_ns / NSEC_PER_SEC, 10);
	kube_pods_forget(p, "b"); /* only what is gone */
	kube_pods_forget(p, "c");
	assert_true(kube_pods_find(p, "b", &v));
	assert_false(kube_pods_find(p, "c", &v));
	state_is(p, KUBE_PODS_CURRENT, 1, 9, "");
}

static void to_be_gone_since(void **state)
{
	CLEAN(kube_pods_freep) struct kube_pods *p = kube_pods_new();
	struct kube_pod pod = { "ns", "a", "u", "r", "", KUBE_PHASE_RUNNING, false, 0, 30, 0,
		NULL };
	struct kube_pod_view v;

	(void)state;
	ASSERT_OK(kube_pods_put(p, &pod, AT(1)));
	assert_true(kube_pods_find(p, "r", &v));
	assert_int_equal(v.deleting_ns, 0);
	pod.is_deleting = true;
	ASSERT_OK(kube_pods_put(p, &pod, AT(5)));
	ASSERT_OK(kube_pods_put(p, &pod, AT(9)));
	assert_true(kube_pods_find(p, "r", &v));
	assert_int_equal(v.deleting_ns / NSEC_PER_SEC, 5);
	pod.uid = "u2"; /* another one of the same static pod */
	pod.is_deleting = false;
	ASSERT_OK(kube_pods_put(p, &pod, AT(11)));
	assert_true(kube_pods_find(p, "r", &v));
	assert_int_equal(v.deleting_ns, 0);
}

static void at_most_so_many(void **state)
{
	CLEAN(kube_pods_freep) struct kube_pods *p = kube_pods_new();
	struct kube_pod pod = { "ns", "x", "x", "x", "", KUBE_PHASE_RUNNING, false, 0, 30, 0,
		NULL };
	struct kube_pods_status s;
	struct kube_pod_view v;
	size_t cursor = 0, n = 0;

	(void)state;
	kube_pods_begin(p, AT(1));
	for (unsigned i = 0; i < KUBE_PODS_MAX; i++)
		put(p, FMT("p%u", i), 1);
	ASSERT_ERR(kube_pods_put(p, &pod, AT(1)), ENOSPC);
	pod.runtime_uid = pod.uid = "y";
	ASSERT_ERR(kube_pods_put(p, &pod, AT(1)), ENOSPC);
	kube_pods_end(p, AT(2));
	ASSERT_ERR(kube_pods_put(p, &pod, AT(3)), ENOSPC);
	kube_pods_status(p, &s);
	assert_int_equal(s.left_out, 2);
	/* All are deleted: the newest stay. */
	for (unsigned i = 0; i < KUBE_PODS_MAX; i++)
		kube_pods_remove(p, FMT("p%u", i), AT(4 + i));
	while (kube_pods_next(p, &cursor, &v))
		n++;
	assert_int_equal(n, KUBE_PODS_GONE_MAX);
	assert_false(kube_pods_find(p, "p0", &v));
	assert_true(kube_pods_find(p, FMT("p%u", KUBE_PODS_MAX - 1), &v));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(owners),
		cmocka_unit_test(a_whole_pod),
		cmocka_unit_test(odd_pods),
		cmocka_unit_test(too_much),
		cmocka_unit_test(items_of_lists),
		cmocka_unit_test(items_of_nonsense),
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(nonsense),
		cmocka_unit_test(a_list_and_what_follows),
		cmocka_unit_test(to_be_gone_since),
		cmocka_unit_test(at_most_so_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
