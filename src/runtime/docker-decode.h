/*
 * What a Docker Engine answers, read in place: bytes in, structs out. Of environments, command lines
 * and all labels but the few named below nothing is looked at.
 *
 * What is a pod there, by the labels of a container:
 *
 *	io.kubernetes.docker.type, io.kubernetes.pod.*	dockershim or cri-dockerd made it: that pod
 *	com.docker.compose.project			else the project, in the namespace "compose"
 *	neither						a pod of its own, in the namespace "docker"
 */
#pragma once

#include "base/str.h"
#include "model/container.h"
#include "runtime/arena.h"
#include "runtime/hint-stream.h"
#include "runtime/json-scan.h"

/* The UID of a compose project's pod is this and its name: no UID of Kubernetes has a slash. */
#define DOCKER_COMPOSE_UID "compose/"

/* Strings of one answer, and the texts of a list's new entries. */
#define DOCKER_DECODE_MAX (1024u * 1024)

/* ---- versions ------------------------------------------------------------------------------- */

#define DOCKER_VERSION_MAX 64
#define DOCKER_API_MAX     8 /* "1.24" */

/* The oldest API that has all we ask for, and the newest that was looked at. */
#define DOCKER_API_OLDEST 24
#define DOCKER_API_NEWEST 54

struct docker_version {
	char version[DOCKER_VERSION_MAX]; /* of the Engine, cleaned */
	char api[DOCKER_API_MAX];         /* the one to speak: the oldest that both sides have */
};

/* The answer to /version. 0; -EBADMSG: it is none; -EPROTONOSUPPORT: there is no API that both sides
 * speak. *ret_trouble then says why, for people. `text` holds it where it is not a literal. */
int docker_decode_version(struct slice answer, struct docker_version *ret, char *text,
	size_t text_size, const char **ret_trouble);

/* ---- lists and inspections ------------------------------------------------------------------ */

struct docker_list {
	struct list_source source;
	/* Private. */
	struct slice answer;
	struct json_scan rest;
	enum container_kind pass;
	struct slice sandbox_id; /* only this one and what is in it; empty: everything */
	struct arena arena;
};

/* The answer to /containers/json: 0 and how many there are, or -EBADMSG. */
int docker_list_check(struct slice answer, size_t *ret_entries);
/* The answer must have been checked and outlive the list. `sandbox_id` "": everything. */
void docker_list_init(struct docker_list *list, struct slice answer, const char *sandbox_id);
void docker_list_done(struct docker_list *list);

/* The answer to /containers/ID/json, which was asked as `kind`. 0, -EBADMSG or -ENOMEM; *ret_trouble
 * then says why. Strings of *ret live as long as the arena. */
int docker_decode_inspect(struct slice answer, enum container_kind kind, const char *id,
	struct arena *arena, struct container_status *ret, const char **ret_trouble);

/* ---- the rest ------------------------------------------------------------------------------- */

/* One line of /events. Sets *ret with HINT_TOLD. */
enum hint_fate docker_decode_event(struct slice line, struct hint *ret);

/* What an error answer says, cleaned; "" where it says nothing. Returns out. */
const char *docker_decode_error(struct slice answer, char *out, size_t out_size);
