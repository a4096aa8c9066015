#include "trace/metric.h"

#include <stdio.h>

#define NUMBER_MAX 32

static bool row_value(struct slice row, struct slice name, double *ret)
{
	const char *value;
	char number[NUMBER_MAX];
	size_t len;

	if (row.len <= name.len || memcmp(row.data, name.data, name.len) != 0)
		return false;
	if (row.data[name.len] != ' ' && row.data[name.len] != '{')
		return false;
	value = memrchr(row.data, ' ', row.len);
	if (!value)
		return false;
	value++;
	len = (size_t)(row.data + row.len - value);
	if (len >= sizeof(number))
		return false;
	memcpy(number, value, len);
	number[len] = '\0';
	return sscanf(number, "%lf", ret) == 1;
}

bool trace_metric_sum(struct slice text, const char *name, double *ret)
{
	bool is_there = false;
	double value;

	*ret = 0;
	while (text.len > 0) {
		const char *newline = memchr(text.data, '\n', text.len);
		size_t len = newline ? (size_t)(newline - text.data) : text.len;
		size_t taken = newline ? len + 1 : len;

		if (row_value((struct slice){ text.data, len },
			    (struct slice){ name, strlen(name) }, &value)) {
			*ret += value;
			is_there = true;
		}
		text.data += taken;
		text.len -= taken;
	}
	return is_there;
}
