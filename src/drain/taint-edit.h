/*
 * One operand of `pleg taint`, as kubectl writes it: KEY=VALUE:EFFECT and KEY:EFFECT set a taint,
 * KEY:EFFECT- and KEY- take away. Pure.
 *
 * Which words are allowed: docs of Kubernetes, "Taints and Tolerations" and "Labels and Selectors".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct err;

#define TAINT_EDIT_KEY_MAX    318 /* prefix of 253, a slash, a name of 63, a NUL */
#define TAINT_EDIT_VALUE_MAX  64
#define TAINT_EDIT_EFFECT_MAX 32

struct taint_edit {
	char key[TAINT_EDIT_KEY_MAX];
	char value[TAINT_EDIT_VALUE_MAX];   /* "" for none */
	char effect[TAINT_EDIT_EFFECT_MAX]; /* "": all of the key; for removals only */
	bool is_removal;
};

/* 0, or -EINVAL with a text. */
int taint_edit_parse(const char *text, struct taint_edit *ret, struct err *reterr);

/* Whether a word can only be a taint, never a node's name. */
bool taint_edit_is_one(const char *word);
/* Whether it can be the name of a node (a DNS subdomain, RFC 1123). */
bool taint_edit_is_node_name(const char *word);
