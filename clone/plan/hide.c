/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hiding disks, with patience for files that were just closed: see hide.h. */
#include "clone/plan/hide.h"

#include <errno.h>
#include <time.h>

#define POLL_NS 10000000

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int hide_clone(struct ctl *ctl, const char *clone, const struct id *id, struct err *err)
{
	struct timespec pause = {.tv_nsec = POLL_NS};
	int64_t deadline_ms = now_ms() + HIDE_PATIENCE_MS;
	int rc;

	if (!ctl)
		return 0;
	while ((rc = ctl_detach(ctl, clone, id, err)) == -EBUSY && now_ms() < deadline_ms)
		nanosleep(&pause, NULL);
	return rc == -ENOENT ? 0 : rc;
}
