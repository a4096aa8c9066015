/*
 * From the JSON of docs/json.md to text for people. Pure: documents, looks and the time go in.
 * A document with fields missing is rendered with what there is, since an agent of another version
 * may have sent it. All return 0 or a negative errno (-ENOMEM, -EMSGSIZE).
 */
#pragma once

#include "cli/page.h"

/* One screen of at most 80 columns: the verdict first, then what hangs, then the rest. */
int render_status(const json_t *document, const struct looks *looks, struct buf *out);

/* `all` adds the sandboxes as rows of their own. */
int render_pods(const json_t *document, const struct looks *looks, bool all, struct buf *out);

/* A tree of hops, with the threads of the init. */
int render_trace(const json_t *document, const struct looks *looks, struct buf *out);

/* An array of FINDING as trees: cause, sentence, subject, evidence, what it explains, what helps. */
int render_findings(const json_t *findings, const struct looks *looks, struct buf *out);
/* The same trees for a screen with other things: the first three findings, each with its sentence,
 * its subject, two of its symptoms and what helps first. */
int render_findings_short(const json_t *findings, const struct looks *looks, struct buf *out);
/* The document of `pleg doctor`: the findings, then what could not be looked at. */
int render_doctor(const json_t *document, const struct looks *looks, struct buf *out);

/* A row of the journal as one line, or `whole`: with its document. Times in the local time zone. */
int render_incident(const json_t *incident, const struct looks *looks, bool whole, struct buf *out);

/* One line; times in the local time zone. */
int render_event(const json_t *event, const struct looks *looks, struct buf *out);

/* One line as the kubelet's own stream has it: time pod type id. */
int render_event_kubelet(const json_t *event, struct buf *out);
