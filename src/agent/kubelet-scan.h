/*
 * Which runtime the kubelet beside us uses, and where it listens: its own command line, configuration
 * file and what lies beside that in --config-dir, as the kubelet itself reads them.
 *
 * Everything here may block in the kernel: /proc/PID/cmdline while a thread of that process holds
 * mmap_lock, the configuration file while its disk hangs. Only a process that can be abandoned calls
 * it (agent/endpoint.c forks one).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KUBELET_ENDPOINT_DEFAULT "unix:///run/containerd/containerd.sock"
#define KUBELET_HEALTHZ_PORT     10248
#define KUBELET_PORT             10250
#define KUBELET_READ_PORT        10255

enum kubelet_given { /* by the command line, which goes over the files */
	KUBELET_GIVEN_ENDPOINT = 1 << 0,
	KUBELET_GIVEN_HEALTHZ_PORT = 1 << 1,
	KUBELET_GIVEN_HEALTHZ_ADDRESS = 1 << 2,
	KUBELET_GIVEN_PORT = 1 << 3,
	KUBELET_GIVEN_READ_PORT = 1 << 4,
};

struct kubelet_scan {
	int pid;              /* 0: there is none in our pid namespace */
	uint64_t start_ticks; /* of that process, since boot; 0: not known */
	char endpoint[256];
	char healthz_address[64];
	uint16_t healthz_port; /* 0: switched off */
	uint16_t port;         /* the one that wants credentials */
	uint16_t read_port;    /* the one without; 0: switched off */
	unsigned given;        /* of enum kubelet_given */
	char note[256];        /* what could not be read, for people; "" if nothing */
};

/* Of a kubelet that was told nothing. */
#define KUBELET_SCAN_DEFAULT                                                                       \
	(struct kubelet_scan)                                                                      \
	{                                                                                          \
		.healthz_address = "127.0.0.1", .healthz_port = KUBELET_HEALTHZ_PORT,              \
		.port = KUBELET_PORT, .read_port = KUBELET_READ_PORT                               \
	}

/* Fills in what is found under `proc` ("/proc"); a kubelet that says nothing has its defaults. */
void kubelet_scan(const char *proc, struct kubelet_scan *ret);

/* Where its healthz can be asked: a loopback address, or NULL if it listens on others only. */
const char *kubelet_scan_healthz_host(const struct kubelet_scan *scan);

/* Its parts, for tests. `cmdline` is NUL-separated; both change only what they find. The paths are those
 * of --config and --config-dir; "": not given. */
#define KUBELET_PATH_MAX 4096
struct kubelet_paths {
	char config[KUBELET_PATH_MAX], dir[KUBELET_PATH_MAX];
};
void kubelet_scan_cmdline(
	const char *cmdline, size_t len, struct kubelet_scan *scan, struct kubelet_paths *ret);
int kubelet_scan_config(const char *text, size_t len, struct kubelet_scan *scan);
