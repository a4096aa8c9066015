/*
 * The kubelet beside us, as its own healthz tells: asked every KUBELET_PERIOD_NS on the loopback
 * address. One request at a time, never a second one while the first is open.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "base/mem.h"
#include "base/time.h"
#include "node/node.h"

#define KUBELET_PERIOD_NS  (10 * NSEC_PER_SEC)
#define KUBELET_TIMEOUT_NS (5 * NSEC_PER_SEC)

struct kubelet;
struct kubelet_scan;

/* Asks at once. `on_change` is called from the loop whenever state or message are new. */
int kubelet_new(
	sd_event *loop, void (*on_change)(void *userdata), void *userdata, struct kubelet **ret);
struct kubelet *kubelet_free(struct kubelet *kubelet);
DEFINE_FREEP(struct kubelet *, kubelet_free)

/* What the search found; NULL: no such process. Then it is asked where the one before listened, since it
 * may be about to come back. Pid 0: none either, and asked where `found` says. */
void kubelet_set(struct kubelet *kubelet, const struct kubelet_scan *found);

/* A request is open. */
bool kubelet_is_asking(const struct kubelet *kubelet);

/* NODE_KUBELET_NONE as long as nobody has ever answered and no process was found. `*ret_message`
 * lives until the next change. */
enum node_kubelet kubelet_state(const struct kubelet *kubelet, const char **ret_message);
/* Where its healthz is asked. */
uint16_t kubelet_port(const struct kubelet *kubelet);
/* Since when (monotonic) it has been at its work as far as is known: since its process began, or has
 * answered again. What it had begun before, it begins anew. 0: no such break is known. */
uint64_t kubelet_since(const struct kubelet *kubelet);
