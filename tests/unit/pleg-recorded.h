/*
 * Recorded from a real kubelet 1.36 on containerd 1.6.20: its "SyncLoop (PLEG)" lines. A crash loop, a
 * pod that ends, a killed container, a killed sandbox, a restart of containerd, and the end of all.
 * A kubelet logs no ContainerRemoved here.
 */
#pragma once

static const struct {
	unsigned ms; /* since the first */
	const char *pod, *type, *id;
} recorded[] = {
	{ 0, "once", "Started", "02f5f184e7d0" },
	{ 0, "once", "Started", "958b2ca22347" },
	{ 1, "sandboxkill", "Started", "1c4eaeb44278" },
	{ 1, "sandboxkill", "Started", "6838527ba141" },
	{ 14, "plain", "Started", "49a479fbd348" },
	{ 14, "plain", "Started", "129a9035be4b" },
	{ 69, "victim", "Started", "066bd176d148" },
	{ 69, "victim", "Started", "6c8ac31eb0bd" },
	{ 149, "crash", "Started", "2f90891554b1" },
	{ 150, "crash", "Started", "930ca32f092b" },
	{ 150, "crash", "Started", "2e929d00c712" },
	{ 3169, "once", "Died", "02f5f184e7d0" },
	{ 3242, "once", "Started", "216c9a36d208" },
	{ 4172, "crash", "Died", "930ca32f092b" },
	{ 4244, "crash", "Started", "2849d780bbbc" },
	{ 9183, "crash", "Died", "2849d780bbbc" },
	{ 9186, "once", "Died", "216c9a36d208" },
	{ 11193, "once", "Died", "958b2ca22347" },
	{ 12195, "victim", "Died", "066bd176d148" },
	{ 12276, "victim", "Started", "43fdf0609c9e" },
	{ 18213, "sandboxkill", "Died", "6838527ba141" },
	{ 20201, "crash", "Started", "fed50f8b29e4" },
	{ 20461, "sandboxkill", "Died", "1c4eaeb44278" },
	{ 20461, "sandboxkill", "Started", "11b7077df4ef" },
	{ 20461, "sandboxkill", "Started", "a416597a9105" },
	{ 25227, "crash", "Died", "fed50f8b29e4" },
	{ 31237, "plain", "Died", "49a479fbd348" },
	{ 31331, "plain", "Started", "848c1babed37" },
	{ 43264, "sandboxkill", "Died", "11b7077df4ef" },
	{ 43264, "sandboxkill", "Died", "a416597a9105" },
	{ 43269, "victim", "Died", "43fdf0609c9e" },
	{ 43269, "victim", "Died", "6c8ac31eb0bd" },
	{ 43271, "plain", "Died", "848c1babed37" },
	{ 43271, "plain", "Died", "129a9035be4b" },
	{ 43272, "crash", "Died", "2f90891554b1" },
	{ 43272, "crash", "Died", "2e929d00c712" },
};
