/*
 * What any API object says of itself. All accept NULL and objects of a wrong shape, and answer with
 * NULL, 0 or false: what the server sends is foreign input.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KUBE_STATUS_TEXT 480u

/* Borrowed from the object. */
const char *kube_name(const json_t *object);
const char *kube_namespace(const json_t *object);
const char *kube_uid(const json_t *object);
const char *kube_resource_version(const json_t *object);
const char *kube_annotation(const json_t *object, const char *name);
const char *kube_label(const json_t *object, const char *name);
bool kube_is_deleting(const json_t *object);
/* Since the epoch; 0: not being deleted, or no time. */
int64_t kube_deletion_ns(const json_t *object);
/* The owner that controls it: an element of ownerReferences, or NULL. */
const json_t *kube_controller(const json_t *object);
size_t kube_finalizer_count(const json_t *object);
const char *kube_finalizer(const json_t *object, size_t index);

/* The string or integer behind a dotted path of keys without dots in them: "spec.nodeName". */
const char *kube_string(const json_t *object, const char *path);
const json_t *kube_field(const json_t *object, const char *path);

/* From a body that is a Status: its message as people read it, its reason. False: it is none. */
bool kube_status(const json_t *object, char text[KUBE_STATUS_TEXT], const char **ret_reason);

/* A body: NULL if it is no JSON object (not whole, not UTF-8, deeper than jansson goes). */
json_t *kube_parse(const char *text, size_t len);
