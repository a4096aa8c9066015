/*
 * The lines of a watch and the objects in them. The first byte says in what pieces the rest comes: the
 * same lines come out as when it comes at once.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kube/lines.h"
#include "kube/object.h"

#define LINE_MAX_BYTES 65536u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(const char *line, size_t len)
{
	json_t *event = kube_parse(line, len);
	const json_t *object = json_object_get(event, "object");
	char text[KUBE_STATUS_TEXT];
	const char *reason;

	(void)kube_name(object);
	(void)kube_resource_version(object);
	(void)kube_deletion_ns(object);
	(void)kube_controller(object);
	(void)kube_finalizer(object, kube_finalizer_count(object));
	if (kube_status(object, text, &reason))
		assert(memchr(text, '\0', sizeof(text)));
	json_decref(event);
}

/* The number of bytes in lines. */
static size_t feed(const uint8_t *data, size_t size, size_t piece)
{
	struct kube_lines l = KUBE_LINES_INIT(LINE_MAX_BYTES);
	size_t total = 0, len;
	const char *line;

	for (size_t at = 0; at < size; at += piece) {
		assert(kube_lines_add(&l, data + at, size - at < piece ? size - at : piece) == 0);
		while (kube_lines_next(&l, &line, &len)) {
			assert(len > 0 && !memchr(line, '\n', len));
			look(line, len);
			total += len;
		}
	}
	kube_lines_done(&l);
	return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1 || size > LINE_MAX_BYTES)
		return 0;
	assert(feed(data + 1, size - 1, data[0] + 1u) == feed(data + 1, size - 1, size));
	return 0;
}
