/* What decides in the web role: who may ask, what the agent is asked, how documents are made. */
#include "unit.h"

#include <sys/socket.h>

#include "base/buf.h"
#include "base/fd.h"
#include "web/feed.h"
#include "web/guard.h"
#include "web/page.h"

static void hosts(void **state)
{
	static const struct {
		const char *host;
		bool loopback, ours;
	} rows[] = {
		{ NULL, true, false },
		{ "", true, false },
		{ "localhost", true, true },
		{ "localhost.", true, true },
		{ "LocalHost:80", true, true },
		{ "localhost:", true, false },
		{ "localhost:65536", true, false },
		{ "localhost.evil.example", true, false },
		{ "127.0.0.1", true, true },
		{ "127.1", true, false },
		{ "10.0.0.1:80", true, false },
		{ "10.0.0.1:80", false, true },
		{ "[::1]:80", true, true },
		{ "[2001:db8::1]", true, false },
		{ "[2001:db8::1]", false, true },
		{ "::1", true, false },
		{ "[::1", true, false },
		{ "[::1]x", true, false },
		{ "node1", true, true },
		{ "NODE1:443", false, true },
		{ "node2", false, false },
	};

	for (size_t i = 0; i < ELEMENTS(rows); i++)
		if (guard_host_is_ours(rows[i].host, rows[i].loopback, "node1") != rows[i].ours)
			fail_msg("host '%s'", rows[i].host ? rows[i].host : "(none)");
	assert_false(guard_host_is_ours(".", true, ""));
	assert_false(guard_host_is_ours("x", true, ""));
}

static void tokens(void **state)
{
	assert_true(guard_token_is_right("Bearer secret", "secret", 6));
	assert_true(guard_token_is_right("bearer  secret", "secret", 6));
	assert_false(guard_token_is_right(NULL, "secret", 6));
	assert_false(guard_token_is_right("Bearer ", "secret", 6));
	assert_false(guard_token_is_right("Bearer secre", "secret", 6));
	assert_false(guard_token_is_right("Bearer secretsecret", "secret", 6));
	assert_false(guard_token_is_right("Bearer Secret", "secret", 6));
	assert_false(guard_token_is_right("Basic secret", "secret", 6));
	assert_false(guard_token_is_right("Bearer ", "", 0));
}

static void page_of(const char *json, struct buf *out)
{
	buf_clear(out);
	ASSERT_OK(page_render(json, strlen(json), out));
}

static void pages(void **state)
{
	CLEAN(buf_done) struct buf b = BUF_INIT(65536);

	page_of("{\"a\":{\"<i>\":\"<b>&'\\\"\\n\"},\"l\":[1,[],{}]}", &b);
	assert_non_null(strstr(buf_string(&b), "<b>&lt;i&gt;</b>: &lt;b&gt;&amp;&#39;&quot; "));
	page_of("{\"a\":<script>}", &b);
	assert_null(strstr(buf_string(&b), "<script>"));
	page_of("{\"a\":\"cut", &b);
	assert_non_null(strstr(buf_string(&b), "could not be read"));
	assert_null(strstr(buf_string(&b), "cut"));

	buf_clear(&b);
	ASSERT_OK(page_array_of_lines("{1}\n\n{2}", 8, &b));
	assert_string_equal(buf_string(&b), "[{1},\n{2}]\n");
	buf_clear(&b);
	ASSERT_OK(page_array_of_lines("", 0, &b));
	assert_string_equal(buf_string(&b), "[]\n");
	buf_clear(&b);
	ASSERT_OK(page_put_json_string(&b, "a\"\\\n"));
	assert_string_equal(buf_string(&b), "\"a\\\"\\\\\\u000a\"");
}

static const struct channel_type role_accepts[] = {
	{ WEB_MSG_GOT, sizeof(struct web_got), sizeof(struct web_got), 1 },
	{ WEB_MSG_SAID, sizeof(struct web_got), sizeof(struct web_got), 0 },
};
static const struct channel_type agent_accepts[] = {
	{ WEB_MSG_GET, sizeof(struct web_get), sizeof(struct web_get), 0 },
};

struct fixture {
	struct channel *role, *agent;
	struct feeds *feeds;
};

struct asker {
	struct feed_wait wait; /* first: the callback gets this */
	unsigned answers, none;
	char got[32];
	int code;
};

static void on_answer(struct feed_wait *wait, struct feed_answer *answer)
{
	struct asker *a = (struct asker *)wait;

	a->answers++;
	if (!answer) {
		a->none++;
		return;
	}
	a->code = answer->code;
	if (answer->len > 0)
		memcpy(a->got, answer->data, answer->len);
}

static int setup(void **state)
{
	static struct fixture f;
	int ends[2];

	ASSERT_OK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends));
	ASSERT_OK(channel_new(ends[0], role_accepts, ELEMENTS(role_accepts), &f.role));
	ASSERT_OK(channel_new(ends[1], agent_accepts, ELEMENTS(agent_accepts), &f.agent));
	ASSERT_OK(feeds_new(f.role, &f.feeds));
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	f->feeds = feeds_free(f->feeds);
	f->role = channel_free(f->role);
	f->agent = channel_free(f->agent);
	return 0;
}

static void ask(struct fixture *f, struct asker *a, uint32_t kind, uint64_t tail, uint64_t now_ns)
{
	*a = (struct asker){ .wait = { .kind = kind, .on_answer = on_answer } };
	a->wait.query.tail = tail;
	feeds_ask(f->feeds, &a->wait, now_ns);
}

/* The next question that reached the agent; 0: none. */
static uint64_t question(struct fixture *f, uint64_t *ret_tail)
{
	struct channel_message m;
	struct web_get get;

	if (channel_receive(f->agent, &m) != 1)
		return 0;
	memcpy(&get, m.payload, sizeof(get));
	if (ret_tail)
		*ret_tail = get.query.tail;
	return m.id;
}

static int reply(struct fixture *f, uint64_t id, const char *text, uint64_t now_ns)
{
	CLEAN_FD int fd = fd_memfd_sealed("t", text, strlen(text));
	struct web_got got = { 0 };
	struct channel_message m;
	int r;

	ASSERT_OK(channel_send(f->agent, WEB_MSG_GOT, id, &got, sizeof(got), &fd, 1));
	assert_int_equal(channel_receive(f->role, &m), 1);
	r = feeds_take(f->feeds, &m, now_ns);
	channel_message_done(&m);
	return r;
}

static void one_answer_serves_all_for_a_while(void **state)
{
	uint64_t now_ns = NSEC_PER_SEC, id;
	struct fixture *f = *state;
	struct asker a, b, c, d;

	ask(f, &a, WEB_PODS, 0, now_ns);
	ask(f, &b, WEB_PODS, 0, now_ns);
	id = question(f, NULL);
	assert_int_not_equal(id, 0);
	assert_int_equal(question(f, NULL), 0);
	now_ns += 3 * NSEC_PER_MSEC;
	ASSERT_OK(reply(f, id, "first", now_ns));
	assert_int_equal(a.answers + b.answers, 2);
	assert_string_equal(b.got, "first");

	ask(f, &c, WEB_PODS, 0, now_ns + FEED_SPACING_NS - 1);
	assert_string_equal(c.got, "first");
	assert_int_equal(question(f, NULL), 0);
	ask(f, &d, WEB_PODS, 0, now_ns + FEED_SPACING_NS);
	assert_int_equal(d.answers, 0);
	assert_int_not_equal(question(f, NULL), 0);
	feeds_cancel(f->feeds, &d.wait);
}

static void other_questions_take_turns(void **state)
{
	uint64_t now_ns = NSEC_PER_SEC, id, tail;
	struct fixture *f = *state;
	struct asker a, b;

	ask(f, &a, WEB_EVENTS, 1, now_ns);
	ask(f, &b, WEB_EVENTS, 2, now_ns);
	id = question(f, &tail);
	assert_int_equal(tail, 1);
	ASSERT_OK(reply(f, id, "one", now_ns));
	assert_int_equal(a.answers, 1);
	assert_int_equal(b.answers, 0);
	assert_int_equal(question(f, NULL), 0); /* Not within the quarter of a second. */
	assert_int_equal(feeds_due(f->feeds), now_ns + FEED_SPACING_NS);
	now_ns += FEED_SPACING_NS;
	feeds_run(f->feeds, now_ns);
	id = question(f, &tail);
	assert_int_equal(tail, 2);
	ASSERT_OK(reply(f, id, "two", now_ns));
	assert_string_equal(b.got, "two");
	assert_int_equal(feeds_due(f->feeds), NSEC_NEVER);
}

static void silence_is_told_and_not_asked_again(void **state)
{
	uint64_t now_ns = NSEC_PER_SEC, id;
	struct fixture *f = *state;
	struct asker a, b;

	ask(f, &a, WEB_METRICS, 0, now_ns);
	id = question(f, NULL);
	assert_int_equal(feeds_due(f->feeds), now_ns + FEED_WAIT_NS);
	now_ns += FEED_WAIT_NS;
	feeds_run(f->feeds, now_ns);
	assert_int_equal(a.none, 1);
	ask(f, &b, WEB_METRICS, 0, now_ns);
	assert_int_equal(question(f, NULL), 0);
	ASSERT_OK(reply(f, id, "late", now_ns + 1)); /* Better late than never. */
	assert_string_equal(b.got, "late");
}

static void nonsense_is_refused(void **state)
{
	struct fixture *f = *state;
	struct asker a;
	uint64_t id;

	ask(f, &a, WEB_ASK_READY, 0, 1);
	id = question(f, NULL);
	ASSERT_ERR(reply(f, id + 1, "x", 2), EBADMSG); /* Nobody asked. */
	ASSERT_ERR(reply(f, id, "x", 2), EBADMSG);     /* Bytes for a yes or no. */
	assert_int_equal(a.answers, 0);
	feeds_end(f->feeds);
	assert_int_equal(a.none, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts),
		cmocka_unit_test(tokens),
		cmocka_unit_test(pages),
		cmocka_unit_test_setup_teardown(one_answer_serves_all_for_a_while, setup, teardown),
		cmocka_unit_test_setup_teardown(other_questions_take_turns, setup, teardown),
		cmocka_unit_test_setup_teardown(
			silence_is_told_and_not_asked_again, setup, teardown),
		cmocka_unit_test_setup_teardown(nonsense_is_refused, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
