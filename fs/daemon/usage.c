/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Space that clones take, and what is left for guests: see usage.h. */
#include "fs/daemon/usage.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "fs/util/cleanup.h"
#include "fs/util/round.h"

uint64_t usage_quota(const struct table *table, uint64_t own_bytes)
{
	return own_bytes ? own_bytes : table->clone_quota_bytes;
}

int usage_begin(struct attached *clone)
{
	int rc = space_new(clone->table->pool,
		usage_quota(clone->table, clone->manifest->quota_bytes), &clone->space);

	for (uint32_t i = 0; rc == 0 && i < clone->manifest->n_disks; i++)
		usage_closed(&clone->disks[i]);
	return rc;
}

void usage_log(struct attached_disk *disk, uint64_t *ret_bytes, uint64_t *ret_sec)
{
	struct attached *clone = disk->clone;
	AUTO_CLOSE int dirfd = store_clone_dirfd(clone->table->store, clone->manifest->name);
	char id[ID_TEXT], name[ID_TEXT + 4];
	struct stat st;

	*ret_bytes = *ret_sec = 0;
	pthread_mutex_lock(&clone->lock);
	id_format(&clone->manifest->disks[disk->index].log, id);
	pthread_mutex_unlock(&clone->lock);
	snprintf(name, sizeof(name), "%s.log", id);
	if (dirfd < 0 || fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	*ret_bytes = (uint64_t)st.st_blocks * 512;
	*ret_sec = (uint64_t)st.st_mtime;
}

void usage_closed(struct attached_disk *disk)
{
	uint64_t sec;

	usage_opening(disk);
	usage_log(disk, &disk->closed_bytes, &sec);
	space_adopt(disk->clone->space, (int64_t)disk->closed_bytes);
}

void usage_opening(struct attached_disk *disk)
{
	space_adopt(disk->clone->space, -(int64_t)disk->closed_bytes);
	disk->closed_bytes = 0;
}

static uint64_t quota_or(uint64_t quota_bytes, uint64_t total_bytes)
{
	return quota_bytes ? min_u64(quota_bytes, total_bytes) : total_bytes;
}

void usage_space(struct table *table, struct attached_disk *disk, struct mount_space *ret_space)
{
	struct space_info info;
	struct statvfs fs;
	uint64_t total = 0;

	if (disk)
		space_info(disk->clone->space, &info);
	else
		space_pool_info(table->pool, &info);
	if (fstatvfs(store_dirfd(table->store), &fs) == 0)
		total = (uint64_t)fs.f_blocks * fs.f_frsize;
	total = quota_or(info.quota_bytes, quota_or(info.store_quota_bytes, total));
	*ret_space = (struct mount_space){
		.total_bytes = total,
		.free_bytes = min_u64(info.free_bytes, total),
	};
}
