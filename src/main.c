/* `pleg`: the daemon and every command for a person are one program; src/cli/ has the table. */
#include <signal.h>

#include "cli/cli.h"

int main(int argc, char **argv)
{
	/* A reader that has gone is an error of the write, which ends a command quietly. */
	(void)signal(SIGPIPE, SIG_IGN);
	return cli_run(argc, argv);
}
