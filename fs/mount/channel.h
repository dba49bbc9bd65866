/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The seam of the session: every request comes in and every reply goes out here.
 *
 * A session does not care whose descriptor this is: one we mounted with, or
 * one taken over from another process.
 */
#ifndef FS_MOUNT_CHANNEL_H
#define FS_MOUNT_CHANNEL_H

struct fuse_session;

/* Let session receive from and send to fd, which it takes over. 0 or -errno. */
int channel_attach(struct fuse_session *session, int fd);

#endif
