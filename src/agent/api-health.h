/*
 * How the way to the API server is: what every request of the api role, and the watch of the node's
 * pods, tell of it. A small question of our own keeps it true where nothing else is asked: seldom while
 * it answers; at once after a failure, since one alone proves nothing, and then ever less often.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-event.h>

#include "base/mem.h"
#include "base/time.h"
#include "kube/api-agent.h"
#include "model/api-server.h"

#define API_HEALTH_CALM_NS (300 * NSEC_PER_SEC) /* as often as the node's heartbeat */
/* After a failure: doubled up to the maximum, half of it by chance. */
#define API_HEALTH_FIRST_NS (2 * NSEC_PER_SEC)
#define API_HEALTH_MAX_NS   (60 * NSEC_PER_SEC)

#define API_STALE_CALM_NS (600 * NSEC_PER_SEC) /* without another one: it is over */

struct api_health;

/* `api` is borrowed: it is asked the small question, and says whose credential ends when. 0 or a
 * negative errno. */
int api_health_new(sd_event *loop, struct api *api, struct api_health **ret);
struct api_health *api_health_free(struct api_health *health);
DEFINE_FREEP(struct api_health *, api_health_free)

/* As api_ops.on_call. */
void api_health_call(struct api_health *health, const struct api_call *call);
/* As api_ops.on_stale. */
void api_health_stale(struct api_health *health, const struct api_stale *stale);
/* The watch has broken, with this reason: the question is asked at once. */
void api_health_doubt(struct api_health *health);

/* False: nothing was answered or has failed so far, or the server is not known. The texts are borrowed. */
bool api_health_view(const struct api_health *health, struct now now, struct api_server *ret);
