/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is wrong with the bases of disks: for the status, and for the log when it begins. */
#ifndef FS_DAEMON_TROUBLE_H
#define FS_DAEMON_TROUBLE_H

#include "fs/daemon/attach.h"

/* As fs/base says of one that is held. */
const char *trouble_state_name(const struct base_info *info);

/* The base of a disk: the same words, or "failed": it could not be held. NULL:
 * it has none. Under clone->lock. */
const char *trouble_state_locked(const struct attached_disk *disk);

/* One sentence, of a base that is held; NULL: all is well. Caller frees. Under clone->lock. */
char *trouble_text_locked(const struct attached_disk *disk);

/* Log, by clone and disk, what has changed since the last call. */
void trouble_watch(struct table *table);

#endif
