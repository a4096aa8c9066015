/* What an OCI runtime keeps of a container, as bytes. Both hold a whole configuration beside the few
 * members that are read here; the rest is stepped over. Pure. */
#pragma once

#include <stddef.h>

#include "trace/facts.h"

#define OCI_STATE_MAX ((size_t)1 << 19) /* runc's state.json; tens of KiB are usual */

/* runc's state.json: its init's pid and start. 0, or -EBADMSG. */
int oci_state_parse(const char *text, size_t len, struct trace_oci_state *ret);

/* The shim's options.json: where the runtime keeps its states. 0; -ENOENT: it is the default, -EBADMSG,
 * -ENAMETOOLONG. */
int oci_root_parse(const char *text, size_t len, char ret_root[TRACE_ROOT_MAX]);
