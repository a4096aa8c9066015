#include "agent/config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/fd.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/time.h"
#include "base/yaml.h"
#include "pleg/pleg.h"

#define CONFIG_TEXT_MAX 4096 /* bytes of one value: a path */

enum config_type {
	CONFIG_VERSION,  /* apiVersion: looked at, not kept */
	CONFIG_DURATION, /* uint64_t, within min..max */
	CONFIG_AGE,      /* uint64_t, a duration that may have days, within min..max */
	CONFIG_BYTES,    /* uint64_t, a number with Ki, Mi, Gi or without, within min..max */
	CONFIG_PERCENT,  /* uint64_t, "20%", within min..max */
	CONFIG_ENDPOINT, /* char *, unix:///path */
	CONFIG_PATH,     /* char *, absolute */
	CONFIG_CLUSTER,  /* char *, absolute, or the word in-cluster */
	CONFIG_FOLDER,   /* char *, absolute, or "" for off */
	CONFIG_SOCKET,   /* char *, absolute and short enough for a socket */
	CONFIG_ADDRESS,  /* char *, HOST:PORT with a numeric port, or "" for off */
	CONFIG_NAME,     /* char *, a DNS subdomain */
	CONFIG_LEVEL,    /* enum log_level */
	CONFIG_SWITCH,   /* bool */
};

struct config_key {
	const char *name;
	enum config_type type;
	size_t offset;
	uint64_t min, max; /* CONFIG_DURATION and CONFIG_AGE in ns, CONFIG_BYTES, CONFIG_PERCENT */
};

#define MIB          (UINT64_C(1) << 20)
#define FIELD(field) offsetof(struct config, field)

static const struct config_key keys[] = {
	{ "apiVersion", CONFIG_VERSION, 0, 0, 0 },
	{ "containerRuntimeEndpoint", CONFIG_ENDPOINT, FIELD(container_runtime_endpoint), 0, 0 },
	{ "runtimeRequestTimeout", CONFIG_DURATION, FIELD(runtime_request_timeout_ns),
		1 * NSEC_PER_SEC, 3600 * NSEC_PER_SEC },
	{ "nodeStatusUpdateFrequency", CONFIG_DURATION, FIELD(node_status_update_frequency_ns),
		1 * NSEC_PER_SEC, 300 * NSEC_PER_SEC },
	{ "nodeName", CONFIG_NAME, FIELD(node_name), 0, 0 },
	{ "stateDir", CONFIG_FOLDER, FIELD(state_dir), 0, 0 },
	{ "controlSocket", CONFIG_SOCKET, FIELD(control_socket), 0, 0 },
	{ "metricsAddress", CONFIG_ADDRESS, FIELD(metrics_address), 0, 0 },
	{ "httpAddress", CONFIG_ADDRESS, FIELD(http_address), 0, 0 },
	{ "httpTokenFile", CONFIG_PATH, FIELD(http_token_file), 0, 0 },
	{ "tlsCertFile", CONFIG_PATH, FIELD(tls_cert_file), 0, 0 },
	{ "tlsPrivateKeyFile", CONFIG_PATH, FIELD(tls_private_key_file), 0, 0 },
	{ "relistPeriod", CONFIG_DURATION, FIELD(relist_period_ns), 100 * NSEC_PER_MSEC,
		300 * NSEC_PER_SEC },
	{ "relistThreshold", CONFIG_DURATION, FIELD(relist_threshold_ns), 1 * NSEC_PER_SEC,
		3600 * NSEC_PER_SEC },
	{ "inspectTimeout", CONFIG_DURATION, FIELD(inspect_timeout_ns), 100 * NSEC_PER_MSEC,
		600 * NSEC_PER_SEC },
	{ "journalMaxAge", CONFIG_AGE, FIELD(journal_max_age_ns), 3600 * NSEC_PER_SEC,
		UINT64_C(366) * 86400 * NSEC_PER_SEC },
	{ "journalMaxBytes", CONFIG_BYTES, FIELD(journal_max_bytes), 4 * MIB, 65536 * MIB },
	{ "kubeconfig", CONFIG_CLUSTER, FIELD(kubeconfig), 0, 0 },
	{ "nodeConditions", CONFIG_SWITCH, FIELD(node_conditions), 0, 0 },
	{ "nodeTaint", CONFIG_SWITCH, FIELD(node_taint), 0, 0 },
	{ "maxQuarantinedShare", CONFIG_PERCENT, FIELD(max_quarantined_percent), 0, 100 },
	{ "readyCalm", CONFIG_DURATION, FIELD(ready_calm_ns), 0, 3600 * NSEC_PER_SEC },
	{ "readyCalmMax", CONFIG_DURATION, FIELD(ready_calm_max_ns), 0, 86400 * NSEC_PER_SEC },
	{ "doctorCalm", CONFIG_DURATION, FIELD(doctor_calm_ns), 1 * NSEC_PER_SEC,
		600 * NSEC_PER_SEC },
	{ "logLevel", CONFIG_LEVEL, FIELD(log_level), 0, 0 },
};

/* A place in the file that an error can point at; line 0: the key is not there. */
struct config_place {
	unsigned line, column;
};

struct config_reader {
	const char *name;
	struct config *config;
	struct config_place places[ELEMENTS(keys)]; /* of the values */
};

/* ---- lifetime ------------------------------------------------------------------------------ */

static int config_set(char **field, const char *text)
{
	char *copy = mem_strdup(text);

	if (!copy)
		return -ENOMEM;
	(void)mem_free(*field);
	*field = copy;
	return 0;
}

int config_init(struct config *config)
{
	const struct {
		char **field;
		const char *text;
	} texts[] = {
		{ &config->container_runtime_endpoint, "" },
		{ &config->node_name, "" },
		{ &config->state_dir, "/var/lib/pleg" },
		{ &config->control_socket, "/run/pleg/pleg.sock" },
		{ &config->metrics_address, "127.0.0.1:10269" },
		{ &config->http_address, "127.0.0.1:10270" },
		{ &config->http_token_file, "" },
		{ &config->tls_cert_file, "" },
		{ &config->tls_private_key_file, "" },
		{ &config->kubeconfig, "" },
	};

	*config = (struct config){
		.runtime_request_timeout_ns = 120 * NSEC_PER_SEC,
		.node_status_update_frequency_ns = 10 * NSEC_PER_SEC,
		.relist_period_ns = 1 * NSEC_PER_SEC,
		.relist_threshold_ns = 180 * NSEC_PER_SEC,
		.inspect_timeout_ns = 10 * NSEC_PER_SEC,
		.ready_calm_ns = 10 * NSEC_PER_SEC,
		.doctor_calm_ns = 4 * NSEC_PER_SEC,
		.ready_calm_max_ns = 300 * NSEC_PER_SEC,
		.max_quarantined_percent = 20,
		.node_conditions = true,
		.journal_max_age_ns = UINT64_C(7) * 86400 * NSEC_PER_SEC,
		.journal_max_bytes = 64 * MIB,
		.log_level = LOG_LEVEL_INFO,
	};
	for (size_t i = 0; i < ELEMENTS(texts); i++)
		if (config_set(texts[i].field, texts[i].text) < 0)
			return -ENOMEM;
	return 0;
}

void config_done(struct config *config)
{
	char **const texts[] = { &config->container_runtime_endpoint, &config->node_name,
		&config->state_dir, &config->control_socket, &config->metrics_address,
		&config->http_address, &config->http_token_file, &config->tls_cert_file,
		&config->tls_private_key_file, &config->kubeconfig };

	for (size_t i = 0; i < ELEMENTS(texts); i++)
		*texts[i] = mem_free(*texts[i]);
}

static void *config_field(const struct config_reader *reader, const struct config_key *key)
{
	return (char *)reader->config + key->offset;
}

/* ---- errors -------------------------------------------------------------------------------- */

#define FAIL_AT(reader, place, reterr, ...)                                                        \
	err_set(reterr, -EINVAL, "%s:%u:%u: %s", (reader)->name, (place).line, (place).column,     \
		FMT(__VA_ARGS__))

#define CONFIG_TYPO_MAX     4
#define CONFIG_KEY_NAME_MAX 40

static size_t config_least(size_t a, size_t b, size_t c)
{
	size_t least = a < b ? a : b;

	return least < c ? least : c;
}

/* Levenshtein's distance without regard to case. */
static size_t config_distance(const char *a, const char *b)
{
	size_t row[CONFIG_KEY_NAME_MAX + 1], len = strlen(b);

	if (len > CONFIG_KEY_NAME_MAX || strlen(a) > CONFIG_KEY_NAME_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= len; j++)
		row[j] = j;
	for (size_t i = 0; a[i]; i++) {
		size_t diagonal = row[0];

		row[0] = i + 1;
		for (size_t j = 0; j < len; j++) {
			bool differ = strncasecmp(a + i, b + j, 1) != 0;
			size_t best = config_least(diagonal + differ, row[j] + 1, row[j + 1] + 1);

			diagonal = row[j + 1];
			row[j + 1] = best;
		}
	}
	return row[len];
}

static int config_fail_unknown(
	const struct config_reader *reader, const struct yaml_item *item, struct err *reterr)
{
	struct config_place place = { item->line, item->column };
	size_t best = SIZE_MAX, distance;
	const char *nearest = NULL;
	char clean[64], all[440];
	int n = 0;

	(void)str_clean(clean, sizeof(clean), item->text, item->len);
	for (size_t i = 0; i < ELEMENTS(keys); i++) {
		distance = config_distance(item->text, keys[i].name);
		if (distance < best) {
			best = distance;
			nearest = keys[i].name;
		}
		if (n >= 0 && (size_t)n < sizeof(all))
			n += snprintf(all + n, sizeof(all) - (size_t)n, "%s%s", i ? ", " : "",
				keys[i].name);
	}
	if (best <= CONFIG_TYPO_MAX && best < item->len)
		return FAIL_AT(reader, place, reterr, "Unknown key '%s'; did you mean '%s'?", clean,
			nearest);
	return err_set(reterr, -EINVAL, "%s:%u:%u: Unknown key '%s'; there are %s", reader->name,
		place.line, place.column, clean, all);
}

/* ---- values -------------------------------------------------------------------------------- */

/* A number in YAML's core schema: 5, -0.5, .5, 1e9, 0x1f, 0o17. */
static bool config_is_number(const char *s)
{
	static const char digits[] = "0123456789";
	size_t whole, fraction = 0;

	if (str_after(s, "0x"))
		return s[2 + strspn(s + 2, "0123456789abcdefABCDEF")] == '\0';
	if (str_after(s, "0o"))
		return s[2 + strspn(s + 2, "01234567")] == '\0';
	s += *s == '-' || *s == '+';
	whole = strspn(s, digits);
	s += whole;
	if (*s == '.') {
		fraction = strspn(s + 1, digits);
		s += 1 + fraction;
	}
	if (whole + fraction == 0)
		return false;
	if (*s == 'e' || *s == 'E') {
		s += 1 + (s[1] == '-' || s[1] == '+');
		s += strspn(s, digits);
	}
	return *s == '\0';
}

/* False for what YAML's core schema takes for something else than a text. */
static bool config_is_text(const struct yaml_item *item)
{
	static const char *const others[] = { "", "~", "null", "true", "false" };

	if (!item->is_plain)
		return true;
	for (size_t i = 0; i < ELEMENTS(others); i++)
		if (strcasecmp(item->text, others[i]) == 0)
			return false;
	return !config_is_number(item->text);
}

int config_endpoint(const char *text, char **ret_endpoint)
{
	CLEAN(mem_freep) char *endpoint = NULL;
	const char *path = str_after(text, "unix://");
	size_t size;

	if (!path)
		path = text;
	if (path[0] != '/' || path[1] == '\0' ||
		strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return -EINVAL;
	size = strlen(path) + sizeof("unix://");
	endpoint = mem_alloc(size);
	if (!endpoint)
		return -ENOMEM;
	(void)snprintf(endpoint, size, "unix://%s", path);
	*ret_endpoint = TAKE_PTR(endpoint);
	return 0;
}

/* Lower case letters, digits, '-' and '.', as Kubernetes has the names of nodes. */
static bool config_is_node_name(const char *s)
{
	size_t len = strlen(s);

	return len > 0 && len <= 253 &&
		strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") == len &&
		isalnum((unsigned char)s[0]) && isalnum((unsigned char)s[len - 1]);
}

/* "127.0.0.1:10270" or "[::1]:10270": no names, since looking one up may block. */
static bool config_is_address(const char *s)
{
	const char *colon = strrchr(s, ':');
	unsigned char address[sizeof(struct in6_addr)];
	char host[INET6_ADDRSTRLEN];
	uint64_t port;
	size_t len;
	bool is_v6;

	if (!colon || str_to_u64(colon + 1, &port) < 0 || port > 65535)
		return false;
	len = (size_t)(colon - s);
	is_v6 = len > 2 && s[0] == '[' && colon[-1] == ']';
	if (is_v6) {
		s++;
		len -= 2;
	}
	if (len >= sizeof(host))
		return false;
	memcpy(host, s, len);
	host[len] = '\0';
	return inet_pton(is_v6 ? AF_INET6 : AF_INET, host, address) == 1;
}

static int config_duration(const struct config_reader *reader, const struct config_key *key,
	const struct yaml_item *item, struct err *reterr)
{
	uint64_t *field = config_field(reader, key);
	struct config_place place = { item->line, item->column };
	char min[TIME_TEXT_MAX], max[TIME_TEXT_MAX];
	uint64_t ns = 0;
	int r;

	if (str_eq(key->name, "relistPeriod") && str_eq(item->text, "auto")) {
		reader->config->relist_auto = true;
		return 0;
	}
	r = key->type == CONFIG_AGE ? time_parse_age(item->text, &ns)
				    : time_parse_duration(item->text, &ns);
	if (r == -EINVAL)
		return FAIL_AT(reader, place, reterr, "%s: not a duration; write it as %s",
			key->name,
			key->type == CONFIG_AGE ? "12h, 7d or 1d12h" : "500ms, 10s or 2m30s");
	if (r < 0 || ns < key->min || ns > key->max)
		return FAIL_AT(reader, place, reterr, "%s: out of range; allowed is %s to %s",
			key->name, time_format_go(min, key->min), time_format_go(max, key->max));
	*field = ns;
	return 0;
}

/* "67108864", "64Mi": a quantity of Kubernetes', of its binary ones. */
static bool config_quantity(const char *text, uint64_t *ret)
{
	static const struct {
		const char *name;
		unsigned shift;
	} units[] = { { "", 0 }, { "Ki", 10 }, { "Mi", 20 }, { "Gi", 30 } };
	size_t digits_len = strspn(text, "0123456789");
	char digits[24];
	uint64_t value;

	if (digits_len >= sizeof(digits))
		return false;
	memcpy(digits, text, digits_len);
	digits[digits_len] = '\0';
	if (str_to_u64(digits, &value) < 0)
		return false;
	for (size_t i = 0; i < ELEMENTS(units); i++)
		if (str_eq(text + digits_len, units[i].name)) {
			*ret = value > UINT64_MAX >> units[i].shift ? UINT64_MAX
								    : value << units[i].shift;
			return true;
		}
	return false;
}

static int config_bytes(const struct config_reader *reader, const struct config_key *key,
	const struct yaml_item *item, struct err *reterr)
{
	uint64_t *field = config_field(reader, key), value = 0;
	struct config_place place = { item->line, item->column };

	if (!config_quantity(item->text, &value))
		return FAIL_AT(reader, place, reterr,
			"%s: not a number of bytes; write it as 64Mi, 1Gi or 67108864", key->name);
	if (value < key->min || value > key->max)
		return FAIL_AT(reader, place, reterr, "%s: out of range; allowed is %uMi to %uGi",
			key->name, (unsigned)(key->min >> 20), (unsigned)(key->max >> 30));
	*field = value;
	return 0;
}

static int config_percent(const struct config_reader *reader, const struct config_key *key,
	const struct yaml_item *item, struct err *reterr)
{
	uint64_t *field = config_field(reader, key);
	struct config_place place = { item->line, item->column };
	char digits[8] = "";
	uint64_t value = 0;

	if (item->len >= 2 && item->len < sizeof(digits) && item->text[item->len - 1] == '%')
		memcpy(digits, item->text, item->len - 1);
	if (str_to_u64(digits, &value) < 0 || value < key->min || value > key->max)
		return FAIL_AT(reader, place, reterr, "%s: allowed is %u%% to %u%%, such as 20%%",
			key->name, (unsigned)key->min, (unsigned)key->max);
	*field = value;
	return 0;
}

static int config_text(const struct config_reader *reader, const struct config_key *key,
	const struct yaml_item *item, struct err *reterr)
{
	char **field = config_field(reader, key);
	struct config_place place = { item->line, item->column };
	const char *wanted = NULL;

	if (item->len > CONFIG_TEXT_MAX)
		return FAIL_AT(reader, place, reterr, "%s: longer than %d bytes", key->name,
			CONFIG_TEXT_MAX);
	if (key->type == CONFIG_PATH && item->text[0] != '/')
		wanted = "an absolute path";
	if (key->type == CONFIG_CLUSTER && item->text[0] != '/' &&
		!str_eq(item->text, "in-cluster"))
		wanted = "an absolute path, or in-cluster";
	if (key->type == CONFIG_FOLDER && item->len > 0 && item->text[0] != '/')
		wanted = "an absolute path, or \"\" for off";
	if (key->type == CONFIG_SOCKET &&
		(item->text[0] != '/' ||
			item->len >= sizeof(((struct sockaddr_un *)NULL)->sun_path)))
		wanted = "an absolute path of at most 107 bytes";
	if (key->type == CONFIG_NAME && !config_is_node_name(item->text))
		wanted = "a node name: lower case letters, digits, '-' and '.'";
	if (key->type == CONFIG_ADDRESS && item->len > 0 && !config_is_address(item->text))
		wanted = "an address such as 127.0.0.1:10270 or [::1]:10270, or \"\" for off";
	if (wanted)
		return FAIL_AT(reader, place, reterr, "%s: must be %s", key->name, wanted);
	return config_set(field, item->text);
}

/* YAML's core schema; a text "true" is no bool, but meant as one. */
static int config_switch(const struct config_reader *reader, const struct config_key *key,
	const struct yaml_item *item, struct err *reterr)
{
	struct config_place place = { item->line, item->column };
	bool *field = config_field(reader, key);

	if (strcasecmp(item->text, "true") != 0 && strcasecmp(item->text, "false") != 0)
		return FAIL_AT(reader, place, reterr, "%s: must be true or false", key->name);
	*field = strcasecmp(item->text, "true") == 0;
	return 0;
}

static int config_value(const struct config_reader *reader, const struct config_key *key,
	const struct yaml_item *item, struct err *reterr)
{
	struct config_place place = { item->line, item->column };
	bool may_be_other = key->type == CONFIG_BYTES || key->type == CONFIG_SWITCH;

	if (item->type != YAML_SCALAR || (!may_be_other && !config_is_text(item)))
		return FAIL_AT(reader, place, reterr, "%s: must be %s", key->name,
			item->type != YAML_SCALAR ? "one value, not a list or a mapping"
				: key->type == CONFIG_DURATION
				? "a duration with its unit, such as 10s"
				: key->type == CONFIG_AGE ? "a duration with its unit, such as 7d"
				: key->type == CONFIG_PERCENT
				? "a percentage, such as 20%"
				: "a text; put it in quotes if it is one");

	switch (key->type) {
	case CONFIG_VERSION:
		if (!str_eq(item->text, CONFIG_API_VERSION))
			return FAIL_AT(reader, place, reterr, "apiVersion: this pleg knows only %s",
				CONFIG_API_VERSION);
		return 0;
	case CONFIG_DURATION:
	case CONFIG_AGE: return config_duration(reader, key, item, reterr);
	case CONFIG_BYTES: return config_bytes(reader, key, item, reterr);
	case CONFIG_PERCENT: return config_percent(reader, key, item, reterr);
	case CONFIG_ENDPOINT: {
		char **field = config_field(reader, key), *endpoint = NULL;
		int r = config_endpoint(item->text, &endpoint);

		if (r == -EINVAL)
			return FAIL_AT(reader, place, reterr,
				"%s: must be a unix socket such as "
				"unix:///run/containerd/containerd.sock",
				key->name);
		if (r < 0)
			return r;
		(void)mem_free(*field);
		*field = endpoint;
		return 0;
	}
	case CONFIG_PATH:
	case CONFIG_CLUSTER:
	case CONFIG_FOLDER:
	case CONFIG_SOCKET:
	case CONFIG_ADDRESS:
	case CONFIG_NAME: return config_text(reader, key, item, reterr);
	case CONFIG_SWITCH: return config_switch(reader, key, item, reterr);
	case CONFIG_LEVEL:
		if (log_level_from_string(item->text, &reader->config->log_level) < 0)
			return FAIL_AT(reader, place, reterr,
				"%s: must be error, warning, info or debug", key->name);
		return 0;
	}
	return 0;
}

/* ---- the whole file ------------------------------------------------------------------------ */

static struct config_place config_place_of(const struct config_reader *reader, const char *name)
{
	for (size_t i = 0; i < ELEMENTS(keys); i++)
		if (str_eq(keys[i].name, name))
			return reader->places[i];
	return (struct config_place){ 0, 0 };
}

/* The place of whichever of the two keys the file has, the first one first. */
static struct config_place config_place_of_pair(
	const struct config_reader *reader, const char *a, const char *b)
{
	struct config_place place = config_place_of(reader, a);

	return place.line ? place : config_place_of(reader, b);
}

/* What has to hold between the keys. Defaults hold it, so one of the keys at fault is there. */
static int config_check(const struct config_reader *reader, struct err *reterr)
{
	const struct config *c = reader->config;
	struct config_place place;

	if (c->relist_auto && c->relist_threshold_ns <= PLEG_CONFIG_DEFAULT.relist_period_max_ns) {
		place = config_place_of_pair(reader, "relistThreshold", "relistPeriod");
		return FAIL_AT(reader, place, reterr,
			"relistThreshold: must be longer than 10s, to which 'relistPeriod: auto' "
			"stretches");
	}
	if (c->relist_threshold_ns <= c->relist_period_ns) {
		place = config_place_of_pair(reader, "relistThreshold", "relistPeriod");
		return FAIL_AT(
			reader, place, reterr, "relistThreshold: must be longer than relistPeriod");
	}
	if (c->ready_calm_max_ns < c->ready_calm_ns) {
		place = config_place_of_pair(reader, "readyCalmMax", "readyCalm");
		return FAIL_AT(reader, place, reterr, "readyCalmMax: must not be below readyCalm");
	}
	if ((c->tls_cert_file[0] == '\0') != (c->tls_private_key_file[0] == '\0')) {
		place = config_place_of_pair(reader, "tlsCertFile", "tlsPrivateKeyFile");
		return FAIL_AT(reader, place, reterr,
			"tlsCertFile and tlsPrivateKeyFile: one is of no use without the other");
	}
	if (c->node_taint && !c->node_conditions)
		return FAIL_AT(reader, config_place_of(reader, "nodeTaint"), reterr,
			"nodeTaint: needs nodeConditions, which it follows");
	return 0;
}

static int config_pair(struct config_reader *reader, struct yaml *yaml,
	const struct yaml_item *key_item, struct err *reterr)
{
	struct config_place at = { key_item->line, key_item->column };
	struct yaml_item value;
	size_t i = 0;
	int r;

	if (key_item->type != YAML_SCALAR)
		return FAIL_AT(reader, at, reterr, "A key must be a plain word");
	while (i < ELEMENTS(keys) && !str_eq(keys[i].name, key_item->text))
		i++;
	if (i == ELEMENTS(keys))
		return config_fail_unknown(reader, key_item, reterr);
	if (reader->places[i].line)
		return FAIL_AT(reader, at, reterr, "%s: given twice, first in line %u",
			keys[i].name, reader->places[i].line);
	r = yaml_next(yaml, &value, reterr);
	if (r < 0)
		return r;
	reader->places[i] = (struct config_place){ value.line, value.column };
	return config_value(reader, &keys[i], &value, reterr);
}

int config_parse(
	struct config *config, const char *name, const char *text, size_t len, struct err *reterr)
{
	struct config_reader reader = { .name = name, .config = config };
	struct config_place start = { 1, 1 };
	CLEAN(yaml_freep) struct yaml *yaml = NULL;
	struct yaml_item item;
	int r;

	r = yaml_new(name, text, len, &yaml, reterr);
	if (r < 0)
		return r;
	r = yaml_next(yaml, &item, reterr);
	if (r < 0)
		return r;
	if (item.type == YAML_MAPPING_START) {
		start = (struct config_place){ item.line, item.column };
		while ((r = yaml_next(yaml, &item, reterr)) >= 0 && item.type != YAML_MAPPING_END) {
			r = config_pair(&reader, yaml, &item, reterr);
			if (r < 0)
				return r;
		}
		if (r < 0)
			return r;
		r = yaml_next(yaml, &item, reterr);
		if (r < 0)
			return r;
	} else if (item.type != YAML_END) {
		start = (struct config_place){ item.line, item.column };
		return FAIL_AT(&reader, start, reterr, "Must hold keys, a line each: 'key: value'");
	}
	if (!reader.places[0].line)
		return FAIL_AT(&reader, start, reterr,
			"apiVersion is missing; write 'apiVersion: %s'", CONFIG_API_VERSION);
	return config_check(&reader, reterr);
}

int config_load(struct config *config, const char *path, bool must_exist, struct err *reterr)
{
	CLEAN(mem_freep) char *text = NULL;
	size_t len = 0;
	int r;

	r = fd_read_file(path, CONFIG_FILE_MAX, &text, &len);
	if (r == -ENOENT && !must_exist)
		return 0;
	if (r < 0)
		return err_wrap(reterr, r, "Read %s", path);
	return config_parse(config, path, text, len, reterr);
}
