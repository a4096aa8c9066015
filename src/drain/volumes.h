/*
 * Whether a volume of a pod that it may write to is still in use on its node, as the node's status has
 * it (volumesInUse): then the pod's object must not be deleted before the node is surely off, or two
 * nodes write to one disk. Asks for the claims and volumes behind the pod's.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct command;

/* True also where it cannot be known; `text` says which and why. */
bool volumes_in_use(struct command *command, const json_t *pod, char *text, size_t size);
