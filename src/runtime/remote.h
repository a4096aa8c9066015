/* What the parts that speak gRPC to a runtime share. */
#pragma once

#include "net/grpc.h"
#include "runtime/runtime.h"

/* The socket's path of "unix:///path" or of a bare absolute path; NULL for anything else. */
const char *remote_path(const char *endpoint);
/* What a call's end means, but for GRPC_STATUS, of which only the method knows: RUNTIME_ERROR. */
enum runtime_outcome remote_outcome(enum grpc_outcome outcome);
