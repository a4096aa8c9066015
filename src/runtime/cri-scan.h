/*
 * Reads the lists of CRI (ListPodSandboxResponse, ListContainersResponse) straight from their
 * bytes: id, sandbox id and state of each entry, and for the few ids that are new also who they
 * are. Nothing is allocated and nothing is decoded that is not asked for, since the same list comes
 * every second and nearly all of it is known.
 *
 * Order of use: cri_scan_validate() each answer, once; only then cri_list_init(). What was
 * validated cannot fail half-way; what was not validated must never be read.
 *
 * The bytes mean what protobuf says: fields in any order, unknown ones skipped, the last of a
 * repeated scalar counts, a repeated message is merged. Two things are refused that a decoder might
 * pass: groups, and a field of ours with another wire type. Strings are bytes, UTF-8 or not.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "model/container.h"

/* The answer to ListPodSandbox (kind SANDBOX) or ListContainers (CONTAINER) as it came. 0 and the
 * number of entries, or -EBADMSG. */
int cri_scan_validate(struct slice answer, enum container_kind kind, size_t *ret_entries);

struct cri_list {
	struct list_source source;
	/* Private. What is left to read of each answer. */
	struct slice sandboxes, containers;
};

/* Both answers must have been validated and outlive the list. It is read once, front to back. */
void cri_list_init(struct cri_list *list, struct slice sandboxes, struct slice containers);
