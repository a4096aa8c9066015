#include "agent/endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/kubelet-scan.h"
#include "agent/timer.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"

#define SCAN_ANSWER_MAX 16384

/* What is on tmpfs comes first, so that a hanging disk hides none of it. */
static const struct endpoint_socket known_sockets[] = {
	{ "containerd", "/run/containerd/containerd.sock" },
	{ "CRI-O", "/run/crio/crio.sock" },
	{ "cri-dockerd", "/run/cri-dockerd.sock" },
	{ "k3s", "/run/k3s/containerd/containerd.sock" },
	{ "k0s", "/run/k0s/containerd.sock" },
	{ "microk8s", "/var/snap/microk8s/common/run/containerd.sock" },
	{ NULL, NULL },
};

#define DOCKER_SOCKET "/run/docker.sock"

struct endpoint_probe {
	struct endpoint_search *search;
	struct endpoint_row *row;
	struct runtime *runtime; /* while the call is open */
};

struct endpoint_search {
	sd_event *loop;
	struct endpoint_options options;
	const struct endpoint_socket *known;
	/* The child that looks */
	int pidfd;
	sd_event_source *pipe_source;
	struct timer *timer;
	struct buf answer;
	/* What came of it */
	struct endpoint_probe probes[ENDPOINT_ROWS_MAX];
	struct endpoint_row rows[ENDPOINT_ROWS_MAX];
	size_t row_count, probes_open;
	bool is_starting; /* probes are being begun: not over yet, even with none open */
	bool is_done;     /* on_done was called */
	struct kubelet_scan kubelet;
	bool has_docker, child_abandoned;
	char note[400];
};

const char *endpoint_source_text(enum endpoint_source source)
{
	switch (source) {
	case ENDPOINT_NONE: return "none";
	case ENDPOINT_GIVEN: return "given";
	case ENDPOINT_KUBELET: return "kubelet";
	case ENDPOINT_KNOWN: return "known socket";
	}
	return "invalid";
}

/* ---- the child: looks at what may hang, tells in lines -------------------------------------- */

static void child_say(int fd, const char *line)
{
	(void)fd_write_all(fd, line, strlen(line), 1000);
}

static void child_look(
	const struct endpoint_options *options, const struct endpoint_socket *known, int fd)
{
	struct kubelet_scan scan;
	struct stat st;

	child_say(fd, FMT("docker %d\n", stat(DOCKER_SOCKET, &st) == 0 && S_ISSOCK(st.st_mode)));
	for (size_t i = 0; known[i].name; i++) {
		int r = stat(known[i].path, &st) < 0 ? errno : 0;

		child_say(fd, FMT("socket %zu %d\n", i, r));
	}
	kubelet_scan(options->proc, &scan);
	child_say(fd, FMT("port %u\n", scan.healthz_port));
	if (scan.pid != 0) {
		char line[sizeof(scan.endpoint) + 32];

		child_say(fd, str_format(line, sizeof(line), "endpoint %s\n", scan.endpoint));
		child_say(fd, str_format(line, sizeof(line), "note %s\n", scan.note));
		child_say(fd, FMT("kubelet %d\n", scan.pid));
	}
	child_say(fd, "end\n");
}

static _Noreturn void child_run(
	const struct endpoint_options *options, const struct endpoint_socket *known, int fd)
{
	struct sigaction plain = { .sa_handler = SIG_DFL };
	sigset_t none;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)prctl(PR_SET_NAME, "pleg-look");
	for (int sig = 1; sig < 32; sig++)
		(void)sigaction(sig, &plain, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	/* Only the pipe stays open: a child that is left behind holds nothing of ours. */
	if (fd == 3 || dup3(fd, 3, O_CLOEXEC) == 3)
		(void)close_range(4, ~0u, 0);
	child_look(options, known, 3);
	_exit(0);
}

/* ---- what it said --------------------------------------------------------------------------- */

static struct endpoint_row *search_add_row(
	struct endpoint_search *search, const char *name, const char *endpoint)
{
	struct endpoint_row *row;

	for (size_t i = 0; i < search->row_count; i++)
		if (str_eq(search->rows[i].endpoint, endpoint))
			return NULL; /* The kubelet's own, for example. */
	if (search->row_count == ENDPOINT_ROWS_MAX)
		return NULL;
	row = &search->rows[search->row_count++];
	(void)snprintf(row->name, sizeof(row->name), "%s", name);
	(void)snprintf(row->endpoint, sizeof(row->endpoint), "%s", endpoint);
	(void)snprintf(row->message, sizeof(row->message), "not asked: looking at its path hangs");
	return row;
}

static void search_read_line(
	struct endpoint_search *search, const char *line, int *looked, size_t count)
{
	unsigned port;
	size_t index;
	int value;
	const char *rest;

	if ((rest = str_after(line, "endpoint ")) != NULL)
		(void)str_clean(search->kubelet.endpoint, sizeof(search->kubelet.endpoint), rest,
			strlen(rest));
	else if ((rest = str_after(line, "note ")) != NULL)
		(void)str_clean(
			search->kubelet.note, sizeof(search->kubelet.note), rest, strlen(rest));
	else if (sscanf(line, "socket %zu %d", &index, &value) == 2 && index < count)
		looked[index] = value;
	else if (sscanf(line, "port %u", &port) == 1 && port <= UINT16_MAX)
		search->kubelet.healthz_port = (uint16_t)port;
	else if (sscanf(line, "docker %d", &value) == 1)
		search->has_docker = value == 1;
	else if (sscanf(line, "kubelet %d", &value) == 1)
		search->kubelet.pid = value;
}

static void search_make_note(struct endpoint_search *search)
{
	int n = 0;

	search->note[0] = '\0';
	if (search->child_abandoned)
		n = snprintf(search->note, sizeof(search->note),
			"The search for a kubelet hangs and was left behind. ");
	else if (search->kubelet.note[0])
		n = snprintf(search->note, sizeof(search->note),
			"There is a kubelet (pid %d). %s. ", search->kubelet.pid,
			search->kubelet.note);
	if (search->has_docker && (size_t)n < sizeof(search->note))
		(void)snprintf(search->note + n, sizeof(search->note) - (size_t)n,
			"Docker is there (%s), which is not supported yet.", DOCKER_SOCKET);
}

/* ---- probes --------------------------------------------------------------------------------- */

static void search_finish(struct endpoint_search *search);

static void probe_end(
	struct endpoint_probe *probe, enum runtime_outcome outcome, const char *message)
{
	struct endpoint_search *search = probe->search;

	probe->row->is_asked = true;
	probe->row->outcome = outcome;
	(void)snprintf(probe->row->message, sizeof(probe->row->message), "%s", message);
	probe->runtime = runtime_free(probe->runtime);
	search->probes_open--;
	if (search->probes_open == 0 && !search->is_starting)
		search_finish(search);
}

static void probe_on_done(void *userdata, const struct runtime_result *result)
{
	struct endpoint_probe *probe = userdata;
	char message[sizeof(probe->row->message)];

	switch (result->outcome) {
	case RUNTIME_CANCELLED: return; /* probe_end() or the search's end are under way. */
	case RUNTIME_OK:
		(void)snprintf(message, sizeof(message), "answers with CRI v1 (%s %s)",
			str_or_empty(result->version_name), str_or_empty(result->version));
		break;
	case RUNTIME_UNSUPPORTED:
		(void)snprintf(message, sizeof(message), "answers, but without CRI v1");
		break;
	case RUNTIME_NO_SOCKET: (void)snprintf(message, sizeof(message), "no such socket"); break;
	case RUNTIME_REFUSED:
		(void)snprintf(
			message, sizeof(message), "refused: the socket is there, nobody listens");
		break;
	case RUNTIME_SILENT:
		(void)snprintf(message, sizeof(message), "silent: it accepts and never answers");
		break;
	case RUNTIME_NOT_FOUND:
	case RUNTIME_ERROR:
		(void)snprintf(
			message, sizeof(message), "answers with an error: %s", result->message);
		break;
	case RUNTIME_LOST:
	case RUNTIME_MALFORMED:
		(void)snprintf(message, sizeof(message), "does not speak CRI: %s", result->message);
		break;
	}
	probe_end(probe, result->outcome, message);
}

static void probe_on_late(void *userdata)
{
	char text[TIME_TEXT_MAX];

	probe_end(userdata, RUNTIME_SILENT,
		FMT("silent: no answer to Version within %s",
			time_format_go(text, ENDPOINT_PROBE_NS)));
}

static const struct runtime_callbacks probe_callbacks = {
	.on_done = probe_on_done,
	.on_late = probe_on_late,
};

static void probe_start(struct endpoint_search *search, struct endpoint_row *row)
{
	struct endpoint_probe *probe = &search->probes[row - search->rows];
	struct err e = { 0 };
	int r;

	probe->search = search;
	probe->row = row;
	r = runtime_open_cri(search->loop, row->endpoint, &probe->runtime, &e);
	if (r >= 0)
		r = runtime_version(probe->runtime,
			&(struct runtime_call_options){ .callbacks = &probe_callbacks,
				.userdata = probe,
				.timeout_ns = ENDPOINT_PROBE_NS });
	if (r >= 0) {
		search->probes_open++;
		return;
	}
	probe->runtime = runtime_free(probe->runtime);
	row->is_asked = true;
	row->outcome = RUNTIME_ERROR;
	(void)snprintf(row->message, sizeof(row->message), "cannot be asked: %s", err_text(&e, r));
}

/* ---- from one step to the next --------------------------------------------------------------- */

/* What is preferred, best first; 0: never taken. A daemon without CRI is not ours to take. */
static unsigned row_rank(const struct endpoint_row *row)
{
	if (!row->is_asked)
		return 2;
	switch (row->outcome) {
	case RUNTIME_OK: return 6;
	case RUNTIME_SILENT: return 5;
	case RUNTIME_ERROR:
	case RUNTIME_NOT_FOUND: return 4;
	case RUNTIME_REFUSED: return 3;
	case RUNTIME_LOST:
	case RUNTIME_MALFORMED: return 1;
	case RUNTIME_UNSUPPORTED:
	case RUNTIME_NO_SOCKET:
	case RUNTIME_CANCELLED: return 0;
	}
	return 0;
}

static void search_finish(struct endpoint_search *search)
{
	struct endpoint_result result = { .endpoint = "",
		.rows = search->rows,
		.row_count = search->row_count,
		.has_kubelet = search->kubelet.pid != 0,
		.healthz_port = search->kubelet.healthz_port,
		.note = search->note,
		.child_abandoned = search->child_abandoned };
	const struct endpoint_row *best = NULL;

	if (search->is_done)
		return;
	search->is_done = true;
	search_make_note(search);
	if (search->options.given || search->kubelet.pid != 0) {
		best = &search->rows[0];
		result.source = search->options.given ? ENDPOINT_GIVEN : ENDPOINT_KUBELET;
	} else {
		for (size_t i = 0; i < search->row_count; i++)
			if (row_rank(&search->rows[i]) > (best ? row_rank(best) : 0))
				best = &search->rows[i];
		result.source = best ? ENDPOINT_KNOWN : ENDPOINT_NONE;
	}
	if (best) {
		result.endpoint = best->endpoint;
		result.answers = best->is_asked && best->outcome == RUNTIME_OK;
	}
	search->options.on_done(search->options.userdata, &result);
}

static void search_probe(struct endpoint_search *search, const int *looked)
{
	search->is_starting = true;
	if (search->kubelet.pid != 0) {
		struct endpoint_row *row =
			search_add_row(search, "kubelet's", search->kubelet.endpoint);

		if (row)
			probe_start(search, row);
	}
	for (size_t i = 0; search->known[i].name; i++) {
		char endpoint[sizeof(search->rows[0].endpoint)];
		struct endpoint_row *row;

		(void)snprintf(endpoint, sizeof(endpoint), "unix://%s", search->known[i].path);
		row = search_add_row(search, search->known[i].name, endpoint);
		if (!row || looked[i] < 0)
			continue;
		if (looked[i] == 0) {
			probe_start(search, row);
			continue;
		}
		row->is_asked = true;
		row->outcome = RUNTIME_NO_SOCKET;
		(void)snprintf(row->message, sizeof(row->message), "no socket: %s",
			looked[i] == ENOENT ? "not there" : err_text(NULL, -looked[i]));
	}
	search->is_starting = false;
	if (search->probes_open == 0)
		search_finish(search);
}

static int search_on_child_end(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	siginfo_t info = { 0 };
	unsigned *children = userdata;

	(void)revents;
	(void)waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG);
	if (children)
		(*children)--;
	(void)sd_event_source_set_floating(source, false);
	return 0;
}

/* Kills the child and leaves a source behind that reaps it, now or when the kernel lets go of it. */
static void search_leave_child(struct endpoint_search *search)
{
	sd_event_source *source = NULL;

	if (search->pidfd < 0)
		return;
	(void)pidfd_send_signal(search->pidfd, SIGKILL, NULL, 0);
	if (sd_event_add_io(search->loop, &source, search->pidfd, EPOLLIN, search_on_child_end,
		    search->options.children) < 0) {
		search->pidfd = fd_close(search->pidfd);
		return;
	}
	(void)sd_event_source_set_io_fd_own(source, true);
	(void)TAKE_FD(search->pidfd);
	(void)sd_event_source_set_floating(source, true);
	(void)sd_event_source_unref(source);
}

static void search_end_look(struct endpoint_search *search, bool was_in_time)
{
	int looked[ENDPOINT_ROWS_MAX];
	size_t count = 0;
	char *line, *rest = NULL;

	search->pipe_source = sd_event_source_disable_unref(search->pipe_source);
	search->timer = timer_free(search->timer);
	for (size_t i = 0; i < ENDPOINT_ROWS_MAX; i++)
		looked[i] = -1;
	while (search->known[count].name && count < ENDPOINT_ROWS_MAX)
		count++;

	search->child_abandoned = !was_in_time;
	search_leave_child(search);
	if (buf_string(&search->answer))
		for (line = strtok_r((char *)search->answer.data, "\n", &rest); line;
			line = strtok_r(NULL, "\n", &rest))
			search_read_line(search, line, looked, count);
	search_probe(search, looked);
}

static int search_on_pipe(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct endpoint_search *search = userdata;
	uint8_t data[1024];
	ssize_t n = read(fd, data, sizeof(data));

	(void)source, (void)revents;
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n > 0 && buf_append(&search->answer, data, (size_t)n) >= 0)
		return 0;
	search_end_look(search, true);
	return 0;
}

static void search_on_deadline(void *userdata)
{
	search_end_look(userdata, false);
}

static int search_start_look(struct endpoint_search *search)
{
	CLEAN_FD int from = -EBADF, to = -EBADF;
	unsigned *children = search->options.children;
	int ends[2], r;
	pid_t pid;

	/* What hangs one of them will hang the next: they are not to pile up. */
	if (children && *children >= ENDPOINT_CHILDREN_MAX)
		return -EBUSY;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	from = ends[0];
	to = ends[1];
	r = fd_set_nonblocking(from);
	if (r < 0)
		return r;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		child_run(&search->options, search->known, to);
	search->pidfd = pidfd_open(pid, 0);
	if (search->pidfd < 0) {
		r = -errno;
		(void)kill(pid, SIGKILL); /* Our child, not reaped yet: the pid is still its own. */
		(void)waitpid(pid, NULL, WNOHANG);
		return r;
	}
	if (children)
		(*children)++;
	r = sd_event_add_io(
		search->loop, &search->pipe_source, from, EPOLLIN, search_on_pipe, search);
	if (r < 0)
		return r;
	(void)sd_event_source_set_io_fd_own(search->pipe_source, true);
	(void)TAKE_FD(from);
	return timer_new(
		search->loop, ENDPOINT_SCAN_NS, search_on_deadline, search, &search->timer);
}

/* The given one, from the loop. */
static void search_on_given(void *userdata)
{
	struct endpoint_search *search = userdata;
	struct endpoint_row *row;

	search->timer = timer_free(search->timer);
	row = search_add_row(search, "given", search->options.given);
	search->is_starting = true;
	probe_start(search, row);
	search->is_starting = false;
	if (search->probes_open == 0)
		search_finish(search);
}

int endpoint_search_new(sd_event *loop, const struct endpoint_options *options,
	struct endpoint_search **ret, struct err *reterr)
{
	CLEAN(endpoint_search_freep) struct endpoint_search *search = mem_zalloc(sizeof(*search));
	int r;

	if (!search)
		return -ENOMEM;
	search->pidfd = -EBADF;
	search->answer = BUF_INIT(SCAN_ANSWER_MAX);
	search->loop = sd_event_ref(loop);
	search->options = *options;
	if (!search->options.proc)
		search->options.proc = "/proc";
	search->known = options->known ? options->known : known_sockets;
	search->kubelet.healthz_port = KUBELET_HEALTHZ_PORT;
	if (options->given)
		r = timer_new(loop, 0, search_on_given, search, &search->timer);
	else
		r = search_start_look(search);
	if (r < 0)
		return err_wrap(reterr, r, "Start the search for a container runtime");
	*ret = TAKE_PTR(search);
	return 0;
}

struct endpoint_search *endpoint_search_free(struct endpoint_search *search)
{
	if (!search)
		return NULL;
	search->is_done = true;
	search->timer = timer_free(search->timer);
	search->pipe_source = sd_event_source_disable_unref(search->pipe_source);
	for (size_t i = 0; i < ENDPOINT_ROWS_MAX; i++)
		search->probes[i].runtime = runtime_free(search->probes[i].runtime);
	search_leave_child(search);
	buf_done(&search->answer);
	sd_event_unref(search->loop);
	return mem_free(search);
}
