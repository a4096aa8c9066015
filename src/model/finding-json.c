#include "model/finding-json.h"

#include "base/str.h"

static void put_pid(struct json_write *w, const char *key, int32_t pid)
{
	if (pid > 0)
		json_write_i64(w, key, pid);
	else
		json_write_null(w, key);
}

static void put_subject(struct json_write *w, const struct finding_subject *s)
{
	json_write_object(w, "subject");
	json_write_text_or_null(w, "node", s->node);
	json_write_text_or_null(w, "namespace", s->namespace);
	json_write_text_or_null(w, "pod", s->pod);
	json_write_text_or_null(w, "owner", s->owner);
	json_write_text_or_null(w, "container", s->container);
	json_write_text_or_null(w, "containerID", s->container_id);
	put_pid(w, "pid", s->pid);
	put_pid(w, "tid", s->tid);
	json_write_text_or_null(w, "mount", s->mount);
	json_write_text_or_null(w, "device", s->device);
	json_write_object_end(w);
}

static void put_evidence(struct json_write *w, const struct finding *f)
{
	json_write_array(w, "evidence");
	for (uint32_t i = 0; i < f->evidence_count; i++) {
		const struct finding_evidence *e = &f->evidence[i];

		json_write_object(w, NULL);
		json_write_text(w, "what", e->what);
		json_write_text(w, "where", e->where);
		json_write_text(w, "value", e->value);
		json_write_time(w, "time", e->at_ns);
		json_write_object_end(w);
	}
	json_write_array_end(w);
}

static void put_advice(struct json_write *w, const struct finding *f)
{
	json_write_array(w, "advice");
	for (uint32_t i = 0; i < f->advice_count; i++) {
		const struct finding_advice *a = &f->advice[i];

		json_write_object(w, NULL);
		json_write_text(w, "action", a->action);
		json_write_text(w, "why", a->why);
		json_write_text(w, "risk", finding_risk_text(a->risk));
		json_write_text_or_null(w, "loses", a->risk_text);
		json_write_text_or_null(w, "command", a->command);
		json_write_object_end(w);
	}
	json_write_array_end(w);
	json_write_array(w, "avoid");
	for (uint32_t i = 0; i < f->avoid_count; i++)
		json_write_text(w, NULL, f->avoid[i]);
	json_write_array_end(w);
}

#define DEPTH_MAX 24u /* more than causes can stack up: each hangs under a deeper one */

static void put_finding(
	struct json_write *w, const char *key, const struct finding *f, unsigned depth)
{
	json_write_object(w, key);
	json_write_text(w, "cause", cause_text(f->cause));
	json_write_text(w, "severity", finding_severity_text(f->severity));
	json_write_text(w, "confidence", finding_confidence_text(f->confidence));
	json_write_time(w, "since", f->since_ns);
	json_write_text(w, "summary", f->summary);
	put_subject(w, &f->subject);
	put_evidence(w, f);
	json_write_array(w, "symptoms");
	for (uint32_t i = 0; i < f->symptom_count && depth < DEPTH_MAX; i++)
		put_finding(w, NULL, f->symptoms[i], depth + 1);
	json_write_array_end(w);
	json_write_u64(w, "symptomsLeftOut", f->symptoms_left_out);
	put_advice(w, f);
	json_write_object_end(w);
}

void finding_json_write(struct json_write *w, const char *key, const struct finding *finding)
{
	put_finding(w, key, finding, 0);
}

void findings_json_write(struct json_write *w, const char *key, const struct findings *set)
{
	json_write_array(w, key);
	for (uint32_t i = 0; set && i < findings_count(set); i++)
		finding_json_write(w, NULL, findings_get(set, i));
	json_write_array_end(w);
}
