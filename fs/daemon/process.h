/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon as a process: what it inherits, what it may use, how it reports being ready. */
#ifndef FS_DAEMON_PROCESS_H
#define FS_DAEMON_PROCESS_H

#include <stdbool.h>

#include "fs/util/err.h"

/* Drop what a careless parent left us: descriptors, umask, signal state. */
void process_clean(void);

/* What a server of disks needs: many descriptors, no write-back of its own
 * work to wait for when memory is short, to be the last that is killed. Each
 * where we may. */
void process_harden(void);

/* Go to the background. Returns in the daemon; the starting process stays and
 * ends in process_wait_ready(). *ret_ready_fd: where to report, *ret_parent:
 * which of the two we are. */
int process_fork(int *ret_ready_fd, bool *ret_parent, struct err *err);

/* The starting process: wait for the daemon's report; its error, or 0. */
int process_wait_ready(int ready_fd, struct err *err);

/* The daemon: report (rc and err as the start gave them), let go of the
 * terminal and of the starting process. ready_fd -1: there is none. Also
 * tells a service manager. */
void process_report(int ready_fd, int rc, const struct err *err);

/* Tell the service manager, if there is one (sd_notify's protocol). */
void process_notify(const char *state);

#endif
