/* The search for the runtime: the kubelet's flags and configuration, a made-up /proc, and sockets that
 * are missing, stale, silent and talking nonsense. */
#include "unit.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/endpoint.h"
#include "agent/kubelet-scan.h"
#include "base/fd.h"
#include "base/str.h"

#define DEADLINE_US (20 * UINT64_C(1000000))

/* ---- the kubelet's own words ---------------------------------------------------------------- */

#define CMDLINE(text) text, sizeof(text)

static void flags_of_the_kubelet(void **state)
{
	static const struct {
		const char *cmdline;
		size_t len;
		const char *endpoint, *config;
		unsigned port;
	} rows[] = {
		{ CMDLINE("kubelet"), "", "", 10248 },
		{ CMDLINE("kubelet\0--container-runtime-endpoint=unix:///a.sock"), "unix:///a.sock",
			"", 10248 },
		{ CMDLINE("kubelet\0--container-runtime-endpoint\0unix:///b.sock\0-v=2"),
			"unix:///b.sock", "", 10248 },
		{ CMDLINE("kubelet\0--container-runtime-endpoint=/c.sock"), "unix:///c.sock", "",
			10248 },
		{ CMDLINE("kubelet\0--config\0/k.yaml\0--healthz-port=1"), "", "/k.yaml", 1 },
		{ CMDLINE("kubelet\0--config=/1\0--config=/2\0--healthz-port=99999"), "", "/2",
			10248 },
		{ CMDLINE("kubelet\0--configuration=/x\0--config-dir=/y"), "", "", 10248 },
		{ CMDLINE("kubelet\0--port=1\0--read-only-port\0002\0--healthz-port=3"), "", "",
			3 },
		{ CMDLINE("kubelet\0--container-runtime-endpoint"), "", "", 10248 },
		{ "kubelet\0--config=/cut", 20, "", "/cu", 10248 },
		{ "", 0, "", "", 10248 },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct kubelet_scan scan = KUBELET_SCAN_DEFAULT;
		struct kubelet_paths paths;
		/* Its own block, so that a read behind the end is seen. */
		char *copy = mem_strndup(rows[i].cmdline, rows[i].len);

		assert_non_null(copy);
		kubelet_scan_cmdline(copy, rows[i].len, &scan, &paths);
		assert_string_equal(scan.endpoint, rows[i].endpoint);
		assert_string_equal(paths.config, rows[i].config);
		assert_int_equal(scan.healthz_port, rows[i].port);
		(void)mem_free(copy);
	}
}

static void configuration_of_the_kubelet(void **state)
{
	static const struct {
		const char *text, *endpoint;
		unsigned port;
		int r;
	} rows[] = {
		{ "kind: KubeletConfiguration\nnested:\n  containerRuntimeEndpoint: "
		  "unix:///no.sock\n"
		  "list:\n- a\n- {b: c}\ncontainerRuntimeEndpoint: "
		  "unix:///run/x.sock\nhealthzPort: 7\n",
			"unix:///run/x.sock", 7, 0 },
		{ "{\"containerRuntimeEndpoint\":\"unix:///j.sock\",\"a\":[1,{\"b\":[]}]}",
			"unix:///j.sock", 10248, 0 },
		{ "containerRuntimeEndpoint: \"\"\nhealthzPort: 0\n", "", 0, 0 },
		{ "", "", 10248, -EINVAL },
		{ "- a\n", "", 10248, -EINVAL },
		{ "a: [\n", "", 10248, -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct kubelet_scan scan = KUBELET_SCAN_DEFAULT;

		assert_int_equal(
			kubelet_scan_config(rows[i].text, strlen(rows[i].text), &scan), rows[i].r);
		assert_string_equal(scan.endpoint, rows[i].endpoint);
		assert_int_equal(scan.healthz_port, rows[i].port);
	}
	/* What the command line said stays. */
	{
		struct kubelet_scan scan = { .endpoint = "e",
			.given = KUBELET_GIVEN_ENDPOINT | KUBELET_GIVEN_HEALTHZ_PORT,
			.healthz_port = 5 };

		ASSERT_OK(kubelet_scan_config(rows[0].text, strlen(rows[0].text), &scan));
		assert_string_equal(scan.endpoint, "e");
		assert_int_equal(scan.healthz_port, 5);
	}
}

static void where_it_can_be_asked(void **state)
{
	static const struct {
		const char *address, *host;
	} rows[] = {
		{ "127.0.0.1", "127.0.0.1" },
		{ "127.0.0.53", "127.0.0.53" },
		{ "0.0.0.0", "127.0.0.1" },
		{ "::", "127.0.0.1" },
		{ "", "127.0.0.1" },
		{ "::1", "::1" },
		{ "192.0.2.7", NULL },
		{ "2001:db8::1", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTS(rows); i++) {
		struct kubelet_scan scan = KUBELET_SCAN_DEFAULT;
		const char *host;

		(void)snprintf(
			scan.healthz_address, sizeof(scan.healthz_address), "%s", rows[i].address);
		host = kubelet_scan_healthz_host(&scan);
		assert_int_equal(host == NULL, rows[i].host == NULL);
		if (host)
			assert_string_equal(host, rows[i].host);
	}
}

/* ---- a world of its own --------------------------------------------------------------------- */

struct world {
	char dir[64];
	sd_event *loop;
	struct endpoint_search *search;
	struct endpoint_result result; /* its strings live in `search` */
	bool done;
	struct endpoint_socket known[8];
	char paths[8][128];
	size_t count;
	int fds[8];
	size_t fd_count;
	unsigned children;
};

static void put_file(const struct world *w, const char *path, const char *text, size_t len)
{
	char at[256], *slash;
	FILE *f;

	(void)snprintf(at, sizeof(at), "%s/%s", w->dir, path);
	for (slash = strchr(at + strlen(w->dir) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(at, 0700);
		*slash = '/';
	}
	f = fopen(at, "we");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

/* A name with what it may hold; it began 12345 ticks after the machine. */
#define STAT                                                                                       \
	"1 (ku) (b) S 1 1 1 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 9 0 12345 100 200 "                  \
	"18446744073709551615\n"

static void put_kubelet_of(const struct world *w, unsigned uid, const char *pid, const char *nspid,
	const char *cmdline, size_t len)
{
	char path[64], status[160];

	(void)snprintf(path, sizeof(path), "proc/%s/comm", pid);
	put_file(w, path, "kubelet\n", 8);
	(void)snprintf(path, sizeof(path), "proc/%s/status", pid);
	(void)snprintf(status, sizeof(status),
		"Name:\tkubelet\nUid:\t%u\t%u\t%u\t%u\nNSpid:\t%s\nThreads:\t1\n", uid, uid, uid,
		uid, nspid);
	put_file(w, path, status, strlen(status));
	(void)snprintf(path, sizeof(path), "proc/%s/cmdline", pid);
	put_file(w, path, cmdline, len);
	(void)snprintf(path, sizeof(path), "proc/%s/stat", pid);
	put_file(w, path, STAT, strlen(STAT));
}

static void put_kubelet(
	const struct world *w, const char *pid, const char *nspid, const char *cmdline, size_t len)
{
	put_kubelet_of(w, geteuid(), pid, nspid, cmdline, len);
}

static void world_begin(struct world *w)
{
	*w = (struct world){ 0 };
	(void)snprintf(w->dir, sizeof(w->dir), "/tmp/pleg-te-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	ASSERT_OK(sd_event_new(&w->loop));
	put_file(w, "proc/1/comm", "init\n", 5);
	put_file(w, "proc/1/status", "NSpid:\t1\n", 9);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static void world_end(struct world *w)
{
	w->search = endpoint_search_free(w->search);
	(void)sd_event_unref(w->loop);
	for (size_t i = 0; i < w->fd_count; i++)
		(void)fd_close(w->fds[i]);
	assert_int_equal(nftw(w->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

enum peer {
	PEER_MISSING, /* no socket */
	PEER_STALE,   /* a file that nobody listens behind */
	PEER_SILENT,  /* accepts, never answers */
};

static const char *world_add(struct world *w, const char *name, enum peer peer)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char *path = w->paths[w->count], at[sizeof(w->paths[0])];
	int fd;

	(void)snprintf(at, sizeof(at), "%s/%s.sock", w->dir, name);
	memcpy(path, at, sizeof(at));
	w->known[w->count++] = (struct endpoint_socket){ name, path };
	if (peer == PEER_MISSING)
		return path;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	if (peer == PEER_SILENT)
		assert_int_equal(listen(fd, 8), 0);
	w->fds[w->fd_count++] = fd;
	return path;
}

static void on_done(void *userdata, const struct endpoint_result *result)
{
	struct world *w = userdata;

	assert_false(w->done);
	w->done = true;
	w->result = *result;
}

static void world_search_as(struct world *w, const char *given, bool only_kubelet)
{
	char proc[128];
	struct endpoint_options options = {
		.given = given,
		.only_kubelet = only_kubelet,
		.proc = proc,
		.known = w->known,
		.children = &w->children,
		.on_done = on_done,
		.userdata = w,
	};

	(void)snprintf(proc, sizeof(proc), "%s/proc", w->dir);
	ASSERT_OK(endpoint_search_new(w->loop, &options, &w->search, NULL));
	assert_false(w->done);
	for (int turns = 0; !w->done && turns < 1000; turns++)
		ASSERT_OK(sd_event_run(w->loop, DEADLINE_US));
	assert_true(w->done);
}

static void world_search(struct world *w, const char *given)
{
	world_search_as(w, given, false);
}

static const struct endpoint_row *row_of(const struct world *w, const char *name)
{
	for (size_t i = 0; i < w->result.row_count; i++)
		if (str_eq(w->result.rows[i].name, name))
			return &w->result.rows[i];
	fail_msg("no row %s", name);
	return NULL;
}

static void nothing_is_there(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w);
	(void)world_add(&w, "a", PEER_MISSING);
	world_search(&w, NULL);
	assert_int_equal(w.result.source, ENDPOINT_NONE);
	assert_string_equal(w.result.endpoint, "");
	assert_false(w.result.answers);
	assert_null(w.result.kubelet);
	assert_false(w.result.child_abandoned);
	assert_int_equal(row_of(&w, "a")->outcome, RUNTIME_NO_SOCKET);
	assert_string_equal(row_of(&w, "a")->message, "no socket: not there");
	world_end(&w);
}

static void a_silent_one_is_taken_over_a_stale_one(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w);
	(void)world_add(&w, "stale", PEER_STALE);
	(void)world_add(&w, "missing", PEER_MISSING);
	(void)world_add(&w, "silent", PEER_SILENT);
	world_search(&w, NULL);
	assert_int_equal(w.result.source, ENDPOINT_KNOWN);
	assert_string_equal(w.result.endpoint, row_of(&w, "silent")->endpoint);
	assert_false(w.result.answers);
	assert_int_equal(row_of(&w, "stale")->outcome, RUNTIME_REFUSED);
	assert_int_equal(row_of(&w, "silent")->outcome, RUNTIME_SILENT);
	assert_non_null(strstr(row_of(&w, "silent")->message, "within 2s"));
	world_end(&w);
}

static void the_kubelets_is_taken(void **state)
{
	char cmdline[256], config[256], path[160];
	struct world w;
	int n;

	(void)state;
	world_begin(&w);
	(void)world_add(&w, "known", PEER_STALE);
	n = snprintf(config, sizeof(config),
		"containerRuntimeEndpoint: unix://%s/mine.sock\nhealthzPort: 4711\n", w.dir);
	put_file(&w, "kubelet.yaml", config, (size_t)n);
	n = snprintf(cmdline, sizeof(cmdline), "kubelet%c--config=%s/kubelet.yaml%c", 0, w.dir, 0);
	put_kubelet(&w, "4242", "4242", cmdline, (size_t)n);
	/* A node of a cluster in containers: not the kubelet of this one, though its pid is lower. */
	put_kubelet(
		&w, "77", "77\t1", CMDLINE("kubelet\0--container-runtime-endpoint=/other.sock"));
	/* Somebody's process of that name: it may not say where we connect to. */
	put_kubelet_of(
		&w, 65534, "78", "78", CMDLINE("kubelet\0--container-runtime-endpoint=/evil.sock"));
	world_search(&w, NULL);
	(void)snprintf(path, sizeof(path), "unix://%s/mine.sock", w.dir);
	assert_int_equal(w.result.source, ENDPOINT_KUBELET);
	assert_string_equal(w.result.endpoint, path);
	assert_non_null(w.result.kubelet);
	assert_int_equal(w.result.kubelet->pid, 4242);
	assert_int_equal(w.result.kubelet->healthz_port, 4711);
	assert_int_equal(w.result.kubelet->port, 10250);
	assert_int_equal(w.result.kubelet->read_port, 0);
	assert_int_equal(row_of(&w, "kubelet's")->outcome, RUNTIME_NO_SOCKET);
	world_end(&w);
}

/* Drop-ins go over the file in the order of their names, the command line over all; nothing else is asked. */
static void only_the_kubelet_with_its_drop_ins(void **state)
{
	static const char first[] = "port: 1\nreadOnlyPort: 2\nhealthzBindAddress: 0.0.0.0\n";
	static const char second[] = "readOnlyPort: 3\nhealthzPort: 4\n", ignored[] = "port: 9\n";
	static const char base[] = "port: 7\nhealthzPort: 8\nreadOnlyPort: 0\n";
	char cmdline[512];
	struct world w;
	int n;

	(void)state;
	world_begin(&w);
	(void)world_add(&w, "silent", PEER_SILENT);
	put_file(&w, "k.yaml", base, strlen(base));
	put_file(&w, "k.d/20-b.conf", second, strlen(second));
	put_file(&w, "k.d/10-a.conf", first, strlen(first));
	put_file(&w, "k.d/30-c.yaml", ignored, strlen(ignored));
	n = snprintf(cmdline, sizeof(cmdline),
		"kubelet%c--config=%s/k.yaml%c--config-dir%c%s/k.d%c--healthz-port=5%c", 0, w.dir,
		0, 0, w.dir, 0, 0);
	put_kubelet(&w, "4242", "4242", cmdline, (size_t)n);
	world_search_as(&w, "unix:///given.sock", true);
	assert_int_equal(w.result.source, ENDPOINT_NONE);
	assert_int_equal(w.result.row_count, 0);
	assert_non_null(w.result.kubelet);
	assert_string_equal(w.result.note, "");
	assert_int_equal(w.result.kubelet->start_ticks, 12345);
	assert_int_equal(w.result.kubelet->port, 1);
	assert_int_equal(w.result.kubelet->read_port, 3);
	assert_int_equal(w.result.kubelet->healthz_port, 5);
	assert_string_equal(w.result.kubelet->healthz_address, "0.0.0.0");
	world_end(&w);
}

static void a_kubelet_that_cannot_be_read(void **state)
{
	struct world w;

	(void)state;
	world_begin(&w);
	(void)world_add(&w, "known", PEER_MISSING);
	put_kubelet(&w, "9", "9", CMDLINE("kubelet\0--config=/nonexistent/k.yaml"));
	world_search(&w, NULL);
	assert_int_equal(w.result.source, ENDPOINT_KUBELET);
	assert_string_equal(w.result.endpoint, KUBELET_ENDPOINT_DEFAULT);
	assert_non_null(strstr(w.result.note,
		"There is a kubelet (pid 9). Its configuration /nonexistent/k.yaml cannot be "
		"read"));
	world_end(&w);
}

/* The law-5 case: the read of its command line never comes back. Here it is a pipe that nobody
 * writes to, in the kernel it is mmap_lock. */
static void a_scan_that_hangs_is_left_behind(void **state)
{
	char path[128];
	struct world w;

	(void)state;
	world_begin(&w);
	(void)world_add(&w, "silent", PEER_SILENT);
	put_kubelet(&w, "9", "9", CMDLINE("kubelet"));
	(void)snprintf(path, sizeof(path), "%s/proc/9/cmdline", w.dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	world_search(&w, NULL);
	assert_true(w.result.child_abandoned);
	assert_non_null(strstr(w.result.note, "The search for a kubelet hangs"));
	/* What it had told before counts. */
	assert_int_equal(w.result.source, ENDPOINT_KNOWN);
	assert_string_equal(w.result.endpoint, row_of(&w, "silent")->endpoint);
	world_end(&w);
}

/* A child that not even SIGKILL ends counts until it is gone; another search does not add to many. */
static void children_that_hang_do_not_pile_up(void **state)
{
	struct endpoint_options options = { .on_done = on_done };
	struct world w;

	(void)state;
	world_begin(&w);
	(void)world_add(&w, "known", PEER_MISSING);
	world_search(&w, NULL);
	assert_int_equal(w.children, 1);
	w.search = endpoint_search_free(w.search);
	for (int turns = 0; w.children > 0 && turns < 1000; turns++)
		ASSERT_OK(sd_event_run(w.loop, DEADLINE_US));
	assert_int_equal(w.children, 0); /* reaped */

	w.children = ENDPOINT_CHILDREN_MAX;
	options.children = &w.children;
	ASSERT_ERR(endpoint_search_new(w.loop, &options, &w.search, NULL), EBUSY);
	assert_int_equal(w.children, ENDPOINT_CHILDREN_MAX);
	world_end(&w);
}

static void the_given_one_is_asked_and_kept(void **state)
{
	char endpoint[160];
	struct world w;

	(void)state;
	world_begin(&w);
	(void)world_add(&w, "known", PEER_SILENT);
	(void)snprintf(endpoint, sizeof(endpoint), "unix://%s/none.sock", w.dir);
	world_search(&w, endpoint);
	assert_int_equal(w.result.source, ENDPOINT_GIVEN);
	assert_string_equal(w.result.endpoint, endpoint);
	assert_false(w.result.answers);
	assert_int_equal(w.result.row_count, 1);
	assert_int_equal(row_of(&w, "given")->outcome, RUNTIME_NO_SOCKET);
	world_end(&w);
}

static void cancelled_in_every_phase(void **state)
{
	for (int turns = 0; turns < 8; turns++) {
		struct world w;
		struct endpoint_options options = { .on_done = on_done, .userdata = &w };
		char proc[128];

		(void)state;
		world_begin(&w);
		(void)world_add(&w, "stale", PEER_STALE);
		(void)world_add(&w, "silent", PEER_SILENT);
		(void)snprintf(proc, sizeof(proc), "%s/proc", w.dir);
		options.proc = proc;
		options.known = w.known;
		ASSERT_OK(endpoint_search_new(w.loop, &options, &w.search, NULL));
		for (int i = 0; i < turns && !w.done; i++)
			ASSERT_OK(sd_event_run(w.loop, DEADLINE_US));
		w.search = endpoint_search_free(w.search);
		world_end(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flags_of_the_kubelet),
		cmocka_unit_test(configuration_of_the_kubelet),
		cmocka_unit_test(nothing_is_there),
		cmocka_unit_test(a_silent_one_is_taken_over_a_stale_one),
		cmocka_unit_test(where_it_can_be_asked),
		cmocka_unit_test(the_kubelets_is_taken),
		cmocka_unit_test(only_the_kubelet_with_its_drop_ins),
		cmocka_unit_test(a_kubelet_that_cannot_be_read),
		cmocka_unit_test(a_scan_that_hangs_is_left_behind),
		cmocka_unit_test(children_that_hang_do_not_pile_up),
		cmocka_unit_test(the_given_one_is_asked_and_kept),
		cmocka_unit_test(cancelled_in_every_phase),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
