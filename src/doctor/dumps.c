#include "doctor/dumps.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fd.h"
#include "doctor/rules/goroutines.h"
#include "kernel/probe-agent.h"
#include "kernel/proc-link.h"

#define PLACES_MAX    4u
#define TARGET_NS     (1200 * NSEC_PER_MSEC) /* for one to write it */
#define LOOK_NS       (300 * NSEC_PER_MSEC)  /* at one place */
#define READ_NS       (500 * NSEC_PER_MSEC)  /* of one piece */
#define POLL_NS       (40 * NSEC_PER_MSEC)
#define FDS_MAX       16384u /* of a containerd, among which the log of a shim is looked for */
#define ACCURACY_USEC 1000u
#define WHY_MAX       256

struct version { /* of a file */
	bool is_there;
	uint64_t device, inode, size_bytes;
	int64_t modified_ns;
};

struct place {
	struct probe_place at;
	char path[256]; /* "" for a descriptor */
	bool is_log;    /* which has more than dumps */
	bool can_be_read;
	struct version before, last;
};

enum dumps_state {
	DUMPS_IDLE,
	DUMPS_BEFORE,  /* what is at its places before it is asked */
	DUMPS_WAITING, /* it was asked */
	DUMPS_READING, /* what it wrote */
	DUMPS_DONE,
};

struct dumps {
	sd_event *loop;
	struct probe *probe;
	sd_event_source *next, *end;
	int proc_fd;
	const struct evidence *evidence;
	void (*on_done)(void *userdata);
	void *userdata;
	uint64_t due_ns;
	uint32_t count;
	uint32_t processes[DUMPS_MAX]; /* of the sample */
	struct goroutine_dump dumps[DUMPS_MAX];
	char why[DUMPS_MAX][WHY_MAX], source[DUMPS_MAX][PROC_LINK_MAX];

	/* The one that is asked now. */
	enum dumps_state state;
	uint32_t current, place, place_count;
	struct place places[PLACES_MAX];
	uint64_t target_due_ns;
	char blocked[WHY_MAX]; /* why a place of its could not be looked at; "" */
	struct buf text;
};

static void begin_target(struct dumps *d);
static void look_at_place(struct dumps *d);

static const struct evidence_process *process_of(const struct dumps *d)
{
	return &d->evidence->processes[d->processes[d->current]];
}

static void run_in(struct dumps *d, uint64_t delay_ns)
{
	if (sd_event_source_set_time_relative(d->next, delay_ns / NSEC_PER_USEC) >= 0)
		(void)sd_event_source_set_enabled(d->next, SD_EVENT_ONESHOT);
}

/* ---- the end of one, and of all ---------------------------------------------------------- */

static void say(struct dumps *d, uint32_t index, const char *why)
{
	d->dumps[index].why = str_format(d->why[index], sizeof(d->why[index]), "%s", why);
}

static void end_all(struct dumps *d)
{
	if (d->state == DUMPS_DONE)
		return;
	d->state = DUMPS_DONE;
	if (d->probe)
		probe_forget(d->probe, d);
	(void)sd_event_source_set_enabled(d->next, SD_EVENT_OFF);
	(void)sd_event_source_set_enabled(d->end, SD_EVENT_OFF);
	d->on_done(d->userdata);
}

/* The next one has its turn from the loop. */
static void end_target(struct dumps *d, const char *why)
{
	say(d, d->current, why);
	d->current++;
	d->state = DUMPS_IDLE;
	run_in(d, 0);
}

static int on_end(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source;
	(void)usec;
	end_all(userdata);
	return 0;
}

static int on_next(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct dumps *d = userdata;

	(void)source;
	(void)usec;
	if (d->state == DUMPS_IDLE && d->current == d->count)
		end_all(d);
	else if (d->state == DUMPS_IDLE)
		begin_target(d);
	else
		look_at_place(d);
	return 0;
}

/* ---- places ------------------------------------------------------------------------------ */

static void add_place(struct dumps *d, const struct evidence_process *p, const char *path)
{
	struct place *place = &d->places[d->place_count];

	if (d->place_count == PLACES_MAX || strlen(path) >= sizeof(place->path))
		return;
	*place = (struct place){
		.at = { .pid = p->pid, .start_ticks = p->start_ticks, .fd = -1 },
	};
	(void)str_format(place->path, sizeof(place->path), "%s", path);
	d->place_count++;
}

/* What a process writes its log to, if that is a file. */
static void add_log(struct dumps *d, const struct evidence_process *p)
{
	struct place *place = &d->places[d->place_count];

	if (d->place_count == PLACES_MAX)
		return;
	*place = (struct place){
		.at = { .pid = p->pid, .start_ticks = p->start_ticks, .fd = 2 },
		.is_log = true,
	};
	d->place_count++;
}

/* Its own pid as it knows it is part of the name. */
static void add_containerd(struct dumps *d, const struct evidence_process *p)
{
	int32_t pid = p->ns_pid > 0 ? p->ns_pid : p->pid;

	add_place(d, p, FMT("/tmp/containerd.%d.stacks.log", pid));
	add_place(d, p, FMT("/var/tmp/containerd.%d.stacks.log", pid));
	add_log(d, p);
}

static void add_dockerd(
	struct dumps *d, const struct evidence_process *p, const struct evidence_daemon *daemon)
{
	if (*daemon->run_dir)
		add_place(d, p, FMT("%.150s/goroutine-stacks-*.log", daemon->run_dir));
	else
		add_place(d, p, "/var/run/docker/goroutine-stacks-*.log");
	add_log(d, p);
}

/* The descriptor that leads there, or -1. */
static int32_t descriptor_of(
	const struct dumps *d, const struct evidence_process *p, const char *path)
{
	struct proc_walk walk;
	char link[PROC_LINK_MAX];
	int32_t fd, found = -1;
	unsigned seen = 0;

	if (proc_walk_init(&walk, d->proc_fd, PROC_WALK_FDS, p->pid, 0) >= 0)
		while (found < 0 && seen++ < FDS_MAX && proc_walk_next(&walk, &fd))
			if (proc_read_fd_link(d->proc_fd, p->pid, 0, fd, link, sizeof(link)) > 0 &&
				str_eq(link, path))
				found = fd;
	proc_walk_done(&walk);
	return found;
}

/* The containerd that reads the log of this shim, or NULL. */
static const struct evidence_process *reader_of(
	const struct dumps *d, uint32_t shim, int32_t *ret_fd)
{
	const struct evidence *e = d->evidence;
	char path[PROC_LINK_MAX];

	(void)str_format(path, sizeof(path), "%s/log", e->shims[shim].bundle);
	for (uint32_t i = 0; *e->shims[shim].bundle && i < e->daemon_count; i++) {
		if (e->daemons[i].kind != DAEMON_CONTAINERD ||
			e->daemons[i].process >= e->process_count)
			continue;
		*ret_fd = descriptor_of(d, &e->processes[e->daemons[i].process], path);
		if (*ret_fd >= 0)
			return &e->processes[e->daemons[i].process];
	}
	return NULL;
}

/* Why a shim is not asked; NULL: its dump goes to the log of a containerd. It waits for room in the FIFO
 * between them, which holds 64 KiB: enough for a dump if nothing is in it. */
static const char *put_shim(struct dumps *d, uint32_t shim)
{
	int32_t fd = -1;
	const struct evidence_process *reader = reader_of(d, shim, &fd);
	uint64_t unread;

	if (!reader)
		return "not asked: no containerd has its log open, and a dump that nobody reads "
		       "would hold it up";
	if (reader->state == 'T' || reader->state == 't' || reader->freezer != EVIDENCE_NONE ||
		proc_read_fifo_unread(d->proc_fd, reader->pid, fd, &unread) < 0 || unread > 0)
		return "not asked: its containerd does not read its log, and a dump that nobody "
		       "reads would hold it up";
	add_log(d, reader);
	return NULL;
}

/* ---- one process ------------------------------------------------------------------------- */

static const char *put_places(struct dumps *d)
{
	const struct evidence *e = d->evidence;
	uint32_t process = d->processes[d->current];
	uint32_t shim = goroutines_shim_of(e, process);

	d->place_count = 0;
	for (uint32_t i = 0; i < e->daemon_count; i++) {
		if (e->daemons[i].process != process)
			continue;
		if (e->daemons[i].kind == DAEMON_DOCKERD)
			add_dockerd(d, &e->processes[process], &e->daemons[i]);
		else
			add_containerd(d, &e->processes[process]);
		return NULL;
	}
	return shim == EVIDENCE_NONE ? "not asked: it is no daemon any more" : put_shim(d, shim);
}

static const char *refusal(int r)
{
	switch (r) {
	case -EOPNOTSUPP: return "not asked: it does not catch SIGUSR1, which would end it";
	case -EAGAIN: return "not asked: it is stopped and would answer only when it is continued";
	case -ESRCH: return "not asked: it has ended";
	case -ENOSYS:
		return "not asked: this kernel has no pidfds, without which a pid may be "
		       "somebody else's";
	case -EPERM:
	case -EACCES: return "not asked: not permitted, run it as root";
	default: return "not asked: the signal could not be sent";
	}
}

static struct proc_id id_of(const struct evidence_process *p)
{
	return (struct proc_id){ p->pid, p->start_ticks };
}

static void begin_target(struct dumps *d)
{
	const struct evidence_process *p = process_of(d);
	const char *why = NULL;
	int r = proc_would_catch(d->proc_fd, id_of(p), SIGUSR1);

	if (r < 0)
		why = refusal(r);
	else if (p->freezer != EVIDENCE_NONE)
		why = "not asked: it is frozen and would answer only when it is thawed";
	else if (!d->probe)
		why = "not asked: there is no probe to read what it would write";
	else
		why = put_places(d);
	if (why) {
		end_target(d, why);
		return;
	}
	d->state = DUMPS_BEFORE;
	d->place = 0;
	d->blocked[0] = '\0';
	look_at_place(d);
}

static bool can_read_some(const struct dumps *d)
{
	for (uint32_t i = 0; i < d->place_count; i++)
		if (d->places[i].can_be_read)
			return true;
	return false;
}

static void ask_process(struct dumps *d)
{
	struct goroutine_dump *dump = &d->dumps[d->current];
	int r;

	if (d->blocked[0] != '\0') {
		end_target(d,
			FMT("not asked: where it would write cannot be looked at: %.120s",
				d->blocked));
		return;
	}
	dump->at_ns = clock_now().real_ns;
	r = proc_signal_caught(d->proc_fd, id_of(process_of(d)), SIGUSR1);
	if (r < 0) {
		end_target(d, refusal(r));
		return;
	}
	dump->signalled = true;
	if (!can_read_some(d)) {
		end_target(d,
			"asked; its dump is in the log of the daemon, which is no file here: "
			"see the journal");
		return;
	}
	d->state = DUMPS_WAITING;
	d->target_due_ns = time_add(clock_now().mono_ns, TARGET_NS);
	d->place = 0;
	run_in(d, POLL_NS);
}

/* ---- looking ----------------------------------------------------------------------------- */

static struct version version_of(const struct probe_result *result)
{
	return (struct version){ .is_there = true,
		.device = result->device,
		.inode = result->inode,
		.size_bytes = result->size_bytes,
		.modified_ns = result->modified_ns };
}

static bool is_same(const struct version *a, const struct version *b)
{
	return a->is_there == b->is_there && a->device == b->device && a->inode == b->inode &&
		a->size_bytes == b->size_bytes && a->modified_ns == b->modified_ns;
}

/* Where everybody may write somebody else may have made a file of this name. */
static bool is_own(const struct dumps *d, uint32_t uid)
{
	struct stat st;

	return fstatat(d->proc_fd, FMT("%d", process_of(d)->pid), &st, 0) == 0 && st.st_uid == uid;
}

/* It has written something since it was asked, and nothing more since the last look. */
static bool is_written(struct dumps *d, struct place *place, const struct probe_result *result)
{
	struct version now = version_of(result);
	bool is_still = place->last.is_there && is_same(&now, &place->last);

	place->last = now;
	if (!is_still || is_same(&now, &place->before) || now.size_bytes == 0)
		return false;
	return place->is_log || is_own(d, result->uid);
}

static void read_on(struct dumps *d);

static void begin_reading(struct dumps *d)
{
	struct place *place = &d->places[d->place];
	bool goes_on = place->is_log && place->before.inode == place->last.inode &&
		place->before.size_bytes < place->last.size_bytes;

	place->at.offset = goes_on ? place->before.size_bytes : 0;
	buf_clear(&d->text);
	d->state = DUMPS_READING;
	read_on(d);
}

static void next_place(struct dumps *d)
{
	if (++d->place < d->place_count) {
		look_at_place(d);
		return;
	}
	d->place = 0;
	if (d->state == DUMPS_BEFORE)
		ask_process(d);
	else
		run_in(d, POLL_NS);
}

static void put_name(struct dumps *d, const struct place *place, const struct probe_answer *answer)
{
	char link[PROC_LINK_MAX] = "", *source = d->source[d->current];
	const char *end = strrchr(place->path, '/');

	source[0] = '\0';
	if (end)
		(void)str_format(source, PROC_LINK_MAX, "%.*s/%.*s", (int)(end - place->path),
			place->path, (int)answer->len, answer->bytes);
	else if (proc_read_fd_link(d->proc_fd, place->at.pid, 0, place->at.fd, link, sizeof(link)) >
		0)
		(void)str_format(source, PROC_LINK_MAX, "%s", link);
}

/* It hangs, or nobody was there to look: nothing is known of what a dump would do. */
static bool is_blocked(int r)
{
	return r == -ETIMEDOUT || r == -EAGAIN || r == -EBUSY || r == -EPIPE;
}

static void on_found(int r, const struct probe_answer *answer, const char *reason, void *userdata)
{
	struct dumps *d = userdata;
	struct place *place = &d->places[d->place];

	if (d->state == DUMPS_BEFORE) {
		place->can_be_read = r == 0 || (r == -ENOENT && !place->is_log);
		if (is_blocked(r))
			(void)str_format(d->blocked, sizeof(d->blocked), "%s", reason);
		if (r == 0)
			place->before = version_of(answer->result);
	} else if (r == 0 && is_written(d, place, answer->result)) {
		put_name(d, place, answer);
		begin_reading(d);
		return;
	}
	next_place(d);
}

static void look_at_place(struct dumps *d)
{
	struct place *place = &d->places[d->place];
	int r;

	if (d->state == DUMPS_WAITING && clock_now().mono_ns > d->target_due_ns) {
		end_target(d, "asked, and it has written no dump where it was looked for");
		return;
	}
	if (d->state == DUMPS_WAITING && !place->can_be_read) {
		next_place(d);
		return;
	}
	r = probe_find(d->probe, &place->at, *place->path ? place->path : NULL, LOOK_NS, on_found,
		d, NULL);
	if (r < 0)
		end_target(d,
			d->dumps[d->current].signalled ? "asked, and the probe takes no questions"
						       : "not asked: the probe takes no questions");
}

/* ---- reading ----------------------------------------------------------------------------- */

static void put_dump(struct dumps *d)
{
	struct goroutine_dump *dump = &d->dumps[d->current];
	const struct place *place = &d->places[d->place];
	const char *text = (const char *)d->text.data;
	int r = -EBADMSG;

	/* Other lines of a log come before the dump does, and pieces of it before the whole. */
	if (d->text.len > 0 &&
		(!place->is_log || dump->is_cut || goroutines_log_is_whole(text, d->text.len)))
		r = goroutines_parse(text, d->text.len, &dump->goroutines);
	if (r == -EBADMSG) {
		d->state = DUMPS_WAITING;
		next_place(d);
		return;
	}
	dump->source = r < 0 ? "" : d->source[d->current];
	end_target(d, r < 0 ? "asked; out of memory while it was read" : "");
}

static void on_bytes(int r, const struct probe_answer *answer, const char *reason, void *userdata)
{
	struct dumps *d = userdata;
	struct goroutine_dump *dump = &d->dumps[d->current];

	if (r < 0) {
		end_target(d, FMT("asked, and what it wrote cannot be read: %.120s", reason));
		return;
	}
	if (buf_append(&d->text, answer->bytes, answer->len) < 0) {
		dump->is_cut = true;
		put_dump(d);
		return;
	}
	if (answer->result->is_cut && answer->len > 0) {
		d->places[d->place].at.offset += answer->len;
		read_on(d);
		return;
	}
	put_dump(d);
}

static void read_on(struct dumps *d)
{
	struct place *place = &d->places[d->place];
	struct probe_place at = place->at;
	char path[PROC_LINK_MAX] = "";

	if (*place->path)
		(void)str_format(path, sizeof(path), "%s", d->source[d->current]);
	if (probe_file_at(d->probe, &at, *path ? path : NULL, READ_NS, on_bytes, d, NULL) < 0)
		end_target(d, "asked, and the probe takes no questions");
}

/* ---- life -------------------------------------------------------------------------------- */

int dumps_new(sd_event *loop, struct probe *probe, struct dumps **ret)
{
	CLEAN(dumps_freep) struct dumps *d = mem_zalloc(sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->loop = sd_event_ref(loop);
	d->probe = probe;
	d->text = BUF_INIT(DUMPS_BYTES_MAX);
	d->proc_fd = proc_open();
	if (d->proc_fd < 0)
		return d->proc_fd;
	r = sd_event_add_time(loop, &d->next, CLOCK_MONOTONIC, 0, ACCURACY_USEC, on_next, d);
	if (r >= 0)
		r = sd_event_source_set_enabled(d->next, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time(loop, &d->end, CLOCK_MONOTONIC, 0, ACCURACY_USEC, on_end, d);
	if (r >= 0)
		r = sd_event_source_set_enabled(d->end, SD_EVENT_OFF);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(d);
	return 0;
}

struct dumps *dumps_free(struct dumps *d)
{
	if (!d)
		return NULL;
	if (d->probe)
		probe_forget(d->probe, d);
	for (uint32_t i = 0; i < d->count; i++)
		d->dumps[i].goroutines = mem_free(d->dumps[i].goroutines);
	d->next = sd_event_source_disable_unref(d->next);
	d->end = sd_event_source_disable_unref(d->end);
	d->loop = sd_event_unref(d->loop);
	d->proc_fd = fd_close(d->proc_fd);
	buf_done(&d->text);
	return mem_free(d);
}

int dumps_start(struct dumps *d, const struct evidence *evidence, const struct findings *findings,
	uint64_t due_ns, void (*on_done)(void *userdata), void *userdata)
{
	int r;

	d->evidence = evidence;
	d->on_done = on_done;
	d->userdata = userdata;
	d->count = goroutines_choose(evidence, findings, d->processes, DUMPS_MAX);
	for (uint32_t i = 0; i < d->count; i++) {
		const struct evidence_process *p = &evidence->processes[d->processes[i]];

		d->dumps[i] =
			(struct goroutine_dump){ .pid = p->pid, .process = p->comm, .source = "" };
		say(d, i, "there was no time left");
	}
	r = sd_event_source_set_time(d->end, due_ns / NSEC_PER_USEC);
	if (r >= 0)
		r = sd_event_source_set_enabled(d->end, SD_EVENT_ONESHOT);
	if (r >= 0)
		run_in(d, 0);
	return r;
}

const struct goroutine_dump *dumps_get(const struct dumps *d, uint32_t *ret_count)
{
	*ret_count = d->count;
	return d->dumps;
}
