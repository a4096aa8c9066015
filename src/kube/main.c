/*
 * pleg-api. Started by the agent, without arguments, it is the api role: an unprivileged process that
 * speaks TLS, DNS and HTTP for the agent and is told everything by it. It is an executable of its own
 * because libcurl and TLS are not to be linked into `pleg`: see docs/internals/kube.md.
 */
#include <stdio.h>

#include "kube/role.h"

int main(int argc, char **argv)
{
	int r = argc == 1 ? api_role_run() : 2;

	if (r != 0 && argc > 1)
		(void)fprintf(stderr, "%s is started by the pleg agent only\n", argv[0]);
	return r;
}
