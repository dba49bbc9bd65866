/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A session: the store, the daemon and libvirt, as one verb needs them.
 *
 *	session_open(options)      finds the store; nothing is started
 *	session_need_store/daemon/virt     opened or started on first need
 *	session_recover            undo what killed runs left
 *	session_close
 *
 * Threads: one.
 */
#ifndef CLONE_PLAN_SESSION_H
#define CLONE_PLAN_SESSION_H

#include <stdbool.h>

#include "fs/util/err.h"

struct store;
struct ctl;
struct virt;

struct session_options {
	const char *uri;   /* --connect or NULL */
	const char *store; /* --store or NULL */
	bool quiet;
	/* Notices for people ("undid the clone x that a killed run left"); may be NULL. */
	void (*notice)(void *ctx, const char *text);
	void *notice_ctx;
};

struct session;

int session_open(const struct session_options *options, struct session **ret_session,
	struct err *err);
void session_close(struct session *session); /* NULL allowed */

const char *session_store_path(const struct session *session);
const char *session_mountpoint(const struct session *session);
void session_notice(struct session *session, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* create: make the store if there is none (-ENOENT otherwise). */
int session_need_store(struct session *session, bool create, struct store **ret_store,
	struct err *err);

/* Connect to the daemon; start: start it when it is not running (clearing a
 * dead mount first), else -ECONNREFUSED. Also checks that what is mounted at
 * the mount point is this daemon's. */
int session_need_daemon(struct session *session, bool start, struct ctl **ret_ctl,
	struct err *err);
int session_need_virt(struct session *session, struct virt **ret_virt, struct err *err);

/* The daemon if it runs, else NULL: for what has to be said to a running one only. */
int session_daemon_if_up(struct session *session, struct ctl **ret_ctl, struct err *err);

/* The connection that a clone's record names, whatever --connect says. */
int session_virt_at(struct session *session, const char *uri, struct virt **ret_virt,
	struct err *err);

/* Undo, or finish, what killed runs left; every verb that changes something
 * calls it first. What cannot be undone now (libvirtd does not run, a domain
 * was started) is kept for the next command, and a notice says so. */
int session_recover(struct session *session, struct err *err);

/* -EBUSY while a killed run's reset of the clone with that id waits to be
 * settled: it was killed behind this run's session_recover(). Who holds the
 * clone's lock, and changes the clone, asks first. */
struct id;
int session_none_pending(struct session *session, const struct id *clone, struct err *err);

#endif
