/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Status of clones, disks, bases and the store: see status.h. */
#include "fs/daemon/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "fs/ctl/server.h"
#include "fs/util/cleanup.h"

/* "Not known while it is closed": only the opened delta has an index. */
#define UNKNOWN NULL

static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)value);
}

/* A closed delta is described by its log file. */
static void stat_log(const struct attached_disk *disk, uint64_t *ret_bytes, uint64_t *ret_sec)
{
	const struct manifest *m = disk->clone->manifest;
	AUTO_CLOSE int dirfd = store_clone_dirfd(disk->clone->table->store, m->name);
	char id[ID_TEXT], name[ID_TEXT + 4];
	struct stat st;

	*ret_bytes = *ret_sec = 0;
	id_format(&m->disks[disk->index].log, id);
	snprintf(name, sizeof(name), "%s.log", id);
	if (dirfd < 0 || fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	*ret_bytes = (uint64_t)st.st_blocks * 512;
	*ret_sec = (uint64_t)st.st_mtime;
}

static json_t *error_text(struct attached_disk *disk)
{
	struct attached *clone = disk->clone;
	struct base_info base;
	SCOPED_LOCK(&clone->lock);

	if (disk->error)
		return ctl_text(disk->error);
	if (!disk->base)
		return json_null();
	base_info(disk->base, &base);
	if (base.state == BASE_CHANGED)
		return json_sprintf("its base changed");
	if (base.state == BASE_SUSPENDED)
		return json_sprintf("its base is open for writing: reads of it wait");
	if (base.moved)
		return ctl_text("its base was moved or deleted, and is lost once the daemon stops: "
			"put it back, or hydrate the clone");
	return json_null();
}

struct collection {
	const char *mountpoint;
	uint64_t log_bytes; /* of all disks */
	struct base **base; /* some more than once; good while table->lock is held */
	size_t n_bases, size;
};

static json_t *disk_object(struct attached_disk *disk, struct collection *all)
{
	const struct store_disk *from = &disk->clone->manifest->disks[disk->index];
	struct mount_disk_info info;
	char path[STORE_PATH_MAX + STORE_NAME_MAX + STORE_TARGET_MAX + 8];

	mount_disk_info(disk->clone->shown, disk->index, &info);
	if (!info.opened)
		stat_log(disk, &info.stats.log_bytes, &info.stats.last_write_sec);
	all->log_bytes += info.stats.log_bytes;
	snprintf(path, sizeof(path), "%s/%s/%s%s", all->mountpoint, disk->clone->manifest->name,
		from->target, STORE_DISK_SUFFIX);
	return json_pack("{s:s, s:o, s:o, s:o, s:o?, s:o?, s:o, s:o, s:o, s:o, s:o, s:o?, s:o}",
		"target", from->target,
		"path", ctl_text(path),
		"size_bytes", number(info.attr.size_bytes),
		"log_bytes", number(info.stats.log_bytes),
		"live_bytes", info.opened ? number(info.stats.live_bytes) : UNKNOWN,
		"data_blocks", info.opened ? number(info.stats.data_blocks) : UNKNOWN,
		"last_write", number(info.stats.last_write_sec),
		"opens", number(info.opens),
		"uid", number(info.attr.uid),
		"gid", number(info.attr.gid),
		"mode", number(info.attr.mode),
		"base", from->base_path ? ctl_text(from->base_path) : NULL,
		"error", error_text(disk));
}

static json_t *clone_object(struct attached *clone, struct collection *all)
{
	json_t *disks = json_array();
	char id[ID_TEXT];

	id_format(&clone->manifest->id, id);
	for (uint32_t i = 0; i < clone->manifest->n_disks; i++)
		if (json_array_append_new(disks, disk_object(&clone->disks[i], all)) < 0) {
			json_decref(disks);
			return NULL;
		}
	return json_pack("{s:o, s:s, s:o}", "name", ctl_text(clone->manifest->name), "id", id,
		"disks", disks);
}

static const char *state_name(const struct base_info *base)
{
	switch (base->state) {
	case BASE_SUSPENDED:
		return "suspended";
	case BASE_CHANGED:
		return "changed";
	case BASE_READY:
		break;
	}
	return base->moved ? "moved" : "ready";
}

static json_t *base_object(struct base *base)
{
	struct base_info info;

	base_info(base, &info);
	return json_pack("{s:o, s:s, s:b, s:o, s:o, s:o}",
		"path", ctl_text(info.path),
		"state", state_name(&info),
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

static uint64_t free_bytes(struct store *store)
{
	struct statvfs fs;

	if (fstatvfs(store_dirfd(store), &fs) < 0)
		return 0;
	return (uint64_t)fs.f_bavail * fs.f_frsize;
}

int status_add_table(struct table *table, const char *mountpoint, json_t *reply)
{
	struct collection all = {.mountpoint = mountpoint};
	json_t *clones = json_array();
	int rc;
	SCOPED_LOCK(&table->lock);

	rc = add_clones_locked(table, clones, &all);
	if (json_object_set_new(reply, "clones", clones) < 0 ||
		json_object_set_new(reply, "bases", bases_array(&all)) < 0 ||
		json_object_set_new(reply, "store_bytes", number(all.log_bytes)) < 0 ||
		json_object_set_new(reply, "store_free_bytes",
			number(free_bytes(table->store))) < 0)
		rc = -ENOMEM;
	free(all.base);
	return rc;
}
