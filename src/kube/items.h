/*
 * The elements of a list's "items", found by a scan, so that one of them at a time becomes a tree: ten
 * pods as one tree cost megabytes. Pure. The scan only finds where values end; that they are JSON is
 * found out when they are parsed, each element and what is left around them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

/* `text` is one object. Its "items" between their brackets; empty if they are null or none. 0, or
 * -EBADMSG: there are no "items", or no object. */
int kube_items_find(struct slice text, struct slice *ret_items);
/* The next element, which is taken off `items`; false: there is none, or something is left that begins
 * with none. */
bool kube_items_next(struct slice *items, struct slice *ret);
