/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening an image over its held files, and the table that shares images: see image.h.
 *
 * As with files (file.c) the table's lock is not held while an image is
 * opened, which reads; the second of two openers takes the first one's.
 */
#include "fs/base/image.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fs/util/cleanup.h"

static struct {
	pthread_mutex_t lock;
	struct image *first; /* under lock */
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- an image's life ---- */

static void end(struct image *image)
{
	qcow2_close(image->qcow2);
	file_release(image->file);
	file_release(image->data);
	free(image->snapshot);
	free(image);
}

static int hold_files(struct image *image, const struct image_wanted *wanted, struct err *err)
{
	int rc = file_hold(wanted->image->path, wanted->identity, &image->file, err);

	if (rc == 0 && wanted->image->data_path)
		rc = file_hold(wanted->image->data_path, wanted->data_identity, &image->data, err);
	return rc;
}

static struct image *new_image(const char *snapshot)
{
	struct image *image = calloc(1, sizeof(*image));

	if (image && snapshot)
		image->snapshot = strdup(snapshot);
	if (image && snapshot && !image->snapshot) {
		free(image);
		return NULL;
	}
	if (image)
		image->holds = 1;
	return image;
}

int image_open_qcow2(const struct bytes *file, const char *path, const char *snapshot,
	struct qcow2 **ret_qcow2, struct err *err)
{
	int rc = qcow2_open(file, path, snapshot, ret_qcow2, err);

	if (rc != -EUCLEAN)
		return rc;
	if (err)
		err->code = -EOPNOTSUPP;
	err_hint(err, "qemu-img check %s says more; qemu-img convert may save what is whole", path);
	return -EOPNOTSUPP;
}

static int open_qcow2(struct image *image, const char *path, struct err *err)
{
	int rc = image_open_qcow2(
		&image->file_bytes, path, image->snapshot, &image->qcow2, err);

	if (rc < 0)
		return rc;
	image->asks = qcow2_info(image->qcow2);
	image->size_bytes = image->asks->size_bytes;
	if (image->data)
		qcow2_give_data(image->qcow2, &image->data_bytes);
	return image_check_size(path, image->size_bytes, err);
}

/* Its files are held: what do they say? */
static int open_format(struct image *image, const struct base_image *wanted, struct err *err)
{
	image->file_bytes = file_bytes(image->file);
	if (image->data)
		image->data_bytes = file_bytes(image->data);
	image->size_bytes = image->file_bytes.size_bytes;
	return strcmp(wanted->format, "raw") == 0 ? 0 : open_qcow2(image, wanted->path, err);
}

/* ---- the table ---- */

static bool same(const struct image *a, const struct image *b)
{
	if (a->file != b->file || a->data != b->data || !a->qcow2 != !b->qcow2)
		return false;
	return a->snapshot && b->snapshot ? strcmp(a->snapshot, b->snapshot) == 0
					  : a->snapshot == b->snapshot;
}

static struct image *find_locked(const struct image *like)
{
	for (struct image *image = table.first; image; image = image->next) {
		if (same(image, like)) {
			image->holds++;
			return image;
		}
	}
	return NULL;
}

/* Put it into the table, or return the twin that is there. */
static struct image *enter(struct image *image)
{
	struct image *twin;

	SCOPED_LOCK(&table.lock);
	twin = find_locked(image);
	if (twin)
		return twin;
	image->next = table.first;
	table.first = image;
	return image;
}

/* One hold less; true when it was the last and the image left the table. */
static bool leave(struct image *image)
{
	struct image **link = &table.first;

	SCOPED_LOCK(&table.lock);
	if (--image->holds > 0)
		return false;
	while (*link != image)
		link = &(*link)->next;
	*link = image->next;
	return true;
}

/* ---- the door ---- */

int image_hold(const struct image_wanted *wanted, struct image **ret_image, struct err *err)
{
	struct image *image = new_image(wanted->snapshot);
	struct image *shared;
	int rc;

	if (!image)
		return err_sys(err, -ENOMEM, "base %s", wanted->image->path);
	rc = hold_files(image, wanted, err);
	if (rc == 0)
		rc = open_format(image, wanted->image, err);
	if (rc < 0) {
		end(image);
		return rc;
	}
	shared = enter(image);
	if (shared != image)
		end(image);
	*ret_image = shared;
	return 0;
}

int image_check_size(const char *path, uint64_t size_bytes, struct err *err)
{
	if (size_bytes == 0)
		return err_set(err, -EOPNOTSUPP, "%s: its disk is empty", path);
	if (size_bytes > RAW_SIZE_MAX)
		return err_set(err, -EOPNOTSUPP, "%s: its disk is larger than 64 TiB", path);
	return 0;
}

void image_release(struct image *image)
{
	if (image && leave(image))
		end(image);
}

int image_map(struct image *image, uint64_t off, uint64_t len, bool nowait,
	struct extent *ret_extent)
{
	if (image->qcow2)
		return qcow2_map(image->qcow2, off, len, nowait, ret_extent);
	*ret_extent = (struct extent){.kind = EXTENT_DATA, .len = len, .host_off = off};
	return 0;
}
