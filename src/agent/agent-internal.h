/*
 * The agent's state, all of it, for the files of this room. agent.c wires it, documents.c tells of
 * it, pump.c drives it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>
#include <systemd/sd-id128.h>

#include "agent/agent.h"
#include "agent/cluster.h"
#include "agent/config.h"
#include "agent/diagnosis.h"
#include "agent/endpoint.h"
#include "agent/kubelet.h"
#include "agent/notify.h"
#include "agent/pump.h"
#include "agent/timer.h"
#include "control/control.h"
#include "kernel/probe-agent.h"
#include "node/node.h"
#include "pleg/pleg.h"
#include "role/role.h"
#include "sync/sync.h"

struct api;
struct api_health;
struct api_pods;
struct history;
struct web;

#define AGENT_WARNINGS_MAX 8
#define AGENT_HISTORY_MAX  8192 /* events kept for subscribers: 3 MB */

struct agent {
	struct config config;
	char epoch[SD_ID128_STRING_MAX]; /* "": no daemon, one look (once.c) */
	char node_name[256];
	int64_t started_at_ns; /* wall clock */

	sd_event *loop;
	sd_event_source *signals[3];
	bool is_stopping;

	struct role_spawner *spawner; /* NULL: no roles */
	int web_exe_fd;
	struct web *web;     /* NULL: off, a warning says why */
	int probe_exe_fd;    /* in memory */
	struct probe *probe; /* NULL: none, a warning says why */
	struct timer *probe_timer;
	struct history *history; /* the journal; NULL: no daemon */
	struct proc_id self;

	struct sync_loop *events;
	struct pleg *pleg;
	struct node *node;
	struct kubelet *kubelet;
	struct pump *pump;
	struct control_server *control;
	struct diagnosis *diagnosis; /* NULL: off, a warning says why */
	int api_exe_fd;
	struct api *api;               /* NULL: none is configured, or a warning says why */
	struct api_health *api_health; /* NULL: as above */
	struct cluster *cluster;       /* NULL: no API server, or nothing is to be told there */
	struct api_pods *api_pods;     /* this node's, as the API server has them; NULL: none */
	struct notify *notify;

	/* The search for a runtime; its last result is told where none was found. */
	struct endpoint_search *search;
	struct timer *search_timer;
	unsigned search_children;               /* that hang, or are not reaped yet */
	struct endpoint_search *kubelet_search; /* for the kubelet alone */
	struct timer *kubelet_timer;
	enum endpoint_source source;
	char endpoint[256]; /* "" while there is none */
	char no_runtime[240];

	struct timer *ready_timer; /* systemd waits no longer than this for the first list */
	bool is_ready_told;

	struct timer_lag lag;
	char warnings[AGENT_WARNINGS_MAX][200]; /* what works less than it could */
	size_t warning_count;
};

/* For status and the log. Repeats and what is over AGENT_WARNINGS_MAX are only logged. */
void agent_warn(struct agent *agent, const char *text);

/* The node's name, from the configuration or else the host's. */
void agent_name(struct agent *agent);
/* Events, PLEG and verdict, as configured; freed by the caller also after a failure. */
int agent_make_core(struct agent *agent);

/* Tells the cluster from now on, through `ops`; does nothing with nodeConditions: false. Whoever sends
 * ends before it. 0, or a negative errno. */
int agent_make_cluster(
	struct agent *agent, const struct cluster_ops *ops, void *userdata, struct err *reterr);

/* ---- documents.c ---------------------------------------------------------------------------- */

/* Append the document: 0, -ENOMEM, -EMSGSIZE. */
int documents_status(struct agent *agent, struct buf *out);
int documents_pods(struct agent *agent, struct buf *out);
int documents_metrics(struct agent *agent, struct buf *out);
/* At most `tail` of the newest events, a line each, of one namespace and one pod unless "". */
int documents_events(struct agent *agent, uint64_t tail, const char *namespace, const char *pod,
	struct buf *out);

/* ---- kubelet-find.c ------------------------------------------------------------------------- */

int kubelet_find_start(struct agent *agent);
/* Another process may be the kubelet: it is looked for. */
void kubelet_find_soon(struct agent *agent);
/* What any search has found of it. */
void kubelet_take(struct agent *agent, const struct endpoint_result *result);
void kubelet_find_stop(struct agent *agent);

/* ---- pages.c -------------------------------------------------------------------------------- */

/* Opens the web role's executable: early, while the disk answers. A failure is a warning. */
void pages_open(struct agent *agent);
/* Starts the role; what is wrong with its configuration is an error with a text. */
int pages_start(struct agent *agent, struct err *reterr);
void pages_stop(struct agent *agent);
/* False where there is no such role. */
bool pages_status(const struct agent *agent, struct role_status *ret);

/* ---- api.c ---------------------------------------------------------------------------------- */

/* Opens the api role's executable where there is a kubeconfig. A failure is a warning. */
void apis_open(struct agent *agent);
/* Starts it, and tells the cluster through it. What fails is a warning. */
void apis_start(struct agent *agent);
void apis_stop(struct agent *agent);
/* False where there is no such role. */
bool apis_status(const struct agent *agent, struct role_status *ret);

/* ---- probing.c ------------------------------------------------------------------------------ */

/* Takes the probe's executable into memory: early, while the disk answers. A failure is a warning. */
void probing_open(struct agent *agent);
/* Starts the probe and keeps it alive. What fails is a warning. */
void probing_start(struct agent *agent);
void probing_stop(struct agent *agent);
/* For whoever has to look at what may hang; NULL: there is none. Lives until probing_stop(). */
struct probe *probing_probe(const struct agent *agent);
/* False where there is none. */
bool probing_status(const struct agent *agent, struct probe_status *ret);

/* ---- history.c ------------------------------------------------------------------------------ */

/* Opens the journal's executable: early, while the disk answers. A failure is a warning. */
void history_open(struct agent *agent);
/* Starts the journal. What fails is a warning. */
void history_start(struct agent *agent);
void history_stop(struct agent *agent);
/* After events were added. */
void history_wake(struct agent *agent);
/* As diagnosis_options.on_incident, with the agent. */
void history_incident(void *userdata, const struct incident *incident);
/* After a list was answered: differences that have begun or ended. */
void history_look(struct agent *agent);
/* Writes what waits, then calls back with the agent, after a second at the latest. False: nothing
 * would be written, and there is no call. */
bool history_drain(struct agent *agent, void (*on_drained)(void *userdata));

struct history_status {
	const char *state;  /* "off" or a word of journal_status */
	const char *reason; /* "" if there is none; valid until the loop goes on */
	const char *note;   /* what people should know of it, such as a file set aside; or "" */
	const char *path;   /* the state directory; NULL: off */
	uint64_t waiting, dropped, written;
	bool has_role;
	struct role_status role;
};
void history_status(const struct agent *agent, struct history_status *ret);

/* For the control socket: see control_ops. */
int history_past(void *userdata, const struct control_request *request, control_past_fn on_part,
	void *reader, void **ret_past, struct err *reterr);
int history_past_next(void *past, struct err *reterr);
uint64_t history_past_covers(const void *past);
void history_past_free(void *past);
