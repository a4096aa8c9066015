/*
 * What systemd is told (sd_notify(3)): without ever waiting for it. libsystemd's own function blocks
 * when the other side does not read, and then a hung pid 1 would hang us with it.
 */
#pragma once

#include <stdint.h>

#include <systemd/sd-event.h>

#include "base/mem.h"

struct notify;

/* Takes $NOTIFY_SOCKET, $WATCHDOG_USEC and $WATCHDOG_PID; without them every call does nothing. From
 * now on the watchdog is fed from the loop, at half its time. 0 or a negative errno. */
int notify_new(sd_event *loop, struct notify **ret);
struct notify *notify_free(struct notify *notify);
DEFINE_FREEP(struct notify *, notify_free)

/* "READY=1\nSTATUS=...". What cannot leave at once is lost. */
void notify_send(struct notify *notify, const char *text);
