/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Disks of a mount seen from outside a request: visiting the opened ones, suspending a clone. */
#include <errno.h>

#include "fs/mount/load.h"
#include "fs/mount/session.h"
#include "fs/util/cleanup.h"
#include "fs/util/clock.h"

/* Milliseconds since a request last used it, as well as who looks now and then
 * can know. */
static int64_t idle_ms(struct mount_disk *disk)
{
	int64_t now = clock_now_ms();

	if (atomic_exchange(&disk->used, false))
		disk->idle_since_ms = now;
	return now - disk->idle_since_ms;
}

static void visit_disk(struct mount *mount, struct mount_disk *disk, mount_visit_fn *fn, void *ctx)
{
	struct mount_visit visit = {.disk = load_look(disk), .disk_ctx = disk->ctx};
	enum mount_verdict verdict;

	if (!visit.disk)
		return;
	visit.idle_ms = idle_ms(disk);
	visit.idle_since_ms = disk->idle_since_ms;
	visit.opens = atomic_load(&disk->opens);
	verdict = fn(ctx, &visit);
	/* A failed flush stays where the guest hears of it: in the open disk. */
	if (load_is_hopeless(disk, visit.disk))
		verdict = MOUNT_UNLOAD;
	else if (verdict == MOUNT_UNLOAD && disk_flush(visit.disk) < 0)
		verdict = MOUNT_KEEP;
	load_unuse(disk);
	if (verdict == MOUNT_UNLOAD)
		load_close_idle(mount, disk);
}

void mount_each_opened(struct mount *mount, mount_visit_fn *fn, void *ctx)
{
	struct mount_disk *disk;
	uint64_t ino = 0;

	while ((disk = tree_next_loaded(&mount->tree, ino))) {
		ino = disk->ino;
		visit_disk(mount, disk, fn, ctx);
		tree_disk_unpin(disk);
	}
}

int mount_use_disk(struct mount *mount, struct mount_clone *clone, uint32_t i,
	struct disk **ret_disk)
{
	return load_open(mount, &clone->disks[i], ret_disk);
}

void mount_unuse_disk(struct mount_clone *clone, uint32_t i)
{
	load_unuse(&clone->disks[i]);
}

static int check_closed(struct mount_clone *clone, struct err *err)
{
	for (uint32_t i = 0; i < clone->n_disks; i++)
		if (!tree_wait_closed(clone->tree, &clone->disks[i].opens, MOUNT_CLOSE_WAIT_MS))
			return err_set(err, -EBUSY, "clone %s: its disk %s is open", clone->name,
				clone->disks[i].name);
	return 0;
}

static void end_changes(struct mount_clone *clone)
{
	for (uint32_t i = 0; i < clone->n_disks; i++)
		load_end_change(&clone->disks[i]);
}

int mount_suspend(struct mount *mount, struct mount_clone *clone, struct err *err)
{
	int rc = check_closed(clone, err);

	if (rc < 0)
		return rc;
	for (uint32_t i = 0; i < clone->n_disks; i++)
		load_begin_change(&clone->disks[i]);
	/* Whoever opened one meanwhile was counted before he had to wait for us. */
	for (uint32_t i = 0; rc == 0 && i < clone->n_disks; i++)
		if (atomic_load(&clone->disks[i].opens) > 0)
			rc = err_set(err, -EBUSY, "clone %s: its disk %s is open", clone->name,
				clone->disks[i].name);
	if (rc < 0) {
		end_changes(clone);
		return rc;
	}
	for (uint32_t i = 0; i < clone->n_disks; i++)
		load_set_aside(&clone->disks[i]);
	return 0;
}

static void forget_attr(struct mount_disk *disk, const uint64_t *size_bytes)
{
	SCOPED_LOCK(&disk->attr_lock);

	disk->known = false;
	if (size_bytes) {
		disk->attr.size_bytes = *size_bytes;
		atomic_store(&disk->lost, false);
	}
	clock_gettime(CLOCK_REALTIME, &disk->changed_at);
}

static void meet_fate(struct mount *mount, struct mount_disk *disk, enum mount_fate fate)
{
	switch (fate) {
	case MOUNT_AS_BEFORE:
		load_put_back(disk);
		break;
	case MOUNT_CLOSED:
		load_close_aside(mount, disk);
		break;
	case MOUNT_REPLACED:
		load_drop_aside(mount, disk);
		break;
	}
}

void mount_resume(struct mount *mount, struct mount_clone *clone, enum mount_fate fate,
	const uint64_t *size_bytes)
{
	bool other = fate != MOUNT_AS_BEFORE;

	for (uint32_t i = 0; i < clone->n_disks; i++) {
		meet_fate(mount, &clone->disks[i], fate);
		if (other)
			forget_attr(&clone->disks[i], size_bytes ? &size_bytes[i] : NULL);
	}
	end_changes(clone);
	for (uint32_t i = 0; other && atomic_load(&mount->serving) && i < clone->n_disks; i++)
		fuse_lowlevel_notify_inval_inode(mount->session, clone->disks[i].ino, 0, 0);
}
