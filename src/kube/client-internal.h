/* What the files of the client share. */
#pragma once

#include <curl/curl.h>
#include <systemd/sd-event.h>

#include "kube/client.h"

struct kube_client {
	sd_event *event;
	sd_event_source *timer; /* libcurl's */
	CURLM *multi;
	struct socket_source *sockets;
	char *base;       /* scheme, host as TLS is to see it, port, path without the last '/' */
	char *connect_to; /* where that host really is; NULL: there */
	char *ca_pem, *proxy, *user_agent;
	bool insecure;
	char *authorization, *cert_pem, *key_pem; /* of the credential; NULL: none */
	uint64_t random, connect_ns;
	struct kube_call *calls;
	struct kube_watch *watches;
	size_t call_count;
	struct kube_client_stats stats;
	void (*on_unauthorized)(struct kube_client *client, void *userdata);
	void *userdata;
};

struct transfer_result {
	enum kube_error error;
	unsigned http;
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
};

int transfer_start(struct transfer *t, const struct transfer_spec *spec);
void transfer_stop(struct transfer *t);

int client_open_multi(struct kube_client *client);
void client_close_multi(struct kube_client *client);
uint64_t client_random(struct kube_client *client);
/* The wait before try number `failures` + 1. */
uint64_t client_wait_ns(struct kube_client *client, unsigned failures);
