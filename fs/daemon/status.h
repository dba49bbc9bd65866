/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the status verb answers: see ctl_status() in fs/ctl/ctl.h. */
#ifndef FS_DAEMON_STATUS_H
#define FS_DAEMON_STATUS_H

#include <jansson.h>

#include "fs/daemon/attach.h"

/* Add members "clones", "bases", "store_..." and "reserve_..." to reply. 0 or
 * -ENOMEM. */
int status_add_table(struct table *table, const char *mountpoint, json_t *reply);

#endif
