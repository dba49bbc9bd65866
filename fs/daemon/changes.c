/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reset, names of snapshots, quota, relink, check: see changes.h. Snapshots: snapshot.c. */
#include "fs/daemon/changes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "fs/daemon/usage.h"
#include "fs/store/freeze.h"
#include "fs/util/cleanup.h"
#include "fs/util/clock.h"

#define CHECK_MS 1000
#define CHECK_BLOCKS 4096 /* between two looks at the clock */

/* ---- reset: crash points are said in fs/store/freeze.h ---- */

static int reset_locked(struct attached *clone, const char *to, struct err *err)
{
	const struct table *table = clone->table;
	struct manifest *next;
	int rc = attached_check(clone, err);

	if (rc == 0)
		rc = store_reset(table->store, clone->manifest, to,
			space_pool_remains(table->pool), &next, err);
	if (rc == 0)
		attached_take(clone, next);
	if (rc == -ENOTRECOVERABLE)
		atomic_store(&clone->doubtful, true);
	return rc;
}

/* Its disks are suspended: what they are made of changes under none of them. */
static int reset_suspended(struct attached *clone, const char *to, struct err *err)
{
	int rc;
	SCOPED_LOCK(&clone->change_lock);

	rc = reset_locked(clone, to, err);
	/* Those that are open count themselves until they are dropped. */
	for (uint32_t i = 0; rc == 0 && i < clone->manifest->n_disks; i++)
		usage_closed(&clone->disks[i]);
	return rc;
}

/* A disk that had grown more than its manifest says is of that size again. */
static void resume_replaced(struct attached *clone)
{
	uint64_t size_bytes[STORE_DISKS_MAX];

	pthread_mutex_lock(&clone->lock);
	for (uint32_t i = 0; i < clone->manifest->n_disks; i++)
		size_bytes[i] = clone->manifest->disks[i].size_bytes;
	pthread_mutex_unlock(&clone->lock);
	mount_resume(clone->table->mount, clone->shown, MOUNT_REPLACED, size_bytes);
}

static int reset(struct attached *clone, const char *to, struct err *err)
{
	struct mount *mount = clone->table->mount;
	int rc;
	SCOPED_LOCK(&clone->verb_lock);

	rc = mount_suspend(mount, clone->shown, err);
	if (rc < 0)
		return rc;
	rc = reset_suspended(clone, to, err);
	/* In doubt the next opening finds out which logs count. */
	if (rc == 0)
		resume_replaced(clone);
	else
		mount_resume(mount, clone->shown,
			atomic_load(&clone->doubtful) ? MOUNT_CLOSED : MOUNT_AS_BEFORE, NULL);
	return rc;
}

int table_reset(struct table *table, const char *name, const char *to, struct err *err)
{
	struct attached *clone;
	int rc = attached_get(table, name, &clone, err);

	if (rc < 0)
		return rc;
	rc = reset(clone, to, err);
	attached_put(clone);
	return rc;
}

/* ---- what only the manifest says ---- */

/* Write a changed copy of the manifest, and take it. */
static int change_manifest(struct attached *clone,
	int (*change)(struct manifest *m, const void *arg, struct err *err), const void *arg,
	struct err *err)
{
	struct manifest *next = NULL;
	int rc = attached_check(clone, err);

	if (rc < 0)
		return rc;
	rc = manifest_copy(clone->manifest, &next);
	if (rc < 0)
		return err_sys(err, rc, "clone %s", clone->manifest->name);
	rc = change(next, arg, err);
	if (rc == 0)
		rc = store_manifest_write(clone->table->store, next, err);
	if (rc == 0)
		attached_take(clone, next);
	else
		manifest_free(next);
	return rc;
}

static int drop_name(struct manifest *m, const void *arg, struct err *err)
{
	struct store_snapshot *snapshot = manifest_snapshot(m, arg);
	struct store_snapshot gone;

	if (!snapshot)
		return err_set(err, -ENOENT, "clone %s: it has no snapshot %s", m->name,
			(const char *)arg);
	/* The last one is freed with the manifest's others. */
	gone = *snapshot;
	m->n_snapshots--;
	memmove(snapshot, snapshot + 1,
		(size_t)(&m->snapshots[m->n_snapshots] - snapshot) * sizeof(*snapshot));
	store_snapshot_release(&gone);
	return 0;
}

int table_forget(struct table *table, const char *name, const char *snapshot, struct err *err)
{
	struct attached *clone;
	int rc = attached_get(table, name, &clone, err);

	if (rc < 0)
		return rc;
	{
		SCOPED_LOCK(&clone->change_lock);

		rc = change_manifest(clone, drop_name, snapshot, err);
	}
	attached_put(clone);
	return rc;
}

static int set_quota(struct manifest *m, const void *arg, struct err *err)
{
	m->quota_bytes = *(const uint64_t *)arg;
	return 0;
}

int table_quota(struct table *table, const char *name, uint64_t bytes, struct err *err)
{
	struct attached *clone;
	int rc = attached_get(table, name, &clone, err);

	if (rc < 0)
		return rc;
	{
		SCOPED_LOCK(&clone->change_lock);

		rc = change_manifest(clone, set_quota, &bytes, err);
		if (rc == 0)
			space_set_quota(clone->space, usage_quota(table, bytes));
	}
	attached_put(clone);
	return rc;
}

/* ---- one disk ---- */

static int find_disk(const struct attached *clone, const char *target, uint32_t *ret_index,
	struct err *err)
{
	for (uint32_t i = 0; i < clone->manifest->n_disks; i++) {
		if (strcmp(clone->manifest->disks[i].target, target) == 0) {
			*ret_index = i;
			return 0;
		}
	}
	return err_set(err, -ENOENT, "clone %s: it has no disk %s", clone->manifest->name, target);
}

/* ---- relink: a base that is somewhere else now ----
 *
 * Power cut or kill: the old manifest or the new one. The base at its new
 * place holds the same bytes, the caller says, so either reads the same.
 */

struct relink {
	uint32_t disk;
	const char *path, *identity;
};

static int set_text(char **text, const char *to)
{
	char *copy = strdup(to);

	if (!copy)
		return -ENOMEM;
	free(*text);
	*text = copy;
	return 0;
}

static int set_base(struct manifest *m, const void *arg, struct err *err)
{
	const struct relink *to = arg;
	struct store_disk *disk = &m->disks[to->disk];
	int rc;

	if (!disk->base_path)
		return err_set(err, -ENOENT, "clone %s: disk %s has no base", m->name, disk->target);
	rc = set_text(&disk->base_path, to->path);
	if (rc == 0)
		rc = set_text(&disk->base_identity, to->identity);
	return rc < 0 ? err_sys(err, rc, "clone %s", m->name) : 0;
}

static void let_go_base(struct attached_disk *disk)
{
	struct base *old;

	pthread_mutex_lock(&disk->clone->lock);
	old = disk->base;
	disk->base = NULL;
	pthread_mutex_unlock(&disk->clone->lock);
	base_release(old);
}

/* No request uses its disks. A base that still cannot be held (another
 * file of its chain is missing) is the disk's error, not the change's. */
static int relink_suspended(struct attached *clone, const struct relink *to, struct err *err)
{
	struct err why = {0};
	int rc;
	SCOPED_LOCK(&clone->change_lock);

	rc = change_manifest(clone, set_base, to, err);
	if (rc < 0)
		return rc;
	let_go_base(&clone->disks[to->disk]);
	attach_hold_base(&clone->disks[to->disk], &why);
	return 0;
}

static int relink(struct attached *clone, const char *target, struct relink *to, struct err *err)
{
	struct mount *mount = clone->table->mount;
	int rc;
	SCOPED_LOCK(&clone->verb_lock);

	rc = find_disk(clone, target, &to->disk, err);
	if (rc == 0)
		rc = mount_suspend(mount, clone->shown, err);
	if (rc < 0)
		return rc;
	rc = relink_suspended(clone, to, err);
	mount_resume(mount, clone->shown, rc == 0 ? MOUNT_CLOSED : MOUNT_AS_BEFORE, NULL);
	return rc;
}

int table_relink(struct table *table, const char *name, const char *target, const char *path,
	const char *identity, struct err *err)
{
	struct relink to = {.path = path, .identity = identity};
	struct attached *clone;
	int rc = attached_get(table, name, &clone, err);

	if (rc < 0)
		return rc;
	rc = relink(clone, target, &to, err);
	attached_put(clone);
	return rc;
}

/* ---- check ---- */

static int check_disk(struct disk *disk, uint64_t from, struct disk_verified *ret_verified)
{
	int64_t until = clock_now_ms() + CHECK_MS;
	struct disk_verified sum = {.next = from};
	int rc;

	do {
		struct disk_verified slice;

		rc = disk_verify(disk, sum.next, CHECK_BLOCKS, &slice);
		if (rc < 0)
			return rc;
		sum.next = slice.next;
		sum.end = slice.end;
		sum.data_blocks += slice.data_blocks;
		sum.bad_blocks += slice.bad_blocks;
	} while (sum.next < sum.end && clock_now_ms() < until);
	*ret_verified = sum;
	return 0;
}

static int check_clone(struct attached *clone, const char *target, uint64_t from,
	struct disk_verified *ret_verified, struct err *err)
{
	struct disk *disk;
	uint32_t i = 0;
	int rc = find_disk(clone, target, &i, err);

	if (rc < 0)
		return rc;
	rc = mount_use_disk(clone->table->mount, clone->shown, i, &disk);
	if (rc == 0) {
		rc = check_disk(disk, from, ret_verified);
		mount_unuse_disk(clone->shown, i);
	}
	return rc < 0 ? err_sys(err, rc, "clone %s: disk %s", clone->manifest->name, target) : 0;
}

int table_check(struct table *table, const char *name, const char *target, uint64_t from,
	struct disk_verified *ret_verified, struct err *err)
{
	struct attached *clone;
	int rc = attached_get(table, name, &clone, err);

	if (rc < 0)
		return rc;
	rc = check_clone(clone, target, from, ret_verified, err);
	attached_put(clone);
	return rc;
}
