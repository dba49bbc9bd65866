/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hiding disks, with patience for files that were just closed: see hide.h. */
#include "clone/plan/hide.h"

#include <errno.h>
#include <time.h>

#include "fs/util/clock.h"

#define POLL_NS 10000000

int hide_clone(struct ctl *ctl, const char *clone, const struct id *id, struct err *err)
{
	struct timespec pause = {.tv_nsec = POLL_NS};
	int64_t deadline_ms = clock_now_ms() + HIDE_PATIENCE_MS;
	int rc;

	if (!ctl)
		return 0;
	while ((rc = ctl_detach(ctl, clone, id, err)) == -EBUSY && clock_now_ms() < deadline_ms)
		nanosleep(&pause, NULL);
	return rc == -ENOENT ? 0 : rc;
}
