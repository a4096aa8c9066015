/* A trace as JSON, docs/json.md. */
#include "model/json-write.h"
#include "trace/facts.h"

static void put_state(struct json_write *w, const char *key, char state)
{
	json_write_text(w, key, state ? (char[]){ state, '\0' } : NULL);
}

static void put_subject(struct json_write *w, const struct trace_facts *f)
{
	const struct trace_subject *s = &f->subject;
	enum container_state state = f->has_status ? f->status : s->state;
	enum container_detail detail = f->has_status ? f->detail : s->detail;

	json_write_object(w, "container");
	json_write_text(w, "containerID", s->id);
	json_write_text_or_null(w, "sandboxID", s->sandbox_id);
	json_write_text_or_null(w, "namespace", s->namespace);
	json_write_text_or_null(w, "pod", s->pod);
	json_write_text_or_null(w, "podUID", s->pod_uid);
	json_write_null(w, "owner"); /* An agent may know it: see cmd-trace.c. */
	json_write_text_or_null(w, "container", s->container);
	json_write_text(w, "kind", s->is_listed ? container_kind_text(s->kind) : NULL);
	json_write_text(
		w, "state", s->is_listed || f->has_status ? container_state_text(state) : NULL);
	json_write_text_or_null(w, "detail", container_detail_text(detail));
	json_write_object_end(w);
}

static void put_call(struct json_write *w, const struct trace_call *call)
{
	if (!call->name)
		return;
	json_write_object(w, NULL);
	json_write_text(w, "call", call->name);
	json_write_text(w, "answer", evidence_answer_text(call->answer));
	if (call->answer == ANSWER_NOT_ASKED)
		json_write_null(w, "latencySeconds");
	else
		json_write_seconds(w, "latencySeconds", call->elapsed_ns);
	json_write_text_or_null(w, "message", call->message);
	json_write_object_end(w);
}

static void put_process(struct json_write *w, const char *key, const struct trace_process *p)
{
	if (p->pid == 0) {
		json_write_null(w, key);
		return;
	}
	json_write_object(w, key);
	json_write_i64(w, "pid", p->pid);
	json_write_text(w, "comm", p->comm);
	put_state(w, "state", p->state);
	json_write_text_or_null(w, "wchan", p->wchan);
	json_write_seconds(w, "ageSeconds", p->age_ns);
	json_write_u64(w, "threads", p->threads);
	json_write_object_end(w);
}

/* What those in trouble wait on. */
static void put_wait(struct json_write *w, const struct trace_group *g)
{
	const char *at = g->stack;

	if (g->mount[0] == '\0') {
		json_write_null(w, "mount");
	} else {
		json_write_object(w, "mount");
		json_write_text(w, "point", g->mount);
		json_write_text(w, "type", g->mount_type);
		json_write_object_end(w);
	}
	json_write_array(w, "stack");
	while (*at != '\0') {
		char name[TRACE_STACK_MAX];
		size_t len = strcspn(at, "\n");

		json_write_text(w, NULL, str_format(name, sizeof(name), "%.*s", (int)len, at));
		at += len + (at[len] == '\n');
	}
	json_write_array_end(w);
}

static void put_group(struct json_write *w, const struct trace_group *g)
{
	json_write_object(w, NULL);
	json_write_u64(w, "count", g->count);
	put_state(w, "state", g->state);
	json_write_text_or_null(w, "wchan", g->wchan);
	if (g->has_syscall)
		json_write_u64(w, "syscall", g->syscall);
	else
		json_write_null(w, "syscall");
	put_wait(w, g);
	json_write_bool(w, "killed", g->is_killed);
	json_write_bool(w, "stuck", g->is_stuck);
	json_write_array(w, "tids");
	for (uint32_t i = 0; i < g->count && i < TRACE_TIDS_MAX; i++)
		json_write_i64(w, NULL, g->tids[i]);
	json_write_array_end(w);
	json_write_object_end(w);
}

static void put_init(struct json_write *w, const struct trace_look *look)
{
	json_write_array(w, "freezer");
	for (uint32_t i = 0; i < look->level_count; i++) {
		json_write_object(w, NULL);
		json_write_text(w, "path", look->levels[i].path);
		json_write_text(w, "state", cgroup_freezer_text(look->levels[i].state));
		json_write_bool(w, "self", look->levels[i].self);
		json_write_object_end(w);
	}
	json_write_array_end(w);
	json_write_array(w, "threads");
	for (uint32_t i = 0; i < look->group_count; i++)
		put_group(w, &look->groups[i]);
	json_write_array_end(w);
	json_write_u64(w, "threadCount", look->thread_count);
	json_write_u64(w, "threadsLeftOut", look->threads_left_out);
}

static void put_oci(struct json_write *w, const struct trace_look *look)
{
	json_write_array(w, "processes");
	for (uint32_t i = 0; i < look->oci_count; i++)
		put_process(w, NULL, &look->oci[i]);
	json_write_array_end(w);
	if (look->state_file < 0)
		json_write_null(w, "stateFile");
	else
		json_write_bool(w, "stateFile", look->state_file == 1);
	if (!look->has_oci_state) {
		json_write_null(w, "state");
		return;
	}
	json_write_object(w, "state");
	json_write_text(w, "status", trace_oci_status_text(&look->oci_state));
	json_write_i64(w, "pid", look->oci_state.init_pid);
	json_write_bool(w, "same", trace_oci_is_same(look));
	json_write_object_end(w);
}

/* The calls of a hop, in the order they are told. */
static size_t calls_of(
	const struct trace_facts *f, enum trace_hop_name name, const struct trace_call *ret[3])
{
	switch (name) {
	case TRACE_KUBELET:
		ret[0] = &f->healthz;
		ret[1] = &f->metrics;
		return 2;
	case TRACE_CRI:
		ret[0] = &f->cri_version;
		ret[1] = &f->cri_status;
		return 2;
	case TRACE_CONTAINERD:
		ret[0] = &f->version;
		ret[1] = &f->namespaces;
		ret[2] = &f->task;
		return 3;
	case TRACE_SHIM: ret[0] = &f->shim_state; return 1;
	case TRACE_OCI:
	case TRACE_INIT: return 0;
	}
	return 0;
}

static const struct trace_process *process_of(
	const struct trace_look *look, enum trace_hop_name name)
{
	static const struct trace_process none;

	switch (name) {
	case TRACE_KUBELET: return &look->kubelet;
	case TRACE_CRI: return &look->daemon;
	case TRACE_CONTAINERD: return look->is_docker ? &look->containerd : &look->daemon;
	case TRACE_SHIM: return &look->shim;
	case TRACE_OCI: return &none;
	case TRACE_INIT: return &look->init;
	}
	return &none;
}

static void put_hop(struct json_write *w, const struct trace_facts *f,
	const struct trace_judgement *j, enum trace_hop_name name)
{
	const struct trace_hop *h = &j->hops[name];
	const struct trace_call *calls[3];
	size_t count = calls_of(f, name, calls);
	uint64_t longest_ns = 0;
	bool has_latency = false;

	for (size_t i = 0; i < count; i++)
		if (calls[i]->name && calls[i]->answer != ANSWER_NOT_ASKED) {
			has_latency = true;
			if (calls[i]->elapsed_ns > longest_ns)
				longest_ns = calls[i]->elapsed_ns;
		}
	json_write_object(w, NULL);
	json_write_text(w, "hop", trace_hop_key(name, f->is_docker));
	json_write_text(w, "status", trace_hop_status_text(h->status));
	json_write_text(w, "explainedBy",
		h->explained_by >= 0 ? trace_hop_key(h->explained_by, f->is_docker) : NULL);
	if (has_latency)
		json_write_seconds(w, "latencySeconds", longest_ns);
	else
		json_write_null(w, "latencySeconds");
	json_write_text(w, "message", h->message);
	put_process(w, "process", process_of(&f->look, name));
	json_write_array(w, "calls");
	for (size_t i = 0; i < count; i++)
		put_call(w, calls[i]);
	json_write_array_end(w);
	if (name == TRACE_SHIM)
		json_write_text_or_null(w, "address", f->look.address.text);
	if (name == TRACE_OCI)
		put_oci(w, &f->look);
	if (name == TRACE_INIT)
		put_init(w, &f->look);
	json_write_object_end(w);
}

int trace_document(const struct trace_facts *f, const struct trace_judgement *j, struct buf *out)
{
	struct json_write w = JSON_WRITE_INIT(out);

	json_write_object(&w, NULL);
	put_subject(&w, f);
	json_write_text_or_null(&w, "endpoint", f->endpoint);
	json_write_text(&w, "verdict",
		j->verdict == TRACE_FINE              ? "fine"
			: j->verdict == TRACE_TROUBLE ? "trouble"
						      : "blind");
	json_write_text(&w, "summary", j->summary);
	json_write_seconds(&w, "seconds", f->elapsed_ns);
	json_write_array(&w, "culprits");
	for (int i = 0; i < TRACE_HOPS; i++)
		if (trace_is_trouble(j->hops[i].status) && j->hops[i].explained_by < 0)
			json_write_text(&w, NULL, trace_hop_key(i, f->is_docker));
	json_write_array_end(&w);
	json_write_array(&w, "hops");
	for (int i = 0; i < TRACE_HOPS; i++)
		put_hop(&w, f, j, i);
	json_write_array_end(&w);
	json_write_object_end(&w);
	return json_write_result(&w);
}
