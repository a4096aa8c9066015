/* The status page: whatever the document holds, the only markup in it is the page's own. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "web/page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEAN(buf_done) struct buf out = BUF_INIT(1u << 20);
	CLEAN(buf_done) struct buf lines = BUF_INIT(1u << 20);
	const char *p, *end;

	(void)page_array_of_lines(data, size, &lines);
	if (page_render(data, size, &out) < 0)
		return 0;
	p = buf_string(&out);
	p = p ? strstr(p, "<pre>") : NULL;
	end = p ? strstr(p, "</pre>") : NULL;
	if (!end)
		abort();
	for (p += 5; (p = memchr(p, '<', (size_t)(end - p))) != NULL; p++)
		if (strncmp(p, "<b>", 3) != 0 && strncmp(p, "</b>", 4) != 0)
			abort();
	return 0;
}
