/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Read lease on a file: the kernel asks us before anybody opens it for writing. Private to fs/base.
 *
 * The question comes as LEASE_SIGNAL, sent to one thread only (F_SETOWN_EX
 * with a thread id), which keeps it blocked and fetches it by sigtimedwait().
 * No handler is installed and no other thread's mask is touched, so a program
 * that uses this room need not know. The writer waits in its open() until the
 * lease is given back, or for /proc/sys/fs/lease-break-time seconds (45).
 */
#ifndef FS_BASE_LEASE_H
#define FS_BASE_LEASE_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

/* Queued, so it is not lost; SIGIO comes in its place when the queue is full. */
#define LEASE_SIGNAL (SIGRTMIN + 5)

/* Ask for the lease, its signal to thread tid. 0: held. -EBUSY: somebody has
 * the file open for writing. -EOPNOTSUPP: no lease here (a device, a file
 * system without, somebody else's file and no CAP_LEASE). */
int lease_take(int fd, pid_t tid);

/* Give it back; a writer that waits goes on. -EACCES: the file has become
 * somebody else's, and then only closing the descriptor gives it back. */
int lease_drop(int fd);

/* True while it is held and nobody asked for it back. */
bool lease_intact(int fd);

#endif
