/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon as a service: mount, umount, and what a clone needs (doctor). */
#ifndef CLONE_PLAN_SERVICE_H
#define CLONE_PLAN_SERVICE_H

#include <jansson.h>
#include <stdbool.h>

#include "clone/plan/session.h"
#include "fs/util/err.h"

/* How long a mount may take to answer before it counts as hung: a daemon
 * answers statfs without touching a base. */
#define SERVICE_ANSWER_MS 5000

/* A daemon replays what an unclean stop left before it is ready. */
#define SERVICE_START_MS 120000

enum mount_state {
	MOUNT_NONE,  /* nothing is mounted there */
	MOUNT_ALIVE, /* a lazyclone mount, and it answers */
	MOUNT_DEAD,  /* transport endpoint is not connected */
	MOUNT_HUNG,  /* its daemon is there and does not answer */
	MOUNT_OTHER, /* somebody else's file system */
};

/* Never waits longer than SERVICE_ANSWER_MS. */
enum mount_state service_mount_state(const char *mountpoint);

/* Start the daemon of the store at mountpoint (NULL: the remembered or usual
 * one), clearing a dead mount first. 0 also when it runs there already;
 * -EBUSY when it runs elsewhere. */
int service_mount(struct session *session, const char *mountpoint, struct err *err);

/* Where the running daemon has its mount; caller frees. -ECONNREFUSED: it does not run. */
int service_where(struct session *session, char **ret_mountpoint, struct err *err);

/* Stop it; a dead mount is cleared. 0 also when nothing is mounted. -EBUSY
 * while a running domain uses a disk (message names both). */
int service_umount(struct session *session, struct err *err);

/* Array of {"check", "status": "ok" | "warning" | "failed", "text", "hint": TEXT | null}. */
int service_doctor(struct session *session, json_t **ret_checks, struct err *err);

#endif
