#include "kube/kubeconfig.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "base/yaml.h"

#define NAMES_TEXT 256u /* of the contexts there are, in an error */

enum field_type {
	FIELD_STRING,
	FIELD_BOOL,
	FIELD_BASE64,  /* decoded */
	FIELD_PATH,    /* relative to the folder of the kubeconfig */
	FIELD_IGNORED, /* known, and of no use to us */
	FIELD_REFUSED, /* known, and we would be somebody else without it: a char * with its name */
	FIELD_EXEC,
};

struct field {
	const char *name;
	enum field_type type;
	size_t offset;
};

struct context {
	char *cluster, *user, *ns;
};

struct entry {
	char *name;
	struct kube_cluster cluster;
	struct kube_user user;
	struct context context;
};

struct entries {
	const char *key, *inner; /* "clusters", "cluster" */
	const struct field *fields;
	size_t base; /* of the struct of `fields` within struct entry */
	struct entry *items;
	size_t count;
};

struct reading {
	struct yaml *yaml;
	const char *name;
	struct entries clusters, users, contexts;
	char *current;
	struct buf warnings;
	struct err *reterr;
};

#define CLUSTER(member) offsetof(struct kube_cluster, member)
#define USER(member)    offsetof(struct kube_user, member)

static const struct field cluster_fields[] = {
	{ "server", FIELD_STRING, CLUSTER(server) },
	{ "certificate-authority", FIELD_PATH, CLUSTER(ca_file) },
	{ "certificate-authority-data", FIELD_BASE64, CLUSTER(ca_data) },
	{ "insecure-skip-tls-verify", FIELD_BOOL, CLUSTER(insecure) },
	{ "tls-server-name", FIELD_STRING, CLUSTER(tls_server_name) },
	{ "proxy-url", FIELD_STRING, CLUSTER(proxy_url) },
	{ "disable-compression", FIELD_IGNORED, 0 },
	{ "extensions", FIELD_IGNORED, 0 },
	{ NULL },
};

static const struct field user_fields[] = {
	{ "client-certificate", FIELD_PATH, USER(cert_file) },
	{ "client-certificate-data", FIELD_BASE64, USER(cert_data) },
	{ "client-key", FIELD_PATH, USER(key_file) },
	{ "client-key-data", FIELD_BASE64, USER(key_data) },
	{ "token", FIELD_STRING, USER(token) },
	{ "tokenFile", FIELD_PATH, USER(token_file) },
	{ "exec", FIELD_EXEC, 0 },
	{ "as", FIELD_REFUSED, USER(refused) },
	{ "as-uid", FIELD_REFUSED, USER(refused) },
	{ "as-groups", FIELD_REFUSED, USER(refused) },
	{ "as-user-extra", FIELD_REFUSED, USER(refused) },
	{ "username", FIELD_REFUSED, USER(refused) },
	{ "password", FIELD_REFUSED, USER(refused) },
	{ "auth-provider", FIELD_REFUSED, USER(refused) },
	{ "extensions", FIELD_IGNORED, 0 },
	{ NULL },
};

static const struct field context_fields[] = {
	{ "cluster", FIELD_STRING, offsetof(struct context, cluster) },
	{ "user", FIELD_STRING, offsetof(struct context, user) },
	{ "namespace", FIELD_STRING, offsetof(struct context, ns) },
	{ "extensions", FIELD_IGNORED, 0 },
	{ NULL },
};

static const struct field exec_fields[] = {
	{ "command", FIELD_STRING, USER(exec.command) },
	{ "apiVersion", FIELD_STRING, USER(exec.api_version) },
	{ "interactiveMode", FIELD_STRING, USER(exec.interactive) },
	{ "installHint", FIELD_IGNORED, 0 },
	{ "provideClusterInfo", FIELD_IGNORED, 0 },
	{ NULL },
};

/* --- memory --- */

static void list_done(struct kube_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		(void)mem_free(list->items[i]);
	list->items = mem_free(list->items);
	list->count = 0;
}

static char *forget(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	return mem_free(secret);
}

static void cluster_done(struct kube_cluster *c)
{
	(void)mem_free(c->server);
	(void)mem_free(c->ca_data);
	(void)mem_free(c->ca_file);
	(void)mem_free(c->tls_server_name);
	(void)mem_free(c->proxy_url);
	*c = (struct kube_cluster){ 0 };
}

static void user_done(struct kube_user *u)
{
	(void)mem_free(u->cert_data);
	(void)forget(u->key_data);
	(void)mem_free(u->cert_file);
	(void)mem_free(u->key_file);
	(void)forget(u->token);
	(void)mem_free(u->token_file);
	(void)mem_free(u->exec.command);
	(void)mem_free(u->exec.api_version);
	(void)mem_free(u->exec.interactive);
	list_done(&u->exec.args);
	list_done(&u->exec.env);
	(void)mem_free(u->refused);
	*u = (struct kube_user){ 0 };
}

static void entries_done(struct entries *e)
{
	for (size_t i = 0; i < e->count; i++) {
		struct entry *entry = &e->items[i];

		(void)mem_free(entry->name);
		cluster_done(&entry->cluster);
		user_done(&entry->user);
		(void)mem_free(entry->context.cluster);
		(void)mem_free(entry->context.user);
		(void)mem_free(entry->context.ns);
	}
	e->items = mem_free(e->items);
	e->count = 0;
}

static void reading_done(struct reading *r)
{
	r->yaml = yaml_free(r->yaml);
	entries_done(&r->clusters);
	entries_done(&r->users);
	entries_done(&r->contexts);
	r->current = mem_free(r->current);
	buf_done(&r->warnings);
}

struct kubeconfig *kubeconfig_free(struct kubeconfig *config)
{
	if (!config)
		return NULL;
	config->context = mem_free(config->context);
	config->ns = mem_free(config->ns);
	config->warnings = mem_free(config->warnings);
	cluster_done(&config->cluster);
	user_done(&config->user);
	return mem_free(config);
}

/* --- base64 --- */

static int base64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int kube_base64_decode(const char *text, char **ret, size_t *ret_len)
{
	CLEAN(mem_freep) char *out = mem_alloc(strlen(text) / 4 * 3 + 4);
	unsigned digits = 0, padding = 0;
	uint32_t bits = 0;
	size_t len = 0;

	if (!out)
		return -ENOMEM;
	for (; *text != '\0'; text++) {
		int value = base64_value(*text);

		if (strchr(" \t\r\n", *text))
			continue;
		if (*text == '=')
			padding++;
		else if (value < 0 || padding > 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)(*text == '=' ? 0 : value);
		if (++digits % 4 != 0)
			continue;
		if (padding > 2)
			return -EINVAL;
		for (unsigned i = 0; i < 3 - padding; i++)
			out[len++] = (char)(uint8_t)(bits >> (16 - 8 * i));
		bits = 0;
	}
	if (digits % 4 != 0 || padding > 2)
		return -EINVAL;
	out[len] = '\0';
	*ret = TAKE_PTR(out);
	*ret_len = len;
	return 0;
}

/* --- reading --- */

static int wrong(struct reading *r, const struct yaml_item *at, const char *what, const char *key)
{
	return err_set(
		r->reterr, -EINVAL, "%s:%u:%u: %s: %s", r->name, at->line, at->column, key, what);
}

static void warn(struct reading *r, const struct yaml_item *at, const char *key)
{
	/* When it is full, the first ones say enough. */
	(void)buf_printf(&r->warnings, "%s%s:%u:%u: Unknown field '%s' is ignored",
		r->warnings.len > 0 ? "\n" : "", r->name, at->line, at->column, key);
}

static int next(struct reading *r, struct yaml_item *ret)
{
	return yaml_next(r->yaml, ret, r->reterr);
}

static bool is_null(const struct yaml_item *item)
{
	return item->type == YAML_SCALAR && item->is_plain &&
		(item->len == 0 || str_eq(item->text, "null") || str_eq(item->text, "~"));
}

static int set_text(char **at, const char *text)
{
	char *copy = mem_strdup(text);

	if (!copy)
		return -ENOMEM;
	(void)forget(*at);
	*at = copy;
	return 0;
}

static int set_path(struct reading *r, char **at, const char *path)
{
	const char *slash = strrchr(r->name, '/');
	char whole[4096];
	int n;

	if (path[0] == '/' || path[0] == '\0' || !slash)
		return set_text(at, path);
	n = snprintf(whole, sizeof(whole), "%.*s/%s", (int)(slash - r->name), r->name, path);
	return n < (int)sizeof(whole) ? set_text(at, whole) : -ENAMETOOLONG;
}

static int set_base64(
	struct reading *r, const struct field *f, const struct yaml_item *v, char **at)
{
	CLEAN(mem_freep) char *data = NULL;
	size_t len;
	int n = kube_base64_decode(v->text, &data, &len);

	if (n == -EINVAL || (n == 0 && memchr(data, '\0', len)))
		return wrong(r, v, "is not the base64 of a text", f->name);
	if (n < 0)
		return n;
	(void)forget(*at);
	*at = TAKE_PTR(data);
	return 0;
}

static int set_bool(struct reading *r, const struct field *f, const struct yaml_item *v, bool *at)
{
	if (!v->is_plain || (!str_eq(v->text, "true") && !str_eq(v->text, "false")))
		return wrong(r, v, "is neither true nor false", f->name);
	*at = str_eq(v->text, "true");
	return 0;
}

static int read_exec(struct reading *r, const struct yaml_item *first, struct kube_user *user);

static int read_field(
	struct reading *r, const struct field *f, const struct yaml_item *value, void *base)
{
	void *at = (char *)base + f->offset;

	if (is_null(value))
		return 0;
	if (f->type == FIELD_EXEC)
		return read_exec(r, value, base);
	if (f->type == FIELD_REFUSED || f->type == FIELD_IGNORED) {
		int n = f->type == FIELD_REFUSED ? set_text(at, f->name) : 0;

		return n < 0 ? n : yaml_skip(r->yaml, value, r->reterr);
	}
	if (value->type != YAML_SCALAR)
		return wrong(r, value, "is not a text", f->name);
	if (f->type == FIELD_BASE64)
		return set_base64(r, f, value, at);
	if (f->type == FIELD_BOOL)
		return set_bool(r, f, value, at);
	return f->type == FIELD_PATH ? set_path(r, at, value->text) : set_text(at, value->text);
}

/* The value behind an unknown or known key; `first` is that value's first item. */
static int read_known(struct reading *r, const struct field *fields, const struct yaml_item *key_at,
	const char *key, void *base)
{
	struct yaml_item value;
	int n = next(r, &value);

	if (n < 0)
		return n;
	for (const struct field *f = fields; f->name; f++)
		if (str_eq(f->name, key))
			return read_field(r, f, &value, base);
	warn(r, key_at, key);
	return yaml_skip(r->yaml, &value, r->reterr);
}

/* Keys are kept short: an item's text goes with the next one. */
static int read_key(struct reading *r, struct yaml_item *ret, char key[64])
{
	int n = next(r, ret);

	if (n < 0 || ret->type == YAML_MAPPING_END)
		return n;
	if (ret->type != YAML_SCALAR)
		return wrong(r, ret, "is not a text", "A key");
	(void)str_clean(key, 64, ret->text, ret->len);
	return 0;
}

static int read_mapping(struct reading *r, const struct field *fields, const char *what,
	const struct yaml_item *first, void *base)
{
	struct yaml_item item;
	char key[64];
	int n;

	if (is_null(first))
		return 0;
	if (first->type != YAML_MAPPING_START)
		return wrong(r, first, "is not a mapping", what);
	while ((n = read_key(r, &item, key)) >= 0 && item.type != YAML_MAPPING_END) {
		n = read_known(r, fields, &item, key, base);
		if (n < 0)
			return n;
	}
	return n;
}

static int list_add(
	struct reading *r, const struct yaml_item *at, struct kube_list *list, char *text)
{
	char **more;

	if (list->count == KUBECONFIG_ARGS_MAX)
		return wrong(r, at, "has too many elements", "exec");
	more = mem_resize(list->items, list->count + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	list->items = more;
	list->items[list->count++] = text;
	return 0;
}

static int read_env(struct reading *r, const struct yaml_item *first, struct kube_list *list)
{
	static const struct field fields[] = {
		{ "name", FIELD_STRING, 0 },
		{ "value", FIELD_STRING, sizeof(char *) },
		{ NULL },
	};
	char *pair[2] = { NULL, NULL };
	CLEAN(mem_freep) char *text = NULL;
	size_t size;
	int n = read_mapping(r, fields, "env", first, pair);

	if (n >= 0 && (!pair[0] || pair[0][0] == '\0' || strchr(pair[0], '=')))
		n = wrong(r, first, "has no name, or one with '='", "env");
	if (n >= 0) {
		size = strlen(pair[0]) + strlen(str_or_empty(pair[1])) + 2;
		text = mem_alloc(size);
		n = text ? 0 : -ENOMEM;
	}
	if (n >= 0) {
		(void)snprintf(text, size, "%s=%s", pair[0], str_or_empty(pair[1]));
		n = list_add(r, first, list, text);
	}
	if (n >= 0)
		(void)TAKE_PTR(text);
	(void)mem_free(pair[0]);
	(void)forget(pair[1]);
	return n;
}

static int read_list(struct reading *r, const char *key, bool is_env, struct kube_list *list)
{
	struct yaml_item item;
	int n = next(r, &item);

	if (n < 0 || is_null(&item))
		return n;
	if (item.type != YAML_SEQUENCE_START)
		return wrong(r, &item, "is not a list", key);
	while ((n = next(r, &item)) >= 0 && item.type != YAML_SEQUENCE_END) {
		CLEAN(mem_freep) char *text = NULL;

		if (is_env) {
			n = read_env(r, &item, list);
		} else if (item.type != YAML_SCALAR) {
			n = wrong(r, &item, "is not a text", key);
		} else {
			text = mem_strdup(item.text);
			n = text ? list_add(r, &item, list, text) : -ENOMEM;
			if (n >= 0)
				(void)TAKE_PTR(text);
		}
		if (n < 0)
			return n;
	}
	return n;
}

static int read_exec(struct reading *r, const struct yaml_item *first, struct kube_user *user)
{
	struct yaml_item item, start = *first;
	char key[64];
	int n;

	if (first->type != YAML_MAPPING_START)
		return wrong(r, first, "is not a mapping", "exec");
	while ((n = read_key(r, &item, key)) >= 0 && item.type != YAML_MAPPING_END) {
		if (str_eq(key, "args"))
			n = read_list(r, key, false, &user->exec.args);
		else if (str_eq(key, "env"))
			n = read_list(r, key, true, &user->exec.env);
		else
			n = read_known(r, exec_fields, &item, key, user);
		if (n < 0)
			return n;
	}
	if (n >= 0 && (!user->exec.command || user->exec.command[0] == '\0'))
		return wrong(r, &start, "has no command", "exec");
	return n;
}

static int read_entry(struct reading *r, struct entries *e, const struct yaml_item *first)
{
	struct entry *items, *entry;
	struct yaml_item item, value;
	char key[64];
	int n;

	if (first->type != YAML_MAPPING_START)
		return wrong(r, first, "is not a mapping", e->key);
	if (e->count == KUBECONFIG_ENTRIES_MAX)
		return wrong(r, first, "has too many elements", e->key);
	items = mem_resize(e->items, e->count + 1, sizeof(*items));
	if (!items)
		return -ENOMEM;
	e->items = items;
	entry = &items[e->count++];
	*entry = (struct entry){ 0 };
	while ((n = read_key(r, &item, key)) >= 0 && item.type != YAML_MAPPING_END) {
		n = next(r, &value);
		if (n < 0)
			return n;
		if (str_eq(key, e->inner)) {
			n = read_mapping(r, e->fields, e->inner, &value, (char *)entry + e->base);
		} else if (str_eq(key, "name") && value.type == YAML_SCALAR) {
			n = set_text(&entry->name, value.text);
		} else if (str_eq(key, "name")) {
			n = wrong(r, &value, "is not a text", key);
		} else {
			warn(r, &item, key);
			n = yaml_skip(r->yaml, &value, r->reterr);
		}
		if (n < 0)
			return n;
	}
	return n;
}

static int read_entries(struct reading *r, struct entries *e, const struct yaml_item *first)
{
	struct yaml_item item;
	int n;

	if (is_null(first))
		return 0;
	if (first->type != YAML_SEQUENCE_START)
		return wrong(r, first, "is not a list", e->key);
	while ((n = next(r, &item)) >= 0 && item.type != YAML_SEQUENCE_END) {
		n = read_entry(r, e, &item);
		if (n < 0)
			return n;
	}
	return n;
}

static int read_top(struct reading *r, const char *key, const struct yaml_item *key_at)
{
	struct entries *all[] = { &r->clusters, &r->users, &r->contexts };
	struct yaml_item value;
	int n = next(r, &value);

	if (n < 0)
		return n;
	for (size_t i = 0; i < ELEMENTS(all); i++)
		if (str_eq(key, all[i]->key))
			return read_entries(r, all[i], &value);
	if (str_eq(key, "current-context")) {
		if (value.type != YAML_SCALAR)
			return wrong(r, &value, "is not a text", key);
		return is_null(&value) ? 0 : set_text(&r->current, value.text);
	}
	if (str_eq(key, "kind") && (value.type != YAML_SCALAR || !str_eq(value.text, "Config")))
		return wrong(r, &value, "is not Config", key);
	if (str_eq(key, "apiVersion") && (value.type != YAML_SCALAR || !str_eq(value.text, "v1")))
		return wrong(r, &value, "is not v1", key);
	if (!str_eq(key, "kind") && !str_eq(key, "apiVersion") && !str_eq(key, "preferences") &&
		!str_eq(key, "extensions"))
		warn(r, key_at, key);
	return yaml_skip(r->yaml, &value, r->reterr);
}

static int read_all(struct reading *r)
{
	struct yaml_item item;
	char key[64];
	int n = next(r, &item);

	if (n < 0)
		return n;
	if (item.type == YAML_END || is_null(&item))
		return err_set(r->reterr, -EINVAL, "%s:1:1: Is empty", r->name);
	if (item.type != YAML_MAPPING_START)
		return wrong(r, &item, "is not a mapping", "A kubeconfig");
	while ((n = read_key(r, &item, key)) >= 0 && item.type != YAML_MAPPING_END) {
		n = read_top(r, key, &item);
		if (n < 0)
			return n;
	}
	return n < 0 ? n : next(r, &item); /* the end: a second document is an error */
}

/* --- choosing --- */

static struct entry *find(const struct entries *e, const char *name)
{
	for (size_t i = 0; name && i < e->count; i++)
		if (e->items[i].name && str_eq(e->items[i].name, name))
			return &e->items[i];
	return NULL;
}

static int no_such(struct reading *r, const struct entries *e, const char *what, const char *name)
{
	CLEAN(buf_done) struct buf names = BUF_INIT(NAMES_TEXT);
	char shown[128];

	for (size_t i = 0; i < e->count; i++)
		if (buf_printf(&names, "%s%s", names.len > 0 ? ", " : "",
			    str_or_empty(e->items[i].name)) < 0)
			break;
	if (!name || name[0] == '\0')
		return err_set(r->reterr, -ENOENT,
			"%s:1:1: No current-context, and none was asked for; there are: %s",
			r->name, names.len > 0 ? str_or_empty(buf_string(&names)) : "none");
	return err_set(r->reterr, -ENOENT, "%s:1:1: No %s '%s'; there are: %s", r->name, what,
		str_clean(shown, sizeof(shown), name, strlen(name)),
		names.len > 0 ? str_or_empty(buf_string(&names)) : "none");
}

static int check(struct reading *r, const struct entry *cluster, const struct kube_user *user)
{
	const char *server = str_or_empty(cluster->cluster.server);

	if (!str_after(server, "https://") && !str_after(server, "http://"))
		return err_set(r->reterr, -EINVAL,
			"%s:1:1: Cluster '%s' has no server that begins with https:// or http://",
			r->name, cluster->name);
	if (cluster->cluster.insecure && (cluster->cluster.ca_data || cluster->cluster.ca_file))
		return err_set(r->reterr, -EINVAL,
			"%s:1:1: Cluster '%s' has a certificate authority and "
			"insecure-skip-tls-verify",
			r->name, cluster->name);
	if (user && user->refused)
		return err_set(r->reterr, -EINVAL,
			"%s:1:1: The user of the context has '%s', which pleg cannot do", r->name,
			user->refused);
	return 0;
}

static int choose(struct reading *r, const char *name, struct kubeconfig *config)
{
	struct entry *context, *cluster, *user = NULL;
	int n;

	name = name ? name : r->current;
	context = find(&r->contexts, name);
	if (!context)
		return no_such(r, &r->contexts, "context", name);
	cluster = find(&r->clusters, context->context.cluster);
	if (!cluster)
		return no_such(r, &r->clusters, "cluster",
			context->context.cluster ? context->context.cluster : "(not told)");
	if (context->context.user && context->context.user[0] != '\0') {
		user = find(&r->users, context->context.user);
		if (!user)
			return no_such(r, &r->users, "user", context->context.user);
	}
	n = check(r, cluster, user ? &user->user : NULL);
	if (n < 0)
		return n;
	config->context = TAKE_PTR(context->name);
	config->ns = TAKE_PTR(context->context.ns);
	config->cluster = cluster->cluster;
	cluster->cluster = (struct kube_cluster){ 0 };
	if (user) {
		config->user = user->user;
		user->user = (struct kube_user){ 0 };
	}
	if (r->warnings.len > 0) {
		config->warnings = mem_strndup((const char *)r->warnings.data, r->warnings.len);
		return config->warnings ? 0 : -ENOMEM;
	}
	return 0;
}

int kubeconfig_parse(const char *name, const char *text, size_t len, const char *context,
	struct kubeconfig **ret, struct err *reterr)
{
	CLEAN(kubeconfig_freep) struct kubeconfig *config = mem_zalloc(sizeof(*config));
	CLEAN(reading_done)
	struct reading r = {
		.name = name,
		.clusters = { .key = "clusters",
			.inner = "cluster",
			.fields = cluster_fields,
			.base = offsetof(struct entry, cluster) },
		.users = { .key = "users",
			.inner = "user",
			.fields = user_fields,
			.base = offsetof(struct entry, user) },
		.contexts = { .key = "contexts",
			.inner = "context",
			.fields = context_fields,
			.base = offsetof(struct entry, context) },
		.warnings = BUF_INIT(KUBECONFIG_WARNINGS),
		.reterr = reterr,
	};
	int n;

	if (!config)
		return -ENOMEM;
	n = yaml_new(name, text, len, &r.yaml, reterr);
	if (n >= 0)
		n = read_all(&r);
	if (n >= 0)
		n = choose(&r, context, config);
	if (n < 0)
		return n;
	*ret = TAKE_PTR(config);
	return 0;
}
