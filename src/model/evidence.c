#include "model/evidence.h"

#include <string.h>

#include "base/str.h"
#include "base/table.h"

#define CHUNK_BYTES    ((size_t)64 << 10)
#define FIRST_ELEMENTS 16u
/* Texts that are kept once however often they are given; later ones are copied each time. */
#define INTERN_MAX 65536u

struct text_chunk {
	struct text_chunk *next;
	size_t len;
	char data[];
};

/* What of one array is not told by its pointer and count. */
struct evidence_array {
	uint32_t room, max;
};

enum array {
	ARRAY_PROCESSES,
	ARRAY_THREADS,
	ARRAY_MOUNTS,
	ARRAY_FUSES,
	ARRAY_DEVICES,
	ARRAY_FREEZERS,
	ARRAY_HOLDERS,
	ARRAY_BUSIES,
	ARRAY_DAEMONS,
	ARRAY_SHIMS,
	ARRAY_CONTAINERS,
	ARRAY_GAPS,
	ARRAY_HUNGS,
	ARRAY_SPACES,
};
#define ARRAYS (ARRAY_SPACES + 1)

struct evidence_store {
	struct text_chunk *chunks; /* newest first */
	size_t chunk_room;         /* of the newest */
	size_t text_bytes;         /* of all */
	struct table interned;     /* text to itself */
	struct evidence_array arrays[ARRAYS];
};

/* --- names --- */

const char *evidence_answer_text(enum evidence_answer answer)
{
	switch (answer) {
	case ANSWER_NOT_ASKED: return "not asked";
	case ANSWER_OK: return "ok";
	case ANSWER_ERROR: return "error";
	case ANSWER_NOT_FOUND: return "not found";
	case ANSWER_LATE: return "late";
	case ANSWER_NO_SOCKET: return "no socket";
	case ANSWER_REFUSED: return "refused";
	case ANSWER_DENIED: return "denied";
	case ANSWER_GARBAGE: return "garbage";
	}
	return "invalid";
}

const char *evidence_daemon_text(enum evidence_daemon_kind kind)
{
	switch (kind) {
	case DAEMON_CONTAINERD: return "containerd";
	case DAEMON_DOCKERD: return "dockerd";
	case DAEMON_CRIO: return "cri-o";
	case DAEMON_CRI_DOCKERD: return "cri-dockerd";
	case DAEMON_KUBELET: return "kubelet";
	case DAEMON_OTHER: return "other";
	}
	return "invalid";
}

const char *evidence_pause_text(enum evidence_pause pause)
{
	switch (pause) {
	case PAUSE_UNKNOWN: return "unknown";
	case PAUSE_NO: return "no";
	case PAUSE_UNDERWAY: return "underway";
	case PAUSE_YES: return "yes";
	}
	return "unknown";
}

const char *evidence_hold_text(enum evidence_hold hold)
{
	switch (hold) {
	case HOLD_NAMESPACE: return "namespace";
	case HOLD_FD: return "fd";
	case HOLD_CWD: return "cwd";
	case HOLD_ROOT: return "root";
	case HOLD_PIN: return "pin";
	}
	return "invalid";
}

/* --- life --- */

struct evidence *evidence_new(void)
{
	static const uint32_t limits[ARRAYS] = {
		[ARRAY_PROCESSES] = EVIDENCE_PROCESSES_MAX,
		[ARRAY_THREADS] = EVIDENCE_THREADS_MAX,
		[ARRAY_CONTAINERS] = EVIDENCE_CONTAINERS_MAX,
	};
	CLEAN(mem_freep) struct evidence *e = mem_zalloc(sizeof(*e));
	struct evidence_store *s;

	if (!e)
		return NULL;
	s = mem_zalloc(sizeof(*s));
	if (!s)
		return NULL;
	s->interned = TABLE_INIT(INTERN_MAX);
	for (unsigned i = 0; i < ARRAYS; i++)
		s->arrays[i].max = limits[i] > 0 ? limits[i] : EVIDENCE_OTHERS_MAX;
	e->store = s;
	return TAKE_PTR(e);
}

struct evidence *evidence_free(struct evidence *e)
{
	if (!e)
		return NULL;
	if (!e->store) /* written by hand */
		return NULL;
	while (e->store->chunks) {
		struct text_chunk *chunk = e->store->chunks;

		e->store->chunks = chunk->next;
		(void)mem_free(chunk);
	}
	table_done(&e->store->interned);
	(void)mem_free(e->store);
	(void)mem_free(e->processes);
	(void)mem_free(e->threads);
	(void)mem_free(e->mounts);
	(void)mem_free(e->fuses);
	(void)mem_free(e->devices);
	(void)mem_free(e->freezers);
	(void)mem_free(e->holders);
	(void)mem_free(e->busies);
	(void)mem_free(e->daemons);
	(void)mem_free(e->shims);
	(void)mem_free(e->containers);
	(void)mem_free(e->gaps);
	(void)mem_free(e->hungs);
	(void)mem_free(e->spaces);
	return mem_free(e);
}

/* --- texts --- */

static struct text_chunk *chunk_for(struct evidence_store *s, size_t size)
{
	size_t room = size > CHUNK_BYTES ? size : CHUNK_BYTES;
	struct text_chunk *chunk;

	if (s->chunks && s->chunk_room - s->chunks->len >= size)
		return s->chunks;
	chunk = mem_alloc(sizeof(*chunk) + room);
	if (!chunk)
		return NULL;
	chunk->next = s->chunks;
	chunk->len = 0;
	s->chunks = chunk;
	s->chunk_room = room;
	return chunk;
}

const char *evidence_copy(struct evidence *e, const char *text, size_t len)
{
	struct evidence_store *s = e->store;
	struct text_chunk *chunk;
	const char *known;
	char *copy;

	if (len == 0)
		return "";
	known = table_get(&s->interned, text, len);
	if (known)
		return known;
	if (len >= EVIDENCE_TEXT_MAX - s->text_bytes) {
		e->left_out++;
		return "";
	}
	chunk = chunk_for(s, len + 1);
	if (!chunk) {
		e->left_out++;
		return "";
	}
	copy = chunk->data + chunk->len;
	memcpy(copy, text, len);
	copy[len] = '\0';
	chunk->len += len + 1;
	s->text_bytes += len + 1;
	(void)table_put(&s->interned, copy, len, copy);
	return copy;
}

const char *evidence_text(struct evidence *e, const char *text)
{
	return text ? evidence_copy(e, text, strlen(text)) : "";
}

/* --- arrays --- */

/* Room for one more in `*items`: its index, or EVIDENCE_NONE. */
static uint32_t grow(
	struct evidence *e, enum array which, void *items, size_t size, uint32_t *count)
{
	struct evidence_array *a = &e->store->arrays[which];
	void *old, *grown;

	if (*count < a->room)
		return (*count)++;
	if (*count < a->max) {
		uint32_t room = a->room ? a->room * 2 : FIRST_ELEMENTS;

		memcpy(&old, items, sizeof(old));
		grown = mem_resize(old, room, size);
		if (grown) {
			memcpy(items, &grown, sizeof(grown));
			a->room = room;
			return (*count)++;
		}
	}
	e->left_out++;
	return EVIDENCE_NONE;
}

#define ADD(which, items, count, init)                                                             \
	({                                                                                         \
		uint32_t index_ = grow(e, (which), &e->items, sizeof(*e->items), &e->count);       \
		if (index_ != EVIDENCE_NONE)                                                       \
			e->items[index_] = (init);                                                 \
		index_;                                                                            \
	})

static struct evidence_call no_call(void)
{
	return (struct evidence_call){ .method = "", .subject = "", .message = "" };
}

uint32_t evidence_add_process(struct evidence *e)
{
	return ADD(ARRAY_PROCESSES, processes, process_count,
		((struct evidence_process){
			.comm = "",
			.pids_path = "",
			.cpu_path = "",
			.state = '?',
			.parent = EVIDENCE_NONE,
			.cgroup = "",
			.freezer = EVIDENCE_NONE,
			.container = EVIDENCE_NONE,
			.memory = no_call(),
			.memory_wchan = "",
		}));
}

uint32_t evidence_add_thread(struct evidence *e)
{
	return ADD(ARRAY_THREADS, threads, thread_count,
		((struct evidence_thread){
			.process = EVIDENCE_NONE,
			.comm = "",
			.state = '?',
			.wchan = "",
			.stack = "",
			.fd = -1,
			.mount = EVIDENCE_NONE,
		}));
}

uint32_t evidence_add_mount(struct evidence *e)
{
	return ADD(ARRAY_MOUNTS, mounts, mount_count,
		((struct evidence_mount){
			.type = "",
			.source = "",
			.point = "",
			.fuse = EVIDENCE_NONE,
			.device = EVIDENCE_NONE,
			.container = EVIDENCE_NONE,
		}));
}

uint32_t evidence_add_fuse(struct evidence *e)
{
	return ADD(ARRAY_FUSES, fuses, fuse_count,
		((struct evidence_fuse){ .server = EVIDENCE_NONE, .mount = EVIDENCE_NONE }));
}

uint32_t evidence_add_device(struct evidence *e)
{
	return ADD(ARRAY_DEVICES, devices, device_count,
		((struct evidence_device){ .name = "", .state = "" }));
}

uint32_t evidence_add_freezer(struct evidence *e)
{
	return ADD(ARRAY_FREEZERS, freezers, freezer_count,
		((struct evidence_freezer){ .path = "", .file = "", .container = EVIDENCE_NONE }));
}

uint32_t evidence_add_holder(struct evidence *e)
{
	return ADD(ARRAY_HOLDERS, holders, holder_count,
		((struct evidence_holder){
			.mount = EVIDENCE_NONE, .process = EVIDENCE_NONE, .path = "" }));
}

uint32_t evidence_add_busy(struct evidence *e)
{
	return ADD(ARRAY_BUSIES, busies, busy_count,
		((struct evidence_busy){
			.path = "",
			.message = "",
			.mount = EVIDENCE_NONE,
			.container = EVIDENCE_NONE,
		}));
}

uint32_t evidence_add_daemon(struct evidence *e)
{
	return ADD(ARRAY_DAEMONS, daemons, daemon_count,
		((struct evidence_daemon){
			.kind = DAEMON_OTHER,
			.endpoint = "",
			.run_dir = "",
			.process = EVIDENCE_NONE,
			.posture.where = "",
			.version = no_call(),
			.list = no_call(),
			.tasks = no_call(),
		}));
}

uint32_t evidence_add_shim(struct evidence *e)
{
	return ADD(ARRAY_SHIMS, shims, shim_count,
		((struct evidence_shim){
			.process = EVIDENCE_NONE,
			.address = "",
			.bundle = "",
			.state = no_call(),
		}));
}

uint32_t evidence_add_container(struct evidence *e)
{
	return ADD(ARRAY_CONTAINERS, containers, container_count,
		((struct evidence_container){
			.id = "",
			.sandbox_id = "",
			.namespace = "",
			.pod = "",
			.pod_uid = "",
			.owner = "",
			.api_says = "",
			.container = "",
			.runtime_detail = "",
			.inspect = no_call(),
			.init = EVIDENCE_NONE,
			.shim = EVIDENCE_NONE,
			.daemon = EVIDENCE_NONE,
			.freezer = EVIDENCE_NONE,
		}));
}

uint32_t evidence_add_space(struct evidence *e)
{
	return ADD(ARRAY_SPACES, spaces, space_count,
		((struct evidence_space){
			.path = "", .daemon = EVIDENCE_NONE, .call = no_call() }));
}

uint32_t evidence_add_hung(struct evidence *e)
{
	return ADD(ARRAY_HUNGS, hungs, hung_count,
		((struct evidence_hung){ .comm = "", .thread = EVIDENCE_NONE }));
}

static void add_gap(
	struct evidence *e, const char *what, const char *why, const char *cure, bool is_small)
{
	struct evidence_gap gap = { evidence_text(e, what), evidence_text(e, why),
		evidence_text(e, cure), is_small };

	/* Whatever the reason for two of them, one line says it. */
	for (uint32_t i = 0; i < e->gap_count; i++)
		if (str_eq(e->gaps[i].what, gap.what) && str_eq(e->gaps[i].why, gap.why))
			return;
	(void)ADD(ARRAY_GAPS, gaps, gap_count, gap);
}

void evidence_add_gap(struct evidence *e, const char *what, const char *why, const char *cure)
{
	add_gap(e, what, why, cure, false);
}

void evidence_add_small_gap(struct evidence *e, const char *what, const char *why, const char *cure)
{
	add_gap(e, what, why, cure, true);
}

bool evidence_is_whole(const struct evidence *e)
{
	for (uint32_t i = 0; i < e->gap_count; i++)
		if (!e->gaps[i].is_small)
			return false;
	return !e->cut_short;
}

struct evidence_call evidence_call_copy(struct evidence *e, const struct evidence_call *call)
{
	return (struct evidence_call){
		.method = evidence_text(e, call->method),
		.subject = evidence_text(e, call->subject),
		.answer = call->answer,
		.age_ns = call->age_ns,
		.message = evidence_text(e, call->message),
	};
}
