/* Names of how far a request came: also for who does not link the client. */
#include "kube/client.h"

const char *kube_error_name(enum kube_error error)
{
	static const char *const names[] = {
		[KUBE_OK] = "ok",
		[KUBE_DNS] = "dns",
		[KUBE_CONNECT] = "connect",
		[KUBE_TLS] = "tls",
		[KUBE_TIMEOUT] = "timeout",
		[KUBE_RESET] = "reset",
		[KUBE_TOO_LARGE] = "tooLarge",
		[KUBE_CREDENTIAL] = "credential",
		[KUBE_OTHER] = "other",
	};

	return (unsigned)error <= KUBE_OTHER ? names[error] : names[KUBE_OTHER];
}
