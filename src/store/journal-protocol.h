/* What the agent and the journal role say to each other; see role/channel.h for the frame. */
#pragma once

#include <stdint.h>

#include "role/channel.h"

#define JOURNAL_EPOCH_MAX 40u
#define JOURNAL_PATH_MAX  4096u
#define JOURNAL_TEXT_MAX  400u

enum journal_message {
	JOURNAL_MSG_BATCH = CHANNEL_TYPE_FIRST, /* agent -> role: see store/batch.h */
	JOURNAL_MSG_ACK,                        /* role -> agent: struct journal_ack */
	JOURNAL_MSG_ASK,                        /* agent -> role: struct journal_ask */
	JOURNAL_MSG_ROWS,                       /* role -> agent: struct journal_rows; memfd */
	JOURNAL_MSG_NO_ROWS,                    /* role -> agent: struct journal_rows, no bytes */
	JOURNAL_MSG_PING,                       /* agent -> role */
	JOURNAL_MSG_PONG,                       /* role -> agent */
	JOURNAL_MSG_STATE,                      /* role -> agent: struct journal_word */
	JOURNAL_MSG_NOTE, /* role -> agent: struct journal_word; what people are to know, once */
};

/* How the file is doing. */
enum journal_condition {
	JOURNAL_OPENING, /* not tried yet */
	JOURNAL_OK,      /* open, and the last write went well */
	JOURNAL_FULL,    /* no space on its filesystem */
	JOURNAL_READ_ONLY,
	JOURNAL_DENIED, /* permissions; somebody else's */
	JOURNAL_NEWER,  /* written by a newer pleg; left alone */
	JOURNAL_LOCKED, /* another process has it open */
	JOURNAL_FAILED, /* anything else, the text says what */
};
#define JOURNAL_CONDITIONS 8u

/* The start message: this, then the path of the state directory. */
struct journal_start {
	uint64_t max_age_ns, max_bytes;
	uint64_t check_ns; /* how often somebody is looked for who moved or cut the files */
};

struct journal_word {
	uint32_t condition;
	char text[JOURNAL_TEXT_MAX]; /* "" or why; ends with a NUL */
};

/* `code` 0: all of the batch is committed; else nothing is, for that reason. */
struct journal_ack {
	int32_t code;
	uint32_t reserved;
	uint64_t highest; /* sequence of the last event of the batch; 0: it had none */
};

enum store_phase {
	STORE_QUERY_START,
	STORE_QUERY_COUNT, /* backwards, for a limit */
	STORE_QUERY_READ,
	STORE_QUERY_MORE, /* what was written since the answer ended */
};
#define STORE_PHASES 4u

/* Where a query stands; made by the role, handed back by the agent. All zero to begin with. */
struct journal_position {
	uint32_t phase; /* enum store_phase */
	uint32_t reserved;
	uint64_t at, low, upto, counted;
};

enum journal_what {
	JOURNAL_EVENTS,    /* lines of events */
	JOURNAL_INCIDENTS, /* lines of incidents, without their documents */
	JOURNAL_INCIDENT,  /* those whose ids begin with `id`, with their documents */
};
#define JOURNAL_WHATS 3u

struct journal_ask {
	int64_t since_ns, until_ns; /* wall clock; 0: no such limit */
	uint64_t limit;             /* the newest so many; 0: all */
	struct journal_position position;
	uint32_t kubelet; /* only what a kubelet's PLEG would have sent */
	uint32_t what;    /* enum journal_what; of incidents only since, limit, open and id count */
	char ns[256], pod[256], container[256]; /* "": all; each ends with a NUL */
	char id[64];
	uint32_t open; /* only incidents that go on */
	uint32_t reserved;
};

struct journal_rows {
	int32_t code; /* negative errno: why there are none */
	uint32_t done;
	struct journal_position position; /* where to go on */
	char text[JOURNAL_TEXT_MAX];
};
