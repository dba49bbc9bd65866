/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One image of a base: what lies in its held files, as the guest sees it. Private to fs/base.
 *
 * Images of the same files read the same way are one object, counted, so that
 * all bases that have one in common share its caches.
 *
 * All functions may be called from any thread.
 */
#ifndef FS_BASE_IMAGE_H
#define FS_BASE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fs/base/base.h"
#include "fs/base/file.h"
#include "fs/base/qcow2.h"

struct image {
	/* Constant while held. */
	struct file *file;
	struct file *data;    /* the external data file; NULL: none */
	struct qcow2 *qcow2;  /* NULL: raw */
	const struct qcow2_info *asks; /* which other files it names; NULL: raw */
	char *snapshot;       /* NULL: as it is now */
	uint64_t size_bytes;  /* virtual */
	struct bytes file_bytes;
	struct bytes data_bytes;

	/* Under the table's lock (image.c). */
	uint32_t holds;
	struct image *next;
};

/* What to hold, and as what it was recorded (NULL: as it is now). */
struct image_wanted {
	const struct base_image *image;
	const char *snapshot;
	const struct identity *identity;
	const struct identity *data_identity;
};

int image_hold(const struct image_wanted *wanted, struct image **ret_image, struct err *err);
void image_release(struct image *image); /* NULL allowed */

/* qcow2_open() for what may become a base: a damaged image is a source that
 * cannot be one (-EOPNOTSUPP); -EUCLEAN is left for what is ours. */
int image_open_qcow2(const struct bytes *file, const char *path, const char *snapshot,
	struct qcow2 **ret_qcow2, struct err *err);

/* Can what a header says be the size of a disk? -EOPNOTSUPP. */
int image_check_size(const char *path, uint64_t size_bytes, struct err *err);

/* Who owns off? off + len must not pass size_bytes. See qcow2_map(). */
int image_map(struct image *image, uint64_t off, uint64_t len, bool nowait,
	struct extent *ret_extent);

/* Where extents of data lie. */
static inline struct file *image_data_file(const struct image *image)
{
	return image->data ? image->data : image->file;
}

#endif
