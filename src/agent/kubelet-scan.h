/*
 * Which runtime the kubelet beside us uses, and where its healthz listens: its own command line and
 * configuration file, as the kubelet itself reads them.
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

struct kubelet_scan {
	int pid; /* 0: there is none in our pid namespace */
	char endpoint[256];
	uint16_t healthz_port;           /* 0: switched off */
	bool endpoint_given, port_given; /* by the command line, which goes over the file */
	char note[256];                  /* what could not be read, for people; "" if nothing */
};

/* Fills in what is found under `proc` ("/proc"); a kubelet that says nothing has its defaults. */
void kubelet_scan(const char *proc, struct kubelet_scan *ret);

/* Its parts, for tests. `cmdline` is NUL-separated; both change only what they find.
 * `ret_config` gets the path of --config. */
void kubelet_scan_cmdline(const char *cmdline, size_t len, struct kubelet_scan *scan,
	char *ret_config, size_t config_size);
int kubelet_scan_config(const char *text, size_t len, struct kubelet_scan *scan);
