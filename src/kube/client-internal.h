/* What the files of the client share. */
#pragma once

#include <curl/curl.h>
#include <systemd/sd-event.h>

#include "kube/client.h"

/* What the kernel said of a connection when it was closed. */
struct connection_end {
	unsigned port; /* ours; 0: none */
	bool has_tcp;
	uint32_t unacked, retransmits, backoff; /* as TCP_INFO has them */
	uint64_t ack_ns;                        /* since the last acknowledgement */
	uint64_t age_ns;                        /* 0: not known */
};

struct kube_client {
	sd_event *event;
	sd_event_source *timer; /* libcurl's */
	CURLM *multi;
	struct socket_source *sockets;
	struct connection *connections;
	struct connection_end ends[8]; /* the last ones, in a ring */
	unsigned end_count;
	struct stale_check *check;
	uint64_t suspect_ns; /* what is older is not used any more; monotonic; 0: nothing is */
	char *base;          /* scheme, host as TLS is to see it, port, path without the last '/' */
	char *connect_to;    /* where that host really is; NULL: there */
	char *ca_pem, *proxy, *user_agent;
	bool insecure;
	char *authorization, *cert_pem, *key_pem; /* of the credential; NULL: none */
	uint64_t random, connect_ns;
	struct kube_call *calls;
	struct kube_watch *watches;
	size_t call_count;
	struct kube_client_stats stats;
	void (*on_unauthorized)(struct kube_client *client, void *userdata);
	void (*on_stale)(struct kube_client *client, const struct api_stale *stale, void *userdata);
	void *userdata;
};

#define TRANSFER_END_MAX 64u

struct transfer_result {
	enum kube_error error;
	unsigned http;
	bool is_reused;    /* the connection was there before */
	bool has_answered; /* something came */
	uint64_t retry_after_ns;
	struct api_timings timings;
	char text[KUBE_TEXT];
};

/* One try of one exchange. */
struct transfer {
	struct kube_client *client;
	CURL *easy; /* NULL: none under way */
	struct curl_slist *headers, *connect_to;
	uint64_t began_ns, handshake_ns; /* 0: no handshake has begun */
	bool is_connected;               /* and its request may be sent */
	unsigned local_port;
	char local[TRANSFER_END_MAX], remote[TRANSFER_END_MAX]; /* "10.0.0.7:41234"; "" before */
	char text[CURL_ERROR_SIZE];
	/* From within libcurl: nothing of the client may be called. Negative ends the transfer. */
	int (*on_bytes)(struct transfer *t, unsigned http, const void *data, size_t len);
	/* The same, when the headers of an answer are whole. May be NULL. */
	void (*on_headers)(struct transfer *t, unsigned http);
	/* It is no longer under way; `t` may be started again or freed. */
	void (*on_done)(struct transfer *t, const struct transfer_result *result);
};

/* `url` beneath the client's base; `body` is borrowed until it is done. */
struct transfer_spec {
	const char *method, *url, *content_type;
	const void *body;
	size_t body_len;
	uint64_t timeout_ns;
	bool is_fresh; /* over a new connection */
};

int transfer_start(struct transfer *t, const struct transfer_spec *spec);
void transfer_stop(struct transfer *t);

int client_open_multi(struct kube_client *client);
void client_close_multi(struct kube_client *client);
uint64_t client_random(struct kube_client *client);
/* The wait before try number `failures` + 1. */
uint64_t client_wait_ns(struct kube_client *client, unsigned failures, uint64_t max_ns);

void connection_begin(struct kube_client *client, int fd);
int connection_close(struct kube_client *client, int fd);
/* NULL: none of this port has ended of late. */
const struct connection_end *connection_find_end(const struct kube_client *client, unsigned port);
void connections_done(struct kube_client *client);

#define STALE_WATCH_NS (150 * NSEC_PER_SEC) /* without a word on a watch that had some */

/* 0 or -ENOMEM; stale_free() accepts what stale_new() has not made. */
int stale_new(struct kube_client *client);
void stale_free(struct kube_client *client);
/* A try has failed, or a stream has ended that was heard last at `heard_ns`: was it the connection? */
void stale_look_at_call(const struct transfer *t, const char *method, const char *url,
	const struct transfer_result *result);
void stale_look_at_watch(
	const struct transfer *t, const char *url, uint64_t heard_ns, bool was_told);
/* Those on which nothing has come since are opened anew, where they were. */
void watches_reopen_silent(struct kube_client *client, uint64_t since_ns);
