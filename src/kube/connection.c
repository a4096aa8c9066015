/* The TCP connections of a client: how old each is, and what the kernel had to say of it at its end. */
#include "kube/client-internal.h"

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"

struct connection {
	struct connection *next;
	int fd;
	uint64_t born_ns;
};

/* Without memory it has no age, and nothing else. */
void connection_begin(struct kube_client *client, int fd)
{
	struct connection *c = mem_zalloc(sizeof(*c));

	if (!c)
		return;
	*c = (struct connection){ client->connections, fd, clock_now().mono_ns };
	client->connections = c;
}

static unsigned local_port(int fd)
{
	struct sockaddr_storage a = { 0 };
	socklen_t len = sizeof(a);

	if (getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		return 0;
	if (a.ss_family == AF_INET)
		return ntohs(((struct sockaddr_in *)&a)->sin_port);
	return a.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&a)->sin6_port) : 0;
}

static void look_at(struct connection_end *end, int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	end->port = local_port(fd);
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return;
	end->has_tcp = true;
	end->unacked = info.tcpi_unacked;
	end->retransmits = info.tcpi_retransmits;
	end->backoff = info.tcpi_backoff;
	end->ack_ns = info.tcpi_last_ack_recv * NSEC_PER_MSEC;
}

/* libcurl closes it only by this. */
int connection_close(struct kube_client *client, int fd)
{
	struct connection_end *end = &client->ends[client->end_count++ % ELEMENTS(client->ends)];

	*end = (struct connection_end){ 0 };
	look_at(end, fd);
	for (struct connection **at = &client->connections; *at; at = &(*at)->next) {
		struct connection *c = *at;

		if (c->fd != fd)
			continue;
		end->age_ns = time_since(clock_now().mono_ns, c->born_ns);
		*at = c->next;
		(void)mem_free(c);
		break;
	}
	(void)fd_close(fd);
	return 0;
}

const struct connection_end *connection_find_end(const struct kube_client *client, unsigned port)
{
	for (unsigned i = 1; port > 0 && i <= ELEMENTS(client->ends); i++) {
		const struct connection_end *end =
			&client->ends[(client->end_count - i) % ELEMENTS(client->ends)];

		if (end->port == port)
			return end;
	}
	return NULL;
}

void connections_done(struct kube_client *client)
{
	while (client->connections) {
		struct connection *c = client->connections;

		client->connections = c->next;
		(void)mem_free(c);
	}
}
