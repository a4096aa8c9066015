/* Findings as docs/json.md has them. Pure. */
#pragma once

#include "model/finding.h"
#include "model/json-write.h"

/* One FINDING, with what hangs under it. */
void finding_json_write(struct json_write *w, const char *key, const struct finding *finding);

/* The top level of a set as an array; NULL: []. */
void findings_json_write(struct json_write *w, const char *key, const struct findings *set);
