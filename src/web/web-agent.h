/*
 * The web role as the agent sees it: opens the listeners and the credential files, starts
 * `pleg-web` with them and answers what it asks for. The role itself opens nothing and knows
 * nothing; every page is made here, by the callbacks, at most four times per second and kind.
 *
 * Nothing but loopback addresses is served without TLS and a token: such a configuration is refused
 * here, and by the role again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/mem.h"

typedef struct sd_event sd_event;
struct err;
struct role_spawner;
struct role_status;
struct web;

enum web_snapshot {
	WEB_METRICS, /* Prometheus text 0.0.4 */
	WEB_STATUS,  /* the status document of docs/json.md */
	WEB_PODS,    /* the pods document */
	WEB_EVENTS,  /* one event object per line, oldest first; see struct web_query */
};
#define WEB_SNAPSHOTS 4

#define WEB_SNAPSHOT_MAX (64u * 1024u * 1024u) /* a longer snapshot is answered with 503 */
#define WEB_EVENTS_TAIL  1000u                 /* `tail` unless the client says otherwise */

/* Zeroes and empty strings, except for WEB_EVENTS. */
struct web_query {
	uint64_t tail; /* at most so many of the newest */
	char ns[256];  /* only of this namespace; "": of all */
	char pod[256]; /* only of this pod; "": of all */
};

struct web_ops {
	/* Appends the bytes to `*ret`. Negative errno: the client gets 503. Must not block. */
	int (*snapshot)(void *userdata, enum web_snapshot kind, const struct web_query *query,
		struct buf *ret);
	/* The first relist is done. Else `reason` says what is missing. */
	bool (*ready)(void *userdata, char *reason, size_t reason_size);
	/* The verdict. Else `reason` is the kubelet's message. */
	bool (*healthy)(void *userdata, char *reason, size_t reason_size);
	/* The role changed its state: `state` is a word of role_state_name(), `reason` may be "".
	 * May be NULL. */
	void (*on_state)(void *userdata, const char *state, const char *reason);
};

struct web_config {
	const char *metrics_address; /* "127.0.0.1:10269", "[::1]:10269"; NULL or "": none */
	const char *http_address;    /* "127.0.0.1:10270"; NULL or "": none */
	const char *host;            /* one more name that `Host` may carry; NULL: none */
	const char *token_file;      /* NULL: no token is asked for (loopback only) */
	const char *cert_file;       /* PEM; both or neither */
	const char *key_file;
	int exe_fd; /* of pleg-web, from role_exe_open(); borrowed, must outlive the web */
	uid_t uid;  /* unprivileged ids; ignored when the agent itself is not root */
	gid_t gid;
};

/* Opens listeners and files and starts the role. All strings are copied; `ops` is borrowed. Reading
 * the files may block, so this belongs to the start. Errors name the key and the cause. */
int web_new(sd_event *event, struct role_spawner *spawner, const struct web_config *config,
	const struct web_ops *ops, void *userdata, struct web **ret, struct err *reterr);
/* Ends the role, closes the listeners. Not from inside a callback. Returns NULL. */
struct web *web_free(struct web *web);

DEFINE_FREEP(struct web *, web_free)

void web_status(const struct web *web, struct role_status *ret);
/* The ports that are served, for addresses with port 0; 0 where there is none. */
void web_ports(const struct web *web, uint16_t *ret_metrics, uint16_t *ret_http);
