/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Taking QEMU's image locks as a reader: see imagelock.h. */
#include "clone/plan/imagelock.h"

#include <errno.h>
#include <stddef.h>

#include "fs/util/io.h"

/* Bit numbers of QEMU's permissions. */
enum { CONSISTENT_READ = 0, WRITE = 1, RESIZE = 3 };

#define USES(permission) (100 + (permission))
#define DENIES(permission) (200 + (permission))

static const int ours[] = {USES(CONSISTENT_READ), DENIES(WRITE), DENIES(RESIZE)};
static const int conflicting[] = {DENIES(CONSISTENT_READ), USES(WRITE), USES(RESIZE)};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Lock first, then look: two that do so at once see each other. */
int imagelock_take(int fd)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < COUNT(ours); i++)
		rc = io_lock(fd, false, (uint64_t)ours[i], 1);
	if (rc == -EAGAIN)
		return -EBUSY;
	for (size_t i = 0; rc == 0 && i < COUNT(conflicting); i++) {
		rc = io_lock_test(fd, (uint64_t)conflicting[i], 1);
		if (rc > 0)
			return -EBUSY;
	}
	return rc;
}
