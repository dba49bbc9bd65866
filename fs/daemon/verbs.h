/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the daemon answers on its control socket: the verbs of fs/ctl/ctl.h. */
#ifndef FS_DAEMON_VERBS_H
#define FS_DAEMON_VERBS_H

#include "fs/ctl/server.h"

extern const struct ctl_ops verbs_ops; /* ctx: the struct daemon */

#endif
