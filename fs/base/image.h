/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An open original: a raw file or a block device, read-only. Private to fs/base.
 *
 * Read calls may be made from any thread; pread shares no file position.
 */
#ifndef FS_BASE_IMAGE_H
#define FS_BASE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/util/err.h"

/* Largest base, 64 TiB: a disk cannot be larger either (DELTA_SIZE_MAX). */
#define IMAGE_SIZE_MAX (UINT64_C(1) << 46)

struct image {
	int fd;
	bool device;     /* a block device, else a regular file */
	dev_t number;    /* device: its own number; file: that of its file system, today */
	uint64_t inode;  /* file only */
	uint64_t size_bytes;
	uint64_t allocated_bytes;
};

/* Open and check that it can be a base. ret_image->fd is the caller's to close. */
int image_open(const char *path, struct image *ret_image, struct err *err);

/* Look at the sizes again: they are sure only once the image is protected. */
int image_refresh(struct image *image);

/* Do both descriptors show the same file or device? (Within one boot.) */
bool image_same(const struct image *a, const struct image *b);

/* Read exactly len bytes; zeros beyond the end. -EAGAIN with nowait when it
 * is not in the page cache; -EIO also when the file has become shorter. */
int image_read(const struct image *image, void *buf, size_t len, uint64_t off, bool nowait);

/* Is off (below the end) in a hole, and where does that end? */
bool image_hole(const struct image *image, uint64_t off, uint64_t *ret_end);

#endif
