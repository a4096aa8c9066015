#include "model/event-json.h"

#include "model/json-write.h"

int event_json(const struct event *event, const char *epoch, struct buf *out)
{
	struct json_write w = JSON_WRITE_INIT(out);

	json_write_object(&w, NULL);
	json_write_text(&w, "epoch", epoch);
	json_write_u64(&w, "sequence", event->sequence);
	json_write_text(&w, "type", event_type_text(event->type));
	json_write_text(&w, "kind", container_kind_text(event->kind));
	json_write_text(&w, "namespace", event->namespace);
	json_write_text(&w, "pod", event->pod);
	json_write_text(&w, "podUID", event->pod_uid);
	json_write_text(&w, "container", event->container);
	json_write_u64(&w, "attempt", event->attempt);
	json_write_text(&w, "containerID", event->container_id);
	json_write_text(&w, "sandboxID", event->sandbox_id);
	if (event->has_exit_code)
		json_write_i64(&w, "exitCode", event->exit_code);
	else
		json_write_null(&w, "exitCode");
	if (event->has_signal)
		json_write_i64(&w, "signal", event->signal);
	else
		json_write_null(&w, "signal");
	json_write_text(&w, "source", event_source_text(event->source));
	json_write_bool(&w, "confirmed", event->confirmed);
	if (event->confirms)
		json_write_u64(&w, "confirms", event->confirms);
	else
		json_write_null(&w, "confirms");
	json_write_bool(&w, "initial", event->initial);
	json_write_time(&w, "occurredAt", event->occurred_at_ns);
	json_write_time(&w, "observedAt", event->observed_at_ns);
	if (event->detail != CONTAINER_PLAIN)
		json_write_text(&w, "detail", container_detail_text(event->detail));
	else
		json_write_null(&w, "detail");
	json_write_object_end(&w);
	return json_write_result(&w);
}
