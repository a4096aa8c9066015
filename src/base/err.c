#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *reterr, int code, const char *format, ...)
{
	va_list ap;

	if (!reterr)
		return code;

	reterr->code = code;
	va_start(ap, format);
	(void)vsnprintf(reterr->text, sizeof(reterr->text), format, ap);
	va_end(ap);
	return code;
}

int err_wrap(struct err *reterr, int code, const char *format, ...)
{
	char inner[sizeof(reterr->text)];
	va_list ap;
	int n;

	if (!reterr)
		return code;

	(void)snprintf(inner, sizeof(inner), "%s", err_text(reterr, code));
	reterr->code = code;
	va_start(ap, format);
	n = vsnprintf(reterr->text, sizeof(reterr->text), format, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(reterr->text))
		(void)snprintf(reterr->text + n, sizeof(reterr->text) - (size_t)n, ": %s", inner);
	return code;
}

const char *err_text(const struct err *e, int code)
{
	const char *name;

	if (e && e->text[0] != '\0')
		return e->text;
	name = strerrordesc_np(code < 0 ? -code : code);
	return name ? name : "Unknown error";
}
