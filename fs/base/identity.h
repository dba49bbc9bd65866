/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Identity of a base: what must be the same for it to be the same image. Private to fs/base.
 *
 * The path is no part of it: a path is where to look, the identity says
 * whether what is found there is the image that was cloned.
 */
#ifndef FS_BASE_IDENTITY_H
#define FS_BASE_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/base.h"
#include "fs/base/raw.h"

#define IDENTITY_DEVICE_MAX 256 /* longest stable id in sysfs: NVMe's, below 100 */

struct moment {
	int64_t sec;
	uint32_t nsec;
};

struct identity {
	bool device;
	uint64_t size_bytes;
	uint64_t sample;
	/* A file's: */
	uint64_t file_system; /* 0: the file system has no lasting id */
	uint64_t inode;
	struct moment modified;
	struct moment changed; /* ctime: a hint to look at the sample, not compared itself */
	/* A device's: */
	char device_id[IDENTITY_DEVICE_MAX]; /* "": it has none */
};

/* Why two images are not the same, in words that follow the image's name. */
#define IDENTITY_WHY_MAX 256

/* Describe the open image as it is now. -errno from the file system. */
int identity_take(const struct raw *raw, struct identity *ret_identity);

/* Is the open image still what was recorded? 0; -ESTALE with *why filled;
 * another -errno when it cannot be told (why untouched). */
int identity_compare(
	const struct identity *recorded, const struct raw *raw, char why[static IDENTITY_WHY_MAX]);

bool identity_same(const struct identity *a, const struct identity *b);

#endif
