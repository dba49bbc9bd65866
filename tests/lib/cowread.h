/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading a qcow2 image's disk the way the product does: map, then each extent from where it is. */
#ifndef TESTS_LIB_COWREAD_H
#define TESTS_LIB_COWREAD_H

#include <stddef.h>
#include <stdint.h>

#include "fs/base/bytes.h"
#include "fs/base/qcow2.h"

struct cowread {
	struct qcow2 *qcow2;
	const struct bytes *data;    /* the image file, or its data file */
	const struct bytes *backing; /* NULL: zeros */
	uint64_t extents[EXTENT_BELOW + 1]; /* seen of each kind */
};

/* len bytes at off, which lie in the disk. -errno of the first extent that fails. */
int cowread(struct cowread *read, void *buf, size_t len, uint64_t off);

#endif
