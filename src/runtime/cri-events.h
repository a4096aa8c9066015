/*
 * CRI's GetContainerEvents: hints from runtimes without a stream of their own (CRI-O). A containerd
 * is better asked by containerd.h: that tells execs, OOM kills, pids, and is never switched off.
 *
 * Not every runtime may be asked. containerd 1.7 hands each event to one listener only, so that a
 * second one takes them away from the kubelet (containerd issue 7318; 2.0 sends them to all). Ask
 * cri_events_is_safe() first.
 *
 * Where the runtime does not have it, or has it switched off, HINT_STREAM_ABSENT is told once.
 * After a pause of nobody listening a runtime may send events that are minutes old: look at
 * sent_at_ns.
 */
#pragma once

#include <systemd/sd-event.h>

#include "base/err.h"
#include "base/str.h"
#include "runtime/hint.h"

struct cri_events;

/* Names as Version tells them ("containerd", "v1.7.2"). A containerd whose version cannot be read
 * is taken for an old one. */
bool cri_events_is_safe(
	const char *runtime_name, const char *runtime_version, bool kubelet_is_beside);

/* `endpoint` as in runtime_open_cri(); a connection of its own. The stream is opened again for as
 * long as this lives (hint-stream.h). */
int cri_events_open(sd_event *loop, const char *endpoint, const struct hint_callbacks *callbacks,
	void *userdata, struct cri_events **ret, struct err *reterr);
/* Allowed inside its callbacks. Accepts NULL, returns NULL. */
struct cri_events *cri_events_free(struct cri_events *events);

void cri_events_statistics(const struct cri_events *events, struct hint_statistics *ret);
