#include "kube/client-internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/str.h"
#include "kube/credential.h"

#define UNAUTHORIZED_WAIT_NS (5 * NSEC_PER_SEC) /* for a newer credential */

struct kube_call {
	struct transfer transfer; /* first: it is what libcurl's side knows */
	struct kube_client *client;
	struct kube_call *previous, *next;
	sd_event_source *retry;
	char *method, *url, *content_type;
	struct buf body, answer;
	uint64_t due_ns; /* the deadline */
	unsigned tries, tries_max;
	bool asked; /* for a newer credential */
	bool waits; /* for it */
	kube_answer_fn on_answer;
	void *userdata;
};

/* --- chance --- */

uint64_t client_random(struct kube_client *client)
{
	uint64_t x = client->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	client->random = x;
	return x * UINT64_C(0x2545f4914f6cdd1d);
}

uint64_t client_wait_ns(struct kube_client *client, unsigned failures, uint64_t max_ns)
{
	uint64_t wait_ns = KUBE_RETRY_FIRST_NS << (failures < 16 ? failures : 16);

	wait_ns = time_min(wait_ns, max_ns);
	return wait_ns / 2 + client_random(client) % (wait_ns / 2);
}

/* --- life --- */

/* The base and, where TLS is to see another name, where to connect. */
static int set_base(struct kube_client *c, const struct kube_target *target)
{
	CURLU *url = curl_url();
	char *host = NULL, *port = NULL, *whole = NULL, where[1100];
	CURLUcode code;
	size_t len;

	code = url ? curl_url_set(url, CURLUPART_URL, target->server, 0) : CURLUE_OUT_OF_MEMORY;
	if (code == CURLUE_OK && target->tls_server_name) {
		code = curl_url_get(url, CURLUPART_HOST, &host, 0);
		if (code == CURLUE_OK)
			code = curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT);
		if (code == CURLUE_OK)
			code = curl_url_set(url, CURLUPART_HOST, target->tls_server_name, 0);
		if (code == CURLUE_OK) {
			(void)snprintf(where, sizeof(where), "::%.1000s:%s", host, port);
			c->connect_to = mem_strdup(where);
		}
	}
	if (code == CURLUE_OK)
		code = curl_url_get(url, CURLUPART_URL, &whole, 0);
	c->base = whole ? mem_strdup(whole) : NULL;
	curl_free(host);
	curl_free(port);
	curl_free(whole);
	curl_url_cleanup(url);
	if (code != CURLUE_OK && code != CURLUE_OUT_OF_MEMORY)
		return -EINVAL;
	if (!c->base || (target->tls_server_name && !c->connect_to))
		return -ENOMEM;
	for (len = strlen(c->base); len > 0 && c->base[len - 1] == '/'; len--)
		c->base[len - 1] = '\0';
	return 0;
}

static int copy(char **at, const char *text)
{
	*at = text ? mem_strdup(text) : NULL;
	return text && !*at ? -ENOMEM : 0;
}

int kube_client_new(sd_event *event, const struct kube_client_options *options,
	struct kube_client **ret, struct err *reterr)
{
	CLEAN(kube_client_freep) struct kube_client *c = mem_zalloc(sizeof(*c));
	const struct kube_target *target = &options->target;
	int r;

	if (!c)
		return -ENOMEM;
	c->event = sd_event_ref(event);
	c->random = options->seed | 1;
	c->connect_ns = options->connect_ns > 0 ? options->connect_ns : KUBE_CONNECT_NS;
	c->on_unauthorized = options->on_unauthorized;
	c->on_stale = options->on_stale;
	c->userdata = options->userdata;
	c->insecure = target->insecure;
	r = set_base(c, target);
	if (r == -EINVAL)
		return err_set(reterr, r, "Server '%s' is not a URL", target->server);
	if (r >= 0)
		r = copy(&c->ca_pem, target->ca_pem);
	if (r >= 0)
		r = copy(&c->proxy, target->proxy_url);
	if (r >= 0)
		r = copy(&c->user_agent, options->user_agent ? options->user_agent : "pleg");
	if (r >= 0)
		r = client_open_multi(c);
	if (r >= 0)
		r = stale_new(c);
	if (r < 0)
		return err_set(
			reterr, r, "Make the client of the API server: %s", err_text(NULL, r));
	*ret = TAKE_PTR(c);
	return 0;
}

static void drop_credential(struct kube_client *c)
{
	if (c->authorization)
		explicit_bzero(c->authorization, strlen(c->authorization));
	if (c->key_pem)
		explicit_bzero(c->key_pem, strlen(c->key_pem));
	c->authorization = mem_free(c->authorization);
	c->cert_pem = mem_free(c->cert_pem);
	c->key_pem = mem_free(c->key_pem);
}

struct kube_client *kube_client_free(struct kube_client *c)
{
	if (!c)
		return NULL;
	while (c->calls)
		(void)kube_call_cancel(c->calls);
	while (c->watches)
		(void)kube_watch_free(c->watches);
	stale_free(c);
	client_close_multi(c);
	connections_done(c);
	drop_credential(c);
	(void)mem_free(c->base);
	(void)mem_free(c->connect_to);
	(void)mem_free(c->ca_pem);
	(void)mem_free(c->proxy);
	(void)mem_free(c->user_agent);
	c->event = sd_event_unref(c->event);
	return mem_free(c);
}

int kube_client_set_credential(struct kube_client *c, const struct kube_credential *credential)
{
	int r = 0;

	drop_credential(c);
	if (credential->bearer) {
		static const char start[] = "Authorization: Bearer ";
		size_t size = sizeof(start) + strlen(credential->bearer);

		c->authorization = mem_alloc(size);
		if (!c->authorization)
			return -ENOMEM;
		(void)snprintf(c->authorization, size, "%s%s", start, credential->bearer);
	}
	r = copy(&c->cert_pem, credential->cert_pem);
	if (r >= 0)
		r = copy(&c->key_pem, credential->key_pem);
	for (struct kube_call *call = c->calls; call; call = call->next)
		if (call->waits)
			(void)sd_event_source_set_time_relative(call->retry, 0);
	return r;
}

void kube_client_stats(const struct kube_client *c, struct kube_client_stats *ret)
{
	*ret = c->stats;
}

/* --- one request --- */

static void call_free(struct kube_call *call)
{
	struct kube_client *c = call->client;

	transfer_stop(&call->transfer);
	call->retry = sd_event_source_disable_unref(call->retry);
	(void)mem_free(call->method);
	(void)mem_free(call->url);
	(void)mem_free(call->content_type);
	buf_done(&call->body);
	buf_done(&call->answer);
	if (call->previous)
		call->previous->next = call->next;
	else if (c->calls == call)
		c->calls = call->next;
	if (call->next)
		call->next->previous = call->previous;
	c->call_count--;
	(void)mem_free(call);
}

struct kube_call *kube_call_cancel(struct kube_call *call)
{
	if (call)
		call_free(call);
	return NULL;
}

static void finish(struct kube_call *call, const struct transfer_result *result)
{
	const char *body = buf_string(&call->answer);
	struct kube_answer answer = {
		.error = result->error,
		.http = result->http,
		.body = str_or_empty(body),
		.body_len = body ? call->answer.len : 0,
		.retry_after_ns = result->retry_after_ns,
		.timings = result->timings,
		.tries = call->tries,
		.text = result->text,
	};
	char text[KUBE_TEXT];

	if (result->error == KUBE_TOO_LARGE) {
		(void)snprintf(text, sizeof(text), "The answer is larger than %zu bytes",
			call->answer.max_bytes - 1);
		answer.text = text;
	}
	if (result->error != KUBE_OK || result->http >= 500)
		call->client->stats.failures++;
	/* The callback may do all but free the client; nobody can reach this call any more but by
	 * a cancel that it must not do. */
	call->on_answer(&answer, call->userdata);
	call_free(call);
}

static bool may_try_again(const struct kube_call *call, const struct transfer_result *result)
{
	bool is_get = str_eq(call->method, "GET");

	switch (result->error) {
	case KUBE_OK:
		return result->http == 429 ||
			(result->http >= 500 && (is_get || result->retry_after_ns > 0));
	case KUBE_DNS:
	case KUBE_CONNECT: return true;
	case KUBE_TIMEOUT:
	case KUBE_RESET: return is_get;
	case KUBE_TLS:
	case KUBE_TOO_LARGE:
	case KUBE_CREDENTIAL:
	case KUBE_OTHER: return false;
	}
	return false;
}

/* False: there is no time for it. */
static bool wait_for(struct kube_call *call, uint64_t wait_ns)
{
	uint64_t now_ns = clock_now().mono_ns;

	if (time_add(now_ns, wait_ns) >= call->due_ns)
		return false;
	(void)sd_event_source_set_time_relative(call->retry, wait_ns / NSEC_PER_USEC);
	return sd_event_source_set_enabled(call->retry, SD_EVENT_ONESHOT) >= 0;
}

static void on_try_done(struct transfer *t, const struct transfer_result *result)
{
	struct kube_call *call = (struct kube_call *)t;
	struct kube_client *c = call->client;
	uint64_t wait_ns;

	stale_look_at_call(t, call->method, call->url, result);
	if (result->error == KUBE_OK && result->http == 401) {
		c->stats.unauthorized++;
		if (!call->asked && c->on_unauthorized && wait_for(call, UNAUTHORIZED_WAIT_NS)) {
			call->asked = call->waits = true;
			c->on_unauthorized(c, c->userdata);
			return;
		}
	}
	if (call->tries < call->tries_max && may_try_again(call, result)) {
		wait_ns = client_wait_ns(c, call->tries - 1, KUBE_RETRY_MAX_NS);
		if (result->retry_after_ns > 0)
			wait_ns += time_min(result->retry_after_ns, KUBE_AFTER_MAX_NS);
		if (wait_for(call, wait_ns)) {
			c->stats.retries++;
			return;
		}
	}
	finish(call, result);
}

static int on_bytes(struct transfer *t, unsigned http, const void *data, size_t len)
{
	struct buf *b = &((struct kube_call *)t)->answer;

	/* Its maximum has room for a NUL too. */
	return len >= b->max_bytes - b->len ? -EMSGSIZE : buf_append(b, data, len);
}

static int try_once(struct kube_call *call)
{
	call->waits = false;
	call->tries++;
	call->client->stats.requests++;
	buf_clear(&call->answer);
	return transfer_start(&call->transfer,
		&(struct transfer_spec){
			.method = call->method,
			.url = call->url,
			.content_type = call->content_type,
			.body = call->body.data,
			.body_len = call->body.len,
			.timeout_ns = time_since(call->due_ns, clock_now().mono_ns),
		});
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct kube_call *call = userdata;
	struct transfer_result result = { .error = KUBE_OTHER, .text = "Out of memory" };

	if (try_once(call) < 0)
		finish(call, &result);
	return 0;
}

static int fill(struct kube_call *call, const struct kube_request *request)
{
	char url[3072];
	int r;

	if (snprintf(url, sizeof(url), "%s%s%s", request->path, request->query ? "?" : "",
		    str_or_empty(request->query)) >= (int)sizeof(url))
		return -ENAMETOOLONG;
	r = copy(&call->url, url);
	if (r >= 0)
		r = copy(&call->method, request->method ? request->method : "GET");
	if (r >= 0)
		r = copy(&call->content_type, request->content_type);
	if (r >= 0 && request->body)
		r = buf_append(&call->body, request->body, request->body_len);
	return r;
}

int kube_request(struct kube_client *c, const struct kube_request *request,
	kube_answer_fn on_answer, void *userdata, struct kube_call **ret)
{
	struct kube_call *call;
	int r;

	if (c->call_count >= KUBE_CALLS_MAX)
		return -EBUSY;
	call = mem_zalloc(sizeof(*call));
	if (!call)
		return -ENOMEM;
	call->client = call->transfer.client = c;
	call->transfer.on_bytes = on_bytes;
	call->transfer.on_done = on_try_done;
	call->on_answer = on_answer;
	call->userdata = userdata;
	call->tries_max = request->tries > 0 ? request->tries : KUBE_TRIES;
	call->body = BUF_INIT(request->body_len);
	call->answer = BUF_INIT((request->size_max > 0 ? request->size_max : KUBE_SIZE_MAX) + 1);
	call->due_ns = time_add(clock_now().mono_ns,
		request->deadline_ns > 0 ? request->deadline_ns : KUBE_DEADLINE_NS);
	call->next = c->calls;
	if (c->calls)
		c->calls->previous = call;
	c->calls = call;
	c->call_count++;
	r = fill(call, request);
	if (r >= 0)
		r = sd_event_add_time_relative(
			c->event, &call->retry, CLOCK_MONOTONIC, 0, 1000, on_retry, call);
	if (r >= 0)
		r = sd_event_source_set_enabled(call->retry, SD_EVENT_OFF);
	if (r >= 0)
		r = try_once(call);
	if (r < 0) {
		call_free(call);
		return r;
	}
	if (ret)
		*ret = call;
	return 0;
}
