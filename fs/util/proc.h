/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Child processes: run a program to its end, or do one thing where it cannot hurt us. */
#ifndef FS_UTIL_PROC_H
#define FS_UTIL_PROC_H

#include <sys/types.h>

#include "fs/util/err.h"

#define PROC_STDERR_MAX 4096 /* kept of what a program says: an error and a hint */

/* Run argv[0] (searched in PATH) with stdin and stdout from and to /dev/null,
 * and wait until it has exited: at most timeout_ms, then it is killed and
 * -ETIMEDOUT returned. A grandchild that keeps stderr open does not keep us.
 * *ret_status: its exit status, or 128 + the signal that ended it. said (may
 * be NULL) gets the beginning of its stderr. -errno: it could not be run. */
int proc_run(const char *const argv[], int timeout_ms, int *ret_status,
	char said[static PROC_STDERR_MAX], struct err *err);

/* Call fn(ctx), which returns 0 or -errno, in a child process, and give back
 * what it returned; -ETIMEDOUT when it took longer than timeout_ms. A child
 * that hangs in the kernel is left to its fate (init reaps it), which is the
 * point: a thread would hang this process with it. For processes that run no
 * other thread (it could hold any lock of the C library while we fork). */
int proc_try(int (*fn)(const void *ctx), const void *ctx, int timeout_ms);

/* Become uid with its groups, for good; for use in proc_try. */
int proc_become(uid_t uid, gid_t gid);

#endif
