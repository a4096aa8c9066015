#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#include "base/fault.h"

void *mem_alloc(size_t size)
{
	if (fault_is_due(FAULT_ALLOC))
		return NULL;
	return malloc(size ? size : 1);
}

void *mem_zalloc(size_t size)
{
	return mem_array(1, size);
}

void *mem_array(size_t count, size_t size)
{
	if (fault_is_due(FAULT_ALLOC))
		return NULL;
	if (count == 0 || size == 0)
		count = size = 1;
	return calloc(count, size);
}

void *mem_resize(void *old, size_t count, size_t size)
{
	if (fault_is_due(FAULT_ALLOC))
		return NULL;
	if (count == 0 || size == 0)
		count = size = 1;
	return reallocarray(old, count, size);
}

char *mem_strdup(const char *s)
{
	return mem_strndup(s, strlen(s));
}

char *mem_strndup(const char *s, size_t len)
{
	char *copy = mem_alloc(len + 1);

	if (!copy)
		return NULL;
	if (len > 0)
		memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

void *mem_free(void *p)
{
	free(p);
	return NULL;
}
