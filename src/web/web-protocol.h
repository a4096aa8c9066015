/* What the agent and the web role say to each other; see role/channel.h for the frame. */
#pragma once

#include <stdint.h>

#include "role/channel.h"
#include "web/web-agent.h"

/* Kinds beyond enum web_snapshot: questions with a yes or a no and a reason. */
#define WEB_ASK_LIVE    4u /* the loop turns */
#define WEB_ASK_READY   5u
#define WEB_ASK_HEALTHY 6u
#define WEB_KINDS       7u

enum web_message {
	WEB_MSG_GET = CHANNEL_TYPE_FIRST, /* role -> agent: struct web_get */
	WEB_MSG_GOT,                      /* agent -> role: struct web_got; fd: sealed memfd */
	WEB_MSG_SAID,                     /* agent -> role: struct web_got, without bytes */
	WEB_MSG_PING,                     /* agent -> role */
	WEB_MSG_PONG,                     /* role -> agent */
};

struct web_get {
	uint32_t kind;
	uint32_t reserved; /* 0 */
	struct web_query query;
};

struct web_got {
	int32_t code;   /* 0: the bytes, or yes; negative errno: why not */
	char text[508]; /* the reason, for people; ends with a NUL */
};

#define WEB_TOKEN_MIN 16u
#define WEB_TOKEN_MAX 1024u
#define WEB_HOST_MAX  256u
#define WEB_CERT_MAX  32768u
#define WEB_KEY_MAX   16384u

/* The start message, with texts as in role/texts.h: token, host, certificate, key; descriptors: the
 * listeners that there are, metrics first. Each is loopback or has TLS and a token. */
struct web_start {
	uint32_t lens[4];
	uint32_t has_metrics, has_http;
	uint32_t metrics_loopback, http_loopback;
};
