/*
 * What a runtime's event stream tells: hints. A hint wakes whoever looks; it never is the state
 * itself (law 1), since streams repeat, reorder and lose.
 *
 * Two kinds of stream tell the same hints: containerd's own (containerd.h) and CRI's
 * GetContainerEvents (cri-events.h).
 *
 * That a stream is up says that the server took the subscription, not that it is alive now: a
 * silent stream and one of a stopped server look the same. Who needs to know asks the server
 * something else.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/* Ids of containers: 64 with CRI, at most 76 with containerd. A longer one is malformed. */
#define HINT_ID_MAX 127

enum hint_type {
	HINT_CREATE,
	HINT_START,
	HINT_EXIT,
	HINT_DELETE,
	HINT_OOM, /* something in the container was killed for its memory limit */
	HINT_PAUSED,
	HINT_RESUMED,
};

const char *hint_type_text(enum hint_type type); /* "create", "exit", ... */

struct hint {
	enum hint_type type;
	char container_id[HINT_ID_MAX + 1]; /* of a container or of a sandbox; printable ASCII */
	bool is_init;       /* false: the exit of a process that was exec'd in the container */
	int32_t pid;        /* of that process; 0 if not told */
	bool has_exit_code; /* with EXIT and DELETE */
	int32_t exit_code;  /* as a shell has it: 128 + signal for a signal. containerd makes up 137
			       * for a container whose shim has died */
	int64_t exited_at_ns; /* wall clock, 0 if not told */
	int64_t sent_at_ns;   /* wall clock of the sender, 0 if not told; may be long ago */
};

enum hint_news {
	HINT_STREAM_DOWN,   /* it broke, or could not be opened; it is opened again by itself */
	HINT_STREAM_UP,     /* subscribed. All before now may have been missed: list anew */
	HINT_STREAM_GAP,    /* still up, but something could not be read: list anew */
	HINT_STREAM_ABSENT, /* the server answers, and has no such stream. Asked again slowly */
};

struct hint_callbacks {
	/* May come before HINT_STREAM_UP. */
	void (*on_hint)(void *userdata, const struct hint *hint);
	/* Each change is told once; `why` is for people and valid during the call. */
	void (*on_stream)(void *userdata, enum hint_news news, const char *why);
};

struct hint_statistics {
	bool is_up, is_absent;
	uint64_t opened;     /* subscriptions sent */
	uint64_t broken;     /* of these, ended after they had been up */
	uint64_t told;       /* hints handed out */
	uint64_t duplicates; /* the same once more, dropped */
	uint64_t malformed;  /* messages that could not be read, dropped */
	uint64_t foreign;    /* of another namespace, dropped */
	uint64_t unknown;    /* of a type that we do not know, dropped */
	uint64_t oversize;   /* messages over the limit; each ended the stream */
	uint64_t last_ns;    /* monotonic time of the last message; 0 if none */
};

/* False for what cannot be an id: empty, longer than HINT_ID_MAX, or not printable ASCII. */
bool hint_id_copy(struct slice id, char out[HINT_ID_MAX + 1]);

/* Of so many hints it is known whether they came before. */
#define HINT_RECENT 64

/* The newest hints, by their hashes: a ring. Zero is an empty one. */
struct hint_recent {
	uint64_t hashes[HINT_RECENT];
	size_t count;
};

/* Whether the same came before; if not, it has now. What has no time is never the same. */
bool hint_is_known(struct hint_recent *recent, const struct hint *hint);
