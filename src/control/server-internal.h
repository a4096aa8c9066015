/*
 * Between the files of the control socket's server: server.c has the clients, past.c brings them old
 * events. A client's fields are server.c's, but `past`.
 */
#pragma once

#include <sys/queue.h>

#include "control/control.h"
#include "control/listen.h"

struct sync_subscriber;

enum client_state {
	CLIENT_REQUEST, /* sends its request line */
	CLIENT_PAST,    /* reads events that another room brings, a part at a time */
	CLIENT_STREAM,  /* reads events */
	CLIENT_LAST,    /* what is in the buffer is all; closed when it is written */
};

/* Old events on their way to a client. */
struct past {
	void *query;     /* of control_ops; NULL: none, or no more */
	uint64_t next;   /* sequence of this epoch behind the last that was brought */
	uint64_t covers; /* when the last answer had ended */
	bool is_asked;   /* a part is under way */
	bool is_done;    /* that was the last one there is by now */
	bool has_more;   /* what came since was asked for */
	bool has_begun;  /* the first line is written */
};

struct client {
	TAILQ_ENTRY(client) link;
	struct control_server *server;
	enum client_state state;
	int fd;
	sd_event_source *io, *timer;
	struct buf in, out;
	size_t out_at; /* written so far */
	struct sync_subscriber *subscriber;
	bool follow;
	bool past_only; /* what is brought is all there is: no stream after it */
	bool input_closed;
	uint64_t end;     /* without follow: last sequence of the stream */
	int64_t since_ns; /* wall clock: none up to `end` that is older */
	struct past past;
};

TAILQ_HEAD(client_list, client);

struct control_server {
	struct control_listen listen;
	struct control_limits limits;
	struct control_ops ops;
	void *userdata;
	sd_event *loop;
	struct sync_loop *events;
	sd_event_source *accept, *accept_again;
	struct client_list clients;
	struct control_stats stats;
};

/* ---- server.c ---------------------------------------------------------------------------- */

/* Instead of an answer; it is closed once that is written. */
void client_refuse(struct client *c, int code, const char *text);
void client_set_state(struct client *c, enum client_state state);
/* The first line of a stream. `journal`: why there are no old events, NULL if there are, "" where
 * nobody asked for them. */
int client_begin_stream(struct client *c, const char *journal);
/* Fills and writes until there is no room, nothing left, or the turn is over. False: gone. */
bool client_step(struct client *c);

/* ---- past.c ------------------------------------------------------------------------------ */

/* Asks for the past; the client's subscriber, `end` and `since_ns` are set. It becomes CLIENT_PAST, or
 * CLIENT_STREAM where there is no past. */
void past_begin(struct client *c, const struct control_request *request);
/* Of CLIENT_PAST whose buffer is empty: asks for the next part, or goes over to CLIENT_STREAM. */
void past_go_on(struct client *c);
void past_done(struct client *c);
