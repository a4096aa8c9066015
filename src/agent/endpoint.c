#include "agent/endpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/kubelet-scan.h"
#include "agent/timer.h"
#include "base/buf.h"
#include "base/child.h"
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
	/* Last, since what runs pods beside a Docker is what pleg is for. Mostly one and the same. */
	{ "Docker", "/run/docker.sock" },
	{ "Docker", "/var/run/docker.sock" },
	{ NULL, NULL },
};

struct endpoint_probe {
	struct endpoint_search *search;
	struct endpoint_row *row;
	struct runtime *runtime; /* while a call is open */
	bool is_other;           /* asked as the kind that its name does not say */
	bool is_listing;
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
	bool has_docker; /* its socket is there */
	bool child_abandoned;
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
	struct stat st, docker = { 0 };
	struct kubelet_scan scan;

	for (size_t i = 0; known[i].name && !options->only_kubelet; i++) {
		int r = stat(known[i].path, &st) < 0 ? errno : 0;

		if (r == 0 && runtime_guess(known[i].path) == RUNTIME_DOCKER) {
			if (st.st_ino == docker.st_ino && st.st_dev == docker.st_dev)
				r = EEXIST; /* /var/run is /run */
			docker = st;
		}
		child_say(fd, FMT("socket %zu %d\n", i, r));
	}
	kubelet_scan(options->proc, &scan);
	if (scan.pid != 0) {
		char line[sizeof(scan.endpoint) + 32];

		child_say(fd, str_format(line, sizeof(line), "endpoint %s\n", scan.endpoint));
		child_say(fd, str_format(line, sizeof(line), "healthz %s\n", scan.healthz_address));
		child_say(
			fd, FMT("ports %u %u %u\n", scan.healthz_port, scan.port, scan.read_port));
		child_say(fd, str_format(line, sizeof(line), "note %s\n", scan.note));
		child_say(fd, FMT("kubelet %d %" PRIu64 "\n", scan.pid, scan.start_ticks));
	}
	child_say(fd, "end\n");
}

static _Noreturn void child_run(
	const struct endpoint_options *options, const struct endpoint_socket *known, int fd)
{
	child_look(options, known, child_begin("pleg-look", fd));
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
	row->kind = runtime_guess(endpoint);
	(void)snprintf(row->message, sizeof(row->message), "not asked: looking at its path hangs");
	return row;
}

static void search_read_line(
	struct endpoint_search *search, const char *line, int *looked, size_t count)
{
	struct kubelet_scan *kubelet = &search->kubelet;
	unsigned ports[3];
	uint64_t ticks;
	size_t index;
	int value;
	const char *rest;

	if ((rest = str_after(line, "endpoint ")) != NULL)
		(void)str_clean(kubelet->endpoint, sizeof(kubelet->endpoint), rest, strlen(rest));
	else if ((rest = str_after(line, "healthz ")) != NULL)
		(void)str_clean(kubelet->healthz_address, sizeof(kubelet->healthz_address), rest,
			strlen(rest));
	else if ((rest = str_after(line, "note ")) != NULL)
		(void)str_clean(kubelet->note, sizeof(kubelet->note), rest, strlen(rest));
	else if (sscanf(line, "socket %zu %d", &index, &value) == 2 && index < count)
		looked[index] = value;
	else if (sscanf(line, "ports %u %u %u", &ports[0], &ports[1], &ports[2]) == 3) {
		kubelet->healthz_port = (uint16_t)ports[0];
		kubelet->port = (uint16_t)ports[1];
		kubelet->read_port = (uint16_t)ports[2];
	} else if (sscanf(line, "kubelet %d %" SCNu64, &value, &ticks) == 2) {
		kubelet->pid = value;
		kubelet->start_ticks = ticks;
	}
}

static void search_make_note(struct endpoint_search *search, const struct endpoint_row *best)
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
	for (size_t i = 0; i < search->row_count && (size_t)n < sizeof(search->note); i++) {
		const struct endpoint_row *row = &search->rows[i];

		if (row == best || row->kind != RUNTIME_DOCKER || !row->is_asked ||
			row->outcome != RUNTIME_OK)
			continue;
		(void)snprintf(search->note + n, sizeof(search->note) - (size_t)n,
			"Docker is there, too: --runtime %s watches that one.", row->endpoint);
		break;
	}
}

/* ---- probes --------------------------------------------------------------------------------- */

static void search_finish(struct endpoint_search *search);

static int probe_ask(struct endpoint_probe *probe, enum runtime_kind kind);
static const struct runtime_callbacks probe_callbacks;

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

static const char *probe_message(
	const struct runtime_result *result, enum runtime_kind kind, char *out, size_t size)
{
	bool is_cri = kind == RUNTIME_CRI;

	switch (result->outcome) {
	case RUNTIME_OK:
		return is_cri
			? str_format(out, size, "answers with CRI v1 (%s %s)",
				  str_or_empty(result->version_name), str_or_empty(result->version))
			: str_format(out, size, "answers as a Docker Engine (%s, API %s)",
				  str_or_empty(result->version), str_or_empty(result->api_version));
	case RUNTIME_UNSUPPORTED:
		return is_cri ? "answers, but without CRI v1"
			      : str_format(out, size, "not usable: %s", result->message);
	case RUNTIME_NO_SOCKET: return "no such socket";
	case RUNTIME_REFUSED:
		return strstr(result->message, "ermission")
			? "not permitted: run this as root"
			: "refused: the socket is there, nobody listens";
	case RUNTIME_SILENT: return "silent: it accepts and never answers";
	case RUNTIME_NOT_FOUND:
	case RUNTIME_ERROR:
		return str_format(out, size, "answers with an error: %s", result->message);
	case RUNTIME_LOST:
	case RUNTIME_MALFORMED:
		return str_format(out, size, "does not speak %s: %s",
			is_cri ? "CRI" : "Docker's Engine API", result->message);
	case RUNTIME_CANCELLED: break;
	}
	return "";
}

/* What the first question told stays, unless the second one is answered. */
static bool probe_ask_as_other(struct endpoint_probe *probe, const struct runtime_result *result)
{
	struct endpoint_row *row = probe->row;
	char message[sizeof(row->message)];

	if (!probe->search->options.given || probe->is_other || !runtime_is_other_kind(result))
		return false;
	probe->is_other = true;
	row->is_asked = true;
	row->outcome = result->outcome;
	(void)snprintf(row->message, sizeof(row->message), "%s",
		probe_message(result, row->kind, message, sizeof(message)));
	probe->runtime = runtime_free(probe->runtime);
	return probe_ask(probe, row->kind == RUNTIME_CRI ? RUNTIME_DOCKER : RUNTIME_CRI) >= 0;
}

/* Where nobody has said which of two runtimes is meant, it is the one that runs something. */
static bool probe_list(struct endpoint_probe *probe)
{
	struct endpoint_search *search = probe->search;

	if (search->options.given || search->kubelet.pid != 0 || !search->has_docker)
		return false;
	probe->is_listing = true;
	return runtime_list(probe->runtime, NULL, NULL,
		       &(struct runtime_call_options){ .callbacks = &probe_callbacks,
			       .userdata = probe,
			       .timeout_ns = ENDPOINT_PROBE_NS }) >= 0;
}

static void probe_on_listed(struct endpoint_probe *probe, const struct runtime_result *result)
{
	char message[sizeof(probe->row->message)];
	struct list_entry entry;

	(void)snprintf(message, sizeof(message), "%s", probe->row->message);
	/* A list that fails leaves it open. */
	if (result->outcome == RUNTIME_OK && !result->list->next(result->list, &entry)) {
		probe->row->is_empty = true;
		(void)snprintf(
			message, sizeof(message), "%.180s; runs nothing", probe->row->message);
	}
	probe_end(probe, RUNTIME_OK, message);
}

static void probe_on_done(void *userdata, const struct runtime_result *result)
{
	struct endpoint_probe *probe = userdata;
	struct endpoint_row *row = probe->row;
	enum runtime_kind kind;
	char message[sizeof(row->message)];

	/* probe_end(), the search's end or the second question are under way. */
	if (result->outcome == RUNTIME_CANCELLED)
		return;
	if (probe->is_listing) {
		probe_on_listed(probe, result);
		return;
	}
	kind = runtime_kind(probe->runtime);
	if (probe->is_other && result->outcome != RUNTIME_OK) {
		(void)snprintf(message, sizeof(message), "%s", row->message);
		probe_end(probe, row->outcome, message);
		return;
	}
	if (probe_ask_as_other(probe, result))
		return;
	(void)snprintf(row->message, sizeof(row->message), "%s",
		probe_message(result, kind, message, sizeof(message)));
	row->kind = kind;
	if (result->outcome == RUNTIME_OK && probe_list(probe))
		return;
	(void)snprintf(message, sizeof(message), "%s", row->message);
	probe_end(probe, result->outcome, message);
}

static void probe_on_late(void *userdata)
{
	struct endpoint_probe *probe = userdata;
	char text[TIME_TEXT_MAX], message[sizeof(probe->row->message)];

	(void)snprintf(message, sizeof(message), "%s", probe->row->message);
	if (probe->is_listing)
		probe_end(probe, RUNTIME_OK, message);
	else
		probe_end(probe, RUNTIME_SILENT,
			FMT("silent: no answer to Version within %s",
				time_format_go(text, ENDPOINT_PROBE_NS)));
}

static const struct runtime_callbacks probe_callbacks = {
	.on_done = probe_on_done,
	.on_late = probe_on_late,
};

static int probe_ask(struct endpoint_probe *probe, enum runtime_kind kind)
{
	struct err e = { 0 };
	int r = runtime_open(probe->search->loop, kind, probe->row->endpoint, &probe->runtime, &e);

	if (r >= 0)
		r = runtime_version(probe->runtime,
			&(struct runtime_call_options){ .callbacks = &probe_callbacks,
				.userdata = probe,
				.timeout_ns = ENDPOINT_PROBE_NS });
	if (r >= 0)
		return 0;
	probe->runtime = runtime_free(probe->runtime);
	if (!probe->is_other)
		(void)snprintf(probe->row->message, sizeof(probe->row->message),
			"cannot be asked: %.180s", err_text(&e, r));
	return r;
}

static void probe_start(struct endpoint_search *search, struct endpoint_row *row)
{
	struct endpoint_probe *probe = &search->probes[row - search->rows];

	probe->search = search;
	probe->row = row;
	if (probe_ask(probe, row->kind) >= 0) {
		search->probes_open++;
		return;
	}
	row->is_asked = true;
	row->outcome = RUNTIME_ERROR;
}

/* ---- from one step to the next --------------------------------------------------------------- */

/* What is preferred, best first; 0: never taken. A daemon without CRI is not ours to take. CRI comes
 * before Docker, unless the one runs nothing and the other does. */
static unsigned row_rank(const struct endpoint_row *row)
{
	bool is_cri = row->kind == RUNTIME_CRI;

	if (!row->is_asked)
		return 3 + is_cri;
	switch (row->outcome) {
	case RUNTIME_OK: return row->is_empty ? 11 + is_cri : 13 + is_cri;
	case RUNTIME_SILENT: return 9 + is_cri;
	case RUNTIME_ERROR:
	case RUNTIME_NOT_FOUND: return 7 + is_cri;
	case RUNTIME_REFUSED: return 5 + is_cri;
	case RUNTIME_LOST:
	case RUNTIME_MALFORMED: return 1 + is_cri;
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
		.kubelet = search->kubelet.pid != 0 ? &search->kubelet : NULL,
		.note = search->note,
		.child_abandoned = search->child_abandoned };
	const struct endpoint_row *best = NULL;

	if (search->is_done)
		return;
	search->is_done = true;
	if (search->options.only_kubelet) {
		result.source = ENDPOINT_NONE;
	} else if (search->options.given || search->kubelet.pid != 0) {
		best = &search->rows[0];
		result.source = search->options.given ? ENDPOINT_GIVEN : ENDPOINT_KUBELET;
	} else {
		for (size_t i = 0; i < search->row_count; i++)
			if (row_rank(&search->rows[i]) > (best ? row_rank(best) : 0))
				best = &search->rows[i];
		result.source = best ? ENDPOINT_KNOWN : ENDPOINT_NONE;
	}
	search_make_note(search, best);
	if (best) {
		result.endpoint = best->endpoint;
		result.answers = best->is_asked && best->outcome == RUNTIME_OK;
	}
	search->options.on_done(search->options.userdata, &result);
}

static void search_probe(struct endpoint_search *search, const int *looked)
{
	search->is_starting = true;
	for (size_t i = 0; search->known[i].name; i++)
		search->has_docker |=
			looked[i] == 0 && runtime_guess(search->known[i].path) == RUNTIME_DOCKER;
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
		if (looked[i] == EEXIST)
			continue; /* the same as one before */
		row = search_add_row(search, search->known[i].name, endpoint);
		if (!row || looked[i] < 0)
			continue;
		if (looked[i] == 0) {
			probe_start(search, row);
			continue;
		}
		row->is_asked = true;
		row->outcome = RUNTIME_NO_SOCKET;
		(void)snprintf(row->message, sizeof(row->message), "%s%s",
			looked[i] == EACCES ? "not looked at, run this as root: " : "no socket: ",
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
	if (search->options.only_kubelet)
		search_finish(search);
	else
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
	search->kubelet = KUBELET_SCAN_DEFAULT;
	if (options->given && !options->only_kubelet)
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
