#include "runtime/remote.h"

#include "base/str.h"

const char *remote_path(const char *endpoint)
{
	const char *path = str_after(endpoint, "unix://");

	if (!path)
		path = endpoint;
	return path[0] == '/' ? path : NULL;
}

enum runtime_outcome remote_outcome(enum grpc_outcome outcome)
{
	switch (outcome) {
	case GRPC_OK: return RUNTIME_OK;
	case GRPC_STATUS: return RUNTIME_ERROR;
	case GRPC_NO_SOCKET: return RUNTIME_NO_SOCKET;
	case GRPC_REFUSED: return RUNTIME_REFUSED;
	case GRPC_SILENT: return RUNTIME_SILENT;
	case GRPC_UNREACHABLE: return RUNTIME_REFUSED; /* not allowed, not a socket */
	case GRPC_LOST: return RUNTIME_LOST;
	case GRPC_TOO_LARGE: return RUNTIME_MALFORMED;
	case GRPC_MALFORMED: return RUNTIME_MALFORMED;
	case GRPC_CANCELLED: return RUNTIME_CANCELLED;
	}
	return RUNTIME_LOST;
}
