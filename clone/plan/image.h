/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Full images that hydrate makes: their names, space, making, publishing, dropping.
 *
 * The names stand in the clone's record before a file is made. A temporary
 * name holds a random number, so a file of that name is ours; a file at the
 * final name is ours only if it has the inode that the record names.
 */
#ifndef CLONE_PLAN_IMAGE_H
#define CLONE_PLAN_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "clone/state/record.h"
#include "fs/store/store.h"
#include "fs/util/err.h"

/* Fill in image and temp of disk i: beside the original image, or in `to`.
 * DIR/CLONE.raw for a clone's only disk, else DIR/CLONE-TARGET.raw. -EEXIST:
 * there is a file of that name. Of a frozen original CLONE is NAME-thawed, or
 * NAME-thawedN with the first N that is free. */
int image_plan(struct record *record, uint32_t i, const struct manifest *manifest, const char *to,
	struct err *err);

/* Is there room for data_bytes[i] more beside each image i? -ENOSPC. */
int image_check_space(const struct record *record, const uint64_t *data_bytes, struct err *err);

/* Make the temporary file, one hole of size_bytes; *ret_fd is the caller's. */
int image_create(struct record_disk *disk, uint64_t size_bytes, int *ret_fd, struct err *err);

/* Owner and mode as the original's (with the write bits that clones took of it:
 * protect_mode()), durable, at its final name. */
int image_publish(const struct record_disk *disk, struct store *store, int fd, struct err *err);

/* Is its image at the final name, the very file that was made? */
bool image_there(const struct record_disk *disk);

/* Remove what of it is there and ours; forget its names. */
int image_drop(struct record_disk *disk, struct err *err);

#endif
