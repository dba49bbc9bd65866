/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What verbs change of an attached clone, and the check of a disk: see fs/ctl/ctl.h.
 *
 * Threads: any connection's thread; changes of one clone are made one at a time.
 */
#ifndef FS_DAEMON_CHANGES_H
#define FS_DAEMON_CHANGES_H

#include <stdint.h>

#include "fs/daemon/attach.h"
#include "fs/disk/disk.h"

/* name NULL: only freeze what was written, if anything was. */
int table_snapshot(struct table *table, const char *clone, const char *name, struct err *err);

/* to: as reset_plan() (fs/store/freeze.h). */
int table_reset(struct table *table, const char *clone, const char *to, struct err *err);

int table_forget(struct table *table, const char *clone, const char *name, struct err *err);
int table_quota(struct table *table, const char *clone, uint64_t bytes, struct err *err);

/* A disk's base is now the one at path, with that identity. -EBUSY: a disk of
 * the clone is in use. */
int table_relink(struct table *table, const char *clone, const char *target, const char *path,
	const char *identity, struct err *err);

/* From one place on, for about a second. */
int table_check(struct table *table, const char *clone, const char *target, uint64_t from,
	struct disk_verified *ret_verified, struct err *err);

#endif
