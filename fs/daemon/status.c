/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Status of clones, disks, bases and the store: see status.h. */
#include "fs/daemon/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/ctl/server.h"
#include "fs/daemon/trouble.h"
#include "fs/daemon/usage.h"
#include "fs/util/cleanup.h"

/* "Not known while it is closed": only the opened delta has an index. */
#define UNKNOWN NULL

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

/* A step that waits for room is no trouble of the disk's. */
static json_t *upkeep_text(struct attached_disk *disk)
{
	int rc = atomic_load(&disk->keeping.error);

	return rc == 0 || rc == -ENOSPC ? json_null()
		: json_sprintf("upkeep of its log fails: %s", strerror(-rc));
}

static json_t *error_text(struct attached_disk *disk)
{
	struct attached *clone = disk->clone;
	AUTO_FREE char *trouble = NULL;
	SCOPED_LOCK(&clone->lock);

	if (disk->error)
		return ctl_text(disk->error);
	trouble = trouble_text_locked(disk);
	return trouble ? ctl_text(trouble) : upkeep_text(disk);
}

static json_t *base_path(struct attached_disk *disk)
{
	SCOPED_LOCK(&disk->clone->lock);
	const char *path = disk->clone->manifest->disks[disk->index].base_path;

	return path ? ctl_text(path) : NULL;
}

static json_t *base_state(struct attached_disk *disk)
{
	SCOPED_LOCK(&disk->clone->lock);
	const char *state = trouble_state_locked(disk);

	return state ? json_string(state) : NULL;
}

struct collection {
	const char *mountpoint;
	uint64_t log_bytes; /* of all disks */
	struct base **base; /* some more than once; good while table->lock is held */
	size_t n_bases, size;
};

static uint32_t count_layers(struct attached_disk *disk)
{
	SCOPED_LOCK(&disk->clone->lock);

	return disk->clone->manifest->disks[disk->index].n_layers;
}

static json_t *snapshots_array(struct attached *clone)
{
	json_t *array = json_array();
	SCOPED_LOCK(&clone->lock);

	for (uint32_t i = 0; array && i < clone->manifest->n_snapshots; i++) {
		const struct store_snapshot *snapshot = &clone->manifest->snapshots[i];

		if (json_array_append_new(array, json_pack("{s:o, s:I}", "name",
			    ctl_text(snapshot->name), "created",
			    (json_int_t)snapshot->created_sec)) < 0) {
			json_decref(array);
			array = NULL;
		}
	}
	return array;
}

static json_t *disk_object(struct attached_disk *disk, struct collection *all)
{
	const struct store_disk *from = &disk->clone->manifest->disks[disk->index];
	struct mount_disk_info info;
	char path[STORE_PATH_MAX + STORE_NAME_MAX + STORE_TARGET_MAX + 8];

	mount_disk_info(disk->clone->shown, disk->index, &info);
	if (!info.opened)
		usage_log(disk, &info.stats.log_bytes, &info.stats.last_write_sec);
	all->log_bytes += info.stats.log_bytes;
	snprintf(path, sizeof(path), "%s/%s/%s%s", all->mountpoint, disk->clone->manifest->name,
		from->target, STORE_DISK_SUFFIX);
	return json_pack("{s:s, s:o, s:o, s:o, s:b, s:o?, s:o?, s:o?, s:o?, s:o, s:o, s:o, s:o, s:o, "
		"s:o, s:o?, s:o?, s:o}",
		"target", from->target,
		"path", ctl_text(path),
		"size_bytes", number(info.attr.size_bytes),
		"log_bytes", number(info.stats.log_bytes),
		"opened", (int)info.opened,
		"index_bytes", info.opened ? number(info.stats.index_bytes) : UNKNOWN,
		"replayed_bytes", info.opened ? number(info.stats.replayed_bytes) : UNKNOWN,
		"live_bytes", info.opened ? number(info.stats.live_bytes) : UNKNOWN,
		"data_blocks", info.opened ? number(info.stats.data_blocks) : UNKNOWN,
		"last_write", number(info.stats.last_write_sec),
		"opens", number(info.opens),
		"uid", number(info.attr.uid),
		"gid", number(info.attr.gid),
		"mode", number(info.attr.mode),
		"layers", number(count_layers(disk)),
		"base", base_path(disk),
		"base_state", base_state(disk),
		"error", error_text(disk));
}

static json_t *clone_object(struct attached *clone, struct collection *all)
{
	json_t *disks = json_array();
	struct space_info space;
	char id[ID_TEXT];

	space_info(clone->space, &space);
	id_format(&clone->manifest->id, id);
	for (uint32_t i = 0; i < clone->manifest->n_disks; i++)
		if (json_array_append_new(disks, disk_object(&clone->disks[i], all)) < 0) {
			json_decref(disks);
			return NULL;
		}
	return json_pack("{s:o, s:s, s:o, s:o, s:o, s:o}",
		"name", ctl_text(clone->manifest->name),
		"id", id,
		"quota_bytes", number(space.quota_bytes),
		"used_bytes", number(space.used_bytes),
		"disks", disks,
		"snapshots", snapshots_array(clone));
}

static json_t *base_object(struct base *base)
{
	struct base_info info;

	base_info(base, &info);
	return json_pack("{s:o, s:s, s:s, s:o?, s:o, s:b, s:o, s:o, s:o}",
		"path", ctl_text(info.path),
		"format", info.format,
		"state", trouble_state_name(&info),
		"trouble", info.trouble ? ctl_text(info.trouble) : NULL,
		"files", number(info.n_files),
		"leased", (int)info.leased,
		"size_bytes", number(info.size_bytes),
		"allocated_bytes", number(info.allocated_bytes),
		"holds", number(info.holds));
}

static int add_base(struct collection *all, struct base *base)
{
	if (all->n_bases == all->size) {
		size_t size = all->size ? 2 * all->size : 64;
		struct base **grown = reallocarray(all->base, size, sizeof(struct base *));

		if (!grown)
			return -ENOMEM;
		all->base = grown;
		all->size = size;
	}
	all->base[all->n_bases++] = base;
	return 0;
}

static int add_bases(struct collection *all, struct attached *clone)
{
	int rc = 0;
	SCOPED_LOCK(&clone->lock);

	for (uint32_t i = 0; rc == 0 && i < clone->manifest->n_disks; i++)
		if (clone->disks[i].base)
			rc = add_base(all, clone->disks[i].base);
	return rc;
}

static int by_address(const void *a, const void *b)
{
	const char *x = *(char *const *)a, *y = *(char *const *)b;

	return (x > y) - (x < y);
}

/* Each base once. */
static json_t *bases_array(struct collection *all)
{
	json_t *array = json_array();

	if (all->n_bases > 0)
		qsort(all->base, all->n_bases, sizeof(struct base *), by_address);
	for (size_t i = 0; array && i < all->n_bases; i++) {
		if (i > 0 && all->base[i] == all->base[i - 1])
			continue;
		if (json_array_append_new(array, base_object(all->base[i])) < 0) {
			json_decref(array);
			array = NULL;
		}
	}
	return array;
}

static int add_clones_locked(struct table *table, json_t *clones, struct collection *all)
{
	for (uint32_t i = 0; i < table->count; i++) {
		if (table->clones[i]->leaving)
			continue;
		if (json_array_append_new(clones, clone_object(table->clones[i], all)) < 0 ||
			add_bases(all, table->clones[i]) < 0)
			return -ENOMEM;
	}
	return 0;
}

static json_t *store_object(struct table *table, uint64_t log_bytes)
{
	struct space_info space;

	space_pool_info(table->pool, &space);
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:b}",
		"store_bytes", number(log_bytes),
		"store_used_bytes", number(space.store_used_bytes),
		"store_free_bytes", number(space.free_bytes),
		"store_quota_bytes", number(space.store_quota_bytes),
		"reserve_bytes", number(space.reserve_bytes),
		"reserve_filled_bytes", number(space.reserve_filled_bytes),
		"reserve_counted", (int)space.reserve_counted);
}

int status_add_table(struct table *table, const char *mountpoint, json_t *reply)
{
	struct collection all = {.mountpoint = mountpoint};
	json_t *clones = json_array(), *store;
	int rc;
	SCOPED_LOCK(&table->lock);

	rc = add_clones_locked(table, clones, &all);
	store = store_object(table, all.log_bytes);
	if (json_object_set_new(reply, "clones", clones) < 0 ||
		json_object_set_new(reply, "bases", bases_array(&all)) < 0 ||
		!store || json_object_update(reply, store) < 0)
		rc = -ENOMEM;
	json_decref(store);
	free(all.base);
	return rc;
}
