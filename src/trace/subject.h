/* Which container is meant: matching what a person typed against what a runtime lists. Pure. */
#pragma once

#include "trace/facts.h"

#define SUBJECT_CANDIDATES_MAX 12u /* listed when several fit; more are counted */
#define SUBJECT_PREFIX_MIN     4u  /* fewer characters are a name, not the beginning of an id */

struct subject_query {
	char text[512];
	/* Of namespace/pod/container; NULL where it was not said. Into `parts`. */
	const char *namespace, *pod, *container;
	bool may_be_id; /* one word of hexadecimal digits, or what Docker and ctr take for an id */
	char parts[512];
};

/* 0; -EINVAL for "", too many slashes or empty parts, with a text. */
int subject_parse(const char *text, struct subject_query *ret, struct err *reterr);

struct subject_match {
	struct trace_subject best;
	int64_t best_created_ns;
	uint32_t best_attempt;
	unsigned exact;  /* 1: an id was typed in full */
	unsigned others; /* further containers that fit, by another name or id */
	struct err candidates;
};

/* Takes all entries of a list. Where no container fits, those of the pod of that name do. */
void subject_match(
	const struct subject_query *query, struct list_source *list, struct subject_match *ret);
/* What a match is worth: 0; -ENOENT; -ENOTUNIQ with a text that lists the candidates. */
int subject_result(
	const struct subject_query *query, const struct subject_match *match, struct err *reterr);
