/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening, using and closing the disk behind a file: see load.h.
 *
 * What may be lost: nothing. A disk is only closed when what was acknowledged
 * is durable, unless its clone or the mount goes away, and then its last flush
 * is reported, or its content was thrown away, durably, by a reset. tests/unit/fs/mount/test-load.c closes under load.
 */
#include "fs/mount/load.h"

#include <errno.h>

#include "fs/mount/session.h"
#include "fs/util/cleanup.h"

void load_begin_change(struct mount_disk *disk)
{
	SCOPED_LOCK(&disk->load_lock);

	while (disk->changing)
		pthread_cond_wait(&disk->changed, &disk->load_lock);
	disk->changing = true;
}

/* False: somebody else is about to change it. */
static bool try_change(struct mount_disk *disk)
{
	SCOPED_LOCK(&disk->load_lock);

	if (disk->changing)
		return false;
	disk->changing = true;
	return true;
}

void load_end_change(struct mount_disk *disk)
{
	SCOPED_LOCK(&disk->load_lock);

	disk->changing = false;
	pthread_cond_broadcast(&disk->changed);
}

struct disk *load_look(struct mount_disk *disk)
{
	struct disk *opened;

	atomic_fetch_add(&disk->users, 1); /* before looking */
	opened = atomic_load(&disk->disk);
	if (!opened)
		load_unuse(disk);
	return opened;
}

struct disk *load_use(struct mount_disk *disk)
{
	/* Read first: writing would take the line from the other workers. */
	if (!atomic_load_explicit(&disk->used, memory_order_relaxed))
		atomic_store_explicit(&disk->used, true, memory_order_relaxed);
	return load_look(disk);
}

void load_unuse(struct mount_disk *disk)
{
	struct tree *tree = disk->clone->tree;

	if (atomic_fetch_sub(&disk->users, 1) == 1)
		tree_wake_waiters(tree);
}

int load_open_changing(struct mount *mount, struct mount_disk *disk, struct disk **ret_disk)
{
	struct disk *opened = load_use(disk);

	if (!opened) {
		if (mount->backend.open(disk->ctx, &opened) < 0)
			return -EIO;
		atomic_store(&disk->told, false);
		atomic_fetch_add(&disk->users, 1);
		atomic_store(&disk->disk, opened);
	}
	*ret_disk = opened;
	return 0;
}

int load_open(struct mount *mount, struct mount_disk *disk, struct disk **ret_disk)
{
	int rc;

	*ret_disk = load_use(disk);
	if (*ret_disk)
		return 0;
	load_begin_change(disk);
	rc = load_open_changing(mount, disk, ret_disk);
	load_end_change(disk);
	return rc;
}

int load_flush(struct mount *mount, struct mount_disk *disk)
{
	struct disk *opened;
	int rc = load_open(mount, disk, &opened);

	if (rc < 0)
		return rc;
	rc = disk_flush(opened);
	if (rc < 0)
		atomic_store(&disk->told, true);
	load_unuse(disk);
	return atomic_exchange(&disk->lost, false) ? -EIO : rc;
}

bool load_must_wait_to_flush(struct mount_disk *disk, struct disk *opened)
{
	return !opened || atomic_load(&disk->lost) || disk_unsynced(opened);
}

/* Attributes can be told without opening it again. */
static void remember(struct mount_disk *disk, struct disk *opened)
{
	struct delta_stats stats;
	uint64_t data_bytes = disk_data_bytes(opened);
	uint64_t size_bytes = disk_size(opened);

	disk_delta_stats(opened, &stats);
	SCOPED_LOCK(&disk->attr_lock);
	disk->attr.size_bytes = size_bytes;
	disk->known = true;
	disk->data_bytes = data_bytes;
	disk->last_write_sec = stats.last_write_sec;
}

static struct disk *take_aside(struct mount_disk *disk)
{
	struct disk *opened = disk->aside;

	disk->aside = NULL;
	return opened;
}

void load_set_aside(struct mount_disk *disk)
{
	disk->aside = atomic_exchange(&disk->disk, NULL);
	if (!disk->aside)
		return;
	tree_wait_zero(disk->clone->tree, &disk->users);
	remember(disk, disk->aside);
}

void load_put_back(struct mount_disk *disk)
{
	atomic_store(&disk->disk, take_aside(disk));
}

int load_close_aside(struct mount *mount, struct mount_disk *disk)
{
	struct disk *opened = take_aside(disk);

	if (!opened)
		return 0;
	/* Opened again it is whole, but without what was lost. */
	if (disk_flush(opened) < 0)
		atomic_store(&disk->lost, true);
	return mount->backend.close(disk->ctx, opened);
}

void load_drop_aside(struct mount *mount, struct mount_disk *disk)
{
	struct disk *opened = take_aside(disk);

	if (opened)
		mount->backend.drop(disk->ctx, opened);
}

int load_close(struct mount *mount, struct mount_disk *disk)
{
	load_set_aside(disk);
	return load_close_aside(mount, disk);
}

bool load_is_hopeless(struct mount_disk *disk, struct disk *opened)
{
	return atomic_load(&disk->opens) == 0 && disk_broken(opened);
}

static bool is_idle(struct mount_disk *disk, struct disk *opened)
{
	return atomic_load(&disk->users) == 0 &&
		(load_is_hopeless(disk, opened) || !disk_unsynced(opened));
}

int load_close_idle(struct mount *mount, struct mount_disk *disk)
{
	struct disk *opened;
	int rc = 0;

	if (!try_change(disk))
		return -EBUSY;
	opened = atomic_exchange(&disk->disk, NULL);
	if (opened && !is_idle(disk, opened)) {
		atomic_store(&disk->disk, opened);
		rc = -EBUSY;
	} else if (opened) {
		remember(disk, opened);
		if (disk_unsynced(opened) && !atomic_load(&disk->told))
			atomic_store(&disk->lost, true);
		/* All was durable; a clean mark that could not be written only
		 * makes the next opening longer. */
		mount->backend.close(disk->ctx, opened);
	}
	load_end_change(disk);
	return rc;
}
