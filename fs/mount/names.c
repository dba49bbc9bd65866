/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests about names and attributes: lookup, getattr, setattr, readdir, statfs.
 *
 * Attributes of a disk come from the opened disk (size, bytes of data, time
 * of the last write), so that looking at one opens it, unless it was open
 * before: what it was like when it was closed is remembered. One that cannot
 * be opened is shown full: an archiver must not take it for a hole.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "fs/mount/load.h"
#include "fs/mount/session.h"
#include "fs/util/cleanup.h"

/* Others may pass through (a machine's QEMU has to), but not look around. */
#define DIR_MODE 0711
#define SECTOR_BYTES 512
#define IO_BYTES 4096 /* st_blksize */

/* Setting times is accepted and has no effect: mtime is the last write. */
#define SET_TIMES (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW |           \
	FUSE_SET_ATTR_MTIME_NOW | FUSE_SET_ATTR_CTIME)

/* What the opened disk says of itself, or said when it was closed: false: unknown. */
static bool figures(struct mount_disk *disk, uint64_t *ret_size, uint64_t *ret_data,
	uint64_t *ret_written_sec)
{
	struct disk *opened = load_look(disk);
	struct delta_stats stats;

	if (!opened) {
		SCOPED_LOCK(&disk->attr_lock);

		*ret_size = disk->attr.size_bytes;
		*ret_data = disk->known ? disk->data_bytes : disk->attr.size_bytes;
		*ret_written_sec = disk->known ? disk->last_write_sec : 0;
		return disk->known;
	}
	disk_delta_stats(opened, &stats);
	*ret_size = disk_size(opened);
	*ret_data = disk_data_bytes(opened);
	*ret_written_sec = stats.last_write_sec;
	load_unuse(disk);
	return true;
}

/* False: it was never opened, which may tell more. */
static bool fill_disk(struct mount_disk *disk, struct stat *st)
{
	uint64_t size, data, written_sec;
	bool known = figures(disk, &size, &data, &written_sec);
	SCOPED_LOCK(&disk->attr_lock);

	*st = (struct stat){
		.st_ino = disk->ino,
		.st_mode = S_IFREG | disk->attr.mode,
		.st_nlink = 1,
		.st_uid = disk->attr.uid,
		.st_gid = disk->attr.gid,
		.st_size = (off_t)size,
		.st_blocks = (blkcnt_t)(data / SECTOR_BYTES),
		.st_blksize = IO_BYTES,
		.st_mtime = written_sec ? (time_t)written_sec : disk->clone->created_sec,
		.st_ctim = disk->changed_at,
	};
	if (st->st_ctime < st->st_mtime)
		st->st_ctim = st->st_mtim;
	st->st_atim = st->st_mtim;
	return known;
}

/* Open it if nobody has, and fill. */
static void open_and_fill(struct mount *mount, struct mount_disk *disk, struct stat *st)
{
	struct disk *opened;

	if (load_open(mount, disk, &opened) == 0)
		load_unuse(disk);
	fill_disk(disk, st);
}

static void fill_dir(const struct mount *mount, const struct tree_dir *dir, struct stat *st)
{
	*st = (struct stat){
		.st_ino = dir->ino,
		.st_mode = S_IFDIR | DIR_MODE,
		.st_nlink = 2 + dir->n_dirs,
		.st_uid = geteuid(),
		.st_gid = getegid(),
		.st_blksize = IO_BYTES,
		.st_mtime = dir->ino == TREE_ROOT ? mount->started.tv_sec : dir->created_sec,
	};
	st->st_ctim = st->st_mtim;
	st->st_atim = st->st_mtim;
}

static void reply_entry(fuse_req_t req, const struct stat *st)
{
	struct fuse_entry_param entry = {
		.ino = st->st_ino,
		.attr = *st,
		.attr_timeout = SESSION_TIMEOUT_SEC,
		.entry_timeout = SESSION_TIMEOUT_SEC,
	};

	fuse_reply_entry(req, &entry);
}

static void serve_lookup(struct waiting *w)
{
	struct stat st;

	open_and_fill(w->mount, w->disk, &st);
	reply_entry(w->req, &st);
}

static void lookup_disk(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *mount = fuse_req_userdata(req);
	struct mount_disk *disk = tree_disk_lookup(&mount->tree, parent, name);
	struct stat st;

	if (!disk) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	if (!fill_disk(disk, &st)) {
		session_wait(&(struct waiting){
			.serve = serve_lookup, .req = req, .mount = mount, .disk = disk}, 0);
		return;
	}
	tree_disk_unpin(disk);
	reply_entry(req, &st);
}

void names_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct mount *mount = fuse_req_userdata(req);
	struct tree_dir dir;
	struct stat st;

	if (parent != TREE_ROOT) {
		lookup_disk(req, parent, name);
		return;
	}
	if (tree_dir_lookup(&mount->tree, name, &dir) < 0) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	fill_dir(mount, &dir, &st);
	reply_entry(req, &st);
}

static void serve_getattr(struct waiting *w)
{
	struct stat st;

	open_and_fill(w->mount, w->disk, &st);
	fuse_reply_attr(w->req, &st, SESSION_TIMEOUT_SEC);
}

void names_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *mount = fuse_req_userdata(req);
	struct mount_disk *disk;
	struct tree_dir dir;
	struct stat st;

	if (tree_dir(&mount->tree, ino, &dir) == 0) {
		fill_dir(mount, &dir, &st);
		fuse_reply_attr(req, &st, SESSION_TIMEOUT_SEC);
		return;
	}
	disk = tree_disk_pin(&mount->tree, ino);
	if (!disk) {
		fuse_reply_err(req, ESTALE);
		return;
	}
	if (!fill_disk(disk, &st)) {
		session_wait(&(struct waiting){
			.serve = serve_getattr, .req = req, .mount = mount, .disk = disk}, 0);
		return;
	}
	tree_disk_unpin(disk);
	fuse_reply_attr(req, &st, SESSION_TIMEOUT_SEC);
}

/* Growing is the one change of size there is. */
static int grow(struct disk *disk, uint64_t size_bytes)
{
	if (size_bytes == disk_size(disk))
		return 0;
	if (size_bytes < disk_size(disk) || size_bytes % SECTOR_BYTES != 0)
		return -EINVAL;
	return disk_grow(disk, size_bytes);
}

static int set_size(struct mount *mount, struct mount_disk *disk, uint64_t size_bytes)
{
	struct disk *opened;
	int rc = load_open_changing(mount, disk, &opened);

	if (rc < 0)
		return rc;
	rc = grow(opened, size_bytes);
	load_unuse(disk);
	return rc;
}

static int keep(struct mount *mount, struct mount_disk *disk, const struct mount_attr *attr)
{
	int rc = mount->backend.keep(disk->ctx, attr);

	if (rc < 0)
		return rc;
	SCOPED_LOCK(&disk->attr_lock);
	disk->attr = *attr;
	clock_gettime(CLOCK_REALTIME, &disk->changed_at);
	return 0;
}

/* Its change has been begun. */
static int set_attr(struct waiting *w)
{
	struct mount_disk *disk = w->disk;
	struct mount_attr old, attr;
	int rc = 0;

	if (w->arg & FUSE_SET_ATTR_SIZE)
		rc = set_size(w->mount, disk, (uint64_t)w->attr.st_size);
	if (rc < 0)
		return rc;
	pthread_mutex_lock(&disk->attr_lock);
	attr = old = disk->attr;
	pthread_mutex_unlock(&disk->attr_lock);
	if (w->arg & FUSE_SET_ATTR_UID)
		attr.uid = w->attr.st_uid;
	if (w->arg & FUSE_SET_ATTR_GID)
		attr.gid = w->attr.st_gid;
	if (w->arg & FUSE_SET_ATTR_MODE)
		attr.mode = w->attr.st_mode & 0777;
	if (w->arg & FUSE_SET_ATTR_SIZE)
		attr.size_bytes = (uint64_t)w->attr.st_size;
	if (attr.uid == old.uid && attr.gid == old.gid && attr.mode == old.mode &&
		attr.size_bytes == old.size_bytes)
		return 0;
	return keep(w->mount, disk, &attr);
}

static void serve_setattr(struct waiting *w)
{
	struct stat st;
	int rc;

	load_begin_change(w->disk);
	rc = set_attr(w);
	load_end_change(w->disk);
	if (rc < 0) {
		fuse_reply_err(w->req, session_guest_errno(rc));
		return;
	}
	fill_disk(w->disk, &st);
	fuse_reply_attr(w->req, &st, SESSION_TIMEOUT_SEC);
}

void names_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
	struct fuse_file_info *fi)
{
	struct mount *mount = fuse_req_userdata(req);
	struct mount_disk *disk = tree_disk_pin(&mount->tree, ino);

	if (!disk) {
		/* Directories belong to the daemon. */
		if (to_set & ~SET_TIMES)
			fuse_reply_err(req, EPERM);
		else
			names_getattr(req, ino, fi);
		return;
	}
	session_wait(&(struct waiting){.serve = serve_setattr, .req = req, .mount = mount,
		.disk = disk, .arg = to_set, .attr = *attr}, 0);
}

/* Cookies: 1 and 2 follow the two entries every directory has; they are no
 * inode numbers of clones or disks. */
static bool next_entry(struct mount *mount, uint64_t dir, uint64_t cookie,
	struct tree_entry *ret_entry, uint64_t *ret_cookie)
{
	if (cookie < 2) {
		*ret_entry = (struct tree_entry){.ino = cookie ? TREE_ROOT : dir, .is_dir = true};
		strcpy(ret_entry->name, cookie ? ".." : ".");
		*ret_cookie = cookie + 1;
		return true;
	}
	if (!tree_next(&mount->tree, dir, cookie, ret_entry))
		return false;
	*ret_cookie = ret_entry->ino;
	return true;
}

void names_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
	struct fuse_file_info *fi)
{
	struct mount *mount = fuse_req_userdata(req);
	uint64_t cookie = (uint64_t)off;
	char *buf = session_read_buffer();
	struct tree_entry entry;
	size_t used = 0;

	if (size > DISK_IO_MAX)
		size = DISK_IO_MAX;
	while (next_entry(mount, ino, cookie, &entry, &cookie)) {
		struct stat st = {.st_ino = entry.ino, .st_mode = entry.is_dir ? S_IFDIR : S_IFREG};
		size_t need = fuse_add_direntry(req, buf + used, size - used, entry.name, &st,
			(off_t)cookie);

		if (need > size - used)
			break;
		used += need;
	}
	fuse_reply_buf(req, buf, used);
}

/* What a guest may still write, not what the file system has: a quota and the
 * store's reserve are none of it. */
void names_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct mount *mount = fuse_req_userdata(req);
	struct mount_disk *disk = tree_disk_pin_any(&mount->tree, ino);
	struct mount_space space;
	struct statvfs fs;

	mount->backend.space(mount->backend.ctx, disk ? disk->ctx : NULL, &space);
	if (disk)
		tree_disk_unpin(disk);
	if (fstatvfs(mount->options.statfs_fd, &fs) < 0 || fs.f_frsize == 0) {
		fuse_reply_err(req, EIO);
		return;
	}
	fs.f_blocks = (fsblkcnt_t)(space.total_bytes / fs.f_frsize);
	fs.f_bavail = fs.f_bfree = (fsblkcnt_t)(space.free_bytes / fs.f_frsize);
	fuse_reply_statfs(req, &fs);
}
