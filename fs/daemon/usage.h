/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the clones on the mount take of the store's space, and what guests may still write.
 *
 * An open log counts itself (fs/store/space.h); one that is closed is counted
 * here, by what its file has allocated.
 */
#ifndef FS_DAEMON_USAGE_H
#define FS_DAEMON_USAGE_H

#include "fs/daemon/attach.h"

/* Give a clone its account. 0 or -ENOMEM. */
int usage_begin(struct attached *clone);

/* The disk's log is closed: count it; it is being opened: do not. Calls for one
 * disk come one at a time. */
void usage_closed(struct attached_disk *disk);
void usage_opening(struct attached_disk *disk);

/* The quota that holds for a clone whose manifest says own_bytes (0: none). */
uint64_t usage_quota(const struct table *table, uint64_t own_bytes);

/* A closed log as its file says: allocated bytes, time of the last write. */
void usage_log(struct attached_disk *disk, uint64_t *ret_bytes, uint64_t *ret_sec);

/* For statfs. disk NULL: of the whole store. */
void usage_space(struct table *table, struct attached_disk *disk, struct mount_space *ret_space);

#endif
