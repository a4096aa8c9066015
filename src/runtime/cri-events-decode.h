/* One ContainerEventResponse of CRI, read from its bytes. Pure, and nothing is allocated. */
#pragma once

#include "base/str.h"
#include "runtime/hint-stream.h"

/* HINT_TOLD sets *ret; HINT_UNKNOWN for a type that we do not know. */
enum hint_fate cri_events_decode(struct slice message, struct hint *ret);
