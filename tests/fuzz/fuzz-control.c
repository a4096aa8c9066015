/* Request lines of the control socket, from whoever reaches it. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/err.h"
#include "control/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct control_request request, again;
	struct buf line = BUF_INIT(CONTROL_REQUEST_MAX * 8);
	struct err err = { 0 };

	if (control_request_parse((const char *)data, size, &request, &err) < 0) {
		if (err.text[0] == '\0' || err.code >= 0)
			abort(); /* an error that nobody could read */
		return 0;
	}
	/* What was understood can be said again, and means the same. */
	if (control_request_format(&request, &line) < 0)
		abort();
	if (control_request_parse((const char *)line.data, line.len - 1, &again, &err) < 0)
		abort();
	if (again.type != request.type)
		abort();
	if (request.type == CONTROL_EVENTS &&
		(again.follow != request.follow || again.kubelet != request.kubelet ||
			again.from != request.from || again.tail != request.tail ||
			!again.pod != !request.pod))
		abort();
	control_request_done(&again);
	control_request_done(&request);
	buf_done(&line);
	return 0;
}
