/*
 * The kernel's process event connector: which processes have just exited. A hint and no proof: the
 * exit of a thread-group leader is told also while a thread of it lives, with a false status (law
 * 3), so nothing but the pid is passed on. pleg works without it; with it a dead leader with a
 * living thread is noticed at once and not by the next rotation (kernel/pidfd.h).
 *
 * A filter in the kernel lets only exits of leaders through. Under more than `rate_max` of them in a
 * second it switches itself off, says so, and tries again later, each time after a longer pause.
 * When the kernel had to drop some (ENOBUFS), on_rescan is called.
 *
 * It does not exist in every kernel, and it works only in the first network namespace and in the
 * first pid and user namespaces, before 6.6 with CAP_NET_ADMIN only. In others the kernel says
 * nothing at all, hence the deadline for its first word.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

typedef struct sd_event sd_event;
struct connector;

enum connector_state {
	CONNECTOR_OFF,         /* not started */
	CONNECTOR_STARTING,    /* asked the kernel, which has not answered */
	CONNECTOR_ON,          /* hints come */
	CONNECTOR_FLOODED,     /* too many exits: off for a while */
	CONNECTOR_UNAVAILABLE, /* does not work here; not tried again */
};

const char *connector_state_text(enum connector_state state); /* "off", "starting", ... */

struct connector_config {
	uint32_t rate_max; /* exits in a second; 0: 1000 */
	uint64_t retry_ns; /* the first pause after a flood, doubling to 16 times it; 0: 30 s */
	uint64_t hello_ns; /* how long the kernel may take to answer; 0: 2 s */
	int64_t priority;  /* in the loop */

	/* All from the loop, never from inside a call; the connector must not be freed in them. */
	void (*on_exit_hint)(int32_t pid, void *userdata);
	void (*on_rescan)(void *userdata); /* hints were lost, or none came for a while */
	void (*on_state)(
		enum connector_state state, const char *reason, void *userdata); /* or NULL */
	void *userdata;
};

int connector_new(sd_event *event, const struct connector_config *config, struct connector **ret);
/* Stops and releases. Returns NULL. */
struct connector *connector_free(struct connector *c);
DEFINE_FREEP(struct connector *, connector_free)

/* 0: asked for, on_state will tell. Negative: it does not work here (the state is UNAVAILABLE and
 * the reason stands in the status); on_state is not called then. */
int connector_start(struct connector *c);

struct connector_status {
	enum connector_state state;
	const char *reason; /* borrowed; "" while it is on or was never started */
	uint64_t hints, floods, losses;
};
void connector_status(const struct connector *c, struct connector_status *ret);

enum connector_word {
	CONNECTOR_WORD_OTHER, /* nothing of ours */
	CONNECTOR_WORD_ACK,   /* the kernel's answer; `value` is 0 or a positive errno */
	CONNECTOR_WORD_EXIT,  /* a leader has exited; `value` is its pid */
};

/* Judges one datagram from the kernel. Pure. */
enum connector_word connector_parse(const void *data, size_t len, int32_t *ret_value);
