/*
 * The layer of the network and of what a connection is trusted by: the API server cannot be reached, or
 * does not believe us, or the clock was set. None of it is the runtime's trouble, and nothing on the
 * node is to be restarted for it.
 */
#include "doctor/rules/judge.h"
#include "doctor/rules/thresholds.h"

/* ---- ClockJump --------------------------------------------------------------------------- */

void judge_clock(struct judge *j)
{
	const struct evidence_clock *c = &j->e->clock;
	uint64_t by_ns = (uint64_t)(c->step_ns < 0 ? -c->step_ns : c->step_ns);
	struct about about = ABOUT_NOTHING;
	struct finding *f;

	if (c->step_ns == 0)
		return;
	f = judge_begin(j, SEVERITY_WARNING, CONFIDENCE_PROVEN, c->at_ns, NULL);
	j->clock_cause = f; /* certificates and tokens fail by it */
	tell_summary(j, f, "The wall clock of this node was set %s by %s",
		c->step_ns < 0 ? "back" : "forward", SECONDS(by_ns));
	tell_subject(j, f, &about);
	tell(j, f, "step", "CLOCK_REALTIME against CLOCK_BOOTTIME", "%s%s",
		c->step_ns < 0 ? "-" : "+", SECONDS(by_ns));
	advise(j, f, RISK_NONE, "Look at what sets the clock",
		"a step tells of a source that was away, or of two that disagree", "nothing", "%s",
		"chronyc tracking || timedatectl timesync-status");
	advise(j, f, RISK_RUNTIME, "Restart the kubelet if its lease does not go on",
		"what compares wall times stands still after a step back", "nothing that runs",
		"%s", "systemctl restart kubelet");
}

/* ---- CredentialExpired ------------------------------------------------------------------- */

static void tell_request(struct judge *j, struct finding *f)
{
	const struct api_server *s = &j->e->api_server;
	const struct {
		const char *what;
		uint64_t ns;
	} steps[] = {
		{ "name resolved", s->timings.dns_ns },
		{ "connected", s->timings.connect_ns },
		{ "TLS", s->timings.tls_ns },
		{ "first byte", s->timings.first_byte_ns },
		{ "end", s->timings.total_ns },
	};

	tell(j, f, "last request", s->server, "%s%s%s%s", s->error,
		s->http ? FMT(", HTTP %u", s->http) : "", *s->why ? ": " : "", s->why);
	for (size_t i = 0; i < ELEMENTS(steps); i++)
		if (steps[i].ns > 0)
			tell(j, f, steps[i].what, s->server, "after %s", SECONDS(steps[i].ns));
	tell(j, f, "without a good answer", s->server, "%s, to %u request%s", SECONDS(s->away_ns),
		s->failures, s->failures == 1 ? "" : "s");
}

/* One request that failed may be that request's own trouble, however long ago it was. */
static enum finding_confidence confidence_of(const struct judge *j)
{
	const struct api_server *s = &j->e->api_server;

	return s->failures >= API_FAILURES && s->away_ns >= j->rule->late_ns ? CONFIDENCE_PROVEN
									     : CONFIDENCE_SUSPECTED;
}

static bool is_away(const struct judge *j)
{
	return j->e->api_server.server && j->e->api_server.away_ns >= SUSPECT_NS;
}

static bool is_over(const struct judge *j)
{
	const struct api_server *s = &j->e->api_server;

	return s->expiry_ns > 0 && s->expiry_ns <= j->e->at_ns;
}

/* A certificate is refused before HTTP, by an alert of TLS or by breaking off: what makes that one of these is
 * that it is over by the clock. */
static bool is_credential(const struct judge *j)
{
	const struct api_server *s = &j->e->api_server;

	return s->http == 401 || str_eq(s->error, "credential") ||
		(is_over(j) && (str_eq(s->error, "tls") || str_eq(s->error, "reset")));
}

void judge_credential(struct judge *j)
{
	const struct api_server *s = &j->e->api_server;
	struct about about = ABOUT_NOTHING;
	struct finding *f;

	if (!is_away(j) || !is_credential(j))
		return;
	about.place = s->server;
	f = judge_begin(j, SEVERITY_WARNING, confidence_of(j), j->e->at_ns - (int64_t)s->away_ns,
		j->clock_cause);
	tell_summary(j, f,
		is_over(j) ? "The API server %s does not accept the node's credential any more: it "
			     "has expired"
			: s->http == 401
			? "The API server %s does not accept the credential of pleg's kubeconfig"
			: "The API server %s is not asked: the credential of pleg's kubeconfig "
			  "cannot "
			  "be used",
		s->server);
	tell_subject(j, f, &about);
	tell_request(j, f);
	if (s->expiry_ns > 0)
		tell(j, f, "the credential ends", "kubeconfig", "%s",
			time_format_rfc3339((char[TIME_TEXT_MAX]){ 0 }, s->expiry_ns));
	advise(j, f, RISK_NONE, "Look when the kubelet's certificate ends",
		"both are often made together", "nothing", "%s",
		"openssl x509 -noout -enddate -in "
		"/var/lib/kubelet/pki/kubelet-client-current.pem");
	advise(j, f, RISK_NONE, "Make the credential anew",
		"kubectl certificate approve, or a new token; pleg reads the files of its "
		"kubeconfig again by itself",
		"nothing", "%s", "");
	avoid(j, f, "Do not restart the container runtime: it has no part in this.");
}

/* ---- ApiConnectionStale ------------------------------------------------------------------ */

static void tell_old_connection(struct judge *j, struct finding *f, const struct api_stale *s)
{
	const char *where = FMT("%s to %s", s->local, s->remote);

	tell(j, f, "without an answer", where, "%s, for %s", s->what, SECONDS(s->silent_ns));
	if (s->age_ns > 0)
		tell(j, f, "age of the connection", where, "%s", SECONDS(s->age_ns));
	if (!s->has_tcp) {
		tell_gap(j, f, "TCP", "TCP_INFO", "the kernel tells nothing of it");
		return;
	}
	tell(j, f, "TCP at its end", where,
		"%u segments not acknowledged, %u retransmissions, backoff %u, the last "
		"acknowledgement %s ago",
		s->unacked, s->retransmits, s->backoff, SECONDS(s->ack_ns));
}

static void tell_new_connection(struct judge *j, struct finding *f, const struct api_stale *s)
{
	char dns[48] = "";

	if (s->fresh.dns_ns > 0)
		(void)str_format(dns, sizeof(dns), "name %s, ", SECONDS(s->fresh.dns_ns));
	tell(j, f, "over a new connection", j->e->api_server.server,
		"HTTP %u: %sconnected %s, TLS %s, first byte %s", s->fresh_http, dns,
		SECONDS(s->fresh.connect_ns), SECONDS(s->fresh.tls_ns),
		SECONDS(s->fresh.first_byte_ns));
}

/* Told until there was none for a while: whoever else has a connection of that age may have one too. */
void judge_stale(struct judge *j)
{
	const struct api_server *s = &j->e->api_server;
	struct about about = ABOUT_NOTHING;
	struct finding *f;

	if (!s->server || s->stale_count == 0)
		return;
	about.place = s->server;
	f = judge_begin(j, SEVERITY_WARNING,
		s->stale.is_proven ? CONFIDENCE_PROVEN : CONFIDENCE_SUSPECTED,
		j->e->at_ns - (int64_t)(s->stale_ns + s->stale.silent_ns), NULL);
	tell_summary(j, f,
		"A connection to the API server %s was there and dead, while a new one works",
		s->server);
	tell_subject(j, f, &about);
	tell_old_connection(j, f, &s->stale);
	tell_new_connection(j, f, &s->stale);
	if (s->stale_count > 1)
		tell(j, f, "stale connections", s->server, "%u", s->stale_count);
	advise(j, f, RISK_NONE, "See whether the kubelet has one too",
		"its connections take the same way: unacked, retrans and backoff of a dead one "
		"grow, and the lease is not renewed",
		"nothing", "ss -tinp state established dst %s", QUOTED(s->stale.remote));
	advise(j, f, RISK_OBJECT, "Kill that connection of the kubelet's, and no other",
		"it connects anew at once; ss -K with the addresses of that one line, if the "
		"kernel is able to (CONFIG_INET_DIAG_DESTROY), else restart the kubelet",
		"requests of the kubelet that are under way on it", "%s", "");
	avoid(j, f,
		"Do not restart the container runtime or the pods: pleg uses a new connection "
		"already, and they have no part in this.");
}

/* ---- ApiUnreachable ---------------------------------------------------------------------- */

static const char *how_far(const struct api_server *s, char out[128])
{
	if (s->http)
		return str_format(out, 128, "answers with HTTP %u", s->http);
	if (str_eq(s->error, "dns"))
		return "has a name that cannot be resolved";
	if (str_eq(s->error, "connect"))
		return "cannot be connected to";
	if (str_eq(s->error, "tls"))
		return "accepts the connection, and does not complete TLS";
	if (str_eq(s->error, "reset"))
		return "breaks the connection";
	if (str_eq(s->error, "role"))
		return "is not asked: pleg's own process for it does not work";
	if (str_eq(s->error, "timeout"))
		return "accepts the connection and does not answer";
	return "does not answer as it should";
}

void judge_api_server(struct judge *j)
{
	const struct api_server *s = &j->e->api_server;
	struct about about = ABOUT_NOTHING;
	char text[128];
	struct finding *f;

	if (!is_away(j) || is_credential(j))
		return;
	about.place = s->server;
	f = judge_begin(j, SEVERITY_WARNING, confidence_of(j), j->e->at_ns - (int64_t)s->away_ns,
		str_eq(s->error, "tls") ? j->clock_cause : NULL);
	tell_summary(
		j, f, "The API server %s %s; what runs here goes on", s->server, how_far(s, text));
	tell_subject(j, f, &about);
	tell_request(j, f);
	advise(j, f, RISK_NONE, "Ask it by hand", "every step is timed", "nothing",
		"curl -ksS -m 10 -o /dev/null -w "
		"'dns %%{time_namelookup} connect %%{time_connect} tls %%{time_appconnect} "
		"http %%{http_code}\\n' %s/livez",
		QUOTED(s->server));
	avoid(j, f,
		"Do not restart the container runtime or the pods: the node works, and pleg sends "
		"later what it has to say.");
}
