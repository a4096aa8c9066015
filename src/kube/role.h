/* The api role: what pleg-api does when the agent starts it. Returns the exit status. */
#pragma once

int api_role_run(void);
