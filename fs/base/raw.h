/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An open original: a raw file or a block device, read-only. Private to fs/base.
 *
 * Read calls may be made from any thread; pread shares no file position.
 */
#ifndef FS_BASE_RAW_H
#define FS_BASE_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "fs/util/err.h"

/* Largest base, 64 TiB: a disk cannot be larger either (DELTA_SIZE_MAX). */
#define RAW_SIZE_MAX (UINT64_C(1) << 46)

struct raw {
	int fd;
	bool device;     /* a block device, else a regular file */
	dev_t number;    /* device: its own number; file: that of its file system, today */
	uint64_t inode;  /* file only */
	uint64_t size_bytes;
	uint64_t allocated_bytes;
};

/* Open and check that it can be a base. ret_raw->fd is the caller's to close. */
int raw_open(const char *path, struct raw *ret_raw, struct err *err);

/* Look at the sizes again: they are sure only once the image is protected. */
int raw_refresh(struct raw *raw);

/* Another open descriptor of the same file, or -errno. */
int raw_open_again(const struct raw *raw);

/* Another open image of the same device, read past the page cache: other hosts
 * write such a device too, and not through our cache. Of a file, and where that
 * cannot be done, as raw_open_again(). Buffers, offsets and lengths are to be
 * multiples of RAW_DIRECT_BYTES but at the end. ret_medium->fd is the caller's. */
#define RAW_DIRECT_BYTES 4096
int raw_open_medium(const struct raw *raw, struct raw *ret_medium);

/* Do both descriptors show the same file or device? (Within one boot.) */
bool raw_same(const struct raw *a, const struct raw *b);

/* Read exactly len bytes; zeros beyond the end. -EAGAIN with nowait when it
 * is not in the page cache; -EIO also when the file has become shorter. */
int raw_read(const struct raw *raw, void *buf, size_t len, uint64_t off, bool nowait);

/* Is off (below the end) in a hole, and where does that end? */
bool raw_hole(const struct raw *raw, uint64_t off, uint64_t *ret_end);

#endif
