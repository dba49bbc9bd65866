/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Telling our mounts from other file systems: see place.h. */
#include "clone/plan/place.h"

#include <string.h>

#include "fs/util/mounts.h"

bool place_is_mount(dev_t dev)
{
	struct mounts_entry entry;

	return mounts_of_dev(dev, &entry) > 0 && strcmp(entry.type, PLACE_MOUNT_TYPE) == 0;
}
