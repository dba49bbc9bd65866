/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Door of the control socket, the daemon's end.
 *
 *	ctl_server_start(id, ops, ctx)  bind, listen, answer
 *	ctl_server_close()              no new connections
 *	ctl_server_stop()               no new requests; those begun are answered
 *
 * One thread accepts, one more serves each connection; ops are called from
 * the latter, for one connection never by two at a time. A connection's state
 * (what begin gave) dies with it, however it ends, so that what a client
 * holds is given back when it is killed.
 *
 * The caller holds the store's lock: a socket that is there already belongs
 * to a dead daemon and is replaced.
 */
#ifndef FS_CTL_SERVER_H
#define FS_CTL_SERVER_H

#include "fs/ctl/ctl.h"

#define CTL_CONNECTIONS_MAX 256 /* a thread each; clients come one per command */
#define CTL_REQUEST_MS 10000    /* from a request's first byte to its last */
#define CTL_REPLY_MS 30000      /* for a client to take its reply */

struct ctl_ops {
	/* A connection begins: its state, NULL without memory. */
	void *(*begin)(void *ctx);
	/* Serve one request; put what it answers into reply, an empty object. */
	int (*call)(void *ctx, void *state, const char *verb, const json_t *request,
		json_t *reply, struct err *err);
	void (*end)(void *ctx, void *state);
};

struct ctl_server;

int ctl_server_start(const struct id *store_id, const struct ctl_ops *ops, void *ctx,
	struct ctl_server **ret_server, struct err *err);

/* No new connections, and the socket is gone: before the store is unlocked,
 * or its next daemon's socket would be removed. */
void ctl_server_close(struct ctl_server *server); /* NULL allowed */
void ctl_server_stop(struct ctl_server *server);  /* NULL allowed */

/* A JSON string. File names need not be UTF-8 and JSON must be: bytes of one
 * that is not become question marks. */
json_t *ctl_text(const char *text);

#endif
