#include "trace/oci-state.h"

#include <errno.h>

#include "runtime/json-scan.h"

int oci_state_parse(const char *text, size_t len, struct trace_oci_state *ret)
{
	struct slice value;
	int64_t pid, start = 0;
	int r = json_scan_check((struct slice){ text, len }, &value);

	if (r < 0)
		return r;
	if (json_scan_i64(json_scan_find(value, "init_process_pid"), &pid) < 0 || pid <= 0 ||
		pid > INT32_MAX)
		return -EBADMSG;
	/* 0: it could not tell. */
	if (json_scan_i64(json_scan_find(value, "init_process_start"), &start) < 0 || start < 0)
		return -EBADMSG;
	*ret = (struct trace_oci_state){
		.init_pid = (int32_t)pid,
		.init_start_ticks = (uint64_t)start,
	};
	return 0;
}

int oci_root_parse(const char *text, size_t len, char ret_root[TRACE_ROOT_MAX])
{
	char root[TRACE_ROOT_MAX];
	struct slice value, raw;
	int r = json_scan_check((struct slice){ text, len }, &value);

	if (r < 0)
		return r;
	raw = json_scan_raw(json_scan_find(value, "root"));
	if (raw.len == 0)
		return -ENOENT;
	if (raw.len >= TRACE_ROOT_MAX)
		return -ENAMETOOLONG;
	root[json_scan_unescape(raw, root)] = '\0';
	if (root[0] != '/')
		return -EBADMSG;
	memcpy(ret_root, root, sizeof(root));
	return 0;
}
