/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ids of file systems and devices that survive a reboot and another order of mounting.
 * Private to fs/base. */
#ifndef FS_BASE_ORIGIN_H
#define FS_BASE_ORIGIN_H

#include <stdint.h>
#include <sys/types.h>

#include "fs/base/identity.h"

/* Of the file system that fd lies on; 0 if it has none that lasts. */
uint64_t origin_file_system(int fd);

/* Of the block device; "" if it has none. Printable ASCII. */
void origin_device_id(dev_t device, char ret_id[static IDENTITY_DEVICE_MAX]);

/* The same with /sys and /dev below root ("" in the product; tests make their own). */
void origin_device_id_below(
	const char *root, dev_t device, char ret_id[static IDENTITY_DEVICE_MAX]);

#endif
