/*
 * Hints (laws 1 to 4): the runtime's event stream and a pidfd for each init go into the ledger; what
 * the ledger has to tell and whom it wants inspected comes out.
 *
 *	stream: start, exit ... ──┐
 *	tasks: pids at the start ─┼─▶ pidfd per init ─▶ ledger ─▶ tell (events), wake (PLEG)
 *	exits (the connector) ────┘ look now            │
 *	PLEG's records and events ────────────────────▶ │
 *	                                                  └▶ differences
 *
 * Nothing here changes a PLEG record, and nothing waits. Without a stream, pidfds or the connector
 * there are fewer hints, which hints_state() says; the relist finds everything all the same.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "agent/groups.h"
#include "agent/timer.h"
#include "base/mem.h"
#include "kernel/connector.h"
#include "kernel/pidfd.h"
#include "ledger/ledger.h"
#include "pleg/pleg.h"
#include "runtime/hint.h"
#include "runtime/runtime.h"

struct hints;

/* None of these is called from inside hints_new() or hints_free(). */
struct hints_ops {
	/* An event for the sync loop, which takes it. */
	void (*tell)(void *userdata, struct event *event);
	/* This container should be inspected; the string is valid during the call. */
	void (*wake)(void *userdata, const char *container_id);
	/* Something may have been missed: a full list is wanted. */
	void (*relist)(void *userdata);
	/* After a round of the above, once: send what was told, then run PLEG's queues. */
	void (*flush)(void *userdata);
};

struct hints_options {
	sd_event *loop;
	uint32_t containers_max;
	bool is_once; /* one look: the kernel is not asked to tell of anything */
	const struct hints_ops *ops;
	void *userdata;
};

/* 0, or a negative errno: then there are no hints at all. */
int hints_new(const struct hints_options *options, struct hints **ret);
struct hints *hints_free(struct hints *hints);
DEFINE_FREEP(struct hints *, hints_free)

/* The runtime that is spoken with, by its kind, its own name ("containerd") and version; no endpoint:
 * none. The same again changes nothing. */
void hints_set_runtime(struct hints *hints, enum runtime_kind kind, const char *endpoint,
	const char *name, const char *version);

/* An inspection was answered: where it tells the init's pid, that one is watched from here on. Before
 * PLEG hears of the same answer, so that a death is not told before its start. */
void hints_on_status(struct hints *hints, const struct container_status *status);

/* In this order, around what PLEG says: an answered full list, before its events are told ... */
void hints_on_records(struct hints *hints, const struct pleg *pleg, struct now now);
/* ... each of PLEG's events, before it is told itself ... */
void hints_on_event(struct hints *hints, const struct event *event, struct now now);
/* ... and the list that was asked for at this time, when all of that is done. */
void hints_on_list(struct hints *hints, uint64_t started_ns, struct now now);

/* After any other input of PLEG: what the ledger made of its events goes out. */
void hints_settle(struct hints *hints);

/* Every source is alive and the ledgers agree: PLEG may take its time. */
bool hints_are_calm(const struct hints *hints);

const struct ledger *hints_ledger(const struct hints *hints);

enum hints_stream {
	HINTS_STREAM_NONE, /* there is no runtime, or none that may be asked for one */
	HINTS_STREAM_DOWN, /* it is opened again with a back-off */
	HINTS_STREAM_UP,
	HINTS_STREAM_ABSENT, /* the server has no such stream */
};

const char *hints_stream_text(enum hints_stream stream); /* "none", "down", "up", "absent" */

struct hints_state {
	enum hints_stream stream;
	const char *stream_why;    /* "" or why it is down or absent */
	const char *stream_source; /* "containerd", "cri", "docker", or NULL */
	bool stream_is_cri;
	struct connector_status connector;
	struct groups_state groups;
	const char *watch_why; /* "" or why deaths of some inits are seen later */
	struct pidfd_status pidfds;
	struct hint_statistics hints;
	struct ledger_stats ledger;
	uint32_t differences;
	uint32_t leftovers; /* dead processes that nobody reaps (agent/leftovers.h) */
};

void hints_state(const struct hints *hints, struct now now, struct hints_state *ret);
