/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon's end of the control socket: see server.h.
 *
 * Threads: the acceptor owns the listening socket and makes connections; each
 * connection's thread owns its connection. They meet in the list, under
 * server->lock, which is never held across I/O. ctl_server_stop() wakes the
 * acceptor through an eventfd and the connections by shutting down the
 * receiving half of their sockets, so that a reply under way still goes out.
 */
#include "fs/ctl/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/ctl/line.h"
#include "fs/ctl/message.h"
#include "fs/ctl/socket.h"
#include "fs/util/cleanup.h"

#define ACCEPT_AGAIN_MS 100

struct connection {
	struct ctl_server *server;
	int fd;
	struct connection *next; /* server->lock */
};

struct ctl_server {
	const struct ctl_ops *ops;
	void *ctx;
	char path[CTL_PATH_MAX];
	int listen_fd;
	int stop_fd;
	pthread_t acceptor;

	pthread_mutex_t lock;
	pthread_cond_t idle;             /* no connection is left */
	struct connection *connections;  /* lock */
	unsigned int n_connections;      /* lock */
};

static int reply_to(int fd, const json_t *reply)
{
	AUTO_FREE char *text = NULL;
	size_t len;
	int rc = message_format(reply, &text, &len);

	if (rc == 0 && len >= CTL_LINE_MAX)
		rc = -EMSGSIZE;
	return rc < 0 ? rc : line_send(fd, text, len, CTL_REPLY_MS);
}

static int refuse(int fd, int code, const struct err *err)
{
	json_t *reply = json_object();
	int rc = reply ? message_set_error(reply, code, err) : -ENOMEM;

	if (rc == 0)
		rc = reply_to(fd, reply);
	json_decref(reply);
	return rc;
}

/* Serve one request; an error ends the connection. */
static int serve(struct connection *c, void *state, const char *line, size_t len)
{
	const struct ctl_server *server = c->server;
	struct err err = {0};
	json_t *request = NULL;
	json_t *reply = json_object();
	const char *verb;
	int rc = reply ? message_parse(line, len, &request, &err) : -ENOMEM;

	if (rc == 0)
		rc = message_verb(request, &verb, &err);
	if (rc == 0)
		rc = server->ops->call(server->ctx, state, verb, request, reply, &err);
	if (reply && rc == 0)
		rc = message_set_ok(reply);
	else if (reply && json_object_clear(reply) == 0)
		rc = message_set_error(reply, rc, &err);
	if (reply && rc == 0)
		rc = reply_to(c->fd, reply);
	json_decref(request);
	json_decref(reply);
	return rc;
}

static void serve_all(struct connection *c, void *state)
{
	struct line_reader reader;
	struct err err = {0};
	char *line;
	size_t len;
	int rc;

	line_reader_init(&reader, c->fd, CTL_REQUEST_MAX);
	do {
		rc = line_receive(&reader, LINE_FOREVER, CTL_REQUEST_MS, &line, &len);
		if (rc == 0)
			rc = serve(c, state, line, len);
	} while (rc == 0);
	line_reader_release(&reader);
	if (rc == -EMSGSIZE || rc == -ETIMEDOUT) {
		err_sys(&err, rc, "control message");
		refuse(c->fd, rc, &err);
	}
}

static void forget(struct connection *c)
{
	struct ctl_server *server = c->server;
	SCOPED_LOCK(&server->lock);

	for (struct connection **at = &server->connections; *at; at = &(*at)->next)
		if (*at == c) {
			*at = c->next;
			break;
		}
	/* Under the lock: ctl_server_stop() must not shut down a number that is
	 * somebody else's descriptor by now. */
	close(c->fd);
	free(c);
	if (--server->n_connections == 0)
		pthread_cond_broadcast(&server->idle);
}

static void *run_connection(void *arg)
{
	struct connection *c = arg;
	struct ctl_server *server = c->server;
	void *state = server->ops->begin(server->ctx);

	if (state) {
		serve_all(c, state);
		server->ops->end(server->ctx, state);
	}
	forget(c);
	return NULL;
}

static int start_connection(struct ctl_server *server, int fd)
{
	struct connection *c;
	pthread_t thread;
	SCOPED_LOCK(&server->lock);

	if (server->n_connections >= CTL_CONNECTIONS_MAX)
		return -EBUSY;
	c = malloc(sizeof(*c));
	if (!c)
		return -ENOMEM;
	*c = (struct connection){.server = server, .fd = fd, .next = server->connections};
	if (pthread_create(&thread, NULL, run_connection, c) != 0) {
		free(c);
		return -EAGAIN;
	}
	pthread_detach(thread);
	server->connections = c;
	server->n_connections++;
	return 0;
}

static void accept_one(struct ctl_server *server)
{
	AUTO_CLOSE int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct err err = {0};
	int rc;

	if (fd < 0) {
		/* Out of descriptors: whoever waits goes on waiting, and so do we. */
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
			poll(&(struct pollfd){.fd = server->stop_fd, .events = POLLIN}, 1,
				ACCEPT_AGAIN_MS);
		return;
	}
	if (!socket_peer_trusted(fd))
		rc = err_set(&err, -EACCES, "control socket: only root and the daemon's own "
			"user are answered");
	else if ((rc = start_connection(server, fd)) < 0)
		err_sys(&err, rc, "control socket: too many connections");
	if (rc < 0)
		refuse(fd, rc, &err);
	else
		steal_fd(&fd);
}

static void *run_acceptor(void *arg)
{
	struct ctl_server *server = arg;
	struct pollfd pfd[2] = {
		{.fd = server->listen_fd, .events = POLLIN},
		{.fd = server->stop_fd, .events = POLLIN},
	};

	for (;;) {
		if (poll(pfd, 2, -1) < 0 && errno != EINTR)
			return NULL;
		if (pfd[1].revents)
			return NULL;
		if (pfd[0].revents)
			accept_one(server);
	}
}

static int listen_at(const char *path)
{
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address;
	int rc = fd < 0 ? -errno : socket_make_dir(path);

	if (rc == 0)
		rc = socket_address(path, &address);
	if (rc == 0 && unlink(path) < 0 && errno != ENOENT)
		rc = -errno;
	if (rc == 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		rc = -errno;
	/* Others may connect: they get a clear answer instead of a bare EACCES. */
	if (rc == 0 && (chmod(path, 0666) < 0 || listen(fd, SOMAXCONN) < 0))
		rc = -errno;
	return rc < 0 ? rc : steal_fd(&fd);
}

static void server_free(struct ctl_server *server)
{
	close_fd(&server->listen_fd);
	close_fd(&server->stop_fd);
	pthread_cond_destroy(&server->idle);
	pthread_mutex_destroy(&server->lock);
	free(server);
}

int ctl_server_start(const struct id *store_id, const struct ctl_ops *ops, void *ctx,
	struct ctl_server **ret_server, struct err *err)
{
	struct ctl_server *server = calloc(1, sizeof(*server));
	int rc;

	if (!server)
		return err_sys(err, -ENOMEM, "control socket");
	server->ops = ops;
	server->ctx = ctx;
	server->listen_fd = -1;
	pthread_mutex_init(&server->lock, NULL);
	pthread_cond_init(&server->idle, NULL);
	server->stop_fd = eventfd(0, EFD_CLOEXEC);
	rc = server->stop_fd < 0 ? -errno : ctl_socket_path(store_id, server->path);
	if (rc == 0)
		rc = server->listen_fd = listen_at(server->path);
	if (rc >= 0)
		rc = -pthread_create(&server->acceptor, NULL, run_acceptor, server);
	if (rc < 0) {
		err_sys(err, rc, "control socket %s", server->path);
		server_free(server);
		return rc;
	}
	*ret_server = server;
	return 0;
}

static void end_connections(struct ctl_server *server)
{
	SCOPED_LOCK(&server->lock);

	for (struct connection *c = server->connections; c; c = c->next)
		shutdown(c->fd, SHUT_RD);
	while (server->n_connections > 0)
		pthread_cond_wait(&server->idle, &server->lock);
}

void ctl_server_close(struct ctl_server *server)
{
	if (!server || server->listen_fd < 0)
		return;
	eventfd_write(server->stop_fd, 1);
	pthread_join(server->acceptor, NULL);
	unlink(server->path);
	close_fd(&server->listen_fd);
}

void ctl_server_stop(struct ctl_server *server)
{
	if (!server)
		return;
	ctl_server_close(server);
	end_connections(server);
	server_free(server);
}
