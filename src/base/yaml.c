#include "base/yaml.h"

#include <errno.h>
#include <libfyaml.h>
#include <stdint.h>
#include <string.h>

#include "base/str.h"

#define YAML_ERROR_TEXT_MAX 160

struct yaml {
	const char *name;
	struct fy_diag *diag;
	struct fy_parser *parser;
	struct fy_event *event; /* the one that *ret of the last yaml_next() points into */
	char *text;             /* copy of the last scalar, with its NUL */
	unsigned line, column;  /* of the last item that had a place */
	bool has_document, has_ended;
};

static void yaml_drop_output(struct fy_diag *diag, void *user, const char *data, size_t len)
{
	(void)diag, (void)user, (void)data, (void)len; /* Errors are collected, not printed. */
}

static int yaml_check_line(
	const char *name, unsigned line, const char *text, size_t len, struct err *reterr)
{
	size_t at = 0;

	while (at < len && text[at] == ' ')
		at++;
	if (at < len && text[at] == '\t')
		return err_set(reterr, -EINVAL,
			"%s:%u:%zu: A tab in the indentation, where YAML allows only blanks", name,
			line, at + 1);
	while (at < len) {
		size_t n = 1; /* bytes of the character */

		while (n <= 4 && at + n <= len && !str_is_printable(text + at, n))
			n++;
		if (text[at] == '\t')
			n = 1;
		if (n > 4 || at + n > len)
			return err_set(reterr, -EINVAL,
				"%s:%u:%zu: Byte 0x%02x is not printable UTF-8", name, line, at + 1,
				(unsigned)(uint8_t)text[at]);
		at += n;
	}
	return 0;
}

/* libfyaml skips or replaces what it cannot decode; a file like that is told so instead. */
static int yaml_check_bytes(const char *name, const char *text, size_t len, struct err *reterr)
{
	const char *end = text + len;

	for (unsigned line = 1; text < end; line++) {
		const char *newline = memchr(text, '\n', (size_t)(end - text));
		size_t line_len = (size_t)((newline ? newline : end) - text);
		size_t carriage = line_len > 0 && text[line_len - 1] == '\r';
		int r = yaml_check_line(name, line, text, line_len - carriage, reterr);

		if (r < 0)
			return r;
		text += line_len + 1;
	}
	return 0;
}

int yaml_new(const char *name, const char *text, size_t len, struct yaml **ret, struct err *reterr)
{
	CLEAN(yaml_freep) struct yaml *yaml = NULL;
	struct fy_diag_cfg diag_config;
	struct fy_parse_cfg config = { .flags =
					       FYPCF_QUIET | FYPCF_JSON_NONE | FYPCF_COLLECT_DIAG };
	int r;

	r = yaml_check_bytes(name, text, len, reterr);
	if (r < 0)
		return r;
	yaml = mem_zalloc(sizeof(*yaml));
	if (!yaml)
		return -ENOMEM;
	yaml->name = name;
	yaml->line = yaml->column = 1;

	fy_diag_cfg_default(&diag_config);
	diag_config.fp = NULL;
	diag_config.output_fn = yaml_drop_output;
	diag_config.level = FYET_ERROR;
	yaml->diag = fy_diag_create(&diag_config);
	if (!yaml->diag)
		return -ENOMEM;
	fy_diag_set_collect_errors(yaml->diag, true);
	config.diag = yaml->diag;
	yaml->parser = fy_parser_create(&config);
	if (!yaml->parser || fy_parser_set_string(yaml->parser, text, len) < 0)
		return -ENOMEM;
	*ret = TAKE_PTR(yaml);
	return 0;
}

struct yaml *yaml_free(struct yaml *yaml)
{
	if (!yaml)
		return NULL;
	if (yaml->event)
		fy_parser_event_free(yaml->parser, yaml->event);
	if (yaml->parser)
		fy_parser_destroy(yaml->parser);
	if (yaml->diag)
		fy_diag_destroy(yaml->diag);
	yaml->text = mem_free(yaml->text);
	return mem_free(yaml);
}

static int yaml_fail(const struct yaml *yaml, const char *what, struct err *reterr)
{
	return err_set(reterr, -EINVAL, "%s:%u:%u: %s", yaml->name, yaml->line, yaml->column, what);
}

/* The first error is the cause; the others follow from it. */
static int yaml_fail_parse(struct yaml *yaml, struct err *reterr)
{
	char clean[YAML_ERROR_TEXT_MAX];
	struct fy_diag_error *error;
	void *cursor = NULL;

	error = fy_diag_errors_iterate(yaml->diag, &cursor);
	if (!error || !error->msg)
		return yaml_fail(yaml, "Not valid YAML", reterr);
	if (error->line > 0 && error->column > 0) {
		yaml->line = (unsigned)error->line;
		yaml->column = (unsigned)error->column;
	}
	(void)str_clean(clean, sizeof(clean), error->msg, strlen(error->msg));
	return err_set(reterr, -EINVAL, "%s:%u:%u: Not valid YAML: %s", yaml->name, yaml->line,
		yaml->column, clean);
}

static int yaml_read_scalar(struct yaml *yaml, struct yaml_item *ret, struct err *reterr)
{
	struct fy_token *token = fy_event_get_token(yaml->event);
	size_t len = 0;
	const char *text = token ? fy_token_get_text(token, &len) : NULL;
	enum fy_scalar_style style;

	if (!text)
		len = 0;
	if (len > 0 && memchr(text, '\0', len))
		return yaml_fail(yaml, "A NUL byte in a text", reterr);
	yaml->text = mem_free(yaml->text);
	yaml->text = mem_strndup(text, len);
	if (!yaml->text)
		return -ENOMEM;
	ret->type = YAML_SCALAR;
	ret->text = yaml->text;
	ret->len = len;
	style = token ? fy_scalar_token_get_style(token) : FYSS_PLAIN;
	ret->is_plain = style == FYSS_PLAIN;
	/* libfyaml's mark stands behind the quote. */
	if ((style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED) && yaml->column > 1)
		yaml->column--;
	return 0;
}

static bool yaml_has_tag(const struct fy_event *event)
{
	switch ((int)event->type) {
	case FYET_SCALAR: return event->scalar.tag;
	case FYET_MAPPING_START: return event->mapping_start.tag;
	case FYET_SEQUENCE_START: return event->sequence_start.tag;
	default: return false;
	}
}

/* 1: *ret is filled; 0: nothing for the caller in this event. */
static int yaml_translate(struct yaml *yaml, struct yaml_item *ret, struct err *reterr)
{
	if (yaml_has_tag(yaml->event))
		return yaml_fail(yaml, "Tags are not supported", reterr);

	switch (yaml->event->type) {
	case FYET_NONE:
	case FYET_STREAM_START:
	case FYET_DOCUMENT_END: return 0;
	case FYET_DOCUMENT_START:
		if (yaml->has_document)
			return yaml_fail(yaml, "A second document, where one is allowed", reterr);
		yaml->has_document = true;
		return 0;
	case FYET_STREAM_END:
		yaml->has_ended = true;
		ret->type = YAML_END;
		return 1;
	case FYET_MAPPING_START: ret->type = YAML_MAPPING_START; return 1;
	case FYET_MAPPING_END: ret->type = YAML_MAPPING_END; return 1;
	case FYET_SEQUENCE_START: ret->type = YAML_SEQUENCE_START; return 1;
	case FYET_SEQUENCE_END: ret->type = YAML_SEQUENCE_END; return 1;
	case FYET_SCALAR: {
		int r = yaml_read_scalar(yaml, ret, reterr);

		return r < 0 ? r : 1;
	}
	case FYET_ALIAS: return yaml_fail(yaml, "Aliases are not supported", reterr);
	}
	return 0;
}

int yaml_next(struct yaml *yaml, struct yaml_item *ret, struct err *reterr)
{
	for (;;) {
		struct yaml_item item = { .type = YAML_END, .text = "" };
		const struct fy_mark *mark;
		int r;

		if (yaml->event)
			fy_parser_event_free(yaml->parser, yaml->event);
		yaml->event = yaml->has_ended ? NULL : fy_parser_parse(yaml->parser);
		if (!yaml->event && !yaml->has_ended) {
			yaml->has_ended = true;
			return yaml_fail_parse(yaml, reterr);
		}
		if (yaml->event) {
			mark = fy_event_start_mark(yaml->event);
			if (mark && mark->line >= 0 && mark->column >= 0) {
				yaml->line = (unsigned)mark->line + 1;
				yaml->column = (unsigned)mark->column + 1;
			}
			r = yaml_translate(yaml, &item, reterr);
			if (r < 0) {
				yaml->has_ended = true;
				return r;
			}
			if (r == 0)
				continue;
		}
		item.line = yaml->line;
		item.column = yaml->column;
		*ret = item;
		return 0;
	}
}

int yaml_skip(struct yaml *yaml, const struct yaml_item *item, struct err *reterr)
{
	struct yaml_item at = *item;
	size_t depth = 0;

	for (;;) {
		int r;

		switch (at.type) {
		case YAML_MAPPING_START:
		case YAML_SEQUENCE_START: depth++; break;
		case YAML_MAPPING_END:
		case YAML_SEQUENCE_END: depth--; break;
		case YAML_SCALAR: break;
		case YAML_END: return 0;
		}
		if (depth == 0)
			return 0;
		r = yaml_next(yaml, &at, reterr);
		if (r < 0)
			return r;
	}
}
